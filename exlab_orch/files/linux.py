"""The Linux system calls that Python does not offer: openat2, renameat2, statx, ioprio_set, the probe for writers."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from typing import Final

_libc = ctypes.CDLL(None, use_errno=True)

_NR_OPENAT2: Final = 437
_RESOLVE_NO_XDEV: Final = 1
_RESOLVE_NO_MAGICLINKS: Final = 2
_RESOLVE_NO_SYMLINKS: Final = 4
_RESOLVE_BENEATH: Final = 8
_CONTAINED: Final = _RESOLVE_NO_XDEV | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_SYMLINKS | _RESOLVE_BENEATH

_RENAME_NOREPLACE: Final = 1
CANNOT_RENAME: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})
"""What ``rename_no_replace`` answers on FUSE and old file systems."""
_AT_EMPTY_PATH: Final = 0x1000
_STATX_BTIME: Final = 0x800
_STATX_MNT_ID: Final = 0x1000
_STATX_SIZE: Final = 256

_REMOTE: Final = frozenset({0x6969, 0xFF534D42, 0xFE534D42, 0x517B, 0x65735546, 0x01021997, 0x00C36400})
"""statfs(2): NFS, CIFS, SMB2, SMB, FUSE, 9P, Ceph."""
_GENERIC: Final = (30, 31)
_NR_IOPRIO: Final = {
    "x86_64": (251, 252),
    "aarch64": _GENERIC,
    "riscv64": _GENERIC,
    "loongarch64": _GENERIC,
    "ppc64le": (273, 274),
    "s390x": (282, 283),
}
"""The numbers of ioprio_set and ioprio_get, which have no function in the C library, by kind of processor."""
_IO_CLASS_SHIFT: Final = 13
_IO_THIS_THREAD: Final = 1
IO_BEST_EFFORT: Final = 2
IO_IDLE: Final = 3

_SIGNAL_IGNORED_BY_DEFAULT: Final = 23  # SIGURG: a lease broken while we look must not end the process
_F_SETSIG: Final = 10


def _raise(name: bytes) -> None:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number), os.fsdecode(name))


def open_contained(folder: int, name: bytes, flags: int, mode: int = 0) -> int:
    """Open ``name`` below an open folder; never leaves it, follows a link or crosses a mount (openat2).

    Raises:
        OSError: ELOOP for a link, EXDEV for a mount point or an escape, and the usual ones.
    """
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, mode, _CONTAINED)
    descriptor: int = _libc.syscall(_NR_OPENAT2, folder, ctypes.c_char_p(name), how, len(how))
    if descriptor < 0:
        _raise(name)
    return descriptor


def rename_no_replace(source: int, name: bytes, target: int, new_name: bytes) -> None:
    """Rename without ever replacing anything (renameat2).

    Raises:
        OSError: EEXIST when the name is taken; EINVAL where the file system cannot do it.
    """
    if _libc.renameat2(source, name, target, new_name, _RENAME_NOREPLACE):
        _raise(name)


def _statx(descriptor: int, mask: int) -> bytes:
    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    if _libc.statx(descriptor, b"", _AT_EMPTY_PATH, mask, buffer):
        _raise(b"")
    return buffer.raw


def birth_ns(descriptor: int) -> int | None:
    """When the open file was made, in nanoseconds, or None where the file system does not keep it."""
    raw = _statx(descriptor, _STATX_BTIME)
    if not struct.unpack_from("I", raw, 0)[0] & _STATX_BTIME:
        return None
    seconds, nanoseconds = struct.unpack_from("qI", raw, 80)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def mount_id(descriptor: int) -> int:
    """The kernel's number of the mount the open file is on; a bind mount has its own."""
    return int(struct.unpack_from("Q", _statx(descriptor, _STATX_MNT_ID), 144)[0])


def is_remote(descriptor: int) -> bool:
    """Whether the open file is on a network or FUSE file system, whose files others open unseen by this kernel."""
    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    if _libc.fstatfs(descriptor, buffer):
        _raise(b"")
    return struct.unpack_from("=I", buffer.raw, 0)[0] in _REMOTE


def has_writer(descriptor: int) -> bool | None:
    """Whether somebody on this computer has the file open for writing; None where the kernel does not tell.

    A read lease is granted only while nobody writes. It is the probe, given back at once.
    """
    kept_out = keep_writers_out(descriptor)
    if kept_out:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return None if kept_out is None else not kept_out


def keep_writers_out(descriptor: int) -> bool | None:
    """Have everybody who opens the file to write wait until it is closed here; False where somebody writes already.

    None where the kernel cannot do that: another user's file, a file system without leases.
    """
    try:
        fcntl.fcntl(descriptor, _F_SETSIG, _SIGNAL_IGNORED_BY_DEFAULT)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return False if error.errno == errno.EAGAIN else None
    return True


def writer_waits(descriptor: int) -> bool:
    """Whether somebody wants to write to the file since ``keep_writers_out`` said True."""
    return fcntl.fcntl(descriptor, fcntl.F_GETLEASE) == fcntl.F_UNLCK


def io_priority() -> tuple[int, int]:
    """How this thread is served by the disks: class (0 for none of its own) and level; the smaller, the sooner."""
    answer: int = _libc.syscall(_ioprio_number(1), _IO_THIS_THREAD, 0)
    if answer < 0:
        _raise(b"")
    return answer >> _IO_CLASS_SHIFT, answer & 7


def set_io_priority(io_class: int, level: int) -> None:
    """Let the disks serve this thread, and what it starts from now on, in that class and level (ioprio_set).

    Raises:
        OSError: EPERM where the kernel does not allow it, ENOSYS where its number is not known here.
    """
    if _libc.syscall(_ioprio_number(0), _IO_THIS_THREAD, 0, io_class << _IO_CLASS_SHIFT | level):
        _raise(b"")


def _ioprio_number(which: int) -> int:
    numbers = _NR_IOPRIO.get(os.uname().machine)
    if numbers is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return numbers[which]
