"""How the list of runs looks on a terminal: a table by equipment and project (cli.md, Output)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.text import Text

from exlab_orch import text
from exlab_orch.cli.lines import indented, print_lines
from exlab_orch.cli.words import Remark, disk_words, is_blocked, remarks, state_word
from exlab_orch.disks import STAGING

if TYPE_CHECKING:
    from exlab_orch.disks import Disk
    from exlab_orch.rows import Row

_GAP: Final = 2
_INDENT: Final = 2
_REMARK_INDENT: Final = 4
_NO_LIMIT: Final = 10_000
"""A name is never cut: 255 bytes, each of them escaped, are shorter."""
_WIDE: Final = 140
"""From so many columns on, what is said about a run may stand beside it."""
_UNITS: Final = (86_400, 3_600, 60)
_STATE_STYLES: Final = {
    "staging": "default",
    "complete": "blue",
    "sync_queued": "cyan",
    "sync_verified": "green",
    "cleared": "dim",
}
_MOOD_STYLES: Final = {"problem": "red", "hint": "default", "held": "yellow", "progress": "cyan", "waiting": "dim"}


@dataclass(frozen=True, slots=True)
class _Line:
    """One run in the table."""

    name: str
    state: str
    files: str
    size: str
    last: str
    style: str

    def figures(self) -> tuple[str, str, str, str]:
        return self.state, self.files, self.size, self.last


_HEADINGS: Final = _Line("Run", "State", "Files", "Size", "Last event", "bold")


@dataclass(frozen=True, slots=True)
class _Widths:
    name: int
    state: int
    files: int
    size: int
    last: int


def print_table(console: Console, rows: Sequence[Row], *, by_place: bool = True) -> None:
    """Print the runs by equipment and project, or in the order given, each with what it waits for beneath it."""
    print_lines(console, table(rows, console.width, by_place=by_place))


def disk_line(disk: Disk, now: datetime) -> Text:
    """How full a disk is: "Staging: 1.2 TiB of 4.0 TiB free (30 %), full in about 9 h"; a NAS also that it is away."""
    words, is_low = disk_words(disk, now)
    kind = "" if disk.name == STAGING else "NAS "
    said = "; ".join(one for one in (f"{kind}{words}", disk.fault, disk.paused) if one is not None)
    style = "red" if is_low or disk.fault else "yellow" if disk.paused else "dim"
    return Text(said, style=style, overflow="fold")


def table(rows: Sequence[Row], width: int, *, by_place: bool = True) -> Iterator[RenderableType]:
    """The lines of the table for a terminal of that width; no name is ever cut."""
    groups = [
        (place, group, [_line(row, name) for row, name in zip(group, _short_names(group), strict=True)])
        for place, group in (grouped(rows) if by_place else neighbours(rows))
    ]
    widths = _fit([_HEADINGS, *(line for _place_, _group, lines in groups for line in lines)], width)
    yield from _render(_HEADINGS, widths, width)
    for (equipment, project), group, lines in groups:
        heading = "  ".join(text.printable(part, limit=_NO_LIMIT) for part in (equipment, project) if part)
        yield indented(heading, 0, width, "bold")
        for row, line in zip(group, lines, strict=True):
            said = remarks(row)
            beside = _beside(said, line, widths, width)
            yield from _render(line, widths, width, beside)
            yield from (_remark(remark, width) for remark in said if remark is not beside)


def grouped(rows: Sequence[Row]) -> list[tuple[tuple[str, str], list[Row]]]:
    """The rows by equipment and project: projects where something needs a person first, and that run first in them."""
    every: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        every.setdefault(_place(row), []).append(row)
    calm = {place: all(row.problem is None for row in group) for place, group in every.items()}
    found = sorted(every, key=lambda place: (calm[place], place))
    return [(place, sorted(every[place], key=lambda row: row.problem is None)) for place in found]


def neighbours(rows: Sequence[Row]) -> list[tuple[tuple[str, str], list[Row]]]:
    """The rows in their order, under a heading whenever equipment or project is another one."""
    return [(place, list(group)) for place, group in groupby(rows, key=_place)]


def _place(row: Row) -> tuple[str, str]:
    return row.equipment_id, row.project_name


def _line(row: Row, name: str) -> _Line:
    return _Line(
        name=text.printable(name, limit=_NO_LIMIT),
        state=state_word(row),
        files=f"{row.file_count:,}",
        size=text.size(row.byte_total),
        last=_last(row),
        style=_style(row),
    )


def _style(row: Row) -> str:
    if row.current_state is None or is_blocked(row):
        return "red"
    return "yellow" if row.on_another_nas else _STATE_STYLES[row.current_state]


def _short_names(group: Sequence[Row]) -> list[str]:
    """The runs' folder names; where several runs of the project share one, their paths below the project."""
    names = [row.run.rsplit("/", 1)[-1] for row in group]
    often = Counter(names)
    return [name if often[name] == 1 else _below_project(row.run) for row, name in zip(group, names, strict=True)]


