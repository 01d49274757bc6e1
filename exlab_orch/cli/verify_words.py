"""What ``verify`` found, in words, as tab separated lines and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from exlab_orch import text
from exlab_orch.cli import output
from exlab_orch.cli.again import hint_of, this_command, without_passes
from exlab_orch.cli.documents import Document, document, named, names_document
from exlab_orch.cli.words import amount, around_command
from exlab_orch.damage import Verification
from exlab_orch.errors import NasFault

if TYPE_CHECKING:
    from rich.text import Text

    from exlab_orch.archive import Finding, Round
    from exlab_orch.cli.call import Call

_SHOWN_NAMES: Final = 20
"""A person sees so many names of a kind; a pipe and JSON carry all."""
_SHOWN_DAMAGES: Final = 10
_TO_DO: Final = "What to do: "
_AGAIN: Final = "Nothing is concluded about the copy. Passes do not verify; when the NAS is well: "


def print_finding(call: Call, found: Finding) -> None:
    """Print what became of one run; with ``--quiet`` only damage, and why a run was not verified is told at the end."""
    if isinstance(found, Verification) and found.ok and call.settings.quiet:
        return
    if call.tables:
        _print_for_people(call, found)
        return
    for fields in tabs(found):
        output.print_tabs(fields)


def _print_for_people(call: Call, found: Finding) -> None:
    """Sentences are wrapped beneath the run's name; names stand whole on lines of their own, to be copied."""
    if not isinstance(found, Verification):
        return
    from rich.padding import Padding
    from rich.text import Text

    console = call.console()
    console.print(Text(text.printable(found.run_path, limit=1000)), soft_wrap=True)
    console.print(Padding(_verdict(found), (0, 0, 0, 2), expand=False))
    for line in _names_of_damage(found):
        console.print(Text(f"    {line}"), soft_wrap=True)
    if found.problem is not None:
        hint, command, after = around_command(found.problem.hint)
        for line in output.for_reading(f"  {_TO_DO}{hint.rstrip()}", console.width).split("\n"):  # no path is broken
            words = Text(line)
            words.highlight_words([_TO_DO.rstrip()], "bold")
            console.print(words, soft_wrap=True)
        if command:
            console.print(Text(f"    {command}   {after}".rstrip()), soft_wrap=True)
    for name in found.extra if call.settings.verbose else ():
        console.print(Text(f"    {'beside it':<10} {text.printable(name, limit=1000)}", style="dim"), soft_wrap=True)
    output.flush()


def _verdict(found: Verification) -> Text:
    from rich.text import Text

    if found.problem is not None:
        return Text.assemble(("DAMAGED", "bold red"), f": {found.problem.message}")
    beside = f"; {text.count(len(found.extra), 'file')} of others beside it" if found.extra else ""
    return Text.assemble(("as proved", "green"), f": {amount(found.files, found.byte_total)}{beside}")


def _names_of_damage(found: Verification) -> Iterator[str]:
    for what, names in _damaged_names(found):
        for name in names[:_SHOWN_NAMES]:
            yield f"{what:<10} {text.printable(name, limit=1000)}"
        if names[_SHOWN_NAMES:]:
            yield f"and {len(names) - _SHOWN_NAMES:,} more {what}; --plain shows all"


def _damaged_names(found: Verification) -> tuple[tuple[str, Sequence[bytes]], ...]:
    unreadable = [one.name for one in found.unreadable]
    return ("missing", found.missing), ("changed", found.changed), ("unreadable", unreadable)


def tabs(found: Finding) -> Iterator[tuple[object, ...]]:
    """One line for the run, and one for each damaged file."""
    name = text.printable(found.run_path, limit=10_000)
    if not isinstance(found, Verification):
        yield name, "not_verified", found.error.code, found.error.message
        return
    yield name, "ok" if found.ok else "damaged", found.files, found.byte_total, len(found.extra)
    for what, names in _damaged_names(found):
        for one in names:
            yield name, what, text.printable(one, limit=10_000)


def reasons(done: Round) -> Iterator[str]:
    """Why runs were not verified, each reason once: a NAS that is away would else be told for each of its runs."""
    by_reason: dict[tuple[str, str, str], list[str]] = {}
    for one in done.not_verified:
        is_nas = isinstance(one.error, NasFault)
        again, hint = (_AGAIN, without_passes(one.error.hint)) if is_nas else ("", hint_of(one.error))
        by_reason.setdefault((one.error.message, hint, again), []).append(one.run_path)
    for (message, hint, again), runs in by_reason.items():
        first = text.printable(runs[0], limit=1000)
        others = f" and {text.count(len(runs) - 1, 'other')}" if runs[1:] else ""
        more = f"{again}{this_command()}" if again else ""
        yield "\n  ".join(part for part in (f"{first}{others}: not verified. {message}", hint, more) if part)


def damages(done: Round) -> Iterator[str]:
    """What was found in the first damaged runs and what to do, for those who got lines and no sentences."""
    damaged = [one for one in done.verified if one.problem is not None]
    for one in damaged[:_SHOWN_DAMAGES]:
        problem = one.problem
        if problem is not None:
            yield f"{text.printable(one.run_path, limit=1000)}: {problem.message}\n  {problem.hint}"
    if damaged[_SHOWN_DAMAGES:]:
        yield f"and {text.count(len(damaged) - _SHOWN_DAMAGES, 'more damaged run')}: exlab-orch list"


def summary(done: Round) -> str:
    """How it went: "3 runs verified: 2 as proved, 1 damaged; 1 not verified"."""
    damaged = sum(not one.ok for one in done.verified)
    counted = ((len(done.verified) - damaged, "as proved"), (damaged, "DAMAGED"))
    parts = [f"{number:,} {word}" for number, word in counted if number]
    words = f"{text.count(len(done.verified), 'run')} verified: {', '.join(parts)}" if done.verified else ""
    rest = [words] if words else []
    rest += [f"{len(done.not_verified):,} not verified"] if done.not_verified else []
    rest += [f"{len(done.later):,} left for the next time"] if done.later else []
    return f"{'; '.join(rest)}."


def verify_document(done: Round) -> Document:
    """``verify --json``."""
    not_verified = [
        {**named("run", one.run_path), "code": one.error.code, "message": one.error.message, "hint": hint_of(one.error)}
        for one in done.not_verified
    ]
    return document(
        verified=[_verified(one) for one in done.verified],
        not_verified=not_verified,
        later=[named("run", run_path) for run_path in done.later],
    )


def _verified(found: Verification) -> Document:
    problem = found.problem
    return {
        **named("run", found.run_path),
        "ok": found.ok,
        "files": found.files,
        "bytes": found.byte_total,
        **names_document("missing", found.missing),
        **names_document("changed", found.changed),
        **names_document("unreadable", [one.name for one in found.unreadable]),
        **names_document("extra", found.extra),
        "vouched": found.vouched,
        "whole": found.whole,
        **named("nas_path", found.nas_path),
        "problem": None
        if problem is None
        else {"code": problem.code, "message": problem.message, "hint": problem.hint},
    }
