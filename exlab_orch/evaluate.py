"""One run, one step: whose record it is, whether the run is complete, and whether a proved run changed since."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from exlab_orch.clock import format_utc, from_epoch_ns
from exlab_orch.creation import CreationSnapshot, human_project_name, read_creation
from exlab_orch.damage import PHASE, pushed_again
from exlab_orch.errors import ChangedWhileCopied, RunProblem, staging_errors
from exlab_orch.files.hashing import hash_staged
from exlab_orch.files.places import leaf_identity, open_folder, opened, read_small
from exlab_orch.files.walk import open_writers, walk
from exlab_orch.idle import remember_idle
from exlab_orch.journal import FileRow, JournalRun
from exlab_orch.manifests import MAX_BYTES, ManifestInvalid, check_size
from exlab_orch.manifests import parse as parse_manifest
from exlab_orch.model import Ingest, IngestState, LeafIdentity, Listing, Problem, StagedRun, Wait
from exlab_orch.onlookers import writer_words
from exlab_orch.ownfiles import log_event, proved_hashes, set_aside_strangers, set_record_aside
from exlab_orch.policy import (
    FLAGS,
    UNSAFE,
    CompletenessFacts,
    ManifestFacts,
    accepted_by,
    acquisition_failed,
    scheduled_clear_at,
    still_arriving,
    verified_at,
    waiting_for,
)
from exlab_orch.receipts import ELSEWHERE, PUSHED_AGAIN, Receipt
from exlab_orch.records import judge, new_entry, next_record, parse_record, read_record, remembered_record
from exlab_orch.station import Station, life_of
from exlab_orch.text import pasted, printable

_WALK_AGAIN: Final = timedelta(days=1)
_LOOK_AGAIN: Final = timedelta(hours=1)
"""No mark is for ever: a waiting run is looked at this often, whatever its folders say."""
_REMEMBERED_TOGETHER: Final = 256
ReadCreation = Callable[[StagedRun], CreationSnapshot | None]


def read_creation_of(run: StagedRun) -> CreationSnapshot | None:
    """What the run's ``creation.json`` says."""
    return read_creation(run.place)


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a run found."""

    state: IngestState
    stepped: bool = False
    """Whether the record got an entry; then another look may get it further."""
    wait: Wait | None = None
    problems: tuple[Problem, ...] = field(default=())


def walk_run(station: Station, run: StagedRun) -> Listing:
    """The staged listing of a run, our own files apart.

    Raises:
        RunProblem: the file system answered with an error.
    """
    with staging_errors("walking the run folder"):
        return walk(run.place, own=station.records.own_names(run.run_path))


def look_at(station: Station, run: StagedRun, read_creation: ReadCreation = read_creation_of) -> Look:
    """Take the run one step further, if it can; its lock must be held.

    Raises:
        RunProblem: it cannot be looked at, or its record cannot be understood.
    """
    try:
        return _look_at(station, run, read_creation)
    except RunProblem as error:  # nobody can say what was pushed into it since
        station.note_unproved(run, error.message)
        station.journal.forget_idle(run.run_path)
        raise


def _look_at(station: Station, run: StagedRun, read_creation: ReadCreation) -> Look:
    record, stepped = settle_record(station, run, read_creation)
    if stepped:
        return Look(record.current_state, stepped=True)
    if record.current_state is not IngestState.SYNC_VERIFIED:
        station.note_unproved(run, "it is copied and proved again", life_of(record))
    if record.current_state is IngestState.STAGING:
        return _look_at_arriving(station, run, record, read_creation)
    if record.current_state is IngestState.COMPLETE:
        record = station.advance(run, record, IngestState.SYNC_QUEUED)
        return Look(record.current_state, stepped=True, problems=_flags(station, run, record))
    if record.current_state is IngestState.SYNC_VERIFIED:
        return _look_at_proved(station, run, record)
    return Look(record.current_state, problems=_flags(station, run, record))


# -- whose record is it? -------------------------------------------------------------------------------------


def settle_record(
    station: Station, run: StagedRun, read_creation: ReadCreation = read_creation_of
) -> tuple[Ingest, bool]:
    """The run's record, sealed by us, and whether it got a new entry for that (lifecycle.md, 2).

    Raises:
        RunProblem: the record cannot be understood; it is left as it is.
    """
    with staging_errors("looking at the run folder"):
        leaf = leaf_identity(run.place)
    record = read_record(run)
    known = station.journal.run(run.run_path)
    remembered = remembered_record(known, leaf)
    if remembered is not None and not station.records.seal_holds(run, remembered):
        remembered = None  # sealed with another key: the journal's copy is a claim too
    judgement = judge(
        record,
        seal_holds=record is not None and station.records.seal_holds(run, record),
        remembered=remembered,
        known=known is not None,
        was_cleared=record is None and station.ledger.last(run.run_path) is not None,
    )
    if judgement.ruling == "set_aside":
        set_record_aside(run)
        return settle_record(station, run, read_creation)
    if judgement.record is None:
        return _begin(station, run, read_creation, again=judgement.ruling == "new_life"), True
    if judgement.ruling == "ours":
        return _ours(station, run, judgement.record, leaf, known), False
    if judgement.ruling == "restore":
        log_event(station, run, "WARNING", "the record ingest.json was missing or changed; it was restored")
        return station.records.replace(run, judgement.record), False
    return _step_back_from_claim(station, run, judgement.record), True


def _ours(station: Station, run: StagedRun, record: Ingest, leaf: LeafIdentity, known: JournalRun | None) -> Ingest:
    set_aside_strangers(station, run, record)
    if (
        known is None
        or known.record is None
        or known.leaf != leaf.text()
        or parse_record(known.record.encode()) != record
    ):
        station.records.remember(run, record, leaf)
    return record


def _begin(station: Station, run: StagedRun, read_creation: ReadCreation, *, again: bool) -> Ingest:
    """Write the first record of a life."""
    set_aside_strangers(station, run, None)
    if again:
        station.end_life(run.run_path)
        left = station.journal.problems_in(run.run_path, PHASE)
        station.set_problems(run.run_path, PHASE, [pushed_again(one) for one in left])
    snapshot = read_creation(run)
    entry = new_entry(IngestState.STAGING, station.now(), station.host, {"reason": "pushed_again"} if again else {})
    record = Ingest(
        project_name=human_project_name(snapshot, run.project),
        equipment_id=run.equipment_id,
        run_kind=run.run_kind,
        run_path=run.run_path,
        transport=station.equipment(run).arrives_by,
        current_state=IngestState.STAGING,
        history=(entry,),
    )
    record = station.write_record(run, record)
    log_event(station, run, "INFO", "pushed again; a new life begins" if again else "first seen", event="run_seen")
    return record


def _step_back_from_claim(station: Station, run: StagedRun, claim: Ingest) -> Ingest:
    """An unsealed ``sync_verified`` is a claim: its history is kept, and the run is proved again."""
    entry = new_entry(IngestState.SYNC_QUEUED, station.now(), station.host, {"reason": "record_unsealed"})
    path = {"run_path": run.run_path, "equipment_id": run.equipment_id, "run_kind": run.run_kind}
    record = station.write_record(run, next_record(claim.model_copy(update=path), entry))
    log_event(station, run, "WARNING", "the record was not written by this orchestrator; the run is proved again")
    return record


# -- is it complete? -----------------------------------------------------------------------------------------


def _look_at_arriving(station: Station, run: StagedRun, record: Ingest, read_creation: ReadCreation) -> Look:
    listing = walk_run(station, run)
    accepted = station.journal.order(run.run_path, "accept")
    wait = completeness_wait(station, run, listing, accepted=accepted is not None)
    if wait is not None:
        return _still_waiting(station, run, record, listing, wait)
    snapshot = read_creation(run)
    record = _refreshed(station, run, record, snapshot)
    failed = acquisition_failed(listing, station.equipment(run))
    record = station.advance(
        run,
        record,
        IngestState.COMPLETE,
        files_received=len(listing.files),
        bytes_received=listing.byte_total,
        acquisition_failed=True if failed else None,
        accepted=accepted,
    )
    station.journal.end_order(run.run_path, "accept")
    log_event(station, run, "INFO", _complete_words(listing, accepted), event="run_complete")
    return Look(record.current_state, stepped=True, problems=_flags(station, run, record))


def _complete_words(listing: Listing, accepted: Mapping[str, object] | None) -> str:
    taken = "" if accepted is None else f"; taken as it is for {printable(str(accepted.get('by')))}"
    return f"complete: {len(listing.files)} files, {listing.byte_total} bytes{taken}"


def _refreshed(station: Station, run: StagedRun, record: Ingest, snapshot: CreationSnapshot | None) -> Ingest:
    """The descriptive fields, as ``creation.json`` has them by now."""
    name = human_project_name(snapshot, run.project)
    if name == record.project_name:
        return record
    return station.records.write(run, record.model_copy(update={"project_name": name}))


def _way_out(run: StagedRun, code: str) -> str:
    """What to do about a run that waits with a problem."""
    path = pasted(run.run_path)
    first = {
        "manifest_invalid": "Have the instrument send the manifest or the file again.",
        "never_completed": f"Look whether the instrument still sends. What the run waits for: exlab-orch show {path}  ",
    }.get(code)
    return "" if first is None else f"{first} To take the run as it is: exlab-orch accept --reason … {path}"


def _still_waiting(station: Station, run: StagedRun, record: Ingest, listing: Listing, wait: Wait) -> Look:
    problems: list[Problem] = []
    since = record.history[-1].moment
    equipment = station.equipment(run)
    alert = still_arriving(since, equipment, station.now())
    for one in (wait, alert):
        if one is not None and one.code is not None:
            problems.append(station.problem(run.run_path, one.code, f"{_sentence(one.text)}.", _way_out(run, one.code)))
    if not wait.unseen:
        deadlines = [station.now() + _LOOK_AGAIN] + ([] if wait.until is None else [wait.until])
        if since is not None and alert is None:
            deadlines.append(since + timedelta(hours=equipment.alert_after_hours))
        remember_idle(station, run, listing, min(deadlines), wait.watch)
    return Look(record.current_state, wait=wait, problems=tuple(problems))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def completeness_wait(
    station: Station, run: StagedRun, listing: Listing, *, accepted: bool, slot_held: bool = False
) -> Wait | None:
    """Why the run is not complete now, manifest hashes and open writers included, or None (lifecycle.md, 3).

    Hashing takes a slot of the NAS, unless the caller holds one (``slot_held``).

    Raises:
        RunProblem: something could not be looked at.
    """
    _note_future_change(station, run, listing)
    return (
        arrival_wait(station, run, listing, accepted=accepted)
        or _manifest_hashes_wait(station, run, listing, accepted=accepted, slot_held=slot_held)
        or _writer_wait(run, listing)
    )


def arrival_wait(station: Station, run: StagedRun, listing: Listing, *, accepted: bool) -> Wait | None:
    """Why the run has not arrived yet, by its listing and manifest alone, or None; writes nothing."""
    facts = completeness_facts(station, run, listing, accepted=accepted)
    return waiting_for(facts, station.equipment(run), station.now())


def completeness_facts(station: Station, run: StagedRun, listing: Listing, *, accepted: bool) -> CompletenessFacts:
    """What the completeness rule looks at; writes nothing."""
    manifest = manifest_facts(station, run, listing)
    return CompletenessFacts(listing, _changed_at(station, run, listing), manifest, accepted)


def _changed_at(station: Station, run: StagedRun, listing: Listing) -> datetime | None:
    """When the newest change was made; a ctime in the future counts from when it was first seen."""
    newest, now = listing.newest_ctime_ns(), station.now()
    if newest is None:
        return None
    if from_epoch_ns(newest) <= now:
        return from_epoch_ns(newest)
    known = station.journal.run(run.run_path)
    if known is not None and known.changed_ns == str(newest) and known.changed_seen is not None:
        return datetime.fromtimestamp(known.changed_seen, UTC)
    return now


def _note_future_change(station: Station, run: StagedRun, listing: Listing) -> None:
    newest, now, known = listing.newest_ctime_ns(), station.now(), station.journal.run(run.run_path)
    if newest is None or known is None or from_epoch_ns(newest) <= now:
        return
    seen = known.changed_seen if known.changed_ns == str(newest) else None
    if seen is None or seen > now.timestamp():  # seen in the future: by a clock that was wrong
        station.journal.save(replace(known, changed_ns=str(newest), changed_seen=now.timestamp()))


def manifest_facts(station: Station, run: StagedRun, listing: Listing) -> ManifestFacts | None:
    """What the run's manifest says; None where the equipment writes none or it has not arrived."""
    equipment = station.equipment(run)
    name = equipment.manifest_filename
    if equipment.completeness_signal != "manifest" or name.encode() not in listing.files:
        return None
    parent, _, base = name.rpartition("/")
    try:
        check_size(listing.files[name.encode()].size)
        with staging_errors("reading the manifest"):
            found = read_small(run.place.below(parent) if parent else run.place, base, MAX_BYTES)
        return None if found is None else ManifestFacts(parse_manifest(found[0], name=name.encode()))
    except ManifestInvalid as error:
        return ManifestFacts(invalid=str(error))


