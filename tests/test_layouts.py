"""Other layouts: names of run folders that a lab chooses, what is never a run, and what becomes of one that was."""

from __future__ import annotations

import os
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from exlab_orch.api import staged_run
from exlab_orch.cli.words import remarks
from exlab_orch.config import Equipment
from exlab_orch.errors import OutsideStaging, RunNotFound
from exlab_orch.finding import find_run
from exlab_orch.listing import list_staged_runs
from exlab_orch.passes import PassReport
from exlab_orch.rows import list_rows
from exlab_orch.staging import discover, run_at, trash_slots
from tests.files.tricks import write
from tests.lab import EQUIPMENT, Lab, tree
from tests.oracle import Calendar, require_cleared

VENDOR = "FLOW_01/PROJ-1/Runs/230501_A00123"
PLAIN = "FLOW_01/PROJ-1/Runs/Run_1"


def equipment(*patterns: str) -> str:
    listed = ", ".join(f'"{pattern}"' for pattern in patterns)
    return EQUIPMENT.replace('id = "FLOW_01"\n', f'id = "FLOW_01"\nrun_pattern = [{listed}]\n')


def found(root: Path, *patterns: str) -> tuple[list[str], list[str]]:
    discovery = discover(str(root), ["FLOW_01"], {"FLOW_01": patterns})
    return [run.run_path for run in discovery.runs], [stray.path for stray in discovery.strays]


def codes(report: PassReport) -> list[tuple[str, str]]:
    return [(one.kind, one.problem.code) for one in report.announcements]


# -- which folders are runs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["FLOW_01/P/Runs/", "FLOW_01/P/TestRuns/", "FLOW_01/P/"])
@pytest.mark.parametrize(
    ("name", "is_run"),
    [
        ("230501_A00123", True),
        ("Exp 7", True),
        ("Run_1", False),
        ("exp 7", False),
        ("230501_B", False),
        (".230501_A", False),
    ],
)
def test_the_names_of_runs_are_those_of_the_equipment(tmp_path: Path, place: str, name: str, is_run: bool) -> None:
    path = f"{place}{name}"
    (tmp_path / path).mkdir(parents=True)
    patterns = ("[0-9][0-9][0-9][0-9][0-9][0-9]_A*", "Exp *")
    runs, strays = found(tmp_path, *patterns)
    assert (runs, strays) == (([path], []) if is_run else ([], [path]))
    at = run_at(str(tmp_path), path, {"FLOW_01": patterns})
    assert (at is not None) == is_run
    assert run_at(str(tmp_path), path, {"OTHER_01": patterns}) is None or name == "Run_1"


@pytest.mark.parametrize("pattern", ["*", "[RT]*", "*Runs", "?*"])
def test_a_pattern_that_swallows_everything_leaves_the_shelves_and_hidden_folders(tmp_path: Path, pattern: str) -> None:
    for path in ("Runs/Run_Runs", "TestRuns/Test_Runs", ".snapshot/Runs", "Runs/.hidden"):
        (tmp_path / "FLOW_01/P" / path).mkdir(parents=True)
    runs, strays = found(tmp_path, pattern)
    assert runs == ["FLOW_01/P/Runs/Run_Runs", "FLOW_01/P/TestRuns/Test_Runs"]
    assert strays == ["FLOW_01/P/.snapshot", "FLOW_01/P/Runs/.hidden"]
    for shelf in ("Runs", "TestRuns"):
        assert run_at(str(tmp_path), f"FLOW_01/P/{shelf}", {"FLOW_01": (pattern,)}) is None


def test_a_run_in_a_run_is_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "FLOW_01/P/first/Runs/second").mkdir(parents=True)
    assert found(tmp_path, "*") == (["FLOW_01/P/first"], [])
    assert run_at(str(tmp_path), "FLOW_01/P/first/Runs/second", {"FLOW_01": ("*",)}) is None


def test_files_and_links_that_match_are_no_runs(tmp_path: Path) -> None:
    write(tmp_path, b"FLOW_01/P/Runs/file")
    (tmp_path / "FLOW_01/P/Runs/link").symlink_to(tmp_path)
    assert found(tmp_path, "*") == ([], ["FLOW_01/P/Runs/file", "FLOW_01/P/Runs/link"])


