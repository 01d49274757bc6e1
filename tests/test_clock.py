"""Times: one way to write them, and no text or stamp from outside that can break reading them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from exlab_orch import clock

NOON = datetime(2026, 4, 17, 12, 0, 0, 123_456, tzinfo=UTC)


def test_the_present_is_aware_and_in_utc() -> None:
    assert clock.utc_now().tzinfo is UTC


def test_the_boot_clock_does_not_go_back() -> None:
    assert 0 < clock.boot_seconds() <= clock.boot_seconds()


def test_a_time_is_written_in_utc_with_z_and_milliseconds() -> None:
    assert clock.format_utc(NOON) == "2026-04-17T12:00:00.123Z"


def test_a_time_of_another_zone_is_written_in_utc() -> None:
    moment = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert clock.format_utc(moment) == "2026-04-17T12:00:00.123Z"


@pytest.mark.parametrize(
    "text", ["2026-04-17T12:00:00.123456Z", "2026-04-17T12:00:00.123456+00:00", "2026-04-17T14:00:00.123456+02:00"]
)
def test_a_written_time_is_read_into_utc(text: str) -> None:
    moment = clock.parse_utc(text)
    assert moment == NOON
    assert moment.tzinfo is UTC


def test_what_is_written_is_read_back_to_the_millisecond() -> None:
    assert clock.parse_utc(clock.format_utc(NOON)) == NOON.replace(microsecond=123_000)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-04-17",
        "2026-04-17T12:00:00",
        "2026-13-01T00:00:00Z",
        "2026-04-17T25:00:00Z",
        "10000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "\ud800",
        "9" * 5000,
    ],
)
def test_a_text_that_names_no_moment_is_none(text: str) -> None:
    assert clock.parse_utc(text) is None


@pytest.mark.parametrize(
    ("nanoseconds", "moment"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (1_500_000_000, datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)),
        (-1_000_000_000, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (7_258_118_400_000_000_000, datetime(2200, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_stamp_is_the_moment_it_names(nanoseconds: int, moment: datetime) -> None:
    assert clock.from_epoch_ns(nanoseconds) == moment


@pytest.mark.parametrize("nanoseconds", [-(2**63), 2**63 - 1, -(10**30), 10**30])
def test_a_stamp_beyond_every_calendar_is_still_a_moment(nanoseconds: int) -> None:
    assert 1 <= clock.from_epoch_ns(nanoseconds).year <= 9999


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        (NOON, "2026-04-17 14:00 CEST"),
        ("2026-01-17T12:00:59.999Z", "2026-01-17 13:00 CET"),
        ("2026-01-17T12:00:00", "2026-01-17T12:00:00"),
        ("soon", "soon"),
    ],
)
def test_people_read_times_of_the_clock_on_the_wall_with_its_zone(
    monkeypatch: pytest.MonkeyPatch, moment: datetime | str, shown: str
) -> None:
    monkeypatch.setenv("TZ", "Europe/Zurich")
    time.tzset()
    try:
        assert clock.local_words(moment) == shown
    finally:
        monkeypatch.undo()
        time.tzset()
