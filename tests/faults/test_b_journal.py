"""B. The journal is damaged, gone, or locked: it is an index that may be lost, and nothing else is lost with it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.scenarios import FILES
from tests.lab import RUN, Lab
from tests.oracle import Oracle, require_cleared

TAILS = ("", "-wal", "-shm")


@pytest.fixture
def proved(lab: Lab) -> Lab:
    lab.push(files=FILES)
    lab.poll()
    return lab


def journal(lab: Lab, tail: str = "") -> Path:
    return lab.state / f"journal.sqlite3{tail}"


def remove(lab: Lab) -> None:
    for tail in TAILS:
        journal(lab, tail).unlink(missing_ok=True)


def cut_to(size: int) -> Callable[[Lab], None]:
    return lambda lab: os.truncate(journal(lab), min(size, journal(lab).stat().st_size))


def cut_by(size: int) -> Callable[[Lab], None]:
    return lambda lab: os.truncate(journal(lab), journal(lab).stat().st_size - size)


def write_over(start: int, content: bytes) -> Callable[[Lab], None]:
    def write(lab: Lab) -> None:
        with journal(lab).open("r+b") as file:
            file.seek(start)
            file.write(content)

    return write


DAMAGES: dict[str, Callable[[Lab], None]] = {
    "deleted": remove,
    "empty": cut_to(0),
    "cut to 1 byte": cut_to(1),
    "cut in the header": cut_to(99),
    "cut after the header": cut_to(100),
    "cut to one page": cut_to(4096),
    "cut to five pages and a half": cut_to(5 * 4096 + 2048),
    "one byte short": cut_by(1),
    "other bytes in the header": write_over(0, b"GARBAGE!" * 12),
    "other bytes in the middle": write_over(4096, b"\xff" * 9000),
    "zeros": write_over(0, bytes(16_384)),
    "a list of names": write_over(0, b"name,size\n" * 5000),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_journal_is_told_and_begun_anew(proved: Lab, oracle: Oracle, damage: Callable[[Lab], None]) -> None:
    oracle.remember()
    damage(proved)
    codes = [proved.cli(*words).returncode for words in (("list",), ("show", RUN), ("poll",), ("poll",))]
    assert 1 not in codes
    assert codes[-1] == 0
    oracle.settle()
    assert proved.cli("clear", "--yes", RUN).returncode == 0
    oracle.settle()
    require_cleared(proved)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(16))
def test_a_journal_cut_at_any_length_loses_nothing(proved: Lab, oracle: Oracle, part: int) -> None:
    oracle.remember()
    cut_to(part * journal(proved).stat().st_size // 16 + part * 37)(proved)
    assert proved.cli("poll").returncode in (0, 3)
    oracle.settle()
    assert proved.states()[-1] == "sync_verified"


DRIVER = """
import os, sys
from exlab_orch import journal_file, sync
from exlab_orch.cli import main
journal_file._LOCKED_SECONDS = 0.3
name, files, words = sys.argv[1], sys.argv[2].split(), sys.argv[3:]
real = getattr(sync.RunCopy, name)
def after_a_deletion(self, *arguments):
    for file in filter(os.path.exists, files):
        os.unlink(file)
    return real(self, *arguments)
setattr(sync.RunCopy, name, after_a_deletion)
sys.exit(main(words))
"""
"""The program with a step before which somebody deletes files; it waits less for a lock."""


def run_driver(lab: Lab, *words: str, step: str = "_publish", files: str = "") -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", DRIVER, step, files, "-c", str(lab.config_path), *words]
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("step", ["_send", "_publish", "_record_proved"])
@pytest.mark.parametrize("tails", [TAILS, ("-wal", "-shm")], ids=["all", "wal and shm"])
def test_a_journal_that_is_deleted_while_a_pass_runs_loses_nothing(
    proved: Lab, oracle: Oracle, tails: tuple[str, ...], step: str
) -> None:
    proved.push(files={"a.fcs": b"another"})
    oracle.remember()
    files = " ".join(str(journal(proved, tail)) for tail in tails)
    assert run_driver(proved, "poll", step=step, files=files).returncode in (0, 3, 69)
    oracle.settle()
    assert proved.states()[-1] == "sync_verified"


def test_a_journal_that_another_process_locks_for_long_is_told_and_used_again(proved: Lab, oracle: Oracle) -> None:
    oracle.remember()
    holder = sqlite3.connect(journal(proved), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    for words in (("poll",), ("clear", "--yes", RUN), ("hold", "--reason", "x", RUN)):
        ended = run_driver(proved, *words)
        assert (ended.returncode, "is locked by another process" in ended.stderr) == (69, True), ended
    assert [proved.cli(*words).returncode for words in (("list",), ("show", RUN))] == [0, 0]
    holder.close()
    oracle.settle()
    assert proved.states()[-1] == "sync_verified"
