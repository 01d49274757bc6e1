"""Users and groups of this computer: their names, who is in which, and what to do where a file cannot get one."""

from __future__ import annotations

import grp
import os
import pwd
from shlex import quote

from exlab_orch.errors import ConfigInvalid, PermissionRefused

Advice = tuple[str, str]
"""What is wrong, and what to do."""


def group_number(group: str) -> int | None:
    """The number of a group, or None where this computer does not know it."""
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None


def required_group(group: str) -> int:
    """The number of a configured group.

    Raises:
        ConfigInvalid: this computer does not know it.
    """
    number = group_number(group)
    if number is None:
        message, hint = no_such_group(group)
        raise ConfigInvalid(message, hint=hint)
    return number


def no_such_group(group: str) -> Advice:
    """That this computer does not know a configured group."""
    return (
        f"The group {group!r} does not exist on this computer.",
        f"Correct 'group' in the configuration, or make the group: sudo groupadd {quote(group)}",
    )


def why_not_given(group: str, uid: int | None) -> Advice | None:
    """Why a user cannot give files that group, and what to do; None where nothing is in the way.

    Args:
        group: its name.
        uid: the number of the user, or None where nobody knows who it will be.
    """
    number = group_number(group)
    if number is None:
        return no_such_group(group)
    try:
        account = None if uid is None else pwd.getpwuid(uid)
    except KeyError:
        return None  # whose groups only who gave out the number knows
    if account is None or account.pw_uid == 0 or number in os.getgrouplist(account.pw_name, account.pw_gid):
        return None
    return _not_a_member(group, account.pw_name)


def _not_a_member(group: str, user: str) -> Advice:
    return (
        f"The user {user} is not in the group {group!r}, and cannot give it to what is copied.",
        f"Put the user into it; the next pass has the group then: sudo usermod -aG {quote(group)} {quote(user)}",
    )


def group_refused(number: int, error: OSError) -> PermissionRefused:
    """That we could not give a file of ours a group: we are not in it, or the NAS gives none."""
    group, user = group_name(number), user_name(os.geteuid())
    if os.geteuid() != 0 and number not in (os.getegid(), *os.getgroups()):
        message, hint = _not_a_member(group, user)
        return PermissionRefused(message, hint=hint)
    return PermissionRefused(
        f"The NAS answered '{error.strerror}' when a file was to get the group {group!r}.",
        hint=f"Let {user} give files that group on the NAS. One that keeps no groups of its own (SMB) gets them from "
        "the options of its mount: leave 'group' out of the configuration.",
    )


def group_name(number: int) -> str:
    """The name of a group, or its number where it has none here; chgrp takes both."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def user_name(number: int) -> str:
    """The name of a user, or the number with a hash where there is no name; sudo takes both."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"#{number}"
