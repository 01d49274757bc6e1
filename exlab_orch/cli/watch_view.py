"""The live table of ``watch``: what needs a person and what moves first, as much as the terminal holds."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Final, NoReturn

from rich.console import Console, RenderableType
from rich.text import Text

from exlab_orch import text
from exlab_orch.cli import endings, output
from exlab_orch.cli.choosing import Choice, chosen, nothing_words, wanted
from exlab_orch.cli.lines import laid_out
from exlab_orch.cli.listing_view import disk_line, table
from exlab_orch.cli.pasting import pasteable
from exlab_orch.cli.screen import Screen
from exlab_orch.cli.words import closing_line
from exlab_orch.clock import pause, utc_now
from exlab_orch.errors import ExlabError, StagingUnavailable
from exlab_orch.station import open_station

if TYPE_CHECKING:
    from exlab_orch.cli.call import Call
    from exlab_orch.rows import Row

_REFRESH_SECONDS: Final = 1.0
_REST: Final = 3
"""With thousands of runs it takes longer, and is done less often: it has a quarter of the time at most."""
_FIXED_LINES: Final = 2
"""The empty one below the runs, and the one with the time."""
_HIGH: Final = 20
"""Where there are so many lines for the runs, the disks are shown too."""


class LiveTable:
    """Draws from a thread of its own with a station of its own, so that a pass that copies for hours is seen moving."""

    def __init__(self, call: Call, choice: Choice | None = None) -> None:
        self._call = call
        self._choice = choice or Choice()
        self._console = call.console()
        self._screen = Screen(self._console)
        self._over = threading.Event()
        self._artist = ThreadPoolExecutor(1, "live table")
        self._drawing: Future[None] | None = None

    def __enter__(self) -> LiveTable:
        """Begin to draw; what no waiting mends, such as an error in the configuration, is raised here."""
        with suppress(StagingUnavailable), self._call.station(changing=False):
            pass
        self._screen.enter()
        endings.restore_terminal.append(self._screen.leave)
        self._drawing = self._artist.submit(self._draw)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._over.set()
        self._artist.shutdown()
        endings.restore_terminal.remove(self._screen.leave)
        self._screen.leave()

    def wait(self) -> NoReturn:
        """Go on until Ctrl-C. A bug in the drawing is raised, as nothing would move any more."""
        while True:
            pause(_REFRESH_SECONDS)
            if self._drawing is not None and self._drawing.done():
                self._drawing.result()

    def _draw(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            self._screen.draw(self._picture())
            took = time.monotonic() - began
            self._over.wait(max(_REFRESH_SECONDS, _REST * took))

    def _picture(self) -> list[RenderableType]:
        from exlab_orch.disks import known_disks
        from exlab_orch.rows import list_rows

        now, settings = utc_now(), self._call.settings
        try:
            with open_station(self._call.config, changing=False) as station:
                every = list_rows(station, now=now)
                rows = chosen(wanted(every, settings), self._choice)
                disks = known_disks(station, now)
                closing = closing_line(rows) if rows else nothing_words(station, every, settings, self._choice)
        except ExlabError as error:
            said = output.for_reading(pasteable(f"{error.message}\n{error.hint}"), self._console.width)
            return [_whole(line, "red") for line in said.split("\n")]
        lines = [disk_line(disk, now) for disk in disks]
        return picture(self._console, rows, now, closing=closing, disks=lines)


def picture(
    console: Console, rows: Sequence[Row], now: datetime, *, closing: str, disks: Sequence[Text] = ()
) -> list[RenderableType]:
    """The table for this screen, below it how many runs are not shown and, on a high one, the disks."""
    beneath = [*disks] if console.height >= _HIGH + len(disks) else []
    room = console.height - _height(console, [*_closing(console, closing, len(rows)), *beneath]) - _FIXED_LINES
    shown = _fitting(console, rows, room)
    said = _closing(console, closing, len(rows) - len(shown))
    stamp = now.astimezone().strftime("%H:%M:%S")
    return [*_lines(shown, console.width), Text(""), *said, *beneath, Text(f"{stamp}  Ctrl-C ends.")]


def _closing(console: Console, closing: str, hidden: int) -> list[Text]:
    more = f" {text.count(hidden, 'more run')}: exlab-orch list" if hidden else ""
    return [_whole(line) for line in output.for_reading(pasteable(f"{closing}{more}"), console.width).split("\n")]


def _whole(line: str, style: str = "") -> Text:
    return Text(line, style, no_wrap=True)


def _fitting(console: Console, rows: Sequence[Row], room: int) -> list[Row]:
    shown = most_urgent(rows, room)
    while shown and _height(console, _lines(shown, console.width)) > room:
        shown.pop()
    return shown


def _height(console: Console, lines: Sequence[RenderableType]) -> int:
    return sum(height for _line, height in laid_out(console, lines))


def _lines(rows: Sequence[Row], width: int) -> list[RenderableType]:
    return [*table(rows, width)] if rows else []


def most_urgent(rows: Sequence[Row], lines: int) -> list[Row]:
    """The rows that may fit into that many lines, where nothing folds: those on the move or with a problem first."""
    kept: list[Row] = []
    room, groups = lines - 1, set[tuple[str, str]]()
    for row in sorted(rows, key=_urgency):
        place = (row.equipment_id, row.project_name)
        room -= 1 + (place not in groups)
        if room < 0:
            break
        groups.add(place)
        kept.append(row)
    return kept


def _urgency(row: Row) -> tuple[int, int]:
    order = 0 if row.progress else 1 if row.problem else 2
    return order, row.elapsed_seconds_since_last_activity or 0
