"""Whether the NAS still holds what was proved: runs read again, staged ones and those whose staged copy is deleted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from exlab_orch.checksums import parse, sha256_of
from exlab_orch.cleanup import step_back
from exlab_orch.clock import format_utc, parse_utc
from exlab_orch.crew import Crew, never
from exlab_orch.damage import LIST, PHASE, ListFault, Unreadable, Verification, damage, is_mended
from exlab_orch.errors import (
    Locked,
    NasCopyDamaged,
    NotSyncVerified,
    RunProblem,
    staging_errors,
)
from exlab_orch.evaluate import walk_run
from exlab_orch.files.places import is_folder
from exlab_orch.journal import FileRow
from exlab_orch.ledger import LedgerLine
from exlab_orch.logs import note_event
from exlab_orch.model import (
    CHECKSUMS_NAME,
    CHECKSUMS_PATH,
    OUR_FOLDER,
    Ingest,
    IngestState,
    NasPlace,
    Place,
    Problem,
    StagedRun,
)
from exlab_orch.ownfiles import proved_hashes, write_log
from exlab_orch.progress import QUIET, Observer, phase
from exlab_orch.proof import StepBack, compared, doubt
from exlab_orch.receipts import Receipt, read_receipt
from exlab_orch.records import parse_record
from exlab_orch.staging import trash_slots
from exlab_orch.station import Station
from exlab_orch.text import pasted
from exlab_orch.transports import ReadBack

_NOTE: Final = "verified "
_SUPERSEDED: Final = f"{OUR_FOLDER}/superseded/".encode()
_log = logging.getLogger(__name__)


# -- when was it verified last? ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LastLook:
    """When a run was last verified, and whether everything was as proved."""

    at: datetime
    ok: bool
    place: NasPlace | None = None
    """Where that was."""


def last_looks(station: Station) -> dict[str, LastLook]:
    """When each run was last verified, by path; kept in the journal, which may be lost: then it is verified again."""
    found = {run_path: _parse_look(text) for run_path, text in station.journal.notes(_NOTE).items()}
    return {run_path: look for run_path, look in found.items() if look is not None}


def cleared_looks(station: Station, lines: Iterable[LedgerLine]) -> dict[str, LastLook]:
    """The looks that stand, of runs that are on the NAS only."""
    every = last_looks(station)
    found = {one.run_path: standing(every.get(one.run_path), parse_utc(one.cleared_at)) for one in lines}
    return {run_path: look for run_path, look in found.items() if look is not None}


def last_look(station: Station, run_path: str) -> LastLook | None:
    """When the run was last verified, or None."""
    return _parse_look(station.journal.note(f"{_NOTE}{run_path}") or "")


def proved_moment(record: Ingest | None) -> datetime | None:
    """When the run was last proved, as its record says."""
    entry = None if record is None else record.last(IngestState.SYNC_VERIFIED)
    return None if entry is None else entry.moment


def standing(look: LastLook | None, proved_at: datetime | None) -> LastLook | None:
    """The look, or None where a later full read has overtaken it: a copy that was proved, or the proof of a delete."""
    if look is None or look.ok or proved_at is None or proved_at <= look.at:
        return look
    return None


def _parse_look(text: str) -> LastLook | None:
    at, word, marker, path = (*text.split(" ", 3), "", "", "")[:4]
    moment = parse_utc(at)
    return None if moment is None else LastLook(moment, word == "ok", NasPlace(path, marker) if path else None)


# -- one run -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Vouched:
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


def verify(
    station: Station,
    run: StagedRun,
    *,
    watch: Observer = QUIET,
    lock_seconds: float = 5.0,
    slot_seconds: float = float("inf"),
    waits: Callable[[StagedRun], object] = lambda _: None,
) -> Verification:
    """Read the NAS copy of a proved run again and compare; damage opens a problem, which the next good look closes.

    Nothing is written on the NAS. What is missing there of a staged run is copied again by the next pass.

    Raises:
        NotSyncVerified: the run was never proved, or nothing here vouches for what was.
        Locked: the run, or every slot of its NAS, is busy for longer than given.
        NasFault, RunProblem: the NAS copy could not be looked at; nothing is concluded.
    """
    with (
        _slot(station, run, slot_seconds, waits),
        station.state.run_lock(run.run_path, wait_seconds=lock_seconds) as held,
    ):
        if not held:
            raise Locked("Another process is busy with this run.", hint="Try again when it is done: exlab-orch list")
        vouched = _vouched(station, run)
        try:
            found = _looked_at(station, vouched, station.crew(run, watch, never))
        except RunProblem as error:
            _note(station, run, error)
            raise
        problem = None if found.ok else damage(found, staged=_can_be_copied_again(station, vouched, found))
        _settle(station, vouched, found, problem)
    return replace(found, problem=problem)


def _can_be_copied_again(station: Station, vouched: _Vouched, found: Verification) -> bool:
    """Whether everything that is damaged lies in staging; of a run that was pushed again only a part may."""
    if not vouched.is_staged:
        return False
    try:
        staged = walk_run(station, vouched.run).files
    except RunProblem:
        return False  # what was found is told all the same
    return is_mended(found.damaged, {*staged, LIST})


@contextmanager
def _slot(station: Station, run: StagedRun, seconds: float, waits: Callable[[StagedRun], object]) -> Iterator[None]:
    """A slot of the run's NAS; the run's lock is taken after it, so that a wait keeps nobody from the run."""
    with station.slot(run) as free:
        if free:
            yield
            return
    waits(run)
    with station.slot(run, wait_seconds=seconds) as free:
        if not free:
            raise Locked("Every slot of the NAS is busy (sync.parallel_runs).", hint="Try again when a copy is done.")
        yield


def _vouched(station: Station, run: StagedRun) -> _Vouched:
    """What was proved of a run, as those say who can be trusted: its sealed record, the journal, the ledger.

    Raises:
        NotSyncVerified: it was never proved, or it is not known with which list.
        RunProblem: its record is not ours, or cannot be understood.
    """
    there = _where_it_is(station, run.run_path)
    record = _remembered(station, run.run_path) if there is None else station.records.require_sealed(there)
    if record is not None and (there is not None or is_proved(record)):
        return _by_record(there or at_home(station, run.run_path), record, staged=there is not None)
    line = station.ledger.last(run.run_path)
    if line is None or not line.checksum_sha256:
        raise _never_proved(run, None if record is None else record.current_state)
    return _Vouched(at_home(station, run.run_path), line.checksum_sha256, line.nas_path, None)


def _by_record(run: StagedRun, record: Ingest, *, staged: bool) -> _Vouched:
    entry = record.last(IngestState.SYNC_VERIFIED)
    wanted = None if entry is None else entry.text("checksum_sha256")
    if entry is None or wanted is None or not is_proved(record):
        raise _never_proved(run, record.current_state)
    return _Vouched(run, wanted, entry.text("nas_path") or "", record if staged else None)


def _never_proved(run: StagedRun, state: IngestState | None) -> NotSyncVerified:
    where = "nothing here says what was proved of it" if state is None else f"its state is {state.value}"
    return NotSyncVerified(
        f"The run is not proved on the NAS; {where}.", hint=f"See why: exlab-orch show {pasted(run.run_path)}"
    )


def _where_it_is(station: Station, run_path: str) -> StagedRun | None:
    """The run in staging or in the trash, or None."""
    home = at_home(station, run_path)
    with staging_errors("looking for the run folder"):
        if is_folder(home.place):
            return home
    slots = (slot.run for slot in trash_slots(station.staging_root))
    return next((found for found in slots if found is not None and found.run_path == run_path), None)


def _remembered(station: Station, run_path: str) -> Ingest | None:
    """The last record of a run that disappeared from staging, as the journal kept it."""
    known = station.journal.run(run_path)
    return None if known is None or known.record is None else parse_record(known.record.encode())


def _looked_at(station: Station, vouched: _Vouched, crew: Crew) -> Verification:
    """Everything about the NAS copy, read now."""
    run_path, transport = vouched.run.run_path, station.nas_of(vouched.run)
    transport.check()
    try:
        there = _there(station, vouched.run)
        wanted = _wanted(station, vouched)
        found = _compare(station, vouched, wanted.hashes, there, crew)
    finally:
        transport.check()  # a NAS that went away meanwhile is a fault of the NAS; nothing is concluded from it
    where = transport.where(run_path)
    return replace(
        _with_list(found, wanted),
        nas_path=where,
        gone=there.gone,
        extra=_beside(station, run_path, there, wanted.hashes),
        vouched=wanted.vouched,
        proved_at=vouched.nas_path if vouched.nas_path not in ("", where) else None,
    )


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the files should be, whether anybody vouches for that, and what is wrong with the list on the NAS."""

    hashes: Mapping[bytes, str]
    vouched: bool
    fault: ListFault | None = None
    error: RunProblem | None = None


