"""The verb that reads NAS copies again and compares them with what was proved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from exlab_orch import text
from exlab_orch.cli import endings, output
from exlab_orch.cli.bars import progress_bars
from exlab_orch.cli.call import Call
from exlab_orch.cli.choosing import is_wanted_path, named_runs
from exlab_orch.cli.documents import document, moment, named
from exlab_orch.cli.frame import Verb
from exlab_orch.cli.kinds import as_duration
from exlab_orch.clock import local_words
from exlab_orch.errors import ExlabError
from exlab_orch.progress import QUIET, Observer

if TYPE_CHECKING:
    from exlab_orch.archive import Due, Finding, Round
    from exlab_orch.model import StagedRun
    from exlab_orch.station import Station


@click.command(
    cls=Verb,
    writes=True,
    filters=True,
    examples=[
        "exlab-orch verify Run_2026-04-17T14-32",
        "exlab-orch verify --all --equipment CONFOCAL_01",
        "exlab-orch verify --all --since 90d --max-duration 6h --quiet",
        "exlab-orch verify --all --since 90d --dry-run",
    ],
)
@click.argument("runs", nargs=-1, metavar="RUN...")
@click.option(
    "--all", "every", is_flag=True, help="Every run on the NAS, the one that was read longest ago first; also cleared."
)
@click.option(
    "--since",
    callback=as_duration,
    metavar="TIME",
    help="With --all: leave out what was read in full within that time (30d).",
)
@click.option(
    "--max-duration", callback=as_duration, metavar="TIME", help="Finish the run in hand after that time, then stop."
)
@click.pass_obj
def verify(
    call: Call, runs: tuple[str, ...], every: bool, since: timedelta | None, max_duration: timedelta | None
) -> int:
    """Read NAS copies again and compare every file with what was proved.

    Works for staged runs and for those whose staged copy is deleted. Nothing is written on the NAS. Damage opens a
    problem, which the next good look closes, and ends with exit status 3.

    Not on a terminal, or with --plain: tab separated lines: run, what (ok, damaged, missing, changed, unreadable,
    not_verified), and then files, bytes and how many files others put beside the run, or the name of a file.
    """
    _check_usage(call, runs, every=every, since=since)
    seconds = None if max_duration is None else max_duration.total_seconds()
    nothing = _nothing(since, filtered=call.settings.filtered)
    with call.station(changing=not call.settings.dry_run, works=True) as station:
        due = _due(call, station, runs, since)
        if call.settings.dry_run:
            _rehearse(call, due, nothing)
            return 0
        if not due:
            call.say(nothing)
        return _verify(call, station, [one.run for one in due], named=not every, seconds=seconds)


def _check_usage(call: Call, runs: Sequence[str], *, every: bool, since: timedelta | None) -> None:
    context = click.get_current_context()
    if bool(runs) == every:
        raise click.UsageError("Name the runs, or say --all.", context)
    if runs and (call.settings.filtered or since is not None):
        raise click.UsageError("The filters and --since go with --all, not with names.", context)


def _due(call: Call, station: Station, names: Sequence[str], since: timedelta | None) -> list[Due]:
    from exlab_orch.archive import due_runs, named_due

    if names:
        return named_due(station, named_runs(station, names))
    states = call.settings.state
    return [
        one
        for one in due_runs(station, since=since)
        if is_wanted_path(one.run.run_path, call.settings) and (not states or one.state in states)
    ]


def _nothing(since: timedelta | None, *, filtered: bool) -> str:
    if since is not None:
        which = "Every run on the NAS that matches" if filtered else "Every run on the NAS"
        return f"{which} was read in full within {text.duration(since.total_seconds())}; nothing is due."
    if filtered:
        return "No run on the NAS matches. Leave out a filter to verify the others."
    return "No run is on the NAS yet, so there is nothing to verify."


def _rehearse(call: Call, due: Sequence[Due], nothing: str) -> None:
    """``--dry-run``: what would be read, in which order, and when it was read last."""
    if call.settings.json:
        would = [
            {**named("run", one.run.run_path), "current_state": one.state, "last_read_at": moment(one.read_at)}
            for one in due
        ]
        output.print_json(document(would_verify=would))
        return
    for one in due:
        name = text.printable(one.run.run_path, limit=10_000)
        if call.tables:
            output.print_line(name)
            output.print_line(f"  last read {'never' if one.read_at is None else local_words(one.read_at)}")
        else:
            output.print_tabs((name, one.state, "never" if one.read_at is None else moment(one.read_at)))
    call.say(f"{text.count(len(due), 'run')} would be verified, in this order." if due else nothing)


class _BarForEach:
    """Progress bars that are gone whenever a result is printed."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._bars = ExitStack()
        self._watch: Observer = QUIET

    def begin(self, run_path: str, phase: str, files: int, byte_total: int) -> None:
        """See Observer."""
        self._watch = self._bars.enter_context(progress_bars(self._call))
        self._watch.begin(run_path, phase, files, byte_total)

    def advance(self, byte_count: int) -> None:
        """See Observer."""
        self._watch.advance(byte_count)

    def end(self) -> None:
        """See Observer."""
        self._watch.end()
        self._watch = QUIET
        self._bars.close()


def _verify(call: Call, station: Station, runs: Sequence[StagedRun], *, named: bool, seconds: float | None) -> int:
    from exlab_orch.archive import Round, verify_runs
    from exlab_orch.cli import verify_words

    done = Round()

    def tell(found: Finding) -> None:
        if not call.settings.json:
            verify_words.print_finding(call, found)

    def waits(run: StagedRun) -> None:
        name = text.printable(run.run_path, limit=1000)
        call.say(f"{name}: waits for a free slot of the NAS (sync.parallel_runs).")

    with (
        _told_however_it_ends(call, done),
        endings.told_however_it_ends(lambda: [verify_words.verify_document(done)], as_json=call.settings.json),
    ):
        watch = _BarForEach(call)
        verify_runs(station, runs, named=named, max_seconds=seconds, watch=watch, tell=tell, waits=waits, done=done)
    if call.settings.json:
        output.print_json(verify_words.verify_document(done))
    return _conclude(call, done)


@contextmanager
def _told_however_it_ends(call: Call, done: Round) -> Iterator[None]:
    """Sum up for people what was found until then, also if it is stopped: there may be damage among it."""
    try:
        yield
    except (endings.Stopped, ExlabError):
        _say_how_it_went(call, done)
        raise


def _conclude(call: Call, done: Round) -> int:
    """Say how it went; the exit status."""
    status = done.exit_status
    if call.settings.json:
        worst = next((one.error for one in done.not_verified if one.error.exit_status == status), None)
        return status if worst is None else endings.report_error(worst, as_json=True)
    _say_how_it_went(call, done)
    return status


def _say_how_it_went(call: Call, done: Round) -> None:
    """Say why runs were not verified, each reason once, and how many are as they should be."""
    from exlab_orch.cli import verify_words

    if call.settings.json:
        return
    for words in [*verify_words.reasons(done), *([] if call.tables else verify_words.damages(done))]:
        output.say(words)
    if done.verified or done.not_verified or done.later:
        call.say(verify_words.summary(done))
