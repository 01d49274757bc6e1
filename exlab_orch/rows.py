"""What is in staging and what happens next: the rows of ``list``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from exlab_orch.cleanup import known_clock_wait
from exlab_orch.clock import parse_utc
from exlab_orch.doubts import cleared_proof
from exlab_orch.errors import NasConflict, RunProblem, WrongUser
from exlab_orch.hints import SAME_COMMAND
from exlab_orch.holds import Hold, may_be_held
from exlab_orch.idle import is_unchanged
from exlab_orch.journal import JournalRun
from exlab_orch.ledger import LedgerLine
from exlab_orch.listing import counted, last_activity
from exlab_orch.making_room import why_low
from exlab_orch.model import (
    HistoryEntry,
    Ingest,
    IngestState,
    Place,
    Problem,
    StagedRun,
    Wait,
)
from exlab_orch.onlookers import LEDGER, closed_to_us, is_closed_to_us, looks_on
from exlab_orch.orders import nas_subject
from exlab_orch.policy import (
    EARLY,
    FLAGS,
    UNSAFE,
    ClearFacts,
    blocking_code,
    clear_words,
    early_because,
    kept_because,
    scheduled_clear_at,
)
from exlab_orch.progress import Progress, live_progress
from exlab_orch.records import kept_record, read_record, remembered
from exlab_orch.sightings import stray_problem, stray_size
from exlab_orch.staging import Stray, trash_slots
from exlab_orch.state import as_owner
from exlab_orch.station import Station
from exlab_orch.text import count, duration, pasted
from exlab_orch.whereabouts import moved_runs


@dataclass(frozen=True, slots=True)
class Row:
    """One line of ``list``; the fields are the keys of ``list --json`` (cli.md)."""

    run: str
    path: str
    equipment_id: str
    project_name: str
    run_kind: str
    current_state: IngestState | None = None
    """None for what is not a run, and for a run without a readable record."""
    file_count: int = 0
    byte_total: int = 0
    last_activity_at: datetime | None = None
    elapsed_seconds_since_last_activity: int | None = None
    waiting_for: str | None = None
    problem: Problem | None = None
    held: bool = False
    hold_reason: str | None = None
    attempts: int = 0
    progress: Progress | None = None
    clear_after: datetime | None = None
    nas_path: str | None = None
    on_another_nas: bool = False
    """Proved, but not on the NAS that is configured for it now: what it waits for says why."""
    actions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """What all rows draw on, read once."""

    now: datetime
    runs: Mapping[str, JournalRun]
    problems: Mapping[str, list[Problem]]
    progress: Mapping[str, Progress]
    may_be_held: Callable[[str], bool]
    asked_to_clear: Collection[str]
    moved: Callable[[StagedRun, HistoryEntry | None], str | None]
    """Why the NAS that is configured for a proved run is not the one with its copy."""
    clock_wait_seconds: float
    low: str | None
    """Why room is to be made on the staging disk, or None."""


def list_rows(station: Station, *, now: datetime) -> tuple[Row, ...]:
    """Every run and stray in staging, runs in the trash, and runs that disappeared; by project, newest first.

    Raises:
        StagingUnavailable: the staging root cannot be read.
    """
    if not station.config.orchestrator.enabled:
        return ()
    known = known_now(station, now)
    found = station.discover()
    rows = [run_row(station, run, known) for run in found.runs]
    rows += [_trash_row(station, slot.run, known) for slot in trash_slots(station.staging_root) if slot.run is not None]
    shown = {row.run for row in rows}
    rows += [row for row in _disappeared_rows(station, known) if row.run not in shown]
    rows += _damaged_rows(station, known, {row.run for row in rows})
    rows += [_stray_row(station, stray, known) for stray in found.strays]
    return tuple(sorted(rows, key=_order))


def _order(row: Row) -> tuple[str, str, float, str]:
    active = 0.0 if row.last_activity_at is None else -row.last_activity_at.timestamp()
    return row.equipment_id, row.project_name, active, row.run


def known_now(station: Station, now: datetime) -> Known:
    """What all rows draw on, read from the journal, the progress files and the folder of holds."""
    problems: dict[str, list[Problem]] = {}
    for problem in station.journal.problems():
        problems.setdefault(problem.subject, []).append(problem)
    return Known(
        now=now,
        runs=station.journal.runs(),
        problems=problems,
        progress=live_progress(station.state.progress_folder),
        may_be_held=may_be_held(station.staging_root),
        asked_to_clear=station.journal.orders("clear_later").keys(),
        moved=moved_runs(station),
        clock_wait_seconds=known_clock_wait(station),
        low=why_low(station),
    )


def bare_row(run: StagedRun) -> Row:
    """A row that tells where the run is and nothing else."""
    return Row(run.run_path, run.folder, run.equipment_id, run.project, run.run_kind)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a look at the run's folder tells."""

    record: Ingest | None
    file_count: int
    byte_total: int
    active: datetime


