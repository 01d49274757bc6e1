"""Which folders below the staging root are runs, what else lies there, who owns the root, and what is in the trash."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Final

from exlab_orch.errors import (
    RENAME,
    OutsideStaging,
    OwnerMismatch,
    RunAmbiguous,
    RunNotFound,
    StagingUnavailable,
    TrashLeftover,
    staging_errors,
)
from exlab_orch.files.delete import remove_empty_folders, remove_folder_chain
from exlab_orch.files.places import make_folders, read_small
from exlab_orch.files.walk import walk
from exlab_orch.files.whole import discard_unfinished, write_once, write_whole
from exlab_orch.layout import (
    SHELVES,
    RunNames,
    entries,
    how_to_give_it_a_project,
    how_to_make_it_one,
    how_to_rename_equipment,
    is_one_run,
    is_run_name,
)
from exlab_orch.model import Place, StagedRun
from exlab_orch.receipts import RECEIPTS
from exlab_orch.small_json import texts_of
from exlab_orch.text import did_you_mean, pasted, printable

OURS: Final = ".exlab-orch"
TRASH: Final = f"{OURS}/trash"
_OF_THE_DISK: Final = "lost+found"
"""mkfs makes it at the top of a disk, for root alone; it is no person's business to move it away."""
_OWNER_PATH: Final = f"{OURS}/owner.json"
_OWNER_LIMIT: Final = 64 << 10
_EQUIPMENT: Final = re.compile(r"[A-Z][A-Z0-9_]{0,31}")


@dataclass(frozen=True, slots=True)
class Stray:
    """Something in staging that is not a run: never touched, never silent."""

    path: str
    """Relative to the staging root; undecodable bytes as surrogates."""
    code: str
    message: str
    hint: str


Found = Iterator[StagedRun | Stray]
RunPatterns = Mapping[str, tuple[str, ...]]
DEFAULT_PATTERNS: Final[RunPatterns] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Discovery:
    """What one look over the staging root found, in walk order."""

    runs: tuple[StagedRun, ...]
    strays: tuple[Stray, ...]


def discover(root: str, equipment_ids: Iterable[str], patterns: RunPatterns = DEFAULT_PATTERNS) -> Discovery:
    """Every run and every stray below the staging root; ``patterns`` are names of run folders by equipment.

    Raises:
        StagingUnavailable: the root is missing or cannot be read.
    """
    known = frozenset(equipment_ids)
    runs: list[StagedRun] = []
    strays: list[Stray] = []
    for found in _scan(root, known, patterns):
        if isinstance(found, Stray):
            strays.append(found)
        else:
            runs.append(found)
    return Discovery(tuple(runs), tuple(strays))


def _scan(root: str, known: frozenset[str], patterns: RunPatterns) -> Found:
    for name, is_folder in entries(root, ""):
        if name == OURS or (name == _OF_THE_DISK and is_folder):
            continue
        if not is_folder or not _EQUIPMENT.fullmatch(name):
            yield _no_equipment(root, name, is_folder, known)
        elif name not in known:
            yield _unknown_equipment(name)
        else:
            yield from _scan_equipment(root, name, patterns.get(name))


def _scan_below(root: str, folder: str, scan: Callable[[str, str, bool], Found]) -> Found:
    """Scan each entry of a folder; one that cannot be read is told as a stray, and never stops the others."""
    try:
        found = entries(root, folder)
    except StagingUnavailable as error:
        yield Stray(folder, "permission_denied", error.message, "Let the service user read the folder.")
        return
    for name, is_folder in found:
        yield from scan(f"{folder}/{name}", name, is_folder)


def _scan_equipment(root: str, equipment: str, names: RunNames) -> Found:
    def scan(path: str, name: str, is_folder: bool) -> Found:
        if is_folder and not name.startswith("."):
            yield from _scan_project(root, path, names)
        elif not is_folder or name != RECEIPTS:
            yield not_a_run(root, path, is_folder, names)

    return _scan_below(root, equipment, scan)


def _scan_project(root: str, project: str, names: RunNames) -> Found:
    def scan(path: str, name: str, is_folder: bool) -> Found:
        if is_folder and name in SHELVES:
            yield from _scan_shelf(root, path, name, names)
        else:
            yield _leaf(root, path, "", is_folder, names)

    found = list(_scan_below(root, project, scan))
    strays = [one.path for one in found if isinstance(one, Stray) and one.code == "not_a_run"]
    if not any(isinstance(one, StagedRun) for one in found) and is_one_run(root, project, strays, names):
        yield _run_among_projects(root, project, names)
    else:
        yield from found


