"""The orchestrator computer with its real parts, opened from a configuration: state, journal, records, staging, NAS."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from exlab_orch import damage_kept, logs
from exlab_orch.clock import as_local, format_utc, utc_now
from exlab_orch.config import Config, Equipment, Orchestrator, StagingCleanup
from exlab_orch.config_nas import AnyNas
from exlab_orch.crew import Crew, Stop
from exlab_orch.damage import PHASE as DAMAGE_PHASE
from exlab_orch.damage import not_mended
from exlab_orch.errors import (
    ConfigInvalid,
    ExlabError,
    OrchestratorDisabled,
    RunProblem,
    staging_errors,
)
from exlab_orch.holds import Hold, hold_of
from exlab_orch.journal import MOST_FILES, Announcement, Journal, open_journal
from exlab_orch.ledger import Ledger, ProvedAgain, PushedAgain
from exlab_orch.model import Ingest, IngestState, NasPlace, Problem, StagedRun, proof_place
from exlab_orch.pace import Pace
from exlab_orch.policy import accepted_by
from exlab_orch.progress import Observer
from exlab_orch.receipts import NOT_WRITTEN, Receipt, Until, issue, receipt_of, receipts_place, remove, withdraw
from exlab_orch.records import Records, remembered
from exlab_orch.staging import (
    Discovery,
    Owner,
    discover,
    in_trash,
    require_mounted,
    require_owner,
    require_root,
)
from exlab_orch.state import StateDirectory, open_state
from exlab_orch.text import printable
from exlab_orch.transports import Transport, open_transport
from exlab_orch.transports.marker import no_marker_id

Clock = Callable[[], datetime]
_FOUND_ON: Final = "found on "
"""How the journal's notes begin that tell where a run was found good after it was proved, on another NAS."""

RECEIPTS_RENEWED: Final = "receipts renewed"
"""The key of the journal's note that changes with each receipt that was given back."""
_STEPS_BACK: Final = {
    "new_files": "files were added to it",
    "changed_files": "files in it changed",
    "nas_copy_missing": "its copy on the NAS is missing",
    "nas_copy_damaged": "its copy on the NAS is damaged",
    "record_unsealed": "its record is not the one that was written here",
}
"""Reasons of a step back, for the people at the instrument."""


@dataclass(frozen=True, slots=True)
class Transition:
    """A run reached a state."""

    run_path: str
    state: IngestState
    at: datetime


