"""What a person does now: one command, whoever says it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from exlab_orch.model import Problem
from exlab_orch.next_step import chosen_command
from tests.lab import RUN, Lab

NOW = datetime(2026, 4, 17, 12, tzinfo=UTC)


def copied(lab: Lab) -> None:
    lab.push()
    lab.poll()


def conflict(lab: Lab) -> None:
    lab.published().mkdir(parents=True)
    (lab.published() / "a.fcs").write_bytes(b"theirs")
    copied(lab)


def blocked(lab: Lab) -> None:
    (lab.push() / "link").symlink_to("a.fcs")
    lab.poll()


def damaged(lab: Lab) -> None:
    copied(lab)
    (lab.published() / "a.fcs").write_bytes(b"damaged")
    lab.cli("verify", RUN)


def cleared_and_damaged(lab: Lab) -> None:
    copied(lab)
    lab.cli("clear", "--yes", RUN)
    (lab.published() / "a.fcs").write_bytes(b"damaged")
    lab.cli("verify", RUN)


def away(lab: Lab) -> None:
    copied(lab)
    lab.nas.rename(lab.root / "elsewhere")
    lab.push(f"{RUN}b")
    lab.poll()


def paused(lab: Lab) -> None:
    copied(lab)
    lab.push(f"{RUN}b")
    lab.cli("pause", "--reason", "new disks")


def paused_and_met(lab: Lab) -> None:
    paused(lab)
    lab.poll()


def stray(lab: Lab) -> None:
    lab.push("FLOW_01/PROJ-2/NotARun_x")
    copied(lab)


def unknown_equipment(lab: Lab) -> None:
    lab.push("NEW_01/PROJ-1/Runs/Run_2026-04-17T14-32")
    copied(lab)


def disappeared(lab: Lab) -> None:
    lab.push(done=False)
    lab.poll()
    lab.staged().rename(lab.root / "taken")
    lab.poll()


@pytest.mark.parametrize(
    ("happened", "command"),
    [
        (Lab.push, "doctor"),
        (conflict, f"show {RUN}"),
        (blocked, f"show {RUN}"),
        (damaged, f"show {RUN}"),
        (cleared_and_damaged, f"show {RUN}"),
        (disappeared, f"show {RUN}"),
        (away, "doctor"),
        (paused, "resume"),
        (paused_and_met, "resume"),
        (stray, "list --problem"),
        (unknown_equipment, "equipment add NEW_01"),
    ],
)
def test_list_and_status_say_the_same(lab: Lab, happened: Callable[[Lab], object], command: str) -> None:
    happened(lab)
    (of_status,) = [line for line in lab.cli("status").stdout.splitlines() if line.startswith("next\t")]
    (of_list,) = [line for line in lab.cli("list").stderr.splitlines() if line.startswith("Next: ")]
    assert of_status == f"next\texlab-orch {command}"
    assert of_list == f"Next: exlab-orch {command}"


@pytest.mark.parametrize("happened", [copied, lambda lab: lab.poll()], ids=["a proved run", "nothing"])
def test_where_all_is_well_status_leads_to_the_list_and_the_list_nowhere(
    lab: Lab, happened: Callable[[Lab], object]
) -> None:
    happened(lab)
    assert "next\texlab-orch list\n" in lab.cli("status").stdout
    assert "Next: " not in lab.cli("list").stderr


@pytest.mark.parametrize(
    ("subject", "command"),
    [
        (RUN, f"exlab-orch show {RUN}"),
        ("nas:/mnt/nas/lab", "exlab-orch doctor"),
        ("FLOW_01/odd", "exlab-orch list --problem"),
        ("staging:/srv/staging/deep", "exlab-orch list"),
        (None, "exlab-orch list"),
    ],
)
def test_the_next_command_is_about_what_is_open(subject: str | None, command: str) -> None:
    problems = [] if subject is None else [Problem(subject, "nas_full", "It is full.", NOW, "")]
    assert chosen_command(problems, NOW, ["/mnt/nas/lab"]) == command


@pytest.mark.parametrize("subject", ["FLOW_01/PROJ-2/NotARun_x", "FLOW_01/PROJ-2"])
def test_a_stray_is_listed_for_it_is_no_run_that_could_be_shown(subject: str) -> None:
    stray = Problem(subject, "not_a_run", "It is not a run.", NOW, "")
    damaged = Problem(RUN, "nas_copy_damaged", "It is damaged.", NOW, "")
    assert chosen_command([stray], NOW, []) == "exlab-orch list --problem"
    assert chosen_command([stray, damaged], NOW, []) == f"exlab-orch show {RUN}"


def test_a_folder_whose_name_is_not_utf_8_is_listed_for_it_can_be_no_run() -> None:
    stray = Problem("FLOW_01/P/Runs/Run_\udcff", "name_unsupported", "It is not UTF-8.", NOW, "")
    assert chosen_command([stray], NOW, []) == "exlab-orch list --problem"


def test_a_flag_comes_after_what_stops_a_run_and_a_disk_is_no_run() -> None:
    late = Problem(f"{RUN}b", "never_completed", "It is late.", NOW, "")
    damaged = Problem(RUN, "nas_copy_damaged", "It is damaged.", NOW, "")
    full = Problem("staging:/data/staging", "staging_low", "It is low.", NOW, "")
    assert chosen_command([full, late, damaged], NOW, []) == f"exlab-orch show {RUN}"
    assert chosen_command([full], NOW, []) == "exlab-orch list"


def test_a_run_whose_path_has_blanks_can_be_pasted() -> None:
    problem = Problem("FLOW_01/a b/Runs/Run_1", "held", "", NOW, "")
    assert chosen_command([problem], NOW - timedelta(0), []) == "exlab-orch show 'FLOW_01/a b/Runs/Run_1'"


def test_the_oldest_of_several_comes_first_whatever_their_order() -> None:
    young, old = Problem(RUN, "sync_failed", "", NOW, ""), Problem(f"{RUN}b", "sync_failed", "", NOW - timedelta(1), "")
    assert chosen_command([young, old], NOW, []) == chosen_command([old, young], NOW, []) == f"exlab-orch show {RUN}b"


@pytest.mark.parametrize("subject", ["configuration", ".exlab-orch/trash/1"])
def test_what_no_list_shows_is_a_matter_for_the_doctor(subject: str) -> None:
    assert chosen_command([Problem(subject, "config_invalid", "", NOW, "")], NOW, []) == "exlab-orch doctor"
