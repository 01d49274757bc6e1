"""Which mount a path is on, and what part of which file system it shows: the kernel's table, read anew each time."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Final

from exlab_orch.files.linux import mount_id
from exlab_orch.files.places import opened

_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Location:
    """Where a folder really is: bind mounts and links make one folder visible under many paths."""

    mount: int
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
    device, shown, point = _table()[number]
    below = real[len(point.rstrip("/")) :].lstrip("/")
    return Location(number, device, os.path.join(shown, below))


def _table() -> dict[int, tuple[str, str, str]]:
    """Mount number to device, the root it shows, and the mount point (proc(5), /proc/pid/mountinfo)."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        rows = [line.split(" ") for line in file]  # other white space than these two stands unescaped in names
    return {int(row[0]): (row[2], _unescape(row[3]), _unescape(row[4])) for row in rows}


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found.group(1), 8)), text)
