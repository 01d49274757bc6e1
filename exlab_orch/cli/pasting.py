"""Commands of ours that are shown can be pasted: they name the configuration, and the user who may run them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache
from shlex import quote
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from rich.text import Text

_PROGRAM: Final = "exlab-orch "
_KEYS: Final = ("hint", "fix", "actions", "next", "next_command")
"""Where commands stand in JSON."""
_OWNERS: Final = frozenset(
    {
        "accept",
        "clear",
        "hold",
        "notify",
        "pause",
        "poll",
        "resume",
        "selftest",
        "sync",
        "takeover",
        "unhold",
        "verify",
        "watch",
    }
)
"""Verbs that only the service user may run."""
_OF_CONFIGURATION: Final = ("equipment add", "nas-init")
"""Verbs that write the configuration, which mostly is root's."""


@dataclass
class _Named:
    """What this invocation was given; one process makes one."""

    file: str | None = None
    """With ``-c``."""
    owner: str | None = None
    """The service user, as sudo -u takes it, where that is somebody else."""
    used: str | None = None
    """The configuration file that was read, wherever it was found."""


_named: Final = _Named()


def name_configuration(file: str | None) -> None:
    """From now on, commands that are shown name this file; None where the command line named none."""
    _named.file, _named.owner, _named.used = file, None, None


def name_owner(owner: str | None) -> None:
    """From now on, commands that only the service user may run are shown with its name before them, if it has one."""
    _named.owner = owner


def name_used_configuration(file: str) -> None:
    """From now on, commands that write this file are shown with sudo before them, if this user may not do that."""
    _named.used = file


def used_configuration() -> str:
    """The configuration file that was read, as it is shown."""
    from exlab_orch.text import printable

    return "the configuration" if _named.used is None else printable(_named.used, 1000)


@cache
def _commands() -> re.Pattern[str]:
    """A call of ours before one of its verbs, and sudo before it; not one that names a file, or asks for help."""
    from exlab_orch.completing.table import VERBS

    verbs = "|".join(sorted({name.partition(" ")[0] for name in VERBS if name}))
    sudo = r"(?P<sudo>\bsudo (?:-u (?:'[^']*'|\S+) )?)?"
    return re.compile(rf"{sudo}(?<![\w./-])exlab-orch (?=(?P<verb>{verbs})\b)(?![^\n]*(?: -c | --config[ =]|--help))")


def _user(command: re.Match[str]) -> str:
    """Who is to run it, where that is not this user and not said."""
    if command["sudo"]:
        return ""
    if command.string.startswith(_OF_CONFIGURATION, command.end()):
        return "sudo " if _is_closed() else ""
    if _named.owner is None or command["verb"] not in _OWNERS:
        return ""
    return f"sudo -u {quote(_named.owner)} "


def _is_closed() -> bool:
    """Whether this user may not write the configuration, which is replaced whole in its folder."""
    folder = None if _named.used is None else os.path.dirname(os.path.realpath(_named.used))
    return folder is not None and not os.access(folder, os.W_OK | os.X_OK)


def _option(command: re.Match[str]) -> str:
    file = _named.file or (file_of_environment() if command["sudo"] or _user(command) else None)
    return "" if file is None else f"-c {quote(file)} "


def file_of_environment() -> str | None:
    """The variable's file: a shell has it still when the command is pasted, but sudo does not hand it on."""
    from exlab_orch.config import CONFIG_VARIABLE

    return os.environ.get(CONFIG_VARIABLE) or None


def pasteable(text: str) -> str:
    """The text, its commands with the configuration file where they need it."""
    if _PROGRAM not in text or not (_named.file or _named.owner or _named.used or file_of_environment()):
        return text
    return _commands().sub(lambda found: f"{_user(found)}{found[0]}{_option(found)}", text)


def pasteable_text(text: Text) -> Text:
    """The same for a text with styles."""
    plain = text.plain
    if pasteable(plain) == plain:
        return text
    shown, done = text.blank_copy(), 0
    for found in _commands().finditer(plain):
        last = found.end() - 1
        styles = [span.style for span in text.spans if span.start <= last < span.end]
        shown.append_text(text[done : found.start()]).append(_user(found), *styles[-1:])
        shown.append_text(text[found.start() : found.end()]).append(_option(found), *styles[-1:])
        done = found.end()
    return shown.append_text(text[done:])


def pasteable_document(found: object, key: str = "") -> object:
    """A JSON document, the commands in it with the configuration file where they need it."""
    if isinstance(found, str):
        return pasteable(found) if key in _KEYS else found
    if isinstance(found, dict):
        every = cast("dict[str, object]", found)
        return {name: pasteable_document(value, name) for name, value in every.items()}
    if isinstance(found, list):
        return [pasteable_document(value, key) for value in cast("list[object]", found)]
    return found
