"""The oracle as a fixture: what every fault test asks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Lab
from tests.oracle import Oracle


@pytest.fixture
def oracle(lab: Lab) -> Iterator[Oracle]:
    """Guards the canaries from the start, and staged files from each ``remember``; a test must ask it at its end."""
    oracle = Oracle(lab)
    yield oracle
    assert oracle.hashes, "the oracle guarded nothing: call remember() when runs are pushed"
    assert oracle.was_settled, "a fault test ends with settle()"
