"""The program's own log in the state directory: tracebacks of bugs, and whatever the rooms below log (cli.md)."""

from __future__ import annotations

import logging
import os
import sys

from exlab_orch.cli.output import harmless
from exlab_orch.clock import format_utc, utc_now

LOG_NAME = "exlab-orch.log"
_LIMIT_BYTES = 5 * 1024 * 1024


def append(state_dir: str, text: str) -> str | None:
    """Add to the log; its path, or None where it cannot be written.

    Only the owner of the state directory writes there, so that root leaves no file that the service cannot write.
    """
    path = os.path.join(state_dir, LOG_NAME)
    verb = " ".join(word for word in sys.argv[1:] if not word.startswith("-"))[:100]
    try:
        if os.stat(state_dir).st_uid != os.geteuid():
            return None
        _turn_over(path)
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(f"{format_utc(utc_now())} {harmless(verb)}\n{harmless(text)}\n")
    except OSError:
        return None
    return path


def _turn_over(path: str) -> None:
    """Keep one former log beside the present one, so that a bug met every minute cannot fill the disk."""
    if os.path.exists(path) and os.path.getsize(path) > _LIMIT_BYTES:
        os.replace(path, f"{path}.1")


class _ToLog(logging.Handler):
    def __init__(self, state_dir: str) -> None:
        super().__init__()
        self._state_dir = state_dir

    def emit(self, record: logging.LogRecord) -> None:
        append(self._state_dir, self.format(record))


def log_into(state_dir: str) -> None:
    """Send what the program logs to the log of that state directory, and nowhere else."""
    logger = logging.getLogger("exlab_orch")
    logger.handlers = [_ToLog(state_dir)]
    logger.propagate = False
