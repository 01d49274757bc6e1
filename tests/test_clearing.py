"""Clearing, the one dangerous act: what refuses it, what it proves, what it deletes, and who may ask for it."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exlab_orch import mirror, orders, trash
from exlab_orch.cleanup import check, clear
from exlab_orch.errors import (
    ChangedSinceVerified,
    ExlabError,
    Locked,
    NasCopyDamaged,
    NasFault,
    NasFull,
    NotSyncVerified,
    RecordUnsealed,
    RunHeld,
    TrashLeftover,
    TrashOtherFilesystem,
)
from exlab_orch.files import hashing
from exlab_orch.files.hashing import OnBytes
from exlab_orch.model import Ingest, StagedRun
from exlab_orch.passes import run_pass
from exlab_orch.proof import prove
from exlab_orch.station import Station
from exlab_orch.transports import Area, ReadBack
from exlab_orch.transports.marker import MARKER
from exlab_orch.transports.mount import MountedNas
from exlab_orch.trash import Cleared
from exlab_orch.verification import verify
from tests.lab import MARKER_ID, RUN, Lab
from tests.oracle import (
    Calendar,
    Oracle,
    data_files,
    end_of,
    ledger,
    prints,
    require_cleared,
    require_root,
    require_untouched,
    steps_of,
)

SCHEDULED = 'mode = "scheduled"\nretain_hours = 24'


@pytest.fixture
def proved(lab: Lab) -> Lab:
    """A lab with one proved run of three files."""
    lab.push()
    lab.poll()
    assert lab.states() == ["staging", "complete", "sync_queued", "sync_verified"]
    return lab


@dataclass
class Scheduled:
    """A lab with one run that was proved just now and is deleted 24 hours later."""

    lab: Lab
    time: Calendar


@pytest.fixture
def scheduled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scheduled:
    lab = Lab(tmp_path, cleanup=SCHEDULED)
    time = Calendar(lab, monkeypatch)
    lab.push()
    lab.poll()
    return Scheduled(lab, time)


@dataclass
class At:
    """An observer that acts when a phase of a clear begins, goes on or ends: "proof" reads the NAS, "clear" unlinks."""

    phase: str
    act: Callable[[], object]
    when: str = "begin"
    now: str = ""

    def begin(self, run_path: str, phase: str, files: int, byte_total: int) -> None:
        self.now = phase
        if (phase, "begin") == (self.phase, self.when):
            self.act()

    def advance(self, byte_count: int) -> None:
        if (self.now, "advance") == (self.phase, self.when):
            self.act()

    def end(self) -> None:
        if (self.now, "end") == (self.phase, self.when):
            self.act()
        self.now = ""


def clear_in_process(lab: Lab, watch: At | None = None, run: str = RUN, wait_seconds: float = 0.0) -> Cleared:
    with lab.station() as station:
        if watch is None:
            return clear(station, lab.run(run), by="ada", wait_seconds=wait_seconds)
        return clear(station, lab.run(run), by="ada", wait_seconds=wait_seconds, watch=watch)


def in_trash(lab: Lab) -> Path:
    """The run folder as it lies in the trash."""
    found = list((lab.staging / ".exlab-orch/trash").glob(f"*/{RUN}"))
    assert len(found) == 1, found
    return found[0]


# -- what happened to staging after the proof ----------------------------------------------------------------


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def rewrite_and_put_mtime_back(path: Path) -> None:
    status = path.stat()
    path.write_bytes(b"X" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace_by_a_copy_with_other_content(path: Path) -> None:
    status = path.stat()
    path.with_name("temporary").write_bytes(b"Y" * status.st_size)
    os.utime(path.with_name("temporary"), ns=(status.st_atime_ns, status.st_mtime_ns))
    path.with_name("temporary").rename(path)


def truncate(path: Path) -> None:
    os.truncate(path, 0)


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def replace_by_a_true_copy(path: Path) -> None:
    path.with_name("temporary").write_bytes(path.read_bytes())
    path.with_name("temporary").rename(path)


def become_a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


CHANGES = [append, rewrite_and_put_mtime_back, replace_by_a_copy_with_other_content, truncate]
ALIKE = [touch, replace_by_a_true_copy]


@pytest.mark.parametrize("change", CHANGES)
def test_a_staged_file_that_changed_after_the_proof_is_not_deleted_and_is_named(
    proved: Lab, change: Callable[[Path], None]
) -> None:
    change(proved.staged() / "sub/b.fcs")
    before = prints(proved.staged())

    shown = proved.cli("clear", "--yes", RUN)

    assert shown.returncode == 5
    assert "sub/b.fcs" in shown.stderr
    require_untouched(proved, before)
    assert steps_of(proved.record().as_json())[-1] == ("sync_queued", "changed_files")


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_change_the_next_pass_proves_the_run_again_and_then_it_can_be_cleared(
    proved: Lab, change: Callable[[Path], None]
) -> None:
    change(proved.staged() / "sub/b.fcs")
    oracle = Oracle(proved)
    proved.cli("clear", "--yes", RUN)

    proved.poll()

    assert proved.states()[-1] == "sync_verified"
    assert clear_in_process(proved).files_cleared == 3
    oracle.require_nothing_lost()
    require_cleared(proved)


@pytest.mark.parametrize("alike", ALIKE)
def test_a_staged_file_that_was_only_touched_is_hashed_again_and_cleared(
    proved: Lab, alike: Callable[[Path], None]
) -> None:
    alike(proved.staged() / "sub/b.fcs")
    assert proved.cli("clear", "--yes", RUN).returncode == 0
    require_cleared(proved)
    assert proved.nas_record()["current_state"] == "cleared"


@pytest.mark.parametrize(
    "name", ["new.fcs", "sub/new.fcs", "newer/deep/new.fcs", ".exlab-wizard/results.txt", ".hidden"]
)
def test_a_file_that_is_new_since_the_proof_stops_the_clear_and_is_named(proved: Lab, name: str) -> None:
    proved.push(files={name: b"late"}, done=False)
    before = prints(proved.staged())

    shown = proved.cli("clear", "--yes", RUN)

    assert shown.returncode == 5
    assert name in shown.stderr
    require_untouched(proved, before)
    assert steps_of(proved.record().as_json())[-1] == ("sync_queued", "new_files")


def test_a_renamed_file_is_a_new_one(proved: Lab) -> None:
    (proved.staged() / "a.fcs").rename(proved.staged() / "renamed.fcs")
    shown = proved.cli("clear", "--yes", RUN)
    assert shown.returncode == 5
    assert "renamed.fcs" in shown.stderr
    assert (proved.staged() / "renamed.fcs").read_bytes() == b"aaa"


def make_link(path: Path) -> None:
    path.symlink_to("a.fcs")


@pytest.mark.parametrize("make", [make_link, os.mkfifo], ids=["link", "fifo"])
def test_a_link_or_fifo_that_is_new_since_the_proof_stops_the_clear(proved: Lab, make: Callable[[Path], None]) -> None:
    make(proved.staged() / "odd")
    shown = proved.cli("clear", "--yes", RUN)
    assert shown.returncode == 5
    assert "odd" in shown.stderr
    assert data_files(proved.staged()).keys() == {b"a.fcs", b"sub/b.fcs", b"run_complete"}


def test_a_proved_file_that_became_a_link_stops_the_clear(proved: Lab) -> None:
    become_a_link(proved.staged() / "a.fcs")
    with pytest.raises(ChangedSinceVerified):
        clear_in_process(proved)
    assert (proved.staged() / "elsewhere").read_bytes() == b"aaa"


def test_a_file_that_is_gone_from_staging_stays_on_the_nas_and_is_told(proved: Lab) -> None:
    (proved.staged() / "a.fcs").unlink()

    cleared = clear_in_process(proved)

    assert cleared.files_cleared == 2
    assert (proved.published() / "a.fcs").read_bytes() == b"aaa"
    log = next((proved.published() / ".exlab-wizard").glob("wizard.*.log")).read_text()
    assert "a.fcs" in log
    assert b"a.fcs" in (proved.published() / ".exlab-wizard/checksums.sha256").read_bytes()


# -- what happened to the NAS copy ---------------------------------------------------------------------------


def flip_one_bit(path: Path) -> None:
    status, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def edit_in_place(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b", corrected by hand")


DAMAGES = [flip_one_bit, edit_in_place, truncate]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_nas_file_with_other_content_stops_the_clear_and_is_named(
    proved: Lab, damage: Callable[[Path], None]
) -> None:
    damage(proved.published() / "sub/b.fcs")
    before, on_nas = prints(proved.staged()), data_files(proved.published())

    shown = proved.cli("clear", "--yes", RUN)

    assert shown.returncode == 5
    assert "sub/b.fcs" in shown.stderr
    require_untouched(proved, before)
    assert data_files(proved.published()) == on_nas
    assert proved.states()[-1] == "sync_verified"
    assert [problem for _, problem in problems(proved)] == ["nas_copy_damaged"]


def problems(lab: Lab) -> list[tuple[str, str]]:
    """Open problems: subject and code."""
    with lab.station(changing=False) as station:
        return [(problem.subject, problem.code) for problem in station.journal.problems()]


def test_a_damaged_nas_copy_blocks_the_schedule_until_a_person_asks_for_a_new_version(scheduled: Scheduled) -> None:
    lab = scheduled.lab
    flip_one_bit(lab.published() / "a.fcs")
    for _ in range(3):
        scheduled.time.wait(hours=25)
        lab.poll()
    assert data_files(lab.staged()).keys() == {b"a.fcs", b"sub/b.fcs", b"run_complete"}
    assert problems(lab) == [(RUN, "nas_copy_damaged")]

    with lab.station() as station:
        orders.make_due(station, lab.run(), by="ada", new_version=True)
    lab.poll()

    assert problems(lab) == []
    assert (lab.published() / "a.fcs").read_bytes() == b"aaa"
    kept = list((lab.published() / ".exlab-wizard/superseded").glob("*/a.fcs"))
    assert [path.read_bytes() for path in kept] == [b"aa`"]
    scheduled.time.wait(hours=25)
    lab.poll()
    require_cleared(lab)


def test_a_file_missing_on_the_nas_stops_the_clear_is_named_and_is_copied_again(proved: Lab) -> None:
    (proved.published() / "sub/b.fcs").unlink()
    before = prints(proved.staged())

    shown = proved.cli("clear", "--yes", RUN)

    assert shown.returncode == 5
    assert "sub/b.fcs" in shown.stderr
    require_untouched(proved, before)
    assert steps_of(proved.record().as_json())[-1] == ("sync_queued", "nas_copy_missing")
    proved.poll()
    assert (proved.published() / "sub/b.fcs").read_bytes() == b"bbbb"
    assert clear_in_process(proved).files_cleared == 3
    assert problems(proved) == []


def test_a_run_folder_that_is_gone_from_the_nas_stops_the_clear_and_is_copied_again(proved: Lab) -> None:
    proved.published().rename(proved.nas / "moved away by somebody")
    with pytest.raises(ExlabError, match="gone from the NAS"):
        clear_in_process(proved)
    proved.poll()
    assert data_files(proved.published()) == data_files(proved.staged())
    assert clear_in_process(proved).files_cleared == 3


def test_a_nas_file_that_became_a_link_to_the_right_content_is_no_proof(proved: Lab) -> None:
    path = proved.published() / "a.fcs"
    path.rename(proved.nas / "right content")
    path.symlink_to(proved.nas / "right content")
    with pytest.raises(ExlabError):
        clear_in_process(proved)
    assert (proved.staged() / "a.fcs").read_bytes() == b"aaa"


def test_a_file_that_is_gone_from_staging_and_from_the_nas_is_never_forgotten_in_silence(proved: Lab) -> None:
    (proved.staged() / "a.fcs").unlink()
    (proved.published() / "a.fcs").unlink()
    for _ in range(3):
        proved.poll()
        proved.cli("clear", "--yes", RUN)
    assert "nas_copy_missing" in [code for _, code in problems(proved)]
    assert (proved.staged() / "sub/b.fcs").exists()


# -- the right NAS -------------------------------------------------------------------------------------------


def other_marker(lab: Lab) -> None:
    (lab.nas / ".exlab-nas").write_text("f" * 32 + "\n")


def no_marker(lab: Lab) -> None:
    (lab.nas / ".exlab-nas").unlink()


def no_nas(lab: Lab) -> None:
    lab.nas.rename(lab.root / "unmounted")


@pytest.mark.parametrize("fault", [other_marker, no_marker, no_nas])
def test_without_the_right_nas_nothing_is_deleted_and_nothing_is_concluded(
    proved: Lab, fault: Callable[[Lab], None]
) -> None:
    before = prints(proved.staged())
    fault(proved)

    shown = proved.cli("clear", "--yes", RUN)

    assert shown.returncode == 69
    assert prints(proved.staged()) == before


@pytest.mark.parametrize("fault", [other_marker, no_marker, no_nas])
def test_a_nas_that_goes_away_during_the_proof_is_a_fault_of_the_nas(proved: Lab, fault: Callable[[Lab], None]) -> None:
    before = prints(proved.staged())
    with pytest.raises(NasFault):
        clear_in_process(proved, At("proof", lambda: fault(proved)))
    assert prints(proved.staged()) == before
    assert not (proved.root / "nas/FLOW_01").exists() or fault is not no_nas


# -- between the proof and the first unlink ------------------------------------------------------------------


@pytest.mark.parametrize("change", [*CHANGES, *ALIKE, become_a_link])
def test_a_file_that_changes_while_the_nas_is_read_brings_the_run_back_untouched(
    proved: Lab, change: Callable[[Path], None]
) -> None:
    path = proved.staged() / "sub/b.fcs"
    oracle = Oracle(proved)

    def change_it() -> None:
        change(path)
        oracle.remember()

    with pytest.raises(ChangedSinceVerified, match=r"sub/b\.fcs|elsewhere|sub/temporary"):
        clear_in_process(proved, At("proof", change_it, when="end"))
    oracle.require_nothing_lost()
    assert path.exists()
    assert proved.leftovers() == []
    assert ledger(proved) == []


def test_a_file_that_arrives_while_the_nas_is_read_brings_the_run_back_untouched(proved: Lab) -> None:
    late = proved.staged() / "late.fcs"
    with pytest.raises(ChangedSinceVerified, match=r"late\.fcs"):
        clear_in_process(proved, At("proof", lambda: late.write_bytes(b"late"), when="end"))
    assert late.read_bytes() == b"late"
    proved.poll()
    assert (proved.published() / "late.fcs").read_bytes() == b"late"


def test_a_file_that_vanishes_while_the_nas_is_read_brings_the_run_back(proved: Lab) -> None:
    with pytest.raises(ChangedSinceVerified, match=r"a\.fcs"):
        clear_in_process(proved, At("proof", (proved.staged() / "a.fcs").unlink, when="end"))
    assert (proved.staged() / "sub/b.fcs").exists()


def test_a_run_folder_that_is_swapped_while_the_nas_is_read_is_not_deleted(proved: Lab) -> None:
    def swap() -> None:
        proved.staged().rename(proved.root / "the proved one")
        proved.push(files={"a.fcs": b"other"})

    with pytest.raises(ExlabError):
        clear_in_process(proved, At("proof", swap, when="end"))
    assert (proved.staged() / "a.fcs").read_bytes() == b"other"
    assert (proved.root / "the proved one/a.fcs").read_bytes() == b"aaa"


@contextmanager
def other_process(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs the code, says "ready", and ends when its standard input is closed."""
    words = [sys.executable, "-c", f"{code}\nprint('ready', flush=True)\ninput()", *arguments]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        try:
            yield child
        finally:
            child.kill()


