"""The oracle as a fixture: what every fault test asks."""

from __future__ import annotations

from collections.abc import Iterator

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


@pytest.fixture
def oracle(lab: Lab) -> Iterator[Oracle]:
    """Guards the canaries from the start, and staged files from each ``remember``; a test must ask it at its end."""
    oracle = Oracle(lab)
    yield oracle
    assert oracle.hashes, "the oracle guarded nothing: call remember() when runs are pushed"
    assert oracle.was_settled, "a fault test ends with settle()"
