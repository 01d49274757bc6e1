"""The state directory: whose it is, the seal key, and the kernel locks of runs, records and NAS slots."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import pwd
import secrets
import shlex
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from exlab_orch.errors import (
    ConfigInvalid,
    KeyUnusable,
    Locked,
    StateUnavailable,
    WrongUser,
    state_errors,
)
from exlab_orch.files import discard_unfinished, write_once
from exlab_orch.files.locks import is_held, is_seen_held, is_still_at, locked, locked_descriptor, one_of
from exlab_orch.files.places import open_plain
from exlab_orch.hints import SAME_COMMAND, promised
from exlab_orch.model import CHECKSUMS_NAME, OUR_FOLDER, RECORD_NAME, log_name

KEY_BYTES: Final = 32
_KEY_NAME: Final = "seal.key"
_JOURNAL_NAME: Final = "journal.sqlite3"


class StateDirectory:
    """An open state directory. ``key`` is None only for a reader who may not read it."""

    def __init__(self, path: str, key: bytes | None, *, key_is_new: bool = False, was_used: bool = False) -> None:
        self.path = path
        self.key = key
        self.key_is_new = key_is_new
        self.was_used = was_used
        """Whether there was a journal before: a new key in a used directory makes what another one sealed a claim."""
        self.key_was_open = False
        """Whether others could read or write the key until just now."""
        self._held: dict[str, int] = {}
        """Descriptors of the run locks that are held, by path."""

    @property
    def journal_path(self) -> str:
        return f"{self.path}/{_JOURNAL_NAME}"

    def key_mark(self) -> str:
        """A text that is another one under another key, and tells nothing about it."""
        return hmac.new(self.key or b"", b"mark", hashlib.sha256).hexdigest()[:16]

    @property
    def ledger_path(self) -> str:
        return f"{self.path}/ledger.jsonl"

    @property
    def progress_folder(self) -> str:
        return f"{self.path}/progress"

    @contextmanager
    def run_lock(self, run_path: str, *, wait_seconds: float = 0.0) -> Iterator[bool]:
        """The lock of whoever changes that run."""
        path = self._run_lock_path(run_path)
        with locked_descriptor(path, wait_seconds=wait_seconds) as descriptor:
            if descriptor is None:
                yield False
                return
            self._held[path] = descriptor
            try:
                yield True
            finally:
                del self._held[path]

    def is_busy(self, run_path: str) -> bool | None:
        """Whether somebody changes that run now; None where that cannot be told. Nobody is disturbed."""
        return is_seen_held(self._run_lock_path(run_path))

    def _run_lock_path(self, run_path: str) -> str:
        return f"{self.path}/locks/{short_hash(run_path)}.run"

    def refuse_lost_lock(self, run_path: str) -> None:
        """Raise Locked when the run's lock is held here and its file was deleted: another process may hold it too."""
        path = self._run_lock_path(run_path)
        descriptor = self._held.get(path)
        if descriptor is not None and not is_still_at(path, descriptor):
            raise Locked(
                f"The lock {path} was deleted or moved while it was held.",
                hint=promised("Let nobody delete or move anything in the state directory"),
            )

    def held_lock(self, run_path: str) -> int | None:
        """The descriptor that holds the run's lock here, for programs that work on the run; None without it."""
        return self._held.get(self._run_lock_path(run_path))

    def record_lock(self, run_path: str) -> AbstractContextManager[bool]:
        """The short lock around one rewrite of a record."""
        return locked(f"{self.path}/locks/{short_hash(run_path)}.record", wait_seconds=30.0)

    @property
    def is_ours(self) -> bool:
        """Whether it belongs to this user; root takes no locks in one that is not its own, as the owner could not."""
        return os.stat(self.path).st_uid == os.geteuid()

    def probe_lock_path(self, nas: str) -> str:
        """The lock a probe of that NAS holds for as long as it hangs."""
        return f"{self.path}/locks/{short_hash(nas)}.probe"

    def slot(self, nas: str, count: int, *, wait_seconds: float = 0.0) -> AbstractContextManager[bool]:
        """One of the slots of a NAS, for copies and for the re-reads of clears."""
        return one_of(self._slot_paths(nas, count), wait_seconds=wait_seconds)

    def busy_slots(self, nas: str, count: int) -> int:
        """How many of the slots of a NAS are held now, by this process and others."""
        return sum(is_held(path) for path in self._slot_paths(nas, count))

    def _slot_paths(self, nas: str, count: int) -> list[str]:
        return [f"{self.path}/locks/{short_hash(nas)}.slot{number}" for number in range(count)]

    def temporary_name(self, run_path: str, name: str) -> str:
        """The name of the temporary file beside one of ours in a run; nobody without the key can guess it."""
        text = f"temporary\0{run_path}\0{name}".encode()
        return f".{name}.{hmac.new(self.key or b'', text, hashlib.sha256).hexdigest()[:20]}"


def own_names(state: StateDirectory, host: str, run_path: str) -> frozenset[bytes]:
    """Names in a run folder that are ours: record, checksum list, our log, and their temporary files."""
    own = {f"{OUR_FOLDER}/{name}".encode() for name in _written_names(host)}
    return frozenset(own | set(temporary_names(state, host, run_path)))


def temporary_names(state: StateDirectory, host: str, run_path: str) -> list[bytes]:
    """Names in a run folder of the temporary files beside ours; what a killed process left has one of them."""
    return [f"{OUR_FOLDER}/{state.temporary_name(run_path, name)}".encode() for name in _written_names(host)]


