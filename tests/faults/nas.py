"""Starting, disturbing and ending the NAS that misbehaves (``nas_server.py``) on the NAS folder of a lab."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.lab import Lab
from tests.oracle import require_root

READY_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong on the NAS.

    Args:
        operation: a FUSE operation (``write``, ``fsync``, ``flush`` at close, ``rename``, …), or ``*`` for each.
        does: an errno name; ``hang`` and ``die`` (of the server, in that call); ``stop the caller`` (by SIGSTOP);
            ``drop`` (a write is accepted and not kept), ``short`` (half is written and so answered), ``flip N`` (one
            bit of byte N is another when read).
        name: only where this is part of the path.
        at: reads and writes that end before this byte are well.
        nth: the first call that meets it, counted from the last change of the control file.
        times: how many calls meet it; None is all that follow.
    """

    operation: str
    does: str
    name: str = ""
    at: int = 0
    nth: int = 1
    times: int | None = None


class FaultyNas:
    """``with FaultyNas(lab) as nas``: in the block the lab's NAS is a FUSE file system over what was there before.

    ``instead_of`` takes another folder, such as staging: a disk that misbehaves.

    ``manners`` are lasting: ``caches`` (the kernel keeps what was read), ``ignores case``, ``smb`` (dots and spaces at
    the end of a name vanish), ``inodes change``. At the end it is unmounted and the server reaped, whatever happened.
    """

    def __init__(self, lab: Lab, *manners: str, instead_of: Path | None = None) -> None:
        self._point = instead_of or lab.nas
        self.backing = self._point.with_name(f"{self._point.name}-disk")
        self._control = self._point.with_name(f"{self._point.name}-control.json")
        self._manners = manners
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> FaultyNas:
        require_root()
        require_fuse()
        self._point.rename(self.backing)
        self._point.mkdir()
        self.fails()
        self._server = self._started()
        return self

    def __exit__(self, *_: object) -> None:
        self._unmount()
        self._end_server()
        self._point.rmdir()
        self.backing.rename(self._point)

    # -- disturbing it ---------------------------------------------------------------------------------------

    def fails(self, *faults: Fault) -> None:
        """From now on these faults, and no other; without any it is well."""
        content = json.dumps({"manners": self._manners, "faults": [asdict(fault) for fault in faults]})
        new = self._control.with_suffix(".new")
        new.write_text(content)
        new.replace(self._control)

    def hang(self) -> None:
        """No call returns any more, until ``resume``."""
        os.kill(self._pid, signal.SIGSTOP)
        self.wait_until_it_hangs()

    def wait_until_it_hangs(self) -> None:
        wait_until_stopped(self._pid)

    def resume(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGCONT)

    def die(self) -> None:
        """The server is gone and the mount is still there: every call fails with ENOTCONN."""
        os.kill(self._pid, signal.SIGKILL)
        assert self._server is not None
        self._server.wait()

    def come_back(self) -> None:
        """Mounted anew, as an operator does after it died."""
        self._unmount()
        self._end_server()
        self._server = self._started()

    # -- starting and ending ---------------------------------------------------------------------------------

    @property
    def _pid(self) -> int:
        assert self._server is not None
        return self._server.pid

    def _started(self) -> subprocess.Popen[bytes]:
        words = [self.backing, self._point, self._control]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
        server = subprocess.Popen([sys.executable, "-m", "tests.faults.nas_server", *words], env=environment)
        self._server = server
        _wait_for(lambda: server.poll() is not None or os.path.ismount(self._point), "the NAS to be mounted")
        assert server.poll() is None, "the NAS server ended at once"
        return server

    def _unmount(self) -> None:
        """By force of the kernel first: then whoever waits for an answer gets an error."""
        if self._server is not None and self._server.poll() is None:
            self._server.kill()
            self._server.wait()
        subprocess.run(["umount", "--lazy", self._point], check=False, stderr=subprocess.DEVNULL)

    def _end_server(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._server is not None and self._server.poll() is None:
                self._server.kill()
                self._server.wait()


def require_fuse() -> None:
    """For tests with a FUSE file system: without its library the test is skipped, in CI it fails."""
    if importlib.util.find_spec("mfusepy") is not None and os.path.exists("/dev/fuse"):
        return
    if os.environ.get("CI"):
        pytest.fail("mfusepy or /dev/fuse is missing, and CI must not pass without them")
    pytest.skip("needs mfusepy and /dev/fuse")


def wait_until_stopped(process: int) -> None:
    _wait_for(lambda: _state_of(process) == "T", f"process {process} to be stopped")


def _wait_for(happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not happened():
        assert time.monotonic() < deadline, f"waited {READY_SECONDS:g} s for {what}"
        time.sleep(0.01)


def _state_of(pid: int) -> str:
    """The letter of a process in ``/proc``: T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
