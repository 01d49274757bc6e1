"""Controls: with one safeguard switched off the suite goes red. A suite that stays green without it tests nothing.

The program as it is survives each fault below; with the safeguard against it gone, the same fault must be noticed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from exlab_orch import cleanup, proof, records, trash
from exlab_orch.cleanup import clear
from exlab_orch.errors import RunProblem
from exlab_orch.model import Identity, StagedRun
from exlab_orch.station import Station
from tests.faults.disks import Disk, powered
from tests.faults.scenarios import SCHEDULED
from tests.files.tricks import LATE_WRITERS
from tests.lab import RUN, Lab
from tests.oracle import Oracle

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
}
every_control = pytest.mark.parametrize(
    "control", [pytest.param(control, id=name, marks=control.marks) for name, control in CONTROLS.items()]
)


@pytest.mark.spread(6)
@every_control
def test_the_program_survives_the_fault(tmp_path: Path, control: Control) -> None:
    control.fault(tmp_path)


@pytest.mark.spread(6)
@every_control
def test_without_its_safeguard_the_fault_is_noticed(tmp_path: Path, monkeypatch: Patch, control: Control) -> None:
    control.switch_off(monkeypatch)
    with pytest.raises(AssertionError, match=control.noticed_by):
        control.fault(tmp_path)
