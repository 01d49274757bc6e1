"""When and how the staged copy of a run is deleted: one proof, one path, by list (lifecycle.md, 6)."""

from __future__ import annotations

import errno
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from exlab_orch.clock import format_utc, from_epoch_ns
from exlab_orch.errors import (
    ChangedSinceVerified,
    Locked,
    NasCopyDamaged,
    NasCopyMissing,
    NotSyncVerified,
    RecordUnsealed,
    RunHeld,
    RunNotFound,
    RunProblem,
    TrashLeftover,
    TrashOtherFilesystem,
    from_staging,
    staging_errors,
)
from exlab_orch.evaluate import hash_and_remember, walk_run
from exlab_orch.files.delete import delete_proved, remove_empty_folders, remove_folder_chain, remove_own
from exlab_orch.files.moves import move
from exlab_orch.files.places import is_folder, leaf_identity, make_folders
from exlab_orch.files.walk import open_writers
from exlab_orch.journal import FileRow
from exlab_orch.ledger import LedgerLine
from exlab_orch.mirror import mirror
from exlab_orch.model import (
    OUR_FOLDER,
    RECORD_NAME,
    ClearProof,
    FileProof,
    Identity,
    Ingest,
    IngestState,
    Listing,
    Place,
    StagedRun,
)
from exlab_orch.ownfiles import log_event, proved_hashes
from exlab_orch.policy import ClearFacts, blocking_code
from exlab_orch.progress import QUIET, Observer, phase
from exlab_orch.staging import TRASH, trash_slots
from exlab_orch.station import Station
from exlab_orch.sync import batches, never, spread
from exlab_orch.text import count, printable
from exlab_orch.transports import ReadBack, Transport

