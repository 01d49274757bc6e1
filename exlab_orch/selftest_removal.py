"""How what a self-test made is removed again: on the NAS by list and content, in staging and state by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from exlab_orch.config import Config, Equipment, StagingCleanup
from exlab_orch.config_nas import AnyNas, MountNas
from exlab_orch.errors import staging_errors, state_errors
from exlab_orch.files import discard_unfinished
from exlab_orch.files.delete import (
    PART_PREFIX,
    name_before_aside,
    remove_empty_folders,
    remove_folder_chain,
    remove_own,
)
from exlab_orch.files.walk import walk
from exlab_orch.madeup import EQUIPMENT_ID, SENTINEL, Plan, plan_file, plans_folder
from exlab_orch.model import CHECKSUMS_NAME, OUR_FOLDER, RECORD_NAME, Listing, Place, log_name
from exlab_orch.pace import Pace
from exlab_orch.staging import OURS, TRASH
from exlab_orch.state import StateDirectory, open_state
from exlab_orch.station import Station
from exlab_orch.transports import Transport, open_transport
from exlab_orch.transports.marker import MARKER

_IN_PART: Final = OUR_FOLDER.encode()
"""The private NAS is this folder of our hidden folder: the one in which we write small files."""
_STATE_NAMES: Final = re.compile(
    rb"journal\.sqlite3(-wal|-shm|-journal)?|seal\.key|ledger\.jsonl|exlab-orch\.log|ssh-[0-9a-f]{8}(\.[A-Za-z0-9]+)?"
    rb"|locks/[0-9a-f]{32}\.(run|record|probe|slot\d+)|progress/[0-9a-f]{32}\.json"
)


# -- the private orchestrator --------------------------------------------------------------------------------


def staging_place(config: Config, plan: Plan) -> Place:
    """The private staging root: in our own folder of the real one, so on the same disk, and taken for no equipment."""
    return Place(config.orchestrator.staging_root, f"{OURS}/selftest/{plan.id}")


def state_place(config: Config, plan: Plan) -> Place:
    """The private state directory."""
    return Place(config.orchestrator.state_dir, f"selftest/{plan.id}")


def private_nas(nas: AnyNas, plan: Plan) -> AnyNas:
    """The same NAS, its root in a hidden folder that is the self-test's alone."""
    below = f"{PART_PREFIX}{plan.hidden_key}/{OUR_FOLDER}"
    if isinstance(nas, MountNas):
        return nas.model_copy(update={"root": f"{nas.root.rstrip('/')}/{below}", "marker_id": plan.marker_id})
    path = f"{nas.path.rstrip('/')}/{below}" if nas.path else below
    return nas.model_copy(update={"path": path, "marker_id": plan.marker_id})


def private_config(config: Config, nas: AnyNas, plan: Plan, *, share: int) -> Config:
    """The configuration of an orchestrator that knows the self-test alone; ``share`` copies share its speed limit."""
    limit = config.sync.upload_mbps
    equipment = Equipment.model_validate(
        {
            "id": EQUIPMENT_ID,
            "completeness_signal": "sentinel_file",
            "sentinel_filename": SENTINEL.decode(),
            "settle_seconds": 0,
        }
    )
    folders = {
        "staging_root": staging_place(config, plan).absolute,
        "state_dir": state_place(config, plan).absolute,
        "staging_cleanup": StagingCleanup.model_validate({}),
    }
    return config.model_copy(
        update={
            "orchestrator": config.orchestrator.model_copy(update=folders),
            "nas": private_nas(nas, plan),
            "sync": config.sync.model_copy(update={"upload_mbps": None if limit is None else limit / max(share, 1)}),
            "equipment": (equipment,),
        }
    )


# -- on the NAS ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MadeUpProof:
    """What of our hidden folder on the NAS the self-test made; ``prove_made_up`` alone makes one."""

    key: str
    files: tuple[bytes, ...]
    folders: tuple[bytes, ...]
    byte_total: int
    others: tuple[bytes, ...]
    """What is not the self-test's: it stays."""


def remove_from_nas(station: Station, nas: Transport, plan: Plan) -> MadeUpProof:
    """Remove from the NAS what the self-test made, file by file, and its folders when they are empty.

    Raises:
        NasFault: it is not there; nothing was removed.
        RunProblem: something could not be read or removed.
    """
    nas.check()
    _remove_unfinished(station, nas, plan)
    proof = prove_made_up(station, nas, plan)
    _remove_proved(nas, proof)
    return proof


def _remove_unfinished(station: Station, nas: Transport, plan: Plan) -> None:
    """The hidden folders of the private run, in which nothing was published yet."""
    nas.discard_temporary(plan.hidden_key)
    listing = nas.listing(plan.hidden_key, "part")
    if listing is None or _IN_PART not in listing.folders:
        return
    state = open_state(state_place(station.config, plan).absolute, changing=True)
    inner = _private_transport(station, nas, plan, state)
    inner.refuse_names(plan.run_path, Listing({}, {}))  # removes what a trial of names left
    inner.drop_part(plan.run_path)
    inner.discard_temporary(plan.run_path)


