"""The frame: options on either side of the verb, usage errors, exit statuses, and messages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click
import pytest

from exlab_orch import errors
from exlab_orch.cli import SECTIONS, program
from exlab_orch.cli.call import Call, Settings
from exlab_orch.cli.endings import exit_status_of
from exlab_orch.cli.frame import LazyGroup, Verb, VerbGroup, run
from exlab_orch.config import CONFIG_VARIABLE
from exlab_orch.hints import SAME_COMMAND


def group_of(*verbs: click.Command) -> VerbGroup:
    """A program with these verbs; in front of a verb it takes what every verb may take."""
    group = LazyGroup("exlab-orch", sections={})
    group.places = {verb.name or "": f"{__name__}:{verb.name}" for verb in verbs}
    for verb in verbs:
        globals()[verb.name or ""] = verb
    return group


def seen_settings(arguments: list[str], **kind: Any) -> Settings:
    """The settings a verb gets from that command line."""
    call = Call()
    verb = Verb("look", callback=lambda: None, **kind)
    assert run(group_of(verb), arguments, call) == 0
    return call.settings


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["-c", "/etc/x.toml"], Settings(config="/etc/x.toml")),
        (["--config", "x"], Settings(config="x")),
        (["-q"], Settings(quiet=True)),
        (["-v"], Settings(verbose=1)),
        (["-vv"], Settings(verbose=2)),
        (["--json"], Settings(json=True)),
        (["--plain"], Settings(plain=True)),
        (["--color", "never"], Settings(color="never")),
        (["-y"], Settings(yes=True)),
        (["--no-input"], Settings(no_input=True)),
        (["-n"], Settings(dry_run=True)),
        (["--equipment", "A", "--equipment", "B"], Settings(equipment=("A", "B"))),
        (["--project", "P 1"], Settings(project=("P 1",))),
        (["--state", "staging"], Settings(state=("staging",))),
    ],
)
def test_a_shared_option_means_the_same_before_and_after_the_verb(options: list[str], expected: Settings) -> None:
    assert seen_settings([*options, "look"], writes=True, filters=True) == expected
    assert seen_settings(["look", *options], writes=True, filters=True) == expected


def test_repeated_options_on_both_sides_of_the_verb_add_up() -> None:
    settings = seen_settings(["-v", "--equipment", "A", "look", "-v", "--equipment", "B"], filters=True)
    assert (settings.verbose, settings.equipment) == (2, ("A", "B"))


def test_an_option_after_the_verb_wins_over_the_one_before_it() -> None:
    assert seen_settings(["--color", "always", "look", "--color", "never"]).color == "never"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["look", "--json", "--plain"], "exclude each other"),
        (["--dry-run", "look"], "takes no --dry-run"),
        (["--equipment", "A", "look"], "takes no --equipment"),
        (["look", "--equipment", "A"], "No such option"),
        (["lok"], "Did you mean 'look'?"),
        (["zzz"], "There is no 'zzz'."),
        (["--color", "pink", "look"], "pink"),
    ],
)
def test_a_wrong_command_line_is_explained_and_ends_with_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    verb = Verb("look", callback=lambda: None)
    assert run(group_of(verb), arguments, Call()) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert not printed.out


def test_a_wrong_command_line_with_json_is_one_object_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(group_of(), ["nonsense", "--json"], Call()) == 2
    assert json.loads(capsys.readouterr().err).keys() == {"code", "message", "hint"}


def every_error(kind: type[errors.ExlabError] = errors.ExlabError) -> Iterator[type[errors.ExlabError]]:
    """The whole tree."""
    yield kind
    for below in kind.__subclasses__():
        yield from every_error(below)


def raising(error: errors.ExlabError) -> VerbGroup:
    """A program whose verb ``fail`` meets that error."""

    def fail() -> None:
        raise error

    return group_of(Verb("fail", callback=fail))


@pytest.mark.parametrize("kind", list(every_error()), ids=lambda kind: kind.__name__)
def test_every_deliberate_error_ends_with_its_own_status_and_says_what_to_do(
    kind: type[errors.ExlabError], capsys: pytest.CaptureFixture[str]
) -> None:
    group = raising(kind("It went wrong.", hint="Do this."))
    assert run(group, ["fail"], Call()) == kind.exit_status
    assert capsys.readouterr().err == "It went wrong.\nDo this.\n"
    assert run(group, ["fail", "--json"], Call()) == kind.exit_status
    document = json.loads(capsys.readouterr().err)
    assert document == {"code": kind.code, "message": "It went wrong.", "hint": "Do this."}


def test_whoever_is_the_wrong_user_is_given_the_same_command_for_the_right_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ready to paste: quoted as a shell needs it, and with the configuration that sudo would forget."""
    group = raising(errors.WrongUser("Not yours.", hint=f"Run it as that user: sudo -u lab {SAME_COMMAND}"))
    monkeypatch.setattr("sys.argv", ["exlab-orch", "-c", "a b.toml", "fail"])
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)
    assert run(group, ["fail"], Call()) == 77
    assert capsys.readouterr().err == "Not yours.\nRun it as that user: sudo -u lab exlab-orch -c 'a b.toml' fail\n"
    monkeypatch.setenv(CONFIG_VARIABLE, "/etc/lab.toml")
    monkeypatch.setattr("sys.argv", ["exlab-orch", "fail"])
    run(group, ["fail"], Call())
    assert capsys.readouterr().err.endswith(": sudo -u lab exlab-orch -c /etc/lab.toml fail\n")


def test_an_error_message_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    run(raising(errors.RunNotFound("no \x1b[31mred\u202e\r run")), ["fail"], Call())
    assert capsys.readouterr().err == "no \\x1b[31mred\\u202e\\r run\n"


def test_quiet_still_shows_errors(capsys: pytest.CaptureFixture[str]) -> None:
    run(raising(errors.RunNotFound("no such run")), ["-q", "fail"], Call())
    assert "no such run" in capsys.readouterr().err


def test_a_verb_gives_its_own_exit_status() -> None:
    assert run(group_of(Verb("look", callback=lambda: 3)), ["look"], Call()) == 3


@pytest.mark.parametrize(
    ("code", "status"), [("nas_full", 69), ("nas_conflict", 5), ("locked", 75), ("acquisition_failed", 5), ("held", 5)]
)
def test_a_problem_code_has_the_exit_status_of_its_error(code: str, status: int) -> None:
    assert exit_status_of(code) == status


def test_help_names_every_verb_by_section(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(program, ["--help"], Call()) == 0
    shown = capsys.readouterr().out
    for title, verbs in SECTIONS.items():
        assert f"{title}:" in shown
        assert all(f"\n  {verb} " in shown for verb in verbs)
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("verb", ["poll", "list", "show", "sync", "clear", "hold", "unhold", "accept", "watch", "log"])
def test_help_of_a_verb_has_examples_and_the_shared_options(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(program, [verb, "--help"], Call()) == 0
    shown = capsys.readouterr().out
    assert f"  exlab-orch {verb} " in shown or f"  exlab-orch {verb}\n" in shown
    assert "Options of every verb:" in shown