def _below_project(run: str) -> str:
    parts = run.split("/")
    return "/".join(parts[2:] or parts[-1:])


def _last(row: Row) -> str:
    """How long ago the last event was, in one unit: "2 h ago"."""
    seconds = row.elapsed_seconds_since_last_activity
    if seconds is None:
        return ""
    unit = next((unit for unit in _UNITS if seconds >= unit), 1)
    return text.ago(seconds - seconds % unit)


def _fit(lines: Sequence[_Line], width: int) -> _Widths:
    """Column widths; the name gets what the figures leave, and is as wide as the widest name that fits there."""
    state, files, size, last = (max(cell_len(line.figures()[column]) for line in lines) for column in range(4))
    room = width - _INDENT - state - files - size - last - 4 * _GAP
    if width >= _WIDE:
        room = min(room, width // 3)  # one long name must not push the others' figures away
    fitting = [cell_len(line.name) for line in lines if cell_len(line.name) <= room]
    return _Widths(max(fitting, default=0), state, files, size, last)


def _beside(said: Sequence[Remark], line: _Line, widths: _Widths, width: int) -> Remark | None:
    """The only remark of a run, where a wide terminal has room for it on the same line."""
    used = _INDENT + widths.name + widths.state + widths.files + widths.size + widths.last + 5 * _GAP
    if width < _WIDE or len(said) != 1 or cell_len(line.name) > widths.name:
        return None
    return said[0] if cell_len(said[0].text) <= width - used else None


def _render(line: _Line, widths: _Widths, width: int, beside: Remark | None = None) -> Iterator[RenderableType]:
    """The run on one line, or a long name on a line of its own and the figures below it."""
    indent = 0 if line is _HEADINGS else _INDENT
    name = line.name
    if cell_len(name) > widths.name:
        yield indented(name, indent, width)
        name = ""
    space = " " * _GAP
    figures = Text.assemble(
        " " * indent,
        (name + " " * (widths.name + _INDENT - indent - cell_len(name)), line.style if line is _HEADINGS else ""),
        space,
        (line.state.ljust(widths.state), line.style),
        (
            f"{space}{line.files:>{widths.files}}{space}{line.size:>{widths.size}}{space}{line.last:>{widths.last}}",
            line.style if line is _HEADINGS else "",
        ),
        *(() if beside is None else (space, (beside.text, _MOOD_STYLES[beside.mood]))),
        overflow="fold",
    )
    if figures.cell_len > width:
        yield from _packed(line, name, width)
        return
    figures.no_wrap = True
    yield figures


def _packed(line: _Line, name: str, width: int) -> Iterator[Text]:
    """The figures of a narrow terminal, on as many lines as it takes, and each of them whole."""
    others = line.style if line is _HEADINGS else ""
    pieces = [(name, others), (line.state, line.style), *((one, others) for one in line.figures()[1:])]
    row = Text(" " * _REMARK_INDENT, no_wrap=True)
    for words, style in pieces:
        if row.plain.strip() and row.cell_len + _GAP + cell_len(words) > width:
            yield row
            row = Text(" " * _REMARK_INDENT, no_wrap=True)
        if words:
            row.append(" " * _GAP if row.plain.strip() else "").append(words, style)
    yield row


def _remark(remark: Remark, width: int) -> RenderableType:
    return indented(remark.text, _REMARK_INDENT, width, _MOOD_STYLES[remark.mood], is_whole=remark.is_whole)
