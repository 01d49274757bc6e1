"""How long nothing was heard from a program or a NAS, in time in which somebody listened."""

from __future__ import annotations

import time


class Silence:
    """The silence between signs of life, of rounds of listening.

    A round counts at most twice its length: a computer that was paused meanwhile has heard nobody, and neither has one
    that was busy with something else.
    """

    def __init__(self, round_seconds: float) -> None:
        self._longest, self._seconds, self._last = 2 * round_seconds, 0.0, time.monotonic()

    def after_round(self, *, heard: bool) -> float:
        """How many seconds of silence there are at the end of a round of listening: none where something was heard."""
        now = time.monotonic()
        self._seconds = 0.0 if heard else self._seconds + min(now - self._last, self._longest)
        self._last = now
        return self._seconds
