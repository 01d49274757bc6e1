"""Copying one run to the NAS and proving it: plan, send, read back, walk again, publish, record (lifecycle.md, 5)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, cast

from exlab_orch.checksums import format_list, sha256_of
from exlab_orch.checksums import parse as parse_checksums
from exlab_orch.creation import read_creation, require_agreement
from exlab_orch.crew import Stop, never
from exlab_orch.damage import LIST
from exlab_orch.errors import (
    ChangedSinceVerified,
    ChangedWhileCopied,
    HashMismatch,
    NasConflict,
    NasCopyMissing,
    SpecialFile,
    SyncFailed,
)
from exlab_orch.evaluate import completeness_wait, hash_and_remember, is_accepted, walk_run
from exlab_orch.files.copy import Copied
from exlab_orch.journal import FileRow, JournalRun
from exlab_orch.mirror import mirror_or_remember, put_checksums, put_record
from exlab_orch.model import (
    CHECKSUMS_NAME,
    CHECKSUMS_PATH,
    OUR_FOLDER,
    RECORD_NAME,
    Identity,
    Ingest,
    IngestState,
    Listing,
    StagedRun,
    Wait,
)
from exlab_orch.orders import end_orders
from exlab_orch.ownfiles import log_edges, log_event, noted_lists, read_list, write_checksums
from exlab_orch.policy import placing
from exlab_orch.progress import QUIET, Observer, phase
from exlab_orch.proof import forget_reads_elsewhere
from exlab_orch.records import render_record
from exlab_orch.station import Station
from exlab_orch.text import count, pasted, printable
from exlab_orch.transports import TellsProof, Transport
from exlab_orch.transports.names import folders_above

_MEASURED_BYTES: Final = 64 << 20
"""A copy of at least so many bytes tells how fast the NAS is."""


@dataclass(slots=True)
class Plan:
    """What one attempt does with every staged file."""

    listing: Listing
    existing: Listing | None
    """What the NAS has under the run's name, or None."""
    send: list[bytes] = field(default_factory=list)
    supersede: list[bytes] = field(default_factory=list)
    rows: dict[bytes, FileRow] = field(default_factory=dict)
    """Files that are proved: adopted, copied by an earlier attempt, or copied by this one."""

    @property
    def bytes_to_send(self) -> int:
        return sum(self.listing.files[name].size for name in self.send)


