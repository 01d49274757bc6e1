"""What a pass would do, found without writing anything: for ``poll --dry-run``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from exlab_orch.cleanup import facts_now
from exlab_orch.errors import RunProblem
from exlab_orch.evaluate import arrival_wait, is_accepted, walk_run
from exlab_orch.journal import JournalRun
from exlab_orch.model import Ingest, IngestState, StagedRun
from exlab_orch.passes import PHASES, is_due
from exlab_orch.policy import early_because, kept_because
from exlab_orch.records import read_record
from exlab_orch.staging import trash_slots
from exlab_orch.station import Station


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """What a pass would do with one run, in words."""

    run_path: str
    step: str


def plan_pass(station: Station, *, only: frozenset[str] = frozenset(PHASES)) -> list[PlannedStep]:
    """What a pass would do now. The station's journal is only read; nothing is locked, hashed or written.

    Raises:
        StagingUnavailable: the staging root cannot be read.
    """
    steps: list[PlannedStep] = []
    if "cleanup" in only:
        for slot in trash_slots(station.staging_root):
            if slot.run is not None:
                steps.append(PlannedStep(slot.run.run_path, "would finish or undo the clear that was interrupted"))
    known = station.journal.runs()
    for run in station.discover().runs:
        steps += [PlannedStep(run.run_path, step) for step in _steps(station, run, known.get(run.run_path), only)]
    return steps


def _steps(station: Station, run: StagedRun, known: JournalRun | None, only: frozenset[str]) -> Iterator[str]:
    try:
        record = read_record(run)
        sealed = record is not None and station.records.seal_holds(run, record)
        if record is None or not sealed:
            if "evaluate" in only:
                yield "would begin or restore its record"
            return
        yield from _sealed_steps(station, run, record, known, only)
    except RunProblem as problem:
        yield f"would be blocked: {problem.message}"


def _sealed_steps(
    station: Station, run: StagedRun, record: Ingest, known: JournalRun | None, only: frozenset[str]
) -> Iterator[str]:
    state = record.current_state
    if state in (IngestState.STAGING, IngestState.SYNC_QUEUED):
        accepted = is_accepted(station, run, record)
        wait = arrival_wait(station, run, walk_run(station, run), accepted=accepted)
        if wait is not None or (state is IngestState.STAGING and "evaluate" not in only):
            return
    if state is IngestState.SYNC_VERIFIED:
        asked = station.journal.order(run.run_path, "clear_later") is not None
        facts = facts_now(station, run, record, asked=asked)
        if "cleanup" in only and kept_because(facts, station.cleanup, station.now()) is None:
            early = early_because(facts, station.cleanup, station.now())
            when = "" if early is None else f" early, the oldest first, until there is room: {early}"
            yield f"would be proved again, and its staged copy deleted{when}"
    elif "sync" not in only:
        yield "would be received"
    elif known is None or is_due(known, station.now()):
        yield "would be copied to the NAS and proved"
