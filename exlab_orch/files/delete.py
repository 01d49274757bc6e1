"""Every delete there is: proved staged files by list, our own files, empty folders, our hidden folder on the NAS.

There is no recursive delete. What is not on a list stays where it is.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import groupby
from typing import Final

from exlab_orch.errors import TrashLeftover
from exlab_orch.files.hashing import OnBytes, hash_staged
from exlab_orch.files.linux import CANNOT_RENAME, is_remote, keep_writers_out, rename_no_replace, writer_waits
from exlab_orch.files.places import (
    identity_of,
    leaf_identity,
    open_file,
    open_folder,
    open_subfolder,
    opened,
    sync_folder,
)
from exlab_orch.files.walk import walk
from exlab_orch.model import ClearProof, FileProof, Identity, LeafIdentity, Place

PART_PREFIX: Final = ".exlab-part-"
_ASIDE: Final = b".exlab-deleting-"
_ASIDE_NAME: Final = re.compile(re.escape(_ASIDE) + rb"[0-9a-f]{20}-(.+)", re.DOTALL)
_NAME_LIMIT: Final = 255


def delete_proved(trash: Place, proof: ClearProof, on_bytes: OnBytes) -> None:
    """Unlink exactly the proved files of a run that lies in the trash (lifecycle.md, 6.5).

    A file that is gone already is fine: an interrupted delete goes on.

    Raises:
        TrashLeftover: a file is not the one that was proved; it and all after it stay.
        OSError: whatever the file system answered.
    """
    unlinked: set[int] = set()
    with opened(open_folder(trash)) as leaf:
        for parent, names in groupby(proof, key=_parent):
            with opened(open_subfolder(leaf, parent)) as folder:
                for name in names:
                    aside = aside_of(proof.leaf, name)
                    _unlink_proved(leaf, folder, name, aside, proof.files[name], unlinked)
                    on_bytes(proof.files[name].identity.size)


def _parent(name: bytes) -> bytes:
    return name.rpartition(b"/")[0]


def _unlink_proved(leaf: int, folder: int, name: bytes, aside: bytes, proved: FileProof, unlinked: set[int]) -> None:
    """Look at the file with writers kept out, give it a name that nobody else knows, look again, and unlink it.

    Whoever had the folder open may still write to the file or put another one in its place, at any moment.
    """
    try:
        status = os.stat(_base(name), dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    if status.st_ino != proved.identity.inode or not stat.S_ISREG(status.st_mode):
        raise _late(name)
    with opened(open_file(folder, _base(name))) as descriptor:
        kept_out = None if is_remote(descriptor) else keep_writers_out(descriptor)
        found = identity_of(os.fstat(descriptor))
        is_proved = found == proved.identity or _is_linked_sibling(leaf, name, found, proved, unlinked)
        if kept_out is False or not is_proved:
            raise _late(name)
        _unlink_aside(folder, name, _base(aside), found.inode, lambda: kept_out is True and writer_waits(descriptor))
    unlinked.add(proved.identity.inode)


def _unlink_aside(folder: int, name: bytes, aside: bytes, inode: int, somebody_waits: Callable[[], bool]) -> None:
    base = _base(name)
    try:
        rename_no_replace(folder, base, folder, aside)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in CANNOT_RENAME:
            raise
        aside = base  # FUSE and old file systems
    if os.stat(aside, dir_fd=folder, follow_symlinks=False).st_ino != inode or somebody_waits():
        if aside != base:
            with contextlib.suppress(FileExistsError):
                rename_no_replace(folder, aside, folder, base)
        raise _late(name)
    os.unlink(aside, dir_fd=folder)


def aside_of(leaf: LeafIdentity, name: bytes) -> bytes:
    """The name beside it that a proved file bears in the moment before it is unlinked; no pushed file has it."""
    mark = hashlib.sha256(leaf.text().encode() + b"\0" + name).hexdigest()[:20].encode()
    return b"/".join(filter(None, (_parent(name), (_ASIDE + mark + b"-" + _base(name))[:_NAME_LIMIT])))


def name_before_aside(aside: bytes) -> bytes | None:
    """The name that a file had before ``aside_of`` renamed it; None for any other name, and for one that was cut."""
    found = _ASIDE_NAME.fullmatch(_base(aside))
    return None if found is None else b"/".join(filter(None, (_parent(aside), found[1])))


def bring_back(trash: Place, present: Collection[bytes], proved: Iterable[bytes]) -> None:
    """Give files their names back which an interrupted delete had set aside; a name that is taken stays taken."""
    if not any(_base(name).startswith(_ASIDE) for name in present):
        return
    identity = leaf_identity(trash)
    with opened(open_folder(trash)) as leaf:
        for name in proved:
            aside = aside_of(identity, name)
            if aside in present:
                with opened(open_subfolder(leaf, _parent(name))) as folder, contextlib.suppress(FileExistsError):
                    rename_no_replace(folder, _base(aside), folder, _base(name))


def _base(name: bytes) -> bytes:
    return name.rpartition(b"/")[2]


def _late(name: bytes) -> TrashLeftover:
    return TrashLeftover(
        "A file changed after it was proved; it was not deleted.",
        hint="Something still writes to this run. It stays in the trash folder until its proof holds again.",
        files=[name],
    )


def _is_linked_sibling(leaf: int, name: bytes, found: Identity, proved: FileProof, unlinked: set[int]) -> bool:
    """Our own unlink of another name of the same inode changed its ctime: then the content decides, read again."""
    if found.inode not in unlinked or found.inode != proved.identity.inode:
        return False
    identity, sha256 = hash_staged(leaf, name, lambda _: None)
    return identity == found and sha256 == proved.sha256


def remove_own(place: Place, names: Iterable[bytes]) -> None:
    """Unlink our own files of a run in the given order; what is gone already is fine."""
    with opened(open_folder(place)) as leaf:
        for name in names:
            try:
                with opened(open_subfolder(leaf, _parent(name))) as folder:
                    os.unlink(name.rpartition(b"/")[2], dir_fd=folder)
            except FileNotFoundError:
                continue


def remove_empty_folders(place: Place, names: Iterable[bytes]) -> None:
    """Remove the folders that are empty, deepest first; a folder that still holds something stays."""
    with opened(open_folder(place)) as leaf:
        for name in _deepest_first(names):
            try:
                with opened(open_subfolder(leaf, _parent(name))) as folder:
                    os.rmdir(name.rpartition(b"/")[2], dir_fd=folder)
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise


def _deepest_first(names: Iterable[bytes]) -> list[bytes]:
    return sorted(names, key=lambda name: (-name.count(b"/"), name))


def remove_folder_chain(place: Place, stop: str) -> None:
    """Remove an empty folder and the empty folders above it, up to but not including ``stop`` below the root."""
    while place.path and place.path != stop:
        try:
            with opened(open_folder(place.parent)) as folder:
                os.rmdir(place.name, dir_fd=folder)
                sync_folder(folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
                return
            raise
        place = place.parent


def remove_part_entries(part: Place, files: Iterable[bytes], folders: Iterable[bytes] = ()) -> None:
    """Unlink files of our hidden folder on the NAS and remove folders that are empty then.

    Nothing but our hidden folders is ever emptied there (reliability.md, 3).
    """
    _require_part(part)
    remove_own(part, files)
    remove_empty_folders(part, folders)


def remove_part_folder(part: Place) -> None:
    """Remove our hidden folder on the NAS with what is left in it, by its own listing. Missing is fine."""
    _require_part(part)
    try:
        listing = walk(part)
    except FileNotFoundError:
        return
    remove_own(part, _all(listing.files, listing.special))
    remove_empty_folders(part, listing.folders)
    remove_folder_chain(part, part.parent.path)


def remove_empty_part(part: Place) -> None:
    """Remove our hidden folder on the NAS if nothing is in it. Missing is fine."""
    _require_part(part)
    remove_folder_chain(part, part.parent.path)


def _all(*groups: Iterable[bytes]) -> Iterator[bytes]:
    for group in groups:
        yield from group


def _require_part(part: Place) -> None:
    if not part.name.startswith(PART_PREFIX):
        raise ValueError(f"{part.name!r} is not one of our hidden folders")
