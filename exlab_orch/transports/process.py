"""The only place that starts programs."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import selectors
import shutil
import signal
import subprocess
import sys
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from exlab_orch.files.locks import locked_descriptor
from exlab_orch.files.places import opened
from exlab_orch.files.whole import write_all
from exlab_orch.transports.silence import Silence

_ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
_BUSY_SECONDS: Final = 10.0
"""Another pass may just be running the same program; one that takes longer than this hangs."""
PLACES: Final = "/usr/local/bin:/usr/bin:/bin"
"""Where programs of others are looked for, whatever the PATH of whoever started us."""
_TOOL_ENVIRONMENT: Final = {"PATH": PLACES, "LC_ALL": "C.UTF-8"}
_SETPRIV: Final = "/usr/bin/setpriv"
_BEAT_SECONDS: Final = 0.25
_GRACE_SECONDS: Final = 2.0
_PIECE: Final = 1 << 18
_LINES_KEPT: Final = 20
_LONGEST_LINE: Final = 2000
_LONGEST_PIECE: Final = 1 << 20
_MOST_OUTPUT: Final = 1 << 29

OnLine = Callable[[bytes], bool]
"""Is given a piece of what a program prints; True when it shows progress."""

_left_behind: list[subprocess.Popen[bytes]] = []
"""Children that did not die when told to; kept so that they are reaped if they ever do."""


class StillHangs(Exception):
    """An earlier start of the same program has not ended yet, so no second one is started."""


class TimedOut(Exception):
    """The program did not end, or made no progress, in time; one that cannot be ended keeps its locks."""


def _no_line(line: bytes) -> bool:
    del line
    return False


def _no_beat() -> None:
    return


def run_python(script: str, arguments: Sequence[str], *, lock_path: str | None, timeout_seconds: float) -> bytes:
    """Run one of our own scripts with a bare interpreter and return what it printed.

    The child holds the lock, where one is named, for as long as it lives, also when we stopped waiting for it.

    Raises:
        StillHangs: an earlier one still holds the lock.
        TimedOut: it did not end in time.
        OSError: it could not be started or failed.
    """
    command = [sys.executable, "-I", "-S", script, *arguments]
    if lock_path is None:
        return _run(command, (), timeout_seconds)
    with locked_descriptor(lock_path, wait_seconds=_BUSY_SECONDS) as lock:
        if lock is None:
            raise StillHangs
        return _run(command, (lock,), timeout_seconds)


def _run(command: Sequence[str], locks: Sequence[int], timeout_seconds: float) -> bytes:
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_ENVIRONMENT,
        pass_fds=locks,
    )
    if not _ends_within(child, timeout_seconds):
        child.kill()  # a process that hangs in the kernel does not die of it; we do not wait for that
        _left_behind.append(child)
        raise TimedOut
    output, _ = child.communicate()
    if child.returncode != 0:
        raise OSError(f"{command[3]} ended with {child.returncode}")
    return output


def _ends_within(child: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the child, which prints less than a pipe holds, ends in that time; relative, see ``clock.pause``."""
    with opened(os.pidfd_open(child.pid)) as ended:
        look = select.poll()
        look.register(ended, select.POLLIN)
        return bool(look.poll(seconds * 1000))


# -- programs that move bytes for us -------------------------------------------------------------------------


def found_program(name: str) -> str | None:
    """The program that an extra of ours put beside us, else the one in the usual folders; None where there is none."""
    beside_us = f"{os.path.dirname(sys.executable)}/{name}"
    return beside_us if os.access(beside_us, os.X_OK) else shutil.which(name, path=PLACES)