class RunCopy:
    """One attempt to copy and prove one run; the run's lock and a slot of its NAS are held."""

    def __init__(self, station: Station, run: StagedRun, record: Ingest, watch: Observer = QUIET, stop: Stop = never):
        self._station = station
        self._run = run
        self._record = record
        self._watch = watch
        self._crew = station.crew(run, watch, stop)
        self._transport: Transport = station.nas_of(run)
        self._order = station.journal.order(run.run_path, "new_version")
        self._proved_lists: list[dict[bytes, str]] = []
        self._earlier: dict[bytes, str] = {}
        """What was proved in earlier rounds and lives, the latest for each name."""
        self._began = time.monotonic()

    def attempt(self) -> Wait | None:
        """Copy, prove, publish and record the run; or say what it waits for.

        Raises:
            NasFault, RunProblem: it could not be done.
            OutOfTime: the stop rule said so.
        """
        listing = walk_run(self._station, self._run)
        accepted = is_accepted(self._station, self._run, self._record)
        waits = completeness_wait(self._station, self._run, listing, accepted=accepted, slot_held=True)
        if waits is not None:
            return waits
        self._transport.check()
        require_copyable(self._run, listing)
        self._transport.refuse_names(self._run.run_path, listing)
        plan = self._planned(listing)
        self._transport.require_space(plan.bytes_to_send)
        self._send(plan)
        self._require_second_walk(plan)
        checksums = self._checksums(plan)
        self._publish(plan, checksums)
        self._transport.check()
        self._require_published(plan)
        self._record_proved(plan, checksums)
        return None

    # -- before the first byte -------------------------------------------------------------------------------

    def _planned(self, listing: Listing) -> Plan:
        run_path = self._run.run_path
        forget_reads_elsewhere(self._station, self._run)
        plan = Plan(listing, self._transport.listing(run_path, "published"))
        self._proved_lists = self._read_proved_lists()
        self._earlier = {name: sha256 for proved in self._proved_lists for name, sha256 in proved.items()}
        known = self._station.journal.files(run_path)
        self._refuse_lost(plan)
        if plan.existing is not None:
            self._place_existing(plan, plan.existing, known)
        part = self._transport.listing(run_path, "part")
        waiting = [name for name in listing.files if name not in plan.rows]
        if part is not None:
            plan.rows |= self._resumed(listing, part, known, waiting)
        plan.send = sorted(name for name in waiting if name not in plan.rows)
        return plan

    def _refuse_lost(self, plan: Plan) -> None:
        """A file we proved once that is now neither staged nor on the NAS is lost: that is never passed over."""
        here: set[bytes] = {*plan.listing.files, *(plan.existing.files if plan.existing is not None else ())}
        lost = sorted(self._earlier.keys() - here)
        if lost and self._order is None:
            raise NasCopyMissing(
                f"{printable(lost[0])} was proved on the NAS before and is now neither there nor in staging"
                + (f" (and {len(lost) - 1} more)." if lost[1:] else "."),
                hint="Get it back from the NAS's snapshots. To go on without it: "
                f"exlab-orch sync --new-version {pasted(self._run.run_path)}",
                files=lost,
            )

    def _resumed(
        self, listing: Listing, part: Listing, known: Mapping[bytes, FileRow], waiting: Iterable[bytes]
    ) -> dict[bytes, FileRow]:
        """Files an earlier attempt copied and proved; everything else in the hidden folder is removed."""
        kept = {
            name: known[name]
            for name in waiting
            if name in known
            and name in part.files
            and known[name].identity == listing.files[name]
            and known[name].stamp == part.files[name]
        }
        stale = [name for name in (*part.files, *part.special) if name not in kept]
        self._transport.drop_part_entries(self._run.run_path, stale, part.folders.keys() - listing.folders.keys())
        return kept

    # -- what the NAS has already ----------------------------------------------------------------------------

    def _place_existing(self, plan: Plan, existing: Listing, known: Mapping[bytes, FileRow]) -> None:
        """Adopt what is identical, supersede our own earlier versions, refuse what is somebody else's."""
        here = plan.listing
        taken = [name for name in here.files if name in existing.folders or name in existing.special]
        taken += [name for name in here.folders if name in existing.files or name in existing.special]
        both = [name for name in here.files if name in existing.files]
        staged = self._staged_hashes(here, known, both)
        on_nas = self._nas_hashes(existing, known, both)
        earlier = self._earlier_hashes(known)
        held: list[bytes] = []
        conflicts = list(taken)
        for name in both:
            verdict = placing(
                staged[name].sha256,
                on_nas[name].sha256,
                earlier=earlier.get(name, frozenset()),
                on_change=self._station.config.sync.on_change,
                approved=self._is_approved(name),
            )
            if verdict == "adopt":
                plan.rows[name] = replace(on_nas[name], identity=staged[name].identity)
            {"adopt": [], "supersede": plan.supersede, "hold": held, "conflict": conflicts}[verdict].append(name)
        self._station.journal.save_files(self._run.run_path, plan.rows)
        self._refuse(conflicts, held)

    def _refuse(self, conflicts: list[bytes], held: list[bytes]) -> None:
        allow = f"exlab-orch sync --new-version {pasted(self._run.run_path)}"
        if conflicts:
            raise NasConflict(
                f"The NAS already has other content under {count(len(conflicts), 'name')} of the run, "
                f"first {printable(conflicts[0])}. Nothing was overwritten.",
                hint=f"Look who put them there. To keep theirs aside and copy ours: {allow}",
                files=conflicts,
            )
        if held:
            raise ChangedSinceVerified(
                f"{count(len(held), 'file')} changed after the proof (on_change = hold), first {printable(held[0])}.",
                hint=f"To keep the earlier version aside and copy the new one: {allow}",
                files=held,
            )

    def _is_approved(self, name: bytes) -> bool:
        if self._order is None:
            return False
        files = cast("list[str]", self._order.get("files") or [])
        return not files or os.fsdecode(name) in files

    def _staged_hashes(self, here: Listing, known: Mapping[bytes, FileRow], names: list[bytes]) -> dict[bytes, FileRow]:
        fresh = [name for name in names if name not in known or known[name].identity != here.files[name]]
        hashed = hash_and_remember(self._station, self._run, fresh)
        return {name: hashed.get(name) or known[name] for name in names}

    def _nas_hashes(
        self, existing: Listing, known: Mapping[bytes, FileRow], names: list[bytes]
    ) -> dict[bytes, FileRow]:
        """What the NAS files hold: remembered where they are untouched since we proved them, else read."""
        rows = {name: known[name] for name in names if name in known and known[name].stamp == existing.files[name]}
        unread = [name for name in names if name not in rows]
        sizes = {name: existing.files[name].size for name in unread}
        with phase(self._watch, self._run.run_path, "proof", len(unread), sum(sizes.values())):
            for found in self._crew.spread(self._crew.batches(sizes), self._read_published):
                for name, stamp, sha256 in found:
                    if stamp is None or sha256 is None:
                        raise ChangedWhileCopied("A file on the NAS vanished while it was read.", files=[name])
                    rows[name] = FileRow(existing.files[name], sha256, stamp, self._station.now().timestamp())
        return rows

    def _read_published(self, names: Sequence[bytes]) -> list[tuple[bytes, Identity | None, str | None]]:
        found = self._transport.read_back(self._run.run_path, "published", names, self._crew.advance)
        return [(one.name, one.stamp, one.sha256) for one in found]

    def _earlier_hashes(self, known: Mapping[bytes, FileRow]) -> dict[bytes, set[str]]:
        """What we once proved for each name: from the journal, and from checksum lists that we can vouch for."""
        earlier = {name: {row.sha256} for name, row in known.items() if row.stamp is not None}
        for proved in self._proved_lists:
            for name, sha256 in proved.items():
                earlier.setdefault(name, set()).add(sha256)
        return earlier

    def _read_proved_lists(self) -> list[dict[bytes, str]]:
        """What was proved in earlier rounds and lives: the lists in staging and on the NAS, the NAS's word last.

        A list in staging counts only if a record or the ledger carries its hash: the one of an attempt that was
        interrupted says what was to be published. On the NAS that one counts too: there it was published.
        """
        sealed = self._sealed_lists()
        published = sealed | noted_lists(self._station, self._run.run_path)
        on_nas = self._transport.read_small(self._run.run_path, "published", CHECKSUMS_NAME)
        lists = ((read_list(self._run), sealed), (on_nas, published))
        return [parse_checksums(content) for content, known in lists if content and sha256_of(content) in known]

    def _sealed_lists(self) -> set[str]:
        """Hashes of the lists of earlier proofs of this run; what stands before a missing seal is a claim."""
        lists: set[str] = set()
        for entry in self._record.history:
            if entry.text("reason") == "record_unsealed":
                lists.clear()
            lists |= {entry.text("checksum_sha256") or ""} - {""}
        return lists | self._station.ledger.lists_of(self._run.run_path)

    # -- bytes -----------------------------------------------------------------------------------------------

    def _send(self, plan: Plan) -> None:
        run_path = self._run.run_path
        if not plan.send and plan.existing is not None and not plan.rows.keys() - self._stay(plan.existing, plan):
            self._transport.drop_part(run_path)
            return
        self._transport.check()  # planning may have read for hours; from here on folders are made below the root
        if self._transport.in_place:
            self._set_aside(plan)
        self._transport.make_part(run_path, self._part_folders(plan), plan.send)
        sizes = {name: plan.listing.files[name].size for name in plan.send}
        began = time.monotonic()
        with phase(self._watch, run_path, "copy", len(sizes), sum(sizes.values())):
            for copied in self._crew.spread(self._crew.batches(sizes), lambda names: self._send_batch(plan, names)):
                rows = {one.name: self._proved_row(one) for one in copied}
                plan.rows |= rows
                self._station.journal.save_files(run_path, rows)
        self._note_rate(sum(sizes.values()), time.monotonic() - began)

    @staticmethod
    def _stay(existing: Listing, plan: Plan) -> set[bytes]:
        """What is published and stays so; in the place of what is superseded comes a file of the hidden folder."""
        return existing.files.keys() - set(plan.supersede)

    def _note_rate(self, byte_count: int, seconds: float) -> None:
        """Remember how fast copying and reading back was, for estimates."""
        if byte_count >= _MEASURED_BYTES:
            self._station.journal.set_note("bytes_per_second", f"{byte_count / max(seconds, 1e-3):.0f}")

    def _part_folders(self, plan: Plan) -> set[bytes]:
        if plan.existing is None:
            return {*plan.listing.folders, OUR_FOLDER.encode()}
        return {
            folder for name in plan.listing.files if name not in plan.existing.files for folder in folders_above(name)
        } | {folder for name in plan.supersede for folder in folders_above(name)}

    def _send_batch(self, plan: Plan, names: Sequence[bytes]) -> list[Copied]:
        """Send a batch; a file that reads back differently is sent once more, and after that it is an alarm."""
        files = [(name, plan.listing.files[name]) for name in names]
        copied = self._transport.send(self._run, files, self._crew.advance)
        again = [one.name for one in copied if not one.proved]
        if not again:
            return list(copied)
        self._drop_sent(again)
        second = self._transport.send(self._run, [(name, plan.listing.files[name]) for name in again], self._uncounted)
        broken = [one.name for one in second if not one.proved]
        if broken:
            if self._transport.in_place:
                self._drop_sent(broken)  # what is broken must not stand under a final name
            raise HashMismatch(
                f"Twice the NAS did not give back what was written: {printable(broken[0])}.",
                hint="The NAS, its disks or the network damage data. Have them checked before anything else is copied.",
                files=broken,
            )
        return [one for one in copied if one.proved] + list(second)

    def _drop_sent(self, names: Sequence[bytes]) -> None:
        """Make room for what is sent again; at its final name even a broken file is moved aside, never deleted."""
        if not self._transport.in_place:
            self._transport.drop_part_entries(self._run.run_path, names)
            return
        for name in names:
            self._transport.supersede(self._run.run_path, name, self._station.now())

    def _set_aside(self, plan: Plan) -> None:
        for name in sorted(plan.supersede):
            self._transport.supersede(self._run.run_path, name, self._station.now())

    def _uncounted(self, _byte_count: int) -> None:
        """Bytes sent a second time are not counted twice; work that was abandoned ends here all the same."""
        self._crew.advance(0)

    def _proved_row(self, one: Copied) -> FileRow:
        return FileRow(one.identity, one.sha256, one.stamp, self._station.now().timestamp())

    # -- publishing ------------------------------------------------------------------------------------------

    def _require_second_walk(self, plan: Plan) -> None:
        again = walk_run(self._station, self._run)
        if not again.same_entries(plan.listing):
            names = sorted(_differing(again, plan.listing))
            raise ChangedWhileCopied(
                "The run changed while it was copied.",
                hint=f"Something still writes to it, for example to {printable(names[0]) if names else 'a folder'}; "
                "the next pass looks again.",
                files=names,
            )

    def _checksums(self, plan: Plan) -> bytes:
        """The checksum list: every staged file, and files proved earlier that are on the NAS and no longer staged."""
        hashes = {name: plan.rows[name].sha256 for name in plan.listing.files}
        if plan.existing is not None:
            gone = [name for name in self._earlier if name in plan.existing.files and name not in hashes]
            hashes |= {name: self._earlier[name] for name in self._still_good(gone)}
        return format_list(hashes)

    def _still_good(self, names: list[bytes]) -> list[bytes]:
        """Earlier lines to keep: all, unless a person asked for a new version; then those whose NAS file still fits."""
        if self._order is None:
            return names
        found = self._transport.read_back(self._run.run_path, "published", names, self._uncounted)
        return [one.name for one in found if one.sha256 == self._earlier[one.name]]

    def _publish(self, plan: Plan, checksums: bytes) -> None:
        write_checksums(self._station, self._run, checksums)
        if self._transport.in_place:
            self._publish_own(plan, checksums)
        elif plan.existing is None:
            self._publish_whole(plan, checksums)
        else:
            self._publish_into(plan, checksums)

    def _publish_whole(self, plan: Plan, checksums: bytes) -> None:
        run_path, transport = self._run.run_path, self._transport
        part = transport.listing(run_path, "part")
        folders = {*plan.listing.folders, OUR_FOLDER.encode()}
        if part is None or part.special or part.folders.keys() != folders or not _holds(part, plan.rows, exactly=True):
            raise ChangedWhileCopied("The hidden folder on the NAS is not what was copied into it; it is copied again.")
        transport.put_small(run_path, "part", CHECKSUMS_NAME, checksums)
        transport.put_small(run_path, "part", RECORD_NAME, render_record(self._record))
        transport.publish_run(run_path, plan.listing)

    def _publish_into(self, plan: Plan, checksums: bytes) -> None:
        """Add to a folder that the NAS has already: earlier versions aside, then files under names that are free."""
        run_path, transport = self._run.run_path, self._transport
        existing = cast("Listing", plan.existing)
        self._set_aside(plan)
        transport.make_published_folders(run_path, {*plan.listing.folders, OUR_FOLDER.encode()})
        added = [name for name in sorted(plan.listing.files) if name not in existing.files or name in plan.supersede]
        for name in added:
            stamp = transport.publish_file(run_path, name)
            if not stamp.same_bytes(plan.rows[name].stamp):
                raise SyncFailed(f"{printable(name)} changed on the NAS while it was published.", files=[name])
            plan.rows[name] = replace(plan.rows[name], stamp=stamp)
        self._station.journal.save_files(run_path, {name: plan.rows[name] for name in added})
        self._publish_own(plan, checksums)
        transport.drop_part(run_path)

    def _publish_own(self, plan: Plan, checksums: bytes) -> None:
        """Our own two files beside data that is in its place already."""
        if self._transport.in_place:
            self._transport.make_published_folders(self._run.run_path, {*plan.listing.folders, OUR_FOLDER.encode()})
        known = self._sealed_lists() | noted_lists(self._station, self._run.run_path)
        put_checksums(self._station, self._transport, self._run, checksums, known)
        put_record(self._station, self._transport, self._run, self._record)

    def _require_published(self, plan: Plan) -> None:
        """The published folder contains the staged listing, each file the very one that was read back."""
        found = self._transport.listing(self._run.run_path, "published")
        if found is None or not _holds(found, {name: plan.rows[name] for name in plan.listing.files}, exactly=False):
            raise SyncFailed(
                "What was published is not what was proved.",
                hint="Something else changes the run on the NAS; it is tried again later.",
            )

    def _record_proved(self, plan: Plan, checksums: bytes) -> None:
        journal, run_path, order = self._station.journal, self._run.run_path, self._order or {}
        journal.give_order(run_path, "mirror", {})  # before the record: a kill in between must not leave the NAS behind
        record = self._station.advance(
            self._run,
            self._record,
            IngestState.SYNC_VERIFIED,
            nas_path=self._transport.where(run_path),
            nas_marker=self._station.config.marker_of(self._run.equipment_id),  # tells it from one in its place
            checksum_file=CHECKSUMS_PATH,
            checksum_sha256=sha256_of(checksums),
            accepted=journal.order(run_path, "accept"),
            new_version_by=order.get("by"),
            proof_by=self._transport.proof_by if isinstance(self._transport, TellsProof) else None,
        )
        with journal.transaction():
            end_orders(self._station, self._run)
            self._station.forget_found_elsewhere(self._run)
            known = journal.run(run_path) or JournalRun(run_path, "")
            journal.save(replace(known, attempts=0, retry_at=None, failed=False, waiting=None))
            journal.forget_files(run_path, journal.files(run_path).keys() - plan.listing.files.keys())
        self._log_proved(plan, order.get("by"))
        for solved in ("sync", "clear"):
            log_edges(self._station, self._run, self._station.set_problems(run_path, solved, []))
        log_edges(self._station, self._run, self._station.end_damage(run_path, {*plan.listing.files, LIST}))
        mirror_or_remember(self._station, self._run, record)

    def _log_proved(self, plan: Plan, by: object) -> None:
        facts = {
            "files": len(plan.listing.files),
            "bytes": plan.listing.byte_total,
            "bytes_sent": plan.bytes_to_send,
            "seconds": round(time.monotonic() - self._began, 1),
        }
        text = "on the NAS, checked: {files} files read back, {bytes} bytes; {bytes_sent} sent in {seconds} s"
        asked = f"; the NAS copy replaced for {printable(str(by))}" if by else ""
        log_event(self._station, self._run, "INFO", text.format(**facts) + asked, event="run_copied", **facts)


def require_copyable(run: StagedRun, listing: Listing) -> None:
    """Raise the problem of a run that no NAS can be given as it is: SpecialFile or CreationMismatch; writes nothing."""
    if listing.special:
        names = sorted(listing.special)
        others = f" (and {len(names) - 1} more)" if names[1:] else ""
        raise SpecialFile(
            f"'{printable(names[0])}' is neither a file nor a folder but a {listing.special[names[0]]}{others}.",
            hint="Links, FIFOs, sockets, devices and mounts cannot be proved; replace them by files.",
            files=names,
        )
    require_agreement(read_creation(run.place), run)


def _differing(one: Listing, other: Listing) -> set[bytes]:
    names = one.files.keys() ^ other.files.keys()
    return names | {name for name in one.files.keys() & other.files.keys() if one.files[name] != other.files[name]}


def _holds(found: Listing, rows: Mapping[bytes, FileRow], *, exactly: bool) -> bool:
    """Whether a NAS listing has the proved files, by size and time; some NAS give a file a new inode at any time."""
    if exactly and found.files.keys() != rows.keys():
        return False
    return all(row.stamp is not None and row.stamp.same_bytes(found.files.get(name)) for name, row in rows.items())
