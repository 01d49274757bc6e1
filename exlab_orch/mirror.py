"""The NAS copies of the record, the log and the checksum list: kept up to date, never over somebody else's."""

from __future__ import annotations

from collections.abc import Callable, Collection

from exlab_orch.checksums import sha256_of
from exlab_orch.errors import ExlabError, RunProblem
from exlab_orch.model import CHECKSUMS_NAME, OUR_FOLDER, RECORD_NAME, Ingest, IngestState, StagedRun, log_name
from exlab_orch.ownfiles import noted_lists, read_list, read_log
from exlab_orch.records import parse_record, render_record
from exlab_orch.station import Station
from exlab_orch.transports import Transport


def mirror(station: Station, run: StagedRun, record: Ingest) -> None:
    """Bring the NAS copies of a published run's record, log and checksum list up to date.

    A record there that is no prefix of ours, and a log that ours does not continue, move to ``superseded`` first.

    Raises:
        ExlabError: the NAS did not take them.
    """
    transport = station.nas_of(run)
    transport.check()
    transport.discard_temporary(run.run_path)
    checksums = read_list(run)
    if checksums is not None and _is_sealed_list(record, checksums):
        put_checksums(station, transport, run, checksums, noted_lists(station, run.run_path))
    put_record(station, transport, run, record)
    log = read_log(run, station.log_host)
    if log is not None:
        _put(station, transport, run, log_name(station.log_host), log, ours=log.startswith)
    station.journal.end_order(run.run_path, "mirror")


def _is_sealed_list(record: Ingest, content: bytes) -> bool:
    entry = record.last(IngestState.SYNC_VERIFIED)
    return entry is not None and entry.text("checksum_sha256") == sha256_of(content)


def mirror_or_remember(station: Station, run: StagedRun, record: Ingest) -> None:
    """Like ``mirror``, but a failure is only remembered for the next pass: it never un-proves (lifecycle.md, 5)."""
    station.journal.give_order(run.run_path, "mirror", {})
    try:
        mirror(station, run, record)
    except ExlabError as error:
        text = f"The NAS copy of the record could not be brought up to date: {error.message}"
        station.set_problems(
            run.run_path, "mirror", [station.problem(run.run_path, error.code, text, error.hint, error.files)]
        )
    else:
        station.set_problems(run.run_path, "mirror", [])


def put_record(station: Station, transport: Transport, run: StagedRun, record: Ingest) -> None:
    """Write the record beside the published data."""

    def is_ours(content: bytes) -> bool:
        try:
            return record.starts_with(parse_record(content))
        except RunProblem:
            return False

    _put(station, transport, run, RECORD_NAME, render_record(record), ours=is_ours)


def put_checksums(
    station: Station, transport: Transport, run: StagedRun, content: bytes, known: Collection[str]
) -> None:
    """Write the checksum list beside the published data; one that is none of the ``known`` lists of ours is kept."""
    lists = {*known, sha256_of(content)}
    _put(station, transport, run, CHECKSUMS_NAME, content, ours=lambda found: sha256_of(found) in lists)


def _put(
    station: Station,
    transport: Transport,
    run: StagedRun,
    name: str,
    content: bytes,
    *,
    ours: Callable[[bytes], bool],
) -> None:
    """Replace one of our own files on the NAS; what stands there and is not ``ours`` is superseded, not overwritten."""
    found = transport.read_small(run.run_path, "published", name)
    if found == content:
        return
    if found is not None and not ours(found):
        transport.supersede(run.run_path, f"{OUR_FOLDER}/{name}".encode(), station.now())
    transport.put_small(run.run_path, "published", name, content)
