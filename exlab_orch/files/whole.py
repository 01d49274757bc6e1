"""Writing our own small files whole: at every instant the old content is there, or the new, never a part."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from typing import Final

from exlab_orch.files.linux import CANNOT_RENAME, rename_no_replace
from exlab_orch.files.places import PLAIN, Style, open_folder, opened, sync_folder
from exlab_orch.model import Place

_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Write every byte, however many calls it takes."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def replace_own(place: Place, name: str, content: bytes, *, temporary: str, style: Style = PLAIN) -> None:
    """Replace one of our own files: temporary file in the same folder, fsync, rename, fsync of the folder.

    ``temporary`` is a name that is ours alone; what a crash left under it is removed. A failed fsync discards the
    temporary file and is final (reliability.md, 13).
    """
    with opened(open_folder(place)) as folder:
        _discard(folder, temporary)
        try:
            _write_new(folder, temporary, content, style)
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            _discard(folder, temporary)
            raise
        sync_folder(folder)


def _write_new(folder: int, name: str, content: bytes, style: Style) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with opened(os.open(name, flags, 0o644, dir_fd=folder)) as descriptor:
        style.apply(descriptor, style.file_mode)
        write_all(descriptor, content)
        os.fsync(descriptor)


def _discard(folder: int, temporary: str) -> None:
    try:
        os.unlink(temporary, dir_fd=folder)
    except FileNotFoundError:
        return


def write_whole(path: str, content: bytes, mode: int) -> None:
    """Replace a file of ours outside the runs (configuration, owner, hold) whole and durably, with that mode."""
    folder, _, name = path.rpartition("/")
    place = Place(folder or "/", "")
    with opened(open_folder(place)) as descriptor:
        _take_turns(descriptor)
        replace_own(place, name, content, temporary=f".{name}.exlab-new", style=Style(file_mode=mode, insist=True))


def _take_turns(folder: int) -> None:
    """Wait for another process that writes in the folder, where the file system has locks."""
    with contextlib.suppress(OSError):
        fcntl.flock(folder, fcntl.LOCK_EX)


def write_once(path: str, content: bytes, mode: int) -> bool:
    """Make a file that must never be replaced, whole from its first moment on; False when it was there already.

    Two processes that make it at once take turns, where the file system has locks; either way one of them wins.
    """
    folder, _, name = path.rpartition("/")
    temporary = f".{name}.exlab-new"
    with opened(open_folder(Place(folder or "/", ""))) as descriptor:
        _take_turns(descriptor)
        _discard(descriptor, temporary)
        _write_new(descriptor, temporary, content, Style(file_mode=mode, insist=True))
        try:
            _give_name(descriptor, temporary, name)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in CANNOT_RENAME:
                raise
            return _made_in_place(descriptor, name, content, mode)
        finally:
            _discard(descriptor, temporary)
            sync_folder(descriptor)
    return True


def _give_name(folder: int, temporary: str, name: str) -> None:
    """Let a whole file have its name, which nobody has yet; a file system without hard links (exFAT, SMB) renames it.

    Raises:
        OSError: EEXIST when the name is taken; one of CANNOT_RENAME where neither can be done.
    """
    try:
        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        rename_no_replace(folder, os.fsencode(temporary), folder, os.fsencode(name))


def _made_in_place(folder: int, name: str, content: bytes, mode: int) -> bool:
    """Where neither can be done (some FUSE file systems): never replaced either, but a crash may leave it empty.

    Who reads it says so: key, marker and owner file refuse what is empty or cut short, and name the way out.
    """
    try:
        _write_new(folder, name, content, Style(file_mode=mode, insist=True))
    except FileExistsError:
        return False
    return True


def discard_unfinished(path: str) -> None:
    """Remove what a killed ``write_once`` or ``write_whole`` of that file left beside it."""
    folder, _, name = path.rpartition("/")
    if os.path.lexists(f"{folder}/.{name}.exlab-new"):
        with opened(open_folder(Place(folder or "/", ""))) as descriptor:
            _take_turns(descriptor)
            _discard(descriptor, f".{name}.exlab-new")


def append_line(place: Place, name: str, line: bytes) -> None:
    """Append one line durably; a line that a crash cut short is ended first, so that lines never run together."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with opened(open_folder(place)) as folder, opened(os.open(name, flags, 0o644, dir_fd=folder)) as descriptor:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        write_all(descriptor, (b"\n" if torn else b"") + line + b"\n")
        os.fsync(descriptor)
        if size == 0:
            sync_folder(folder)
