"""Our own files in a run: the log, the checksum list, and what only bears their names."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exlab_orch.errors import NasFault, RunProblem
from exlab_orch.evaluate import look_at, walk_run
from exlab_orch.journal import JournalRun
from exlab_orch.model import StagedRun, log_name
from exlab_orch.ownfiles import (
    log_event,
    noted_lists,
    proved_hashes,
    read_list,
    read_log,
    set_aside,
    set_aside_strangers,
    set_record_aside,
    write_checksums,
)
from exlab_orch.records import Records
from exlab_orch.state import temporary_names
from exlab_orch.station import Station
from tests.files.tricks import fails_with
from tests.lab import RUN, Lab

LOG = log_name(socket.gethostname())
LIST = "checksums.sha256"


@pytest.fixture
def station(lab: Lab) -> Iterator[Station]:
    """A station with a run that has a record, a log and a checksum list of ours."""
    lab.push()
    with lab.station() as station:
        look_at(station, lab.run())
        write_checksums(station, lab.run(), b"our list")
        yield station


@pytest.fixture
def proved(lab: Lab) -> Iterator[Station]:
    """A station with one run that is on the NAS, checked."""
    lab.push()
    lab.poll()
    with lab.station() as station:
        yield station


def ours(lab: Lab, name: str = "", run_path: str = RUN) -> Path:
    return lab.staged(run_path) / ".exlab-wizard" / name


def names(lab: Lab) -> set[str]:
    return set(os.listdir(ours(lab)))


USUAL = {"ingest.json", LIST, LOG}


# -- the log -------------------------------------------------------------------------------------------------


def test_an_event_is_one_line_that_says_when_where_and_which_run(lab: Lab, station: Station) -> None:
    before = read_log(lab.run(), station.log_host)
    log_event(station, lab.run(), "WARNING", "something happened")
    after = read_log(lab.run(), station.log_host)
    assert before is not None
    assert after is not None
    line = after[len(before) :].decode()
    assert line.endswith("[run:Run_2026-04-17T14-32] something happened\n")
    assert f"[WARNING] [host:{station.log_host}] [equip:FLOW_01] [proj:PROJ-1] [kind:experimental]" in line


def test_a_hostile_event_is_still_one_printable_line(lab: Lab, station: Station) -> None:
    run_path = "FLOW_01/new\nline \x1b[31m\u202e/Runs/Run_[bold]\u2028"
    lab.push(run_path, done=False)
    log_event(station, lab.run(run_path), "INFO", "first\nsecond \x1b]0;title\x07 \udcff")
    content = read_log(lab.run(run_path), station.log_host)
    assert content is not None
    assert content.count(b"\n") == 1
    assert content.decode().rstrip("\n").isprintable()


def test_a_run_without_a_log_has_none(lab: Lab, station: Station) -> None:
    lab.push("FLOW_01/P/Runs/Run_new")
    assert read_log(lab.run("FLOW_01/P/Runs/Run_new"), station.log_host) is None


# -- strangers under our names -------------------------------------------------------------------------------


def settle(lab: Lab, station: Station, *, new_life: bool = False) -> None:
    set_aside_strangers(station, lab.run(), None if new_life else lab.record())


def test_what_we_wrote_stays_where_it_is(lab: Lab, station: Station) -> None:
    log_event(station, lab.run(), "INFO", "more")
    settle(lab, station)
    assert names(lab) == USUAL


def test_a_line_that_was_written_but_not_noted_is_still_ours(lab: Lab, station: Station) -> None:
    with ours(lab, LOG).open("ab") as file:
        file.write(b"a line, and then the power went\n")
    settle(lab, station)
    assert names(lab) == USUAL


@pytest.mark.parametrize("name", [LOG, LIST])
@pytest.mark.parametrize("content", [b"", b"pushed by the equipment", b"x" * 100_000])
def test_a_pushed_file_with_one_of_our_names_becomes_data(
    lab: Lab, station: Station, name: str, content: bytes
) -> None:
    ours(lab, name).write_bytes(content)
    settle(lab, station)
    assert names(lab) == USUAL - {name} | {f"pushed-1-{name}"}
    assert ours(lab, f"pushed-1-{name}").read_bytes() == content
    assert f".exlab-wizard/pushed-1-{name}".encode() in walk_run(station, lab.run()).files


@pytest.mark.parametrize("name", [LOG, LIST])
@pytest.mark.parametrize("kind", ["folder", "link", "fifo", "socket"])
def test_something_odd_with_one_of_our_names_is_set_aside_and_hangs_nobody(
    lab: Lab, station: Station, name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ours(lab, name)
    path.unlink()
    monkeypatch.chdir(path.parent)  # paths of sockets are short
    make: dict[str, Callable[[], object]] = {
        "folder": path.mkdir,
        "link": lambda: path.symlink_to("/etc/hostname"),
        "fifo": lambda: os.mkfifo(path),
        "socket": lambda: _socket(path.name),
    }
    make[kind]()
    settle(lab, station)
    assert names(lab) == USUAL - {name} | {f"pushed-1-{name}"}


def _socket(name: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)


def test_in_a_new_life_nothing_of_the_old_one_is_ours(lab: Lab, station: Station) -> None:
    settle(lab, station, new_life=True)
    assert names(lab) == {"ingest.json", f"pushed-1-{LIST}", f"pushed-1-{LOG}"}


def test_the_log_of_another_computer_is_data(lab: Lab, station: Station) -> None:
    ours(lab, "wizard.scope-pc.log").write_bytes(b"theirs")
    settle(lab, station)
    assert names(lab) == USUAL | {"wizard.scope-pc.log"}
    assert b".exlab-wizard/wizard.scope-pc.log" in walk_run(station, lab.run()).files


def test_what_is_set_aside_never_replaces_what_was_set_aside_before(lab: Lab, station: Station) -> None:
    for content in (b"first", b"second"):
        ours(lab, LIST).write_bytes(content)
        settle(lab, station)
    set_record_aside(lab.run())
    assert names(lab) == {LOG, f"pushed-1-{LIST}", f"pushed-2-{LIST}", "pushed-1-ingest.json"}
    assert ours(lab, f"pushed-1-{LIST}").read_bytes() == b"first"


def test_a_file_that_is_gone_when_it_is_set_aside_is_a_problem(lab: Lab, station: Station) -> None:
    with pytest.raises(RunProblem):
        set_aside(lab.run(), "missing")


def test_temporary_files_of_a_killed_pass_are_removed_and_those_of_others_are_not(lab: Lab, station: Station) -> None:
    for name in temporary_names(station.state, station.log_host, RUN):
        (lab.staged() / os.fsdecode(name)).write_bytes(b"half")
    ours(lab, ".ingest.json.0123456789abcdef0123").write_bytes(b"somebody else's")
    settle(lab, station)
    assert names(lab) == USUAL | {".ingest.json.0123456789abcdef0123"}


# -- the checksum list ---------------------------------------------------------------------------------------


def hashes_of_the_run() -> dict[bytes, str]:
    files = {b"a.fcs": b"aaa", b"sub/b.fcs": b"bbbb", b"run_complete": b""}
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


@pytest.mark.parametrize("lost", [(), ("staging",), ("staging", "journal")])
def test_what_was_proved_is_known_from_staging_the_journal_or_the_nas(
    lab: Lab, proved: Station, lost: tuple[str, ...]
) -> None:
    if "staging" in lost:
        ours(lab, LIST).write_bytes(b"0" * 64 + b"  a.fcs\n")
    if "journal" in lost:
        proved.journal.forget_files(RUN)
    assert proved_hashes(proved, lab.run(), lab.record()) == hashes_of_the_run()


def test_a_list_that_the_record_does_not_seal_proves_nothing(lab: Lab, proved: Station) -> None:
    for path in (ours(lab, LIST), lab.published() / ".exlab-wizard" / LIST):
        path.write_bytes(path.read_bytes() + b"0" * 64 + b"  new\n")
    proved.journal.forget_files(RUN)
    assert proved_hashes(proved, lab.run(), lab.record()) is None


def test_a_record_that_seals_no_list_proves_nothing(lab: Lab, proved: Station) -> None:
    unproved = lab.record().model_copy(update={"history": lab.record().history[:3]})
    assert proved_hashes(proved, lab.run(), unproved) is None


def test_a_nas_that_is_not_there_is_not_a_list_that_is_not_there(lab: Lab, proved: Station) -> None:
    ours(lab, LIST).unlink()
    proved.journal.forget_files(RUN)
    (lab.nas / ".exlab-nas").unlink()
    with pytest.raises(NasFault):
        proved_hashes(proved, lab.run(), lab.record())


def test_a_list_is_noted_before_it_is_written_so_that_a_crash_makes_no_stranger_of_it(
    lab: Lab, station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = read_list(lab.run()), b"0" * 64 + b"  new\n"
    assert before is not None
    written: list[bytes] = []

    def write_and_die(records: Records, run: StagedRun, name: str, content: bytes) -> None:
        written.append(content)
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(Records, "write_own", write_and_die)
        with pytest.raises(KeyboardInterrupt):
            write_checksums(station, lab.run(), after)
    known = {hashlib.sha256(content).hexdigest() for content in (before, after)}
    assert noted_lists(station, RUN) == known
    for content in (before, after):
        ours(lab, LIST).write_bytes(content)
        settle(lab, station)
        assert names(lab) == USUAL


def test_without_a_journal_no_list_is_noted(lab: Lab, station: Station) -> None:
    station.journal.save(JournalRun(RUN, "1:2"))
    assert noted_lists(station, RUN) == set()
    assert noted_lists(station, "unknown") == set()


def test_a_list_that_cannot_be_written_is_a_problem_of_the_run(
    lab: Lab, station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_list(lab.run())
    monkeypatch.setattr(os, "rename", fails_with(28))
    with pytest.raises(RunProblem):
        write_checksums(station, lab.run(), b"new")
    assert read_list(lab.run()) == before