def test_the_kind_of_a_run_follows_its_place(tmp_path: Path) -> None:
    for place in ("Runs", "TestRuns"):
        (tmp_path / f"FLOW_01/P/{place}/x").mkdir(parents=True)
    (tmp_path / "FLOW_01/P/y").mkdir()
    kinds = {run.run_path: run.run_kind for run in discover(str(tmp_path), ["FLOW_01"], {"FLOW_01": ("*",)}).runs}
    assert list(kinds.values()) == ["experimental", "test", "experimental"]


@pytest.mark.parametrize("pattern", ["", "a/b", "Runs/*", "..", ".hidden", "a\\b", "a\nb", "x" * 256, [], 5])
def test_a_pattern_that_is_no_name_of_a_folder_is_refused(pattern: object) -> None:
    with pytest.raises(ValidationError):
        Equipment.model_validate({"id": "A", "completeness_signal": "manifest", "run_pattern": pattern})


def test_a_vendor_folder_goes_its_whole_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(tmp_path, equipment=equipment("??????_A*"), cleanup='mode = "scheduled"\nretain_hours = 1')
    time = Calendar(lab, monkeypatch)
    lab.push(VENDOR)
    lab.poll()
    assert lab.states(VENDOR)[-1] == "sync_verified"
    assert [one.path.name for one in list_staged_runs(config=lab.config)] == ["230501_A00123"]
    assert staged_run(lab.config, lab.staged(VENDOR)).run_path == VENDOR
    time.wait(hours=2)
    lab.poll()
    require_cleared(lab, VENDOR)


# -- what is not a run says how to become one ----------------------------------------------------------------


def hint_of(lab: Lab, path: str) -> str:
    with lab.station(changing=False) as station:
        return next(stray.hint for stray in station.discover().strays if stray.path == path)


@pytest.mark.parametrize(
    ("path", "becomes"),
    [
        ("FLOW_01/PROJ-1/Exp 7", "FLOW_01/PROJ-1/Runs/Run_Exp 7"),
        ("FLOW_01/PROJ-1/Runs/Exp'7", "FLOW_01/PROJ-1/Runs/Run_Exp'7"),
        ("FLOW_01/PROJ-1/TestRuns/7", "FLOW_01/PROJ-1/TestRuns/TestRun_7"),
        ("FLOW_01/PROJ-1/TestRun_7", "FLOW_01/PROJ-1/TestRuns/TestRun_7"),
        ("FLOW_01/PROJ-1/TestRuns/Run_7", "FLOW_01/PROJ-1/Runs/Run_7"),
        ("FLOW_01/PROJ-1/Runs/run_7", "FLOW_01/PROJ-1/Runs/Run_7"),
    ],
)
def test_the_commands_of_a_hint_make_it_a_run(lab: Lab, path: str, becomes: str) -> None:
    lab.push(path)
    hint = hint_of(lab, path)
    command = hint.removeprefix("To make it a run: ").partition("   Or, ")[0]
    assert shlex.split(command)
    subprocess.run(["sh", "-ec", command], check=True)
    lab.poll()
    assert lab.states(becomes)[-1] == "sync_verified"


@pytest.mark.parametrize(
    ("shelf", "name", "proper"), [("Rusn", "Run_7", "Runs"), ("my tests", "TestRun_7", "TestRuns")]
)
def test_a_mistyped_folder_for_runs_is_not_taken_for_a_run_itself(lab: Lab, shelf: str, name: str, proper: str) -> None:
    lab.push(f"FLOW_01/PROJ-1/{shelf}/{name}")
    hint = hint_of(lab, f"FLOW_01/PROJ-1/{shelf}")
    subprocess.run(["sh", "-ec", hint.partition("To move them there: ")[2]], check=True)
    assert not lab.staged(f"FLOW_01/PROJ-1/{shelf}").exists()
    lab.poll()
    assert lab.states(f"FLOW_01/PROJ-1/{proper}/{name}")[-1] == "sync_verified"


