"""Knows the manifests that equipment pushes, which name the files of a run: reads both forms and trusts neither.

JSON: ``{"files": [{"path": "data/a.tif", "size": 12, "sha256": "…"}]}``; ``size`` is required, ``sha256`` is not, other
keys are ignored. Text: what ``sha256sum`` writes, or a BagIt payload manifest; no sizes (lifecycle.md, 3). Where the
contract is silent:

* Names count from the run folder, whatever folder the manifest lies in. "." segments are dropped.
* A file called ``manifest-sha256.txt`` is read as BagIt (``%0A``, ``%0D``, ``%25`` in names), any other list as GNU.
* A backslash separates folders where no name in the whole manifest has a forward slash and, in a list, no line is
  escaped the GNU way: Windows wrote it. Otherwise it is a letter like any other.
* A manifest that names itself cannot know its own size or hash (``sha256sum * > manifest.txt`` lists it as an empty
  file): that entry is passed over, and so it does not count as the one file a manifest must list.
* Our own record and list are not the equipment's to promise: a manifest that names them is refused.
* UTF-8 with or without a byte order mark, and UTF-16 with one (Windows PowerShell's ``>``). In JSON a byte that is not
  UTF-8 may stand as Python writes it (``\\udcff``).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from exlab_orch import checksums
from exlab_orch.model import CHECKSUMS_PATH, OUR_FOLDER, RECORD_NAME
from exlab_orch.text import printable

MAX_BYTES: Final = 64 << 20
MAX_FILES: Final = 500_000
MAX_VALUES: Final = 2_500_000
"""Commas and opening brackets: what bounds the memory that a manifest of MAX_BYTES can make the parser use."""

_LARGEST_FILE: Final = (1 << 63) - 1
_OURS: Final = frozenset({f"{OUR_FOLDER}/{RECORD_NAME}".encode(), CHECKSUMS_PATH.encode()})
_SHA256: Final = re.compile(r"[0-9A-Fa-f]{64}")
_WINDOWS_DRIVE: Final = re.compile(rb"[A-Za-z]:[/\\]")
_UTF8_MARK: Final = b"\xef\xbb\xbf"
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")


class ManifestInvalid(ValueError):
    """The manifest cannot be used; its text is the reason, as the rest of a sentence that names the manifest."""


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file that the manifest promises: its name relative to the run folder, and what is known about it."""

    name: bytes
    size: int | None
    """Bytes; None in the text form, which has no sizes."""
    sha256: str | None
    """64 hexadecimal digits in lower case, where the manifest gives them."""


class _Object(NamedTuple):
    """What means something to us in a JSON object; the rest that equipment wrote into it is let go at once."""

    files: object
    path: object
    size: object
    sha256: object


class _Entry(NamedTuple):
    """An entry as written: which line or file of the manifest it is, and its raw name."""

    number: int
    raw: bytes
    size: int | None
    sha256: str | None


def parse(
    content: bytes, *, name: bytes = b"", max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES
) -> tuple[ManifestFile, ...]:
    """The files a manifest promises, at least one, in its order, no name twice.

    ``name`` is the manifest's own name relative to the run folder: it tells BagIt and the entry of itself.

    Raises:
        ManifestInvalid: it is too large, no manifest, lists no files, or names something unsafe (lifecycle.md, 3).
    """
    check_size(len(content), max_bytes)
    readable = _as_utf8(content)
    if readable.lstrip()[:1] in (b"{", b"["):
        return _named(list(_json_entries(readable)), name, max_files, "file")
    entries = list(_list_entries(readable, bagit=_is_bagit(name)))
    return _named(entries, name, max_files, "line", backslash_is_a_letter=_has_gnu_escapes(readable))


def check_size(byte_count: int, max_bytes: int = MAX_BYTES) -> None:
    """Refuse a manifest by its size, before it is read.

    Raises:
        ManifestInvalid: it is larger than ``max_bytes``.
    """
    if byte_count > max_bytes:
        raise ManifestInvalid(f"it holds {byte_count:,} bytes, and no more than {max_bytes:,} are read")


def _as_utf8(content: bytes) -> bytes:
    if content.startswith(_UTF16_MARKS):
        try:
            content = content.decode("utf-16").encode()
        except UnicodeDecodeError as error:
            raise ManifestInvalid(f"it begins as UTF-16 but is none at byte {error.start}") from None
    content = content.removeprefix(_UTF8_MARK)
    if not content.strip():
        raise ManifestInvalid("it is empty")
    if b"\0" in content:
        raise ManifestInvalid("it holds NUL bytes; it must be saved as UTF-8")
    return content


def _is_bagit(name: bytes) -> bool:
    return name.rpartition(b"/")[2].lower() == b"manifest-sha256.txt"


def _has_gnu_escapes(content: bytes) -> bool:
    return content.startswith(b"\\") or b"\n\\" in content


# -- the text form -------------------------------------------------------------------------------------------


