"""B. Disks that are full, read-only or broken: of the NAS, of staging, of the state directory."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from exlab_orch.clock import utc_now
from exlab_orch.reserve import RESERVE
from exlab_orch.verification import verify
from tests.faults.scenarios import FILES
from tests.lab import RUN, Lab, flip_a_bit
from tests.mounts import Mounts
from tests.oracle import Oracle, require_cleared, require_program

CLEAR = ("clear", "--yes", RUN)
TOLD = (3, 5, 69, 75)


class Disks(Mounts):
    """Small disks, each in the place of a folder of a lab."""

    def memory_of(self, point: Path, options: str) -> None:
        point.mkdir(exist_ok=True)
        self._mount("-t", "tmpfs", "-o", f"mode=755,{options}", "none", point)

    def ext4(self, point: Path, image: Path, megabytes: int) -> None:
        """Without a journal and with delayed allocation: that the disk below is full shows at fsync."""
        image.touch()
        os.truncate(image, megabytes << 20)
        subprocess.run([require_program("mkfs.ext4"), "-qF", "-O", "^has_journal", image], check=True)
        self._mount("-o", "loop", image, point)


@pytest.fixture
def disks() -> Iterator[Disks]:
    disks = Disks()
    with disks:
        yield disks


def remounted(point: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", point], check=True)


def fill(folder: Path) -> Path:
    """Take all the space that is left; returns the file to remove."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 4096, 1):
            while _wrote(file.fileno(), bytes(size)):
                pass
    return filler


def _wrote(descriptor: int, content: bytes) -> bool:
    try:
        return os.write(descriptor, content) > 0
    except OSError:
        return False


def require_no_bug(lab: Lab, *words: str) -> int:
    """The exit code of a command that may fail, but not as a bug of the program."""
    done = lab.cli(*words)
    assert done.returncode != 1, done.stderr
    assert "bug" not in done.stderr, done.stderr
    return done.returncode


def problem_of(lab: Lab) -> str | None:
    rows = json.loads(lab.cli("list", "--json").stdout)["runs"]
    return next((row["problem"]["code"] for row in rows if row["run"] == RUN and row["problem"]), None)


# -- the NAS -------------------------------------------------------------------------------------------------

LARGE = {**FILES, "z.fcs": bytes(range(256)) * 600}


@pytest.mark.root
@pytest.mark.parametrize("options", ["size=200k", "nr_inodes=20"])
def test_a_nas_that_becomes_full_half_way_goes_on_when_there_is_room(
    tmp_path: Path, disks: Disks, options: str
) -> None:
    disks.memory_of(tmp_path / "nas", options)
    lab = Lab(tmp_path)
    oracle = Oracle(lab)
    lab.push(files=LARGE)
    oracle.remember()
    assert (require_no_bug(lab, "poll"), lab.states()[-1]) == (69, "sync_queued")
    assert "nas_full" in lab.cli("show", "--json", RUN).stdout
    remounted(lab.nas, "size=4m,nr_inodes=1000")
    oracle.settle()
    assert lab.states()[-1] == "sync_verified"


@pytest.mark.root
def test_a_nas_whose_disk_is_full_only_at_fsync_is_never_believed(tmp_path: Path, disks: Disks) -> None:
    disks.memory_of(tmp_path / "below", "size=2m")
    (tmp_path / "nas").mkdir()
    disks.ext4(tmp_path / "nas", tmp_path / "below/image", 16)
    lab = Lab(tmp_path)
    oracle = Oracle(lab)
    lab.push(files={"z.fcs": os.urandom(3 << 20)})
    oracle.remember()
    assert require_no_bug(lab, "poll") in (3, 69)
    assert lab.states()[-1] == "sync_queued"
    remounted(tmp_path / "below", "size=64m")
    lab.now = utc_now() + timedelta(minutes=1)
    oracle.settle()
    assert lab.states()[-1] == "sync_verified"


