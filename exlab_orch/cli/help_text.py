"""How the help of a verb is laid out: words kept whole, examples as they are typed, options in groups."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import click

_HYPHEN = "\ue000"
"""Stands for a hyphen while lines are wrapped."""


def write_text(formatter: click.HelpFormatter, text: str) -> None:
    """One or more paragraphs."""
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(text)


def write_examples(formatter: click.HelpFormatter, examples: Sequence[str], title: str = "Examples") -> None:
    """The examples as they are typed; one that is too long goes on in another line, as a shell takes it."""
    if not examples:
        return
    with formatter.section(title):
        for example in examples:
            first, *more = folded(example, formatter.width - formatter.current_indent)
            indent = " " * formatter.current_indent
            formatter.write("".join(f"{indent}{line}\n" for line in (first, *(f"    {line}" for line in more))))


def folded(example: str, width: int) -> list[str]:
    """A command line in pieces that fit, cut in front of options and pipes; all but the last end with a backslash."""
    lines = [""]
    for piece in re.split(r" (?=--|\| |> )", example):
        longer = f"{lines[-1]} {piece}".strip()
        room = width - len(" \\") - (len("    ") if len(lines) > 1 else 0)
        if lines[-1] and len(longer) > room:
            lines.append(piece)
        else:
            lines[-1] = longer
    return [f"{line} \\" for line in lines[:-1]] + lines[-1:]


class Formatter(click.HelpFormatter):
    """Help that is never broken at a hyphen: half an option or path cannot be copied."""

    def write_text(self, text: str) -> None:
        """See HelpFormatter."""
        super().write_text(_tied(text))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """See HelpFormatter."""
        super().write_dl([(_tied(name), _tied(text)) for name, text in rows], col_max, col_spacing)

    def getvalue(self) -> str:
        """See HelpFormatter."""
        return super().getvalue().replace(_HYPHEN, "-")


def _tied(text: str) -> str:
    return text.replace("-", _HYPHEN)


def write_options(
    ctx: click.Context, formatter: click.HelpFormatter, title: str, parameters: Sequence[click.Parameter]
) -> None:
    """A titled list of those that are options; arguments stand in the usage line."""
    options = [part for part in parameters if isinstance(part, click.Option)]
    records = [record for part in options if (record := part.get_help_record(ctx)) is not None]
    if records:
        with formatter.section(title):
            formatter.write_dl(records)


class HelpContext(click.Context):
    """A context whose help keeps words whole."""

    formatter_class = Formatter
