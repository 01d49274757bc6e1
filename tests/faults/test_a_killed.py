"""A. Killed at any system call: later passes reach the same end, no byte is lost on the way, nothing is left over.

``strace`` kills the real program from outside, at the entry of one call that changes something. The default run takes
points spread over the whole of each scenario; the tests marked slow take every one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.faults.scenarios import (
    AGAIN,
    CHANGED,
    CLEAR,
    POLL,
    SCENARIOS,
    SECOND,
    Scenario,
    clear_once_more,
    fresh,
    points,
    settle_and_compare,
    spread,
    surely,
    survive,
    to_be_cleared,
    written_by_workers,
)
from tests.faults.strace import Point, kill_at, points_of, while_it_waits_at
from tests.lab import RUN, Lab
from tests.oracle import Oracle, ledger, require_cleared

# -- one kill ------------------------------------------------------------------------------------------------

SAMPLE = [pytest.param(scenario, part, 6, id=f"{scenario}-{part}") for scenario in SCENARIOS for part in range(6)]
CHUNKS = 20


@pytest.mark.spread(10)
@pytest.mark.parametrize(("scenario", "part", "parts"), SAMPLE)
def test_killed_anywhere_loses_nothing_and_ends_the_same(
    tmp_path: Path, scenario: Scenario, part: int, parts: int
) -> None:
    survive_each(scenario, tmp_path, [(spread(points(scenario), part, parts),)])


def survive_in(scenario: Scenario, folder: Path, kills: tuple[Point, ...], attempt: int) -> None:
    survive(scenario, folder / str(attempt), *kills)


def survive_each(scenario: Scenario, folder: Path, kills: list[tuple[Point, ...]]) -> None:
    """Every one of these kills, or kills in a row, each in a lab of its own."""
    for number, points_in_turn in enumerate(kills):
        try:
            surely(partial(survive_in, scenario, folder / str(number), points_in_turn))
        except AssertionError as error:
            raise AssertionError(f"killed at {', then at '.join(map(str, points_in_turn))}: {error}") from error


def sampled_parts(count: int, *, every: int) -> list[ParameterSet]:
    """So many parts, of which one in ``every`` is tried where time is short."""
    return [pytest.param(part, marks=[pytest.mark.thorough] if part % every else []) for part in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize("chunk", sampled_parts(CHUNKS, every=4))
@pytest.mark.parametrize("scenario", [POLL, CLEAR], ids=str)
def test_killed_at_every_single_call(tmp_path: Path, scenario: Scenario, chunk: int) -> None:
    survive_each(scenario, tmp_path, [(point,) for point in points(scenario)[chunk::CHUNKS]])


@pytest.mark.exhaustive
@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("scenario", [SECOND, AGAIN, CHANGED], ids=str)
def test_killed_at_every_single_call_of_later_rounds(tmp_path: Path, scenario: Scenario, chunk: int) -> None:
    survive_each(scenario, tmp_path, [(point,) for point in points(scenario)[chunk::CHUNKS]])


# -- killed between two steps, without strace ------------------------------------------------------------------

DRIVER = """
import importlib, os, signal, sys
from exlab_orch.cli import main
place, name, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
owner = importlib.import_module(place.partition(":")[0])
owner = getattr(owner, place.partition(":")[2]) if ":" in place else owner
real, calls = getattr(owner, name), []
def dying(*arguments, **named):
    calls.append(1)
    result = real(*arguments, **named)
    if len(calls) == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(owner, name, dying)
