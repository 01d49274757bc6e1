"""An upload limit holds for programs too, and lets go outside its windows."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.contract.servers_ssh import ssh_server
from tests.contract.test_rclone_faults import PROVED, lab_at
from tests.lab import Lab
from tests.oracle import require_program

WINDOW = 'upload_mbps = 8\nschedule = [{{ from = "{}", to = "{}" }}]\n'


def seconds_to_copy(tmp_path: Path, opens: datetime) -> float:
    """How long a pass over four million bytes takes, with 8 Mbit/s for three hours from that moment on."""
    tmp_path.mkdir()
    with lab_at(tmp_path, "sftp") as (lab, _):
        lab.now = None
        lab.sync = WINDOW.format(opens.strftime("%H:%M"), (opens + timedelta(hours=3)).strftime("%H:%M"))
        lab.configure()
        lab.push(files={"big.raw": os.urandom(4_000_000)})
        began = time.monotonic()
        lab.poll()
        taken = time.monotonic() - began
        assert lab.states() == PROVED
        return taken


def test_rclone_sends_no_faster_than_it_may_and_as_fast_as_it_can_outside_the_window(tmp_path: Path) -> None:
    local = datetime.now(UTC).astimezone()
    limited = seconds_to_copy(tmp_path / "in", local - timedelta(hours=1))
    free = seconds_to_copy(tmp_path / "out", local + timedelta(hours=2))
    assert limited > 3.0
    assert limited > free + 1.5


def test_rsync_goes_on_at_another_pace_when_a_window_closes(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path_factory.mktemp("r")
    local = datetime.now(UTC).astimezone().replace(hour=12, minute=0, second=57)
    started = time.monotonic()
    monkeypatch.setattr("tests.lab.utc_now", lambda: local + timedelta(seconds=time.monotonic() - started))
    require_program("rsync")
    with ssh_server(root / "ssh") as server:
        far = root / "far"
        lab = Lab(root / "lab", nas_table=server.nas_table(far), nas_folder=far)
        lab.sync = 'upload_mbps = 8\nschedule = [{ from = "11:00", to = "12:01" }]\n'
        lab.configure()
        lab.push(files={"big.raw": os.urandom(30_000_000)})
        began = time.monotonic()
        lab.poll()
        taken = time.monotonic() - began
        assert lab.states() == PROVED
        assert 2.0 < taken < 20.0, "at 8 Mbit/s alone it takes 30 seconds"
        assert (far / lab.run().run_path / "big.raw").stat().st_size == 30_000_000
        assert lab.leftovers() == []
