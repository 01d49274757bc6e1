"""What a report tells: what needs a person, the life of every run of a period, how much and how fast, and space."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from math import ceil
from typing import Final

from exlab_orch.clock import as_local, from_epoch_ns, parse_utc
from exlab_orch.disks import Disk, known_disks
from exlab_orch.errors import RunProblem
from exlab_orch.journal import JournalRun
from exlab_orch.ledger import LedgerLine
from exlab_orch.model import HistoryEntry, IngestState, Place, Problem, StagedRun
from exlab_orch.progress import live_progress
from exlab_orch.records import parse_record, read_record
from exlab_orch.rows import Row, list_rows
from exlab_orch.station import Station

_PASS_EVERY: Final = timedelta(minutes=10)
"""Passes are made every minute; after this long without one somebody should look."""
_MOST_BINS: Final = 45
_STATES: Final = frozenset(map(str, IngestState))


@dataclass(frozen=True, slots=True)
class Step:
    """A run reached a state."""

    state: IngestState
    at: datetime
    reason: str | None = None
    """Why, where it was a step back."""


@dataclass(frozen=True, slots=True)
class Life:
    """One run from its first byte in staging to the delete of its staged copy, as far as it has come."""

    run: str
    file_count: int
    byte_total: int
    steps: tuple[Step, ...] = ()
    """In the order they were made; empty where no pass has seen the run, or an earlier version cleared it."""
    last_write_at: datetime | None = None
    row: Row | None = None
    """What is in staging of it now; None for a run that was cleared."""
    damage: Problem | None = None
    """What is wrong with the only copy of a run that was cleared."""
    cleared_at: datetime | None = None
    cleared_by: str | None = None
    nas_path: str | None = None

    @property
    def equipment_id(self) -> str:
        return self.run.split("/", 1)[0]

    @property
    def proved_at(self) -> datetime | None:
        """When every byte of it was last read back from the NAS and matched, or None where it is not proved now."""
        last = next((step for step in reversed(self.steps) if step.state is not IngestState.CLEARED), None)
        return last.at if last is not None and last.state is IngestState.SYNC_VERIFIED else None

    @property
    def counted_at(self) -> datetime | None:
        """The moment its bytes count for: proved, or deleted where an earlier version did not note the proof."""
        return self.proved_at or (self.cleared_at if not self.steps else None)

    @property
    def newest(self) -> datetime | None:
        """When something last happened to it."""
        known = self.cleared_at or (self.steps[-1].at if self.steps else None)
        return known or (None if self.row is None else self.row.last_activity_at)

    @property
    def seconds_to_proof(self) -> float | None:
        """Seconds from the last write to the proof, or None where one of them is not known."""
        if self.proved_at is None or self.last_write_at is None or self.last_write_at > self.proved_at:
            return None
        return (self.proved_at - self.last_write_at).total_seconds()


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a report tells, as it was at one moment."""

    host: str
    label: str
    staging_root: str
    enabled: bool
    generated_at: datetime
    since: datetime
    rows: tuple[Row, ...]
    """Everything in staging."""
    problems: tuple[Problem, ...]
    """Open problems that no row of staging carries: of a NAS, of the configuration."""
    lives: tuple[Life, ...]
    """Every run that is in staging, or was cleared in the period; the newest first."""
    earlier: int
    """How many runs were cleared before the period."""
    ledger_hidden: bool
    """Whether this user may not read which runs were cleared."""
    disks: tuple[Disk, ...]
    """Staging first, then every NAS."""
    last_pass_at: datetime | None
    busy: bool
    """Whether a pass copies, proves or deletes right now."""
    labels: Mapping[str, str]
    """What people call the equipment, by its id."""

    @property
    def pass_is_overdue(self) -> bool:
        """Whether no pass has ended for so long that somebody should look why."""
        if self.busy or not self.enabled:
            return False
        return self.last_pass_at is None or self.generated_at - self.last_pass_at > _PASS_EVERY

    @property
    def staged(self) -> tuple[Row, ...]:
        """The runs that are in staging, without those that are told because they are gone."""
        return tuple(row for row in self.rows if row.run_kind and not _is_gone(row))


def _is_gone(row: Row) -> bool:
    is_missing = row.problem is not None and row.problem.code == "run_disappeared"
    return is_missing or row.current_state is IngestState.CLEARED


