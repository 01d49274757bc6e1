"""The NAS copies of record, log and checksum list: up to date, and never over somebody else's."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from exlab_orch.errors import ExlabError, NasFault
from exlab_orch.mirror import mirror, mirror_or_remember, put_checksums, put_record
from exlab_orch.model import IngestState, log_name
from exlab_orch.ownfiles import log_event
from exlab_orch.station import Station
from tests.lab import MARKER_ID, RUN, Lab, tree

LOG = log_name(socket.gethostname())


@pytest.fixture
def station(lab: Lab) -> Iterator[Station]:
    """A station with one published run whose record then got another entry."""
    lab.push()
    lab.poll()
    with lab.station() as station:
        station.advance(lab.run(), lab.record(), IngestState.SYNC_QUEUED, reason="new_files")
        log_event(station, lab.run(), "INFO", "a line the NAS does not have yet")
        yield station


def on_nas(lab: Lab, name: str = "") -> Path:
    return lab.published() / ".exlab-wizard" / name


def superseded(lab: Lab, name: str) -> list[bytes]:
    return [path.read_bytes() for path in on_nas(lab).glob(f"superseded/*/.exlab-wizard/{name}")]


def test_record_and_log_on_the_nas_become_those_in_staging(lab: Lab, station: Station) -> None:
    assert lab.nas_record()["current_state"] == "sync_verified"
    mirror(station, lab.run(), lab.record())
    for name in ("ingest.json", LOG, "checksums.sha256"):
        assert on_nas(lab, name).read_bytes() == (lab.staged() / ".exlab-wizard" / name).read_bytes()
    assert not on_nas(lab, "superseded").exists()
    assert lab.leftovers() == []


def test_what_is_up_to_date_is_not_written_again(lab: Lab, station: Station) -> None:
    mirror(station, lab.run(), lab.record())
    before = {name: os.stat(on_nas(lab, name)).st_ino for name in os.listdir(on_nas(lab))}
    mirror(station, lab.run(), lab.record())
    assert {name: os.stat(on_nas(lab, name)).st_ino for name in os.listdir(on_nas(lab))} == before


@pytest.mark.parametrize("stranger", ["another history", "no record", "a longer history"])
def test_a_record_on_the_nas_that_is_no_prefix_of_ours_is_kept_aside(lab: Lab, station: Station, stranger: str) -> None:
    record = lab.record().as_json()
    history = lab.record().history_json()
    theirs = {
        "another history": json.dumps({**record, "history": [{**history[0], "host": "other"}, *history[1:]]}).encode(),
        "no record": b"notes of a person",
        "a longer history": json.dumps({**record, "history": [*history, history[-1]]}).encode(),
    }[stranger]
    on_nas(lab, "ingest.json").write_bytes(theirs)
    put_record(station, station.nas_of(lab.run()), lab.run(), lab.record())
    assert superseded(lab, "ingest.json") == [theirs]
    assert lab.nas_record() == record


def test_a_log_on_the_nas_that_ours_does_not_continue_is_kept_aside(lab: Lab, station: Station) -> None:
    on_nas(lab, LOG).write_bytes(b"of another computer with the same name\n")
    mirror(station, lab.run(), lab.record())
    assert superseded(lab, LOG) == [b"of another computer with the same name\n"]
    assert b"a line the NAS" in on_nas(lab, LOG).read_bytes()


@pytest.mark.parametrize("is_known", [True, False])
def test_a_checksum_list_on_the_nas_is_replaced_only_if_it_is_one_of_ours(
    lab: Lab, station: Station, is_known: bool
) -> None:
    before = on_nas(lab, "checksums.sha256").read_bytes()
    known = [lab.record().history[3].text("checksum_sha256") or ""] if is_known else []
    put_checksums(station, station.nas_of(lab.run()), lab.run(), b"new list", known)
    assert on_nas(lab, "checksums.sha256").read_bytes() == b"new list"
    assert superseded(lab, "checksums.sha256") == ([] if is_known else [before])


def test_a_list_in_staging_that_the_record_does_not_seal_is_not_mirrored(lab: Lab, station: Station) -> None:
    before = on_nas(lab, "checksums.sha256").read_bytes()
    (lab.staged() / ".exlab-wizard/checksums.sha256").write_bytes(b"forged")
    mirror(station, lab.run(), lab.record())
    assert on_nas(lab, "checksums.sha256").read_bytes() == before


def test_data_on_the_nas_is_not_touched(lab: Lab, station: Station) -> None:
    (lab.published() / "results.xlsx").write_bytes(b"of a person")
    before = {name: found for name, found in tree(lab.published()).items() if not name.startswith(".exlab-wizard")}
    mirror(station, lab.run(), lab.record())
    after = {name: found for name, found in tree(lab.published()).items() if not name.startswith(".exlab-wizard")}
    assert after == before


def test_a_run_folder_that_is_gone_from_the_nas_is_not_made_again(lab: Lab, station: Station) -> None:
    lab.published().rename(lab.root / "moved away")
    with pytest.raises(ExlabError):
        mirror(station, lab.run(), lab.record())
    assert not lab.published().exists()


def test_another_nas_gets_nothing(lab: Lab, station: Station) -> None:
    (lab.nas / ".exlab-nas").write_text("f" * 32)
    before = tree(lab.nas)
    with pytest.raises(NasFault):
        mirror(station, lab.run(), lab.record())
    assert tree(lab.nas) == before


def test_a_failure_is_remembered_shown_and_made_good_later(lab: Lab, station: Station) -> None:
    (lab.nas / ".exlab-nas").unlink()
    mirror_or_remember(station, lab.run(), lab.record())
    assert station.journal.order(RUN, "mirror") is not None
    (problem,) = station.journal.problems(RUN)
    assert problem.code == "nas_wrong_marker"
    assert "could not be brought up to date" in problem.message
    (lab.nas / ".exlab-nas").write_text(MARKER_ID)
    mirror_or_remember(station, lab.run(), lab.record())
    assert station.journal.order(RUN, "mirror") is None
    assert station.journal.problems(RUN) == []
    assert lab.nas_record()["current_state"] == "sync_queued"


def test_what_a_killed_mirror_left_is_removed(lab: Lab, station: Station) -> None:
    temporary = on_nas(lab, station.state.temporary_name(RUN, "ingest.json"))
    temporary.write_bytes(b"half a rec")
    mirror(station, lab.run(), lab.record())
    assert not temporary.exists()


def test_a_run_whose_nas_record_is_behind_is_not_skipped(lab: Lab) -> None:
    """A pass may be killed after it marked the run as idle and before it mirrored the record."""
    lab.push()
    lab.poll()
    lab.poll()
    on_nas(lab, "ingest.json").unlink()
    with lab.station() as station:
        station.journal.give_order(RUN, "mirror", {})
    lab.poll()
    assert lab.nas_record() == lab.record().as_json()
