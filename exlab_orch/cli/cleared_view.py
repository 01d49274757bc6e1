"""How the list of cleared runs looks: what is on the NAS only, by equipment and project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from exlab_orch import text
from exlab_orch.cli.show_words import verified_words
from exlab_orch.clock import local_words

if TYPE_CHECKING:
    from exlab_orch.ledger import LedgerLine
    from exlab_orch.verification import LastLook


def print_cleared(console: Console, lines: Sequence[LedgerLine], looks: Mapping[str, LastLook]) -> None:
    """Print the cleared runs, each with when it was, how much, and its place on the NAS beneath it."""
    for place, group in groupby(sorted(lines, key=_order), key=_place):
        console.print(
            Text("  ".join(text.printable(part, limit=10_000) for part in place), style="bold", overflow="fold")
        )
        for line in group:
            _print_line(console, line, looks.get(line.run_path))
    freed = sum(line.bytes_freed for line in lines)
    console.print(Text(f"\n{text.count(len(lines), 'run')} on the NAS only; {text.size(freed)} of staging given back."))
    label, command = _next_command(lines, looks)
    console.print(Text.assemble((f"{label}: ", "bold"), command), soft_wrap=True)


def _next_command(lines: Sequence[LedgerLine], looks: Mapping[str, LastLook]) -> tuple[str, str]:
    damaged = next((line for line in lines if line.run_path in looks and not looks[line.run_path].ok), None)
    if damaged is not None:
        return "Next", f"exlab-orch show {text.pasted(damaged.run_path)}"
    return "To read a copy again", f"exlab-orch verify {text.pasted(lines[0].run_path)}"


def _place(line: LedgerLine) -> tuple[str, ...]:
    return tuple(line.run_path.split("/")[:2])


def _order(line: LedgerLine) -> tuple[tuple[str, ...], str, str]:
    return _place(line), line.run_path, line.cleared_at


def _print_line(console: Console, line: LedgerLine, look: LastLook | None) -> None:
    """The place is never broken by us, so that it can be copied whole."""
    when = text.printable(local_words(line.cleared_at))
    by = f", by {text.printable(line.by)}" if line.by else ""
    freed = f"{text.count(line.files_cleared, 'file')}, {text.size(line.bytes_freed)}"
    name = text.printable(line.run_path.rsplit("/", 1)[-1], limit=10_000)
    console.print(Padding(Text(name, overflow="fold"), (0, 0, 0, 2), expand=False))
    console.print(Text(f"    {freed} deleted {when}{by}", style="dim"))
    if look is not None:
        console.print(Text(f"    verified {verified_words(look)}", style="dim" if look.ok else "red"))
    console.print(Text(f"    {text.printable(line.nas_path, limit=10_000)}", style="green"), soft_wrap=True)
