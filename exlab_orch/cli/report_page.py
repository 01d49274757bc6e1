"""The page of a report: one HTML document without scripts that loads nothing, built from the facts alone."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from exlab_orch import __version__, text
from exlab_orch.cli.html import Content, Markup, element, joined, page
from exlab_orch.cli.report_charts import COLOURS, colour_sample, legend, space_meter, throughput_chart, wait_strip
from exlab_orch.cli.report_parts import identifier, note, nothing, span, told, when
from exlab_orch.cli.report_runs import runs
from exlab_orch.cli.report_style import STYLE
from exlab_orch.cli.report_troubles import attention, strays, troubles
from exlab_orch.clock import as_local
from exlab_orch.model import SHOWN_AS
from exlab_orch.report import quantile, throughput, total, waits

if TYPE_CHECKING:
    from exlab_orch.disks import Disk
    from exlab_orch.report import Report, Throughput, Waits

GENERATOR: Final = "exlab-orch"
_MARK: Final = element("meta", name="generator", content=GENERATOR)
_MARK_WITHIN: Final = 2000
_LINE: Final = Markup("\n")


def report_page(report: Report) -> bytes:
    """The whole document, in ASCII."""
    sections = (
        ("attention", "Needs a person", attention(report, troubles(report))),
        ("space", "Space", _space(report)),
        ("amounts", "Proved on the NAS", _amounts(report)),
        ("times", "From the last write to the proof", _times(report)),
        ("runs", "Every run", runs(report)),
    )
    body = joined(
        element("a", "Skip to what needs a person", href="#attention", class_="skip"),
        _header(report, [(name, title) for name, title, _ in sections]),
        element("main", *(_section(*section) for section in sections)),
        _footer(),
        by=_LINE,
    )
    return page(title=f"{_name(report)}: runs, {as_local(report.generated_at):%Y-%m-%d}", head=_head(), body=body)


def is_report(beginning: bytes) -> bool:
    """Whether a file that begins like this is a report of ours."""
    return str(_MARK).encode() in beginning[:_MARK_WITHIN]


def _head() -> Markup:
    """Nothing may be loaded or run, and no other style applies than the one with this hash."""
    digest = b64encode(sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return joined(
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        _MARK,
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="color-scheme", content="light dark"),
        element("style", Markup(STYLE)),
        by=_LINE,
    )


def _section(name: str, title: str, content: Markup) -> Markup:
    heading = element("h2", title, id=f"{name}-title")
    return element("section", heading, content, id=name, aria_labelledby=f"{name}-title")


def _name(report: Report) -> str:
    return text.printable(report.label or report.host)


# -- above ---------------------------------------------------------------------------------------------------


def _header(report: Report, sections: Sequence[tuple[str, str]]) -> Markup:
    links = (element("li", element("a", title, href=f"#{name}")) for name, title in sections)
    return element(
        "header",
        element("h1", _name(report)),
        element("p", *_made(report), class_="soft"),
        None if report.enabled else told("The orchestrator is switched off (orchestrator.enabled = false)."),
        element("dl", *(_tile(*tile) for tile in _tiles(report)), class_="tiles"),
        element("nav", element("ul", *links), aria_label="Sections"),
    )


def _made(report: Report) -> Iterator[Content]:
    zone = f"{as_local(report.generated_at):%Z}"
    yield joined("As of ", when(report.generated_at), f" ({zone}) on {text.printable(report.host)}. ")
    yield joined(f"The last {_period(report)}, since ", when(report.since), ".")
    if report.last_pass_at is not None:
        yield joined(" Last pass: ", when(report.last_pass_at), ".")


def _period(report: Report) -> str:
    """ "30 days", where the days of the calendar are whole but for today."""
    length = report.generated_at - report.since
    days = (as_local(report.generated_at).date() - as_local(report.since).date()).days + 1
    return span(length) if length < timedelta(days=1) else text.count(days, "day")


Tile = tuple[str, str, str, str | None]
"""A label, a figure, what it is of, and its mood."""


def _tiles(report: Report) -> Iterator[Tile]:
    number = len(troubles(report)) + len(strays(report))
    yield "Needs a person", f"{number:,}", "see below" if number else "all is well", "bad" if number else "good"
    staged = total(row.byte_total for row in report.staged)
    yield "In staging", text.size(staged.byte_total), text.count(staged.runs, "run"), None
    counted = (life for life in report.lives if life.counted_at is not None and life.counted_at >= report.since)
    proved = total(life.byte_total for life in counted)
    yield "Proved on the NAS", text.size(proved.byte_total), text.count(proved.runs, "run"), None
    cleared = total(life.byte_total for life in report.lives if life.cleared_at is not None)
    if report.ledger_hidden:
        yield "Staged copies deleted", "not known", "to this user", None
    else:
        yield "Staged copies deleted", text.size(cleared.byte_total), text.count(cleared.runs, "run"), None
    seconds = sorted(second for one in waits(report.lives, report.since) for second in one.seconds)
    if seconds:
        yield "Last write to proof", _roughly(quantile(seconds, 0.5)), "or less, for half of the runs", None


def _roughly(seconds: float) -> str:
    """A length of time as a headline: "17 min", and not "16 min 41 s"."""
    return text.duration(seconds if seconds < 600 else 60 * round(seconds / 60))


def _tile(label: str, figure: str, of_what: str, mood: str | None) -> Markup:
    return element(
        "div", element("dt", label), element("dd", figure, class_="figure"), element("dd", of_what), class_=mood
    )


# -- bytes per day and equipment -----------------------------------------------------------------------------


def _amounts(report: Report) -> Markup:
    found = throughput(report.lives, report.since, report.generated_at)
    if not found.amounts:
        return nothing("No run was proved in this period.")
    colours = {one: min(number, COLOURS - 1) for number, one in enumerate(found.amounts)}
    each = "per day" if found.days_per_bin == 1 else f"per {found.days_per_bin} days"
    return joined(
        note(f"Bytes {each}, by equipment; a run counts when its last byte was read back and matched."),
        element("div", throughput_chart(found, colours), legend(list(_colours(found, colours))), class_="card"),
        _amounts_table(found),
    )


def _colours(found: Throughput, colours: Mapping[str, int]) -> Iterator[tuple[Markup, str]]:
    """The legend; equipment for which no colour is left shares the last one."""
    sizes = {one: sum(amount.byte_total for amount in amounts) for one, amounts in found.amounts.items()}
    for colour in sorted({*colours.values()}):
        names = [one for one in sizes if colours[one] == colour]
        words = ", ".join(map(identifier, names))
        yield colour_sample(colour), f"{words}: {text.size(sum(sizes[one] for one in names))}"


def _amounts_table(found: Throughput) -> Markup:
    """The same figures for who cannot see the columns; days without a run are left out."""
    rows = [
        element(
            "tr",
            element("th", found.day(number).isoformat(), scope="row"),
            element("td", identifier(equipment)),
            element("td", f"{amounts[number].runs:,}", class_="number"),
            element("td", text.size(amounts[number].byte_total), class_="number"),
        )
        for number in reversed(range(found.bins))
        for equipment, amounts in found.amounts.items()
        if amounts[number].runs
    ]
    heads = [element("th", "Day", scope="col"), element("th", "Equipment", scope="col")]
    heads += [element("th", word, scope="col", class_="number") for word in ("Runs", "Size")]
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *rows))
    return element("details", element("summary", "The same as a table"), element("div", table, class_="card"))


# -- time from the last write to the proof -------------------------------------------------------------------


def _times(report: Report) -> Markup:
    found = waits(report.lives, report.since)
    proved = sum(life.proved_at is not None and life.proved_at >= report.since for life in report.lives)
    unknown = proved - sum(len(one.seconds) for one in found)
    if not found:
        return nothing("No run was proved in this period, or it is not known when its data was last written.")
    return joined(
        note("How long a run was in one place only: from the last write in staging until the NAS copy was proved."),
        element("div", *(_wait(one, report.labels.get(one.equipment_id)) for one in found), class_="card"),
        note(f"{text.count(unknown, 'run')} not counted: touched after the proof, so the last write is not known.")
        if unknown
        else None,
    )


def _wait(found: Waits, label: str | None) -> Markup:
    name = identifier(found.equipment_id) + (f" \N{MIDDLE DOT} {text.printable(label)}" if label else "")
    half, most, longest = map(text.duration, (found.median, found.nine_in_ten, found.seconds[-1]))
    many = f"{text.count(len(found.seconds), 'run')}: half within {half}, nine in ten within {most}"
    words = many if len(found.seconds) > 1 else f"1 run, within {half}"
    slowest = joined(f"Longest: {longest}, ", element("span", identifier(found.longest_run), class_="name"))
    return element(
        "div",
        element("div", element("h3", name), element("p", words), element("p", slowest)),
        wait_strip(found.seconds, found.median, words=f"{name}. {words}, longest {longest}."),
        class_="wait",
    )


# -- space ---------------------------------------------------------------------------------------------------


def _space(report: Report) -> Markup:
    return element("div", *map(_disk, report.disks), class_="card")


def _disk(disk: Disk) -> Markup:
    name = element("h3", identifier(disk.name))
    if disk.space is None:
        return element("div", name, element("p", "Not known: no pass could ask for it.", class_="soft"), class_="disk")
    free, whole = text.size(disk.space.free_bytes), text.size(disk.space.total_bytes)
    words = f"{free} free of {whole}, {disk.space.used_percent:.0f} % used"
    left = None if disk.seconds_left is None else f"Full in {text.duration(disk.seconds_left)} at the present rate."
    asked = None if disk.at is None else joined("As of ", when(disk.at), ".")
    return element(
        "div",
        name,
        element("p", words),
        space_meter(disk.space, words=f"{identifier(disk.name)}: {words}"),
        element("p", joined(asked, left, by=" "), class_="soft"),
        class_="disk",
    )


# -- below ---------------------------------------------------------------------------------------------------

_MEANINGS: Final = {
    "staging": "Data is being pushed, or what says that the run is done is still missing.",
    "complete": "The signal is there and holds.",
    "sync_queued": "The copy to the NAS is due or under way.",
    "sync_verified": "Every byte was read back from the NAS and its SHA-256 matches.",
    "cleared": "The NAS holds the only copy.",
}


def _footer() -> Markup:
    meanings = [
        part
        for state, meaning in _MEANINGS.items()
        for part in (element("dt", SHOWN_AS[state]), element("dd", meaning))
    ]
    return element(
        "footer",
        element("h2", "What the words mean"),
        element("dl", *meanings),
        element("p", f"Made by exlab-orch {__version__}. This page holds no scripts and loads nothing."),
    )
