"""Kernel locks: one holder, freed with the process, handed to children, never unlinked."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from exlab_orch.errors import StateUnavailable
from exlab_orch.files.locks import is_still_at, locked, locked_descriptor, one_of, try_lock

HOLDER = """
import fcntl, os, sys, time
lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "lock")


def is_free(path: str) -> bool:
    with locked(path) as held:
        return held


def test_a_lock_has_one_holder_at_a_time(path: str) -> None:
    with locked(path) as held:
        assert held
        with locked(path) as second:
            assert not second
        assert try_lock(path) is None
    assert is_free(path)


def test_a_lock_is_freed_when_the_block_fails(path: str) -> None:
    with pytest.raises(KeyError), locked(path):
        raise KeyError
    assert is_free(path)


def test_who_waits_gets_the_lock_when_it_is_freed(path: str) -> None:
    descriptor = try_lock(path)
    assert descriptor is not None
    threading.Timer(0.15, os.close, [descriptor]).start()
    with locked(path, wait_seconds=10) as held:
        assert held


def test_who_waits_in_vain_is_told_so_in_time(path: str) -> None:
    with locked(path):
        began = time.monotonic()
        with locked(path, wait_seconds=0.2) as held:
            assert not held
        assert 0.2 <= time.monotonic() - began < 5


def test_slots_are_given_out_until_all_are_taken(tmp_path: Path) -> None:
    slots = [str(tmp_path / f"slot{number}") for number in range(2)]
    with one_of(slots) as first, one_of(slots) as second:
        assert (first, second) == (True, True)
        with one_of(slots) as third:
            assert not third
    with one_of(slots) as again:
        assert again


def test_a_lock_file_is_never_unlinked(path: str) -> None:
    with locked(path):
        inode = os.stat(path).st_ino
    assert os.stat(path).st_ino == inode


def test_a_killed_process_leaves_no_lock_behind(path: str) -> None:
    with subprocess.Popen([sys.executable, "-ISc", HOLDER, path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert not is_free(path)
        holder.send_signal(signal.SIGKILL)
    assert is_free(path)


def test_a_child_that_got_the_lock_holds_it_for_as_long_as_it_lives(path: str) -> None:
    with locked_descriptor(path) as lock:
        assert lock is not None
        child = subprocess.Popen(["sleep", "60"], pass_fds=[lock])
    assert not is_free(path)
    child.kill()
    child.wait()
    assert is_free(path)


def test_a_child_that_was_not_given_the_lock_does_not_hold_it(path: str) -> None:
    with locked(path):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    assert is_free(path)
    child.kill()
    child.wait()


def test_without_the_lock_there_is_no_descriptor(path: str) -> None:
    with locked(path), locked_descriptor(path) as lock:
        assert lock is None


def test_a_link_in_place_of_a_lock_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateUnavailable), locked(str(tmp_path / "lock")):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_lock_file_that_was_deleted_before_we_had_it_is_made_anew(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between our open and our flock somebody unlinks it: who came meanwhile holds a lock of the same name."""
    real = fcntl.flock

    def too_late(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real)
        os.unlink(path)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", too_late)
    with locked(path) as held:
        assert held
        assert not is_free(path)


def test_who_looks_again_sees_that_the_lock_file_is_gone_or_another_one(path: str) -> None:
    with locked_descriptor(path) as descriptor:
        assert descriptor is not None
        assert is_still_at(path, descriptor)
        os.unlink(path)
        assert not is_still_at(path, descriptor)
        with locked(path) as second:
            assert second
            assert not is_still_at(path, descriptor)