@pytest.mark.parametrize(
    ("place", "named"),
    [
        ("FLOW_02/PROJ-1/Runs", "Run_2030-01-01"),
        ("FLOW_01/PROJ-1/Rusn", "Run_2030-01-01"),
        ("FLOW_01/PROJ-1/Rusn", "FLOW_01/PROJ-1/Rusn/Run_2030-01-01"),
        ("misc", "misc/Run_2030-01-01/"),
    ],
)
def test_a_run_in_the_wrong_place_is_found_by_its_name_with_what_to_do(lab: Lab, place: str, named: str) -> None:
    lab.push(PLAIN)
    lab.push(f"{place}/Run_2030-01-01")
    said = lab.cli("show", named).stderr
    assert said.startswith(f"{place}/Run_2030-01-01 lies in staging. ")
    assert len(said.splitlines()) == 2


def test_the_list_says_how_to_make_it_a_run(lab: Lab) -> None:
    lab.push("FLOW_01/PROJ-1/Runs/Exp-7")
    shown = lab.cli("list", "--json").stdout
    assert "To make it a run: mv -nT " in shown
    with lab.station(changing=False) as station:
        (row,) = list_rows(station, now=station.now())
    assert row.waiting_for is not None
    assert row.waiting_for == hint_of(lab, "FLOW_01/PROJ-1/Runs/Exp-7")
    assert (row.file_count, row.byte_total) == (3, 7)


@pytest.mark.parametrize("name", ["Exp 7", "[odd]*", 'quo"te', "ä"])
def test_the_setting_of_a_hint_makes_it_a_run(lab: Lab, name: str) -> None:
    path = f"FLOW_01/PROJ-1/{name}"
    lab.push(path)
    lab.push(PLAIN)
    setting = hint_of(lab, path).rpartition(": ")[2]
    assert tomllib.loads(setting)
    lab.equipment = EQUIPMENT.replace('id = "FLOW_01"\n', f'id = "FLOW_01"\n{setting}\n')
    lab.configure()
    lab.poll()
    assert lab.states(path)[-1] == lab.states(PLAIN)[-1] == "sync_verified"


def test_with_names_of_its_own_an_equipment_is_told_of_the_setting(tmp_path: Path) -> None:
    lab = Lab(tmp_path, equipment=equipment("Exp-*"))
    lab.push("FLOW_01/P/Runs/230501")
    assert hint_of(lab, "FLOW_01/P/Runs/230501") == (
        'To make it a run, in [[equipment]] FLOW_01 of the configuration: run_pattern = ["Exp-*", "230501"]'
    )


@pytest.mark.parametrize("name", ["flow_01", "Flow-01", "FLOW 01"])
def test_a_mistyped_equipment_is_told_with_the_command_that_moves_its_runs(lab: Lab, name: str) -> None:
    lab.push(f"{name}/PROJ-1/Runs/Run_9")
    hint = hint_of(lab, name)
    assert "have the instrument push there" in hint
    subprocess.run(["sh", "-ec", hint.rpartition(": ")[2]], check=True)
    assert not (lab.staging / name).exists()
    lab.poll()
    assert lab.states("FLOW_01/PROJ-1/Runs/Run_9")[-1] == "sync_verified"


@pytest.mark.parametrize("name", ["other_01", "Run_9", "loose files"])
def test_what_is_called_like_no_equipment_is_told_the_shape_of_a_run(lab: Lab, name: str) -> None:
    lab.push(f"{name}/PROJ-1/Runs/Run_9")
    assert hint_of(lab, name).startswith("Runs are folders EQUIPMENT/PROJECT/Runs/Run_")


def test_a_folder_that_cannot_be_an_equipment_is_told_how_one_is_written(lab: Lab) -> None:
    lab.push("Other_01/PROJ-1/Runs/Run_9")
    assert "capital letters, digits and _" in hint_of(lab, "Other_01")


def test_the_folder_that_every_ext4_disk_has_is_nobodys_business(lab: Lab) -> None:
    (lab.staging / "lost+found").mkdir(mode=0o700)
    (lab.staging / "FLOW_01").mkdir()
    (lab.staging / "FLOW_01/lost+found").touch()
    assert [stray.path for stray in discover(str(lab.staging), ["FLOW_01"]).strays] == ["FLOW_01/lost+found"]


