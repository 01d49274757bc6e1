"""Labs before a command that is going to be interrupted, and how its work is finished afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from exlab_orch.cleanup import clear
from exlab_orch.orders import hold, unhold
from tests.faults.strace import IN_WORKERS, NeverReached, Point, kill_at, points_of
from tests.lab import RUN, Lab
from tests.oracle import Oracle, require_cleared

FILES: Final = {"a.fcs": b"aaa", "sub/b.fcs": b"bbbb", "sub/deep/c.fcs": b"c" * 70_000}
SCHEDULED: Final = 'mode = "scheduled"\nretain_hours = 0'


@dataclass(frozen=True)
class Scenario:
    """A lab before a command, the command, and how the work is finished after an interruption."""

    name: str
    prepare: Callable[[Path], Lab]
    command: tuple[str, ...] = ("poll",)
    finish: Callable[[Lab], None] = lambda lab: None

    def __str__(self) -> str:
        return self.name


def fresh(root: Path) -> Lab:
    """Nothing but a pushed run: not even the state directory is there."""
    lab = Lab(root)
    lab.push(files=FILES)
    return lab


def proved(root: Path, cleanup: str = 'mode = "manual"') -> Lab:
    """A run that is on the NAS and in staging."""
    lab = Lab(root, cleanup=cleanup)
    lab.push(files=FILES)
    lab.poll()
    return lab


def second_round(root: Path) -> Lab:
    """A proved run got a new file and a changed one, and lost one that stays on the NAS."""
    lab = proved(root)
    lab.push(files={"a.fcs": b"AAA, second version", "new/d.fcs": b"d"})
    (lab.staged() / "sub/b.fcs").unlink()
    return lab


def changed(root: Path) -> Lab:
    """A proved run in which one file changed, and nothing is new."""
    lab = proved(root)
    lab.push(files={"a.fcs": b"AAA, second version"})
    return lab


def to_be_cleared(root: Path) -> Lab:
    """A proved run whose log has news that the NAS copy of the log has not."""
    lab = proved(root)
    with lab.station() as station:
        hold(station, lab.run(), reason="look again", by="ada")
        unhold(station, lab.run(), by="ada")
    return lab


def pushed_again(root: Path) -> Lab:
    """Cleared once by the schedule; the instrument pushes the same folder once more."""
    lab = proved(root, cleanup=SCHEDULED)
    require_cleared(lab)
    lab.push(files=FILES)
    return lab


def clear_once_more(lab: Lab) -> None:
    """What the operator does whose ``clear`` was interrupted."""
    with lab.station() as station:
        clear(station, lab.run(), by="ada")


POLL: Final = Scenario("poll", fresh)
SECOND: Final = Scenario("second round", second_round)
CLEAR: Final = Scenario("clear", to_be_cleared, ("clear", "--yes", RUN), clear_once_more)
AGAIN: Final = Scenario("pushed again", pushed_again)
CHANGED: Final = Scenario("changed", changed)
SCENARIOS: Final = (POLL, SECOND, CLEAR, AGAIN, CHANGED)


def written_by_workers(lab: Lab) -> list[str]:
    """Where copying threads write, relative to the lab's folder."""
    folder = lab.published().relative_to(lab.root)
    return [str(folder.parent / f".exlab-part-{folder.name}" / name) for name in (*FILES, "new/d.fcs")]


@cache
def points(scenario: Scenario) -> Sequence[Point]:
    """Every moment of the undisturbed command at which it can be interrupted, in the order of the main thread.

    Those that it comes to each time: on a slow computer the journal is written once more, or once less.
    """
    with tempfile.TemporaryDirectory() as name:
        main, others = (points_of(_guarded(scenario, Path(name, each)), scenario.command) for each in ("1", "2"))
        each_time = {*others}
        main = [point for point in main if point in each_time]
        lab = _guarded(scenario, Path(name, "workers"))
        return main + points_of(lab, scenario.command, IN_WORKERS, *written_by_workers(lab))


def _guarded(scenario: Scenario, folder: Path) -> Lab:
    """The lab with the canaries of an oracle in it, as tests have it: folders that are there need not be made."""
    lab = scenario.prepare(folder)
    Oracle(lab)
    return lab


def spread(found: Sequence[Point], part: int, parts: int) -> Point:
    """One of so many points that lie evenly over the whole."""
    return found[(2 * part + 1) * len(found) // (2 * parts)]


@cache
def undisturbed_end(scenario: Scenario) -> dict[str, object]:
    """The end that the command and three passes reach when nothing disturbs them."""
    with tempfile.TemporaryDirectory() as name:
        lab = scenario.prepare(Path(name))
        oracle = Oracle(lab)
        assert lab.cli(*scenario.command).returncode == 0
        oracle.settle()
        return oracle.end()


def surely(act: Callable[[int], None]) -> None:
    """Threads share their work out differently every time: what did not come to its point is tried again."""
    for attempt in range(4):
        try:
            act(attempt)
        except NeverReached:
            continue
        return
    act(4)


def survive(scenario: Scenario, folder: Path, *kills: Point) -> None:
    """Kill the command, and then passes, at the points in turn; what follows must reach the undisturbed end."""
    lab = scenario.prepare(folder)
    oracle = Oracle(lab)
    command = scenario.command
    for point in kills:
        kill_at(lab, command, point)
        oracle.require_nothing_lost()
        command = ("poll",)
    settle_and_compare(scenario, lab, oracle)


def settle_and_compare(scenario: Scenario, lab: Lab, oracle: Oracle) -> None:
    """Passes, then the command once more as a person would, then passes: the same end as if nothing had happened."""
    oracle.recover()
    scenario.finish(lab)
    oracle.settle()
    oracle.require_end(undisturbed_end(scenario))
