"""Dry runs, and verbs that only look: the kernel is asked for nothing that changes a run, the NAS or what is known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.faults.scenarios import SCHEDULED
from tests.faults.strace import CHANGING, under_strace
from tests.lab import EQUIPMENT, RUN, Lab

_HARMLESS: Final = (
    re.compile(r"open\w*\((?!.*(O_WRONLY|O_RDWR|O_CREAT|O_TRUNC))"),
    re.compile(r"write\([12]<"),
    re.compile(r"/state/(journal\.sqlite3-shm|locks/[0-9a-f]{32}\.probe)\b"),
    re.compile(r"^(openat|fchown)\(.*/state/journal\.sqlite3-wal\b"),
)
"""Opened to read; printed; who only reads the journal takes part in its locks, and only one at a time asks a NAS."""

QUEUED, ARRIVING = RUN.replace("32", "33"), RUN.replace("32", "34")
DRY_RUNS: Final = (
    ("poll",),
    ("clear", RUN),
    ("clear", "--all-verified"),
    ("clear", "--later", RUN),
    ("sync", QUEUED),
    ("sync", "--new-version", RUN),
    ("verify", RUN),
    ("verify", "--all"),
    ("selftest",),
    ("accept", "--reason", "it is fine", ARRIVING),
    ("hold", "--reason", "look again", RUN),
    ("unhold", RUN),
    ("pause", "--reason", "new disks"),
    ("resume",),
    ("takeover",),
    ("nas-init",),
)
LOOKS: Final = (("list",), ("list", "--json"), ("show", RUN), ("show", QUEUED), ("status",), ("report", "--html", "-"))


def changes_of(lab: Lab, *words: str) -> list[str]:
    """What a verb asks the kernel to change below the lab's folder, with what came of it."""
    trace = lab.root.parent / f"{lab.root.name}.trace"
    done = under_strace(lab, words, "-y", "-e", f"trace={CHANGING}", "-o", str(trace))
    assert done.returncode == 0, done.stderr
    calls = [line.split(maxsplit=1)[1] for line in trace.read_text(errors="replace").splitlines()]
    return [call for call in calls if str(lab.root) in call and not any(one.search(call) for one in _HARMLESS)]


@pytest.fixture
def lab_of_all(tmp_path: Path) -> Lab:
    """A run that is due to be deleted, one that is due to be copied, one that arrives, and one that nobody knows."""
    equipment = EQUIPMENT.replace('"FLOW_01"\n', '"FLOW_01"\nreceipts = true\n')
    lab = Lab(tmp_path / "lab", cleanup=SCHEDULED, equipment=equipment)
    lab.push()
    lab.poll(frozenset({"evaluate", "sync"}))
    lab.push(QUEUED)
    lab.push(ARRIVING, done=False)
    lab.poll(frozenset({"evaluate"}))
    lab.push(RUN.replace("32", "35"))
    return lab


@pytest.mark.spread(4)
@pytest.mark.parametrize("words", DRY_RUNS, ids=" ".join)
def test_a_dry_run_changes_nothing(lab_of_all: Lab, words: tuple[str, ...]) -> None:
    assert changes_of(lab_of_all, words[0], "--dry-run", *words[1:]) == []


@pytest.mark.parametrize("words", LOOKS, ids=" ".join)
def test_who_only_looks_changes_nothing(lab_of_all: Lab, words: tuple[str, ...]) -> None:
    assert changes_of(lab_of_all, *words) == []


def test_the_trace_sees_what_a_pass_changes(lab_of_all: Lab) -> None:
    changes = "\n".join(changes_of(lab_of_all, "poll"))
    assert "rename" in changes
    assert "unlink" in changes
    assert all(f"{lab_of_all.root}/{name}/" in changes for name in ("staging", "nas", "state"))
