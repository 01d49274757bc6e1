"""The main job on real instrument files: pushed, judged, copied, proved, recorded, cleared, and pushed again."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pydicom.data
import pytest

from exlab_orch.checksums import parse
from exlab_orch.cleanup import clear
from tests.lab import RUN, Lab
from tests.oracle import Oracle, Print, data_files, ledger, prints, require_cleared, require_program, steps_of

INSTRUMENTS = Path(__file__).parents[2] / "shared/data/instruments"
BUNDLED = ("CT_small.dcm", "MR_small.dcm", "examples_palette.dcm")
"""Real files that the test dependency pydicom brings along."""

GOLDEN = Path(__file__).parent / "golden/record-after-a-whole-life.json"

RUNS = {
    "FLOW_01": "FLOW_01/PROJ-0042/Runs/Run_2026-04-17T14-32",
    "MASSSPEC_01": "MASSSPEC_01/PROJ 7 (pilot)/TestRuns/TestRun_2026-04-17T09-12",
    "SCANNER_01": "SCANNER_01/PROJ-0042/Run_2026-04-10T08-00",
}
"""An experimental run under a sentinel, a test run under a manifest, an older layout under a quiet period."""

WHOLE_LIFE = ["staging", "complete", "sync_queued", "sync_verified", "cleared"]


def instrument_files(equipment: str) -> dict[str, bytes]:
    """Files as that instrument writes them; where the collection is not present, the bundled ones."""
    folder = INSTRUMENTS / equipment
    if folder.is_dir():
        paths = [path for path in sorted(folder.iterdir()) if path.is_file()]
    else:
        paths = [Path(str(pydicom.data.get_testdata_file(name, download=False))) for name in BUNDLED]
    return {f"data/{path.name}": path.read_bytes() for path in paths}


def manifest_of(files: Mapping[str, bytes]) -> bytes:
    listed = [
        {"path": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
    ]
    return json.dumps({"files": listed}).encode()


def push_real(lab: Lab, equipment: str) -> str:
    """Push a run of real files with the signal of its equipment; returns its path."""
    files = instrument_files(equipment) | {"empty.log": b"", "name with spaces.txt": b"notes"}
    run = RUNS[equipment]
    lab.push(run, files, done=equipment == "FLOW_01")
    (lab.staged(run) / "empty folder").mkdir()
    if equipment == "MASSSPEC_01":
        (lab.staged(run) / "manifest.json").write_bytes(manifest_of(files))
    return run


def checked_by_sha256sum(folder: Path) -> subprocess.CompletedProcess[str]:
    """What the real program says, called as a person on the NAS would."""
    command = [require_program("sha256sum"), "-c", "--strict", ".exlab-wizard/checksums.sha256"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def everything(lab: Lab) -> dict[str, dict[str, Print]]:
    """All that staging and NAS hold, with times and modes."""
    return {"staging": prints(lab.staging), "nas": prints(lab.nas)}


@pytest.mark.parametrize("equipment", RUNS)
def test_a_run_of_real_files_lives_its_whole_life(lab: Lab, equipment: str) -> None:
    run = push_real(lab, equipment)
    neighbour = lab.push("FLOW_01/PROJ-1/Runs/Run_still_arriving", done=False)
    oracle = Oracle(lab, (run,))
    pushed = data_files(lab.staged(run))

    polled = lab.cli("poll")

    assert (polled.returncode, polled.stdout) == (0, "")
    assert lab.states(run) == WHOLE_LIFE[:4]
    shown = checked_by_sha256sum(lab.published(run))
    assert shown.returncode == 0, shown.stdout + shown.stderr
    listed = parse((lab.published(run) / ".exlab-wizard/checksums.sha256").read_bytes())
    assert listed == pushed
    assert (lab.published(run) / "empty folder").is_dir()
    assert steps_of(lab.nas_record(run)) == steps_of(lab.record(run).as_json())
    assert nas_path(lab, run) == str(lab.published(run))

    arriving = prints(neighbour)
    cleared = lab.cli("clear", "--yes", run)

    assert cleared.returncode == 0, cleared.stderr
    require_cleared(lab, run)
    assert prints(neighbour) == arriving
    oracle.require_nothing_lost()
    assert [step for step, _ in steps_of(lab.nas_record(run))] == WHOLE_LIFE
    assert checked_by_sha256sum(lab.published(run)).returncode == 0


def nas_path(lab: Lab, run: str) -> object:
    """Where the record on the NAS says that the run is."""
    history = lab.nas_record(run)["history"]
    assert isinstance(history, list)
    return next(entry["nas_path"] for entry in history if entry["state"] == "sync_verified")


def test_a_second_clear_and_a_second_poll_change_nothing(lab: Lab) -> None:
    run = push_real(lab, "FLOW_01")
    lab.cli("poll")
    lab.cli("clear", "--yes", run)
    before, lines = everything(lab), ledger(lab)

    again = lab.cli("clear", "--yes", run)
    document = json.loads(lab.cli("clear", "--yes", "--json", run).stdout)
    polled = lab.cli("poll")

    assert again.returncode == 0
    assert document["cleared"] == [{"run": run, "files_cleared": 0, "bytes_freed": 0}]
    assert (polled.returncode, polled.stdout, polled.stderr) == (0, "", "")
    assert everything(lab) == before
    assert ledger(lab) == lines


def test_a_poll_over_a_proved_run_changes_nothing(lab: Lab) -> None:
    push_real(lab, "MASSSPEC_01")
    lab.cli("poll")
    before = everything(lab)
    polled = lab.cli("poll")
    assert (polled.returncode, polled.stdout, polled.stderr) == (0, "", "")
    assert everything(lab) == before


def made_at(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Inode, mtime and ctime of every data file: what a file that is merely read keeps."""
    found = (path for path in folder.rglob("*") if path.is_file() and ".exlab-wizard" not in path.parts)
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.stat().st_ctime_ns) for path in found}


