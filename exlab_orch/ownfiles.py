"""Our own files in a run's .exlab-wizard: the log, the checksum list, and pushed files that only bear our names."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final, cast

from exlab_orch.checksums import format_list, parse, sha256_of
from exlab_orch.clock import format_utc
from exlab_orch.errors import RunProblem, staging_errors
from exlab_orch.files.delete import remove_own
from exlab_orch.files.hashing import hash_up_to
from exlab_orch.files.moves import move
from exlab_orch.files.places import exists, make_folders, open_file, open_folder, opened, read_small
from exlab_orch.files.whole import append_line
from exlab_orch.journal import Announcement, JournalRun
from exlab_orch.logs import note_event
from exlab_orch.model import CHECKSUMS_NAME, OUR_FOLDER, RECORD_NAME, Ingest, IngestState, Place, StagedRun, log_name
from exlab_orch.state import temporary_names
from exlab_orch.station import Station
from exlab_orch.text import printable

_LIMIT: Final = 512 << 20
_CLAIMS_LIMIT: Final = 10_000
_NO_PLAIN_FILE: Final = frozenset({errno.ELOOP, errno.EFBIG, errno.EXDEV, errno.ENXIO, errno.ENOENT})


# -- the log -------------------------------------------------------------------------------------------------


def log_event(
    station: Station, run: StagedRun, level: str, message: str, *, event: str = "run", **facts: object
) -> None:
    """Add a line to the run's own log and to the application log.

    Args:
        station: the open parts.
        run: whose log it is.
        level: INFO, WARNING or ERROR.
        message: what happened, in a sentence.
        event: the same in one word, for the application log.
        facts: more of it for programs that read the application log.
    """
    note_event(event, message, level=level, run=run.run_path, **facts)
    write_log(station, run, level, message)


def write_log(station: Station, run: StagedRun, level: str, message: str) -> None:
    """Add a line to the run's own log, and note what it holds so that nobody else's is taken for ours."""
    name = log_name(station.log_host)
    with staging_errors("writing the run's log"):
        folder = run.place.below(OUR_FOLDER)
        make_folders(folder)
        append_line(folder, name, log_line(station.now(), station.log_host, run, level, message).encode())
        found = read_small(folder, name, _LIMIT)
    if found is not None:
        _note(station, run.run_path, log={"size": len(found[0]), "sha256": sha256_of(found[0])})


def log_line(at: datetime, host: str, run: StagedRun, level: str, message: str) -> str:
    """One line of a run's log; no name can end a field or the line."""
    fields = {
        "host": host,
        "equip": run.equipment_id,
        "proj": run.project,
        "kind": run.run_kind,
        "run": run.name,
    }
    words = " ".join(f"[{key}:{_in_brackets(value)}]" for key, value in fields.items())
    return f"{format_utc(at)} [{level}] {words} {printable(message, 2000)}"


def _in_brackets(name: str) -> str:
    return printable(name, 1000).replace("[", "\\x5b").replace("]", "\\x5d")


def log_edges(station: Station, run: StagedRun, edges: Iterable[Announcement]) -> None:
    """Tell the run's own log which of its problems opened, changed or closed; the application log knows already."""
    for edge in edges:
        problem = edge.problem
        if edge.kind == "closed":
            write_log(station, run, "INFO", f"solved: {problem.code}")
        elif edge.kind != "still_open":
            write_log(station, run, "WARNING", f"{problem.code}: {problem.message}")


def read_log(run: StagedRun, host: str) -> bytes | None:
    """The run's own log, or None where there is none."""
    with staging_errors("reading the run's log"):
        found = read_small(run.place.below(OUR_FOLDER), log_name(host), _LIMIT)
    return None if found is None else found[0]


# -- the checksum list ---------------------------------------------------------------------------------------


def write_checksums(station: Station, run: StagedRun, content: bytes) -> None:
    """Write the checksum list in staging; what it will be is noted first, so that a crash cannot make it a stranger."""
    noted = _noted(station.journal.run(run.run_path)).get("checksums")
    before = noted.get("sha256") if isinstance(noted, dict) else None
    _note(station, run.run_path, checksums={"sha256": sha256_of(content), "before": before})
    with staging_errors("writing the checksum list"):
        station.records.write_own(run, CHECKSUMS_NAME, content)


def read_list(run: StagedRun) -> bytes | None:
    """The checksum list in staging as it is, whoever wrote it, or None."""
    with staging_errors("reading the checksum list"):
        return _content(run.place.below(OUR_FOLDER), CHECKSUMS_NAME)


def proved_hashes(station: Station, run: StagedRun, record: Ingest) -> dict[bytes, str] | None:
    """What the record says was proved: names and SHA-256, from a list whose own SHA-256 the record carries.

    The list in staging is taken, or it is made anew from the journal, or read from the NAS; None where none of them
    is the one that the record seals.

    Raises:
        NasFault: the NAS is not there to be asked.
    """
    return _sealed_list(record, (*_lists_here(station, run), lambda: _list_on_nas(station, run)))


def proved_hashes_here(station: Station, run: StagedRun, record: Ingest) -> dict[bytes, str] | None:
    """``proved_hashes`` as far as this computer knows; the NAS is not asked."""
    return _sealed_list(record, _lists_here(station, run))


