"""When a run counts as complete: sentinels, manifests, quiet periods, settling, open writers, failures, accept."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exlab_orch import orders
from exlab_orch.files import hashing
from exlab_orch.model import HistoryEntry, Identity
from exlab_orch.rows import Row, list_rows
from tests.lab import RUN, Lab
from tests.oracle import steps_of

PROVED = ["staging", "complete", "sync_queued", "sync_verified"]
MASSSPEC = "MASSSPEC_01/PROJ-1/Runs/Run_1"
SCANNER = "SCANNER_01/PROJ-1/Runs/Run_1"


def equip(lab: Lab, **keys: object) -> None:
    """Configure FLOW_01 with these keys; what is not given settles at once."""
    given = {"completeness_signal": "sentinel_file", "settle_seconds": 0} | keys
    if given["completeness_signal"] == "sentinel_file":
        given = {"sentinel_filename": "run_complete"} | given
    lines = [f"{name} = {json.dumps(value)}" for name, value in given.items()]
    lab.equipment = "\n".join(['[[equipment]]\nid = "FLOW_01"', *lines, ""])
    lab.configure()


def row(lab: Lab, run: str = RUN) -> Row:
    """What ``list`` shows of the run."""
    with lab.station(changing=False) as station:
        return next(one for one in list_rows(station, now=lab.now or datetime.now(UTC)) if one.run == run)


def waits(lab: Lab, run: str = RUN) -> str:
    return row(lab, run).waiting_for or ""


def problem(lab: Lab, run: str = RUN) -> str | None:
    found = row(lab, run).problem
    return None if found is None else found.code


def changed_at(folder: Path) -> datetime:
    """The newest change of data files and subfolders by the kernel's clock, rounded up."""
    newest = max(path.lstat().st_ctime_ns for path in folder.rglob("*") if ".exlab-wizard" not in path.parts)
    return datetime.fromtimestamp(newest / 1e9, UTC) + timedelta(microseconds=2)


# -- sentinels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sentinels", "files", "complete"),
    [
        ("run_complete", ["run_complete"], True),
        ("run_complete", [], False),
        ("run_complete", ["Run_Complete"], False),
        ("run_complete", ["run_complete.tmp"], False),
        ("run_complete", ["sub/run_complete"], False),
        ("final_summary_*.txt", ["final_summary_FAV1_9f8e.txt"], True),
        ("final_summary_*.txt", ["final_summary_.txt"], True),
        ("final_summary_*.txt", ["final_summary_FAV1.txt.part"], False),
        ("*.transferdone", ["m64011.transferdone"], True),
        ("logs/*.done", ["logs/run.done"], True),
        ("logs/*.done", ["logs/deep/run.done"], False),
        ("*/done", ["logs/done"], True),
        ("*", ["a/b/c"], True),
        (["RTAComplete.txt", "CopyComplete.txt"], ["RTAComplete.txt", "CopyComplete.txt"], True),
        (["RTAComplete.txt", "CopyComplete.txt"], ["CopyComplete.txt"], False),
        (["Copy*.txt", "*.done"], ["CopyComplete.txt", "x.done"], True),
        ("[ab].ok", ["a.ok"], True),
        ("done?", ["done1"], True),
        ("run_complete", [".exlab-wizard/run_complete"], False),
    ],
)
def test_a_sentinel_matches_regular_files_segment_by_segment(
    lab: Lab, sentinels: str | list[str], files: list[str], complete: bool
) -> None:
    equip(lab, sentinel_filename=sentinels)
    lab.push(files=dict.fromkeys(["data.raw", "more data", *files], b"x"), done=False)
    lab.poll()
    assert lab.states() == (PROVED if complete else ["staging"])


def a_folder(path: Path) -> None:
    path.mkdir()


def a_filled_folder(path: Path) -> None:
    path.mkdir()
    (path / "run_complete").write_bytes(b"")


def a_link(path: Path) -> None:
    path.symlink_to("a.fcs")


def a_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("make", [a_folder, a_filled_folder, a_link, a_dangling_link, os.mkfifo])
def test_a_sentinel_that_is_no_regular_file_does_not_count(lab: Lab, make: Callable[[Path], None]) -> None:
    make(lab.push(done=False) / "run_complete")
    assert lab.poll().exit_status == 0
    assert lab.states() == ["staging"]
    assert "waiting for run_complete" in waits(lab)


