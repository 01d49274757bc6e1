"""Rows of a listing as the tests of the views need them: one afternoon in a lab."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from exlab_orch.answers import Answer
from exlab_orch.detail import RunDetail
from exlab_orch.model import HistoryEntry, IngestState, Problem
from exlab_orch.progress import Progress
from exlab_orch.rows import Row

NOW = datetime(2026, 4, 17, 14, 0, tzinfo=UTC)
STAGING = "/srv/staging"
NAS = "/mnt/nas/lab"
LONG = "NANOPORE_01/PROJ-0007/Runs/Run_20260417_1432_P2S-01234_PAK12345_abcdef12_a_very_long_protocol_run_identifier"


def row(run: str, state: IngestState | None, *, files: int = 10, size: int = 10**9, age: int = 120, **more: Any) -> Row:
    """A row of a run that last had an event ``age`` seconds ago."""
    equipment, project = run.split("/")[:2]
    return Row(
        run=run,
        path=f"{STAGING}/{run}",
        equipment_id=equipment,
        project_name=project,
        run_kind="test" if "/TestRuns/" in run else "experimental",
        current_state=state,
        file_count=files,
        byte_total=size,
        last_activity_at=NOW - timedelta(seconds=age),
        elapsed_seconds_since_last_activity=age,
        **more,
    )


def problem(code: str, message: str, hint: str = "") -> Problem:
    """A problem that is open since noon."""
    return Problem("x", code, message, NOW - timedelta(hours=2), hint)


def progress(phase: str, done: int, total: int, rate: float = 0.0) -> Progress:
    """A running phase."""
    return Progress("x", phase, 310, total, done, rate, 1, 1)


VERIFIED = row(
    "CONFOCAL_01/PROJ-0042/Runs/Run_2026-04-17T11-32",
    IngestState.SYNC_VERIFIED,
    files=1204,
    size=13_300_000_000,
    age=7300,
    waiting_for="clears in 22 h: the staged copy is deleted after 2026-04-18 12:00 UTC",
    clear_after=NOW + timedelta(hours=22),
    nas_path=f"{NAS}/CONFOCAL_01/PROJ-0042/Runs/Run_2026-04-17T11-32",
    actions=("exlab-orch clear CONFOCAL_01/PROJ-0042/Runs/Run_2026-04-17T11-32", "exlab-orch show x"),
)
COPYING = row(
    "CONFOCAL_01/PROJ-0042/Runs/Run_2026-04-17T13-00",
    IngestState.SYNC_QUEUED,
    files=310,
    size=30_000_000_000,
    age=12,
    progress=progress("copy", 12_900_000_000, 30_000_000_000, 432e6),
    waiting_for="the next pass copies it to the NAS",
)
ARRIVING = row(
    "CONFOCAL_01/PROJ-0042/TestRuns/TestRun_2026-04-17T13-12",
    IngestState.STAGING,
    files=3,
    size=5000,
    age=12,
    waiting_for="changed 12 s ago; it settles after 2 min",
)
CONFLICT = row(
    "CONFOCAL_01/Mouse brain, 2nd batch/Runs/Run_2026-04-11T09-12",
    IngestState.SYNC_QUEUED,
    files=31234,
    size=5_000_000_000_000,
    age=180,
    problem=problem("nas_conflict", "The NAS holds another images/tile_07.tif, and it is not an earlier one of ours."),
    waiting_for="the next pass copies it to the NAS",
    actions=("exlab-orch sync --new-version 'CONFOCAL_01/Mouse brain, 2nd batch/Runs/Run_2026-04-11T09-12'",),
)
HELD = row(
    LONG,
    IngestState.SYNC_VERIFIED,
    files=20_000,
    size=900_000_000_000,
    age=180_000,
    held=True,
    hold_reason="re-analysis [bold]by\x1b[31m Marta",
    waiting_for="held: re-analysis",
)
STRAY = replace(
    row("NANOPORE_01/notes \u202e[red].txt", None, files=1, size=20, age=180_000),
    project_name="",
    problem=problem("not_a_run", "It is not a run."),
)
AFTERNOON = (VERIFIED, COPYING, ARRIVING, CONFLICT, HELD, STRAY)


def entry(state: IngestState, at: str, **more: Any) -> HistoryEntry:
    """An entry of a history."""
    return HistoryEntry(state=state, at=at, host="stage1", **more)


HISTORY = (
    entry(IngestState.STAGING, "2026-04-17T11:32:10Z"),
    entry(
        IngestState.COMPLETE,
        "2026-04-17T11:52:10Z",
        files_received=1204,
        bytes_received=13_300_000_000,
        accepted={"by": "marta", "reason": "power cut"},
    ),
    entry(IngestState.SYNC_QUEUED, "2026-04-17T11:52:11Z"),
    entry(IngestState.SYNC_VERIFIED, "2026-04-17T11:58:20Z", nas_path=VERIFIED.nas_path, checksum_sha256="ab" * 32),
)


def detail(shown: Row = VERIFIED, **more: Any) -> RunDetail:
    """What ``show`` is told about a run."""
    given: dict[str, Any] = {
        "row": shown,
        "safe": Answer(True, "every byte was read back from the NAS and matched"),
        "may_delete": Answer(True, "the NAS holds a proved copy of everything that was pushed"),
        "history": HISTORY,
        "checksums_path": ".exlab-wizard/checksums.sha256",
        "checksums_count": 1204,
        "problems": (),
    }
    return RunDetail(**(given | more))
