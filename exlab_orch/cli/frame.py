"""The frame every verb stands in: shared options, lazy loading, help, and how an invocation ends."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import click

from exlab_orch.cli import endings
from exlab_orch.cli.again import name_verb
from exlab_orch.cli.call import Call, Settings
from exlab_orch.cli.help_text import HelpContext, write_examples, write_options, write_text
from exlab_orch.cli.options import dry_run_option, filter_options, shared_options
from exlab_orch.cli.pasting import name_configuration
from exlab_orch.errors import EXIT_DONE, ExlabError

PROGRAM = "exlab-orch"
_HELP = ("-h", "--help")


class Verb(click.Command):
    """A command with the shared options. It returns its exit status, or None for 0.

    ``writes`` adds ``--dry-run``, ``filters`` adds ``--equipment``, ``--project`` and ``--state``;
    ``examples`` are shown by ``--help``.
    """

    context_class = HelpContext

    def __init__(
        self, *args: Any, writes: bool = False, filters: bool = False, examples: Sequence[str] = (), **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.writes, self.filters, self.examples = writes, filters, tuple(examples)
        self.own_parameters = list(self.params)
        self.params += [*self._further_options(), *shared_options()]

    def get_help_option_names(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """The same in every context: click keeps the option that it made first."""
        return [*_HELP]

    def _further_options(self) -> list[click.Parameter]:
        filters = filter_options() if self.filters else []
        return [*filters, dry_run_option()] if self.writes else filters

    def invoke(self, ctx: click.Context) -> object:
        """Refuse shared options that mean nothing here, then run the verb."""
        call = ctx.ensure_object(Call)
        name_configuration(call.settings.config)
        name_verb(_first_word(ctx), writes=self.writes)
        self._check(ctx, call.settings)
        return super().invoke(ctx)

    def _check(self, ctx: click.Context, settings: Settings) -> None:
        if settings.json and settings.plain:
            raise click.UsageError("--json and --plain exclude each other.", ctx)
        if settings.dry_run and not self.writes:
            raise click.UsageError(f"'{ctx.command_path}' writes nothing, so it takes no --dry-run.", ctx)
        if settings.filtered and not self.filters:
            raise click.UsageError(f"'{ctx.command_path}' takes no --equipment, --project or --state.", ctx)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What it does in one paragraph, the examples, and then the rest."""
        first, _, rest = inspect.cleandoc(self.help or "").partition("\n\n")
        write_text(formatter, first)
        write_examples(formatter, self.examples)
        if rest:
            write_text(formatter, rest)
        del ctx

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Own options first, then the filters, then those that mean the same everywhere."""
        groups: dict[str, list[click.Parameter]] = {"Options": [], "Which runs": [], "Options of every verb": []}
        for part in self.get_params(ctx):
            if isinstance(part, click.Option):  # newer versions of click have help for arguments too
                groups[self._group_of(part)].append(part)
        for title, parts in groups.items():
            write_options(ctx, formatter, title, parts)

    def _group_of(self, part: click.Parameter) -> str:
        if part.name in {option.name for option in shared_options()} or "--help" in part.opts:
            return "Options of every verb"
        is_filter = self.filters and part.name in {option.name for option in filter_options()}
        return "Which runs" if is_filter else "Options"


def _first_word(ctx: click.Context) -> str:
    """The verb of a context, or the group that it stands in: "equipment" of ``equipment add``."""
    while ctx.parent is not None and ctx.parent.parent is not None:
        ctx = ctx.parent
    return ctx.info_name or ""


class VerbGroup(click.Group):
    """Verbs under one word (``config show``); it takes the shared options too."""

    command_class = Verb
    context_class = HelpContext

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.subcommand_metavar = "VERB [ARGS]..."
        self.params += shared_options()

    def get_help_option_names(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """The same in every context: click keeps the option that it made first."""
        return [*_HELP]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is meant; an unknown one suggests those that are close."""
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise click.UsageError(_unknown(args[0], self.list_commands(ctx)), ctx)
        return super().resolve_command(ctx, args)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What it is for, and an example of each of its verbs."""
        super().format_help_text(ctx, formatter)
        write_examples(formatter, self.example_lines())

    def example_lines(self) -> list[str]:
        """The last example of each verb: the first one is often the verb alone."""
        return [one.examples[-1] for one in self.commands.values() if isinstance(one, Verb) and one.examples]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs first, then the options."""
        self.format_commands(ctx, formatter)
        write_options(ctx, formatter, "Options of every verb", self.get_params(ctx))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs with their first sentence, uncut."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, inspect.cleandoc(one.help or "").partition("\n\n")[0]) for name, one in found if one is not None]
        with formatter.section("Verbs"):
            formatter.write_dl(rows)


def _unknown(word: str, verbs: Sequence[str]) -> str:
    from exlab_orch.text import did_you_mean

    return f"There is no '{word}'.{did_you_mean(word, verbs, show='{0!r}'.format)}"


class LazyGroup(VerbGroup):
    """A group that knows its verbs by name and short help and imports one only when it is run.

    ``sections`` maps a title to verbs; each verb to its short help and the place it is found, ``module:name``.
    """

    def __init__(
        self,
        *args: Any,
        sections: Mapping[str, Mapping[str, tuple[str, str]]],
        examples: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.params += [*filter_options(), dry_run_option()]
        self.sections = sections
        self.places = {verb: place for verbs in sections.values() for verb, (_help, place) in verbs.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Every verb, in the order of the help."""
        return list(self.places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        """The verb of that name, imported now."""
        if cmd_name not in self.places:
            return None
        module, _, name = self.places[cmd_name].partition(":")
        command = getattr(import_module(module), name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{self.places[cmd_name]} is no command")
        return command

    def example_lines(self) -> list[str]:
        """The command lines that a day begins with."""
        return list(self.examples)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs first, then the options."""
        self.format_commands(ctx, formatter)
        write_options(ctx, formatter, "Options, before or after the verb", self.get_params(ctx))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The verbs by section, without importing one of them."""
        for title, verbs in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(verb, short_help) for verb, (short_help, _place) in verbs.items()])


def run(group: click.Group, arguments: Sequence[str], call: Call) -> int:
    """Run one command line and say in words how it ended; the exit status.

    A bug is left to ``sys.excepthook``, which is set here.
    """
    sys.excepthook = endings.bug_hook(
        as_json=lambda: call.settings.json, verbose=lambda: call.settings.verbose, state_dir=call.known_state_dir
    )
    as_json = "--json" in arguments
    name_configuration(None)
    name_verb("", writes=False)
    try:
        status = group.main(list(arguments), PROGRAM, standalone_mode=False, obj=call)
    except ExlabError as error:
        if call.changing:
            endings.log_refusal(error)
        return endings.report_error(error, as_json=as_json)
    except click.ClickException as error:
        return endings.report_usage(error, as_json=as_json)
    except endings.Stopped as stopped:
        return endings.report_stop(stopped, as_json=as_json, quiet=call.settings.quiet)
    return status if isinstance(status, int) else EXIT_DONE
