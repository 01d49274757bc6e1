"""Make docs/list.svg: what ``exlab-orch list`` shows of a made-up lab on a terminal.

Run it after a change of the table: .venv/bin/python contrib/docs/make_pictures.py [FILE]
"""

from __future__ import annotations

import re
import sys
import tempfile
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from exlab_orch import disks, orders
from exlab_orch.cleanup import clear
from exlab_orch.cli import program
from exlab_orch.cli.call import Call
from exlab_orch.cli.frame import run
from exlab_orch.clock import utc_now
from exlab_orch.config import load_config
from exlab_orch.config_file import set_marker_id
from exlab_orch.demo.lab import DAMAGED, HELD, NEVER_DONE, ONE_SHORT, RUNS, Lab, make_lab, push_run
from exlab_orch.demo.story import damage
from exlab_orch.errors import RunProblem
from exlab_orch.passes import run_pass
from exlab_orch.space import Space
from exlab_orch.station import Clock, Station, open_station
from exlab_orch.transports.right_place import mark

WIDTH = 92
SHOWN = {
    HELD: timedelta(days=2, hours=4),
    "CONFOCAL_01/PROJ-0042 Liver/Runs/Run_2026-04-16T13-40": timedelta(hours=22),
    NEVER_DONE: timedelta(minutes=14),
    "FLOW_01/PROJ-0042 Liver/Runs/Run_2026-04-16T15-25": timedelta(hours=19),
    ONE_SHORT: timedelta(minutes=3),
    DAMAGED: timedelta(hours=16),
}
"""Runs of the demonstration, and how long ago each was copied or seen."""


def main() -> None:
    """Make the picture, in docs/ or where the command line says."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "docs" / "list.svg"
    with tempfile.TemporaryDirectory() as folder:
        lab = make_lab(folder)
        nas = load_config(lab.config_path).nas
        if nas is None:
            raise SystemExit("The demonstration has no NAS.")
        set_marker_id(lab.config_path, nas.root, mark(nas, lab.staging).marker_id)
        live_through(lab)
        target.write_text(picture(lab), encoding="utf-8")
    sys.stdout.write(f"{target}\n")


def clock_put_back(ago: timedelta) -> Clock:
    """A clock that is that much behind."""
    return lambda: utc_now() - ago


def live_through(lab: Lab) -> None:
    """Push the runs and do the passes as they would have happened, by a clock that is put back."""
    config = load_config(lab.config_path)
    for run_path, ago in SHOWN.items():
        push_run(lab, run_path, RUNS.index(run_path))
        for seconds in (0, 10):
            with open_station(config, changing=True, clock=clock_put_back(ago - timedelta(seconds=seconds))) as station:
                run_pass(station)
    damage(f"{lab.nas}/{DAMAGED}")
    with open_station(config, changing=True) as station:
        orders.hold(station, lab.run(HELD), reason="reanalysis by Ana until Friday", by="ana")
        try:
            clear(station, lab.run(DAMAGED), by="ana")
        except RunProblem:
            return
    raise SystemExit("The damage was not found.")


class Pictured(Call):
    """A command line whose output goes into the picture."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    @property
    def tables(self) -> bool:
        """As on a terminal."""
        return True

    def console(self, *, stderr: bool = False) -> Console:
        """The picture."""
        del stderr
        return self._console


def disks_of_a_lab(_station: Station, now: datetime) -> tuple[disks.Disk, ...]:
    """Disks as a lab has them, and not those of the computer that makes the picture."""
    staging, nas = Space(8 << 40, 3 << 40), Space(200 << 40, 61 << 40)
    return disks.Disk("Staging", staging, now, 130_000.0), disks.Disk("/mnt/nas/lab", nas, now)


def picture(lab: Lab) -> str:
    """What ``list`` prints, as an SVG."""
    console = Console(width=WIDTH, record=True, force_terminal=True, file=StringIO(), highlight=False)
    console.print(Text("$ exlab-orch list", style="bold"))
    disks.known_disks = disks_of_a_lab
    if run(program, ["-c", lab.config_path, "list"], Pictured(console)):
        raise SystemExit("The list could not be made.")
    without_fonts = re.sub(
        r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL
    )  # they would be fetched
    return console.export_svg(title="exlab-orch list", code_format=without_fonts, unique_id="list")


if __name__ == "__main__":
    main()
