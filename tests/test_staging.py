"""Staging: what is a run and what is not, what people call it, whose root it is, and what lies in the trash."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from exlab_orch.errors import (
    OutsideStaging,
    OwnerMismatch,
    RunAmbiguous,
    RunNotFound,
    StagingUnavailable,
    TrashLeftover,
)
from exlab_orch.layout import is_run_name
from exlab_orch.staging import (
    TRASH,
    Owner,
    discover,
    read_owner,
    remove_empty_slot,
    require_owner,
    require_root,
    resolve,
    run_at,
    trash_slots,
    write_owner,
)
from tests.files.privilege import ordinary_user
from tests.files.tricks import write
from tests.lab import tree

RUN = "FLOW_01/PROJ-1/Runs/Run_1"
OWNER = Owner("lab-pc", "0123456789abcdef", "/var/lib/exlab-orch")


def runs(root: Path) -> list[str]:
    return [run.run_path for run in discover(str(root), ["FLOW_01", "SCANNER_01"]).runs]


def strays(root: Path) -> dict[str, str]:
    return {stray.path: stray.code for stray in discover(str(root), ["FLOW_01", "SCANNER_01"]).strays}


# -- what is a run? ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("FLOW_01/PROJ-0042/Runs/Run_2026-04-17T14-32", "experimental"),
        ("FLOW_01/PROJ-0042/TestRuns/TestRun_2026-04-17T09-12", "test"),
        ("FLOW_01/PROJ-0042/Run_2026-04-10T08-00", "experimental"),
        ("SCANNER_01/a project with spaces/Runs/Run_[bold] é\n", "experimental"),
        ("FLOW_01/-rf/Runs/Run_", "experimental"),
    ],
)
def test_both_places_of_a_run_are_found(tmp_path: Path, path: str, kind: str) -> None:
    (tmp_path / path).mkdir(parents=True)
    (found,) = discover(str(tmp_path), ["FLOW_01", "SCANNER_01"]).runs
    assert (found.run_path, found.folder, found.run_kind) == (path, f"{tmp_path}/{path}", kind)
    parts = path.split("/")
    assert (found.equipment_id, found.project, found.name) == (
        parts[0],
        parts[1],
        parts[-1],
    )
    assert strays(tmp_path) == {}
    assert run_at(str(tmp_path), path) == found


@pytest.mark.parametrize(
    ("path", "stray", "code"),
    [
        ("lower/P/Runs/Run_1", "lower", "not_a_run"),
        ("01_FLOW/P/Runs/Run_1", "01_FLOW", "not_a_run"),
        ("FLOW-01/P/Runs/Run_1", "FLOW-01", "not_a_run"),
        ("E" * 33 + "/P/Runs/Run_1", "E" * 33, "not_a_run"),
        ("FLOW_01\n/P/Runs/Run_1", "FLOW_01\n", "not_a_run"),
        ("UNKNOWN_07/P/Runs/Run_1", "UNKNOWN_07", "unknown_equipment"),
        ("FLOW_01/.hidden/Runs/Run_1", "FLOW_01/.hidden", "not_a_run"),
        ("FLOW_01/P/Runs/run_1", "FLOW_01/P/Runs/run_1", "not_a_run"),
        ("FLOW_01/P/Runs/TestRun_1", "FLOW_01/P/Runs/TestRun_1", "not_a_run"),
        ("FLOW_01/P/TestRuns/Run_1", "FLOW_01/P/TestRuns/Run_1", "not_a_run"),
        ("FLOW_01/P/TestRun_1", "FLOW_01/P/TestRun_1", "not_a_run"),
        ("FLOW_01/P/other", "FLOW_01/P/other", "not_a_run"),
    ],
)
def test_a_folder_in_the_wrong_place_is_a_stray_and_never_a_run(
    tmp_path: Path, path: str, stray: str, code: str
) -> None:
    (tmp_path / path).mkdir(parents=True)
    assert runs(tmp_path) == []
    assert strays(tmp_path) == {stray: code}


@pytest.mark.parametrize(
    "path", ["loose", "FLOW_01/loose", "FLOW_01/P/loose", "FLOW_01/P/Runs/Run_1", "FLOW_01/P/Run_1"]
)
@pytest.mark.parametrize("kind", ["file", "link"])
def test_loose_files_and_links_are_strays_even_under_the_name_of_a_run(tmp_path: Path, path: str, kind: str) -> None:
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    if kind == "file":
        (tmp_path / path).write_bytes(b"x")
    else:
        (tmp_path / "FLOW_01/real/Runs").mkdir(parents=True)
        (tmp_path / path).symlink_to(tmp_path / "FLOW_01/real/Runs")
    assert runs(tmp_path) == []
    assert strays(tmp_path) == {path: "not_a_run"}


@pytest.mark.parametrize("linked", ["FLOW_01", "FLOW_01/P", "FLOW_01/P/Runs"])
def test_a_linked_folder_on_the_way_is_not_followed(tmp_path: Path, linked: str) -> None:
    (tmp_path / "elsewhere/P/Runs/Run_1/Runs/Run_1").mkdir(parents=True)
    root = tmp_path / "staging"
    (root / linked).parent.mkdir(parents=True)
    (root / linked).symlink_to(tmp_path / "elsewhere")
    assert runs(root) == []
    assert strays(root) == {linked: "not_a_run"}


def test_a_path_that_is_not_utf_8_is_told_and_not_touched(tmp_path: Path) -> None:
    write(tmp_path, b"FLOW_01/caf\xe9/Runs/Run_1/a")
    write(tmp_path, b"FLOW_01/P/Runs/Run_\xff/a")
    assert runs(tmp_path) == []
    assert strays(tmp_path) == {
        "FLOW_01/P/Runs/Run_\udcff": "name_unsupported",
        "FLOW_01/caf\udce9/Runs/Run_1": "name_unsupported",
    }


def test_what_is_said_about_a_stray_has_no_raw_byte_of_its_name(tmp_path: Path) -> None:
    for name in (b"new\nline", b"esc\x1b[31m", b"\xff", b"\xe2\x80\xae"):
        write(tmp_path, name)
    write(tmp_path, b"FLOW_01/P/Runs/Run_\xff\n/a")
    for stray in discover(str(tmp_path), ["FLOW_01"]).strays:
        assert stray.message.isprintable()
        stray.message.encode()


def test_what_would_make_a_stray_a_run_matches_its_name(tmp_path: Path) -> None:
    for name in (b'q"\\\x7f\n[1]', "\U0001f52c\u202e".encode()):
        write(tmp_path, b"FLOW_01/P/" + name + b"/a")
    for stray in discover(str(tmp_path), ["FLOW_01"]).strays:
        setting = stray.hint.partition("configuration: ")[2]
        assert setting.isprintable()
        patterns = tuple(tomllib.loads(setting)["run_pattern"])
        assert is_run_name(stray.path.rpartition("/")[2], "", patterns)


def test_no_setting_makes_a_run_of_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    write(tmp_path, b"FLOW_01/P/odd\xff/a")
    (stray,) = discover(str(tmp_path), ["FLOW_01"]).strays
    assert "name in UTF-8" in stray.hint
    assert "run_pattern" not in stray.hint


def test_our_own_folder_is_no_stray_and_runs_come_in_walk_order(tmp_path: Path) -> None:
    paths = ["FLOW_01/A/Run_2", "FLOW_01/A/Runs/Run_1", "FLOW_01/B/Runs/Run_1", "SCANNER_01/A/TestRuns/TestRun_1"]
    for path in [*reversed(paths), ".exlab-orch/trash/x/FLOW_01/A/Runs/Run_9"]:
        (tmp_path / path).mkdir(parents=True)
    assert runs(tmp_path) == paths
    assert strays(tmp_path) == {}


def test_a_run_inside_a_run_is_its_data(tmp_path: Path) -> None:
    (tmp_path / RUN / "Runs/Run_2").mkdir(parents=True)
    assert runs(tmp_path) == [RUN]


@pytest.mark.parametrize("closed", ["FLOW_01", "FLOW_01/P", "FLOW_01/P/Runs"])
def test_an_unreadable_folder_is_told_and_does_not_stop_the_others(tmp_path: Path, closed: str) -> None:
    for path in ("FLOW_01/P/Runs/Run_1", "SCANNER_01/P/Runs/Run_1"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / closed).chmod(0o000)
    with ordinary_user():
        assert runs(tmp_path) == ["SCANNER_01/P/Runs/Run_1"]
        assert strays(tmp_path) == {closed: "permission_denied"}


@pytest.mark.parametrize("how", ["missing", "closed", "file"])
def test_a_root_that_cannot_be_read_is_no_empty_root(tmp_path: Path, how: str) -> None:
    root = tmp_path / "staging"
    if how == "closed":
        root.mkdir(mode=0o000)
    elif how == "file":
        root.touch()
    with ordinary_user(), pytest.raises(StagingUnavailable) as raised:
        discover(str(root), [])
    assert raised.value.exit_status == 69
    if how != "closed":
        with pytest.raises(StagingUnavailable):
            require_root(str(root))


def test_a_root_that_is_there_is_available(tmp_path: Path) -> None:
    require_root(str(tmp_path))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "FLOW_01",
        "FLOW_01/P",
        "FLOW_01/P/Runs",
        "FLOW_01/P/Runs/x",
        "FLOW_01/P/Runs/Run_1/",
        "FLOW_01/P/Runs/Run_1/sub",
        "FLOW_01/P//Run_1",
        "FLOW_01/./Run_1",
        "FLOW_01/../Runs/Run_1",
        "FLOW_01/.P/Runs/Run_1",
        "/FLOW_01/P/Run_1",
        "flow/P/Run_1",
        ".exlab-orch/trash/Run_1",
    ],
)
def test_a_path_of_another_shape_names_no_run(path: str) -> None:
    assert run_at("/staging", path) is None


# -- names people give ---------------------------------------------------------------------------------------

KNOWN = [RUN, "FLOW_01/PROJ-2/Runs/Run_1", "FLOW_01/PROJ-2/Runs/Run_2"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (RUN, RUN),
        (RUN + "/", RUN),
        ("Run_2", KNOWN[2]),
        ("{root}/" + RUN, RUN),
        ("{root}/" + RUN + "///", RUN),
        ("{root}/../{name}/" + RUN, RUN),
        ("FLOW_01/PROJ-9/Runs/Run_never_seen", "FLOW_01/PROJ-9/Runs/Run_never_seen"),
        ("{root}/FLOW_01/PROJ-9/Run_old", "FLOW_01/PROJ-9/Run_old"),
    ],
)
def test_a_run_is_found_by_path_and_by_an_unambiguous_name(tmp_path: Path, text: str, path: str) -> None:
    found = resolve(str(tmp_path), text.format(root=tmp_path, name=tmp_path.name), KNOWN)
    assert (found.run_path, found.folder) == (path, f"{tmp_path}/{path}")


def test_a_run_is_found_through_a_linked_root_and_from_within_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real" / RUN).mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    assert resolve(str(tmp_path / "link"), f"{tmp_path}/real/{RUN}", []).run_path == RUN
    monkeypatch.chdir(tmp_path / "real" / RUN)
    assert resolve(str(tmp_path / "real"), ".", []).run_path == RUN
    assert resolve(str(tmp_path / "real"), "../Run_1", []).run_path == RUN


def test_an_ambiguous_name_lists_the_candidates(tmp_path: Path) -> None:
    with pytest.raises(RunAmbiguous) as raised:
        resolve(str(tmp_path), "Run_1", KNOWN)
    assert raised.value.exit_status == 4
    assert all(path in raised.value.message for path in KNOWN[:2])
    assert KNOWN[2] not in raised.value.message


@pytest.mark.parametrize("text", ["Run_9", "", "{root}/FLOW_01", "{root}/FLOW_01/P/Runs/x", "\x1b[31m\n"])
def test_a_name_nobody_has_is_not_found(tmp_path: Path, text: str) -> None:
    with pytest.raises(RunNotFound) as raised:
        resolve(str(tmp_path), text.format(root=tmp_path), KNOWN)
    assert raised.value.exit_status == 4
    assert raised.value.message.isprintable()


@pytest.mark.parametrize(
    "text", ["/", "/etc/passwd", "{root}/../other/FLOW_01/P/Runs/Run_1", "..", "{root}x/" + RUN, "{root}"]
)
def test_what_is_outside_the_staging_root_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(OutsideStaging) as raised:
        resolve(str(tmp_path), text.format(root=tmp_path), KNOWN)
    assert raised.value.exit_status == 5


# -- the trash -----------------------------------------------------------------------------------------------


def in_trash(root: Path) -> dict[str, str | None]:
    return {slot.place.path: None if slot.run is None else slot.run.place.path for slot in trash_slots(str(root))}


def test_without_a_trash_folder_there_is_nothing_in_it(tmp_path: Path) -> None:
    assert trash_slots(str(tmp_path)) == ()


@pytest.mark.parametrize("path", [RUN, "FLOW_01/P/TestRuns/TestRun_1", "FLOW_01/P/Run_1"])
def test_a_run_in_the_trash_keeps_its_path_and_lies_elsewhere(tmp_path: Path, path: str) -> None:
    write(tmp_path, f"{TRASH}/id/{path}/Run_x/a".encode())
    (slot,) = trash_slots(str(tmp_path))
    assert slot.run is not None
    assert slot.run.run_path == path
    assert slot.run.place.path == f"{TRASH}/id/{path}"


@pytest.mark.parametrize("empty", ["", "FLOW_01", "FLOW_01/P/Runs"])
def test_a_slot_cut_short_holds_no_run_and_is_removed(tmp_path: Path, empty: str) -> None:
    (tmp_path / TRASH / "id" / empty).mkdir(parents=True)
    (slot,) = trash_slots(str(tmp_path))
    assert slot.run is None
    remove_empty_slot(slot)
    assert list(tree(tmp_path)) == [".exlab-orch", TRASH]
    remove_empty_slot(slot)


@pytest.mark.parametrize("name", [b"precious", b"FLOW_01/P/notes", b"FLOW_01/P/Runs/Run_1"])
def test_a_slot_with_a_file_in_it_is_never_removed(tmp_path: Path, name: bytes) -> None:
    write(tmp_path / TRASH / "id", name)
    (slot,) = trash_slots(str(tmp_path))
    with pytest.raises(TrashLeftover):
        remove_empty_slot(replace(slot, run=None))
    assert (tmp_path / TRASH / "id" / os.fsdecode(name)).read_bytes() == b"data"


def test_an_odd_file_beside_a_trashed_run_does_not_hide_the_run(tmp_path: Path) -> None:
    write(tmp_path, f"{TRASH}/id/{RUN}/a".encode())
    for name in (b".DS_Store", b"FLOW_01/.DS_Store", b"FLOW_01/A folder/x"):
        write(tmp_path / TRASH / "id", name)
    assert in_trash(tmp_path) == {f"{TRASH}/id": f"{TRASH}/id/{RUN}"}


# -- the owner -----------------------------------------------------------------------------------------------


def test_the_first_one_becomes_the_owner_and_stays_it(tmp_path: Path) -> None:
    require_owner(str(tmp_path), OWNER)
    assert read_owner(str(tmp_path)) == OWNER
    require_owner(str(tmp_path), OWNER)
    require_owner(str(tmp_path), replace(OWNER, host="renamed"))
    assert read_owner(str(tmp_path)) == OWNER


@pytest.mark.parametrize("other", [replace(OWNER, machine="x"), replace(OWNER, state_dir="/x")])
def test_another_computer_or_state_directory_is_refused_until_it_takes_over(tmp_path: Path, other: Owner) -> None:
    require_owner(str(tmp_path), OWNER)
    with pytest.raises(OwnerMismatch) as raised:
        require_owner(str(tmp_path), other)
    assert raised.value.exit_status == 78
    assert "takeover" in raised.value.hint
    assert read_owner(str(tmp_path)) == OWNER
    write_owner(str(tmp_path), other)
    require_owner(str(tmp_path), other)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0",
        b"{}",
        b"[]",
        b"[" * 60_000,
        b"\xff",
        json.dumps({"host": 1, "machine": 2, "state_dir": 3}).encode(),
        json.dumps({"host": "h", "machine": "m", "state_dir": "s", "more": "x"}).encode(),
        b" " * (65 << 10),
    ],
)
def test_an_owner_file_that_cannot_be_understood_is_never_taken_for_ours(tmp_path: Path, content: bytes) -> None:
    require_owner(str(tmp_path), OWNER)
    path = tmp_path / ".exlab-orch/owner.json"
    path.write_bytes(content)
    with pytest.raises(OwnerMismatch):
        require_owner(str(tmp_path), OWNER)
    assert path.read_bytes() == content


@pytest.mark.parametrize("kind", ["folder", "fifo", "link to nowhere", "closed"])
def test_an_owner_file_that_cannot_be_read_is_not_absent(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ".exlab-orch/owner.json"
    path.parent.mkdir()
    make: dict[str, Callable[[], object]] = {
        "folder": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
        "link to nowhere": lambda: path.symlink_to("nowhere"),
        "closed": lambda: path.touch(mode=0o000),
    }
    make[kind]()
    with ordinary_user(), pytest.raises(OwnerMismatch):
        require_owner(str(tmp_path), OWNER)


def test_an_owner_that_cannot_be_written_stops_the_command(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with ordinary_user(), pytest.raises(StagingUnavailable, match="cannot be written"):
            require_owner(str(tmp_path), OWNER)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "The name of the run is empty."),
        (" ", "The name of the run is empty."),
        ("{root}/FLOW_01/P", "No run is called FLOW_01/P."),
        ("FLOW_01/P/Runs/Run_1/a.fcs", "FLOW_01/P/Runs/Run_1/a.fcs lies in a run, and is none."),
        ("{root}/FLOW_01/P/Runs/Run_1/sub", "FLOW_01/P/Runs/Run_1/sub lies in a run, and is none."),
    ],
)
def test_what_names_no_run_is_told_as_what_it_is(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RunNotFound) as raised:
        resolve(str(tmp_path), text.format(root=tmp_path), ["FLOW_01/P/Runs/Run_1"])
    assert raised.value.message == said.format(root=tmp_path)
    assert "exlab-orch " in raised.value.hint


@pytest.mark.parametrize(
    "text", ["FLOW_01//P/Runs/Run_1", "FLOW_01/P/Runs/Run_1//", "Run_1/", "{root}//FLOW_01/P/Runs/Run_1/"]
)
def test_slashes_too_many_are_passed_over(tmp_path: Path, text: str) -> None:
    assert (
        resolve(str(tmp_path), text.format(root=tmp_path), ["FLOW_01/P/Runs/Run_1"]).run_path == "FLOW_01/P/Runs/Run_1"
    )


@pytest.mark.parametrize("text", [".", "./", "{root}/FLOW_01/P/Runs/Run_1", "../Run_1"])
def test_a_path_from_inside_staging_names_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    write(tmp_path, b"FLOW_01/P/Runs/Run_1/a")
    monkeypatch.chdir(tmp_path / "FLOW_01/P/Runs/Run_1")
    assert (
        resolve(str(tmp_path), text.format(root=tmp_path), ["FLOW_01/P/Runs/Run_1"]).run_path == "FLOW_01/P/Runs/Run_1"
    )


def test_a_folder_around_runs_leads_to_them(tmp_path: Path) -> None:
    with pytest.raises(RunNotFound) as raised:
        resolve(str(tmp_path), "FLOW_01/P 1/Runs", ["FLOW_01/P 1/Runs/Run_1"])
    assert raised.value.hint == "See the runs in it: exlab-orch list --equipment FLOW_01 --project 'P 1'"
