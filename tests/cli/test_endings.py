"""What a verb with --json tells when it is stopped: what it did until then, in the document of its end, with why."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from exlab_orch.cli import endings
from exlab_orch.cli.endings import Stopped, told_however_it_ends
from exlab_orch.errors import StateUnavailable
from tests.lab import RUN, Lab

OTHER = RUN.replace("32", "33")


def document_of(line: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line)
    return found


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [(Stopped(signal.SIGINT), "stopped", 130), (StateUnavailable("The disk is full."), "state_unavailable", 69)],
)
def test_what_was_done_is_told_with_why_it_ended(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: str, status: int
) -> None:
    with pytest.raises(type(error)), told_however_it_ends(lambda: [{"done": 7, "exit_status": 0}], as_json=True):
        raise error
    document = document_of(capsys.readouterr().out)
    assert (document["done"], document["exit_status"]) == (7, status)
    assert str(document["ended_early"]).startswith(f"{{'code': '{code}'")


def test_nothing_is_told_twice_and_nothing_without_json(capsys: pytest.CaptureFixture[str]) -> None:
    with told_however_it_ends(lambda: [{}], as_json=True):
        pass
    with pytest.raises(Stopped), told_however_it_ends(lambda: [{}], as_json=False):
        raise Stopped(signal.SIGTERM)
    assert capsys.readouterr().out == ""


def test_what_cannot_be_told_any_more_hides_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    def unknown() -> list[dict[str, object]]:
        raise StateUnavailable("The journal is gone.")

    with pytest.raises(Stopped), told_however_it_ends(unknown, as_json=True):
        raise Stopped(signal.SIGTERM)
    assert capsys.readouterr().out == ""


def stopped(lab: Lab, patch: str, *words: str) -> tuple[int, list[dict[str, Any]]]:
    """The status and the documents of a program that is sent SIGTERM when it says so on standard error."""
    program = (
        "import sys, time; from exlab_orch.cli import endings, main; endings._GRACE_SECONDS = 0.3\n"
        "def slowly(*_, **__):\n print('now', file=sys.stderr, flush=True); time.sleep(3600)\n"
        f"{patch}\nsys.exit(main())"
    )
    command = [sys.executable, "-c", program, "-c", str(lab.config_path), *words, "--json"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "now\n"
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    return process.returncode, [document_of(line) for line in out.splitlines()]


def test_a_worker_that_reads_on_keeps_nobody_from_being_told(lab: Lab) -> None:
    """The process ends without unwinding, and tells all the same."""
    lab.push()
    lab.poll()
    slow = "from exlab_orch.transports.mount import MountedNas; MountedNas.read_back = slowly"
    status, (document,) = stopped(lab, slow, "verify", RUN)
    assert (status, document["verified"], document["later"]) == (143, [], [{"run": RUN}])


def test_a_pass_that_is_stopped_ends_its_lines_with_pass_end(lab: Lab) -> None:
    lab.push()
    slow = "from exlab_orch.transports.mount import MountedNas; MountedNas.send = slowly"
    status, lines = stopped(lab, slow, "poll")
    last = lines[-1]
    assert [one["state"] for one in lines[:-1]] == ["staging", "complete", "sync_queued"]
    assert (status, last["event"], last["exit_status"], last["unfinished"]) == (143, "pass_end", 143, True)


def test_a_clear_that_is_stopped_tells_which_staged_copies_are_deleted(lab: Lab) -> None:
    lab.push()
    lab.push(OTHER)
    lab.poll()
    slow = (
        "from exlab_orch import cleanup; real = cleanup.clear\n"
        f"cleanup.clear = lambda station, run, **more: (slowly if run.run_path == {OTHER!r} else real)"
        "(station, run, **more)"
    )
    status, (document,) = stopped(lab, slow, "clear", "--yes", RUN, OTHER)
    assert (status, document["refused"]) == (143, [])
    assert [one["run"] for one in document["cleared"]] == [RUN]


def test_a_self_test_that_is_stopped_tells_its_steps_and_what_it_left(lab: Lab) -> None:
    slow = "from exlab_orch.transports.mount import MountedNas; MountedNas.send = slowly"
    status, (document,) = stopped(lab, slow, "selftest", "--size", "10kB")
    (one,) = document["selftests"]
    assert (status, document["ok"], one["ok"]) == (143, False, False)
    assert [tick["result"] for tick in one["ticks"]] == ["ok", *["not_tried"] * 4], one["ticks"]
    assert len(one["left"]) == 2
    assert all(os.path.exists(place) for place in one["left"])
    assert lab.cli("selftest", "--size", "10kB").returncode == 0
    assert not any(os.path.exists(place) for place in one["left"])


def test_the_end_without_unwinding_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    ended, release = list[int](), threading.Event()
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(endings, "_TELLING_SECONDS", 0.05)
    monkeypatch.setattr(endings, "_tell_all", lambda _: release.wait(5))
    endings._end_now(signal.SIGTERM)
    release.set()
    assert ended == [143]
