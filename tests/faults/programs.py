"""What instruments, people, the clock and bad luck do to a lab, and the content that must be somewhere after it.

For each name of a run the oracle knows the last content that was staged. It stops to look for one only when whoever
acts, instrument or person, takes its last copy with that very act.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from exlab_orch.cleanup import clear
from exlab_orch.errors import ExlabError
from exlab_orch.orders import make_due, unhold
from tests.faults.strace import NeverReached, Point, kill_at
from tests.lab import Lab
from tests.oracle import Oracle, data_files

RUNS: Final = (
    "FLOW_01/PROJ-1/Runs/Run_1",
    "FLOW_01/PROJ 2/Runs/Run_1",
    "FLOW_01/PROJ-1/TestRuns/TestRun_1",
)
"""Two of one name in two projects."""
NAMES: Final = (
    b"a.fcs",
    b"sub/b.fcs",
    b"sub/deep/c.fcs",
    b"-rf",
    b"new\nline",
    b"caf\xe9",
    b"[bold]",
    b".hidden",
    b"back\\slash",
    b".exlab-wizard/creation.txt",
    b".exlab-wizard/checksums.sha256.bak",
    b"sub/.exlab-wizard/ingest.json",
    b".exlab-deleting-a.fcs",
    b"x" * 255,
)


@dataclass
class World:
    """A lab with what the model knows about it."""

    lab: Lab
    oracle: Oracle = field(init=False)

    has_forgotten: bool = False
    """Somebody deleted the journal or a record: a life may begin anew without a word."""

    def __post_init__(self) -> None:
        self.lab.now = datetime.now(UTC) + timedelta(hours=1)
        self.oracle = Oracle(self.lab, runs=RUNS)

    # -- the instrument --------------------------------------------------------------------------------------

    def push(self, run: str, name: bytes, content: bytes) -> None:
        """A file arrives, by a rename; the content it had before is the instrument's to give up, unless proved."""
        path = os.path.join(os.fsencode(self.lab.staged(run)), name)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path + b"~" if len(name) < 250 else os.path.dirname(path) + b"/~", "wb") as file:
                file.write(content)
            os.rename(file.name, path)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            return
        self.remember(run)

    def write_in_place(self, run: str, number: int, content: bytes) -> None:
        """A late writer: same inode, and the old modification time put back."""
        path = self._some_file(run, number)
        if path is None:
            return
        before = os.stat(path)
        with open(path, "r+b") as file:
            file.write(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        self.remember(run)

    def remove(self, run: str, number: int) -> None:
        """The instrument deletes one of its files."""
        path = self._some_file(run, number)
        if path is not None:
            os.unlink(path)
            self.remember(run)

    def finish(self, run: str) -> None:
        """The sentinel arrives."""
        if self.lab.staged(run).exists():
            (self.lab.staged(run) / "run_complete").touch()
            self.remember(run)

    def remove_run(self, run: str) -> None:
        """The instrument takes the whole folder away."""
        if self.lab.staged(run).exists():
            shutil.rmtree(self.lab.staged(run))
            self.remember(run)

    def remove_ours(self, run: str, name: str) -> None:
        """A mirroring instrument deletes a file of ours; the history may begin anew if the journal is lost too."""
        (self.lab.staged(run) / ".exlab-wizard" / name).unlink(missing_ok=True)
        self.has_forgotten = True

    def remove_journal(self) -> None:
        """The state disk forgets; seal key and ledger are kept."""
        for path in self.lab.state.glob("journal.sqlite3*"):
            path.unlink()
        self.has_forgotten = True

    def _some_file(self, run: str, number: int) -> bytes | None:
        names = sorted(data_files(self.lab.staged(run)))
        return os.path.join(os.fsencode(self.lab.staged(run)), names[number % len(names)]) if names else None

    def remember(self, run: str) -> None:
        """What is staged counts now; what was overwritten or deleted counts as long as it is kept elsewhere."""
        self.oracle.hashes |= {(run, name): found for name, found in data_files(self.lab.staged(run)).items()}
        self.give_up_what_is_gone()

    # -- people ----------------------------------------------------------------------------------------------

    def ask(self, act: Callable[..., object], run: str, **words: object) -> bool:
        """A verb for one run; False where it refused."""
        with self.lab.station() as station:
            try:
                act(station, self.lab.run(run), by="ada", **words)
            except ExlabError:
                return False
        return True

    def clear(self, run: str) -> None:
        """A person deletes the staged copy: it goes only when everything staged at that moment is on the NAS."""
        before = data_files(self.lab.staged(run))
        self.ask(clear, run)
        if before and not self.lab.staged(run).exists():
            there = data_files(self.lab.published(run))
            missing = [name for name, wanted in before.items() if there.get(name) != wanted]
            assert not missing, f"deleted, and the NAS has not {missing}"

    def damage(self, run: str, number: int, how: str) -> None:
        """Somebody works on the NAS copy; what only the NAS had is that person's loss."""
        published = self.lab.published(run)
        names = sorted(data_files(published))
        if not names:
            return
        name = names[number % len(names)]
        path = Path(os.fsdecode(os.path.join(os.fsencode(published), name)))
        if how == "remove":
            path.unlink()
        elif how == "flip":
            _flip(path)
        else:
            (published / "extra.txt").write_bytes(b"of a person")
            return
        self.give_up_what_is_gone()

    def lose_run_on_nas(self, run: str) -> None:
        """Somebody deletes the whole run folder on the NAS."""
        if self.lab.published(run).exists():
            shutil.rmtree(self.lab.published(run))
            self.give_up_what_is_gone()

    def give_up_what_is_gone(self) -> None:
        """Whoever acted just now took the last copy of it: that is not the program's loss."""
        lost = set(self.oracle.lost())
        self.oracle.hashes = {
            key: found for key, found in self.oracle.hashes.items() if f"{key[0]}/{os.fsdecode(key[1])}" not in lost
        }

    # -- the program -----------------------------------------------------------------------------------------

    def poll(self) -> None:
        """A pass, an hour later."""
        self.step_clock(hours=1)
        self.lab.poll()

    def killed_poll(self, call: str, number: int) -> None:
        """The real program, killed at some call, or not at all."""
        with suppress(NeverReached):
            kill_at(self.lab, ("poll",), Point(call, number))

    def step_clock(self, **time: float) -> None:
        assert self.lab.now is not None
        self.lab.now += timedelta(**time)

    # -- what must hold --------------------------------------------------------------------------------------

    def require(self) -> None:
        """Nothing is lost; a history is continued, unless record and journal were taken away."""
        if self.has_forgotten:
            self.oracle.histories.clear()
        self.oracle.require_nothing_lost()

    def settle(self) -> None:
        """Holds end, runs are finished, people decide what is asked of them; then passes come to an end."""
        for run in RUNS:
            self.lab.staged(run).mkdir(parents=True, exist_ok=True)
            self.push(run, b"last.fcs", b"last")
            self.finish(run)
            self.ask(unhold, run)
        for _ in range(4):
            self.poll()
            for run in RUNS:
                self.ask(make_due, run, new_version=True)
        self.step_clock(hours=1)
        self.require()
        self.oracle.settle()


def _flip(path: Path) -> None:
    before = path.stat()
    content = path.read_bytes() or b"\0"
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
