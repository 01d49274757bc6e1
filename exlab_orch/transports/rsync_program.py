"""The programs ssh and rsync: finding them, running them against one far side, translating what goes wrong."""

from __future__ import annotations

import contextlib
import math
import os
import pwd
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from shlex import quote
from typing import Final, TypeVar

from exlab_orch.config_nas import RsyncNas
from exlab_orch.errors import (
    ChangedWhileCopied,
    ExlabError,
    NasAuthFailed,
    NasConflict,
    NasFault,
    NasUnreachable,
    NasWrongMarker,
    SyncFailed,
    ToolMissing,
    ToolTooOld,
)
from exlab_orch.files.hashing import OnBytes
from exlab_orch.groups import user_name
from exlab_orch.hints import IN_THE_WAY, TRIES_AGAIN, promised
from exlab_orch.transports import rsync_commands as ask
from exlab_orch.transports import rsync_output as told
from exlab_orch.transports import rsync_scripts as scripts
from exlab_orch.transports.process import PLACES, Command, Companion, Ended, TimedOut, run_tool
from exlab_orch.transports.tool_errors import REFUSED, error_of, quoted

_OLDEST: Final = (3, 2, 3)
"""The first one that knows --mkpath."""
_SLOWEST_BYTES_PER_SECOND: Final = 10 << 20
"""A disk that reads or writes at least so fast is not taken for one that hangs."""
_SSH_FAILED: Final = 255
_SHARE_AGAIN_SECONDS: Final = 60.0
_READY_SECONDS: Final = 20.0
_NO_SUCH_PROGRAM: Final = 127
_RSYNC_TIMED_OUT: Final = frozenset({30, 35})
_NOT_FOUND: Final = re.compile(r"(?m): (command )?not found$")
_VANISHED: Final = re.compile(r"\[sender\].*No such file|file has vanished")
_NAMED: Final = re.compile(r"'.*'|\".*\"|(?<=cannot open ).*(?=: )")
_ECHO: Final = re.compile(r"^rsync error: |connection unexpectedly closed")
"""What rsync adds when the other side, or ssh, has said what is wrong."""
_INSTALL: Final = "Install them as root on this computer: apt install rsync openssh-client"

_Read = TypeVar("_Read")
OnOutput = Callable[[bytes], bool]


class NotThere(Exception):
    """What was asked for is not on the far side."""


class NoSuchTool(Exception):
    """The far side has no such program; there is another way."""


class Taken(Exception):
    """The name is taken at the far side; nothing was changed."""


class OtherSpelling(Exception):
    """A folder on the way is there under a like name."""


_ANSWERS: Final[Mapping[int, type[Exception]]] = {
    scripts.NOT_THERE: NotThere,
    scripts.NO_SUCH_TOOL: NoSuchTool,
    scripts.TAKEN: Taken,
    scripts.OTHER_SPELLING: OtherSpelling,
}


def no_bytes(count: int) -> None:
    """Bytes that nobody counts."""
    del count