class Station:
    """The open parts that every step of a pass works with; made by ``open_station``."""

    def __init__(self, config: Config, state: StateDirectory, journal: Journal, *, host: str, clock: Clock) -> None:
        self.config = config
        self.state = state
        self.journal = journal
        self.host = host
        """Who history entries say wrote them."""
        self.log_host = host_name()
        """Whose log in the run folders is ours."""
        self.clock = clock
        self.records = Records(state, journal, host=host, log_host=self.log_host)
        self.ledger = Ledger(state.ledger_path, may_be_hidden=not _is_ours(state))
        self.announcements: list[Announcement] = []
        """Edges of problems since the station was opened, in order."""
        self.listeners: list[Callable[[Announcement], object]] = []
        """Who wants to hear of an edge at once: a pass may go on for hours."""
        self.transitions: list[Transition] = []
        """State changes since the station was opened, in order."""
        self._transports: dict[str, Transport] = {}

    def __enter__(self) -> Station:
        return self

    def __exit__(self, *_: object) -> None:
        self.journal.close()

    def notices(self) -> list[str]:
        """What opening the station did that a person should know."""
        found: list[str] = []
        if self.state.key_is_new and self.state.was_used:
            found.append(
                f"A new seal key was made in {self.state.path}. Records that another key sealed count as claims: "
                "such runs are proved again before anything is deleted."
            )
        if self.state.key_was_open:
            found.append(
                f"The seal key in {self.state.path} was open to other users; its mode is 0600 now. If one of them may "
                "have copied it, move it away: a new one is made, and every run is proved again."
            )
        if self.journal.set_aside is not None:
            found.append(
                f"The journal (damaged, or of another version) was moved to {self.journal.set_aside}; a new one was "
                "begun. Nothing is lost: staged files are hashed again."
            )
        return found

    @property
    def staging_root(self) -> str:
        return self.config.orchestrator.staging_root

    @property
    def cleanup(self) -> StagingCleanup:
        """When staged copies are deleted."""
        return self.config.orchestrator.staging_cleanup

    def now(self) -> datetime:
        """The present, aware, in UTC."""
        return self.clock()

    def equipment(self, run: StagedRun) -> Equipment:
        """The configured equipment of a run.

        Raises:
            ConfigInvalid: it is not configured.
        """
        found = self.config.equipment_for(run.equipment_id)
        if found is None:
            raise ConfigInvalid(
                f"No equipment {run.equipment_id} is configured.",
                hint=f"Add it: exlab-orch equipment add {run.equipment_id}",
            )
        return found

    def nas_of(self, run: StagedRun) -> Transport:
        """The NAS a run goes to.

        Raises:
            ConfigInvalid: none is configured.
        """
        nas = self.config.nas_for(run.equipment_id)
        if nas is None:
            raise no_nas(run.equipment_id)
        return self._transport(nas)

    def place_of(self, run: StagedRun) -> NasPlace:
        """Where the configuration has a run.

        Raises:
            ConfigInvalid: it names no NAS for it.
        """
        return NasPlace(self.nas_of(run).where(run.run_path), self.config.marker_of(run.equipment_id))

    def forget_found_elsewhere(self, run: StagedRun) -> None:
        """A run that was just proved is where that was, wherever it was found before."""
        self.journal.set_note(f"{_FOUND_ON}{run.run_path}", "")

    def note_found_here(self, run: StagedRun, checksum_sha256: str) -> None:
        """Remember that all of what was proved elsewhere was read here, and was good; a receipt may say so."""
        here = self.place_of(run)
        self.journal.set_note(f"{_FOUND_ON}{run.run_path}", f"{checksum_sha256} {here.marker or '-'} {here.path}")
        self.journal.forget_idle(run.run_path)

    def is_elsewhere(self, run: StagedRun, record: Ingest) -> bool:
        """Whether the configuration has a run elsewhere than where it was found good last, by its proof or since."""
        if self.config.nas_for(run.equipment_id) is None:
            return True
        entry, here = record.last(IngestState.SYNC_VERIFIED), self.place_of(run)
        sha256, marker, path = (*(self.journal.note(f"{_FOUND_ON}{run.run_path}") or "").split(" ", 2), "", "")[:3]
        if entry is not None and sha256 and sha256 == entry.text("checksum_sha256"):
            return (path, marker) != (here.path, here.marker or "-")
        return not here.may_be(proof_place(entry))

    def crew(self, run: StagedRun, watch: Observer, stop: Stop) -> Crew:
        """Workers for the files of a run, as many and with such batches as suit its NAS."""
        size = self.nas_of(run).batches
        workers = self.config.sync.workers if size.workers is None else size.workers
        return Crew(workers, watch, stop, most_files=size.files, most_bytes=size.byte_count)

    def slot(self, run: StagedRun, *, wait_seconds: float = 0.0) -> AbstractContextManager[bool]:
        """One of the slots of the run's NAS, for copies and for the re-reads of clears; False when all are taken."""
        return self.state.slot(self.nas_of(run).name, self.config.sync.parallel_runs, wait_seconds=wait_seconds)

    def nas_named(self, name: str) -> Transport | None:
        """The configured NAS of that name, or None."""
        found = [self.config.nas, *(self.config.nas_for(equipment.id) for equipment in self.config.equipment)]
        return next((self._transport(nas) for nas in found if nas is not None and nas.name == name), None)

    def _transport(self, nas: AnyNas) -> Transport:
        if nas.name not in self._transports:
            self._transports[nas.name] = open_transport(
                nas, self.staging_root, self.state, self.log_host, self._pace(nas.name)
            )
        return self._transports[nas.name]

    def _pace(self, nas: str) -> Pace:
        """How fast may be sent to that NAS; its slots tell how many copies share the limit."""
        sync = self.config.sync
        return Pace(sync, lambda: as_local(self.now()), lambda: self.state.busy_slots(nas, sync.parallel_runs))

    def discover(self) -> Discovery:
        """Every run and stray in staging now."""
        return discover(
            self.staging_root, (equipment.id for equipment in self.config.equipment), self.config.run_patterns
        )

    def hold(self, run: StagedRun) -> Hold | None:
        """The hold that stands on a run now, or None."""
        return hold_of(self.staging_root, run.run_path, self.now())

    def announce(self, edges: list[Announcement]) -> None:
        """Remember edges of problems for the report of this pass."""
        self.announcements += edges
        for edge in edges:
            _log_edge(edge)
            for listen in self.listeners:
                listen(edge)

    def withdraw_receipt(self, run: StagedRun, reason: str, until: Until = "proof") -> None:
        """Have a receipt of the run say that it is not safe any more; what hinders that is told, and stops nothing."""
        with self._receipt_told(run):
            withdraw(self.staging_root, run.run_path, reason, self.now(), until=until)

    def note_unproved(self, run: StagedRun, reason: str, life: str | None = None) -> None:
        """Nothing proves all that a run has now: its receipt says so, and the ledger where an earlier life was deleted.

        Once that went away from staging, nothing else would tell that it was there. ``life`` is that of its record;
        where that cannot be read, the one that the journal remembers.
        """
        self.withdraw_receipt(run, reason)  # first: who reads it may delete the run at the instrument
        if run.place.path != run.run_path:
            return  # what lies in the trash is no newer life
        if self.ledger.last(run.run_path) is not None or in_trash(self.staging_root, run.run_path) is not None:
            known = self._remembered_life(run) if life is None else life
            self.ledger.note_pushed_again(PushedAgain(run.run_path, format_utc(self.now()), known))

    def _remembered_life(self, run: StagedRun) -> str:
        try:
            return life_of(remembered(self.journal.run(run.run_path)))
        except RunProblem:  # a damaged row of the journal
            return ""

    def note_proved(self, run: StagedRun, record: Ingest, *, files: int, byte_total: int) -> None:
        """All that a run has now is proved; only of one that was pushed again the ledger keeps it."""
        entry = record.last(IngestState.SYNC_VERIFIED)
        place, sha256 = proof_place(entry), (entry and entry.text("checksum_sha256")) or ""
        if entry is not None and run.place.path == run.run_path:
            proved = ProvedAgain(
                run.run_path,
                entry.at,
                life_of(record),
                files,
                byte_total,
                place.path,
                place.marker,
                sha256,
                accepted_by(record.history),
            )
            self.ledger.note_proved_again(proved)

    def issue_receipt(self, receipt: Receipt, run: StagedRun) -> None:
        """Write a receipt of the run, unless it is there; what hinders that is told, and stops nothing."""
        with self._receipt_told(run):
            issue(self.staging_root, receipt)

    def renew_receipt(self, receipt: Receipt, run: StagedRun, *, proved: bool = False) -> None:
        """Write a receipt in place of one that was withdrawn or changed; where none is, none is made.

        One that only a new proof gives back stays as it is unless the run was ``proved`` just now.
        """
        with self._receipt_told(run):
            there = receipt_of(self.staging_root, run.run_path)
            told = None if there is None else there.receipt
            if there is None or (told is not None and told.is_withdrawn_until("proof") and not proved):
                return
            if not (there.is_whole and told is not None and told.safe and told.nas_path == receipt.nas_path):
                issue(self.staging_root, receipt)
                self.journal.set_note(RECEIPTS_RENEWED, secrets.token_hex(8))  # by another configuration, perhaps

    def remove_receipt(self, run: StagedRun) -> None:
        """Remove a receipt of the run; what hinders that is told, and stops nothing."""
        with self._receipt_told(run):
            remove(self.staging_root, run.run_path)

    @contextmanager
    def _receipt_told(self, run: StagedRun) -> Iterator[None]:
        problems = []
        try:
            with staging_errors("writing a receipt"):
                yield
        except RunProblem as error:
            folder = printable(receipts_place("", run.run_path).path)
            text = f"The receipt in {folder} could not be written: {error.message}"
            hint = "Let the service user write there. A file or link in place of that folder is left alone: move it."
            problems = [self.problem(run.run_path, NOT_WRITTEN, text, hint)]
        if problems or run.run_path in self.journal.problem_subjects("receipt"):
            self.set_problems(run.run_path, "receipt", problems)

    def write_record(self, run: StagedRun, record: Ingest) -> Ingest:
        """Write a record that begins or continues a life, and note the transition."""
        self.note_unproved(run, "it is copied and proved again", life_of(record))
        return self._noted(run, self.records.replace(run, record))

    def advance(self, run: StagedRun, record: Ingest, state: IngestState, **extras: object) -> Ingest:
        """Append a transition that was decided on ``record``; extras that are None are left out.

        Raises:
            RecordUnsealed: the record on disk is not that one any more.
        """
        if state is IngestState.SYNC_QUEUED:  # before anything else
            why = _STEPS_BACK.get(str(extras.get("reason")), "something in it changed")
            self.note_unproved(run, f"{why}; it is copied and proved again", life_of(record))
        given = {name: value for name, value in extras.items() if value is not None}
        return self._noted(run, self.records.append(run, state, self.now(), after=record, **given))

    def _noted(self, run: StagedRun, record: Ingest) -> Ingest:
        self.transitions.append(Transition(run.run_path, record.current_state, self.now()))
        last = record.history[-1]
        logs.note_event(
            "state", f"{last.state.value}", run=run.run_path, state=last.state.value, reason=last.text("reason")
        )
        return record

    def set_problems(self, subject: str, phase: str, problems: list[Problem]) -> list[Announcement]:
        """Make these the open problems of a subject in a phase, and announce the edges, which are returned."""
        edges = self.journal.set_problems(subject, phase, problems, self.now())
        self.announce(edges)  # before anything else that may fail: the journal tells of an edge once
        if phase == DAMAGE_PHASE:
            damage_kept.keep(self.state.path, subject, self.journal.problems_in(subject, phase))
        return edges

    def end_life(self, run_path: str) -> None:
        """Forget a run's life in staging; what is known to be wrong with its NAS copy stays open."""
        self.announce(self.journal.close_problems(run_path, self.now(), but=DAMAGE_PHASE))
        self.journal.forget_run(run_path)

    def end_damage(self, run_path: str, good: Container[bytes]) -> list[Announcement]:
        """Close what was wrong with a NAS copy where every damaged file is among those that were just read and good.

        Of very much damage only the first names are remembered: then a verify, which reads everything, closes it.
        """
        known = self.journal.problems_in(run_path, DAMAGE_PHASE)
        left = not_mended(known, good, MOST_FILES)
        return [] if len(left) == len(known) else self.set_problems(run_path, DAMAGE_PHASE, left)

    def problem(self, subject: str, code: str, message: str, hint: str = "", files: Sequence[bytes] = ()) -> Problem:
        """A problem that begins now."""
        return Problem(subject, code, message, self.now(), hint, tuple(files))

    def problem_of(self, subject: str, error: ExlabError) -> Problem:
        """What an error says, as a problem that begins now."""
        return self.problem(subject, error.code, error.message, error.hint, error.files)


