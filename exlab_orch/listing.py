"""What is in staging and what happens next: the rows of ``list``, the details of ``show``, and the API's summaries."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from exlab_orch.cleanup import facts_now
from exlab_orch.clock import from_epoch_ns, parse_utc, utc_now
from exlab_orch.config import Config
from exlab_orch.errors import ExlabError, NasPaused, RunProblem, SpecialFile, staging_errors
from exlab_orch.files.places import read_small
from exlab_orch.files.walk import walk
from exlab_orch.idle import is_unchanged
from exlab_orch.journal import JournalRun
from exlab_orch.ledger import LedgerLine
from exlab_orch.model import (
    CHECKSUMS_NAME,
    CHECKSUMS_PATH,
    OUR_FOLDER,
    HistoryEntry,
    Identity,
    Ingest,
    IngestState,
    Listing,
    Place,
    Problem,
    StagedRun,
)
from exlab_orch.orders import nas_subject
from exlab_orch.policy import EARLY, FLAGS, clear_words, early_because, kept_because, scheduled_clear_at
from exlab_orch.progress import Progress, live_progress
from exlab_orch.records import parse_record, read_record
from exlab_orch.sightings import stray_problem, stray_subject
from exlab_orch.staging import Stray, discover, trash_slots
from exlab_orch.station import Station
from exlab_orch.text import count, duration, pasted, printable
from exlab_orch.verification import LastLook, last_look

_LIMIT: Final = 512 << 20


# -- the API (lifecycle.md, 8) -------------------------------------------------------------------------------


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


def _counted_before(run: StagedRun, journal: JournalRun | None) -> tuple[int, int] | None:
    """The counts of the last walk, where the run's folders have not changed since; None where they must be counted."""
    if journal is None or not is_unchanged(run, journal):
        return None
    return journal.file_count, journal.byte_total


# -- the rows of list ----------------------------------------------------------------------------------------


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
    actions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Known:
    """What all rows draw on, read once."""

    now: datetime
    runs: Mapping[str, JournalRun]
    problems: Mapping[str, list[Problem]]
    progress: Mapping[str, Progress]


def list_rows(station: Station, *, now: datetime) -> tuple[Row, ...]:
    """Every run and stray in staging, runs in the trash, and runs that disappeared; by project, newest first.

    Raises:
        StagingUnavailable: the staging root cannot be read.
    """
    if not station.config.orchestrator.enabled:
        return ()
    known = _known(station, now)
    found = station.discover()
    rows = [_run_row(station, run, known) for run in found.runs]
    rows += [_trash_row(station, slot.run, known) for slot in trash_slots(station.staging_root) if slot.run is not None]
    shown = {row.run for row in rows}
    rows += [row for row in _disappeared_rows(station, known) if row.run not in shown]
    rows += _damaged_rows(station, known, {row.run for row in rows})
    rows += [_stray_row(station, stray, known) for stray in found.strays]
    return tuple(sorted(rows, key=_order))


def _order(row: Row) -> tuple[str, str, float, str]:
    active = 0.0 if row.last_activity_at is None else -row.last_activity_at.timestamp()
    return row.equipment_id, row.project_name, active, row.run


def _known(station: Station, now: datetime) -> _Known:
    problems: dict[str, list[Problem]] = {}
    for problem in station.journal.problems():
        problems.setdefault(problem.subject, []).append(problem)
    return _Known(now, station.journal.runs(), problems, live_progress(station.state.progress_folder))


def _bare_row(run: StagedRun) -> Row:
    return Row(run.run_path, run.folder, run.equipment_id, run.project, run.run_kind)


