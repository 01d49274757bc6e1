"""What a run waits for, check by check: each thing that must hold on its way, and whether it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from exlab_orch.answers import Answer
from exlab_orch.cleanup import facts_now
from exlab_orch.clock import local_words, parse_utc
from exlab_orch.config import Equipment
from exlab_orch.diagnosis import Finding, Result
from exlab_orch.errors import ExlabError, NasPaused, RunProblem
from exlab_orch.evaluate import completeness_facts, walk_run
from exlab_orch.files.walk import Writers
from exlab_orch.holds import Hold
from exlab_orch.journal import JournalRun
from exlab_orch.model import Ingest, IngestState, Listing, Problem, StagedRun, Wait
from exlab_orch.onlookers import closed_to_us, writer_words, writers_of
from exlab_orch.orders import pause_of
from exlab_orch.policy import (
    FLAGS,
    UNSAFE,
    CompletenessFacts,
    accepted_by,
    clear_words,
    early_because,
    kept_because,
    settle_wait,
    signal_wait,
)
from exlab_orch.station import Station
from exlab_orch.text import ago, count, duration, pasted, printable

BEFORE_THE_COPY: Final = (IngestState.STAGING, IngestState.COMPLETE, IngestState.SYNC_QUEUED)
_NAMES: Final = frozenset({"name_unsupported", "special_file"})
_BY_THE_RECORD: Final = frozenset({"signal", "settle", "names", "open_files", "proof", "retention"})
"""Checks that nobody can make who may not read the record."""
_BY_THE_JOURNAL: Final = frozenset({"nas", "attempts", "proof", "retention"})
_AFTER_THE_COPY: Final = "it comes after the copy"


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the checks of one run look at; gathered without reading from the NAS."""

    now: datetime
    equipment: Equipment | None
    record: Ingest | None
    problems: tuple[Problem, ...]
    """Open problems of the run."""
    nas_problem: Problem | None
    nas_paused: NasPaused | None
    """The pause that stands on the NAS, or None."""
    nas_seen_at: datetime | None
    """When the NAS was last seen to be well."""
    completeness: CompletenessFacts | None
    """None where the staged files cannot be looked at, or need not be."""
    writers: Writers | None
    """Who writes to the staged files now; None where that cannot be looked at, or need not be."""
    busy: bool | None
    """Whether a process changes the run now; None where that cannot be told."""
    journal: JournalRun | None
    hold: Hold | None
    kept: Wait | None
    """Why the staged copy is kept, of a proved run."""
    clears: str
    """What becomes of a proved run that nothing keeps."""
    accepted: str | None = None
    """Who accepted the run as it is, and why; None where nobody did."""
    doubt: Answer | None = None
    """Why a proved run is not called safe; None where it is."""
    closed: frozenset[str] = frozenset()
    """Checks whose evidence this user may not read."""


def run_facts(
    station: Station,
    run: StagedRun,
    record: Ingest | None,
    problems: tuple[Problem, ...],
    nas_problem: Problem | None,
    safe: Answer,
    *,
    unread: bool,
) -> RunFacts:
    """Gather what the checks look at; writes nothing and asks no NAS."""
    now, journal = station.now(), station.journal.run(run.run_path)
    nas = station.config.nas_for(run.equipment_id)
    kept, clears = _kept(station, run, record, now)
    completeness = _completeness(station, run, record)
    return RunFacts(
        now=now,
        equipment=station.config.equipment_for(run.equipment_id),
        record=record,
        problems=problems,
        nas_problem=nas_problem,
        nas_paused=None if nas is None else pause_of(station, nas.name),
        nas_seen_at=None if nas is None else parse_utc(station.journal.note(f"well {nas.name}") or ""),
        completeness=completeness,
        writers=None if completeness is None else _writers(station, run, completeness.listing),
        busy=station.state.is_busy(run.run_path),
        journal=journal,
        hold=station.hold(run),
        kept=kept,
        clears=clears,
        accepted=_accepted(station, run, record),
        doubt=None if safe.yes else safe,
        closed=_closed(station, unread=unread) if not safe.known else frozenset(),
    )


def _closed(station: Station, *, unread: bool) -> frozenset[str]:
    """The checks that cannot be told where the answers cannot."""
    found = _BY_THE_RECORD if unread else frozenset({"proof"})
    return found | _BY_THE_JOURNAL if closed_to_us(station) == "the journal" else found


