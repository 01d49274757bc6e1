"""Stepping back: nice and ionice arrive in the process and what it starts, never raise anything, and may be refused."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from exlab_orch.config import Sync
from exlab_orch.files import linux
from exlab_orch.priority import step_back
from tests.lab import Lab

ROOT = Path(__file__).parents[1]
SHOW = """
import json, os, subprocess, sys, threading
from exlab_orch.config import Sync
from exlab_orch.files.linux import io_priority
from exlab_orch.priority import step_back
refused = step_back(Sync.model_validate(json.loads(sys.argv[1])))
seen = [refused, os.getpriority(os.PRIO_PROCESS, 0), io_priority()]
worker = threading.Thread(target=lambda: seen.extend([os.getpriority(os.PRIO_PROCESS, 0), io_priority()]))
worker.start()
worker.join()
child = "import os; from exlab_orch.files.linux import io_priority; print(os.nice(0), *io_priority())"
seen.append(subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout.split())
print(json.dumps(seen))
"""
BEST_EFFORT, IDLE = [2, 7], [3, 7]


def after_stepping_back(*before: str, **settings: object) -> list[object]:
    """Refusals, then nice and ionice of a process that stepped back, of its worker, and of a program it started."""
    shown = subprocess.run(
        [*before, sys.executable, "-c", SHOW, json.dumps(settings)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        timeout=20,
    )
    found: list[object] = json.loads(shown.stdout)
    return found


@pytest.mark.parametrize(("ionice", "expected"), [("best-effort-low", BEST_EFFORT), ("idle", IDLE)])
def test_nice_and_ionice_arrive_in_the_process_its_workers_and_what_it_starts(ionice: str, expected: list[int]) -> None:
    nice = os.nice(0) + 3
    here = [nice, expected]
    assert after_stepping_back(nice=nice, ionice=ionice) == [[], *here, *here, [str(nice), *map(str, expected)]]


def test_without_the_settings_everything_stays_as_it_was_started() -> None:
    here = [os.nice(0), list(linux.io_priority())]
    assert after_stepping_back()[1:3] == here


def test_a_process_that_was_started_farther_back_stays_there() -> None:
    found = after_stepping_back("nice", "-n", "19", "ionice", "-c", "3", nice=5, ionice="best-effort-low")
    assert found[:3] == [[], 19, IDLE]


def test_a_refusal_of_the_kernel_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.setpriority", refused)
    monkeypatch.setattr("exlab_orch.priority.set_io_priority", refused)
    monkeypatch.setattr("exlab_orch.priority.io_priority", lambda: (0, 0))
    monkeypatch.setattr("os.getpriority", lambda *_: 0)
    assert step_back(Sync(nice=5, ionice="idle")) == [
        "The kernel does not allow sync.nice = 5: Operation not permitted.",
        'The kernel does not allow sync.ionice = "idle": Operation not permitted.',
    ]


def test_a_computer_whose_call_is_not_known_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux, "_NR_IOPRIO", {})
    with pytest.raises(OSError, match="not implemented") as raised:
        linux.io_priority()
    assert raised.value.errno == errno.ENOSYS


# -- the verbs ---------------------------------------------------------------------------------------------------

VERB = """
import os, sys
from exlab_orch.cli import main
from exlab_orch.files.linux import io_priority
from exlab_orch import priority
if sys.argv[1] == "refused":
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")
    priority.set_io_priority = refuse
try:
    main(sys.argv[2:])
except SystemExit as end:
    assert not end.code, end.code
print(os.getpriority(os.PRIO_PROCESS, 0), *io_priority(), file=sys.stderr)
"""


def verb(lab: Lab, *words: str, refused: bool = False) -> list[str]:
    """What a verb said on standard error, and as the last line where its process stands then."""
    shown = subprocess.run(
        [sys.executable, "-c", VERB, "refused" if refused else "allowed", "-c", str(lab.config_path), *words],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        timeout=30,
    )
    assert shown.returncode == 0, shown.stderr
    return shown.stderr.splitlines()


@pytest.fixture
def polite(lab: Lab) -> Lab:
    lab.sync = f'nice = {os.nice(0) + 4}\nionice = "idle"'
    lab.configure()
    lab.push()
    return lab


def test_the_verbs_that_copy_or_prove_step_back_and_no_other(polite: Lab) -> None:
    far, near = f"{os.nice(0) + 4} 3 7", " ".join(map(str, (os.nice(0), *linux.io_priority())))
    assert verb(polite, "poll")[-1] == far
    assert verb(polite, "sync", "Run_2026-04-17T14-32")[-1] == far
    assert verb(polite, "list")[-1] == near
    assert verb(polite, "clear", "Run_2026-04-17T14-32", "--yes")[-1] == far


def test_a_refusal_is_said_once_and_is_no_error_of_the_pass(polite: Lab) -> None:
    words = 'The kernel does not allow sync.ionice = "idle": Operation not permitted.'
    assert [words in line for line in verb(polite, "poll", refused=True)].count(True) == 1
    assert polite.states()[-1] == "sync_verified"
    assert verb(polite, "poll", refused=True)[:-1] == []
    assert verb(polite, "poll")[:-1] == []
    assert words in verb(polite, "poll", refused=True)[0], "it is news again"
