"""The manual page is the help as it is now, and a page that every man program shows without a complaint."""

from __future__ import annotations

import runpy
import subprocess
from pathlib import Path

import pytest

from tests.oracle import require_program
from tests.test_docs import VERBS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "contrib/man/exlab-orch.1"
MAKER = runpy.run_path(str(ROOT / "contrib/docs/make_man.py"))


def shown() -> str:
    """The page as a terminal shows it, 80 columns wide."""
    words = [require_program("groff"), "-man", "-Tutf8", "-P-cbou", "-rLL=80n", str(PAGE)]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout


def test_the_manual_page_is_what_the_help_says_now() -> None:
    assert PAGE.read_text() == MAKER["page"](), "run contrib/docs/make_man.py"


def test_it_is_plain_ascii_with_short_requests() -> None:
    assert PAGE.read_text().isascii()


@pytest.mark.parametrize(
    "words", [["groff", "-man", "-Tutf8", "-ww", "-z"], ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"]]
)
def test_no_man_program_complains(words: list[str]) -> None:
    command = [require_program(words[0]), *words[1:], str(PAGE)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_every_verb_and_a_path_with_a_hyphen_stand_in_it_whole() -> None:
    text = shown()
    assert [verb for verb in VERBS if f"   {verb}" not in text] == []
    assert "--all-verified" in text
    assert ".exlab-wizard/superseded" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (".so /etc/passwd", "\\&.so /etc/passwd"),
        ("'br", "\\(aqbr"),
        ("a\\b", "a\\eb"),
        ("--x", "\\-\\-x"),
        ("é", "\\[u00E9]"),
    ],
)
def test_no_text_becomes_a_request(text: str, wanted: str) -> None:
    assert MAKER["line"](text) == wanted
