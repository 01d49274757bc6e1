"""What a pass is doing right now: told to an observer, and written where another terminal can read it."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Final, Protocol, cast

from exlab_orch.state import short_hash

_WRITE_EVERY_SECONDS: Final = 0.5


class Observer(Protocol):
    """Who wants to see bytes go by. Phases are "copy", "proof", "clear" and "verify"."""

    def begin(self, run_path: str, phase: str, files: int, byte_total: int) -> None:
        """A phase of a run begins."""

    def advance(self, byte_count: int) -> None:
        """So many more bytes are done; may be called from several threads."""

    def end(self) -> None:
        """The phase is over, done or not."""


class _Quiet:
    def begin(self, run_path: str, phase: str, files: int, byte_total: int) -> None:
        del run_path, phase, files, byte_total

    def advance(self, byte_count: int) -> None:
        del byte_count

    def end(self) -> None:
        return


QUIET: Final[Observer] = _Quiet()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running phase is."""

    run_path: str
    phase: str
    files: int
    byte_total: int
    bytes_done: int
    bytes_per_second: float
    process: int
    """The process id of the pass."""
    process_started: int
    """Its start time in clock ticks since boot: ids are used again."""


class ProgressFile:
    """An observer that passes everything on and keeps one small file in the state directory up to date."""

    def __init__(self, folder: str, then: Observer = QUIET) -> None:
        self._folder = folder
        self._then = then
        self._started = self._written = 0.0
        self._now: Progress | None = None
        self._lock = threading.Lock()

    def begin(self, run_path: str, phase: str, files: int, byte_total: int) -> None:
        """See Observer."""
        self._started = time.monotonic()
        self._now = Progress(run_path, phase, files, byte_total, 0, 0.0, os.getpid(), _start_ticks(os.getpid()) or 0)
        self._write()
        self._then.begin(run_path, phase, files, byte_total)

    def advance(self, byte_count: int) -> None:
        """See Observer."""
        with self._lock:
            self._then.advance(byte_count)
            self._count(byte_count)

    def _count(self, byte_count: int) -> None:
        if self._now is None:
            return
        done = self._now.bytes_done + byte_count
        elapsed = max(time.monotonic() - self._started, 1e-6)
        self._now = replace(self._now, bytes_done=done, bytes_per_second=done / elapsed)
        if time.monotonic() - self._written > _WRITE_EVERY_SECONDS:
            self._write()

    def end(self) -> None:
        """See Observer."""
        if self._now is not None:
            _remove(_file_of(self._folder, self._now.run_path))
            self._now = None
        self._then.end()

    def _write(self) -> None:
        """Neither fsynced nor atomic: a power cut ends the pass it tells about, and who reads half asks again.

        A file that cannot be written only means that nobody can look on: the pass itself meets a full state disk.
        """
        if self._now is None:
            return
        self._written = time.monotonic()
        with (
            contextlib.suppress(OSError),
            open(_file_of(self._folder, self._now.run_path), "w", encoding="utf-8") as file,
        ):
            json.dump(asdict(self._now), file)


@contextmanager
def phase(watch: Observer, run_path: str, name: str, files: int, byte_total: int) -> Iterator[None]:
    """Tell the observer that a phase begins and, whatever happens, that it ends."""
    watch.begin(run_path, name, files, byte_total)
    try:
        yield
    finally:
        watch.end()


def live_progress(folder: str) -> dict[str, Progress]:
    """What running passes are doing, by run path; what a dead process left is passed over."""
    found = (_read(f"{folder}/{name}") for name in _names(folder) if name.endswith(".json"))
    return {one.run_path: one for one in found if one is not None and is_alive(one)}


def sweep(folder: str) -> None:
    """Remove what dead processes left behind."""
    for name in _names(folder):
        one = _read(f"{folder}/{name}")
        if one is None or not is_alive(one):
            _remove(f"{folder}/{name}")


def is_alive(one: Progress) -> bool:
    """Whether the process that wrote it still runs."""
    return _start_ticks(one.process) == one.process_started


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _read(path: str) -> Progress | None:
    try:
        with open(path, encoding="utf-8") as file:
            return Progress(**cast("dict[str, object]", json.load(file)))  # type: ignore[arg-type]
    except (OSError, ValueError, TypeError):
        return None


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _start_ticks(process: int) -> int | None:
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _file_of(folder: str, run_path: str) -> str:
    return f"{folder}/{short_hash(run_path)}.json"
