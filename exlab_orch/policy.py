"""The decisions, as pure functions: each returns why a run does not go ahead, or None to go ahead."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from os import fsdecode
from typing import Final, Literal

from exlab_orch.clock import local_words, utc_now
from exlab_orch.config import Config, Equipment, StagingCleanup
from exlab_orch.manifests import ManifestFile
from exlab_orch.model import OUR_FOLDER, HistoryEntry, Identity, Ingest, IngestState, Listing, Wait
from exlab_orch.space import Space
from exlab_orch.text import count, duration, printable, size

RETRY_SECONDS: Final = (30.0, 120.0, 480.0, 1800.0, 7200.0)
"""Waits after the first, second, … failed attempt; after the last the run has failed (lifecycle.md, 5)."""

CLOCKS_MAY_DIVERGE_SECONDS: Final = 300.0

# -- when is a run complete? (lifecycle.md, 3) ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ManifestFacts:
    """What is known about a run's manifest: its entries, or why it is none."""

    entries: tuple[ManifestFile, ...] = ()
    invalid: str | None = None


@dataclass(frozen=True, slots=True)
class CompletenessFacts:
    """What the completeness rule looks at."""

    listing: Listing
    changed_at: datetime | None
    """When the newest change was made, by our clock; None for an empty run."""
    manifest: ManifestFacts | None = None
    """None where there is no manifest file."""
    accepted: bool = False


def waiting_for(facts: CompletenessFacts, equipment: Equipment, now: datetime) -> Wait | None:
    """Why the run is not complete yet, or None. Manifest hashes and open writers are looked at after this."""
    if facts.accepted:
        return None
    return signal_wait(facts, equipment, now) or settle_wait(facts, equipment.settle_seconds, now)


def signal_wait(facts: CompletenessFacts, equipment: Equipment, now: datetime) -> Wait | None:
    """Why the equipment has not said yet that the run is done, or None."""
    if acquisition_failed(facts.listing, equipment):
        return _too_few(facts.listing, equipment)
    if equipment.completeness_signal == "sentinel_file":
        wait = _sentinel_wait(facts.listing, equipment.sentinels)
    elif equipment.completeness_signal == "manifest":
        wait = _manifest_wait(facts, equipment.manifest_filename)
    else:
        wait = _quiet_wait(facts, timedelta(seconds=equipment.quiet_seconds), now)
    return wait or _too_few(facts.listing, equipment)


def _sentinel_wait(listing: Listing, patterns: Iterable[str]) -> Wait | None:
    missing = [pattern for pattern in patterns if not any(matches(name, pattern) for name in listing.files)]
    return Wait(f"waiting for {' and '.join(map(printable, missing))}") if missing else None


def matches(name: bytes, pattern: str) -> bool:
    """Whether a file's name matches a pattern, segment by segment: ``*`` never spans a folder."""
    segments, wanted = fsdecode(name).split("/"), pattern.split("/")
    return len(segments) == len(wanted) and all(map(fnmatchcase, segments, wanted))


def acquisition_failed(listing: Listing, equipment: Equipment) -> bool:
    """Whether a file says that the acquisition failed."""
    return any(matches(name, pattern) for pattern in equipment.failed_patterns for name in listing.files)


_WATCHED: Final = 200
"""How many of the files a manifest waits for are watched one by one; the folders tell about the others."""


def _manifest_wait(facts: CompletenessFacts, manifest_name: str) -> Wait | None:
    if facts.manifest is None:
        return Wait(f"waiting for {printable(manifest_name)}")
    watch = (manifest_name.encode(),)
    if facts.manifest.invalid is not None:
        text = f"the manifest {printable(manifest_name)} cannot be used: {facts.manifest.invalid}"
        return Wait(text, "manifest_invalid", watch=watch)
    outstanding = outstanding_files(facts.manifest.entries, facts.listing.files)
    if not outstanding:
        return None
    total = len(facts.manifest.entries)
    text = f"{total - len(outstanding)} of {count(total, 'file')} have arrived; next: {printable(outstanding[0])}"
    return Wait(text, watch=(*watch, *outstanding[:_WATCHED]))


