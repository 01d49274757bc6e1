"""A schedule is put in place whole, once, beside no other one, and over nothing that somebody else wrote."""

from __future__ import annotations

import grp
import json
import os
import pwd
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from exlab_orch.access import closed_above
from exlab_orch.cli.schedule import _installed_words
from exlab_orch.config import SYSTEM_CONFIG, Config
from exlab_orch.errors import ConfigInvalid, ScheduleConflict, StateUnavailable, WrongUser
from exlab_orch.schedule import Kind
from exlab_orch.schedule_files import TIMERS, VERIFY_TIMER, Passes, passes_of
from exlab_orch.schedule_install import (
    Installed,
    _in_fstab,
    files_of,
    install,
    outdated,
    passes_here,
    program_words,
    require_runnable,
    why_not_run,
)
from tests.lab import Lab, tree
from tests.oracle import require_root
from tests.test_schedule import enable, write

EVERY = (*TIMERS, VERIFY_TIMER)
KINDS: list[Kind] = ["cron", "timer"]
FILES = {
    "cron": ["/etc/cron.d/exlab-orch"],
    "timer": [f"/etc/systemd/system/{Path(timer).stem}.{kind}" for timer in EVERY for kind in ("service", "timer")],
}


def passes(config: str = SYSTEM_CONFIG, staging: str = "/srv/staging") -> Passes:
    made = Config.model_validate({"orchestrator": {"staging_root": staging, "state_dir": "/var/lib/exlab-orch"}})
    return passes_of(made, config, program=("/usr/bin/exlab-orch",), user="lab", mount_points=[])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("etc/cron.d", "etc/systemd/system"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_are_written_as_they_are_printed(root: Path, kind: Kind) -> None:
    done = install(kind, passes(), root=str(root))
    assert done.written == tuple(f"{root}{path}" for path in FILES[kind])
    for file in files_of(kind, passes()):
        path = root / file.path.lstrip("/")
        assert (path.read_text(), path.stat().st_mode & 0o7777) == (file.content, 0o644)
    assert [name for name in tree(root) if "exlab-new" in name] == []


@pytest.mark.parametrize("kind", KINDS)
def test_installing_again_changes_nothing(root: Path, kind: Kind) -> None:
    install(kind, passes(), root=str(root))
    before = {path: path.stat().st_ino for path in root.rglob("*")}
    done = install(kind, passes(), root=str(root))
    assert (done.written, len(done.unchanged)) == ((), len(FILES[kind]))
    assert {path: path.stat().st_ino for path in root.rglob("*")} == before


def test_another_configuration_in_the_same_file_is_followed(root: Path) -> None:
    install("timer", passes(), root=str(root))
    done = install("timer", passes(staging="/data/new"), root=str(root))
    assert [Path(path).suffix for path in done.written] == [".service"] * 3
    assert "/data/new" in (root / "etc/systemd/system/exlab-orch-copy.service").read_text()


def test_units_of_folders_that_are_configured_no_more_are_found(root: Path) -> None:
    assert outdated("timer", passes(), root=str(root)) == ()
    install("timer", passes(), root=str(root))
    assert outdated("timer", passes(), root=str(root)) == ()
    services = [f"{root}{path}" for path in FILES["timer"] if path.endswith(".service")]
    assert outdated("timer", passes(staging="/data/new"), root=str(root)) == tuple(services)
    Path(services[0]).write_text("edited by hand")
    assert outdated("timer", passes(staging="/data/new"), root=str(root)) == tuple(services[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_a_dry_run_writes_nothing_and_says_the_same(root: Path, kind: Kind) -> None:
    before = tree(root)
    planned = install(kind, passes(), root=str(root), dry_run=True)
    assert tree(root) == before
    assert planned == install(kind, passes(), root=str(root))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dry_run", [True, False])
def test_a_file_of_somebody_else_stays(root: Path, kind: Kind, *, dry_run: bool) -> None:
    theirs = root / FILES[kind][-1].lstrip("/")
    theirs.write_text("# ours, do not touch\n")
    before = tree(root)
    with pytest.raises(ScheduleConflict, match="was not made by this command"):
        install(kind, passes(), root=str(root), dry_run=dry_run)
    assert tree(root) == before, "not one of the files is written"


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_person_edited_stays(root: Path, kind: Kind) -> None:
    install(kind, passes(), root=str(root))
    file = root / FILES[kind][0].lstrip("/")
    file.write_text(file.read_text().replace("MAILTO=root", "MAILTO=lab@example.org") + "# a note\n")
    before = tree(root)
    with pytest.raises(ScheduleConflict, match="was edited") as refused:
        install(kind, passes(), root=str(root))
    assert ("systemctl edit" in refused.value.hint) == (kind == "timer")
    assert tree(root) == before


def test_the_schedule_of_another_configuration_stays(root: Path) -> None:
    install("cron", passes("/etc/one.toml"), root=str(root))
    with pytest.raises(ScheduleConflict, match=r"/etc/one\.toml"):
        install("cron", passes("/etc/two.toml"), root=str(root))


def test_cron_is_refused_while_a_timer_is_active_and_allowed_when_it_only_lies_there(root: Path) -> None:
    install("timer", passes(), root=str(root))
    install("cron", passes(), root=str(root), dry_run=True)
    enable(root, TIMERS[0])
    with pytest.raises(ScheduleConflict, match=r"exlab-orch-look\.timer") as refused:
        install("cron", passes(), root=str(root))
    assert "systemctl disable --now" in refused.value.hint
    assert not (root / "etc/cron.d/exlab-orch").exists()


def test_timers_are_refused_while_a_line_of_cron_is_active(root: Path) -> None:
    install("cron", passes(), root=str(root))
    with pytest.raises(ScheduleConflict, match="cron starts passes already") as refused:
        install("timer", passes(), root=str(root))
    assert refused.value.exit_status == 5
    assert "cron.d/exlab-orch" in refused.value.hint
    assert list((root / "etc/systemd/system").iterdir()) == []


def test_a_line_of_cron_in_another_file_is_seen_too(root: Path) -> None:
    write(root, "etc/crontab", "* * * * * lab exlab-orch poll\n")
    with pytest.raises(ScheduleConflict, match="crontab"):
        install("timer", passes(), root=str(root), dry_run=True)


def test_a_computer_without_cron_is_told_the_other_way(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"no folder .*cron\.d") as refused:
        install("cron", passes(), root=str(tmp_path))
    assert "exlab-orch schedule systemd --install" in refused.value.hint


@pytest.mark.parametrize("dry_run", [True, False])
def test_who_may_not_write_there_is_given_the_line_to_paste(
    root: Path, monkeypatch: pytest.MonkeyPatch, *, dry_run: bool
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(WrongUser) as refused:
        install("timer", passes("/etc/my lab.toml"), root=str(root), dry_run=dry_run)
    assert refused.value.exit_status == 77
    line = refused.value.hint.removeprefix("Run: ")
    assert shlex.split(line) == ["sudo", "exlab-orch", "-c", "/etc/my lab.toml", "schedule", "systemd", "--install"]


def test_a_write_that_fails_is_told_and_leaves_no_half_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(ConfigInvalid, match="No space left"):
        install("cron", passes(), root=str(root))
    assert list((root / "etc/cron.d").iterdir()) == []


# -- what it is filled in with -------------------------------------------------------------------------------


def test_the_user_is_the_owner_of_the_state_directory(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.state.mkdir()
    if os.geteuid() == 0:
        os.chown(lab.state, 65534, 65534)

    assert passes_here(lab.config, str(lab.config_path)).user == pwd.getpwuid(lab.state.stat().st_uid).pw_name


def test_without_a_state_directory_nobody_is_guessed(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    with pytest.raises(StateUnavailable, match="its owner") as refused:
        passes_here(lab.config, str(lab.config_path))
    assert str(lab.state) in refused.value.hint


@pytest.mark.parametrize("name", ["a\n* * * * * root touch x", "a\x1b[m", os.fsdecode(b"\xff")])
def test_a_path_that_would_be_another_line_of_the_file_is_refused(tmp_path: Path, name: str) -> None:
    lab = Lab(tmp_path)
    lab.state.mkdir()
    with pytest.raises(ConfigInvalid, match="cannot stand in a schedule") as refused:
        passes_here(lab.config, str(tmp_path / name))
    assert "\n" not in refused.value.message


def test_a_relative_configuration_is_named_absolutely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(tmp_path)
    lab.state.mkdir()
    monkeypatch.chdir(tmp_path)
    assert passes_here(lab.config, "config.toml").config == str(lab.config_path)


def test_the_program_is_the_script_behind_the_link(tmp_path: Path) -> None:
    script = write(tmp_path, "opt/venv/bin/exlab-orch", "#!/bin/sh\n")
    script.chmod(0o755)
    link = tmp_path / "exlab-orch"
    link.symlink_to(script)
    assert program_words(str(link), "/usr/bin/python3") == (str(script),)
    assert program_words("/x/exlab_orch/__main__.py", str(tmp_path / "opt/venv/bin/python")) == (str(script),)


def test_without_a_script_the_interpreter_of_the_environment_is_named_and_no_link_followed(tmp_path: Path) -> None:
    (tmp_path / "python").symlink_to("/usr/bin/python3")
    interpreter = str(tmp_path / "python")
    assert program_words("/x/exlab_orch/__main__.py", interpreter) == (interpreter, "-m", "exlab_orch")


def test_mount_points_are_read_from_fstab_with_their_spaces(tmp_path: Path) -> None:
    fstab = write(
        tmp_path, "fstab", "# /dev/x /no\n//nas/lab /mnt/my\\040nas/ cifs x 0 0\nUUID=1 none swap sw 0 0\nshort\n"
    )
    assert _in_fstab(str(fstab)) == ["/mnt/my nas"]
    assert _in_fstab(str(tmp_path / "none")) == []


# -- the verb ------------------------------------------------------------------------------------------------


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path)
    made.state.mkdir()
    return made


def test_the_verb_prints_one_file_for_cron(lab: Lab) -> None:
    printed = lab.cli("schedule", "cron")
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout.splitlines()[-1].endswith(f"-c {lab.config_path} poll")
    assert printed.stdout == files_of("cron", passes_here_by_script(lab))[0].content


def passes_here_by_script(lab: Lab) -> Passes:
    """As the verb in a process of its own sees them."""
    return passes_here(lab.config, str(lab.config_path))


def test_the_verb_prints_every_unit_below_its_name(lab: Lab) -> None:
    printed = lab.cli("schedule", "systemd")
    assert printed.returncode == 0, printed.stderr
    assert [line[6:-4] for line in printed.stdout.splitlines() if line.startswith("# ==> ")] == FILES["timer"]
    assert printed.stdout.count("[Service]") == 3


def test_the_verb_speaks_json(lab: Lab) -> None:
    document = json.loads(lab.cli("schedule", "systemd", "--json").stdout)
    assert [file["path"] for file in document["files"]] == FILES["timer"]
    assert document["schema_version"]


def test_what_to_do_next_names_the_configuration_and_offers_to_read_the_archive_again(lab: Lab) -> None:
    given = passes_here_by_script(lab)
    done = Installed(written=("/etc/x",), unchanged=())
    assert _installed_words("cron", given, done, dry_run=False).endswith(f"exlab-orch -c {lab.config_path} status")
    words = _installed_words("timer", given, done, dry_run=False)
    assert f"sudo systemctl enable --now {' '.join(TIMERS)}\n" in words
    assert words.endswith(f"sudo systemctl enable --now {VERIFY_TIMER}")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that everybody may enter; those of pytest are closed to other users."""
    with TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_folder_that_is_closed_to_the_user_is_named(open_folder: Path) -> None:
    program = open_folder / "closed/venv/bin/exlab-orch"
    write(open_folder, "closed/venv/bin/exlab-orch", "#!/bin/sh\n")
    assert [*closed_above(str(program), "nobody")] == []
    (open_folder / "closed").chmod(0o700)
    (open_folder / "link").symlink_to(program)
    assert [*closed_above(str(program), "nobody")] == [str(open_folder / "closed")]
    assert [*closed_above(str(open_folder / "link"), "nobody")] == [str(open_folder / "closed")]
    assert [*closed_above(str(open_folder / "gone"), "nobody")] == []
    assert [*closed_above(str(program), "nobody-here-has-this-name")] == []


def test_a_configuration_in_a_closed_folder_is_not_blamed_on_the_program(open_folder: Path) -> None:
    require_root()  # nobody else can try it for another user
    write(open_folder, "bin/exlab-orch", "#!/bin/sh\nexec cat $2\n")
    write(open_folder, "closed/config.toml", "")
    program, closed = open_folder / "bin/exlab-orch", open_folder / "closed"
    program.chmod(0o755)
    closed.chmod(0o700)
    given = replace(passes(str(closed / "config.toml")), program=(str(program),), user="nobody")
    with pytest.raises(ConfigInvalid) as refused:
        require_runnable(given)
    folder, group = str(closed), grp.getgrgid(pwd.getpwnam("nobody").pw_gid).gr_name
    assert refused.value.message == (
        f"nobody, who is to run the passes, cannot read {folder}/config.toml: "
        f"the folder {folder} is closed to other users."
    )
    assert refused.value.hint.endswith(f": sudo chgrp {group} {folder} && sudo chmod g+x {folder}")
    assert why_not_run(given.command(), given.user) == f"the folder {folder} is closed to other users."


def test_a_user_who_is_not_known_here_is_told_as_such(open_folder: Path) -> None:
    require_root()  # nobody else can try it for another user
    write(open_folder, "bin/exlab-orch", "#!/bin/sh\n")
    given = replace(passes(), program=(str(open_folder / "bin/exlab-orch"),), user="nobody-here-has-this-name")
    with pytest.raises(ConfigInvalid, match="nobody-here-has-this-name"):
        require_runnable(given)


@pytest.mark.parametrize(
    ("script", "why"),
    [("exit 0", None), ("echo the file cannot be read >&2; exit 78", "the file cannot be read")],
)
def test_whether_the_user_of_the_passes_can_run_the_program_is_tried(
    open_folder: Path, script: str, why: str | None
) -> None:
    require_root()  # nobody else can try it for another user
    write(open_folder, "bin/exlab-orch", f"#!/bin/sh\n{script}\n")
    program = open_folder / "bin/exlab-orch"
    program.chmod(0o755)
    given = replace(passes(), program=(str(program),), user="nobody")
    assert why_not_run(given.command(), given.user) == why
    assert why_not_run(given.command(), "root") is None
    if why is None:
        require_runnable(given)
        return
    with pytest.raises(
        ConfigInvalid, match=r"nobody, who is to run the passes, cannot run .*: the file cannot be read"
    ):
        require_runnable(given)
