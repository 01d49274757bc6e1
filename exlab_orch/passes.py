"""One pass: settle what was interrupted, evaluate, copy, clean up; each run as far as it can go (lifecycle.md, 4)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from exlab_orch import progress
from exlab_orch.cleanup import clear, clear_facts, clock_wait_seconds
from exlab_orch.clock import format_utc, has_come
from exlab_orch.errors import EXIT_DONE, EXIT_RUN_FAILED, EXIT_UNAVAILABLE, ExlabError, RunProblem, staging_errors
from exlab_orch.evaluate import Look, look_at
from exlab_orch.files.places import is_folder
from exlab_orch.idle import is_idle
from exlab_orch.journal import Announcement, JournalRun
from exlab_orch.logs import note_event
from exlab_orch.making_room import MakingRoom, tell_going_on, tell_stopped, watch_space, why_low
from exlab_orch.mirror import mirror_or_remember
from exlab_orch.model import IngestState, StagedRun
from exlab_orch.orders import asked_to_clear, end_orders, refuse_paused, take_due, wants_clear
from exlab_orch.outcome import Outcome, logged_failure
from exlab_orch.ownfiles import log_edges
from exlab_orch.policy import early_because, kept_because
from exlab_orch.receipt_settling import follow
from exlab_orch.receipts import HIDDEN
from exlab_orch.records import read_record
from exlab_orch.reserve import FOR_CLEARS, with_reserve
from exlab_orch.sightings import drop_old_receipts, equipment_to_sweep, report_disappeared, report_strays
from exlab_orch.staging import TrashSlot, remove_empty_slot, trash_slots
from exlab_orch.station import Station, Transition, require_marked_nas
from exlab_orch.sync import RunCopy
from exlab_orch.trash import Cleared, settle_trashed

PHASES: Final = ("evaluate", "sync", "cleanup")
_STEPS_IN_ONE_PASS: Final = 4


@dataclass(frozen=True, slots=True)
class PassReport:
    """What one pass did."""

    started_at: datetime
    ended_at: datetime
    runs_seen: int
    transitions: tuple[Transition, ...]
    announcements: tuple[Announcement, ...]
    busy: int
    """Runs that another process is busy with."""
    copied: tuple[str, ...]
    cleared: tuple[Cleared, ...]
    nas_faults: tuple[str, ...]
    """What was wrong with NAS that are not there."""
    unfinished: bool
    """The time given to the pass was over before its work."""
    failed_codes: Mapping[str, str]
    """Of each run that failed, the code of what was wrong."""

    @property
    def failed(self) -> tuple[str, ...]:
        """Paths of runs that failed in this pass."""
        return tuple(self.failed_codes)

    @property
    def exit_status(self) -> int:
        """3 when a run failed, 69 when only a NAS was not available, needed or not, else 0."""
        if self.failed:
            return EXIT_RUN_FAILED
        return EXIT_UNAVAILABLE if self.nas_faults else EXIT_DONE


def run_pass(
    station: Station,
    *,
    only: frozenset[str] = frozenset(PHASES),
    max_seconds: float | None = None,
    runs: Sequence[StagedRun] | None = None,
    watch: progress.Observer = progress.QUIET,
) -> PassReport:
    """Do one pass over all runs, or over the given ones.

    Args:
        station: the open parts, opened to change runs.
        only: the phases to do, of PHASES.
        max_seconds: finish the files in hand after that long, then stop.
        runs: look at these runs only, idle or not.
        watch: who wants to see bytes go by.

    Raises:
        ConfigInvalid: runs are to be copied or cleared, and a NAS is not configured or not marked yet.
        StagingUnavailable: the staging root cannot be read.
    """
    return Pass(station, only, max_seconds, runs, watch).run()


class Pass:
    """One pass over a station, which tells at any time what it has done so far; see ``run_pass``."""

    def __init__(
        self,
        station: Station,
        only: frozenset[str],
        max_seconds: float | None,
        chosen: Sequence[StagedRun] | None,
        watch: progress.Observer,
    ) -> None:
        self._station = station
        self._only = only
        self._chosen = None if chosen is None else tuple(chosen)
        self._watch = progress.ProgressFile(station.state.progress_folder, watch)
        self._deadline = None if max_seconds is None else time.monotonic() + max_seconds
        self._outcome = Outcome(station)
        self._started = station.now()
        self._seen = 0
        self._tried_clears = 0
        self._failed_clears = 0
        """Deletes by the schedule that failed in this pass."""

    def run(self) -> PassReport:
        """Do the pass and report."""
        station = self._station
        if self._only & {"sync", "cleanup"}:
            require_marked_nas(station.config)
        progress.sweep(station.state.progress_folder)
        # Before anything is proved: a proof must not carry the time of another clock.
        stepped = clock_wait_seconds(station) > 0
        self._forget_marks_of_another_configuration()
        self._settle_trash()
        runs = self._look_around()
        self._seen = len(runs)
        self._go_through(runs)
        self._outcome.look_at_nas(tried_to_copy="sync" in self._only)
        with logged_failure("the staging disk"):
            watch_space(station)
        if "cleanup" in self._only and not stepped:
            self._drop_old_receipts()
        station.announce(station.journal.due_reminders(station.now()))
        station.journal.set_note("last_pass", format_utc(station.now()))
        report = self.report()
        _log_pass(report)
        return report

    def _drop_old_receipts(self) -> None:
        for equipment in equipment_to_sweep(self._station):
            with logged_failure(f"the old receipts of {equipment.id}"):
                drop_old_receipts(self._station, equipment)

    def report(self) -> PassReport:
        """What it has done so far."""
        outcome, station = self._outcome, self._station
        return PassReport(
            started_at=self._started,
            ended_at=station.now(),
            runs_seen=self._seen,
            transitions=tuple(station.transitions),
            announcements=tuple(station.announcements),
            busy=outcome.busy,
            copied=tuple(outcome.copied),
            cleared=tuple(outcome.cleared),
            nas_faults=outcome.unavailable(),
            unfinished=outcome.unfinished,
            failed_codes=dict(outcome.failed),
        )

    def _forget_marks_of_another_configuration(self) -> None:
        """What was idle under another configuration or key is looked at anew."""
        journal, state = self._station.journal, self._station.state
        fingerprint = f"{self._station.config.fingerprint()} {state.key_mark()}"
        if journal.note("configuration") != fingerprint:
            with journal.transaction():
                journal.forget_idle()
                journal.set_note("configuration", fingerprint)

    def _look_around(self) -> tuple[StagedRun, ...]:
        if self._chosen is not None:
            return self._chosen
        found = self._station.discover()
        if "evaluate" in self._only:
            report_disappeared(self._station, found)
            report_strays(self._station, found)
            with logged_failure("the receipts of runs that are not staged"):
                follow(self._station, found)
        return found.runs

    def _go_through(self, runs: Sequence[StagedRun]) -> None:
        """Evaluate all first, so that a long copy never keeps the others from being seen; then copy, then clean up."""
        journal, now = self._station.journal, self._station.now()
        known, behind = journal.runs(), journal.orders("mirror").keys() | journal.problem_subjects("receipt")

        def is_active(run: StagedRun) -> bool:
            if self._chosen is not None or run.run_path in behind:
                return True
            return not is_idle(run, known.get(run.run_path), now)

        active = [run for run in runs if is_active(run)]
        if "evaluate" in self._only:
            self._each(active, "evaluate", self._evaluate)
        if "sync" in self._only:
            self._each(active, "sync", self._copy)
        if "cleanup" in self._only:
            names = {run.run_path for run in active} | asked_to_clear(self._station)
            due = [run for run in runs if run.run_path in names or may_clear(known.get(run.run_path), now)]
            self._clean_up(due, runs)

    def _each(self, runs: Sequence[StagedRun], phase: str, act: Callable[[StagedRun], None]) -> None:
        for run in runs:
            if self._is_out_of_time():
                self._outcome.unfinished = True
                return
            if run.run_path not in self._outcome.stopped:  # what stopped it stops it here too, and was told
                self._with_lock(run, phase, act)

    def _is_out_of_time(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _with_lock(self, run: StagedRun, phase: str, act: Callable[[StagedRun], None]) -> None:
        with self._station.state.run_lock(run.run_path) as held:
            if not held:
                self._outcome.note_busy(run)
                return
            with self._outcome.isolated(run, phase):
                if self._is_there(run):
                    self._with_reserve(lambda: act(run), leave=0 if phase == "trash" else FOR_CLEARS)

    def _is_there(self, run: StagedRun) -> bool:
        try:
            return _is_there(run)
        except RunProblem:  # nobody can say what was pushed into it since
            self._station.note_unproved(run, HIDDEN)
            self._station.journal.forget_idle(run.run_path)  # a folder above it leaves no trace in its own times
            raise

    def _with_reserve(self, act: Callable[[], None], leave: int) -> None:
        with_reserve(self._station.staging_root, self._station.state.path, act, leave=leave)

    # -- evaluate --------------------------------------------------------------------------------------------

    def _evaluate(self, run: StagedRun) -> None:
        station = self._station
        take_due(station, run)
        look = look_at(station, run)
        for _ in range(_STEPS_IN_ONE_PASS):
            if look.stepped:
                look = look_at(station, run)
        edges = station.set_problems(run.run_path, "evaluate", list(look.problems))
        if any(edge.kind == "closed" for edge in edges):  # its receipt may say again that it is safe
            station.journal.forget_idle(run.run_path)
        log_edges(station, run, edges)
        self._note_look(run, look)
        if station.journal.order(run.run_path, "mirror") is not None:
            self._mirror_again(run)

    def _note_look(self, run: StagedRun, look: Look) -> None:
        if look.state is IngestState.SYNC_VERIFIED:
            self._station.set_problems(run.run_path, "sync", [])
            end_orders(self._station, run)
        if look.state is IngestState.STAGING:
            self._outcome.note_waiting(run, None if look.wait is None else look.wait.text)

    def _mirror_again(self, run: StagedRun) -> None:
        record = read_record(run)
        self._outcome.refuse_known_fault(self._station.nas_of(run).name)
        if record is not None and record.current_state is IngestState.SYNC_VERIFIED:
            mirror_or_remember(self._station, run, record)

    # -- copy ------------------------------------------------------------------------------------------------

    def _copy(self, run: StagedRun) -> None:
        station = self._station
        record, known = read_record(run), station.journal.run(run.run_path)
        if record is None or record.current_state is not IngestState.SYNC_QUEUED or not is_due(known, station.now()):
            return
        record = station.records.require_sealed(run)
        transport = station.nas_of(run)
        self._outcome.refuse_known_fault(transport.name)
        refuse_paused(station, transport)
        transport.check()
        with station.slot(run) as free:
            if not free:
                self._outcome.busy += 1
                return
            try:
                waits = RunCopy(station, run, record, self._watch, self._is_out_of_time).attempt()
            except RunProblem:
                transport.check()  # a NAS that went away meanwhile is its own fault, not the run's
                raise
        if waits is not None:
            self._outcome.note_waiting(run, waits.text, waits.until)
            return
        station.set_problems(run.run_path, "sync", [])
        self._outcome.copied.append(run.run_path)
        self._evaluate(run)

    # -- clean up --------------------------------------------------------------------------------------------

    def _clean_up(self, runs: Sequence[StagedRun], others: Sequence[StagedRun]) -> None:
        """Delete what is due; then, while the staging disk is low, what is old enough of the others too."""
        seconds, asked = clock_wait_seconds(self._station), asked_to_clear(self._station)
        for run in runs:
            if self._is_out_of_time():
                self._outcome.unfinished = True
                return
            if run.run_path in asked or self._goes_on_clearing():
                self._clear_one(run, seconds, counts=run.run_path not in asked)
        if self._goes_on_clearing():
            with logged_failure("making room on the staging disk"):
                self._make_room(others, seconds)
        self._tell_stop()

    def _goes_on_clearing(self) -> bool:
        """Whether the schedule may delete more in this pass: not after too many failures."""
        return self._failed_clears < self._station.cleanup.max_errors

    def _clear_one(
        self, run: StagedRun, seconds: float, *, counts: bool = True, low: str | None = None
    ) -> Cleared | None:
        """Delete a run if that is due, and count a failure; what a person asked for does not count."""
        cleared, failures, tried = len(self._outcome.cleared), self._outcome.failures, self._tried_clears
        if run.run_path not in self._outcome.stopped:
            with self._outcome.isolated(run, "clear"):
                self._clear_if_due(run, seconds, low)
        if counts and self._tried_clears > tried:  # what is refused before a delete is tried is no failure of one
            self._failed_clears += self._outcome.failures - failures
        return self._outcome.cleared[-1] if len(self._outcome.cleared) > cleared else None

    def _clear_if_due(self, run: StagedRun, seconds: float, low: str | None) -> None:
        """The clear takes the run's lock itself and looks at everything again under it."""
        station = self._station
        record = read_record(run)
        if record is None or record.current_state is not IngestState.SYNC_VERIFIED:
            return
        by = wants_clear(station, run, record)
        facts = clear_facts(station, run, record, asked=by is not None, clock_wait_seconds=seconds, low=low)
        if kept_because(facts, station.cleanup, station.now()) is not None:
            return
        if by is None and clock_wait_seconds(station) > 0:  # it was stepped since this pass began, which may be hours
            return
        self._outcome.refuse_known_fault(station.nas_of(run).name)
        self._tried_clears += 1
        early = early_because(facts, station.cleanup, station.now())
        stop, watch = self._is_out_of_time, self._watch
        done = clear(station, run, by=by, wait_seconds=0.0, watch=watch, stop=stop, decided_on=record, early=early)
        self._outcome.cleared.append(done)

    def _make_room(self, runs: Sequence[StagedRun], seconds: float) -> None:
        reason = why_low(self._station)
        if reason is None or seconds > 0:  # after a step of the clock nothing goes, early or not
            return
        room = MakingRoom(self._station, reason)
        for run in room.candidates(runs):
            if room.is_done() or self._is_out_of_time() or not self._goes_on_clearing():
                break
            done = self._clear_one(run, seconds, low=reason)
            if done is not None:
                room.note(done)
        room.end(self._is_out_of_time)

    def _tell_stop(self) -> None:
        """Say that too many deletes failed; that is over once one works, or none is left that failed."""
        station = self._station
        if self._failed_clears >= station.cleanup.max_errors:
            tell_stopped(station)
        elif self._outcome.cleared or not station.journal.problem_subjects("clear"):
            tell_going_on(station)

    # -- the trash -------------------------------------------------------------------------------------------

    def _settle_trash(self) -> None:
        for slot in trash_slots(self._station.staging_root):
            if slot.run is None:
                self._settle_slot_without_run(slot)
            elif self._chosen is None or slot.run.run_path in {run.run_path for run in self._chosen}:
                self._with_lock(slot.run, "trash", self._settle)
        self._end_trash_problems()

    def _end_trash_problems(self) -> None:
        """Close the problems of what is no longer in the trash."""
        slots = trash_slots(self._station.staging_root)
        present = {slot.place.path for slot in slots} | {slot.run.run_path for slot in slots if slot.run is not None}
        for subject in self._station.journal.problem_subjects("trash") - present:
            self._station.set_problems(subject, "trash", [])

    def _settle(self, trashed: StagedRun) -> None:
        station = self._station
        self._outcome.refuse_known_fault(station.nas_of(trashed).name)
        with station.slot(trashed) as free:
            if not free:
                self._outcome.busy += 1
                return
            done = settle_trashed(
                station, trashed, self._watch, self._is_out_of_time, may_delete="cleanup" in self._only
            )
        station.set_problems(trashed.run_path, "trash", [])
        if done.files_cleared:
            self._outcome.cleared.append(done)

    def _settle_slot_without_run(self, slot: TrashSlot) -> None:
        """Remove what is empty; another process may just be filling it, and then it is not."""
        subject = f"{slot.place.path}"
        problems = []
        try:
            remove_empty_slot(slot)
        except ExlabError as error:
            self._outcome.note_failed(subject, error)
            problems = [self._station.problem_of(subject, error)]
        self._station.set_problems(subject, "trash", problems)


