"""Receipts of runs that no pass looks at: each says what is known here of the copy, and no other is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Final

from exlab_orch.clock import format_utc, parse_utc
from exlab_orch.doubts import Doubt, LastProof, doubt_of_absent, last_proof
from exlab_orch.errors import RunProblem, staging_errors
from exlab_orch.files.places import is_folder, leaf_identity
from exlab_orch.ledger import UNSEEN as NO_RECORD
from exlab_orch.looks import last_look
from exlab_orch.making_room import staging_subject
from exlab_orch.model import NasPlace, StagedRun
from exlab_orch.receipts import (
    ELSEWHERE,
    NOT_WRITTEN,
    RECEIPTS,
    UNKNOWN,
    UNSEEN,
    Receipt,
    Standing,
    equipment_folders,
    receipt_name,
    receipt_names,
    receipt_of,
    safe_again,
    standing_receipt,
)
from exlab_orch.records import read_record, remembered_record
from exlab_orch.staging import Discovery, trash_slots
from exlab_orch.state import short_hash
from exlab_orch.station import RECEIPTS_RENEWED, Station, life_of
from exlab_orch.text import printable
from exlab_orch.vouching import at_home
from exlab_orch.whereabouts import configured_places

_DISAPPEARED: Final = "run_disappeared"
_UNSEEN_LOOKED_FOR: Final = "unseen looked for"
"""The key of the note when it was looked last for what lies out of sight, and under which circumstances."""
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
    if found.strays and journal.note(_UNSEEN_LOOKED_FOR) != (hour := f"{mark} {format_utc(station.now())[:13]}"):
        _note_unseen(station, found)
        journal.set_note(_UNSEEN_LOOKED_FOR, hour)
    if journal.note(_SETTLED) == mark and not _failed(station, found):
        return
    journal.set_note(_SETTLED, "")  # also where the configuration goes back to the one before
    if settle_receipts(station, found):
        journal.set_note(_SETTLED, mark)


def _note_unseen(station: Station, found: Discovery) -> None:
    """Have the ledger keep that something lies where a run was deleted, and no pass looks at it: it may go again."""
    strays = {stray.path for stray in found.strays}
    for run_path in dict.fromkeys(line.run_path for line in station.ledger.lines()):
        run = at_home(station, run_path)
        with suppress(OSError):  # what may not be looked at is no evidence
            if strays & {*_places_of(run_path)} and is_folder(run.place):
                station.note_unproved(run, UNSEEN, _life_there(station, run))


def _life_there(station: Station, run: StagedRun) -> str:
    """Which life lies there, by its record, or by the one that a pass would give it back. Raises OSError."""
    known = remembered_record(station.journal.run(run.run_path), leaf_identity(run.place))
    try:
        return life_of(read_record(run) or known) or NO_RECORD
    except RunProblem:
        return ""


def _places_of(run_path: str) -> Iterator[str]:
    """The run and every folder that it is in."""
    parts = run_path.split("/")
    return ("/".join(parts[: number + 1]) for number in range(len(parts)))


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


def settle_receipt(station: Station, run: StagedRun) -> None:
    """Have the receipt of a run that is not in staging say what is known, now that its whole copy was read.

    The run's lock is held. What hinders it stops nothing, and is told by the next pass.
    """
    try:
        with staging_errors("reading a receipt"):
            there = receipt_of(station.staging_root, run.run_path)
    except RunProblem:
        station.journal.set_note(_SETTLED, "")
        return
    if there is not None:
        _Settling(station).put_right(run, replace(there, run=run.run_path), was_read=True)


def settle_receipts(station: Station, found: Discovery) -> bool:
    """Have each receipt of a run that is not among these say what is known; whether no second try is needed.

    Raises:
        RunProblem: staging cannot be read.
    """
    settling, hindered, looked_after = _Settling(station), list[str](), _looked_after(station, found)
    with staging_errors("looking through the receipts"):
        folders = equipment_folders(station.staging_root)
    is_done, seen = True, set[str]()
    for standing in (one for folder in folders for one in _standing(station, folder, settling.named, hindered)):
        seen.add(standing.run)
        is_done &= standing.run in looked_after or settling.settle(standing)
    _tell_hindered(station, hindered)
    for run_path in _failed(station, found) - seen if not hindered else ():
        station.set_problems(run_path, "receipt", [])  # what could not be written is gone
    return is_done and not hindered and not _failed(station, found)


def _looked_after(station: Station, found: Discovery) -> frozenset[str]:
    """The runs whose receipts are left to who looks at them."""
    in_trash = (slot.run.run_path for slot in trash_slots(station.staging_root) if slot.run is not None)
    return frozenset({*(run.run_path for run in found.runs), *in_trash})


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


class _Settling:
    """What is the same for all receipts of one round."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._place = configured_places(station)
        self._names: dict[str, str] | None = None

    def named(self, path: str) -> str:
        """The run that we know whose receipt has that name, as ``EQUIPMENT/name``, or ""."""
        if self._names is None:
            runs = {line.run_path for line in self._station.ledger.lines()} | self._station.journal.runs().keys()
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
            if held:
                self.put_right(run, standing)  # somebody may have verified it just now
            return held

    def put_right(self, run: StagedRun, standing: Standing, *, was_read: bool = False) -> None:
        """Have it say what it should; the run's lock is held. ``was_read``: the whole copy, just now."""
        wanted = self._wanted(run, standing, was_read=was_read)
        if isinstance(wanted, Receipt):
            self._station.renew_receipt(wanted, run)
        elif wanted is not None:
            self._station.withdraw_receipt(run, wanted.why, wanted.until)

    def _wanted(self, run: StagedRun, standing: Standing, *, was_read: bool = False) -> Receipt | Doubt | None:
        """What it should say, or why it is to be withdrawn; None where it may stay as it is."""
        known = self._station.journal.run(run.run_path)
        proof = last_proof(self._station, known, self._station.ledger.last(run.run_path))
        told, is_whole, here = standing.receipt, standing.is_whole, self._place(run)
        doubt = self._doubt(run, proof, here)
        if doubt is not None:
            is_said = is_whole and told is not None and told.is_withdrawn_until(doubt.until)
            return None if is_said else doubt
        if proof is None or here is None:
            return None
        told = told or (_of_proof(run.run_path, proof) if was_read else None)
        if told is None or (told.safe and is_whole and told.nas_path == here.path):
            return None
        if told.is_withdrawn_until("read") and not (was_read or self._was_read_since(run, told)):
            return None if is_whole else Doubt(told.reason or UNKNOWN, told.until or "read")  # its text may say "safe"
        return self._safe(told, proof, here)

    def _doubt(self, run: StagedRun, proof: LastProof | None, here: NasPlace | None) -> Doubt | None:
        """Why it is not called safe at the instrument, where somebody may delete the run then."""
        station = self._station
        if proof is None:
            return Doubt(UNKNOWN)
        if proof.accepted:
            return Doubt("it was accepted as it is, and the instrument may have more of it", "proof")
        problems = [one for one in station.journal.problems(run.run_path) if one.code != _DISAPPEARED]
        doubt = doubt_of_absent(station, run, proof, problems, here)
        if doubt is None and station.config.equipment_for(run.equipment_id) is None:
            return Doubt(ELSEWHERE)  # nobody sees what is pushed again
        return doubt

    def _was_read_since(self, run: StagedRun, told: Receipt) -> bool:
        """Whether the whole copy was read after it was withdrawn, where that is enough; a bad look would be a doubt."""
        look, withdrawn = last_look(self._station, run.run_path), parse_utc(told.written_at)
        was_read = look is not None and withdrawn is not None and look.at >= withdrawn
        return was_read and not told.is_withdrawn_until("proof")

    def _safe(self, told: Receipt, proof: LastProof, here: NasPlace) -> Receipt | None:
        """It as it was; where that is of another proof, or of none, as the ledger has it. None where it has not."""
        known = told if told.checksum_sha256 == proof.checksum_sha256 else _of_proof(told.run, proof)
        if known is None:
            return None
        written = format_utc(self._station.now())
        return replace(known, safe=True, reason=None, until=None, nas_path=here.path, written_at=written)


def _of_proof(run_path: str, proof: LastProof) -> Receipt | None:
    """What the ledger knows for a receipt of a run whose staged copy is deleted; None where it knows too little."""
    if proof.counted is None or proof.at is None:
        return None
    files, byte_total = proof.counted
    sha256 = proof.checksum_sha256
    return safe_again(
        run_path, proof.place.path, files=files, byte_total=byte_total, checksum_sha256=sha256, now=proof.at
    )
