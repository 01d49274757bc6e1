"""How full the staging disk and the NAS are, what is remembered of that, and when a disk that fills up will be full."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from exlab_orch.clock import from_epoch_ns
from exlab_orch.errors import NasFull, staging_errors
from exlab_orch.hints import promised
from exlab_orch.journal import Journal
from exlab_orch.text import size

_SAMPLE_EVERY: Final = timedelta(minutes=5)
_RATE_OVER: Final = timedelta(hours=6)
"""How far back the present rate reaches: one pushed run is no trend, and last week is not the present."""
_SHORTEST: Final = timedelta(minutes=30)
"""A rate over less than this says nothing."""
_STAGING_NOTE: Final = "staging_space"


@dataclass(frozen=True, slots=True)
class Space:
    """How much a disk holds, and how much of it this user may still write."""

    total_bytes: int
    free_bytes: int

    @property
    def used_percent(self) -> float:
        """How much of the disk cannot be written any more, 0 to 100."""
        return 100 * (1 - self.free_bytes / self.total_bytes) if self.total_bytes > 0 else 100.0


@dataclass(frozen=True, slots=True)
class Sample:
    """How much was free at a time."""

    at: datetime
    free_bytes: int


@dataclass(frozen=True, slots=True)
class KnownSpace:
    """The space of a NAS as it was when a pass last asked for it."""

    space: Space
    at: datetime


def disk_space(folder: str) -> Space:
    """The space of the file system that a folder is on. Raises OSError."""
    found = os.statvfs(folder)
    return Space(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)


def staging_space(root: str) -> Space:
    """The space of the staging disk now.

    Raises:
        RunProblem: the disk does not answer.
    """
    with staging_errors("asking for free space"):
        return disk_space(root)


def seconds_until_full(samples: Sequence[Sample], now: datetime) -> float | None:
    """Seconds until nothing is free, at the rate of the last hours; None while the disk is not filling up.

    What was deleted meanwhile counts against what arrived: a disk from which as much goes as comes never fills.
    """
    recent = sorted((one for one in samples if now - _RATE_OVER <= one.at <= now), key=lambda one: one.at)
    if not recent or recent[-1].at - recent[0].at < _SHORTEST:
        return None
    first, last = recent[0], recent[-1]
    lost = first.free_bytes - last.free_bytes
    if lost <= 0:
        return None
    seconds = last.free_bytes * (last.at - first.at).total_seconds() / lost
    return max(seconds - (now - last.at).total_seconds(), 0.0)


def require_reserve(space: Space | None, reserve_percent: float, byte_count: int) -> None:
    """Raise NasFull when so many more bytes would eat into the reserve; a NAS that does not tell may be used."""
    if space is None:
        return
    reserve = int(space.total_bytes * reserve_percent / 100)
    if space.free_bytes - byte_count < reserve:
        raise NasFull(
            f"The NAS is too full: copying would eat into its reserve of {size(reserve)}.",
            hint=promised("Free space on the NAS, or lower nas.reserve_percent"),
        )


# -- what is remembered --------------------------------------------------------------------------------------


def remember_staging(journal: Journal, root: str, space: Space, now: datetime) -> None:
    """Keep a sample of the staging disk's free space, at most one every few minutes and for a few hours."""
    samples = [one for one in _samples_of(journal, root, space.total_bytes) if now - _RATE_OVER <= one.at <= now]
    if samples and now - samples[-1].at < _SAMPLE_EVERY:
        return
    kept = [[one.at.timestamp(), one.free_bytes] for one in (*samples, Sample(now, space.free_bytes))]
    journal.set_note(_STAGING_NOTE, json.dumps({"root": root, "total_bytes": space.total_bytes, "samples": kept}))


def staging_seconds_left(journal: Journal, root: str, space: Space, now: datetime) -> float | None:
    """Seconds until the staging disk is full, with the space it has now as the newest sample; None: it is not filling.

    What passes remembered is read; nothing is written.
    """
    return seconds_until_full([*_samples_of(journal, root, space.total_bytes), Sample(now, space.free_bytes)], now)


def _samples_of(journal: Journal, root: str, total_bytes: int) -> list[Sample]:
    """The samples of the disk with that root and size: another one, or one that was enlarged, begins anew."""
    try:
        kept = json.loads(journal.note(_STAGING_NOTE) or "{}")
        if (kept.get("root"), kept.get("total_bytes")) != (root, total_bytes):
            return []
        return [Sample(_moment(float(at)), int(free)) for at, free in kept["samples"]]
    except (ValueError, TypeError, KeyError, AttributeError):
        return []  # an index that can be lost: it begins anew


def remember_nas(journal: Journal, name: str, space: Space, now: datetime) -> None:
    """Keep the space of a NAS, so that those who only look on can tell it without asking the NAS."""
    kept = {"total_bytes": space.total_bytes, "free_bytes": space.free_bytes, "at": now.timestamp()}
    journal.set_note(_nas_note(name), json.dumps(kept))


def known_nas_space(journal: Journal, name: str) -> KnownSpace | None:
    """The space that a NAS had when a pass last asked, or None where none has, or the NAS does not tell."""
    try:
        kept = json.loads(journal.note(_nas_note(name)) or "")
        return KnownSpace(Space(int(kept["total_bytes"]), int(kept["free_bytes"])), _moment(float(kept["at"])))
    except (ValueError, TypeError, KeyError):
        return None


def _nas_note(name: str) -> str:
    return f"space {name}"


def _moment(seconds: float) -> datetime:
    return from_epoch_ns(int(seconds * 1e9))
