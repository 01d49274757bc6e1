"""C. Staging and NAS that are one place under two names, mounts and links inside runs, a staging disk that is away."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exlab_orch.transports.marker import MARKER
from tests.faults.scenarios import SCHEDULED, clear_once_more
from tests.lab import MARKER_ID, RUN, Lab
from tests.mounts import Mounts
from tests.oracle import Oracle, data_files, ledger, prints, require_cleared, require_program

pytestmark = pytest.mark.root
PROVED = ["staging", "complete", "sync_queued", "sync_verified"]
Make = Callable[[Lab, Mounts], object]


@pytest.fixture
def mounts() -> Iterator[Mounts]:
    with Mounts() as mounts:
        yield mounts


def problem_codes(lab: Lab) -> set[str]:
    with lab.station(changing=False) as station:
        return {problem.code for problem in station.journal.problems()}


def data_of(folder: Path) -> dict[str, object]:
    """Everything below a folder but what is ours."""
    return {name: one for name, one in prints(folder).items() if ".exlab-" not in name}


# -- staging and NAS are one place -----------------------------------------------------------------------------


def nas_at(lab: Lab, path: Path) -> None:
    """The configuration names that folder as the NAS, and its marker is there."""
    text = lab.config_path.read_text()
    lab.config_path.write_text(text.replace(f'root = "{lab.nas}"', f'root = "{path}"'))
    (path / MARKER).write_text(f"{MARKER_ID}\n")


def linked_nas(lab: Lab) -> None:
    (lab.root / "link").symlink_to(lab.staging)
    nas_at(lab, lab.root / "link")


def bound_nas(lab: Lab, mounts: Mounts, source: Path) -> None:
    mounts.bind(source, lab.nas)
    (lab.nas / MARKER).write_text(f"{MARKER_ID}\n")


def share_mounted_twice(lab: Lab, mounts: Mounts) -> None:
    """One folder under two mounts, neither of which is the other's source."""
    server = lab.root / "server"
    lab.staging.rename(server)
    lab.staging.mkdir()
    mounts.bind(server, lab.staging)
    bound_nas(lab, mounts, server)


def overlaid_nas(lab: Lab, mounts: Mounts) -> None:
    mounts.overlay(lab.staging, lab.nas)
    (lab.nas / MARKER).write_text(f"{MARKER_ID}\n")


ONE_PLACE: dict[str, Make] = {
    "equal": lambda lab, _: nas_at(lab, lab.staging),
    "inside": lambda lab, _: nas_at(lab, lab.staging / "FLOW_01"),
    "around": lambda lab, _: nas_at(lab, lab.root),
    "a link": lambda lab, _: linked_nas(lab),
    "a bind mount": lambda lab, mounts: bound_nas(lab, mounts, lab.staging),
    "a bind mount of a part": lambda lab, mounts: bound_nas(lab, mounts, lab.staging / "FLOW_01"),
    "a bind mount around it": lambda lab, mounts: bound_nas(lab, mounts, lab.root),
    "one share mounted twice": share_mounted_twice,
    "an overlay": overlaid_nas,
}


@pytest.mark.parametrize("place", ONE_PLACE)
def test_a_nas_that_is_the_staging_area_gets_nothing_and_nothing_is_deleted(
    tmp_path: Path, mounts: Mounts, place: str
) -> None:
    """From the first pass on, with clears that are due at once."""
    lab = Lab(tmp_path, cleanup=SCHEDULED)
    lab.push()
    ONE_PLACE[place](lab, mounts)
    before = data_of(lab.staging)
    codes = [lab.cli("poll").returncode, lab.cli("clear", "--yes", RUN).returncode, lab.cli("poll").returncode]
    assert 0 not in codes, codes
    assert 1 not in codes, codes
    assert data_of(lab.staging) == before
    assert ledger(lab) == []


@pytest.mark.parametrize("place", [place for place in ONE_PLACE if place != "one share mounted twice"])
def test_a_nas_that_becomes_the_staging_area_after_the_proof_deletes_nothing(
    tmp_path: Path, mounts: Mounts, place: str
) -> None:
    """A proved run would read back perfectly: it would be compared with itself."""
    lab = Lab(tmp_path)
    lab.push()
    lab.poll()
    ONE_PLACE[place](lab, mounts)
    before = data_of(lab.staging)
    assert lab.cli("clear", "--yes", RUN).returncode not in (0, 1)
    assert lab.cli("poll").returncode != 1
    assert data_of(lab.staging) == before
    assert ledger(lab) == []