def test_what_is_waited_for_is_said_in_words_and_is_no_problem(lab: Lab) -> None:
    equip(lab, sentinel_filename=["RTAComplete.txt", "Copy*.txt"])
    lab.push(files={"a": b"a", "RTAComplete.txt": b""}, done=False)
    lab.poll()
    assert waits(lab) == "waiting for Copy*.txt"
    assert problem(lab) is None


@pytest.mark.parametrize(("count", "complete"), [(2, False), (3, True)])
def test_fewer_data_files_than_expected_are_no_complete_run(lab: Lab, count: int, complete: bool) -> None:
    equip(lab, min_files=3)
    lab.push(files={f"{number}.fcs": b"x" for number in range(count)})
    lab.poll()
    assert lab.states() == (PROVED if complete else ["staging"])
    assert complete or "2 of at least 3 data files" in waits(lab)


def test_a_sentinel_alone_is_no_run(lab: Lab) -> None:
    lab.push(files={".exlab-wizard/creation.json": b"{}"})
    lab.poll()
    assert lab.states() == ["staging"]


def test_a_sentinel_that_comes_later_is_noticed(lab: Lab) -> None:
    lab.push(done=False)
    for _ in range(2):
        lab.poll()
    lab.push(files={})
    lab.poll()
    assert lab.states() == PROVED


def test_a_sentinel_deep_in_the_run_that_comes_later_is_noticed(lab: Lab) -> None:
    equip(lab, sentinel_filename="a/b/done")
    lab.push(files={"a/b/data": b"x"}, done=False)
    for _ in range(2):
        lab.poll()
    lab.push(files={"a/b/done": b""}, done=False)
    lab.poll()
    assert lab.states() == PROVED


# -- settling ------------------------------------------------------------------------------------------------


def settling(lab: Lab, seconds_after_the_change: float) -> None:
    """One pass so many seconds after the newest change in the run."""
    lab.now = changed_at(lab.staged()) + timedelta(seconds=seconds_after_the_change)
    lab.poll()


def test_a_marker_that_arrives_before_the_data_is_believed_after_the_settle_time(lab: Lab) -> None:
    equip(lab, settle_seconds=120)
    lab.push()
    settling(lab, 12)
    assert waits(lab).startswith("changed 12 s ago")
    settling(lab, 119.9)
    assert lab.states() == ["staging"]
    settling(lab, 120)
    assert lab.states() == PROVED


def test_settling_is_over_without_any_further_change(lab: Lab) -> None:
    equip(lab, settle_seconds=120)
    lab.push()
    for seconds in (1, 2, 60, 119):
        settling(lab, seconds)
        assert lab.states() == ["staging"]
    settling(lab, 121)
    assert lab.states() == PROVED


@pytest.mark.parametrize("name", ["late.fcs", "sub/late.fcs", "sub/b.fcs"])
def test_a_change_anywhere_begins_the_settle_time_anew(lab: Lab, name: str) -> None:
    equip(lab, settle_seconds=120)
    lab.push()
    settling(lab, 119)
    assert lab.now is not None
    before = lab.now
    lab.push(files={name: b"late"}, done=False)
    os.utime(lab.staged() / name, ns=(1, 1))
    lab.now = before + timedelta(milliseconds=999)
    lab.poll()
    assert lab.states() == ["staging"]
    settling(lab, 120)
    assert lab.states() == PROVED


@pytest.mark.parametrize("mtime", [-(10**15), 0, 4_000_000_000 * 10**9, 9_000_000_000 * 10**9])
def test_the_times_an_instrument_gives_its_files_count_for_nothing(lab: Lab, mtime: int) -> None:
    equip(lab, settle_seconds=120)
    folder = lab.push()
    for path in (folder / "a.fcs", folder / "run_complete", folder / "sub", folder):
        os.utime(path, ns=(mtime, mtime))
    settling(lab, 119)
    assert lab.states() == ["staging"]
    settling(lab, 120)
    assert lab.states() == PROVED
    assert (lab.published() / "a.fcs").stat().st_mtime_ns == (folder / "a.fcs").stat().st_mtime_ns


