"""Silence is time in which somebody listened and heard nothing."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from exlab_orch.transports.silence import Silence


def silences(monkeypatch: pytest.MonkeyPatch, rounds: Iterable[tuple[float, bool]]) -> list[float]:
    """The silence after each round, of a second, that lasted so long and in which something was heard or not."""
    now = 100.0
    monkeypatch.setattr("exlab_orch.transports.silence.time.monotonic", lambda: now)
    silence, found = Silence(1.0), []
    for seconds, heard in rounds:
        now += seconds
        found.append(silence.after_round(heard=heard))
    return found


def test_it_grows_until_something_is_heard_and_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = [(1.0, False), (1.0, False), (0.5, True), (1.0, False), (1.0, True), (0.0, True)]
    assert silences(monkeypatch, rounds) == [1.0, 2.0, 0.0, 1.0, 0.0, 0.0]


def test_a_pause_of_the_computer_counts_as_two_rounds_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    assert silences(monkeypatch, [(3600.0, False), (1.0, False), (3600.0, True), (1.0, False)]) == [2.0, 3.0, 0.0, 1.0]
