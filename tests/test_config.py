"""Every configuration key wrong in every way: refused with file, line, key, and what is allowed; all at once."""

from __future__ import annotations

import grp
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from exlab_orch.config import Config, Equipment, Orchestrator, StagingCleanup, find_config, load_config, parse_config
from exlab_orch.config_errors import ConfigError, ConfigFileInvalid
from exlab_orch.config_file import effective_toml
from exlab_orch.config_nas import MountNas
from exlab_orch.errors import EXIT_CONFIG, ConfigInvalid
from tests.files.privilege import ordinary_user

GOOD = """\
[orchestrator]
staging_root = "/srv/staging"
state_dir = "/var/lib/exlab-orch"

[orchestrator.staging_cleanup]
mode = "manual"

[nas]
root = "/mnt/nas/lab"

[sync]
workers = 2

[[equipment]]
id = "CONFOCAL_01"
completeness_signal = "sentinel_file"
sentinel_filename = "run_complete"
"""


def errors_of(text: str) -> tuple[ConfigError, ...]:
    with pytest.raises(ConfigFileInvalid) as caught:
        parse_config(text.encode(), "/etc/lab.toml")
    assert caught.value.exit_status == EXIT_CONFIG
    assert caught.value.message == "\n".join(map(str, caught.value.errors))
    return caught.value.errors


def only_error(text: str) -> ConfigError:
    (error,) = errors_of(text)
    return error


def with_line(after: str, line: str) -> str:
    """The good configuration with one more line behind the one that begins with ``after``."""
    lines = GOOD.splitlines()
    at = next(number for number, known in enumerate(lines) if known.startswith(after))
    return "\n".join([*lines[: at + 1], line, *lines[at + 1 :]])


def without(key: str) -> str:
    return "\n".join(line for line in GOOD.splitlines() if not line.startswith(f"{key} ="))


def test_the_smallest_configuration_gets_the_documented_defaults() -> None:
    config = parse_config(GOOD.encode(), "lab.toml")
    assert config.orchestrator.enabled
    assert config.orchestrator.staging_cleanup.mode == "manual"
    assert config.orchestrator.staging_cleanup.retain_hours == 24
    assert config.orchestrator.staging_cleanup.proof == "reread"
    assert config.sync.parallel_runs == 2
    assert config.sync.on_change == "version"
    (confocal,) = config.equipment
    assert confocal.sentinels == ("run_complete",)
    assert confocal.failed_patterns == ()
    assert (confocal.settle_seconds, confocal.min_files, confocal.alert_after_hours) == (120, 1, 24)
    assert confocal.arrives_by == "smb_mount"
    assert config.nas is not None
    assert config.nas.marker_id is None
    assert config.nas.name == "/mnt/nas/lab"


TABLE_LINE = {
    "orchestrator": "[orchestrator]",
    "orchestrator.staging_cleanup": "[orchestrator.staging_cleanup]",
    "nas": "[nas]",
    "sync": "[sync]",
    "equipment[CONFOCAL_01]": "id =",
}


