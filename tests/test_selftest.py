"""The self-test goes the way of every run, leaves nothing behind, and never touches what it did not make."""

from __future__ import annotations

import grp
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from exlab_orch.errors import Locked, SelftestLeftover
from exlab_orch.madeup import ODD_NAMES, make_plan, save_plan, saved_plans
from exlab_orch.selftest import chosen_nas, selftest
from exlab_orch.selftest_results import STEPS, Leftover, Tick, Trial
from exlab_orch.station import Station
from tests.lab import RUN, Lab, tree
from tests.terminal import terminal

SMALL = 40_000
OnTick = Callable[[str, Tick], object]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def tried(lab: Lab, on_tick: OnTick = lambda _nas, _tick: None) -> tuple[Trial, list[Leftover]]:
    with lab.station() as station:
        trials, leftovers = selftest(station, chosen_nas(station, None, None), byte_total=SMALL, on_tick=on_tick)
    (trial,) = trials
    return trial, leftovers


def results(trial: Trial) -> list[str]:
    return [tick.result for tick in trial.ticks]


def hidden(lab: Lab) -> list[Path]:
    return list(lab.nas.glob(".exlab-part-selftest-*"))


def at(step: str, act: Callable[[], object]) -> OnTick:
    """Do something when a step is over."""
    return lambda _nas, tick: act() if tick.step == step else None


def require_nothing_left(lab: Lab) -> None:
    assert hidden(lab) == []
    assert list((lab.staging / ".exlab-orch").glob("selftest")) == []
    assert list(lab.state.glob("selftest")) == []


# -- the whole way -------------------------------------------------------------------------------------------


def test_a_made_up_run_goes_the_whole_way_and_leaves_nothing_anywhere(lab: Lab) -> None:
    before = tree(lab.nas)
    trial, leftovers = tried(lab)
    assert [tick.step for tick in trial.ticks] == list(STEPS)
    assert (results(trial), leftovers, trial.others) == (["ok"] * 5, [], ())
    assert trial.ticks[1].byte_count > SMALL
    assert (trial.ticks[1].bytes_per_second or 0) > 0
    assert tree(lab.nas) == before
    require_nothing_left(lab)


def test_it_is_published_and_proved_on_the_real_nas_below_a_hidden_folder(lab: Lab) -> None:
    seen: list[Path] = []
    tried(lab, at("proved", lambda: seen.extend(lab.nas.rglob("*"))))
    runs = [path for path in seen if path.name.startswith("Run_")]
    assert len(runs) == 1
    assert runs[0].is_relative_to(lab.nas / runs[0].relative_to(lab.nas).parts[0])
    assert runs[0].relative_to(lab.nas).parts[0].startswith(".exlab-part-selftest-")
    names = {
        path.relative_to(runs[0]).as_posix().encode(errors="surrogateescape")
        for path in seen
        if runs[0] in path.parents
    }
    assert names.issuperset({*ODD_NAMES, b"data/block_1.bin", b".exlab-wizard/checksums.sha256", b"empty folder"})


def test_journal_ledger_and_list_of_the_real_station_know_nothing_of_it(lab: Lab) -> None:
    lab.push()
    lab.poll()
    before = (lab.staged() / ".exlab-wizard/ingest.json").read_bytes()
    tried(lab)
    with lab.station() as station:
        assert list(station.journal.runs()) == [RUN]
        assert list(station.ledger.lines()) == []
        assert [run.run_path for run in station.discover().runs] == [RUN]
        assert station.discover().strays == ()
    assert (lab.staged() / ".exlab-wizard/ingest.json").read_bytes() == before


def test_passes_that_run_meanwhile_are_not_disturbed_and_do_not_disturb_it(lab: Lab) -> None:
    lab.push()
    reports: list[int] = []
    trial, _ = tried(lab, lambda _nas, _tick: reports.append(lab.poll().exit_status))
    assert (results(trial), reports) == (["ok"] * 5, [0] * 5)
    assert lab.states()[-1] == "sync_verified"
    require_nothing_left(lab)


