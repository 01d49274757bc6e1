"""What ``show`` says about one run, in words: its facts, and what each entry of its history carries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from exlab_orch import text
from exlab_orch.cli.words import amount, progress_words, state_word, waiting_words
from exlab_orch.clock import local_words

if TYPE_CHECKING:
    from exlab_orch.detail import RunDetail
    from exlab_orch.diagnosis import Finding
    from exlab_orch.looks import LastLook
    from exlab_orch.model import HistoryEntry, Problem

Field = tuple[str, str]
CHECK_WORDS: Final = {"ok": "ok", "warning": "waits", "error": "stopped", "skipped": "later"}
"""What the result of a check means for a run."""
_REASONS: Final = {
    "new_files": "new files were pushed",
    "changed_files": "files changed in staging",
    "nas_copy_missing": "files were missing on the NAS",
    "nas_copy_damaged": "files were damaged on the NAS",
    "record_unsealed": "its record was not ours",
    "pushed_again": "pushed again",
}
_SHOWN_NAMES: Final = 20
"""So many names of a problem are read by a person; --plain and --json have those that are kept."""


def check_name(check: Finding) -> str:
    """The check as a person reads it: "run.open_files" is about open files."""
    return check.check.partition(".")[2].replace("_", " ")


def names_shown(problem: Problem) -> Iterator[str]:
    """The files a problem is about, where they are more than the one that its message names."""
    names = problem.files if len(problem.files) > 1 else ()
    yield from (text.printable(name, limit=1000) for name in names[:_SHOWN_NAMES])
    if names[_SHOWN_NAMES:]:
        yield f"… and {len(names) - _SHOWN_NAMES:,} more; --plain shows them"


def facts(detail: RunDetail) -> Iterator[Field]:
    """What is known about the run, label and text; what does not apply is left out."""
    row = detail.row
    yield "Run", text.printable(row.run, limit=10_000)
    yield "State", state_word(row)
    if row.progress is not None:
        yield "Now", progress_words(row.progress)
    if row.current_state != "cleared":
        yield "Staged", f"{amount(row.file_count, row.byte_total)}, {row.run_kind} run"
        yield "Folder", text.printable(row.path, limit=10_000)
    if row.nas_path is not None:
        yield "On the NAS", text.printable(row.nas_path, limit=10_000)
    if detail.checksums_path is not None:
        yield "Checksums", f"{text.printable(detail.checksums_path)}, {text.count(detail.checksums_count, 'line')}"
    if detail.verified is not None:
        yield "Verified", verified_words(detail.verified)
    yield from _waits(detail)


def verified_words(look: LastLook) -> str:
    """When the NAS copy was last read again, and how that went."""
    return f"{local_words(look.at)}, {'as proved' if look.ok else 'DAMAGED'}"


def _waits(detail: RunDetail) -> Iterator[Field]:
    row = detail.row
    wait = waiting_words(row)
    if wait is not None:
        yield "Waiting", wait
    if row.held:
        yield "Held", text.printable(row.hold_reason or "no reason given")
    if row.attempts:
        after = detail.next_attempt_at
        then = "" if after is None else f"; the next one after {local_words(after)}"
        yield "Attempts", f"{row.attempts} failed so far{then}"


def entry_words(entry: HistoryEntry) -> str:
    """What a history entry carries besides state, time and place, in words."""
    parts = [
        _figures(entry, "files_received", "bytes_received"),
        _figures(entry, "files_cleared", "bytes_freed"),
        _reason(entry),
        _accepted(entry),
        "the equipment says it failed" if entry.extra("acquisition_failed") is True else "",
        _labelled(entry, "by", "by "),
    ]
    return ", ".join(part for part in parts if part)


def _figures(entry: HistoryEntry, files: str, byte_total: str) -> str:
    count, size = entry.extra(files), entry.extra(byte_total)
    return amount(count, size) if isinstance(count, int) and isinstance(size, int) else ""


def _reason(entry: HistoryEntry) -> str:
    """Why it stepped back, in words; what another program wrote stands as it is."""
    reason = entry.text("reason")
    return _REASONS.get(reason, text.printable(reason)) if reason else ""


def _labelled(entry: HistoryEntry, name: str, label: str) -> str:
    value = entry.text(name)
    return f"{label}{text.printable(value)}" if value else ""


def _accepted(entry: HistoryEntry) -> str:
    """An accept is kept as ``{"reason", "by"}``."""
    order = entry.extra("accepted")
    if not isinstance(order, Mapping):
        return "" if order is None else "accepted as it is"
    return f"accepted by {text.printable(str(order.get('by', '?')))}: {text.printable(str(order.get('reason', '')))}"


def further_commands(detail: RunDetail) -> tuple[str, ...]:
    """The commands that apply to the run now, besides the one that shows it."""
    return tuple(action for action in detail.row.actions if not action.startswith("exlab-orch show "))
