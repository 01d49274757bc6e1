"""A NAS that rclone reaches: the program moves the bytes, the listing, the comparison and the proof are ours."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from exlab_orch.clock import format_utc
from exlab_orch.config_nas import RcloneNas
from exlab_orch.errors import (
    ConfigInvalid,
    NasConflict,
    NasCopyMissing,
    NasWrongMarker,
    SyncFailed,
)
from exlab_orch.files.copy import Copied
from exlab_orch.files.hashing import OnBytes
from exlab_orch.model import OUR_FOLDER, Identity, Listing, StagedRun
from exlab_orch.pace import Pace, rclone_timetable
from exlab_orch.space import Space, require_reserve
from exlab_orch.state import StateDirectory, own_names, short_hash
from exlab_orch.text import printable
from exlab_orch.transports import Area, BatchSize, ReadBack
from exlab_orch.transports import rclone_commands as ask
from exlab_orch.transports import rclone_output as told
from exlab_orch.transports.marker import (
    MARKER,
    MARKER_LIMIT,
    NasInit,
    id_in,
    mark_through,
    no_marker_id,
    refuse_empty,
    require_marker_id,
)
from exlab_orch.transports.names import Kind, folders_above, part_name, refuse_names, refuse_other_spelling
from exlab_orch.transports.rclone_program import NotThere, RcloneProgram, understood
from exlab_orch.transports.right_place import refuse_marker_around, refuse_marker_inside
from exlab_orch.transports.sending import copied, hash_as_walked

_BATCH: Final = BatchSize(files=1000, byte_count=8 << 30, workers=1)
"""Every start of the program costs a connection; inside it, files go in parallel."""
_SMALL_BATCH: Final = BatchSize(files=200, byte_count=256 << 20, workers=1)


class RcloneRemote:
    """The transport of ``type = "rclone"``; see Transport for what each method promises.

    A file there has no inode and no change time that we are told: its stamp is size and time.
    """

    proof_by = "stream"
    """The bytes come back and are hashed here."""

    def __init__(self, nas: RcloneNas, staging_root: str, state: StateDirectory, host: str, pace: Pace) -> None:
        self._nas = nas
        self._staging_root = staging_root
        self._state = state
        self._host = host
        self._pace = pace
        self._root = ask.Remote(nas.remote, nas.path)
        self._rclone = RcloneProgram(nas)
        self._known: told.Features | None = None
        self._type = ""

    @property
    def name(self) -> str:
        """See Transport."""
        return self._nas.name

    @property
    def batches(self) -> BatchSize:
        """See Transport. Where names cannot be kept free, little time passes between the look and the upload."""
        return _SMALL_BATCH if self.in_place else _BATCH

    @property
    def in_place(self) -> bool:
        """See Transport."""
        return not self._features().can_rename

    def _features(self) -> told.Features:
        """What the remote can do, asked once."""
        if self._known is None:
            self._type = remote_type(self._rclone, self._nas)
            doing = "asking what the remote can do"
            output = self._rclone.run(ask.features(self._root), doing)
            self._known = understood(doing, lambda: told.features(output))
        return self._known

    # -- the right place -------------------------------------------------------------------------------------

    def check(self) -> None:
        """See Transport."""
        if not self._nas.marker_id:
            raise no_marker_id(self._nas)
        require_marker_id(self._nas, read_marker(self._rclone, self._root))
        refuse_marker_around(self._nas, self._staging_root)
        if self._known is None:
            refuse_marker_inside(self._nas, self._staging_root)

    def space(self) -> Space | None:
        """See Transport. A far side that does not tell its space is not asked."""
        if not self._features().tells_space:
            return None
        doing = "asking for free space"
        output = self._rclone.run(ask.space(self._root), doing)
        return understood(doing, lambda: told.space(output))

    def require_space(self, byte_count: int) -> None:
        """See Transport."""
        require_reserve(self.space(), self._nas.reserve_percent, byte_count)

    def where(self, run_path: str) -> str:
        """See Transport."""
        return self._root.below(run_path).address

    def _place(self, run_path: str, area: Area) -> ask.Remote:
        if area == "published":
            return self._root.below(run_path)
        parent, _, name = run_path.rpartition("/")
        return self._root.below(parent).hidden_folder(part_name(name))

    def _sent_to(self, run_path: str) -> ask.Remote:
        return self._place(run_path, "published" if self.in_place else "part")

    def _locks(self, run_path: str) -> tuple[int, ...]:
        held = self._state.held_lock(run_path)
        return () if held is None else (held,)

    # -- looking ---------------------------------------------------------------------------------------------

    def listing(self, run_path: str, area: Area) -> Listing | None:
        """See Transport."""
        doing = "listing the run there"
        place = self._place(run_path, area)
        found = self._entries(ask.listing(place, server_times=self._server_times()), doing)
        if found is None and self._names(place) is not None:
            raise SyncFailed("The run changed on the NAS while it was listed.", hint="It is tried again later.")
        if found is None or (not found and self.in_place):
            return None
        own = own_names(self._state, self._host, run_path)
        files = [one for one in found if not one.is_folder]
        names = {one.name for one in found}
        twice = {} if len(names) == len(found) else dict.fromkeys(_twice(found), "name that is there twice")
        return Listing(
            files={one.name: one.identity for one in files if one.name not in own and one.name not in twice},
            folders={one.name: one.identity for one in found if one.is_folder},
            own={one.name: one.identity for one in files if one.name in own},
            special=twice,
        )

    def _server_times(self) -> bool:
        return self._is_store()

    def _is_store(self) -> bool:
        """Whether it holds objects under keys, also through another remote that only wraps it."""
        return not self._features().can_rename or told.is_bucket(self._type)

    def _by_http(self) -> bool:
        self._features()
        return self._type == "webdav"

    def _entries(self, arguments: ask.Arguments, doing: str, given: bytes = b"") -> list[told.Entry] | None:
        reader = told.Entries()
        try:
            self._rclone.run(arguments, doing, given=given, on_output=reader.take, missing_is_an_answer=True)
        except NotThere:
            return None
        return understood(doing, reader.whole)

    def _status(self, at: ask.Remote) -> Identity | None:
        doing = "looking at a file there"
        try:
            output = self._rclone.run(
                ask.status(at, server_times=self._server_times()), doing, missing_is_an_answer=True
            )
        except NotThere:
            return None
        found = understood(doing, lambda: told.entry(output))
        return None if found.is_folder else found.identity  # in an object store every prefix is "there"

    def read_back(self, run_path: str, area: Area, names: Sequence[bytes], on_bytes: OnBytes) -> list[ReadBack]:
        """See Transport. The stamps are taken first: what changes after that has another one, or another hash."""
        place = self._place(run_path, area)
        return self._read(place, names, on_bytes)

    def _read(self, place: ask.Remote, names: Sequence[bytes], on_bytes: OnBytes) -> list[ReadBack]:
        wanted, doing = b"".join(name + b"\n" for name in names), "reading back files"
        arguments = ask.listing_of(place, server_times=self._server_times())
        found = self._entries(arguments, doing, wanted) or []
        stamps = {one.name: one.identity for one in found if not one.is_folder}
        there = b"".join(name + b"\n" for name in names if name in stamps)
        if not there:
            return [ReadBack(name, None, None) for name in names]
        read = told.hashes(self._rclone.run(ask.hashes(place), doing, given=there, on_bytes=on_bytes))
        unread = sorted(stamps.keys() - read.keys() & set(names))
        if unread:
            raise SyncFailed(f"rclone did not give back {printable(unread[0])}.", files=unread)
        return [ReadBack(name, stamps.get(name), read.get(name)) for name in names]

    # -- names before bytes ----------------------------------------------------------------------------------

    def refuse_names(self, run_path: str, listing: Listing) -> None:
        """See Transport."""
        root = len(os.fsencode(self._nas.path)) + 1
        refuse_names(run_path, listing, self._names_kind(), rewritten=True, root_bytes=root)
        if self._features().has_folders:
            self._refuse_like_folders(run_path)

    def _names_kind(self) -> Kind:
        features = self._features()
        if self._nas.names == "strict":
            return "windows"
        if self._is_store():
            return "s3"
        if told.is_posix(self._type) and not features.ignores_case:
            return "posix"
        if self._nas.names == "posix":
            raise ConfigInvalid(
                f'names = "posix" cannot hold for {self._nas.name}: rclone changes names on {self._type} remotes.',
                hint="Take the key names out of that NAS's table, or mount the NAS.",
            )
        return "windows"

    def _refuse_like_folders(self, run_path: str) -> None:
        """Raise NameUnsupported where a NAS that ignores case has a folder of the run's path in another spelling."""
        if self._features().ignores_case:
            refuse_other_spelling(run_path, self._names_in)

    def _names_in(self, folder: str) -> Sequence[str] | None:
        return self._names(self._root.below(folder) if folder else self._root)

    def _names(self, at: ask.Remote) -> list[str] | None:
        """What a folder of the far side holds, or None where it is not there."""
        doing = "looking at folders there"
        try:
            output = self._rclone.run(ask.names_in(at), doing, missing_is_an_answer=True)
        except NotThere:
            return None
        return understood(doing, lambda: told.names(output))

    # -- the hidden folder -----------------------------------------------------------------------------------

    def make_part(self, run_path: str, folders: Iterable[bytes], files: Iterable[bytes] = ()) -> None:
        """See Transport. Folders of files come with the files."""
        if self._features().has_folders:
            self._make_folders(self._sent_to(run_path), run_path, folders, files)

    def _make_folders(self, base: ask.Remote, run_path: str, folders: Iterable[bytes], files: Iterable[bytes]) -> None:
        for name in childless({OUR_FOLDER.encode(), *folders}, files):
            arguments = ask.make_folder(base.below(os.fsdecode(name)))
            self._rclone.run(arguments, "making a folder of the run", locks=self._locks(run_path))

    def send(self, run: StagedRun, files: Sequence[tuple[bytes, Identity]], on_bytes: OnBytes) -> tuple[Copied, ...]:
        """See Transport. The staged files are hashed here first: what rclone read is judged by what comes back."""
        staged = {name: hash_as_walked(run, name, identity, on_bytes) for name, identity in files}
        given = b"".join(name + b"\n" for name, _ in files)
        place = self._sent_to(run.run_path)
        if self.in_place:
            self._refuse_taken(place, given)
        self._rclone.run(
            ask.upload(run.folder, place, rclone_timetable(self._pace.sync, self._pace.share())),
            "copying the run",
            given=given,
            on_bytes=on_bytes,
            locks=self._locks(run.run_path),
        )
        read = {one.name: one for one in self._read(place, [*staged], lambda _: on_bytes(0))}
        return tuple(copied(name, identity, staged[name], read[name]) for name, identity in files)

    def _refuse_taken(self, place: ask.Remote, given: bytes) -> None:
        """An object store has no way to say "only if there is none": so it is asked right before."""
        arguments = ask.listing_of(place, server_times=True)
        found = self._entries(arguments, "looking for free names", given) or []
        taken = [one.name for one in found if not one.is_folder]
        if taken:
            raise NasConflict(
                f"{printable(taken[0])} appeared on the NAS while the run was copied; it was not overwritten.",
                hint="Look who put it there. The next attempt compares what it holds.",
                files=taken,
            )

    def drop_part_entries(self, run_path: str, files: Iterable[bytes], folders: Iterable[bytes] = ()) -> None:
        """See Transport."""
        part = self._place(run_path, "part")
        for name in files:
            self._remove(ask.delete_file(part.below(os.fsdecode(name))), run_path)
        for name in sorted(folders, key=lambda name: -name.count(b"/")):
            self._remove(ask.remove_folder(part.below(os.fsdecode(name))), run_path)

    def _remove(self, arguments: ask.Arguments, run_path: str) -> None:
        doing, locks = "clearing our hidden folder", self._locks(run_path)
        try:
            self._rclone.run(arguments, doing, locks=locks, missing_is_an_answer=True)
        except NotThere:
            return

    def drop_part(self, run_path: str) -> None:
        """See Transport."""
        if not self.in_place:
            self._drop_hidden(self._place(run_path, "part"), run_path)

    def drop_empty_part(self, run_path: str) -> None:
        """See Transport. rclone itself removes no folder that is not empty."""
        hidden = self._place(run_path, "part")
        if not self.in_place and not self._names(hidden):
            self._remove(ask.remove_folder(hidden), run_path)

    def _drop_hidden(self, hidden: ask.Remote, run_path: str) -> None:
        found = self._entries(ask.listing(hidden, server_times=False), "looking at our hidden folder")
        if found is None:
            return
        for one in sorted(found, key=lambda one: (one.is_folder, -one.name.count(b"/"))):
            at = hidden.below(os.fsdecode(one.name))
            self._remove(ask.remove_folder(at) if one.is_folder else ask.delete_file(at), run_path)
        self._remove(ask.remove_folder(hidden), run_path)

    # -- publishing ------------------------------------------------------------------------------------------

    def publish_run(self, run_path: str, listing: Listing) -> None:
        """See Transport. Folders get the time at which they were made: rclone sets none by itself."""
        del listing
        source, target = self._place(run_path, "part"), self._place(run_path, "published")
        if self._names(target) is not None:
            raise NasConflict(
                "A folder of the run's name appeared on the NAS while the run was copied.",
                hint="Nothing was overwritten. The next attempt compares what it holds.",
            )
        arguments = ask.publish(source, target, by_http=self._by_http())
        self._rclone.run(arguments, "publishing the run", locks=self._locks(run_path))
        if self._names(source):
            raise SyncFailed("Not all of the run was published; the next attempt goes on.")

    def publish_file(self, run_path: str, name: bytes) -> Identity:
        """See Transport."""
        text = os.fsdecode(name)
        source, target = self._place(run_path, "part").below(text), self._place(run_path, "published").below(text)
        arguments = ask.publish(source, target, by_http=self._by_http())
        self._rclone.run(arguments, "publishing a file", locks=self._locks(run_path))
        if self._status(source) is not None:
            raise NasConflict(
                f"{printable(name)} appeared on the NAS while it was copied; it was not overwritten.", files=[name]
            )
        stamp = self._status(target)
        if stamp is None:
            raise NasCopyMissing("A file was gone right after it was published.", files=[name])
        return stamp

    def make_published_folders(self, run_path: str, folders: Iterable[bytes]) -> None:
        """See Transport."""
        if not self._features().has_folders:
            return
        found = self.listing(run_path, "published")
        there = set() if found is None else {*found.folders}
        self._make_folders(self._place(run_path, "published"), run_path, {*folders} - there, ())

    def supersede(self, run_path: str, name: bytes, moment: datetime) -> None:
        """See Transport."""
        published, text = self._place(run_path, "published"), os.fsdecode(name)
        source = published.below(text)
        target = published.below(f"{OUR_FOLDER}/superseded/{format_utc(moment).replace(':', '-')}/{text}")
        if self._status(source) is None:
            return
        arguments = ask.set_aside(source, target, by_http=self._by_http())
        self._rclone.run(arguments, "setting an earlier version aside", locks=self._locks(run_path))
        if self._status(target) is None or self._status(source) is not None:
            raise SyncFailed(f"{printable(name)} could not be set aside on the NAS.", files=[name])

    # -- our own small files ---------------------------------------------------------------------------------

    def read_small(self, run_path: str, area: Area, name: str) -> bytes | None:
        """See Transport."""
        return read_file(
            self._rclone, self._place(run_path, area).below(f"{OUR_FOLDER}/{name}"), f"reading {name} there"
        )

    def put_small(self, run_path: str, area: Area, name: str, content: bytes) -> None:
        """See Transport. Where the NAS can rename, it is written beside the run and moved over the former one."""
        target, doing = self._place(run_path, area).below(f"{OUR_FOLDER}/{name}"), f"writing {name} there"
        locks = self._locks(run_path)
        if self.in_place or area == "part":
            self._rclone.run(ask.write(target), doing, given=content, locks=locks)
        else:
            self._replace_own(run_path, target, name, content)
        if self.read_small(run_path, area, name) != content:
            raise SyncFailed(f"{name} is not on the NAS as it was written.", hint="It is tried again later.")

    def _replace_own(self, run_path: str, target: ask.Remote, name: str, content: bytes) -> None:
        doing, locks = f"writing {name} there", self._locks(run_path)
        hidden = self._hidden_own(run_path)
        self._rclone.run(ask.write(hidden.below(name)), doing, given=content, locks=locks)
        self._rclone.run(ask.replace_own(hidden.below(name), target, name), doing, locks=locks)
        self._remove(ask.remove_folder(hidden), run_path)

    def _hidden_own(self, run_path: str) -> ask.Remote:
        return self._root.below(run_path.rpartition("/")[0]).hidden_folder(part_name(f"own-{short_hash(run_path)}"))

    def discard_temporary(self, run_path: str) -> None:
        """See Transport."""
        if not self.in_place:
            self._drop_hidden(self._hidden_own(run_path), run_path)


