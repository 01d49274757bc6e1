"""What a person decides: accept, hold, pause, copy now, clear later, take over; each carries who, when and why."""

from __future__ import annotations

import logging
import os
import pwd
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import cast

from exlab_orch.cleanup import require_clearable
from exlab_orch.clock import format_utc, has_come, local_words, parse_utc
from exlab_orch.config import Config
from exlab_orch.errors import NasPaused, RunNotFound
from exlab_orch.files.places import is_folder, leaf_identity
from exlab_orch.holds import Hold, end_hold, put_hold
from exlab_orch.logs import note_event
from exlab_orch.model import Ingest, IngestState, StagedRun
from exlab_orch.ownfiles import log_event
from exlab_orch.records import read_record
from exlab_orch.reserve import with_reserve
from exlab_orch.staging import require_root, write_owner
from exlab_orch.state import open_state, require_user
from exlab_orch.station import Station, require_enabled, this_owner
from exlab_orch.text import printable
from exlab_orch.transports import Transport

_logger = logging.getLogger(__name__)


def who() -> str:
    """The person at the keyboard: who called sudo, else the login name of this process."""
    sudo = os.environ.get("SUDO_USER")
    if sudo:
        return sudo
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _stamp(station: Station, by: str, **more: object) -> dict[str, object]:
    return {"by": by, "at": format_utc(station.now()), **more}


def _require_staged(run: StagedRun) -> None:
    if not is_folder(run.place):
        raise RunNotFound(
            f"The run {printable(run.run_path)} is not in staging.", hint="See what is there: exlab-orch list"
        )


def accept(station: Station, run: StagedRun, *, reason: str, by: str) -> bool:
    """Have the next pass take a run as it is; the record is flagged for ever (lifecycle.md, 3).

    False where there is nothing to accept: the run is proved already. Of a run that has disappeared from staging it
    accepts that: it is no longer asked for. Of a run that is on the NAS only it accepts the damage there that is known:
    its problems are closed, until somebody finds damage again.
    """
    if not is_to_accept(station, run):
        return False
    if not is_folder(run.place):
        _logger.warning("%s: what is wrong with it was accepted by %s: %s", run.run_path, by, reason)
        station.announce(station.journal.close_problems(run.run_path, station.now()))
        station.journal.forget_run(run.run_path)
        if station.ledger.last(run.run_path) is None:  # nothing tells any more what was proved of it
            station.remove_receipt(run)
        return True
    station.journal.give_order(run.run_path, "accept", _stamp(station, by, reason=reason))
    known = station.journal.run(run.run_path)
    if known is not None:  # what it waited for is no matter any more
        station.journal.save(replace(known, waiting="the next pass takes it as it is"))
    station.journal.give_order(run.run_path, "due", _stamp(station, by))
    _log(station, run, f"to be taken as it is, asked for by {by}: {reason}", by)
    return True


def is_to_accept(station: Station, run: StagedRun) -> bool:
    """Whether there is something to accept; writes nothing. Raises where ``accept`` would."""
    if run.place.path != run.run_path:
        raise RunNotFound(
            f"The run {printable(run.run_path)} lies in the trash, so there is nothing to take as it is.",
            hint="The next pass finishes or undoes its clear; see what is there: exlab-orch list",
        )
    troubled = station.journal.run(run.run_path) is not None or station.journal.problems(run.run_path)
    if not is_folder(run.place) and troubled:
        return True
    _require_staged(run)
    record = read_record(run)
    return record is None or record.current_state is not IngestState.SYNC_VERIFIED


def hold(station: Station, run: StagedRun, *, reason: str, by: str, until: datetime | None = None) -> None:
    """Stop every delete of a run until ``unhold``; works in every state, also in the trash."""
    end = None if until is None else format_utc(until)
    found = Hold(run.run_path, reason, by, format_utc(station.now()), end)
    root = station.staging_root
    with_reserve(root, station.state.path, lambda: put_hold(root, found))  # above all of a full disk, before its clear
    station.journal.forget_idle(run.run_path)
    _log(station, run, f"held by {by}{'' if end is None else f' until {end}'}: {reason}", by)


