"""The room kept in the state directory: a full disk that holds staging and state can be cleared all the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from exlab_orch.errors import from_state
from exlab_orch.reserve import RESERVE, give_up_reserve, keep_reserve
from tests.faults.test_b_disks import Disks, fill
from tests.lab import RUN, Lab
from tests.oracle import require_cleared


@pytest.mark.parametrize("mode", ["manual", "scheduled"])
def test_a_full_disk_with_staging_and_state_on_it_is_cleared_by_one_command_and_passes_go_on(
    tmp_path: Path, mode: str
) -> None:
    disks = Disks()
    with disks:
        (tmp_path / "disk").mkdir()
        disks.ext4(tmp_path / "disk", tmp_path / "image", 100)
        lab = Lab(tmp_path / "disk", cleanup=f'mode = "{mode}"\nretain_hours = 100', nas_folder=tmp_path / "nas")
        lab.push()
        assert lab.cli("poll").returncode == 0
        reserve = lab.state / RESERVE
        assert reserve.stat().st_size == reserve.stat().st_blocks * 512 == 4 << 20
        filler = fill(lab.staging)
        refused = lab.cli("poll")
        assert (refused.returncode, reserve.exists()) == ((69, True) if mode == "manual" else (0, False))
        if mode == "manual":
            assert "Its disk is full." in refused.stderr
            assert "exlab-orch clear --all-verified" in refused.stderr
        assert lab.cli("clear", "--all-verified", "--yes").returncode == 0
        require_cleared(lab, RUN)
        assert lab.cli("poll").returncode == 0
        filler.unlink()
        assert lab.cli("poll").returncode == 0
        assert reserve.exists()


def test_a_state_directory_that_is_a_full_disk_of_its_own_is_told_to_be_full(tmp_path: Path) -> None:
    disks, state = Disks(), tmp_path / "state"
    with disks:
        state.mkdir()
        disks.ext4(state, tmp_path / "image", 20)
        fill(state)
        assert "Its disk is full." in from_state(str(state), "No space left on device").hint
        assert "Its disk is full." in from_state(f"{state}/journal.sqlite3", "it cannot be opened").hint


def test_where_there_is_room_nothing_is_given_up_and_one_reserve_is_enough(tmp_path: Path) -> None:
    keep_reserve(str(tmp_path))
    first = (tmp_path / RESERVE).stat()
    give_up_reserve(str(tmp_path))
    keep_reserve(str(tmp_path))
    assert os.listdir(tmp_path) == [RESERVE]
    assert (tmp_path / RESERVE).stat().st_ino == first.st_ino


def test_a_reserve_that_was_cut_short_is_filled_up(tmp_path: Path) -> None:
    (tmp_path / RESERVE).write_bytes(b"short")
    keep_reserve(str(tmp_path))
    assert (tmp_path / RESERVE).stat().st_size == 4 << 20


@pytest.mark.parametrize("is_owner", [True, False])
def test_only_the_owner_of_the_state_directory_gives_it_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_owner: bool
) -> None:
    keep_reserve(str(tmp_path))
    monkeypatch.setattr("exlab_orch.reserve._free_bytes", lambda _folder: 0)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + (0 if is_owner else 1))
    give_up_reserve(str(tmp_path))
    assert (tmp_path / RESERVE).exists() is not is_owner


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    state, outside = tmp_path / "state", tmp_path / "outside"
    state.mkdir()
    outside.write_bytes(b"theirs")
    (state / RESERVE).symlink_to(outside)
    keep_reserve(str(state))
    assert outside.read_bytes() == b"theirs"


def test_what_bears_its_name_and_is_something_else_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exlab_orch.reserve._free_bytes", lambda _folder: 0)
    (tmp_path / RESERVE).mkdir()
    give_up_reserve(str(tmp_path))
    keep_reserve(str(tmp_path))
    give_up_reserve(str(tmp_path / "not there"))
    assert (tmp_path / RESERVE).is_dir()