def _run_among_projects(root: str, path: str, names: RunNames) -> Stray:
    shown = printable(os.fsencode(path))
    text = f"{shown} lies where projects belong, and no run is in it. If it is a run, it needs a project around it."
    return Stray(path, "not_a_run", text, how_to_give_it_a_project(root, path, names))


def _scan_shelf(root: str, path: str, shelf: str, names: RunNames) -> Found:
    def scan(path: str, name: str, is_folder: bool) -> Found:
        del name
        yield _leaf(root, path, shelf, is_folder, names)

    return _scan_below(root, path, scan)


def _leaf(root: str, path: str, shelf: str, is_folder: bool, names: RunNames) -> StagedRun | Stray:
    if not is_folder or not is_run_name(path.rpartition("/")[2], shelf, names):
        return not_a_run(root, path, is_folder, names)
    try:
        path.encode()
    except UnicodeEncodeError:
        return Stray(
            path,
            "name_unsupported",
            f"The path of the run, {printable(os.fsencode(path))}, is not UTF-8.",
            RENAME,
        )
    return StagedRun(path, Place(root, path))


def not_a_run(root: str, path: str, is_folder: bool, names: RunNames = None) -> Stray:
    """What lies in staging and is no run, with what would make it one."""
    hint = how_to_make_it_one(root, path, is_folder, names)
    return Stray(path, "not_a_run", f"{printable(os.fsencode(path))} is not a run.", hint)


def _no_equipment(root: str, name: str, is_folder: bool, known: Iterable[str]) -> Stray:
    """What lies directly in staging and cannot be an equipment's folder."""
    found = not_a_run(root, name, is_folder)
    hint = how_to_rename_equipment(root, name, known) if is_folder else None
    return found if hint is None else replace(found, hint=hint)


def _unknown_equipment(name: str) -> Stray:
    return Stray(
        name,
        "unknown_equipment",
        f"No equipment {name} is configured.",
        f"Add it: exlab-orch equipment add {name}",
    )


def run_at(root: str, run_path: str, patterns: RunPatterns = DEFAULT_PATTERNS) -> StagedRun | None:
    """The run that a relative path names by its shape, whether or not it exists; None where it names none."""
    shelf = _shelf_of(run_path)
    equipment, name = run_path.partition("/")[0], run_path.rpartition("/")[2]
    if shelf is None or not is_run_name(name, shelf, patterns.get(equipment)):
        return None
    return _run(root, run_path)


def _shelf_of(run_path: str) -> str | None:
    """``Runs``, ``TestRuns`` or, for a run directly in its project, ""; None for what cannot be a run's path."""
    parts = run_path.split("/")
    if any(part in ("", ".", "..") or part.startswith(".") for part in parts) or not _EQUIPMENT.fullmatch(parts[0]):
        return None
    if len(parts) == 4 and parts[2] in SHELVES:
        return parts[2]
    return "" if len(parts) == 3 and parts[2] not in SHELVES else None


# -- names people give ---------------------------------------------------------------------------------------


def resolve(root: str, text: str, run_paths: Collection[str], patterns: RunPatterns = DEFAULT_PATTERNS) -> StagedRun:
    """The run a person means: an absolute or relative path, EQUIPMENT/PROJECT/Runs/Run_…, or the folder's name.

    Raises:
        OutsideStaging, RunNotFound, RunAmbiguous
    """
    if not text.strip():
        raise RunNotFound("The name of the run is empty.", hint="Name one. See what is there: exlab-orch list")
    wanted = re.sub("/+", "/", text).rstrip("/") or "/"
    if wanted in run_paths:
        return _run(root, wanted)
    known = list(run_paths)
    named = [path for path in known if path.rpartition("/")[2] == wanted]
    if len(named) == 1:
        return _run(root, named[0])
    if named:
        candidates = "\n".join(f"  {printable(path.encode())}" for path in named)
        raise RunAmbiguous(
            f"More than one run is called {printable(wanted)}:\n{candidates}", hint="Give the whole path."
        )
    if "/" in wanted or wanted in (".", ".."):
        return _resolve_path(root, wanted, known, patterns)
    raise not_found(wanted, known)


