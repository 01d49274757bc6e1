"""What the far side prints, and what is never concluded from garbage."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from exlab_orch.model import Identity
from exlab_orch.space import Space
from exlab_orch.transports import rsync_output as told
from tests.oracle import require_program

SHA = "ab" * 32


def entry(kind: str, name: str, *, device: int = 7, size: int = 3) -> bytes:
    return f"{kind} {device} 11 {size} 1700000000.1234567890 1700000001.5000000000 {name}\0".encode()


def test_an_entry_of_find_has_its_whole_identity() -> None:
    (found,) = told.found(entry("f", "sub/a b\nc"))
    identity = Identity(11, 3, 1_700_000_000_123_456_789, 1_700_000_001_500_000_000)
    assert found == told.Entry(b"sub/a b\nc", identity, "file")


def test_what_is_neither_file_nor_folder_or_lies_on_another_disk_is_special() -> None:
    output = entry("d", "", size=4096) + b"".join(entry(kind, kind) for kind in "dlpsbcU") + entry("d", "m", device=8)
    kinds = [one.kind for one in told.found(output)]
    assert kinds == ["folder", "folder", "link", "fifo", "socket", "device", "device", "device", "mount"]
    assert next(told.found(output)).identity.size == 0


def test_names_that_were_given_come_back_without_the_dot_in_front() -> None:
    assert [one.name for one in told.found(entry("f", "./-rf") + entry("f", "./."))] == [b"-rf", b"."]


@pytest.mark.parametrize("output", [b"hello", entry("f", "a")[:-1], entry("f", "a") + b"x", b"\0", b"Welcome!\n\0"])
def test_a_listing_that_is_cut_off_or_something_else_is_garbage(output: bytes) -> None:
    with pytest.raises(told.Garbage):
        list(told.found(output))


def test_times_before_1970_and_whole_seconds_are_read() -> None:
    (found,) = told.found(b"f 1 2 3 -5 0.25 a\0")
    assert (found.identity.mtime_ns, found.identity.ctime_ns) == (-5_000_000_000, 250_000_000)


def test_the_listing_of_the_real_rsync_is_read_with_every_name(tmp_path: Path) -> None:
    rsync = require_program("rsync")
    names = [
        b"a b",
        b"new\nline",
        b"\xff\xfe",
        b"-rf",
        b"#1",
        b"back\\slash",
        b"\\#012",
        "ä".encode(),
        b" x ",
        b"a -> b",
    ]
    names += [b"*", b"$(touch x)"]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(b"xyz")
        os.utime(tmp_path / os.fsdecode(name), (1_700_000_000, 1_700_000_000))
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to("a -> b")
    words = [rsync, "--list-only", "--recursive", "--links", "--no-human-readable", "--", f"{tmp_path}/"]
    environment = {"LC_ALL": "C.UTF-8", "TZ": "UTC0"}
    shown = subprocess.run(words, capture_output=True, check=True, env=environment, timeout=10)
    found = {one.name: one for one in told.listed(shown.stdout)}
    assert found.keys() == {*names, b"sub", b"link", b""}
    assert {found[name].identity for name in names} == {Identity(0, 3, 1_700_000_000_000_000_000, 0)}
    assert [found[name].kind for name in (b"sub", b"link", b"")] == ["folder", "link", "folder"]


@pytest.mark.parametrize("output", [b"hello\n", b"-rw-r--r-- x 2023/11/14 22:13:20 a\n", b"-rw-r--r--  3 a\n"])
def test_another_listing_than_that_of_rsync_is_garbage(output: bytes) -> None:
    with pytest.raises(told.Garbage):
        list(told.listed(output))


# -- hashes --------------------------------------------------------------------------------------------------


def test_hashes_are_counted_while_they_come() -> None:
    hashes = told.Hashes()
    line = f"{SHA}  -\n".encode()
    assert [hashes.take(line[:10]), hashes.take(line[10:]), hashes.take(line + line)] == [0, 1, 3]
    assert hashes.result(3) == [SHA] * 3


@pytest.mark.parametrize("output", [b"", f"{SHA}  -\n".encode() * 2, b"none\n", f"{SHA}  -".encode(), b"\n"])
def test_one_hash_too_few_or_too_many_is_garbage(output: bytes) -> None:
    hashes = told.Hashes()
    hashes.take(output)
    with pytest.raises(told.Garbage):
        hashes.result(1)


MARK = b"0123456789abcdef"
CONTENTS = [b"", b"a\n", MARK, b"\n" + MARK, b"\n" + MARK + b" x\n", os.urandom(5000), b"\n" * 99]


@pytest.mark.parametrize("piece", [1, 2, 7, 1000, 100_000])
def test_files_that_come_one_behind_the_other_are_told_apart_whatever_they_hold(piece: int) -> None:
    output = b"".join(content + b"\n" + MARK + b" 0\n" for content in CONTENTS)
    counted: list[int] = []
    stream = told.Stream(MARK, counted.append)
    for start in range(0, len(output), piece):
        assert stream.take(output[start : start + piece])
    assert stream.result(len(CONTENTS)) == [hashlib.sha256(content).hexdigest() for content in CONTENTS]
    assert sum(counted) == sum(map(len, CONTENTS))


def test_a_file_that_could_not_be_read_has_no_hash() -> None:
    stream = told.Stream(MARK, lambda _: None)
    stream.take(b"half\n" + MARK + b" 1\nwhole\n" + MARK + b" 0\n")
    assert stream.result(2) == [None, hashlib.sha256(b"whole").hexdigest()]


@pytest.mark.parametrize("output", [b"", b"cut off", b"a\n" + MARK + b" 0", (b"a\n" + MARK + b" 0\n") * 2])
def test_a_stream_that_was_cut_off_is_garbage(output: bytes) -> None:
    stream = told.Stream(MARK, lambda _: None)
    stream.take(output)
    with pytest.raises(told.Garbage):
        stream.result(1)


# -- progress, versions, space -------------------------------------------------------------------------------


def test_progress_counts_bytes_and_nothing_twice() -> None:
    counted: list[int] = []
    progress = told.Progress(counted.append)
    shown = [
        b"\r        100   0%  1.00MB/s",
        b"    0:00:00\r      1",
        b"500  50%    1MB/s\r      1500  50%\r",
        b"hello\n",
    ]
    assert [progress.take(piece) for piece in shown] == [True, False, True, False]
    assert counted == [100, 1400]


@pytest.mark.parametrize(
    ("output", "numbers"),
    [
        (b"rsync  version 3.2.7  protocol version 31\n", (3, 2, 7)),
        (b"rsync  version v3.2.3  protocol version 31\n", (3, 2, 3)),
        (b"rsync  version 3.4.1pre1 protocol version 32\n", (3, 4, 1)),
        (b"openrsync: protocol version 29\n", None),
        (b"", None),
    ],
)
def test_the_version_of_rsync_is_read(output: bytes, numbers: tuple[int, int, int] | None) -> None:
    assert told.version(output) == numbers


def test_free_space_is_read_whatever_the_file_system_is_called() -> None:
    head = b"Filesystem     1024-blocks      Used Available Capacity Mounted on\n"
    assert told.space(head + b"//nas 2/a b% 1000 400 600 40% /vol ume\n") == Space(1024_000, 614_400)
    assert told.space(head + b"over 1000 1010 -10 100% /\n") == Space(1024_000, -10_240)
    with pytest.raises(told.Garbage):
        told.space(head)