def _twice(found: Sequence[told.Entry]) -> set[bytes]:
    """Names that more than one entry has: some clouds allow that."""
    seen: set[bytes] = set()
    return {one.name for one in found if one.name in seen or seen.add(one.name)}  # type: ignore[func-returns-value]


def childless(folders: Iterable[bytes], files: Iterable[bytes]) -> list[bytes]:
    """The folders that hold neither another one of them nor a file: the others come with what is in them."""
    wanted, parents = set(folders), set[bytes]()
    for name in (*wanted, *files):
        parents.update(folders_above(name))
    return sorted(wanted - parents)


# -- the marker ----------------------------------------------------------------------------------------------


def remote_type(rclone: RcloneProgram, nas: RcloneNas) -> str:
    """The type of the remote in rclone's configuration.

    Raises:
        ConfigInvalid: there is no such remote.
    """
    kind = told.kind_of(rclone.run(ask.kinds(), "looking at rclone's configuration"), nas.remote)
    if kind is None:
        raise ConfigInvalid(
            f"rclone's configuration has no remote {nas.remote}.",
            hint="Make it with 'rclone config' as the service user, or correct remote and config of that NAS.",
        )
    return kind


def read_marker(rclone: RcloneProgram, root: ask.Remote) -> str | None:
    """The id in the marker file, or None where there is none."""
    found = read_file(rclone, root.below(MARKER), "reading its marker")
    return None if found is None else id_in(found)


