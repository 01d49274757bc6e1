"""What is printed: nothing raw from outside, tabs that stay fields, JSON that is plain ASCII."""

from __future__ import annotations

import json

import pytest

from exlab_orch.cli import output


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain text\n\twith a tab", "plain text\n\twith a tab"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\r\x07\x00", "\\r\\x07\\x00"),
        ("a\u202eb\u2066c\u2028d", "a\\u202eb\\u2066c\\u2028d"),
        ("\udcff", "\\udcff"),
        ("\u00b5m \u2026", "\u00b5m \u2026"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
    ],
)
def test_what_a_terminal_could_obey_is_escaped(raw: str, shown: str) -> None:
    assert output.harmless(raw) == shown


def test_neither_a_tab_nor_a_line_end_in_a_field_makes_another_field_or_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output.print_tabs(("a\tb", None, "", 0, "c\nd"))
    assert capsys.readouterr().out == "a\\tb\t-\t-\t0\tc\\nd\n"


def test_json_carries_every_character_in_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"name": "\u202e\u00b5", "none": []})
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert json.loads(printed) == {"name": "\u202e\u00b5", "none": []}
