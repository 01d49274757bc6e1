"""The words of the house as values: states, records, runs, listings, identities, and the proof a delete needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict, model_validator

from exlab_orch.clock import parse_utc

SCHEMA_VERSION: Final = "1.1"
OUR_FOLDER: Final = ".exlab-wizard"
RECORD_NAME: Final = "ingest.json"
CREATION_NAME: Final = "creation.json"
CHECKSUMS_NAME: Final = "checksums.sha256"
CHECKSUMS_PATH: Final = f"{OUR_FOLDER}/{CHECKSUMS_NAME}"


def log_name(host: str) -> str:
    """The name of a computer's log in a run's ``.exlab-wizard``."""
    return f"wizard.{host}.log"


class IngestState(StrEnum):
    """The five states of a run (lifecycle.md, 2)."""

    STAGING = "staging"
    COMPLETE = "complete"
    SYNC_QUEUED = "sync_queued"
    SYNC_VERIFIED = "sync_verified"
    CLEARED = "cleared"


SHOWN_AS: Final = {
    "staging": "arriving",
    "complete": "received",
    "sync_queued": "waiting to copy",
    "sync_verified": "on NAS, checked",
    "cleared": "staged copy deleted",
}
"""lifecycle.md, 2, "shown as"."""


class HistoryEntry(BaseModel):
    """One transition as ``ingest.json`` holds it; fields we do not know are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    state: IngestState
    at: str
    host: str = ""

    @property
    def moment(self) -> datetime | None:
        """When it happened, aware and in UTC, or None where ``at`` cannot be understood."""
        return parse_utc(self.at)

    def extra(self, name: str) -> object:
        """The value of a further field, or None."""
        return (self.__pydantic_extra__ or {}).get(name)

    def text(self, name: str) -> str | None:
        """The value of a further field where it is text, or None."""
        value = self.extra(name)
        return value if isinstance(value, str) else None

    def as_json(self) -> dict[str, object]:
        """The entry as it stands in the file."""
        return self.model_dump(mode="json")


