"""What a person does now, as one command: ``status`` and ``list`` say the same."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Final

from exlab_orch.clock import parse_utc
from exlab_orch.disks import place_problems
from exlab_orch.errors import NasPaused
from exlab_orch.model import Problem
from exlab_orch.orders import nas_names, nas_subject
from exlab_orch.policy import FLAGS, STRAYS
from exlab_orch.state import as_owner
from exlab_orch.station import Station
from exlab_orch.text import is_utf8, pasted

LIST: Final = "exlab-orch list"
LIST_PROBLEMS: Final = "exlab-orch list --problem"
_DOCTOR: Final = "exlab-orch doctor"
_DISK: Final = "staging:"
"""How the subject of a problem of the staging disk begins."""


def next_command(station: Station, problems: Iterable[Problem], standstill: Problem | None = None) -> str:
    """What to run now about these problems of runs and strays, and what is wrong with a NAS or the staging disk.

    Args:
        station: the open parts, which are only read.
        problems: the open ones that are shown.
        standstill: why no pass can begin, where that is known.
    """
    last = last_pass_at(station)
    if not is_seen(station, last):
        return as_owner(station.state.path, "exlab-orch status")
    if standstill is not None:
        return _DOCTOR
    return chosen_command((*place_problems(station), *problems), last, nas_names(station.config))


def last_pass_at(station: Station) -> datetime | None:
    """When the last pass ended; None where there was none, or this user may not know."""
    return parse_utc(station.journal.note("last_pass") or "")


def is_seen(station: Station, last: datetime | None) -> bool:
    """Whether this user may read what passes wrote down."""
    return last is not None or _owner_of(station.state.path) in (None, os.geteuid())


def _owner_of(folder: str) -> int | None:
    try:
        return os.stat(folder).st_uid
    except OSError:
        return None


def chosen_command(problems: Collection[Problem], last_pass: datetime | None, nas: Iterable[str]) -> str:
    """Where a run has a problem, to see it; else what tells more. What stops something comes first, then the oldest."""
    paused = [one for one in problems if one.code == NasPaused.code]
    others = (one for one in problems if one.code != NasPaused.code)
    found = sorted(others, key=lambda one: (one.code in FLAGS, one.since))
    if paused and not found and last_pass is not None:
        return "exlab-orch resume"
    if last_pass is None or not {one.subject for one in found}.isdisjoint(map(nas_subject, nas)):
        return _DOCTOR
    troubled = next((one.subject for one in found if _is_of_run(one)), None)
    if troubled is not None:
        return f"exlab-orch show {pasted(troubled)}"
    if all(one.subject.startswith(_DISK) for one in found):  # there a person looks for what can go
        return LIST
    return _about_strays([one for one in found if not one.subject.startswith(_DISK)])


def _about_strays(found: Collection[Problem]) -> str:
    """About what no verb takes for a run: one that equipment is missing for is the only one with a single way out."""
    missing = {one.subject for one in found if one.code == "unknown_equipment"}
    if len(missing) == len({one.subject for one in found}) == 1:
        return f"exlab-orch equipment add {pasted(missing.pop())}"
    in_staging = any(_is_listed(one) for one in found)
    return LIST_PROBLEMS if in_staging else _DOCTOR


def _is_listed(problem: Problem) -> bool:
    """Whether ``list`` shows what the problem is about, as it does not what lies in the trash."""
    is_path = "/" in problem.subject and not problem.subject.startswith((".", _DISK))
    return is_path or problem.code in STRAYS


def _is_of_run(problem: Problem) -> bool:
    """Whether ``show`` finds what the problem is about: a stray is no run."""
    is_path = problem.subject.count("/") >= 2 and _is_listed(problem)
    return is_path and problem.code not in STRAYS and is_utf8(problem.subject)
