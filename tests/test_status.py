"""The status: short, quick, and there also when staging or the NAS is away."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exlab_orch import refusals, staging, status
from exlab_orch.cli.status import status_lines
from exlab_orch.clock import format_utc, parse_utc
from exlab_orch.errors import KeyUnusable
from exlab_orch.progress import ProgressFile
from tests.lab import RUN, Lab

NOW = datetime(2026, 4, 17, 12, tzinfo=UTC)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def now_of(lab: Lab) -> status.Status:
    return status.status_now(lab.config, datetime.now(UTC))


def test_before_the_first_pass_there_is_nothing_to_tell_and_the_doctor_is_next(lab: Lab) -> None:
    found = now_of(lab)
    assert (found.last_pass_at, found.states, found.problems) == (None, {}, ())
    assert found.next_command == "exlab-orch doctor"
    assert not lab.state.exists()


def test_runs_are_counted_by_state_and_the_nas_is_known_to_be_well(lab: Lab) -> None:
    lab.push()
    lab.push(f"{RUN}b", done=False)
    lab.poll()
    found = now_of(lab)
    assert found.states == {"sync_verified": 1, "staging": 1}
    assert [(nas.name, nas.well_at is not None, nas.paused) for nas in found.nas] == [(str(lab.nas), True, None)]
    assert found.nas[0].disk.space is not None
    assert found.staging.space is not None


def test_a_deleted_run_is_not_counted(lab: Lab) -> None:
    lab.push()
    lab.poll()
    assert lab.cli("clear", RUN, "--yes").returncode == 0
    assert now_of(lab).states == {}


def test_what_runs_now_is_told(lab: Lab) -> None:
    lab.poll()
    watch = ProgressFile(str(lab.state / "progress"))
    watch.begin(RUN, "copy", 2, 100)
    assert [(one.run_path, one.byte_total) for one in now_of(lab).running] == [(RUN, 100)]
    watch.end()
    assert now_of(lab).running == ()


def test_a_paused_nas_says_who_and_why(lab: Lab) -> None:
    lab.poll()
    assert lab.cli("pause", "--reason", "new disks").returncode == 0
    assert "new disks" in str(now_of(lab).nas[0].paused)


def test_a_pause_is_no_illness_and_is_told_once(lab: Lab) -> None:
    lab.push()
    assert lab.cli("pause", "--reason", "new disks").returncode == 0
    lab.poll()
    found = now_of(lab)
    lines = [words for _, words, _ in status_lines(found, lab.now or datetime.now(UTC))]
    assert sum("new disks" in words for words in lines) == 1
    assert not any("not well" in words for words in lines)
    assert found.next_command == "exlab-orch resume"


def test_neither_staging_nor_the_nas_is_walked(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.push()
    lab.poll()
    monkeypatch.setattr(staging, "discover", None)
    monkeypatch.setattr(os, "scandir", None)
    lab.nas.rename(lab.root / "away")
    assert now_of(lab).states == {"sync_verified": 1}


def test_staging_that_is_away_is_no_reason_to_say_nothing(lab: Lab) -> None:
    lab.push()
    lab.poll()
    lab.staging.rename(lab.root / "away")
    found = now_of(lab)
    assert (found.staging.space, found.states) == (None, {"sync_verified": 1})
    assert lab.cli("status").returncode == 0


@pytest.mark.parametrize("is_there", [True, False], ids=["the empty folder below the mount point", "no folder"])
def test_a_staging_disk_that_is_away_is_the_first_problem_and_has_no_figures(lab: Lab, is_there: bool) -> None:
    lab.push(run_path="FLOW_01/PROJ-2/NotARun_x")
    lab.poll()
    lab.staging.rename(lab.root / "away")
    if is_there:
        lab.staging.mkdir()
    refused = lab.cli("poll")
    found = json.loads(lab.cli("status", "--json").stdout)
    first = found["problems"][0]
    assert (refused.returncode, first["code"]) == (69, "staging_unavailable")
    assert first["message"] in refused.stderr
    assert first["hint"].startswith("Mount the staging disk")
    assert (found["staging"]["free_bytes"], found["staging"]["at"]) == (None, None)
    assert [one["code"] for one in found["problems"]] == ["staging_unavailable", "not_a_run"]
    assert found["next_command"] == "exlab-orch doctor"


def test_a_staging_disk_that_is_back_is_no_problem_though_no_pass_was_there_since(lab: Lab) -> None:
    lab.poll()
    lab.staging.rename(lab.root / "away")
    assert lab.cli("poll").returncode == 69
    (lab.root / "away").rename(lab.staging)
    assert now_of(lab).problems == ()


def test_a_refusal_that_nobody_can_look_at_is_told_until_a_pass_was_there_again(lab: Lab) -> None:
    lab.poll()
    later = datetime.now(UTC) + timedelta(minutes=1)
    refusals.is_news(str(lab.state), KeyUnusable("The key is closed.", hint="Open it."), later)
    (told,) = status.status_now(lab.config, later + timedelta(minutes=5)).problems
    assert (told.code, told.hint, told.since) == ("config_invalid", "Open it.", parse_utc(format_utc(later)))
    lab.now = later + timedelta(hours=1)
    lab.poll()
    assert now_of(lab).problems == ()


def test_staging_that_another_computer_drives_is_the_first_problem(lab: Lab) -> None:
    lab.poll()
    staging.write_owner(str(lab.staging), staging.Owner("other", "other", "/other"))
    assert [one.code for one in now_of(lab).problems] == ["owner_mismatch"]


def test_an_orchestrator_that_is_switched_off_says_so_first(lab: Lab) -> None:
    lab.push(run_path="FLOW_01/PROJ-2/NotARun_x")
    lab.poll()
    lab.orchestrator = "enabled = false"
    lab.configure()
    assert [one.code for one in now_of(lab).problems] == ["orchestrator_disabled", "not_a_run"]
    label, words, _style = next(status_lines(now_of(lab), datetime.now(UTC)))
    assert (label, words.startswith("orchestrator_disabled")) == ("Problem", True)
    lines = [line.split("\t") for line in lab.cli("status").stdout.splitlines()]
    assert next(line for line in lines if line[0] == "problem")[1] == "orchestrator_disabled"


def test_what_stops_a_run_comes_before_an_older_stray(lab: Lab) -> None:
    (lab.staging / "FLOW_01/notes").mkdir(parents=True)
    (lab.staging / "FLOW_01/notes/x").write_text("x")
    lab.poll()
    (lab.push() / "link").symlink_to("/etc/passwd")
    lab.poll()
    found = now_of(lab)
    assert [problem.code for problem in found.problems] == ["special_file", "not_a_run"]
    assert found.next_command == f"exlab-orch show {RUN}"


def test_what_is_wrong_with_the_whole_nas_comes_before_a_single_stray(lab: Lab) -> None:
    lab.push(run_path="FLOW_01/PROJ-2/NotARun_x")
    lab.poll()
    lab.nas.rename(lab.root / "away")
    lab.push()
    lab.poll()
    assert [one.code for one in now_of(lab).problems] == ["nas_not_mounted", "not_a_run"]


def test_who_may_not_look_is_told_so_and_not_that_there_was_no_pass(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.poll()
    (lab.state / "journal.sqlite3").rename(lab.root / "hidden")
    assert now_of(lab).seen
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    found = now_of(lab)
    assert not found.seen
    assert found.next_command.startswith("sudo -u ")


def test_a_pipe_gets_tabs_and_a_program_gets_json(lab: Lab) -> None:
    lab.push(files={"manifest.json": b"{"}, run_path="MASSSPEC_01/P/Runs/Run_1", done=False)
    lab.poll()
    tabs = [line.split("\t") for line in lab.cli("status").stdout.splitlines()]
    assert tabs[0][0] == "last_pass"
    assert ["problem", "manifest_invalid", "MASSSPEC_01/P/Runs/Run_1"] in [line[:3] for line in tabs]
    document = json.loads(lab.cli("status", "--json").stdout)
    assert document["next_command"] == "exlab-orch show MASSSPEC_01/P/Runs/Run_1"
    shown = lab.cli("status", "--color", "always").stdout
    assert "manifest_invalid" in shown
    assert "Last pass" in shown


def test_on_a_terminal_each_problem_says_what_to_do(lab: Lab) -> None:
    lab.push(run_path="FLOW_01/PROJ-2/NotARun_x")
    lab.poll()
    (problem,) = now_of(lab).problems
    assert problem.hint
    labels = [(label, words) for label, words, _style in status_lines(now_of(lab), datetime.now(UTC))]
    command, _, setting = problem.hint.removeprefix("To make it a run: ").partition("   ")
    where, _, setting = setting.partition(": ")
    assert [words.strip() for _label, words in labels[-5:-1]] == [
        "→ To make it a run:",
        command,
        f"→ {where}:",
        setting,
    ]