def _run_row(station: Station, run: StagedRun, known: _Known) -> Row:
    row = _bare_row(run)
    journal = known.runs.get(run.run_path)
    try:
        record = read_record(run)
        files, byte_total = _counted_before(run, journal) or counted(run)
        active = last_activity(run, record)
    except RunProblem as error:
        problem = Problem(run.run_path, error.code, error.message, known.now, error.hint)
        kept = _worst(known.problems.get(run.run_path, []))
        return replace(row, problem=kept or problem, actions=(f"exlab-orch show {pasted(run.run_path)}",))
    hold = station.hold(run)
    row = replace(
        row,
        current_state=None if record is None else record.current_state,
        file_count=files,
        byte_total=byte_total,
        last_activity_at=active,
        elapsed_seconds_since_last_activity=max(int((known.now - active).total_seconds()), 0),
        problem=_worst([*known.problems.get(run.run_path, []), *_nas_problems(station, run, record, known)]),
        held=hold is not None,
        hold_reason=None if hold is None else hold.reason,
        attempts=0 if journal is None else journal.attempts,
        progress=known.progress.get(run.run_path),
        nas_path=nas_path_of(record),
    )
    if row.progress is None:
        row = replace(row, waiting_for=_waits(station, run, record, journal, known.now))
    clear_after = None if record is None else scheduled_clear_at(record, station.cleanup)
    if clear_after is not None and (row.waiting_for or "").startswith(EARLY):
        clear_after = min(clear_after, known.now)
    return replace(row, clear_after=clear_after, actions=_actions(run, row, journal))


def nas_path_of(record: Ingest | None) -> str | None:
    """Where the run is on the NAS, as its record says, or None where it was never proved."""
    entry = None if record is None else record.last(IngestState.SYNC_VERIFIED)
    return None if entry is None else entry.text("nas_path")


def _nas_problems(station: Station, run: StagedRun, record: Ingest | None, known: _Known) -> list[Problem]:
    """What is wrong with the NAS as a whole, for a run that waits to be copied there."""
    waits = record is not None and record.current_state is IngestState.SYNC_QUEUED
    return _faults_of_nas(station, run, known) if waits else []


def _faults_of_nas(station: Station, run: StagedRun, known: _Known) -> list[Problem]:
    nas = station.config.nas_for(run.equipment_id)
    return [] if nas is None else known.problems.get(nas_subject(nas.name), [])


def _worst(problems: list[Problem]) -> Problem | None:
    return next((one for one in problems if one.code not in FLAGS), problems[0] if problems else None)


def _waits(
    station: Station, run: StagedRun, record: Ingest | None, journal: JournalRun | None, now: datetime
) -> str | None:
    """The reason a run does not go ahead: what the last pass said, or what decides whether it is cleared."""
    if record is None or journal is None:
        return "not looked at yet; the next pass does"
    if record.current_state is IngestState.SYNC_VERIFIED:
        asked = station.journal.order(run.run_path, "clear_later") is not None
        facts = facts_now(station, run, record, asked=asked)
        wait = kept_because(facts, station.cleanup, now)
        return clear_words(early_because(facts, station.cleanup, now)) if wait is None else wait.text
    if record.current_state is not IngestState.SYNC_QUEUED:
        return journal.waiting
    if journal.failed:
        return "it failed; exlab-orch sync tries again"
    if journal.retry_at is not None and journal.attempts and journal.retry_at > now.timestamp():
        return (
            f"tried {count(journal.attempts, 'time')}; next attempt in {duration(journal.retry_at - now.timestamp())}"
        )
    return journal.waiting or "the next pass copies it to the NAS"


def _actions(run: StagedRun, row: Row, journal: JournalRun | None) -> tuple[str, ...]:
    """Commands that apply now, ready to paste, the likeliest first."""
    name = pasted(run.run_path)
    found: list[str] = []
    if row.problem is not None and row.problem.code in ("nas_conflict", "nas_copy_damaged", "changed_since_verified"):
        found.append(f"exlab-orch sync --new-version {name}")
    elif row.current_state is IngestState.SYNC_QUEUED and journal is not None and journal.attempts + journal.failed:
        found.append(f"exlab-orch sync {name}")
    if row.current_state is IngestState.STAGING:
        found.append(f"exlab-orch accept --reason … {name}")
    if row.held:
        found.append(f"exlab-orch unhold {name}")
    elif row.current_state is IngestState.SYNC_VERIFIED:
        found += [f"exlab-orch clear {name}", f"exlab-orch hold --reason … {name}"]
    return (*found, f"exlab-orch show {name}")