def test_a_link_in_the_place_of_a_run_is_told_as_one(lab: Lab, tmp_path: Path) -> None:
    place = lab.staging / "FLOW_01/P/Runs"
    place.mkdir(parents=True)
    (place / "Run_1").symlink_to(tmp_path)
    assert hint_of(lab, "FLOW_01/P/Runs/Run_1").startswith("It is a link, and those are never followed.")


# -- a run that was pushed where projects belong -------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "names", "pattern", "parts"),
    [
        ("FLOW_01/230501_A", ["RunInfo.xml", "Data/x", "InterOp/y"], None, False),
        ("FLOW_01/230501_A", ["a.fcs", "b.fcs"], None, False),
        ("FLOW_01/Run_1", ["Data/x"], None, False),
        ("FLOW_01/230501_A", ["Data/x"], "23*", False),
        ("FLOW_01/P", ["notes.txt"], None, True),
        ("FLOW_01/P", ["Exp 7/x", "Exp 8/x"], None, True),
        ("FLOW_01/P", [".DS_Store", "Exp 7/x"], None, True),
        ("FLOW_01/P", ["notes.txt", "Exp 7/x", "Runs/.keep/x"], None, True),
        ("FLOW_01/P", ["a.txt", "b.txt", "Run_1/x"], None, True),
        ("FLOW_01/P", ["a.txt", "b.txt", "runs/Run_1/x"], None, True),
        ("FLOW_01/P", ["a.txt", "Exp 7/.exlab-wizard/ingest.json"], None, True),
    ],
)
def test_a_run_among_the_projects_is_told_as_one_and_its_parts_are_not(
    tmp_path: Path, folder: str, names: list[str], pattern: str | None, parts: bool
) -> None:
    for name in names:
        write(tmp_path, f"{folder}/{name}".encode())
    strays = discover(str(tmp_path), ["FLOW_01"], {} if pattern is None else {"FLOW_01": (pattern,)}).strays
    if parts:
        assert all(stray.path.startswith(f"{folder}/") for stray in strays)
    else:
        assert [stray.path for stray in strays] == [folder]


@pytest.mark.parametrize(("name", "becomes"), [("230501 A", "Run_230501 A"), ("Run_1", "Run_1")])
def test_the_command_for_a_run_among_the_projects_makes_it_a_run(lab: Lab, name: str, becomes: str) -> None:
    lab.push(f"FLOW_01/{name}")
    (stray,) = lab.station(changing=False).discover().strays
    subprocess.run(["sh", "-ec", stray.hint.rpartition(": ")[2]], check=True)
    lab.poll()
    assert lab.states(f"FLOW_01/PROJECT/Runs/{becomes}")[-1] == "sync_verified"


def test_who_asks_for_a_run_among_the_projects_is_told_what_to_do(lab: Lab) -> None:
    lab.push("FLOW_01/230501_A")
    asked = lab.cli("show", "FLOW_01/230501_A")
    assert "FLOW_01/230501_A lies where projects belong" in asked.stderr
    assert "mkdir -p" in asked.stderr


def test_a_known_run_is_told_although_its_project_is_now_full_of_loose_files(tmp_path: Path) -> None:
    lab = Lab(tmp_path, equipment=equipment("??????_A*"))
    run = "FLOW_01/P/230501_A00123"
    lab.push(run)
    lab.poll()
    for name in ("a.txt", "b.txt"):
        write(lab.staging / "FLOW_01/P", name.encode())
    lab.equipment = EQUIPMENT
    lab.configure()
    report = lab.poll()
    assert {one.problem.subject for one in report.announcements if one.problem.code == "not_a_run"} == {
        run,
        "FLOW_01/P/a.txt",
        "FLOW_01/P/b.txt",
    }


def test_what_to_do_stands_on_lines_that_can_be_copied(lab: Lab) -> None:
    lab.push("FLOW_01/PROJ-1/Runs/Exp-7")
    with lab.station(changing=False) as station:
        (row,) = list_rows(station, now=station.now())
    folder = f"{lab.staging}/FLOW_01/PROJ-1/Runs"
    assert [(one.text, one.is_whole) for one in remarks(row)[1:]] == [
        ("→ To make it a run:", False),
        (f"  mv -nT {folder}/Exp-7 {folder}/Run_Exp-7", True),
        ("→ Or, in [[equipment]] FLOW_01 of the configuration:", False),
        ('  run_pattern = ["Run_*", "TestRun_*", "Exp-7"]', True),
    ]


