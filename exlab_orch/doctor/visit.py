"""What the checks of the doctor look at, and how a look that fails becomes a finding."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from shlex import quote
from typing import Final

from exlab_orch.access import lacks_rights
from exlab_orch.config import SYSTEM_CONFIG, Config
from exlab_orch.diagnosis import Finding
from exlab_orch.errors import ExlabError
from exlab_orch.groups import user_name
from exlab_orch.state import to_named_user

WIDE: Final = 1000
"""Paths are never cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Computer:
    """This computer and the configuration file, whatever stands in it."""

    config_path: str | None
    """None where none was found."""
    now: datetime
    system: str = "/"
    """Where the file system begins, for what is looked up in /etc, /run and /usr."""

    def under_system(self, path: str) -> str:
        """Where an absolute path of the system is."""
        return f"{self.system.rstrip('/')}{path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit(Computer):
    """A computer whose configuration can be used."""

    config: Config
    writes: bool = True
    """Whether a made-up run may be sent to the NAS."""
    on_hang: Callable[[Finding], object] | None = None
    """Who is told, in another thread, of a mounted NAS that hangs and this visit with it; it must end the process."""

    @property
    def state_dir(self) -> str:
        """The configured state directory."""
        return self.config.orchestrator.state_dir

    @property
    def staging_root(self) -> str:
        """The configured staging root."""
        return self.config.orchestrator.staging_root

    def owner(self) -> int | None:
        """The user that runs the passes: who owns the state directory; None where there is none yet."""
        try:
            return os.stat(self.state_dir).st_uid
        except OSError:
            return None

    def is_owner(self) -> bool:
        """Whether this user is the one that runs the passes, and so sees what they see."""
        return self.owner() == os.geteuid()

    def require_state(self) -> None:
        """Raise PermissionError where the state directory is there and closed to this user."""
        if os.path.isdir(self.state_dir) and not os.access(self.state_dir, os.R_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), self.state_dir)

    def as_owner(self, verb: str = "doctor") -> str:
        """The command that looks with the eyes of the passes, or first gives them a user that sudo can name."""
        owner = self.owner()
        if owner is not None and not has_name(owner):
            return to_named_user(self.state_dir)
        usual = self.config_path is None or os.path.abspath(self.config_path) == SYSTEM_CONFIG
        named = "" if usual else f" -c {quote(os.path.abspath(self.config_path or ''))}"
        who = "sudo" if owner in (None, 0) else f"sudo -u {quote(user_name(owner or 0))}"
        return f"{who} exlab-orch{named} {verb}"


def without_configuration(computer: Computer) -> str:
    """Why what needs a configuration was not looked at: config.file says what is wrong with it."""
    is_missing = computer.config_path is None
    try:
        os.stat(computer.config_path or "/")
    except (FileNotFoundError, NotADirectoryError):
        is_missing = True
    except OSError:
        pass  # it may be there
    what = "There is no configuration" if is_missing else "The configuration cannot be used"
    return f"{what}, so this was not looked at."


ComputerCheck = Callable[[Computer], Iterable[Finding]]
Check = Callable[[Visit], Iterable[Finding]]


def has_name(number: int) -> bool:
    """Whether a user has a name here; sudo refuses one that has none."""
    return not user_name(number).startswith("#")


def for_chown(number: int) -> str:
    """A user as chown takes it: it knows numbers without a hash."""
    return quote(user_name(number).removeprefix("#"))


def looked(name: str, look: Callable[[], Iterable[Finding]], *, as_owner: str | None) -> Iterator[Finding]:
    """What a check finds; one that cannot look says so and stops nothing.

    Args:
        name: the id of the finding where the look fails.
        look: the check.
        as_owner: for somebody else than the owner, the command that would see it.
    """
    try:
        yield from look()
    except (ExlabError, OSError) as error:
        if as_owner is not None and lacks_rights(error):
            yield Finding(name, "skipped", "This user may not look there.", as_owner)
        elif isinstance(error, ExlabError):
            yield Finding(name, "error", error.message, error.hint)
        else:
            why = error.strerror or str(error)
            what = f"{error.filename}: {why}" if error.filename else why
            yield Finding(
                name, "error", f"This could not be looked at: {what}.", "See what is there, and run it again."
            )
