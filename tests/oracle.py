"""The oracle of every fault test: where each staged byte is now, and that nobody else's files were touched."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exlab_orch.model import IngestState
from tests.lab import RUN, Lab

OURS = (".exlab-wizard/ingest.json", ".exlab-wizard/checksums.sha256", ".exlab-wizard/wizard.")
POLLS_TO_CONVERGE = 3
NOT_CONFIGURED = "UNKNOWN_07"
"""Equipment that is in staging, but not in the configuration."""

Steps = list[tuple[str, str | None]]
"""States of a record with the reason of a step back."""

_FORWARD = ["staging", "complete", "sync_queued", "sync_verified", "cleared"]
_SUPERSEDED_AT = re.compile(r"superseded/[^/]+")
Print = tuple[int, int, int, bytes | None]
"""Mode, owner, mtime and content: what a canary must keep."""


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(content).hexdigest()


def data_files(folder: Path) -> dict[bytes, str]:
    """SHA-256 of every data file below a run folder by its name as bytes; our own three files are left out."""
    found: dict[bytes, str] = {}
    for parent, _, names in os.walk(os.fsencode(folder)):
        for name in names:
            path = os.path.join(parent, name)
            relative = os.path.relpath(path, os.fsencode(folder))
            if os.path.isfile(path) and not os.path.islink(path) and not _is_ours(relative):
                with open(path, "rb") as file:
                    found[relative] = sha256(file.read())
    return found


def _is_ours(relative: bytes) -> bool:
    text = os.fsdecode(relative)
    return text.startswith(OURS) or re.fullmatch(r"\.exlab-wizard/\.(ingest|checksums|wizard)\..*", text) is not None


def prints(folder: Path) -> dict[str, Print]:
    """What every entry below a folder is, in full."""
    return {str(path.relative_to(folder)): _print(path) for path in sorted(folder.rglob("*"))}


def _print(path: Path) -> Print:
    status = path.lstat()
    content = path.read_bytes() if path.is_file() and not path.is_symlink() else None
    return status.st_mode, status.st_uid, status.st_mtime_ns if content is not None else 0, content


@dataclass
class Oracle:
    """Made before a fault from a lab whose runs are pushed; asked afterwards, as often as one likes.

    Without ``runs`` it watches every run that is in staging when it is made, or at a later ``remember``.
    """

    lab: Lab
    runs: Sequence[str] = ()
    hashes: dict[tuple[str, bytes], str] = field(default_factory=dict)
    histories: dict[str, Steps] = field(default_factory=dict)
    was_settled: bool = False

    def __post_init__(self) -> None:
        self._canaries = list(_make_canaries(self.lab))
        self._before = {folder: prints(folder) for folder in self._canaries}
        self.remember()

    def remember(self) -> None:
        """Every staged file counts from now on with the content it has now."""
        self.runs = list(dict.fromkeys([*self.runs, *_runs_in(self.lab.staging)]))
        for run in self.runs:
            self.hashes |= {(run, name): found for name, found in data_files(self.lab.staged(run)).items()}

    # -- where the bytes are ---------------------------------------------------------------------------------

    def lost(self) -> list[str]:
        """Files whose staged content is neither in staging, nor in our trash, nor on the NAS under their exact name."""
        places = {run: self._places(run) for run in self.runs}
        return [
            f"{run}/{os.fsdecode(name)}"
            for (run, name), wanted in self.hashes.items()
            if not any(place.get(name) == wanted for place in places[run])
        ]

    def _places(self, run: str) -> list[dict[bytes, str]]:
        trash = self.lab.staging / ".exlab-orch/trash"
        superseded = self.lab.published(run) / ".exlab-wizard/superseded"
        folders = [self.lab.staged(run), self.lab.published(run), *(slot / run for slot in trash.glob("*"))]
        return [data_files(folder) for folder in (*folders, *superseded.glob("*"))]

    def require_nothing_lost(self) -> None:
        """No staged byte is lost, and neither the canaries nor the sentinels of other people were touched."""
        lost = self.lost()
        assert not lost, f"lost: {lost}"
        for folder, before in self._before.items():
            assert prints(folder) == before, f"somebody else's files in {folder} were touched"
        self._require_histories()

    # -- what the records say --------------------------------------------------------------------------------

    def _require_histories(self) -> None:
        """Every record parses, takes legal steps only, and continues what was seen before in the same place."""
        for path in self._record_paths():
            steps = steps_of(json.loads(path.read_bytes()))
            require_legal(steps)
            key = str(path)
            before = self.histories.get(key, [])
            is_new_life = steps[:1] == [("staging", "pushed_again")]
            assert is_new_life or steps[: len(before)] == before, f"{key}: {before} became {steps}"
            self.histories[key] = steps

    def _record_paths(self) -> Iterator[Path]:
        for root in (self.lab.staging, self.lab.nas):
            for path in root.rglob(".exlab-wizard/ingest.json"):
                is_of_a_run = path.parents[1].name.startswith(("Run_", "TestRun_"))  # one nested deeper is data
                if is_of_a_run and "superseded" not in path.parts:
                    yield path

    # -- the end ---------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Three undisturbed passes, each of which loses nothing; after them nothing temporary is left.

        The last one is the program itself: its exit code and ``list`` must agree with what is on the disks.
        """
        self.recover(POLLS_TO_CONVERGE - 1)
        code = self.lab.cli("poll").returncode if self.lab.now is None else 3 * bool(self.lab.poll().failed)
        self.require_nothing_lost()
        self._require_nothing_left()
        self._require_list_agrees(code)
        self.was_settled = True

    def recover(self, passes: int = POLLS_TO_CONVERGE) -> None:
        """Undisturbed passes, each of which loses nothing."""
        for _ in range(passes):
            self.lab.poll()
            self.require_nothing_lost()
        if passes >= POLLS_TO_CONVERGE:
            self._require_nothing_left()

    def _require_nothing_left(self) -> None:
        left = self.lab.leftovers()
        assert not left, f"left over: {left}"

    def _require_list_agrees(self, code: int) -> None:
        """What ``poll`` ended with and what ``list`` says is what happened to each run: nothing is silent."""
        shown = self.lab.cli("list", "--json")
        assert shown.returncode == 0, shown.stderr
        listed = {one["run"]: one for one in json.loads(shown.stdout)["runs"]}
        assert code in (0, 3, 69), code
        assert code == 0 or any(one["problem"] for one in listed.values()), f"exit code {code}, list shows no problem"
        told = [line["run_path"] for line in ledger(self.lab)] + [name.partition(": ")[0] for name in self._problems()]
        for run in self.runs:
            if self.lab.staged(run).exists():
                assert run in listed, f"{run} is in staging, and list does not show it"
                self._require_told(listed[run])
            else:
                assert run not in listed or listed[run]["problem"]["code"] == "run_disappeared", listed[run]
                assert run in told, f"{run} vanished without a word"

    def _require_told(self, line: Mapping[str, object]) -> None:
        """A run that is called safe has every staged byte on the NAS; any other one has a reason."""
        if line["current_state"] != "sync_verified" or line["problem"]:
            assert line["waiting_for"] or line["problem"], f"nobody says why it waits: {line}"
            return
        run = str(line["run"])
        there = data_files(self.lab.published(run))
        missing = [name for name, wanted in data_files(self.lab.staged(run)).items() if there.get(name) != wanted]
        assert not missing, f"{run} is called verified, and the NAS has not {missing}"

    def end(self) -> dict[str, object]:
        """What the whole lab looks like, without times: two ways to the same end compare equal."""
        ends = {f"{run}: {what}": found for run in self.runs for what, found in end_of(self.lab, run).items()}
        cleared = [str(line["run_path"]) for line in ledger(self.lab)]
        return ends | {"ledger": cleared, "problems": self._problems()}

    def require_end(self, wanted: Mapping[str, object]) -> None:
        """The lab looks as it does at the end of the undisturbed way."""
        found = self.end()
        differ = [
            f"{what}: {found[what]!r} instead of {wanted[what]!r}" for what in wanted if found[what] != wanted[what]
        ]
        assert not differ, "\n".join(differ)

    def _problems(self) -> list[str]:
        with self.lab.station(changing=False) as station:
            return [f"{problem.subject}: {problem.code}" for problem in station.journal.problems()]