def _accepted(station: Station, run: StagedRun, record: Ingest | None) -> str | None:
    """By an order that waits, or in the record."""
    order: object = station.journal.order(run.run_path, "accept")
    if order is None and record is not None and accepted_by(record.history):
        order = next(filter(None, (entry.extra("accepted") for entry in reversed(record.history))), None)
    if order is None:
        return None
    given = order if isinstance(order, Mapping) else {}
    by, reason = printable(str(given.get("by", "somebody"))), printable(str(given.get("reason", "")))
    return f"{by} accepted the run as it is: {reason}"


def _completeness(station: Station, run: StagedRun, record: Ingest | None) -> CompletenessFacts | None:
    if record is not None and record.current_state not in BEFORE_THE_COPY:
        return None
    if station.config.equipment_for(run.equipment_id) is None:
        return None
    accepted = _accepted(station, run, record) is not None
    try:
        return completeness_facts(station, run, walk_run(station, run), accepted=accepted)
    except ExlabError:
        return None  # that it cannot be read is its problem, and shown as such


def _writers(station: Station, run: StagedRun, listing: Listing) -> Writers | None:
    try:
        return writers_of(station, run, listing)
    except RunProblem:
        return None  # a file cannot be opened: the pass tells which


def _kept(station: Station, run: StagedRun, record: Ingest | None, now: datetime) -> tuple[Wait | None, str]:
    if record is None or record.current_state is not IngestState.SYNC_VERIFIED:
        return None, ""
    order = station.journal.order(run.run_path, "clear_later")
    facts = facts_now(station, run, record, asked=order is not None)
    asked = "" if order is None else f", asked for by {printable(str(order.get('by')))}"
    return kept_because(facts, station.cleanup, now), clear_words(early_because(facts, station.cleanup, now)) + asked


# -- the checks, in the order of a run's life ----------------------------------------------------------------


def run_checks(facts: RunFacts) -> tuple[Finding, ...]:
    """Each check with "ok", "warning" (the run waits for it), "error" (it stops the run) or "skipped" (comes later)."""
    return tuple(
        Finding(f"run.{name}", *(_not_told(facts) if name in facts.closed else found))
        for name, found in (
            ("signal", _signal(facts)),
            ("settle", _settle(facts)),
            ("names", _names(facts)),
            ("open_files", _open_files(facts)),
            ("lock", _lock(facts)),
            ("nas", _nas(facts)),
            ("attempts", _attempts(facts)),
            ("proof", _proof(facts)),
            ("hold", _hold(facts)),
            ("retention", _retention(facts)),
        )
    )


Said = tuple[Result, str] | tuple[Result, str, str]


def _not_told(facts: RunFacts) -> Said:
    answer = facts.doubt
    return ("skipped", "this user may not read it") if answer is None else ("skipped", answer.why, answer.command)


def _state(facts: RunFacts) -> IngestState | None:
    return None if facts.record is None else facts.record.current_state


def _waits(wait: Wait | None, good: str) -> Said:
    if wait is None:
        return "ok", good
    return ("error" if wait.code else "warning"), wait.text


def _signal(facts: RunFacts) -> Said:
    if facts.equipment is None:
        return "error", "its equipment is not configured", "exlab-orch equipment add"
    if facts.accepted is not None:
        return "ok", facts.accepted
    if _state(facts) in (IngestState.SYNC_VERIFIED, IngestState.CLEARED):
        return "ok", "the run was complete when it was received"
    if facts.completeness is None:
        return "error", "the staged files cannot be looked at"
    return _waits(
        signal_wait(facts.completeness, facts.equipment, facts.now), "the equipment says that the run is done"
    )


def _settle(facts: RunFacts) -> Said:
    if facts.completeness is None or facts.equipment is None:
        return _later(facts)
    if facts.completeness.accepted:
        return "ok", "waived: the run was accepted as it is"
    seconds = facts.equipment.settle_seconds
    return _waits(settle_wait(facts.completeness, seconds, facts.now), f"nothing changed for {duration(seconds)}")


def _later(facts: RunFacts) -> Said:
    if _state(facts) in (IngestState.SYNC_VERIFIED, IngestState.CLEARED):
        return "ok", "the run was still when it was copied"
    return "skipped", "it cannot be told now"


