"""Whether the NAS still holds what was proved: runs read again, staged ones and those whose staged copy is deleted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from exlab_orch.checksums import parse, sha256_of
from exlab_orch.cleanup import step_back
from exlab_orch.crew import Crew, never
from exlab_orch.damage import (
    CODES,
    LIST,
    PHASE,
    ListFault,
    Unreadable,
    Verification,
    beyond,
    damage,
    is_mended,
    with_known,
)
from exlab_orch.errors import (
    Locked,
    NasFault,
    RunProblem,
    StateUnavailable,
)
from exlab_orch.evaluate import walk_run
from exlab_orch.journal import FileRow
from exlab_orch.logs import note_event
from exlab_orch.looks import look_again, note_look
from exlab_orch.model import (
    CHECKSUMS_NAME,
    OUR_FOLDER,
    IngestState,
    Problem,
    StagedRun,
)
from exlab_orch.ownfiles import proved_hashes, write_log
from exlab_orch.progress import QUIET, Observer, phase
from exlab_orch.proof import StepBack, compared, doubt, forget_reads_elsewhere, reading_the_copy
from exlab_orch.receipt_settling import settle_receipt
from exlab_orch.reserve import FOR_CLEARS, with_reserve
from exlab_orch.station import Station
from exlab_orch.transports import ReadBack
from exlab_orch.vouching import Vouched, vouched_for

_SUPERSEDED: Final = f"{OUR_FOLDER}/superseded/".encode()
_MOST_SPLITS: Final = 64
"""So often a batch is halved to find the files that cannot be read; where so many cannot, what is left of it cannot."""
_log = logging.getLogger(__name__)


def verify(
    station: Station,
    run: StagedRun,
    *,
    named: bool = True,
    watch: Observer = QUIET,
    lock_seconds: float = 5.0,
    slot_seconds: float = float("inf"),
    waits: Callable[[StagedRun], object] = lambda _: None,
    cut_short: Callable[[Verification], object] = lambda _: None,
) -> Verification:
    """Read the NAS copy of a proved run again and compare; damage opens a problem, which the next good look closes.

    Nothing is written on the NAS. What is missing there of a staged run is copied again by the next pass. Damage that
    was seen before somebody stopped it is remembered, and given to ``cut_short``. Known damage of files that the list
    does not name any more ends only where a person ``named`` the run.

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
        vouched, look = vouched_for(station, run), _Look()
        with _remembered_when_stopped(station, vouched, look, cut_short):
            try:
                _look(station, vouched, look, station.crew(run, watch, never))
            except RunProblem as error:
                if error.code in CODES:
                    station.withdraw_receipt(run, error.message, until="read")
                _note(station, run, error, whole=False)
                raise
            found = _with_problem(station, vouched, _finding(station, vouched, look))
            _settle(station, vouched, found, None if named or look.wanted is None else look.wanted.hashes)
    return found


@contextmanager
def _remembered_when_stopped(
    station: Station, vouched: Vouched, look: _Look, tell: Callable[[Verification], object]
) -> Iterator[None]:
    """Keep the damage that a look has seen when somebody stops it: it may be months until the next one."""
    try:
        yield
    except NasFault:
        if look.has_seen_damage:
            _with_room(station, lambda: look_again(station, vouched.run))
        raise
    except BaseException as end:
        if isinstance(end, StateUnavailable) or not isinstance(end, Exception):  # another fault is told by who met it
            with suppress(NasFault, RunProblem, StateUnavailable):  # of a NAS that is not there nothing is concluded
                station.nas_of(vouched.run).check()
                _remember_half(station, vouched, replace(_finding(station, vouched, look), whole=look.whole), tell)
        raise


def _remember_half(
    station: Station, vouched: Vouched, half: Verification, tell: Callable[[Verification], object]
) -> None:
    if half.ok:
        return
    found = _with_problem(station, vouched, half)
    if found.problem is not None and not found.only_list:
        station.withdraw_receipt(vouched.run, found.problem.message, until="read")
    tell(found)  # before what needs room on the disk of the state directory
    _note(station, vouched.run, found.problem, whole=False)
    _log_look(station, vouched, found.problem)


