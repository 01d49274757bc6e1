"""The page of a report: what it says, that nothing from outside can change it, and that it loads nothing."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from html.parser import HTMLParser

import pytest

from exlab_orch import text
from exlab_orch.cli.report_page import is_report, report_page
from exlab_orch.cli.report_runs import MOST_LIVES
from exlab_orch.disks import Disk
from exlab_orch.model import IngestState
from exlab_orch.report import Report, newest_first
from exlab_orch.space import Space
from tests.cli import rows as given
from tests.cli.rows import NOW
from tests.lab import RUN
from tests.reports import HOSTILE, busy, cleared, hostile, report, staged

EMPTY = {"meta"}
TAGS = {
    *("html", "head", "meta", "style", "title", "body", "header", "main", "footer", "nav", "section", "article"),
    *("h1", "h2", "h3", "p", "a", "span", "code", "time", "div", "ul", "ol", "li", "dl", "dt", "dd"),
    *("details", "summary", "table", "thead", "tbody", "tr", "th", "td"),
    *("svg", "g", "line", "rect", "circle", "text"),
}


class Page(HTMLParser):
    """A page, read as a browser would; fails where tags do not match."""

    def __init__(self, content: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.style = ""
        self._open: list[str] = []
        self.feed(content.decode("ascii"))
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["style"]:
            self.style += data
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        """Everything it says, spaces as one."""
        return " ".join(" ".join(self.words).split())

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.tags if name in attributes]


def page_of(found: Report) -> Page:
    return Page(report_page(found))


@pytest.fixture(scope="module")
def busy_page() -> Page:
    return page_of(busy())


LABS = {"empty": report, "busy": busy, "hostile": hostile}


# -- nothing from outside ------------------------------------------------------------------------------------


@pytest.mark.parametrize("lab", LABS)
def test_a_page_is_well_formed_and_made_of_known_tags(lab: str) -> None:
    assert {tag for tag, _ in page_of(LABS[lab]()).tags} <= TAGS


def test_hostile_names_add_no_tag_and_no_attribute() -> None:
    found = {(tag, name) for tag, attributes in page_of(hostile()).tags for name in attributes}
    tame = [*page_of(busy()).tags, *page_of(report(lives=(cleared(RUN),))).tags]
    assert found <= {(tag, name) for tag, attributes in tame for name in attributes}
    assert not [name for _, name in found if name.startswith("on") or name in ("src", "style", "srcset", "action")]


@pytest.mark.parametrize("lab", LABS)
def test_a_page_leads_nowhere_but_into_itself(lab: str) -> None:
    page = page_of(LABS[lab]())
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    assert {link.removeprefix("#") for link in page.attributes("href")} <= set(ids)
    assert all(link.startswith("#") for link in page.attributes("href"))
    assert not re.search(r"url\(|@import|expression", page.style)


@pytest.mark.parametrize("lab", ["empty", "busy"])
def test_a_page_names_no_address(lab: str) -> None:
    without_hash = re.sub(rb"sha256-[\w+/=]+", b"", report_page(LABS[lab]()))  # base64 may hold slashes
    assert b"//" not in without_hash


def test_only_its_own_style_may_apply_and_nothing_may_be_loaded_or_run(busy_page: Page) -> None:
    policy = next(found["content"] for _, found in busy_page.tags if found.get("http-equiv"))
    digest = b64encode(sha256(busy_page.style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    first = [tag for tag, found in busy_page.tags if found.get("http-equiv") or tag == "style"]
    assert first == ["meta", "style"], "a policy applies to what follows it"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_shown_whole_and_harmless(name: str) -> None:
    shown = text.printable(name, limit=10_000)
    page = page_of(hostile())
    assert shown in page.words
    assert shown.isprintable()


# -- what it says --------------------------------------------------------------------------------------------


def test_every_run_is_named_whole(busy_page: Page) -> None:
    for life in busy().lives:
        assert text.printable(life.run) in busy_page.words


def test_what_needs_a_person_comes_first_with_what_to_do(busy_page: Page) -> None:
    told = [busy_page.text.index(f"{code} since") for code in ("nas_full", "nas_conflict", "staging_filling")]
    assert told == sorted(told)
    assert f"Staging {given.STAGING}" in busy_page.words
    assert f"exlab-orch sync --new-version '{given.CONFLICT.run}'" in busy_page.words
    assert "exlab-orch clear --all-verified" in busy_page.words  # of a disk too, a command stands alone to be copied
    assert "2 runs wait for it." in busy_page.text
    assert "1 entry in staging is no run" in busy_page.words


def test_the_problem_of_a_nas_is_told_once_and_not_with_each_run() -> None:
    full = replace(given.problem("nas_full", "The NAS is too full."), subject="nas:/mnt/nas")
    waiting = [given.row(f"A/P/Runs/Run_{n}", IngestState.SYNC_QUEUED, problem=full) for n in range(3)]
    page = page_of(report(rows=tuple(waiting), problems=(full,)))
    assert page.words.count("nas_full") == 1
    assert "The NAS is too full. 3 runs wait for it." in page.words


def test_a_damaged_run_whose_staged_copy_is_deleted_says_so_beside_its_timeline() -> None:
    damage = given.problem("nas_copy_damaged", "Of 12 proved files on the NAS: 1 missing; first a.tif.")
    page = page_of(
        report(lives=(cleared("A/P/Runs/Run_1", damage=damage), *(cleared(f"A/P/Runs/Run_{n}") for n in "23")))
    )
    assert "nas_copy_damaged: Of 12 proved files on the NAS: 1 missing; first a.tif." in page.words
    assert any(words.endswith("; 1 damaged on the NAS") for words in page.words)


def test_a_lab_without_trouble_says_so() -> None:
    page = page_of(report())
    assert "Nothing needs a person." in page.words
    assert "No run is in staging, and none was deleted." in page.words
    assert "No run was proved in this period." in page.words


def test_a_schedule_that_stands_still_needs_a_person() -> None:
    page = page_of(report(last_pass_at=NOW - timedelta(hours=3)))
    assert "No pass looks after the runs" in page.words
    assert "The last one was 3 h before." in page.words
    assert "No pass has been made yet." in page_of(report(last_pass_at=None)).words


def test_a_disabled_orchestrator_and_a_hidden_ledger_are_told() -> None:
    page = page_of(report(enabled=False, ledger_hidden=True))
    assert "The orchestrator is switched off" in page.text
    assert "Which runs were cleared is known to the service user only" in page.text
    assert {"not known", "to this user"} <= {*page.words}
    assert "none was deleted" not in page_of(report(lives=(), ledger_hidden=True)).text


def test_the_life_of_a_run_is_told_in_words(busy_page: Page) -> None:
    label = next(one for one in busy_page.attributes("aria-label") if given.VERIFIED.run in one)
    assert label == (
        f"{given.VERIFIED.run}: on NAS, checked. "
        "arrived in 18 min 20 s; copied and proved in 15 min 1 s; proved for 49 min 59 s."
    )
    (gone,) = [one for one in page_of(report(lives=(cleared(RUN),))).attributes("aria-label") if RUN in one]
    assert gone.endswith("staged copy deleted. arrived in 20 min; copied and proved in 10 min 1 s; kept for 1 d.")


def test_who_deleted_a_staged_copy_and_why_a_run_waits_is_said() -> None:
    said = page_of(report(lives=(cleared(RUN, cleared_by="marta\x1b"), staged(given.HELD)))).text
    assert "by marta\\x1b" in said
    assert "held: re-analysis [bold]by\\x1b[31m Marta" in said


def test_every_drawing_has_words(busy_page: Page) -> None:
    drawings = [found for tag, found in busy_page.tags if tag == "svg"]
    assert len(drawings) > 200
    for found in drawings:
        assert found.get("aria-hidden") == "true" or (found.get("role") == "img" and found.get("aria-label"))


def test_amounts_are_there_as_a_table_too(busy_page: Page) -> None:
    heads = [tag for tag, found in busy_page.tags if tag == "th" and found.get("scope") == "col"]
    assert len(heads) == 4
    assert "The same as a table" in busy_page.words


def test_space_that_nobody_knows_is_said_to_be_unknown() -> None:
    page = page_of(report(disks=(Disk("Staging", Space(1 << 40, 1 << 39), NOW, 7200.0), Disk("s3:lab", None))))
    assert "512 GiB free of 1.0 TiB, 50 % used" in page.words
    assert "Full in 2 h at the present rate." in page.text
    assert "Not known: no pass could ask for it." in page.words


def test_ten_thousand_runs_make_a_small_page_that_says_where_the_others_are() -> None:
    lives = [cleared(f"A/P/Runs/Run_{n}", days_ago=n / 1000) for n in range(10_000)]
    content = report_page(report(lives=newest_first(lives), earlier=5))
    assert len(content) < 800_000
    page = Page(content)
    assert sum(found.get("class") == "run" for _, found in page.tags) == MOST_LIVES
    assert f"{10_005 - MOST_LIVES:,} deleted from staging earlier, in" in page.text
    assert "exlab-orch list --cleared" in page.words


def test_staged_runs_are_shown_before_those_that_are_gone() -> None:
    gone = [cleared(f"A/P/Runs/Run_{n}", days_ago=n / 1000) for n in range(MOST_LIVES + 7)]
    old = staged(replace(given.VERIFIED, run="A/P/Runs/Run_old"), age=20 * 86_400)
    page = page_of(report(lives=newest_first([*gone, old])))
    assert "A/P/Runs/Run_old" in page.words
    assert "8 deleted from staging earlier, in" in page.text


def test_a_command_stands_there_once() -> None:
    command = f"exlab-orch sync --new-version {RUN}"
    bad = given.problem("nas_conflict", "Another file.", f"Nothing was deleted. To keep theirs aside: {command}")
    page = page_of(report(rows=(given.row(RUN, IngestState.SYNC_QUEUED, problem=bad, actions=(command,)),)))
    assert "Nothing was deleted. To keep theirs aside:" in page.words
    assert page.text.count(command) == 1


def test_very_many_troubles_are_cut_with_a_sentence() -> None:
    bad = given.problem("sync_failed", "It failed.")
    rows = [given.row(f"A/P/Runs/Run_{n}", IngestState.SYNC_QUEUED, problem=bad) for n in range(150)]
    strays = [replace(given.row(f"A/stray{n}", None, problem=bad), run_kind="") for n in range(130)]
    said = page_of(report(rows=(*rows, *strays))).text
    assert "and 50 more, in" in said
    assert "130 entries in staging are no runs" in said
    assert "and 30 more, in exlab-orch list" in said


# -- times ---------------------------------------------------------------------------------------------------


def test_times_are_local_with_utc_for_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    page = page_of(report())
    local = NOW.astimezone().strftime("%Y-%m-%d %H:%M")
    assert ("time", {"datetime": "2026-04-17T14:00:00.000Z", "title": "2026-04-17 14:00:00 UTC"}) in page.tags
    assert local in page.words


@pytest.mark.parametrize(
    ("length", "words"),
    [(timedelta(hours=3), "The last 3 h, since"), (timedelta(days=2), "The last 3 days, since")],
)
def test_the_period_is_told_in_words(length: timedelta, words: str) -> None:
    assert words in page_of(report(since=NOW - length)).text


# -- is it ours? ---------------------------------------------------------------------------------------------


def test_a_page_is_recognised_by_its_beginning() -> None:
    assert is_report(report_page(report())[:4096])
    assert not is_report(b"<!DOCTYPE html><html><head><title>exlab-orch</title>")
    assert not is_report(b"")


def test_a_page_is_made_of_facts_alone() -> None:
    assert report_page(busy()) == report_page(busy())
    assert isinstance(busy().generated_at, datetime)
