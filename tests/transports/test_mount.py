"""The promises of Transport, kept by every kind of NAS; and what is so on a mounted one alone."""

from __future__ import annotations

import grp
import hashlib
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exlab_orch.cleanup import clear
from exlab_orch.config_nas import MountNas
from exlab_orch.errors import (
    ChangedWhileCopied,
    ConfigInvalid,
    ExlabError,
    NameUnsupported,
    NasFault,
    NasFull,
    NasNotMounted,
    NasUnreachable,
    NasWrongMarker,
    PermissionRefused,
)
from exlab_orch.files.moves import move
from exlab_orch.files.walk import walk
from exlab_orch.model import Identity, Listing, Place, StagedRun
from exlab_orch.state import open_state
from exlab_orch.transports import Area, Transport
from exlab_orch.transports import mount as mount_module
from exlab_orch.transports.marker import MARKER
from exlab_orch.transports.mount import MountedNas, odd_names, style_of
from exlab_orch.transports.names import part_name
from tests.files.privilege import ordinary_user
from tests.files.tricks import ODD_NAMES, watch_calls, write
from tests.lab import MARKER_ID, RUN, Lab, tree
from tests.mounts import Mounts
from tests.transports.memory import MemoryFolder, MemoryNas

NOW = datetime(2026, 4, 17, 14, 32, tzinfo=UTC)
FILES = {b"a.fcs": b"aaa", b"zero": b"", b"sub/deep/b.fcs": b"bbbb"}


class Bench(ABC):
    """A staged run and a NAS, and what other people do to that NAS."""

    transport: Transport

    def __init__(self, root: Path) -> None:
        self.root = root
        self.run = StagedRun(RUN, Place(str(root / "staging"), RUN))
        self.staged = root / "staging" / RUN
        self.staged.mkdir(parents=True)

    @abstractmethod
    def people_put(self, name: bytes, content: bytes) -> None:
        """Somebody writes a file into the published run folder, which may have to be made."""

    @abstractmethod
    def content(self, area: Area, name: bytes) -> bytes | None:
        """What the NAS holds under that name, past the transport; None where there is nothing."""

    @abstractmethod
    def unplug(self) -> None:
        """The NAS is not the right one any more."""

    # -- steps -----------------------------------------------------------------------------------------------

    def listing(self) -> Listing:
        return walk(self.run.place)

    def push(self, files: dict[bytes, bytes] | None = None) -> Listing:
        for name, content in (FILES if files is None else files).items():
            write(self.staged, name, content)
        return self.listing()

    def send(self, listing: Listing) -> None:
        self.transport.make_part(RUN, listing.folders)
        assert all(one.proved for one in self.transport.send(self.run, list(listing.files.items()), ignore))

    def publish(self, files: dict[bytes, bytes] | None = None) -> Listing:
        """Push, send and publish a run."""
        listing = self.push(files)
        self.send(listing)
        self.transport.publish_run(RUN, listing)
        return listing

    def seen(self, area: Area = "published") -> Listing:
        found = self.transport.listing(RUN, area)
        assert found is not None
        return found


class MountBench(Bench):
    """A folder of this computer as the NAS."""

    def __init__(self, root: Path, **settings: object) -> None:
        super().__init__(root)
        self.nas = root / "nas"
        self.nas.mkdir(exist_ok=True)
        (self.nas / MARKER).write_text(f"{MARKER_ID}\n")
        self.transport = self.opened(**settings)

    def opened(self, **settings: object) -> MountedNas:
        given = {"root": str(self.nas), "marker_id": MARKER_ID, "require_mount": False, "reserve_percent": 0}
        nas = MountNas.model_validate({**given, **settings})
        state = open_state(str(self.root / "state"), changing=True)
        return MountedNas(nas, str(self.root / "staging"), state, "lab-pc")

    @property
    def published(self) -> Path:
        return self.nas / RUN

    @property
    def part(self) -> Path:
        return self.published.with_name(part_name(self.published.name))

    def people_put(self, name: bytes, content: bytes) -> None:
        write(self.published, name, content)

    def content(self, area: Area, name: bytes) -> bytes | None:
        path = os.path.join(os.fsencode(self.published if area == "published" else self.part), name)
        if not os.path.lexists(path):
            return None
        with open(path, "rb") as file:
            return file.read()

    def unplug(self) -> None:
        (self.nas / MARKER).unlink()