def _log_edge(edge: Announcement) -> None:
    problem, closed = edge.problem, edge.kind == "closed"
    logs.note_event(
        f"problem_{edge.kind}",
        problem.message,
        level="INFO" if closed else "WARNING",
        subject=problem.subject,
        code=problem.code,
        hint=problem.hint or None,
    )


def no_nas(equipment_id: str) -> ConfigInvalid:
    """The error of an equipment whose runs have nowhere to go."""
    return ConfigInvalid(
        f"No NAS is configured for {equipment_id}.", hint="Add a [nas] table with root to the configuration."
    )


def life_of(record: Ingest | None) -> str:
    """Which life of a run a record is about: when that began; "" without a record."""
    return "" if record is None else record.history[0].at


def _is_ours(state: StateDirectory) -> bool:
    try:
        return state.is_ours
    except OSError:
        return True  # there is none yet, and nothing in it that others could hide


def host_name() -> str:
    """This computer's name, as records and log names carry it."""
    return socket.gethostname()


def this_owner(state_dir: str) -> Owner:
    """This computer and that state directory, as ``owner.json`` names them."""
    try:
        with open("/etc/machine-id", encoding="ascii") as file:
            machine = file.read().strip()
    except OSError:
        machine = ""
    return Owner(host_name(), machine or host_name(), os.path.realpath(state_dir))


