"""What starts passes: exactly one of cron and systemd, with programs that exist, and a pass not long ago."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final

from exlab_orch.clock import parse_utc
from exlab_orch.config import SYSTEM_CONFIG
from exlab_orch.diagnosis import Finding
from exlab_orch.doctor.cron_checks import refused
from exlab_orch.doctor.place_checks import journal_of
from exlab_orch.doctor.visit import WIDE, Check, Computer, ComputerCheck, Visit, without_configuration
from exlab_orch.groups import user_name
from exlab_orch.passes import PHASES
from exlab_orch.progress import live_progress
from exlab_orch.schedule import (
    CRON_FOLDER,
    ActiveSchedule,
    active_schedules,
    crontab_schedules,
    shebang,
    watching_services,
)
from exlab_orch.schedule_install import hindrance, outdated, passes_here
from exlab_orch.state import StateDirectory
from exlab_orch.text import ago, printable
from exlab_orch.transports.process import Command, TimedOut, run_tool

_RECENT_SECONDS: Final = 600.0
_CRONTAB_SECONDS: Final = 5.0
_CRONTAB_OF: Final = "the crontab of "
_PARTS: Final = {"evaluate": "looks at runs", "sync": "copies runs to the NAS", "cleanup": "finishes deletes"}
_KINDS: Final = {"cron": "cron", "timer": "a timer of systemd"}


def ours(computer: Computer) -> tuple[ActiveSchedule, ...]:
    """The schedules that start passes with this configuration."""
    found = (*active_schedules(computer.system), *_own_crontab(computer))
    return tuple(one for one in found if _is_ours(computer, one))


def watching(computer: Computer) -> tuple[ActiveSchedule, ...]:
    """The services that stay and make passes with this configuration."""
    return tuple(one for one in watching_services(computer.system) if _is_ours(computer, one))


def _own_crontab(computer: Computer) -> Iterator[ActiveSchedule]:
    """What ``crontab -e`` wrote for this user: only root reads its file, but cron shows it to its user."""
    if os.geteuid() == 0 or computer.system != "/":
        return
    with suppress(OSError, TimedOut):
        printed = run_tool(Command("crontab", ("-l",)), stall_seconds=_CRONTAB_SECONDS).output
        user = user_name(os.geteuid())
        yield from crontab_schedules(f"{_CRONTAB_OF}{user}", printed.decode(errors="replace"), user=user)


def _is_ours(computer: Computer, one: ActiveSchedule) -> bool:
    """A command without a configuration file takes the system's, or one that its user has."""
    if computer.config_path is None:
        return True
    named = one.config or (SYSTEM_CONFIG if os.path.exists(SYSTEM_CONFIG) else computer.config_path)
    return os.path.realpath(named) == os.path.realpath(computer.config_path)


# -- which -------------------------------------------------------------------------------------------------------


def _active(computer: Computer) -> Iterator[Finding]:
    found, services = ours(computer), watching(computer)
    if not found and not services and not isinstance(computer, Visit):
        yield Finding("schedule.active", "skipped", without_configuration(computer))
        return
    active = active_finding(found, services, sees_all=os.geteuid() == 0)
    yield active if active.result == "error" else refused(computer, found, _install) or active


