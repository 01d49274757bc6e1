"""How a run is deleted: into the trash by one rename, looked at once more, recorded, then unlinked by list."""

from __future__ import annotations

import contextlib
import errno
import secrets
from dataclasses import dataclass, replace
from typing import Final

from exlab_orch.clock import format_utc, from_epoch_ns
from exlab_orch.crew import Stop, never
from exlab_orch.errors import (
    ChangedSinceVerified,
    ExlabError,
    NasCopyMissing,
    NasCopyUnreadable,
    NotSyncVerified,
    RecordUnreadable,
    RecordUnsealed,
    RunHeld,
    RunProblem,
    SchemaMajorMismatch,
    TrashLeftover,
    TrashOtherFilesystem,
    from_staging,
    staging_errors,
)
from exlab_orch.evaluate import walk_run
from exlab_orch.files.delete import bring_back, delete_proved, remove_empty_folders, remove_folder_chain, remove_own
from exlab_orch.files.moves import move
from exlab_orch.files.places import exists, is_folder, leaf_identity, make_folders
from exlab_orch.files.walk import open_writers
from exlab_orch.ledger import LedgerLine, LedgerStep
from exlab_orch.mirror import mirror
from exlab_orch.model import (
    OUR_FOLDER,
    RECORD_NAME,
    ClearProof,
    HistoryEntry,
    Ingest,
    IngestState,
    Place,
    StagedRun,
)
from exlab_orch.ownfiles import log_event, proved_hashes, read_log, set_aside_strangers, set_unknown_list_aside
from exlab_orch.policy import accepted_by
from exlab_orch.progress import QUIET, Observer, phase
from exlab_orch.proof import StepBack, prove, reading_the_copy
from exlab_orch.receipts import safe_again
from exlab_orch.space import disk_space
from exlab_orch.staging import TRASH
from exlab_orch.station import Station
from exlab_orch.text import count, pasted, printable

_SLOT_ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True)
class Cleared:
    """What a clear deleted in staging; both are 0 where it was gone already."""

    run_path: str
    files_cleared: int
    bytes_freed: int
    gained_bytes: int = 0
    """How much more was free on the staging disk right after the delete."""


# -- into the trash, and back --------------------------------------------------------------------------------


def refuse_held(station: Station, run: StagedRun) -> None:
    """Raise RunHeld while a person holds the run."""
    hold = station.hold(run)
    if hold is not None:
        raise RunHeld(
            f"{printable(hold.by)} holds this run: {printable(hold.reason)}",
            hint=f"End the hold first: exlab-orch unhold {pasted(run.run_path)}",
        )


def gone_from_staging(station: Station, run: StagedRun, record: Ingest, proof: ClearProof) -> int:
    """How many proved files are no longer staged; they stay on the NAS, and the run's log says so."""
    proved = proved_hashes(station, run, record) or {}
    gone = sorted(proved.keys() - proof.files.keys())
    if gone:
        text = f"{count(len(gone), 'proved file')} gone from staging, first {printable(gone[0])}; the NAS keeps them"
        log_event(station, run, "WARNING", text)
    return len(gone)


def to_trash(station: Station, run: StagedRun, proof: ClearProof) -> StagedRun:
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
        with contextlib.suppress(OSError):  # what is left of the slot is empty folders; the next pass removes them
            remove_folder_chain(target.parent, TRASH)
        raise _trash_error(error) from error
    trashed = StagedRun(run.run_path, target)
    problem = _differs_from_proof(station, trashed, proof) or _gone_with_the_move(station, trashed, proof)
    if problem is not None:
        if isinstance(problem, (NasCopyMissing, NasCopyUnreadable)):
            station.withdraw_receipt(run, problem.message)
        put_back(trashed)
        station.journal.forget_clear_reads(run.run_path)
        raise problem
    return trashed


def _move_to(leaf: Place, target: Place) -> None:
    """Another pass may remove the folders of the slot while they are made or empty; then they are made again."""
    for _ in range(_SLOT_ATTEMPTS):
        try:
            make_folders(target.parent)
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