sys.argv = ["exlab-orch", *sys.argv[4:]]
sys.exit(main())
"""
"""The program with one function that kills the process when it was called so often, right after it did its work."""

COPY_STEPS = [
    ("exlab_orch.transports.mount:MountedNas", "make_part", 1),
    ("exlab_orch.transports.mount", "copy_batch", 1),
    ("exlab_orch.sync", "write_checksums", 1),
    ("exlab_orch.transports.mount:MountedNas", "put_small", 1),
    ("exlab_orch.transports.mount:MountedNas", "publish_run", 1),
    ("exlab_orch.station:Station", "advance", 3),
]
CLEAR_STEPS = [
    ("exlab_orch.cleanup", "prove", 1),
    ("exlab_orch.cleanup", "to_trash", 1),
    ("exlab_orch.station:Station", "advance", 1),
    ("exlab_orch.ledger:Ledger", "append", 1),
    ("exlab_orch.trash", "log_event", 1),
    ("exlab_orch.trash", "mirror", 1),
    ("exlab_orch.trash", "delete_proved", 1),
    ("exlab_orch.trash", "remove_own", 1),
    ("exlab_orch.trash", "remove_folder_chain", 1),
]


def die_after(lab: Lab, step: tuple[str, str, int], *words: str) -> int:
    place, name, number = step
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
    arguments = [sys.executable, "-c", DRIVER, place, name, str(number), "-c", str(lab.config_path), *words]
    return subprocess.run(arguments, env=environment, check=False, capture_output=True, timeout=60).returncode


@pytest.mark.spread(6)
@pytest.mark.parametrize("step", COPY_STEPS, ids=lambda step: step[1])
def test_a_copy_that_dies_after_any_step_is_carried_on(tmp_path: Path, step: tuple[str, str, int]) -> None:
    lab = fresh(tmp_path)
    oracle = Oracle(lab)
    assert die_after(lab, step, "poll") == -9
    oracle.require_nothing_lost()
    oracle.settle()
    assert lab.states() == ["staging", "complete", "sync_queued", "sync_verified"]
    assert lab.nas_record() == lab.record().as_json()


@pytest.mark.spread(9)
@pytest.mark.parametrize("step", CLEAR_STEPS, ids=lambda step: step[1])
def test_a_clear_that_dies_after_any_step_is_finished_or_undone(tmp_path: Path, step: tuple[str, str, int]) -> None:
    lab = to_be_cleared(tmp_path)
    oracle = Oracle(lab)
    assert die_after(lab, step, "clear", "--yes", RUN) == -9
    oracle.require_nothing_lost()
    oracle.settle()
    is_cleared = not lab.staged().exists()
    assert is_cleared is (step not in CLEAR_STEPS[:2])
    clear_once_more(lab)
    oracle.settle()
    require_cleared(lab)
    assert len(ledger(lab)) == 1


# -- told to stop --------------------------------------------------------------------------------------------


@pytest.mark.spread(3)
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_pass_that_is_told_to_stop_while_it_copies_goes_on_next_time(
    tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    lab = fresh(tmp_path)
    oracle = Oracle(lab)
    with while_it_waits_at(lab, ("poll",), Point("write", 1, tuple(written_by_workers(lab)))) as waiting:
        waiting.process.send_signal(sent)
    assert waiting.returncode == code
    assert not lab.published().exists()
    oracle.require_nothing_lost()
    settle_and_compare(POLL, lab, oracle)


# -- two kills in a row --------------------------------------------------------------------------------------


def survive_two_kills(scenario: Scenario, folder: Path, first: Point, seconds: int) -> None:
    """A kill, and then one of so many kills, spread evenly, of the pass that mends the first one."""
    lab = scenario.prepare(folder / "traced")
    Oracle(lab)  # its canaries are told about, which are calls too
    kill_at(lab, scenario.command, first)
    mending = points_of(lab, ("poll",))
    survive_each(scenario, folder, [(first, spread(mending, number, seconds)) for number in range(seconds)])


@pytest.mark.parametrize("scenario", [SECOND, CLEAR], ids=str)
@pytest.mark.parametrize("part", [4, 9])
def test_a_kill_while_the_next_pass_mends_the_first_one_loses_nothing(
    tmp_path: Path, scenario: Scenario, part: int
) -> None:
    survive_two_kills(scenario, tmp_path, spread(points(scenario), part, 12), 1)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
@pytest.mark.parametrize("part", sampled_parts(6, every=3))
def test_two_kills_at_many_pairs_of_calls(tmp_path: Path, scenario: Scenario, part: int) -> None:
    survive_two_kills(scenario, tmp_path, spread(points(scenario), part, 6), 2)


@pytest.mark.exhaustive
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
@pytest.mark.parametrize("part", range(96))
def test_two_kills_at_very_many_pairs_of_calls(tmp_path: Path, scenario: Scenario, part: int) -> None:
    survive_two_kills(scenario, tmp_path, spread(points(scenario), part, 96), 10)
