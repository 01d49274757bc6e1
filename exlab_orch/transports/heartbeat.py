"""A program of its own that looks at a NAS root once a second and says so: when the NAS hangs, it falls silent.

Started as ``python -I -S heartbeat.py ROOT`` with nothing but the standard library; it ends with its standard input.
"""

import os
import select
import sys


def main() -> None:
    """Print a dot after each look that came back, whatever it found; what is wrong with the NAS others find out."""
    root = sys.argv[1]
    while True:
        try:
            with os.scandir(root) as entries:
                next(entries, None)
            os.statvfs(root)
        except OSError:
            pass
        os.write(1, b".")
        if select.select([0], [], [], 1.0)[0]:
            return


if __name__ == "__main__":
    main()
