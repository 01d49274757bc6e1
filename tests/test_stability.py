"""What docs/stability.md promises: no name that programs, files or fingers rely on goes away.

``python -m tests.test_stability`` remembers the names of today; it only ever adds. What was never released may be taken
out of the file by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
from pydantic import BaseModel

import exlab_orch
from exlab_orch import errors
from exlab_orch.cli import SECTIONS, program
from exlab_orch.cli.options import shared_options
from exlab_orch.config import Config
from exlab_orch.config_errors import fields_of, tables_in

ROOT = Path(__file__).parents[1]
REMEMBERED = ROOT / "tests/golden/stable_names.txt"


def names_now() -> set[str]:
    """Every name that is promised, as it is now."""
    return {*_verbs(), *_keys(Config, ""), *_json_keys(), *_codes(), *_exits(), *_python()}


def _verbs() -> Iterator[str]:
    shared = {name for part in shared_options() for name in part.opts}
    yield from (f"option {name}" for name in shared)
    context = click.Context(program)
    for name in (name for listed in SECTIONS.values() for name in listed):
        command = program.get_command(context, name)
        assert command is not None
        inner = command.commands if isinstance(command, click.Group) else {"": command}
        for word, verb in inner.items():
            words = f"{name} {word}".rstrip()
            yield f"verb {words}"
            options = [part for part in verb.params if isinstance(part, click.Option)]
            yield from (f"option {words} {one}" for option in options for one in option.opts if one not in shared)


def _keys(model: type[BaseModel], path: str) -> Iterator[str]:
    for name, field in fields_of(model).items():
        tables = list(tables_in(field.annotation))
        for table in tables:
            yield from _keys(table, f"{path}{name}.")
        if not tables:
            yield f"key {path}{name}"


def _json_keys() -> Iterator[str]:
    title = ""
    for line in (ROOT / "docs/reference/json.md").read_text().splitlines():
        title = line.strip("# `") if line.startswith("#") else title
        key = re.match(r"\| `([^`]+)` \|", line)
        if key is not None:
            yield f"json {title}: {key[1]}"


def _codes() -> Iterator[str]:
    for line in (ROOT / "docs/reference/problems.md").read_text().splitlines():
        code = re.match(r"\| `(\w+)` \|", line)
        if code is not None:
            yield f"problem {code[1]}"


def _exits() -> Iterator[str]:
    yield from (f"exit {name} {value}" for name, value in vars(errors).items() if name.startswith("EXIT_"))


def _python() -> Iterator[str]:
    yield from (f"python {name}" for name in dir(exlab_orch))


def remembered() -> set[str]:
    return set(REMEMBERED.read_text().splitlines())


def test_no_name_that_is_promised_has_gone_away() -> None:
    assert remembered() - names_now() == set(), "docs/stability.md promises them"
    assert len(remembered()) > 300, "nothing was looked at"


def test_what_the_promise_is_about_is_remembered() -> None:
    kinds = {name.partition(" ")[0] for name in remembered()}
    assert kinds == {"verb", "option", "key", "json", "problem", "exit", "python"}
    page = (ROOT / "docs/stability.md").read_text()
    for row in ("Verbs and options", "Exit codes", "JSON", "Problem codes", "Configuration", "Python"):
        assert f"| {row} |" in page


if __name__ == "__main__":
    REMEMBERED.write_text("\n".join(sorted(names_now() | (remembered() if REMEMBERED.exists() else set()))) + "\n")
