"""Is this the right NAS? The marker file, the mount, and that staging and NAS do not overlap (lifecycle.md, 5)."""

from __future__ import annotations

import errno
import glob
import json
import os
from collections.abc import Iterator
from typing import Final

from exlab_orch.config_nas import MountNas, Nas
from exlab_orch.errors import ConfigInvalid, NasFault, NasNotMounted, NasUnreachable, NasWrongMarker, from_nas
from exlab_orch.files import write_once
from exlab_orch.files.places import read_small
from exlab_orch.hints import promised
from exlab_orch.model import Place
from exlab_orch.transports import probe
from exlab_orch.transports.marker import (
    MARKER,
    MARKER_LIMIT,
    NasInit,
    id_in,
    new_marker,
    no_marker_id,
    refuse_empty,
    require_marker_id,
)
from exlab_orch.transports.mountinfo import Location, locate
from exlab_orch.transports.process import StillHangs, TimedOut, run_python

_OWNER: Final = ".exlab-orch/owner.json"
"""What every staging root has (lifecycle.md, 4)."""
_PROBE_SECONDS: Final = 10.0
_MOUNT_HINT: Final = promised("Mount the NAS (mount, /etc/fstab, automount)")
HANGS_HINT: Final = promised(
    "Check the NAS and the network. If it is well there, unmount it (umount --lazy) and mount it again"
)


def probe_root(root: str, lock_path: str | None) -> str:
    """The real path of the NAS root, looked at by a child process so that a hung mount does not hang us.

    ``lock_path`` keeps passes from adding one hanging child after the other; a person who marks a NAS has no lock.

    Raises:
        NasFault: it does not answer, or is not there.
    """
    try:
        output = run_python(probe.__file__, [root], lock_path=lock_path, timeout_seconds=_PROBE_SECONDS)
        answer: dict[str, str | int] = json.loads(output)
    except StillHangs as error:
        raise NasUnreachable(f"An earlier look at {root} still hangs.", hint=HANGS_HINT) from error
    except TimedOut as error:
        raise NasUnreachable(
            f"The NAS at {root} did not answer within {_PROBE_SECONDS:g} s.", hint=HANGS_HINT
        ) from error
    except (OSError, ValueError) as error:
        raise NasUnreachable(f"The NAS at {root} could not be looked at: {error}.", hint=_MOUNT_HINT) from error
    if "errno" in answer:
        refused = OSError(int(answer["errno"]), str(answer["error"]))
        raise _root_error(root, refused) from refused
    return str(answer["root"])


def _root_error(root: str, error: OSError) -> Exception:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NasNotMounted(f"The NAS root {root} is not there.", hint=_MOUNT_HINT)
    translated = from_nas(error, f"looking at its root {root}")
    if isinstance(error, PermissionError):
        return NasUnreachable(translated.message, hint=f"Let the service user read and write there: ls -ld {root}")
    return translated if isinstance(translated, NasFault) else NasUnreachable(translated.message, hint=_MOUNT_HINT)


def require_mount_and_distance(nas: MountNas, staging_root: str) -> None:
    """Raise unless the NAS root is on a mount of its own and neither in, around nor the same as staging.

    Raises:
        NasNotMounted: it is on the same mount as staging or ``/`` although a mount is required.
        ConfigInvalid: staging and NAS overlap.
    """
    try:
        here, staging, system = locate(nas.root), locate(staging_root), locate("/")
    except (OSError, KeyError) as error:
        why = error.strerror if isinstance(error, OSError) else "its mount vanished meanwhile"
        message = f"The NAS root {nas.root} cannot be compared with the staging root {staging_root}: {why}."
        raise NasNotMounted(message, hint=_MOUNT_HINT) from error
    if here.overlaps(staging):
        raise ConfigInvalid(
            f"The NAS root {nas.root} and the staging root {staging_root} are the same folder, or one is in the other.",
            hint="Set nas.root to the mounted NAS, away from the staging root.",
        )
    if nas.require_mount:
        _require_own_mount(nas.root, here, (staging, system))


