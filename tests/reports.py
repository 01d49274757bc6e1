"""Made-up facts for the tests of the report: a busy lab, an empty one, and one whose names are hostile."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from exlab_orch.disks import Disk
from exlab_orch.model import IngestState, Problem
from exlab_orch.report import Life, Report, Step, newest_first
from exlab_orch.rows import Row
from exlab_orch.space import Space
from tests.cli import rows as given
from tests.cli.rows import NOW

SINCE = NOW - timedelta(days=29, hours=14)
HOSTILE = (
    "FLOW_01/<script>alert(1)</script>/Runs/Run_\"onload='alert(2)'",
    "FLOW_01/&amp;<img src=http://evil.example/x>/Runs/Run_\x1b[31m\u202e\ud800\udc80",
    "FLOW_01/</style><style>@import url(//evil.example)/Runs/Run_]]><!--",
    "FLOW_01/{{7*7}} `x` \n\t\0/Runs/Run_https://evil.example",
)
STATES = (IngestState.STAGING, IngestState.COMPLETE, IngestState.SYNC_QUEUED, IngestState.SYNC_VERIFIED)
INSTRUMENTS = {
    "CONFOCAL_01": "Confocal Microscope 1",
    "FLOW_01": "Flow Cytometer",
    "NANOPORE_01": "PromethION",
    "NOVASEQ_01": "",
    "MASSSPEC_01": "Mass Spectrometer in the basement, the one with the broken door",
    "CRYOEM_01": "Cryo-EM",
    "PLATEREADER_01": "",
    "LIGHTSHEET_01": "Light sheet",
    "A_VERY_LONG_EQUIPMENT_ID_OF_32_C": "As long as an id may be",
}


def report(**more: Any) -> Report:
    """A report of a lab in which nothing has happened yet."""
    facts: dict[str, Any] = {
        "host": "stage1",
        "label": "Lab Acquisition Station 01",
        "staging_root": given.STAGING,
        "enabled": True,
        "generated_at": NOW,
        "since": SINCE,
        "rows": (),
        "problems": (),
        "lives": (),
        "earlier": 0,
        "ledger_hidden": False,
        "disks": (
            Disk("Staging", Space(8 << 40, 3 << 40), NOW),
            Disk(given.NAS, Space(200 << 40, 90 << 40), NOW - timedelta(minutes=1)),
        ),
        "last_pass_at": NOW - timedelta(seconds=40),
        "busy": False,
        "labels": INSTRUMENTS,
    }
    return Report(**(facts | more))


def steps(first: datetime, *seconds: float) -> tuple[Step, ...]:
    """The steps of a life that began at a moment, and how long each of them lasted."""
    found, at = [Step(STATES[0], first)], first
    for state, length in zip(STATES[1:], seconds, strict=False):
        at += timedelta(seconds=length)
        found.append(Step(state, at))
    return tuple(found)


def cleared(run: str, *, days_ago: float = 3.0, size: int = 10**9, took: float = 600.0, **more: Any) -> Life:
    """A run that was proved and whose staged copy was deleted some days ago."""
    end = NOW - timedelta(days=days_ago)
    begun = end - timedelta(seconds=90_000 + took)
    facts: dict[str, Any] = {
        "file_count": 12,
        "byte_total": size,
        "steps": (*steps(begun, 1200, 1, took), Step(IngestState.CLEARED, end)),
        "last_write_at": begun + timedelta(seconds=1000),
        "cleared_at": end,
        "cleared_by": None,
        "nas_path": f"{given.NAS}/{run}",
    }
    return Life(run, **(facts | more))


def staged(row: Row, *, age: float = 7200.0, last_write: float = 1000.0) -> Life:
    """The life of a row that began some seconds ago."""
    reached = STATES.index(row.current_state) if row.current_state in STATES else -1
    begun = NOW - timedelta(seconds=age)
    walked = steps(begun, *(1100.0, 1.0, 900.0)[:reached]) if reached >= 0 else ()
    written = begun + timedelta(seconds=last_write) if row.current_state is IngestState.SYNC_VERIFIED else None
    return Life(row.run, row.file_count, row.byte_total, walked, written, row, nas_path=row.nas_path)


def busy() -> Report:
    """A lab with a month behind it: every kind of run, problem and disk."""
    rows = (*given.AFTERNOON[:-1], replace(given.STRAY, run_kind=""), *_troubled())
    lives = [staged(row, age=5000 + 9000 * n) for n, row in enumerate(rows) if row.run_kind]
    return report(
        rows=rows,
        lives=newest_first([*lives, *_month()]),
        earlier=9500,
        problems=(
            Problem(
                f"staging:{given.STAGING}",
                "staging_filling",
                "At the present rate the staging disk is full within about a day.",
                NOW - timedelta(hours=1),
                "Delete staged copies that are proved: exlab-orch clear --all-verified",
            ),
            Problem(
                "nas:/mnt/nas/lab",
                "nas_full",
                "The NAS is too full: copying would eat into its reserve of 10 TiB.",
                NOW - timedelta(hours=5),
                "Free space on the NAS, or lower nas.reserve_percent; the next pass goes on by itself.",
            ),
        ),
        disks=(
            Disk("Staging", Space(8 << 40, 400 << 30), NOW, 19_000.0),
            Disk(given.NAS, Space(200 << 40, 9 << 40), NOW - timedelta(minutes=1)),
            Disk("lab-s3:archive/lab", None),
        ),
    )


def _troubled() -> tuple[Row, ...]:
    queued = IngestState.SYNC_QUEUED
    full = replace(given.problem("nas_full", "The NAS is too full."), subject="nas:/mnt/nas/lab")
    failed = given.problem("acquisition_failed", "The instrument says that it failed: RunAborted.txt.", "Look at it.")
    late = given.problem("never_completed", "it has been arriving for more than 24 h", "Look at the instrument.")
    return (
        given.row("NOVASEQ_01/PROJ-0099/Runs/Run_2026-04-16T20-00", queued, size=3 << 40, problem=full, age=9000),
        given.row("NOVASEQ_01/PROJ-0099/Runs/Run_2026-04-17T02-00", queued, size=3 << 40, problem=full, age=8000),
        given.row("CRYOEM_01/PROJ-0001/Runs/Run_2026-04-16T08-00", IngestState.SYNC_VERIFIED, problem=failed),
        given.row(
            "CRYOEM_01/PROJ-0001/Runs/Run_2026-04-15T08-00",
            IngestState.STAGING,
            problem=late,
            waiting_for="waiting for run_complete",
            actions=("exlab-orch accept --reason … CRYOEM_01/PROJ-0001/Runs/Run_2026-04-15T08-00",),
        ),
    )


def _month() -> list[Life]:
    """What every instrument delivered, day by day: at weekends little, and each with sizes and times of its own."""
    chance = Random(5)
    found = []
    for number, equipment in enumerate(INSTRUMENTS):
        for day in range(29):
            weekend = (NOW - timedelta(days=day)).weekday() >= 5
            for run in range(chance.randint(0, 1 if weekend else 2)):
                ago = day + chance.random() * 0.4
                size = int(chance.lognormvariate(24 + number % 4, 1.2))
                took = chance.lognormvariate(5.5 + number % 3, 1.3)
                name = f"{equipment}/PROJ-{number:04}/Runs/Run_{NOW - timedelta(days=ago):%Y-%m-%dT%H-%M}-{run}"
                by = "marta" if chance.random() < 0.1 else None
                found.append(cleared(name, days_ago=ago, size=size, took=took, cleared_by=by))
    return found


def hostile() -> Report:
    """A lab whose projects and runs are called as an attacker would."""
    bad = [given.problem("nas_conflict", f"The NAS holds another {name}.", f"Look at {name}.") for name in HOSTILE]
    rows = tuple(
        given.row(name, IngestState.SYNC_QUEUED, problem=one, actions=(f"exlab-orch show '{name}'",), hold_reason=name)
        for name, one in zip(HOSTILE, bad, strict=True)
    )
    strays = tuple(replace(one, run_kind="") for one in rows)
    ended = [cleared(name, cleared_by=name, nas_path=name) for name in HOSTILE]
    return report(
        host=HOSTILE[0],
        label=HOSTILE[1],
        rows=(*rows, *strays),
        lives=newest_first([*map(staged, rows), *ended]),
        problems=tuple(replace(one, subject=f"nas:{name}") for one, name in zip(bad, HOSTILE, strict=True)),
        disks=tuple(Disk(name, Space(100, 50), NOW) for name in HOSTILE),
        labels={"FLOW_01": HOSTILE[2]},
    )
