"""Idle runs: what a run looked like when nothing more could be done, so that the next pass need not walk it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final, cast

from exlab_orch.clock import has_come
from exlab_orch.journal import JournalRun
from exlab_orch.model import OUR_FOLDER, RECORD_NAME, Listing, StagedRun
from exlab_orch.station import Station

_COARSE_TICK_SECONDS: Final = 2.0
_TICK_SECONDS: Final = 0.1


def remember_idle(
    station: Station, run: StagedRun, listing: Listing, look_at: datetime | None, outstanding: Iterable[bytes] = ()
) -> None:
    """Remember how the run looks now; it is skipped until that changes or ``look_at`` has passed.

    A folder that changed since it was walked, or so lately that one cannot tell, leaves the run to the next pass.
    ``outstanding`` are files that are still missing or growing.
    """
    known = station.journal.run(run.run_path)
    if known is None:
        return
    folders = {b"": listing.leaf, **listing.folders}
    names = [*folders, f"{OUR_FOLDER}/{RECORD_NAME}".encode(), *outstanding]
    seen = {os.fsdecode(name): _stamp(run.folder, os.fsdecode(name)) for name in names}
    stamps = [None if identity is None else identity.ctime_ns for identity in folders.values()]
    unchanged = [seen[os.fsdecode(name)] for name in folders] == stamps and not _is_racy(stamps, station.now())
    sizes = listing.data_sizes()
    station.journal.save(
        replace(
            known,
            idle=json.dumps(seen).encode() if unchanged else None,
            look_at=None if look_at is None else look_at.timestamp(),
            file_count=len(sizes),
            byte_total=sum(sizes),
        )
    )


def _is_racy(stamps: Iterable[int | None], now: datetime) -> bool:
    """Whether a folder changed so lately that a further change may bear the same time: the kernel's clock ticks, and
    some file systems keep whole seconds.
    """
    newest = max((stamp for stamp in stamps if stamp is not None), default=0)
    seconds = _TICK_SECONDS if newest % 1_000_000_000 else _COARSE_TICK_SECONDS
    return newest > (now.timestamp() - seconds) * 1e9


def is_idle(run: StagedRun, known: JournalRun | None, now: datetime) -> bool:
    """Whether the run can be skipped: folders, record and what it waits for are as they were (lifecycle.md, 4)."""
    if known is None or (known.look_at is not None and has_come(known.look_at, now)):
        return False
    return is_unchanged(run, known)


def is_unchanged(run: StagedRun, known: JournalRun) -> bool:
    """Whether folders, record and awaited files of the run are as they were when the journal last marked it idle."""
    if known.idle is None:
        return False
    seen = cast("dict[str, int | None]", json.loads(known.idle))
    return all(_stamp(run.folder, name) == stamp for name, stamp in seen.items())


def _stamp(folder: str, name: str) -> int | None:
    """The time of the last change, by the kernel's clock; None where it is not there or may not be looked at."""
    try:
        return os.stat(f"{folder}/{name}", follow_symlinks=False).st_ctime_ns
    except OSError:
        return None
