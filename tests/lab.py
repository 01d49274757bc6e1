"""A laboratory on a disk, made in one call: staging root, marked NAS, state directory, and runs that are pushed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from exlab_orch.clock import utc_now
from exlab_orch.config import Config, load_config
from exlab_orch.model import Ingest, Place, StagedRun
from exlab_orch.passes import PHASES, PassReport, run_pass
from exlab_orch.records import read_record
from exlab_orch.station import Station, open_station
from exlab_orch.transports.marker import MARKER
from tests.forked import run_program

MARKER_ID = "0123456789abcdef0123456789abcdef"
RUN = "FLOW_01/PROJ-1/Runs/Run_2026-04-17T14-32"

EQUIPMENT = """
[[equipment]]
id = "FLOW_01"
completeness_signal = "sentinel_file"
sentinel_filename = "run_complete"
settle_seconds = 0

[[equipment]]
id = "MASSSPEC_01"
completeness_signal = "manifest"
settle_seconds = 0

[[equipment]]
id = "SCANNER_01"
completeness_signal = "quiet_period"
quiet_minutes = 0.0001
settle_seconds = 0
"""


@dataclass
class Lab:
    """Folders and a configuration; ``clock`` may be set to a fixed moment for in-process passes."""

    root: Path
    cleanup: str = 'mode = "manual"'
    sync: str = ""
    nas_options: str = ""
    orchestrator: str = ""
    equipment: str = EQUIPMENT
    require_mount: bool = False
    now: datetime | None = None
    nas_table: str = ""
    """What [nas] holds where it is no mount; the marker's id is added."""
    nas_folder: Path | None = None
    """Where the NAS keeps its files, if not in the lab's own folder."""
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for folder in (self.staging, self.nas):
            folder.mkdir(parents=True, exist_ok=True)
        (self.nas / MARKER).write_text(f"{MARKER_ID}\n")
        self.configure()

    @property
    def staging(self) -> Path:
        return self.root / "staging"

    @property
    def nas(self) -> Path:
        return self.nas_folder or self.root / "nas"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def config_path(self) -> Path:
        return self.root / "config.toml"

    @property
    def config(self) -> Config:
        return load_config(self.config_path)

    def configure(self) -> None:
        """Write the configuration from the fields as they are now."""
        mount = f'root = "{self.nas}"\nrequire_mount = {str(self.require_mount).lower()}\n'
        self.config_path.write_text(
            f'[orchestrator]\nstaging_root = "{self.staging}"\nstate_dir = "{self.state}"\n{self.orchestrator}\n'
            f"[orchestrator.staging_cleanup]\n{self.cleanup}\n"
            f'[nas]\n{self.nas_table or mount}marker_id = "{MARKER_ID}"\nreserve_percent = 0\n{self.nas_options}\n'
            f"[sync]\n{self.sync}\n{self.equipment}"
        )

    # -- runs ------------------------------------------------------------------------------------------------

    def push(self, run_path: str = RUN, files: Mapping[str, bytes] | None = None, *, done: bool = True) -> Path:
        """Push a run folder, its sentinel last; returns its path. Files are renamed into place, as rsync does."""
        folder = self.staging / run_path
        for name, content in (files if files is not None else {"a.fcs": b"aaa", "sub/b.fcs": b"bbbb"}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            arriving = (folder / name).with_name(".arriving")
            arriving.write_bytes(content)
            arriving.replace(folder / name)
        folder.mkdir(parents=True, exist_ok=True)
        if done:
            (folder / "run_complete").touch()
        return folder

    def run(self, run_path: str = RUN) -> StagedRun:
        return StagedRun(run_path, Place(str(self.staging), run_path))

    def staged(self, run_path: str = RUN) -> Path:
        return self.staging / run_path

    def published(self, run_path: str = RUN) -> Path:
        return self.nas / run_path

    def record(self, run_path: str = RUN) -> Ingest:
        """The record in staging; fails where there is none."""
        record = read_record(self.run(run_path))
        assert record is not None
        return record

    def states(self, run_path: str = RUN) -> list[str]:
        return [entry.state.value for entry in self.record(run_path).history]

    def nas_record(self, run_path: str = RUN) -> dict[str, object]:
        """The record on the NAS, as JSON."""
        found: dict[str, object] = json.loads((self.published(run_path) / ".exlab-wizard/ingest.json").read_bytes())
        return found

    # -- doing -----------------------------------------------------------------------------------------------

    def station(self, *, changing: bool = True) -> Station:
        """The open parts, in this process; close it or use it as a block."""
        return open_station(self.config, changing=changing, clock=lambda: self.now or utc_now())

    def poll(self, only: frozenset[str] = frozenset(PHASES)) -> PassReport:
        """One pass in this process."""
        with self.station() as station:
            return run_pass(station, only=only)

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "exlab_orch", "-c", str(self.config_path), *words]

    def cli(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """A verb in a process of its own, with nothing of a terminal; the environment names the configuration."""
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).parent.parent),
            "EXLAB_ORCH_CONFIG": str(self.config_path),
            **self.environment,
        }
        if not self.environment:
            return run_program(words, environment, stdin, timeout=60)
        return subprocess.run(
            [sys.executable, "-m", "exlab_orch", *words],
            input=stdin,
            capture_output=True,
            text=True,
            env=environment,
            check=False,
            timeout=60,
        )

    # -- looking ---------------------------------------------------------------------------------------------

    def leftovers(self) -> list[str]:
        """Temporary files and hidden folders that a finished pass must not leave anywhere."""
        odd = (".exlab-part-", ".exlab-new", ".ingest.json.", ".checksums.sha256.", ".wizard.")
        found = [path for root in (self.staging, self.nas, self.state) for path in root.rglob("*")]
        trash = list((self.staging / ".exlab-orch/trash").glob("*"))
        progress = list((self.state / "progress").glob("*"))
        return [str(path) for path in found if any(word in path.name for word in odd)] + [
            str(path) for path in trash + progress
        ]


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every entry below a folder by relative name: content of files, None for folders."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def flip_a_bit(file: Path) -> None:
    """Damage that neither size nor times nor inode tell of, as a disk does it."""
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    with file.open("r+b") as opened:
        opened.write(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
