"""What a row of the listing says in words: its state as a person reads it, and the sentences beneath it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

from exlab_orch import text
from exlab_orch.cli.output import COMMANDS, first_way
from exlab_orch.model import SHOWN_AS
from exlab_orch.policy import FLAGS

if TYPE_CHECKING:
    from exlab_orch.disks import Disk
    from exlab_orch.progress import Progress
    from exlab_orch.rows import Row

_WITHOUT_STATE: Final = {
    "not_a_run": "not a run",
    "unknown_equipment": "unknown equipment",
    "name_unsupported": "unusable name",
}
_COPYING: Final = "copying"
_ELSEWHERE: Final = "on another NAS"
"""Proved, and not where the configuration says now; a cleared run's copy is where it was."""
_DOING: Final = {
    "copy": _COPYING,
    "proof": "reading it back from the NAS",
    "clear": "deleting the staged copy",
    "verify": "verifying the NAS copy",
}

_STALE_SECONDS: Final = 120
_LOW_PERCENT: Final = 5
_SOON_SECONDS: Final = 86_400

_PROGRAM: Final = "exlab-orch "
_COMMAND: Final = re.compile(f": (?={COMMANDS})")

Mood = Literal["problem", "hint", "held", "progress", "waiting"]


@dataclass(frozen=True, slots=True)
class Remark:
    """A sentence about a run, and how urgent it is."""

    mood: Mood
    text: str
    is_whole: bool = False
    """It holds a command, and is never broken by us: it is there to be copied."""


def state_word(row: Row) -> str:
    """The state of a run as a person reads it: "arriving", "copying 43 %", "on NAS, checked"."""
    if row.current_state is None:
        return "new" if row.problem is None else _WITHOUT_STATE.get(row.problem.code, "unreadable")
    if row.current_state == "sync_queued" and row.progress is not None and row.progress.phase == "copy":
        return f"{_COPYING} {percent(row.progress)} %"
    if row.on_another_nas:
        return _ELSEWHERE
    return SHOWN_AS[row.current_state]


