"""The installed program, the programs it needs for a NAS, and whether this computer knows the time."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from shlex import quote
from typing import Final

from exlab_orch.config_nas import RcloneNas, RsyncNas
from exlab_orch.diagnosis import Finding
from exlab_orch.doctor.visit import WIDE, Check, Computer, ComputerCheck, Visit
from exlab_orch.errors import NotifyFailed, ToolMissing, ToolTooOld
from exlab_orch.notify import installed_apprise
from exlab_orch.selftest_removal import known_nas
from exlab_orch.text import printable
from exlab_orch.transports.rclone_program import installed_rclone
from exlab_orch.transports.rsync_program import installed_rsync, installed_ssh

_TIMESYNC: Final = "/run/systemd/timesync"


def _compiled(computer: Computer) -> Iterator[Finding]:
    del computer
    yield compiled_finding(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))


def compiled_finding(package: str) -> Finding:
    """Whether Python can keep what it compiled: a pass every minute would else compile everything each time."""
    check, cache = "install.compiled", f"{package}/__pycache__"
    tag = f".{sys.implementation.cache_tag}."
    if any(tag in name for name in _names(cache)):
        return Finding(check, "ok", "The program is compiled.")
    folder = cache if os.path.isdir(cache) else package
    if os.access(folder, os.W_OK) and not sys.dont_write_bytecode:
        return Finding(check, "ok", "The program is compiled when it is started next.")
    is_told = "Python is told not to keep what it compiles (PYTHONDONTWRITEBYTECODE)"
    why = is_told if sys.dont_write_bytecode else "this user may not write there"
    message = f"{printable(package, WIDE)} is not compiled, so every pass starts slowly: {why}."
    sudo = "sudo " if os.geteuid() else ""
    return Finding(check, "warning", message, f"{sudo}{quote(sys.executable)} -m compileall -q {quote(package)}")


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _time(computer: Computer) -> Iterator[Finding]:
    yield time_finding(computer.under_system(_TIMESYNC))


def time_finding(folder: str) -> Finding:
    """Whether a time server sets the clock, as far as systemd's own client tells."""
    check = "clock.ntp"
    if os.path.exists(f"{folder}/synchronized"):
        return Finding(check, "ok", "A time server sets the clock.")
    if os.path.isdir(folder):
        message = "The clock was not set by a time server since the computer started."
        return Finding(check, "warning", message, "sudo timedatectl set-ntp true, and see: timedatectl timesync-status")
    return Finding(check, "skipped", "Whether a time server sets the clock is not seen here.", "See: timedatectl")


# -- tools ---------------------------------------------------------------------------------------------------


def _rclone(visit: Visit) -> Iterator[Finding]:
    for nas in known_nas(visit.config):
        if isinstance(nas, RcloneNas):
            try:
                program, version = installed_rclone(nas)
            except (ToolMissing, ToolTooOld) as error:
                yield Finding("tools.rclone", "error", error.message, error.hint)
            else:
                yield Finding("tools.rclone", "ok", f"{printable(program, WIDE)} is rclone {version}.")


def _rsync(visit: Visit) -> Iterator[Finding]:
    if not any(isinstance(nas, RsyncNas) for nas in known_nas(visit.config)):
        return
    for check, installed in (("tools.rsync", installed_rsync), ("tools.ssh", installed_ssh)):
        try:
            yield Finding(check, "ok", f"{installed()}.")
        except (ToolMissing, ToolTooOld) as error:
            yield Finding(check, "error", error.message, error.hint)


def _apprise(visit: Visit) -> Iterator[Finding]:
    if visit.config.notify is None:
        return
    try:
        yield Finding("tools.apprise", "ok", f"Messages are sent by {printable(installed_apprise(), WIDE)}.")
    except NotifyFailed as error:
        yield Finding("tools.apprise", "error", error.message, error.hint)


COMPUTER_CHECKS: Final[Mapping[str, ComputerCheck]] = {"install.compiled": _compiled, "clock.ntp": _time}
CHECKS: Final[Mapping[str, Check]] = {"tools.rclone": _rclone, "tools.rsync": _rsync, "tools.apprise": _apprise}
