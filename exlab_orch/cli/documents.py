"""The JSON documents of the command line, key by key as cli.md fixes them (cli.md, Output)."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from exlab_orch import text
from exlab_orch.cli.output import SCHEMA_VERSION
from exlab_orch.clock import format_utc

if TYPE_CHECKING:
    from exlab_orch.answers import Answer
    from exlab_orch.detail import RunDetail
    from exlab_orch.disks import Disk
    from exlab_orch.ledger import LedgerLine
    from exlab_orch.looks import LastLook
    from exlab_orch.model import Problem
    from exlab_orch.progress import Progress
    from exlab_orch.rows import Row

Document = dict[str, object]


def document(**keys: object) -> Document:
    """A document with its schema version in front."""
    return {"schema_version": SCHEMA_VERSION, **keys}


def named(key: str, value: str | None) -> Document:
    """A name from outside under ``key``; one that is not UTF-8 is also carried exactly, in ``key_b64``."""
    if value is None or text.is_utf8(value):
        return {key: value}
    exact = base64.b64encode(os.fsencode(value)).decode("ascii")
    return {key: text.printable(os.fsencode(value), limit=10_000), f"{key}_b64": exact}


def moment(value: datetime | None) -> str | None:
    """RFC 3339 in UTC with ``Z``, or None."""
    return None if value is None else format_utc(value)


def problem_document(problem: Problem | None) -> Document | None:
    """``{"code", "message", "since", "hint"}`` or None."""
    if problem is None:
        return None
    return {"code": problem.code, "message": problem.message, "since": moment(problem.since), "hint": problem.hint}


def progress_document(progress: Progress | None) -> Document | None:
    """What a running pass is doing with the run, or None."""
    if progress is None:
        return None
    return {
        "phase": progress.phase,
        "file_count": progress.files,
        "bytes_done": progress.bytes_done,
        "byte_total": progress.byte_total,
        "bytes_per_second": round(progress.bytes_per_second),
    }


def row_document(row: Row) -> Document:
    """One entry of ``runs`` in ``list --json``."""
    return {
        **named("run", row.run),
        **named("path", row.path),
        "equipment_id": row.equipment_id,
        **named("project_name", row.project_name),
        "run_kind": row.run_kind,
        "current_state": None if row.current_state is None else str(row.current_state),
        "file_count": row.file_count,
        "byte_total": row.byte_total,
        "last_activity_at": moment(row.last_activity_at),
        "elapsed_seconds_since_last_activity": row.elapsed_seconds_since_last_activity,
        "waiting_for": row.waiting_for,
        "problem": problem_document(row.problem),
        "held": row.held,
        "hold_reason": row.hold_reason,
        "attempts": row.attempts,
        "progress": progress_document(row.progress),
        "clear_after": moment(row.clear_after),
        **named("nas_path", row.nas_path),
        "on_another_nas": row.on_another_nas,
        "actions": list(row.actions),
    }


def list_document(
    rows: Iterable[Row], disks: Iterable[Disk], problems: Iterable[Problem], *, host: str, now: datetime
) -> Document:
    """``list --json``; ``problems`` belong to no run: why no pass can begin, those of a NAS and of the staging disk."""
    return document(
        generated_at=moment(now),
        host=host,
        runs=[row_document(row) for row in rows],
        space=[disk_document(disk) for disk in disks],
        problems=[{**named("subject", one.subject), **(problem_document(one) or {})} for one in problems],
    )


def disk_document(disk: Disk) -> Document:
    """How full the staging disk or a NAS is, and when it was that; null where it is not known."""
    space = disk.space
    return {
        **named("name", disk.name),
        "total_bytes": None if space is None else space.total_bytes,
        "free_bytes": None if space is None else space.free_bytes,
        "at": moment(disk.at),
        "seconds_until_full": None if disk.seconds_left is None else int(disk.seconds_left),
    }


def cleared_document(
    lines: Iterable[LedgerLine], looks: Mapping[str, LastLook], *, host: str, now: datetime
) -> Document:
    """``list --cleared --json``."""
    cleared = [
        {
            **named("run", line.run_path),
            "cleared_at": line.cleared_at,
            "files_cleared": line.files_cleared,
            "bytes_freed": line.bytes_freed,
            **named("nas_path", line.nas_path),
            "checksum_sha256": line.checksum_sha256,
            "by": line.by,
            "verified": _look(looks.get(line.run_path)),
        }
        for line in lines
    ]
    return document(generated_at=moment(now), host=host, cleared=cleared)


def _answer(answer: Answer) -> Document:
    return {"yes": answer.yes, "known": answer.known, "why": answer.why}


def show_document(detail: RunDetail, *, host: str, now: datetime) -> Document:
    """``show --json``: the row, the two answers, the history as in the record, and the proof."""
    return document(
        generated_at=moment(now),
        host=host,
        **row_document(detail.row),
        safe_on_nas=_answer(detail.safe),
        may_be_deleted=_answer(detail.may_delete),
        problems=[_problem_with_files(problem) for problem in detail.problems],
        checks=[
            {"check": one.check, "result": one.result, "message": one.message, "fix": one.fix} for one in detail.checks
        ],
        next_attempt_at=moment(detail.next_attempt_at),
        history=[entry.as_json() for entry in detail.history],
        checksums={"path": detail.checksums_path, "count": detail.checksums_count},
        verified=_look(detail.verified),
    )


def _problem_with_files(problem: Problem) -> Document:
    """The problem, and the files it is about, as far as they are kept."""
    return {**(problem_document(problem) or {}), **names_document("files", problem.files)}


def names_document(key: str, found: Sequence[bytes]) -> Document:
    """Names as text; where one of them is not UTF-8 all are carried exactly too, in the same order."""
    shown = [named("name", os.fsdecode(name)) for name in found]
    listed: Document = {key: [one["name"] for one in shown]}
    if any("name_b64" in one for one in shown):
        listed[f"{key}_b64"] = [base64.b64encode(name).decode("ascii") for name in found]
    return listed


def _look(look: LastLook | None) -> Document | None:
    """When the NAS copy was last read again, and whether everything was as proved; or None."""
    return None if look is None else {"at": moment(look.at), "ok": look.ok}


def clear_document(cleared: Sequence[Document], refused: Sequence[Document], held: Sequence[Document]) -> Document:
    """``clear --json``."""
    return document(cleared=list(cleared), refused=list(refused), held=list(held))
