"""B. Too few descriptors, too little memory, files that may not become large; many, huge and sparse files."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from exlab_orch.clock import utc_now
from tests.faults.scenarios import FILES
from tests.lab import RUN, Lab
from tests.oracle import Oracle, require_cleared, require_program

CLEAR = ("clear", "--yes", RUN)
MEMORY_KIB = 150 << 10
"""What a pass may need at most, however many and large the files (reliability.md, 14)."""


def limited(lab: Lab, limit: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A command under ``prlimit``."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [require_program("prlimit"), limit, *lab.command(*words)]
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=60)


LIMITS = ["--nofile=12", "--nofile=16", "--nofile=24", "--nofile=64", "--fsize=50000", "--fsize=0", "--as=150000000"]


@pytest.mark.parametrize("limit", LIMITS)
def test_a_program_with_too_narrow_limits_loses_nothing_and_says_so(lab: Lab, oracle: Oracle, limit: str) -> None:
    lab.push(files=FILES | {f"many/{number}.fcs": b"x" for number in range(100)})
    oracle.remember()
    ended = limited(lab, limit, "poll")
    assert ended.returncode in (0, 3, 69, 75), ended
    is_proved = (lab.staged() / ".exlab-wizard/ingest.json").exists() and lab.states()[-1] == "sync_verified"
    assert is_proved or ended.returncode, ended
    oracle.require_nothing_lost()
    lab.now = utc_now() + timedelta(minutes=1)
    oracle.settle()
    assert lab.states()[-1] == "sync_verified"
    assert limited(lab, limit, *CLEAR).returncode in (0, 5, 69, 75)
    oracle.settle()
    assert lab.cli(*CLEAR).returncode == 0
    oracle.settle()
    require_cleared(lab)


MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
"""Started from a small process: what the starting one has in memory counts for the started one too."""


def peak_kib(lab: Lab, *words: str) -> int:
    """The most memory a command needed; it must succeed."""
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    measured = [sys.executable, "-c", MEASURE, *lab.command(*words)]
    ended = subprocess.run(measured, env=environment, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return int(ended.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(3_000, marks=pytest.mark.slow),
        300,
        pytest.param(200_000, marks=pytest.mark.exhaustive),
    ],
)
def test_a_run_of_very_many_files_needs_bounded_memory(lab: Lab, oracle: Oracle, count: int) -> None:
    lab.push(files={f"{number % 100}/{number}.fcs": b"%d" % number for number in range(count)})
    oracle.remember()
    assert peak_kib(lab, "poll") < MEMORY_KIB
    assert lab.states()[-1] == "sync_verified"
    assert peak_kib(lab, *CLEAR) < MEMORY_KIB
    oracle.settle()
    require_cleared(lab)


@pytest.mark.parametrize("size", [(1 << 20) + 7, pytest.param((4 << 30) + 7, marks=pytest.mark.exhaustive)])
def test_a_sparse_file_is_copied_byte_for_byte(lab: Lab, oracle: Oracle, size: int) -> None:
    folder = lab.push(files=FILES, done=False)
    with (folder / "large.raw").open("wb") as file:
        file.truncate(size)
        file.seek(size - 3)
        file.write(b"end")
    (folder / "run_complete").touch()
    assert peak_kib(lab, "poll") < MEMORY_KIB
    with (lab.published() / "large.raw").open("rb") as file:
        assert file.seek(0, os.SEEK_END) == size
        file.seek(size - 3)
        assert file.read() == b"end"
    assert peak_kib(lab, *CLEAR) < MEMORY_KIB
    lab.push("FLOW_01/PROJ-1/Runs/Run_after", files=FILES)
    oracle.remember()
    oracle.settle()
    require_cleared(lab)
