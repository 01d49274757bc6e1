"""An upload limit holds for programs too, and lets go outside its windows."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.contract.test_rclone_faults import PROVED, lab_at

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
