"""Where the keys of a TOML text stand: their lines, and the exact span of their values."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

KeyPath = tuple[str | int, ...]
"""Names of tables and keys, with the position (from 0) inside an array: ``("equipment", 0, "id")``."""

_TOKEN: Final = re.compile(
    r"""
    \"{3}(?:\\.|[^\\])*?\"{3,5}     # text over several lines
    | '{3}.*?'{3,5}
    | "(?:\\.|[^"\\\n])*"
    | '[^'\n]*'
    | \#[^\n]*
    | [ \t\r\ufeff]+
    | [\[\]{},=.\n]
    | [^\s\[\]{},=."'\#]+
    """,
    re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where one key or table stands. Lines count from 1, offsets from 0 into the text."""

    line: int
    key_start: int
    value_start: int
    value_end: int
    inline: bool
    """Whether it stands between braces, where entries are separated by commas."""


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    start: int
    line: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def toml_string(value: str) -> str:
    """The text as TOML writes it, in quotes and on one line; what is not printable in it as escapes."""
    return '"' + "".join(map(_toml_character, value)) + '"'


def _toml_character(one: str) -> str:
    if one in '"\\':
        return f"\\{one}"
    return one if one.isprintable() else f"\\U{ord(one):08x}"


def find_keys(text: str) -> Mapping[KeyPath, KeyPlace]:
    """Every key, table and array element of a text that tomllib accepts, with its place."""
    scan = _Scan(_tokens(text))
    scan.read_document()
    return scan.places


def locate(places: Mapping[KeyPath, KeyPlace], path: Sequence[str | int]) -> int:
    """The line (from 1) of a key, as ``find_keys`` found it; the line of the table around it where it is not there."""
    wanted = tuple(path)
    for length in range(len(wanted), 0, -1):
        place = places.get(wanted[:length])
        if place is not None:
            return place.line
    return 1


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    line = 1
    for match in _TOKEN.finditer(text):
        piece = match.group()
        if piece[0] not in "# \t\r\ufeff":
            tokens.append(_Token(piece, match.start(), line))
        line += piece.count("\n")
    return tokens


def _key_name(token: _Token) -> str:
    if token.text[0] not in "\"'":
        return token.text
    return str(tomllib.loads(f"name = {token.text}")["name"])


@dataclass(slots=True)
class _Scan:
    """A reader of tokens that remembers where each key was met."""

    tokens: list[_Token]
    at: int = 0
    places: dict[KeyPath, KeyPlace] = field(default_factory=dict)
    counts: dict[KeyPath, int] = field(default_factory=dict)
    """How many elements each ``[[array of tables]]`` has so far."""

    def read_document(self) -> None:
        table: KeyPath = ()
        while self.at < len(self.tokens):
            if self._sees("\n"):
                self.at += 1
            elif self._sees("["):
                table = self._read_header()
            else:
                self._read_entry(table, inline=False)

    def _sees(self, *texts: str) -> bool:
        return self.at < len(self.tokens) and self.tokens[self.at].text in texts

    def _skip(self, *texts: str) -> None:
        while self._sees(*texts):
            self.at += 1

    def _read_header(self) -> KeyPath:
        first = self.tokens[self.at]
        self._skip("[")
        is_array = self.tokens[self.at - 1] is not first
        names = self._read_names("]")
        self._skip("]")
        if is_array:
            array = (*self._resolve((), names[:-1]), names[-1])
            self.counts[array] = self.counts.get(array, 0) + 1
        table = self._resolve((), names)
        for length in range(1, len(table) + 1):
            self._note(table[:length], first)
        return table

    def _resolve(self, start: KeyPath, names: Sequence[str | int]) -> KeyPath:
        """The path of a table below ``start``, where an array of tables stands for its newest element."""
        path = start
        for name in names:
            path = (*path, name)
            if path in self.counts:
                path = (*path, self.counts[path] - 1)
        return path

    def _read_names(self, end: str) -> list[str]:
        names: list[str] = []
        while not self._sees(end):
            if not self._sees("."):
                names.append(_key_name(self.tokens[self.at]))
            self.at += 1
        return names

    def _read_entry(self, table: KeyPath, *, inline: bool) -> None:
        first = self.tokens[self.at]
        names = self._read_names("=")
        self.at += 1
        path = (*table, *names)
        for length in range(len(table) + 1, len(path)):
            self._note(path[:length], first)
        value = self.tokens[self.at]
        self._read_value(path)
        end = self.tokens[self.at - 1].end
        self.places[path] = KeyPlace(first.line, first.start, value.start, end, inline)

    def _read_value(self, path: KeyPath) -> None:
        if self._sees("{"):
            self._read_inline_table(path)
        elif self._sees("["):
            self._read_array(path)
        else:
            while self.at < len(self.tokens) and not self._sees(",", "]", "}", "\n"):
                self.at += 1

    def _read_inline_table(self, path: KeyPath) -> None:
        self.at += 1
        self._skip("\n", ",")
        while not self._sees("}"):
            self._read_entry(path, inline=True)
            self._skip("\n", ",")
        self.at += 1

    def _read_array(self, path: KeyPath) -> None:
        self.at += 1
        self._skip("\n", ",")
        number = 0
        while not self._sees("]"):
            first = self.tokens[self.at]
            self._read_value((*path, number))
            self._note((*path, number), first)
            number += 1
            self._skip("\n", ",")
        self.at += 1

    def _note(self, path: KeyPath, token: _Token) -> None:
        self.places.setdefault(path, KeyPlace(token.line, token.start, token.start, token.end, inline=False))
