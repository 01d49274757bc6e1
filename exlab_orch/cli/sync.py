"""The verb that copies runs to the NAS now."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from exlab_orch import text
from exlab_orch.cli import endings, output
from exlab_orch.cli.bars import progress_bars
from exlab_orch.cli.call import Call
from exlab_orch.cli.choosing import named_runs
from exlab_orch.cli.documents import Document, document, row_document
from exlab_orch.cli.frame import Verb
from exlab_orch.cli.words import is_blocked, state_word
from exlab_orch.clock import utc_now
from exlab_orch.errors import EXIT_DONE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exlab_orch.model import StagedRun
    from exlab_orch.passes import PassReport
    from exlab_orch.rows import Row
    from exlab_orch.station import Station

_NEW_VERSION = "--new-version"
# No argument of a program can hold a NUL, so this one stands for the option among the positional arguments.
_MARK = "\0new-version"


class _SyncVerb(Verb):
    """``sync RUN... --new-version [FILE...]``: what follows the option are files, what precedes it are runs."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the place of the option among the positional arguments."""
        options = args[: args.index("--")] if "--" in args else args
        if _NEW_VERSION in options:
            args[options.index(_NEW_VERSION)] = _MARK
        return super().parse_args(ctx, args)


def _split(_context: click.Context, _parameter: click.Parameter, words: tuple[str, ...]) -> Any:
    """The runs, and the files of a new version or None. In front of every word the option is a mere flag."""
    if _MARK not in words:
        return words, None
    place = words.index(_MARK)
    runs, files = words[:place], words[place + 1 :]
    if not runs:
        runs, files = files, ()
    if not runs:
        raise click.UsageError("Name the run: exlab-orch sync RUN --new-version [FILE...]")
    if files and len(runs) > 1:
        raise click.UsageError(f"What follows {_NEW_VERSION} are files of one run, so name one run before it.")
    return runs, tuple(map(os.fsencode, files))


@click.command(
    cls=_SyncVerb,
    writes=True,
    examples=[
        "exlab-orch sync Run_2026-04-17T14-32",
        "exlab-orch sync Run_2026-04-17T14-32 --new-version",
        "exlab-orch sync Run_2026-04-17T14-32 --new-version images/tile_07.tif",
    ],
)
@click.argument("runs_and_files", nargs=-1, required=True, metavar="RUN...", callback=_split)
@click.option(
    _NEW_VERSION,
    "_new_version",
    is_flag=True,
    expose_value=False,
    help="Where the NAS holds other content: move that to .exlab-wizard/superseded there and put the staged file in "
    "its place. With FILE... after it only those files, named relative to the run.",
)
@click.pass_obj
def sync(call: Call, runs_and_files: tuple[tuple[str, ...], tuple[bytes, ...] | None]) -> int:
    """Copy runs to the NAS now: forget failed attempts and waiting times, copy, read back, compare.

    A run that is not complete yet still waits for its signal; see 'exlab-orch accept'.
    """
    names, files = runs_and_files
    if call.settings.dry_run:
        return _rehearse(call, names, is_new_version=files is not None)
    with call.station(changing=True, works=True, clears=True) as station:
        runs = named_runs(station, names)
        with endings.told_however_it_ends(lambda: [_document(_rows(station, runs))], as_json=call.settings.json):
            report = _copy(call, station, runs, files)
        rows = _rows(station, runs)
    return _conclude(call, rows, report)


def _copy(call: Call, station: Station, runs: Sequence[StagedRun], files: tuple[bytes, ...] | None) -> PassReport:
    """Make them due and run a pass over them alone."""
    from exlab_orch import orders
    from exlab_orch.passes import run_pass

    by = orders.who()
    for run in runs:
        orders.make_due(station, run, by=by, new_version=files is not None, files=files or ())
    with progress_bars(call) as watch:
        return run_pass(station, only=frozenset({"evaluate", "sync"}), runs=runs, watch=watch)


def _rows(station: Station, runs: Sequence[StagedRun]) -> list[Row]:
    from exlab_orch.rows import list_rows

    paths = {run.run_path for run in runs}
    return [row for row in list_rows(station, now=utc_now()) if row.run in paths]


def _document(rows: Sequence[Row]) -> Document:
    return document(runs=[row_document(row) for row in rows])


def _conclude(call: Call, rows: Sequence[Row], report: PassReport) -> int:
    """Say where each run is now; the exit status."""
    if call.settings.json:
        output.print_json(_document(rows))
    for row in rows:
        _say_result(call, row, was_copied=row.run in report.copied)
    blocked = [endings.exit_status_of(row.problem.code) for row in rows if row.problem is not None and is_blocked(row)]
    return report.exit_status or next((one for one in blocked if one), EXIT_DONE)


def _say_result(call: Call, row: Row, *, was_copied: bool) -> None:
    where = (
        f": {text.printable(row.nas_path, limit=1000)}" if row.nas_path and row.current_state == "sync_verified" else ""
    )
    why = f", {row.waiting_for}" if row.waiting_for else ""
    name = text.printable(row.run, limit=1000)
    if row.current_state == "sync_verified" and not was_copied and not is_blocked(row):
        again = f"To read it there again: exlab-orch verify {text.pasted(row.run)}"
        call.say(f"{name}: proved before{where}; nothing was copied now.\n  {again}")
    elif row.problem is None or not is_blocked(row):
        call.say(f"{name}: {state_word(row)}{where or why}")
    elif not call.settings.json:
        output.say(f"{name}: {row.problem.code}: {row.problem.message}\n  {row.problem.hint}".rstrip())


def _rehearse(call: Call, names: Sequence[str], *, is_new_version: bool) -> int:
    from exlab_orch.planning import plan_sync

    with call.station(changing=False) as station:
        runs = {run.run_path: run for run in named_runs(station, names)}
        rows = _rows(station, [*runs.values()])
        steps = {row.run: plan_sync(station, runs[row.run]) for row in rows}
    if call.settings.json:
        output.print_json(document(would_copy=[row_document(row) for row in rows]))
        return EXIT_DONE
    for row in rows:
        said = "; ".join(steps[row.run]) or _without_a_step(row, is_new_version=is_new_version)
        output.print_line(f"{text.printable(row.run, limit=1000)}: {state_word(row)}; {said}")
    return EXIT_DONE


def _without_a_step(row: Row, *, is_new_version: bool) -> str:
    """What becomes of a run that has not arrived, or is proved."""
    if row.current_state == "sync_verified":
        return "would be looked at and copied now" if is_new_version else "would be copied where it changed since"
    return f"would wait: {row.waiting_for or 'it has not arrived yet'}"
