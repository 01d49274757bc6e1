"""The marker file .exlab-nas in the root of a NAS: what it holds, and what is wrong when it is another one."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from exlab_orch.config_nas import Nas
from exlab_orch.errors import ConfigInvalid, NasWrongMarker, SyncFailed
from exlab_orch.text import printable

MARKER: Final = ".exlab-nas"
MARKER_LIMIT: Final = 4096
"""Bytes; a marker is one short line and a sentence for people."""


@dataclass(frozen=True, slots=True)
class NasInit:
    """The id of a NAS's marker, and whether the marker was there before."""

    marker_id: str
    adopted: bool


def new_marker() -> tuple[str, bytes]:
    """An id that no other NAS has, and the content of its marker file."""
    marker_id = secrets.token_hex(16)
    words = "This file tells exlab-orch that this is the right NAS. Do not remove or copy it."
    return marker_id, f"{marker_id}\n{words}\n".encode()


def id_in(content: bytes) -> str:
    """The id in a marker file: its first line."""
    return content.decode(errors="replace").split("\n", 1)[0].strip()


def no_marker_id(nas: Nas) -> ConfigInvalid:
    """The error of a NAS that nothing may be written to yet."""
    return ConfigInvalid(
        f"No marker id is configured for the NAS at {nas.name}, so nothing may be written there.",
        hint="Mark the NAS and put its id into the configuration: exlab-orch nas-init",
    )


def require_marker_id(nas: Nas, found: str | None) -> None:
    """Raise unless the marker that was found (None: there is none) is the configured one.

    Raises:
        ConfigInvalid: no id is configured.
        NasWrongMarker: it is another one, or there is none.
    """
    if not nas.marker_id:
        raise no_marker_id(nas)
    if found is None:
        raise NasWrongMarker(
            f"The NAS root {nas.name} has no marker file {MARKER}.",
            hint="Is the NAS there (findmnt)? If it is a new one: empty its marker_id in the configuration, "
            "then: exlab-orch nas-init",
        )
    if found != nas.marker_id:
        raise NasWrongMarker(
            f"The marker of {nas.name} is {printable(found) or 'empty'}, "
            f"but nas.marker_id says {printable(nas.marker_id)}.",
            hint="This is another NAS. Connect the right one, or correct the configuration.",
        )


def refuse_empty(nas: Nas, found: str | None) -> str | None:
    """The id that was found, to be adopted; raises NasWrongMarker where the marker is there and empty."""
    if found == "":
        raise NasWrongMarker(
            f"The marker {nas.name}/{MARKER} is empty.",
            hint="Find out what emptied it; remove it to have a new one made.",
        )
    return found


def mark_through(
    nas: Nas, found: str | None, write: Callable[[bytes], object], read: Callable[[], str | None]
) -> NasInit:
    """Adopt the marker that was found, or write one. What is there after the writing counts: two may mark at once.

    Raises:
        SyncFailed: what was written is not there.
    """
    if found is not None:
        return NasInit(found, adopted=True)
    marker_id, content = new_marker()
    write(content)
    written = read()
    if written is None:
        raise SyncFailed(f"The marker that was written to {nas.name} is not there.", hint="Look at the NAS.")
    return NasInit(written, adopted=written != marker_id)
