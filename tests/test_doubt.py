"""A copy that cannot be read is not called good: no read of before counts, no receipt says "safe", until it is read."""

from __future__ import annotations

import errno
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import pytest

from exlab_orch.archive import due_runs
from exlab_orch.cleanup import clear
from exlab_orch.clock import utc_now
from exlab_orch.detail import run_detail
from exlab_orch.errors import ExlabError, NasUnreachable, SyncFailed, from_nas
from exlab_orch.files import hashing
from exlab_orch.files.hashing import OnBytes
from exlab_orch.finding import find_run
from exlab_orch.model import CHECKSUMS_PATH, ClearProof, Identity, StagedRun
from exlab_orch.orders import accept
from exlab_orch.proof import doubt
from exlab_orch.receipts import read_receipt
from exlab_orch.staging import trash_slots
from exlab_orch.station import Station
from exlab_orch.transports import Area, ReadBack
from exlab_orch.transports.marker import MARKER
from exlab_orch.transports.mount import MountedNas
from exlab_orch.trash import settle_trashed, to_trash
from exlab_orch.verification import verify
from tests.files.privilege import ordinary_user
from tests.lab import EQUIPMENT, MARKER_ID, RUN, Lab, flip_a_bit

RECENT = 'proof = "recent"\nproof_max_age = "7d"'
WITH_RECEIPTS = EQUIPMENT.replace('id = "FLOW_01"\n', 'id = "FLOW_01"\nreceipts = true\n')


@pytest.fixture
def proud(tmp_path: Path) -> Lab:
    """A proved run with a receipt; of its copy every read of a week counts."""
    lab = Lab(tmp_path, equipment=WITH_RECEIPTS, cleanup=RECENT)
    lab.push()
    assert lab.poll().exit_status == 0
    assert is_called_safe(lab)
    return lab


def is_called_safe(lab: Lab) -> bool:
    """What the receipt at the instrument says; ``show`` must not be the more careful one of the two."""
    receipt = read_receipt(str(lab.staging), RUN)
    assert receipt is not None
    with lab.station(changing=False) as station:
        shown = run_detail(station, find_run(station, RUN), now=station.now()).safe
    assert shown.yes or not receipt.safe, f"the receipt says that it is safe, and show: {shown.why}"
    return receipt.safe


def clear_it(lab: Lab) -> str | None:
    """The code with which a clear refuses, or None where it deleted the staged copy."""
    with lab.station() as station:
        try:
            clear(station, lab.run(), by="ada", wait_seconds=0)
        except ExlabError as error:
            return error.code
    return None


def look(lab: Lab) -> str | None:
    """The code of what a verify finds, or raises."""
    with lab.station() as station:
        try:
            problem = verify(station, lab.run(), lock_seconds=0, slot_seconds=0).problem
        except ExlabError as error:
            return error.code
        return None if problem is None else problem.code


def due(lab: Lab) -> list[str]:
    """What the weekly verify reads that leaves out everything it has read lately."""
    with lab.station() as station:
        return [one.run.run_path for one in due_runs(station, since=timedelta(days=7))]


def open_codes(lab: Lab) -> list[str]:
    with lab.station(changing=False) as station:
        return [problem.code for problem in station.journal.problems(RUN)]


# -- how the NAS fails, without a trace in names, sizes and times ------------------------------------------------


@contextmanager
def broken_sector(*names: bytes) -> Iterator[None]:
    """Files on the NAS, or all of them, answer every read with an error of the disk."""
    real = hashing.read_back

    def failing(folder: int, name: bytes, on_bytes: OnBytes) -> tuple[Identity, str]:
        if not names or name in names:
            raise from_nas(OSError(errno.EIO, "Input/output error"), f"reading back {name.decode()}")
        return real(folder, name, on_bytes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("exlab_orch.transports.mount.read_back", failing)
        yield


@contextmanager
def broken_folder() -> Iterator[None]:
    """The folder of the run cannot even be listed."""

    def failing(_nas: MountedNas, run_path: str, area: Area) -> object:
        raise from_nas(OSError(errno.EACCES, "Permission denied"), f"listing {run_path} ({area}) there")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MountedNas, "listing", failing)
        yield


