"""What ssh and rsync are asked to do, as argument lists: nothing here can delete, overwrite or move what was published.

rsync only ever sends from here into our hidden folder, or lists; everything else is one of the fixed scripts.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from exlab_orch.config_nas import RsyncNas
from exlab_orch.errors import RENAME, ConfigInvalid, NameUnsupported
from exlab_orch.files.delete import PART_PREFIX
from exlab_orch.model import OUR_FOLDER
from exlab_orch.text import printable

Arguments = tuple[str, ...]

_PATTERN: Final = re.compile(r"[*?\[\\]")
_CANNOT_QUOTE: Final = re.compile(r'["\\$\x00-\x1f\x7f]')
_SSH_OPTIONS: Final = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "GlobalKnownHostsFile=/dev/null",
    "UpdateHostKeys=no",
    "CheckHostIP=no",
    "VerifyHostKeyDNS=no",
    "PreferredAuthentications=publickey",
    "PasswordAuthentication=no",
    "KbdInteractiveAuthentication=no",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "ControlPersist=no",
    "PermitLocalCommand=no",
    "RequestTTY=no",
    "EscapeChar=none",
    "ConnectTimeout=15",
    "ConnectionAttempts=1",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=3",
    "LogLevel=ERROR",
)
_LINKS_STAY: Final = ("--no-links", "--no-devices", "--no-specials")
_MODES: Final = ("--no-perms", "--no-owner", "--no-group", "--chmod=D777,F666")
"""Modes and group are what the account's umask and the folder there give."""


_LONGEST_SOCKET: Final = 85
"""ssh adds 17 characters while it makes the socket, and the kernel takes 107."""


def connection(nas: RsyncNas, socket: str | None = None, *, opens_it: bool = False) -> Arguments:
    """The options every ssh connection has: that key, that host key, nothing asked, nothing forwarded, no file read.

    Args:
        nas: where to.
        socket: of a connection that is shared; where nobody listens there, an own one is made.
        opens_it: this is the one that is shared.

    Raises:
        ConfigInvalid: a path has characters that ssh's configuration cannot hold.
    """
    files = (f"UserKnownHostsFile={_path(nas.known_hosts)}", f"IdentityFile={_path(nas.ssh_key_path)}")
    user = nas.target.partition("@")[0]
    shared = (f"ControlMaster={'yes' if opens_it else 'no'}", f"ControlPath={_path(socket) if socket else 'none'}")
    options = tuple(f"-o{option}" for option in (*_SSH_OPTIONS, *shared, *files))
    return ("-F", "none", "-T", *options, "-p", str(nas.port), "-l", user)


def by_hand(nas: RsyncNas) -> str:
    """The command with which a person sees whether the account lets the service user in."""
    files = ("-i", nas.ssh_key_path, "-o", f"UserKnownHostsFile={nas.known_hosts}")
    return shlex.join(["ssh", *files, "-p", str(nas.port), nas.target, "true"])


def socket_in(folder: str, name: str) -> str | None:
    """The path of a socket in a folder; None where the kernel would find it too long, or ssh cannot hold it."""
    path = f"{folder}/{name}"
    return None if len(path.encode(errors="surrogateescape")) > _LONGEST_SOCKET or _CANNOT_QUOTE.search(path) else path


def _path(path: str) -> str:
    """A path as a value of ssh's configuration: in quotes, its per cent signs doubled."""
    if _CANNOT_QUOTE.search(path):
        raise ConfigInvalid(
            f"ssh cannot be given the path {path!r}: it has a quote, a backslash, a dollar or a control character.",
            hint="Move the file to a plain path and correct ssh_key_path or known_hosts.",
        )
    return '"{}"'.format(path.replace("%", "%%"))


def remote_shell(program: str, options: Arguments) -> str:
    """The value of rsync's ``-e``, which rsync cuts at spaces outside quotes; a doubled quote is a quote."""
    return " ".join("'{}'".format(part.replace("'", "''")) for part in (program, *options))


@dataclass(frozen=True, slots=True)
class Far:
    """The host, and the NAS's root there."""

    host: str
    root: str
    """Absolute, or below the home folder with "./" in front; never empty, never with a dash in front."""

    @staticmethod
    def of(nas: RsyncNas) -> Far:
        """From the configuration."""
        path = nas.path or "."
        return Far(nas.target.partition("@")[2], path if path.startswith("/") else f"./{path}")

    def address(self, path: str) -> str:
        """A folder below the root, as rsync writes it; the user is an option of ssh."""
        return f"{self.host}:{self.root.rstrip('/')}/{path}/"


def refuse_patterns(run_path: str) -> None:
    """Raise NameUnsupported for a run whose path the far side's rsync would take for a pattern, whatever it is told."""
    if _PATTERN.search(run_path):
        raise NameUnsupported(
            f"rsync would take the path of the run for a pattern: {printable(run_path)}.",
            hint=f"{RENAME} No *, ?, [ or backslash in the names of project and run.",
        )


