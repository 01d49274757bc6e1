"""Copying to the NAS: what it finds there, what it refuses, how it goes on after an interruption, how it fails."""

from __future__ import annotations

import errno
import grp
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exlab_orch import orders
from exlab_orch.checksums import parse
from exlab_orch.cleanup import clear
from exlab_orch.errors import ExlabError, NasFull, NasUnreachable, SyncFailed
from exlab_orch.files import copy, hashing
from exlab_orch.files import moves as mount_move
from exlab_orch.model import Identity, Place
from exlab_orch.passes import PassReport, run_pass
from exlab_orch.rows import Row, list_rows
from exlab_orch.transports import Area, mount, right_place
from tests.lab import RUN, Lab, tree
from tests.oracle import Oracle, Print, data_files, prints, require_program, steps_of

PROVED = ["staging", "complete", "sync_queued", "sync_verified"]
OTHER = "FLOW_01/PROJ-1/Runs/Run_other"


def row(lab: Lab, run: str = RUN) -> Row:
    with lab.station(changing=False) as station:
        return next(one for one in list_rows(station, now=lab.now or datetime.now(UTC)) if one.run == run)


def problem(lab: Lab, run: str = RUN) -> str | None:
    found = row(lab, run).problem
    return None if found is None else found.code


def attempts(lab: Lab, run: str = RUN) -> int:
    return row(lab, run).attempts


def put_on_nas(lab: Lab, files: dict[str, bytes], run: str = RUN) -> Path:
    """Files that somebody else put into the run's folder on the NAS before us."""
    for name, content in files.items():
        (lab.published(run) / name).parent.mkdir(parents=True, exist_ok=True)
        (lab.published(run) / name).write_bytes(content)
    return lab.published(run)


def new_version(lab: Lab, *files: bytes) -> PassReport:
    """What ``sync RUN --new-version [FILE...]`` does."""
    with lab.station() as station:
        orders.make_due(station, lab.run(), by="ada", new_version=True, files=files)
    return lab.poll()


def set_aside(lab: Lab, run: str = RUN) -> dict[str, bytes]:
    """Earlier versions on the NAS by name, whenever they were set aside."""
    folders = (lab.published(run) / ".exlab-wizard/superseded").glob("*")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and ".exlab-wizard" not in path.relative_to(folder).parts
    }


@dataclass
class While:
    """An observer that does something while files are copied: at the begin, at every advance, or at the end."""

    when: str
    act: Callable[[], object]
    phase: str = ""

    def begin(self, run_path: str, phase: str, files: int, byte_total: int) -> None:
        self.phase = phase
        self._do("begin")

    def advance(self, byte_count: int) -> None:
        self._do("advance")

    def end(self) -> None:
        self._do("end")

    def _do(self, when: str) -> None:
        if (self.phase, when) == ("copy", self.when):
            self.act()


