"""E. Entries that are no plain files, may not be deleted, bear our names, or are swapped for a link while we look."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from exlab_orch.model import log_name
from tests.faults.strace import point_in, trace_of, while_it_waits_at
from tests.files.tricks import write
from tests.lab import RUN, Lab, tree
from tests.oracle import Oracle, data_files, require_cleared, require_program, require_root

OTHER: Final = "FLOW_01/PROJ-1/Runs/Run_other"


def problem(lab: Lab, run: str = RUN) -> str | None:
    """The code of the run's problem, as ``list --json`` has it."""
    rows = {row["run"]: row["problem"] for row in json.loads(lab.cli("list", "--json").stdout)["runs"]}
    found = rows[run]
    return None if found is None else str(found["code"])


# -- neither file nor folder ---------------------------------------------------------------------------------


def a_device(path: Path) -> None:
    require_root()
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero: reading it never ends


def a_disk(path: Path) -> None:
    require_root()
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, 0))


def a_looping_link(path: Path) -> None:
    path.symlink_to(path.name)


def a_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def a_link_to_a_folder_elsewhere(path: Path) -> None:
    path.symlink_to(path.parents[5])


SLOW: Final = pytest.mark.slow
SPECIAL: Final = [
    os.mkfifo,
    a_device,
    a_dangling_link,
    pytest.param(a_disk, marks=SLOW),
    pytest.param(a_looping_link, marks=SLOW),
    pytest.param(a_link_to_a_folder_elsewhere, marks=SLOW),
]


@pytest.mark.parametrize("make", SPECIAL, ids=lambda make: make.__name__)
def test_a_device_fifo_or_link_in_a_run_blocks_it_before_and_after_its_proof(
    lab: Lab, oracle: Oracle, make: Callable[[Path], None]
) -> None:
    lab.push(OTHER)
    make(lab.push() / "odd")
    oracle.remember()
    assert lab.cli("poll").returncode == 3
    assert (problem(lab), problem(lab, OTHER)) == ("special_file", None)
    assert not lab.published().exists()
    make(lab.staged(OTHER) / "odd")
    assert lab.cli("clear", "--yes", OTHER).returncode == 5
    oracle.require_nothing_lost()
    for run in (RUN, OTHER):
        (lab.staged(run) / "odd").unlink()
    oracle.settle()
    assert lab.cli("clear", "--yes", RUN, OTHER).returncode == 0


def test_hard_links_into_other_runs_and_folders_are_copied_whole_and_the_other_names_stay(
    lab: Lab, oracle: Oracle
) -> None:
    run = lab.push()
    os.link(run / "a.fcs", run / "sub/again.fcs")
    os.link(run / "a.fcs", lab.root / "outside.fcs")
    os.link(run / "a.fcs", lab.push(OTHER) / "linked.fcs")
    oracle.remember()
    assert lab.cli("poll").returncode == 0
    assert lab.cli("clear", "--yes", RUN).returncode == 0
    oracle.settle()
    require_cleared(lab)
    assert (lab.root / "outside.fcs").read_bytes() == b"aaa"
    assert (lab.published() / "a.fcs").stat().st_nlink == 1
    assert lab.cli("clear", "--yes", OTHER).returncode == 0


# -- may not be read -----------------------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.parametrize("name", ["a.fcs", "sub", pytest.param(".exlab-wizard/creation.json", marks=SLOW)])
def test_what_the_service_user_may_not_read_blocks_the_run_until_he_may(lab: Lab, oracle: Oracle, name: str) -> None:
    require_root()
    write(lab.push(), b".exlab-wizard/creation.json", b"{}")
    oracle.remember()
    (lab.staged() / name).chmod(0)
    for verb, code in (("poll", 3), ("list", 0)):
        command = [require_program("setpriv"), "--bounding-set", "-dac_override,-dac_read_search", *lab.command(verb)]
        shown = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert (shown.returncode, "permission_denied" in shown.stdout + shown.stderr) == (code, True), shown.stderr
    assert not lab.published().exists()
    (lab.staged() / name).chmod(0o755)
    assert lab.cli("sync", RUN).returncode == 0
    oracle.settle()
    assert lab.states()[-1] == "sync_verified"


# -- may not be deleted --------------------------------------------------------------------------------------


@pytest.fixture
def frozen(lab: Lab) -> Iterator[Callable[[str, str], None]]:
    """``frozen("+i", "a.fcs")`` sets an attribute of a staged entry; ``frozen("", "")`` takes all away."""
    require_root()
    chattr, done = require_program("chattr"), []

    def freeze(flag: str, name: str) -> None:
        if flag:
            subprocess.run([chattr, flag, lab.staged() / name], check=True)
            done.append(flag.replace("+", "-"))
        for back in [] if flag else done:
            for folder in (lab.staged(), lab.staging / ".exlab-orch/trash"):
                subprocess.run([chattr, "-R", "-f", back, folder], check=False, capture_output=True)

    yield freeze
    freeze("", "")


