"""The oracle as a fixture: what every fault test asks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.lab import Lab
from tests.oracle import Oracle

_ALWAYS_THE_SAME = settings(
    derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False
)
settings.register_profile("few", _ALWAYS_THE_SAME, max_examples=15)
settings.register_profile("exhaustive", _ALWAYS_THE_SAME, max_examples=1_000)


def pytest_configure(config: pytest.Config) -> None:
    """Fuzzers try the same few examples every time, and with ``--exhaustive`` very many."""
    settings.load_profile("exhaustive" if config.getoption("--exhaustive", default=False) else "few")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the many forms of one fault a few, evenly spread, are tried by default, the others with ``-m slow``.

    How many is said by the mark ``spread(n)``; without it, two.
    """
    forms: dict[str, list[pytest.Item]] = {}
    for item in items:
        if Path(__file__).parent in item.path.parents and not any(map(item.get_closest_marker, ("slow", "exhaustive"))):
            forms.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for group in forms.values():
        mark = group[0].get_closest_marker("spread")
        wanted = min(len(group), mark.args[0] if mark else 2)
        kept = {(2 * number + 1) * len(group) // (2 * wanted) for number in range(wanted)}
        for number, item in enumerate(group):
            if number not in kept:
                item.add_marker(pytest.mark.slow)


@pytest.fixture
def oracle(lab: Lab) -> Iterator[Oracle]:
    """Guards the canaries from the start, and staged files from each ``remember``; a test must ask it at its end."""
    oracle = Oracle(lab)
    yield oracle
    assert oracle.hashes, "the oracle guarded nothing: call remember() when runs are pushed"
    assert oracle.was_settled, "a fault test ends with settle()"
