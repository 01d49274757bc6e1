"""Why no pass can begin now, for who only looks on: what a pass would be refused for, or the last one was."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime

from exlab_orch.clock import parse_utc
from exlab_orch.errors import OrchestratorDisabled, OwnerMismatch, StagingUnavailable
from exlab_orch.making_room import staging_subject
from exlab_orch.model import Problem
from exlab_orch.refusals import last_refusal
from exlab_orch.staging import refuse_other_owner, require_mounted, require_root
from exlab_orch.station import Station, require_enabled, this_owner

_CONFIGURATION = "configuration"
_OF_STAGING = (StagingUnavailable.code, OwnerMismatch.code)


def why_no_pass(station: Station, now: datetime) -> Problem | None:
    """What keeps every pass from its work, or None; nothing is walked, and no NAS is asked.

    What can be looked at counts as it is now; of the rest, what the schedule was told last.
    """
    last = last_refusal(station.state.path, _CONFIGURATION)
    try:
        _look(station)
    except (OrchestratorDisabled, StagingUnavailable, OwnerMismatch) as error:
        found = station.problem_of(_subject(station, error.code), error)
        is_known = last is not None and (last.code, last.message) == (found.code, found.message)
        return replace(found, since=last.since if last is not None and is_known else now)
    if last is None or _is_over(station, last):
        return None
    return replace(last, subject=_subject(station, last.code))


def _look(station: Station) -> None:
    """Raise what ``open_station`` would, as far as that can be known without a change."""
    root = station.staging_root
    require_enabled(station.config)
    require_root(root)
    if _was_used(station):
        require_mounted(root)
    is_ours = os.path.isdir(station.state.path) and station.state.is_ours
    if is_ours and _is_open(root):  # else a pass has more to say
        refuse_other_owner(root, this_owner(station.state.path))


def _was_used(station: Station) -> bool:
    return station.journal.note("staging_root") == station.staging_root


def _is_open(root: str) -> bool:
    return os.access(root, os.R_OK | os.W_OK | os.X_OK)


def _is_over(station: Station, last: Problem) -> bool:
    """Whether a pass was there since, or a look has just shown that it is not so any more."""
    passed = parse_utc(station.journal.note("last_pass") or "")
    if passed is not None and passed > last.since:
        return True
    if last.code == StagingUnavailable.code:
        return _was_used(station) and _is_open(station.staging_root)
    return last.code in (OrchestratorDisabled.code, OwnerMismatch.code)


def _subject(station: Station, code: str) -> str:
    return staging_subject(station) if code in _OF_STAGING else _CONFIGURATION