@pytest.mark.root
@pytest.mark.parametrize(
    ("flag", "name", "is_half_done"),
    [
        ("+i", "a.fcs", True),
        pytest.param(*("+a", "sub/b.fcs", True), marks=SLOW),
        ("+i", "sub", True),
        pytest.param(*("+a", "sub", True), marks=SLOW),
        ("+i", ".", False),
        pytest.param(*("+i", ".exlab-wizard", False), marks=SLOW),
        ("+i", ".exlab-wizard/ingest.json", False),
    ],
)
def test_what_may_not_be_deleted_is_told_and_the_clear_is_finished_or_undone_when_it_may(
    lab: Lab, oracle: Oracle, frozen: Callable[[str, str], None], flag: str, name: str, is_half_done: bool
) -> None:
    lab.push(files={"a.fcs": b"a", "sub/b.fcs": b"b", "z.fcs": b"z"})
    lab.poll()
    oracle.remember()
    frozen(flag, name)
    shown = lab.cli("clear", "--yes", RUN)
    assert (shown.returncode, "Operation not permitted" in shown.stderr) == (5, True)
    oracle.require_nothing_lost()
    assert lab.cli("poll").returncode == (3 if is_half_done else 0)
    assert problem(lab) == ("permission_denied" if is_half_done else None)
    oracle.require_nothing_lost()
    frozen("", "")
    oracle.settle()
    assert lab.staged().exists() is not is_half_done
    assert lab.cli("clear", "--yes", RUN).returncode == 0
    require_cleared(lab)


# -- names like ours -----------------------------------------------------------------------------------------

LIKE_OURS: Final = (
    b".exlab-part-Run_2026-04-17T14-32/a.fcs",
    b".exlab-new",
    b".ingest.json.exlab-new",
    b".exlab-nas",
    b".exlab-orch/owner.json",
    b".exlab-orch/trash/1/FLOW_01/PROJ-1/Runs/Run_x/a.fcs",
    b"Runs/Run_inside/.exlab-wizard/ingest.json",
    b"sub/.exlab-wizard/checksums.sha256",
    b"ingest.json",
    b"checksums.sha256",
    b"manifest.json/a.fcs",
    b".exlab-wizard/creation.json/a.fcs",
    b".exlab-wizard/superseded/2026-01-01T00-00-00Z/a.fcs",
    b".exlab-wizard/.ingest.json.0123456789abcdef0123",
    b".exlab-wizard/pushed-1-ingest.json",
    b".exlab-wizard/ingest.json",
    b".exlab-wizard/checksums.sha256",
    b".exlab-wizard/wizard.another-computer.log",
)


def test_pushed_files_and_folders_that_bear_our_names_are_data_and_arrive(lab: Lab) -> None:
    run = lab.push(done=False)
    for number, name in enumerate(LIKE_OURS):
        write(run, name, b"pushed %d" % number)
    claim: dict[str, object] = {
        "schema_version": "1.1",
        "project_name": "x",
        "equipment_id": "FLOW_01",
        "run_kind": "test",
    }
    claim |= {"run_path": RUN, "current_state": "staging", "history": []}
    (run / ".exlab-wizard/ingest.json").write_text(json.dumps(claim))
    (run / ".exlab-wizard" / log_name(socket.gethostname())).write_bytes(b"pushed log")
    pushed = sorted(data_files(run).values())
    (run / "run_complete").touch()
    assert lab.cli("poll").returncode == 0
    oracle = Oracle(lab)
    arrived = data_files(lab.published())
    assert arrived == data_files(run)
    assert not [one for one in pushed if one not in arrived.values()]
    assert arrived.keys() >= {b".exlab-wizard/pushed-2-ingest.json", b".exlab-wizard/pushed-1-checksums.sha256"}
    assert lab.cli("clear", "--yes", RUN).returncode == 0
    assert data_files(lab.published()) == arrived
    assert oracle.lost() == []


@pytest.mark.parametrize("kind", ["folder", "link", "fifo", "file in place of our folder", "link for our folder"])
def test_something_odd_in_place_of_our_own_files_is_told_or_set_aside_and_never_followed(
    lab: Lab, oracle: Oracle, kind: str
) -> None:
    run, elsewhere = lab.push(), lab.root / "elsewhere"
    elsewhere.mkdir()
    oracle.remember()
    odd_in_place_of_ours(run, elsewhere, kind)
    assert lab.cli("poll").returncode == 3
    assert problem(lab) in ("record_unreadable", "changed_while_copied", "special_file")
    assert lab.cli("clear", "--yes", RUN).returncode == 5
    assert tree(elsewhere) == {}
    assert not lab.published().exists()
    take_away(run / ".exlab-wizard")
    oracle.settle()
    assert lab.states()[-1] == "sync_verified"


