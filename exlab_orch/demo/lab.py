"""The made-up lab: its folders, its configuration, and the dozen runs that its three instruments push."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from exlab_orch.demo.instruments import image_tile, manifest_of, spectra, well
from exlab_orch.model import Place, StagedRun
from exlab_orch.receipts import receipt_name, receipts_place
from exlab_orch.staging import run_at

QUIET_SECONDS: Final = 3
MARKER: Final = "run_complete"
MANIFEST: Final = "manifest.json"

NEVER_DONE: Final = "CONFOCAL_01/PROJ-0042 Liver/Runs/Run_2026-04-17T14-32"
"""The acquisition software crashed: no run_complete will ever come."""
ONE_SHORT: Final = "FLOW_01/PROJ-0042 Liver/Runs/Run_2026-04-17T10-45"
"""Its manifest promises a file that has not been sent."""
DAMAGED: Final = "MASSSPEC_01/PROJ-0063 Plasma/Runs/Run_2026-04-16T19-00"
"""One of its files is going to be damaged on the NAS."""
PROVED: Final = "CONFOCAL_01/PROJ-0042 Liver/Runs/Run_2026-04-16T13-40"
HELD: Final = "CONFOCAL_01/PROJ-0042 Liver/Runs/Run_2026-04-15T09-05"
"""Somebody still needs it in staging."""

RUNS: Final = (
    HELD,
    PROVED,
    NEVER_DONE,
    "CONFOCAL_01/PROJ-0051 Organoids/Runs/Run_2026-04-16T10-20",
    "CONFOCAL_01/PROJ-0051 Organoids/TestRuns/TestRun_2026-04-16T09-55",
    "FLOW_01/PROJ-0042 Liver/Runs/Run_2026-04-15T16-10",
    "FLOW_01/PROJ-0042 Liver/Runs/Run_2026-04-16T15-25",
    ONE_SHORT,
    "FLOW_01/PROJ-0058 Vaccine/Run_2026-04-14T11-00",
    "MASSSPEC_01/PROJ-0063 Plasma/Runs/Run_2026-04-13T18-30",
    "MASSSPEC_01/PROJ-0063 Plasma/Runs/Run_2026-04-14T18-45",
    DAMAGED,
)

_CONFIGURATION: Final = f"""\
# The laboratory of 'exlab-orch demo'. A real one begins with 'exlab-orch init'.

[orchestrator]
label = "Demo"
staging_root = {{staging}}
state_dir = {{state}}

[orchestrator.staging_cleanup]
mode = "manual"                  # a staged copy is deleted when somebody runs 'exlab-orch clear'

[nas]
root = {{nas}}
require_mount = false            # here the NAS is a plain folder; never do that with a real one
reserve_percent = 0

[[equipment]]
id = "CONFOCAL_01"
label = "Confocal Microscope"
completeness_signal = "sentinel_file"
sentinel_filename = "{MARKER}"
settle_seconds = {QUIET_SECONDS}
receipts = true                  # the people at the microscope see which runs are safe

[[equipment]]
id = "FLOW_01"
label = "Flow Cytometer"
completeness_signal = "manifest"
manifest_filename = "{MANIFEST}"
settle_seconds = {QUIET_SECONDS}

[[equipment]]
id = "MASSSPEC_01"
label = "Mass Spectrometer"
completeness_signal = "quiet_period"
quiet_minutes = {QUIET_SECONDS / 60}
settle_seconds = 0
"""

Content = dict[str, bytes]
"""Files by name, relative to the run folder."""


@dataclass(frozen=True, slots=True)
class Lab:
    """The lab below one folder."""

    folder: str

    @property
    def config_path(self) -> str:
        return f"{self.folder}/config.toml"

    @property
    def staging(self) -> str:
        return f"{self.folder}/staging"

    @property
    def nas(self) -> str:
        return f"{self.folder}/nas"

    @property
    def state(self) -> str:
        return f"{self.folder}/state"

    @property
    def on_instrument(self) -> str:
        """Where the file lies that the cytometer has not sent."""
        return f"{self.folder}/instrument"

    @property
    def page(self) -> str:
        """Where the page about the runs is written."""
        return f"{self.folder}/runs.html"

    def receipt(self, run_path: str) -> str:
        """What the people at the instrument see of a run."""
        return f"{self.staging}/{receipts_place(self.staging, run_path).path}/{receipt_name(run_path)}.txt"

    def run(self, run_path: str) -> StagedRun:
        """The staged run of that path."""
        return run_at(self.staging, run_path) or StagedRun(run_path, Place(self.staging, run_path))


def make_lab(folder: str) -> Lab:
    """Make folders and configuration below a folder that is empty or not there yet; no run is pushed yet."""
    lab = Lab(os.path.abspath(folder))
    for place in (lab.staging, lab.nas, lab.on_instrument):
        os.makedirs(place)
    folders = {"staging": lab.staging, "state": lab.state, "nas": lab.nas}
    quoted = {name: json.dumps(place, ensure_ascii=False) for name, place in folders.items()}
    _write(lab.config_path, _CONFIGURATION.format(**quoted).encode())
    return lab


def push_runs(lab: Lab) -> None:
    """Have the instruments push their runs, the same ones every time."""
    for number, run_path in enumerate(RUNS):
        push_run(lab, run_path, number)


def push_run(lab: Lab, run_path: str, number: int) -> None:
    """Push one run as its instrument does: data first, then what says that it is done; the number is its chance."""
    noise = Random(number)  # noqa: S311  made-up measurements, no secrets
    data = _INSTRUMENTS[run_path.split("/", maxsplit=1)[0]](noise)
    held_back = _held_back(run_path, data)
    for name in held_back:
        _write(f"{lab.on_instrument}/{name}", data[name])
    sent = {name: content for name, content in data.items() if name not in held_back}
    for name, content in (sent | _signal(run_path, data)).items():
        _write(f"{lab.staging}/{run_path}/{name}", content)


def _held_back(run_path: str, data: Content) -> list[str]:
    """The files that stay on the instrument: of one run the last."""
    return [max(data)] if run_path == ONE_SHORT else []


def _signal(run_path: str, data: Content) -> Content:
    if run_path.startswith("CONFOCAL_01/") and run_path != NEVER_DONE:
        return {MARKER: b""}
    return {MANIFEST: manifest_of(data)} if run_path.startswith("FLOW_01/") else {}


def _microscope(noise: Random) -> Content:
    tiles = {f"images/tile_{number:02}.tif": image_tile(noise) for number in range(1, noise.randint(5, 8))}
    return {
        **tiles,
        "metadata/acquisition.json": b'{"objective": "40x/1.2 W", "z_step_um": 0.5}\n',
        "overview.tif": image_tile(noise),
    }


def _cytometer(noise: Random) -> Content:
    names = [f"plate1_{row}0{column}.fcs" for row in "AB" for column in range(1, noise.randint(3, 4))]
    return {name: well(noise, name) for name in names}


def _mass_spectrometer(noise: Random) -> Content:
    names = [f"sample_{number}" for number in range(1, noise.randint(3, 4))]
    return {f"{name}.mzML": spectra(noise, name) for name in names} | {
        "sequence.csv": "\n".join(["Name", *names, ""]).encode()
    }


_INSTRUMENTS: Final[Mapping[str, Callable[[Random], Content]]] = {
    "CONFOCAL_01": _microscope,
    "FLOW_01": _cytometer,
    "MASSSPEC_01": _mass_spectrometer,
}


def _write(path: str, content: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "xb") as file:
        file.write(content)
