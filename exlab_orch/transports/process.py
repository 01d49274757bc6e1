"""The only place that starts programs."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from exlab_orch.files.locks import locked_descriptor
from exlab_orch.files.places import opened

_ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
_BUSY_SECONDS: Final = 10.0
"""Another pass may just be running the same program; one that takes longer than this hangs."""

_left_behind: list[subprocess.Popen[bytes]] = []
"""Children that did not die when told to; kept so that they are reaped if they ever do."""


class StillHangs(Exception):
    """An earlier start of the same program has not ended yet, so no second one is started."""


class TimedOut(Exception):
    """The program did not end in time; it was left behind, holding its lock."""


def run_python(script: str, arguments: Sequence[str], *, lock_path: str, timeout_seconds: float) -> bytes:
    """Run one of our own scripts with a bare interpreter and return what it printed.

    The child holds the lock for as long as it lives, also when we stopped waiting for it.

    Raises:
        StillHangs: an earlier one still holds the lock.
        TimedOut: it did not end in time.
        OSError: it could not be started or failed.
    """
    with locked_descriptor(lock_path, wait_seconds=_BUSY_SECONDS) as lock:
        if lock is None:
            raise StillHangs
        return _run([sys.executable, "-I", "-S", script, *arguments], lock, timeout_seconds)


def _run(command: Sequence[str], lock: int, timeout_seconds: float) -> bytes:
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_ENVIRONMENT,
        pass_fds=[lock],
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