@dataclass(frozen=True, slots=True)
class Command:
    """A program and its arguments, as a pure function built them; nothing here is ever read by a shell."""

    program: str
    arguments: tuple[str | bytes, ...]
    standard_input: bytes = b""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: never evidence that it did what it was asked for."""

    status: int
    output: bytes
    last_lines: tuple[str, ...]
    """The last lines of its standard error, oldest first; they may hold anything and are printed escaped."""


def run_tool(
    command: Command,
    *,
    stall_seconds: float,
    locks: Sequence[int] = (),
    on_error_line: OnLine = _no_line,
    on_output: OnLine | None = None,
    beat: Callable[[], object] = _no_beat,
) -> Ended:
    """Run a program to its end, and end it when it makes no progress or when we are interrupted.

    Args:
        command: what to run.
        stall_seconds: how long it may make no progress: print nothing on standard output, and nothing that
            ``on_error_line`` calls progress.
        locks: descriptors of locks that it holds for as long as it lives: an orphan counts as a holder.
        on_error_line: is given every line of standard error; True when the line shows progress.
        on_output: takes pieces of standard output; without it they are collected.
        beat: called a few times a second; what it raises ends the program and goes on.

    Raises:
        TimedOut: it made no progress for that long.
        OSError: it could not be started.
    """
    child = _start(command, locks)
    talk = _Talk(child, on_error_line, on_output)
    silence = Silence(_BEAT_SECONDS)
    try:
        while talk.is_open():
            heard = talk.listen(_BEAT_SECONDS)
            beat()
            if silence.after_round(heard=heard) > stall_seconds:
                raise TimedOut
        if not _ends_within(child, stall_seconds):
            raise TimedOut
    finally:
        talk.close()
        _end(child)
    return Ended(child.returncode, bytes(talk.output), tuple(talk.lines))


def _start(command: Command, locks: Sequence[int]) -> subprocess.Popen[bytes]:
    """A child that dies with the thread that waits for it, whatever becomes of us."""
    dies_with_us = [_SETPRIV, "--pdeathsig", "KILL", "--"] if os.access(_SETPRIV, os.X_OK) else []
    with opened(os.memfd_create("standard input")) as given:
        write_all(given, command.standard_input)
        os.lseek(given, 0, os.SEEK_SET)
        return subprocess.Popen(
            [*dies_with_us, command.program, *command.arguments],
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**_TOOL_ENVIRONMENT, **command.environment},
            pass_fds=list(locks),
            start_new_session=True,  # Ctrl-C is for us; we end our children
        )


def _end(child: subprocess.Popen[bytes]) -> None:
    """See to it that the child and what it started are gone, or at least told to go."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        if not _ends_within(child, _GRACE_SECONDS):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            if not _ends_within(child, _GRACE_SECONDS):
                _left_behind.append(child)  # it hangs in the kernel, and holds its locks there
                return
    child.wait()


class _Talk:
    """What a child prints, taken as it comes."""

    def __init__(self, child: subprocess.Popen[bytes], on_error_line: OnLine, on_output: OnLine | None) -> None:
        self.output = bytearray()
        self.lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._on_error_line = on_error_line
        self._on_output = on_output
        self._unfinished = b""
        self._outputs = child.stdout
        self._both = [pipe for pipe in (child.stdout, child.stderr) if pipe is not None]
        self._pipes = selectors.DefaultSelector()
        for pipe in self._both:
            self._pipes.register(pipe, selectors.EVENT_READ)

    def is_open(self) -> bool:
        return bool(self._pipes.get_map())

    def listen(self, seconds: float) -> bool:
        """Wait that long at most for something; True when it shows progress."""
        progress = False
        for key, _ in self._pipes.select(seconds):
            piece = os.read(key.fd, _PIECE)
            if not piece:
                self._pipes.unregister(key.fileobj)
            elif key.fileobj is self._outputs:
                progress |= self._take_output(piece)
            else:
                progress |= self._take_errors(piece)
        return progress

    def _take_output(self, piece: bytes) -> bool:
        if self._on_output is not None:
            return self._on_output(piece)
        self.output += piece
        if len(self.output) > _MOST_OUTPUT:
            raise OSError(errno.EFBIG, "it printed more than anybody could use")
        return True

    def _take_errors(self, piece: bytes) -> bool:
        *lines, self._unfinished = (self._unfinished + piece).split(b"\n")
        self._unfinished = self._unfinished[-_LONGEST_PIECE:]
        self.lines.extend(line.decode(errors="backslashreplace")[:_LONGEST_LINE] for line in lines if line.strip())
        shows_progress = [self._on_error_line(line) for line in lines]
        return any(shows_progress)

    def close(self) -> None:
        if self._unfinished.strip():
            self.lines.append(self._unfinished.decode(errors="backslashreplace"))
        self._pipes.close()
        for pipe in self._both:
            pipe.close()


# -- programs that stay --------------------------------------------------------------------------------------


class Companion:
    """A program that runs beside us and ends when its standard input does: at the latest when we do, however we end."""

    def __init__(self, command: Command, *, ready_seconds: float) -> None:
        """Start it and wait until it prints something, or ends, or the time is over. Raises OSError."""
        self._child = subprocess.Popen(
            [command.program, *command.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**_TOOL_ENVIRONMENT, **command.environment},
            start_new_session=True,
        )
        self.end = weakref.finalize(self, _dismiss, self._child)
        if not _prints_within(self._child, ready_seconds):
            self.end()

    @property
    def is_there(self) -> bool:
        """Whether it still runs."""
        return self.end.alive and self._child.poll() is None

    def prints_within(self, seconds: float) -> bool:
        """Whether it prints something in that time."""
        return _prints_within(self._child, seconds)


def _prints_within(child: subprocess.Popen[bytes], seconds: float) -> bool:
    if child.stdout is None:
        return False
    look = select.poll()
    look.register(child.stdout, select.POLLIN)
    return bool(look.poll(seconds * 1000)) and bool(os.read(child.stdout.fileno(), _PIECE))


def _dismiss(child: subprocess.Popen[bytes]) -> None:
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()
    _end(child)
