"""The ledger of cleared runs: one JSON line each in the state directory, appended and never rewritten."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
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


class Ledger:
    """The ledger file; read once, when first asked."""

    def __init__(self, path: str, *, may_be_hidden: bool = False) -> None:
        self._path = path
        self._may_be_hidden = may_be_hidden
        """Whether who only looks on may lack the right to read it; for who changes runs that is an error."""
        self._lines: tuple[LedgerLine, ...] = ()
        self._read_at_size = 0

    def lines(self) -> tuple[LedgerLine, ...]:
        """Every line that can be understood, oldest first; a line a crash cut short is passed over.

        Read again only when the file has grown: another pass may clear runs too.
        """
        with state_errors(self._path):
            size = self._size()
            if size != self._read_at_size:
                self._lines = tuple(line for line in map(_parse, self._raw_lines()) if line is not None)
                self._read_at_size = size
        return self._lines

    def _size(self) -> int:
        try:
            return os.stat(self._path).st_size
        except FileNotFoundError:
            return 0
        except PermissionError:  # the folder may not be entered
            if self._may_be_hidden:
                return 0
            raise

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

    def last(self, run_path: str) -> LedgerLine | None:
        """The newest line of a run, or None where it was never cleared."""
        return next((line for line in reversed(self.lines()) if line.run_path == run_path), None)

    def append(self, line: LedgerLine) -> None:
        """Add a line durably, unless the same clear is there already: an interrupted clear writes it again."""
        known = self.last(line.run_path)
        if known is None or known.cleared_at != line.cleared_at:
            folder, _, name = self._path.rpartition("/")
            with state_errors(self._path):
                append_line(Place(folder, ""), name, json.dumps(asdict(line), sort_keys=True).encode())

    def _raw_lines(self) -> list[bytes]:
        try:
            with open(self._path, "rb") as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []
        except PermissionError:
            if self._may_be_hidden:
                return []
            raise


_FIELDS = frozenset(field.name for field in fields(LedgerLine))


def _parse(line: bytes) -> LedgerLine | None:
    """The line, without what a later version added to it; None where it is none of ours."""
    try:
        values = cast("dict[str, object]", json.loads(line))
        given = {name: value for name, value in values.items() if name in _FIELDS}
        found = LedgerLine(**given)  # type: ignore[arg-type]  # types are looked at below
        found = replace(found, history=_history(given.get("history", ())))
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return None
    texts = [found.run_path, found.cleared_at, found.nas_path, found.checksum_sha256, found.host]
    texts += [found.by or "", found.last_write_at or "", found.nas_marker or ""]
    numbers = (found.files_cleared, found.bytes_freed)
    is_ours = all(isinstance(text, str) for text in texts) and all(isinstance(number, int) for number in numbers)
    return found if is_ours else None


def _history(steps: object) -> tuple[LedgerStep, ...]:
    """Raises KeyError or TypeError for what is no history."""
    return tuple(LedgerStep(str(step["state"]), str(step["at"])) for step in cast("list[dict[str, object]]", steps))
