"""Live progress: passed on, written where another terminal reads it, and gone with the process that wrote it."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from exlab_orch import progress
from exlab_orch.progress import QUIET, Progress, ProgressFile, is_alive, live_progress, phase, sweep

RUN = "FLOW_01/PROJ [bold]\n/Runs/Run_1"


class Witness:
    """An observer that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def begin(self, run_path: str, phase: str, files: int, byte_total: int) -> None:
        self.told.append((run_path, phase, files, byte_total))

    def advance(self, byte_count: int) -> None:
        self.told.append(byte_count)

    def end(self) -> None:
        self.told.append("end")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is written at every advance."""
    monkeypatch.setattr(progress, "_WRITE_EVERY_SECONDS", -1.0)


@pytest.mark.usefixtures("at_once")
def test_another_terminal_sees_how_far_a_phase_is_until_it_ends(tmp_path: Path) -> None:
    watch = ProgressFile(str(tmp_path))
    watch.begin(RUN, "copy", 2, 100)
    assert live_progress(str(tmp_path))[RUN].bytes_done == 0
    watch.advance(30)
    watch.advance(20)
    seen = live_progress(str(tmp_path))[RUN]
    assert (seen.phase, seen.files, seen.byte_total, seen.bytes_done, seen.process) == ("copy", 2, 100, 50, os.getpid())
    assert seen.bytes_per_second > 0
    watch.end()
    assert live_progress(str(tmp_path)) == {}
    assert os.listdir(tmp_path) == []


def test_the_file_is_not_written_for_every_chunk(tmp_path: Path) -> None:
    watch = ProgressFile(str(tmp_path))
    watch.begin(RUN, "copy", 1, 100)
    for _ in range(50):
        watch.advance(1)
    assert live_progress(str(tmp_path))[RUN].bytes_done == 0
    watch.end()


def test_everything_is_passed_on(tmp_path: Path) -> None:
    witness = Witness()
    with phase(ProgressFile(str(tmp_path), witness), RUN, "proof", 3, 10):
        pass
    assert witness.told == [(RUN, "proof", 3, 10), "end"]


def test_a_phase_ends_whatever_happens() -> None:
    witness = Witness()
    with pytest.raises(KeyError), phase(witness, RUN, "clear", 0, 0):
        raise KeyError
    assert witness.told[-1] == "end"
    with phase(QUIET, RUN, "clear", 0, 0):
        QUIET.advance(1)


@pytest.mark.usefixtures("at_once")
def test_bytes_from_several_threads_are_all_counted(tmp_path: Path) -> None:
    watch = ProgressFile(str(tmp_path))
    watch.begin(RUN, "copy", 1, 400)

    def advance() -> None:
        for _ in range(100):
            watch.advance(1)

    threads = [threading.Thread(target=advance) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert live_progress(str(tmp_path))[RUN].bytes_done == 400
    watch.end()


def left_behind(folder: Path, one: Progress, name: str = "left.json") -> None:
    (folder / name).write_text(json.dumps(asdict(one)))


@pytest.fixture
def ours(tmp_path: Path) -> Progress:
    watch = ProgressFile(str(tmp_path))
    watch.begin(RUN, "copy", 1, 1)
    seen = live_progress(str(tmp_path))[RUN]
    watch.end()
    return seen


def test_what_a_dead_process_left_is_passed_over_and_swept(tmp_path: Path, ours: Progress) -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    left_behind(tmp_path, replace(ours, process=child.pid))
    assert live_progress(str(tmp_path)) == {}
    sweep(str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_a_process_that_got_the_same_number_is_another_one(tmp_path: Path, ours: Progress) -> None:
    assert is_alive(ours)
    assert not is_alive(replace(ours, process_started=ours.process_started + 1))


def test_a_sweep_keeps_what_living_processes_write(tmp_path: Path, ours: Progress) -> None:
    left_behind(tmp_path, ours)
    sweep(str(tmp_path))
    assert live_progress(str(tmp_path)) == {RUN: ours}


@pytest.mark.parametrize("content", [b"", b'{"run_path": ', b"[]", b"\xff", b'{"run_path": "x"}'])
def test_half_a_file_is_passed_over_and_swept(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "half.json").write_bytes(content)
    assert live_progress(str(tmp_path)) == {}
    sweep(str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there_holds_no_progress(tmp_path: Path) -> None:
    assert live_progress(str(tmp_path / "missing")) == {}
    sweep(str(tmp_path / "missing"))
