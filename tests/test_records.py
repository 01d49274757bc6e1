"""ingest.json: parsed strictly or refused, judged by its seal, appended to and never rewritten."""

from __future__ import annotations

import json
import os
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from exlab_orch.errors import IllegalTransition, Locked, RecordUnreadable, RecordUnsealed, SchemaMajorMismatch
from exlab_orch.files.places import leaf_identity
from exlab_orch.journal import Journal, JournalRun, memory_journal
from exlab_orch.model import HistoryEntry, Ingest, IngestState, LeafIdentity, Place, StagedRun
from exlab_orch.records import (
    STEP_BACK_REASONS,
    Records,
    is_sealed,
    judge,
    new_entry,
    next_record,
    parse_record,
    read_record,
    remembered_record,
    render_record,
    seal_of,
    sealed,
)
from exlab_orch.state import open_state
from tests.files.tricks import fails_with

NOW = datetime(2026, 4, 17, 14, 32, tzinfo=UTC)
RUN = "FLOW_01/PROJ-1/Runs/Run_1"
LEAF = LeafIdentity(77, 1_700_000_000_000_000_000)
KEY = b"k" * 32
STATES = list(IngestState)


def entry(state: str, **extras: object) -> dict[str, object]:
    return {"state": state, "at": "2026-04-17T14:32:00.000Z", "host": "lab-pc", **extras}


def raw(*states: str, **changes: object) -> dict[str, object]:
    """A record as JSON holds it."""
    history = [entry(state) for state in states or ("staging",)]
    return {
        "schema_version": "1.1",
        "project_name": "Proj",
        "equipment_id": "FLOW_01",
        "run_kind": "experimental",
        "run_path": RUN,
        "transport": "smb_mount",
        "current_state": history[-1]["state"],
        "history": history,
        "seal": "0" * 64,
        **changes,
    }


def record(*states: str, **changes: object) -> Ingest:
    return parse_record(json.dumps(raw(*states, **changes)).encode())


def content(text: object) -> bytes:
    return text if isinstance(text, bytes) else json.dumps(text).encode()


# -- reading -------------------------------------------------------------------------------------------------


def test_a_record_is_read_and_written_as_it_was() -> None:
    found = record("staging", "complete")
    assert found.current_state is IngestState.COMPLETE
    assert found.history[1].moment == NOW
    assert json.loads(render_record(found)) == raw("staging", "complete")


def test_fields_we_do_not_know_are_kept_when_the_file_is_rewritten() -> None:
    given = raw(schema_version="1.9", later={"x": [1, None, "é"]})
    given["history"] = [entry("staging", files_received=3, note="\ud800", nested=[{"a": 1.5}])]
    assert json.loads(render_record(parse_record(content(given)))) == given


def test_a_record_cut_at_any_byte_is_unreadable_and_never_something_else() -> None:
    whole = render_record(record("staging", "complete", "sync_queued", "sync_verified"))
    for end in range(len(whole) - 1):
        with pytest.raises(RecordUnreadable):
            parse_record(whole[:end])


def test_a_flipped_bit_never_gives_a_sealed_record_that_says_something_else() -> None:
    rng = random.Random(4)
    original = sealed(record("staging", "complete", "sync_queued", "sync_verified"), LEAF, KEY)
    whole, run = render_record(original), staged_run("/nowhere")
    for _ in range(1500):
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        try:
            found = parse_record(bytes(flipped))
        except (RecordUnreadable, SchemaMajorMismatch):
            continue
        if is_sealed(found, run, LEAF, KEY):
            assert found.history_json() == original.history_json()
            assert found.current_state is original.current_state


def test_a_small_record_that_would_be_too_large_when_it_is_written_again_is_unreadable() -> None:
    deep: object = [0] * 50_000
    for _ in range(120):
        deep = [deep]
    given = json.dumps(raw("staging", x=deep)).encode()
    assert len(given) < 1 << 18
    with pytest.raises(RecordUnreadable, match="written anew"):
        parse_record(given)