def test_names_that_the_nas_cannot_hold_are_told_and_left_out(tmp_path: Path) -> None:
    trial, _ = tried(Lab(tmp_path, nas_options='names = "strict"'))
    (found,) = [one.message for one in trial.findings if one.check == "selftest.names"]
    assert "cannot hold" in found
    assert "colon:x.txt" in found
    assert "It takes upper and lower case for the same." in found
    assert results(trial) == ["ok"] * 5


# -- failures ------------------------------------------------------------------------------------------------


def test_another_nas_fails_the_second_step_and_everything_is_cleared_away(lab: Lab) -> None:
    (lab.nas / ".exlab-nas").write_text("another")
    before = tree(lab.nas)
    ended = lab.cli("selftest", "--json", "--size", "10kB")
    assert ended.returncode == 69, ended.stderr
    (one,) = json.loads(ended.stdout)["selftests"]
    assert [tick["result"] for tick in one["ticks"]] == ["ok", "failed", "not_tried", "not_tried", "not_tried"]
    assert one["ticks"][1]["error"]["code"] == "nas_wrong_marker"
    assert tree(lab.nas) == before
    require_nothing_left(lab)


def test_a_damaged_copy_fails_the_proof_with_the_status_of_a_failed_run(lab: Lab) -> None:
    def damage() -> None:
        (block,) = lab.nas.rglob("block_1.bin")
        block.write_bytes(b"x" * block.stat().st_size)

    trial, _ = tried(lab, at("copied", damage))
    assert results(trial) == ["ok", "ok", "failed", "not tried", "failed"]
    assert trial.ticks[2].error is not None
    assert trial.ticks[2].error.code == "nas_copy_damaged"
    assert [path.name for path in lab.nas.rglob("*.bin")] == ["block_1.bin"]


def test_a_paused_nas_is_left_alone(lab: Lab) -> None:
    assert lab.cli("pause", "--reason", "maintenance").returncode == 0
    ended = lab.cli("selftest")
    assert (ended.returncode, "nas_paused" in ended.stdout) == (69, True), ended.stderr
    require_nothing_left(lab)


def test_it_takes_a_slot_of_the_nas_and_waits_for_one_only_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(tmp_path, sync="parallel_runs = 1")
    monkeypatch.setattr("exlab_orch.selftest._SLOT_SECONDS", 0.01)
    with lab.station() as station, station.state.slot(str(lab.nas), 1):
        trial, _ = tried(lab)
    assert results(trial) == ["not tried", "failed", "not tried", "not tried", "not tried"]
    assert trial.ticks[1].error is not None
    assert trial.ticks[1].error.code == "locked"
    require_nothing_left(lab)
    busy: list[int] = []
    with lab.station() as looker:
        tried(lab, lambda _nas, _tick: busy.append(looker.state.busy_slots(str(lab.nas), 1)))
    assert busy == [1] * 5
    require_nothing_left(lab)


def test_two_at_once_are_refused(lab: Lab) -> None:
    seen: list[str] = []

    def again() -> None:
        with pytest.raises(Locked) as raised:
            tried(lab)
        seen.append(raised.value.message)

    trial, _ = tried(lab, at("received", again))
    assert (results(trial), len(seen)) == (["ok"] * 5, 1)


# -- only its own --------------------------------------------------------------------------------------------


def test_what_others_put_into_its_folder_stays_and_is_told(lab: Lab) -> None:
    def meddle() -> None:
        (folder,) = hidden(lab)
        (folder / "thesis.docx").write_text("years of work")
        (run,) = folder.rglob("Run_*")
        (run / "result.csv").write_text("1,2,3")
        (run / "data/block_1.bin").write_bytes(b"edited")

    trial, _ = tried(lab, at("cleared", meddle))
    assert results(trial) == ["ok", "ok", "ok", "ok", "failed"]
    assert trial.ticks[4].error is not None
    assert trial.ticks[4].error.code == "selftest_leftover"
    left = {path.name: path.read_bytes() for path in hidden(lab)[0].rglob("*") if path.is_file()}
    assert left == {"thesis.docx": b"years of work", "result.csv": b"1,2,3", "block_1.bin": b"edited"}
    assert len(trial.others) == 3