def test_a_change_in_the_future_counts_from_when_it_was_first_seen(lab: Lab) -> None:
    equip(lab, settle_seconds=120)
    lab.push()
    start = changed_at(lab.staged()) - timedelta(days=365)
    for seconds in (0, 60, 119):
        lab.now = start + timedelta(seconds=seconds)
        lab.poll()
        assert lab.states() == ["staging"]
    lab.now = start + timedelta(seconds=121)
    lab.poll()
    assert lab.states() == PROVED


def test_before_the_copy_settling_is_looked_at_again(lab: Lab) -> None:
    equip(lab, settle_seconds=120)
    lab.push()
    lab.now = changed_at(lab.staged()) + timedelta(seconds=120)
    lab.poll(frozenset({"evaluate"}))
    lab.push(files={"a.fcs": b"rewritten"}, done=False)
    settling(lab, 30)
    assert lab.states() == PROVED[:3]
    assert "changed 30 s ago" in waits(lab)
    assert not lab.published().exists()
    settling(lab, 120)
    assert (lab.published() / "a.fcs").read_bytes() == b"rewritten"


def test_before_the_copy_the_signal_is_looked_at_again(lab: Lab) -> None:
    lab.push()
    lab.poll(frozenset({"evaluate"}))
    (lab.staged() / "run_complete").unlink()
    for _ in range(2):
        lab.poll()
    assert lab.states() == PROVED[:3]
    assert "run_complete" in waits(lab)
    assert not lab.published().exists()
    lab.push(files={})
    lab.poll()
    assert lab.states() == PROVED


# -- a quiet period ------------------------------------------------------------------------------------------


def test_a_quiet_run_is_complete_when_nothing_changed_for_long_enough(lab: Lab) -> None:
    equip(lab, completeness_signal="quiet_period", quiet_minutes=15)
    lab.push(done=False)
    settling(lab, 899)
    assert lab.states() == ["staging"]
    assert waits(lab).startswith("changed 14 min")
    settling(lab, 900)
    assert lab.states() == PROVED


def test_a_quiet_empty_folder_is_no_run(lab: Lab) -> None:
    equip(lab, completeness_signal="quiet_period", quiet_minutes=15)
    lab.push(files={}, done=False)
    lab.now = datetime.now(UTC) + timedelta(hours=2)
    lab.poll()
    assert lab.states() == ["staging"]
    assert waits(lab) == "waiting for data"


def test_a_change_in_a_quiet_run_begins_the_period_anew(lab: Lab) -> None:
    equip(lab, completeness_signal="quiet_period", quiet_minutes=15)
    lab.push(done=False)
    settling(lab, 899)
    lab.push(files={"sub/deeper/late.fcs": b"x"}, done=False)
    settling(lab, 899)
    assert lab.states() == ["staging"]
    settling(lab, 900)
    assert lab.states() == PROVED


# -- manifests -----------------------------------------------------------------------------------------------

DATA = {"a.mzML": b"aaa", "raw/b.raw": b"bbbb", "raw/empty.log": b""}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def as_json(files: Mapping[str, bytes], *, hashes: bool = True) -> bytes:
    def entry(name: str, content: bytes) -> dict[str, object]:
        return {"path": name, "size": len(content)} | ({"sha256": sha256(content)} if hashes else {})

    return json.dumps({"files": [entry(name, content) for name, content in files.items()]}).encode()


def as_text(files: Mapping[str, bytes]) -> bytes:
    return "".join(f"{sha256(content)}  {name}\n" for name, content in files.items()).encode()


FORMS = {"json": as_json, "sizes only": lambda files: as_json(files, hashes=False), "text": as_text}


def push_with(lab: Lab, manifest: bytes, files: Mapping[str, bytes] = DATA) -> Path:
    return lab.push(MASSSPEC, {**files, "manifest.json": manifest}, done=False)


@pytest.mark.parametrize("form", FORMS)
def test_a_manifest_whose_files_are_all_there_completes_a_run(lab: Lab, form: str) -> None:
    push_with(lab, FORMS[form](DATA))
    lab.poll()
    assert lab.states(MASSSPEC) == PROVED


