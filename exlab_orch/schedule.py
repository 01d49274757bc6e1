"""What starts passes on this computer: lines of cron and timers of systemd, found in their files."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["cron", "timer"]

CRON_FOLDER: Final = "/etc/cron.d"
UNIT_FOLDER: Final = "/etc/systemd/system"
_CRONTAB: Final = "/etc/crontab"
_USER_CRONTABS: Final = ("/var/spool/cron/crontabs", "/var/spool/cron")
"""Where Debian and Fedora keep what ``crontab -e`` writes."""
_UNIT_FOLDERS: Final = (
    UNIT_FOLDER,
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
"""Where system units are found, the strongest first (systemd.unit(5))."""
_SWITCHED_ON: Final = _UNIT_FOLDERS[:2]
"""Where links switch units on: for good, and until the next start."""
_CRON_READS: Final = re.compile(r"[A-Za-z0-9_-]+")
"""Names in cron.d that Debian's cron reads: none with a dot, such as .dpkg-old or .bak."""
_CRON_LINE: Final = re.compile(r"(?:@\w+|(?:\S+\s+){4}\S+)\s+(?P<rest>\S.*)")
_POLL: Final = re.compile(r"(?:^|[\s/;&|'\"(])exlab[-_]orch(?=['\"\s])[^;&|]*?\s['\"]?poll(?=$|[\s;&|'\")])")
"""A pass that is started, also by ``python -m exlab_orch``, inside ``sh -c "…"`` or behind sudo or flock."""
_BECOMES: Final = re.compile(
    r"(?:^|[\s/;&|'\"(])(?:(?:sudo|doas)(?=\s[^;&|]*?-u)|(?:su|runuser|setpriv|setuidgid|chpst|gosu|ssh)(?=\s))"
)
"""Programs behind which another user may go on; without -u sudo goes on as root."""
_LONGEST_LINE: Final = 4096
_WATCH: Final = re.compile(_POLL.pattern.replace("poll", "watch"))
"""The loop of passes that stays."""
_LARGEST: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ActiveSchedule:
    """Something that starts passes by itself."""

    kind: Kind
    """``timer`` for all that systemd starts."""
    file: str
    """The crontab file, or the unit file of the timer or of the service that stays."""
    program: str
    """The command as it stands there, such as ``/usr/local/bin/exlab-orch poll``."""
    user: str | None = None
    """Who cron starts it as; None for what systemd starts."""

    @property
    def config(self) -> str | None:
        """The configuration file that the command names; None where it takes the usual one."""
        return next(iter(_values(self.words, "-c", "--config")), None)

    @property
    def words(self) -> list[str]:
        """The command's words, as a shell splits them."""
        try:
            return shlex.split(self.program)
        except ValueError:
            return self.program.split()

    @property
    def before_the_verb(self) -> list[str]:
        """What starts the program and names its configuration, up to the verb; empty where something else starts it."""
        first, *others = (self.words[0].lstrip("@-:+!"), *self.words[1:]) if self.words else ("",)
        is_ours = os.path.basename(first) == "exlab-orch" or others[:2] == ["-m", "exlab_orch"]
        return (
            [first, *others[: others.index("poll")]] if first.startswith("/") and is_ours and "poll" in others else []
        )

    @property
    def becomes_another(self) -> bool:
        """Whether the command itself changes the user, as ``sudo -u lab exlab-orch poll`` does."""
        start = _POLL.search(self.program)
        return start is not None and _BECOMES.search(self.program[: start.start() + 1]) is not None

    @property
    def only(self) -> frozenset[str]:
        """The parts of a pass that it makes, as ``--only`` names them; empty for all."""
        return frozenset(_values(self.words, "--only"))


def _values(words: Sequence[str], *options: str) -> Iterator[str]:
    """What is given for an option, as the next word or behind an equals sign."""
    for word, after in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name in options:
            yield value if equals else after


def active_schedules(root: str = "/") -> tuple[ActiveSchedule, ...]:
    """Every line of cron and every enabled timer that starts ``exlab-orch poll``, in the order in which they are found.

    Args:
        root: where the file system of the computer begins; another one than ``/`` is looked at as if it were one.

    Files that this user may not read (the crontabs of users, for anybody but root) are passed over.
    """
    base = root.rstrip("/")
    return (*_cron_lines(base), *_timers(base))


# -- cron ----------------------------------------------------------------------------------------------------


def _cron_lines(base: str) -> Iterator[ActiveSchedule]:
    for path, user in _crontabs(base):
        yield from crontab_schedules(path, _text(path), user=user)


def crontab_schedules(file: str, text: str, *, user: str | None) -> Iterator[ActiveSchedule]:
    """The lines of a crontab file that start passes; ``user`` is whose it is, None where each line names one."""
    for line in text.splitlines():
        named, command = cron_entry(line, names_user=user is None) or ("", "")
        if _POLL.search(command):
            yield ActiveSchedule("cron", file, command, user or named)


