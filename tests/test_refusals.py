"""A pass that cannot begin says so once, and not every minute."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from exlab_orch.errors import StagingUnavailable
from exlab_orch.refusals import ended, is_news
from tests.lab import Lab

NOON = datetime(2026, 4, 17, 12, 0, tzinfo=UTC)
GONE = StagingUnavailable("The staging root is not there.")


def test_the_same_refusal_is_news_once_a_day(tmp_path: Path) -> None:
    told = [is_news(str(tmp_path), GONE, NOON + timedelta(minutes=minute)) for minute in (0, 1, 2, 1439, 1440, 1441)]
    assert told == [True, False, False, False, True, False]


def test_another_refusal_is_news_at_once(tmp_path: Path) -> None:
    assert is_news(str(tmp_path), GONE, NOON)
    assert is_news(str(tmp_path), StagingUnavailable("It is not a folder."), NOON)


def test_a_clock_that_was_set_back_hides_no_refusal(tmp_path: Path) -> None:
    assert is_news(str(tmp_path), GONE, NOON)
    assert is_news(str(tmp_path), GONE, NOON - timedelta(hours=1))


def test_a_refusal_ends_once(tmp_path: Path) -> None:
    is_news(str(tmp_path), GONE, NOON)
    assert [ended(str(tmp_path)), ended(str(tmp_path))] == ["staging_unavailable", None]


def test_without_a_state_directory_every_refusal_is_told(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    assert is_news(missing, GONE, NOON)
    assert is_news(missing, GONE, NOON)


def test_a_staging_disk_that_is_away_is_mailed_once_and_its_return_too(lab: Lab) -> None:
    lab.cli("poll")
    lab.staging.rename(lab.root / "away")
    first, second = lab.cli("poll"), lab.cli("poll")
    assert (first.returncode, second.returncode) == (69, 69)
    assert "not available" in first.stderr
    assert (second.stdout, second.stderr) == ("", "")
    shutil.move(lab.root / "away", lab.staging)
    back = lab.cli("poll")
    assert (back.returncode, back.stderr) == (0, "Solved: staging_unavailable\n")
    assert lab.cli("poll").stderr == ""


def test_a_disabled_orchestrator_says_so_once_and_says_when_it_goes_on(lab: Lab) -> None:
    lab.cli("poll")
    lab.orchestrator = "enabled = false"
    lab.configure()
    first, second = lab.cli("poll"), lab.cli("poll")
    assert (first.returncode, second.returncode) == (69, 69)
    assert "enabled = false" in first.stderr
    assert (second.stdout, second.stderr) == ("", "")
    lab.orchestrator = ""
    lab.configure()
    assert lab.cli("poll").stderr == "Solved: orchestrator_disabled\n"