def _trash_row(station: Station, run: StagedRun, known: _Known) -> Row:
    row = _run_row(station, run, known)
    return replace(row, waiting_for="lies in the trash; the next pass finishes or undoes the clear", clear_after=None)


def _disappeared_rows(station: Station, known: _Known) -> Iterator[Row]:
    for subject, problems in known.problems.items():
        gone = next((problem for problem in problems if problem.code == "run_disappeared"), None)
        if gone is not None:
            run = StagedRun(subject, Place(station.staging_root, subject))
            record = _remembered(known.runs.get(subject))
            accept = f"exlab-orch accept --reason … {pasted(run.run_path)}"
            yield replace(
                _bare_row(run),
                current_state=None if record is None else record.current_state,
                problem=gone,
                nas_path=nas_path_of(record),
                actions=(accept,),
            )


def _damaged_rows(station: Station, known: _Known, shown: Collection[str]) -> list[Row]:
    """Cleared runs with an open problem: their copy on the NAS, the only one, is damaged."""
    subjects = known.problems.keys() - shown
    lines = {line.run_path: line for line in station.ledger.lines() if line.run_path in subjects}
    return [_cleared_row(station, line, known) for line in lines.values()]


def _cleared_row(station: Station, line: LedgerLine, known: _Known) -> Row:
    return replace(
        _bare_row(StagedRun(line.run_path, Place(station.staging_root, line.run_path))),
        current_state=IngestState.CLEARED,
        nas_path=line.nas_path,
        last_activity_at=parse_utc(line.cleared_at),
        problem=_worst(known.problems.get(line.run_path, [])),
        progress=known.progress.get(line.run_path),
        actions=tuple(f"exlab-orch {verb} {pasted(line.run_path)}" for verb in ("verify", "show")),
    )


def _remembered(journal: JournalRun | None) -> Ingest | None:
    return None if journal is None or journal.record is None else parse_record(journal.record.encode())


def _stray_row(station: Station, stray: Stray, known: _Known) -> Row:
    now, told = known.now, _worst(known.problems.get(stray_subject(stray), []))
    files, byte_total, active = _stray_size(station.staging_root, stray.path)
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
    )


def _stray_size(root: str, path: str) -> tuple[int, int, datetime | None]:
    """Files, bytes and newest change of what is not a run; zeros where it cannot be looked at."""
    try:
        status = os.stat(f"{root}/{path}", follow_symlinks=False)
        listing = walk(Place(root, path)) if os.path.isdir(f"{root}/{path}") else None
    except OSError:
        return 0, 0, None
    if listing is None:
        return 1, status.st_size, from_epoch_ns(status.st_mtime_ns)
    newest = max([status.st_mtime_ns, *(identity.mtime_ns for identity in listing.files.values())])
    return len(listing.files), listing.byte_total, from_epoch_ns(newest)


def list_cleared(station: Station) -> tuple[LedgerLine, ...]:
    """The runs that were cleared, newest first."""
    return tuple(reversed(station.ledger.lines()))


# -- one run in full -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """Yes or no, and why."""

    yes: bool
    why: str


@dataclass(frozen=True, slots=True)
class RunDetail:
    """What ``show`` tells about one run."""

    row: Row
    safe: Answer
    """Is it safe on the NAS?"""
    may_delete: Answer
    """May it be deleted from the instrument?"""
    history: tuple[HistoryEntry, ...]
    checksums_path: str | None
    checksums_count: int
    problems: tuple[Problem, ...]
    verified: LastLook | None = None
    """When the NAS copy was last read again because somebody asked."""


def run_detail(station: Station, run: StagedRun, *, now: datetime) -> RunDetail:
    """Everything about one run, staged, in the trash, cleared or disappeared; reads nothing from the NAS."""
    known = _known(station, now)
    problems = tuple(known.problems.get(run.run_path, ()))
    if not os.path.isdir(run.folder):
        return _absent_detail(station, run, known, problems)
    row = _run_row(station, run, known)
    try:
        record = read_record(run)
    except RunProblem:
        record = None
    problems += tuple(one for one in _faults_of_nas(station, run, known) if one not in problems)
    if row.problem is not None and row.problem not in problems:
        problems = (row.problem, *problems)
    safe = _safe(station, run, record, problems)
    return RunDetail(
        row=row,
        safe=safe,
        may_delete=Answer(safe.yes, _may_delete_why(safe)),
        history=() if record is None else record.history,
        checksums_path=None if nas_path_of(record) is None else CHECKSUMS_PATH,
        checksums_count=_checksums_count(run),
        problems=problems,
        verified=last_look(station, run.run_path),
    )


def _may_delete_why(safe: Answer) -> str:
    if safe.yes:
        return "the NAS holds a proved copy of everything that was pushed"
    return f"not while {safe.why[:1].lower()}{safe.why[1:]}" if safe.why else "not yet"


def _safe(station: Station, run: StagedRun, record: Ingest | None, problems: tuple[Problem, ...]) -> Answer:
    """Yes only with a seal, the last proof good, staging unchanged since, and no open problem (lifecycle.md, 7)."""
    if record is None or record.current_state not in (IngestState.SYNC_VERIFIED, IngestState.CLEARED):
        return Answer(False, "it is not proved on the NAS yet")
    if station.state.key is None:
        return Answer(False, "the seal of its record cannot be checked by this user")
    if not station.records.seal_holds(run, record):
        return Answer(False, "its record was not written by this orchestrator")
    blocking = next((one for one in problems if one.code not in FLAGS and one.code != NasPaused.code), None)
    if blocking is not None:
        return Answer(False, f"a problem is open: {blocking.code}")
    changed = _changed_since(station, run)
    if changed is not None:
        return Answer(False, f"staging changed since it was proved: {changed}")
    entry = record.last(IngestState.SYNC_VERIFIED)
    return Answer(True, f"every byte was read back from the NAS and matched ({'' if entry is None else entry.at})")


def _changed_since(station: Station, run: StagedRun) -> str | None:
    """The first staged file that is not, or may not be, what was proved; None where all are."""
    try:
        with staging_errors("walking the run folder"):
            listing = walk(run.place, own=station.records.own_names(run.run_path))
        if listing.special:
            raise SpecialFile("links or other special entries", files=sorted(listing.special))
    except ExlabError as error:
        return error.message
    return _first_stranger(listing, {name: row.identity for name, row in station.journal.files(run.run_path).items()})


def _first_stranger(listing: Listing, proved: Mapping[bytes, Identity]) -> str | None:
    return next((printable(name) for name in sorted(listing.files) if proved.get(name) != listing.files[name]), None)


def _checksums_count(run: StagedRun) -> int:
    try:
        found = read_small(run.place.below(OUR_FOLDER), CHECKSUMS_NAME, _LIMIT)
    except OSError:
        return 0
    return 0 if found is None else found[0].count(b"\n")


def _absent_detail(station: Station, run: StagedRun, known: _Known, problems: tuple[Problem, ...]) -> RunDetail:
    """A run that is not in staging: it was cleared, or it disappeared."""
    line = station.ledger.last(run.run_path)
    record = _remembered(known.runs.get(run.run_path))
    row = replace(_bare_row(run), problem=_worst(list(problems)))
    if record is not None or line is None:
        row = replace(row, current_state=None if record is None else record.current_state, nas_path=nas_path_of(record))
        no = Answer(False, "the run is gone from staging, and not by us")
        return RunDetail(row, no, no, () if record is None else record.history, None, 0, problems)
    safe = _cleared_safe(station, line, problems)
    may_delete = Answer(safe.yes, _may_delete_why(safe))
    row, look = _cleared_row(station, line, known), last_look(station, run.run_path)
    return RunDetail(row, safe, may_delete, (), CHECKSUMS_PATH, line.files_cleared, problems, look)


def _cleared_safe(station: Station, line: LedgerLine, problems: tuple[Problem, ...]) -> Answer:
    if station.state.key is None:
        return Answer(False, "the records here cannot be checked by this user")
    blocking = next((one for one in problems if one.code not in FLAGS), None)
    if blocking is not None:
        return Answer(False, f"a problem is open: {blocking.code}")
    return Answer(
        True, f"it was proved, and its staged copy was deleted at {line.cleared_at}; the NAS holds the only copy"
    )