def test_nas_files_that_are_hard_links_of_the_staged_ones_outlive_a_clear(lab: Lab, oracle: Oracle) -> None:
    """Somebody "copied" the run with cp -l: names are added, bytes are not. The NAS names are all that may count."""
    lab.push(files={"a.fcs": b"aaa", "twin.fcs": b"aaa"})
    oracle.remember()
    shutil.copytree(lab.staged(), lab.published(), copy_function=os.link)
    lab.poll()
    assert lab.states() == PROVED
    clear_once_more(lab)
    oracle.settle()
    require_cleared(lab)


# -- mounts and links inside staging ---------------------------------------------------------------------------


def folder_in_a_run(lab: Lab, mounts: Mounts) -> None:
    (lab.staged() / "mounted").mkdir()
    mounts.bind(lab.nas / "people", lab.staged() / "mounted")


def file_in_a_run(lab: Lab, mounts: Mounts) -> None:
    (lab.staged() / "mounted").touch()
    mounts.bind(lab.nas / "people/report.docx", lab.staged() / "mounted")


IN_RUN: dict[str, Make] = {"the NAS": folder_in_a_run, "a file of the NAS": file_in_a_run}


@pytest.mark.parametrize("what", IN_RUN)
def test_a_run_with_a_mount_in_it_is_not_copied(lab: Lab, oracle: Oracle, mounts: Mounts, what: str) -> None:
    lab.push()
    oracle.remember()
    IN_RUN[what](lab, mounts)
    assert lab.cli("poll").returncode == 3
    assert "special_file" in problem_codes(lab)
    assert not lab.published().exists()
    oracle.require_nothing_lost()
    mounts.undo_last()
    unmade(lab.staged() / "mounted")
    oracle.settle()
    assert lab.states() == PROVED


@pytest.mark.parametrize("what", IN_RUN)
def test_a_clear_never_walks_into_a_mount(lab: Lab, oracle: Oracle, mounts: Mounts, what: str) -> None:
    """Mounted there after the proof: a recursive delete would empty the NAS."""
    lab.push()
    lab.poll()
    oracle.remember()
    before = data_files(lab.nas / "people")
    IN_RUN[what](lab, mounts)
    assert lab.cli("clear", "--yes", RUN).returncode not in (0, 1)
    assert data_files(lab.nas / "people") == before
    oracle.require_nothing_lost()
    mounts.undo_last()
    unmade(lab.staged() / "mounted")
    oracle.settle()
    clear_once_more(lab)
    require_cleared(lab)


def unmade(path: Path) -> None:
    """Remove the mount point itself."""
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink()


@pytest.mark.parametrize("level", [RUN, "FLOW_01/PROJ-1", "FLOW_01"], ids=["run", "project", "equipment"])
@pytest.mark.parametrize("when", ["before", "after the proof"])
def test_a_folder_that_is_a_link_is_never_followed(lab: Lab, oracle: Oracle, level: str, when: str) -> None:
    """It leads to data of somebody else, outside the staging root."""
    lab.push()
    if when != "before":
        lab.poll()
    oracle.remember()
    before = prints(lab.staging / level)
    (lab.staging / level).rename(lab.root / "elsewhere")
    (lab.staging / level).symlink_to(lab.root / "elsewhere")
    assert lab.cli("poll").returncode in (0, 3)
    assert problem_codes(lab) & {"not_a_run", "run_disappeared"}
    assert lab.cli("clear", "--yes", RUN).returncode not in (0, 1)
    assert prints(lab.root / "elsewhere") == before
    (lab.staging / level).unlink()
    (lab.root / "elsewhere").rename(lab.staging / level)
    oracle.settle()
    assert lab.states() == PROVED


def test_a_staging_root_that_is_a_link_is_driven_like_any_other(lab: Lab, oracle: Oracle) -> None:
    lab.staging.rename(lab.root / "disk")
    lab.staging.symlink_to(lab.root / "disk")
    lab.push()
    oracle.remember()
    lab.poll()
    clear_once_more(lab)
    oracle.settle()
    require_cleared(lab)


# -- folders the service user may not read ---------------------------------------------------------------------


