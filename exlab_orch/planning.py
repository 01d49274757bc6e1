"""What a pass would do, found without writing anything: for ``poll --dry-run``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

from exlab_orch.cleanup import facts_now
from exlab_orch.errors import NasFault, RunProblem
from exlab_orch.evaluate import arrival_wait, is_accepted, walk_run
from exlab_orch.journal import JournalRun
from exlab_orch.model import Ingest, IngestState, Listing, StagedRun, Wait
from exlab_orch.onlookers import looks_on, writer_words, writers_of
from exlab_orch.orders import nas_subject, pause_of
from exlab_orch.passes import PHASES, is_due
from exlab_orch.policy import FLAGS, early_because, kept_because
from exlab_orch.records import read_record
from exlab_orch.run_checks import BEFORE_THE_COPY
from exlab_orch.staging import trash_slots
from exlab_orch.station import Station
from exlab_orch.sync import require_copyable


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
    known, asked = station.journal.runs(), _Asked(station)
    for run in station.discover().runs:
        found = _steps(station, run, known.get(run.run_path), only, asked)
        steps += [PlannedStep(run.run_path, step) for step in found]
    return steps


def plan_sync(station: Station, run: StagedRun) -> list[str]:
    """What a copy that a person asks for would do now: failed attempts and waiting times do not count."""
    known = station.journal.run(run.run_path)
    due = None if known is None else replace(known, attempts=0, retry_at=None, failed=False)
    return [*_steps(station, run, due, frozenset({"evaluate", "sync"}), _Asked(station))]


class _Asked:
    """What is wrong with each NAS; each is asked once, for one that is away takes its time to say so."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._known: dict[str, Wait | None] = {}

    def wait_for(self, run: StagedRun) -> Wait | None:
        """What is wrong with the NAS of the run, or None."""
        name = self._station.nas_of(run).name
        if name not in self._known:
            self._known[name] = _nas_wait(self._station, run)
        return self._known[name]


def _steps(
    station: Station, run: StagedRun, known: JournalRun | None, only: frozenset[str], asked: _Asked
) -> Iterator[str]:
    try:
        record = read_record(run)
        sealed = record is not None and station.records.seal_holds(run, record)
        if record is None or not sealed:
            if "evaluate" in only:
                yield "would begin or restore its record"
            if record is not None or known is not None or "evaluate" not in only:
                return  # what it is restored to, the pass finds out
        if record is not None and record.current_state is IngestState.SYNC_VERIFIED:
            yield from _clear_steps(station, run, record, only)
        else:
            yield from _copy_steps(station, run, record, known, only, asked)
    except RunProblem as problem:
        yield f"would be blocked: {problem.message}"


def _clear_steps(station: Station, run: StagedRun, record: Ingest, only: frozenset[str]) -> Iterator[str]:
    asked = station.journal.order(run.run_path, "clear_later") is not None
    facts = facts_now(station, run, record, asked=asked)
    if "cleanup" in only and kept_because(facts, station.cleanup, station.now()) is None:
        early = early_because(facts, station.cleanup, station.now())
        when = "" if early is None else f" early, the oldest first, until there is room: {early}"
        yield f"would be proved again, and its staged copy deleted{when}"


def _copy_steps(
    station: Station,
    run: StagedRun,
    record: Ingest | None,
    known: JournalRun | None,
    only: frozenset[str],
    asked: _Asked,
) -> Iterator[str]:
    """What becomes of a run that is not proved; without a record it is new."""
    state = IngestState.STAGING if record is None else record.current_state
    is_received, is_looked_at, is_sent = state is IngestState.SYNC_QUEUED, "evaluate" in only, "sync" in only
    if state not in BEFORE_THE_COPY or not (is_looked_at or (is_received and is_sent)):
        return
    listing = walk_run(station, run)
    if arrival_wait(station, run, listing, accepted=_is_accepted(station, run, record)) is not None:
        return
    if not is_sent:
        if not is_received:
            yield _unless(_writer_wait(station, run, listing), "would be received")
    elif known is None or is_due(known, station.now()) or (is_looked_at and _is_asked_for(station, run)):
        wait = copy_wait(station, run, listing) or asked.wait_for(run)
        yield _unless(wait, "would be copied to the NAS and proved")


def _unless(wait: Wait | None, step: str) -> str:
    return step if wait is None else f"would wait: {wait.text}"


def _is_accepted(station: Station, run: StagedRun, record: Ingest | None) -> bool:
    if record is None:
        return station.journal.order(run.run_path, "accept") is not None
    return is_accepted(station, run, record)


def _is_asked_for(station: Station, run: StagedRun) -> bool:
    return station.journal.order(run.run_path, "due") is not None


def _writer_wait(station: Station, run: StagedRun, listing: Listing) -> Wait | None:
    """That somebody writes to the run, or None where nobody is seen to."""
    name = writers_of(station, run, listing).first
    return None if name is None else Wait(writer_words(name), unseen=True)


def copy_wait(station: Station, run: StagedRun, listing: Listing) -> Wait | None:
    """What the copy of a run that counts as complete still waits for, or None; asks no NAS and writes nothing.

    Raises:
        RunProblem: it waits for nothing, and cannot be copied as it is.
    """
    wait = _writer_wait(station, run, listing)
    if wait is not None:
        return wait
    nas = station.config.nas_for(run.equipment_id)
    paused = None if nas is None else pause_of(station, nas.name)
    if paused is not None:
        return Wait(paused.message)
    require_copyable(run, listing)
    return None


def _nas_wait(station: Station, run: StagedRun) -> Wait | None:
    """What is wrong with the NAS of the run; who has no state directory to ask it from goes by what a pass met last."""
    nas = station.nas_of(run)
    if looks_on(station) or not os.path.isdir(station.state.path):
        told = next((one for one in station.journal.problems(nas_subject(nas.name)) if one.code not in FLAGS), None)
        return None if told is None else Wait(told.message)
    try:
        nas.check()
    except NasFault as fault:
        return Wait(fault.message)
    return None
