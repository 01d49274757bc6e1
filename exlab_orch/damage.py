"""What can be wrong with a NAS copy, as values and in words: missing, changed, unreadable files, the list itself."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal

from exlab_orch.errors import NasCopyDamaged, NasCopyMissing, NasCopyUnreadable, RunProblem
from exlab_orch.model import CHECKSUMS_PATH, Problem
from exlab_orch.text import count, pasted, printable

PHASE: Final = "verify"
"""The phase of the problems of a NAS copy. They are of the copy and not of a run's life in staging: a life that begins
or ends leaves them open."""
CODES: Final = frozenset({NasCopyDamaged.code, NasCopyMissing.code, NasCopyUnreadable.code})
"""What a look at a NAS copy, or the proof before a delete, may find wrong with it."""
LIST: Final = CHECKSUMS_PATH.encode()
"""The checksum list, as a name among the files of the run."""
_PUSHED_AGAIN: Final = "The run was pushed again."
_KNOWN_BEFORE: Final = "More was known before."
ListFault = Literal["missing", "changed", "unreadable"]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file on the NAS that could not be read, and what the NAS answered."""

    name: bytes
    error: RunProblem


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found when the NAS copy of one run was read again; names are relative to the run folder, sorted."""

    run_path: str
    nas_path: str
    files: int
    """How many files the list of what was proved names."""
    byte_total: int
    """How much was read."""
    missing: tuple[bytes, ...] = ()
    changed: tuple[bytes, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    extra: tuple[bytes, ...] = ()
    """What people put beside the run: told, and never a fault."""
    list_fault: ListFault | None = None
    """What is wrong with the checksum list on the NAS; it stands among the names of that kind too."""
    gone: bool = False
    """Whether the NAS has no such run at all."""
    vouched: bool = True
    """Whether a record or the ledger vouches for what the files were compared with."""
    proved_at: str | None = None
    """Where the run was when it was proved, if that is another place than ``nas_path``."""
    whole: bool = True
    """Whether everything was read; else the look was stopped, and this is what it had seen."""
    problem: RunProblem | None = None
    """The damage as a problem with what to do about it, or None where everything is as proved."""

    @property
    def ok(self) -> bool:
        """Whether everything that was proved is there, and is what was proved."""
        return not self.damaged

    @property
    def damaged(self) -> tuple[bytes, ...]:
        """Every name with which something is wrong."""
        return (*self.missing, *self.changed, *(one.name for one in self.unreadable))

    @property
    def only_list(self) -> bool:
        """Whether only the checksum list is damaged: every file was read and is as proved."""
        return self.vouched and self.whole and set(self.damaged) == {LIST}


def is_mended(damaged: Iterable[bytes], good: Container[bytes]) -> bool:
    """Whether every file that was found damaged is among those that were read back since, as they should be."""
    return all(name in good for name in damaged)


def not_mended(known: Iterable[Problem], good: Container[bytes], most: int) -> list[Problem]:
    """What stays wrong after some files were read and are good.

    Of damage without a name, or with ``most`` names, not everything is named: that stays until everything was read.
    """

    def is_named(one: Problem) -> bool:
        return one.code not in CODES or 0 < len(one.files) < most

    return [one for one in known if not is_named(one) or not is_mended(one.files, good)]


def beyond(known: Iterable[Problem], wanted: Container[bytes]) -> list[Problem]:
    """Of known damage what a look at these files says nothing about, although all of them are as they should be.

    A list that names fewer files than one before it vouches for no others; and damage without a name, of a run that was
    pushed again since, may be of any file that its list does not name.
    """

    def is_beyond(one: Problem) -> bool:
        if not one.files:
            return one.message.endswith(_PUSHED_AGAIN)
        return not is_mended((name for name in one.files if name != LIST), wanted)

    return [one for one in known if is_beyond(one)]


def pushed_again(known: Problem) -> Problem:
    """Known damage of a run that has come to staging again: the copy sees what was pushed, and nobody sees the rest."""
    if known.message.endswith(_PUSHED_AGAIN):
        return known
    hint = (
        "Its copy mends what is missing on the NAS, and stops at what is different there. Get what was not pushed again"
        f" back from a snapshot or a backup of the NAS, then: exlab-orch verify {pasted(known.subject)}"
    )
    return replace(known, message=f"{known.message} {_PUSHED_AGAIN}", hint=hint)


def with_known(known: Iterable[Problem], seen: Problem) -> list[Problem]:
    """What a look saw that did not read everything, beside what was known before: nothing of that is forgotten."""
    same = next((one for one in known if one.code == seen.code), None)
    others = [one for one in known if one.code != seen.code]
    if same is None:
        return [*others, seen]
    names = {*same.files, *seen.files}
    if not same.files or (seen.files and names == set(same.files)):
        return [*others, same]
    if seen.files and names == set(seen.files):
        return [*others, seen]
    files = tuple(sorted(names)) if seen.files else ()  # without a name it may be any file
    return [*others, replace(seen, message=f"{seen.message} {_KNOWN_BEFORE}", files=files)]


def damage(found: Verification, *, staged: bool) -> RunProblem:
    """What was found wrong, as a problem with what to do about it.

    Args:
        found: a look that is not ok.
        staged: whether the staged copies of what is damaged are still there.
    """
    names = found.damaged if found.vouched else ()  # where nothing vouches for the files it may be any of them
    message, hint = _damage_message(found), _damage_hint(found, staged=staged)
    if found.changed or not found.vouched:
        return NasCopyDamaged(message, hint=hint, files=names)
    if found.missing:
        return NasCopyMissing(message, hint=hint, files=names)
    return NasCopyUnreadable(message, hint=hint, files=names)


def _damage_message(found: Verification) -> str:
    moved = (
        f"It was proved at {printable(found.proved_at, 1000)}; this look was at {printable(found.nas_path, 1000)}."
        if found.proved_at
        else ""
    )
    if found.gone:
        return f"The run is gone from the NAS. {moved}".rstrip()
    why = _ended(found.unreadable[0].error.message) if found.unreadable else ""
    half = "" if found.whole else "The look was stopped before everything was read."
    return " ".join(part for part in (_file_sentence(found), _list_sentence(found), why, moved, half) if part)


def _ended(sentence: str) -> str:
    """The sentence with a full stop: what a program says seldom has one."""
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."


def _file_sentence(found: Verification) -> str:
    """How many files are damaged, and the first of them."""
    kinds = (
        (found.missing, "missing"),
        (found.changed, "with other content"),
        ([one.name for one in found.unreadable], "unreadable"),
    )
    files = [([name for name in names if name != LIST], what) for names, what in kinds]
    words = ", ".join(f"{len(names):,} {what}" for names, what in files if names)
    if not words:
        return ""
    first = next(names[0] for names, _what in files if names)
    of = count(found.files, "proved file" if found.vouched else "listed file")
    return f"Of {of} on the NAS: {words}; first {printable(first)}."


def _list_sentence(found: Verification) -> str:
    """What is wrong with the checksum list, and what that means for the files."""
    if found.list_fault is None:
        return ""
    what = {"changed": "is not the one that was proved", "missing": "is missing", "unreadable": "cannot be read"}
    sentence = f"The checksum list {CHECKSUMS_PATH} on the NAS {what[found.list_fault]}."
    if not found.vouched:
        return f"{sentence} No other is left, so nothing vouches for what the files should be."
    return f"{sentence} Every file beside it is as proved." if found.only_list else sentence


def _damage_hint(found: Verification, *, staged: bool) -> str:
    name = pasted(found.run_path)
    if not staged:
        into = f" into {printable(found.nas_path, 1000)}" if found.nas_path else ""
        first = "" if found.missing or found.changed else "Look at the NAS first (rights, disks). "
        lost = "what is damaged" if not first else "what stays unreadable"
        return (
            f"There is no staged copy any more. {first}Get {lost} back from a snapshot or a backup of the NAS"
            f"{into}, then: exlab-orch verify {name}"
        )
    if found.only_list:
        return "Nothing was deleted. The next pass writes the list again."
    if found.changed:
        return f"The staged copy is kept. To keep theirs aside and copy ours: exlab-orch sync --new-version {name}"
    if found.missing and not found.unreadable:
        return "The staged copy is there; the next pass copies what is missing again."
    return f"The staged copy is kept. Look at the NAS (rights, disks), then: exlab-orch verify {name}"
