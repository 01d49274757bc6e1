"""Settling the trash, which every pass does first: what moves back, what is finished, what stays and is reported."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from exlab_orch import orders
from exlab_orch.cleanup import clear
from exlab_orch.errors import ExlabError
from exlab_orch.files import places
from exlab_orch.model import IngestState
from exlab_orch.staging import TrashSlot, remove_empty_slot, trash_slots
from tests.lab import RUN, Lab
from tests.oracle import Oracle, data_files, ledger, prints, require_cleared, steps_of

FILES = {b"a.fcs", b"sub/b.fcs", b"run_complete"}
EVERY_PHASE = ("evaluate", "sync", "cleanup")
MODES = ('mode = "manual"', 'mode = "scheduled"\nretain_hours = 24')


class Stopped(Exception):
    """The clear ends here, as if the process had died."""


class StopBeforeTheFirstUnlink:
    """An observer that ends a clear when everything is recorded and nothing is unlinked yet."""

    def begin(self, run_path: str, phase: str, files: int, byte_total: int) -> None:
        if phase == "clear":
            raise Stopped

    def advance(self, byte_count: int) -> None:
        """Bytes do not matter here."""

    def end(self) -> None:
        """Nor does the end of a phase."""


def slot(lab: Lab, name: str = "2026-04-17T14-32-00.000Z-0a1b2c3d") -> Path:
    return lab.staging / ".exlab-orch/trash" / name


def move_to_trash(lab: Lab, run: str = RUN) -> Path:
    """As a clear does that is killed right after its rename."""
    target = slot(lab) / run
    target.parent.mkdir(parents=True)
    lab.staged(run).rename(target)
    return target


def verified_in_trash(lab: Lab) -> Path:
    lab.push()
    lab.poll()
    return move_to_trash(lab)


def cleared_in_trash(lab: Lab) -> Path:
    """As a clear leaves it that is killed before the first unlink."""
    lab.push()
    lab.poll()
    with lab.station() as station, pytest.raises(Stopped):
        clear(station, lab.run(), by="ada", watch=StopBeforeTheFirstUnlink())
    found = list((lab.staging / ".exlab-orch/trash").glob(f"*/{RUN}"))
    assert len(found) == 1
    assert record_in(found[0])["current_state"] == "cleared"
    assert data_files(found[0]).keys() == FILES
    return found[0]


def record_in(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / ".exlab-wizard/ingest.json").read_bytes())
    return found


def write_record(folder: Path, record: dict[str, object]) -> None:
    (folder / ".exlab-wizard/ingest.json").write_text(json.dumps(record))


def problems(lab: Lab) -> list[tuple[str, str]]:
    with lab.station(changing=False) as station:
        return [(problem.subject, problem.code) for problem in station.journal.problems()]


def trash_is_empty(lab: Lab) -> bool:
    return list((lab.staging / ".exlab-orch/trash").glob("*")) == []


# -- moves back ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cleanup", MODES, ids=["manual", "scheduled"])
@pytest.mark.parametrize("phase", EVERY_PHASE)
def test_a_proved_run_moves_back_in_every_mode_and_whatever_part_of_a_pass_is_done(
    tmp_path: Path, cleanup: str, phase: str
) -> None:
    lab = Lab(tmp_path, cleanup=cleanup)
    trashed = verified_in_trash(lab)
    before = prints(trashed)

    assert lab.poll(frozenset({phase})).exit_status == 0

    assert data_files(lab.staged()).keys() == FILES
    assert {name: found for name, found in prints(lab.staged()).items() if "wizard." not in name} == {
        name: found for name, found in before.items() if "wizard." not in name
    }
    assert trash_is_empty(lab)
    assert lab.states() == ["staging", "complete", "sync_queued", "sync_verified"]


def test_a_run_that_moved_back_can_be_cleared(lab: Lab) -> None:
    verified_in_trash(lab)
    lab.poll()
    assert lab.cli("clear", "--yes", RUN).returncode == 0
    require_cleared(lab)


def test_a_clear_of_a_run_whose_clear_died_after_the_rename_deletes_it_now(lab: Lab) -> None:
    verified_in_trash(lab)
    shown = lab.cli("clear", "--yes", "--json", RUN)
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["cleared"] == [{"run": RUN, "files_cleared": 3, "bytes_freed": 7}]
    require_cleared(lab)


def test_another_pass_may_remove_the_empty_folders_that_a_clear_makes_in_the_trash(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.push()
    lab.poll()
    make = places.make_folder
    settled: list[TrashSlot] = []

    def make_and_have_a_pass_settle(base: int, name: bytes, style: places.Style = places.PLAIN) -> None:
        make(base, name, style)
        if name.endswith(b"PROJ-1") and name.startswith(b".exlab-orch/trash") and not settled:
            settled.extend(trash_slots(str(lab.staging)))
            remove_empty_slot(settled[0])

    monkeypatch.setattr(places, "make_folder", make_and_have_a_pass_settle)
    with lab.station() as station:
        clear(station, lab.run(), by="ada")
    assert len(settled) == 1
    require_cleared(lab)


def test_a_proved_run_whose_name_exists_again_stays_and_is_reported(lab: Lab) -> None:
    trashed = verified_in_trash(lab)
    lab.push(files={"a.fcs": b"a new folder of that name"})
    before = prints(trashed)
    for _ in range(2):
        report = lab.poll()
        assert report.exit_status == 3
    assert prints(trashed) == before
    assert (lab.staged() / "a.fcs").read_bytes() == b"a new folder of that name"
    assert (RUN, "trash_leftover") in problems(lab)


@pytest.mark.parametrize("state", ["staging", "complete", "sync_queued"])
def test_a_run_that_was_never_proved_moves_back(lab: Lab, state: str) -> None:
    lab.push(done=state != "staging")
    lab.poll(frozenset({"evaluate"}))
    if state == "complete":
        record = record_in(lab.staged())
        assert isinstance(record["history"], list)
        del record["history"][2:]
        write_record(lab.staged(), record | {"current_state": "complete"})
    move_to_trash(lab)
    lab.poll(frozenset({"cleanup"}))
    assert (lab.staged() / "a.fcs").read_bytes() == b"aaa"
    assert trash_is_empty(lab)


def drop_seal(folder: Path) -> None:
    write_record(folder, record_in(folder) | {"seal": None})


def edit_history(folder: Path) -> None:
    record = record_in(folder)
    assert isinstance(record["history"], list)
    record["history"][-1]["files_cleared"] = 99
    write_record(folder, record)


def forge_from_verified(folder: Path) -> None:
    record = record_in(folder)
    assert isinstance(record["history"], list)
    entry = {"state": "cleared", "at": "2026-04-17T14:32:00.000Z", "host": "x", "files_cleared": 3, "bytes_freed": 7}
    write_record(folder, record | {"current_state": "cleared", "history": [*record["history"], entry]})


def remove_record(folder: Path) -> None:
    (folder / ".exlab-wizard/ingest.json").unlink()


def empty_record(folder: Path) -> None:
    (folder / ".exlab-wizard/ingest.json").write_bytes(b"")


def cut_record(folder: Path) -> None:
    path = folder / ".exlab-wizard/ingest.json"
    path.write_bytes(path.read_bytes()[:100])


def record_of_another_major(folder: Path) -> None:
    write_record(folder, record_in(folder) | {"schema_version": "2.0"})


def record_is_a_folder(folder: Path) -> None:
    remove_record(folder)
    (folder / ".exlab-wizard/ingest.json").mkdir()


UNSEALED: list[tuple[Callable[[Lab], Path], Callable[[Path], None]]] = [
    (cleared_in_trash, drop_seal),
    (cleared_in_trash, edit_history),
    (cleared_in_trash, remove_record),
    (cleared_in_trash, empty_record),
    (cleared_in_trash, cut_record),
    (cleared_in_trash, record_of_another_major),
    (verified_in_trash, forge_from_verified),
    (verified_in_trash, drop_seal),
    (verified_in_trash, remove_record),
    (verified_in_trash, record_is_a_folder),
]


@pytest.mark.parametrize(("arrange", "spoil"), UNSEALED)
def test_a_record_that_is_not_ours_never_finishes_a_delete_and_the_run_moves_back(
    lab: Lab, arrange: Callable[[Lab], Path], spoil: Callable[[Path], None]
) -> None:
    trashed = arrange(lab)
    spoil(trashed)

    lab.poll(frozenset({"cleanup"}))

    assert data_files(lab.staged()).keys() >= FILES
    assert not trashed.exists()


def test_a_run_without_a_record_that_moved_back_begins_a_new_life_or_is_restored(lab: Lab) -> None:
    remove_record(cleared_in_trash(lab))
    oracle = Oracle(lab, (RUN,))
    oracle.hashes = {(RUN, name): found for name, found in data_files(lab.published()).items()}
    for _ in range(3):
        lab.poll()
    oracle.require_nothing_lost()
    assert data_files(lab.staged()).keys() >= FILES
    assert lab.states()[-1] == "sync_verified"


def test_a_run_of_equipment_that_is_no_longer_configured_moves_back(lab: Lab) -> None:
    verified_in_trash(lab)
    lab.equipment = lab.equipment.replace("FLOW_01", "FLOW_02")
    lab.configure()
    lab.poll()
    assert data_files(lab.staged()).keys() == FILES


# -- is finished ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cleanup", MODES, ids=["manual", "scheduled"])
def test_a_cleared_run_is_proved_again_and_finished_in_every_mode(tmp_path: Path, cleanup: str) -> None:
    lab = Lab(tmp_path, cleanup=cleanup)
    cleared_in_trash(lab)

    report = lab.poll()

    assert report.exit_status == 0
    assert [(one.run_path, one.files_cleared) for one in report.cleared] == [(RUN, 3)]
    require_cleared(lab)
    assert [state for state, _ in steps_of(lab.nas_record())].count("cleared") == 1
    assert len(ledger(lab)) == 1
    assert lab.leftovers() == []


@pytest.mark.parametrize("phase", ["evaluate", "sync"])
def test_only_cleanup_finishes_deletes(lab: Lab, phase: str) -> None:
    trashed = cleared_in_trash(lab)
    before = prints(trashed)
    assert lab.poll(frozenset({phase})).exit_status == 0
    assert prints(trashed) == before
    assert problems(lab) == []


def test_a_clear_of_a_run_whose_clear_died_before_the_first_unlink_finishes_it(lab: Lab) -> None:
    cleared_in_trash(lab)
    shown = lab.cli("clear", "--yes", "--json", RUN)
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["cleared"] == [{"run": RUN, "files_cleared": 3, "bytes_freed": 7}]
    require_cleared(lab)
    assert len(ledger(lab)) == 1


@pytest.mark.parametrize("gone", [{"a.fcs"}, {"a.fcs", "run_complete"}, {"a.fcs", "run_complete", "sub/b.fcs"}])
def test_a_delete_that_died_half_way_is_finished(lab: Lab, gone: set[str]) -> None:
    trashed = cleared_in_trash(lab)
    for name in gone:
        (trashed / name).unlink()
    assert lab.poll().exit_status == 0
    require_cleared(lab)
    assert [line["files_cleared"] for line in ledger(lab)] == [3]


def test_what_holds_only_our_own_files_is_finished(lab: Lab) -> None:
    trashed = cleared_in_trash(lab)
    for name in ("a.fcs", "run_complete", "sub/b.fcs", ".exlab-wizard/ingest.json"):
        (trashed / name).unlink()
    assert lab.poll().exit_status == 0
    assert trash_is_empty(lab)
    assert problems(lab) == []
    with lab.station(changing=False) as station:
        assert station.journal.run(RUN) is None


@pytest.mark.parametrize("folders", ["", "FLOW_01", "FLOW_01/PROJ-1/Runs", RUN, f"{RUN}/sub", f"{RUN}/.exlab-wizard"])
def test_an_empty_slot_is_removed(lab: Lab, folders: str) -> None:
    lab.push()
    lab.poll()
    (slot(lab) / folders).mkdir(parents=True)
    assert lab.poll().exit_status == 0
    assert trash_is_empty(lab)
    assert data_files(lab.staged()).keys() == FILES


# -- stays ---------------------------------------------------------------------------------------------------


def lose_on_nas(lab: Lab, _trashed: Path) -> None:
    (lab.published() / "a.fcs").unlink()


def damage_on_nas(lab: Lab, _trashed: Path) -> None:
    (lab.published() / "a.fcs").write_bytes(b"aab")


def add_in_trash(_lab: Lab, trashed: Path) -> None:
    (trashed / "late.fcs").write_bytes(b"late")


def change_in_trash(_lab: Lab, trashed: Path) -> None:
    (trashed / "a.fcs").write_bytes(b"xyz")


@pytest.mark.parametrize("spoil", [lose_on_nas, damage_on_nas, add_in_trash, change_in_trash])
def test_a_cleared_run_whose_proof_fails_stays_whole_and_is_reported(
    lab: Lab, spoil: Callable[[Lab, Path], None]
) -> None:
    trashed = cleared_in_trash(lab)
    spoil(lab, trashed)
    before = data_files(trashed)
    for _ in range(2):
        assert lab.poll().exit_status == 3
    assert data_files(trashed) == before
    assert record_in(trashed)["current_state"] == "cleared"
    assert [subject for subject, _ in problems(lab)] == [RUN]
    shown = lab.cli("list", "--plain").stdout
    assert RUN in shown


def test_a_cleared_run_whose_proof_holds_again_is_finished(lab: Lab) -> None:
    trashed = cleared_in_trash(lab)
    damage_on_nas(lab, trashed)
    lab.poll()
    (lab.published() / "a.fcs").write_bytes(b"aaa")
    assert lab.poll().exit_status == 0
    require_cleared(lab)
    assert problems(lab) == []


def test_a_cleared_run_waits_in_the_trash_for_the_nas(lab: Lab) -> None:
    trashed = cleared_in_trash(lab)
    before = prints(trashed)
    marker = (lab.nas / ".exlab-nas").read_bytes()
    (lab.nas / ".exlab-nas").unlink()
    assert lab.poll().exit_status == 69
    assert prints(trashed) == before
    (lab.nas / ".exlab-nas").write_bytes(marker)
    assert lab.poll().exit_status == 0
    require_cleared(lab)


def test_a_proved_run_moves_back_although_the_nas_is_away(lab: Lab) -> None:
    verified_in_trash(lab)
    (lab.nas / ".exlab-nas").unlink()
    lab.poll()
    assert data_files(lab.staged()).keys() == FILES
    assert lab.states()[-1] == "sync_verified"


def test_a_held_run_waits_in_the_trash(lab: Lab) -> None:
    trashed = cleared_in_trash(lab)
    with lab.station() as station:
        orders.hold(station, lab.run(), reason="look again", by="ada")
    before = data_files(trashed)
    lab.poll()
    with lab.station() as station, pytest.raises(ExlabError):
        clear(station, lab.run(), by="ada")
    assert data_files(trashed) == before
    with lab.station() as station:
        assert orders.unhold(station, lab.run(), by="ada")
    lab.poll()
    require_cleared(lab)


def test_a_cleared_run_in_the_trash_does_not_touch_the_new_folder_of_its_name(lab: Lab) -> None:
    cleared_in_trash(lab)
    lab.push(files={"a.fcs": b"the next measurement"})
    oracle = Oracle(lab)
    for _ in range(3):
        lab.poll()
        oracle.require_nothing_lost()
    assert trash_is_empty(lab)
    assert (lab.staged() / "a.fcs").read_bytes() == b"the next measurement"
    assert steps_of(lab.record().as_json())[0] == ("staging", "pushed_again")
    assert lab.states()[-1] == "sync_verified"
    assert (lab.published() / "a.fcs").read_bytes() == b"the next measurement"


def test_two_folders_of_one_run_in_the_trash_are_both_kept_or_settled(lab: Lab) -> None:
    lab.push()
    lab.poll()
    move_to_trash(lab)
    lab.push(files={"a.fcs": b"second"})
    other = slot(lab, "second") / RUN
    other.parent.mkdir(parents=True)
    lab.staged().rename(other)
    for _ in range(3):
        lab.poll()
    places = [lab.staged(), slot(lab) / RUN, other]
    contents = {(place / "a.fcs").read_bytes() for place in places if place.exists()}
    assert contents == {b"aaa", b"second"}


# -- what is no run ------------------------------------------------------------------------------------------


def test_something_in_the_trash_that_is_no_run_stays_and_is_reported_until_it_is_taken_away(lab: Lab) -> None:
    odd = slot(lab) / "somebody's notes.txt"
    odd.parent.mkdir(parents=True)
    odd.write_bytes(b"mine")
    for _ in range(2):
        assert lab.poll().exit_status == 3
    assert odd.read_bytes() == b"mine"
    assert [code for _, code in problems(lab)] == ["trash_leftover"]
    odd.unlink()
    odd.parent.rmdir()
    assert lab.poll().exit_status == 0
    assert problems(lab) == []


@pytest.mark.parametrize("where", ["", "FLOW_01", "FLOW_01/PROJ-1"])
@pytest.mark.parametrize("name", [".DS_Store", "zzz"])
def test_a_file_that_a_share_leaves_beside_a_run_in_the_trash_does_not_hide_the_run(
    lab: Lab, where: str, name: str
) -> None:
    verified_in_trash(lab)
    (slot(lab) / where / name).write_bytes(b"junk")
    lab.poll()
    assert data_files(lab.staged()).keys() == FILES
    assert (slot(lab) / where / name).read_bytes() == b"junk"
    assert (RUN, "run_disappeared") not in problems(lab)


def test_a_clear_whose_end_the_journal_missed_is_not_taken_for_somebody_elses_delete(lab: Lab) -> None:
    lab.push()
    lab.poll()
    with lab.station() as station:
        behind = station.journal.run(RUN)  # before the clear: a kill kept the journal from what came after
        assert behind is not None
        clear(station, lab.run(), by="anna")
        station.journal.save(behind)
    lab.poll()
    with lab.station() as station:
        assert (station.journal.run(RUN), problems(lab)) == (None, [])


def test_a_run_that_was_pushed_again_and_is_taken_away_is_told_although_its_earlier_life_was_cleared(lab: Lab) -> None:
    lab.push()
    lab.poll()
    with lab.station() as station:
        clear(station, lab.run(), by="anna")
    lab.push()
    lab.poll()
    assert lab.states()[-1] == "sync_verified"
    lab.staged().rename(lab.root / "taken")
    lab.poll()
    assert problems(lab) == [(RUN, "run_disappeared")]


def test_a_link_in_the_trash_is_not_followed(lab: Lab) -> None:
    lab.push()
    lab.poll()
    outside = lab.root / "outside"
    (outside / RUN).mkdir(parents=True)
    (outside / RUN / "a.fcs").write_bytes(b"theirs")
    slot(lab).parent.mkdir(parents=True, exist_ok=True)
    os.symlink(outside, slot(lab))
    (slot(lab, "second") / "FLOW_01").mkdir(parents=True)
    os.symlink(outside / "FLOW_01/PROJ-1", slot(lab, "second") / "FLOW_01/PROJ-1")
    before = prints(outside)
    for _ in range(2):
        lab.poll()
    assert prints(outside) == before
    assert data_files(lab.staged()).keys() == FILES


def test_one_slot_that_cannot_be_settled_does_not_stop_the_pass(lab: Lab) -> None:
    trashed = cleared_in_trash(lab)
    add_in_trash(lab, trashed)
    other = lab.push("FLOW_01/PROJ-1/Runs/Run_other")
    report = lab.poll()
    assert report.exit_status == 3
    assert other.exists()
    assert lab.states("FLOW_01/PROJ-1/Runs/Run_other")[-1] == IngestState.SYNC_VERIFIED
