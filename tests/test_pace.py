"""How fast bytes go: windows by the clock on the wall, rclone's form of them, and the bucket that makes copies wait."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from exlab_orch.clock import as_local
from exlab_orch.config import Sync
from exlab_orch.crew import OutOfTime
from exlab_orch.pace import Pace, Throttle, limit_at, next_change, rclone_timetable
from exlab_orch.progress import live_progress
from tests.lab import Lab

ZURICH = ZoneInfo("Europe/Zurich")
Window = Mapping[str, object]
OFFICE: Window = {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "08:00", "to": "18:00"}
NIGHT: Window = {"days": ["fri"], "from": "22:00", "to": "06:30"}
SUNDAY_NIGHT: Window = {"days": ["sun"], "from": "23:00", "to": "02:00"}
LUNCH: Window = {"from": "12:00", "to": "13:00"}
EVENING: Window = {"from": "18:00", "to": "24:00"}
ALL_DAY: Window = {"from": "00:00", "to": "24:00"}
SMALL_HOURS: Window = {"from": "02:30", "to": "04:00"}


def limited(*windows: Window, mbps: float = 40) -> Sync:
    """40 Mbit/s are 5,000,000 bytes per second."""
    return Sync.model_validate({"upload_mbps": mbps, **({"schedule": list(windows)} if windows else {})})


def at(text: str) -> datetime:
    """A moment in Zürich: ``2026-03-02`` was a Monday."""
    return datetime.fromisoformat(text).replace(tzinfo=ZURICH)


# -- the limit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("windows", "local", "holds"),
    [
        ([], "2026-03-02T03:00", True),
        ([OFFICE], "2026-03-02T07:59:59", False),
        ([OFFICE], "2026-03-02T08:00", True),
        ([OFFICE], "2026-03-06T17:59:59", True),
        ([OFFICE], "2026-03-06T18:00", False),
        ([OFFICE], "2026-03-07T12:00", False),
        ([OFFICE, LUNCH], "2026-03-07T12:00", True),
        ([NIGHT], "2026-03-06T21:59", False),
        ([NIGHT], "2026-03-06T22:00", True),
        ([NIGHT], "2026-03-07T06:29", True),
        ([NIGHT], "2026-03-07T06:30", False),
        ([NIGHT], "2026-03-07T22:00", False),
        ([NIGHT], "2026-03-06T03:00", False),
        ([SUNDAY_NIGHT], "2026-03-02T01:59", True),
        ([SUNDAY_NIGHT], "2026-03-02T02:00", False),
        ([EVENING], "2026-03-02T23:59:59", True),
        ([EVENING], "2026-03-03T00:00", False),
        ([ALL_DAY], "2026-03-03T00:00", True),
        ([{"from": "18:00", "to": "00:00"}], "2026-03-02T23:59", True),
        ([{"from": "18:00", "to": "00:00"}], "2026-03-02T00:00", False),
    ],
)
def test_the_limit_holds_inside_the_windows_only(windows: list[Window], local: str, holds: bool) -> None:
    assert limit_at(limited(*windows), at(local)) == (5_000_000 if holds else None)


def test_without_a_limit_nothing_is_limited_and_nothing_changes() -> None:
    assert limit_at(Sync(), at("2026-03-02T12:00")) is None
    assert next_change(Sync(), at("2026-03-02T12:00")) is None
    assert rclone_timetable(Sync(), 1.0) is None


@pytest.mark.parametrize(
    ("windows", "local", "changes"),
    [
        ([], "2026-03-02T03:00", None),
        ([ALL_DAY], "2026-03-02T03:00", None),
        ([LUNCH, {"from": "13:00", "to": "12:00"}], "2026-03-02T03:00", None),
        ([OFFICE], "2026-03-02T07:59:59", "2026-03-02T08:00"),
        ([OFFICE], "2026-03-02T08:00:00", "2026-03-02T18:00"),
        ([OFFICE], "2026-03-06T18:00", "2026-03-09T08:00"),
        ([OFFICE, EVENING], "2026-03-06T12:00", "2026-03-07T00:00"),
        ([OFFICE, LUNCH], "2026-03-06T11:00", "2026-03-06T18:00"),
        ([NIGHT], "2026-03-06T23:00", "2026-03-07T06:30"),
        ([NIGHT], "2026-03-07T06:30", "2026-03-13T22:00"),
        ([SUNDAY_NIGHT], "2026-03-02T01:59:59.9", "2026-03-02T02:00"),
    ],
)
def test_the_next_change_is_when_the_limit_begins_or_ends(
    windows: list[Window], local: str, changes: str | None
) -> None:
    expected = None if changes is None else at(changes)
    assert next_change(limited(*windows), at(local)) == expected
    naive = next_change(limited(*windows), at(local).replace(tzinfo=None))
    assert naive == (None if expected is None else expected.replace(tzinfo=None))


@pytest.mark.parametrize(
    ("windows", "local", "seconds"),
    [
        pytest.param([OFFICE], "2026-03-27T18:00", (62 - 1) * 3600, id="a weekend that lacks an hour"),
        pytest.param([OFFICE], "2026-10-23T18:00", (62 + 1) * 3600, id="a weekend with an hour more"),
        pytest.param([SMALL_HOURS], "2026-03-29T01:30", 1800, id="an opening in the hour that is skipped"),
        pytest.param([SMALL_HOURS], "2026-03-29T03:00", 3600, id="inside, after the hour was skipped"),
        pytest.param([SMALL_HOURS], "2026-10-25T01:30", 3600, id="an opening in the hour that comes twice"),
    ],
)
def test_windows_follow_the_clock_on_the_wall_when_it_is_changed(
    windows: list[Window], local: str, seconds: int
) -> None:
    change = next_change(limited(*windows), at(local))
    assert change is not None
    assert change.timestamp() - at(local).timestamp() == seconds
    before, after = (datetime.fromtimestamp(change.timestamp() - back, ZURICH) for back in (1, 0))
    assert (limit_at(limited(*windows), before) is None) != (limit_at(limited(*windows), after) is None)


def test_a_change_in_the_hour_that_comes_twice_never_lies_in_the_past() -> None:
    second_time = at("2026-10-25T02:10").replace(fold=1)
    change = next_change(limited(SMALL_HOURS), second_time)
    assert change is not None
    assert change.timestamp() - second_time.timestamp() == 20 * 60


@pytest.fixture
def in_zurich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Zurich")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_zurich")
def test_the_clock_of_this_computer_gives_the_same_moments() -> None:
    for moment in ("2026-03-27T18:00", "2026-03-29T01:30", "2026-10-23T18:00", "2026-10-25T01:30"):
        local = as_local(at(moment))
        assert local.isoformat() == at(moment).isoformat()
        for window in (OFFICE, SMALL_HOURS):
            here, there = next_change(limited(window), local), next_change(limited(window), at(moment))
            assert here is not None
            assert there is not None
            assert here.isoformat() == there.isoformat()


# -- rclone --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("windows", "share", "timetable"),
    [
        ([], 1.0, "5000000B"),
        ([], 0.5, "2500000B"),
        ([ALL_DAY], 1.0, "5000000B"),
        ([{**OFFICE, "days": ["mon"]}], 1.0, "Sun-00:00,off Mon-08:00,5000000B Mon-18:00,off"),
        ([SUNDAY_NIGHT], 0.25, "Sun-00:00,off Sun-23:00,1250000B Mon-02:00,off"),
        ([{**NIGHT, "days": ["sat"]}], 1.0, "Sun-00:00,5000000B Sun-06:30,off Sat-22:00,5000000B"),
        ([{**EVENING, "days": ["sat"]}, {**LUNCH, "days": ["sat"]}], 1.0,
         "Sun-00:00,off Sat-12:00,5000000B Sat-13:00,off Sat-18:00,5000000B"),
    ],
)  # fmt: skip
def test_rclone_is_told_the_same_windows_in_its_own_form(windows: list[Window], share: float, timetable: str) -> None:
    assert rclone_timetable(limited(*windows), share) == timetable


def test_a_tiny_share_is_not_rounded_to_no_limit() -> None:
    assert rclone_timetable(limited(mbps=0.000001), 0.5) == "1B"


# -- the bucket ----------------------------------------------------------------------------------------------


class Hours:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def bucket(clock: Hours, limit: Callable[[], float | None]) -> Throttle:
    return Throttle(limit, monotonic=clock.monotonic, wait=clock.wait)


def test_bytes_take_as_long_as_the_limit_says_in_short_waits() -> None:
    clock, told = Hours(), list[int]()
    throttle = bucket(clock, lambda: 1000.0)
    for _ in range(5):
        throttle.take(2000, told.append)
    assert clock.now == pytest.approx(10, abs=0.02)
    assert max(clock.waits) <= 0.5
    assert sum(told) == 10_000
    assert min(told) >= 0
    assert len(told) >= 20, "the bar moves twice a second"


def test_without_a_limit_nobody_waits() -> None:
    clock = Hours()
    throttle = bucket(clock, lambda: None)
    for _ in range(100):
        throttle.take(1 << 30)
    assert clock.waits == []


def test_what_was_not_sent_is_saved_for_a_second_and_no_longer() -> None:
    clock = Hours()
    throttle = bucket(clock, lambda: 1000.0)
    throttle.take(1)
    clock.now += 3600
    began = clock.now
    throttle.take(1000)
    assert clock.now == began
    throttle.take(3000)
    assert clock.now - began == pytest.approx(3, abs=0.02)


def test_a_window_that_opens_or_closes_in_the_middle_of_a_copy_counts_within_a_second() -> None:
    clock = Hours()
    throttle = bucket(clock, lambda: 1000.0 if clock.now < 10 else None if clock.now < 100 else 500.0)
    throttle.take(1_000_000)  # a thousand seconds, were it not for the window that closes
    assert 10 <= clock.now <= 11
    throttle.take(1_000_000)
    assert clock.now <= 11
    clock.now = 150
    throttle.take(1000)
    assert clock.now == pytest.approx(152, abs=0.02)


def test_a_limit_that_falls_slows_what_waits() -> None:
    clock = Hours()
    bucket(clock, lambda: 1000.0 if clock.now < 5 else 100.0).take(8000)
    assert 25 <= clock.now <= 36, "3,000 bytes at the slower rate, of which up to a second's worth went at the faster"


def test_a_wait_ends_at_once_where_the_work_was_abandoned_and_the_bytes_count() -> None:
    clock = Hours()
    throttle = bucket(clock, lambda: 1000.0)

    def abandoned(_count: int) -> None:
        if clock.now >= 1:
            raise OutOfTime

    with pytest.raises(OutOfTime):
        throttle.take(10_000, abandoned)
    assert clock.now <= 1.5
    throttle.take(1000)
    assert clock.now == pytest.approx(11, abs=0.02)


def test_several_threads_share_one_bucket() -> None:
    throttle = Throttle(lambda: 1_000_000.0)
    began = time.monotonic()

    def work() -> None:
        for _ in range(5):
            throttle.take(10_000)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert 0.28 < time.monotonic() - began < 1.0


def test_copies_at_the_same_time_share_the_limit() -> None:
    noon = at("2026-03-02T12:00")
    for busy, rate in ((0, 5e6), (1, 5e6), (2, 2.5e6), (4, 1.25e6)):
        assert Pace(limited(), lambda: noon, lambda busy=busy: busy).limit() == rate  # type: ignore[misc]


# -- real copies ---------------------------------------------------------------------------------------------


def copied_seconds(lab: Lab, seen: list[int] | None = None) -> float:
    """How long a pass over a run of 3 MB takes; ``seen`` collects what another terminal sees meanwhile."""
    lab.push(files={"a.fcs": b"a" * 1_500_000, "b.fcs": b"b" * 1_500_000})
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.05):
            for one in live_progress(str(lab.state / "progress")).values():
                if seen is not None:
                    seen.append(one.bytes_done)

    watcher = threading.Thread(target=look)
    watcher.start()
    began = time.monotonic()
    lab.poll()
    took = time.monotonic() - began
    done.set()
    watcher.join(5)
    assert lab.states()[-1] == "sync_verified"
    return took


def test_a_copy_takes_as_long_as_its_limit_demands_and_its_progress_goes_on(lab: Lab) -> None:
    lab.sync = "upload_mbps = 30"  # 3 MB in 0.8 s
    lab.configure()
    seen: list[int] = []
    assert 0.75 < copied_seconds(lab, seen) < 1.5
    assert any(0 < count < 3_000_000 for count in seen)


def test_a_copy_outside_the_windows_is_not_slowed(lab: Lab) -> None:
    lab.now = datetime.fromisoformat("2026-03-07T12:00:00+00:00")
    lab.sync = 'upload_mbps = 1\nschedule = [{ days = ["wed"], from = "08:00", to = "18:00" }]'
    lab.configure()
    assert copied_seconds(lab) < 5, "it would be 24 seconds"


def test_a_copy_beside_another_one_gets_half_of_the_limit(lab: Lab) -> None:
    lab.sync = "upload_mbps = 60"
    lab.configure()
    with lab.station() as station, station.state.slot(str(lab.nas), 2) as held:
        assert held
        assert 0.75 < copied_seconds(lab) < 1.5


def test_reading_back_and_proving_again_are_not_limited(lab: Lab) -> None:
    copied_seconds(lab)
    lab.sync = "upload_mbps = 0.1"
    lab.cleanup = 'mode = "scheduled"\nretain_hours = 0'
    lab.configure()
    began = time.monotonic()
    (cleared,) = lab.poll().cleared
    assert cleared.files_cleared == 3
    assert time.monotonic() - began < 5, "it would be four minutes"


def test_a_pass_that_waits_for_its_limit_ends_soon_when_it_is_told_to(lab: Lab) -> None:
    lab.push(files={"a.fcs": b"a" * 3_000_000})
    lab.sync = "upload_mbps = 0.1"  # four minutes
    lab.configure()
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(lab.command("poll"), env=environment, stderr=subprocess.DEVNULL) as child:
        deadline = time.monotonic() + 10
        while not any(one.bytes_done for one in live_progress(str(lab.state / "progress")).values()):
            assert time.monotonic() < deadline, "its progress must move although no chunk is through"
            time.sleep(0.02)
        told = time.monotonic()
        child.send_signal(signal.SIGTERM)
        assert child.wait(10) == 143
        assert time.monotonic() - told < 1.5
    lab.sync = ""
    lab.configure()
    lab.poll()
    assert lab.states()[-1] == "sync_verified"
