"""The two answers about a run: whether it is safe on the NAS, and whether the instrument may delete it.

Each doubt below is a reason to say no; only where none of them applies the answer is yes (lifecycle.md, 7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from exlab_orch.clock import local_words, parse_utc
from exlab_orch.config_nas import MountNas
from exlab_orch.doubts import Doubt, cleared_proof, doubt_of_absent, doubt_of_copy, is_out_of_sight, pushed_again
from exlab_orch.errors import ExlabError, SpecialFile, staging_errors
from exlab_orch.files.places import leaf_identity
from exlab_orch.files.walk import walk
from exlab_orch.journal import FileRow
from exlab_orch.ledger import LedgerLine
from exlab_orch.looks import open_problem
from exlab_orch.model import Identity, Ingest, IngestState, Listing, Problem, StagedRun, proof_place
from exlab_orch.onlookers import FOLDER_ABOVE, JOURNAL, closed_to_us, looks_on
from exlab_orch.ownfiles import proved_hashes_here
from exlab_orch.policy import accepted_by
from exlab_orch.records import judge, remembered_record
from exlab_orch.state import as_owner
from exlab_orch.station import Station
from exlab_orch.text import ago, pasted, printable
from exlab_orch.vouching import at_home
from exlab_orch.whereabouts import configured_places

_SEEN_LATELY: Final = timedelta(hours=1)
"""Passes look at each NAS every few minutes; what was seen longer ago is not known any more."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Yes or no, and why."""

    yes: bool
    why: str
    command: str = ""
    """What to run to have a no looked into, where something can be."""
    known: bool = True
    """False where this user may not read what would tell; ``yes`` is False then, too."""

    @property
    def word(self) -> str:
        """ "yes", "no" or "not known"."""
        if not self.known:
            return "not known"
        return "yes" if self.yes else "no"


@dataclass(frozen=True, slots=True)
class Answers:
    """Is it safe on the NAS? May it be deleted from the instrument?"""

    safe: Answer
    may_delete: Answer


def no_answers(why: str, command: str = "") -> Answers:
    """No to both."""
    return Answers(Answer(False, why, command), Answer(False, "not before it is safe on the NAS"))


def not_known(station: Station, run_path: str, closed: str) -> Answers:
    """Neither yes nor no: this user may not read what would tell, and another one may."""
    why, command = (
        f"this user may not read {closed}",
        as_owner(station.state.path, f"exlab-orch show {pasted(run_path)}"),
    )
    return Answers(
        Answer(False, why, command, known=False),
        Answer(False, "not before it is known to be safe on the NAS", known=False),
    )


def _answers(doubt: Doubt | None, why_safe: str, *, accepted: bool) -> Answers:
    if doubt is not None:
        return no_answers(doubt.why, doubt.command)
    return Answers(Answer(True, why_safe), _may_delete(accepted=accepted))


def _may_delete(*, accepted: bool) -> Answer:
    """What was accepted as it is may have more of it at the instrument than was ever pushed."""
    if accepted:
        why = (
            "it was accepted as it is, and the instrument may have more of it; compare its files with those on the NAS"
        )
        return Answer(False, why)
    return Answer(True, "the NAS holds a proved copy of everything that was pushed")


# -- a run whose folder is there -----------------------------------------------------------------------------


def staged_answers(
    station: Station, run: StagedRun, record: Ingest | None, problems: Sequence[Problem], *, unread: bool = False
) -> Answers:
    """The answers for a run in staging or in the trash; ``problems`` are all that are open, those of its NAS too.

    With ``unread`` its record is closed to this user, who is not the one of the passes.
    """
    told, closed = open_problem(problems), closed_to_us(station)
    entry = None if record is None else record.last(IngestState.SYNC_VERIFIED)
    if unread and told is None:
        return not_known(station, run.run_path, "the record")
    if record is None or entry is None or record.current_state not in (IngestState.SYNC_VERIFIED, IngestState.CLEARED):
        return no_answers(told or "it is not proved on the NAS yet")
    if closed == JOURNAL:
        return not_known(station, run.run_path, closed) if told is None else no_answers(told)
    here = configured_places(station)(run)
    doubt = (
        pushed_again(station.ledger.pushed_again_at(run.run_path))
        or (_without_key(station) or _not_ours(station, run, record) if closed is None else None)
        or (None if told is None else Doubt(told))
        or (_changed(station, run, record) if closed is None else None)
        or doubt_of_copy(station, run, proof_place(entry), entry.moment, here)
    )
    if doubt is None and closed is not None:
        return not_known(station, run.run_path, closed)
    why = f"every byte was read back from the NAS and matched ({printable(local_words(entry.at))})"
    return _answers(doubt or _doubt_of_nas(station, run), why, accepted=accepted_by(record.history))


def _without_key(station: Station) -> Doubt | None:
    if station.state.key is not None:
        return None
    why = "there is no seal key that can be used, so nothing tells which records are ours"
    return Doubt(why, command="exlab-orch doctor")


