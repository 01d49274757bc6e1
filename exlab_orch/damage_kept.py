"""Known damage of NAS copies, a file for each run in the state directory: a lost journal must not make it look safe."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from typing import Final, cast

from exlab_orch.clock import format_utc, parse_utc
from exlab_orch.damage import PHASE
from exlab_orch.errors import state_errors
from exlab_orch.files import discard_unfinished, write_whole
from exlab_orch.files.delete import remove_own
from exlab_orch.files.places import make_folders, open_folder, opened, read_small
from exlab_orch.journal import Journal
from exlab_orch.model import Place, Problem
from exlab_orch.state import short_hash

LOOK: Final = "verified "
"""The key of the journal's note on a run's last look, before its path (looks.py)."""
_FOLDER: Final = "damaged"
_NAME: Final = re.compile(r"[0-9a-f]+\.json")
_LIMIT: Final = 8 << 20
_RECALLED: Final = "known damage recalled"


def keep(state_dir: str, run_path: str, problems: Sequence[Problem]) -> None:
    """Make these what is known to be wrong with the NAS copy of a run; none removes the file."""
    folder, name = Place(state_dir, _FOLDER), f"{short_hash(run_path)}.json"
    with state_errors(folder.absolute):
        if problems:
            make_folders(folder)
            content = {"run_path": run_path, "problems": [_as_json(problem) for problem in problems]}
            write_whole(f"{folder.absolute}/{name}", json.dumps(content, indent=1).encode() + b"\n", 0o644)
        elif os.path.isdir(folder.absolute):
            discard_unfinished(f"{folder.absolute}/{name}")
            remove_own(folder, [name.encode()])


def recall(journal: Journal, state_dir: str, *, changing: bool) -> None:
    """Tell a new journal what is known to be damaged, and have a journal of before kept like that.

    Who only looks on writes nothing, and may lack the right to read it: as little as the journal then.
    """
    if journal.note(_RECALLED) is not None:
        return
    with journal.transaction():
        for problem in _kept(state_dir, may_be_hidden=not changing):
            subject, since = problem.subject, problem.since
            known = journal.problems_in(subject, PHASE)
            journal.set_problems(subject, PHASE, [*known, problem], since)  # as long open, so a reminder may be due
            if journal.note(f"{LOOK}{subject}") is None:
                journal.set_note(f"{LOOK}{subject}", f"{format_utc(since)} damaged")
        for subject in journal.problem_subjects(PHASE) if changing else ():
            keep(state_dir, subject, journal.problems_in(subject, PHASE))
        journal.set_note(_RECALLED, "yes")


def _kept(state_dir: str, *, may_be_hidden: bool) -> Iterator[Problem]:
    """Every problem that was kept; a file that cannot be understood names no run, and is passed over."""
    folder = Place(state_dir, _FOLDER)
    with state_errors(folder.absolute):
        try:
            with opened(open_folder(folder)) as descriptor:
                names = sorted(os.listdir(descriptor))
        except FileNotFoundError:
            return
        except PermissionError:
            if may_be_hidden:
                return
            raise
        for name in filter(_NAME.fullmatch, names):  # not what a crash left unfinished
            found = read_small(folder, name, _LIMIT)
            yield from [] if found is None else _parsed(found[0])


def _parsed(content: bytes) -> list[Problem]:
    try:
        value = cast("dict[str, object]", json.loads(content))
        return [_problem(str(value["run_path"]), one) for one in cast("list[dict[str, object]]", value["problems"])]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def _as_json(problem: Problem) -> dict[str, object]:
    names = [os.fsdecode(name) for name in problem.files]
    since = format_utc(problem.since)
    return {"code": problem.code, "message": problem.message, "hint": problem.hint, "since": since, "files": names}


def _problem(run_path: str, value: dict[str, object]) -> Problem:
    """Raises ValueError, TypeError or KeyError for what is none."""
    since = parse_utc(str(value["since"]))
    if since is None:
        raise ValueError("no time")
    names = tuple(os.fsencode(name) for name in cast("list[str]", value["files"]))
    return Problem(run_path, str(value["code"]), str(value["message"]), since, str(value["hint"]), names)
