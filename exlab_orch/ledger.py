"""The ledger of cleared runs: one JSON line each in the state directory, appended and never rewritten."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import cast

from exlab_orch.errors import state_errors
from exlab_orch.files.whole import append_line
from exlab_orch.model import Place


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """One cleared run."""

    run_path: str
    cleared_at: str
    files_cleared: int
    bytes_freed: int
    nas_path: str
    checksum_sha256: str
    host: str
    by: str | None = None


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

    def last(self, run_path: str) -> LedgerLine | None:
        """The newest line of a run, or None where it was never cleared."""
        return next((line for line in reversed(self.lines()) if line.run_path == run_path), None)

    def append(self, line: LedgerLine) -> None:
        """Add a line durably, unless the same clear is there already: an interrupted clear writes it again."""
        if self.last(line.run_path) != line:
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


def _parse(line: bytes) -> LedgerLine | None:
    try:
        values = cast("dict[str, object]", json.loads(line))
        found = LedgerLine(**values)  # type: ignore[arg-type]  # a line with other fields or types is not one of ours
    except (ValueError, TypeError, RecursionError):
        return None
    texts = (found.run_path, found.cleared_at, found.nas_path, found.checksum_sha256, found.host, found.by or "")
    numbers = (found.files_cleared, found.bytes_freed)
    is_ours = all(isinstance(text, str) for text in texts) and all(isinstance(number, int) for number in numbers)
    return found if is_ours else None
