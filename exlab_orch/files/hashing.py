"""SHA-256 of what really is in a file: staged files by identity, NAS files past the page cache."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from exlab_orch.clock import pause
from exlab_orch.errors import ChangedWhileCopied, nas_errors, staging_errors
from exlab_orch.files.places import close_after_failure, identity_of, open_file, opened
from exlab_orch.model import Identity
from exlab_orch.text import printable

if TYPE_CHECKING:
    from hashlib import _Hash

CHUNK: Final = 1 << 20
_TICK_NS: Final = 20_000_000
"""File times move with the kernel's clock tick, 4 to 10 ms."""
_COARSE_TICK_NS: Final = 2_000_000_000
"""Old ext4, HFS+ and many NFS servers keep whole seconds, FAT every second one."""
_LOOKS: Final = 3
_CANNOT_SYNC: Final = frozenset({errno.EINVAL, errno.EROFS, errno.EBADF, errno.ENOTSUP})

OnBytes = Callable[[int], None]


def changed(name: bytes) -> ChangedWhileCopied:
    """The error of a staged file that is not what it was a moment ago."""
    return ChangedWhileCopied(
        "The run changed while it was copied.",
        hint=f"Something still writes to it, for example to {printable(name)}; the next pass looks again.",
        files=[name],
    )


def hash_up_to(descriptor: int, size: int, on_bytes: OnBytes) -> tuple[_Hash, int]:
    """Hash from the present offset until ``size`` bytes or the end; a growing file is not chased."""
    digest, done = hashlib.sha256(), 0
    buffer = memoryview(bytearray(min(CHUNK, max(size, 1))))
    while done < size and (count := os.readv(descriptor, [buffer[: min(CHUNK, size - done)]])):
        digest.update(buffer[:count])
        done += count
        on_bytes(count)
    return digest, done


def open_settled(folder: int, name: bytes) -> tuple[int, Identity]:
    """A staged file opened to read, and its identity once pending stores through mappings are part of it.

    The fsync comes first: a store through a writable mapping may change content with an old ctime (reliability.md).
    """
    descriptor = open_file(folder, name)
    try:
        flush(descriptor)
        return descriptor, _identity_to_compare(name, descriptor)
    except (OSError, ChangedWhileCopied):
        close_after_failure(descriptor)
        raise


def _identity_to_compare(name: bytes, descriptor: int) -> Identity:
    """The identity of an open file, once its time is old enough that a later change must bear another one.

    Raises:
        ChangedWhileCopied: it never rests.
    """
    for _ in range(_LOOKS):
        identity = identity_of(os.fstat(descriptor))
        left = _granularity_ns(identity) - abs(time.time_ns() - identity.ctime_ns)
        if left <= 0:
            return identity
        pause(left / 1e9)
    raise changed(name)


def _granularity_ns(identity: Identity) -> int:
    """A time that is a whole second is most likely of a file system that keeps no parts of one."""
    return _TICK_NS if identity.ctime_ns % 1_000_000_000 else _COARSE_TICK_NS


def require_unchanged(folder: int, name: bytes, descriptor: int, identity: Identity) -> None:
    """Raise ChangedWhileCopied unless the open file and the file of that name still have the identity."""
    now = identity_of(os.fstat(descriptor))
    with opened(open_file(folder, name)) as again:
        by_name = identity_of(os.fstat(again))
    if not identity == now == by_name:
        raise changed(name)


def hash_staged(folder: int, name: bytes, on_bytes: OnBytes, *, past_memory: bool = False) -> tuple[Identity, str]:
    """Identity and SHA-256 of a staged file below an open run folder.

    ``past_memory`` reads it from the disk, whatever this computer remembers of it.

    Raises:
        ChangedWhileCopied: it changed while it was read.
        RunProblem: it could not be read.
    """
    with staging_errors("reading a staged file"):
        descriptor, identity = open_settled(folder, name)
        with opened(descriptor):
            if past_memory:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            digest, done = hash_up_to(descriptor, identity.size, on_bytes)
            if done != identity.size:
                raise changed(name)
            require_unchanged(folder, name, descriptor, identity)
    return identity, digest.hexdigest()


def read_back(folder: int, name: bytes, on_bytes: OnBytes) -> tuple[Identity, str]:
    """Stamp and SHA-256 of a file on the NAS, read from the NAS and not from this computer's memory.

    The file is opened by name, flushed (dirty pages are not dropped) and dropped from the page cache first.

    Raises:
        FileNotFoundError: it is not there.
        ExlabError: the NAS answered with another error.
    """
    with nas_errors(f"reading back {printable(name)}", missing_is_an_answer=True):
        descriptor = open_file(folder, name)
        with opened(descriptor):
            flush(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            status = os.fstat(descriptor)
            digest, _ = hash_up_to(descriptor, status.st_size, on_bytes)
            return identity_of(status), digest.hexdigest()


def flush(descriptor: int) -> None:
    """fsync, where the descriptor's file system can do that for a file opened to read."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
