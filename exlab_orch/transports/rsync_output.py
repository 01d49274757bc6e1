"""What rsync, find and the scripts of the far side print: listings, hashes, streamed files, progress, versions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from exlab_orch.files.hashing import OnBytes
from exlab_orch.model import Identity
from exlab_orch.space import Space

_SHA256: Final = re.compile(rb"\\?([0-9a-f]{64}) [ *].+")
_FOUND: Final = re.compile(rb"(\S) (\d+) (\d+) (\d+) (-?\d+)(?:\.(\d+))? (-?\d+)(?:\.(\d+))? (.*)", re.DOTALL)
_LISTED: Final = re.compile(
    rb"([a-z-])[rwxsStTugo+.-]{9,10} +([\d,.]+) (\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) (.+)", re.DOTALL
)
_ESCAPED: Final = re.compile(rb"\\#([0-3][0-7]{2})")
_PROGRESS: Final = re.compile(rb"^\s*([\d,.]+)\s+\d+%")
_KINDS: Final = {b"l": "link", b"p": "fifo", b"s": "socket", b"b": "device", b"c": "device"}


class Garbage(ValueError):
    """The far side printed something that cannot be understood: nothing is concluded from it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, folder or other thing at the far side."""

    name: bytes
    """Relative to what was listed; empty for that itself."""
    identity: Identity
    kind: str
    """"file", "folder", or the word for something special."""


def found(output: bytes) -> Iterator[Entry]:
    """The entries that ``find`` printed. Raises Garbage."""
    if not output:
        return
    *records, rest = output.split(b"\0")
    if rest:
        raise Garbage("the listing is cut off")
    device: bytes | None = None
    for record in records:
        parts = _FOUND.fullmatch(record)
        if parts is None:
            raise Garbage("an entry of the listing cannot be understood")
        device = device or parts[2]
        yield _entry(parts, is_mount=parts[2] != device)


def _entry(parts: re.Match[bytes], *, is_mount: bool) -> Entry:
    kind, name = parts[1], parts[9].removeprefix(b"./")
    size = int(parts[4]) if kind == b"f" else 0
    identity = Identity(int(parts[3]), size, _nanoseconds(parts[5], parts[6]), _nanoseconds(parts[7], parts[8]))
    return Entry(name, identity, "mount" if is_mount else _word(kind.replace(b"f", b"-")))


def _nanoseconds(seconds: bytes, fraction: bytes | None) -> int:
    """``find`` writes -0.5 for half a second before 1970."""
    rest = int((fraction or b"").ljust(9, b"0")[:9])
    return int(seconds) * 1_000_000_000 + (-rest if seconds.startswith(b"-") else rest)


def _word(kind: bytes) -> str:
    return "file" if kind == b"-" else "folder" if kind == b"d" else _KINDS.get(kind, "device")


def listed(output: bytes) -> Iterator[Entry]:
    """The entries that ``rsync --list-only`` printed, times in UTC and whole seconds. Raises Garbage."""
    for line in output.split(b"\n"):
        if line:
            yield _listed(line)


def _listed(line: bytes) -> Entry:
    parts = _LISTED.fullmatch(line)
    if parts is None:
        raise Garbage("a line of rsync's listing cannot be understood")
    kind = _word(parts[1])
    shown = parts[4].partition(b" -> ")[0] if kind == "link" else parts[4]
    name = _ESCAPED.sub(lambda escape: bytes([int(escape[1], 8)]), shown)
    moment = datetime.strptime(parts[3].decode(), "%Y/%m/%d %H:%M:%S").replace(tzinfo=UTC)
    size = int(re.sub(rb"[,.]", b"", parts[2])) if kind == "file" else 0
    return Entry(b"" if name == b"." else name, Identity(0, size, int(moment.timestamp()) * 1_000_000_000, 0), kind)


@dataclass(slots=True)
class Hashes:
    """Takes the lines of ``sha256sum`` while they come."""

    lines: list[bytes] = field(default_factory=list)
    _rest: bytes = b""

    def take(self, piece: bytes) -> int:
        """How many files are hashed by now."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        self.lines += lines
        return len(self.lines)

    def result(self, count: int) -> list[str]:
        """The hashes of so many files, in their order. Raises Garbage."""
        parts = [_SHA256.fullmatch(line) for line in self.lines]
        read = [part[1].decode() for part in parts if part is not None]
        if self._rest or len(parts) != count or len(read) != count:
            raise Garbage("it did not print one hash for each file")
        return read


@dataclass(slots=True)
class Stream:
    """Hashes files that come one behind the other; behind each comes a mark that no file can hold by chance.

    A file may contain anything, and may be longer or shorter than anybody thinks.
    """

    mark: bytes
    on_bytes: OnBytes
    hashes: list[str | None] = field(default_factory=list)
    """Of the files that have ended; None where the far side could not read one."""
    _held: bytes = b""
    _end: re.Pattern[bytes] = field(init=False)
    _longest: int = field(init=False)

    def __post_init__(self) -> None:
        self._end = re.compile(rb"\n" + re.escape(self.mark) + rb" (\d{1,3})\n")
        self._longest = len(self.mark) + 6
        self._digest = hashlib.sha256()

    _digest: hashlib._Hash = field(init=False)

    def take(self, piece: bytes) -> bool:
        """Take what came; always progress."""
        held = self._held + piece
        while (end := self._end.search(held)) is not None:
            self._count(held[: end.start()])
            self.hashes.append(self._digest.hexdigest() if int(end[1]) == 0 else None)
            self._digest = hashlib.sha256()
            held = held[end.end() :]
        keep = min(len(held), self._longest)
        self._count(held[: len(held) - keep])
        self._held = held[len(held) - keep :]
        return True

    def _count(self, content: bytes) -> None:
        self._digest.update(content)
        self.on_bytes(len(content))

    def result(self, count: int) -> list[str | None]:
        """The hashes of so many files, in their order. Raises Garbage."""
        if self._held or len(self.hashes) != count:
            raise Garbage("the files did not come back whole")
        return self.hashes


@dataclass(slots=True)
class Progress:
    """Reads rsync's ``--info=progress2`` while it comes and counts bytes."""

    on_bytes: OnBytes
    _counted: int = 0
    _rest: bytes = b""

    def take(self, piece: bytes) -> bool:
        """True when more bytes went by."""
        *shown, self._rest = re.split(rb"[\r\n]", self._rest + piece)
        self._rest = self._rest[-1000:]
        matches = map(_PROGRESS.match, (*shown, self._rest))  # it ends a line only when it writes the next one
        counts = [int(re.sub(rb"[,.]", b"", match[1])) for match in matches if match is not None]
        done = max(counts, default=0)
        if done <= self._counted:
            return False
        self.on_bytes(done - self._counted)
        self._counted = done
        return True


def version(output: bytes) -> tuple[int, int, int] | None:
    """The numbers of ``rsync --version``, or None."""
    numbers = re.match(rb"rsync +version v?(\d+)\.(\d+)\.(\d+)", output)
    return None if numbers is None else (int(numbers[1]), int(numbers[2]), int(numbers[3]))


def space(output: bytes) -> Space:
    """How full the far side is, from ``df -P -k``. Raises Garbage."""
    rows = re.findall(rb"\s(\d+)\s+\d+\s+(-?\d+)\s+\d+%\s", output + b"\n")
    if not rows:
        raise Garbage("df did not tell the free space")
    return Space(int(rows[-1][0]) * 1024, int(rows[-1][1]) * 1024)
