"""D. Single moments: a folder that comes back during its clear, writers that hold a file open, files that never end."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.faults.scenarios import CLEAR, to_be_cleared
from tests.faults.strace import Point, environment_of, point_in, trace_of, while_it_waits_at
from tests.faults.test_d_late_writers import AFTER_THE_MOVE, open_folder, trace, window
from tests.lab import RUN, Lab
from tests.oracle import Oracle, data_files, require_cleared, require_program, require_root

# -- the run folder comes back -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "when", ["right after the move to the trash", "before a file is set aside", "before the run folder goes"]
)
def test_a_run_that_is_pushed_again_while_it_is_deleted_is_a_new_run(tmp_path: Path, when: str) -> None:
    scenario, point = window(when, Lab(tmp_path / "none"))
    lab = scenario.prepare(tmp_path)
    oracle = Oracle(lab)
    with while_it_waits_at(lab, scenario.command, point) as command:
        lab.push(files={"a.fcs": b"a second life", "more.fcs": b"m"})
        old = oracle.hashes
        oracle.remember()
    assert command.returncode == 0, command.stderr
    new, oracle.hashes = oracle.hashes, old | {key: found for key, found in oracle.hashes.items() if key not in old}
    oracle.require_nothing_lost()
    oracle.hashes = new
    oracle.settle()
    assert lab.record().history[0].text("reason") == "pushed_again"


def test_a_run_that_cannot_go_home_waits_in_the_trash_and_is_told(tmp_path: Path) -> None:
    """It changed on its way into the trash, and a new folder has its name: both are kept until a person has looked."""
    lab = to_be_cleared(tmp_path)
    oracle = Oracle(lab)
    with (
        open_folder(lab.staged()) as folder,
        while_it_waits_at(lab, CLEAR.command, AFTER_THE_MOVE) as command,
    ):
        (folder / "late.fcs").write_bytes(b"late")
        oracle.hashes[RUN, b"late.fcs"] = data_files(folder)[b"late.fcs"]
        lab.push(files={"other.fcs": b"of the new one"})
        oracle.remember()
    assert command.returncode == 5
    assert "Nothing was deleted" in command.stderr
    assert lab.cli("poll").returncode == 3
    assert lab.states()[-1] == "sync_verified", "the new run does not wait for the old one"
    oracle.require_nothing_lost()
    (slot,) = (lab.staging / ".exlab-orch/trash").glob("*")
    (slot / RUN / "late.fcs").rename(lab.staged() / "late.fcs")
    lab.staged().rename(lab.root / "looked at")
    oracle.histories.clear()  # another folder has the name now
    assert lab.cli("poll").returncode == 0
    for name in ("late.fcs", "other.fcs"):
        (lab.root / "looked at" / name).rename(lab.staged() / name)
    oracle.settle()


# -- somebody holds a file open --------------------------------------------------------------------------------


def hold_open(folder: Path, mode: str) -> int | mmap.mmap:
    """Open a file to write, or map it and close it."""
    descriptor = os.open(folder / "a.fcs", os.O_RDWR | os.O_NONBLOCK)
    if mode == "descriptor":
        return descriptor
    mapped = mmap.mmap(descriptor, 0)
    os.close(descriptor)
    return mapped


def write_and_close(held: int | mmap.mmap) -> None:
    if isinstance(held, int):
        os.pwrite(held, b"Z", 0)
        os.close(held)
    else:
        held[0] = ord("Z")
        held.close()


@pytest.mark.parametrize("mode", ["descriptor", "mapping"])
@pytest.mark.parametrize("when", ["between proof and trash", "right after the move to the trash"])
def test_a_writer_that_opened_a_file_before_the_second_look_brings_the_run_back(
    tmp_path: Path, when: str, mode: str
) -> None:
    scenario, point = window(when, Lab(tmp_path / "none"))
    lab = scenario.prepare(tmp_path)
    oracle = Oracle(lab)
    with open_folder(lab.staged()) as folder, while_it_waits_at(lab, scenario.command, point) as command:
        held = hold_open(folder, mode)
    assert command.returncode == 5
    assert "open for writing" in command.stderr
    write_and_close(held)
    oracle.remember()
    oracle.settle()


@pytest.mark.parametrize("mode", ["descriptor", "mapping"])
@pytest.mark.parametrize("when", ["before the record on the NAS", "in the middle of the deletes"])
def test_a_writer_that_opened_a_file_after_the_second_look_keeps_it_in_the_trash(
    tmp_path: Path, when: str, mode: str
) -> None:
    scenario, point = window(when, Lab(tmp_path / "none"))
    lab = scenario.prepare(tmp_path)
    oracle = Oracle(lab)
    with open_folder(lab.staged()) as folder:
        name = "sub/deep/c.fcs" if when == "in the middle of the deletes" else "a.fcs"
        with while_it_waits_at(lab, scenario.command, point) as command:
            held = os.open(folder / name, os.O_RDWR)
            mapped = mmap.mmap(held, 0)
            if mode == "mapping":
                os.close(held)
        assert command.returncode == 5, command.stderr
        mapped[0] = ord("Z")
        mapped.close()
        if mode == "descriptor":
            os.close(held)
        oracle.hashes[RUN, name.encode()] = data_files(folder)[name.encode()]
        assert lab.cli("poll").returncode == 3
        oracle.require_nothing_lost()
        lab.staged().joinpath(name).parent.mkdir(parents=True)
        (folder / name).rename(lab.staged() / name)
    oracle.settle()


def test_a_writer_that_wants_a_file_at_the_very_unlink_is_noticed(tmp_path: Path) -> None:
    """It waits in ``open`` while the program looks: the file gets its name back before the writer gets the file."""
    lab = to_be_cleared(tmp_path)
    oracle = Oracle(lab)
    late = threading.Thread(target=lambda: append(folder))
    with open_folder(lab.staged()) as folder:
        with while_it_waits_at(lab, CLEAR.command, point_in(trace(CLEAR), r"renameat2\(.*\"a\.fcs")) as command:
            late.start()
            late.join(timeout=0.3)
            assert late.is_alive(), "nobody keeps writers out"
        late.join()
        oracle.hashes[RUN, b"a.fcs"] = data_files(folder)[b"a.fcs"]
        assert command.returncode == 5, command.stderr
        oracle.require_nothing_lost()
        lab.staged().mkdir(parents=True)
        (folder / "a.fcs").rename(lab.staged() / "a.fcs")
    oracle.settle()


def test_a_service_user_to_whom_the_kernel_gives_no_leases_deletes_all_the_same(lab: Lab) -> None:
    """Leases are for a file's owner; what SMB wrote belongs to somebody else."""
    require_root()
    folder = lab.push()
    oracle = Oracle(lab)
    for name in data_files(folder):
        os.chown(os.path.join(os.fsencode(folder), name), 12345, 12345)
    for words in (("poll",), ("clear", "--yes", RUN)):
        without = [require_program("setpriv"), "--bounding-set=-lease", *lab.command(*words)]
        done = subprocess.run(without, capture_output=True, text=True, check=False, env=environment_of(lab))
        assert done.returncode == 0, done.stderr
    require_cleared(lab)
    oracle.settle()


