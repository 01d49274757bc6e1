"""A whole lab whose NAS is reached over ssh, from the push to the end, with a real sshd on loopback."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from exlab_orch.cleanup import clear
from exlab_orch.errors import NasCopyDamaged, RunProblem
from exlab_orch.passes import PassReport
from exlab_orch.transports.rsync_program import FarSide
from exlab_orch.trash import Cleared
from tests.contract.servers_ssh import SshServer, make_key, ssh_server, tools_without
from tests.lab import RUN, Lab
from tests.oracle import data_files, require_program

PROVED = ["staging", "complete", "sync_queued", "sync_verified"]
ODD = [b"back\\slash", b"new\nline", b"\xff\xfe", b"-rf", b"a b", b'it\'s "quoted"', b"$(touch x)", b"*", b"#1", b" x "]


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short name: the path of a socket must not be long."""
    return tmp_path_factory.mktemp("r")


@pytest.fixture
def server(root: Path) -> Iterator[SshServer]:
    require_program("rsync")
    with ssh_server(root / "ssh") as running:
        yield running


@pytest.fixture
def lab(server: SshServer, root: Path) -> Lab:
    return lab_at(server, root)


def lab_at(server: SshServer, root: Path, **changed: object) -> Lab:
    far = root / "far side"
    return Lab(root / "lab", nas_table=server.nas_table(far, **changed), nas_folder=far)


def cleared(lab: Lab, run: str = RUN) -> Cleared:
    with lab.station() as station:
        return clear(station, lab.run(run), by="ada", wait_seconds=0)


def proved(lab: Lab) -> PassReport:
    report = lab.poll()
    assert (report.exit_status, lab.states()[-1]) == (0, "sync_verified"), report.announcements
    return report


def proof_by(lab: Lab) -> object:
    (entry,) = [entry for entry in lab.record().history if entry.state == "sync_verified"][-1:]
    return entry.extra("proof_by")


def codes(report: PassReport) -> list[str]:
    return [one.problem.code for one in report.announcements]


def require_list_holds(lab: Lab) -> None:
    """What the people of the NAS can do themselves."""
    words = ["sha256sum", "--quiet", "--strict", "-c", ".exlab-wizard/checksums.sha256"]
    subprocess.run(words, cwd=lab.published(), check=True, timeout=30)


def test_a_run_with_odd_names_is_proved_and_cleared(lab: Lab) -> None:
    folder = lab.push(files={"a.fcs": b"aaa", "empty": b""}, done=False)
    for name in ODD:
        (folder / os.fsdecode(name)).write_bytes(b"content of " + name)
    (folder / "empty folder/deeper").mkdir(parents=True)
    lab.push(files={})
    before = data_files(folder)
    proved(lab)
    assert (lab.states(), proof_by(lab)) == (PROVED, "remote")
    assert data_files(lab.published()) == before
    assert (lab.published() / "empty folder/deeper").is_dir()
    require_list_holds(lab)
    assert cleared(lab).files_cleared == len(before)
    assert not lab.staged().exists()
    assert data_files(lab.published()) == before
    assert lab.nas_record()["current_state"] == "cleared"
    assert [path for path in lab.nas.rglob("*") if ".exlab-part" in path.name] == []


@pytest.mark.slow
def test_an_empty_run_is_proved_and_cleared(lab: Lab) -> None:
    lab.push(files={})
    assert lab.cli("accept", RUN, "--reason", "empty", "--yes").returncode == 0
    proved(lab)
    require_list_holds(lab)
    assert cleared(lab).files_cleared == 1


@pytest.mark.slow
def test_sending_again_is_free_and_a_changed_file_takes_the_place_of_the_earlier_one(lab: Lab) -> None:
    lab.push()
    proved(lab)
    inode = (lab.published() / "a.fcs").stat().st_ino
    cleared(lab)
    lab.push()
    proved(lab)
    assert (lab.published() / "a.fcs").stat().st_ino == inode
    (lab.staged() / "a.fcs").write_bytes(b"more")
    (lab.staged() / "new folder").mkdir()
    (lab.staged() / "new folder/new").write_bytes(b"new")
    with pytest.raises(RunProblem):
        cleared(lab)
    proved(lab)
    assert (lab.published() / "a.fcs").read_bytes() == b"more"
    assert (lab.published() / "new folder/new").read_bytes() == b"new"
    assert [path.read_bytes() for path in lab.published().glob(".exlab-wizard/superseded/*/a.fcs")] == [b"aaa"]
    require_list_holds(lab)
    assert cleared(lab).files_cleared == 4