def test_the_next_one_removes_the_rest_once_the_others_took_theirs_away(lab: Lab) -> None:
    tried(lab, at("cleared", lambda: (hidden(lab)[0] / "thesis.docx").write_text("years of work")))
    trial, (leftover,) = tried(lab)
    assert (results(trial), leftover.removed) == (["ok"] * 5, False)
    assert "thesis.docx" in leftover.why
    (hidden(lab)[0] / "thesis.docx").rename(lab.root / "thesis.docx")
    _, (leftover,) = tried(lab)
    assert leftover.removed
    require_nothing_left(lab)


def test_a_link_in_its_folder_is_not_followed(lab: Lab) -> None:
    precious = lab.root / "precious"
    precious.mkdir()
    (precious / "block_1.bin").write_text("precious")

    def meddle() -> None:
        (run,) = hidden(lab)[0].rglob("Run_*")
        (run / "data").rename(lab.root / "data")
        (run / "data").symlink_to(precious)

    trial, _ = tried(lab, at("cleared", meddle))
    assert trial.ticks[4].result == "failed"
    assert (precious / "block_1.bin").read_text() == "precious"


def test_what_somebody_put_into_its_staging_folder_stays(lab: Lab) -> None:
    def meddle() -> None:
        (folder,) = (lab.staging / ".exlab-orch/selftest").iterdir()
        (folder / "notes.txt").write_text("notes")

    trial, _ = tried(lab, at("cleared", meddle))
    assert trial.ticks[4].result == "failed"
    assert [path.read_text() for path in lab.staging.rglob("notes.txt")] == ["notes"]


def test_a_plan_that_was_edited_removes_nothing(lab: Lab) -> None:
    with lab.station() as station:
        plan = make_plan(str(lab.nas), SMALL, station.now())
        save_plan(station.state.path, plan)
    path = lab.state / f"selftest/{plan.id}.json"
    path.write_text(path.read_text().replace("EXLAB_SELFTEST/Selftest", "EXLAB_SELFTEST/../.."))
    lab.push()
    lab.poll()
    with pytest.raises(SelftestLeftover):
        tried(lab)
    assert lab.published().is_dir()


def test_a_plan_is_read_as_it_was_written(lab: Lab) -> None:
    with lab.station() as station:
        plan = make_plan(str(lab.nas), SMALL, station.now())
        save_plan(station.state.path, plan)
        assert saved_plans(station.state.path) == [plan]


# -- killed --------------------------------------------------------------------------------------------------

KILLED = """
import os, sys
from exlab_orch.config import load_config
from exlab_orch.selftest import chosen_nas, selftest
from exlab_orch.station import open_station
left = int(sys.argv[2])
def count(event, arguments):
    global left
    if event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link") or event == "open" and arguments[2] & 1:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), 9)
with open_station(load_config(sys.argv[1]), changing=True) as station:
    sys.addaudithook(count)
    selftest(station, chosen_nas(station, None, None), byte_total=40_000)
"""


STEP = 3
"""Not every change: that takes three minutes."""


