"""StagingWatcher: one run, one step per call, for programs that embed the orchestrator (lifecycle.md, 8)."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from exlab_orch.api import ADVANCING, IngestWriter, PathLike, in_thread, staged_run
from exlab_orch.cleanup import clear, clear_facts, clock_wait_seconds
from exlab_orch.config import Config
from exlab_orch.creation import CreationSnapshot
from exlab_orch.errors import Locked, OutsideStaging, RunProblem
from exlab_orch.evaluate import look_at
from exlab_orch.idle import is_idle
from exlab_orch.model import IngestState, StagedRun
from exlab_orch.outcome import logged_failure
from exlab_orch.policy import kept_because
from exlab_orch.records import read_record
from exlab_orch.staging import discover
from exlab_orch.station import Station, open_station


class NasSync(Protocol):
    """What copies runs: it says when a run is on the NAS, and never permits a delete by itself."""

    async def enqueue(self, run_path: Path) -> object:
        """Have the run copied."""

    async def status(self, run_path: Path) -> str:
        """How far it is; ``verified``, ``cleanup_eligible`` and ``cleaned`` advance the record."""


class CreationCache(Protocol):
    """What reads ``creation.json``; see CreationReader."""

    async def read_creation_snapshot(self, path: PathLike) -> CreationSnapshot | None:
        """What it says, or None."""


StateListener = Callable[[Path, IngestState], Awaitable[object] | object]


class StagingWatcher:
    """Evaluates staged runs, one step per call; a background task does it every ``poll_interval_s`` seconds."""

    def __init__(
        self,
        *,
        config: Config,
        ingest_writer: IngestWriter,
        nas_sync: NasSync,
        cache_creation: CreationCache,
        on_state_change: StateListener | None = None,
        poll_interval_s: float = 10.0,
    ) -> None:
        self._config = config
        self._ingest_writer = ingest_writer
        self._nas_sync = nas_sync
        self._cache_creation = cache_creation
        self._on_state_change = on_state_change
        self._poll_interval_s = poll_interval_s
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    async def evaluate_run(self, run_path: PathLike) -> IngestState:
        """Take a run one step further and return its state; cheap when nothing changed.

        A path that names no run below the staging root is ``STAGING``.

        Raises:
            ExlabError: the run is blocked, or busy elsewhere.
        """
        try:
            run = staged_run(self._config, run_path)
        except OutsideStaging:
            return IngestState.STAGING
        snapshot = await self._cache_creation.read_creation_snapshot(Path(run.folder))
        before = await in_thread(self._state, run)
        if before is IngestState.COMPLETE:
            await self._nas_sync.enqueue(Path(run.folder))
        status = await self._nas_sync.status(Path(run.folder)) if before is IngestState.SYNC_QUEUED else ""
        reached = await in_thread(self._step, run, snapshot, status)
        for state in reached:
            await self._tell(run, state)
        return reached[-1] if reached else await self._state_now(run)

    async def _state_now(self, run: StagedRun) -> IngestState:
        state: IngestState | None = await in_thread(self._state, run)
        return IngestState.STAGING if state is None else state

    def _state(self, run: StagedRun) -> IngestState | None:
        try:
            record = read_record(run)
        except RunProblem:
            return None
        return None if record is None else record.current_state

    def _step(self, run: StagedRun, snapshot: CreationSnapshot | None, status: str) -> list[IngestState]:
        """One step under the run's lock; returns the states reached."""
        with open_station(self._config, changing=True) as station:
            if is_idle(run, station.journal.run(run.run_path), station.now()):
                return []
            with station.state.run_lock(run.run_path) as held:
                if not held:
                    raise Locked("Another process is busy with this run.")
                if _is_only_announced(run):
                    return []
                look = look_at(station, run, lambda _: snapshot)
                if not look.stepped and look.state is IngestState.SYNC_QUEUED and status in ADVANCING:
                    station.advance(run, station.records.require_sealed(run), IngestState.SYNC_VERIFIED)
            if not station.transitions and look.state is IngestState.SYNC_VERIFIED:
                self._clear_if_eligible(station, run)
            return [one.state for one in station.transitions]

    def _clear_if_eligible(self, station: Station, run: StagedRun) -> None:
        record = read_record(run)
        if record is None or station.cleanup.mode == "manual":
            return
        facts = clear_facts(station, run, record, asked=False, clock_wait_seconds=clock_wait_seconds(station))
        if kept_because(facts, station.cleanup, station.now()) is None:
            clear(station, run, by=None, wait_seconds=0.0)

    async def _tell(self, run: StagedRun, state: IngestState) -> None:
        if self._on_state_change is None:
            return
        answer = self._on_state_change(Path(run.folder), state)
        if inspect.isawaitable(answer):
            await answer

    async def poll_once(self) -> list[IngestState]:
        """Evaluate every run found once, in walk order; one bad run is logged and skipped."""
        orchestrator = self._config.orchestrator
        if not orchestrator.enabled:
            return []
        found = await in_thread(discover, orchestrator.staging_root, [one.id for one in self._config.equipment])
        states: list[IngestState] = []
        for run in found.runs:
            if self._stopping.is_set():
                break
            with logged_failure(run.run_path):
                states.append(await self.evaluate_run(run.folder))
        return states

    async def start(self) -> None:
        """Begin to poll in the background; does nothing when it runs already."""
        if self._task is None or self._task.done():
            self._stopping.clear()
            self._task = asyncio.create_task(self._poll_until_stopped())

    async def stop(self) -> None:
        """Stop polling once the step in hand is done; does nothing when it does not run."""
        task, self._task = self._task, None
        self._stopping.set()
        if task is not None:
            await task
        self._stopping.clear()

    async def _poll_until_stopped(self) -> None:
        while not self._stopping.is_set():
            with logged_failure("the staging root"):
                await self.poll_once()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._poll_interval_s)


def _is_only_announced(run: StagedRun) -> bool:
    """Whether another program's ``nas_sync`` said that the run is on the NAS, and we did not prove it.

    Such a run never clears, and only a pass steps it back (lifecycle.md, 8).
    """
    try:
        record = read_record(run)
    except RunProblem:
        return False
    entry = None if record is None else record.history[-1] if record.history else None
    return entry is not None and entry.state is IngestState.SYNC_VERIFIED and entry.text("checksum_sha256") is None