def _with_problem(station: Station, vouched: Vouched, found: Verification) -> Verification:
    """What was found, with what to do about it where something is damaged."""
    if found.ok:
        return found
    return replace(found, problem=damage(found, staged=_can_be_copied_again(station, vouched, found)))


def _can_be_copied_again(station: Station, vouched: Vouched, found: Verification) -> bool:
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


@dataclass(slots=True)
class _Look:
    """What was seen of a NAS copy so far; whoever stops a look finds it here."""

    there: _There | None = None
    wanted: _Wanted | None = None
    missing: list[bytes] = field(default_factory=list)
    changed: list[bytes] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    byte_total: int = 0
    """How much was read."""
    whole: bool = False
    """Whether everything was read."""

    @property
    def has_seen_damage(self) -> bool:
        """Whether anything was not as proved."""
        is_list_wrong = self.wanted is not None and self.wanted.fault is not None
        return bool(is_list_wrong or self.missing or self.changed or self.unreadable)


def _look(station: Station, vouched: Vouched, look: _Look, crew: Crew) -> None:
    """Read everything about the NAS copy now."""
    transport = station.nas_of(vouched.run)
    transport.check()
    try:
        look.there = _there(station, vouched.run)
        look.wanted = _wanted(station, vouched)
        _compare(station, vouched, look, crew)
    except RunProblem:
        transport.check()
        raise
    transport.check()  # a NAS that went away meanwhile is a fault of the NAS; nothing is concluded from it
    look.whole = True


