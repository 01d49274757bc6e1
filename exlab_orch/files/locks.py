"""Kernel locks: held by an open file, freed by the kernel when the process dies, never unlinked by us.

Somebody else may unlink one; then the path leads to another file, and who looks again finds out.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from exlab_orch.clock import pause
from exlab_orch.errors import state_errors

_POLL_SECONDS: Final = 0.05
_LOOK_SECONDS: Final = 0.005
"""A look at who holds a lock is over long before that."""


def try_lock(path: str) -> int | None:
    """A descriptor that holds the lock, or None when somebody else does. Closing the descriptor frees it.

    Raises:
        StateUnavailable: locks are in the state directory, and it cannot be used.
    """
    with state_errors(path):
        return _try_lock(path)


def _try_lock(path: str) -> int | None:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if is_still_at(path, descriptor):
            return descriptor
        os.close(descriptor)  # it was unlinked before we had the lock: whoever comes now locks another file


def is_held(path: str) -> bool:
    """Whether somebody holds the lock now.

    The kernel tells only who asks for it: we ask for a shared one, which other lookers do not mind, and give it back at
    once. Who wants the lock in that very moment is refused, and ``one_of`` therefore asks a second time.

    Raises:
        StateUnavailable: locks are in the state directory, and it cannot be used.
    """
    with state_errors(path):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False


def is_seen_held(path: str) -> bool | None:
    """Whether the kernel's table shows somebody with the lock; None where that cannot be told.

    Unlike ``is_held`` it needs no right to open the file, and never stands in anybody's way.
    """
    try:
        inode = os.stat(path, follow_symlinks=False).st_ino
        with open("/proc/locks", encoding="ascii") as table:
            return any(line.split()[1] == "FLOCK" and f":{inode} " in line for line in table)
    except FileNotFoundError:
        return False
    except OSError:
        return None


def is_still_at(path: str, descriptor: int) -> bool:
    """Whether the path leads to the open file; where it does not, another process can have "the same" lock."""
    try:
        found, held = os.stat(path, follow_symlinks=False), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, held)


def locked(path: str, *, wait_seconds: float = 0.0) -> AbstractContextManager[bool]:
    """Hold the lock inside the block; yields False, without it, when it could not be had in time."""
    return one_of([path], wait_seconds=wait_seconds)


@contextmanager
def one_of(paths: list[str], *, wait_seconds: float = 0.0) -> Iterator[bool]:
    """Hold any one of the locks inside the block (a slot); yields False when all are taken."""
    with _held(paths, wait_seconds) as descriptor:
        yield descriptor is not None


def locked_descriptor(path: str, *, wait_seconds: float = 0.0) -> AbstractContextManager[int | None]:
    """Like ``locked``, but yields the descriptor that holds the lock, to hand to a child; None without it."""
    return _held([path], wait_seconds)


@contextmanager
def _held(paths: list[str], wait_seconds: float) -> Iterator[int | None]:
    deadline = time.monotonic() + wait_seconds
    descriptor = _first_free(paths)
    if descriptor is None and len(paths) > 1:  # slots are looked at by others, see is_held
        pause(_LOOK_SECONDS)
        descriptor = _first_free(paths)
    while descriptor is None and time.monotonic() < deadline:
        pause(_POLL_SECONDS)
        descriptor = _first_free(paths)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            with state_errors(paths[0]):
                os.close(descriptor)


def _first_free(paths: list[str]) -> int | None:
    for path in paths:
        descriptor = try_lock(path)
        if descriptor is not None:
            return descriptor
    return None