def _written_names(host: str) -> tuple[str, ...]:
    return RECORD_NAME, CHECKSUMS_NAME, log_name(host)


def short_hash(text: str) -> str:
    """A stable file name for any text."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]


def open_state(path: str, *, changing: bool) -> StateDirectory:
    """Open the state directory; a command that changes something makes what is missing.

    Raises:
        WrongUser: it belongs to somebody else and the command changes something (lifecycle.md, 2).
        KeyUnusable: the key is there and cannot be used.
        ConfigInvalid: the directory cannot be made, or others may write in it.
        StateUnavailable: it cannot be read or written.
    """
    if not changing:
        _require_readable(path)
        return StateDirectory(path, _readable_key(path))
    with state_errors(path):
        return _prepared(path)


def _prepared(path: str) -> StateDirectory:
    _make(path)
    require_user(path)
    _require_private(path)
    for folder in ("locks", "progress"):
        os.makedirs(f"{path}/{folder}", mode=0o755, exist_ok=True)
    discard_unfinished(f"{path}/{_KEY_NAME}")
    was_used = os.path.lexists(f"{path}/{_JOURNAL_NAME}")
    key_is_new = not os.path.lexists(f"{path}/{_KEY_NAME}") and _make_key(path)
    state = StateDirectory(path, _key(path), key_is_new=key_is_new, was_used=was_used)
    state.key_was_open = _closed_key(f"{path}/{_KEY_NAME}")
    return state


def _make(path: str) -> None:
    try:
        os.makedirs(path, mode=0o755, exist_ok=True)  # the key alone is secret
    except OSError as error:
        raise ConfigInvalid(
            f"The state directory {path} cannot be made: {error.strerror}.",
            hint="Make it and give it to the user that runs exlab-orch, or set orchestrator.state_dir.",
        ) from error


def _require_readable(path: str) -> None:
    """Raise WrongUser where this user may not look into it: without problems and progress every run would look well."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        try:
            os.listdir(path)
        except PermissionError as error:
            require_user(path)
            raise StateUnavailable(
                f"The state directory {path} may not be read.", hint="Look at the rights of the folders above it."
            ) from error


def require_user(path: str) -> None:
    """Raise WrongUser unless the state directory, which is there, belongs to this user (lifecycle.md, 2)."""
    if os.stat(path).st_uid == os.geteuid():
        return
    name = owner_name(path)
    if name is None:
        raise WrongUser(
            f"The state directory {path} {nameless(os.stat(path).st_uid)}, so nobody can run this as that user.",
            hint=f"Give it to the user that runs exlab-orch: {to_named_user(path)}",
        )
    raise WrongUser(
        f"The state directory {path} belongs to {name}, and only that user may change runs.",
        hint=f"Run it as that user: sudo -u {shlex.quote(name)} {SAME_COMMAND}",
    )


def owner_name(path: str) -> str | None:
    """Who owns the state directory; None where that user has no name here, and sudo refuses it. Raises OSError."""
    try:
        return pwd.getpwuid(os.stat(path).st_uid).pw_name
    except KeyError:
        return None


def nameless(owner: int) -> str:
    """What is wrong with an owner that is known by a number alone, as after a restored backup."""
    return f"belongs to user {owner}, who has no name here"


def to_named_user(path: str) -> str:
    """The command that gives the state directory to a user that sudo and schedules can name."""
    return f"sudo chown -R exlab-orch: {shlex.quote(path)}"


def as_owner(path: str, command: str) -> str:
    """The command as the owner of the state directory gives it, or first the one that makes it a user's with a name."""
    name = owner_name(path)
    return to_named_user(path) if name is None else f"sudo -u {shlex.quote(name)} {command}"


def _require_private(path: str) -> None:
    """Raise ConfigInvalid where others could take the locks, the key or the journal away and put theirs in place."""
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & 0o022:
        raise ConfigInvalid(
            f"Other users may write in the state directory {path} (mode {mode:04o}).",
            hint=f"Let its owner alone write there: chmod go-w {path}",
        )


def _closed_key(name: str) -> bool:
    """Whether the key was open to others; it is not any more."""
    if not os.stat(name).st_mode & 0o077:
        return False
    os.chmod(name, 0o600)
    return True


def _make_key(path: str) -> bool:
    return write_once(f"{path}/{_KEY_NAME}", secrets.token_bytes(KEY_BYTES), 0o600)


def _key(path: str) -> bytes:
    name = f"{path}/{_KEY_NAME}"
    try:
        with open(name, "rb", opener=open_plain) as file:
            key = file.read(KEY_BYTES + 1)
    except OSError as error:
        raise KeyUnusable(
            f"The seal key {name} cannot be read: {error.strerror}.",
            hint="Give it back to the state directory's owner, with mode 0600.",
        ) from error
    if len(key) != KEY_BYTES:
        raise KeyUnusable(
            f"The seal key {name} is not {KEY_BYTES} bytes long.",
            hint="Put the key back from a backup. Without one, have a new one made; every run is then proved again: "
            f"mv {shlex.quote(name)} {shlex.quote(name)}.broken",
        )
    return key


def _readable_key(path: str) -> bytes | None:
    with contextlib.suppress(OSError, KeyUnusable):
        return _key(path)
    return None
