"""B. The state directory is not what it should be: each entry of it is replaced by each kind of thing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab import RUN, Lab
from tests.oracle import Oracle

REPLACED: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "dangling link": lambda path: path.symlink_to("/nonexistent/x"),
    "garbage": lambda path: path.write_bytes(b"\xff\x00garbage"),
    "folder": lambda path: path.mkdir(),
    "FIFO": os.mkfifo,
}
ENTRIES = (".", "locks", "progress", "journal.sqlite3", "seal.key", "ledger.jsonl", "refused.json", "exlab-orch.log")
COMMANDS = (("poll",), ("list",), ("clear", "--yes", RUN), ("show", RUN))
TOLD = {0, 5, 69, 78}
"""Done, refused for safety, not available, not configured: never a bug, and never a wait without end."""


CASES = [
    pytest.param(entry, kind, marks=() if (column + row) % len(REPLACED) == 0 else pytest.mark.slow)
    for row, entry in enumerate(ENTRIES)
    for column, kind in enumerate(REPLACED)
]
"""Each entry once in the default run, all of them in the slow one."""


@pytest.mark.spread(4)
@pytest.mark.parametrize(("entry", "kind"), CASES)
def test_an_entry_of_the_state_directory_that_is_something_else_loses_nothing_and_is_told(
    lab: Lab, oracle: Oracle, entry: str, kind: str
) -> None:
    lab.push()
    oracle.remember()
    lab.poll()
    path, aside = lab.state / entry, lab.root / "aside"
    if path.exists():
        path.rename(aside)
    REPLACED[kind](path)
    for words in COMMANDS:
        done = lab.cli(*words)
        assert done.returncode in TOLD, (words, done.stderr)
        assert done.returncode == 0 or done.stderr, f"{words} ended with {done.returncode} and said nothing"
        oracle.require_nothing_lost()
    put_back(path, aside)
    oracle.settle()


def put_back(path: Path, aside: Path) -> None:
    """What the owner does who reads the message: moves the odd thing away, and the old one back."""
    is_odd = path.is_symlink() or path.is_fifo() or path.is_dir() is not aside.is_dir()
    if (aside.exists() or is_odd) and (path.is_symlink() or path.exists()):
        path.rename(path.with_name(f"{path.name}.odd"))
    if aside.exists():
        aside.rename(path)
