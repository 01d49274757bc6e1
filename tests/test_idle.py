"""Idle runs are skipped only while nothing that matters has changed and no deadline has passed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from exlab_orch.clock import utc_now
from exlab_orch.evaluate import walk_run
from exlab_orch.idle import is_idle, is_unchanged, remember_idle
from exlab_orch.journal import JournalRun
from exlab_orch.station import Station
from tests.files.tricks import ODD_NAMES, write
from tests.lab import Lab

LATER = timedelta(minutes=1)


@pytest.fixture
def station(lab: Lab) -> Iterator[Station]:
    """A station a minute after a run was pushed, so that no folder changed just now."""
    lab.push(done=False, files={"a": b"a", "sub/b": b"b", ".exlab-wizard/ingest.json": b"{}"})
    lab.now = utc_now() + LATER
    with lab.station() as station:
        station.journal.save(JournalRun(lab.run().run_path, "1:2"))
        yield station


def mark(lab: Lab, station: Station, *outstanding: bytes, hours: float = 1) -> None:
    look_at = station.now() + timedelta(hours=hours)
    remember_idle(station, lab.run(), walk_run(station, lab.run()), look_at, outstanding)


def skipped(lab: Lab, station: Station, hours: float = 0) -> bool:
    known = station.journal.run(lab.run().run_path)
    return is_idle(lab.run(), known, station.now() + timedelta(hours=hours))


def test_a_run_that_looks_as_it_did_is_skipped_and_its_size_is_remembered(lab: Lab, station: Station) -> None:
    mark(lab, station)
    assert skipped(lab, station)
    known = station.journal.run(lab.run().run_path)
    assert known is not None
    assert (known.file_count, known.byte_total) == (2, 2)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a new file": lambda run: (run / "new").touch(),
    "a new file deep down": lambda run: (run / "sub/new").touch(),
    "a new folder": lambda run: (run / "sub/folder").mkdir(),
    "a removed file": lambda run: (run / "sub/b").unlink(),
    "a renamed file": lambda run: (run / "a").rename(run / "c"),
    "a folder renamed away": lambda run: (run / "sub").rename(run / "bus"),
    "a new record": lambda run: (run / ".exlab-wizard/ingest.json").write_bytes(b"{ }"),
    "the record removed": lambda run: (run / ".exlab-wizard/ingest.json").unlink(),
    "something pushed into our folder": lambda run: (run / ".exlab-wizard/creation.json").touch(),
    "the run itself taken away": lambda run: run.rename(run.with_name("old")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_is_looked_at_again_after(lab: Lab, station: Station, change: str) -> None:
    mark(lab, station)
    CHANGES[change](lab.staged())
    assert not skipped(lab, station)


def test_a_run_is_looked_at_again_when_its_deadline_has_come(lab: Lab, station: Station) -> None:
    mark(lab, station, hours=1)
    assert skipped(lab, station, hours=0.99)
    assert not skipped(lab, station, hours=1)


def test_without_a_deadline_only_a_change_matters(lab: Lab, station: Station) -> None:
    remember_idle(station, lab.run(), walk_run(station, lab.run()), None)
    assert skipped(lab, station, hours=100_000)


@pytest.mark.parametrize("name", [b"a", b"missing", b"sub/missing", b"no folder/missing"])
def test_a_file_that_is_waited_for_is_watched_itself(lab: Lab, station: Station, name: bytes) -> None:
    mark(lab, station, name)
    assert skipped(lab, station)
    path = write(lab.staged(), name, b"grown")
    assert not skipped(lab, station)
    mark(lab, station, name)
    with open(path, "ab") as file:
        file.write(b"more")
    assert not skipped(lab, station)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_folders_of_any_name_are_watched(lab: Lab, station: Station, name: bytes) -> None:
    write(lab.staged(), name + b"/x")
    mark(lab, station, name + b"/missing")
    assert skipped(lab, station)
    write(lab.staged(), name + b"/y")
    assert not skipped(lab, station)


def test_a_folder_that_changed_since_it_was_walked_is_no_idle_one(lab: Lab, station: Station) -> None:
    listing = walk_run(station, lab.run())
    (lab.staged() / "sub/late").touch()
    remember_idle(station, lab.run(), listing, None)
    assert not skipped(lab, station)


@pytest.mark.parametrize("milliseconds", [0, 50, -60_000])
def test_a_folder_that_changed_just_now_may_change_again_unseen(lab: Lab, station: Station, milliseconds: int) -> None:
    changed = os.stat(lab.staged() / "sub").st_ctime_ns / 1e9
    lab.now = utc_now().fromtimestamp(changed + milliseconds / 1000, tz=utc_now().tzinfo)
    mark(lab, station)
    assert not skipped(lab, station)


def test_a_run_nobody_knows_is_not_idle(lab: Lab, station: Station) -> None:
    assert not is_idle(lab.run(), None, station.now())
    assert not is_unchanged(lab.run(), JournalRun(lab.run().run_path, "1:2"))
    station.journal.forget_run(lab.run().run_path)
    mark(lab, station)
    assert station.journal.run(lab.run().run_path) is None


def test_an_order_of_a_person_ends_the_idleness(lab: Lab, station: Station) -> None:
    mark(lab, station)
    station.journal.give_order(lab.run().run_path, "due", {})
    assert not skipped(lab, station)


def test_a_mark_changes_nothing_else_that_is_known(lab: Lab, station: Station) -> None:
    known = JournalRun(lab.run().run_path, "1:2", record="{}", own="{}", attempts=2, retry_at=1.0, waiting="x")
    station.journal.save(known)
    mark(lab, station)
    after = station.journal.run(lab.run().run_path)
    assert after is not None
    assert replace(after, idle=None, look_at=None, file_count=0, byte_total=0) == known
