"""Who only looks on, and is not the user of the passes: and what may not be read then."""

from __future__ import annotations

import os
from typing import Final

from exlab_orch.station import Station

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