@pytest.mark.parametrize("form", FORMS)
def test_a_manifest_that_is_one_file_short_waits_and_counts(lab: Lab, form: str) -> None:
    push_with(lab, FORMS[form](DATA | {"raw/late.raw": b"late"}))
    for _ in range(2):
        lab.poll()
    assert lab.states(MASSSPEC) == ["staging"]
    assert waits(lab, MASSSPEC).startswith("3 of 4 files have arrived")
    assert "raw/late.raw" in waits(lab, MASSSPEC)
    assert problem(lab, MASSSPEC) is None
    lab.push(MASSSPEC, {"raw/late.raw": b"late"}, done=False)
    lab.poll()
    assert lab.states(MASSSPEC) == PROVED


def test_a_listed_file_that_grows_in_place_is_noticed_when_it_is_whole(lab: Lab) -> None:
    push_with(lab, as_json(DATA), DATA | {"raw/b.raw": b"bb"})
    for _ in range(2):
        lab.poll()
    assert lab.states(MASSSPEC) == ["staging"]
    with (lab.staged(MASSSPEC) / "raw/b.raw").open("ab") as file:
        file.write(b"bb")
    lab.poll()
    assert lab.states(MASSSPEC) == PROVED


def test_a_listed_file_that_is_longer_than_listed_has_not_arrived(lab: Lab) -> None:
    push_with(lab, as_json(DATA, hashes=False), DATA | {"a.mzML": b"aaaa"})
    lab.poll()
    assert lab.states(MASSSPEC) == ["staging"]


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_file_with_another_hash_than_listed_is_a_problem_until_it_is_right(lab: Lab, form: str) -> None:
    push_with(lab, FORMS[form](DATA), DATA | {"raw/b.raw": b"BBBB"})
    for _ in range(2):
        lab.poll()
    assert lab.states(MASSSPEC) == ["staging"]
    assert "raw/b.raw" in waits(lab, MASSSPEC)
    assert problem(lab, MASSSPEC) == "manifest_invalid"
    with (lab.staged(MASSSPEC) / "raw/b.raw").open("r+b") as file:
        file.write(b"bbbb")
    lab.poll()
    assert lab.states(MASSSPEC) == PROVED
    assert problem(lab, MASSSPEC) is None


def test_files_that_are_not_listed_are_copied_like_the_others(lab: Lab) -> None:
    push_with(lab, as_json(DATA), DATA | {"notes.txt": b"not listed"})
    lab.poll()
    assert (lab.published(MASSSPEC) / "notes.txt").read_bytes() == b"not listed"


def test_a_manifest_that_arrives_in_two_halves_is_read_when_it_is_whole(lab: Lab) -> None:
    whole = as_json(DATA)
    push_with(lab, whole[:40])
    for _ in range(2):
        lab.poll()
    assert problem(lab, MASSSPEC) == "manifest_invalid"
    with (lab.staged(MASSSPEC) / "manifest.json").open("ab") as file:
        file.write(whole[40:])
    lab.poll()
    assert lab.states(MASSSPEC) == PROVED
    assert problem(lab, MASSSPEC) is None


def one(**entry: object) -> bytes:
    return json.dumps({"files": [entry]}).encode()