def read_file(rclone: RcloneProgram, at: ask.Remote, doing: str) -> bytes | None:
    """The content of a small file, or None where there is none, or none with content.

    An object store answers nothing at all, without an error, for a key that does not exist.
    """
    try:
        return rclone.run(ask.read(at), doing, missing_is_an_answer=True) or None
    except NotThere:
        return None


def rclone_marker(nas: RcloneNas) -> str | None:
    """See ``transports.existing_marker``. The root is never made: a mistyped one must not become a NAS."""
    rclone, root, doing = RcloneProgram(nas), ask.Remote(nas.remote, nas.path), "looking at its root"
    remote_type(rclone, nas)
    found = read_marker(rclone, root)
    if found is not None:
        _require_small_file(rclone, nas, root.below(MARKER))
        return refuse_empty(nas, found)
    try:
        output = rclone.run(ask.names_in(root), doing, missing_is_an_answer=True)
    except NotThere as error:
        raise NasWrongMarker(
            f"There is no {nas.name}.", hint="Make that folder or bucket on the NAS, or correct remote and path."
        ) from error
    return refuse_empty(nas, "" if MARKER in understood(doing, lambda: told.names(output)) else None)


def _require_small_file(rclone: RcloneProgram, nas: RcloneNas, at: ask.Remote) -> None:
    """rclone reads a folder as the content of all its files."""
    doing = "looking at its marker"
    output = rclone.run(ask.status(at, server_times=False), doing)
    entry = understood(doing, lambda: told.entry(output))
    if entry.is_folder or entry.identity.size > MARKER_LIMIT:
        raise NasWrongMarker(f"The marker {nas.name}/{MARKER} is not a small plain file.")


def mark_rclone(nas: RcloneNas) -> NasInit:
    """See ``transports.mark``."""
    rclone, root = RcloneProgram(nas), ask.Remote(nas.remote, nas.path)

    def write(content: bytes) -> None:
        rclone.run(ask.write(root.below(MARKER)), "writing its marker", given=content)

    return mark_through(nas, rclone_marker(nas), write, lambda: read_marker(rclone, root))
