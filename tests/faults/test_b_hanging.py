"""B. A NAS that hangs or dies, at every stage of a pass and of a clear: others still answer, nothing piles up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.nas import Fault, FaultyNas, wait_until_stopped
from tests.faults.scenarios import FILES
from tests.lab import RUN, Lab
from tests.oracle import Oracle, require_cleared

pytestmark = pytest.mark.root

IMPATIENT = """
import sys
from exlab_orch.cli import endings, main
from exlab_orch.transports import hanging, process, right_place
right_place._PROBE_SECONDS, process._BUSY_SECONDS, hanging._PATIENCE_SECONDS = 0.5, 0.1, 2.0
endings._GRACE_SECONDS, endings._LOOK_SECONDS = 0.5, 0.2
sys.exit(main())
"""
"""The program, which otherwise waits ten seconds before it calls a NAS hung; the slow test has that patience."""

PATIENCE_SECONDS = 10
"""How long whoever asks a NAS that hangs waits for it, at least."""

CLEAR = ("clear", "--yes", RUN)
STAGES = {
    "before the copy": (("poll",), "mkdir", ".exlab-part"),
    "in the middle of the copy": (("poll",), "write", "c.fcs"),
    "while copied files are flushed": (("poll",), "fsync", "c.fcs"),
    "while it proves": (("poll",), "read", "c.fcs"),
    "while it publishes": (("poll",), "rename", "Run_"),
    "while a clear proves": (CLEAR, "read", "c.fcs"),
    "while a clear writes the record": (CLEAR, "write", "ingest.json"),
}
WHEN = [pytest.param(*stage, id=name) for name, stage in STAGES.items()]


@pytest.fixture
def nas(lab: Lab) -> Iterator[FaultyNas]:
    lab.push(files=FILES)
    with FaultyNas(lab) as nas:
        yield nas


def prepared(lab: Lab, command: tuple[str, ...]) -> None:
    """A clear needs a proved run, one that the next pass looks at: on a slow computer it would pass it over as idle."""
    if command == CLEAR:
        lab.poll()
        with lab.station() as station:
            station.journal.forget_idle(RUN)


def start(lab: Lab, *words: str, patience: bool = False, stdout: int | None = None) -> subprocess.Popen[bytes]:
    """The program, running."""
    program = lab.command() if patience else [sys.executable, "-c", IMPATIENT, "-c", str(lab.config_path)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen([*program, *words], env=environment, stdout=stdout, stderr=subprocess.DEVNULL)


@contextmanager
def running(lab: Lab, nas: FaultyNas, *words: str, patience: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """The program while it runs; killed at the end if it still does, which may need an answer of the NAS first."""
    child = start(lab, *words, patience=patience)
    with ended_at_last(nas, child):
        yield child


@contextmanager
def ended_at_last(nas: FaultyNas, child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kill it at the end if it still runs."""
    try:
        yield
    finally:
        child.kill()
        nas.fails()
        nas.resume()
        child.wait(timeout=20)


def pass_now(lab: Lab, *, patience: bool = False) -> int:
    """The exit code of a pass as cron starts it; it must end soon."""
    with start(lab, "poll", patience=patience) as child:
        try:
            return child.wait(timeout=40)
        finally:
            child.kill()


def require_told(lab: Lab) -> None:
    """``list`` and ``show`` do not wait for the NAS, and say what is wrong."""
    began = time.monotonic()
    listed, shown = lab.cli("list", "--json"), lab.cli("show", "--json", RUN)
    assert time.monotonic() - began < PATIENCE_SECONDS, "one of them asked the NAS"
    assert (listed.returncode, shown.returncode) == (0, 0)
    assert [one["run"] for one in json.loads(listed.stdout)["runs"] if one["run"] == RUN] == [RUN]
    assert "nas_unreachable" in shown.stdout


# -- it hangs ------------------------------------------------------------------------------------------------


def test_a_nas_that_hangs_before_a_pass_is_told_and_mends_itself(lab: Lab, nas: FaultyNas, oracle: Oracle) -> None:
    nas.hang()
    assert [pass_now(lab), pass_now(lab)] == [69, 69]
    require_told(lab)
    nas.resume()
    oracle.settle()
    assert lab.states()[-1] == "sync_verified"


@pytest.mark.parametrize(("command", "operation", "name"), WHEN)
def test_a_nas_that_hangs_keeps_nobody_but_its_own_pass(
    lab: Lab, nas: FaultyNas, oracle: Oracle, command: tuple[str, ...], operation: str, name: str
) -> None:
    prepared(lab, command)
    nas.fails(Fault(operation, "hang", name))
    with running(lab, nas, *command) as stuck:
        nas.wait_until_it_hangs()
        assert pass_now(lab) == 69
        require_told(lab)
        nas.fails()
        nas.resume()
        assert stuck.wait(timeout=20) == 0
    oracle.settle()
    assert lab.states()[-1] == "sync_verified" if command == ("poll",) else not lab.staged().exists()


