"""What needs a person, in a report: gathered into one list, the worst first, and shown as cards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from exlab_orch import text
from exlab_orch.cli.html import Markup, element, joined
from exlab_orch.cli.report_parts import good, identifier, note, span, when
from exlab_orch.cli.words import around_command
from exlab_orch.errors import NasPaused
from exlab_orch.policy import FLAGS

if TYPE_CHECKING:
    from exlab_orch.model import Problem
    from exlab_orch.report import Report
    from exlab_orch.rows import Row

_MOST: Final = 100
_NAS: Final = "nas:"
_DISKS: Final = {"nas": "NAS", "staging": "Staging"}
"""What a problem of a whole disk calls it."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that needs a person."""

    title: str
    message: str
    code: str | None = None
    since: datetime | None = None
    hint: str = ""
    command: str | None = None
    mild: bool = False
    """It tells a person something and stops nothing."""
    is_name: bool = False
    """Whether the title is a run's identifier."""


def troubles(report: Report) -> tuple[Trouble, ...]:
    """Everything that needs a person but the strays: what stops all runs first, what stops nothing last."""
    of_runs = [_of_run(row, row.problem) for row in _troubled(report) if row.problem is not None]
    found = [*_of_all(report), *of_runs]
    return tuple(sorted(found, key=lambda one: one.mild))


def strays(report: Report) -> tuple[Row, ...]:
    """What lies in staging and is not a run."""
    return tuple(row for row in report.rows if not row.run_kind)


def _troubled(report: Report) -> Iterator[Row]:
    """The runs with a problem of their own; that of their NAS is told once."""
    for row in report.rows:
        if row.run_kind and row.problem is not None and not row.problem.subject.startswith(_NAS):
            yield row


def _of_all(report: Report) -> Iterator[Trouble]:
    if report.pass_is_overdue:
        yield _overdue(report)
    for problem in report.problems:
        waiting = sum(row.problem is not None and row.problem.subject == problem.subject for row in report.rows)
        yield _of_problem(problem, waiting)


def _overdue(report: Report) -> Trouble:
    last = report.last_pass_at
    message = (
        "No pass has been made yet." if last is None else f"The last one was {span(report.generated_at - last)} before."
    )
    return Trouble(
        "No pass looks after the runs",
        message,
        since=last,
        hint="Nothing is copied, proved or deleted until one runs. Is the schedule on, and does it say an error?",
        command="exlab-orch poll -v",
    )


def _of_problem(problem: Problem, waiting: int) -> Trouble:
    runs = f" {text.count(waiting, 'run')} {'waits' if waiting == 1 else 'wait'} for it." if waiting else ""
    kind, colon, name = problem.subject.partition(":")
    is_disk = bool(colon) and kind in _DISKS
    before, command, after = around_command(problem.hint)
    return Trouble(
        f"{_DISKS[kind]} {identifier(name)}" if is_disk else identifier(problem.subject),
        f"{problem.message}{runs}",
        problem.code,
        problem.since,
        f"{before} {after}".rstrip(),
        command=command or None,
        mild=problem.code in FLAGS or problem.code == NasPaused.code,
        is_name="/" in problem.subject and not is_disk,
    )


def _of_run(row: Row, problem: Problem) -> Trouble:
    command = next(iter(row.actions), None)
    return Trouble(
        identifier(row.run),
        problem.message,
        problem.code,
        problem.since,
        problem.hint.removesuffix(command or "").rstrip(),
        command=command,
        mild=problem.code in FLAGS,
        is_name=True,
    )


# -- shown ---------------------------------------------------------------------------------------------------


def attention(report: Report, found: Sequence[Trouble]) -> Markup:
    """The section: a card for each, then what is not a run."""
    others = strays(report)
    if not found and not others:
        return good("Nothing needs a person.")
    cards = [_card(one, report) for one in found[:_MOST]]
    more = len(found) - len(cards)
    rest = note(f"… and {more:,} more, in ", element("code", "exlab-orch list"), ".") if more else None
    return joined(*cards, rest, _strays(others) if others else None)


def _card(trouble: Trouble, report: Report) -> Markup:
    return element(
        "article",
        element("h3", trouble.title, class_="name" if trouble.is_name else None),
        element("p", _code_and_time(trouble, report)) if trouble.code or trouble.since else None,
        element("p", trouble.message),
        element("p", trouble.hint, class_="soft") if trouble.hint else None,
        element("p", element("code", trouble.command), class_="command") if trouble.command else None,
        class_="card trouble mild" if trouble.mild else "card trouble",
    )


def _code_and_time(trouble: Trouble, report: Report) -> Markup:
    code = None if trouble.code is None else element("span", trouble.code, class_="code")
    if trouble.since is None:
        return joined(code)
    age = span(report.generated_at - trouble.since)
    return joined(code, joined("since ", when(trouble.since), f", for {age}"), by=" ")


def _strays(rows: Sequence[Row]) -> Markup:
    """Usually many and of one kind, and harmless: folded away, but never silent."""
    items = [
        element(
            "li",
            element("span", identifier(row.run), class_="name"),
            f": {'' if row.problem is None else row.problem.code}, {text.size(row.byte_total)}",
        )
        for row in rows[:_MOST]
    ]
    more = len(rows) - len(items)
    rest = None if not more else element("li", f"… and {more:,} more, in exlab-orch list")
    are = "1 entry in staging is no run" if len(rows) == 1 else f"{len(rows):,} entries in staging are no runs"
    return element(
        "details",
        element("summary", are),
        note("They are never touched. What they are and how they become runs: exlab-orch list."),
        element("ul", *items, rest, class_="strays"),
        class_="card",
    )
