"""The room kept for a full disk: who may use up how much of it, where it lies, and when it is put back."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import threading
from pathlib import Path

import pytest

from exlab_orch import reserve
from exlab_orch.cleanup import clear
from exlab_orch.errors import SyncFailed, from_state, staging_errors
from exlab_orch.files.ballast import shorten
from exlab_orch.reserve import ALL, FOR_CLEARS, RESERVE, keep_reserves, make_room_for_journal, with_reserve
from exlab_orch.space import Space
from exlab_orch.station import Station
from tests.faults.test_b_disks import Disks, fill
from tests.lab import RUN, Lab

PIECE = 512 << 10


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    _say_free(monkeypatch, 1 << 39)


def _say_free(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(reserve, "disk_space", lambda _folder: Space(1 << 40, free))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """One that has staging on its disk."""
    (tmp_path / "state").mkdir()
    keep_reserves(str(tmp_path), str(tmp_path / "state"))
    return tmp_path / "state"


def pieces(folder: Path) -> float:
    return (folder / RESERVE).stat().st_size / PIECE


class Writer:
    """Finds no room so many times."""

    def __init__(self, full: int, number: int = errno.ENOSPC) -> None:
        self.left, self.number = full, number

    def __call__(self) -> str:
        if self.left:
            self.left -= 1
            with staging_errors("writing ingest.json"):
                raise OSError(self.number, "no")
        return "written"


def _with_reserve(state: Path, act: Writer, leave: int = 0) -> str:
    return with_reserve(str(state.parent), str(state), act, leave=leave)


def test_a_clear_goes_on_with_as_much_as_it_needs(state: Path) -> None:
    assert _with_reserve(state, Writer(7)) == "written"
    assert pieces(state) == 1


def test_a_copy_leaves_enough_for_the_clear_of_what_it_proves(state: Path) -> None:
    with pytest.raises(SyncFailed, match="ingest"):
        _with_reserve(state, Writer(9), leave=FOR_CLEARS)
    assert pieces(state) == FOR_CLEARS


@pytest.mark.parametrize("number", [errno.EIO, errno.EFBIG])
def test_another_error_uses_nothing_up(state: Path, number: int) -> None:
    with pytest.raises(SyncFailed):
        _with_reserve(state, Writer(1, number))
    assert pieces(state) == ALL


def test_a_journal_that_finds_no_room_is_given_some_too(state: Path) -> None:
    answers = ["database or disk is full"]

    def act() -> str:
        for answer in [answers.pop() for _ in answers]:
            full = sqlite3.OperationalError(answer)
            full.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise from_state(str(state), answer) from full
        return "written"

    assert with_reserve(str(state.parent), str(state), act) == "written"
    assert pieces(state) == ALL - 1


def test_when_all_is_used_up_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SyncFailed) as told:
        _with_reserve(tmp_path / "none", Writer(1))
    assert "exlab-orch clear --all-verified" in told.value.hint
    assert "move something that is not a run to another disk" in told.value.hint


def test_passes_open_the_journal_with_half_of_it_and_clears_with_all(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _say_free(monkeypatch, 0)
    left = []
    for leave in (*[FOR_CLEARS] * 5, *[0] * 5):
        make_room_for_journal(str(state), leave=leave)
        left.append(pieces(state))
    assert left == [7, 6, 5, 4, 4, 3, 2, 1, 0, 0]


def test_where_there_is_room_nothing_is_given_up_and_one_reserve_is_enough(state: Path) -> None:
    first = (state / RESERVE).stat()
    make_room_for_journal(str(state), leave=0)
    keep_reserves(str(state.parent), str(state))
    assert os.listdir(state) == [RESERVE]
    assert [path.name for path in state.parent.iterdir()] == ["state"]
    assert (state / RESERVE).stat() == first


def test_it_is_put_back_from_half_of_what_is_free(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _with_reserve(state, Writer(2))
    _say_free(monkeypatch, 2 * PIECE - 1)
    keep_reserves(str(state.parent), str(state))
    assert pieces(state) == ALL - 2
    _say_free(monkeypatch, 3 * PIECE)
    keep_reserves(str(state.parent), str(state))
    assert pieces(state) == ALL - 1
    _say_free(monkeypatch, 1 << 39)
    keep_reserves(str(state.parent), str(state))
    assert pieces(state) == ALL


def test_it_is_room_that_no_file_system_can_take_back(state: Path) -> None:
    """Zeros would be kept as a hole, or compressed to nothing."""
    content = (state / RESERVE).read_bytes()
    assert all(len(set(content[at : at + 4096])) > 200 for at in range(0, ALL * PIECE, 4096))


@pytest.mark.parametrize("is_owner", [True, False])
def test_only_the_owner_of_the_state_directory_gives_it_up(
    state: Path, monkeypatch: pytest.MonkeyPatch, *, is_owner: bool
) -> None:
    _say_free(monkeypatch, 0)
    monkeypatch.setattr(os, "geteuid", lambda: state.stat().st_uid + (0 if is_owner else 1))
    make_room_for_journal(str(state), leave=0)
    assert pieces(state) == (ALL - 1 if is_owner else ALL)


@pytest.mark.parametrize("how", ["link", "hard link", "large", "folder", "fifo"])
def test_what_somebody_put_in_its_place_is_neither_cut_nor_written_to(tmp_path: Path, how: str) -> None:
    state, outside = tmp_path / "state", tmp_path / "outside"
    state.mkdir()
    outside.write_bytes(b"theirs")
    if how == "link":
        (state / RESERVE).symlink_to(outside)
    elif how == "hard link":
        (state / RESERVE).hardlink_to(outside)
    elif how == "fifo":
        os.mkfifo(state / RESERVE)
    elif how == "large":
        (state / RESERVE).write_bytes(bytes(9 * PIECE))
    else:
        (state / RESERVE).mkdir()
    with pytest.raises(SyncFailed):
        _with_reserve(state, Writer(1))
    keep_reserves(str(tmp_path), str(state))
    assert outside.read_bytes() == b"theirs"
    assert how != "large" or pieces(state) == 9
    make_room_for_journal(str(tmp_path / "not there"), leave=0)


def test_two_that_need_room_take_turns_and_tear_no_hole_into_it(state: Path) -> None:
    path, done = f"{state}/{RESERVE}", threading.Event()

    def cut() -> None:
        shorten(path, PIECE, leave=0, most=ALL * PIECE)
        done.set()

    with open(path, "r+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        threading.Thread(target=cut, daemon=True).start()
        assert not done.wait(0.2)
        other.truncate(2 * PIECE)
    assert done.wait(5)
    assert pieces(state) == 1


@pytest.mark.root
def test_a_state_directory_that_is_a_full_disk_of_its_own_is_told_to_be_full(tmp_path: Path) -> None:
    disks, state = Disks(), tmp_path / "state"
    with disks:
        state.mkdir()
        disks.ext4(state, tmp_path / "image", 20)
        fill(state)
        assert "Its disk is full." in from_state(str(state), "No space left on device").hint
        assert "Its disk is full." in from_state(f"{state}/journal.sqlite3", "it cannot be opened").hint


def test_a_clear_tells_what_it_deleted_where_only_its_last_step_found_no_room(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.push()
    lab.poll()
    keep_reserves(str(lab.staging), str(lab.state))
    step, left = Station.end_life, [1]

    def end_life(self: Station, run_path: str) -> None:
        if left:
            left.pop()
            with staging_errors("forgetting the run"):
                raise OSError(errno.ENOSPC, "no")
        step(self, run_path)

    monkeypatch.setattr(Station, "end_life", end_life)
    with lab.station() as station:
        done, again = clear(station, lab.run(), by="ann"), clear(station, lab.run(), by="ann")
    assert (done.files_cleared, done.bytes_freed, left) == (3, 7, [])
    assert (again.files_cleared, again.bytes_freed) == (0, 0)


def test_a_clear_puts_it_back_at_once(lab: Lab) -> None:
    """Instruments that wait for room would have taken it all before the next pass."""
    lab.push()
    lab.cli("poll")
    os.truncate(lab.state / RESERVE, 0)
    assert lab.cli("clear", "--yes", RUN).returncode == 0
    assert pieces(lab.state) == ALL
