"""The program in a process of its own without importing it anew: a server that has imported everything forks.

Of a short command nearly all is imports, and tests start thousands. What the program sees is as if it had been started
for itself: words, environment, folder, umask and the three streams are those of the command, and nothing else is open.
What a test traces, limits, kills or starts in another environment is started for itself (``Lab.command``).
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import exlab_orch

_LONGEST: Final = 1 << 17
_START_SECONDS: Final = 120
_NUMBER: Final = 4
"""Bytes of a number that the server tells: the process, and later what it ended with."""
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Request:
    """What a program is to be started with, besides its three streams."""

    words: list[str]
    environment: dict[str, str]
    folder: str
    umask: int


# -- the side of the tests -----------------------------------------------------------------------------------


def run_program(
    words: Sequence[str], environment: Mapping[str, str], stdin: str, timeout: float
) -> subprocess.CompletedProcess[str]:
    """What ``subprocess.run`` returns of ``python -m exlab_orch``; the environment's PYTHONPATH finds this module."""
    with _one_at_a_time:
        server = _server(environment["PYTHONPATH"])
    request = Request(list(words), dict(environment), os.getcwd(), _umask())
    with _file() as given, _file() as out, _file() as err:
        os.write(given, stdin.encode())
        os.lseek(given, 0, os.SEEK_SET)
        told, telling = os.pipe()
        try:
            socket.send_fds(server, [json.dumps(asdict(request)).encode()], [given, out, err, telling])
        finally:
            os.close(telling)
        with open(told, "rb", buffering=0) as news:
            pid = _number(news.fileno(), _START_SECONDS)
            assert pid is not None, "the server of forked programs does not answer"
            code = _number(news.fileno(), timeout)
            if code is None:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(list(words), timeout)
        done = [sys.executable, "-m", "exlab_orch", *words]
        return subprocess.CompletedProcess(done, code, _content(out), _content(err))


@functools.cache
def _server(python_path: str) -> socket.socket:
    """Started when the first command comes; it ends with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": python_path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
    atexit.register(process.wait)
    atexit.register(ours.close)
    return ours


@contextmanager
def _file() -> Iterator[int]:
    """A file in memory: a disk that a test fills takes nothing from it."""
    descriptor = os.memfd_create("stream")
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _content(descriptor: int) -> str:
    """All of a file, with line ends as ``subprocess`` gives them."""
    content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    return content.decode().replace("\r\n", "\n").replace("\r", "\n")


def _number(descriptor: int, seconds: float) -> int | None:
    """What the server tells next; None when it takes longer."""
    look = select.poll()
    look.register(descriptor, select.POLLIN)
    if not look.poll(seconds * 1000):
        return None
    told = os.read(descriptor, _NUMBER)
    assert told, "the server of forked programs ended"
    return int.from_bytes(told, "big", signed=True)


def _umask() -> int:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Umask:")]
    return int(line.split()[1], 8)


# -- the side of the program ---------------------------------------------------------------------------------


def main() -> None:
    """Import the whole program, and fork until nobody asks any more; each child becomes the program."""
    for found in pkgutil.walk_packages(exlab_orch.__path__, "exlab_orch."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    gc.collect()
    gc.freeze()
    if _becomes_a_program(socket.socket(fileno=int(sys.argv[1]))):
        runpy.run_module("exlab_orch", run_name="__main__", alter_sys=True)


def _becomes_a_program(requests: socket.socket) -> bool:
    """Fork for each request and tell how its program ended: True in a child, False in the server at its end."""
    waiting = selectors.PollSelector()
    waiting.register(requests, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if key.fileobj is not requests:
                waiting.unregister(key.fileobj)
                _tell_the_end(key.fd, *key.data)
                continue
            about, files, _, _ = socket.recv_fds(requests, _LONGEST, 4)
            if not about:
                return False
            pid = os.fork()
            if pid == 0:
                requests.close()
                _dress(Request(**json.loads(about)), files)
                return True
            _tell(files[3], pid)
            waiting.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, files[3]))
            for stream in files[:3]:
                os.close(stream)


def _tell_the_end(process: int, pid: int, telling: int) -> None:
    os.close(process)
    _tell(telling, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os.close(telling)


def _tell(telling: int, number: int) -> None:
    """Nobody may listen any more: a test that waited too long went away."""
    with suppress(BrokenPipeError):
        os.write(telling, number.to_bytes(_NUMBER, "big", signed=True))


def _dress(request: Request, files: Sequence[int]) -> None:
    """Make this process what a command of its own would be when its first line runs."""
    for number, stream in enumerate(files[:3]):
        os.dup2(stream, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.umask(request.umask)
    os.chdir(request.folder)
    os.environ |= request.environment
    sys.path[0] = request.folder
    sys.argv = ["exlab_orch", *request.words]


if __name__ == "__main__":
    main()
