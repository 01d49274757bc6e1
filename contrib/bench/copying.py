"""What a proved copy costs, beside the same with rsync and rclone: source hashed, target read back and hashed.

Compared are whole processes with a fresh target each, in turn, so that all of them see the same noise; 'ratio' is to
the fastest of the others. rclone takes part where it is installed.

    .venv/bin/python contrib/bench/copying.py --folder /dev/shm --data big small
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from lab import Lab, Row, new_lab, run, seconds, tell

OURS = "exlab-orch poll"
MIB = 1024 * 1024
RCLONE = shutil.which("rclone", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def main() -> None:
    """Measure, print a table for each kind of data, write JSON where that is asked for."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=sorted(DATA), default=["big", "small"])
    parser.add_argument("--scale", type=float, default=1.0, help="a part of the bytes and files, for a trial")
    parser.add_argument("--times", type=int, default=3, help="how often each is measured; the median counts")
    parser.add_argument("--folder", help="where the made-up lab is")
    parser.add_argument("--json", metavar="FILE")
    chosen = parser.parse_args()
    rows = [row for kind in chosen.data for row in compare(kind, chosen.scale, chosen.times, chosen.folder)]
    tell("A proved copy: seconds of a whole process, median", rows, chosen.json)


def compare(kind: str, scale: float, times: int, below: str | None) -> list[Row]:
    """One line for each way to copy that data."""
    ways = {OURS: by_us, "rsync -a, sha256sum of both": by_rsync}
    if RCLONE:
        ways["rclone copy, hashsum, checksum"] = by_rclone
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(times):
        for name, way in ways.items():
            with new_lab(below) as lab:
                DATA[kind](lab.runs / "Run_1", scale)
                taken[name].append(way(lab))
    medians = {name: statistics.median(some) for name, some in taken.items()}
    best = min(figure for name, figure in medians.items() if name != OURS)
    return [{"data": kind, "way": name, "seconds": figure, "ratio": figure / best} for name, figure in medians.items()]


# -- ways to copy --------------------------------------------------------------------------------------------


def by_us(lab: Lab) -> float:
    """One pass: record, copy, read back, publish; the benchmark ends where it does not end proved."""
    (lab.runs / "Run_1/run_complete").touch()
    taken = seconds(lab.command("poll", "--quiet"))
    run(["grep", "-q", '"sync_verified"', str(lab.runs / "Run_1/.exlab-wizard/ingest.json")])
    return taken


def by_rsync(lab: Lab) -> float:
    """A copy, and both sides hashed, two files at a time."""
    source, target = lab.runs / "Run_1", lab.folder / "nas/Run_1"
    hashes = [f"cd {folder} && find . -type f -print0 | xargs -0 -P 2 -n 64 sha256sum" for folder in (source, target)]
    return seconds(["sh", "-ec", f"rsync -a {source}/ {target}/; ({hashes[0]}); ({hashes[1]})"])


def by_rclone(lab: Lab) -> float:
    """A copy without a look at hashes, then the source hashed and the target checked against that list."""
    source, target, sums = lab.runs / "Run_1", lab.folder / "nas/Run_1", lab.folder / "sums"
    copy = f"{RCLONE} copy --ignore-checksum {source} {target}"
    check = f"{RCLONE} hashsum sha256 {source} --output-file {sums} && {RCLONE} checksum sha256 {sums} {target}"
    return seconds(["sh", "-ec", f"{copy} && {check}"])


# -- data ----------------------------------------------------------------------------------------------------


def big(folder: Path, scale: float) -> None:
    """3 files of 1 GiB."""
    write(folder, 3, 1, int(1024 * MIB * scale))


def small(folder: Path, scale: float) -> None:
    """20,000 files of 20 KiB in 100 folders."""
    write(folder, int(200 * scale), 100, 20 * 1024)


def mixed(folder: Path, scale: float) -> None:
    """As a microscope leaves it: 200 tiles of 4 MiB, 2,000 thumbnails of 20 KiB, one log of 64 MiB."""
    write(folder / "tiles", int(20 * scale), 10, 4 * MIB)
    write(folder / "thumbnails", int(200 * scale), 10, 20 * 1024)
    write(folder / "logs", 1, 1, int(64 * MIB * scale))


DATA: dict[str, Callable[[Path, float], None]] = {"big": big, "small": small, "mixed": mixed}


def write(folder: Path, files: int, folders: int, size: int) -> None:
    """Files of random bytes, so many in each of so many folders, at least one."""
    for number in range(folders):
        (folder / f"{number:03}").mkdir(parents=True)
        for file in range(max(files, 1)):
            with (folder / f"{number:03}/{file:06}.dat").open("wb") as stream:
                for start in range(0, size, MIB):
                    stream.write(os.urandom(min(MIB, size - start)))


if __name__ == "__main__":
    main()
