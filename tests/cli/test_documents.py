"""The JSON documents have exactly the keys that programs rely on (cli.md, Output)."""

from __future__ import annotations

import base64
import json
import os

from exlab_orch.cli import documents
from exlab_orch.clock import format_utc
from exlab_orch.ledger import LedgerLine
from exlab_orch.looks import LastLook
from tests.cli import rows as given

ROW_KEYS = {
    "run", "path", "equipment_id", "project_name", "run_kind", "current_state", "file_count", "byte_total",
    "last_activity_at", "elapsed_seconds_since_last_activity", "waiting_for", "problem", "held", "hold_reason",
    "attempts", "progress", "clear_after", "nas_path", "on_another_nas", "actions",
}  # fmt: skip


def test_list_has_the_keys_of_the_contract_and_survives_json() -> None:
    document = documents.list_document(given.AFTERNOON, [], [], host="stage1", now=given.NOW)
    assert document.keys() == {"schema_version", "generated_at", "host", "runs", "space", "problems"}
    assert (document["schema_version"], document["generated_at"]) == ("1.0", "2026-04-17T14:00:00.000Z")
    read = json.loads(json.dumps(document))
    assert all(one.keys() == ROW_KEYS for one in read["runs"])
    assert [one["current_state"] for one in read["runs"]][-1] is None
    assert all(isinstance(one["actions"], list) for one in read["runs"])


def test_a_row_carries_its_problem_its_progress_and_its_times() -> None:
    conflict, copying, verified = map(documents.row_document, (given.CONFLICT, given.COPYING, given.VERIFIED))
    assert conflict["problem"] == {
        "code": "nas_conflict",
        "message": "The NAS holds another images/tile_07.tif, and it is not an earlier one of ours.",
        "since": "2026-04-17T12:00:00.000Z",
        "hint": "",
    }
    assert copying["progress"] == {
        "phase": "copy",
        "file_count": 310,
        "bytes_done": 12_900_000_000,
        "byte_total": 30_000_000_000,
        "bytes_per_second": 432_000_000,
    }
    assert verified["clear_after"] == "2026-04-18T12:00:00.000Z"
    assert (verified["problem"], verified["progress"], verified["held"]) == (None, None, False)


def test_a_name_that_is_not_utf8_is_also_carried_exactly() -> None:
    name = os.fsdecode(b"CONFOCAL_01/P/odd\xff")
    document = documents.row_document(given.row(name, None))
    assert document["run"] == "CONFOCAL_01/P/odd\\xff"
    assert base64.b64decode(str(document["run_b64"])) == b"CONFOCAL_01/P/odd\xff"
    assert base64.b64decode(str(document["path_b64"])) == f"{given.STAGING}/".encode() + b"CONFOCAL_01/P/odd\xff"
    assert "project_name_b64" not in document
    json.dumps(document).encode("ascii")


def test_show_adds_the_answers_the_history_and_the_checksums() -> None:
    document = documents.show_document(given.detail(), host="stage1", now=given.NOW)
    more = {
        "safe_on_nas",
        "may_be_deleted",
        "problems",
        "history",
        "checksums",
        "verified",
        "checks",
        "next_attempt_at",
    }
    assert document.keys() == ROW_KEYS | {"schema_version", "generated_at", "host"} | more
    assert document["checksums"] == {"path": ".exlab-wizard/checksums.sha256", "count": 1204}
    assert document["history"] == [entry.as_json() for entry in given.HISTORY]
    assert document["safe_on_nas"] == {
        "yes": True,
        "known": True,
        "why": "every byte was read back from the NAS and matched",
    }


def test_cleared_runs_are_listed_with_their_place_on_the_nas() -> None:
    line = LedgerLine("A/P/Runs/Run_1", "2026-04-17T13:00:00Z", 3, 5, "/nas/A", "ab", "h", "marta")
    document = documents.cleared_document(
        [line], {line.run_path: LastLook(given.NOW, ok=False)}, host="stage1", now=given.NOW
    )
    assert document["cleared"] == [
        {
            "run": "A/P/Runs/Run_1",
            "cleared_at": "2026-04-17T13:00:00Z",
            "files_cleared": 3,
            "bytes_freed": 5,
            "nas_path": "/nas/A",
            "checksum_sha256": "ab",
            "by": "marta",
            "verified": {"at": format_utc(given.NOW), "ok": False},
        }
    ]


def test_empty_lists_are_lists() -> None:
    assert documents.list_document([], [], [], host="h", now=given.NOW)["runs"] == []
    nothing = {"schema_version": "1.0", "cleared": [], "refused": [], "held": []}
    assert documents.clear_document([], [], []) == nothing
