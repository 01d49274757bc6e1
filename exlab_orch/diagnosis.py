"""What a check found: an id that stays the same between versions, a result, a sentence, and how to mend it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Result = Literal["ok", "warning", "error", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One check and its result."""

    check: str
    """Stable and dotted: ``nas.marker``."""
    result: Result
    message: str
    fix: str = ""
    """What to do now, for a person; empty where nothing is to be done."""