INVALID: dict[str, bytes] = {
    "empty": b"",
    "cut short": b'{"files": [{"path": "a.mzML", "si',
    "a list": b"[]",
    "null": b"null",
    "no files": b"{}",
    "an empty list": b'{"files": []}',
    "files is text": b'{"files": "a.mzML"}',
    "an entry is text": b'{"files": ["a.mzML"]}',
    "absolute": one(path="/etc/passwd", size=1),
    "parent": one(path="../a.mzML", size=3),
    "hidden parent": one(path="raw/../../a.mzML", size=3),
    "backslash parent": one(path="raw\\..\\..\\a.mzML", size=3),
    "NUL": one(path="a.mzML\0", size=3),
    "empty path": one(path="", size=3),
    "path is a number": one(path=7, size=3),
    "no size": one(path="a.mzML"),
    "negative size": one(path="a.mzML", size=-1),
    "size is text": one(path="a.mzML", size="3"),
    "size is true": one(path="a.mzML", size=True),
    "size is a fraction": one(path="a.mzML", size=3.5),
    "size is infinite": b'{"files": [{"path": "a.mzML", "size": Infinity}]}',
    "size of 5,000 digits": b'{"files": [{"path": "a.mzML", "size": ' + b"9" * 5000 + b"}]}",
    "hash is no hash": one(path="a.mzML", size=3, sha256="xyz"),
    "twice": json.dumps({"files": [{"path": "a.mzML", "size": 3}] * 2}).encode(),
    "twice by another way": json.dumps(
        {"files": [{"path": "a.mzML", "size": 3}, {"path": "./a.mzML", "size": 3}]}
    ).encode(),
    "nested absurdly": b'{"files": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "nested objects": b'{"files": [' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"]}",
    "a key twice": b'{"files": [{"path": "a.mzML", "size": 3}], "files": [{"path": "b", "size": 1}]}',
    "not UTF-8": b'{"files": [{"path": "\xff\xfe\xfa", "size": 3}]}',
    "UTF-16 without a mark": '{"files": []}'.encode("utf-16-le"),
    "a text line without a name": b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n",
    "a text line with a short hash": b"e3b0c442  a.mzML\n",
    "text with a parent": b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  ../a.mzML\n",
    "prose": b"see the other folder",
    "NULs": b"\0" * 4096,
    "our record": one(path=".exlab-wizard/ingest.json", size=3),
}


@pytest.mark.parametrize("kind", INVALID)
def test_an_invalid_manifest_is_a_problem_of_its_run_and_of_no_other(lab: Lab, kind: str) -> None:
    push_with(lab, INVALID[kind])
    lab.push()

    shown = lab.poll()

    assert shown.exit_status in (0, 3)
    assert lab.states(MASSSPEC) == ["staging"]
    assert problem(lab, MASSSPEC) == "manifest_invalid"
    assert [announced.kind for announced in shown.announcements] == ["opened"]
    assert "manifest" in waits(lab, MASSSPEC)
    assert lab.states() == PROVED
    assert lab.poll().announcements == ()


@pytest.mark.parametrize("byte_count", [65 << 20, 3 << 30])
def test_a_manifest_of_absurd_size_is_not_even_read(lab: Lab, byte_count: int) -> None:
    os.truncate(push_with(lab, b"{") / "manifest.json", byte_count)
    lab.poll()
    assert lab.states(MASSSPEC) == ["staging"]
    assert problem(lab, MASSSPEC) == "manifest_invalid"


@pytest.mark.parametrize("make", [a_folder, a_link, a_dangling_link, os.mkfifo])
def test_a_manifest_that_is_no_regular_file_has_not_arrived(lab: Lab, make: Callable[[Path], None]) -> None:
    make(lab.push(MASSSPEC, DATA, done=False) / "manifest.json")
    assert lab.poll().exit_status == 0
    assert lab.states(MASSSPEC) == ["staging"]
    assert waits(lab, MASSSPEC) == "waiting for manifest.json"


def test_a_manifest_may_have_another_name_and_lie_deeper(lab: Lab) -> None:
    equip(lab, completeness_signal="manifest", manifest_filename="meta/manifest-sha256.txt")
    lab.push(files=DATA | {"meta/manifest-sha256.txt": as_text(DATA)}, done=False)
    lab.poll()
    assert lab.states() == PROVED


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Names of staged files that were hashed, in order."""
    names: list[bytes] = []
    real = hashing.hash_staged

    def counting(folder: int, name: bytes, on_bytes: hashing.OnBytes) -> tuple[Identity, str]:
        names.append(name)
        return real(folder, name, on_bytes)

    monkeypatch.setattr("exlab_orch.evaluate.hash_staged", counting)
    return names


def test_the_hashes_of_a_manifest_are_checked_once(lab: Lab, hashed: list[bytes]) -> None:
    push_with(lab, as_json(DATA), DATA | {"raw/b.raw": b"BBBB"})
    for _ in range(3):
        lab.poll()
    assert sorted(hashed) == [b"a.mzML", b"raw/b.raw", b"raw/empty.log"]
    hashed.clear()
    (lab.staged(MASSSPEC) / "raw/b.raw").write_bytes(b"bbbb")
    lab.poll()
    assert lab.states(MASSSPEC) == PROVED
    assert hashed == [b"raw/b.raw"]


def test_the_hashes_of_a_manifest_wait_for_the_run_to_settle(lab: Lab, hashed: list[bytes]) -> None:
    equip(lab, completeness_signal="manifest", settle_seconds=120)
    lab.push(files=DATA | {"manifest.json": as_json(DATA)}, done=False)
    settling(lab, 119)
    assert hashed == []
    settling(lab, 120)
    assert lab.states() == PROVED


def test_hashes_are_checked_in_a_slot_and_wait_for_one(lab: Lab) -> None:
    lab.sync = "parallel_runs = 1"
    lab.configure()
    push_with(lab, as_json(DATA))
    with lab.station() as station, station.state.slot(str(lab.nas), 1) as taken:
        assert taken
        lab.poll()
        assert lab.states(MASSSPEC) == ["staging"]
    lab.poll()
    assert lab.states(MASSSPEC) == PROVED


def test_a_single_slot_is_enough_for_a_run_whose_hashes_are_not_known_any_more(lab: Lab) -> None:
    lab.sync = "parallel_runs = 1"
    lab.configure()
    push_with(lab, as_json(DATA))
    lab.poll(frozenset({"evaluate"}))
    os.utime(lab.staged(MASSSPEC) / "raw/b.raw")
    lab.poll()
    assert lab.states(MASSSPEC) == PROVED


# -- open writers --------------------------------------------------------------------------------------------


@contextmanager
def writer(path: Path) -> Iterator[None]:
    """Another process that has the file open for writing while the block runs."""
    code = "import sys; file = open(sys.argv[1], 'r+b'); print('ready', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        try:
            yield
        finally:
            child.kill()


def test_a_file_that_another_process_writes_keeps_the_run_from_being_complete(lab: Lab) -> None:
    lab.push()
    with writer(lab.staged() / "sub/b.fcs"):
        for _ in range(2):
            lab.poll()
        assert lab.states() == ["staging"]
        assert "sub/b.fcs is still open for writing" in waits(lab)
    lab.poll()
    assert lab.states() == PROVED


def test_a_writer_that_comes_before_the_copy_keeps_it_waiting(lab: Lab) -> None:
    lab.push()
    lab.poll(frozenset({"evaluate"}))
    with writer(lab.staged() / "a.fcs"):
        lab.poll()
        assert lab.states() == PROVED[:3]
        assert not lab.published().exists()
    lab.poll()
    assert lab.states() == PROVED


def test_a_file_mapped_for_writing_is_still_written(lab: Lab) -> None:
    lab.push()
    with (lab.staged() / "a.fcs").open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
    with mapped:
        lab.poll()
        assert lab.states() == ["staging"]
    lab.poll()
    assert lab.states() == PROVED


def test_a_reader_disturbs_nobody(lab: Lab) -> None:
    lab.push()
    with (lab.staged() / "a.fcs").open("rb"):
        lab.poll()
    assert lab.states() == PROVED


# -- an acquisition that failed ------------------------------------------------------------------------------


def test_a_failure_marker_counts_as_the_signal_and_flags_the_run(lab: Lab) -> None:
    equip(lab, failed_filename=["ABORTED", "*.failed"])
    lab.push(files={"a.fcs": b"half", "run.failed": b""}, done=False)
    lab.poll()
    assert lab.states() == PROVED
    assert problem(lab) == "acquisition_failed"
    assert [entry.extra("acquisition_failed") for entry in lab.record().history] == [None, True, None, None]
    lab.poll()
    assert problem(lab) == "acquisition_failed"


def test_a_failure_marker_settles_like_any_other(lab: Lab) -> None:
    equip(lab, failed_filename="ABORTED", settle_seconds=120)
    lab.push(files={"a.fcs": b"half", "ABORTED": b""}, done=False)
    settling(lab, 119)
    assert lab.states() == ["staging"]
    settling(lab, 120)
    assert lab.states() == PROVED


def test_a_flagged_run_may_be_cleared(lab: Lab) -> None:
    equip(lab, failed_filename="ABORTED")
    lab.push(files={"a.fcs": b"half", "ABORTED": b""}, done=False)
    lab.poll()
    assert lab.cli("clear", "--yes", RUN).returncode == 0
    assert not lab.staged().exists()


# -- accept --------------------------------------------------------------------------------------------------


def accept(lab: Lab, run: str = RUN) -> None:
    with lab.station() as station:
        orders.accept(station, lab.run(run), reason="power cut, half is enough", by="ada")


def accepted(history: Iterable[HistoryEntry]) -> list[object]:
    return [entry.extra("accepted") for entry in history if entry.extra("accepted") is not None]


@pytest.mark.parametrize("seen_before", [True, False])
def test_an_accepted_run_is_taken_as_it_is_and_flagged_for_ever(lab: Lab, seen_before: bool) -> None:
    lab.push(done=False)
    if seen_before:
        lab.poll()
    accept(lab)
    lab.poll()
    assert lab.states() == PROVED
    (flag,) = accepted(lab.record().history)
    assert isinstance(flag, dict)
    assert (flag["by"], flag["reason"]) == ("ada", "power cut, half is enough")
    lab.cli("clear", "--yes", RUN)
    history = lab.nas_record()["history"]
    assert isinstance(history, list)
    assert [entry["accepted"]["by"] for entry in history if "accepted" in entry] == ["ada"]


def test_a_run_with_an_invalid_manifest_can_be_accepted(lab: Lab) -> None:
    push_with(lab, b"{")
    lab.poll()
    accept(lab, MASSSPEC)
    lab.poll()
    assert lab.states(MASSSPEC) == PROVED
    assert problem(lab, MASSSPEC) is None


def test_an_accept_does_not_hold_for_the_next_life_of_the_run(lab: Lab) -> None:
    lab.push(done=False)
    accept(lab)
    lab.poll()
    lab.cli("clear", "--yes", RUN)
    lab.push(done=False)
    lab.poll()
    assert steps_of(lab.record().as_json()) == [("staging", "pushed_again")]


def test_an_accept_of_one_run_does_not_accept_another(lab: Lab) -> None:
    lab.push(done=False)
    lab.push(SCANNER.replace("SCANNER", "FLOW"), done=False)
    accept(lab)
    lab.poll()
    assert lab.states(SCANNER.replace("SCANNER", "FLOW")) == ["staging"]


# -- a run that never completes ------------------------------------------------------------------------------


def test_a_run_that_is_still_arriving_after_the_alert_time_is_reported_once(lab: Lab) -> None:
    equip(lab, alert_after_hours=24)
    start = datetime.now(UTC)
    lab.now = start
    lab.push(done=False)
    lab.poll()
    lab.now = start + timedelta(hours=23, minutes=59)
    lab.poll()
    assert problem(lab) is None
    lab.now = start + timedelta(hours=24)
    (told,) = lab.poll().announcements
    assert told.problem.code == "never_completed"
    assert f"exlab-orch show {RUN} " in told.problem.hint
    assert told.problem.hint.endswith(f"To take the run as it is: exlab-orch accept --reason … {RUN}")
    lab.now = start + timedelta(hours=25)
    assert lab.poll().announcements == ()


def test_the_alert_ends_when_the_run_completes(lab: Lab) -> None:
    start = datetime.now(UTC)
    lab.now = start
    lab.push(done=False)
    lab.poll()
    lab.now = start + timedelta(hours=30)
    lab.poll()
    assert problem(lab) == "never_completed"
    lab.push(files={})
    lab.now += timedelta(minutes=1)
    report = lab.poll()
    assert lab.states() == PROVED
    assert [(one.kind, one.problem.code) for one in report.announcements] == [("closed", "never_completed")]


def test_a_problem_that_stays_is_told_again_once_a_day(lab: Lab) -> None:
    start = datetime.now(UTC)
    lab.now = start
    lab.push(done=False)
    told = []
    for hours in range(0, 96, 3):
        lab.now = start + timedelta(hours=hours)
        told += [one.kind for one in lab.poll().announcements]
    assert told == ["opened", "still_open", "still_open"]