@pytest.mark.slow
def test_what_was_damaged_at_the_far_side_is_not_cleared(lab: Lab) -> None:
    lab.push()
    proved(lab)
    path = lab.published() / "a.fcs"
    before = path.stat()
    path.write_bytes(b"bad")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(NasCopyDamaged):
        cleared(lab)
    assert (lab.staged() / "a.fcs").read_bytes() == b"aaa"


@pytest.mark.slow
@pytest.mark.parametrize("lacks", ["find sha256sum", "dd touch df"])
def test_a_far_side_with_few_tools_is_proved_and_cleared(root: Path, lacks: str) -> None:
    path = tools_without(root, *lacks.split()[: 2 if "find" in lacks else -1])
    with ssh_server(root / "ssh", environment={"PATH": str(path)}) as server:
        lab = lab_at(server, root)
        lab.push()
        proved(lab)
        assert proof_by(lab) == ("stream" if "sha256sum" in lacks else "remote")
        assert lab.poll().exit_status == 0
        assert cleared(lab).files_cleared == 3


@pytest.mark.slow
def test_a_server_that_is_gone_for_a_while_costs_no_attempt(lab: Lab, server: SshServer) -> None:
    lab.push()
    server.kill()
    report = lab.poll()
    assert codes(report) == ["nas_unreachable"]
    assert lab.cli("poll").returncode == 69
    server.start()
    proved(lab)


@pytest.mark.parametrize("which", ["key", "host_key"])
def test_a_wrong_key_ends_a_poll_with_its_code(lab: Lab, server: SshServer, which: str) -> None:
    server.kill()
    make_key(server.key if which == "key" else server.host_key)
    server.start()
    lab.push()
    done = lab.cli("poll", "--json")
    assert done.returncode == 69, done.stderr
    assert "auth_failed" in done.stdout + done.stderr
    problems = json.loads(lab.cli("list", "--json").stdout)
    assert "auth_failed" in json.dumps(problems)
    assert [path.name for path in lab.nas.iterdir()] == [".exlab-nas"]


@pytest.mark.slow
def test_a_connection_that_breaks_while_a_run_is_copied_is_taken_up_again(
    lab: Lab, server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.push(files={"big": os.urandom(5_000_000), "small": b"x"})
    upload = FarSide.upload

    def broken(self: FarSide, *arguments: str, **settings: object) -> None:
        server.kill()
        upload(self, *arguments, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(FarSide, "upload", broken)
    report = lab.poll()
    assert codes(report) == ["nas_unreachable"]
    monkeypatch.undo()
    server.start()
    proved(lab)
    assert cleared(lab).files_cleared == 3
    assert [path for path in lab.nas.rglob("*") if ".exlab-part" in path.name] == []


@pytest.mark.slow
def test_two_thousand_files_are_proved(lab: Lab) -> None:
    lab.push(files={f"folder {number % 20}/file {number}": str(number).encode() for number in range(2000)})
    proved(lab)
    require_list_holds(lab)
    assert cleared(lab).files_cleared == 2001


def test_the_right_place_is_marked_from_the_command_line(server: SshServer, root: Path) -> None:
    lab = lab_at(server, root)
    (lab.nas / ".exlab-nas").unlink()
    text = lab.config_path.read_text()
    lab.config_path.write_text("".join(line for line in text.splitlines(True) if "marker_id" not in line))
    done = lab.cli("nas-init", "--yes")
    assert done.returncode == 0, done.stderr
    marker = (lab.nas / ".exlab-nas").read_text().splitlines()[0]
    assert marker in lab.config_path.read_text()