def _manifest_hashes_wait(
    station: Station, run: StagedRun, listing: Listing, *, accepted: bool, slot_held: bool
) -> Wait | None:
    """Compare the hashes a manifest gives, once: what was hashed is remembered by identity."""
    manifest = None if accepted else manifest_facts(station, run, listing)
    if manifest is None or acquisition_failed(listing, station.equipment(run)):
        return None
    rows = station.journal.files(run.run_path)
    wanted = {entry.name: entry.sha256 for entry in manifest.entries if entry.sha256 is not None}
    unknown = [name for name in wanted if name not in rows or rows[name].identity != listing.files[name]]
    if unknown:
        slot = nullcontext(True) if slot_held else station.slot(run)
        with slot as free:
            if not free:
                return Wait("waiting for a free slot to check the manifest's hashes", unseen=True)
            rows |= hash_and_remember(station, run, unknown)
    wrong = [name for name, sha256 in wanted.items() if rows[name].sha256 != sha256.lower()]
    if not wrong:
        return None
    text = f"{printable(wrong[0])} has another SHA-256 than the manifest says"
    watch = (station.equipment(run).manifest_filename.encode(), *wrong)
    return Wait(text, "manifest_invalid", watch=watch)


def hash_and_remember(station: Station, run: StagedRun, names: Sequence[bytes]) -> dict[bytes, FileRow]:
    """Hash staged files and have the journal remember it; what it knew of their NAS copies is kept where it still fits.

    Raises:
        RunProblem: a file changed meanwhile or cannot be read.
    """
    rows: dict[bytes, FileRow] = {}
    if not names:
        return rows
    known = station.journal.files(run.run_path)
    with staging_errors("opening the run folder"):
        folder = open_folder(run.place)
    with opened(folder):
        for start in range(0, len(names), _REMEMBERED_TOGETHER):
            part = {
                name: _hashed(folder, name, known.get(name)) for name in names[start : start + _REMEMBERED_TOGETHER]
            }
            station.journal.save_files(run.run_path, part)
            rows |= part
    return rows