# -- staging -------------------------------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.parametrize("full", ["size=300k", "nr_inodes=26", "ro"])
def test_staging_that_takes_no_record_is_told_and_goes_on_when_there_is_room(
    tmp_path: Path, disks: Disks, full: str
) -> None:
    disks.memory_of(tmp_path / "staging", "size=4m")
    lab = Lab(tmp_path)
    oracle = Oracle(lab)
    require_no_bug(lab, "poll")  # owner.json is there
    (lab.staging / ".exlab-orch" / RESERVE).unlink()
    lab.push(files=FILES)
    oracle.remember()
    if full == "ro":
        remounted(lab.staging, "ro")
    else:
        used = len(list(lab.staging.rglob("*")))
        remounted(lab.staging, full if "size" in full else f"nr_inodes={used + 2}")
    filler = fill(lab.staging) if "size" in full else None
    assert require_no_bug(lab, "poll") in TOLD
    assert problem_of(lab) in ("sync_failed", "permission_denied")
    remounted(lab.staging, "rw,size=8m,nr_inodes=1000")
    if filler is not None:
        filler.unlink()
    lab.now = utc_now() + timedelta(minutes=1)
    oracle.settle()
    assert lab.states()[-1] == "sync_verified"


@pytest.mark.root
def test_a_clear_without_room_for_its_record_deletes_nothing(tmp_path: Path, disks: Disks) -> None:
    disks.memory_of(tmp_path / "staging", "size=4m")
    lab = Lab(tmp_path)
    lab.push(files=FILES)
    oracle = Oracle(lab)
    lab.poll()
    filler = fill(lab.staging)
    assert require_no_bug(lab, *CLEAR) in TOLD
    oracle.require_nothing_lost()
    filler.unlink()
    oracle.settle()
    assert lab.cli(*CLEAR).returncode == 0
    oracle.settle()
    require_cleared(lab)


@pytest.mark.root
def test_a_disk_that_is_full_for_days_uses_up_no_attempt(tmp_path: Path, disks: Disks) -> None:
    disks.memory_of(tmp_path / "staging", "size=4m")
    lab = Lab(tmp_path)
    lab.push(files=FILES)
    lab.poll(only=frozenset({"evaluate"}))
    filler = fill(lab.staging)
    start = utc_now()
    for hours in range(8):
        lab.now = start + timedelta(hours=hours)
        assert lab.poll().failed == (RUN,)
    filler.unlink()
    lab.now = start + timedelta(hours=9)
    lab.poll()
    assert lab.states()[-1] == "sync_verified"


@pytest.mark.root
@pytest.mark.parametrize("where", ["elsewhere", "beside staging"], ids=["state-elsewhere", "state-beside"])
@pytest.mark.parametrize("kind", ["size=8m", "size=48m", "ext4"])
def test_a_disk_without_a_free_byte_can_be_copied_from_and_cleared(
    tmp_path: Path, disks: Disks, kind: str, where: str
) -> None:
    disk = tmp_path / ("staging" if where == "elsewhere" else "disk")
    disk.mkdir()
    if kind == "ext4":
        disks.ext4(disk, tmp_path / "image", 64)
    else:
        disks.memory_of(disk, kind)
    lab = Lab(tmp_path if where == "elsewhere" else disk, nas_folder=tmp_path / "nas")
    other, late = f"{RUN}_2", f"{RUN}_3"
    oracle = Oracle(lab)
    lab.push(files=FILES)
    lab.cli("poll")
    lab.push(other, files=FILES)
    lab.cli("poll", "--only", "evaluate")
    lab.push(late, files=FILES)
    oracle.remember()
    fill(lab.staging)
    assert not _has_room(lab.staging)
    assert lab.cli("poll").returncode == 0
    assert [lab.states(run)[-1] for run in (other, late)] == ["sync_verified"] * 2
    _fill_on(lab.staging)
    assert lab.cli("clear", "--yes", RUN).returncode == 0
    require_cleared(lab)
    _fill_on(lab.staging)
    assert lab.cli("clear", "--yes", "--all-verified").returncode == 0
    for run in (other, late):
        require_cleared(lab, run)
    oracle.require_nothing_lost()
    (lab.staging / "filler").unlink()
    assert lab.cli("poll").returncode == 0
    kept = (lab.staging / ".exlab-orch" if where == "elsewhere" else lab.state) / RESERVE
    assert kept.stat().st_size == (2 << 20 if kind == "size=8m" else 4 << 20), "there is room for it again"


