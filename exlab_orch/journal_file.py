"""The journal's file: its tables, and how it is opened, found damaged, or set aside."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote

from exlab_orch.errors import JournalDamaged, StateUnavailable, from_state, state_errors
from exlab_orch.hints import promised

_VERSION: Final = 1
_SUSPECT: Final = "-suspect"
_LOCKED_SECONDS: Final = 30
_ASK_AGAIN_SECONDS: Final = 0.02
_WAL_PAGES: Final = 250
"""1 MiB, a quarter of what SQLite does by itself: on a full disk the clear of many files must fit into the reserve."""

_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (
    run_path TEXT PRIMARY KEY, leaf TEXT NOT NULL, record TEXT, own TEXT, attempts INTEGER NOT NULL,
    retry_at REAL, failed INTEGER NOT NULL, waiting TEXT, idle BLOB, look_at REAL, clear_at REAL,
    changed_ns TEXT, changed_seen REAL, file_count INTEGER NOT NULL, byte_total INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE files (
    run_path TEXT NOT NULL, name BLOB NOT NULL, inode TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns TEXT NOT NULL,
    ctime_ns TEXT NOT NULL, sha256 TEXT NOT NULL, nas_inode TEXT, nas_size INTEGER, nas_mtime_ns TEXT,
    nas_ctime_ns TEXT, read_at REAL, clear_read_at REAL, PRIMARY KEY (run_path, name)
) WITHOUT ROWID;
CREATE TABLE problems (
    subject TEXT NOT NULL, phase TEXT NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL, hint TEXT NOT NULL,
    since TEXT NOT NULL, announced_at TEXT NOT NULL, PRIMARY KEY (subject, phase, code)
) WITHOUT ROWID;
CREATE TABLE orders (
    subject TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (subject, kind)
) WITHOUT ROWID;
"""
_LATER_TABLES: Final = """
CREATE TABLE IF NOT EXISTS problem_files (
    subject TEXT NOT NULL, phase TEXT NOT NULL, code TEXT NOT NULL, name BLOB NOT NULL,
    PRIMARY KEY (subject, phase, code, name)
) WITHOUT ROWID
"""
"""What came after the first version: a journal gets it when it is opened, and an earlier program passes it over."""


def connected(name: str, *, uri: bool = False) -> sqlite3.Connection:
    """A connection that waits for others, and begins transactions only when told."""
    return sqlite3.connect(name, uri=uri, isolation_level=None, timeout=_LOCKED_SECONDS, check_same_thread=False)


def open_to_read(path: str, mode: str) -> sqlite3.Connection | None:
    """A connection that cannot write, or None where there is no journal or it cannot be joined."""
    try:
        name = f"file:{quote(path)}?{mode}"
        connection = connected(name, uri=True)
    except sqlite3.OperationalError:
        return None
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0] == _VERSION:
            return connection
    except sqlite3.DatabaseError:
        connection.close()
        return None
    connection.close()
    return None


def prepared(path: str, is_sound: Callable[[sqlite3.Connection], bool]) -> sqlite3.Connection:
    """The database, opened to be written; ``is_sound`` judges every value after damage showed. Raises sqlite3.Error."""
    connection = connected(path)
    try:
        _use_write_ahead_log(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
        _check_suspect(connection, path, is_sound)
        return with_schema(connection)
    except BaseException:
        connection.close()
        raise


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """SQLite waits for nobody here, whatever the timeout, when two processes make the journal at once: ask again."""
    deadline = time.monotonic() + _LOCKED_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_ASK_AGAIN_SECONDS)
        else:
            return


def _check_suspect(connection: sqlite3.Connection, path: str, is_sound: Callable[[sqlite3.Connection], bool]) -> None:
    """Read the whole file once after damage showed in it."""
    if os.path.exists(path + _SUSPECT):
        if not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            raise sqlite3.DatabaseError("the journal is empty")
        if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok" or not is_sound(connection):
            raise sqlite3.DatabaseError("the journal is damaged")
        os.unlink(path + _SUSPECT)


def with_schema(connection: sqlite3.Connection) -> sqlite3.Connection:
    """The database with its tables, made where it is new. Raises sqlite3.DatabaseError for another version."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version not in (0, _VERSION):
        raise sqlite3.DatabaseError(_of_another(version))
    if version == 0:
        _make_tables(connection)
    connection.execute(_LATER_TABLES)
    return connection


def _make_tables(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
        for statement in _SCHEMA.split(";")[:-1]:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {_VERSION}")
    connection.execute("COMMIT")


def damage_in(path: str) -> str | None:
    """Why a pass would set the journal aside, which is read wholly for that, or None; nothing is written.

    Who may not write beside it reads it as it lies, when nobody has it open.

    Raises:
        StateUnavailable: it cannot be opened now, which is no damage.
    """
    mode = "mode=ro" if os.access(os.path.dirname(path), os.W_OK) or os.path.exists(f"{path}-wal") else "immutable=1"
    try:
        connection = connected(f"file:{quote(path)}?{mode}", uri=True)
    except sqlite3.OperationalError as error:
        raise unusable(path, error) from error
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        answer = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.OperationalError as error:
        raise unusable(path, error) from error
    except sqlite3.DatabaseError as error:
        return str(error)
    finally:
        connection.close()
    if answer != "ok":
        return answer
    return None if version in (0, _VERSION) else _of_another(version)


def _of_another(version: int) -> str:
    return f"it was written by another version of the program ({version})"


def moved_aside(path: str) -> str:
    """Rename a damaged journal; returns its new path."""
    aside = f"{path}.damaged-{os.stat(path).st_ino}"
    os.rename(path, aside)
    for tail in ("-wal", "-shm", _SUSPECT):
        if os.path.exists(path + tail):
            os.rename(path + tail, aside + tail)
    return aside


def unusable(path: str, error: sqlite3.OperationalError) -> StateUnavailable:
    """The disk or a lock, and no damage: the same journal is used again when that is over."""
    if error.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StateUnavailable(
            f"The journal {path} is locked by another process for more than {_LOCKED_SECONDS} s.",
            hint=promised("Find out who holds it (fuser)"),
        )
    return from_state(path, error)


def found_no_room(error: BaseException | None) -> bool:
    """Whether SQLite said that the disk is full."""
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_FULL


@contextmanager
def damage_told(path: str) -> Iterator[None]:
    """Damage that shows in the middle of a pass is told, and marked so that the next opening checks the whole file."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise unusable(path, error) from error
    except sqlite3.DatabaseError as error:
        if path:
            with state_errors(path):
                os.close(os.open(path + _SUSPECT, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
        raise JournalDamaged(
            f"The journal {path} is damaged: {error}.",
            hint="The next pass moves it aside and begins a new one; staged files are hashed again, nothing is lost.",
        ) from error
