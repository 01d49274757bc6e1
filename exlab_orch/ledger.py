"""The ledger: a JSON line in the state directory for each clear, and for what becomes of a run that is pushed again.

Lines are appended and never rewritten.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import cast

from exlab_orch.errors import state_errors
from exlab_orch.files.whole import append_line
from exlab_orch.model import HistoryEntry, Place


@dataclass(frozen=True, slots=True)
class LedgerStep:
    """A state the run reached, and when, as its record had it."""

    state: str
    at: str


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """One cleared run. What has a default is missing in lines of earlier versions."""

    run_path: str
    cleared_at: str
    files_cleared: int
    bytes_freed: int
    nas_path: str
    checksum_sha256: str
    host: str
    by: str | None = None
    history: tuple[LedgerStep, ...] = ()
    last_write_at: str | None = None
    """When the newest of the proved files was last written in staging, by our clock; None where it is not known."""
    nas_marker: str | None = None
    """The id of the marker of the NAS where it was read when the staged copy was deleted."""
    accepted: bool = False
    """Whether a person took it as it was."""

    def ended(self, life: Iterable[HistoryEntry]) -> bool:
        """Whether this clear ended the life that begins with these entries; a later life begins at another time."""
        steps = tuple(LedgerStep(str(entry.state), entry.at) for entry in life)
        return bool(steps) and self.history[: len(steps)] == steps


@dataclass(frozen=True, slots=True)
class PushedAgain:
    """A run whose staged copy was deleted is in staging again, and nothing proves yet all that it has now."""

    run_path: str
    pushed_again_at: str
    """When a pass saw that."""


@dataclass(frozen=True, slots=True)
class ProvedAgain:
    """All of such a run was proved; what ended that once more is a further ``PushedAgain``."""

    run_path: str
    proved_again_at: str
    file_count: int
    byte_total: int
    nas_path: str
    nas_marker: str | None
    checksum_sha256: str
    accepted: bool
    """Whether a person took it as it was."""


Line = LedgerLine | PushedAgain | ProvedAgain


class Ledger:
    """The ledger file; read when first asked, and then what is added to it."""

    def __init__(self, path: str, *, may_be_hidden: bool = False) -> None:
        self._path = path
        self._may_be_hidden = may_be_hidden
        """Whether who only looks on may lack the right to read it; for who changes runs that is an error."""
        self._read_bytes = 0
        self._forget()

    def _forget(self) -> None:
        self._lines: list[LedgerLine] = []
        self._last: dict[str, LedgerLine] = {}
        self._pushed_again: dict[str, str] = {}
        self._proved_again: dict[str, ProvedAgain] = {}
        self._lists: dict[str, set[str]] = {}

    # -- reading ---------------------------------------------------------------------------------------------

    def lines(self) -> tuple[LedgerLine, ...]:
        """Every clear whose line can be understood, oldest first; a line a crash cut short is passed over."""
        self._read()
        return tuple(self._lines)

    def last(self, run_path: str) -> LedgerLine | None:
        """The newest clear of a run, or None where it was never cleared."""
        self._read()
        return self._last.get(run_path)

    def pushed_again_at(self, run_path: str) -> str | None:
        """Since when a cleared run has, or had, something in staging that nothing proves; None where that is not so."""
        self._read()
        return self._pushed_again.get(run_path)

    def proved_again(self, run_path: str) -> ProvedAgain | None:
        """The newest proof of a run that was pushed again, where that is newer than its last clear."""
        self._read()
        found, line = self._proved_again.get(run_path), self._last.get(run_path)
        return None if found is None or (line is not None and found.proved_again_at <= line.cleared_at) else found

    def lists_of(self, run_path: str) -> frozenset[str]:
        """The SHA-256 of every checksum list with which the run was proved."""
        self._read()
        return frozenset(self._lists.get(run_path, ()))

    def _read(self) -> None:
        """Read what another process, or this one, has added; a file that became shorter is another one."""
        with state_errors(self._path):
            size = self._size()
            if size == self._read_bytes:
                return
            if size < self._read_bytes:
                self._read_bytes = 0
            if self._read_bytes == 0:
                self._forget()
            whole, self._read_bytes = self._raw_from(self._read_bytes)
            for one in map(_parse, whole.splitlines()):
                self._take(one)

    def _take(self, one: Line | None) -> None:
        if isinstance(one, PushedAgain):
            self._pushed_again.setdefault(one.run_path, one.pushed_again_at)
        elif isinstance(one, ProvedAgain):
            self._pushed_again.pop(one.run_path, None)
            self._proved_again[one.run_path] = one
        elif one is not None and not self._is_known(one):  # it ends no note: that may be of a newer life
            self._lines.append(one)
            self._last[one.run_path] = one
        if one is not None and not isinstance(one, PushedAgain):
            self._lists.setdefault(one.run_path, set()).add(one.checksum_sha256)

    def _is_known(self, line: LedgerLine) -> bool:
        known = self._last.get(line.run_path)
        return known is not None and known.cleared_at == line.cleared_at

    def _size(self) -> int:
        try:
            return os.stat(self._path).st_size
        except FileNotFoundError:
            return 0
        except PermissionError:  # the folder may not be entered
            if self._may_be_hidden:
                return 0
            raise

    def _raw_from(self, begin: int) -> tuple[bytes, int]:
        """What stands from there on, and where that ends; of a last line that cannot be understood more may follow."""
        try:
            with open(self._path, "rb") as file:
                file.seek(begin)
                found = file.read()
        except FileNotFoundError:
            return b"", 0
        except PermissionError:
            if self._may_be_hidden:
                return b"", 0
            raise
        end = found.rfind(b"\n") + 1
        whole = found if _parse(found[end:]) is not None else found[:end]
        return whole, begin + len(whole)

    @property
    def is_hidden(self) -> bool:
        """Whether this user may not read it, or may not even know whether there is one."""
        try:
            os.stat(self._path)
        except FileNotFoundError:
            return False
        except PermissionError:
            return True
        return not os.access(self._path, os.R_OK, effective_ids=True)

    def identity(self) -> int:
        """Which file it is, by its number in the file system: a restored backup has another; 0 where there is none."""
        try:
            return os.stat(self._path).st_ino
        except OSError:
            return 0

    # -- appending -------------------------------------------------------------------------------------------

    def append(self, line: LedgerLine) -> None:
        """Add a clear durably, unless it is there already: an interrupted clear writes it again."""
        self._read()
        if not self._is_known(line):
            self._append(line)

    def note_pushed_again(self, run_path: str, at: str) -> None:
        """Remember durably that a run of which a staged copy was deleted has something that is not proved."""
        if self.pushed_again_at(run_path) is None:
            self._append(PushedAgain(run_path, at))

    def note_proved_again(self, proof: ProvedAgain) -> None:
        """Remember durably that all of a run that was pushed again is proved; of another run nothing is noted."""
        if self.pushed_again_at(proof.run_path) is not None:
            self._append(proof)

    def _append(self, line: Line) -> None:
        folder, _, name = self._path.rpartition("/")
        with state_errors(self._path):
            append_line(Place(folder, ""), name, json.dumps(asdict(line), sort_keys=True).encode())


_FIELDS = frozenset(field.name for field in fields(LedgerLine))


def _parse(line: bytes) -> Line | None:
    """The line, without what a later version added to it; None where it is none of ours."""
    try:
        values = cast("dict[str, object]", json.loads(line))
        if "pushed_again_at" in values:
            return _pushed_again(values)
        return _proved_again(values) if "proved_again_at" in values else _cleared(values)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return None


def _pushed_again(values: Mapping[str, object]) -> PushedAgain | None:
    run_path, at = values["run_path"], values["pushed_again_at"]
    return PushedAgain(run_path, at) if isinstance(run_path, str) and isinstance(at, str) else None


def _proved_again(values: Mapping[str, object]) -> ProvedAgain | None:
    names = [field.name for field in fields(ProvedAgain)]
    found = ProvedAgain(**{name: values[name] for name in names})  # type: ignore[arg-type]  # types are looked at below
    texts = (found.run_path, found.proved_again_at, found.nas_path, found.nas_marker or "", found.checksum_sha256)
    numbers = (found.file_count, found.byte_total)
    is_ours = all(isinstance(text, str) for text in texts) and all(isinstance(number, int) for number in numbers)
    return found if is_ours and isinstance(found.accepted, bool) else None


def _cleared(values: Mapping[str, object]) -> LedgerLine | None:
    given = {name: value for name, value in values.items() if name in _FIELDS}
    found = LedgerLine(**given)  # type: ignore[arg-type]  # types are looked at below
    found = replace(found, history=_history(given.get("history", ())))
    texts = [found.run_path, found.cleared_at, found.nas_path, found.checksum_sha256, found.host]
    texts += [found.by or "", found.last_write_at or "", found.nas_marker or ""]
    numbers = (found.files_cleared, found.bytes_freed)
    is_ours = all(isinstance(text, str) for text in texts) and all(isinstance(number, int) for number in numbers)
    return found if is_ours else None


def _history(steps: object) -> tuple[LedgerStep, ...]:
    """Raises KeyError or TypeError for what is no history."""
    return tuple(LedgerStep(str(step["state"]), str(step["at"])) for step in cast("list[dict[str, object]]", steps))
