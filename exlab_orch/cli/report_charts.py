"""The charts of a report as inline SVG: pure functions, each with its words for who cannot see it.

Places along a chart are in per cent of its width and text keeps its size, so that a phone shows the same chart as a
wide screen and on paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from math import log
from typing import TYPE_CHECKING, Final

from exlab_orch import text
from exlab_orch.cli.html import Markup, element
from exlab_orch.clock import as_local
from exlab_orch.model import IngestState

if TYPE_CHECKING:
    from exlab_orch.report import Life, Throughput
    from exlab_orch.space import Space

COLOURS: Final = 8
_SHORTEST_PERCENT: Final = 0.5
"""What takes no time to speak of is still to be seen."""
_PLOT_HEIGHT: Final = 200
_BAR_HEIGHT: Final = 16
_MOST_LABELS: Final = 6
_MINUTES: Final = (1, 2, 5, 10, 15, 30, 60, 120, 180, 240, 360, 480)
"""How far apart times may stand below an axis; all of them divide a day."""


def _percent(part: float) -> str:
    return f"{100 * min(max(part, 0.0), 1.0):.4g}%"


def _drawing(words: str, *parts: Markup | None, height: int, class_: str) -> Markup:
    return element("svg", *parts, role="img", aria_label=words, height=height, class_=class_)


def _upright(place: float, top: int, bottom: int, class_: str) -> Markup:
    return element("line", x1=_percent(place), x2=_percent(place), y1=top, y2=bottom, class_=class_)


def _box(start: float, end: float, top: float, height: float, class_: str, words: str | None = None) -> Markup:
    title = None if words is None else element("title", words)
    attributes = {"x": _percent(start), "y": f"{top:g}", "width": _percent(end - start), "height": f"{height:g}"}
    if title is None:
        return element("rect", **attributes, class_=class_)
    return element("g", title, element("rect", **attributes, class_=class_))


# -- one run through time ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of a run's life: "arriving", "copying" (or waiting for it), "proved", or stopped by a "problem"."""

    kind: str
    start: datetime
    end: datetime

    @property
    def seconds(self) -> float:
        return (self.end - self.start).total_seconds()


_KINDS: Final = {
    IngestState.STAGING: "arriving",
    IngestState.COMPLETE: "copying",
    IngestState.SYNC_QUEUED: "copying",
    IngestState.SYNC_VERIFIED: "proved",
}
_HEIGHTS: Final = {"arriving": 4, "copying": 14, "proved": 8, "problem": 14}
"""The phases differ in height, too: not everybody tells colours apart, and not every printer has them."""
PHASE_WORDS: Final = {
    "arriving": "arriving",
    "copying": "received: waiting for the copy, copying, reading back",
    "proved": "on the NAS, checked; the staged copy is kept",
    "problem": "stopped by a problem",
}


def phases(life: Life, until: datetime) -> list[Phase]:
    """The stretches of a life up to now, neighbours of one kind as one."""
    found: list[Phase] = []
    ends = [*(step.at for step in life.steps[1:]), life.cleared_at or until]
    for step, end in zip(life.steps, ends, strict=False):  # without a step there is one end too many
        kind = _KINDS.get(step.state)
        if kind is None:
            continue
        if found and found[-1].kind == kind:
            found[-1] = Phase(kind, found[-1].start, max(end, found[-1].end))
        else:
            found.append(Phase(kind, step.at, max(end, step.at)))
    return found


@dataclass(frozen=True, slots=True)
class Axis:
    """What of time a chart shows, from its left to its right edge."""

    begin: datetime
    end: datetime

    @property
    def hours(self) -> float:
        return (self.end - self.begin).total_seconds() / 3600

    def place(self, moment: datetime) -> float:
        """Where a moment stands, 0 to 1 inside."""
        return (moment - self.begin) / (self.end - self.begin)


def life_bar(life: Life, axis: Axis, *, words: str, stopped_at: datetime | None) -> Markup:
    """A run's life on the time axis; its last stretch is marked from when a problem stopped the run."""
    found = phases(life, axis.end)
    if found and stopped_at is not None:
        found = _stopped(found, stopped_at)
    boxes = [_phase_box(one, axis) for one in found if one.end >= axis.begin]
    middle = _BAR_HEIGHT // 2
    base = element("line", x1="0%", x2="100%", y1=middle, y2=middle, class_="grid")
    end = None if life.cleared_at is None else _upright(axis.place(life.cleared_at), 0, _BAR_HEIGHT, "end")
    return _drawing(words, base, *boxes, end, height=_BAR_HEIGHT, class_="bar")