_REREAD_COUNTS_FOR: Final = timedelta(hours=24)
_SLOT_ATTEMPTS: Final = 5
_ASSUMED_BYTES_PER_SECOND: Final = 100_000_000
"""For the estimate before the first measured copy: a gigabit line."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """What a clear deleted in staging; both are 0 where it was gone already."""

    run_path: str
    files_cleared: int
    bytes_freed: int


@dataclass(frozen=True, slots=True)
class ClearPreview:
    """What a clear would delete, and about how long its proof takes."""

    run_path: str
    files: int
    byte_total: int
    seconds: float


# -- the proof -----------------------------------------------------------------------------------------------


class StepBack(Exception):
    """The proof shows that the run must be copied again; ``reason`` goes into its history."""

    def __init__(self, reason: str, problem: RunProblem) -> None:
        super().__init__(reason)
        self.reason = reason
        self.problem = problem


def prove(station: Station, run: StagedRun, record: Ingest, watch: Observer = QUIET) -> ClearProof:
    """Prove now that every staged file is on the NAS, by reading it back; the only maker of a ClearProof.

    Staged files must be those that were proved (their identity is the one recorded when they were hashed, or they are
    hashed again). NAS files are dropped from the page cache and read; what an interrupted clear read within 24 hours
    and is unchanged since is not read again, and under ``proof = "recent"`` any full read of that age counts.

    Raises:
        StepBack: a staged file is new or differs, or a proved file is gone from the NAS.
        NasCopyDamaged: a proved file has other content on the NAS.
        NasFault, RunProblem: something could not be looked at.
    """
    transport = station.nas_of(run)
    transport.check()
    proved = proved_hashes(station, run, record)
    if proved is None:
        raise NotSyncVerified(
            "The checksum list that the record seals is neither in staging nor on the NAS.",
            hint="The next pass copies and proves the run again.",
        )
    listing = walk_run(station, run)
    staged = _proved_staged(station, run, listing, proved)
    try:
        on_nas = _reread(station, run, transport, proved, watch)
    finally:
        transport.check()  # a NAS that went away meanwhile is a fault of the NAS; nothing is concluded from it
    files = {name: FileProof(staged[name].identity, proved[name], on_nas[name]) for name in listing.files}
    with staging_errors("looking at the run folder"):
        leaf = leaf_identity(run.place)
    return ClearProof(run_path=run.run_path, leaf=leaf, files=files)


def _proved_staged(
    station: Station, run: StagedRun, listing: Listing, proved: Mapping[bytes, str]
) -> Mapping[bytes, FileRow]:
    """Rows of the staged files, each of which still is what was proved."""
    new = sorted([*(listing.files.keys() - proved.keys()), *listing.special])
    if new:
        raise _changed(new, "new_files", "is new since the run was proved")
    rows = station.journal.files(run.run_path)
    moved = [name for name, identity in listing.files.items() if name not in rows or rows[name].identity != identity]
    rows |= hash_and_remember(station, run, moved)
    changed = sorted(name for name in listing.files if rows[name].sha256 != proved[name])
    if changed:
        raise _changed(changed, "changed_files", "changed since the run was proved")
    return rows


def _changed(names: Sequence[bytes], reason: str, what: str) -> StepBack:
    return StepBack(
        reason,
        ChangedSinceVerified(
            f"The staged file {printable(names[0])} {what}" + (f" (and {len(names) - 1} more)." if names[1:] else "."),
            hint="Nothing was deleted. The next pass copies and proves the run again; clear it after that.",
            files=names,
        ),
    )


def _reread(
    station: Station, run: StagedRun, transport: Transport, proved: Mapping[bytes, str], watch: Observer
) -> dict[bytes, Identity]:
    """Read every proved file from the NAS and compare; returns the stamps of what was read."""
    found = transport.listing(run.run_path, "published")
    here = {} if found is None else found.files
    missing = sorted(name for name in proved if name not in here)
    if missing:
        raise _missing(missing)
    counts = _rows_that_count(station, run, here)
    stamps = {name: here[name] for name in proved if name in counts and counts[name].sha256 == proved[name]}
    sizes = {name: here[name].size for name in sorted(proved) if name not in stamps}

    def read(names: Sequence[bytes]) -> list[ReadBack]:
        return transport.read_back(run.run_path, "published", names, watch.advance)

    with phase(watch, run.run_path, "proof", len(sizes), sum(sizes.values())):
        for batch in spread(batches(sizes), read, station.config.sync.workers, never):
            rows = _proved_rows(station, run, proved, batch)
            station.journal.save_files(run.run_path, rows)
            stamps |= {name: row.stamp for name, row in rows.items() if row.stamp is not None}
    return stamps


def _missing(names: Sequence[bytes]) -> StepBack:
    return StepBack(
        "nas_copy_missing",
        NasCopyMissing(
            f"{count(len(names), 'proved file')} gone from the NAS, first {printable(names[0])}.",
            hint="Nothing was deleted. The next pass copies what is missing again.",
            files=names,
        ),
    )


def _rows_that_count(station: Station, run: StagedRun, here: Mapping[bytes, Identity]) -> dict[bytes, FileRow]:
    """Files that need not be read again: unchanged on the NAS since a read that is recent enough."""
    cleanup, now = station.config.orchestrator.staging_cleanup, station.now().timestamp()

    def is_recent(row: FileRow) -> bool:
        if row.clear_read_at is not None and 0 <= now - row.clear_read_at <= _REREAD_COUNTS_FOR.total_seconds():
            return True
        if cleanup.proof != "recent" or cleanup.proof_max_age is None or row.read_at is None:
            return False
        return 0 <= now - row.read_at <= cleanup.proof_max_age.total_seconds()

    rows = station.journal.files(run.run_path)
    return {name: row for name, row in rows.items() if row.stamp == here.get(name) and is_recent(row)}


def _proved_rows(
    station: Station, run: StagedRun, proved: Mapping[bytes, str], batch: Sequence[ReadBack]
) -> dict[bytes, FileRow]:
    """What was just read, as rows to remember; raises unless every file is what was proved."""
    known = station.journal.files(run.run_path)
    rows: dict[bytes, FileRow] = {}
    for name, stamp, sha256 in batch:
        if stamp is None or sha256 is None:
            raise _missing([name])
        if sha256 != proved[name]:
            raise _damaged(run, name, stamp)
        now = station.now().timestamp()
        before = known.get(name) or FileRow(stamp, sha256)
        rows[name] = replace(before, sha256=sha256, stamp=stamp, read_at=now, clear_read_at=now)
    return rows


def _damaged(run: StagedRun, name: bytes, stamp: Identity) -> NasCopyDamaged:
    changed_at = format_utc(from_epoch_ns(stamp.mtime_ns))
    return NasCopyDamaged(
        f"The NAS copy of {printable(name)} has other content now (modified {changed_at}); usually somebody edited it.",
        hint="Nothing was deleted. To keep theirs aside and copy ours: "
        f"exlab-orch sync --new-version {printable(run.run_path)}",
        files=[name],
    )


# -- the one dangerous act -----------------------------------------------------------------------------------


def clear(
    station: Station, run: StagedRun, *, by: str | None, wait_seconds: float = 5.0, watch: Observer = QUIET
) -> Cleared:
    """Delete the staged copy of a proved run; both the schedule and people come through here.

    What is gone already is not deleted again: then both numbers are 0.

    Raises:
        Locked: the run or every slot of its NAS is busy for longer than ``wait_seconds``.
        RunProblem: it may not be cleared; nothing was deleted.
        NasFault: the NAS is not there; nothing was deleted.
    """
    with _lock_and_slot(station, run, wait_seconds):
        in_trash = _in_trash(station, run)
        if in_trash is not None:
            return settle_trashed(station, in_trash, watch)
        with staging_errors("looking for the run folder"):
            if not is_folder(run.place):
                return _gone(station, run)
        return _clear_locked(station, run, by, watch)


@contextmanager
def _lock_and_slot(station: Station, run: StagedRun, wait_seconds: float) -> Iterator[None]:
    slots = station.config.sync.parallel_runs
    with station.state.run_lock(run.run_path, wait_seconds=wait_seconds) as held:
        if not held:
            raise Locked("Another process is busy with this run.", hint="Try again when it is done: exlab-orch list")
        with station.state.slot(station.nas_of(run).name, slots, wait_seconds=wait_seconds) as free:
            if not free:
                raise Locked(
                    f"All {slots} slots of the NAS are busy.",
                    hint="Try again when a copy is done, or have a pass do it: exlab-orch clear --later",
                )
            yield


def _in_trash(station: Station, run: StagedRun) -> StagedRun | None:
    slots = (slot.run for slot in trash_slots(station.staging_root))
    return next((found for found in slots if found is not None and found.run_path == run.run_path), None)


def _gone(station: Station, run: StagedRun) -> Cleared:
    known = station.journal.run(run.run_path) is not None or station.ledger.last(run.run_path) is not None
    if not known and not is_folder(run.place.parent):
        raise RunNotFound(
            f"No run {printable(run.run_path)} was ever seen here.", hint="See what is there: exlab-orch list"
        )
    return Cleared(run.run_path, 0, 0)


def _clear_locked(station: Station, run: StagedRun, by: str | None, watch: Observer) -> Cleared:
    record = require_clearable(station, run)
    try:
        proof = prove(station, run, record, watch)
    except StepBack as error:
        _step_back(station, run, error)
        raise error.problem from error
    except (NasCopyDamaged, NotSyncVerified) as error:
        station.journal.forget_clear_reads(run.run_path)
        station.set_problems(
            run.run_path, "clear", [station.problem(run.run_path, error.code, error.message, error.hint)]
        )
        raise
    mirror(station, run, record)
    trashed = _to_trash(station, run, proof)
    record = station.advance(
        trashed, IngestState.CLEARED, files_cleared=len(proof.files), bytes_freed=proof.byte_total, by=by
    )
    return _finish(station, trashed, record, proof, watch)


def require_clearable(station: Station, run: StagedRun) -> Ingest:
    """The run's sealed record, if record and hold allow a clear; the proof comes after this.

    Raises:
        RunProblem: it is held, or not in ``sync_verified``, or its record is not ours.
    """
    record = station.records.require_sealed(run)
    if record.current_state is not IngestState.SYNC_VERIFIED:
        raise NotSyncVerified(
            f"The run is not proved on the NAS; its state is {record.current_state.value}.",
            hint=f"See why: exlab-orch show {printable(run.run_path)}",
        )
    _refuse_held(station, run)
    return record


def _refuse_held(station: Station, run: StagedRun) -> None:
    hold = station.hold(run)
    if hold is not None:
        raise RunHeld(
            f"{printable(hold.by)} holds this run: {printable(hold.reason)}",
            hint=f"End the hold first: exlab-orch unhold {printable(run.run_path)}",
        )


def _step_back(station: Station, run: StagedRun, error: StepBack) -> None:
    station.advance(run, IngestState.SYNC_QUEUED, reason=error.reason)
    station.journal.forget_clear_reads(run.run_path)
    station.journal.end_order(run.run_path, "clear_later")
    log_event(station, run, "WARNING", f"not cleared: {error.problem.message}")


def _to_trash(station: Station, run: StagedRun, proof: ClearProof) -> StagedRun:
    """Move the run folder to the trash, and back again unless it is exactly what was proved and nobody writes to it.

    Raises:
        ChangedSinceVerified: it was not; nothing was deleted.
        TrashOtherFilesystem: it cannot be moved there in one step.
    """
    slot = Place(run.place.root, TRASH).below(f"{format_utc(station.now()).replace(':', '-')}-{secrets.token_hex(4)}")
    target = slot.below(run.run_path)
    try:
        _move_to(run.place, target)
    except OSError as error:
        remove_folder_chain(target.parent, TRASH)
        raise _trash_error(error) from error
    trashed = StagedRun(run.run_path, target)
    problem = _differs_from_proof(station, trashed, proof)
    if problem is not None:
        put_back(trashed)
        station.journal.forget_clear_reads(run.run_path)
        raise problem
    return trashed


def _move_to(leaf: Place, target: Place) -> None:
    """Another pass may remove the folders of the slot while they are still empty; then they are made again."""
    for _ in range(_SLOT_ATTEMPTS):
        make_folders(target.parent)
        try:
            return move(leaf.parent, leaf.name, target.parent, target.name)
        except FileNotFoundError:
            continue
    raise FileNotFoundError(errno.ENOENT, "the folder is gone", leaf.absolute)


def _trash_error(error: OSError) -> RunProblem:
    if error.errno == errno.EXDEV:
        return TrashOtherFilesystem(
            f"The trash folder {TRASH} is on another file system than the run.",
            hint="A run is deleted only after one rename into the trash: keep the staging root on one file system.",
        )
    return from_staging(error, "moving the run to the trash")


def _differs_from_proof(station: Station, trashed: StagedRun, proof: ClearProof) -> RunProblem | None:
    """Why the run in the trash is not exactly what was proved, or None."""
    try:
        listing = walk_run(station, trashed)
        with staging_errors("looking for open files"):
            writer = open_writers(trashed.place, listing.files)
            same_leaf = leaf_identity(trashed.place) == proof.leaf
    except RunProblem as problem:
        return problem
    proved = {name: one.identity for name, one in proof.files.items()}
    if writer is not None:
        return _late(writer, "is open for writing")
    if dict(listing.files) == proved and not listing.special and same_leaf:
        return None
    names = sorted({*(listing.files.keys() ^ proved.keys()), *listing.special})
    names += [name for name in listing.files if name in proved and listing.files[name] != proved[name]]
    return _late(names[0] if names else b"", "changed while the run was proved")


def _late(name: bytes, what: str) -> ChangedSinceVerified:
    return ChangedSinceVerified(
        f"The staged file {printable(name)} {what}.",
        hint="Nothing was deleted. Wait until nothing writes to the run any more, then clear it again.",
        files=[name],
    )


def put_back(trashed: StagedRun) -> None:
    """Move a run from the trash back to where it was.

    Raises:
        TrashLeftover: the name exists again; the run stays in the trash.
    """
    home = Place(trashed.place.root, trashed.run_path)
    with staging_errors("moving the run back out of the trash"):
        make_folders(home.parent)
        try:
            move(trashed.place.parent, trashed.place.name, home.parent, home.name)
        except FileExistsError as error:
            raise TrashLeftover(
                f"The run {printable(trashed.run_path)} lies in the trash, and a new folder has its name.",
                hint=f"Nothing was deleted. Look at both: {printable(trashed.folder)}",
            ) from error
        remove_folder_chain(trashed.place.parent, TRASH)


# -- finishing -----------------------------------------------------------------------------------------------


def settle_trashed(station: Station, trashed: StagedRun, watch: Observer = QUIET) -> Cleared:
    """Finish or undo the clear of a run that lies in the trash; its lock and a slot are held (lifecycle.md, 6).

    Raises:
        RunProblem, NasFault: it stays in the trash as it is, and nothing was unlinked.
    """
    record = _trashed_record(station, trashed)
    left = walk_run(station, trashed)
    if record is None and not left.files and not left.special:
        _remove_rest(station, trashed)
        return Cleared(trashed.run_path, 0, 0)
    if record is None or record.current_state is not IngestState.CLEARED:
        put_back(trashed)
        return Cleared(trashed.run_path, 0, 0)
    _refuse_held(station, trashed)
    try:
        proof = prove(station, trashed, record, watch)
    except StepBack as error:
        raise TrashLeftover(f"{error.problem.message} It stays in the trash.", hint=_trash_hint(trashed)) from error
    return _finish(station, trashed, record, proof, watch)


def _trash_hint(trashed: StagedRun) -> str:
    return f"Nothing was deleted. Look at it: {printable(trashed.folder)}"


def _trashed_record(station: Station, trashed: StagedRun) -> Ingest | None:
    """The record of a run in the trash if it is sealed, else None: what is not ours is never finished."""
    try:
        return station.records.require_sealed(trashed)
    except RecordUnsealed:
        return None


def _finish(station: Station, trashed: StagedRun, record: Ingest, proof: ClearProof, watch: Observer) -> Cleared:
    """Everything that must be durable before the first unlink, then delete by list, our own files last."""
    if station.records.require_sealed(trashed).current_state is not IngestState.CLEARED:
        raise NotSyncVerified("The record in the trash does not say that the run is cleared.")
    line = _ledger_line(station, trashed, record)
    station.ledger.append(line)
    log_event(station, trashed, "INFO", f"staged copy deleted: {line.files_cleared} files, {line.bytes_freed} bytes")
    mirror(station, trashed, record)
    _refuse_held(station, trashed)
    with phase(watch, trashed.run_path, "clear", len(proof.files), proof.byte_total):
        with staging_errors("deleting the staged copy"):
            delete_proved(trashed.place, proof, watch.advance)
        _remove_rest(station, trashed)
    station.announce(station.journal.close_problems(trashed.run_path, station.now()))
    station.journal.forget_run(trashed.run_path)
    return Cleared(trashed.run_path, line.files_cleared, line.bytes_freed)


def _ledger_line(station: Station, trashed: StagedRun, record: Ingest) -> LedgerLine:
    cleared, proved = record.history[-1], record.last(IngestState.SYNC_VERIFIED)
    return LedgerLine(
        run_path=trashed.run_path,
        cleared_at=cleared.at,
        files_cleared=_whole(cleared.extra("files_cleared")),
        bytes_freed=_whole(cleared.extra("bytes_freed")),
        nas_path=(proved and proved.text("nas_path")) or station.nas_of(trashed).where(trashed.run_path),
        checksum_sha256=(proved and proved.text("checksum_sha256")) or "",
        host=cleared.host,
        by=cleared.text("by"),
    )


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _remove_rest(station: Station, trashed: StagedRun) -> None:
    """Remove empty folders and our own files, the record last; whatever else is there stays with them.

    Raises:
        TrashLeftover: something is there that was not on the list.
    """
    left = walk_run(station, trashed)
    unknown = sorted([*left.files, *left.special])
    if unknown:
        raise TrashLeftover(
            f"{count(len(unknown), 'file')} came into the run while it was deleted, first {printable(unknown[0])}.",
            hint=f"They were not deleted. Look at them: {printable(trashed.folder)}",
            files=unknown,
        )
    ours, record_path = OUR_FOLDER.encode(), f"{OUR_FOLDER}/{RECORD_NAME}".encode()
    with staging_errors("removing what is left of the run"):
        remove_empty_folders(trashed.place, (name for name in left.folders if name != ours))
        remove_own(trashed.place, sorted(left.own, key=lambda name: name == record_path))
        remove_empty_folders(trashed.place, [ours])
        remove_folder_chain(trashed.place, TRASH)


def clear_facts(
    station: Station, run: StagedRun, record: Ingest, *, asked: bool, clock_wait_seconds: float = 0.0
) -> ClearFacts:
    """What decides whether a pass may delete the staged copy of a run."""
    hold = station.hold(run)
    return ClearFacts(
        record,
        hold_reason=None if hold is None else hold.reason,
        blocking=blocking_code(problem.code for problem in station.journal.problems(run.run_path)),
        asked=asked,
        clock_wait_seconds=clock_wait_seconds,
    )


# -- looking ahead -------------------------------------------------------------------------------------------


def check(station: Station, run: StagedRun) -> None:
    """Raise what a clear would refuse with, without reading anything back and without writing.

    Raises:
        RunProblem, NasFault
    """
    require_clearable(station, run)
    station.nas_of(run).check()


def preview(station: Station, run: StagedRun) -> ClearPreview:
    """What a clear of the run would delete, and about how long reading it back takes."""
    listing = walk_run(station, run)
    rate = float(station.journal.note("bytes_per_second") or _ASSUMED_BYTES_PER_SECOND)
    return ClearPreview(run.run_path, len(listing.files), listing.byte_total, listing.byte_total / max(rate, 1.0))