@pytest.mark.parametrize(
    ("table", "line", "allowed"),
    [
        ("orchestrator", 'enabled = "yes"', "true or false"),
        ("orchestrator", "enabled = 1", "true or false"),
        ("orchestrator", "label = 5", "one line of text"),
        ("orchestrator", 'label = "two\\nlines"', "one line of text"),
        ("orchestrator", f'label = "{"x" * 201}"', "one line of text"),
        ("orchestrator.staging_cleanup", "retain_hours = -1", "a number, at least 0, at most 87600"),
        ("orchestrator.staging_cleanup", 'retain_hours = "24"', "a number"),
        ("orchestrator.staging_cleanup", "retain_hours = true", "a number"),
        ("orchestrator.staging_cleanup", "retain_hours = nan", "a number"),
        ("orchestrator.staging_cleanup", "retain_hours = inf", "a number"),
        ("orchestrator.staging_cleanup", 'proof = "never"', '"reread" or "recent"'),
        ("orchestrator.staging_cleanup", 'proof_max_age = "7d"', 'proof = "recent" beside it'),
        ("nas", 'type = "sftp"', '"mount" or "rclone" or "rsync_ssh"'),
        ("nas", "marker_id = 5", "nas-init"),
        ("nas", 'marker_id = "a b"', "nas-init"),
        ("nas", 'require_mount = "no"', "true or false"),
        ("nas", "group = 100", "the name of a group"),
        ("nas", 'group = ""', "the name of a group"),
        ("nas", "dir_mode = 2775", 'octal text such as "2775"'),
        ("nas", 'dir_mode = "rwxrwxr-x"', "octal text"),
        ("nas", 'dir_mode = "6775"', "octal text"),
        ("nas", 'dir_mode = "0077"', "octal text"),
        ("nas", 'file_mode = "4755"', "octal text"),
        ("nas", 'file_mode = "2755"', "octal text"),
        ("nas", 'file_mode = "0077"', "octal text"),
        ("nas", "reserve_percent = 51", "a number, at least 0, at most 50"),
        ("sync", "parallel_runs = 0", "a whole number, at least 1, at most 16"),
        ("sync", "parallel_runs = 2.0", "a whole number"),
        ("sync", "parallel_runs = 17", "a whole number"),
        ("sync", 'on_change = "overwrite"', '"version" or "hold"'),
        ("sync", "upload_mbps = 0", "a number, more than 0"),
        ("sync", 'upload_mbps = "400"', "a number, more than 0"),
        ("sync", "upload_mbps = true", "a number, more than 0"),
        ("sync", "upload_mbps = inf", "a number, more than 0"),
        ("sync", "nice = 20", "a whole number, at least 0, at most 19"),
        ("sync", "nice = -1", "a whole number, at least 0"),
        ("sync", 'ionice = "realtime"', '"best-effort-low" or "idle"'),
        ("equipment[CONFOCAL_01]", "label = ['a']", "one line of text"),
        ("equipment[CONFOCAL_01]", "manifest_filename = ''", "a file name"),
        ("equipment[CONFOCAL_01]", "manifest_filename = '*.json'", "a file name"),
        ("equipment[CONFOCAL_01]", "manifest_filename = '/m.json'", "a file name"),
        ("equipment[CONFOCAL_01]", "quiet_minutes = 0", "a number, more than 0"),
        ("equipment[CONFOCAL_01]", "min_files = 0", "a whole number, at least 1"),
        ("equipment[CONFOCAL_01]", "settle_seconds = -0.5", "a number, at least 0"),
        ("equipment[CONFOCAL_01]", "settle_seconds = 2024-01-01", "a number, at least 0"),
        ("equipment[CONFOCAL_01]", "failed_filename = []", "a file name or glob"),
        ("equipment[CONFOCAL_01]", "failed_filename = [1]", "a file name or glob"),
        ("equipment[CONFOCAL_01]", "failed_filename = 'logs\\fail'", "a file name or glob"),
        ("equipment[CONFOCAL_01]", "failed_filename = '../fail'", "a file name or glob"),
        ("equipment[CONFOCAL_01]", "alert_after_hours = 0", "a number, more than 0"),
        ("equipment[CONFOCAL_01]", "arrives_by = 'post'", '"smb_mount" or "file_transfer"'),
    ],
)
def test_a_wrong_value_is_refused_at_its_line_with_what_is_allowed(table: str, line: str, allowed: str) -> None:
    text = with_line(TABLE_LINE[table], line)
    error = only_error(text)
    assert error.file == "/etc/lab.toml"
    assert error.line == text.splitlines().index(line) + 1
    assert error.key == f"{table}.{line.split(' =', maxsplit=1)[0]}"
    assert allowed in error.allowed
    assert str(error).startswith(f"/etc/lab.toml:{error.line}: {error.key}: ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("staging_root", '"srv/staging"'),
        ("staging_root", '""'),
        ("staging_root", '"~/staging"'),
        ("staging_root", '"/srv/../staging"'),
        ("staging_root", '"/srv/sta\\u0000ging"'),
        ("staging_root", "5"),
        ("staging_root", "['/srv']"),
        ("state_dir", '"state"'),
        ("state_dir", '"/srv/staging"'),
        ("state_dir", '"/srv/staging/.state"'),
        ("root", '"nas"'),
        ("root", '"/srv/staging"'),
        ("root", '"/srv/staging/nas"'),
        ("root", '"/srv"'),
        ("root", '"/srv/./staging/"'),
        ("root", '"/var/lib"'),
        ("mode", '"sceduled"'),
        ("workers", "33"),
        ("workers", "true"),
        ("id", '"confocal_01"'),
        ("id", '"1CONFOCAL"'),
        ("id", '"A\\n"'),
        ("id", '"A/B"'),
        ("id", f'"{"A" * 33}"'),
        ("id", "7"),
        ("completeness_signal", '"magic"'),
        ("sentinel_filename", '"/run_complete"'),
        ("sentinel_filename", '"a/../b"'),
        ("sentinel_filename", '""'),
        ("sentinel_filename", '["ok", ""]'),
        ("sentinel_filename", "{ name = 'x' }"),
    ],
)
def test_a_wrong_required_value_is_refused_at_its_line(key: str, value: str) -> None:
    lines = GOOD.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith(f"{key} ="))
    lines[at] = f"{key} = {value}"
    error = only_error("\n".join(lines))
    assert error.line == at + 1
    assert error.key.endswith(f".{key}")
    assert error.allowed


