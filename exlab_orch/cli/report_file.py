"""Where a report is written: whole, over a former report only, and never where data or our own memory lies."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from secrets import token_hex

import click

from exlab_orch.cli.call import Call
from exlab_orch.cli.report_page import is_report
from exlab_orch.config import Config
from exlab_orch.errors import ExlabError, OutputLost, WrongUser
from exlab_orch.files.places import Style
from exlab_orch.files.whole import replace_own
from exlab_orch.hints import SAME_COMMAND
from exlab_orch.model import Place
from exlab_orch.text import printable

_BEGINNING = 4096
_OF_THE_NAME = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP})
"""What is wrong with a path, and not with its disk."""


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file that may be written."""

    path: str
    mode: int

    def write(self, page: bytes) -> None:
        """Write the page whole: who reads meanwhile sees the former one, or this."""
        folder, name = os.path.split(self.path)
        temporary = f".{name[:100]}.{token_hex(4)}.exlab-new"
        try:
            replace_own(Place(folder, ""), name, page, temporary=temporary, style=Style(file_mode=self.mode))
        except OSError as error:
            raise unusable(self.path, error, "written") from error


def unusable(path: str, error: OSError, doing: str) -> ExlabError | click.BadParameter:
    """Why a page cannot be written there: rights, the name that was given, or the disk."""
    message = f"{printable(path, limit=1000)} cannot be {doing}: {error.strerror}."
    if isinstance(error, PermissionError):
        hint = f"Name a file that this user may write, or run it as one that may: sudo {SAME_COMMAND}"
        return WrongUser(message, hint=hint)
    if error.errno in _OF_THE_NAME:
        return refused(path, f"it cannot be {doing}: {error.strerror}")
    return OutputLost(message, hint="Look at that disk, or name a file on another one.")


def refused(path: str, why: str) -> click.BadParameter:
    """Why a file is not written."""
    return click.BadParameter(f"{printable(path, limit=1000)}: {why}.", param_hint="'--html'")


def page_file(target: str, call: Call) -> PageFile:
    """The file a person means, after a question where it is there and no report.

    Raises:
        BadParameter: it is a link or no plain file, has an impossible name, or lies where no report belongs.
        WrongUser: this user may not look there.
        NotConfirmed: it is something else, and nobody said that it may go.
    """
    if os.path.islink(target):  # whoever may write into its folder would else choose what is replaced
        leads_to = printable(os.path.realpath(target), limit=1000)
        raise refused(target, f"it is a link to {leads_to}; name that, or use - for standard output")
    path = os.path.realpath(target)
    for root, why in _closed_places(call.config):
        if _is_within(path, os.path.realpath(root)):
            raise refused(path, why)
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return PageFile(path, 0o666 & ~call.umask)
    except OSError as error:
        raise unusable(path, error, "looked at") from error
    if not stat.S_ISREG(found.st_mode):
        raise refused(path, "it is no plain file; use - for standard output")
    if not _is_former(path) and not call.settings.dry_run:
        call.confirm(f"{printable(path, limit=1000)} is no report of exlab-orch. Replace it?")
    return PageFile(path, stat.S_IMODE(found.st_mode))


def _closed_places(config: Config) -> Iterator[tuple[str, str]]:
    """Folders in which no report is written, with the reason: there even a former report may be somebody's data."""
    yield config.orchestrator.staging_root, "it lies in staging, where every file is data of a run"
    yield config.orchestrator.state_dir, "it lies in the state directory, which is for exlab-orch alone"
    for root in config.mount_roots:
        yield root, "it lies on the NAS among the runs, of which many have no other copy"


def _is_within(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root.rstrip('/')}/")


def _is_former(path: str) -> bool:
    """Whether the file is a former report, or empty: ``mktemp`` makes such files."""
    try:
        with open(path, "rb") as file:
            beginning = file.read(_BEGINNING)
    except OSError as error:
        raise unusable(path, error, "read") from error  # nobody can say whether it may be replaced
    return not beginning or is_report(beginning)
