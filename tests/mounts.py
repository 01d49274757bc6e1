"""Mounts for a test, undone at its end whatever happens; without root such a test is skipped, in CI it fails."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.oracle import require_program, require_root


class Mounts:
    """``with Mounts() as mounts``: what is mounted in the block is unmounted after it."""

    def __init__(self) -> None:
        self._points: list[Path] = []

    def __enter__(self) -> Mounts:
        require_root()
        require_program("mount")
        return self

    def __exit__(self, *_: object) -> None:
        while self._points:
            self.undo_last()

    def bind(self, source: Path, point: Path) -> None:
        self._mount("--bind", source, point)

    def memory(self, point: Path) -> None:
        """A new small file system."""
        self._mount("-t", "tmpfs", "-o", "size=4m", "none", point)

    def overlay(self, lower: Path, point: Path) -> None:
        """A folder seen through another file system, with a device number of its own."""
        upper, work = point.with_name(f"{point.name}-upper"), point.with_name(f"{point.name}-work")
        upper.mkdir()
        work.mkdir()
        self._mount("-t", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", "none", point)

    def read_only(self, point: Path, *, again: bool = False) -> None:
        """Mount it anew so that nobody can write, or so that one can again."""
        how = "rw" if again else "ro"
        subprocess.run(["mount", "-o", f"remount,bind,{how}", point], check=True)

    def _mount(self, *words: str | Path) -> None:
        subprocess.run(["mount", *words], check=True)
        self._points.append(Path(words[-1]))

    def undo_last(self) -> None:
        """Lazily, as when a NAS goes away: open descriptors do not notice."""
        subprocess.run(["umount", "--lazy", self._points.pop()], check=True)
