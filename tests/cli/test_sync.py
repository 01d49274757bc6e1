"""``sync RUN --new-version [FILE...]``: what is a run and what is a file."""

from __future__ import annotations

import click
import pytest

from exlab_orch.cli.call import Call
from exlab_orch.cli.sync import sync

Meant = tuple[tuple[str, ...], tuple[bytes, ...] | None]


def meant(*arguments: str) -> Meant:
    """The runs and files of that command line."""
    context = sync.make_context("sync", list(arguments), obj=Call())
    words: Meant = context.params["runs_and_files"]
    return words


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a"], (("a",), None)),
        (["a", "b"], (("a", "b"), None)),
        (["a", "--new-version"], (("a",), ())),
        (["--new-version", "a"], (("a",), ())),
        (["a", "b", "--new-version"], (("a", "b"), ())),
        (["a", "--new-version", "f", "g"], (("a",), (b"f", b"g"))),
        (["a", "--new-version", "f", "--json", "g", "-c", "x.toml"], (("a",), (b"f", b"g"))),
        (["a", "--new-version", "--", "-f", "--new-version"], (("a",), (b"-f", b"--new-version"))),
        (["--", "-a", "--new-version"], (("-a", "--new-version"), None)),
        (["a", "--new-version", "odd\udcff"], (("a",), (b"odd\xff",))),
    ],
)
def test_words_before_the_option_are_runs_and_words_after_it_files(arguments: list[str], expected: Meant) -> None:
    assert meant(*arguments) == expected


@pytest.mark.parametrize("arguments", [[], ["--new-version"], ["a", "b", "--new-version", "f"]])
def test_files_without_the_one_run_they_belong_to_are_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(click.UsageError):
        meant(*arguments)
