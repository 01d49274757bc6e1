"""How one run looks: the two answers first, then where it is, why it waits, its history, and what to do now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from exlab_orch import text
from exlab_orch.cli.show_words import CHECK_WORDS, Field, check_name, entry_words, facts, further_commands, names_shown
from exlab_orch.cli.words import hint_remarks
from exlab_orch.clock import as_local, local_words
from exlab_orch.model import SHOWN_AS

if TYPE_CHECKING:
    from exlab_orch.answers import Answer
    from exlab_orch.detail import RunDetail
    from exlab_orch.diagnosis import Finding
    from exlab_orch.model import Problem

_LABEL_WIDTH: Final = 12
_COPIED: Final = ("Run", "Folder", "On the NAS")
"""What is there to be copied, and is never broken by us."""
_NARROW: Final = 60
"""With fewer columns an answer follows its question, and what an entry of the history carries stands below it."""
_CHECK_STYLES: Final = {"ok": "green", "warning": "yellow", "error": "bold red", "skipped": "dim"}


def print_detail(console: Console, detail: RunDetail) -> None:
    """Print one run for a person."""
    console.print(_answers(detail, console.width))
    if detail.safe.command:
        console.print(Text(f"  {detail.safe.command}"), soft_wrap=True)
    console.print()
    for field in facts(detail):
        _print_fact(console, field)
    for problem in detail.problems:
        console.print(_problem(problem))
        for line in _hint(problem):
            console.print(line, soft_wrap=bool(line.no_wrap))
    if detail.checks:
        console.print()
        console.print(_checks(detail.checks))
    console.print()
    console.print(_timeline(detail, console.width))
    print_commands(console, further_commands(detail))


def _answers(detail: RunDetail, width: int) -> RenderableType:
    asked = [("Safe on the NAS?", detail.safe), ("May the instrument delete it?", detail.may_delete)]
    if width < _NARROW:
        return Group(*(Text.assemble(f"{question} ", _answer(answer), overflow="fold") for question, answer in asked))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for question, answer in asked:
        grid.add_row(question, _answer(answer))
    return grid


def _answer(answer: Answer) -> Text:
    style = "bold green" if answer.yes else "bold red" if answer.known else "bold yellow"
    return Text.assemble((answer.word.capitalize(), style), f": {answer.why}" if answer.why else "")


def _print_fact(console: Console, field: Field) -> None:
    """Label and words on one line; a path too long for it stands whole on the next, to be copied."""
    label, words = field
    if label in _COPIED and cell_len(words) > console.width - _LABEL_WIDTH:
        console.print(Text(label, style="dim"))
        console.print(Text(f"  {words}"), soft_wrap=True)
        return
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, min_width=_LABEL_WIDTH - 2, style="dim")
    grid.add_column(overflow="fold")
    grid.add_row(label, Text(words, overflow="fold"))
    console.print(grid)


def _problem(problem: Problem) -> RenderableType:
    since = f"since {local_words(problem.since)}"
    lines = [Text.assemble((problem.code, "bold red"), f", {since}"), Text(problem.message, style="red")]
    lines += [Text(f"  {name}", overflow="fold") for name in names_shown(problem)]
    return Padding(Group(*lines), (1, 0, 0, 0))


def _hint(problem: Problem) -> list[Text]:
    """What to do; a command in it is never broken."""
    found = hint_remarks(problem.hint)
    lines = [Text(one.text.removeprefix("→ "), overflow="fold", no_wrap=one.is_whole or None) for one in found]
    return [Text.assemble(("What to do: ", "bold"), lines[0], no_wrap=lines[0].no_wrap), *lines[1:]] if lines else []


def _checks(checks: Sequence[Finding]) -> RenderableType:
    """Check by check, what holds and what the run waits for."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for check in checks:
        word, style = CHECK_WORDS[check.result], _CHECK_STYLES[check.result]
        grid.add_row(check_name(check), Text(word, style=style), Text(check.message, overflow="fold"))
    return Group(Text("What it takes", style="bold"), Padding(grid, (0, 0, 0, 2), expand=False))


def _timeline(detail: RunDetail, width: int) -> RenderableType:
    history = detail.history
    zones = ", ".join(dict.fromkeys(f"{as_local(one.moment):%Z}" for one in history if one.moment))
    title = Text.assemble(("History", "bold"), (f"  {zones}", "dim"))
    if not history:
        return Group(title, Text("  none in staging", style="dim"))
    lines = [*_timeline_rows(detail)]
    if width < _NARROW:
        return Group(title, *(Padding(part, (0, 0, 0, 2), expand=False) for line in lines for part in _stacked(line)))
    grid = Table.grid(padding=(0, 2))
    for _ in range(3):
        grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for when, since, state, words in lines:
        grid.add_row(Text(when, style="dim"), Text(since, style="dim"), state, Text(words))
    return Group(title, Padding(grid, (0, 0, 0, 2), expand=False))


def _timeline_rows(detail: RunDetail) -> Iterator[tuple[str, str, str, str]]:
    """When, how long after the one before, which state, and what the entry carries."""
    before: datetime | None = None
    for entry in detail.history:
        when = f"{as_local(entry.moment):%Y-%m-%d %H:%M:%S}" if entry.moment else text.printable(entry.at)
        yield when, _between(before, entry.moment), SHOWN_AS[entry.state], entry_words(entry)
        before = entry.moment
    seconds = detail.row.elapsed_seconds_since_last_activity
    if seconds:
        yield "since then", f"+{text.duration(seconds)}", "", ""


def _stacked(line: tuple[str, str, str, str]) -> Iterator[RenderableType]:
    """The same where columns would be cut: the time and the state, and everything else below them."""
    when, since, state, words = line
    yield Text.assemble((when, "dim"), f"  {state}".rstrip())
    below = ", ".join(part for part in (since, words) if part)
    if below:
        yield Padding(Text(below, style="dim", overflow="fold"), (0, 0, 0, 2), expand=False)


def _between(first: datetime | None, second: datetime | None) -> str:
    if first is None or second is None or second < first:
        return ""
    return f"+{text.duration((second - first).total_seconds())}"


def print_commands(console: Console, actions: Sequence[str]) -> None:
    """Print commands ready to paste, each on a line of its own that is never broken."""
    if not actions:
        return
    console.print()
    console.print(Text("Commands that apply now", style="bold"))
    for action in actions:
        console.print(Text(f"  {action}"), soft_wrap=True)
