"""Killed at any system call: the next passes reach the same end, no byte is lost on the way, and nothing is left over.

``strace`` kills the real program from outside, at the entry of one call that changes something. The default run takes
points spread over the whole of each scenario; the exhaustive one is marked slow.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from exlab_orch.cleanup import clear
from exlab_orch.orders import hold, unhold
from tests.lab import RUN, Lab
from tests.oracle import Oracle, ledger, require_cleared, require_program

CHANGING = (
    "write,pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,"
    "link,linkat,utimensat,fchmod,fchown,openat,openat2"
)
IN_WORKERS = "write,fsync,utimensat,fchmod,openat2"
"""Calls that copying threads make; the main thread makes more of them earlier, so they are counted by path."""

FILES = {"a.fcs": b"aaa", "sub/b.fcs": b"bbbb", "sub/deep/c.fcs": b"c" * 70_000}
SCHEDULED = 'mode = "scheduled"\nretain_hours = 0'


# -- scenarios -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scenario:
    """A lab before a command, the command, and how the work is finished after a kill."""

    name: str
    prepare: Callable[[Path], Lab]
    command: tuple[str, ...] = ("poll",)
    finish: Callable[[Lab], None] = lambda lab: None


def fresh(root: Path) -> Lab:
    """Nothing but a pushed run: not even the state directory is there."""
    lab = Lab(root)
    lab.push(files=FILES)
    return lab


def proved(root: Path, cleanup: str = 'mode = "manual"') -> Lab:
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
    """What the operator does whose ``clear`` was killed."""
    with lab.station() as station:
        clear(station, lab.run(), by="ada")


POLL = Scenario("poll", fresh)
SECOND = Scenario("second round", second_round)
CLEAR = Scenario("clear", to_be_cleared, ("clear", "--yes", RUN), clear_once_more)
AGAIN = Scenario("pushed again", pushed_again)
SCENARIOS = (POLL, SECOND, CLEAR, AGAIN)


# -- points --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """One moment to kill at: the n-th such call of a thread, among all, or among those on the files being copied."""

    call: str
    number: int
    in_workers: bool = False

    def __str__(self) -> str:
        return f"{self.call}-{self.number}{' of a worker' if self.in_workers else ''}"


def traced(lab: Lab, command: Sequence[str], *options: str) -> subprocess.CompletedProcess[str]:
    """The real program under strace, which follows its threads and children."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parent.parent)}
    words = [require_program("strace"), "-f", "-qq", "-e", "signal=none", *options, *lab.command(*command)]
    return subprocess.run(words, capture_output=True, text=True, env=environment, check=False, timeout=60)


def watched(lab: Lab) -> list[str]:
    """Options that make strace look at nothing but the files that workers write."""
    folder = lab.published().parent / f".exlab-part-{lab.published().name}"
    return [word for name in (*FILES, "new/d.fcs") for word in ("-P", str(folder / name))]


def calls_in(trace: Path) -> Iterator[tuple[str, str, int]]:
    """Thread, call and how many such calls the thread made up to then, for every call that changes something."""
    counts: Counter[tuple[str, str]] = Counter()
    for line in trace.read_text(errors="replace").splitlines():
        found = re.match(r"(\d+) +(\w+)\(", line)
        if found is None:
            continue
        thread, call = found.groups()
        counts[thread, call] += 1
        if not call.startswith("openat") or "O_CREAT" in line:
            yield thread, call, counts[thread, call]


def points_of(scenario: Scenario, folder: Path) -> list[Point]:
    """Every moment of the undisturbed command at which it can be killed, in the order of the main thread."""
    lab, trace = scenario.prepare(folder / "all"), folder / "trace"
    shown = traced(lab, scenario.command, "-e", f"trace={CHANGING}", "-o", str(trace))
    assert shown.returncode == 0, shown.stderr
    found = dict.fromkeys(Point(call, number) for _, call, number in calls_in(trace))
    lab = scenario.prepare(folder / "workers")
    traced(lab, scenario.command, "-e", f"trace={IN_WORKERS}", *watched(lab), "-o", str(trace))
    found |= dict.fromkeys(Point(call, number, in_workers=True) for _, call, number in calls_in(trace))
    return list(found)


@pytest.fixture(scope="session")
def points(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Scenario], list[Point]]:
    """The points of a scenario, found once."""
    known: dict[str, list[Point]] = {}

    def of(scenario: Scenario) -> list[Point]:
        if scenario.name not in known:
            known[scenario.name] = points_of(scenario, tmp_path_factory.mktemp("points"))
        return known[scenario.name]

    return of


def spread(all_points: Sequence[Point], part: int, parts: int) -> Point:
    """One of so many points that lie evenly over the whole."""
    return all_points[(2 * part + 1) * len(all_points) // (2 * parts)]


def kill_at(lab: Lab, command: Sequence[str], point: Point, signal: str = "KILL") -> int:
    """Run the command and send it the signal at the point; its exit code, the number of the signal negative."""
    only = watched(lab) if point.in_workers else []
    inject = f"inject={point.call}:signal={signal}:when={point.number}"
    return traced(lab, command, "-e", f"trace={point.call}", *only, "-e", inject, "-o", "/dev/null").returncode


def undisturbed(scenario: Scenario, folder: Path) -> dict[str, object]:
    """The end that the command and three passes reach when nothing disturbs them."""
    lab = scenario.prepare(folder)
    oracle = Oracle(lab)
    assert lab.cli(*scenario.command).returncode == 0
    oracle.settle()
    return oracle.end()


@pytest.fixture(scope="session")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Scenario], dict[str, object]]:
    """The undisturbed end of a scenario, found once."""
    known: dict[str, dict[str, object]] = {}

    def of(scenario: Scenario) -> dict[str, object]:
        if scenario.name not in known:
            known[scenario.name] = undisturbed(scenario, tmp_path_factory.mktemp("undisturbed"))
        return known[scenario.name]

    return of