def _private_transport(station: Station, nas: Transport, plan: Plan, state: StateDirectory) -> Transport:
    found = next(one for one in known_nas(station.config) if one.name == nas.name)
    pace = Pace(station.config.sync, station.now, lambda: 1)
    return open_transport(private_nas(found, plan), station.staging_root, state, station.log_host, pace)


def known_nas(config: Config) -> list[AnyNas]:
    """Every configured NAS once."""
    every = [config.nas, *(config.nas_for(equipment.id) for equipment in config.equipment)]
    return list({nas.name: nas for nas in every if nas is not None}.values())


def prove_made_up(station: Station, nas: Transport, plan: Plan) -> MadeUpProof:
    """Read back every file of our hidden folder that has a name of the run: only what holds what we made is ours."""
    listing = nas.listing(plan.hidden_key, "part") or Listing({}, {})
    run = _IN_PART + b"/" + plan.run_path.encode()
    data = {run + b"/" + name: one.sha256 for name, one in plan.files.items()}
    wanted = [name for name in listing.files if name in data]
    read = nas.read_back(plan.hidden_key, "part", wanted, lambda _: None) if wanted else []
    ours = {one.name for one in read if one.sha256 == data[one.name]}
    ours |= listing.files.keys() & _small_files(station, plan, run)
    return _split(plan, listing, ours, {run, *(run + b"/" + name for name in plan.folders())})


def _small_files(station: Station, plan: Plan, run: bytes) -> set[bytes]:
    """The marker, and the record, checksum list and log that the mirror wrote."""
    names = (RECORD_NAME, CHECKSUMS_NAME, log_name(station.log_host))
    marker = (MARKER, station.state.temporary_name(plan.hidden_key, MARKER))
    own = {run + b"/" + _IN_PART + b"/" + name.encode() for name in names}
    return own | {_IN_PART + b"/" + name.encode() for name in marker}


def _split(plan: Plan, listing: Listing, ours: set[bytes], made: set[bytes]) -> MadeUpProof:
    """What is ours, and what is not; a folder that holds something of others stays."""
    made |= {above for name in made for above in _above(name)}
    made |= {name + b"/" + _IN_PART for name in made if name.endswith(plan.run_path.encode())}
    others = (listing.files.keys() - ours) | listing.special.keys() | (listing.folders.keys() - made)
    kept = {above for name in others for above in _above(name)}
    folders = listing.folders.keys() & made - kept
    byte_total = sum(listing.files[name].size for name in ours)
    return MadeUpProof(plan.hidden_key, tuple(sorted(ours)), tuple(sorted(folders)), byte_total, tuple(sorted(others)))


def _above(name: bytes) -> Iterator[bytes]:
    return (part for part in accumulate(name.split(b"/")[:-1], lambda one, other: one + b"/" + other))


def _remove_proved(nas: Transport, proof: MadeUpProof) -> None:
    if proof.files or proof.folders:
        nas.drop_part_entries(proof.key, proof.files, proof.folders)
    if not proof.others:
        nas.drop_empty_part(proof.key)


# -- here ----------------------------------------------------------------------------------------------------


def remove_from_staging(station: Station, plan: Plan) -> tuple[bytes, ...]:
    """Remove the private staging folder; what the self-test did not make stays, and is returned."""
    place = staging_place(station.config, plan)
    with staging_errors("removing the self-test"):
        discard_unfinished(f"{place.absolute}/{OURS}/owner.json")
        try:
            listing = walk(place)
        except FileNotFoundError:
            return ()
        ours = {name for name in listing.files if _is_made_up(plan, name)}
        return _remove_here(place, listing, ours, stop=OURS)


def _is_made_up(plan: Plan, name: bytes) -> bool:
    """By its name in the run, staged or in the trash, also where a delete was interrupted."""
    if name == f"{OURS}/owner.json".encode():
        return True
    run = plan.run_path.encode()
    before, found, inner = name.partition(run + b"/")
    if not found or not (not before or re.fullmatch(re.escape(TRASH.encode()) + rb"/[^/]+/", before)):
        return False
    before_aside = name_before_aside(inner)
    return inner in plan.files or before_aside in plan.files or inner.startswith(_IN_PART + b"/")


def remove_from_state(station: Station, plan: Plan) -> tuple[bytes, ...]:
    """Remove the private state directory, and the plan last of all."""
    place = state_place(station.config, plan)
    with state_errors(place.absolute):
        discard_unfinished(f"{place.absolute}/seal.key")
        try:
            listing = walk(place)
        except FileNotFoundError:
            listing = None
        kept = () if listing is None else _remove_here(place, listing, _state_files(listing), stop="selftest")
        if not kept:
            file = plan_file(station.state.path, plan.id).removeprefix(f"{plans_folder(station.state.path)}/")
            remove_own(place.parent, [file.encode()])
            remove_folder_chain(place.parent, "")
        return kept


def _state_files(listing: Listing) -> set[bytes]:
    return {name for name in (*listing.files, *listing.special) if _STATE_NAMES.fullmatch(name)}


def _remove_here(place: Place, listing: Listing, ours: Iterable[bytes], *, stop: str) -> tuple[bytes, ...]:
    mine = set(ours)
    remove_own(place, mine)
    remove_empty_folders(place, listing.folders)
    remove_folder_chain(place, stop)
    return tuple(sorted({*listing.files, *listing.special} - mine))