@pytest.mark.parametrize(
    ("key", "table"),
    [
        ("staging_root", "[orchestrator]"),
        ("state_dir", "[orchestrator]"),
        ("root", "[nas]"),
        ("id", "[[equipment]]"),
        ("completeness_signal", "[[equipment]]"),
        ("sentinel_filename", "[[equipment]]"),
    ],
)
def test_a_missing_key_is_reported_at_its_table(key: str, table: str) -> None:
    text = without(key)
    error = only_error(text)
    assert text.splitlines()[error.line - 1] == table
    assert error.key.endswith(f".{key}")
    assert "missing" in error.wrong


def test_a_quiet_period_has_no_default() -> None:
    error = only_error(GOOD.replace("sentinel_file", "quiet_period", 1))
    assert "quiet_minutes" in error.key
    assert "no default" in error.wrong


def test_recent_proof_needs_an_age() -> None:
    error = only_error(with_line("mode =", 'proof = "recent"'))
    assert error.key == "orchestrator.staging_cleanup.proof_max_age"
    assert "7d" in error.allowed


@pytest.mark.parametrize("age", ['"7 days"', '"0s"', '"-1d"', '"400d"', "7", '"99999999999999999999d"'])
def test_a_wrong_proof_age_is_refused(age: str) -> None:
    error = only_error(with_line("mode =", f'proof = "recent"\nproof_max_age = {age}'))
    assert error.line == 8


def test_every_error_is_shown_at_once_in_the_order_of_the_file() -> None:
    text = GOOD.replace("/srv/staging", "staging").replace('"manual"', '"none"').replace("workers = 2", "wrokers = 2")
    text += 'password = "hunter2"\n[[equipment]]\nid = "CONFOCAL_01"\ncompleteness_signal = "quiet_period"\n'
    errors = errors_of(text)
    assert [(error.line, error.key.rpartition(".")[2]) for error in errors] == [
        (2, "staging_root"),
        (6, "mode"),
        (12, "wrokers"),
        (18, "password"),
        (19, "quiet_minutes"),
        (20, "id"),
    ]
    assert 'did you mean "workers"' in errors[2].wrong


def test_an_unknown_key_is_refused_without_showing_its_value() -> None:
    error = only_error(with_line("root =", 'password = "hunter2"'))
    assert "hunter2" not in str(error)
    assert "marker_id" in error.allowed


FAR = GOOD + '[equipment.nas]\ntype = "{kind}"\n{keys}'
RCLONE = 'remote = "lab-s3"\npath = "archive/lab"\n'
RSYNC = 'target = "lab@nas01"\npath = "/srv/lab"\nssh_key_path = "/etc/key"\nknown_hosts = "/etc/known"\n'


@pytest.mark.parametrize(
    ("kind", "keys", "name"),
    [
        ("rclone", RCLONE + 'flags = ["--transfers=8"]\nconfig = "/etc/rclone.conf"\n', "lab-s3:archive/lab"),
        ("rsync_ssh", RSYNC + "port = 2222\n", "lab@nas01:/srv/lab"),
    ],
)
def test_a_nas_may_be_reached_by_a_program(kind: str, keys: str, name: str) -> None:
    nas = parse_config(FAR.format(kind=kind, keys=keys).encode(), "lab.toml").nas_for("CONFOCAL_01")
    assert nas is not None
    assert (nas.type, nas.name, nas.stall_seconds if not isinstance(nas, MountNas) else 0) == (kind, name, 300)


