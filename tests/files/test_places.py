"""Opening, looking, reading small files and making folders: contained, and an error is never "not there"."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from exlab_orch.errors import PermissionRefused
from exlab_orch.files import places
from exlab_orch.files.places import (
    PLAIN,
    Style,
    exists,
    identity_of,
    is_folder,
    leaf_identity,
    make_folder,
    make_folders,
    open_file,
    open_folder,
    opened,
    read_small,
    status_of,
    sync_folder,
)
from exlab_orch.model import Place
from tests.files.privilege import nobody, ordinary_user
from tests.files.tricks import NOT_FOLLOWED, ODD_NAMES, fails_with, write


def place(root: Path, path: str = "") -> Place:
    return Place(str(root), path)


def close(descriptor: int) -> None:
    os.close(descriptor)


# -- descriptors ---------------------------------------------------------------------------------------------


def test_an_error_of_close_is_an_error() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"), opened(10_000):
        pass


def test_a_descriptor_is_closed_when_the_block_fails(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(KeyError), opened(descriptor):
        raise KeyError
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.parametrize("path", ["real", "real/deep", ""])
def test_a_folder_below_the_root_is_opened(tmp_path: Path, path: str) -> None:
    (tmp_path / "real/deep").mkdir(parents=True)
    with opened(open_folder(place(tmp_path, path))) as folder:
        assert os.fstat(folder).st_ino == (tmp_path / path).stat().st_ino


@pytest.mark.parametrize("path", ["link", "link/deep", "real/file", "real/file/x"])
def test_a_link_or_a_file_in_place_of_a_folder_is_an_error(tmp_path: Path, path: str) -> None:
    write(tmp_path, b"real/file")
    (tmp_path / "real/deep").mkdir()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(OSError) as raised:
        open_folder(place(tmp_path, path))
    assert raised.value.errno in NOT_FOLLOWED


@pytest.mark.parametrize("kind", ["fifo", "folder", "link"])
def test_only_a_regular_file_is_opened_and_nothing_hangs(tmp_path: Path, kind: str) -> None:
    odd_entry(tmp_path / "odd", kind)
    with opened(open_folder(place(tmp_path))) as folder, pytest.raises(OSError):
        open_file(folder, b"odd")


def odd_entry(path: Path, kind: str) -> None:
    make: dict[str, Callable[[Path], object]] = {
        "fifo": os.mkfifo,
        "folder": os.mkdir,
        "link": lambda path: path.symlink_to("/etc/hostname"),
    }
    make[kind](path)


# -- identities ----------------------------------------------------------------------------------------------


def test_an_identity_is_inode_size_and_both_times(tmp_path: Path) -> None:
    status = os.stat(write(tmp_path, b"a", b"12345"))
    identity = identity_of(status)
    assert (identity.inode, identity.size) == (status.st_ino, 5)
    assert (identity.mtime_ns, identity.ctime_ns) == (status.st_mtime_ns, status.st_ctime_ns)


def test_a_folder_made_anew_is_another_leaf_even_with_the_old_inode(tmp_path: Path) -> None:
    seen = set()
    for _ in range(3):
        (tmp_path / "run").mkdir()
        seen.add(leaf_identity(place(tmp_path, "run")).text())
        (tmp_path / "run").rmdir()
    assert len(seen) == 3


def test_a_leaf_stays_the_same_when_it_is_moved_or_filled(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    before = leaf_identity(place(tmp_path, "run"))
    write(tmp_path, b"run/a")
    (tmp_path / "run").rename(tmp_path / "moved")
    assert leaf_identity(place(tmp_path, "moved")) == before


# -- is it there? --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["run", "missing", "missing/deeper"])
def test_what_is_missing_is_an_answer_and_no_error(tmp_path: Path, path: str) -> None:
    (tmp_path / "run").mkdir()
    where = place(tmp_path, path)
    assert not exists(where, "a")
    assert status_of(where, "a") is None
    assert read_small(where, "a", 10) is None
    assert is_folder(where) == (path == "run")


def test_an_entry_of_any_kind_exists(tmp_path: Path) -> None:
    write(tmp_path, b"file")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to("nowhere")
    assert all(exists(place(tmp_path), name) for name in ("file", "fifo", "dangling"))


def test_the_status_of_a_link_is_its_own(tmp_path: Path) -> None:
    write(tmp_path, b"file", b"long content")
    (tmp_path / "link").symlink_to("file")
    found = status_of(place(tmp_path), "link")
    assert found is not None
    assert found.inode == (tmp_path / "link").lstat().st_ino


@pytest.mark.parametrize(
    "look",
    [
        lambda where: exists(where.below("closed"), "a"),
        lambda where: status_of(where.below("closed"), "a"),
        lambda where: read_small(where.below("closed"), "a", 10),
        lambda where: is_folder(where.below("closed/deeper")),
    ],
)
def test_a_folder_that_may_not_be_entered_is_an_error_and_not_absence(
    tmp_path: Path, look: Callable[[Place], object]
) -> None:
    (tmp_path / "closed").mkdir(mode=0o000)
    with ordinary_user(), pytest.raises(PermissionError):
        look(place(tmp_path))


def test_a_link_in_place_of_a_folder_is_neither_a_folder_nor_absent(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(OSError):
        is_folder(place(tmp_path, "link"))


# -- small files ---------------------------------------------------------------------------------------------


def test_a_small_file_is_read_with_its_identity(tmp_path: Path) -> None:
    path = write(tmp_path, b"a", b"0123456789")
    assert read_small(place(tmp_path), "a", 10) == (b"0123456789", identity_of(os.stat(path)))


def test_a_file_over_the_limit_is_refused_and_not_cut(tmp_path: Path) -> None:
    write(tmp_path, b"a", b"0123456789+")
    with pytest.raises(OSError) as raised:
        read_small(place(tmp_path), "a", 10)
    assert raised.value.errno == errno.EFBIG


@pytest.mark.parametrize("kind", ["fifo", "folder", "link"])
def test_what_is_no_plain_file_is_an_error_and_not_absent(tmp_path: Path, kind: str) -> None:
    odd_entry(tmp_path / "a", kind)
    with pytest.raises(OSError):
        read_small(place(tmp_path), "a", 1 << 20)


def test_no_more_is_read_than_the_size_at_open(tmp_path: Path) -> None:
    descriptor = os.open(write(tmp_path, b"a", b"0123456789"), os.O_RDONLY)
    with opened(descriptor):
        assert places.read_exactly(descriptor, 4) == b"0123"
        assert places.read_exactly(descriptor, 100) == b"456789"


# -- durable folders -----------------------------------------------------------------------------------------


def test_a_file_system_that_cannot_flush_folders_is_let_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", fails_with(errno.EINVAL))
    sync_folder(0)


def test_a_folder_that_cannot_be_flushed_for_another_reason_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", fails_with(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        sync_folder(0)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_folders_of_any_name_are_made(tmp_path: Path, name: bytes) -> None:
    make_folders(place(tmp_path, os.fsdecode(b"x/" + name + b"/y")))
    assert os.path.isdir(os.path.join(os.fsencode(tmp_path), b"x", name, b"y"))


def test_the_root_is_never_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        make_folders(Place(str(tmp_path / "nas"), "A/B"))
    assert not (tmp_path / "nas").exists()


def test_no_folder_is_made_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root/link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        make_folders(place(tmp_path / "root", "link/new"))
    with pytest.raises(OSError):
        make_folders(place(tmp_path / "root", "link"))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_each_new_folder_is_durable_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    mkdir, fsync = os.mkdir, os.fsync

    def note_mkdir(name: bytes, *, dir_fd: int) -> None:
        calls.append(f"mkdir {os.fsdecode(name)}")
        mkdir(name, dir_fd=dir_fd)

    def note_fsync(descriptor: int) -> None:
        calls.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        fsync(descriptor)

    monkeypatch.setattr(os, "mkdir", note_mkdir)
    monkeypatch.setattr(os, "fsync", note_fsync)
    make_folders(place(tmp_path, "a/b"))
    assert calls == ["mkdir a", f"fsync {tmp_path.name}", "mkdir b", "fsync a"]


# -- modes and groups ----------------------------------------------------------------------------------------


def test_new_folders_get_the_mode_and_old_ones_keep_theirs(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir(mode=0o700)
    make_folders(place(tmp_path, "old/new"), Style(dir_mode=0o2775))
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "old/new").stat().st_mode) == 0o2775


def test_nothing_we_make_is_ever_setuid(tmp_path: Path) -> None:
    with opened(os.open(tmp_path, os.O_RDONLY)) as root:
        make_folder(root, b"a", Style(dir_mode=0o4755))
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o755


@pytest.mark.parametrize(
    ("insist", "number", "is_error"),
    [(False, errno.EPERM, False), (False, errno.ENOTSUP, False), (True, errno.EPERM, True), (False, errno.EIO, True)],
)
def test_a_refused_mode_is_an_error_only_where_somebody_asked_for_it(
    monkeypatch: pytest.MonkeyPatch, insist: bool, number: int, is_error: bool
) -> None:
    monkeypatch.setattr(os, "fchmod", fails_with(number))
    style = Style(file_mode=0o664, insist=insist)
    if is_error:
        with pytest.raises(OSError):
            style.apply(0, 0o664)
    else:
        style.apply(0, 0o664)


def test_a_group_that_the_user_is_not_in_is_told_with_the_command_that_puts_the_user_into_it(tmp_path: Path) -> None:
    mine = {os.getegid(), *os.getgroups()}
    group = next(one for one in grp.getgrall() if one.gr_gid not in mine)
    with (tmp_path / "a").open("wb") as file:
        if os.geteuid() == 0:
            os.fchown(file.fileno(), pwd.getpwnam("nobody").pw_uid, -1)
        with nobody(), pytest.raises(PermissionRefused, match="is not in the group") as refused:
            Style(gid=group.gr_gid, insist=True).apply(file.fileno(), None)
    assert f"sudo usermod -aG {group.gr_name} " in refused.value.hint


def test_a_group_that_the_nas_gives_to_nobody_is_not_mended_by_a_membership(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fchown", fails_with(errno.EPERM))
    monkeypatch.setattr(os, "getgroups", lambda: [4711])
    with pytest.raises(PermissionRefused, match="'4711'") as refused:
        Style(gid=4711, insist=True).apply(0, None)
    assert "usermod" not in refused.value.hint


def test_a_plain_style_asks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fchmod", fails_with(errno.EIO))
    monkeypatch.setattr(os, "fchown", fails_with(errno.EIO))
    PLAIN.apply(0, PLAIN.file_mode)