def _hashed(folder: int, name: bytes, before: FileRow | None) -> FileRow:
    identity, sha256 = hash_staged(folder, name, lambda _: None)
    same = before is not None and before.sha256 == sha256
    return replace(before, identity=identity) if before is not None and same else FileRow(identity, sha256)


def _writer_wait(run: StagedRun, listing: Listing) -> Wait | None:
    with staging_errors("looking for open files"):
        name = open_writers(run.place, listing.files)
    return None if name is None else Wait(writer_words(name), unseen=True)


def _flags(station: Station, run: StagedRun, record: Ingest) -> tuple[Problem, ...]:
    """Problems that only tell a person something."""
    failed = any(entry.extra("acquisition_failed") is True for entry in record.history)
    if not failed:
        return ()
    hint = "The run is copied and proved like any other; decide whether it must be acquired again."
    return (
        station.problem(run.run_path, "acquisition_failed", "The equipment says that the acquisition failed.", hint),
    )


# -- is a proved run still what was proved? ------------------------------------------------------------------


def _look_at_proved(station: Station, run: StagedRun, record: Ingest) -> Look:
    """Walk a proved run in full; what is new or different sends it back to be copied (lifecycle.md, 6.2)."""
    listing = walk_run(station, run)
    reason = drift(station, run, record, listing)
    if reason is not None:
        record = station.advance(run, record, IngestState.SYNC_QUEUED, reason=reason)
        log_event(
            station, run, "WARNING", f"changed since it was proved ({reason}); it is copied again", event="run_changed"
        )
        return Look(record.current_state, stepped=True, problems=_flags(station, run, record))
    station.note_proved(run, record, files=len(listing.files), byte_total=listing.byte_total)
    _settle_receipt(station, run, record, listing)
    known = station.journal.run(run.run_path)
    clear_at = scheduled_clear_at(record, station.cleanup)
    if known is not None:
        station.journal.save(replace(known, clear_at=None if clear_at is None else clear_at.timestamp()))
    remember_idle(station, run, listing, station.now() + _WALK_AGAIN)
    return Look(record.current_state, problems=_flags(station, run, record))


