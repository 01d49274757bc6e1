"""F. Fuzzed manifests, records, lists, holds and configurations: no crash, no loop, and no permission to delete."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exlab_orch import checksums, manifests
from exlab_orch.cleanup import clear
from exlab_orch.config import parse_config
from exlab_orch.creation import human_project_name, read_creation
from exlab_orch.errors import ConfigInvalid, ExlabError, OwnerMismatch, RecordUnreadable, SchemaMajorMismatch
from exlab_orch.holds import Hold, hold_of, put_hold
from exlab_orch.ledger import Ledger
from exlab_orch.model import Place
from exlab_orch.records import parse_record, render_record
from exlab_orch.staging import read_owner
from exlab_orch.transports.right_place import read_marker
from tests.faults.fuzz import HOSTILE, hostile_or_mutated
from tests.lab import RUN, Lab
from tests.oracle import Oracle, data_files

SECONDS: Final = 30.0
"""More than any of these may take on a busy computer; a loop takes for ever."""
A_THIRD: Final = settings(max_examples=settings().max_examples // 3)
"""As many examples where each takes two whole passes."""
FILES: Final = {"a.fcs": b"aaa", "sub/b.fcs": b"bbbb"}
MANIFEST: Final = json.dumps({"files": [{"path": "a.fcs", "size": 3}, {"path": "sub/b.fcs", "size": 4}]}).encode()
LIST: Final = checksums.format_list({b"a.fcs": "0" * 64, b"sub/b.fcs": "f" * 64, b"new\nline": "1" * 64})
CREATION: Final = b'{"run_kind": "experimental", "equipment_id": "FLOW_01", "lims_project": {"short_id": "P"}}'


@contextmanager
def in_time() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < SECONDS


# -- parsers -------------------------------------------------------------------------------------------------


@cache
def a_record() -> bytes:
    """The record of a proved run."""
    with tempfile.TemporaryDirectory() as name:
        lab = Lab(Path(name))
        lab.push(files=FILES)
        lab.poll()
        return (lab.staged() / ".exlab-wizard/ingest.json").read_bytes()


@cache
def a_configuration() -> bytes:
    with tempfile.TemporaryDirectory() as name:
        return Lab(Path(name), cleanup='mode = "scheduled"\nretain_hours = 24').config_path.read_bytes()


def parse_record_twice(content: bytes) -> None:
    record = parse_record(content)
    assert parse_record(render_record(record)) == record


def parse_list_twice(content: bytes) -> None:
    found = checksums.parse(content)
    assert checksums.parse(checksums.format_list(found)) == found


def name_safe_files(content: bytes) -> None:
    for file in manifests.parse(content):
        assert not file.name.startswith(b"/")
        assert b".." not in file.name.split(b"/")


PARSERS: Final[dict[str, tuple[Callable[[], bytes], Callable[[bytes], object], tuple[type[Exception], ...]]]] = {
    "record": (a_record, parse_record_twice, (RecordUnreadable, SchemaMajorMismatch)),
    "manifest": (lambda: MANIFEST, name_safe_files, (manifests.ManifestInvalid,)),
    "list of checksums as a manifest": (lambda: LIST, name_safe_files, (manifests.ManifestInvalid,)),
    "list of checksums": (lambda: LIST, parse_list_twice, (ValueError,)),
    "configuration": (a_configuration, lambda content: parse_config(content, "config.toml"), (ConfigInvalid,)),
}


@pytest.mark.parametrize("what", PARSERS)
@given(data=st.data())
def test_a_fuzzed_file_is_understood_or_refused_in_the_declared_way_and_in_time(what: str, data: st.DataObject) -> None:
    valid, parse, declared = PARSERS[what]
    content = data.draw(hostile_or_mutated(valid()))
    with in_time(), suppress(*declared):
        parse(content)


# -- small files that are read where they lie ------------------------------------------------------------------


def holds_or_is_gone(root: Path, valid: bytes, content: bytes) -> None:
    """A hold that cannot be understood holds; one that can be says what stands in it."""
    (file,) = (root / ".exlab-orch/holds").iterdir()
    file.write_bytes(content)
    with Lab(root.parent).station(changing=False) as station:
        hold = hold_of(str(root), RUN, station.now())
    assert hold is not None or b"until" in content


def read_the_owner(root: Path, valid: bytes, content: bytes) -> None:
    (root / ".exlab-orch/owner.json").write_bytes(content)
    owner = None
    with suppress(OwnerMismatch):
        owner = read_owner(str(root))
        assert owner is not None


def read_the_creation(root: Path, valid: bytes, content: bytes) -> None:
    (root / ".exlab-wizard").mkdir(exist_ok=True)
    (root / ".exlab-wizard/creation.json").write_bytes(content)
    assert len(human_project_name(read_creation(Place(str(root), "")), "folder")) <= 1000


def read_the_ledger(root: Path, valid: bytes, content: bytes) -> None:
    other = valid.replace(b'"R"', b'"S"')
    (root / "ledger.jsonl").write_bytes(valid + b"\n" + content.replace(b"\n", b" ") + b"\n" + other + b"\n")
    assert len(Ledger(str(root / "ledger.jsonl")).lines()) in (2, 3)


def read_the_marker(root: Path, valid: bytes, content: bytes) -> None:
    (root / ".exlab-nas").write_bytes(content)
    with suppress(ExlabError):
        read_marker(str(root))


SMALL: Final[dict[str, tuple[bytes, Callable[[Path, bytes, bytes], None]]]] = {
    "hold": (b'{"run_path": "R", "reason": "r", "by": "ada", "at": "2026-01-01T00:00:00Z"}', holds_or_is_gone),
    "owner": (b'{"host": "h", "machine": "m", "state_dir": "/s"}', read_the_owner),
    "creation": (CREATION, read_the_creation),
    "ledger": (
        b'{"run_path": "R", "cleared_at": "2026-01-01T00:00:00Z", "files_cleared": 1, "bytes_freed": 2, '
        b'"nas_path": "/n", "checksum_sha256": "00", "host": "h", "by": null}',
        read_the_ledger,
    ),
    "marker": (b"0123456789abcdef\nThis file tells\n", read_the_marker),
}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A staging root with one hold, used again for every fuzzed file."""
    with tempfile.TemporaryDirectory() as name:
        lab = Lab(Path(name))
        put_hold(str(lab.staging), Hold(RUN, "r", "ada", "2026-01-01T00:00:00Z"))
        yield lab.staging


