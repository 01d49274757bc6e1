"""What the doctor says about a NAS at the first set-up, and about one that it could not ask or compare."""

from __future__ import annotations

from pathlib import Path

import pytest

from exlab_orch import selftest
from exlab_orch.doctor import nas_checks
from tests.doctor.looks import found
from tests.lab import MARKER_ID, Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A lab before its first pass."""
    lab = Lab(tmp_path)
    lab.state.mkdir()
    return lab


@pytest.fixture
def unmarked(lab: Lab) -> Lab:
    """A lab whose configuration has no marker id yet."""
    (lab.nas / ".exlab-nas").unlink()
    lab.config_path.write_text(lab.config_path.read_text().replace(MARKER_ID, ""))
    return lab


def test_a_nas_without_a_marker_id_is_not_said_to_answer(unmarked: Lab) -> None:
    unmarked.nas.rmdir()
    seen = found(unmarked, writes=True)
    assert {seen[name].result for name in nas_checks.IDS if name != "nas.marker"} == {"skipped"}
    assert seen["nas.reach"].message == f"{unmarked.nas}: It was not asked: it has no marker id yet."


def test_a_nas_without_a_marker_id_is_one_error_that_names_the_next_command(unmarked: Lab) -> None:
    seen = found(unmarked, writes=True)
    assert [name for name, one in seen.items() if one.result == "error"] == ["nas.marker"]
    assert seen["nas.marker"].fix.endswith("sudo exlab-orch nas-init")


def test_a_configuration_that_keeps_a_nas_from_being_asked_is_no_answer_of_it(lab: Lab) -> None:
    link = lab.root / "link"
    link.symlink_to(lab.staging)
    lab.nas_table = f'root = "{link}"\nrequire_mount = false\n'
    lab.configure()
    seen = found(lab, writes=True)
    assert (seen["nas.reach"].result, seen["nas.marker"].result, seen["nas.write"].result) == (
        "error",
        "skipped",
        "skipped",
    )


def test_a_clock_that_was_not_compared_because_nothing_was_written_is_told_so(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selftest, "_SLOT_SECONDS", 0.0)
    lab.sync = "parallel_runs = 1"
    lab.configure()
    with lab.station() as station, station.state.slot(str(lab.nas), 1):
        seen = found(lab, writes=True)
    assert (seen["nas.write"].result, seen["nas.clock"].result) == ("error", "skipped")
    assert seen["nas.clock"].message == (
        f"{lab.nas}: No made-up run was written there and removed again, so the clocks were not compared."
    )