def _look_at(run: StagedRun, journal: JournalRun | None, *, troubled: bool) -> _Seen:
    """What is in the folder now. Where nothing changed since the last pass, the journal knows it, and nothing is read.

    Raises:
        RunProblem: something in it cannot be read or understood.
    """
    before = journal if journal is not None and is_unchanged(run, journal) else None
    record = None if before is None or troubled else kept_record(before)
    if record is None:  # and the record of a run with a problem may be what cannot be read
        record = read_record(run)
    files, byte_total = counted(run) if before is None else (before.file_count, before.byte_total)
    return _Seen(record, files, byte_total, last_activity(run, record))


def run_row(station: Station, run: StagedRun, known: Known) -> Row:
    """The row of a run whose folder is there."""
    journal, told = known.runs.get(run.run_path), known.problems.get(run.run_path, [])
    try:
        seen = _look_at(run, journal, troubled=bool(told))
    except RunProblem as error:
        problem = worst(told) or _unread(station, run, error, known)
        return replace(bare_row(run), problem=problem, actions=(f"exlab-orch show {pasted(run.run_path)}",))
    record = seen.record
    state = None if record is None else record.current_state
    hold = station.hold(run) if known.may_be_held(run.run_path) else None
    problem_now = worst([*told, *_nas_problems(station, run, record, known)])
    progress = known.progress.get(run.run_path)
    nas_path = nas_path_of(record)
    moved = None
    if record is not None and state is IngestState.SYNC_VERIFIED:
        moved = known.moved(run, record.history[-1])
    wait = None if progress is not None else _waits(station, run, record, hold, known, moved)
    return Row(
        run.run_path,
        run.folder,
        run.equipment_id,
        run.project,
        run.run_kind,
        state,
        seen.file_count,
        seen.byte_total,
        seen.active,
        max(int((known.now - seen.active).total_seconds()), 0),
        waiting_for=None if wait is None else wait.text,
        problem=problem_now,
        held=hold is not None,
        hold_reason=None if hold is None else hold.reason,
        attempts=0 if journal is None else journal.attempts,
        progress=progress,
        clear_after=_clear_after(station, record, wait, known),
        nas_path=nas_path,
        on_another_nas=moved is not None,
        actions=_actions(run, state, problem_now, journal, is_held=hold is not None, is_moved=moved is not None),
    )


def _unread(station: Station, run: StagedRun, error: RunProblem, known: Known) -> Problem:
    """That the run cannot be understood; who only looks on may just lack the right to read it."""
    hint = error.hint
    if is_closed_to_us(station, error):
        hint = f"This user may not read it. Ask as the one who may: {as_owner(station.state.path, 'exlab-orch list')}"
    return Problem(run.run_path, error.code, error.message, known.now, hint)


def _clear_after(station: Station, record: Ingest | None, wait: Wait | None, known: Known) -> datetime | None:
    """From when on the staged copy may be deleted by itself, or None where only a person does that."""
    moment = None if wait is None else wait.until
    if moment is None and record is not None:
        moment = scheduled_clear_at(record, station.cleanup)
    is_early = wait is not None and wait.text.startswith(EARLY)
    return min(moment, known.now) if moment is not None and is_early else moment


def nas_path_of(record: Ingest | None) -> str | None:
    """Where the run is on the NAS, as its record says, or None where it was never proved."""
    entry = None if record is None else record.last(IngestState.SYNC_VERIFIED)
    return None if entry is None else entry.text("nas_path")


