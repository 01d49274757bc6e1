"""The benchmarks run and write what they measured; how fast this computer is today is no test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.oracle import require_program

BENCH = Path(__file__).parents[1] / "contrib/bench"


def measured(tmp_path: Path, script: str, *words: str) -> list[dict[str, str | float]]:
    file = tmp_path / "figures.json"
    command = [
        sys.executable,
        str(BENCH / script),
        "--times",
        "1",
        "--folder",
        str(tmp_path),
        "--json",
        str(file),
        *words,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, str | float]] = json.loads(file.read_text())["rows"]
    assert all(str(value) in done.stdout for row in rows for value in row.values() if isinstance(value, str))
    return rows


def test_a_proved_copy_is_measured_beside_what_others_need_for_the_same(tmp_path: Path) -> None:
    require_program("rsync")
    rows = measured(tmp_path, "copying.py", "--data", "small", "--scale", "0.005")
    assert [row["way"] for row in rows][:2] == ["exlab-orch poll", "rsync -a, sha256sum of both"]
    assert min(float(row["ratio"]) for row in rows[1:]) == 1
    assert all(float(row["seconds"]) > 0 for row in rows)


def test_passes_and_lists_are_measured_with_more_and_more_runs(tmp_path: Path) -> None:
    rows = measured(tmp_path, "idle.py", "--runs", "4", "2")
    assert [row["runs"] for row in rows] == ["2", "4"]
    assert all(float(row[verb]) > 0 for row in rows for verb in ("--version", "poll", "list"))