def _fill_on(folder: Path) -> None:
    with (folder / "filler").open("ab", buffering=0) as file:
        while _wrote(file.fileno(), bytes(4096)):
            pass


def _has_room(folder: Path) -> bool:
    try:
        (folder / "more").write_bytes(bytes(4096))
    except OSError:
        return False
    finally:
        (folder / "more").unlink(missing_ok=True)
    return True


@pytest.mark.root
@pytest.mark.parametrize("where", ["elsewhere", "beside staging"], ids=["state-elsewhere", "state-beside"])
def test_what_a_person_decides_is_kept_on_a_disk_without_a_free_byte(tmp_path: Path, disks: Disks, where: str) -> None:
    """Who is about to make room says first what is to stay."""
    disk = tmp_path / ("staging" if where == "elsewhere" else "disk")
    disks.memory_of(disk, "size=48m")
    lab = Lab(tmp_path if where == "elsewhere" else disk, nas_folder=tmp_path / "nas")
    never_done = f"{RUN}_2"
    lab.push(files=FILES)
    lab.push(never_done, files=FILES, done=False)
    lab.cli("poll")
    fill(lab.staging)
    for words in (("hold", "--reason", "mine", RUN), ("accept", "--reason", "as it is", never_done), ("poll",)):
        assert lab.cli(*words).returncode == 0, words
        _fill_on(lab.staging)
    assert lab.states(never_done)[-1] == "sync_verified"
    assert lab.cli("clear", "--yes", "--all-verified").returncode == 0
    assert lab.states()[-1] == "sync_verified"
    require_cleared(lab, never_done)


# -- the state directory -------------------------------------------------------------------------------------

COMMANDS = [("poll",), CLEAR, ("sync", RUN), ("hold", "--reason", "x", RUN)]


@pytest.mark.root
@pytest.mark.parametrize("is_full", [True, False], ids=["full", "read-only"])
@pytest.mark.parametrize("is_new", [True, False], ids=["new", "used"])
def test_a_state_directory_that_takes_nothing_stops_every_change_and_no_look(
    tmp_path: Path, disks: Disks, is_full: bool, is_new: bool
) -> None:
    disks.memory_of(tmp_path / "state", "size=1m")
    lab = Lab(tmp_path)
    lab.push(files=FILES)
    oracle = Oracle(lab)
    if not is_new:
        lab.poll()
    filler = fill(lab.state) if is_full else lab.state / "none"
    if not is_full:
        remounted(lab.state, "ro")
    assert [require_no_bug(lab, *words) for words in COMMANDS] == [69] * len(COMMANDS)
    assert [lab.cli(*words).returncode for words in (("list",), ("show", RUN))] == [0, 0]
    oracle.require_nothing_lost()
    remounted(lab.state, "rw")
    filler.unlink(missing_ok=True)
    oracle.settle()
    assert lab.states()[-1] == "sync_verified"


@pytest.mark.root
@pytest.mark.parametrize("is_cleared", [True, False])
def test_damage_that_a_verify_finds_is_kept_where_the_state_directory_has_no_free_byte(
    tmp_path: Path, disks: Disks, *, is_cleared: bool
) -> None:
    disks.memory_of(tmp_path / "state", "size=24m")
    lab = Lab(tmp_path)
    lab.push(files=FILES)
    lab.cli("poll")
    if is_cleared:
        assert lab.cli(*CLEAR).returncode == 0
    flip_a_bit(next(path for path in lab.published().glob("*.fcs") if path.stat().st_size))
    with lab.station() as station:
        fill(lab.state)
        assert not verify(station, lab.run()).ok
    (lab.state / "filler").unlink()
    for part in lab.state.glob("journal.sqlite3*"):
        part.unlink()
    with lab.station() as station:
        assert [problem.code for problem in station.journal.problems(RUN)] == ["nas_copy_damaged"]