def _runs_in(staging: Path) -> list[str]:
    """The run folders of equipment that somebody configured."""
    found = (path.relative_to(staging) for path in sorted(staging.glob("*/*/*Runs/*Run_*")) if path.is_dir())
    return [str(path) for path in found if path.parts[0] != NOT_CONFIGURED]


def _make_canaries(lab: Lab) -> Iterator[Path]:
    """Somebody else's files beside staging, in staging, beside our runs on the NAS: nobody may touch them."""
    folders = {
        lab.root / "beside": {"thesis.tex": b"years of work", "sub/empty": b""},
        lab.staging / NOT_CONFIGURED: {"project/Runs/Run_1/data.raw": b"of equipment nobody configured"},
        lab.staging / "FLOW_01/PROJ-1/loose": {"notes.txt": b"not a run"},
        lab.nas / "people": {"report.docx": b"of a colleague", ".hidden/x": b"x"},
        lab.nas / "FLOW_01/PROJ-1/Runs/Run_of_a_person": {"a.fcs": b"other", ".exlab-wizard/ingest.txt": b"odd"},
    }
    for folder, files in folders.items():
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        yield folder


def ledger(lab: Lab) -> list[dict[str, object]]:
    """The clears in the ledger that can be read."""
    path = lab.state / "ledger.jsonl"
    lines = path.read_bytes().splitlines() if path.exists() else []
    found = (json.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"}"))
    return [line for line in found if "cleared_at" in line]