class MemoryBench(Bench):
    """A NAS that exists nowhere."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.memory = MemoryNas()
        self.transport = self.memory

    def people_put(self, name: bytes, content: bytes) -> None:
        folder = self.memory.areas.setdefault((RUN, "published"), MemoryFolder())
        folder.files[name] = self.memory.file(content)

    def content(self, area: Area, name: bytes) -> bytes | None:
        folder = self.memory.areas.get((RUN, area))
        found = None if folder is None else folder.files.get(name)
        return None if found is None else found.content

    def unplug(self) -> None:
        self.memory.fault = NasUnreachable("It does not answer.")


BENCHES: dict[str, Callable[[Path], Bench]] = {"mount": MountBench, "memory": MemoryBench}


@pytest.fixture(params=BENCHES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """Every kind of NAS in turn."""
    return BENCHES[request.param](tmp_path)


def ignore(count: int) -> None:
    del count


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# == what every NAS promises =================================================================================


def test_the_right_nas_is_told_from_a_wrong_one(bench: Bench) -> None:
    bench.transport.check()
    bench.unplug()
    with pytest.raises(NasFault):
        bench.transport.check()


def test_space_is_refused_when_there_is_none(bench: Bench) -> None:
    bench.transport.require_space(0)
    with pytest.raises(NasFull):
        bench.transport.require_space(1 << 62)


def test_a_run_has_a_place_that_people_can_find(bench: Bench) -> None:
    assert bench.transport.where(RUN).endswith("/" + RUN)


def test_a_run_that_is_not_there_has_no_listing(bench: Bench) -> None:
    assert bench.transport.listing(RUN, "part") is None
    assert bench.transport.listing(RUN, "published") is None
    assert bench.transport.read_small(RUN, "published", "ingest.json") is None


def test_the_hidden_folder_is_made_once_and_is_not_the_published_one(bench: Bench) -> None:
    for _ in range(2):
        bench.transport.make_part(RUN, [b"sub/deep", b"sub", b"empty"])
    assert bench.seen("part").folders.keys() == {b"sub", b"sub/deep", b"empty"}
    assert bench.transport.listing(RUN, "published") is None


def test_sent_files_are_proved_and_stamped_as_the_nas_has_them(bench: Bench) -> None:
    listing = bench.push()
    bench.transport.make_part(RUN, listing.folders)
    counted: list[int] = []
    copied = {one.name: one for one in bench.transport.send(bench.run, list(listing.files.items()), counted.append)}
    assert sum(counted) == 7
    for name, content in FILES.items():
        assert bench.content("part", name) == content
        assert (copied[name].sha256, copied[name].proved) == (sha256(content), True)
        assert copied[name].identity == listing.files[name]
        assert copied[name].stamp == bench.seen("part").files[name]
        assert copied[name].stamp.mtime_ns == listing.files[name].mtime_ns


def test_a_file_that_is_not_the_one_that_was_walked_is_not_sent(bench: Bench) -> None:
    listing = bench.push()
    bench.transport.make_part(RUN, listing.folders)
    write(bench.staged, b"a.fcs", b"AAA")
    with pytest.raises(ChangedWhileCopied):
        bench.transport.send(bench.run, [(b"a.fcs", listing.files[b"a.fcs"])], ignore)
    assert bench.content("part", b"a.fcs") is None


def test_nothing_is_sent_over_what_is_there_or_into_no_folder(bench: Bench) -> None:
    listing = bench.push()
    files = [(b"a.fcs", listing.files[b"a.fcs"])]
    with pytest.raises(ExlabError):
        bench.transport.send(bench.run, files, ignore)
    bench.send(listing)
    before = bench.seen("part")
    with pytest.raises(ExlabError):
        bench.transport.send(bench.run, files, ignore)
    assert bench.seen("part") == before


def test_what_is_read_back_is_what_the_nas_holds_now(bench: Bench) -> None:
    bench.publish()
    bench.people_put(b"a.fcs", b"edited by somebody")
    counted: list[int] = []
    found = bench.transport.read_back(RUN, "published", [b"a.fcs", b"missing", b"sub/deep/b.fcs"], counted.append)
    assert [one.name for one in found] == [b"a.fcs", b"missing", b"sub/deep/b.fcs"]
    assert [one.sha256 for one in found] == [sha256(b"edited by somebody"), None, sha256(b"bbbb")]
    assert [one.stamp for one in found] == [bench.seen().files.get(one.name) for one in found]
    assert sum(counted) == len(b"edited by somebody") + 4


@pytest.mark.parametrize("odd", ODD_NAMES)
def test_a_published_run_is_whole_under_its_exact_names_and_times(bench: Bench, odd: bytes) -> None:
    (bench.staged / "empty").mkdir()
    write(bench.staged, b"folder/" + odd + b"/x")
    for path in ("folder", "empty", ""):
        os.utime(bench.staged / path, ns=(0, 1_000_000_000_123_456_789))
    listing = bench.publish({odd: odd, b"a": b"a"})
    found = bench.seen()
    assert found.files.keys() == listing.files.keys()
    assert found.folders.keys() == listing.folders.keys()
    assert bench.content("published", odd) == odd
    times = {name: identity.mtime_ns for name, identity in {**listing.files, **listing.folders}.items()}
    assert {name: identity.mtime_ns for name, identity in {**found.files, **found.folders}.items()} == times
    assert found.leaf is not None
    assert listing.leaf is not None
    assert found.leaf.mtime_ns == listing.leaf.mtime_ns
    assert bench.transport.listing(RUN, "part") is None


def test_a_run_is_never_published_over_another(bench: Bench) -> None:
    bench.people_put(b"theirs", b"x")
    listing = bench.push()
    bench.send(listing)
    with pytest.raises(ExlabError):
        bench.transport.publish_run(RUN, listing)
    assert bench.seen().files.keys() == {b"theirs"}
    assert bench.seen("part").files.keys() == listing.files.keys()


def test_a_file_is_added_to_a_published_run_with_the_stamp_it_has_there(bench: Bench) -> None:
    bench.publish()
    listing = bench.push({b"new/late": b"late"})
    bench.transport.make_part(RUN, [b"new"])
    bench.transport.send(bench.run, [(b"new/late", listing.files[b"new/late"])], ignore)
    for _ in range(2):
        bench.transport.make_published_folders(RUN, [b"new", b"sub"])
    stamp = bench.transport.publish_file(RUN, b"new/late")
    assert bench.content("published", b"new/late") == b"late"
    assert bench.content("part", b"new/late") is None
    assert stamp == bench.seen().files[b"new/late"]


def test_a_file_is_never_published_over_another_and_not_without_being_sent(bench: Bench) -> None:
    bench.people_put(b"a.fcs", b"theirs")
    bench.people_put(b"other", b"theirs")
    listing = bench.push({b"a.fcs": b"ours"})
    bench.send(listing)
    for name in (b"a.fcs", b"never sent"):
        with pytest.raises(ExlabError):
            bench.transport.publish_file(RUN, name)
    assert bench.content("published", b"a.fcs") == b"theirs"
    assert bench.content("part", b"a.fcs") == b"ours"


@pytest.mark.parametrize("name", [b"a.fcs", b"sub/deep/b.fcs", b".exlab-wizard/ingest.json"])
def test_an_earlier_version_moves_aside_and_keeps_its_content(bench: Bench, name: bytes) -> None:
    bench.publish()
    bench.transport.put_small(RUN, "published", "ingest.json", b"record")
    before = bench.content("published", name)
    bench.transport.supersede(RUN, name, NOW)
    assert bench.content("published", name) is None
    aside = b".exlab-wizard/superseded/2026-04-17T14-32-00.000Z/" + name
    assert bench.content("published", aside) == before


def test_moving_aside_what_is_not_there_does_nothing(bench: Bench) -> None:
    bench.transport.supersede(RUN, b"a.fcs", NOW)
    assert bench.transport.listing(RUN, "published") is None
    bench.publish()
    before = bench.seen()
    for name in (b"missing", b"no folder/missing"):
        bench.transport.supersede(RUN, name, NOW)
    assert bench.seen() == before


def test_two_versions_moved_aside_in_the_same_moment_are_both_kept(bench: Bench) -> None:
    for content in (b"first", b"second"):
        bench.people_put(b"a", content)
        if content == b"first":
            bench.transport.supersede(RUN, b"a", NOW)
    with pytest.raises(ExlabError):
        bench.transport.supersede(RUN, b"a", NOW)
    assert bench.content("published", b"a") == b"second"
    assert bench.content("published", b".exlab-wizard/superseded/2026-04-17T14-32-00.000Z/a") == b"first"


@pytest.mark.parametrize("area", ["part", "published"])
def test_our_own_small_files_are_replaced_whole_and_are_no_data(bench: Bench, area: Area) -> None:
    listing = bench.push()
    bench.send(listing)
    if area == "published":
        bench.transport.publish_run(RUN, listing)
    names = ("ingest.json", "checksums.sha256", "wizard.lab-pc.log")
    for content in (b"old and longer", b"new"):
        for name in names:
            bench.transport.put_small(RUN, area, name, content)
            assert bench.transport.read_small(RUN, area, name) == content
    assert bench.seen(area).files.keys() == listing.files.keys()
    assert bench.seen(area).own.keys() == {f".exlab-wizard/{name}".encode() for name in names}
    assert bench.transport.read_small(RUN, area, "missing") is None


@pytest.mark.parametrize("area", ["part", "published"])
def test_a_small_file_never_makes_a_run_folder(bench: Bench, area: Area) -> None:
    with pytest.raises(ExlabError):
        bench.transport.put_small(RUN, area, "ingest.json", b"record")
    assert bench.transport.listing(RUN, area) is None


def test_what_people_add_is_listed_and_stays(bench: Bench) -> None:
    bench.publish()
    bench.people_put(b"results/plot.png", b"of a person")
    bench.transport.discard_temporary(RUN)
    bench.transport.make_part(RUN, [])
    bench.transport.drop_part(RUN)
    assert bench.seen().files.keys() == FILES.keys() | {b"results/plot.png"}


def test_listed_entries_leave_the_hidden_folder_and_others_stay(bench: Bench) -> None:
    listing = bench.push()
    bench.send(listing)
    bench.transport.drop_part_entries(RUN, [b"a.fcs", b"missing"], [b"sub", b"sub/deep"])
    assert bench.seen("part").files.keys() == {b"zero", b"sub/deep/b.fcs"}
    bench.transport.drop_part_entries(RUN, [b"sub/deep/b.fcs"], [b"sub", b"sub/deep"])
    assert bench.seen("part").files.keys() == {b"zero"}
    assert not bench.seen("part").folders


def test_the_hidden_folder_goes_with_all_that_is_in_it_and_twice_is_fine(bench: Bench) -> None:
    bench.publish()
    bench.send(bench.listing())
    for _ in range(2):
        bench.transport.drop_part(RUN)
        assert bench.transport.listing(RUN, "part") is None
    assert bench.seen().files.keys() == FILES.keys()


def test_names_that_the_nas_can_hold_are_not_refused_and_leave_no_trace(bench: Bench) -> None:
    bench.push(dict.fromkeys((*ODD_NAMES, b"Case", b"case", b"a:b", b"CON", b"sub/trailing "), b""))
    bench.transport.refuse_names(RUN, bench.listing())
    assert bench.transport.listing(RUN, "part") is None
    assert bench.transport.listing(RUN, "published") is None


def test_runs_do_not_meet(bench: Bench) -> None:
    bench.publish()
    other = RUN + "-2"
    bench.transport.make_part(other, [b"x"])
    bench.transport.put_small(other, "part", "ingest.json", b"of the other")
    bench.transport.drop_part(RUN)
    assert bench.transport.read_small(other, "part", "ingest.json") == b"of the other"
    assert bench.transport.read_small(RUN, "published", "ingest.json") is None


def test_a_whole_pass_works_over_any_nas_that_keeps_the_promises(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = MemoryNas()
    monkeypatch.setattr("exlab_orch.station.open_transport", lambda *_: memory)
    lab.push()
    lab.poll()
    assert lab.record().history[-1].text("nas_path") == f"memory:/{RUN}"
    assert {name: one.content for name, one in memory.areas[RUN, "published"].files.items()}.items() >= {
        (b"a.fcs", b"aaa"),
        (b"sub/b.fcs", b"bbbb"),
    }
    with lab.station() as station:
        assert clear(station, lab.run(), by="anna").files_cleared == 3
    assert not lab.staged().exists()
    assert list(memory.areas) == [(RUN, "published")]


# == what is so on a mounted one =============================================================================


@pytest.fixture
def mounted(tmp_path: Path) -> MountBench:
    return MountBench(tmp_path)


def test_people_see_a_run_whole_or_not_at_all(mounted: MountBench) -> None:
    listing = mounted.push()
    mounted.send(listing)
    names = os.listdir(mounted.published.parent)
    assert names == [".exlab-part-Run_2026-04-17T14-32"]
    mounted.transport.publish_run(RUN, listing)
    assert os.listdir(mounted.published.parent) == [mounted.published.name]


@pytest.mark.parametrize("length", [230, 240, 255])
def test_a_run_with_a_very_long_name_has_a_hidden_folder_too(tmp_path: Path, length: int) -> None:
    name = "Run_" + "é" * ((length - 4) // 2)
    mounted = MountBench(tmp_path)
    run_path = f"FLOW_01/P/Runs/{name}"
    mounted.transport.make_part(run_path, [b"x"])
    mounted.transport.publish_run(run_path, Listing({}, {}))
    assert (mounted.nas / run_path / "x").is_dir()
    assert len(os.fsencode(part_name(name))) <= 247
    assert part_name(name) != part_name(name + "x")


def test_everything_is_durable_before_the_one_rename_that_publishes_it(
    mounted: MountBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = mounted.push()
    mounted.send(listing)
    calls = watch_calls(monkeypatch, "fsync")

    def note_move(source: Place, name: str, target: Place, new_name: str) -> None:
        calls.append("move")
        move(source, name, target, new_name)

    monkeypatch.setattr(mount_module, "move", note_move)
    mounted.transport.publish_run(RUN, listing)
    assert calls == ["fsync"] * 4 + ["move"] + ["fsync"] * 2  # two folders, the leaf, their parent; then both parents


def test_the_root_of_a_nas_that_is_not_there_is_never_made(mounted: MountBench) -> None:
    mounted.nas.rename(mounted.root / "gone")
    with pytest.raises(NasNotMounted):
        mounted.transport.check()
    with pytest.raises(ExlabError):
        mounted.transport.make_part(RUN, [])
    assert not mounted.nas.exists()


def test_a_linked_folder_on_the_nas_is_not_followed(mounted: MountBench) -> None:
    (mounted.root / "elsewhere").mkdir()
    (mounted.nas / "FLOW_01").symlink_to(mounted.root / "elsewhere")
    with pytest.raises(ExlabError):
        mounted.transport.make_part(RUN, [])
    with pytest.raises(ExlabError):
        mounted.transport.listing(RUN, "published")
    assert os.listdir(mounted.root / "elsewhere") == []


def test_a_folder_of_the_nas_that_may_not_be_read_is_an_error_and_not_an_empty_one(mounted: MountBench) -> None:
    mounted.publish()
    (mounted.published / "sub").chmod(0o000)
    with ordinary_user():
        with pytest.raises(PermissionRefused):
            mounted.transport.listing(RUN, "published")
        with pytest.raises(PermissionRefused):
            mounted.transport.read_back(RUN, "published", [b"sub/deep/b.fcs"], ignore)
    (mounted.published / "sub").chmod(0o700)


def test_what_a_killed_write_left_is_removed_and_nothing_else(mounted: MountBench) -> None:
    mounted.publish()
    mounted.transport.put_small(RUN, "published", "ingest.json", b"record")
    state = open_state(str(mounted.root / "state"), changing=True)
    left = mounted.published / ".exlab-wizard" / state.temporary_name(RUN, "ingest.json")
    left.write_bytes(b"half a rec")
    before = {name: content for name, content in tree(mounted.published).items() if left.name not in name}
    mounted.transport.discard_temporary(RUN)
    assert tree(mounted.published) == before


# -- is it the right one? ------------------------------------------------------------------------------------


def test_without_a_marker_id_nothing_is_even_looked_at(tmp_path: Path) -> None:
    bench = MountBench(tmp_path, marker_id=None)
    with pytest.raises(ConfigInvalid, match="No marker id"):
        bench.transport.check()
    assert not list((tmp_path / "state/locks").iterdir())


def test_the_marker_is_read_anew_at_every_check(mounted: MountBench) -> None:
    mounted.transport.check()
    (mounted.nas / MARKER).write_text("f" * 32)
    with pytest.raises(NasWrongMarker):
        mounted.transport.check()


def test_one_look_by_a_child_process_is_good_for_some_seconds(
    mounted: MountBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    monkeypatch.setattr(mount_module, "probe_root", lambda root, lock: looks.append(root))
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    for seconds in (0, 4.9, 0.1, 4.9, 10):
        now[0] += seconds
        mounted.transport.check()
    assert len(looks) == 3


@pytest.mark.parametrize(("percent", "may_use"), [(0, 400), (5, 350), (40, 0), (50, -1)])
def test_a_reserve_of_free_space_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, percent: float, may_use: int
) -> None:
    """Of 1,000 blocks of 4 KiB, 400 are free for us and 900 for root."""
    bench = MountBench(tmp_path, reserve_percent=percent)
    space = os.statvfs_result((1 << 20, 4096, 1000, 900, 400, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: space)
    if may_use >= 0:
        bench.transport.require_space(may_use * 4096)
    with pytest.raises(NasFull):
        bench.transport.require_space(may_use * 4096 + 1)


@pytest.mark.root
def test_a_nas_that_goes_away_is_noticed_although_its_folder_stays(tmp_path: Path) -> None:
    with Mounts() as mounts:
        (tmp_path / "nas").mkdir()
        mounts.memory(tmp_path / "nas")
        bench = MountBench(tmp_path, require_mount=True)
        bench.transport.check()
        mounts.undo_last()
        with pytest.raises(NasNotMounted):
            bench.transport.check()
    assert os.listdir(tmp_path / "nas") == []


# -- modes ---------------------------------------------------------------------------------------------------


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("root_mode", "settings", "folder_mode", "file_mode"),
    [
        (0o755, {}, 0o755, 0o644),
        (0o2770, {}, 0o2770, 0o660),
        (0o750, {"dir_mode": "2775", "file_mode": "0664"}, 0o2775, 0o664),
        (0o777, {"file_mode": "0600"}, 0o777, 0o600),
    ],
)
def test_what_we_make_has_the_modes_of_the_nas_or_those_configured(
    tmp_path: Path, root_mode: int, settings: dict[str, str], folder_mode: int, file_mode: int
) -> None:
    bench = MountBench(tmp_path, **settings)
    bench.nas.chmod(root_mode)
    os.chmod(write(bench.staged, b"a.fcs"), 0o4777)
    before = os.umask(0o077)
    try:
        bench.publish()
        bench.transport.put_small(RUN, "published", "ingest.json", b"record")
    finally:
        os.umask(before)
    for path, mode in modes(bench.nas).items():
        assert path == MARKER or mode == (folder_mode if (bench.nas / path).is_dir() else file_mode)


def test_the_configured_group_counts_and_must_exist(tmp_path: Path) -> None:
    group = grp.getgrgid(os.getegid())
    root = tmp_path.stat()
    style = style_of(MountNas.model_validate({"root": "/nas", "group": group.gr_name}), root)
    assert (style.gid, style.insist) == (group.gr_gid, True)
    with pytest.raises(ConfigInvalid, match="no-such-group") as refused:
        style_of(MountNas.model_validate({"root": "/nas", "group": "no-such-group"}), root)
    assert refused.value.hint.endswith(": sudo groupadd no-such-group")


def test_a_folder_that_hands_its_group_on_hands_it_to_what_we_make(tmp_path: Path) -> None:
    nas = MountNas.model_validate({"root": "/nas"})
    tmp_path.chmod(0o755)
    assert style_of(nas, tmp_path.stat()).gid is None
    tmp_path.chmod(0o2755)
    assert style_of(nas, tmp_path.stat()).gid == tmp_path.stat().st_gid
    assert not style_of(nas, tmp_path.stat()).insist


# -- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "odd"),
    [
        ([b"plain.tif", b"A", b"sub/a", b"with space"], {}),
        ([b"Case", b"case"], {b"": [b"Case", b"case"]}),
        ([b"a/Case", b"b/case"], {}),
        (["\u00e9".encode(), "e\u0301".encode()], {b"": ["e\u0301".encode(), "\u00e9".encode()]}),
        (["é".encode()], {b"": ["é".encode()]}),
        ([b"x\xff"], {b"": [b"x\xff"]}),
        ([b"a:b", b"ok"], {b"": [b"a:b"]}),
        ([b"dot.", b"space ", b" space"], {b"": [b" space", b"dot.", b"space "]}),
        ([b"CON", b"con.txt", b"console", b"COM1", b"lpt9.x"], {b"": [b"COM1", b"CON", b"con.txt", b"lpt9.x"]}),
        ([b"new\nline", b"tab\t", b'quo"te', b"pipe|", b"star*", b"back\\slash"], {b"": 6}),
        ([b"bad?/x", b"fine/y"], {}),
    ],
)
def test_names_that_some_nas_would_change_or_merge_are_found(names: list[bytes], odd: dict[bytes, object]) -> None:
    found = odd_names(names)
    assert {parent: (len(group) if isinstance(odd[parent], int) else group) for parent, group in found.items()} == odd


@pytest.fixture
def smb(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """New files meet a server that refuses ``:`` and takes names that differ in case for one."""
    real = os.open

    def open_as_smb(path: str | bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_CREAT and dir_fd is not None and isinstance(path, bytes):
            if b":" in path:
                raise OSError(22, "Invalid argument")
            if path.lower() in {os.fsencode(name).lower() for name in os.listdir(dir_fd)}:
                raise FileExistsError(17, "File exists")
        return real(path, flags, mode, dir_fd=dir_fd)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", open_as_smb)
        yield


@pytest.mark.usefixtures("smb")
@pytest.mark.parametrize(
    ("names", "refused"),
    [
        ((b"sub/a:b", b"a"), (b"sub/a:b",)),
        ((b"Case", b"case"), (b"case",)),
        ((b"x/Case", b"y/case"), None),
    ],
)
def test_names_that_this_nas_cannot_hold_are_refused_before_anything_is_copied(
    mounted: MountBench, names: tuple[bytes, ...], refused: tuple[bytes, ...] | None
) -> None:
    listing = Listing({name: Identity(1, 1, 1, 1) for name in names}, {})
    if refused is None:
        mounted.transport.refuse_names(RUN, listing)
    else:
        with pytest.raises(NameUnsupported) as raised:
            mounted.transport.refuse_names(RUN, listing)
        assert raised.value.files == refused
    assert [path for path in tree(mounted.nas) if "part" in path] == []


def test_a_nas_that_takes_two_runs_for_one_is_found_out(mounted: MountBench, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted.publish()
    assert mounted.seen()
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: [name.upper() for name in real(path)])
    with pytest.raises(NameUnsupported):
        mounted.transport.listing(RUN, "published")
