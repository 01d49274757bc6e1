"""Renames that never replace anything, with renameat2 and where a file system has none."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from exlab_orch.files import moves
from exlab_orch.files.moves import move
from exlab_orch.model import Place
from tests.files.tricks import ODD_NAMES, fails_with, write
from tests.mounts import Mounts


@pytest.fixture(params=["renameat2", "EINVAL", "ENOSYS"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders ``from`` and ``to`` on a file system that can rename without replacing, or on FUSE, which cannot."""
    if request.param != "renameat2":
        monkeypatch.setattr(moves, "rename_no_replace", fails_with(getattr(errno, request.param)))
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
    return tmp_path


def moved(root: Path, name: bytes, new_name: bytes | None = None) -> None:
    move(Place(str(root), "from"), os.fsdecode(name), Place(str(root), "to"), os.fsdecode(new_name or name))


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_file_of_any_name_moves_with_its_inode(root: Path, name: bytes) -> None:
    inode = os.stat(write(root / "from", name, b"content")).st_ino
    moved(root, name)
    assert os.listdir(root / "from") == []
    assert os.stat(os.path.join(os.fsencode(root / "to"), name)).st_ino == inode


def test_a_folder_moves_with_what_is_in_it(root: Path) -> None:
    write(root / "from", b"run/sub/a", b"content")
    moved(root, b"run", b"new name")
    assert (root / "to/new name/sub/a").read_bytes() == b"content"
    assert not (root / "from/run").exists()


@pytest.mark.parametrize("moving", ["file", "folder"])
@pytest.mark.parametrize("taken", ["file", "filled folder", "empty folder", "dangling link"])
def test_nothing_is_ever_replaced(root: Path, moving: str, taken: str) -> None:
    write(root / "from", b"x" if moving == "file" else b"x/a", b"ours")
    make: dict[str, Callable[[], object]] = {
        "file": lambda: write(root / "to", b"x", b"theirs"),
        "filled folder": lambda: write(root / "to", b"x/b", b"theirs"),
        "empty folder": (root / "to/x").mkdir,
        "dangling link": lambda: (root / "to/x").symlink_to("nowhere"),
    }
    make[taken]()
    before = (root / "to/x").lstat()
    with pytest.raises(FileExistsError):
        moved(root, b"x")
    assert (root / "from/x").exists()
    assert (root / "to/x").lstat().st_ino == before.st_ino


def test_a_link_is_moved_as_it_is(root: Path) -> None:
    write(root, b"target", b"content")
    (root / "from/link").symlink_to("../target")
    moved(root, b"link")
    assert os.readlink(root / "to/link") == "../target"
    assert (root / "target").read_bytes() == b"content"


def test_a_missing_source_is_an_error(root: Path) -> None:
    with pytest.raises(FileNotFoundError):
        moved(root, b"missing")


def test_both_folders_are_made_durable_the_new_place_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, b"from/x")
    (tmp_path / "to").mkdir()
    flushed: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: flushed.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
    )
    moved(tmp_path, b"x")
    assert flushed == ["to", "from"]


def test_a_link_in_place_of_a_folder_is_not_followed(root: Path) -> None:
    write(root / "from", b"x")
    (root / "link").symlink_to("to")
    with pytest.raises(OSError):
        move(Place(str(root), "from"), "x", Place(str(root), "link"), "x")
    assert (root / "from/x").exists()


@pytest.mark.root
def test_a_move_to_another_file_system_is_an_error_and_moves_nothing(tmp_path: Path) -> None:
    write(tmp_path, b"from/x")
    (tmp_path / "to").mkdir()
    with Mounts() as mounts:
        mounts.memory(tmp_path / "to")
        with pytest.raises(OSError) as raised:
            move(Place(str(tmp_path), "from"), "x", Place(str(tmp_path / "to"), ""), "x")
        assert raised.value.errno == errno.EXDEV
        assert os.listdir(tmp_path / "to") == []
    assert (tmp_path / "from/x").exists()
