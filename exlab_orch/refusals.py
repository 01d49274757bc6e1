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
from exlab_orch.model import Place
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
        told = parse_utc(last["at"]) if last is not None and last["message"] == error.message else None
        if told is not None and timedelta(0) <= now - told < _REMIND_AFTER:
            return False
        content = {"code": error.code, "message": error.message, "at": format_utc(now)}
        write_whole(f"{state_dir}/{_NAME}", json.dumps(content).encode() + b"\n", 0o644)
    except OSError:
        return True
    return True


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
        return None if found is None else texts_of(found[0], ("code", "message", "at"))
    except ValueError:
        return {"code": "", "message": "", "at": ""}