def _wanted(station: Station, vouched: _Vouched) -> _Wanted:
    """The list on the NAS if it is the very one that was proved, else what staging still has of it.

    Where neither is, a list that can be read is a help for people, and no evidence.
    """
    content, error = _list_on_nas(station, vouched.run)
    if content is not None and sha256_of(content) == vouched.checksum_sha256:
        return _Wanted(parse(content), vouched=True)
    fault = _fault(content, error)
    proved = None if vouched.record is None else proved_hashes(station, vouched.run, vouched.record)
    if proved is not None:
        return _Wanted(proved, vouched=True, fault=fault, error=error)
    return _Wanted(_unvouched(content), vouched=False, fault=fault, error=error)


def _list_on_nas(station: Station, run: StagedRun) -> tuple[bytes | None, RunProblem | None]:
    transport = station.nas_of(run)
    try:
        return transport.read_small(run.run_path, "published", CHECKSUMS_NAME), None
    except RunProblem as error:
        transport.check()
        return None, error


def _fault(content: bytes | None, error: RunProblem | None) -> ListFault:
    if error is not None:
        return "unreadable"
    return "missing" if content is None else "changed"


def _unvouched(content: bytes | None) -> Mapping[bytes, str]:
    try:
        return parse(content or b"")
    except ValueError:
        return {}