def poll(lab: Lab, watch: While, max_seconds: float | None = None) -> PassReport:
    with lab.station() as station:
        return run_pass(station, watch=watch, max_seconds=max_seconds)


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Names of files that were copied, in order."""
    names: list[bytes] = []
    real = copy.copy_batch

    def counting(batch: copy.Batch, on_bytes: hashing.OnBytes) -> tuple[copy.Copied, ...]:
        names.extend(name for name, _ in batch.files)
        return real(batch, on_bytes)

    monkeypatch.setattr(mount, "copy_batch", counting)
    return names


# -- what the NAS has already --------------------------------------------------------------------------------


def test_identical_files_on_the_nas_are_adopted_without_copying(lab: Lab, copied: list[bytes]) -> None:
    folder = put_on_nas(lab, {"a.fcs": b"aaa", "sub/b.fcs": b"bbbb", "run_complete": b""})
    before = {name: (folder / name).stat() for name in ("a.fcs", "sub/b.fcs", "run_complete")}
    lab.push()
    lab.poll()
    assert lab.states() == PROVED
    assert copied == []
    assert {name: (folder / name).stat().st_ctime_ns for name in before} == {
        name: status.st_ctime_ns for name, status in before.items()
    }
    assert lab.leftovers() == []


def test_files_that_are_missing_on_the_nas_are_added_beside_those_that_are_there(lab: Lab, copied: list[bytes]) -> None:
    put_on_nas(lab, {"a.fcs": b"aaa"})
    lab.push(files={"a.fcs": b"aaa", "sub/deep/b.fcs": b"bbbb", "c.fcs": b"c"})
    (lab.staged() / "empty").mkdir()
    lab.poll()
    assert lab.states() == PROVED
    assert sorted(copied) == [b"c.fcs", b"run_complete", b"sub/deep/b.fcs"]
    assert data_files(lab.published()) == data_files(lab.staged())
    assert (lab.published() / "empty").is_dir()
    assert lab.leftovers() == []


@pytest.mark.parametrize("content", [b"aab", b"", b"a longer one"])
def test_a_file_that_differs_and_is_not_ours_is_a_conflict_and_nothing_is_touched(lab: Lab, content: bytes) -> None:
    put_on_nas(lab, {"a.fcs": content, "theirs.txt": b"x"})
    before = prints(lab.published())
    lab.push()
    for _ in range(2):
        lab.poll()
    assert lab.states() == PROVED[:3]
    assert problem(lab) == "nas_conflict"
    assert prints(lab.published()) == before
    assert attempts(lab) == 0
    assert "a.fcs" in str(row(lab).problem)


def test_a_conflict_ends_when_the_operator_asks_for_a_new_version(lab: Lab) -> None:
    put_on_nas(lab, {"a.fcs": b"theirs", "sub/b.fcs": b"theirs too"})
    lab.push()
    lab.poll()
    new_version(lab)
    assert lab.states() == PROVED
    assert problem(lab) is None
    assert data_files(lab.published()).items() >= data_files(lab.staged()).items()
    assert set_aside(lab) == {"a.fcs": b"theirs", "sub/b.fcs": b"theirs too"}


def test_a_new_version_of_one_file_leaves_the_conflict_of_another(lab: Lab) -> None:
    put_on_nas(lab, {"a.fcs": b"theirs", "sub/b.fcs": b"theirs too"})
    before = prints(lab.published())
    lab.push()
    lab.poll()
    new_version(lab, b"a.fcs")
    assert lab.states() == PROVED[:3]
    assert problem(lab) == "nas_conflict"
    assert prints(lab.published()) == before


def folder_for_a_file(published: Path) -> None:
    (published / "a.fcs/inside").mkdir(parents=True)


def file_for_a_folder(published: Path) -> None:
    published.mkdir(parents=True)
    (published / "sub").write_bytes(b"not a folder")


def link_for_a_file(published: Path) -> None:
    published.mkdir(parents=True)
    (published / "a.fcs").symlink_to("/etc/hostname")


def link_for_a_folder(published: Path) -> None:
    published.mkdir(parents=True)
    (published / "sub").symlink_to("/tmp")


@pytest.mark.parametrize("make", [folder_for_a_file, file_for_a_folder, link_for_a_file, link_for_a_folder])
def test_something_of_another_kind_under_a_name_of_the_run_is_a_conflict(
    lab: Lab, make: Callable[[Path], None]
) -> None:
    make(lab.published())
    before = prints(lab.published())
    lab.push()
    for _ in range(2):
        lab.poll()
    assert lab.states() == PROVED[:3]
    assert problem(lab) == "nas_conflict"
    assert prints(lab.published()) == before


def test_a_run_folder_on_the_nas_that_is_a_link_is_not_followed(lab: Lab) -> None:
    elsewhere = lab.root / "elsewhere"
    elsewhere.mkdir()
    lab.published().parent.mkdir(parents=True)
    lab.published().symlink_to(elsewhere)
    lab.push()
    lab.poll()
    assert lab.states() == PROVED[:3]
    assert tree(elsewhere) == {}


def test_a_file_that_changed_after_its_proof_takes_the_place_of_our_earlier_version(lab: Lab) -> None:
    lab.push()
    lab.poll()
    lab.push(files={"sub/b.fcs": b"second version"})
    lab.poll()
    assert lab.states() == [*PROVED, "sync_queued", "sync_verified"]
    assert (lab.published() / "sub/b.fcs").read_bytes() == b"second version"
    assert set_aside(lab) == {"sub/b.fcs": b"bbbb"}
    listed = parse((lab.published() / ".exlab-wizard/checksums.sha256").read_bytes())
    assert listed == data_files(lab.staged())


def test_every_version_is_kept(lab: Lab) -> None:
    lab.push()
    lab.poll()
    for number in range(3):
        lab.push(files={"a.fcs": b"version %d" % number})
        lab.poll()
    kept = (lab.published() / ".exlab-wizard/superseded").glob("*/a.fcs")
    assert sorted(path.read_bytes() for path in kept) == [b"aaa", b"version 0", b"version 1"]


def test_with_hold_a_file_that_changed_after_its_proof_blocks_until_somebody_decides(lab: Lab) -> None:
    lab.sync = 'on_change = "hold"'
    lab.configure()
    lab.push()
    lab.poll()
    lab.push(files={"a.fcs": b"second version"})
    on_nas = data_files(lab.published())
    for _ in range(2):
        lab.poll()
    assert problem(lab) == "changed_since_verified"
    assert data_files(lab.published()) == on_nas
    new_version(lab)
    assert lab.states()[-1] == "sync_verified"
    assert set_aside(lab) == {"a.fcs": b"aaa"}


@pytest.mark.parametrize("on_change", ["version", "hold"])
def test_a_changed_file_whose_nas_copy_somebody_edited_is_a_conflict(lab: Lab, on_change: str) -> None:
    lab.sync = f'on_change = "{on_change}"'
    lab.configure()
    lab.push()
    lab.poll()
    (lab.published() / "a.fcs").write_bytes(b"edited on the NAS")
    lab.push(files={"a.fcs": b"second version"})
    lab.poll()
    assert problem(lab) == "nas_conflict"
    assert (lab.published() / "a.fcs").read_bytes() == b"edited on the NAS"


def test_without_the_journal_our_own_earlier_version_is_still_known(lab: Lab) -> None:
    lab.push()
    lab.poll()
    for path in lab.state.glob("journal.sqlite3*"):
        path.unlink()
    lab.push(files={"a.fcs": b"second version"})
    lab.poll()
    assert lab.states()[-1] == "sync_verified"
    assert set_aside(lab) == {"a.fcs": b"aaa"}


def test_what_people_add_beside_a_published_run_is_theirs(lab: Lab) -> None:
    lab.push()
    lab.poll()
    theirs = {
        "Thumbs.db": b"t",
        "results/figure.png": b"png",
        "sub/notes.txt": b"n",
        ".exlab-wizard/mine.txt": b"m",
        ".exlab-part-of somebody": b"p",
    }
    put_on_nas(lab, theirs)
    (lab.published() / "link").symlink_to("/nowhere")
    lab.push(files={"late.fcs": b"late", "a.fcs": b"second version"})
    lab.poll()
    assert lab.states()[-1] == "sync_verified"
    assert lab.cli("clear", "--yes", RUN).returncode == 0
    assert {name: (lab.published() / name).read_bytes() for name in theirs} == theirs
    assert (lab.published() / "link").is_symlink()
    listed = parse((lab.published() / ".exlab-wizard/checksums.sha256").read_bytes())
    assert listed.keys() == {b"a.fcs", b"sub/b.fcs", b"run_complete", b"late.fcs"}


def test_lines_of_files_that_are_no_longer_staged_stay_in_the_checksum_list(lab: Lab) -> None:
    lab.push()
    lab.poll()
    (lab.staged() / "a.fcs").unlink()
    lab.push(files={"c.fcs": b"c"})
    lab.poll()
    listed = parse((lab.published() / ".exlab-wizard/checksums.sha256").read_bytes())
    assert listed == {name: found for name, found in data_files(lab.published()).items() if b"superseded" not in name}
    assert b"a.fcs" in listed


def test_a_record_and_a_log_of_somebody_else_on_the_nas_are_set_aside(lab: Lab) -> None:
    log = f".exlab-wizard/wizard.{socket.gethostname()}.log"
    put_on_nas(lab, {".exlab-wizard/ingest.json": b'{"theirs": 1}', ".exlab-wizard/checksums.sha256": b"x", log: b"l"})
    lab.push()
    lab.poll()
    assert lab.states() == PROVED
    assert [state for state, _ in steps_of(lab.nas_record())] == PROVED
    kept = (lab.published() / ".exlab-wizard/superseded").rglob("*")
    assert sorted(path.read_bytes() for path in kept if path.is_file()) == [b"l", b"x", b'{"theirs": 1}']


# -- the hidden folder ---------------------------------------------------------------------------------------


def hidden(lab: Lab, run: str = RUN) -> Path:
    return lab.published(run).parent / f".exlab-part-{lab.published(run).name}"


def test_people_see_a_run_whole_or_not_at_all(lab: Lab) -> None:
    lab.push()
    seen: list[bool] = []
    poll(lab, While("advance", lambda: seen.append(lab.published().exists())))
    assert seen
    assert not any(seen)
    assert lab.published().is_dir()
    assert not hidden(lab).exists()


def test_what_lies_in_the_hidden_folder_and_is_not_ours_to_publish_is_not_published(lab: Lab) -> None:
    stray = {"a.fcs": b"AAA", "other.fcs": b"x", "empty/deep/y": b"y", ".exlab-wizard/ingest.json": b"{}"}
    for name, content in stray.items():
        (hidden(lab) / name).parent.mkdir(parents=True, exist_ok=True)
        (hidden(lab) / name).write_bytes(content)
    (hidden(lab) / "link").symlink_to("/etc")
    lab.push()
    lab.poll()
    assert lab.states() == PROVED
    assert data_files(lab.published()) == data_files(lab.staged())
    assert not (lab.published() / "link").is_symlink()
    assert not (lab.published() / "empty").exists()


def many(lab: Lab) -> None:
    """A run of 130 files, which one worker copies in three batches."""
    lab.sync = "workers = 1"
    lab.configure()
    lab.push(files={f"{number:03}.fcs": b"%d" % number for number in range(129)})


def fail_in_the_third_batch(copied: list[bytes]) -> Callable[[], None]:
    def act() -> None:
        if len(copied) > 128:
            raise NasUnreachable("The NAS went away.")

    return act


def test_what_was_copied_before_an_interruption_is_not_copied_again(lab: Lab, copied: list[bytes]) -> None:
    many(lab)
    report = poll(lab, While("advance", fail_in_the_third_batch(copied)))
    assert report.exit_status == 69
    assert not lab.published().exists()
    copied.clear()

    lab.poll()

    assert lab.states() == PROVED
    assert 0 < len(copied) <= 66
    assert data_files(lab.published()) == data_files(lab.staged())


@pytest.mark.parametrize("spoil", ["edited", "touched", "gone"])
def test_a_file_of_an_interrupted_copy_that_is_not_as_we_left_it_is_copied_again(
    lab: Lab, copied: list[bytes], spoil: str
) -> None:
    many(lab)
    poll(lab, While("advance", fail_in_the_third_batch(copied)))
    path = hidden(lab) / "000.fcs"
    status = path.stat()
    if spoil == "edited":
        path.write_bytes(b"9")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif spoil == "touched":
        os.utime(path, ns=(1, 1))
    else:
        path.unlink()
    copied.clear()
    lab.poll()
    assert b"000.fcs" in copied
    assert data_files(lab.published()) == data_files(lab.staged())


def test_a_staged_file_that_changed_since_an_interrupted_copy_is_copied_again(lab: Lab, copied: list[bytes]) -> None:
    many(lab)
    poll(lab, While("advance", fail_in_the_third_batch(copied)))
    lab.push(files={"000.fcs": b"new"})
    (lab.staged() / "001.fcs").unlink()
    copied.clear()
    lab.poll()
    assert b"000.fcs" in copied
    assert data_files(lab.published()) == data_files(lab.staged())


def test_without_the_journal_an_interrupted_copy_is_made_anew(lab: Lab, copied: list[bytes]) -> None:
    many(lab)
    poll(lab, While("advance", fail_in_the_third_batch(copied)))
    for path in lab.state.glob("journal.sqlite3*"):
        path.unlink()
    copied.clear()
    lab.poll()
    assert lab.states() == PROVED
    assert len(copied) == 130


def test_a_pass_whose_time_is_over_stops_and_the_next_goes_on(lab: Lab, copied: list[bytes]) -> None:
    many(lab)
    lab.poll(frozenset({"evaluate"}))
    report = poll(lab, While("begin", lambda: None), max_seconds=0)
    assert report.unfinished
    assert report.exit_status == 0
    assert not lab.published().exists()
    lab.poll()
    assert lab.states() == PROVED
    assert len(copied) == len(set(copied)) == 130


# -- what blocks before the first byte -----------------------------------------------------------------------


def make_link(path: Path) -> None:
    path.symlink_to("a.fcs")


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


@pytest.mark.parametrize("make", [make_link, os.mkfifo, make_socket])
@pytest.mark.parametrize("name", ["odd", "sub/odd"])
def test_what_is_neither_file_nor_folder_blocks_a_run_before_anything_is_copied(
    lab: Lab, make: Callable[[Path], None], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lab.root)
    make(lab.push() / name)
    lab.push(OTHER)
    for _ in range(2):
        lab.poll()
    assert problem(lab) == "special_file"
    assert f"'{name}' is neither a file nor a folder but a " in str(row(lab).problem)
    assert lab.states() == PROVED[:3]
    assert not lab.published().exists()
    assert not hidden(lab).exists()
    assert attempts(lab) == 0
    assert lab.states(OTHER) == PROVED
    (lab.staged() / name).unlink()
    lab.poll()
    assert lab.states() == PROVED


def windows_like(monkeypatch: pytest.MonkeyPatch) -> None:
    """A NAS that knows no ``:``, drops trailing dots and takes A and a for one name."""
    real = mount._can_make

    def can_make(folder: int, base: bytes) -> bool:
        if b":" in base:
            return False
        return real(folder, base.rstrip(b".").lower())

    monkeypatch.setattr(mount, "_can_make", can_make)


@pytest.mark.parametrize("names", [["10:32.fcs"], ["trailing."], ["A.fcs", "a.fcs"], ["Sub/x", "sub/x"]])
def test_names_that_the_nas_cannot_hold_block_a_run_before_anything_is_copied(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    windows_like(monkeypatch)
    lab.push(files=dict.fromkeys(names, b"x"))
    lab.push(OTHER)
    for _ in range(2):
        lab.poll()
    assert problem(lab) == "name_unsupported"
    assert lab.states() == PROVED[:3]
    assert lab.states(OTHER) == PROVED
    assert [path.name for path in lab.published().parent.iterdir()] == ["Run_other"]
    assert attempts(lab) == 0


ODD_NAMES = [
    b"with space",
    b" leading and trailing ",
    b"new\nline",
    b"carriage\rreturn",
    b"tab\there",
    b"back\\slash",
    b"-rf",
    b"--",
    b"[bold]red[/]",
    b"*?",
    b"$(id)",
    b"%41",
    b"\xff\xfe not utf-8",
    b"\x1b[31m",
    "\u202egnp.exe".encode(),
    "Ä".encode(),
    "A\u0308".encode(),
    b"a",
    b"A",
    b"con",
    b"host:path",
    b":backend:",
    b"@file",
    b"dot.",
    b"x" * 255,
    b".exlab-part-x",
    b"ingest.json",
    b"checksums.sha256",
    b"sub/.exlab-wizard/ingest.json",
    b"sub/.exlab-wizard/checksums.sha256",
    b"deep/" * 200 + b"bottom",
]


def test_odd_names_are_copied_byte_for_byte_and_sha256sum_finds_them(lab: Lab) -> None:
    folder = os.fsencode(lab.push(files={}))
    for number, name in enumerate(ODD_NAMES):
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"content %d" % number)
    lab.poll()
    assert lab.states() == PROVED
    assert data_files(lab.published()) == data_files(lab.staged())
    assert len(data_files(lab.published())) == len(ODD_NAMES) + 1
    command = [require_program("sha256sum"), "-c", "--strict", "--quiet", ".exlab-wizard/checksums.sha256"]
    shown = subprocess.run(command, cwd=lab.published(), capture_output=True, check=False)
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, b"", b"")
    assert lab.cli("clear", "--yes", RUN).returncode == 0
    assert not lab.staged().exists()


@pytest.mark.parametrize(
    "creation",
    [{"equipment_id": "OTHER_02"}, {"run_kind": "test"}],
    ids=["equipment", "kind"],
)
def test_a_creation_file_that_contradicts_the_folder_blocks_the_copy_until_it_is_mended(
    lab: Lab, creation: dict[str, str]
) -> None:
    lab.push(files={"a.fcs": b"a", ".exlab-wizard/creation.json": json.dumps(creation).encode()})
    for _ in range(2):
        lab.poll()
    assert problem(lab) == "creation_mismatch"
    assert not lab.published().exists()
    (lab.staged() / ".exlab-wizard/creation.json").unlink()
    lab.poll()
    assert lab.states() == PROVED


def test_a_project_whose_name_is_not_utf_8_is_listed_and_left_alone(lab: Lab) -> None:
    leaf = os.fsencode(lab.staging) + b"/FLOW_01/PROJ-\xff/Runs/Run_1"
    os.makedirs(leaf)
    for name in (b"a.fcs", b"run_complete"):
        with open(os.path.join(leaf, name), "wb"):
            pass
    lab.push()
    lab.poll()
    rows = json.loads(lab.cli("list", "--json").stdout)["runs"]
    assert [found["problem"]["code"] for found in rows if found["problem"]] == ["name_unsupported"]
    assert sorted(os.listdir(leaf)) == [b"a.fcs", b"run_complete"]
    assert lab.states() == PROVED


# -- what changes meanwhile ----------------------------------------------------------------------------------


def append(folder: Path) -> None:
    with (folder / "sub/b.fcs").open("ab") as file:
        file.write(b"x")


def rewrite_and_put_mtime_back(folder: Path) -> None:
    status = (folder / "a.fcs").stat()
    (folder / "a.fcs").write_bytes(b"AAA")
    os.utime(folder / "a.fcs", ns=(status.st_atime_ns, status.st_mtime_ns))


def add_file(folder: Path) -> None:
    (folder / "late.fcs").write_bytes(b"late")


def add_folder(folder: Path) -> None:
    (folder / "late").mkdir()


def remove_file(folder: Path) -> None:
    (folder / "a.fcs").unlink()


def swap_for_a_link(folder: Path) -> None:
    (folder / "a.fcs").unlink()
    (folder / "a.fcs").symlink_to("/etc/hostname")


def swap_folder_for_a_link(folder: Path) -> None:
    (folder / "sub").rename(folder.parent / "was sub")
    (folder / "sub").symlink_to("/etc")


CHANGES = [append, rewrite_and_put_mtime_back, add_file, add_folder, remove_file, swap_for_a_link]


@pytest.mark.parametrize("when", ["begin", "end"])
@pytest.mark.parametrize("change", [*CHANGES, swap_folder_for_a_link])
def test_a_run_that_changes_while_it_is_copied_is_not_proved(
    lab: Lab, change: Callable[[Path], None], when: str
) -> None:
    lab.push()
    poll(lab, While(when, lambda: change(lab.staged())))
    assert lab.states() == PROVED[:3]
    assert not lab.published().exists()
    assert attempts(lab) == 0


@pytest.mark.parametrize("when", ["begin", "end"])
@pytest.mark.parametrize("change", [append, rewrite_and_put_mtime_back, add_file, add_folder, remove_file])
def test_a_run_that_changed_while_it_was_copied_is_copied_whole_by_the_next_pass(
    lab: Lab, change: Callable[[Path], None], when: str
) -> None:
    lab.push()
    poll(lab, While(when, lambda: change(lab.staged())))
    assert problem(lab) == "changed_while_copied"
    lab.poll()
    assert lab.states() == PROVED
    assert data_files(lab.published()) == data_files(lab.staged())
    assert problem(lab) is None


def test_a_file_that_grows_for_ever_is_not_chased(lab: Lab) -> None:
    path = lab.push(files={"endless.raw": b"x" * (3 << 20)}) / "endless.raw"

    def grow() -> None:
        assert path.stat().st_size < 64 << 20, "the copy runs after the end of the file"
        with path.open("ab") as file:
            file.write(b"x" * (1 << 20))

    poll(lab, While("advance", grow))
    assert problem(lab) == "changed_while_copied"
    assert not lab.published().exists()


def test_a_run_that_vanishes_while_it_is_copied_is_reported_and_nothing_of_it_is_published(lab: Lab) -> None:
    lab.push()
    lab.push(OTHER)
    poll(lab, While("begin", lambda: lab.staged().exists() and lab.staged().rename(lab.root / "taken away")))
    lab.poll()
    assert problem(lab) == "run_disappeared"
    assert not lab.published().exists()
    assert lab.states(OTHER) == PROVED


# -- the whole tree ------------------------------------------------------------------------------------------


def test_empty_folders_empty_files_and_times_arrive_too(lab: Lab) -> None:
    folder = lab.push(files={"a.fcs": b"aaa", "empty.log": b"", "sub/x": b"x", ".hidden/y": b"y"})
    (folder / "no files/in here").mkdir(parents=True)
    times = {"a.fcs": 1, "empty.log": 1_500_000_000_123_456_789, "sub/x": 5_000_000_000 * 10**9, ".hidden/y": -(10**9)}
    for name, mtime in times.items():
        os.utime(folder / name, ns=(mtime, mtime))
    for number, name in enumerate(("no files/in here", "no files", "sub", "")):
        os.utime(folder / name, ns=(number, number))
    lab.poll()
    assert lab.states() == PROVED
    assert (lab.published() / "no files/in here").is_dir()
    shown = {name: (lab.published() / name).stat().st_mtime_ns for name in (*times, "sub", "no files")}
    assert shown == {name: (folder / name).stat().st_mtime_ns for name in shown}
    assert tree(lab.published() / "sub") == tree(folder / "sub")


@pytest.mark.parametrize("seconds", [10_000_000_000, -1_000_000_000])
def test_a_file_of_a_far_century_is_copied_and_cleared_like_any_other(lab: Lab, seconds: int) -> None:
    folder = lab.push()
    os.utime(folder / "a.fcs", ns=(seconds * 10**9, seconds * 10**9))
    lab.poll()
    assert lab.states() == PROVED
    with lab.station() as station:
        assert clear(station, lab.run(), by="ada").files_cleared == 3


def test_a_sparse_file_arrives_with_its_content(lab: Lab) -> None:
    path = lab.push(files={"sparse.raw": b"begin"}) / "sparse.raw"
    os.truncate(path, 5 << 20)
    lab.poll()
    assert lab.states() == PROVED
    assert data_files(lab.published()) == data_files(lab.staged())


def modes(folder: Path) -> dict[str, str]:
    """Modes of data files and folders of a published run."""
    found = [folder, *(path for path in folder.rglob("*"))]
    return {str(path.relative_to(folder)): oct(path.stat().st_mode & 0o7777) for path in found}


def test_modes_and_group_are_as_configured_and_never_setuid(lab: Lab) -> None:
    group = grp.getgrgid(os.getgid()).gr_name
    lab.nas_options = f'group = "{group}"\ndir_mode = "2770"\nfile_mode = "0660"'
    lab.configure()
    folder = lab.push(files={"a.fcs": b"a", "sub/tool": b"#!"})
    os.chmod(folder / "sub/tool", 0o6755)
    os.chmod(folder / "a.fcs", 0o400)
    lab.poll()
    found = modes(lab.published())
    assert {name for name, mode in found.items() if mode != "0o2770"} == {
        "a.fcs",
        "sub/tool",
        "run_complete",
        *(name for name in found if name.startswith(".exlab-wizard/")),
    }
    assert {mode for name, mode in found.items() if mode != "0o2770"} == {"0o660"}
    assert (lab.published() / "a.fcs").stat().st_gid == os.getgid()
    assert oct(lab.published().parent.stat().st_mode & 0o7777) == "0o2770"


@pytest.mark.parametrize(("of_root", "folders", "files"), [(0o755, "0o755", "0o644"), (0o2775, "0o2775", "0o664")])
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_without_configuration_modes_follow_the_nas_folder_whatever_the_umask(
    lab: Lab, of_root: int, folders: str, files: str, umask: int
) -> None:
    os.chmod(lab.nas, of_root)
    os.chmod(lab.push() / "a.fcs", 0o777)
    before = os.umask(umask)
    try:
        lab.poll()
    finally:
        os.umask(before)
    found = modes(lab.published())
    assert (found["."], found["sub"], found["a.fcs"]) == (folders, folders, files)
    assert found[".exlab-wizard/ingest.json"] == files


# -- failures ------------------------------------------------------------------------------------------------


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> list[ExlabError]:
    """While this holds an error, every copy raises it."""
    errors: list[ExlabError] = []
    real = copy.copy_batch

    def failing(batch: copy.Batch, on_bytes: hashing.OnBytes) -> tuple[copy.Copied, ...]:
        if errors:
            raise errors[0]
        return real(batch, on_bytes)

    monkeypatch.setattr(mount, "copy_batch", failing)
    return errors


def test_a_failure_is_tried_again_later_and_later_and_then_waits_for_a_person(
    lab: Lab, broken: list[ExlabError]
) -> None:
    broken.append(SyncFailed("The disk of the NAS made a noise."))
    lab.now = datetime.now(UTC)
    lab.push()
    assert lab.poll().exit_status == 3
    for number, seconds in enumerate((30, 120, 480, 1800, 7200), start=1):
        assert attempts(lab) == number
        lab.now += timedelta(seconds=seconds - 1)
        assert lab.poll().exit_status == 0
        assert attempts(lab) == number, "it was tried too early"
        lab.now += timedelta(seconds=1)
        lab.poll()
    assert attempts(lab) == 6
    broken.clear()
    lab.now += timedelta(days=30)
    lab.poll()
    assert lab.states() == PROVED[:3]
    assert problem(lab) == "sync_failed"
    assert "exlab-orch sync" in (row(lab).waiting_for or "")

    with lab.station() as station:
        orders.make_due(station, lab.run(), by="ada")
    lab.poll()

    assert lab.states() == PROVED
    assert (problem(lab), attempts(lab)) == (None, 0)


def test_a_success_forgets_the_failures_before_it(lab: Lab, broken: list[ExlabError]) -> None:
    broken.append(SyncFailed("once"))
    lab.now = datetime.now(UTC)
    lab.push()
    lab.poll()
    broken.clear()
    lab.now += timedelta(seconds=30)
    lab.poll()
    assert lab.states() == PROVED
    assert (problem(lab), attempts(lab)) == (None, 0)


def test_one_run_that_fails_does_not_stop_the_others(lab: Lab) -> None:
    put_on_nas(lab, {"a.fcs": b"theirs"})
    lab.push()
    lab.push(OTHER)
    report = lab.poll()
    assert report.exit_status == 3
    assert report.failed == (RUN,)
    assert lab.states(OTHER) == PROVED


@pytest.mark.parametrize("entry", ["FLOW_01/PROJ-1", RUN])
@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("/etc")], ids=["file", "link"])
def test_a_file_or_link_in_the_runs_place_on_the_nas_blocks_until_it_is_gone(
    lab: Lab, entry: str, make: Callable[[Path], None]
) -> None:
    in_the_way = lab.nas / entry
    in_the_way.parent.mkdir(parents=True, exist_ok=True)
    make(in_the_way)
    lab.now = datetime.now(UTC)
    lab.push()
    assert lab.poll().exit_status == 3
    assert (problem(lab), attempts(lab)) == ("nas_conflict", 0)
    in_the_way.unlink()
    lab.now += timedelta(minutes=11)
    lab.poll()
    assert lab.states() == PROVED


def test_a_bug_met_with_one_run_does_not_stop_the_others(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    real = copy.copy_batch

    def failing(batch: copy.Batch, on_bytes: hashing.OnBytes) -> tuple[copy.Copied, ...]:
        if batch.source.path == RUN:
            raise ZeroDivisionError("a bug")
        return real(batch, on_bytes)

    monkeypatch.setattr(mount, "copy_batch", failing)
    lab.push()
    lab.push(OTHER)
    assert lab.poll().exit_status == 3
    assert problem(lab) == "sync_failed"
    assert lab.states(OTHER) == PROVED


def away(lab: Lab) -> Callable[[], object]:
    lab.nas.rename(lab.root / "unmounted")
    return lambda: (lab.root / "unmounted").rename(lab.nas)


def unmarked(lab: Lab) -> Callable[[], object]:
    content = (lab.nas / ".exlab-nas").read_bytes()
    (lab.nas / ".exlab-nas").unlink()
    return lambda: (lab.nas / ".exlab-nas").write_bytes(content)


def wrongly_marked(lab: Lab) -> Callable[[], object]:
    content = (lab.nas / ".exlab-nas").read_bytes()
    (lab.nas / ".exlab-nas").write_text("f" * 32 + "\n")
    return lambda: (lab.nas / ".exlab-nas").write_bytes(content)


FAULTS: list[tuple[Callable[[Lab], Callable[[], object]], str]] = [
    (away, "nas_not_mounted"),
    (unmarked, "nas_wrong_marker"),
    (wrongly_marked, "nas_wrong_marker"),
]


@pytest.mark.parametrize(("fault", "code"), FAULTS)
def test_a_fault_of_the_nas_uses_up_no_attempts_is_told_once_and_ends_by_itself(
    lab: Lab, fault: Callable[[Lab], Callable[[], object]], code: str
) -> None:
    lab.push()
    lab.push(OTHER)
    end = fault(lab)
    before = tree(lab.nas) if lab.nas.exists() else None
    told = []
    for _ in range(8):
        report = lab.poll()
        assert report.exit_status == 69
        told += [(one.kind, one.problem.code) for one in report.announcements]
    assert told == [("opened", code)]
    assert (tree(lab.nas) if lab.nas.exists() else None) == before
    assert (attempts(lab), attempts(lab, OTHER)) == (0, 0)
    end()
    report = lab.poll()
    assert report.exit_status == 0
    assert [(one.kind, one.problem.code) for one in report.announcements] == [("closed", code)]
    assert (lab.states(), lab.states(OTHER)) == (PROVED, PROVED)


def test_a_nas_that_is_away_is_asked_once_per_pass(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = right_place.probe_root

    def counting(root: str, lock_path: str) -> str:
        asked.append(root)
        return real(root, lock_path)

    monkeypatch.setattr(mount, "probe_root", counting)
    for number in range(5):
        lab.push(f"FLOW_01/PROJ-1/Runs/Run_{number}")
    away(lab)
    lab.poll()
    assert len(asked) <= 2


@pytest.mark.parametrize("when", ["begin", "end"])
@pytest.mark.parametrize(("fault", "code"), FAULTS)
def test_a_nas_that_goes_away_while_files_are_copied_proves_nothing(
    lab: Lab, fault: Callable[[Lab], Callable[[], object]], code: str, when: str
) -> None:
    lab.push()
    ends: list[Callable[[], object]] = []

    def go_away() -> None:
        if not ends:
            ends.append(fault(lab))

    report = poll(lab, While(when, go_away))
    assert report.exit_status == 69
    assert lab.states() == PROVED[:3]
    assert attempts(lab) == 0
    ends[0]()
    lab.poll()
    assert lab.states() == PROVED
    assert data_files(lab.published()) == data_files(lab.staged())


def test_a_full_nas_uses_up_no_attempts(lab: Lab, broken: list[ExlabError]) -> None:
    broken.append(NasFull("The NAS answered 'No space left on device'."))
    lab.push()
    for _ in range(8):
        assert lab.poll().exit_status == 69
    assert attempts(lab) == 0
    broken.clear()
    lab.poll()
    assert lab.states() == PROVED


@dataclass
class Space:
    """The free space that the NAS reports, of 1,000 blocks of 1,000 bytes."""

    free: int


@pytest.fixture
def space(monkeypatch: pytest.MonkeyPatch) -> Space:
    found = Space(1000)

    def statvfs(_: object) -> os.statvfs_result:
        return os.statvfs_result((1000, 1000, 1000, found.free, found.free, 0, 0, 0, 0, 255))

    monkeypatch.setattr(os, "statvfs", statvfs)
    return found


@pytest.mark.parametrize(("free", "fits"), [(150, True), (149, False), (0, False)])
def test_a_reserve_of_free_space_is_kept_on_the_nas(lab: Lab, space: Space, free: int, fits: bool) -> None:
    text = lab.config_path.read_text().replace("reserve_percent = 0", "reserve_percent = 5")
    lab.config_path.write_text(text)
    lab.push(files={"a.raw": b"x" * 100_000})
    space.free = free
    report = lab.poll()
    assert lab.states() == (PROVED if fits else PROVED[:3])
    assert [one.problem.code for one in report.announcements] == ([] if fits else ["nas_full"])
    assert fits or not hidden(lab).exists()
    space.free -= 1
    assert fits or lab.poll().announcements == ()
    space.free = 1000
    lab.poll()
    assert lab.states() == PROVED


# -- maintenance ---------------------------------------------------------------------------------------------


def pause(lab: Lab, until: datetime | None = None) -> None:
    with lab.station() as station:
        orders.pause(station, reason="new disks", by="ada", until=until)


def test_a_paused_nas_gets_nothing_and_runs_are_still_judged(lab: Lab) -> None:
    pause(lab)
    lab.push()
    told = []
    for _ in range(3):
        report = lab.poll()
        assert report.exit_status == 0
        told += [(one.kind, one.problem.code) for one in report.announcements]
    assert told in ([], [("opened", "nas_paused")])
    assert lab.states() == PROVED[:3]
    assert not (lab.nas / "FLOW_01").exists()
    assert "new disks" in (row(lab).waiting_for or "")
    with lab.station() as station:
        assert orders.resume(station) == [str(lab.nas)]
    lab.poll()
    assert lab.states() == PROVED


def test_a_pause_ends_by_itself_at_its_time(lab: Lab) -> None:
    lab.now = datetime.now(UTC)
    pause(lab, until=lab.now + timedelta(hours=6))
    lab.push()
    lab.poll()
    lab.now += timedelta(hours=6) - timedelta(milliseconds=1)
    lab.poll()
    assert lab.states() == PROVED[:3]
    lab.now += timedelta(milliseconds=1)
    lab.poll()
    assert lab.states() == PROVED


# -- a NAS that does not give back what was written ----------------------------------------------------------


@pytest.fixture
def damaged(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Each name in it stands for one read-back of that file that gives back other bytes than were written."""
    names: list[bytes] = []
    real = hashing.read_back

    def read_back(folder: int, name: bytes, on_bytes: hashing.OnBytes) -> tuple[Identity, str]:
        stamp, sha256 = real(folder, name, on_bytes)
        if name in names:
            names.remove(name)
            return stamp, "0" * 64
        return stamp, sha256

    monkeypatch.setattr(copy, "read_back", read_back)
    return names


