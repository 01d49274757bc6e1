"""How run folders are named and where they belong, and how to make a run of what is none (docs/layouts.md)."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from glob import escape as glob_escape
from typing import Final

from exlab_orch.errors import StagingUnavailable
from exlab_orch.model import OUR_FOLDER, RECORD_NAME
from exlab_orch.receipts import RECEIPTS
from exlab_orch.text import is_utf8, pasted, printable
from exlab_orch.toml_text import toml_string

SHELVES: Final = {"Runs": "Run_", "TestRuns": "TestRun_"}
"""Folders of a project that hold runs, and how the names of those begin."""
RunNames = tuple[str, ...] | None
"""Globs for the names of an equipment's run folders; None for those of ExLab-Wizard."""
_RUN_DEPTH: Final = 3
"""Slashes in the path of a run."""


def is_run_name(name: str, shelf: str, names: RunNames) -> bool:
    """Whether a folder of that name is a run: in ``Runs`` or ``TestRuns``, or directly in the project (``shelf`` "").

    However wide a pattern is, the shelves themselves and hidden folders are no runs.
    """
    if name.startswith(".") or (not shelf and name in SHELVES):
        return False
    if names is None:
        return name.startswith(SHELVES.get(shelf, "Run_"))
    return any(fnmatchcase(name, pattern) for pattern in names)


def entries(root: str, path: str) -> list[tuple[str, bool]]:
    """Names and whether they are folders (links are not), sorted. A folder that just vanished is empty.

    Raises:
        StagingUnavailable: it cannot be read.
    """
    try:
        with os.scandir(f"{root}/{path}" if path else root) as found:
            return sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in found)
    except OSError as error:
        if path and isinstance(error, FileNotFoundError):
            return []
        raise StagingUnavailable(
            f"The staging folder {printable(os.fsencode(f'{root}/{path}'))} cannot be read: {error.strerror}.",
            hint="Check that the staging disk is mounted and that the service user may read it.",
        ) from error


def folder_below(root: str, path: str, name: str) -> str | None:
    """The first folder of that name inside what is no run, at the depth where a run would be; its relative path."""
    waiting = [path]
    for folder in waiting:
        for entry, is_folder in entries(root, folder):
            if is_folder and entry == name:
                return f"{folder}/{entry}"
            if is_folder and folder.count("/") < _RUN_DEPTH - 1:
                waiting.append(f"{folder}/{entry}")
    return None


def how_to_make_it_one(root: str, path: str, is_folder: bool, names: RunNames) -> str:
    """Commands and settings ready to paste; where they depend on what it is, in words."""
    if not is_utf8(path):
        return "If it is a run, give it a name in UTF-8 on the equipment, and push it again; if not, move it away."
    parts, name = path.split("/"), path.rpartition("/")[2]
    shape = "EQUIPMENT/PROJECT/Runs/Run_…"
    if parts[1:] == [RECEIPTS]:
        return "Receipts are written into a folder of that name: move this away."
    if len(parts) == 1 and is_folder:
        is_one = "an EQUIPMENT is written in capital letters, digits and _"
        return f"Runs are folders {shape}, and {is_one}. If it is one, move it there; if not, move it away."
    if len(parts) < 3 or name.startswith(".") or (len(parts) == 3 and name in SHELVES):
        return f"Runs are folders {shape}. If it is one, move it there; if not, move it away."
    if os.path.islink(f"{root}/{path}"):
        return "It is a link, and those are never followed. Move what it points to here, in place of the link."
    if not is_folder:
        return f"Runs are folders {shape}. If this file belongs to one, move it there; if not, move it away."
    project, present = "/".join(parts[:2]), parts[2] if len(parts) == 4 else ""
    inside = run_names_in(root, path, names) if not present else []
    if inside:
        return _how_to_move_what_is_inside(root, project, path, inside)
    shelf, wanted = proper_place(name, present or "Runs")
    pattern = _toml_list([*(names or ("Run_*", "TestRun_*")), glob_escape(name)])
    setting = f"in [[equipment]] {parts[0]} of the configuration: run_pattern = {pattern}"
    if not is_run_name(wanted, shelf, names):
        return f"To make it a run, {setting}"
    folder = f"{root}/{project}/{shelf}"
    made = "" if shelf == present else f"mkdir -p {pasted(folder)} && "
    move = f"{made}mv -nT {pasted(f'{root}/{path}')} {pasted(f'{folder}/{wanted}')}"
    return f"To make it a run: {move}   Or, {setting}"


