"""The one walk of a run: every entry by its bytes, links never followed, mounts never entered, errors never skipped."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from exlab_orch.files import walk as walk_module
from exlab_orch.files.places import identity_of, open_subfolder
from exlab_orch.files.walk import kind_of, open_writers, walk
from exlab_orch.model import Listing, Place
from tests.files.privilege import ordinary_user
from tests.files.tricks import NOT_FOLLOWED, ODD_NAMES, write
from tests.mounts import Mounts

OWN = frozenset({b".exlab-wizard/ingest.json"})


def listing(folder: Path) -> Listing:
    return walk(Place(str(folder), ""), own=OWN)


def test_every_file_and_folder_is_listed_with_its_identity(tmp_path: Path) -> None:
    files = {b"a.fcs": b"a", b"zero": b"", b".hidden": b"h", b"deep/er/b.tif": b"bb"}
    for name, content in files.items():
        write(tmp_path, name, content)
    (tmp_path / "empty").mkdir()
    found = listing(tmp_path)
    assert found.files == {name: identity_of((tmp_path / os.fsdecode(name)).lstat()) for name in files}
    assert found.folders.keys() == {b"deep", b"deep/er", b"empty"}
    assert found.leaf == identity_of(tmp_path.stat())
    assert not found.special


def test_names_are_the_bytes_that_are_on_the_disk(tmp_path: Path) -> None:
    for name in ODD_NAMES:
        write(tmp_path, name)
        write(tmp_path, b"sub/" + name)
    assert listing(tmp_path).files.keys() == {prefix + name for name in ODD_NAMES for prefix in (b"", b"sub/")}


def test_only_our_own_file_of_the_leaf_is_kept_apart(tmp_path: Path) -> None:
    names = [b".exlab-wizard/ingest.json", b".exlab-wizard/creation.json", b"nested/.exlab-wizard/ingest.json"]
    for name in names:
        write(tmp_path, name)
    found = listing(tmp_path)
    assert list(found.own) == names[:1]
    assert found.files.keys() == set(names[1:])


def test_what_is_neither_file_nor_folder_is_named_by_kind_and_not_followed(tmp_path: Path) -> None:
    write(tmp_path, b"outside/secret")
    run = tmp_path / "run"
    run.mkdir()
    (run / "to a folder").symlink_to(tmp_path / "outside")
    (run / "to itself").symlink_to("to itself")
    (run / "dangling").symlink_to("nowhere")
    os.mkfifo(run / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(run)  # socket paths are short
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
    found = listing(run)
    assert found.special == {
        b"to a folder": "link",
        b"to itself": "link",
        b"dangling": "link",
        b"fifo": "fifo",
        b"socket": "socket",
    }
    assert not found.files
    assert not found.folders


@pytest.mark.parametrize(
    ("mode", "kind"), [(stat.S_IFBLK, "device"), (stat.S_IFCHR, "device"), (stat.S_IFIFO, "fifo"), (0, "device")]
)
def test_the_word_for_a_special_entry(mode: int, kind: str) -> None:
    assert kind_of(mode) == kind


def test_a_link_with_our_own_name_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / ".exlab-wizard").mkdir()
    (tmp_path / ".exlab-wizard/ingest.json").symlink_to("/etc/hostname")
    found = listing(tmp_path)
    assert not found.own
    assert found.special == {b".exlab-wizard/ingest.json": "link"}


def test_two_names_of_one_file_are_two_files(tmp_path: Path) -> None:
    write(tmp_path, b"one")
    os.link(tmp_path / "one", tmp_path / "two")
    found = listing(tmp_path)
    assert found.files[b"one"] == found.files[b"two"]


def test_an_unreadable_folder_is_an_error_and_not_an_empty_one(tmp_path: Path) -> None:
    write(tmp_path, b"a")
    write(tmp_path, b"closed/b")
    (tmp_path / "closed").chmod(0o000)
    with ordinary_user(), pytest.raises(PermissionError):
        listing(tmp_path)


def test_a_folder_that_may_be_listed_but_not_looked_into_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, b"half/b")
    (tmp_path / "half").chmod(0o400)
    with ordinary_user(), pytest.raises(PermissionError):
        listing(tmp_path)


@pytest.mark.parametrize("swap", ["link", "gone"])
def test_a_folder_swapped_between_look_and_open_ends_the_walk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swap: str
) -> None:
    write(tmp_path, b"outside/secret")
    run = tmp_path / "run"
    write(run, b"sub/a")

    def open_after_the_swap(folder: int, name: bytes) -> int:
        if name == b"sub":
            shutil.rmtree(run / "sub")
            if swap == "link":
                (run / "sub").symlink_to(tmp_path / "outside")
        return open_subfolder(folder, name)

    monkeypatch.setattr(walk_module, "open_subfolder", open_after_the_swap)
    with pytest.raises(OSError) as raised:
        listing(run)
    assert raised.value.errno in (NOT_FOLLOWED if swap == "link" else {errno.ENOENT})


def test_a_path_longer_than_the_kernel_takes_is_an_error_and_not_left_out(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(17):
        os.mkdir("d" * 250, dir_fd=here)
        deeper = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    with pytest.raises(OSError) as raised:
        listing(tmp_path)
    assert raised.value.errno == errno.ENAMETOOLONG


def test_a_tree_three_hundred_folders_deep_is_walked(tmp_path: Path) -> None:
    write(tmp_path, b"d/" * 300 + b"a")
    found = listing(tmp_path)
    assert (len(found.folders), list(found.files)) == (300, [b"d/" * 300 + b"a"])


def test_a_missing_leaf_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        walk(Place(str(tmp_path), "missing"))


@pytest.mark.root
def test_a_mount_inside_the_run_is_named_and_never_entered(tmp_path: Path) -> None:
    write(tmp_path, b"nas/precious")
    write(tmp_path, b"run/sub/a")
    (tmp_path / "run/sub/mounted").mkdir()
    with Mounts() as mounts:
        mounts.bind(tmp_path / "nas", tmp_path / "run/sub/mounted")
        found = listing(tmp_path / "run")
    assert found.special == {b"sub/mounted": "mount"}
    assert found.files.keys() == {b"sub/a"}
    assert found.folders.keys() == {b"sub"}


# -- what a listing tells ------------------------------------------------------------------------------------


def test_people_see_the_data_without_our_folder(tmp_path: Path) -> None:
    write(tmp_path, b"a", b"12345")
    write(tmp_path, b".exlab-wizard/creation.json", b"{}")
    found = listing(tmp_path)
    assert found.data_sizes() == [5]
    assert found.byte_total == 7


def test_the_newest_change_is_of_data_and_subfolders_alone(tmp_path: Path) -> None:
    write(tmp_path, b"sub/a")
    before = listing(tmp_path).newest_ctime_ns()
    write(tmp_path, b".exlab-wizard/ingest.json")
    tmp_path.touch()
    assert listing(tmp_path).newest_ctime_ns() == before
    os.chmod(tmp_path / "sub", 0o700)
    assert listing(tmp_path).newest_ctime_ns() == (tmp_path / "sub").stat().st_ctime_ns != before


@pytest.mark.parametrize("change", ["content", "file", "folder", "link"])
def test_two_walks_differ_by_any_entry_but_not_by_our_own(tmp_path: Path, change: str) -> None:
    write(tmp_path, b"a", b"1")
    write(tmp_path, b".exlab-wizard/ingest.json", b"1")
    before = listing(tmp_path)
    write(tmp_path, b".exlab-wizard/ingest.json", b"22")
    assert listing(tmp_path).same_entries(before)
    changes: dict[str, Callable[[], object]] = {
        "content": lambda: write(tmp_path, b"a", b"22"),
        "file": lambda: write(tmp_path, b"b"),
        "folder": lambda: os.mkdir(tmp_path / "new"),
        "link": lambda: os.symlink("a", tmp_path / "new"),
    }
    changes[change]()
    assert not listing(tmp_path).same_entries(before)


# -- open writers --------------------------------------------------------------------------------------------


def test_the_file_that_somebody_writes_is_found_by_name(tmp_path: Path) -> None:
    for name in (b"a", b"sub/-b\n", b"c"):
        write(tmp_path, name)
    place = Place(str(tmp_path), "")
    names = list(listing(tmp_path).files)
    assert open_writers(place, names) is None
    with open(tmp_path / "sub/-b\n", "ab"):
        assert open_writers(place, names) == b"sub/-b\n"
    assert open_writers(place, names) is None


def test_a_file_that_is_gone_when_writers_are_looked_for_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_writers(Place(str(tmp_path), ""), [b"gone"])
