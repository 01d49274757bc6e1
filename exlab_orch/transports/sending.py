"""What every transport does that lets another program move the bytes: hash what is staged, judge what came back."""

from __future__ import annotations

from exlab_orch.errors import staging_errors
from exlab_orch.files.copy import Copied
from exlab_orch.files.hashing import OnBytes, changed, hash_staged
from exlab_orch.files.places import open_folder, opened
from exlab_orch.model import Identity, StagedRun
from exlab_orch.transports import ReadBack


def hash_as_walked(run: StagedRun, name: bytes, identity: Identity, on_bytes: OnBytes) -> str:
    """SHA-256 of a staged file, which is still the one that the walk saw; its bytes are not counted.

    Raises:
        ChangedWhileCopied: it is another one.
    """
    with staging_errors("opening the run folder"):
        folder = open_folder(run.place)
    with opened(folder):
        found, sha256 = hash_staged(folder, name, lambda _: on_bytes(0))
    if found != identity:
        raise changed(name)
    return sha256


def copied(name: bytes, identity: Identity, sha256: str, found: ReadBack) -> Copied:
    """A file that is not there after it was sent counts as one that came back differently."""
    return Copied(name, identity, sha256, found.stamp or Identity(0, 0, 0, 0), found.sha256 or "")
