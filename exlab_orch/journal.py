"""The journal: a SQLite index of identities, hashes, attempts, last records, orders and problems, which may be lost."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal, cast

from exlab_orch.clock import format_utc, parse_utc
from exlab_orch.errors import state_errors
from exlab_orch.journal_file import connected, damage_told, moved_aside, open_to_read, prepared, unusable, with_schema
from exlab_orch.model import OUR_FOLDER, Identity, Problem
from exlab_orch.text import is_utf8

_REMIND_AFTER: Final = timedelta(days=1)
MOST_FILES: Final = 1000
"""So many names of a problem are kept."""

OrderKind = Literal["accept", "due", "new_version", "clear_later", "pause", "mirror", "clear_again"]
EdgeKind = Literal["opened", "changed", "closed", "still_open"]


@dataclass(frozen=True, slots=True)
class JournalRun:
    """What the journal remembers of one run; written under the run's lock."""

    run_path: str
    leaf: str
    record: str | None = None
    """The last record we wrote, as JSON text with its seal."""
    own: str | None = None
    """Identities of our own files after our last write, as JSON."""
    attempts: int = 0
    retry_at: float | None = None
    """Seconds since the epoch before which no further attempt is made."""
    failed: bool = False
    """No more attempts until a person asks."""
    waiting: str | None = None
    idle: bytes | None = None
    """What the run looked like when nothing more could be done; see idle.py."""
    look_at: float | None = None
    """Seconds since the epoch at which the run is looked at even if it seems unchanged."""
    clear_at: float | None = None
    """Seconds since the epoch from which the schedule may clear the run; None where none does."""
    changed_ns: str | None = None
    """A newest ctime that lay in the future when it was first seen, and when that was (seconds since the epoch)."""
    changed_seen: float | None = None
    file_count: int = 0
    byte_total: int = 0


