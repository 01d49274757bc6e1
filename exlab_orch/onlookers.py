"""Who only looks on, and is not the user of the passes: and what may not be read then."""

from __future__ import annotations

import os
from typing import Final

from exlab_orch.access import lacks_rights
from exlab_orch.errors import ExlabError, RunProblem, staging_errors
from exlab_orch.files.walk import Writers, look_for_writers
from exlab_orch.model import Listing, StagedRun
from exlab_orch.station import Station
from exlab_orch.text import printable

JOURNAL: Final = "the journal"
FOLDER_ABOVE: Final = "the folder above it"
LEDGER: Final = "the ledger"


def looks_on(station: Station) -> bool:
    """Whether this is another user than that of the passes, who may read everything."""
    try:
        return not station.state.is_ours
    except OSError:
        return False  # there is no state directory, and nothing that others could read in it


def closed_to_us(station: Station) -> str | None:
    """What of the state directory this user may not read, and another one may; None where everything is open."""
    if not looks_on(station):
        return None
    if station.journal.is_nowhere and os.path.exists(station.state.journal_path):
        return JOURNAL
    return None if station.state.key is not None else "the seal key"


def is_closed_to_us(station: Station, error: ExlabError) -> bool:
    """Whether that was raised because this user, who only looks on, may not read something of a run."""
    return lacks_rights(error) and looks_on(station)


def writers_of(station: Station, run: StagedRun, listing: Listing) -> Writers:
    """Who writes to the files of a run now; who only looks on, and may not open them, is not told.

    Raises:
        RunProblem: a file cannot be opened.
    """
    try:
        with staging_errors("looking for open files"):
            return look_for_writers(run.place, listing.files)
    except RunProblem as error:
        if is_closed_to_us(station, error):
            return Writers(None, is_told=False)
        raise


def writer_words(name: bytes) -> str:
    """That somebody writes to a file of a run, which is why it waits."""
    return f"{printable(name)} is still open for writing"
