"""Each check of the doctor, made to fail and made well again."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exlab_orch import doctor, groups
from exlab_orch.config_nas import MountNas, RsyncNas
from exlab_orch.diagnosis import Finding
from exlab_orch.doctor import (
    config_checks,
    cron_checks,
    install_checks,
    nas_checks,
    place_checks,
    schedule_checks,
    visit,
)
from exlab_orch.doctor.visit import Computer, looked
from exlab_orch.errors import ConfigInvalid, NasFull, StagingUnavailable, ToolMissing
from exlab_orch.journal import memory_journal
from exlab_orch.madeup import make_plan, save_plan
from exlab_orch.schedule import ActiveSchedule, Kind
from exlab_orch.selftest_results import Problem, Tick, Trial
from exlab_orch.space import Space
from exlab_orch.staging import Stray
from exlab_orch.transports.mountinfo import locate
from exlab_orch.transports.process import Ended
from tests.doctor.looks import found, result
from tests.lab import EQUIPMENT, Lab

NOW = datetime(2026, 4, 17, 12, tzinfo=UTC)
PAGE = (Path(__file__).parents[2] / "docs/doctor.md").read_text()


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.fixture
def used(lab: Lab) -> Lab:
    """A lab in which one pass was made."""
    lab.poll()
    return lab


# -- the whole -----------------------------------------------------------------------------------------------


def test_a_sound_installation_has_no_error_and_loses_nothing(used: Lab) -> None:
    run = used.push()
    before = sorted(run.rglob("*"))
    seen = found(used, writes=True)
    assert [one for one in seen.values() if one.result == "error"] == []
    assert {"nas.write", "nas.names", "nas.group", "nas.clock"} <= {
        name for name, one in seen.items() if one.result == "ok"
    }
    assert sorted(run.rglob("*")) == before
    assert used.leftovers() == []


def test_a_rehearsal_writes_nothing_to_the_nas(used: Lab) -> None:
    before = sorted((str(path), path.stat().st_mtime_ns) for path in used.nas.rglob("*"))
    root = used.nas.stat().st_mtime_ns
    state = sorted(used.state.rglob("*"))
    assert result(used, "nas.write") == result(used, "state.lock") == "skipped"
    assert [path for path in sorted(used.state.rglob("*")) if path not in state and "sqlite3-" not in path.name] == []
    assert sorted((str(path), path.stat().st_mtime_ns) for path in used.nas.rglob("*")) == before
    assert used.nas.stat().st_mtime_ns == root


def test_a_rehearsal_before_the_first_pass_makes_nothing(lab: Lab) -> None:
    lab.state.mkdir()
    assert result(lab, "nas.reach") == "skipped"
    assert [*lab.state.iterdir()] == []
    assert result(lab, "nas.write", writes=True) == "ok"


def test_every_error_of_a_broken_configuration_is_named_and_other_checks_go_on(lab: Lab) -> None:
    lab.config_path.write_text("[orchestrator]\nstaging_root = 3\nodd = 1\n")
    computer = Computer(config_path=str(lab.config_path), now=NOW)
    seen = list(doctor.examine(computer))
    errors = [one for one in seen if one.check == "config.file"]
    assert len(errors) >= 3
    assert all(one.result == "error" for one in errors)
    assert {one.result for one in seen if one.check == "install.compiled"} <= {"ok", "warning"}
    assert {one.result for one in seen if one.check == "nas.reach"} == {"skipped"}


def test_without_a_configuration_the_way_to_one_is_told() -> None:
    why = ConfigInvalid("There is no configuration.", hint="exlab-orch init")
    first = next(iter(doctor.examine(Computer(config_path=None, now=NOW), why_no_file=why)))
    assert (first.check, first.result, first.fix) == ("config.file", "error", "exlab-orch init")


@pytest.mark.parametrize(
    ("results", "strict", "ill"),
    [
        (["ok", "skipped"], True, False),
        (["warning"], False, False),
        (["warning"], True, True),
        (["error"], False, True),
    ],
)
def test_errors_always_count_and_warnings_when_asked(results: list[str], strict: bool, ill: bool) -> None:
    findings = [Finding("a.b", one, "") for one in results]  # type: ignore[arg-type]
    assert doctor.is_ill(findings, strict=strict) is ill


def test_a_check_that_cannot_look_is_an_error_and_for_visitors_skipped() -> None:
    def closed() -> Iterator[Finding]:
        raise PermissionError(13, "Permission denied", "/x")
        yield

    def gone() -> Iterator[Finding]:
        raise StagingUnavailable("It is away.", hint="Mount it.")
        yield

    assert next(looked("a.b", closed, as_owner=None)).result == "error"
    assert [*looked("a.b", closed, as_owner="sudo -u x")] == [
        Finding("a.b", "skipped", "This user may not look there.", "sudo -u x")
    ]
    assert [*looked("a.b", gone, as_owner="sudo -u x")] == [Finding("a.b", "error", "It is away.", "Mount it.")]


def test_the_page_explains_every_check_and_no_other() -> None:
    assert set(re.findall(r"^\| `([a-z_.]+)` \|", PAGE, re.MULTILINE)) == set(doctor.CHECK_IDS)
    assert {name.partition(".")[0] for name in doctor.CHECK_IDS} == set(doctor.SECTIONS)


def test_every_id_in_the_code_is_one_of_the_list() -> None:
    modules = (config_checks, cron_checks, install_checks, nas_checks, place_checks, schedule_checks, visit)
    text = "".join(Path(str(module.__file__)).read_text() for module in modules)
    ids = set(re.findall(rf'"((?:{"|".join(doctor.SECTIONS)})\.[a-z_]+)"', text))
    assert ids == set(doctor.CHECK_IDS)


# -- configuration and secrets -------------------------------------------------------------------------------


def test_a_configuration_that_others_may_change_is_told(used: Lab) -> None:
    assert result(used, "config.mode") == "ok"
    used.config_path.chmod(0o664)
    assert result(used, "config.mode") == "warning"
    used.config_path.chmod(0o666)
    assert result(used, "config.mode") == "error"


def test_a_switched_off_orchestrator_is_told(used: Lab) -> None:
    assert result(used, "config.enabled") == "ok"
    used.orchestrator = "enabled = false"
    used.configure()
    assert result(used, "config.enabled") == "warning"


def test_equipment_without_a_nas_is_an_error_and_none_at_all_a_warning(used: Lab) -> None:
    assert result(used, "config.equipment") == "ok"
    used.equipment = ""
    used.configure()
    assert result(used, "config.equipment") == "warning"
    head = used.config_path.read_text().partition("[nas]")[0]
    used.config_path.write_text(head + EQUIPMENT)
    assert result(used, "config.equipment") == "error"


def test_an_open_seal_key_is_an_error(used: Lab) -> None:
    assert result(used, "secrets.seal_key") == "ok"
    (used.state / "seal.key").chmod(0o640)
    assert result(used, "secrets.seal_key") == "error"
    (used.state / "seal.key").chmod(0o600)
    (used.state / "seal.key").write_bytes(b"short")
    assert result(used, "secrets.seal_key") == "error"


def test_a_lost_seal_key_is_an_error_and_the_doctor_makes_no_new_one(used: Lab) -> None:
    key = used.state / "seal.key"
    key.unlink()
    seen = found(used, writes=True)
    assert seen["secrets.seal_key"].result == "error"
    assert seen["nas.reach"].message.endswith("first mend secrets.seal_key.")
    assert not key.exists()


def test_keys_and_hosts_of_a_nas_behind_ssh_are_looked_at(used: Lab) -> None:
    key, hosts = used.root / "id", used.root / "hosts"
    used.nas_table = (
        f'type = "rsync_ssh"\ntarget = "a@b"\npath = "/x"\nssh_key_path = "{key}"\nknown_hosts = "{hosts}"\nport = 1\n'
    )
    used.configure()
    checks = [config_checks.CHECKS[name] for name in ("secrets.ssh_key", "secrets.known_hosts")]
    person = visit.Visit(config_path=None, now=NOW, config=used.config)

    def results() -> list[str]:
        return [one.result for check in checks for one in check(person)]

    assert results() == ["error", "error"]
    key.touch(0o644)
    hosts.touch(0o666)
    hosts.chmod(0o666)
    assert results() == ["error", "error"]
    key.chmod(0o600)
    hosts.chmod(0o644)
    assert results() == ["ok", "ok"]
    assert isinstance(used.config.nas, RsyncNas)


def test_an_open_rclone_configuration_is_an_error(used: Lab) -> None:
    file = used.root / "rclone.conf"
    used.nas_table = f'type = "rclone"\nremote = "r"\npath = "x"\nconfig = "{file}"\n'
    used.configure()
    person = visit.Visit(config_path=None, now=NOW, config=used.config)
    check = config_checks.CHECKS["secrets.rclone_config"]
    assert [one.result for one in check(person)] == ["error"]
    file.touch()
    file.chmod(0o644)
    assert [one.result for one in check(person)] == ["error"]
    file.chmod(0o600)
    assert [one.result for one in check(person)] == ["ok"]


# -- user, state directory -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "me", "expected"), [(7, 7, "ok"), (0, 0, "warning"), (7, 8, "skipped"), (7, 0, "skipped")]
)
def test_it_is_told_who_runs_the_passes(
    used: Lab, monkeypatch: pytest.MonkeyPatch, owner: int, me: int, expected: str
) -> None:
    monkeypatch.setattr(visit.Visit, "owner", lambda _: owner)
    monkeypatch.setattr(os, "geteuid", lambda: me)
    person = visit.Visit(config_path="/c.toml", now=NOW, config=used.config)
    (one,) = place_checks.CHECKS["user.owner"](person)
    assert one.result == expected
    assert (expected == "skipped") is one.fix.startswith("sudo -u")


def test_a_visitor_is_told_the_command_and_no_lock_is_made(used: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visit.Visit, "is_owner", lambda _: False)
    before = sorted(used.state.rglob("*"))
    seen = found(used, writes=True)
    assert seen["nas.reach"].result == seen["state.lock"].result == "skipped"
    assert seen["nas.reach"].fix.startswith("sudo ")
    assert [path for path in sorted(used.state.rglob("*")) if path not in before and "sqlite" not in path.name] == []


def test_a_state_directory_that_is_missing_or_open_is_an_error(used: Lab) -> None:
    assert result(used, "state.folder") == "ok"
    used.state.chmod(0o777)
    assert result(used, "state.folder") == "error"
    used.orchestrator = ""
    used.state.chmod(0o755)
    used.state.rename(used.root / "elsewhere")
    seen = found(used)
    assert (seen["state.folder"].result, seen["state.disk"].result, seen["nas.reach"].result) == (
        "error",
        "skipped",
        "skipped",
    )


def test_a_state_directory_on_a_network_is_an_error(used: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    assert result(used, "state.disk") == "ok"
    monkeypatch.setattr(place_checks, "file_system", lambda _: "cifs")
    assert result(used, "state.disk") == "error"


@pytest.mark.parametrize(("free", "expected"), [(1 << 20, "error"), (100 << 20, "warning"), (1 << 40, "ok")])
def test_room_for_the_journal(free: int, expected: str) -> None:
    assert place_checks.state_space_finding(Space(1 << 41, free)).result == expected


def test_a_folder_that_does_not_lock_is_an_error(used: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    person = visit.Visit(config_path=None, now=NOW, config=used.config)
    check = place_checks.CHECKS["state.lock"]
    assert [one.result for one in check(person)] == ["ok"]
    monkeypatch.setattr(place_checks, "try_lock", lambda path: os.open(path, os.O_RDWR | os.O_CREAT))
    assert [one.result for one in check(person)] == ["error"]


def test_a_damaged_journal_is_an_error_and_is_left_alone(used: Lab) -> None:
    assert result(used, "state.journal") == "ok"
    file = used.state / "journal.sqlite3"
    for tail in ("-wal", "-shm"):
        file.with_name(file.name + tail).unlink(missing_ok=True)
    file.write_bytes(b"no journal " * 1000)
    seen = found(used, writes=True)
    assert [name for name, one in seen.items() if one.result == "error"] == ["state.journal"]
    assert file.read_bytes() == b"no journal " * 1000


def test_a_journal_of_another_version_is_an_error_and_is_left_alone(used: Lab) -> None:
    file = used.state / "journal.sqlite3"
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA user_version = 99")
    seen = found(used, writes=True)
    assert [name for name, one in seen.items() if one.result == "error"] == ["state.journal"]
    assert "another version of the program (99)" in seen["state.journal"].message
    assert [path.name for path in used.state.glob("*damaged*")] == []


@pytest.mark.parametrize("ours", ["journal.sqlite3", "damaged", "reserve"])
def test_what_root_put_into_the_state_directory_is_an_error(used: Lab, ours: str) -> None:
    (used.state / "damaged").mkdir()
    (used.state / "reserve").touch()
    assert result(used, "state.files") == "ok"
    (used.state / "notes of a person").touch()
    os.chown(used.state / "notes of a person", 4321, -1)
    assert result(used, "state.files") == "ok"
    os.chown(used.state / ours, 4321, -1)
    one = found(used)["state.files"]
    assert one.result == "error"
    assert ours in one.message
    assert one.fix.startswith(f"sudo chown -R root {used.state} && ")


def test_a_closed_state_directory_is_not_taken_for_a_new_one(used: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    monkeypatch.setattr(visit.Visit, "is_owner", lambda _: False)
    monkeypatch.setattr(schedule_checks, "journal_of", lambda _: memory_journal())
    seen = found(used)
    for check in ("state.lock", "state.journal", "schedule.recent"):
        assert seen[check].result == "skipped"
        assert "exlab-orch" in seen[check].fix


# -- staging -------------------------------------------------------------------------------------------------


def test_staging_that_is_away_is_an_error(used: Lab) -> None:
    assert result(used, "staging.folder") == "ok"
    used.staging.rename(used.root / "away")
    assert result(used, "staging.folder") == "error"
    used.staging.mkdir()
    assert "is not the one that was used before" in found(used)["staging.folder"].message


def test_staging_that_may_not_be_written_is_an_error(used: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda _path, mode: mode != os.W_OK)
    assert result(used, "staging.folder") == "error"


def test_a_run_that_the_user_of_the_passes_may_not_write_in_is_an_error(
    used: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = used.push()
    assert result(used, "staging.rights") == "ok"
    monkeypatch.setattr(place_checks, "_missing_rights", lambda folder: "write" if folder == str(run) else "")
    one = found(used)["staging.rights"]
    assert one.result == "error"
    assert f"may not write in {run}." in one.message


def test_what_needs_staging_is_skipped_when_staging_is_away(used: Lab) -> None:
    used.staging.rename(used.root / "away")
    seen = found(used, writes=True)
    assert [name for name, one in seen.items() if one.result == "error"] == ["staging.folder"]
    assert seen["staging.strays"].message == "It was not looked at: first mend staging.folder."


def test_staging_that_another_computer_drives_is_an_error(lab: Lab) -> None:
    assert result(lab, "staging.owner") == "skipped"
    lab.poll()
    assert result(lab, "staging.owner") == "ok"
    file = lab.staging / ".exlab-orch/owner.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "machine": "another"}))
    assert result(lab, "staging.owner") == "error"


def test_an_equipment_folder_on_another_mount_is_an_error(used: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    (used.staging / "FLOW_01").mkdir()
    assert result(used, "staging.filesystem") == "ok"
    real = locate
    monkeypatch.setattr(
        place_checks, "locate", lambda path: replace(real(path), mount=1 if path.endswith("FLOW_01") else 2)
    )
    assert "FLOW_01" in found(used)["staging.filesystem"].message
    assert result(used, "staging.filesystem") == "error"


@pytest.mark.parametrize(
    ("free", "left", "mark", "expected"),
    [
        (0, None, 0, "error"),
        (50, 3600.0, 0, "warning"),
        (50, None, 60, "warning"),
        (100, None, 100, "warning"),
        (4, None, 0, "warning"),
        (50, 1e6, 0, "ok"),
    ],
)
def test_room_for_runs(free: int, left: float | None, mark: int, expected: str) -> None:
    assert place_checks.staging_space_finding(Space(100, free), left, mark).result == expected


def test_strays_are_named_as_far_as_a_person_reads() -> None:
    strays = tuple(Stray(f"odd{number}", "not_a_run", "", "Move it.") for number in range(5))
    one = place_checks.strays_finding(strays)
    assert (one.result, one.fix) == ("warning", "Move it.")
    assert "odd2 and 2 more" in one.message
    assert place_checks.strays_finding(()).result == "ok"


# -- the NAS -------------------------------------------------------------------------------------------------


def test_a_missing_nas_is_an_error_and_what_depends_on_it_is_skipped(used: Lab) -> None:
    used.nas.rename(used.root / "away")
    seen = found(used, writes=True)
    assert seen["nas.reach"].result == "error"
    assert {seen[name].result for name in nas_checks.IDS if name != "nas.reach"} == {"skipped"}


def test_a_wrong_marker_is_an_error_and_nothing_is_written(used: Lab) -> None:
    assert result(used, "nas.marker") == "ok"
    (used.nas / ".exlab-nas").write_text("another\n")
    before = used.nas.stat().st_mtime_ns
    seen = found(used, writes=True)
    assert (seen["nas.marker"].result, seen["nas.write"].result) == ("error", "skipped")
    assert used.nas.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("space", "expected"),
    [(None, "skipped"), (Space(100, 5), "error"), (Space(100, 8), "warning"), (Space(100, 50), "ok")],
)
def test_room_on_the_nas(space: Space | None, expected: str) -> None:
    assert nas_checks.space_finding(space, 5).result == expected


NAS = MountNas(root="/nas", names="strict")


def trial(*ticks: Tick, findings: Sequence[Finding] = ()) -> list[Finding]:
    return [*nas_checks.trial_findings(NAS, Trial("/nas", (), ticks, tuple(findings)))]


def test_a_step_that_fails_is_told_with_its_hint() -> None:
    error = Problem(NasFull.code, "It is full.", "Free space.")
    write, names, group = trial(Tick("copied", "failed", error=error))
    assert (write.result, write.fix) == ("error", "Free space.")
    assert "copied: nas_full: It is full." in write.message
    assert (names.result, group.result) == ("skipped", "skipped")


def test_what_an_earlier_self_test_left_and_cannot_be_removed_is_told(used: Lab) -> None:
    nas = used.config.nas
    assert nas is not None
    with used.station() as station:
        plan = make_plan(nas.name, 10, NOW)
        save_plan(station.state.path, plan)
    theirs = used.staging / f".exlab-orch/selftest/{plan.id}/notes.txt"
    theirs.parent.mkdir(parents=True)
    theirs.touch()
    computer = Computer(config_path=str(used.config_path), now=NOW)
    (told,) = [one for one in doctor.examine(computer) if one.check == "nas.write" and one.result == "warning"]
    assert "notes.txt" in told.message
    assert theirs.exists()


def test_what_the_configured_names_mean_is_told() -> None:
    write, names, group = trial(Tick("copied", "ok"), findings=[Finding("selftest.names", "ok", "All can be held.")])
    assert (write.result, names.check, group.check) == ("ok", "nas.names", "nas.group")
    assert 'names = "strict"' in names.message


@pytest.mark.parametrize(
    ("stamp", "skew"), [(1000.0, 0.0), (998.5, 0.0), (1011.0, 0.0), (900.0, -100.0), (1310.0, 300.0)]
)
def test_a_time_of_the_nas_outside_the_span_is_its_skew(stamp: float, skew: float) -> None:
    assert nas_checks.skew_seconds(1000.0, 1010.0, stamp) == skew


def test_a_clock_that_is_far_off_is_a_warning() -> None:
    assert [nas_checks.clock_finding(skew).result for skew in (0, 30, 61, -300)] == ["ok", "ok", "warning", "warning"]
    assert "behind" in nas_checks.clock_finding(-300).message


# -- the schedule --------------------------------------------------------------------------------------------

CRON = ActiveSchedule("cron", "/etc/cron.d/exlab-orch", "/opt/exlab-orch poll")
TIMER = ActiveSchedule("timer", "/etc/systemd/system/exlab-orch.timer", "/opt/exlab-orch -c /c.toml poll")


@pytest.mark.parametrize(
    ("active", "expected"), [([], "warning"), ([CRON], "ok"), ([TIMER, TIMER], "ok"), ([CRON, TIMER], "error")]
)
def test_exactly_one_kind_of_schedule_starts_passes(active: list[ActiveSchedule], expected: str) -> None:
    assert schedule_checks.active_finding(active, sees_all=True).result == expected


def test_a_service_that_watches_makes_passes_too() -> None:
    service = ActiveSchedule("timer", "/etc/systemd/system/lab.service", "exlab-orch watch")
    look = ActiveSchedule("timer", "/look.timer", "exlab-orch poll --only evaluate --only=cleanup")
    one = schedule_checks.active_finding([], [service], sees_all=True)
    assert (one.result, "lab.service" in one.message) == ("ok", True)
    assert schedule_checks.active_finding([look], [service], sees_all=True).result == "ok"


def test_a_timer_that_only_looks_is_an_error() -> None:
    look = ActiveSchedule("timer", "/look.timer", "exlab-orch poll --only evaluate --only=cleanup")
    one = schedule_checks.active_finding([look], sees_all=True)
    assert one.result == "error"
    assert one.message == "Nothing that is started copies runs to the NAS: there is only /look.timer."
    copy = ActiveSchedule("timer", "/copy.timer", "exlab-orch poll --only sync")
    assert schedule_checks.active_finding([look, copy], sees_all=True).result == "ok"


def test_it_is_told_how_to_switch_each_of_two_schedules_off() -> None:
    files: list[tuple[Kind, str]] = [
        ("cron", "/etc/cron.d/lab"),
        ("cron", "the crontab of ann"),
        ("timer", "/etc/systemd/system/x.timer"),
    ]
    both = [ActiveSchedule(kind, file, "exlab-orch poll") for kind, file in files]
    fix = schedule_checks.active_finding(both, sees_all=True).fix
    assert "sudo rm /etc/cron.d/lab && sudo crontab -u ann -e ; " in fix
    assert fix.endswith("sudo systemctl disable --now x.timer")


def test_the_crontab_of_the_user_who_asks_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    monkeypatch.setattr(schedule_checks, "active_schedules", lambda _: ())
    lines = b"# mine\n* * * * * /usr/bin/exlab-orch poll\n"
    monkeypatch.setattr(schedule_checks, "run_tool", lambda *_, **_more: Ended(0, lines, ()))
    (one,) = schedule_checks.ours(visit.Computer(config_path=None, now=NOW))
    assert (one.kind, one.program) == ("cron", "/usr/bin/exlab-orch poll")


def test_who_does_not_see_every_crontab_is_told_so() -> None:
    assert "only root sees" in schedule_checks.active_finding([], sees_all=False).message


def test_a_schedule_that_names_a_missing_program_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "opt").mkdir()
    assert schedule_checks.programs_finding([TIMER], str(tmp_path)).result == "error"
    (tmp_path / "opt/exlab-orch").touch()
    assert "/c.toml" in schedule_checks.programs_finding([TIMER], str(tmp_path)).message
    (tmp_path / "c.toml").touch()
    assert schedule_checks.programs_finding([TIMER], str(tmp_path)).result == "ok"
    (tmp_path / "opt/exlab-orch").write_text("#!/opt/.venv/bin/python\n")
    assert "/opt/.venv/bin/python, which" in schedule_checks.programs_finding([TIMER], str(tmp_path)).message


@dataclass(frozen=True)
class Last:
    """When the last pass was, and what there is besides."""

    seconds: float | None
    busy: bool = False
    scheduled: bool = True


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (Last(60), "ok"),
        (Last(3600), "error"),
        (Last(-3600), "error"),
        (Last(None), "error"),
        (Last(3600, busy=True), "ok"),
        (Last(3600, scheduled=False), "warning"),
    ],
)
def test_the_last_pass_is_recent(last: Last, expected: str) -> None:
    at = None if last.seconds is None else NOW - timedelta(seconds=last.seconds)
    assert schedule_checks.recent_finding(at, NOW, is_busy=last.busy, is_scheduled=last.scheduled).result == expected


def test_a_crontab_that_no_longer_follows_the_configuration_is_a_warning(used: Lab) -> None:
    from exlab_orch import schedule_install  # noqa: PLC0415

    system = used.root / "system"
    (system / "etc/cron.d").mkdir(parents=True)
    passes = schedule_install.passes_here(used.config, str(used.config_path))
    schedule_install.install("cron", passes, root=str(system))
    assert (result(used, "schedule.active"), result(used, "schedule.follows")) == ("ok", "ok")
    file = next((system / "etc/cron.d").iterdir())
    file.unlink()
    schedule_install.install("cron", replace(passes, state_dir="/elsewhere", user="nobody"), root=str(system))
    assert result(used, "schedule.follows") == "warning"


# -- installation --------------------------------------------------------------------------------------------


def test_a_program_that_cannot_be_compiled_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    one = install_checks.compiled_finding(str(tmp_path))
    assert (one.result, "compileall" in one.fix) == ("warning", True)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / f"__pycache__/a.{sys.implementation.cache_tag}.pyc").touch()
    assert install_checks.compiled_finding(str(tmp_path)).result == "ok"


@pytest.mark.parametrize(
    ("user", "is_told", "why", "sudo"),
    [(0, True, "told not to keep what it compiles", False), (1000, False, "this user may not write there", True)],
)
def test_why_the_program_is_not_compiled_is_true_for_root_and_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, is_told: bool, why: str, sudo: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(os, "access", lambda _path, _mode: user == 0)
    monkeypatch.setattr(sys, "dont_write_bytecode", is_told)
    one = install_checks.compiled_finding(str(tmp_path))
    assert (why in one.message, "cannot be" in one.message, one.fix.startswith("sudo ")) == (True, False, sudo)


def test_a_clock_that_no_server_sets_is_a_warning(tmp_path: Path) -> None:
    folder = tmp_path / "timesync"
    assert install_checks.time_finding(str(folder)).result == "skipped"
    folder.mkdir()
    assert install_checks.time_finding(str(folder)).result == "warning"
    (folder / "synchronized").touch()
    assert install_checks.time_finding(str(folder)).result == "ok"


def test_a_missing_rclone_is_an_error(used: Lab) -> None:
    used.nas_table = f'type = "rclone"\nremote = "r"\npath = "x"\nrclone_path = "{used.root}/rclone"\n'
    used.configure()
    person = visit.Visit(config_path=None, now=NOW, config=used.config)
    assert [one.result for one in install_checks.CHECKS["tools.rclone"](person)] == ["error"]


def test_programs_are_looked_for_only_where_a_nas_needs_them(used: Lab) -> None:
    assert not {"tools.rclone", "tools.rsync", "tools.ssh"} & found(used).keys()


def _missing() -> str:
    raise ToolMissing("It is not installed.", hint="apt install")


def test_rsync_and_ssh_are_told_with_their_versions_or_missed(used: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    used.nas_table = 'type = "rsync_ssh"\ntarget = "a@b"\npath = "/x"\nssh_key_path = "/k"\nknown_hosts = "/h"\n'
    used.configure()
    person = visit.Visit(config_path=None, now=NOW, config=used.config)
    check = install_checks.CHECKS["tools.rsync"]
    monkeypatch.setattr(install_checks, "installed_rsync", lambda: "/usr/bin/rsync is rsync 3.2.7")
    monkeypatch.setattr(install_checks, "installed_ssh", _missing)
    assert [(one.check, one.result, one.fix) for one in check(person)] == [
        ("tools.rsync", "ok", ""),
        ("tools.ssh", "error", "apt install"),
    ]


def test_an_rclone_that_is_there_is_told_with_its_version(used: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    used.nas_table = 'type = "rclone"\nremote = "r"\npath = "x"\n'
    used.configure()
    person = visit.Visit(config_path=None, now=NOW, config=used.config)
    monkeypatch.setattr(install_checks, "installed_rclone", lambda _: ("/usr/bin/rclone", "1.66"))
    (one,) = install_checks.CHECKS["tools.rclone"](person)
    assert (one.result, one.message) == ("ok", "/usr/bin/rclone is rclone 1.66.")


def test_a_schedule_of_another_configuration_is_not_ours(used: Lab) -> None:
    folder = used.root / "system/etc/cron.d"
    folder.mkdir(parents=True)
    (folder / "other").write_text("* * * * * root /opt/exlab-orch -c /another.toml poll\n")
    assert result(used, "schedule.active") == "warning"
    me = groups.user_name(os.geteuid())
    (folder / "ours").write_text(f"* * * * * {me} /opt/exlab-orch -c {used.config_path} poll\n")
    assert result(used, "schedule.active") == "ok"
