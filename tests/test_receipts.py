"""Receipts: written when a run is proved, withdrawn before anything else when it is not, and never anybody else's."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exlab_orch.receipts import (
    RECEIPTS,
    Receipt,
    expired,
    issue,
    read_receipt,
    receipt_name,
    receipt_text,
    remove,
    withdraw,
)
from exlab_orch.station import Station
from tests.lab import EQUIPMENT, RUN, Lab
from tests.oracle import Calendar, require_cleared

WITH_RECEIPTS = EQUIPMENT.replace('id = "FLOW_01"\n', 'id = "FLOW_01"\nreceipts = true\nreceipts_days = 30\n')
NOW = datetime(2026, 4, 17, 14, 0, tzinfo=UTC)
SAFE = Receipt(
    RUN, True, 12, 3456, "/nas/x", ".exlab-wizard/checksums.sha256", "ab" * 32, "then", "2026-04-17T14:00:00Z"
)


@pytest.fixture
def proud(tmp_path: Path) -> Lab:
    """A lab whose cytometer gets receipts, with one proved run."""
    lab = Lab(tmp_path, equipment=WITH_RECEIPTS)
    lab.push()
    lab.poll()
    return lab


def folder(lab: Lab) -> Path:
    return lab.staging / "FLOW_01" / RECEIPTS


def text(lab: Lab, run: str = RUN) -> str:
    return (folder(lab) / f"{receipt_name(run)}.txt").read_bytes().decode("utf-8-sig")


def facts(lab: Lab, run: str = RUN) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder(lab) / f"{receipt_name(run)}.json").read_bytes())
    return found


def test_what_was_accepted_as_it_is_gets_no_receipt(tmp_path: Path) -> None:
    lab = Lab(tmp_path, equipment=WITH_RECEIPTS)
    lab.push(done=False)
    lab.poll()
    assert lab.cli("accept", "--reason", "it crashed", RUN).returncode == 0
    lab.poll()
    assert lab.states()[-1] == "sync_verified"
    assert not folder(lab).exists()


# -- a proved run --------------------------------------------------------------------------------------------


def test_a_proved_run_has_a_receipt_beside_its_projects_and_nothing_in_its_folder(proud: Lab) -> None:
    assert f"Run:        {RUN}\r\n" in text(proud)
    assert "SAFE ON THE NAS since" in text(proud)
    assert "It may be deleted from the instrument." in text(proud)
    entry = proud.record().history[-1]
    found = facts(proud)
    assert found["safe"] is True
    assert (found["file_count"], found["byte_total"]) == (3, 7)
    assert found["nas_path"] == str(proud.published())
    assert found["checksum_file"] == ".exlab-wizard/checksums.sha256"
    assert found["checksum_sha256"] == entry.text("checksum_sha256")
    assert found["verified_at"] == entry.at
    assert not list(proud.staged().rglob("*receipt*"))
    assert not list(proud.nas.rglob("*receipt*"))


def test_the_folder_of_receipts_is_no_stray_but_a_link_in_its_place_is(proud: Lab, tmp_path: Path) -> None:
    with proud.station(changing=False) as station:
        assert station.discover().strays == ()
    os.rename(folder(proud), tmp_path / "elsewhere")
    folder(proud).symlink_to(tmp_path / "elsewhere")
    with proud.station(changing=False) as station:
        (stray,) = station.discover().strays
    assert stray.path == f"FLOW_01/{RECEIPTS}"
    assert "move this away" in stray.hint


def test_without_the_setting_there_are_none(lab: Lab) -> None:
    lab.push()
    lab.poll()
    assert not folder(lab).exists()


def test_a_run_that_arrives_or_waits_has_none(tmp_path: Path) -> None:
    lab = Lab(tmp_path, equipment=WITH_RECEIPTS)
    lab.push(done=False)
    lab.poll()
    assert not folder(lab).exists()


def test_after_the_clear_the_receipt_stays_as_it_is(proud: Lab) -> None:
    before = text(proud)
    assert proud.cli("clear", "--yes", RUN).returncode == 0
    require_cleared(proud)
    proud.poll()
    assert text(proud) == before


def test_a_second_look_writes_nothing_anew(proud: Lab) -> None:
    before = (folder(proud) / f"{receipt_name(RUN)}.json").stat()
    with proud.station() as station:
        station.journal.forget_idle()
    proud.poll()
    assert (folder(proud) / f"{receipt_name(RUN)}.json").stat() == before


def test_a_receipt_that_was_deleted_or_edited_is_written_anew(proud: Lab) -> None:
    before = text(proud)
    (folder(proud) / f"{receipt_name(RUN)}.txt").write_text("mine")
    with proud.station() as station:
        station.journal.forget_idle()
    proud.poll()
    assert text(proud) == before


# -- a run that is not safe any more -------------------------------------------------------------------------


def test_a_run_that_changed_is_not_called_safe_and_is_again_when_it_is(proud: Lab) -> None:
    (proud.staged() / "new.fcs").write_bytes(b"new")
    proud.poll(frozenset({"evaluate"}))
    assert "NOT SAFE ANY MORE" in text(proud)
    assert ": files were added to it; it is copied and proved again\r\n" in text(proud)
    assert "Do NOT delete it from the instrument." in text(proud)
    assert facts(proud)["safe"] is False
    proud.poll()
    assert "SAFE ON THE NAS since" in text(proud)
    assert facts(proud)["file_count"] == 4


def test_the_receipt_is_withdrawn_before_the_record_says_so(proud: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    (proud.staged() / "new.fcs").write_bytes(b"new")
    seen: list[bool] = []

    def look(*_: object, **__: object) -> None:
        seen.append("NOT SAFE" in text(proud))
        raise KeyboardInterrupt  # killed in this very moment

    monkeypatch.setattr("exlab_orch.records.Records.append", look)
    with pytest.raises(KeyboardInterrupt):
        proud.poll()
    assert seen == [True]
    assert proud.states()[-1] == "sync_verified"


@pytest.mark.parametrize("harm", ["damaged", "missing"])
def test_a_nas_copy_that_is_no_good_withdraws_the_receipt(proud: Lab, harm: str) -> None:
    copy = proud.published() / "a.fcs"
    if harm == "damaged":
        copy.write_bytes(b"zzz")
    else:
        copy.unlink()
    assert proud.cli("clear", "--yes", RUN).returncode != 0
    assert "NOT SAFE ANY MORE" in text(proud)
    with proud.station() as station:
        station.journal.forget_idle()
    proud.poll(frozenset({"evaluate"}))
    assert facts(proud)["safe"] is False


def test_a_claim_and_a_new_life_withdraw_the_receipt(proud: Lab) -> None:
    record = proud.staged() / ".exlab-wizard/ingest.json"
    record.write_bytes(record.read_bytes().replace(b'"seal"', b'"was"'))
    (proud.state / "key").unlink(missing_ok=True)
    for path in proud.state.glob("*key*"):
        path.unlink()
    proud.poll(frozenset({"evaluate"}))
    assert facts(proud)["safe"] is False


def test_a_run_that_is_pushed_again_after_its_clear_is_not_called_safe(proud: Lab) -> None:
    proud.cli("clear", "--yes", RUN)
    proud.push(files={"a.fcs": b"other"}, done=False)
    proud.poll()
    assert "NOT SAFE ANY MORE" in text(proud)


def test_a_damaged_copy_that_verify_finds_after_the_clear_withdraws_the_receipt(proud: Lab) -> None:
    assert proud.cli("clear", "--yes", RUN).returncode == 0
    assert proud.cli("verify", RUN).returncode == 0
    assert facts(proud)["safe"] is True
    (proud.published() / "a.fcs").write_bytes(b"zzz")
    assert proud.cli("verify", RUN).returncode == 3
    assert "NOT SAFE ANY MORE" in text(proud)


def test_it_is_withdrawn_although_receipts_were_switched_off(proud: Lab) -> None:
    proud.equipment = EQUIPMENT
    proud.configure()
    (proud.staged() / "new.fcs").write_bytes(b"new")
    proud.poll(frozenset({"evaluate"}))
    assert facts(proud)["safe"] is False


def test_on_a_full_disk_the_receipt_is_removed_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "FLOW_01").mkdir()
    issue(str(tmp_path), SAFE)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("exlab_orch.receipts.replace_own", full)
    assert withdraw(str(tmp_path), RUN, "changed", NOW)
    assert list((tmp_path / "FLOW_01" / RECEIPTS).iterdir()) == []


def test_half_a_receipt_is_withdrawn_too(tmp_path: Path) -> None:
    (tmp_path / "FLOW_01").mkdir()
    issue(str(tmp_path), SAFE)
    (tmp_path / "FLOW_01" / RECEIPTS / f"{receipt_name(RUN)}.json").unlink()
    assert withdraw(str(tmp_path), RUN, "changed", NOW)
    found = read_receipt(str(tmp_path), RUN)
    assert found is not None
    assert not found.safe
    assert not withdraw(str(tmp_path), RUN, "changed", NOW), "once is enough"
    assert not withdraw(str(tmp_path), f"{RUN}x", "changed", NOW)


# -- what hinders a receipt ----------------------------------------------------------------------------------


def test_a_link_is_not_followed_and_the_run_is_proved_all_the_same(tmp_path: Path) -> None:
    lab = Lab(tmp_path, equipment=WITH_RECEIPTS)
    lab.push()
    (tmp_path / "precious").mkdir()
    folder(lab).symlink_to(tmp_path / "precious")
    report = lab.poll()
    assert lab.states()[-1] == "sync_verified"
    assert list((tmp_path / "precious").iterdir()) == []
    codes = [(one.kind, one.problem.code) for one in report.announcements]
    assert ("opened", "receipt_not_written") in codes
    assert report.failed == ()
    folder(lab).unlink()
    report = lab.poll()
    assert ("closed", "receipt_not_written") in [(one.kind, one.problem.code) for one in report.announcements]
    assert facts(lab)["safe"] is True


def test_a_receipt_that_cannot_be_written_keeps_no_run_from_its_clear(tmp_path: Path) -> None:
    lab = Lab(tmp_path, equipment=WITH_RECEIPTS, cleanup='mode = "scheduled"\nretain_hours = 0')
    lab.push()
    folder(lab).symlink_to(tmp_path)
    lab.poll()
    require_cleared(lab)


def pushed_file(path: Path) -> None:
    path.write_bytes(b"pushed")


def pushed_folder(path: Path) -> None:
    (path / "in it").mkdir(parents=True)


@pytest.mark.parametrize("ending", ["txt", "json"])
@pytest.mark.parametrize("make", [pushed_file, pushed_folder, os.mkfifo, lambda path: path.symlink_to("/etc/passwd")])
def test_what_bears_the_name_of_a_receipt_and_is_not_ours_is_kept_under_another(
    tmp_path: Path, make: Callable[[Path], None], ending: str
) -> None:
    root, there = str(tmp_path), tmp_path / "FLOW_01" / RECEIPTS
    there.mkdir(parents=True)
    name = f"{receipt_name(RUN)}.{ending}"
    make(there / name)
    before = (there / name).lstat()
    assert not withdraw(root, RUN, "changed", NOW), "none of these was a receipt"
    assert issue(root, SAFE)
    assert read_receipt(root, RUN) == SAFE
    kept = (there / f"pushed-1-{name}").lstat()
    assert (kept.st_ino, kept.st_mode, kept.st_size) == (before.st_ino, before.st_mode, before.st_size)
    (there / name).unlink()
    make(there / name)
    assert withdraw(root, RUN, "changed", NOW)
    found = read_receipt(root, RUN)
    assert found is not None
    assert not found.safe
    assert (there / f"pushed-2-{name}").lstat().st_mode == before.st_mode


def test_a_remark_in_a_receipt_does_not_keep_it_from_being_withdrawn(proud: Lab) -> None:
    path = folder(proud) / f"{receipt_name(RUN)}.txt"
    path.write_bytes(path.read_bytes() + b"deleted mine on Monday, Ada\r\n")
    (proud.staged() / "new.fcs").write_bytes(b"new")
    proud.poll(frozenset({"evaluate"}))
    assert "NOT SAFE ANY MORE" in text(proud)
    assert "SAFE ON THE NAS" not in text(proud)


def test_the_instrument_can_read_it_whatever_umask_the_program_was_started_with(tmp_path: Path) -> None:
    lab = Lab(tmp_path, equipment=WITH_RECEIPTS)
    lab.push()
    before = os.umask(0o077)
    try:
        lab.poll()
    finally:
        os.umask(before)
    assert folder(lab).stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in folder(lab).iterdir()} == {0o644}


def test_a_folder_that_is_no_run_any_more_is_not_called_safe_until_it_is_one_again(proud: Lab) -> None:
    """Nobody would see what the instrument adds to it."""
    proud.equipment = WITH_RECEIPTS.replace("receipts = true", 'run_pattern = "Exp-*"\nreceipts = true')
    proud.configure()
    proud.poll()
    assert "nobody looks after this folder any more" in text(proud)
    proud.equipment = WITH_RECEIPTS
    proud.configure()
    proud.poll()
    assert "SAFE ON THE NAS since" in text(proud)


# -- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "run",
    [
        "FLOW_01/PROJ 1/Runs/Run_ä:?*<>|",
        "FLOW_01/../Runs/Run_1",
        "FLOW_01/.hidden/Runs/Run_.",
        f"FLOW_01/{'p' * 250}/Runs/Run_{'x' * 250}",
        "FLOW_01/CON/Runs/Run_1",
        "FLOW_01/P/Run_1",
        "FLOW_01/P\n/TestRuns/TestRun_1",
        "FLOW_01/日本/Runs/Run_日本",
    ],
)
def test_the_name_of_a_receipt_can_be_held_by_any_file_system(run: str) -> None:
    name = receipt_name(run)
    assert name.isascii()
    assert not set(name) & set('/\\:*?"<>| \n')
    assert not name.startswith(".")
    assert len(name) < 200


def test_runs_of_equal_or_similar_names_have_receipts_of_their_own() -> None:
    runs = [
        "FLOW_01/A/Runs/Run_1",
        "FLOW_01/A/Run_1",
        "FLOW_01/A B/Runs/Run_1",
        "FLOW_01/A_B/Runs/Run_1",
        f"FLOW_01/A/Runs/Run_{'x' * 200}1",
        f"FLOW_01/A/Runs/Run_{'x' * 200}2",
    ]
    assert len({receipt_name(run).casefold() for run in runs}) == len(runs)


def test_a_hostile_name_cannot_write_a_second_line(tmp_path: Path) -> None:
    run = "FLOW_01/P\r\nSAFE ON THE NAS/Runs/Run_1"
    (tmp_path / "FLOW_01").mkdir()
    withdrawn = Receipt(run, False, 0, 0, "", "", "", "", "now", "x\r\nSAFE ON THE NAS since now")
    lines = receipt_text(withdrawn).decode("utf-8-sig").split("\r\n")
    assert not [line for line in lines if line.startswith("SAFE")]


# -- old receipts --------------------------------------------------------------------------------------------


def test_old_receipts_go_and_nothing_else_in_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(tmp_path, equipment=WITH_RECEIPTS)
    time = Calendar(lab, monkeypatch)
    lab.push()
    lab.poll()
    others = {"notes.txt": b"mine", f"Run_1-{'0' * 16}.json": b"{}", f"{receipt_name(RUN)}.bak": b"mine"}
    for name, content in others.items():
        (folder(lab) / name).write_bytes(content)
    time.wait(days=29)
    lab.poll()
    assert facts(lab)["safe"] is True
    time.wait(days=2)
    lab.poll()
    assert {path.name for path in folder(lab).iterdir()} == set(others)
    time.wait(days=2)
    lab.poll()
    assert {path.name for path in folder(lab).iterdir()} == set(others), "an old run gets no new one"


def test_a_step_of_the_clock_removes_no_receipts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(tmp_path, equipment=WITH_RECEIPTS)
    time = Calendar(lab, monkeypatch)
    lab.push()
    lab.poll()
    time.step(days=4000)
    lab.poll()
    assert facts(lab)["safe"] is True
    time.step(days=-4000)
    for _ in range(2):
        time.wait(days=2)
        lab.poll()
    assert facts(lab)["safe"] is True
    time.wait(days=30)
    lab.poll()
    assert list(folder(lab).iterdir()) == []


def test_a_receipt_that_somebody_edited_or_that_names_another_run_is_not_ours_to_remove(tmp_path: Path) -> None:
    root, later = str(tmp_path), NOW + timedelta(days=100)
    (tmp_path / "FLOW_01").mkdir()
    issue(root, SAFE)
    assert expired(root, "FLOW_01", timedelta(days=30), later) == [RUN]
    assert expired(root, "FLOW_01", timedelta(days=30), NOW) == []
    there = tmp_path / "FLOW_01" / RECEIPTS
    (there / f"{receipt_name(RUN)}.txt").write_text("edited")
    assert expired(root, "FLOW_01", timedelta(days=30), later) == []
    issue(root, SAFE)
    os.rename(there / f"{receipt_name(RUN)}.json", there / f"x-{'0' * 16}.json")
    assert expired(root, "FLOW_01", timedelta(days=30), later) == []
    assert expired(root, "OTHER_01", timedelta(days=30), later) == []
    remove(root, RUN)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"null", b"[" * 100_000, b'{"schema_version": "1.0"}'])
def test_what_cannot_be_understood_is_no_receipt(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "FLOW_01").mkdir()
    issue(str(tmp_path), SAFE)
    (tmp_path / "FLOW_01" / RECEIPTS / f"{receipt_name(RUN)}.json").write_bytes(content)
    assert read_receipt(str(tmp_path), RUN) is None
    assert expired(str(tmp_path), "FLOW_01", timedelta(0), NOW + timedelta(days=9)) == []


def test_the_text_is_readable_in_notepad() -> None:
    raw = receipt_text(SAFE)
    assert raw.startswith(b"\xef\xbb\xbf")
    assert raw.count(b"\r\n") == raw.count(b"\n")


def test_withdrawing_for_a_run_without_a_receipt_touches_no_disk_and_opens_nothing(lab: Lab) -> None:
    lab.push()
    with lab.station() as station:
        assert isinstance(station, Station)
        station.withdraw_receipt(lab.run(), "why")
        assert station.journal.problems() == []
