"""What comes of a self-test: its steps, a trial of each NAS, and what an earlier one left behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from exlab_orch.diagnosis import Finding

Result = Literal["ok", "failed", "not tried"]
STEPS: Final = ("received", "copied", "proved", "cleared", "removed")


@dataclass(frozen=True, slots=True)
class Tick:
    """One step of a self-test."""

    step: str
    result: Result
    seconds: float = 0.0
    byte_count: int = 0
    error: Problem | None = None

    @property
    def bytes_per_second(self) -> float | None:
        """How fast it went; None where no bytes went anywhere."""
        return self.byte_count / self.seconds if self.byte_count and self.seconds > 0 else None


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a step failed."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of the self-test of one NAS."""

    nas: str
    equipment_ids: tuple[str, ...]
    ticks: tuple[Tick, ...]
    findings: tuple[Finding, ...]
    others: tuple[str, ...] = ()
    """What lies where the self-test was and is not its own; it stays."""
    left: tuple[str, ...] = ()
    """What could not be removed; the next self-test removes it."""

    @property
    def ok(self) -> bool:
        """Whether every step went well."""
        return all(tick.result == "ok" for tick in self.ticks)

    @property
    def failed(self) -> Tick | None:
        """The first step that failed, or None."""
        return next((tick for tick in self.ticks if tick.result == "failed"), None)


@dataclass(frozen=True, slots=True)
class Leftover:
    """What an earlier self-test left behind, and what became of it."""

    nas: str
    where: str
    removed: bool
    why: str = ""
