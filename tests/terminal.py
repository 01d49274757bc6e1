"""The program on a real (pseudo) terminal of 80 columns."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import Lab

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
SECONDS = 20.0
LONGEST_SECONDS = 180.0


class Terminal:
    """A process that believes it has a terminal; what it prints is collected."""

    def __init__(self, command: list[str], columns: int = 80, lines: int = 30) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        root = str(Path(__file__).parent.parent)
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": root, "TERM": "xterm-256color", "TZ": "UTC"}
        self._process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
        )
        os.close(theirs)
        self.raw = ""

    def read_until(self, words: str) -> str:
        """Read on until these words have come; what has come so far, without escapes."""
        end = time.monotonic() + SECONDS
        while words not in self.screen and time.monotonic() < end and self._read():
            continue
        assert words in self.screen, self.screen
        return self.screen

    def _read(self) -> bool:
        if not select.select([self._ours], [], [], SECONDS)[0]:
            return False
        try:
            found = os.read(self._ours, 65536)
        except OSError:  # the other side is closed
            return False
        self.raw += found.decode(errors="replace")
        return bool(found)

    @property
    def screen(self) -> str:
        return ESCAPES.sub("", self.raw).replace("\r\n", "\n")

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> int:
        """Read to the end; the exit status. Raises TimeoutExpired where it goes on and on."""
        end = time.monotonic() + LONGEST_SECONDS
        while time.monotonic() < end and self._read():
            continue
        return self._process.wait(timeout=SECONDS)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)


@contextmanager
def terminal(lab: Lab, *words: str) -> Iterator[Terminal]:
    """The verb on a terminal."""
    opened = Terminal(lab.command(*words))
    try:
        yield opened
    finally:
        opened.close()
