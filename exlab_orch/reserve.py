"""Room kept on the disk of the state directory: without a free byte there no journal opens, and no run is cleared.

Whoever has staging on the same disk could otherwise not delete a single run of it once it is full.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Final

from exlab_orch.files.delete import remove_own
from exlab_orch.files.places import opened
from exlab_orch.model import Place

RESERVE: Final = "reserve"
_BYTES: Final = 4 << 20
_GIVEN_UP_BELOW: Final = 1 << 20
_KEPT_ABOVE: Final = 32 << 20


def keep_reserve(state_dir: str) -> None:
    """Put it back once the disk has room for it. What the disk answers is no fault: nothing depends on it now."""
    path = f"{state_dir}/{RESERVE}"
    with contextlib.suppress(OSError):
        if _is_whole(path) or _free_bytes(state_dir) < _KEPT_ABOVE:
            return
        with opened(os.open(path, os.O_CREAT | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC, 0o600)) as descriptor:
            os.posix_fallocate(descriptor, 0, _BYTES)


def _is_whole(path: str) -> bool:
    """Whether nothing is to be done; one that a crash or a full disk cut short is filled up."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return False
    return not stat.S_ISREG(found.st_mode) or found.st_size >= _BYTES


def give_up_reserve(state_dir: str) -> None:
    """Remove it where the disk has no room left for the journal; whether that was enough, its opening says.

    Only for the owner of the state directory: anybody else, root too, is about to be refused.
    """
    with contextlib.suppress(OSError):
        if os.stat(state_dir).st_uid == os.geteuid() and _free_bytes(state_dir) < _GIVEN_UP_BELOW:
            remove_own(Place(state_dir, ""), [RESERVE.encode()])


def _free_bytes(folder: str) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize
