"""A program of its own that looks at a NAS root: a hung mount hangs this process and not the pass.

Started as ``python -I -S probe.py ROOT`` with nothing but the standard library, so that it starts fast.
"""

import json
import os
import sys


def main() -> None:
    """Print the real path of the root and whether it can be listed and read, as JSON; errors as their number."""
    root = os.path.realpath(sys.argv[1])
    try:
        with os.scandir(root) as entries:
            next(entries, None)
        os.statvfs(root)
        answer: dict[str, object] = {"root": root}
    except OSError as error:
        answer = {"errno": error.errno, "error": os.strerror(error.errno or 0)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
