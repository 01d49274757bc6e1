"""The verbs by which a person decides: accept, hold, unhold, pause, resume, takeover."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from exlab_orch import text
from exlab_orch.cli import output
from exlab_orch.cli.call import Call
from exlab_orch.cli.choosing import named_runs
from exlab_orch.cli.documents import Document, document, moment, named
from exlab_orch.cli.frame import Verb
from exlab_orch.cli.kinds import as_moment, as_reason
from exlab_orch.clock import local_words

if TYPE_CHECKING:
    from exlab_orch.config import Config
    from exlab_orch.model import StagedRun
    from exlab_orch.station import Station

_reason = click.option(
    "--reason", required=True, callback=as_reason, metavar="TEXT", help="Why; it is kept with your name."
)
_until = click.option(
    "--until", callback=as_moment, metavar="WHEN", help="A duration (24h, 7d) or a date (2026-04-20, 2026-04-20T08:00)."
)


def _done(call: Call, key: str, runs: Sequence[StagedRun], words: str, **more: object) -> None:
    """Say what was decided about each run: a document with --json, else a message."""
    if call.settings.json:
        documents: list[Document] = [{**named("run", run.run_path), **more} for run in runs]
        output.print_json(document(dry_run=call.settings.dry_run, **{key: documents}))
        return
    would = "would be " if call.settings.dry_run else ""
    for run in runs:
        call.say(f"{text.printable(run.run_path, limit=1000)}: {would}{words}")


@click.command(
    cls=Verb, writes=True, examples=["exlab-orch accept Run_2026-04-17T14-32 --reason 'power cut, half is enough'"]
)
@click.argument("run")
@_reason
@click.pass_obj
def accept(call: Call, run: str, reason: str) -> None:
    """Take an unfinished run as it is: it counts as complete now, and the record says so for ever."""
    from exlab_orch import orders
    from exlab_orch.finding import find_run

    with call.station(changing=not call.settings.dry_run) as station:
        found = find_run(station, run)
        if call.settings.dry_run:
            needed = orders.is_to_accept(station, found)
        else:
            needed = orders.accept(station, found, reason=reason, by=orders.who())
        words = _accepted(station, found) if needed else ""
    if not needed:
        call.say(f"{text.printable(found.run_path, limit=1000)}: is proved already; there is nothing to accept.")
    _done(call, "accepted", [found] if needed else [], words, reason=reason)


def _accepted(station: Station, run: StagedRun) -> str:
    """What follows from an accept: also what it does not wave through."""
    from exlab_orch.errors import RunProblem
    from exlab_orch.evaluate import walk_run
    from exlab_orch.planning import copy_wait

    if not os.path.isdir(run.folder):
        return "accepted as it is; what is wrong with it is no longer told, unless it is found again."
    try:
        wait = copy_wait(station, run, walk_run(station, run))
    except RunProblem as problem:
        return f"accepted as it is, but it cannot be copied: {problem.message}\n  {problem.hint}".rstrip()
    if wait is not None:
        return f"accepted as it is, but not copied yet: {wait.text}."
    return "accepted as it is; the next pass copies it."


@click.command(
    cls=Verb,
    writes=True,
    examples=["exlab-orch hold Run_2026-04-17T14-32 --reason 'reanalysis' --until 7d"],
)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@_reason
@_until
@click.pass_obj
def hold(call: Call, runs: tuple[str, ...], reason: str, until: datetime | None) -> None:
    """No delete of these runs until unhold. Copying to the NAS goes on."""
    from exlab_orch import orders

    with call.station(changing=not call.settings.dry_run) as station:
        found = named_runs(station, runs)
        for run in found if not call.settings.dry_run else ():
            orders.hold(station, run, reason=reason, by=orders.who(), until=until)
    end = "until unhold" if until is None else f"until {local_words(until)}"
    _done(call, "held", found, f"held; nothing of it is deleted {end}.", reason=reason, until=moment(until))


@click.command(cls=Verb, writes=True, examples=["exlab-orch unhold Run_2026-04-17T14-32"])
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.pass_obj
def unhold(call: Call, runs: tuple[str, ...]) -> None:
    """Deletes of these runs may go on."""
    from exlab_orch import orders

    with call.station(changing=not call.settings.dry_run) as station:
        found = [run for run in named_runs(station, runs) if _ends_hold(call, station, run)]
        for run in found if not call.settings.dry_run else ():
            orders.unhold(station, run, by=orders.who())
    _done(call, "unheld", found, "not held any more.")


def _ends_hold(call: Call, station: Station, run: StagedRun) -> bool:
    """Whether the run is held; one that is not needs nothing, and that is said."""
    held = station.hold(run) is not None
    if not held:
        call.say(f"{text.printable(run.run_path, limit=1000)}: was not held.")
    return held


_nas = click.option("--nas", metavar="ROOT", help="Only this NAS, by its root folder; without it every NAS.")


@click.command(cls=Verb, writes=True, examples=["exlab-orch pause --until 6h --reason 'NAS firmware'"])
@click.option(
    "--reason", default="maintenance", show_default=True, metavar="TEXT", help="Why; it is kept with your name."
)
@_until
@_nas
@click.pass_obj
def pause(call: Call, reason: str, until: datetime | None, nas: str | None) -> None:
    """Stop copying to the NAS for maintenance. Runs still arrive and are still judged."""
    from exlab_orch import orders

    with call.station(changing=not call.settings.dry_run) as station:
        names = _chosen_nas(station.config, nas)
        for name in names if not call.settings.dry_run else ():
            orders.pause(station, reason=reason, by=orders.who(), until=until, nas=name)
    end = "until 'exlab-orch resume'" if until is None else f"until {local_words(until)}"
    words = f"Copying to {_listed(names)} is paused {end}."
    _say_or_print(call, words, paused=names, until=moment(until), reason=reason)


@click.command(cls=Verb, writes=True, examples=["exlab-orch resume"])
@_nas
@click.pass_obj
def resume(call: Call, nas: str | None) -> None:
    """Go on copying to the NAS."""
    from exlab_orch import orders

    with call.station(changing=not call.settings.dry_run) as station:
        names = _chosen_nas(station.config, nas)
        if not call.settings.dry_run:
            names = [paused for name in names for paused in orders.resume(station, nas=name)]
    words = f"Copying to {_listed(names)} goes on with the next pass." if names else "No NAS was paused."
    _say_or_print(call, words, resumed=names)


def _chosen_nas(config: Config, wanted: str | None) -> list[str]:
    """The names of the NAS that is meant, or of all."""
    from exlab_orch.orders import nas_names

    names = nas_names(config)
    if wanted is None:
        return names
    if wanted.rstrip("/") not in names:
        raise click.UsageError(f"No NAS has the root '{wanted}'. There is: {', '.join(names) or 'none'}.")
    return [wanted.rstrip("/")]


def _listed(names: Sequence[str]) -> str:
    return " and ".join(text.printable(name, limit=1000) for name in names) or "the NAS"


@click.command(cls=Verb, writes=True, examples=["exlab-orch takeover"])
@click.pass_obj
def takeover(call: Call) -> None:
    """Make this computer and this state directory the owner of the staging root.

    Only one computer may drive a staging area: stop exlab-orch on the former owner first.
    """
    from exlab_orch import orders

    config = call.config
    root = text.printable(config.orchestrator.staging_root, limit=1000)
    orders.require_may_take_over(config)
    if not call.settings.dry_run:
        call.confirm(f"Is exlab-orch stopped on the former owner, and shall this computer own {root}?")
        call.changing = True
        orders.takeover(config)
    _say_or_print(call, f"This computer owns {root} now.", owner=True, staging_root=root)


def _say_or_print(call: Call, words: str, **keys: object) -> None:
    if call.settings.json:
        output.print_json(document(dry_run=call.settings.dry_run, **keys))
    elif call.settings.dry_run:
        call.say(f"Dry run, nothing was written. It would end with: {words}")
    else:
        call.say(words)