def append(folder: Path) -> None:
    with (folder / "a.fcs").open("ab") as file:
        file.write(b"more")


# -- files that never end --------------------------------------------------------------------------------------

GROW = "import sys, time\nwhile True:\n  open(sys.argv[1], 'ab').write(b'x' * 4096)\n  time.sleep(0.0005)"


@contextmanager
def growing(path: Path) -> Iterator[None]:
    """Another process appends to the file, without end."""
    writer = subprocess.Popen([sys.executable, "-c", GROW, str(path)])
    yield
    writer.kill()
    writer.wait()


def test_a_file_that_never_stops_growing_stops_neither_the_pass_nor_another_run(lab: Lab) -> None:
    other = "FLOW_01/PROJ-1/Runs/Run_2026-04-18T10-00"
    folder = lab.push()
    lab.push(other)
    oracle = Oracle(lab)
    with growing(folder / "a.fcs"):
        for _ in range(3):
            assert lab.cli("poll").returncode in (0, 3)
    assert lab.states(other)[-1] == "sync_verified"
    oracle.remember()
    oracle.settle()
    assert lab.states()[-1] == "sync_verified"


def test_a_file_that_grows_after_the_proof_is_not_deleted(lab: Lab) -> None:
    folder = lab.push()
    oracle = Oracle(lab)
    assert lab.cli("poll").returncode == 0
    with growing(folder / "a.fcs"):
        assert lab.cli("clear", "--yes", RUN).returncode == 5
    oracle.remember()
    oracle.settle()


