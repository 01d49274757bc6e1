"""The runs of a report, one timeline each: by equipment, the newest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from exlab_orch import text
from exlab_orch.cli.html import Content, Markup, element, joined
from exlab_orch.cli.report_charts import PHASE_WORDS, legend, life_bar, phase_sample, phases, time_axis
from exlab_orch.cli.report_parts import identifier, note, nothing, told, when
from exlab_orch.cli.words import amount, is_blocked, remarks, state_word

if TYPE_CHECKING:
    from exlab_orch.report import Life, Report

MOST_LIVES: Final = 300
"""So many timelines a page holds: with more no browser would be quick, and nobody looks at them all."""
_CLEARED: Final = "staged copy deleted"
_LOOKS: Final = {"staging": "arriving", "complete": "copying", "sync_queued": "copying", "sync_verified": "proved"}


def runs(report: Report) -> Markup:
    """The section: a legend, the timelines, and where the others are."""
    hidden = told("Which runs were cleared is known to the service user only, so they are missing on this page.")
    if not report.lives:
        none = nothing("No run is in staging, and none was deleted in this period.")
        return joined(hidden if report.ledger_hidden else None, none, _others(report, 0))
    shown = report.lives[:MOST_LIVES]
    equipment = dict.fromkeys(sorted(life.equipment_id for life in shown))
    groups = (_group(report, one, [life for life in shown if life.equipment_id == one]) for one in equipment)
    return joined(
        hidden if report.ledger_hidden else None,
        legend([(phase_sample(kind), words) for kind, words in PHASE_WORDS.items()], wide=True),
        *groups,
        _others(report, len(shown)),
    )


def _group(report: Report, equipment: str, lives: Sequence[Life]) -> Markup:
    label = report.labels.get(equipment)
    title = identifier(equipment) + (f" \N{MIDDLE DOT} {text.printable(label)}" if label else "")
    return element(
        "div",
        element("div", element("h3", title), time_axis(report.since, report.generated_at), class_="axis"),
        element("ol", *(_run(report, life) for life in lives), class_="runs"),
        class_="card group",
    )


def _run(report: Report, life: Life) -> Markup:
    state, look = _state(life)
    facts = joined(amount(life.file_count, life.byte_total), *_facts(report, life), by=" \N{MIDDLE DOT} ")
    words = f"{identifier(life.run)}: {state}. {'; '.join(_phase_words(report, life)) or 'No pass has seen it yet'}."
    name = element("span", identifier(life.run), class_="name")
    badge = element("span", state, class_=f"state {look}")
    blocked = life.row is not None and is_blocked(life.row)
    bar = life_bar(life, report.since, report.generated_at, words=words, stopped=blocked)
    head = element("div", name, " ", badge, class_="line")
    return element("li", element("div", head, element("p", facts), *_remarks(report, life)), bar, class_="run")


def _state(life: Life) -> tuple[str, str]:
    """The state in words, and the look of it."""
    if life.row is None:
        return _CLEARED, "cleared"
    look = _LOOKS.get(str(life.row.current_state), "arriving")
    return state_word(life.row), "problem" if is_blocked(life.row) else look


def _facts(report: Report, life: Life) -> Iterator[Content]:
    yield from _phase_words(report, life)
    if life.cleared_at is not None:
        by = f" by {text.printable(life.cleared_by)}" if life.cleared_by else ""
        yield joined("deleted ", when(life.cleared_at), by)


def _phase_words(report: Report, life: Life) -> list[str]:
    """What took how long: "arrived in 20 min", "copied and proved in 6 min", "kept for 24 h"."""
    found = phases(life, report.generated_at)
    ended = life.cleared_at is not None
    over, now = (
        {"arriving": "arrived in", "copying": "copied and proved in", "proved": "kept for"},
        {
            "arriving": "arriving for",
            "copying": "waiting or copying for",
            "proved": "proved for",
        },
    )
    last = len(found) - 1
    return [
        f"{(over if ended or number < last else now)[one.kind]} {text.duration(one.seconds)}"
        for number, one in enumerate(found)
    ]


def _remarks(report: Report, life: Life) -> Iterator[Markup]:
    """What it is doing, what is wrong, why it waits; the sentences of ``list``."""
    for remark in () if life.row is None else remarks(life.row, report.generated_at):
        yield element("p", remark.text, class_="bad" if remark.mood == "problem" else None)


def _others(report: Report, shown: int) -> Markup | None:
    """Where the runs are that have no timeline here."""
    left_out = report.lives[shown:]
    cleared = sum(life.row is None for life in left_out) + report.earlier
    places = []
    if len(left_out) > sum(life.row is None for life in left_out):
        places.append((sum(life.row is not None for life in left_out), "in staging", "exlab-orch list"))
    if cleared:
        places.append((cleared, "older and deleted from staging", "exlab-orch list --cleared"))
    if not places:
        return None
    sentences = [joined(f"{number:,} {what}: ", element("code", command)) for number, what, command in places]
    return note("Not on this page: ", joined(*sentences, by="; "), ".")
