"""How a verb that did not end well is done again: by the next pass, or by whoever runs the same command."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from exlab_orch.cli.pasting import file_of_environment
from exlab_orch.hints import SAME_COMMAND, without_promise

_PASSES: Final = frozenset({"poll", "sync"})
"""Verbs that write and that the next pass goes on with; others that write are done once, by hand."""
_NO_RUNS: Final = frozenset(
    {
        *("init", "nas-init", "config", "equipment", "schedule", "notify", "pause", "resume", "completion", "demo"),
        *("doctor", "list", "log", "report", "selftest", "show", "status", "verify"),
    }
)
"""Verbs that begin nothing with a run which a pass would carry on."""


class Told(Protocol):
    """An error, or the problem that became of one."""

    @property
    def code(self) -> str:
        """What programs know it by."""

    @property
    def hint(self) -> str:
        """What to do, as if a pass had met it."""


@dataclass
class _Verb:
    """What this invocation does; one process does one thing at a time."""

    name: str = ""
    """The first word of the verb, as in ``equipment add``."""
    is_done_by_hand: bool = False


_verb: Final = _Verb()


def name_verb(name: str, *, writes: bool) -> None:
    """From now on, what is said of doing it again fits this verb."""
    _verb.name, _verb.is_done_by_hand = name, writes and name not in _PASSES


def hint_of(error: Told) -> str:
    """What to do about an error, in the words that fit this verb and with its whole command line where it is meant."""
    if error.hint.endswith(SAME_COMMAND):
        return f"{error.hint.removesuffix(SAME_COMMAND)}{this_command()}"
    hint = without_passes(error.hint)
    if hint == error.hint:
        return hint
    when = "When the NAS is well again" if error.code.startswith("nas_") else "Then run it again"
    return f"{hint} {when}: {this_command()}"


def without_passes(hint: str) -> str:
    """The hint without its promise that a pass goes on by itself, where none repeats this verb."""
    return without_promise(hint) if _verb.is_done_by_hand else hint


def hint_of_a_stop() -> str:
    """What becomes of what a stopped verb had begun."""
    if _verb.name in _NO_RUNS:
        return "No run was touched. What is not done yet is done when it is run again."
    return "Nothing is lost: what was begun is carried on by the next pass, or when it is run again."


def this_command() -> str:
    """The command line of this invocation, to be pasted; it names the configuration once, also where sudo drops it."""
    words, file = _without_configuration(sys.argv[1:])
    file = file or file_of_environment()
    return f"exlab-orch {shlex.join([*(['-c', file] if file else []), *words])}"


def _without_configuration(words: Sequence[str]) -> tuple[list[str], str | None]:
    """The words without the options that name the configuration, and what the last of them names, which wins."""
    kept, file, rest = list[str](), None, iter(words)
    for word in rest:
        if word == "--":
            kept += [word, *rest]
        elif word in ("-c", "--config"):
            file = next(rest, None)
        elif word.startswith(("-c", "--config=")):
            file = word.removeprefix("--config=").removeprefix("-c")
        else:
            kept.append(word)
    return kept, file