def _crontabs(base: str) -> Iterator[tuple[str, str | None]]:
    """Each crontab file, and whose it is; None where its lines name a user."""
    yield f"{base}{_CRONTAB}", None
    for name in _names(f"{base}{CRON_FOLDER}"):
        if _CRON_READS.fullmatch(name):
            yield f"{base}{CRON_FOLDER}/{name}", None
    for folder in _USER_CRONTABS:
        for name in _names(f"{base}{folder}"):
            yield f"{base}{folder}/{name}", name


def cron_entry(line: str, *, names_user: bool) -> tuple[str, str] | None:
    """The user, where one is named, and the command as the shell gets it; None for comments and settings.

    Args:
        line: one line; a ``%`` without a backslash ends the command (crontab(5)).
        names_user: whether a user stands before the command, as in /etc/cron.d.
    """
    found = _CRON_LINE.fullmatch(line.strip())
    if found is None or line.lstrip().startswith("#"):
        return None
    user, rest = "", found["rest"]
    if names_user:
        user, _, rest = rest.replace("\t", " ").partition(" ")
    command = re.split(r"(?<!\\)%", rest, maxsplit=1)[0].replace("\\%", "%").strip()
    return (user, command) if command else None


# -- timers --------------------------------------------------------------------------------------------------


def _timers(base: str) -> Iterator[ActiveSchedule]:
    for name in _enabled(base, ".timer"):
        path, settings = _unit(base, name)
        service = (settings.get("Unit") or [f"{name.removesuffix('.timer')}.service"])[-1]
        _, of_service = _unit(base, service)
        for command in of_service.get("ExecStart", []):
            if path is not None and _POLL.search(command):
                yield ActiveSchedule("timer", path, command)


def watching_services(root: str = "/") -> tuple[ActiveSchedule, ...]:
    """Every enabled service that runs ``exlab-orch watch``; ``root`` as for ``active_schedules``."""
    base = root.rstrip("/")
    units = [_unit(base, name) for name in _enabled(base, ".service")]
    return tuple(
        ActiveSchedule("timer", path, command)
        for path, settings in units
        for command in settings.get("ExecStart", [])
        if path is not None and _WATCH.search(command)
    )


def _enabled(base: str, ending: str) -> list[str]:
    """Names of units with that ending that a target wants."""
    found = {
        name: None
        for folder in _SWITCHED_ON
        for target in _names(f"{base}{folder}")
        if target.endswith((".wants", ".requires"))
        for name in _names(f"{base}{folder}/{target}")
        if name.endswith(ending)
    }
    return list(found)


def _unit(base: str, name: str) -> tuple[str | None, dict[str, list[str]]]:
    """The file of a unit and its settings, those of its drop-ins included; an empty value forgets the ones before."""
    files = [f"{base}{folder}/{one}" for one in (name, _template(name)) for folder in _UNIT_FOLDERS]
    path = next((file for file in files if os.path.lexists(file)), None)
    if path is None:
        return None, {}
    settings: dict[str, list[str]] = {}
    for file in (path, *_drop_ins(base, name)):
        for key, value in _settings(_text(file)):
            settings[key] = [*settings.get(key, []), value] if value else []
    return path, settings


def _template(name: str) -> str:
    front, at, after = name.partition("@")
    return f"{front}{at}.{after.rpartition('.')[2]}" if at else name


def _drop_ins(base: str, name: str) -> list[str]:
    folders = [f"{base}{folder}/{name}.d" for folder in reversed(_UNIT_FOLDERS)]
    return [f"{folder}/{one}" for folder in folders for one in _names(folder) if one.endswith(".conf")]


def _settings(text: str) -> Iterator[tuple[str, str]]:
    """``Key=value`` of every section; a line that ends with a backslash goes on in the next."""
    for line in text.replace("\\\n", " ").splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith(("#", ";", "[")):
            yield key.strip(), value.strip()


def shebang(program: str) -> str:
    """What the first line of a script names; the Python of a virtual environment can go away while the script stays."""
    try:
        with open(program, "rb") as file:
            line = file.readline(_LONGEST_LINE)
    except OSError:
        return ""
    words = os.fsdecode(line[2:]).split() if line.startswith(b"#!") else []
    return words[0] if words else ""


# -- reading -------------------------------------------------------------------------------------------------


def _names(folder: str) -> Sequence[str]:
    """What is in a folder; nothing where it is not there or closed to us."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return ()


def _text(path: str) -> str:
    """The text of a file; nothing where it is none, not there, or closed to us."""
    if not os.path.isfile(path):
        return ""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_LARGEST)
    except OSError:
        return ""
