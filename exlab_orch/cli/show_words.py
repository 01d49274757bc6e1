"""What ``show`` says about one run, in words: its facts, and what each entry of its history carries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from exlab_orch import text
from exlab_orch.cli.words import amount, local_time, progress_words, state_word, waiting_words

if TYPE_CHECKING:
    from exlab_orch.listing import RunDetail
    from exlab_orch.model import HistoryEntry
    from exlab_orch.verification import LastLook

Field = tuple[str, str]


def facts(detail: RunDetail, now: datetime) -> Iterator[Field]:
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
    yield from _waits(detail, now)


def verified_words(look: LastLook) -> str:
    """When the NAS copy was last read again, and how that went."""
    return f"{local_time(look.at)}, {'as proved' if look.ok else 'DAMAGED'}"


def _waits(detail: RunDetail, now: datetime) -> Iterator[Field]:
    row = detail.row
    wait = waiting_words(row, now)
    if wait is not None:
        yield "Waiting", wait
    if row.held:
        yield "Held", text.printable(row.hold_reason or "no reason given")
    if row.attempts:
        yield "Attempts", f"{row.attempts} failed so far"


def entry_words(entry: HistoryEntry) -> str:
    """What a history entry carries besides state, time and place, in words."""
    parts = [
        _figures(entry, "files_received", "bytes_received"),
        _figures(entry, "files_cleared", "bytes_freed"),
        _labelled(entry, "reason", ""),
        _accepted(entry),
        "the equipment says it failed" if entry.extra("acquisition_failed") is True else "",
        _labelled(entry, "by", "by "),
    ]
    return ", ".join(part for part in parts if part)


def _figures(entry: HistoryEntry, files: str, byte_total: str) -> str:
    count, size = entry.extra(files), entry.extra(byte_total)
    return amount(count, size) if isinstance(count, int) and isinstance(size, int) else ""


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
