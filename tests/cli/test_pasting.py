"""Commands that are shown: with the configuration file where they need it, and nothing else changed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rich.console import Console
from rich.text import Text

from exlab_orch.cli.again import this_command
from exlab_orch.cli.pasting import (
    name_configuration,
    name_owner,
    name_used_configuration,
    pasteable,
    pasteable_document,
    pasteable_text,
)


@pytest.fixture(autouse=True)
def _nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("EXLAB_ORCH_CONFIG", raising=False)
    name_configuration(None)
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
        ("exlab-orch list --config=other.toml", "exlab-orch list --config=other.toml"),
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


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["-c", "a.toml", "hold", "-c", "b c.toml", "R"], "exlab-orch -c 'b c.toml' hold R"),
        (["--quiet", "hold", "--config=b c.toml", "R"], "exlab-orch -c 'b c.toml' --quiet hold R"),
        (["hold", "-cb c.toml", "--", "-c"], "exlab-orch -c 'b c.toml' hold -- -c"),
    ],
)
def test_this_command_names_one_file_and_that_of_the_command_line_before_the_environment_s(
    words: list[str], shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXLAB_ORCH_CONFIG", "/lab.toml")
    monkeypatch.setattr("sys.argv", ["exlab-orch", *words])
    name_configuration("b c.toml")
    assert this_command() == shown
    assert pasteable(f"sudo -u lab {shown}") == f"sudo -u lab {shown}"


def test_this_command_names_the_file_of_the_environment_where_the_command_line_names_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EXLAB_ORCH_CONFIG", "/lab.toml")
    monkeypatch.setattr("sys.argv", ["exlab-orch", "hold", "R"])
    assert this_command() == "exlab-orch -c /lab.toml hold R"


def test_the_owner_is_quoted_for_the_shell_once() -> None:
    name_owner("LAB\\svc user")
    shown = "sudo -u 'LAB\\svc user' exlab-orch hold R"
    assert pasteable("exlab-orch hold R") == shown
    assert pasteable(shown) == shown


@pytest.mark.parametrize("is_open", [True, False])
def test_what_writes_the_configuration_has_sudo_where_this_user_may_not_write_it(
    is_open: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_used_configuration("/etc/exlab-orch/config.toml")
    monkeypatch.setattr("os.access", lambda folder, _mode: is_open or folder != "/etc/exlab-orch")
    sudo = "" if is_open else "sudo "
    for verb in ("equipment add FLOW_9", "nas-init"):
        shown = f"Do it: {sudo}exlab-orch {verb}"
        assert pasteable(f"Do it: exlab-orch {verb}") == shown
        assert pasteable(shown) == shown
    assert pasteable("exlab-orch equipment list") == "exlab-orch equipment list"


def test_with_sudo_the_file_of_the_environment_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXLAB_ORCH_CONFIG", "/root/lab.toml")
    monkeypatch.setattr("os.access", lambda _folder, _mode: False)
    name_used_configuration("/root/lab.toml")
    shown = "sudo exlab-orch -c /root/lab.toml equipment add FLOW_9"
    assert pasteable("exlab-orch equipment add FLOW_9") == shown
    assert pasteable(shown) == shown


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