@pytest.mark.parametrize("what", SMALL)
@given(data=st.data())
def test_a_fuzzed_hold_owner_creation_ledger_or_marker_never_crashes_and_never_permits(
    folder: Path, what: str, data: st.DataObject
) -> None:
    valid, read = SMALL[what]
    with in_time():
        read(folder, valid, data.draw(hostile_or_mutated(valid)))


# -- a whole pass over a fuzzed file ---------------------------------------------------------------------------

IN_A_RUN: Final[dict[str, tuple[str, Callable[[], bytes]]]] = {
    "record": (".exlab-wizard/ingest.json", a_record),
    "creation": (".exlab-wizard/creation.json", lambda: CREATION),
    "checksum list": (".exlab-wizard/checksums.sha256", lambda: LIST),
}


def live_through(content: bytes, name: str, *, known: bool) -> None:
    """A pass and a clear over a run with that file; whatever happens, what is deleted is on the NAS, byte for byte."""
    with tempfile.TemporaryDirectory() as root:
        lab = Lab(Path(root))
        run = lab.push(files=FILES)
        if known:
            lab.poll()
        (run / name).parent.mkdir(exist_ok=True)
        oracle = Oracle(lab)
        staged = data_files(run)
        (run / name).write_bytes(content)
        for _ in range(2):
            lab.poll()
            with lab.station() as station, suppress(ExlabError):
                clear(station, lab.run(), by="ada", wait_seconds=0.0)
            if not run.exists():
                on_nas = data_files(lab.published())
                assert {one: on_nas.get(one) for one in staged} == staged
        assert oracle.lost() == []


@pytest.mark.parametrize("what", IN_A_RUN)
@pytest.mark.parametrize("known", [False, True], ids=["pushed", "replaced"])
@A_THIRD
@given(data=st.data())
def test_a_pass_and_a_clear_over_a_fuzzed_file_lose_nothing(what: str, known: bool, data: st.DataObject) -> None:
    name, valid = IN_A_RUN[what]
    content = data.draw(hostile_or_mutated(valid()))
    with in_time():
        live_through(content, name, known=known)


@A_THIRD
@given(content=hostile_or_mutated(MANIFEST))
@example(HOSTILE[0])
def test_a_fuzzed_manifest_completes_a_run_only_when_every_file_it_lists_is_there(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as root, in_time():
        lab = Lab(Path(root))
        run = "MASSSPEC_01/PROJ-1/Runs/Run_1"
        lab.push(run, FILES | {"manifest.json": content})
        lab.poll()
        if lab.states(run) == ["staging"]:
            assert not lab.published(run).exists()
            return
        listed = manifests.parse(content, name=b"manifest.json")
        assert all((lab.staged(run) / file.name.decode()).is_file() for file in listed)
        assert data_files(lab.published(run)) == data_files(lab.staged(run))
