"""D. Clocks that step and file times from far centuries: retention never ends early, and no run falls asleep.

``faketime`` shows the real program another wall clock; it may fake the boot clock of the C library too.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from tests.lab import RUN, Lab
from tests.oracle import Calendar, Oracle, require_cleared, require_program, steps_of

SCHEDULED = 'mode = "scheduled"\nretain_hours = 24'
STEPS = ["+3650d", "-3650d"]
STEPPED = [
    pytest.param("+3650d", {}, id="ahead, the boot clock too"),
    pytest.param("+3650d", {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}, id="ahead"),
    pytest.param("-3650d", {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}, id="back"),
]


@contextmanager
def clock_of(lab: Lab, setting: str, **more: str) -> Iterator[None]:
    """The program sees another time in this block: an offset such as ``+3650d``, or a moment."""
    shown = subprocess.run(
        [require_program("faketime"), "-f", setting, "env"], capture_output=True, text=True, check=True
    )
    faked = dict(
        line.split("=", 1) for line in shown.stdout.splitlines() if line.startswith(("LD_PRELOAD", "FAKETIME"))
    )
    before = lab.environment
    lab.environment = {**before, **faked, **more}
    yield
    lab.environment = before


def run_of(lab: Lab) -> dict[str, object]:
    """What ``list`` says about the run."""
    shown = lab.cli("list", "--json")
    (line,) = (one for one in json.loads(shown.stdout)["runs"] if one["run"] == RUN)
    return dict(line)


@pytest.fixture
def scheduled(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path, cleanup=SCHEDULED)
    lab.push()
    return lab


# -- the retention -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "boot_clock"), STEPPED)
def test_a_clock_that_steps_ten_years_after_the_proof_ends_no_retention(
    scheduled: Lab, step: str, boot_clock: dict[str, str]
) -> None:
    oracle = Oracle(scheduled)
    assert scheduled.cli("poll").returncode == 0
    for _ in range(2):
        with clock_of(scheduled, step, **boot_clock):
            assert scheduled.cli("poll").returncode == 0
        assert scheduled.staged().exists()
        oracle.require_nothing_lost()
    with clock_of(scheduled, step, **boot_clock):
        assert run_of(scheduled)["waiting_for"]
    oracle.settle()
    assert scheduled.staged().exists()


@pytest.mark.parametrize("phases", [(), ("--only", "sync")], ids=["whole pass", "a pass that copies only"])
@pytest.mark.parametrize("clock", ["+3650d", "1970-01-01 00:00:30"])
def test_a_proof_under_a_wrong_clock_is_kept_for_the_whole_retention_under_the_right_one(
    scheduled: Lab, clock: str, phases: Sequence[str]
) -> None:
    assert scheduled.cli("poll", "--only", "evaluate").returncode == 0
    oracle = Oracle(scheduled)
    with clock_of(scheduled, clock):
        assert scheduled.cli("poll", *phases).returncode == 0
    assert scheduled.states()[-1] == "sync_verified"
    oracle.settle()
    assert scheduled.staged().exists()
    assert run_of(scheduled)["waiting_for"]


def test_a_schedule_that_is_chosen_after_the_clock_stepped_deletes_nothing_early(scheduled: Lab) -> None:
    scheduled.cleanup = 'mode = "manual"'
    scheduled.configure()
    oracle = Oracle(scheduled)
    assert scheduled.cli("poll").returncode == 0
    scheduled.cleanup = SCHEDULED
    scheduled.configure()
    with clock_of(scheduled, "+3650d"):
        assert scheduled.cli("poll").returncode == 0
    assert scheduled.staged().exists()
    oracle.settle()


@pytest.mark.spread(1)
@pytest.mark.parametrize("zones", [("Pacific/Kiritimati", "Etc/GMT+12"), ("Etc/GMT+12", "Pacific/Kiritimati")])
def test_another_time_zone_changes_no_retention_and_no_record(scheduled: Lab, zones: Sequence[str]) -> None:
    """Daylight saving is a change of the zone's offset; every time is kept in UTC."""
    oracle = Oracle(scheduled)
    for zone in zones:
        scheduled.environment["TZ"] = zone
        assert scheduled.cli("poll").returncode == 0
    assert scheduled.staged().exists()
    assert all(entry.at.endswith("Z") for entry in scheduled.record().history)
    moments = [entry.moment for entry in scheduled.record().history]
    assert all(one <= other for one, other in pairwise(moments) if one and other)
    oracle.settle()


