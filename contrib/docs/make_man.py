"""Write the pages in contrib/man: of the command from the help of its verbs and the exit codes of
docs/reference/verbs.md, of the configuration from docs/reference/configuration.md, which is made from the models.

Run it after a change of verbs, options or keys: .venv/bin/python contrib/docs/make_man.py
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
FOLDER = ROOT / "contrib/man"
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


def pages() -> dict[str, str]:
    """Each page by the name of its file."""
    made = {
        "exlab-orch.1": [*_head(), *_verbs(), *_shared(), *_exit_codes(), *_rest()],
        "exlab-orch-config.5": [*_configuration()],
    }
    return {name: "".join(f"{part}\n" for part in parts) for name, parts in made.items()}


def _title(name: str, section: int, source: str, manual: str) -> Lines:
    yield f'.\\" contrib/docs/make_man.py writes this file from {source}'
    yield f'.TH {escaped(name.upper())} {section} "" "exlab\\-orch {escaped(__version__)}" "{manual}"'
    yield ".nh\n.ad l"  # neither a path nor an option is broken
    yield ".SH NAME"


def _head() -> Lines:
    yield from _title("exlab-orch", 1, "the help of the verbs", "User Commands")
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
    yield ".BR exlab\\-orch\\-config (5),\n.BR sha256sum (1),\n.BR rclone (1),\n.BR rsync (1),\n.BR crontab (5)"


# -- the configuration ---------------------------------------------------------------------------------------


def _configuration() -> Lines:
    text = (ROOT / "docs/reference/configuration.md").read_text()
    yield from _title("exlab-orch-config", 5, "docs/reference/configuration.md", "File Formats")
    yield "exlab\\-orch\\-config \\- config.toml, the configuration of exlab\\-orch"
    yield ".SH SYNOPSIS\n.I /etc/exlab\\-orch/config.toml"
    yield ".SH DESCRIPTION"
    yield from _text(_plain(text.partition("\n## ")[0].partition("\n")[2]))
    yield ".SH EXAMPLE\n.PP\n.RS 4\n.nf"
    yield from map(line, _example(text).splitlines())
    yield ".fi\n.RE\n.SH TABLES AND KEYS"
    for part in re.split(r"^### ", text.partition("<!-- made: configuration -->")[2], flags=re.MULTILINE)[1:]:
        yield from _table(part.partition("<!-- end -->")[0])
    yield ".SH SEE ALSO\n.BR exlab\\-orch (1)"


def _example(text: str) -> str:
    found = re.search(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def _table(part: str) -> Lines:
    """One table of the configuration: its name, what it is for, and each key."""
    title, _, rest = part.partition("\n")
    purpose, _, rows = rest.strip().partition("\n\n")
    yield f'.SS "{escaped(_plain(title))}"'
    yield from _text(_plain(purpose))
    for row in rows.splitlines()[2:]:
        key, default, allowed, meaning = (_plain(cell.strip()) for cell in re.split(r"(?<!\\)\|", row)[1:-1])
        yield f'.TP\n.B "{escaped(key)}"'
        yield line(f"{meaning}.")
        yield ".br"
        yield line(f"Allowed: {allowed}. " + ("Required." if default == "required" else f"Default: {default}."))


def _plain(text: str) -> str:
    """Markdown as text: links by their words, no quotes of code."""
    linked = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)
    return linked.replace("`", "").replace("**", "").replace("\\|", "|")


if __name__ == "__main__":
    for name, content in pages().items():
        (FOLDER / name).write_text(content)
        sys.stdout.write(f"Wrote {FOLDER / name}\n")
