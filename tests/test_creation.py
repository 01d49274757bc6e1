"""creation.json: pushed data that may be absent, late, partial or wrong, and must never do harm."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from exlab_orch.creation import (
    CreationSnapshot,
    LimsProject,
    human_project_name,
    read_creation,
    require_agreement,
)
from exlab_orch.errors import CreationMismatch, PermissionRefused
from exlab_orch.model import Place, StagedRun
from tests.files.privilege import ordinary_user

RUN = StagedRun("FLOW_01/PROJ-1/Runs/Run_1", Place("/staging", "FLOW_01/PROJ-1/Runs/Run_1"))
TEST_RUN = StagedRun("FLOW_01/PROJ-1/TestRuns/TestRun_1", Place("/staging", "FLOW_01/PROJ-1/TestRuns/TestRun_1"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / ".exlab-wizard").mkdir()
    return tmp_path / ".exlab-wizard/creation.json"


def read(path: Path) -> CreationSnapshot | None:
    return read_creation(Place(str(path.parent.parent), ""))


def test_the_fields_that_matter_are_read_and_others_do_no_harm(path: Path) -> None:
    content = {
        "run_kind": "test",
        "equipment_id": "FLOW_01",
        "operator": "anna",
        "lims_project": {"name_at_creation": "Ångström", "short_id": "P1", "id": 7},
    }
    path.write_text(json.dumps(content))
    found = read(path)
    assert found is not None
    assert (found.run_kind, found.equipment_id) == ("test", "FLOW_01")
    assert found.lims_project is not None
    assert found.lims_project.name_at_creation == "Ångström"


def test_it_may_be_absent(path: Path) -> None:
    assert read(path) is None
    path.parent.rmdir()
    assert read(path) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"run_kind": "te',
        b"\0" * 100,
        b"\xff\xfe{",
        b"[]",
        b"null",
        b'"text"',
        b'{"run_kind": 5}',
        b'{"lims_project": "name"}',
        b"[" * 100_000,
        b'{"x": ' + b"[" * 50_000,
        b" " * ((4 << 20) + 1),
    ],
)
def test_what_cannot_be_understood_counts_as_not_yet_there(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert read(path) is None


@pytest.mark.parametrize("kind", ["folder", "fifo", "link"])
def test_something_odd_under_its_name_is_no_creation_and_hangs_nobody(path: Path, kind: str) -> None:
    make: dict[str, Callable[[], object]] = {
        "folder": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
        "link": lambda: path.symlink_to("/etc/hostname"),
    }
    make[kind]()
    assert read(path) is None


def test_a_creation_that_may_not_be_read_is_a_problem_and_not_absence(path: Path) -> None:
    path.write_text("{}")
    path.chmod(0o000)
    with ordinary_user(), pytest.raises(PermissionRefused):
        read(path)


@pytest.mark.parametrize(
    ("project", "name"),
    [
        (None, "PROJ-1"),
        (LimsProject(), "PROJ-1"),
        (LimsProject(short_id="P1"), "P1"),
        (LimsProject(name_at_creation="Human name", short_id="P1"), "Human name"),
        (LimsProject(name_at_creation="", short_id=""), "PROJ-1"),
    ],
)
def test_a_project_is_called_by_its_human_name_where_it_has_one(project: LimsProject | None, name: str) -> None:
    assert human_project_name(CreationSnapshot(lims_project=project), "PROJ-1") == name


def test_without_a_creation_a_project_is_called_as_its_folder() -> None:
    assert human_project_name(None, "PROJ-1") == "PROJ-1"


@pytest.mark.parametrize(
    ("run", "snapshot"),
    [
        (RUN, None),
        (RUN, CreationSnapshot()),
        (RUN, CreationSnapshot(equipment_id="FLOW_01", run_kind="experimental")),
        (TEST_RUN, CreationSnapshot(run_kind="test")),
    ],
)
def test_a_creation_that_agrees_or_says_nothing_is_fine(run: StagedRun, snapshot: CreationSnapshot | None) -> None:
    require_agreement(snapshot, run)


@pytest.mark.parametrize(
    ("run", "snapshot", "names"),
    [
        (RUN, CreationSnapshot(equipment_id="FLOW_02"), "equipment_id"),
        (RUN, CreationSnapshot(equipment_id=""), "equipment_id"),
        (RUN, CreationSnapshot(run_kind="test"), "run_kind"),
        (TEST_RUN, CreationSnapshot(run_kind="experimental"), "run_kind"),
        (RUN, CreationSnapshot(equipment_id="\x1b[31m\n" * 1000), "equipment_id"),
    ],
)
def test_a_creation_that_contradicts_the_path_is_a_mismatch_that_names_the_field(
    run: StagedRun, snapshot: CreationSnapshot, names: str
) -> None:
    with pytest.raises(CreationMismatch, match=names) as raised:
        require_agreement(snapshot, run)
    assert raised.value.message.isprintable()
    assert len(raised.value.message) < 700
