"""Whose record is it, and which life of a run: returning, vanished, restored, forged, replayed and edited records."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exlab_orch import orders
from exlab_orch.cleanup import clear
from exlab_orch.detail import run_detail
from exlab_orch.errors import ExlabError, RecordUnreadable, RecordUnsealed
from exlab_orch.passes import run_pass
from exlab_orch.records import parse_record, render_record
from exlab_orch.rows import Row, list_rows
from tests.lab import RUN, Lab
from tests.oracle import Oracle, Steps, data_files, prints, require_cleared, steps_of

PROVED = ["staging", "complete", "sync_queued", "sync_verified"]
FILES = {b"a.fcs", b"sub/b.fcs", b"run_complete"}
RECORD = ".exlab-wizard/ingest.json"
UNSEALED: Steps = [("sync_queued", "record_unsealed"), ("sync_verified", None)]


@pytest.fixture
def proved(lab: Lab) -> Lab:
    lab.push()
    lab.poll()
    return lab


def read(lab: Lab, run: str = RUN) -> dict[str, object]:
    found: dict[str, object] = json.loads((lab.staged(run) / RECORD).read_bytes())
    return found


def write(lab: Lab, record: dict[str, object], run: str = RUN) -> None:
    (lab.staged(run) / ".exlab-wizard").mkdir(exist_ok=True)
    (lab.staged(run) / RECORD).write_text(json.dumps(record))


def steps(lab: Lab, run: str = RUN) -> Steps:
    return steps_of(read(lab, run))


def history_of(record: dict[str, object]) -> list[dict[str, object]]:
    history = record["history"]
    assert isinstance(history, list)
    return history


def row(lab: Lab, run: str = RUN) -> Row:
    with lab.station(changing=False) as station:
        return next(one for one in list_rows(station, now=lab.now or datetime.now(UTC)) if one.run == run)


def problem(lab: Lab, run: str = RUN) -> str | None:
    found = row(lab, run).problem
    return None if found is None else found.code


def is_safe(lab: Lab, run: str = RUN) -> bool:
    """What ``show`` says first: is it safe on the NAS?"""
    with lab.station(changing=False) as station:
        return run_detail(station, lab.run(run), now=datetime.now(UTC)).safe.yes


def clear_now(lab: Lab, run: str = RUN) -> None:
    with lab.station() as station:
        clear(station, lab.run(run), by="ada", wait_seconds=0.0)


def forget_journal(lab: Lab) -> None:
    for path in lab.state.glob("journal.sqlite3*"):
        path.unlink()


def refuse_clear(lab: Lab, *errors: type[ExlabError]) -> None:
    """A clear is refused, and every staged file is still there."""
    before = data_files(lab.staged())
    with pytest.raises(errors or ExlabError):
        clear_now(lab)
    assert data_files(lab.staged()) == before


# -- records that are not ours -------------------------------------------------------------------------------


def forged(lab: Lab, state: str = "sync_verified") -> dict[str, object]:
    """A record that says a run is proved, or further, written by nobody we know."""
    states = [*PROVED, "cleared"]
    history = [
        {"state": one, "at": "2026-04-17T14:32:00.000Z", "host": "forger"} for one in states[: states.index(state) + 1]
    ]
    return {
        "schema_version": "1.1",
        "project_name": "PROJ-1",
        "equipment_id": "FLOW_01",
        "run_kind": "experimental",
        "run_path": RUN,
        "transport": "smb_mount",
        "current_state": state,
        "history": history,
        "seal": "0" * 64,
    }


@pytest.mark.parametrize("seal", ["0" * 64, "", None, "Ä"])
def test_a_forged_proof_is_a_claim_and_never_permits_a_delete(lab: Lab, seal: str | None) -> None:
    lab.push()
    write(lab, forged(lab) | {"seal": seal})
    refuse_clear(lab, RecordUnsealed)
    assert not is_safe(lab)
    lab.poll()
    assert steps(lab)[-2:] == UNSEALED
    assert history_of(read(lab))[0]["host"] == "forger"
    assert data_files(lab.published()) == data_files(lab.staged())
    clear_now(lab)
    require_cleared(lab)


def test_a_forged_proof_of_a_run_that_has_not_arrived_waits_for_its_signal(lab: Lab) -> None:
    lab.push(done=False)
    write(lab, forged(lab))
    for _ in range(2):
        lab.poll()
    assert steps(lab)[-1] == UNSEALED[0]
    assert not lab.published().exists()
    assert "run_complete" in (row(lab).waiting_for or "")


def test_a_forged_proof_does_not_make_files_of_others_on_the_nas_ours(lab: Lab) -> None:
    lab.push()
    theirs = lab.published()
    theirs.mkdir(parents=True)
    (theirs / "a.fcs").write_bytes(b"theirs")
    (theirs / ".exlab-wizard").mkdir()
    listed = b"0" * 64 + b"  a.fcs\n"
    (theirs / ".exlab-wizard/checksums.sha256").write_bytes(listed)
    record = forged(lab)
    history_of(record)[-1]["checksum_sha256"] = "1" * 64
    write(lab, record)
    lab.poll()
    assert problem(lab) == "nas_conflict"
    assert (theirs / "a.fcs").read_bytes() == b"theirs"


@pytest.mark.parametrize("state", ["staging", "complete", "sync_queued", "cleared"])
def test_an_unsealed_record_in_another_state_is_set_aside_as_data(lab: Lab, state: str) -> None:
    lab.push(done=False)
    claim = forged(lab, state)
    write(lab, claim)
    lab.poll()
    assert steps(lab) == [("staging", None)]
    assert json.loads((lab.staged() / ".exlab-wizard/pushed-1-ingest.json").read_bytes()) == claim
    lab.push(files={})
    lab.poll()
    assert lab.states() == PROVED
    assert json.loads((lab.published() / ".exlab-wizard/pushed-1-ingest.json").read_bytes()) == claim


def test_claims_are_numbered_and_none_is_overwritten(lab: Lab) -> None:
    for number in range(3):
        lab.push(files={f"{number}.fcs": b"x"}, done=False)
        write(lab, forged(lab, "cleared") | {"project_name": f"claim {number}"})
        lab.poll()
    found = sorted((lab.staged() / ".exlab-wizard").glob("pushed-*-ingest.json"))
    assert [json.loads(path.read_bytes())["project_name"] for path in found] == ["claim 0", "claim 1", "claim 2"]


def test_an_accept_in_a_claim_is_void(lab: Lab) -> None:
    lab.push(done=False)
    record = forged(lab)
    history_of(record)[1]["accepted"] = {"by": "forger", "reason": "please"}
    write(lab, record)
    for _ in range(2):
        lab.poll()
    assert steps(lab)[-1] == UNSEALED[0]
    assert not lab.published().exists()


def test_our_record_copied_back_from_the_nas_into_a_new_folder_is_a_claim(proved: Lab) -> None:
    clear_now(proved)
    proved.push()
    shutil.copytree(proved.published() / ".exlab-wizard", proved.staged() / ".exlab-wizard")
    proved.poll()
    assert steps(proved) == [
        ("staging", "pushed_again"),
        ("complete", None),
        ("sync_queued", None),
        ("sync_verified", None),
    ]
    assert (proved.staged() / ".exlab-wizard/pushed-1-ingest.json").exists()


def test_a_record_of_another_run_is_a_claim(proved: Lab) -> None:
    other = "FLOW_01/PROJ-1/Runs/Run_other"
    proved.push(other)
    shutil.copytree(proved.staged() / ".exlab-wizard", proved.staged(other) / ".exlab-wizard")
    with pytest.raises(RecordUnsealed):
        clear_now(proved, other)
    proved.poll()
    assert steps(proved, other)[-2:] == UNSEALED
    assert read(proved, other)["run_path"] == other
    assert data_files(proved.published(other)) == data_files(proved.staged(other))


# -- our record, and what others did to it -------------------------------------------------------------------


def drop_seal(record: dict[str, object]) -> None:
    del record["seal"]


def add_a_field(record: dict[str, object]) -> None:
    record["their_note"] = "kept?"
    record["seal"] = None


@pytest.mark.parametrize("rewrite", [drop_seal, add_a_field])
def test_a_record_that_another_program_rewrote_is_restored_without_a_step_back(
    proved: Lab, rewrite: Callable[[dict[str, object]], None]
) -> None:
    before = read(proved)
    spoilt = read(proved)
    rewrite(spoilt)
    write(proved, spoilt)
    refuse_clear(proved, RecordUnsealed)
    proved.poll()
    assert read(proved) == before
    clear_now(proved)
    require_cleared(proved)


def edit_a_time(history: list[dict[str, object]]) -> None:
    history[0]["at"] = "2020-01-01T00:00:00.000Z"


def drop_an_entry(history: list[dict[str, object]]) -> None:
    del history[1]


def add_an_entry(history: list[dict[str, object]]) -> None:
    history.append({"state": "sync_queued", "at": "2026-01-01T00:00:00Z", "host": "x", "reason": "new_files"})
    history.append({"state": "sync_verified", "at": "2026-01-01T00:00:00Z", "host": "x"})


def edit_the_proof(history: list[dict[str, object]]) -> None:
    history[-1]["checksum_sha256"] = "0" * 64


@pytest.mark.parametrize("edit", [edit_a_time, drop_an_entry, add_an_entry, edit_the_proof])
def test_an_edited_history_is_a_claim_and_the_run_is_proved_again(
    proved: Lab, edit: Callable[[list[dict[str, object]]], None]
) -> None:
    record = read(proved)
    edit(history_of(record))
    write(proved, record)
    refuse_clear(proved, RecordUnsealed)
    assert not is_safe(proved)
    proved.poll()
    assert steps(proved)[-2:] == UNSEALED
    assert is_safe(proved)
    clear_now(proved)
    require_cleared(proved)


def test_a_missing_record_of_a_known_folder_is_restored(proved: Lab) -> None:
    before = read(proved)
    (proved.staged() / RECORD).unlink()
    refuse_clear(proved, RecordUnsealed)
    proved.poll()
    assert read(proved) == before


def test_a_mirroring_instrument_that_deletes_all_our_files_costs_nothing(proved: Lab) -> None:
    before = read(proved)
    on_nas = data_files(proved.published())
    for _ in range(3):
        shutil.rmtree(proved.staged() / ".exlab-wizard")
        proved.poll()
        assert read(proved) == before or steps(proved)[-1][0] == "sync_verified"
    assert data_files(proved.published()) == on_nas
    clear_now(proved)
    require_cleared(proved)


def test_an_earlier_copy_of_our_record_that_is_put_back_is_replaced_by_the_later_one(proved: Lab) -> None:
    earlier = (proved.staged() / RECORD).read_bytes()
    proved.push(files={"late.fcs": b"late"})
    proved.poll()
    later = read(proved)
    (proved.staged() / RECORD).write_bytes(earlier)
    proved.poll()
    assert read(proved) == later


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_record_that_is_rolled_back_by_its_own_sealed_beginnings_is_replaced(lab: Lab, length: int) -> None:
    kept: list[bytes] = []
    lab.push(done=False)
    lab.poll()
    kept.append((lab.staged() / RECORD).read_bytes())
    lab.push(files={})
    lab.poll(frozenset({"evaluate"}))
    kept.append((lab.staged() / RECORD).read_bytes())
    lab.poll()
    kept.append((lab.staged() / RECORD).read_bytes())
    lab.push(files={"late.fcs": b"late"})
    lab.poll()
    latest = read(lab)
    (lab.staged() / RECORD).write_bytes(kept[length - 1])
    lab.poll()
    assert read(lab) == latest


@pytest.mark.parametrize("replaced_when", ["copy", "proof"])
def test_a_record_that_is_replaced_while_we_are_at_work_never_gets_our_seal(lab: Lab, replaced_when: str) -> None:
    """A mirroring instrument puts an old or foreign record back in the middle of a copy or of a clear."""
    lab.push()
    if replaced_when == "proof":
        lab.poll()
    claim = forged(lab, "sync_queued" if replaced_when == "copy" else "sync_verified")
    history_of(claim)[1]["accepted"] = {"by": "forger"}

    class Replace:
        def begin(self, run_path: str, phase: str, files: int, byte_total: int) -> None:
            if phase == replaced_when:
                write(lab, claim)

        def advance(self, byte_count: int) -> None:
            """Bytes do not matter here."""

        def end(self) -> None:
            """Nor does the end of a phase."""

    oracle = Oracle(lab)
    oracle.histories = {}
    if replaced_when == "copy":
        with lab.station() as station:
            run_pass(station, watch=Replace())
    else:
        with lab.station() as station, pytest.raises(ExlabError):
            clear(station, lab.run(), by="ada", watch=Replace())
    for _ in range(3):
        lab.poll()
    assert data_files(lab.staged()).items() >= {name: found for (_, name), found in oracle.hashes.items()}.items()
    if replaced_when == "copy":
        assert lab.states()[-1] == "sync_verified"
        assert "forger" not in {entry.host for entry in lab.record().history}
    else:
        assert steps(lab)[-2:] == UNSEALED


def test_a_record_of_a_former_life_is_no_evidence(proved: Lab) -> None:
    former = (proved.staged() / RECORD).read_bytes()
    lists = (proved.staged() / ".exlab-wizard/checksums.sha256").read_bytes()
    clear_now(proved)
    proved.push(files={"a.fcs": b"another measurement"})
    (proved.staged() / ".exlab-wizard").mkdir()
    (proved.staged() / RECORD).write_bytes(former)
    (proved.staged() / ".exlab-wizard/checksums.sha256").write_bytes(lists)
    refuse_clear(proved)
    oracle = Oracle(proved)
    for _ in range(3):
        proved.poll()
        oracle.require_nothing_lost()
    assert proved.states()[-1] == "sync_verified"
    assert (proved.published() / "a.fcs").read_bytes() == b"another measurement"


def test_fields_that_we_do_not_know_are_kept(lab: Lab) -> None:
    lab.push(done=False)
    lab.poll()
    record = parse_record((lab.staged() / RECORD).read_bytes())
    extended = record.model_copy(update={"their_field": {"nested": [1, None, "x"]}})
    with lab.station() as station:
        station.records.write(lab.run(), extended)
    lab.push(files={})
    lab.poll()
    assert lab.states() == PROVED
    assert read(lab)["their_field"] == {"nested": [1, None, "x"]}
    assert lab.nas_record()["their_field"] == {"nested": [1, None, "x"]}


# -- records that cannot be read -----------------------------------------------------------------------------

UNREADABLE = {
    "empty": b"",
    "NULs": b"\0" * 300,
    "cut short": b'{"schema_version": "1.1", "project_na',
    "a list": b"[]",
    "no history": b'{"schema_version": "1.1"}',
    "a key twice": b'{"schema_version": "1.1", "schema_version": "1.1"}',
    "not UTF-8": b'{"project_name": "\xff"}',
    "nested": b"[" * 100_000,
    "not a number": b'{"schema_version": NaN}',
    "no version": b"{}",
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_an_unreadable_record_blocks_its_run_is_kept_and_is_never_begun_anew(proved: Lab, kind: str) -> None:
    (proved.staged() / RECORD).write_bytes(UNREADABLE[kind])
    other = "FLOW_01/PROJ-1/Runs/Run_other"
    proved.push(other)
    refuse_clear(proved, RecordUnreadable)
    for _ in range(2):
        proved.poll()
    assert (proved.staged() / RECORD).read_bytes() == UNREADABLE[kind]
    assert problem(proved) == "record_unreadable"
    assert data_files(proved.staged()).keys() == FILES
    assert proved.states(other) == PROVED


def a_folder(path: Path) -> None:
    path.mkdir()


def a_link(path: Path) -> None:
    path.symlink_to("../../elsewhere.json")


def deeply_nested(path: Path) -> None:
    record = forged(Lab.__new__(Lab)) | {"note": json.loads("[" * 900 + "]" * 900)}
    path.write_text(json.dumps(record))


@pytest.mark.parametrize("make", [a_folder, a_link, os.mkfifo, deeply_nested])
def test_a_record_that_is_no_plain_sensible_file_blocks_its_run(proved: Lab, make: Callable[[Path], None]) -> None:
    (proved.staged() / RECORD).unlink()
    make(proved.staged() / RECORD)
    for _ in range(2):
        proved.poll()
    assert problem(proved) == "record_unreadable"
    assert data_files(proved.staged()).keys() >= FILES


@pytest.mark.parametrize("version", ["2.0", "2", "0.9", "10.1"])
def test_a_record_of_another_major_version_is_left_untouched_and_reported(proved: Lab, version: str) -> None:
    record = read(proved) | {"schema_version": version, "current_state": "a state of the future"}
    write(proved, record)
    for _ in range(2):
        proved.poll()
    assert read(proved) == record
    assert problem(proved) == "schema_major_mismatch"
    refuse_clear(proved)


def test_a_record_that_is_mended_lets_the_run_go_on(proved: Lab) -> None:
    content = (proved.staged() / RECORD).read_bytes()
    (proved.staged() / RECORD).write_bytes(content[:50])
    proved.poll()
    (proved.staged() / RECORD).write_bytes(content)
    proved.poll()
    assert problem(proved) is None
    assert proved.states() == PROVED
    clear_now(proved)


def test_no_beginning_of_a_record_can_be_taken_for_a_record(proved: Lab) -> None:
    content = render_record(proved.record())
    for length in range(len(content.rstrip()) - 1):
        with pytest.raises(RecordUnreadable):
            parse_record(content[:length])


# -- lives of a run ------------------------------------------------------------------------------------------


def test_another_folder_of_the_same_name_is_a_new_life(proved: Lab) -> None:
    proved.staged().rename(proved.root / "the first")
    proved.push()
    proved.poll()
    assert steps(proved)[0] == ("staging", "pushed_again")
    assert proved.states() == PROVED
    former = list((proved.published() / ".exlab-wizard/superseded").rglob("ingest.json"))
    assert [steps_of(json.loads(path.read_bytes()))[-1] for path in former] == [("sync_verified", None)]


def test_a_restored_folder_with_our_record_is_proved_again_without_copying(proved: Lab) -> None:
    before = {path: path.stat().st_ctime_ns for path in proved.published().rglob("*.fcs")}
    shutil.copytree(proved.staged(), proved.root / "backup")
    shutil.rmtree(proved.staged())
    shutil.copytree(proved.root / "backup", proved.staged())
    refuse_clear(proved, RecordUnsealed)
    proved.poll()
    assert steps(proved)[-2:] == UNSEALED
    assert {path: path.stat().st_ctime_ns for path in before} == before
    clear_now(proved)
    require_cleared(proved)


def test_a_moved_run_folder_is_another_run_and_the_old_one_is_missed(proved: Lab) -> None:
    moved = "FLOW_01/PROJ-1/Runs/Run_moved"
    proved.staged().rename(proved.staged(moved))
    with pytest.raises(RecordUnsealed):
        clear_now(proved, moved)
    proved.poll()
    assert steps(proved, moved)[-2:] == UNSEALED
    assert read(proved, moved)["run_path"] == moved
    assert data_files(proved.published(moved)) == data_files(proved.staged(moved))
    assert problem(proved) == "run_disappeared"


def test_a_run_that_disappears_is_reported_once_and_an_accept_ends_it(proved: Lab) -> None:
    shutil.rmtree(proved.staged())
    told = [
        (announced.kind, announced.problem.code, "was proved" in announced.problem.message)
        for _ in range(3)
        for announced in proved.poll().announcements
    ]
    assert told == [("opened", "run_disappeared", True)]
    with proved.station() as station:
        orders.accept(station, proved.run(), reason="deleted by hand", by="ada")
    assert proved.poll().announcements == ()
    assert problems(proved) == []


def problems(lab: Lab) -> list[str]:
    with lab.station(changing=False) as station:
        return [found.code for found in station.journal.problems()]


def test_a_run_that_disappears_before_its_proof_is_said_to_be_not_proved(lab: Lab) -> None:
    lab.push(done=False)
    lab.poll()
    shutil.rmtree(lab.staged())
    (announced,) = lab.poll().announcements
    assert "NOT yet proved" in announced.problem.message


def test_a_run_that_comes_back_is_no_longer_missed_and_goes_on_where_it_was(proved: Lab) -> None:
    proved.staged().rename(proved.root / "away")
    proved.poll()
    assert problems(proved) == ["run_disappeared"]
    (proved.root / "away").rename(proved.staged())
    proved.poll()
    assert problems(proved) == []
    assert proved.states() == PROVED


def test_a_cleared_run_is_not_missed(proved: Lab) -> None:
    clear_now(proved)
    assert proved.poll().announcements == ()
    assert problems(proved) == []


# -- what only looks like ours -------------------------------------------------------------------------------


def test_pushed_files_that_bear_our_names_are_set_aside_and_copied_as_data(lab: Lab) -> None:
    log = f"wizard.{socket.gethostname()}.log"
    lab.push(files={"a.fcs": b"a", ".exlab-wizard/checksums.sha256": b"theirs", f".exlab-wizard/{log}": b"their log"})
    lab.poll()
    assert lab.states() == PROVED
    for root in (lab.staged(), lab.published()):
        assert (root / ".exlab-wizard/pushed-1-checksums.sha256").read_bytes() == b"theirs"
        assert (root / f".exlab-wizard/pushed-1-{log}").read_bytes() == b"their log"


@pytest.mark.parametrize("name", ["checksums.sha256", f"wizard.{socket.gethostname()}.log"])
def test_a_file_of_ours_that_somebody_replaced_is_data_and_is_not_lost(proved: Lab, name: str) -> None:
    (proved.staged() / ".exlab-wizard" / name).write_bytes(b"pushed over ours")
    with proved.station() as station:
        station.journal.forget_idle()
    proved.poll()
    assert (proved.staged() / f".exlab-wizard/pushed-1-{name}").read_bytes() == b"pushed over ours"
    assert proved.states()[-1] == "sync_verified"
    assert (proved.published() / f".exlab-wizard/pushed-1-{name}").read_bytes() == b"pushed over ours"
    clear_now(proved)
    require_cleared(proved)


def test_the_logs_of_other_computers_are_data(lab: Lab) -> None:
    lab.push(files={"a.fcs": b"a", ".exlab-wizard/wizard.pc-7.log": b"theirs"})
    lab.poll()
    assert (lab.published() / ".exlab-wizard/wizard.pc-7.log").read_bytes() == b"theirs"
    listed = (lab.published() / ".exlab-wizard/checksums.sha256").read_text()
    assert ".exlab-wizard/wizard.pc-7.log" in listed


def test_the_descriptive_fields_are_refreshed_when_the_run_is_complete(lab: Lab) -> None:
    lab.push(done=False)
    lab.poll()
    assert read(lab)["project_name"] == "PROJ-1"
    creation = {"lims_project": {"name_at_creation": "Tumour panel", "short_id": "PROJ-1"}}
    lab.push(files={".exlab-wizard/creation.json": json.dumps(creation).encode()})
    lab.poll()
    assert read(lab)["project_name"] == "Tumour panel"
    assert (lab.staged() / ".exlab-wizard/creation.json").read_bytes() == json.dumps(creation).encode()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\0\0", b'{"lims_project": 5}', b'{"lims_project": null}'])
def test_a_creation_file_that_cannot_be_understood_is_like_none(lab: Lab, content: bytes) -> None:
    lab.push(files={"a.fcs": b"a", ".exlab-wizard/creation.json": content})
    lab.poll()
    assert lab.states() == PROVED
    assert read(lab)["project_name"] == "PROJ-1"


# -- what the state directory remembers ----------------------------------------------------------------------


def test_without_the_journal_sealed_records_still_count(proved: Lab) -> None:
    forget_journal(proved)
    before = read(proved)
    proved.poll()
    assert read(proved) == before
    clear_now(proved)
    require_cleared(proved)


def test_without_the_journal_a_clear_hashes_the_staged_files_again(proved: Lab) -> None:
    forget_journal(proved)
    status = (proved.staged() / "a.fcs").stat()
    (proved.staged() / "a.fcs").write_bytes(b"AAA")
    os.utime(proved.staged() / "a.fcs", ns=(status.st_atime_ns, status.st_mtime_ns))
    refuse_clear(proved)
    assert steps(proved)[-1] == ("sync_queued", "changed_files")


def test_a_nas_that_is_away_is_not_taken_for_a_missing_checksum_list(proved: Lab) -> None:
    """Staging lost the list, the NAS cannot be asked: nothing is concluded (an error is not an absence)."""
    (proved.staged() / ".exlab-wizard/checksums.sha256").unlink()
    marker = (proved.nas / ".exlab-nas").read_bytes()
    (proved.nas / ".exlab-nas").unlink()
    proved.published().rename(proved.root / "not reachable")
    with proved.station() as station:
        station.journal.forget_idle()
    proved.poll()
    assert proved.states() == PROVED
    (proved.root / "not reachable").rename(proved.published())
    (proved.nas / ".exlab-nas").write_bytes(marker)
    with proved.station() as station:
        station.journal.forget_idle()
    proved.poll()
    assert proved.states() == PROVED
    clear_now(proved)
    require_cleared(proved)


def test_without_journal_and_record_a_run_begins_anew_and_is_adopted(proved: Lab) -> None:
    forget_journal(proved)
    shutil.rmtree(proved.staged() / ".exlab-wizard")
    before = {path: path.stat().st_ctime_ns for path in proved.published().rglob("*.fcs")}
    proved.poll()
    assert proved.states() == PROVED
    assert {path: path.stat().st_ctime_ns for path in before} == before


@pytest.mark.parametrize("content", [b"", b"not a database", b"SQLite format 3\0" + b"x" * 5000])
def test_a_damaged_journal_is_set_aside_and_costs_only_time(proved: Lab, content: bytes) -> None:
    forget_journal(proved)
    (proved.state / "journal.sqlite3").write_bytes(content)
    before = read(proved)
    assert proved.poll().exit_status == 0
    assert read(proved) == before
    clear_now(proved)
    require_cleared(proved)


def test_with_another_key_every_proof_is_a_claim_and_is_made_again(proved: Lab) -> None:
    before = {path: path.stat().st_ctime_ns for path in proved.published().rglob("*.fcs")}
    (proved.state / "seal.key").write_bytes(b"k" * 32)
    refuse_clear(proved, RecordUnsealed)
    proved.poll()
    assert proved.states()[-2:] == ["sync_queued", "sync_verified"]
    assert proved.record().history[-2].text("reason") == "record_unsealed"
    assert {path: path.stat().st_ctime_ns for path in before} == before
    clear_now(proved)
    require_cleared(proved)


@pytest.mark.parametrize("content", [b"", b"k" * 31, b"k" * 33])
def test_a_key_of_the_wrong_length_ends_every_command_that_changes_something(proved: Lab, content: bytes) -> None:
    (proved.state / "seal.key").write_bytes(content)
    before = prints(proved.staging)
    for words in (["poll"], ["clear", "--yes", RUN]):
        assert proved.cli(*words).returncode == 78
    assert prints(proved.staging) == before
    assert (proved.state / "seal.key").read_bytes() == content
    assert not is_safe(proved)


def test_a_new_key_is_announced(proved: Lab) -> None:
    (proved.state / "seal.key").unlink()
    shown = proved.cli("poll")
    assert "key" in shown.stderr
    assert (proved.state / "seal.key").stat().st_mode & 0o7777 == 0o600
    assert len((proved.state / "seal.key").read_bytes()) == 32


def test_show_never_says_safe_without_the_key(proved: Lab) -> None:
    assert is_safe(proved)
    (proved.state / "seal.key").rename(proved.root / "key")
    assert not is_safe(proved)


@pytest.mark.parametrize("spoil", ["changed", "new file", "problem"])
def test_show_says_safe_only_while_nothing_speaks_against_it(proved: Lab, spoil: str) -> None:
    if spoil == "changed":
        (proved.staged() / "a.fcs").write_bytes(b"AAA")
    elif spoil == "new file":
        (proved.staged() / "late.fcs").write_bytes(b"late")
    else:
        (proved.published() / "a.fcs").write_bytes(b"damaged")
        refuse_clear(proved)
    assert not is_safe(proved)


def test_a_verified_run_is_walked_in_full_once_a_day(proved: Lab) -> None:
    """An in-place change moves no folder's time; the daily walk finds it."""
    proved.now = datetime.now(UTC)
    proved.poll()
    (proved.staged() / "sub/b.fcs").write_bytes(b"BBBB")
    proved.now += timedelta(hours=25)
    proved.poll()
    assert steps(proved)[-2:] == [("sync_queued", "changed_files"), ("sync_verified", None)]
    assert (proved.published() / "sub/b.fcs").read_bytes() == b"BBBB"


