"""C. Mounts that are missing, swapped, read-only or go away in the middle: nothing is written beside the right NAS."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from exlab_orch.state import short_hash
from exlab_orch.transports.marker import MARKER
from tests.faults.scenarios import FILES, clear_once_more
from tests.faults.strace import Point, while_it_waits_at
from tests.lab import MARKER_ID, RUN, Lab
from tests.mounts import Mounts
from tests.oracle import Oracle, Print, data_files, prints, require_cleared

pytestmark = pytest.mark.root
SENTINEL = b"run_complete"
PROVED = ["staging", "complete", "sync_queued", "sync_verified"]
SHELF = "FLOW_01/PROJ-1/Runs"
PART = f"{SHELF}/.exlab-part-Run_2026-04-17T14-32"


@pytest.fixture
def mounts() -> Iterator[Mounts]:
    with Mounts() as mounts:
        yield mounts


@pytest.fixture
def lab(tmp_path: Path, mounts: Mounts) -> Lab:
    """A lab whose NAS is a mount over an empty folder; its bytes are in ``server``."""
    lab = Lab(tmp_path, require_mount=True)
    lab.nas.rename(tmp_path / "server")
    lab.nas.mkdir()
    mounts.bind(tmp_path / "server", lab.nas)
    return lab


class NasAway:
    """Unmounted as when the server goes away, and mounted again; meanwhile not a byte may come into the mount point."""

    def __init__(self, lab: Lab, mounts: Mounts) -> None:
        self.lab, self.mounts = lab, mounts
        self.before: dict[str, Print] = {}

    def __enter__(self) -> None:
        self.mounts.undo_last()
        self.before = prints(self.lab.nas)

    def __exit__(self, *_: object) -> None:
        written = prints(self.lab.nas)
        self.mounts.bind(self.lab.root / "server", self.lab.nas)
        assert written == self.before, "something was written into the mount point"


def problem_codes(lab: Lab) -> list[str]:
    with lab.station(changing=False) as station:
        return [problem.code for problem in station.journal.problems()]


def require_seen(lab: Lab, code: str, *words: str) -> None:
    """The command ends with 69, and the problem stays open until it is solved."""
    ended = lab.cli(*words)
    assert ended.returncode == 69, ended
    assert code in problem_codes(lab)


# -- the NAS is not there when a pass begins -------------------------------------------------------------------


def test_a_nas_that_is_not_mounted_gets_not_a_byte_into_its_mount_point(
    lab: Lab, oracle: Oracle, mounts: Mounts
) -> None:
    lab.push()
    oracle.remember()
    with NasAway(lab, mounts):
        require_seen(lab, "nas_not_mounted", "poll")
        assert lab.states() == PROVED[:3]
    oracle.settle()
    assert lab.states() == PROVED


def test_a_marker_below_the_mount_point_makes_no_mount_of_it(lab: Lab, oracle: Oracle, mounts: Mounts) -> None:
    """Somebody marked the empty folder, or the NAS was copied there once."""
    lab.push()
    oracle.remember()
    mounts.undo_last()
    (lab.nas / MARKER).write_text(f"{MARKER_ID}\n")
    mounts.bind(lab.root / "server", lab.nas)
    with NasAway(lab, mounts):
        require_seen(lab, "nas_not_mounted", "poll")
    oracle.settle()
    assert lab.states() == PROVED


@pytest.mark.parametrize("marker", ["f" * 32 + "\n", None], ids=["another marker", "no marker"])
def test_another_nas_at_the_same_place_gets_nothing(
    lab: Lab, oracle: Oracle, mounts: Mounts, marker: str | None
) -> None:
    lab.push()
    oracle.remember()
    other = lab.root / "other"
    other.mkdir()
    if marker is not None:
        (other / MARKER).write_text(marker)
    with NasAway(lab, mounts):
        mounts.bind(other, lab.nas)
        before = prints(other)
        require_seen(lab, "nas_wrong_marker", "poll")
        assert prints(other) == before
        mounts.undo_last()
    oracle.settle()
    assert lab.states() == PROVED


def test_a_nas_that_goes_away_while_nobody_needs_it_is_seen_all_the_same(
    lab: Lab, oracle: Oracle, mounts: Mounts
) -> None:
    lab.push()
    lab.poll()
    oracle.remember()
    with lab.station() as station:
        station.journal.set_note(f"well {lab.nas}", "2026-01-01T00:00:00Z")  # the last look was long ago
    with NasAway(lab, mounts):
        require_seen(lab, "nas_not_mounted", "poll")
        require_seen(lab, "nas_not_mounted", "poll")
    assert "Solved" in lab.cli("poll").stderr
    assert "nas_not_mounted" not in problem_codes(lab)
    oracle.settle()


def test_a_clear_without_the_nas_deletes_nothing(lab: Lab, oracle: Oracle, mounts: Mounts) -> None:
    lab.push()
    lab.poll()
    oracle.remember()
    with NasAway(lab, mounts):
        before = prints(lab.staged())
        assert lab.cli("clear", "--yes", RUN).returncode == 69
        assert prints(lab.staged()) == before
    clear_once_more(lab)
    require_cleared(lab)
    oracle.settle()


# -- it goes away in the middle --------------------------------------------------------------------------------

COPYING = {
    "while it is planned": Point("openat2", 3, ("nas",)),
    "while the hidden folder is made": Point("mkdirat", 1, (f"nas/{SHELF}",)),
    "while a file is written": Point("write", 1, (f"nas/{PART}/a.fcs",)),
    "while a file is flushed": Point("fsync", 1, (f"nas/{PART}/sub/b.fcs",)),
    "before it is published": Point("renameat2", 1, (f"nas/{SHELF}",)),
    "before the look that precedes the record": Point("fsync", 3, (f"nas/{SHELF}",)),
}


@pytest.mark.parametrize("moment", COPYING)
def test_a_nas_that_goes_away_during_a_copy_gets_nothing_into_its_mount_point(
    lab: Lab, oracle: Oracle, mounts: Mounts, moment: str
) -> None:
    lab.push(files=FILES)
    oracle.remember()
    away = NasAway(lab, mounts)
    with while_it_waits_at(lab, ("poll",), COPYING[moment]) as ended:
        away.__enter__()
    assert ended.returncode == 69, ended
    assert lab.states() == PROVED[:3]
    assert "nas_not_mounted" in problem_codes(lab)
    away.__exit__(None, None, None)
    oracle.settle()
    assert lab.states() == PROVED


def replica(lab: Lab) -> Path:
    """Another NAS with the very same files, times included; only its marker is another one."""
    other = lab.root / "other"
    shutil.copytree(lab.root / "server", other)
    (other / MARKER).write_text("f" * 32 + "\n")
    return other


def test_another_nas_with_the_same_files_right_before_the_record_is_not_recorded(
    lab: Lab, oracle: Oracle, mounts: Mounts
) -> None:
    """What was published just now is there too, name by name; all the same it is not the NAS that was proved."""
    lab.push(files=FILES)
    oracle.remember()
    with while_it_waits_at(lab, ("poll",), COPYING["before the look that precedes the record"]) as ended:
        mounts.bind(replica(lab), lab.nas)
    assert ended.returncode == 69, ended
    assert lab.states() == PROVED[:3]
    assert "nas_wrong_marker" in problem_codes(lab)
    mounts.undo_last()
    oracle.settle()
    assert lab.states() == PROVED


def test_another_nas_with_the_same_files_is_no_proof_for_a_clear(lab: Lab, oracle: Oracle, mounts: Mounts) -> None:
    lab.push(files=FILES)
    lab.poll()
    oracle.remember()
    with while_it_waits_at(lab, ("clear", "--yes", RUN), CLEARING["while it is proved"]) as ended:
        mounts.bind(replica(lab), lab.nas)
    assert ended.returncode == 69, ended
    assert data_files(lab.staged()).keys() == {*map(str.encode, FILES), SENTINEL}
    mounts.undo_last()
    clear_once_more(lab)
    require_cleared(lab)
    oracle.settle()


def test_a_nas_that_goes_away_before_the_record_has_what_the_record_says(
    lab: Lab, oracle: Oracle, mounts: Mounts
) -> None:
    """After the last look at the NAS the record is written: it is true, only the NAS copy of it is late."""
    lab.push(files=FILES)
    oracle.remember()
    away = NasAway(lab, mounts)
    with while_it_waits_at(lab, ("poll",), Point("openat", 4, (f"state/locks/{short_hash(RUN)}.record",))) as ended:
        away.__enter__()
    assert ended.returncode in (0, 69), ended
    away.__exit__(None, None, None)
    oracle.settle()
    assert lab.states() == PROVED
    assert lab.nas_record() == lab.record().as_json()


CLEARING = {
    "while it is proved": Point("openat2", 3, ("nas",)),
    "before the move to the trash": Point("renameat2", 1, (f"staging/{SHELF}",)),
    "after the move to the trash": Point("fsync", 1, (f"staging/{SHELF}",)),
    "before the ledger line": Point("write", 1, ("state/ledger.jsonl",)),
}


@pytest.mark.parametrize("moment", CLEARING)
def test_a_nas_that_goes_away_during_a_clear_is_left_with_every_staged_file(
    lab: Lab, oracle: Oracle, mounts: Mounts, moment: str
) -> None:
    lab.push(files=FILES)
    lab.poll()
    oracle.remember()
    away = NasAway(lab, mounts)
    with while_it_waits_at(lab, ("clear", "--yes", RUN), CLEARING[moment]) as ended:
        away.__enter__()
    assert ended.returncode not in (0, 1), ended
    folders = [lab.staged(), *(lab.staging / ".exlab-orch/trash").glob(f"*/{RUN}")]
    assert [set(data_files(folder)) for folder in folders if folder.exists()] == [{*map(str.encode, FILES), SENTINEL}]
    away.__exit__(None, None, None)
    oracle.settle()
    clear_once_more(lab)
    require_cleared(lab)
    oracle.settle()


# -- it cannot be written --------------------------------------------------------------------------------------


def test_a_nas_that_is_read_only_from_the_start_gets_the_run_when_it_is_writable(
    lab: Lab, oracle: Oracle, mounts: Mounts
) -> None:
    lab.push()
    oracle.remember()
    mounts.read_only(lab.nas)
    assert lab.cli("poll").returncode in (3, 69)
    assert problem_codes(lab) != []
    mounts.read_only(lab.nas, again=True)
    retry_now(lab)
    oracle.settle()
    assert lab.states() == PROVED


READ_ONLY = [COPYING["while the hidden folder is made"], COPYING["before it is published"]]


@pytest.mark.parametrize("point", READ_ONLY, ids=str)
def test_a_nas_that_becomes_read_only_during_a_copy_gets_the_run_later(
    lab: Lab, oracle: Oracle, mounts: Mounts, point: Point
) -> None:
    lab.push(files=FILES)
    oracle.remember()
    with while_it_waits_at(lab, ("poll",), point) as ended:
        mounts.read_only(lab.nas)
    assert ended.returncode in (3, 69), ended
    assert problem_codes(lab) != []
    mounts.read_only(lab.nas, again=True)
    retry_now(lab)
    oracle.settle()
    assert lab.states() == PROVED


def test_a_nas_that_becomes_read_only_during_a_clear_keeps_every_staged_file(
    lab: Lab, oracle: Oracle, mounts: Mounts
) -> None:
    lab.push(files=FILES)
    lab.poll()
    oracle.remember()
    with while_it_waits_at(lab, ("clear", "--yes", RUN), CLEARING["before the ledger line"]) as ended:
        mounts.read_only(lab.nas)
    assert ended.returncode not in (0, 1), ended
    (trashed,) = (lab.staging / ".exlab-orch/trash").glob(f"*/{RUN}")
    assert set(data_files(trashed)) == {*map(str.encode, FILES), SENTINEL}
    mounts.read_only(lab.nas, again=True)
    oracle.settle()
    require_cleared(lab)


def retry_now(lab: Lab) -> None:
    """What the operator does when a disk is mended: attempts that failed are forgotten."""
    assert lab.cli("sync", RUN).returncode == 0