def _finding(station: Station, vouched: Vouched, look: _Look) -> Verification:
    """What a look found, in order."""
    run_path, there, wanted = vouched.run.run_path, look.there, look.wanted
    where = station.nas_of(vouched.run).where(run_path)
    if there is None or wanted is None:
        return Verification(run_path, where, 0, 0)
    found = Verification(
        run_path,
        where,
        files=len(wanted.hashes),
        byte_total=look.byte_total,
        missing=tuple(sorted(look.missing)),
        changed=tuple(sorted(look.changed)),
        unreadable=tuple(sorted(look.unreadable, key=lambda one: one.name)),
        gone=there.gone,
        extra=_beside(station, run_path, there, wanted.hashes),
        vouched=wanted.vouched,
        proved_at=vouched.nas_path if vouched.nas_path not in ("", where) else None,
    )
    return _with_list(found, wanted)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the files should be, whether anybody vouches for that, and what is wrong with the list on the NAS."""

    hashes: Mapping[bytes, str]
    vouched: bool
    fault: ListFault | None = None
    error: RunProblem | None = None


def _wanted(station: Station, vouched: Vouched) -> _Wanted:
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
    with reading_the_copy(run):
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


def _compare(station: Station, vouched: Vouched, look: _Look, crew: Crew) -> None:
    """Read every file that is there and was proved, and sort out what differs."""
    run, there, wanted = vouched.run, look.there, look.wanted
    if there is None or wanted is None:
        return
    if vouched.is_staged:
        forget_reads_elsewhere(station, run)
    counts = vouched.is_staged and station.cleanup.proof == "recent"  # nobody else asks when a file was read
    known = station.journal.files(run.run_path) if counts else {}
    sizes = {name: there.sizes[name] for name in sorted(wanted.hashes) if name in there.sizes}
    look.missing += [name for name in wanted.hashes if name not in sizes]
    with phase(crew.watch, run.run_path, PHASE, len(sizes), sum(sizes.values())):
        for read, failed in crew.spread(crew.batches(sizes), lambda names: _read(station, run, names, crew)):
            found = compared(read, wanted.hashes)
            look.missing += found.missing
            look.changed += [one.name for one in found.changed]
            look.unreadable += failed
            look.byte_total += sum(sizes[one.name] for one in read)
            _remember_reads(station, run, known, found.good)
            doubtful = [one.name for one in found.changed] + [one.name for one in failed]
            _with_room(station, partial(doubt, station, run, doubtful))


def _read(
    station: Station, run: StagedRun, names: Sequence[bytes], crew: Crew
) -> tuple[list[ReadBack], list[Unreadable]]:
    """A batch as the NAS holds it now; where it cannot be read whole, its halves, down to the files that cannot be."""
    splits = _MOST_SPLITS

    def half(names: Sequence[bytes], on_bytes: Callable[[int], None]) -> tuple[list[ReadBack], list[Unreadable]]:
        nonlocal splits
        try:
            return transport.read_back(run.run_path, "published", names, on_bytes), []
        except RunProblem as error:
            transport.check()
            if len(names) == 1 or not splits:
                return [], [Unreadable(name, error) for name in names]
        splits -= 1
        middle = len(names) // 2
        read, failed = half(names[:middle], lambda _: crew.advance(0))
        more, failed_too = half(names[middle:], lambda _: crew.advance(0))
        return [*read, *more], [*failed, *failed_too]

    transport = station.nas_of(run)
    return half(names, crew.advance)


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


def _settle(station: Station, vouched: Vouched, found: Verification, only: Container[bytes] | None) -> None:
    """Open or close the run's problem, and have a staged run's copy made good."""
    run, record, problem = vouched.run, vouched.record, found.problem
    if problem is not None and not found.only_list:  # first of all: who reads it may delete the run at the instrument
        station.withdraw_receipt(run, problem.message, until="read")
    if problem is None and record is not None and station.is_elsewhere(run, record):
        station.note_found_here(run, vouched.checksum_sha256)
    _note(station, run, problem, whole=found.vouched, only=only)
    if problem is None and record is None:
        settle_receipt(station, run)  # a staged run gets its own from the next pass that looks at it
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


def _note(
    station: Station,
    run: StagedRun,
    problem: RunProblem | None,
    *,
    whole: bool,
    only: Container[bytes] | None = None,
) -> None:
    """Remember when the run was looked at, and what is wrong with it.

    Only a ``whole`` look, which compared everything with what was proved, ends what was known before, and where these
    files ``only`` were compared, only what was known of them.
    """

    def note() -> None:
        note_look(station, run, ok=problem is None)
        known = station.journal.problems_in(run.run_path, PHASE)
        if whole:
            known = [] if only is None else beyond(known, only)
        open_now = known if problem is None else with_known(known, _as_problem(station, run, problem))
        station.set_problems(run.run_path, PHASE, open_now)

    if problem is None and station.journal.problems(run.run_path):
        station.journal.forget_idle(run.run_path)  # a staged run without a problem gets its receipt back
    _with_room(station, note)
    if problem is None:  # a clear that was refused for damage may be tried again; it reads everything itself
        refused = station.journal.problems_in(run.run_path, "clear")
        station.set_problems(run.run_path, "clear", [one for one in refused if one.code not in CODES])


def _with_room(station: Station, act: Callable[[], None]) -> None:
    """Do what can be done twice, of the reserve where a disk is full: damage must not be forgotten for want of room."""
    with_reserve(station.staging_root, station.state.path, act, leave=FOR_CLEARS)


def _as_problem(station: Station, run: StagedRun, problem: RunProblem) -> Problem:
    return station.problem_of(run.run_path, problem)


def _log_look(station: Station, vouched: Vouched, problem: RunProblem | None) -> None:
    """Tell the log of this computer, and the run's own where it is staged; a log that fails changes no finding."""
    words = "the NAS copy is as proved" if problem is None else f"{problem.code}: {problem.message}"
    level = "INFO" if problem is None else "WARNING"
    note_event("verified", words, level=level, run=vouched.run.run_path)
    if vouched.is_staged:
        try:
            write_log(station, vouched.run, level, f"verified: {words}")
        except RunProblem as error:
            _log.warning("the log of %r: %s: %s", vouched.run.run_path, error.code, error.message)