def _stopped(found: Sequence[Phase], since: datetime) -> list[Phase]:
    """The stretches, the last of them cut in two where the problem began."""
    *before, last = found
    cut = min(max(since, last.start), last.end)
    going_well = [Phase(last.kind, last.start, cut)] if cut > last.start else []
    return [*before, *going_well, Phase("problem", cut, last.end)]


def _phase_box(phase: Phase, axis: Axis) -> Markup:
    start, end = max(axis.place(phase.start), 0.0), min(axis.place(phase.end), 1.0)
    if 100 * (end - start) < _SHORTEST_PERCENT:
        start = min(start, 1 - _SHORTEST_PERCENT / 100)
        end = start + _SHORTEST_PERCENT / 100
    height = _HEIGHTS[phase.kind]
    words = f"{PHASE_WORDS[phase.kind]}: {text.duration(phase.seconds)}"
    return _box(start, end, (_BAR_HEIGHT - height) / 2, height, phase.kind, words)


def phase_sample(kind: str) -> Markup:
    """A piece of bar for a legend."""
    box = _box(0, 1, (_BAR_HEIGHT - _HEIGHTS[kind]) / 2, _HEIGHTS[kind], kind)
    return element("svg", box, height=_BAR_HEIGHT, aria_hidden="true")


def time_axis(axis: Axis) -> Markup:
    """The days along the bars of runs; hours, where the axis is short."""
    marks = [(axis.place(moment), words) for moment, words in _moments(axis)]
    now = element("text", "now", x="100%", y=14, text_anchor="end")
    return element("svg", *_labels(marks, 14, end=0.88), now, height=20, aria_hidden="true")


def _moments(axis: Axis) -> Iterator[tuple[datetime, str]]:
    """Moments to write below an axis: midnights by the clock on the wall, or full hours where it is short."""
    numbers = range(2 * _MOST_LABELS)
    if axis.hours < 48:
        step = next(one for one in _MINUTES if one >= axis.hours * 60 / _MOST_LABELS)
        begin = as_local(axis.begin).replace(second=0, microsecond=0)
        first = begin - timedelta(minutes=(60 * begin.hour + begin.minute) % step)
        moments = (first + timedelta(minutes=n * step) for n in numbers)
        yield from ((moment, f"{as_local(moment):%H:%M}") for moment in moments)
    else:
        first_day, every = as_local(axis.begin).date(), max(round(axis.hours / 24 / _MOST_LABELS), 1)
        days = (first_day + timedelta(days=n * every) for n in numbers)
        yield from ((as_local(datetime.combine(one, time())), day_words(one)) for one in days)


def _labels(marks: Sequence[tuple[float, str]], y: int, *, end: float = 0.95) -> Iterator[Markup]:
    """Words below an axis; every other one is left out on a phone, and those that would not fit everywhere."""
    for number, (place, words) in enumerate(one for one in marks if 0 <= one[0] < end):
        yield element("text", words, x=_percent(place), y=y, class_="minor" if number % 2 else None)


# -- bytes per day and equipment -----------------------------------------------------------------------------


def throughput_chart(found: Throughput, colours: Mapping[str, int]) -> Markup:
    """Columns of what was proved, bin by bin, one colour for each equipment."""
    highest, step = _scale(found.highest)
    parts: list[Markup] = [*_levels(highest, step)]
    for number in range(found.bins):
        parts += _column(found, number, highest, colours)
    every = max(round(found.bins / _MOST_LABELS), 1)
    marks = [(number / found.bins, day_words(found.day(number))) for number in range(0, found.bins, every)]
    labels = _labels(marks, _PLOT_HEIGHT + 16)
    whole = sum(amount.byte_total for one in found.amounts.values() for amount in one)
    words = f"Columns: {text.size(whole)} were proved on the NAS in the period. The figures are in the table below."
    return _drawing(words, *parts, *labels, height=_PLOT_HEIGHT + 20, class_="plot")


def day_words(day: date) -> str:
    """A day beside an axis: "3 Apr"."""
    return day.strftime("%d %b").lstrip("0")


