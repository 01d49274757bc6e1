"""Renames that never replace anything: set aside, publish, supersede, to the trash and back."""

from __future__ import annotations

import errno
import os
import stat

from exlab_orch.files.linux import CANNOT_RENAME, rename_no_replace
from exlab_orch.files.places import open_folder, opened, sync_folder
from exlab_orch.model import Place


def move(source: Place, name: str, target: Place, new_name: str) -> None:
    """Move one entry between two folders, durably and without ever replacing anything.

    Raises:
        OSError: EEXIST when the new name is taken, EXDEV when it is another file system, and the usual ones.
    """
    with opened(open_folder(source)) as here, opened(open_folder(target)) as there:
        try:
            rename_no_replace(here, os.fsencode(name), there, os.fsencode(new_name))
        except OSError as error:
            if error.errno not in CANNOT_RENAME:
                raise
            _move_without_renameat2(here, name, there, new_name)
        sync_folder(there)
        sync_folder(here)


def _move_without_renameat2(here: int, name: str, there: int, new_name: str) -> None:
    """FUSE and old file systems: link and unlink a file; rename a folder, which never replaces a filled one."""
    if stat.S_ISDIR(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
        _refuse_taken(there, new_name)
        os.rename(name, new_name, src_dir_fd=here, dst_dir_fd=there)
        return
    os.link(name, new_name, src_dir_fd=here, dst_dir_fd=there, follow_symlinks=False)
    os.unlink(name, dir_fd=here)


def _refuse_taken(folder: int, name: str) -> None:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    raise FileExistsError(errno.EEXIST, "the name is taken", name)
