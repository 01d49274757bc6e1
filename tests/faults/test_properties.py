"""Random programs of pushes, late writes, passes, kills, orders, damage and clock steps: nothing is lost in any."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from exlab_orch.orders import accept, hold, make_due, unhold
from tests.faults.programs import NAMES, RUNS, World
from tests.faults.strace import CHANGING
from tests.lab import Lab

CLEANUPS: Final = ('mode = "manual"', 'mode = "scheduled"\nretain_hours = 0', 'mode = "scheduled"\nretain_hours = 24')
run = st.sampled_from(RUNS)
name = st.sampled_from(NAMES)
number = st.integers(0, 9)
content = st.builds(
    lambda size, seed: bytes([seed]) * size, st.sampled_from([0, 1, 5, 5, 70_000, 1_100_000]), st.integers(0, 255)
)


class Programs(RuleBasedStateMachine):
    """Steps in any order; after each, nothing is lost and every record is legal."""

    world: World

    @initialize(cleanup=st.sampled_from(CLEANUPS), on_change=st.sampled_from(["version", "hold"]))
    def begin(self, cleanup: str, on_change: str) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="exlab-program-")
        self.world = World(Lab(Path(self.folder.name), cleanup=cleanup, sync=f'on_change = "{on_change}"'))
        self.kills = 0

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.settle()
            self.folder.cleanup()

    @invariant()
    def nothing_is_lost(self) -> None:
        self.world.require()

    @rule(run=run, files=st.lists(st.tuples(name, content), min_size=1, max_size=4), done=st.booleans())
    def push(self, run: str, files: list[tuple[bytes, bytes]], done: bool) -> None:
        for one, text in files:
            self.world.push(run, one, text)
        if done:
            self.world.finish(run)

    @rule(run=run)
    def push_all_and_poll(self, run: str) -> None:
        for one in NAMES[:4]:
            self.world.push(run, one, b"first " + one)
        self.world.finish(run)
        self.world.poll()

    @rule(run=run, number=number, content=content)
    def write_in_place(self, run: str, number: int, content: bytes) -> None:
        self.world.write_in_place(run, number, content)

    @rule(run=run, number=number)
    def remove(self, run: str, number: int) -> None:
        self.world.remove(run, number)

    @rule(run=run)
    def remove_run(self, run: str) -> None:
        self.world.remove_run(run)

    @rule(run=run, name=st.sampled_from(["ingest.json", "checksums.sha256"]))
    def remove_ours(self, run: str, name: str) -> None:
        self.world.remove_ours(run, name)

    @rule()
    def poll(self) -> None:
        self.world.poll()

    @rule(run=run)
    def clear(self, run: str) -> None:
        self.world.clear(run)

    @rule(run=run, number=number, how=st.sampled_from(["flip", "remove", "extra"]))
    def damage(self, run: str, number: int, how: str) -> None:
        self.world.damage(run, number, how)

    @rule(run=run)
    def lose_run_on_nas(self, run: str) -> None:
        self.world.lose_run_on_nas(run)

    @rule(run=run)
    def accept(self, run: str) -> None:
        self.world.ask(accept, run, reason="good enough")

    @rule(run=run)
    def hold(self, run: str) -> None:
        self.world.ask(hold, run, reason="wait")

    @rule(run=run)
    def unhold(self, run: str) -> None:
        self.world.ask(unhold, run)

    @rule(run=run, new_version=st.booleans())
    def copy_now(self, run: str, new_version: bool) -> None:
        self.world.ask(make_due, run, new_version=new_version)

    @rule()
    def remove_journal(self) -> None:
        self.world.remove_journal()

    @rule(days=st.sampled_from([-3650, -1, 1, 3650]))
    def step_clock(self, days: int) -> None:
        self.world.step_clock(days=days)


class KilledPrograms(Programs):
    """The same with passes of the real program that are killed at any call."""

    @precondition(lambda self: self.kills < 2)
    @rule(call=st.sampled_from(CHANGING.split(",")), number=st.integers(1, 40))
    def killed_poll(self, call: str, number: int) -> None:
        self.kills += 1
        self.world.killed_poll(call, number)


def programs(examples: int, steps: int) -> settings:
    """How many programs of how many steps."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


def test_random_programs_lose_nothing() -> None:
    run_state_machine_as_test(Programs, settings=programs(8, 12))


def test_random_programs_with_killed_passes_lose_nothing() -> None:
    run_state_machine_as_test(KilledPrograms, settings=programs(4, 10))


@pytest.mark.exhaustive
def test_thousands_of_random_programs_lose_nothing() -> None:
    run_state_machine_as_test(Programs, settings=programs(3000, 40))


@pytest.mark.exhaustive
def test_hundreds_of_random_programs_with_killed_passes_lose_nothing() -> None:
    run_state_machine_as_test(KilledPrograms, settings=programs(500, 30))
