"""The colours of a report's page: readable for everybody, light and dark (WCAG 2.2, AA)."""

from __future__ import annotations

import re
from itertools import product

import pytest

from exlab_orch.cli.report_style import STYLE

WORDS = ("ink", "soft", "link", "bad", "good", "warn")
SCREEN = STYLE.partition("@media print")[0]
DRAWN = ("arriving", "copying", "proved", "problem", *(f"c{number}" for number in range(8)))


def colours(theme: str) -> dict[str, str]:
    """The variables of a theme; the dark one changes what the light one sets."""
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w+);", text)) for text in SCREEN.split("@media screen"))
    return light | dark if theme == "dark" else light


def luminance(colour: str) -> float:
    digits = colour.removeprefix("#")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
    parts = (int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_counted_as_the_standard_says() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#fff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_can_be_read(theme: str) -> None:
    found = colours(theme)
    pairs = [*product(WORDS, ("page", "card")), ("good", "good-soft"), ("warn", "warn-soft")]
    contrasts = {pair: contrast(found[pair[0]], found[pair[1]]) for pair in pairs}
    assert {pair: one for pair, one in contrasts.items() if one < 4.5} == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_is_drawn_can_be_seen(theme: str) -> None:
    found = colours(theme)
    weak = {name: contrast(found[name], found["card"]) for name in DRAWN if contrast(found[name], found["card"]) < 3}
    assert weak == {}


def test_both_themes_set_the_same_colours_and_every_colour_that_is_used_is_set() -> None:
    light, dark = colours("light"), colours("dark")
    assert light.keys() == dark.keys()
    assert set(re.findall(r"var\(--([\w-]+)\)", STYLE)) <= light.keys()
    assert all(light[name] != dark[name] for name in light)


def test_no_style_ends_the_style_and_none_asks_for_anything() -> None:
    assert "<" not in STYLE
    assert STYLE.isascii()
    assert not re.search(r"url\(|@import|@font-face", STYLE)
