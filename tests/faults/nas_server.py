"""A NAS that misbehaves: ``python -m tests.faults.nas_server BACKING POINT CONTROL``.

A FUSE file system that shows the folder BACKING at POINT. The file CONTROL says in JSON what goes wrong; it is read
anew whenever it changes, and all counting then begins at nought. ``nas.py`` writes it and explains the fields.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

os.environ.setdefault("FUSE_LIBRARY_NAME", "fuse3")
import mfusepy  # type: ignore[import-not-found, import-untyped, unused-ignore]

TIMES: Final = ("st_atime", "st_mtime", "st_ctime")
ATTRIBUTES: Final = ("st_ino", "st_mode", "st_size", "st_nlink", "st_uid", "st_gid", "st_blocks")
CACHING: Final = {"kernel_cache": 1, "entry_timeout": 60.0, "attr_timeout": 60.0}


def _send(number: int, process: int | None = None) -> None:
    os.kill(process or os.getpid(), number)


ENDS: Final = {
    "hang": lambda: _send(signal.SIGSTOP),
    "die": lambda: _send(signal.SIGKILL),
    "stop the caller": lambda: _send(signal.SIGSTOP, mfusepy.fuse_get_context()[2]),
}


class Fault(NamedTuple):
    """One rule of the control file; see ``nas.Fault``."""

    operation: str
    does: str
    name: str = ""
    at: int = 0
    nth: int = 1
    times: int | None = None


class Control:
    """What goes wrong now."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._faults: list[Fault] = []
        self._met: list[int] = []
        self.manners: frozenset[str] = frozenset()

    def look(self) -> None:
        """Read the file again if it is another one."""
        status = os.stat(self._path)
        if (status.st_ino, status.st_mtime_ns) == self._stamp:
            return
        found = json.loads(Path(self._path).read_bytes())
        self._stamp = (status.st_ino, status.st_mtime_ns)
        self._faults = [Fault(**one) for one in found["faults"]]
        self._met = [0] * len(self._faults)
        self.manners = frozenset(found["manners"])

    def faults(self, operation: str, path: str, end: int | None = None) -> Iterator[Fault]:
        """The faults of one call; ``end`` is where in the file it ends. A call before the fault's place is well."""
        self.look()
        for number, fault in enumerate(self._faults):
            if fault.operation not in (operation, "*") or fault.name not in path:
                continue
            if end is not None and end <= fault.at:
                continue
            self._met[number] += 1
            count = self._met[number] - fault.nth
            if count >= 0 and (fault.times is None or count < fault.times):
                yield fault


class Nas(mfusepy.Operations):  # type: ignore[misc]
    """The operations; a fault is looked up before each of them."""

    use_ns = True

    def __init__(self, backing: str, control: Control) -> None:
        self._backing = backing
        self._control = control

    def _real(self, path: str) -> str:
        manners = self._control.manners
        if "smb" in manners:
            path = "/".join(part.rstrip(". ") for part in path.split("/"))
        whole = self._backing + path.rstrip("/")
        return _as_spelled(self._backing, path) if "ignores case" in manners else whole

    def _meet(self, operation: str, path: str, end: int | None = None) -> str | None:
        """Do what the first fault says; the name of a lie is returned, the caller tells it."""
        for fault in self._control.faults(operation, path, end):
            if fault.does in ENDS:
                ENDS[fault.does]()
            elif fault.does.startswith("E"):
                raise mfusepy.FuseOSError(getattr(errno, fault.does))
            else:
                return fault.does
        return None

    def _at(self, fault_operation: str, path: str) -> str:
        self._meet(fault_operation, path)
        return self._real(path)

    # -- looking ---------------------------------------------------------------------------------------------

    def init_with_config(self, _connection: object, config: Any) -> None:
        self._control.look()
        config.use_ino = 0 if "inodes change" in self._control.manners else 1
        if "caches" in self._control.manners:
            for name, value in CACHING.items():
                setattr(config, name, value)

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        real = self._at("getattr", path)
        status = os.lstat(real) if fh is None else os.fstat(fh)
        times = {name: getattr(status, f"{name}_ns") for name in TIMES}
        return {name: getattr(status, name) for name in ATTRIBUTES} | times

    def readdir(self, path: str, fh: int) -> list[tuple[str, dict[str, int], int]]:
        real = self._at("readdir", path)
        found = [(name, os.lstat(os.path.join(real, name))) for name in (".", "..", *os.listdir(real))]
        return [(name, {"st_mode": status.st_mode, "st_ino": status.st_ino}, 0) for name, status in found]

    def statfs(self, path: str) -> dict[str, int]:
        found = os.statvfs(self._at("statfs", path))
        return {name: getattr(found, name) for name in dir(found) if name.startswith("f_") and name != "f_fsid"}

    def open(self, path: str, flags: int) -> int:
        return os.open(self._at("open", path), flags & ~(os.O_DIRECT | os.O_NOFOLLOW))

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        lie = self._meet("read", path, offset + size)
        found = bytearray(os.pread(fh, size, offset))
        if lie is not None and lie.startswith("flip ") and 0 <= (place := int(lie[5:]) - offset) < len(found):
            found[place] ^= 1
        return bytes(found)

    # -- changing --------------------------------------------------------------------------------------------

    def create(self, path: str, mode: int, fi: object = None) -> int:
        return os.open(self._at("create", path), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        lie = self._meet("write", path, offset + len(data))
        if lie == "drop":
            return len(data)
        return os.pwrite(fh, data[: (len(data) + 1) // 2] if lie == "short" else data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        os.truncate(self._at("truncate", path), length)

    def flush(self, path: str, fh: int) -> None:
        self._meet("flush", path)

    def fsync(self, path: str, datasync: int, fh: int) -> None:
        self._meet("fsync", path)

    def fsyncdir(self, path: str, datasync: int, fh: int) -> None:
        self._meet("fsyncdir", path)

    def release(self, path: str, fh: int) -> None:
        os.close(fh)

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(self._at("mkdir", path), mode)

    def rmdir(self, path: str) -> None:
        os.rmdir(self._at("rmdir", path))

    def unlink(self, path: str) -> None:
        os.unlink(self._at("unlink", path))

    def rename(self, old: str, new: str) -> None:
        os.rename(self._at("rename", old), self._real(new))

    def link(self, target: str, source: str) -> None:
        os.link(self._real(source), self._at("link", target))

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(self._at("chmod", path), mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        os.chown(self._at("chown", path), uid, gid)

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> None:
        os.utime(self._at("utimens", path), ns=times or (0, 0))


def _as_spelled(backing: str, path: str) -> str:
    """The path with each part as it is spelled on the disk, whatever its case; unknown parts as they came."""
    real = backing
    for part in path.strip("/").split("/"):
        there = os.listdir(real) if os.path.isdir(real) else []
        alike = (name for name in there if name.casefold() == part.casefold())
        real = os.path.join(real, next(alike, part)) if part else real
    return real


if __name__ == "__main__":
    os.umask(0)
    backing, point, control = sys.argv[1:]
    mfusepy.FUSE(Nas(backing, Control(control)), point, foreground=True, nothreads=True)