def _nas_problems(station: Station, run: StagedRun, record: Ingest | None, known: Known) -> list[Problem]:
    """What is wrong with the NAS as a whole, for a run that waits to be copied there."""
    waits = record is not None and record.current_state is IngestState.SYNC_QUEUED
    return faults_of_nas(station, run, known) if waits else []


def faults_of_nas(station: Station, run: StagedRun, known: Known) -> list[Problem]:
    """What is wrong with the NAS that the run goes to, as a whole."""
    nas = station.config.nas_for(run.equipment_id)
    return [] if nas is None else known.problems.get(nas_subject(nas.name), [])


def worst(problems: list[Problem]) -> Problem | None:
    """The first problem that stops something, or else the first that tells something.

    Before damage on the NAS comes the conflict that a run meets there which was pushed again: it has the way out.
    """
    stopping = [one for one in problems if one.code not in FLAGS]
    conflict = (one for one in stopping if one.code == NasConflict.code)
    return next(conflict, next(iter(stopping or problems), None))


def _waits(
    station: Station, run: StagedRun, record: Ingest | None, hold: Hold | None, known: Known, moved: str | None
) -> Wait:
    """Why a run does not go ahead: what the last pass said, or what decides whether, and until when, it is cleared."""
    journal, now = known.runs.get(run.run_path), known.now
    if journal is None and closed_to_us(station) == "the journal":
        return Wait("this user may not read the journal, which tells what it waits for")
    if record is None or journal is None:
        return Wait("not looked at yet; the next pass does")
    if moved is not None:
        return Wait(moved)
    if record.current_state is IngestState.SYNC_VERIFIED:
        facts = _clear_facts(run, record, hold, known)
        wait = kept_because(facts, station.cleanup, now)
        return wait or Wait(clear_words(early_because(facts, station.cleanup, now)))
    if record.current_state is not IngestState.SYNC_QUEUED:
        return Wait(journal.waiting or "the next pass takes it further")
    if journal.failed:
        return Wait("it failed; exlab-orch sync tries again")
    if journal.retry_at is not None and journal.attempts and journal.retry_at > now.timestamp():
        left = duration(journal.retry_at - now.timestamp())
        return Wait(f"tried {count(journal.attempts, 'time')}; next attempt in {left}")
    if journal.waiting is None and any(one.phase == "copy" for one in known.progress.values()):
        return Wait("another run is copied first; then this one is copied to the NAS")
    return Wait(journal.waiting or "the next pass copies it to the NAS")


def _clear_facts(run: StagedRun, record: Ingest, hold: Hold | None, known: Known) -> ClearFacts:
    """``cleanup.clear_facts`` from what was read once for all rows."""
    return ClearFacts(
        record,
        hold_reason=None if hold is None else hold.reason,
        blocking=blocking_code(problem.code for problem in known.problems.get(run.run_path, ())),
        asked=run.run_path in known.asked_to_clear,
        clock_wait_seconds=known.clock_wait_seconds,
        low=known.low,
    )


def _actions(
    run: StagedRun,
    state: IngestState | None,
    problem: Problem | None,
    journal: JournalRun | None,
    *,
    is_held: bool,
    is_moved: bool,
) -> tuple[str, ...]:
    """Commands that apply now, ready to paste, the likeliest first."""
    name = pasted(run.run_path)
    found: list[str] = []
    if problem is not None and problem.code in ("nas_conflict", "nas_copy_damaged", "changed_since_verified"):
        found.append(f"exlab-orch sync --new-version {name}")
    elif state is IngestState.SYNC_QUEUED and journal is not None and journal.attempts + journal.failed:
        found.append(f"exlab-orch sync {name}")
    elif problem is not None and state is IngestState.SYNC_VERIFIED and problem.code.startswith("nas_copy_"):
        found.append(f"exlab-orch verify {name}")
    if state is IngestState.STAGING:
        found.append(f"exlab-orch accept --reason … {name}")
    is_unsafe = problem is not None and problem.code in UNSAFE
    if is_held:
        found.append(f"exlab-orch unhold {name}")
    elif state is IngestState.SYNC_VERIFIED:
        verb = "verify" if is_moved else "clear"
        found += [] if is_unsafe else [f"exlab-orch {verb} {name}"]
        found.append(f"exlab-orch hold --reason … {name}")
    return (*found, f"exlab-orch show {name}")


