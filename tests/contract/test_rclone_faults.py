"""rclone that is missing, old, lying, hanging or talking nonsense, and servers that refuse it: nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exlab_orch.cleanup import clear
from exlab_orch.errors import ExlabError
from exlab_orch.passes import PassReport
from exlab_orch.rows import list_rows
from exlab_orch.transports import rclone_commands as ask
from tests.contract.conftest import rclone_table
from tests.contract.far import codes
from tests.contract.servers import Server, obscured, rclone_program, serving
from tests.lab import MARKER_ID, RUN, Lab
from tests.oracle import require_program, require_root

PROVED = ["staging", "complete", "sync_queued", "sync_verified"]
QUEUED = PROVED[:3]


@contextmanager
def lab_at(tmp_path: Path, kind: str) -> Iterator[tuple[Lab, Server]]:
    served, private = tmp_path / "far", tmp_path / "server"
    for folder in (served / "archive", private):
        folder.mkdir(parents=True)
    with serving(kind, served, private) as server:
        table = rclone_table(private, server.path)
        yield Lab(tmp_path / "lab", nas_table=table, nas_folder=served / "archive", now=datetime.now(UTC)), server


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with lab_at(tmp_path, "local") as (lab, _):
        lab.push()
        yield lab


def stand_in(lab: Lab, script: str, stall_seconds: float = 20) -> None:
    """Put a program in rclone's place; ``$real`` is rclone."""
    program = lab.root / "rclone"
    program.write_text(f"#!/bin/bash\nreal={rclone_program()}\n{script}\n")
    program.chmod(0o755)
    lab.nas_table = lab.nas_table.replace(rclone_program(), str(program))
    lab.nas_table = lab.nas_table.replace("stall_seconds = 20", f"stall_seconds = {stall_seconds}")
    lab.configure()


def trusted_again(lab: Lab) -> None:
    """rclone itself again; a while later."""
    lab.nas_table = lab.nas_table.replace(str(lab.root / "rclone"), rclone_program())
    lab.configure()
    assert lab.now is not None
    lab.now += timedelta(hours=3)


def told(report: PassReport) -> str:
    return " ".join(one.problem.message for one in report.announcements)


# -- programs ------------------------------------------------------------------------------------------------


def test_a_missing_rclone_is_told_with_how_to_install_it(lab: Lab) -> None:
    lab.nas_table = lab.nas_table.replace(rclone_program(), "/nowhere/rclone")
    lab.configure()
    report = lab.poll()
    assert (report.exit_status, codes(report)) == (69, ["tool_missing"])
    assert "pip install 'exlab-orch[rclone]'" in report.announcements[0].problem.hint


def test_an_old_rclone_is_refused_before_anything_is_copied(lab: Lab) -> None:
    stand_in(lab, 'echo "rclone v1.60.1-DEV"; echo "$@" >> "$(dirname "$0")/asked"')
    report = lab.poll()
    assert (report.exit_status, codes(report)) == (69, ["tool_too_old"])
    assert "1.60" in told(report)
    assert set((lab.root / "asked").read_text().split()) == {"version"}


def test_an_rclone_that_says_done_without_copying_is_found_out(lab: Lab) -> None:
    stand_in(lab, 'case "$1" in copy) cat > /dev/null; exit 0;; *) exec "$real" "$@";; esac')
    report = lab.poll()
    assert (report.exit_status, codes(report)) == (3, ["hash_mismatch"])
    assert lab.states() == QUEUED
    assert not lab.published().exists()


def test_an_rclone_that_gives_made_up_hashes_of_nothing_is_found_out(lab: Lab) -> None:
    stand_in(lab, 'case "$1" in hashsum) cat > /dev/null; exit 0;; *) exec "$real" "$@";; esac')
    report = lab.poll()
    assert (report.exit_status, codes(report)) == (3, ["sync_failed"])
    assert lab.states() == QUEUED


@pytest.mark.parametrize("verb", ["lsjson", "backend", "about"])
def test_an_rclone_that_prints_garbage_concludes_nothing(lab: Lab, verb: str) -> None:
    stand_in(lab, f'case "$1" in {verb}) echo "[{{]"; exit 0;; *) exec "$real" "$@";; esac')
    report = lab.poll()
    assert report.exit_status == 3
    assert codes(report) == ["sync_failed"]
    trusted_again(lab)
    lab.poll()
    assert lab.states() == PROVED