class FarSide:
    """ssh and rsync with the settings of one NAS."""

    def __init__(self, nas: RsyncNas, private_folder: str | None = None) -> None:
        """``private_folder``, which nobody else may write in, holds the socket of a connection that is shared."""
        self._nas = nas
        self._far = ask.Far.of(nas)
        self._rsync: str | None = None
        self._socket = ask.socket_in(private_folder, f"ssh-{secrets.token_hex(4)}") if private_folder else None
        self._answered = False
        self._shared: Companion | None = None
        self._shared_at = -_SHARE_AGAIN_SECONDS

    def run(
        self,
        script: str,
        arguments: Sequence[str],
        doing: str,
        *,
        given: bytes = b"",
        byte_count: int = 0,
        on_bytes: OnBytes = no_bytes,
        on_output: OnOutput | None = None,
        locks: Iterable[int] = (),
    ) -> bytes:
        """Run one of the fixed scripts there and return what it printed.

        Args:
            script: one of ``rsync_scripts``.
            arguments: what follows the root.
            doing: completes "while …" in errors.
            given: its standard input.
            byte_count: how much it may read or flush without a word.
            on_bytes: is asked a few times a second; what it raises ends the program.
            on_output: takes what is printed, piece by piece, instead.
            locks: descriptors that the program holds while it lives.

        Raises:
            NotThere, NoSuchTool, Taken, ExlabError
        """
        words = ask.remote(self._connection(), self._far, script, *arguments)
        command = Command(_found("ssh"), words, given, _environment())
        patience = self._nas.stall_seconds + byte_count / _SLOWEST_BYTES_PER_SECOND
        ended = self._run(command, patience, doing, on_bytes=on_bytes, on_output=on_output, locks=locks)
        self._answered = ended.status != _SSH_FAILED
        if ended.status != 0:
            raise self._failed(ended, doing)
        return ended.output

    def upload(
        self,
        staged: str,
        hidden: str,
        given: bytes,
        *,
        partial: str,
        largest: int = 0,
        on_bytes: OnBytes,
        locks: Iterable[int],
        bytes_per_second: float | None = None,
    ) -> None:
        """Send the files named in ``given`` from a staged folder into a hidden folder there. Raises ExlabError.

        The far side may read so much as the ``largest`` file without a word: what is there of it already.
        """
        where = (self._shell(), staged, self._far, hidden)
        limit = ask.limit(bytes_per_second)
        arguments = ask.upload(*where, partial=partial, timeout=self._patience(), limit=limit)
        progress = told.Progress(on_bytes)
        doing, take = "copying the run", progress.take
        self._copy(arguments, doing, given=given, byte_count=largest, on_bytes=on_bytes, on_output=take, locks=locks)

    def listing(self, path: str, doing: str) -> bytes:
        """What rsync lists of a folder there. Raises NotThere, ExlabError."""
        return self._copy(ask.listing(self._shell(), self._far, path, timeout=self._patience()), doing).output

    def _copy(
        self,
        arguments: ask.Arguments,
        doing: str,
        *,
        given: bytes = b"",
        byte_count: int = 0,
        on_bytes: OnBytes = no_bytes,
        on_output: OnOutput | None = None,
        locks: Iterable[int] = (),
    ) -> Ended:
        command = Command(self._rsync_here(), arguments, given, {**_environment(), "TZ": "UTC0"})
        patience = self._nas.stall_seconds + byte_count / _SLOWEST_BYTES_PER_SECOND
        ended = self._run(command, patience, doing, on_bytes=on_bytes, on_output=on_output, locks=locks)
        if ended.status != 0:
            raise _rsync_failed(ended, doing)
        return ended

    def _run(
        self,
        command: Command,
        patience: float,
        doing: str,
        *,
        on_bytes: OnBytes,
        on_output: OnOutput | None,
        locks: Iterable[int],
    ) -> Ended:
        name = os.path.basename(command.program)
        try:
            return run_tool(
                command, stall_seconds=patience, locks=tuple(locks), on_output=on_output, beat=lambda: on_bytes(0)
            )
        except TimedOut as error:
            self._stop_sharing()
            raise _no_progress(name, patience, doing) from error
        except OSError as error:
            raise ToolMissing(f"{command.program} cannot be started: {error.strerror}.", hint=_INSTALL) from error

    def _failed(self, ended: Ended, doing: str) -> Exception:
        """What the status of a script, or of ssh itself, means."""
        lines = ended.last_lines
        if ended.status in _ANSWERS:
            return _ANSWERS[ended.status]()
        if ended.status == scripts.NO_ROOT:
            return NasWrongMarker(
                f"There is no {self._nas.name}.", hint="Make that folder on the NAS, or correct target and path."
            )
        if ended.status == scripts.IN_THE_WAY:
            return _in_the_way(lines, doing)
        if ended.status == scripts.CUT_OFF:
            return NasUnreachable(
                f"The connection broke while {doing}.", hint=promised("Check the network and the NAS", TRIES_AGAIN)
            )
        if ended.status == _SSH_FAILED:
            return self._to_try(_ssh_failed(lines, doing))
        if ended.status == _NO_SUCH_PROGRAM or _NOT_FOUND.search("\n".join(lines)):
            return _missing_there(quoted("ssh", lines), doing)
        return error_of("ssh", _reasons(lines), doing, shown=lines)

    def _to_try(self, error: ExlabError) -> ExlabError:
        """The error, with the command to try by hand where the account does not let us in."""
        if not error.message.startswith(REFUSED):
            return error
        hint = (
            f"Let {self._nas.ssh_key_path} be the service user's alone (mode 0600), and its public half stand in "
            "authorized_keys of the account on the NAS. "
            f"Then try it: sudo -u {quote(user_name(os.geteuid()))} {ask.by_hand(self._nas)}"
        )
        return NasAuthFailed(error.message, hint=hint)

    def _shell(self) -> str:
        return ask.remote_shell(_found("ssh"), self._connection())

    def _connection(self) -> ask.Arguments:
        """Options for ssh. One connection is opened and shared by what follows: a new one takes far longer than a look.

        It only saves time: where it cannot be opened, or went away, ssh makes one of its own and tells what is wrong.
        """
        is_due = self._answered and time.monotonic() - self._shared_at >= _SHARE_AGAIN_SECONDS
        if self._socket is not None and is_due and not (self._shared is not None and self._shared.is_there):
            self._shared_at = time.monotonic()
            options = ask.connection(self._nas, self._socket, opens_it=True)
            command = Command(_found("ssh"), ask.stay(options, self._far), environment=_environment())
            with contextlib.suppress(OSError):
                self._shared = Companion(command, ready_seconds=_READY_SECONDS)
        is_shared = self._shared is not None and self._shared.is_there
        return ask.connection(self._nas, self._socket if is_shared else None)

    def _stop_sharing(self) -> None:
        if self._shared is not None:
            self._shared.end()

    def _patience(self) -> int:
        """rsync's own limit for a silent far side, a little above ours."""
        return math.ceil(self._nas.stall_seconds) + 5

    def _rsync_here(self) -> str:
        """The program, looked for and asked for its version once. Raises ToolMissing, ToolTooOld."""
        if self._rsync is None:
            program = _found("rsync")
            _require_version(program)
            self._rsync = program
        return self._rsync


