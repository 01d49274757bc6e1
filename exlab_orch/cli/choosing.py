"""Which runs a command line means: names, paths, and the filters."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

SORTS: Final = ("project", "newest", "largest", "name")
ANY_PROBLEM: Final = "any"

if TYPE_CHECKING:
    from exlab_orch.cli.call import Settings
    from exlab_orch.ledger import LedgerLine
    from exlab_orch.model import StagedRun
    from exlab_orch.rows import Row
    from exlab_orch.station import Station


def named_runs(station: Station, names: Sequence[str]) -> list[StagedRun]:
    """The runs of that name, each once, in the order given; ``RunNotFound`` before anything is done."""
    from exlab_orch.finding import find_runs

    found = {run.run_path: run for run in find_runs(station, names)}
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rows of ``list``, and in which order."""

    problem: str | None = None
    """A problem code, ANY_PROBLEM, or None for all rows."""
    sort: str = "project"


def chosen(rows: Iterable[Row], choice: Choice) -> list[Row]:
    """The rows with the problem that is asked for, in the order that is asked for."""
    kept = [row for row in rows if choice.problem is None or _has(row, choice.problem)]
    if choice.sort == "newest":
        return sorted(kept, key=lambda row: 0.0 if row.last_activity_at is None else -row.last_activity_at.timestamp())
    if choice.sort == "largest":
        return sorted(kept, key=lambda row: -row.byte_total)
    return sorted(kept, key=lambda row: row.run) if choice.sort == "name" else kept


def _has(row: Row, code: str) -> bool:
    return row.problem is not None and code in (ANY_PROBLEM, row.problem.code)


def wanted(rows: Iterable[Row], settings: Settings) -> list[Row]:
    """The rows that the filters leave."""
    return [row for row in rows if _is_wanted(row, settings)]


def _is_wanted(row: Row, settings: Settings) -> bool:
    return (
        (not settings.equipment or row.equipment_id in settings.equipment)
        and (not settings.project or row.project_name in settings.project)
        and (not settings.state or row.current_state in settings.state)
    )


def nothing_words(station: Station, every: Sequence[Row], settings: Settings, choice: Choice) -> str:
    """Why no row is left of all there are."""
    from exlab_orch.onlookers import looks_on

    orchestrator = station.config.orchestrator
    if not orchestrator.enabled:
        from exlab_orch.cli.pasting import used_configuration

        return (
            "This orchestrator is switched off (orchestrator.enabled = false), so nothing is copied or listed.\n"
            f"To switch it on, set orchestrator.enabled = true in {used_configuration()}"
        )
    if every and choice.problem is not None:
        return _no_problem_words(every, settings, choice.problem)
    if "cleared" in settings.state:
        return "A run whose staged copy is deleted is not in staging; see it: exlab-orch list --cleared"
    if every:
        return "No run in staging matches. Leave out a filter to see the others."
    if station.ledger.is_hidden and looks_on(station):
        from exlab_orch.state import as_owner

        command = as_owner(station.state.path, "exlab-orch list --cleared")
        return f"This user sees no runs in staging. Those on the NAS only are known to their owner: {command}"
    gone = len(station.ledger.lines())
    if gone:
        return f"Staging holds no runs. The staged copies of {gone:,} were deleted: exlab-orch list --cleared"
    root = orchestrator.staging_root
    return f"No runs in {root} yet. Equipment pushes them to {root}/EQUIPMENT/PROJECT/Runs/Run_..."


def _no_problem_words(every: Iterable[Row], settings: Settings, code: str) -> str:
    """That nothing has the problem, and which are open."""
    what = "Nothing that the filters leave" if settings.filtered else "Nothing"
    words = f"{what} needs a person." if code == ANY_PROBLEM else f"{what} has the problem {code}."
    codes = ", ".join(sorted({row.problem.code for row in every if row.problem is not None}))
    return f"{words} Open now: {codes}." if codes else words


def refuse_unknown(station: Station, settings: Settings) -> None:
    """A filter that is mistyped matches nothing, which looks like good news.

    Raises:
        click.UsageError: no equipment, or no project, of that name is configured, staged or known.
    """
    ids = [one.id for one in station.config.equipment]
    for wanted in settings.equipment:
        if wanted not in ids and wanted not in {path.partition("/")[0] for path in _known_paths(station)}:
            raise _mistyped("equipment", wanted, ids)
    for wanted in settings.project:
        projects = {path.split("/")[1] for path in _known_paths(station)}
        if wanted not in projects:
            raise _mistyped("project", wanted, sorted(projects))


def _known_paths(station: Station) -> Iterator[str]:
    """``EQUIPMENT/PROJECT…`` of everything that is staged, known or deleted."""
    root = station.staging_root
    for equipment in _names_in(root):
        yield f"{equipment}/"
        yield from (f"{equipment}/{project}" for project in _names_in(f"{root}/{equipment}"))
    yield from station.journal.runs()
    yield from (line.run_path for line in station.ledger.lines())


def _names_in(folder: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if not name.startswith(".")]
    except OSError:
        return []


def _mistyped(kind: str, wanted: str, known: Iterable[str]) -> Exception:
    import click

    from exlab_orch.text import did_you_mean, printable

    words = f"No {kind} is called '{printable(wanted)}'.{did_you_mean(wanted, known)}"
    return click.UsageError(words, click.get_current_context())


def filtered_runs(station: Station, settings: Settings) -> list[StagedRun]:
    """The staged runs that the filters leave; a run that no pass has seen yet is in no state."""
    runs = [run for run in station.discover().runs if is_wanted_path(run.run_path, settings)]
    if not settings.state:
        return runs
    from exlab_orch.rows import list_rows

    states = {row.run: row.current_state for row in list_rows(station, now=station.now())}
    return [run for run in runs if states.get(run.run_path) in settings.state]


def wanted_lines(lines: Iterable[LedgerLine], settings: Settings) -> list[LedgerLine]:
    """The cleared runs that the filters leave."""
    if settings.state and "cleared" not in settings.state:
        return []
    return [line for line in lines if is_wanted_path(line.run_path, settings)]


def is_wanted_path(run_path: str, settings: Settings) -> bool:
    """Whether the filters for equipment and project leave a run, going by its path."""
    equipment, project = run_path.split("/")[:2]
    return (not settings.equipment or equipment in settings.equipment) and (
        not settings.project or project in settings.project
    )
