"""Why passes cannot even begin, told once and not every minute: the last refusal, kept in the state directory."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta
from typing import Final

from exlab_orch.clock import format_utc, parse_utc
from exlab_orch.errors import ExlabError, state_errors
from exlab_orch.files import write_whole
from exlab_orch.files.delete import remove_own
from exlab_orch.files.places import read_small
from exlab_orch.model import Place, Problem
from exlab_orch.small_json import texts_of

_NAME: Final = "refused.json"
_LIMIT: Final = 64 << 10
_REMIND_AFTER: Final = timedelta(days=1)


def is_news(state_dir: str, error: ExlabError, now: datetime) -> bool:
    """Whether this refusal is to be told: it is another one than the last, or a day has passed (lifecycle.md, 7).

    Where nothing can be remembered, every refusal is told.
    """
    if not os.path.isdir(state_dir):
        return True
    try:
        last = _last(state_dir)
        same = last if last is not None and last["message"] == error.message else None
        told = None if same is None else parse_utc(same["at"])
        if told is not None and timedelta(0) <= now - told < _REMIND_AFTER:
            return False
        since = format_utc(now) if same is None else same.get("since", same["at"])
        content = {"code": error.code, "message": error.message, "hint": error.hint, "at": format_utc(now)}
        content["since"] = since
        write_whole(f"{state_dir}/{_NAME}", json.dumps(content).encode() + b"\n", 0o644)
    except OSError:
        return True
    return True


def last_refusal(state_dir: str, subject: str) -> Problem | None:
    """Why the last pass of the schedule could not begin, where none could since; writes nothing."""
    try:
        last = _last(state_dir)
    except OSError:
        return None
    since = None if last is None else parse_utc(last.get("since", last["at"]))
    if last is None or since is None:
        return None
    return Problem(subject, last["code"], last["message"], since, last.get("hint", ""))


def ended(state_dir: str) -> str | None:
    """The code of a refusal that is over now, once; None where there was none."""
    with state_errors(state_dir):
        last = _last(state_dir)
        if last is None:
            return None
        remove_own(Place(state_dir, ""), [_NAME.encode()])
    return last["code"]


def _last(state_dir: str) -> dict[str, str] | None:
    found = read_small(Place(state_dir, ""), _NAME, _LIMIT)
    try:
        return None if found is None else texts_of(found[0], ("code", "message", "at"), ("hint", "since"))
    except ValueError:
        return {"code": "", "message": "", "at": ""}
