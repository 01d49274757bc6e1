"""Without a configuration one fault is told, once."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exlab_orch import doctor
from exlab_orch.diagnosis import Finding
from exlab_orch.doctor.visit import Computer
from exlab_orch.errors import ConfigInvalid
from exlab_orch.groups import user_name

NONE = "There is no configuration, so this was not looked at."
UNUSABLE = "The configuration cannot be used, so this was not looked at."
NEEDS_NONE = {"clock.ntp", "install.compiled"}


def told(path: Path | None, system: Path) -> dict[str, Finding]:
    config_path = None if path is None else str(path)
    computer = Computer(config_path=config_path, now=datetime.now(UTC), system=str(system))
    why = ConfigInvalid("There is no configuration.") if path is None else None
    return {one.check: one for one in doctor.examine(computer, why_no_file=why)}


def others(seen: dict[str, Finding]) -> set[tuple[str, str, str]]:
    """Result, message and fix of what needs a configuration."""
    return {
        (one.result, one.message, one.fix)
        for name, one in seen.items()
        if name not in {"config.file", "config.mode", *NEEDS_NONE}
    }


@pytest.mark.parametrize("name", [None, "missing.toml", "no folder/x.toml"])
def test_a_configuration_that_is_not_there_is_one_error_and_the_rest_is_skipped(
    tmp_path: Path, name: str | None
) -> None:
    seen = told(None if name is None else tmp_path / name, tmp_path)
    assert [check for check, one in seen.items() if one.result == "error"] == ["config.file"]
    assert others(seen) == {("skipped", NONE, "")}
    assert seen["config.mode"] == Finding("config.mode", "skipped", NONE)


def test_a_configuration_that_cannot_be_used_is_no_missing_one_and_its_mode_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[")
    seen = told(tmp_path / "bad.toml", tmp_path)
    assert others(seen) == {("skipped", UNUSABLE, "")}
    assert seen["config.mode"].result == "ok"


def test_a_folder_in_the_place_of_the_configuration_has_no_mode_to_speak_of(tmp_path: Path) -> None:
    seen = told(tmp_path, tmp_path)
    assert seen["config.mode"] == Finding("config.mode", "skipped", UNUSABLE)


def test_a_schedule_that_names_a_configuration_that_is_not_there_is_seen_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "etc/cron.d").mkdir(parents=True)
    path = tmp_path / "missing.toml"
    (tmp_path / "etc/cron.d/lab").write_text(f"* * * * * {user_name(os.geteuid())} /bin/exlab-orch -c {path} poll\n")
    assert told(path, tmp_path)["schedule.active"].result == "ok"