def _gone_with_the_move(station: Station, trashed: StagedRun, proof: ClearProof) -> ExlabError | None:
    """Why the NAS copy is not what was proved any more, now that the staged one has moved; None where it is.

    If staging and NAS were one folder under two names, the rename took the "NAS copy" along.
    """
    try:
        with reading_the_copy(trashed):
            found = station.nas_of(trashed).listing(trashed.run_path, "published")
    except ExlabError as error:
        return error
    files = {} if found is None else found.files
    gone = sorted(name for name, one in proof.files.items() if not one.stamp.same_bytes(files.get(name)))
    if not gone:
        return None
    return NasCopyMissing(
        f"The NAS copy of {printable(gone[0])} went away or changed with the move of the staged one.",
        hint="Nothing was deleted. Check that NAS and staging are not one disk, and that nobody works on the copy.",
        files=gone,
    )


def _late(name: bytes, what: str) -> ChangedSinceVerified:
    return ChangedSinceVerified(
        f"The staged file {printable(name)} {what}.",
        hint="Nothing was deleted. Wait until nothing writes to the run any more, then try again.",
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


def settle_trashed(
    station: Station, trashed: StagedRun, watch: Observer = QUIET, stop: Stop = never, *, may_delete: bool = True
) -> Cleared:
    """Finish or undo the clear of a run that lies in the trash; its lock and a slot are held (lifecycle.md, 6).

    Without ``may_delete`` an interrupted delete waits; what must go back goes back all the same.

    Raises:
        RunProblem, NasFault, OutOfTime: it stays in the trash as it is, and nothing was unlinked.
    """
    nothing = Cleared(trashed.run_path, 0, 0)
    left = walk_run(station, trashed)
    is_empty = not left.files and not left.special
    if is_empty and f"{OUR_FOLDER}/{RECORD_NAME}".encode() not in left.own:
        if may_delete:
            set_unknown_list_aside(station, trashed)
            _remove_rest(station, trashed)
        return nothing
    record = _trashed_record(station, trashed)
    if record is None or record.current_state is not IngestState.CLEARED:
        put_back(trashed)
        return nothing
    if not may_delete:
        return nothing
    refuse_held(station, trashed)
    if is_empty and read_log(trashed, station.log_host) is None:
        return _end(station, trashed, _ledger_line(station, trashed, record))  # only our own files were left to remove
    with staging_errors("giving files their names back"):
        bring_back(trashed.place, left.files.keys(), proved_hashes(station, trashed, record) or {})
    try:
        proof = prove(station, trashed, record, watch, stop)
    except StepBack as error:
        raise TrashLeftover(f"{error.problem.message} It stays in the trash.", hint=_trash_hint(trashed)) from error
    return finish(station, trashed, record, proof, watch)


def _trash_hint(trashed: StagedRun) -> str:
    return f"Nothing was deleted. Look at it: {printable(trashed.folder)}"


def _trashed_record(station: Station, trashed: StagedRun) -> Ingest | None:
    """The record of a run in the trash if it is sealed, else None: what is not ours is never finished."""
    try:
        return station.records.require_sealed(trashed)
    except (RecordUnsealed, RecordUnreadable, SchemaMajorMismatch):
        return None


def finish(station: Station, trashed: StagedRun, record: Ingest, proof: ClearProof, watch: Observer) -> Cleared:
    """Everything that must be durable before the first unlink, then delete by list, our own files last.

    Raises:
        RunProblem, NasFault: what is left stays in the trash, and the next pass goes on.
    """
    if station.records.require_sealed(trashed).current_state is not IngestState.CLEARED:
        raise NotSyncVerified("The record in the trash does not say that the run is cleared.")
    line = _ledger_line(station, trashed, record, proof)
    station.ledger.append(line)
    _log_cleared(station, trashed, line)
    mirror(station, trashed, record)
    _call_safe_again(station, trashed, record, line)
    refuse_held(station, trashed)
    station.state.refuse_lost_lock(trashed.run_path)
    with phase(watch, trashed.run_path, "clear", len(proof.files), proof.byte_total):
        with staging_errors("deleting the staged copy"):
            before = disk_space(trashed.place.root).free_bytes
            delete_proved(trashed.place, proof, watch.advance)
            gained = disk_space(trashed.place.root).free_bytes - before
        return replace(_end(station, trashed, line), gained_bytes=gained)


def _call_safe_again(station: Station, trashed: StagedRun, record: Ingest, line: LedgerLine) -> None:
    """Renew a receipt that an earlier proof has withdrawn: this one has just read all of the copy, and it is good.

    Where a run of that name was pushed meanwhile, the receipt speaks of that one, also when it went away again.
    """
    home = Place(trashed.place.root, trashed.run_path)
    with staging_errors("looking for the run folder"):
        is_back = exists(home.parent, home.name)
    ledger, run_path = station.ledger, trashed.run_path
    is_newer = is_back or ledger.pushed_again_at(run_path) is not None or ledger.proved_again(run_path) is not None
    if record.last(IngestState.SYNC_VERIFIED) is None or accepted_by(record.history) or is_newer:
        return
    receipt = safe_again(
        trashed.run_path,
        line.nas_path,
        files=line.files_cleared,
        byte_total=line.bytes_freed,
        checksum_sha256=line.checksum_sha256,
        now=station.now(),
    )
    station.renew_receipt(receipt, trashed, proved=True)


def _log_cleared(station: Station, trashed: StagedRun, line: LedgerLine) -> None:
    asked = f"asked for by {printable(line.by)}" if line.by else "by the schedule"
    text = f"staged copy deleted: {line.files_cleared} files, {line.bytes_freed} bytes; {asked}"
    facts = {"files": line.files_cleared, "bytes": line.bytes_freed, "asked_by": line.by}
    log_event(station, trashed, "INFO", text, event="run_cleared", **facts)


def _end(station: Station, trashed: StagedRun, line: LedgerLine) -> Cleared:
    """Remove what is left of a run whose data is gone, and forget it."""
    set_aside_strangers(station, trashed, station.records.require_sealed(trashed))
    _remove_rest(station, trashed)
    station.end_life(trashed.run_path)
    return Cleared(trashed.run_path, line.files_cleared, line.bytes_freed)


def _ledger_line(station: Station, trashed: StagedRun, record: Ingest, proof: ClearProof | None = None) -> LedgerLine:
    cleared, proved = record.history[-1], record.last(IngestState.SYNC_VERIFIED)
    return LedgerLine(
        run_path=trashed.run_path,
        cleared_at=cleared.at,
        files_cleared=_whole(cleared.extra("files_cleared")),
        bytes_freed=_whole(cleared.extra("bytes_freed")),
        nas_path=station.nas_of(trashed).where(trashed.run_path),  # where it was read just now: a NAS may have moved
        checksum_sha256=(proved and proved.text("checksum_sha256")) or "",
        host=cleared.host,
        by=cleared.text("by"),
        history=tuple(LedgerStep(str(entry.state), entry.at) for entry in record.history),
        last_write_at=None if proof is None else _last_write(proof, proved),
        nas_marker=station.config.marker_of(trashed.equipment_id),
        accepted=accepted_by(record.history),
    )


def _last_write(proof: ClearProof, proved: HistoryEntry | None) -> str | None:
    """When the newest proved file was written; None where files were touched after the proof, by us or by others."""
    ours = OUR_FOLDER.encode() + b"/"
    written = max((one.identity.ctime_ns for name, one in proof.files.items() if not name.startswith(ours)), default=0)
    moment, proved_at = from_epoch_ns(written), None if proved is None else proved.moment
    return format_utc(moment) if written and proved_at is not None and moment <= proved_at else None


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
        if is_folder(trashed.place):
            raise TrashLeftover(
                "A file came into the run at the very end of its delete, when the record was gone already.",
                hint="It was not deleted; the next pass moves it back into staging, where it is a run of its own.",
            )