def killed_at(lab: Lab, number: int) -> bool:
    """Whether a self-test came to that change of a disk and was killed there; then the next one removes all of it."""
    words = [sys.executable, "-c", KILLED, str(lab.config_path), str(number)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    ended = subprocess.run(words, env=environment, capture_output=True, check=False, timeout=60)
    assert ended.returncode in (0, -9), ended.stderr
    trial, leftovers = tried(lab)
    assert results(trial) == ["ok"] * 5
    assert [one.why for one in leftovers if not one.removed] == []
    require_nothing_left(lab)
    return ended.returncode == -9


@pytest.mark.parametrize("number", [8, 40, 60, 90, 110])
def test_the_next_one_removes_what_a_killed_one_left(lab: Lab, number: int) -> None:
    assert killed_at(lab, number)


@pytest.mark.slow
def test_a_kill_at_any_change_of_a_disk_leaves_nothing_for_ever(lab: Lab) -> None:
    number = 1
    while killed_at(lab, number):
        number += STEP
    assert number > 100


# -- who may read --------------------------------------------------------------------------------------------


def group_finding(trial: Trial) -> tuple[str, str]:
    (found,) = [one for one in trial.findings if one.check == "selftest.group"]
    return found.result, found.message


def test_that_the_group_can_read_is_told(lab: Lab) -> None:
    lab.nas.chmod(0o2775)
    assert group_finding(tried(lab)[0])[0] == "ok"


def test_that_the_group_cannot_read_is_told_with_the_folder(lab: Lab) -> None:
    lab.nas.chmod(0o700)
    result, message = group_finding(tried(lab)[0])
    group = grp.getgrgid(lab.nas.stat().st_gid).gr_name
    assert (result, f"the group {group} cannot read" in message, str(lab.nas) in message) == ("warning", True, True)


def test_files_that_the_configured_modes_close_are_told(tmp_path: Path) -> None:
    lab = Lab(tmp_path, nas_options='file_mode = "0600"')
    lab.nas.chmod(0o755)
    result, message = group_finding(tried(lab)[0])
    assert (result, "0600" in message) == ("warning", True)


# -- the verb ------------------------------------------------------------------------------------------------


def test_a_pipe_gets_a_line_for_each_step_and_finding(lab: Lab) -> None:
    ended = lab.cli("selftest", "--size", "10kB")
    rows = [line.split("\t") for line in ended.stdout.splitlines()]
    assert ended.returncode == 0, ended.stderr
    assert [row[1:3] for row in rows[:5]] == [[step, "ok"] for step in STEPS]
    assert {len(row) for row in rows} == {7}
    assert {row[1] for row in rows[5:]} == {"selftest.names", "selftest.group"}


def test_a_rehearsal_writes_nothing(lab: Lab) -> None:
    before = tree(lab.root)
    ended = lab.cli("selftest", "-n")
    assert (ended.returncode, "would be sent" in ended.stdout) == (0, True), ended.stderr
    assert tree(lab.root) == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--nas", "/mnt/other"], "no NAS called /mnt/other"),
        (["--equipment", "NO_SUCH"], "No equipment NO_SUCH"),
        (["--size", "12"], "is not a size"),
        (["--size", "0B"], "at least 1 B"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(lab: Lab, words: list[str], says: str) -> None:
    ended = lab.cli("selftest", *words)
    assert ended.returncode in (2, 78)
    assert says in ended.stderr


def test_each_of_several_nas_is_tried_and_a_single_one_can_be_named(tmp_path: Path) -> None:
    other = tmp_path / "other nas"
    other.mkdir()
    (other / ".exlab-nas").write_text("abcdef\n")
    block = f'[equipment.nas]\nroot = "{other}"\nrequire_mount = false\nmarker_id = "abcdef"\nreserve_percent = 0\n'
    lab = Lab(tmp_path / "lab")
    lab.equipment += block
    lab.configure()
    with lab.station() as station:
        assert names_of(station) == [str(lab.nas), str(other)]
        (trial,), _ = selftest(station, chosen_nas(station, None, "SCANNER_01"), byte_total=SMALL)
    assert (trial.nas, trial.equipment_ids, results(trial)) == (str(other), ("SCANNER_01",), ["ok"] * 5)


def names_of(station: Station) -> list[str]:
    return [nas.name for nas in chosen_nas(station, None, None)]


def test_a_terminal_shows_each_step_on_a_line_of_its_own_after_its_bar_is_gone(lab: Lab) -> None:
    with terminal(lab, "selftest", "--size", "20MB") as shown:
        assert shown.end() == 0
        raw = shown.raw
    assert "copying" in raw
    for words in ("made and received", "copied to the NAS", "read back and proved", "staged copy deleted"):
        drawn, _, after = raw.partition(words)
        assert drawn.count("\x1b[?25l") == drawn.count("\x1b[?25h"), "a bar is still there, and would hide the line"
        assert re.match(r" +\d+\.\d s", after)
