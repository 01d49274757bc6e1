"""How it is going, in one short look: nothing is walked, no NAS is asked, so that it is quick and cannot hang."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from exlab_orch.clock import parse_utc
from exlab_orch.config import Config
from exlab_orch.disks import STAGING, Disk, nas_disks, staging_disk
from exlab_orch.errors import RunProblem, StagingUnavailable
from exlab_orch.journal import JournalRun, open_journal
from exlab_orch.making_room import staging_subject
from exlab_orch.model import Ingest, IngestState, Place, Problem, StagedRun
from exlab_orch.next_step import is_seen, last_pass_at, next_command
from exlab_orch.orders import nas_names, nas_subject, pause_of
from exlab_orch.policy import FLAGS
from exlab_orch.progress import Progress, live_progress
from exlab_orch.records import remembered
from exlab_orch.standstill import why_no_pass
from exlab_orch.state import open_state
from exlab_orch.station import Station, host_name
from exlab_orch.whereabouts import moved_runs


@dataclass(frozen=True, slots=True)
class NasStatus:
    """What passes know of a NAS."""

    name: str
    well_at: datetime | None
    """When a pass last found it well."""
    paused: str | None
    """Who paused it, until when and why; None where nobody did."""
    problems: tuple[Problem, ...]
    disk: Disk


@dataclass(frozen=True, slots=True)
class Status:
    """What a person asks first."""

    enabled: bool
    last_pass_at: datetime | None
    seen: bool
    """Whether this user may read what passes wrote down."""
    running: tuple[Progress, ...]
    """What passes and commands do right now."""
    staging: Disk
    nas: tuple[NasStatus, ...]
    states: Mapping[str, int]
    """How many staged runs passes know, by state."""
    on_another_nas: int
    """How many of the proved ones are not on the NAS that is configured for them now."""
    standstill: Problem | None
    """Why no pass can begin now; None where nothing keeps them from it."""
    problems: tuple[Problem, ...]
    """Every open one: first why no pass can begin, then those of a whole disk or NAS, each oldest first."""
    next_command: str


def status_now(config: Config, now: datetime) -> Status:
    """The status; staging and every NAS may be away."""
    state = open_state(config.orchestrator.state_dir, changing=False)
    with open_journal(state.journal_path, changing=False) as journal:
        station = Station(config, state, journal, host=host_name(), clock=lambda: now)
        standstill, running = why_no_pass(station, now), live_progress(state.progress_folder)
        problems = _first_things_first(station, standstill)
        last = last_pass_at(station)
        records = _records(journal.runs().values())
        disks = {disk.name: disk for disk in nas_disks(station)}
        return Status(
            enabled=config.orchestrator.enabled,
            last_pass_at=last,
            seen=is_seen(station, last),
            running=tuple(running.values()),
            staging=_staging(station, standstill, now),
            nas=tuple(_nas(station, name, problems, disks[name]) for name in nas_names(config)),
            states=states_of(records),
            on_another_nas=_moved(station, records),
            standstill=standstill,
            problems=problems,
            next_command=next_command(station, problems, standstill),
        )


def _first_things_first(station: Station, standstill: Problem | None) -> tuple[Problem, ...]:
    """Every open problem: what concerns everything before one run, and what stops something before what only tells."""
    whole = {staging_subject(station), *map(nas_subject, nas_names(station.config))}
    known = sorted(station.journal.problems(), key=lambda one: (one.subject not in whole, one.code in FLAGS))
    return (*(() if standstill is None else (standstill,)), *known)


def _staging(station: Station, standstill: Problem | None, now: datetime) -> Disk:
    """The staging disk; of one that is away, what lies below its mount point is told by nobody."""
    is_away = standstill is not None and standstill.code == StagingUnavailable.code
    return Disk(STAGING, None) if is_away else staging_disk(station, now)


def _nas(station: Station, name: str, problems: Iterable[Problem], disk: Disk) -> NasStatus:
    pause = pause_of(station, name)
    return NasStatus(
        name=name,
        well_at=parse_utc(station.journal.note(f"well {name}") or ""),
        paused=None if pause is None else pause.message,
        problems=tuple(one for one in problems if one.subject == nas_subject(name)),
        disk=disk,
    )


def _records(runs: Iterable[JournalRun]) -> list[Ingest]:
    """The records that the journal keeps; one that cannot be read has a problem, which is among the open ones."""
    found: list[Ingest] = []
    for run in runs:
        with suppress(RunProblem):
            record = remembered(run)
            found += [] if record is None else [record]
    return found


def states_of(records: Iterable[Ingest]) -> dict[str, int]:
    """How many runs are in which state; those whose staged copy is deleted are not counted."""
    counted = Counter(record.current_state.value for record in records)
    del counted["cleared"]
    return dict(counted)


def _moved(station: Station, records: Iterable[Ingest]) -> int:
    moved, root = moved_runs(station), station.staging_root
    proved = (record for record in records if record.current_state is IngestState.SYNC_VERIFIED)
    runs = ((StagedRun(one.run_path, Place(root, one.run_path)), one.history[-1]) for one in proved)
    return sum(moved(run, proof) is not None for run, proof in runs)
