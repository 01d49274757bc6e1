"""The real program under strace: watched, killed at one system call, or told that the call failed, all from outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.lab import Lab
from tests.oracle import require_program

CHANGING: Final = (
    "write,pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,"
    "link,linkat,utimensat,fchmod,fchown,openat,openat2"
)
"""Calls that change something on a disk, or may create a file."""
IN_WORKERS: Final = "write,fsync,utimensat,fchmod,openat2"
"""Calls that copying threads make; the main thread makes more of them earlier, so they are counted by path."""

_FAST: Final = ["--seccomp-bpf"]
_ENTRY: Final = re.compile(r"(\d+) +(\w+)\(")
"""A call as its line begins in a trace: thread and name."""


@dataclass(frozen=True)
class Point:
    """One system call of a command: the n-th such call of a thread, among all, or among those on the named files.

    The names are relative to the folder of the lab, so that a point found in one lab can be used in another.
    """

    call: str
    number: int
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.call}-{self.number}{' of a worker' if self.names else ''}"


def under_strace(lab: Lab, command: Sequence[str], *options: str) -> subprocess.CompletedProcess[str]:
    """The command under strace, which follows its threads and children.

    Other calls run at full speed, except where strace sends a signal: its fast filter loses that (strace 6.1).
    """
    fast = [] if any(":signal=" in option for option in options) else _FAST
    words = [require_program("strace"), "-f", *fast, "-qq", "-e", "signal=none", *options]
    return subprocess.run(
        [*words, *lab.command(*command)],
        capture_output=True,
        text=True,
        env=environment_of(lab),
        check=False,
        timeout=120,
    )


def environment_of(lab: Lab) -> dict[str, str]:
    """What the program gets of the environment. It compiles no modules: a first run makes the calls of a second."""
    ours = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"}
    return ours | lab.environment


def at(lab: Lab, command: Sequence[str], point: Point, fault: str) -> subprocess.CompletedProcess[str]:
    """Run the command with a fault at one point: ``signal=KILL``, ``error=EIO``, ``retval=0``, ``delay_enter=…``."""
    return failing(lab, command, point.call, f"{fault}:when={point.number}", *point.names)


def failing(lab: Lab, command: Sequence[str], calls: str, fault: str, *names: str) -> subprocess.CompletedProcess[str]:
    """Run the command while calls fail: every one, with ``:when=N`` the N-th, with ``:when=N+`` from the N-th on.

    ``names``, relative to the folder of the lab, restrict it to calls on these files.
    """
    watch = ("-e", f"trace={calls}", *_only(lab, names), "-e", f"inject={calls}:{fault}", "-o", "/dev/null")
    return under_strace(lab, command, *watch)


def kill_at(lab: Lab, command: Sequence[str], point: Point) -> int:
    """Run the command and ``kill -9`` it, with a child of it that is about to make the call; the exit code.

    It fails where the command never comes to the point: a kill that did not happen shows nothing.
    """
    with _held_at(lab, command, point, *_FAST) as (waiting, thread):
        os.kill(thread, signal.SIGKILL)
        waiting.process.kill()
    return waiting.returncode


class NeverReached(AssertionError):
    """The command ended before it came to the point: threads share their work out differently every time."""


@dataclass
class Waiting:
    """A command that waits at a point; its end is known once the block is over."""

    process: subprocess.Popen[str]
    stdout: str = ""
    stderr: str = ""

    @property
    def returncode(self) -> int:
        """What the command ended with; only after the block."""
        code = self.process.poll()
        assert code is not None, "the command still waits"
        return code


@contextmanager
def while_it_waits_at(lab: Lab, command: Sequence[str], point: Point) -> Iterator[Waiting]:
    """Start the command and do the block while it waits at the entry of that call; then it goes on to its end.

    Without strace from then on: the tracer is killed, and the call is made as if nobody had ever looked.
    """
    with _held_at(lab, command, point) as (waiting, _):
        yield waiting


@contextmanager
def _held_at(lab: Lab, command: Sequence[str], point: Point, *options: str) -> Iterator[tuple[Waiting, int]]:
    """Start the command under strace; inside the block one of its threads is held at the call."""
    trace = lab.root / "waiting"
    trace.unlink(missing_ok=True)
    watch = ("-e", f"trace={point.call}", *_only(lab, point.names), "-o", str(trace))
    inject = ("-e", f"inject={point.call}:delay_enter={_LONG_MICROSECONDS}:when={point.number}")
    words = [require_program("strace"), "-D", *options, "-f", "-qq", "-e", "signal=none", *watch, *inject]
    process = subprocess.Popen(
        [*words, *lab.command(*command)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment_of(lab),
    )
    waiting = Waiting(process)
    try:
        yield waiting, _wait_for(process, trace, point)
    finally:
        _kill_tracer(process)
        waiting.stdout, waiting.stderr = process.communicate(timeout=60)


_LONG_MICROSECONDS: Final = 120_000_000


def _wait_for(process: subprocess.Popen[str], trace: Path, point: Point) -> int:
    """Until a thread has entered the call for the n-th time; the number of the thread."""
    end = time.monotonic() + 60
    while True:
        lines = trace.read_text(errors="replace").splitlines() if trace.exists() else []
        for call, number, line in _calls_in(lines):
            if (call, number) == (point.call, point.number):
                return int(line.split(" ", 1)[0])
        if process.poll() is not None:
            raise NeverReached(f"it ended ({process.returncode}) before it came to {point}")
        assert time.monotonic() < end, f"it never came to {point}"
        time.sleep(0.002)


def _kill_tracer(process: subprocess.Popen[str]) -> None:
    """End the strace that follows a process of ours; the kernel lets the process go on."""
    if process.poll() is None:
        found = re.search(r"TracerPid:\s*([1-9]\d*)", Path(f"/proc/{process.pid}/status").read_text())
        if found:
            os.kill(int(found[1]), signal.SIGKILL)


def points_of(lab: Lab, command: Sequence[str], calls: str = CHANGING, *names: str) -> list[Point]:
    """Every call of the undisturbed command that changes something, each once; the command is run to its end."""
    lines = trace_of(lab, command, calls, names)
    return list(dict.fromkeys(Point(call, number, names) for call, number, line in _calls_in(lines) if _changes(line)))


def point_in(trace: Iterable[str], *patterns: str) -> Point:
    """The first call whose line in the trace of a command matches the last pattern, after lines that match the others.

    The trace is what ``trace_of`` returns.
    """
    waiting = list(patterns)
    for call, number, line in _calls_in(trace):
        if re.search(waiting[0], line):
            waiting.pop(0)
        if not waiting:
            return Point(call, number)
    raise AssertionError(f"no call matches {waiting[0]}")


def trace_of(lab: Lab, command: Sequence[str], calls: str = CHANGING, names: Sequence[str] = ()) -> list[str]:
    """The lines of a trace of the undisturbed command, which is run to its end."""
    trace = lab.root / "trace"
    shown = under_strace(lab, command, "-e", f"trace={calls}", *_only(lab, names), "-o", str(trace))
    assert shown.returncode == 0, shown.stderr
    return trace.read_text(errors="replace").splitlines()


def _only(lab: Lab, names: Iterable[str]) -> list[str]:
    return [word for name in names for word in ("-P", str(lab.root / name))]


def _calls_in(trace: Iterable[str]) -> Iterator[tuple[str, int, str]]:
    """Each call with how many such calls its thread had made by then, and its line."""
    counts: Counter[tuple[str, str]] = Counter()
    for line in trace:
        found = _ENTRY.match(line)
        if found is not None:
            thread, call = found.groups()
            counts[thread, call] += 1
            yield call, counts[thread, call], line


def _changes(line: str) -> bool:
    return re.match(r"\d+ +open", line) is None or "O_CREAT" in line