def test_an_unknown_kind_of_nas_gives_one_error_only() -> None:
    error = only_error(FAR.format(kind="sftp", keys=RCLONE))
    assert error.key == "equipment[CONFOCAL_01].nas.type"
    assert "there is no such kind of NAS" in error.wrong


@pytest.mark.parametrize(
    ("kind", "keys", "key", "allowed"),
    [
        ("rclone", RCLONE.replace("lab-s3", ":sftp,host=a:"), "remote", "the name of a remote"),
        ("rclone", RCLONE.replace("lab-s3", "-s3"), "remote", "the name of a remote"),
        ("rclone", RCLONE.replace("archive/lab", "../lab"), "path", "a folder on the far side"),
        ("rclone", RCLONE + 'flags = ["--delete-after"]\n', "flags", "--transfers"),
        ("rclone", RCLONE + 'flags = ["--max-delete=5"]\n', "flags", "--transfers"),
        ("rclone", RCLONE + 'flags = ["--transfers=8 --delete-during"]\n', "flags", "flags with their value"),
        ("rclone", RCLONE + 'root = "/mnt"\n', "root", "remote"),
        ("rsync_ssh", RSYNC.replace("lab@nas01", "-oProxyCommand=x@y"), "target", "USER@HOST"),
        ("rsync_ssh", RSYNC.replace("lab@nas01", "nas01"), "target", "USER@HOST"),
        ("rsync_ssh", RSYNC + "port = 70000\n", "port", "at most 65535"),
    ],
)
def test_a_key_of_such_a_nas_is_refused_with_what_is_allowed(kind: str, keys: str, key: str, allowed: str) -> None:
    error = only_error(FAR.format(kind=kind, keys=keys))
    assert error.key.startswith(f"equipment[CONFOCAL_01].nas.{key}")
    assert allowed in error.allowed


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("", 1, "orchestrator"),
        ("[orchestrator", 1, ""),
        (f"{GOOD}label = unquoted\n", 18, "label"),
        (f"{GOOD}id = 'TWICE'\n", 18, "id"),
        ("x = " + "[" * 100_000, 1, "x"),
        ("x = " + "9" * 5000, 1, "x"),
        (GOOD.replace("[[equipment]]", "[equipment]"), 14, "equipment"),
        (GOOD.replace("[nas]", "[[nas]]"), 8, "nas"),
        ("equipment = [1]\n" + GOOD.partition("[[")[0], 1, "equipment[1]"),
        ("orchestrator = 3", 1, "orchestrator"),
    ],
)
def test_what_is_not_a_configuration_is_refused_with_its_line(text: str, line: int, key: str) -> None:
    error = errors_of(text)[0]
    assert (error.line, error.key) == (line, key)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe[\x00", GOOD.encode() + b'label = "\xe4"\n', b"\x00" * 100, b"#" * 2_000_000]
)
def test_a_file_that_is_not_utf8_toml_is_refused(content: bytes) -> None:
    with pytest.raises(ConfigFileInvalid):
        parse_config(content, "lab.toml")


def test_a_byte_order_mark_and_windows_line_ends_are_accepted() -> None:
    content = b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()
    assert parse_config(content, "lab.toml") == parse_config(GOOD.encode(), "lab.toml")


def test_what_comes_from_the_file_is_shown_escaped() -> None:
    error = only_error(GOOD.replace('"manual"', '"\\u001b[2J\\u202e"') + "\n")
    assert "\x1b" not in str(error)
    assert "\u202e" not in str(error)


def test_a_key_with_control_characters_is_shown_escaped() -> None:
    assert "\x1b" not in str(only_error(GOOD + '"\\u001b[2J" = 1\n'))


@pytest.mark.parametrize("name", ["missing.toml", "folder", "nul\0name"])
def test_a_file_that_cannot_be_read_is_a_configuration_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigInvalid) as caught:
        load_config(f"{tmp_path}/{name}")
    assert "cannot be read" in caught.value.message
    assert "exlab-orch init" in caught.value.hint


