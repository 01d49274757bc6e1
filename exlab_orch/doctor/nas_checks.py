"""Each NAS: whether it is there, is the right one, has room, and whether a run can go there and come back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final

from exlab_orch.clock import utc_now
from exlab_orch.config_nas import AnyNas, MountNas
from exlab_orch.diagnosis import Finding
from exlab_orch.doctor.visit import WIDE, Check, Visit, looked
from exlab_orch.errors import ConfigInvalid, Locked, NasFault, NasWrongMarker
from exlab_orch.orders import pause_of
from exlab_orch.selftest import selftest
from exlab_orch.selftest_removal import known_nas
from exlab_orch.selftest_results import Leftover, Tick, Trial
from exlab_orch.space import Space
from exlab_orch.station import Station, open_station
from exlab_orch.text import duration, printable, size
from exlab_orch.transports.marker import no_marker_id

_PROBE_BYTES: Final = 4096
_SKEW_SECONDS: Final = 60.0
_SLACK_SECONDS: Final = 2.0
"""File systems keep times in steps of up to two seconds."""
_AFTER_REACH: Final = ("nas.marker", "nas.space", "nas.write", "nas.names", "nas.group", "nas.clock")
_AFTER_WRITE: Final = ("nas.names", "nas.group", "nas.clock")
_NAMES: Final = {
    None: "names is not set, so what this NAS cannot hold is refused, and nothing else.",
    "strict": 'names = "strict": what Windows or SMB would change is refused, whatever this NAS can hold.',
    "posix": 'names = "posix": only what no such system holds is refused.',
}


def _every_nas(visit: Visit) -> Iterator[Finding]:
    """Every check of every NAS; only as the user that runs the passes, who alone has its locks and secrets."""
    configured = known_nas(visit.config)
    if not configured:
        yield Finding("nas.reach", "skipped", "No NAS is configured.")
    elif not visit.is_owner():
        message = "Only the user that runs the passes looks at a NAS: it has the locks and the keys."
        fix = visit.as_owner() if visit.owner() is not None else "Make the state directory first."
        yield from (_about(nas, Finding("nas.reach", "skipped", message, fix)) for nas in configured)
    elif not visit.writes and not os.path.isdir(f"{visit.state_dir}/locks"):
        message = "No pass was made yet, and --dry-run does not make the locks that a look needs."
        yield from (_about(nas, Finding("nas.reach", "skipped", message)) for nas in configured)
    else:
        is_new = not os.path.isdir(f"{visit.state_dir}/locks")
        with open_station(visit.config, changing=is_new) as station:
            for nas in configured:
                yield from _one_nas(visit, station, nas)


def _one_nas(visit: Visit, station: Station, nas: AnyNas) -> Iterator[Finding]:
    found = list(_unmarked(nas) if not nas.marker_id else _reached(station, nas))
    wrong = next((one.check for one in found if one.result == "error"), None)
    if wrong is not None:
        known = {one.check for one in found}
        later = (name for name in _AFTER_REACH if name not in known)
        found += [Finding(name, "skipped", f"It was not looked at: first mend {wrong}.") for name in later]
    else:
        found += looked("nas.space", partial(_space, station, nas), as_owner=None)
        found += looked("nas.write", partial(_written, visit, station, nas), as_owner=None)
    yield from (_about(nas, one) for one in found)


def _about(nas: AnyNas, finding: Finding) -> Finding:
    """The finding with the NAS in front, of which there may be several."""
    return replace(finding, message=f"{printable(nas.name, WIDE)}: {finding.message}")


def _unmarked(nas: AnyNas) -> Iterator[Finding]:
    """Nobody asks a NAS that has no marker id yet, so nothing is known about it."""
    yield Finding("nas.marker", "error", no_marker_id(nas).message, "Mark it: sudo exlab-orch nas-init")
    for name in IDS:
        if name != "nas.marker":
            yield Finding(name, "skipped", "It was not asked: it has no marker id yet.")


def _reached(station: Station, nas: AnyNas) -> Iterator[Finding]:
    """Only a marker that was read proves an answer; an error of the configuration keeps a NAS from being asked."""
    transport = station.nas_named(nas.name)
    if transport is None:
        return
    try:
        transport.check()
    except NasWrongMarker as error:
        yield Finding("nas.reach", "ok", "It answers.")
        yield Finding("nas.marker", "error", error.message, error.hint)
        return
    except (NasFault, ConfigInvalid) as error:
        yield Finding("nas.reach", "error", error.message, error.hint)
        return
    yield Finding("nas.reach", "ok", "It is there and answers.")
    yield Finding("nas.marker", "ok", "Its marker is the configured one.")


def _space(station: Station, nas: AnyNas) -> Iterator[Finding]:
    transport = station.nas_named(nas.name)
    space = None if transport is None else transport.space()
    yield space_finding(space, nas.reserve_percent)


def space_finding(space: Space | None, reserve_percent: float) -> Finding:
    """Whether there is room above the reserve."""
    check = "nas.space"
    if space is None:
        return Finding(check, "skipped", "This kind of NAS does not tell how full it is.")
    free = 100 - space.used_percent
    words = f"{size(space.free_bytes)} of {size(space.total_bytes)} are free"
    fix = "Free space on the NAS, or lower nas.reserve_percent."
    if free <= reserve_percent:
        return Finding(check, "error", f"{words}: nothing above the reserve of {reserve_percent:g} %.", fix)
    if free <= reserve_percent + 5:
        return Finding(check, "warning", f"{words}, and {reserve_percent:g} % are kept as a reserve.", fix)
    return Finding(check, "ok", f"{words}.")


# -- a made-up run there and back ----------------------------------------------------------------------------


def _written(visit: Visit, station: Station, nas: AnyNas) -> Iterator[Finding]:
    """A tiny self-test: it writes in a hidden folder of its own, and removes exactly what it made."""
    pause = pause_of(station, nas.name)
    why = _why_nothing_is_written(visit) or (None if pause is None else pause.message)
    if why is not None:
        yield from (Finding(name, "skipped", why) for name in ("nas.write", *_AFTER_WRITE))
        return

    def hangs(fault: NasFault) -> None:
        if visit.on_hang is not None:
            rest = f"{fault.hint} What doctor left there, the next one removes."
            visit.on_hang(_about(nas, Finding("nas.write", "error", fault.message, rest)))

    on_hang = None if visit.on_hang is None else hangs
    try:
        clock = _RootClock(nas)
        with open_station(visit.config, changing=True) as changing:
            trials, leftovers = selftest(changing, [nas], byte_total=_PROBE_BYTES, on_tick=clock.tell, on_hang=on_hang)
    except Locked as error:
        busy = f"Somebody else works there: {error.message}"
        yield from (Finding(name, "skipped", busy, error.hint) for name in ("nas.write", *_AFTER_WRITE))
        return
    yield from (left_behind(one) for one in leftovers if not one.removed and one.nas == nas.name)
    for trial in trials:
        yield from trial_findings(nas, trial)
    yield clock.finding()


def _why_nothing_is_written(visit: Visit) -> str | None:
    if not visit.writes:
        return "--dry-run writes nothing."
    return None if visit.config.orchestrator.enabled else "orchestrator.enabled is false, so nothing is written."


def left_behind(one: Leftover) -> Finding:
    """What an earlier self-test left there, with the reason why it stays."""
    message = f"An earlier self-test left {printable(one.where, WIDE)}; it stays: {printable(one.why, WIDE)}."
    return Finding("nas.write", "warning", message, "Move away what is not the self-test's; the next one removes it.")


def trial_findings(nas: AnyNas, trial: Trial) -> Iterator[Finding]:
    """What a self-test says about writing, names and the group."""
    failed = trial.failed
    if failed is None or failed.error is None:
        seconds = sum(tick.seconds for tick in trial.ticks)
        message = f"A made-up run was written, read back, renamed and removed in {seconds:.1f} s."
        yield Finding("nas.write", "ok", message)
    else:
        message = f"A made-up run could not be {failed.step}: {failed.error.code}: {failed.error.message}"
        yield Finding("nas.write", "error", message, failed.error.hint)
    known = {one.check.replace("selftest.", "nas."): one for one in trial.findings}
    names, group = known.get("nas.names"), known.get("nas.group")
    if names is None:
        yield Finding("nas.names", "skipped", "No name was tried.")
    else:
        yield replace(names, check="nas.names", message=f"{names.message} {_NAMES[nas.names]}")
    if group is None:
        yield Finding("nas.group", "skipped", "Nothing was published whose group could be looked at.")
    else:
        yield replace(group, check="nas.group")


class _RootClock:
    """What time the NAS had when the hidden folder came and went: its root shows that."""

    def __init__(self, nas: AnyNas) -> None:
        self._root = nas.root if isinstance(nas, MountNas) else None
        self._began = utc_now()
        self._before = self._stamp()
        self._stamps: tuple[float, datetime] | None = None
        self._well: set[str] = set()
        """Steps that were done."""

    def _stamp(self) -> float | None:
        return None if self._root is None else os.stat(self._root).st_mtime

    def tell(self, _nas: str, tick: Tick) -> None:
        """Look at the root when the hidden folder has just been removed."""
        self._well |= {tick.step} if tick.result == "ok" else set()
        stamp = self._stamp() if tick.step == "removed" and tick.result == "ok" else None
        if stamp is not None and stamp != self._before:
            self._stamps = stamp, utc_now()

    def finding(self) -> Finding:
        """How far the clocks are apart."""
        if self._stamps is None:
            came_and_went = self._root is None or {"copied", "removed"} <= self._well
            unseen = "No made-up run was written there and removed again, so the clocks were not compared."
            why = "This NAS does not tell what time it has." if came_and_went else unseen
            return Finding("nas.clock", "skipped", why)
        stamp, ended = self._stamps
        return clock_finding(skew_seconds(self._began.timestamp(), ended.timestamp(), stamp))


def skew_seconds(began: float, ended: float, stamp: float) -> float:
    """How far a time of the NAS lies after (or, negative, before) the span in which it was made; 0 inside."""
    if stamp > ended + _SLACK_SECONDS:
        return stamp - ended
    return min(stamp - began, 0.0) if stamp < began - _SLACK_SECONDS else 0.0


def clock_finding(skew: float) -> Finding:
    """Whether the clocks of this computer and the NAS agree."""
    if abs(skew) <= _SKEW_SECONDS:
        return Finding("nas.clock", "ok", "Its clock agrees with the one of this computer.")
    where = "ahead of" if skew > 0 else "behind"
    message = (
        f"Its clock is {duration(abs(skew))} {where} the one of this computer; times of copies cannot be compared."
    )
    return Finding("nas.clock", "warning", message, "Set both clocks by a time server: timedatectl set-ntp true")


CHECKS: Final[Mapping[str, Check]] = {"nas.reach": _every_nas}
IDS: Final[Iterable[str]] = ("nas.reach", *_AFTER_REACH)
