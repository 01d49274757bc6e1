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


def test_on_a_terminal_sentences_are_broken_between_words_and_commands_not_at_all() -> None:
    message = (
        "The NAS copy of sample_1.mzML has other content now.\n"
        "  Nothing was deleted. To copy ours: exlab-orch sync --new-version 'CONFOCAL_01/PROJ 1/Runs/Run_1'\n"
        "  sudo -u exlab-orch exlab-orch takeover --yes"
    )
    assert output.for_reading(message, 40).split("\n") == [
        "The NAS copy of sample_1.mzML has other",
        "content now.",
        "  Nothing was deleted. To copy ours:",
        "    exlab-orch sync --new-version 'CONFOCAL_01/PROJ 1/Runs/Run_1'",
        "  sudo -u exlab-orch exlab-orch takeover --yes",
    ]
    assert output.for_reading(message, 400) == message


def test_of_two_ways_each_command_ends_its_line_also_where_both_would_fit() -> None:
    shown = output.for_reading("  To do it: exlab-orch poll   Or: exlab-orch watch", 400)
    assert shown.split("\n") == ["  To do it:", "    exlab-orch poll", "  Or: exlab-orch watch"]


def test_three_spaces_in_a_quoted_name_end_no_command() -> None:
    move = "mv -nT '/s/it'\"'\"'s   old' /s/Run_1"
    assert output.first_way(f"{move}   Or: exlab-orch watch") == (move, "Or: exlab-orch watch")
    assert output.first_way(move) == (move, "")
    assert output.for_reading(f"  To do it: {move}", 400) == f"  To do it: {move}"


def test_a_path_that_is_too_long_for_the_terminal_stays_whole() -> None:
    path = f"/srv/{'staging-' * 20}"
    assert path in output.for_reading(f"There is no {path} on this computer.", 40).split("\n")
