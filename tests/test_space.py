"""How full disks are, what is remembered of that, and when one will be full."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exlab_orch.clock import utc_now
from exlab_orch.disks import nas_disks
from exlab_orch.errors import NasFull, RunProblem
from exlab_orch.journal import memory_journal
from exlab_orch.space import (
    KnownSpace,
    Sample,
    Space,
    known_nas_space,
    remember_nas,
    remember_staging,
    require_reserve,
    seconds_until_full,
    staging_seconds_left,
    staging_space,
)
from tests.lab import RUN, Lab

NOW = datetime(2026, 4, 17, 14, 0, tzinfo=UTC)
ROOT = "/srv/staging"


def ago(hours: float, free: int) -> Sample:
    return Sample(NOW - timedelta(hours=hours), free)


def test_the_staging_disk_tells_what_this_user_may_still_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1,000 blocks of 4 KiB, 900 are free for root and 400 for us."""
    told = os.statvfs_result((1 << 20, 4096, 1000, 900, 400, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: told)
    assert staging_space(str(tmp_path)) == Space(4096_000, 1638_400)
    assert staging_space(str(tmp_path)).used_percent == 60


def test_a_staging_disk_that_does_not_answer_is_an_error_of_staging(tmp_path: Path) -> None:
    with pytest.raises(RunProblem, match="asking for free space"):
        staging_space(str(tmp_path / "gone"))


def test_a_disk_of_no_size_is_full() -> None:
    assert Space(0, 0).used_percent == 100


@pytest.mark.parametrize(
    ("samples", "seconds"),
    [
        ([], None),
        ([ago(0, 100)], None),
        ([ago(0.4, 200), ago(0, 100)], None),  # too short to say anything
        ([ago(2, 100), ago(0, 100)], None),  # nothing changes
        ([ago(2, 50), ago(0, 100)], None),  # more is deleted than arrives
        ([ago(2, 300), ago(0, 100)], 3600),
        ([ago(0, 100), ago(2, 300)], 3600),  # in any order
        ([ago(2, 300), ago(1, 10), ago(0, 100)], 3600),
        ([ago(100, 10_000), ago(2, 300), ago(0, 100)], 3600),  # the rate is that of the last hours
        ([ago(2, 300), ago(0, 100), ago(-50, 0)], 3600),  # a sample from the future is one of a wrong clock
        ([ago(3, 300), ago(1, 100)], 0),  # by now it is full, if nobody stopped
        ([ago(2, 100), ago(0, 0)], 0),
    ],
)
def test_the_time_left_follows_the_rate_of_the_last_hours(samples: list[Sample], seconds: float | None) -> None:
    assert seconds_until_full(samples, NOW) == seconds


def test_passes_remember_free_space_every_few_minutes_and_for_some_hours() -> None:
    journal = memory_journal()
    for minute in range(24 * 60):
        remember_staging(journal, ROOT, Space(10_000, 5000 - minute), NOW + timedelta(minutes=minute))
    note = journal.note("staging_space")
    assert note is not None
    assert len(note) < 4000
    at = NOW + timedelta(minutes=1440)
    assert staging_seconds_left(journal, ROOT, Space(10_000, 3560), at) == pytest.approx(3560 * 60)


@pytest.mark.parametrize(("root", "total"), [("/srv/other", 1000), (ROOT, 2000)])
def test_another_or_an_enlarged_disk_has_no_rate_yet(root: str, total: int) -> None:
    journal = memory_journal()
    remember_staging(journal, ROOT, Space(1000, 900), NOW - timedelta(hours=2))
    assert staging_seconds_left(journal, ROOT, Space(1000, 450), NOW) == 7200
    assert staging_seconds_left(journal, root, Space(total, 450), NOW) is None


@pytest.mark.parametrize("damaged", ["", "no json", "[]", "{}", '{"root": "/srv/staging", "total_bytes": 1000}'])
def test_what_is_remembered_may_be_damaged(damaged: str) -> None:
    journal = memory_journal()
    journal.set_note("staging_space", damaged)
    journal.set_note("space nas", damaged)
    assert staging_seconds_left(journal, ROOT, Space(1000, 450), NOW) is None
    assert known_nas_space(journal, "nas") is None


def test_the_space_of_a_nas_is_told_without_asking_it_again() -> None:
    journal = memory_journal()
    assert known_nas_space(journal, "nas") is None
    remember_nas(journal, "nas", Space(1000, 10), NOW)
    assert known_nas_space(journal, "nas") == KnownSpace(Space(1000, 10), NOW)
    assert known_nas_space(journal, "other") is None


def test_a_reserve_is_never_eaten_into_and_a_nas_that_does_not_tell_may_be_used() -> None:
    require_reserve(None, 50, 1 << 60)
    require_reserve(Space(1000, 150), 5, 100)
    with pytest.raises(NasFull, match="reserve"):
        require_reserve(Space(1000, 150), 5, 101)


def test_a_pass_remembers_the_space_of_staging_and_nas(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.poll()
    with lab.station(changing=False) as station:
        name = station.nas_named(f"mount:{lab.nas}") or station.nas_of(lab.run())
        known = known_nas_space(station.journal, name.name)
        assert known is not None
        assert known.space.total_bytes == staging_space(str(lab.nas)).total_bytes
        assert station.journal.note("staging_space") is not None


def test_how_full_the_nas_is_is_known_anew_after_each_copy(lab: Lab) -> None:
    lab.now = utc_now() + timedelta(hours=1)
    lab.push()
    lab.poll()
    lab.now += timedelta(minutes=2)
    lab.push(f"{RUN}_2")
    lab.poll()
    with lab.station(changing=False) as station:
        (disk,) = nas_disks(station)
    assert disk.at == lab.now
