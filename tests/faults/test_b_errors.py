"""B. Any one system call of a whole pass or clear fails once: nothing is lost, it is told, and later passes mend it.

The default run takes calls spread over the whole; the tests marked slow take every one.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from exlab_orch.clock import utc_now
from tests.faults.scenarios import CLEAR, POLL, SECOND, Scenario, settle_and_compare, spread
from tests.faults.strace import Point, at, under_strace
from tests.lab import RUN
from tests.oracle import Oracle

CALLS: Final = (
    "openat,openat2,read,readv,pread64,write,pwrite64,fsync,fdatasync,close,rename,renameat2,mkdir,mkdirat,unlink,"
    "unlinkat,rmdir,getdents64,newfstatat,statx,statfs,fstatfs,link,linkat,utimensat,fchmod,flock,ftruncate"
)
ERRORS: Final = ("EIO", "ENOSPC", "EDQUOT", "ESTALE")
CHUNKS: Final = 100


@cache
def calls_of(scenario: Scenario) -> Sequence[Point]:
    """Every call of the main thread on anything in the lab, in order; those of Python's own start are left out."""
    with tempfile.TemporaryDirectory() as name:
        lab = scenario.prepare(Path(name, "lab"))
        trace = Path(name, "trace")
        assert under_strace(lab, scenario.command, "-y", "-e", f"trace={CALLS}", "-o", str(trace)).returncode == 0
        lines = trace.read_text(errors="replace").splitlines()
        main = lines[0].split()[0]
        counts: Counter[str] = Counter()
        found: list[Point] = []
        for line in lines:
            call = re.match(rf"{main} +(\w+)\(", line)
            if call is not None:
                counts[call.group(1)] += 1
                found += [Point(call.group(1), counts[call.group(1)])] * (str(lab.root) in line)
        return found


def survive_error(scenario: Scenario, folder: Path, point: Point, error: str) -> None:
    """The command with one failing call; an hour later the end is that of the undisturbed way."""
    lab = scenario.prepare(folder)
    oracle = Oracle(lab)
    ended = at(lab, scenario.command, point, f"error={error}")
    assert ended.returncode in (0, 3, 5, 69, 75, 77, 78), f"{point} {error}: {ended.stderr}"
    assert "bug" not in ended.stderr, f"{point} {error}: {ended.stderr}"
    oracle.require_nothing_lost()
    listed = lab.cli("list", "--json")
    assert listed.returncode == 0, listed.stderr
    rows = [one for one in json.loads(listed.stdout)["runs"] if one["run"] == RUN]
    told = all(one["waiting_for"] or one["problem"] or one["current_state"] == "sync_verified" for one in rows)
    assert told or ended.returncode, f"{point} {error}: nobody says why it waits: {rows}"
    lab.now = utc_now() + timedelta(hours=1)
    settle_and_compare(scenario, lab, oracle)


@pytest.mark.parametrize("part", range(3))
@pytest.mark.parametrize("scenario", [POLL, CLEAR], ids=str)
def test_one_failing_call_anywhere_loses_nothing_and_mends_itself(
    tmp_path: Path, scenario: Scenario, part: int
) -> None:
    survive_error(scenario, tmp_path, spread(calls_of(scenario), part, 3), ERRORS[part % len(ERRORS)])


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("scenario", [POLL, CLEAR], ids=str)
def test_many_failing_calls_lose_nothing_and_mend_themselves(tmp_path: Path, scenario: Scenario, chunk: int) -> None:
    for number, point in enumerate(calls_of(scenario)[chunk :: CHUNKS * 4]):
        survive_error(scenario, tmp_path / str(number), point, ERRORS[number % len(ERRORS)])


@pytest.mark.exhaustive
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("scenario", [POLL, CLEAR, SECOND], ids=str)
def test_every_failing_call_loses_nothing_and_mends_itself(
    tmp_path: Path, scenario: Scenario, chunk: int, error: str
) -> None:
    for number, point in enumerate(calls_of(scenario)[chunk::CHUNKS]):
        survive_error(scenario, tmp_path / str(number), point, error)
