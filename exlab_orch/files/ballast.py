"""A file of ours that only takes up room: made longer, and cut. What somebody else put in its place is neither."""

from __future__ import annotations

import fcntl
import os
import stat

from exlab_orch.files.places import opened


def lengthen(path: str, size: int) -> None:
    """Have the file take up that much, as far as the disk has room for it. Raises OSError."""
    with opened(_open(path, os.O_CREAT)) as descriptor:
        taken = _own_size(descriptor, size)
        if taken is not None:  # of chance: a file system that compresses would keep no room in zeros
            os.pwrite(descriptor, os.urandom(size - taken), taken)


def shorten(path: str, by: int, *, leave: int, most: int) -> bool:
    """Cut the file, but not below ``leave``; False where nothing can be cut. Raises OSError.

    One of more than ``most`` bytes is not ours.
    """
    with opened(_open(path)) as descriptor:
        taken = _own_size(descriptor, most)
        if taken is None or taken <= leave:
            return False
        os.ftruncate(descriptor, max(taken - by, leave))
    return True


def _open(path: str, more: int = 0) -> int:
    return os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | more, 0o600)


def _own_size(descriptor: int, most: int) -> int | None:
    """The size of the file if it can be ours; None for a folder or FIFO, another name of a file, or a large one.

    It stays so until the file is closed: what two cut and made longer at once would get a hole, which takes up no room.
    """
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    found = os.fstat(descriptor)
    is_ours = stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == os.geteuid()
    return found.st_size if is_ours and found.st_size <= most else None
