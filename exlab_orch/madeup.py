"""The made-up run of a self-test: its plan, which says what every one of its files holds, and its files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Final

from exlab_orch.errors import SelftestLeftover, state_errors
from exlab_orch.files import discard_unfinished, write_once
from exlab_orch.files.places import make_folders, open_folder, open_subfolder, opened
from exlab_orch.files.whole import write_all
from exlab_orch.model import Place
from exlab_orch.small_json import texts_of

EQUIPMENT_ID: Final = "EXLAB_SELFTEST"
SENTINEL: Final = b"run_complete"
EMPTY_FOLDER: Final = b"empty folder"
_BLOCKS: Final = 4
_PIECE: Final = 1 << 20
MOST_BYTES: Final = 1 << 40
_RUN_PATH: Final = re.compile(rf"{EQUIPMENT_ID}/Selftest/Runs/Run_[0-9T-]{{19}}")
_ID: Final = re.compile(r"[0-9a-f]{16}")
_UNFINISHED: Final = re.compile(r"\.([0-9a-f]{16})\.json\.exlab-new")
_MARKER_ID: Final = re.compile(r"[0-9a-f]{32}")
ALIKE: Final = (b"Case.txt", b"case.txt")
"""The same name for a NAS that ignores case."""
ODD_NAMES: Final = (
    b"-leading dash.txt",
    *ALIKE,
    b"back\\slash.txt",
    b"colon:x.txt",
    b"empty.dat",
    b"line\nbreak.txt",
    b"not utf-8 \xff.txt",
    b"quote'\".txt",
    b"sub folder/umlaut \xc3\xbc.txt",
    b"trailing dot.",
)
"""Each is a trouble to some NAS; those that this NAS cannot hold are left out and told."""
_NAME_REFUSED: Final = frozenset({errno.EINVAL, errno.EILSEQ, errno.ENOENT, errno.EACCES, errno.EEXIST, errno.EPROTO})


@dataclass(frozen=True, slots=True)
class MadeUpFile:
    """What one file of the run holds."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Plan:
    """One self-test of one NAS: where it puts things, and every file it may make; written before anything is made."""

    id: str
    """Random: nobody else has a folder of that name."""
    nas: str
    run_path: str
    marker_id: str
    block_bytes: int
    """The size that was asked for."""
    files: Mapping[bytes, MadeUpFile]

    @property
    def hidden_key(self) -> str:
        """What stands for a run's name in the name of our hidden folder on the NAS."""
        return f"selftest-{self.id}"

    @property
    def byte_total(self) -> int:
        return sum(one.size for one in self.files.values())

    def folders(self) -> set[bytes]:
        """Every folder of the run that may be made, relative to it."""
        return {EMPTY_FOLDER, *(name.rpartition(b"/")[0] for name in self.files if b"/" in name)}


def make_plan(nas: str, byte_total: int, now: datetime) -> Plan:
    """A plan with a name of its own."""
    run_path = f"{EQUIPMENT_ID}/Selftest/Runs/Run_{now:%Y-%m-%dT%H-%M-%S}"
    return _plan(secrets.token_hex(8), nas, run_path, secrets.token_hex(16), byte_total)


def _plan(plan_id: str, nas: str, run_path: str, marker_id: str, byte_total: int) -> Plan:
    """All that the files hold follows from the plan's name and size: a plan cannot speak of anybody else's files."""
    share = byte_total // _BLOCKS
    sizes = dict.fromkeys((f"data/block_{number}.bin".encode() for number in range(1, _BLOCKS)), share)
    sizes[f"data/block_{_BLOCKS}.bin".encode()] = byte_total - share * (_BLOCKS - 1)
    sizes |= {name: 0 if name == b"empty.dat" else 100 + len(name) for name in ODD_NAMES}
    sizes[SENTINEL] = 0
    files = {name: MadeUpFile(size, _sha256(plan_id, name, size)) for name, size in sizes.items()}
    return Plan(plan_id, nas, run_path, marker_id, byte_total, files)


