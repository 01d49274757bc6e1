"""A screen that is drawn anew. What must not be broken is folded by the terminal alone, and copied as one line."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final

from rich.console import Console, RenderableType
from rich.control import Control
from rich.segment import ControlType

from exlab_orch.cli.lines import laid_out

_WHOLE_LINE: Final = 2
_ERASE: Final = (ControlType.ERASE_IN_LINE, _WHOLE_LINE)


class Screen:
    """The alternate screen of a terminal; one thread may draw while another one leaves it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._is_over = False

    def enter(self) -> None:
        """Change to the alternate screen; what stood on the other one comes back with ``leave``."""
        self._console.set_alt_screen(True)
        self._console.show_cursor(False)

    def leave(self) -> None:
        """Change back, and draw no more."""
        with self._lock:
            if not self._is_over:
                self._is_over = True
                self._console.set_alt_screen(False)
                self._console.show_cursor(True)

    def draw(self, lines: Iterable[RenderableType]) -> None:
        """Show these lines and nothing else, as many of them as there is room for."""
        with self._lock, self._console:  # which writes it in one go
            if not self._is_over:
                self._draw(lines)

    def _draw(self, lines: Iterable[RenderableType]) -> None:
        console, room = self._console, self._console.height
        console.control(Control.home())
        for line, height in laid_out(console, lines):
            if height > room:
                break
            self._go_on(height, is_first=room == console.height)
            console.print(line, end="", soft_wrap=True)
            room -= height
        for left in range(room, 0, -1):
            self._go_on(1, is_first=left == console.height)

    def _go_on(self, height: int, *, is_first: bool) -> None:
        """To the beginning of the next line, which with the ones below it is erased."""
        if not is_first:
            self._console.line()
        self._console.control(_erased(height))


def _erased(height: int) -> Control:
    """Erase so many lines from this one on: a terminal remembers of each that it was folded into the next."""
    others = (ControlType.CURSOR_DOWN, 1), _ERASE
    up = ((ControlType.CURSOR_UP, height - 1),) if height > 1 else ()
    return Control(_ERASE, *others * (height - 1), *up)
