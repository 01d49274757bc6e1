"""Who watches the bytes of a command go by: progress bars where a person looks, nobody elsewhere."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from exlab_orch.progress import QUIET, Observer

if TYPE_CHECKING:
    from exlab_orch.cli.call import Call


def progress_bars(call: Call) -> AbstractContextManager[Observer]:
    """An observer that draws on standard error, or one that does nothing where standard error is no terminal."""
    if not call.bars:
        return nullcontext(QUIET)
    from exlab_orch.cli.bars_view import Bars

    return Bars(call.console(stderr=True))
