"""F. Records, manifests and keys that are damaged, huge, forged, replayed or missing: seen end to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from exlab_orch.model import log_name
from tests.faults.fuzz import HOSTILE
from tests.faults.test_e_names import raw
from tests.lab import RUN, Lab
from tests.oracle import Oracle, data_files, require_cleared

SECONDS: Final = 30.0
MEBIBYTE: Final = 1 << 20
RECORD: Final = ".exlab-wizard/ingest.json"
MASSSPEC: Final = "MASSSPEC_01/PROJ-1/Runs/Run_1"
MEASURED: Final = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stderr=subprocess.DEVNULL).returncode
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""A small process around the program: a child begins with the memory of the process that it is made from."""


def poll_in_bounds(lab: Lab, memory: int = 100 * MEBIBYTE) -> int:
    """The exit code of a pass, which must not take long, nor as much memory as files are big."""
    began = time.monotonic()
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", MEASURED, *lab.command("poll")]
    shown = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert time.monotonic() - began < SECONDS
    code, kibibytes = map(int, shown.stdout.split())
    assert kibibytes * 1024 < memory, f"{kibibytes / 1024:.0f} MiB"
    return code


def huge(path: Path, start: bytes = b'{"files": [', mebibytes: int = 200) -> None:
    """A file of so many MiB, sparse after its beginning."""
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.write(start)
        file.truncate(mebibytes * MEBIBYTE)


def problem_codes(lab: Lab) -> set[str]:
    rows = json.loads(lab.cli("list", "--json").stdout)["runs"]
    return {row["problem"]["code"] for row in rows if row["problem"]} - {"not_a_run", "unknown_equipment"}


# -- huge ----------------------------------------------------------------------------------------------------

OUR_LOG: Final = f".exlab-wizard/{log_name(os.uname().nodename)}"
HUGE: Final = [
    pytest.param(RECORD, id="record"),
    pytest.param(".exlab-wizard/checksums.sha256", id="checksum list"),
    pytest.param(OUR_LOG, id="log", marks=pytest.mark.slow),
    pytest.param(".exlab-wizard/creation.json", id="creation", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("name", HUGE)
def test_a_pushed_file_of_96_mib_under_one_of_our_names_costs_neither_memory_nor_the_run(
    lab: Lab, oracle: Oracle, name: str
) -> None:
    run = lab.push()
    oracle.remember()
    huge(run / name, b"{", mebibytes=96)
    code = poll_in_bounds(lab)
    assert (code, problem_codes(lab)) == ((3, {"record_unreadable"}) if name == RECORD else (0, set()))
    if name == RECORD:
        (run / name).unlink()
    oracle.settle()
    assert lab.states()[-1] == "sync_verified"


def test_a_manifest_of_200_mib_is_refused_without_being_read(lab: Lab, oracle: Oracle) -> None:
    run = lab.push(MASSSPEC)
    oracle.remember()
    huge(run / "manifest.json")
    assert poll_in_bounds(lab) == 0
    assert problem_codes(lab) == {"manifest_invalid"}
    (said,) = (line for line in lab.cli("show", MASSSPEC).stdout.splitlines() if "send the manifest" in line)
    assert f"exlab-orch accept --reason … {MASSSPEC}" in said
    assert not lab.published(MASSSPEC).exists()
    oracle.settle()


def test_a_project_name_of_megabytes_in_a_creation_file_does_not_make_our_own_record_unreadable(
    lab: Lab, oracle: Oracle
) -> None:
    run = lab.push()
    oracle.remember()
    (run / ".exlab-wizard").mkdir()
    name = json.dumps({"lims_project": {"name_at_creation": "\u00e9" * 1_900_000}}, ensure_ascii=False)
    (run / ".exlab-wizard/creation.json").write_text(name)
    assert poll_in_bounds(lab) == 0
    assert lab.states()[-1] == "sync_verified"
    oracle.settle()


def test_a_claim_that_could_not_be_written_again_is_refused_and_kept(lab: Lab, oracle: Oracle) -> None:
    run = lab.push()
    oracle.remember()
    (run / ".exlab-wizard").mkdir()
    claim = json.dumps(forged() | {"extra": "\u00e9" * 1_000_000}, ensure_ascii=False)
    (run / RECORD).write_text(claim)
    assert poll_in_bounds(lab) == 3
    assert problem_codes(lab) == {"record_unreadable"}
    assert (run / RECORD).read_text() == claim
    (run / RECORD).unlink()
    oracle.settle()


# -- hostile -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        content if at in (0, 4, 6) else pytest.param(content, marks=pytest.mark.slow)
        for at, content in enumerate(HOSTILE)
    ],
    ids=lambda content: repr(content[:12])[2:-1],
)
def test_a_hostile_record_or_manifest_blocks_its_run_in_words_and_no_other(
    lab: Lab, oracle: Oracle, content: bytes
) -> None:
    other = "FLOW_01/PROJ-1/Runs/Run_other"
    lab.push(other)
    lab.push(MASSSPEC, {"a.raw": b"a", "manifest.json": content})
    run = lab.push()
    oracle.remember()
    (run / ".exlab-wizard").mkdir()
    (run / RECORD).write_bytes(content)
    shown = lab.cli("poll")
    assert (shown.returncode, raw(shown.stderr)) == (3, set())
    assert "Traceback" not in shown.stderr
    assert "A bug" not in shown.stderr
    assert problem_codes(lab) == {"record_unreadable", "manifest_invalid"}
    assert lab.states(other)[-1] == "sync_verified"
    assert lab.cli("clear", "--yes", RUN, MASSSPEC).returncode == 5
    assert (run / RECORD).read_bytes() == content
    (run / RECORD).unlink()
    oracle.settle()


