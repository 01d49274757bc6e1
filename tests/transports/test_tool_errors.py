"""Lines that real tools printed, and which error of ours each of them is."""

from __future__ import annotations

from pathlib import Path

import pytest

from exlab_orch.errors import ExlabError
from exlab_orch.transports.tool_errors import error_of, is_missing, quoted

OUTPUTS = Path(__file__).parent / "outputs"
LINES = [line.split(None, 1) for line in (OUTPUTS / "rclone.txt").read_text().splitlines()]


@pytest.mark.parametrize(("code", "line"), LINES)
def test_a_recorded_line_is_the_error_it_tells_of(code: str, line: str) -> None:
    found = error_of("rclone", [line], "copying the run")
    assert isinstance(found, ExlabError)
    assert (found.code, bool(found.hint)) == (code, True)
    assert "rclone said: " in found.message


def test_what_nobody_knows_is_a_failed_copy_with_the_last_lines() -> None:
    found = error_of("rclone", [*(f"line {number}" for number in range(9)), "the end"], "copying the run")
    assert found.code == "sync_failed"
    assert found.message.endswith("rclone said: line 7 / line 8 / the end")


def test_silence_is_told_as_such() -> None:
    assert error_of("rsync", [], "copying the run").message.endswith("rsync said nothing.")


def test_what_a_tool_says_cannot_disturb_a_terminal_or_give_a_secret_away() -> None:
    said = quoted("rclone", ["\x1b[2J https://lab:hunter2@nas/x", "password=hunter2 token: hunter2", "[bold]\x00"])
    assert "hunter2" not in said
    assert said.isprintable()


@pytest.mark.parametrize(
    ("lines", "missing"),
    [
        (
            ["error listing: directory not found", "Failed to cat with 2 errors: last error was: directory not found"],
            True,
        ),
        (["directory not found", "connection refused"], False),
        (["Failed to lsjson: error in ListJSON: directory not found"], True),
        (["Failed to create file system: couldn't parse known_hosts_file: no such file or directory"], False),
        (["Failed to cat: open /etc/key: directory not found"], False),
        (["Failed to cat: NoSuchBucket: the bucket does not exist"], False),
        ([], False),
    ],
)
def test_only_a_plain_no_such_thing_means_that_it_is_not_there(lines: list[str], *, missing: bool) -> None:
    assert is_missing(lines) == missing


@pytest.mark.parametrize(
    "secret",
    [
        "Authorization: Bearer hunter2",
        "https://x.example/a?sig=hunter2&se=1",
        "secret_access_key = hunter2",
        '"password":"hunter2"',
        "token: hunter2",
    ],
)
def test_a_secret_in_any_of_its_usual_forms_is_left_out(secret: str) -> None:
    assert "hunter2" not in quoted("rclone", [secret])
