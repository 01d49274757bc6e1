"""Opening folders and files below a root, making folders, and reading small files whole."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from exlab_orch.files.linux import birth_ns, open_contained
from exlab_orch.groups import group_refused
from exlab_orch.model import Identity, LeafIdentity, Place

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FSYNC_UNKNOWN: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EROFS})
_SETUID: Final = stat.S_ISUID


@dataclass(frozen=True, slots=True)
class Style:
    """Modes and group of what we make in a folder; None leaves what the system gives.

    ``insist`` makes a refusal an error: somebody configured it. What merely follows the parent folder may be refused.
    """

    dir_mode: int | None = None
    file_mode: int | None = None
    gid: int | None = None
    insist: bool = False

    def apply(self, descriptor: int, mode: int | None) -> None:
        """Give the open file or folder its mode and group.

        Raises:
            PermissionRefused: it cannot get the configured group.
        """
        try:
            if self.gid is not None and os.fstat(descriptor).st_gid != self.gid:
                self._give_group(descriptor, self.gid)
            if mode is not None:
                os.fchmod(descriptor, mode & ~_SETUID)
        except OSError as error:
            if self.insist or error.errno not in (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EINVAL):
                raise

    def _give_group(self, descriptor: int, gid: int) -> None:
        try:
            os.fchown(descriptor, -1, gid)
        except PermissionError as error:
            if self.insist:
                raise group_refused(gid, error) from error
            raise


PLAIN: Final = Style()


def identity_of(status: os.stat_result) -> Identity:
    """What ``stat`` says about a file, as the identity we compare."""
    return Identity(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@contextmanager
def opened(descriptor: int) -> Iterator[int]:
    """Close the descriptor at the end; an error of ``close`` is an error (NFS and SMB report lost writes there)."""
    try:
        yield descriptor
    except BaseException:
        close_after_failure(descriptor)
        raise
    os.close(descriptor)


def open_plain(path: str, flags: int) -> int:
    """Open a plain file of ours, a link to one included; an opener for ``open`` that waits for no FIFO's writer.

    Raises:
        OSError: EINVAL for what is no plain file, and the usual ones.
    """
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is not a plain file", path)


def close_after_failure(descriptor: int) -> None:
    """Close; what ``close`` may say then, on a NAS that is gone, must not hide what went wrong first."""
    with suppress(OSError):
        os.close(descriptor)


def open_folder(place: Place) -> int:
    """A descriptor of the folder. Raises OSError, also for a link or a mount point on the way."""
    root = os.open(place.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if not place.path:
        return root
    with opened(root):
        return open_contained(root, os.fsencode(place.path), _FOLDER)


def open_subfolder(folder: int, name: bytes) -> int:
    """A descriptor of a folder below an open one (``b""`` is the folder itself, opened anew)."""
    return open_contained(folder, name or b".", _FOLDER)


def open_file(folder: int, name: bytes) -> int:
    """A descriptor to read a regular file below an open folder.

    Raises:
        OSError: also EISDIR-like EINVAL when it is not a regular file.
    """
    descriptor = open_contained(folder, name, _READ)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.ELOOP, "it is not a regular file", os.fsdecode(name))
    return descriptor


def leaf_identity(place: Place) -> LeafIdentity:
    """The identity of the folder itself (lifecycle.md, 2: inode and birth time, no device number)."""
    with opened(open_folder(place)) as folder:
        return LeafIdentity(os.fstat(folder).st_ino, birth_ns(folder))


def exists(place: Place, name: str) -> bool:
    """Whether the folder holds an entry of that name, of any kind. Errors other than "not there" are raised."""
    try:
        with opened(open_folder(place)) as folder:
            os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def is_folder(place: Place) -> bool:
    """Whether the folder is there. A link or a file in its place, and any other error, is raised."""
    try:
        os.close(open_folder(place))
    except FileNotFoundError:
        return False
    return True


def status_of(place: Place, name: str) -> Identity | None:
    """The identity of an entry, or None where there is none."""
    try:
        with opened(open_folder(place)) as folder:
            return identity_of(os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return None


def read_small(place: Place, name: str, limit: int) -> tuple[bytes, Identity] | None:
    """The content of a regular file and its identity, or None where it is not there.

    Raises:
        OSError: EFBIG when it is longer than ``limit`` bytes; the usual ones.
    """
    try:
        with opened(open_folder(place)) as folder, opened(open_file(folder, os.fsencode(name))) as descriptor:
            identity = identity_of(os.fstat(descriptor))
            if identity.size > limit:
                raise OSError(errno.EFBIG, f"it is larger than {limit} bytes", name)
            return read_exactly(descriptor, identity.size), identity
    except FileNotFoundError:
        return None


def read_exactly(descriptor: int, size: int) -> bytes:
    """Up to ``size`` bytes from the start; fewer where the file is shorter."""
    parts: list[bytes] = []
    while size > 0 and (part := os.read(descriptor, min(size, 1 << 20))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def sync_folder(folder: int) -> None:
    """Make the folder's entries durable; file systems that cannot do that for folders (CIFS, sshfs) are let pass."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in _FSYNC_UNKNOWN:
            raise


def sync_place(place: Place) -> None:
    """Make the entries of a folder durable."""
    with opened(open_folder(place)) as folder:
        sync_folder(folder)


def make_folders(place: Place, style: Style = PLAIN) -> None:
    """Make the folder and those above it that are missing, each durable before the next. The root is never made."""
    with opened(os.open(place.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
        parts = os.fsencode(place.path).split(b"/") if place.path else []
        for depth in range(1, len(parts) + 1):
            make_folder(root, b"/".join(parts[:depth]), style)


def make_folder(base: int, name: bytes, style: Style = PLAIN) -> None:
    """Make one folder below an open one, unless it is there already."""
    head, _, tail = name.rpartition(b"/")
    with opened(open_subfolder(base, head)) as parent:
        try:
            os.mkdir(tail, dir_fd=parent)
        except FileExistsError:
            os.close(open_subfolder(base, name))  # a link or a file in its place is an error
            return
        with opened(open_subfolder(parent, tail)) as made:
            style.apply(made, style.dir_mode)
        sync_folder(parent)
