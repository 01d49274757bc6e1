"""How full the staging disk and each NAS are, as list, status and report tell it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from exlab_orch.errors import NasFull, NasPaused, RunProblem
from exlab_orch.making_room import staging_problems
from exlab_orch.model import Problem
from exlab_orch.orders import nas_names, nas_subject, pause_of
from exlab_orch.space import Space, known_nas_space, staging_seconds_left, staging_space
from exlab_orch.station import Station

STAGING: Final = "Staging"
"""The name of the staging disk; every other one is a NAS."""


@dataclass(frozen=True, slots=True)
class Disk:
    """The space of staging or of a NAS, and when it was that."""

    name: str
    space: Space | None
    """None where it is not known."""
    at: datetime | None = None
    seconds_left: float | None = None
    """Until it is full at the present rate; None where it is not filling up, or nobody knows."""
    fault: str | None = None
    """What is wrong with a NAS as a whole, in short: "away: nas_not_mounted"."""
    paused: str | None = None
    """Who paused a NAS, until when and why."""


def staging_disk(station: Station, now: datetime) -> Disk:
    """The staging disk, asked now."""
    root = station.staging_root
    try:
        space = staging_space(root)
    except RunProblem:
        return Disk(STAGING, None)
    return Disk(STAGING, space, now, staging_seconds_left(station.journal, root, space, now))


def nas_disks(station: Station) -> Iterator[Disk]:
    """What passes remember of each NAS: who only looks on asks none, for it may hang."""
    for name in nas_names(station.config):
        known = known_nas_space(station.journal, name)
        space, at = (None, None) if known is None else (known.space, known.at)
        paused = pause_of(station, name)
        yield Disk(name, space, at, fault=_fault(station, name), paused=None if paused is None else paused.message)


def _fault(station: Station, nas: str) -> str | None:
    codes = [one.code for one in station.journal.problems(nas_subject(nas)) if one.code != NasPaused.code]
    return f"{'too full' if codes[0] == NasFull.code else 'away'}: {codes[0]}" if codes else None


def place_problems(station: Station) -> tuple[Problem, ...]:
    """What is wrong with a whole NAS, and with the staging disk, each oldest first; a pause counts at once."""
    found: list[Problem] = []
    for name in nas_names(station.config):
        subject, paused = nas_subject(name), pause_of(station, name)
        known = [one for one in station.journal.problems(subject) if paused or one.code != NasPaused.code]
        found += known
        if paused is not None and not known:
            found.append(station.problem_of(subject, paused))
    return (*found, *staging_problems(station))


def known_disks(station: Station, now: datetime) -> tuple[Disk, ...]:
    """Staging first, then each NAS as passes last saw it; no NAS is asked."""
    return (staging_disk(station, now), *nas_disks(station))
