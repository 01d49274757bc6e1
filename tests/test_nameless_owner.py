"""A state directory whose owner has no name here, as after a restored backup: sudo cannot become that user."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exlab_orch.errors import WrongUser
from exlab_orch.state import open_state
from exlab_orch.status import status_now
from tests.doctor.looks import found
from tests.lab import RUN, Lab
from tests.oracle import require_root

NOBODY = 12345


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    require_root()
    lab = Lab(tmp_path)
    lab.state.mkdir()
    os.chown(lab.state, NOBODY, NOBODY)
    return lab


def way_out(lab: Lab) -> str:
    """What gives the directory an owner that sudo knows."""
    return f"sudo chown -R exlab-orch: {lab.state}"


def test_who_changes_something_is_told_to_give_the_directory_away(lab: Lab) -> None:
    with pytest.raises(WrongUser) as raised:
        open_state(str(lab.state), changing=True)
    assert "belongs to user 12345, who has no name here" in raised.value.message
    assert way_out(lab) in raised.value.hint
    assert "sudo -u" not in raised.value.hint


def test_a_hint_for_an_owner_with_a_name_begins_with_sudo_as_before(lab: Lab) -> None:
    os.chown(lab.state, 1, 1)
    with pytest.raises(WrongUser, match="belongs to daemon, and only that user may change runs") as raised:
        open_state(str(lab.state), changing=True)
    assert raised.value.hint.startswith("Run it as that user: sudo -u daemon exlab-orch ")


def test_the_next_command_of_status_is_one_that_sudo_takes(lab: Lab) -> None:
    assert status_now(lab.config, datetime.now(UTC)).next_command == way_out(lab)


def test_why_a_run_may_not_be_told_safe_names_no_user_that_sudo_refuses(lab: Lab) -> None:
    os.chown(lab.state, 0, 0)
    lab.push()
    lab.poll()
    (lab.state / "seal.key").unlink()
    os.chown(lab.state, NOBODY, NOBODY)
    shown = lab.cli("show", RUN).stdout
    assert "sudo -u" not in shown
    assert way_out(lab) in shown


def test_the_steps_after_init_name_no_user_that_sudo_refuses(lab: Lab) -> None:
    lab.config_path.unlink()
    words = ("--staging-root", str(lab.staging), "--nas-root", str(lab.nas), "--state-dir", str(lab.state))
    shown = lab.cli("init", *words).stderr
    assert "'#" not in shown
    assert f"sudo chown -R USER: {lab.state}    # USER: who is to run exlab-orch" in shown


def test_the_doctor_says_it_as_one_error_and_shows_no_command_that_sudo_refuses(lab: Lab) -> None:
    seen = found(lab)
    assert [name for name, one in seen.items() if one.result == "error"] == ["user.owner"]
    assert "belongs to user 12345, who has no name here" in seen["user.owner"].message
    assert way_out(lab) in seen["user.owner"].fix
    assert [one for one in seen.values() if "#12345" in one.fix] == []


def test_the_doctor_of_a_used_directory_says_it_once_too(lab: Lab) -> None:
    os.chown(lab.state, 0, 0)
    lab.push()
    lab.poll()
    for path in (lab.state, *lab.state.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    folder = lab.root / "system/etc/cron.d"
    folder.mkdir(parents=True)
    (folder / "ours").write_text(f"* * * * * root /bin/exlab-orch -c {lab.config_path} poll\n")
    seen = found(lab, writes=True)
    about = [name for name, one in seen.items() if "12345" in one.message + one.fix]
    assert about == ["user.owner"]
    assert seen["nas.reach"].message == "It was not looked at: first mend user.owner."


def test_who_is_that_user_is_no_error(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may run as a number without a name, and then needs no sudo."""
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    assert found(lab)["user.owner"].result == "ok"