def _trash_row(station: Station, run: StagedRun, known: Known) -> Row:
    row = run_row(station, run, known)
    return replace(row, waiting_for="lies in the trash; the next pass finishes or undoes the clear", clear_after=None)


def _disappeared_rows(station: Station, known: Known) -> Iterator[Row]:
    for subject, problems in known.problems.items():
        gone = next((problem for problem in problems if problem.code == "run_disappeared"), None)
        if gone is not None:
            run = StagedRun(subject, Place(station.staging_root, subject))
            record = remembered(known.runs.get(subject))
            accept = f"exlab-orch accept --reason … {pasted(run.run_path)}"
            yield replace(
                bare_row(run),
                current_state=None if record is None else record.current_state,
                problem=gone,
                nas_path=nas_path_of(record),
                actions=(accept,),
            )


def _damaged_rows(station: Station, known: Known, shown: Collection[str]) -> list[Row]:
    """Cleared runs with an open problem: their copy on the NAS, the only one, is damaged."""
    subjects = known.problems.keys() - shown
    lines = {line.run_path: line for line in station.ledger.lines() if line.run_path in subjects}
    return [cleared_row(station, line, known) for line in lines.values()]


def cleared_row(station: Station, line: LedgerLine, known: Known) -> Row:
    """The row of a run whose staged copy is deleted."""
    at = parse_utc(line.cleared_at)
    return replace(
        bare_row(StagedRun(line.run_path, Place(station.staging_root, line.run_path))),
        current_state=IngestState.CLEARED,
        file_count=line.files_cleared,
        byte_total=line.bytes_freed,
        nas_path=cleared_proof(station, line).place.path,
        last_activity_at=at,
        elapsed_seconds_since_last_activity=None if at is None else max(int((known.now - at).total_seconds()), 0),
        problem=worst(known.problems.get(line.run_path, [])),
        progress=known.progress.get(line.run_path),
        actions=tuple(f"exlab-orch {verb} {pasted(line.run_path)}" for verb in ("verify", "show")),
    )


def _stray_row(station: Station, stray: Stray, known: Known) -> Row:
    now, told = known.now, worst(known.problems.get(stray.path, []))
    files, byte_total, active = stray_size(station.staging_root, stray.path)
    parts = stray.path.split("/")
    return Row(
        run=stray.path,
        path=f"{station.staging_root}/{stray.path}",
        equipment_id=parts[0],
        project_name=parts[1] if len(parts) > 2 else "",
        run_kind="",
        file_count=files,
        byte_total=byte_total,
        last_activity_at=active,
        elapsed_seconds_since_last_activity=None if active is None else max(int((now - active).total_seconds()), 0),
        waiting_for=(told or stray_problem(station, stray)).hint,
        problem=told or replace(stray_problem(station, stray), since=active or now),
        actions=_stray_actions(stray),
    )


def _stray_actions(stray: Stray) -> tuple[str, ...]:
    if stray.code != "unknown_equipment":
        return ()  # its hint says how to make it a run: which of the ways is a person's choice
    return (f"exlab-orch equipment add {pasted(stray.path.split('/')[0])}",)


def list_cleared(station: Station) -> tuple[LedgerLine, ...]:
    """The runs that were cleared, newest first.

    Raises:
        WrongUser: this user may not read which they are.
    """
    if station.ledger.is_hidden and looks_on(station):
        raise WrongUser(
            f"This user may not read {LEDGER}, which tells the runs that are on the NAS only.",
            hint=f"Ask as its owner: {as_owner(station.state.path, SAME_COMMAND)}",
        )
    return tuple(_as_proved_last(station, line) for line in reversed(station.ledger.lines()))


def _as_proved_last(station: Station, line: LedgerLine) -> LedgerLine:
    """The line with the place of a newer proof, of a life that went away from staging without us."""
    proof = cleared_proof(station, line)
    return replace(
        line, nas_path=proof.place.path, nas_marker=proof.place.marker, checksum_sha256=proof.checksum_sha256
    )
