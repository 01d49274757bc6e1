"""init, nas-init, config and equipment: text, JSON, exit statuses, and that a dry run writes nothing."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from exlab_orch.cli import program
from exlab_orch.cli.call import Call
from exlab_orch.cli.frame import run
from exlab_orch.config import Config, Equipment, load_config
from exlab_orch.config_nas import MountNas
from tests.files.privilege import ordinary_user

MARKER = ".exlab-nas"


@dataclass(frozen=True)
class Ended:
    """How a command line ended."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.out)
        return loaded


@dataclass(frozen=True)
class Lab:
    """A folder with a staging root, a NAS without a mount, and a command line that uses its configuration."""

    folder: Path
    orch: Callable[..., Ended]

    @property
    def file(self) -> Path:
        return self.folder / "config.toml"

    @property
    def nas(self) -> Path:
        return self.folder / "nas"

    @property
    def config(self) -> Config:
        return load_config(self.file)

    def init(self, *more: str) -> Ended:
        folders = (
            f"--staging-root={self.folder}/staging",
            f"--state-dir={self.folder}/state",
            f"--nas-root={self.nas}",
        )
        return self.orch("init", *folders, "--no-require-mount", *more)

    def snapshot(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}


@pytest.fixture
def lab(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab without a configuration."""
    monkeypatch.setattr("sys.excepthook", sys.excepthook)
    (tmp_path / "staging").mkdir()
    (tmp_path / "nas").mkdir()

    def orch(*arguments: str) -> Ended:
        status = run(program, ["-c", str(tmp_path / "config.toml"), *arguments], Call())
        return Ended(status, *capsys.readouterr())

    return Lab(tmp_path, orch)


@pytest.fixture
def ready(lab: Lab) -> Lab:
    """A lab with a fresh configuration."""
    assert lab.init().status == 0
    return lab


class TestInit:
    """``init``: a commented configuration, never over one that is there."""

    def test_it_writes_a_commented_configuration_and_says_what_to_do_next(self, lab: Lab) -> None:
        ended = lab.init("--label", "Station 1")
        assert (ended.status, ended.out) == (0, "")
        assert f"Wrote {lab.file}." in ended.err
        assert f"exlab-orch -c {lab.file} nas-init" in ended.err
        assert "# [[equipment]]" in lab.file.read_text()
        assert lab.config.orchestrator.label == "Station 1"
        assert lab.config.orchestrator.staging_cleanup.retain_hours == 168
        assert lab.config.nas is not None
        assert isinstance(lab.config.nas, MountNas)
        assert not lab.config.nas.require_mount

    def test_what_is_missing_is_made_first_and_sudo_stays_in_front(
        self, lab: Lab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setenv("SUDO_USER", "ann")
        ended = lab.orch("init", "--staging-root=/nowhere/in", "--nas-root=/mnt/nas", "--state-dir=/nowhere/own")
        steps = [line.strip() for line in ended.err.splitlines()[1:]]
        assert steps[0].startswith("sudo install -d -m 755 -o USER /nowhere/own ")
        assert steps[1].startswith("sudo install -d -m 2775 -o USER /nowhere/in ")
        assert steps[2] == f"sudo exlab-orch -c {lab.file} nas-init"
        assert steps[-1] == f"sudo -u USER exlab-orch -c {lab.file} selftest"

    def test_a_nas_must_be_mounted_unless_the_operator_says_otherwise(self, lab: Lab) -> None:
        lab.orch("init", "--staging-root=/srv/staging", "--nas-root=/mnt/nas")
        assert lab.config.nas is not None
        assert isinstance(lab.config.nas, MountNas)
        assert lab.config.nas.require_mount

    def test_a_configuration_that_is_there_is_not_touched(self, lab: Lab) -> None:
        lab.file.write_text("mine")
        ended = lab.init()
        assert ended.status == 78
        assert "is there already" in ended.err
        assert lab.file.read_text() == "mine"

    @pytest.mark.parametrize("more", [[], ["--json"], ["--no-input"], ["--yes"]])
    def test_without_a_terminal_the_missing_options_are_named(self, lab: Lab, more: list[str]) -> None:
        ended = lab.orch("init", *more)
        assert ended.status == 2
        assert "--staging-root and --nas-root" in ended.err
        assert not lab.file.exists()

    def test_wrong_answers_are_named_all_at_once(self, lab: Lab) -> None:
        ended = lab.orch("init", "--staging-root=staging", "--nas-root=nas", "--retain-hours=-1")
        assert ended.status == 2
        assert all(key in ended.err for key in ("orchestrator.staging_root", "nas.root", "retain_hours"))
        assert not lab.file.exists()

    def test_a_dry_run_prints_what_it_would_write(self, lab: Lab) -> None:
        ended = lab.init("-n")
        assert ended.status == 0
        assert not lab.file.exists()
        lab.init()
        assert ended.out == lab.file.read_text()

    def test_json_names_the_file_and_the_next_steps(self, lab: Lab) -> None:
        document = lab.init("--json").document
        assert document["config"] == str(lab.file)
        assert document["dry_run"] is False
        assert any("nas-init" in step for step in document["next"])

    def test_json_of_a_dry_run_has_the_content(self, lab: Lab) -> None:
        document = lab.init("--json", "-n").document
        assert "[orchestrator]" in document["content"]
        assert not lab.file.exists()

    def test_without_c_it_goes_into_the_own_configuration_folder(
        self, lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("os.geteuid", lambda: 1000)
        monkeypatch.setenv("HOME", str(lab.folder))
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
        monkeypatch.delenv("EXLAB_ORCH_CONFIG", raising=False)
        assert run(program, ["init", "--staging-root=/srv/staging", "--nas-root=/mnt/nas"], Call()) == 0
        config = load_config(lab.folder / ".config/exlab-orch/config.toml")
        assert config.orchestrator.state_dir == f"{lab.folder}/.local/state/exlab-orch"
        assert ".config/exlab-orch/config.toml nas-init" in capsys.readouterr().err


def on_a_terminal(typed: str, *arguments: str) -> tuple[int, str]:
    """The exit status and everything shown of a command line that runs on a terminal of its own."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "exlab_orch", *arguments], stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    shown = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        while True:
            try:
                piece = terminal.read(4096)
            except OSError:  # Linux ends a terminal without readers so
                break
            shown += piece
    return process.wait(timeout=30), shown.decode()


def test_on_a_terminal_it_asks_and_asks_again_after_a_wrong_answer(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    status, shown = on_a_terminal('staging\n/srv/staging\n/mnt/nas\n\nMy "lab"\n', "-c", str(file), "init")
    assert status == 0, shown
    assert "cannot be used: it is not absolute" in shown
    config = load_config(file)
    assert config.orchestrator.staging_root == "/srv/staging"
    assert config.orchestrator.label == 'My "lab"'
    assert config.orchestrator.state_dir.endswith("/exlab-orch")


def test_a_nas_inside_staging_is_refused_when_it_is_answered(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    answers = "/srv/staging\n/srv/staging/nas\n/mnt/nas\n/srv/staging\n\n\n"
    status, shown = on_a_terminal(answers, "-c", str(file), "init")
    assert status == 0, shown
    assert shown.count("it is /srv/staging, inside it, or around it") == 2


def test_questions_that_are_not_answered_write_nothing(tmp_path: Path) -> None:
    status, _shown = on_a_terminal("/srv/staging\n\x04", "-c", str(tmp_path / "config.toml"), "init")
    assert status == 5
    assert os.listdir(tmp_path) == []


class TestNasInit:
    """``nas-init``: the marker is written or adopted, never replaced, and its id is noted."""

    def test_it_marks_the_nas_and_notes_the_id(self, ready: Lab) -> None:
        ended = ready.orch("nas-init")
        assert ended.status == 0
        assert "is marked now" in ended.err
        assert ready.config.nas is not None
        assert ready.config.nas.marker_id
        assert (ready.nas / MARKER).read_text().splitlines()[0] == ready.config.nas.marker_id

    def test_again_changes_nothing(self, ready: Lab) -> None:
        ready.orch("nas-init")
        before = ready.snapshot()
        ended = ready.orch("nas-init")
        assert ended.status == 0
        assert "nothing to do" in ended.err
        assert ready.snapshot() == before

    def test_a_marker_that_is_there_is_adopted(self, ready: Lab) -> None:
        (ready.nas / MARKER).write_text("older-id\nsomebody's words\n")
        document = ready.orch("nas-init", "--json").document
        assert document["nas"] == [{"root": str(ready.nas), "marker_id": "older-id", "adopted": True}]
        assert (ready.nas / MARKER).read_text() == "older-id\nsomebody's words\n"
        assert ready.config.nas is not None
        assert ready.config.nas.marker_id == "older-id"

    @pytest.mark.parametrize("marker", ["other\n", None])
    def test_a_nas_that_is_not_the_configured_one_is_not_marked(self, ready: Lab, marker: str | None) -> None:
        ready.orch("nas-init")
        (ready.nas / MARKER).unlink()
        if marker is not None:
            (ready.nas / MARKER).write_text(marker)
        before = ready.snapshot()
        ended = ready.orch("nas-init", "--json")
        assert ended.status == 69
        assert json.loads(ended.err)["code"] == "nas_wrong_marker"
        assert ready.snapshot() == before

    @pytest.mark.parametrize("marker", ['x" \nrequire_mount = false', 'a", group="root', "a b", "\x1b[2J"])
    def test_a_marker_that_holds_no_id_is_refused_and_breaks_nothing(self, ready: Lab, marker: str) -> None:
        (ready.nas / MARKER).write_text(marker)
        before = ready.snapshot()
        ended = ready.orch("nas-init")
        assert ended.status == 78
        assert "\x1b" not in ended.err
        assert ready.snapshot() == before

    @pytest.mark.parametrize("adopted", [True, False])
    def test_a_dry_run_writes_nothing_and_says_which(self, ready: Lab, adopted: bool) -> None:
        if adopted:
            (ready.nas / MARKER).write_text("older-id\n")
        before = ready.snapshot()
        ended = ready.orch("nas-init", "-n")
        assert ended.status == 0
        assert ("adopt the marker" if adopted else "write the marker") in ended.err
        assert ready.snapshot() == before

    def test_a_nas_that_is_not_mounted_is_not_marked(self, ready: Lab) -> None:
        ready.file.write_text(ready.file.read_text().replace("require_mount = false", "require_mount = true"))
        ended = ready.orch("nas-init")
        assert ended.status == 69
        assert not (ready.nas / MARKER).exists()

    def test_every_nas_of_the_configuration_is_marked_or_only_the_named_one(self, ready: Lab) -> None:
        second = ready.folder / "second"
        second.mkdir()
        ready.orch("equipment", "add", "A", "--signal", "manifest", f"--nas-root={second}")
        ready.file.write_text(ready.file.read_text() + "require_mount = false\n")
        document = ready.orch("nas-init", "--json", f"--root={second}/").document
        assert [nas["root"] for nas in document["nas"]] == [str(second)]
        document = ready.orch("nas-init", "--json").document
        assert [nas["adopted"] for nas in document["nas"]] == [False, True]
        assert ready.orch("nas-init", "--root=/mnt/unknown").status == 78

    def test_an_id_that_cannot_be_noted_is_told_to_the_operator(
        self, ready: Lab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("exlab_orch.config_file.write_whole", refuse)
        ended = ready.orch("nas-init", "--json")
        assert ended.status == 77
        marker_id = (ready.nas / MARKER).read_text().splitlines()[0]
        assert f'marker_id = "{marker_id}"' in json.loads(ended.err)["hint"]
        assert json.loads(ended.err)["hint"].endswith(f"exlab-orch -c {ready.file} nas-init")
        monkeypatch.undo()
        assert ready.orch("nas-init").status == 0
        assert ready.config.nas is not None
        assert ready.config.nas.marker_id == marker_id

    def test_who_may_not_write_the_nas_is_told_the_command_of_root(
        self, ready: Lab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.argv", ["exlab-orch", "-c", str(ready.file), "nas-init"])
        monkeypatch.setattr("os.geteuid", lambda: 1000)
        ready.nas.chmod(0o500)
        with ordinary_user():
            ended = ready.orch("nas-init", "--json")
        refused = json.loads(ended.err)
        assert (ended.status, refused["code"]) == (77, "permission_denied")
        assert refused["hint"].endswith(f": sudo exlab-orch -c {ready.file} nas-init")
        assert os.listdir(ready.nas) == []

    def test_root_who_is_nobody_on_the_nas_is_told_the_command_of_the_service_user(
        self, ready: Lab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.argv", ["exlab-orch", "-c", str(ready.file), "nas-init"])
        monkeypatch.setattr("os.geteuid", lambda: 0)
        monkeypatch.setattr("exlab_orch.cli.nas_init.service_user", lambda _state_dir: "svc")
        ready.nas.chmod(0o500)
        with ordinary_user():
            ended = ready.orch("nas-init", "--json")
        assert ended.status == 77
        assert json.loads(ended.err)["hint"].endswith(f": sudo -u svc exlab-orch -c {ready.file} nas-init")

    def test_a_nas_that_not_even_the_service_user_may_write_is_one_of_rights_too(self, ready: Lab) -> None:
        ready.nas.chmod(0o500)
        with ordinary_user():
            ended = ready.orch("nas-init", "--json")
        assert ended.status == 77
        assert "marker" in json.loads(ended.err)["message"]


class TestConfig:
    """``config validate``, ``show`` and ``schema``."""

    def test_a_valid_configuration_is_one_line_and_what_it_lacks_is_said(self, ready: Lab) -> None:
        ended = ready.orch("config", "validate")
        assert ended.status == 0
        assert ended.out.count("\n") == 1
        assert "is valid" in ended.out
        assert "There is no equipment yet" in ended.err
        assert "nas-init" in ended.err

    def test_a_complete_configuration_needs_no_further_words(self, ready: Lab) -> None:
        ready.orch("nas-init")
        ready.orch("equipment", "add", "A", "--sentinel", "done")
        ended = ready.orch("config", "validate")
        assert (ended.status, ended.err) == (0, "")
        assert ready.orch("config", "validate", "--json").document["notes"] == []

    def test_every_error_is_printed_with_exit_78(self, ready: Lab) -> None:
        text = ready.file.read_text().replace("enabled = true", 'enabled = "yes"').replace("workers", "wrokers", 1)
        ready.file.write_text(text)
        ended = ready.orch("config", "validate")
        assert (ended.status, ended.out) == (78, "")
        assert f"{ready.file}:5: orchestrator.enabled" in ended.err
        assert 'did you mean "workers"?' in ended.err
        assert json.loads(ready.orch("config", "validate", "--json").err)["code"] == "config_invalid"

    def test_a_missing_configuration_is_exit_78(self, lab: Lab) -> None:
        ended = lab.orch("config", "validate")
        assert ended.status == 78
        assert "exlab-orch init" in ended.err

    @pytest.mark.parametrize(
        ("old", "new", "note"),
        [
            ("enabled = true", "enabled = false", "orchestrator.enabled is false"),
            ("[nas]", "[sync]\n[[equipment]]\nid = 'A'\ncompleteness_signal = 'manifest'\n[x]", "have nowhere to go"),
        ],
    )
    def test_what_is_not_usable_is_noted(self, ready: Lab, old: str, new: str, note: str) -> None:
        text = ready.file.read_text().replace(old, new, 1)
        if "[x]" in text:
            text = text.partition("[x]")[0]
        ready.file.write_text(text)
        assert note in ready.orch("config", "validate").err

    def test_folders_that_are_not_there_yet_are_named_and_the_file_is_valid_all_the_same(self, lab: Lab) -> None:
        absent = lab.folder / "absent"
        for folder in ("staging", "nas"):
            (lab.folder / folder).rmdir()
        lab.init(f"--state-dir={absent}/state")
        ended = lab.orch("config", "validate")
        assert (ended.status, "is valid" in ended.out) == (0, True)
        assert f"The staging root {lab.folder}/staging is not there yet." in ended.err
        assert f"The folder of the state directory {absent}/state is not there yet." in ended.err
        assert f"The NAS root {lab.nas} is not there." in ended.err
        assert f"sudo install -d -m 2775 -o USER {lab.folder}/staging" in ended.err
        assert len(lab.orch("config", "validate", "--json").document["notes"]) >= 3

    def test_a_folder_that_this_user_may_not_look_at_is_not_called_missing(self, ready: Lab) -> None:
        ready.orch("nas-init")
        ready.orch("equipment", "add", "A", "--sentinel", "done")
        closed = ready.folder / "closed"
        (closed / "staging").mkdir(parents=True)
        closed.chmod(0o000)
        text = ready.file.read_text().replace(f"{ready.folder}/staging", f"{closed}/staging")
        ready.file.write_text(text)
        with ordinary_user():
            ended = ready.orch("config", "validate")
        closed.chmod(0o700)
        assert (ended.status, ended.err) == (0, "")

    def test_what_is_said_of_a_short_quiet_period_is_what_a_pass_waits_for(self, ready: Lab) -> None:
        assert "nothing changed for 2 min" in ready.orch("equipment", "add", "A", "--quiet-minutes", "1").err
        longer = ready.orch("equipment", "add", "B", "--quiet-minutes", "1", "--settle-seconds", "600")
        assert "nothing changed for 10 min" in longer.err

    def test_a_group_that_is_not_here_is_noted_with_what_to_do(self, ready: Lab) -> None:
        ready.file.write_text(ready.file.read_text().replace("[nas]", '[nas]\ngroup = "no-such-group"', 1))
        ended = ready.orch("config", "validate")
        assert (ended.status, "'no-such-group' does not exist" in ended.err) == (0, True)
        assert "sudo groupadd no-such-group" in ended.err

    def test_keys_without_effect_are_noted(self, ready: Lab) -> None:
        ready.orch("equipment", "add", "A", "--signal", "manifest", "--quiet-minutes", "5")
        assert "A: quiet_minutes has no effect" in ready.orch("config", "validate").err

    def test_show_prints_what_is_in_effect_as_toml(self, ready: Lab) -> None:
        ready.orch("equipment", "add", "A", "--sentinel", "done")
        shown = ready.orch("config", "show").out
        assert "settle_seconds = 120\n" in shown
        again = ready.folder / "again.toml"
        again.write_text(shown)
        assert load_config(again) == ready.config

    def test_show_as_json_has_the_same_values(self, ready: Lab) -> None:
        effective = ready.orch("config", "show", "--json").document["effective"]
        assert effective["orchestrator"]["staging_cleanup"] == {
            "mode": "manual",
            "retain_hours": 168,
            "max_errors": 3,
            "proof": "reread",
        }
        assert Config.model_validate(effective) == ready.config

    def test_the_schema_names_every_key(self, lab: Lab) -> None:
        document = lab.orch("config", "schema").document
        assert set(document["$defs"]["Equipment"]["properties"]) == set(Equipment.model_fields)
        assert document["additionalProperties"] is False
        assert all("description" in key for key in document["$defs"]["MountNas"]["properties"].values())

    def test_verbs_that_only_read_take_no_dry_run(self, ready: Lab) -> None:
        assert ready.orch("config", "validate", "-n").status == 2


class TestEquipmentAdd:
    """``equipment add``: one block at the end, nothing else changed."""

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (["--sentinel", "CopyComplete.txt"], {"sentinel_filename": "CopyComplete.txt"}),
            (["--sentinel", "a", "--sentinel", "b/*"], {"sentinel_filename": ["a", "b/*"]}),
            (["--signal", "sentinel_file", "--sentinel", "a"], {"sentinel_filename": "a"}),
            (["--signal", "manifest"], {"completeness_signal": "manifest"}),
            (["--manifest", "list.json"], {"completeness_signal": "manifest", "manifest_filename": "list.json"}),
            (["--quiet-minutes", "1.5"], {"completeness_signal": "quiet_period", "quiet_minutes": 1.5}),
            (
                ["--sentinel", "a", "--label", 'The "x" [bold]', "--settle-seconds", "0", "--min-files", "3"],
                {"sentinel_filename": "a", "label": 'The "x" [bold]', "settle_seconds": 0.0, "min_files": 3},
            ),
            (
                ["--sentinel", "a", "--failed", "*.err", "--alert-after-hours", "2", "--arrives-by", "file_transfer"],
                {
                    "sentinel_filename": "a",
                    "failed_filename": "*.err",
                    "alert_after_hours": 2.0,
                    "arrives_by": "file_transfer",
                },
            ),
            (["--sentinel", "a", "--nas-root", "/mnt/own"], {"sentinel_filename": "a", "nas": {"root": "/mnt/own"}}),
        ],
    )
    def test_the_options_become_the_keys(self, ready: Lab, options: list[str], expected: dict[str, object]) -> None:
        before = ready.file.read_text()
        assert ready.orch("equipment", "add", "SEQ_01", *options).status == 0
        wanted = {"id": "SEQ_01", "completeness_signal": "sentinel_file", **expected}
        assert ready.config.equipment == (Equipment.model_validate(wanted),)
        assert ready.file.read_text().startswith(before)

    @pytest.mark.parametrize(
        ("arguments", "typed", "expected"),
        [
            (["SEQ_01"], "1\nCopyComplete.txt\n", {"sentinel_filename": "CopyComplete.txt"}),
            (["SEQ_01"], "\n\n", {"sentinel_filename": "run_complete"}),
            (["SEQ_01"], "4\n2\n\n", {"completeness_signal": "manifest", "manifest_filename": "manifest.json"}),
            ([], "SEQ_01\n3\nsoon\n60\n", {"completeness_signal": "quiet_period", "quiet_minutes": 60}),
            ([], "SEQ_01\n1\ndone\n", {"sentinel_filename": "done"}),
        ],
    )
    def test_on_a_terminal_it_asks_for_what_is_missing(
        self, ready: Lab, arguments: list[str], typed: str, expected: dict[str, object]
    ) -> None:
        status, shown = on_a_terminal(typed, "-c", str(ready.file), "equipment", "add", *arguments)
        assert status == 0, shown
        wanted = {"id": "SEQ_01", "completeness_signal": "sentinel_file", **expected}
        assert ready.config.equipment == (Equipment.model_validate(wanted),)

    @pytest.mark.parametrize("arguments", [["SEQ_01"], [], ["seq"]])
    def test_where_nobody_can_be_asked_it_says_what_is_missing(self, ready: Lab, arguments: list[str]) -> None:
        before = ready.file.read_text()
        ended = ready.orch("equipment", "add", *arguments)
        assert ended.status == 2
        assert "give the ID" in ended.err or "--sentinel" in ended.err
        assert ready.file.read_text() == before

    def test_it_says_when_a_run_is_finished_and_what_is_still_missing(self, ready: Lab) -> None:
        ended = ready.orch("equipment", "add", "SEQ_01", "--sentinel", "a", "--sentinel", "b")
        assert "finished when a and b are there and nothing changed for 2 min" in ended.err
        assert "nas-init" in ended.err

    @pytest.mark.parametrize(
        "arguments",
        [
            ["SEQ_01"],
            ["seq", "--sentinel", "a"],
            ["SEQ_01", "--sentinel", "../a"],
            ["SEQ_01", "--sentinel", ""],
            ["SEQ_01", "--signal", "sentinel_file"],
            ["SEQ_01", "--signal", "quiet_period"],
            ["SEQ_01", "--sentinel", "a", "--manifest", "b"],
            ["SEQ_01", "--sentinel", "a", "--min-files", "0"],
            ["SEQ_01", "--sentinel", "a", "--settle-seconds", "nan"],
            ["SEQ_01", "--sentinel", "a", "--nas-root", "relative"],
            ["SEQ_01", "--sentinel", "a\udcff"],
        ],
    )
    def test_wrong_options_are_wrong_usage_and_write_nothing(self, ready: Lab, arguments: list[str]) -> None:
        before = ready.snapshot()
        assert ready.orch("equipment", "add", *arguments).status == 2
        assert ready.snapshot() == before

    def test_an_id_that_is_taken_is_refused(self, ready: Lab) -> None:
        ready.orch("equipment", "add", "A", "--sentinel", "a")
        before = ready.snapshot()
        ended = ready.orch("equipment", "add", "A", "--sentinel", "b")
        assert ended.status == 78
        assert 'another equipment has the id "A"' in ended.err
        assert ready.snapshot() == before
        assert ready.orch("equipment", "add", "A", "--sentinel", "b", "-n").status == 78

    def test_a_nas_inside_staging_is_refused(self, ready: Lab) -> None:
        ended = ready.orch("equipment", "add", "A", "--sentinel", "a", f"--nas-root={ready.folder}/staging/x")
        assert ended.status == 78
        assert "staging_root" in ended.err

    def test_a_dry_run_prints_the_block(self, ready: Lab) -> None:
        before = ready.snapshot()
        ended = ready.orch("equipment", "add", "A", "--sentinel", "a", "-n")
        assert ended.status == 0
        assert ended.out == '[[equipment]]\nid = "A"\ncompleteness_signal = "sentinel_file"\nsentinel_filename = "a"\n'
        assert ready.snapshot() == before

    def test_json_has_the_equipment(self, ready: Lab) -> None:
        document = ready.orch("equipment", "add", "A", "--sentinel", "a", "--json").document
        assert document["equipment"]["sentinel_filename"] == ["a"]
        assert document["equipment"]["nas_root"] == str(ready.nas)


class TestEquipmentList:
    """``equipment list`` in its three forms."""

    @pytest.fixture
    def two(self, ready: Lab) -> Lab:
        ready.orch("equipment", "add", "SEQ_01", "--sentinel", "Copy*.txt", "--label", "Nova [bold]x")
        ready.orch("equipment", "add", "PLATE_01", "--quiet-minutes", "60", "--nas-root", "/mnt/own")
        return ready

    def test_plain_is_one_tab_separated_line_each(self, two: Lab) -> None:
        assert two.orch("equipment", "list").out.splitlines() == [
            f"SEQ_01\tNova [bold]x\tsentinel_file\tCopy*.txt is there and nothing changed for 2 min\t{two.nas}",
            "PLATE_01\t-\tquiet_period\tnothing changed for 1 h\t/mnt/own",
        ]

    def test_json_has_every_key_in_effect(self, two: Lab) -> None:
        first, second = two.orch("equipment", "list", "--json").document["equipment"]
        assert (first["id"], first["sentinel_filename"], first["failed_filename"]) == ("SEQ_01", ["Copy*.txt"], [])
        assert (second["quiet_minutes"], second["nas_root"]) == (60, "/mnt/own")

    def test_for_a_person_labels_are_shown_as_they_are(self, two: Lab) -> None:
        shown = two.orch("equipment", "list", "--color", "always").out
        assert "Nova [bold]x" in shown
        assert "copied to /mnt/own" in shown

    def test_an_empty_list_explains_itself(self, ready: Lab) -> None:
        ended = ready.orch("equipment", "list")
        assert (ended.status, ended.out) == (0, "")
        assert "equipment add" in ended.err
        assert ready.orch("equipment", "list", "--json").document["equipment"] == []
