"""When a mounted NAS is said to hang: after a time in which somebody listened, and nobody answered."""

from __future__ import annotations

import threading

import pytest

from exlab_orch.transports import hanging


class Mute:
    """A companion that says nothing, or little, with a clock that each listening moves on."""

    is_there = True

    def __init__(self, listens: int, *, pauses: bool, beats: bool) -> None:
        self.now, self._left, self._pauses, self._beats = 0.0, listens, pauses, beats
        self.is_over = threading.Event()

    def prints_within(self, seconds: float) -> bool:
        """Nothing, or a beat now and then; the whole computer may be paused meanwhile."""
        self._left -= 1
        self.now += 3600 if self._pauses and self._left % 5 == 0 else seconds
        if not self._left:
            self.is_there = False
            self.is_over.set()
        return self._beats and self._left % 50 == 0

    def end(self) -> None:
        """Nothing to end."""


@pytest.mark.parametrize(
    ("listens", "sign", "hangs"),
    [(90, "none", 0), (110, "none", 1), (60, "pauses", 0), (400, "beats", 0), (400, "moves", 0)],
)
def test_only_time_in_which_somebody_listened_and_nothing_moved_makes_a_nas_hang(
    monkeypatch: pytest.MonkeyPatch, listens: int, sign: str, hangs: int
) -> None:
    mute, told = Mute(listens, pauses=sign == "pauses", beats=sign == "beats"), list[object]()

    def tell(fault: object) -> None:
        told.append(fault)
        mute.is_over.set()

    def made(*_: object, **__: object) -> Mute:
        return mute

    monkeypatch.setattr(hanging, "Companion", made)
    monkeypatch.setattr("exlab_orch.transports.silence.time.monotonic", lambda: mute.now)
    with hanging.watched("/mnt/nas", lambda: mute.now // 5 if sign == "moves" else 0, tell):
        assert mute.is_over.wait(20)
    assert len(told) == hangs
