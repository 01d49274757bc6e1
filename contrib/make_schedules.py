"""Make the plain files in contrib/cron and contrib/systemd: what ``exlab-orch schedule`` prints for the usual folders.

Run it after a change of a template: .venv/bin/python contrib/make_schedules.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

from exlab_orch.config import SYSTEM_CONFIG, Config
from exlab_orch.schedule_files import Passes, cron_file, passes_of, unit_files

USUAL = Config.model_validate(
    {
        "orchestrator": {"staging_root": "/srv/staging", "state_dir": "/var/lib/exlab-orch"},
        "nas": {"root": "/mnt/nas/lab"},
    }
)


def usual_passes() -> Passes:
    """The set-up of the README."""
    program, mounted = "/usr/local/bin/exlab-orch", "/mnt/nas/lab"
    return passes_of(USUAL, SYSTEM_CONFIG, program=(program,), user="exlab-orch", mount_points=(mounted,))


def main() -> None:
    """Make the files, in contrib/ or where the command line says."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    passes = usual_passes()
    for folder, files in (("cron", (cron_file(passes),)), ("systemd", unit_files(passes))):
        (target / folder).mkdir(parents=True, exist_ok=True)
        for file in files:
            path = target / folder / Path(file.path).name
            path.write_text(file.content, encoding="utf-8")
            sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