# -- forged and replayed -------------------------------------------------------------------------------------


def forged(state: str = "sync_verified") -> dict[str, object]:
    """A record that somebody else wrote, with everything a terminal should not see."""
    steps = ("staging", "complete", "sync_queued", "sync_verified", "cleared")
    evil: dict[str, object] = {
        "at": "9999-12-31T23:59:59Z",
        "host": "h\x1b]0;evil\x07",
        "nas_path": "/\u202e\n[/x]",
        "by": "\x1b[31m",
    }
    evil |= {"checksum_file": ".exlab-wizard/checksums.sha256", "checksum_sha256": "0" * 64, "accepted": {"by": "me"}}
    history = [{"state": step, **evil} for step in steps[: steps.index(state) + 1]]
    fields = {"schema_version": "1.1", "project_name": "\x1b]0;evil\x07", "equipment_id": "FLOW_01"}
    place = {"run_kind": "experimental", "run_path": RUN, "transport": "smb_mount"}
    return fields | place | {"current_state": state, "history": history, "seal": "0" * 64}


@pytest.mark.parametrize("is_there", [True, False], ids=["complete", "unfinished"])
@pytest.mark.parametrize(
    "state",
    [
        "sync_verified",
        "cleared",
        *(pytest.param(f, marks=pytest.mark.slow) for f in ("staging", "complete", "sync_queued")),
    ],
)
def test_a_forged_record_never_permits_a_delete_nor_an_unfinished_copy_and_is_never_shown_raw(
    lab: Lab, oracle: Oracle, state: str, is_there: bool
) -> None:
    run = lab.push(done=is_there)
    (run / ".exlab-wizard").mkdir()
    (run / RECORD).write_text(json.dumps(forged(state)))
    lab.cleanup = 'mode = "scheduled"\nretain_hours = 1'
    lab.configure()
    oracle.remember()
    oracle.hashes.pop((RUN, RECORD.encode()), None)
    verbs = [("list",), ("show", RUN), ("clear", "--yes", RUN), ("poll",), ("show", RUN), ("list", "--json")]
    shown = [lab.cli(*words) for words in verbs]
    assert raw("".join(one.stdout + one.stderr for one in shown)) == set()
    assert shown[2].returncode == 5
    assert lab.published().exists() is is_there
    oracle.settle()
    assert run.exists()


REPLAYED: Final[dict[str, Callable[[Lab], object]]] = {
    "sealed for a copy that is gone": lambda lab: (lab.published() / "a.fcs").unlink(),
    "sealed for other content": lambda lab: (lab.staged() / "a.fcs").write_bytes(b"AAA"),
    "sealed before a new file came": lambda lab: (lab.staged() / "new.fcs").write_bytes(b"new"),
}


@pytest.mark.parametrize("what", REPLAYED)
@pytest.mark.parametrize("without_journal", [False, True], ids=["with the journal", "without the journal"])
def test_a_sealed_record_that_is_put_back_after_a_change_never_permits_a_delete(
    lab: Lab, oracle: Oracle, what: str, without_journal: bool
) -> None:
    lab.push()
    lab.poll()
    proved = (lab.staged() / RECORD).read_bytes()
    REPLAYED[what](lab)
    lab.poll(frozenset({"evaluate"}))
    oracle.remember()
    oracle.histories.clear()
    (lab.staged() / RECORD).write_bytes(proved)
    for file in lab.state.glob("journal.sqlite3*") if without_journal else ():
        file.unlink()
    lab.cli("clear", "--yes", RUN)
    assert oracle.lost() == []
    assert lab.staged().exists()
    lab.cli("poll")
    oracle.settle()
    assert lab.cli("clear", "--yes", RUN).returncode == 0
    require_cleared(lab)
    assert (lab.published() / "a.fcs").exists()


# -- the key -------------------------------------------------------------------------------------------------


def unreadable(key: Path) -> None:
    key.unlink()
    key.mkdir()


@pytest.mark.parametrize(
    "what", ["empty", "unreadable", *(pytest.param(what, marks=pytest.mark.slow) for what in ("short", "long"))]
)
def test_without_its_key_every_command_that_changes_something_ends_with_78_and_touches_nothing(
    lab: Lab, oracle: Oracle, what: str
) -> None:
    lab.push()
    lab.poll()
    oracle.remember()
    key = lab.state / "seal.key"
    content = key.read_bytes()
    before = data_files(lab.staging), data_files(lab.nas)
    unreadable(key) if what == "unreadable" else key.write_bytes({"empty": b"", "short": b"x", "long": b"x" * 33}[what])
    for words in (("poll",), ("clear", "--yes", RUN), ("accept", RUN, "--reason", "x"), ("sync", RUN)):
        shown = lab.cli(*words)
        assert (shown.returncode, "seal.key" in shown.stderr) == (78, True), shown.stderr
    assert lab.cli("show", RUN).stdout.startswith("safe_on_nas\tno\t")
    assert (data_files(lab.staging), data_files(lab.nas)) == before
    key.rmdir() if what == "unreadable" else key.unlink()
    key.write_bytes(content)
    oracle.settle()


def test_with_a_key_that_went_missing_a_new_one_is_announced_and_every_proof_is_made_again(
    lab: Lab, oracle: Oracle
) -> None:
    lab.push()
    lab.poll()
    oracle.remember()
    (lab.state / "seal.key").unlink()
    assert lab.cli("clear", "--yes", RUN).returncode == 5
    assert lab.staged().exists()
    lab.cli("poll")
    oracle.settle()
    assert lab.states() == ["staging", "complete", "sync_queued", "sync_verified", "sync_queued", "sync_verified"]
