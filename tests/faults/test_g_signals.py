"""G. Told to stop: SIGTERM, SIGINT and SIGHUP at any system call, two signals in a row; the state is always safe."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.faults.scenarios import CLEAR, POLL, SCENARIOS, Scenario, points, settle_and_compare, spread
from tests.faults.strace import Point, at, while_it_waits_at
from tests.lab import RUN
from tests.oracle import Oracle

CODES = {"TERM": 143, "INT": 130, "HUP": 129}
CHUNKS = 20


def survive_signal(scenario: Scenario, folder: Path, point: Point, name: str) -> None:
    """Send the signal at the point: the program ends with its code, and nothing is lost.

    The signal may also meet the child that looks at the NAS: then the NAS "could not be looked at" this time.
    """
    lab = scenario.prepare(folder)
    oracle = Oracle(lab)
    code = at(lab, scenario.command, point, f"signal={name}").returncode
    assert code in (CODES[name], 69), f"{name} at {point}: {code}"
    oracle.require_nothing_lost()
    settle_and_compare(scenario, lab, oracle)


SAMPLE = [
    pytest.param(scenario, name, part, id=f"{scenario}-{name}-{part}")
    for scenario in (POLL, CLEAR)
    for part, name in enumerate(["TERM", "INT", "HUP", "TERM", "INT"])
]


@pytest.mark.parametrize(("scenario", "name", "part"), SAMPLE)
def test_told_to_stop_anywhere_loses_nothing_and_ends_the_same(
    tmp_path: Path, scenario: Scenario, name: str, part: int
) -> None:
    survive_signal(scenario, tmp_path, spread(points(scenario), part, 5), name)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_told_to_stop_at_every_single_call(tmp_path: Path, scenario: Scenario, chunk: int) -> None:
    names = list(CODES)
    for number, point in enumerate(points(scenario)[chunk::CHUNKS]):
        survive_signal(scenario, tmp_path / str(number), point, names[number % 3])


MOMENTS = {
    "poll": (POLL, Point("write", 1, ("nas/FLOW_01/PROJ-1/Runs/.exlab-part-Run_2026-04-17T14-32/a.fcs",))),
    "clear": (CLEAR, Point("write", 1, ("state/ledger.jsonl",))),
}


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("verb", MOMENTS)
def test_a_second_signal_ends_it_at_once_and_as_safely(tmp_path: Path, verb: str, first: signal.Signals) -> None:
    scenario, point = MOMENTS[verb]
    lab = scenario.prepare(tmp_path)
    oracle = Oracle(lab)
    with while_it_waits_at(lab, scenario.command, point) as stopped:
        os.kill(stopped.process.pid, first)
        os.kill(stopped.process.pid, signal.SIGHUP)
    assert stopped.returncode in (129, 130, 143), stopped
    oracle.require_nothing_lost()
    settle_and_compare(scenario, lab, oracle)


@pytest.mark.parametrize("moment", ["mkdirat-1", "unlinkat-2"])
def test_a_clear_that_is_interrupted_leaves_a_whole_copy_somewhere(tmp_path: Path, moment: str) -> None:
    """Ctrl-C before the move to the trash, and between two unlinks."""
    call, _, number = moment.partition("-")
    lab = CLEAR.prepare(tmp_path)
    oracle = Oracle(lab)
    names = ("staging/.exlab-orch",) if call == "mkdirat" else ()
    code = at(lab, ("clear", "--yes", RUN), Point(call, int(number), names), "signal=INT").returncode
    assert code == 130
    oracle.require_nothing_lost()
    settle_and_compare(CLEAR, lab, oracle)