def is_hidden(path: str) -> bool:
    """Whether a path is one of our hidden folders, or in one."""
    return any(part.startswith(PART_PREFIX) for part in path.split("/"))


def is_set_aside(path: str) -> bool:
    """Whether a path is where earlier versions of a run are kept."""
    return f"/{OUR_FOLDER}/superseded/" in path


# -- rsync ---------------------------------------------------------------------------------------------------


def upload(
    shell: str, staged: str, far: Far, hidden: str, *, partial: str, timeout: int, limit: Arguments = ()
) -> Arguments:
    """Send the files named on standard input into our hidden folder. Raises ValueError for any other way."""
    if not staged.startswith("/") or not is_hidden(hidden.rpartition("/")[2]):
        raise ValueError(f"not from here into a hidden folder: {staged} to {hidden}")
    if "/" in partial or not partial.startswith("."):
        raise ValueError(f"not a folder for parts inside the hidden one: {partial}")
    names = ("--from0", "--files-from=-", "--relative", "--no-recursive")
    parts = ("--mkpath", f"--partial-dir={partial}", "--times")
    return (
        *("-e", shell, "-s", *names, *parts, *_LINKS_STAY, *_MODES),
        *limit,
        *(f"--timeout={timeout}", "--info=progress2", "--no-human-readable", "--outbuf=N"),
        *("--", f"{staged.rstrip('/')}/", far.address(hidden)),
    )


def limit(bytes_per_second: float | None) -> Arguments:
    """rsync's own limit, which it counts in units of 1024 bytes; None is no limit."""
    return () if bytes_per_second is None else (f"--bwlimit={max(1, int(bytes_per_second / 1024))}",)


def listing(shell: str, far: Far, path: str, *, timeout: int) -> Arguments:
    """List a folder of the far side: there is no target, so nothing is written anywhere."""
    looks = ("--list-only", "--recursive", "--links", "--one-file-system", "--no-human-readable")
    return ("-e", shell, "-s", *looks, f"--timeout={timeout}", "--", far.address(path))


def version() -> Arguments:
    """Which rsync it is."""
    return ("--version",)


# -- scripts -------------------------------------------------------------------------------------------------


def remote(options: Arguments, far: Far, script: str, *arguments: str) -> Arguments:
    """Run one of the fixed scripts; every word is quoted for the shell of the account."""
    words = ("sh", "-c", script, "exlab-orch", far.root, *arguments)
    return (*options, "--", far.host, " ".join(("exec", *map(shlex.quote, words))))


def stay(options: Arguments, far: Far) -> Arguments:
    """Say that the connection stands, and keep it until standard input ends."""
    return (*options, "--", far.host, "exec sh -c 'echo ready; exec cat >/dev/null'")


def on_input(names: Iterable[bytes]) -> bytes:
    """Names for standard input; none of them looks like an option."""
    return b"".join(b"./" + name + b"\0" for name in names)


def move_to_publish(source: str, target: str) -> Arguments:
    """Arguments of ``MOVE`` out of our hidden folder to a published name. Raises ValueError for any other."""
    part = hidden_part(source)
    if not part or target == part or target.startswith(f"{part}/"):
        raise ValueError(f"not a move out of the hidden folder: {source} to {target}")
    return (source, target, "")


def hidden_part(path: str) -> str:
    """The path up to and with the first segment that bears a name of our hidden folders; "" where none does."""
    segments = path.split("/")
    depth = next((number for number, part in enumerate(segments, 1) if part.startswith(PART_PREFIX)), 0)
    return "/".join(segments[:depth])


def move_aside(source: str, target: str) -> Arguments:
    """Arguments of ``MOVE`` of a published file to where earlier versions are kept. Raises ValueError otherwise."""
    if not is_set_aside(target) or target.partition(f"/{OUR_FOLDER}/superseded/")[0] not in _folders_above(source):
        raise ValueError(f"not a move into superseded: {source} to {target}")
    return (source, target, "make")


def _folders_above(path: str) -> list[str]:
    segments = path.split("/")
    return ["/".join(segments[:depth]) for depth in range(1, len(segments))]


def hidden(path: str) -> str:
    """The path of a folder that things are removed from. Raises ValueError unless it is one of our hidden folders."""
    if not path.rpartition("/")[2].startswith(PART_PREFIX):
        raise ValueError(f"not one of our hidden folders: {path}")
    return path


def times(folders: Iterable[tuple[bytes, int]]) -> bytes:
    """Names and times in nanoseconds for ``SETTLE``."""
    return b"".join(_moment(time).encode() + b"./" + name + b"\0" for name, time in folders)


def _moment(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
