"""What only root is spared: for a while this thread is refused what a service user would be refused."""

from __future__ import annotations

import ctypes
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_libc = ctypes.CDLL(None, use_errno=True)
_VERSION: Final = 0x20080522
_DAC_OVERRIDE_AND_READ_SEARCH: Final = 0b110
_LEASE: Final = 1 << 28


def _call(function: str, header: ctypes.Array[ctypes.c_uint32], words: ctypes.Array[ctypes.c_uint32]) -> None:
    if getattr(_libc, function)(header, words):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Inside the block modes and owners of files count for this thread, also when it is root's (capset(2))."""
    header = (ctypes.c_uint32 * 2)(_VERSION, 0)
    before = (ctypes.c_uint32 * 6)()
    _call("capget", header, before)
    less = (ctypes.c_uint32 * 6)(*before)
    less[0] &= ~(_DAC_OVERRIDE_AND_READ_SEARCH | _LEASE)
    _call("capset", header, less)
    try:
        yield
    finally:
        _call("capset", header, before)


@contextmanager
def nobody() -> Iterator[None]:
    """Inside the block this process acts as the user nobody, when it is root's; else as the one it is."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
