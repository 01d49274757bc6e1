"""ingest.json: read strictly, judged by its seal, appended to under a short lock, remembered in the journal."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal, cast

from pydantic import ValidationError

from exlab_orch.clock import format_utc
from exlab_orch.errors import (
    IllegalTransition,
    Locked,
    RecordUnreadable,
    RecordUnsealed,
    SchemaMajorMismatch,
    staging_errors,
)
from exlab_orch.files.places import leaf_identity, make_folders, read_small
from exlab_orch.files.whole import replace_own
from exlab_orch.journal import Journal, JournalRun
from exlab_orch.model import (
    OUR_FOLDER,
    RECORD_NAME,
    SCHEMA_VERSION,
    HistoryEntry,
    Ingest,
    IngestState,
    LeafIdentity,
    StagedRun,
)
from exlab_orch.state import StateDirectory, own_names

_LIMIT: Final = 4 << 20
_SURELY_SHALLOW: Final = 200
"""With fewer brackets than this nothing is nested too deeply to be written."""
_MAJOR: Final = SCHEMA_VERSION.split(".", maxsplit=1)[0]
_FORWARD: Final = {
    IngestState.STAGING: IngestState.COMPLETE,
    IngestState.COMPLETE: IngestState.SYNC_QUEUED,
    IngestState.SYNC_QUEUED: IngestState.SYNC_VERIFIED,
    IngestState.SYNC_VERIFIED: IngestState.CLEARED,
}
STEP_BACK_REASONS: Final = frozenset(
    {"new_files", "changed_files", "nas_copy_missing", "nas_copy_damaged", "record_unsealed"}
)


# -- reading -------------------------------------------------------------------------------------------------


def parse_record(content: bytes) -> Ingest:
    """The record in these bytes.

    Raises:
        RecordUnreadable: it is empty, cut short, no JSON, has a key twice, or lacks a field.
        SchemaMajorMismatch: it was written under another major schema version.
    """
    try:
        value = json.loads(content.decode(), object_pairs_hook=_no_key_twice, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _unreadable(str(error)) from error
    if not isinstance(value, dict):
        raise _unreadable("it is not a JSON object")
    version = value.get("schema_version")
    if isinstance(version, str) and version.split(".")[0] != _MAJOR:
        raise SchemaMajorMismatch(
            f"The record ingest.json has schema version {version[:20]!r}; this program knows {_MAJOR}.x.",
            hint="Update exlab-orch on this computer, or find out what wrote it. It was left untouched.",
        )
    try:
        record = Ingest.model_validate(value)
        _require_writable(record)  # what could not be written again, such as absurd nesting, is not a record either
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise _unreadable(f"{'.'.join(map(str, first['loc'])) or 'the record'}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise _unreadable(str(error)) from error
    return record


def _unreadable(why: str) -> RecordUnreadable:
    return RecordUnreadable(
        f"The record ingest.json cannot be understood ({why[:200]}).",
        hint="It was kept as it is. Find out what damaged it; move it away to have the run start anew.",
    )


def _no_key_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is no JSON number")


def read_record(run: StagedRun) -> Ingest | None:
    """The record of a run, or None where there is none.

    Raises:
        RecordUnreadable, SchemaMajorMismatch: see ``parse_record``.
        RunProblem: the file system answered with an error.
    """
    with staging_errors("reading ingest.json"):
        try:
            found = read_small(run.place.below(OUR_FOLDER), RECORD_NAME, _LIMIT)
        except PermissionError as error:
            raise RecordUnreadable(
                f"The record ingest.json may not be read ({error.strerror}).",
                hint="Let the service user read it, and every folder above it. Nothing was changed.",
            ) from error
        except OSError as error:
            raise _unreadable(error.strerror or str(error)) from error
    return None if found is None else parse_record(found[0])


def render_record(record: Ingest) -> bytes:
    """The bytes of ``ingest.json``."""
    return json.dumps(record.as_json(), indent=2, ensure_ascii=True, allow_nan=False).encode() + b"\n"


def _rendered(record: Ingest) -> bytes:
    """The bytes of ``ingest.json``, which are never more than are read.

    Raises:
        RecordUnreadable: it would be larger.
    """
    content = render_record(record)
    if len(content) > _LIMIT:
        raise _unreadable(f"written anew, it would be larger than {_LIMIT} bytes")
    return content


def _require_writable(record: Ingest) -> None:
    """Raise what ``_rendered`` would; an ordinary record is not laid out for that, as ``list`` reads thousands."""
    compact = json.dumps(record.as_json(), ensure_ascii=True, allow_nan=False)
    deepest = compact.count("{") + compact.count("[")
    line_ends = compact.count(",") + 2 * deepest + 1
    if deepest > _SURELY_SHALLOW or len(compact) + line_ends * (2 * deepest + 1) > _LIMIT:
        _rendered(record)


# -- the seal ------------------------------------------------------------------------------------------------


def seal_of(record: Ingest, leaf: LeafIdentity, key: bytes) -> str:
    """HMAC-SHA256 over canonical JSON of the run path, the leaf's identity and the whole history (lifecycle.md, 2)."""
    body = {"run_path": record.run_path, "leaf": leaf.text(), "history": record.history_json()}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def sealed(record: Ingest, leaf: LeafIdentity, key: bytes) -> Ingest:
    """The record with its seal renewed."""
    return record.model_copy(update={"seal": seal_of(record, leaf, key)})


