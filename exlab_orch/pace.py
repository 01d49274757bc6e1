"""How fast bytes go to a NAS: the configured limit, its windows in local time, and the bucket that copies wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Final

from exlab_orch.clock import pause
from exlab_orch.config import Sync
from exlab_orch.config_values import WEEK

_DAY: Final = 24 * 60
_WEEK: Final = 7 * _DAY
_BYTES_PER_MEGABIT: Final = 1e6 / 8
_LOOK_AGAIN_SECONDS: Final = 1.0
"""So soon a window that opens or closes, and another copy that begins or ends, changes a copy that runs."""
_SLICE_SECONDS: Final = 0.5
_SAVED_SECONDS: Final = 1.0
"""What was not sent for so long may be sent at once."""
_SHORTEST_SECONDS: Final = 0.001


# -- the limit, by the clock on the wall -----------------------------------------------------------------------


def limit_at(sync: Sync, local: datetime) -> float | None:
    """Bytes per second that may go to one NAS at that local time, or None where nothing is limited."""
    if sync.upload_mbps is None or not _holds(sync, _minute_of_week(local)):
        return None
    return sync.upload_mbps * _BYTES_PER_MEGABIT


def next_change(sync: Sync, local: datetime) -> datetime | None:
    """When the limit begins or ends next, in the time zone of ``local``; None where it never does.

    A window is by the clock on the wall. One that would open in an hour that the clock skips opens when the hour is
    skipped. That a clock which is put back may leave a window is not foreseen: look again after at most an hour.
    """
    now = _minute_of_week(local)
    distances = sorted((edge - now) % _WEEK or _WEEK for edge in _edges(sync))
    held = _holds(sync, now)
    change = next((minutes for minutes in distances if _holds(sync, (now + minutes) % _WEEK) != held), None)
    if sync.upload_mbps is None or change is None:
        return None
    wall = local.replace(second=0, microsecond=0, tzinfo=None, fold=0) + timedelta(minutes=change)
    return _on_the_wall(wall, local)


def rclone_timetable(sync: Sync, share: float) -> str | None:
    """The limit times ``share`` as rclone takes it (``--bwlimit``), whose timetables are in local time as well.

    For programs that only upload: rclone holds downloads to the same number.
    """
    if sync.upload_mbps is None:
        return None
    limited = f"{max(1, int(sync.upload_mbps * _BYTES_PER_MEGABIT * share))}B"  # 0 would be no limit
    sunday = WEEK.index("sun") * _DAY
    slots: list[tuple[int, str]] = []
    for minute in sorted({0, *((edge - sunday) % _WEEK for edge in _edges(sync))}):
        value = limited if _holds(sync, (minute + sunday) % _WEEK) else "off"
        if not slots or slots[-1][1] != value:
            slots.append((minute, value))
    if len(slots) == 1:
        return slots[0][1]
    return " ".join(f"{_rclone_time((minute + sunday) % _WEEK)},{value}" for minute, value in slots)


def _rclone_time(minute: int) -> str:
    return f"{WEEK[minute // _DAY].title()}-{minute % _DAY // 60:02}:{minute % 60:02}"


def _minute_of_week(local: datetime) -> int:
    return local.weekday() * _DAY + local.hour * 60 + local.minute


def _spans(sync: Sync) -> Iterator[tuple[int, int]]:
    """Every window of a week: the minute of the week it opens, and for how many minutes."""
    for window in sync.schedule or ():
        for day in window.days or WEEK:
            yield WEEK.index(day) * _DAY + window.opens, (window.closes - window.opens) % _DAY or _DAY


def _holds(sync: Sync, minute: int) -> bool:
    if sync.schedule is None:
        return True
    return any((minute - opens) % _WEEK < length for opens, length in _spans(sync))


def _edges(sync: Sync) -> set[int]:
    return {edge % _WEEK for opens, length in _spans(sync) for edge in (opens, opens + length)}


def _on_the_wall(wall: datetime, local: datetime) -> datetime:
    """The first moment after ``local`` at which its clock shows that time or, where it is skipped, a later one."""
    if local.tzinfo is None:
        return wall
    # An offset is no zone: it is what astimezone() made of this computer's zone, which None stands for.
    zone = None if isinstance(local.tzinfo, timezone) else local.tzinfo
    both = [int(wall.replace(tzinfo=zone, fold=fold).timestamp()) for fold in (0, 1)]
    moments = (at for at in range(min(both), max(both) + 1, 60) if at > local.timestamp())
    shown = (datetime.fromtimestamp(at, zone) for at in moments)
    found = next(moment for moment in shown if moment.replace(tzinfo=None, fold=0) >= wall)
    return found.astimezone() if zone is None else found


# -- the bucket ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast this process may send to one NAS; every transport is given one."""

    sync: Sync
    local: Callable[[], datetime]
    """The present, in local time."""
    busy: Callable[[], int]
    """How many copies to the NAS there are now, this one among them; they share its limit."""

    def share(self) -> float:
        """The part of the limit that is ours now."""
        return 1 / max(1, self.busy())

    def limit(self) -> float | None:
        """Bytes per second that we may send now, or None where nothing is limited."""
        whole = limit_at(self.sync, self.local())
        return None if whole is None else whole * self.share()


def _untold(_byte_count: int) -> None:
    """Nobody wants to hear of granted bytes."""


class Throttle:
    """A token bucket for all workers that send to one NAS; whoever asked first is served first.

    ``limit`` is asked at least every second while somebody waits; ``monotonic`` and ``wait`` are a clock.
    """

    def __init__(
        self,
        limit: Callable[[], float | None],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = pause,
    ) -> None:
        self._limit = limit
        self._monotonic = monotonic
        self._wait = wait
        self._lock = threading.Lock()
        self._rate: float | None = None
        self._looked_at = -_LOOK_AGAIN_SECONDS
        self._filled_at = monotonic()
        self._asked = 0.0
        self._granted = 0.0
        """Of all bytes ever asked for, how many may have gone; more than asked for is what was saved."""

    def take(self, byte_count: int, tell: Callable[[int], object] = _untold) -> None:
        """Wait until so many bytes may go. ``tell`` hears how many may meanwhile, also that none may, twice a second.

        What ``tell`` raises ends the waiting; the bytes count as sent.
        """
        with self._lock:
            self._fill()
            begin = self._asked
            self._asked += byte_count
        told = 0
        while True:
            granted, seconds = self._look(begin, byte_count)
            tell(granted - told)
            told = granted
            if told == byte_count:
                return
            self._wait(seconds)

    def _look(self, begin: float, byte_count: int) -> tuple[int, float]:
        """How many of the bytes behind ``begin`` may have gone by now, and how long to wait for more."""
        with self._lock:
            self._fill()
            lacking = begin + byte_count - self._granted
            if self._rate is None or lacking <= 0 or not byte_count:
                return byte_count, 0.0
            granted = int(min(max(self._granted - begin, 0), byte_count - 1))
            return granted, min(max(lacking / self._rate, _SHORTEST_SECONDS), _SLICE_SECONDS)

    def _fill(self) -> None:
        now = self._monotonic()
        if self._rate is None:
            self._granted = self._asked
        else:
            more = self._granted + self._rate * (now - self._filled_at)
            self._granted = min(more, self._asked + self._rate * _SAVED_SECONDS)
        self._filled_at = now
        if now - self._looked_at >= _LOOK_AGAIN_SECONDS:
            self._rate, self._looked_at = self._limit(), now
