"""The two answers of ``show``: yes only with a seal, a good proof, staging unchanged since, and the right NAS."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from exlab_orch import answers
from exlab_orch.answers import first_difference
from exlab_orch.cli.words import next_commands, state_word
from exlab_orch.detail import RunDetail, run_detail
from exlab_orch.evaluate import hash_and_remember
from exlab_orch.finding import find_run
from exlab_orch.journal import FileRow
from exlab_orch.model import Identity, Listing, NasPlace, Place, StagedRun
from exlab_orch.rows import Row, list_rows
from exlab_orch.transports.marker import MARKER
from exlab_orch.whereabouts import elsewhere
from tests.lab import MARKER_ID, RUN, Lab

OTHER_ID = "e" * 32


@pytest.fixture
def proved(lab: Lab) -> Lab:
    lab.push()
    assert lab.poll().exit_status == 0
    return lab


@pytest.fixture(params=["staged", "cleared"])
def on_nas(proved: Lab, request: pytest.FixtureRequest) -> Lab:
    """A proved run, whose staged copy is there or deleted."""
    if request.param == "cleared":
        assert proved.cli("clear", "--yes", RUN).returncode == 0
    return proved


def asked(lab: Lab) -> RunDetail:
    with lab.station(changing=False) as station:
        return run_detail(station, find_run(station, RUN), now=station.now())


def listed(lab: Lab) -> tuple[Row, ...]:
    with lab.station(changing=False) as station:
        return list_rows(station, now=station.now())


def is_safe(lab: Lab) -> bool:
    found = asked(lab)
    assert found.safe.yes or not found.may_delete.yes, "what is not safe may never be deleted"
    return found.safe.yes


def move_nas(lab: Lab) -> None:
    """The configuration says another root, which carries the same marker and no run."""
    lab.nas_folder = lab.root / "nas2"
    lab.nas_folder.mkdir()
    (lab.nas_folder / MARKER).write_text(f"{MARKER_ID}\n")
    lab.configure()


def replace_nas(lab: Lab) -> None:
    """Another NAS stands in the same place, with a marker of its own that the configuration knows."""
    (lab.nas / MARKER).write_text(f"{OTHER_ID}\n")
    lab.config_path.write_text(lab.config_path.read_text().replace(MARKER_ID, OTHER_ID))


def test_a_proved_run_is_safe_and_may_be_deleted(on_nas: Lab) -> None:
    found = asked(on_nas)
    assert (found.safe.yes, found.may_delete.yes) == (True, True)


def test_a_key_that_is_cut_short_is_told_to_its_owner_as_such(on_nas: Lab) -> None:
    (on_nas.state / "seal.key").write_bytes(b"short")
    found = asked(on_nas).safe
    assert (found.yes, found.command) == (False, "exlab-orch doctor")
    assert "no seal key that can be used" in found.why


# -- staging -------------------------------------------------------------------------------------------------


def test_a_change_that_leaves_size_and_time_is_seen(proved: Lab) -> None:
    file = proved.staged() / "a.fcs"
    before = file.stat()
    file.write_bytes(b"AAA")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not is_safe(proved)
    assert asked(proved).row.actions[0] == f"exlab-orch sync {RUN}"
    assert not any("exlab-orch clear" in action for action in asked(proved).row.actions)


def test_a_change_that_a_killed_pass_has_hashed_already_is_seen(proved: Lab) -> None:
    """The journal has the new hash, and the record no step back yet."""
    (proved.staged() / "a.fcs").write_bytes(b"AAA")
    with proved.station() as station:
        hash_and_remember(station, proved.run(), [b"a.fcs"])
    assert not is_safe(proved)


def test_an_earlier_record_of_ours_that_was_put_back_proves_nothing(proved: Lab) -> None:
    record = proved.staged() / ".exlab-wizard/ingest.json"
    earlier = record.read_bytes()
    (proved.staged() / "late.fcs").write_bytes(b"late")
    assert proved.cli("pause", "--reason", "new disks", "--until", "1d").returncode == 0
    proved.cli("poll")
    (proved.staged() / "late.fcs").unlink()
    assert not is_safe(proved)
    record.write_bytes(earlier)
    assert "not as this orchestrator left it" in asked(proved).safe.why


def test_without_the_journal_nothing_is_safe_until_it_was_compared(proved: Lab) -> None:
    (proved.state / "journal.sqlite3").unlink()
    assert not is_safe(proved)
    proved.poll()
    assert is_safe(proved)


def test_the_list_that_the_record_seals_decides_and_not_the_one_that_lies_there(proved: Lab) -> None:
    (proved.staged() / ".exlab-wizard/checksums.sha256").write_text("")
    assert is_safe(proved)  # the journal has the same list
    (proved.state / "journal.sqlite3").unlink()
    assert not is_safe(proved)


def identity(inode: int) -> Identity:
    return Identity(inode=inode, size=3, mtime_ns=1, ctime_ns=1)


@pytest.mark.parametrize(
    ("proved", "known", "says"),
    [
        ({b"a": "11"}, {b"a": FileRow(identity(1), "11")}, None),
        ({}, {b"a": FileRow(identity(1), "11")}, "added"),
        ({b"a": "11"}, {}, "compared"),
        ({b"a": "11"}, {b"a": FileRow(identity(2), "11")}, "changed"),
        ({b"a": "11"}, {b"a": FileRow(identity(1), "22")}, "changed"),
    ],
)
def test_each_way_in_which_a_file_is_not_what_was_proved_is_told(
    proved: dict[bytes, str], known: dict[bytes, FileRow], says: str | None
) -> None:
    found = first_difference(Listing({b"a": identity(1)}, {}), proved, known)
    assert found is None if says is None else says in str(found)


# -- what the instrument may delete --------------------------------------------------------------------------


@pytest.mark.parametrize("cleared", [False, True])
def test_what_was_accepted_as_it_is_is_safe_and_may_not_be_deleted_from_the_instrument(lab: Lab, cleared: bool) -> None:
    lab.push(done=False)
    lab.poll()
    assert lab.cli("accept", "--reason", "it crashed", RUN).returncode == 0
    assert not any("accept" in action for action in asked(lab).row.actions)
    lab.poll()
    if cleared:
        assert lab.cli("clear", "--yes", RUN).returncode == 0
    found = asked(lab)
    assert (found.safe.yes, found.may_delete.yes) == (True, False)


# -- the NAS -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [move_nas, replace_nas])
def test_a_look_at_another_nas_says_nothing_about_this_one(on_nas: Lab, change: Callable[[Lab], None]) -> None:
    assert on_nas.cli("verify", RUN).returncode == 0
    change(on_nas)
    found = asked(on_nas)
    assert not found.safe.yes
    assert found.safe.command == f"exlab-orch verify {RUN}"


def test_a_look_at_the_nas_that_is_configured_now_counts(on_nas: Lab) -> None:
    replace_nas(on_nas)
    assert on_nas.cli("verify", RUN).returncode == 0
    assert is_safe(on_nas)


def test_another_nas_in_the_same_place_is_named_by_its_root(on_nas: Lab) -> None:
    replace_nas(on_nas)
    assert asked(on_nas).safe.why == f"the NAS at {on_nas.nas} has another marker than when it was proved"


def test_a_copy_that_was_found_good_in_the_same_place_since_tells_of_the_marker_and_not_of_the_place() -> None:
    place, run = f"/nas/{RUN}", StagedRun(RUN, Place("/staging", RUN))
    why = elsewhere(run, NasPlace(place, "new"), NasPlace("/old", "a"), NasPlace(place, "then"))
    assert why == "the NAS at /nas has another marker than when its copy was last found good there"


@pytest.mark.parametrize("change", [move_nas, replace_nas])
def test_list_says_as_show_does_that_the_copy_is_on_another_nas(proved: Lab, change: Callable[[Lab], None]) -> None:
    change(proved)
    (row,) = listed(proved)
    assert state_word(row) == "on another NAS"
    assert row.waiting_for == asked(proved).safe.why
    assert row.actions[0] == f"exlab-orch verify {RUN}"
    assert "on_another_nas\t1\n" in proved.cli("status").stdout
    assert "clear" not in str(next_commands([row], "exlab-orch list"))
    if change is move_nas:
        shutil.copytree(proved.root / "nas" / RUN, proved.published())
    assert proved.cli("verify", RUN).returncode == 0
    (row,) = listed(proved)
    assert state_word(row) == "on NAS, checked"


def test_the_copy_of_a_cleared_run_is_where_it_was(proved: Lab) -> None:
    assert proved.cli("clear", "--yes", RUN).returncode == 0
    move_nas(proved)
    found = asked(proved)
    assert state_word(found.row) == "staged copy deleted"
    assert found.row.nas_path == str(proved.root / "nas" / RUN)


def test_a_nas_that_is_away_or_another_one_is_seen_before_any_pass(on_nas: Lab) -> None:
    (on_nas.nas / MARKER).write_text(f"{OTHER_ID}\n")
    assert not is_safe(on_nas)
    (on_nas.nas / MARKER).write_text(f"{MARKER_ID}\n")
    assert is_safe(on_nas)
    on_nas.nas.rename(on_nas.root / "away")
    assert not is_safe(on_nas)


def test_where_show_may_not_look_at_the_nas_a_pass_must_have_done_so_lately(
    on_nas: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "_may_look", lambda *_: False)
    assert is_safe(on_nas)
    on_nas.now = datetime.now(UTC) + timedelta(hours=2)
    found = asked(on_nas)
    assert (found.safe.yes, found.safe.command) == (False, "exlab-orch poll")


def test_damage_that_somebody_accepted_is_damage_all_the_same(proved: Lab) -> None:
    assert proved.cli("clear", "--yes", RUN).returncode == 0
    shutil.rmtree(proved.nas / "FLOW_01")
    assert proved.cli("verify", RUN).returncode == 3
    assert proved.cli("accept", "--reason", "it is lost", RUN).returncode == 0
    found = asked(proved)
    assert (found.safe.yes, found.problems) == (False, ())


# -- the checks agree ----------------------------------------------------------------------------------------


def results(lab: Lab) -> dict[str, str]:
    return {check.check: check.result for check in asked(lab).checks}


def test_the_proof_is_no_ok_where_the_answer_is_no(proved: Lab) -> None:
    assert results(proved)["run.proof"] == "ok"
    (proved.staged() / "late.fcs").write_bytes(b"late")
    assert results(proved)["run.proof"] == "error"


def test_what_stops_a_copy_is_among_the_checks(lab: Lab) -> None:
    lab.push()
    lab.published().mkdir(parents=True)
    (lab.published() / "a.fcs").write_bytes(b"theirs")
    lab.poll()
    assert results(lab)["run.proof"] == "error"


def test_a_file_that_is_open_for_writing_is_among_the_checks(lab: Lab) -> None:
    lab.push()
    lab.poll(frozenset({"evaluate"}))
    assert results(lab)["run.open_files"] == "ok"
    with (lab.staged() / "a.fcs").open("ab"):
        (found,) = [check for check in asked(lab).checks if check.check == "run.open_files"]
    assert (found.result, found.message) == ("warning", "a.fcs is still open for writing")


def test_a_proved_run_was_closed_when_it_was_copied(proved: Lab) -> None:
    with (proved.staged() / "a.fcs").open("ab"):
        assert results(proved)["run.open_files"] == "ok"


def test_who_asked_is_told(proved: Lab) -> None:
    assert proved.cli("clear", "--later", RUN).returncode == 0
    retention = next(check for check in asked(proved).checks if check.check == "run.retention")
    assert "asked for by" in retention.message
