"""HTML that is built: escaped everywhere, whatever the text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from exlab_orch.cli.html import Markup, element, joined, page, safe


def test_text_is_escaped_and_markup_is_not_escaped_again() -> None:
    inner = element("b", "<i>")
    assert element("p", "a & b ", inner) == "<p>a &amp; b <b>&lt;i&gt;</b></p>"


def test_attributes_are_escaped_and_named_as_html_names_them() -> None:
    made = element("a", "x", href="#\"'<", class_="wide", aria_label="y", title=None, open=True)
    assert made == '<a href="#&quot;&#x27;&lt;" class="wide" aria-label="y" open>x</a>'


def test_markup_in_an_attribute_is_text_there() -> None:
    assert element("p", title=element("b", "x")) == '<p title="&lt;b&gt;x&lt;/b&gt;"></p>'


def test_what_has_no_content_is_closed_as_its_grammar_wants() -> None:
    assert element("meta", charset="utf-8") == '<meta charset="utf-8">'
    assert element("rect", x=1) == '<rect x="1"/>'


def test_joining_leaves_out_what_is_nothing() -> None:
    assert joined("a", None, "", Markup("<b>"), by=" & ") == "a &amp; <b>"


def test_what_could_hide_or_turn_text_is_written_as_an_escape() -> None:
    assert safe("a\u202eb\x00c\ud800") == "a\\u202eb\\x00c\\ud800"


@given(some.text())
def test_no_text_opens_a_tag_or_leaves_an_attribute(name: str) -> None:
    made = element("p", name, title=name)
    inside = made.removeprefix('<p title="').removesuffix("</p>")
    assert inside.count('"') == 1
    assert inside.count("<") == 0
    assert inside.count(">") == 1


@given(some.text())
def test_a_page_is_ascii_whatever_it_says(name: str) -> None:
    assert page(title=name, head=None, body=name).isascii()
