"""The live table of ``watch``: what needs a person and what moves first, as much as the terminal holds."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Final, NoReturn

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from exlab_orch import text
from exlab_orch.cli import endings
from exlab_orch.cli.choosing import Choice, chosen, wanted
from exlab_orch.cli.listing_view import table
from exlab_orch.cli.words import closing_line, remarks
from exlab_orch.clock import pause, utc_now
from exlab_orch.errors import ExlabError

if TYPE_CHECKING:
    from exlab_orch.cli.call import Call
    from exlab_orch.rows import Row

_REFRESH_SECONDS: Final = 1.0
_CLOSING_LINES: Final = 4


class LiveTable:
    """Draws from a thread of its own with a station of its own, so that a pass that copies for hours is seen moving."""

    def __init__(self, call: Call, choice: Choice | None = None) -> None:
        self._call = call
        self._choice = choice or Choice()
        self._console = call.console()
        self._live = Live(console=self._console, screen=True, auto_refresh=False)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._draw, name="live table", daemon=True)

    def __enter__(self) -> LiveTable:
        self._live.start()
        endings.restore_terminal.append(self._live.stop)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        endings.restore_terminal.remove(self._live.stop)
        self._live.stop()

    def wait(self) -> NoReturn:
        """Go on until Ctrl-C."""
        while True:
            pause(_REFRESH_SECONDS)

    def _draw(self) -> None:
        while not self._over.is_set():
            self._live.update(self._picture(), refresh=True)
            self._over.wait(_REFRESH_SECONDS)

    def _picture(self) -> RenderableType:
        from exlab_orch.rows import list_rows

        now = utc_now()
        try:
            with self._call.station(changing=False) as station:
                rows = chosen(wanted(list_rows(station, now=now), self._call.settings), self._choice)
        except ExlabError as error:
            return Text(f"{error.message}\n{error.hint}", style="red")
        return picture(rows, now, self._console.width, self._console.height)


def picture(rows: Sequence[Row], now: datetime, width: int, height: int) -> RenderableType:
    """The table for a screen of that size, and below it how many runs are not shown."""
    shown = most_urgent(rows, width, height - _CLOSING_LINES)
    hidden = len(rows) - len(shown)
    more = f" {text.count(hidden, 'more run')} in 'exlab-orch list'." if hidden else ""
    summary = closing_line(rows) if rows else "No runs in staging yet."
    stamp = now.astimezone().strftime("%H:%M:%S")
    closing = Text(f"\n{summary}{more}\n{stamp}  Ctrl-C ends.", style="dim")
    return Group(*(table(shown, width) if shown else ()), closing)


def most_urgent(rows: Sequence[Row], width: int, lines: int) -> list[Row]:
    """As many rows as fit into that many lines, those with a problem or on the move first."""
    kept: list[Row] = []
    room, groups = lines - 1, set[tuple[str, str]]()
    for row in sorted(rows, key=_urgency):
        place = (row.equipment_id, row.project_name)
        need = _lines(row, width) + (place not in groups)
        if need > room:
            break
        room -= need
        groups.add(place)
        kept.append(row)
    return kept


def _urgency(row: Row) -> tuple[int, int]:
    order = 0 if row.progress else 1 if row.problem else 2
    return order, row.elapsed_seconds_since_last_activity or 0


def _lines(row: Row, width: int) -> int:
    """How many lines a row takes at most, what folds included."""
    room = max(width - 8, 20)
    return 1 + len(row.run) // room + sum(1 + len(remark.text) // room for remark in remarks(row))