def as_service_user(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    """The program without root's right to read everything, as a service user runs it."""
    rights = "-dac_override,-dac_read_search"
    user = [require_program("setpriv"), f"--bounding-set={rights}", f"--inh-caps={rights}"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        [*user, *lab.command(*words)], capture_output=True, text=True, env=environment, check=False, timeout=60
    )


@pytest.mark.parametrize("closed", ["sub", "a.fcs", "."])
def test_what_the_service_user_may_not_read_is_told_and_never_left_out(lab: Lab, oracle: Oracle, closed: str) -> None:
    """A walk that passes over an unreadable folder would prove the run without it."""
    lab.push()
    oracle.remember()
    other = lab.staged() / closed
    mode = other.stat().st_mode
    other.chmod(0)
    assert as_service_user(lab, "poll").returncode == 3
    assert not lab.published().exists()
    assert "permission_denied" in as_service_user(lab, "list", "--json").stdout
    other.chmod(mode)
    assert as_service_user(lab, "sync", RUN).returncode == 0
    oracle.settle()
    assert lab.states() == PROVED


@pytest.mark.parametrize("closed", ["sub", "a.fcs", "."])
def test_what_the_service_user_may_not_read_any_more_is_not_cleared(lab: Lab, oracle: Oracle, closed: str) -> None:
    lab.push()
    lab.poll()
    oracle.remember()
    other = lab.staged() / closed
    mode = other.stat().st_mode
    other.chmod(0)
    assert as_service_user(lab, "clear", "--yes", RUN).returncode not in (0, 1)
    other.chmod(mode)
    oracle.settle()
    clear_once_more(lab)
    require_cleared(lab)


# -- the staging disk is not there -----------------------------------------------------------------------------


def disk(lab: Lab, mounts: Mounts) -> Path:
    """The staging root becomes a mount over an empty folder; returns what is mounted."""
    (lab.root / "disk").mkdir()
    mounts.bind(lab.root / "disk", lab.staging)
    return lab.root / "disk"


@pytest.mark.parametrize("words", [("poll",), ("list",), ("show", RUN), ("clear", "--yes", RUN)], ids=" ".join)
def test_an_empty_mount_point_is_no_staging_area_whose_runs_are_gone(
    tmp_path: Path, mounts: Mounts, words: tuple[str, ...]
) -> None:
    lab = Lab(tmp_path)
    staged = disk(lab, mounts)
    lab.push()
    oracle = Oracle(lab)
    lab.poll()
    mounts.undo_last()
    ended = lab.cli(*words)
    assert ended.returncode == 69, ended
    assert "takeover" in ended.stderr
    assert list(lab.staging.iterdir()) == []
    mounts.bind(staged, lab.staging)
    assert lab.cli("poll").returncode == 0
    assert "run_disappeared" not in problem_codes(lab)
    oracle.settle()


def test_a_staging_area_that_was_really_made_anew_is_taken_over(tmp_path: Path, mounts: Mounts) -> None:
    """The disk died and another one is there: the runs that were on it are reported as gone, new ones are driven."""
    lab = Lab(tmp_path)
    disk(lab, mounts)
    lab.push()
    lab.poll()
    mounts.undo_last()
    (lab.root / "new disk").mkdir()
    mounts.bind(lab.root / "new disk", lab.staging)
    other = lab.push("FLOW_01/PROJ-1/Runs/Run_other")
    assert lab.cli("poll").returncode == 69
    assert not (other / ".exlab-wizard").exists()
    assert lab.cli("takeover", "--yes").returncode == 0
    assert lab.cli("poll").returncode == 0
    assert lab.states("FLOW_01/PROJ-1/Runs/Run_other") == PROVED
    assert "run_disappeared" in problem_codes(lab)


@pytest.mark.parametrize("lost", [(), ("state",), ("state", "staging/.exlab-orch")], ids=["first", "state", "both"])
def test_a_first_run_and_one_whose_state_was_lost_need_no_takeover(tmp_path: Path, lost: tuple[str, ...]) -> None:
    """Where no journal remembers the staging root, its owner file is written without a question."""
    lab = Lab(tmp_path)
    lab.push()
    if lost:
        lab.poll()
    for name in lost:
        shutil.rmtree(lab.root / name)
    assert lab.cli("poll").returncode == 0
    assert lab.states()[-1] == "sync_verified"
