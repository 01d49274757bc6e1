"""The verb ``report``: where it writes, what it refuses to replace, and what it says."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from exlab_orch.cli.report_page import is_report
from tests.cli.test_verbs import Shell
from tests.files.privilege import ordinary_user
from tests.lab import RUN, Lab, tree

pytestmark = pytest.mark.usefixtures("proved")


@pytest.fixture
def shell(lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("EXLAB_ORCH_CONFIG", str(lab.config_path))
    return Shell(capsys)


@pytest.fixture
def proved(lab: Lab) -> None:
    lab.push()
    lab.poll()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "runs.html"


def test_a_report_is_one_page_that_names_the_run(shell: Shell, target: Path) -> None:
    said = shell("report", "--html", str(target))
    assert (said.status, said.out) == (0, "")
    assert said.err.startswith(f"Wrote {target}: 1 run, ")
    assert RUN in target.read_text()
    assert is_report(target.read_bytes()[:4096])


def test_a_former_report_is_replaced_and_keeps_its_mode(shell: Shell, target: Path) -> None:
    shell("report", "--html", str(target))
    target.chmod(0o640)
    before = target.stat().st_ino
    assert shell("report", "--html", str(target), "--since", "90d").status == 0
    assert (target.stat().st_ino != before, target.stat().st_mode & 0o777) == (True, 0o640)
    assert sorted(path.name for path in target.parent.iterdir() if "exlab-new" in path.name) == []


def test_an_empty_file_is_replaced_too(shell: Shell, target: Path) -> None:
    target.touch()
    assert shell("report", "--html", str(target)).status == 0
    assert is_report(target.read_bytes()[:4096])


def test_another_file_is_replaced_only_after_a_yes(shell: Shell, target: Path) -> None:
    target.write_text("<html>my thesis</html>")
    said = shell("report", "--html", str(target))
    assert said.status == 5
    assert "Nobody confirmed" in said.err
    assert target.read_text() == "<html>my thesis</html>"
    assert shell("report", "--html", str(target), "--yes").status == 0
    assert is_report(target.read_bytes()[:4096])


@pytest.mark.parametrize("content", [None, b""])
def test_a_link_is_not_written_through(shell: Shell, target: Path, tmp_path: Path, content: bytes | None) -> None:
    """Whoever may write into a folder could else have the service user replace a file elsewhere."""
    if content is not None:
        target.write_bytes(content)
    (tmp_path / "link.html").symlink_to(target)
    said = shell("report", "--html", f"{tmp_path}/link.html", "--yes")
    assert (said.status, f"it is a link to {target}; name that" in said.err) == (2, True)
    assert (target.read_bytes() if target.exists() else None) == content


def test_the_mode_of_a_new_file_follows_the_umask(lab: Lab, target: Path) -> None:
    before = os.umask(0o077)
    try:
        done = lab.cli("report", "--html", str(target))
    finally:
        os.umask(before)
    assert done.returncode == 0, done.stderr
    assert target.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("place", ["", "x.html", f"{RUN}/report.html"])
def test_nothing_is_written_into_staging(lab: Lab, shell: Shell, place: str) -> None:
    said = shell("report", "--html", f"{lab.staging}/{place}", "--yes")
    assert said.status == 2
    assert "it lies in staging" in said.err
    assert not (lab.staging / "x.html").exists()
    assert not (lab.staged() / "report.html").exists()


@pytest.mark.parametrize(
    "place", ["state/seal.key", "state/x.html", f"nas/{RUN}/a.fcs", "nas/x.html", "nas/.exlab-nas"]
)
def test_nothing_is_written_among_the_runs_on_the_nas_or_into_our_memory(lab: Lab, shell: Shell, place: str) -> None:
    before = tree(lab.nas), (lab.state / "seal.key").read_bytes()
    said = shell("report", "--html", f"{lab.root}/{place}", "--yes")
    assert said.status == 2
    assert ("it lies on the NAS" if place.startswith("nas") else "it lies in the state directory") in said.err
    assert (tree(lab.nas), (lab.state / "seal.key").read_bytes()) == before
    assert not (lab.state / "x.html").exists()


def test_staging_is_known_behind_a_link(lab: Lab, shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").symlink_to(lab.staged())
    said = shell("report", "--html", f"{tmp_path}/elsewhere/x.html")
    assert (said.status, "it lies in staging" in said.err) == (2, True)


def test_what_is_no_plain_file_is_refused_and_not_waited_for(shell: Shell, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        said = shell("report", "--html", f"{tmp_path}/{name}", "--yes")
        assert (said.status, "it is no plain file" in said.err) == (2, True)


def test_a_folder_that_is_not_there_is_not_made(shell: Shell, tmp_path: Path) -> None:
    said = shell("report", "--html", f"{tmp_path}/no/such/x.html")
    assert said.status == 2
    assert "it cannot be written: No such file or directory" in said.err
    assert not (tmp_path / "no").exists()


def test_a_folder_that_this_user_may_not_write_is_a_matter_of_rights(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with ordinary_user():
        said = shell("report", "--html", f"{tmp_path}/closed/x.html", "--json")
    told = json.loads(said.err)
    assert (said.status, told["code"]) == (77, "permission_denied")
    assert "sudo exlab-orch" in told["hint"]
    (tmp_path / "closed").chmod(0o000)
    with ordinary_user():
        assert shell("report", "--html", f"{tmp_path}/closed/x.html").status == 77
    (tmp_path / "closed").chmod(0o700)
    assert os.listdir(tmp_path / "closed") == []


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_disk_that_takes_no_page_is_no_wrong_usage(
    shell: Shell, target: Path, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr("exlab_orch.cli.report_file.replace_own", full)
    said = shell("report", "--html", str(target), "--json")
    assert (said.status, json.loads(said.err)["code"]) == (74, "output_lost")


def test_a_page_for_standard_output_is_all_that_is_there(shell: Shell) -> None:
    said = shell("report", "--html", "-")
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith("<!DOCTYPE html>")
    assert said.out.isascii()


def test_a_dry_run_says_what_it_would_write_and_writes_nothing(shell: Shell, target: Path) -> None:
    said = shell("report", "--html", str(target), "--dry-run")
    assert said.err.startswith(f"Would write {target}: 1 run")
    assert not target.exists()


def test_json_says_what_was_written(shell: Shell, target: Path) -> None:
    told = shell("report", "--html", str(target), "--json").document()
    assert told["path"] == str(target)
    assert told["page_bytes"] == target.stat().st_size
    assert (told["run_count"], told["dry_run"], told["schema_version"]) == (1, False, "1.0")
    assert told["since"] < told["generated_at"]


def test_json_and_a_page_do_not_share_standard_output(shell: Shell) -> None:
    assert shell("report", "--html", "-", "--json").status == 2


def test_without_a_file_it_says_what_is_missing(shell: Shell) -> None:
    said = shell("report")
    assert said.status == 2
    assert "--html" in said.err


def test_who_may_only_look_on_may_report(lab: Lab, shell: Shell) -> None:
    with ordinary_user():
        said = shell("report", "--html", "-")
    assert said.status == 0
    assert RUN in said.out


def test_staging_that_is_not_there_ends_it(lab: Lab, shell: Shell, target: Path) -> None:
    lab.staging.rename(lab.root / "gone")
    assert shell("report", "--html", str(target)).status == 69
    assert not target.exists()
