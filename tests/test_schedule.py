"""What starts passes is found in the files of cron and systemd, and nothing else is taken for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from exlab_orch.schedule import ActiveSchedule, active_schedules, crontab_schedules, watching_services

POLL = "/usr/local/bin/exlab-orch poll"


def write(root: Path, name: str, text: str) -> Path:
    path = root / name.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def enable(root: Path, timer: str, *, folder: str = "etc/systemd/system") -> None:
    """As ``systemctl enable`` does: a link with the absolute name of the unit file."""
    wants = root / folder / "timers.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / timer).symlink_to(f"/etc/systemd/system/{timer}")


def timer(root: Path, name: str = "exlab-orch-copy", command: str = POLL, *, more: str = "") -> Path:
    write(root, f"etc/systemd/system/{name}.service", f"[Service]\nExecStart={command}\n")
    return write(root, f"etc/systemd/system/{name}.timer", f"[Timer]\nOnCalendar=minutely\n{more}")


def kinds(root: Path) -> list[str]:
    return [one.kind for one in active_schedules(str(root))]


def test_nothing_is_active_where_nothing_is_installed(tmp_path: Path) -> None:
    assert active_schedules(str(tmp_path)) == ()
    assert active_schedules(str(tmp_path / "not there")) == ()


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("etc/cron.d/exlab-orch", f"* * * * *  exlab-orch  {POLL}"),
        ("etc/cron.d/lab", "*/5 * * * * exlab-orch exlab-orch poll --only sync"),
        ("etc/crontab", "@reboot\texlab-orch\texlab-orch -c /etc/lab.toml poll"),
        ("etc/cron.d/x", "* * * * * root sudo -u lab flock -n /tmp/x exlab-orch -v poll >/dev/null 2>&1"),
        ("etc/cron.d/x", "* * * * * lab cd /opt && /opt/venv/bin/python -m exlab_orch poll"),
        ("etc/cron.d/x", "* * * * * lab sh -c 'exlab-orch poll; true'"),
        ("etc/cron.d/x", "* * * * * lab '/opt/my lab/exlab-orch' -c '/etc/my lab.toml' poll"),
        ("var/spool/cron/crontabs/lab", "* * * * * exlab-orch poll"),
        ("var/spool/cron/lab", "* * * * * exlab-orch poll"),
    ],
)
def test_a_line_of_cron_that_starts_a_pass_is_found(tmp_path: Path, file: str, line: str) -> None:
    path = write(tmp_path, file, f"# comment\nPATH=/usr/bin\n{line}\n")
    (found,) = active_schedules(str(tmp_path))
    assert (found.kind, found.file) == ("cron", str(path))
    assert "poll" in found.program
    assert "* *" not in found.program


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("etc/cron.d/exlab-orch", f"# * * * * *  exlab-orch  {POLL}"),
        ("etc/cron.d/exlab-orch.bak", f"* * * * * exlab-orch {POLL}"),
        ("etc/cron.d/x", "0 7 * * 1 exlab-orch exlab-orch verify --all --since 7d"),
        ("etc/cron.d/x", "0 7 * * 1 lab exlab-orch list | grep poll"),
        ("etc/cron.d/x", "0 7 * * 1 lab exlab-orch report --html /srv/poll"),
        ("etc/cron.d/x", "0 7 * * 1 lab /opt/exlab-orch/bin/other poll"),
        ("etc/cron.d/x", "NOTE=* * * * exlab-orch poll"),
        ("etc/cron.d/x", "* * * * * lab cat%exlab-orch poll"),
    ],
)
def test_what_is_no_pass_of_cron_is_not_taken_for_one(tmp_path: Path, file: str, line: str) -> None:
    write(tmp_path, file, f"{line}\n")
    assert active_schedules(str(tmp_path)) == ()


@pytest.mark.parametrize(
    ("program", "config"),
    [
        (POLL, None),
        ("exlab-orch -c /etc/a.toml poll", "/etc/a.toml"),
        ("exlab-orch --config '/etc/my lab.toml' poll", "/etc/my lab.toml"),
        ("exlab-orch poll --config=/etc/a.toml", "/etc/a.toml"),
        ("exlab-orch -c 'torn poll", "'torn"),
    ],
)
def test_the_configuration_of_a_line_is_the_one_it_names(tmp_path: Path, program: str, config: str | None) -> None:
    write(tmp_path, "etc/cron.d/x", f"* * * * * lab {program}\n")
    (found,) = active_schedules(str(tmp_path))
    assert found.config == config


def test_a_percent_sign_is_read_as_cron_reads_it() -> None:
    def commands(line: str, user: str | None = None) -> list[tuple[str | None, str]]:
        return [(one.user, one.program) for one in crontab_schedules("x", line, user=user)]

    assert commands("* * * * * lab exlab-orch poll \\% b%c") == [("lab", "exlab-orch poll % b")]
    assert commands("* * * * * exlab-orch poll", "lab") == [("lab", "exlab-orch poll")]
    assert commands("MAILTO=exlab-orch poll") == []


def test_an_enabled_timer_is_found_and_one_that_only_lies_there_is_not(tmp_path: Path) -> None:
    path = timer(tmp_path)
    timer(tmp_path, "exlab-orch-look", f"{POLL} --only evaluate")
    assert active_schedules(str(tmp_path)) == ()
    enable(tmp_path, "exlab-orch-copy.timer")
    (found,) = active_schedules(str(tmp_path))
    assert (found.kind, found.file, found.program) == ("timer", str(path), POLL)


def test_a_timer_that_was_enabled_until_the_next_start_is_found(tmp_path: Path) -> None:
    timer(tmp_path)
    enable(tmp_path, "exlab-orch-copy.timer", folder="run/systemd/system")
    assert kinds(tmp_path) == ["timer"]


def test_a_timer_may_name_its_service_and_a_service_may_be_changed_by_a_drop_in(tmp_path: Path) -> None:
    timer(tmp_path, "minutely", "/bin/true", more="Unit=other.service\n")
    write(tmp_path, "usr/lib/systemd/system/other.service", "[Service]\nExecStart=/bin/true\n")
    enable(tmp_path, "minutely.timer")
    assert active_schedules(str(tmp_path)) == ()
    write(tmp_path, "etc/systemd/system/other.service.d/lab.conf", f"[Service]\nExecStart=\nExecStart={POLL} \\\n -v\n")
    (found,) = active_schedules(str(tmp_path))
    assert found.program.split() == [*POLL.split(), "-v"]


def test_a_masked_service_starts_nothing(tmp_path: Path) -> None:
    timer(tmp_path)
    enable(tmp_path, "exlab-orch-copy.timer")
    service = tmp_path / "etc/systemd/system/exlab-orch-copy.service"
    write(tmp_path, "usr/lib/systemd/system/exlab-orch-copy.service", service.read_text())
    service.unlink()
    service.symlink_to("/dev/null")
    assert active_schedules(str(tmp_path)) == ()


def test_an_instance_of_a_template_is_found(tmp_path: Path) -> None:
    timer(tmp_path, "lab@", "exlab-orch -c /etc/%i.toml poll")
    enable(tmp_path, "lab@one.timer")
    assert kinds(tmp_path) == ["timer"]


def test_both_are_found_where_both_are_active(tmp_path: Path) -> None:
    write(tmp_path, "etc/cron.d/exlab-orch", f"* * * * * exlab-orch {POLL}\n")
    timer(tmp_path)
    enable(tmp_path, "exlab-orch-copy.timer")
    assert kinds(tmp_path) == ["cron", "timer"]


def test_the_crontab_file_that_comes_with_the_program_is_found(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[1] / "contrib/cron/exlab-orch"
    write(tmp_path, "etc/cron.d/exlab-orch", shipped.read_text())
    assert kinds(tmp_path) == ["cron"]


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("/opt/x/bin/exlab-orch -c /etc/lab.toml poll --only sync", ["/opt/x/bin/exlab-orch", "-c", "/etc/lab.toml"]),
        ("-/usr/bin/exlab-orch poll", ["/usr/bin/exlab-orch"]),
        ("/opt/x/bin/python -m exlab_orch poll", ["/opt/x/bin/python", "-m", "exlab_orch"]),
        ("/usr/bin/flock /run/lock exlab-orch poll", []),
        ("exlab-orch poll", []),
        ("/usr/bin/exlab-orch 'poll", []),
        ("", []),
    ],
)
def test_what_starts_the_program_is_told_from_what_starts_something_else(program: str, expected: list[str]) -> None:
    assert ActiveSchedule("cron", "/etc/cron.d/x", program).before_the_verb == expected


def test_an_enabled_service_that_watches_is_found(tmp_path: Path) -> None:
    command = "/usr/bin/exlab-orch -c /etc/lab.toml watch --interval 1m"
    unit = write(tmp_path, "etc/systemd/system/lab.service", f"[Service]\nExecStart={command}\n")
    write(tmp_path, "etc/systemd/system/other.service", "[Service]\nExecStart=/usr/bin/exlab-orch list\n")
    assert watching_services(str(tmp_path)) == ()
    for name in ("lab.service", "other.service"):
        link = tmp_path / "etc/systemd/system/multi-user.target.wants" / name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(f"/etc/systemd/system/{name}")
    (found,) = watching_services(str(tmp_path))
    assert (found.file, found.config) == (str(unit), "/etc/lab.toml")
    assert active_schedules(str(tmp_path)) == ()