def is_sealed(record: Ingest, run: StagedRun, leaf: LeafIdentity, key: bytes | None) -> bool:
    """Whether the record is ours and belongs to this very folder under this very path."""
    if key is None or record.seal is None or record.run_path != run.run_path:
        return False
    given = record.seal.encode(errors="backslashreplace")  # a lone surrogate is a claim like any other
    return hmac.compare_digest(given, seal_of(record, leaf, key).encode())


# -- whose record is it? -------------------------------------------------------------------------------------

Ruling = Literal["ours", "restore", "step_back", "set_aside", "new_life", "bootstrap"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a present or absent record means, and the record to go on with where there is one."""

    ruling: Ruling
    record: Ingest | None = None


def judge(
    record: Ingest | None, *, seal_holds: bool, remembered: Ingest | None, known: bool, was_cleared: bool
) -> Judgement:
    """Decide whose record it is, for a run that is in staging and not in the trash (lifecycle.md, 2).

    Args:
        record: what ``ingest.json`` says, or None where it is absent.
        seal_holds: whether its seal is ours.
        remembered: the journal's sealed copy for this very leaf, or None; never a cleared one.
        known: whether the journal knows the path under another leaf.
        was_cleared: whether a run of this path was cleared before.
    """
    if record is None:
        if remembered is not None:
            return Judgement("restore", remembered)
        return Judgement("new_life" if known or was_cleared else "bootstrap")
    if record.current_state is IngestState.CLEARED:
        return Judgement("set_aside", record)
    if seal_holds:
        rolled_back = remembered is not None and len(remembered.history) > len(record.history)
        if remembered is not None and rolled_back and remembered.starts_with(record):
            return Judgement("restore", remembered)
        return Judgement("ours", record)
    if remembered is not None and remembered.history_json() == record.history_json():
        return Judgement("restore", remembered)
    return Judgement("step_back" if record.current_state is IngestState.SYNC_VERIFIED else "set_aside", record)


# -- writing -------------------------------------------------------------------------------------------------


def next_record(record: Ingest, entry: HistoryEntry) -> Ingest:
    """The record with one more entry.

    Raises:
        IllegalTransition: the five states allow no such step.
    """
    old, new = record.current_state, entry.state
    step_back = (
        new is IngestState.SYNC_QUEUED
        and old in (IngestState.COMPLETE, IngestState.SYNC_VERIFIED)
        and entry.text("reason") in STEP_BACK_REASONS
    )
    if _FORWARD.get(old) is not new and not step_back:
        raise IllegalTransition(f"A run cannot go from {old.value} to {new.value}.")
    return record.model_copy(update={"current_state": new, "history": (*record.history, entry)})


def new_entry(state: IngestState, now: datetime, host: str, extras: dict[str, object]) -> HistoryEntry:
    """A history entry; the extras become its further fields."""
    return HistoryEntry.model_validate({"state": state, "at": format_utc(now), "host": host, **extras})


def _require_legal_steps(old: Ingest | None, record: Ingest) -> None:
    """Raise IllegalTransition unless each added entry is a legal step from the one before it."""
    if old is not None:
        for entry in record.history[len(old.history) :]:
            old = next_record(old, entry)


class Records:
    """Reads and writes the records of one staging area."""

    def __init__(self, state: StateDirectory, journal: Journal, *, host: str, log_host: str) -> None:
        self._state = state
        self._journal = journal
        self._host = host
        self._log_host = log_host

    def own_names(self, run_path: str) -> frozenset[bytes]:
        """Names in a run folder that are ours; see ``state.own_names``."""
        return own_names(self._state, self._log_host, run_path)

    def seal_holds(self, run: StagedRun, record: Ingest) -> bool:
        """Whether the record's seal is ours and for this very folder."""
        with staging_errors("looking at the run folder"):
            return is_sealed(record, run, leaf_identity(run.place), self._state.key)

    def require_sealed(self, run: StagedRun) -> Ingest:
        """The run's record, which must be there and sealed.

        Raises:
            RunProblem: it is absent, unreadable, or not ours.
        """
        record = read_record(run)
        if record is None or not self.seal_holds(run, record):
            raise _unsealed("The record of this run is missing or was not written by this orchestrator.")
        return record

    @contextmanager
    def _locked(self, run: StagedRun) -> Iterator[None]:
        with self._state.record_lock(run.run_path) as held:
            if not held:
                raise Locked("Another process holds the record of this run.", hint="Try again in a minute.")
            self._state.refuse_lost_lock(run.run_path)
            yield

    def write(self, run: StagedRun, record: Ingest) -> Ingest:
        """Seal the record and write it whole, then have the journal remember it; the old history must be a prefix.

        Raises:
            IllegalTransition: it would rewrite history.
            Locked: another process rewrites the record and does not end.
        """
        with self._locked(run):
            old = read_record(run)
            if old is not None and not record.starts_with(old):
                raise IllegalTransition("The new record does not continue the old history.")
            _require_legal_steps(old, record)
            return self._replace(run, record)

    def append(
        self, run: StagedRun, state: IngestState, now: datetime, *, after: Ingest | None = None, **extras: object
    ) -> Ingest:
        """Append one entry to the record as it is on disk now, and return the new record.

        Only a record of ours is continued: a seal is never given to a history that somebody else wrote meanwhile.

        Raises:
            IllegalTransition: the five states allow no such step.
            RecordUnsealed: the record is not ours, or no longer the one that the step was decided ``after``.
            RunProblem: there is no record, or it cannot be understood.
        """
        with self._locked(run):
            record = self.require_sealed(run)
            if after is not None and record.history_json() != after.history_json():
                raise _unsealed("The record of this run changed while the run was worked on.")
            return self._replace(run, next_record(record, new_entry(state, now, self._host, extras)))

    def replace(self, run: StagedRun, record: Ingest) -> Ingest:
        """Seal and write a record in place of what is there: to begin a life, to restore one, to step a claim back."""
        with self._locked(run):
            return self._replace(run, record)

    def _replace(self, run: StagedRun, record: Ingest) -> Ingest:
        """The journal follows once the record is durable."""
        with staging_errors("writing ingest.json"):
            leaf = leaf_identity(run.place)
            record = sealed(record, leaf, cast("bytes", self._state.key))
            make_folders(run.place.below(OUR_FOLDER))
            self.write_own(run, RECORD_NAME, _rendered(record))
        self.remember(run, record, leaf)
        return record

    def write_own(self, run: StagedRun, name: str, content: bytes) -> None:
        """Write one of our own files in the run's ``.exlab-wizard`` whole."""
        temporary = self._state.temporary_name(run.run_path, name)
        replace_own(run.place.below(OUR_FOLDER), name, content, temporary=temporary)

    def remember(self, run: StagedRun, record: Ingest, leaf: LeafIdentity) -> None:
        """Have the journal keep the sealed record for this leaf."""
        known = self._journal.run(run.run_path) or JournalRun(run.run_path, leaf.text())
        text = json.dumps(record.as_json(), ensure_ascii=True)
        self._journal.save(replace(known, leaf=leaf.text(), record=text, idle=None))


def _unsealed(message: str) -> RecordUnsealed:
    return RecordUnsealed(
        message, hint="The next pass looks at it, and proves the run again; nothing is deleted before."
    )


def remembered_record(known: JournalRun | None, leaf: LeafIdentity) -> Ingest | None:
    """The journal's copy of the record, if it is for this very leaf and not a cleared one."""
    if known is None or known.record is None or known.leaf != leaf.text():
        return None
    record = parse_record(known.record.encode())
    return None if record.current_state is IngestState.CLEARED else record


def remembered(known: JournalRun | None) -> Ingest | None:
    """The last record that the journal kept of a run.

    Raises:
        RecordUnreadable, SchemaMajorMismatch: see ``parse_record``.
    """
    return None if known is None or known.record is None else parse_record(known.record.encode())


def kept_record(known: JournalRun) -> Ingest | None:
    """The record as the journal kept it, read fast: we wrote it there. None where it has none that can be read so."""
    if known.record is None:
        return None
    try:
        return Ingest.model_validate_json(known.record)
    except ValidationError:  # a name that is not UTF-8, or a damaged row: the file says it
        return None
