"""The ledger: a JSON line in the state directory for each clear, and for what becomes of a run that is pushed again.

Lines are appended and never rewritten.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Final, cast

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

    @property
    def life(self) -> str:
        """Which life of the run that ended: when it began; "" where that is not known."""
        return self.history[0].at if self.history else ""

    def ended(self, life: Iterable[HistoryEntry]) -> bool:
        """Whether this clear ended the life that begins with these entries; a later life begins at another time."""
        steps = tuple(LedgerStep(str(entry.state), entry.at) for entry in life)
        return bool(steps) and self.history[: len(steps)] == steps


UNSEEN: Final = "unseen"
"""The life of what no pass looks after, so that it gets no record."""


@dataclass(frozen=True, slots=True)
class PushedAgain:
    """A run whose staged copy was deleted is in staging again, and nothing proves all that it has then."""

    run_path: str
    pushed_again_at: str
    """When a pass saw that."""
    life: str
    """Which life of the run: when that began; "" where it cannot be looked at, UNSEEN where it has no record at all."""


@dataclass(frozen=True, slots=True)
class ProvedAgain:
    """All of such a run was proved; what undoes that is a further ``PushedAgain``."""

    run_path: str
    proved_again_at: str
    life: str
    file_count: int
    byte_total: int
    nas_path: str
    nas_marker: str | None
    checksum_sha256: str
    accepted: bool
    """Whether a person took it as it was."""


Line = LedgerLine | PushedAgain | ProvedAgain


class _Story:
    """What the ledger says of one run."""

    def __init__(self) -> None:
        self.last: LedgerLine | None = None
        self.proved: ProvedAgain | None = None
        self.open: list[PushedAgain] = []
        self.lists: set[str] = set()

    def take(self, one: Line) -> bool:
        """Go on with the next line; False where it tells the same clear again."""
        if isinstance(one, PushedAgain):
            self.open.append(one)
            return True
        self.lists.add(one.checksum_sha256)
        if isinstance(one, ProvedAgain):
            self.open = [note for note in self.open if not _ends(one, note)]
            self.proved = one
            return True
        is_new = not self.has(one)  # it ends no note: that may be of a newer life
        if is_new and self.proved is not None and self.proved.life == one.life:
            self.proved = None
        self.last = one
        return is_new

    def has(self, line: LedgerLine) -> bool:
        """Whether that is the newest clear."""
        return self.last is not None and self.last.cleared_at == line.cleared_at


class Ledger:
    """The ledger file; read when first asked, and then what is added to it.

    To understand every line takes seconds where there are tens of thousands: who asks about a few runs pays for theirs.
    """

    def __init__(self, path: str, *, may_be_hidden: bool = False) -> None:
        self._path = path
        self._may_be_hidden = may_be_hidden
        """Whether who only looks on may lack the right to read it; for who changes runs that is an error."""
        self._read_bytes = 0
        self._forget()

    def _forget(self) -> None:
        self._raw: list[bytes] = []
        self._understood = 0
        """So many of them have been taken into the lines and stories."""
        self._lines: list[LedgerLine] = []
        self._stories: dict[str, _Story] = {}
        self._asked = 0

    # -- reading ---------------------------------------------------------------------------------------------

    def lines(self) -> tuple[LedgerLine, ...]:
        """Every clear whose line can be understood, oldest first; a line a crash cut short is passed over."""
        self._read()
        self._understand()
        return tuple(self._lines)

    def last(self, run_path: str) -> LedgerLine | None:
        """The newest clear of a run, or None where it was never cleared."""
        return self._story(run_path).last

    def pushed_again_at(self, run_path: str) -> str | None:
        """Since when a cleared run has, or had, something in staging that nothing proves; None where that is not so."""
        return next((note.pushed_again_at for note in self._story(run_path).open), None)

    def proved_again(self, run_path: str) -> ProvedAgain | None:
        """The newest proof of a run that was pushed again, unless the life that was proved was deleted since, too."""
        return self._story(run_path).proved

    def lists_of(self, run_path: str) -> frozenset[str]:
        """The SHA-256 of every checksum list with which the run was proved."""
        return frozenset(self._story(run_path).lists)

    def _story(self, run_path: str) -> _Story:
        self._read()
        self._asked += 1
        if self._understood or self._asked > _FEW:
            self._understand()
            return self._stories.get(run_path) or _Story()
        story, name = _Story(), json.dumps(run_path).encode()
        for one in (_parse(line) for line in self._raw if name in line):
            if one is not None and one.run_path == run_path:
                story.take(one)
        return story

    def _understand(self) -> None:
        for one in map(_parse, self._raw[self._understood :]):
            is_new = one is not None and self._stories.setdefault(one.run_path, _Story()).take(one)
            if is_new and isinstance(one, LedgerLine):
                self._lines.append(one)
        self._understood = len(self._raw)

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
            self._raw += whole.splitlines()

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
        if not self._story(line.run_path).has(line):
            self._append(line)

    def note_pushed_again(self, note: PushedAgain) -> None:
        """Remember durably that a run of which a copy was deleted has something that is not proved.

        Once for as long as it is the same life; what came between may end the note of before.
        """
        if [one.life for one in self._story(note.run_path).open[-1:]] != [note.life]:
            self._append(note)

    def note_proved_again(self, proof: ProvedAgain) -> None:
        """Remember durably that all of a run that was pushed again is proved; where that ends no note, nothing is."""
        if any(_ends(proof, note) for note in self._story(proof.run_path).open):
            self._append(proof)

    def _append(self, line: Line) -> None:
        folder, _, name = self._path.rpartition("/")
        with state_errors(self._path):
            append_line(Place(folder, ""), name, json.dumps(asdict(line), sort_keys=True).encode())


def _ends(proof: ProvedAgain, note: PushedAgain) -> bool:
    """Whether a proof is of all that a note is about: of the same life, or of one that began after it.

    What lies in the trash may come back, and be proved, after a newer life came and went. What could not be looked at
    when it was noted is taken for what is there now.
    """
    return note.life in ("", proof.life) or note.pushed_again_at <= proof.life


_FEW: Final = 20
"""About so many runs one looks for their lines alone."""
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


def _pushed_again(values: Mapping[str, object]) -> PushedAgain:
    return PushedAgain(_text(values, "run_path"), _text(values, "pushed_again_at"), _text(values, "life"))


def _proved_again(values: Mapping[str, object]) -> ProvedAgain:
    marker, accepted = values["nas_marker"], values["accepted"]
    if not isinstance(accepted, bool):
        raise TypeError
    return ProvedAgain(
        run_path=_text(values, "run_path"),
        proved_again_at=_text(values, "proved_again_at"),
        life=_text(values, "life"),
        file_count=_number(values, "file_count"),
        byte_total=_number(values, "byte_total"),
        nas_path=_text(values, "nas_path"),
        nas_marker=None if marker is None else _text(values, "nas_marker"),
        checksum_sha256=_text(values, "checksum_sha256"),
        accepted=accepted,
    )


def _text(values: Mapping[str, object], name: str) -> str:
    """Raises KeyError or TypeError."""
    value = values[name]
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(values: Mapping[str, object], name: str) -> int:
    """Raises KeyError or TypeError."""
    value = values[name]
    if not isinstance(value, int):
        raise TypeError
    return value


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
