"""Knows the lists that ``sha256sum`` writes and checks: how to read one, write one, and compare two.

Two forms are read. GNU: 64 hexadecimal digits, a space, a space or ``*``, the name; a line that begins with a backslash
carries a name in which ``\\\\``, ``\\n`` and ``\\r`` stand for backslash, newline and carriage return. BagIt (RFC 8493,
2.1.3 and 2.1.4): any white space between the two, and ``%0A``, ``%0D``, ``%25`` in the name. A percent sign is
literal in one form and an escape in the other, and the text does not say which it is: the caller does.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from exlab_orch.text import printable

_SHA256: Final = rb"[0-9A-Fa-f]{64}"
_GNU_LINE: Final = re.compile(rb"(\\?)(%s) [ *](.*)" % _SHA256, re.DOTALL)
_BAGIT_LINE: Final = re.compile(rb"()(%s)(?: \*|[ \t]+)(.*)" % _SHA256, re.DOTALL)
_GNU_ESCAPE: Final = re.compile(rb"\\(.?)", re.DOTALL)
_GNU_MEANING: Final = {b"\\": b"\\", b"n": b"\n", b"r": b"\r"}
_BAGIT_ESCAPE: Final = re.compile(rb"%(0A|0D|25)", re.IGNORECASE)
_BAGIT_MEANING: Final = {b"0A": b"\n", b"0D": b"\r", b"25": b"%"}
_LONGEST_NAME: Final = 1 << 20
_LONGEST_SEGMENT: Final = 255


class ListLine(NamedTuple):
    """One line of a list: where it stands, the name as written (nothing checked), the hash in lower case."""

    number: int
    name: bytes
    sha256: str


def parse(content: bytes, *, bagit: bool = False) -> dict[bytes, str]:
    """Name to SHA-256 (lower case) of every line, in the order of the lines; names as ``relative_name`` gives them.

    Raises:
        ValueError: the line's number and what is wrong: no hash, no name, an unsafe name, a name that stands twice.
    """
    found: dict[bytes, str] = {}
    for number, raw, sha256 in lines(content, bagit=bagit):
        try:
            name = relative_name(raw)
        except ValueError as error:
            raise ValueError(f"line {number}, '{printable(raw)}', {error}") from None
        if name in found:
            raise ValueError(f"line {number}, '{printable(raw)}', names a file that an earlier line names")
        found[name] = sha256
    return found


def lines(content: bytes, *, bagit: bool = False) -> Iterator[ListLine]:
    """The lines one by one, names unescaped but not checked; empty lines and comments (``#``) are passed over.

    A carriage return at the end belongs to the line end: in a name both forms write it as an escape.

    Raises:
        ValueError: the line's number and what is wrong.
    """
    for number, ended in enumerate(io.BytesIO(content), 1):
        line = ended.removesuffix(b"\n").removesuffix(b"\r")
        if line and not line.startswith(b"#"):
            yield _taken_apart(line, number, bagit=bagit)


def _taken_apart(line: bytes, number: int, *, bagit: bool) -> ListLine:
    in_bagit_form = bagit and not line.startswith(b"\\")
    match = (_BAGIT_LINE if in_bagit_form else _GNU_LINE).fullmatch(line)
    if match is None:
        raise ValueError(f"line {number} is not a SHA-256 (64 hexadecimal digits), two spaces and a name")
    mark, sha256, name = match.groups()
    if in_bagit_form:
        name = _BAGIT_ESCAPE.sub(lambda escape: _BAGIT_MEANING[escape[1].upper()], name)
    elif mark:
        name = _gnu_name(name, number)
    return ListLine(number, name, sha256.decode().lower())


def _gnu_name(written: bytes, number: int) -> bytes:
    try:
        return _GNU_ESCAPE.sub(lambda escape: _GNU_MEANING[escape[1]], written)
    except KeyError:
        raise ValueError(f"line {number} holds a backslash escape other than \\\\, \\n and \\r") from None


def relative_name(raw: bytes) -> bytes:
    """The name relative to the run folder, without "." segments; it can only mean something below that folder.

    Raises:
        ValueError: the rest of a sentence that begins with the name, such as "points outside the run".
    """
    if not raw:
        raise ValueError("is empty")
    if len(raw) > _LONGEST_NAME:
        raise ValueError("is longer than any path can be")
    if b"\0" in raw:
        raise ValueError("holds a NUL byte, which no name can")
    if raw.startswith(b"/"):
        raise ValueError("is an absolute path; it must count from the run folder")
    segments = raw.split(b"/")
    if b".." in segments:
        raise ValueError("points outside the run")
    if segments[-1] in (b"", b"."):
        raise ValueError("names a folder, not a file")
    if b"" in segments:
        raise ValueError("holds an empty segment ('//')")
    if max(map(len, segments)) > _LONGEST_SEGMENT:
        raise ValueError(f"holds a segment longer than {_LONGEST_SEGMENT} bytes, which no file system here can hold")
    return b"/".join(segment for segment in segments if segment != b".") if b"." in segments else raw


def format_list(hashes: Mapping[bytes, str]) -> bytes:
    """The list of names and SHA-256 in GNU form, sorted by the bytes of the names; ``sha256sum -c`` can read it."""
    return b"".join(_formatted(name, hashes[name]) for name in sorted(hashes))


def _formatted(name: bytes, sha256: str) -> bytes:
    if name == b"-":
        name = b"./-"  # sha256sum takes a lone "-" for its standard input
    escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    mark = b"" if escaped == name else b"\\"
    return b"%s%s  %s\n" % (mark, sha256.encode(), escaped)


def sha256_of(content: bytes) -> str:
    """The SHA-256 of the bytes, 64 hexadecimal digits in lower case."""
    from hashlib import sha256  # noqa: PLC0415 - loads OpenSSL, which most commands never need

    return sha256(content).hexdigest()