def take_away(ours: Path) -> None:
    """Whatever is there instead of our folder, or in it instead of our record."""
    odd = ours / "ingest.json" if ours.is_dir() and not ours.is_symlink() else ours
    odd.rmdir() if odd.is_dir() and not odd.is_symlink() else odd.unlink()


def odd_in_place_of_ours(run: Path, elsewhere: Path, kind: str) -> None:
    ours = run / ".exlab-wizard"
    if kind == "file in place of our folder":
        ours.write_bytes(b"a file")
    elif kind == "link for our folder":
        ours.symlink_to(elsewhere)
    else:
        ours.mkdir()
        make: dict[str, Callable[[Path], object]] = {
            "folder": Path.mkdir,
            "fifo": os.mkfifo,
            "link": lambda path: path.symlink_to(elsewhere / "record"),
        }
        make[kind](ours / "ingest.json")


# -- swapped between look and open ---------------------------------------------------------------------------


TRASHED: Final = f".exlab-orch/trash/*/{RUN}"
HIDDEN: Final = ".exlab-part-Run_2026-04-17T14-32"
SWAPS: Final = {
    "a staged file, before it is copied": ("poll", rf'mkdir.*"{HIDDEN}"', f"staging/{RUN}/a.fcs"),
    "a staged folder, before it is copied": ("poll", rf'mkdir.*"{HIDDEN}"', f"staging/{RUN}/sub"),
    "the hidden folder, before files are written": ("poll", r'mkdir.*"sub"', f"nas/FLOW_01/PROJ-1/Runs/{HIDDEN}"),
    "a published folder, before it is read back": ("clear", "fadvise64", f"nas/{RUN}/sub"),
    "a staged file, before the run is moved": ("clear", "renameat2.*Run_", f"staging/{RUN}/a.fcs"),
    "a staged folder, before the run is moved": ("clear", "renameat2.*Run_", f"staging/{RUN}/sub"),
    "a file, while it is deleted": ("clear", r'renameat2.*"a.fcs"', f"staging/{TRASHED}/run_complete"),
    "a folder, while it is deleted": ("clear", r'renameat2.*"a.fcs"', f"staging/{TRASHED}/sub"),
}
CALLS: Final = "mkdir,mkdirat,renameat2,unlinkat,fadvise64"


def before_the(command: str, root: Path) -> Lab:
    """A lab with a run that is to be copied, or one that is proved and to be cleared."""
    lab = Lab(root)
    lab.push()
    if command == "clear":
        lab.poll()
    return lab


SLOW_SWAPS: Final = [
    which for which in SWAPS if "before the run is moved" in which or which.startswith("a staged folder")
]


@pytest.mark.parametrize(
    "which", [pytest.param(which, marks=SLOW) if which in SLOW_SWAPS else which for which in SWAPS]
)
def test_what_is_swapped_for_a_link_while_the_program_works_is_neither_followed_nor_lost(
    tmp_path: Path, which: str
) -> None:
    verb, call, name = SWAPS[which]
    command = ("poll",) if verb == "poll" else ("clear", "--yes", RUN)
    point = point_in(trace_of(before_the(verb, tmp_path / "twin"), command, CALLS), call)
    lab, elsewhere = before_the(verb, tmp_path / "lab"), tmp_path / "elsewhere"
    oracle = Oracle(lab)
    for copy in (b"a.fcs", b"b.fcs", b"run_complete"):
        write(elsewhere, copy, b"bbbb" if copy == b"b.fcs" else b"aaa")
    before = tree(elsewhere)
    with while_it_waits_at(lab, command, point) as waiting:
        (path,) = lab.root.glob(name)
        path.rename(path.with_name(f"{path.name} away"))
        path.symlink_to(elsewhere / path.name if path.is_file() else elsewhere)
    assert waiting.returncode in (3, 5), waiting.stderr
    assert tree(elsewhere) == before
    put_back(lab, path.name)
    assert lab.cli("sync", RUN).returncode in (0, 4)
    oracle.settle()
    assert tree(elsewhere) == before


def put_back(lab: Lab, name: str) -> None:
    """Undo the swap, wherever the run lies by now."""
    for away in [path for root in (lab.staging, lab.nas) for path in root.rglob(f"{name} away")]:
        away.with_name(name).unlink()
        away.rename(away.with_name(name))