def _not_ours(station: Station, run: StagedRun, record: Ingest) -> Doubt | None:
    """No seal of ours, or a sealed record of an earlier day that somebody put back."""
    if not station.records.seal_holds(run, record):
        return Doubt("its record was not written by this orchestrator; the next pass proves the run again")
    if run.place.path != run.run_path:
        return None  # in the trash, where a record may be a cleared one
    known = station.journal.run(run.run_path)
    with staging_errors("looking at the run folder"):
        remembered = remembered_record(known, leaf_identity(run.place))
    if remembered is not None and not station.records.seal_holds(run, remembered):
        remembered = None
    ruling = judge(record, seal_holds=True, remembered=remembered, known=known is not None, was_cleared=False).ruling
    is_ours = ruling == "ours"
    return None if is_ours else Doubt("its record is not as this orchestrator left it; the next pass mends that")


def _changed(station: Station, run: StagedRun, record: Ingest) -> Doubt | None:
    """Why the staged files are not, or may not be, what was proved; None where all of them are."""
    try:
        with staging_errors("walking the run folder"):
            listing = walk(run.place, own=station.records.own_names(run.run_path))
        if listing.special:
            raise SpecialFile("links or other special entries", files=sorted(listing.special))
        proved = proved_hashes_here(station, run, record)
    except ExlabError as error:
        return Doubt(f"staging cannot be compared with what was proved: {error.message}")
    look = f"exlab-orch sync {pasted(run.run_path)}"
    if proved is None:
        return Doubt("the list of what was proved is not here any more; it is looked for on the NAS", command=look)
    found = first_difference(listing, proved, station.journal.files(run.run_path))
    return None if found is None else Doubt(found, command=look)


def first_difference(listing: Listing, proved: Mapping[bytes, str], known: Mapping[bytes, FileRow]) -> str | None:
    """What is wrong with the first staged file that is not, or may not be, what was proved."""
    for name, identity in sorted(listing.files.items()):
        found = _difference(identity, proved.get(name), known.get(name))
        if found is not None:
            return f"{printable(name)} {found}"
    return None


def _difference(identity: Identity, proved: str | None, known: FileRow | None) -> str | None:
    if proved is None:
        return "was added to staging after the proof"
    if known is None:
        return "has to be compared with what was proved"
    if known.identity != identity or known.sha256 != proved:
        return "changed in staging after the proof"
    return None


# -- a run whose staged copy is deleted ----------------------------------------------------------------------


def cleared_answers(station: Station, line: LedgerLine, problems: Sequence[Problem]) -> Answers:
    """The answers for a run that is on the NAS only."""
    run, closed = at_home(station, line.run_path), closed_to_us(station)
    if looks_on(station) and is_out_of_sight(run):
        closed = FOLDER_ABOVE
    if closed in (JOURNAL, FOLDER_ABOVE):
        told = open_problem(problems)
        return not_known(station, line.run_path, closed) if told is None else no_answers(told)
    proof, here = cleared_proof(station, line), configured_places(station)(run)
    doubt = doubt_of_absent(station, run, proof, problems, here)
    if doubt is None and closed is not None:
        return not_known(station, line.run_path, closed)
    again = station.ledger.proved_again(line.run_path)
    how = (
        f"it was proved, and its staged copy was deleted on {printable(local_words(line.cleared_at))}"
        if again is None
        else f"it was proved on {printable(local_words(again.proved_again_at))}, and went away from staging later"
    )
    why = f"{how}; the NAS holds the only copy"
    return _answers(doubt or _without_key(station) or _doubt_of_nas(station, run), why, accepted=proof.accepted)


# -- the NAS -------------------------------------------------------------------------------------------------


def _doubt_of_nas(station: Station, run: StagedRun) -> Doubt | None:
    """That the configured NAS is not there now, or that nobody has looked lately."""
    return _fault_now(station, run) if _may_look(station, run) else _not_seen(station, run)


def _may_look(station: Station, run: StagedRun) -> bool:
    """A mounted NAS is looked at, which takes a moment; the locks for that are its owner's."""
    return isinstance(station.config.nas_for(run.equipment_id), MountNas) and station.state.is_ours


def _fault_now(station: Station, run: StagedRun) -> Doubt | None:
    try:
        station.nas_of(run).check()
    except ExlabError as error:
        return Doubt(f"{error.message} {error.hint}".rstrip(), command="exlab-orch doctor")
    return None


def _not_seen(station: Station, run: StagedRun) -> Doubt | None:
    seen = parse_utc(station.journal.note(f"well {station.nas_of(run).name}") or "")
    if seen is not None and station.now() - seen <= _SEEN_LATELY:
        return None
    when = "" if seen is None else f" since {ago((station.now() - seen).total_seconds()).removesuffix(' ago')}"
    return Doubt(f"no pass has looked at the NAS{when}", command="exlab-orch poll")