def _log_pass(report: PassReport) -> None:
    """One line for a pass that did something; one that found nothing to do is not news."""
    facts = {
        "copied": len(report.copied),
        "cleared": len(report.cleared),
        "failed": len(report.failed),
        "problems": sum(edge.kind != "closed" for edge in report.announcements),
        "solved": sum(edge.kind == "closed" for edge in report.announcements),
    }
    if not any(facts.values()) and not report.transitions:
        return
    seconds = round((report.ended_at - report.started_at).total_seconds(), 1)
    text = f"a pass over {report.runs_seen} runs: " + ", ".join(f"{number} {name}" for name, number in facts.items())
    note_event("pass", text, level="INFO", runs=report.runs_seen, seconds=seconds, **facts)


def _is_there(run: StagedRun) -> bool:
    """False where another process cleared the run meanwhile, or somebody took it away."""
    with staging_errors("looking for the run folder"):
        return is_folder(run.place)


def may_clear(known: JournalRun | None, now: datetime) -> bool:
    """Whether the retention of a run is over, idle or not; everything else is looked at when it is cleared."""
    return known is not None and known.clear_at is not None and now.timestamp() >= known.clear_at


def is_due(known: JournalRun | None, now: datetime) -> bool:
    """Whether an attempt to copy the run may be made now."""
    if known is None:
        return True
    return not known.failed and (known.retry_at is None or has_come(known.retry_at, now))
