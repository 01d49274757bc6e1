"""What a look over staging says is over, and what it cannot say."""

from __future__ import annotations

from pathlib import Path

import pytest

from exlab_orch.sightings import report_strays
from exlab_orch.staging import discover
from tests.files.privilege import ordinary_user
from tests.lab import Lab

ODD = "FLOW_01/PROJ-1/Runs/odd"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path)
    lab.push("FLOW_01/PROJ-1/Runs/Run_2026-04-17T14-32")
    (lab.staging / ODD).mkdir()
    return lab


def strays(lab: Lab) -> set[str]:
    """What the journal holds for strays after a look of a user who is not root."""
    with lab.station() as station:
        with ordinary_user():
            seen = discover(str(lab.staging), ["FLOW_01"])
        report_strays(station, seen)
        return set(station.journal.problem_subjects("stray"))


@pytest.mark.parametrize("closed", ["FLOW_01", "FLOW_01/PROJ-1", "FLOW_01/PROJ-1/Runs"])
def test_a_stray_below_a_folder_that_cannot_be_read_any_more_is_not_said_to_be_gone(lab: Lab, closed: str) -> None:
    assert strays(lab) == {ODD}
    (lab.staging / closed).chmod(0)
    assert strays(lab) == {ODD, closed}
    (lab.staging / closed).chmod(0o755)
    assert strays(lab) == {ODD}


def test_a_stray_beside_a_folder_that_cannot_be_read_is_over_when_it_is_gone(lab: Lab) -> None:
    beside = lab.staging / "FLOW_01/PROJ-10"
    beside.touch()
    assert strays(lab) == {ODD, "FLOW_01/PROJ-10"}
    beside.unlink()
    (lab.staging / "FLOW_01/PROJ-1").chmod(0)
    assert strays(lab) == {ODD, "FLOW_01/PROJ-1"}
