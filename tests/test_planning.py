"""The dry run says what the pass after it does, and ``accept`` what still stops the copy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from exlab_orch.errors import NasUnreachable
from exlab_orch.planning import plan_pass
from exlab_orch.transports.mount import MountedNas
from tests.lab import RUN, Lab

WRITER = "is still open for writing"


def steps(lab: Lab) -> list[str]:
    with lab.station(changing=False) as station:
        return [one.step for one in plan_pass(station)]


@pytest.fixture
def queued(lab: Lab) -> Lab:
    lab.push()
    lab.poll(frozenset({"evaluate"}))
    return lab


@pytest.fixture
def arrived(lab: Lab) -> Lab:
    """A run that is known, and that nobody has looked at since its last file came."""
    lab.push(done=False)
    lab.poll()
    lab.push()
    return lab


@pytest.fixture(params=["queued", "arrived"])
def due(request: pytest.FixtureRequest) -> Lab:
    found: Lab = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def held_open(due: Lab) -> Iterator[Lab]:
    with (due.staged() / "a.fcs").open("ab"):
        yield due


def test_a_run_that_is_due_would_be_copied_and_is(due: Lab) -> None:
    assert steps(due) == ["would be copied to the NAS and proved"]
    assert due.poll().copied == (RUN,)


def test_a_nas_that_is_away_is_asked_once_for_all_its_runs(queued: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    queued.push(f"{RUN}b")
    queued.poll(frozenset({"evaluate"}))
    asked: list[object] = []

    def away(nas: object) -> None:
        asked.append(nas)
        raise NasUnreachable("It is away.")

    monkeypatch.setattr(MountedNas, "check", away)
    assert steps(queued) == ["would wait: It is away."] * 2
    assert len(asked) == 1


def test_a_run_that_somebody_writes_would_wait_and_does(held_open: Lab) -> None:
    assert steps(held_open) == [f"would wait: a.fcs {WRITER}"]
    assert held_open.poll().copied == ()


def test_a_run_with_a_link_would_be_blocked_and_is(due: Lab) -> None:
    (due.staged() / "link").symlink_to("a.fcs")
    (step,) = steps(due)
    assert step.startswith("would be blocked: 'link' is neither a file nor a folder but a link")
    assert due.poll().failed_codes == {RUN: "special_file"}


def test_a_run_whose_creation_json_names_another_place_would_be_blocked_and_is(due: Lab) -> None:
    due.push(files={".exlab-wizard/creation.json": b'{"equipment_id": "OTHER_01"}'})
    (step,) = steps(due)
    assert step.startswith("would be blocked: creation.json says ")
    assert due.poll().copied == ()


def test_a_run_whose_nas_is_paused_would_wait_and_does(due: Lab) -> None:
    due.cli("pause", "--reason", "new disks")
    (step,) = steps(due)
    assert step.startswith("would wait: Copying to ")
    assert due.poll().copied == ()


def test_a_run_whose_nas_is_away_would_wait_and_does(due: Lab) -> None:
    due.nas.rename(due.root / "away")
    (step,) = steps(due)
    assert step.startswith("would wait: ")
    assert due.poll().copied == ()


def test_a_run_that_no_pass_has_seen_would_be_received_and_copied_in_one(lab: Lab) -> None:
    lab.push()
    assert steps(lab) == ["would begin or restore its record", "would be copied to the NAS and proved"]
    assert lab.poll().copied == (RUN,)


def test_the_dry_run_of_sync_says_what_would_stop_the_copy(lab: Lab) -> None:
    lab.push()
    lab.poll(frozenset({"evaluate"}))
    rehearse = ("sync", "--dry-run", RUN)
    assert lab.cli(*rehearse).stdout == f"{RUN}: waiting to copy; would be copied to the NAS and proved\n"
    with (lab.staged() / "a.fcs").open("ab"):
        assert lab.cli(*rehearse).stdout.endswith(f"; would wait: a.fcs {WRITER}\n")
    lab.poll()
    assert lab.cli(*rehearse).stdout.endswith("on NAS, checked; would be copied where it changed since\n")


def test_the_dry_run_of_sync_does_not_promise_to_copy_what_has_not_arrived(lab: Lab) -> None:
    lab.push(done=False)
    lab.poll()
    assert lab.cli("sync", "--dry-run", RUN).stdout == f"{RUN}: arriving; would wait: waiting for run_complete\n"


def test_the_dry_run_of_sync_forgets_failed_attempts_as_sync_does(lab: Lab) -> None:
    lab.push()
    lab.poll(frozenset({"evaluate"}))
    with lab.station() as station:
        known = station.journal.run(RUN)
        assert known is not None
        station.journal.save(replace(known, failed=True))
    assert steps(lab) == []
    assert "would be copied" in lab.cli("sync", "--dry-run", RUN).stdout


def test_accept_promises_the_copy_where_nothing_stops_it(lab: Lab) -> None:
    lab.push(done=False)
    lab.poll()
    said = lab.cli("accept", "--reason", "half is enough", RUN).stderr
    assert said == f"{RUN}: accepted as it is; the next pass copies it.\n"


@pytest.mark.parametrize("words", [(), ("--dry-run",)], ids=["", "dry run"])
def test_accept_says_that_an_open_file_still_stops_the_copy(lab: Lab, words: tuple[str, ...]) -> None:
    lab.push(done=False)
    lab.poll()
    with (lab.staged() / "sub/b.fcs").open("ab"):
        said = lab.cli("accept", "--reason", "half is enough", *words, RUN).stderr
    assert "accepted as it is" in said
    assert f"not copied yet: sub/b.fcs {WRITER}" in said
    assert "the next pass copies it" not in said


def test_accept_says_that_a_link_still_stops_the_copy_and_what_to_do(lab: Lab) -> None:
    lab.push(done=False)
    (lab.staged() / "link").symlink_to("a.fcs")
    lab.poll()
    said = lab.cli("accept", "--reason", "half is enough", RUN).stderr
    assert "cannot be copied: 'link' is neither a file nor a folder" in said
    assert "replace them by files" in said
    assert "the next pass copies it" not in said


def test_accept_says_that_a_pause_still_stops_the_copy(lab: Lab) -> None:
    lab.push(done=False)
    lab.poll()
    lab.cli("pause", "--reason", "new disks")
    assert "not copied yet: Copying to " in lab.cli("accept", "--reason", "half is enough", RUN).stderr
