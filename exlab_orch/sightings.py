"""What a look over the staging root tells besides its runs: strays, and known runs that are gone."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from glob import escape
from typing import Final

from exlab_orch.clock import format_utc, from_epoch_ns, parse_utc
from exlab_orch.config import Equipment
from exlab_orch.errors import staging_errors
from exlab_orch.files.walk import walk
from exlab_orch.journal import JournalRun
from exlab_orch.ledger import LedgerLine
from exlab_orch.model import IngestState, Place, Problem, StagedRun
from exlab_orch.receipts import HIDDEN, UNSEEN, expired, remove
from exlab_orch.records import remembered
from exlab_orch.staging import Discovery, Stray, run_at, trash_slots
from exlab_orch.station import Station
from exlab_orch.text import pasted, printable
from exlab_orch.toml_text import toml_string

_SWEEP_AGAIN: Final = timedelta(days=1)
_SWEPT: Final = "receipts_swept"


def report_strays(station: Station, found: Discovery) -> None:
    """Open and close the problems of what lies in staging and is not a run; what could not be seen stays open."""
    present = {stray.path: stray for stray in found.strays}
    closed = tuple(f"{stray.path}/" for stray in found.strays if stray.code == "permission_denied")
    for subject in station.journal.problem_subjects("stray") - present.keys():
        if not subject.startswith(closed):
            station.set_problems(subject, "stray", [])
    known = {problem.subject for problem in station.journal.problems()} if present else set()
    for subject, stray in present.items():
        if subject not in known:
            station.set_problems(subject, "stray", [stray_problem(station, stray)])


def stray_problem(station: Station, stray: Stray) -> Problem:
    """The problem of a stray, beginning now."""
    return station.problem(stray.path, stray.code, stray.message, stray.hint)


def stray_size(root: str, path: str) -> tuple[int, int, datetime | None]:
    """Files, bytes and newest change of what is not a run; zeros where it cannot be looked at."""
    try:
        status = os.stat(f"{root}/{path}", follow_symlinks=False)
        listing = walk(Place(root, path)) if os.path.isdir(f"{root}/{path}") else None
    except OSError:
        return 0, 0, None
    if listing is None:
        return 1, status.st_size, from_epoch_ns(status.st_mtime_ns)
    newest = max([status.st_mtime_ns, *(identity.mtime_ns for identity in listing.files.values())])
    return len(listing.files), listing.byte_total, from_epoch_ns(newest)


def report_disappeared(station: Station, found: Discovery) -> None:
    """Open and close the problems of known runs that went away without us (lifecycle.md, 2)."""
    staged = {run.run_path for run in found.runs}
    in_trash = {slot.run.run_path for slot in trash_slots(station.staging_root) if slot.run is not None}
    known = station.journal.runs()
    for run_path in station.journal.problem_subjects("staging") & staged:
        station.set_problems(run_path, "staging", [])
    others = {path for path in known.keys() - staged - in_trash if _is_other_name(station, path)}
    for run_path in sorted(others):  # what the instrument adds to it from now on is not seen any more
        run = StagedRun(run_path, Place(station.staging_root, run_path))
        station.note_unproved(run, UNSEEN)
        station.set_problems(run_path, "staging", [_not_a_run_any_more(station, known[run_path])])
    for run_path in sorted(known.keys() - staged - in_trash - others):
        if _was_cleared(known[run_path], station.ledger.last(run_path)):  # killed after the last unlink
            station.end_life(run_path)
            continue
        run = StagedRun(run_path, Place(station.staging_root, run_path))
        if not _is_gone(run.folder):  # nobody sees what the instrument adds to it
            station.note_unproved(run, HIDDEN)
            station.journal.forget_idle(run_path)
            continue
        state = _last_state(known[run_path])
        station.set_problems(run_path, "staging", [_disappeared(station, run_path, state)])


def equipment_to_sweep(station: Station) -> tuple[Equipment, ...]:
    """The equipment whose old receipts are to be removed now: once a day all, otherwise none."""
    last, now = parse_utc(station.journal.note(_SWEPT) or ""), station.now()
    if last is not None and timedelta(0) <= now - last < _SWEEP_AGAIN:
        return ()
    station.journal.set_note(_SWEPT, format_utc(now))
    return station.config.equipment


def drop_old_receipts(station: Station, equipment: Equipment) -> None:
    """Remove the receipts that are older than the equipment keeps them; anything else there stays.

    Raises:
        RunProblem: the receipts folder cannot be read, or is a link.
    """
    keep = timedelta(days=equipment.receipts_days)
    with staging_errors("looking for old receipts"):
        for run_path in expired(station.staging_root, equipment.id, keep, station.now()):
            remove(station.staging_root, run_path)


def _is_other_name(station: Station, run_path: str) -> bool:
    """Whether a known run is there and has a name that ``run_pattern`` does not match any more."""
    is_configured = station.config.equipment_for(run_path.partition("/")[0]) is not None
    if not is_configured or run_at(station.staging_root, run_path, station.config.run_patterns) is not None:
        return False
    return not _is_gone(f"{station.staging_root}/{run_path}")


def _is_gone(path: str) -> bool:
    """Whether nothing has that name; what may not be looked at is not gone."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _was_cleared(known: JournalRun, line: LedgerLine | None) -> bool:
    """Whether it was us who deleted the run that the journal knows; it may have missed the last steps of that."""
    record = remembered(known)
    if record is None or line is None:
        return False
    return record.current_state is IngestState.CLEARED or line.ended(record.history)


def _last_state(known: JournalRun) -> IngestState:
    record = remembered(known)
    return IngestState.STAGING if record is None else record.current_state


def _not_a_run_any_more(station: Station, known: JournalRun) -> Problem:
    """A known run whose name the patterns do not match any more: nothing is done with it, least of all a delete."""
    proved = _last_state(known) is IngestState.SYNC_VERIFIED
    where = "It is proved on the NAS." if proved else "It is NOT proved on the NAS."
    name = known.run_path.rpartition("/")[2]
    return station.problem(
        known.run_path,
        "not_a_run",
        f"{printable(known.run_path)} was a run until run_pattern changed. {where} "
        "Nothing is done with it any more, and its staged copy is not deleted.",
        f"To take it as a run again, add {toml_string(escape(name))} to run_pattern of its [[equipment]].",
    )


def _disappeared(station: Station, run_path: str, state: IngestState) -> Problem:
    proved = state in (IngestState.SYNC_VERIFIED, IngestState.CLEARED)
    where = "It was proved on the NAS before." if proved else "It was NOT yet proved on the NAS."
    if state is IngestState.SYNC_QUEUED:
        where += " Anything copied of it so far is in the hidden folder beside its place on the NAS."
    return station.problem(
        run_path,
        "run_disappeared",
        f"The run {printable(run_path)} is gone from staging, and not by us. {where}",
        f"Find out who moved or deleted it. If that is fine: exlab-orch accept --reason … {pasted(run_path)}",
    )
