"""What a report tells: gathered from a lab without changing it, and figures that are counted right."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from exlab_orch.clock import as_local, from_epoch_ns, utc_now
from exlab_orch.model import IngestState
from exlab_orch.orders import accept, hold
from exlab_orch.report import (
    Amount,
    Life,
    Report,
    Step,
    cleared_lives,
    gather,
    newest_first,
    quantile,
    start_of_period,
    throughput,
    total,
    waits,
)
from tests import reports
from tests.cli import rows as given
from tests.cli.rows import NOW
from tests.lab import RUN, Lab, tree
from tests.reports import cleared, report
from tests.test_ledger import FULL, LINE

SECOND = "FLOW_01/PROJ-1/Runs/Run_2026-04-18T09-00"
MONTH = timedelta(days=30)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Days are those of the calendar on the wall; here it hangs in Greenwich without summer time."""
    monkeypatch.setattr("exlab_orch.report.as_local", lambda moment: moment.replace(tzinfo=moment.tzinfo or UTC))


def gathered(lab: Lab, *, back: timedelta = MONTH) -> Report:
    now = lab.now or utc_now()
    with lab.station(changing=False) as station:
        return gather(station, now=now, since=now - back)


def clear(lab: Lab) -> None:
    done = lab.cli("clear", "--yes", RUN)
    assert done.returncode == 0, done.stderr


# -- gathering -----------------------------------------------------------------------------------------------


def test_a_lab_in_which_nothing_happened_has_an_empty_report(lab: Lab) -> None:
    found = gathered(lab)
    assert (found.rows, found.lives, found.problems, found.earlier) == ((), (), (), 0)
    assert found.pass_is_overdue
    assert [disk.name for disk in found.disks] == ["Staging", str(lab.nas)]


def test_a_proved_run_has_its_steps_and_the_time_of_its_last_write(lab: Lab) -> None:
    folder = lab.push()
    newest = max(path.stat().st_ctime_ns for path in folder.rglob("*") if path.is_file())
    lab.poll()
    (life,) = gathered(lab).lives
    states = [step.state.value for step in life.steps]
    assert states == ["staging", "complete", "sync_queued", "sync_verified"]
    assert life.last_write_at == from_epoch_ns(newest)
    assert life.seconds_to_proof is not None
    assert 0 <= life.seconds_to_proof < 60
    assert (life.file_count, life.byte_total, life.cleared_at) == (3, 7, None)


def test_a_cleared_run_is_told_from_the_ledger(lab: Lab) -> None:
    lab.push()
    lab.poll()
    clear(lab)
    found = gathered(lab)
    (life,) = found.lives
    assert (life.run, life.row, life.byte_total) == (RUN, None, 7)
    assert [step.state.value for step in life.steps][-2:] == ["sync_verified", "cleared"]
    assert life.cleared_at is not None
    assert life.seconds_to_proof is not None
    assert life.nas_path == str(lab.published())


def test_a_run_that_no_pass_has_seen_is_there_too(lab: Lab) -> None:
    lab.push()
    (life,) = gathered(lab).lives
    assert (life.run, life.steps, life.proved_at) == (RUN, (), None)


def test_a_cleared_run_whose_copy_is_damaged_is_told_once(lab: Lab) -> None:
    lab.push()
    lab.poll()
    clear(lab)
    (lab.published() / "a.fcs").write_bytes(b"xxx")
    assert lab.cli("verify", RUN).returncode == 3
    found = gathered(lab)
    assert [(life.run, life.row) for life in found.lives] == [(RUN, None)]
    assert [life.damage.code for life in found.lives if life.damage] == ["nas_copy_damaged"]
    assert [row.problem.code for row in found.rows if row.problem] == ["nas_copy_damaged"]
    assert found.staged == ()
    assert found.problems == ()


def test_without_its_journal_a_run_is_told_from_its_record(lab: Lab) -> None:
    lab.push()
    lab.poll()
    for path in lab.state.glob("journal*"):
        path.unlink()
    (life,) = gathered(lab).lives
    assert life.proved_at is not None
    assert life.last_write_at is None, "nobody remembers it"


def test_a_run_whose_record_cannot_be_read_is_told_with_its_problem(lab: Lab) -> None:
    folder = lab.push()
    (folder / ".exlab-wizard").mkdir()
    (folder / ".exlab-wizard/ingest.json").write_text("{")
    found = gathered(lab)
    assert [life.steps for life in found.lives] == [()]
    assert [row.problem.code for row in found.rows if row.problem] == ["record_unreadable"]


def test_what_is_not_a_run_has_no_life(lab: Lab) -> None:
    (lab.staging / "notes.txt").write_text("hello")
    found = gathered(lab)
    assert [row.run for row in found.rows] == ["notes.txt"]
    assert found.lives == ()


