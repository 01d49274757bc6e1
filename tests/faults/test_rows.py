"""Every row of docs/reliability.md names tests that exist, and every fault test stands in a row."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
DOCUMENT = (TESTS.parent / "docs/reliability.md").read_text()
NAMED = set(re.findall(r"`(test_\w+)`", DOCUMENT))


def functions(folder: Path) -> list[str]:
    """The names of all test functions below a folder; those of this module are about rows, not rows."""
    files = [file for file in sorted(folder.rglob("test_*.py")) if file != Path(__file__)]
    return [name for file in files for name in re.findall(r"^ *def (test_\w+)", file.read_text(), re.MULTILINE)]


def test_every_test_that_a_row_names_exists() -> None:
    assert sorted(NAMED.difference(functions(TESTS))) == []


def test_every_fault_test_stands_in_a_row() -> None:
    assert [name for name in functions(TESTS / "faults") if name not in NAMED] == []


def test_no_two_fault_tests_have_the_same_name() -> None:
    names = functions(TESTS / "faults")
    assert [name for name in names if names.count(name) > 1] == []