def hang_after(nas: FaultyNas, child: subprocess.Popen[bytes], operation: str, name: str, nth: int = 1) -> None:
    """The NAS hangs between two calls of the program: the next one is not even taken, as with a server that is gone."""
    nas.fails(Fault(operation, "stop the caller", name, nth=nth, times=1))
    wait_until_stopped(child.pid)
    nas.hang()
    child.send_signal(signal.SIGCONT)
    time.sleep(0.3)


@pytest.mark.parametrize(
    ("operation", "name", "nth"),
    [("statfs", "", 2), ("mkdir", "", 1), ("rename", "Run_", 1), ("fsyncdir", "Runs", 1)],
)
def test_told_to_stop_a_program_ends_although_its_nas_hangs(
    lab: Lab, nas: FaultyNas, oracle: Oracle, operation: str, name: str, nth: int
) -> None:
    with running(lab, nas, "poll") as stuck:
        hang_after(nas, stuck, operation, name, nth)
        stuck.terminate()
        assert stuck.wait(timeout=20) == 143
    oracle.settle()
    assert lab.states()[-1] == "sync_verified"


@pytest.mark.parametrize(("operation", "name"), [("mkdir", "data"), ("rename", "Run_"), ("unlink", "block")])
def test_a_self_test_ends_although_its_nas_hangs_and_the_next_one_removes_what_it_left(
    lab: Lab, nas: FaultyNas, operation: str, name: str
) -> None:
    before = set(os.listdir(nas.backing))
    with (
        start(lab, "selftest", "--size", "100kB", "--json", stdout=subprocess.PIPE) as stuck,
        ended_at_last(nas, stuck),
    ):
        hang_after(nas, stuck, operation, name)
        assert stuck.wait(timeout=20) == 69
        assert stuck.stdout is not None
        document = json.loads(stuck.stdout.read())
        nas.fails()
        nas.resume()
    (one,) = document["selftests"]
    (failed,) = [tick for tick in one["ticks"] if tick["result"] == "failed"]
    assert (failed["error"]["code"], document["ended_early"]["code"], one["ok"]) == (*["nas_unreachable"] * 2, False)
    assert all(os.path.exists(place) for place in one["left"])
    assert len(one["left"]) == 2, "what is on the NAS, and in staging"
    assert lab.cli("selftest", "--size", "100kB").returncode == 0
    assert set(os.listdir(nas.backing)) == before
    assert lab.leftovers() == []


def test_doctor_ends_with_an_error_although_the_nas_hangs_while_it_writes_there(lab: Lab, nas: FaultyNas) -> None:
    lab.poll()
    with start(lab, "doctor", "--json", stdout=subprocess.PIPE) as stuck, ended_at_last(nas, stuck):
        hang_after(nas, stuck, "rename", "Run_")
        assert stuck.wait(timeout=20) == 3
        assert stuck.stdout is not None
        document = json.loads(stuck.stdout.read())
        nas.fails()
        nas.resume()
    checks = {one["check"]: one["result"] for one in document["checks"]}
    assert (document["ok"], checks["staging.folder"], checks["nas.write"]) == (False, "ok", "error")


@pytest.mark.slow
def test_a_hanging_nas_is_left_alone_after_ten_seconds(lab: Lab, nas: FaultyNas, oracle: Oracle) -> None:
    with running(lab, nas, "poll", patience=True) as stuck:
        hang_after(nas, stuck, "fsyncdir", "Runs")
        assert pass_now(lab, patience=True) == 69
        require_told(lab)
        stuck.terminate()
        assert stuck.wait(timeout=20) == 143
    oracle.settle()


# -- it dies -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "operation", "name"), WHEN)
def test_a_nas_that_dies_is_told_and_mends_itself_when_it_is_mounted_again(
    lab: Lab, nas: FaultyNas, oracle: Oracle, command: tuple[str, ...], operation: str, name: str
) -> None:
    prepared(lab, command)
    nas.fails(Fault(operation, "die", name))
    assert lab.cli(*command).returncode == 69
    assert lab.cli("poll").returncode == (69 if command == ("poll",) or not lab.staged().exists() else 0)
    nas.fails()
    nas.come_back()
    oracle.settle()
    assert lab.cli(*CLEAR).returncode == 0
    oracle.settle()
    require_cleared(lab)