@dataclass(frozen=True, slots=True)
class FileRow:
    """What the journal remembers of one file: the staged identity that was hashed, and its copy."""

    identity: Identity
    sha256: str
    stamp: Identity | None = None
    """The NAS file when it was read back and equalled ``sha256``."""
    read_at: float | None = None
    """When the NAS file was last read in full (seconds since the epoch)."""
    clear_read_at: float | None = None
    """When it was read again for a clear that has not ended yet (seconds since the epoch)."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """An edge of a problem, to be told once."""

    kind: EdgeKind
    problem: Problem


_COLUMNS: Final = tuple(field.name for field in fields(JournalRun))
_SAVE_RUN: Final = f"INSERT OR REPLACE INTO runs ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_FILE_COLUMNS: Final = (
    "inode, size, mtime_ns, ctime_ns, sha256, nas_inode, nas_size, nas_mtime_ns, nas_ctime_ns, read_at, clear_read_at"
)
_PROBLEM_COLUMNS: Final = "subject, code, message, since, hint"


class Journal:
    """The open database. Every method is one transaction; a run's rows are written under that run's lock."""

    def __init__(
        self, connection: sqlite3.Connection, path: str, *, set_aside: str | None = None, is_nowhere: bool = False
    ) -> None:
        self._connection = connection
        self._path = path
        self.set_aside = set_aside
        """The path a damaged journal was moved to, or None."""
        self.is_nowhere = is_nowhere
        """Whether it is on no disk: it is empty because there is none, or none that may be read."""

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Several writes that become durable together; nests."""
        if self._connection.in_transaction:
            yield
            return
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # a full disk has rolled it back already
                self._execute("ROLLBACK")
            raise

    def _execute(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with damage_told(self._path):  # rows are fetched in here: damage may show in any of them
            return self._connection.execute(statement, values).fetchall()

    def _value(self, statement: str, values: Sequence[object]) -> str | None:
        """The one text the statement finds, or None."""
        found = self._execute(statement, values)
        return cast("str", found[0][0]) if found else None

    def _execute_many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        with damage_told(self._path):
            self._connection.executemany(statement, rows)

    # -- runs ------------------------------------------------------------------------------------------------

    def run(self, run_path: str) -> JournalRun | None:
        """What is known of a run, or None."""
        row = self._execute(f"SELECT {', '.join(_COLUMNS)} FROM runs WHERE run_path = ?", (run_path,))
        return next((_journal_run(found) for found in row), None)

    def runs(self) -> dict[str, JournalRun]:
        """All runs by path."""
        rows = self._execute(f"SELECT {', '.join(_COLUMNS)} FROM runs")
        return {run.run_path: run for run in map(_journal_run, rows)}

    def save(self, run: JournalRun) -> None:
        """Write a run's row."""
        self._execute(_SAVE_RUN, tuple(getattr(run, name) for name in _COLUMNS))

    def forget_idle(self, run_path: str | None = None) -> None:
        """Have a run (or all of them) looked at by the next pass."""
        self._execute("UPDATE runs SET idle = NULL WHERE ?1 IS NULL OR run_path = ?1", (run_path,))

    def forget_run(self, run_path: str) -> None:
        """Drop everything about a run but its problems, which are closed and not forgotten (``close_problems``)."""
        with self.transaction():
            for table in ("runs", "files"):
                self._execute(f"DELETE FROM {table} WHERE run_path = ?", (run_path,))
            self._execute("DELETE FROM orders WHERE subject = ?", (run_path,))

    # -- files -----------------------------------------------------------------------------------------------

    def files(self, run_path: str) -> dict[bytes, FileRow]:
        """What is known of a run's files, by name."""
        rows = self._execute(f"SELECT name, {_FILE_COLUMNS} FROM files WHERE run_path = ?", (run_path,))
        with damage_told(self._path):
            return {row[0]: _file_row(row[1:]) for row in rows}

    def newest_ctime_ns(self, run_path: str) -> int | None:
        """When a file of the run was last changed, of those that were hashed; ``.exlab-wizard`` does not count."""
        newest = "SELECT MAX(CAST(ctime_ns AS INTEGER)) FROM files WHERE run_path = ? AND substr(name, 1, ?) != ?"
        ours = f"{OUR_FOLDER}/".encode()
        found: int | None = self._execute(newest, (run_path, len(ours), ours))[0][0]
        return found

    def save_files(self, run_path: str, rows: Mapping[bytes, FileRow]) -> None:
        """Write rows of files in one transaction."""
        with self.transaction():
            self._execute_many(
                f"INSERT OR REPLACE INTO files (run_path, name, {_FILE_COLUMNS}) VALUES ({', '.join('?' * 13)})",
                ((run_path, name, *_file_values(row)) for name, row in rows.items()),
            )

    def forget_clear_reads(self, run_path: str) -> None:
        """Forget what was read again for a clear: the clear has ended, the next one reads anew."""
        self._execute("UPDATE files SET clear_read_at = NULL WHERE run_path = ?", (run_path,))

    def forget_copies(self, run_path: str, names: Iterable[bytes] | None = None) -> None:
        """Forget what was read of the NAS copies of some files of a run, or of all."""
        forget = (
            "UPDATE files SET nas_inode = NULL, nas_size = NULL, nas_mtime_ns = NULL, nas_ctime_ns = NULL, "
            "read_at = NULL, clear_read_at = NULL WHERE run_path = ?"
        )
        rows = [] if names is None else [(run_path, name) for name in names]
        if names is not None and not rows:
            return  # nothing to write is no reason to wait for who writes
        with self.transaction():
            if names is None:
                self._execute(forget, (run_path,))
            else:
                self._execute_many(f"{forget} AND name = ?", rows)

    def forget_files(self, run_path: str, names: Iterable[bytes] | None = None) -> None:
        """Forget some files of a run, or all."""
        with self.transaction():
            if names is None:
                self._execute("DELETE FROM files WHERE run_path = ?", (run_path,))
            else:
                self._execute_many(
                    "DELETE FROM files WHERE run_path = ? AND name = ?", ((run_path, name) for name in names)
                )

    # -- problems --------------------------------------------------------------------------------------------

    def set_problems(self, subject: str, phase: str, found: Iterable[Problem], now: datetime) -> list[Announcement]:
        """Make ``found`` the open problems of a subject in a phase; return the edges (lifecycle.md, 7)."""
        wanted = {problem.code: problem for problem in found}
        announcements: list[Announcement] = []
        with self.transaction():
            known = {problem.code: problem for problem in self._problems_in(subject, phase)}
            for code in known.keys() - wanted.keys():
                self._execute(
                    "DELETE FROM problems WHERE subject = ? AND phase = ? AND code = ?", (_kept(subject), phase, code)
                )
                self._keep_files(subject, phase, code, ())
                announcements.append(Announcement("closed", known[code]))
            for code, problem in wanted.items():
                edge = self._open(phase, problem, known.get(code), now)
                announcements += [edge] if edge else []
        return announcements

    def _open(self, phase: str, problem: Problem, known: Problem | None, now: datetime) -> Announcement | None:
        if known is not None and known.message == problem.message:
            names = problem.files[:MOST_FILES]  # the same words may be about other files
            if names and {*names} != {*self._names_in(problem.subject, phase, problem.code)}:
                self._keep_files(problem.subject, phase, problem.code, names)
            return None
        opened = problem if known is None else replace(problem, since=known.since)
        self._execute(
            "INSERT OR REPLACE INTO problems VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                _kept(opened.subject),
                phase,
                opened.code,
                opened.message,
                opened.hint,
                format_utc(opened.since),
                format_utc(now),
            ),
        )
        self._keep_files(opened.subject, phase, opened.code, opened.files)
        return Announcement("opened" if known is None else "changed", opened)

    def _keep_files(self, subject: str, phase: str, code: str, names: Sequence[bytes]) -> None:
        """Make these the names that a problem is about, as far as a person would ever read."""
        key = (_kept(subject), phase, code)
        self._execute("DELETE FROM problem_files WHERE subject = ? AND phase = ? AND code = ?", key)
        rows = [(*key, name) for name in dict.fromkeys(names[:MOST_FILES])]
        self._execute_many("INSERT INTO problem_files VALUES (?, ?, ?, ?)", rows)

    def _names_in(self, subject: str, phase: str, code: str) -> Iterator[bytes]:
        rows = self._execute(
            "SELECT name FROM problem_files WHERE subject = ? AND phase = ? AND code = ?", (_kept(subject), phase, code)
        )
        return (name for (name,) in rows)

    def problems_in(self, subject: str, phase: str) -> list[Problem]:
        """Open problems of a subject in a phase, with the names that they are about."""
        names = self.problem_files(subject)
        return [replace(one, files=names.get(one.code, ())) for one in self._problems_in(subject, phase)]

    def _problems_in(self, subject: str, phase: str) -> list[Problem]:
        return self._problems("subject = ? AND phase = ?", (_kept(subject), phase))

    def problem_files(self, subject: str) -> dict[str, tuple[bytes, ...]]:
        """The names that a subject's problems are about, by code, sorted, at most MOST_FILES each."""
        if not self._execute("SELECT 1 FROM sqlite_master WHERE name = 'problem_files'"):
            return {}  # a journal of before, read by somebody who may not write
        found: dict[str, list[bytes]] = {}
        for code, name in self._execute(
            "SELECT code, name FROM problem_files WHERE subject = ? ORDER BY name", (_kept(subject),)
        ):
            found.setdefault(code, []).append(name)
        return {code: tuple(names) for code, names in found.items()}

    def close_problems(self, subject: str, now: datetime, *, but: str = "") -> list[Announcement]:
        """Close every problem of a subject, but those of one phase."""
        of_subject = "SELECT DISTINCT phase FROM problems WHERE subject = ? AND phase != ?"
        phases = self._execute(of_subject, (_kept(subject), but))
        return [edge for (phase,) in phases for edge in self.set_problems(subject, phase, (), now)]

    def problems(self, subject: str | None = None) -> list[Problem]:
        """Open problems, of one subject or all, oldest first."""
        if subject is None:
            return self._problems("1 = 1", ())
        return self._problems("subject = ?", (_kept(subject),))

    def _problems(self, where: str, values: tuple[object, ...]) -> list[Problem]:
        rows = self._execute(
            f"SELECT {_PROBLEM_COLUMNS} FROM problems WHERE {where} ORDER BY since, code",
            values,
        )
        return [_problem(row) for row in rows]

    def problem_subjects(self, phase: str) -> set[str]:
        """Who has an open problem in that phase."""
        rows = self._execute("SELECT DISTINCT subject FROM problems WHERE phase = ?", (phase,))
        return {_subject(row[0]) for row in rows}

    def due_reminders(self, now: datetime) -> list[Announcement]:
        """Problems that were last announced a day ago, marked as announced now."""
        with self.transaction():
            present = format_utc(now)
            told = (format_utc(now - _REMIND_AFTER), present)  # one told in the future was told by a wrong clock
            due = self._problems("announced_at <= ? OR announced_at > ?", told)
            self._execute(
                "UPDATE problems SET announced_at = ? WHERE announced_at <= ? OR announced_at > ?", (present, *told)
            )
        return [Announcement("still_open", problem) for problem in due]

    # -- orders ----------------------------------------------------------------------------------------------

    def order(self, subject: str, kind: OrderKind) -> dict[str, object] | None:
        """What a person asked for, or None."""
        body = self._value("SELECT body FROM orders WHERE subject = ? AND kind = ?", (subject, kind))
        return None if body is None else cast("dict[str, object]", json.loads(body))

    def orders(self, kind: OrderKind) -> dict[str, dict[str, object]]:
        """All orders of a kind, by subject."""
        rows = self._execute("SELECT subject, body FROM orders WHERE kind = ?", (kind,))
        return {subject: cast("dict[str, object]", json.loads(body)) for subject, body in rows}

    def give_order(self, subject: str, kind: OrderKind, body: Mapping[str, object]) -> None:
        """Remember what a person asked for, and have the run looked at."""
        with self.transaction():
            self._execute("INSERT OR REPLACE INTO orders VALUES (?, ?, ?)", (subject, kind, json.dumps(dict(body))))
            if kind != "clear_again":  # a delete that waits for its hour needs no look before
                self.forget_idle(subject)

    def end_order(self, subject: str, kind: OrderKind) -> None:
        """The order is carried out or void."""
        self._execute("DELETE FROM orders WHERE subject = ? AND kind = ?", (subject, kind))

    # -- the rest --------------------------------------------------------------------------------------------

    def note(self, key: str) -> str | None:
        """A remembered text, or None."""
        return self._value("SELECT value FROM meta WHERE key = ?", (key,))

    def notes(self, prefix: str) -> dict[str, str]:
        """Every remembered text whose key begins so, by the rest of its key."""
        after = f"{prefix[:-1]}{chr(ord(prefix[-1]) + 1)}"  # a range, for which SQLite has an index
        rows = self._execute(
            "SELECT substr(key, ?), value FROM meta WHERE key >= ? AND key < ?", (len(prefix) + 1, prefix, after)
        )
        return dict(rows)

    def set_note(self, key: str, value: str) -> None:
        """Remember a text."""
        self._execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def open_journal(path: str, *, changing: bool) -> Journal:
    """Open the journal; who only reads gets an empty one where there is none or it may not be read.

    A file that is no journal is moved aside, never used and never deleted: the cost is that files are hashed again.
    """
    if not changing:
        return _reading(path)
    try:
        return Journal(prepared(path, _numbers_are_numbers), path)
    except sqlite3.OperationalError as error:
        raise unusable(path, error) from error
    except sqlite3.DatabaseError:
        return _begun_anew(path)


