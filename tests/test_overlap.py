"""Passes, clears and writers at the same time: they share the work, nothing is done twice, nobody trips."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from exlab_orch import IngestWriter
from exlab_orch.cleanup import clear
from exlab_orch.passes import PassReport, run_pass
from exlab_orch.station import Station
from tests.lab import RUN, Lab
from tests.oracle import Oracle, data_files, ledger, require_cleared, steps_of

PROVED = ["staging", "complete", "sync_queued", "sync_verified"]
AT_ONCE = 'mode = "scheduled"\nretain_hours = 0'
Child = subprocess.Popen[str]


def start(lab: Lab, *words: str) -> Child:
    """A verb in a process of its own, not waited for."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.Popen(
        lab.command(*words),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(children: list[Child]) -> list[tuple[int, str]]:
    """Exit codes and messages of processes that run at the same time."""
    said = [child.communicate(timeout=120)[1] for child in children]
    return [(child.returncode, text) for child, text in zip(children, said, strict=True)]


def push_many(lab: Lab, count: int) -> list[str]:
    runs = [f"FLOW_01/PROJ-{number % 3}/Runs/Run_{number:03}" for number in range(count)]
    for number, run in enumerate(runs):
        lab.push(run, {"a.fcs": b"%d" % number, "sub/b.fcs": b"b" * number})
    return runs


def times_told(lab: Lab, run: str, words: str) -> int:
    """How often the run's log on the NAS says so."""
    (log,) = (lab.published(run) / ".exlab-wizard").glob("wizard.*.log")
    return log.read_text().count(words)


def test_four_passes_over_fifty_runs_copy_each_of_them_once(lab: Lab) -> None:
    runs = push_many(lab, 50)
    oracle = Oracle(lab, runs)

    ended = end([start(lab, "poll", "--json") for _ in range(4)])

    assert [code for code, _ in ended] == [0, 0, 0, 0], ended
    oracle.require_nothing_lost()
    lab.poll()
    assert {run: lab.states(run) for run in runs} == dict.fromkeys(runs, PROVED)
    assert {run: times_told(lab, run, "files read back") for run in runs} == dict.fromkeys(runs, 1)
    assert list(lab.nas.rglob("superseded")) == []
    assert lab.leftovers() == []


def test_four_passes_that_also_clear_delete_each_run_once(tmp_path: Path) -> None:
    lab = Lab(tmp_path, cleanup=AT_ONCE)
    runs = push_many(lab, 24)
    oracle = Oracle(lab, runs)

    ended = end([start(lab, "poll") for _ in range(4)])

    assert [code for code, _ in ended] == [0, 0, 0, 0], ended
    lab.poll()
    lab.poll()
    oracle.require_nothing_lost()
    assert sorted(str(line["run_path"]) for line in ledger(lab)) == sorted(runs)
    for run in runs:
        require_cleared(lab, run)
        assert [state for state, _ in steps_of(lab.nas_record(run))] == [*PROVED, "cleared"]
        assert times_told(lab, run, "staged copy deleted") == 1
    assert lab.leftovers() == []


def test_clears_during_a_pass_and_two_clears_of_the_same_runs_get_on_with_each_other(lab: Lab) -> None:
    old = push_many(lab, 12)
    lab.poll()
    new = [f"FLOW_01/PROJ-9/Runs/Run_{number:03}" for number in range(12)]
    for run in new:
        lab.push(run)
    oracle = Oracle(lab, old + new)

    ended = end(
        [
            start(lab, "poll"),
            start(lab, "clear", "--yes", *old),
            start(lab, "clear", "--yes", *reversed(old)),
        ]
    )

    assert {code for code, _ in ended} <= {0, 75}, ended
    oracle.require_nothing_lost()
    lab.poll()
    lab.cli("clear", "--yes", *old)
    assert sorted(str(line["run_path"]) for line in ledger(lab)) == sorted(old)
    for run in old:
        require_cleared(lab, run)
    assert {run: lab.states(run) for run in new} == dict.fromkeys(new, PROVED)
    assert lab.leftovers() == []


@pytest.mark.parametrize("time", range(2))
def test_many_processes_may_be_the_first_ever(tmp_path: Path, time: int) -> None:
    lab = Lab(tmp_path)
    push_many(lab, 3)
    ended = end([start(lab, "poll") for _ in range(6)])
    assert {code for code, _ in ended} == {0}, ended
    assert len((lab.state / "seal.key").read_bytes()) == 32
    assert json.loads((lab.staging / ".exlab-orch/owner.json").read_bytes())["state_dir"] == str(lab.state)
    assert lab.leftovers() == []


