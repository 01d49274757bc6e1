"""A made-up run on the way that every run takes, through private folders to the real NAS and back, step by step."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from exlab_orch.cleanup import clear
from exlab_orch.config_nas import AnyNas, MountNas
from exlab_orch.diagnosis import Finding
from exlab_orch.errors import (
    ConfigInvalid,
    ExlabError,
    Locked,
    NameUnsupported,
    NasFault,
    SelftestLeftover,
    SyncFailed,
    staging_errors,
)
from exlab_orch.evaluate import walk_run
from exlab_orch.files.delete import remove_own
from exlab_orch.files.locks import locked
from exlab_orch.files.places import make_folders
from exlab_orch.journal import Announcement
from exlab_orch.madeup import ALIKE, ODD_NAMES, Plan, make_plan, make_run, save_plan, saved_plans
from exlab_orch.model import IngestState, Place, StagedRun
from exlab_orch.orders import refuse_paused
from exlab_orch.passes import PassReport, run_pass
from exlab_orch.progress import QUIET, Observer
from exlab_orch.proof import StepBack, prove
from exlab_orch.readable import readable_by_group
from exlab_orch.records import read_record
from exlab_orch.selftest_removal import (
    known_nas,
    private_config,
    private_nas,
    remove_from_nas,
    remove_from_staging,
    remove_from_state,
    staging_place,
)
from exlab_orch.selftest_results import STEPS, Leftover, Problem, Tick, Trial
from exlab_orch.station import Station, open_station
from exlab_orch.text import count, printable
from exlab_orch.transports import Transport
from exlab_orch.transports.hanging import OnHang, Pulse, watched
from exlab_orch.transports.marker import MARKER

DEFAULT_BYTES: Final = 64 << 20
_SLOT_SECONDS: Final = 5.0


OnTick = Callable[[str, Tick], object]


@dataclass(slots=True)
class Selftests:
    """What came of a self-test of every NAS, filled as it goes."""

    trials: list[Trial] = field(default_factory=list)
    leftovers: list[Leftover] = field(default_factory=list)
    attempt: _Attempt | None = None
    """The one that is at work."""

    def so_far(self) -> list[Trial]:
        """The trials, with the one that is at work as it is now."""
        return [*self.trials, *([] if self.attempt is None else [self.attempt.trial()])]


# -- which NAS -----------------------------------------------------------------------------------------------


def chosen_nas(station: Station, name: str | None, equipment_id: str | None) -> list[AnyNas]:
    """The NAS to try: that one, that of an equipment, or every one there is.

    Raises:
        ConfigInvalid: there is no such NAS or equipment, or none at all.
    """
    config = station.config
    known = known_nas(config)
    if equipment_id is not None:
        if config.equipment_for(equipment_id) is None:
            ids = ", ".join(one.id for one in config.equipment)
            raise ConfigInvalid(f"No equipment {printable(equipment_id)} is configured.", hint=f"There are: {ids}")
        own = config.nas_for(equipment_id)
        known = [nas for nas in known if own is not None and nas.name == own.name]
    chosen = [nas for nas in known if name is None or nas.name == name]
    if not chosen:
        names = ", ".join(printable(nas.name, 1000) for nas in known)
        which = "" if name is None else f" called {printable(name, 1000)}"
        raise ConfigInvalid(
            f"The configuration has no NAS{which}.",
            hint=f"It has: {names}" if names else "Add a [nas] table with its root, and run: exlab-orch nas-init",
        )
    return chosen


def equipment_of(station: Station, nas: AnyNas) -> tuple[str, ...]:
    """The equipment whose runs go to that NAS."""
    found = ((one.id, station.config.nas_for(one.id)) for one in station.config.equipment)
    return tuple(equipment_id for equipment_id, own in found if own is not None and own.name == nas.name)


# -- all of it -----------------------------------------------------------------------------------------------


def selftest(
    station: Station,
    chosen: Sequence[AnyNas],
    *,
    byte_total: int = DEFAULT_BYTES,
    watch: Observer = QUIET,
    on_tick: OnTick = lambda _nas, _tick: None,
    on_hang: OnHang | None = None,
    done: Selftests | None = None,
) -> tuple[list[Trial], list[Leftover]]:
    """Remove what earlier self-tests left, then try each NAS; a step that fails never keeps it from clearing away.

    Args:
        station: the open parts, opened to change runs.
        chosen: which NAS, in this order.
        byte_total: how much data is sent.
        watch: who wants to see bytes go by.
        on_tick: who wants to hear of each step at once.
        on_hang: called, in another thread, when a mounted NAS hangs and this function with it; it must end the process.
        done: filled as it goes, for who ends it.

    Raises:
        Locked: another self-test runs here.
        SelftestLeftover: an earlier plan cannot be understood.
    """
    with locked(f"{station.state.path}/locks/selftest", wait_seconds=0) as held:
        if not held:
            raise Locked("Another self-test runs on this computer.", hint="Try again when it is done.")
        done, pulse = done or Selftests(), Pulse(watch)
        for plan in saved_plans(station.state.path):
            nas = next((one for one in chosen if one.name == plan.nas), None)
            with _watched(nas, done, pulse, on_tick, on_hang):
                done.leftovers.append(_remove_leftover(station, nas, plan))
        for one in chosen:
            with _watched(one, done, pulse, on_tick, on_hang):
                trial = _try(station, one, byte_total, pulse, on_tick, done)
            done.attempt = None
            done.trials.append(trial)
        return done.trials, done.leftovers


@contextmanager
def _watched(
    nas: AnyNas | None, done: Selftests, pulse: Pulse, on_tick: OnTick, on_hang: OnHang | None
) -> Iterator[None]:
    """Work on a NAS; one that is mounted and hangs ends the self-test. The others end by themselves (stall_seconds)."""

    def hangs(fault: NasFault) -> None:
        if done.attempt is not None:
            for tick in done.attempt.fail(fault):
                on_tick(done.attempt.nas_name, tick)
        if on_hang is not None:
            on_hang(fault)

    if on_hang is None or not isinstance(nas, MountNas):
        yield
        return
    with watched(nas.root, lambda: (pulse.beats, done.attempt and done.attempt.step), hangs):
        yield


def _remove_leftover(station: Station, nas: AnyNas | None, plan: Plan) -> Leftover:
    where = _hidden_folder(plan)
    if nas is None:
        return Leftover(plan.nas, where, removed=False, why="this NAS was not asked for now, or is not configured")
    try:
        others = _clear_away(station, _transport(station, nas), plan)
    except ExlabError as error:
        return Leftover(plan.nas, where, removed=False, why=error.message)
    return Leftover(plan.nas, where, removed=not others, why=_others_words(others) if others else "")


def _hidden_folder(plan: Plan) -> str:
    return f"{plan.nas.rstrip('/')}/.exlab-part-{plan.hidden_key}"


def _transport(station: Station, nas: AnyNas) -> Transport:
    found = station.nas_named(nas.name)
    if found is None:
        raise ConfigInvalid(f"No NAS is called {printable(nas.name)}.")
    return found


def _clear_away(station: Station, nas: Transport | None, plan: Plan) -> tuple[str, ...]:
    """Remove everything a plan made, the far side first; what is not its own stays and is returned.

    ``nas`` is None where nothing was put there yet.
    """
    far: tuple[bytes, ...] = ()
    try:
        if nas is not None:
            far = remove_from_nas(station, nas, plan).others
    finally:
        here = remove_from_staging(station, plan)
    others = [f"{_hidden_folder(plan)}/{printable(name, 1000)}" for name in far]
    root = staging_place(station.config, plan).absolute
    others += [f"{root}/{printable(name, 1000)}" for name in here]
    if not others:
        remove_from_state(station, plan)
    return tuple(others)


def _others_words(others: Sequence[str]) -> str:
    number = count(len(others), "thing")
    return f"{number} there that the self-test did not make, first {others[0]}; they are not touched"


def _try(station: Station, nas: AnyNas, byte_total: int, watch: Observer, on_tick: OnTick, done: Selftests) -> Trial:
    slots = station.config.sync.parallel_runs
    with station.state.slot(nas.name, slots, wait_seconds=_SLOT_SECONDS) as free:
        if not free:
            return _not_tried(station, nas, on_tick)
        plan = make_plan(nas.name, byte_total, station.now())
        save_plan(station.state.path, plan)
        done.attempt = _Attempt(station, nas, plan, watch, on_tick)
        return done.attempt.run()


def _not_tried(station: Station, nas: AnyNas, on_tick: OnTick) -> Trial:
    """Copies that run take every slot: nothing was made."""
    words = f"Every slot of the NAS {printable(nas.name, 1000)} is busy (sync.parallel_runs)."
    busy = Problem(Locked.code, words, "Try again when a copy is done: exlab-orch list")
    ticks = tuple(Tick(step, "failed", error=busy) if step == "copied" else Tick(step, "not tried") for step in STEPS)
    for tick in ticks:
        on_tick(nas.name, tick)
    return Trial(nas.name, equipment_of(station, nas), ticks, ())


class _Attempt:
    """The self-test of one NAS; its slot is held and its plan is written."""

    def __init__(self, station: Station, nas: AnyNas, plan: Plan, watch: Observer, on_tick: OnTick) -> None:
        self._station = station
        self._nas = nas
        self._transport = _transport(station, nas)
        self._plan = plan
        self._watch = watch
        self._on_tick = on_tick
        self._run = StagedRun(plan.run_path, Place(staging_place(station.config, plan).absolute, plan.run_path))
        self._private: Station | None = None
        self._open = ExitStack()
        self._is_there = False
        """Whether anything may be on the NAS."""
        self._refused: tuple[bytes, ...] = ()
        self._findings: list[Finding] = []
        self._others: tuple[str, ...] = ()
        self._ticks: list[Tick] = []
        self._began = time.monotonic()
        """When the step in hand did."""
        self._is_removed = False

    @property
    def nas_name(self) -> str:
        return self._nas.name

    @property
    def step(self) -> int:
        """How many steps are over."""
        return len(self._ticks)

    def run(self) -> Trial:
        """Every step; after one that failed only the last."""
        acts = (self._receive, self._copy, self._prove, self._clear)
        with self._open:
            for step, act in zip(STEPS, acts, strict=False):
                failed = any(tick.result == "failed" for tick in self._ticks)
                self._tell(Tick(step, "not tried") if failed else self._timed(step, act))
        removed = self._timed(STEPS[-1], self._remove)
        nothing_there = removed.result == "ok" and not self._is_there
        self._tell(replace(removed, result="not tried") if nothing_there else removed)
        return self.trial()

    def trial(self) -> Trial:
        """What came of it so far; what it made and has not removed yet is still there."""
        rest = (Tick(step, "not tried") for step in STEPS[self.step :])
        ids = equipment_of(self._station, self._nas)
        return Trial(self._nas.name, ids, (*self._ticks, *rest), tuple(self._findings), self._others, self._left())

    def _left(self) -> tuple[str, ...]:
        if self._is_removed:
            return ()
        staged = staging_place(self._station.config, self._plan).absolute
        far = (_hidden_folder(self._plan),) if self._is_there else ()
        return (*far, *((staged,) if os.path.lexists(staged) else ()))

    def fail(self, fault: NasFault) -> tuple[Tick, ...]:
        """The step in hand hangs with its NAS, and this attempt for ever in it: what becomes of it and of the rest."""
        first, *rest = STEPS[self.step :] or (STEPS[-1],)
        error = Problem(fault.code, fault.message, fault.hint)
        failed = Tick(first, "failed", time.monotonic() - self._began, error=error)
        ticks = (failed, *(Tick(step, "not tried") for step in rest))
        self._ticks += ticks
        return ticks

    def _tell(self, tick: Tick) -> None:
        self._ticks.append(tick)
        self._on_tick(self._nas.name, tick)

    def _timed(self, step: str, act: Callable[[], int]) -> Tick:
        self._began = time.monotonic()
        tick = Tick(step, "ok")
        try:
            tick = replace(tick, byte_count=act())
        except ExlabError as error:
            tick = replace(tick, result="failed", error=Problem(error.code, error.message, error.hint))
        except _Failed as failed:
            tick = replace(tick, result="failed", error=failed.problem)
        return replace(tick, seconds=time.monotonic() - self._began)

    # -- the steps -------------------------------------------------------------------------------------------

    def _receive(self) -> int:
        """The equipment pushes a run, and a pass sees that it is complete."""
        config, slots = self._station.config, self._station.config.sync.parallel_runs
        with staging_errors("making the run of the self-test"):
            make_folders(staging_place(config, self._plan))
            make_run(self._plan, self._run.place)
        share = self._station.state.busy_slots(self._nas.name, slots)
        private = private_config(config, self._nas, self._plan, share=share)
        self._private = self._open.enter_context(open_station(private, changing=True, clock=self._station.clock))
        self._pass("evaluate", IngestState.SYNC_QUEUED)
        return walk_run(self._private, self._run).byte_total

    def _copy(self) -> int:
        refuse_paused(self._station, self._transport)
        self._transport.check()
        self._transport.require_space(self._plan.byte_total)
        self._is_there = True
        key, marker = self._plan.hidden_key, f"{self._plan.marker_id}\nThe self-test of exlab-orch made this folder.\n"
        self._transport.make_part(key, [])
        self._transport.put_small(key, "part", MARKER, marker.encode())
        station = self._station_of_the_test()
        self._leave_out_names(station)
        self._pass("sync", IngestState.SYNC_VERIFIED)
        return walk_run(station, self._run).byte_total

    def _leave_out_names(self, station: Station) -> None:
        """Take the odd names away that this NAS cannot hold: a run with one of them would be blocked."""
        transport, listing = station.nas_of(self._run), walk_run(station, self._run)
        try:
            transport.refuse_names(self._run.run_path, listing)
        except NameUnsupported as error:
            self._refused = tuple(name for name in error.files if name in ODD_NAMES)
            if not self._refused:
                raise
            with staging_errors("leaving names out"):
                remove_own(self._run.place, self._refused)
        self._findings.append(self._names_finding(len(ODD_NAMES)))

    def _names_finding(self, tried: int) -> Finding:
        if not self._refused:
            return Finding("selftest.names", "ok", f"All of {tried} odd names can be held.")
        shown = ", ".join(printable(name) for name in self._refused)
        alike = " It takes upper and lower case for the same." if {*ALIKE} & {*self._refused} else ""
        return Finding(
            "selftest.names",
            "ok",
            f"This NAS cannot hold {len(self._refused)} of {tried} odd names: {shown}. Such a run is blocked before "
            f"anything is copied.{alike}",
        )

    def _prove(self) -> int:
        station = self._station_of_the_test()
        try:
            proof = prove(station, self._run, station.records.require_sealed(self._run), self._watch)
        except StepBack as error:
            raise error.problem from error
        if isinstance(self._nas, MountNas):
            inner = private_nas(self._nas, self._plan)
            self._findings.append(readable_by_group(self._nas, [f"{inner.name}/{self._run.run_path}"]))
        else:
            words = "Whether members of the group can read what is published is not seen from here on this kind of NAS."
            self._findings.append(Finding("selftest.group", "skipped", words))
        return proof.byte_total

    def _clear(self) -> int:
        return clear(self._station_of_the_test(), self._run, by="selftest", watch=self._watch).bytes_freed

    def _remove(self) -> int:
        self._others = _clear_away(self._station, self._transport if self._is_there else None, self._plan)
        if self._others:
            raise SelftestLeftover(
                f"Not everything was removed: {_others_words(self._others)}.",
                hint="Look whose it is and move it away; the next self-test removes what is left.",
            )
        self._is_removed = True
        return 0

    # -- passes ----------------------------------------------------------------------------------------------

    def _station_of_the_test(self) -> Station:
        if self._private is None:
            raise SyncFailed("The self-test has no station.")
        return self._private

    def _pass(self, phase: str, wanted: IngestState) -> None:
        """One pass over the private run; raises unless it came to that state."""
        report = run_pass(self._station_of_the_test(), only=frozenset({phase}), watch=self._watch)
        record = read_record(self._run)
        if record is not None and record.current_state is wanted:
            return
        opened = [one for one in report.announcements if _is_open(one)]
        if opened:
            problem = opened[-1].problem
            raise _Failed(Problem(problem.code, problem.message, problem.hint))
        raise SyncFailed(
            f"The run did not become {wanted.value}{_why(report)}.",
            hint="Try it again; if it stays, look at the folders and the NAS.",
        )


class _Failed(Exception):
    """A pass isolated the error of a run or NAS; its problem tells it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def _is_open(one: Announcement) -> bool:
    return one.kind in ("opened", "changed")


def _why(report: PassReport) -> str:
    return f": {report.nas_faults[0]}" if report.nas_faults else ""
