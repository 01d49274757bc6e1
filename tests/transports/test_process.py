"""Starting our own scripts: bare, bounded in time, and never a second one while the first hangs."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exlab_orch.files.locks import locked
from exlab_orch.transports import process
from exlab_orch.transports.process import Command, Companion, StillHangs, TimedOut, run_python, run_tool

HANG = "import time; print('begun', flush=True); time.sleep(60)"


@pytest.fixture(autouse=True)
def nothing_left_behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Children that were left behind are ended; waiting for the lock is short."""
    monkeypatch.setattr(process, "_BUSY_SECONDS", 0.1)
    before = len(process._left_behind)
    yield
    for child in process._left_behind[before:]:
        subprocess.Popen.kill(child)
        child.communicate()
    del process._left_behind[before:]


class Script:
    """A script of ours and the lock of its runs."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "script.py"
        self.lock = str(folder / "lock")

    def run(self, text: str, *arguments: str, seconds: float = 20) -> bytes:
        self.path.write_text(text)
        return run_python(str(self.path), arguments, lock_path=self.lock, timeout_seconds=seconds)

    def is_free(self) -> bool:
        with locked(self.lock) as held:
            return held


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


def test_what_a_script_prints_is_returned(script: Script) -> None:
    assert script.run("print('answer')") == b"answer\n"
    assert script.is_free()


def test_a_program_is_not_called_hanging_because_the_computer_was_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    real, begun = time.monotonic, time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: real() + (3600 if real() - begun > 0.3 else 0))
    assert run_tool(Command("/bin/sh", ("-c", "sleep 1; echo done")), stall_seconds=20).output == b"done\n"


@pytest.mark.parametrize("argument", ["-c", "--help", "new\nline", "$(touch x)", "é [bold]", "\udcff", "", "a b"])
def test_an_argument_arrives_as_it_is_and_means_nothing_to_anybody(script: Script, argument: str) -> None:
    assert json.loads(script.run("import json, sys; print(json.dumps(sys.argv[1:]))", argument)) == [argument]


def test_a_script_sees_nothing_of_our_environment_and_input(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "password")
    monkeypatch.setenv("PYTHONPATH", str(script.path.parent))
    (script.path.parent / "json.py").write_text("raise SystemExit('this is not the real one')")
    text = "import json, os, sys; print(json.dumps([sorted(os.environ), sys.stdin.read()]))"
    names, given = json.loads(script.run(text))
    assert set(names) <= {"PATH", "LC_ALL", "LC_CTYPE"}
    assert given == ""


def test_a_script_has_nothing_open_but_the_usual_and_the_lock(script: Script, tmp_path: Path) -> None:
    with (tmp_path / "ours").open("w"):
        text = """
import os, pathlib
print({os.readlink(path) for path in pathlib.Path("/proc/self/fd").iterdir() if int(path.name) > 2 and path.exists()})
"""
        assert script.run(text).decode() == f"{{'{script.lock}'}}\n"


@pytest.mark.parametrize("text", ["raise SystemExit(3)", "import os; os.kill(os.getpid(), 9)", "not python"])
def test_a_script_that_fails_is_an_error(script: Script, text: str) -> None:
    with pytest.raises(OSError, match="ended with"):
        script.run(text)
    assert script.is_free()


def test_a_script_that_takes_too_long_is_ended_in_time(script: Script) -> None:
    began = time.monotonic()
    with pytest.raises(TimedOut):
        script.run(HANG, seconds=0.3)
    assert time.monotonic() - began < 10
    process._left_behind[-1].wait(timeout=10)
    assert script.is_free()


def test_while_one_hangs_in_the_kernel_no_second_one_starts(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that waits for a dead mount does not die when it is killed."""
    monkeypatch.setattr(subprocess.Popen, "kill", lambda child: None)
    with pytest.raises(TimedOut):
        script.run(HANG, seconds=0.3)
    with pytest.raises(StillHangs):
        script.run(f"open({str(tmp_path / 'started')!r}, 'w')")
    assert not (tmp_path / "started").exists()
    monkeypatch.undo()
    process._left_behind[-1].kill()
    process._left_behind[-1].wait(timeout=10)
    assert script.run("print(1)") == b"1\n"


def test_who_finds_another_pass_at_it_waits_a_moment(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_BUSY_SECONDS", 20)
    script.path.write_text("import time; time.sleep(0.3); print(2)")
    other = subprocess.Popen(["flock", script.lock, "sleep", "0.3"])
    while script.is_free():
        time.sleep(0.01)
    assert script.run("print(3)") == b"3\n"
    other.wait()


# -- programs that stay --------------------------------------------------------------------------------------


def ends_soon(pid: int) -> bool:
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.05)
    return False


def test_a_companion_is_there_until_it_is_told_to_end() -> None:
    companion = Companion(Command("/bin/sh", ("-c", "echo ready; exec cat")), ready_seconds=10)
    assert companion.is_there
    pid = companion._child.pid
    companion.end()
    assert not companion.is_there
    assert not Path(f"/proc/{pid}").exists()
    companion.end()


def test_a_companion_that_nobody_needs_any_more_ends() -> None:
    companion = Companion(Command("/bin/sh", ("-c", "echo ready; exec cat")), ready_seconds=10)
    pid = companion._child.pid
    del companion
    gc.collect()
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("script", ["exit 1", "exec sleep 60"])
def test_a_companion_that_does_not_come_up_is_not_there(script: str) -> None:
    began = time.monotonic()
    companion = Companion(Command("/bin/sh", ("-c", script)), ready_seconds=0.3)
    assert not companion.is_there
    assert time.monotonic() - began < 10


def test_a_companion_ends_when_its_parent_is_killed() -> None:
    code = (
        "from exlab_orch.transports.process import *; import time\n"
        "one = Companion(Command('/bin/sh', ('-c', 'echo ready; exec cat')), ready_seconds=10)\n"
        "print(one._child.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        parent.kill()
    assert ends_soon(pid)
