"""The verbs that only look: ``list``, ``show`` and ``log``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from exlab_orch import text
from exlab_orch.cli import endings, output
from exlab_orch.cli.call import Call
from exlab_orch.cli.choosing import ANY_PROBLEM, SORTS, Choice
from exlab_orch.cli.frame import Verb
from exlab_orch.cli.kinds import as_problem
from exlab_orch.cli.pasting import pasteable
from exlab_orch.clock import format_utc, utc_now
from exlab_orch.errors import NasPaused, OrchestratorDisabled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from exlab_orch.disks import Disk
    from exlab_orch.ledger import LedgerLine
    from exlab_orch.looks import LastLook
    from exlab_orch.model import Problem
    from exlab_orch.rows import Row
    from exlab_orch.station import Station


@click.command(
    "list",
    cls=Verb,
    filters=True,
    examples=[
        "exlab-orch list",
        "exlab-orch list --equipment CONFOCAL_01 --state sync_verified",
        "exlab-orch list --problem",
        "exlab-orch list --sort largest",
        "exlab-orch list --watch",
        "exlab-orch list --cleared",
        "exlab-orch list --json | jq '.runs[] | select(.problem)'",
    ],
)
@click.option("--cleared", is_flag=True, help="The runs that are on the NAS only (from the ledger).")
@click.option(
    "--problem",
    callback=as_problem,
    is_flag=False,
    flag_value=ANY_PROBLEM,
    metavar="[CODE]",
    help="Only what needs a person, or only this problem code.",
)
@click.option(
    "--sort",
    type=click.Choice([*SORTS]),
    default="project",
    show_default=True,
    help="What comes first: a project with a problem, the newest event, the largest run, or the name.",
)
@click.option("--watch", is_flag=True, help="Show it anew every few seconds, until Ctrl-C.")
@click.pass_obj
def list_runs(call: Call, cleared: bool, problem: str | None, sort: str, watch: bool) -> None:
    """The runs in staging and what happens next; what needs a person comes first.

    Not on a terminal, or with --plain: one line per run, tab separated: path, state, state in words, files, bytes,
    last event, problem code, reason. With --cleared: path, time, files, bytes, place on the NAS, last verified,
    ok or damaged.
    """
    choice = Choice(problem, sort)
    if cleared and (choice != Choice() or watch):
        raise click.UsageError(
            "--cleared shows the ledger; --problem, --sort and --watch are for the runs in staging.",
            click.get_current_context(),
        )
    if watch:
        click.get_current_context().exit(_watch(call, choice))
    with call.station(changing=False) as station:
        if cleared:
            _show_cleared(call, station)
        else:
            _show_rows(call, station, choice, utc_now())


def _watch(call: Call, choice: Choice) -> int:
    """The live table without passes, for any user."""
    if not call.redraws:
        words = "--watch needs a terminal whose screen can be drawn anew. Without --watch the list is printed once."
        raise click.UsageError(words, click.get_current_context())
    from exlab_orch.cli.watch_view import LiveTable

    with LiveTable(call, choice) as table:
        try:
            table.wait()
        except endings.Stopped as stopped:  # how one ends looking: there is nothing to tell
            return stopped.exit_status


def _show_rows(call: Call, station: Station, choice: Choice, now: datetime) -> None:
    from exlab_orch.cli.choosing import chosen, nothing_words, wanted
    from exlab_orch.disks import known_disks, place_problems
    from exlab_orch.next_step import next_command
    from exlab_orch.rows import list_rows
    from exlab_orch.standstill import why_no_pass

    every, standstill = list_rows(station, now=now), why_no_pass(station, now)
    rows = chosen(wanted(every, call.settings), choice)
    problems = (*(() if standstill is None else (standstill,)), *place_problems(station))
    if call.settings.json:
        from exlab_orch.cli.documents import list_document

        output.print_json(list_document(rows, known_disks(station, now), problems, host=station.host, now=now))
        return
    first = [one for one in problems if choice.problem in (ANY_PROBLEM, one.code)]  # before single runs
    _tell_problems(call, first)
    if not rows:
        if not first:
            call.say(nothing_words(station, every, call.settings, choice))
    else:
        command = next_command(station, [row.problem for row in rows if row.problem is not None], standstill)
        if call.tables:
            _print_table(call, rows, known_disks(station, now), choice, command, now)
        else:
            _print_tabs(call, rows, command)
    if choice.problem is None:
        _tell_problems(call, [one for one in problems if not _is_told(call, one, rows)])


def _is_told(call: Call, problem: Problem, rows: Sequence[Row]) -> bool:
    """Whether a run in the list has told it already, the line of a NAS who paused it, or an empty list why it is so."""
    has_line = call.tables and bool(rows)
    if problem.code == OrchestratorDisabled.code:
        return not rows
    return (has_line and problem.code == NasPaused.code) or any(row.problem == problem for row in rows)


def _tell_problems(call: Call, problems: Sequence[Problem]) -> None:
    """What is wrong with a whole NAS or the staging disk; on a terminal in red."""
    from rich.text import Text

    for problem in problems:
        words = f"{problem.code}: {problem.message}"
        if not call.tables:
            call.say(f"{words}\n{problem.hint}".rstrip())
            continue
        call.console().print(Text(words, "red", overflow="fold"))
        if problem.hint:
            hint = output.for_reading(f"→ {pasteable(problem.hint)}", call.console().width)
            call.console().print(Text(hint), soft_wrap=True)


def _print_table(
    call: Call, rows: Sequence[Row], disks: Sequence[Disk], choice: Choice, command: str, now: datetime
) -> None:
    from rich.text import Text

    from exlab_orch.cli.listing_view import disk_line, print_table
    from exlab_orch.cli.words import closing_line, looking_on, next_commands

    console = call.console()
    print_table(console, rows, by_place=choice.sort == "project")
    console.print(Text(f"\n{closing_line(rows)}"))
    for disk in disks:
        console.print(disk_line(disk, now))
    for label, words in next_commands(rows, command) or (looking_on(rows),):
        console.print(Text.assemble((f"{label}: ", "bold"), words), soft_wrap=True)


def _print_tabs(call: Call, rows: Sequence[Row], command: str) -> None:
    from exlab_orch.cli.tabs import list_tabs
    from exlab_orch.cli.words import next_commands

    for fields in list_tabs(rows):
        output.print_tabs(fields)
    for label, words in next_commands(rows, command):
        call.say(f"{label}: {words}")


def _show_cleared(call: Call, station: Station) -> None:
    from exlab_orch.cli.choosing import wanted_lines
    from exlab_orch.looks import cleared_looks
    from exlab_orch.rows import list_cleared

    lines = wanted_lines(list_cleared(station), call.settings)
    looks = cleared_looks(station, lines)
    if call.settings.json:
        from exlab_orch.cli.documents import cleared_document

        output.print_json(cleared_document(lines, looks, host=station.host, now=utc_now()))
    elif not lines:
        every = station.ledger.lines()
        no_match = "No run that is on the NAS only matches. Leave out a filter to see the others."
        call.say(no_match if every else "No staged copy has been deleted yet, so no run is on the NAS only.")
    elif call.tables:
        _print_cleared_table(call, lines, looks)
    else:
        for line in lines:
            output.print_tabs(_cleared_tabs(line, looks.get(line.run_path)))


def _cleared_tabs(line: LedgerLine, look: LastLook | None) -> tuple[object, ...]:
    verified = ("", "") if look is None else (format_utc(look.at), "ok" if look.ok else "damaged")
    run, place = (text.printable(path, limit=10_000) for path in (line.run_path, line.nas_path))
    return run, line.cleared_at, line.files_cleared, line.bytes_freed, place, *verified


def _print_cleared_table(call: Call, lines: Sequence[LedgerLine], looks: Mapping[str, LastLook]) -> None:
    from exlab_orch.cli.cleared_view import print_cleared

    print_cleared(call.console(), lines, looks)


@click.command(
    cls=Verb,
    examples=[
        "exlab-orch show Run_2026-04-17T14-32",
        "exlab-orch show CONFOCAL_01/PROJ-0042/Runs/Run_2026-04-17T14-32",
    ],
)
@click.argument("run")
@click.pass_obj
def show(call: Call, run: str) -> None:
    """One run: is it safe on the NAS, may the instrument delete it, why does it wait, what happened so far?"""
    from exlab_orch.detail import run_detail
    from exlab_orch.finding import find_run

    now = utc_now()
    with call.station(changing=False) as station:
        detail = run_detail(station, find_run(station, run), now=now)
        host = station.host
    if call.settings.json:
        from exlab_orch.cli.documents import show_document

        output.print_json(show_document(detail, host=host, now=now))
        return
    if call.tables:
        from exlab_orch.cli.show_view import print_detail

        print_detail(call.console(), detail)
        return
    from exlab_orch.cli.tabs import show_tabs

    for fields in show_tabs(detail):
        output.print_tabs(fields)


@click.command(cls=Verb, examples=["exlab-orch log Run_2026-04-17T14-32"])
@click.argument("run")
@click.pass_obj
def log(call: Call, run: str) -> None:
    """The log of one run: one line per event, as it stands in .exlab-wizard/wizard.HOST.log."""
    from exlab_orch.finding import find_run
    from exlab_orch.model import log_name
    from exlab_orch.ownfiles import read_log

    with call.station(changing=False) as station:
        found = find_run(station, run)
        content = read_log(found, station.log_host)
        cleared = station.ledger.last(found.run_path)
        name = log_name(station.log_host)
    lines = [] if content is None else content.decode(errors="backslashreplace").splitlines()
    if call.settings.json:
        from exlab_orch.cli.documents import document, named

        output.print_json(document(**named("run", found.run_path), lines=lines))
        return
    for line in lines:
        output.print_line(line)
    if not lines:
        call.say(_no_log(cleared, name))


def _no_log(cleared: LedgerLine | None, name: str) -> str:
    if cleared is None:
        return "Nothing has been logged for this run yet; the first pass that sees it begins the log."
    place = text.printable(cleared.nas_path, limit=1000)
    return f"The staged copy is deleted; the log is on the NAS: {place}/.exlab-wizard/{name}"
