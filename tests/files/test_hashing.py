"""SHA-256 of what really is in a file: staged files by identity, NAS files past the page cache."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exlab_orch.errors import ChangedWhileCopied, ExlabError, PermissionRefused, SyncFailed
from exlab_orch.files.hashing import CHUNK, changed, flush, hash_staged, hash_up_to, read_back
from exlab_orch.files.places import identity_of
from exlab_orch.model import Identity
from tests.files.privilege import ordinary_user
from tests.files.tricks import LATE_WRITERS, ODD_NAMES, fails_with, watch_calls, write

SIZES = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def ignore(count: int) -> None:
    del count


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("read", [hash_staged, read_back])
def test_a_file_of_any_size_is_hashed_in_full(
    tmp_path: Path, folder: int, read: Callable[..., tuple[object, str]], size: int
) -> None:
    content = os.urandom(size)
    path = write(tmp_path, b"a", content)
    counted: list[int] = []
    assert read(folder, b"a", counted.append) == (identity_of(os.stat(path)), hashlib.sha256(content).hexdigest())
    assert sum(counted) == size


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_file_of_any_name_is_hashed(tmp_path: Path, folder: int, name: bytes) -> None:
    write(tmp_path, b"sub/" + name, name)
    assert hash_staged(folder, b"sub/" + name, ignore)[1] == hashlib.sha256(name).hexdigest()


def test_a_file_that_grows_while_it_is_hashed_is_not_chased(tmp_path: Path) -> None:
    path = write(tmp_path, b"a", b"x" * CHUNK)
    reading = os.open(path, os.O_RDONLY)

    def grow(count: int) -> None:
        with open(path, "ab") as file:
            file.write(bytes(count))

    digest, done = hash_up_to(reading, CHUNK, grow)
    os.close(reading)
    assert (digest.hexdigest(), done) == (hashlib.sha256(b"x" * CHUNK).hexdigest(), CHUNK)


def test_a_short_file_tells_how_much_there_was(tmp_path: Path) -> None:
    reading = os.open(write(tmp_path, b"a", b"abc"), os.O_RDONLY)
    digest, done = hash_up_to(reading, 100, ignore)
    os.close(reading)
    assert (digest.hexdigest(), done) == (hashlib.sha256(b"abc").hexdigest(), 3)


@pytest.mark.parametrize("what", LATE_WRITERS)
def test_a_staged_file_that_changes_while_it_is_read_has_no_hash(tmp_path: Path, folder: int, what: str) -> None:
    path = Path(os.fsdecode(write(tmp_path, b"a", b"x" * (CHUNK + 10))))
    writers = iter([LATE_WRITERS[what]])

    def once(count: int) -> None:
        for tamper in writers:
            tamper(path)

    with pytest.raises(ChangedWhileCopied):
        hash_staged(folder, b"a", once)


def test_a_store_through_a_mapping_is_never_behind_an_unchanged_identity(tmp_path: Path, folder: int) -> None:
    if subprocess.check_output(["stat", "-f", "-c", "%T", tmp_path], text=True).strip() in ("tmpfs", "ramfs"):
        pytest.skip("a file system in memory does not notice stores through mappings")
    path = write(tmp_path, b"a", b"x" * 4096)
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        mapping[0] = 1
        first = hash_staged(folder, b"a", ignore)
        mapping[0] = 2
        second = hash_staged(folder, b"a", ignore)
    assert first[1] != second[1]
    assert first[0] != second[0]


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_only_a_plain_staged_file_is_hashed(tmp_path: Path, folder: int, kind: str) -> None:
    make: dict[str, Callable[[Path], object]] = {
        "link": lambda path: path.symlink_to("/etc/hostname"),
        "fifo": os.mkfifo,
        "folder": os.mkdir,
    }
    make[kind](tmp_path / "a")
    with pytest.raises(ChangedWhileCopied):
        hash_staged(folder, b"a", ignore)
    with pytest.raises(ExlabError):
        read_back(folder, b"a", ignore)


def test_a_staged_file_that_may_not_be_read_is_a_problem_of_the_run(tmp_path: Path, folder: int) -> None:
    os.chmod(write(tmp_path, b"a"), 0o000)
    with ordinary_user(), pytest.raises(PermissionRefused):
        hash_staged(folder, b"a", ignore)


def test_a_file_that_is_not_on_the_nas_is_told_from_one_that_cannot_be_read(tmp_path: Path, folder: int) -> None:
    with pytest.raises(FileNotFoundError):
        read_back(folder, b"missing", ignore)
    os.chmod(write(tmp_path, b"a"), 0o000)
    with ordinary_user(), pytest.raises(PermissionRefused):
        read_back(folder, b"a", ignore)


def test_what_is_read_back_was_flushed_and_dropped_from_memory_first(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, b"a")
    calls = watch_calls(monkeypatch, "fsync", "posix_fadvise", "readv")
    read_back(folder, b"a", ignore)
    assert calls[:3] == ["fsync", "posix_fadvise", "readv"]


def test_a_failed_flush_is_an_error_and_its_file_is_not_trusted(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, b"a")
    monkeypatch.setattr(os, "fsync", fails_with(errno.EIO))
    with pytest.raises(SyncFailed):
        read_back(folder, b"a", ignore)
    with pytest.raises(SyncFailed):
        hash_staged(folder, b"a", ignore)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EROFS, errno.EBADF, errno.ENOTSUP])
def test_a_file_system_that_cannot_flush_what_is_open_to_read_is_let_pass(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", fails_with(number))
    flush(0)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_the_error_of_a_changed_file_carries_its_name_and_no_raw_byte_of_it(name: bytes) -> None:
    error = changed(name)
    assert error.files == (name,)
    assert error.message.isprintable()
    error.message.encode()


def test_on_a_disk_that_keeps_whole_seconds_an_identity_is_taken_when_the_second_is_over(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change in the same second would bear the same time."""
    write(tmp_path, b"a", b"aaa")
    waited: list[float] = []
    whole = Identity(1, 3, 5_000_000_000, 5_000_000_000)
    monkeypatch.setattr("exlab_orch.files.hashing.identity_of", lambda _: whole)
    monkeypatch.setattr("exlab_orch.files.hashing.time.time_ns", lambda: 5_500_000_000 + int(sum(waited) * 1e9))
    monkeypatch.setattr("exlab_orch.files.hashing.pause", waited.append)
    hash_staged(folder, b"a", ignore)
    assert sum(waited) == pytest.approx(1.5)


def test_a_file_whose_time_never_rests_is_not_compared(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, b"a", b"aaa")
    monkeypatch.setattr("exlab_orch.files.hashing.pause", lambda _: None)
    monkeypatch.setattr("exlab_orch.files.hashing.time.time_ns", lambda: os.fstat(folder).st_ctime_ns)
    stamps = iter(range(1, 100))
    now = os.fstat(folder).st_ctime_ns
    monkeypatch.setattr("exlab_orch.files.hashing.identity_of", lambda _: Identity(1, 3, 1, now + next(stamps)))
    with pytest.raises(ChangedWhileCopied):
        hash_staged(folder, b"a", ignore)
