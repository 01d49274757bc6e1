"""When the staged copy of a run is deleted: the one path that schedule and people share (lifecycle.md, 6).

``clear_facts`` and ``policy.kept_because`` say when a pass may; ``clear`` proves, moves to the trash and deletes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from exlab_orch.clock import boot_id, boot_seconds
from exlab_orch.crew import Stop, never
from exlab_orch.errors import (
    Locked,
    NasCopyDamaged,
    NasCopyMissing,
    NasCopyUnreadable,
    NotSyncVerified,
    RunNotFound,
    staging_errors,
)
from exlab_orch.evaluate import walk_run
from exlab_orch.files.places import is_folder
from exlab_orch.ledger import LedgerLine
from exlab_orch.making_room import why_low
from exlab_orch.mirror import mirror
from exlab_orch.model import SHOWN_AS, Ingest, IngestState, Place, StagedRun
from exlab_orch.ownfiles import log_event, set_aside_strangers
from exlab_orch.policy import LOW, ClearFacts, ClockReading, blocking_code, clock_wait
from exlab_orch.progress import QUIET, Observer
from exlab_orch.proof import StepBack, prove
from exlab_orch.reserve import with_reserve
from exlab_orch.staging import in_trash
from exlab_orch.station import Station
from exlab_orch.text import pasted, printable
from exlab_orch.trash import Cleared, finish, gone_from_staging, refuse_held, settle_trashed, to_trash

_ASSUMED_BYTES_PER_SECOND: Final = 100_000_000
"""For the estimate before the first measured copy: a gigabit line."""


@dataclass(frozen=True, slots=True)
class ClearPreview:
    """What a clear would delete, and about how long its proof takes."""

    run_path: str
    files: int
    byte_total: int
    seconds: float


# -- the one dangerous act -----------------------------------------------------------------------------------


def clear(
    station: Station,
    run: StagedRun,
    *,
    by: str | None,
    wait_seconds: float = 5.0,
    watch: Observer = QUIET,
    stop: Stop = never,
    decided_on: Ingest | None = None,
    early: str | None = None,
) -> Cleared:
    """Delete the staged copy of a proved run, if it is still there; both the schedule and people come through here.

    Args:
        station, run, watch: the open parts, the run, and who wants to see bytes go by.
        by: the person who asked; None for the schedule.
        wait_seconds: how long to wait for the run's lock and for a slot.
        stop: ends the proof, and nothing is deleted.
        decided_on: the record that the schedule decided on; with another one nothing is done.
        early: why it is deleted before its retention ends, for its log and record.

    Raises:
        Locked: the run or every slot of its NAS stays busy for longer, or another process just changed the run.
        RunProblem, NasFault: it may not be cleared, or the NAS is not there; nothing was deleted.
        OutOfTime: the stop rule said so while the copy was read back; nothing was deleted.
    """
    run = StagedRun(run.run_path, Place(station.staging_root, run.run_path))  # also where it was found in the trash

    def act() -> Cleared:
        done = _cleared_before(station, run, watch, stop)
        if done is not None:
            return done
        record = require_clearable(station, run)
        if decided_on not in (None, record):
            raise Locked("Another process just changed this run.", hint="The next pass looks again.")
        return _clear_locked(station, run, record, watch, stop, by=by, early=early)

    with _lock_and_slot(station, run, wait_seconds):
        before = station.ledger.last(run.run_path)
        return _all_deleted(station, before, with_reserve(station.staging_root, station.state.path, act))


def _cleared_before(station: Station, run: StagedRun, watch: Observer, stop: Stop) -> Cleared | None:
    """What an interrupted clear had left in the trash, or that the run is gone; None while its folder is there."""
    trashed = in_trash(station.staging_root, run.run_path)
    if trashed is not None:
        done = settle_trashed(station, trashed, watch, stop)
        if done.files_cleared or not is_folder(run.place):
            return done
    with staging_errors("looking for the run folder"):
        return None if is_folder(run.place) else _gone(station, run)


def _all_deleted(station: Station, before: LedgerLine | None, done: Cleared) -> Cleared:
    """What a clear has deleted, also where it found no room for its very last step, and nothing any more afterwards."""
    line = station.ledger.last(done.run_path)
    if done.files_cleared or line is None or line == before:
        return done
    return replace(done, files_cleared=line.files_cleared, bytes_freed=line.bytes_freed)


@contextmanager
def _lock_and_slot(station: Station, run: StagedRun, wait_seconds: float) -> Iterator[None]:
    with station.state.run_lock(run.run_path, wait_seconds=wait_seconds) as held:
        if not held:
            raise _busy()
        with station.slot(run, wait_seconds=wait_seconds) as free:
            if not free:
                raise Locked(
                    "Every slot of the NAS is busy (sync.parallel_runs).",
                    hint="Try again when a copy is done, or have a pass do it: exlab-orch clear --later",
                )
            yield


def _busy() -> Locked:
    return Locked("Another process is busy with this run.", hint="Try again when it is done: exlab-orch list")


def _gone(station: Station, run: StagedRun) -> Cleared:
    known = station.journal.run(run.run_path) is not None or station.ledger.last(run.run_path) is not None
    if not known and not is_folder(run.place.parent):
        raise RunNotFound(
            f"No run {printable(run.run_path)} was ever seen here.", hint="See what is there: exlab-orch list"
        )
    return Cleared(run.run_path, 0, 0)


def _clear_locked(
    station: Station, run: StagedRun, record: Ingest, watch: Observer, stop: Stop, *, by: str | None, early: str | None
) -> Cleared:
    set_aside_strangers(station, run, record)
    try:
        with _remembered(station, run):
            proof = prove(station, run, record, watch, stop)
    except StepBack as error:
        step_back(station, run, record, error, "not cleared")
        raise error.problem from error
    station.end_damage(run.run_path, proof.files)
    if early is not None:
        log_event(station, run, "INFO", f"deleted before its retention ends: {early}")
    gone = gone_from_staging(station, run, record, proof)
    station.journal.give_order(run.run_path, "mirror", {})
    mirror(station, run, record)
    station.note_proved(run, record, files=len(proof.files), byte_total=proof.byte_total)
    refuse_held(station, run)
    with _remembered(station, run):
        trashed = to_trash(station, run, proof)
    record = station.advance(
        trashed,
        record,
        IngestState.CLEARED,
        files_cleared=len(proof.files),
        bytes_freed=proof.byte_total,
        files_gone_from_staging=gone or None,
        by=by,
        reason=None if early is None else LOW,
    )
    return finish(station, trashed, record, proof, watch)


@contextmanager
def _remembered(station: Station, run: StagedRun) -> Iterator[None]:
    """Remember what a clear found wrong with the copy, whoever asked for it: nothing calls the run safe any more."""
    try:
        yield
    except (NasCopyDamaged, NasCopyMissing, NasCopyUnreadable, NotSyncVerified) as error:
        station.journal.forget_clear_reads(run.run_path)
        station.set_problems(run.run_path, "clear", [station.problem_of(run.run_path, error)])
        raise


def require_clearable(station: Station, run: StagedRun) -> Ingest:
    """The run's sealed record, if record and hold allow a clear; the proof comes after this.

    Raises:
        RunProblem: it is held, or not in ``sync_verified``, or its record is not ours.
    """
    record = station.records.require_sealed(run)
    if record.current_state is not IngestState.SYNC_VERIFIED:
        raise NotSyncVerified(
            f"The run is not proved on the NAS; its state is: {SHOWN_AS[record.current_state]}.",
            hint=f"See why: exlab-orch show {pasted(run.run_path)}",
        )
    refuse_held(station, run)
    return record


def step_back(station: Station, run: StagedRun, record: Ingest, error: StepBack, said: str) -> None:
    """Have the next pass copy a proved run again, and forget what was read for its clear."""
    station.advance(run, record, IngestState.SYNC_QUEUED, reason=error.reason)
    station.journal.forget_clear_reads(run.run_path)
    station.journal.end_order(run.run_path, "clear_later")
    log_event(station, run, "WARNING", f"{said}: {error.problem.message}")


def clear_facts(
    station: Station,
    run: StagedRun,
    record: Ingest,
    *,
    asked: bool,
    clock_wait_seconds: float = 0.0,
    low: str | None = None,
) -> ClearFacts:
    """What decides whether a pass may delete the staged copy of a run."""
    hold = station.hold(run)
    return ClearFacts(
        record,
        hold_reason=None if hold is None else hold.reason,
        blocking=blocking_code(problem.code for problem in station.journal.problems(run.run_path)),
        asked=asked,
        clock_wait_seconds=clock_wait_seconds,
        low=low,
    )


def clock_wait_seconds(station: Station) -> float:
    """Seconds that scheduled clears wait because the clock was stepped; the reading is kept for the next time.

    It is kept in manual mode too: somebody may choose the schedule later.
    """
    cleanup, journal = station.cleanup, station.journal
    reading = ClockReading(station.now().timestamp(), boot_seconds(), boot_id())
    left = clock_wait(_parse_reading(journal.note("clocks")), reading, cleanup.retain_hours * 3600)
    journal.set_note("clocks", f"{reading.wall} {reading.boot} {reading.boot_id} {left}")
    return left


def known_clock_wait(station: Station) -> float:
    """``clock_wait_seconds`` as the last pass left it, for those who only look on; writes nothing."""
    before = _parse_reading(station.journal.note("clocks"))
    return 0.0 if before is None or station.cleanup.mode == "manual" else before.wait


def facts_now(station: Station, run: StagedRun, record: Ingest, *, asked: bool) -> ClearFacts:
    """``clear_facts`` for those who only look on; writes nothing."""
    seconds = known_clock_wait(station)
    return clear_facts(station, run, record, asked=asked, clock_wait_seconds=seconds, low=why_low(station))


def _parse_reading(text: str | None) -> ClockReading | None:
    """The clock reading a pass left behind, or None where there is none that can be understood."""
    parts = (text or "").split()
    if len(parts) != 4:
        return None
    return ClockReading(float(parts[0]), float(parts[1]), parts[2], float(parts[3]))


# -- looking ahead -------------------------------------------------------------------------------------------


def check(station: Station, run: StagedRun) -> None:
    """Raise what a clear would refuse with, without reading anything back and without writing.

    Raises:
        RunProblem, NasFault, Locked
    """
    try:
        require_clearable(station, run)
    except NotSyncVerified as error:
        if station.state.is_busy(run.run_path):  # it is being copied, say: waiting makes sense
            raise _busy() from error
        raise
    station.nas_of(run).check()


def preview(station: Station, run: StagedRun) -> ClearPreview:
    """What a clear of the run would delete, and about how long reading it back takes."""
    listing = walk_run(station, run)
    rate = float(station.journal.note("bytes_per_second") or _ASSUMED_BYTES_PER_SECOND)
    return ClearPreview(run.run_path, len(listing.files), listing.byte_total, listing.byte_total / max(rate, 1.0))
