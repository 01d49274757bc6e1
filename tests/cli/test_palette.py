"""What is written in colour can be read, whatever the background."""

from __future__ import annotations

from typing import Literal

import pytest
from rich.color import Color
from rich.color_triplet import ColorTriplet
from rich.console import Console
from rich.style import Style

from exlab_orch.cli.palette import SEEN_ON_BOTH, palette


def luminance(color: ColorTriplet) -> float:
    """Relative luminance (WCAG 2.1)."""
    parts = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in color.normalized]
    return sum(part * weight for part, weight in zip(parts, (0.2126, 0.7152, 0.0722), strict=True))


def contrast(one: float, other: float) -> float:
    light, dark = sorted((one, other), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("color", SEEN_ON_BOTH.values())
def test_every_colour_stands_out_from_black_and_from_white(color: str) -> None:
    seen = luminance(Color.parse(color).get_truecolor())
    assert contrast(seen, 0.0) >= 4
    assert contrast(seen, 1.0) >= 4


@pytest.mark.parametrize("system", ["standard", "256", "truecolor"])
def test_no_style_of_ours_is_faint_or_one_of_the_colours_that_a_terminal_may_choose_badly(
    system: Literal["standard", "256", "truecolor"],
) -> None:
    console = Console(color_system=system, force_terminal=True, theme=palette(system))
    for name in ("dim", "yellow", "blue", "bold yellow"):
        style = console.get_style(name)
        assert not style.dim
        assert style.color is None or style.color.name not in ("yellow", "blue", "bright_black")
    assert console.get_style("bold red") == Style.parse("bold red" if system == "standard" else "bold color(161)")