def outstanding_files(entries: Iterable[ManifestFile], files: Mapping[bytes, Identity]) -> list[bytes]:
    """Listed files that are not there with their size yet."""

    def has_arrived(entry: ManifestFile) -> bool:
        found = files.get(entry.name)
        return found is not None and entry.size in (None, found.size)

    return [entry.name for entry in entries if not has_arrived(entry)]


def _quiet_wait(facts: CompletenessFacts, quiet: timedelta, now: datetime) -> Wait | None:
    if facts.changed_at is None:
        return Wait("waiting for data")
    return _still_since(facts.changed_at, quiet, now, "it counts as done after")


def settle_wait(facts: CompletenessFacts, settle_seconds: float, now: datetime) -> Wait | None:
    """Why the run does not count as still yet, or None."""
    if facts.changed_at is None:
        return None
    return _still_since(facts.changed_at, timedelta(seconds=settle_seconds), now, "it settles after")


def _still_since(changed_at: datetime, quiet: timedelta, now: datetime, then: str) -> Wait | None:
    since = now - changed_at
    if since >= quiet:
        return None
    ago = duration(max(since.total_seconds(), 0))
    return Wait(f"changed {ago} ago; {then} {duration(quiet.total_seconds())}", until=changed_at + quiet)


def _too_few(listing: Listing, equipment: Equipment) -> Wait | None:
    signals = (*equipment.sentinels, *equipment.failed_patterns)
    if equipment.completeness_signal == "manifest":
        signals = (*signals, equipment.manifest_filename)
    ours = OUR_FOLDER.encode() + b"/"
    data = sum(
        not name.startswith(ours) and not any(matches(name, pattern) for pattern in signals) for name in listing.files
    )
    if data >= equipment.min_files:
        return None
    return Wait(f"{data} of at least {count(equipment.min_files, 'data file')} have arrived")


def still_arriving(since: datetime | None, equipment: Equipment, now: datetime) -> Wait | None:
    """The alert for a run that has been arriving for too long, or None."""
    if since is None or now - since < timedelta(hours=equipment.alert_after_hours):
        return None
    return Wait(f"it has been arriving for more than {equipment.alert_after_hours:g} h", "never_completed")


def accepted_by(history: Iterable[HistoryEntry]) -> bool:
    """Whether a person accepted the run as it is; an accept before a missing seal is void (lifecycle.md, 2)."""
    accepted = False
    for entry in history:
        if entry.text("reason") == "record_unsealed":
            accepted = False
        accepted = accepted or entry.extra("accepted") is not None
    return accepted


# -- attempts ------------------------------------------------------------------------------------------------


def retry_after(attempts: int) -> float | None:
    """Seconds until the next attempt after so many failed ones, or None when the run has failed."""
    return RETRY_SECONDS[attempts - 1] if attempts <= len(RETRY_SECONDS) else None


# -- what becomes of a file that the NAS already has (lifecycle.md, 5) ---------------------------------------

Placing = Literal["adopt", "supersede", "hold", "conflict"]


def placing(
    staged_sha256: str, nas_sha256: str, *, earlier: Collection[str], on_change: str, approved: bool
) -> Placing:
    """What becomes of a file whose name the NAS has: ``earlier`` are hashes we once proved for that name."""
    if staged_sha256 == nas_sha256:
        return "adopt"
    if approved:
        return "supersede"
    if nas_sha256 not in earlier:
        return "conflict"
    return "supersede" if on_change == "version" else "hold"


# -- when is a run deleted? (lifecycle.md, 6) ----------------------------------------------------------------


def verified_at(ingest: Ingest) -> datetime | None:
    """When the run was proved, or None where it is not in ``sync_verified`` or the time cannot be understood."""
    if ingest.current_state is not IngestState.SYNC_VERIFIED or not ingest.history:
        return None
    return ingest.history[-1].moment


