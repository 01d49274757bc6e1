"""Copying a batch of staged files and proving each by reading it back: plain values in, plain values out.

The batch is the seam for another executor: it is picklable, it knows only places, names and identities, and it either
returns what it did or raises. The source is read once; SHA-256 is computed while the bytes go by.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from exlab_orch.errors import nas_errors, staging_errors
from exlab_orch.files.hashing import (
    CHUNK,
    OnBytes,
    changed,
    open_settled,
    read_back,
    require_unchanged,
)
from exlab_orch.files.linux import open_contained
from exlab_orch.files.places import Style, close_after_failure, open_folder, opened
from exlab_orch.files.whole import write_all
from exlab_orch.model import Identity, Place


@dataclass(frozen=True, slots=True)
class Batch:
    """Files to copy from the run folder into the hidden folder, whose subfolders exist already."""

    source: Place
    target: Place
    files: tuple[tuple[bytes, Identity], ...]
    style: Style


@dataclass(frozen=True, slots=True)
class Copied:
    """One file of a batch: what was read in staging and what was read back from the NAS."""

    name: bytes
    identity: Identity
    sha256: str
    stamp: Identity
    read_back_sha256: str

    @property
    def proved(self) -> bool:
        return self.sha256 == self.read_back_sha256


@dataclass(frozen=True, slots=True)
class _Written:
    name: bytes
    identity: Identity
    sha256: str
    descriptor: int


def copy_batch(batch: Batch, on_bytes: OnBytes) -> tuple[Copied, ...]:
    """Copy, flush, drop from the page cache and read back every file of the batch, in that order.

    Raises:
        ChangedWhileCopied: a staged file is not what the walk saw.
        ExlabError: staging or the NAS answered with an error.
    """
    with staging_errors("opening the run folder"):
        source = open_folder(batch.source)
    with opened(source):
        with nas_errors("opening the hidden folder"):
            target = open_folder(batch.target)
        with opened(target):
            written = _write_files(source, target, batch, on_bytes)
            return tuple(_proved_by_reading(target, one) for one in written)


def _write_files(source: int, target: int, batch: Batch, on_bytes: OnBytes) -> list[_Written]:
    """Write all, then flush all: the first flush carries most of the batch to the disk."""
    written: list[_Written] = []
    try:
        for name, identity in batch.files:
            written.append(_write_file(source, target, name, identity, batch.style, on_bytes))
        with nas_errors("flushing copied files"):
            for one in written:
                os.fsync(one.descriptor)
    except BaseException:
        for one in written:
            close_after_failure(one.descriptor)
        raise
    _close_all(written)
    return written


def _close_all(written: list[_Written]) -> None:
    with nas_errors("closing copied files"):
        for position, one in enumerate(written):
            try:
                os.close(one.descriptor)
            except OSError:
                for later in written[position + 1 :]:
                    close_after_failure(later.descriptor)
                raise


def _write_file(source: int, target: int, name: bytes, identity: Identity, style: Style, on_bytes: OnBytes) -> _Written:
    with staging_errors("opening a staged file"):
        reading, found = open_settled(source, name)
    with opened(reading):
        if found != identity:
            raise changed(name)
        with nas_errors("making a file in the hidden folder"):
            writing = open_contained(target, name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
        try:
            sha256 = _pour(reading, writing, name, identity.size, on_bytes)
            with staging_errors("looking at a staged file again"):
                require_unchanged(source, name, reading, identity)
            with nas_errors("setting time and mode of a copied file"):
                style.apply(writing, style.file_mode)
                os.utime(writing, ns=(identity.mtime_ns, identity.mtime_ns))
        except BaseException:
            close_after_failure(writing)
            raise
    return _Written(name, identity, sha256, writing)


def _pour(reading: int, writing: int, name: bytes, size: int, on_bytes: OnBytes) -> str:
    """Copy exactly ``size`` bytes and return their SHA-256; a file that grows is not chased."""
    digest, done = hashlib.sha256(), 0
    buffer = memoryview(bytearray(min(CHUNK, max(size, 1))))
    while done < size:
        with staging_errors("reading a staged file"):
            count = os.readv(reading, [buffer[: min(CHUNK, size - done)]])
        if not count:
            raise changed(name)
        digest.update(buffer[:count])
        with nas_errors("writing a file in the hidden folder"):
            write_all(writing, buffer[:count])
        done += count
        on_bytes(count)
    return digest.hexdigest()


def _proved_by_reading(target: int, one: _Written) -> Copied:
    with nas_errors("reading back a copied file"):
        stamp, sha256 = read_back(target, one.name, _no_bytes)
    return Copied(one.name, one.identity, one.sha256, stamp, sha256)


def _no_bytes(count: int) -> None:
    """The read-back is not counted: the bar counts bytes copied."""