def test_a_run_with_a_file_open_for_writing_is_not_deleted(proved: Lab) -> None:
    path = proved.staged() / "sub/b.fcs"
    with (
        other_process("import sys; file = open(sys.argv[1], 'r+b')", str(path)),
        pytest.raises(ChangedSinceVerified, match=r"sub/b\.fcs is open for writing"),
    ):
        clear_in_process(proved)
    assert path.read_bytes() == b"bbbb"
    assert proved.states()[-1] == "sync_verified"
    assert clear_in_process(proved).files_cleared == 3


def test_a_run_with_a_file_mapped_for_writing_is_not_deleted(proved: Lab) -> None:
    path = proved.staged() / "a.fcs"
    with path.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
    with mapped, pytest.raises(ChangedSinceVerified, match="open for writing"):
        clear_in_process(proved)
    assert path.exists()


def test_a_problem_that_ended_a_scheduled_clear_does_not_end_it_for_ever(scheduled: Scheduled) -> None:
    lab = scheduled.lab
    scheduled.time.wait(hours=25)
    with (lab.staged() / "a.fcs").open("r+b"):
        lab.poll()
    assert lab.staged().exists()
    scheduled.time.wait(hours=25)
    lab.poll()
    require_cleared(lab)
    assert problems(lab) == []


