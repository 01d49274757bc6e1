"""One run in full: is it safe on the NAS, may it be deleted, and what is known of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from exlab_orch.answers import Answer, Answers, cleared_answers, no_answers, not_known, staged_answers
from exlab_orch.clock import from_epoch_ns, parse_utc
from exlab_orch.diagnosis import Finding
from exlab_orch.doubts import is_out_of_sight
from exlab_orch.errors import RunProblem
from exlab_orch.files.places import read_small
from exlab_orch.journal import JournalRun
from exlab_orch.ledger import LedgerLine
from exlab_orch.looks import LastLook, last_look, proved_moment, standing
from exlab_orch.model import (
    CHECKSUMS_NAME,
    CHECKSUMS_PATH,
    OUR_FOLDER,
    HistoryEntry,
    Ingest,
    IngestState,
    Problem,
    StagedRun,
)
from exlab_orch.onlookers import FOLDER_ABOVE, LEDGER, is_closed_to_us, looks_on
from exlab_orch.records import read_record, remembered
from exlab_orch.rows import (
    Known,
    Row,
    bare_row,
    cleared_row,
    faults_of_nas,
    known_now,
    nas_path_of,
    run_row,
    worst,
)
from exlab_orch.run_checks import run_checks, run_facts
from exlab_orch.station import Station

_LIMIT: Final = 512 << 20


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
    own = _with_files(station, run, known.problems.get(run.run_path, ()))
    of_nas = tuple(faults_of_nas(station, run, known))
    problems = own + of_nas
    if not os.path.isdir(run.folder):
        return _absent_detail(station, run, known, problems)
    row = run_row(station, run, known)
    record, unread = _record_of(station, run)
    if row.problem is not None and not unread and row.problem.code not in {one.code for one in problems}:
        problems = (row.problem, *problems)
    answers = staged_answers(station, run, record, problems, unread=unread)
    of_run = tuple(one for one in problems if one.subject == run.run_path)
    facts = run_facts(station, run, record, of_run, next(iter(of_nas), None), answers.safe, unread=unread)
    return RunDetail(
        row=replace(row, actions=_actions(row, answers.safe, accepted=facts.accepted is not None)),
        safe=answers.safe,
        may_delete=answers.may_delete,
        history=() if record is None else record.history,
        checksums_path=None if nas_path_of(record) is None else CHECKSUMS_PATH,
        checksums_count=_checksums_count(run),
        problems=problems,
        verified=standing(last_look(station, run.run_path), proved_moment(record)),
        checks=run_checks(facts),
        next_attempt_at=_next_attempt(known.runs.get(run.run_path), now),
    )


def _record_of(station: Station, run: StagedRun) -> tuple[Ingest | None, bool]:
    """The record, and whether it is there for others and not for this user."""
    try:
        return read_record(run), False
    except RunProblem as error:
        return None, is_closed_to_us(station, error)


def _actions(row: Row, safe: Answer, *, accepted: bool) -> tuple[str, ...]:
    """What looks into a doubt comes first; no clear that would be refused, and no second accept."""
    refused = [] if safe.yes else ["exlab-orch clear "]
    refused += ["exlab-orch accept "] if accepted else []
    first = (safe.command,) if safe.command else ()
    others = (action for action in row.actions if not action.startswith(tuple(refused)))
    return tuple(dict.fromkeys((*first, *others)))


def _with_files(station: Station, run: StagedRun, problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """The problems with the names they are about."""
    names = station.journal.problem_files(run.run_path)
    return tuple(replace(one, files=names.get(one.code, ())) for one in problems)


def _next_attempt(journal: JournalRun | None, now: datetime) -> datetime | None:
    if journal is None or journal.failed or not journal.attempts or journal.retry_at is None:
        return None
    return max(from_epoch_ns(int(journal.retry_at * 1e9)), now)


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
        no = _gone_or_hidden(station, run, problems)
        return RunDetail(row, no.safe, no.may_delete, () if record is None else record.history, None, 0, problems)
    answers = cleared_answers(station, line, problems)
    row = cleared_row(station, line, known)
    row = replace(row, actions=_actions(row, answers.safe, accepted=False))
    look = standing(last_look(station, run.run_path), parse_utc(line.cleared_at))
    history = _history_of(line)
    return RunDetail(row, answers.safe, answers.may_delete, history, CHECKSUMS_PATH, line.files_cleared, problems, look)


def _gone_or_hidden(station: Station, run: StagedRun, problems: Sequence[Problem]) -> Answers:
    """A run of which nothing is seen: who may not look where it would be does not say that it is gone."""
    if is_out_of_sight(run):
        if looks_on(station):
            return not_known(station, run.run_path, FOLDER_ABOVE)
        return no_answers(f"{FOLDER_ABOVE} cannot be looked at", "exlab-orch doctor")
    if station.ledger.is_hidden and looks_on(station) and not problems:
        return not_known(station, run.run_path, LEDGER)
    return no_answers("the run is gone from staging, and not by us")


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
