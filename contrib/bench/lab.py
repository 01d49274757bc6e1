"""What the benchmarks share: a lab in a folder, commands timed as whole processes, a table and JSON."""

from __future__ import annotations

import json
import statistics
import subprocess  # noqa: TID251  whole processes are timed, other programs among them
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

Row = dict[str, str | float]

_CONFIGURATION = """\
[orchestrator]
staging_root = "{folder}/staging"
state_dir = "{folder}/state"

[orchestrator.staging_cleanup]
mode = "manual"

[nas]
root = "{folder}/nas"
require_mount = false
reserve_percent = 0

[[equipment]]
id = "BENCH_01"
completeness_signal = "sentinel_file"
sentinel_filename = "run_complete"
settle_seconds = 0
"""


@dataclass(frozen=True, slots=True)
class Lab:
    """A staging folder, a "NAS" and a configuration below one folder."""

    folder: Path

    @property
    def runs(self) -> Path:
        return self.folder / "staging/BENCH_01/PROJ-1/Runs"

    def command(self, *words: str) -> list[str]:
        """A verb of the program under test, for this lab."""
        return [sys.executable, "-m", "exlab_orch", "-c", str(self.folder / "config.toml"), *words]


@contextmanager
def new_lab(below: str | None) -> Iterator[Lab]:
    """A lab in a temporary folder, which is removed at the end."""
    with TemporaryDirectory(prefix="exlab-orch-bench-", dir=below) as folder:
        lab = Lab(Path(folder))
        lab.runs.mkdir(parents=True)
        (lab.folder / "nas").mkdir()
        (lab.folder / "config.toml").write_text(_CONFIGURATION.format(folder=folder), encoding="utf-8")
        run(lab.command("nas-init", "--quiet"))
        yield lab


def run(command: Sequence[str]) -> None:
    """Run a command to its end; one that fails ends the benchmark, with what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr or done.stdout}")


def seconds(command: Sequence[str]) -> float:
    """How long the command takes to its end."""
    began = time.monotonic()
    run(command)
    return time.monotonic() - began


def median_seconds(command: Sequence[str], times: int) -> float:
    """How long the command takes, the median of some times."""
    return statistics.median(seconds(command) for _ in range(times))


def tell(title: str, rows: Sequence[Row], file: str | None) -> None:
    """Print the table, and write the rows as JSON to a file where one is named."""
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(*(value if isinstance(value, str) else f"{value:,.3f}" for value in row.values()))
    Console().print(table)
    if file is not None:
        Path(file).write_text(json.dumps({"title": title, "rows": rows}, indent=2) + "\n", encoding="utf-8")
