"""A NAS that is mounted: runs are made whole in a hidden sibling folder and appear by one rename."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from exlab_orch.clock import format_utc
from exlab_orch.config_nas import MountNas
from exlab_orch.errors import RENAME, NameUnsupported, NasCopyMissing, nas_errors
from exlab_orch.files.copy import Batch, Copied, copy_batch
from exlab_orch.files.delete import remove_empty_part, remove_own, remove_part_entries, remove_part_folder
from exlab_orch.files.hashing import OnBytes, read_back
from exlab_orch.files.moves import move
from exlab_orch.files.places import (
    Style,
    exists,
    is_folder,
    make_folder,
    make_folders,
    open_folder,
    open_subfolder,
    opened,
    read_small,
    status_of,
    sync_folder,
    sync_place,
)
from exlab_orch.files.walk import walk
from exlab_orch.files.whole import replace_own
from exlab_orch.groups import required_group
from exlab_orch.model import OUR_FOLDER, Identity, Listing, Place, StagedRun
from exlab_orch.pace import Pace, Throttle
from exlab_orch.space import Space, disk_space, require_reserve
from exlab_orch.state import StateDirectory, own_names, short_hash, temporary_names
from exlab_orch.text import printable
from exlab_orch.transports import Area, BatchSize, ReadBack
from exlab_orch.transports.marker import no_marker_id
from exlab_orch.transports.names import folded, like_name, part_name, refuse_names
from exlab_orch.transports.right_place import (
    probe_root,
    require_marker,
    require_mount_and_distance,
    require_not_seen_from_each_other,
)

_PROBE_AGAIN_SECONDS: Final = 5.0
_SMALL_LIMIT: Final = 512 << 20
_NAME_REFUSED: Final = frozenset(
    {
        errno.EINVAL,
        errno.ENAMETOOLONG,
        errno.EILSEQ,
        errno.EEXIST,
        errno.ENOENT,
        errno.EACCES,
        errno.EPERM,
        errno.EISDIR,
    }
)
_ODD: Final = re.compile(rb'[\x00-\x1f\x7f<>:"|?*\\]|[. ]$|^ |^(?i:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)')


class MountedNas:
    """The transport of ``type = "mount"``; see Transport for what each method promises."""

    def __init__(
        self, nas: MountNas, staging_root: str, state: StateDirectory, host: str, pace: Pace | None = None
    ) -> None:
        self._nas = nas
        self._staging_root = staging_root
        self._state = state
        self._host = host
        self._probed_at = -_PROBE_AGAIN_SECONDS
        self._style: Style | None = None
        is_limited = pace is not None and pace.sync.upload_mbps is not None
        self._throttle = Throttle(pace.limit) if pace is not None and is_limited else None

    in_place = False
    batches = BatchSize()

    @property
    def name(self) -> str:
        """See Transport."""
        return self._nas.name

    # -- the right place -------------------------------------------------------------------------------------

    def check(self) -> None:
        """See Transport. A child process looks first; what follows resolves path, mount and marker anew."""
        if not self._nas.marker_id:
            raise no_marker_id(self._nas)
        self._probe()
        require_mount_and_distance(self._nas, self._staging_root)
        require_marker(self._nas)
        require_not_seen_from_each_other(self._nas, self._staging_root)

    def _probe(self) -> None:
        """Have a child process look, unless one just did: a hung mount must hang that, and not us."""
        if time.monotonic() - self._probed_at >= _PROBE_AGAIN_SECONDS:
            probe_root(self._nas.root, self._state.probe_lock_path(self.name))
            self._probed_at = time.monotonic()

    def space(self) -> Space:
        """See Transport."""
        self._probe()
        with nas_errors("asking for free space"):
            return disk_space(self._nas.root)

    def require_space(self, byte_count: int) -> None:
        """See Transport."""
        require_reserve(self.space(), self._nas.reserve_percent, byte_count)

    def where(self, run_path: str) -> str:
        """See Transport."""
        return f"{self._nas.root}/{run_path}"

    def _place(self, run_path: str, area: Area) -> Place:
        published = Place(self._nas.root, run_path)
        return published if area == "published" else published.parent.below(part_name(published.name))

    def _made_style(self) -> Style:
        """Modes and group as configured, else as the NAS root shows them."""
        if self._style is None:
            with nas_errors("looking at its root"):
                self._style = style_of(self._nas, os.stat(self._nas.root))
        return self._style

    # -- looking ---------------------------------------------------------------------------------------------

    def listing(self, run_path: str, area: Area) -> Listing | None:
        """See Transport."""
        with nas_errors("listing the run there"):
            place = self._place(run_path, area)
            try:
                found = walk(place, own=own_names(self._state, self._host, run_path))
            except FileNotFoundError:
                return None
            _require_exact_path(place)
            return found

    def read_back(self, run_path: str, area: Area, names: Sequence[bytes], on_bytes: OnBytes) -> list[ReadBack]:
        """See Transport."""
        with nas_errors("opening the run there"):
            folder = open_folder(self._place(run_path, area))
        with opened(folder):
            return [_read_one(folder, name, on_bytes) for name in names]

    # -- names before bytes ----------------------------------------------------------------------------------

    def refuse_names(self, run_path: str, listing: Listing) -> None:
        """See Transport. Only names that some NAS is known to change are tried, as empty files in a hidden folder."""
        if self._nas.names is not None:
            refuse_names(run_path, listing, "windows" if self._nas.names == "strict" else "posix")
        with nas_errors("trying the names of the run"):
            on_the_way = _folders_there(self._place(run_path, "published"))
            missing = run_path.split("/")[len(on_the_way) - 1 :]
            groups = [[os.fsencode(name)] for name in missing if _is_odd(os.fsencode(name))]
            groups += odd_names((*listing.files, *listing.folders)).values()
            trials = [folder.below(part_name(f"names-{short_hash(run_path)}")) for folder in on_the_way]
            for trial in trials:
                remove_part_folder(trial)  # of a pass that was killed
            if not groups:
                return
            refused = [name for number, names in enumerate(groups) for name in self._try(trials[-1], number, names)]
            remove_part_folder(trials[-1])
        if refused:
            raise NameUnsupported(
                f"The NAS cannot hold {len(refused)} of the names as they are, for example {printable(refused[0])}.",
                hint=f"{RENAME} On SMB, characters like : ? and trailing dots are not allowed.",
                files=refused,
            )

    def _try(self, trial: Place, number: int, names: Sequence[bytes]) -> list[bytes]:
        place = trial.below(str(number))
        make_folders(place, self._made_style())
        with opened(open_folder(place)) as folder:
            refused = [name for name in names if not _can_make(folder, name.rpartition(b"/")[2])]
            kept = {os.fsencode(name) for name in os.listdir(folder)}
        return refused + [name for name in names if name not in refused and name.rpartition(b"/")[2] not in kept]

    # -- the hidden folder -----------------------------------------------------------------------------------

    def make_part(self, run_path: str, folders: Iterable[bytes], files: Iterable[bytes] = ()) -> None:
        """See Transport."""
        del files
        place = self._place(run_path, "part")
        with nas_errors("making the hidden folder"):
            make_folders(place, self._made_style())
            self._make_all(place, folders)

    def _make_all(self, place: Place, folders: Iterable[bytes]) -> None:
        with opened(open_folder(place)) as base:
            for name in sorted(folders):
                make_folder(base, name, self._made_style())

    def send(self, run: StagedRun, files: Sequence[tuple[bytes, Identity]], on_bytes: OnBytes) -> tuple[Copied, ...]:
        """See Transport."""
        batch = Batch(run.place, self._place(run.run_path, "part"), tuple(files), self._made_style())
        if self._throttle is None:
            return copy_batch(batch, on_bytes)
        return copy_batch(batch, partial(self._throttle.take, tell=on_bytes))

    def drop_part_entries(self, run_path: str, files: Iterable[bytes], folders: Iterable[bytes] = ()) -> None:
        """See Transport."""
        with nas_errors("removing files from the hidden folder"):
            remove_part_entries(self._place(run_path, "part"), files, folders)

    def drop_part(self, run_path: str) -> None:
        """See Transport."""
        with nas_errors("removing the hidden folder"):
            remove_part_folder(self._place(run_path, "part"))

    def drop_empty_part(self, run_path: str) -> None:
        """See Transport."""
        with nas_errors("removing the hidden folder"):
            remove_empty_part(self._place(run_path, "part"))

    # -- publishing ------------------------------------------------------------------------------------------

    def publish_run(self, run_path: str, listing: Listing) -> None:
        """See Transport. Folder times and fsync go deepest first, then the one rename."""
        part, published = self._place(run_path, "part"), self._place(run_path, "published")
        with nas_errors("publishing the run"):
            _settle_folders(part, listing.folders, listing.leaf)
            move(part.parent, part.name, published.parent, published.name)

    def publish_file(self, run_path: str, name: bytes) -> Identity:
        """See Transport."""
        parent, _, base = os.fsdecode(name).rpartition("/")
        part, published = self._place(run_path, "part"), self._place(run_path, "published")
        source, target = (part.below(parent), published.below(parent)) if parent else (part, published)
        with nas_errors("publishing a file"):
            move(source, base, target, base)
            stamp = status_of(target, base)
        if stamp is None:
            raise NasCopyMissing("A file was gone right after it was published.", files=[name])
        return stamp

    def make_published_folders(self, run_path: str, folders: Iterable[bytes]) -> None:
        """See Transport."""
        with nas_errors("making folders of the run"):
            self._make_all(self._place(run_path, "published"), folders)

    def supersede(self, run_path: str, name: bytes, moment: datetime) -> None:
        """See Transport."""
        published = self._place(run_path, "published")
        parent, _, base = os.fsdecode(name).rpartition("/")
        source = published.below(parent) if parent else published
        stamp = format_utc(moment).replace(":", "-")
        target = published.below(f"{OUR_FOLDER}/superseded/{stamp}" + (f"/{parent}" if parent else ""))
        with nas_errors("setting an earlier version aside"):
            if not is_folder(source) or status_of(source, base) is None:
                return
            make_folders(target, self._made_style())
            move(source, base, target, base)

    # -- our own small files ---------------------------------------------------------------------------------

    def read_small(self, run_path: str, area: Area, name: str) -> bytes | None:
        """See Transport."""
        with nas_errors(f"reading {name} there"):
            found = read_small(self._place(run_path, area).below(OUR_FOLDER), name, _SMALL_LIMIT)
        return None if found is None else found[0]

    def put_small(self, run_path: str, area: Area, name: str, content: bytes) -> None:
        """See Transport."""
        temporary = self._state.temporary_name(run_path, name)
        run = self._place(run_path, area)
        with nas_errors(f"writing {name} there"):
            with opened(open_folder(run)) as folder:  # the run folder itself is never made here
                make_folder(folder, OUR_FOLDER.encode(), self._made_style())
            replace_own(run.below(OUR_FOLDER), name, content, temporary=temporary, style=self._made_style())

    def discard_temporary(self, run_path: str) -> None:
        """See Transport."""
        with nas_errors("removing our temporary files there"):
            run = self._place(run_path, "published")
            if is_folder(run):
                remove_own(run, temporary_names(self._state, self._host, run_path))


def _require_exact_path(place: Place) -> None:
    """Raise NameUnsupported where the NAS found the folder under another spelling: two runs must not be merged."""
    while place.path:
        if place.name not in os.listdir(place.parent.absolute):
            raise like_name(place.path)
        place = place.parent


def _folders_there(run: Place) -> list[Place]:
    """The root and the folders above the run that the NAS has under exactly their names, from the top.

    Raises:
        NameUnsupported: it has one under a like name, which would hold this run too.
    """
    found, names = [Place(run.root, "")], run.path.split("/")
    for name in names:
        with opened(open_folder(found[-1])) as folder:
            is_there = name in os.listdir(folder)
        if not is_there and exists(found[-1], name):
            raise like_name(found[-1].below(name).path)
        if not is_there or len(found) == len(names):
            break
        found.append(found[-1].below(name))
    return found


def style_of(nas: MountNas, root: os.stat_result) -> Style:
    """Modes and group of what is made on the NAS: as configured, else following the NAS root.

    Raises:
        ConfigInvalid: the configured group does not exist here.
    """
    follows = stat.S_IMODE(root.st_mode) & 0o2777
    gid = root.st_gid if follows & stat.S_ISGID else None
    if nas.group is not None:
        gid = required_group(nas.group)
    return Style(
        dir_mode=follows if nas.dir_mode is None else nas.dir_mode,
        file_mode=follows & 0o666 if nas.file_mode is None else nas.file_mode,
        gid=gid,
        insist=any(setting is not None for setting in (nas.group, nas.dir_mode, nas.file_mode)),
    )


def odd_names(names: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """Names that some file system would change or merge, by folder: odd characters, and pairs alike but for case."""
    folders: defaultdict[bytes, dict[str, list[bytes]]] = defaultdict(lambda: defaultdict(list))
    for name in names:
        parent, _, base = name.rpartition(b"/")
        folders[parent][folded(base)].append(name)
    found: dict[bytes, list[bytes]] = {}
    for parent, alike in folders.items():
        odd = [
            name for group in alike.values() for name in group if len(group) > 1 or _is_odd(name.rpartition(b"/")[2])
        ]
        if odd:
            found[parent] = sorted(odd)
    return found


def _is_odd(base: bytes) -> bool:
    text = os.fsdecode(base)
    return bool(_ODD.search(base)) or not text.isascii()


def _can_make(folder: int, base: bytes) -> bool:
    try:
        os.close(
            os.open(base, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
        )
    except OSError as error:
        if error.errno not in _NAME_REFUSED:
            raise
        return False
    return True


def _read_one(folder: int, name: bytes, on_bytes: OnBytes) -> ReadBack:
    try:
        stamp, sha256 = read_back(folder, name, on_bytes)
    except FileNotFoundError:
        return ReadBack(name, None, None)
    return ReadBack(name, stamp, sha256)


def _settle_folders(part: Place, folders: Mapping[bytes, Identity], leaf: Identity | None) -> None:
    with opened(open_folder(part)) as base:
        for name in sorted(folders, key=lambda name: -name.count(b"/")):
            with opened(open_subfolder(base, name)) as folder:
                _set_time(folder, folders[name])
                sync_folder(folder)
        if leaf is not None:
            _set_time(base, leaf)
        sync_folder(base)
    sync_place(part.parent)


def _set_time(folder: int, identity: Identity) -> None:
    os.utime(folder, ns=(identity.mtime_ns, identity.mtime_ns))
