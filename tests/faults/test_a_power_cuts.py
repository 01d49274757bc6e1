"""A. The plug is pulled at any system call, of this computer or of the NAS, on ext4 and xfs.

Two disks: one has staging, state directory and configuration, the other one is the NAS. The program is killed at a
call, and in the same moment one of the disks, or both, forget everything that nobody flushed.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import pytest

from tests.faults.disks import KINDS, Disk, Power, powered
from tests.faults.scenarios import AGAIN, CLEAR, POLL, SECOND, Scenario, settle_and_compare, spread, surely
from tests.faults.strace import Point, kill_at, points_of
from tests.lab import Lab
from tests.oracle import Oracle, require_root

pytestmark = pytest.mark.root

CUTS = {"this computer": (0,), "the NAS": (1,), "both": (0, 1)}
"""Which disks lose their power: the one with staging and state, or the one of the NAS."""


@dataclass
class PoweredLab:
    """A lab on two disks, in the state in which a scenario begins."""

    lab: Lab
    power: Power
    oracle: Oracle


def in_memory() -> str | None:
    """A folder that is faster than a disk: what counts here is only what was flushed, and to where."""
    folder = "/dev/shm"
    fits = os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > 4 << 30
    return folder if fits else None


@cache
def folder_for(scenario: Scenario, kind: str) -> Path:
    """Holds the disks of the lab as it is before the command, and the folder where copies of them are mounted."""
    folder = Path(tempfile.mkdtemp(dir=in_memory()))
    atexit.register(shutil.rmtree, folder)
    disks = disks_in(folder, kind, "template")
    for disk in disks:
        disk.make()
    with powered(*disks):
        scenario.prepare(folder / "lab")
    return folder


def disks_in(folder: Path, kind: str, name: str) -> tuple[Disk, Disk]:
    """The disk of the computer and the one of the NAS, whose folder is mounted inside the lab."""
    lab = folder / "lab"
    return Disk(kind, folder / f"{name}-computer", lab), Disk(kind, folder / f"{name}-nas", lab / "nas")


@contextmanager
def lab_on_disks(scenario: Scenario, kind: str) -> Iterator[PoweredLab]:
    """Copies of the prepared disks, mounted inside the block."""
    require_root()
    folder = folder_for(scenario, kind)
    disks = disks_in(folder, kind, "copy")
    for prepared, disk in zip(disks_in(folder, kind, "template"), disks, strict=True):
        prepared.copy_to(disk)
    with powered(*disks) as power:
        lab = Lab(folder / "lab")
        oracle = Oracle(lab)
        for disk in disks:
            disk.flush()
        yield PoweredLab(lab, power, oracle)


@cache
def points_on(scenario: Scenario, kind: str) -> Sequence[Point]:
    """Every changing call of the command on such disks: which flushes there are depends on the file system."""
    with lab_on_disks(scenario, kind) as ours:
        return points_of(ours.lab, scenario.command)


def survive_power_cut(scenario: Scenario, kind: str, cut: str, point: Point | None, _attempt: int = 0) -> None:
    """Run the command up to the point, or to its end, cut the power, and demand the undisturbed end."""
    with lab_on_disks(scenario, kind) as ours:
        if point is None:
            assert ours.lab.cli(*scenario.command).returncode == 0
        else:
            kill_at(ours.lab, scenario.command, point)
        ours.power.cut(*(ours.power.disks[number] for number in CUTS[cut]))
        ours.oracle.require_nothing_lost()
        settle_and_compare(scenario, ours.lab, ours.oracle)


def survive_power_cuts(scenario: Scenario, kind: str, cut: str, where: list[Point]) -> None:
    for point in where:
        try:
            surely(partial(survive_power_cut, scenario, kind, cut, point))
        except AssertionError as error:
            raise AssertionError(f"power of {cut} cut at {point}: {error}") from error


every_disk = pytest.mark.parametrize("kind", KINDS)
every_cut = pytest.mark.parametrize("cut", CUTS)


@pytest.mark.spread(4)
@every_disk
@every_cut
@pytest.mark.parametrize("scenario", [POLL, CLEAR], ids=str)
def test_a_power_cut_right_after_the_program_ended_undoes_nothing_that_it_said(
    kind: str, cut: str, scenario: Scenario
) -> None:
    survive_power_cut(scenario, kind, cut, None)


@pytest.mark.spread(4)
@every_disk
@pytest.mark.parametrize(("scenario", "part"), [(POLL, 3), (POLL, 6), (SECOND, 5), (CLEAR, 4), (CLEAR, 6)], ids=str)
def test_a_power_cut_of_both_anywhere_loses_nothing_and_ends_the_same(kind: str, scenario: Scenario, part: int) -> None:
    survive_power_cuts(scenario, kind, "both", [spread(points_on(scenario, kind), part, 8)])


@pytest.mark.slow
@every_disk
@every_cut
@pytest.mark.parametrize("scenario", [POLL, CLEAR], ids=str)
@pytest.mark.parametrize("part", range(4))
def test_power_cuts_at_many_calls(kind: str, cut: str, scenario: Scenario, part: int) -> None:
    where = [spread(points_on(scenario, kind), part + 4 * number, 12) for number in range(3)]
    survive_power_cuts(scenario, kind, cut, where)


@pytest.mark.exhaustive
@every_disk
@every_cut
@pytest.mark.parametrize("scenario", [POLL, SECOND, CLEAR, AGAIN], ids=str)
@pytest.mark.parametrize("chunk", range(20))
def test_power_cuts_at_every_single_call(kind: str, cut: str, scenario: Scenario, chunk: int) -> None:
    survive_power_cuts(scenario, kind, cut, list(points_on(scenario, kind)[chunk::20]))