# -- while the files are unlinked ----------------------------------------------------------------------------


def test_a_file_that_appears_in_the_trash_stays_with_our_files_and_is_reported(proved: Lab) -> None:
    def arrive() -> None:
        (in_trash(proved) / "sub/late.fcs").write_bytes(b"late")

    with pytest.raises(TrashLeftover, match=r"late\.fcs"):
        clear_in_process(proved, At("clear", arrive))

    assert data_files(in_trash(proved)) == {b"sub/late.fcs": data_files(in_trash(proved))[b"sub/late.fcs"]}
    assert (in_trash(proved) / ".exlab-wizard/ingest.json").exists()
    report = proved.poll()
    assert report.exit_status == 3
    assert (in_trash(proved) / "sub/late.fcs").read_bytes() == b"late"
    assert problems(proved) == [(RUN, "trash_leftover")]
    rows = json.loads(proved.cli("list", "--json").stdout)["runs"]
    assert [row["problem"]["code"] for row in rows if row["run"] == RUN] == ["trash_leftover"]


def test_a_leftover_that_a_person_takes_away_lets_the_next_pass_finish(proved: Lab) -> None:
    def arrive() -> None:
        (in_trash(proved) / "late.fcs").write_bytes(b"late")

    with pytest.raises(TrashLeftover):
        clear_in_process(proved, At("clear", arrive))
    proved.poll()
    (in_trash(proved) / "late.fcs").unlink()

    assert proved.poll().exit_status == 0

    require_cleared(proved)
    assert problems(proved) == []
    assert proved.leftovers() == []


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_in_the_trash_is_not_unlinked(proved: Lab, change: Callable[[Path], None]) -> None:
    with pytest.raises(TrashLeftover):
        clear_in_process(proved, At("clear", lambda: change(in_trash(proved) / "a.fcs")))
    left = prints(in_trash(proved))
    assert "a.fcs" in left
    for _ in range(2):
        assert proved.poll().exit_status == 3
    assert prints(in_trash(proved))["a.fcs"] == left["a.fcs"]


