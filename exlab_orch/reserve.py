"""Room kept on the disks of staging and of the state directory, for a disk that has no free byte left.

A clear writes before it deletes: the journal, the record, the run's log. A copy writes its record and checksum list.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from typing import Final, TypeVar

from exlab_orch.errors import FULL, ExlabError, RunProblem, StateUnavailable
from exlab_orch.files.ballast import lengthen, shorten
from exlab_orch.journal_file import found_no_room
from exlab_orch.space import disk_space
from exlab_orch.staging import OURS

RESERVE: Final = "reserve"
ALL: Final = 8
"""Into so many pieces it is cut: what needs room takes one, and another one if that was not enough."""
FOR_CLEARS: Final = ALL // 2
"""Pieces that a pass leaves: what it proves can only be deleted if its clear finds room, too."""
_PIECE: Final = 512 << 10
_LARGEST_PART: Final = 32
"""A piece is never more than this part of a disk, one of a few MiB."""
_ROOM_FOR_THE_JOURNAL: Final = 512 << 10

_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)


def staging_reserve(root: str, state_dir: str) -> str:
    """The folder whose reserve helps staging: the state directory where that is on its disk, else one of our own."""
    with contextlib.suppress(OSError):
        if os.stat(root).st_dev == os.stat(state_dir).st_dev:
            return state_dir
    return f"{root}/{OURS}"


def keep_reserves(root: str, state_dir: str) -> None:
    """Put back what was given up, from half of what is free. What the disks answer is no fault of a pass or clear."""
    for folder in {state_dir, staging_reserve(root, state_dir)}:
        with contextlib.suppress(OSError):
            _fill_up(folder)


def _fill_up(folder: str) -> None:
    kept, piece = _kept(folder), _piece_of(folder)
    size = min(kept + disk_space(folder).free_bytes // 2 // piece * piece, ALL * piece)
    if size > kept:
        lengthen(f"{folder}/{RESERVE}", size)


def make_room_for_journal(state_dir: str, *, leave: int) -> None:
    """Give up so much that the journal opens, but ``leave`` pieces; whether that was enough, its opening says.

    Only for the owner of the state directory: anybody else, root too, is about to be refused.
    """
    with contextlib.suppress(OSError):
        is_owner = os.stat(state_dir).st_uid == os.geteuid()
        if is_owner and disk_space(state_dir).free_bytes < _ROOM_FOR_THE_JOURNAL:
            for _ in range(_ROOM_FOR_THE_JOURNAL // _piece_of(state_dir)):
                _give_up_piece(state_dir, leave)


def with_reserve(root: str, state_dir: str, act: Callable[[], _Result], *, leave: int = 0) -> _Result:
    """Do what can be begun again at any time; where a disk has no byte left, give up a piece of its reserve for it.

    Args:
        root, state_dir: the staging root and the state directory.
        act: what to do.
        leave: how many pieces stay all the same.
    """
    while True:
        try:
            return act()
        except (RunProblem, StateUnavailable) as error:
            folder = staging_reserve(root, state_dir) if isinstance(error, RunProblem) else state_dir
            if not is_disk_full(error) or not _gave_up_piece(folder, leave):
                raise


def is_disk_full(error: ExlabError) -> bool:
    """Whether what was translated was the word of a disk without room, or of a quota."""
    cause = error.__cause__
    if isinstance(cause, OSError):
        return cause.errno in FULL
    return found_no_room(cause)


def _gave_up_piece(folder: str, leave: int) -> bool:
    with contextlib.suppress(OSError):
        return _give_up_piece(folder, leave)
    return False


def _give_up_piece(folder: str, leave: int) -> bool:
    """Whether there was more than what is to be left."""
    piece = _piece_of(folder)
    if not shorten(f"{folder}/{RESERVE}", piece, leave=leave * piece, most=ALL * _PIECE):
        return False
    _log.info("the disk is full: room that was kept in %s/%s was given up", folder, RESERVE)
    return True


def _piece_of(folder: str) -> int:
    return min(_PIECE, disk_space(folder).total_bytes // _LARGEST_PART or _PIECE)


def _kept(folder: str) -> int:
    """How many bytes are kept; none where there is no file yet."""
    try:
        return os.lstat(f"{folder}/{RESERVE}").st_size
    except FileNotFoundError:
        return 0
