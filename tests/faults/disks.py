"""File systems in files: they are copied, mounted, spoiled behind the kernel's back, and their power is cut."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.oracle import require_program, require_root

_SHUTDOWN: Final = 0x8004587D
"""``EXT4_IOC_SHUTDOWN`` and ``XFS_IOC_GOINGDOWN``: from now on every access fails and nothing more reaches the disk."""
_WITHOUT_FLUSHING: Final = 2
_MAKE: Final = {
    "ext4": (["mkfs.ext4", "-q", "-F"], 24 << 20),
    "xfs": (["mkfs.xfs", "-q", "-f"], 300 << 20),
}
"""How each kind is made, and the size in bytes of the smallest one that mkfs makes gladly."""
KINDS: Final = tuple(_MAKE)


@dataclass(frozen=True)
class Disk:
    """A file system of one kind in an image file, to be mounted at one folder."""

    kind: str
    image: Path
    point: Path

    def make(self) -> None:
        """Format it anew."""
        words, size = _MAKE[self.kind]
        with self.image.open("wb") as file:
            file.truncate(size)
        subprocess.run([require_program(words[0]), *words[1:], str(self.image)], check=True, stdout=subprocess.DEVNULL)

    def copy_to(self, other: Disk) -> None:
        """Give another disk the content of this one, which must not be mounted.

        In a new file: the kernel may let go of the loop device of the one before a moment after it was unmounted.
        """
        words = ["cp", "--sparse=always", "--remove-destination"]
        subprocess.run([*words, str(self.image), str(other.image)], check=True)

    def mount(self) -> None:
        """Mount it; after a power cut its journal is replayed now."""
        self.point.mkdir(parents=True, exist_ok=True)
        options = "loop,nouuid" if self.kind == "xfs" else "loop"
        subprocess.run(["mount", "-t", self.kind, "-o", options, str(self.image), str(self.point)], check=True)

    def unmount(self) -> None:
        """Unmount it, cleanly unless its power was cut."""
        subprocess.run(["umount", str(self.point)], check=True)

    def flush(self) -> None:
        """Everything written up to now is on the disk."""
        subprocess.run(["sync", "-f", str(self.point)], check=True)

    def cut_power(self) -> None:
        """What was not flushed is lost. The disk stays mounted, dead, until it is unmounted."""
        folder = os.open(self.point, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(folder, _SHUTDOWN, struct.pack("I", _WITHOUT_FLUSHING))
        finally:
            os.close(folder)

    def flip_a_bit_of(self, content: bytes) -> None:
        """One bit rots on the medium; what the kernel holds in memory of the file stays as it was."""
        self.flush()
        with self.image.open("r+b") as file:
            at = file.read().index(content)
            file.seek(at)
            file.write(bytes([content[0] ^ 1]))


class Power:
    """Disks that are mounted one on or beside the other, and lose their power together or one by one."""

    def __init__(self, *disks: Disk) -> None:
        self.disks = disks

    def on(self) -> None:
        """Mount them all, the first one first."""
        for disk in self.disks:
            disk.mount()

    def off(self) -> None:
        """Unmount them all, the last one first."""
        for disk in reversed(self.disks):
            disk.unmount()

    def cut(self, *which: Disk) -> None:
        """The power of some disks fails; then everything is mounted again."""
        for disk in which:
            disk.cut_power()
        self.off()
        self.on()


@contextmanager
def powered(*disks: Disk) -> Iterator[Power]:
    """Disks that are mounted inside the block, and unmounted after it whatever happened."""
    require_root()
    for name in ("mount", "losetup"):
        require_program(name)
    power = Power(*disks)
    with ExitStack() as stack:
        for disk in disks:
            disk.mount()
            stack.callback(_unmount_anyhow, disk)
        yield power


def _unmount_anyhow(disk: Disk) -> None:
    if subprocess.run(["umount", str(disk.point)], check=False, capture_output=True).returncode:
        subprocess.run(["umount", "--lazy", str(disk.point)], check=False, capture_output=True)