def _scale(highest: int) -> tuple[int, int]:
    """The top of an axis for so many bytes, and the step between its lines: round numbers of a binary unit."""
    unit = 1
    while highest / unit >= 1024:
        unit *= 1024
    for step in (1, 2, 5, 10, 20, 50, 100, 200):
        if highest <= 4 * step * unit:
            lines = max(-(-highest // (step * unit)), 1)
            return lines * step * unit, step * unit
    return 1024 * unit, 256 * unit


def _levels(highest: int, step: int) -> Iterator[Markup]:
    for level in range(0, highest + 1, step):
        y = _PLOT_HEIGHT * (1 - level / highest)
        yield element("line", x1="0%", x2="100%", y1=f"{y:g}", y2=f"{y:g}", class_="grid" if level else "base")
        if level:
            yield element("text", _round_size(level), x=0, y=f"{y - 4:g}")


def _round_size(byte_count: int) -> str:
    """ "200 GiB", and not "200.0 GiB"."""
    return text.size(byte_count).replace(".0 ", " ")


def _column(found: Throughput, number: int, highest: int, colours: Mapping[str, int]) -> Iterator[Markup]:
    """The boxes of one bin, the equipment with the most bytes at the bottom."""
    gap = 0.15 / found.bins
    bottom = float(_PLOT_HEIGHT)
    for equipment, amounts in found.amounts.items():
        amount = amounts[number]
        if amount.byte_total:
            height = max(_PLOT_HEIGHT * amount.byte_total / highest, 1)
            bottom -= height
            words = f"{day_words(found.day(number))}, {equipment}: {text.size(amount.byte_total)}"
            words = f"{words}, {text.count(amount.runs, 'run')}"
            start, end = number / found.bins + gap, (number + 1) / found.bins - gap
            yield _box(start, end, round(bottom, 1), round(height, 1), f"c{colours[equipment]}", words)


def colour_sample(number: int) -> Markup:
    """A square for a legend."""
    return element("svg", _box(0, 1, 0, 14, f"c{number}"), height=14, aria_hidden="true")


# -- time from the last write to the proof -------------------------------------------------------------------

_ANCHORS: Final = (0.0, 60.0, 600.0, 3600.0, 6 * 3600.0, 86_400.0, 7 * 86_400.0, 28 * 86_400.0)
_ANCHOR_WORDS: Final = ("0", "1 min", "10 min", "1 h", "6 h", "1 d", "7 d")
_MOST_DOTS: Final = 200


def place_of_wait(seconds: float) -> float:
    """Where a length of time stands on the scale from nothing to four weeks, 0 to 1; longer ones stand at its end.

    Between two anchors it is logarithmic, below a minute linear: minutes and days are to be told apart at one look.
    """
    cells = len(_ANCHORS) - 1
    for number, (low, high) in enumerate(pairwise(_ANCHORS)):
        if seconds < high:
            part = max(seconds, 0.0) / high if not low else log(seconds / low) / log(high / low)
            return (number + part) / cells
    return 1.0


def wait_strip(seconds: Sequence[float], median: float, *, words: str) -> Markup:
    """A dot for each run and a line at the median; of very many runs an even choice is drawn."""
    cells = len(_ANCHORS) - 1
    lines = [_upright(number / cells, 0, 24, "grid") for number in range(cells)]
    every = -(-len(seconds) // _MOST_DOTS)
    chosen = [*seconds[::every], seconds[-1]]
    dots = [element("circle", cx=_percent(place_of_wait(one)), cy=12, r=4, class_="dot") for one in chosen]
    labels = _labels([(number / cells, word) for number, word in enumerate(_ANCHOR_WORDS)], 38)
    middle = _upright(place_of_wait(median), 2, 22, "middle")
    return _drawing(words, *lines, *dots, middle, *labels, height=42, class_="bar")


# -- space ---------------------------------------------------------------------------------------------------

_TIGHT_PERCENT: Final = 90.0


def space_meter(space: Space, *, words: str) -> Markup:
    """How full a disk is."""
    used = space.used_percent
    class_ = "used tight" if used >= _TIGHT_PERCENT else "used"
    return _drawing(words, _box(0, 1, 0, 12, "track"), _box(0, used / 100, 0, 12, class_), height=12, class_="bar")


def legend(samples: Sequence[tuple[Markup, str]], *, wide: bool = False) -> Markup:
    """What the colours and heights mean."""
    items = (element("li", sample, element("span", words)) for sample, words in samples)
    return element("ul", *items, class_="legend wide" if wide else "legend")