def _begun_anew(path: str) -> Journal:
    """A new journal; the damaged one is moved aside."""
    with state_errors(path):
        aside = moved_aside(path)
    with damage_told(path):
        return Journal(prepared(path, _numbers_are_numbers), path, set_aside=aside)


def memory_journal() -> Journal:
    """An empty journal that is nowhere on a disk."""
    return Journal(with_schema(connected(":memory:")), "", is_nowhere=True)


def _numbers_are_numbers(connection: sqlite3.Connection) -> bool:
    """Whether every row of files can be understood: a flipped bit in a value is no damage to SQLite."""
    try:
        for row in connection.execute(f"SELECT {_FILE_COLUMNS} FROM files"):
            _parsed_row(row)
    except ValueError:
        return False
    return True


def _reading(path: str) -> Journal:
    """The journal for who only looks on.

    Who may not write beside it cannot join a journal that nobody has open; then nobody writes, and it is read as it is.
    """
    if not os.path.isfile(path):
        return memory_journal()  # a FIFO of that name would be waited for
    for mode in ("mode=ro", "mode=ro&immutable=1"):
        connection = open_to_read(path, mode)
        if connection is not None:
            return Journal(connection, "")
        if os.path.exists(f"{path}-wal"):
            break
    return memory_journal()


def _journal_run(row: tuple[object, ...]) -> JournalRun:
    values = dict(zip(_COLUMNS, row, strict=True))
    values["failed"] = bool(values["failed"])
    return JournalRun(**values)  # type: ignore[arg-type]  # the table's columns are the class's fields


