"""A schedule for this computer: what it is filled in with, and putting its files in place without replacing others'."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from exlab_orch.access import closed_above, move_or_let_in
from exlab_orch.config import Config
from exlab_orch.errors import ConfigInvalid, ScheduleConflict, StateUnavailable, WrongUser
from exlab_orch.files import write_whole
from exlab_orch.schedule import CRON_FOLDER, UNIT_FOLDER, ActiveSchedule, Kind, active_schedules, shebang
from exlab_orch.schedule_files import (
    TIMERS,
    Passes,
    ScheduleFile,
    configuration_of,
    cron_file,
    passes_of,
    unit_files,
    written_by,
)
from exlab_orch.state import nameless, to_named_user
from exlab_orch.text import printable
from exlab_orch.transports.mountinfo import mount_points
from exlab_orch.transports.process import Command, TimedOut, run_tool

_SCRIPT: Final = "exlab-orch"
_TRY_SECONDS: Final = 30.0
_ADMIN: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
_FSTAB: Final = "/etc/fstab"
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Installed:
    """What became of each file of a schedule."""

    written: tuple[str, ...]
    unchanged: tuple[str, ...]
    """Files that were there already, just so."""


def passes_here(config: Config, config_path: str) -> Passes:
    """What the schedule of a configuration is filled in with on this computer.

    Raises:
        StateUnavailable: the state directory is not there, so nobody knows who is to run the passes.
        ConfigInvalid: its owner has no name, or a path cannot stand in such a file.
    """
    path = os.path.abspath(config_path)
    program = program_words(sys.argv[0], sys.executable)
    _require_one_line(path, *program)
    owner = _owner(config.orchestrator.state_dir)
    return passes_of(
        config,
        path,
        program=program,
        user=owner.pw_name,
        mount_points=[*mount_points(), *_in_fstab(_FSTAB)],
        reads=(owner.pw_dir, sys.prefix, os.path.realpath(sys.executable), os.path.dirname(os.path.realpath(__file__))),
    )


def _require_one_line(*paths: str) -> None:
    """A line break in a path would be a line of its own, which cron runs as anybody."""
    for path in paths:
        if not path.isprintable():
            raise ConfigInvalid(
                f"{printable(path, 1000)} cannot stand in a schedule: it holds control characters, or is not UTF-8.",
                hint="Give it a plain name, and run the command again.",
            )


def _owner(state_dir: str) -> pwd.struct_passwd:
    try:
        number = os.stat(state_dir).st_uid
    except OSError as error:
        raise StateUnavailable(
            f"The state directory {printable(state_dir, 1000)} cannot be looked at ({error.strerror}), so it is not "
            "known which user is to run the passes: its owner.",
            hint=f"Make it first: sudo install -d -o exlab-orch -g exlab-orch -m 755 {shlex.quote(state_dir)}",
        ) from error
    try:
        return pwd.getpwuid(number)
    except KeyError as error:
        raise ConfigInvalid(
            f"The state directory {printable(state_dir, 1000)} {nameless(number)}.",
            hint=f"Give it to the user that runs exlab-orch: {to_named_user(state_dir)}",
        ) from error


def program_words(started_as: str, interpreter: str) -> tuple[str, ...]:
    """The words that start this very program: the script behind the link that was called, or the interpreter.

    Args:
        started_as: the first word of the command line.
        interpreter: the Python that runs; its path is kept, because a link in a virtual environment means that one.
    """
    beside = os.path.join(os.path.dirname(interpreter), _SCRIPT)
    for script in (os.path.realpath(started_as), os.path.realpath(beside)):
        if os.path.basename(script) == _SCRIPT and os.access(script, os.X_OK) and os.path.isfile(script):
            return (script,)
    return (interpreter, "-m", "exlab_orch")


def _in_fstab(path: str) -> list[str]:
    """Where /etc/fstab mounts something, now or later."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            rows = [line.split() for line in file if not line.lstrip().startswith("#")]
    except OSError:
        return []  # a computer without one mounts by other means
    points = [_ESCAPE.sub(lambda found: chr(int(found[1], 8)), row[1]) for row in rows if len(row) > 1]
    return [os.path.normpath(point) for point in points if point.startswith("/")]


# -- may it be run -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hindrance:
    """What keeps a user from passes."""

    message: str
    """Without the user: "cannot run …: why"."""
    hint: str


def require_runnable(passes: Passes) -> None:
    """Raise ConfigInvalid where the user of the passes cannot run the program with this configuration.

    Only root can try that for somebody else, and only root installs.
    """
    found = hindrance(passes.command(), passes.config, passes.user)
    if found is not None:
        raise ConfigInvalid(f"{passes.user}, who is to run the passes, {found.message}", hint=found.hint)


def hindrance(command: Sequence[str], config: str, user: str) -> Hindrance | None:
    """What keeps a user from our program, called so before its verb, or from the configuration that it reads."""
    why = why_not_run(command, user)
    if why is None:
        return None
    closed = next(closed_above(config, user), None)
    if closed is not None and _closed_to(user, *_of_program(command)) is None:
        return Hindrance(f"cannot read {printable(config, 1000)}: {why}", move_or_let_in(closed, user))
    hint = (
        "Mend that. A program in a folder that is closed to others belongs elsewhere: install it in "
        "/opt/exlab-orch, say, and from there: exlab-orch schedule"
    )
    return Hindrance(f"cannot run {printable(command[0], 1000)}: {why}", hint)


