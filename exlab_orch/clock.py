"""The only place that asks what time it is; everywhere else the clock is an argument."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def utc_now() -> datetime:
    """The present, aware, in UTC."""
    return datetime.now(UTC)


def boot_seconds() -> float:
    """Seconds since this computer started, sleep included; it never steps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


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
