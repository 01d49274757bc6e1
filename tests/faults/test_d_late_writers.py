"""D. Late writers: the instrument changes the run while it is copied, proved, moved to the trash or deleted.

The real program waits at one system call while the instrument writes, through the folder that it has had open from the
beginning: so it reaches the run in the trash too. Whatever was staged once more, under whatever name, must be kept.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

from tests.faults.scenarios import CLEAR, POLL, Scenario, written_by_workers
from tests.faults.strace import NeverReached, Point, point_in, points_of, trace_of, while_it_waits_at
from tests.files.tricks import LATE_WRITERS
from tests.lab import RUN, Lab
from tests.oracle import Oracle, data_files

# -- what the instrument does, in the run folder ---------------------------------------------------------------


def rename_another_over(folder: Path) -> None:
    (folder / ".b.partial").write_bytes(b"another b")
    (folder / ".b.partial").replace(folder / "sub/b.fcs")


def new_files(folder: Path) -> None:
    (folder / "late.fcs").write_bytes(b"late")
    (folder / "later/deep").mkdir(parents=True)
    (folder / "later/deep/late.fcs").write_bytes(b"late too")


def store_through_a_mapping(folder: Path) -> None:
    with (folder / "a.fcs").open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[0] = ord("Z")


def rename_a_folder(folder: Path) -> None:
    (folder / "sub").rename(folder / "renamed")


def list_of_its_own(folder: Path) -> None:
    (folder / ".exlab-wizard").mkdir(exist_ok=True)
    (folder / ".exlab-wizard/own.partial").write_bytes(b"a list of the instrument's own")
    (folder / ".exlab-wizard/own.partial").replace(folder / ".exlab-wizard/checksums.sha256")


def to_one_file(act: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda folder: act(folder / "a.fcs")


KINDS: Final[dict[str, Callable[[Path], None]]] = {
    **{name: to_one_file(act) for name, act in LATE_WRITERS.items() if name != "rename over"},
    "rename over": rename_another_over,
    "new files": new_files,
    "mapped write": store_through_a_mapping,
    "folder renamed": rename_a_folder,
    "its own checksum list": list_of_its_own,
}

# -- when ------------------------------------------------------------------------------------------------------

PUBLISH, TRASHED, RECORD = r"renameat2\(.*exlab-part", r"renameat2\(.*\"Run_", r"rename.*ingest\.json\"\)"
WINDOWS: Final[dict[str, tuple[Scenario, list[str]]]] = {
    "before the copy": (POLL, [r"mkdirat\(.*exlab-part"]),
    "before the checksum list": (POLL, [r"rename.*checksums\.sha256\"\)"]),
    "between read-back and publishing": (POLL, [PUBLISH]),
    "between publishing and record": (POLL, [PUBLISH, RECORD]),
    "after the record": (POLL, [PUBLISH, RECORD, "pwrite64"]),
    "between proof and trash": (CLEAR, [TRASHED]),
    "before the record in the trash": (CLEAR, [TRASHED, RECORD]),
    "before the record on the NAS": (CLEAR, [TRASHED, RECORD, RECORD]),
    "before a file is set aside": (CLEAR, [r"renameat2\(.*\"a\.fcs"]),
    "before a file is unlinked": (CLEAR, [r"unlinkat\(.*deleting-[0-9a-f]+-a"]),
    "in the middle of the deletes": (CLEAR, [r"renameat2\(.*\"b\.fcs"]),
    "before the folders go": (CLEAR, [r"unlinkat\(.*\"deep\""]),
    "before our own files go": (CLEAR, [r"unlinkat\(.*deleting-[0-9a-f]+-c", r"unlinkat\(.*\"checksums"]),
    "before the record goes": (CLEAR, [r"unlinkat\(.*deleting-[0-9a-f]+-c", r"unlinkat\(.*\"ingest"]),
    "before the run folder goes": (CLEAR, [r"unlinkat\(.*\"Run_.*REMOVEDIR"]),
}
IN_COPY: Final = "during the copy"
MOVED: Final = "right after the move to the trash"
AFTER_THE_MOVE: Final = Point("fsync", 1, (f"staging/{RUN.rpartition('/')[0]}",))
"""The folder that the run was in is flushed once: when the run has left it."""


@cache
def trace(scenario: Scenario) -> list[str]:
    with TemporaryDirectory() as name:
        lab = scenario.prepare(Path(name))
        Oracle(lab)  # its canaries are looked at, which are calls too
        return trace_of(lab, scenario.command)


def window(when: str, lab: Lab) -> tuple[Scenario, Point]:
    """A command, and the call before which the instrument comes."""
    if when == IN_COPY:
        return POLL, Point("write", 1, (written_by_workers(lab)[0],))
    if when == MOVED:
        return CLEAR, AFTER_THE_MOVE
    scenario, patterns = WINDOWS[when]
    return scenario, point_in(trace(scenario), *patterns)


# -- what must be ------------------------------------------------------------------------------------------------


@contextmanager
def open_folder(folder: Path) -> Iterator[Path]:
    """The folder as the instrument has it open: it stays the same wherever it is moved."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    yield Path(f"/proc/self/fd/{descriptor}")
    os.close(descriptor)