@dataclass(frozen=True, slots=True)
class _There:
    """What the NAS has of a run: the sizes of its files, and the names of what is neither file nor folder.

    The listing itself is not kept: of 200,000 files it would be the largest thing in memory.
    """

    sizes: Mapping[bytes, int]
    special: tuple[bytes, ...]
    gone: bool


def _there(station: Station, run: StagedRun) -> _There:
    found = station.nas_of(run).listing(run.run_path, "published")
    if found is None:
        return _There({}, (), gone=True)
    return _There({name: one.size for name, one in found.files.items()}, tuple(found.special), gone=False)


def _beside(station: Station, run_path: str, there: _There, wanted: Mapping[bytes, str]) -> tuple[bytes, ...]:
    """What others put beside the run; where no list tells what is the run's, nothing."""
    if not wanted:
        return ()
    own = station.records.own_names(run_path)
    names = (name for name in (*there.sizes, *there.special) if name not in wanted and name not in own)
    return tuple(sorted(name for name in names if not name.startswith(_SUPERSEDED)))


def _with_list(found: Verification, wanted: _Wanted) -> Verification:
    """What was found, and among it what is wrong with the list."""
    if wanted.error is not None:
        unreadable = (Unreadable(LIST, wanted.error), *found.unreadable)
        return replace(found, list_fault=wanted.fault, unreadable=unreadable)
    if wanted.fault == "missing":
        return replace(found, list_fault=wanted.fault, missing=tuple(sorted((LIST, *found.missing))))
    if wanted.fault == "changed":
        return replace(found, list_fault=wanted.fault, changed=tuple(sorted((LIST, *found.changed))))
    return found


def _compare(
    station: Station, vouched: _Vouched, wanted: Mapping[bytes, str], there: _There, crew: Crew
) -> Verification:
    """Read every file that is there and was proved, and sort out what differs."""
    run = vouched.run
    counts = vouched.is_staged and station.cleanup.proof == "recent"  # nobody else asks when a file was read
    known = station.journal.files(run.run_path) if counts else {}
    sizes = {name: there.sizes[name] for name in sorted(wanted) if name in there.sizes}
    missing = [name for name in wanted if name not in sizes]
    changed: list[bytes] = []
    unreadable: list[Unreadable] = []
    byte_total = sum(sizes.values())
    with phase(crew.watch, run.run_path, PHASE, len(sizes), byte_total):
        for read, failed in crew.spread(crew.batches(sizes), lambda names: _read(station, run, names, crew)):
            found = compared(read, wanted)
            missing += found.missing
            changed += [one.name for one in found.changed]
            unreadable += failed
            _remember_reads(station, run, known, found.good)
    if changed:
        doubt(station, run, changed)
    return Verification(
        run.run_path,
        "",
        files=len(wanted),
        byte_total=byte_total,
        missing=tuple(sorted(missing)),
        changed=tuple(sorted(changed)),
        unreadable=tuple(sorted(unreadable, key=lambda one: one.name)),
    )


def _read(
    station: Station, run: StagedRun, names: Sequence[bytes], crew: Crew
) -> tuple[list[ReadBack], list[Unreadable]]:
    """A batch as the NAS holds it now; where it cannot be read whole, each of its files by itself."""
    transport = station.nas_of(run)
    try:
        return transport.read_back(run.run_path, "published", names, crew.advance), []
    except RunProblem:
        transport.check()
    read: list[ReadBack] = []
    failed: list[Unreadable] = []
    for name in names:
        try:
            read += transport.read_back(run.run_path, "published", [name], lambda _: crew.advance(0))
        except RunProblem as error:
            transport.check()
            failed.append(Unreadable(name, error))
    return read, failed


