"""The program as a process: what it imports, how it ends by signals and bugs, and with a broken standard output."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

MAIN = [sys.executable, "-m", "exlab_orch"]
HEAVY = ("pydantic", "rich", "asyncio", "sqlite3", "tomli_w", "tomllib", "concurrent.futures", "json")


def python(code: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a piece of Python in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ | more, timeout=30
    )


@pytest.mark.parametrize(
    "first",
    [
        "import exlab_orch.cli",
        "import exlab_orch.cli; exlab_orch.cli.main(['--version'])",
        "import exlab_orch.cli; exlab_orch.cli.main(['--help'])",
    ],
    ids=["import", "version", "help"],
)
def test_the_command_line_is_lazy(first: str) -> None:
    shown = python(f"{first}\nimport sys\nprint('loaded', [m for m in {HEAVY!r} if m in sys.modules])")
    assert shown.stdout.splitlines()[-1] == "loaded []", shown


BUG = """
import click, sys
from exlab_orch.cli import endings, frame, call, output
output.open_streams()
def explode():
    raise ValueError("odd \\x1b[31m\\nvalue")
group = frame.VerbGroup("exlab-orch", commands={"explode": frame.Verb("explode", callback=explode)})
this = call.Call()
this.known_state_dir = lambda: sys.argv[1]
sys.exit(frame.run(group, ["explode", *sys.argv[2:]], this))
"""


def bug(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a verb with a bug in it; the first argument is the state directory."""
    return subprocess.run(
        [sys.executable, "-c", BUG, *arguments], capture_output=True, text=True, check=False, timeout=30
    )


def test_a_bug_is_one_message_on_screen_and_a_traceback_in_the_log(tmp_path: Path) -> None:
    ended = bug(str(tmp_path))
    log = tmp_path / "exlab-orch.log"
    assert ended.returncode == 1
    assert ended.stderr == f"A bug in exlab-orch: ValueError: odd \\x1b[31m value\nThe traceback is in {log}.\n"
    assert "Traceback" in log.read_text()
    assert "\x1b" not in log.read_text()


def test_a_bug_whose_log_cannot_be_written_still_ends_with_1(tmp_path: Path) -> None:
    ended = bug(str(tmp_path / "missing"))
    assert ended.returncode == 1
    assert "-vv" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_bug_with_vv_shows_the_traceback(tmp_path: Path) -> None:
    assert "Traceback" in bug(str(tmp_path), "-vv").stderr


SLEEPER = """
import sys, time
from exlab_orch import cli
from exlab_orch.cli import frame
def doze():
    print("ready", flush=True)
    time.sleep(30)
cli.program = frame.VerbGroup("exlab-orch", commands={"doze": frame.Verb("doze", callback=doze)})
sys.exit(cli.main(["doze"]))
"""


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
def test_a_signal_ends_it_with_128_and_its_number_and_no_traceback(number: signal.Signals, status: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        said = process.stderr.read()
        assert process.wait(timeout=10) == status
    comfort = "Nothing is lost: what was begun is carried on by the next pass, or when it is run again."
    assert said == f"Stopped by {number.name}.\n{comfort}\n"


def test_an_ignored_hangup_stays_ignored() -> None:
    with subprocess.Popen(
        ["nohup", sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        assert process.poll() is None
        process.terminate()
        assert process.wait(timeout=10) == 143


def test_a_reader_that_went_away_is_no_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    ended = subprocess.run([*MAIN, "--help"], stdout=write_end, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write_end)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_full_disk_behind_standard_output_is_said_in_one_line() -> None:
    with open("/dev/full", "w", encoding="ascii") as full:
        ended = subprocess.run([*MAIN, "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 74
    assert ended.stderr == "Standard output could not be written: No space left on device.\n"


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", ">&-", "2>&-"])
def test_closed_standard_streams_are_no_error(closed: str) -> None:
    command = f"{sys.executable} -m exlab_orch --version {closed}"
    assert subprocess.run(["sh", "-c", command], check=False, capture_output=True, timeout=30).returncode == 0


def test_a_verb_that_changes_something_keeps_its_status_when_standard_output_is_full() -> None:
    code = """
import sys
from exlab_orch import cli
from exlab_orch.cli import frame
import click
@click.pass_obj
def change(call):
    call.changing = True
    print("changed")
    return 0
cli.program = frame.VerbGroup("exlab-orch", commands={"change": frame.Verb("change", callback=change)})
sys.exit(cli.main(["change"]))
"""
    with open("/dev/full", "w", encoding="ascii") as full:
        ended = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_files_made_by_a_pass_do_not_depend_on_the_umask_of_cron() -> None:
    code = "import os; os.umask(0o077); from exlab_orch import cli; cli.main(['--version']); print(oct(os.umask(0)))"
    assert python(code).stdout.splitlines()[-1] == "0o22"


def test_an_ascii_terminal_gets_escapes_and_no_traceback() -> None:
    code = "from exlab_orch.cli import output; output.open_streams(); output.print_line('\\u00b5m \\U0001f52c')"
    shown = python(code, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="ascii")
    assert shown.stdout == "\\xb5m \\U0001f52c\n"
