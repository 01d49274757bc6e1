"""What the set-up verbs say about a configuration: how equipment signals, and what cannot work yet."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from exlab_orch.access import lacks_rights
from exlab_orch.text import count, duration, printable

if TYPE_CHECKING:
    from exlab_orch.config import Config, Equipment
    from exlab_orch.config_nas import AnyNas

SIGNAL_KEYS: Final = {
    "sentinel_filename": "sentinel_file",
    "manifest_filename": "manifest",
    "quiet_minutes": "quiet_period",
}
"""Keys of an equipment that matter for one signal only."""


def command(config: str | None, rest: str) -> str:
    """A command ready to be pasted, with the configuration file that was named on this command line."""
    named = f"-c {shlex.quote(config)} " if config else ""
    return f"exlab-orch {named}{rest}"


def signal_words(equipment: Equipment) -> str:
    """When a run of this equipment is finished: "run_complete is there and nothing changed for 2 min"."""
    settled = f" and nothing changed for {duration(equipment.settle_seconds)}" if equipment.settle_seconds else ""
    if equipment.completeness_signal == "quiet_period":
        return f"nothing changed for {duration(equipment.quiet_seconds)}"
    if equipment.completeness_signal == "manifest":
        return f"every file in {printable(equipment.manifest_filename)} is there{settled}"
    verb = "are" if len(equipment.sentinels) > 1 else "is"
    return f"{' and '.join(map(printable, equipment.sentinels))} {verb} there{settled}"


def summary(config: Config) -> str:
    """A valid configuration in a few words: "2 instruments, staging /srv/staging, NAS /mnt/nas/lab"."""
    roots = ", ".join(printable(nas.name, 1000) for nas in distinct_nas(config)) or "none"
    staging = printable(config.orchestrator.staging_root, 1000)
    return f"{count(len(config.equipment), 'instrument')}, staging {staging}, NAS {roots}"


def distinct_nas(config: Config) -> tuple[AnyNas, ...]:
    """Every NAS of the configuration once, ``[nas]`` first."""
    own = [equipment.nas for equipment in config.equipment]
    return tuple({nas.name: nas for nas in [config.nas, *own] if nas is not None}.values())


def not_usable_yet(config: Config, file: str | None) -> Iterator[str]:
    """What a valid configuration still lacks before runs are copied, or says without effect; each with what to do."""
    if not config.orchestrator.enabled:
        yield "orchestrator.enabled is false: every command that would touch staging refuses. Set it to true to go on."
    yield from _not_there_yet(config)
    if not config.equipment:
        add = command(file, "equipment add")
        yield f"There is no equipment yet, so every folder in staging is unknown. Add one: {add}"
    homeless = [equipment.id for equipment in config.equipment if config.nas_for(equipment.id) is None]
    if homeless:
        yield f"Runs of {', '.join(homeless)} have nowhere to go. Add a [nas] table with its root."
    for nas in distinct_nas(config):
        if nas.marker_id is None:
            root = printable(nas.name, 1000)
            yield f"The NAS at {root} has no marker_id, so nothing is copied to it. Run: {command(file, 'nas-init')}"
    yield from _without_group(config)
    yield from _without_effect(config)


def _not_there_yet(config: Config) -> Iterator[str]:
    """Folders that are missing, as before the first set-up; a NAS that hangs is not waited for."""
    from exlab_orch.config_nas import MountNas
    from exlab_orch.errors import NasFault
    from exlab_orch.transports.right_place import probe_root

    staging, state = config.orchestrator.staging_root, config.orchestrator.state_dir
    if _is_missing(staging):
        make = f"sudo install -d -m 2775 -o USER {shlex.quote(staging)}    # USER: who is to run exlab-orch"
        yield f"The staging root {printable(staging, 1000)} is not there yet. Mount its disk, or make it: {make}"
    if _is_missing(os.path.dirname(state)):  # the last folder is made by who runs the first pass
        make = f"sudo install -d -m 755 -o USER {shlex.quote(state)}    # USER: who is to run exlab-orch"
        yield f"The folder of the state directory {printable(state, 1000)} is not there yet. Make it: {make}"
    for nas in distinct_nas(config):
        if isinstance(nas, MountNas):
            try:
                probe_root(nas.root, None)
            except NasFault as error:
                if not lacks_rights(error):  # the service user may well look there
                    yield f"{error.message} {error.hint}"


def _is_missing(folder: str) -> bool:
    """Whether it is not there, as far as this user may look."""
    try:
        return not stat.S_ISDIR(os.stat(folder).st_mode)
    except OSError as error:
        return not isinstance(error, PermissionError)


def _without_group(config: Config) -> Iterator[str]:
    """Groups that what is copied cannot get; who is to copy owns the state directory, once that is there."""
    from exlab_orch.config_nas import MountNas
    from exlab_orch.groups import why_not_given

    try:
        owner = os.stat(config.orchestrator.state_dir).st_uid
    except OSError:
        owner = None
    for nas in distinct_nas(config):
        if isinstance(nas, MountNas) and nas.group is not None:
            yield from (" ".join(found) for found in [why_not_given(nas.group, owner)] if found)


def _without_effect(config: Config) -> Iterator[str]:
    for equipment in config.equipment:
        for key, signal in SIGNAL_KEYS.items():
            if key in equipment.model_fields_set and equipment.completeness_signal != signal:
                yield f'{equipment.id}: {key} has no effect; completeness_signal is "{equipment.completeness_signal}".'