# -- gathering -----------------------------------------------------------------------------------------------


def gather(station: Station, *, now: datetime, since: datetime) -> Report:
    """The facts of a report; reads staging and the state directory, asks no NAS, writes nothing.

    Raises:
        StagingUnavailable: the staging root cannot be read.
    """
    orchestrator = station.config.orchestrator
    rows = list_rows(station, now=now)
    lines = station.ledger.lines()
    in_ledger = {line.run_path for line in lines}
    staged = [row for row in rows if row.current_state is not IngestState.CLEARED or row.run not in in_ledger]
    damages = {row.run: row.problem for row in rows if row.current_state is IngestState.CLEARED}
    ended = (replace(life, damage=damages.get(life.run)) for life in cleared_lives(lines, since))
    lives = [*_staged_lives(station, staged), *ended]
    return Report(
        host=station.host,
        label=orchestrator.label,
        staging_root=orchestrator.staging_root,
        enabled=orchestrator.enabled,
        generated_at=now,
        since=since,
        rows=rows,
        problems=tuple(_further_problems(station.journal.problems(), rows)),
        lives=newest_first(lives),
        earlier=sum(not _is_since(line, since) for line in lines),
        ledger_hidden=station.ledger.is_hidden,
        disks=known_disks(station, now),
        last_pass_at=parse_utc(station.journal.note("last_pass") or ""),
        busy=bool(live_progress(station.state.progress_folder)),
        labels={one.id: one.label for one in station.config.equipment},
    )


def newest_first(lives: Iterable[Life]) -> tuple[Life, ...]:
    """Lives in the order of a report; one without any time, which no pass has seen, is the newest."""

    def order(life: Life) -> tuple[float, str]:
        return (float("inf") if life.newest is None else life.newest.timestamp(), life.run)

    return tuple(sorted(lives, key=order, reverse=True))


def _staged_lives(station: Station, rows: Iterable[Row]) -> Iterator[Life]:
    known = station.journal.runs()
    for row in rows:
        if row.run_kind:
            steps = _steps(_history(station, row, known.get(row.run)))
            life = Life(row.run, row.file_count, row.byte_total, steps, row=row, nas_path=row.nas_path)
            yield life if life.proved_at is None else _with_last_write(station, life)


def _history(station: Station, row: Row, known: JournalRun | None) -> tuple[HistoryEntry, ...]:
    """The history the journal remembers, or that of the record where the journal was lost; nothing is written."""
    try:
        if known is not None and known.record is not None:
            return parse_record(known.record.encode()).history
        record = read_record(StagedRun(row.run, Place(station.staging_root, row.run)))
    except RunProblem:
        return ()
    return () if record is None else record.history


def _steps(history: Iterable[HistoryEntry]) -> tuple[Step, ...]:
    found = ((entry, entry.moment) for entry in history)
    return tuple(Step(entry.state, at, entry.text("reason")) for entry, at in found if at is not None)


def _with_last_write(station: Station, life: Life) -> Life:
    newest = station.journal.newest_ctime_ns(life.run)
    written = None if newest is None else from_epoch_ns(newest)
    return replace(life, last_write_at=written)


def cleared_lives(lines: Iterable[LedgerLine], since: datetime) -> Iterator[Life]:
    """The runs that were cleared in the period."""
    for line in lines:
        if _is_since(line, since):
            yield Life(
                run=line.run_path,
                file_count=line.files_cleared,
                byte_total=line.bytes_freed,
                steps=tuple(_ledger_steps(line)),
                last_write_at=parse_utc(line.last_write_at or ""),
                cleared_at=parse_utc(line.cleared_at),
                cleared_by=line.by,
                nas_path=line.nas_path,
            )


def _is_since(line: LedgerLine, since: datetime) -> bool:
    cleared = parse_utc(line.cleared_at)
    return cleared is not None and cleared >= since


def _ledger_steps(line: LedgerLine) -> Iterator[Step]:
    for step in line.history:
        at = parse_utc(step.at)
        if at is not None and step.state in _STATES:
            yield Step(IngestState(step.state), at)


