"""Runs as tab separated lines, for programs and for pipes: nothing cut, no colours (cli.md, Output)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from exlab_orch import text
from exlab_orch.cli.pasting import pasteable
from exlab_orch.cli.show_words import CHECK_WORDS, entry_words, facts, further_commands
from exlab_orch.cli.words import state_word
from exlab_orch.clock import format_utc

if TYPE_CHECKING:
    from exlab_orch.detail import RunDetail
    from exlab_orch.rows import Row


def list_tabs(rows: Iterable[Row]) -> Iterator[tuple[object, ...]]:
    """For each run: path, state, shown as, files, bytes, last event, problem code, and why it waits."""
    for row in rows:
        reason = row.problem.message if row.problem else row.waiting_for
        stamp = None if row.last_activity_at is None else format_utc(row.last_activity_at)
        code = row.problem.code if row.problem else None
        yield (
            text.printable(row.run, limit=10_000),
            row.current_state,
            state_word(row),
            row.file_count,
            row.byte_total,
            stamp,
            code,
            reason,
        )


def show_tabs(detail: RunDetail) -> Iterator[tuple[object, ...]]:
    """Label and value, one line each, in the same order."""
    yield "safe_on_nas", detail.safe.word, detail.safe.why
    yield "may_be_deleted", detail.may_delete.word, detail.may_delete.why
    for label, words in facts(detail):
        yield label.lower().replace(" ", "_"), words
    for problem in detail.problems:
        yield "problem", problem.code, format_utc(problem.since), problem.message, pasteable(problem.hint)
        for name in problem.files:
            yield "file", problem.code, text.printable(name, limit=10_000)
    for check in detail.checks:
        yield "check", check.check, CHECK_WORDS[check.result], check.message, pasteable(check.fix)
    for entry in detail.history:
        yield "history", text.printable(entry.at), entry.state, text.printable(entry.host), entry_words(entry)
    for action in further_commands(detail):
        yield "command", pasteable(action)
