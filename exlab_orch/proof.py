"""The proof before a delete: every proved file is read again from the NAS, and staging still holds just those files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Final, NamedTuple

from exlab_orch.clock import from_epoch_ns, local_words
from exlab_orch.crew import Crew, Stop, never
from exlab_orch.errors import (
    ChangedSinceVerified,
    NasCopyDamaged,
    NasCopyMissing,
    NasCopyUnreadable,
    NotSyncVerified,
    RunProblem,
    staging_errors,
)
from exlab_orch.evaluate import hash_and_remember, walk_run
from exlab_orch.files.hashing import OnBytes, hash_staged
from exlab_orch.files.places import leaf_identity, open_folder, opened
from exlab_orch.journal import FileRow
from exlab_orch.model import ClearProof, FileProof, Identity, Ingest, Listing, StagedRun
from exlab_orch.ownfiles import proved_hashes
from exlab_orch.progress import QUIET, Observer, phase
from exlab_orch.station import Station
from exlab_orch.text import count, pasted, printable
from exlab_orch.transports import ReadBack

_REREAD_COUNTS_FOR: Final = timedelta(hours=24)


class Compared(NamedTuple):
    """What files read from the NAS are, beside what was proved of them."""

    good: list[ReadBack]
    missing: list[bytes]
    changed: list[ReadBack]


class StepBack(Exception):
    """The proof shows that the run must be copied again; ``reason`` goes into its history."""

    def __init__(self, reason: str, problem: RunProblem) -> None:
        super().__init__(reason)
        self.reason = reason
        self.problem = problem


def prove(station: Station, run: StagedRun, record: Ingest, watch: Observer = QUIET, stop: Stop = never) -> ClearProof:
    """Prove now that every staged file is on the NAS, by reading it back; the only maker of a ClearProof.

    Staged files must be those that were proved: their identity is the one recorded when they were hashed, or they are
    hashed again. Then every proved file is read on both sides, past the page cache: the copy was made from one read of
    the staged file, and a bit that flipped in that very read would be on the NAS, proved. What an interrupted clear
    read within 24 hours and is unchanged since is not read again, and under ``proof = "recent"`` any full read of the
    NAS copy of that age counts, without a second look at the staged one.

    Raises:
        StepBack: a staged file is new or differs, or a proved file is gone from the NAS.
        NasCopyDamaged: a proved file has other content on the NAS.
        NasCopyUnreadable: a proved file cannot be read there.
        NasFault, RunProblem: something could not be looked at.
        OutOfTime: the stop rule said so; what was read counts for the next clear.
    """
    with _receipt_withdrawn(station, run):
        transport = station.nas_of(run)
        transport.check()
        proved = proved_hashes(station, run, record)
        if proved is None:
            raise NotSyncVerified(
                "The checksum list that the record seals is neither in staging nor on the NAS.",
                hint="The next pass copies and proves the run again.",
            )
        forget_reads_elsewhere(station, run)
        listing = walk_run(station, run)
        staged = _proved_staged(station, run, listing, proved)
        try:
            crew = station.crew(run, watch, stop)
            on_nas = _reread(station, run, listing.files, proved, crew)
        finally:
            transport.check()  # a NAS that went away meanwhile is a fault of the NAS; nothing is concluded from it
        files = {name: FileProof(staged[name].identity, proved[name], on_nas[name]) for name in listing.files}
        with staging_errors("looking at the run folder"):
            leaf = leaf_identity(run.place)
        return ClearProof(run_path=run.run_path, leaf=leaf, files=files)


@contextmanager
def _receipt_withdrawn(station: Station, run: StagedRun) -> Iterator[None]:
    """Where there is no proof any more, no receipt says so; that comes before anything else."""
    try:
        yield
    except (StepBack, NasCopyDamaged, NasCopyMissing, NasCopyUnreadable, NotSyncVerified) as error:
        station.withdraw_receipt(run, (error.problem if isinstance(error, StepBack) else error).message)
        raise


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


def _read_again(run: StagedRun, names: Iterable[bytes], on_bytes: OnBytes) -> dict[bytes, FileRow]:
    """The staged files as they are on the disk now."""
    with staging_errors("opening the run folder"):
        folder = open_folder(run.place)
    with opened(folder):
        return {name: FileRow(*hash_staged(folder, name, on_bytes, past_memory=True)) for name in names}


def _require_as_copied(
    station: Station, run: StagedRun, proved: Mapping[bytes, str], again: Mapping[bytes, FileRow]
) -> None:
    """Raise StepBack where a staged file reads differently than when it was copied; the journal knows it as new."""
    differ = {name: row for name, row in again.items() if row.sha256 != proved[name]}
    if differ:
        station.journal.save_files(run.run_path, differ)
        raise _changed(sorted(differ), "changed_files", "reads differently now than when it was copied")


def _changed(names: Sequence[bytes], reason: str, what: str) -> StepBack:
    return StepBack(
        reason,
        ChangedSinceVerified(
            f"The staged file {printable(names[0])} {what}" + (f" (and {len(names) - 1} more)." if names[1:] else "."),
            hint="Nothing was deleted. The next pass copies and proves the run again; try again after that.",
            files=names,
        ),
    )


def _reread(
    station: Station,
    run: StagedRun,
    staged: Collection[bytes],
    proved: Mapping[bytes, str],
    crew: Crew,
) -> dict[bytes, Identity]:
    """Read every proved file on both sides and compare; returns the stamps of what was read on the NAS."""
    transport = station.nas_of(run)
    with reading_the_copy(run):
        found = transport.listing(run.run_path, "published")
    here = {} if found is None else found.files
    missing = sorted(name for name in proved if name not in here)
    if missing:
        raise _missing(missing)
    known = station.journal.files(run.run_path)
    counts = _rows_that_count(station, known, here)
    stamps = {name: here[name] for name in proved if name in counts and counts[name].sha256 == proved[name]}
    sizes = {name: here[name].size for name in sorted(proved) if name not in stamps}

    def read(names: Sequence[bytes]) -> tuple[dict[bytes, FileRow], list[ReadBack]]:
        again = _read_again(run, (name for name in names if name in staged), lambda _: crew.advance(0))
        with reading_the_copy(run):
            return again, transport.read_back(run.run_path, "published", names, crew.advance)

    with phase(crew.watch, run.run_path, "proof", len(sizes), sum(sizes.values())):
        for again, batch in crew.spread(crew.batches(sizes), read):
            _require_as_copied(station, run, proved, again)
            rows = _proved_rows(station, run, proved, batch, known)
            station.journal.save_files(run.run_path, rows)
            stamps |= {name: row.stamp for name, row in rows.items() if row.stamp is not None}
    return stamps


@contextmanager
def reading_the_copy(run: StagedRun) -> Iterator[None]:
    """Tell what keeps a proved copy from being read as a problem of the copy: what it holds now is not known."""
    try:
        yield
    except NasCopyMissing:
        raise
    except RunProblem as error:
        raise NasCopyUnreadable(
            error.message,
            hint="Nothing was deleted. Look at the NAS (rights, disks), then: "
            f"exlab-orch verify {pasted(run.run_path)}",
            files=error.files,
        ) from error


def _missing(names: Sequence[bytes]) -> StepBack:
    return StepBack(
        "nas_copy_missing",
        NasCopyMissing(
            f"{count(len(names), 'proved file')} gone from the NAS, first {printable(names[0])}.",
            hint="Nothing was deleted. The next pass copies what is missing again.",
            files=names,
        ),
    )


def _rows_that_count(
    station: Station, known: Mapping[bytes, FileRow], here: Mapping[bytes, Identity]
) -> dict[bytes, FileRow]:
    """Files that need not be read again: unchanged on the NAS since a read that is recent enough."""
    cleanup, now = station.config.orchestrator.staging_cleanup, station.now().timestamp()

    def is_recent(row: FileRow) -> bool:
        if row.clear_read_at is not None and 0 <= now - row.clear_read_at <= _REREAD_COUNTS_FOR.total_seconds():
            return True
        if cleanup.proof != "recent" or cleanup.proof_max_age is None or row.read_at is None:
            return False
        return 0 <= now - row.read_at <= cleanup.proof_max_age.total_seconds()

    return {name: row for name, row in known.items() if row.stamp == here.get(name) and is_recent(row)}


def _proved_rows(
    station: Station,
    run: StagedRun,
    proved: Mapping[bytes, str],
    batch: Sequence[ReadBack],
    known: Mapping[bytes, FileRow],
) -> dict[bytes, FileRow]:
    """What was just read, as rows to remember; raises unless every file is what was proved."""
    found = compared(batch, proved)
    if found.missing:
        raise _missing(found.missing)
    if found.changed:
        doubt(station, run, [one.name for one in found.changed])
        raise _damaged(run, found.changed[0])
    now = station.now().timestamp()
    rows: dict[bytes, FileRow] = {}
    for name, stamp, sha256 in found.good:
        if stamp is not None and sha256 is not None:
            before = known.get(name) or FileRow(stamp, sha256)
            rows[name] = replace(before, sha256=sha256, stamp=stamp, read_at=now, clear_read_at=now)
    return rows


def compared(batch: Iterable[ReadBack], proved: Mapping[bytes, str]) -> Compared:
    """What was just read, beside what was proved."""
    found = Compared([], [], [])
    for one in batch:
        if one.sha256 is None or one.stamp is None:
            found.missing.append(one.name)
        else:
            (found.good if one.sha256 == proved[one.name] else found.changed).append(one)
    return found


def doubt(station: Station, run: StagedRun, names: Iterable[bytes]) -> None:
    """Forget that these files on the NAS were ever as proved: a bit that flipped there changes neither size nor time.

    Without this, the next copy would take them for the files it remembers, and a recent read would count for a clear.
    """
    station.journal.forget_copies(run.run_path, names)


def forget_reads_elsewhere(station: Station, run: StagedRun) -> None:
    """Forget what was read of the run on another NAS, before anything is read or believed of it on this one.

    A copy of a whole NAS has the same sizes and times, and even inodes; nobody has read it yet.
    """
    here, note = station.place_of(run), f"read on {run.run_path}"
    place = f"{here.marker or '-'} {here.path}"
    if station.journal.note(note) == place:
        return
    with station.journal.transaction():
        station.journal.forget_copies(run.run_path)
        station.journal.set_note(note, place)


def _damaged(run: StagedRun, found: ReadBack) -> NasCopyDamaged:
    name = found.name
    changed_at = "?" if found.stamp is None else local_words(from_epoch_ns(found.stamp.mtime_ns))
    return NasCopyDamaged(
        f"The NAS copy of {printable(name)} has other content now (modified {changed_at}); usually somebody edited it.",
        hint="Nothing was deleted. To keep theirs aside and copy ours: "
        f"exlab-orch sync --new-version {pasted(run.run_path)}",
        files=[name],
    )
