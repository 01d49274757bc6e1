"""The journal: what is remembered comes back as it was; damage costs a new beginning and nothing else."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exlab_orch.errors import ExlabError, JournalDamaged, StateUnavailable
from exlab_orch.journal import Announcement, FileRow, Journal, JournalRun, memory_journal, open_journal
from exlab_orch.model import Identity, Problem
from tests.files.tricks import ODD_NAMES
from tests.lab import Lab

NOW = datetime(2026, 4, 17, 12, 0, tzinfo=UTC)
RUN = "FLOW_01/PROJ-1/Runs/Run_1"
IDENTITY = Identity(11, 22, 33, 44)


@pytest.fixture
def journal() -> Iterator[Journal]:
    made = memory_journal()
    yield made
    made.close()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "journal.sqlite3")


def problem(code: str, message: str = "It is so.", at: datetime = NOW, subject: str = RUN) -> Problem:
    return Problem(subject, code, message, at, "Do this.")


def told(edges: list[Announcement]) -> list[tuple[str, str]]:
    return [(edge.kind, edge.problem.code) for edge in edges]


# -- runs and files ------------------------------------------------------------------------------------------


def test_everything_about_a_run_comes_back_as_it_was(journal: Journal) -> None:
    runs = [
        JournalRun(RUN, "1:2"),
        JournalRun(
            "A/spaces and\nnewlines/Run_[bold]",
            "18446744073709551615:",
            record="{}",
            own="{}",
            attempts=3,
            retry_at=1.5,
            failed=True,
            waiting="é\u202e",
            idle=b"\x00\xff",
            look_at=2.5,
            clear_at=3.5,
            changed_ns=str(2**70),
            changed_seen=4.5,
            file_count=5,
            byte_total=6 << 40,
        ),
    ]
    for run in runs:
        journal.save(run)
    assert [journal.run(run.run_path) for run in runs] == runs
    assert journal.runs() == {run.run_path: run for run in runs}
    assert journal.run("unknown") is None


@pytest.mark.parametrize(
    "identity",
    [
        Identity(2**63, 0, 0, 0),
        Identity(2**64 - 1, 2**63 - 1, -1, -(10**18)),
        Identity(1, 1, 12_000_000_000_000_000_000, 2**64),
    ],
    ids=["inode over 63 bits", "all 64 bits, times before 1970", "times after 2262"],
)
def test_a_file_comes_back_exactly_however_large_its_numbers_are(journal: Journal, identity: Identity) -> None:
    row = FileRow(identity, "ab" * 32, stamp=identity, read_at=1.25, clear_read_at=2.5)
    journal.save_files(RUN, {b"a": row, b"b": FileRow(identity, "cd" * 32)})
    assert journal.files(RUN) == {b"a": row, b"b": FileRow(identity, "cd" * 32)}


def test_where_nothing_is_to_be_forgotten_nobody_waits_for_who_writes(path: str) -> None:
    with open_journal(path, changing=True) as one, open_journal(path, changing=True) as other, other.transaction():
        one.forget_copies(RUN, [])


def test_what_many_small_writes_add_to_the_disk_stays_small(path: str) -> None:
    """On a full disk the clear of a run with many files has no more than the room that is kept for it."""
    row = FileRow(IDENTITY, "ab" * 32, stamp=IDENTITY, read_at=1.25)
    opened = open_journal(path, changing=True)
    for number in range(30):
        opened.save_files(RUN, {b"%d-%d" % (number, one): row for one in range(300)})
    assert os.stat(f"{path}-wal").st_size < 2 << 20
    opened.close()


def test_files_are_kept_by_the_bytes_of_their_names(journal: Journal) -> None:
    rows = {name: FileRow(Identity(number, 0, 0, 0), "ab" * 32) for number, name in enumerate(ODD_NAMES)}
    journal.save_files(RUN, rows)
    assert journal.files(RUN) == rows
    assert journal.files(RUN + "x") == {}


def test_files_are_forgotten_by_name_or_all_of_one_run(journal: Journal) -> None:
    rows = {name: FileRow(IDENTITY, "ab" * 32) for name in (b"a", b"b", b"c")}
    for run in (RUN, "other"):
        journal.save_files(run, rows)
    journal.forget_files(RUN, [b"a", b"unknown"])
    assert journal.files(RUN).keys() == {b"b", b"c"}
    journal.forget_files(RUN)
    assert journal.files(RUN) == {}
    assert journal.files("other") == rows


def test_only_the_reads_for_a_clear_are_forgotten_when_it_ends(journal: Journal) -> None:
    journal.save_files(RUN, {b"a": FileRow(IDENTITY, "ab" * 32, IDENTITY, read_at=1.0, clear_read_at=2.0)})
    journal.forget_clear_reads(RUN)
    assert journal.files(RUN) == {b"a": FileRow(IDENTITY, "ab" * 32, IDENTITY, read_at=1.0)}


def test_an_idle_mark_is_forgotten_for_one_run_or_for_all(journal: Journal) -> None:
    for run in ("one", "two"):
        journal.save(JournalRun(run, "1:2", idle=b"mark", attempts=2))
    journal.forget_idle("one")
    assert [run.idle for run in journal.runs().values()] == [None, b"mark"]
    journal.forget_idle()
    assert list(journal.runs().values()) == [JournalRun(name, "1:2", attempts=2) for name in ("one", "two")]


def test_a_forgotten_run_leaves_only_its_open_problems_and_the_others_stay(journal: Journal) -> None:
    for run in (RUN, "other"):
        journal.save(JournalRun(run, "1:2"))
        journal.save_files(run, {b"a": FileRow(IDENTITY, "ab" * 32)})
        journal.set_problems(run, "sync", [problem("sync_failed", subject=run)], NOW)
        journal.give_order(run, "due", {})
    journal.forget_run(RUN)
    assert (journal.run(RUN), journal.files(RUN), journal.problems(RUN), journal.order(RUN, "due")) == (
        None,
        {},
        [problem("sync_failed")],  # closed by whoever tells people that they are
        None,
    )
    assert journal.run("other") is not None
    assert journal.problems("other")
    assert journal.order("other", "due") == {}


def test_a_transaction_is_whole_or_nothing_and_nests(journal: Journal) -> None:
    def fail_half_way() -> None:
        with journal.transaction():
            journal.save(JournalRun("one", "1:2"))
            journal.save_files("one", {b"a": FileRow(IDENTITY, "ab" * 32)})
            raise KeyError

    with pytest.raises(KeyError):
        fail_half_way()
    assert journal.runs() == {}
    assert journal.files("one") == {}
    journal.save(JournalRun("two", "1:2"))
    assert list(journal.runs()) == ["two"]


# -- problems ------------------------------------------------------------------------------------------------


def test_a_problem_is_told_when_it_opens_changes_and_closes_and_not_in_between(journal: Journal) -> None:
    steps: list[tuple[list[Problem], list[tuple[str, str]]]] = [
        ([problem("nas_full")], [("opened", "nas_full")]),
        ([problem("nas_full")], []),
        ([problem("nas_full", "Fuller.")], [("changed", "nas_full")]),
        ([problem("nas_full", "Fuller."), problem("held")], [("opened", "held")]),
        ([problem("held")], [("closed", "nas_full")]),
        ([], [("closed", "held")]),
        ([], []),
    ]
    for minute, (found, edges) in enumerate(steps):
        assert told(journal.set_problems(RUN, "sync", found, NOW + timedelta(minutes=minute))) == edges


def test_the_names_of_a_problem_follow_also_where_its_words_stay(journal: Journal) -> None:
    for name in (b"b", b"c"):
        edges = journal.set_problems(RUN, "verify", [replace(problem("nas_copy_damaged"), files=(b"a", name))], NOW)
    assert edges == [], "nobody is told twice"
    assert [one.files for one in journal.problems_in(RUN, "verify")] == [(b"a", b"c")]
    journal.set_problems(RUN, "verify", [problem("nas_copy_damaged")], NOW)
    assert [one.files for one in journal.problems_in(RUN, "verify")] == [(b"a", b"c")], "no names are no other names"


def test_a_problem_began_when_it_was_first_seen(journal: Journal) -> None:
    later = NOW + timedelta(hours=1)
    journal.set_problems(RUN, "sync", [problem("nas_full")], NOW)
    changed = journal.set_problems(RUN, "sync", [problem("nas_full", "Fuller.", later)], later)
    assert changed[0].problem == problem("nas_full", "Fuller.", NOW)
    assert journal.problems(RUN) == [problem("nas_full", "Fuller.", NOW)]


def test_phases_and_subjects_do_not_close_each_others_problems(journal: Journal) -> None:
    journal.set_problems(RUN, "sync", [problem("nas_full")], NOW)
    journal.set_problems(RUN, "clear", [problem("held")], NOW)
    journal.set_problems("other", "sync", [problem("nas_full", subject="other")], NOW)
    assert told(journal.set_problems(RUN, "sync", [], NOW)) == [("closed", "nas_full")]
    assert [one.code for one in journal.problems(RUN)] == ["held"]
    assert journal.problem_subjects("sync") == {"other"}
    assert len(journal.problems()) == 2
    assert told(journal.close_problems(RUN, NOW)) == [("closed", "held")]


def test_a_problem_that_stays_is_told_again_once_a_day(journal: Journal) -> None:
    """A schedule of one minute for three days tells it three times and not 4,320 times."""
    journal.set_problems(RUN, "sync", [problem("nas_full")], NOW)
    reminders = [
        minute for minute in range(0, 3 * 1440 + 1, 10) if journal.due_reminders(NOW + timedelta(minutes=minute))
    ]
    assert reminders == [1440, 2880, 4320]


def test_a_changed_problem_was_told_just_now(journal: Journal) -> None:
    journal.set_problems(RUN, "sync", [problem("nas_full")], NOW)
    journal.set_problems(RUN, "sync", [problem("nas_full", "Fuller.")], NOW + timedelta(hours=20))
    assert journal.due_reminders(NOW + timedelta(hours=25)) == []
    assert told(journal.due_reminders(NOW + timedelta(hours=44))) == [("still_open", "nas_full")]


def test_problems_are_listed_oldest_first(journal: Journal) -> None:
    for hours, code in ((2, "held"), (0, "nas_full"), (1, "locked")):
        at = NOW + timedelta(hours=hours)
        journal.set_problems(RUN, code, [problem(code, at=at)], at)
    assert [one.code for one in journal.problems()] == ["nas_full", "locked", "held"]


# -- orders and notes ----------------------------------------------------------------------------------------


def test_an_order_is_kept_until_it_ends_and_has_its_run_looked_at(journal: Journal) -> None:
    journal.save(JournalRun(RUN, "1:2", idle=b"mark"))
    journal.give_order(RUN, "accept", {"by": "anna", "reason": "é\ud800"})
    assert journal.order(RUN, "accept") == {"by": "anna", "reason": "é\ud800"}
    assert journal.orders("accept") == {RUN: {"by": "anna", "reason": "é\ud800"}}
    assert journal.order(RUN, "due") is None
    assert journal.runs()[RUN].idle is None
    journal.end_order(RUN, "accept")
    assert journal.orders("accept") == {}


def test_the_last_order_and_the_last_note_count(journal: Journal) -> None:
    for value in ("one", "two"):
        journal.give_order("nas:/mnt", "pause", {"by": value})
        journal.set_note("last_pass", value)
    assert journal.order("nas:/mnt", "pause") == {"by": "two"}
    assert journal.note("last_pass") == "two"
    assert journal.note("unknown") is None


# -- on the disk ---------------------------------------------------------------------------------------------


def fill(path: str, runs: int = 300) -> bytes:
    """A closed journal with many runs on many pages; its bytes."""
    journal = open_journal(path, changing=True)
    with journal.transaction():
        for number in range(runs):
            journal.save(JournalRun(f"FLOW_01/P/Runs/Run_{number}", "1:2", record="x" * 400))
    journal.close()
    return Path(path).read_bytes()


def test_what_was_saved_is_there_when_it_is_opened_again(path: str) -> None:
    fill(path, 3)
    for changing in (True, False):
        journal = open_journal(path, changing=changing)
        assert len(journal.runs()) == 3
        assert journal.set_aside is None
        journal.close()


def test_who_only_reads_makes_nothing_and_cannot_write(path: str) -> None:
    journal = open_journal(path, changing=False)
    assert journal.runs() == {}
    journal.close()
    assert os.listdir(os.path.dirname(path)) == []
    fill(path, 1)
    journal = open_journal(path, changing=False)
    with pytest.raises(StateUnavailable, match="readonly"):
        journal.set_note("a", "b")
    journal.close()


def test_a_reader_sees_what_a_pass_that_still_runs_has_saved(path: str) -> None:
    writing = open_journal(path, changing=True)
    writing.save(JournalRun(RUN, "1:2"))
    reading = open_journal(path, changing=False)
    assert list(reading.runs()) == [RUN]
    writing.save(JournalRun("other", "1:2"))
    assert len(reading.runs()) == 2
    reading.close()
    writing.close()


def test_a_journal_of_zero_bytes_is_a_new_one(path: str) -> None:
    Path(path).touch()
    journal = open_journal(path, changing=True)
    journal.save(JournalRun(RUN, "1:2"))
    assert list(journal.runs()) == [RUN]
    journal.close()


def test_a_journal_that_was_emptied_after_damage_showed_does_not_stop_every_pass(path: str) -> None:
    fill(path)
    Path(path).write_bytes(b"")
    Path(f"{path}-suspect").touch()
    journal = open_journal(path, changing=True)
    assert journal.set_aside is not None
    assert journal.runs() == {}
    journal.close()


@pytest.mark.parametrize("damage", ["garbage", "short", "NUL", "half", "one page", "first page", "another version"])
def test_what_is_no_journal_is_moved_aside_and_kept(path: str, damage: str) -> None:
    whole = fill(path)
    damaged = {
        "garbage": b"this is no database\n" * 1000,
        "short": b"xx",
        "NUL": bytes(len(whole)),
        "half": whole[: len(whole) // 2],
        "one page": whole[:4096],
        "first page": whole[:200] + bytes(3896) + whole[4096:],
        "another version": _with_version(path, 7),
    }[damage]
    Path(path).write_bytes(damaged)
    reading = open_journal(path, changing=False)
    reading.close()
    journal = open_journal(path, changing=True)
    assert journal.set_aside is not None
    assert Path(journal.set_aside).read_bytes() == damaged
    assert journal.runs() == {}
    journal.save(JournalRun(RUN, "1:2"))
    journal.close()
    again = open_journal(path, changing=True)
    assert (again.set_aside, list(again.runs())) == (None, [RUN])
    again.close()


def _with_version(path: str, version: int) -> bytes:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    return Path(path).read_bytes()


@pytest.mark.parametrize("page", [2, 9, 20, 40])
def test_damage_that_shows_in_the_middle_is_told_and_the_next_opening_begins_anew(path: str, page: int) -> None:
    whole = bytearray(fill(path))
    whole[page * 4096 : (page + 1) * 4096] = random.Random(1).randbytes(4096)
    Path(path).write_bytes(whole)
    journal = open_journal(path, changing=True)
    with pytest.raises(JournalDamaged) as raised:
        journal.runs()
    assert raised.value.exit_status == 3
    journal.close()
    again = open_journal(path, changing=True)
    assert again.set_aside is not None
    assert again.runs() == {}
    again.close()


def test_two_processes_that_make_the_journal_at_once_both_have_it(path: str) -> None:
    begin, failures = threading.Barrier(4), []

    def work(number: int) -> None:
        begin.wait()
        try:
            journal = open_journal(path, changing=True)
            journal.save(JournalRun(f"run {number}", "1:2"))
            journal.close()
        except (sqlite3.Error, ExlabError) as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    journal = open_journal(path, changing=False)
    assert len(journal.runs()) == 4
    journal.close()


@pytest.mark.parametrize("loss", ["deleted", "garbage", "zero bytes"])
def test_a_lost_journal_costs_a_second_hashing_and_nothing_else(lab: Lab, loss: str) -> None:
    lab.push()
    lab.poll()
    before = lab.record()
    path = lab.state / "journal.sqlite3"
    for tail in ("-wal", "-shm"):
        (lab.state / f"journal.sqlite3{tail}").unlink(missing_ok=True)
    if loss == "deleted":
        path.unlink()
    else:
        path.write_bytes(b"garbage, garbage, garbage" * 100 if loss == "garbage" else b"")
    report = lab.poll()
    assert report.exit_status == 0
    assert lab.record() == before
    with lab.station() as station:
        assert {row.sha256 for row in station.journal.files(lab.run().run_path).values()}
