"""Make the tables of docs/reference/ from the program itself: keys from the models, verbs from the command line.

What stands between ``<!-- made: NAME -->`` and ``<!-- end -->`` in a page is made here; the rest is written by hand.
Run it after a change of a key or a verb: .venv/bin/python contrib/docs/make_reference.py [--check]
"""

from __future__ import annotations

import difflib
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from exlab_orch.cli import SECTIONS, program
from exlab_orch.cli.frame import Verb
from exlab_orch.cli.options import dry_run_option, filter_options, shared_options
from exlab_orch.config import Config
from exlab_orch.config_errors import allowed_words, fields_of, tables_in

ROOT = Path(__file__).parents[2]
QUOTED = re.compile(r'(?<![`\w.])((?:[a-z]+_)+[a-z]+(?: = "?\w+"?)?|[a-z]+ = "[a-z]+"|\[[a-z.]+\])(?![`\w])')
"""What is quoted in the description of a key: another key, with or without a value, and the name of a table."""
BAR = r"\|"
REGION = re.compile(r"^<!-- made: ([a-z-]+) -->\n(?:.*?\n)??<!-- end -->$", re.DOTALL | re.MULTILINE)


def main(arguments: Sequence[str]) -> int:
    """Write every page that is not up to date; with --check only name it and say what differs."""
    late = {page: fresh for page in pages() if (fresh := made_afresh(page.read_text())) != page.read_text()}
    for page, fresh in late.items():
        name = str(page.relative_to(ROOT))
        if "--check" in arguments:
            old, new = page.read_text().splitlines(keepends=True), fresh.splitlines(keepends=True)
            sys.stdout.writelines(difflib.unified_diff(old, new, name, f"{name} made afresh", n=1))
        else:
            page.write_text(fresh)
            sys.stdout.write(f"{name}\n")
    return 1 if late and "--check" in arguments else 0


def pages() -> list[Path]:
    """The pages with something that is made here."""
    return [page for page in sorted((ROOT / "docs").rglob("*.md")) if REGION.search(page.read_text())]


def made_afresh(page: str) -> str:
    """The page with each of its made parts as the program is now."""
    return REGION.sub(lambda found: f"<!-- made: {found[1]} -->\n\n{PARTS[found[1]]()}\n\n<!-- end -->", page)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [f"| {' | '.join(cell.replace('|', BAR) for cell in line)} |" for line in (heads, *rows)]
    return "\n".join([lines[0], f"|{'---|' * len(heads)}", *lines[1:]])


# -- the configuration ---------------------------------------------------------------------------------------


def configuration() -> str:
    """Every table of config.toml with its keys."""
    return "\n\n".join(_tables(Config, ()))


