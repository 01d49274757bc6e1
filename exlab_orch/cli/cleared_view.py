"""How the list of cleared runs looks: what is on the NAS only, by equipment and project."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.text import Text

from exlab_orch import text
from exlab_orch.cli.lines import indented, print_lines
from exlab_orch.cli.show_words import verified_words
from exlab_orch.clock import local_words

if TYPE_CHECKING:
    from exlab_orch.ledger import LedgerLine
    from exlab_orch.looks import LastLook


def print_cleared(console: Console, lines: Sequence[LedgerLine], looks: Mapping[str, LastLook]) -> None:
    """Print the cleared runs, each with when it was, how much, and its place on the NAS beneath it."""
    print_lines(console, _lines(lines, looks, console.width))
    freed = sum(line.bytes_freed for line in lines)
    console.print(Text(f"\n{text.count(len(lines), 'run')} on the NAS only; {text.size(freed)} of staging given back."))
    label, command = _next_command(lines, looks)
    console.print(Text.assemble((f"{label}: ", "bold"), command), soft_wrap=True)


def _lines(lines: Sequence[LedgerLine], looks: Mapping[str, LastLook], width: int) -> Iterator[RenderableType]:
    for place, group in groupby(sorted(lines, key=_order), key=_place):
        yield indented("  ".join(text.printable(part, limit=10_000) for part in place), 0, width, "bold")
        for line in group:
            yield from _run_lines(line, looks.get(line.run_path), width)


def _next_command(lines: Sequence[LedgerLine], looks: Mapping[str, LastLook]) -> tuple[str, str]:
    damaged = next((line for line in lines if line.run_path in looks and not looks[line.run_path].ok), None)
    if damaged is not None:
        return "Next", f"exlab-orch show {text.pasted(damaged.run_path)}"
    return "To read a copy again", f"exlab-orch verify {text.pasted(lines[0].run_path)}"


def _place(line: LedgerLine) -> tuple[str, ...]:
    return tuple(line.run_path.split("/")[:2])


def _order(line: LedgerLine) -> tuple[tuple[str, ...], str, str]:
    return _place(line), line.run_path, line.cleared_at


def _run_lines(line: LedgerLine, look: LastLook | None, width: int) -> Iterator[RenderableType]:
    """The place is never broken by us, so that it can be copied whole."""
    when = text.printable(local_words(line.cleared_at))
    by = f", by {text.printable(line.by)}" if line.by else ""
    freed = f"{text.count(line.files_cleared, 'file')}, {text.size(line.bytes_freed)}"
    yield indented(text.printable(line.run_path.rsplit("/", 1)[-1], limit=10_000), 2, width)
    yield indented(f"{freed} deleted {when}{by}", 4, width, "dim")
    if look is not None:
        yield indented(f"verified {verified_words(look)}", 4, width, "dim" if look.ok else "red")
    yield indented(text.printable(line.nas_path, limit=10_000), 4, width, "green", is_whole=True)
