"""Copying a batch: each file exactly as it was walked, proved by reading it back, or an error and no excuse."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from exlab_orch.errors import ChangedWhileCopied, ExlabError, NasFull, PermissionRefused, SyncFailed
from exlab_orch.files import copy as copy_module
from exlab_orch.files.copy import Batch, Copied, copy_batch
from exlab_orch.files.hashing import CHUNK, OnBytes
from exlab_orch.files.hashing import read_back as real_read_back
from exlab_orch.files.places import PLAIN, Style, identity_of
from exlab_orch.files.walk import walk
from exlab_orch.model import Identity, Place
from tests.files.privilege import ordinary_user
from tests.files.tricks import LATE_WRITERS, ODD_NAMES, fails_with, open_descriptors, watch_calls, write


class Bench:
    """A run folder and the hidden folder it is copied into."""

    def __init__(self, root: Path) -> None:
        self.run, self.part = root / "run", root / "part"
        self.run.mkdir()
        self.part.mkdir()

    def batch(self, style: Style = PLAIN) -> Batch:
        listing = walk(Place(str(self.run), ""))
        for folder in sorted(listing.folders):
            os.makedirs(os.path.join(os.fsencode(self.part), folder), exist_ok=True)
        return Batch(Place(str(self.run), ""), Place(str(self.part), ""), tuple(listing.files.items()), style)

    def copied(self, name: bytes) -> bytes:
        with open(os.path.join(os.fsencode(self.part), name), "rb") as file:
            return file.read()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def ignore(count: int) -> None:
    del count


def copy(batch: Batch, on_bytes: OnBytes = ignore) -> dict[bytes, Copied]:
    return {one.name: one for one in copy_batch(batch, on_bytes)}


def test_each_copy_is_byte_for_byte_what_was_staged(bench: Bench) -> None:
    contents = {b"zero": b"", b"one": b"1", b"sub/chunks": os.urandom(2 * CHUNK + 7)}
    for name, content in contents.items():
        write(bench.run, name, content)
    counted: list[int] = []
    batch = bench.batch()
    done = copy(batch, counted.append)
    assert done.keys() == contents.keys()
    for name, content in contents.items():
        assert bench.copied(name) == content
        assert done[name].sha256 == done[name].read_back_sha256 == hashlib.sha256(content).hexdigest()
        assert done[name].proved
        assert done[name].identity == dict(batch.files)[name]
    assert sum(counted) == 2 * CHUNK + 8


def test_the_stamp_is_the_identity_of_the_copy(bench: Bench) -> None:
    write(bench.run, b"a")
    assert copy(bench.batch())[b"a"].stamp == identity_of((bench.part / "a").stat())


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_is_copied_as_it_is(bench: Bench, name: bytes) -> None:
    write(bench.run, b"sub/" + name, name)
    copy(bench.batch())
    assert os.listdir(os.path.join(os.fsencode(bench.part), b"sub")) == [name]
    assert bench.copied(b"sub/" + name) == name


@pytest.mark.parametrize("seconds", [-86_400, 0, 7_258_118_400, 12_000_000_000], ids=["1969", "1970", "2200", "2350"])
def test_the_time_of_a_file_is_kept_however_odd(bench: Bench, seconds: int) -> None:
    path = write(bench.run, b"a")
    os.utime(path, ns=(0, seconds * 1_000_000_000 + 123_456_789))
    copy(bench.batch())
    assert (bench.part / "a").stat().st_mtime_ns == os.stat(path).st_mtime_ns


def test_a_copy_has_the_mode_of_the_nas_and_is_never_setuid(bench: Bench) -> None:
    os.chmod(write(bench.run, b"a"), 0o4777)
    copy(bench.batch(Style(file_mode=0o4640)))
    assert stat.S_IMODE((bench.part / "a").stat().st_mode) == 0o640
    (bench.part / "a").unlink()
    copy(bench.batch())
    assert not (bench.part / "a").stat().st_mode & (stat.S_ISUID | stat.S_ISGID)


def test_two_names_of_one_staged_file_become_two_files(bench: Bench) -> None:
    write(bench.run, b"a")
    os.link(bench.run / "a", bench.run / "b")
    copy(bench.batch())
    assert (bench.part / "a").stat().st_ino != (bench.part / "b").stat().st_ino


# -- the staged file is not what was walked ------------------------------------------------------------------


@pytest.mark.parametrize("field", ["inode", "size", "mtime_ns", "ctime_ns"])
def test_a_file_with_another_identity_is_not_even_begun(bench: Bench, field: str) -> None:
    write(bench.run, b"a")
    batch = bench.batch()
    name, identity = batch.files[0]
    other: Identity = replace(identity, **{field: getattr(identity, field) + 1})
    with pytest.raises(ChangedWhileCopied):
        copy(replace(batch, files=((name, other),)))
    assert os.listdir(bench.part) == []


@pytest.mark.parametrize("what", LATE_WRITERS)
def test_a_file_that_changes_while_it_is_copied_is_not_a_copy(bench: Bench, what: str) -> None:
    path = Path(os.fsdecode(write(bench.run, b"a", b"x" * (CHUNK + 10))))
    writers = iter([LATE_WRITERS[what]])

    def once(count: int) -> None:
        for tamper in writers:
            tamper(path)

    with pytest.raises(ChangedWhileCopied):
        copy(bench.batch(), once)


def test_a_file_that_never_stops_growing_is_not_chased(bench: Bench) -> None:
    path = write(bench.run, b"a", b"x" * CHUNK)
    counted: list[int] = []

    def grow(count: int) -> None:
        counted.append(count)
        with open(path, "ab") as file:
            file.write(bytes(2 * count))

    with pytest.raises(ChangedWhileCopied):
        copy(bench.batch(), grow)
    assert sum(counted) == CHUNK
    assert (bench.part / "a").stat().st_size == CHUNK


def test_a_file_that_became_a_link_is_not_followed(bench: Bench, tmp_path: Path) -> None:
    write(tmp_path, b"secret")
    write(bench.run, b"a")
    batch = bench.batch()
    (bench.run / "a").unlink()
    (bench.run / "a").symlink_to(tmp_path / "secret")
    with pytest.raises(ChangedWhileCopied):
        copy(batch)
    assert os.listdir(bench.part) == []


def test_a_folder_on_the_way_that_became_a_link_is_not_followed(bench: Bench, tmp_path: Path) -> None:
    write(bench.run, b"sub/a")
    batch = bench.batch()
    (bench.run / "sub").rename(tmp_path / "moved")
    (bench.run / "sub").symlink_to(tmp_path / "moved")
    with pytest.raises(ChangedWhileCopied):
        copy(batch)


def test_an_unreadable_file_is_a_problem_of_the_run(bench: Bench) -> None:
    os.chmod(write(bench.run, b"a"), 0o000)
    batch = bench.batch()
    with ordinary_user(), pytest.raises(PermissionRefused):
        copy(batch)


# -- the NAS -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("taken", ["file", "link", "folder"])
def test_what_stands_in_the_hidden_folder_is_never_overwritten(bench: Bench, tmp_path: Path, taken: str) -> None:
    write(bench.run, b"a", b"new")
    write(tmp_path, b"outside", b"old")
    make: dict[str, Callable[[], object]] = {
        "file": lambda: write(bench.part, b"a", b"old"),
        "link": lambda: (bench.part / "a").symlink_to(tmp_path / "outside"),
        "folder": (bench.part / "a").mkdir,
    }
    make[taken]()
    with pytest.raises(ExlabError):
        copy(bench.batch())
    assert (tmp_path / "outside").read_bytes() == b"old"
    assert taken != "file" or bench.copied(b"a") == b"old"


@pytest.mark.parametrize(
    ("call", "number", "error"),
    [
        ("write", errno.ENOSPC, NasFull),
        ("write", errno.EDQUOT, NasFull),
        ("write", errno.EIO, SyncFailed),
        ("fsync", errno.ENOSPC, NasFull),
        ("fsync", errno.EIO, SyncFailed),
        ("utime", errno.EIO, SyncFailed),
    ],
)
def test_an_error_of_the_nas_is_raised_as_what_it_is_and_nothing_stays_open(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, call: str, number: int, error: type[ExlabError]
) -> None:
    for name in (b"a", b"b"):
        write(bench.run, name)
    batch = bench.batch()
    before = open_descriptors()
    monkeypatch.setattr(os, call, fails_with(number))
    if call == "fsync":  # the staged file is flushed too; that one succeeds
        monkeypatch.setattr("exlab_orch.files.hashing.flush", ignore)
    with pytest.raises(error):
        copy(batch)
    assert open_descriptors() == before


def test_nothing_stays_open_after_a_batch(bench: Bench) -> None:
    for number in range(5):
        write(bench.run, b"%d" % number)
    before = open_descriptors()
    copy(bench.batch())
    assert open_descriptors() == before


def test_short_writes_are_carried_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    write(bench.run, b"a", b"0123456789")
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: real(descriptor, content[:3]))
    assert copy(bench.batch())[b"a"].proved
    assert bench.copied(b"a") == b"0123456789"


def test_short_reads_are_carried_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    write(bench.run, b"a", b"0123456789")
    real = os.readv
    monkeypatch.setattr(os, "readv", lambda descriptor, buffers: real(descriptor, [buffers[0][:3]]))
    assert copy(bench.batch())[b"a"].proved
    assert bench.copied(b"a") == b"0123456789"


def test_everything_is_flushed_before_anything_is_read_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (b"a", b"b"):
        write(bench.run, name)
    batch = bench.batch()
    monkeypatch.setattr("exlab_orch.files.hashing.flush", ignore)
    calls = watch_calls(monkeypatch, "write", "fsync", "posix_fadvise")
    copy(batch)
    assert calls == ["write", "write", "fsync", "fsync", "posix_fadvise", "posix_fadvise"]


def test_a_copy_that_reads_back_differently_is_not_proved(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    write(bench.run, b"a", b"good")
    write(bench.run, b"b", b"good")

    def damage_first(folder: int, name: bytes, on_bytes: OnBytes) -> tuple[Identity, str]:
        if name == b"b":
            (bench.part / "b").write_bytes(b"goof")
        return real_read_back(folder, name, on_bytes)

    monkeypatch.setattr(copy_module, "read_back", damage_first)
    done = copy(bench.batch())
    assert done[b"a"].proved
    assert not done[b"b"].proved
    assert done[b"b"].sha256 == hashlib.sha256(b"good").hexdigest()


def test_a_batch_can_be_handed_to_another_process_and_so_can_what_it_did(bench: Bench) -> None:
    write(bench.run, b"\xff", b"content")
    batch: Batch = pickle.loads(pickle.dumps(bench.batch()))
    done = copy(batch)
    assert pickle.loads(pickle.dumps(done)) == done
