"""What a schedule is filled in with: users, paths with odd characters, and no more rights than its NAS needs."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from exlab_orch.config import Config
from exlab_orch.config_nas import MountNas
from exlab_orch.schedule import active_schedules, cron_entry
from exlab_orch.schedule_files import (
    TIMERS,
    VERIFY_TIMER,
    Passes,
    ScheduleFile,
    configuration_of,
    cron_file,
    passes_of,
    unit_files,
    writable_folder,
    written_by,
)
from tests.oracle import require_program

ROOT = Path(__file__).parents[1]
MOUNT: Mapping[str, object] = {"root": "/mnt/nas/lab"}
RCLONE: Mapping[str, object] = {
    "type": "rclone",
    "remote": "far",
    "path": "lab",
    "config": "/etc/exlab-orch/rclone.conf",
}
SSH: Mapping[str, object] = {
    "type": "rsync_ssh",
    "target": "lab@nas",
    "path": "/srv/lab",
    "ssh_key_path": "/etc/exlab-orch/key",
    "known_hosts": "/etc/exlab-orch/hosts",
}
ODD = "/srv/50% \"lab\" $HOME 'a' \\x;y"


def passes(
    nas: Mapping[str, object] | None = None,
    *,
    staging: str = "/srv/staging",
    config: str = "/etc/exlab-orch/config.toml",
    program: tuple[str, ...] = ("/usr/bin/true",),
    user: str = "exlab-orch",
    state: str = "/var/lib/exlab-orch",
) -> Passes:
    tables = {"orchestrator": {"staging_root": staging, "state_dir": state}, "nas": MOUNT if nas is None else nas}
    made = Config.model_validate(tables)
    return passes_of(made, config, program=program, user=user, mount_points=["/", "/mnt/nas/lab"])


def settings(file: ScheduleFile) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in file.content.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def service(given: Passes, name: str = "exlab-orch-copy") -> dict[str, list[str]]:
    return next(settings(file) for file in unit_files(given) if file.path.endswith(f"/{name}.service"))


def unit_words(value: str) -> list[str]:
    """The words of a setting as systemd reads them: quotes and backslashes as in C, specifiers, and variables."""
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(value)]


# -- cron ----------------------------------------------------------------------------------------------------


def last_line(file: ScheduleFile) -> str:
    return file.content.splitlines()[-1]


def test_the_line_of_cron_starts_the_program_as_the_user() -> None:
    assert last_line(cron_file(passes())).split() == ["*"] * 5 + ["exlab-orch", "/usr/bin/true", "poll"]
    assert cron_file(passes()).path == "/etc/cron.d/exlab-orch"
    assert cron_file(passes()).content.endswith("\n"), "cron passes over a last line that is cut short"


@pytest.mark.parametrize("odd", ["/srv/my lab/c.toml", "/srv/50%.toml", ODD, "/srv/#x/c.toml", "/srv/100%% a.toml"])
def test_the_line_of_cron_gives_the_shell_the_very_paths(odd: str) -> None:
    line = last_line(cron_file(passes(config=odd, program=(f"{odd}/exlab-orch",))))
    found = cron_entry(line, names_user=True)
    assert found is not None
    assert shlex.split(found[1]) == [f"{odd}/exlab-orch", "-c", odd, "poll"]


# -- units ---------------------------------------------------------------------------------------------------


def test_there_are_three_services_with_a_timer_each() -> None:
    names = [Path(file.path).name for file in unit_files(passes())]
    timers = [name for name in names if name.endswith(".timer")]
    assert timers == [*TIMERS, VERIFY_TIMER]
    assert {f"{Path(name).stem}.service" for name in timers} <= set(names)
    assert all(file.path.startswith("/etc/systemd/system/exlab-orch-") for file in unit_files(passes()))


def test_the_archive_is_read_again_with_the_same_words_by_cron_and_by_systemd() -> None:
    odd = "/srv/50% lab/c.toml"
    (offered,) = [line for line in cron_file(passes(config=odd)).content.splitlines() if "verify --all" in line]
    entry = cron_entry(offered.removeprefix("# "), names_user=True)
    assert entry is not None
    (by_systemd,) = service(passes(config=odd), "exlab-orch-verify")["ExecStart"]
    assert shlex.split(entry[1]) == unit_words(by_systemd)
    shipped = (ROOT / "contrib/cron/exlab-orch-verify").read_text().splitlines()[-1].split()
    assert shipped[:6] == offered.split()[1:7]
    assert shipped[7:] == shlex.split(entry[1])[3:]


def test_a_night_in_which_the_computer_was_off_is_made_up_for() -> None:
    timers = {Path(file.path).name: settings(file) for file in unit_files(passes()) if file.path.endswith(".timer")}
    assert timers[VERIFY_TIMER]["Persistent"] == ["yes"]
    assert all("Persistent" not in timers[name] for name in TIMERS)


def test_the_journal_holds_only_news_and_whatever_keeps_the_program_from_starting() -> None:
    found = service(passes())
    assert found["LogLevelMax"] == ["notice"], "systemd tells at info that a service was started and has ended"
    assert found["SyslogLevel"] == ["warning"], "a traceback of Python has no priority, and would be left out at info"


def test_the_two_services_together_do_what_a_pass_does() -> None:
    words = [unit_words(service(passes(), Path(name).stem)["ExecStart"][0]) for name in TIMERS]
    phases = {word for line in words for before, word in itertools.pairwise(line) if before == "--only"}
    assert phases == {"evaluate", "sync", "cleanup"}
    assert "--max-duration" in words[0], "a proof of hours must not keep new runs from being seen"
    assert "--max-duration" not in words[1]


@pytest.mark.parametrize("odd", ["/srv/my lab", "/srv/50%h", ODD])
def test_units_name_the_very_paths(odd: str) -> None:
    found = service(passes(staging=odd, config=f"{odd}/c.toml", program=(f"{odd}/exlab-orch",)))
    assert unit_words(found["ExecStart"][0])[:4] == [f"{odd}/exlab-orch", "-c", f"{odd}/c.toml", "poll"]
    (writable,) = shlex.split(found["ReadWritePaths"][0])
    assert writable.replace("%%", "%") == f"-{odd}", "no variables are known there"


def test_the_writable_paths_follow_the_configuration() -> None:
    assert service(passes(staging="/data/in", state="/data/state"))["ReadWritePaths"] == [
        "-/data/in",
        "-/data/state",
        "-/mnt/nas",
    ]
    assert service(passes(SSH))["ReadWritePaths"] == ["-/srv/staging", "-/var/lib/exlab-orch"]


@pytest.mark.parametrize(
    ("root", "points", "folder"),
    [
        ("/mnt/nas/lab", ["/", "/mnt/nas/lab"], "/mnt/nas"),
        ("/mnt/nas/lab/in", ["/", "/mnt/nas"], "/mnt"),
        ("/nas", ["/", "/nas"], "/nas"),
        ("/mnt/nas/lab", ["/", "/mnt/nas/laboratory"], "/mnt/nas"),
        ("/mnt/nas/lab", ["/", "/mnt", "/mnt/nas/lab"], "/mnt/nas"),
    ],
)
def test_systemd_never_looks_at_the_nas_itself(root: str, points: list[str], folder: str) -> None:
    assert writable_folder(MountNas(root=root), points) == folder


def test_a_nas_that_is_a_plain_folder_is_opened_alone() -> None:
    assert writable_folder(MountNas(root="/tmp/trial/nas", require_mount=False), ["/"]) == "/tmp/trial/nas"


def test_only_a_nas_that_a_program_reaches_needs_the_network() -> None:
    mounted, far = service(passes()), service(passes(RCLONE))
    assert mounted["PrivateNetwork"] == ["yes"]
    assert mounted["RestrictAddressFamilies"] == ["AF_UNIX"]
    assert "PrivateNetwork" not in far
    assert far["RestrictAddressFamilies"] == ["AF_UNIX AF_INET AF_INET6"]


def test_openat2_and_setgid_folders_are_not_forbidden() -> None:
    """systemd answers ENOSYS to openat2 where it restricts setuid and setgid bits."""
    for nas in (MOUNT, RCLONE, SSH):
        assert "RestrictSUIDSGID" not in service(passes(nas))


def test_what_lies_in_a_home_folder_or_in_tmp_stays_reachable() -> None:
    plain = service(passes())
    assert (plain["ProtectHome"], plain["PrivateTmp"]) == (["yes"], ["yes"])
    assert service(passes(program=("/home/lab/venv/bin/exlab-orch",)))["ProtectHome"] == ["read-only"]
    assert service(passes(staging="/tmp/staging"))["PrivateTmp"] == ["no"]
    assert service(passes({**SSH, "ssh_key_path": "/root/key"}))["ProtectHome"] == ["read-only"]


def test_root_keeps_what_it_needs_to_read_the_files_of_others() -> None:
    assert service(passes())["CapabilityBoundingSet"] == [""]
    assert "CAP_DAC_OVERRIDE" in service(passes(user="root"))["CapabilityBoundingSet"][0]


def test_a_nas_that_is_away_does_not_keep_a_pass_from_starting() -> None:
    found = service(passes())
    assert found["RequiresMountsFor"] == ["/var/lib/exlab-orch"]
    assert all(path.startswith("-") for path in found["ReadWritePaths"])
    assert not {"Requires", "BindsTo", "ConditionPathExists", "ConditionPathIsMountPoint"} & found.keys()


def test_a_locked_run_and_a_stop_are_no_failures_and_a_long_copy_is_no_timeout() -> None:
    found = service(passes())
    assert found["SuccessExitStatus"] == ["75 143"]
    assert found["TimeoutStartSec"] == ["infinity"]
    assert found["Type"] == ["oneshot"]


# -- what systemd says ---------------------------------------------------------------------------------------

KINDS = {"mount": MOUNT, "rclone": RCLONE, "rsync": SSH}


def put(folder: Path, given: Passes) -> list[Path]:
    paths = [folder / Path(file.path).name for file in unit_files(given)]
    for path, file in zip(paths, unit_files(given), strict=True):
        path.write_text(file.content)
    return paths


def analyzed(*words: str | Path) -> subprocess.CompletedProcess[str]:
    program = require_program("systemd-analyze")
    return subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("nas", KINDS)
@pytest.mark.parametrize("odd", ["/srv/staging", ODD])
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path, nas: str, odd: str) -> None:
    verified = analyzed("verify", *put(tmp_path, passes(KINDS[nas], staging=odd, config=f"{odd}/c.toml")))
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


@pytest.mark.parametrize("nas", KINDS)
def test_the_services_are_as_little_exposed_as_promised(tmp_path: Path, nas: str) -> None:
    for path in put(tmp_path, passes(KINDS[nas])):
        if path.suffix == ".service":
            judged = analyzed("security", "--offline=true", "--threshold=20", "--no-pager", path)
            assert judged.returncode == 0, judged.stdout


def test_every_timer_of_passes_starts_within_a_minute(tmp_path: Path) -> None:
    for file in [file for file in unit_files(passes()) if Path(file.path).name in TIMERS]:
        for when in settings(file).get("OnCalendar", []):
            shown = analyzed("calendar", "--iterations=3", "--base-time=2026-04-17 14:32:10 UTC", when)
            times = re.findall(r"(?:Next elapse|\(in UTC\)|Iter\. #\d): .*?(\d\d:\d\d:\d\d)", shown.stdout)
            assert len({time[:5] for time in times}) == 3, shown.stdout


# -- whose file it is ----------------------------------------------------------------------------------------


def test_a_file_tells_whether_it_was_edited() -> None:
    for file in (cron_file(passes()), *unit_files(passes())):
        assert written_by(file.content) == "ours"
        assert written_by(file.content + "# a note\n") == "edited"
        assert written_by(file.content.replace("exlab-orch", "root")) in ("edited", "foreign")
        assert written_by(file.content.partition("\n")[2]) == "foreign"
        assert configuration_of(file.content) == "/etc/exlab-orch/config.toml"


# -- what is shipped -----------------------------------------------------------------------------------------


def test_the_plain_files_are_what_the_command_prints_today(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, ROOT / "contrib/make_schedules.py", tmp_path],
        check=True,
        capture_output=True,
        cwd=ROOT,
        timeout=60,
    )
    fresh = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    shipped = {name: (ROOT / "contrib" / name).read_text() for name in fresh}
    assert fresh == shipped, "run contrib/make_schedules.py"
    assert len(list((ROOT / "contrib/systemd").iterdir())) == 6


def test_the_plain_units_are_found_as_a_schedule_once_they_are_enabled(tmp_path: Path) -> None:
    units = tmp_path / "etc/systemd/system"
    (units / "timers.target.wants").mkdir(parents=True)
    for path in (ROOT / "contrib/systemd").iterdir():
        (units / path.name).write_text(path.read_text())
    for name in TIMERS:
        (units / "timers.target.wants" / name).symlink_to(f"/etc/systemd/system/{name}")
    assert [one.kind for one in active_schedules(str(tmp_path))] == ["timer", "timer"]


def test_the_user_and_the_folders_are_those_of_the_readme(tmp_path: Path) -> None:
    require_program("systemd-sysusers")
    users = ROOT / "contrib/sysusers.d/exlab-orch.conf"
    made = subprocess.run(
        ["systemd-sysusers", "--dry-run", users], capture_output=True, text=True, check=False, timeout=60
    )
    assert made.returncode == 0, made.stderr
    line = next(line for line in users.read_text().splitlines() if line.startswith("u"))
    assert shlex.split(line)[1] == passes().user
    assert shlex.split(line)[4:] == ["/var/lib/exlab-orch", "/usr/sbin/nologin"]


def test_the_folders_are_made_with_their_modes(tmp_path: Path) -> None:
    program = require_program("systemd-tmpfiles")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(
        f"exlab-orch:x:{tmp_path.stat().st_uid}:{tmp_path.stat().st_gid}::/:/bin/false\n"
    )
    (tmp_path / "etc/group").write_text(f"exlab-orch:x:{tmp_path.stat().st_gid}:\n")
    rules = tmp_path / "rules.conf"
    text = (ROOT / "contrib/tmpfiles.d/exlab-orch.conf").read_text()
    rules.write_text("\n".join(line for line in text.splitlines() if " root " not in line) + "\n")
    made = subprocess.run(
        [program, "--create", f"--root={tmp_path}", rules], capture_output=True, text=True, check=False, timeout=60
    )
    assert made.returncode == 0, made.stderr
    modes = {name: (tmp_path / name).stat().st_mode & 0o7777 for name in ("srv/staging", "var/lib/exlab-orch")}
    assert modes == {"srv/staging": 0o2775, "var/lib/exlab-orch": 0o755}
