"""The verb that deletes staged copies of proved runs, after saying what that means and asking."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from exlab_orch import text
from exlab_orch.cli import endings, output
from exlab_orch.cli.again import hint_of
from exlab_orch.cli.bars import progress_bars
from exlab_orch.cli.call import Call
from exlab_orch.cli.choosing import named_runs, wanted
from exlab_orch.cli.documents import Document, clear_document, document, named
from exlab_orch.cli.frame import Verb
from exlab_orch.cli.words import amount
from exlab_orch.clock import utc_now
from exlab_orch.errors import (
    EXIT_DONE,
    EXIT_LOCKED,
    EXIT_REFUSED,
    EXIT_UNAVAILABLE,
    ExlabError,
    Locked,
    NasFault,
    RunProblem,
)

if TYPE_CHECKING:
    from exlab_orch.cleanup import ClearPreview
    from exlab_orch.holds import Hold
    from exlab_orch.model import StagedRun
    from exlab_orch.station import Station
    from exlab_orch.trash import Cleared

_WORST_FIRST = (EXIT_REFUSED, EXIT_UNAVAILABLE, EXIT_LOCKED)
_REFUSALS = (RunProblem, NasFault, Locked)


@dataclass
class _Outcome:
    """What became of each run so far."""

    cleared: list[Document] = field(default_factory=list)
    refused: list[tuple[str, ExlabError]] = field(default_factory=list)
    held: list[Hold] = field(default_factory=list)
    """Of the runs that --all-verified passed over."""

    def attempt(self, run: StagedRun, act: Callable[[StagedRun], None]) -> bool:
        """Do it, and note a refusal so that the others go on; whether it was done."""
        try:
            act(run)
        except _REFUSALS as error:
            self.refused.append((run.run_path, error))
            return False
        return True

    def worst(self) -> ExlabError | None:
        """The error that decides the exit status, or None."""
        errors = [error for _run, error in self.refused]
        return min(errors, key=lambda error: _rank(error.exit_status), default=None)


def _rank(status: int) -> int:
    return _WORST_FIRST.index(status) if status in _WORST_FIRST else len(_WORST_FIRST)


_DISAPPEARED = "run_disappeared"
_FEW = 3
"""Runs that are held, or people who hold them: so many are named one by one."""


@click.command(
    cls=Verb,
    writes=True,
    filters=True,
    examples=[
        "exlab-orch clear Run_2026-04-17T14-32",
        "exlab-orch clear --all-verified --equipment CONFOCAL_01",
        "exlab-orch clear --later Run_2026-04-17T14-32",
        "exlab-orch clear --all-verified --dry-run",
    ],
)
@click.argument("runs", nargs=-1, metavar="RUN...")
@click.option(
    "--all-verified", is_flag=True, help="Every run that is on the NAS, checked (the filters narrow it down)."
)
@click.option("--later", is_flag=True, help="Note the wish; the next pass does it.")
@click.pass_obj
def clear(call: Call, runs: tuple[str, ...], all_verified: bool, later: bool) -> int:
    """Delete the staged copy of proved runs.

    Every file is read again from the NAS and compared before anything is deleted. A file that changed in staging, or
    that is missing or different on the NAS, and nothing of that run is deleted.
    """
    _check_usage(call, runs, all_verified=all_verified)
    with call.station(changing=not call.settings.dry_run, works=not later, clears=True) as station:
        outcome = _Outcome()
        chosen = _all_verified(call, station, outcome) if all_verified else named_runs(station, runs)
        if not chosen:
            other = "other " if outcome.held else ""
            call.say(f"No {other}run is on the NAS, checked, so there is no staged copy to delete.")
        if call.settings.dry_run:
            return _rehearse(call, station, chosen, outcome)
        if later:
            return _clear_later(call, station, chosen, outcome)
        return _clear_now(call, station, chosen, outcome)


def _check_usage(call: Call, runs: Sequence[str], *, all_verified: bool) -> None:
    if bool(runs) == all_verified:
        raise click.UsageError("Name the runs, or say --all-verified.", click.get_current_context())
    if runs and call.settings.filtered:
        raise click.UsageError("The filters go with --all-verified, not with names.", click.get_current_context())


def _all_verified(call: Call, station: Station, outcome: _Outcome) -> list[StagedRun]:
    """The proved runs that are in staging; those that are held are noted and left out."""
    from exlab_orch.holds import hold_of
    from exlab_orch.rows import list_rows

    now = utc_now()
    proved = [row for row in wanted(list_rows(station, now=now), call.settings) if row.current_state == "sync_verified"]
    here = [row for row in proved if row.problem is None or row.problem.code != _DISAPPEARED]
    holds = [hold_of(station.staging_root, row.run, now) for row in here if row.held]
    outcome.held += [hold for hold in holds if hold is not None]
    return named_runs(station, list(dict.fromkeys(row.run for row in here if not row.held)))


def _rehearse(call: Call, station: Station, runs: Sequence[StagedRun], outcome: _Outcome) -> int:
    """``--dry-run``: what would be refused, and what would be proved and deleted."""
    previews = _previews(station, runs, outcome)
    if call.settings.json:
        would = [
            {
                **named("run", one.run_path),
                "file_count": one.files,
                "byte_total": one.byte_total,
                "proof_seconds": round(one.seconds),
            }
            for one in previews
        ]
        output.print_json(document(would_clear=would, refused=_refused(outcome), held=_held(outcome)))
    else:
        for one in previews:
            cost = f"would be proved again ({_cost([one])}), then deleted" if one.files else "is gone already"
            output.print_line(f"{text.printable(one.run_path, limit=1000)}: {cost}")
    return _conclude(call, outcome)


def _previews(station: Station, runs: Sequence[StagedRun], outcome: _Outcome) -> list[ClearPreview]:
    """What each run would cost; those that would be refused are noted and left out."""
    from exlab_orch import cleanup

    previews: list[ClearPreview] = []

    def look(run: StagedRun) -> None:
        if not os.path.isdir(run.folder):
            previews.append(cleanup.ClearPreview(run.run_path, 0, 0, 0.0))
            return
        if run.place.path == run.run_path:  # what lies in the trash is judged by the clear itself
            cleanup.check(station, run)
        previews.append(cleanup.preview(station, run))

    for run in runs:
        outcome.attempt(run, look)
    return previews


def _cost(previews: Sequence[ClearPreview]) -> str:
    files, size = sum(one.files for one in previews), sum(one.byte_total for one in previews)
    return f"{amount(files, size)}, about {text.duration(sum(one.seconds for one in previews))}"


def _clear_now(call: Call, station: Station, runs: Sequence[StagedRun], outcome: _Outcome) -> int:
    if not call.settings.yes:
        ready = {one.run_path: one for one in _previews(station, runs, outcome)}
        runs = [run for run in runs if run.run_path in ready]
        _ask(call, list(ready.values()))
    from exlab_orch import cleanup, orders
    from exlab_orch.making_room import watch_space
    from exlab_orch.outcome import logged_failure
    from exlab_orch.reserve import keep_reserves

    by = orders.who()

    def act(run: StagedRun) -> None:
        with progress_bars(call) as watch:
            cleared = cleanup.clear(station, run, by=by, watch=watch)
        keep_reserves(station.staging_root, station.state.path)  # before instruments take all that became free
        _note(call, outcome, cleared)

    def so_far() -> list[Document]:
        return [clear_document(outcome.cleared, _refused(outcome), _held(outcome))]

    with endings.told_however_it_ends(so_far, as_json=call.settings.json):
        for run in runs:
            outcome.attempt(run, act)
    if outcome.cleared:  # a list right after it must not say that the disk is as full as before
        with logged_failure("the space of the staging disk"):
            watch_space(station)
    if call.settings.json:
        output.print_json(*so_far())
    return _conclude(call, outcome)


def _ask(call: Call, previews: Sequence[ClearPreview]) -> None:
    """Say how much would be deleted and how long the proof takes, and ask; nothing to delete needs no question."""
    present = [one for one in previews if one.files]
    if not present:
        return
    for one in present:
        call.say(f"{text.printable(one.run_path, limit=1000)}: {amount(one.files, one.byte_total)}")
    copies = "the staged copy" if len(present) == 1 else f"{len(present)} staged copies"
    call.confirm(f"Read everything back from the NAS ({_cost(present)}), then delete {copies}?")


def _note(call: Call, outcome: _Outcome, cleared: Cleared) -> None:
    run = named("run", cleared.run_path)
    outcome.cleared.append({**run, "files_cleared": cleared.files_cleared, "bytes_freed": cleared.bytes_freed})
    done = f"staged copy deleted, {amount(cleared.files_cleared, cleared.bytes_freed)} freed"
    gone = "the staged copy is gone already"
    call.say(f"{text.printable(cleared.run_path, limit=1000)}: {done if cleared.files_cleared else gone}.")


def _refused(outcome: _Outcome) -> list[Document]:
    return [{**named("run", run), "code": error.code, "message": error.message} for run, error in outcome.refused]


def _held(outcome: _Outcome) -> list[Document]:
    return [{**named("run", hold.run_path), "by": hold.by, "reason": hold.reason} for hold in outcome.held]


def _passed_over(holds: Sequence[Hold]) -> Iterator[str]:
    """Which runs stay because somebody holds them; of many, how many each person holds."""
    if len(holds) <= _FEW:
        for hold in holds:
            run, by, reason = (text.printable(word, limit=1000) for word in (hold.run_path, hold.by, hold.reason))
            yield f"{run}: held by {by}, so its staged copy stays: {reason}"
        return
    people = Counter(text.printable(hold.by) for hold in holds)
    whose = ", ".join(f"{number} by {by}" for by, number in people.most_common(_FEW))
    others = ", and others" if len(people) > _FEW else ""
    yield f"{text.count(len(holds), 'run')} are held, so their staged copies stay: {whose}{others}."


def _conclude(call: Call, outcome: _Outcome) -> int:
    """Say which runs were passed over and why others were refused; the exit status of the worst."""
    for words in _passed_over(outcome.held):
        call.say(words)
    worst = outcome.worst()
    if worst is None:
        return EXIT_DONE
    if call.settings.json:
        return endings.report_error(worst, as_json=True)
    for words in _reasons(outcome):
        output.say(words)
    return worst.exit_status


def _reasons(outcome: _Outcome) -> Iterator[str]:
    """Why runs were refused; a NAS that is away is told once, and what to do once for all runs that it is said of."""
    by_reason: dict[tuple[str, str, bool], list[str]] = {}
    for run, error in outcome.refused:
        reason = error.message, hint_of(error), isinstance(error, NasFault)
        by_reason.setdefault(reason, []).append(text.printable(run, limit=1000))
    for (message, hint, is_nas), runs in by_reason.items():
        others = f" and {text.count(len(runs) - 1, 'other')}" if runs[1:] else ""
        yield from (f"{run}: {message}" for run in ([f"{runs[0]}{others}"] if is_nas else runs))
        if hint:
            yield f"  {hint}"


def _clear_later(call: Call, station: Station, runs: Sequence[StagedRun], outcome: _Outcome) -> int:
    from exlab_orch import orders

    by = orders.who()
    noted: list[Document] = []

    def act(run: StagedRun) -> None:
        if not orders.clear_later(station, run, by=by):
            call.say(f"{text.printable(run.run_path, limit=1000)}: the staged copy is gone already.")
            return
        noted.append(named("run", run.run_path))
        call.say(
            f"{text.printable(run.run_path, limit=1000)}: the next pass proves it again and deletes the staged copy."
        )

    for run in runs:
        outcome.attempt(run, act)
    if call.settings.json:
        output.print_json(document(later=noted, refused=_refused(outcome), held=_held(outcome)))
    return _conclude(call, outcome)
