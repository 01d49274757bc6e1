"""The ledger of cleared runs: appended durably, read past torn lines, each clear once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from exlab_orch import ledger as ledger_module
from exlab_orch.errors import StateUnavailable
from exlab_orch.ledger import UNSEEN, Ledger, LedgerLine, LedgerStep, ProvedAgain, PushedAgain
from tests.files.privilege import ordinary_user

LINE = LedgerLine(
    run_path="FLOW_01/PROJ-1/Runs/Run_1",
    cleared_at="2026-04-17T14:32:00.000Z",
    files_cleared=3,
    bytes_freed=7 << 40,
    nas_path="/mnt/nas/FLOW_01/PROJ-1/Runs/Run_1",
    checksum_sha256="ab" * 32,
    host="lab-pc",
)
AGAIN = replace(LINE, cleared_at="2026-05-01T00:00:00.000Z", by="anna")
FULL = replace(
    LINE,
    history=(LedgerStep("staging", "2026-04-17T12:00:00.000Z"), LedgerStep("cleared", LINE.cleared_at)),
    last_write_at="2026-04-17T12:10:00.000Z",
)
ODD = replace(LINE, run_path="FLOW_01/new\nline [bold] \u2028/Runs/Run_é")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


def test_lines_come_back_oldest_first(path: Path) -> None:
    for line in (LINE, ODD, AGAIN):
        Ledger(str(path)).append(line)
    ledger = Ledger(str(path))
    assert ledger.lines() == (LINE, ODD, AGAIN)
    assert ledger.last(LINE.run_path) == AGAIN
    assert ledger.last(ODD.run_path) == ODD
    assert ledger.last("unknown") is None


def test_a_line_is_one_json_object_whatever_the_run_is_called(path: Path) -> None:
    Ledger(str(path)).append(ODD)
    raw = path.read_bytes()
    assert raw.count(b"\n") == 1
    assert json.loads(raw)["run_path"] == ODD.run_path


def test_a_clear_that_is_finished_twice_is_one_line(path: Path) -> None:
    ledger = Ledger(str(path))
    for _ in range(2):
        ledger.append(LINE)
        Ledger(str(path)).append(LINE)
    assert ledger.lines() == (LINE,)


def test_a_ledger_that_is_not_there_is_empty(path: Path) -> None:
    assert Ledger(str(path)).lines() == ()
    assert not path.exists()


def test_what_another_process_appends_is_seen(path: Path) -> None:
    ledger = Ledger(str(path))
    assert ledger.lines() == ()
    assert not ledger.is_hidden
    Ledger(str(path)).append(LINE)
    assert ledger.last(LINE.run_path) == LINE


@pytest.mark.parametrize("keep", range(0, 300, 37))
def test_a_torn_line_costs_no_other_line(path: Path, keep: int) -> None:
    Ledger(str(path)).append(LINE)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:keep])
    ledger = Ledger(str(path))
    assert ledger.lines() == (LINE,)
    ledger.append(AGAIN)
    assert Ledger(str(path)).lines() == (LINE, AGAIN)


@pytest.mark.parametrize("odd", [b"", b"\0\0\0", b"\xff", b"[]", b"null", b"{}", b'{"run_path": "x"}', b'{"other": 1}'])
def test_a_line_that_is_none_of_ours_is_passed_over(path: Path, odd: bytes) -> None:
    Ledger(str(path)).append(LINE)
    path.write_bytes(odd + b"\n" + path.read_bytes())
    assert Ledger(str(path)).lines() == (LINE,)


@pytest.mark.parametrize("closed", ["file", "folder"])
def test_a_ledger_that_may_not_be_read_is_an_error_for_who_changes_runs_and_empty_for_who_looks_on(
    tmp_path: Path, closed: str
) -> None:
    path = tmp_path / "state/ledger.jsonl"
    path.parent.mkdir()
    Ledger(str(path)).append(LINE)
    assert not Ledger(str(path)).is_hidden
    (path if closed == "file" else path.parent).chmod(0o000)
    with ordinary_user():
        assert Ledger(str(path)).is_hidden
        assert Ledger(str(path), may_be_hidden=True).lines() == ()
        with pytest.raises(StateUnavailable):
            Ledger(str(path)).lines()


def test_the_history_comes_back_and_a_line_of_an_earlier_version_has_none(path: Path) -> None:
    Ledger(str(path)).append(FULL)
    old = {
        name: value for name, value in json.loads(path.read_bytes()).items() if name not in ("history", "last_write_at")
    }
    assert Ledger(str(path)).lines() == (FULL,)
    path.write_text(json.dumps(old) + "\n")
    assert Ledger(str(path)).lines() == (LINE,)


def test_a_line_of_a_later_version_is_read_without_what_it_adds(path: Path) -> None:
    Ledger(str(path)).append(FULL)
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"mood": "fine"}) + "\n")
    assert Ledger(str(path)).lines() == (FULL,)


@pytest.mark.parametrize("history", [None, 7, ["staging"], [{"state": "staging"}], [None]])
def test_a_line_with_a_history_that_is_none_is_none_of_ours(path: Path, history: object) -> None:
    Ledger(str(path)).append(FULL)
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"history": history}) + "\n")
    assert Ledger(str(path)).lines() == ()


def test_one_clear_is_one_line_also_when_its_end_knows_less_than_its_beginning(path: Path) -> None:
    for line in (FULL, replace(FULL, last_write_at=None), LINE):
        Ledger(str(path)).append(line)
    assert Ledger(str(path)).lines() == (FULL,)


PUSHED = PushedAgain(LINE.run_path, "2026-04-18T00:00:00.000Z", "2026-04-18T00:00:00.000Z")
LATER = replace(PUSHED, pushed_again_at="2026-04-20T00:00:00.000Z", life="2026-04-20T00:00:00.000Z")
PROVED = ProvedAgain(
    LINE.run_path, "2026-04-19T00:00:00.000Z", PUSHED.life, 4, 9, LINE.nas_path, "m", "cd" * 32, accepted=False
)


def test_a_run_that_is_pushed_again_is_noted_once_until_all_of_it_is_proved(path: Path) -> None:
    ledger = Ledger(str(path))
    ledger.append(LINE)
    assert ledger.pushed_again_at(LINE.run_path) is None
    for note in (PUSHED, replace(PUSHED, pushed_again_at=LATER.pushed_again_at)):
        ledger.note_pushed_again(note)
        Ledger(str(path)).append(LINE)  # a delete of before that ends only now
    assert Ledger(str(path)).pushed_again_at(LINE.run_path) == PUSHED.pushed_again_at
    assert path.read_bytes().count(b"\n") == 2
    ledger.append(AGAIN)
    assert Ledger(str(path)).pushed_again_at(LINE.run_path) == PUSHED.pushed_again_at, "that may be of a life before"
    for _ in range(2):
        ledger.note_proved_again(PROVED)
    assert ledger.pushed_again_at(LINE.run_path) is None
    assert path.read_bytes().count(b"\n") == 4
    assert Ledger(str(path)).lines() == (LINE, AGAIN)


def test_what_was_noted_before_another_life_is_noted_again_after_it(path: Path) -> None:
    ledger = Ledger(str(path))
    for life in (UNSEEN, PUSHED.life, UNSEEN, UNSEEN):
        ledger.note_pushed_again(replace(PUSHED, life=life))
    assert path.read_bytes().count(b"\n") == 3


def test_a_proof_ends_no_note_of_a_life_that_began_later(path: Path) -> None:
    """As when the older one was put back from the trash."""
    ledger = Ledger(str(path))
    unseen, closed = replace(LATER, life=UNSEEN), replace(PUSHED, life="", pushed_again_at="2026-05-01T00:00:00.000Z")
    for note in (PUSHED, closed, LATER, unseen):
        ledger.note_pushed_again(note)
    ledger.note_proved_again(PROVED)
    assert Ledger(str(path)).pushed_again_at(LINE.run_path) == LATER.pushed_again_at
    ledger.note_proved_again(replace(PROVED, life="2026-05-01T00:00:00.000Z"))
    assert Ledger(str(path)).pushed_again_at(LINE.run_path) is None


def test_the_newest_proof_counts_until_its_life_is_deleted(path: Path) -> None:
    ledger = Ledger(str(path))
    ledger.note_proved_again(PROVED)
    assert not path.exists(), "only of a run that was pushed again"
    ledger.note_pushed_again(PUSHED)
    ledger.note_proved_again(PROVED)
    ahead = replace(AGAIN, cleared_at="2030-01-01T00:00:00.000Z")
    for line in (LINE, ahead):  # in the trash until now, the second one under a clock that was years ahead
        ledger.append(line)
        assert Ledger(str(path)).proved_again(LINE.run_path) == PROVED
    ledger.append(replace(AGAIN, history=(LedgerStep("staging", PUSHED.life),)))
    assert Ledger(str(path)).proved_again(LINE.run_path) is None
    ledger.note_pushed_again(PUSHED)  # the same life, put back from a backup
    ledger.note_proved_again(PROVED)
    assert Ledger(str(path)).proved_again(LINE.run_path) == PROVED
    assert ledger.lists_of(LINE.run_path) == {LINE.checksum_sha256, PROVED.checksum_sha256}


def test_few_runs_are_told_as_all_of_them_are(path: Path) -> None:
    ledger = Ledger(str(path))
    ledger.append(ODD)
    ledger.append(LINE)
    ledger.note_pushed_again(PUSHED)
    ledger.note_proved_again(PROVED)
    ledger.note_pushed_again(LATER)

    def told(ledger: Ledger, run_path: str) -> list[object]:
        asked = (ledger.last, ledger.pushed_again_at, ledger.proved_again, ledger.lists_of)
        return [ask(run_path) for ask in asked]

    everything = Ledger(str(path))
    assert len(everything.lines()) == 2
    for run_path in (LINE.run_path, ODD.run_path, "unknown", LINE.run_path[:-1]):
        assert told(Ledger(str(path)), run_path) == told(everything, run_path)


@pytest.mark.parametrize(
    "odd", [{"run_path": 7}, {"pushed_again_at": 7}, {"pushed_again_at": None}, {"run_path": []}, {"life": 7}], ids=str
)
def test_nonsense_about_a_run_that_was_pushed_again_is_passed_over(path: Path, odd: dict[str, object]) -> None:
    ledger = Ledger(str(path))
    ledger.append(LINE)
    ledger.note_pushed_again(PUSHED)
    cleared, again = path.read_text().splitlines()
    path.write_text(f"{cleared}\n{json.dumps(json.loads(again) | odd)}\n")
    assert Ledger(str(path)).pushed_again_at(LINE.run_path) is None
    assert Ledger(str(path)).lines() == (LINE,)


@pytest.mark.parametrize(
    "odd",
    [
        {"run_path": 7},
        {"proved_again_at": 7},
        {"file_count": "4"},
        {"accepted": "no"},
        {"nas_marker": 7},
        {"life": None},
        {"checksum_sha256": None},
    ],
    ids=str,
)
def test_nonsense_about_a_second_proof_is_no_proof(path: Path, odd: dict[str, object]) -> None:
    ledger = Ledger(str(path))
    ledger.note_pushed_again(PUSHED)
    ledger.note_proved_again(PROVED)
    pushed, proved = path.read_text().splitlines()
    path.write_text(f"{pushed}\n{json.dumps(json.loads(proved) | odd)}\n")
    assert Ledger(str(path)).pushed_again_at(LINE.run_path) == PUSHED.pushed_again_at
    assert Ledger(str(path)).proved_again(LINE.run_path) is None


def test_what_is_appended_is_read_without_the_lines_before_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []

    def parse(line: bytes) -> object:
        read.extend([line] if line else [])
        return real(line)

    real = ledger_module._parse
    ledger = Ledger(str(path))
    for line in (LINE, ODD):
        ledger.append(line)
    assert ledger.lines() == (LINE, ODD)
    monkeypatch.setattr(ledger_module, "_parse", parse)
    Ledger(str(path)).append(AGAIN)
    read.clear()
    assert ledger.lines() == (LINE, ODD, AGAIN)
    assert len(read) == 1


def test_a_ledger_that_became_another_one_is_read_anew(path: Path) -> None:
    ledger = Ledger(str(path))
    for line in (LINE, ODD):
        ledger.append(line)
    assert len(ledger.lines()) == 2
    path.unlink()
    assert ledger.lines() == ()
    Ledger(str(path)).append(AGAIN)
    assert ledger.lines() == (AGAIN,)


def test_a_line_without_its_end_is_read_once_it_is_whole(path: Path) -> None:
    Ledger(str(path)).append(LINE)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    ledger = Ledger(str(path))
    assert ledger.lines() == (LINE,)
    path.write_bytes(whole + json.dumps(json.loads(whole) | {"cleared_at": AGAIN.cleared_at})[:-9].encode())
    assert ledger.lines() == (LINE,)
    path.write_bytes(whole + json.dumps(json.loads(whole) | {"cleared_at": AGAIN.cleared_at}).encode())
    assert [line.cleared_at for line in ledger.lines()] == [LINE.cleared_at, AGAIN.cleared_at]
