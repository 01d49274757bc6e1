"""exlab-orch: copies finished instrument runs to the NAS, proves every byte, and only then frees the staging disk.

The public names of the Python API (lifecycle.md, 8); each is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from exlab_orch.api import CreationReader as CreationReader
    from exlab_orch.api import IngestWriter as IngestWriter
    from exlab_orch.api import clear_run as clear_run
    from exlab_orch.config import Config as Config
    from exlab_orch.config import load_config as load_config
    from exlab_orch.listing import StagedRunSummary as StagedRunSummary
    from exlab_orch.listing import list_staged_runs as list_staged_runs
    from exlab_orch.model import HistoryEntry as HistoryEntry
    from exlab_orch.model import Ingest as Ingest
    from exlab_orch.model import IngestState as IngestState
    from exlab_orch.policy import cleanup_eligible as cleanup_eligible
    from exlab_orch.watcher import StagingWatcher as StagingWatcher

__version__: Final = "0.1.0"

_ROOMS: Final = {
    "Config": "config",
    "CreationReader": "api",
    "HistoryEntry": "model",
    "Ingest": "model",
    "IngestState": "model",
    "IngestWriter": "api",
    "StagedRunSummary": "listing",
    "StagingWatcher": "watcher",
    "cleanup_eligible": "policy",
    "clear_run": "api",
    "list_staged_runs": "listing",
    "load_config": "config",
}


def __getattr__(name: str) -> object:
    room = _ROOMS.get(name)
    if room is None:
        raise AttributeError(f"module 'exlab_orch' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - the names cost nothing until they are used

    return getattr(import_module(f"exlab_orch.{room}"), name)


def __dir__() -> list[str]:
    return [*_ROOMS, "__version__"]
