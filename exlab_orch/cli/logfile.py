"""The application log of one invocation: who called which verb, and the tracebacks of bugs."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from exlab_orch.logs import log_bug, log_into
from exlab_orch.orders import who

if TYPE_CHECKING:
    from exlab_orch.config import Config


def begin(config: Config) -> None:
    """Send what this invocation does to the log of the state directory."""
    log_into(config.orchestrator.state_dir, config.logging.format, _facts())


def bug(state_dir: str, error: BaseException) -> str | None:
    """Log what was raised; the path of the log, or None where it cannot be written."""
    return log_bug(state_dir, error, _facts())


def _facts() -> dict[str, object]:
    return {"verb": _verb(), "by": who(), "pid": os.getpid()}


def _verb() -> str:
    """The first word of the command line that is no option and no option's value."""
    words = iter(sys.argv[1:])
    for word in words:
        if word in ("-c", "--config", "--color"):
            next(words, None)
        elif not word.startswith("-"):
            return word[:40]
    return "-"
