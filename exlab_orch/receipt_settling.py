"""Receipts of runs that no pass looks at: each says what is known here of the copy, and no other is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from exlab_orch.clock import format_utc, parse_utc
from exlab_orch.errors import RunProblem, staging_errors
from exlab_orch.files.places import is_folder
from exlab_orch.ledger import LedgerLine
from exlab_orch.looks import found_at, found_damaged, last_look, open_problem
from exlab_orch.making_room import staging_subject
from exlab_orch.model import CHECKSUMS_PATH, IngestState, NasPlace, StagedRun, proof_place
from exlab_orch.policy import accepted_by
from exlab_orch.receipts import (
    ELSEWHERE,
    HIDDEN,
    NOT_WRITTEN,
    RECEIPTS,
    UNKNOWN,
    UNSEEN,
    Receipt,
    Standing,
    Until,
    equipment_folders,
    receipt_name,
    receipt_names,
    standing_receipt,
)
from exlab_orch.records import parse_record
from exlab_orch.staging import Discovery, trash_slots
from exlab_orch.state import short_hash
from exlab_orch.station import RECEIPTS_RENEWED, Station
from exlab_orch.text import printable
from exlab_orch.vouching import at_home, is_proved
from exlab_orch.whereabouts import configured_places, elsewhere

_DISAPPEARED: Final = "run_disappeared"
_SETTLED: Final = "receipts follow"
"""The key of the journal's note under which circumstances every receipt was settled."""


def follow(station: Station, found: Discovery) -> None:
    """Settle every receipt once a day, and when the configuration or what is no run in staging is another.

    What hinders one is told, and tried again in each pass.

    Args:
        station: the open parts.
        found: what the pass saw in staging; whoever looks at a run there settles its receipt.
    """
    journal, mark = station.journal, _mark(station, found)
    if journal.note(_SETTLED) == mark and not _failed(station, found):
        return
    journal.set_note(_SETTLED, "")  # also where the configuration goes back to the one before
    if settle_receipts(station, found):
        journal.set_note(_SETTLED, mark)


def _mark(station: Station, found: Discovery) -> str:
    """Is another one when receipts may have to say something else."""
    strays = "\n".join(sorted(f"{stray.path} {stray.code}" for stray in found.strays))
    day = format_utc(station.now()).partition("T")[0]
    renewed = station.journal.note(RECEIPTS_RENEWED)
    configuration = f"{station.config.fingerprint()} {station.state.key_mark()}"
    return short_hash(f"{configuration} {day} {renewed} {station.ledger.identity()} {strays}")


def _failed(station: Station, found: Discovery) -> set[str]:
    """The runs that no pass looks at, with a receipt that could not be written."""
    told = station.journal.problem_subjects("receipt")
    return told - {run.run_path for run in found.runs} if told else told


def settle_receipts(station: Station, found: Discovery) -> bool:
    """Have each receipt of a run that is not among these say what is known; whether no second try is needed.

    Raises:
        RunProblem: staging cannot be read.
    """
    settling, hindered = _Settling(station, found), list[str]()
    with staging_errors("looking through the receipts"):
        folders = equipment_folders(station.staging_root)
    is_done, seen = True, set[str]()
    for standing in (one for folder in folders for one in _standing(station, folder, settling.named, hindered)):
        seen.add(standing.run)
        is_done &= standing.run in settling.looked_after or settling.settle(standing)
    _tell_hindered(station, hindered)
    for run_path in _failed(station, found) - seen if not hindered else ():
        station.set_problems(run_path, "receipt", [])  # what could not be written is gone
    return is_done and not hindered and not _failed(station, found)


def _standing(station: Station, equipment: str, named: Callable[[str], str], hindered: list[str]) -> Iterator[Standing]:
    """The receipts of an equipment; ``hindered`` takes a sentence for each fault that kept one from being read."""
    names: list[str] = []
    with _noted(hindered, f"looking through the receipts of {printable(equipment)}"):
        names = receipt_names(station.staging_root, equipment)
    for name in names:
        found = None
        with _noted(hindered, f"reading the receipt {printable(f'{equipment}/{RECEIPTS}/{name}')}"):
            found = standing_receipt(station.staging_root, equipment, name)
        if found is not None:
            found = found if found.run else replace(found, run=named(f"{equipment}/{name}"))
            if found.run:
                yield found


@contextmanager
def _noted(hindered: list[str], doing: str) -> Iterator[None]:
    try:
        with staging_errors(doing):
            yield
    except RunProblem as error:
        hindered.append(error.message)


def _tell_hindered(station: Station, sentences: Sequence[str]) -> None:
    subject, more = staging_subject(station), f" ({len(sentences) - 1} more)" if sentences[1:] else ""
    hint = "Let the service user read and write there: a receipt may say that a run is safe, and it is not any more."
    found = [station.problem(subject, NOT_WRITTEN, f"{sentences[0]}{more}", hint)] if sentences else []
    station.set_problems(subject, "receipts", found)


@dataclass(frozen=True, slots=True)
class _Proof:
    """What is known here of the last proof of a run."""

    place: NasPlace
    at: datetime | None
    checksum_sha256: str
    accepted: bool
    line: LedgerLine | None = None
    """Where its staged copy was deleted."""


@dataclass(frozen=True, slots=True)
class _Doubt:
    """Why a run is not called safe, and until when."""

    why: str
    until: Until = "evidence"


