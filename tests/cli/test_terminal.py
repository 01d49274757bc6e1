"""The program on a real (pseudo) terminal of 80 columns: tables, questions, bars, and the live table."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import RUN, Lab
from tests.terminal import SECONDS, Terminal, terminal


def test_list_draws_a_table_of_80_columns(lab: Lab) -> None:
    lab.push()
    lab.poll()
    with terminal(lab, "list") as shown:
        assert shown.end() == 0
        lines = shown.screen.splitlines()
    assert lines[0].split() == ["Run", "State", "Files", "Size", "Last", "event"]
    assert lines[1] == "FLOW_01  PROJ-1"
    assert lines[2].startswith("  Run_2026-04-17T14-32  on NAS, checked ")
    assert lines[-1] == f"To free 7 B: exlab-orch -c {lab.config_path} clear --all-verified"  # whole, to be copied
    assert max(map(len, lines[:-1])) <= 80


def test_a_terminal_of_the_locale_c_gets_ascii_alone(lab: Lab) -> None:
    lab.push("FLOW_01/PROJ-é/Runs/Run_1", done=False)
    lab.push("FLOW_01/PROJ-é/Exp")
    shown = Terminal(["env", "LC_ALL=C", *lab.command("list")])
    try:
        assert shown.end() == 0
    finally:
        shown.close()
    assert shown.raw.isascii()
    assert "PROJ-\\xe9" in shown.screen
    assert "> To make it a run:" in shown.screen


@pytest.mark.parametrize(("answer", "status", "is_there"), [("y\n", 0, False), ("n\n", 5, True), ("\n", 5, True)])
def test_clear_says_what_it_costs_and_asks(lab: Lab, answer: str, status: int, is_there: bool) -> None:
    folder = lab.push()
    lab.poll()
    with terminal(lab, "clear", RUN) as shown:
        asked = shown.read_until("[y/N]")
        assert "(3 files, 7 B, about 0 s), then delete the" in asked
        shown.type(answer)
        assert shown.end() == status
    assert folder.exists() is is_there


def test_no_input_never_asks(lab: Lab) -> None:
    lab.push()
    lab.poll()
    with terminal(lab, "clear", RUN, "--no-input") as shown:
        assert shown.end() == 5
        assert "[y/N]" not in shown.screen


def test_poll_on_a_terminal_shows_a_bar_and_says_in_one_line_what_was_done(lab: Lab) -> None:
    lab.push(files={"big.raw": os.urandom(8 << 20)})
    with terminal(lab, "poll") as shown:
        assert shown.end() == 0
        assert "copying" in shown.screen
        assert shown.screen.rstrip().endswith("1 run copied and checked.")
    with terminal(lab, "poll") as shown:
        assert shown.end() == 0
        assert not shown.screen.strip()


def test_quiet_poll_draws_nothing(lab: Lab) -> None:
    lab.push()
    with terminal(lab, "poll", "-q") as shown:
        assert shown.end() == 0
        assert not shown.raw


def test_watch_draws_a_live_table_and_ctrl_c_ends_it_with_130(lab: Lab) -> None:
    lab.push()
    with terminal(lab, "watch", "--interval", "1s") as shown:
        shown.read_until("on NAS, checked")
        shown.signal(signal.SIGINT)
        assert shown.end() == 130
        assert "\x1b[?1049l" in shown.raw
        assert "Traceback" not in shown.raw
        assert "Stopped by SIGINT." in shown.screen


def test_ctrl_c_ends_looking_without_a_word(lab: Lab) -> None:
    lab.push()
    with terminal(lab, "list", "--watch") as shown:
        shown.read_until("Ctrl-C ends")
        shown.signal(signal.SIGINT)
        assert shown.end() == 130
        assert "Stopped by" not in shown.raw


def test_a_command_on_a_screen_that_is_drawn_anew_is_one_line_and_names_the_configuration(lab: Lab) -> None:
    lab.push()
    lab.published().mkdir(parents=True)
    (lab.published() / "a.fcs").write_bytes(b"theirs")
    lab.poll()
    with terminal(lab, "list", "--watch") as shown:
        shown.read_until("Ctrl-C ends")
        assert f"exlab-orch -c {lab.config_path} sync --new-version {RUN}\n" in shown.screen


def test_a_screen_that_cannot_be_drawn_anew_is_refused_before_it_is_drawn(lab: Lab) -> None:
    dumb = Terminal(["env", "TERM=dumb", *lab.command("list", "--watch")])
    try:
        assert dumb.end() == 2
    finally:
        dumb.close()
    assert "--watch needs a terminal" in dumb.screen
    assert lab.cli("list", "--watch", "--color", "always").returncode == 2


def test_what_no_waiting_mends_ends_looking_on_at_once(lab: Lab) -> None:
    lab.config_path.write_text("[orchestrator]\nstaging = 1\n")
    with terminal(lab, "list", "--watch") as shown:
        assert shown.end() == 78
        assert "\x1b[?1049h" not in shown.raw


def test_looking_on_says_why_nothing_is_there_and_how_full_the_disks_are(lab: Lab) -> None:
    with terminal(lab, "list", "--watch") as shown:
        shown.read_until("Ctrl-C ends")
        shown.signal(signal.SIGINT)
        assert shown.end() == 130
        assert "Equipment pushes them to" in shown.screen
        assert "Staging: " in shown.screen


@contextmanager
def watching(lab: Lab, *words: str) -> Iterator[subprocess.Popen[str]]:
    """``watch`` with a pipe where a terminal would be; ended after a while whatever happens, so that no read hangs."""
    root = str(Path(__file__).parent.parent.parent)
    with subprocess.Popen(
        lab.command("watch", "--interval", "1s", *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": root},
    ) as process:
        last = threading.Timer(SECONDS, process.kill)
        last.start()
        try:
            yield process
        finally:
            last.cancel()
            process.kill()


def test_watch_into_a_pipe_prints_a_line_per_step(lab: Lab) -> None:
    lab.push()
    with watching(lab) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline() for _ in range(4)]
        process.terminate()
        assert process.wait(timeout=SECONDS) == 143
        said = process.stderr.read()
    assert [line.split(f" {RUN}: ")[1].strip() for line in lines] == [
        "arriving",
        "received",
        "waiting to copy",
        "on NAS, checked",
    ]
    assert said.startswith("Stopped by SIGTERM.")


def test_watch_json_prints_the_lines_of_poll_for_each_pass(lab: Lab) -> None:
    with watching(lab, "--json") as process:
        assert process.stdout is not None
        ends = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.terminate()
        assert process.wait(timeout=SECONDS) == 143
    assert [end["event"] for end in ends] == ["pass_end", "pass_end"]


def test_watch_waits_for_a_staging_area_that_is_away(lab: Lab) -> None:
    lab.staging.rename(lab.root / "away")
    with watching(lab) as process:
        assert process.stderr is not None
        assert "staging" in process.stderr.readline()
        (lab.root / "away").rename(lab.staging)
        lab.push()
        assert process.stdout is not None
        assert "arriving" in process.stdout.readline()
        process.terminate()
        assert process.wait(timeout=SECONDS) == 143
