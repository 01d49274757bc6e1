"""creation.json: what the equipment says about a run; pushed data that may be absent, late, partial or wrong."""

from __future__ import annotations

import errno
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from exlab_orch.errors import CreationMismatch, staging_errors
from exlab_orch.files.places import read_small
from exlab_orch.model import CREATION_NAME, OUR_FOLDER, Place, StagedRun

_LIMIT: Final = 4 << 20
_LONGEST_NAME: Final = 1000
"""Characters of a project's name: what is longer would make a record that is too large to be read again."""
_NO_PLAIN_FILE: Final = frozenset({errno.ELOOP, errno.EFBIG, errno.EXDEV, errno.ENXIO})
"""A folder, link, FIFO, mount or socket of that name, or far too much: what it is, is told before the run is copied."""


class LimsProject(BaseModel):
    """The project as the laboratory's information system named it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name_at_creation: str | None = None
    short_id: str | None = None


class CreationSnapshot(BaseModel):
    """The fields of ``creation.json`` that matter here; others are kept and ignored."""

    model_config = ConfigDict(frozen=True, extra="allow")

    run_kind: str | None = None
    equipment_id: str | None = None
    lims_project: LimsProject | None = None


def read_creation(folder: Place) -> CreationSnapshot | None:
    """What ``creation.json`` of a run folder says, or None where it is absent, not (yet) whole, or no such file at all.

    Raises:
        RunProblem: it may not be read.
    """
    with staging_errors("reading creation.json"):
        try:
            found = read_small(folder.below(OUR_FOLDER), CREATION_NAME, _LIMIT)
        except OSError as error:
            if error.errno not in _NO_PLAIN_FILE:
                raise
            return None
    if found is None:
        return None
    try:
        return CreationSnapshot.model_validate_json(found[0])
    except ValidationError:
        return None


def human_project_name(snapshot: CreationSnapshot | None, folder_name: str) -> str:
    """The project's name for people: the name at creation, else the short id, else the folder's name."""
    project = None if snapshot is None else snapshot.lims_project
    if project is None:
        return folder_name
    return (project.name_at_creation or project.short_id or folder_name)[:_LONGEST_NAME]


def require_agreement(snapshot: CreationSnapshot | None, run: StagedRun) -> None:
    """Raise CreationMismatch when ``creation.json`` contradicts the path; the path decides (lifecycle.md, 2)."""
    if snapshot is None:
        return
    for field, said, path in (
        ("equipment_id", snapshot.equipment_id, run.equipment_id),
        ("run_kind", snapshot.run_kind, run.run_kind),
    ):
        if said is not None and said != path:
            raise CreationMismatch(
                f"creation.json says {field} {said[:80]!r}, but the folder says {path!r}.",
                hint="The run was pushed to the wrong place, or its creation.json is another run's. Move or mend it.",
            )