class _Settling:
    """What is the same for all receipts of one round."""

    def __init__(self, station: Station, found: Discovery) -> None:
        self._station = station
        self._lines: Mapping[str, LedgerLine] = {line.run_path: line for line in station.ledger.lines()}
        self._place = configured_places(station)
        self._names: dict[str, str] | None = None
        in_trash = (slot.run.run_path for slot in trash_slots(station.staging_root) if slot.run is not None)
        self.looked_after = frozenset({*(run.run_path for run in found.runs), *in_trash})

    def named(self, path: str) -> str:
        """The run that we know whose receipt has that name, as ``EQUIPMENT/name``, or ""."""
        if self._names is None:
            runs = self._lines.keys() | self._station.journal.runs().keys()
            self._names = {f"{run.partition('/')[0]}/{receipt_name(run)}": run for run in runs}
        return self._names.get(path, "")

    def settle(self, standing: Standing) -> bool:
        """Whether it needs no second try: False where another process is busy with the run."""
        station, run = self._station, at_home(self._station, standing.run)
        if self._wanted(run, standing) is None:
            if run.run_path in station.journal.problem_subjects("receipt"):
                station.set_problems(run.run_path, "receipt", [])  # it says what it should, whoever saw to that
            return True
        with station.state.run_lock(run.run_path) as held:
            wanted = self._wanted(run, standing) if held else None  # somebody may have verified it just now
            if isinstance(wanted, Receipt):
                station.renew_receipt(wanted, run)
            elif wanted is not None:
                station.withdraw_receipt(run, wanted.why, wanted.until)
            return held

    def _wanted(self, run: StagedRun, standing: Standing) -> Receipt | _Doubt | None:
        """What it should say, or why it is to be withdrawn; None where it may stay as it is."""
        proof, told, is_whole = self._proof(run), standing.receipt, standing.is_whole
        doubt = self._doubt(run, proof)
        if doubt is not None:
            is_said = is_whole and told is not None and told.is_withdrawn_until(doubt.until)
            return None if is_said else doubt
        here = self._place(run)
        if proof is None or told is None or here is None or (told.safe and is_whole and told.nas_path == here.path):
            return None
        if told.is_withdrawn_until("read") and not self._may_be_given_back(run, told):
            return None if is_whole else _Doubt(told.reason or UNKNOWN, told.until or "read")  # its text may say "safe"
        return self._safe(told, proof, here)

    def _proof(self, run: StagedRun) -> _Proof | None:
        known, line = self._station.journal.run(run.run_path), self._lines.get(run.run_path)
        record = None if known is None or known.record is None else parse_record(known.record.encode())
        if record is not None:  # it disappeared, in its newest life
            entry = record.last(IngestState.SYNC_VERIFIED)
            if entry is None or not is_proved(record):
                return None
            sha256, accepted = entry.text("checksum_sha256") or "", accepted_by(record.history)
            return _Proof(proof_place(entry), entry.moment, sha256, accepted)
        if line is None:
            return None
        place = NasPlace(line.nas_path, line.nas_marker)
        return _Proof(place, parse_utc(line.cleared_at), line.checksum_sha256, line.accepted, line)

    def _doubt(self, run: StagedRun, proof: _Proof | None) -> _Doubt | None:
        station = self._station
        if proof is None:
            return _Doubt(UNKNOWN)
        if station.config.equipment_for(run.equipment_id) is None:
            return _Doubt(ELSEWHERE)  # nobody sees what is pushed again
        is_staged = _is_staged(run)
        if is_staged is not False:
            return _Doubt(HIDDEN) if is_staged is None else _Doubt(UNSEEN, "proof")
        if proof.accepted:
            return _Doubt("it was accepted as it is, and the instrument may have more of it", "proof")
        problems = [one for one in station.journal.problems(run.run_path) if one.code != _DISAPPEARED]
        damage = open_problem(problems) or found_damaged(station, run.run_path, proof.at)
        if damage is not None:
            return _Doubt(damage, "read")
        seen = found_at(last_look(station, run.run_path), proof.at)
        return None if elsewhere(run, self._place(run), proof.place, seen) is None else _Doubt(ELSEWHERE)

    def _may_be_given_back(self, run: StagedRun, told: Receipt) -> bool:
        """Whether the whole copy was read after it was withdrawn, where that is enough; a bad look would be a doubt."""
        look, withdrawn = last_look(self._station, run.run_path), parse_utc(told.written_at)
        was_read = look is not None and withdrawn is not None and look.at >= withdrawn
        return was_read and not told.is_withdrawn_until("proof")

    def _safe(self, told: Receipt, proof: _Proof, here: NasPlace) -> Receipt | None:
        """It as it was; where that is of another proof, or of none, as the ledger has it. None where it has not."""
        if told.checksum_sha256 != proof.checksum_sha256:
            line = proof.line
            if line is None:
                return None
            told = replace(
                told,
                file_count=line.files_cleared,
                byte_total=line.bytes_freed,
                checksum_file=CHECKSUMS_PATH,
                checksum_sha256=line.checksum_sha256,
                verified_at=line.cleared_at,
            )
        written = format_utc(self._station.now())
        return replace(told, safe=True, reason=None, until=None, nas_path=here.path, written_at=written)


def _is_staged(run: StagedRun) -> bool | None:
    """Whether the run's folder is there; None where that cannot be told, and nobody can look at it either."""
    try:
        return is_folder(run.place)
    except OSError:
        return None
