"""Commands that are shown: with the configuration file where they need it, and nothing else changed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rich.console import Console
from rich.text import Text

from exlab_orch.cli.pasting import name_configuration, pasteable, pasteable_document, pasteable_text


@pytest.fixture(autouse=True)
def _nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("EXLAB_ORCH_CONFIG", raising=False)
    yield
    name_configuration(None)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Next: exlab-orch show R", "Next: exlab-orch -c 'my lab.toml' show R"),
        ("sudo -u lab exlab-orch sync R", "sudo -u lab exlab-orch -c 'my lab.toml' sync R"),
        ("exlab-orch list; exlab-orch poll", "exlab-orch -c 'my lab.toml' list; exlab-orch -c 'my lab.toml' poll"),
        ("exlab-orch -c other.toml list", "exlab-orch -c other.toml list"),
        ("exlab-orch list -c other.toml", "exlab-orch list -c other.toml"),
        ("See 'exlab-orch list --help'.", "See 'exlab-orch list --help'."),
        ("sudo chown -R exlab-orch /srv/state", "sudo chown -R exlab-orch /srv/state"),
        ("/opt/exlab-orch list", "/opt/exlab-orch list"),
        ("journalctl -u 'exlab-orch-*'", "journalctl -u 'exlab-orch-*'"),
    ],
)
def test_a_command_names_the_file_that_the_command_line_named(text: str, shown: str) -> None:
    assert pasteable(text) == text
    name_configuration("my lab.toml")
    assert pasteable(text) == shown
    assert pasteable(shown) == shown


def test_what_the_environment_names_is_named_where_sudo_drops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXLAB_ORCH_CONFIG", "/lab.toml")
    assert pasteable("exlab-orch list") == "exlab-orch list"
    assert pasteable("sudo exlab-orch nas-init") == "sudo exlab-orch -c /lab.toml nas-init"


def test_styles_stay_on_their_words_and_the_file_has_that_of_its_command() -> None:
    name_configuration("c")
    shown = pasteable_text(Text.assemble(("Next: ", "bold"), ("exlab-orch list", "red"), no_wrap=True))
    assert (shown.plain, shown.no_wrap) == ("Next: exlab-orch -c c list", True)
    assert shown.get_style_at_offset(Console(), shown.plain.index("c list")).color is not None
    assert shown.get_style_at_offset(Console(), 0).bold


def test_in_json_commands_are_changed_and_names_are_not() -> None:
    name_configuration("c")
    found = {"run": "exlab-orch list", "problem": {"hint": "exlab-orch list"}, "actions": ["exlab-orch list"], "n": 1}
    assert pasteable_document(found) == {
        "run": "exlab-orch list",
        "problem": {"hint": "exlab-orch -c c list"},
        "actions": ["exlab-orch -c c list"],
        "n": 1,
    }
