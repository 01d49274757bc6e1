"""``python -m exlab_orch`` and the script ``exlab-orch``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its status."""
    from exlab_orch.cli import main as run

    sys.exit(run())


if __name__ == "__main__":
    main()