def percent(progress: Progress) -> int:
    """How much of the phase is done, 0 to 100, rounded down so that 100 means done."""
    if progress.byte_total <= 0:
        return 100
    return min(100, 100 * progress.bytes_done // progress.byte_total)


def progress_words(progress: Progress) -> str:
    """What a running phase is doing: "copying: 12.0 GiB of 28.0 GiB, 412 MiB/s, 39 s left"."""
    done, total = text.size(progress.bytes_done), text.size(progress.byte_total)
    words = [f"{_DOING.get(progress.phase, progress.phase)}: {done} of {total}"]
    rate = progress.bytes_per_second
    if rate > 0:
        left = max(0, progress.byte_total - progress.bytes_done) / rate
        words += [f"{text.size(int(rate))}/s", f"{text.duration(left)} left"]
    return ", ".join(words)


def remarks(row: Row) -> tuple[Remark, ...]:
    """The sentences beneath a run: what it is doing, what is wrong, why it waits."""
    found: list[Remark] = []
    if row.progress is not None:
        found.append(Remark("progress", progress_words(row.progress)))
    if row.problem is not None:
        found.append(Remark("problem", f"{row.problem.code}: {row.problem.message}"))
        found += hint_remarks(row.problem.hint)
    if row.held:
        found.append(Remark("held", f"held: {text.printable(row.hold_reason or 'no reason given')}"))
    wait = waiting_words(row)
    if wait is not None:
        found.append(Remark("waiting", wait))
    return tuple(found)


def hint_remarks(hint: str) -> tuple[Remark, ...]:
    """What to do about a problem; a command in it stands on a line of its own, which is never broken."""
    if not hint:
        return ()
    before, command, after = around_command(hint)
    if not command:
        return (Remark("hint", f"→ {hint}", is_whole=_PROGRAM in hint),)
    return (Remark("hint", f"→ {before}"), Remark("hint", f"  {command}", is_whole=True), *hint_remarks(after))


def around_command(hint: str) -> tuple[str, str, str]:
    """What stands before the command of a hint, the command, and what follows it after some spaces."""
    found = _COMMAND.search(hint)
    if found is None:
        return hint, "", ""
    command, after = first_way(hint[found.end() :])
    return hint[: found.end() - 1], command, after


def is_blocked(row: Row) -> bool:
    """Whether a problem stops the run, as opposed to one that only tells a person something."""
    return row.problem is not None and row.problem.code not in FLAGS


def waiting_words(row: Row) -> str | None:
    """What the run waits for, or None where something else already says why it does not go ahead."""
    if is_blocked(row) or row.held or row.progress is not None:
        return None
    is_said = row.problem is not None and row.problem.hint == row.waiting_for  # what is no run waits for its hint
    return None if is_said else row.waiting_for


def disk_words(disk: Disk, now: datetime) -> tuple[str, bool]:
    """How full a disk is, in words, and whether that is worth a warning."""
    name = text.printable(disk.name, limit=1000)
    if disk.space is None:
        return f"{name}: free space not known", False
    free, total = disk.space.free_bytes, disk.space.total_bytes
    share = 100 * free / total if total else 0.0
    seen = 0.0 if disk.at is None else (now - disk.at).total_seconds()
    when = f", {text.ago(seconds=seen)}" if seen >= _STALE_SECONDS else ""
    full = "" if disk.seconds_left is None else f"; at the present rate full in {text.duration(disk.seconds_left)}"
    is_low = share < _LOW_PERCENT or (disk.seconds_left is not None and disk.seconds_left < _SOON_SECONDS)
    return f"{name}: {text.size(free)} of {text.size(total)} free ({share:.0f} %){when}{full}", is_low


def amount(files: int, byte_total: int) -> str:
    """ "1,204 files, 12.4 GiB"."""
    return f"{text.count(files, 'file')}, {text.size(byte_total)}"


def closing_line(rows: Sequence[Row]) -> str:
    """How many runs are in which state, what lies beside them, and how many need a person."""
    beside = [row for row in rows if _is_no_run(row)]
    runs = [row for row in rows if not _is_no_run(row)]
    said = [text.count(len(runs), "run") + (f": {_counted(runs)}." if runs else ".")]
    said += [f"Besides: {_counted(beside)}."] if beside else []
    troubled = sum(row.problem is not None for row in rows)
    said += [] if not troubled else ["1 needs a person."] if troubled == 1 else [f"{troubled:,} need a person."]
    return " ".join(said)


def _counted(rows: Sequence[Row]) -> str:
    counted = Counter(_plain_state(row) for row in rows)
    return "; ".join(f"{counted[word]:,} {word}" for word in sorted(counted, key=_rank))


def _is_no_run(row: Row) -> bool:
    """Whether the row is something in staging that no verb takes for a run."""
    return row.current_state is None and row.problem is not None and row.problem.code in _WITHOUT_STATE


def next_commands(rows: Sequence[Row], chosen: str) -> tuple[tuple[str, str], ...]:
    """What a person may do now, as a label and a command ready to paste: what was chosen, and to free disk space.

    What leads to the list itself, or to strays of which nothing else is in it, is left out here.
    """
    from exlab_orch.next_step import LIST, LIST_PROBLEMS

    found: list[tuple[str, str]] = []
    troubled = sum(row.problem is not None for row in rows)
    if chosen not in (LIST, LIST_PROBLEMS) or (chosen == LIST_PROBLEMS and 0 < troubled < len(rows)):
        found.append(("Next", chosen))
    moved = [row.run for row in rows if row.on_another_nas]
    if moved:
        command = f"exlab-orch verify {text.pasted(moved[0]) if len(moved) == 1 else '--all'}"
        found.append(("To see whether it is on the NAS", command))
    clearable = sum(row.byte_total for row in rows if _waits_for_clear(row))
    if clearable:
        found.append((f"To free {text.size(clearable)}", "exlab-orch clear --all-verified"))
    return tuple(found)


def looking_on(rows: Sequence[Row]) -> tuple[str, str]:
    """Where nothing has to be done: how to see what moves, or more about a run."""
    if any(row.progress is not None for row in rows):
        return "To look on", "exlab-orch list --watch"
    known = next((row for row in rows if row.current_state is not None), None)
    if known is None:
        return "The whole picture", "exlab-orch status"
    return "More about one", f"exlab-orch show {text.pasted(known.run)}"


def _waits_for_clear(row: Row) -> bool:
    """Whether the run is proved and no schedule, hold or problem stands between it and a person's clear."""
    is_free = not row.held and row.problem is None and row.clear_after is None and row.progress is None
    return row.current_state == "sync_verified" and is_free and not row.on_another_nas


def _plain_state(row: Row) -> str:
    """The state without its percentage, so that runs can be counted by it."""
    word = state_word(row)
    return _COPYING if word.startswith(_COPYING) else word


def _rank(word: str) -> int:
    order = [*SHOWN_AS.values()]
    place = order.index("on NAS, checked")
    order[place:place] = [_COPYING, _ELSEWHERE]
    return order.index(word) if word in order else len(order)