def _sealed_list(record: Ingest, lists: Iterable[Callable[[], bytes | None]]) -> dict[bytes, str] | None:
    """The first list that is the one the record seals; the others are not looked for."""
    entry = record.last(IngestState.SYNC_VERIFIED)
    wanted = None if entry is None else entry.text("checksum_sha256")
    if wanted is None:
        return None
    contents = (find() for find in lists)
    return next((parse(found) for found in contents if found is not None and sha256_of(found) == wanted), None)


def _lists_here(station: Station, run: StagedRun) -> tuple[Callable[[], bytes | None], ...]:
    def of_journal() -> bytes:
        return format_list({name: row.sha256 for name, row in station.journal.files(run.run_path).items()})

    return lambda: read_list(run), of_journal


def _list_on_nas(station: Station, run: StagedRun) -> bytes | None:
    transport = station.nas_of(run)
    transport.check()
    return transport.read_small(run.run_path, "published", CHECKSUMS_NAME)


def noted_lists(station: Station, run_path: str) -> set[str]:
    """Hashes of the checksum lists that the journal knows we wrote, or were about to write, for this run."""
    noted = _noted(station.journal.run(run_path)).get("checksums")
    if not isinstance(noted, dict):
        return set()
    return {sha256 for sha256 in (noted.get("sha256"), noted.get("before")) if isinstance(sha256, str)}


# -- strangers under our names -------------------------------------------------------------------------------


def set_aside_strangers(station: Station, run: StagedRun, record: Ingest | None) -> None:
    """Rename what bears the name of our log or checksum list but is not what we wrote; it is data (lifecycle.md, 1).

    Without a record (a new life) nothing there is ours.
    """
    with staging_errors("removing our temporary files"):
        remove_own(run.place, temporary_names(station.state, station.log_host, run.run_path))
    noted = _noted(station.journal.run(run.run_path)) if record is not None else {}
    lists = noted_lists(station, run.run_path) if record is not None else set()
    tests: dict[str, Callable[[Place, str, Ingest], bool]] = {
        log_name(station.log_host): lambda folder, name, _: _is_our_log(folder, name, noted.get("log")),
        CHECKSUMS_NAME: lambda folder, name, sealed: _begins(folder, name) in lists | _sealed_lists(sealed),
    }
    folder = run.place.below(OUR_FOLDER)
    for name, is_ours in tests.items():
        with staging_errors("looking at our own files"):
            is_strange = exists(folder, name) and (record is None or not is_ours(folder, name, record))
        if is_strange:
            set_aside(run, name)


def set_unknown_list_aside(station: Station, run: StagedRun) -> None:
    """Rename a checksum list that neither journal nor ledger knows, beside a record that is gone already."""
    known = noted_lists(station, run.run_path) | station.ledger.lists_of(run.run_path)
    content = read_list(run)
    if content is not None and sha256_of(content) not in known:
        set_aside(run, CHECKSUMS_NAME)


def _content(folder: Place, name: str) -> bytes | None:
    """The content of a plain file; None where something else, or far too much, has its name."""
    try:
        found = read_small(folder, name, _LIMIT)
    except OSError as error:
        if error.errno in _NO_PLAIN_FILE:
            return None
        raise
    return None if found is None else found[0]


def _begins(folder: Place, name: str, size: int | None = None) -> str | None:
    """SHA-256 of the first ``size`` bytes of a plain file, or of all; None where it has fewer or is no such file.

    It may be a pushed file of any size, so it is never read whole.
    """
    try:
        with opened(open_folder(folder)) as parent, opened(open_file(parent, name.encode())) as descriptor:
            wanted = os.fstat(descriptor).st_size if size is None else size
            digest, done = hash_up_to(descriptor, wanted, lambda _: None)
    except OSError as error:
        if error.errno in _NO_PLAIN_FILE:
            return None
        raise
    return digest.hexdigest() if done == wanted else None


def _is_our_log(folder: Place, name: str, noted: object) -> bool:
    """Ours is what we noted, or grew from it: a crash may come between a line and its note."""
    if not isinstance(noted, dict):
        return _begins(folder, name) is not None
    return bool(_begins(folder, name, cast("int", noted["size"])) == noted["sha256"])


def _sealed_lists(record: Ingest) -> set[str]:
    return {entry.text("checksum_sha256") or "" for entry in record.history}


def set_aside(run: StagedRun, name: str) -> None:
    """Rename a pushed file that bears one of our names to ``pushed-<n>-<name>``, where it is data."""
    folder = run.place.below(OUR_FOLDER)
    with staging_errors(f"setting a pushed {name} aside"):
        for number in range(1, _CLAIMS_LIMIT):
            if not exists(folder, f"pushed-{number}-{name}"):
                move(folder, name, folder, f"pushed-{number}-{name}")
                return
    raise RunProblem(
        f"More than {_CLAIMS_LIMIT} pushed files called {name} were set aside.", hint="Look what pushes them."
    )


def set_record_aside(run: StagedRun) -> None:
    """Rename a record that is a claim and no evidence."""
    set_aside(run, RECORD_NAME)


# -- notes ---------------------------------------------------------------------------------------------------


def _noted(known: JournalRun | None) -> dict[str, object]:
    return {} if known is None or known.own is None else cast("dict[str, object]", json.loads(known.own))


def _note(station: Station, run_path: str, **what: Mapping[str, object]) -> None:
    known = station.journal.run(run_path)
    if known is not None:
        station.journal.save(replace(known, own=json.dumps({**_noted(known), **what})))
