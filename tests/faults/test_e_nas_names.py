"""E. Names on a NAS that cannot hold them all: a real exFAT file system, where A is a and : is refused.

It is mounted by FUSE, which has neither links nor a rename that refuses to replace.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.oracle import Oracle, data_files, require_program, require_root

pytestmark = pytest.mark.root


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab whose NAS is an exFAT file system in a file."""
    require_root()
    make, mount = require_program("mkfs.exfat"), require_program("mount.exfat-fuse")
    image, nas = tmp_path / "image", tmp_path / "nas"
    nas.mkdir()
    with image.open("wb") as file:
        file.truncate(32 << 20)
    subprocess.run([make, image], check=True, capture_output=True)
    shown = subprocess.run(["losetup", "--find", "--show", image], check=True, capture_output=True, text=True)
    device = shown.stdout.strip()
    try:
        subprocess.run([mount, device, nas], check=True, capture_output=True)
        yield Lab(tmp_path)
    finally:
        subprocess.run(["umount", nas], check=False)
        subprocess.run(["losetup", "--detach", device], check=True)


def codes(lab: Lab) -> dict[str, str | None]:
    """The code of each run's problem, by its path below the equipment."""
    rows = json.loads(lab.cli("list", "--json").stdout)["runs"]
    found = {row["run"]: row["problem"] and row["problem"]["code"] for row in rows}
    return {run.removeprefix("FLOW_01/"): code for run, code in found.items() if run.endswith(("Run_1", "Run_2"))}


def names_on_the_nas(lab: Lab) -> set[str]:
    """Every folder of a project or run that the NAS has, hidden ones too; of canaries nothing."""
    folders = (path.relative_to(lab.nas / "FLOW_01") for path in (lab.nas / "FLOW_01").rglob("*") if path.is_dir())
    return {str(path) for path in folders if len(path.parts) in (1, 3) and path.parts[0] != "PROJ-1"}


HELD = {"P/Runs/Run_1": {"a.fcs": b"1"}, "Dot./Runs/Run_1": {"a.": b"2", "sub/ x": b"3"}, "Dot/Runs/Run_1": {"a": b"4"}}
REFUSED = {
    "p/Runs/Run_1": {"a.fcs": b"another project on any other NAS"},
    "p/Runs/Run_2": {"a.fcs": b"another project, and no run of that name"},
    "Col:on/Runs/Run_1": {"a.fcs": b"5"},
    "Case/Runs/Run_1": {"A.fcs": b"6", "a.fcs": b"7"},
    "Folders/Runs/Run_1": {"Sub/a.fcs": b"8", "sub/a.fcs": b"8"},
    "File/Runs/Run_1": {"10:32.fcs": b"9"},
}


def test_a_nas_that_ignores_case_never_merges_two_names_and_is_told_before_anything_is_copied(
    lab: Lab, oracle: Oracle
) -> None:
    for name, files in HELD.items():
        lab.push(f"FLOW_01/{name}", files)
    lab.poll()
    before = names_on_the_nas(lab)
    for name, files in REFUSED.items():
        lab.push(f"FLOW_01/{name}", files)
    oracle.remember()
    assert lab.cli("poll").returncode == 3
    assert codes(lab) == dict.fromkeys(HELD, None) | dict.fromkeys(REFUSED, "name_unsupported")
    assert names_on_the_nas(lab) - {"Case", "Folders", "File"} == before
    assert lab.cli("clear", "--all-verified", "--yes").returncode == 0
    for name in HELD:
        assert not lab.staged(f"FLOW_01/{name}").exists()
        assert data_files(lab.published(f"FLOW_01/{name}"))
    oracle.settle()


def test_a_run_whose_name_is_taken_but_for_its_case_waits_until_it_is_renamed(lab: Lab, oracle: Oracle) -> None:
    lab.push("FLOW_01/P/Runs/Run_A", {"a.fcs": b"first"})
    lab.poll()
    lab.push("FLOW_01/P/Runs/Run_a", {"a.fcs": b"second"})
    oracle.remember()
    assert lab.cli("poll").returncode == 3
    assert lab.cli("clear", "--yes", "FLOW_01/P/Runs/Run_a").returncode == 5
    oracle.settle()
    lab.staged("FLOW_01/P/Runs/Run_a").rename(lab.staged("FLOW_01/P/Runs/Run_b"))
    lab.poll()
    assert data_files(lab.published("FLOW_01/P/Runs/Run_b")) == data_files(lab.staged("FLOW_01/P/Runs/Run_b"))
    assert (lab.published("FLOW_01/P/Runs/Run_A") / "a.fcs").read_bytes() == b"first"
