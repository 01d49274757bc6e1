"""Whether the NAS that is configured for a proved run now is the one that has its copy: one rule for list and show."""

from __future__ import annotations

from exlab_orch.model import NasPlace, StagedRun
from exlab_orch.station import Station
from exlab_orch.text import printable


def elsewhere(station: Station, run: StagedRun, proved: NasPlace, seen: NasPlace | None) -> str | None:
    """Why the configured place is not the one with the run's copy, or None where it may be.

    Args:
        station: whose configuration counts.
        run: the run.
        proved: where it was proved.
        seen: where its copy was last read again and was good; None where it was not.
    """
    if station.config.nas_for(run.equipment_id) is None:
        return "no NAS is configured for its equipment any more"
    here = station.place_of(run)
    if here.may_be(proved) or here == seen:
        return None
    if proved.path == here.path:
        return f"the NAS at {printable(here.path, 1000)} has another marker than when it was proved"
    return f"it was proved at {printable(proved.path, 1000)}, and the configured place is {printable(here.path, 1000)}"
