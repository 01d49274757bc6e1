"""What is staged, for programs: one summary for each run with a readable record (lifecycle.md, 8)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from exlab_orch.clock import from_epoch_ns, utc_now
from exlab_orch.config import Config
from exlab_orch.errors import RunProblem, staging_errors
from exlab_orch.files.walk import walk
from exlab_orch.model import (
    Ingest,
    IngestState,
    StagedRun,
)
from exlab_orch.records import read_record
from exlab_orch.staging import discover


@dataclass(frozen=True, slots=True)
class StagedRunSummary:
    """One staged run; ``project_name`` is the project folder's name, the counts leave out ``.exlab-wizard``."""

    path: Path
    current_state: IngestState
    equipment_id: str
    project_name: str
    run_kind: str
    file_count: int
    byte_total: int
    elapsed_seconds_since_last_activity: float
    last_activity_at: datetime


def list_staged_runs(
    *, config: Config, staging_root: str | os.PathLike[str] | None = None, now_utc: datetime | None = None
) -> list[StagedRunSummary]:
    """Every staged run with a readable record, newest activity first; empty when disabled or the root is missing."""
    root = os.fspath(staging_root) if staging_root is not None else config.orchestrator.staging_root
    if not config.orchestrator.enabled or not os.path.isdir(root):
        return []
    now = now_utc or utc_now()
    found = (
        _summary(run, now) for run in discover(root, (one.id for one in config.equipment), config.run_patterns).runs
    )
    return sorted((one for one in found if one is not None), key=lambda one: one.last_activity_at, reverse=True)


def _summary(run: StagedRun, now: datetime) -> StagedRunSummary | None:
    try:
        record = read_record(run)
        files, byte_total = counted(run)
    except RunProblem:
        return None
    if record is None:
        return None
    active = last_activity(run, record)
    return StagedRunSummary(
        path=Path(run.folder),
        current_state=record.current_state,
        equipment_id=run.equipment_id,
        project_name=run.project,
        run_kind=run.run_kind,
        file_count=files,
        byte_total=byte_total,
        elapsed_seconds_since_last_activity=(now - active).total_seconds(),
        last_activity_at=active,
    )


def last_activity(run: StagedRun, record: Ingest | None) -> datetime:
    """The newest history entry's time, or the folder's mtime where there is none."""
    moment = record.history[-1].moment if record is not None and record.history else None
    if moment is not None:
        return moment
    with staging_errors("looking at the run folder"):
        return from_epoch_ns(os.stat(run.folder, follow_symlinks=False).st_mtime_ns)


def counted(run: StagedRun) -> tuple[int, int]:
    """Number and bytes of the staged files, ``.exlab-wizard`` left out."""
    with staging_errors("walking the run folder"):
        sizes = walk(run.place).data_sizes()
    return len(sizes), sum(sizes)
