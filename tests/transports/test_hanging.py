"""When a mounted NAS is said to hang: after a time in which somebody listened, and nobody answered."""

from __future__ import annotations

import threading

import pytest

from exlab_orch.transports import hanging


class Mute:
    """A companion that says nothing, with a clock that each listening moves on."""

    is_there = True

    def __init__(self, listens: int, *, pauses: bool) -> None:
        self.now, self._left, self._pauses = 0.0, listens, pauses
        self.is_over = threading.Event()

    def prints_within(self, seconds: float) -> bool:
        """Nothing; now and then the whole computer is paused meanwhile."""
        self._left -= 1
        self.now += 3600 if self._pauses and self._left % 5 == 0 else seconds
        if not self._left:
            self.is_there = False
            self.is_over.set()
        return False

    def end(self) -> None:
        """Nothing to end."""


@pytest.mark.parametrize(("listens", "pauses", "hangs"), [(90, False, 0), (110, False, 1), (60, True, 0)])
def test_only_time_in_which_somebody_listened_makes_a_nas_hang(
    monkeypatch: pytest.MonkeyPatch, listens: int, *, pauses: bool, hangs: int
) -> None:
    mute, told = Mute(listens, pauses=pauses), list[object]()

    def tell(fault: object) -> None:
        told.append(fault)
        mute.is_over.set()

    def made(*_: object, **__: object) -> Mute:
        return mute

    monkeypatch.setattr(hanging, "Companion", made)
    monkeypatch.setattr("exlab_orch.transports.hanging.time.monotonic", lambda: mute.now)
    with hanging.watched("/mnt/nas", lambda: 0, tell):
        assert mute.is_over.wait(20)
    assert len(told) == hangs
