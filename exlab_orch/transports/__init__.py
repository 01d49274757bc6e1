"""Where bytes go: the interface every kind of NAS implements, and the one place that picks one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

from exlab_orch.files.copy import Copied
from exlab_orch.files.hashing import OnBytes
from exlab_orch.model import Identity, Listing, StagedRun
from exlab_orch.space import Space

if TYPE_CHECKING:
    from exlab_orch.config_nas import AnyNas
    from exlab_orch.pace import Pace
    from exlab_orch.state import StateDirectory
    from exlab_orch.transports.marker import NasInit

Area = Literal["part", "published"]
"""Our hidden folder where a run is made whole, and the folder people see."""


class ReadBack(NamedTuple):
    """One file read from the NAS; None where it is not there."""

    name: bytes
    stamp: Identity | None
    sha256: str | None


class BatchSize(NamedTuple):
    """How many files and bytes one ``send`` or ``read_back`` gets at most, and how many of them go on at once."""

    files: int = 64
    byte_count: int = 32 << 20
    workers: int | None = None
    """None: as many as ``sync.workers`` says."""


class Transport(Protocol):
    """One NAS. It raises and never returns a failure, never retries, and never deletes what was published.

    Names are bytes relative to the run folder. Every method may raise NasFault (the NAS as a whole) or RunProblem.
    """

    @property
    def in_place(self) -> bool:
        """Whether files go to their final names at once, because this NAS cannot rename: there is no hidden folder."""

    @property
    def batches(self) -> BatchSize:
        """How work is cut for this NAS."""

    @property
    def name(self) -> str:
        """The key of this NAS for slots, pauses and problems."""

    def check(self) -> None:
        """Raise NasFault unless this is the right NAS, reachable now; ConfigInvalid without a marker id."""

    def space(self) -> Space | None:
        """How full this NAS is now, or None where it does not tell."""

    def require_space(self, byte_count: int) -> None:
        """Raise NasFull when so many more bytes would eat into the reserve."""

    def where(self, run_path: str) -> str:
        """The real location of a published run, as people on the NAS know it."""

    def listing(self, run_path: str, area: Area) -> Listing | None:
        """What the NAS holds of a run, our own three files apart; None where there is no such folder."""

    def refuse_names(self, run_path: str, listing: Listing) -> None:
        """Raise NameUnsupported, with the list, when the NAS would change or merge names of the run."""

    def make_part(self, run_path: str, folders: Iterable[bytes], files: Iterable[bytes] = ()) -> None:
        """Make the hidden folder and these subfolders, where they are missing, before these files are sent."""

    def send(self, run: StagedRun, files: Sequence[tuple[bytes, Identity]], on_bytes: OnBytes) -> tuple[Copied, ...]:
        """Copy files into the hidden folder and read each back; may be called from several threads.

        What goes to the NAS keeps to the pace the transport was opened with, and what ``on_bytes`` raises ends it, also
        while it waits.
        """

    def read_back(self, run_path: str, area: Area, names: Sequence[bytes], on_bytes: OnBytes) -> list[ReadBack]:
        """Hash files as the NAS holds them now, past every cache; may be called from several threads."""

    def publish_run(self, run_path: str, listing: Listing) -> None:
        """Make the hidden folder appear under its final name in one step; folder times follow the listing."""

    def publish_file(self, run_path: str, name: bytes) -> Identity:
        """Move one file from the hidden folder to a name that did not exist; returns its stamp there."""

    def make_published_folders(self, run_path: str, folders: Iterable[bytes]) -> None:
        """Make subfolders of a published run, where they are missing."""

    def supersede(self, run_path: str, name: bytes, moment: datetime) -> None:
        """Move a published file to ``.exlab-wizard/superseded/<time>/``; nothing happens where it is not there."""

    def read_small(self, run_path: str, area: Area, name: str) -> bytes | None:
        """One of our own files in ``.exlab-wizard`` on the NAS, or None."""

    def put_small(self, run_path: str, area: Area, name: str, content: bytes) -> None:
        """Write one of our own files in ``.exlab-wizard`` on the NAS whole."""

    def discard_temporary(self, run_path: str) -> None:
        """Remove what a killed ``put_small`` left beside a published run's files."""

    def drop_part_entries(self, run_path: str, files: Iterable[bytes], folders: Iterable[bytes] = ()) -> None:
        """Remove files, and folders that are empty then, from the hidden folder."""

    def drop_part(self, run_path: str) -> None:
        """Remove the hidden folder with what is left in it."""

    def drop_empty_part(self, run_path: str) -> None:
        """Remove the hidden folder if nothing is in it."""


@runtime_checkable
class TellsProof(Protocol):
    """A transport that proves in more than one way, and tells which it was."""

    @property
    def proof_by(self) -> str:
        """Who hashed what is on the NAS: "remote", the NAS itself, or "stream", this computer."""


def open_transport(nas: AnyNas, staging_root: str, state: StateDirectory, host: str, pace: Pace) -> Transport:
    """The transport of a configured NAS; its module is imported only when it is used."""
    if nas.type == "rclone":
        from exlab_orch.transports.rclone import RcloneRemote  # noqa: PLC0415

        return RcloneRemote(nas, staging_root, state, host, pace)
    if nas.type == "rsync_ssh":
        from exlab_orch.transports.rsync import RsyncTarget  # noqa: PLC0415

        return RsyncTarget(nas, staging_root, state, host, pace)
    from exlab_orch.transports.mount import MountedNas  # noqa: PLC0415

    return MountedNas(nas, staging_root, state, host, pace)


def existing_marker(nas: AnyNas, staging_root: str) -> str | None:
    """The id that ``mark`` would adopt, or None where it would make one; writes nothing.

    Raises:
        NasFault, ConfigInvalid: this place cannot be reached, or may not be marked.
    """
    if nas.type == "rclone":
        from exlab_orch.transports.rclone import rclone_marker  # noqa: PLC0415

        return rclone_marker(nas)
    if nas.type == "rsync_ssh":
        from exlab_orch.transports.rsync import rsync_marker  # noqa: PLC0415

        return rsync_marker(nas)
    from exlab_orch.transports import right_place  # noqa: PLC0415

    return right_place.existing_marker(nas, staging_root)


def mark(nas: AnyNas, staging_root: str) -> NasInit:
    """Write the marker file of a NAS, or adopt the one that is there; never replaces one.

    Raises:
        NasFault, ConfigInvalid: this place cannot be reached, or may not be marked.
    """
    if nas.type == "rclone":
        from exlab_orch.transports.rclone import mark_rclone  # noqa: PLC0415

        return mark_rclone(nas)
    if nas.type == "rsync_ssh":
        from exlab_orch.transports.rsync import mark_rsync  # noqa: PLC0415

        return mark_rsync(nas)
    from exlab_orch.transports import right_place  # noqa: PLC0415

    return right_place.mark(nas, staging_root)
