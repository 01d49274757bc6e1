"""Which run a person means, by its name or its path: a staged one, one in the trash, one on the NAS only."""

from __future__ import annotations

import os
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from contextlib import suppress

from exlab_orch.errors import OutsideStaging, RunNotFound, StagingUnavailable
from exlab_orch.layout import folder_below
from exlab_orch.model import StagedRun
from exlab_orch.onlookers import LEDGER, looks_on
from exlab_orch.staging import Stray, not_found, resolve, run_at, trash_slots
from exlab_orch.state import as_owner
from exlab_orch.station import Station
from exlab_orch.text import is_utf8, pasted, printable


def find_run(station: Station, text: str) -> StagedRun:
    """The run a person means; a run that lies in the trash, or was cleared, is found by its path.

    Raises:
        OutsideStaging, RunNotFound, RunAmbiguous
    """
    (found,) = find_runs(station, [text])
    return found


def find_runs(station: Station, texts: Sequence[str]) -> list[StagedRun]:
    """As ``find_run``, of many; staging is looked through once."""
    root, there = station.staging_root, station.discover()
    in_trash = {slot.run.run_path: slot.run for slot in trash_slots(root) if slot.run is not None}
    staged = {run.run_path: run for run in there.runs}
    cleared = (line.run_path for line in station.ledger.lines())
    every = dict.fromkeys([*staged, *in_trash, *cleared, *station.journal.runs()])

    def find(text: str) -> StagedRun:
        found = _resolved(station, text, every, there.strays)
        _refuse_other_names(station, found, in_trash)
        if not is_utf8(found.run_path):  # it has the shape of a run, and no record can hold its name
            _refuse_stray(root, found.run_path, there.strays)
        if found.run_path not in every and not os.path.isdir(found.folder):
            # A mistyped path is no run; nothing is held or cleared by mistake.
            raise _perhaps_hidden(station, text, not_found(found.run_path, every))
        return found if found.run_path in staged else in_trash.get(found.run_path, found)

    return [find(text) for text in texts]


def _resolved(station: Station, text: str, every: Collection[str], strays: Iterable[Stray]) -> StagedRun:
    try:
        return resolve(station.staging_root, text, every, station.config.run_patterns)
    except RunNotFound as error:
        _refuse_stray(station.staging_root, text, strays)
        raise _perhaps_hidden(station, text, error) from error
    except OutsideStaging:
        _refuse_nas_copy(station.config.mount_roots, text, every)
        raise


def _perhaps_hidden(station: Station, text: str, error: RunNotFound) -> RunNotFound:
    """The error; where this user may not see which runs are on the NAS only, one that says so."""
    if not (station.ledger.is_hidden and looks_on(station)):
        return error
    return RunNotFound(
        f"{error.message} It may be on the NAS only: this user may not read {LEDGER}, which tells that.",
        hint=f"Ask as its owner: {as_owner(station.state.path, f'exlab-orch show {pasted(text)}')}",
    )


def _refuse_nas_copy(roots: Iterable[str], text: str, known: Container[str]) -> None:
    """Raise OutsideStaging with the name of the run, where a person gave the path of its copy on a mounted NAS."""
    path = os.path.abspath(text)
    for root in roots:
        run_path = path.removeprefix(f"{root.rstrip('/')}/")
        if run_path in known:
            raise OutsideStaging(
                f"{printable(text)} is the copy on the NAS; a run goes by its path in staging.",
                hint=f"Call it {pasted(run_path)}",
            )


def _refuse_other_names(station: Station, found: StagedRun, in_trash: Mapping[str, StagedRun]) -> None:
    """Raise RunNotFound for what was a run until ``run_pattern`` changed: nothing is done with it any more."""
    run_path = found.run_path
    is_other = run_at(station.staging_root, run_path, station.config.run_patterns) is None
    if is_other and run_path not in in_trash and os.path.isdir(found.folder):
        raise RunNotFound(
            f"{printable(run_path)} is not a run any more: run_pattern does not match its name.",
            hint="Add its name to run_pattern in the configuration; nothing is done with it before.",
        )


def _refuse_stray(root: str, text: str, strays: Iterable[Stray]) -> None:
    """Raise RunNotFound, with what to do, for what lies in staging and is no run: that is where a person's run is."""
    for stray in strays:
        path = _where_in(root, stray.path, text)
        if path is not None:
            raise RunNotFound(f"{printable(path)} lies in staging. {stray.message}", hint=stray.hint)


def _where_in(root: str, stray: str, named: str) -> str | None:
    """The relative path of what a person named, if it is a stray or lies in one."""
    text = named.rstrip("/").removeprefix(f"{root}/")
    shown = printable(stray, 10_000)  # as list writes it, where the name is not UTF-8
    if text in (stray, stray.rpartition("/")[2], shown, shown.rpartition("/")[2]):
        return stray
    if "/" in text:
        return text if text.startswith(f"{stray}/") and os.path.isdir(f"{root}/{text}") else None
    with suppress(StagingUnavailable):
        return folder_below(root, stray, text)
    return None
