"""What rclone is asked to do, as argument lists.

Only these verbs are ever used. Nothing is deleted outside our hidden folder. A move has both ends on the remote: out of
our hidden folder to a name that is free, over a former file of our own, or from a published name into ``superseded``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from exlab_orch.files.delete import PART_PREFIX
from exlab_orch.model import OUR_FOLDER

VERBS: Final = frozenset(
    "about backend cat copy deletefile hashsum listremotes lsjson mkdir moveto rcat rmdir version".split()  # noqa: SIM905
)
_LOG: Final = ("--use-json-log", "--log-level=NOTICE", "--stats=1s", "--stats-log-level=NOTICE")
_PATIENCE: Final = ("--retries=1", "--low-level-retries=1", "--contimeout=15s", "--timeout=60s")
"""Retrying spans passes and lives in the journal; only a long copy forgives its connection a little."""
_NAMES_ON_INPUT: Final = "--files-from-raw=-"
_UNCHANGED: Final = ("--no-unicode-normalization",)
_NO_REPLACING: Final = ("--ignore-existing",)
"""What stands at the target stays, and so does the source. ``--immutable`` does not keep ``moveto`` from replacing."""
_NO_OWN_HASHES: Final = ("--s3-disable-checksum",)
"""Else rclone reads a large file whole before it sends the first byte of it, which looks as if it hung."""
_NEVER_OVER: Final = ("--header", "Overwrite: F")
"""A WebDAV server replaces what stands at the target of a move, a folder too, unless it is told not to."""

Arguments = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Remote:
    """A folder or file on a remote of rclone's configuration."""

    remote: str
    path: str
    hidden: str | None = None
    """The path of our hidden folder that this is, or is in; ``hidden_folder`` alone sets it."""

    @property
    def address(self) -> str:
        """As rclone writes it; it never begins with a dash."""
        return f"{self.remote}:{self.path}"

    def below(self, name: str) -> Remote:
        """The entry of that relative name inside this folder."""
        return Remote(self.remote, f"{self.path.rstrip('/')}/{name}" if self.path else name, self.hidden)

    def hidden_folder(self, name: str) -> Remote:
        """Our hidden folder of that name inside this folder. Raises ValueError where the name is not one of ours."""
        if not name.startswith(PART_PREFIX) or "/" in name:
            raise ValueError(f"not a name of a hidden folder: {name}")
        path = self.below(name).path
        return Remote(self.remote, path, path)

    @property
    def is_hidden(self) -> bool:
        """Whether it is our hidden folder, or in it; data may have names that only look like it."""
        return self.hidden is not None

    @property
    def is_set_aside(self) -> bool:
        """Whether it is where earlier versions of a run are kept."""
        return f"/{OUR_FOLDER}/superseded/" in self.path and not self.is_hidden


def upload(staged: str, to: Remote, limit: str | None = None) -> Arguments:
    """Copy the files named on standard input; what stands there already under one of the names is not replaced.

    ``limit`` is a bandwidth or a timetable of bandwidths, as rclone writes them.
    """
    guards = ("--checksum", "--immutable", "--skip-links", "--one-file-system", *_UNCHANGED, *_NO_OWN_HASHES)
    pace = () if limit is None else ("--bwlimit", limit)
    return ("copy", staged, to.address, _NAMES_ON_INPUT, *guards, *pace, *_LOG, *_PATIENCE, "--low-level-retries=5")


def listing(at: Remote, *, server_times: bool) -> Arguments:
    """Everything below a folder."""
    return ("lsjson", at.address, "--recursive", *_look(server_times), *_LOG, *_PATIENCE)


def listing_of(at: Remote, *, server_times: bool) -> Arguments:
    """The files below a folder that are named on standard input."""
    return ("lsjson", at.address, "--recursive", _NAMES_ON_INPUT, *_look(server_times), *_LOG, *_PATIENCE)


def names_in(at: Remote) -> Arguments:
    """What one folder holds, not what is below that."""
    return ("lsjson", at.address, *_look(server_times=False), "--no-modtime", *_LOG, *_PATIENCE)


