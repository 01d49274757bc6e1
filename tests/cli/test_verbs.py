"""Every verb on a small laboratory: what it prints where, its JSON, and its exit status."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from exlab_orch.cleanup import clear as clear_run
from exlab_orch.cli import program
from exlab_orch.cli.call import Call
from exlab_orch.cli.frame import run
from exlab_orch.errors import RENAME
from exlab_orch.orders import who
from exlab_orch.staging import trash_slots
from tests.lab import RUN, Lab

SECOND = "FLOW_01/PROJ-1/Runs/Run_2026-04-18T09-00"


@dataclass
class Said:
    """How a command line ended."""

    status: int
    out: str
    err: str

    def document(self) -> dict[str, Any]:
        """Standard output as one JSON document."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    def error(self) -> dict[str, str]:
        """Standard error as one JSON object."""
        found: dict[str, str] = json.loads(self.err)
        return found


class Shell:
    """Runs command lines in this process, with the configuration that the environment names."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, *words: str) -> Said:
        self._capture.readouterr()
        status = run(program, [*words], Call())
        printed = self._capture.readouterr()
        return Said(status, printed.out, printed.err)


@pytest.fixture
def shell(lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("EXLAB_ORCH_CONFIG", str(lab.config_path))
    return Shell(capsys)


@pytest.fixture
def proved(lab: Lab) -> Path:
    """A run that is on the NAS, checked."""
    folder = lab.push()
    lab.poll()
    return folder


# -- poll ----------------------------------------------------------------------------------------------------


def test_a_pass_that_fails_as_before_is_silent_and_names_with_v_what_failed(lab: Lab, shell: Shell) -> None:
    lab.poll()
    odd = lab.staging / ".exlab-orch/trash/odd"
    odd.mkdir(parents=True)
    (odd / "file").touch()
    (odd / "other").symlink_to("file")
    first, second, told = shell("poll"), shell("poll"), shell("poll", "-v")
    assert (first.status, second, told.status) == (3, Said(3, "", ""), 3)
    assert ".exlab-orch/trash/odd: failed: trash_leftover\n" in told.err


def test_a_nas_that_is_away_as_before_is_told_with_v_alone(lab: Lab, shell: Shell, proved: Path) -> None:
    lab.nas.rename(lab.root / "away")
    lab.push(SECOND)
    assert "nas_not_mounted" in shell("poll").err
    assert shell("poll") == Said(69, "", "")
    assert shell("poll", "-v").err == f"The NAS root {lab.nas} is not there.\n"


def test_staging_that_is_away_as_before_is_told_with_v_alone(lab: Lab, shell: Shell, proved: Path) -> None:
    lab.staging.rename(lab.root / "away")
    assert "is not available" in shell("poll").err
    assert shell("poll") == Said(69, "", "")
    assert "is not available" in shell("poll", "-v").err


def test_poll_says_nothing_at_all_where_nobody_looks(lab: Lab, shell: Shell) -> None:
    assert shell("poll") == Said(0, "", "")
    lab.push()
    assert shell("poll") == Said(0, "", "")
    assert lab.states()[-1] == "sync_verified"
    assert shell("poll") == Said(0, "", "")


def test_poll_v_prints_each_transition_on_stderr(lab: Lab, shell: Shell) -> None:
    lab.push()
    said = shell("poll", "-v")
    words = ["arriving", "received", "waiting to copy", "on NAS, checked"]
    assert said.err.splitlines() == [*(f"{RUN}: {word}" for word in words), "1 run copied and checked."]
    assert said.out == ""


def test_poll_json_is_a_line_per_event_and_ends_with_pass_end(lab: Lab, shell: Shell) -> None:
    lab.push()
    said = shell("poll", "--json")
    events = [json.loads(line) for line in said.out.splitlines()]
    assert [event["event"] for event in events] == [*["transition"] * 4, "pass_end"]
    assert {event["schema_version"] for event in events} == {"1.0"}
    assert events[-1]["copied"] == [RUN]
    assert events[-1]["exit_status"] == 0
    assert said.err == ""


def test_poll_announces_a_problem_once_and_its_end_once(lab: Lab, shell: Shell) -> None:
    stray = lab.staging / "FLOW_01" / "notes.txt"
    stray.parent.mkdir()
    stray.write_text("x")
    assert "not_a_run" in shell("poll").err
    assert shell("poll") == Said(0, "", "")
    stray.unlink()
    assert shell("poll").err.startswith("Solved: FLOW_01/notes.txt: not_a_run")
    assert shell("poll") == Said(0, "", "")


def test_poll_with_a_failed_run_ends_with_3_and_the_others_are_copied(lab: Lab, shell: Shell) -> None:
    lab.push()
    lab.push(SECOND)
    (lab.published(RUN)).mkdir(parents=True)
    (lab.published(RUN) / "a.fcs").write_text("theirs")
    said = shell("poll")
    assert said.status == 3
    assert "nas_conflict" in said.err
    assert "exlab-orch sync" in said.err
    assert lab.states(SECOND)[-1] == "sync_verified"


def test_poll_without_the_nas_ends_with_69(lab: Lab, shell: Shell) -> None:
    lab.push()
    (lab.nas / ".exlab-nas").unlink()
    said = shell("poll")
    assert said.status == 69
    assert "nas_wrong_marker" in said.err


@pytest.mark.parametrize(
    ("phases", "states"),
    [
        (["evaluate"], ["staging", "complete", "sync_queued"]),
        (["evaluate", "sync"], ["staging", "complete", "sync_queued", "sync_verified"]),
    ],
)
def test_poll_only_does_only_that(lab: Lab, shell: Shell, phases: list[str], states: list[str]) -> None:
    lab.push()
    assert shell("poll", *(word for phase in phases for word in ("--only", phase))).status == 0
    assert lab.states() == states


def test_poll_with_a_filter_leaves_the_other_runs_alone(lab: Lab, shell: Shell) -> None:
    lab.push()
    lab.push("FLOW_01/PROJ-2/Runs/Run_1")
    assert shell("poll", "--project", "PROJ-2").status == 0
    assert lab.states("FLOW_01/PROJ-2/Runs/Run_1")[-1] == "sync_verified"
    assert not (lab.staged() / ".exlab-wizard").exists()


def test_poll_dry_run_says_what_is_due_and_writes_nothing(lab: Lab, shell: Shell) -> None:
    lab.push()
    said = shell("poll", "--dry-run")
    assert said.status == 0
    assert said.out.startswith(f"{RUN}: would ")
    assert not (lab.staged() / ".exlab-wizard").exists()
    planned = shell("poll", "-n", "--json").document()["planned"]
    assert {step["run"] for step in planned} == {RUN}
    assert not lab.published().exists()


def test_poll_max_duration_is_understood(lab: Lab, shell: Shell) -> None:
    lab.push()
    assert shell("poll", "--max-duration", "1h").status == 0
    assert shell("poll", "--max-duration", "soon").status == 2


# -- list, show, log -----------------------------------------------------------------------------------------


def test_an_empty_staging_area_explains_itself(shell: Shell) -> None:
    said = shell("list")
    assert (said.status, said.out) == (0, "")
    assert said.err.startswith("No runs in ")
    assert shell("list", "--json").document()["runs"] == []
    assert "No staged copy has been deleted yet" in shell("list", "--cleared").err


def test_list_prints_tab_separated_lines_where_nobody_looks(proved: Path, shell: Shell) -> None:
    said = shell("list")
    assert said.out.split("\t")[:5] == [RUN, "sync_verified", "on NAS, checked", "3", "7"]
    assert said.err == "To free 7 B: exlab-orch clear --all-verified\n"


def test_list_with_colour_always_draws_the_table_into_a_pipe(proved: Path, shell: Shell) -> None:
    assert "\x1b[" in shell("list", "--color", "always").out


def test_no_color_and_color_never_draw_no_colours(proved: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in shell("list").out
    assert "\x1b[" not in shell("list", "--color", "never").out


@pytest.mark.parametrize(
    ("options", "runs"),
    [
        ([], 2),
        (["--project", "PROJ-1"], 1),
        (["--equipment", "MASSSPEC_01"], 0),
        (["--state", "sync_verified"], 1),
        (["--state", "staging", "--state", "sync_verified"], 2),
    ],
)
def test_filters_narrow_the_list(lab: Lab, shell: Shell, options: list[str], runs: int) -> None:
    lab.push()
    lab.push("FLOW_01/PROJ-2/Runs/Run_1", done=False)
    lab.poll()
    assert len(shell("list", "--json", *options).document()["runs"]) == runs
    assert len(shell(*options, "list").out.splitlines()) == runs


def test_show_answers_first_and_takes_path_run_path_and_name(lab: Lab, shell: Shell, proved: Path) -> None:
    for name in (str(proved), RUN, proved.name):
        said = shell("show", name)
        assert said.status == 0
        assert said.out.splitlines()[0].startswith("safe_on_nas\tyes\t")
        assert said.out.splitlines()[1].startswith("may_be_deleted\tyes\t")
    document = shell("show", RUN, "--json").document()
    assert [entry["state"] for entry in document["history"]] == lab.states()
    assert document["checksums"] == {"path": ".exlab-wizard/checksums.sha256", "count": 3}


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [("Run_nowhere", 4, "run_not_found"), ("Run_twice", 4, "run_ambiguous"), ("/etc", 5, "outside_staging")],
)
def test_a_run_that_cannot_be_meant_is_refused(lab: Lab, shell: Shell, name: str, status: int, code: str) -> None:
    lab.push("FLOW_01/P1/Runs/Run_twice")
    lab.push("FLOW_01/P2/Runs/Run_twice")
    for verb in ("show", "log", "sync", "unhold"):
        said = shell(verb, name, "--json")
        assert (said.status, said.out) == (status, "")
        assert said.error()["code"] == code
        assert said.error().keys() == {"code", "message", "hint"}


def test_the_path_of_the_copy_on_the_nas_is_answered_with_the_name_of_the_run(lab: Lab, shell: Shell) -> None:
    lab.push()
    lab.poll()
    for verb in ("show", "verify"):
        said = shell(verb, f"{lab.published()}/")
        assert (said.status, said.out) == (5, "")
        assert "is the copy on the NAS" in said.err
        assert said.err.rstrip().endswith(f"Call it {RUN}")
    assert "is the copy on the NAS" not in shell("show", f"{lab.nas}/FLOW_01").err


def test_log_prints_the_log_of_the_run(shell: Shell, proved: Path) -> None:
    assert "on the NAS, checked" in shell("log", RUN).out
    assert len(shell("log", RUN, "--json").document()["lines"]) == len(shell("log", RUN).out.splitlines())


# -- clear ---------------------------------------------------------------------------------------------------


def test_clear_without_a_terminal_needs_yes(shell: Shell, proved: Path) -> None:
    said = shell("clear", RUN)
    assert said.status == 5
    assert "--yes" in said.err
    assert shell("clear", RUN, "--json").error()["code"] == "not_confirmed"
    assert (proved / "a.fcs").exists()


def test_clear_deletes_the_staged_copy_and_a_second_clear_finds_it_gone(shell: Shell, proved: Path) -> None:
    said = shell("clear", RUN, "--yes")
    assert (said.status, said.out) == (0, "")
    assert said.err == f"{RUN}: staged copy deleted, 3 files, 7 B freed.\n"
    assert not proved.exists()
    again = shell("clear", RUN)
    assert (again.status, again.err) == (0, f"{RUN}: the staged copy is gone already.\n")
    assert shell("list", "--cleared").out.split("\t")[0] == RUN
    assert shell("show", RUN).out.startswith("safe_on_nas\tyes")


def test_clear_json_has_the_documents_of_the_contract(lab: Lab, shell: Shell, proved: Path) -> None:
    lab.push(SECOND, done=False)
    lab.poll()
    said = shell("clear", RUN, SECOND, "-y", "--json")
    assert said.status == 5
    document = said.document()
    assert document["cleared"] == [{"run": RUN, "files_cleared": 3, "bytes_freed": 7}]
    (refused,) = document["refused"]
    assert refused.keys() == {"run", "code", "message"}
    assert (refused["run"], refused["code"]) == (SECOND, "not_sync_verified")
    assert said.error()["code"] == "not_sync_verified"


def test_clear_of_a_changed_run_deletes_nothing_and_names_the_file(shell: Shell, proved: Path) -> None:
    (proved / "a.fcs").write_bytes(b"bbb")
    said = shell("clear", RUN, "-y")
    assert said.status == 5
    assert "a.fcs" in said.err
    assert (proved / "a.fcs").exists()


def test_clear_dry_run_says_what_would_happen_and_deletes_nothing(lab: Lab, shell: Shell, proved: Path) -> None:
    before = lab.record()
    said = shell("clear", RUN, "-n")
    assert said.status == 0
    assert said.out.startswith(f"{RUN}: would be proved again (3 files, 7 B")
    would = shell("clear", RUN, "-n", "--json").document()["would_clear"]
    assert [(one["run"], one["file_count"], one["byte_total"]) for one in would] == [(RUN, 3, 7)]
    assert lab.record() == before


def test_clear_all_verified_takes_what_is_proved_and_not_held(lab: Lab, shell: Shell) -> None:
    lab.push()
    lab.push(SECOND)
    lab.push("FLOW_01/PROJ-2/Runs/Run_3", done=False)
    lab.poll()
    shell("hold", SECOND, "--reason", "look again")
    assert shell("clear", "--all-verified", "-y").status == 0
    assert not lab.staged(RUN).exists()
    assert lab.staged(SECOND).exists()
    said = shell("clear", "--all-verified", "-y")
    assert (said.status, said.out) == (0, "")
    assert "no staged copy to delete" in said.err


def test_clear_all_verified_says_which_runs_it_passes_over_because_somebody_holds_them(lab: Lab, shell: Shell) -> None:
    lab.push()
    lab.push(SECOND)
    lab.poll()
    shell("hold", SECOND, "--reason", "look again")
    words = f"{SECOND}: held by {who()}, so its staged copy stays: look again"
    held = [{"run": SECOND, "by": who(), "reason": "look again"}]
    assert words in shell("clear", "--all-verified", "-n").err
    assert shell("clear", "--all-verified", "-n", "--json").document()["held"] == held
    assert shell("clear", "--all-verified", "--later", "--json").document()["held"] == held
    assert shell("clear", "--all-verified", "-y", "--json").document()["held"] == held
    assert words in shell("clear", "--all-verified", "-y").err
    assert "No other run is on the NAS" in shell("clear", "--all-verified", "-y").err
    assert lab.staged(SECOND).exists()


def test_all_verified_takes_a_run_whose_clear_was_interrupted_for_what_it_is(lab: Lab, shell: Shell) -> None:
    """It lies in the trash, proved and not yet deleted: nothing of it goes without a question."""
    lab.push()
    lab.poll()
    with pytest.MonkeyPatch.context() as patch, lab.station() as station:
        patch.setattr(type(station), "advance", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            clear_run(station, lab.run(), by="ada", wait_seconds=0)
    (would,) = shell("clear", "--all-verified", "-n", "--json").document()["would_clear"]
    assert (would["run"], would["file_count"]) == (RUN, 3)
    assert shell("clear", "--all-verified").status == 5
    (trashed,) = (slot.run for slot in trash_slots(str(lab.staging)))
    assert trashed is not None
    assert shell("clear", "--all-verified", "-y").status == 0
    assert trash_slots(str(lab.staging)) == ()


def test_of_many_runs_that_are_held_clear_says_how_many_each_person_holds(lab: Lab, shell: Shell) -> None:
    runs = [f"FLOW_01/PROJ-1/Runs/Run_{number}" for number in range(10, 15)]
    for name in runs:
        lab.push(name)
    lab.poll()
    shell("hold", *runs, "--reason", "look again")
    said = shell("clear", "--all-verified", "-y")
    assert (said.status, said.out) == (0, "")
    assert f"5 runs are held, so their staged copies stay: 5 by {who()}." in said.err


def test_clear_later_is_done_by_the_next_pass(lab: Lab, shell: Shell, proved: Path) -> None:
    assert shell("clear", "--later", RUN, "--json").document()["later"] == [{"run": RUN}]
    assert proved.exists()
    assert shell("poll").status == 0
    assert not proved.exists()


@pytest.mark.parametrize("words", [["clear"], ["clear", RUN, "--all-verified"], ["clear", RUN, "--project", "x"]])
def test_clear_says_which_runs_or_is_wrong_usage(shell: Shell, words: list[str]) -> None:
    assert shell(*words).status == 2


# -- what a person decides -----------------------------------------------------------------------------------


def test_hold_stops_a_clear_until_unhold(shell: Shell, proved: Path) -> None:
    assert shell("hold", RUN).status == 2
    said = shell("hold", RUN, "--reason", "re [bold] analysis\x1b", "--until", "7d")
    assert (said.status, said.out) == (0, "")
    refused = shell("clear", RUN, "-y", "--json")
    assert (refused.status, refused.error()["code"]) == (5, "held")
    row = shell("list", "--json").document()["runs"][0]
    assert (row["held"], row["hold_reason"]) == (True, "re [bold] analysis\x1b")
    assert "\x1b" not in shell("show", RUN).out
    assert shell("unhold", RUN, "--json").document()["unheld"] == [{"run": RUN}]
    assert shell("unhold", RUN).err == f"{RUN}: was not held.\n"
    assert shell("clear", RUN, "-y").status == 0


def test_accept_takes_an_unfinished_run(lab: Lab, shell: Shell) -> None:
    lab.push(done=False)
    lab.poll()
    assert shell("accept", RUN).status == 2
    assert shell("accept", RUN, "--reason", "power cut").status == 0
    shell("poll")
    assert lab.states()[-1] == "sync_verified"
    assert any(entry.extra("accepted") for entry in lab.record().history)


def test_pause_stops_copies_and_resume_goes_on(lab: Lab, shell: Shell) -> None:
    lab.push()
    said = shell("pause", "--until", "6h", "--reason", "firmware")
    assert (said.status, said.out) == (0, "")
    assert shell("poll").status == 0
    assert lab.states()[-1] == "sync_queued"
    assert shell("resume", "--json").document()["resumed"] == [str(lab.nas)]
    shell("poll")
    assert lab.states()[-1] == "sync_verified"
    assert shell("resume").err == "No NAS was paused.\n"
    assert shell("pause", "--nas", "/elsewhere").status == 2


@pytest.mark.parametrize(
    "words",
    [
        ["hold", RUN, "--reason", "x"],
        ["accept", RUN, "--reason", "x"],
        ["pause"],
        ["resume"],
        ["sync", RUN],
        ["takeover"],
        ["unhold", RUN],
    ],
)
def test_a_dry_run_writes_nothing(lab: Lab, shell: Shell, words: Sequence[str], proved: Path) -> None:
    before = {path: path.read_bytes() for path in lab.root.rglob("*") if path.is_file() and "sqlite" not in path.name}
    assert shell(*words, "--dry-run").status == 0
    after = {path: path.read_bytes() for path in lab.root.rglob("*") if path.is_file() and "sqlite" not in path.name}
    assert after == before


def test_who_may_not_take_over_is_not_asked_and_gets_the_whole_command(
    lab: Lab, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.poll()
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    monkeypatch.setattr(sys, "argv", ["exlab-orch", "takeover", "--color", "a b"])
    for words in (["takeover"], ["takeover", "-n"]):
        ended = shell(*words)
        assert ended.status == 77
        assert f"sudo -u root exlab-orch -c {lab.config_path} takeover --color 'a b'\n" in ended.err


def give_to_another_owner(lab: Lab) -> None:
    owner = lab.staging / ".exlab-orch" / "owner.json"
    owner.write_text(json.dumps(json.loads(owner.read_text()) | {"state_dir": "/elsewhere"}))


def test_takeover_asks_and_makes_this_computer_the_owner(lab: Lab, shell: Shell) -> None:
    shell("poll")
    give_to_another_owner(lab)
    refused = shell("poll", "--json")
    assert (refused.status, refused.error()["code"]) == (78, "owner_mismatch")
    assert shell("takeover").status == 5
    assert shell("takeover", "--yes").status == 0
    assert shell("poll").status == 0


# -- sync ----------------------------------------------------------------------------------------------------


def test_sync_copies_now_and_says_where_it_is(lab: Lab, shell: Shell) -> None:
    lab.push()
    said = shell("sync", RUN)
    assert (said.status, said.out) == (0, "")
    assert said.err == f"{RUN}: on NAS, checked: {lab.published()}\n"
    assert shell("sync", RUN, "--json").document()["runs"][0]["current_state"] == "sync_verified"


def test_sync_of_an_unfinished_run_waits_honestly(lab: Lab, shell: Shell) -> None:
    lab.push(done=False)
    said = shell("sync", RUN)
    assert said.status == 0
    assert said.err == f"{RUN}: arriving, waiting for run_complete\n"


def test_sync_without_the_nas_ends_with_69(lab: Lab, shell: Shell) -> None:
    lab.push()
    (lab.nas / ".exlab-nas").unlink()
    assert shell("sync", RUN).status == 69


def test_a_conflict_is_answered_by_a_new_version_of_the_named_files(lab: Lab, shell: Shell) -> None:
    lab.push()
    lab.published().mkdir(parents=True)
    for name in ("a.fcs", "run_complete"):
        (lab.published() / name).write_text("theirs")
    said = shell("sync", RUN)
    assert said.status in {3, 5}
    assert "nas_conflict" in said.err
    assert shell("sync", RUN, "--new-version", "a.fcs").status in {3, 5}
    assert shell("sync", RUN, "--new-version").status == 0
    assert (lab.published() / "a.fcs").read_bytes() == b"aaa"
    superseded = list((lab.published() / ".exlab-wizard" / "superseded").rglob("a.fcs"))
    assert [path.read_text() for path in superseded] == ["theirs"]


# -- everywhere ----------------------------------------------------------------------------------------------

CHANGING = [
    ["poll"],
    ["poll", "-n"],
    ["clear", RUN, "-y"],
    ["clear", "--all-verified", "-n"],
    ["sync", RUN],
    ["accept", RUN, "--reason", "x"],
    ["hold", RUN, "--reason", "x"],
    ["unhold", RUN],
    ["pause"],
    ["resume"],
    ["takeover", "-y"],
    ["watch"],
]


@pytest.mark.parametrize("words", CHANGING, ids=" ".join)
def test_a_disabled_orchestrator_refuses_and_changes_nothing(lab: Lab, shell: Shell, words: Sequence[str]) -> None:
    lab.orchestrator = "enabled = false"
    lab.configure()
    lab.push()
    said = shell(*words, "--json")
    assert (said.status, said.out) == (69, "")
    assert said.error()["code"] == "orchestrator_disabled"
    assert not lab.state.exists()
    assert not (lab.staging / ".exlab-orch").exists()


def test_a_disabled_orchestrator_lists_nothing_and_says_why(lab: Lab, shell: Shell) -> None:
    lab.orchestrator = "enabled = false"
    lab.configure()
    lab.push()
    said = shell("list")
    assert (said.status, said.out) == (0, "")
    first, *_, last = said.err.splitlines()
    assert first.startswith("This orchestrator is switched off (orchestrator.enabled = false)")
    assert last == f"To switch it on, set orchestrator.enabled = true in {lab.config_path}"
    (told,) = shell("list", "--json").document()["problems"]
    assert told["code"] == "orchestrator_disabled"
    assert "orchestrator_disabled" in shell("list", "--problem").err


def test_a_list_says_first_why_no_pass_can_begin(lab: Lab, shell: Shell) -> None:
    """What the runs wait for is no answer where nothing moves at all."""
    lab.push()
    lab.poll()
    give_to_another_owner(lab)
    said = shell("list")
    assert "owner_mismatch: " in said.err
    assert "Next: exlab-orch doctor" in said.err
    assert [one["code"] for one in shell("list", "--json").document()["problems"]] == ["owner_mismatch"]


@pytest.mark.parametrize("words", [*CHANGING, ["list"], ["show", RUN], ["log", RUN]], ids=" ".join)
def test_a_broken_configuration_ends_with_78(lab: Lab, shell: Shell, words: Sequence[str]) -> None:
    lab.config_path.write_text("[orchestrator]\nstaging_rot = 1\n")
    said = shell(*words, "--json")
    assert (said.status, said.out) == (78, "")
    assert said.error()["code"] == "config_invalid"


def test_a_run_whose_name_looks_like_an_option_follows_two_dashes(lab: Lab, shell: Shell) -> None:
    assert shell("show", "--", "-v").status == 4
    assert shell("clear", "-y", "--", "--yes").status == 4


def test_odd_names_are_shown_escaped_and_can_be_cleared(lab: Lab, shell: Shell) -> None:
    name = "FLOW_01/PROJ [bold]/Runs/Run_ \x1b[31m\n\u202ex"
    folder = lab.push(name, {os.fsdecode(b"odd \xff\n[x]"): b"1", "-rf": b"2"})
    assert shell("poll").status == 0
    for said in (shell("list"), shell("show", str(folder)), shell("list", "--color", "always", "--plain")):
        assert "\x1b" not in said.out
        assert "\\x1b[31m" in said.out
    assert shell("clear", "-y", "--", str(folder)).status == 0
    assert not folder.exists()
    (cleared,) = shell("list", "--cleared").out.splitlines()
    assert cleared.split("\t")[0] == "FLOW_01/PROJ [bold]/Runs/Run_ \\x1b[31m\\n\\u202ex"


def test_a_process_ends_with_the_status_of_the_verb(lab: Lab) -> None:
    ended = lab.cli("show", "Run_nowhere")
    assert (ended.returncode, ended.stdout) == (4, "")
    assert ended.stderr.splitlines()[0] == "No run is called Run_nowhere."


@pytest.mark.parametrize("color", ["always", "never"])
def test_list_warns_of_a_staging_disk_that_is_low(lab: Lab, shell: Shell, proved: Path, color: str) -> None:
    with lab.station(changing=True) as station:
        subject = f"staging:{station.staging_root}"
        low = station.problem(subject, "staging_low", "The staging disk is low.", "Delete staged copies.")
        station.set_problems(subject, "disk", [low])
    said = shell("--color", color, "list")
    assert "staging_low: The staging disk is low." in said.out + said.err
    assert "Delete staged copies." in said.out + said.err
    (problem,) = shell("list", "--json").document()["problems"]
    assert (problem["subject"], problem["code"]) == (subject, "staging_low")


def nas_line(said: Said) -> str:
    """The line of the NAS in a list on a terminal that is wide enough."""
    return next(line for line in said.out.splitlines() if "NAS /" in line)


def test_a_nas_that_is_away_does_not_look_well_in_the_list(
    lab: Lab, shell: Shell, proved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    assert "; away" not in nas_line(shell("--color", "always", "list"))
    lab.nas.rename(lab.root / "away")
    lab.push(SECOND)
    lab.poll()
    assert "; away: nas_not_mounted" in nas_line(shell("--color", "always", "list"))
    (problem,) = shell("list", "--json").document()["problems"]
    assert (problem["subject"], problem["code"]) == (f"nas:{lab.nas}", "nas_not_mounted")
    lab.staged(SECOND).rename(lab.root / "taken out")
    assert "nas_not_mounted: " in shell("list").err  # where no run in the list tells it


def test_a_paused_nas_does_not_look_well_in_the_list_even_before_the_next_pass(
    shell: Shell, proved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    shell("pause", "--reason", "new disks")
    said = shell("--color", "always", "list")
    assert "is paused by" in nas_line(said)
    assert said.out.count("new disks") == 1
    assert shell("list", "--json").document()["problems"][0]["code"] == "nas_paused"
    assert "new disks" in shell("list").err
    shell("resume")
    assert "is paused by" not in nas_line(shell("--color", "always", "list"))
    assert shell("list", "--json").document()["problems"] == []


def test_what_is_wrong_with_the_whole_nas_stands_before_single_strays(lab: Lab, shell: Shell, proved: Path) -> None:
    lab.push("FLOW_01/PROJ-2/NotARun_x")
    lab.nas.rename(lab.root / "away")
    lab.push(SECOND)
    lab.poll()
    shown = shell("--color", "always", "list", "--problem").out
    assert shown.index("nas_not_mounted") < shown.index("not_a_run")
    only = shell("list", "--problem", "nas_not_mounted", "--equipment", "MASSSPEC_01")
    assert "Nothing" not in only.err
    assert "nas_not_mounted: " in only.err


def test_clear_is_not_offered_for_a_run_that_is_damaged_on_the_nas(lab: Lab, shell: Shell, proved: Path) -> None:
    clear = f"exlab-orch clear {RUN}"
    assert clear in shell("show", RUN, "--json").document()["actions"]
    with lab.station(changing=True) as station:
        damaged = station.problem(RUN, "nas_copy_damaged", "It is damaged.")
        station.set_problems(RUN, "verify", [damaged])
    assert clear not in shell("show", RUN, "--json").document()["actions"]


def test_a_damaged_run_that_is_on_the_nas_only_has_the_figures_of_the_ledger(
    lab: Lab, shell: Shell, proved: Path
) -> None:
    assert shell("clear", RUN, "--yes").status == 0
    with lab.station(changing=True) as station:
        station.set_problems(RUN, "verify", [station.problem(RUN, "nas_copy_damaged", "It is damaged.")])
        (line,) = station.ledger.lines()
    (row,) = shell("list", "--json").document()["runs"]
    assert (row["file_count"], row["byte_total"]) == (line.files_cleared, line.bytes_freed)
    assert row["file_count"] > 0


def test_an_empty_list_names_the_filter_that_emptied_it(lab: Lab, shell: Shell, proved: Path) -> None:
    assert shell("clear", RUN, "--yes").status == 0
    assert "Leave out a filter" in shell("list", "--cleared", "--equipment", "MASSSPEC_01").err
    assert "exlab-orch list --cleared" in shell("list", "--state", "cleared").err


@pytest.mark.parametrize(
    "verb", ["show", "log", "sync", "clear", "verify", "hold --reason x", "unhold", "accept --reason x"]
)
@pytest.mark.parametrize("named", ["FLOW_01/P/Runs/Run_\udcff", r"Run_\xff"])
def test_a_folder_of_a_run_whose_name_is_not_utf_8_is_refused_with_what_to_do(
    lab: Lab, shell: Shell, verb: str, named: str
) -> None:
    (lab.staging / "FLOW_01/P/Runs/Run_\udcff").mkdir(parents=True)
    said = shell(*verb.split(), named)
    assert (said.status, said.out) == (4, "")
    assert r"FLOW_01/P/Runs/Run_\xff lies in staging. The path of the run" in said.err
    assert said.err.endswith(f"{RENAME}\n")


def test_the_name_of_a_stray_that_is_not_utf_8_is_escaped_once_and_json_carries_it_exactly(
    lab: Lab, shell: Shell
) -> None:
    name = b"FLOW_01/P/odd\xff"
    (lab.staging / os.fsdecode(name)).mkdir(parents=True)
    said = shell("poll")
    assert said.err.startswith(r"FLOW_01/P/odd\xff: not_a_run: FLOW_01/P/odd\xff is not a run.")
    (lab.staging / os.fsdecode(name)).rmdir()
    event = json.loads(shell("poll", "--json").out.splitlines()[0])
    assert (event["subject"], event["change"]) == (r"FLOW_01/P/odd\xff", "closed")
    assert base64.b64decode(event["subject_b64"]) == name


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["--problem", "nas_ful"], "No problem has the code 'nas_ful'. Did you mean nas_full"),
        (["--equipment", "FLOW_1"], "No equipment is called 'FLOW_1'. Did you mean FLOW_01?"),
        (["--project", "PRJ-1"], "No project is called 'PRJ-1'. Did you mean PROJ-1?"),
        (["--state", "sync_verifed"], "'sync_verifed' is not one of"),
    ],
)
def test_a_filter_that_is_mistyped_is_wrong_usage_and_not_an_empty_list(
    proved: Path, shell: Shell, words: list[str], meant: str
) -> None:
    said = shell("list", *words)
    assert (said.status, said.out) == (2, "")
    assert meant in said.err


def test_a_filter_may_name_what_is_not_configured_or_not_staged_any_more(lab: Lab, proved: Path, shell: Shell) -> None:
    (lab.staging / "NEW_01/P/Runs/Run_1").mkdir(parents=True)
    said = shell("list", "--equipment", "NEW_01")
    assert said.out.startswith("NEW_01\t")
    assert "equipment add NEW_01\n" in said.err  # the whole command: it asks for the rest
    assert shell("clear", "--yes", RUN).status == 0
    (lab.staging / "FLOW_01").rename(lab.root / "taken away")
    assert RUN in shell("list", "--cleared", "--project", "PROJ-1").out


def test_that_nothing_has_a_problem_is_said_of_that_problem(lab: Lab, proved: Path, shell: Shell) -> None:
    assert shell("list", "--problem", "nas_full") == Said(0, "", "Nothing has the problem nas_full.\n")
    assert shell("list", "--problem") == Said(0, "", "Nothing needs a person.\n")
    (lab.staging / "loose").touch()
    words = "Nothing that the filters leave has the problem nas_full. Open now: not_a_run.\n"
    assert shell("list", "--problem", "nas_full", "--equipment", "FLOW_01") == Said(0, "", words)


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
def test_there_is_nothing_to_accept_of_what_is_proved(proved: Path, shell: Shell, dry_run: list[str]) -> None:
    said = shell("accept", RUN, "--reason", "power cut", *dry_run)
    assert said == Said(0, "", f"{RUN}: is proved already; there is nothing to accept.\n")
    assert shell("accept", RUN, "--reason", "power cut", "--json", *dry_run).document()["accepted"] == []


def test_a_dry_run_of_accept_refuses_what_accept_refuses(proved: Path, shell: Shell) -> None:
    assert shell("clear", "--yes", RUN).status == 0
    assert {shell("accept", RUN, "--reason", "x", *more).err for more in ([], ["-n"])} == {
        f"The run {RUN} is not in staging.\nSee what is there: exlab-orch list\n"
    }


def test_a_pass_that_copies_nothing_says_where_the_runs_are_now(lab: Lab, shell: Shell) -> None:
    lab.push()
    lab.push(SECOND)
    lab.push("FLOW_01/PROJ-2/Runs/Run_9", done=False)
    said = shell("poll", "-v", "--only", "evaluate")
    assert said.err.splitlines()[-1] == "3 runs went on: 2 waiting to copy, 1 arriving."


@pytest.mark.parametrize(
    "words", [["list"], ["list", "--color=always"], ["status"], ["show", RUN], ["show", "no-such"]]
)
def test_with_c_every_command_that_is_shown_has_it(
    lab: Lab, proved: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    run(program, ["-c", str(lab.config_path), *words], Call())
    said = "".join(capsys.readouterr())
    assert f"exlab-orch -c {lab.config_path} " in said
    assert said.count("exlab-orch -c") == said.count("exlab-orch ")


@pytest.mark.parametrize("words", [["--interval", "0s"], ["--interval", "0m", "--json"]], ids=" ".join)
def test_a_watch_without_a_pause_is_refused_before_anything_is_done(
    lab: Lab, shell: Shell, words: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exlab_orch.cli.watch._loop", lambda *_given: None)
    said = shell("watch", *words)
    assert (said.status, "'--interval'" in said.err, "1s or more" in said.err) == (2, True, True)
    assert not lab.state.exists()
