"""Deleting before retentions end, while the staging disk is low: what goes, what never does, when it is of no use."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec

import pytest

from exlab_orch import making_room
from exlab_orch.cleanup import clear
from exlab_orch.errors import Locked, RunProblem, SyncFailed
from exlab_orch.making_room import staging_subject
from exlab_orch.passes import PassReport
from exlab_orch.planning import plan_pass
from exlab_orch.rows import list_rows
from exlab_orch.space import Space, staging_space
from exlab_orch.transports import mount
from exlab_orch.trash import Cleared
from tests.lab import RUN, Lab
from tests.oracle import Calendar, require_cleared

P = ParamSpec("P")

RUNS = tuple(f"FLOW_01/PROJ-1/Runs/Run_{number}" for number in range(4))
SIZE = 1000
EARLY = 'mode = "scheduled"\nretain_hours = 100\nmin_free = "{mark}B"\nmin_retain_hours = 10\n'


@dataclass
class Disk:
    """A small staging disk: what lies in staging uses it up."""

    lab: Lab
    total: int = 10_000
    keeps_what_was_deleted: bool = False
    """As a snapshot does."""
    other_bytes: int = 0
    most: int = 0
    measured: list[int] = field(default_factory=list)

    def space(self, folder: str) -> Space:
        assert folder == str(self.lab.staging)
        used = sum(path.stat().st_size for path in self.lab.staging.rglob("*.fcs"))
        self.most = max(used, self.most if self.keeps_what_was_deleted else 0)
        self.measured.append(used)
        return Space(self.total, self.total - self.most - self.other_bytes)


@dataclass
class Full:
    """A lab with four runs of 1,000 bytes, proved an hour apart, on a disk of 10,000 bytes."""

    lab: Lab
    time: Calendar
    disk: Disk

    def configure(self, *, mark: int = 0, more: str = "") -> None:
        self.lab.cleanup = EARLY.format(mark=mark) + more
        self.lab.configure()

    def left(self) -> list[str]:
        return [run for run in RUNS if self.lab.staged(run).exists()]

    def problems(self) -> dict[str, str]:
        with self.lab.station(changing=False) as station:
            return {one.code: one.message for one in station.journal.problems(staging_subject(station))}


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Full:
    lab = Lab(tmp_path)
    disk = Disk(lab)
    monkeypatch.setattr(making_room, "staging_space", staging_space)
    monkeypatch.setattr("exlab_orch.space.disk_space", disk.space)
    monkeypatch.setattr("exlab_orch.trash.disk_space", disk.space)
    assert mount.__name__ in sys.modules, "imported before the disk was made up: the NAS is measured as it is"
    monkeypatch.setattr(making_room, "pause", lambda seconds: None)
    found = Full(lab, Calendar(lab, monkeypatch), disk)
    found.configure(mark=1)
    for run in reversed(RUNS):  # the last by name is the oldest
        lab.push(run, {"a.fcs": b"x" * SIZE})
        lab.poll()
        found.time.wait(hours=1)
    assert found.left() == list(RUNS)
    return found


def codes(report: PassReport) -> list[tuple[str, str]]:
    return [(one.kind, one.problem.code) for one in report.announcements]


# -- what goes -----------------------------------------------------------------------------------------------


def test_the_oldest_proofs_go_first_and_only_until_there_is_room(full: Full) -> None:
    full.time.wait(hours=20)
    full.configure(mark=7500)  # 6,000 are free
    report = full.lab.poll()
    assert [one.run_path for one in report.cleared] == [RUNS[3], RUNS[2]]
    assert full.left() == [RUNS[0], RUNS[1]]
    require_cleared(full.lab, RUNS[3])
    cleared = full.lab.nas_record(RUNS[3])["history"][-1]  # type: ignore[index]
    assert cleared["reason"] == "staging_low"
    log = next((full.lab.published(RUNS[3]) / ".exlab-wizard").glob("wizard.*.log")).read_text()
    assert "deleted before its retention ends: the staging disk has less than 7500B free" in log
    assert full.lab.poll().cleared == ()


def test_idle_runs_are_taken_too_and_with_the_cleanup_phase_alone(full: Full) -> None:
    full.time.wait(hours=20)
    full.configure(mark=7000)
    full.lab.poll(frozenset({"evaluate"}))
    assert len(full.lab.poll(frozenset({"cleanup"})).cleared) == 1


def test_what_is_due_anyway_goes_first_and_makes_the_room(full: Full) -> None:
    full.time.wait(hours=96)  # the oldest one's 100 hours are over
    full.configure(mark=7000)
    report = full.lab.poll()
    assert [one.run_path for one in report.cleared] == [RUNS[3]]
    assert "reason" not in full.lab.nas_record(RUNS[3])["history"][-1]  # type: ignore[index]


def test_list_and_the_dry_run_say_why_a_run_goes_early(full: Full) -> None:
    full.time.wait(hours=20)
    full.configure(mark=7000)
    with full.lab.station(changing=False) as station:
        rows = list_rows(station, now=full.time.now)
        plan = plan_pass(station)
    words = "early, the oldest first: the staging disk has less than 7000B free"
    assert all(row.waiting_for == f"the staged copy is deleted {words}" for row in rows)
    assert all(row.clear_after == full.time.now for row in rows)
    assert all("early, the oldest first" in one.step for one in plan)


# -- what never goes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cleanup", ['mode = "manual"\nmin_free = "9000B"', 'mode = "scheduled"\nretain_hours = 100'])
def test_nothing_goes_early_in_manual_mode_or_without_a_mark(full: Full, cleanup: str) -> None:
    full.time.wait(hours=50)
    full.lab.cleanup = cleanup
    full.lab.configure()
    assert full.lab.poll().cleared == ()


def test_nothing_goes_early_while_there_is_room(full: Full) -> None:
    full.time.wait(hours=50)
    full.configure(mark=6000)
    assert full.lab.poll().cleared == ()


def test_the_floor_is_never_undercut(full: Full) -> None:
    full.time.wait(hours=6)  # the oldest proof is ten hours old now, to the second
    full.configure(mark=9999)
    report = full.lab.poll()
    assert [one.run_path for one in report.cleared] == [RUNS[3]]
    assert full.left() == [RUNS[0], RUNS[1], RUNS[2]]


@pytest.mark.parametrize("hours", [500, -3])
def test_the_floor_is_not_undercut_by_a_step_of_the_clock(full: Full, hours: float) -> None:
    full.configure(mark=9999)
    full.time.step(hours=hours)
    for _ in range(3):
        assert full.lab.poll().cleared == ()
        full.time.wait(hours=30)
    full.time.wait(hours=11)
    assert len(full.lab.poll().cleared) == 4


@pytest.mark.parametrize("early", [True, False])
def test_a_clock_that_is_stepped_while_a_run_is_deleted_lets_no_other_go(
    full: Full, monkeypatch: pytest.MonkeyPatch, early: bool
) -> None:
    """Reading a large run back takes hours, and the clock may be set meanwhile."""
    full.time.wait(hours=7 if early else 97)  # the time of two is over
    full.configure(mark=9999 if early else 1)

    def after_a_step(act: Callable[P, Cleared]) -> Callable[P, Cleared]:
        def stepped(*given: P.args, **more: P.kwargs) -> Cleared:
            full.time.step(hours=5000)
            return act(*given, **more)

        return stepped

    monkeypatch.setattr("exlab_orch.passes.clear", after_a_step(clear))
    assert len(full.lab.poll().cleared) == 1
    assert len(full.left()) == 3


def test_a_mark_that_the_disk_can_never_reach_lets_no_run_go_early(full: Full) -> None:
    """A slip of the pen must not undo the retention of every run."""
    full.time.wait(hours=20)
    full.configure(mark=10_000)
    assert full.lab.poll().cleared == ()
    assert "so nothing is deleted early" in full.problems()["staging_low"]
    with full.lab.station(changing=False) as station:
        (told,) = station.journal.problems(staging_subject(station))
    assert told.hint == "Set a smaller staging_cleanup.min_free in the configuration."
    full.configure(mark=9_999)
    assert full.lab.poll().cleared != ()


def test_a_held_run_stays_and_the_next_one_goes(full: Full) -> None:
    full.time.wait(hours=20)
    assert full.lab.cli("hold", RUNS[3], "--reason", "audit").returncode == 0
    full.configure(mark=7000)
    assert [one.run_path for one in full.lab.poll().cleared] == [RUNS[2]]


def test_a_run_whose_nas_copy_is_damaged_stays(full: Full) -> None:
    full.time.wait(hours=20)
    for run in RUNS:
        (full.lab.published(run) / "a.fcs").write_bytes(b"y" * SIZE)
    full.configure(mark=9999)
    report = full.lab.poll()
    assert report.cleared == ()
    assert full.left() == list(RUNS)


def test_a_run_that_changed_after_its_proof_stays(full: Full) -> None:
    full.time.wait(hours=20)
    for run in RUNS:
        (full.lab.staged(run) / "a.fcs").write_bytes(b"z" * SIZE)
    full.configure(mark=9999)
    assert full.lab.poll(frozenset({"cleanup"})).cleared == ()
    assert full.left() == list(RUNS)


def test_a_run_that_was_proved_anew_meanwhile_is_not_deleted(full: Full) -> None:
    """What was decided on one record does not hold for another: its floor begins anew."""
    with full.lab.station() as station:
        other = full.lab.record(RUNS[0])
        with pytest.raises(Locked, match="just changed"):
            clear(station, full.lab.run(RUNS[3]), by=None, wait_seconds=0, decided_on=other)
    assert full.lab.staged(RUNS[3]).exists()


# -- when deleting is of no use ------------------------------------------------------------------------------


def test_one_pass_deletes_no_more_than_was_missing_even_if_nothing_becomes_free(full: Full) -> None:
    full.time.wait(hours=20)
    full.disk.keeps_what_was_deleted = True
    full.configure(mark=6500)
    report = full.lab.poll()
    assert [one.run_path for one in report.cleared] == [RUNS[3]]
    assert ("opened", "space_not_freed") in codes(report)
    for _ in range(3):
        full.time.wait(minutes=1)
        assert full.lab.poll().cleared == (), "deleting more would free no more"
    assert "space_not_freed" in full.problems()
    full.time.wait(hours=25)
    assert len(full.lab.poll().cleared) == 1, "after a day it is tried again"


def test_the_rest_ends_when_there_is_room_again(full: Full) -> None:
    full.time.wait(hours=20)
    full.disk.keeps_what_was_deleted = True
    full.configure(mark=6500)
    full.lab.poll()
    full.disk.keeps_what_was_deleted = False  # the snapshot is gone
    report = full.lab.poll()
    assert ("closed", "space_not_freed") in codes(report)
    full.configure(mark=8000)
    assert len(full.lab.poll().cleared) == 1


def test_a_file_system_that_gives_back_late_is_waited_for(full: Full, monkeypatch: pytest.MonkeyPatch) -> None:
    full.time.wait(hours=20)
    full.disk.keeps_what_was_deleted = True
    waited: list[float] = []

    def commit(seconds: float) -> None:
        waited.append(seconds)
        full.disk.keeps_what_was_deleted = len(waited) < 5

    monkeypatch.setattr(making_room, "pause", commit)
    full.configure(mark=6500)
    assert "space_not_freed" not in {code for _, code in codes(full.lab.poll())}
    assert len(waited) == 5


# -- when deletes fail ---------------------------------------------------------------------------------------


def fail_all(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    tried: list[str] = []

    def refuse(station: object, run: object, **_: object) -> Cleared:
        tried.append(run.run_path)  # type: ignore[attr-defined]
        raise SyncFailed("It cannot be deleted.")

    monkeypatch.setattr("exlab_orch.passes.clear", refuse)
    return tried


@pytest.mark.parametrize(("hours", "mark"), [(20, 9999), (200, 1)])
def test_after_so_many_failures_the_schedule_deletes_no_more(
    full: Full, monkeypatch: pytest.MonkeyPatch, hours: float, mark: int
) -> None:
    full.time.wait(hours=hours)
    full.configure(mark=mark, more="max_errors = 2")
    tried = fail_all(monkeypatch)
    report = full.lab.poll()
    assert len(tried) == 2
    assert codes(report).count(("opened", "clearing_stopped")) == 1
    full.time.wait(minutes=1)
    report = full.lab.poll()
    assert len(set(tried)) == 4, "the next pass tries the others, and those that failed wait"
    assert ("opened", "clearing_stopped") not in codes(report)
    full.time.wait(minutes=1)
    full.lab.poll()
    assert len(tried) == 4
    assert "clearing_stopped" in full.problems()
    monkeypatch.setattr("exlab_orch.passes.clear", clear)
    full.time.wait(hours=1)
    report = full.lab.poll()
    assert len(report.cleared) == 4
    assert ("closed", "clearing_stopped") in codes(report)


def test_what_a_person_asked_for_is_neither_counted_nor_stopped(full: Full, monkeypatch: pytest.MonkeyPatch) -> None:
    full.configure(mark=1, more="max_errors = 1")
    assert full.lab.cli("clear", "--later", "--yes", *RUNS).returncode == 0
    tried = fail_all(monkeypatch)
    report = full.lab.poll()
    assert len(tried) == 4
    assert "clearing_stopped" not in {code for _, code in codes(report)}


def test_runs_whose_records_cannot_be_read_are_no_failed_deletes(full: Full) -> None:
    full.time.wait(hours=200)
    full.configure(mark=1, more="max_errors = 1")
    for run in RUNS[:3]:
        (full.lab.staged(run) / ".exlab-wizard/ingest.json").write_bytes(b"{")
    report = full.lab.poll(frozenset({"cleanup"}))
    assert [one.run_path for one in report.cleared] == [RUNS[3]]
    assert "clearing_stopped" not in full.problems()


# -- the warnings --------------------------------------------------------------------------------------------


def test_a_disk_that_hovers_at_its_mark_is_told_once(full: Full) -> None:
    full.lab.cleanup = 'mode = "manual"\nmin_free = "5000B"'
    full.lab.configure()
    told: list[tuple[str, str]] = []
    for other in (1000, 1400, 1600, 1400, 1100, 1050, 1000, 1100, 1400):  # 6,000 are free without others
        full.disk.other_bytes = other
        told += codes(full.lab.poll())
    assert told == [("opened", "staging_low"), ("closed", "staging_low")]


def test_a_disk_that_fills_up_is_told_a_day_before(full: Full) -> None:
    full.lab.cleanup = 'mode = "manual"'
    full.lab.configure()
    full.time.wait(hours=7)
    full.lab.poll()
    told: list[tuple[str, str]] = []
    for _ in range(6):
        full.time.wait(hours=1)
        full.disk.other_bytes += 500
        told += codes(full.lab.poll())
    assert told == [("opened", "staging_filling")]
    for _ in range(7):
        full.time.wait(hours=1)
        told += codes(full.lab.poll())
    assert told == [("opened", "staging_filling"), ("closed", "staging_filling")]


def test_a_disk_that_cannot_be_measured_stops_no_pass(full: Full, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(folder: str) -> Space:
        raise OSError(5, os.strerror(5))

    full.time.wait(hours=20)
    full.configure(mark=9999)
    monkeypatch.setattr("exlab_orch.space.disk_space", broken)
    full.lab.push("FLOW_01/PROJ-1/Runs/Run_new", {"b.txt": b"b"})
    report = full.lab.poll()
    assert report.copied == ("FLOW_01/PROJ-1/Runs/Run_new",)
    assert report.cleared == ()
    with full.lab.station(changing=False) as station, pytest.raises(RunProblem):
        making_room.why_low(station)


def test_list_says_that_the_disk_is_low_in_words_and_in_json(lab: Lab) -> None:
    lab.push(done=False)
    lab.poll()
    with lab.station() as station:
        problem = station.problem(staging_subject(station), "staging_low", "Little is free.", "Make room.")
        station.set_problems(staging_subject(station), "disk", [problem])
    assert "staging_low: Little is free.\nMake room." in lab.cli("list").stderr
    assert [one["code"] for one in json.loads(lab.cli("list", "--json").stdout)["problems"]] == ["staging_low"]


def test_after_a_clear_the_disk_is_not_called_full_any_more(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.push()
    lab.poll()
    with lab.station() as station:
        subject = staging_subject(station)
        station.set_problems(subject, "disk", [station.problem(subject, "staging_low", "It is full.", "Clear.")])
    assert lab.cli("clear", "--yes", RUN).returncode == 0
    with lab.station() as station:
        assert "staging_low" not in [problem.code for problem in station.journal.problems(subject)]
