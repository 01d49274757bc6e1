"""Whether cron takes a line that starts passes: files that it passes over, and users whose passes are refused."""

from __future__ import annotations

import os
import pwd
import shlex
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from exlab_orch.diagnosis import Finding
from exlab_orch.doctor.visit import WIDE, Computer, Visit, has_name
from exlab_orch.groups import user_name
from exlab_orch.schedule import CRON_FOLDER, ActiveSchedule
from exlab_orch.text import printable

_OURS: Final = f"{CRON_FOLDER}/exlab-orch"
_CHECK: Final = "schedule.active"


def refused(
    computer: Computer, found: Sequence[ActiveSchedule], install: Callable[[ActiveSchedule], str]
) -> Finding | None:
    """What is wrong with the first line of cron that starts no pass, or one that is refused; None where all are well.

    Args:
        computer: where the files of cron are.
        found: what starts passes with this configuration.
        install: the command that installs a schedule anew.
    """
    lines = [one for one in found if one.kind == "cron"]
    return next((finding for one in lines for finding in _wrong(computer, one, _anew(one, install(one)))), None)


def _wrong(computer: Computer, one: ActiveSchedule, anew: str) -> Iterator[Finding]:
    shown = printable(one.file, WIDE)
    for why, fix in _why_passed_over(computer, one.file):
        yield Finding(_CHECK, "error", f"cron passes over {shown}: {why}.", fix)
    uid, owner = _uid(one.user), computer.owner() if isinstance(computer, Visit) else None
    if uid is None:
        missing = f"there is no user {printable(one.user or '', WIDE)} on this computer"
        yield Finding(_CHECK, "error", f"cron passes over {shown}: {missing}.", anew)
    elif owner is not None and has_name(owner) and uid != owner and not one.becomes_another:
        refusal = f"{shown} starts passes as {one.user}, and each is refused"
        yield Finding(_CHECK, "error", f"{refusal}: passes are run by {user_name(owner)}.", anew)


def _uid(user: str | None) -> int | None:
    try:
        return pwd.getpwnam(user or "").pw_uid
    except KeyError:
        return None


def _why_passed_over(computer: Computer, file: str) -> Iterator[tuple[str, str]]:
    """Why cron does not read a crontab file, and how to mend it (cron(8) of Debian, crontab(5))."""
    name = shlex.quote(file)
    if _is_of_system(file):
        root = 0 if computer.system == "/" else os.stat(computer.system).st_uid
        target, link = os.stat(file), os.lstat(file)
        if target.st_uid != root:
            yield f"it belongs to {user_name(target.st_uid)}, not to root", f"sudo chown root: {name}"
        if stat.S_ISLNK(link.st_mode) and link.st_uid != root:
            yield f"the link belongs to {user_name(link.st_uid)}, not to root", f"sudo chown -h root: {name}"
        mode = stat.S_IMODE(target.st_mode)
        if mode & 0o022:
            yield f"others than root may write in it (mode {mode:04o})", f"sudo chmod go-w {name}"
        if target.st_nlink > 1:
            anew = f"sudo cp {name} {name}.new && sudo mv {name}.new {name}"
            yield "it has a second name (a hard link)", anew
    content = _content(file)
    if b"\r\n" in content:
        yield "its lines end as on Windows", f"sudo sed -i 's/\\r$//' {name}"
    if not _ends(content):
        yield "its last line has no line break at its end", f"echo | sudo tee -a {name}"


def _is_of_system(file: str) -> bool:
    """Whether it is root's own, and not the crontab of a user."""
    return file.endswith("/etc/crontab") or os.path.dirname(file).endswith(CRON_FOLDER)


def _content(file: str) -> bytes:
    """What stands in it; nothing where ``crontab -l`` showed it, for that is no file, and crontab sees to its form."""
    try:
        with open(file, "rb") as opened:
            return opened.read()
    except OSError:
        return b""


def _ends(content: bytes) -> bool:
    """Whether the last line ends, or is a comment, which cron reads without an end, too."""
    rest = content.rpartition(b"\n")[2].strip()
    return not rest or rest.startswith(b"#")


def _anew(one: ActiveSchedule, install: str) -> str:
    """How to have the line written again, for the user that runs the passes."""
    file = shlex.quote(one.file)
    if one.file.endswith(_OURS):
        return f"Write it anew: sudo mv {file} {file}.old && {install}"
    if _is_of_system(one.file):
        edit = f"sudoedit {file}"
    elif _uid(one.user) is None:  # crontab knows no user who is not there any more
        edit = f"sudo rm {file}"
    else:
        edit = f"sudo crontab -u {shlex.quote(one.user or '')} -e"
    return f"Take its line away: {edit} ; then: {install}"
