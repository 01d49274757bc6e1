"""The charts of a report: where things stand on them, as pure functions."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from exlab_orch.cli.report_charts import (
    Axis,
    life_bar,
    phases,
    place_of_wait,
    space_meter,
    throughput_chart,
    time_axis,
    wait_strip,
)
from exlab_orch.model import IngestState
from exlab_orch.report import Life, Step, throughput
from exlab_orch.space import Space
from tests.cli.rows import NOW
from tests.lab import RUN
from tests.reports import busy, cleared

DAY = timedelta(days=1)


def boxes(drawing: str) -> list[dict[str, str]]:
    """The attributes of every rectangle."""
    return [dict(re.findall(r'([\w-]+)="([^"]*)"', found)) for found in re.findall(r"<rect[^>]*>", drawing)]


def percent(text: str) -> float:
    return float(text.removesuffix("%"))


# -- a life --------------------------------------------------------------------------------------------------


def test_a_life_has_a_stretch_for_each_kind_of_state() -> None:
    found = phases(cleared(RUN), NOW)
    assert [one.kind for one in found] == ["arriving", "copying", "proved"]
    assert [one.seconds for one in found] == [1200, 601, 88_799]


def test_the_last_stretch_of_a_staged_run_lasts_until_now() -> None:
    life = Life(RUN, 1, 1, (Step(IngestState.STAGING, NOW - DAY),))
    (only,) = phases(life, NOW)
    assert (only.kind, only.end) == ("arriving", NOW)


def test_a_step_back_is_seen() -> None:
    life = cleared(RUN)
    back = Step(IngestState.SYNC_QUEUED, life.steps[-2].at + timedelta(hours=1))
    again = Step(IngestState.SYNC_VERIFIED, back.at + timedelta(hours=1))
    found = phases(replace(life, steps=(*life.steps[:-1], back, again, life.steps[-1])), NOW)
    assert [one.kind for one in found] == ["arriving", "copying", "proved", "copying", "proved"]


def test_a_life_of_which_nothing_is_known_has_no_stretch() -> None:
    assert phases(Life(RUN, 1, 1), NOW) == []


def test_a_clock_that_went_back_makes_no_stretch_of_negative_length() -> None:
    life = Life(RUN, 1, 1, (Step(IngestState.STAGING, NOW), Step(IngestState.COMPLETE, NOW - DAY)))
    assert all(one.seconds >= 0 for one in phases(life, NOW))


@pytest.mark.parametrize("begin", [NOW - 30 * DAY, NOW - 4 * DAY, NOW - timedelta(hours=1)])
def test_no_box_leaves_the_chart_and_each_is_wide_enough_to_be_seen(begin: datetime) -> None:
    drawn = boxes(life_bar(cleared(RUN), Axis(begin, NOW), words="x", stopped_at=None))
    for box in drawn:
        assert percent(box["x"]) >= 0
        assert percent(box["width"]) >= 0.49
        assert percent(box["x"]) + percent(box["width"]) <= 100.01


def test_only_the_last_stretch_is_marked_where_a_problem_stops_a_run_from_its_beginning() -> None:
    assert _kinds_when_stopped(NOW - 9 * DAY) == ["arriving", "copying", "problem"]


def test_a_problem_is_drawn_from_when_it_began_and_not_over_the_good_days_before() -> None:
    assert _kinds_when_stopped(NOW - timedelta(hours=1)) == ["arriving", "copying", "proved", "problem"]
    assert _kinds_when_stopped(NOW + DAY)[-1] == "problem"  # a clock that went back


def _kinds_when_stopped(since: datetime) -> list[str]:
    life = replace(cleared(RUN), cleared_at=None)
    return [box["class"] for box in boxes(life_bar(life, Axis(NOW - 9 * DAY, NOW), words="x", stopped_at=since))]


def test_a_problem_of_a_run_that_no_pass_has_seen_draws_nothing() -> None:
    life = replace(cleared(RUN), steps=(), cleared_at=None)
    assert boxes(life_bar(life, Axis(NOW - 9 * DAY, NOW), words="x", stopped_at=NOW)) == []


@pytest.mark.parametrize(
    ("length", "form"),
    [
        (timedelta(minutes=2), r"\d\d:\d\d"),
        (timedelta(minutes=50), r"\d\d:\d\d"),
        (timedelta(hours=5), r"\d\d:[03]0"),
        (timedelta(hours=47), r"\d\d:00"),
        (12 * DAY, r"\d+ \w+"),
    ],
)
def test_an_axis_names_hours_or_days_in_order_and_ends_now(length: timedelta, form: str) -> None:
    drawn = time_axis(Axis(NOW - length, NOW))
    words = re.findall(r">([^<]+)</text>", drawn)
    places = [percent(place) for place in re.findall(r'x="([^"]+)"', drawn)]
    assert words[-1] == "now"
    assert 2 <= len(words) <= 9
    assert all(re.fullmatch(form, word) for word in words[:-1])
    assert places == sorted(places)


# -- amounts -------------------------------------------------------------------------------------------------


def test_columns_stand_on_the_ground_and_on_each_other() -> None:
    lives = [cleared("A/P/Runs/R", days_ago=0.1, size=3 << 30), cleared("B/P/Runs/R", days_ago=0.1, size=1 << 30)]
    lives = [replace(life, steps=()) for life in lives]
    found = throughput(lives, NOW - 3 * DAY, NOW)
    lower, upper = boxes(throughput_chart(found, {"A": 0, "B": 1}))
    assert (lower["class"], upper["class"]) == ("c0", "c1")
    assert float(lower["y"]) + float(lower["height"]) == pytest.approx(200)
    assert float(upper["y"]) + float(upper["height"]) == pytest.approx(float(lower["y"]), abs=0.2)
    assert float(lower["height"]) == pytest.approx(3 * float(upper["height"]), abs=0.2)


@pytest.mark.parametrize("size", [1, 999, 1024, 5000, 10**9, 1023 << 30, 700 << 30, 1 << 40, 9 * 10**15])
def test_no_column_is_higher_than_the_chart_and_its_levels_are_round(size: int) -> None:
    found = throughput([replace(cleared(RUN), steps=(), byte_total=size)], NOW - 9 * DAY, NOW)
    drawn = throughput_chart(found, {"FLOW_01": 0})
    (box,) = boxes(drawn)
    assert 0 <= float(box["y"]) <= 200
    levels = re.findall(r'<text x="0"[^>]*>([^<]+)<', drawn)
    assert 1 <= len(levels) <= 4
    assert all(re.fullmatch(r"\d{1,3}(\.\d)? [KMGTP]?i?B", level) for level in levels), levels


def test_a_chart_says_what_it_shows() -> None:
    found = throughput(busy().lives, busy().since, NOW)
    assert 'role="img"' in throughput_chart(found, dict.fromkeys(found.amounts, 0))


# -- times and space -----------------------------------------------------------------------------------------


def test_longer_waits_stand_further_right_and_anchors_in_equal_steps() -> None:
    seconds = [0, 1, 59, 60, 600, 3600, 21_600, 86_400, 604_800, 10**7, 10**12]
    places = [place_of_wait(one) for one in seconds]
    assert places == sorted(places)
    assert places[0] == 0
    assert places[-1] == 1
    assert [round(7 * place_of_wait(one), 9) for one in (60, 600, 3600)] == [1, 2, 3]


def test_of_very_many_runs_an_even_choice_is_drawn_with_the_longest() -> None:
    drawn = wait_strip([float(n) for n in range(5000)], 2500.0, words="x")
    dots = re.findall(r'<circle cx="([^"]+)"', drawn)
    assert len(dots) <= 201
    assert percent(dots[-1]) == pytest.approx(100 * place_of_wait(4999.0), abs=0.01)


@pytest.mark.parametrize(("free", "look"), [(50, "used"), (9, "used tight"), (0, "used tight")])
def test_a_disk_that_is_nearly_full_looks_like_it(free: int, look: str) -> None:
    _, used = boxes(space_meter(Space(100, free), words="x"))
    assert (used["class"], used["width"]) == (look, f"{100 - free}%")


def test_midnights_are_those_of_the_wall_also_when_the_clocks_change(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = time_axis(Axis(datetime(2026, 3, 20, tzinfo=UTC), datetime(2026, 4, 10, tzinfo=UTC)))
    words = re.findall(r">([^<]+)</text>", drawn)
    assert len(set(words)) == len(words)
