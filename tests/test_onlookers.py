"""What somebody else than the service user is told, who may not read everything: no answer without evidence."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable

import pytest

from exlab_orch.cli import pasting
from exlab_orch.cli.call import Settings
from exlab_orch.cli.choosing import Choice, nothing_words
from exlab_orch.completing.table import VERBS
from exlab_orch.detail import RunDetail, run_detail
from exlab_orch.errors import RunNotFound, WrongUser
from exlab_orch.finding import find_run
from exlab_orch.rows import list_cleared, list_rows
from tests.files.privilege import ordinary_user
from tests.lab import MARKER_ID, RUN, Lab
from tests.oracle import require_root

ASK = f"sudo -u nobody exlab-orch show {RUN}"


def close_key(lab: Lab) -> None:
    (lab.state / "seal.key").chmod(0o600)


def close_journal(lab: Lab) -> None:
    (lab.state / "journal.sqlite3").chmod(0o600)


def close_record(lab: Lab) -> None:
    (lab.staged() / ".exlab-wizard/ingest.json").chmod(0o600)


def close_run(lab: Lab) -> None:
    lab.staged().chmod(0o700)


def close_project(lab: Lab) -> None:
    (lab.staging / "FLOW_01/PROJ-1").chmod(0o700)


def close_ledger(lab: Lab) -> None:
    (lab.state / "ledger.jsonl").chmod(0o600)


def close_ledger_and_key(lab: Lab) -> None:
    close_ledger(lab)
    close_key(lab)


@pytest.fixture
def proved(lab: Lab) -> Lab:
    lab.push()
    assert lab.poll().exit_status == 0
    return lab


def given_away(lab: Lab) -> None:
    """Everything belongs to the service user, who is nobody here."""
    require_root()  # nobody else gives files away
    for folder in (lab.state, lab.staging):
        for path in (folder, *folder.rglob("*")):
            os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)


def looked_at(lab: Lab) -> RunDetail:
    with ordinary_user(), lab.station(changing=False) as station:
        return run_detail(station, lab.run(), now=station.now())


def words(detail: RunDetail) -> tuple[str, str]:
    return detail.safe.word, detail.may_delete.word


@pytest.mark.parametrize("close", [close_key, close_journal, close_record, close_run])
def test_what_this_user_may_not_read_is_not_known_and_not_no(proved: Lab, close: Callable[[Lab], None]) -> None:
    close_key(proved)
    close(proved)
    given_away(proved)
    found = looked_at(proved)
    assert (words(found), found.safe.command) == (("not known", "not known"), ASK)
    assert found.safe.why.startswith("this user may not read ")
    assert found.problems == ()


@pytest.mark.parametrize(
    ("close", "untold"),
    [
        (close_key, {"run.proof"}),
        (close_journal, {"run.nas", "run.attempts", "run.proof", "run.retention"}),
        (
            close_record,
            {"run.signal", "run.settle", "run.names", "run.open_files", "run.proof", "run.retention"},
        ),
    ],
)
def test_a_check_whose_evidence_is_closed_to_this_user_is_not_told(
    proved: Lab, close: Callable[[Lab], None], untold: set[str]
) -> None:
    close_key(proved)
    close(proved)
    given_away(proved)
    found = [check for check in looked_at(proved).checks if "may not read" in check.message]
    assert {check.check for check in found} == untold
    assert {(check.result, check.fix) for check in found} == {("skipped", ASK)}


def test_open_files_of_another_user_are_not_said_to_be_closed(lab: Lab) -> None:
    lab.push()
    lab.poll(frozenset({"evaluate"}))
    given_away(lab)
    with (lab.staged() / "a.fcs").open("ab"):
        (found,) = [check for check in looked_at(lab).checks if check.check == "run.open_files"]
    assert (found.result, "cannot see" in found.message) == ("skipped", True)


def test_a_record_that_is_closed_to_this_user_is_not_said_to_be_damaged(proved: Lab) -> None:
    close_record(proved)
    given_away(proved)
    with ordinary_user(), proved.station(changing=False) as station:
        (row,) = list_rows(station, now=station.now())
    assert row.problem is not None
    assert "understood" not in row.problem.message
    assert row.problem.hint.endswith(": sudo -u nobody exlab-orch list")


def test_why_a_run_waits_is_not_made_up_where_the_journal_is_closed_to_this_user(proved: Lab) -> None:
    close_journal(proved)
    given_away(proved)
    assert "may not read the journal" in str(looked_at(proved).row.waiting_for)


def test_what_is_known_to_be_wrong_is_no_for_everybody(proved: Lab) -> None:
    (proved.published() / "a.fcs").write_bytes(b"damaged")
    proved.cli("verify", RUN)
    close_key(proved)
    given_away(proved)
    assert words(looked_at(proved)) == ("no", "no")


def test_a_run_that_is_not_proved_is_no_for_everybody(lab: Lab) -> None:
    lab.push(done=False)
    lab.poll()
    given_away(lab)
    assert words(looked_at(lab)) == ("no", "no")


def test_a_cleared_run_whose_ledger_is_closed_to_this_user_did_not_disappear(proved: Lab) -> None:
    assert proved.cli("clear", "--yes", RUN).returncode == 0
    close_ledger_and_key(proved)
    given_away(proved)
    found = looked_at(proved)
    assert (words(found), found.safe.command) == (("not known", "not known"), ASK)


@pytest.mark.parametrize("close", [close_ledger, close_ledger_and_key])
def test_a_name_may_be_that_of_a_run_on_the_nas_only_where_the_ledger_is_closed_to_this_user(
    proved: Lab, close: Callable[[Lab], None]
) -> None:
    assert proved.cli("clear", "--yes", RUN).returncode == 0
    close(proved)
    given_away(proved)
    with ordinary_user(), proved.station(changing=False) as station:
        for name in (RUN, RUN.rpartition("/")[2]):
            with pytest.raises(RunNotFound, match="may not read the ledger") as told:
                find_run(station, name)
            assert told.value.hint == f"Ask as its owner: sudo -u nobody exlab-orch show {name}"
        with pytest.raises(WrongUser, match="may not read the ledger"):
            list_cleared(station)


@pytest.mark.parametrize("close", [close_key, close_journal, close_project])
def test_of_a_run_on_the_nas_only_what_this_user_may_not_read_is_not_known(
    proved: Lab, close: Callable[[Lab], None]
) -> None:
    assert proved.cli("clear", "--yes", RUN).returncode == 0
    close(proved)
    given_away(proved)
    found = looked_at(proved)
    assert (words(found), found.safe.command) == (("not known", "not known"), ASK)


def test_an_empty_list_says_that_this_user_may_not_know_the_runs_on_the_nas_only(proved: Lab) -> None:
    assert proved.cli("clear", "--yes", RUN).returncode == 0
    close_ledger(proved)
    given_away(proved)
    with ordinary_user(), proved.station(changing=False) as station:
        said = nothing_words(station, [], Settings(), Choice())
    assert said.endswith("known to their owner: sudo -u nobody exlab-orch list --cleared")


def test_which_nas_has_a_copy_is_told_to_everybody(proved: Lab) -> None:
    """Where the answer is no whatever the key says, it is not unknown."""
    close_key(proved)
    given_away(proved)
    proved.config_path.write_text(proved.config_path.read_text().replace(MARKER_ID, "e" * 32))
    found = looked_at(proved)
    assert words(found) == ("no", "no")
    assert "another marker" in found.safe.why


def test_a_run_below_a_folder_that_is_closed_to_this_user_is_not_said_to_be_gone(proved: Lab) -> None:
    given_away(proved)
    (proved.staging / "FLOW_01/PROJ-1").chmod(0o700)
    found = looked_at(proved)
    assert (words(found), found.safe.command) == (("not known", "not known"), ASK)


def test_every_command_that_only_the_service_user_may_run_names_that_user(proved: Lab) -> None:
    given_away(proved)
    shown = json.loads(proved.cli("show", RUN, "--json").stdout)
    assert len(shown["actions"]) > 1
    changing = [one for one in shown["actions"] if "exlab-orch show " not in one]
    assert [one for one in changing if not one.startswith(f"sudo -u nobody exlab-orch -c {proved.config_path} ")] == []
    listed = proved.cli("show", RUN, "--plain").stdout
    assert f"command\tsudo -u nobody exlab-orch -c {proved.config_path} hold " in listed


def test_the_service_user_is_not_told_to_become_itself(proved: Lab) -> None:
    assert "sudo" not in proved.cli("show", RUN, "--json").stdout


ARGUMENTS: dict[str, tuple[str, ...]] = {
    "accept": ("--reason", "x", RUN),
    "clear": ("--yes", RUN),
    "hold": ("--reason", "x", RUN),
    "log": (RUN,),
    "notify": ("test",),
    "pause": ("--reason", "x"),
    "show": (RUN,),
    "sync": (RUN,),
    "takeover": ("--yes",),
    "unhold": (RUN,),
    "verify": (RUN,),
}
ELSEWHERE = {"completion", "config", "demo", "equipment", "init", "nas-init", "report", "schedule"}
"""Verbs that need no state directory, or make something of their own."""


@pytest.mark.parametrize("verb", sorted({one.partition(" ")[0] for one in VERBS if one} - ELSEWHERE))
def test_the_user_is_named_before_exactly_those_verbs_that_refuse_everybody_else(lab: Lab, verb: str) -> None:
    (lab.root / "notify.urls").write_text("json://localhost:9\n")
    lab.equipment += f'\n[notify]\nurls_file = "{lab.root}/notify.urls"\n'
    lab.configure()
    lab.push()
    lab.poll()
    given_away(lab)
    done = lab.cli(verb, *ARGUMENTS.get(verb, ()))
    assert (done.returncode == 77) == (verb in pasting._OWNERS), done.stderr
