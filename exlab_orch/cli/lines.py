"""Many lines on a terminal: each as far from the edge as it belongs, and printed in as few goes as can be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import cast

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text


def indented(words: str, indent: int, width: int, style: str = "", *, is_whole: bool = False) -> RenderableType:
    """The words on one line where they fit or must not be broken, else folded, each line as far from the edge."""
    if is_whole or indent + cell_len(words) <= width:
        return Text.assemble(" " * indent, (words, style), no_wrap=True)
    return Padding(Text(words, style=style, overflow="fold"), (0, 0, 0, indent), expand=False)


def print_lines(console: Console, lines: Iterable[RenderableType]) -> None:
    """Print lines; those that are whole in one go, which with thousands of runs takes a third of the time."""
    for is_whole, some in groupby(lines, key=_is_whole):
        if is_whole:
            console.print(Text("\n").join(cast("Iterator[Text]", some)), soft_wrap=True)
        else:
            console.print(*some, sep="\n")


def _is_whole(line: RenderableType) -> bool:
    return isinstance(line, Text) and bool(line.no_wrap)
