"""Receipts of runs that no pass looks at: cleared, disappeared, out of sight. Each says what is known of the copy."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

import pytest

from exlab_orch import receipt_settling, receipts
from exlab_orch.clock import utc_now
from exlab_orch.errors import PermissionRefused
from exlab_orch.files.places import Style
from exlab_orch.files.whole import replace_own
from exlab_orch.model import Place
from exlab_orch.receipts import RECEIPTS
from exlab_orch.staging import Discovery, trash_slots
from exlab_orch.state import StateDirectory
from exlab_orch.station import Station
from exlab_orch.transports.marker import MARKER
from exlab_orch.verification import verify
from tests.files.privilege import ordinary_user
from tests.lab import EQUIPMENT, MARKER_ID, RUN, Lab, flip_a_bit
from tests.test_doubt import another_nas, clear_it, is_called_safe, look, proud

__all__ = ["proud"]
SAFE = b"SAFE ON THE NAS since"
NOT_SAFE = b"NOT SAFE ANY MORE"


@pytest.fixture
def cleared(proud: Lab) -> Lab:
    """A run with a receipt, on the NAS only."""
    assert clear_it(proud) is None
    return proud


def files(lab: Lab) -> tuple[Path, Path]:
    """The text and the JSON of the receipt."""
    folder = lab.staging / "FLOW_01" / RECEIPTS
    (text,) = folder.glob("PROJ-1-*.txt")
    return text, text.with_suffix(".json")


def says_safe(lab: Lab) -> list[bool]:
    """What the text and the JSON say, each on its own."""
    text, facts = files(lab)
    return [SAFE in text.read_bytes(), facts.exists() and json.loads(facts.read_bytes())["safe"]]


def lose_the_journal(lab: Lab) -> None:
    for part in lab.state.glob("journal.sqlite3*"):
        part.unlink()


def another_configuration(lab: Lab) -> None:
    """Something in it that has nothing to do with receipts; every receipt is settled once then."""
    lab.sync = "workers = 3" if lab.sync != "workers = 3" else "workers = 2"
    lab.configure()


def empty_nas_with_another_marker(lab: Lab) -> None:
    """It is mounted where the one with the copies was."""
    shutil.rmtree(lab.nas / "FLOW_01")
    (lab.nas / MARKER).write_text(f"{'e' * 32}\n")
    lab.config_path.write_text(lab.config_path.read_text().replace(MARKER_ID, "e" * 32))


# -- another NAS ---------------------------------------------------------------------------------------------


def nothing(lab: Lab) -> None:
    """Nothing is lost."""


def take_away(lab: Lab) -> None:
    """The instrument, or a person, deletes the staged copy, and a pass sees that it is gone."""
    shutil.rmtree(lab.staged())
    lab.poll()


def accept(lab: Lab) -> None:
    assert lab.cli("accept", "--reason", "it is all there is", RUN).returncode == 0


def lose_the_ledger(lab: Lab) -> None:
    (lab.state / "ledger.jsonl").unlink()


@pytest.mark.parametrize(
    ("life", "lose"),
    [
        *((life, lose) for life in ("staged", "cleared", "disappeared") for lose in (nothing, lose_the_journal)),
        ("cleared", lose_the_ledger),
    ],
)
def test_another_nas_in_the_same_place_has_no_receipt_that_says_safe(
    proud: Lab,
    life: str,
    lose: Callable[[Lab], None],
) -> None:
    if life == "cleared":
        assert clear_it(proud) is None
    if life == "disappeared":
        take_away(proud)
        assert says_safe(proud) == [True, True], "its copy is what was proved"
    empty_nas_with_another_marker(proud)
    lose(proud)
    proud.poll(frozenset({"evaluate"}))
    assert says_safe(proud) == [False, False]


def test_without_a_nas_and_then_with_another_in_its_place_a_disappeared_run_is_not_called_safe_again(
    proud: Lab,
) -> None:
    take_away(proud)
    configuration = proud.config_path.read_text()
    proud.config_path.write_text(re.sub(r"\[nas\].*?(?=\[sync\])", "", configuration, flags=re.DOTALL))
    proud.poll(frozenset({"evaluate"}))
    assert says_safe(proud) == [False, False]
    proud.config_path.write_text(configuration)
    empty_nas_with_another_marker(proud)
    proud.poll()
    assert says_safe(proud) == [False, False]


def test_where_a_copy_was_found_on_a_new_nas_a_lost_journal_makes_it_unknown_until_it_is_read(cleared: Lab) -> None:
    first = cleared.nas
    another_nas(cleared)
    shutil.copytree(first / RUN, cleared.nas / RUN)
    assert look(cleared) is None
    cleared.poll()
    assert is_called_safe(cleared)
    assert json.loads(files(cleared)[1].read_bytes())["nas_path"] == str(cleared.published())
    lose_the_journal(cleared)
    cleared.poll()
    assert not is_called_safe(cleared)
    assert look(cleared) is None
    assert is_called_safe(cleared)


def test_a_verify_that_ends_while_a_pass_settles_is_heeded(cleared: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    first = cleared.nas
    another_nas(cleared)
    shutil.copytree(first / RUN, cleared.nas / RUN)

    def verified_meanwhile(root: str, equipment: str) -> list[str]:
        monkeypatch.undo()
        names = receipts.receipt_names(root, equipment)
        assert look(cleared) is None
        return names

    monkeypatch.setattr("exlab_orch.receipt_settling.receipt_names", verified_meanwhile)
    cleared.poll()
    assert is_called_safe(cleared)


def test_a_verify_that_ends_while_a_pass_waits_for_the_run_is_heeded(
    cleared: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cleared.nas
    another_nas(cleared)
    shutil.copytree(first / RUN, cleared.nas / RUN)
    real = StateDirectory.run_lock

    def verified_meanwhile(state: StateDirectory, run_path: str, **options: float) -> AbstractContextManager[bool]:
        monkeypatch.undo()
        assert look(cleared) is None
        return real(state, run_path, **options)

    monkeypatch.setattr(StateDirectory, "run_lock", verified_meanwhile)
    cleared.poll()
    assert is_called_safe(cleared)


def test_what_a_verify_with_the_configuration_of_before_gives_back_is_settled_by_the_next_pass(
    cleared: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cleared.station() as before:
        flip_a_bit(cleared.published() / "a.fcs")
        assert not verify(before, cleared.run()).ok
        flip_a_bit(cleared.published() / "a.fcs")
        another_nas(cleared)

        def verified_at_the_end(station: Station, found: Discovery) -> bool:
            monkeypatch.undo()
            is_settled = receipt_settling.settle_receipts(station, found)
            assert verify(before, cleared.run()).ok
            return is_settled

        monkeypatch.setattr(receipt_settling, "settle_receipts", verified_at_the_end)
        cleared.poll()
    assert says_safe(cleared) == [True, True]
    cleared.poll()
    assert says_safe(cleared) == [False, False]


def test_a_busy_run_is_settled_by_a_later_pass(cleared: Lab) -> None:
    another_nas(cleared)
    with cleared.station() as station, station.state.run_lock(RUN):
        cleared.poll(frozenset({"evaluate"}))
        assert says_safe(cleared) == [True, True]
    cleared.poll()
    assert says_safe(cleared) == [False, False]


def test_the_receipt_of_a_run_whose_delete_was_interrupted_is_left_to_who_finishes_it(
    proud: Lab,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("exlab_orch.trash.delete_proved", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            clear_it(proud)
        patch.setattr("exlab_orch.passes.settle_trashed", lambda *_: None)
        proud.poll(frozenset({"evaluate"}))
        assert says_safe(proud) == [True, True]
    proud.poll()
    assert says_safe(proud) == [True, True]


def test_a_lost_ledger_vouches_for_nothing_until_it_is_back(cleared: Lab) -> None:
    ledger = cleared.state / "ledger.jsonl"
    content = ledger.read_bytes()
    ledger.unlink()
    another_configuration(cleared)
    cleared.poll()
    assert says_safe(cleared) == [False, False]
    ledger.write_bytes(content)
    cleared.poll()
    assert is_called_safe(cleared)


# -- out of sight --------------------------------------------------------------------------------------------

OTHER_NAMES = EQUIPMENT.replace('id = "FLOW_01"\n', 'id = "FLOW_01"\nreceipts = true\nrun_pattern = ["Other_*"]\n')


@pytest.mark.parametrize("life", ["cleared", "journal lost"])
def test_what_is_pushed_again_under_a_name_that_is_none_of_a_run_any_more_is_not_called_safe(
    proud: Lab,
    life: str,
) -> None:
    if life == "cleared":
        assert clear_it(proud) is None
    proud.equipment = OTHER_NAMES
    proud.configure()
    proud.poll()
    proud.push(files={"late.fcs": b"pushed after"})
    if life == "journal lost":
        lose_the_journal(proud)
    proud.poll()
    assert says_safe(proud) == [False, False]


def test_what_is_pushed_again_into_a_project_that_cannot_be_read_is_not_called_safe(cleared: Lab) -> None:
    cleared.push(files={"late.fcs": b"late"})
    project = cleared.staging / "FLOW_01/PROJ-1"
    project.chmod(0)
    with ordinary_user():
        cleared.poll()
    project.chmod(0o755)
    assert says_safe(cleared) == [False, False]


def test_a_staged_run_whose_folder_is_closed_is_not_called_safe(proud: Lab) -> None:
    proud.staged().chmod(0)
    with ordinary_user():
        proud.poll()
    proud.staged().chmod(0o755)
    assert says_safe(proud) == [False, False]
    proud.poll()
    proud.poll()
    assert is_called_safe(proud)


def push_out_of_sight(lab: Lab, equipment: str) -> None:
    """A pass sees a folder in place of the run with a name of no run any more; that goes, and the names come back."""
    lab.equipment = OTHER_NAMES
    lab.configure()
    lab.push(files={"late.fcs": b"pushed after"})
    lab.poll()
    shutil.rmtree(lab.staged())
    lab.equipment = equipment
    lab.configure()
    lab.poll()


def test_what_nobody_saw_is_not_safe_because_it_is_gone(cleared: Lab) -> None:
    push_out_of_sight(cleared, cleared.equipment)
    assert look(cleared) is None
    cleared.poll()
    assert says_safe(cleared) == [False, False], "its copy is good, and something of it was never copied"
    cleared.push()
    cleared.poll()
    assert is_called_safe(cleared)


def test_a_second_push_that_disappears_before_its_proof_gives_no_receipt_back(cleared: Lab) -> None:
    cleared.push(files={"late.fcs": b"pushed after"}, done=False)
    cleared.poll()
    take_away(cleared)
    lose_the_journal(cleared)
    cleared.poll()
    assert look(cleared) is None
    cleared.poll()
    assert says_safe(cleared) == [False, False]


def test_an_accepted_run_that_disappeared_has_no_receipt_of_an_earlier_proof(proud: Lab) -> None:
    (proud.staged() / "run_complete").unlink(missing_ok=True)
    proud.push(files={"late.fcs": b"late"}, done=False)
    proud.poll()
    accept(proud)
    proud.poll()
    assert proud.states()[-1] == "sync_verified"
    take_away(proud)
    look(proud)
    another_configuration(proud)
    proud.poll()
    assert says_safe(proud) == [False, False]


def test_who_accepts_that_a_run_disappeared_ends_its_receipt(proud: Lab) -> None:
    """Nothing here tells any more what was proved of it."""
    text, facts = files(proud)
    take_away(proud)
    assert says_safe(proud) == [True, True]
    accept(proud)
    assert not text.exists()
    assert not facts.exists()


# -- what could not be written -------------------------------------------------------------------------------


@pytest.mark.parametrize("is_configuration_new", [True, False])
@pytest.mark.parametrize("hindrance", ["folder", "json"])
def test_a_receipt_that_damage_could_not_withdraw_is_withdrawn_as_soon_as_it_can_be(
    cleared: Lab, hindrance: str, *, is_configuration_new: bool
) -> None:
    closed, mode = (files(cleared)[0].parent, 0o555) if hindrance == "folder" else (files(cleared)[1], 0)
    flip_a_bit(cleared.published() / "a.fcs")
    closed.chmod(mode)
    with ordinary_user():
        assert look(cleared) == "nas_copy_damaged"
    closed.chmod(0o755)
    if is_configuration_new:
        another_configuration(cleared)
    cleared.poll()
    assert says_safe(cleared) == [False, False]
    with cleared.station(changing=False) as station:
        assert [problem.code for problem in station.journal.problems()] == ["nas_copy_damaged"]


def test_half_a_receipt_that_was_to_be_given_back_is_whole_after_the_next_pass(
    cleared: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip_a_bit(cleared.published() / "a.fcs")
    assert look(cleared) == "nas_copy_damaged"
    flip_a_bit(cleared.published() / "a.fcs")
    with monkeypatch.context() as patch:
        patch.setattr(receipts, "replace_own", failing_at_the_json)
        assert look(cleared) is None
    assert says_safe(cleared) == [True, False]
    cleared.poll()
    assert is_called_safe(cleared)


def failing_at_the_json(place: Place, name: str, content: bytes, *, temporary: str, style: Style) -> None:
    """A disk that is full in the middle."""
    if name.endswith(".json"):
        raise OSError(errno.ENOSPC, "full")
    replace_own(place, name, content, temporary=temporary, style=style)


def test_who_is_killed_while_a_receipt_is_withdrawn_leaves_no_json_that_says_safe(cleared: Lab) -> None:
    flip_a_bit(cleared.published() / "a.fcs")
    child = os.fork()
    if child == 0:
        pytest.MonkeyPatch().setattr(receipts, "replace_own", killed_at_the_json)
        look(cleared)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert says_safe(cleared) == [False, False]
    assert NOT_SAFE in files(cleared)[0].read_bytes()


def killed_at_the_json(place: Place, name: str, content: bytes, *, temporary: str, style: Style) -> None:
    if name.endswith(".json"):
        os._exit(9)
    replace_own(place, name, content, temporary=temporary, style=style)


# -- what somebody changed -----------------------------------------------------------------------------------


def remark_below(text: Path, _: Path) -> None:
    text.write_bytes(text.read_bytes() + b"deleted by Kim\r\n")


def remark_above(text: Path, _: Path) -> None:
    text.write_bytes(b"deleted by Kim\r\n" + text.read_bytes())


def no_mark(text: Path, _: Path) -> None:
    text.write_bytes(text.read_bytes().removeprefix(b"\xef\xbb\xbf"))


def another_encoding(text: Path, _: Path) -> None:
    text.write_bytes(text.read_bytes().decode("utf-8-sig").encode("utf-16"))


def no_text(text: Path, _: Path) -> None:
    text.unlink()


def no_json(_: Path, facts: Path) -> None:
    facts.unlink()


def cut_json(_: Path, facts: Path) -> None:
    facts.write_bytes(facts.read_bytes()[:-9])


def other_json(_: Path, facts: Path) -> None:
    facts.write_text(json.dumps(json.loads(facts.read_bytes())))


def json_alone(text: Path, facts: Path) -> None:
    other_json(text, facts)
    text.unlink()


def text_alone(text: Path, facts: Path) -> None:
    remark_above(text, facts)
    facts.unlink()


def nameless(text: Path, facts: Path) -> None:
    text.write_bytes(text.read_bytes().replace(b"FLOW_01/", b"FLOW-01/"))
    facts.unlink()


CHANGES = [
    remark_below,
    remark_above,
    no_mark,
    another_encoding,
    no_text,
    no_json,
    cut_json,
    other_json,
    json_alone,
    text_alone,
    nameless,
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_receipt_that_somebody_changed_follows_the_nas_and_comes_back_with_it(
    cleared: Lab, change: Callable[[Path, Path], None]
) -> None:
    text, facts = files(cleared)
    change(text, facts)
    another_configuration(cleared)
    cleared.poll()
    assert not text.exists() or SAFE.decode() in _decoded(text), "it is true still"
    another_nas(cleared)
    cleared.poll()
    assert says_safe(cleared) == [False, False]
    assert not [path for path in text.parent.iterdir() if path not in (text, facts)]
    cleared.nas_folder = None
    cleared.configure()
    cleared.poll()
    assert is_called_safe(cleared)
    assert json.loads(facts.read_bytes())["file_count"] == 3


def _decoded(text: Path) -> str:
    content = text.read_bytes()
    return content.decode("utf-16" if content.startswith(b"\xff\xfe") else "utf-8")


def test_a_withdrawn_receipt_that_somebody_edited_says_again_what_it_should(cleared: Lab) -> None:
    text, _ = files(cleared)
    first = text.read_bytes()
    another_nas(cleared)
    cleared.poll()
    text.write_bytes(first)
    another_configuration(cleared)
    cleared.poll()
    assert NOT_SAFE in text.read_bytes()
    cleared.nas_folder = None
    cleared.configure()
    cleared.poll()
    assert text.read_bytes() == first


def test_a_receipt_that_damage_withdrew_and_somebody_edited_is_given_back_by_a_good_look(cleared: Lab) -> None:
    flip_a_bit(cleared.published() / "a.fcs")
    assert look(cleared) == "nas_copy_damaged"
    remark_below(*files(cleared))
    another_configuration(cleared)
    cleared.poll()
    assert says_safe(cleared) == [False, False]
    flip_a_bit(cleared.published() / "a.fcs")
    assert look(cleared) is None
    assert is_called_safe(cleared)


def test_damage_that_nobody_could_note_is_not_forgotten_by_the_receipt(cleared: Lab) -> None:
    with cleared.station() as station:
        station.withdraw_receipt(cleared.run(), "1 with other content", until="read")
    another_configuration(cleared)
    cleared.poll()
    assert says_safe(cleared) == [False, False], "nobody has read the copy since"
    assert look(cleared) is None
    assert is_called_safe(cleared)


def test_what_only_looks_like_a_receipt_stays(cleared: Lab) -> None:
    text, facts = files(cleared)
    copies = [path.rename(path.parent / f"DONE_{path.name}") for path in (text, facts)]
    note = text.parent / f"notes-{'0' * 16}.txt"
    note.write_text("Receipt of exlab-orch\nmy notes, by Kim")
    before = [path.read_bytes() for path in (*copies, note)]
    another_nas(cleared)
    cleared.poll()
    assert [path.read_bytes() for path in (*copies, note)] == before
    assert len([*text.parent.iterdir()]) == 3


def test_a_receipt_that_cannot_be_read_keeps_no_other_of_its_equipment_from_following_the_nas(cleared: Lab) -> None:
    closed = files(cleared)[0].parent / f"A-{'0' * 16}.json"
    closed.write_bytes(b"{}")
    closed.chmod(0)
    another_nas(cleared)
    with ordinary_user():
        cleared.poll()
    assert not is_called_safe(cleared)
    with cleared.station(changing=False) as station:
        (told,) = station.journal.problems()
    assert (told.code, closed.stem in told.message) == ("receipt_not_written", True)


def test_every_receipt_is_settled_once_a_day_and_a_pass_in_between_reads_none(
    cleared: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def names(root: str, equipment: str) -> list[str]:
        asked.append(equipment)
        return receipts.receipt_names(root, equipment)

    cleared.poll()
    monkeypatch.setattr("exlab_orch.receipt_settling.receipt_names", names)
    cleared.poll()
    assert asked == []
    cleared.now = utc_now() + timedelta(days=1)
    cleared.poll()
    assert "FLOW_01" in asked


@pytest.mark.parametrize(
    "nonsense", [{"run": "FLOW_01/\ud800"}, {"byte_total": 10**400}, {"until": []}, {"reason": 7}, {"file_count": -1}]
)
def test_nonsense_in_a_json_hinders_neither_other_receipts_nor_a_verify(
    cleared: Lab, nonsense: dict[str, object]
) -> None:
    _, facts = files(cleared)
    other = facts.parent / f"A-{'0' * 16}.json"
    for path in (facts, other):
        path.write_text(json.dumps(json.loads(files(cleared)[1].read_bytes()) | nonsense))
    flip_a_bit(cleared.published() / "a.fcs")
    assert look(cleared) == "nas_copy_damaged"
    assert says_safe(cleared) == [False, False]
    flip_a_bit(cleared.published() / "a.fcs")
    assert look(cleared) is None
    assert is_called_safe(cleared)
    another_nas(cleared)
    cleared.poll()
    assert not is_called_safe(cleared)


def linked(folder: Path) -> None:
    folder.rename(folder.parents[2] / "elsewhere")
    folder.symlink_to(folder.parents[2] / "elsewhere")


def closed_above(folder: Path) -> None:
    folder.parent.chmod(0)


@pytest.mark.parametrize("hinder", [linked, closed_above])
def test_a_folder_of_receipts_that_cannot_be_looked_at_is_told(cleared: Lab, hinder: Callable[[Path], None]) -> None:
    folder = files(cleared)[0].parent
    hinder(folder)
    another_nas(cleared)
    with ordinary_user():
        cleared.poll()
    folder.parent.chmod(0o755)
    with cleared.station(changing=False) as station:
        assert "receipt_not_written" in [problem.code for problem in station.journal.problems()]


def test_a_receipt_that_only_a_read_gives_back_says_not_safe_again_where_somebody_edited_it(cleared: Lab) -> None:
    text, _ = files(cleared)
    first = text.read_bytes()
    with cleared.station() as station:
        station.withdraw_receipt(cleared.run(), "1 with other content", until="read")
    text.write_bytes(first)
    another_configuration(cleared)
    cleared.poll()
    assert says_safe(cleared) == [False, False]


def test_a_receipt_of_which_nobody_knows_why_it_was_withdrawn_is_given_back_by_a_good_look(cleared: Lab) -> None:
    text, facts = files(cleared)
    facts.unlink()
    text.write_bytes(text.read_bytes().replace(SAFE, NOT_SAFE))
    another_configuration(cleared)
    cleared.poll()
    assert says_safe(cleared) == [False, False], "why it was withdrawn is not known any more"
    assert look(cleared) is None
    assert is_called_safe(cleared)


def test_a_run_that_was_accepted_as_it_is_has_no_receipt_that_a_look_gives_back(cleared: Lab) -> None:
    """One of an earlier life may stand there still."""
    ledger = cleared.state / "ledger.jsonl"
    ledger.write_text(ledger.read_text().replace('"accepted": false', '"accepted": true'))
    another_configuration(cleared)
    cleared.poll()
    assert says_safe(cleared) == [False, False]
    assert look(cleared) is None
    assert says_safe(cleared) == [False, False]


# -- what was pushed again after the clear -------------------------------------------------------------------


def answers(lab: Lab) -> tuple[dict[str, object], dict[str, object]]:
    """What ``show`` says: is it safe on the NAS, may it be deleted from the instrument?"""
    shown = json.loads(lab.cli("show", RUN, "--json").stdout)
    return shown["safe_on_nas"], shown["may_be_deleted"]


def push_again_and_take_away(lab: Lab) -> None:
    """A pass sees that the run is there again, with a file that is never copied, and that it is gone."""
    lab.push(files={"late.fcs": b"pushed after"}, done=False)
    lab.poll()
    take_away(lab)


@pytest.mark.parametrize("lose", [nothing, lose_the_journal])
def test_what_was_pushed_again_and_never_copied_is_not_forgotten_when_somebody_accepts_that_it_is_gone(
    cleared: Lab, lose: Callable[[Lab], None]
) -> None:
    push_again_and_take_away(cleared)
    lose(cleared)
    cleared.cli("accept", "--reason", "it went away", RUN)  # without the journal nobody misses it
    assert look(cleared) is None
    cleared.poll()
    assert says_safe(cleared) == [False, False]
    safe, may_be_deleted = answers(cleared)
    assert (safe["yes"], may_be_deleted["yes"]) == (False, False)
    assert "is not proved; the instrument may have files" in str(safe["why"])


def test_a_run_that_was_pushed_again_is_safe_when_all_of_it_is_proved(cleared: Lab) -> None:
    push_again_and_take_away(cleared)
    accept(cleared)
    cleared.push()
    cleared.poll()
    assert is_called_safe(cleared)
    assert clear_it(cleared) is None
    cleared.poll()
    assert is_called_safe(cleared)
    assert answers(cleared)[0]["yes"]


def test_a_second_push_that_was_proved_and_went_is_safe_with_all_that_it_had(cleared: Lab) -> None:
    """As where an instrument mirrors a folder: it pushes again what was deleted here, and later takes it away."""
    cleared.push(files={"a.fcs": b"aaa", "sub/b.fcs": b"bbbb", "late.fcs": b"late"})
    cleared.poll()
    take_away(cleared)
    accept(cleared)
    another_configuration(cleared)
    cleared.poll()
    assert is_called_safe(cleared)
    assert [one["yes"] for one in answers(cleared)] == [True, True]
    assert look(cleared) is None, "the list of the second proof is what counts"
    flip_a_bit(cleared.published() / "late.fcs")
    assert look(cleared) == "nas_copy_damaged"
    cleared.poll()
    assert says_safe(cleared) == [False, False]


def test_what_is_added_after_the_second_proof_and_goes_is_not_forgotten(cleared: Lab) -> None:
    cleared.push()
    cleared.poll()
    cleared.push(files={"late.fcs": b"pushed after"})
    cleared.poll(frozenset({"evaluate"}))
    take_away(cleared)
    accept(cleared)
    another_configuration(cleared)
    cleared.poll()
    assert says_safe(cleared) == [False, False]
    assert [one["yes"] for one in answers(cleared)] == [False, False]


def interrupted_clear(lab: Lab, step: str) -> None:
    """The clear dies at that step; what it left waits in the trash for as long as somebody holds the run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            clear_it(lab)
    assert lab.cli("hold", "--reason", "wait", RUN).returncode == 0


