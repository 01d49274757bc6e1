"""The verb doctor: exit status, tabs, JSON, and lines for people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.text import Text

from exlab_orch.cli.doctor import skipped_together, summary
from exlab_orch.diagnosis import Finding
from tests.lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path)
    made.poll()
    return made


def test_warnings_count_only_when_strict(lab: Lab) -> None:
    lab.config_path.chmod(0o664)
    assert lab.cli("doctor", "-n").returncode == 0
    assert lab.cli("doctor", "-n", "--strict").returncode == 3


def test_an_error_ends_with_three_and_its_fix_stands_in_the_last_column(lab: Lab) -> None:
    (lab.nas / ".exlab-nas").unlink()
    done = lab.cli("doctor")
    lines = {fields[0]: fields for fields in (line.split("\t") for line in done.stdout.splitlines())}
    assert done.returncode == 3
    assert lines["nas.marker"][1] == "error"
    assert "exlab-orch nas-init" in lines["nas.marker"][3]
    assert all(len(fields) == 4 for fields in lines.values())


def test_json_says_whether_all_is_well(lab: Lab) -> None:
    assert json.loads(lab.cli("doctor", "--json").stdout)["ok"] is True
    (lab.nas / ".exlab-nas").unlink()
    done = lab.cli("doctor", "--json")
    assert (json.loads(done.stdout)["ok"], done.returncode) == (False, 3)


def test_a_person_sees_sections_and_quiet_only_what_is_to_be_mended(lab: Lab) -> None:
    shown = lab.cli("doctor", "-n", "--color", "always")
    assert "State directory" in shown.stdout
    assert "not looked at" in shown.stderr
    (lab.nas / ".exlab-nas").unlink()
    quiet = lab.cli("doctor", "-q", "--color", "always").stdout
    assert "nas.marker" in quiet
    assert "state.lock" not in quiet


def test_what_to_do_fits_the_terminal_and_each_command_in_it_is_a_line_of_its_own(lab: Lab) -> None:
    (lab.staging / "loose.txt").write_bytes(b"x")
    lab.environment["COLUMNS"] = "80"
    shown = Text.from_ansi(lab.cli("doctor", "-n", "--color", "always").stdout).plain.splitlines()
    stray = next(number for number, line in enumerate(shown) if "→ Runs are folders" in line)
    assert len(shown[stray]) <= 80
    assert shown[stray + 1] == "    there; if not, move it away."
    assert f"      sudo exlab-orch -c {lab.config_path} schedule cron --install" in [line.rstrip() for line in shown]


def test_a_broken_configuration_ends_with_three_and_names_each_error(lab: Lab) -> None:
    lab.config_path.write_text("[orchestrator]\nodd = 1\n")
    done = lab.cli("doctor")
    assert done.returncode == 3
    assert sum(line.startswith("config.file\terror") for line in done.stdout.splitlines()) >= 3


@pytest.mark.parametrize(
    ("results", "words"),
    [
        (["ok", "ok"], "All is well: 2 checks."),
        (["ok", "skipped"], "All is well: 1 check; 1 not looked at."),
        (["error", "warning", "warning"], "1 error, 2 warnings, 0 well."),
    ],
)
def test_the_summary_counts(results: list[str], words: str) -> None:
    assert summary([Finding("a.b", one, "") for one in results]) == words  # type: ignore[arg-type]


def test_checks_that_were_not_looked_at_for_one_reason_stand_together() -> None:
    findings = [Finding("a.1", "skipped", "x"), Finding("a.2", "skipped", "x"), Finding("a.3", "skipped", "y")]
    findings += [Finding("b.1", "ok", "z"), Finding("b.2", "ok", "z"), Finding("c.1", "skipped", "y")]
    together = [[one.check for one in alike] for alike in skipped_together(findings)]
    assert together == [["a.1", "a.2"], ["a.3"], ["b.1"], ["b.2"], ["c.1"]]
