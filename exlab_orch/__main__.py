"""``python -m exlab_orch`` and the script ``exlab-orch``."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line and exit with its status; a shell that asks how a word goes on is answered at once."""
    if sys.argv[1:2] == ["_complete"]:
        from exlab_orch import completing

        sys.exit(completing.main(sys.argv[2:], os.environ))
    from exlab_orch.cli import main as run

    sys.exit(run())


if __name__ == "__main__":
    main()
