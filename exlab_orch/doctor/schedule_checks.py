"""What starts passes: exactly one of cron and systemd, with programs that exist, and a pass not long ago."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from exlab_orch.clock import parse_utc
from exlab_orch.config import SYSTEM_CONFIG
from exlab_orch.diagnosis import Finding
from exlab_orch.doctor.place_checks import journal_of
from exlab_orch.doctor.visit import WIDE, Check, Computer, ComputerCheck, Visit
from exlab_orch.progress import live_progress
from exlab_orch.schedule import ActiveSchedule, active_schedules
from exlab_orch.schedule_install import outdated, passes_here
from exlab_orch.state import StateDirectory
from exlab_orch.text import ago, printable

_RECENT_SECONDS: Final = 600.0
_KINDS: Final = {"cron": "cron", "timer": "a timer of systemd"}


def ours(computer: Computer) -> tuple[ActiveSchedule, ...]:
    """The schedules that start passes with this configuration."""
    return tuple(one for one in active_schedules(computer.system) if _is_ours(computer, one))


def _is_ours(computer: Computer, one: ActiveSchedule) -> bool:
    """A command without a configuration file takes the system's, or one that its user has."""
    if computer.config_path is None:
        return True
    named = one.config or (SYSTEM_CONFIG if os.path.exists(SYSTEM_CONFIG) else computer.config_path)
    return os.path.realpath(named) == os.path.realpath(computer.config_path)


# -- which -------------------------------------------------------------------------------------------------------


def _active(computer: Computer) -> Iterator[Finding]:
    yield active_finding(ours(computer), sees_all=os.geteuid() == 0)


def active_finding(found: Sequence[ActiveSchedule], *, sees_all: bool) -> Finding:
    """Whether exactly one kind of schedule starts passes.

    Args:
        found: what starts passes with this configuration.
        sees_all: whether the crontabs of users could be read, too.
    """
    check = "schedule.active"
    kinds = sorted({one.kind for one in found})
    files = ", ".join(printable(file, WIDE) for file in dict.fromkeys(one.file for one in found))
    if len(kinds) > 1:
        fix = "Keep one: sudo rm the crontab file, or sudo systemctl disable --now the timers named above."
        return Finding(check, "error", f"cron and systemd both start passes: {files}.", fix)
    if kinds:
        return Finding(check, "ok", f"Passes are started by {_KINDS[kinds[0]]}: {files}.")
    fix = "sudo exlab-orch schedule systemd --install, or: sudo exlab-orch schedule cron --install"
    if sees_all:
        return Finding(check, "warning", "Nothing starts passes by itself.", fix)
    unseen = "Nothing that this user can see starts passes; only root sees the crontabs of users."
    return Finding(check, "warning", unseen, fix)


def _programs(computer: Computer) -> Iterator[Finding]:
    yield programs_finding(ours(computer), computer.system)


def programs_finding(found: Sequence[ActiveSchedule], system: str = "/") -> Finding:
    """Whether the programs and configurations that schedules name are there."""
    check = "schedule.program"
    if not found:
        return Finding(check, "skipped", "Nothing starts passes.")
    base = system.rstrip("/")
    for one in found:
        for path in _absolute_words(one):
            if not os.path.exists(f"{base}{path}"):
                message = f"{printable(one.file, WIDE)} names {printable(path, WIDE)}, which is not there."
                return Finding(check, "error", message, f"Write it anew: {_install(one)}")
    return Finding(check, "ok", "The program and the configuration that it names are there.")


def _absolute_words(one: ActiveSchedule) -> list[str]:
    """The program, and the configuration where one is named."""
    try:
        words = shlex.split(one.program)
    except ValueError:
        words = one.program.split()
    program = words[0].lstrip("@-:+!") if words else ""
    return [path for path in (program, one.config or "") if path.startswith("/")]


def _install(one: ActiveSchedule) -> str:
    return f"sudo exlab-orch schedule {'cron' if one.kind == 'cron' else 'systemd'} --install"


def _follows(visit: Visit) -> Iterator[Finding]:
    check, found = "schedule.follows", ours(visit)
    if not found or visit.config_path is None:
        yield Finding(check, "skipped", "Nothing starts passes.")
        return
    passes = passes_here(visit.config, visit.config_path)
    for one in {one.kind: one for one in found}.values():
        old = outdated(one.kind, passes, root=visit.system)
        if old:
            message = f"{', '.join(old)} no longer fit{'s' if len(old) == 1 else ''} the configuration."
            fix = f"{_install(one)}; with systemd, sudo systemctl daemon-reload after it"
            yield Finding(check, "warning", message, fix)
            return
    yield Finding(check, "ok", "It is as the configuration asks, or was edited by a person.")


# -- when --------------------------------------------------------------------------------------------------------


def _recent(visit: Visit) -> Iterator[Finding]:
    with journal_of(visit) as journal:
        last = parse_utc(journal.note("last_pass") or "")
    if last is None and visit.owner() is not None and not visit.is_owner():
        yield Finding("schedule.recent", "skipped", "This user does not see when the last pass was.", visit.as_owner())
        return
    is_busy = bool(live_progress(StateDirectory(visit.state_dir, None).progress_folder))
    yield recent_finding(last, visit.now, is_busy=is_busy, is_scheduled=bool(ours(visit)))


def recent_finding(last: datetime | None, now: datetime, *, is_busy: bool, is_scheduled: bool) -> Finding:
    """Whether a pass was made not long ago; one that copies for hours is being made."""
    check = "schedule.recent"
    if is_busy:
        return Finding(check, "ok", "A pass is at work now.")
    seconds = None if last is None else (now - last).total_seconds()
    if seconds is not None and abs(seconds) <= _RECENT_SECONDS:
        return Finding(check, "ok", f"The last pass was {ago(seconds)}.")
    words = "No pass was made yet." if seconds is None else f"The last pass was {ago(seconds)}."
    if not is_scheduled:
        return Finding(check, "warning", words, "Have passes started every minute: docs/schedule.md")
    fix = "Look why: journalctl -u 'exlab-orch-*' (systemd), or the mail and log of cron; then: exlab-orch poll"
    return Finding(check, "error", f"{words} The schedule does not do its work.", fix)


COMPUTER_CHECKS: Final[Mapping[str, ComputerCheck]] = {
    "schedule.active": _active,
    "schedule.program": _programs,
}
CHECKS: Final[Mapping[str, Check]] = {"schedule.follows": _follows, "schedule.recent": _recent}
