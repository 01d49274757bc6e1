"""How the help of a verb is laid out: words kept whole, examples as they are typed, options in groups."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

import click

_HYPHEN = "\ue000"
"""Stands for a hyphen while lines are wrapped."""
_NARROWEST: Final = 30
_NARROW: Final = 60
"""Below this, an explanation stands under its option: beside it there is no room for whole words."""
_SHORT: Final = 14
"""Names that leave room beside them all the same, such as those of verbs."""


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
        indent = " " * formatter.current_indent
        for example in examples:
            for line in _fitting(example, formatter.width - formatter.current_indent):
                formatter.write(f"{indent}{line}\n")


def _fitting(example: str, width: int) -> Iterator[str]:
    """The lines of an example; what is said of it comes first where it has no room behind."""
    command, mark, comment = example.partition(" # ")
    if mark and len(example) > width:
        yield f"# {comment}"
        example = command.rstrip()
    first, *more = folded(example, width)
    yield first
    yield from (f"    {line}" for line in more)


def folded(example: str, width: int) -> list[str]:
    """A command line in pieces that fit; all but the last end with a backslash.

    It is cut in front of options and pipes, and between other words only where that is not enough.
    """
    lines = [""]
    for piece in _pieces(example):
        is_whole = "# " in piece or len(piece) <= _room(width, lines)
        for part in [piece] if is_whole else _WORDS.findall(piece):
            longer = f"{lines[-1]} {part}".strip()
            if lines[-1] and len(longer) > _room(width, lines):
                lines.append(part)
            else:
                lines[-1] = longer
    return [f"{line} \\" for line in lines[:-1]] + lines[-1:]


_WORDS: Final = re.compile(r"(?:'[^']*'|\"[^\"]*\"|[^\s'\"])+")


def _pieces(example: str) -> list[str]:
    """An example, cut in front of its options and pipes; what is quoted is one word."""
    cuts = [word.start() for word in _WORDS.finditer(example) if word[0].startswith("--") or word[0] in ("|", ">")]
    return [example[start:end].rstrip() for start, end in pairwise([0, *cuts, len(example)])]


def _room(width: int, lines: Sequence[str]) -> int:
    return width - len(" \\") - (len("    ") if len(lines) > 1 else 0)


class Formatter(click.HelpFormatter):
    """Help that is never broken at a hyphen: half an option or path cannot be copied.

    It is as narrow as the terminal, which click's own never is below 50 columns.
    """

    def __init__(self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None) -> None:
        if width is None:
            import shutil

            width = max(min(shutil.get_terminal_size().columns, max_width or 80) - 2, _NARROWEST)
        super().__init__(indent_increment, width, max_width)

    def write_text(self, text: str) -> None:
        """See HelpFormatter."""
        super().write_text(_tied(text))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """See HelpFormatter."""
        found = [*rows]
        names = max((len(name) for name, _text in found), default=0)
        words = max((len(word) for _name, text in found for word in text.split()), default=0)
        has_room = names <= _SHORT and words <= self.width - self.current_indent - names - col_spacing
        if has_room or self.width >= _NARROW:
            super().write_dl([(_tied(name), _tied(text)) for name, text in found], col_max, col_spacing)
            return
        for name, text in found:
            self._write_under(name, text)

    def _write_under(self, name: str, text: str) -> None:
        margins, room = (self.current_indent, self.current_indent + 4), self.width - self.current_indent - 4
        choices = name if len(name) <= room else name.replace("|", "| ")
        for number, line in enumerate(_whole_words(choices, room)):
            self.write(f"{'':{margins[number > 0]}}{line.replace('| ', '|')}\n")
        for line in _whole_words(text, room):
            self.write(f"{'':{margins[1]}}{line}\n")

    def getvalue(self) -> str:
        """See HelpFormatter."""
        return super().getvalue().replace(_HYPHEN, "-")


def _whole_words(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


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
