"""The page of a report in a real browser: it fits a phone, follows light and dark, prints, and runs nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import zlib
from html import unescape
from pathlib import Path

import pytest

from exlab_orch.cli.report_page import report_page
from tests.reports import busy, hostile, report

pytestmark = pytest.mark.slow
LABS = {"empty": report, "busy": busy, "hostile": hostile}
WIDTHS = (360, 800, 1400)
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
DARK = "--blink-settings=preferredColorScheme=0"
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
MEASURE = """<script>
document.querySelectorAll("details").forEach(one => { one.open = true; });
const wide = document.documentElement.clientWidth;
const over = [...document.querySelectorAll("body *:not(.skip)")].filter(one => {
  const box = one.getBoundingClientRect();
  return box.width > 0 && (box.right > wide + 0.5 || box.left < -0.5);
});
parent.postMessage({
  wide, scroll: document.documentElement.scrollWidth, over: over.map(one => one.outerHTML.slice(0, 200)),
  page: getComputedStyle(document.body).backgroundColor, ink: getComputedStyle(document.body).color,
}, "*");
</script>"""
"""A copy of a page, without its policy, says what it measures."""
COLLECT = """<!DOCTYPE html><title>[]</title><script>
addEventListener("message", told => {
  document.title = JSON.stringify([...JSON.parse(document.title), told.data]);
});
</script>"""
"""Frames are as narrow as they are told to be, which windows are not."""


class Browser:
    """A browser without a window."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder

    def __call__(self, page: Path, *options: str) -> str:
        """Look at a page; what the browser printed."""
        profile = f"--user-data-dir={self._folder / 'profile'}"
        fixed = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", profile)
        command = [self._program, *fixed, *options, page.as_uri()]
        environment = os.environ | {"HOME": str(self._folder)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def measured(self, *options: str) -> list[dict[str, object]]:
        """What a script in copies of the pages finds out, at every width."""
        frames = []
        for lab, found in LABS.items():
            text = POLICY.sub("", report_page(found()).decode())
            (self._folder / f"{lab}.html").write_text(text.replace("</body>", f"{MEASURE}</body>"))
            frames += [
                f'<iframe src="{lab}.html" width="{width}" height="900" frameborder="0"></iframe>' for width in WIDTHS
            ]
        page = self._folder / "frames.html"
        page.write_text(COLLECT + "</iframe>".join(frames))
        dom = self(page, *options, "--virtual-time-budget=10000", "--dump-dom")
        title = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)
        assert title is not None
        told: list[dict[str, object]] = json.loads(unescape(title.group(1)))
        assert len(told) == len(frames)
        return told


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("a browser is missing: apt-get install chromium")
        pytest.skip("needs a browser: apt-get install chromium")
    return Browser(program, tmp_path)


def test_nothing_is_wider_than_a_phone_or_any_screen_and_a_page_is_light(browser: Browser) -> None:
    for told in browser.measured():
        assert (told["scroll"], told["over"]) == (told["wide"], [])
        assert told["wide"] in WIDTHS
        assert luminance(told["page"]) > 0.8 > 0.2 > luminance(told["ink"])


def test_a_page_is_dark_where_the_reader_wants_that(browser: Browser) -> None:
    for told in browser.measured(DARK):
        assert luminance(told["page"]) < 0.05 < 0.7 < luminance(told["ink"])


def luminance(colour: object) -> float:
    """How bright a computed colour is, 0 to 1."""
    parts = [float(number) / 255 for number in re.findall(r"\d+", str(colour))[:3]]
    return sum(weight * part * part for weight, part in zip((0.21, 0.72, 0.07), parts, strict=True))


def test_its_own_style_passes_its_own_policy(browser: Browser, tmp_path: Path) -> None:
    """A style whose hash did not match would leave a white page with black text, in the dark too."""
    page = tmp_path / "page.html"
    page.write_bytes(report_page(busy()))
    browser(page, DARK, "--window-size=400,400", f"--screenshot={tmp_path / 'dark.png'}")
    red, green, blue = corner(tmp_path / "dark.png")
    assert max(red, green, blue) < 64


def corner(picture: Path) -> tuple[int, int, int]:
    """The colour of the first pixel of a PNG."""
    content = picture.read_bytes()
    packed, at = b"", 8
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        if content[at + 4 : at + 8] == b"IDAT":
            packed += content[at + 8 : at + 8 + length]
        at += 12 + length
    red, green, blue = zlib.decompress(packed)[1:4]
    return red, green, blue


def test_no_script_runs_in_a_page_whatever_is_put_into_it(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    wanted = "<script>document.title = 'it ran'</script><img src=x onerror=\"document.title = 'it ran'\"></body>"
    page.write_text(report_page(hostile()).decode().replace("</body>", wanted))
    assert "<title>it ran" not in browser(page, "--dump-dom")


def test_a_page_prints(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_bytes(report_page(busy()))
    browser(page, f"--print-to-pdf={tmp_path / 'page.pdf'}")
    printed = (tmp_path / "page.pdf").read_bytes()
    assert printed.startswith(b"%PDF-")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 12