def cleanup_eligible(*, ingest: Ingest, config: Config, now_utc: datetime | None = None) -> bool:
    """Whether the schedule may delete the staged copy now, going by record and configuration alone.

    True exactly at and after ``verified_at + retain_hours`` in scheduled mode. Holds, problems and the proof itself
    come on top (lifecycle.md, 6).
    """
    cleanup = config.orchestrator.staging_cleanup
    return cleanup.mode == "scheduled" and retained_until(ingest, cleanup, now_utc or utc_now()) is None


def retained_until(
    ingest: Ingest, cleanup: StagingCleanup, now: datetime, *, hours: float | None = None
) -> Wait | None:
    """Why the retention keeps the run, or None when its time, or that of so many hours, is over."""
    proved = verified_at(ingest)
    if proved is None:
        return Wait("it is not proved, or it is not known when")
    if proved > now:
        return Wait("its proof carries a time in the future; check this computer's clock")
    end = proved + timedelta(hours=cleanup.retain_hours if hours is None else hours)
    if now >= end:
        return None
    left, after = duration((end - now).total_seconds()), local_words(end)
    return Wait(f"clears in {left}: the staged copy is deleted after {after}", until=end)


def scheduled_clear_at(ingest: Ingest, cleanup: StagingCleanup) -> datetime | None:
    """When the schedule may delete the staged copy, or None where it never does."""
    proved = verified_at(ingest)
    if proved is None or cleanup.mode == "manual":
        return None
    try:
        return proved + timedelta(hours=cleanup.retain_hours)
    except OverflowError:  # a record may claim to be from the year 9999
        return None


@dataclass(frozen=True, slots=True)
class ClearFacts:
    """What decides whether a pass may delete a staged copy; the proof is made afterwards."""

    ingest: Ingest
    hold_reason: str | None = None
    blocking: str | None = None
    """The code of an open problem that stops a clear."""
    asked: bool = False
    """A person asked for it (``clear --later``)."""
    clock_wait_seconds: float = 0.0
    """How much boot time must still pass because the clock was stepped."""
    low: str | None = None
    """Why room is to be made on the staging disk before retentions end; None while there is enough."""


def kept_because(facts: ClearFacts, cleanup: StagingCleanup, now: datetime) -> Wait | None:
    """Why a pass keeps the staged copy of a run, or None when it may be cleared."""
    if facts.ingest.current_state is not IngestState.SYNC_VERIFIED:
        return Wait("it is not proved on the NAS")
    if facts.hold_reason is not None:
        return Wait(f"held: {printable(facts.hold_reason)}")
    if facts.blocking is not None:
        return Wait(f"blocked: {facts.blocking}", facts.blocking)
    if facts.asked:
        return None
    if cleanup.mode == "manual":
        return Wait("kept until somebody deletes it")
    if facts.clock_wait_seconds > 0:
        return Wait(f"the clock was changed; kept for {duration(facts.clock_wait_seconds)} of running time")
    return retained_until(facts.ingest, cleanup, now, hours=cleanup.shortest_hours if facts.low is not None else None)


def early_because(facts: ClearFacts, cleanup: StagingCleanup, now: datetime) -> str | None:
    """Why a run that ``kept_because`` lets go is deleted before its retention ends; None where that is over."""
    if facts.low is None or facts.asked or retained_until(facts.ingest, cleanup, now) is None:
        return None
    return facts.low


EARLY: Final = "the staged copy is deleted early"


def clear_words(early: str | None) -> str:
    """What becomes of a run that nothing keeps any more, and why it may be before its time."""
    if early is None:
        return "the next pass deletes the staged copy"
    return f"{EARLY}, the oldest first: {early}"


# -- is there room on the staging disk? ----------------------------------------------------------------------

_DEFAULT_MARK: Final = 0.05
"""Of the disk; without ``min_free``."""
_OPENS_BELOW: Final = 0.9
"""Of the mark: deleting early keeps a disk at its mark, and that is no news."""
_FULL_SOON_SECONDS: Final = 24 * 3600.0
_NOT_SOON_SECONDS: Final = 36 * 3600.0
LOW: Final = "staging_low"
FILLING: Final = "staging_filling"


