"""What fuzzers feed to the program: valid content, changed byte by byte or in its structure."""

from __future__ import annotations

import json
from typing import Final

from hypothesis import strategies as st

TEXTS: Final = st.one_of(
    st.text(max_size=20), st.sampled_from(["", "\x1b[31m", "\u202e", "\udcff", "../x", "/x", "\0"])
)
NUMBERS: Final = st.sampled_from([0, -1, 1, 10**30, 1 << 63, 1.5, float("inf"), float("nan")])
VALUES: Final = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
HOSTILE: Final = (
    b"",
    b"\0" * 4096,
    b"\xef\xbb\xbf{}",
    "{}".encode("utf-16"),
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"a": ' + b"9" * 5_000 + b"}",
    b'{"a": 1e400, "b": NaN}',
    b'{"a": "\\ud800"}',
    b'{"a": 1, "a": 2}',
    b"\xff\xfe\x00",
    b"null",
    b"[]",
    b'"text"',
)
"""Whole files that are no mutation of anything."""


class Shown(bytes):
    """Content that is shown short where a test fails."""

    def __repr__(self) -> str:
        return f"{bytes(self[:500])!r}, {len(self)} bytes in all"


@st.composite
def mutated_bytes(draw: st.DrawFn, valid: bytes) -> bytes:
    """The content with bytes flipped, a part cut out, doubled or overwritten, or cut short."""
    content = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        length = draw(st.integers(0, 40))
        part = bytes(content[start : start + length])
        inserted = draw(
            st.sampled_from([b"", part * 2, part[::-1], bytes(byte ^ 1 for byte in part)]) | st.binary(max_size=8)
        )
        content[start : start + length] = inserted
    return bytes(content[: draw(st.sampled_from([len(content), len(content), draw(st.integers(0, len(content)))]))])


@st.composite
def mutated_json(draw: st.DrawFn, valid: bytes) -> bytes:
    """The JSON with one value somewhere in it replaced, removed, or added."""
    document = json.loads(valid)
    around, key = draw(st.sampled_from(_places(document)))
    action = draw(st.sampled_from(["replace", "remove", "add"]))
    if action == "remove":
        del around[key]
    elif action == "replace":
        around[key] = draw(VALUES)
    elif isinstance(around, dict):
        around[draw(TEXTS)] = draw(VALUES)
    else:
        around.insert(key, draw(st.sampled_from(around)))
    return json.dumps(document).encode()


def _places(value: object) -> list[tuple[dict | list, str | int]]:  # type: ignore[type-arg]  # JSON of any shape
    """Every key and index in a JSON document."""
    if not isinstance(value, dict | list):
        return []
    keys = list(value) if isinstance(value, dict) else range(len(value))
    return [(value, key) for key in keys] + [place for key in keys for place in _places(value[key])]


def hostile_or_mutated(valid: bytes) -> st.SearchStrategy[bytes]:
    """Content that is hostile, or the valid one mutated by bytes or, where it is JSON, by its structure."""
    ways = [st.sampled_from(HOSTILE), mutated_bytes(valid)]
    if valid.lstrip()[:1] == b"{":
        ways.append(mutated_json(valid))
    return st.one_of(*ways).map(Shown)
