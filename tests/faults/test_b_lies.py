"""B. A NAS that fails one call, or lies: nothing is lost, each is told with its code, and it mends itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from _pytest.mark import ParameterSet

from exlab_orch.clock import utc_now
from tests.faults.nas import Fault, FaultyNas
from tests.faults.scenarios import FILES
from tests.lab import RUN, Lab
from tests.oracle import Oracle, require_cleared

pytestmark = pytest.mark.root

CLEAR = ("clear", "--yes", RUN)


def sampled(*rows: tuple[Fault, int, str]) -> list[ParameterSet]:
    """Every third in the default run, the others marked slow."""
    return [
        pytest.param(*row, marks=[pytest.mark.slow] * (number % 3 > 0), id=f"{row[0].does} at {row[0].operation}")
        for number, row in enumerate(rows)
    ]


@pytest.fixture
def nas(lab: Lab) -> Iterator[FaultyNas]:
    lab.push(files=FILES)
    with FaultyNas(lab) as nas:
        yield nas


def codes(lab: Lab) -> set[str]:
    """Every problem that ``list`` and ``show`` tell of the run and its NAS."""
    rows = json.loads(lab.cli("list", "--json").stdout)["runs"]
    shown = json.loads(lab.cli("show", "--json", RUN).stdout)
    told = [row["problem"] for row in rows if row["run"] == RUN] + shown.get("problems", [])
    return {problem["code"] for problem in told if problem}


# -- it says that it cannot ----------------------------------------------------------------------------------

ERRORS = sampled(
    (Fault("write", "ENOSPC", "c.fcs", at=50_000), 69, "nas_full"),
    (Fault("fsync", "ENOSPC", ".fcs"), 69, "nas_full"),
    (Fault("flush", "EDQUOT", ".fcs"), 69, "nas_full"),
    (Fault("write", "EDQUOT", "ingest.json"), 69, "nas_full"),
    (Fault("mkdir", "ENOSPC"), 69, "nas_full"),
    (Fault("rename", "ENOSPC"), 69, "nas_full"),
    (Fault("write", "EIO", "c.fcs"), 3, "sync_failed"),
    (Fault("fsync", "EIO", "c.fcs"), 3, "sync_failed"),
    (Fault("flush", "EIO", "c.fcs"), 3, "sync_failed"),
    (Fault("read", "EIO", "c.fcs"), 3, "sync_failed"),
    (Fault("rename", "EIO"), 3, "sync_failed"),
    (Fault("mkdir", "EROFS"), 69, "nas_unreachable"),
    (Fault("read", "ESTALE", "c.fcs"), 69, "nas_unreachable"),
    (Fault("readdir", "EIO", "Run"), 3, "sync_failed"),
    (Fault("getattr", "ESTALE", "c.fcs"), 69, "nas_unreachable"),
    (Fault("create", "EACCES", "c.fcs"), 3, "permission_denied"),
)


@pytest.mark.parametrize(("fault", "code", "problem"), ERRORS)
def test_a_nas_that_answers_with_an_error_is_told_and_mends_itself(
    lab: Lab, nas: FaultyNas, oracle: Oracle, fault: Fault, code: int, problem: str
) -> None:
    nas.fails(fault)
    assert lab.cli("poll").returncode == code
    assert not lab.published().exists() or lab.states()[-1] != "sync_verified"
    assert problem in codes(lab)
    nas.fails()
    lab.now = utc_now() + timedelta(minutes=1)
    oracle.settle()
    assert lab.states()[-1] == "sync_verified"


# -- it lies -------------------------------------------------------------------------------------------------

LIES = {
    "a write is accepted and not kept": Fault("write", "drop", "c.fcs"),
    "a bit differs whenever it is read": Fault("read", "flip 69999", "c.fcs", at=69_999),
    "the first bit differs": Fault("read", "flip 0", "a.fcs"),
}


@pytest.mark.parametrize("fault", LIES.values(), ids=LIES)
def test_a_nas_that_gives_back_other_bytes_twice_is_an_alarm_that_a_person_ends(
    lab: Lab, nas: FaultyNas, oracle: Oracle, fault: Fault
) -> None:
    nas.fails(fault)
    assert lab.cli("poll").returncode == 3
    assert "hash_mismatch" in codes(lab)
    nas.fails()
    assert lab.cli("poll").returncode == 0  # told once; it waits for a person, and copies nothing
    assert not lab.published().exists()
    assert lab.cli("sync", RUN).returncode == 0
    oracle.settle()
    assert lab.states()[-1] == "sync_verified"


@pytest.mark.parametrize("lie", [Fault("write", "drop", "c.fcs", times=1), Fault("read", "flip 9", "c.fcs", times=1)])
def test_a_nas_that_lies_once_is_sent_the_file_again(lab: Lab, nas: FaultyNas, oracle: Oracle, lie: Fault) -> None:
    nas.fails(lie)
    assert lab.cli("poll").returncode == 0
    oracle.settle()
    assert lab.states()[-1] == "sync_verified"


def test_a_nas_that_writes_less_than_it_is_given_is_given_the_rest(lab: Lab, nas: FaultyNas, oracle: Oracle) -> None:
    nas.fails(Fault("write", "short"))
    assert lab.cli("poll").returncode == 0
    oracle.settle()
    assert lab.states()[-1] == "sync_verified"


@pytest.mark.parametrize("manners", [(), ("caches",)], ids=["plain", "caches"])
def test_a_bit_that_flips_on_the_nas_before_a_clear_keeps_the_staged_copy(
    lab: Lab, oracle: Oracle, manners: tuple[str, ...]
) -> None:
    lab.push(files=FILES)
    oracle.remember()
    with FaultyNas(lab, *manners) as nas:
        lab.poll()
        assert (lab.published() / "sub/deep/c.fcs").read_bytes() == FILES["sub/deep/c.fcs"]  # the kernel has it now
        nas.fails(Fault("read", "flip 69999", "c.fcs", at=69_999))
        assert lab.cli(*CLEAR).returncode == 5
        assert "nas_copy_damaged" in codes(lab)
        oracle.require_nothing_lost()
        nas.fails()
        assert lab.cli("sync", "--new-version", RUN).returncode == 0
        assert lab.cli(*CLEAR).returncode == 0
        oracle.settle()
    require_cleared(lab)


CLEAR_ERRORS = sampled(
    (Fault("read", "EIO", "c.fcs"), 5, ""),
    (Fault("read", "ESTALE", "c.fcs"), 69, ""),
    (Fault("readdir", "EIO", "sub"), 5, ""),
    (Fault("write", "ENOSPC", "ingest"), 69, ""),
    (Fault("fsync", "EIO", "ingest"), 5, ""),
    (Fault("rename", "EIO", "ingest"), 5, ""),
)


@pytest.mark.parametrize(("fault", "code", "_problem"), CLEAR_ERRORS)
def test_a_clear_whose_nas_answers_with_an_error_deletes_nothing(
    lab: Lab, nas: FaultyNas, oracle: Oracle, fault: Fault, code: int, _problem: str
) -> None:
    lab.poll()
    assert lab.cli("hold", "--reason", "news for the log", RUN).returncode == 0
    assert lab.cli("unhold", RUN).returncode == 0
    nas.fails(fault)
    assert lab.cli(*CLEAR).returncode == code
    nas.fails()
    oracle.settle()
    assert lab.cli(*CLEAR).returncode == 0
    oracle.settle()
    require_cleared(lab)


def test_a_bit_that_flips_while_a_staged_file_is_copied_is_found_before_its_only_good_copy_is_deleted(
    lab: Lab, oracle: Oracle
) -> None:
    """The copy is made from one read of the staged file: a bit that flips in that read is on the NAS, and proved."""
    lab.push(files=FILES)
    oracle.remember()
    with FaultyNas(lab, instead_of=lab.staging) as disk:
        disk.fails(Fault("read", "flip 69999", "c.fcs", at=69_999, times=1))
        assert lab.cli("poll").returncode == 0
        assert (lab.published() / "sub/deep/c.fcs").read_bytes() != FILES["sub/deep/c.fcs"]
        assert lab.states()[-1] == "sync_verified"
        assert lab.cli(*CLEAR).returncode == 5
        assert lab.cli("poll").returncode == 0
        assert lab.cli(*CLEAR).returncode == 0
    assert not lab.staged().exists()
    oracle.settle()
    assert (lab.published() / "sub/deep/c.fcs").read_bytes() == FILES["sub/deep/c.fcs"]
