"""What every kind of NAS promises, tried end to end: the same words, the same proof, the same refusals."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exlab_orch.errors import NasCopyDamaged, NasCopyMissing, NasFault, RunProblem
from exlab_orch.space import known_nas_space
from tests.contract.far import DiskNas, FarLab, away, codes
from tests.lab import RUN, Lab
from tests.oracle import Oracle

PROVED = ["staging", "complete", "sync_queued", "sync_verified"]
OTHER_PROJECT = RUN.replace("PROJ-1", "PROJ 2")


def proved(far: FarLab, files: dict[str, bytes] | None = None, run: str = RUN) -> Lab:
    far.lab.push(run, files)
    report = far.poll()
    assert (report.exit_status, far.lab.states(run)[-1]) == (0, "sync_verified"), report.announcements
    return far.lab


# -- the life of a run ---------------------------------------------------------------------------------------


@pytest.mark.every_kind
def test_a_run_is_copied_proved_and_cleared(far: FarLab) -> None:
    lab = proved(far)
    assert lab.states() == PROVED
    assert far.files() == {"a.fcs": b"aaa", "sub/b.fcs": b"bbbb", "run_complete": b""}
    assert b'"current_state": "sync_verified"' in (far.everything()[".exlab-wizard/ingest.json"] or b"")
    if isinstance(far, DiskNas):
        subprocess.run(
            ["sha256sum", "--quiet", "-c", ".exlab-wizard/checksums.sha256"], cwd=lab.published(), check=True
        )
    assert far.clear().files_cleared == 3
    assert not lab.staged().exists()
    assert far.files() == {"a.fcs": b"aaa", "sub/b.fcs": b"bbbb", "run_complete": b""}
    assert b'"current_state": "cleared"' in (far.everything()[".exlab-wizard/ingest.json"] or b"")
    assert far.leftovers() == []


def test_a_nas_that_tells_its_space_tells_it_and_a_pass_remembers_it(far: FarLab) -> None:
    lab = proved(far)
    with lab.station() as station:
        nas = station.nas_of(lab.run())
        space, known = nas.space(), known_nas_space(station.journal, nas.name)
        is_configured = station.nas_named(nas.name) is not None
    assert space is None or 0 < space.free_bytes <= space.total_bytes
    if is_configured:
        assert (None if known is None else known.space.total_bytes) == (None if space is None else space.total_bytes)


def test_sending_a_run_again_costs_no_copy(far: FarLab) -> None:
    proved(far)
    far.clear()
    before = {name: far.stamp(name) for name in far.files()}
    proved(far)
    assert {name: far.stamp(name) for name in before} == before
    assert far.set_aside() == {}
    assert far.clear().files_cleared == 3
    assert far.leftovers() == []


def test_a_file_that_changed_after_its_proof_takes_the_place_of_the_earlier_version(far: FarLab) -> None:
    lab = proved(far)
    (lab.staged() / "a.fcs").write_bytes(b"more")
    (lab.staged() / "new.fcs").write_bytes(b"new")
    with pytest.raises(RunProblem):
        far.clear()
    assert far.poll().exit_status == 0
    assert lab.states() == [*PROVED, "sync_queued", "sync_verified"]
    assert (far.files()["a.fcs"], far.files()["new.fcs"], far.set_aside()) == (b"more", b"new", {"a.fcs": b"aaa"})
    assert (
        far.everything()[".exlab-wizard/checksums.sha256"]
        == (lab.staged() / ".exlab-wizard/checksums.sha256").read_bytes()
    )
    assert far.clear().files_cleared == 4
    assert far.leftovers() == []


@pytest.mark.programs_too("rsync-ssh")  # over rclone it takes long; every check of a change tries that with WebDAV
def test_a_file_that_changed_but_not_in_size_is_in_the_list_on_the_nas_too(far: FarLab) -> None:
    lab = proved(far)
    (lab.staged() / "a.fcs").write_bytes(b"zzz")
    with pytest.raises(RunProblem):
        far.clear()
    assert far.poll().exit_status == 0
    assert far.files()["a.fcs"] == b"zzz"
    staged = (lab.staged() / ".exlab-wizard/checksums.sha256").read_bytes()
    assert far.everything()[".exlab-wizard/checksums.sha256"] == staged
    assert far.clear().files_cleared == 3


@pytest.mark.programs_too("rsync-ssh")
def test_data_with_a_name_like_our_hidden_folder_is_data(far: FarLab) -> None:
    lab = proved(far, {"a.fcs": b"a"})
    folder = lab.staged() / ".exlab-part-Run_9"
    folder.mkdir()
    (folder / "late.fcs").write_bytes(b"late")
    assert far.poll().exit_status == 0
    assert far.files()[".exlab-part-Run_9/late.fcs"] == b"late"
    assert far.clear().files_cleared == 3


def test_two_projects_with_equal_run_names_stay_apart(far: FarLab) -> None:
    far.lab.push(RUN, {"a.fcs": b"one"})
    far.lab.push(OTHER_PROJECT, {"a.fcs": b"two"})
    assert far.poll().exit_status == 0
    assert (far.files(RUN)["a.fcs"], far.files(OTHER_PROJECT)["a.fcs"]) == (b"one", b"two")


def test_empty_files_and_folders_are_kept(far: FarLab) -> None:
    lab = far.lab
    lab.push(files={"empty": b"", "full/of/nothing/zero": b""}, done=False)
    (lab.staged() / "hollow/inner").mkdir(parents=True)
    lab.push(files={})
    assert far.poll().exit_status == 0
    assert far.files() == {"empty": b"", "full/of/nothing/zero": b"", "run_complete": b""}
    assert ("hollow/inner" in far.everything()) == far.has_folders
    assert far.clear().files_cleared == 3


# -- names ---------------------------------------------------------------------------------------------------

PLAIN_NAMES = [
    "-dash",
    "--delete",
    "a b",
    "[x]",
    "ä.txt",
    "#h%20+&",
    "@file",
    "$(touch x)",
    "'q'",
    "{a,b}",
    "~",
    ";rm",
]
ODD_NAMES = ['quote"', "colon:x", "trailing.", "back\\slash", " leading", "Case", "case", "CON"]


@pytest.mark.programs_too
def test_plain_but_unusual_names_arrive_as_they_are(far: FarLab) -> None:
    files = {f"{folder}{name}": name.encode() for name in PLAIN_NAMES for folder in ("", "-f/")}
    proved(far, files)
    assert far.files() == {**files, "run_complete": b""}
    assert far.clear().files_cleared == len(files) + 1


def test_names_that_a_nas_would_change_are_listed_before_a_byte_is_copied(far: FarLab) -> None:
    files = {name: name.encode() for name in ODD_NAMES}
    far.lab.push(files=files)
    report = far.poll()
    if far.kind == "rclone-smb":
        assert (report.exit_status, codes(report), far.files()) == (3, ["name_unsupported"], {})
        assert "8 names" in report.announcements[0].problem.message
    else:
        assert (report.exit_status, far.files()) == (0, {**files, "run_complete": b""})


@pytest.mark.programs_too
def test_names_that_rclone_would_rewrite_are_refused_and_others_are_kept(far: FarLab) -> None:
    lab = far.lab
    lab.push(files={"new\nline": b"x", "picture␛": b"y"})
    report = far.poll()
    if far.by_rclone:
        assert (report.exit_status, codes(report), far.files()) == (3, ["name_unsupported"], {})
    else:
        assert (report.exit_status, len(far.files())) == (0, 3)


# -- what is on the NAS already ------------------------------------------------------------------------------


@pytest.mark.programs_too
def test_what_somebody_else_put_there_is_a_conflict_and_never_overwritten(far: FarLab) -> None:
    far.write("a.fcs", b"theirs")
    far.lab.push()
    report = far.poll()
    assert (report.exit_status, codes(report)) == (3, ["nas_conflict"])
    assert far.files() == {"a.fcs": b"theirs"}
    assert far.lab.states()[-1] == "sync_queued"


def test_identical_files_that_are_there_already_are_adopted(far: FarLab) -> None:
    far.write("a.fcs", b"aaa")
    before = far.stamp("a.fcs")
    proved(far)
    assert far.stamp("a.fcs") == before
    assert far.clear().files_cleared == 3


def test_what_people_add_beside_the_data_is_theirs(far: FarLab) -> None:
    proved(far)
    far.write("results.csv", b"1,2")
    assert far.clear().files_cleared == 3
    assert far.files()["results.csv"] == b"1,2"


# -- damage --------------------------------------------------------------------------------------------------


@pytest.mark.programs_too
def test_a_copy_that_was_edited_is_found_and_nothing_is_deleted(far: FarLab) -> None:
    lab = proved(far)
    far.write("sub/b.fcs", b"bXbb")
    with pytest.raises(NasCopyDamaged):
        far.clear()
    assert (lab.staged() / "sub/b.fcs").read_bytes() == b"bbbb"
    assert lab.states() == PROVED


def test_a_copy_that_is_gone_is_copied_again(far: FarLab) -> None:
    lab = proved(far)
    far.delete("sub/b.fcs")
    with pytest.raises(NasCopyMissing):
        far.clear()
    assert (lab.staged() / "sub/b.fcs").exists()
    assert far.poll().exit_status == 0
    assert far.files()["sub/b.fcs"] == b"bbbb"
    assert far.clear().files_cleared == 3


# -- a NAS that goes away ------------------------------------------------------------------------------------


def test_a_nas_that_is_away_is_told_as_such_and_uses_up_no_attempt(far: FarLab) -> None:
    lab = far.lab
    lab.now = datetime.now(UTC)
    lab.push()
    with away(far):
        report = far.poll()
    assert report.exit_status == 69
    assert codes(report)[0] in ("nas_unreachable", "nas_not_mounted", "nas_wrong_marker")
    lab.now += timedelta(minutes=1)
    assert far.poll().exit_status == 0
    assert lab.states() == PROVED


@dataclass
class GoneHalfWay:
    """An observer that takes the NAS away at the first byte that is copied."""

    act: Callable[[], object]
    phase: str = ""
    done: bool = False

    def begin(self, run_path: str, phase: str, files: int, byte_total: int) -> None:
        self.phase = phase

    def advance(self, byte_count: int) -> None:
        if self.phase == "copy" and byte_count and not self.done:
            self.done = True
            self.act()

    def end(self) -> None:
        self.phase = ""


@pytest.mark.programs_too
def test_a_nas_that_dies_in_the_middle_of_a_copy_loses_nothing(far: FarLab) -> None:
    lab = far.lab
    lab.now = datetime.now(UTC)
    lab.push(files={f"{number}.fcs": bytes([number]) * 300_000 for number in range(20)})
    context = away(far)
    watch = GoneHalfWay(context.__enter__)
    report = far.poll(watch)
    assert watch.done
    assert report.exit_status in (3, 69), report
    assert lab.states()[-1] == "sync_queued"
    context.__exit__(None, None, None)
    for _ in range(3):
        lab.now += timedelta(minutes=11)
        far.poll()
    assert lab.states() == PROVED
    assert len(far.files()) == 21
    assert far.clear().files_cleared == 21
    assert far.leftovers() == []


@pytest.mark.slow
def test_a_pass_that_is_killed_again_and_again_loses_nothing(far: FarLab) -> None:
    if not isinstance(far, DiskNas):
        return  # memory ends with the process; the kills of tests/faults are for the mounted NAS
    lab = far.lab
    lab.push(files={f"{number}.fcs": os.urandom(100_000) for number in range(12)})
    oracle = Oracle(lab)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    for moment in (0.45, 0.7, 1.0, 1.3, 1.7, 2.2):
        poll = subprocess.Popen(lab.command("poll"), env=environment, stderr=subprocess.DEVNULL)
        time.sleep(moment)
        poll.kill()
        poll.wait(10)
        oracle.require_nothing_lost()
    oracle.settle()
    assert lab.states()[-1] == "sync_verified"
    for moment in (0.6, 1.1, 1.6):
        clearing = subprocess.Popen(lab.command("clear", RUN, "--yes"), env=environment, stderr=subprocess.DEVNULL)
        time.sleep(moment)
        clearing.kill()
        clearing.wait(10)
        oracle.require_nothing_lost()
    oracle.settle()
    assert far.leftovers() == []


# -- size ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_thousand_files_are_copied_and_cleared(far: FarLab) -> None:
    files = {f"f{number % 20}/{number:04}.fcs": b"%d" % number for number in range(2000)}
    proved(far, files)
    assert far.files() == {**files, "run_complete": b""}
    assert far.clear().files_cleared == 2001


@pytest.mark.slow
def test_a_file_of_one_gibibyte_is_copied_and_cleared(far: FarLab) -> None:
    if not isinstance(far, DiskNas):
        pytest.skip("memory is for small runs")
    lab = far.lab
    lab.push(files={"small": b"1"}, done=False)
    with (lab.staged() / "big.raw").open("wb") as file:
        block = bytes(range(256)) * 4096
        for number in range(1024):
            file.write(number.to_bytes(4) + block[4:])
    lab.push(files={})
    assert far.poll().exit_status == 0
    assert (lab.published() / "big.raw").stat().st_size == 1 << 30
    assert far.clear().files_cleared == 3


# -- reading it again later ----------------------------------------------------------------------------------


@pytest.mark.programs_too("rsync-ssh")
def test_a_copy_is_read_again_after_its_staged_one_is_deleted_and_damage_is_told(far: FarLab) -> None:
    proved(far)
    assert far.verify().ok
    far.clear()
    far.write("results.csv", b"1,2")
    found = far.verify()
    assert (found.ok, found.files, found.byte_total, found.extra) == (True, 3, 7, (b"results.csv",))
    far.write("sub/b.fcs", b"bXbb")
    far.delete("a.fcs")
    found = far.verify()
    assert (found.missing, found.changed, found.vouched) == ((b"a.fcs",), (b"sub/b.fcs",), True)
    far.write(".exlab-wizard/checksums.sha256", b"forged")
    found = far.verify()
    assert (found.list_fault, found.vouched) == ("changed", False)
    assert far.leftovers() == []


@pytest.mark.programs_too("rsync-ssh")
def test_a_nas_that_is_away_is_no_damage_to_what_is_on_it(far: FarLab) -> None:
    proved(far)
    far.clear()
    with away(far), pytest.raises(NasFault):
        far.verify()
    assert far.verify().ok
