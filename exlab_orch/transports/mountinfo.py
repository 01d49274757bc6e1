"""Which mount a path is on, and what part of which file system it shows: the kernel's table, read anew each time."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from exlab_orch.files.linux import mount_id
from exlab_orch.files.places import opened

_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Location:
    """Where a folder really is: bind mounts and links make one folder visible under many paths."""

    mount: int
    """The mount it is on; a folder that is bound onto itself, as systemd makes folders writable, has none itself."""
    device: str
    """Major and minor number of the file system."""
    path: str
    """The path inside that file system."""

    def overlaps(self, other: Location) -> bool:
        """Whether one is the other, lies inside it, or around it."""
        if self.device != other.device:
            return False
        ours, theirs = self.path.rstrip("/") + "/", other.path.rstrip("/") + "/"
        return ours.startswith(theirs) or theirs.startswith(ours)


def locate(path: str) -> Location:
    """Where the folder at ``path`` really is.

    Raises:
        OSError: it cannot be opened, or its mount vanished meanwhile.
    """
    real = os.path.realpath(path)
    with opened(os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as descriptor:
        number = mount_id(descriptor)
    table = _table()
    mount = table[number]
    return Location(own_mount(number, table), mount.device, mount.inside(real))


@dataclass(frozen=True, slots=True)
class Mount:
    """A row of the kernel's table."""

    parent: int
    device: str
    shown: str
    """The folder of the file system that it shows."""
    point: str
    kind: str = ""
    """The type of the file system: ext4, cifs, nfs4."""

    def inside(self, path: str) -> str:
        """The path inside the file system of a path at or below the mount point."""
        return os.path.join(self.shown, path[len(self.point.rstrip("/")) :].lstrip("/")).rstrip("/") or "/"


def own_mount(number: int, table: Mapping[int, Mount]) -> int:
    """The mount that is meant by that number: one that shows just what would be there without it does not count."""
    seen = {number}
    while (mount := table[number]).parent in table and mount.parent not in seen:
        above = table[mount.parent]
        if mount.device != above.device or mount.inside(mount.point) != above.inside(mount.point):
            return number
        number = mount.parent
        seen.add(number)
    return number


def file_system(path: str) -> str:
    """The type of the file system that a folder is on. Raises OSError where it cannot be opened."""
    with opened(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as descriptor:
        return _table()[mount_id(descriptor)].kind


def mount_points() -> list[str]:
    """Where something is mounted now."""
    return [mount.point for mount in _table().values()]


def _table() -> dict[int, Mount]:
    """The mounts by their number (proc(5), /proc/pid/mountinfo)."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        rows = [line.split(" ") for line in file]  # other white space than these two stands unescaped in names
    return {
        int(row[0]): Mount(int(row[1]), row[2], _unescape(row[3]), _unescape(row[4]), row[row.index("-") + 1])
        for row in rows
    }


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found.group(1), 8)), text)
