"""The rows of ``list``: what is read once for all runs says the same as what is read for each."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from exlab_orch.clock import utc_now
from exlab_orch.holds import Hold, hold_of, put_hold
from exlab_orch.model import Ingest, StagedRun
from exlab_orch.records import read_record
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


def test_no_record_is_read_of_a_run_that_is_as_the_last_pass_left_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = proved(tmp_path)
    lab.now = utc_now() + timedelta(seconds=5)  # by then a folder that was just written to can be told from a later one
    lab.poll(frozenset({"evaluate"}))
    before = rows(lab)
    os.utime(lab.staged(RUNS[1]))
    with lab.station() as station:
        station.set_problems(RUNS[2], "sync", [station.problem(RUNS[2], "nas_conflict", "It is somebody else's.")])
    asked: list[str] = []

    def counting(run: StagedRun) -> Ingest | None:
        asked.append(run.run_path)
        return read_record(run)

    monkeypatch.setattr("exlab_orch.rows.read_record", counting)
    after = rows(lab)
    assert asked == [RUNS[1], RUNS[2]]
    assert [replace(row, elapsed_seconds_since_last_activity=0) for row in after.values() if row.problem is None] == [
        replace(row, elapsed_seconds_since_last_activity=0) for run, row in before.items() if run != RUNS[2]
    ]


def test_a_record_that_was_damaged_since_the_last_pass_is_told_before_the_next_one(tmp_path: Path) -> None:
    lab = proved(tmp_path)
    (lab.staged(RUNS[0]) / ".exlab-wizard/ingest.json").write_text("{")
    problem = rows(lab)[RUNS[0]].problem
    assert problem is not None
    assert problem.code == "record_unreadable"