def test_a_hold_and_an_accept_change_nothing_in_what_is_counted(lab: Lab) -> None:
    lab.push(done=False)
    with lab.station() as station:
        hold(station, lab.run(), reason="look at it", by="ada")
        accept(station, lab.run(), reason="enough", by="ada")
    lab.poll()
    (life,) = gathered(lab).lives
    assert life.proved_at is not None
    assert life.row is not None
    assert life.row.held


def test_gathering_writes_nothing_and_asks_no_nas(lab: Lab) -> None:
    lab.push()
    lab.poll()
    lab.push(SECOND)
    shutil.move(lab.nas, lab.root / "gone")
    before = tree(lab.staging), kept(lab)
    found = gathered(lab)
    assert {life.run for life in found.lives} == {RUN, SECOND}
    assert (tree(lab.staging), kept(lab)) == before


def kept(lab: Lab) -> dict[str, bytes | None]:
    """The state directory without what SQLite keeps beside a journal while somebody reads it."""
    return {name: content for name, content in tree(lab.state).items() if not name.endswith(("-wal", "-shm"))}


def test_the_space_of_the_nas_is_what_a_pass_remembered(lab: Lab) -> None:
    lab.push()
    lab.poll()
    staging, nas = gathered(lab).disks
    assert staging.space is not None
    assert staging.space.total_bytes > 0
    assert nas.space is not None
    assert nas.at is not None


def test_a_problem_of_the_nas_is_told_once_and_that_of_a_run_with_its_row(lab: Lab) -> None:
    lab.push()
    lab.push(SECOND)
    lab.poll(only=frozenset({"evaluate"}))
    shutil.move(lab.nas, lab.root / "gone")
    lab.poll()
    found = gathered(lab)
    assert [problem.code for problem in found.problems] == ["nas_not_mounted"]
    assert [row.problem.subject for row in found.rows if row.problem] == [f"nas:{lab.nas}"] * 2


def test_a_disabled_orchestrator_is_told(lab: Lab) -> None:
    lab.push()
    lab.poll()
    lab.orchestrator = "enabled = false"
    lab.configure()
    found = gathered(lab)
    assert (found.enabled, found.rows, found.pass_is_overdue) == (False, (), False)


# -- what is in the period -----------------------------------------------------------------------------------


def test_runs_that_were_cleared_before_the_period_are_only_counted(lab: Lab) -> None:
    lab.state.mkdir(exist_ok=True)
    early = json.dumps({**vars_of(LINE), "cleared_at": "2020-01-01T00:00:00.000Z"})
    late = json.dumps({**vars_of(LINE), "cleared_at": utc_now().isoformat()})
    other = json.dumps({**json.loads(early), "run_path": f"{LINE.run_path}b"})
    (lab.state / "ledger.jsonl").write_text(f"{early}\n{other}\n{late}\n")
    found = gathered(lab)
    assert (len(found.lives), found.earlier) == (1, 2)


def vars_of(line: object) -> dict[str, object]:
    return {name: getattr(line, name) for name in ("run_path", "files_cleared", "bytes_freed", "nas_path", "host")} | {
        "checksum_sha256": ""
    }


def test_a_line_of_an_earlier_version_counts_for_the_day_of_its_delete() -> None:
    (old,) = cleared_lives([LINE], datetime(2026, 4, 1, tzinfo=UTC))
    assert old.proved_at is None
    assert old.counted_at == old.cleared_at
    assert old.seconds_to_proof is None


def test_steps_that_nobody_knows_are_left_out() -> None:
    strange = replace(FULL, history=(replace(FULL.history[0], state="melted"), replace(FULL.history[1], at="soon")))
    (life,) = cleared_lives([strange], datetime(2026, 4, 1, tzinfo=UTC))
    assert life.steps == ()


def test_a_run_that_went_back_to_the_queue_is_not_proved_now() -> None:
    proved = cleared(RUN)
    back = replace(proved, cleared_at=None, steps=(*proved.steps[:-1], Step(IngestState.SYNC_QUEUED, NOW, "new_files")))
    assert proved.proved_at == proved.steps[-2].at
    assert back.proved_at is None
    assert back.counted_at is None


def test_a_write_after_the_proof_is_no_time_to_the_proof() -> None:
    life = cleared(RUN)
    assert life.seconds_to_proof == 801
    assert replace(life, last_write_at=NOW).seconds_to_proof is None


def test_the_newest_comes_first_and_what_has_no_time_before_it() -> None:
    new, old, unseen = cleared(RUN, days_ago=1), cleared(RUN, days_ago=9), Life(SECOND, 0, 0)
    assert newest_first([old, unseen, new]) == (unseen, new, old)