def _resolve_path(root: str, wanted: str, known: Iterable[str], patterns: RunPatterns) -> StagedRun:
    looks_relative = run_at(root, wanted, patterns)
    if looks_relative is not None:
        return looks_relative
    absolute = os.path.abspath(wanted)
    for base in {root, os.path.realpath(root)}:
        if absolute.startswith(base + "/"):
            run_path = absolute[len(base) + 1 :]
            run = run_at(root, run_path, patterns)
            if run is None:
                raise not_found(run_path, known)
            return run
    if not (wanted.startswith(("/", ".")) or ".." in wanted.split("/") or os.path.lexists(absolute)):
        raise not_found(wanted, known)
    raise OutsideStaging(
        f"{printable(wanted)} is not below the staging root {root}.", hint="Only staged runs are ever touched."
    )


def _run(root: str, run_path: str) -> StagedRun:
    return StagedRun(run_path, Place(root, run_path))


_LIKENESS: Final = 0.8
"""Run names are alike because they are dates: what is less alike than that was not meant."""


def not_found(wanted: str, known: Iterable[str] = ()) -> RunNotFound:
    """The error of a name that no run has; it names the runs that are called nearly so, or where to look."""
    paths = [*known]
    around = next((path for path in paths if wanted.startswith(f"{path}/")), None)
    if around is not None:
        hint = f"See the run: exlab-orch show {pasted(around)}"
        return RunNotFound(f"{printable(wanted)} lies in a run, and is none.", hint=hint)
    if "/" in wanted and any(path.startswith(f"{wanted}/") for path in paths):
        equipment, project = wanted.split("/")[:2]
        hint = f"See the runs in it: exlab-orch list --equipment {equipment} --project {pasted(project)}"
        return RunNotFound(f"No run is called {printable(wanted)}.", hint=hint)
    names = paths if "/" in wanted else dict.fromkeys(path.rpartition("/")[2] for path in paths)
    meant = did_you_mean(wanted, names, show=pasted, likeness=_LIKENESS)
    hint = _where_to_look(wanted, paths) if not meant else "See what is there: exlab-orch list"
    return RunNotFound(f"No run is called {printable(wanted)}.{meant}", hint=hint)


def _where_to_look(wanted: str, paths: Iterable[str]) -> str:
    for option, place in (("--equipment", 0), ("--project", 1)):
        if any(path.split("/")[place] == wanted for path in paths):
            return f"See all of its runs: exlab-orch list {option} {pasted(wanted)}"
    return "If it never arrived, look at the instrument. See what is there: exlab-orch list"


# -- the trash -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TrashSlot:
    """One folder ``trash/<id>`` and the run in it; None where it is empty or cut short."""

    place: Place
    run: StagedRun | None


def trash_slots(root: str) -> tuple[TrashSlot, ...]:
    """What lies in the trash folder."""
    slots = Place(root, TRASH)
    if not os.path.lexists(slots.absolute):
        return ()
    names = (name for name, is_folder in entries(root, TRASH) if is_folder)
    return tuple(_slot(slots.below(name)) for name in names)


def in_trash(root: str, run_path: str) -> StagedRun | None:
    """The run of that path that lies in the trash, or None."""
    found = (slot.run for slot in trash_slots(root))
    return next((run for run in found if run is not None and run.run_path == run_path), None)


def _slot(place: Place) -> TrashSlot:
    """Look for EQUIPMENT/PROJECT/[Runs/]RUN below ``trash/<id>``; we only ever put one run there.

    By its shape alone: what was a run when it was put there is one, whatever the patterns say now.
    """
    waiting = [place.path]
    while waiting:
        path = waiting.pop()
        run_path = path[len(place.path) + 1 :]
        if _shelf_of(run_path) is not None:
            return TrashSlot(place, StagedRun(run_path, Place(place.root, path)))
        if path.count("/") < place.path.count("/") + 4:
            waiting += [f"{path}/{name}" for name, is_folder in entries(place.root, path) if is_folder]
    return TrashSlot(place, None)