def _further_problems(problems: Iterable[Problem], rows: Iterable[Row]) -> Iterator[Problem]:
    """Problems of anything but what a row carries; a NAS's own problem is told once and not with each of its runs."""
    carried = {subject for row in rows if row.problem is not None for subject in (row.run, row.problem.subject)}
    for problem in problems:
        if problem.subject.startswith("nas:") or problem.subject not in carried:
            yield problem


# -- figures -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Amount:
    """So many runs with so many bytes."""

    runs: int = 0
    byte_total: int = 0

    def plus(self, byte_count: int) -> Amount:
        """One run more."""
        return Amount(self.runs + 1, self.byte_total + byte_count)


def total(byte_counts: Iterable[int]) -> Amount:
    """The amount of runs of those sizes."""
    sizes = list(byte_counts)
    return Amount(len(sizes), sum(sizes))


@dataclass(frozen=True, slots=True)
class Throughput:
    """How much was proved on the NAS, by equipment, in equal bins of whole days of this computer's calendar."""

    first_day: date
    days_per_bin: int
    amounts: Mapping[str, tuple[Amount, ...]]
    """By equipment, the one with the most bytes first; every one with as many bins."""
    bins: int

    def day(self, number: int) -> date:
        """The first day of a bin."""
        return self.first_day + timedelta(days=number * self.days_per_bin)

    @property
    def highest(self) -> int:
        """The most bytes in one bin, over all equipment."""
        sums = (sum(one[n].byte_total for one in self.amounts.values()) for n in range(self.bins))
        return max(sums, default=0)


def throughput(lives: Iterable[Life], since: datetime, until: datetime) -> Throughput:
    """What was proved in the period, day by day, or in longer bins where the period has too many days to be drawn."""
    first, last = as_local(since).date(), as_local(until).date()
    days = (last - first).days + 1
    per_bin = _days_per_bin(days)
    bins = ceil(days / per_bin)
    first = last - timedelta(days=bins * per_bin - 1)
    found: dict[str, list[Amount]] = {}
    for life in lives:
        at = life.counted_at
        if at is not None and since <= at <= until:
            amounts = found.setdefault(life.equipment_id, [Amount()] * bins)
            number = (as_local(at).date() - first).days // per_bin
            amounts[number] = amounts[number].plus(life.byte_total)
    order = sorted(found, key=lambda one: (-sum(amount.byte_total for amount in found[one]), one))
    return Throughput(first, per_bin, {one: tuple(found[one]) for one in order}, bins)


def _days_per_bin(days: int) -> int:
    if days <= _MOST_BINS:
        return 1
    weeks = ceil(days / 7)
    return 7 * max(1, ceil(weeks / _MOST_BINS))


@dataclass(frozen=True, slots=True)
class Waits:
    """How long the runs of one equipment took from the last write to the proof, in seconds, the shortest first."""

    equipment_id: str
    seconds: tuple[float, ...]
    longest_run: str

    @property
    def median(self) -> float:
        """Half of the runs took no longer."""
        return quantile(self.seconds, 0.5)

    @property
    def nine_in_ten(self) -> float:
        """Nine in ten of the runs took no longer."""
        return quantile(self.seconds, 0.9)


def quantile(ordered: Sequence[float], part: float) -> float:
    """The smallest of the values that at least this part of them does not exceed."""
    return ordered[max(ceil(part * len(ordered)) - 1, 0)]


def waits(lives: Iterable[Life], since: datetime) -> tuple[Waits, ...]:
    """By equipment, how long it took from the last write to the proof; of the runs that were proved in the period."""
    found: dict[str, list[tuple[float, str]]] = {}
    for life in lives:
        seconds = life.seconds_to_proof
        if seconds is not None and life.proved_at is not None and life.proved_at >= since:
            found.setdefault(life.equipment_id, []).append((seconds, life.run))
    return tuple(
        Waits(equipment, tuple(seconds for seconds, _ in sorted(found[equipment])), max(found[equipment])[1])
        for equipment in sorted(found)
    )


def start_of_period(now: datetime, length: timedelta) -> datetime:
    """When a period of that length begins: at midnight by the clock on the wall, where it is a day or longer."""
    if length < timedelta(days=1):
        return now - length
    day = as_local(now).date() - timedelta(days=length.days - 1)
    return as_local(datetime.combine(day, time()))
