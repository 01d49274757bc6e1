"""Small pieces that the sections of a report's page share: times, names, notes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from exlab_orch import text
from exlab_orch.cli.html import Content, Markup, element
from exlab_orch.clock import as_local, format_utc


def when(moment: datetime) -> Markup:
    """A moment as the clock on the wall here shows it, with UTC for machines and for who asks."""
    here, utc = f"{as_local(moment):%Y-%m-%d %H:%M}", moment.astimezone(UTC)
    return element("time", here, datetime=format_utc(moment), title=f"{utc:%Y-%m-%d %H:%M:%S} UTC")


def span(length: timedelta) -> str:
    """How long: "2 h 5 min", "30 d"."""
    return text.duration(length.total_seconds())


def identifier(name: str) -> str:
    """A name from outside, whole and on one line."""
    return text.printable(name, limit=10_000)


def note(*contents: Content) -> Markup:
    """A sentence of explanation."""
    return element("p", *contents, class_="note")


def nothing(*contents: Content) -> Markup:
    """Says that there is nothing to show, and why."""
    return element("p", *contents, class_="card soft")


def good(*contents: Content) -> Markup:
    """Says that all is well."""
    return element("p", *contents, class_="card fine")


def told(*contents: Content) -> Markup:
    """Says what the reader must know about everything below."""
    return element("p", *contents, class_="card told")
