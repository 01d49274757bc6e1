"""Is this the right NAS? Mounts, overlaps, markers, and looks that hang."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from exlab_orch.config_nas import MountNas
from exlab_orch.errors import (
    ConfigInvalid,
    ExlabError,
    NasFault,
    NasNotMounted,
    NasUnreachable,
    NasWrongMarker,
    PermissionRefused,
)
from exlab_orch.files.locks import locked
from exlab_orch.transports import probe, process, right_place
from exlab_orch.transports.marker import MARKER, NasInit
from exlab_orch.transports.mountinfo import Location, locate
from exlab_orch.transports.right_place import (
    existing_marker,
    mark,
    probe_root,
    read_marker,
    require_marker,
    require_mount_and_distance,
    require_not_seen_from_each_other,
)
from tests.files.privilege import ordinary_user
from tests.lab import MARKER_ID
from tests.mounts import Mounts


def nas_at(root: Path, *, require_mount: bool = False) -> MountNas:
    return MountNas.model_validate({"root": str(root), "marker_id": MARKER_ID, "require_mount": require_mount})


# -- where a folder really is --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        (Location(1, "8:1", "/srv/a"), Location(2, "8:1", "/srv/a"), True),
        (Location(1, "8:1", "/srv/a/b"), Location(2, "8:1", "/srv/a"), True),
        (Location(1, "8:1", "/"), Location(2, "8:1", "/srv/a"), True),
        (Location(1, "8:1", "/srv/a"), Location(1, "8:1", "/srv/ab"), False),
        (Location(1, "8:1", "/srv/a"), Location(1, "8:1", "/srv/b"), False),
        (Location(1, "8:1", "/srv/a"), Location(1, "8:2", "/srv/a"), False),
        (Location(1, "8:1", "/srv/a/"), Location(1, "8:1", "/srv/a"), True),
    ],
)
def test_two_places_overlap_when_one_is_or_holds_the_other(one: Location, other: Location, overlap: bool) -> None:
    assert one.overlaps(other) is other.overlaps(one) is overlap


def test_a_link_is_where_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert locate(str(tmp_path / "link")) == locate(str(tmp_path / "real"))
    assert locate(str(tmp_path / "real")).path == locate(str(tmp_path)).path.rstrip("/") + "/real"


@pytest.mark.parametrize("name", ["missing", "file"])
def test_what_is_no_folder_is_nowhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        locate(str(tmp_path / name))


@pytest.mark.root
@pytest.mark.parametrize(
    "name", ["plain", "with space", "tab\tnew\nline", "back\\slash", "no-break\u00a0space", "cr\rx"]
)
def test_a_bind_mount_is_another_mount_of_the_same_place(tmp_path: Path, name: str) -> None:
    (tmp_path / "real/deep").mkdir(parents=True)
    (tmp_path / name).mkdir()
    with Mounts() as mounts:
        mounts.bind(tmp_path / "real", tmp_path / name)
        there, here = locate(str(tmp_path / name / "deep")), locate(str(tmp_path / "real/deep"))
        assert there.mount != here.mount
        assert (there.device, there.path) == (here.device, here.path)


# -- staging and NAS apart -----------------------------------------------------------------------------------


@pytest.mark.parametrize("nas", ["staging", "staging/inside", ".", "link", "linked parent/staging"])
def test_a_nas_that_is_in_or_around_staging_is_refused(tmp_path: Path, nas: str) -> None:
    (tmp_path / "staging/inside").mkdir(parents=True)
    (tmp_path / "link").symlink_to("staging")
    (tmp_path / "linked parent").symlink_to(".")
    with pytest.raises(ConfigInvalid, match="same folder, or one is in the other"):
        require_mount_and_distance(nas_at(tmp_path / nas), str(tmp_path / "staging"))


@pytest.mark.parametrize("nas", ["nas", "staging-2", "stag"])
def test_a_plain_folder_beside_staging_is_a_nas_only_if_no_mount_is_required(tmp_path: Path, nas: str) -> None:
    for name in ("staging", nas):
        (tmp_path / name).mkdir()
    require_mount_and_distance(nas_at(tmp_path / nas), str(tmp_path / "staging"))
    with pytest.raises(NasNotMounted, match="Nothing is mounted"):
        require_mount_and_distance(nas_at(tmp_path / nas, require_mount=True), str(tmp_path / "staging"))


@pytest.mark.parametrize("root", ["missing", "file"])
def test_a_root_that_is_not_there_is_not_mounted(tmp_path: Path, root: str) -> None:
    (tmp_path / "staging").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(NasNotMounted):
        require_mount_and_distance(nas_at(tmp_path / root), str(tmp_path / "staging"))


@pytest.mark.root
@pytest.mark.parametrize(
    ("source", "is_apart"), [("share", True), ("staging", False), ("staging/sub", False), (".", False)]
)
def test_a_bind_mount_is_a_nas_unless_it_shows_staging(tmp_path: Path, source: str, is_apart: bool) -> None:
    for name in ("share", "staging/sub", "nas"):
        (tmp_path / name).mkdir(parents=True)
    with Mounts() as mounts:
        mounts.bind(tmp_path / source, tmp_path / "nas")
        nas = nas_at(tmp_path / "nas", require_mount=True)
        if is_apart:
            require_mount_and_distance(nas, str(tmp_path / "staging"))
        else:
            with pytest.raises(ConfigInvalid):
                require_mount_and_distance(nas, str(tmp_path / "staging"))


@pytest.mark.root
def test_a_nas_on_the_mount_of_staging_is_not_mounted_although_both_are_on_one_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    with Mounts() as mounts:
        mounts.memory(tmp_path / "disk")
        for name in ("staging", "nas"):
            (tmp_path / "disk" / name).mkdir()
        with pytest.raises(NasNotMounted):
            require_mount_and_distance(
                nas_at(tmp_path / "disk/nas", require_mount=True), str(tmp_path / "disk/staging")
            )


def test_one_share_mounted_twice_gives_itself_away_by_its_files(tmp_path: Path) -> None:
    """The kernel shows two devices then, which plain folders stand for here."""
    staging, nas = tmp_path / "a/staging", tmp_path / "b/nas"
    for folder in (staging, nas):
        folder.mkdir(parents=True)
    require_not_seen_from_each_other(nas_at(nas), str(staging))
    for seen in (tmp_path / "a" / MARKER, staging / MARKER):
        seen.write_text(f"{MARKER_ID}\n")
        with pytest.raises(ConfigInvalid, match=re.escape(str(seen.parent))):
            require_not_seen_from_each_other(nas_at(nas), str(staging))
        seen.write_text("the marker of another NAS")
        require_not_seen_from_each_other(nas_at(nas), str(staging))
    for folder in (tmp_path / "b", nas):
        (folder / ".exlab-orch").mkdir()
        (folder / ".exlab-orch/owner.json").touch()
        with pytest.raises(ConfigInvalid, match=re.escape(str(folder))):
            require_not_seen_from_each_other(nas_at(nas), str(staging))
        (folder / ".exlab-orch/owner.json").unlink()


# -- the marker ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [MARKER_ID, f"{MARKER_ID}\n", f" {MARKER_ID} \r\nwhat this is\n"])
def test_the_first_line_of_the_marker_is_its_id(tmp_path: Path, content: str) -> None:
    (tmp_path / MARKER).write_text(content)
    assert read_marker(str(tmp_path)) == MARKER_ID
    require_marker(nas_at(tmp_path))


@pytest.mark.parametrize(
    "content",
    [b"", b"\n" + MARKER_ID.encode(), MARKER_ID.upper().encode(), b"\xff\xfe", b"\x1b[31m\x00" * 50, b"x" * 4097],
)
def test_another_marker_is_another_nas(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MARKER).write_bytes(content)
    with pytest.raises(NasWrongMarker) as raised:
        require_marker(nas_at(tmp_path))
    assert raised.value.message.isprintable()


def test_a_nas_without_a_marker_or_a_configuration_without_its_id_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NasWrongMarker, match="no marker file"):
        require_marker(nas_at(tmp_path))
    with pytest.raises(ConfigInvalid, match="No marker id"):
        require_marker(MountNas.model_validate({"root": str(tmp_path)}))


@pytest.mark.parametrize("kind", ["folder", "fifo", "link", "closed"])
def test_a_marker_that_is_no_readable_file_is_never_taken_for_a_missing_one(tmp_path: Path, kind: str) -> None:
    path = tmp_path / MARKER
    (tmp_path / "real").write_text(MARKER_ID)
    make: dict[str, Callable[[], object]] = {
        "folder": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
        "link": lambda: path.symlink_to("real"),
        "closed": lambda: path.touch(mode=0o000),
    }
    make[kind]()
    with ordinary_user():
        with pytest.raises(NasFault):
            require_marker(nas_at(tmp_path))
        with pytest.raises(NasFault):
            read_marker(str(tmp_path))


@pytest.fixture
def apart(tmp_path: Path) -> Path:
    """A root with folders ``staging`` and ``nas``."""
    for name in ("staging", "nas"):
        (tmp_path / name).mkdir()
    return tmp_path


def marked(root: Path, *, require_mount: bool = False) -> NasInit:
    return mark(nas_at(root / "nas", require_mount=require_mount), str(root / "staging"))


def test_a_nas_is_marked_once_and_the_marker_is_adopted_from_then_on(apart: Path) -> None:
    first = marked(apart)
    content = (apart / "nas" / MARKER).read_bytes()
    second = marked(apart)
    assert re.fullmatch("[0-9a-f]{32}", first.marker_id)
    assert (first.adopted, second.adopted) == (False, True)
    assert first.marker_id == second.marker_id == read_marker(str(apart / "nas"))
    assert (apart / "nas" / MARKER).read_bytes() == content
    assert os.listdir(apart / "nas") == [MARKER]


def test_every_nas_gets_an_id_of_its_own(apart: Path) -> None:
    first = marked(apart)
    (apart / "nas" / MARKER).unlink()
    assert marked(apart).marker_id != first.marker_id


def test_a_marker_that_somebody_else_made_meanwhile_is_adopted(apart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_late(path: str, content: bytes, mode: int) -> bool:
        Path(path).write_text("made by the other one")
        return False

    monkeypatch.setattr(right_place, "write_once", too_late)
    assert marked(apart) == NasInit("made by the other one", adopted=True)


def test_an_empty_marker_is_neither_adopted_nor_replaced(apart: Path) -> None:
    (apart / "nas" / MARKER).touch()
    with pytest.raises(NasWrongMarker, match="empty"):
        marked(apart)
    assert (apart / "nas" / MARKER).read_bytes() == b""


def test_a_place_that_may_be_no_nas_is_not_marked(apart: Path) -> None:
    with pytest.raises(NasNotMounted):
        marked(apart, require_mount=True)
    with pytest.raises(ConfigInvalid):
        mark(nas_at(apart / "staging"), str(apart / "staging"))
    with pytest.raises(NasNotMounted):
        mark(nas_at(apart / "missing"), str(apart / "staging"))
    assert sorted(path.name for path in apart.rglob("*")) == ["nas", "staging"]


def test_looking_which_marker_would_be_adopted_writes_nothing(apart: Path) -> None:
    nas = nas_at(apart / "nas")
    assert existing_marker(nas, str(apart / "staging")) is None
    assert os.listdir(apart / "nas") == []
    made = marked(apart)
    assert existing_marker(nas, str(apart / "staging")) == made.marker_id


def test_a_nas_that_may_not_be_written_cannot_be_marked(apart: Path) -> None:
    (apart / "nas").chmod(0o500)
    with ordinary_user(), pytest.raises(PermissionRefused):
        marked(apart)
    assert os.listdir(apart / "nas") == []


# -- a look that hangs ---------------------------------------------------------------------------------------


def look(root: Path) -> str:
    return probe_root(str(root), str(root.parent / "probe.lock"))


@pytest.mark.parametrize("name", ["nas", "-c", "with space\nnew line", "[bold] é\u202e", "\udcff"])
def test_a_look_finds_the_real_path_of_a_root_of_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / "link to it").symlink_to(name)
    assert look(tmp_path / name) == look(tmp_path / "link to it") == str(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "error"), [("missing", NasNotMounted), ("file", NasNotMounted), ("loop", NasUnreachable)]
)
def test_a_root_that_is_none_is_told_apart_from_one_that_does_not_answer(
    tmp_path: Path, name: str, error: type[ExlabError]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(error):
        look(tmp_path / name)


@pytest.fixture
def probed_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have another script look, and wait for half a second only."""

    def use(script: str) -> None:
        (tmp_path / "probe.py").write_text(script)
        monkeypatch.setattr(probe, "__file__", str(tmp_path / "probe.py"))
        monkeypatch.setattr(right_place, "_PROBE_SECONDS", 0.5)
        monkeypatch.setattr(process, "_BUSY_SECONDS", 0.1)

    return use


def test_a_hung_mount_hangs_nobody(apart: Path, probed_by: Callable[[str], None]) -> None:
    probed_by("import time; time.sleep(60)")
    with pytest.raises(NasUnreachable, match="did not answer within"):
        look(apart / "nas")
    process._left_behind.pop().communicate(timeout=10)


def test_while_one_look_hangs_no_second_one_starts(apart: Path, probed_by: Callable[[str], None]) -> None:
    probed_by(f"open({str(apart / 'started')!r}, 'w')")
    with locked(str(apart / "probe.lock")), pytest.raises(NasUnreachable, match="still hangs"):
        look(apart / "nas")
    assert not (apart / "started").exists()


@pytest.mark.parametrize(
    "script", ["", "print('garbage')", "raise SystemExit(1)", 'print(\'{"errno": 107, "error": "x"}\')']
)
def test_a_look_that_fails_is_a_nas_that_cannot_be_reached(
    apart: Path, probed_by: Callable[[str], None], script: str
) -> None:
    probed_by(script)
    with pytest.raises(NasUnreachable):
        look(apart / "nas")
