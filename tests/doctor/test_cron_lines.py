"""A line of cron that starts no pass, or one that is refused, is not said to be a schedule that is well."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from exlab_orch.diagnosis import Finding
from tests.doctor.looks import found
from tests.lab import Lab
from tests.oracle import require_root

SERVICE, OTHER = pwd.getpwuid(1).pw_name, pwd.getpwuid(2).pw_name


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A lab whose passes an ordinary user runs."""
    require_root()
    lab = Lab(tmp_path)
    lab.state.mkdir()
    os.chown(lab.state, 1, 1)
    return lab


def crontab(lab: Lab, user: str, *, before: str = "/bin/exlab-orch", file: str = "etc/cron.d/exlab-orch") -> Path:
    path = lab.root / "system" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"MAILTO=root\n* * * * *  {user}  {before} -c {lab.config_path} poll\n")
    path.chmod(0o644)
    return path


def active(lab: Lab) -> Finding:
    return found(lab)["schedule.active"]


def test_a_line_of_the_service_user_is_well(lab: Lab) -> None:
    crontab(lab, SERVICE)
    assert active(lab).result == "ok"


@pytest.mark.parametrize("user", ["root", OTHER])
@pytest.mark.parametrize("file", ["etc/cron.d/exlab-orch", "etc/crontab"])
def test_a_line_of_another_user_is_an_error_because_every_pass_is_refused(lab: Lab, user: str, file: str) -> None:
    path = crontab(lab, user, file=file)
    one = active(lab)
    assert one.result == "error"
    assert one.message == f"{path} starts passes as {user}, and each is refused: passes are run by {SERVICE}."
    assert one.fix.endswith(f"sudo exlab-orch -c {lab.config_path} schedule cron --install")


def test_a_line_of_a_user_who_is_not_known_is_an_error_because_cron_passes_over_the_file(lab: Lab) -> None:
    path = crontab(lab, "exlab-orhc")
    one = active(lab)
    assert (one.result, one.message) == (
        "error",
        f"cron passes over {path}: there is no user exlab-orhc on this computer.",
    )
    assert f"sudo mv {path} {path}.old && " in one.fix


def test_the_own_crontab_of_another_user_is_an_error_and_of_the_service_user_well(lab: Lab) -> None:
    for user, expected in ((OTHER, "error"), (SERVICE, "ok")):
        path = crontab(lab, "", file=f"var/spool/cron/crontabs/{user}")
        assert active(lab).result == expected
        assert f"sudo crontab -u {user} -e" in active(lab).fix or expected == "ok"
        path.unlink()


@pytest.mark.parametrize("before", [f"sudo -u {SERVICE} exlab-orch", f"runuser -u {SERVICE} -- /bin/exlab-orch"])
def test_a_line_of_root_that_becomes_the_service_user_is_well(lab: Lab, before: str) -> None:
    crontab(lab, "root", before=before)
    assert active(lab).result == "ok"


@pytest.mark.parametrize("before", ["sudo /bin/exlab-orch", "/bin/exlab-orch"])
def test_a_line_of_root_that_stays_root_is_an_error_whatever_comes_behind_it(lab: Lab, before: str) -> None:
    path = crontab(lab, "root", before=before)
    path.write_text(path.read_text().replace(" poll\n", f" poll ; ssh nas true ; sudo -u {SERVICE} true\n"))
    assert active(lab).result == "error"


def test_the_crontab_of_a_user_who_is_gone_is_removed_without_crontab(lab: Lab) -> None:
    path = crontab(lab, "", file="var/spool/cron/crontabs/gone-user")
    one = active(lab)
    assert (one.result, f"sudo rm {path} ; then: " in one.fix) == ("error", True)


def test_a_file_whose_lines_end_as_on_windows_starts_no_pass(lab: Lab) -> None:
    path = crontab(lab, SERVICE)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    one = active(lab)
    assert (one.result, one.fix) == ("error", f"sudo sed -i 's/\\r$//' {path}")


def test_a_file_that_is_not_roots_is_passed_over_by_cron(lab: Lab) -> None:
    path = crontab(lab, SERVICE)
    os.chown(path, 2, 2)
    one = active(lab)
    assert (one.result, one.fix) == ("error", f"sudo chown root: {path}")
    assert one.message == f"cron passes over {path}: it belongs to {OTHER}, not to root."


def test_a_link_that_is_not_roots_is_passed_over_by_cron(lab: Lab) -> None:
    link = crontab(lab, SERVICE)
    link.rename(lab.root / "elsewhere")
    link.symlink_to(lab.root / "elsewhere")
    assert active(lab).result == "ok"
    os.lchown(link, 2, 2)
    one = active(lab)
    assert (one.result, one.fix) == ("error", f"sudo chown -h root: {link}")


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_may_write_is_passed_over_by_cron(lab: Lab, mode: int) -> None:
    path = crontab(lab, SERVICE)
    path.chmod(mode)
    one = active(lab)
    assert (one.result, one.fix) == ("error", f"sudo chmod go-w {path}")
    assert one.message == f"cron passes over {path}: others than root may write in it (mode {mode:04o})."


def test_a_file_with_a_second_name_is_passed_over_by_cron(lab: Lab) -> None:
    path = crontab(lab, SERVICE)
    os.link(path, lab.root / "second")
    assert (active(lab).result, "hard link" in active(lab).message) == ("error", True)


def test_a_file_whose_last_line_does_not_end_is_passed_over_by_cron(lab: Lab) -> None:
    path = crontab(lab, SERVICE)
    path.write_text(path.read_text().rstrip("\n"))
    one = active(lab)
    assert (one.result, one.fix) == ("error", f"echo | sudo tee -a {path}")
    assert one.message == f"cron passes over {path}: its last line has no line break at its end."


def test_that_no_pass_was_made_is_not_told_again_where_cron_starts_none(lab: Lab) -> None:
    os.chown(lab.state, 0, 0)
    crontab(lab, "exlab-orhc")
    assert found(lab)["schedule.recent"].message == "It was not looked at: first mend schedule.active."


@pytest.mark.parametrize("tail", ["# a note", "  # a note", "  "])
def test_a_comment_that_does_not_end_is_read_by_cron_all_the_same(lab: Lab, tail: str) -> None:
    path = crontab(lab, SERVICE)
    path.write_text(path.read_text() + tail)
    assert active(lab).result == "ok"
