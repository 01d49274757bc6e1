"""States and reasons in the words of the contract (lifecycle.md, 2, "shown as")."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from exlab_orch.cli.pass_words import announcement_words
from exlab_orch.cli.words import percent, progress_words, remarks, state_word
from exlab_orch.journal import Announcement
from exlab_orch.model import IngestState, Problem
from exlab_orch.rows import Row
from tests.cli import rows as given


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (IngestState.STAGING, "arriving"),
        (IngestState.COMPLETE, "received"),
        (IngestState.SYNC_QUEUED, "waiting to copy"),
        (IngestState.SYNC_VERIFIED, "on NAS, checked"),
        (IngestState.CLEARED, "staged copy deleted"),
    ],
)
def test_each_state_has_its_words(state: IngestState, word: str) -> None:
    assert state_word(given.row("A/P/Runs/Run_1", state)) == word


def test_a_running_copy_shows_how_far_it_is() -> None:
    assert state_word(given.COPYING) == "copying 43 %"


def test_reading_back_before_a_delete_does_not_change_the_state() -> None:
    assert state_word(replace(given.VERIFIED, progress=given.progress("proof", 1, 2))) == "on NAS, checked"


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("not_a_run", "not a run"),
        ("unknown_equipment", "unknown equipment"),
        ("name_unsupported", "unusable name"),
        ("record_unreadable", "unreadable"),
    ],
)
def test_what_has_no_state_is_called_what_it_is(code: str, word: str) -> None:
    assert state_word(given.row("A/P/x", None, problem=given.problem(code, ""))) == word


@pytest.mark.parametrize(
    ("done", "total", "shown"), [(0, 0, 100), (0, 10, 0), (999, 1000, 99), (7, 7, 100), (9, 7, 100)]
)
def test_a_hundred_per_cent_means_done(done: int, total: int, shown: int) -> None:
    assert percent(given.progress("copy", done, total)) == shown


def test_progress_says_amount_rate_and_time_left() -> None:
    assert progress_words(given.progress("copy", 1 << 30, 3 << 30, float(1 << 30))) == (
        "copying: 1.0 GiB of 3.0 GiB, 1.0 GiB/s, 2 s left"
    )
    assert progress_words(given.progress("proof", 0, 1 << 10)) == "reading it back from the NAS: 0 B of 1.0 KiB"


@pytest.mark.parametrize(
    ("row", "moods"),
    [
        (given.ARRIVING, ["waiting"]),
        (given.COPYING, ["progress"]),
        (given.CONFLICT, ["problem"]),
        (given.HELD, ["held"]),
        (given.VERIFIED, ["waiting"]),
        (replace(given.ARRIVING, problem=given.problem("never_completed", "Still arriving.")), ["problem", "waiting"]),
        (replace(given.HELD, progress=given.progress("proof", 0, 1)), ["progress", "held"]),
    ],
)
def test_each_reason_is_said_once(row: Row, moods: list[str]) -> None:
    assert [remark.mood for remark in remarks(row)] == moods


def test_retention_says_how_long_and_until_when() -> None:
    (remark,) = remarks(given.VERIFIED)
    assert remark.text.startswith("clears in 22 h: the staged copy is deleted after 2026-04-18 ")


def test_in_a_mail_too_each_way_out_of_a_problem_ends_its_line() -> None:
    hint = "To make it a run: mv -nT '/s/a   b' '/s/Run_a   b'   Or: exlab-orch watch"
    problem = Problem("A/x", "not_a_run", "A/x is not a run.", datetime(2026, 4, 17, tzinfo=UTC), hint)
    assert announcement_words(Announcement("opened", problem)).split("\n") == [
        "A/x: not_a_run: A/x is not a run.",
        "  To make it a run: mv -nT '/s/a   b' '/s/Run_a   b'",
        "  Or: exlab-orch watch",
    ]
