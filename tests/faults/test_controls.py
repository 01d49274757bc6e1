"""Controls: with one safeguard switched off the suite goes red. A suite that stays green without it tests nothing.

The program as it is survives each fault below; with the safeguard against it gone, the same fault must be noticed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from exlab_orch import cleanup, making_room, proof, records, selftest_removal, trash, verification
from exlab_orch.cleanup import clear
from exlab_orch.config import StagingCleanup
from exlab_orch.errors import RunProblem
from exlab_orch.madeup import Plan
from exlab_orch.model import Identity, Listing, StagedRun
from exlab_orch.receipts import read_receipt
from exlab_orch.selftest import chosen_nas, selftest
from exlab_orch.selftest_removal import MadeUpProof
from exlab_orch.station import Station
from exlab_orch.transports.marker import MARKER
from exlab_orch.verification import verify
from tests.faults.disks import Disk, powered
from tests.faults.scenarios import SCHEDULED
from tests.files.tricks import LATE_WRITERS
from tests.lab import EQUIPMENT, MARKER_ID, RUN, Lab
from tests.oracle import Oracle
from tests.test_doubt import RECENT, broken_sector
from tests.test_making_room import EARLY, RUNS
from tests.test_making_room import Disk as Disk10K

A = b"a" * 5000
FILES = {"a.fcs": A, "sub/b.fcs": b"b" * 5000}


def proved_lab(root: Path) -> tuple[Lab, Oracle]:
    lab = Lab(root)
    lab.push(files=FILES)
    oracle = Oracle(lab)
    lab.poll()
    return lab, oracle


def refusal(lab: Lab) -> str | None:
    """The code with which a clear refuses, or None where it deleted the staged copy."""
    with lab.station() as station:
        try:
            clear(station, lab.run(), by="ada")
        except RunProblem as problem:
            return problem.code
    return None


@contextmanager
def just_before(name: str, act: Callable[[], object]) -> Iterator[None]:
    """Inside the block something happens right before a step of the clear is taken."""
    with pytest.MonkeyPatch.context() as patch:
        real: Callable[..., object] = getattr(cleanup, name)
        patch.setattr(cleanup, name, lambda *words: (act(), real(*words))[1])
        yield


# -- the faults, and what must be after each --------------------------------------------------------------------


def power_of_the_nas_fails_after_a_pass_that_cleared(root: Path) -> None:
    disk = Disk("ext4", root / "nas.img", root / "nas")
    disk.make()
    with powered(disk) as power:
        lab = Lab(root, cleanup=SCHEDULED)
        lab.push(files=FILES)
        oracle = Oracle(lab)
        disk.flush()
        lab.poll()
        assert not lab.staged().exists()
        power.cut(disk)
        oracle.require_nothing_lost()


def a_bit_rots_on_the_disk_of_the_nas(root: Path) -> None:
    """The kernel still holds the good content in memory; only a read past it finds the bad one."""
    disk = Disk("ext4", root / "nas.img", root / "nas")
    disk.make()
    with powered(disk) as power:
        lab, oracle = proved_lab(root)
        disk.flip_a_bit_of(A)
        refusal(lab)
        power.off()
        power.on()
        oracle.require_nothing_lost()


def a_colleague_edits_the_nas_copy_and_puts_its_time_back(root: Path) -> None:
    lab, oracle = proved_lab(root)
    LATE_WRITERS["rewrite, mtime put back"](lab.published() / "a.fcs")
    refusal(lab)
    oracle.require_nothing_lost()


def a_file_is_rewritten_between_proof_and_delete(root: Path) -> None:
    lab, oracle = proved_lab(root)
    with just_before("to_trash", lambda: LATE_WRITERS["rewrite, mtime put back"](lab.staged() / "a.fcs")):
        refusal(lab)
    oracle.hashes[RUN, b"a.fcs"] = sha256(bytes([A[0] ^ 1]) + A[1:]).hexdigest()
    oracle.require_nothing_lost()


def a_file_comes_between_proof_and_delete(root: Path) -> None:
    lab, oracle = proved_lab(root)
    with just_before("to_trash", lambda: (lab.staged() / "late.fcs").write_bytes(b"late")):
        assert refusal(lab) == "changed_since_verified"
    assert {path.name for path in lab.staged().rglob("*.fcs")} == {"a.fcs", "b.fcs", "late.fcs"}
    oracle.require_nothing_lost()


def a_record_of_another_key_says_that_all_is_proved(root: Path) -> None:
    lab, oracle = proved_lab(root)
    (lab.state / "seal.key").write_bytes(os.urandom(32))
    assert refusal(lab) == "record_unsealed"
    oracle.require_nothing_lost()


@contextmanager
def small_disk(lab: Lab) -> Iterator[None]:
    """Inside the block the staging disk has 10,000 bytes, of which what lies in staging uses its share."""
    disk = Disk10K(lab)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("making_room.staging_space", "trash.disk_space"):
            patch.setattr(f"exlab_orch.{name}", disk.space)
        patch.setattr("exlab_orch.making_room.pause", lambda _: None)
        yield


def four_proved(root: Path, *, hours_ago: float) -> tuple[Lab, Oracle]:
    """Four runs of 1,000 bytes, proved so long ago, kept for 100 hours and, with less than 6,500 bytes free, for 10."""
    lab = Lab(root, cleanup=EARLY.format(mark=6500))
    lab.now = datetime.now(UTC) + timedelta(seconds=2)
    for run in RUNS:
        lab.push(run, {"a.fcs": run.encode().ljust(1000)})
    oracle = Oracle(lab)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("exlab_orch.cleanup.boot_seconds", lambda: 1e6)
        lab.poll()
        lab.now += timedelta(hours=hours_ago)
        patch.setattr("exlab_orch.cleanup.boot_seconds", lambda: 1e6 + hours_ago * 3600)
        with small_disk(lab):
            lab.poll()
    return lab, oracle


def the_disk_is_low_before_the_shortest_retention_is_over(root: Path) -> None:
    lab, oracle = four_proved(root, hours_ago=9.9)
    assert all(lab.staged(run).exists() for run in RUNS), "the floor was undercut"
    oracle.require_nothing_lost()


def the_disk_is_low_and_one_run_is_enough(root: Path) -> None:
    lab, oracle = four_proved(root, hours_ago=10.1)
    assert [lab.staged(run).exists() for run in RUNS].count(False) == 1, "more was deleted than was missing"
    oracle.require_nothing_lost()


def receipt_of(lab: Lab) -> bool:
    """Whether the receipt of the run says that it is safe."""
    receipt = read_receipt(str(lab.staging), RUN)
    assert receipt is not None
    return receipt.safe


def lab_with_a_receipt(root: Path) -> Lab:
    lab = Lab(root, equipment=EQUIPMENT.replace('id = "FLOW_01"\n', 'id = "FLOW_01"\nreceipts = true\n'))
    lab.push(files=FILES)
    lab.poll()
    assert receipt_of(lab)
    return lab


def a_file_on_the_nas_cannot_be_read_when_its_run_is_to_be_deleted(root: Path) -> None:
    lab = lab_with_a_receipt(root)
    with broken_sector(b"a.fcs"):
        assert refusal(lab) == "nas_copy_unreadable"
    lab.poll()
    assert not receipt_of(lab), "the receipt lies"


def the_nas_is_exchanged_for_an_empty_one(root: Path) -> None:
    lab = lab_with_a_receipt(root)
    lab.nas.rename(root / "old nas")
    lab.nas.mkdir()
    (lab.nas / MARKER).write_text(f"{'e' * 32}\n")
    lab.config_path.write_text(lab.config_path.read_text().replace(MARKER_ID, "e" * 32))
    lab.poll()
    assert not receipt_of(lab), "the receipt lies"


def lab_with_a_recent_proof(root: Path) -> tuple[Lab, Oracle]:
    lab = Lab(root, cleanup=RECENT)
    lab.push(files=FILES)
    oracle = Oracle(lab)
    lab.poll()
    return lab, oracle


def a_file_that_verify_could_not_read_stays_unreadable(root: Path) -> None:
    lab, oracle = lab_with_a_recent_proof(root)
    with broken_sector(b"a.fcs"):
        with lab.station() as station:
            assert not verify(station, lab.run()).ok
        assert refusal(lab) == "nas_copy_unreadable"
    oracle.require_nothing_lost()


def the_nas_moves_to_disks_that_nobody_has_read_yet(root: Path) -> None:
    """Names, sizes, times and inodes came along."""
    lab, _ = lab_with_a_recent_proof(root)
    lab.nas.rename(root / "new nas")
    lab.nas_folder = root / "new nas"
    lab.configure()
    with broken_sector(b"a.fcs"):
        assert refusal(lab) == "nas_copy_unreadable"
    assert (lab.staged() / "a.fcs").read_bytes() == A


def somebody_works_in_the_folders_of_a_self_test(root: Path) -> None:
    """Under a new name, and under a name of the made-up run."""
    lab, theirs = Lab(root), {"thesis.docx": b"years of work", "block_1.bin": b"edited", "notes.txt": b"notes"}
    lab.push(RUN, FILES)
    oracle = Oracle(lab)

    def meddle() -> None:
        (run,) = lab.nas.glob(".exlab-part-selftest-*/**/Run_*")
        (run / "thesis.docx").write_bytes(theirs["thesis.docx"])
        (run / "data/block_1.bin").write_bytes(theirs["block_1.bin"])
        (private,) = (lab.staging / ".exlab-orch/selftest").iterdir()
        (private / "notes.txt").write_bytes(theirs["notes.txt"])

    with lab.station() as station:
        nas = chosen_nas(station, None, None)
        selftest(station, nas, byte_total=4000, on_tick=lambda _, tick: meddle() if tick.step == "cleared" else None)
    places = [*lab.nas.glob(".exlab-part-*"), lab.staging / ".exlab-orch/selftest"]
    left = {path.name: path.read_bytes() for place in places for path in place.rglob("*") if path.is_file()}
    assert left == theirs, "the self-test removed what is not its own"
    oracle.require_nothing_lost()


# -- the safeguards ------------------------------------------------------------------------------------------

Patch = pytest.MonkeyPatch


def no_fsync(patch: Patch) -> None:
    patch.setattr(os, "fsync", lambda _: None)


def no_cache_drop(patch: Patch) -> None:
    patch.setattr(os, "posix_fadvise", lambda *_: None)


def no_reread(patch: Patch) -> None:
    def believe(station: Station, run: StagedRun, *_: object) -> dict[bytes, Identity]:
        found = station.nas_of(run).listing(run.run_path, "published")
        assert found is not None
        return dict(found.files)

    patch.setattr(proof, "_reread", believe)


def no_identity_check(patch: Patch) -> None:
    patch.setattr(Identity, "__eq__", lambda *_: True)


def no_exact_set_check(patch: Patch) -> None:
    patch.setattr(trash, "_differs_from_proof", lambda *_: None)


def no_seal_check(patch: Patch) -> None:
    patch.setattr(records, "is_sealed", lambda *_: True)


def no_floor(patch: Patch) -> None:
    patch.setattr(StagingCleanup, "shortest_hours", 0.0)


def no_end_of_making_room(patch: Patch) -> None:
    patch.setattr(making_room.MakingRoom, "is_done", lambda _: False)


def no_doubt(patch: Patch) -> None:
    patch.setattr(verification, "doubt", lambda *_: None)


def no_look_at_where_it_was_read(patch: Patch) -> None:
    patch.setattr(proof, "forget_reads_elsewhere", lambda *_: None)


def no_withdrawal(patch: Patch) -> None:
    patch.setattr(Station, "withdraw_receipt", lambda *_, **__: None)


def no_look_at_the_place(patch: Patch) -> None:
    patch.setattr(Station, "is_elsewhere", lambda *_: False)


def no_look_at_what_is_removed_from_the_nas(patch: Patch) -> None:
    def all_of_it(plan: Plan, listing: Listing, *_: object) -> MadeUpProof:
        return MadeUpProof(plan.hidden_key, tuple(listing.files), tuple(listing.folders), 0, ())

    patch.setattr(selftest_removal, "_split", all_of_it)


def no_look_at_what_is_removed_from_staging(patch: Patch) -> None:
    patch.setattr(selftest_removal, "_is_made_up", lambda *_: True)


@dataclass(frozen=True)
class Control:
    """A safeguard, and the fault that it is there for."""

    switch_off: Callable[[Patch], None]
    fault: Callable[[Path], None]
    noticed_by: str = r"^lost: \['FLOW_01"
    marks: tuple[pytest.MarkDecorator, ...] = ()


ROOT = (pytest.mark.root,)
CONTROLS = {
    "fsync": Control(no_fsync, power_of_the_nas_fails_after_a_pass_that_cleared, marks=ROOT),
    "cache drop": Control(no_cache_drop, a_bit_rots_on_the_disk_of_the_nas, marks=ROOT),
    "NAS re-read": Control(no_reread, a_colleague_edits_the_nas_copy_and_puts_its_time_back),
    "identity check": Control(no_identity_check, a_file_is_rewritten_between_proof_and_delete),
    "exact-set check": Control(no_exact_set_check, a_file_comes_between_proof_and_delete, "trash_leftover"),
    "seal check": Control(
        no_seal_check, a_record_of_another_key_says_that_all_is_proved, "assert None == 'record_unsealed'"
    ),
    "floor of early deletes": Control(no_floor, the_disk_is_low_before_the_shortest_retention_is_over, "the floor was"),
    "end of early deletes": Control(no_end_of_making_room, the_disk_is_low_and_one_run_is_enough, "more was deleted"),
    "doubt of what cannot be read": Control(
        no_doubt, a_file_that_verify_could_not_read_stays_unreadable, "assert None == 'nas_copy_unreadable'"
    ),
    "place of the reads": Control(
        no_look_at_where_it_was_read,
        the_nas_moves_to_disks_that_nobody_has_read_yet,
        "assert None == 'nas_copy_unreadable'",
    ),
    "withdrawal of receipts": Control(
        no_withdrawal, a_file_on_the_nas_cannot_be_read_when_its_run_is_to_be_deleted, "the receipt lies"
    ),
    "place of the proof": Control(no_look_at_the_place, the_nas_is_exchanged_for_an_empty_one, "the receipt lies"),
    "removal of the self-test on the NAS": Control(
        no_look_at_what_is_removed_from_the_nas, somebody_works_in_the_folders_of_a_self_test, "removed what is not"
    ),
    "removal of the self-test in staging": Control(
        no_look_at_what_is_removed_from_staging, somebody_works_in_the_folders_of_a_self_test, "removed what is not"
    ),
}
every_control = pytest.mark.parametrize(
    "control", [pytest.param(control, id=name, marks=control.marks) for name, control in CONTROLS.items()]
)


@pytest.mark.spread(len(CONTROLS))
@every_control
def test_the_program_survives_the_fault(tmp_path: Path, control: Control) -> None:
    control.fault(tmp_path)


@pytest.mark.spread(len(CONTROLS))
@every_control
def test_without_its_safeguard_the_fault_is_noticed(tmp_path: Path, monkeypatch: Patch, control: Control) -> None:
    control.switch_off(monkeypatch)
    with pytest.raises(AssertionError, match=control.noticed_by):
        control.fault(tmp_path)
