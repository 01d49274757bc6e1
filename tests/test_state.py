"""The state directory: whose it is, its key made once and never replaced, its locks and names."""

from __future__ import annotations

import fcntl
import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from exlab_orch.errors import EXIT_CONFIG, EXIT_NOT_PERMITTED, ConfigInvalid, KeyUnusable, StateUnavailable, WrongUser
from exlab_orch.state import KEY_BYTES, StateDirectory, open_state, own_names, short_hash, temporary_names
from tests.files.privilege import ordinary_user

RUN = "FLOW_01/PROJ-1/Runs/Run_1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep/state"


def opened(path: Path) -> StateDirectory:
    return open_state(str(path), changing=True)


def key_file(path: Path) -> Path:
    return path / "seal.key"


# -- the key -------------------------------------------------------------------------------------------------


def test_the_key_is_made_once_and_only_its_owner_may_read_it(path: Path) -> None:
    first, second = opened(path), opened(path)
    assert first.key is not None
    assert len(first.key) == KEY_BYTES == 32
    assert (first.key_is_new, second.key_is_new) == (True, False)
    assert first.key == second.key == key_file(path).read_bytes()
    assert stat.S_IMODE(key_file(path).stat().st_mode) == 0o600
    assert sorted(os.listdir(path)) == ["locks", "progress", "seal.key"]


def test_the_keys_of_two_state_directories_differ(tmp_path: Path) -> None:
    assert opened(tmp_path / "one").key != opened(tmp_path / "two").key


@pytest.mark.parametrize("content", [b"", b"k" * 31, b"k" * 33, b"k" * 64])
def test_a_key_of_the_wrong_length_ends_the_command_and_is_kept(path: Path, content: bytes) -> None:
    path.mkdir(parents=True)
    key_file(path).write_bytes(content)
    with pytest.raises(KeyUnusable, match="not 32 bytes") as raised:
        opened(path)
    assert raised.value.exit_status == EXIT_CONFIG == 78
    assert key_file(path).read_bytes() == content
    assert open_state(str(path), changing=False).key is None
    subprocess.run(shlex.split(raised.value.hint.rpartition(": ")[2]), check=True, timeout=30)
    assert opened(path).key_is_new, "the way out, as it can be pasted"


@pytest.mark.parametrize("kind", ["closed", "folder", "dangling link"])
def test_a_key_that_cannot_be_read_is_never_made_anew(path: Path, kind: str) -> None:
    opened(path)
    key = key_file(path).read_bytes()
    if kind != "closed":
        key_file(path).unlink()
    make: dict[str, Callable[[], object]] = {
        "closed": lambda: os.chmod(key_file(path), 0o000),
        "folder": key_file(path).mkdir,
        "dangling link": lambda: key_file(path).symlink_to("nowhere"),
    }
    make[kind]()
    with ordinary_user():
        with pytest.raises(KeyUnusable, match="cannot be read"):
            opened(path)
        assert open_state(str(path), changing=False).key is None
    if kind == "closed":
        os.chmod(key_file(path), 0o600)
        assert key_file(path).read_bytes() == key


def test_processes_that_make_the_key_at_once_all_use_the_same_one(path: Path) -> None:
    script = (
        "import sys; from exlab_orch.state import open_state\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "state = open_state(sys.argv[1], changing=True); print(state.key.hex(), state.key_is_new)"
    )
    environment = {"PYTHONPATH": str(Path(__file__).parent.parent), "PATH": os.environ["PATH"]}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:  # all wait at the same line now
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60)[0].split() for process in processes]
    assert {answer[0] for answer in answers} == {key_file(path).read_bytes().hex()}
    assert [answer[1] for answer in answers].count("True") == 1
    assert sorted(os.listdir(path)) == ["locks", "progress", "seal.key"]


# -- whose it is ---------------------------------------------------------------------------------------------


