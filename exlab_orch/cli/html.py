"""HTML that is built and never pasted: every text is escaped, and only what was built here goes through as it is."""

from __future__ import annotations

from html import escape
from typing import Final

from exlab_orch.cli.output import harmless

_EMPTY: Final = frozenset({"meta", "rect", "line", "circle"})
_SELF_CLOSING: Final = frozenset({"rect", "line", "circle"})
"""What SVG leaves empty is closed in itself, as its grammar wants it."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Content = str | None
"""Text, markup, or nothing."""


def safe(content: Content) -> Markup:
    """The content as markup: text is escaped, and what could steer or hide is written as an escape."""
    if isinstance(content, Markup):
        return content
    return Markup(escape(harmless(content or "")))


def joined(*contents: Content, by: Content = "") -> Markup:
    """Contents one after the other; what is nothing is left out."""
    return Markup(safe(by).join(safe(one) for one in contents if one is not None and one != ""))


def element(tag: str, *contents: Content, **attributes: object) -> Markup:
    """An element. ``class_`` is the attribute ``class``, ``aria_label`` is ``aria-label``; None leaves one out."""
    written = "".join(_attribute(name, value) for name, value in attributes.items() if value is not None)
    if tag in _EMPTY:
        return Markup(f"<{tag}{written}{'/' if tag in _SELF_CLOSING else ''}>")
    return Markup(f"<{tag}{written}>{joined(*contents)}</{tag}>")


def _attribute(name: str, value: object) -> str:
    shown = name.removesuffix("_").replace("_", "-")
    return f" {shown}" if value is True else f' {shown}="{safe(str(value))}"'


def page(*, title: str, head: Content, body: Content) -> bytes:
    """A whole document, in ASCII: it reads the same whatever a server says about its encoding."""
    top = joined(
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        head,
        element("title", title),
        by=Markup("\n"),
    )
    whole = f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{top}\n</head>\n<body>\n{safe(body)}\n</body>\n</html>\n'
    return whole.encode("ascii", "xmlcharrefreplace")
