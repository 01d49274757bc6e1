"""Reading NAS copies again: what counts as damage, who vouches for the list, what follows, and what is left alone."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import NoReturn

import pytest

from exlab_orch.archive import NotVerified, Round, due_runs, verify_runs
from exlab_orch.cleanup import clear
from exlab_orch.cli import program
from exlab_orch.cli.call import Call
from exlab_orch.cli.endings import Stopped
from exlab_orch.cli.frame import run
from exlab_orch.damage import PHASE, Verification, with_known
from exlab_orch.detail import run_detail
from exlab_orch.errors import (
    Locked,
    NasCopyDamaged,
    NasCopyMissing,
    NasCopyUnreadable,
    NasPaused,
    NasUnreachable,
    NotSyncVerified,
    PermissionRefused,
    StateUnavailable,
)
from exlab_orch.files.hashing import OnBytes
from exlab_orch.journal import MOST_FILES
from exlab_orch.looks import cleared_looks
from exlab_orch.model import CHECKSUMS_PATH, Problem, StagedRun
from exlab_orch.orders import make_due, pause
from exlab_orch.progress import live_progress
from exlab_orch.proof import doubt
from exlab_orch.receipts import read_receipt
from exlab_orch.station import Station
from exlab_orch.transports import Area, ReadBack
from exlab_orch.transports.marker import MARKER
from exlab_orch.transports.mount import MountedNas
from exlab_orch.verification import verify
from tests.files.privilege import ordinary_user
from tests.lab import EQUIPMENT, RUN, Lab, flip_a_bit, tree
from tests.terminal import terminal

OTHER = RUN.replace("32", "33")
THIRD = RUN.replace("32", "34")
LIST = CHECKSUMS_PATH


@pytest.fixture
def staged(lab: Lab) -> Lab:
    """A run that is proved and still staged."""
    lab.push()
    assert lab.poll().exit_status == 0
    return lab


@pytest.fixture
def cleared(staged: Lab) -> Lab:
    """A run that is on the NAS only."""
    clear_it(staged)
    return staged


def clear_it(lab: Lab, run: str = RUN) -> None:
    with lab.station() as station:
        assert clear(station, lab.run(run), by="ada", wait_seconds=0).files_cleared


def look(lab: Lab, run: str = RUN) -> Verification:
    with lab.station() as station:
        return verify(station, lab.run(run), lock_seconds=0, slot_seconds=0)


def everything(lab: Lab, *, max_seconds: float | None = None, since: timedelta | None = None) -> Round:
    with lab.station() as station:
        runs = [one.run for one in due_runs(station, since=since)]
        return verify_runs(station, runs, named=False, max_seconds=max_seconds)


def said(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    """A verb in this process, into a pipe."""
    hook = sys.excepthook
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        patch.setenv("EXLAB_ORCH_CONFIG", str(lab.config_path))
        status = run(program, [*words], Call())
    sys.excepthook = hook
    return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())


def open_codes(lab: Lab, run: str = RUN) -> list[str]:
    with lab.station(changing=False) as station:
        return [problem.code for problem in station.journal.problems(run)]


# -- what is found -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["staged", "cleared"])
def test_a_copy_that_is_as_proved_is_told_as_such(request: pytest.FixtureRequest, state: str) -> None:
    lab: Lab = request.getfixturevalue(state)
    before = {path: path.stat().st_mtime_ns for path in lab.published().rglob("*")}
    found = look(lab)
    assert (found.ok, found.files, found.byte_total, found.extra, found.vouched) == (True, 3, 7, (), True)
    assert {path: path.stat().st_mtime_ns for path in lab.published().rglob("*")} == before, "nothing is written there"
    assert open_codes(lab) == []
    assert lab.leftovers() == []


def test_a_flipped_bit_in_the_copy_of_a_cleared_run_is_found_and_stays_a_problem_until_it_is_good_again(
    cleared: Lab,
) -> None:
    file = cleared.published() / "sub/b.fcs"
    flip_a_bit(file)
    found = look(cleared)
    assert (found.ok, found.changed, found.missing) == (False, (b"sub/b.fcs",), ())
    assert isinstance(found.problem, NasCopyDamaged)
    assert "snapshot or a backup" in found.problem.hint
    assert open_codes(cleared) == ["nas_copy_damaged"]
    cleared.poll()
    assert open_codes(cleared) == ["nas_copy_damaged"], "a pass does not close it"
    file.write_bytes(b"bbbb")
    assert look(cleared).ok
    assert open_codes(cleared) == []


def test_a_file_that_is_gone_from_the_copy_of_a_cleared_run_is_missing(cleared: Lab) -> None:
    (cleared.published() / "a.fcs").unlink()
    found = look(cleared)
    assert (found.missing, found.changed, found.byte_total) == ((b"a.fcs",), (), 4)
    assert isinstance(found.problem, NasCopyMissing)
    assert open_codes(cleared) == ["nas_copy_missing"]


def test_a_cleared_run_that_is_gone_from_the_nas_is_told_as_gone(cleared: Lab) -> None:
    cleared.published().rename(cleared.nas / "elsewhere")
    found = look(cleared)
    assert (found.gone, found.missing, found.vouched) == (True, (LIST.encode(),), False)
    assert found.problem is not None
    assert found.problem.message == "The run is gone from the NAS."


def test_a_run_that_is_not_where_it_was_proved_names_both_places(cleared: Lab) -> None:
    elsewhere = cleared.root / "new nas"
    cleared.nas.rename(elsewhere)
    (elsewhere / RUN).rename(elsewhere / "forgotten")
    cleared.nas_folder = elsewhere
    cleared.configure()
    found = look(cleared)
    assert found.problem is not None
    assert str(cleared.root / "nas" / RUN) in found.problem.message
    assert str(elsewhere / RUN) in found.problem.message


def test_a_nas_that_moved_with_everything_on_it_is_as_good_as_before(cleared: Lab) -> None:
    elsewhere = cleared.root / "new nas"
    cleared.nas.rename(elsewhere)
    cleared.nas_folder = elsewhere
    cleared.configure()
    assert look(cleared).ok


def test_what_people_put_beside_the_data_is_told_and_no_fault_and_our_own_files_are_not_told(staged: Lab) -> None:
    (staged.staged() / "a.fcs").write_bytes(b"new")
    with staged.station() as station, pytest.raises(Exception, match="changed since"):
        clear(station, staged.run(), by="ada", wait_seconds=0)
    assert staged.poll().exit_status == 0
    assert list(staged.published().glob(".exlab-wizard/superseded/*/a.fcs"))
    (staged.published() / "results").mkdir()
    (staged.published() / "results/r.csv").write_text("1,2")
    found = look(staged)
    assert (found.ok, found.extra) == (True, (b"results/r.csv",))


def test_a_file_that_cannot_be_read_is_told_and_the_others_are_read(cleared: Lab) -> None:
    (cleared.published() / "a.fcs").chmod(0)
    flip_a_bit(cleared.published() / "sub/b.fcs")
    cleared.sync = "workers = 1"
    cleared.configure()
    with ordinary_user():
        found = look(cleared)
    assert [one.name for one in found.unreadable] == [b"a.fcs"]
    assert found.changed == (b"sub/b.fcs",)
    assert open_codes(cleared) == ["nas_copy_damaged"]


def test_what_alone_cannot_be_read_is_told_with_the_reason_of_the_nas(cleared: Lab) -> None:
    (cleared.published() / "a.fcs").chmod(0)
    with ordinary_user():
        found = look(cleared)
    assert found.problem is not None
    assert "'Permission denied'" in found.problem.message
    assert open_codes(cleared) == ["nas_copy_unreadable"]


def test_what_alone_cannot_be_read_sends_a_person_to_the_rights_and_disks_first(cleared: Lab) -> None:
    (cleared.published() / "a.fcs").chmod(0)
    with ordinary_user():
        problem = look(cleared).problem
    assert problem is not None
    assert "Look at the NAS first (rights, disks)." in problem.hint


def test_damage_that_nobody_can_mend_is_accepted_and_told_again_by_the_next_look(cleared: Lab) -> None:
    flip_a_bit(cleared.published() / "a.fcs")
    look(cleared)
    ended = said(cleared, "accept", RUN, "--reason", "no backup")
    assert (ended.returncode, open_codes(cleared)) == (0, [])
    assert "no longer told" in ended.stderr
    assert not look(cleared).ok
    assert open_codes(cleared) == ["nas_copy_damaged"]
    (cleared.published() / "a.fcs").write_bytes(b"aaa")
    look(cleared)
    assert said(cleared, "accept", RUN, "--reason", "nothing is wrong").returncode == 4


def test_damage_of_a_cleared_run_stays_open_when_the_run_is_pushed_again_without_what_is_damaged(cleared: Lab) -> None:
    flip_a_bit(cleared.published() / "a.fcs")
    look(cleared)
    cleared.push(files={"new.fcs": b"more"}, done=False)
    cleared.poll()
    assert open_codes(cleared) == ["nas_copy_damaged"]  # a new life has begun
    cleared.push(files={})
    cleared.poll()
    assert cleared.states()[-1] == "sync_verified"
    assert open_codes(cleared) == ["nas_copy_damaged"]  # its copy never looked at what is damaged
    shown = json.loads(said(cleared, "show", RUN, "--json").stdout)
    assert shown["safe_on_nas"]["yes"] is False
    assert "The run was pushed again." in shown["problems"][0]["message"]
    with pytest.raises(NasCopyDamaged):
        clear_it(cleared)
    assert cleared.staged().exists()
    (cleared.published() / "a.fcs").write_bytes(b"aaa")
    assert look(cleared).ok
    assert open_codes(cleared) == []


def test_damage_of_more_files_than_are_remembered_is_not_ended_by_those_that_are(cleared: Lab) -> None:
    names = [f"{number:04}".encode() for number in range(MOST_FILES + 1)]
    with cleared.station() as station:
        for damaged, left in ((names[: MOST_FILES - 1], []), (names, ["nas_copy_damaged"])):
            problem = station.problem(RUN, "nas_copy_damaged", "damage", files=damaged)
            station.set_problems(RUN, "verify", [problem])
            station.end_damage(RUN, set(names[:MOST_FILES]))
            assert open_codes(cleared) == left


@pytest.mark.parametrize(
    ("code", "is_left"), [("nas_copy_damaged", True), ("nas_copy_unreadable", True), ("nas_full", False)]
)
def test_a_proved_copy_ends_what_hindered_a_look_and_no_damage_without_a_name(
    cleared: Lab, code: str, *, is_left: bool
) -> None:
    with cleared.station() as station:
        station.set_problems(RUN, "verify", [station.problem(RUN, code, "without a name")])
        station.end_damage(RUN, {b"a.fcs"})
        assert open_codes(cleared) == [code] * is_left


def test_a_good_look_ends_what_a_clear_was_refused_for(staged: Lab) -> None:
    flip_a_bit(staged.published() / "a.fcs")
    with pytest.raises(NasCopyDamaged):
        clear_it(staged)
    assert not look(staged).ok
    flip_a_bit(staged.published() / "a.fcs")
    assert look(staged).ok
    assert open_codes(staged) == []
    clear_it(staged)


def test_damage_is_mended_by_the_copy_of_a_run_that_was_pushed_again_whole(cleared: Lab) -> None:
    (cleared.published() / "a.fcs").unlink()
    look(cleared)
    cleared.push()
    cleared.poll()
    assert (cleared.published() / "a.fcs").read_bytes() == b"aaa"
    assert open_codes(cleared) == []


def test_what_is_different_on_the_nas_of_a_run_that_was_pushed_again_is_a_conflict_with_the_way_out(
    cleared: Lab,
) -> None:
    flip_a_bit(cleared.published() / "a.fcs")
    look(cleared)
    cleared.push()
    cleared.poll()
    assert sorted(open_codes(cleared)) == ["nas_conflict", "nas_copy_damaged"]
    (row,) = json.loads(said(cleared, "list", "--json").stdout)["runs"]
    assert (row["problem"]["code"], row["actions"][0]) == ("nas_conflict", f"exlab-orch sync --new-version {RUN}")
    said(cleared, "sync", "--new-version", RUN)
    cleared.poll()
    assert (cleared.published() / "a.fcs").read_bytes() == b"aaa"
    assert open_codes(cleared) == []


def test_of_a_staged_run_nobody_is_told_to_copy_again_what_is_not_in_staging(cleared: Lab) -> None:
    cleared.push(files={"new.fcs": b"more"})
    cleared.poll()
    flip_a_bit(cleared.published() / "a.fcs")
    problem = look(cleared).problem
    assert problem is not None
    assert "There is no staged copy any more" in problem.hint
    flip_a_bit(cleared.published() / "a.fcs")
    flip_a_bit(cleared.published() / "new.fcs")
    problem = look(cleared).problem
    assert problem is not None
    assert "sync --new-version" in problem.hint


@pytest.mark.parametrize("is_staged", [True, False])
def test_the_receipt_at_the_instrument_calls_a_damaged_run_not_safe_until_it_is_good_again(
    tmp_path: Path, *, is_staged: bool
) -> None:
    lab = Lab(tmp_path, equipment=EQUIPMENT.replace('id = "FLOW_01"\n', 'id = "FLOW_01"\nreceipts = true\n'))
    lab.push()
    lab.poll()
    if not is_staged:
        clear_it(lab)

    def is_called_safe() -> bool:
        receipt = read_receipt(str(lab.staging), RUN)
        assert receipt is not None
        return receipt.safe

    assert is_called_safe()
    flip_a_bit(lab.published() / "a.fcs")
    look(lab)
    assert not is_called_safe()
    (lab.published() / "a.fcs").write_bytes(b"aaa")
    look(lab)
    lab.poll()
    assert is_called_safe()


# -- which list is trusted -----------------------------------------------------------------------------------


def test_a_list_that_was_edited_together_with_its_file_deceives_nobody(cleared: Lab) -> None:
    (cleared.published() / "a.fcs").write_bytes(b"forged")
    listed = subprocess.run(["sha256sum", "a.fcs"], cwd=cleared.published(), capture_output=True, check=True).stdout
    path = cleared.published() / LIST
    path.write_bytes(b"".join(listed if b"a.fcs" in line else line for line in path.read_bytes().splitlines(True)))
    found = look(cleared)
    assert (found.ok, found.changed, found.vouched) == (False, (LIST.encode(),), False)
    assert found.problem is not None
    assert "nothing vouches for what the files should be" in found.problem.message


@pytest.mark.parametrize("content", [b"", b"no list at all", b"\0" * 100])
def test_a_list_that_is_none_is_damage_and_no_crash(cleared: Lab, content: bytes) -> None:
    (cleared.published() / LIST).write_bytes(content)
    found = look(cleared)
    assert (found.ok, found.changed, found.files, found.extra) == (False, (LIST.encode(),), 0, ())


def test_a_missing_list_of_a_cleared_run_is_damage(cleared: Lab) -> None:
    (cleared.published() / LIST).unlink()
    found = look(cleared)
    assert (found.missing, found.vouched) == ((LIST.encode(),), False)
    assert open_codes(cleared) == ["nas_copy_damaged"], "nothing tells any more what the files should be"


def test_a_lost_list_of_a_staged_run_is_told_and_written_again_by_the_next_pass(staged: Lab) -> None:
    (staged.published() / LIST).unlink()
    found = look(staged)
    assert (found.missing, found.vouched, found.only_list) == ((LIST.encode(),), True, True)
    assert open_codes(staged) == ["nas_copy_missing"]
    assert staged.poll().exit_status == 0
    assert (staged.published() / LIST).exists()
    assert open_codes(staged) == []
    assert staged.states()[-1] == "sync_verified"
    assert look(staged).ok


def test_a_list_of_the_nas_that_was_changed_is_not_believed_where_staging_has_the_right_one(staged: Lab) -> None:
    (staged.published() / LIST).write_bytes(b"0" * 64 + b"  a.fcs\n")
    found = look(staged)
    assert (found.changed, found.vouched, found.files) == ((LIST.encode(),), True, 3)


def test_a_run_that_was_never_proved_is_refused(lab: Lab) -> None:
    lab.push(done=False)
    lab.poll()
    with pytest.raises(NotSyncVerified, match="its state is: arriving"):
        look(lab)
    assert open_codes(lab) == []


def test_a_ledger_that_does_not_say_which_list_was_proved_vouches_for_nothing(cleared: Lab) -> None:
    path = cleared.state / "ledger.jsonl"
    path.write_text(json.dumps({**json.loads(path.read_text()), "checksum_sha256": ""}) + "\n")
    with pytest.raises(NotSyncVerified):
        look(cleared)


def test_a_run_that_disappeared_is_verified_from_what_the_journal_remembers(staged: Lab) -> None:
    staged.staged().rename(staged.root / "taken away")
    staged.poll()
    assert open_codes(staged) == ["run_disappeared"]
    assert look(staged).ok
    flip_a_bit(staged.published() / "a.fcs")
    assert everything(staged).verified[0].changed == (b"a.fcs",)
    assert open_codes(staged) == ["run_disappeared", "nas_copy_damaged"]


def test_a_run_whose_clear_was_interrupted_is_verified_where_it_lies_and_stays_there(
    staged: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("exlab_orch.trash.delete_proved", killed)
        with pytest.raises(KeyboardInterrupt):
            clear_it(staged)
    assert names(staged) == [RUN]
    assert look(staged).ok
    (staged.published() / "a.fcs").unlink()
    assert look(staged).missing == (b"a.fcs",)
    assert list((staged.staging / ".exlab-orch/trash").glob(f"*/{RUN}/a.fcs")), "nothing of it is touched"
    staged.poll()
    assert "nas_copy_missing" in open_codes(staged)


# -- what follows for a staged run ---------------------------------------------------------------------------


def test_what_is_missing_of_a_staged_run_is_copied_again_by_the_next_pass(staged: Lab) -> None:
    (staged.published() / "a.fcs").unlink()
    assert look(staged).missing == (b"a.fcs",)
    assert staged.record().history[-1].text("reason") == "nas_copy_missing"
    assert open_codes(staged) == ["nas_copy_missing"]
    assert staged.poll().exit_status == 0
    assert (staged.published() / "a.fcs").read_bytes() == b"aaa"
    assert (staged.states()[-1], open_codes(staged)) == ("sync_verified", [])


def test_a_damaged_copy_of_a_staged_run_stops_the_scheduled_clear(lab: Lab) -> None:
    lab.cleanup = 'mode = "scheduled"\nretain_hours = 24'
    lab.configure()
    lab.now = datetime.now(UTC)
    lab.push()
    lab.poll()
    flip_a_bit(lab.published() / "a.fcs")
    assert look(lab).changed == (b"a.fcs",)
    lab.now += timedelta(hours=25)
    report = lab.poll()
    assert (report.cleared, report.failed) == ((), ())
    assert lab.staged().exists()
    assert open_codes(lab) == ["nas_copy_damaged"]


def test_a_bit_that_flipped_on_the_nas_is_really_copied_again_with_a_new_version(staged: Lab) -> None:
    flip_a_bit(staged.published() / "a.fcs")
    assert not look(staged).ok
    with staged.station() as station:
        make_due(station, staged.run(), by="ada", new_version=True)
    assert staged.poll().exit_status == 0
    assert (staged.published() / "a.fcs").read_bytes() == b"aaa", "its size and time tell nothing, so it is read"
    assert open_codes(staged) == []
    assert look(staged).ok


def test_a_damaged_file_does_not_count_as_read_for_a_clear_with_a_recent_proof(lab: Lab) -> None:
    lab.cleanup = 'mode = "manual"\nproof = "recent"\nproof_max_age = "7d"'
    lab.configure()
    lab.push()
    lab.poll()
    flip_a_bit(lab.published() / "a.fcs")
    assert not look(lab).ok
    with lab.station() as station, pytest.raises(NasCopyDamaged):
        clear(station, lab.run(), by="ada", wait_seconds=0)
    assert (lab.staged() / "a.fcs").read_bytes() == b"aaa"


def test_a_good_look_is_in_the_log_of_a_staged_run_and_so_is_damage(staged: Lab) -> None:
    look(staged)
    flip_a_bit(staged.published() / "a.fcs")
    look(staged)
    (log,) = (staged.staged() / ".exlab-wizard").glob("wizard.*.log")
    last = log.read_text().splitlines()[-2:]
    assert "[INFO]" in last[0]
    assert last[0].endswith("verified: the NAS copy is as proved")
    assert "[WARNING]" in last[1]
    assert "nas_copy_damaged" in last[1]


def test_the_next_pass_has_nothing_to_do_after_a_good_look(staged: Lab) -> None:
    look(staged)
    report = staged.poll()
    assert (report.transitions, report.announcements, report.exit_status) == ((), (), 0)


# -- locks, slots, a NAS that is away ------------------------------------------------------------------------


def test_a_run_that_another_process_is_busy_with_is_left_alone(staged: Lab) -> None:
    with staged.station() as other, other.state.run_lock(RUN) as held:
        assert held
        with pytest.raises(Locked, match="busy with this run") as refused:
            look(staged)
    assert Round(not_verified=[NotVerified(RUN, refused.value)]).exit_status == 75


def test_a_slot_of_the_nas_is_taken_and_waited_for(staged: Lab) -> None:
    staged.sync = "parallel_runs = 1"
    staged.configure()
    told: list[str] = []
    with staged.station() as station:
        with station.slot(staged.run()) as free:
            assert free
            with pytest.raises(Locked, match="slot"):
                verify(station, staged.run(), slot_seconds=0, waits=lambda run: told.append(run.run_path))
        assert told == [RUN]
        assert verify(station, staged.run(), slot_seconds=0, waits=lambda run: told.append(run.run_path)).ok
    assert told == [RUN]


def reading(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Do something whenever the NAS is read back."""
    real = MountedNas.read_back

    def read_back(
        self: MountedNas, run_path: str, area: Area, names: Sequence[bytes], on_bytes: OnBytes
    ) -> list[ReadBack]:
        act()
        return real(self, run_path, area, names, on_bytes)

    monkeypatch.setattr(MountedNas, "read_back", read_back)