def test_who_does_not_own_the_state_directory_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.mkdir(parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(WrongUser) as raised:
        opened(path)
    assert raised.value.exit_status == EXIT_NOT_PERMITTED == 77
    assert "sudo -u" in raised.value.hint
    assert os.listdir(path) == []


def test_who_only_looks_on_makes_nothing(path: Path) -> None:
    assert open_state(str(path), changing=False).key is None
    assert not path.parent.exists()


def test_who_may_not_read_the_state_directory_is_told_so_and_sees_no_rosy_list(path: Path) -> None:
    """Without problems and progress every run would look well."""
    opened(path)
    path.chmod(0o700)
    os.chown(path, 65534, 65534)
    with ordinary_user(), pytest.raises(WrongUser) as raised:
        open_state(str(path), changing=False)
    assert "sudo -u nobody" in raised.value.hint
    os.chown(path, os.geteuid(), os.getegid())
    path.chmod(0o000)
    with ordinary_user(), pytest.raises(StateUnavailable, match="may not be read"):
        open_state(str(path), changing=False)


def test_a_state_directory_that_is_not_there_yet_may_be_looked_at_by_everybody(path: Path) -> None:
    assert open_state(str(path), changing=False).key is None


@pytest.mark.parametrize("in_the_way", ["file", "read-only folder"])
def test_a_state_directory_that_cannot_be_made_is_a_matter_of_the_configuration(
    path: Path, tmp_path: Path, in_the_way: str
) -> None:
    if in_the_way == "file":
        (tmp_path / "deep").write_bytes(b"")
    else:
        (tmp_path / "deep").mkdir(mode=0o500)
    with ordinary_user(), pytest.raises(ConfigInvalid, match="cannot be made"):
        opened(path)


# -- locks and names -----------------------------------------------------------------------------------------


def test_each_run_has_a_lock_of_its_own_and_its_record_another(path: Path) -> None:
    state, other = opened(path), opened(path)
    with state.run_lock(RUN) as held, other.run_lock("other") as free, other.record_lock(RUN) as record:
        assert (held, free, record) == (True, True, True)
        with other.run_lock(RUN) as taken:
            assert not taken


def test_each_nas_has_its_own_number_of_slots(path: Path) -> None:
    state = opened(path)
    with state.slot("/mnt/a", 2) as one, state.slot("/mnt/a", 2) as two, state.slot("/mnt/b", 1) as three:
        assert (one, two, three) == (True, True, True)
        with state.slot("/mnt/a", 2) as taken:
            assert not taken


def test_nobody_without_the_key_can_name_our_temporary_files() -> None:
    one, two = StateDirectory("/s", b"k" * 32), StateDirectory("/s", b"x" * 32)
    names = {
        state.temporary_name(run, name)
        for state in (one, two)
        for run in (RUN, "other")
        for name in ("ingest.json", "checksums.sha256")
    }
    assert len(names) == 8
    assert all(name.startswith((".ingest.json.", ".checksums.sha256.")) and len(name) < 60 for name in names)


def test_only_three_names_and_their_temporary_ones_are_ours() -> None:
    state = StateDirectory("/s", b"k" * 32)
    ours = own_names(state, "lab-pc", RUN)
    temporary = set(temporary_names(state, "lab-pc", RUN))
    assert ours - temporary == {
        b".exlab-wizard/ingest.json",
        b".exlab-wizard/checksums.sha256",
        b".exlab-wizard/wizard.lab-pc.log",
    }
    assert len(temporary) == 3


def test_any_text_has_a_short_file_name() -> None:
    names = {short_hash(text) for text in ("", "a", "A/" * 3000, "\udcff", "new\nline", "é")}
    assert len(names) == 6
    assert all(len(name) == 32 and name.isalnum() for name in names)


# -- slots that are busy ---------------------------------------------------------------------------------------


def test_busy_slots_are_counted_without_taking_or_making_one(path: Path) -> None:
    state = opened(path)
    assert state.busy_slots("/mnt/nas", 3) == 0
    assert os.listdir(path / "locks") == []
    with state.slot("/mnt/nas", 3) as first, opened(path).slot("/mnt/nas", 3) as second:
        assert first
        assert second
        assert state.busy_slots("/mnt/nas", 3) == 2
        assert state.busy_slots("/mnt/other", 3) == 0
    assert state.busy_slots("/mnt/nas", 3) == 0


def test_whoever_looks_at_the_slots_hides_none_from_who_wants_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look is a shared lock for a moment; this one comes right before somebody asks for a slot."""
    state = opened(path)
    slots = [path / "locks" / f"{short_hash('/mnt/nas')}.slot{number}" for number in range(2)]
    looking = [os.open(slot, os.O_RDONLY | os.O_CREAT, 0o600) for slot in slots]
    for one in looking:
        fcntl.flock(one, fcntl.LOCK_SH)

    def until_the_look_is_over(seconds: float) -> None:
        assert seconds < 0.01
        while looking:
            os.close(looking.pop())

    monkeypatch.setattr("exlab_orch.files.locks.pause", until_the_look_is_over)
    with state.slot("/mnt/nas", 2) as free:
        assert free
    assert looking == []
