"""Every check of an installation, in the order of its dependencies: what is wrong, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from functools import partial
from typing import Final

from exlab_orch.config import Config
from exlab_orch.diagnosis import Finding
from exlab_orch.doctor import config_checks, install_checks, nas_checks, place_checks, schedule_checks
from exlab_orch.doctor.visit import Check, Computer, ComputerCheck, Visit, looked, without_configuration
from exlab_orch.errors import ConfigInvalid

_ANYWAY: Final[Mapping[str, ComputerCheck]] = {
    "config.mode": config_checks.file_mode,
    **install_checks.COMPUTER_CHECKS,
    **schedule_checks.COMPUTER_CHECKS,
}
"""What can be looked at without a configuration that can be used."""
_WITH_CONFIG: Final[Mapping[str, Check]] = {
    **config_checks.CHECKS,
    **place_checks.CHECKS,
    **nas_checks.CHECKS,
    **schedule_checks.CHECKS,
    **install_checks.CHECKS,
}
_STAGING: Final = ("staging.folder",)
_USER: Final = ("user.owner",)
_STATE: Final = ("state.folder", "state.files", "state.journal")
_NEEDS: Final[Mapping[str, Sequence[str]]] = {
    "state.files": _USER,
    "state.lock": _USER,
    "staging.owner": (*_USER, *_STAGING),
    "staging.filesystem": _STAGING,
    "staging.space": _STAGING,
    "staging.rights": (*_USER, *_STAGING, "state.folder"),
    "staging.strays": _STAGING,
    "nas.reach": (*_USER, *_STAGING, "staging.owner", *_STATE, "secrets.seal_key"),
    "schedule.follows": (*_USER, "state.folder"),
    "schedule.recent": ("state.folder", "state.journal", "schedule.active"),
}
"""What a check needs to be well: one fault is told once, and whoever tries a NAS repairs nothing on the way."""
CHECK_IDS: Final = tuple(dict.fromkeys(["config.file", *_ANYWAY, *_WITH_CONFIG, *nas_checks.IDS, "tools.ssh"]))
"""Every id that a finding can have; ids stay the same between versions."""
SECTIONS: Final[Mapping[str, str]] = {
    "config": "Configuration",
    "secrets": "Secrets",
    "user": "User",
    "state": "State directory",
    "staging": "Staging",
    "nas": "NAS",
    "tools": "Programs",
    "schedule": "Schedule",
    "clock": "Clock",
    "install": "Installation",
}
"""The first part of an id, and what it is called."""


def examine(
    computer: Computer,
    *,
    why_no_file: ConfigInvalid | None = None,
    writes: bool = True,
    on_hang: Callable[[Finding], object] | None = None,
) -> Iterator[Finding]:
    """Run every check that can be run, section by section; one that fails to look is a finding and stops nothing.

    Args:
        computer: where, and which configuration file.
        why_no_file: why there is no configuration file.
        writes: whether a made-up run may be sent to each NAS and removed again.
        on_hang: see Visit.
    """
    config, wrong = config_checks.examined(computer.config_path, why_no_file)
    pending: dict[str, list[Finding] | Iterator[Finding]] = {"config.file": wrong}
    visitor = None if config is None else _visit(computer, config, writes, on_hang)
    as_owner = None if visitor is None or visitor.is_owner() else visitor.as_owner()
    for name, one in _ANYWAY.items():
        pending[name] = looked(name, partial(one, visitor or computer), as_owner=as_owner)
    for name, check in _WITH_CONFIG.items():
        if visitor is None:
            pending[name] = [Finding(name, "skipped", without_configuration(computer))]
        else:
            pending[name] = looked(name, partial(check, visitor), as_owner=as_owner)
    unwell: set[str] = set()
    for section in SECTIONS:
        for name, found in pending.items():
            if name.partition(".")[0] == section:
                for finding in _when_it_can_be(name, found, unwell):
                    if finding.result == "error":
                        unwell.add(finding.check)
                    yield finding


def _when_it_can_be(name: str, found: Iterable[Finding], unwell: Set[str]) -> Iterable[Finding]:
    """The findings of a check, or that something else is to be mended before it."""
    first = next((need for need in _NEEDS.get(name, ()) if need in unwell), None)
    return found if first is None else [Finding(name, "skipped", f"It was not looked at: first mend {first}.")]


def _visit(computer: Computer, config: Config, writes: bool, on_hang: Callable[[Finding], object] | None) -> Visit:
    return Visit(
        config_path=computer.config_path,
        now=computer.now,
        system=computer.system,
        config=config,
        writes=writes,
        on_hang=on_hang,
    )


def is_ill(findings: Iterable[Finding], *, strict: bool = False) -> bool:
    """Whether something is to be mended; ``strict`` counts warnings as well."""
    return any(one.result == "error" or (strict and one.result == "warning") for one in findings)