def test_a_nas_that_goes_away_in_the_middle_is_no_damage_and_the_rest_is_told_as_not_verified(
    staged: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged.push(OTHER)
    staged.push(THIRD)
    staged.poll()
    done: list[None] = []

    def leave() -> None:
        done.append(None)
        if len(done) == 2:
            staged.nas.rename(staged.root / "away")
            staged.nas.mkdir()

    reading(monkeypatch, leave)
    found = everything(staged)
    assert ([one.ok for one in found.verified], found.exit_status) == ([True], 69)
    assert [one.run_path for one in found.not_verified] == [OTHER, THIRD]
    assert [open_codes(staged, run) for run in (RUN, OTHER, THIRD)] == [[], [], []]
    assert staged.states(OTHER)[-1] == "sync_verified"


def test_damage_outweighs_a_nas_that_is_away(staged: Lab) -> None:
    staged.push(OTHER)
    staged.poll()
    flip_a_bit(staged.published() / "a.fcs")
    real = verify
    calls: list[None] = []

    with pytest.MonkeyPatch.context() as patch:

        def first_then_away(*arguments: object, **more: object) -> Verification:
            calls.append(None)
            if len(calls) > 1:
                raise NasUnreachable("It is away.")
            return real(*arguments, **more)  # type: ignore[arg-type]

        patch.setattr("exlab_orch.archive.verify", first_then_away)
        assert everything(staged).exit_status == 3


def test_all_leaves_a_paused_nas_alone_and_a_name_does_not(staged: Lab) -> None:
    with staged.station() as station:
        pause(station, reason="new disks", by="ada")
    found = everything(staged)
    assert [type(one.error) for one in found.not_verified] == [NasPaused]
    assert found.exit_status == 69
    assert look(staged).ok


def test_its_progress_can_be_seen_from_another_terminal_and_leaves_nothing(
    staged: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases: list[str] = []
    reading(monkeypatch, lambda: phases.extend(one.phase for one in live_progress(f"{staged.state}/progress").values()))
    everything(staged)
    assert phases == ["verify"]
    assert staged.leftovers() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_verify_that_is_ended_leaves_nothing_and_the_next_one_goes_on(staged: Lab, number: signal.Signals) -> None:
    slow = (
        "import sys, time; from exlab_orch.transports.mount import MountedNas; from exlab_orch.cli import main\n"
        "def slowly(*_):\n print('reading', flush=True); time.sleep(30)\n"
        "MountedNas.read_back = slowly; sys.exit(main(sys.argv[1:]))"
    )
    command = staged.command("verify", RUN)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        [command[0], "-c", slow, *command[3:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"reading\n"
        process.send_signal(number)
        time.sleep(0.3)
        process.send_signal(number)  # nobody waits for the file in hand
        process.wait(20)
    assert process.returncode in (128 + number, -number)
    assert open_codes(staged) == []
    assert look(staged).ok
    staged.poll()
    assert staged.leftovers() == []


def stop_at(number: int) -> Callable[[], None]:
    """Stop the process, as a signal does, when the NAS is read back for the so-manieth time."""
    times = iter(range(1, 1_000))

    def act() -> None:
        if next(times) == number:
            raise Stopped(signal.SIGTERM)

    return act


def test_damage_that_was_seen_before_a_verify_is_stopped_is_told_and_remembered(
    cleared: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleared.push(OTHER)
    cleared.push(THIRD)
    cleared.poll()
    (cleared.published() / "sub/b.fcs").unlink()
    reading(monkeypatch, stop_at(2))
    ended = said(cleared, "verify", OTHER, RUN, THIRD, "--json")
    assert ended.returncode == 143
    document = json.loads(ended.stdout)
    assert [(one["run"], one["ok"], one["whole"]) for one in document["verified"]] == [
        (OTHER, True, True),
        (RUN, False, False),
    ]
    assert document["verified"][1]["missing"] == ["sub/b.fcs"]
    assert [one["run"] for one in document["later"]] == [RUN, THIRD]
    assert (document["ended_early"]["code"], json.loads(ended.stderr)["code"]) == ("stopped", "stopped")
    assert open_codes(cleared) == ["nas_copy_missing"]
    assert RUN in names(cleared, timedelta(days=30))


@pytest.fixture
def twice_damaged(cleared: Lab) -> Lab:
    """A run that is on the NAS only, and of whose copy two files in two batches are known to be damaged."""
    cleared.sync = "workers = 1"
    cleared.configure()
    cleared.push(OTHER, files={f"{number:03}.fcs": b"x" for number in range(200)})
    cleared.poll()
    clear_it(cleared, OTHER)
    for name in ("000.fcs", "199.fcs"):
        flip_a_bit(cleared.published(OTHER) / name)
    assert look(cleared, OTHER).changed == (b"000.fcs", b"199.fcs")
    return cleared


@pytest.mark.parametrize("cut", ["stopped", "not listed"])
def test_a_look_that_does_not_read_everything_forgets_no_damage(
    twice_damaged: Lab, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    lab = twice_damaged
    with monkeypatch.context() as patch:
        if cut == "stopped":
            stop_after_the_first_batch(patch)
        else:
            patch.setattr(MountedNas, "listing", refused)
        with pytest.raises(Stopped if cut == "stopped" else NasCopyUnreadable):
            look(lab, OTHER)
    flip_a_bit(lab.published(OTHER) / "000.fcs")
    lab.push(OTHER, files={"000.fcs": b"x"})
    lab.poll()
    assert lab.states(OTHER)[-1] == "sync_verified"
    assert "nas_copy_damaged" in open_codes(lab, OTHER), "nobody has read 199.fcs since"
    assert b"199.fcs" in damaged_names(lab, OTHER)
    flip_a_bit(lab.published(OTHER) / "199.fcs")
    assert look(lab, OTHER).ok
    assert open_codes(lab, OTHER) == []


def test_a_copy_that_could_not_be_listed_is_good_when_all_of_it_was_read(
    cleared: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(MountedNas, "listing", refused)
        with pytest.raises(NasCopyUnreadable):
            look(cleared)
    cleared.push(files={"new.fcs": b"more"})
    cleared.poll()
    assert open_codes(cleared) == ["nas_copy_unreadable"], "the copy has read what was pushed, and no more"
    assert look(cleared).ok
    assert open_codes(cleared) == []


def stop_after_the_first_batch(patch: pytest.MonkeyPatch) -> None:
    """Stop as a signal does, when the second batch is read and what was wrong with the first one is known."""
    known, stop = threading.Event(), stop_at(2)

    def doubt_and_say_so(station: Station, run: StagedRun, names: Iterable[bytes]) -> None:
        doubt(station, run, names)
        known.set()

    def act() -> None:
        try:
            stop()
        except Stopped:
            assert known.wait(20)
            raise

    patch.setattr("exlab_orch.verification.doubt", doubt_and_say_so)
    reading(patch, act)


def refused(_nas: MountedNas, _run_path: str, _area: Area) -> object:
    raise PermissionRefused("Permission denied.")


def damaged_names(lab: Lab, run: str) -> set[bytes]:
    with lab.station(changing=False) as station:
        return {name for one in station.journal.problems_in(run, PHASE) for name in one.files}


@pytest.mark.parametrize(
    ("known", "seen", "names", "words"),
    [
        ((b"a", b"b"), (b"a",), (b"a", b"b"), "known"),
        ((b"a",), (b"a", b"b"), (b"a", b"b"), "seen"),
        ((b"a",), (b"b",), (b"a", b"b"), "seen More was known before."),
        ((), (b"a",), (), "known"),
        ((b"a",), (), (), "seen More was known before."),
    ],
)
def test_what_is_seen_in_part_is_added_to_what_was_known(
    known: tuple[bytes, ...], seen: tuple[bytes, ...], names: tuple[bytes, ...], words: str
) -> None:
    other = Problem(RUN, "nas_copy_missing", "other", datetime.now(UTC), "", (b"z",))
    before = replace(other, code="nas_copy_damaged", message="known", files=known)
    first, second = with_known([other, before], replace(before, message="seen", files=seen))
    assert (first, second.files, second.message) == (other, names, words)


def test_of_a_nas_that_is_gone_when_a_verify_is_stopped_nothing_is_concluded(
    cleared: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cleared.published() / "sub/b.fcs").unlink()

    def leave() -> None:
        cleared.nas.rename(cleared.root / "away")
        raise Stopped(signal.SIGTERM)

    reading(monkeypatch, leave)
    ended = said(cleared, "verify", RUN, "--json")
    assert (ended.returncode, json.loads(ended.stdout)["verified"], open_codes(cleared)) == (143, [], [])


def test_people_too_are_told_what_a_stopped_verify_found(staged: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    staged.push(OTHER)
    staged.poll()
    flip_a_bit(staged.published() / "a.fcs")
    reading(monkeypatch, stop_at(2))
    ended = said(staged, "verify", RUN, OTHER)
    assert "1 run verified: 1 DAMAGED; 1 left for the next time." in ended.stderr
    assert f"{RUN}\tchanged\ta.fcs" in ended.stdout


def test_a_file_that_cannot_be_read_is_found_without_asking_for_each(
    cleared: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{number:02}": b"x" for number in range(40)}
    cleared.push(OTHER, files=files)
    cleared.poll()
    (cleared.published(OTHER) / "17").chmod(0)
    asked: list[None] = []
    reading(monkeypatch, lambda: asked.append(None))
    with ordinary_user():
        found = look(cleared, OTHER)
    assert [one.name for one in found.unreadable] == [b"17"]
    assert len(asked) <= 13, "halves, and halves of halves"


def test_where_very_many_cannot_be_read_not_each_is_asked_for(cleared: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    cleared.push(OTHER, files={f"{number:02}": b"x" for number in range(40)})
    cleared.poll()
    for path in cleared.published(OTHER).glob("[0-9]*"):
        path.chmod(0)
    asked: list[None] = []
    reading(monkeypatch, lambda: asked.append(None))
    monkeypatch.setattr("exlab_orch.verification._MOST_SPLITS", 3)
    with ordinary_user():
        found = look(cleared, OTHER)
    assert len(found.unreadable) >= 40
    assert not found.ok
    assert len(asked) <= 14, "two batches, each halved three times"


# -- bit by bit ----------------------------------------------------------------------------------------------


def names(lab: Lab, since: timedelta | None = None) -> list[str]:
    with lab.station() as station:
        return [one.run.run_path for one in due_runs(station, since=since)]


def test_all_means_every_proved_run_and_begins_with_the_one_that_was_read_longest_ago(lab: Lab) -> None:
    lab.now = datetime.now(UTC)
    for one in (THIRD, RUN, OTHER):
        lab.now += timedelta(days=1)
        lab.push(one)
        lab.poll()
    lab.push(RUN.replace("32", "35"), done=False)
    lab.poll()
    assert names(lab) == [THIRD, RUN, OTHER]
    lab.now += timedelta(days=1)
    clear_it(lab, THIRD)  # a clear reads everything back
    assert names(lab) == [RUN, OTHER, THIRD]
    lab.now += timedelta(days=1)
    look(lab, RUN)
    assert names(lab) == [OTHER, THIRD, RUN]
    assert names(lab, timedelta(days=1, hours=1)) == [OTHER]
    assert names(lab, timedelta(hours=1)) == [OTHER, THIRD]


def test_a_damaged_run_does_not_keep_the_others_from_their_turn(cleared: Lab) -> None:
    cleared.now = datetime.now(UTC)
    cleared.push(OTHER)
    cleared.poll()
    flip_a_bit(cleared.published() / "a.fcs")
    cleared.now += timedelta(minutes=1)
    assert not look(cleared).ok
    assert names(cleared) == [OTHER, RUN]


def test_a_look_of_the_future_does_not_count(cleared: Lab) -> None:
    cleared.now = datetime.now(UTC) + timedelta(days=400)
    look(cleared)
    cleared.now = None
    assert names(cleared, timedelta(days=30)) == [RUN]


def test_the_run_in_hand_is_finished_when_the_time_is_over(staged: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    staged.push(OTHER)
    staged.poll()
    reading(monkeypatch, lambda: time.sleep(0.3))
    found = everything(staged, max_seconds=0.2)
    assert ([one.run_path for one in found.verified], found.later, found.exit_status) == ([RUN], [OTHER], 0)


def test_a_lost_journal_only_means_that_it_is_read_again(cleared: Lab) -> None:
    cleared.now = datetime.now(UTC) + timedelta(days=40)
    look(cleared)
    assert names(cleared, timedelta(days=30)) == []
    for path in cleared.state.glob("journal*"):
        path.unlink()
    assert names(cleared, timedelta(days=30)) == [RUN]
    assert look(cleared).ok


def lose_the_journal(lab: Lab) -> None:
    for path in lab.state.glob("journal*"):
        path.unlink()


def kept(lab: Lab) -> list[str]:
    return [path.name for path in (lab.state / "damaged").glob("*")]


def require_not_safe(lab: Lab) -> None:
    shown = json.loads(said(lab, "show", RUN, "--json").stdout)
    assert (shown["safe_on_nas"]["yes"], shown["may_be_deleted"]["yes"]) == (False, False)


def test_damage_is_known_without_the_journal_that_found_it_until_it_is_good_again(cleared: Lab) -> None:
    flip_a_bit(cleared.published() / "a.fcs")
    look(cleared)
    lose_the_journal(cleared)
    require_not_safe(cleared)  # also before a new journal is begun
    cleared.poll()
    assert open_codes(cleared) == ["nas_copy_damaged"]
    assert names(cleared, timedelta(days=30)) == [RUN]
    with cleared.station() as station:
        (found,) = station.journal.problems_in(RUN, "verify")
        assert found.files == (b"a.fcs",)
    require_not_safe(cleared)
    assert said(cleared, "list", "--cleared").stdout.rstrip().endswith("damaged")
    flip_a_bit(cleared.published() / "a.fcs")
    assert look(cleared).ok
    assert kept(cleared) == []
    lose_the_journal(cleared)
    cleared.poll()
    assert open_codes(cleared) == []


def test_what_a_crash_left_unfinished_is_no_damage_and_goes_with_it(cleared: Lab) -> None:
    flip_a_bit(cleared.published() / "a.fcs")
    look(cleared)
    (file,) = (cleared.state / "damaged").iterdir()
    unfinished = file.with_name(f".{file.name}.exlab-new")
    content = file.read_bytes()
    unfinished.write_bytes(content)
    flip_a_bit(cleared.published() / "a.fcs")
    assert look(cleared).ok
    assert kept(cleared) == []
    unfinished.write_bytes(content)
    lose_the_journal(cleared)
    cleared.poll()
    assert open_codes(cleared) == []


def test_who_only_looks_on_is_told_of_kept_damage_and_writes_nothing(cleared: Lab) -> None:
    flip_a_bit(cleared.published() / "a.fcs")
    look(cleared)
    lose_the_journal(cleared)
    (cleared.state / "damaged").chmod(0o555)
    before = tree(cleared.state)
    (file,) = (cleared.state / "damaged").iterdir()
    inode = file.stat().st_ino
    with ordinary_user(), cleared.station(changing=False) as station:
        assert [one.code for one in station.journal.problems(RUN)] == ["nas_copy_damaged"]
    assert (tree(cleared.state), file.stat().st_ino) == (before, inode)


def test_who_may_not_read_kept_damage_sees_as_much_as_without_a_journal(cleared: Lab) -> None:
    lose_the_journal(cleared)
    (cleared.state / "damaged").mkdir(mode=0)
    with ordinary_user(), cleared.station(changing=False) as station:
        assert station.journal.problems(RUN) == []


def test_damage_is_announced_where_it_cannot_be_kept(cleared: Lab) -> None:
    flip_a_bit(cleared.published() / "a.fcs")
    (cleared.state / "damaged").touch()  # in the place of the folder
    with cleared.station() as station:
        with pytest.raises(StateUnavailable):
            verify(station, cleared.run())
        assert [(one.kind, one.problem.code) for one in station.announcements] == [("opened", "nas_copy_damaged")]


def test_accepted_damage_is_no_safer_without_the_journal(cleared: Lab) -> None:
    flip_a_bit(cleared.published() / "a.fcs")
    look(cleared)
    said(cleared, "accept", RUN, "--reason", "no backup")
    lose_the_journal(cleared)
    require_not_safe(cleared)


def test_a_reminder_of_old_damage_is_due_in_a_new_journal(cleared: Lab) -> None:
    cleared.now = datetime.now(UTC) - timedelta(days=3)
    flip_a_bit(cleared.published() / "a.fcs")
    look(cleared)
    cleared.now = None
    lose_the_journal(cleared)
    assert [(one.kind, one.problem.code) for one in cleared.poll().announcements] == [
        ("still_open", "nas_copy_damaged")
    ]


def test_what_a_journal_knew_before_is_kept_from_the_next_command_on(cleared: Lab) -> None:
    flip_a_bit(cleared.published() / "a.fcs")
    look(cleared)
    (file,) = (cleared.state / "damaged").iterdir()
    content = file.read_bytes()
    file.unlink()
    with cleared.station() as station:
        station.journal._execute("DELETE FROM meta WHERE key = 'known damage recalled'")
    cleared.poll()
    assert file.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"[]", b'{"run_path": "x"}', b'{"run_path": "x", "problems": [1]}', b"\xff"])
def test_a_file_of_damage_that_is_none_hinders_nothing(cleared: Lab, content: bytes) -> None:
    (cleared.state / "damaged").mkdir()
    (cleared.state / "damaged/odd.json").write_bytes(content)
    lose_the_journal(cleared)
    assert cleared.poll().exit_status == 0


def test_many_files_are_read_in_batches_and_every_damage_is_named(lab: Lab) -> None:
    files = {f"f{number % 7}/{number:03}": b"%d" % number for number in range(300)}
    lab.push(files=files)
    lab.poll()
    for number in (3, 250):
        flip_a_bit(lab.published() / f"f{number % 7}/{number:03}")
    (lab.published() / "f0/007").unlink()
    found = look(lab)
    assert (found.files, found.missing) == (301, (b"f0/007",))
    assert found.changed == (b"f3/003", b"f5/250")
    assert lab.states()[-1] == "sync_verified", "what is damaged waits for a person"


# -- the command ---------------------------------------------------------------------------------------------


def test_the_command_tells_damage_in_json_and_ends_with_3(cleared: Lab) -> None:
    flip_a_bit(cleared.published() / "a.fcs")
    ended = cleared.cli("verify", "--all", "--json")
    document = json.loads(ended.stdout)
    (one,) = document["verified"]
    assert ended.returncode == 3
    assert (one["run"], one["ok"], one["files"], one["bytes"]) == (RUN, False, 3, 7)
    assert (one["missing"], one["changed"], one["unreadable"], one["extra"]) == ([], ["a.fcs"], [], [])
    assert one["problem"]["code"] == "nas_copy_damaged"
    assert (document["not_verified"], document["later"]) == ([], [])


def test_a_pipe_gets_one_line_for_the_run_and_one_for_each_damaged_file(cleared: Lab) -> None:
    flip_a_bit(cleared.published() / "a.fcs")
    (cleared.published() / "sub/b.fcs").unlink()
    ended = said(cleared, "verify", RUN)
    assert [line.split("\t") for line in ended.stdout.splitlines()] == [
        [RUN, "damaged", "3", "3", "0"],
        [RUN, "missing", "sub/b.fcs"],
        [RUN, "changed", "a.fcs"],
    ]
    assert "There is no staged copy any more." in ended.stderr


def test_a_nas_that_is_away_gets_the_command_to_verify_again(cleared: Lab) -> None:
    (cleared.nas / MARKER).unlink()
    ended = said(cleared, "verify", RUN)
    assert ended.returncode == 69
    assert (
        "Nothing is concluded about the copy. Passes do not verify; when the NAS is well: exlab-orch " in ended.stderr
    )


def test_a_quiet_round_says_nothing_unless_something_is_wrong(cleared: Lab) -> None:
    ended = said(cleared, "verify", "--all", "--quiet")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    flip_a_bit(cleared.published() / "a.fcs")
    ended = said(cleared, "verify", "--all", "--quiet")
    assert (ended.returncode, "changed\ta.fcs" in ended.stdout, "nas_copy" in ended.stderr) == (3, True, False)
    assert "1 with other content; first a.fcs." in ended.stderr


def test_a_damaged_cleared_run_shows_in_list_and_show_and_is_not_safe(cleared: Lab) -> None:
    flip_a_bit(cleared.published() / "a.fcs")
    said(cleared, "verify", RUN)
    (row,) = json.loads(said(cleared, "list", "--json").stdout)["runs"]
    assert (row["run"], row["current_state"], row["problem"]["code"]) == (RUN, "cleared", "nas_copy_damaged")
    assert row["actions"][0] == f"exlab-orch verify {RUN}"
    shown = json.loads(said(cleared, "show", RUN, "--json").stdout)
    assert (shown["safe_on_nas"]["yes"], shown["may_be_deleted"]["yes"]) == (False, False)
    assert shown["verified"]["ok"] is False
    assert said(cleared, "list", "--cleared").stdout.rstrip().endswith("\tdamaged")
    (cleared.published() / "a.fcs").write_bytes(b"aaa")
    assert said(cleared, "verify", RUN).returncode == 0
    assert json.loads(said(cleared, "list", "--json").stdout)["runs"] == []
    shown = json.loads(said(cleared, "show", RUN, "--json").stdout)
    assert (shown["safe_on_nas"]["yes"], shown["verified"]["ok"]) == (True, True)


def test_a_dry_run_says_what_would_be_read_and_writes_nothing(cleared: Lab) -> None:
    before = (cleared.state / "journal.sqlite3").stat().st_mtime_ns
    ended = said(cleared, "verify", "--all", "-n")
    assert ended.returncode == 0
    assert ended.stdout.split("\t")[:2] == [RUN, "cleared"]
    would = json.loads(said(cleared, "verify", "--all", "-n", "--json").stdout)["would_verify"]
    assert [one["run"] for one in would] == [RUN]
    assert (cleared.state / "journal.sqlite3").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ([], 2),
        ([RUN, "--all"], 2),
        ([RUN, "--since", "3d"], 2),
        ([RUN, "--equipment", "FLOW_01"], 2),
        (["--all", "--since", "soon"], 2),
        (["Run_unknown"], 4),
        (["--all", "--since", "30d"], 0),
        (["--all", "--equipment", "NOBODY"], 2),
        (["--all", "--equipment", "SCANNER_01"], 0),
        (["--all", "--state", "sync_verified"], 0),
    ],
)
def test_what_is_asked_for_decides_the_exit_status(cleared: Lab, words: list[str], status: int) -> None:
    assert said(cleared, "verify", *words).returncode == status


def test_an_empty_archive_is_explained(lab: Lab) -> None:
    ended = said(lab, "verify", "--all")
    assert (ended.returncode, ended.stdout) == (0, "")
    assert "No run is on the NAS yet" in ended.stderr


@pytest.mark.parametrize(
    "words", [["--equipment", "SCANNER_01"], ["--state", "sync_verified"], ["--state", "sync_verified", "-n"]]
)
def test_filters_that_leave_nothing_are_not_called_an_empty_archive(cleared: Lab, words: list[str]) -> None:
    ended = said(cleared, "verify", "--all", *words)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert "No run on the NAS matches." in ended.stderr
    assert "No run is on the NAS yet" not in ended.stderr
    ended = said(cleared, "verify", "--all", "--since", "30d", *words)
    assert "Every run on the NAS that matches was read in full within 30 d" in ended.stderr


def test_a_terminal_of_80_columns_shows_the_run_and_what_to_do(cleared: Lab) -> None:
    with terminal(cleared, "verify", RUN) as shown:
        assert shown.end() == 0
        assert f"{RUN}\n  as proved: 3 files, 7 B\n1 run verified: 1 as proved.\n" in shown.screen
    flip_a_bit(cleared.published() / "a.fcs")
    with terminal(cleared, "verify", RUN) as shown:
        assert shown.end() == 3
        assert "  DAMAGED: Of 3 proved files on the NAS: 1 with other content; first a.fcs." in shown.screen
        assert "    changed    a.fcs" in shown.screen
        assert "What to do: " in shown.screen
        assert str(cleared.published()) in shown.screen.replace("\n", "").replace("  ", "")  # where to put it back
    with terminal(cleared, "verify", RUN, "-n") as shown:
        assert shown.end() == 0
        assert re.search(rf"{RUN}\n  last read \d{{4}}-\d\d-\d\d \d\d:\d\d UTC\n1 run would be verified", shown.screen)


def test_the_crontab_file_for_a_week_is_a_line_that_the_command_understands(cleared: Lab) -> None:
    text = (Path(__file__).parents[1] / "contrib/cron/exlab-orch-verify").read_text()
    line = text.splitlines()[-1]
    assert text.endswith("\n")
    assert line in (Path(__file__).parents[1] / "docs/verify.md").read_text()
    fields = line.split()
    assert (fields[:5], fields[5:8]) == (["0", "1", "*", "*", "6"], ["exlab-orch", "exlab-orch", "verify"])
    ended = said(cleared, *fields[7:])
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_damage_that_was_mended_is_not_shown_any_more(staged: Lab) -> None:
    flip_a_bit(staged.published() / "a.fcs")
    assert not look(staged).ok
    with staged.station() as station:
        make_due(station, staged.run(), by="ada", new_version=True)
    assert staged.poll().exit_status == 0
    with staged.station() as station:
        assert run_detail(station, staged.run(), now=station.now()).verified is None
    clear_it(staged)
    with staged.station() as station:
        assert run_detail(station, staged.run(), now=station.now()).verified is None
        assert cleared_looks(station, station.ledger.lines()) == {}


def test_known_damage_is_due_however_lately_it_was_found(cleared: Lab) -> None:
    flip_a_bit(cleared.published() / "a.fcs")
    assert not look(cleared).ok
    assert names(cleared, timedelta(days=90)) == [RUN]
    ended = cleared.cli("verify", "--all", "--since", "90d", "--quiet")
    assert ended.returncode == 3
    assert "damaged" in ended.stdout


def test_a_look_without_evidence_ends_no_damage_and_no_copy_of_a_part_does(cleared: Lab) -> None:
    flip_a_bit(cleared.published() / "a.fcs")
    assert not look(cleared).ok
    (cleared.published() / LIST).unlink()
    assert not look(cleared).vouched
    cleared.push(files={"new.fcs": b"more"})
    cleared.poll()
    assert cleared.states()[-1] == "sync_verified"
    assert open_codes(cleared) == ["nas_copy_damaged"], "a list of what was pushed says nothing about a.fcs"
    assert said(cleared, "verify", "--all").returncode == 0
    assert open_codes(cleared) == ["nas_copy_damaged"], "nobody named the run"
    assert said(cleared, "verify", RUN).returncode == 0
    assert open_codes(cleared) == []


def test_damage_of_files_that_the_list_does_not_name_is_ended_by_who_names_the_run(cleared: Lab) -> None:
    flip_a_bit(cleared.published() / "a.fcs")
    look(cleared)
    (cleared.published() / LIST).unlink()
    cleared.push(files={"new.fcs": b"more"})
    cleared.poll()
    assert damaged_names(cleared, RUN) == {b"a.fcs"}
    assert everything(cleared).exit_status == 0
    assert open_codes(cleared) == ["nas_copy_damaged"]
    flip_a_bit(cleared.published() / "new.fcs")
    assert everything(cleared).exit_status == 3
    assert damaged_names(cleared, RUN) == {b"a.fcs", b"new.fcs"}
    flip_a_bit(cleared.published() / "new.fcs")
    assert everything(cleared).exit_status == 0
    assert damaged_names(cleared, RUN) == {b"a.fcs", b"new.fcs"}
    assert look(cleared).ok
    assert open_codes(cleared) == []


def test_damage_of_files_that_the_list_names_is_ended_by_a_round_through_the_archive(cleared: Lab) -> None:
    flip_a_bit(cleared.published() / "a.fcs")
    (cleared.published() / LIST).rename(cleared.nas / "aside")
    look(cleared)
    assert open_codes(cleared) == ["nas_copy_damaged"]
    (cleared.nas / "aside").rename(cleared.published() / LIST)
    flip_a_bit(cleared.published() / "a.fcs")
    assert everything(cleared).exit_status == 0
    assert open_codes(cleared) == []


def test_a_stopped_look_that_saw_only_the_list_missing_does_not_say_that_the_files_are_as_proved(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.sync = "workers = 1"
    lab.configure()
    lab.push(files={f"{number:03}.fcs": b"x" for number in range(200)})
    lab.poll()
    (lab.published() / LIST).unlink()
    with monkeypatch.context() as patch:
        stop_after_the_first_batch(patch)
        with pytest.raises(Stopped):
            look(lab)
    with lab.station(changing=False) as station:
        (problem,) = station.journal.problems_in(RUN, PHASE)
    assert "as proved" not in problem.message
    assert "stopped before everything was read" in problem.message


@pytest.mark.parametrize("where", ["walk_run", "_beside"])
def test_damage_is_remembered_when_somebody_stops_right_after_the_last_file(
    staged: Lab, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def stop(*_arguments: object) -> NoReturn:
        monkeypatch.undo()
        raise Stopped(signal.SIGINT)

    flip_a_bit(staged.published() / "a.fcs")
    monkeypatch.setattr(f"exlab_orch.verification.{where}", stop)
    with pytest.raises(Stopped):
        look(staged)
    assert open_codes(staged) == ["nas_copy_damaged"]
    assert damaged_names(staged, RUN) == {b"a.fcs"}


def test_damage_is_told_where_the_state_directory_has_no_room_to_remember_it(
    staged: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> NoReturn:
        raise StateUnavailable("database or disk is full")

    flip_a_bit(staged.published() / "a.fcs")
    told: list[Verification] = []
    withdrawn: list[str] = []
    monkeypatch.setattr("exlab_orch.verification.doubt", full)
    monkeypatch.setattr(Station, "withdraw_receipt", lambda _station, run, _why, **_: withdrawn.append(run.run_path))
    with staged.station() as station, pytest.raises(StateUnavailable):
        verify(station, staged.run(), cut_short=told.append)
    assert [one.changed for one in told] == [(b"a.fcs",)]
    assert withdrawn == [RUN]