def _list_entries(content: bytes, *, bagit: bool) -> Iterator[_Entry]:
    try:
        for number, raw, sha256 in checksums.lines(content, bagit=bagit):
            yield _Entry(number, raw, None, sha256)
    except ValueError as error:
        raise ManifestInvalid(f"it is not JSON, and as a list of checksums its {error}") from None


# -- the JSON form -------------------------------------------------------------------------------------------


def _json_entries(content: bytes) -> Iterator[_Entry]:
    document = _load(content)
    files = document.files if isinstance(document, _Object) else None
    if not isinstance(files, list):
        raise ManifestInvalid('it holds no list of files: {"files": [...]} is wanted')
    files.reverse()
    for number in range(1, len(files) + 1):
        yield _json_entry(number, files.pop())  # used up on the way: the largest manifests exist once in memory


def _load(content: bytes) -> object:
    if sum(map(content.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise ManifestInvalid(f"it holds more than {MAX_VALUES:,} values")
    try:
        document: object = json.loads(content.decode(), object_pairs_hook=_object, parse_int=_whole_number)
    except RecursionError:
        raise ManifestInvalid("it is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise ManifestInvalid(f"it is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise ManifestInvalid(_syntax_reason(error)) from None
    return document


def _object(pairs: list[tuple[str, object]]) -> _Object:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ManifestInvalid(f"one of its objects has the key '{printable(twice)}' twice")
    return _Object(*map(values.get, _Object._fields))


def _whole_number(digits: str) -> int:
    """The number, or one of the same sign that no file size can be: Python refuses to read 5,000 digits."""
    if len(digits) < 20:
        return int(digits)
    return -1 if digits.startswith("-") else _LARGEST_FILE + 1


def _syntax_reason(error: json.JSONDecodeError) -> str:
    if error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string"):
        return "it breaks off in the middle, as if it had not arrived whole"
    hint = "; a backslash in a JSON text is written twice" if "escape" in error.msg else ""
    return f"it is not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}{hint}"


def _json_entry(number: int, item: object) -> _Entry:
    if not isinstance(item, _Object):
        raise ManifestInvalid(f"file {number} of the manifest is no object with 'path' and 'size'")
    if not isinstance(item.path, str):
        raise ManifestInvalid(f"file {number} of the manifest has no 'path' that is text")
    try:
        return _Entry(number, _bytes(item.path), _size(item.size), _sha256(item.sha256))
    except ManifestInvalid as error:
        raise _refused("file", number, item.path, str(error)) from None


def _bytes(path: str) -> bytes:
    try:
        return path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ManifestInvalid("holds half a character (a lone surrogate)") from None


def _size(value: object) -> int:
    if value is None:
        raise ManifestInvalid("has no size")
    if isinstance(value, bool) or not isinstance(value, int):
        raise ManifestInvalid("has a size that is not a whole number of bytes")
    if value < 0:
        raise ManifestInvalid("has a negative size")
    if value > _LARGEST_FILE:
        raise ManifestInvalid("has a size that no file can have")
    return value


def _sha256(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise ManifestInvalid("has a sha256 that is not 64 hexadecimal digits")
    return value.lower()


# -- what both forms must keep to ----------------------------------------------------------------------------


def _named(
    entries: list[_Entry], manifest: bytes, max_files: int, word: str, *, backslash_is_a_letter: bool = False
) -> tuple[ManifestFile, ...]:
    if len(entries) > max_files:
        raise ManifestInvalid(f"it lists {len(entries):,} files, and no more than {max_files:,} are accepted")
    from_windows = not backslash_is_a_letter and _separated_by_backslashes(entry.raw for entry in entries)
    found: dict[bytes, ManifestFile] = {}
    for number, raw, size, sha256 in entries:
        try:
            name = _safe_name(raw, from_windows=from_windows)
        except ValueError as error:
            raise _refused(word, number, raw, str(error)) from None
        if name in found:
            raise _refused(word, number, raw, "is listed twice")
        found[name] = ManifestFile(name, size, sha256)
    found.pop(manifest, None)
    if not found:
        raise ManifestInvalid("it lists no files")
    return tuple(found.values())


def _separated_by_backslashes(names: Iterable[bytes]) -> bool:
    any_backslash = False
    for name in names:
        if b"/" in name:
            return False
        any_backslash = any_backslash or b"\\" in name
    return any_backslash


def _safe_name(raw: bytes, *, from_windows: bool) -> bytes:
    if _WINDOWS_DRIVE.match(raw):
        raise ManifestInvalid("is an absolute path; it must count from the run folder")
    name = checksums.relative_name(raw.replace(b"\\", b"/") if from_windows else raw)
    if name in _OURS:
        raise ManifestInvalid("is a file that exlab-orch itself writes")
    return name


def _refused(word: str, number: int, raw: bytes | str, reason: str) -> ManifestInvalid:
    return ManifestInvalid(f"{word} {number} of the manifest, '{printable(raw)}', {reason}")