def test_an_rclone_that_damages_what_it_copies_is_an_alarm(lab: Lab) -> None:
    damage = 'find "${3#*:}" -name a.fcs -exec sh -c "printf xxx > {}" ";"'
    stand_in(lab, f'case "$1" in copy) "$real" "$@"; {damage};; *) exec "$real" "$@";; esac')
    report = lab.poll()
    assert (report.exit_status, codes(report)) == (3, ["hash_mismatch"])
    assert not lab.published().exists()
    assert (lab.staged() / "a.fcs").read_bytes() == b"aaa"


def test_an_rclone_that_hangs_is_ended_and_the_next_pass_goes_on(lab: Lab) -> None:
    stand_in(lab, 'case "$1" in copy) exec sleep 600;; *) exec "$real" "$@";; esac', stall_seconds=1)
    began = time.monotonic()
    report = lab.poll()
    assert time.monotonic() - began < 15
    assert (report.exit_status, codes(report)) == (69, ["nas_unreachable"])
    assert "no progress for 1 s" in told(report)
    trusted_again(lab)
    assert lab.poll().exit_status == 0
    assert lab.states() == PROVED


def test_what_rclone_says_stands_in_the_problem(lab: Lab) -> None:
    stand_in(lab, 'case "$1" in copy) echo "the moon is full" >&2; exit 7;; *) exec "$real" "$@";; esac')
    report = lab.poll()
    assert codes(report) == ["sync_failed"]
    assert "rclone said: the moon is full" in told(report)
    with lab.station(changing=False) as station:
        row = next(iter(list_rows(station, now=datetime.now(UTC))))
    assert row.problem is not None
    assert "the moon is full" in row.problem.message
    log = lab.cli("log", RUN).stdout
    assert log.count("rclone said: the moon is full") == 1