@pytest.mark.parametrize("step", ["exlab_orch.ledger.Ledger.append", "exlab_orch.trash.delete_proved"])
@pytest.mark.parametrize("finished_by", ["clear", "poll"])
def test_a_delete_that_ends_only_after_a_second_push_came_and_went_does_not_call_it_safe(
    proud: Lab, step: str, finished_by: str
) -> None:
    interrupted_clear(proud, step)
    push_again_and_take_away(proud)
    assert [one["yes"] for one in answers(proud)] == [False, False], "the first life lies in the trash still"
    assert proud.cli("unhold", RUN).returncode == 0
    if finished_by == "clear":
        assert clear_it(proud) is None
        assert says_safe(proud) == [False, False]
    proud.poll()
    assert trash_slots(str(proud.staging)) == ()
    assert says_safe(proud) == [False, False]
    assert [one["yes"] for one in answers(proud)] == [False, False]


def test_nobody_accepts_what_lies_in_the_trash(proud: Lab) -> None:
    interrupted_clear(proud, "exlab_orch.trash.delete_proved")
    said = proud.cli("accept", "--reason", "x", RUN)
    assert said.returncode == 4
    assert "lies in the trash" in said.stderr


def test_what_comes_back_from_the_trash_does_not_vouch_for_what_came_and_went_meanwhile(proud: Lab) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Station, "advance", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            clear_it(proud)
    assert trash_slots(str(proud.staging))
    with proud.station() as station, station.state.run_lock(RUN):
        proud.push(files={"late.fcs": b"pushed after"}, done=False)
    proud.poll(frozenset({"evaluate"}))
    take_away(proud)
    proud.poll()
    assert proud.staged().exists()
    assert not (proud.published() / "late.fcs").exists()
    assert clear_it(proud) is None
    proud.poll()
    assert says_safe(proud) == [False, False]
    assert [one["yes"] for one in answers(proud)] == [False, False]


