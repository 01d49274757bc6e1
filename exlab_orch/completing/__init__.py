"""What a shell may offer next: verbs and options from a table, names from the configuration and the staging folder.

``exlab-orch _complete SHELL WORD...`` is what the shells ask. It runs at every press of a key, so it imports neither
the command line nor the models, writes nothing, and is silent about whatever it cannot read.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from exlab_orch.completing.table import VERBS, Verb
from exlab_orch.completing.words import bash_words, quoted

_FILES: Final = {"file": "\0files", "folder": "\0folders"}
"""The shell itself knows these best."""


class Offer(NamedTuple):
    """One word that fits, and what it means."""

    word: str
    help: str = ""

    def after(self, option: str) -> Offer:
        """The same with an option in front; where the shell itself is asked for files, it knows what to do."""
        return self if self.word in _FILES.values() else Offer(f"{option}{self.word}", self.help)


def answer(shell: str, words: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """The lines that the shell's function reads; ``words`` are those after the program's name, the last unfinished.

    For bash: the command line up to the cursor, and bash's own idea of the last word.
    """
    if shell != "bash":
        offers = offered(words, environ)
        return [f"{one.word}\t{one.help}" if one.help else one.word for one in offers]
    line, own = (*words, "", "")[:2]
    typed = bash_words(line)
    before = typed.before(own)
    found = [one.word for one in offered(typed.words[1:] or [""], environ)]
    words_there = [quoted(word.removeprefix(typed.front), typed.quote) for word in found if not word.startswith("\0")]
    asks_shell = [word for word in found if word.startswith("\0")]
    return [*asks_shell, *(word[len(before) :] for word in words_there if word.startswith(before))]


def offered(words: Sequence[str], environ: Mapping[str, str]) -> list[Offer]:
    """What may stand in place of the last word and begins like it."""
    *before, last = words or [""]
    place = _Place(before)
    option, equals, start = last.partition("=")
    if equals and option.startswith("--") and not place.expects:
        kind = place.verb.option(option)
        return [one.after(f"{option}=") for one in _values(kind or "", start, place, environ)]
    if place.expects:
        return _values(place.expects, last, place, environ)
    if last.startswith("-") and not place.only_words:
        return [Offer(name, text) for name, text in place.verb.help_of_options() if name.startswith(last)]
    if place.inner:
        return [Offer(name, text) for name, text in place.inner.items() if name.startswith(last)]
    return _values(place.verb.argument, last, place, environ)


class _Place:
    """Where on the command line the next word stands."""

    def __init__(self, before: Sequence[str]) -> None:
        self.name = ""
        self.expects = ""
        """The kind of value that the option before the next word takes."""
        self.only_words = False
        """Whether ``--`` was said."""
        self.config: str | None = None
        for word in before:
            self._take(word)

    @property
    def verb(self) -> Verb:
        """The verb so far; what its name is no verb's, the program itself."""
        return VERBS.get(self.name) or VERBS[""]

    @property
    def inner(self) -> dict[str, str]:
        """The verbs that may come next, and what they do."""
        start = f"{self.name} " if self.name else ""
        found = {name.removeprefix(start): verb.help for name, verb in VERBS.items() if name and name.startswith(start)}
        return {name: text for name, text in found.items() if " " not in name}

    def _take(self, word: str) -> None:
        if self.expects:
            if self.expects == "config":
                self.config = word
            self.expects = ""
        elif word == "--":
            self.only_words = True
        elif word.startswith("-") and not self.only_words:
            self._take_option(word)
        elif self.inner:
            self.name = f"{self.name} {word}".strip()

    def _take_option(self, word: str) -> None:
        name, equals, value = word.partition("=")
        is_config = name in ("-c", "--config")
        if is_config and equals:
            self.config = value
        elif not equals:
            kind = self.verb.option(name)
            self.expects = "config" if is_config else kind or ""


def _values(kind: str, start: str, place: _Place, environ: Mapping[str, str]) -> list[Offer]:
    if kind == "config":
        return [Offer(_FILES["file"])]
    if kind in _FILES:
        return [Offer(_FILES[kind])]
    if kind.startswith("choice:"):
        return [Offer(word) for word in kind.removeprefix("choice:").split(",") if word.startswith(start)]
    if kind in ("run", "cleared", "equipment", "project", "nas"):
        from exlab_orch.completing import names  # noqa: PLC0415 - most answers need no name

        found: Iterator[tuple[str, str]] = names.of(kind, start, place.config, environ)
        return [Offer(word, text) for word, text in found if word.startswith(start) and word.isprintable()]
    return []


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Answer a shell on standard output; always 0, and never a message: nobody reads it there."""
    shell, *words = arguments or ["bash"]
    lines = answer(shell, words, environ)
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    sys.stdout.write("".join(f"{line}\n" for line in lines).replace("\0", ":"))
    return 0


def problem_codes() -> list[str]:
    """The codes that problems of runs can have, as a shell offers them."""
    kind, _help = VERBS["list"].options["--problem"]
    return kind.removeprefix("choice:").split(",")
