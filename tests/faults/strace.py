"""The real program under strace: watched, killed at one system call, or told that the call failed, all from outside."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
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
    """The command under strace, which follows its threads and children; other calls run at full speed."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2]), **lab.environment}
    words = [require_program("strace"), "-f", "--seccomp-bpf", "-qq", "-e", "signal=none", *options]
    return subprocess.run(
        [*words, *lab.command(*command)], capture_output=True, text=True, env=environment, check=False, timeout=120
    )


def at(lab: Lab, command: Sequence[str], point: Point, fault: str) -> subprocess.CompletedProcess[str]:
    """Run the command with a fault at one point: ``signal=KILL``, ``error=EIO``, ``retval=0``, ``delay_enter=…``."""
    return failing(lab, command, point.call, f"{fault}:when={point.number}", *point.names)


def failing(lab: Lab, command: Sequence[str], calls: str, fault: str, *names: str) -> subprocess.CompletedProcess[str]:
    """Run the command while calls fail: every one, with ``:when=N`` the N-th, with ``:when=N+`` from the N-th on.

    ``names``, relative to the folder of the lab, restrict it to calls on these files.
    """
    inject = ("-e", f"inject={calls}:{fault}", "-o", "/dev/null")
    return under_strace(lab, command, "-e", f"trace={calls}", *_only(lab, names), *inject)


def kill_at(lab: Lab, command: Sequence[str], point: Point, signal: str = "KILL") -> int:
    """Run the command and send it the signal at the point; its exit code, the number of the signal negative."""
    return at(lab, command, point, f"signal={signal}").returncode


def points_of(lab: Lab, command: Sequence[str], calls: str = CHANGING, *names: str) -> list[Point]:
    """Every call of the undisturbed command that changes something, each once; the command is run to its end."""
    trace = lab.root / "trace"
    shown = under_strace(lab, command, "-e", f"trace={calls}", *_only(lab, names), "-o", str(trace))
    assert shown.returncode == 0, shown.stderr
    lines = trace.read_text(errors="replace").splitlines()
    return list(dict.fromkeys(Point(call, number, names) for call, number in _calls_in(lines)))


def _only(lab: Lab, names: Iterable[str]) -> list[str]:
    return [word for name in names for word in ("-P", str(lab.root / name))]


def _calls_in(trace: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Each changing call with how many such calls its thread had made by then."""
    counts: Counter[tuple[str, str]] = Counter()
    for line in trace:
        found = re.match(r"(\d+) +(\w+)\(", line)
        if found is None:
            continue
        thread, call = found.groups()
        counts[thread, call] += 1
        if not call.startswith("openat") or "O_CREAT" in line:
            yield call, counts[thread, call]
