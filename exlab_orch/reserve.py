"""Room kept on the disk of the state directory: without a free byte there no journal opens, and no run is cleared.

Whoever has staging on the same disk could otherwise not delete a single run of it once it is full.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

from exlab_orch.files.delete import remove_own
from exlab_orch.model import Place

RESERVE: Final = "reserve"
_BYTES: Final = 4 << 20
_GIVEN_UP_BELOW: Final = 1 << 20
_KEPT_ABOVE: Final = 32 << 20


def keep_reserve(state_dir: str) -> None:
    """Put it back once the disk has room for it. What the disk answers is no fault: nothing depends on it now."""
    path = f"{state_dir}/{RESERVE}"
    with contextlib.suppress(OSError):
        if os.path.lexists(path) or _free_bytes(state_dir) < _KEPT_ABOVE:
            return
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, _BYTES)
        finally:
            os.close(descriptor)


def give_up_reserve(state_dir: str) -> None:
    """Remove it where the disk has no room left for the journal; whether that was enough, its opening says."""
    with contextlib.suppress(OSError):
        if _free_bytes(state_dir) < _GIVEN_UP_BELOW:
            remove_own(Place(state_dir, ""), [RESERVE.encode()])


def _free_bytes(folder: str) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize
