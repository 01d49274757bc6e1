"""One run in full: is it safe on the NAS, may it be deleted, and what is known of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from exlab_orch.clock import from_epoch_ns, parse_utc
from exlab_orch.diagnosis import Finding
from exlab_orch.errors import ExlabError, NasPaused, RunProblem, SpecialFile, staging_errors
from exlab_orch.files.places import read_small
from exlab_orch.files.walk import walk
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
from exlab_orch.policy import FLAGS
from exlab_orch.records import read_record
from exlab_orch.rows import (
    Known,
    Row,
    bare_row,
    cleared_row,
    faults_of_nas,
    known_now,
    nas_path_of,
    remembered,
    run_row,
    worst,
)
from exlab_orch.run_checks import run_checks, run_facts
from exlab_orch.state import owner_name
from exlab_orch.station import Station
from exlab_orch.text import pasted, printable
from exlab_orch.verification import LastLook, last_look, proved_moment, standing

_LIMIT: Final = 512 << 20


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
    checks: tuple[Finding, ...] = ()
    """What it waits for, check by check; empty where the run is not in staging."""
    next_attempt_at: datetime | None = None
    """When a copy that failed is tried again."""


def run_detail(station: Station, run: StagedRun, *, now: datetime) -> RunDetail:
    """Everything about one run, staged, in the trash, cleared or disappeared; reads nothing from the NAS."""
    known = known_now(station, now)
    problems = _with_files(station, run, known.problems.get(run.run_path, ()))
    if not os.path.isdir(run.folder):
        return _absent_detail(station, run, known, problems)
    row = run_row(station, run, known)
    try:
        record = read_record(run)
    except RunProblem:
        record = None
    problems += tuple(one for one in faults_of_nas(station, run, known) if one not in problems)
    if row.problem is not None and row.problem.code not in {one.code for one in problems}:
        problems = (row.problem, *problems)
    safe = _safe(station, run, record, problems)
    nas_problem = next(iter(faults_of_nas(station, run, known)), None)
    own = tuple(one for one in problems if one.subject == run.run_path)
    return RunDetail(
        row=row,
        safe=safe,
        may_delete=Answer(safe.yes, _may_delete_why(safe)),
        history=() if record is None else record.history,
        checksums_path=None if nas_path_of(record) is None else CHECKSUMS_PATH,
        checksums_count=_checksums_count(run),
        problems=problems,
        verified=standing(last_look(station, run.run_path), proved_moment(record)),
        checks=run_checks(run_facts(station, run, record, own, nas_problem)),
        next_attempt_at=_next_attempt(known.runs.get(run.run_path), now),
    )


def _with_files(station: Station, run: StagedRun, problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """The problems with the names they are about."""
    names = station.journal.problem_files(run.run_path)
    return tuple(replace(one, files=names.get(one.code, ())) for one in problems)


def _next_attempt(journal: JournalRun | None, now: datetime) -> datetime | None:
    if journal is None or journal.failed or not journal.attempts or journal.retry_at is None:
        return None
    return max(from_epoch_ns(int(journal.retry_at * 1e9)), now)


def _may_delete_why(safe: Answer) -> str:
    if safe.yes:
        return "the NAS holds a proved copy of everything that was pushed"
    return f"not while {safe.why[:1].lower()}{safe.why[1:]}" if safe.why else "not yet"


def _safe(station: Station, run: StagedRun, record: Ingest | None, problems: tuple[Problem, ...]) -> Answer:
    """Yes only with a seal, the last proof good, staging unchanged since, and no open problem (lifecycle.md, 7)."""
    if record is None or record.current_state not in (IngestState.SYNC_VERIFIED, IngestState.CLEARED):
        return Answer(False, "it is not proved on the NAS yet")
    if station.state.key is None:
        return Answer(False, _not_told(station, run.run_path))
    if not station.records.seal_holds(run, record):
        return Answer(False, "its record was not written by this orchestrator")
    blocking = next((one for one in problems if one.code not in FLAGS and one.code != NasPaused.code), None)
    if blocking is not None:
        return Answer(False, f"a problem is open: {blocking.code}")
    changed = _changed_since(station, run)
    if changed is not None:
        return Answer(False, f"staging changed since it was proved: {changed}")
    moved = _moved(station, run, nas_path_of(record))
    if moved is not None:
        return moved
    entry = record.last(IngestState.SYNC_VERIFIED)
    return Answer(True, f"every byte was read back from the NAS and matched ({'' if entry is None else entry.at})")


def _not_told(station: Station, run_path: str) -> str:
    return (
        "it cannot be told to this user, who may not read the seal key; ask: "
        f"sudo -u {owner_name(station.state.path)} exlab-orch show {pasted(run_path)}"
    )


def _moved(station: Station, run: StagedRun, proved_at: str | None) -> Answer | None:
    """No, where the configured NAS is another place than the one the run was proved at, and nobody has looked since."""
    if station.config.nas_for(run.equipment_id) is None or not proved_at:
        return None
    now_at, look = station.nas_of(run).where(run.run_path), last_look(station, run.run_path)
    if now_at == proved_at or (look is not None and look.ok):
        return None
    places = f"it was proved at {printable(proved_at, 1000)}, and the configured place is {printable(now_at, 1000)}"
    return Answer(False, f"{places}; find out: exlab-orch verify {pasted(run.run_path)}")


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


def _absent_detail(station: Station, run: StagedRun, known: Known, problems: tuple[Problem, ...]) -> RunDetail:
    """A run that is not in staging: it was cleared, or it disappeared."""
    line = station.ledger.last(run.run_path)
    record = remembered(known.runs.get(run.run_path))
    row = replace(bare_row(run), problem=worst(list(problems)))
    if record is not None or line is None:
        row = replace(row, current_state=None if record is None else record.current_state, nas_path=nas_path_of(record))
        no = Answer(False, "the run is gone from staging, and not by us")
        return RunDetail(row, no, no, () if record is None else record.history, None, 0, problems)
    safe = _cleared_safe(station, line, problems)
    may_delete = Answer(safe.yes, _may_delete_why(safe))
    row = cleared_row(station, line, known)
    look = standing(last_look(station, run.run_path), parse_utc(line.cleared_at))
    history = _history_of(line)
    return RunDetail(row, safe, may_delete, history, CHECKSUMS_PATH, line.files_cleared, problems, look)


def _history_of(line: LedgerLine) -> tuple[HistoryEntry, ...]:
    """When a run that is on the NAS only reached each state, as the ledger has it; its record there says more."""
    known = {state.value for state in IngestState} - {IngestState.CLEARED.value}
    earlier = [HistoryEntry(state=IngestState(one.state), at=one.at) for one in line.history if one.state in known]
    extras = {"files_cleared": line.files_cleared, "bytes_freed": line.bytes_freed, "by": line.by}
    last = {"state": IngestState.CLEARED, "at": line.cleared_at, "host": line.host}
    return (
        *earlier,
        HistoryEntry.model_validate(last | {key: value for key, value in extras.items() if value is not None}),
    )


def _cleared_safe(station: Station, line: LedgerLine, problems: tuple[Problem, ...]) -> Answer:
    if station.state.key is None:
        return Answer(False, _not_told(station, line.run_path))
    blocking = next((one for one in problems if one.code not in FLAGS), None)
    if blocking is not None:
        return Answer(False, f"a problem is open: {blocking.code}")
    moved = _moved(station, StagedRun(line.run_path, Place(station.staging_root, line.run_path)), line.nas_path)
    if moved is not None:
        return moved
    return Answer(
        True, f"it was proved, and its staged copy was deleted at {line.cleared_at}; the NAS holds the only copy"
    )