def test_a_file_that_this_user_may_not_read_is_opened_to_its_group_by_name(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.touch(mode=0)
    with ordinary_user(), pytest.raises(ConfigInvalid) as caught:
        load_config(file)
    group = grp.getgrgid(os.getegid()).gr_name
    assert caught.value.hint.endswith(f": sudo chgrp {group} {file} && sudo chmod g+r {file}")


def test_a_file_in_a_folder_that_this_user_may_not_enter_is_blamed_on_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0)
    with ordinary_user(), pytest.raises(ConfigInvalid) as caught:
        load_config(folder / "config.toml")
    assert f"The folder {folder} is closed to this user." in caught.value.hint
    assert caught.value.hint.endswith(f"&& sudo chmod g+x {folder}")


def test_load_config_takes_a_path(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(GOOD)
    assert load_config(file) == load_config(str(file))


def test_folders_are_normalised_so_that_one_nas_has_one_name() -> None:
    config = parse_config(GOOD.replace("/mnt/nas/lab", "//mnt/nas//lab/").encode(), "lab.toml")
    assert config.nas is not None
    assert config.nas.name == "/mnt/nas/lab"


def test_an_empty_marker_id_is_none() -> None:
    config = parse_config(with_line("root =", 'marker_id = ""').encode(), "lab.toml")
    assert config.nas is not None
    assert config.nas.marker_id is None


def test_modes_and_durations_are_read_and_written_back_as_text() -> None:
    nas = MountNas.model_validate({"root": "/n", "dir_mode": "2775", "file_mode": "0664"})
    assert (nas.dir_mode, nas.file_mode) == (0o2775, 0o664)
    assert nas.model_dump(mode="json")["dir_mode"] == "2775"
    config = parse_config(with_line("mode =", 'proof = "recent"\nproof_max_age = "36h"').encode(), "lab.toml")
    assert config.orchestrator.staging_cleanup.proof_max_age == timedelta(hours=36)
    assert config.orchestrator.staging_cleanup.model_dump(mode="json")["proof_max_age"] == "36h"


WINDOW = '{ days = ["mon", "tue"], from = "08:00", to = "18:00" }'


@pytest.mark.parametrize(
    ("schedule", "key", "allowed"),
    [
        ("[]", "sync.schedule", "at least one window"),
        (WINDOW, "sync.schedule", "a list of windows"),
        ('"always"', "sync.schedule", "a table [sync.schedule] with from and to"),
        ("[5]", "sync.schedule[1]", "a table [sync.schedule] with from and to"),
        ('[{ from = "08:00" }]', "sync.schedule[1].to", 'at most "24:00"'),
        (f'[{WINDOW}, {{ to = "08:00" }}]', "sync.schedule[2].from", 'such as "08:00"'),
        ('[{ from = "24:00", to = "08:00" }]', "sync.schedule[1].from", 'such as "08:00"'),
        ('[{ from = "8:00", to = "18:00" }]', "sync.schedule[1].from", 'such as "08:00"'),
        ("[{ from = 08:00:00, to = '18:00' }]", "sync.schedule[1].from", 'such as "08:00"'),
        ('[{ from = "08:00", to = "24:01" }]', "sync.schedule[1].to", 'at most "24:00"'),
        ('[{ from = "08:00", to = "08:60" }]', "sync.schedule[1].to", 'at most "24:00"'),
        ('[{ from = "08:00", to = "08:00" }]', "sync.schedule[1].to", "another time than from"),
        ('[{ days = [], from = "08:00", to = "18:00" }]', "sync.schedule[1].days", "at least one day"),
        ('[{ days = "mon", from = "08:00", to = "18:00" }]', "sync.schedule[1].days", 'a list of "mon"'),
        ('[{ days = ["Monday"], from = "08:00", to = "18:00" }]', "sync.schedule[1].days", 'a list of "mon"'),
        ('[{ day = ["mon"], from = "08:00", to = "18:00" }]', "sync.schedule[1].day", "days, from, to"),
        ('[{ opens = 5, from = "08:00", to = "18:00" }]', "sync.schedule[1].opens", "days, from, to"),
    ],
)
def test_a_wrong_window_is_refused_with_its_number_and_what_is_allowed(schedule: str, key: str, allowed: str) -> None:
    text = with_line("[sync]", f"upload_mbps = 400\nschedule = {schedule}")
    error = only_error(text)
    assert (error.key, error.line) == (key, text.splitlines().index(f"schedule = {schedule}") + 1)
    assert allowed in error.allowed


def test_a_schedule_without_a_limit_is_refused() -> None:
    error = only_error(with_line("[sync]", f"schedule = [{WINDOW}]"))
    assert (error.key, error.line) == ("sync.schedule", 12)
    assert "no limit" in error.wrong
    assert "upload_mbps" in error.allowed


def test_a_wrong_limit_is_not_told_a_second_time_at_its_schedule() -> None:
    assert only_error(with_line("[sync]", f"upload_mbps = 0\nschedule = [{WINDOW}]")).key == "sync.upload_mbps"


def test_windows_are_read_from_either_form_of_toml_and_written_back_as_they_were() -> None:
    inline = with_line("[sync]", f"upload_mbps = 400\nschedule = [{WINDOW}, {{ from = '22:00', to = '24:00' }}]")
    blocks = with_line("workers", '[[sync.schedule]]\ndays = ["mon", "tue"]\nfrom = "08:00"\nto = "18:00"').replace(
        "workers", "upload_mbps = 400\nworkers"
    )
    config = parse_config(inline.encode(), "lab.toml")
    assert config.sync.schedule is not None
    assert [(one.days, one.opens, one.closes) for one in config.sync.schedule] == [
        (("mon", "tue"), 480, 1080),
        (None, 1320, 1440),
    ]
    assert parse_config(blocks.encode(), "lab.toml").sync.schedule == config.sync.schedule[:1]
    shown = config.model_dump(mode="json", by_alias=True, exclude_none=True)["sync"]["schedule"]
    assert shown == [{"days": ["mon", "tue"], "from": "08:00", "to": "18:00"}, {"from": "22:00", "to": "24:00"}]
    assert parse_config(effective_toml(config).encode(), "shown") == config


def test_an_equipment_may_have_a_nas_of_its_own() -> None:
    own = GOOD + '[equipment.nas]\nroot = "/mnt/own"\n[[equipment]]\nid = "B"\ncompleteness_signal = "manifest"\n'
    config = parse_config(own.encode(), "lab.toml")
    assert [nas.name for name in ("CONFOCAL_01", "B", "UNKNOWN") if (nas := config.nas_for(name))] == [
        "/mnt/own",
        "/mnt/nas/lab",
        "/mnt/nas/lab",
    ]
    assert config.equipment_for("B") is config.equipment[1]
    assert config.equipment_for("UNKNOWN") is None


def test_the_nas_of_one_equipment_is_held_against_staging_too() -> None:
    error = only_error(GOOD + '[equipment.nas]\nroot = "/srv/staging/x"\n')
    assert error.key == "equipment[CONFOCAL_01].nas.root"
    assert error.line == 19


def test_rules_between_tables_hold_for_models_made_in_python() -> None:
    with pytest.raises(ValueError, match="inside staging_root"):
        Config(orchestrator=Orchestrator(staging_root="/srv", state_dir="/srv/state"))


def test_a_configuration_cannot_be_changed() -> None:
    config = parse_config(GOOD.encode(), "lab.toml")
    with pytest.raises(ValueError, match="frozen"):
        config.orchestrator.enabled = False  # type: ignore[misc]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("workers = 2", "workers = 3"),
        lambda text: text.replace("run_complete", "done"),
        lambda text: text.replace("workers = 2", "upload_mbps = 400"),
        lambda text: text + "settle_seconds = 119.5\n",
        lambda text: text + 'failed_filename = "x"\n',
        lambda text: text.replace('"manual"', '"scheduled"'),
        lambda text: text.replace("[nas]", '[nas]\nmarker_id = "m"'),
        lambda text: text.replace("[orchestrator]", "[orchestrator]\nenabled = false"),
    ],
)
def test_the_fingerprint_changes_with_every_value_that_decides(change: Callable[[str], str]) -> None:
    before, after = parse_config(GOOD.encode(), "a"), parse_config(change(GOOD).encode(), "b")
    assert before.fingerprint() != after.fingerprint()


