"""Our own small files: at every instant the old content or the new, never a part, never through a link."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from exlab_orch.files import whole
from exlab_orch.files.places import Style
from exlab_orch.files.whole import append_line, replace_own, write_once, write_whole
from exlab_orch.model import Place
from tests.files.tricks import fails_with, watch_calls

TEMPORARY = ".name.temporary"


def replace_name(folder: Path, content: bytes, style: Style | None = None) -> None:
    replace_own(Place(str(folder), ""), "name", content, temporary=TEMPORARY, style=style or Style())


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


# -- replacing -----------------------------------------------------------------------------------------------


def test_a_file_is_made_and_replaced_whole(tmp_path: Path) -> None:
    replace_name(tmp_path, b"first, and longer")
    replace_name(tmp_path, b"second")
    assert (tmp_path / "name").read_bytes() == b"second"
    assert names(tmp_path) == ["name"]


def test_who_reads_meanwhile_sees_the_old_content_or_the_new(tmp_path: Path) -> None:
    contents = {b"a" * 5000, b"b" * 9000}
    replace_name(tmp_path, b"a" * 5000)
    seen: set[bytes] = set()
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            seen.add((tmp_path / "name").read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(30):
        for content in contents:
            replace_name(tmp_path, content)
    over.set()
    reader.join()
    assert seen <= contents


def test_the_content_is_durable_before_it_gets_its_name_and_the_name_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = watch_calls(monkeypatch, "write", "fsync", "rename")
    replace_name(tmp_path, b"x")
    assert calls == ["write", "fsync", "rename", "fsync"]


@pytest.mark.parametrize(("call", "number"), [("write", errno.ENOSPC), ("fsync", errno.EIO), ("rename", errno.EIO)])
def test_a_failure_keeps_the_old_file_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    replace_name(tmp_path, b"old")
    monkeypatch.setattr(os, call, fails_with(number))
    with pytest.raises(OSError) as raised:
        replace_name(tmp_path, b"new")
    assert raised.value.errno == number
    assert (tmp_path / "name").read_bytes() == b"old"
    assert names(tmp_path) == ["name"]


def test_what_a_crash_left_under_the_temporary_name_is_removed(tmp_path: Path) -> None:
    (tmp_path / TEMPORARY).write_bytes(b"half of someth")
    replace_name(tmp_path, b"whole")
    assert (tmp_path / "name").read_bytes() == b"whole"
    assert names(tmp_path) == ["name"]


@pytest.mark.parametrize("linked", ["name", TEMPORARY])
def test_nothing_is_written_through_a_link(tmp_path: Path, linked: str) -> None:
    folder, target = tmp_path / "folder", tmp_path / "target"
    folder.mkdir()
    target.write_bytes(b"somebody else's")
    (folder / linked).symlink_to(target)
    replace_name(folder, b"ours")
    assert target.read_bytes() == b"somebody else's"
    assert not (folder / "name").is_symlink()
    assert (folder / "name").read_bytes() == b"ours"


def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(OSError):
        replace_own(Place(str(tmp_path), "link"), "name", b"x", temporary=TEMPORARY)
    assert names(tmp_path / "real") == []


def test_short_writes_are_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: real(descriptor, content[:2]))
    replace_name(tmp_path, b"0123456789")
    assert (tmp_path / "name").read_bytes() == b"0123456789"


@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_a_file_of_ours_has_just_the_mode_it_was_given(tmp_path: Path, mode: int) -> None:
    before = os.umask(0o077)
    try:
        write_whole(f"{tmp_path}/owner.json", b"{}", mode)
        write_once(f"{tmp_path}/marker", b"id", mode)
    finally:
        os.umask(before)
    for name in ("owner.json", "marker"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode
    assert names(tmp_path) == ["marker", "owner.json"]


# -- once ----------------------------------------------------------------------------------------------------


def test_a_file_written_once_is_never_replaced(tmp_path: Path) -> None:
    assert write_once(f"{tmp_path}/key", b"first", 0o600)
    assert not write_once(f"{tmp_path}/key", b"second", 0o600)
    assert (tmp_path / "key").read_bytes() == b"first"
    assert names(tmp_path) == ["key"]


def no_hard_links(*_: object, **_more: object) -> None:
    raise OSError(errno.EPERM, "no hard links here")


def cannot_rename(*_: object) -> None:
    raise OSError(errno.EINVAL, "renames replace here")


@pytest.mark.parametrize("renames", [True, False])
def test_where_there_are_no_hard_links_a_file_is_written_once_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: bool
) -> None:
    monkeypatch.setattr(os, "link", no_hard_links)
    if not renames:
        monkeypatch.setattr(whole, "rename_no_replace", cannot_rename)
    assert write_once(f"{tmp_path}/marker", b"first", 0o644)
    assert not write_once(f"{tmp_path}/marker", b"second", 0o644)
    assert (tmp_path / "marker").read_bytes() == b"first"
    assert names(tmp_path) == ["marker"]


def test_without_hard_links_too_a_file_is_whole_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash before the rename leaves no part under the name, which the next one would take for the whole."""
    monkeypatch.setattr(os, "link", no_hard_links)
    monkeypatch.setattr(whole, "rename_no_replace", lambda *_: pytest.fail("killed", pytrace=False))
    with pytest.raises(pytest.fail.Exception):
        write_once(f"{tmp_path}/key", b"secret", 0o600)
    assert not (tmp_path / "key").exists()


def test_a_dangling_link_takes_the_name_of_a_file_written_once(tmp_path: Path) -> None:
    (tmp_path / "key").symlink_to("elsewhere")
    assert not write_once(f"{tmp_path}/key", b"secret", 0o600)
    assert names(tmp_path) == ["key"]


def test_a_file_written_once_is_whole_and_durable_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = watch_calls(monkeypatch, "write", "fsync", "link")
    write_once(f"{tmp_path}/key", b"x", 0o600)
    assert calls == ["write", "fsync", "link", "fsync"]


# -- lines ---------------------------------------------------------------------------------------------------


def append(folder: Path, line: bytes) -> None:
    append_line(Place(str(folder), ""), "log", line)


def test_lines_are_added_at_the_end(tmp_path: Path) -> None:
    append(tmp_path, b"one")
    append(tmp_path, b"two")
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


def test_a_torn_line_is_ended_before_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"whole\nhalf of a li")
    append(tmp_path, b"next")
    assert (tmp_path / "log").read_bytes() == b"whole\nhalf of a li\nnext\n"


def test_a_line_is_durable_and_so_is_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = watch_calls(monkeypatch, "write", "fsync")
    append(tmp_path, b"one")
    assert calls == ["write", "fsync", "fsync"]
    append(tmp_path, b"two")
    assert calls == ["write", "fsync", "fsync", "write", "fsync"]


def test_no_line_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"theirs\n")
    (tmp_path / "log").symlink_to("target")
    with pytest.raises(OSError) as raised:
        append(tmp_path, b"ours")
    assert raised.value.errno == errno.ELOOP
    assert (tmp_path / "target").read_bytes() == b"theirs\n"
