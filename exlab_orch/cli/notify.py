"""Telling people elsewhere: what is kept for the next message, and the verb that tries the way there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from exlab_orch.cli import output
from exlab_orch.cli.call import Call
from exlab_orch.cli.documents import document
from exlab_orch.cli.frame import Verb, VerbGroup
from exlab_orch.errors import ConfigInvalid

if TYPE_CHECKING:
    from exlab_orch.config import Notify
    from exlab_orch.station import Station


@click.group(cls=VerbGroup)
def notify() -> None:
    """Messages by mail or chat when a problem opens, changes or closes."""


@notify.command(
    cls=Verb,
    writes=True,
    short_help="Send a test message now.",
    examples=["sudo -u exlab-orch exlab-orch notify test"],
)
@click.pass_obj
def test(call: Call) -> None:
    """Send a test message to every address in notify.urls_file, now.

    Run it as the user that runs the passes: what that user cannot read or reach, passes cannot either.
    """
    wanted = _wanted(call)
    path = wanted.urls_file
    with call.station(changing=not call.settings.dry_run) as station:
        if not call.settings.dry_run:
            _send(station, wanted)
    if call.settings.json:
        output.print_json(document(dry_run=call.settings.dry_run, urls_file=path))
    elif call.settings.dry_run:
        call.say(f"Dry run, nothing was sent. A message would go to the addresses in {output.harmless(path)}.")
    else:
        call.say(f"A test message went to every address in {output.harmless(path)}.")


def _wanted(call: Call) -> Notify:
    """The table, or ConfigInvalid where there is none."""
    found = call.config.notify
    if found is None:
        raise ConfigInvalid(
            "The configuration has no [notify] table, so nobody would be told.",
            hint='Add one: urls_file = "/etc/exlab-orch/notify.urls", a file with one address a line; '
            "docs/notify.md has examples.",
        )
    return found


def _send(station: Station, wanted: Notify) -> None:
    """Send, and end the problem that nobody could be told; raises what went wrong with any of the addresses."""
    from exlab_orch.notify import SUBJECT, send

    missed = send(station.config, wanted, "test", "This is a test: messages from exlab-orch arrive here.")
    if missed is not None:
        raise missed
    station.set_problems(SUBJECT, SUBJECT, [])
