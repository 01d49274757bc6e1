"""The decisions as tables: when is a run complete, when is it tried again, when is its staged copy deleted?"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from exlab_orch.config import Config, Equipment, StagingCleanup
from exlab_orch.manifests import ManifestFile
from exlab_orch.model import HistoryEntry, Identity, Ingest, IngestState, Listing, Wait
from exlab_orch.policy import (
    BLOCKS_CLEAR,
    FLAGS,
    RETRY_SECONDS,
    ClearFacts,
    ClockReading,
    CompletenessFacts,
    ManifestFacts,
    accepted_by,
    acquisition_failed,
    blocking_code,
    cleanup_eligible,
    clock_wait,
    early_because,
    has_freed_nothing,
    kept_because,
    matches,
    outstanding_files,
    placing,
    retained_until,
    retry_after,
    scheduled_clear_at,
    space_warnings,
    still_arriving,
    verified_at,
    waiting_for,
)
from exlab_orch.space import Space

NOW = datetime(2026, 4, 17, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)


def listing(*names: bytes, size: int = 1, special: Mapping[bytes, str] | None = None) -> Listing:
    return Listing({name: Identity(1, size, 0, 0) for name in names}, {}, special=special or {})


def equipment(signal: str = "sentinel_file", **settings: object) -> Equipment:
    defaults: dict[str, dict[str, object]] = {
        "sentinel_file": {"sentinel_filename": "run_complete"},
        "manifest": {},
        "quiet_period": {"quiet_minutes": 10},
    }
    return Equipment.model_validate(
        {"id": "FLOW_01", "completeness_signal": signal, "settle_seconds": 120, **defaults[signal], **settings}
    )


def facts(
    *names: bytes, ago: float | None = 3600, manifest: ManifestFacts | None = None, accepted: bool = False
) -> CompletenessFacts:
    """What a run looks like whose last change was so many seconds ago."""
    changed_at = None if ago is None else NOW - timedelta(seconds=ago)
    return CompletenessFacts(listing(*names), changed_at, manifest, accepted)


def why(wait: Wait | None) -> str | None:
    return None if wait is None else wait.text


# -- sentinels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "pattern", "is_match"),
    [
        (b"run_complete", "run_complete", True),
        (b"Run_complete", "run_complete", False),
        (b"run_complete.txt", "run_complete", False),
        (b"final_summary_AB12.txt", "final_summary_*.txt", True),
        (b"sub/final_summary_AB12.txt", "final_summary_*.txt", False),
        (b"sub/run_complete", "run_complete", False),
        (b"sub/run_complete", "sub/run_complete", True),
        (b"sub/deep/x", "sub/*", False),
        (b"sub/deep/x", "*/*/x", True),
        (b".transferdone", "*.transferdone", True),
        (b"m\xff.done", "m?.done", True),
        (b"new\nline.done", "*.done", True),
        (b"[bold]", "[[]bold]", True),
        (b"-rf", "-rf", True),
    ],
)
def test_a_glob_matches_segment_by_segment(name: bytes, pattern: str, is_match: bool) -> None:
    assert matches(name, pattern) is is_match


@pytest.mark.parametrize(
    ("names", "sentinels", "text"),
    [
        ((b"a", b"run_complete"), "run_complete", None),
        ((b"a",), "run_complete", "waiting for run_complete"),
        ((), "run_complete", "waiting for run_complete"),
        ((b"a", b"x.one"), ["*.one", "*.two"], "waiting for *.two"),
        ((b"a",), ["*.one", "*.two"], "waiting for *.one and *.two"),
        ((b"a", b"x.one", b"x.two"), ["*.one", "*.two"], None),
        ((b"run_complete",), "run_complete", "0 of at least 1 data file have arrived"),
        ((b"run_complete", b".exlab-wizard/creation.json"), "run_complete", "0 of at least 1 data file have arrived"),
    ],
)
def test_every_sentinel_must_be_there_and_some_data(
    names: tuple[bytes, ...], sentinels: str | list[str], text: str | None
) -> None:
    assert why(waiting_for(facts(*names), equipment(sentinel_filename=sentinels), NOW)) == text


def test_a_sentinel_that_is_no_regular_file_does_not_count() -> None:
    odd = CompletenessFacts(listing(b"a", special={b"run_complete": "link"}), NOW - HOUR)
    assert why(waiting_for(odd, equipment(), NOW)) == "waiting for run_complete"


@pytest.mark.parametrize(("count", "waits"), [(1, True), (2, True), (3, False)])
def test_a_run_needs_its_least_number_of_data_files(count: int, waits: bool) -> None:
    names = [b"%d" % number for number in range(count)]
    assert (waiting_for(facts(*names, b"run_complete"), equipment(min_files=3), NOW) is not None) is waits


# -- settling and quiet --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ago", "waits"), [(0, True), (119.999999, True), (120, False), (121, False), (-5, True), (-86_400 * 365, True)]
)
def test_a_run_settles_exactly_after_its_time_and_never_in_the_future(ago: float, waits: bool) -> None:
    wait = waiting_for(facts(b"a", b"run_complete", ago=ago), equipment(), NOW)
    assert (wait is not None) is waits
    if wait is not None:
        assert wait.until == NOW + timedelta(seconds=120 - ago)
        assert wait.code is None
        assert wait.text.startswith("changed ")


@pytest.mark.parametrize(("ago", "waits"), [(0, True), (599.999999, True), (600, False)])
def test_a_quiet_period_ends_exactly_after_its_minutes(ago: float, waits: bool) -> None:
    wait = waiting_for(facts(b"a", ago=ago), equipment("quiet_period", settle_seconds=0), NOW)
    assert (wait is not None) is waits


@pytest.mark.parametrize(("ago", "words"), [(30, "30 s"), (90, "1 min 30 s")])
def test_a_quiet_period_shorter_than_the_settle_time_is_that_long_from_the_beginning(ago: float, words: str) -> None:
    short = equipment("quiet_period", quiet_minutes=1, settle_seconds=120)
    assert why(waiting_for(facts(b"a", ago=ago), short, NOW)) == f"changed {words} ago; it counts as done after 2 min"


def test_an_empty_run_is_never_quiet() -> None:
    assert why(waiting_for(facts(ago=None), equipment("quiet_period"), NOW)) == "waiting for data"


# -- manifests -----------------------------------------------------------------------------------------------

ENTRIES = (ManifestFile(b"a", 1, None), ManifestFile(b"b", 1, None), ManifestFile(b"sub/c", None, "0" * 64))


@pytest.mark.parametrize(
    ("names", "outstanding"),
    [
        ((), [b"a", b"b", b"sub/c"]),
        ((b"a", b"sub/c"), [b"b"]),
        ((b"a", b"b", b"sub/c", b"extra"), []),
        ((b"A", b"b", b"c"), [b"a", b"sub/c"]),
    ],
)
def test_listed_files_are_outstanding_until_they_are_there(names: tuple[bytes, ...], outstanding: list[bytes]) -> None:
    assert outstanding_files(ENTRIES, listing(*names).files) == outstanding


@pytest.mark.parametrize(("size", "arrived"), [(0, False), (1, True), (2, False)])
def test_a_listed_file_has_arrived_with_its_size_only(size: int, arrived: bool) -> None:
    files = listing(b"a", size=size).files
    assert (outstanding_files([ManifestFile(b"a", 1, None)], files) == []) is arrived


@pytest.mark.parametrize(
    ("names", "manifest", "text", "code"),
    [
        ((b"a",), None, "waiting for manifest.json", None),
        ((b"manifest.json", b"a"), ManifestFacts(ENTRIES), "1 of 3 files have arrived; next: b", None),
        ((b"manifest.json", b"a", b"b", b"sub/c"), ManifestFacts(ENTRIES), None, None),
        (
            (b"manifest.json", b"a"),
            ManifestFacts(invalid="it is empty"),
            "the manifest manifest.json cannot be used: it is empty",
            "manifest_invalid",
        ),
    ],
)
def test_what_a_manifest_waits_for_is_said_in_words(
    names: tuple[bytes, ...], manifest: ManifestFacts | None, text: str | None, code: str | None
) -> None:
    wait = waiting_for(facts(*names, manifest=manifest), equipment("manifest"), NOW)
    assert why(wait) == text
    assert wait is None or wait.code == code


def test_the_manifest_itself_is_no_data() -> None:
    wait = waiting_for(facts(b"manifest.json", manifest=ManifestFacts(())), equipment("manifest"), NOW)
    assert why(wait) == "0 of at least 1 data file have arrived"


def test_a_manifest_and_what_it_waits_for_are_watched() -> None:
    many = tuple(ManifestFile(b"%d" % number, 1, None) for number in range(1000))
    wait = waiting_for(facts(b"manifest.json", manifest=ManifestFacts(many)), equipment("manifest"), NOW)
    assert wait is not None
    assert wait.watch[:3] == (b"manifest.json", b"0", b"1")
    assert len(wait.watch) < 300


def test_a_hostile_name_is_shown_escaped() -> None:
    odd = (ManifestFile(b"\x1b[31m\n\xff", 1, None),)
    text = why(waiting_for(facts(b"manifest.json", manifest=ManifestFacts(odd)), equipment("manifest"), NOW))
    assert text is not None
    assert text.isprintable()


# -- failures, accepts and alerts ----------------------------------------------------------------------------


@pytest.mark.parametrize("signal", ["sentinel_file", "manifest", "quiet_period"])
def test_a_settled_failure_marker_is_a_signal(signal: Literal["sentinel_file", "manifest", "quiet_period"]) -> None:
    failing = equipment(signal, failed_filename=["*.failed", "ABORTED"])
    assert waiting_for(facts(b"a", b"x.failed"), failing, NOW) is None
    assert waiting_for(facts(b"a", b"x.failed", ago=5), failing, NOW) is not None
    assert acquisition_failed(listing(b"ABORTED"), failing)
    assert not acquisition_failed(listing(b"sub/ABORTED", b"x.fail"), failing)


def test_an_accepted_run_waits_for_nothing() -> None:
    assert waiting_for(facts(ago=0, accepted=True), equipment(), NOW) is None


@pytest.mark.parametrize(
    ("hours", "alert"), [(0, False), (23.999, False), (24, True), (1000, True), (-5, False), (None, False)]
)
def test_a_run_that_arrives_for_too_long_is_reported(hours: float | None, alert: bool) -> None:
    since = None if hours is None else NOW - hours * HOUR
    wait = still_arriving(since, equipment(), NOW)
    assert (wait is not None and wait.code == "never_completed") is alert


def entry(state: IngestState = IngestState.COMPLETE, **extras: object) -> HistoryEntry:
    return HistoryEntry.model_validate({"state": state, "at": "2026-04-17T12:00:00Z", "host": "h", **extras})


ACCEPT = entry(accepted={"by": "anna"})
UNSEALED = entry(IngestState.SYNC_QUEUED, reason="record_unsealed")


@pytest.mark.parametrize(
    ("history", "accepted"),
    [
        ([], False),
        ([entry()], False),
        ([ACCEPT], True),
        ([ACCEPT, entry(IngestState.SYNC_QUEUED, reason="new_files")], True),
        ([ACCEPT, UNSEALED], False),
        ([ACCEPT, UNSEALED, entry()], False),
        ([UNSEALED, ACCEPT], True),
        ([ACCEPT, UNSEALED, ACCEPT], True),
    ],
)
def test_an_accept_counts_unless_a_seal_was_missing_after_it(history: list[HistoryEntry], accepted: bool) -> None:
    assert accepted_by(history) is accepted


# -- attempts and places -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(1, 30), (2, 120), (3, 480), (4, 1800), (5, 7200), (6, None), (7, None), (1000, None)]
)
def test_a_failed_attempt_is_followed_by_a_longer_wait_and_at_last_by_none(
    attempts: int, seconds: float | None
) -> None:
    assert retry_after(attempts) == seconds


def test_waits_grow() -> None:
    assert sorted(RETRY_SECONDS) == list(RETRY_SECONDS)


@pytest.mark.parametrize(
    ("on_nas", "earlier", "on_change", "approved", "verdict"),
    [
        ("new", set(), "version", False, "adopt"),
        ("new", {"old"}, "hold", True, "adopt"),
        ("old", {"old"}, "version", False, "supersede"),
        ("old", {"older", "old"}, "version", False, "supersede"),
        ("old", {"old"}, "hold", False, "hold"),
        ("old", {"old"}, "hold", True, "supersede"),
        ("theirs", {"old"}, "version", False, "conflict"),
        ("theirs", set(), "version", False, "conflict"),
        ("theirs", {"old"}, "hold", False, "conflict"),
        ("theirs", set(), "version", True, "supersede"),
    ],
)
def test_nothing_on_the_nas_gives_way_but_our_own_earlier_version(
    on_nas: str, earlier: set[str], on_change: str, approved: bool, verdict: str
) -> None:
    assert placing("new", on_nas, earlier=earlier, on_change=on_change, approved=approved) == verdict


# -- retention -----------------------------------------------------------------------------------------------


def ingest(at: str | datetime = NOW, state: IngestState = IngestState.SYNC_VERIFIED) -> Ingest:
    text = at if isinstance(at, str) else at.isoformat()
    return Ingest(
        project_name="P",
        equipment_id="FLOW_01",
        run_kind="experimental",
        run_path="FLOW_01/P/Runs/Run_1",
        current_state=state,
        history=(HistoryEntry(state=state, at=text),),
    )


def cleanup(mode: Literal["manual", "scheduled"] = "scheduled", hours: float = 24) -> StagingCleanup:
    return StagingCleanup(mode=mode, retain_hours=hours)


def config(mode: str = "scheduled", hours: float = 24) -> Config:
    root = {"staging_root": "/staging", "state_dir": "/state"}
    return Config.model_validate({"orchestrator": {**root, "staging_cleanup": {"mode": mode, "retain_hours": hours}}})


@pytest.mark.parametrize(
    ("hours", "now", "eligible"),
    [
        (24, NOW + 24 * HOUR - TICK, False),
        (24, NOW + 24 * HOUR, True),
        (24, NOW + 24 * HOUR + TICK, True),
        (24, NOW, False),
        (24, NOW - TICK, False),
        (24, NOW - 1000 * HOUR, False),
        (0, NOW, True),
        (0, NOW - TICK, False),
        (0.5, NOW + 0.5 * HOUR, True),
        (87_600, NOW + 87_600 * HOUR, True),
    ],
)
def test_a_run_is_eligible_exactly_at_and_after_the_end_of_its_retention(
    hours: float, now: datetime, eligible: bool
) -> None:
    assert cleanup_eligible(ingest=ingest(), config=config(hours=hours), now_utc=now) is eligible
    assert (retained_until(ingest(), cleanup(hours=hours), now) is None) is eligible


def test_in_manual_mode_nothing_is_ever_eligible() -> None:
    assert not cleanup_eligible(ingest=ingest(), config=config("manual", 0), now_utc=NOW + 10_000 * HOUR)
    assert scheduled_clear_at(ingest(), cleanup("manual")) is None


@pytest.mark.parametrize("state", [state for state in IngestState if state is not IngestState.SYNC_VERIFIED])
def test_no_other_state_is_eligible(state: IngestState) -> None:
    later = NOW + 10_000 * HOUR
    assert not cleanup_eligible(ingest=ingest(state=state), config=config(hours=0), now_utc=later)
    assert verified_at(ingest(state=state)) is None
    assert kept_because(ClearFacts(ingest(state=state), asked=True), cleanup(hours=0), later) is not None


@pytest.mark.parametrize(
    "at",
    [
        "",
        "yesterday",
        "2026-04-17",
        "2026-04-17T12:00:00",
        "2026-13-40T12:00:00Z",
        "0000-00-00T00:00:00Z",
        "9999-12-31T23:59:59-12:00",
        "99999-01-01T00:00:00Z",
        "-1",
        "1776427200",
        "\ud800",
    ],
)
def test_a_proof_whose_time_cannot_be_understood_never_ends_its_retention(at: str) -> None:
    assert verified_at(ingest(at)) is None
    assert not cleanup_eligible(ingest=ingest(at), config=config(hours=0), now_utc=NOW)
    assert scheduled_clear_at(ingest(at), cleanup()) is None
    assert kept_because(ClearFacts(ingest(at)), cleanup(hours=0), NOW) is not None


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59Z", "2126-04-17T12:00:00Z"])
def test_a_proof_from_the_future_keeps_the_run(at: str) -> None:
    assert not cleanup_eligible(ingest=ingest(at), config=config(hours=0), now_utc=NOW)
    assert "future" in (why(retained_until(ingest(at), cleanup(), NOW)) or "")
    scheduled = scheduled_clear_at(ingest(at), cleanup())
    assert scheduled is None or scheduled > NOW


@pytest.mark.parametrize("at", ["2026-04-17T14:00:00+02:00", "2026-04-17T12:00:00.000Z", "2026-04-17T12:00:00Z"])
def test_a_time_is_a_moment_whatever_its_zone(at: str) -> None:
    assert verified_at(ingest(at)) == NOW
    assert scheduled_clear_at(ingest(at), cleanup()) == NOW + 24 * HOUR


def test_the_newest_proof_counts() -> None:
    twice = ingest().model_copy(update={"history": (*ingest().history, *ingest(NOW + 5 * HOUR).history)})
    assert verified_at(twice) == NOW + 5 * HOUR


# -- what keeps a staged copy --------------------------------------------------------------------------------

DUE = NOW + 24 * HOUR


@pytest.mark.parametrize(
    ("known", "mode", "now", "text"),
    [
        (ClearFacts(ingest()), "scheduled", DUE, None),
        (
            ClearFacts(ingest()),
            "scheduled",
            DUE - HOUR,
            "clears in 1 h: the staged copy is deleted after 2026-04-18 12:00 UTC",
        ),
        (ClearFacts(ingest()), "manual", DUE, "kept until somebody deletes it"),
        (ClearFacts(ingest(), asked=True), "manual", NOW, None),
        (ClearFacts(ingest(), asked=True), "scheduled", NOW, None),
        (ClearFacts(ingest(), hold_reason="audit"), "scheduled", DUE, "held: audit"),
        (ClearFacts(ingest(), hold_reason="audit", asked=True), "manual", DUE, "held: audit"),
        (ClearFacts(ingest(), hold_reason="", asked=True), "manual", DUE, "held: "),
        (ClearFacts(ingest(), blocking="nas_copy_damaged"), "scheduled", DUE, "blocked: nas_copy_damaged"),
        (ClearFacts(ingest(), blocking="nas_copy_damaged", asked=True), "manual", DUE, "blocked: nas_copy_damaged"),
        (
            ClearFacts(ingest(), clock_wait_seconds=60),
            "scheduled",
            DUE,
            "the clock was changed; kept for 1 min of running time",
        ),
        (ClearFacts(ingest(), clock_wait_seconds=60, asked=True), "scheduled", DUE, None),
    ],
)
def test_why_a_staged_copy_is_kept(
    known: ClearFacts, mode: Literal["manual", "scheduled"], now: datetime, text: str | None
) -> None:
    assert why(kept_because(known, cleanup(mode), now)) == text


def test_a_hostile_reason_of_a_hold_is_shown_escaped() -> None:
    wait = kept_because(ClearFacts(ingest(), hold_reason="\x1b[31m\n"), cleanup(), DUE)
    assert wait is not None
    assert wait.text.isprintable()


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ([], None),
        (["acquisition_failed", "never_completed"], None),
        (["nas_full", "locked"], None),
        (["nas_copy_damaged"], "nas_copy_damaged"),
        (["acquisition_failed", "trash_leftover", "nas_copy_damaged"], "trash_leftover"),
        (["record_unreadable"], "record_unreadable"),
        (["schema_major_mismatch"], "schema_major_mismatch"),
    ],
)
def test_what_blocks_a_clear(codes: list[str], code: str | None) -> None:
    assert blocking_code(codes) == code
    assert not FLAGS & BLOCKS_CLEAR


# -- clock steps ---------------------------------------------------------------------------------------------

RETAIN = 24 * 3600.0
DAY = 86_400.0


def reading(wall: float, boot: float, boot_id: str = "one", wait: float = 0.0) -> ClockReading:
    return ClockReading(wall, boot, boot_id, wait)


@pytest.mark.parametrize(
    ("before", "now", "wait"),
    [
        (None, reading(1000, 1000), 0),
        (reading(1000, 1000), reading(1060, 1060), 0),
        (reading(1000, 1000), reading(1360, 1060), 0),
        (reading(1000, 1000), reading(1361, 1060), RETAIN),
        (reading(1000, 1000), reading(760, 1060), 0),
        (reading(1000, 1000), reading(759, 1060), RETAIN),
        (reading(1000, 1000), reading(1000 + 3650 * DAY, 1060), RETAIN),
        (reading(1000, 1000), reading(1000 - 3650 * DAY, 1060), RETAIN),
        (reading(1000, 1000, wait=RETAIN), reading(1060, 1060), RETAIN - 60),
        (reading(1000, 1000, wait=30), reading(1060, 1060), 0),
        (reading(1000, 1000, wait=30), reading(9999, 1060), RETAIN),
        (reading(1000, 1000), reading(1000 + 30 * DAY, 50, "two"), 0),
        (reading(1000, 1000), reading(900, 50, "two"), 0),
        (reading(1000, 1000), reading(700, 50, "two"), RETAIN),
        (reading(1000, 1000, wait=RETAIN), reading(2000, 50, "two"), RETAIN - 50),
        (reading(1000, 1000, wait=30), reading(2000, 50, "two"), 0),
    ],
)
def test_a_stepped_clock_starts_the_retention_anew_on_the_clock_that_cannot_step(
    before: ClockReading | None, now: ClockReading, wait: float
) -> None:
    assert clock_wait(before, now, RETAIN) == wait


def test_after_a_step_a_whole_retention_of_running_time_must_pass_whatever_the_wall_says() -> None:
    last, waited = reading(1000, 1000), 0.0
    wall = 1000 + 3650 * DAY
    for minute in range(1, 24 * 60 + 2):
        now = reading(wall + 60 * minute, 1000 + 60 * minute)
        wait = clock_wait(last, now, RETAIN)
        waited += 60 if wait else 0
        last = reading(now.wall, now.boot, wait=wait)
    assert waited == RETAIN


# -- room on the staging disk --------------------------------------------------------------------------------

LOW_CLEANUP = StagingCleanup(mode="scheduled", retain_hours=100, min_free="10%", min_retain_hours=24)


@pytest.mark.parametrize(
    ("facts", "now", "text", "early"),
    [
        (ClearFacts(ingest(), low="the disk is low"), DUE, None, "the disk is low"),
        (
            ClearFacts(ingest(), low="the disk is low"),
            DUE - TICK,
            "clears in 0 s: the staged copy is deleted after 2026-04-18 12:00 UTC",
            None,
        ),
        (ClearFacts(ingest()), DUE, "clears in 3 d", None),
        (ClearFacts(ingest(), low="the disk is low"), NOW + 100 * HOUR, None, None),
        (ClearFacts(ingest(), low="the disk is low", asked=True), NOW, None, None),
        (ClearFacts(ingest(), low="the disk is low", hold_reason="audit"), DUE, "held: audit", None),
        (ClearFacts(ingest(), low="low", blocking="nas_copy_damaged"), DUE, "blocked: nas_copy_damaged", None),
        (
            ClearFacts(ingest(), low="the disk is low", clock_wait_seconds=60),
            DUE,
            "the clock was changed; kept for 1 min of running time",
            None,
        ),
        (ClearFacts(ingest(), low="the disk is low"), NOW - HOUR, "its proof carries a time in the future", None),
    ],
)
def test_a_low_disk_shortens_the_retention_to_its_floor_and_nothing_else(
    facts: ClearFacts, now: datetime, text: str | None, early: str | None
) -> None:
    kept = why(kept_because(facts, LOW_CLEANUP, now))
    assert kept == text or (text is not None and kept is not None and kept.startswith(text))
    if kept is None:
        assert early_because(facts, LOW_CLEANUP, now) == early


@pytest.mark.parametrize(
    ("free", "left", "before", "codes"),
    [
        (100, None, [], []),
        (90, None, [], []),
        (89, None, [], ["staging_low"]),
        (99, None, ["staging_low"], ["staging_low"]),
        (100, None, ["staging_low"], []),
        (500, 24 * 3600, [], []),
        (500, 24 * 3600 - 1, [], ["staging_filling"]),
        (500, 36 * 3600 - 1, ["staging_filling"], ["staging_filling"]),
        (500, 36 * 3600, ["staging_filling"], []),
        (0, 0, [], ["staging_low", "staging_filling"]),
    ],
)
def test_a_warning_closes_later_than_it_opened(
    free: int, left: float | None, before: list[str], codes: list[str]
) -> None:
    assert list(space_warnings(Space(1000, free), left, LOW_CLEANUP, before)) == codes


def test_a_mark_that_the_disk_can_never_reach_is_told_as_such() -> None:
    told = space_warnings(Space(1000, 800), None, StagingCleanup(mode="scheduled", min_free="1000B"), [])
    assert "(1000 B) is more than the staging disk holds (1000 B)" in told["staging_low"]


def test_without_a_mark_a_twentieth_of_the_disk_is_little() -> None:
    plain = StagingCleanup()
    assert list(space_warnings(Space(1000, 44), None, plain, [])) == ["staging_low"]
    assert not space_warnings(Space(1000, 45), None, plain, [])
    assert "5%" in space_warnings(Space(1000, 0), None, plain, [])["staging_low"]


@pytest.mark.parametrize(("deleted", "gained", "nothing"), [(1000, 99, True), (1000, 100, False), (0, 0, False)])
def test_compressed_files_give_back_less_and_snapshots_nothing(deleted: int, gained: int, nothing: bool) -> None:
    assert has_freed_nothing(deleted, gained) == nothing
