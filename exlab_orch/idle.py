"""Idle runs: what a run looked like when nothing more could be done, so that the next pass need not walk it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import cast

from exlab_orch.journal import JournalRun
from exlab_orch.model import OUR_FOLDER, RECORD_NAME, Listing, StagedRun
from exlab_orch.station import Station


def remember_idle(
    station: Station, run: StagedRun, listing: Listing, look_at: datetime | None, outstanding: Iterable[bytes] = ()
) -> None:
    """Remember how the run looks now; it is skipped until that changes or ``look_at`` has passed.

    The listing's folders must have been seen before their times are taken: a change in between is then seen as one.
    ``outstanding`` are files that are still missing or growing.
    """
    known = station.journal.run(run.run_path)
    if known is None:
        return
    names = [b"", *listing.folders, f"{OUR_FOLDER}/{RECORD_NAME}".encode(), *outstanding]
    seen = {os.fsdecode(name): _stamp(run.folder, os.fsdecode(name)) for name in names}
    unchanged = all(
        seen[os.fsdecode(name)] == identity.ctime_ns for name, identity in listing.folders.items() if not _ours(name)
    )
    station.journal.save(
        replace(
            known,
            idle=json.dumps(seen).encode() if unchanged else None,
            look_at=None if look_at is None else look_at.timestamp(),
            file_count=len(listing.files),
            byte_total=listing.byte_total,
        )
    )


def _ours(name: bytes) -> bool:
    """Our own writes change the time of our folder between the walk and now."""
    return name == OUR_FOLDER.encode()


def is_idle(run: StagedRun, known: JournalRun | None, now: datetime) -> bool:
    """Whether the run can be skipped: folders, record and what it waits for are as they were (lifecycle.md, 4)."""
    if known is None or known.idle is None or (known.look_at is not None and now.timestamp() >= known.look_at):
        return False
    seen = cast("dict[str, int | None]", json.loads(known.idle))
    return all(_stamp(run.folder, name) == stamp for name, stamp in seen.items())


def _stamp(folder: str, name: str) -> int | None:
    """The time of the last change, by the kernel's clock; None where it is not there or may not be looked at."""
    try:
        return os.stat(f"{folder}/{name}", follow_symlinks=False).st_ctime_ns
    except OSError:
        return None
