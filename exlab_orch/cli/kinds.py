"""What the text of an option means: a duration, a moment in the future, or a reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from exlab_orch.clock import utc_now


def as_duration(context: click.Context, parameter: click.Parameter, value: str | None) -> timedelta | None:
    """A click callback: ``90s``, ``15m``, ``24h``, ``7d``."""
    if value is None:
        return None
    from exlab_orch.text import parse_duration

    try:
        return parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from error


def as_moment(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    """A click callback: a duration from now, or a date or time to come; without a zone it is this computer's."""
    if value is None:
        return None
    now = utc_now()
    moment = _from_now(value, now) or _date(value)
    if moment is None:
        wanted = "a duration (90s 15m 24h 7d) nor a date (2026-04-20, 2026-04-20T08:00)"
        raise click.BadParameter(f"'{value}' is neither {wanted}.", context, parameter)
    if moment <= now:
        raise click.BadParameter(f"'{value}' is in the past.", context, parameter)
    return moment


def as_reason(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """A click callback: what somebody will understand later; not the "…" that stands for it in the commands we show."""
    if value.strip(" .…"):
        return value
    raise click.BadParameter("Write why, in your own words: it is kept with your name.", context, parameter)


def as_problem(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A click callback: a problem code; one that is mistyped matches nothing, which looks like good news."""
    from exlab_orch.cli.choosing import ANY_PROBLEM
    from exlab_orch.completing import problem_codes
    from exlab_orch.text import did_you_mean, printable

    codes = problem_codes()
    if value is None or value == ANY_PROBLEM or value in codes:
        return value
    meant = did_you_mean(value, codes, show="{}".format) or f" The codes are {', '.join(codes)}."
    raise click.BadParameter(f"No problem has the code '{printable(value)}'.{meant}", context, parameter)


def _from_now(value: str, now: datetime) -> datetime | None:
    from exlab_orch.text import parse_duration

    try:
        return now + parse_duration(value)
    except (ValueError, OverflowError):
        return None


def _date(value: str) -> datetime | None:
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
