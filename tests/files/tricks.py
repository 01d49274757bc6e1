"""Things that happen to files at the wrong moment, and system calls that fail or are watched."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

ODD_NAMES: Final = (
    b"new\nline",
    b"-rf",
    b"--",
    b"[bold]",
    b"caf\xe9",
    b"\xff\xfe",
    b" spaces ",
    b"trailing.",
    b"esc\x1b[31m",
    "\u202egnp.exe".encode(),
    b"back\\slash",
    b"x" * 255,
)


def write(folder: Path, name: bytes, content: bytes = b"data") -> bytes:
    """Write a file of that name, folders included; returns its path."""
    path = os.path.join(os.fsencode(folder), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    return path


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _rewrite_with_mtime_put_back(path: Path) -> None:
    before = path.stat()
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.write(bytes([content[0] ^ 1]) + content[1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _rename_over(path: Path) -> None:
    before = path.stat()
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(path)


def _remove(path: Path) -> None:
    path.unlink()


def _swap_for_a_link(path: Path) -> None:
    away = path.with_name("away")
    path.rename(away)
    path.symlink_to(away)


LATE_WRITERS: Final[dict[str, Callable[[Path], None]]] = {
    "append": _append,
    "rewrite, mtime put back": _rewrite_with_mtime_put_back,
    "truncate": _truncate,
    "rename over": _rename_over,
    "remove": _remove,
    "swap for a link": _swap_for_a_link,
}


def fails_with(number: int) -> Callable[..., int]:
    """A system call that always answers with that error."""

    def call(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    return call


def open_descriptors() -> set[str]:
    """What this process has open now."""
    return set(os.listdir("/proc/self/fd"))


def watch_calls(monkeypatch: pytest.MonkeyPatch, *names: str) -> list[str]:
    """The order in which functions of ``os`` are called from now on; they still do their work."""
    calls: list[str] = []
    for name in names:
        _watch_one(monkeypatch, name, calls)
    return calls


def _watch_one(monkeypatch: pytest.MonkeyPatch, name: str, calls: list[str]) -> None:
    real: Callable[..., object] = getattr(os, name)

    def call(*arguments: object, **named: object) -> object:
        calls.append(name)
        return real(*arguments, **named)

    monkeypatch.setattr(os, name, call)


NOT_FOLLOWED: Final = frozenset({errno.ELOOP, errno.ENOTDIR})