def why_not_run(command: Sequence[str], user: str) -> str | None:
    """Why a user cannot run our program, called so before its verb; None where it works or cannot be tried."""
    runuser = shutil.which("runuser", path=_ADMIN)  # not setpriv, which keeps the rights of root until it starts it
    if os.geteuid() != 0 or user == "root" or runuser is None:
        return None
    tried = Command(runuser, ("-u", user, "--", *command, "config", "validate"))
    try:
        ended = run_tool(tried, stall_seconds=_TRY_SECONDS)
    except (OSError, TimedOut):
        return None
    if ended.status == 0:
        return None
    closed = _closed_to(user, *_of_program(command), *command[1:])
    if closed is not None:
        return f"the folder {printable(closed, 1000)} is closed to other users."
    crashed = any(line.startswith("Traceback") for line in ended.last_lines)
    return printable(" ".join(ended.last_lines[-1:] if crashed else ended.last_lines), 1000)


def _of_program(command: Sequence[str]) -> tuple[str, str]:
    """The program that is called, and what runs it."""
    return command[0], shebang(command[0])


def _closed_to(user: str, *paths: str) -> str | None:
    """The first folder above one of the paths that a user may not enter, or None."""
    return next((folder for path in paths for folder in closed_above(path, user)), None)


# -- installing ----------------------------------------------------------------------------------------------


def files_of(kind: Kind, passes: Passes) -> tuple[ScheduleFile, ...]:
    """The files of a schedule of that kind."""
    return (cron_file(passes),) if kind == "cron" else unit_files(passes)


def install(kind: Kind, passes: Passes, *, root: str = "/", dry_run: bool = False) -> Installed:
    """Put the files of a schedule in place, each whole; nothing that somebody else wrote or edited is replaced.

    Args:
        kind: cron, or timers of systemd.
        passes: what they are filled in with.
        root: where the file system of the computer begins.
        dry_run: look at everything, and write nothing.

    Raises:
        ScheduleConflict: the other kind is active, or a file in the way is not as we wrote it.
        ConfigInvalid: this computer has no such schedule.
        WrongUser: this user may not write there.
    """
    base = root.rstrip("/")
    refuse_other_kind(kind, active_schedules(root))
    files = [ScheduleFile(f"{base}{file.path}", file.content) for file in files_of(kind, passes)]
    fresh = [file for file in files if _is_to_be_written(file, passes.config)]
    if fresh:
        _require_folder(kind, f"{base}{CRON_FOLDER if kind == 'cron' else UNIT_FOLDER}", passes)
    for file in () if dry_run else fresh:
        _write(file)
    return Installed(tuple(file.path for file in fresh), tuple(file.path for file in files if file not in fresh))


def outdated(kind: Kind, passes: Passes, *, root: str = "/") -> tuple[str, ...]:
    """Files of ours in place that would be filled in otherwise today; what a person edited is theirs and not named."""
    placed = [ScheduleFile(f"{root.rstrip('/')}{file.path}", file.content) for file in files_of(kind, passes)]
    return tuple(
        file.path
        for file in placed
        if (present := _text(file.path)) is not None and present != file.content and written_by(present) == "ours"
    )


def refuse_other_kind(kind: Kind, active: Sequence[ActiveSchedule]) -> None:
    """Raise ScheduleConflict when passes are started by the other kind of schedule: nobody could tell them apart."""
    other = next((one for one in active if one.kind != kind), None)
    if other is None:
        return
    file = printable(other.file, 1000)
    if other.kind == "cron":
        raise ScheduleConflict(
            f"cron starts passes already: {file}.",
            hint=f"Remove its line first; if the whole file is for exlab-orch: sudo rm {shlex.quote(file)}",
        )
    raise ScheduleConflict(
        f"A timer of systemd starts passes already: {file}.",
        hint=f"Switch it off first: sudo systemctl disable --now {' '.join(TIMERS)}",
    )


def _is_to_be_written(file: ScheduleFile, config: str) -> bool:
    """False where it is there just so. Raises ScheduleConflict for a file that is not ours to replace."""
    present = _text(file.path)
    if present is None or present == file.content:
        return present is None
    whose = written_by(present)
    if whose != "ours":
        raise ScheduleConflict(
            f"{file.path} is there and {'was edited' if whose == 'edited' else 'was not made by this command'}.",
            hint="Look at it, move it away, and run this again. What you changed in it belongs "
            + ("into the new one." if CRON_FOLDER in file.path else "in a drop-in: sudo systemctl edit UNIT"),
        )
    other = configuration_of(present)
    if other != config:
        raise ScheduleConflict(
            f"{file.path} starts passes for another configuration, {printable(other or 'unknown', 1000)}.",
            hint="Print this one without --install, and put it in place under another name.",
        )
    return True


def _text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ScheduleConflict(f"{path} cannot be read: {error.strerror}.", hint="Look what is there.") from error


def _write(file: ScheduleFile) -> None:
    try:
        write_whole(file.path, file.content.encode(errors="surrogateescape"), 0o644)
    except OSError as error:
        raise ConfigInvalid(
            f"{file.path} cannot be written: {error.strerror}.", hint="Mend that, and run the command again."
        ) from error


def _require_folder(kind: Kind, folder: str, passes: Passes) -> None:
    this, other = ("cron", "systemd") if kind == "cron" else ("systemd", "cron")
    if not os.path.isdir(folder):
        raise ConfigInvalid(
            f"There is no folder {folder}, so this computer does not use {this}.",
            hint=f"Install {this}, or take the other one: {install_command(passes, other)}",
        )
    if not os.access(folder, os.W_OK):
        raise WrongUser(f"Only root may write in {folder}.", hint=f"Run: {install_command(passes, this)}")


def install_command(passes: Passes, kind: str) -> str:
    """The command line that puts a schedule in place."""
    return shlex.join(["sudo", _SCRIPT, *passes.options, "schedule", kind, "--install"])
