"""Why the copy of a proved run is not called safe: one rule for ``show`` and for receipts.

Whether the NAS is there right now is another matter.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from exlab_orch.clock import local_words, parse_utc
from exlab_orch.files.places import is_folder
from exlab_orch.journal import JournalRun
from exlab_orch.ledger import LedgerLine
from exlab_orch.looks import found_at, found_damaged, last_look, open_problem
from exlab_orch.model import Ingest, IngestState, NasPlace, Problem, StagedRun, proof_place
from exlab_orch.policy import accepted_by
from exlab_orch.receipts import HIDDEN, UNSEEN, Until
from exlab_orch.records import remembered
from exlab_orch.station import Station
from exlab_orch.text import pasted, printable
from exlab_orch.vouching import is_proved
from exlab_orch.whereabouts import elsewhere


@dataclass(frozen=True, slots=True)
class LastProof:
    """What is known here of the last proof of a run."""

    place: NasPlace
    at: datetime | None
    checksum_sha256: str
    accepted: bool
    """Whether a person took the run as it was: the instrument may have more of it."""
    counted: tuple[int, int] | None = None
    """How many files and bytes, where that is known without a record."""
    pushed_again_at: str | None = None
    """When it came to staging again, with what nothing proves."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a run is not called safe, until when, and the command that looks into it."""

    why: str
    until: Until = "evidence"
    command: str = ""


def last_proof(station: Station, known: JournalRun | None, line: LedgerLine | None) -> LastProof | None:
    """The last proof of a run that is not in staging: one that disappeared is known to the journal, else the ledger.

    None where neither knows one.
    """
    record = remembered(known)
    if record is not None:
        return _by_record(record)
    return None if line is None else cleared_proof(station, line)


def cleared_proof(station: Station, line: LedgerLine) -> LastProof:
    """The proof with which a staged copy was deleted, or that of a newer life that went away from staging later."""
    again, pushed = station.ledger.proved_again(line.run_path), station.ledger.pushed_again_at(line.run_path)
    found, at = (line, line.cleared_at) if again is None else (again, again.proved_again_at)
    counted = (line.files_cleared, line.bytes_freed) if again is None else (again.file_count, again.byte_total)
    place = NasPlace(found.nas_path, found.nas_marker)
    return LastProof(place, parse_utc(at), found.checksum_sha256, found.accepted, counted, pushed)


def _by_record(record: Ingest) -> LastProof | None:
    entry = record.last(IngestState.SYNC_VERIFIED)
    if entry is None or not is_proved(record):
        return None
    sha256 = entry.text("checksum_sha256") or ""
    return LastProof(proof_place(entry), entry.moment, sha256, accepted_by(record.history))


def doubt_of_absent(
    station: Station, run: StagedRun, proof: LastProof, problems: Iterable[Problem], here: NasPlace | None
) -> Doubt | None:
    """Why the copy of a run that is not in staging is not called safe, or None.

    Args:
        station: the open parts.
        run: the run in its place in staging.
        proof: its last one.
        problems: those of it that count.
        here: where the configuration has it; None where it names no NAS for it.
    """
    return (
        _in_its_place(run)
        or pushed_again(proof.pushed_again_at)
        or _problem(problems)
        or doubt_of_copy(station, run, proof.place, proof.at, here)
    )


def doubt_of_copy(
    station: Station, run: StagedRun, proved: NasPlace, proved_at: datetime | None, here: NasPlace | None
) -> Doubt | None:
    """That the copy was found damaged since it was proved, or that the configuration has the run elsewhere; or None."""
    verify = f"exlab-orch verify {pasted(run.run_path)}"
    damaged = found_damaged(station, run.run_path, proved_at)
    if damaged is not None:
        return Doubt(damaged, "read", verify)
    moved = elsewhere(run, here, proved, found_at(last_look(station, run.run_path), proved_at))
    return None if moved is None else Doubt(moved, command="" if here is None else verify)


def is_out_of_sight(run: StagedRun) -> bool:
    """Whether this user may not see if the run is in staging: a folder above it is closed."""
    try:
        os.lstat(run.folder)
    except PermissionError:
        return True
    except OSError:
        pass  # it is gone, or cannot be read by anybody
    return False


def _in_its_place(run: StagedRun) -> Doubt | None:
    """Something has its name in staging, and no pass looks at it: nobody sees what the instrument adds."""
    try:
        return Doubt(UNSEEN, "proof", "exlab-orch list") if is_folder(run.place) else None
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            name = printable(run.folder, 1000)
            return Doubt(f"something that is no folder is in the way of its folder in staging: {name}")
        return Doubt(HIDDEN, command="exlab-orch doctor")


def pushed_again(at: str | None) -> Doubt | None:
    """That something that was in staging then is not proved, or None."""
    if at is None:
        return None
    when = printable(local_words(at))
    return Doubt(
        f"since {when} something that was in staging under its name is not proved; the instrument may have files that "
        "were never copied, until the whole run is pushed once more",
        "proof",
    )


def _problem(problems: Iterable[Problem]) -> Doubt | None:
    told = open_problem(problems)
    return None if told is None else Doubt(told, "read")
