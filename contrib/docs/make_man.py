"""Write contrib/man/exlab-orch.1 from the help of the verbs and the exit codes of docs/reference/verbs.md.

Run it after a change of verbs or options: .venv/bin/python contrib/docs/make_man.py
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from exlab_orch import __version__
from exlab_orch.cli import program
from exlab_orch.cli.frame import LazyGroup, Verb
from exlab_orch.cli.help_text import folded
from exlab_orch.cli.options import filter_options, shared_options

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "contrib/man/exlab-orch.1"
_EXAMPLE_WIDTH = 66
_ESCAPES = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti", '"': "\\(dq"}

Lines = Iterator[str]


def escaped(text: str) -> str:
    """The text for roff: nothing in it is a request, a quote that is turned, or a hyphen that cannot be copied."""
    return "".join(map(_letter, text))


def _letter(letter: str) -> str:
    return _ESCAPES.get(letter) or (letter if letter.isascii() else f"\\[u{ord(letter):04X}]")


def line(text: str) -> str:
    """One line of text; a dot or quote at its beginning is no request."""
    shown = escaped(text)
    return f"\\&{shown}" if shown.startswith(".") else shown


def page() -> str:
    """The whole page."""
    parts = [*_head(), *_verbs(), *_shared(), *_exit_codes(), *_rest()]
    return "".join(f"{part}\n" for part in parts)


def _head() -> Lines:
    yield '.\\" contrib/docs/make_man.py writes this file from the help of the verbs'
    yield f'.TH EXLAB\\-ORCH 1 "" "exlab\\-orch {escaped(__version__)}" "User Commands"'
    yield ".nh\n.ad l"  # neither a path nor an option is broken
    yield ".SH NAME"
    yield "exlab\\-orch \\- copy finished instrument runs to a NAS, prove the copy, and free the staging disk"
    yield ".SH SYNOPSIS"
    yield ".B exlab\\-orch\n.RI [ OPTIONS ]\n.I VERB\n.RI [ ARGUMENTS ]"
    yield ".SH DESCRIPTION"
    yield from _text(program.help or "")
    yield ".SH EXAMPLES"
    yield from _examples(getattr(program, "examples", ()))


def _verbs() -> Lines:
    context = click.Context(program, info_name="exlab-orch")
    assert isinstance(program, LazyGroup)
    yield ".SH VERBS"
    yield from _text("RUN is a path, EQUIPMENT/PROJECT/Runs/Run_..., or the folder's name where only one run has it.")
    for verbs in program.sections.values():
        for name in verbs:
            command = program.get_command(context, name)
            assert command is not None
            yield from _verb(name, command)


def _verb(name: str, command: click.Command) -> Lines:
    if isinstance(command, click.Group):
        for word, inner in command.commands.items():
            yield from _verb(f"{name} {word}", inner)
        return
    context = click.Context(command)
    usage = [piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]"]
    yield f'.SS "{escaped(" ".join([name, *usage]))}"'
    yield from _text(command.help or "")
    yield from _options(context, _own_options(command))
    if isinstance(command, Verb):
        if command.filters:
            yield from _text("The filters --equipment, --project and --state narrow it down.")
        yield from _examples(command.examples)


def _own_options(command: click.Command) -> list[click.Parameter]:
    others = {one.name for one in (*shared_options(), *filter_options())}
    own = {one.name for one in getattr(command, "own_parameters", [])}
    return [one for one in command.params if one.name in own or one.name not in others]


def _shared() -> Lines:
    yield ".SH OPTIONS"
    yield from _text("They mean the same before and after the verb; the filters only where a verb takes them.")
    context = click.Context(program)
    yield from _options(context, [*shared_options(), *filter_options(), *program.get_params(context)[-1:]])


def _options(context: click.Context, parameters: Sequence[click.Parameter]) -> Lines:
    for one in parameters:
        record = one.get_help_record(context) if isinstance(one, click.Option) else None
        if record is not None:
            yield ".TP"
            yield f'.B "{escaped(record[0])}"'
            yield line(record[1])


def _text(text: str) -> Lines:
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        yield ".PP"
        yield line(" ".join(paragraph.split()))


def _examples(examples: Sequence[str]) -> Lines:
    if examples:
        yield ".PP\n.RS 4\n.nf"
        for example in examples:
            yield from (f"{'    ' if number else ''}{line(one)}" for number, one in enumerate(_folded(example)))
        yield ".fi\n.RE"


def _folded(example: str) -> list[str]:
    return folded(example, _EXAMPLE_WIDTH)


def _exit_codes() -> Lines:
    found = re.search(
        r"^## Exit codes\n(.*?)(?=^##|\Z)", (ROOT / "docs/reference/verbs.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert found is not None
    yield ".SH EXIT STATUS"
    for row in re.findall(r"^\| ([\d, ]+) \| (.*?) \|", found.group(1), re.MULTILINE):
        yield ".TP"
        yield f".B {escaped(row[0])}"
        yield line(row[1].replace("`", ""))


def _rest() -> Lines:
    yield ".SH ENVIRONMENT"
    for name, text in {
        "EXLAB_ORCH_CONFIG": "The configuration, where -c does not name one.",
        "NO_COLOR": "Set to anything: no colours.",
    }.items():
        yield f".TP\n.B {name}\n{line(text)}"
    yield ".SH FILES"
    for name, text in {
        "/etc/exlab-orch/config.toml": "The configuration; without it ~/.config/exlab-orch/config.toml.",
        "STAGING/.exlab-orch/": "The owner of the staging folder, holds, and the trash.",
        "RUN/.exlab-wizard/": "The run's record ingest.json, its list checksums.sha256, and its log.",
        "NAS/.exlab-nas": "The marker that says that this is the right NAS.",
    }.items():
        yield f'.TP\n.I "{escaped(name)}"\n{line(text)}'
    yield ".SH SEE ALSO"
    yield ".BR sha256sum (1),\n.BR rclone (1),\n.BR rsync (1),\n.BR crontab (5)"


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"Wrote {PAGE}\n")
