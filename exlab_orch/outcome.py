"""What happened to runs and NAS in one pass: a run's failure is kept from the others here, recorded and announced."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from exlab_orch.clock import format_utc, parse_utc
from exlab_orch.crew import OutOfTime
from exlab_orch.errors import (
    ChangedWhileCopied,
    ExlabError,
    HashMismatch,
    Locked,
    NasFault,
    NasFull,
    NasPaused,
    PermissionRefused,
    RecordUnsealed,
    RunHeld,
    StateUnavailable,
    SyncFailed,
)
from exlab_orch.evaluate import walk_run
from exlab_orch.files.places import is_folder
from exlab_orch.idle import remember_idle
from exlab_orch.journal import Announcement, JournalRun
from exlab_orch.model import StagedRun
from exlab_orch.orders import nas_names, nas_subject, refuse_paused
from exlab_orch.ownfiles import log_edges
from exlab_orch.policy import retry_after
from exlab_orch.reserve import is_disk_full
from exlab_orch.space import remember_nas
from exlab_orch.station import Station
from exlab_orch.trash import Cleared
from exlab_orch.vouching import at_home

_LOOK_AT_BLOCKED_AGAIN: Final = timedelta(minutes=10)
_AFTER_A_FULL_DISK: Final = timedelta(minutes=8)
_CLEAR_AGAIN: Final = timedelta(hours=1)
_LOOK_AT_NAS_AGAIN: Final = timedelta(minutes=10)
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Outcome:
    """The tally of one pass."""

    station: Station
    failed: dict[str, str] = field(default_factory=dict)
    """Of each run that failed, the code of what was wrong last."""
    failures: int = 0
    """How often something failed; a run may do so more than once."""
    copied: list[str] = field(default_factory=list)
    stopped: set[str] = field(default_factory=set)
    """Runs that failed in staging and are left alone for the rest of the pass; what fails in the trash stops none."""
    cleared: list[Cleared] = field(default_factory=list)
    nas_faults: dict[str, ExlabError] = field(default_factory=dict)
    busy: int = 0
    _busy_nas: set[str] = field(default_factory=set)
    unfinished: bool = False

    @contextmanager
    def isolated(self, run: StagedRun, phase: str) -> Iterator[None]:
        """Run the block for one run; whatever it raises is recorded, announced and counted, and goes no further."""
        try:
            yield
        except OutOfTime:
            self.unfinished = True
        except StateUnavailable:
            raise  # nothing can be recorded any more, for no run: the pass ends and says so
        except Locked:
            self.busy += 1
        except RunHeld as held:
            self.note_waiting(run, held.message)
        except NasFault as fault:
            self.note_nas_fault(run, fault)
        except ExlabError as error:
            self._note_failure(run, phase, error)
        except Exception as error:
            _log.exception("a bug, met with %r", run.run_path)
            text = f"A bug was met: {type(error).__name__}: {error}"
            self._note_failure(run, phase, SyncFailed(text, hint="The traceback is in the log. Please report it."))

    def _note_failure(self, run: StagedRun, phase: str, error: ExlabError) -> None:
        station = self.station
        self.note_failed(run.run_path, error)
        if phase != "trash":
            self.stopped.add(run.run_path)
        problem = station.problem_of(run.run_path, error)
        edges = station.set_problems(run.run_path, phase, [problem])
        if phase in ("sync", "clear"):  # before that, what bears the name of our log may be pushed data
            self._log_news(run, edges)
        known = station.journal.run(run.run_path)
        if known is None:
            return
        if phase == "clear":
            self._try_clear_later(known)
        elif phase in ("sync", "evaluate"):
            after = after_failure(known, error, station.now())
            station.journal.save(after)
            if phase == "evaluate" or after == replace(known, waiting=after.waiting):
                self._rest_until_it_changes(run, error)

    def note_failed(self, path: str, error: ExlabError) -> None:
        """Count a failure of a run, or of a folder of the trash."""
        self.failures += 1
        self.failed[path] = error.code

    def _log_news(self, run: StagedRun, edges: Sequence[Announcement]) -> None:
        """Tell the run's own log of a failure, once as long as it stays the same, and of the one before it."""
        with logged_failure(f"the log of {run.run_path!r}"):
            if edges and is_folder(run.place):
                log_edges(self.station, run, edges)

    def _try_clear_later(self, known: JournalRun) -> None:
        """A refused clear is not tried every minute: its proof reads the whole copy."""
        station = self.station
        later = (station.now() + _CLEAR_AGAIN).timestamp()
        if known.clear_at is not None:  # a run that was to go before its time keeps its time
            station.journal.save(replace(known, clear_at=max(known.clear_at, later)))
        station.journal.give_order(known.run_path, "clear_again", {"not_before": later})
        order = station.journal.order(known.run_path, "clear_later")
        if order is not None:
            station.journal.give_order(known.run_path, "clear_later", {**order, "not_before": later})

    def _rest_until_it_changes(self, run: StagedRun, error: ExlabError) -> None:
        """A blocked run is looked at again when something in it changes, or after a while."""
        if isinstance(error, (ChangedWhileCopied, RecordUnsealed)):
            return  # the next look decides anew
        try:
            listing = walk_run(self.station, run)
        except ExlabError:
            return  # it cannot be walked: that is its problem, and it stays due
        remember_idle(self.station, run, listing, self.station.now() + _LOOK_AT_BLOCKED_AGAIN)

    def note_waiting(self, run: StagedRun, text: str | None, until: datetime | None = None) -> None:
        """Remember what a run waits for, as ``list`` shows it, and until when at the latest."""
        known = self.station.journal.run(run.run_path)
        if known is None:
            return
        retry_at = known.retry_at if until is None else until.timestamp()
        if (known.waiting, known.retry_at) != (text, retry_at):
            self.station.journal.save(replace(known, waiting=text, retry_at=retry_at))

    # -- the NAS as a whole ----------------------------------------------------------------------------------

    def note_busy(self, run: StagedRun) -> None:
        """Another process is busy with a run: if it waits for a NAS that hangs, nobody else can say so."""
        self.busy += 1
        nas = self.station.config.nas_for(run.equipment_id)
        if nas is not None:
            self._busy_nas.add(nas.name)

    def note_nas_fault(self, run: StagedRun, fault: NasFault) -> None:
        """A fault of the NAS as a whole is told once, and uses up no run's attempts."""
        name = self.station.nas_of(run).name
        if name not in self.nas_faults:
            self._tell_nas_fault(name, fault)
        self.note_waiting(run, fault.message)

    def _tell_nas_fault(self, name: str, fault: ExlabError) -> None:
        self.nas_faults[name] = fault
        problem = self.station.problem_of(nas_subject(name), fault)
        self.station.set_problems(nas_subject(name), "nas", [problem])

    def refuse_known_fault(self, nas: str) -> None:
        """Raise the fault of a NAS that was met before in this pass: it is not asked again.

        One that is too full for one run may still have room for the next, smaller one.
        """
        fault = self.nas_faults.get(nas)
        if fault is not None and not isinstance(fault, NasFull):
            raise fault

    def look_at_nas(self, *, tried_to_copy: bool) -> None:
        """Close the problem of a NAS that is well again, and find out about one that went away while nobody needed it.

        One with a problem, to which this pass copied, or with which another process is busy, is looked at in each pass,
        the others every few minutes. That one is full shows only in a pass that copies.
        """
        station = self.station
        troubled = {subject.removeprefix("nas:") for subject in station.journal.problem_subjects("nas")}
        quiet = {name for name in nas_names(station.config) if tried_to_copy and self._is_look_due(name)}
        copied_to = {
            station.nas_of(at_home(station, run_path)).name for run_path in self.copied
        }  # its space is another
        for name in sorted((troubled | quiet | copied_to | self._busy_nas) - self.nas_faults.keys()):
            fault = self._fault_of(name)
            if isinstance(fault, NasPaused):
                continue
            if fault is not None:
                self._tell_nas_fault(name, fault)
                continue
            station.journal.set_note(f"well {name}", format_utc(station.now()))
            self._remember_space(name)
            is_full = any(problem.code == NasFull.code for problem in station.journal.problems(nas_subject(name)))
            if name in troubled and (tried_to_copy or not is_full):
                station.set_problems(nas_subject(name), "nas", [])

    def _remember_space(self, name: str) -> None:
        """Keep how full a NAS is that was just seen to be well; one that does not tell keeps nobody from anything."""
        transport = self.station.nas_named(name)
        try:
            space = None if transport is None else transport.space()
        except ExlabError as error:
            _log.info("the space of %s is not known: %s", name, error.message)
            return
        if space is not None:
            remember_nas(self.station.journal, name, space, self.station.now())

    def _is_look_due(self, name: str) -> bool:
        last = parse_utc(self.station.journal.note(f"well {name}") or "")
        return last is None or not timedelta(0) <= self.station.now() - last < _LOOK_AT_NAS_AGAIN

    def _fault_of(self, name: str) -> ExlabError | None:
        transport = self.station.nas_named(name)
        if transport is None:
            return None  # it is not configured any more
        try:
            refuse_paused(self.station, transport)
            transport.check()
        except ExlabError as error:
            return error
        return None

    def unavailable(self) -> tuple[str, ...]:
        """What was wrong with NAS that were needed and not there; a pause is no fault."""
        return tuple(fault.message for fault in self.nas_faults.values() if not isinstance(fault, NasPaused))


