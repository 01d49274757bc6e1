"""What is said of doing it again: the next pass is named only where it does that, and a reason is told once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import exlab_orch
from exlab_orch.cli import again
from exlab_orch.errors import JournalDamaged, NasFull, NasNotMounted, NasUnreachable, StateUnavailable
from exlab_orch.hints import GOES_ON, TRIES_AGAIN, promised
from tests.lab import RUN, Lab

PACKAGE = Path(exlab_orch.__file__).parent
OTHER = RUN.replace("32", "33")
MOUNT = promised("Mount the NAS")


@pytest.fixture(autouse=True)
def _a_command_line(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("EXLAB_ORCH_CONFIG", raising=False)
    monkeypatch.setattr("sys.argv", ["exlab-orch", "clear", "R"])
    yield
    again.name_verb("", writes=False)


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (NasNotMounted("x", hint=MOUNT), "Mount the NAS. When the NAS is well again: exlab-orch clear R"),
        (
            NasUnreachable("x", hint=promised("Check the network", TRIES_AGAIN)),
            "Check the network. When the NAS is well again: exlab-orch clear R",
        ),
        (
            NasNotMounted("x", hint=f"{MOUNT} If it is a plain folder, say so."),
            "Mount the NAS. If it is a plain folder, say so. When the NAS is well again: exlab-orch clear R",
        ),
        (
            StateUnavailable("x", hint=promised("Look at its disk")),
            "Look at its disk. Then run it again: exlab-orch clear R",
        ),
        (NasFull("x", hint="Free space."), "Free space."),
        (JournalDamaged("x"), ""),
    ],
)
def test_a_verb_that_no_pass_repeats_is_to_be_run_again(error: again.Told, hint: str) -> None:
    again.name_verb("clear", writes=True)
    assert again.hint_of(error) == hint


@pytest.mark.parametrize(("verb", "writes"), [("poll", True), ("sync", True), ("watch", False), ("status", False)])
def test_what_passes_do_or_tell_of_goes_on_with_the_next_pass(verb: str, writes: bool) -> None:
    again.name_verb(verb, writes=writes)
    assert again.hint_of(NasNotMounted("x", hint=MOUNT)) == MOUNT


def test_a_nas_that_is_away_is_told_once_for_all_runs_and_no_pass_is_promised(lab: Lab) -> None:
    lab.push()
    lab.push(OTHER)
    lab.poll()
    lab.nas.rename(lab.root / "away")
    said = lab.cli("clear", "--all-verified", "--yes")
    first, hint = said.stderr.splitlines()
    assert (said.returncode, f" and 1 other: The NAS root {lab.nas} is not there." in first) == (69, True)
    assert hint.endswith(f". When the NAS is well again: exlab-orch -c {lab.config_path} clear --all-verified --yes")


@pytest.mark.parametrize(
    "words", [["nas-init"], ["verify", RUN], ["selftest", "--size", "1kB"]], ids=lambda one: one[0]
)
def test_a_verb_that_is_done_by_hand_promises_no_pass(lab: Lab, words: list[str]) -> None:
    lab.push()
    lab.poll()
    lab.nas.rename(lab.root / "away")
    said = lab.cli(*words)
    shown = said.stdout + said.stderr
    assert (said.returncode, "next pass" in shown) == (69, False)
    assert f"exlab-orch -c {lab.config_path} {' '.join(words)}" in shown


@pytest.mark.parametrize(("verb", "begins"), [("equipment", "No run was touched."), ("clear", "Nothing is lost:")])
def test_a_stop_speaks_of_the_next_pass_only_where_runs_are_changed(verb: str, begins: str) -> None:
    again.name_verb(verb, writes=True)
    assert again.hint_of_a_stop().startswith(begins)


def test_the_promise_of_a_pass_is_spelled_in_one_place_so_that_it_can_be_left_out() -> None:
    words = re.compile(r"(?:next|later) pass (?:goes on|tries again) by itself")
    spelled = [path.name for path in PACKAGE.rglob("*.py") if words.search(path.read_text())]
    assert spelled == ["hints.py"]
    assert words.search(GOES_ON)
    assert words.search(TRIES_AGAIN)