def wait_for(path: Path, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert path.exists()


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_no_rclone_is_left_when_its_pass_is_ended(lab: Lab, number: signal.Signals, status: int) -> None:
    stand_in(lab, 'case "$1" in copy) echo $$ > "$(dirname "$0")/pid"; exec sleep 600;; *) exec "$real" "$@";; esac')
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    poll = subprocess.Popen(lab.command("poll"), env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_for(lab.root / "pid")
        child = int((lab.root / "pid").read_text())
        poll.send_signal(number)
        assert poll.wait(15) == status
        deadline = time.monotonic() + 5
        while is_running(child) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not is_running(child)
    finally:
        poll.kill()
    trusted_again(lab)
    lab.poll()
    assert lab.states() == PROVED


def test_an_rclone_that_outlives_its_pass_still_holds_the_run(lab: Lab) -> None:
    """Where nothing ends it (a process that left our session), its lock keeps every other pass away."""
    escape = 'import os,time; os.setsid(); open(os.environ["PID"], "w").write(str(os.getpid())); time.sleep(600)'
    pid = lab.root / "pid"
    stand_in(
        lab,
        f'case "$1" in copy) PID={pid} {sys.executable} -c \'{escape}\' & exec sleep 600;; *) exec "$real" "$@";; esac',
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    poll = subprocess.Popen(lab.command("poll"), env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_for(pid)
        poll.kill()
        poll.wait(15)
        trusted_again(lab)
        assert lab.poll().busy > 0
        assert lab.states() == QUEUED
    finally:
        poll.kill()
        os.kill(int(pid.read_text()), signal.SIGKILL)
    lab.poll()
    assert lab.states() == PROVED


# -- a NAS that refuses --------------------------------------------------------------------------------------


def rewrite(tmp_path: Path, old: str, new: str) -> None:
    """Change rclone's configuration."""
    file = tmp_path / "server/rclone.conf"
    before = file.read_text()
    file.write_text("\n".join(new if line.startswith(old) else line for line in before.splitlines()) + "\n")
    assert file.read_text() != before


@pytest.mark.parametrize(
    ("kind", "key"),
    [("sftp", "pass"), pytest.param("webdav", "pass", marks=pytest.mark.slow), ("s3", "secret_access_key")],
)
def test_a_wrong_password_is_told_and_uses_up_no_attempt(tmp_path: Path, kind: str, key: str) -> None:
    with lab_at(tmp_path, kind) as (lab, _):
        lab.push()
        good = (tmp_path / "server/rclone.conf").read_text()
        rewrite(tmp_path, key, f"{key} = {obscured('wrong') if key == 'pass' else 'wrong'}")
        report = lab.poll()
        assert (report.exit_status, codes(report)) == (69, ["auth_failed"])
        (tmp_path / "server/rclone.conf").write_text(good)
        assert lab.poll().exit_status == 0
        assert lab.states() == PROVED


def test_a_changed_host_key_is_refused(tmp_path: Path) -> None:
    with lab_at(tmp_path, "sftp") as (lab, _):
        lab.push()
        known = tmp_path / "server/known_hosts"
        other = tmp_path / "other_key"
        require_program("ssh-keygen")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
        host = known.read_text().split()[0]
        known.write_text(f"{host} {' '.join(other.with_suffix('.pub').read_text().split()[:2])}\n")
        report = lab.poll()
        assert (report.exit_status, codes(report)) == (69, ["auth_failed"])
        assert "host key" in told(report)


def test_a_remote_that_is_not_configured_is_told(lab: Lab) -> None:
    lab.nas_table = lab.nas_table.replace('remote = "lab"', 'remote = "elsewhere"')
    lab.configure()
    report = lab.poll()
    assert (report.exit_status, codes(report)) == (69, ["nas_unreachable"])
    assert "rclone config" in report.announcements[0].problem.hint


def test_another_nas_behind_the_same_remote_is_refused(lab: Lab) -> None:
    (lab.nas / ".exlab-nas").write_text("another\n")
    report = lab.poll()
    assert (report.exit_status, codes(report)) == (69, ["nas_wrong_marker"])
    assert not lab.published().exists()


def test_a_full_far_side_is_told_and_a_later_pass_goes_on(tmp_path: Path) -> None:
    require_root()
    with lab_at(tmp_path, "sftp") as (lab, _):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(lab.nas)], check=True)
        try:
            (lab.nas / ".exlab-nas").write_text(MARKER_ID)
            lab.push(files={f"{number}.fcs": os.urandom(200_000) for number in range(8)})
            report = lab.poll()
            assert (report.exit_status, codes(report)) == (69, ["nas_full"])
            subprocess.run(["mount", "-o", "remount,size=8m", str(lab.nas)], check=True)
            assert lab.poll().exit_status == 0
            assert lab.states() == PROVED
        finally:
            subprocess.run(["umount", "-l", str(lab.nas)], check=True)


# -- races on the far side -----------------------------------------------------------------------------------


def test_a_folder_that_appears_while_the_run_is_published_is_not_overwritten(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ask.publish

    def meanwhile(source: ask.Remote, target: ask.Remote, **how: bool) -> ask.Arguments:
        (lab.published()).mkdir(parents=True, exist_ok=True)
        (lab.published() / "a.fcs").write_bytes(b"theirs")
        return real(source, target, **how)

    monkeypatch.setattr(ask, "publish", meanwhile)
    report = lab.poll()
    assert report.exit_status == 3
    assert (lab.published() / "a.fcs").read_bytes() == b"theirs"
    assert lab.states() == QUEUED


def test_a_file_that_appears_while_one_is_published_is_not_overwritten(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.poll()
    (lab.staged() / "new.fcs").write_bytes(b"ours")
    real = ask.publish

    def meanwhile(source: ask.Remote, target: ask.Remote, **how: bool) -> ask.Arguments:
        (lab.published() / "new.fcs").write_bytes(b"theirs")
        return real(source, target, **how)

    monkeypatch.setattr(ask, "publish", meanwhile)
    report = lab.poll()
    assert (report.exit_status, codes(report)) == (3, ["nas_conflict"])
    assert (lab.published() / "new.fcs").read_bytes() == b"theirs"


# -- the marker ----------------------------------------------------------------------------------------------


def test_nas_init_marks_a_remote_once_and_adopts_the_marker_after_that(lab: Lab) -> None:
    (lab.nas / ".exlab-nas").unlink()
    text = lab.config_path.read_text()
    lab.config_path.write_text("\n".join(line for line in text.splitlines() if not line.startswith("marker_id")) + "\n")
    ended = lab.cli("nas-init")
    assert ended.returncode == 0, ended.stderr
    marker = (lab.nas / ".exlab-nas").read_text()
    assert f'marker_id = "{marker.splitlines()[0]}"' in lab.config_path.read_text()
    assert lab.cli("nas-init").returncode == 0
    assert (lab.nas / ".exlab-nas").read_text() == marker
    assert lab.cli("poll").returncode == 0
    assert lab.states() == PROVED


def test_a_remote_inside_the_staging_folder_is_refused(lab: Lab) -> None:
    inside = lab.staging / "nas"
    inside.mkdir()
    (inside / ".exlab-nas").write_text(MARKER_ID)
    lab.nas_table = lab.nas_table.replace(str(lab.nas), str(inside))
    lab.configure()
    report = lab.poll()
    assert report.exit_status == 3
    assert "config_invalid" in codes(report)
    assert [path.name for path in inside.iterdir()] == [".exlab-nas"]


def test_a_marker_that_is_a_folder_is_none(lab: Lab) -> None:
    (lab.nas / ".exlab-nas").unlink()
    (lab.nas / ".exlab-nas").mkdir()
    (lab.nas / ".exlab-nas/x").write_text("hello")
    lab.config_path.write_text(lab.config_path.read_text().replace("marker_id", "# marker_id"))
    ended = lab.cli("nas-init")
    assert (ended.returncode, "not a small plain file" in ended.stderr) == (69, True), ended.stderr


def test_names_do_not_decide_what_went_wrong(lab: Lab) -> None:
    said = '{"level":"error","msg":"Failed to copy: 401/quota exceeded.fcs: broken","object":"401/quota exceeded.fcs"}'
    stand_in(lab, f'case "$1" in copy) echo \'{said}\' >&2; exit 1;; *) exec "$real" "$@";; esac')
    report = lab.poll()
    assert (report.exit_status, codes(report)) == (3, ["sync_failed"])


def test_a_program_that_vanishes_is_no_empty_nas(lab: Lab) -> None:
    lab.poll()
    gone = 'echo "setpriv: failed to execute rclone: No such file or directory" >&2; exit 127'
    stand_in(lab, f'case "$1" in lsjson) {gone};; *) exec "$real" "$@";; esac')
    with lab.station() as station, pytest.raises(ExlabError) as raised:
        clear(station, lab.run(RUN), by="ada", wait_seconds=0)
    assert raised.value.code == "nas_copy_unreadable"
    assert lab.states() == PROVED


def test_nas_init_does_not_replace_a_marker_that_somebody_emptied(lab: Lab) -> None:
    (lab.nas / ".exlab-nas").write_bytes(b"")
    lab.config_path.write_text(lab.config_path.read_text().replace("marker_id", "# marker_id"))
    ended = lab.cli("nas-init")
    assert (ended.returncode, "is empty" in ended.stderr) == (69, True), ended.stderr
    assert (lab.nas / ".exlab-nas").read_bytes() == b""


def test_nas_init_never_makes_the_folder_of_a_remote(lab: Lab) -> None:
    lab.nas_table = lab.nas_table.replace("/archive", "/mistyped")
    lab.configure()
    lab.config_path.write_text(lab.config_path.read_text().replace("marker_id", "# marker_id"))
    ended = lab.cli("nas-init")
    assert (ended.returncode, "There is no lab:" in ended.stderr) == (69, True), ended.stderr
    assert not lab.nas.with_name("mistyped").exists()


def test_a_remote_that_is_the_staging_folder_is_refused_before_anything_is_written(lab: Lab) -> None:
    lab.nas_table = lab.nas_table.replace(str(lab.nas), str(lab.staging))
    lab.configure()
    (lab.staging / ".exlab-nas").write_text(MARKER_ID)
    before = {path for path in lab.staged().rglob("*") if ".exlab-wizard" not in path.parts}
    report = lab.poll()
    assert report.exit_status == 3
    assert "config_invalid" in codes(report)
    assert {path for path in lab.staged().parent.rglob("*") if ".exlab-wizard" not in path.parts} == {
        *before,
        lab.staged(),
    }


def test_a_clear_needs_the_marker_too(lab: Lab) -> None:
    lab.poll()
    (lab.nas / ".exlab-nas").unlink()
    with lab.station() as station, pytest.raises(ExlabError) as raised:
        clear(station, lab.run(RUN), by="ada", wait_seconds=0)
    assert raised.value.code == "nas_wrong_marker"
    assert (lab.staged() / "a.fcs").exists()
