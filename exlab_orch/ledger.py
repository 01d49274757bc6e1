"""The ledger: a JSON line in the state directory for each clear, and for each run that is pushed again after one.

Lines are appended and never rewritten.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
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
    """A cleared run came to staging again: what was proved before its clear is not all of it any more."""

    run_path: str
    pushed_again_at: str
    """When a pass saw that first."""


class Ledger:
    """The ledger file; read once, when first asked."""

    def __init__(self, path: str, *, may_be_hidden: bool = False) -> None:
        self._path = path
        self._may_be_hidden = may_be_hidden
        """Whether who only looks on may lack the right to read it; for who changes runs that is an error."""
        self._lines: tuple[LedgerLine, ...] = ()
        self._last: dict[str, LedgerLine] = {}
        self._pushed_again: dict[str, str] = {}
        self._read_at_size = 0

    def lines(self) -> tuple[LedgerLine, ...]:
        """Every clear whose line can be understood, oldest first; a line a crash cut short is passed over."""
        self._read()
        return self._lines

    def _read(self) -> None:
        """Read it again if the file has grown: another pass may clear runs too."""
        with state_errors(self._path):
            size = self._size()
            if size != self._read_at_size:
                self._take(list(map(_parse, self._raw_lines())))
                self._read_at_size = size

    def _take(self, found: Sequence[LedgerLine | PushedAgain | None]) -> None:
        self._lines = tuple(one for one in found if isinstance(one, LedgerLine))
        self._last = {one.run_path: one for one in self._lines}
        self._pushed_again = {}
        for one in found:
            if isinstance(one, PushedAgain):
                self._pushed_again.setdefault(one.run_path, one.pushed_again_at)
            elif one is not None:  # the life that ends here was proved
                self._pushed_again.pop(one.run_path, None)

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
        self._read()
        return self._last.get(run_path)

    def pushed_again_at(self, run_path: str) -> str | None:
        """When a run was seen in staging again after its last clear, or None."""
        self._read()
        return self._pushed_again.get(run_path)

    def append(self, line: LedgerLine) -> None:
        """Add a line durably, unless the same clear is there already: an interrupted clear writes it again."""
        known = self.last(line.run_path)
        if known is None or known.cleared_at != line.cleared_at:
            self._append(line)

    def note_pushed_again(self, run_path: str, at: str) -> None:
        """Remember durably that a run is in staging; only of one that was cleared, and once after each clear."""
        if self.last(run_path) is not None and self.pushed_again_at(run_path) is None:
            self._append(PushedAgain(run_path, at))

    def _append(self, line: LedgerLine | PushedAgain) -> None:
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


def _parse(line: bytes) -> LedgerLine | PushedAgain | None:
    """The line, without what a later version added to it; None where it is none of ours."""
    try:
        values = cast("dict[str, object]", json.loads(line))
        return _pushed_again(values) if "pushed_again_at" in values else _cleared(values)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return None


def _pushed_again(values: Mapping[str, object]) -> PushedAgain | None:
    run_path, at = values["run_path"], values["pushed_again_at"]
    return PushedAgain(run_path, at) if isinstance(run_path, str) and isinstance(at, str) else None


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
