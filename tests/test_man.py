"""The manual page is the help as it is now, and a page that every man program shows without a complaint."""

from __future__ import annotations

import re
import runpy
import subprocess
from pathlib import Path

import pytest

from exlab_orch.config import Config
from tests.oracle import require_program
from tests.test_docs import VERBS

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "contrib/man"
PAGES = ("exlab-orch.1", "exlab-orch-config.5")
MAKER = runpy.run_path(str(ROOT / "contrib/docs/make_man.py"))


def shown(page: str) -> str:
    """A page as a terminal shows it, 80 columns wide."""
    words = [require_program("groff"), "-man", "-Tutf8", "-P-cbou", "-rLL=80n", str(FOLDER / page)]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout


def test_the_manual_pages_are_what_the_help_and_the_models_say_now() -> None:
    assert {path.name: path.read_text() for path in FOLDER.iterdir()} == MAKER["pages"](), (
        "run contrib/docs/make_man.py"
    )
    assert set(MAKER["pages"]()) == set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_they_are_plain_ascii(page: str) -> None:
    assert (FOLDER / page).read_text().isascii()


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    "words", [["groff", "-man", "-Tutf8", "-ww", "-z"], ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"]]
)
def test_no_man_program_complains(words: list[str], page: str) -> None:
    command = [require_program(words[0]), *words[1:], str(FOLDER / page)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_every_verb_and_a_path_with_a_hyphen_stand_in_it_whole() -> None:
    text = shown("exlab-orch.1")
    assert [verb for verb in VERBS if f"   {verb}" not in text] == []
    assert "--all-verified" in text
    assert ".exlab-wizard/superseded" in text
    assert max(map(len, text.splitlines())) <= 80


def test_every_key_stands_in_the_page_of_the_configuration_with_what_it_allows() -> None:
    text = shown("exlab-orch-config.5")
    tables = Config.model_json_schema()["$defs"].values()
    keys = {key for table in tables for key in table.get("properties", {})} - {"staging_cleanup"}
    assert {"staging_root", "completeness_signal", "ssh_key_path"} <= keys
    assert [key for key in keys if not re.search(rf"^       {key}\b", text, re.MULTILINE)] == []
    assert len(re.findall("Allowed:", text)) > len(keys)
    assert "[text](" not in text
    assert "`" not in text


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
