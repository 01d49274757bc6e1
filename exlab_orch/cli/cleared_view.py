"""How the list of cleared runs looks: what is on the NAS only, by equipment and project."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from exlab_orch import text
from exlab_orch.cli.words import local_time
from exlab_orch.clock import parse_utc

if TYPE_CHECKING:
    from exlab_orch.ledger import LedgerLine


def print_cleared(console: Console, lines: Sequence[LedgerLine]) -> None:
    """Print the cleared runs, each with its place on the NAS beneath it."""
    for place, group in groupby(sorted(lines, key=_order), key=_place):
        console.print(Text("  ".join(map(text.printable, place)), style="bold", overflow="fold"))
        for line in group:
            console.print(_line(line))
            console.print(
                Padding(Text(text.printable(line.nas_path, limit=10_000), style="dim"), (0, 0, 0, 4), expand=False)
            )
    freed = sum(line.bytes_freed for line in lines)
    console.print(Text(f"\n{text.count(len(lines), 'run')} on the NAS only; {text.size(freed)} of staging given back."))


def _place(line: LedgerLine) -> tuple[str, ...]:
    return tuple(line.run_path.split("/")[:2])


def _order(line: LedgerLine) -> tuple[tuple[str, ...], str, str]:
    return _place(line), line.run_path, line.cleared_at


def _line(line: LedgerLine) -> Padding:
    moment = parse_utc(line.cleared_at)
    grid = Table.grid(padding=(0, 2), expand=True)
    grid.add_column(overflow="fold")
    for _ in range(3):
        grid.add_column(no_wrap=True, justify="right")
    grid.add_row(
        Text(text.printable(line.run_path.rsplit("/", 1)[-1]), overflow="fold"),
        text.count(line.files_cleared, "file"),
        text.size(line.bytes_freed),
        text.printable(line.cleared_at) if moment is None else local_time(moment),
    )
    return Padding(grid, (0, 0, 0, 2))
