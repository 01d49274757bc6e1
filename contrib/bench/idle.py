"""What a pass with nothing to do, and the list, cost with more and more runs in staging.

Compared are whole processes, start-up included. All runs wait for their signal; ten files each. Where a run costs more
than with the fewer runs before it, the line says so: there the cost bends.

    .venv/bin/python contrib/bench/idle.py --folder /dev/shm --runs 10 100 1000 10000
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from lab import Lab, Row, median_seconds, new_lab, run, tell

FILES = 10
BENDS_ABOVE = 1.25
"""How much dearer a run may be than before until the line says so; less is noise."""


def main() -> None:
    """Measure, print the table, write JSON where that is asked for."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[10, 100, 1_000, 10_000])
    parser.add_argument("--times", type=int, default=5, help="how often each is measured; the median counts")
    parser.add_argument("--folder", help="where the made-up lab is")
    parser.add_argument("--json", metavar="FILE")
    chosen = parser.parse_args()
    with new_lab(chosen.folder) as lab:
        rows = list(growth(lab, sorted(chosen.runs), chosen.times))
    tell("Idle runs: seconds of a whole process, median", rows, chosen.json)


def growth(lab: Lab, sizes: list[int], times: int) -> Iterator[Row]:
    """One line for each number of runs."""
    made, before = 0, float("inf")
    for size in sizes:
        push(lab, range(made, size))
        run(lab.command("poll", "--quiet"))
        version, poll, listed = (median_seconds(lab.command(verb), times) for verb in ("--version", "poll", "list"))
        each = (poll - version) / size
        yield {
            "runs": f"{size:,}",
            "--version": version,
            "poll": poll,
            "list": listed,
            "poll, ms a run": each * 1000,
            "": "bends" if each > before * BENDS_ABOVE else "",
        }
        made, before = size, each


def push(lab: Lab, numbers: range) -> None:
    """Runs that arrive and never say that they are done."""
    for number in numbers:
        folder = lab.runs / f"Run_{number:06}"
        folder.mkdir()
        for file in range(FILES):
            (folder / f"{file}.dat").write_bytes(b"data")


if __name__ == "__main__":
    main()