def require_not_seen_from_each_other(nas: MountNas, staging_root: str) -> None:
    """Raise unless neither the marker is seen from staging nor staging's owner file from the NAS.

    One share mounted twice has two device numbers; its files give it away all the same.
    """
    marked = marked_folder_around(staging_root, nas.marker_id)
    owned = next((folder for folder in _upwards(nas.root) if os.path.lexists(f"{folder}/{_OWNER}")), None)
    if marked is not None or owned is not None:
        raise ConfigInvalid(
            f"The NAS root {nas.root} and the staging root {staging_root} are the same folder, or one is in the other: "
            + (f"the marker is in {marked}." if marked is not None else f"{owned}/{_OWNER} is there."),
            hint="Set nas.root to the mounted NAS, away from the staging root.",
        )


def marked_folder_around(staging_root: str, marker_id: str | None) -> str | None:
    """The staging root, or the nearest folder above it, that carries that marker; None where none does."""
    seen = (folder for folder in _upwards(staging_root) if marker_id and _marker_text(folder) == marker_id)
    return next(seen, None)


def refuse_marker_around(nas: Nas, staging_root: str) -> None:
    """Raise ConfigInvalid when a NAS that a program reaches is this computer's staging folder, or one above it."""
    marked = marked_folder_around(staging_root, nas.marker_id)
    if marked is not None:
        raise ConfigInvalid(
            f"The NAS {nas.name} is the staging folder, or around it: its marker is in {marked}.",
            hint="Let it lead to the NAS, away from the staging root.",
        )


def refuse_marker_inside(nas: Nas, staging_root: str) -> None:
    """Raise ConfigInvalid when a NAS that a program reaches lies in this computer's staging folder.

    Looked for where somebody might put it: in the folders of equipment and projects.
    """
    for depth in ("*", "*/*"):
        for marker in glob.iglob(f"{glob.escape(staging_root)}/{depth}/{MARKER}"):
            folder = os.path.dirname(marker)
            if _marker_text(folder) == nas.marker_id:
                raise ConfigInvalid(
                    f"The NAS {nas.name} lies in the staging folder: its marker is in {folder}.",
                    hint="Let it lead to the NAS, away from the staging root.",
                )


def _upwards(folder: str) -> Iterator[str]:
    """A folder and those above it."""
    folder = os.path.realpath(folder)
    while folder != "/":
        yield folder
        folder = os.path.dirname(folder)


def _marker_text(folder: str) -> str | None:
    try:
        return read_marker(folder)
    except NasFault:
        return None  # what is no small plain file is no marker of ours


def _require_own_mount(root: str, here: Location, others: tuple[Location, ...]) -> None:
    if any(here.mount == other.mount for other in others):
        raise NasNotMounted(
            f"Nothing is mounted at the NAS root {root}: it is on the same mount as the staging root or /.",
            hint=f"{_MOUNT_HINT} If it is meant to be a plain folder, set nas.require_mount = false.",
        )


def require_marker(nas: MountNas) -> None:
    """Raise unless the marker file in the NAS root carries the configured id."""
    if not nas.marker_id:
        raise no_marker_id(nas)
    require_marker_id(nas, read_marker(nas.root))


def read_marker(root: str) -> str | None:
    """The id in the marker file of a NAS root, or None where there is no marker file."""
    try:
        found = read_small(Place(root, ""), MARKER, MARKER_LIMIT)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EFBIG, errno.EISDIR):
            raise NasWrongMarker(f"The marker {root}/{MARKER} is not a small plain file.") from error
        raise _root_error(root, error) from error
    return None if found is None else id_in(found[0])


def existing_marker(nas: MountNas, staging_root: str) -> str | None:
    """The id that ``mark`` would adopt, or None where it would make one; writes nothing.

    Raises:
        NasFault, ConfigInvalid: this place may not be marked.
    """
    probe_root(nas.root, None)
    require_mount_and_distance(nas, staging_root)
    found = read_marker(nas.root)
    require_not_seen_from_each_other(nas.model_copy(update={"marker_id": found}), staging_root)
    return refuse_empty(nas, found)


def mark(nas: MountNas, staging_root: str) -> NasInit:
    """Write the marker file of a NAS, or adopt the one that is there; never replaces one.

    Raises:
        NasFault, ConfigInvalid: this place may not be marked.
    """
    found = existing_marker(nas, staging_root)
    if found is not None:
        return NasInit(found, adopted=True)
    marker_id, content = new_marker()
    try:
        made = write_once(f"{nas.root}/{MARKER}", content, 0o644)
    except OSError as error:
        raise from_nas(error, f"writing the marker {nas.root}/{MARKER}") from error
    return NasInit(marker_id, adopted=False) if made else mark(nas, staging_root)