def _tables(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[str]:
    """The tables that a model has, each with those in it; nothing twice."""
    for name, field in fields_of(model).items():
        inside = (*path, name)
        for inner in tables_in(field.annotation):
            if inside[0] == "equipment" and name == "nas":
                continue  # the same kinds as [nas]
            yield _table(inner, inside, several=_several(field))
            yield from _tables(inner, inside)


def _several(field: FieldInfo) -> bool:
    return "tuple" in str(field.annotation)


def _table(model: type[BaseModel], path: tuple[str, ...], *, several: bool) -> str:
    rows = [
        [f"`{key}`", _default(field), _allowed(key, field), _sentence(field.description or "")]
        for key, field in fields_of(model).items()
        if key in ("nas", "schedule") or not list(tables_in(field.annotation))
    ]
    purpose = _purpose(model, _title(model, path, several=several))
    return f"{purpose}\n\n{table(['key', 'default', 'allowed', 'meaning'], rows)}"


def _title(model: type[BaseModel], path: tuple[str, ...], *, several: bool) -> str:
    name = ".".join(path)
    if path[-1] == "nas":
        kind = get_args(model.model_fields["type"].annotation)[0]
        return f'`[nas]` with `type = "{kind}"`'
    if several and len(path) > 1:
        return f"Each window of `{name}`" if path[-1] == "schedule" else f"Each entry of `{name}`"
    return f"`[[{name}]]`" if several else f"`[{name}]`"


def _purpose(model: type[BaseModel], title: str) -> str:
    """The heading, and what the docstring of the model says behind its colon."""
    words = " ".join((model.__doc__ or "").split())
    told = re.sub(r" \(lifecycle\.md[^)]*\)", "", words).replace("``", "`")
    told = told.partition(": ")[2] if re.match(r"`[^`]+`: ", told) else told
    return f"### {title}\n\n{told[:1].upper()}{told[1:]}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is None:
        return "none"
    return f"`{json.dumps(list(field.default) if isinstance(field.default, tuple) else field.default)}`"


def _allowed(key: str, field: FieldInfo) -> str:
    if key == "nas":
        return "a table `[equipment.nas]`, one of the kinds of `[nas]`"
    if key == "schedule":
        return "a list of windows"
    words = allowed_words((key,), field).replace(" in quotes", "").removesuffix(', such as "/srv/staging"').rstrip(",")
    return re.sub(r'\["[^\]]*\]|"[^"]*"|\btrue\b|\bfalse\b', lambda found: f"`{found[0]}`", words)


def _sentence(words: str) -> str:
    told = re.sub(
        r'(?<![`\w.])((?:[a-z]+_)+[a-z]+(?: = "?\w+"?)?|[a-z]+ = "[a-z]+"|\[[a-z.]+\])(?![`\w])', r"`\1`", words
    )
    return told.rstrip(".")


# -- the verbs -----------------------------------------------------------------------------------------------


def verbs() -> str:
    """Every verb in the order of the help, each with its usage, its options and its examples."""
    parts = []
    for title, listed in SECTIONS.items():
        parts.append(f"## {title}")
        for name in listed:
            parts += _commands(name, _command(program, name))
    return "\n\n".join(parts)


def _command(group: click.Group, name: str) -> click.Command:
    command = group.get_command(click.Context(group), name)
    if command is None:
        raise SystemExit(f"There is no verb {name}.")
    return command


def _commands(name: str, command: click.Command) -> Iterator[str]:
    if isinstance(command, click.Group):
        for word in command.list_commands(click.Context(command)):
            yield from _commands(f"{name} {word}", _command(command, word))
    else:
        yield _verb(name, command)


def _verb(name: str, command: click.Command) -> str:
    """One verb: heading, usage, what it does, its own options, examples."""
    own = [part for part in command.params if part.name not in {one.name for one in shared_options()}]
    usage = " ".join(
        ["exlab-orch", name, "[OPTIONS]", *(_argument(part) for part in own if isinstance(part, click.Argument))]
    )
    parts = [f"### `{name}`", f"```text\n{usage}\n```", _paragraphs(command.help or "")]
    options = [part for part in own if isinstance(part, click.Option)]
    if options:
        parts.append(options_table(options))
    if isinstance(command, Verb) and command.examples:
        parts.append("\n".join(["```sh", *command.examples, "```"]))
    return "\n\n".join(parts)


def _argument(argument: click.Argument) -> str:
    word = argument.metavar or (argument.name or "").upper() + ("..." if argument.nargs == -1 else "")
    return word if argument.required or word.startswith("[") else f"[{word}]"


def _paragraphs(text: str) -> str:
    return "\n\n".join(textwrap.fill(" ".join(one.split()), 120) for one in text.replace("\b", "").split("\n\n"))


def options_table(options: Sequence[click.Parameter]) -> str:
    """The options of a verb, one a row."""
    rows = [
        [_names(option), _help(option)] for option in options if isinstance(option, click.Option) and not option.hidden
    ]
    return table(["option", "meaning"], rows)


def _names(option: click.Option) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    return f"`{names}`" if option.is_flag or option.count else f"`{names} {_value(option)}`"


def _value(option: click.Option) -> str:
    if isinstance(option.type, click.Choice) and not option.metavar:
        return "|".join(map(str, option.type.choices))
    return option.metavar or option.type.name.upper()


def _help(option: click.Option) -> str:
    told = " ".join((option.help or "").split())
    return f"{told} Default: `{option.default}`." if option.show_default and option.default is not None else told


def shared() -> str:
    """The options that every verb takes, or that several do."""
    return options_table([*shared_options(), dry_run_option(), *filter_options()])


PARTS: Mapping[str, Callable[[], str]] = {"configuration": configuration, "verbs": verbs, "shared-options": shared}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
