"""How full the staging disk and each NAS are, as list, status and report tell it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from exlab_orch.errors import RunProblem
from exlab_orch.orders import nas_names
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
        yield Disk(name, None) if known is None else Disk(name, known.space, known.at)


def known_disks(station: Station, now: datetime) -> tuple[Disk, ...]:
    """Staging first, then each NAS as passes last saw it; no NAS is asked."""
    return (staging_disk(station, now), *nas_disks(station))
