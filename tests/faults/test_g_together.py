"""G. Several processes at once: locks that are deleted, stopped and killed passes, two orchestrators, crowds."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from exlab_orch.state import short_hash
from tests.faults.scenarios import FILES, Scenario, clear_once_more, fresh, to_be_cleared
from tests.faults.strace import Point, while_it_waits_at
from tests.lab import RUN, Lab
from tests.oracle import Oracle, data_files, require_cleared
from tests.test_overlap import end, push_many, start, times_told

PROVED = ["staging", "complete", "sync_queued", "sync_verified"]
SHELF = "FLOW_01/PROJ-1/Runs"
OTHER = f"{SHELF}/Run_other"
COPYING = Point("write", 1, (f"nas/{SHELF}/.exlab-part-Run_2026-04-17T14-32/a.fcs",))
CLEAR = ("clear", "--yes", RUN)

# -- locks that are taken away ---------------------------------------------------------------------------------


def no_lock(lab: Lab) -> None:
    (lab.state / "locks" / f"{short_hash(RUN)}.run").unlink()


def no_locks(lab: Lab) -> None:
    shutil.rmtree(lab.state / "locks")


def no_state(lab: Lab) -> None:
    lab.state.rename(lab.root / "moved")


TAKEN: dict[str, Callable[[Lab], None]] = {
    "the lock file": no_lock,
    "the folder of the locks": no_locks,
    "the state directory": no_state,
}
BUSY = [
    (Scenario("a copy", fresh, ("poll",)), COPYING),
    (Scenario("a clear before the trash", to_be_cleared, CLEAR), Point("renameat2", 1, (f"staging/{SHELF}",))),
    (Scenario("a clear in the trash", to_be_cleared, CLEAR), Point("fsync", 1, (f"staging/{SHELF}",))),
    (Scenario("a clear before its ledger line", to_be_cleared, CLEAR), Point("write", 1, ("state/ledger.jsonl",))),
]


@pytest.mark.parametrize("taken", TAKEN)
@pytest.mark.parametrize(("busy", "point"), BUSY, ids=str)
def test_who_lost_a_lock_while_another_pass_came_in_gives_way(
    tmp_path: Path, busy: Scenario, point: Point, taken: str
) -> None:
    """The second pass has "the same" lock; the first one must neither record nor delete any more."""
    lab = busy.prepare(tmp_path)
    oracle = Oracle(lab)
    with while_it_waits_at(lab, busy.command, point) as first:
        TAKEN[taken](lab)
        assert lab.cli("poll").returncode == 0
    assert first.returncode in (3, 5, 75), first
    oracle.require_nothing_lost()
    if (tmp_path / "moved").exists():
        shutil.rmtree(lab.state)
        (tmp_path / "moved").rename(lab.state)
        oracle.histories.clear()  # to another key our records are claims, and claims are set aside
    oracle.settle()
    assert lab.cli("sync", RUN).returncode == 0 or not lab.staged().exists()
    clear_once_more(lab)
    oracle.settle()
    require_cleared(lab)


@pytest.mark.parametrize("taken", TAKEN)
def test_a_record_is_not_written_under_a_lost_lock(lab: Lab, oracle: Oracle, taken: str) -> None:
    """Nobody else came in; all the same somebody could have, and the next pass does the rest."""
    lab.push(files=FILES)
    oracle.remember()
    with while_it_waits_at(lab, ("poll",), Point("renameat2", 1, (f"nas/{SHELF}",))) as first:
        TAKEN[taken](lab)
    assert first.returncode in (0, 3, 69, 78), first
    assert lab.states() == PROVED[:3]
    if (lab.root / "moved").exists():
        (lab.root / "moved").rename(lab.state)
    assert lab.cli("sync", RUN).returncode == 0
    oracle.settle()
    assert lab.states() == PROVED


@pytest.mark.parametrize("taken", TAKEN)
def test_nothing_is_deleted_under_a_lost_lock(tmp_path: Path, taken: str) -> None:
    lab = to_be_cleared(tmp_path)
    oracle = Oracle(lab)
    with while_it_waits_at(lab, CLEAR, Point("write", 1, ("state/ledger.jsonl",))) as first:
        TAKEN[taken](lab)
    assert first.returncode == 75, first
    (trashed,) = (lab.staging / ".exlab-orch/trash").glob(f"*/{RUN}")
    assert data_files(trashed).keys() == {*map(str.encode, FILES), b"run_complete"}
    if (tmp_path / "moved").exists():
        (tmp_path / "moved").rename(lab.state)
    oracle.settle()
    require_cleared(lab)


# -- long, stopped and killed passes ---------------------------------------------------------------------------


def test_a_pass_that_takes_longer_than_its_minute_holds_up_only_its_own_run(lab: Lab, oracle: Oracle) -> None:
    lab.push("FLOW_01/PROJ-1/Runs/Run_old")
    lab.poll()
    lab.push(files=FILES)
    oracle.remember()
    with while_it_waits_at(lab, ("poll",), COPYING) as long:
        lab.push(OTHER)
        oracle.remember()
        assert lab.cli("poll").returncode == 0
        assert lab.states(OTHER) == PROVED
        assert lab.cli("clear", "--yes", "FLOW_01/PROJ-1/Runs/Run_old").returncode == 0
        assert lab.states() == PROVED[:3]
    assert long.returncode == 0
    assert lab.states() == PROVED
    oracle.settle()


def test_a_clear_during_a_copy_waits_a_moment_and_is_told_that_it_is_locked(lab: Lab, oracle: Oracle) -> None:
    lab.push(files=FILES)
    oracle.remember()
    with while_it_waits_at(lab, ("poll",), COPYING) as copy:
        clear = lab.cli("clear", "--yes", "--json", RUN)
    assert (copy.returncode, clear.returncode) == (0, 75)
    assert '"locked"' in clear.stdout + clear.stderr
    oracle.settle()
    assert lab.states() == PROVED


@pytest.mark.slow
def test_a_pass_that_is_stopped_for_long_wakes_up_among_others(lab: Lab, oracle: Oracle) -> None:
    """SIGSTOP, as a suspended virtual machine: passes come and go, and then it goes on.

    Where it was stopped in the middle of a write to the journal, the others say that they cannot use it (69).
    """
    runs = push_many(lab, 12)
    oracle.remember()
    stopped = start(lab, "poll")
    while not list(lab.nas.glob("FLOW_01/*/Runs/Run_0*")):
        time.sleep(0.005)
    os.kill(stopped.pid, signal.SIGSTOP)
    assert {code for code, _ in end([start(lab, "poll"), start(lab, "poll")])} <= {0, 69}
    os.kill(stopped.pid, signal.SIGCONT)
    assert end([stopped])[0][0] == 0
    oracle.settle()
    assert {run: times_told(lab, run, "files read back") for run in runs} == dict.fromkeys(runs, 1)


def probes(lab: Lab) -> list[int]:
    """The processes that look at the NAS of this lab now."""
    found = subprocess.run(["pgrep", "-f", f"probe.py {lab.nas}$"], capture_output=True, text=True, check=False)
    return [int(number) for number in found.stdout.split()]


def tracer_of(process: int) -> int:
    """The strace that makes a process wait."""
    return int(Path(f"/proc/{process}/status").read_text().partition("TracerPid:")[2].split()[0])


def test_an_orphaned_look_at_the_nas_still_counts_and_no_second_one_starts(lab: Lab, oracle: Oracle) -> None:
    """The pass is killed while its child hangs in the kernel; the child holds the lock for as long as it lives."""
    lab.push(files=FILES)
    oracle.remember()
    with while_it_waits_at(lab, ("poll",), Point("statfs", 1, ("nas",))) as killed:
        (child,) = probes(lab)
        killed.process.kill()
        killed.process.wait()
        second = lab.cli("poll")
        assert (second.returncode, "still hangs" in second.stderr) == (69, True), second
        assert probes(lab) == [child]
        os.kill(tracer_of(child), signal.SIGKILL)  # the NAS answers again
    oracle.settle()
    assert lab.states() == PROVED


def test_a_crowd_of_passes_finds_the_locks_of_a_killed_one_free(lab: Lab, oracle: Oracle) -> None:
    """On a busy computer one of them may give up waiting for its turn to look at the NAS (69)."""
    runs = push_many(lab, 8)
    oracle.remember()
    first = start(lab, "poll")
    while not list(lab.nas.glob("FLOW_01/*/Runs/Run_0*")):
        time.sleep(0.005)
    first.kill()
    first.communicate()
    assert {code for code, _ in end([start(lab, "poll") for _ in range(8)])} <= {0, 69}
    oracle.settle()
    assert {run: lab.states(run)[-1] for run in runs} == dict.fromkeys(runs, "sync_verified")


# -- two orchestrators -----------------------------------------------------------------------------------------


class Twin(Lab):
    """Another configuration for the same staging root and NAS, with a state directory of its own."""

    @property
    def state(self) -> Path:
        return self.root / "second"

    @property
    def config_path(self) -> Path:
        return self.root / "second.toml"


def test_of_two_orchestrators_that_race_for_a_fresh_staging_root_one_is_refused(lab: Lab, oracle: Oracle) -> None:
    runs = push_many(lab, 4)
    oracle.remember()
    twin = Twin(lab.root)
    ended = end([start(one, "poll") for one in (lab, twin, lab, twin)])
    codes = [code for code, _ in ended]
    assert sorted(codes) == [0, 0, 78, 78], ended
    assert codes[:2] == codes[2:]
    winner, loser = (lab, twin) if codes[0] == 0 else (twin, lab)
    assert loser.cli("clear", "--yes", runs[0]).returncode == 78
    assert {run: winner.states(run) for run in runs} == dict.fromkeys(runs, PROVED)
    assert lab.cli("takeover", "--yes").returncode == 0
    assert twin.cli("poll").returncode == 78
    oracle.settle()
