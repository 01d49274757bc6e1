"""config.toml is written commented and edited without losing a comment, and never becomes invalid."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from exlab_orch.config import Equipment, Orchestrator, StagingCleanup, Sync, load_config, parse_config
from exlab_orch.config_file import (
    InitAnswers,
    append_equipment,
    effective_toml,
    sample_config,
    set_marker_id,
    with_equipment,
    with_marker_id,
    write_new,
)
from exlab_orch.config_nas import MountNas
from exlab_orch.errors import ConfigInvalid

ANSWERS = InitAnswers(staging_root="/srv/staging", state_dir="/var/lib/exlab-orch", nas_root="/mnt/nas/lab")
FLOW = Equipment(id="FLOW_01", completeness_signal="manifest", manifest_filename="list.json", settle_seconds=5)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(sample_config(ANSWERS))
    return path


def test_the_sample_loads_and_holds_the_answers() -> None:
    answers = InitAnswers(
        staging_root='/srv/"quoted" \\ staging',
        state_dir="/var/lib/état",
        nas_root="/mnt/{nas}",
        label="Lab {1} 'A' \\ é",
        require_mount=False,
        mode="scheduled",
        retain_hours=1.5,
        equipment=(FLOW,),
    )
    config = parse_config(sample_config(answers).encode(), "new")
    assert config.orchestrator.staging_root == answers.staging_root
    assert config.orchestrator.state_dir == answers.state_dir
    assert config.orchestrator.label == answers.label
    assert config.orchestrator.staging_cleanup.mode == "scheduled"
    assert config.orchestrator.staging_cleanup.retain_hours == 1.5
    assert config.nas is not None
    assert isinstance(config.nas, MountNas)
    assert (config.nas.root, config.nas.require_mount) == (answers.nas_root, False)
    assert config.equipment == (FLOW,)


def test_the_sample_proposes_a_week_and_deletes_nothing_by_itself() -> None:
    cleanup = parse_config(sample_config(ANSWERS).encode(), "new").orchestrator.staging_cleanup
    assert (cleanup.mode, cleanup.retain_hours) == ("manual", 168)


def test_every_commented_example_of_the_sample_is_usable() -> None:
    text = re.sub(r"(?m)^# (?=\[|[a-z_]+ = )", "", sample_config(ANSWERS)).replace(
        'proof = "reread"', 'proof = "recent"'
    )
    config = parse_config(text.encode(), "new")
    assert [equipment.completeness_signal for equipment in config.equipment] == [
        "sentinel_file",
        "manifest",
        "sentinel_file",
        "quiet_period",
    ]
    assert [equipment.nas and equipment.nas.type for equipment in config.equipment] == [
        None,
        "rclone",
        "rsync_ssh",
        "mount",
    ]
    assert config.nas is not None
    assert isinstance(config.nas, MountNas)
    assert config.nas.dir_mode == 0o2775


def test_the_sample_names_every_key_there_is() -> None:
    tables = (Orchestrator, StagingCleanup, MountNas, Sync, Equipment)
    keys = {key for table in tables for key in table.model_fields} - {"nas", "staging_cleanup"}
    text = sample_config(ANSWERS)
    assert {key for key in keys if not re.search(rf"(?m)^(# )?{key} = ", text)} == set()


def test_an_appended_equipment_is_loaded_and_every_byte_before_it_stays(file: Path) -> None:
    before = file.read_text()
    append_equipment(str(file), FLOW)
    assert load_config(file).equipment == (FLOW,)
    assert file.read_text().startswith(before)


def test_only_the_keys_that_were_given_are_appended(file: Path) -> None:
    append_equipment(str(file), FLOW)
    assert file.read_text().endswith(
        '\n\n[[equipment]]\nid = "FLOW_01"\ncompleteness_signal = "manifest"\nmanifest_filename = "list.json"\n'
        "settle_seconds = 5\n"
    )


def test_an_equipment_with_lists_and_a_nas_of_its_own_is_appended(file: Path) -> None:
    equipment = Equipment(
        id="SEQ_01",
        label='"Seq" \\ é',
        completeness_signal="sentinel_file",
        sentinel_filename=("RTAComplete.txt", "CopyComplete.txt"),
        failed_filename=("*.fail",),
        nas=MountNas.model_validate({"root": "/mnt/seq", "dir_mode": "2775", "file_mode": "0664"}),
    )
    append_equipment(str(file), FLOW)
    append_equipment(str(file), equipment)
    assert load_config(file).equipment == (FLOW, equipment)


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "  # no newline at the end"])
def test_a_block_is_appended_whatever_the_file_ends_with(end: str) -> None:
    content = ('[orchestrator]\nstaging_root = "/a"\nstate_dir = "/b"' + end).encode()
    after = with_equipment(content, "lab.toml", FLOW)
    assert after.startswith(content)
    assert parse_config(after, "lab.toml").equipment == (FLOW,)


def test_windows_line_ends_stay_windows_line_ends() -> None:
    content = sample_config(ANSWERS).replace("\n", "\r\n").encode()
    assert b"\n" not in with_equipment(content, "lab.toml", FLOW).replace(b"\r\n", b"")
    assert b"\n" not in with_marker_id(content, "lab.toml", "/mnt/nas/lab", "m").replace(b"\r\n", b"")


@pytest.mark.parametrize(
    "broken",
    [
        lambda text: text + '\n[[equipment]]\nid = "FLOW_01"\ncompleteness_signal = "manifest"\n',
        lambda text: "equipment = []\n" + text,
        lambda text: text + "\nunknown = 1\n",
        lambda text: text + "\n[broken",
    ],
    ids=["the id is taken", "a list stands there", "an unknown key", "no TOML"],
)
def test_nothing_is_written_where_the_result_would_be_invalid(file: Path, broken: object) -> None:
    assert callable(broken)
    file.write_text(broken(file.read_text()))
    before = file.read_bytes()
    with pytest.raises(ConfigInvalid):
        append_equipment(str(file), FLOW)
    assert file.read_bytes() == before


def test_an_edit_keeps_the_mode_and_the_link(file: Path, tmp_path: Path) -> None:
    file.chmod(0o640)
    link = tmp_path / "link.toml"
    link.symlink_to(file)
    append_equipment(str(link), FLOW)
    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path)) == ["config.toml", "link.toml"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_an_edit_by_root_keeps_the_owner(file: Path) -> None:
    os.chown(file, 12345, 23456)
    append_equipment(str(file), FLOW)
    assert (file.stat().st_uid, file.stat().st_gid) == (12345, 23456)


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="cannot be read"):
        append_equipment(str(tmp_path / "none.toml"), FLOW)
    with pytest.raises(ConfigInvalid, match="cannot be read"):
        set_marker_id(str(tmp_path / "none.toml"), "/mnt/nas/lab", "m")


def test_the_marker_id_takes_the_place_of_the_empty_one(file: Path) -> None:
    before = file.read_text()
    set_marker_id(str(file), "/mnt/nas/lab", "6b0e-11")
    after = file.read_text()
    assert after == before.replace('\nmarker_id = ""', '\nmarker_id = "6b0e-11"')
    nas = load_config(file).nas
    assert nas is not None
    assert nas.marker_id == "6b0e-11"


def test_the_same_marker_id_again_changes_nothing(file: Path) -> None:
    set_marker_id(str(file), "/mnt/nas/lab", "6b0e-11")
    before = file.stat()
    set_marker_id(str(file), "/mnt/nas/lab", "6b0e-11")
    assert file.stat() == before


def test_another_marker_id_is_never_replaced(file: Path) -> None:
    set_marker_id(str(file), "/mnt/nas/lab", "one")
    with pytest.raises(ConfigInvalid, match="another id is configured"):
        set_marker_id(str(file), "/mnt/nas/lab", "two")


def test_a_root_that_is_not_configured_is_refused(file: Path) -> None:
    with pytest.raises(ConfigInvalid, match="there is no NAS"):
        set_marker_id(str(file), "/mnt/other", "one")


MANIFEST = '[[equipment]]\nid = "A"\ncompleteness_signal = "manifest"\n'
HEAD = 'orchestrator = { staging_root = "/srv/staging", state_dir = "/var/lib/x" }\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('[nas]\nroot = "/n" # here\n# end', '[nas]\nroot = "/n" # here\nmarker_id = "m"\n# end'),
        ('[nas]\n  root = "/n"', '[nas]\n  root = "/n"\n  marker_id = "m"\n'),
        ("[nas]\nmarker_id = ''   # nas-init\nroot = '/n/'\n", "[nas]\nmarker_id = \"m\"   # nas-init\nroot = '/n/'\n"),
        ('nas = { root = "/n" }\n', 'nas = { root = "/n", marker_id = "m" }\n'),
        ('nas.root = "/n"\nnas.group = "lab"\n', 'nas.root = "/n"\nnas.marker_id = "m"\nnas.group = "lab"\n'),
        (
            f'[nas]\nroot = "/other"\n{MANIFEST}[equipment.nas]\nroot = "/n"\n',
            f'[nas]\nroot = "/other"\n{MANIFEST}[equipment.nas]\nroot = "/n"\nmarker_id = "m"\n',
        ),
        (
            f'nas.root = "/n"\n{MANIFEST}nas = {{ root = "/n", marker_id = "" }}\n',
            f'nas.root = "/n"\nnas.marker_id = "m"\n{MANIFEST}nas = {{ root = "/n", marker_id = "m" }}\n',
        ),
    ],
)
def test_the_marker_id_goes_into_every_table_of_that_root_and_no_other(before: str, after: str) -> None:
    assert with_marker_id((HEAD + before).encode(), "lab.toml", "/n", "m").decode() == HEAD + after


def test_the_effective_configuration_loads_as_the_same_configuration(file: Path) -> None:
    append_equipment(str(file), FLOW)
    config = load_config(file)
    again = parse_config(effective_toml(config).encode(), "effective")
    assert again == config
    assert again.fingerprint() == config.fingerprint()


def test_a_first_configuration_is_written_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "etc/exlab-orch/config.toml"
    write_new(str(path), sample_config(ANSWERS))
    assert path.read_text() == sample_config(ANSWERS)
    assert os.listdir(path.parent) == ["config.toml"]


def test_a_configuration_that_is_there_is_never_replaced(file: Path, tmp_path: Path) -> None:
    before = file.read_text()
    dangling = tmp_path / "dangling.toml"
    dangling.symlink_to(tmp_path / "none")
    for path in (file, dangling):
        with pytest.raises(ConfigInvalid, match="is there already"):
            write_new(str(path), sample_config(ANSWERS))
    assert file.read_text() == before
    assert not (tmp_path / "none").exists()


def test_answers_that_make_no_configuration_write_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="staging_root"):
        write_new(str(tmp_path / "new.toml"), sample_config(InitAnswers("staging", "/var/lib/x", "/mnt/nas")))
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigInvalid, match="cannot be written"):
        write_new(str(tmp_path / "file" / "config.toml"), sample_config(ANSWERS))