def unhold(station: Station, run: StagedRun, *, by: str) -> bool:
    """End a hold; False when there was none."""
    ended = end_hold(station.staging_root, run.run_path)
    station.journal.forget_idle(run.run_path)
    if ended:
        _log(station, run, f"hold ended by {by}", by)
    return ended


def _log(station: Station, run: StagedRun, message: str, by: str) -> None:
    """Log a decision, in the run's own log too if the run is there and nobody is busy with it."""
    with station.state.run_lock(run.run_path) as held:
        if held and is_folder(run.place) and station.journal.run(run.run_path) is not None:
            line = partial(log_event, station, run, "INFO", message, event="order", asked_by=by)
            with_reserve(station.staging_root, station.state.path, line)
            return
    note_event("order", message, run=run.run_path, asked_by=by)


def make_due(
    station: Station, run: StagedRun, *, by: str, new_version: bool = False, files: Sequence[bytes] = ()
) -> None:
    """Have the run copied as soon as possible: failed attempts are forgotten.

    With ``new_version`` files on the NAS that differ move to ``superseded`` (only the named ones, if any are named).
    """
    _require_staged(run)
    station.journal.give_order(run.run_path, "due", _stamp(station, by))
    if new_version:
        names = [os.fsdecode(name) for name in files]
        station.journal.give_order(run.run_path, "new_version", _stamp(station, by, files=names))
    what = "to be copied in place of what the NAS has" if new_version else "to be copied now"
    _log(station, run, f"{what}, asked for by {by}", by)


def clear_later(station: Station, run: StagedRun, *, by: str) -> bool:
    """Have the next pass delete the staged copy; bound to this very run in its present state (lifecycle.md, 6).

    False where it is gone already.

    Raises:
        RunProblem: it may not be cleared.
    """
    if not is_folder(run.place):
        return False
    record = require_clearable(station, run)
    station.journal.give_order(run.run_path, "clear_later", _stamp(station, by, bound_to=binding(run, record)))
    _log(station, run, f"staged copy to be deleted by the next pass, asked for by {by}", by)
    return True


def binding(run: StagedRun, record: Ingest) -> str:
    """What a ``clear --later`` is bound to: path, leaf identity and last history entry."""
    last = record.history[-1]
    return f"{run.run_path}|{leaf_identity(run.place).text()}|{last.state.value}|{last.at}"


def asked_to_clear(station: Station) -> set[str]:
    """The runs whose ``clear --later`` waits to be carried out now."""
    now = station.now()
    orders = station.journal.orders("clear_later")
    return {run_path for run_path, order in orders.items() if has_come(cast("float", order.get("not_before", 0)), now)}


def wants_clear(station: Station, run: StagedRun, record: Ingest) -> str | None:
    """Who asked for the clear of this very run in this very state, or None; any other order is void and ended."""
    order = station.journal.order(run.run_path, "clear_later")
    if order is None:
        return None
    if order.get("bound_to") != binding(run, record):
        station.journal.end_order(run.run_path, "clear_later")
        return None
    if run.run_path not in asked_to_clear(station):
        return None
    return str(order.get("by"))


def pause(
    station: Station, *, reason: str, by: str, until: datetime | None = None, nas: str | None = None
) -> list[str]:
    """Stop copying to one NAS or all, for maintenance; returns their names."""
    names = [nas] if nas is not None else nas_names(station.config)
    end = None if until is None else format_utc(until)
    for name in names:
        station.journal.give_order(nas_subject(name), "pause", _stamp(station, by, reason=reason, until=end))
        note_event("order", f"copying paused: {reason}", nas=name, asked_by=by, until=end)
    return names