# -- when somebody should look -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "overdue"),
    [
        ({"last_pass_at": NOW - timedelta(minutes=2)}, False),
        ({"last_pass_at": NOW - timedelta(minutes=11)}, True),
        ({"last_pass_at": NOW - timedelta(minutes=11), "busy": True}, False),
        ({"last_pass_at": None}, True),
        ({"last_pass_at": None, "enabled": False}, False),
    ],
)
def test_a_pass_is_overdue_after_ten_minutes_unless_one_is_at_work(facts: dict[str, object], overdue: bool) -> None:
    assert report(**facts).pass_is_overdue is overdue


def test_what_is_gone_is_not_counted_as_staged() -> None:
    gone = replace(given.VERIFIED, problem=given.problem("run_disappeared", "It is gone."))
    damaged = replace(given.VERIFIED, current_state=IngestState.CLEARED)
    stray = replace(given.STRAY, run_kind="")
    assert report(rows=(given.VERIFIED, gone, damaged, stray)).staged == (given.VERIFIED,)


# -- figures -------------------------------------------------------------------------------------------------


def test_amounts_are_counted_by_equipment_and_day_the_largest_equipment_first() -> None:
    lives = [
        cleared("A/P/Runs/Run_1", days_ago=1, size=5),
        cleared("A/P/Runs/Run_2", days_ago=1, size=7),
        cleared("B/P/Runs/Run_1", days_ago=3, size=100),
        cleared("B/P/Runs/Run_2", days_ago=99, size=1000),
    ]
    found = throughput(lives, NOW - timedelta(days=6), NOW)
    assert (found.bins, found.days_per_bin, list(found.amounts)) == (7, 1, ["B", "A"])
    by_day = {found.day(n): amount for n, amount in enumerate(found.amounts["A"]) if amount.runs}
    assert by_day == {lives[0].proved_at.date(): Amount(2, 12)} if lives[0].proved_at else False
    assert found.highest == 100
    assert found.day(6) == NOW.date()


@pytest.mark.parametrize(
    ("days", "per_bin", "bins"), [(1, 1, 1), (45, 1, 45), (46, 7, 7), (365, 14, 27), (3650, 84, 44)]
)
def test_a_long_period_has_longer_bins_and_not_more_of_them(days: int, per_bin: int, bins: int) -> None:
    since = NOW - timedelta(days=days - 1, hours=14)
    found = throughput([cleared(RUN, days_ago=0, steps=())], since, NOW)
    assert (found.days_per_bin, found.bins) == (per_bin, bins)
    assert found.day(0) <= since.date()
    assert sum(amount.runs for one in found.amounts.values() for amount in one) == 1


def test_no_run_makes_no_amounts() -> None:
    found = throughput([], NOW - MONTH, NOW)
    assert (found.amounts, found.highest) == ({}, 0)


def test_times_to_the_proof_are_told_by_equipment_with_the_longest_run() -> None:
    lives = [cleared(f"A/P/Runs/Run_{n}", took=60.0 * n) for n in range(1, 11)]
    (found,) = waits([*lives, cleared("B/P/Runs/Run_1", last_write_at=None)], NOW - MONTH)
    assert found.equipment_id == "A"
    assert found.longest_run == "A/P/Runs/Run_10"
    assert (found.median, found.nine_in_ten, found.seconds[-1]) == (501.0, 741.0, 801.0)


@pytest.mark.parametrize(("part", "expected"), [(0.0, 1), (0.5, 2), (0.9, 4), (1.0, 4)])
def test_a_quantile_is_one_of_the_values(part: float, expected: int) -> None:
    assert quantile([1, 2, 3, 4], part) == expected


def test_sizes_are_summed() -> None:
    assert total([1, 2, 3]) == Amount(3, 6)
    assert total([]) == Amount()


def test_a_period_of_days_begins_at_midnight_and_a_shorter_one_does_not() -> None:
    assert start_of_period(NOW, timedelta(days=30)) == as_local(datetime(2026, 3, 19, tzinfo=UTC))
    assert start_of_period(NOW, timedelta(days=1)) == as_local(datetime(2026, 4, 17, tzinfo=UTC))
    assert start_of_period(NOW, timedelta(hours=3)) == NOW - timedelta(hours=3)


def test_a_month_of_a_busy_lab_adds_up() -> None:
    found = reports.busy()
    amounts = throughput(found.lives, found.since, found.generated_at).amounts
    counted = [life for life in found.lives if life.counted_at is not None and life.counted_at >= found.since]
    assert sum(amount.byte_total for one in amounts.values() for amount in one) == sum(
        life.byte_total for life in counted
    )