# -- a pattern that changes ----------------------------------------------------------------------------------


@pytest.fixture
def changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab with a proved run and one that still arrives, whose names matched until the pattern changed."""
    lab = Lab(tmp_path, equipment=equipment("??????_A*"), cleanup='mode = "scheduled"\nretain_hours = 1')
    time = Calendar(lab, monkeypatch)
    lab.push(VENDOR)
    lab.push(f"{VENDOR}_2", done=False)
    lab.poll()
    lab.equipment = EQUIPMENT
    lab.configure()
    time.wait(hours=100)
    return lab


def test_a_run_that_is_none_any_more_is_told_once_and_not_as_gone(changed: Lab) -> None:
    report = changed.poll()
    assert codes(report).count(("opened", "not_a_run")) == 2
    assert "run_disappeared" not in {code for _, code in codes(report)}
    messages = {one.problem.subject: one.problem.message for one in report.announcements}
    assert "It is proved on the NAS." in messages[VENDOR]
    assert "It is NOT proved on the NAS." in messages[f"{VENDOR}_2"]
    assert codes(changed.poll()) == []
    with changed.station(changing=False) as station:
        rows = {row.run: row for row in list_rows(station, now=station.now())}
    assert rows.keys() == {VENDOR, f"{VENDOR}_2"}
    told = rows[VENDOR].problem
    assert told is not None
    assert "was a run until run_pattern changed" in told.message
    assert rows[VENDOR].byte_total > 7


def test_it_is_never_deleted_by_the_schedule_or_by_a_command(changed: Lab) -> None:
    before = tree(changed.staged(VENDOR))
    changed.cleanup = 'mode = "scheduled"\nretain_hours = 1\nmin_free = "90%"\nmin_retain_hours = 0'
    changed.configure()
    assert changed.poll().cleared == ()
    assert changed.cli("clear", "--yes", VENDOR).returncode == 4
    assert changed.cli("clear", "--yes", "--all-verified").returncode in (0, 4)
    assert changed.cli("sync", VENDOR).returncode == 4
    with pytest.raises(OutsideStaging):
        staged_run(changed.config, changed.staged(VENDOR))
    with changed.station(changing=False) as station, pytest.raises(RunNotFound, match="not a run any more"):
        find_run(station, VENDOR)
    assert tree(changed.staged(VENDOR)) == before


def test_a_clear_that_was_asked_for_before_waits(tmp_path: Path) -> None:
    lab = Lab(tmp_path, equipment=equipment("??????_A*"))
    lab.push(VENDOR)
    lab.poll()
    assert lab.cli("clear", "--later", "--yes", VENDOR).returncode == 0
    lab.equipment = EQUIPMENT
    lab.configure()
    assert lab.poll().cleared == ()
    assert lab.staged(VENDOR).exists()


def test_when_the_pattern_matches_again_it_goes_on_where_it_was(changed: Lab) -> None:
    changed.poll()
    changed.equipment = equipment("??????_A*")
    changed.configure()
    report = changed.poll()
    assert codes(report).count(("closed", "not_a_run")) == 2
    require_cleared(changed, VENDOR)


def test_what_lies_in_the_trash_is_recognised_whatever_the_pattern_says_now(changed: Lab) -> None:
    slot = changed.staging / ".exlab-orch/trash/slot" / VENDOR
    slot.parent.mkdir(parents=True)
    os.rename(changed.staged(VENDOR), slot)
    (found,) = trash_slots(str(changed.staging))
    assert found.run is not None
    assert found.run.run_path == VENDOR
    changed.poll()
    assert changed.staged(VENDOR).exists(), "a proved run in the trash moves back"


def test_an_equipment_that_cannot_be_read_makes_no_run_a_stray(changed: Lab) -> None:
    """Only what was seen and is no run is told as such; what could not be looked at is not."""
    changed.equipment = EQUIPMENT.replace("FLOW_01", "FLOW_02")
    changed.configure()
    assert {code for _, code in codes(changed.poll())} == {"unknown_equipment"}