def is_one_run(root: str, project: str, strays: Sequence[str], names: RunNames) -> bool:
    """Whether a folder among the projects is rather a run that was pushed there: its parts are no strays of their own.

    No run is or was in what lies in it (``strays``), and it holds files itself or is called like a run.
    """
    was_run = any(os.path.lexists(f"{root}/{path}/{OUR_FOLDER}/{RECORD_NAME}") for path in strays)
    has_shelf = any(os.path.isdir(f"{root}/{project}/{shelf}") for shelf in SHELVES)
    if not strays or was_run or has_shelf or any(run_names_in(root, path, names) for path in strays):
        return False
    if is_run_name(project.partition("/")[2], "", names):
        return True
    return len(strays) > 1 and any(_is_shown_file(f"{root}/{path}") for path in strays)  # one file is told as itself


def _is_shown_file(path: str) -> bool:
    return not path.rpartition("/")[2].startswith(".") and os.path.isfile(path) and not os.path.islink(path)


def how_to_give_it_a_project(root: str, path: str, names: RunNames) -> str:
    """For a run that lies where projects belong; nobody but the lab knows to which project it belongs."""
    equipment, _, name = path.partition("/")
    shelf, wanted = proper_place(name, "Runs") if names is None else ("Runs", name)
    folder = pasted(f"{root}/{equipment}/PROJECT/{shelf}")
    move = f"mkdir -p {folder} && mv -nT {pasted(f'{root}/{path}')} {folder}/{pasted(wanted)}"
    return (
        "If it is a project, move the files in it away. If it is a run, give it the project that it belongs to, and "
        f"have the instrument push there: {move}"
    )


def run_names_in(root: str, path: str, names: RunNames) -> list[str]:
    """The folders in a folder of a project that have the name of a run: it was meant to be ``Runs``."""
    with contextlib.suppress(StagingUnavailable):
        folders = [name for name, is_folder in entries(root, path) if is_folder]
        return [name for name in folders if any(is_run_name(name, shelf, names) for shelf in SHELVES)]
    return []


def _how_to_move_what_is_inside(root: str, project: str, path: str, inside: Sequence[str]) -> str:
    is_test = all(name.startswith(SHELVES["TestRuns"]) for name in inside)
    moves = _moves_inside(f"{root}/{path}", f"{root}/{project}/{'TestRuns' if is_test else 'Runs'}")
    return f"The runs in it belong into a folder Runs or TestRuns. To move them there: {moves}"


def _moves_inside(folder: str, target: str) -> str:
    return f"mkdir -p {pasted(target)} && mv -nt {pasted(target)} {pasted(folder)}/* && rmdir {pasted(folder)}"


def how_to_rename_equipment(root: str, name: str, known: Iterable[str]) -> str | None:
    """For ``Flow-01`` beside the projects of ``FLOW_01``; None for what is called like no equipment."""
    meant = re.sub(r"[^A-Z0-9]+", "_", name.upper())
    if meant not in known:
        return None
    moves = _moves_inside(f"{root}/{name}", f"{root}/{meant}")
    return f"If it is of {meant}, have the instrument push there. To move what is in it: {moves}"


def proper_place(name: str, shelf: str) -> tuple[str, str]:
    """Where a run of that name belongs, and what it is called there; ``run_7`` is meant to be ``Run_7``."""
    for proper, prefix in SHELVES.items():
        if name.casefold().startswith(prefix.casefold()):
            return proper, prefix + name[len(prefix) :]
    return shelf, f"{SHELVES[shelf]}{name}"


def _toml_list(names: Iterable[str]) -> str:
    return f"[{', '.join(map(toml_string, names))}]"