def resume(station: Station, *, nas: str | None = None) -> list[str]:
    """Go on copying; returns the names of the NAS that were paused."""
    names = [nas] if nas is not None else nas_names(station.config)
    paused = [name for name in names if station.journal.order(nas_subject(name), "pause") is not None]
    for name in paused:
        station.journal.end_order(nas_subject(name), "pause")
        station.set_problems(nas_subject(name), "nas", [])
        note_event("order", "copying goes on", nas=name)
    station.journal.forget_idle()
    return paused


def nas_names(config: Config) -> list[str]:
    """The names of every NAS that some equipment's runs go to, and of the common one."""
    found = [config.nas, *(config.nas_for(equipment.id) for equipment in config.equipment)]
    return list(dict.fromkeys(nas.name for nas in found if nas is not None))


def nas_subject(name: str) -> str:
    """How problems and orders name a NAS."""
    return f"nas:{name}"


def refuse_paused(station: Station, transport: Transport) -> None:
    """Raise NasPaused while a pause stands; one that is over is ended."""
    paused = pause_of(station, transport.name)
    if paused is not None:
        raise paused
    subject = nas_subject(transport.name)
    if station.journal.order(subject, "pause") is not None:
        station.journal.end_order(subject, "pause")


def pause_of(station: Station, nas: str) -> NasPaused | None:
    """The pause of a NAS that stands now, or None; writes nothing."""
    order = station.journal.order(nas_subject(nas), "pause")
    if order is None:
        return None
    end = order.get("until")
    moment = parse_utc(end) if isinstance(end, str) else None
    if moment is not None and station.now() >= moment:
        return None
    until = "" if not end else f" until {printable(local_words(str(end)))}"
    return NasPaused(
        f"Copying to {nas} is paused by {printable(str(order.get('by')))}{until}: "
        f"{printable(str(order.get('reason')))}",
        hint="Go on: exlab-orch resume",
    )


def require_may_take_over(config: Config) -> None:
    """Raise where ``takeover`` would; nothing is written. A person is asked only what can be done."""
    require_enabled(config)
    require_root(config.orchestrator.staging_root)
    if os.path.isdir(config.orchestrator.state_dir):
        require_user(config.orchestrator.state_dir)


def takeover(config: Config) -> None:
    """Make this computer and state directory the owner of the staging root.

    Raises:
        OrchestratorDisabled, StagingUnavailable, WrongUser
    """
    require_may_take_over(config)
    open_state(config.orchestrator.state_dir, changing=True)
    write_owner(config.orchestrator.staging_root, this_owner(config.orchestrator.state_dir))


def end_orders(station: Station, run: StagedRun) -> None:
    """Of a proved run, end the orders that brought it there: they must not count for a later round."""
    for kind in ("accept", "new_version", "due"):
        if station.journal.order(run.run_path, kind) is not None:
            station.journal.end_order(run.run_path, kind)


def take_due(station: Station, run: StagedRun) -> None:
    """Carry out a waiting ``sync RUN``: failed attempts are forgotten, and a damaged NAS copy is copied again."""
    order = station.journal.order(run.run_path, "due")
    if order is None:
        return
    known = station.journal.run(run.run_path)
    if known is not None:
        station.journal.save(replace(known, attempts=0, retry_at=None, failed=False))
    station.journal.end_order(run.run_path, "due")
    record = read_record(run)
    wants_new_version = station.journal.order(run.run_path, "new_version") is not None
    damaged = any(problem.code == "nas_copy_damaged" for problem in station.journal.problems(run.run_path))
    if record is not None and record.current_state is IngestState.SYNC_VERIFIED and wants_new_version and damaged:
        station.advance(run, record, IngestState.SYNC_QUEUED, reason="nas_copy_damaged", by=order.get("by"))
        station.set_problems(run.run_path, "clear", [])  # what verify found is closed when the copy is proved
