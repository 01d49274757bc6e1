"""G. What cron, shells and other users make of the surroundings: environment, streams, modes, owners, directories."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.faults.scenarios import FILES, clear_once_more
from tests.lab import RUN, Lab
from tests.oracle import Oracle, require_cleared, require_program

HERE = Path(__file__).parents[2]
PROVED = ["staging", "complete", "sync_queued", "sync_verified"]


def shell(lab: Lab, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A shell line in which ``PROGRAM`` is the program with these words; an empty environment but for the imports."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(HERE), "LAB": str(lab.root)}
    line = text.replace("PROGRAM", shlex.join(lab.command(*words)))
    bash = [require_program("bash"), "-o", "pipefail", "-c", line]
    return subprocess.run(bash, capture_output=True, text=True, env=environment, check=False, timeout=60)


# -- environment and streams -----------------------------------------------------------------------------------

CRON = f"env -i PYTHONPATH={HERE}"
SURROUNDINGS = {
    "cron's environment": f"{CRON} LC_ALL=C PATH=/usr/bin:/bin setsid -w PROGRAM </dev/null",
    "no variable at all": f"{CRON} PROGRAM",
    "a PATH that leads nowhere": f"{CRON} PATH=/nowhere PROGRAM",
    "unknown locale and time zone": "LC_ALL=xx_YY.foo LANG=bar TZ=../garbage PROGRAM",
    "ASCII and no UTF-8 mode": "LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 PYTHONIOENCODING=ascii:strict PROGRAM",
    "checks of Python switched off": "PYTHONOPTIMIZE=2 PROGRAM",
    "warnings as errors": "PYTHONDEVMODE=1 PYTHONWARNINGS=error PROGRAM",
    "no home, no temporary folder": "HOME=/nowhere TMPDIR=/nowhere SQLITE_TMPDIR=/nowhere PROGRAM",
    "an odd terminal": "TERM=garbage COLUMNS=-5 LINES=x FORCE_COLOR=1 PROGRAM",
    "an odd user name": "SUDO_USER='a\n\033[31m' PROGRAM",
    "stdin closed": "PROGRAM <&-",
    "stdout closed": "PROGRAM >&-",
    "stderr closed": "PROGRAM 2>&-",
    "every stream closed": "PROGRAM <&- >&- 2>&-",
    "a full disk behind both outputs": "PROGRAM >/dev/full 2>/dev/full",
    "a reader that went away": "PROGRAM 2>&1 | true",
    "a working directory that is gone": 'mkdir "$LAB/gone"; cd "$LAB/gone"; rmdir "$LAB/gone"; PROGRAM',
}


@pytest.mark.parametrize("line", SURROUNDINGS)
def test_a_pass_and_a_clear_do_their_work_in_any_surroundings(lab: Lab, oracle: Oracle, line: str) -> None:
    """Verbose, so that there is something to say that cannot be said."""
    lab.push(files=FILES)
    oracle.remember()
    ended = shell(lab, SURROUNDINGS[line], "poll", "-v")
    assert ended.returncode == 0, ended
    assert lab.states() == PROVED
    ended = shell(lab, SURROUNDINGS[line], "clear", "--yes", RUN)
    assert ended.returncode == 0, ended
    require_cleared(lab)
    oracle.settle()


def test_a_working_directory_that_may_not_be_read_does_not_matter(lab: Lab, oracle: Oracle) -> None:
    lab.push()
    oracle.remember()
    closed = lab.root / "closed"
    closed.mkdir(mode=0)
    line = f"cd {closed} 2>/dev/null; setpriv --bounding-set=-dac_override,-dac_read_search PROGRAM"
    assert shell(lab, line, "poll").returncode == 0
    assert lab.states() == PROVED
    closed.rmdir()
    oracle.settle()


@pytest.mark.parametrize("command", [("poll", "--json"), ("list",), ("list", "--json"), ("show", RUN)], ids=" ".join)
@pytest.mark.parametrize("line", ["PROGRAM >/dev/full", "PROGRAM >&-", "PROGRAM | true"])
def test_output_that_cannot_be_written_is_never_a_bug(lab: Lab, oracle: Oracle, command: list[str], line: str) -> None:
    lab.push()
    oracle.remember()
    lab.poll()
    ended = shell(lab, line, *command)
    assert ended.returncode in (0, 74), ended
    assert "bug" not in ended.stderr
    oracle.settle()


def test_no_check_of_the_product_is_an_assert() -> None:
    """PYTHONOPTIMIZE takes every assert away."""
    sources = (HERE / "exlab_orch").rglob("*.py")
    found = [path.name for path in sources if re.search(r"^\s*assert\b", path.read_text(), re.MULTILINE)]
    assert found == []


# -- modes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", ["000", "022", "077"])
def test_what_is_made_has_the_same_modes_under_any_umask(lab: Lab, oracle: Oracle, umask: str) -> None:
    lab.push(files=FILES)
    oracle.remember()
    assert shell(lab, f"umask {umask}; PROGRAM", "poll").returncode == 0
    assert modes(lab.state / "seal.key") == {"seal.key": 0o600}
    for folder in (lab.published(), lab.staged() / ".exlab-wizard", lab.staging / ".exlab-orch"):
        assert set(modes(folder).values()) == {0o644, 0o755}
    made = modes(lab.state)
    assert {made["journal.sqlite3"], made["locks"], made["progress"]} == {0o644, 0o755}
    assert {mode for name, mode in made.items() if name.startswith("locks/")} == {0o600}
    oracle.settle()


def modes(path: Path) -> dict[str, int]:
    """Permission bits by name, of a file or of everything below a folder."""
    found = [path] if path.is_file() else [path, *path.rglob("*")]
    base = path.parent if path.is_file() else path
    return {str(one.relative_to(base)): one.stat().st_mode & 0o7777 for one in found}


# -- who may write where ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o775, 0o777, 0o1777])
def test_a_state_directory_that_others_may_write_in_is_refused(lab: Lab, oracle: Oracle, mode: int) -> None:
    lab.push()
    oracle.remember()
    lab.state.mkdir()
    lab.state.chmod(mode)
    ended = lab.cli("poll")
    assert (ended.returncode, "chmod go-w" in ended.stderr) == (78, True), ended
    assert not (lab.staged() / ".exlab-wizard").exists()
    lab.state.chmod(0o755)
    oracle.settle()
    assert lab.states() == PROVED


@pytest.mark.root
@pytest.mark.parametrize("verb", [("poll",), ("clear", "--yes", RUN), ("takeover", "--yes")], ids=" ".join)
def test_a_state_directory_of_somebody_else_is_refused(lab: Lab, oracle: Oracle, verb: tuple[str, ...]) -> None:
    lab.push()
    lab.poll()
    oracle.remember()
    other = pwd.getpwuid(1)
    os.chown(lab.state, other.pw_uid, other.pw_gid)
    ended = lab.cli(*verb)
    assert (ended.returncode, f"sudo -u {other.pw_name} exlab-orch" in ended.stderr) == (77, True), ended
    os.chown(lab.state, os.geteuid(), os.getegid())
    clear_once_more(lab)
    oracle.settle()
    require_cleared(lab)


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o666])
def test_a_key_that_others_may_read_is_closed_and_told_once(lab: Lab, oracle: Oracle, mode: int) -> None:
    lab.push()
    lab.poll()
    oracle.remember()
    (lab.state / "seal.key").chmod(mode)
    assert "was open to other users" in lab.cli("poll").stderr
    assert modes(lab.state / "seal.key") == {"seal.key": 0o600}
    assert lab.cli("poll").stderr == ""
    oracle.settle()


def test_a_configuration_that_everybody_may_change_is_told_once(lab: Lab, oracle: Oracle) -> None:
    lab.push()
    oracle.remember()
    lab.config_path.chmod(0o666)
    assert "may change" in lab.cli("poll").stderr
    assert "may change" not in lab.cli("poll").stderr
    lab.config_path.chmod(0o644)
    assert "Solved: configuration" in lab.cli("poll").stderr
    oracle.settle()
