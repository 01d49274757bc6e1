"""The one walk of a run: every entry below the leaf, or an error; nothing is skipped in silence."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from exlab_orch.files.linux import has_writer, is_remote
from exlab_orch.files.places import identity_of, open_file, open_folder, open_subfolder, opened
from exlab_orch.model import Identity, Listing, Place


def walk(place: Place, *, own: frozenset[bytes] = frozenset()) -> Listing:
    """The listing of a folder. Regular files named in ``own`` are kept apart: they are never data.

    Raises:
        OSError: whatever any look met; there is no partial listing (reliability.md, 8).
    """
    with opened(open_folder(place)) as leaf:
        return walk_open(leaf, own=own)


def walk_open(leaf: int, *, own: frozenset[bytes] = frozenset()) -> Listing:
    """The listing of an open folder; see ``walk``."""
    before = identity_of(os.fstat(leaf))  # a folder's time is taken before it is read, so that no later entry hides
    files: dict[bytes, Identity] = {}
    ours: dict[bytes, Identity] = {}
    folders: dict[bytes, Identity] = {}
    special: dict[bytes, str] = {}
    waiting = [b""]
    while waiting:
        for name, status in _entries(leaf, waiting.pop(), special):
            if stat.S_ISREG(status.st_mode):
                (ours if name in own else files)[name] = identity_of(status)
            elif stat.S_ISDIR(status.st_mode):
                folders[name] = identity_of(status)
                waiting.append(name)
            else:
                special[name] = kind_of(status.st_mode)
    for name in special:
        folders.pop(name, None)
    return Listing(files, folders, ours, special, before)


def _entries(leaf: int, folder: bytes, special: dict[bytes, str]) -> Iterator[tuple[bytes, os.stat_result]]:
    """What one folder of the run holds; a mount point inside the run is noted as special and not entered."""
    try:
        descriptor = open_subfolder(leaf, folder)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        special[folder] = "mount"
        return
    prefix = folder + b"/" if folder else b""
    with opened(descriptor), os.scandir(descriptor) as entries:
        for entry in entries:
            yield prefix + os.fsencode(entry.name), entry.stat(follow_symlinks=False)


def kind_of(mode: int) -> str:
    """The word for an entry that is neither a file nor a folder."""
    kinds = ((stat.S_ISLNK, "link"), (stat.S_ISFIFO, "fifo"), (stat.S_ISSOCK, "socket"))
    return next((word for test, word in kinds if test(mode)), "device")


class Writers(NamedTuple):
    """What the kernel tells about who writes to files now."""

    first: bytes | None
    """The first file that somebody on this computer has open for writing, or None."""
    is_told: bool
    """Whether it tells that of every file: not of another user's, and not on every file system."""


def open_writers(place: Place, names: Iterable[bytes]) -> bytes | None:
    """The first of the files that somebody on this computer has open for writing, or None (lifecycle.md, 3)."""
    return look_for_writers(place, names).first


def look_for_writers(place: Place, names: Iterable[bytes]) -> Writers:
    """Who has one of the files open for writing, and whether the kernel tells this process."""
    is_told = True
    with opened(open_folder(place)) as leaf:
        if is_remote(leaf):
            return Writers(None, is_told=False)  # its server grants leases by rules of its own
        for name in names:
            try:
                with opened(open_file(leaf, name)) as descriptor:
                    found = has_writer(descriptor)
            except BlockingIOError:
                found = True  # somebody holds it alone, as smbd does with an oplock
            if found:
                return Writers(name, is_told=True)
            is_told = is_told and found is not None
    return Writers(None, is_told)