def _pieces(plan_id: str, name: bytes, size: int) -> Iterator[bytes]:
    """Bytes that no NAS can compress, the same ones whenever they are asked for."""
    source = Random(plan_id.encode() + b"/" + name)  # noqa: S311 - they are no secret
    while size > 0:
        piece = source.randbytes(min(size, _PIECE))
        yield piece
        size -= len(piece)


def _sha256(plan_id: str, name: bytes, size: int) -> str:
    digest = hashlib.sha256()
    for piece in _pieces(plan_id, name, size):
        digest.update(piece)
    return digest.hexdigest()


def make_run(plan: Plan, run: Place) -> None:
    """Push the run: its data, and the signal last. A name that the staging disk cannot hold is left out.

    Raises:
        OSError: the disk did not take it.
    """
    make_folders(run)
    with opened(open_folder(run)) as leaf:
        for name in sorted(plan.folders()):
            os.mkdir(name, dir_fd=leaf)
        for name in sorted(plan.files, key=lambda name: (name == SENTINEL, name)):
            _make_file(leaf, plan, name)


def _make_file(leaf: int, plan: Plan, name: bytes) -> None:
    parent, _, base = name.rpartition(b"/")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with opened(open_subfolder(leaf, parent)) as folder:
        try:
            descriptor = os.open(base, flags, 0o644, dir_fd=folder)
        except OSError as error:
            if name not in ODD_NAMES or error.errno not in _NAME_REFUSED:
                raise
            return
        with opened(descriptor):
            for piece in _pieces(plan.id, name, plan.files[name].size):
                write_all(descriptor, piece)


# -- the plan on the disk ------------------------------------------------------------------------------------


def plans_folder(state_dir: str) -> str:
    """Where the plans of self-tests lie that are not cleared away yet."""
    return f"{state_dir}/selftest"


def plan_file(state_dir: str, plan_id: str) -> str:
    """The plan's file."""
    return f"{plans_folder(state_dir)}/{plan_id}.json"


def save_plan(state_dir: str, plan: Plan) -> None:
    """Write the plan durably, before the first file is made.

    Raises:
        StateUnavailable
    """
    value = {
        "nas": plan.nas,
        "run_path": plan.run_path,
        "marker_id": plan.marker_id,
        "block_bytes": str(plan.block_bytes),
    }
    with state_errors(state_dir):
        os.makedirs(plans_folder(state_dir), mode=0o755, exist_ok=True)
        write_once(plan_file(state_dir, plan.id), json.dumps(value).encode(), 0o644)


def saved_plans(state_dir: str) -> list[Plan]:
    """What self-tests left behind that were killed, or could not clear away.

    Raises:
        SelftestLeftover: a plan cannot be understood, so nothing is removed by it.
    """
    with state_errors(state_dir):
        try:
            found = sorted(os.listdir(plans_folder(state_dir)))
        except FileNotFoundError:
            return []
        for name in filter(None, map(_UNFINISHED.fullmatch, found)):
            discard_unfinished(plan_file(state_dir, name[1]))
        names = [name for name in found if name.endswith(".json")]
        return [_read_plan(state_dir, name.removesuffix(".json")) for name in names]


def _read_plan(state_dir: str, plan_id: str) -> Plan:
    path = plan_file(state_dir, plan_id)
    with open(path, "rb") as file:
        content = file.read()
    try:
        return _understood(plan_id, texts_of(content, ("nas", "run_path", "marker_id", "block_bytes")))
    except ValueError as error:
        raise SelftestLeftover(
            f"{path} does not say any more what a self-test made, so nothing of it can be removed.",
            hint=f"Look for .exlab-part-selftest-{plan_id} on the NAS, remove it by hand, and then that file.",
        ) from error


def _understood(plan_id: str, texts: Mapping[str, str]) -> Plan:
    byte_total = int(texts["block_bytes"])
    shapes = ((_ID, plan_id), (_RUN_PATH, texts["run_path"]), (_MARKER_ID, texts["marker_id"]))
    if not 0 <= byte_total <= MOST_BYTES or not all(shape.fullmatch(text) for shape, text in shapes):
        raise ValueError("it is no plan")
    return _plan(plan_id, texts["nas"], texts["run_path"], texts["marker_id"], byte_total)
