"""Holds: kept as files beside the runs, and whatever cannot be understood holds."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exlab_orch.errors import RunProblem
from exlab_orch.holds import HOLDS_PATH, Hold, end_hold, hold_of, may_be_held, put_hold
from tests.files.privilege import ordinary_user

NOW = datetime(2026, 4, 17, 12, 0, tzinfo=UTC)
RUN = "FLOW_01/PROJ-1/Runs/Run_1"
HOLD = Hold(RUN, "paper under review [bold] \x1b", "anna", "2026-04-17T12:00:00.000Z")


def the_file(root: Path) -> Path:
    (name,) = os.listdir(root / HOLDS_PATH)
    return root / HOLDS_PATH / name


def held(root: Path, now: datetime = NOW, run: str = RUN) -> Hold | None:
    return hold_of(str(root), run, now)


def test_a_hold_stands_for_its_run_alone_until_it_is_ended(tmp_path: Path) -> None:
    put_hold(str(tmp_path), HOLD)
    assert held(tmp_path) == HOLD
    assert held(tmp_path, run=RUN + "x") is None
    assert end_hold(str(tmp_path), RUN)
    assert held(tmp_path) is None
    assert not end_hold(str(tmp_path), RUN)
    assert os.listdir(tmp_path / HOLDS_PATH) == []


def test_without_a_folder_of_holds_nothing_is_held_and_nothing_is_made(tmp_path: Path) -> None:
    assert held(tmp_path) is None
    assert not end_hold(str(tmp_path), RUN)
    assert os.listdir(tmp_path) == []


def test_one_look_at_the_folder_tells_which_runs_may_be_held(tmp_path: Path) -> None:
    assert not may_be_held(str(tmp_path))(RUN)
    put_hold(str(tmp_path), HOLD)
    assert may_be_held(str(tmp_path))(RUN)
    assert not may_be_held(str(tmp_path))(RUN + "x")


@pytest.mark.parametrize("odd", ["a link", "a file"])
def test_where_the_folder_of_holds_cannot_be_looked_at_any_run_may_be_held(tmp_path: Path, odd: str) -> None:
    place = tmp_path / "staging" / HOLDS_PATH
    place.parent.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    place.symlink_to(tmp_path / "elsewhere") if odd == "a link" else place.touch()
    assert held(tmp_path / "staging") is not None
    assert may_be_held(str(tmp_path / "staging"))(RUN)


def test_a_second_hold_takes_the_place_of_the_first(tmp_path: Path) -> None:
    put_hold(str(tmp_path), HOLD)
    other = Hold(RUN, "another reason", "ben", HOLD.at)
    put_hold(str(tmp_path), other)
    assert held(tmp_path) == other


@pytest.mark.parametrize(
    "run", ["A/B/Runs/Run_\u202e[x]", "A/new\nline/Run_1", "A/" + "x" * 250 + "/Runs/Run_" + "y" * 240]
)
def test_a_run_of_any_name_can_be_held(tmp_path: Path, run: str) -> None:
    put_hold(str(tmp_path), Hold(run, "because", "anna", HOLD.at))
    assert held(tmp_path, run=run) is not None


def test_a_hold_ends_exactly_at_its_end(tmp_path: Path) -> None:
    end = NOW + timedelta(days=1)
    put_hold(str(tmp_path), Hold(RUN, "until then", "anna", HOLD.at, until="2026-04-18T12:00:00.000Z"))
    assert held(tmp_path, end - timedelta(milliseconds=1)) is not None
    assert held(tmp_path, end) is None


@pytest.mark.parametrize("until", ["soon", "2026-04-16", "2026-04-16T00:00:00", "2026-99-99T00:00:00Z"])
def test_an_end_that_cannot_be_understood_is_no_end(until: str) -> None:
    assert Hold(RUN, "because", "anna", HOLD.at, until=until).holds_at(NOW)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 50,
        b"{",
        b"null",
        b'["a", "b", "c", "d"]',
        b"[" * 30_000,
        b'{"run_path": "x", "reason": "r", "by": "b"}',
        b'{"run_path": "x", "reason": 5, "by": "b", "at": "a"}',
        b'{"run_path": "x", "reason": "r", "by": "b", "at": "a", "until": 5}',
        b'{"run_path": "x", "reason": "r", "by": "b", "at": "a", "new field": "x"}',
        b" " * (65 << 10),
    ],
)
def test_a_hold_file_that_cannot_be_understood_holds(tmp_path: Path, content: bytes) -> None:
    put_hold(str(tmp_path), HOLD)
    the_file(tmp_path).write_bytes(content)
    hold = held(tmp_path)
    assert hold is not None
    assert hold.run_path == RUN or hold.run_path == "x"
    assert isinstance(hold.reason, str)


@pytest.mark.parametrize("kind", ["folder", "fifo", "link", "closed"])
def test_something_odd_in_place_of_a_hold_file_holds(tmp_path: Path, kind: str) -> None:
    put_hold(str(tmp_path), HOLD)
    path = the_file(tmp_path)
    if kind == "closed":
        path.chmod(0o000)
    else:
        path.unlink()
        make: dict[str, Callable[[], object]] = {
            "folder": path.mkdir,
            "fifo": lambda: os.mkfifo(path),
            "link": lambda: path.symlink_to("nowhere"),
        }
        make[kind]()
    with ordinary_user():
        assert held(tmp_path) is not None


def test_a_folder_of_holds_that_may_not_be_entered_holds_every_run(tmp_path: Path) -> None:
    put_hold(str(tmp_path), HOLD)
    (tmp_path / HOLDS_PATH).chmod(0o000)
    with ordinary_user():
        assert held(tmp_path, run="any/other/Run_1") is not None


def test_a_hold_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunProblem):
        put_hold(str(tmp_path / "missing"), HOLD)
    assert not (tmp_path / "missing").exists()
