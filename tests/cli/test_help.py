"""What --help shows of every verb: examples first, nothing cut, nothing broken; and what a mistyped word gets."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from exlab_orch.cli import program
from exlab_orch.cli.frame import Verb
from exlab_orch.cli.help_text import folded
from exlab_orch.errors import RunNotFound
from exlab_orch.staging import resolve
from exlab_orch.text import did_you_mean
from tests.lab import RUN, Lab
from tests.test_docs import VERBS


def help_of(verb: str, columns: int = 80) -> str:
    context = program.context_class(program, info_name="exlab-orch", terminal_width=columns, max_content_width=columns)
    command = VERBS[verb] if verb else program
    inner = command.context_class(command, parent=context, info_name=verb) if verb else context
    return command.get_help(inner)


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_fits_80_columns_and_breaks_no_word_at_its_hyphen(verb: str) -> None:
    lines = help_of(verb).splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert [line for line in lines if re.search(r"[a-z]-$", line)] == []
    assert "\ue000" not in help_of(verb)


def terminal_help_of(verb: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is shown on a terminal of that width."""
    monkeypatch.setenv("COLUMNS", str(columns))
    context = program.context_class(program, info_name="exlab-orch")
    if not verb:
        return program.get_help(context)
    return VERBS[verb].get_help(VERBS[verb].context_class(VERBS[verb], parent=context, info_name=verb))


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_fits_40_columns_with_every_word_of_it_whole(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow, wide = terminal_help_of(verb, 40, monkeypatch), terminal_help_of(verb, 80, monkeypatch)
    assert [line for line in narrow.splitlines() if len(line) > 40 and len(line.split()) > 1] == []
    assert [line for line in narrow.splitlines() if re.search(r"[a-z]-$", line)] == []
    words = {word for word in wide.split() if "|" not in word} - {"\\"}
    assert words - {*narrow.split()} == set()
    assert "|".join(re.split(r"\|\s*", " ".join(narrow.split()))).count("|") == wide.count("|")


@pytest.mark.parametrize("width", [30, 36])
def test_a_long_example_is_cut_between_words_where_no_option_stands(width: int) -> None:
    assert folded("exlab-orch list | jq 'a | b'", width)[-1].endswith("| jq 'a | b'")
    example = "exlab-orch report --html - | mail -a 'Content-Type: text/html' -s 'Runs' lab@lab.example"
    lines = folded(example, width)
    assert shlex.split("\n".join(lines).replace("\\\n", "")) == shlex.split(example)
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_the_summary_then_the_examples_and_then_the_options(verb: str) -> None:
    command = VERBS[verb]
    assert isinstance(command, Verb)
    assert command.examples, "every verb has an example"
    shown = help_of(verb)
    assert shown.index("Usage:") < shown.index("\nExamples:\n") < shown.index("\nOptions of every verb:\n")
    titles = re.findall(r"^([A-Z][a-z ]+):$", shown, re.MULTILINE)
    assert titles[0] == "Examples"


def test_filters_stand_apart_from_the_options_of_a_verb() -> None:
    shown = help_of("list")
    assert shown.index("\nWhich runs:\n") < shown.index("--equipment ID") < shown.index("\nOptions of every verb:\n")


def test_the_verbs_of_a_group_are_shown_uncut() -> None:
    context = click.Context(program)
    config = program.get_command(context, "config")
    assert config is not None
    shown = config.get_help(config.context_class(config, info_name="config", terminal_width=80))
    assert [line for line in shown.splitlines()[1:] if line.endswith("...")] == []
    assert shown.index("validate") < shown.index("--config")


@pytest.mark.parametrize("width", [40, 60, 78])
def test_a_long_example_goes_on_in_another_line_as_a_shell_takes_it(width: int) -> None:
    example = "exlab-orch init -c lab.toml --staging-root /srv/staging --nas-root '/mnt/nas -- lab' --state-dir ~/state"
    lines = folded(example, width)
    assert len(lines) > 1
    joined = "\n".join(lines).replace("\\\n", "")
    assert shlex.split(joined) == shlex.split(example)


@pytest.mark.parametrize("group", ["", "config", "equipment", "notify", "schedule"])
def test_a_group_of_verbs_shows_examples_first_too(tmp_path: Path, group: str) -> None:
    shown = Lab(tmp_path).cli(*group.split(), "--help").stdout
    assert shown.index("Usage:") < shown.index("\nExamples:\n") < shown.index("\n  -c, --config FILE")
    assert re.search(r"^Examples:\n  .*exlab-orch ", shown, re.MULTILINE)
    assert "COMMAND" not in shown


def test_help_that_is_shown_because_no_verb_was_given_does_not_ask_for_the_help(tmp_path: Path) -> None:
    ended = Lab(tmp_path).cli("schedule")
    assert (ended.returncode, "\nExamples:\n" in ended.stderr) == (2, True)
    assert "See 'exlab-orch" not in ended.stderr


# -- did you mean --------------------------------------------------------------------------------------------


def test_a_mistyped_run_is_answered_with_those_called_nearly_so(tmp_path: Path) -> None:
    with pytest.raises(RunNotFound) as raised:
        resolve(str(tmp_path), "Run_2026-04-17T14-23", [RUN, "FLOW_01/P/TestRuns/TestRun_9"])
    assert raised.value.message.endswith("Did you mean Run_2026-04-17T14-32?")


def test_a_name_with_spaces_is_suggested_as_it_is_typed(tmp_path: Path) -> None:
    with pytest.raises(RunNotFound) as raised:
        resolve(str(tmp_path), "Run_a", ["FLOW_01/P/Runs/Run_a b"])
    assert raised.value.message.endswith("Did you mean 'Run_a b'?")


def test_a_mistyped_path_is_answered_with_the_path(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.push()
    ended = lab.cli("show", RUN.replace("PROJ-1", "PROJ_1"))
    assert (ended.returncode, f"Did you mean {RUN}?" in ended.stderr) == (4, True), ended.stderr


def test_another_date_is_not_suggested_for_a_run_that_never_came(tmp_path: Path) -> None:
    with pytest.raises(RunNotFound) as raised:
        resolve(str(tmp_path), "Run_2030-01-01T00-00", [RUN])
    assert raised.value.message == "No run is called Run_2030-01-01T00-00."
    assert "look at the instrument" in raised.value.hint


@pytest.mark.parametrize("typed", ["run_2026-04-17t14-32", "2026-04-17T14-32"])
def test_small_letters_and_a_name_without_its_begin_are_understood(tmp_path: Path, typed: str) -> None:
    with pytest.raises(RunNotFound, match=r"Did you mean Run_2026-04-17T14-32\?"):
        resolve(str(tmp_path), typed, [RUN])


@pytest.mark.parametrize(
    ("typed", "command"),
    [("CONFOCAL_01", "list --equipment CONFOCAL_01"), ("PROJ 1", "list --project 'PROJ 1'")],
)
def test_an_equipment_or_a_project_leads_to_its_runs(tmp_path: Path, typed: str, command: str) -> None:
    with pytest.raises(RunNotFound) as raised:
        resolve(str(tmp_path), typed, ["CONFOCAL_01/PROJ 1/Runs/Run_1"])
    assert raised.value.hint == f"See all of its runs: exlab-orch {command}"


def test_nothing_is_suggested_where_nothing_is_close() -> None:
    assert did_you_mean("xyz", ["CONFOCAL_01"]) == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["shwo"], "Did you mean 'show'"),
        (["list", "--pland"], "--plain"),
        (["config", "valdate"], "Did you mean 'validate'"),
        (["list", "--equipmnt", "X"], "No such option '--equipmnt'. Did you mean '--equipment'?"),
        (["list", "--jsn"], "No such option '--jsn'. Did you mean '--json'?"),
        (["list", "--bogus"], "No such option '--bogus'.\n"),
        (["lst"], "There is no 'lst'. Did you mean 'list'?"),
        (["list", "--state", "synced"], "'sync_verified'"),
    ],
)
def test_a_mistyped_word_is_answered_with_what_exists(tmp_path: Path, words: list[str], says: str) -> None:
    ended = Lab(tmp_path).cli(*words)
    assert (ended.returncode, says in ended.stderr) == (2, True), ended.stderr