def test_the_fingerprint_is_of_the_values_not_of_the_text() -> None:
    spelled_out = (
        GOOD.replace("[orchestrator]", "# comment\n[orchestrator]\nenabled = true") + "settle_seconds = 120.0\n"
    )
    assert parse_config(GOOD.encode(), "a").fingerprint() == parse_config(spelled_out.encode(), "b").fingerprint()


def test_one_pattern_may_stand_alone_or_in_a_list() -> None:
    keys = {"id": "A", "completeness_signal": "sentinel_file"}
    alone = Equipment.model_validate({**keys, "sentinel_filename": "a/*.txt"})
    listed = Equipment.model_validate({**keys, "sentinel_filename": ["a/*.txt"]})
    assert alone == listed


class TestFindConfig:
    """Where the configuration is looked for (cli.md, options)."""

    def test_a_named_file_wins_whether_it_exists_or_not(self) -> None:
        assert find_config("/nowhere", {"EXLAB_ORCH_CONFIG": "/other"}) == "/nowhere"
        assert find_config(None, {"EXLAB_ORCH_CONFIG": "/other"}) == "/other"

    def test_the_system_file_comes_before_the_users(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        system, own = tmp_path / "etc.toml", tmp_path / ".config/exlab-orch/config.toml"
        own.parent.mkdir(parents=True)
        own.touch()
        monkeypatch.setattr("exlab_orch.config.SYSTEM_CONFIG", str(system))
        assert find_config(None, {"HOME": str(tmp_path)}) == str(own)
        system.touch()
        assert find_config(None, {"HOME": str(tmp_path)}) == str(system)

    def test_the_xdg_folder_is_used_where_it_is_set(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("exlab_orch.config.SYSTEM_CONFIG", str(tmp_path / "none"))
        own = tmp_path / "exlab-orch/config.toml"
        own.parent.mkdir()
        own.touch()
        assert find_config(None, {"HOME": "/nowhere", "XDG_CONFIG_HOME": str(tmp_path)}) == str(own)

    def test_without_any_file_the_places_are_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("exlab_orch.config.SYSTEM_CONFIG", str(tmp_path / "none"))
        with pytest.raises(ConfigInvalid) as caught:
            find_config(None, {"HOME": str(tmp_path)})
        assert str(tmp_path / "none") in caught.value.message
        assert ".config/exlab-orch/config.toml" in caught.value.message


# -- room on the staging disk --------------------------------------------------------------------------------


def cleanup_with(**keys: object) -> StagingCleanup:
    return StagingCleanup.model_validate({"mode": "scheduled", "retain_hours": 100, **keys})


@pytest.mark.parametrize(
    ("mark", "total", "free"),
    [("500GiB", 1, 500 << 30), ("2 TB", 1, 2 * 10**12), ("10%", 1000, 100), ("2.5 %", 1000, 25), ("0.1%", 10_000, 10)],
)
def test_a_mark_of_free_space_is_a_size_or_a_part_of_the_disk(mark: str, total: int, free: int) -> None:
    assert cleanup_with(min_free=mark).mark_bytes(total) == free


BAD_MARKS = ["", "500", "0GiB", "0%", "91%", "-1%", "ten%", "1e1%", "%", "500 GiB free", "10%%", 5, "\u0661\u0660%"]


@pytest.mark.parametrize("mark", BAD_MARKS)
def test_any_other_mark_of_free_space_is_refused(mark: object) -> None:
    with pytest.raises(ValidationError):
        cleanup_with(min_free=mark)


def test_the_floor_is_at_most_the_retention_and_needs_a_mark() -> None:
    assert cleanup_with().mark_bytes(1000) == 0
    assert cleanup_with(min_free="1%").shortest_hours == 24
    assert cleanup_with(min_free="1%", retain_hours=2).shortest_hours == 2
    assert cleanup_with(min_free="1%", min_retain_hours=100).shortest_hours == 100
    for keys in ({"min_free": "1%", "min_retain_hours": 101}, {"min_retain_hours": 5}):
        with pytest.raises(ValidationError):
            cleanup_with(**keys)