def act_late(act: Callable[[Path], None], folder: Path) -> threading.Thread:
    """Let the instrument act; where it is made to wait for the program, it goes on when that is done."""

    def act_if_it_can() -> None:
        try:
            act(folder)
        except FileNotFoundError:
            return  # what it wanted to change is deleted already

    thread = threading.Thread(target=act_if_it_can)
    thread.start()
    thread.join(timeout=0.3)
    return thread


def guard_what_is_staged(oracle: Oracle, folder: Path, *, proved: bool) -> None:
    """What the instrument left counts; what it took away before a proof is its own loss.

    Bytes that are proved already count under the name they were proved under, whatever their folder is called by now.
    """
    before = oracle.hashes if proved else {}
    found = data_files(folder).items()
    oracle.hashes = before | {(RUN, name): sha256 for name, sha256 in found if sha256 not in before.values()}


def take_out_of_the_trash(lab: Lab) -> None:
    """What a person does with ``trash_leftover``: look, and move what is there back to the instrument's folder."""
    for slot in (lab.staging / ".exlab-orch/trash").glob("*"):
        for path in [path for path in sorted((slot / RUN).rglob("*")) if not path.is_dir() or path.is_symlink()]:
            name = path.relative_to(slot / RUN)
            if str(name) in data_names(slot / RUN) or path.is_symlink():
                (lab.staged() / name).parent.mkdir(parents=True, exist_ok=True)
                path.rename(lab.staged() / name)


def data_names(folder: Path) -> set[str]:
    return {os.fsdecode(name) for name in data_files(folder)}


def survive_late(scenario: Scenario, point: Point, act: Callable[[Path], None], root: Path) -> None:
    """The instrument acts while the command waits there; nothing of what is staged then may be lost or silent."""
    lab = scenario.prepare(root)
    oracle = Oracle(lab)
    with open_folder(lab.staged()) as folder:
        with while_it_waits_at(lab, scenario.command, point) as command:
            thread = act_late(act, folder)
            guard_what_is_staged(oracle, folder, proved=scenario is CLEAR)
        thread.join()
        guard_what_is_staged(oracle, folder, proved=scenario is CLEAR)
    assert command.returncode in (0, 3, 5), command.stderr
    assert "bug" not in command.stderr, command.stderr
    oracle.require_nothing_lost()
    if any((lab.staging / ".exlab-orch/trash").glob("*")):
        assert command.returncode != 0, "something stays in the trash, and nobody is told"
        code = lab.cli("poll").returncode
        oracle.require_nothing_lost()
        in_trash = any((lab.staging / ".exlab-orch/trash").glob("*"))
        assert code == 3 or not in_trash, "it stays in the trash, and the next pass says nothing"
        take_out_of_the_trash(lab)
    for link in [path for path in lab.staged().glob("*") if path.is_symlink()]:
        link.unlink()  # it blocks the run, and what was copied of it waits on the NAS
    oracle.settle()


SAMPLE = [pytest.param(when, list(KINDS)[3 * n % len(KINDS)]) for n, when in enumerate([IN_COPY, MOVED, *WINDOWS])]


@pytest.mark.spread(8)
@pytest.mark.parametrize(("when", "kind"), SAMPLE)
def test_what_is_written_late_is_never_lost(tmp_path: Path, when: str, kind: str) -> None:
    scenario, point = window(when, Lab(tmp_path))
    survive_late(scenario, point, KINDS[kind], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("when", [IN_COPY, MOVED, *WINDOWS])
def test_every_kind_of_late_writer_in_every_window(tmp_path: Path, when: str, kind: str) -> None:
    test_what_is_written_late_is_never_lost(tmp_path, when, kind)


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk", range(20))
@pytest.mark.parametrize("scenario", [POLL, CLEAR], ids=str)
def test_every_kind_of_late_writer_at_every_call(tmp_path: Path, scenario: Scenario, chunk: int, kind: str) -> None:
    found = points_of(scenario.prepare(tmp_path / "all"), scenario.command)
    for number, point in enumerate(found[chunk::20]):
        with suppress(NeverReached):  # a call of a thread that had less to do this time
            survive_late(scenario, point, KINDS[kind], tmp_path / str(number))