def open_station(config: Config, *, changing: bool, clock: Clock = utc_now, host: str | None = None) -> Station:
    """Open the parts of the orchestrator; ``changing`` checks that this process may change runs.

    The station is a context manager that closes them.

    Raises:
        OrchestratorDisabled, StagingUnavailable, WrongUser, OwnerMismatch, KeyUnusable
    """
    orchestrator = config.orchestrator
    if changing:
        require_enabled(config)
        require_root(orchestrator.staging_root)
    state = open_state(orchestrator.state_dir, changing=changing)
    journal = open_journal(state.journal_path, changing=changing)
    try:
        if changing or journal.is_nowhere:
            damage_kept.recall(journal, state.path, changing=changing)
        _require_staging(orchestrator, journal, changing=changing)
    except BaseException:
        journal.close()
        raise
    station = Station(config, state, journal, host=host or host_name(), clock=clock)
    for notice in station.notices():
        logs.note_event("begun_anew", notice, level="WARNING")
    return station


def _require_staging(orchestrator: Orchestrator, journal: Journal, *, changing: bool) -> None:
    """Raise unless this is the staging root that was driven from here before, or a new one; remember it."""
    root = orchestrator.staging_root
    if journal.note("staging_root") == root:
        require_root(root)
        require_mounted(root)
    if changing:
        require_owner(root, this_owner(orchestrator.state_dir))
        if journal.note("staging_root") != root:
            journal.set_note("staging_root", root)


def require_enabled(config: Config) -> None:
    """Raise OrchestratorDisabled when ``orchestrator.enabled`` is false (lifecycle.md, 7)."""
    if not config.orchestrator.enabled:
        raise OrchestratorDisabled(
            "This orchestrator is switched off in its configuration (orchestrator.enabled = false); nothing was done.",
            hint="Set it to true to go on.",
        )


def require_marked_nas(config: Config) -> None:
    """Raise ConfigInvalid unless every equipment's NAS is configured with a marker id (lifecycle.md, 5)."""
    for equipment in config.equipment:
        nas: AnyNas | None = config.nas_for(equipment.id)
        if nas is None:
            raise no_nas(equipment.id)
        if not nas.marker_id:
            raise no_marker_id(nas)
