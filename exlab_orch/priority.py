"""Stepping back: processor and disks go first to an acquisition on the same computer, as ``[sync]`` says."""

from __future__ import annotations

import os
from typing import Final

from exlab_orch.config import Sync
from exlab_orch.files.linux import IO_BEST_EFFORT, IO_IDLE, io_priority, set_io_priority

_LAST_LEVEL: Final = 7
_IO: Final = {"best-effort-low": (IO_BEST_EFFORT, _LAST_LEVEL), "idle": (IO_IDLE, _LAST_LEVEL)}


def step_back(sync: Sync) -> list[str]:
    """Lower the priority of the calling thread, and of every thread and program it starts; never raise it.

    What the kernel refuses is returned in words and changes nothing else.
    """
    refused: list[str] = []
    try:
        _step_back_from_processor(sync)
    except OSError as error:
        refused.append(f"The kernel does not allow sync.nice = {sync.nice}: {error.strerror}.")
    try:
        _step_back_from_disks(sync)
    except OSError as error:
        refused.append(f'The kernel does not allow sync.ionice = "{sync.ionice}": {error.strerror}.')
    return refused


def _step_back_from_processor(sync: Sync) -> None:
    if sync.nice is not None and sync.nice > os.getpriority(os.PRIO_PROCESS, 0):
        os.setpriority(os.PRIO_PROCESS, 0, sync.nice)


def _step_back_from_disks(sync: Sync) -> None:
    if sync.ionice is None:
        return
    wanted = _IO[sync.ionice]
    if io_priority() < wanted:  # by class, then by level: both count up from what is served first
        set_io_priority(*wanted)
