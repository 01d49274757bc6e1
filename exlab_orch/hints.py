"""Parts of hints that only the command line can fill in or leave out, for it alone knows which command was given."""

from __future__ import annotations

from typing import Final

SAME_COMMAND: Final = "exlab-orch …"
"""Stands at the end of a hint for the command that was given."""

GOES_ON: Final = "the next pass goes on by itself"
TRIES_AGAIN: Final = "the next pass tries again by itself"

IN_THE_WAY: Final = "Look who put it there and move it away (nothing was overwritten)"


def promised(what_to_do: str, promise: str = GOES_ON) -> str:
    """What to do, and what a pass does then; see ``without_promise``."""
    return f"{what_to_do}; {promise}."


def without_promise(hint: str) -> str:
    """What to do alone: no pass repeats a command that a person gave by hand."""
    for promise in (GOES_ON, TRIES_AGAIN):
        hint = hint.replace(f"; {promise}.", ".")
    return hint
