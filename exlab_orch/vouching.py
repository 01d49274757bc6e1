"""What was proved of a run, as those say who can be trusted: its sealed record, the journal, the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from exlab_orch.errors import NotSyncVerified, staging_errors
from exlab_orch.files.places import is_folder
from exlab_orch.model import SHOWN_AS, Ingest, IngestState, Place, StagedRun
from exlab_orch.records import remembered
from exlab_orch.staging import in_trash
from exlab_orch.station import Station
from exlab_orch.text import pasted


@dataclass(frozen=True, slots=True)
class Vouched:
    """What is known here of a run that was proved."""

    run: StagedRun
    checksum_sha256: str
    """The SHA-256 of the checksum list, from a sealed record, the journal or the ledger."""
    nas_path: str
    record: Ingest | None
    """The sealed record, where the run lies in staging or in the trash."""

    @property
    def is_staged(self) -> bool:
        """Whether the run lies in its place in staging, so that it can be copied again."""
        return self.record is not None and self.run.place.path == self.run.run_path


def is_proved(record: Ingest) -> bool:
    """Whether the NAS has, or had, a proved copy of everything in the run."""
    return record.current_state in (IngestState.SYNC_VERIFIED, IngestState.CLEARED)


def at_home(station: Station, run_path: str) -> StagedRun:
    """The run in its place in staging, whether it is there or not."""
    return StagedRun(run_path, Place(station.staging_root, run_path))


def vouched_for(station: Station, run: StagedRun) -> Vouched:
    """What was proved of a run, as those say who can be trusted: its sealed record, the journal, the ledger.

    Raises:
        NotSyncVerified: it was never proved, or it is not known with which list.
        RunProblem: its record is not ours, or cannot be understood.
    """
    there = _where_it_is(station, run.run_path)
    record = remembered(station.journal.run(run.run_path)) if there is None else station.records.require_sealed(there)
    if record is not None and (there is not None or is_proved(record)):
        return _by_record(there or at_home(station, run.run_path), record, staged=there is not None)
    found = station.ledger.proved_again(run.run_path) or station.ledger.last(run.run_path)
    if found is None or not found.checksum_sha256:
        raise _never_proved(run, None if record is None else record.current_state)
    return Vouched(at_home(station, run.run_path), found.checksum_sha256, found.nas_path, None)


def _by_record(run: StagedRun, record: Ingest, *, staged: bool) -> Vouched:
    entry = record.last(IngestState.SYNC_VERIFIED)
    wanted = None if entry is None else entry.text("checksum_sha256")
    if entry is None or wanted is None or not is_proved(record):
        raise _never_proved(run, record.current_state)
    return Vouched(run, wanted, entry.text("nas_path") or "", record if staged else None)


def _never_proved(run: StagedRun, state: IngestState | None) -> NotSyncVerified:
    where = "nothing here says what was proved of it" if state is None else f"its state is: {SHOWN_AS[state]}"
    return NotSyncVerified(
        f"The run is not proved on the NAS; {where}.", hint=f"See why: exlab-orch show {pasted(run.run_path)}"
    )


def _where_it_is(station: Station, run_path: str) -> StagedRun | None:
    """The run in staging or in the trash, or None."""
    home = at_home(station, run_path)
    with staging_errors("looking for the run folder"):
        if is_folder(home.place):
            return home
    return in_trash(station.staging_root, run_path)
