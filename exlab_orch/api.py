"""The async shells of the Python API over the synchronous core (lifecycle.md, 8); what blocks runs in a thread."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Final, ParamSpec, TypeVar

from exlab_orch import cleanup
from exlab_orch.clock import utc_now
from exlab_orch.config import Config
from exlab_orch.creation import CreationSnapshot, read_creation
from exlab_orch.errors import OutsideStaging
from exlab_orch.model import CREATION_NAME, OUR_FOLDER, RECORD_NAME, Ingest, IngestState, Place, StagedRun
from exlab_orch.records import read_record
from exlab_orch.staging import run_at
from exlab_orch.station import Station, open_station
from exlab_orch.text import printable

PathLike = str | os.PathLike[str]
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

ADVANCING: Final = frozenset({"verified", "cleanup_eligible", "cleaned"})
"""What a ``nas_sync`` may answer to say that a run is on the NAS."""


async def in_thread(
    work: Callable[_Arguments, _Result], *arguments: _Arguments.args, **named: _Arguments.kwargs
) -> _Result:
    """Run what blocks in a thread, so that an embedding event loop stays alive."""
    return await asyncio.to_thread(work, *arguments, **named)


def staged_run(config: Config, path: PathLike) -> StagedRun:
    """The run a path of the API means: a run folder, or the ``ingest.json`` or ``creation.json`` in it.

    Raises:
        OutsideStaging: it is not a run below the staging root.
    """
    folder = run_folder(path)
    root = config.orchestrator.staging_root
    for base in (root, os.path.realpath(root)):
        run = run_at(root, folder[len(base) + 1 :], config.run_patterns) if folder.startswith(base + "/") else None
        if run is not None:
            return run
    raise OutsideStaging(f"{printable(os.fsencode(folder))} is not a run below the staging root {root}.")


def run_folder(path: PathLike) -> str:
    """The run folder of a path to it, or to the record or ``creation.json`` in its ``.exlab-wizard``."""
    text = os.path.abspath(os.fspath(path))
    for name in (RECORD_NAME, CREATION_NAME):
        text = text.removesuffix(f"/{OUR_FOLDER}/{name}")
    return text


class IngestWriter:
    """Reads, seals and writes records. A seal says who wrote a record; it proves no copy and permits no delete."""

    def __init__(self, *, config: Config) -> None:
        self._config = config

    async def write_ingest(self, path: PathLike, record: Ingest | Mapping[str, object]) -> Ingest:
        """Seal and write a record whole; the old history must be a prefix of its history.

        Raises:
            IllegalTransition (a ValueError): it would rewrite history.
        """
        given = record if isinstance(record, Ingest) else Ingest.model_validate(dict(record))
        return await in_thread(self._write, path, given)

    def _write(self, path: PathLike, record: Ingest) -> Ingest:
        run = staged_run(self._config, path)
        with self._station() as station:
            return station.records.write(run, record.model_copy(update={"run_path": run.run_path}))

    async def read_ingest(self, path: PathLike) -> Ingest:
        """The record as it is on disk, whoever wrote it.

        Raises:
            RecordUnreadable, SchemaMajorMismatch, FileNotFoundError
        """
        record = await in_thread(read_record, staged_run(self._config, path))
        if record is None:
            raise FileNotFoundError(os.fspath(path))
        return record

    async def append_state_transition(
        self, path: PathLike, state: IngestState | str, *, host: str, **extras: object
    ) -> Ingest:
        """Append one entry and return the new record.

        Raises:
            IllegalTransition (a ValueError): the five states allow no such step.
            FileNotFoundError: there is no record.
        """
        return await in_thread(self._append, path, IngestState(state), host, extras)

    def _append(self, path: PathLike, state: IngestState, host: str, extras: dict[str, object]) -> Ingest:
        run = staged_run(self._config, path)
        with self._station(host) as station:
            if read_record(run) is None:
                raise FileNotFoundError(os.fspath(path))
            return station.records.append(run, state, utc_now(), after=None, **extras)

    def _station(self, host: str | None = None) -> Station:
        return open_station(self._config, changing=True, host=host)


class CreationReader:
    """Reads ``creation.json``."""

    async def read_creation_snapshot(self, path: PathLike) -> CreationSnapshot | None:
        """What ``creation.json`` says; None where it is absent or not whole yet. A run folder is accepted."""
        return await in_thread(read_creation, Place(run_folder(path), ""))


async def clear_run(
    run_path: PathLike, *, config: Config, ingest_writer: IngestWriter, host: str | None = None
) -> tuple[int, int]:
    """Delete the staged copy of a proved run: number of files and bytes, both 0 when it is already gone.

    Everything of lifecycle.md, 6, holds: sealed record, hold, proof by reading the NAS again, trash, ledger.

    Raises:
        ExlabError: it may not be cleared; nothing was deleted.
    """
    del ingest_writer  # the record is appended under the run's lock by the same code, with the same seal
    return await in_thread(_clear, config, run_path, host)


def _clear(config: Config, path: PathLike, host: str | None) -> tuple[int, int]:
    run = staged_run(config, path)
    with open_station(config, changing=True, host=host) as station:
        done = cleanup.clear(station, run, by=None)
    return done.files_cleared, done.bytes_freed
