"""The Python API (lifecycle.md, 8): the exported names and what each of them does and refuses."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

import exlab_orch
from exlab_orch import (
    CreationReader,
    HistoryEntry,
    Ingest,
    IngestState,
    IngestWriter,
    StagingWatcher,
    cleanup_eligible,
    clear_run,
    list_staged_runs,
    load_config,
)
from exlab_orch.errors import ExlabError, OrchestratorDisabled
from exlab_orch.watcher import StateListener
from tests.lab import RUN, Lab
from tests.oracle import data_files, ledger, prints, require_cleared, steps_of

AT_ONCE = 'mode = "scheduled"\nretain_hours = 0'
STATES = [IngestState.STAGING, IngestState.COMPLETE, IngestState.SYNC_QUEUED, IngestState.SYNC_VERIFIED]
OTHER = "FLOW_01/PROJ-1/TestRuns/TestRun_other"
_Result = TypeVar("_Result")


def run(work: Coroutine[Any, Any, _Result]) -> _Result:
    return asyncio.run(work)


@dataclass
class FakeSync:
    """A ``nas_sync`` with a memory, which says about every run what it was told to say."""

    says: str = "pending"
    enqueued: list[Path] = field(default_factory=list)
    asked: list[Path] = field(default_factory=list)

    async def enqueue(self, run_path: Path) -> None:
        self.enqueued.append(run_path)

    async def status(self, run_path: Path) -> str:
        self.asked.append(run_path)
        return self.says


def watcher(
    lab: Lab, sync: FakeSync | None = None, on_state_change: StateListener | None = None, poll_interval_s: float = 10.0
) -> StagingWatcher:
    return StagingWatcher(
        config=lab.config,
        ingest_writer=IngestWriter(config=lab.config),
        nas_sync=sync or FakeSync(),
        cache_creation=CreationReader(),
        on_state_change=on_state_change,
        poll_interval_s=poll_interval_s,
    )


def evaluate(lab: Lab, path: Path, times: int = 1, sync: FakeSync | None = None) -> list[IngestState]:
    """The states that so many calls of ``evaluate_run`` return."""

    async def all_times() -> list[IngestState]:
        watching = watcher(lab, sync)
        return [await watching.evaluate_run(path) for _ in range(times)]

    return run(all_times())


# -- names ---------------------------------------------------------------------------------------------------


def test_the_exported_names_are_these() -> None:
    assert {name for name in dir(exlab_orch) if not name.startswith("__")} == {
        "Config",
        "CreationReader",
        "HistoryEntry",
        "Ingest",
        "IngestState",
        "IngestWriter",
        "StagedRunSummary",
        "StagingWatcher",
        "cleanup_eligible",
        "clear_run",
        "list_staged_runs",
        "load_config",
    }


def test_each_exported_name_can_be_imported_and_no_other() -> None:
    assert [name for name in dir(exlab_orch) if getattr(exlab_orch, name) is None] == []
    with pytest.raises(AttributeError):
        _ = exlab_orch.something_else


def test_the_states_are_texts() -> None:
    assert [str(state) for state in IngestState] == ["staging", "complete", "sync_queued", "sync_verified", "cleared"]
    assert IngestState("sync_verified") is IngestState.SYNC_VERIFIED
    assert json.dumps(IngestState.CLEARED) == '"cleared"'


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (list_staged_runs, ["config", "staging_root", "now_utc"]),
        (cleanup_eligible, ["ingest", "config", "now_utc"]),
        (clear_run, ["run_path", "config", "ingest_writer", "host"]),
        (IngestWriter, ["config"]),
        (
            StagingWatcher,
            ["config", "ingest_writer", "nas_sync", "cache_creation", "on_state_change", "poll_interval_s"],
        ),
    ],
)
def test_the_parameters_have_these_names_and_are_given_by_name(function: object, names: list[str]) -> None:
    assert callable(function)
    parameters = inspect.signature(function).parameters
    assert list(parameters) == names
    keyword_only = [name for name, one in parameters.items() if one.kind is inspect.Parameter.KEYWORD_ONLY]
    assert keyword_only == [name for name in names if name != "run_path"]


def test_a_configuration_can_be_loaded_from_a_path_or_its_text(lab: Lab) -> None:
    assert load_config(lab.config_path) == load_config(str(lab.config_path))


# -- evaluate_run --------------------------------------------------------------------------------------------


def test_each_call_takes_one_step(lab: Lab) -> None:
    sync = FakeSync("verified")
    folder = lab.push()
    assert evaluate(lab, folder, 4, sync) == STATES
    assert lab.states() == [state.value for state in STATES]
    assert sync.enqueued == [folder]


def test_a_run_that_is_not_complete_stays_where_it_is(lab: Lab) -> None:
    folder = lab.push(done=False)
    assert evaluate(lab, folder, 3) == [IngestState.STAGING] * 3
    assert lab.states() == ["staging"]


def test_a_run_that_the_nas_sync_is_not_done_with_stays_queued(lab: Lab) -> None:
    sync = FakeSync("copying")
    folder = lab.push()
    assert evaluate(lab, folder, 6, sync)[2:] == [IngestState.SYNC_QUEUED] * 4
    assert sync.enqueued == [folder]
    assert set(sync.asked) == {folder}


@pytest.mark.parametrize("says", ["verified", "cleanup_eligible", "cleaned"])
def test_these_answers_of_a_nas_sync_advance_the_record(lab: Lab, says: str) -> None:
    assert evaluate(lab, lab.push(), 4, FakeSync(says))[-1] is IngestState.SYNC_VERIFIED


@pytest.mark.parametrize("says", ["", "Verified", "failed", "queued", "verified "])
def test_other_answers_do_not(lab: Lab, says: str) -> None:
    assert evaluate(lab, lab.push(), 5, FakeSync(says))[-1] is IngestState.SYNC_QUEUED


@pytest.mark.parametrize(
    "path", ["FLOW_01", "FLOW_01/PROJ-1", "FLOW_01/PROJ-1/Runs/loose", ".exlab-orch/trash", "../outside", ""]
)
def test_a_path_that_is_no_run_is_staging_and_nothing_is_written(lab: Lab, path: str) -> None:
    (lab.staging / "FLOW_01/PROJ-1/Runs/loose").mkdir(parents=True)
    before = prints(lab.staging)
    assert evaluate(lab, lab.staging / path) == [IngestState.STAGING]
    assert {name: found for name, found in prints(lab.staging).items() if ".exlab-orch" not in name} == before


def test_a_path_may_be_text_and_may_lead_to_the_record(lab: Lab) -> None:
    folder = lab.push()

    async def both() -> list[IngestState]:
        watching = watcher(lab)
        return [
            await watching.evaluate_run(str(folder)),
            await watching.evaluate_run(folder / ".exlab-wizard/ingest.json"),
        ]

    assert run(both()) == STATES[:2]


@pytest.mark.parametrize("cleanup", ['mode = "manual"', AT_ONCE])
def test_a_nas_sync_that_says_verified_never_leads_to_a_delete(tmp_path: Path, cleanup: str) -> None:
    lab = Lab(tmp_path, cleanup=cleanup)
    folder = lab.push()
    before = data_files(folder)
    watching = watcher(lab, FakeSync("cleaned"))

    async def many_times() -> None:
        for _ in range(8):
            try:
                await watching.evaluate_run(folder)
            except ExlabError:
                continue
            await watching.poll_once()
        with pytest.raises(ExlabError):
            await clear_run(folder, config=lab.config, ingest_writer=IngestWriter(config=lab.config))

    run(many_times())

    assert data_files(folder) == before
    assert ledger(lab) == []
    assert lab.states() == [state.value for state in STATES]


def test_only_a_pass_steps_back_what_a_nas_sync_merely_said(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    folder = lab.push()
    evaluate(lab, folder, 6, FakeSync("verified"))
    assert steps_of(lab.record().as_json())[-1] == ("sync_verified", None)
    lab.poll()
    assert steps_of(lab.record().as_json())[-2:] == [("sync_queued", "record_unsealed"), ("sync_verified", None)]
    assert data_files(lab.published()) == data_files(folder)
    done = run(clear_run(folder, config=lab.config, ingest_writer=IngestWriter(config=lab.config)))
    assert done == (3, 7)


def test_a_run_that_a_pass_proved_is_cleared_by_the_watcher_when_the_schedule_allows_it(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    folder = lab.push()
    lab.poll()
    lab.cleanup = AT_ONCE
    lab.configure()
    with lab.station() as station:
        station.journal.forget_idle()
    assert evaluate(lab, folder) == [IngestState.CLEARED]
    require_cleared(lab)


def test_a_blocked_run_raises_and_is_left_alone(lab: Lab) -> None:
    folder = lab.push(files={".exlab-wizard/ingest.json": b"{", "a.fcs": b"a"})
    before = prints(folder)
    with pytest.raises(ExlabError):
        evaluate(lab, folder)
    assert prints(folder) == before


# -- on_state_change -----------------------------------------------------------------------------------------


def test_a_plain_listener_hears_every_transition_the_bootstrap_included(lab: Lab) -> None:
    heard: list[tuple[Path, IngestState]] = []
    folder = lab.push()

    async def steps() -> None:
        watching = watcher(lab, FakeSync("verified"), lambda path, state: heard.append((path, state)))
        for _ in range(6):
            await watching.evaluate_run(folder)

    run(steps())
    assert heard == [(folder, state) for state in STATES]


def test_an_async_listener_is_awaited(lab: Lab) -> None:
    heard: list[IngestState] = []

    async def listen(_path: Path, state: IngestState) -> None:
        await asyncio.sleep(0)
        heard.append(state)

    async def steps() -> None:
        watching = watcher(lab, on_state_change=listen)
        for _ in range(2):
            await watching.evaluate_run(lab.push())

    run(steps())
    assert heard == STATES[:2]


def test_nothing_is_heard_when_nothing_changed(lab: Lab) -> None:
    heard: list[IngestState] = []
    folder = lab.push(done=False)

    async def steps() -> None:
        watching = watcher(lab, on_state_change=lambda _path, state: heard.append(state))
        for _ in range(4):
            await watching.evaluate_run(folder)

    run(steps())
    assert heard == [IngestState.STAGING]


# -- poll_once, start, stop ----------------------------------------------------------------------------------


def test_one_poll_evaluates_every_run_once_in_walk_order(lab: Lab) -> None:
    lab.push("FLOW_01/B/Runs/Run_2", done=False)
    lab.push("FLOW_01/A/Runs/Run_1")
    lab.push("SCANNER_01/A/Run_3", done=False)

    async def polls() -> list[list[IngestState]]:
        watching = watcher(lab)
        return [await watching.poll_once() for _ in range(2)]

    first, second = run(polls())
    assert first == [IngestState.STAGING] * 3
    assert second == [IngestState.COMPLETE, IngestState.STAGING, IngestState.COMPLETE]


def test_one_bad_run_is_skipped(lab: Lab) -> None:
    lab.push("FLOW_01/A/Runs/Run_1", {".exlab-wizard/ingest.json": b"{"})
    lab.push("FLOW_01/A/Runs/Run_2")
    assert run(watcher(lab).poll_once()) == [IngestState.STAGING]


def test_a_listener_or_nas_sync_that_fails_spoils_one_run_only(lab: Lab) -> None:
    lab.push("FLOW_01/A/Runs/Run_1")
    lab.push("FLOW_01/A/Runs/Run_2")

    def fail_for_the_first(path: Path, _state: IngestState) -> None:
        if path.name == "Run_1":
            raise RuntimeError("a bug of the caller")

    assert run(watcher(lab, on_state_change=fail_for_the_first).poll_once()) == [IngestState.STAGING]
    assert lab.states("FLOW_01/A/Runs/Run_2") == ["staging"]


def test_a_disabled_orchestrator_polls_nothing_and_changes_nothing(lab: Lab) -> None:
    lab.push()
    lab.orchestrator = "enabled = false"
    lab.configure()
    before = prints(lab.root)
    assert run(watcher(lab).poll_once()) == []
    assert list_staged_runs(config=lab.config) == []
    with pytest.raises(OrchestratorDisabled):
        run(clear_run(lab.staged(), config=lab.config, ingest_writer=IngestWriter(config=lab.config)))
    assert prints(lab.root) == before


async def until(condition: Any, seconds: float = 10.0) -> None:
    """Wait for something to become true, for a bounded time."""
    for _ in range(int(seconds / 0.01)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen in time")


def test_the_background_task_takes_a_run_along_and_start_and_stop_may_be_called_twice(lab: Lab) -> None:
    lab.push()
    heard: list[IngestState] = []

    async def live() -> int:
        watching = watcher(lab, FakeSync("verified"), lambda _path, state: heard.append(state), poll_interval_s=0.01)
        await watching.stop()
        await watching.start()
        await watching.start()
        tasks = len(asyncio.all_tasks())
        await until(lambda: len(heard) == 4)
        await watching.stop()
        await watching.stop()
        assert len(asyncio.all_tasks()) == 1
        await watching.start()
        await watching.stop()
        return tasks

    assert run(live()) == 2
    assert heard == STATES


def test_after_stop_nothing_is_looked_at_any_more(lab: Lab) -> None:
    async def live() -> None:
        watching = watcher(lab, poll_interval_s=0.01)
        await watching.start()
        await watching.stop()
        lab.push()
        await asyncio.sleep(0.1)

    run(live())
    assert not (lab.staged() / ".exlab-wizard").exists()


def test_the_background_task_survives_a_bad_run(lab: Lab) -> None:
    lab.push("FLOW_01/A/Runs/Run_1", {".exlab-wizard/ingest.json": b"{"})
    heard: list[str] = []

    async def live() -> None:
        watching = watcher(lab, on_state_change=lambda path, _state: heard.append(path.name), poll_interval_s=0.01)
        await watching.start()
        await asyncio.sleep(0.05)
        lab.push("FLOW_01/A/Runs/Run_2")
        await until(lambda: "Run_2" in heard)
        await watching.stop()

    run(live())


# -- list_staged_runs ----------------------------------------------------------------------------------------


def test_the_staged_runs_are_listed_newest_activity_first(lab: Lab) -> None:
    lab.now = datetime(2026, 4, 17, 12, tzinfo=UTC)
    lab.push(RUN, {"a.fcs": b"aaa", "sub/b.fcs": b"bbbb", ".exlab-wizard/creation.json": b"{}"}, done=False)
    lab.poll(frozenset({"evaluate"}))
    lab.now += timedelta(hours=1)
    lab.push(OTHER, {"c.fcs": b"c"}, done=False)
    lab.poll(frozenset({"evaluate"}))

    rows = list_staged_runs(config=lab.config, now_utc=lab.now + timedelta(minutes=1))

    assert [(row.path, row.run_kind, row.file_count, row.byte_total) for row in rows] == [
        (lab.staged(OTHER), "test", 1, 1),
        (lab.staged(), "experimental", 2, 7),
    ]
    assert {(row.equipment_id, row.project_name, row.current_state) for row in rows} == {
        ("FLOW_01", "PROJ-1", IngestState.STAGING)
    }
    assert [row.elapsed_seconds_since_last_activity for row in rows] == [60, 3660]
    assert rows[0].last_activity_at == lab.now


def test_the_project_is_the_folder_whatever_its_human_name(lab: Lab) -> None:
    creation = {"lims_project": {"name_at_creation": "Tumour panel"}}
    lab.push(files={"a.fcs": b"a", ".exlab-wizard/creation.json": json.dumps(creation).encode()})
    lab.poll()
    (row,) = list_staged_runs(config=lab.config)
    assert row.project_name == "PROJ-1"
    assert lab.record().project_name == "Tumour panel"


def test_runs_without_a_readable_record_are_left_out(lab: Lab) -> None:
    lab.push(done=False)
    lab.push(OTHER, {"c.fcs": b"c", ".exlab-wizard/ingest.json": b"{"}, done=False)
    assert list_staged_runs(config=lab.config) == []
    lab.poll(frozenset({"evaluate"}))
    assert [row.path for row in list_staged_runs(config=lab.config)] == [lab.staged()]


def test_another_staging_root_may_be_given_and_a_missing_one_is_empty(lab: Lab) -> None:
    lab.push()
    lab.poll()
    lab.staging.rename(lab.root / "moved")
    assert list_staged_runs(config=lab.config) == []
    assert len(list_staged_runs(config=lab.config, staging_root=lab.root / "moved")) == 1
    assert list_staged_runs(config=lab.config, staging_root=lab.root / "nowhere") == []


def test_listing_writes_nothing(lab: Lab) -> None:
    lab.push()
    lab.poll()
    before = prints(lab.root)
    list_staged_runs(config=lab.config)
    assert prints(lab.root) == before


# -- cleanup_eligible ----------------------------------------------------------------------------------------

AT = datetime(2026, 4, 17, 12, tzinfo=UTC)


def record(state: str = "sync_verified", at: str = "2026-04-17T12:00:00.000Z") -> Ingest:
    states = ["staging", "complete", "sync_queued", "sync_verified", "cleared"]
    history = [
        HistoryEntry(state=IngestState(one), at=at if one == state else "2026-04-17T10:00:00Z")
        for one in states[: states.index(state) + 1]
    ]
    return Ingest(
        project_name="P",
        equipment_id="FLOW_01",
        run_kind="experimental",
        run_path=RUN,
        current_state=IngestState(state),
        history=tuple(history),
    )


def eligible(lab: Lab, ingest: Ingest, now: datetime, cleanup: str = 'mode = "scheduled"\nretain_hours = 24') -> bool:
    lab.cleanup = cleanup
    lab.configure()
    return cleanup_eligible(ingest=ingest, config=lab.config, now_utc=now)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (timedelta(hours=24) - timedelta(microseconds=1), False),
        (timedelta(hours=24), True),
        (timedelta(hours=24, microseconds=1), True),
        (timedelta(0), False),
        (timedelta(days=-1), False),
    ],
)
def test_a_run_is_eligible_exactly_at_and_after_the_retention(lab: Lab, after: timedelta, expected: bool) -> None:
    assert eligible(lab, record(), AT + after) is expected


def test_in_the_manual_mode_nothing_is_eligible(lab: Lab) -> None:
    assert not eligible(lab, record(), AT + timedelta(days=999), 'mode = "manual"')


@pytest.mark.parametrize("state", ["staging", "complete", "sync_queued", "cleared"])
def test_no_other_state_is_eligible(lab: Lab, state: str) -> None:
    assert not eligible(lab, record(state), AT + timedelta(days=999))


@pytest.mark.parametrize("at", ["", "yesterday", "2026-04-17", "2026-04-17T12:00:00", "2026-13-45T99:00:00Z", "9" * 99])
def test_a_time_that_cannot_be_understood_is_never_over(lab: Lab, at: str) -> None:
    assert not eligible(lab, record(at=at), AT + timedelta(days=999))


@pytest.mark.parametrize("at", ["2026-04-17T12:00:00Z", "2026-04-17T14:00:00+02:00", "2026-04-17T12:00:00.000000Z"])
def test_a_time_counts_in_every_spelling(lab: Lab, at: str) -> None:
    assert eligible(lab, record(at=at), AT + timedelta(hours=24))
    assert not eligible(lab, record(at=at), AT + timedelta(hours=23, minutes=59))


def test_a_proof_in_the_future_is_not_eligible(lab: Lab) -> None:
    assert not eligible(lab, record(at="2099-01-01T00:00:00Z"), AT, AT_ONCE)


# -- clear_run -----------------------------------------------------------------------------------------------


def cleared(lab: Lab, path: Path | str, host: str | None = None) -> tuple[int, int]:
    return run(clear_run(path, config=lab.config, ingest_writer=IngestWriter(config=lab.config), host=host))


def test_a_proved_run_is_cleared_and_a_second_time_there_is_nothing_to_clear(lab: Lab) -> None:
    folder = lab.push()
    lab.poll()
    assert cleared(lab, folder) == (3, 7)
    require_cleared(lab)
    on_nas = lab.nas_record()
    assert cleared(lab, str(folder)) == (0, 0)
    assert lab.nas_record() == on_nas
    assert len(ledger(lab)) == 1


def test_the_host_that_clears_stands_in_the_record(lab: Lab) -> None:
    folder = lab.push()
    lab.poll()
    assert cleared(lab, folder, host="another-name") == (3, 7)
    history = lab.nas_record()["history"]
    assert isinstance(history, list)
    assert history[-1]["host"] == "another-name"


@pytest.mark.parametrize("state", ["staging", "sync_queued"])
def test_a_run_that_may_not_be_cleared_raises_and_stays(lab: Lab, state: str) -> None:
    folder = lab.push(done=state != "staging")
    lab.poll(frozenset({"evaluate"}))
    before = prints(folder)
    with pytest.raises(ExlabError):
        cleared(lab, folder)
    assert prints(folder) == before


@pytest.mark.parametrize("path", ["../outside", "FLOW_01", "FLOW_01/PROJ-1/Runs", ""])
def test_what_is_no_run_is_not_cleared(lab: Lab, path: str) -> None:
    lab.push()
    lab.poll()
    before = data_files(lab.staging)
    with pytest.raises(ExlabError):
        cleared(lab, lab.staging / path)
    assert data_files(lab.staging) == before


# -- IngestWriter --------------------------------------------------------------------------------------------

ILLEGAL = [
    ("staging", "sync_queued"),
    ("staging", "sync_verified"),
    ("staging", "cleared"),
    ("staging", "staging"),
    ("complete", "sync_verified"),
    ("complete", "staging"),
    ("complete", "cleared"),
    ("sync_queued", "sync_queued"),
    ("sync_queued", "cleared"),
    ("sync_queued", "complete"),
    ("sync_verified", "complete"),
    ("sync_verified", "staging"),
    ("sync_verified", "sync_verified"),
    ("sync_verified", "sync_queued"),
]


def brought_to(lab: Lab, state: str) -> Path:
    """A run whose record says that state, written by the writer."""
    folder = lab.push()
    states = [one.value for one in STATES]
    evaluate(lab, folder, states.index(state) + 1, FakeSync("verified"))
    assert lab.states()[-1] == state
    return folder


async def append(lab: Lab, path: Path, state: str, **extras: object) -> Ingest:
    return await IngestWriter(config=lab.config).append_state_transition(path, state, host="pc-7", **extras)


@pytest.mark.parametrize(("old", "new"), ILLEGAL)
def test_an_illegal_step_is_a_value_error_and_writes_nothing(lab: Lab, old: str, new: str) -> None:
    folder = brought_to(lab, old)
    before = (folder / ".exlab-wizard/ingest.json").read_bytes()
    with pytest.raises(ValueError, match=r".+"):
        run(append(lab, folder, new))
    assert (folder / ".exlab-wizard/ingest.json").read_bytes() == before


@pytest.mark.parametrize("old", ["complete", "sync_verified"])
@pytest.mark.parametrize("reason", ["new_files", "changed_files", "nas_copy_missing", "nas_copy_damaged"])
def test_a_step_back_needs_one_of_the_known_reasons(lab: Lab, old: str, reason: str) -> None:
    folder = brought_to(lab, old)
    if old == "sync_verified":
        with pytest.raises(ValueError, match=r".+"):
            run(append(lab, folder, "sync_queued", reason="because"))
    written = run(append(lab, folder, "sync_queued", reason=reason))
    assert written.history[-1].text("reason") == reason


def test_an_unknown_state_is_a_value_error(lab: Lab) -> None:
    with pytest.raises(ValueError, match="half-done"):
        run(append(lab, brought_to(lab, "staging"), "half-done"))


def test_an_append_says_who_and_when_and_keeps_the_extras(lab: Lab) -> None:
    folder = brought_to(lab, "staging")
    written = run(append(lab, folder, "complete", files_received=3, note={"a": [1]}))
    last = lab.record().history[-1]
    assert written.history[-1] == last
    assert (last.host, last.extra("files_received"), last.extra("note")) == ("pc-7", 3, {"a": [1]})
    assert last.at.endswith("Z")
    assert last.moment is not None


def test_a_record_may_be_named_by_its_path_or_by_its_run_folder(lab: Lab) -> None:
    folder = brought_to(lab, "staging")
    writer = IngestWriter(config=lab.config)

    async def both() -> tuple[Ingest, Ingest]:
        return (
            await writer.read_ingest(folder),
            await writer.read_ingest(folder / ".exlab-wizard/ingest.json"),
        )

    one, other = run(both())
    assert one == other == lab.record()


def test_what_the_writer_writes_is_ours(lab: Lab) -> None:
    """A sealed record is not set aside by the next pass."""
    folder = brought_to(lab, "staging")
    run(append(lab, folder, "complete"))
    lab.poll()
    assert lab.states() == [state.value for state in STATES]
    assert not list((folder / ".exlab-wizard").glob("pushed-*"))


def test_a_first_record_can_be_written_whole(lab: Lab) -> None:
    folder = lab.push()
    first = record("staging").as_json() | {"run_path": RUN, "extra_field": 7}
    written = run(IngestWriter(config=lab.config).write_ingest(folder, first))
    assert written.seal is not None
    lab.poll()
    assert lab.states() == [state.value for state in STATES]
    assert lab.nas_record()["extra_field"] == 7


def test_history_cannot_be_rewritten(lab: Lab) -> None:
    folder = brought_to(lab, "complete")
    before = (folder / ".exlab-wizard/ingest.json").read_bytes()
    shorter = lab.record().model_copy(
        update={"history": lab.record().history[:1], "current_state": IngestState.STAGING}
    )
    with pytest.raises(ValueError, match=r".+"):
        run(IngestWriter(config=lab.config).write_ingest(folder, shorter))
    assert (folder / ".exlab-wizard/ingest.json").read_bytes() == before


@pytest.mark.parametrize("state", ["sync_verified", "cleared"])
def test_a_record_that_skips_steps_is_a_value_error(lab: Lab, state: str) -> None:
    folder = brought_to(lab, "staging")
    entry = HistoryEntry(state=IngestState(state), at="2026-04-17T12:00:00Z", host="x")
    skipped = lab.record().model_copy(
        update={"history": (*lab.record().history, entry), "current_state": IngestState(state)}
    )
    with pytest.raises(ValueError, match=r".+"):
        run(IngestWriter(config=lab.config).write_ingest(folder, skipped))
    assert lab.states() == ["staging"]


def test_a_seal_of_the_writer_is_no_proof(lab: Lab) -> None:
    """Authorship permits no delete: a checksum that matches no list never clears, and a pass proves the run."""
    folder = brought_to(lab, "sync_queued")
    run(append(lab, folder, "sync_verified", nas_path="/nas", checksum_sha256="0" * 64))
    with pytest.raises(ExlabError):
        cleared(lab, folder)
    with pytest.raises(ExlabError):
        cleared(lab, folder)
    assert data_files(folder).keys() == {b"a.fcs", b"sub/b.fcs", b"run_complete"}
    lab.poll()
    (back, reason), again = steps_of(lab.record().as_json())[-2:]
    assert (back, again) == ("sync_queued", ("sync_verified", None))
    assert reason is not None
    assert data_files(lab.published()) == data_files(folder)
    assert cleared(lab, folder) == (3, 7)


@pytest.mark.parametrize("name", ["read_ingest", "append_state_transition"])
def test_a_missing_record_is_said_to_be_missing(lab: Lab, name: str) -> None:
    folder = lab.push()
    writer = IngestWriter(config=lab.config)
    work = writer.read_ingest(folder) if name == "read_ingest" else append(lab, folder, "complete")
    with pytest.raises(FileNotFoundError):
        run(work)


# -- the creation reader -------------------------------------------------------------------------------------


@pytest.mark.parametrize("to_the_file", [True, False])
def test_the_creation_reader_reads_from_the_file_or_the_run_folder(lab: Lab, to_the_file: bool) -> None:
    creation = {"run_kind": "test", "lims_project": {"short_id": "P-7"}}
    folder = lab.push(OTHER, {".exlab-wizard/creation.json": json.dumps(creation).encode()})
    path = folder / ".exlab-wizard/creation.json" if to_the_file else folder
    found = run(CreationReader().read_creation_snapshot(path))
    assert found is not None
    assert found.run_kind == "test"
    assert found.lims_project is not None
    assert found.lims_project.short_id == "P-7"


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]"])
def test_a_creation_file_that_is_absent_or_not_whole_is_none(lab: Lab, content: bytes | None) -> None:
    files = {"a.fcs": b"a"} | ({} if content is None else {".exlab-wizard/creation.json": content})
    assert run(CreationReader().read_creation_snapshot(lab.push(files=files))) is None


@pytest.mark.parametrize(
    ("lims_project", "name"),
    [
        ({"name_at_creation": "Tumour panel", "short_id": "P-7"}, "Tumour panel"),
        ({"short_id": "P-7"}, "P-7"),
        ({"name_at_creation": "", "short_id": ""}, "PROJ-1"),
        ({}, "PROJ-1"),
        (None, "PROJ-1"),
    ],
)
def test_the_human_name_of_the_project_comes_from_the_creation_file(
    lab: Lab, lims_project: dict[str, str] | None, name: str
) -> None:
    lab.push(files={"a": b"a", ".exlab-wizard/creation.json": json.dumps({"lims_project": lims_project}).encode()})
    evaluate(lab, lab.staged())
    assert lab.record().project_name == name
