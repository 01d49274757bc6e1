"""Where a report is written: whole, over a former report only, and never into staging."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from secrets import token_hex

import click

from exlab_orch.cli.call import Call
from exlab_orch.cli.report_page import is_report
from exlab_orch.files.places import Style
from exlab_orch.files.whole import replace_own
from exlab_orch.model import Place
from exlab_orch.text import printable

_BEGINNING = 4096


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
            raise refused(self.path, f"it cannot be written: {error.strerror}") from error


def refused(path: str, why: str) -> click.BadParameter:
    """Why a file is not written."""
    return click.BadParameter(f"{printable(path, limit=1000)}: {why}.", param_hint="'--html'")


def page_file(target: str, call: Call) -> PageFile:
    """The file a person means, after a question where it is there and no report; links are followed.

    Raises:
        BadParameter: it is no plain file, cannot be written there, or lies in staging.
        NotConfirmed: it is something else, and nobody said that it may go.
    """
    path = os.path.realpath(target)
    root = os.path.realpath(call.config.orchestrator.staging_root)
    if path == root or path.startswith(f"{root}/"):
        raise refused(path, "it lies in staging, where every file is data of a run")
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return PageFile(path, 0o666 & ~call.umask)
    except OSError as error:
        raise refused(path, f"it cannot be looked at: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise refused(path, "it is no plain file; use - for standard output")
    if not _is_former(path) and not call.settings.dry_run:
        call.confirm(f"{printable(path, limit=1000)} is no report of exlab-orch. Replace it?")
    return PageFile(path, stat.S_IMODE(found.st_mode))


def _is_former(path: str) -> bool:
    """Whether the file is a former report, or empty: ``mktemp`` makes such files."""
    try:
        with open(path, "rb") as file:
            beginning = file.read(_BEGINNING)
    except OSError as error:
        raise refused(path, f"it cannot be read: {error.strerror}") from error
    return not beginning or is_report(beginning)