@pytest.mark.parametrize("cleared_by", ["clear", "poll"])
def test_a_second_life_that_a_clear_proves_is_safe_whatever_was_noted_before(cleared: Lab, cleared_by: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Station, "note_proved", lambda *_, **__: None)  # as if it was killed there
        cleared.push()
        cleared.poll()
    if cleared_by == "clear":
        assert clear_it(cleared) is None
    else:
        assert cleared.cli("clear", "--later", RUN).returncode == 0
        cleared.poll(frozenset({"cleanup"}))
    cleared.poll()
    assert not cleared.staged().exists()
    assert is_called_safe(cleared)
    assert [one["yes"] for one in answers(cleared)] == [True, True]


def test_a_trash_that_cannot_be_looked_at_is_no_second_push(proud: Lab) -> None:
    interrupted_clear(proud, "exlab_orch.trash.delete_proved")
    assert proud.cli("unhold", RUN).returncode == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("exlab_orch.passes._is_there", cannot_be_looked_at)
        proud.poll()
    proud.poll()
    assert trash_slots(str(proud.staging)) == ()
    assert is_called_safe(proud)
    assert [one["yes"] for one in answers(proud)] == [True, True]


def cannot_be_looked_at(_: object) -> bool:
    raise PermissionRefused("Permission denied while looking at the run folder.")


