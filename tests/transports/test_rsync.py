"""The transport over ssh, call by call, against a real sshd on loopback."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exlab_orch.config import Sync
from exlab_orch.config_nas import RsyncNas
from exlab_orch.errors import (
    ChangedWhileCopied,
    NameUnsupported,
    NasConflict,
    NasCopyMissing,
    NasFull,
    NasUnreachable,
    NasWrongMarker,
)
from exlab_orch.files.copy import Copied
from exlab_orch.files.walk import walk
from exlab_orch.model import Identity, Listing, Place, StagedRun
from exlab_orch.pace import Pace
from exlab_orch.state import open_state, short_hash
from exlab_orch.transports import existing_marker, mark, open_transport
from exlab_orch.transports import rsync_scripts as scripts
from exlab_orch.transports.marker import MARKER
from exlab_orch.transports.rsync import RsyncTarget
from tests.contract.servers_ssh import SshServer, descendants, ssh_server, tools_without
from tests.oracle import require_program, require_root

RUN = "FLOW_01/PROJ 1/Runs/Run_1"
PART = "FLOW_01/PROJ 1/Runs/.exlab-part-Run_1"
MOMENT = datetime(2026, 4, 17, 14, 32, tzinfo=UTC)
ODD = [
    b"new\nline",
    b"\xff\xfe",
    b"-rf",
    b"a b",
    b'it\'s "quoted"',
    b"$(touch x)",
    b"*",
    b"#1",
    b"; rm",
    b"back\\slash",
    b"\\#012",
    b" x ",
    "ä".encode(),
    b"sub dir/-n",
]


def nas_of(server: SshServer, folder: Path, **changed: object) -> RsyncNas:
    keys: dict[str, object] = {
        "type": "rsync_ssh",
        "target": server.target,
        "path": str(folder),
        "ssh_key_path": str(server.key),
        "known_hosts": str(server.known_hosts),
        "port": server.port,
        "stall_seconds": 20,
        "reserve_percent": 0,
    }
    return RsyncNas.model_validate({**keys, **changed})


def pace_of(sync: Sync) -> Pace:
    return Pace(sync, datetime.now, lambda: 1)


class Bench:
    """A transport, the far folder behind it, and staged runs."""

    def __init__(self, server: SshServer, root: Path, **changed: object) -> None:
        self.server = server
        self.root = root
        self.far = root / "far side"
        self.far.mkdir(parents=True, exist_ok=True)
        self.nas = nas_of(server, self.far, **changed)
        self.target = RsyncTarget(
            self.nas, str(root / "staging"), open_state(str(root / "s"), changing=True), "host", pace_of(Sync())
        )

    @property
    def part(self) -> Path:
        return self.far / PART

    @property
    def published(self) -> Path:
        return self.far / RUN

    def push(self, files: Mapping[bytes, bytes]) -> tuple[StagedRun, Listing]:
        """A staged run with these files, and its listing."""
        folder = self.root / "staging" / RUN
        for name, content in files.items():
            path = folder / os.fsdecode(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            os.utime(path, ns=(1_700_000_000_123_456_789, 1_700_000_000_123_456_789))
        place = Place(str(self.root / "staging"), RUN)
        return StagedRun(RUN, place), walk(place)

    def send(self, files: Mapping[bytes, bytes]) -> tuple[Copied, ...]:
        """Push and send a run."""
        run, listing = self.push(files)
        self.target.make_part(RUN, listing.folders)
        return self.target.send(run, [*listing.files.items()], lambda _: None)

    def put(self, area: str, name: str, content: bytes = b"x") -> Path:
        """Somebody writes a file at the far side."""
        path = (self.part if area == "part" else self.published) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    require_program("rsync")
    with ssh_server(tmp_path_factory.mktemp("ssh")) as running:
        yield running


@pytest.fixture
def bench(server: SshServer, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(server, tmp_path_factory.mktemp("b"))


def names(folder: Path) -> set[bytes]:
    """Everything below a folder."""
    top = os.fsencode(folder)
    return {os.path.relpath(os.path.join(at, one), top) for at, some, more in os.walk(top) for one in (*some, *more)}


# -- sending and proving -------------------------------------------------------------------------------------


def test_odd_names_arrive_as_they_are_with_their_times_and_are_proved(bench: Bench) -> None:
    copied = bench.send({name: b"content of " + name for name in ODD})
    assert {one.name for one in copied if one.proved} == {*ODD}
    assert names(bench.part) == {*ODD, b"sub dir"}
    for one in copied:
        status = os.stat(os.fsencode(bench.part) + b"/" + one.name)
        assert one.stamp == Identity(status.st_ino, status.st_size, 1_700_000_000_123_456_789, status.st_ctime_ns)
        assert one.read_back_sha256 == hashlib.sha256(b"content of " + one.name).hexdigest()
    assert bench.target.proof_by == "remote"
    found = bench.target.listing(RUN, "part")
    assert found is not None
    assert found.files == {one.name: one.stamp for one in copied}


def test_names_without_line_breaks_are_hashed_together(bench: Bench) -> None:
    files = {name: b"content of " + name for name in ODD if b"\n" not in name} | {b"cr\r": b"cr"}
    copied = bench.send(files)
    assert {one.name: one.read_back_sha256 for one in copied} == {
        name: hashlib.sha256(content).hexdigest() for name, content in files.items()
    }


def test_a_staged_file_that_vanishes_before_it_is_sent_is_a_change(bench: Bench) -> None:
    run, _ = bench.push({b"a": b"one"})
    bench.target.make_part(RUN, ())
    with pytest.raises(ChangedWhileCopied):
        bench.target._far.upload(run.folder, PART, b"./gone\0", partial=".p", on_bytes=lambda _: None, locks=())


def test_a_program_that_sends_holds_the_lock_of_the_run(bench: Bench, server: SshServer) -> None:
    """An orphan counts as a holder: nobody else touches the run while it lives."""
    state = bench.target._state
    bench.target._pace = pace_of(Sync.model_validate({"upload_mbps": 8}))  # it sends for a second, to be looked at
    run, listing = bench.push({b"a": os.urandom(1_500_000)})
    bench.target.make_part(RUN, ())
    held: set[str] = set()

    def look(_: int) -> None:
        others = {*descendants(os.getpid())} - {*server.sessions()}
        held.update(one for pid in others for one in open_files(pid) if one.endswith(".run"))

    with state.run_lock(RUN):
        bench.target.send(run, [*listing.files.items()], look)
    assert {os.path.basename(one) for one in held} == {f"{short_hash(RUN)}.run"}


def open_files(pid: int) -> list[str]:
    """The paths of what a process has open."""
    try:
        return [str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return []


def test_what_is_sent_keeps_to_the_limit(bench: Bench) -> None:
    bench.target._pace = pace_of(Sync.model_validate({"upload_mbps": 8}))
    began = time.monotonic()
    bench.send({b"a": os.urandom(1_500_000)})
    assert time.monotonic() - began > 1


def test_bytes_are_counted_once_while_they_are_sent(bench: Bench) -> None:
    run, listing = bench.push({b"a": os.urandom(3_000_000), b"b": b"x" * 1000})
    counted: list[int] = []
    bench.target.make_part(RUN, ())
    bench.target.send(run, [*listing.files.items()], counted.append)
    assert sum(counted) == 3_001_000


def test_a_staged_file_that_is_another_one_by_now_is_not_sent(bench: Bench) -> None:
    run, listing = bench.push({b"a": b"one"})
    bench.target.make_part(RUN, ())
    (bench.root / "staging" / RUN / "a").write_bytes(b"two")
    with pytest.raises(ChangedWhileCopied):
        bench.target.send(run, [*listing.files.items()], lambda _: None)
    assert names(bench.part) == set()


def test_links_in_staging_are_neither_followed_nor_sent(bench: Bench) -> None:
    secret = bench.root / "secret"
    secret.write_bytes(b"secret")
    run, listing = bench.push({b"a": b"one"})
    (bench.root / "staging" / RUN / "link").symlink_to(secret)
    bench.target.make_part(RUN, ())
    bench.target._far.upload(run.folder, PART, b"./a\0./link\0", partial=".p", on_bytes=lambda _: None, locks=())
    assert names(bench.part) == {b"a"}
    assert [*listing.files] == [b"a"]


def test_what_is_read_back_is_what_is_there_now(bench: Bench) -> None:
    bench.send({b"a": b"one", b"b": b"two"})
    (bench.part / "a").write_bytes(b"bad")
    (bench.part / "b").unlink()
    a, b, c = bench.target.read_back(RUN, "part", [b"a", b"b", b"c"], lambda _: None)
    assert a.sha256 == hashlib.sha256(b"bad").hexdigest()
    assert (b.stamp, b.sha256, c.stamp) == (None, None, None)


def test_a_link_in_the_place_of_a_file_is_not_read_back(bench: Bench) -> None:
    bench.send({b"a": b"one"})
    (bench.part / "a").rename(bench.root / "a")
    (bench.part / "a").symlink_to(bench.root / "a")
    assert bench.target.read_back(RUN, "part", [b"a"], lambda _: None)[0].sha256 is None


# -- looking -------------------------------------------------------------------------------------------------


def test_a_listing_tells_files_folders_ours_and_what_is_special(bench: Bench) -> None:
    bench.put("published", "sub/a")
    bench.put("published", ".exlab-wizard/ingest.json")
    bench.put("published", ".exlab-wizard/notes")
    (bench.published / "link").symlink_to("sub")
    os.mkfifo(bench.published / "fifo")
    found = bench.target.listing(RUN, "published")
    assert found is not None
    assert {*found.files} == {b"sub/a", b".exlab-wizard/notes"}
    assert {*found.folders} == {b"sub", b".exlab-wizard"}
    assert {*found.own} == {b".exlab-wizard/ingest.json"}
    assert found.special == {b"link": "link", b"fifo": "fifo"}
    assert found.leaf is not None
    assert found.leaf.inode == bench.published.stat().st_ino


def test_a_run_that_is_not_there_is_no_error(bench: Bench) -> None:
    assert bench.target.listing(RUN, "published") is None
    assert bench.target.read_small(RUN, "published", "ingest.json") is None
    bench.target.drop_part(RUN)
    bench.target.drop_part_entries(RUN, [b"a"])
    bench.target.discard_temporary(RUN)
    bench.target.supersede(RUN, b"a", MOMENT)
    assert [*bench.far.iterdir()] == []


@pytest.mark.parametrize("where", ["FLOW_01", RUN])
def test_a_link_on_the_way_to_a_run_leads_nowhere(bench: Bench, where: str) -> None:
    elsewhere = bench.root / "elsewhere"
    (elsewhere / "PROJ 1/Runs/Run_1").mkdir(parents=True)
    (bench.far / where).parent.mkdir(parents=True, exist_ok=True)
    (bench.far / where).symlink_to(elsewhere)
    with pytest.raises(NasConflict, match="in the way"):
        bench.target.listing(RUN, "published")
    with pytest.raises(NasConflict, match="in the way"):
        bench.target.put_small(RUN, "published", "ingest.json", b"{}")
    with pytest.raises(NasConflict, match="in the way"):
        bench.target.make_published_folders(RUN, [b"sub"])
    assert names(elsewhere) == {b"PROJ 1", b"PROJ 1/Runs", b"PROJ 1/Runs/Run_1"}


def test_names_for_windows_are_refused_only_where_that_is_configured(bench: Bench, server: SshServer) -> None:
    _, listing = bench.push({b"a:b": b"", b"new\nline": b""})
    bench.target.refuse_names(RUN, listing)
    strict = Bench(server, bench.root, names="strict")
    with pytest.raises(NameUnsupported):
        strict.target.refuse_names(RUN, listing)


def test_too_little_space_is_told_before_anything_is_sent(bench: Bench) -> None:
    bench.target.require_space(1000)
    with pytest.raises(NasFull):
        bench.target.require_space(1 << 60)


# -- publishing ----------------------------------------------------------------------------------------------


def test_a_run_appears_whole_with_the_times_of_its_folders(bench: Bench) -> None:
    run, _ = bench.push({b"sub/a": b"one", b"b": b"two"})
    (bench.root / "staging" / RUN / "empty\nfolder").mkdir()
    for name in ("sub", "empty\nfolder", ""):
        os.utime(bench.root / "staging" / RUN / name, ns=(1_600_000_000_000_000_007, 1_600_000_000_000_000_007))
    listing = walk(run.place)
    bench.target.make_part(RUN, listing.folders)
    bench.target.send(run, [*listing.files.items()], lambda _: None)
    bench.put("part", f"sub/{bench.target._partial(RUN)}/a", b"half")
    bench.target.publish_run(RUN, listing)
    assert names(bench.published) == {b"sub", b"sub/a", b"b", b"empty\nfolder"}
    assert not bench.part.exists()
    for name in ("sub", "empty\nfolder", ""):
        assert (bench.published / name).stat().st_mtime_ns == 1_600_000_000_000_000_007


@pytest.mark.parametrize("theirs", ["folder", "empty folder", "file", "link"])
def test_a_run_is_never_published_over_or_into_something(bench: Bench, theirs: str) -> None:
    _, listing = bench.push({b"a": b"one"})
    bench.send({b"a": b"one"})
    if "folder" in theirs:
        bench.published.mkdir()
    if theirs == "folder":
        bench.put("published", "theirs", b"theirs")
    elif theirs == "file":
        bench.published.write_bytes(b"theirs")
    elif theirs == "link":
        bench.published.symlink_to(bench.root)
    before = names(bench.far)
    with pytest.raises(NasConflict, match="appeared"):
        bench.target.publish_run(RUN, listing)
    assert names(bench.far) == before
    assert (bench.part / "a").read_bytes() == b"one"


def test_a_file_takes_a_free_name_and_no_other(bench: Bench) -> None:
    bench.send({b"sub/a b": b"ours", b"new\nline": b"ours"})
    theirs = bench.put("published", "sub/a b", b"theirs")
    with pytest.raises(NasConflict, match="not overwritten"):
        bench.target.publish_file(RUN, b"sub/a b")
    assert (theirs.read_bytes(), (bench.part / "sub/a b").read_bytes()) == (b"theirs", b"ours")
    stamp = bench.target.publish_file(RUN, b"new\nline")
    assert stamp.inode == (bench.published / "new\nline").stat().st_ino
    assert not (bench.part / "new\nline").exists()
    with pytest.raises(NasCopyMissing):
        bench.target.publish_file(RUN, b"new\nline")


def test_an_earlier_version_is_set_aside_once(bench: Bench) -> None:
    bench.put("published", "sub/-a b", b"old")
    bench.target.supersede(RUN, b"sub/-a b", MOMENT)
    (aside,) = (bench.published / ".exlab-wizard/superseded").iterdir()
    assert aside.name.startswith("2026-04-17T14-32-00")
    assert (aside / "sub/-a b").read_bytes() == b"old"
    bench.target.supersede(RUN, b"sub/-a b", MOMENT)
    assert names(bench.published / "sub") == set()


def test_folders_of_a_published_run_are_made_and_the_run_itself_is_not(bench: Bench) -> None:
    with pytest.raises(NasCopyMissing):
        bench.target.make_published_folders(RUN, [b"sub"])
    bench.put("published", "a")
    bench.target.make_published_folders(RUN, [b"x/-y/z\n", b"x"])
    assert names(bench.published) == {b"a", b"x", b"x/-y", b"x/-y/z\n"}


# -- our own files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("area", ["part", "published"])
def test_a_small_file_is_written_whole_and_read_again(bench: Bench, area: str) -> None:
    bench.put(area, "a")
    for content in (b"", b"one\0\n$(x)", b"y" * 300_000):
        bench.target.put_small(RUN, area, "ingest.json", content)  # type: ignore[arg-type]
        assert bench.target.read_small(RUN, area, "ingest.json") == content  # type: ignore[arg-type]
    folder = bench.part if area == "part" else bench.published
    assert names(folder) == {b"a", b".exlab-wizard", b".exlab-wizard/ingest.json"}
    assert {path.name for path in folder.parent.iterdir()} == {folder.name}


def test_a_small_file_whose_content_did_not_all_arrive_replaces_nothing(bench: Bench) -> None:
    bench.put("published", ".exlab-wizard/ingest.json", b"before")
    hidden = bench.target._hidden_own(RUN)
    words = (hidden, "ingest.json", RUN, ".exlab-wizard", "100")
    with pytest.raises(NasUnreachable, match="broke"):
        bench.target._far.run(scripts.WRITE, words, "writing", given=b"half")
    assert bench.target.read_small(RUN, "published", "ingest.json") == b"before"
    assert names(bench.far / "FLOW_01/PROJ 1/Runs") == {
        b"Run_1",
        b"Run_1/.exlab-wizard",
        b"Run_1/.exlab-wizard/ingest.json",
    }


def test_what_a_killed_writer_left_is_removed_and_nothing_else(bench: Bench) -> None:
    bench.put("published", "a")
    left = bench.far / bench.target._hidden_own(RUN) / "ingest.json"
    left.parent.mkdir()
    left.write_bytes(b"half")
    bench.target.discard_temporary(RUN)
    assert names(bench.far / "FLOW_01/PROJ 1/Runs") == {b"Run_1", b"Run_1/a"}


def test_a_small_file_is_not_written_beside_a_run_that_is_not_there(bench: Bench) -> None:
    with pytest.raises(NasCopyMissing):
        bench.target.put_small(RUN, "published", "ingest.json", b"{}")
    assert [*bench.far.iterdir()] == []


def test_the_hidden_folder_goes_with_whatever_is_in_it_and_nothing_beside(bench: Bench) -> None:
    outside = bench.root / "outside"
    outside.mkdir()
    (outside / "theirs").write_bytes(b"theirs")
    for name in ("a", "-rf", "new\nline", "deep/er/x", ".hidden/y", ".partial/z"):
        bench.put("part", name)
    (bench.part / "link").symlink_to(outside)
    bench.put("published", "a")
    bench.target.drop_part_entries(RUN, [b"a", b"deep/er/x", b"not there"], [b"deep", b"deep/er", b".hidden"])
    assert names(bench.part) == {b"-rf", b"new\nline", b".hidden", b".hidden/y", b".partial", b".partial/z", b"link"}
    bench.target.drop_part(RUN)
    assert not bench.part.exists()
    assert (names(outside), names(bench.published)) == ({b"theirs"}, {b"a"})


# -- the right place -----------------------------------------------------------------------------------------


def test_a_nas_is_marked_once_and_known_again(bench: Bench) -> None:
    assert existing_marker(bench.nas, "/staging") is None
    made = mark(bench.nas, "/staging")
    again = mark(bench.nas, "/staging")
    assert (made.adopted, again.adopted, made.marker_id) == (False, True, again.marker_id)
    assert (bench.far / MARKER).read_text().splitlines()[0] == made.marker_id
    marked = bench.nas.model_copy(update={"marker_id": made.marker_id})
    transport = open_transport(marked, str(bench.root), bench.target._state, "host", pace_of(Sync()))
    transport.check()
    (bench.far / MARKER).write_text("another one\n")
    with pytest.raises(NasWrongMarker, match="another one"):
        transport.check()


def test_a_root_that_is_not_there_is_not_made(bench: Bench, server: SshServer) -> None:
    missing = nas_of(server, bench.far / "missing")
    for look in (existing_marker, mark):
        with pytest.raises(NasWrongMarker, match="There is no"):
            look(missing, "/staging")
    assert [*bench.far.iterdir()] == []


@pytest.mark.parametrize(("path", "place"), [("", ""), ("/", "/"), ("lab", "lab/"), ("/srv/a b", "/srv/a b/")])
def test_people_are_told_where_a_run_is(server: SshServer, tmp_path: Path, path: str, place: str) -> None:
    target = Bench(server, tmp_path, path=path).target
    assert target.where(RUN) == f"{server.target}:{place}{RUN}"


def test_keys_and_known_hosts_may_have_odd_paths(server: SshServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    odd = tmp_path_factory.mktemp("b") / "100%h it's"
    odd.mkdir()
    for path in (server.key, server.known_hosts):
        (odd / path.name).write_bytes(path.read_bytes())
        (odd / path.name).chmod(0o600)
    changed = {"ssh_key_path": str(odd / server.key.name), "known_hosts": str(odd / server.known_hosts.name)}
    bench = Bench(server, odd, **changed)
    assert all(one.proved for one in bench.send({b"a": b"one"}))


# -- a far side with fewer tools -----------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["find", "sha256sum", "find sha256sum"])
def poor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    root = tmp_path_factory.mktemp("poor")
    path = tools_without(root, *request.param.split())
    with ssh_server(root / "ssh", environment={"PATH": str(path)}) as running:
        running.lacks = request.param
        yield running


def test_a_far_side_that_lacks_tools_is_listed_and_proved_all_the_same(
    poor: SshServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bench = Bench(poor, tmp_path_factory.mktemp("b"))
    copied = bench.send({name: b"content of " + name for name in ODD})
    assert {one.name for one in copied if one.proved} == {*ODD}
    assert bench.target.proof_by == ("stream" if "sha256sum" in poor.lacks else "remote")
    assert all((one.stamp.inode == 0) == ("find" in poor.lacks) for one in copied)
    found = bench.target.listing(RUN, "part")
    assert found is not None
    assert found.files == {one.name: one.stamp for one in copied}
    assert {*found.folders} == {b"sub dir"}
    assert bench.target.listing(RUN, "published") is None
    bench.target.publish_run(RUN, found)
    (bench.published / "a b").write_bytes(b"bad")
    (read,) = bench.target.read_back(RUN, "published", [b"a b"], lambda _: None)
    assert read.sha256 == hashlib.sha256(b"bad").hexdigest()


@pytest.mark.parametrize("script", ["exit 0", "echo d 1 2", 'printf "d 7 1 0 1700000000 1700000000 "'])
def test_a_find_that_tells_less_is_not_asked(tmp_path_factory: pytest.TempPathFactory, script: str) -> None:
    root = tmp_path_factory.mktemp("find")
    path = Path(tools_without(root, "find"))
    (path / "find").write_text(f"#!/bin/sh\n{script}\n")
    (path / "find").chmod(0o755)
    with ssh_server(root / "ssh", environment={"PATH": str(path)}) as server:
        bench = Bench(server, root)
        bench.put("published", "a")
        found = bench.target.listing(RUN, "published")
    assert found is not None
    assert [*found.files] == [b"a"]


@pytest.mark.parametrize("has_t", [True, False])
def test_a_folder_that_appears_in_the_very_moment_of_publishing_keeps_its_content(
    tmp_path_factory: pytest.TempPathFactory, has_t: bool
) -> None:
    """The far side's mv makes the target itself just before it moves, with and without the option -T."""
    root = tmp_path_factory.mktemp("mv")
    path = Path(tools_without(root, "mv"))
    mv = shlex.quote(require_program("mv"))
    help_text = f"exec {mv} --help" if has_t else "echo usage; exit 0"
    (path / "mv").write_text(
        f'#!/bin/sh\ncase "$*" in --help) {help_text};; esac\nfor last; do :; done\n'
        f'case $last in */Run_1) mkdir "$last"; echo theirs > "$last/theirs";; esac\nexec {mv} "$@"\n'
    )
    (path / "mv").chmod(0o755)
    with ssh_server(root / "ssh", environment={"PATH": str(path)}) as server:
        bench = Bench(server, root)
        _, listing = bench.push({b"a": b"one"})
        bench.send({b"a": b"one"})
        with pytest.raises(NasConflict, match="appeared"):
            bench.target.publish_run(RUN, listing)
    assert names(bench.published) == {b"theirs"}
    assert names(bench.part) == {b"a"}