def test_a_cleared_run_that_is_pushed_again_is_adopted_without_copying_and_cleared_again(lab: Lab) -> None:
    run = push_real(lab, "SCANNER_01")
    lab.cli("poll")
    lab.cli("clear", "--yes", run)
    on_nas = made_at(lab.published(run))
    push_real(lab, "SCANNER_01")

    assert lab.cli("poll").returncode == 0

    assert steps_of(lab.record(run).as_json())[0] == ("staging", "pushed_again")
    assert lab.states(run) == WHOLE_LIFE[:4]
    assert made_at(lab.published(run)) == on_nas
    assert checked_by_sha256sum(lab.published(run)).returncode == 0

    assert lab.cli("clear", "--yes", run).returncode == 0

    require_cleared(lab, run)
    assert made_at(lab.published(run)) == on_nas
    assert steps_of(lab.nas_record(run))[0] == ("staging", "pushed_again")
    assert [line["run_path"] for line in ledger(lab)] == [run, run]
    former = list((lab.published(run) / ".exlab-wizard/superseded").rglob("ingest.json"))
    assert [json.loads(path.read_bytes())["current_state"] for path in former] == ["cleared"]


def test_under_a_schedule_a_run_that_is_pushed_every_night_is_reclaimed_every_night(tmp_path: Path) -> None:
    lab = Lab(tmp_path, cleanup='mode = "scheduled"\nretain_hours = 0')
    for _ in range(3):
        lab.push()
        lab.poll()
        require_cleared(lab)
    assert len(ledger(lab)) == 3
    assert data_files(lab.published()).keys() >= {b"a.fcs", b"sub/b.fcs", b"run_complete"}


def test_a_run_that_is_pushed_again_with_other_content_keeps_both_versions(lab: Lab) -> None:
    lab.push()
    lab.poll()
    with lab.station() as station:
        clear(station, lab.run(), by="ada")
    lab.push(files={"a.fcs": b"the second measurement"})

    lab.poll()

    assert lab.states() == WHOLE_LIFE[:4]
    assert (lab.published() / "a.fcs").read_bytes() == b"the second measurement"
    kept = list((lab.published() / ".exlab-wizard/superseded").glob("*/a.fcs"))
    assert [path.read_bytes() for path in kept] == [b"aaa"]
    assert checked_by_sha256sum(lab.published()).returncode == 0


def test_the_record_after_a_whole_life_is_the_golden_one(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names and shapes that the desktop application reads; refresh with EXLAB_ORCH_GOLDEN=1."""
    monkeypatch.setattr("socket.gethostname", lambda: "orchestrator-1")
    lab.now = datetime.now(UTC) + timedelta(hours=1)
    creation = {"lims_project": {"name_at_creation": "Tumour panel", "short_id": "PROJ-1"}, "run_kind": "experimental"}
    lab.push(files={"a.fcs": b"aaa", ".exlab-wizard/creation.json": json.dumps(creation).encode()})
    lab.poll()
    (lab.staged() / "late.fcs").write_bytes(b"late")
    lab.now += timedelta(days=2)
    lab.poll()
    with lab.station() as station:
        clear(station, lab.run(), by="ada")

    found = json.dumps(lab.nas_record(), indent=2) + "\n"
    found = re.sub(r'"\d{4}-\d\d-\d\dT[\d:.]+Z"', '"TIME"', found)
    found = re.sub(r'"[0-9a-f]{64}"', '"SHA-256"', found).replace(str(lab.nas), "NAS_ROOT")
    if os.environ.get("EXLAB_ORCH_GOLDEN"):
        GOLDEN.write_text(found)
    assert found == GOLDEN.read_text()


def test_the_record_on_the_nas_is_the_one_that_was_in_staging(lab: Lab) -> None:
    lab.push()
    lab.poll()
    assert lab.nas_record() == json.loads((lab.staged() / ".exlab-wizard/ingest.json").read_bytes())


def test_the_log_of_a_run_tells_its_life_and_survives_on_the_nas(lab: Lab) -> None:
    lab.push()
    lab.poll()
    lab.cli("clear", "--yes", RUN)
    logs = [path.read_text() for path in (lab.published() / ".exlab-wizard").glob("wizard.*.log")]
    assert len(logs) == 1
    told = ["first seen", "complete: 3 files, 7 bytes", "3 files read back", "staged copy deleted: 3 files, 7 bytes"]
    assert [word for word in told if word not in logs[0]] == []


def test_an_experimental_and_a_test_run_of_one_name_do_not_mix(lab: Lab) -> None:
    runs = {
        "FLOW_01/P/Runs/Run_1": "experimental",
        "FLOW_01/P/TestRuns/TestRun_1": "test",
        "FLOW_01/P/Run_1": "experimental",
    }
    for number, run in enumerate(runs):
        lab.push(run, {"a.fcs": f"content {number}".encode()})
    lab.poll()
    assert {run: lab.record(run).run_kind for run in runs} == runs
    contents = [(lab.published(run) / "a.fcs").read_bytes() for run in runs]
    assert contents == [b"content 0", b"content 1", b"content 2"]