def test_hard_links_inside_and_outside_of_a_run_are_each_deleted_by_name_only(lab: Lab) -> None:
    folder = lab.push(files={"a.fcs": b"same inode"}, done=False)
    (folder / "sub").mkdir()
    os.link(folder / "a.fcs", folder / "sub/again.fcs")
    os.link(folder / "a.fcs", folder / "z.fcs")
    os.link(folder / "a.fcs", lab.root / "kept by the instrument")
    lab.push(files={})
    lab.poll()
    on_nas = {(lab.published() / name).stat().st_ino for name in ("a.fcs", "sub/again.fcs", "z.fcs")}
    assert len(on_nas) == 3

    cleared = clear_in_process(lab)

    assert (cleared.files_cleared, cleared.bytes_freed) == (4, 30)
    require_cleared(lab)
    assert (lab.root / "kept by the instrument").read_bytes() == b"same inode"


def test_a_hard_link_in_another_run_is_not_sent_back_by_the_clear_of_the_first(lab: Lab) -> None:
    other = "FLOW_01/PROJ-1/Runs/Run_other"
    lab.push()
    lab.push(other, {})
    os.link(lab.staged() / "a.fcs", lab.staged(other) / "a.fcs")
    lab.push(other, {"b.fcs": b"b"})
    lab.poll()
    clear_in_process(lab)
    with lab.station() as station:
        station.journal.forget_idle()
    lab.poll()
    assert lab.states(other) == ["staging", "complete", "sync_queued", "sync_verified"]
    assert clear_in_process(lab, run=other).files_cleared == 3


