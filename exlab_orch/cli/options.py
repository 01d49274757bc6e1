"""The options that mean the same for every verb, before the verb or after it (cli.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import click
from click.core import ParameterSource

from exlab_orch.cli.call import STATES, Call, Settings

Remember = Callable[[click.Context, click.Parameter, Any], None]


def _remember(apply: Callable[[Settings, Any], Settings]) -> Remember:
    """A click callback that puts a given option into the settings of the invocation."""

    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE:
            call = context.ensure_object(Call)
            call.settings = apply(call.settings, value)

    return callback


def _option(names: Sequence[str], apply: Callable[[Settings, Any], Settings], text: str, **more: Any) -> click.Option:
    return click.Option(names, expose_value=False, callback=_remember(apply), help=text, **more)


def _flag(names: Sequence[str], apply: Callable[[Settings], Settings], text: str) -> click.Option:
    return _option(names, lambda settings, _given: apply(settings), text, is_flag=True)


def shared_options() -> list[click.Parameter]:
    """The options every verb takes."""
    return [
        _option(
            ["-c", "--config"],
            lambda settings, path: replace(settings, config=path),
            "The configuration file; without it $EXLAB_ORCH_CONFIG, then /etc, then your own.",
            metavar="FILE",
        ),
        _flag(["-q", "--quiet"], lambda settings: replace(settings, quiet=True), "Errors only."),
        _option(
            ["-v", "--verbose"],
            lambda settings, times: replace(settings, verbose=settings.verbose + times),
            "Say more; -vv more still.",
            count=True,
        ),
        _flag(["--json"], lambda settings: replace(settings, json=True), "JSON for programs, errors too."),
        _flag(["--plain"], lambda settings: replace(settings, plain=True), "Tab separated text, also on a terminal."),
        _option(
            ["--color"],
            lambda settings, when: replace(settings, color=when),
            "Colours; 'always' also draws tables into a pipe. NO_COLOR is respected.",
            type=click.Choice(["auto", "always", "never"]),
        ),
        _flag(["-y", "--yes"], lambda settings: replace(settings, yes=True), "Answer yes to every question."),
        _flag(
            ["--no-input"],
            lambda settings: replace(settings, no_input=True),
            "Never ask; what needs an answer is refused.",
        ),
    ]


def dry_run_option() -> click.Option:
    """``-n``, for verbs that write."""
    text = "Write nothing; say what would happen."
    return _flag(["-n", "--dry-run"], lambda settings: replace(settings, dry_run=True), text)


def filter_options() -> list[click.Parameter]:
    """``--equipment``, ``--project`` and ``--state``, each repeatable."""
    return [
        _option(
            ["--equipment"],
            lambda settings, values: replace(settings, equipment=(*settings.equipment, *values)),
            "Only runs of this equipment (repeatable).",
            metavar="ID",
            multiple=True,
        ),
        _option(
            ["--project"],
            lambda settings, values: replace(settings, project=(*settings.project, *values)),
            "Only runs of this project folder (repeatable).",
            metavar="NAME",
            multiple=True,
        ),
        _option(
            ["--state"],
            lambda settings, values: replace(settings, state=(*settings.state, *values)),
            "Only runs in this state (repeatable).",
            type=click.Choice(STATES),
            multiple=True,
        ),
    ]