@contextmanager
def logged_failure(what: str) -> Iterator[None]:
    """Keep a failure from the other runs where there is no pass to report it: it is logged."""
    try:
        yield
    except ExlabError as error:
        _log.warning("%s: %s: %s", what, error.code, error.message)
    except Exception:
        _log.exception("a bug, met with %s", what)


def after_failure(known: JournalRun, error: ExlabError, now: datetime) -> JournalRun:
    """A run's row after a failed attempt: failures count and wait longer each time; what blocks a run does not count.

    Args:
        known: the row before.
        error: what the attempt raised. A run that changed under us and a full staging disk use up no attempt; a twice
            broken read-back is an alarm that a person must end (lifecycle.md, 5).
        now: the present.
    """
    if isinstance(error, HashMismatch):
        return replace(known, failed=True, waiting=None)
    if not isinstance(error, (SyncFailed, PermissionRefused)):
        return replace(known, waiting=None)
    if is_disk_full(error):  # of staging, for the NAS has an error of its own; it goes on by itself once there is room
        return replace(known, retry_at=now.timestamp() + _AFTER_A_FULL_DISK.total_seconds(), waiting=None)
    attempts = known.attempts + 1
    seconds = retry_after(attempts)
    retry_at = None if seconds is None else now.timestamp() + seconds
    return replace(known, attempts=attempts, retry_at=retry_at, failed=seconds is None, waiting=None)