@pytest.mark.slow
@pytest.mark.parametrize("time", range(10))
def test_eight_passes_over_two_hundred_runs(tmp_path: Path, time: int) -> None:
    lab = Lab(tmp_path, cleanup=AT_ONCE if time % 2 else 'mode = "manual"')
    runs = push_many(lab, 200)
    oracle = Oracle(lab, runs)
    ended = end([start(lab, "poll") for _ in range(8)])
    assert {code for code, _ in ended} == {0}, ended
    for _ in range(3):
        lab.poll()
    oracle.require_nothing_lost()
    assert {run: times_told(lab, run, "files read back") for run in runs} == dict.fromkeys(runs, 1)
    assert lab.leftovers() == []


# -- step by step, in one process ----------------------------------------------------------------------------


def pass_with_a_stale_look(lab: Lab, meanwhile: Callable[[], None]) -> PassReport:
    """A pass during which, right after it looked around in staging, something else happens."""
    with lab.station() as station:
        real = station.discover

        def discover() -> object:
            found = real()
            meanwhile()
            return found

        station.discover = discover  # type: ignore[method-assign,assignment]
        station.journal.forget_idle()
        return run_pass(station)


def open_problems(station: Station) -> list[str]:
    return [problem.code for problem in station.journal.problems()]


def test_a_run_that_somebody_clears_while_a_pass_looks_around_is_no_failure(lab: Lab) -> None:
    lab.push()
    lab.poll()

    def clear_it() -> None:
        with lab.station() as other:
            clear(other, lab.run(), by="ada")

    report = pass_with_a_stale_look(lab, clear_it)

    assert report.exit_status == 0, report
    with lab.station() as station:
        assert open_problems(station) == []
        assert station.journal.run(RUN) is None
    assert lab.poll().announcements == ()


@pytest.mark.parametrize("phase", ["evaluate", "sync", "cleanup"])
def test_a_run_that_is_busy_elsewhere_is_left_to_who_is_busy(lab: Lab, phase: str) -> None:
    lab.push()
    other = "FLOW_01/PROJ-1/Runs/Run_other"
    lab.push(other)
    with lab.station() as station, station.state.run_lock(RUN) as held:
        assert held
        report = lab.poll()
        assert report.exit_status == 0
        assert report.busy >= 1
        assert not (lab.staged() / ".exlab-wizard").exists()
    assert lab.states(other) == PROVED
    lab.poll(frozenset({phase}))
    lab.poll()
    assert lab.states() == PROVED


def test_while_every_slot_is_taken_runs_are_judged_but_not_copied(lab: Lab) -> None:
    lab.push()
    nas = str(lab.nas)
    with lab.station() as station, station.state.slot(nas, 2) as first, station.state.slot(nas, 2) as second:
        assert first
        assert second
        report = lab.poll()
        assert report.exit_status == 0
        assert lab.states() == PROVED[:3]
        assert not lab.published().exists()
    lab.poll()
    assert lab.states() == PROVED


def test_a_long_copy_does_not_stop_the_next_pass(lab: Lab) -> None:
    """While one pass is in the middle of a copy, another evaluates, copies and clears other runs."""
    other, old = "FLOW_01/PROJ-1/Runs/Run_other", "FLOW_01/PROJ-1/Runs/Run_old"
    lab.push(old)
    lab.poll()
    lab.push()
    reports: list[PassReport] = []

    class Meanwhile:
        def begin(self, run_path: str, phase: str, files: int, byte_total: int) -> None:
            if (run_path, phase) == (RUN, "copy"):
                lab.push(other)
                reports.append(lab.poll())
                with lab.station() as station:
                    clear(station, lab.run(old), by="ada")

        def advance(self, byte_count: int) -> None:
            """Bytes do not matter here."""

        def end(self) -> None:
            """Nor does the end of a phase."""

    with lab.station() as station:
        run_pass(station, watch=Meanwhile())
    assert [report.copied for report in reports] == [(other,)]
    assert reports[0].busy >= 1
    require_cleared(lab, old)
    assert (lab.states(), lab.states(other)) == (PROVED, PROVED)


def test_of_many_appends_at_once_each_legal_one_is_kept(lab: Lab) -> None:
    lab.push(done=False)
    lab.poll()
    writer = IngestWriter(config=lab.config)

    async def append(number: int) -> str:
        try:
            await writer.append_state_transition(lab.staged(), "complete", host=f"host {number}")
        except ValueError:
            return "refused"
        return "written"

    async def all_at_once() -> list[str]:
        return await asyncio.gather(*(append(number) for number in range(12)))

    assert sorted(asyncio.run(all_at_once())) == ["refused"] * 11 + ["written"]
    assert lab.states() == ["staging", "complete"]


def test_a_record_can_be_read_at_every_moment_while_it_is_rewritten(lab: Lab) -> None:
    lab.push()
    runs = 0
    child = start(lab, "poll")
    path = lab.staged() / ".exlab-wizard/ingest.json"
    while child.poll() is None:
        if path.exists():
            runs += 1
            json.loads(path.read_bytes())
    assert end([child])[0][0] == 0
    assert runs > 0
    assert lab.states() == PROVED
    assert data_files(lab.published()) == data_files(lab.staged())
