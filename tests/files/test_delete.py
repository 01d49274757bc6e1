"""Every delete there is: exactly what is on a list, nothing through a link, nothing that changed, nothing else."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from exlab_orch.errors import TrashLeftover
from exlab_orch.files.delete import (
    aside_of,
    bring_back,
    delete_proved,
    remove_empty_folders,
    remove_folder_chain,
    remove_own,
    remove_part_entries,
    remove_part_folder,
)
from exlab_orch.files.places import leaf_identity
from exlab_orch.files.walk import walk
from exlab_orch.model import ClearProof, FileProof, Place
from tests.files.tricks import LATE_WRITERS, ODD_NAMES, fails_with, write
from tests.lab import tree
from tests.mounts import Mounts

FILES = {b"a": b"aa", b"m/b": b"bb", b"m/n/c": b"cc", b"z": b"zz"}


def place(folder: Path) -> Place:
    return Place(str(folder.parent), folder.name)


def proof_of(folder: Path, *names: bytes) -> ClearProof:
    """A proof as ``proof.prove`` makes it, of these files or all."""
    files = {}
    for name, identity in walk(place(folder)).files.items():
        with open(os.path.join(os.fsencode(folder), name), "rb") as file:
            files[name] = FileProof(identity, hashlib.sha256(file.read()).hexdigest(), identity)
    chosen = {name: files[name] for name in names or files}
    return ClearProof("FLOW_01/P/Runs/Run_1", leaf_identity(place(folder)), chosen)


def delete(folder: Path, proof: ClearProof) -> int:
    counted: list[int] = []
    delete_proved(place(folder), proof, counted.append)
    return sum(counted)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        write(tmp_path / "run", name, content)
    return tmp_path / "run"


# -- proved files --------------------------------------------------------------------------------------------


def test_exactly_the_proved_files_are_deleted(run: Path) -> None:
    proof = proof_of(run, b"a", b"m/n/c")
    assert delete(run, proof) == 4
    assert tree(run) == {"m": None, "m/b": b"bb", "m/n": None, "z": b"zz"}


def test_files_of_any_name_are_deleted(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name in ODD_NAMES:
        write(run, name)
        write(run, b"sub/" + name)
    delete(run, proof_of(run))
    assert tree(run) == {"sub": None}


def test_an_interrupted_delete_goes_on(run: Path) -> None:
    proof = proof_of(run)
    for name in ("a", "m/b"):
        (run / name).unlink()
    delete(run, proof)
    assert tree(run) == {"m": None, "m/n": None}


@pytest.mark.parametrize("what", [name for name in LATE_WRITERS if name != "remove"])
def test_a_file_that_changed_after_its_proof_stays_and_so_does_all_after_it(run: Path, what: str) -> None:
    proof = proof_of(run)
    LATE_WRITERS[what](run / "m/b")
    with pytest.raises(TrashLeftover) as raised:
        delete(run, proof)
    assert raised.value.files == (b"m/b",)
    assert os.path.lexists(run / "m/b")
    assert (run / "m/n/c").exists()
    assert (run / "z").exists()


def test_a_file_that_became_a_folder_stays(run: Path) -> None:
    proof = proof_of(run)
    (run / "a").unlink()
    write(run, b"a/precious")
    with pytest.raises(TrashLeftover):
        delete(run, proof)
    assert (run / "a/precious").exists()


def test_a_file_put_in_place_of_one_that_was_deleted_stays(run: Path) -> None:
    proof = proof_of(run)
    delete(run, proof)
    write(run, b"a", b"aa")
    with pytest.raises(TrashLeftover):
        delete(run, proof)
    assert (run / "a").read_bytes() == b"aa"


def test_a_folder_that_became_a_link_leads_nowhere(run: Path, tmp_path: Path) -> None:
    proof = proof_of(run)
    (run / "m").rename(tmp_path / "away")
    (run / "m").symlink_to(tmp_path / "away")
    with pytest.raises(OSError):
        delete(run, proof)
    assert tree(tmp_path / "away") == {"b": b"bb", "n": None, "n/c": b"cc"}


# -- hard links ----------------------------------------------------------------------------------------------


def test_all_names_of_one_proved_file_are_deleted(run: Path) -> None:
    for name in ("linked", "m/linked"):
        os.link(run / "a", run / name)
    delete(run, proof_of(run))
    assert tree(run) == {"m": None, "m/n": None}


def test_a_second_name_whose_content_changed_meanwhile_stays(run: Path) -> None:
    os.link(run / "a", run / "b")
    proof = proof_of(run)
    counted: list[int] = []

    def write_after_the_first(count: int) -> None:
        counted.append(count)
        if len(counted) == 1:
            (run / "b").write_bytes(b"AA")

    with pytest.raises(TrashLeftover):
        delete_proved(place(run), proof, write_after_the_first)
    assert (run / "b").read_bytes() == b"AA"


def test_a_link_made_after_the_proof_is_a_change(run: Path, tmp_path: Path) -> None:
    proof = proof_of(run)
    os.link(run / "a", tmp_path / "elsewhere")
    with pytest.raises(TrashLeftover):
        delete(run, proof)
    assert (run / "a").exists()


# -- our own files and empty folders -------------------------------------------------------------------------


def test_our_own_files_go_in_the_order_given_and_what_is_gone_is_fine(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone: list[bytes] = []
    real = os.unlink

    def note(name: bytes, *, dir_fd: int) -> None:
        real(name, dir_fd=dir_fd)
        gone.append(name)

    monkeypatch.setattr(os, "unlink", note)
    remove_own(place(run), [b"z", b"missing", b"no folder/x", b"m/n/c", b"a"])
    assert gone == [b"z", b"c", b"a"]
    assert tree(run) == {"m": None, "m/b": b"bb", "m/n": None}


def test_folders_go_deepest_first_and_only_when_they_are_empty(run: Path) -> None:
    for name in ("e", "e/f", "e/f/g", "m/empty"):
        (run / name).mkdir()
    remove_empty_folders(place(run), [b"e", b"e/f", b"m", b"m/n", b"m/empty", b"e/f/g", b"missing"])
    assert tree(run) == {"a": b"aa", "m": None, "m/b": b"bb", "m/n": None, "m/n/c": b"cc", "z": b"zz"}


def test_a_file_in_place_of_a_folder_is_an_error(run: Path) -> None:
    with pytest.raises(NotADirectoryError):
        remove_empty_folders(place(run), [b"a"])
    assert (run / "a").exists()


@pytest.mark.parametrize(
    ("path", "stop", "left"),
    [
        ("t/id/E/P", "t", ["full", "full/a", "t"]),
        ("t/id/E/P", "", ["full", "full/a"]),
        ("t/id/E/P/gone", "t", ["full", "full/a", "t"]),
        ("full", "", ["full", "full/a", "t", "t/id", "t/id/E", "t/id/E/P"]),
        ("t", "t", ["full", "full/a", "t", "t/id", "t/id/E", "t/id/E/P"]),
    ],
)
def test_a_chain_of_empty_folders_is_removed_up_to_where_it_shall_stop(
    tmp_path: Path, path: str, stop: str, left: list[str]
) -> None:
    (tmp_path / "t/id/E/P").mkdir(parents=True)
    write(tmp_path, b"full/a")
    remove_folder_chain(Place(str(tmp_path), path), stop)
    assert list(tree(tmp_path)) == left


# -- our hidden folders on the NAS ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Run_1", "exlab-part-Run_1", ".exlab-wizard", ""])
@pytest.mark.parametrize("remove", [remove_part_folder, lambda part: remove_part_entries(part, [b"a"])])
def test_only_our_hidden_folders_are_ever_emptied(tmp_path: Path, remove: Callable[[Place], None], name: str) -> None:
    write(tmp_path / name, b"a")
    with pytest.raises(ValueError, match="hidden folders"):
        remove(Place(str(tmp_path), name))
    assert (tmp_path / name / "a").exists()


def test_a_hidden_folder_goes_with_everything_in_it_and_no_link_is_followed(tmp_path: Path) -> None:
    write(tmp_path, b"outside/precious")
    part = tmp_path / "Runs/.exlab-part-Run_1"
    for name in (*ODD_NAMES, b"sub/deep/x", b".exlab-wizard/ingest.json"):
        write(part, name)
    os.mkfifo(part / "fifo")
    (part / "link").symlink_to(tmp_path / "outside")
    remove_part_folder(Place(str(tmp_path), "Runs/.exlab-part-Run_1"))
    assert tree(tmp_path) == {"Runs": None, "outside": None, "outside/precious": b"data"}
    remove_part_folder(Place(str(tmp_path), "Runs/.exlab-part-Run_1"))


def test_only_listed_entries_of_a_hidden_folder_are_removed(tmp_path: Path) -> None:
    part = tmp_path / ".exlab-part-Run_1"
    for name in (b"stale", b"old/x", b"kept/y"):
        write(part, name)
    remove_part_entries(Place(str(tmp_path), part.name), [b"stale", b"old/x"], [b"old", b"kept"])
    assert tree(part) == {"kept": None, "kept/y": b"data"}


@pytest.mark.root
def test_nothing_is_deleted_across_a_mount(tmp_path: Path) -> None:
    write(tmp_path, b"nas/precious")
    part, run = tmp_path / ".exlab-part-Run_1", tmp_path / "run"
    write(run, b"m/precious")
    proof = proof_of(run)
    for folder in (part / "m", run / "m"):
        folder.mkdir(parents=True, exist_ok=True)
    with Mounts() as mounts:
        for folder in (part / "m", run / "m"):
            mounts.bind(tmp_path / "nas", folder)
        with pytest.raises(OSError):
            remove_part_folder(Place(str(tmp_path), part.name))
        with pytest.raises(OSError):
            delete(run, proof)
        with pytest.raises(OSError):
            remove_own(place(run), [b"m/precious"])
    assert tree(tmp_path / "nas") == {"precious": b"data"}
    assert tree(run) == {"m": None, "m/precious": b"data"}


# -- where the kernel gives no leases, and where it cannot rename without replacing ----------------------------


def test_a_file_of_another_user_is_deleted_without_a_lease(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exlab_orch.files.linux.fcntl.fcntl", fails_with(errno.EACCES))
    delete(run, proof_of(run))
    assert tree(run) == {"m": None, "m/n": None}


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS])
def test_where_nothing_can_be_renamed_without_replacing_files_are_deleted_under_their_own_names(
    run: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr("exlab_orch.files.delete.rename_no_replace", fails_with(number))
    delete(run, proof_of(run))
    assert tree(run) == {"m": None, "m/n": None}


def test_a_file_that_a_killed_delete_had_set_aside_gets_its_name_back(run: Path) -> None:
    proof = proof_of(run)
    names = sorted(proof.files)
    asides = [aside_of(proof.leaf, name) for name in names]
    for name, aside in zip(names, asides, strict=True):
        os.rename(os.path.join(os.fsencode(run), name), os.path.join(os.fsencode(run), aside))
    bring_back(place(run), asides, names)
    assert sorted(proof_of(run).files) == names