# -- a far side that ignores case ----------------------------------------------------------------------------


@pytest.fixture
def merging(server: SshServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A far side on exFAT: A is a, and a rename cannot be told not to replace."""
    require_root()
    make, mount = require_program("mkfs.exfat"), require_program("mount.exfat-fuse")
    bench = Bench(server, tmp_path_factory.mktemp("b"))
    image = bench.root / "image"
    with image.open("wb") as file:
        file.truncate(32 << 20)
    subprocess.run([make, image], check=True, capture_output=True, timeout=30)
    words = ["losetup", "--find", "--show", str(image)]
    device = subprocess.run(words, check=True, capture_output=True, text=True, timeout=30).stdout.strip()
    try:
        subprocess.run([mount, device, bench.far], check=True, capture_output=True, timeout=30)
        yield bench
    finally:
        subprocess.run(["umount", bench.far], check=False, timeout=30)
        subprocess.run(["losetup", "--detach", device], check=True, timeout=30)


@pytest.mark.root
def test_a_far_side_that_ignores_case_never_merges_two_runs(merging: Bench) -> None:
    _, listing = merging.push({b"a": b"one", b"sub/b": b"two"})
    merging.target.refuse_names(RUN, listing)
    assert all(one.proved for one in merging.send({b"a": b"one", b"sub/b": b"two"}))
    merging.target.publish_run(RUN, listing)
    assert names(merging.published) == {b"a", b"sub", b"sub/b"}
    merging.target.refuse_names(RUN, listing)
    for like in (RUN.replace("FLOW", "Flow"), RUN.replace("Run_1", "RUN_1"), RUN.replace("PROJ 1", "proj 1")):
        with pytest.raises(NameUnsupported, match="like name"):
            merging.target.refuse_names(like, listing)
    merging.send({b"a": b"one"})
    with pytest.raises(NasConflict, match="appeared"):
        merging.target.publish_run(RUN, listing)
    with pytest.raises(NasConflict, match="not overwritten"):
        merging.target.publish_file(RUN, b"a")
    assert (merging.published / "a").read_bytes() == b"one"
