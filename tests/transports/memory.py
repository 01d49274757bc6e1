"""A NAS in memory: keeps the promises of Transport without a disk, so that the promises are seen to be just these."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count

from exlab_orch.clock import format_utc
from exlab_orch.errors import NameUnsupported, NasFault, NasFull, SyncFailed, staging_errors
from exlab_orch.files.copy import Copied
from exlab_orch.files.hashing import OnBytes, changed, open_settled, require_unchanged
from exlab_orch.files.places import open_folder, opened, read_exactly
from exlab_orch.model import CHECKSUMS_NAME, OUR_FOLDER, RECORD_NAME, Identity, Listing, StagedRun, log_name
from exlab_orch.space import Space
from exlab_orch.transports import Area, BatchSize, ReadBack

_HOST = "lab-pc"
_OWN = frozenset(f"{OUR_FOLDER}/{name}".encode() for name in (RECORD_NAME, CHECKSUMS_NAME, log_name(_HOST)))


_NO_TIME = Identity(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class MemoryFile:
    """One file: its bytes and what a stat would say."""

    content: bytes
    identity: Identity

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass(slots=True)
class MemoryFolder:
    """The tree of one run, by relative names."""

    files: dict[bytes, MemoryFile] = field(default_factory=dict)
    folders: dict[bytes, Identity] = field(default_factory=dict)
    leaf: Identity = _NO_TIME


class MemoryNas:
    """See Transport. ``fault`` makes it go away; ``refused`` are names that it cannot hold.

    With ``in_place`` it cannot rename, as object stores cannot: files go to their final names at once.
    """

    name = "memory"
    batches = BatchSize()

    def __init__(self, free_bytes: int = 1 << 40, *, in_place: bool = False) -> None:
        self.in_place = in_place
        self.fault: NasFault | None = None
        self.refused: frozenset[bytes] = frozenset()
        self.areas: dict[tuple[str, Area], MemoryFolder] = {}
        self._free_bytes = free_bytes
        self._numbers = count(1)

    @property
    def _sent_to(self) -> Area:
        return "published" if self.in_place else "part"

    def _identity(self, size: int, mtime_ns: int) -> Identity:
        number = next(self._numbers)
        return Identity(number, size, mtime_ns, number)

    def _folder(self, run_path: str, area: Area) -> MemoryFolder:
        found = self.areas.get((run_path, area))
        if found is None:
            raise SyncFailed(f"There is no {area} folder.")
        return found

    def file(self, content: bytes, mtime_ns: int = 0) -> MemoryFile:
        """A new file, as somebody else might write it."""
        return MemoryFile(content, self._identity(len(content), mtime_ns))

    def somebody_writes(self, run_path: str, name: bytes, content: bytes) -> None:
        """Somebody else writes a file into a published run, and makes its folders."""
        run = self.areas.setdefault((run_path, "published"), MemoryFolder(leaf=self._identity(0, 0)))
        run.files[name] = self.file(content, mtime_ns=next(self._numbers))

    # -- Transport -------------------------------------------------------------------------------------------

    def check(self) -> None:
        if self.fault is not None:
            raise self.fault

    def space(self) -> Space | None:
        return Space(1 << 41, self._free_bytes)

    def require_space(self, byte_count: int) -> None:
        if byte_count > self._free_bytes:
            raise NasFull("It is full.")

    def where(self, run_path: str) -> str:
        return f"memory:/{run_path}"

    def listing(self, run_path: str, area: Area) -> Listing | None:
        found = self.areas.get((run_path, area))
        if found is None:
            return None
        identities = {name: one.identity for name, one in found.files.items()}
        return Listing(
            files={name: identity for name, identity in identities.items() if name not in _OWN},
            folders=dict(found.folders),
            own={name: identity for name, identity in identities.items() if name in _OWN},
            leaf=found.leaf,
        )

    def refuse_names(self, run_path: str, listing: Listing) -> None:
        refused = sorted(self.refused & {*listing.files, *listing.folders})
        if refused:
            raise NameUnsupported("It cannot hold them.", files=refused)

    def make_part(self, run_path: str, folders: Iterable[bytes], files: Iterable[bytes] = ()) -> None:
        del files
        self.areas.setdefault((run_path, self._sent_to), MemoryFolder(leaf=self._identity(0, 0)))
        self._make(run_path, self._sent_to, folders)

    def _make(self, run_path: str, area: Area, folders: Iterable[bytes]) -> None:
        found = self._folder(run_path, area)
        for name in folders:
            if name in found.files:
                raise SyncFailed("A file is in its place.")
            found.folders.setdefault(name, self._identity(0, 0))

    def send(self, run: StagedRun, files: Sequence[tuple[bytes, Identity]], on_bytes: OnBytes) -> tuple[Copied, ...]:
        part = self._folder(run.run_path, self._sent_to)
        return tuple(self._send(run, part, name, identity, on_bytes) for name, identity in files)

    def _send(self, run: StagedRun, part: MemoryFolder, name: bytes, identity: Identity, on_bytes: OnBytes) -> Copied:
        content = _staged(run, name, identity)
        parent = name.rpartition(b"/")[0]
        if name in part.files or (parent and parent not in part.folders):
            raise SyncFailed("The name is taken, or its folder is missing.")
        on_bytes(len(content))
        part.files[name] = self.file(content, identity.mtime_ns)
        written = part.files[name]
        return Copied(name, identity, hashlib.sha256(content).hexdigest(), written.identity, written.sha256)

    def read_back(self, run_path: str, area: Area, names: Sequence[bytes], on_bytes: OnBytes) -> list[ReadBack]:
        files = self._folder(run_path, area).files
        for name in names:
            on_bytes(len(files[name].content) if name in files else 0)
        return [
            ReadBack(name, files[name].identity, files[name].sha256) if name in files else ReadBack(name, None, None)
            for name in names
        ]

    def publish_run(self, run_path: str, listing: Listing) -> None:
        part = self._folder(run_path, "part")
        if (run_path, "published") in self.areas:
            raise SyncFailed("The name is taken.")
        for name, identity in listing.folders.items():
            part.folders[name] = replace(part.folders[name], mtime_ns=identity.mtime_ns)
        if listing.leaf is not None:
            part.leaf = replace(part.leaf, mtime_ns=listing.leaf.mtime_ns)
        self.areas[run_path, "published"] = self.areas.pop((run_path, "part"))

    def publish_file(self, run_path: str, name: bytes) -> Identity:
        part, published = self._folder(run_path, "part"), self._folder(run_path, "published")
        if name not in part.files or name in published.files or name in published.folders:
            raise SyncFailed("It is missing, or the name is taken.")
        published.files[name] = part.files.pop(name)
        return published.files[name].identity

    def make_published_folders(self, run_path: str, folders: Iterable[bytes]) -> None:
        self._make(run_path, "published", folders)

    def supersede(self, run_path: str, name: bytes, moment: datetime) -> None:
        published = self.areas.get((run_path, "published"))
        if published is None or name not in published.files:
            return
        stamp = format_utc(moment).replace(":", "-")
        target = f"{OUR_FOLDER}/superseded/{stamp}/".encode() + name
        if target in published.files:
            raise SyncFailed("The name is taken.")
        published.files[target] = published.files.pop(name)

    def read_small(self, run_path: str, area: Area, name: str) -> bytes | None:
        folder = self.areas.get((run_path, area))
        found = None if folder is None else folder.files.get(f"{OUR_FOLDER}/{name}".encode())
        return None if found is None else found.content

    def put_small(self, run_path: str, area: Area, name: str, content: bytes) -> None:
        self._make(run_path, area, [OUR_FOLDER.encode()])
        self._folder(run_path, area).files[f"{OUR_FOLDER}/{name}".encode()] = self.file(content)

    def discard_temporary(self, run_path: str) -> None:
        """Nothing is ever left half-written here."""

    def drop_part_entries(self, run_path: str, files: Iterable[bytes], folders: Iterable[bytes] = ()) -> None:
        part = self._folder(run_path, "part")
        for name in files:
            part.files.pop(name, None)
        for name in sorted(folders, key=lambda name: -name.count(b"/")):
            if not any(other.startswith(name + b"/") for other in (*part.files, *part.folders)):
                part.folders.pop(name, None)

    def drop_part(self, run_path: str) -> None:
        self.areas.pop((run_path, "part"), None)

    def drop_empty_part(self, run_path: str) -> None:
        found = self.areas.get((run_path, "part"))
        if found is not None and not found.files and not found.folders:
            del self.areas[run_path, "part"]


def _staged(run: StagedRun, name: bytes, identity: Identity) -> bytes:
    """The content of a staged file that is still the one that was walked."""
    with staging_errors("reading a staged file"), opened(open_folder(run.place)) as folder:
        descriptor, found = open_settled(folder, name)
        with opened(descriptor):
            if found != identity:
                raise changed(name)
            content = read_exactly(descriptor, identity.size)
            require_unchanged(folder, name, descriptor, identity)
    return content
