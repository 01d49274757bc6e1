"""The system calls Python does not offer: contained opens, renames that replace nothing, birth, mounts, writers."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exlab_orch.files import linux
from exlab_orch.files.linux import birth_ns, has_writer, is_remote, mount_id, open_contained, rename_no_replace
from tests.files.tricks import ODD_NAMES, write


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


# -- openat2 -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_is_opened_as_the_bytes_it_is(tmp_path: Path, folder: int, name: bytes) -> None:
    write(tmp_path, b"sub/" + name, name)
    descriptor = open_contained(folder, b"sub/" + name, os.O_RDONLY)
    assert os.read(descriptor, 300) == name
    os.close(descriptor)


def test_an_opened_descriptor_is_not_inherited_by_programs(tmp_path: Path, folder: int) -> None:
    write(tmp_path, b"a")
    descriptor = open_contained(folder, b"a", os.O_RDONLY)
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        (b"link", errno.ELOOP),
        (b"linked/a", errno.ELOOP),
        (b"../outside", errno.EXDEV),
        (b"sub/../../outside", errno.EXDEV),
        (b"/etc/passwd", errno.EXDEV),
        (b"/proc/self/root", errno.EXDEV),
        (b"missing", errno.ENOENT),
    ],
)
def test_nothing_leads_out_of_the_folder(tmp_path: Path, name: bytes, number: int) -> None:
    inside = tmp_path / "inside"
    write(inside, b"sub/a")
    write(tmp_path, b"outside")
    (inside / "link").symlink_to("sub/a")
    (inside / "linked").symlink_to("sub")
    base = os.open(inside, os.O_RDONLY)
    with pytest.raises(OSError, match=re.escape(os.strerror(number))) as raised:
        open_contained(base, name, os.O_RDONLY)
    os.close(base)
    assert raised.value.errno == number
    assert raised.value.filename == os.fsdecode(name)


def test_a_contained_open_can_create_with_a_mode(tmp_path: Path, folder: int) -> None:
    os.close(open_contained(folder, b"new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


# -- renameat2 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_can_be_renamed(tmp_path: Path, folder: int, name: bytes) -> None:
    write(tmp_path, b"a", b"content")
    rename_no_replace(folder, b"a", folder, name)
    assert os.listdir(os.fsencode(tmp_path)) == [name]


def test_a_rename_never_replaces_a_file_or_an_empty_folder(tmp_path: Path, folder: int) -> None:
    write(tmp_path, b"a", b"ours")
    write(tmp_path, b"taken", b"theirs")
    (tmp_path / "moving").mkdir()
    (tmp_path / "empty").mkdir()
    for name, taken in ((b"a", b"taken"), (b"moving", b"empty")):
        with pytest.raises(FileExistsError):
            rename_no_replace(folder, name, folder, taken)
    assert (tmp_path / "a").read_bytes() == b"ours"
    assert (tmp_path / "taken").read_bytes() == b"theirs"
    assert (tmp_path / "moving").is_dir()


# -- statx ---------------------------------------------------------------------------------------------------


def test_the_birth_of_a_folder_is_when_it_was_made_and_stays_with_it(tmp_path: Path) -> None:
    before = time.time_ns()
    (tmp_path / "a").mkdir()
    after = time.time_ns()
    descriptor = os.open(tmp_path / "a", os.O_RDONLY)
    born = birth_ns(descriptor)
    if born is None:
        pytest.skip("this file system keeps no birth times")
    assert before - 50_000_000 <= born <= after
    (tmp_path / "a/x").touch()
    (tmp_path / "a").rename(tmp_path / "b")
    os.utime(tmp_path / "b", ns=(0, 0))
    assert birth_ns(descriptor) == born
    os.close(descriptor)


def test_the_mount_number_is_the_one_the_kernel_shows_elsewhere(folder: int) -> None:
    shown = Path(f"/proc/self/fdinfo/{folder}").read_text()
    assert re.search(rf"^mnt_id:\s+{mount_id(folder)}$", shown, re.MULTILINE)


def test_statx_of_a_closed_descriptor_is_an_error() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        birth_ns(10_000)


def test_a_file_system_is_remote_by_its_magic_number(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_remote(folder)
    magic = int(subprocess.check_output(["stat", "-f", "-c", "%t", str(tmp_path)]), 16)
    monkeypatch.setattr(linux, "_REMOTE", frozenset({magic}))
    assert is_remote(folder)


# -- open writers --------------------------------------------------------------------------------------------


def test_a_file_open_for_writing_has_a_writer_until_it_is_closed(tmp_path: Path) -> None:
    path = write(tmp_path, b"a")
    reading = os.open(path, os.O_RDONLY)
    assert not has_writer(reading)
    with open(path, "ab"):
        assert has_writer(reading)
    assert not has_writer(reading)
    os.close(reading)


def test_a_file_that_others_only_read_has_no_writer(tmp_path: Path) -> None:
    path = write(tmp_path, b"a")
    reading = os.open(path, os.O_RDONLY)
    with open(path, "rb"):
        assert not has_writer(reading)
    os.close(reading)


def test_looking_for_writers_leaves_no_lease_that_would_delay_one(tmp_path: Path) -> None:
    path = write(tmp_path, b"a")
    reading = os.open(path, os.O_RDONLY)
    has_writer(reading)
    assert fcntl.fcntl(reading, fcntl.F_GETLEASE) == fcntl.F_UNLCK
    os.close(reading)