def status(at: Remote, *, server_times: bool) -> Arguments:
    """One entry."""
    return ("lsjson", at.address, "--stat", *_look(server_times), *_LOG, *_PATIENCE)


def _look(server_times: bool) -> Arguments:
    """An object store's own time tells when an object was written, and needs no request for each of them."""
    return (*_UNCHANGED, "--no-mimetype", *(("--use-server-modtime",) if server_times else ()))


def hashes(at: Remote) -> Arguments:
    """SHA-256 of the files named on standard input, from their bytes, which come back through the wire."""
    return ("hashsum", "sha256", at.address, "--download", _NAMES_ON_INPUT, *_UNCHANGED, *_LOG, *_PATIENCE)


def read(at: Remote) -> Arguments:
    """The content of one file."""
    return ("cat", at.address, *_LOG, *_PATIENCE)


def write(at: Remote) -> Arguments:
    """Write standard input to a small file of ours."""
    return ("rcat", at.address, *_LOG, *_PATIENCE)


def make_folder(at: Remote) -> Arguments:
    """Make a folder and those above it."""
    return ("mkdir", at.address, *_LOG, *_PATIENCE)


def publish(source: Remote, target: Remote, *, by_http: bool = False) -> Arguments:
    """Move out of our hidden folder to a published name. Raises ValueError for any other move."""
    if source.remote != target.remote or not source.is_hidden or target.is_hidden:
        raise ValueError(f"not a move out of the hidden folder: {source.address} to {target.address}")
    return ("moveto", source.address, target.address, *_no_replacing(by_http=by_http), *_UNCHANGED, *_LOG, *_PATIENCE)


def _no_replacing(*, by_http: bool) -> Arguments:
    return (*_NO_REPLACING, *(_NEVER_OVER if by_http else ()))


def replace_own(source: Remote, target: Remote, name: str) -> Arguments:
    """Move a small file of ours out of our hidden folder over the former one. Raises ValueError for any other."""
    is_ours = target.path.endswith(f"/{OUR_FOLDER}/{name}") and "/" not in name
    if source.remote != target.remote or not source.is_hidden or not is_ours:
        raise ValueError(f"not one of our own files: {source.address} to {target.address}")
    return ("moveto", source.address, target.address, "--ignore-times", *_UNCHANGED, *_LOG, *_PATIENCE)


def set_aside(source: Remote, target: Remote, *, by_http: bool = False) -> Arguments:
    """Move a published file to where earlier versions are kept. Raises ValueError for any other move."""
    if source.remote != target.remote or source.is_hidden or not target.is_set_aside:
        raise ValueError(f"not a move into superseded: {source.address} to {target.address}")
    return ("moveto", source.address, target.address, *_no_replacing(by_http=by_http), *_UNCHANGED, *_LOG, *_PATIENCE)


def delete_file(at: Remote) -> Arguments:
    """Delete one file of our hidden folder. Raises ValueError for any other file."""
    return ("deletefile", _hidden(at).address, *_LOG, *_PATIENCE)


def remove_folder(at: Remote) -> Arguments:
    """Remove one empty folder of our hidden folder, or that itself. Raises ValueError for any other folder."""
    return ("rmdir", _hidden(at).address, *_LOG, *_PATIENCE)


def _hidden(at: Remote) -> Remote:
    if not at.is_hidden:
        raise ValueError(f"not in the hidden folder: {at.address}")
    return at


def features(at: Remote) -> Arguments:
    """What the remote can do."""
    return ("backend", "features", at.address, *_LOG)


def kinds() -> Arguments:
    """The remotes of the configuration with their types."""
    return ("listremotes", "--long", *_LOG)


def space(at: Remote) -> Arguments:
    """Free and total space."""
    return ("about", at.address, "--json", *_LOG, *_PATIENCE)


def version() -> Arguments:
    """Which rclone it is."""
    return ("version",)