def survive(scenario: Scenario, folder: Path, wanted: dict[str, object], *kills: Point) -> None:
    """Kill the command, and then passes, at the points in turn; what follows must reach the undisturbed end."""
    lab = scenario.prepare(folder)
    oracle = Oracle(lab)
    command = scenario.command
    for point in kills:
        kill_at(lab, command, point)
        oracle.require_nothing_lost()
        command = ("poll",)
    oracle.settle()
    scenario.finish(lab)
    oracle.settle()
    oracle.require_end(wanted)
    assert lab.leftovers() == []


# -- one kill ------------------------------------------------------------------------------------------------

Points = Callable[[Scenario], list[Point]]
Ends = Callable[[Scenario], dict[str, object]]


def sample(count: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("part", "parts"), [(part, count) for part in range(count)])


@sample(8)
def test_a_first_poll_killed_anywhere_loses_nothing_and_ends_the_same(
    points: Points, ends: Ends, tmp_path: Path, part: int, parts: int
) -> None:
    survive(POLL, tmp_path, ends(POLL), spread(points(POLL), part, parts))


@sample(6)
def test_a_second_round_killed_anywhere_loses_nothing_and_ends_the_same(
    points: Points, ends: Ends, tmp_path: Path, part: int, parts: int
) -> None:
    survive(SECOND, tmp_path, ends(SECOND), spread(points(SECOND), part, parts))


@sample(8)
def test_a_clear_killed_anywhere_loses_nothing_and_ends_the_same(
    points: Points, ends: Ends, tmp_path: Path, part: int, parts: int
) -> None:
    survive(CLEAR, tmp_path, ends(CLEAR), spread(points(CLEAR), part, parts))


@sample(3)
def test_a_life_that_begins_again_killed_anywhere_loses_nothing_and_ends_the_same(
    points: Points, ends: Ends, tmp_path: Path, part: int, parts: int
) -> None:
    survive(AGAIN, tmp_path, ends(AGAIN), spread(points(AGAIN), part, parts))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(25))
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_killed_at_every_single_call(points: Points, ends: Ends, tmp_path: Path, scenario: Scenario, part: int) -> None:
    for number, point in enumerate(points(scenario)[part::25]):
        try:
            survive(scenario, tmp_path / str(number), ends(scenario), point)
        except AssertionError as error:
            raise AssertionError(f"killed at {point}: {error}") from error


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
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parent.parent)}
    arguments = [sys.executable, "-c", DRIVER, place, name, str(number), "-c", str(lab.config_path), *words]
    return subprocess.run(arguments, env=environment, check=False, capture_output=True, timeout=60).returncode


@pytest.mark.parametrize("step", COPY_STEPS, ids=lambda step: step[1])
def test_a_copy_that_dies_after_any_step_is_carried_on(tmp_path: Path, step: tuple[str, str, int]) -> None:
    lab = fresh(tmp_path)
    oracle = Oracle(lab)
    assert die_after(lab, step, "poll") == -9
    oracle.require_nothing_lost()
    oracle.settle()
    assert lab.states() == ["staging", "complete", "sync_queued", "sync_verified"]
    assert lab.nas_record() == lab.record().as_json()


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


@pytest.mark.parametrize(("signal", "code"), [("TERM", 143), ("INT", 130), ("HUP", 129)])
def test_a_pass_that_is_told_to_stop_while_it_copies_goes_on_next_time(
    ends: Ends, tmp_path: Path, signal: str, code: int
) -> None:
    lab = fresh(tmp_path)
    oracle = Oracle(lab)
    assert kill_at(lab, ("poll",), Point("write", 1, in_workers=True), signal) == code
    assert not lab.published().exists()
    oracle.require_nothing_lost()
    oracle.settle()
    oracle.require_end(ends(POLL))


# -- two kills in a row --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", [SECOND, CLEAR], ids=lambda scenario: scenario.name)
@pytest.mark.parametrize("first", [0.35, 0.75])
def test_a_kill_while_the_next_pass_mends_the_first_one_loses_nothing(
    points: Points, ends: Ends, tmp_path: Path, scenario: Scenario, first: float
) -> None:
    found = points(scenario)
    early, late = found[int(len(found) * first)], found[int(len(found) * first * 0.8)]
    survive(scenario, tmp_path, ends(scenario), early, late)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
@pytest.mark.parametrize("part", range(12))
def test_two_kills_at_many_pairs_of_calls(
    points: Points, ends: Ends, tmp_path: Path, scenario: Scenario, part: int
) -> None:
    found = points(scenario)
    for number in range(8):
        first, second = spread(found, part * 8 + number, 96), spread(found, (part * 37 + number * 11) % 96, 96)
        try:
            survive(scenario, tmp_path / str(number), ends(scenario), first, second)
        except AssertionError as error:
            raise AssertionError(f"killed at {first}, then at {second}: {error}") from error
