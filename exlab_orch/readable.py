"""Whether a member of the group can read what was published on a mounted NAS, as the modes there say."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from exlab_orch.config_nas import MountNas
from exlab_orch.diagnosis import Finding
from exlab_orch.errors import nas_errors
from exlab_orch.groups import group_name, required_group
from exlab_orch.text import count, printable

_CHECK = "selftest.group"


def readable_by_group(nas: MountNas, published: Iterable[str]) -> Finding:
    """A finding about the NAS root and everything below these published folders.

    The modes are those that the mount shows; what an access control list on the NAS adds is not seen.
    """
    with nas_errors("looking at the modes of what was published"):
        folders = list(published)
        gid = _group_of(nas, folders)
        entries = [nas.root, *(path for folder in folders for path in _around(nas.root, folder))]
        closed = [(path, found) for path in entries if not _opens_for(gid, found := os.lstat(path))]
    group = group_name(gid)
    if not closed:
        return Finding(_CHECK, "ok", f"Members of the group {group} can read what was published.")
    path, found = closed[0]
    return Finding(
        _CHECK,
        "warning",
        f"Members of the group {group} cannot read what is published: {printable(path, 1000)} has the mode "
        f"{stat.S_IMODE(found.st_mode):04o} and the group {group_name(found.st_gid)}"
        + (f" (and {count(len(closed) - 1, 'more')[:-1]})." if closed[1:] else "."),
        _fix(nas, path),
    )


def _fix(nas: MountNas, path: str) -> str:
    if path == nas.root:
        return f"Let the group into the folder of the NAS: chmod g+rx {nas.root}"
    return 'Set group, dir_mode = "2750" and file_mode = "0640" in [nas], or do the same to the folder of the NAS.'


def _group_of(nas: MountNas, folders: list[str]) -> int:
    """The configured group, else the one that the first published folder got."""
    if nas.group is not None:
        return required_group(nas.group)
    return os.lstat(folders[0]).st_gid


def _around(root: str, folder: str) -> Iterator[str]:
    """The folders from below the root down to a published one, it, and everything in it."""
    parts = folder.removeprefix(root.rstrip("/") + "/").split("/")
    yield from ("/".join([root.rstrip("/"), *parts[:depth]]) for depth in range(1, len(parts) + 1))
    for above, folders, files in os.walk(folder, onerror=_raised):
        yield from (f"{above}/{name}" for name in (*folders, *files))


def _opens_for(gid: int, found: os.stat_result) -> bool:
    """Whether a member of the group, who is not the owner, may read the file or list and enter the folder."""
    mode = stat.S_IMODE(found.st_mode) >> (3 if found.st_gid == gid else 0)
    wanted = 0o5 if stat.S_ISDIR(found.st_mode) else 0o4
    return mode & wanted == wanted


def _raised(error: OSError) -> None:
    raise error
