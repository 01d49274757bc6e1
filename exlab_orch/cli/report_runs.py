"""The runs of a report, one timeline each: by equipment, the newest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from exlab_orch import text
from exlab_orch.cli.html import Content, Markup, element, joined
from exlab_orch.cli.report_charts import PHASE_WORDS, Axis, legend, life_bar, phase_sample, phases, time_axis
from exlab_orch.cli.report_parts import identifier, note, nothing, told, when
from exlab_orch.cli.words import amount, is_blocked, remarks, state_word

if TYPE_CHECKING:
    from exlab_orch.report import Life, Report

MOST_LIVES: Final = 300
"""So many timelines a page holds: with more no browser would be quick, and nobody looks at them all."""
_UNFOLDED: Final = 5
_SHORTEST_AXIS: Final = timedelta(minutes=2)
_CLEARED: Final = "staged copy deleted"
_LOOKS: Final = {"staging": "arriving", "complete": "copying", "sync_queued": "copying", "sync_verified": "proved"}


def runs(report: Report) -> Markup:
    """The section: a legend, the timelines, and where the others are."""
    hidden = told("Which runs were cleared is known to the service user only, so they are missing on this page.")
    staged = [life for life in report.lives if life.row is not None][:MOST_LIVES]
    cleared = [life for life in report.lives if life.row is None][: MOST_LIVES - len(staged)]
    return joined(
        hidden if report.ledger_hidden else None,
        _groups(report, staged, cleared) if report.lives else nothing(_no_runs(report)),
        _others(report, len(staged), len(cleared)),
    )


def _no_runs(report: Report) -> str:
    return "No run is in staging." if report.ledger_hidden else "No run is in staging, and none was deleted."


def _groups(report: Report, staged: Sequence[Life], cleared: Sequence[Life]) -> Markup:
    """By equipment; what is in staging and what was deleted each have one time axis for all."""
    axes = _axis(report, staged), _axis(report, cleared)
    samples = [(phase_sample(kind), words) for kind, words in PHASE_WORDS.items()]
    groups = []
    for equipment in sorted({life.equipment_id for life in (*staged, *cleared)}):
        one, other = ([life for life in lives if life.equipment_id == equipment] for lives in (staged, cleared))
        shown = _timelines(report, one, axes[0]) if one else None
        groups.append(_group(report, equipment, shown, _folded(report, other, axes[1]) if other else None))
    return joined(legend(samples, wide=True), *groups)


def _axis(report: Report, lives: Sequence[Life]) -> Axis:
    """From the first of the runs until now, but not from before the period."""
    firsts = [life.steps[0].at for life in lives if life.steps]
    begin = max(report.since, min(firsts, default=report.since))
    return Axis(min(begin, report.generated_at - _SHORTEST_AXIS), report.generated_at)


def _group(report: Report, equipment: str, staged: Markup | None, cleared: Markup | None) -> Markup:
    label = report.labels.get(equipment)
    title = identifier(equipment) + (f" \N{MIDDLE DOT} {text.printable(label)}" if label else "")
    return element("div", element("h3", title), staged, cleared, class_="card group")


def _timelines(report: Report, lives: Sequence[Life], axis: Axis) -> Markup:
    items = (_run(report, life, axis) for life in lives)
    return joined(element("div", time_axis(axis), class_="axis"), element("ol", *items, class_="runs"))


def _folded(report: Report, lives: Sequence[Life], axis: Axis) -> Markup:
    """Runs that are on the NAS only, folded away where they are many."""
    size = text.size(sum(life.byte_total for life in lives))
    damaged = sum(life.damage is not None for life in lives)
    but = f"; {damaged:,} damaged on the NAS" if damaged else ""
    words = f"{text.count(len(lives), 'run')} with the staged copy deleted, {size}{but}"
    is_open = True if len(lives) <= _UNFOLDED else None
    return element("details", element("summary", words), _timelines(report, lives, axis), open=is_open)


def _run(report: Report, life: Life, axis: Axis) -> Markup:
    state, look = _state(life)
    facts = joined(amount(life.file_count, life.byte_total), *_facts(report, life), by=" \N{MIDDLE DOT} ")
    words = f"{identifier(life.run)}: {state}. {'; '.join(_phase_words(report, life)) or 'No pass has seen it yet'}."
    badge = element("span", state, class_=f"state {look}") if life.row is not None else None
    head = element("div", joined(element("span", identifier(life.run), class_="name"), badge, by=" "), class_="line")
    bar = life_bar(life, axis, words=words, stopped_at=_stopped_at(life))
    return element("li", element("div", head, element("p", facts), *_remarks(life)), bar, class_="run")


def _stopped_at(life: Life) -> datetime | None:
    """Since when a problem stops the run, or None."""
    row = life.row
    return row.problem.since if row is not None and row.problem is not None and is_blocked(row) else None


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
        yield joined(f"{_CLEARED} ", when(life.cleared_at), by)


_OVER: Final = {"arriving": "arrived in", "copying": "copied and proved in", "proved": "kept for"}
_NOW: Final = {"arriving": "arriving for", "copying": "waiting or copying for", "proved": "proved for"}


def _phase_words(report: Report, life: Life) -> list[str]:
    """What took how long: "arrived in 20 min", "copied and proved in 6 min", "kept for 24 h"."""
    found = phases(life, report.generated_at)
    last = None if life.cleared_at is not None else len(found) - 1
    words = (_NOW if number == last else _OVER for number in range(len(found)))
    return [f"{word[one.kind]} {text.duration(one.seconds)}" for word, one in zip(words, found, strict=True)]


def _remarks(life: Life) -> Iterator[Markup]:
    """What it is doing, what is wrong, why it waits; the sentences of ``list``."""
    if life.damage is not None:
        yield element("p", f"{life.damage.code}: {life.damage.message}", class_="bad")
    for remark in () if life.row is None else remarks(life.row):
        yield element("p", remark.text, class_="bad" if remark.mood == "problem" else None)


def _others(report: Report, staged: int, cleared: int) -> Markup | None:
    """Where the runs are that have no timeline here."""
    more_staged = sum(life.row is not None for life in report.lives) - staged
    more_cleared = sum(life.row is None for life in report.lives) - cleared + report.earlier
    places = [
        (more_staged, "in staging, in", "exlab-orch list"),
        (more_cleared, "deleted from staging earlier, in", "exlab-orch list --cleared"),
    ]
    sentences = [joined(f"{number:,} {what} ", element("code", verb)) for number, what, verb in places if number]
    return note("\N{HORIZONTAL ELLIPSIS} and further runs: ", joined(*sentences, by="; "), ".") if sentences else None
