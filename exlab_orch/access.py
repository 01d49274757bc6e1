"""Whether rights are what is missing, which folder above a path keeps a user out of it, and what lets the user in."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from shlex import quote
from typing import Final

from exlab_orch.errors import ExlabError, PermissionRefused
from exlab_orch.groups import group_name
from exlab_orch.text import printable

_WIDE: Final = 1000


def lacks_rights(error: ExlabError | OSError) -> bool:
    """Whether a look or a write failed because this user may not do that."""
    return isinstance(error, PermissionError | PermissionRefused) or isinstance(error.__cause__, PermissionError)


def closed_above(path: str, user: str) -> Iterator[str]:
    """The folders above a path, also above what it links to, that a user may not enter, as their modes say.

    Nothing is known of a user who has no name on this computer.
    """
    if not os.path.isabs(path) or not os.path.exists(path):
        return
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        return
    uid, gids = account.pw_uid, os.getgrouplist(user, account.pw_gid)
    for folder in _above(path):
        found = os.stat(folder)
        bit = 0o100 if found.st_uid == uid else 0o010 if found.st_gid in gids else 0o001
        if not found.st_mode & bit:
            yield folder


def _above(path: str) -> Iterator[str]:
    for end in dict.fromkeys((path, os.path.realpath(path))):
        folder = "/"
        for name in end.split("/")[1:-1]:
            folder = os.path.join(folder, name)
            yield folder


def move_or_let_in(folder: str, user: str) -> str:
    """What to do about a configuration in a folder that this user may not enter."""
    return _move_or(folder, quote(group_name(pwd.getpwnam(user).pw_gid)))


def closed_file_hint(file: str) -> str:
    """What to do about a configuration that we may not read.

    The group of the one who asks is let in; not everybody, for there may be secrets in it.
    """
    closed = next((folder for folder in _above(os.path.abspath(file)) if not _may_enter(folder)), None)
    group = quote(group_name(os.getegid()))
    if closed is not None:
        return f"The folder {printable(closed, _WIDE)} is closed to this user. {_move_or(closed, group)}"
    return f"If this is the user of the passes: sudo chgrp {group} {quote(file)} && sudo chmod g+r {quote(file)}"


def _move_or(folder: str, group: str) -> str:
    let_in = f"sudo chgrp {group} {quote(folder)} && sudo chmod g+x {quote(folder)}"
    return f"Keep the configuration in a folder such as /etc/exlab-orch, or let the group in: {let_in}"


def _may_enter(folder: str) -> bool:
    try:
        os.stat(os.path.join(folder, "."))
    except PermissionError:
        return False
    except OSError:
        return True  # something else is wrong with it
    return True
