"""The only place that asks what time it is; everywhere else the clock is an argument."""

from __future__ import annotations

import select
from datetime import UTC, datetime
from typing import Final

_FARTHEST_SECONDS: Final = 2 * 86_400.0
"""We put nothing off for longer than this, whatever the retention is."""


def utc_now() -> datetime:
    """The present, aware, in UTC."""
    return datetime.now(UTC)


def as_local(moment: datetime) -> datetime:
    """The same moment as the clock on the wall shows it here."""
    return moment.astimezone()


def local_words(moment: datetime | str) -> str:
    """A moment as people read it, by the clock on the wall here and to the minute: "2026-04-17 14:32 CEST".

    A text is a time as records carry it; one that names no moment stays as it is.
    """
    found = parse_utc(moment) if isinstance(moment, str) else moment
    return str(moment) if found is None else f"{as_local(found):%Y-%m-%d %H:%M %Z}".rstrip()


def boot_seconds() -> float:
    """Seconds since this computer started, sleep included; it never steps.

    The kernel's own word, not the C library's: what fakes the wall clock of a program fakes the boot clock there too.
    """
    with open("/proc/uptime", encoding="ascii") as file:
        return float(file.read().split()[0])


def pause(seconds: float) -> None:
    """Wait that long. By a relative time: ``time.sleep`` waits for a moment, and fails where clocks are faked."""
    select.select([], [], [], seconds)


def has_come(deadline: float, now: datetime) -> bool:
    """Whether one of our own deadlines, in seconds since 1970, has come.

    One that is farther away than we put off anything was set while the clock was wrong, and counts as come: what is
    looked at too early waits again, what waits for the year 2035 is never looked at.
    """
    return not 0 < deadline - now.timestamp() <= _FARTHEST_SECONDS


def boot_id() -> str:
    """The kernel's name for this start of the computer."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def format_utc(moment: datetime) -> str:
    """RFC 3339 in UTC with ``Z`` and milliseconds, as records and JSON carry times."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_utc(text: str) -> datetime | None:
    """The moment an RFC 3339 text names, or None where it names none, has no time zone or fits no calendar."""
    try:
        moment = datetime.fromisoformat(text)
        return None if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def from_epoch_ns(nanoseconds: int) -> datetime:
    """The moment of a file's time stamp; what no calendar holds becomes the nearest that it does."""
    seconds = min(max(nanoseconds / 1e9, -62_000_000_000), 253_000_000_000)
    return datetime.fromtimestamp(seconds, UTC)
