"""When the NAS copy of each run was verified last, and whether everything was as proved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from exlab_orch.clock import format_utc, parse_utc
from exlab_orch.damage_kept import LOOK
from exlab_orch.errors import NasPaused
from exlab_orch.ledger import LedgerLine
from exlab_orch.model import Ingest, IngestState, NasPlace, Problem, StagedRun
from exlab_orch.policy import FLAGS
from exlab_orch.station import Station

_AGAIN: Final = "look again "


@dataclass(frozen=True, slots=True)
class LastLook:
    """When a run was last verified, and whether everything was as proved."""

    at: datetime
    ok: bool
    place: NasPlace | None = None
    """Where that was."""


def last_looks(station: Station) -> dict[str, LastLook]:
    """When each run was last verified, by path; kept in the journal, which may be lost: then it is verified again."""
    found = {run_path: _parse_look(text) for run_path, text in station.journal.notes(LOOK).items()}
    return {run_path: look for run_path, look in found.items() if look is not None}


def cleared_looks(station: Station, lines: Iterable[LedgerLine]) -> dict[str, LastLook]:
    """The looks that stand, of runs that are on the NAS only."""
    every = last_looks(station)
    found = {one.run_path: standing(every.get(one.run_path), parse_utc(one.cleared_at)) for one in lines}
    return {run_path: look for run_path, look in found.items() if look is not None}


def last_look(station: Station, run_path: str) -> LastLook | None:
    """When the run was last verified, or None."""
    return _parse_look(station.journal.note(f"{LOOK}{run_path}") or "")


def proved_moment(record: Ingest | None) -> datetime | None:
    """When the run was last proved, as its record says."""
    entry = None if record is None else record.last(IngestState.SYNC_VERIFIED)
    return None if entry is None else entry.moment


def standing(look: LastLook | None, proved_at: datetime | None) -> LastLook | None:
    """The look, or None where a later full read has overtaken it: a copy that was proved, or the proof of a delete."""
    if look is None or look.ok or proved_at is None or proved_at <= look.at:
        return look
    return None


def found_at(look: LastLook | None, proved_at: datetime | None) -> NasPlace | None:
    """Where a good look found what was proved at that time; what it found before that is of an earlier proof."""
    return look.place if look is not None and look.ok and proved_at is not None and look.at >= proved_at else None


def open_problem(problems: Iterable[Problem]) -> str | None:
    """That a problem is open with which a run is not called safe, or None; a pause takes nothing from a proved copy."""
    codes = [one.code for one in problems if one.code not in FLAGS and one.code != NasPaused.code]
    return f"a problem is open: {codes[0]}" if codes else None


def found_damaged(station: Station, run_path: str, proved_at: datetime | None) -> str | None:
    """That the copy that was proved then was no good when it was verified last, or None."""
    look = standing(last_look(station, run_path), proved_at)
    return None if look is None or look.ok else "its copy on the NAS was damaged when it was last verified"


def _parse_look(text: str) -> LastLook | None:
    at, word, marker, path = (*text.split(" ", 3), "", "", "")[:4]
    moment = parse_utc(at)
    return (
        None
        if moment is None
        else LastLook(moment, word == "ok", NasPlace(path, None if marker == "-" else marker) if path else None)
    )


def note_look(station: Station, run: StagedRun, *, ok: bool) -> None:
    """Remember that the run was verified now."""
    place, word = station.place_of(run), "ok" if ok else "damaged"
    text = f"{format_utc(station.now())} {word} {place.marker or '-'} {place.path}"
    with station.journal.transaction():
        station.journal.set_note(f"{LOOK}{run.run_path}", text)
        station.journal.set_note(f"{_AGAIN}{run.run_path}", "")


def look_again(station: Station, run: StagedRun) -> None:
    """Remember that a look saw damage, and ended without a conclusion: the NAS went away meanwhile."""
    station.journal.set_note(f"{_AGAIN}{run.run_path}", format_utc(station.now()))


def to_look_at_again(station: Station) -> set[str]:
    """The runs with such a look, and none since."""
    return {run_path for run_path, text in station.journal.notes(_AGAIN).items() if text}