def _settle_receipt(station: Station, run: StagedRun, record: Ingest, listing: Listing) -> None:
    """A run that is still what was proved has a receipt, while it is not too old; one with a problem gets none."""
    equipment, entry = station.equipment(run), record.history[-1]
    codes = {problem.code for problem in station.journal.problems(run.run_path)} - FLAGS
    unsafe = next((code for code in sorted(codes) if code in UNSAFE), None)
    if unsafe is not None:
        station.withdraw_receipt(run, f"a problem is open: {unsafe}")
        return
    if station.is_elsewhere(run, record):
        station.withdraw_receipt(run, ELSEWHERE, until="evidence")
        return
    if station.ledger.pushed_again_at(run.run_path) is not None:  # of another life, which is not there any more
        station.withdraw_receipt(run, PUSHED_AGAIN)
        return
    proved = verified_at(record)
    is_old = proved is None or station.now() - proved > timedelta(days=equipment.receipts_days)
    if codes or is_old or not equipment.receipts or accepted_by(record.history):
        return  # what was accepted as it is may have more of it at the instrument than was ever pushed
    receipt = Receipt(
        run=run.run_path,
        safe=True,
        file_count=len(listing.files),
        byte_total=listing.byte_total,
        nas_path=station.place_of(run).path,
        checksum_file=entry.text("checksum_file") or "",
        checksum_sha256=entry.text("checksum_sha256") or "",
        verified_at=entry.at,
        written_at=format_utc(station.now()),
    )
    station.issue_receipt(receipt, run)


def drift(station: Station, run: StagedRun, record: Ingest, listing: Listing) -> str | None:
    """Why a proved run is no longer what was proved, as the reason of a step back, or None.

    A file whose identity changed is hashed again: the same content is only remembered under its new identity.
    """
    proved = proved_hashes(station, run, record)
    if proved is None:
        return "record_unsealed" if record.history[-1].text("checksum_sha256") is None else "nas_copy_missing"
    if listing.files.keys() - proved.keys() or listing.special:
        return "new_files"
    rows = station.journal.files(run.run_path)
    moved = [name for name, identity in listing.files.items() if name not in rows or rows[name].identity != identity]
    try:
        rows |= hash_and_remember(station, run, moved)
    except ChangedWhileCopied:
        return "changed_files"
    return "changed_files" if any(rows[name].sha256 != proved[name] for name in listing.files) else None


def is_accepted(station: Station, run: StagedRun, record: Ingest) -> bool:
    """Whether a person accepted the run as it is, in its record or by an order that waits."""
    return accepted_by(record.history) or station.journal.order(run.run_path, "accept") is not None