class Ingest(BaseModel):
    """The lifecycle record of a run, schema 1.1; fields we do not know are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    schema_version: str = SCHEMA_VERSION
    project_name: str
    equipment_id: str
    run_kind: str
    run_path: str
    transport: str = "smb_mount"
    current_state: IngestState
    history: tuple[HistoryEntry, ...]
    seal: str | None = None

    @model_validator(mode="after")
    def _current_is_last(self) -> Ingest:
        if self.history and self.history[-1].state is not self.current_state:
            raise ValueError("current_state differs from the last history entry")
        if not self.history and self.current_state is not IngestState.STAGING:
            raise ValueError("a record without history can only be in staging")
        return self

    def as_json(self) -> dict[str, object]:
        """The record as it stands in the file."""
        return self.model_dump(mode="json", exclude_none=False)

    def history_json(self) -> list[dict[str, object]]:
        """The history as it stands in the file."""
        return [entry.as_json() for entry in self.history]

    def starts_with(self, other: Ingest) -> bool:
        """Whether the other record's history is a prefix of this one's (equal counts)."""
        return self.history_json()[: len(other.history)] == other.history_json()

    def last(self, state: IngestState) -> HistoryEntry | None:
        """The newest history entry in that state, or None."""
        return next((entry for entry in reversed(self.history) if entry.state is state), None)


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells a file from another one without reading it. No device number: a reboot may change it."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    def same_bytes(self, other: Identity | None) -> bool:
        """Whether size and time agree: all that a NAS which renumbers its files lets us compare without reading."""
        return other is not None and (self.size, self.mtime_ns) == (other.size, other.mtime_ns)


@dataclass(frozen=True, slots=True)
class LeafIdentity:
    """What tells a run folder from another one under the same name; ``birth_ns`` where the file system has it."""

    inode: int
    birth_ns: int | None

    def text(self) -> str:
        """A short stable text for records and the journal."""
        return f"{self.inode}:{'' if self.birth_ns is None else self.birth_ns}"


@dataclass(frozen=True, slots=True)
class Place:
    """A folder below one of the roots; it is opened without following any link or crossing any mount."""

    root: str
    """Absolute path of the staging root, the NAS root or the state directory."""
    path: str
    """Relative to the root, forward slashes; "" is the root itself. Undecodable bytes as surrogates."""

    @property
    def absolute(self) -> str:
        return f"{self.root}/{self.path}" if self.path else self.root

    def below(self, name: str) -> Place:
        """The folder of that relative name inside this one."""
        return Place(self.root, f"{self.path}/{name}" if self.path else name)

    @property
    def parent(self) -> Place:
        return Place(self.root, self.path.rpartition("/")[0])

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class NasPlace:
    """Where a run is on which NAS."""

    path: str
    marker: str | None
    """The id of the marker of that NAS; None where it is not known."""

    def may_be(self, other: NasPlace) -> bool:
        """Whether both are one place, as far as is known."""
        return self.path == other.path and (None in (self.marker, other.marker) or self.marker == other.marker)


def proof_place(proof: HistoryEntry | None) -> NasPlace:
    """Where a run was proved, as the entry of its proof says; nowhere without one."""
    if proof is None:
        return NasPlace("", None)
    return NasPlace(proof.text("nas_path") or "", proof.text("nas_marker"))


@dataclass(frozen=True, slots=True)
class StagedRun:
    """A run leaf below the staging root: where it is and what its path says about it."""

    run_path: str
    """Relative to the staging root, forward slashes; the key of a run everywhere."""
    place: Place
    """Where the leaf is now; in the trash that is another place than ``run_path`` says."""

    @property
    def folder(self) -> str:
        return self.place.absolute

    @property
    def equipment_id(self) -> str:
        return self.run_path.split("/", 1)[0]

    @property
    def project(self) -> str:
        return self.run_path.split("/")[1]

    @property
    def name(self) -> str:
        return self.run_path.rsplit("/", 1)[1]

    @property
    def run_kind(self) -> str:
        return "test" if self.run_path.split("/")[2] == "TestRuns" else "experimental"


@dataclass(frozen=True, slots=True)
class Listing:
    """One walk of a run: everything below the leaf by name (bytes, relative, forward slashes).

    ``files`` are the data files; ``own`` are our own files in ``.exlab-wizard``, which are never data.
    """

    files: Mapping[bytes, Identity]
    folders: Mapping[bytes, Identity]
    own: Mapping[bytes, Identity] = field(default_factory=dict)
    special: Mapping[bytes, str] = field(default_factory=dict)
    """Name and kind ("link", "fifo", "socket", "device", "mount") of what is neither file nor folder."""
    leaf: Identity | None = None

    @property
    def byte_total(self) -> int:
        return sum(identity.size for identity in self.files.values())

    def data_sizes(self) -> list[int]:
        """Sizes of the files outside ``.exlab-wizard``: what people see as the run's data."""
        ours = OUR_FOLDER.encode() + b"/"
        return [identity.size for name, identity in self.files.items() if not name.startswith(ours)]

    def newest_ctime_ns(self) -> int | None:
        """The newest change of data files and subfolders; the leaf and ``.exlab-wizard`` do not count."""
        ours = OUR_FOLDER.encode()
        stamps = [identity.ctime_ns for identity in self.files.values()]
        stamps += [identity.ctime_ns for name, identity in self.folders.items() if name != ours]
        return max(stamps, default=None)

    def same_entries(self, other: Listing) -> bool:
        """Whether both walks saw the same data: names, identities, folders and special entries."""
        return (
            self.files == other.files
            and self.folders.keys() == other.folders.keys()
            and self.special.keys() == other.special.keys()
        )


@dataclass(frozen=True, slots=True)
class FileProof:
    """One staged file and its copy: which staged bytes were hashed, and what was read back from the NAS."""

    identity: Identity
    sha256: str
    stamp: Identity
    """The identity of the file on the NAS when it was read back."""


@dataclass(frozen=True, slots=True)
class ClearProof:
    """The right to delete the staged copy of one run: ``proof.prove`` alone makes one (reliability.md, 1).

    It lists every staged file with the identity it had when its hash was compared with the NAS.
    """

    run_path: str
    leaf: LeafIdentity
    files: Mapping[bytes, FileProof]

    def __iter__(self) -> Iterator[bytes]:
        return iter(sorted(self.files))

    @property
    def byte_total(self) -> int:
        return sum(proof.identity.size for proof in self.files.values())


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that needs a person, as ``list``, ``show`` and JSON print it."""

    subject: str
    """The run path, the stray's path, ``nas:<name>``, or ``staging:<root>`` for the staging disk."""
    code: str
    message: str
    since: datetime
    hint: str = ""
    files: tuple[bytes, ...] = ()
    """The names it is about, relative to the run folder; kept by the journal, and read for one run only."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a run does not go ahead now. ``code`` is set where it is a problem and not just waiting."""

    text: str
    code: str | None = None
    until: datetime | None = None
    """When it may be over by itself, or None where only an event ends it."""
    watch: tuple[bytes, ...] = ()
    """Files whose change may end it."""
    unseen: bool = False
    """Nothing in the run's folder tells when it is over."""