def space_warnings(
    space: Space, seconds_left: float | None, cleanup: StagingCleanup, open_codes: Collection[str]
) -> dict[str, str]:
    """What there is to say about the room on the staging disk, by code; sentences hold no figure that changes.

    A warning that is open closes later than it opened (``open_codes``), so that none flaps.
    """
    found: dict[str, str] = {}
    mark = cleanup.mark_bytes(space.total_bytes) or int(space.total_bytes * _DEFAULT_MARK)
    if space.free_bytes < mark * (1 if LOW in open_codes else _OPENS_BELOW):
        found[LOW] = unreachable_mark(mark, space) or f"The staging disk has less than {mark_words(cleanup)} free."
    soon = _NOT_SOON_SECONDS if FILLING in open_codes else _FULL_SOON_SECONDS
    if seconds_left is not None and seconds_left < soon:
        found[FILLING] = "At the present rate the staging disk is full within about a day."
    return found


def unreachable_mark(mark: int, space: Space) -> str | None:
    """Why so much can never be free on the disk, or None: every run would go early, for ever, so none does."""
    if not mark or mark < space.total_bytes:
        return None
    return (
        f"staging_cleanup.min_free ({size(mark)}) is more than the staging disk holds ({size(space.total_bytes)}), "
        "so nothing is deleted early."
    )


def mark_words(cleanup: StagingCleanup) -> str:
    """The mark below which the staging disk is low, as sentences say it: "500GiB", "10%"."""
    return f"{_DEFAULT_MARK:.0%}" if cleanup.min_free is None else cleanup.min_free


def has_freed_nothing(deleted_bytes: int, gained_bytes: int) -> bool:
    """Whether deletes gave the disk next to nothing back: snapshots, hard links or open files keep what was deleted.

    A tenth is enough to go on: compressed and sparse files are smaller on the disk than they are long.
    """
    return gained_bytes * 10 < deleted_bytes


@dataclass(frozen=True, slots=True)
class ClockReading:
    """Wall clock and boot clock of one pass, and the boot they belong to."""

    wall: float
    boot: float
    boot_id: str
    wait: float = 0.0
    """Seconds of boot time that scheduled clears still wait."""


def clock_wait(before: ClockReading | None, now: ClockReading, retain_seconds: float) -> float:
    """Seconds of boot time that scheduled clears must still wait (lifecycle.md, 6; reliability.md, 15).

    A step of more than five minutes between passes starts the whole retention anew, on the clock that cannot step.
    """
    if before is None:
        return 0.0
    same_boot = before.boot_id == now.boot_id
    ran = now.boot - before.boot if same_boot else now.boot
    passed = now.wall - before.wall
    stepped = abs(passed - ran) > CLOCKS_MAY_DIVERGE_SECONDS if same_boot else passed < ran - CLOCKS_MAY_DIVERGE_SECONDS
    return retain_seconds if stepped else max(before.wait - ran, 0.0)


# -- which problems stop what --------------------------------------------------------------------------------

STRAYS: Final = frozenset({"not_a_run", "unknown_equipment"})
"""Problems of what lies in staging and is no run."""


FLAGS: Final = STRAYS | frozenset(
    {
        "acquisition_failed",
        "never_completed",
        LOW,
        FILLING,
        "clearing_stopped",
        "space_not_freed",
        "receipt_not_written",
    }
)
"""Problems that tell a person something and stop nothing."""


BLOCKS_CLEAR: Final = frozenset({"nas_copy_damaged", "record_unreadable", "schema_major_mismatch", "trash_leftover"})
"""Problems that stop a scheduled clear until a person has ended their cause; after any other it is tried again."""


UNSAFE: Final = BLOCKS_CLEAR | frozenset(
    {"nas_copy_missing", "nas_copy_unreadable", "nas_conflict", "hash_mismatch", "changed_since_verified"}
)
"""Problems with which a proved run is not safe on the NAS any more, or may not be."""


def blocking_code(codes: Iterable[str]) -> str | None:
    """The first problem that stops a scheduled clear, or None."""
    return next((code for code in codes if code in BLOCKS_CLEAR), None)
