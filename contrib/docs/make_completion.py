"""Write exlab_orch/completing/table.py, which says what shells may offer, from the verbs as they are.

Run it after a change of verbs or options: .venv/bin/python contrib/docs/make_completion.py
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

import click

from exlab_orch.cli import program
from exlab_orch.cli.options import dry_run_option, filter_options, shared_options

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "exlab_orch/completing/table.py"
_KINDS = {
    "FILE": "file",
    "FOLDER": "folder",
    "NAS": "nas",
    "ROOT": "nas",
    "ID": "equipment",
    "EQUIPMENT": "equipment",
    "PROJECT": "project",
    "NAME": "project",
    "RUN": "run",
}
_CLEARED_TOO = {"show", "log", "verify"}
"""Verbs that also take runs whose staged copy was deleted."""
_HEAD = '''"""The verbs and their options, as shells offer them; contrib/docs/make_completion.py writes this file."""

# ruff: noqa: E501

from __future__ import annotations

from typing import Final, NamedTuple


class Verb(NamedTuple):
    """One verb: what it does, what its arguments are, and each option with its kind of value and its help."""

    help: str
    argument: str
    options: dict[str, tuple[str, str]]

    def option(self, name: str) -> str | None:
        """The kind of value that an option takes; "" for a mere flag, None for an unknown option."""
        found = self.options.get(name) or SHARED.get(name)
        return None if found is None else found[0]

    def help_of_options(self) -> list[tuple[str, str]]:
        """Every option that may be given, with its help."""
        return [(name, text) for name, (_, text) in {**self.options, **SHARED}.items()]


# fmt: off
'''


def table() -> str:
    """The module's text."""
    verbs = "".join(_verb(name, command) for name, command in _verbs().items())
    shared = _options([*shared_options(), _Help()])
    tables = f"SHARED: Final[dict[str, tuple[str, str]]] = {shared}\n\nVERBS: Final[dict[str, Verb]] = {{\n{verbs}}}\n"
    return _HEAD + tables


class _Help(click.Option):
    def __init__(self) -> None:
        super().__init__(["-h", "--help"], is_flag=True, help="Show this message and exit.")


def _verbs() -> dict[str, click.Command]:
    found: dict[str, click.Command] = {"": program}
    context = click.Context(program)
    for name in program.list_commands(context):
        command = program.get_command(context, name)
        if command is not None:
            found[name] = command
            inner = command.commands if isinstance(command, click.Group) else {}
            found |= {f"{name} {word}": one for word, one in inner.items()}
    return found


def _verb(name: str, command: click.Command) -> str:
    shared = {one.name for one in shared_options()}
    own = [one for one in command.params if one.name not in shared]
    if not name:
        own = [*(one for one in own if one.name == "version"), *filter_options(), dry_run_option()]
    argument = next((_argument(name, one) for one in own if isinstance(one, click.Argument)), "")
    fields = (repr(_first_line(name, command)), repr(argument), _options(own, " " * 8))
    return f"    {name!r}: Verb(\n" + "".join(f"        {field},\n" for field in fields) + "    ),\n"


def _first_line(name: str, command: click.Command) -> str:
    for verbs in getattr(program, "sections", {}).values():
        if name in verbs:
            return _short(verbs[name][0])
    return _short(command.help or "")


def _short(text: str) -> str:
    """The first sentence, on one line that fits beside a word."""
    sentence = " ".join(text.split("\n\n", maxsplit=1)[0].split()).split(". ")[0].rstrip(".")
    return textwrap.shorten(sentence, 72, placeholder=" …")


def _argument(verb: str, one: click.Argument) -> str:
    kind = _kind(one)
    if verb == "equipment add":
        return ""
    return "cleared" if kind == "run" and verb in _CLEARED_TOO else kind


def _kind(one: click.Parameter) -> str:
    if isinstance(one, click.Option) and (one.is_flag or one.count):
        return ""
    if isinstance(one.type, click.Choice):
        return "choice:" + ",".join(map(str, one.type.choices))
    metavar = (one.metavar or (one.name or "").upper()).split("|")[0].strip("[].")
    if metavar == "CODE":
        return "choice:" + ",".join(sorted(_codes()))
    return _KINDS.get(metavar, "text")


def _codes() -> list[str]:
    """The codes of problems; those of a command that was mistyped are no problems of a run."""
    documented = (ROOT / "docs/reference/problems.md").read_text()
    return re.findall(r"^\| `(\w+)` \|", documented.partition("## Of what was asked for")[0], re.MULTILINE)


def _options(parameters: list[click.Parameter], indent: str = "") -> str:
    found = {
        name: (_kind(one), _short(one.help or ""))
        for one in parameters
        if isinstance(one, click.Option) and not one.hidden
        for name in (*one.opts, *one.secondary_opts)
        if name.startswith("-")
    }
    lines = "".join(f"{indent}    {name!r}: {value!r},\n" for name, value in found.items())
    return f"{{\n{lines}{indent}}}" if lines else "{}"


if __name__ == "__main__":
    TABLE.write_text(table())
    sys.stdout.write(f"Wrote {TABLE}\n")