@pytest.mark.parametrize(
    ("wall", "kept"),
    [
        pytest.param({"hours": 0}, {"hours": 23}, id="the wall clock goes on: the retention too"),
        pytest.param({"days": -3650}, {"hours": 24}, id="the wall clock fell back: all of it anew"),
        pytest.param({"hours": -1}, {"hours": 24}, id="an hour back: all of it anew"),
    ],
)
def test_after_a_reboot_nothing_is_deleted_early(
    scheduled: Lab, monkeypatch: pytest.MonkeyPatch, wall: dict[str, float], kept: dict[str, float]
) -> None:
    time = Calendar(scheduled, monkeypatch)
    oracle = Oracle(scheduled)
    scheduled.poll()
    time.wait(minutes=50)
    scheduled.poll()
    time.step(**wall)
    time.boot = 60.0
    monkeypatch.setattr("exlab_orch.cleanup.boot_id", lambda: "another boot")
    oracle.settle()
    time.wait(**kept)
    time.step(minutes=-1)
    scheduled.poll()
    assert scheduled.staged().exists()
    if wall == {"hours": 0}:
        time.wait(minutes=11)
        scheduled.poll()
        require_cleared(scheduled)


# -- everything else goes on ---------------------------------------------------------------------------------


@pytest.mark.parametrize("clock", ["+3650d", "1970-01-01 00:00:30"])
def test_under_any_clock_a_run_lives_its_whole_life(lab: Lab, clock: str) -> None:
    lab.push()
    oracle = Oracle(lab)
    with clock_of(lab, clock):
        assert lab.cli("poll").returncode == 0
        assert lab.cli("clear", "--yes", RUN).returncode == 0
    require_cleared(lab)
    oracle.settle()
    assert steps_of(lab.nas_record())[-1] == ("cleared", None)


def test_a_run_that_was_blocked_under_a_wrong_clock_does_not_sleep_for_ten_years(lab: Lab) -> None:
    folder = lab.push(files={"a.fcs": b"a", ".exlab-wizard/creation.json": b'{"equipment_id": "OTHER_09"}'})
    oracle = Oracle(lab)
    with clock_of(lab, "+3650d"):
        assert lab.cli("poll").returncode == 3
        assert lab.cli("poll").returncode in (0, 3)
    mended = folder / ".exlab-wizard/creation.json"
    with mended.open("r+b") as file:  # in place: no folder's time tells of it
        file.truncate(0)
        file.write(b'{"equipment_id": "FLOW_01"}')
    oracle.remember()
    oracle.settle()
    assert lab.states()[-1] == "sync_verified"


def announced(lab: Lab) -> list[tuple[str, str]]:
    """What a pass tells: kind and code."""
    return [(one.kind, one.problem.code) for one in lab.poll().announcements]


@pytest.mark.parametrize("step", STEPS)
def test_a_problem_is_told_again_a_day_after_the_clock_was_put_right(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    time = Calendar(lab, monkeypatch)
    (lab.push() / "link").symlink_to("a.fcs")
    oracle = Oracle(lab)
    right = lab.now
    time.step(days=int(step[:-1]))
    assert ("opened", "special_file") in announced(lab)
    lab.now = right
    time.wait(days=1, minutes=1)
    assert ("still_open", "special_file") in announced(lab)
    oracle.settle()


# -- the times of files --------------------------------------------------------------------------------------

MTIMES = {
    "1970.fcs": 0,
    "2200.fcs": 7_258_118_400 * 10**9,
    "negative.fcs": -86_400 * 10**9,
    "just before.fcs": -1,
    "nanosecond.fcs": 1_700_000_000_123_456_789,
}


def test_files_of_far_centuries_keep_their_times_and_can_be_deleted(lab: Lab) -> None:
    folder = lab.push(files={name: name.encode() for name in MTIMES}, done=False)
    for name, nanoseconds in MTIMES.items():
        os.utime(folder / name, ns=(nanoseconds, nanoseconds))
    (folder / "run_complete").touch()
    oracle = Oracle(lab)
    assert lab.cli("poll").returncode == 0
    assert {name: (lab.published() / name).stat().st_mtime_ns for name in MTIMES} == MTIMES
    assert lab.cli("poll").stdout == ""
    assert lab.cli("clear", "--yes", RUN).returncode == 0
    oracle.settle()


@pytest.mark.parametrize("kind", ["quiet_period", "sentinel_file"])
def test_files_from_the_future_are_copied_when_our_own_clock_says_that_they_settled(lab: Lab, kind: str) -> None:
    """Written while the clock was ten years ahead: their ctime, which nobody can set, is ten years ahead too."""
    run = "SCANNER_01/P/Runs/Run_1" if kind == "quiet_period" else RUN
    lab.push(run)
    oracle = Oracle(lab)
    with clock_of(lab, "-3650d"):
        codes = [lab.cli("poll").returncode for _ in range(3)]
        assert codes == [0, 0, 0]
        assert lab.states(run)[-1] == "sync_verified"
    oracle.settle()