def _found(name: str) -> str:
    program = shutil.which(name, path=PLACES)
    if program is None:
        raise ToolMissing(f"The program {name} is not installed.", hint=_INSTALL)
    return program


def installed_rsync() -> str:
    """The rsync of this computer and its version. Raises ToolMissing, ToolTooOld."""
    program = _found("rsync")
    return f"{program} is rsync {'.'.join(map(str, _require_version(program)))}"


def installed_ssh() -> str:
    """The ssh of this computer. Raises ToolMissing."""
    return f"{_found('ssh')} is there"


def _require_version(program: str) -> tuple[int, ...]:
    try:
        ended = run_tool(Command(program, ask.version(), environment=_environment()), stall_seconds=30)
    except (OSError, TimedOut) as error:
        raise ToolMissing(f"{program} cannot be started: {error}.", hint=_INSTALL) from error
    found = told.version(ended.output)
    if found is None:
        raise ToolMissing(f"{program} does not say which rsync it is.", hint=_INSTALL)
    if found < _OLDEST:
        shown = [".".join(map(str, numbers)) for numbers in (found, _OLDEST)]
        raise ToolTooOld(f"{program} is rsync {shown[0]}; at least {shown[1]} is needed.", hint=_INSTALL)
    return found


def _no_progress(name: str, patience: float, doing: str) -> NasUnreachable:
    return NasUnreachable(
        f"{name} made no progress for {patience:g} s while {doing}; it was ended.",
        hint=promised("Check the NAS and the network", TRIES_AGAIN),
    )


def _in_the_way(lines: Sequence[str], doing: str) -> NasConflict:
    return NasConflict(
        f"A file or a link stands where something else belongs, while {doing}. {quoted('ssh', lines)}",
        hint=promised(IN_THE_WAY),
    )


def _ssh_failed(lines: Sequence[str], doing: str) -> ExlabError:
    """ssh itself, or the connection: what has no meaning of its own is a connection that broke."""
    meant = error_of("ssh", lines, doing)
    if isinstance(meant, NasFault):
        return meant
    return NasUnreachable(
        f"The connection to the NAS broke while {doing}. {quoted('ssh', lines)}",
        hint=promised("Check the network and the NAS", TRIES_AGAIN),
    )


def _missing_there(said: str, doing: str) -> ToolMissing:
    return ToolMissing(
        f"The NAS lacks a program that is needed, while {doing}. {said}",
        hint="Install it there, or enable ssh and rsync in the NAS's settings; see the page about ssh.",
    )


def _rsync_failed(ended: Ended, doing: str) -> Exception:
    lines = [line for line in ended.last_lines if not _ECHO.search(line)] or ended.last_lines
    if _VANISHED.search("\n".join(lines)):
        return ChangedWhileCopied(
            f"The run changed while it was copied. {quoted('rsync', lines)}",
            hint="Something removes files from it in staging; the next pass looks again.",
        )
    if ended.status in _RSYNC_TIMED_OUT:
        return NasUnreachable(
            f"The NAS fell silent while {doing}. {quoted('rsync', lines)}",
            hint=promised("Check the NAS and the network", TRIES_AGAIN),
        )
    if ended.status == _NO_SUCH_PROGRAM or _NOT_FOUND.search("\n".join(lines)):
        return _missing_there(quoted("rsync", lines), doing)
    if ended.status == _SSH_FAILED:
        return _ssh_failed(lines, doing)
    return error_of("rsync", _reasons(lines), doing, shown=lines)


def _reasons(lines: Sequence[str]) -> list[str]:
    """The lines without the names in them, which may hold any words."""
    return [_NAMED.sub("…", line) for line in lines]


def understood(doing: str, read: Callable[[], _Read]) -> _Read:
    """What a parser makes of the far side's output. Raises SyncFailed where it is garbage."""
    try:
        return read()
    except told.Garbage as error:
        raise SyncFailed(
            f"The NAS printed what cannot be understood while {doing}: {error}.",
            hint="It is tried again later. If it goes on, see that the account's start-up files print nothing.",
        ) from error


def _environment() -> dict[str, str]:
    return {"HOME": pwd.getpwuid(os.geteuid()).pw_dir}
