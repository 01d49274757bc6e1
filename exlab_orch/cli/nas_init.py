"""The verb ``nas-init``: mark a NAS, and note its id in the configuration."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from shlex import quote
from typing import Final

import click

from exlab_orch.access import lacks_rights
from exlab_orch.cli import output
from exlab_orch.cli.call import Call
from exlab_orch.cli.documents import Document, document
from exlab_orch.cli.frame import Verb
from exlab_orch.cli.setup_words import distinct_nas
from exlab_orch.config import Config
from exlab_orch.config_file import require_writable, set_marker_id
from exlab_orch.config_nas import AnyNas, MountNas
from exlab_orch.errors import ConfigInvalid, ExlabError, NasWrongMarker, WrongUser
from exlab_orch.hints import SAME_COMMAND
from exlab_orch.staging import require_root
from exlab_orch.state import owner_name
from exlab_orch.text import printable
from exlab_orch.transports import existing_marker, mark

_WIDE: Final = 4000
"""Paths that are to be pasted are shown whole."""


@click.command(
    "nas-init", cls=Verb, writes=True, examples=["exlab-orch nas-init", "exlab-orch nas-init --root /mnt/nas/lab"]
)
@click.option("--root", metavar="NAS", help="Only this one: its root, REMOTE:PATH, or USER@HOST:PATH.")
@click.pass_obj
def nas_init(call: Call, root: str | None) -> None:
    """Write the marker file .exlab-nas to the NAS and put its id into the configuration.

    A marker that is there is adopted and never replaced. One of type "mount" must be mounted. Running it again changes
    nothing.
    """
    config = call.config
    require_root(config.orchestrator.staging_root)
    marked = [_mark(call, config, nas) for nas in _chosen_nas(config, root)]
    if call.settings.json:
        output.print_json(document(dry_run=call.settings.dry_run, nas=marked))


def _chosen_nas(config: Config, root: str | None) -> tuple[AnyNas, ...]:
    known = distinct_nas(config)
    wanted = os.path.normpath(root) if root and root.startswith("/") else root
    chosen = tuple(nas for nas in known if wanted is None or nas.name == wanted)
    if not chosen:
        roots = ", ".join(printable(nas.name, _WIDE) for nas in known)
        raise ConfigInvalid(
            f"The configuration has no NAS{f' with the root {printable(root, _WIDE)}' if root else ''}.",
            hint=f"It has: {roots}" if roots else "Add a [nas] table with its root.",
        )
    return chosen


def _mark(call: Call, config: Config, nas: AnyNas) -> Document:
    staging_root = config.orchestrator.staging_root
    with _right_user(config, nas):
        marker_id = existing_marker(nas, staging_root)
    _require_agreement(nas, marker_id)
    adopted = marker_id is not None
    if call.settings.dry_run:
        require_writable(call.config_path)
    else:
        call.changing = True
        with _right_user(config, nas):
            made = mark(nas, staging_root)
        marker_id, adopted = made.marker_id, made.adopted
        _note_marker(call, nas, marker_id)
    if not call.settings.json:
        call.say(_marked_words(call, nas, adopted=adopted))
    return {"root": nas.name, "marker_id": marker_id, "adopted": adopted}


@contextmanager
def _right_user(config: Config, nas: AnyNas) -> Iterator[None]:
    """Where this user may not read or write the NAS, say who may: another user of this computer, or another account."""
    try:
        yield
    except ExlabError as error:
        if isinstance(error, WrongUser) or not lacks_rights(error):
            raise
        other = _other_user(config) if isinstance(nas, MountNas) else None
        raise WrongUser(
            error.message, hint=error.hint if other is None else f"Run it as a user that may: {other} {SAME_COMMAND}"
        ) from error


def _other_user(config: Config) -> str | None:
    """How a mounted NAS that is closed to this user may be reached: as root, and from root as the service user.

    Root may be nobody on the NAS (root_squash).
    """
    if os.geteuid() != 0:
        return "sudo"
    user = service_user(config.orchestrator.state_dir)
    return None if user is None else f"sudo -u {quote(user)}"


def service_user(state_dir: str) -> str | None:
    """Who owns the state directory, where it is there and that is another user, with a name."""
    is_others = os.path.isdir(state_dir) and os.stat(state_dir).st_uid != os.geteuid()
    return owner_name(state_dir) if is_others else None


def _require_agreement(nas: AnyNas, found: str | None) -> None:
    """Refuse to give a NAS another id than the configured one: it may be the wrong NAS."""
    if nas.marker_id is None or found == nas.marker_id:
        return
    carries = "no marker" if found is None else f"the marker {printable(found)}"
    raise NasWrongMarker(
        f"The NAS at {printable(nas.name, _WIDE)} carries {carries}, but marker_id is {printable(nas.marker_id)}.",
        hint="Another NAS may be mounted there. If it is the right one, empty marker_id in the configuration first.",
    )


def _note_marker(call: Call, nas: AnyNas, marker_id: str) -> None:
    try:
        set_marker_id(call.config_path, nas.name, marker_id)
    except ExlabError as error:
        kind = WrongUser if isinstance(error, WrongUser) else ConfigInvalid
        line = f'marker_id = "{printable(marker_id)}"'
        raise kind(
            f"The NAS at {printable(nas.name, _WIDE)} is marked, but the configuration lacks its id: {error.message}",
            hint=f"Put {line} into its table, or run it again as a user that may write the configuration: "
            f"exlab-orch nas-init",
        ) from error


def _marked_words(call: Call, nas: AnyNas, *, adopted: bool) -> str:
    root, file = printable(nas.name, _WIDE), printable(call.config_path, _WIDE)
    if nas.marker_id is not None:
        return f"The NAS at {root} is marked already and {file} has its id; nothing to do."
    if call.settings.dry_run:
        plan = "adopt the marker of" if adopted else "write the marker .exlab-nas to"
        return f"Dry run, nothing was written. It would {plan} {root} and put its id into {file}."
    return f"The NAS at {root} {'was marked before' if adopted else 'is marked now'}; its id is in {file}."