def steps_of(record: Mapping[str, object]) -> Steps:
    """The states of a record with their reasons."""
    history = record["history"]
    assert isinstance(history, list)
    assert record["current_state"] == history[-1]["state"]
    return [(entry["state"], entry.get("reason")) for entry in history]


def require_legal(steps: Steps) -> None:
    """One entry per transition, forward one step at a time, back only to sync_queued with a reason."""
    assert steps[0][0] == "staging", steps
    for (old, _), (new, reason) in itertools.pairwise(steps):
        forward = _FORWARD.index(new) == _FORWARD.index(old) + 1
        back = new == "sync_queued" and old in ("complete", "sync_verified") and reason is not None
        assert forward or back, steps


def end_of(lab: Lab, run: str) -> dict[str, object]:
    """What became of one run: staged names and bytes, NAS names and bytes, states, checksum list."""
    staged, published = lab.staged(run), lab.published(run)
    return {
        "staged": data_files(staged) if staged.exists() else None,
        "nas": {_normal(name): found for name, found in data_files(published).items() if not _is_old(name)},
        "nas names": sorted({_normal(name) for name in _names(published)}),
        "staged steps": _steps(staged),
        "nas steps": _steps(published),
        "checksums": _checksums(published),
    }


def _normal(name: bytes) -> str:
    return _SUPERSEDED_AT.sub("superseded/TIME", os.fsdecode(name))


def _is_old(name: bytes) -> bool:
    """Records, logs and lists of former lives: times stand in them."""
    return name.startswith(b".exlab-wizard/superseded/") and b"/.exlab-wizard/" in name


def _names(folder: Path) -> list[bytes]:
    return [os.fsencode(path.relative_to(folder)) for path in folder.rglob("*")]


def _steps(folder: Path) -> Steps | None:
    path = folder / ".exlab-wizard/ingest.json"
    return steps_of(json.loads(path.read_bytes())) if path.exists() else None


def _checksums(folder: Path) -> bytes | None:
    path = folder / ".exlab-wizard/checksums.sha256"
    return path.read_bytes() if path.exists() else None


class Calendar:
    """The wall clock of a lab and the boot clock of the computer, for in-process passes; neither goes by itself."""

    def __init__(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lab = lab
        self.boot = 100_000.0
        lab.now = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
        monkeypatch.setattr("exlab_orch.cleanup.boot_seconds", lambda: self.boot)

    @property
    def now(self) -> datetime:
        assert self.lab.now is not None
        return self.lab.now

    def wait(self, **time: float) -> None:
        """Time goes by, on both clocks alike."""
        self.step(**time)
        self.boot += timedelta(**time).total_seconds()

    def step(self, **time: float) -> None:
        """Somebody sets the wall clock."""
        self.lab.now = self.now + timedelta(**time)


def require_cleared(lab: Lab, run: str = RUN) -> None:
    """The staged copy is gone and nothing of it is left in the trash; the NAS has the record of the whole life."""
    assert not lab.staged(run).exists()
    assert list((lab.staging / ".exlab-orch/trash").glob("*")) == []
    assert lab.nas_record(run)["current_state"] == IngestState.CLEARED


def require_untouched(lab: Lab, before: Mapping[str, Print], run: str = RUN) -> None:
    """The data of a staged run is, file by file, what it was."""
    now = {name: found for name, found in prints(lab.staged(run)).items() if not name.startswith(".exlab-wizard")}
    assert now == {name: found for name, found in before.items() if not name.startswith(".exlab-wizard")}


def require_program(name: str) -> str:
    """The path of a tool that a test needs: without it the test is skipped, in CI it fails."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if path is None and os.environ.get("CI"):
        pytest.fail(f"{name} is not installed, and CI must not pass without it")
    if path is None:
        pytest.skip(f"needs {name}")
    return path


def require_root() -> None:
    """For what only root can do, such as mounts: without root the test is skipped, in CI it fails."""
    if os.geteuid() == 0:
        return
    if os.environ.get("CI"):
        pytest.fail("only root can do what this test does; CI must run it as root")
    pytest.skip("only root can do what this test does")