def _remember_reads(station: Station, run: StagedRun, known: Mapping[bytes, FileRow], good: Sequence[ReadBack]) -> None:
    """A full read of a staged run's copy counts where ``proof = "recent"`` asks for one."""
    now = station.now().timestamp()
    rows = {
        name: replace(known[name], stamp=stamp, read_at=now)
        for name, stamp, sha256 in good
        if name in known and known[name].sha256 == sha256
    }
    if rows:
        station.journal.save_files(run.run_path, rows)


# -- what follows from it ------------------------------------------------------------------------------------


def _settle(station: Station, vouched: _Vouched, found: Verification, problem: RunProblem | None) -> None:
    """Open or close the run's problem, and have a staged run's copy made good."""
    run, record = vouched.run, vouched.record
    if problem is not None and not found.only_list:  # first of all: who reads it may delete the run at the instrument
        station.withdraw_receipt(run, problem.message)
    _note(station, run, problem)
    if problem is None and record is None:
        _call_safe_again(station, vouched, found)
    if problem is None or record is None or not vouched.is_staged:
        _log_look(station, vouched, problem)
    elif found.only_list:  # the pass that writes the list again closes the problem
        station.set_problems(run.run_path, PHASE, [])
        station.set_problems(run.run_path, "mirror", [_as_problem(station, run, problem)])
        station.journal.give_order(run.run_path, "mirror", {})
        _log_look(station, vouched, problem)
    elif found.changed or found.unreadable or record.current_state is not IngestState.SYNC_VERIFIED:
        _log_look(station, vouched, problem)
    else:
        step_back(station, run, record, StepBack("nas_copy_missing", problem), "verified")


def _call_safe_again(station: Station, vouched: _Vouched, found: Verification) -> None:
    """Give a run whose staged copy is deleted the receipt back that damage has withdrawn.

    A staged run gets its own from the next pass that looks at it.
    """
    run, now = vouched.run, format_utc(station.now())
    try:
        with staging_errors("reading a receipt"):
            there = read_receipt(station.staging_root, run.run_path)
    except RunProblem as error:
        _log.warning("the receipt of %r: %s: %s", run.run_path, error.code, error.message)
        return
    if there is None or there.safe or station.journal.problems(run.run_path):
        return
    receipt = Receipt(
        run=run.run_path,
        safe=True,
        file_count=found.files,
        byte_total=found.byte_total,
        nas_path=found.nas_path,
        checksum_file=CHECKSUMS_PATH,
        checksum_sha256=vouched.checksum_sha256,
        verified_at=now,
        written_at=now,
    )
    station.issue_receipt(receipt, run)


def _note(station: Station, run: StagedRun, problem: RunProblem | None) -> None:
    """Remember when the run was looked at, and what is wrong with it."""
    word = "ok" if problem is None else "damaged"
    if problem is None and station.journal.problems(run.run_path):
        station.journal.forget_idle(run.run_path)  # a staged run without a problem gets its receipt back
    place = station.place_of(run)
    station.journal.set_note(
        f"{_NOTE}{run.run_path}", f"{format_utc(station.now())} {word} {place.marker or '-'} {place.path}"
    )
    station.set_problems(run.run_path, PHASE, [] if problem is None else [_as_problem(station, run, problem)])
    if problem is None:  # a clear that was refused for damage may be tried again; it reads everything itself
        known = station.journal.problems_in(run.run_path, "clear")
        station.set_problems(run.run_path, "clear", [one for one in known if one.code != NasCopyDamaged.code])


def _as_problem(station: Station, run: StagedRun, problem: RunProblem) -> Problem:
    return station.problem_of(run.run_path, problem)


def _log_look(station: Station, vouched: _Vouched, problem: RunProblem | None) -> None:
    """Tell the log of this computer, and the run's own where it is staged; a log that fails changes no finding."""
    words = "the NAS copy is as proved" if problem is None else f"{problem.code}: {problem.message}"
    level = "INFO" if problem is None else "WARNING"
    note_event("verified", words, level=level, run=vouched.run.run_path)
    if vouched.is_staged:
        try:
            write_log(station, vouched.run, level, f"verified: {words}")
        except RunProblem as error:
            _log.warning("the log of %r: %s: %s", vouched.run.run_path, error.code, error.message)
