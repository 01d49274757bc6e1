"""Whether the NAS that is configured for a proved run now is the one that has its copy: one rule for list and show."""

from __future__ import annotations

from collections.abc import Callable

from exlab_orch.looks import found_at, last_looks
from exlab_orch.model import HistoryEntry, NasPlace, StagedRun, proof_place
from exlab_orch.station import Station
from exlab_orch.text import printable


def elsewhere(run: StagedRun, here: NasPlace | None, proved: NasPlace, seen: NasPlace | None) -> str | None:
    """Why the configured place is not the one with a run's copy, or None where it may be.

    Args:
        run: the run.
        here: where the configuration has the run; None where it names no NAS for it.
        proved: where it was proved.
        seen: where its copy was last read again since and was good; None where it was not.
    """
    if here is None:
        return "no NAS is configured for its equipment any more"
    if here.may_be(seen or proved):
        return None
    if (seen or proved).path == here.path:
        root = here.path.removesuffix(run.run_path).rstrip("/") or "/"
        when = "it was proved" if seen is None else "its copy was last found good there"
        return f"the NAS at {printable(root, 1000)} has another marker than when {when}"
    if seen is not None:
        return f"its copy was last found good at {printable(seen.path, 1000)}, and was not read here since"
    return f"it was proved at {printable(proved.path, 1000)}, and the configured place is {printable(here.path, 1000)}"


def configured_places(station: Station) -> Callable[[StagedRun], NasPlace | None]:
    """Tells where the configuration has a run, or None; what is the same for all runs of an equipment is asked once."""
    known: dict[str, tuple[Callable[[str], str], str | None] | None] = {}

    def of_equipment(run: StagedRun) -> tuple[Callable[[str], str], str | None] | None:
        if station.config.nas_for(run.equipment_id) is None:
            return None
        return station.nas_of(run).where, station.config.marker_of(run.equipment_id)

    def place(run: StagedRun) -> NasPlace | None:
        equipment = run.equipment_id
        if equipment not in known:
            known[equipment] = of_equipment(run)
        found = known[equipment]
        return None if found is None else NasPlace(found[0](run.run_path), found[1])

    return place


def moved_runs(station: Station) -> Callable[[StagedRun, HistoryEntry | None], str | None]:
    """Tells of proved runs what ``elsewhere`` does, by where their records have them; the journal is read once."""
    place, looks = configured_places(station), last_looks(station)

    def moved(run: StagedRun, proof: HistoryEntry | None) -> str | None:
        here, proved = place(run), proof_place(proof)
        seen = found_at(looks.get(run.run_path), None if proof is None else proof.moment)
        if seen is None and here == proved:
            return None  # as most are, of thousands
        return elsewhere(run, here, proved, seen)

    return moved
