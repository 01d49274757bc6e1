"""The colours on a terminal: each can be read on a dark and on a light background, and none says anything alone."""

from __future__ import annotations

from typing import Final

from rich.theme import Theme

SEEN_ON_BOTH: Final = {
    "red": "color(161)",
    "green": "color(28)",
    "yellow": "color(130)",
    "blue": "color(27)",
    "cyan": "color(30)",
    "dim": "color(243)",
}
"""What the names of colours mean to us. Yellow and green of many terminals vanish on white, blue and faint on black;
those of the 256 whose number is 16 or more look the same everywhere.
"""
_OF_SIXTEEN: Final = {"yellow": "magenta", "blue": "default", "dim": "default"}
"""A terminal with sixteen colours chooses them itself; these are the ones that some choose badly."""


def palette(color_system: str | None) -> Theme:
    """The theme for a terminal with that colour system, as rich names it."""
    chosen = _OF_SIXTEEN if color_system == "standard" else SEEN_ON_BOTH
    return Theme({**chosen, **{f"bold {name}": f"bold {color}" for name, color in chosen.items()}})
