"""Make docs/report.png: the page of a made-up lab as a browser shows it; needs chromium.

Run it after a change of the page: .venv/bin/python contrib/docs/make_report_picture.py [FILE]
"""

from __future__ import annotations

import subprocess  # noqa: TID251  no part of the program
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from exlab_orch.cli.report_page import report_page  # noqa: E402
from exlab_orch.report import Disk, Report  # noqa: E402
from exlab_orch.space import Space  # noqa: E402
from tests import reports  # noqa: E402
from tests.cli import rows as given  # noqa: E402

SIZE = "1000,1270"
EQUIPMENT = ("CONFOCAL_01", "FLOW_01", "NANOPORE_01", "MASSSPEC_01")


def main() -> None:
    """Make the picture, in docs/ or where the command line says."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "report.png"
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        page.write_bytes(report_page(lab()))
        fixed = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        picture = [f"--user-data-dir={folder}/profile", f"--window-size={SIZE}", f"--screenshot={target.resolve()}"]
        subprocess.run([*fixed, *picture, page.as_uri()], check=True, timeout=60, capture_output=True)
    sys.stdout.write(f"{target}\n")


def lab() -> Report:
    """A busy lab in which one thing needs a person."""
    busy = reports.busy()
    lives = [one for one in busy.lives if one.equipment_id in EQUIPMENT]
    rows = (given.VERIFIED, given.COPYING, given.ARRIVING, given.CONFLICT)
    shown = {row.run for row in rows}
    return replace(
        busy,
        rows=rows,
        problems=(),
        lives=tuple(one for one in lives if one.row is None or one.run in shown),
        disks=(
            Disk("Staging", Space(8 << 40, 3 << 40), busy.generated_at),
            Disk(given.NAS, Space(200 << 40, 90 << 40), busy.last_pass_at),
        ),
        labels=busy.labels | {"MASSSPEC_01": "Mass Spectrometer"},
    )


if __name__ == "__main__":
    main()