DAMAGED: Mapping[str, object] = {
    "empty": b"",
    "NUL": bytes(300),
    "no JSON": b"staging",
    "not UTF-8": b'{"schema_version": "\xff"}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": json.dumps(raw()).encode("utf-16"),
    "a list": [],
    "null": None,
    "a field missing": {name: value for name, value in raw().items() if name != "run_path"},
    "an unknown state": raw("lost"),
    "a number for a text": raw(project_name=5),
    "a time that is no text": raw(history=[{**entry("staging"), "at": 5}]),
    "history is no list": raw(history={"0": entry("staging")}),
    "an entry is no object": raw(history=["staging"]),
    "current_state is not the last entry": raw("staging", "complete", current_state="staging"),
    "a state without history": raw(history=[], current_state="sync_verified"),
    "a version that is no text": raw(schema_version=1.1),
    "NaN": json.dumps(raw(x=0)).replace('"x": 0', '"x": NaN').encode(),
    "Infinity": json.dumps(raw(x=0)).replace('"x": 0', '"x": -Infinity').encode(),
    "5,000 digits": json.dumps(raw(x=0)).replace('"x": 0', '"x": ' + "1" * 5000).encode(),
    "100,000 levels": b"[" * 100_000,
    "20,000 levels in a field": json.dumps(raw(x=0)).replace("0}", "[" * 20_000 + "]" * 20_000 + "}").encode(),
    "two records": content(raw()) * 2,
    "a key twice": json.dumps(raw()).replace("{", '{"current_state": "sync_verified", ', 1).encode(),
    "a key twice in an entry": json.dumps(raw()).replace('[{"', '[{"at": "x", "', 1).encode(),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_what_is_no_record_is_unreadable_with_a_short_reason(what: str) -> None:
    with pytest.raises(RecordUnreadable) as raised:
        parse_record(content(DAMAGED[what]))
    assert len(raised.value.message) < 300


@pytest.mark.parametrize("depth", [200, 300, 900])
def test_a_record_nested_absurdly_is_unreadable_or_can_be_written_again(depth: int) -> None:
    nested = json.dumps(raw(x=0)).replace('"x": 0', '"x": ' + "[" * depth + "]" * depth).encode()
    try:
        found = parse_record(nested)
    except RecordUnreadable:
        return
    assert parse_record(render_record(found)) == found


@pytest.mark.parametrize("version", ["2.0", "0.9", "10.1", "", "x"])
def test_another_major_version_is_told_apart_from_damage(version: str) -> None:
    with pytest.raises(SchemaMajorMismatch):
        parse_record(content(raw(schema_version=version, history="of another shape")))


@pytest.mark.parametrize("version", ["1.0", "1.7", "1"])
def test_another_minor_version_is_read(version: str) -> None:
    assert record(schema_version=version).schema_version == version


# -- the seal ------------------------------------------------------------------------------------------------


def staged_run(root: str, path: str = RUN) -> StagedRun:
    return StagedRun(path, Place(root, path))


def test_a_sealed_record_is_ours_here_and_nowhere_else() -> None:
    ours = sealed(record("staging"), LEAF, KEY)
    run = staged_run("/staging")
    assert is_sealed(ours, run, LEAF, KEY)
    assert not is_sealed(ours, run, LeafIdentity(78, LEAF.birth_ns), KEY)
    assert not is_sealed(ours, run, LeafIdentity(77, None), KEY)
    assert not is_sealed(ours, run, LEAF, b"x" * 32)
    assert not is_sealed(ours, run, LEAF, None)
    assert not is_sealed(ours, staged_run("/staging", RUN + "x"), LEAF, KEY)


@pytest.mark.parametrize(
    "forge",
    [
        lambda ours: {**ours, "seal": None},
        lambda ours: {**ours, "seal": ""},
        lambda ours: {**ours, "seal": "\ud800"},
        lambda ours: {**ours, "seal": "é" * 64},
        lambda ours: {**ours, "seal": ours["seal"].upper()},
        lambda ours: {**ours, "history": ours["history"][:1], "current_state": "staging"},
        lambda ours: {**ours, "history": [*ours["history"], entry("sync_queued")], "current_state": "sync_queued"},
        lambda ours: {**ours, "history": [ours["history"][0], {**ours["history"][1], "at": "2020-01-01T00:00:00Z"}]},
        lambda ours: {**ours, "history": [ours["history"][0], {**ours["history"][1], "accepted": {"by": "me"}}]},
    ],
)
def test_a_record_that_was_edited_is_a_claim(forge: Callable[[dict[str, object]], dict[str, object]]) -> None:
    ours = sealed(record("staging", "complete"), LEAF, KEY)
    assert is_sealed(ours, staged_run("/s"), LEAF, KEY)
    assert not is_sealed(parse_record(content(forge(ours.as_json()))), staged_run("/s"), LEAF, KEY)


def test_the_seal_covers_path_leaf_and_history_and_only_them() -> None:
    ours = sealed(record("staging"), LEAF, KEY)
    same = ours.model_copy(update={"project_name": "renamed", "transport": "file_transfer"})
    assert seal_of(same, LEAF, KEY) == ours.seal
    assert seal_of(ours.model_copy(update={"run_path": "X/Y/Run_1"}), LEAF, KEY) != ours.seal


# -- whose record is it? -------------------------------------------------------------------------------------

ONE, TWO, THREE = record("staging"), record("staging", "complete"), record("staging", "complete", "sync_queued")
OTHER = record(history=[entry("staging", host="elsewhere"), entry("complete")], current_state="complete")
PROVED = record("staging", "complete", "sync_queued", "sync_verified")
CLEARED = record("staging", "complete", "sync_queued", "sync_verified", "cleared")


@pytest.mark.parametrize(
    ("found", "seal_holds", "remembered", "known", "was_cleared", "ruling"),
    [
        (None, False, None, False, False, "bootstrap"),
        (None, False, None, True, False, "new_life"),
        (None, False, None, False, True, "new_life"),
        (None, False, TWO, True, False, "restore"),
        (None, False, TWO, True, True, "restore"),
        (TWO, True, None, False, False, "ours"),
        (TWO, True, TWO, True, False, "ours"),
        (THREE, True, TWO, True, False, "ours"),
        (ONE, True, TWO, True, False, "restore"),
        (TWO, True, THREE, True, False, "restore"),
        (OTHER, True, THREE, True, False, "ours"),
        (PROVED, True, None, False, False, "ours"),
        (CLEARED, True, None, True, False, "set_aside"),
        (CLEARED, False, PROVED, True, False, "set_aside"),
        (TWO, False, TWO, True, False, "restore"),
        (PROVED, False, PROVED, True, False, "restore"),
        (PROVED, False, None, False, False, "step_back"),
        (PROVED, False, TWO, True, False, "step_back"),
        (ONE, False, None, False, False, "set_aside"),
        (TWO, False, ONE, True, False, "set_aside"),
        (THREE, False, None, False, False, "set_aside"),
    ],
)
def test_whose_record_it_is(
    found: Ingest | None, seal_holds: bool, remembered: Ingest | None, known: bool, was_cleared: bool, ruling: str
) -> None:
    judgement = judge(found, seal_holds=seal_holds, remembered=remembered, known=known, was_cleared=was_cleared)
    assert judgement.ruling == ruling
    if ruling in ("restore", "ours"):
        assert judgement.record is (remembered if ruling == "restore" else found)


def test_the_journal_remembers_a_record_for_its_own_leaf_only() -> None:
    text = render_record(TWO).decode()
    assert remembered_record(JournalRun(RUN, LEAF.text(), record=text), LEAF) == TWO
    assert remembered_record(JournalRun(RUN, "78:1", record=text), LEAF) is None
    assert remembered_record(JournalRun(RUN, LEAF.text()), LEAF) is None
    assert remembered_record(JournalRun(RUN, LEAF.text(), record=render_record(CLEARED).decode()), LEAF) is None
    assert remembered_record(None, LEAF) is None


# -- the five states -----------------------------------------------------------------------------------------

FORWARD = set(pairwise(STATES))
BACK = {(IngestState.COMPLETE, IngestState.SYNC_QUEUED), (IngestState.SYNC_VERIFIED, IngestState.SYNC_QUEUED)}


@pytest.mark.parametrize("reason", [None, *sorted(STEP_BACK_REASONS), "because"])
def test_the_states_allow_these_steps_and_no_others(reason: str | None) -> None:
    extras = {} if reason is None else {"reason": reason}
    for old in STATES:
        for new in STATES:
            before = record(*[state.value for state in STATES[: STATES.index(old) + 1]])
            legal = (old, new) in FORWARD or (reason in STEP_BACK_REASONS and (old, new) in BACK)
            step = new_entry(new, NOW, "lab-pc", dict(extras))
            if legal:
                after = next_record(before, step)
                assert after.history == (*before.history, step)
                assert after.current_state is new
            else:
                with pytest.raises(ValueError, match="cannot go from"):
                    next_record(before, step)


def test_an_entry_carries_time_host_and_extras() -> None:
    made = new_entry(IngestState.CLEARED, NOW, "lab-pc", {"files_cleared": 3, "by": "anna"})
    assert made.as_json() == {
        "state": "cleared",
        "at": "2026-04-17T14:32:00.000Z",
        "host": "lab-pc",
        "files_cleared": 3,
        "by": "anna",
    }


# -- on the disk ---------------------------------------------------------------------------------------------


class Shelf:
    """A run folder and whoever writes its record."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.run = staged_run(str(root / "staging"))
        self.folder = Path(self.run.folder)
        self.folder.mkdir(parents=True)
        self.path = self.folder / ".exlab-wizard/ingest.json"
        self.journal = memory_journal()
        self.records = self.writer(self.journal)

    def writer(self, journal: Journal) -> Records:
        state = open_state(str(self.root / "state"), changing=True)
        return Records(state, journal, host="lab-pc", log_host="lab-pc")

    def begin(self) -> Ingest:
        return self.records.replace(self.run, record("staging", seal=None))

    def leaf(self) -> LeafIdentity:
        return leaf_identity(self.run.place)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path)
    yield made
    made.journal.close()


def test_a_written_record_is_sealed_whole_and_remembered(shelf: Shelf) -> None:
    written = shelf.begin()
    assert read_record(shelf.run) == written
    assert shelf.records.seal_holds(shelf.run, written)
    assert remembered_record(shelf.journal.run(RUN), shelf.leaf()) == written
    assert os.listdir(shelf.path.parent) == ["ingest.json"]


def test_a_run_without_a_record_has_none(shelf: Shelf) -> None:
    assert read_record(shelf.run) is None


@pytest.mark.parametrize("kind", ["folder", "link", "fifo", "too large"])
def test_a_record_that_is_no_plain_file_is_unreadable_and_nothing_hangs(shelf: Shelf, kind: str) -> None:
    shelf.path.parent.mkdir()
    make: dict[str, Callable[[], object]] = {
        "folder": shelf.path.mkdir,
        "link": lambda: shelf.path.symlink_to("/etc/hostname"),
        "fifo": lambda: os.mkfifo(shelf.path),
        "too large": lambda: shelf.path.write_bytes(b" " * ((4 << 20) + 1)),
    }
    make[kind]()
    with pytest.raises(RecordUnreadable):
        read_record(shelf.run)


def test_an_append_keeps_the_old_history_as_a_prefix_and_renews_the_seal(shelf: Shelf) -> None:
    before = shelf.begin()
    after = shelf.records.append(shelf.run, IngestState.COMPLETE, NOW, files_received=2)
    assert after.history[:1] == before.history
    assert after.history[1].extra("files_received") == 2
    assert after.seal != before.seal
    assert shelf.records.require_sealed(shelf.run) == after


def test_an_illegal_step_leaves_the_file_as_it_is(shelf: Shelf) -> None:
    shelf.begin()
    before = shelf.path.read_bytes()
    with pytest.raises(IllegalTransition):
        shelf.records.append(shelf.run, IngestState.CLEARED, NOW)
    assert shelf.path.read_bytes() == before


def test_nothing_is_appended_to_what_cannot_be_read(shelf: Shelf) -> None:
    with pytest.raises(RecordUnsealed, match="missing"):
        shelf.records.append(shelf.run, IngestState.COMPLETE, NOW)
    shelf.begin()
    shelf.path.write_bytes(shelf.path.read_bytes()[:-20])
    torn = shelf.path.read_bytes()
    with pytest.raises(RecordUnreadable):
        shelf.records.append(shelf.run, IngestState.COMPLETE, NOW)
    with pytest.raises(RecordUnreadable):
        shelf.records.write(shelf.run, record("staging"))
    assert shelf.path.read_bytes() == torn


def test_a_seal_is_never_given_to_a_history_that_somebody_else_wrote(shelf: Shelf) -> None:
    shelf.begin()
    forged = content(raw("staging", "complete", "sync_queued", seal=None))
    shelf.path.write_bytes(forged)
    with pytest.raises(RecordUnsealed):
        shelf.records.append(shelf.run, IngestState.SYNC_VERIFIED, NOW)
    assert shelf.path.read_bytes() == forged


def test_a_step_that_was_decided_on_an_older_record_is_not_taken(shelf: Shelf) -> None:
    before = shelf.begin()
    now = shelf.records.append(shelf.run, IngestState.COMPLETE, NOW, after=before)
    with pytest.raises(RecordUnsealed, match="changed while"):
        shelf.records.append(shelf.run, IngestState.SYNC_QUEUED, NOW, after=before)
    assert read_record(shelf.run) == now


def test_history_is_never_rewritten(shelf: Shelf) -> None:
    shelf.begin()
    shelf.records.append(shelf.run, IngestState.COMPLETE, NOW)
    before = shelf.path.read_bytes()
    for shorter in (record("staging"), OTHER):
        with pytest.raises(IllegalTransition):
            shelf.records.write(shelf.run, shorter)
    assert shelf.path.read_bytes() == before


def test_a_record_that_continues_the_present_one_is_written(shelf: Shelf) -> None:
    now = shelf.begin()
    assert shelf.records.write(shelf.run, now.model_copy(update={"project_name": "new"})).project_name == "new"


@pytest.mark.parametrize("how", ["missing", "unsealed", "of another leaf"])
def test_only_a_sealed_record_that_is_there_is_evidence(shelf: Shelf, how: str) -> None:
    shelf.begin()
    if how == "missing":
        shelf.path.unlink()
    elif how == "unsealed":
        shelf.path.write_bytes(content(raw("staging", "complete", "sync_queued", "sync_verified")))
    else:
        copy = shelf.folder.with_name("copy")
        shelf.folder.rename(copy)
        shelf.folder.mkdir()
        (copy / ".exlab-wizard").rename(shelf.path.parent)
    with pytest.raises(RecordUnsealed):
        shelf.records.require_sealed(shelf.run)


def test_a_write_that_fails_keeps_the_old_record_and_the_journal_does_not_run_ahead(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shelf.begin()
    with monkeypatch.context() as broken:
        broken.setattr(os, "rename", fails_with(28))
        with pytest.raises(Exception, match="No space left"):
            shelf.records.append(shelf.run, IngestState.COMPLETE, NOW)
    assert read_record(shelf.run) == before
    assert remembered_record(shelf.journal.run(RUN), shelf.leaf()) == before
    assert os.listdir(shelf.path.parent) == ["ingest.json"]


def test_a_linked_folder_of_ours_is_not_written_through(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (shelf.folder / ".exlab-wizard").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Exception, match="Staging answered"):
        shelf.begin()
    assert os.listdir(tmp_path / "elsewhere") == []


def test_who_finds_the_record_taken_for_long_is_told_so(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.begin()
    state = open_state(str(shelf.root / "state"), changing=True)
    with state.record_lock(RUN) as held:
        assert held
        clock = _Hurry()
        monkeypatch.setattr("exlab_orch.files.locks.time", clock)
        monkeypatch.setattr("exlab_orch.files.locks.pause", clock.pause)
        with pytest.raises(Locked):
            shelf.records.append(shelf.run, IngestState.COMPLETE, NOW)


class _Hurry:
    """A clock on which every wait is over at once."""

    def __init__(self) -> None:
        self._now = 0.0

    def monotonic(self) -> float:
        return self._now

    def pause(self, seconds: float) -> None:
        self._now += seconds


def test_concurrent_appends_lose_no_entry(shelf: Shelf) -> None:
    """Two writers step a run forth and back; each step either is in the history or was refused."""
    shelf.begin()
    for state in ("complete", "sync_queued"):
        shelf.records.append(shelf.run, IngestState(state), NOW)
    done: list[HistoryEntry] = []
    ends = threading.Barrier(3)

    def write(writer: Records) -> None:
        ends.wait()
        for _ in range(15):
            for state in (IngestState.SYNC_VERIFIED, IngestState.SYNC_QUEUED):
                try:
                    done.append(writer.append(shelf.run, state, NOW, reason="new_files").history[-1])
                except IllegalTransition:
                    continue

    threads = [threading.Thread(target=write, args=(shelf.writer(memory_journal()),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    final = shelf.records.require_sealed(shelf.run)
    assert len(final.history) == 3 + len(done)
    assert len(done) >= 30
