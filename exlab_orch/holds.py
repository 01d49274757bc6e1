"""Holds: a person's decision that nothing of a run is deleted, kept as files beside the runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from exlab_orch.clock import parse_utc
from exlab_orch.errors import staging_errors
from exlab_orch.files.delete import remove_own
from exlab_orch.files.places import make_folders, open_folder, opened, read_small
from exlab_orch.files.whole import write_whole
from exlab_orch.model import Place
from exlab_orch.small_json import texts_of
from exlab_orch.state import short_hash

HOLDS_PATH: Final = ".exlab-orch/holds"
_LIMIT: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Hold:
    """Who decided it, why, when, and until when (None: until somebody ends it)."""

    run_path: str
    reason: str
    by: str
    at: str
    until: str | None = None

    def holds_at(self, now: datetime) -> bool:
        """Whether it still stands. An end that cannot be understood is no end."""
        end = parse_utc(self.until) if self.until else None
        return end is None or now < end


def _name(run_path: str) -> str:
    return f"{short_hash(run_path)}.json"


def hold_of(staging_root: str, run_path: str, now: datetime) -> Hold | None:
    """The hold of a run that stands now, or None. A hold file that cannot be understood holds."""
    try:
        found = read_small(Place(staging_root, HOLDS_PATH), _name(run_path), _LIMIT)
    except OSError as error:
        return Hold(run_path, f"the hold file cannot be read: {error.strerror}", "unknown", "")
    if found is None:
        return None
    hold = _parse(found[0], run_path)
    return hold if hold.holds_at(now) else None


def may_be_held(staging_root: str) -> Callable[[str], bool]:
    """Tells which runs may have a hold, from one look at the folder of holds; any of them where it cannot be read.

    It spares those who look at thousands of runs ``hold_of`` for each; who deletes asks ``hold_of`` all the same.
    """
    try:
        with opened(open_folder(Place(staging_root, HOLDS_PATH))) as folder:
            names = frozenset(os.listdir(folder))
    except FileNotFoundError:
        return lambda _run_path: False
    except OSError:
        return lambda _run_path: True
    return lambda run_path: bool(names) and _name(run_path) in names


def _parse(content: bytes, run_path: str) -> Hold:
    try:
        return Hold(**texts_of(content, ("run_path", "reason", "by", "at"), ("until",)))
    except ValueError:
        return Hold(run_path, "the hold file cannot be understood", "unknown", "")


def put_hold(staging_root: str, hold: Hold) -> None:
    """Write a hold durably."""
    with staging_errors("writing a hold"):
        make_folders(Place(staging_root, HOLDS_PATH))
        content = json.dumps(asdict(hold), indent=1).encode() + b"\n"
        write_whole(f"{staging_root}/{HOLDS_PATH}/{_name(hold.run_path)}", content, 0o644)


def end_hold(staging_root: str, run_path: str) -> bool:
    """Remove a hold; False when there was none."""
    with staging_errors("ending a hold"):
        if not os.path.lexists(f"{staging_root}/{HOLDS_PATH}/{_name(run_path)}"):
            return False
        remove_own(Place(staging_root, HOLDS_PATH), [_name(run_path).encode()])
    return True