def test_a_file_that_reads_back_differently_once_is_sent_again(
    lab: Lab, damaged: list[bytes], copied: list[bytes]
) -> None:
    damaged += [b"sub/b.fcs"]
    lab.push()
    lab.poll()
    assert lab.states() == PROVED
    assert sorted(copied) == [b"a.fcs", b"run_complete", b"sub/b.fcs", b"sub/b.fcs"]
    assert data_files(lab.published()) == data_files(lab.staged())


def test_a_file_that_reads_back_differently_twice_is_an_alarm_that_a_person_must_end(
    lab: Lab, damaged: list[bytes]
) -> None:
    damaged += [b"sub/b.fcs", b"sub/b.fcs"]
    lab.now = datetime.now(UTC)
    lab.push()
    assert lab.poll().exit_status == 3
    assert problem(lab) == "hash_mismatch"
    assert "sub/b.fcs" in str(row(lab).problem)
    for _ in range(3):
        lab.now += timedelta(days=1)
        lab.poll()
    assert lab.states() == PROVED[:3]
    assert not lab.published().exists()
    with lab.station() as station:
        orders.make_due(station, lab.run(), by="ada")
    lab.poll()
    assert lab.states() == PROVED
    assert data_files(lab.published()) == data_files(lab.staged())


def opened_path(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_file_whose_flush_failed_is_written_anew_and_never_merely_flushed_again(
    lab: Lab, copied: list[bytes], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = os.fsync
    failed: list[int] = []

    def fsync(descriptor: int) -> None:
        if not failed and opened_path(descriptor).endswith("/a.fcs") and "/.exlab-part-" in opened_path(descriptor):
            failed.append(descriptor)
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    lab.now = datetime.now(UTC)
    lab.push()
    assert lab.poll().exit_status == (3 if number == errno.EIO else 69)
    assert not lab.published().exists()
    lab.now += timedelta(minutes=1)
    lab.poll()
    assert lab.states() == PROVED
    assert copied.count(b"a.fcs") == 2
    assert data_files(lab.published()) == data_files(lab.staged())


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENETUNREACH, errno.ESTALE, errno.ENOTCONN, errno.ECONNRESET])
def test_an_error_that_concerns_the_whole_nas_uses_up_no_attempts(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("exlab_orch.files.copy.write_all", fail)
    lab.push()
    for _ in range(7):
        assert lab.poll().exit_status == 69
    assert attempts(lab) == 0
    monkeypatch.undo()
    lab.poll()
    assert lab.states() == PROVED


def test_a_short_write_is_continued(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: real(descriptor, bytes(content)[:1000]))
    lab.push(files={"a.raw": bytes(range(256)) * 100})
    lab.poll()
    assert lab.states() == PROVED
    assert data_files(lab.published()) == data_files(lab.staged())


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Flushes, cache drops and reads by path, and renames by their target, in order."""
    seen: list[tuple[str, str]] = []
    fsync, fadvise, readv, move, replace = os.fsync, os.posix_fadvise, os.readv, mount_move.move, os.rename

    def see_fsync(descriptor: int) -> None:
        fsync(descriptor)
        seen.append(("flush", opened_path(descriptor)))

    def see_fadvise(descriptor: int, offset: int, length: int, advice: int) -> None:
        fadvise(descriptor, offset, length, advice)
        seen.append(("drop" if advice == os.POSIX_FADV_DONTNEED else "advise", opened_path(descriptor)))

    def see_readv(descriptor: int, buffers: list[memoryview]) -> int:
        seen.append(("read", opened_path(descriptor)))
        return readv(descriptor, buffers)

    def see_move(source: Place, name: str, target: Place, new_name: str) -> None:
        seen.append(("appear", target.below(new_name).absolute))
        move(source, name, target, new_name)

    def see_rename(name: str, new_name: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        seen.append(("replace", f"{opened_path(dst_dir_fd)}/{new_name}"))
        replace(name, new_name, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", see_fsync)
    monkeypatch.setattr(os, "posix_fadvise", see_fadvise)
    monkeypatch.setattr(os, "readv", see_readv)
    monkeypatch.setattr(mount, "move", see_move)
    monkeypatch.setattr(os, "rename", see_rename)
    return seen


def test_every_copied_file_is_flushed_and_dropped_from_memory_before_it_is_read_back(
    lab: Lab, calls: list[tuple[str, str]]
) -> None:
    lab.push()
    lab.poll()
    for name in ("a.fcs", "sub/b.fcs"):
        path = str(hidden(lab) / name)
        done = [what for what, where in calls if where == path]
        assert done.index("flush") < done.index("drop") < done.index("read")
        assert "flush" not in done[done.index("read") :]


def test_everything_is_on_the_disk_of_the_nas_before_the_run_appears(lab: Lab, calls: list[tuple[str, str]]) -> None:
    (lab.push() / "empty/folder").mkdir(parents=True)
    lab.poll()
    appears = calls.index(("appear", str(lab.published())))
    names = [str(path.relative_to(lab.published())) for path in lab.published().rglob("*")]
    later = (".exlab-wizard/wizard.", ".exlab-wizard/ingest.json", ".exlab-wizard/checksums.sha256")
    wanted = {str(hidden(lab) / name) for name in names if not name.startswith(later)} | {str(hidden(lab))}
    flushed = {where for what, where in calls[:appears] if what == "flush"}
    assert wanted - flushed == set()
    assert ("flush", str(lab.published().parent)) in calls[appears:]


def test_a_clear_reads_the_nas_past_the_memory_of_this_computer(lab: Lab, calls: list[tuple[str, str]]) -> None:
    lab.push()
    lab.poll()
    calls.clear()
    with lab.station() as station:
        clear(station, lab.run(), by="ada")
    done = [what for what, where in calls if where == str(lab.published() / "a.fcs")]
    assert done.index("drop") < done.index("read")


def test_a_record_is_on_the_disk_before_it_takes_the_place_of_the_old_one(
    lab: Lab, calls: list[tuple[str, str]]
) -> None:
    lab.push()
    lab.poll()
    folders = (str(lab.staged() / ".exlab-wizard"), str(lab.published() / ".exlab-wizard"))
    for folder in folders:
        replaced = [number for number, call in enumerate(calls) if call == ("replace", f"{folder}/ingest.json")]
        assert replaced
        for number in replaced:
            before, after = calls[number - 1], calls[number + 1]
            assert before[0] == "flush"
            assert before[1].startswith(f"{folder}/.ingest.json.")
            assert after == ("flush", folder)


# -- order ---------------------------------------------------------------------------------------------------


def test_until_the_proof_is_recorded_the_record_on_the_nas_says_that_it_is_not(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks: list[int] = []
    real = mount.MountedNas.check

    def check(self: mount.MountedNas) -> None:
        if lab.published().exists() and not checks:
            checks.append(1)
            raise NasUnreachable("gone right after it was published")
        real(self)

    monkeypatch.setattr(mount.MountedNas, "check", check)
    lab.push()
    lab.poll()
    assert lab.states() == PROVED[:3]
    assert [state for state, _ in steps_of(lab.nas_record())] == PROVED[:3]
    lab.poll()
    assert lab.states() == PROVED
    assert [state for state, _ in steps_of(lab.nas_record())] == PROVED


def test_a_record_that_cannot_be_mirrored_un_proves_nothing_and_is_mirrored_later(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = mount.MountedNas.put_small
    refused: list[str] = []

    def put_small(self: mount.MountedNas, run_path: str, area: Area, name: str, content: bytes) -> None:
        if area == "published" and not refused:
            refused.append(name)
            raise SyncFailed("The NAS answered 'Input/output error'.")
        real(self, run_path, area, name, content)

    monkeypatch.setattr(mount.MountedNas, "put_small", put_small)
    lab.push()
    lab.poll()
    assert refused
    assert lab.states() == PROVED
    lab.poll()
    assert [state for state, _ in steps_of(lab.nas_record())] == PROVED
    assert problem(lab) is None


def test_a_record_that_waits_to_be_mirrored_is_not_written_into_a_bare_mount_point(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put_small(self: mount.MountedNas, run_path: str, area: Area, name: str, content: bytes) -> None:
        raise SyncFailed("The NAS answered 'Input/output error'.")

    lab.push()
    lab.poll(frozenset({"evaluate"}))
    real = mount.MountedNas.put_small
    monkeypatch.setattr(
        mount.MountedNas,
        "put_small",
        lambda self, run_path, area, name, content: (real if area == "part" else put_small)(
            self, run_path, area, name, content
        ),
    )
    lab.poll()
    monkeypatch.undo()
    assert lab.states() == PROVED
    lab.nas.rename(lab.root / "unmounted")
    lab.nas.mkdir()
    for _ in range(2):
        lab.poll()
    assert tree(lab.nas) == {}
    lab.nas.rmdir()
    (lab.root / "unmounted").rename(lab.nas)
    lab.poll()
    assert [state for state, _ in steps_of(lab.nas_record())] == PROVED


def changed(before: dict[str, Print], after: dict[str, Print], ours: Iterable[str]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} - set(ours)


def test_copying_changes_nothing_in_staging_but_our_own_files(lab: Lab) -> None:
    lab.push(files={"a.fcs": b"aaa", ".exlab-wizard/creation.json": b"{}", ".exlab-wizard/wizard.pc-7.log": b"theirs"})
    oracle = Oracle(lab)
    before = prints(lab.staged())
    lab.poll()
    oracle.require_nothing_lost()
    log = f".exlab-wizard/wizard.{socket.gethostname()}.log"
    ours = [".exlab-wizard/ingest.json", ".exlab-wizard/checksums.sha256", log]
    assert changed(before, prints(lab.staged()), ours) == set()
    assert (lab.published() / ".exlab-wizard/wizard.pc-7.log").read_bytes() == b"theirs"