def active_finding(
    found: Sequence[ActiveSchedule], services: Sequence[ActiveSchedule] = (), *, sees_all: bool
) -> Finding:
    """Whether exactly one kind of schedule starts passes.

    Args:
        found: what starts passes with this configuration.
        services: what stays and makes them in a loop.
        sees_all: whether the crontabs of users could be read, too.
    """
    check = "schedule.active"
    kinds = sorted({one.kind for one in found})
    files = ", ".join(printable(file, WIDE) for file in dict.fromkeys(one.file for one in found))
    if len(kinds) > 1:
        return Finding(check, "error", f"cron and systemd both start passes: {files}.", _keep_one(found))
    lacking = [part for part in PHASES if not any(part in one.only or not one.only for one in found)]
    if kinds and lacking and not services:
        message = f"Nothing that is started {' or '.join(_PARTS[part] for part in lacking)}: there is only {files}."
        return Finding(check, "error", message, f"{_install(found[0])}, and do what it says")
    if kinds:
        return Finding(check, "ok", f"Passes are started by {_KINDS[kinds[0]]}: {files}.")
    if services:
        file = printable(services[0].file, WIDE)
        return Finding(check, "ok", f"Passes are made by a service that runs exlab-orch watch: {file}.")
    by_systemd = "Have systemd do it: sudo exlab-orch schedule systemd --install"
    fix = f"{by_systemd}   Or cron: sudo exlab-orch schedule cron --install"
    if sees_all:
        return Finding(check, "warning", "Nothing starts passes by itself.", fix)
    unseen = "Nothing that this user can see starts passes; only root sees the crontabs of users."
    return Finding(check, "warning", unseen, fix)


def _keep_one(found: Sequence[ActiveSchedule]) -> str:
    """How to switch each of the two off."""
    units = " ".join(dict.fromkeys(os.path.basename(one.file) for one in found if one.kind == "timer"))
    crontabs = dict.fromkeys(one.file for one in found if one.kind == "cron")
    without_cron = " && ".join(map(_without, crontabs))
    return f"Keep one. cron goes with: {without_cron} ; systemd goes with: sudo systemctl disable --now {units}"


def _without(crontab: str) -> str:
    """Only a file that is ours alone is removed whole."""
    folder, name = os.path.split(crontab)
    if folder.endswith(CRON_FOLDER):
        return f"sudo rm {shlex.quote(crontab)}"
    if folder.endswith("/etc"):
        return f"sudoedit {crontab}"
    return f"sudo crontab -u {shlex.quote(name.removeprefix(_CRONTAB_OF))} -e"


def _programs(visit: Visit) -> Iterator[Finding]:
    found = ours(visit)
    finding = programs_finding(found, visit.system)
    owner = visit.owner()
    if finding.result == "ok" and owner is not None and visit.system == "/":
        yield next((_not_run(one, user_name(owner)) for one in found), None) or finding
    else:
        yield finding


def _not_run(one: ActiveSchedule, user: str) -> Finding | None:
    """The finding where who runs the passes cannot run the program that a schedule names, if that can be tried."""
    command = one.before_the_verb
    found = hindrance(command, one.config or SYSTEM_CONFIG, user) if command and not user.startswith("#") else None
    if found is None:
        return None
    return Finding("schedule.program", "error", f"{printable(one.file, WIDE)}: {user} {found.message}", found.hint)


def programs_finding(found: Sequence[ActiveSchedule], system: str = "/") -> Finding:
    """Whether the programs and configurations that schedules name are there."""
    check = "schedule.program"
    if not found:
        return Finding(check, "skipped", "Nothing starts passes.")
    base = system.rstrip("/")
    for one in found:
        for path in _needed_files(one, base):
            if not os.path.exists(f"{base}{path}"):
                message = f"{printable(one.file, WIDE)} names {printable(path, WIDE)}, which is not there."
                return Finding(check, "error", message, f"Write it anew: {_install(one)}")
    return Finding(check, "ok", "The program and the configuration that it names are there.")


def _needed_files(one: ActiveSchedule, base: str) -> list[str]:
    """The program, the interpreter that it names, and the configuration where one is named."""
    program = one.words[0].lstrip("@-:+!") if one.words else ""
    return [path for path in (program, shebang(f"{base}{program}"), one.config or "") if path.startswith("/")]


def _install(one: ActiveSchedule) -> str:
    named = "" if one.config is None else f" -c {shlex.quote(one.config)}"
    return f"sudo exlab-orch{named} schedule {'cron' if one.kind == 'cron' else 'systemd'} --install"


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
    yield recent_finding(last, visit.now, is_busy=is_busy, is_scheduled=bool(ours(visit) or watching(visit)))


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
}
CHECKS: Final[Mapping[str, Check]] = {
    "schedule.program": _programs,
    "schedule.follows": _follows,
    "schedule.recent": _recent,
}