def remove_empty_slot(slot: TrashSlot) -> None:
    """Remove a trash folder that holds no run.

    Raises:
        TrashLeftover: it holds files all the same; they stay.
        RunProblem: it cannot be looked at.
    """
    with staging_errors("settling the trash"):
        try:
            listing = walk(slot.place)
        except FileNotFoundError:
            return
        if listing.files or listing.special:
            raise TrashLeftover(
                f"The trash folder {printable(slot.place.absolute)} holds something that is not a run.",
                hint="Nothing was deleted. Look at it, and move it away.",
            )
        remove_empty_folders(slot.place, listing.folders)
        remove_folder_chain(slot.place, TRASH)


# -- the owner -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Owner:
    """The computer and state directory that drive a staging root."""

    host: str
    machine: str
    state_dir: str


def require_owner(root: str, owner: Owner) -> None:
    """Raise OwnerMismatch unless ``owner.json`` names this owner; written when there is none (lifecycle.md, 4)."""
    with _owner_errors(root):
        discard_unfinished(f"{root}/{_OWNER_PATH}")
    found = read_owner(root)
    if found is None and _write_first_owner(root, owner):
        return
    refuse_other_owner(root, owner)


def refuse_other_owner(root: str, owner: Owner) -> None:
    """Raise OwnerMismatch where somebody else drives the staging root; writes nothing."""
    found = read_owner(root)
    if found is not None and (found.machine, found.state_dir) != (owner.machine, owner.state_dir):
        raise OwnerMismatch(
            f"The staging root {root} is driven by {printable(found.host)} with the state directory "
            f"{printable(found.state_dir)}, not by this computer with {owner.state_dir}.",
            hint="If that one is out of service for good, run here: exlab-orch takeover",
        )


def require_mounted(root: str) -> None:
    """Raise StagingUnavailable unless a staging root that had an owner still carries ``owner.json``.

    The empty folder below a disk that is not mounted looks like a staging area whose runs are all gone.
    """
    try:
        os.lstat(f"{root}/{_OWNER_PATH}")
    except FileNotFoundError as error:
        raise StagingUnavailable(
            f"The staging root {printable(os.fsencode(root))} is not the one that was used before: "
            f"{_OWNER_PATH} is not there.",
            hint="Mount the staging disk. If the folder was really made anew, run: exlab-orch takeover",
        ) from error
    except OSError:
        return  # it is there, or cannot be looked at: who has to read it says so


def read_owner(root: str) -> Owner | None:
    """Who drives the staging root, or None where nobody does yet.

    Raises:
        OwnerMismatch: the file is there and cannot be understood.
    """
    try:
        found = read_small(Place(root, OURS), "owner.json", _OWNER_LIMIT)
        return None if found is None else Owner(**texts_of(found[0], ("host", "machine", "state_dir")))
    except (OSError, ValueError) as error:
        raise OwnerMismatch(
            f"{root}/{_OWNER_PATH} cannot be understood, so it is not known who drives this staging root.",
            hint="If it is this computer, run: exlab-orch takeover",
        ) from error


def write_owner(root: str, owner: Owner) -> None:
    """Make this computer and state directory the owner, whoever it was before."""
    with _owner_errors(root):
        make_folders(Place(root, OURS))
        write_whole(f"{root}/{_OWNER_PATH}", _owner_content(owner), 0o644)


def _write_first_owner(root: str, owner: Owner) -> bool:
    """Become the owner of a root that has none; False where another process was faster."""
    with _owner_errors(root):
        make_folders(Place(root, OURS))
        return write_once(f"{root}/{_OWNER_PATH}", _owner_content(owner), 0o644)


def _owner_content(owner: Owner) -> bytes:
    return json.dumps(asdict(owner), indent=1).encode() + b"\n"


@contextmanager
def _owner_errors(root: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StagingUnavailable(
            f"{root}/{_OWNER_PATH} cannot be written: {error.strerror}.",
            hint="Let the service user write in the staging root.",
        ) from error


def require_root(root: str) -> None:
    """Raise StagingUnavailable unless the staging root is a folder."""
    try:
        if stat.S_ISDIR(os.stat(root).st_mode):
            return
        why = "it is not a folder"
    except OSError as error:
        why = error.strerror or str(error)
    raise StagingUnavailable(
        f"The staging root {printable(os.fsencode(root))} is not available: {why}.",
        hint="Mount the staging disk, or set orchestrator.staging_root.",
    )