# -- what is read, and how often -----------------------------------------------------------------------------


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Names of files that were read back from the NAS, in order."""
    names: list[bytes] = []
    real = hashing.read_back

    def counting(folder: int, name: bytes, on_bytes: hashing.OnBytes) -> object:
        names.append(name)
        return real(folder, name, on_bytes)

    monkeypatch.setattr("exlab_orch.transports.mount.read_back", counting)
    return names


ALL = [b"a.fcs", b"run_complete", b"sub/b.fcs"]


def test_every_file_is_read_again_from_the_nas_for_a_clear(proved: Lab, reads: list[bytes]) -> None:
    clear_in_process(proved)
    assert sorted(reads) == ALL


def test_with_a_recent_proof_nothing_is_read_again(tmp_path: Path, reads: list[bytes]) -> None:
    lab = recently(tmp_path)
    clear_in_process(lab)
    assert reads == []
    require_cleared(lab)


def recently(root: Path) -> Lab:
    lab = Lab(root, cleanup='proof = "recent"\nproof_max_age = "7d"')
    lab.now = datetime.now(UTC)
    lab.push()
    lab.poll()
    return lab


def test_a_proof_that_is_too_old_to_be_recent_is_made_anew(tmp_path: Path, reads: list[bytes]) -> None:
    lab = recently(tmp_path)
    assert lab.now is not None
    lab.now += timedelta(days=7, milliseconds=1)
    clear_in_process(lab)
    assert sorted(reads) == ALL


def test_a_proof_from_the_future_is_not_recent(tmp_path: Path, reads: list[bytes]) -> None:
    lab = recently(tmp_path)
    assert lab.now is not None
    lab.now -= timedelta(days=1)
    clear_in_process(lab)
    assert sorted(reads) == ALL


def test_a_nas_file_that_was_touched_since_a_recent_proof_is_read_again(tmp_path: Path, reads: list[bytes]) -> None:
    lab = recently(tmp_path)
    touch(lab.published() / "a.fcs")
    clear_in_process(lab)
    assert reads == [b"a.fcs"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_recent_proof_does_not_hide_a_changed_nas_file(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    lab = recently(tmp_path)
    damage(lab.published() / "a.fcs")
    with pytest.raises(NasCopyDamaged, match=r"a\.fcs"):
        clear_in_process(lab)
    assert (lab.staged() / "a.fcs").exists()


def test_a_recent_proof_does_not_hide_a_missing_nas_file(tmp_path: Path) -> None:
    lab = recently(tmp_path)
    (lab.published() / "a.fcs").unlink()
    with pytest.raises(ExlabError, match=r"a\.fcs"):
        clear_in_process(lab)
    assert (lab.staged() / "a.fcs").exists()


class Interrupted(Exception):
    """Somebody pressed a key."""


def interrupted(lab: Lab, reads: list[bytes]) -> Lab:
    """A lab whose clear of 130 files was interrupted while the last of three batches was read."""
    lab.sync = "workers = 1"
    lab.configure()
    lab.now = datetime.now(UTC)
    lab.push(files={f"{number:03}.fcs": b"%d" % number for number in range(129)})
    lab.poll()

    def interrupt() -> None:
        if len(reads) == 129:
            raise Interrupted

    with pytest.raises(Interrupted):
        clear_in_process(lab, At("proof", interrupt, when="advance"))
    assert len(reads) == 129
    assert len(data_files(lab.staged())) == 130
    reads.clear()
    return lab


def test_an_interrupted_proof_goes_on_where_it_was(lab: Lab, reads: list[bytes]) -> None:
    interrupted(lab, reads)
    clear_in_process(lab)
    assert 0 < len(reads) <= 66
    require_cleared(lab)


def test_an_interrupted_proof_is_not_resumed_after_a_day(lab: Lab, reads: list[bytes]) -> None:
    interrupted(lab, reads)
    assert lab.now is not None
    lab.now += timedelta(hours=24, milliseconds=1)
    clear_in_process(lab)
    assert len(reads) == 130


def test_what_changed_on_the_nas_after_an_interrupted_proof_is_found(lab: Lab, reads: list[bytes]) -> None:
    interrupted(lab, reads)
    flip_one_bit(lab.published() / "000.fcs")
    with pytest.raises(NasCopyDamaged, match=r"000\.fcs"):
        clear_in_process(lab)
    assert len(data_files(lab.staged())) == 130


def test_a_refused_clear_begins_its_proof_anew(proved: Lab, reads: list[bytes]) -> None:
    flip_one_bit(proved.published() / "sub/b.fcs")
    with pytest.raises(NasCopyDamaged):
        clear_in_process(proved)
    (proved.published() / "sub/b.fcs").write_bytes(b"bbbb")
    reads.clear()
    clear_in_process(proved)
    assert sorted(reads) == ALL


# -- another NAS ---------------------------------------------------------------------------------------------


def moved_root(lab: Lab) -> None:
    """The configuration says another root; what is there has the same names, sizes, times and even inodes."""
    lab.nas.rename(lab.root / "nas2")
    lab.nas_folder = lab.root / "nas2"
    lab.configure()


def another_marker(lab: Lab) -> None:
    """Another NAS stands in the same place, as a copy of the disks would, and the configuration knows its marker."""
    (lab.nas / MARKER).write_text(f"{'e' * 32}\n")
    lab.config_path.write_text(lab.config_path.read_text().replace(MARKER_ID, "e" * 32))


another_nas = pytest.mark.parametrize("replace_nas", [moved_root, another_marker])


@another_nas
def test_a_recent_proof_of_another_nas_counts_for_nothing(
    tmp_path: Path, reads: list[bytes], replace_nas: Callable[[Lab], None]
) -> None:
    lab = recently(tmp_path)
    replace_nas(lab)
    clear_in_process(lab)
    assert sorted(reads) == ALL
    require_cleared(lab)


@another_nas
def test_an_interrupted_proof_of_another_nas_begins_anew(
    lab: Lab, reads: list[bytes], replace_nas: Callable[[Lab], None]
) -> None:
    interrupted(lab, reads)
    replace_nas(lab)
    clear_in_process(lab)
    assert len(reads) == 130


def test_a_verify_on_the_new_nas_counts_and_going_back_counts_for_nothing(tmp_path: Path, reads: list[bytes]) -> None:
    lab = recently(tmp_path)
    moved_root(lab)
    with lab.station() as station:
        assert verify(station, lab.run()).ok
    reads.clear()
    with lab.station() as station:
        run = lab.run()
        prove(station, run, station.records.require_sealed(run))
    assert reads == [], "it was read where it is now"
    lab.nas.rename(lab.root / "nas")
    lab.nas_folder = None
    lab.configure()
    clear_in_process(lab)
    assert sorted(reads) == ALL


@another_nas
def test_a_file_on_another_nas_is_read_before_it_is_adopted(
    proved: Lab, reads: list[bytes], replace_nas: Callable[[Lab], None]
) -> None:
    replace_nas(proved)
    proved.push(files={"late.fcs": b"late"})
    reads.clear()
    assert proved.poll().exit_status == 0
    assert proved.states()[-1] == "sync_verified"
    assert sorted(reads) == ALL


# -- who says no ---------------------------------------------------------------------------------------------


def hold(lab: Lab, until: datetime | None = None) -> None:
    with lab.station() as station:
        orders.hold(station, lab.run(), reason="look again", by="ada", until=until)


def test_a_held_run_is_not_cleared_until_the_hold_ends(proved: Lab) -> None:
    hold(proved)
    before = prints(proved.staged())
    shown = proved.cli("clear", "--yes", "--json", RUN)
    assert shown.returncode == 5
    assert [one["code"] for one in json.loads(shown.stdout)["refused"]] == ["held"]
    assert prints(proved.staged()) == before
    with proved.station() as station:
        orders.unhold(station, proved.run(), by="ada")
    assert clear_in_process(proved).files_cleared == 3


def test_the_schedule_does_not_clear_a_held_run_and_does_when_the_hold_is_over(scheduled: Scheduled) -> None:
    lab = scheduled.lab
    hold(lab, until=scheduled.time.now + timedelta(days=3))
    scheduled.time.wait(days=2, hours=23, minutes=59)
    lab.poll()
    assert lab.staged().exists()
    scheduled.time.wait(minutes=1)
    lab.poll()
    require_cleared(lab)


def test_a_hold_that_comes_while_the_nas_is_read_leaves_the_run_where_it_is(proved: Lab) -> None:
    with pytest.raises(RunHeld):
        clear_in_process(proved, At("proof", lambda: hold(proved)))
    assert data_files(proved.staged()).keys() == {b"a.fcs", b"sub/b.fcs", b"run_complete"}
    assert proved.states()[-1] == "sync_verified"
    assert ledger(proved) == []


def test_a_hold_that_comes_after_the_rename_keeps_every_file_in_the_trash(
    proved: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = mirror.mirror

    def mirror_and_hold(station: Station, run: StagedRun, record: Ingest) -> None:
        real(station, run, record)
        hold(proved)

    monkeypatch.setattr(trash, "mirror", mirror_and_hold)
    with pytest.raises(RunHeld):
        clear_in_process(proved)
    monkeypatch.undo()
    assert data_files(in_trash(proved)).keys() == {b"a.fcs", b"sub/b.fcs", b"run_complete"}
    proved.poll()
    assert data_files(in_trash(proved)).keys() == {b"a.fcs", b"sub/b.fcs", b"run_complete"}
    with proved.station() as station:
        orders.unhold(station, proved.run(), by="ada")
    proved.poll()
    require_cleared(proved)
    assert len(ledger(proved)) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"until": 5}', b'{"run_path": 1, "reason": 2}'])
def test_a_hold_file_that_cannot_be_understood_holds(proved: Lab, content: bytes) -> None:
    hold(proved)
    next((proved.staging / ".exlab-orch/holds").iterdir()).write_bytes(content)
    with pytest.raises(RunHeld):
        clear_in_process(proved)


@pytest.mark.parametrize("only", [frozenset(), frozenset({"evaluate"})], ids=["never seen", "received"])
def test_a_run_that_is_not_proved_is_not_cleared(lab: Lab, only: frozenset[str]) -> None:
    lab.push()
    if only:
        lab.poll(only)
    with pytest.raises((NotSyncVerified, RecordUnsealed)):
        clear_in_process(lab)
    assert data_files(lab.staged()).keys() == {b"a.fcs", b"sub/b.fcs", b"run_complete"}


def test_a_run_that_somebody_is_busy_with_is_not_cleared(proved: Lab) -> None:
    with proved.station() as station, station.state.run_lock(RUN) as held:
        assert held
        with pytest.raises(Locked):
            clear_in_process(proved)
    assert clear_in_process(proved).files_cleared == 3


def test_a_clear_waits_for_a_free_slot_of_the_nas(proved: Lab) -> None:
    nas = str(proved.nas)
    with proved.station() as station, station.state.slot(nas, 2) as first, station.state.slot(nas, 2) as second:
        assert first
        assert second
        with pytest.raises(Locked):
            clear_in_process(proved)
    assert clear_in_process(proved).files_cleared == 3


def test_a_dry_run_of_a_clear_writes_nothing(proved: Lab) -> None:
    before = {path: found for path, found in prints(proved.root).items() if "journal.sqlite3-" not in path}
    shown = proved.cli("clear", "--dry-run", RUN)
    assert shown.returncode == 0
    assert {path: found for path, found in prints(proved.root).items() if "journal.sqlite3-" not in path} == before


# -- the schedule --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "is_cleared"),
    [(24 * 3600 - 0.001, False), (24 * 3600, True), (24 * 3600 + 0.001, True)],
    ids=["just before", "exactly then", "after"],
)
def test_the_schedule_clears_exactly_at_and_after_the_retention(
    scheduled: Scheduled, seconds: float, is_cleared: bool
) -> None:
    scheduled.time.wait(seconds=seconds)
    scheduled.lab.poll()
    assert scheduled.lab.staged().exists() is not is_cleared


def test_a_run_that_was_proved_in_the_future_is_not_cleared(scheduled: Scheduled) -> None:
    scheduled.time.step(days=-400)
    for _ in range(20):
        scheduled.time.wait(hours=30)
        scheduled.lab.poll()
    assert scheduled.lab.staged().exists()


def test_the_manual_mode_never_clears_by_itself(proved: Lab) -> None:
    proved.now = datetime.now(UTC) + timedelta(days=3650)
    proved.poll()
    assert data_files(proved.staged()).keys() == {b"a.fcs", b"sub/b.fcs", b"run_complete"}


def test_a_step_back_begins_the_retention_anew(scheduled: Scheduled) -> None:
    lab = scheduled.lab
    scheduled.time.wait(hours=23)
    lab.push(files={"late.fcs": b"late"})
    lab.poll()
    scheduled.time.wait(hours=23)
    lab.poll()
    assert lab.staged().exists()
    scheduled.time.wait(hours=1)
    lab.poll()
    require_cleared(lab)


def test_a_file_that_was_only_touched_does_not_begin_the_retention_anew(scheduled: Scheduled) -> None:
    scheduled.time.wait(hours=23)
    touch(scheduled.lab.staged() / "a.fcs")
    scheduled.lab.poll()
    scheduled.time.wait(hours=1)
    scheduled.lab.poll()
    require_cleared(scheduled.lab)


def test_a_clock_that_jumps_ahead_does_not_end_the_retention_early(scheduled: Scheduled) -> None:
    lab, time = scheduled.lab, scheduled.time
    time.wait(minutes=1)
    lab.poll()
    time.step(days=3650)
    time.wait(minutes=1)
    lab.poll()
    for _ in range(23):
        time.wait(hours=1)
        lab.poll()
    time.wait(minutes=59)
    lab.poll()
    assert lab.staged().exists()
    time.wait(minutes=2)
    lab.poll()
    require_cleared(lab)


def test_a_clock_that_jumps_ahead_by_less_than_five_minutes_is_let_pass(scheduled: Scheduled) -> None:
    scheduled.time.wait(hours=23, minutes=56)
    scheduled.time.step(minutes=4)
    scheduled.lab.poll()
    require_cleared(scheduled.lab)


def test_one_run_that_cannot_be_cleared_does_not_stop_the_others(scheduled: Scheduled) -> None:
    lab = scheduled.lab
    runs = [f"FLOW_01/PROJ-1/Runs/Run_{number}" for number in range(4)]
    for run in runs:
        lab.push(run)
    lab.poll()
    flip_one_bit(lab.published(runs[1]) / "a.fcs")
    scheduled.time.wait(hours=25)

    report = lab.poll()

    assert report.exit_status == 3
    assert [lab.staged(run).exists() for run in runs] == [False, True, False, False]
    assert {one.run_path for one in report.cleared} == {RUN, runs[0], *runs[2:]}


# -- clear --later -------------------------------------------------------------------------------------------


def later(lab: Lab) -> None:
    with lab.station() as station:
        orders.clear_later(station, lab.run(), by="ada")


def test_a_later_clear_is_done_by_the_next_pass_for_whom_it_was_asked(proved: Lab) -> None:
    later(proved)
    assert proved.staged().exists()
    proved.poll()
    require_cleared(proved)
    assert ledger(proved)[0]["by"] == "ada"


def test_a_later_clear_survives_a_nas_that_is_away(proved: Lab) -> None:
    later(proved)
    marker = (proved.nas / ".exlab-nas").read_bytes()
    no_marker(proved)
    for _ in range(2):
        assert proved.poll().exit_status == 69
    (proved.nas / ".exlab-nas").write_bytes(marker)
    proved.poll()
    require_cleared(proved)


def test_a_later_clear_is_void_when_the_run_was_proved_anew_since(proved: Lab) -> None:
    later(proved)
    proved.push(files={"late.fcs": b"late"})
    proved.poll()
    proved.poll()
    assert proved.states()[-1] == "sync_verified"
    assert data_files(proved.staged()).keys() == {b"a.fcs", b"sub/b.fcs", b"run_complete", b"late.fcs"}


def test_a_later_clear_is_void_for_another_folder_of_that_name(proved: Lab) -> None:
    later(proved)
    proved.staged().rename(proved.root / "old")
    proved.push()
    proved.poll()
    proved.poll()
    assert data_files(proved.staged()).keys() == {b"a.fcs", b"sub/b.fcs", b"run_complete"}


def test_a_later_clear_still_proves_first(proved: Lab) -> None:
    later(proved)
    flip_one_bit(proved.published() / "a.fcs")
    report = proved.poll()
    assert report.exit_status == 3
    assert data_files(proved.staged()).keys() == {b"a.fcs", b"sub/b.fcs", b"run_complete"}


# -- what is written down ------------------------------------------------------------------------------------


def test_the_ledger_says_what_was_deleted_when_by_whom_and_where_it_is(proved: Lab) -> None:
    sealed = proved.record().history[-1].text("checksum_sha256")
    clear_in_process(proved)
    (line,) = ledger(proved)
    assert {name: line[name] for name in ("run_path", "files_cleared", "bytes_freed", "by", "nas_path")} == {
        "run_path": RUN,
        "files_cleared": 3,
        "bytes_freed": 7,
        "by": "ada",
        "nas_path": str(proved.published()),
    }
    assert line["checksum_sha256"] == sealed
    history = proved.nas_record()["history"]
    assert isinstance(history, list)
    assert history[-1]["by"] == "ada"
    assert line["cleared_at"] == history[-1]["at"]
    assert line["history"] == [{"state": entry["state"], "at": entry["at"]} for entry in history]


def test_the_ledger_says_when_the_last_proved_file_was_written(proved: Lab) -> None:
    newest = max(path.stat().st_ctime for path in proved.staged().rglob("*") if ".exlab-wizard" not in str(path))
    clear_in_process(proved)
    (line,) = ledger(proved)
    assert datetime.fromisoformat(str(line["last_write_at"])).timestamp() == pytest.approx(newest, abs=0.002)


def test_a_run_whose_files_were_touched_after_the_proof_has_no_time_of_its_last_write(proved: Lab) -> None:
    (proved.staged() / "a.fcs").chmod(0o600)
    clear_in_process(proved)
    (line,) = ledger(proved)
    assert line["last_write_at"] is None


def test_nothing_is_unlinked_while_the_nas_does_not_take_the_record(
    proved: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise NasFull("The NAS is full.")

    monkeypatch.setattr(trash, "mirror", refuse)
    with pytest.raises(NasFull):
        clear_in_process(proved)
    assert data_files(in_trash(proved)).keys() == {b"a.fcs", b"sub/b.fcs", b"run_complete"}
    monkeypatch.undo()
    proved.poll()
    require_cleared(proved)
    assert len(ledger(proved)) == 1
    assert proved.leftovers() == []


def test_a_checksum_list_that_is_gone_from_the_nas_is_there_after_the_clear(proved: Lab) -> None:
    (proved.published() / ".exlab-wizard/checksums.sha256").unlink()
    clear_in_process(proved)
    assert end_of(proved, RUN)["checksums"] is not None


def test_nothing_but_the_run_is_deleted(lab: Lab) -> None:
    lab.push()
    sibling = lab.push("FLOW_01/PROJ-1/Runs/Run_sibling", done=False)
    oracle = Oracle(lab)
    lab.poll()
    before = prints(sibling)
    on_nas = data_files(lab.published())
    clear_in_process(lab)
    oracle.require_nothing_lost()
    require_cleared(lab)
    assert prints(sibling) == before
    assert data_files(lab.published()) == on_nas


# -- mounts --------------------------------------------------------------------------------------------------


@contextmanager
def mounted(*words: str) -> Iterator[None]:
    """A mount for the time of the block; its last word is the mount point."""
    subprocess.run(["mount", *words], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", words[-1]], check=True)


@pytest.mark.root
def test_a_trash_folder_on_another_file_system_stops_the_clear(proved: Lab) -> None:
    require_root()
    trash = proved.staging / ".exlab-orch/trash"
    trash.mkdir(parents=True, exist_ok=True)
    before = prints(proved.staged())
    with mounted("-t", "tmpfs", "none", str(trash)):
        with pytest.raises(TrashOtherFilesystem):
            clear_in_process(proved)
        shown = proved.cli("clear", "--yes", RUN)
        assert shown.returncode == 5
        assert list(trash.iterdir()) == []
    require_untouched(proved, before)
    assert proved.states()[-1] == "sync_verified"
    assert clear_in_process(proved).files_cleared == 3


@pytest.mark.root
def test_a_nas_that_is_bind_mounted_inside_a_run_is_not_emptied(proved: Lab) -> None:
    require_root()
    inside = proved.staged() / "nas"
    inside.mkdir()
    before = data_files(proved.nas)
    with mounted("--bind", str(proved.nas), str(inside)):
        with pytest.raises(ExlabError):
            clear_in_process(proved)
        proved.poll()
        assert data_files(proved.nas).items() >= before.items()
    assert data_files(proved.staged()).keys() == {b"a.fcs", b"sub/b.fcs", b"run_complete"}


@pytest.mark.root
def test_another_nas_mounted_over_the_right_one_is_no_proof(proved: Lab) -> None:
    require_root()
    with mounted("-t", "tmpfs", "none", str(proved.nas)):
        with pytest.raises(NasFault):
            clear_in_process(proved)
        (proved.nas / ".exlab-nas").write_text(f"{MARKER_ID}\n")
        with pytest.raises(ExlabError):
            clear_in_process(proved)
    assert data_files(proved.staged()).keys() == {b"a.fcs", b"sub/b.fcs", b"run_complete"}


def test_a_pass_whose_time_is_over_stops_the_proof_of_a_clear_and_the_next_goes_on(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.sync = "workers = 1"
    lab.configure()
    lab.push(files={f"{number:03}.fcs": b"%d" % number for number in range(400)})
    lab.poll()
    read: list[bytes] = []
    real, monotonic = MountedNas.read_back, time.monotonic

    def counting(nas: MountedNas, run: str, area: Area, names: Sequence[bytes], on_bytes: OnBytes) -> list[ReadBack]:
        read.extend(names)
        return real(nas, run, area, names, on_bytes)

    def hurry() -> None:
        monkeypatch.setattr("exlab_orch.passes.time.monotonic", lambda: monotonic() + 7200)

    monkeypatch.setattr(MountedNas, "read_back", counting)
    with lab.station() as station:
        orders.clear_later(station, lab.run(), by="ada")
        report = run_pass(station, max_seconds=3600, watch=At("proof", hurry, "advance"))
    assert (report.unfinished, report.exit_status, report.cleared) == (True, 0, ())
    assert lab.states() == ["staging", "complete", "sync_queued", "sync_verified"]
    assert 0 < len(read) < 401
    assert [done.files_cleared for done in lab.poll().cleared] == [401]
    assert len(read) == len(set(read)) == 401


def test_a_clear_of_a_run_that_is_copied_right_now_says_that_waiting_makes_sense(lab: Lab) -> None:
    lab.push()
    lab.poll(only=frozenset({"evaluate"}))
    with lab.station() as station:
        with pytest.raises(NotSyncVerified, match="its state is: waiting to copy"):
            check(station, lab.run())
        with station.state.run_lock(RUN), pytest.raises(Locked):
            check(station, lab.run())
