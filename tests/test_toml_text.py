"""Keys are found at their line in every form TOML has for them."""

from __future__ import annotations

import tomllib

import pytest

from exlab_orch.toml_text import KeyPath, find_keys, locate

TEXT = '''\
# a comment with = and [brackets]
title = "a # b = \\" [x]"
long = """
[not.a.table]
key = 1 \\"""
"""            # three lines
raw = \'\'\'
it's """ [x]
\'\'\'
dotted.inner."quoted key" = 1
inline = { a = 1, b = { c = [1, 2] }, d = "}" }

[table]
number = 1.5
when = 1979-05-27 07:32:00Z
list = [
  "one",   # ] comment
  { deep = true },
]
[table."sub table"]
x = 'y'

[[equipment]]
id = "A"
[equipment.nas]
root = "/a"
[[equipment]]
id = "B"
nas.root = "/b"
[[equipment.part]]
n = 1
[[equipment.part]]
n = 2
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 2),
        (("long",), 3),
        (("raw",), 7),
        (("dotted",), 10),
        (("dotted", "inner", "quoted key"), 10),
        (("inline", "b", "c"), 11),
        (("inline", "d"), 11),
        (("table",), 13),
        (("table", "number"), 14),
        (("table", "when"), 15),
        (("table", "list", 0), 17),
        (("table", "list", 1, "deep"), 18),
        (("table", "sub table"), 20),
        (("table", "sub table", "x"), 21),
        (("equipment",), 23),
        (("equipment", 0, "id"), 24),
        (("equipment", 0, "nas"), 25),
        (("equipment", 0, "nas", "root"), 26),
        (("equipment", 1, "id"), 28),
        (("equipment", 1, "nas", "root"), 29),
        (("equipment", 1, "part", 1, "n"), 33),
    ],
)
def test_a_key_is_found_at_its_line(path: KeyPath, line: int) -> None:
    assert locate(find_keys(TEXT), path) == line


@pytest.mark.parametrize(
    ("path", "line"), [(("table", "gone"), 13), (("equipment", 1, "gone", "x"), 27), (("gone",), 1), ((), 1)]
)
def test_a_key_that_is_not_there_is_placed_at_the_table_around_it(path: KeyPath, line: int) -> None:
    assert locate(find_keys(TEXT), path) == line


@pytest.mark.parametrize("text", [TEXT, TEXT.replace("\n", "\r\n"), "\ufeff" + TEXT])
def test_the_span_of_a_value_is_the_value(text: str) -> None:
    places = find_keys(text)
    for path in [
        ("title",),
        ("long",),
        ("inline",),
        ("table", "when"),
        ("table", "list"),
        ("equipment", 1, "nas", "root"),
    ]:
        place = places[path]
        wanted: object = tomllib.loads(text.removeprefix("\ufeff"))
        for name in path:
            wanted = wanted[name]  # type: ignore[index]
        assert tomllib.loads(f"v = {text[place.value_start : place.value_end]}")["v"] == wanted


def test_a_key_between_braces_is_known_to_be_inline() -> None:
    places = find_keys(TEXT)
    assert places["inline", "a"].inline
    assert not places["table", "number"].inline
