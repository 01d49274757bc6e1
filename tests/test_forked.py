"""A forked program is as one that was started for itself."""

from __future__ import annotations

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.forked import run_program
from tests.lab import RUN, Lab

ROOT = str(Path(__file__).parent.parent)


def both(lab: Lab, *words: str, stdin: str = "") -> list[tuple[int, str, str]]:
    """Exit code and streams of a forked program, then of one that Python was started for."""
    forked = lab.cli(*words, stdin=stdin)
    started = replace(lab, environment={"STARTED": "for itself"}).cli(*words, stdin=stdin)
    assert forked.args == started.args
    return [(one.returncode, timeless(one.stdout), timeless(one.stderr)) for one in (forked, started)]


def timeless(text: str) -> str:
    """Without what the clock says meanwhile."""
    return re.sub(r"\d+", "0", text)


@pytest.mark.parametrize(
    "words",
    [("list",), ("log", RUN), ("show", "Run_nowhere"), ("clear", "--yes"), ("nonsense",), ("--help",)],
    ids=" ".join,
)
def test_a_forked_program_says_and_ends_with_what_a_started_one_does(lab: Lab, words: tuple[str, ...]) -> None:
    lab.push(files={"ä \n.fcs": b"a"})
    lab.poll()
    forked, started = both(lab, *words)
    assert forked == started
    assert forked[1] or forked[2]


def test_what_it_is_told_on_standard_input_reaches_a_forked_program(lab: Lab) -> None:
    lab.push()
    lab.poll()
    forked, started = both(lab, "hold", "-", "--dry-run", "--reason", "ask", stdin=f"{RUN}\n")
    assert forked == started


def test_a_forked_program_works_in_a_process_folder_and_umask_of_its_own(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.push()
    monkeypatch.chdir(lab.root)
    before = os.umask(0o027)
    try:
        assert lab.cli("-c", "config.toml", "report", "--html", "page.html").returncode == 0
    finally:
        os.umask(before)
    assert (lab.root / "page.html").stat().st_mode & 0o777 == 0o640
    assert lab.cli("poll").returncode == 0
    assert lab.states()[-1] == "sync_verified"


def test_forked_programs_run_side_by_side(lab: Lab) -> None:
    lab.push()
    with ThreadPoolExecutor(6) as threads:
        ended = list(threads.map(lambda _: lab.cli("list", "--json"), range(12)))
    assert {one.returncode for one in ended} == {0}
    assert len({timeless(one.stdout) for one in ended}) == 1


def test_a_forked_program_that_does_not_end_is_killed(lab: Lab) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": ROOT, "EXLAB_ORCH_CONFIG": str(lab.config_path)}
    with pytest.raises(subprocess.TimeoutExpired):
        run_program(["watch", "--interval", "1h"], environment, "", timeout=0.5)
    assert lab.cli("list").returncode == 0