def test_a_proved_run_that_could_not_be_looked_at_once_is_looked_at_by_the_next_pass(
    cleared: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder above it was closed, which leaves no trace in the times of its own."""
    cleared.push()
    cleared.poll()
    monkeypatch.setattr("exlab_orch.passes.is_idle", lambda *_: False)
    with monkeypatch.context() as patch:
        patch.setattr("exlab_orch.passes._is_there", cannot_be_looked_at)
        patch.setattr("exlab_orch.outcome.walk_run", cannot_be_looked_at_either)
        cleared.poll()
    assert not is_called_safe(cleared)
    monkeypatch.undo()
    for _ in range(2):
        cleared.poll()
    assert is_called_safe(cleared)


def cannot_be_looked_at_either(*_: object) -> object:
    raise PermissionRefused("Permission denied while walking the run folder.")


def test_a_run_that_was_put_back_from_a_backup_is_compared_with_its_newest_proof(proud: Lab) -> None:
    """It has the record of the life that was deleted."""
    shutil.copytree(proud.staged(), proud.root / "backup")
    assert clear_it(proud) is None
    shutil.copytree(proud.root / "backup", proud.staged())
    proud.push(files={"late.fcs": b"late"})
    proud.poll()
    proud.poll()
    assert (proud.published() / "late.fcs").exists()
    take_away(proud)
    accept(proud)
    assert look(proud) is None
    proud.poll()
    assert is_called_safe(proud)
    assert [one["yes"] for one in answers(proud)] == [True, True]


def test_a_delete_that_ends_late_gives_no_receipt_of_a_newer_life_back(proud: Lab) -> None:
    interrupted_clear(proud, "exlab_orch.trash.delete_proved")
    proud.push(files={"late.fcs": b"late"}, done=False)
    proud.poll()
    accept(proud)
    proud.poll()
    assert proud.states()[-1] == "sync_verified"
    take_away(proud)
    assert proud.cli("unhold", RUN).returncode == 0
    assert clear_it(proud) is None
    assert says_safe(proud) == [False, False], "what was accepted as it is has no receipt"


def test_what_could_not_be_looked_at_is_what_is_there_when_it_can_be(cleared: Lab) -> None:
    cleared.push()
    cleared.poll()
    lose_the_journal(cleared)
    record = cleared.staged() / ".exlab-wizard/ingest.json"
    record.chmod(0)
    with ordinary_user():
        cleared.poll()
    assert not is_called_safe(cleared)
    record.chmod(0o644)
    for _ in range(2):
        cleared.poll()
    assert is_called_safe(cleared)
    assert [one["yes"] for one in answers(cleared)] == [True, True]


def test_what_lay_out_of_sight_with_a_record_that_cannot_be_read_is_not_forgotten(cleared: Lab) -> None:
    equipment = cleared.equipment
    cleared.equipment = OTHER_NAMES
    cleared.configure()
    (cleared.push(files={"late.fcs": b"late"}) / ".exlab-wizard").mkdir()
    (cleared.staged() / ".exlab-wizard/ingest.json").write_text("{")
    cleared.poll()
    cleared.equipment = equipment
    shutil.rmtree(cleared.staged())
    cleared.configure()
    cleared.poll()
    assert says_safe(cleared) == [False, False]
    assert [one["yes"] for one in answers(cleared)] == [False, False]


def test_a_second_life_that_went_while_nobody_could_look_is_not_called_safe(cleared: Lab) -> None:
    """What the instrument added to it meanwhile was seen by nobody."""
    cleared.push()
    cleared.poll()
    project = cleared.staging / "FLOW_01/PROJ-1"
    project.chmod(0)
    with ordinary_user():
        cleared.poll()
    project.chmod(0o755)
    take_away(cleared)
    accept(cleared)
    cleared.poll()
    assert says_safe(cleared) == [False, False]
    assert [one["yes"] for one in answers(cleared)] == [False, False]


def test_a_second_life_that_stayed_while_it_was_no_run_by_its_name_is_safe_when_it_is_one_again(cleared: Lab) -> None:
    cleared.push()
    cleared.poll()
    equipment = cleared.equipment
    for names in (OTHER_NAMES, equipment):
        cleared.equipment = names
        cleared.configure()
        cleared.poll()
        lose_the_journal(cleared)
    cleared.poll()
    assert is_called_safe(cleared)
    assert [one["yes"] for one in answers(cleared)] == [True, True]


def test_a_second_life_that_was_accepted_as_it_is_may_not_be_deleted_from_the_instrument(cleared: Lab) -> None:
    cleared.push(files={"late.fcs": b"late"}, done=False)
    cleared.poll()
    accept(cleared)
    cleared.poll()
    assert cleared.states()[-1] == "sync_verified"
    take_away(cleared)
    accept(cleared)
    cleared.poll()
    safe, may_be_deleted = answers(cleared)
    assert (safe["yes"], may_be_deleted["yes"]) == (True, False)
    assert "accepted as it is" in str(may_be_deleted["why"])


def test_where_a_second_life_was_proved_on_another_nas_that_place_is_told(cleared: Lab) -> None:
    another_nas(cleared)
    cleared.push()
    cleared.poll()
    take_away(cleared)
    accept(cleared)
    cleared.poll()
    assert is_called_safe(cleared)
    shown = json.loads(cleared.cli("show", RUN, "--json").stdout)
    assert (shown["safe_on_nas"]["yes"], shown["nas_path"]) == (True, str(cleared.published()))
    assert "went away from staging later" in shown["safe_on_nas"]["why"]
    (listed,) = json.loads(cleared.cli("list", "--cleared", "--json").stdout)["cleared"]
    assert listed["nas_path"] == str(cleared.published())


@pytest.mark.parametrize("has_receipts", [True, False])
def test_show_does_not_forget_what_lay_out_of_sight_either(cleared: Lab, *, has_receipts: bool) -> None:
    push_out_of_sight(cleared, cleared.equipment if has_receipts else EQUIPMENT)
    assert [one["yes"] for one in answers(cleared)] == [False, False]


def a_file(lab: Lab) -> None:
    lab.staged().write_text("not a folder")


def a_link(lab: Lab) -> None:
    lab.staged().symlink_to(lab.root)


@pytest.mark.parametrize("in_place", [a_file, a_link])
def test_what_has_the_name_of_a_cleared_run_and_is_no_folder_hides_what_is_pushed(
    cleared: Lab, in_place: Callable[[Lab], None]
) -> None:
    in_place(cleared)
    cleared.poll()
    assert says_safe(cleared) == [False, False]
    assert not answers(cleared)[0]["yes"]
    cleared.staged().unlink()
    cleared.poll()
    assert is_called_safe(cleared)


def test_show_calls_no_cleared_run_safe_while_the_folder_of_its_project_is_closed(cleared: Lab) -> None:
    project = cleared.staging / "FLOW_01/PROJ-1"
    project.chmod(0)
    with ordinary_user():
        cleared.poll()
        is_safe = is_called_safe(cleared)
    project.chmod(0o755)
    assert not is_safe
    cleared.poll()
    assert is_called_safe(cleared)
