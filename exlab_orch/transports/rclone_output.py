"""What rclone prints: listings, hashes, log lines with progress, features, its version."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, cast

from exlab_orch.files.hashing import OnBytes
from exlab_orch.model import Identity
from exlab_orch.space import Space

_KEPT: Final = 20
_SHA256: Final = re.compile(rb"([0-9a-f]{64})  (.+)")
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")
_BUCKETS: Final = frozenset(
    {"azureblob", "b2", "google cloud storage", "oracleobjectstorage", "qingstor", "s3", "swift"}
)
_POSIX: Final = frozenset({"local", "sftp", "webdav", "ftp", "hdfs"})


class Garbage(ValueError):
    """rclone printed something that cannot be understood: nothing is concluded from it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a listing."""

    name: bytes
    identity: Identity
    """Size and time; the far side has neither inode nor change time for us. A folder's size is 0."""
    is_folder: bool


class Entries:
    """Reads the output of ``lsjson`` piece by piece: an entry a line, however many there are."""

    def __init__(self) -> None:
        self._found: list[Entry] = []
        self._unfinished = b""
        self._first: bytes | None = None
        self._last = b""
        self._garbage: Garbage | None = None

    def take(self, piece: bytes) -> bool:
        """Take a piece of the output; it shows progress, whatever it is."""
        *lines, self._unfinished = (self._unfinished + piece).split(b"\n")
        for line in lines:
            self._take_line(line)
        return True

    def _take_line(self, line: bytes) -> None:
        if self._first is None:
            self._first = line
        elif line not in (b"", b"]") and self._garbage is None:
            try:
                self._found.append(entry(line.rstrip(b",")))
            except Garbage as garbage:
                self._garbage = garbage
        self._last = line or self._last

    def whole(self) -> list[Entry]:
        """All entries, when the program has ended. Raises Garbage where it is not a whole listing."""
        self._take_line(self._unfinished)
        if self._garbage is not None:
            raise self._garbage
        if self._first in (b"[]", b"null") and not self._found:
            return []
        if self._first != b"[" or self._last != b"]":
            raise Garbage("the listing is cut off")
        return self._found


def names(output: bytes) -> list[str]:
    """The names in a folder, from ``lsjson``. Raises Garbage."""
    try:
        found: object = json.loads(output)
    except (ValueError, RecursionError) as error:
        raise Garbage("it is not JSON") from error
    listed = (
        [one.get("Name") if isinstance(one, dict) else None for one in found] if isinstance(found, list) else [None]
    )
    if not all(isinstance(name, str) for name in listed):
        raise Garbage("it is not a listing")
    return cast("list[str]", listed)


def entry(line: bytes) -> Entry:
    """One object of a listing. Raises Garbage."""
    found = _object(line)
    name, size, moment = found.get("Path"), found.get("Size"), found.get("ModTime")
    if not isinstance(name, str) or not isinstance(size, int) or not isinstance(moment, str):
        raise Garbage("an entry of the listing lacks its name, size or time")
    is_folder = found.get("IsDir") is True
    if size < 0 and not is_folder:
        raise Garbage("a file of the listing has no size")
    identity = Identity(0, 0 if is_folder else size, _nanoseconds(moment), 0)
    return Entry(name.encode("utf-8", errors="surrogatepass"), identity, is_folder)


def _object(content: bytes) -> Mapping[str, object]:
    try:
        found: object = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Garbage("it is not JSON") from error
    if not isinstance(found, dict):
        raise Garbage("it is not a JSON object")
    return cast("dict[str, object]", found)


def _nanoseconds(text: str) -> int:
    """A time as RFC 3339 writes it, in nanoseconds since the epoch."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise Garbage("a time of the listing cannot be understood")
    moment = datetime.fromisoformat(found[1] + found[3].replace("Z", "+00:00")).astimezone(UTC)
    seconds = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    return seconds * 1_000_000_000 + int((found[2] or "").ljust(9, "0"))


def hashes(output: bytes) -> dict[bytes, str]:
    """Names and SHA-256 of ``hashsum``; a file it could not read has no line, or none that counts."""
    found = (_SHA256.fullmatch(line) for line in output.split(b"\n"))
    return {one[2]: one[1].decode() for one in found if one is not None}


@dataclass(frozen=True, slots=True)
class Features:
    """What a remote can do, and whose rules its names follow."""

    can_rename: bool
    has_folders: bool
    tells_space: bool
    ignores_case: bool


def features(output: bytes) -> Features:
    """From ``backend features``. Raises Garbage."""
    told = _object(output).get("Features")
    if not isinstance(told, dict):
        raise Garbage("it does not tell its features")
    return Features(
        can_rename=told.get("Move") is True or told.get("DirMove") is True,
        has_folders=told.get("CanHaveEmptyDirectories") is True,
        tells_space=told.get("About") is True,
        ignores_case=told.get("CaseInsensitive") is True,
    )


def kind_of(output: bytes, remote: str) -> str | None:
    """The type of a remote in ``listremotes --long``, or None where there is no such remote."""
    for line in output.decode(errors="replace").splitlines():
        name, _, kind = line.partition(":")
        if name.strip() == remote:
            return kind.strip()
    return None


def is_bucket(kind: str) -> bool:
    """Whether remotes of that type hold objects under keys."""
    return kind in _BUCKETS


def is_posix(kind: str) -> bool:
    """Whether remotes of that type keep names as they are, as far as the protocol goes."""
    return kind in _POSIX


def version(output: bytes) -> tuple[int, int] | None:
    """Major and minor number of ``rclone version``, or None."""
    found = re.match(rb"rclone v(\d+)\.(\d+)", output)
    return None if found is None else (int(found[1]), int(found[2]))


def space(output: bytes) -> Space | None:
    """How full the far side is, or None where it tells only what is free or what there is, or nonsense."""
    told = _object(output)
    free, total = told.get("free"), told.get("total")
    return Space(total, free) if isinstance(free, int) and isinstance(total, int) else None


@dataclass(slots=True)
class Follower:
    """Reads log lines while they come: counts bytes, keeps what went wrong."""

    on_bytes: OnBytes
    errors: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT))
    """To be shown: messages with the name that each is about."""
    messages: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT))
    """To be judged: messages without names, which may hold any words; what is no message of rclone's is one too."""
    _counted: int = 0

    def take(self, line: bytes) -> bool:
        """True when the line shows progress."""
        try:
            told = _object(line)
        except Garbage:
            if line.strip():
                self._keep(line.decode(errors="backslashreplace"), "")
            return False
        stats = told.get("stats")
        if isinstance(stats, dict):
            return self._progress(stats.get("bytes"))
        message = str(told.get("msg"))
        level = told.get("level")
        if level in ("error", "warning", "critical", "fatal") or (
            level == "notice" and message.startswith("Failed to")
        ):
            self._keep(message, str(told.get("object") or ""))
        return False

    def _keep(self, message: str, name: str) -> None:
        self.errors.append(f"{name} {message}".strip())
        self.messages.append(message.replace(name, "…") if name else message)

    def _progress(self, done: object) -> bool:
        if not isinstance(done, int) or done <= self._counted:
            return False
        self.on_bytes(done - self._counted)
        self._counted = done
        return True
