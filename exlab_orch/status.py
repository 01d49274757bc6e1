"""How it is going, in one short look: nothing is walked, no NAS is asked, so that it is quick and cannot hang."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from exlab_orch.clock import parse_utc
from exlab_orch.config import Config
from exlab_orch.disks import STAGING, Disk, nas_disks, staging_disk
from exlab_orch.errors import NasPaused, RunProblem, StagingUnavailable
from exlab_orch.journal import JournalRun, open_journal
from exlab_orch.making_room import staging_subject
from exlab_orch.model import Ingest, IngestState, Place, Problem, StagedRun
from exlab_orch.orders import nas_names, nas_subject, pause_of
from exlab_orch.policy import FLAGS, STRAYS
from exlab_orch.progress import Progress, live_progress
from exlab_orch.rows import remembered
from exlab_orch.standstill import why_no_pass
from exlab_orch.state import as_owner, open_state
from exlab_orch.station import Station, host_name
from exlab_orch.text import is_utf8, pasted
from exlab_orch.whereabouts import moved_runs

_DISK: Final = "staging:"
"""How the subject of a problem of the staging disk begins."""


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
        last = parse_utc(journal.note("last_pass") or "")
        owner = _owner_of(state.path)
        seen = last is not None or owner in (None, os.geteuid())
        records = _records(journal.runs().values())
        disks = {disk.name: disk for disk in nas_disks(station)}
        return Status(
            enabled=config.orchestrator.enabled,
            last_pass_at=last,
            seen=seen,
            running=tuple(running.values()),
            staging=_staging(station, standstill, now),
            nas=tuple(_nas(station, name, problems, disks[name]) for name in nas_names(config)),
            states=states_of(records),
            on_another_nas=_moved(station, records),
            standstill=standstill,
            problems=problems,
            next_command=_next(problems, standstill, last, nas_names(config))
            if seen
            else as_owner(state.path, "exlab-orch status"),
        )


def _first_things_first(station: Station, standstill: Problem | None) -> tuple[Problem, ...]:
    """Every open problem, what concerns everything before what concerns one run or stray."""
    whole = {staging_subject(station), *map(nas_subject, nas_names(station.config))}
    known = sorted(station.journal.problems(), key=lambda one: one.subject not in whole)
    return (*(() if standstill is None else (standstill,)), *known)


def _staging(station: Station, standstill: Problem | None, now: datetime) -> Disk:
    """The staging disk; of one that is away, what lies below its mount point is told by nobody."""
    is_away = standstill is not None and standstill.code == StagingUnavailable.code
    return Disk(STAGING, None) if is_away else staging_disk(station, now)


def _next(
    problems: Collection[Problem], standstill: Problem | None, last_pass_at: datetime | None, nas: Iterable[str]
) -> str:
    return next_command(problems, last_pass_at, nas) if standstill is None else "exlab-orch doctor"


def _owner_of(folder: str) -> int | None:
    try:
        return os.stat(folder).st_uid
    except OSError:
        return None


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


def next_command(problems: Collection[Problem], last_pass_at: datetime | None, nas: Iterable[str]) -> str:
    """What to run now: where a run has a problem, to see it; else what tells more. What stops something comes first."""
    paused = [one for one in problems if one.code == NasPaused.code]
    found = sorted((one for one in problems if one not in paused), key=lambda one: one.code in FLAGS)
    if paused and not found and last_pass_at is not None:
        return "exlab-orch resume"
    if last_pass_at is None or any(_is_nas(one.subject, nas) for one in found):
        return "exlab-orch doctor"
    troubled = next((one.subject for one in found if _is_of_run(one)), None)
    if troubled is not None:
        return f"exlab-orch show {pasted(troubled)}"
    of_the_disk = all(one.subject.startswith(_DISK) for one in found)  # there a person looks for what can go
    return "exlab-orch list" if of_the_disk else "exlab-orch list --problem"


def _is_of_run(problem: Problem) -> bool:
    """Whether ``show`` finds what the problem is about: a stray is no run."""
    is_disk = problem.subject.startswith(_DISK)
    return problem.subject.count("/") >= 2 and not is_disk and problem.code not in STRAYS and is_utf8(problem.subject)


def _is_nas(subject: str, names: Iterable[str]) -> bool:
    return subject in {nas_subject(name) for name in names}
