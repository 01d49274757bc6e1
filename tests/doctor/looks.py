"""A look of the doctor at a laboratory, by check."""

from __future__ import annotations

from datetime import UTC, datetime

from exlab_orch import doctor
from exlab_orch.diagnosis import Finding
from exlab_orch.doctor.visit import Computer
from tests.lab import Lab


def found(lab: Lab, *, writes: bool = False) -> dict[str, Finding]:
    """What the doctor finds, by check; the first finding of each."""
    computer = Computer(config_path=str(lab.config_path), now=datetime.now(UTC), system=str(lab.root / "system"))
    by_check: dict[str, Finding] = {}
    for one in doctor.examine(computer, writes=writes):
        if one.check not in by_check or one.result == "error":
            by_check[one.check] = one
    return by_check


def result(lab: Lab, check: str, *, writes: bool = False) -> str:
    return found(lab, writes=writes)[check].result
