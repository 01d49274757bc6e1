"""Everything on the NAS that we know: which run was read longest ago, and reading many of them again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from exlab_orch.damage import PHASE, Verification
from exlab_orch.doubts import cleared_proof
from exlab_orch.errors import (
    EXIT_DONE,
    EXIT_LOCKED,
    EXIT_REFUSED,
    EXIT_RUN_FAILED,
    EXIT_UNAVAILABLE,
    ConfigInvalid,
    ExlabError,
    Locked,
    NasFault,
    RunProblem,
)
from exlab_orch.looks import found_at, last_looks, proved_moment, to_look_at_again
from exlab_orch.model import (
    IngestState,
    NasPlace,
    StagedRun,
    proof_place,
)
from exlab_orch.orders import refuse_paused
from exlab_orch.progress import QUIET, Observer, ProgressFile
from exlab_orch.records import read_record, remembered
from exlab_orch.staging import trash_slots
from exlab_orch.station import Station
from exlab_orch.verification import verify
from exlab_orch.vouching import at_home, is_proved
from exlab_orch.whereabouts import configured_places, elsewhere

_WORST_FIRST: Final = (EXIT_REFUSED, EXIT_UNAVAILABLE, EXIT_LOCKED)


@dataclass(frozen=True, slots=True)
class NotVerified:
    """A run that was to be verified and was not, and why."""

    run_path: str
    error: ExlabError


Finding = Verification | NotVerified


@dataclass(slots=True)
class Round:
    """What became of the runs that were to be verified."""

    verified: list[Verification] = field(default_factory=list)
    not_verified: list[NotVerified] = field(default_factory=list)
    later: list[str] = field(default_factory=list)
    """Runs whose turn has not come, or that were not read to their end; what is left when the time is over."""

    def note(self, found: Finding) -> None:
        """Add what became of a run."""
        if isinstance(found, Verification):
            self.verified.append(found)
        else:
            self.not_verified.append(found)

    @property
    def exit_status(self) -> int:
        """3 when damage was found, else the worst of why a run was not verified, else 0."""
        if not all(one.ok for one in self.verified):
            return EXIT_RUN_FAILED
        found = {one.error.exit_status for one in self.not_verified}
        return next((status for status in _WORST_FIRST if status in found), max(found, default=EXIT_DONE))


# -- which runs, and when they were verified last ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Due:
    """A run on the NAS, and when it was last read in full: verified, proved by its copy, or proved for its clear."""

    run: StagedRun
    state: IngestState | None
    """None where a person named a run that was never proved."""
    read_at: datetime | None


def named_due(station: Station, runs: Sequence[StagedRun]) -> list[Due]:
    """Named runs, in the order given, with when each was read; one that was never proved is in no state of those."""
    known = {one.run.run_path: one for one in due_runs(station)}
    return [known.get(run.run_path, Due(run, None, None)) for run in runs]


def due_runs(station: Station, *, since: timedelta | None = None) -> list[Due]:
    """Every run that was proved on the NAS, staged, cleared or disappeared, the one that was read longest ago first.

    Args:
        station: the open parts.
        since: leave out what was read in full within that time, where it is now, and was as proved.
    """
    looks, now, place = last_looks(station), station.now(), configured_places(station)
    unknown = station.journal.problem_subjects(PHASE) | to_look_at_again(station)
    found: list[Due] = []
    for run, state, proved_at, proved in _proved_runs(station):
        look, here = looks.get(run.run_path), place(run)
        if here is not None and elsewhere(run, here, proved, found_at(look, proved_at)) is not None:
            unknown.add(run.run_path)  # nobody has read it on the NAS that it is on now
        moments = [moment for moment in (proved_at, None if look is None else look.at) if moment is not None]
        found.append(Due(run, state, max(moments, default=None)))

    def is_due(one: Due) -> bool:
        if since is None or one.read_at is None or one.run.run_path in unknown:
            return True
        return not timedelta(0) <= now - one.read_at < since  # a time in the future was noted by a wrong clock

    return sorted(filter(is_due, found), key=lambda one: (_seconds(one.read_at), one.run.run_path))


def _seconds(moment: datetime | None) -> float:
    return 0.0 if moment is None else moment.timestamp()


def _proved_runs(station: Station) -> Iterator[tuple[StagedRun, IngestState, datetime | None, NasPlace]]:
    """Runs that were proved, with their state, and when and where that was.

    What lies in staging or in the trash is what its record says; a new life hides the one before it, which its copy
    reads again anyway.
    """
    present = {run.run_path: run for run in station.discover().runs}
    present |= {slot.run.run_path: slot.run for slot in trash_slots(station.staging_root) if slot.run is not None}
    absent = {line.run_path: line for line in station.ledger.lines()}
    for run in present.values():
        try:
            record = read_record(run)
        except RunProblem:
            continue  # it is shown as a problem of its own, and nothing vouches for it
        if record is not None and is_proved(record):
            yield run, record.current_state, proved_moment(record), proof_place(record.last(IngestState.SYNC_VERIFIED))
    for run_path, known in station.journal.runs().items():
        record = remembered(known)
        if run_path not in present and run_path not in absent and record is not None and is_proved(record):
            run = at_home(station, run_path)
            yield run, record.current_state, proved_moment(record), proof_place(record.last(IngestState.SYNC_VERIFIED))
    for run_path, line in absent.items():
        if run_path not in present:
            proof = cleared_proof(station, line)
            yield at_home(station, run_path), IngestState.CLEARED, proof.at, proof.place


# -- many runs -----------------------------------------------------------------------------------------------


def verify_runs(
    station: Station,
    runs: Sequence[StagedRun],
    *,
    named: bool,
    max_seconds: float | None = None,
    watch: Observer = QUIET,
    tell: Callable[[Finding], object] = lambda _: None,
    waits: Callable[[StagedRun], object] = lambda _: None,
    done: Round | None = None,
) -> Round:
    """Verify runs one after the other; what one of them meets does not stop the others.

    Args:
        station: the open parts, opened to change runs.
        runs: which, in this order.
        named: a person named each of them: no pause is heeded, and a good look ends all that was known of damage.
        max_seconds: finish the run in hand after that long, then stop.
        watch: who wants to see bytes go by.
        tell: who wants to hear of each run at once.
        waits: who wants to know that a run waits for a slot of its NAS.
        done: filled as it goes, and so what became of the runs until then, for who stops it; the one that is returned.
    """
    deadline = None if max_seconds is None else time.monotonic() + max_seconds
    visible, done = ProgressFile(station.state.progress_folder, watch), Round() if done is None else done
    away: dict[str, NasFault] = {}
    done.later = [run.run_path for run in runs]

    def note(found: Finding) -> None:
        done.note(found)
        tell(found)

    for run in runs:
        left = float("inf") if deadline is None else deadline - time.monotonic()
        if left <= 0:
            break
        found = _verified_or_why(station, run, away, named, visible, _Patience(left, waits, note))
        del done.later[0]
        note(found)
    return done


@dataclass(frozen=True, slots=True)
class _Patience:
    """How long to wait for a slot of the NAS, who is told of it, and who of what was seen when somebody stops it."""

    seconds: float
    told: Callable[[StagedRun], object]
    cut_short: Callable[[Finding], object]


def _verified_or_why(
    station: Station, run: StagedRun, away: dict[str, NasFault], named: bool, watch: Observer, patience: _Patience
) -> Finding:
    """One run; a NAS that was found away is not asked again."""
    try:
        transport = station.nas_of(run)
        if transport.name in away:
            raise away[transport.name]
        try:
            if not named:
                refuse_paused(station, transport)
            return verify(
                station,
                run,
                named=named,
                watch=watch,
                slot_seconds=patience.seconds,
                waits=patience.told,
                cut_short=patience.cut_short,
            )
        except NasFault as fault:
            away[transport.name] = fault
            raise
    except (RunProblem, NasFault, Locked, ConfigInvalid) as error:
        return NotVerified(run.run_path, error)
