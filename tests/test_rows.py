"""The rows of ``list``: what is read once for all runs says the same as what is read for each."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from exlab_orch.clock import utc_now
from exlab_orch.holds import Hold, hold_of, put_hold
from exlab_orch.rows import Row, list_rows
from tests.lab import RUN, Lab

RUNS = [f"FLOW_01/PROJ-1/Runs/Run_2026-04-17T14-{minute}" for minute in (30, 31, 32)]


def proved(tmp_path: Path) -> Lab:
    """A lab where every run is proved on the NAS."""
    lab = Lab(tmp_path, cleanup='mode = "scheduled"\nretain_hours = 0')
    for run in RUNS:
        lab.push(run)
    lab.poll(frozenset({"evaluate", "sync"}))
    return lab


def rows(lab: Lab) -> dict[str, Row]:
    with lab.station(changing=False) as station:
        return {row.run: row for row in list_rows(station, now=utc_now())}


def test_a_hold_is_shown_for_its_run_alone(tmp_path: Path) -> None:
    lab = proved(tmp_path)
    put_hold(str(lab.staging), Hold(RUNS[1], "paper under review", "anna", "2026-04-17T12:00:00.000Z"))
    found = rows(lab)
    assert [found[run].held for run in RUNS] == [False, True, False]
    assert found[RUNS[1]].hold_reason == "paper under review"
    assert found[RUNS[1]].waiting_for == "held: paper under review"
    assert found[RUNS[0]].waiting_for == "the next pass deletes the staged copy"


def test_no_hold_file_is_opened_for_runs_that_have_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = proved(tmp_path)
    put_hold(str(lab.staging), Hold(RUNS[1], "paper under review", "anna", "2026-04-17T12:00:00.000Z"))
    opened: list[str] = []

    def counted(root: str, run_path: str, now: datetime) -> Hold | None:
        opened.append(run_path)
        return hold_of(root, run_path, now)

    monkeypatch.setattr("exlab_orch.station.hold_of", counted)
    rows(lab)
    assert opened == [RUNS[1]]


def test_a_delete_that_somebody_asked_for_is_shown_for_its_run_alone(tmp_path: Path) -> None:
    lab = proved(tmp_path)
    lab.cleanup = 'mode = "manual"'
    lab.configure()
    with lab.station() as station:
        station.journal.give_order(RUNS[2], "clear_later", {"by": "anna"})
    found = rows(lab)
    assert found[RUNS[2]].waiting_for == "the next pass deletes the staged copy"
    assert found[RUNS[0]].waiting_for == "kept until somebody deletes it"


def test_a_clear_that_would_be_refused_is_not_offered(lab: Lab) -> None:
    lab.push()
    lab.poll()
    with lab.station() as station:
        (before,) = list_rows(station, now=station.now())
        damage = station.problem(RUN, "nas_copy_damaged", "It has other content now.")
        station.set_problems(RUN, "clear", [damage])
        (after,) = list_rows(station, now=station.now())
    assert f"exlab-orch clear {RUN}" in before.actions
    assert f"exlab-orch clear {RUN}" not in after.actions