# -- signals that come too early or change -----------------------------------------------------------------------


def test_a_sentinel_before_its_data_only_makes_a_second_round(lab: Lab) -> None:
    lab.push(files={"a.fcs": b"first"})
    oracle = Oracle(lab)
    assert lab.cli("poll").returncode == 0
    lab.push(files={"b.fcs": b"the data comes after the sentinel"})
    oracle.remember()
    assert lab.cli("clear", "--yes", RUN).returncode == 5
    oracle.settle()
    assert data_files(lab.published()) == data_files(lab.staged())


MASSSPEC = "MASSSPEC_01/P/Runs/Run_1"


def manifest_of(**sizes: int) -> bytes:
    return json.dumps({"files": [{"path": f"{name}.raw", "size": size} for name, size in sizes.items()]}).encode()


def manifest_run(root: Path) -> Lab:
    lab = Lab(root)
    lab.push(MASSSPEC, {"a.raw": b"a", "manifest.json": manifest_of(a=1)}, done=False)
    return lab


@cache
def manifest_trace() -> list[str]:
    with TemporaryDirectory() as name:
        return trace_of(manifest_run(Path(name)), ("poll",))


def manifest_points() -> dict[str, Point]:
    return {
        "before the copy": point_in(manifest_trace(), r"mkdirat\(.*exlab-part"),
        "before publishing": point_in(manifest_trace(), r"renameat2\(.*exlab-part"),
    }


@pytest.mark.parametrize("when", ["before the copy", "before publishing"])
def test_a_manifest_that_is_replaced_while_the_run_is_copied_counts_as_it_is_now(tmp_path: Path, when: str) -> None:
    lab = manifest_run(tmp_path)
    oracle = Oracle(lab)
    with while_it_waits_at(lab, ("poll",), manifest_points()[when]) as command:
        lab.push(MASSSPEC, {"manifest.json": manifest_of(a=1, b=2)}, done=False)
        oracle.remember()
    assert command.returncode in (0, 3)
    assert lab.cli("poll").returncode == 0
    oracle.require_nothing_lost()
    assert lab.states(MASSSPEC)[-1] != "sync_verified", "the second file has not arrived"
    lab.push(MASSSPEC, {"b.raw": b"bb"}, done=False)
    oracle.remember()
    oracle.settle()
    assert lab.states(MASSSPEC)[-1] == "sync_verified"


# -- our own names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["checksums.sha256", "wizard.HOST.log"])
def test_a_file_pushed_under_one_of_our_names_after_the_proof_is_kept(lab: Lab, name: str) -> None:
    lab.push()
    assert lab.cli("poll").returncode == 0
    (log,) = (lab.staged() / ".exlab-wizard").glob("wizard.*")
    own = name.replace("wizard.HOST.log", log.name)
    (lab.staged() / ".exlab-wizard" / own).write_bytes(b"of the instrument")
    oracle = Oracle(lab)
    assert lab.cli("clear", "--yes", RUN).returncode == 5
    oracle.settle()
    assert lab.cli("clear", "--yes", RUN).returncode == 0
    require_cleared(lab)
    assert (lab.published() / f".exlab-wizard/pushed-1-{own}").read_bytes() == b"of the instrument"