@pytest.mark.parametrize("cleared", [False, True])
def test_a_run_that_was_proved_at_another_place_than_the_configured_one_is_not_called_safe(
    lab: Lab, cleared: bool
) -> None:
    lab.push()
    assert lab.poll().exit_status == 0
    if cleared:
        assert lab.cli("clear", RUN, "--yes").returncode == 0
    moved = lab.nas.with_name("another-nas")
    lab.nas.rename(moved)
    lab.config_path.write_text(lab.config_path.read_text().replace(str(lab.nas), str(moved)))
    with lab.station(changing=False) as station:
        before = run_detail(station, lab.run(), now=station.now())
    assert not before.safe.yes
    assert before.safe.command.startswith("exlab-orch verify ")
    assert lab.cli("verify", RUN).returncode == 0
    with lab.station(changing=False) as station:
        assert run_detail(station, lab.run(), now=station.now()).safe.yes


def test_who_asks_for_what_is_no_run_is_told_where_it_lies_and_how_to_make_it_one(lab: Lab) -> None:
    odd = lab.staging / "FLOW_01/PROJ-1/MyExperiment"
    odd.mkdir(parents=True)
    (odd / "a.fcs").write_bytes(b"a")
    ended = lab.cli("show", "MyExperiment")
    assert ended.returncode == 4
    assert "FLOW_01/PROJ-1/MyExperiment lies in staging" in ended.stderr
    assert "mv -nT" in ended.stderr