@contextmanager
def away_while_it_is_read() -> Iterator[None]:
    def failing(*_: object) -> NoReturn:
        raise NasUnreachable("It is away.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MountedNas, "read_back", failing)
        yield


def test_a_file_that_verify_could_not_read_is_not_counted_as_read_good(proud: Lab) -> None:
    with broken_sector(b"a.fcs"):
        assert look(proud) == "nas_copy_unreadable"
        assert clear_it(proud) == "nas_copy_unreadable"
        assert (proud.staged() / "a.fcs").exists()
    assert clear_it(proud) is None


@pytest.mark.parametrize("is_cleared", [True, False])
def test_what_was_found_before_the_nas_went_away_is_not_forgotten(
    proud: Lab, monkeypatch: pytest.MonkeyPatch, *, is_cleared: bool
) -> None:
    real, read, doubted = MountedNas.read_back, [], threading.Event()

    def doubt_and_say_so(station: Station, run: StagedRun, names: Iterable[bytes]) -> None:
        doubt(station, run, names)
        doubted.set()

    def rotten_then_away(
        nas: MountedNas, run_path: str, area: Area, names: Sequence[bytes], on_bytes: OnBytes
    ) -> list[ReadBack]:
        read.append(names)
        if len(read) > 1:
            assert doubted.wait(20)
            raise NasUnreachable("It is away.")
        return [one._replace(sha256="0" * 64) for one in real(nas, run_path, area, names, on_bytes)]

    proud.sync = "workers = 1"
    proud.configure()
    proud.push(files={f"{number:03}.fcs": b"x" for number in range(200)})
    proud.poll()
    if is_cleared:
        assert clear_it(proud) is None
    assert due(proud) == []
    monkeypatch.setattr(MountedNas, "read_back", rotten_then_away)
    monkeypatch.setattr("exlab_orch.verification.doubt", doubt_and_say_so)
    assert look(proud) == "nas_unreachable"
    monkeypatch.setattr(MountedNas, "read_back", real)
    assert due(proud) == [RUN], "nothing is concluded, and it is looked at again first of all"
    if not is_cleared:
        with broken_sector(read[0][0]):
            assert clear_it(proud) == "nas_copy_unreadable", "it is read again"
    assert look(proud) is None
    assert due(proud) == []


def test_a_nas_that_goes_away_before_any_damage_shows_makes_no_run_due(proud: Lab) -> None:
    with away_while_it_is_read():
        assert look(proud) == "nas_unreachable"
    assert due(proud) == []


def test_a_list_that_is_not_the_proved_one_is_looked_at_again_when_the_nas_went_away(proud: Lab) -> None:
    assert clear_it(proud) is None
    flip_a_bit(proud.published() / CHECKSUMS_PATH)
    with away_while_it_is_read():
        assert look(proud) == "nas_unreachable"
    assert due(proud) == [RUN]


# -- receipts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", [clear_it, look])
@pytest.mark.parametrize("broken", [broken_sector, broken_folder])
def test_a_copy_that_cannot_be_read_withdraws_the_receipt_until_it_was_read(
    proud: Lab, act: Callable[[Lab], str | None], broken: Callable[[], AbstractContextManager[None]]
) -> None:
    proud.cleanup = 'mode = "manual"'
    proud.configure()
    with broken():
        assert act(proud) is not None
        assert not is_called_safe(proud)
        proud.poll()
        assert not is_called_safe(proud), "a pass does not read it"
    proud.poll()
    assert not is_called_safe(proud), "nobody has read it yet"
    assert look(proud) is None
    assert open_codes(proud) == []
    proud.poll()
    assert is_called_safe(proud)


@pytest.mark.parametrize("broken", [broken_sector, broken_folder])
def test_a_copy_of_a_cleared_run_that_cannot_be_read_withdraws_the_receipt_until_it_was_read(
    proud: Lab, broken: Callable[[], AbstractContextManager[None]]
) -> None:
    assert clear_it(proud) is None
    with broken():
        assert look(proud) is not None
        assert not is_called_safe(proud)
    assert look(proud) is None
    assert is_called_safe(proud)


def test_a_clear_that_succeeds_after_one_that_was_refused_gives_the_receipt_back(proud: Lab) -> None:
    proud.cleanup = 'mode = "manual"'
    proud.configure()
    with broken_sector():
        assert clear_it(proud) == "nas_copy_unreadable"
    assert not is_called_safe(proud)
    assert clear_it(proud) is None
    assert is_called_safe(proud)


def test_a_nas_that_is_away_says_nothing_about_the_copy(proud: Lab) -> None:
    (proud.nas / MARKER).rename(proud.nas / "away")
    assert clear_it(proud) == "nas_wrong_marker"
    assert look(proud) == "nas_wrong_marker"
    receipt = read_receipt(str(proud.staging), RUN)
    assert receipt is not None
    assert receipt.safe


def another_nas(lab: Lab) -> None:
    lab.nas_folder = lab.root / "nas2"
    lab.nas_folder.mkdir()
    (lab.nas_folder / MARKER).write_text(f"{MARKER_ID}\n")
    lab.configure()


def test_a_nas_that_is_another_one_in_the_configuration_withdraws_the_receipt_until_the_run_is_there(
    proud: Lab,
) -> None:
    before = proud.nas
    another_nas(proud)
    proud.poll()
    assert not is_called_safe(proud)
    shutil.copytree(before / RUN, proud.nas / RUN)
    assert look(proud) is None
    proud.poll()
    assert is_called_safe(proud)
    receipt = read_receipt(str(proud.staging), RUN)
    assert receipt is not None
    assert receipt.nas_path == str(proud.published())


def test_the_receipt_of_a_deleted_staged_copy_follows_the_nas_too(proud: Lab) -> None:
    assert clear_it(proud) is None
    before = proud.nas
    another_nas(proud)
    proud.poll(frozenset({"evaluate"}))
    assert not is_called_safe(proud)
    shutil.copytree(before / RUN, proud.nas / RUN)
    assert look(proud) is None
    assert is_called_safe(proud)
    proud.cleanup = 'mode = "manual"'  # something else in the configuration
    proud.configure()
    proud.poll()
    assert is_called_safe(proud)


def test_the_receipt_of_a_deleted_staged_copy_is_back_when_the_nas_is(proud: Lab) -> None:
    assert clear_it(proud) is None
    another_nas(proud)
    proud.poll()
    assert not is_called_safe(proud)
    proud.nas_folder = None
    proud.configure()
    proud.poll()
    assert is_called_safe(proud)


@pytest.mark.parametrize("mode", [0o000, 0o555])
def test_receipts_that_could_not_follow_the_nas_are_told_and_follow_once_they_can(proud: Lab, mode: int) -> None:
    assert clear_it(proud) is None
    folder = proud.staging / "FLOW_01/.exlab-receipts"
    another_nas(proud)
    folder.chmod(mode)
    with ordinary_user():
        proud.poll()
        proud.poll()
    folder.chmod(0o755)
    with proud.station(changing=False) as station:
        assert "receipt_not_written" in [problem.code for problem in station.journal.problems()]
    proud.poll()
    assert not is_called_safe(proud)
    with proud.station(changing=False) as station:
        assert "receipt_not_written" not in [problem.code for problem in station.journal.problems()]


@pytest.mark.parametrize("ending", ["the NAS is back", "the receipts are gone", "a good look"])
def test_a_receipt_that_could_not_be_written_is_no_problem_any_more_once_it_is_right_or_gone(
    proud: Lab, ending: str
) -> None:
    assert clear_it(proud) is None
    first, folder = proud.nas, proud.staging / "FLOW_01/.exlab-receipts"
    another_nas(proud)
    folder.chmod(0o555)
    with ordinary_user():
        proud.poll()
    assert open_codes(proud) == ["receipt_not_written"]
    folder.chmod(0o755)
    if ending == "the NAS is back":
        proud.nas_folder = None
        proud.configure()
    elif ending == "a good look":
        shutil.copytree(first / RUN, proud.nas / RUN)
        assert look(proud) is None
    else:
        for file in folder.iterdir():
            file.unlink()
    proud.poll()
    assert open_codes(proud) == []
    if any(folder.iterdir()):
        assert is_called_safe(proud)


def test_receipts_that_cannot_be_read_keep_no_other_from_following_the_nas(proud: Lab) -> None:
    assert clear_it(proud) is None
    closed = proud.staging / "BEFORE_01/.exlab-receipts"
    closed.mkdir(parents=True)
    closed.chmod(0)
    another_nas(proud)
    with ordinary_user():
        proud.poll()
    assert not is_called_safe(proud)


@pytest.mark.parametrize("is_cleared", [True, False])
def test_damage_on_one_nas_is_not_forgotten_when_a_good_copy_on_another_was_read(
    proud: Lab, *, is_cleared: bool
) -> None:
    if is_cleared:
        assert clear_it(proud) is None
    first = proud.nas
    flip_a_bit(proud.published() / "a.fcs")
    assert look(proud) == "nas_copy_damaged"
    another_nas(proud)
    shutil.copytree(first / RUN, proud.nas / RUN)
    flip_a_bit(proud.published() / "a.fcs")
    assert look(proud) is None
    proud.nas_folder = None
    proud.configure()
    proud.poll(frozenset({"evaluate"}))
    assert not is_called_safe(proud)
    shown = json.loads(proud.cli("show", RUN, "--json").stdout)["safe_on_nas"]
    assert (shown["yes"], "was not read here since" in shown["why"]) == (False, True)
    assert due(proud) == [RUN]
    assert look(proud) == "nas_copy_damaged"
    flip_a_bit(proud.published() / "a.fcs")
    assert look(proud) is None
    proud.poll()
    assert is_called_safe(proud)
    assert due(proud) == []


def test_a_receipt_whose_run_was_busy_is_back_with_the_nas_in_a_later_pass(proud: Lab) -> None:
    assert clear_it(proud) is None
    another_nas(proud)
    proud.poll()
    proud.nas_folder = None
    proud.configure()
    with proud.station() as station, station.state.run_lock(RUN):
        proud.poll(frozenset({"evaluate"}))
    assert not is_called_safe(proud)
    proud.poll()
    assert is_called_safe(proud)


def test_a_closed_project_keeps_no_receipt_of_another_from_following_the_nas(proud: Lab) -> None:
    assert clear_it(proud) is None
    proud.push("FLOW_01/PROJ-2/Runs/Run_2")
    proud.poll()
    closed = proud.staging / "FLOW_01/PROJ-2"
    another_nas(proud)
    closed.chmod(0)
    with ordinary_user():
        proud.poll()
    closed.chmod(0o755)
    assert not is_called_safe(proud)


@pytest.mark.parametrize("harm", ["damage that was accepted", "a new push", "a process that is busy with it"])
def test_a_receipt_is_not_back_with_the_nas_where_something_else_is_wrong(proud: Lab, harm: str) -> None:
    assert clear_it(proud) is None
    another_nas(proud)
    proud.poll()
    if harm == "a new push":
        proud.push(files={"a.fcs": b"other"}, done=False)
    elif harm.startswith("damage"):
        assert look(proud) == "nas_copy_damaged"
        with proud.station() as station:
            assert accept(station, proud.run(), reason="no backup", by="ada")
    proud.nas_folder = None
    proud.configure()
    with proud.station() as station, station.state.run_lock(RUN) if harm.startswith("a process") else nullcontext():
        proud.poll(frozenset({"evaluate"}))
    assert not is_called_safe(proud)


@pytest.mark.parametrize("is_cleared", [True, False])
def test_a_look_at_another_nas_before_the_run_was_proved_anew_says_nothing_about_it_now(
    proud: Lab, *, is_cleared: bool
) -> None:
    first = proud.nas
    another_nas(proud)
    shutil.copytree(first / RUN, proud.nas / RUN)
    assert look(proud) is None
    proud.nas_folder = None
    proud.configure()
    proud.push(files={"late.fcs": b"only the first NAS has it"})
    proud.poll()
    assert is_called_safe(proud)
    if is_cleared:
        assert clear_it(proud) is None
    proud.nas_folder = proud.root / "nas2"
    proud.configure()
    proud.poll(frozenset({"evaluate"}))
    assert not is_called_safe(proud)
    assert json.loads(proud.cli("show", RUN, "--json").stdout)["safe_on_nas"]["yes"] is False
    if not is_cleared:
        (row,) = json.loads(proud.cli("list", "--json").stdout)["runs"]
        assert row["on_another_nas"] is True


@pytest.mark.parametrize("is_cleared", [True, False])
def test_after_the_nas_moved_every_run_is_due_to_be_verified_once(proud: Lab, *, is_cleared: bool) -> None:
    if is_cleared:
        assert clear_it(proud) is None
    assert due(proud) == []
    first = proud.nas
    another_nas(proud)
    shutil.copytree(first / RUN, proud.nas / RUN)
    assert due(proud) == [RUN]
    assert look(proud) is None
    assert due(proud) == []


@pytest.mark.parametrize("is_cleared", [True, False])
def test_no_receipt_calls_a_run_safe_whose_equipment_nobody_looks_after_any_more(
    proud: Lab, *, is_cleared: bool
) -> None:
    if is_cleared:
        assert clear_it(proud) is None
    proud.equipment = proud.equipment.replace("FLOW_01", "FLOW_02")
    proud.configure()
    proud.push(files={"late.fcs": b"pushed after the equipment was renamed"})
    proud.poll()
    assert not is_called_safe(proud)


def test_another_nas_in_the_same_place_withdraws_the_receipt_and_so_does_none(proud: Lab) -> None:
    (proud.nas / MARKER).write_text(f"{'e' * 32}\n")
    configuration = proud.config_path.read_text()
    proud.config_path.write_text(configuration.replace(MARKER_ID, "e" * 32))
    proud.poll()
    assert not is_called_safe(proud)
    assert look(proud) is None
    proud.poll()
    assert is_called_safe(proud)
    proud.config_path.write_text(re.sub(r"\[nas\].*?(?=\[sync\])", "", configuration, flags=re.DOTALL))
    proud.poll(frozenset({"evaluate"}))
    assert not is_called_safe(proud)


def test_the_end_of_a_delete_calls_nothing_safe_that_was_pushed_under_that_name_meanwhile(
    proud: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("exlab_orch.trash.delete_proved", lambda *_: 1 / 0)  # killed
        with pytest.raises(ZeroDivisionError):
            clear_it(proud)
    proud.push(files={"a.fcs": b"another one"}, done=False)
    proud.poll(frozenset({"evaluate"}))
    assert not is_called_safe(proud)
    with proud.station() as station:
        (slot,) = trash_slots(station.staging_root)
        assert slot.run is not None
        assert settle_trashed(station, slot.run).files_cleared
    assert not is_called_safe(proud)


@pytest.mark.parametrize("harm", ["gone", "closed"])
def test_a_copy_that_goes_away_between_proof_and_delete_is_not_called_safe_by_the_next_pass(
    proud: Lab, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    proud.cleanup = 'mode = "manual"'
    proud.configure()
    real, away = to_trash, proud.nas / "away"

    def harmed_before(station: Station, run: StagedRun, proof: ClearProof) -> StagedRun:
        if harm == "gone":
            (proud.published() / "a.fcs").rename(away)
            return real(station, run, proof)
        with broken_folder():
            return real(station, run, proof)

    with monkeypatch.context() as patch:
        patch.setattr("exlab_orch.cleanup.to_trash", harmed_before)
        assert clear_it(proud) == ("nas_copy_missing" if harm == "gone" else "nas_copy_unreadable")
    assert (proud.staged() / "a.fcs").exists()
    proud.poll()
    assert not is_called_safe(proud)
    if harm == "gone":
        away.rename(proud.published() / "a.fcs")
    assert look(proud) is None
    proud.poll()
    assert is_called_safe(proud)


def closed_folder(lab: Lab) -> None:
    (lab.staged() / "closed").mkdir()
    (lab.staged() / "closed/late.fcs").write_bytes(b"late")
    (lab.staged() / "closed").chmod(0)


def closed_file(lab: Lab) -> None:
    arriving = lab.staged() / ".arriving"
    arriving.write_bytes(b"AAA")
    arriving.chmod(0)
    arriving.replace(lab.staged() / "a.fcs")


def broken_record(lab: Lab) -> None:
    (lab.staged() / ".exlab-wizard/ingest.json").write_bytes(b"{")
    (lab.staged() / "late.fcs").write_bytes(b"late")


@pytest.mark.parametrize("hide", [closed_folder, closed_file, broken_record])
def test_a_run_that_cannot_be_looked_at_any_more_is_not_called_safe(proud: Lab, hide: Callable[[Lab], None]) -> None:
    """Nobody can say what was pushed into it since."""
    hide(proud)
    with ordinary_user():
        proud.poll()
        proud.poll()
    assert open_codes(proud)
    assert not is_called_safe(proud)
    for path in proud.staged().rglob("*"):
        path.chmod(0o755)
    if hide is broken_record:
        (proud.staged() / ".exlab-wizard/ingest.json").rename(proud.root / "broken.json")
    proud.now = utc_now() + timedelta(minutes=10)  # the next attempt is due
    for _ in range(2):
        proud.poll()
    assert is_called_safe(proud)


def test_a_run_that_could_not_be_looked_at_for_a_while_is_called_safe_again_at_once(proud: Lab) -> None:
    (proud.staged() / "closed").mkdir(mode=0)
    with ordinary_user():
        proud.poll()
    assert not is_called_safe(proud)
    (proud.staged() / "closed").rmdir()
    for _ in range(2):
        proud.poll()
    assert is_called_safe(proud)


def test_a_run_below_a_folder_that_cannot_be_opened_any_more_is_not_called_safe(proud: Lab) -> None:
    project = proud.staging / "FLOW_01/PROJ-1"
    project.chmod(0)
    with ordinary_user():
        proud.poll()
        receipt = read_receipt(str(proud.staging), RUN)
    assert receipt is not None
    assert not receipt.safe
    project.chmod(0o755)
    proud.poll()
    assert is_called_safe(proud)


# -- what a clear met on the NAS -----------------------------------------------------------------------------


def test_what_a_clear_met_on_the_nas_is_closed_by_a_good_look_and_the_run_is_safe_again(proud: Lab) -> None:
    proud.cleanup = 'mode = "manual"'
    proud.configure()
    with broken_sector(b"sub/b.fcs"):
        assert clear_it(proud) == "nas_copy_unreadable"
    assert open_codes(proud) == ["nas_copy_unreadable"]
    listed = proud.cli("list", "--plain")
    assert "while reading back sub/b.fcs" in listed.stdout
    assert f"Next: exlab-orch show {RUN}" in listed.stdout + listed.stderr
    assert f"command\texlab-orch verify {RUN}" in proud.cli("show", RUN, "--plain").stdout
    assert look(proud) is None
    assert open_codes(proud) == []
    shown = json.loads(proud.cli("show", RUN, "--json").stdout)
    assert shown["safe_on_nas"]["yes"] is True


def test_what_a_clear_met_in_staging_is_not_closed_by_a_good_look_at_the_nas(
    proud: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise SyncFailed("Staging answered 'Input/output error' while moving the run to the trash.")

    with monkeypatch.context() as patch:
        patch.setattr("exlab_orch.cleanup.to_trash", refuse)
        proud.cleanup = 'mode = "scheduled"\nretain_hours = 0'
        proud.configure()
        proud.poll()
    assert open_codes(proud) == ["sync_failed"]
    assert look(proud) is None
    assert open_codes(proud) == ["sync_failed"]