def _names(facts: RunFacts) -> Said:
    problem = next((one for one in facts.problems if one.code in _NAMES), None)
    if problem is not None:
        return "error", problem.message, problem.hint
    if facts.completeness is None:
        return _done_or_later(facts, "the NAS took every name", "the names are looked at before the copy")
    special = sorted(facts.completeness.listing.special)
    if special:
        return "error", f"{printable(special[0])} is no file and no folder, and cannot be copied"
    if _state(facts) is IngestState.SYNC_QUEUED:
        return "ok", "nothing is known to be in the way; the copy looks at every name first"
    return "skipped", "the names are looked at before the copy"


def _done_or_later(facts: RunFacts, done: str, later: str) -> Said:
    is_done = _state(facts) in (IngestState.SYNC_VERIFIED, IngestState.CLEARED)
    return ("ok", done) if is_done else ("skipped", later)


def _open_files(facts: RunFacts) -> Said:
    if facts.writers is None:
        return _done_or_later(facts, "nobody wrote to it when it was copied", "it cannot be told now")
    if facts.writers.first is not None:
        return "warning", writer_words(facts.writers.first), "Have the program that writes it close it, or end it."
    if not facts.writers.is_told:
        return "skipped", "this user cannot see whether another one has files of it open for writing"
    return "ok", "no file is open for writing on this computer"


def _lock(facts: RunFacts) -> Said:
    if facts.busy is None:
        return "skipped", "this user cannot see whether a pass is busy with it"
    return ("warning", "a pass is busy with it now") if facts.busy else ("ok", "no pass is busy with it")


def _nas(facts: RunFacts) -> Said:
    if facts.nas_paused is not None:
        return "warning", facts.nas_paused.message, facts.nas_paused.hint
    if facts.nas_problem is not None:
        return "error", facts.nas_problem.message, facts.nas_problem.hint
    if facts.nas_seen_at is None:
        return "skipped", "no pass has looked at the NAS yet"
    seconds = (facts.now - facts.nas_seen_at).total_seconds()
    return "ok", f"it was well when a pass last looked at it, {ago(seconds)}"


def _attempts(facts: RunFacts) -> Said:
    journal = facts.journal
    if journal is None or not (journal.attempts or journal.failed):
        return "ok", "no copy has failed"
    again = "" if facts.record is None else f"exlab-orch sync {pasted(facts.record.run_path)}"
    if journal.failed:
        return "error", "the copy failed for good; it is not tried any more", again
    left = 0.0 if journal.retry_at is None else journal.retry_at - facts.now.timestamp()
    then = f"the next attempt is in {duration(left)}" if left > 0 else "the next pass tries again"
    return "warning", f"{count(journal.attempts, 'attempt')} failed; {then}", again


def _proof(facts: RunFacts) -> Said:
    state, entry = _state(facts), None if facts.record is None else facts.record.last(IngestState.SYNC_VERIFIED)
    if state not in (IngestState.SYNC_VERIFIED, IngestState.CLEARED) or entry is None:
        return _stopped(facts) or ("skipped", "the copy is not proved yet")
    doubt = next((one for one in facts.problems if one.code in UNSAFE), None)
    if doubt is not None:
        return "error", doubt.message, doubt.hint
    if facts.doubt is not None:
        return "error", facts.doubt.why, facts.doubt.command
    return "ok", f"every byte was read back from the NAS and matched ({printable(local_words(entry.at))})"


def _stopped(facts: RunFacts) -> Said | None:
    """What stops a copy that is due, and no other check tells."""
    if _state(facts) is not IngestState.SYNC_QUEUED:
        return None
    found = next((one for one in facts.problems if one.code not in FLAGS | _NAMES), None)
    return None if found is None else ("error", f"{found.code}: {found.message}", found.hint)


def _hold(facts: RunFacts) -> Said:
    if facts.hold is None:
        return "ok", "nobody holds it"
    until = f", until {printable(local_words(facts.hold.until))}" if facts.hold.until else ""
    who = f"{printable(facts.hold.by)} holds it{until}: {printable(facts.hold.reason)}"
    release = "" if facts.record is None else f"exlab-orch unhold {pasted(facts.record.run_path)}"
    return "warning", who, release


def _retention(facts: RunFacts) -> Said:
    if _state(facts) is not IngestState.SYNC_VERIFIED:
        return "skipped", _AFTER_THE_COPY
    if facts.hold is not None:
        return "skipped", "the hold comes first"
    if facts.kept is None:
        return "ok", facts.clears
    return ("error" if facts.kept.code else "warning"), facts.kept.text
