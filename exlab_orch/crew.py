"""A crew of workers: batches of files, done a few at a time, stopped at a file's end or abandoned at once."""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Final, TypeVar

from exlab_orch.progress import Observer

_OTHER_FILES: Final = 64
_BATCHES_AHEAD: Final = 2
"""Batches handed to the executor per worker: enough to keep it busy, few enough to stop soon."""

Stop = Callable[[], bool]
_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


def never() -> bool:
    """The stop rule of who has all the time there is."""
    return False


class OutOfTime(Exception):
    """The pass's time is over, or it was interrupted; what was done so far is remembered."""


class Crew:
    """Workers for the files of one run."""

    def __init__(
        self, workers: int, watch: Observer, stop: Stop = never, *, most_files: int = 64, most_bytes: int = 32 << 20
    ) -> None:
        self._workers = workers
        self._most_files = most_files
        self._most_bytes = most_bytes
        self.watch = watch
        self._stop = stop
        self._abandoned = threading.Event()

    def advance(self, byte_count: int) -> None:
        """Count bytes; a worker whose work nobody waits for any more ends here, in the middle of a file.

        Raises:
            OutOfTime: the work was abandoned.
        """
        if self._abandoned.is_set():
            raise OutOfTime
        self.watch.advance(byte_count)

    def batches(self, sizes: Mapping[bytes, int]) -> Iterator[tuple[bytes, ...]]:
        """Names in batches of a bounded number of files and bytes; a large file is a batch of its own."""
        return _batches(sizes, self._workers, self._most_files, self._most_bytes)

    def spread(self, tasks: Iterator[_Task], work: Callable[[_Task], _Result]) -> Iterator[_Result]:
        """Results of the work as they come, from a bounded number of tasks at a time.

        Raises:
            OutOfTime: the stop rule said so; tasks in hand were finished first.
            Exception: what the first failing task raised; the others are abandoned.
        """
        with ThreadPoolExecutor(self._workers) as pool:
            running: set[Future[_Result]] = set()
            try:
                while running := running | {pool.submit(work, task) for task in self._next(tasks, len(running))}:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from [future.result() for future in done]
            except BaseException:
                self._abandoned.set()
                for future in running:
                    future.cancel()
                raise
        if next(tasks, None) is not None:
            raise OutOfTime

    def _next(self, tasks: Iterator[_Task], running: int) -> Iterator[_Task]:
        """As many further tasks as there is room for, none when the time is over."""
        for _ in range(self._workers * _BATCHES_AHEAD - running):
            if self._stop():
                return
            task = next(tasks, None)
            if task is None:
                return
            yield task


def _batches(sizes: Mapping[bytes, int], workers: int, most_files: int, most_bytes: int) -> Iterator[tuple[bytes, ...]]:
    """Names in batches of a bounded number of files and bytes; a large file is a batch of its own.

    A batch keeps its files open until they are flushed, so all workers together must not run out of descriptors.
    """
    most = max(1, min(most_files, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - _OTHER_FILES) // workers))
    batch: list[bytes] = []
    total = 0
    for name, byte_count in sizes.items():
        if batch and (len(batch) >= most or total + byte_count > most_bytes):
            yield tuple(batch)
            batch, total = [], 0
        batch.append(name)
        total += byte_count
    if batch:
        yield tuple(batch)