def _file_row(row: tuple[object, ...]) -> FileRow:
    try:
        return _parsed_row(row)
    except ValueError as error:
        raise sqlite3.DatabaseError(f"a number is none: {error}") from error


def _parsed_row(row: tuple[object, ...]) -> FileRow:
    inode, size, mtime, ctime, sha256, nas_inode, nas_size, nas_mtime, nas_ctime, read_at, clear_read_at = cast(
        "tuple[str, int, str, str, str, str | None, int, str, str, float | None, float | None]", row
    )
    stamp = None if nas_inode is None else Identity(int(nas_inode), nas_size, int(nas_mtime), int(nas_ctime))
    return FileRow(Identity(int(inode), size, int(mtime), int(ctime)), sha256, stamp, read_at, clear_read_at)


def _file_values(row: FileRow) -> tuple[object, ...]:
    stamp = (None,) * 4 if row.stamp is None else _identity_values(row.stamp)
    return (*_identity_values(row.identity), row.sha256, *stamp, row.read_at, row.clear_read_at)


def _identity_values(identity: Identity) -> tuple[str, int, str, str]:
    """Numbers that may need more than SQLite's 63 bits go as text: inodes, and times after the year 2262."""
    return str(identity.inode), identity.size, str(identity.mtime_ns), str(identity.ctime_ns)


def _problem(row: tuple[str, str, str, str, str]) -> Problem:
    subject, code, message, since, hint = row
    moment = parse_utc(since)
    if moment is None:
        raise sqlite3.DatabaseError(f"the journal holds a time that is none: {since!r}")
    return Problem(_subject(subject), code, message, moment, hint)


def _kept(subject: str) -> str | bytes:
    """What a problem is about, as SQLite takes it: a stray's name may be no UTF-8, and is kept as its bytes."""
    return subject if is_utf8(subject) else os.fsencode(subject)


def _subject(kept: str | bytes) -> str:
    return os.fsdecode(kept)
