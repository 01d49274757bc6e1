"""Durations and moments as people write them on a command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
import pytest

from exlab_orch.cli import kinds

NOW = datetime(2026, 4, 17, 12, 0, tzinfo=UTC)
OPTION = click.Option(["--until"])
CONTEXT = click.Context(click.Command("verb"))


@pytest.fixture(autouse=True)
def _noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "utc_now", lambda: NOW)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("90s", NOW + timedelta(seconds=90)),
        ("7d", NOW + timedelta(days=7)),
        ("2026-04-20T08:00Z", datetime(2026, 4, 20, 8, tzinfo=UTC)),
        ("2026-04-20T08:00+02:00", datetime(2026, 4, 20, 6, tzinfo=UTC)),
        ("2026-04-20", datetime(2026, 4, 20).astimezone(UTC)),
    ],
)
def test_a_moment_is_a_duration_from_now_or_a_date(written: str, meant: datetime) -> None:
    assert kinds.as_moment(CONTEXT, OPTION, written) == meant


@pytest.mark.parametrize("written", ["", "soon", "0s", "2026-04-16", "2026-13-40", "7", "-1d", "99999999999d"])
def test_what_is_no_moment_to_come_is_refused(written: str) -> None:
    with pytest.raises(click.BadParameter):
        kinds.as_moment(CONTEXT, OPTION, written)


def test_a_duration_is_understood_and_nonsense_says_what_is_allowed() -> None:
    assert kinds.as_duration(CONTEXT, OPTION, "15m") == timedelta(minutes=15)
    with pytest.raises(click.BadParameter, match="15m"):
        kinds.as_duration(CONTEXT, OPTION, "fifteen")


@pytest.mark.parametrize("reason", ["", "  ", "…", "...", " … "])
def test_a_reason_that_was_pasted_with_the_command_is_none(reason: str) -> None:
    with pytest.raises(click.BadParameter, match="in your own words"):
        kinds.as_reason(CONTEXT, OPTION, reason)
    assert kinds.as_reason(CONTEXT, OPTION, "power cut …") == "power cut …"
