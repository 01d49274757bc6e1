"""The verb that tells how it is going, in one short look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from exlab_orch import text
from exlab_orch.cli import output
from exlab_orch.cli.call import Call
from exlab_orch.cli.documents import Document, disk_document, document, moment, problem_document
from exlab_orch.cli.frame import Verb
from exlab_orch.cli.pasting import pasteable
from exlab_orch.clock import format_utc, utc_now

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from exlab_orch.disks import Disk
    from exlab_orch.model import Problem
    from exlab_orch.status import NasStatus, Status

Line = tuple[str, str, str]
"""A label, what there is to say, and a style."""
_LABEL_WIDTH = 14
_PAUSED = "nas_paused"
_COMMAND = "command"
"""The label of a line without one that is never broken."""


@click.command(cls=Verb, examples=["exlab-orch status", "exlab-orch status --json | jq '.problems[]'"])
@click.pass_obj
def status(call: Call) -> None:
    """How it is going: the last pass, what is copied now, disk and NAS, and what needs a person.

    It reads what passes wrote down and asks no NAS, so it is quick also when one hangs.
    """
    from exlab_orch.status import status_now

    now = utc_now()
    found = status_now(call.config, now)
    if call.settings.json:
        output.print_json(status_document(found, now))
    elif call.tables:
        _print_lines(call, found, now)
    else:
        for fields in status_tabs(found):
            output.print_tabs(fields)


# -- words ---------------------------------------------------------------------------------------------------


def status_lines(found: Status, now: datetime) -> Iterator[Line]:
    """The status as a person reads it."""
    from exlab_orch.cli.words import disk_words, progress_words
    from exlab_orch.model import SHOWN_AS

    if found.standstill is not None:
        yield from _problem_lines(found.standstill, now)
    yield "Last pass", _last_pass(found, now), "" if found.last_pass_at else "yellow"
    for one in found.running:
        yield "Now", f"{text.printable(one.run_path, 1000)}\n{progress_words(one)}", "cyan"
    states = [f"{found.states[name]:,} {word}" for name, word in SHOWN_AS.items() if name in found.states]
    if found.on_another_nas:
        states.append(f"{found.on_another_nas:,} of them on another NAS than is configured")
    yield "Runs", "; ".join(states) or ("none that a pass knows" if found.seen else "not known"), ""
    words, is_low = disk_words(found.staging, now)
    yield "Disk", words, "yellow" if is_low else ""
    for nas in found.nas:
        yield from _nas_lines(nas, now)
    for problem in found.problems:
        if problem != found.standstill:
            yield from _problem_lines(problem, now)
    yield "Next", found.next_command, "bold"


def _problem_lines(problem: Problem, now: datetime) -> Iterator[Line]:
    from exlab_orch.cli.words import hint_remarks

    since = text.duration((now - problem.since).total_seconds())
    subject = text.printable(problem.subject, 1000)
    yield "Problem", f"{problem.code}, for {since}\n{subject}\n{problem.message}", "red"
    for remark in hint_remarks(problem.hint):
        yield _COMMAND if remark.is_whole else "", output.harmless(remark.text), ""


def _last_pass(found: Status, now: datetime) -> str:
    if found.last_pass_at is None:
        return "none yet" if found.seen else "not known: this user may not read what passes wrote down"
    return text.ago((now - found.last_pass_at).total_seconds())


def _nas_lines(nas: NasStatus, now: datetime) -> Iterator[Line]:
    from exlab_orch.cli.words import disk_words

    words, is_low = disk_words(nas.disk, now)
    if any(one.code != _PAUSED for one in nas.problems):
        seen, style = "not well, see below", "red"
    elif nas.paused is not None:
        seen, style = "paused", "yellow"
    elif nas.well_at is None:
        seen, style = "no pass has told yet", "yellow"
    else:
        seen, style = f"well {text.ago((now - nas.well_at).total_seconds())}", "yellow" if is_low else ""
    yield "NAS", f"{words}; {seen}", style
    if nas.paused is not None and not nas.problems:
        yield "", nas.paused, "yellow"


def _print_lines(call: Call, found: Status, now: datetime) -> None:
    """Label and words; a command is never broken, so that it can be copied."""
    from rich.table import Table
    from rich.text import Text

    console = call.console()
    for label, words, style in status_lines(found, now):
        if label in ("Next", _COMMAND):
            shown = "" if label == _COMMAND else label
            console.print(Text.assemble((f"{shown:<{_LABEL_WIDTH}}", "bold"), (words, style)), soft_wrap=True)
            continue
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, min_width=_LABEL_WIDTH - 2)
        table.add_column(overflow="fold")
        table.add_row(Text(label, "bold"), Text(output.harmless(words), style))
        console.print(table)


def status_tabs(found: Status) -> Iterator[tuple[object, ...]]:
    """Label and values, one thing a line."""
    yield "last_pass", moment(found.last_pass_at)
    for one in found.running:
        yield "running", text.printable(one.run_path, 10_000), one.phase, one.bytes_done, one.byte_total
    for state, number in found.states.items():
        yield "runs", state, number
    if found.on_another_nas:
        yield "on_another_nas", found.on_another_nas
    yield ("staging", *_space_tabs(found.staging))
    for nas in found.nas:
        state = "problem" if nas.problems else "paused" if nas.paused else "well" if nas.well_at else "not seen"
        yield ("nas", text.printable(nas.name, 10_000), state, moment(nas.well_at), *_space_tabs(nas.disk))
    for problem in found.problems:
        subject = text.printable(problem.subject, 10_000)
        yield "problem", problem.code, subject, format_utc(problem.since), problem.message, pasteable(problem.hint)
    yield "next", pasteable(found.next_command)


def _space_tabs(disk: Disk) -> tuple[object, ...]:
    return (None, None) if disk.space is None else (disk.space.free_bytes, disk.space.total_bytes)


# -- JSON ----------------------------------------------------------------------------------------------------


def status_document(found: Status, now: datetime) -> Document:
    """``status --json``."""
    return document(
        generated_at=moment(now),
        enabled=found.enabled,
        last_pass_at=moment(found.last_pass_at),
        seen=found.seen,
        running=[
            {
                "run": text.printable(one.run_path, 10_000),
                "phase": one.phase,
                "bytes_done": one.bytes_done,
                "byte_total": one.byte_total,
                "bytes_per_second": int(one.bytes_per_second),
            }
            for one in found.running
        ],
        runs=[{"state": state, "count": number} for state, number in found.states.items()],
        on_another_nas=found.on_another_nas,
        staging=disk_document(found.staging),
        nas=[_nas_document(one) for one in found.nas],
        problems=[
            {"subject": text.printable(one.subject, 10_000), **(problem_document(one) or {})} for one in found.problems
        ],
        next_command=found.next_command,
    )


def _nas_document(nas: NasStatus) -> Document:
    return {
        "name": text.printable(nas.name, 10_000),
        "well_at": moment(nas.well_at),
        "paused": nas.paused,
        "has_problem": bool(nas.problems),
        "space": disk_document(nas.disk),
    }
