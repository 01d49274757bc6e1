"""A lab whose NAS is reached in each of the ways there are; every test of this folder holds for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.far import DiskNas, FarLab, MemoryLab
from tests.contract.servers import rclone_program, serving
from tests.contract.servers_ssh import ssh_server
from tests.lab import Lab
from tests.oracle import require_program
from tests.transports.memory import MemoryNas

RCLONE = ("rclone-sftp", "rclone-s3", "rclone-webdav", "rclone-smb", "rclone-local")
KINDS = ("memory", "memory-in-place", "mount", "rsync-ssh", *RCLONE)
BY_DEFAULT, WITH_PROGRAMS = KINDS[:3], KINDS[3:5]
"""What is tried without ``-m slow``; a test marked ``programs_too`` tries more, one marked ``every_kind`` them all."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the kinds that differ least to ``-m slow``."""
    for item in items:
        called = getattr(item, "callspec", None)
        kind = "" if called is None else called.params.get("far", "")
        programs = item.get_closest_marker("programs_too")
        tried = BY_DEFAULT if programs is None else (*BY_DEFAULT, *(programs.args or WITH_PROGRAMS))
        if kind and kind not in tried and item.get_closest_marker("every_kind") is None:
            item.add_marker(pytest.mark.slow)


def rclone_table(root: Path, path: str) -> str:
    """``[nas]`` for the remote that ``serving`` configured."""
    return (
        f'type = "rclone"\nremote = "lab"\npath = "{path}"\nconfig = "{root}/rclone.conf"\n'
        f'rclone_path = "{rclone_program()}"\nstall_seconds = 20\n'
    )


@pytest.fixture(params=KINDS)
def far(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[FarLab]:
    """A lab with a NAS of each kind, its server running."""
    kind: str = request.param
    if kind.startswith("memory"):
        nas = MemoryNas(in_place=kind == "memory-in-place")
        monkeypatch.setattr("exlab_orch.station.open_transport", lambda *_: nas)
        yield MemoryLab(Lab(tmp_path / "lab"), kind, None, nas)
        return
    if kind == "mount":
        yield DiskNas(Lab(tmp_path / "lab"), kind, None)
        return
    if kind == "rsync-ssh":
        require_program("rsync")
        short = tmp_path_factory.mktemp("s")  # the path of a socket must not be long
        with ssh_server(short / "ssh") as sshd:
            lab = Lab(short / "lab", nas_table=sshd.nas_table(short / "far"), nas_folder=short / "far")
            yield DiskNas(lab, kind, sshd)
        return
    served, private = tmp_path / "far", tmp_path / "server"
    for folder in (served / "archive", private):
        folder.mkdir(parents=True)
    with serving(kind.removeprefix("rclone-"), served, private) as server:
        lab = Lab(tmp_path / "lab", nas_table=rclone_table(private, server.path), nas_folder=served / "archive")
        yield DiskNas(lab, kind, server)
