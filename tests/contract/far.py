"""A lab together with what its NAS holds, looked at and meddled with behind the program's back."""

from __future__ import annotations

import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from exlab_orch.cleanup import clear
from exlab_orch.damage import Verification
from exlab_orch.errors import NasUnreachable
from exlab_orch.journal import Announcement
from exlab_orch.passes import PassReport, run_pass
from exlab_orch.progress import QUIET, Observer
from exlab_orch.trash import Cleared
from exlab_orch.verification import verify
from tests.contract.servers import DIR_CACHE_SECONDS, Server
from tests.contract.servers_ssh import SshServer
from tests.lab import RUN, Lab, tree
from tests.transports.memory import MemoryNas

OURS = ".exlab-wizard/"


@dataclass
class FarLab(ABC):
    """The lab, the kind of its NAS, and the server behind it."""

    lab: Lab
    kind: str
    server: Server | SshServer | None

    @abstractmethod
    def everything(self, run: str = RUN) -> dict[str, bytes | None]:
        """All that the published run holds there: content of files, None for folders."""

    @abstractmethod
    def write(self, name: str, content: bytes, run: str = RUN) -> None:
        """Somebody writes a file there."""

    @abstractmethod
    def delete(self, name: str, run: str = RUN) -> None:
        """Somebody deletes a file there."""

    @abstractmethod
    def stamp(self, name: str, run: str = RUN) -> object:
        """Something that changes when the file is written again."""

    @abstractmethod
    def leftovers(self) -> list[str]:
        """What a finished pass must not leave there."""

    @property
    def has_folders(self) -> bool:
        """Whether a folder without files exists there."""
        return self.kind != "rclone-s3"

    @property
    def by_rclone(self) -> bool:
        return self.kind.startswith("rclone")

    def files(self, run: str = RUN) -> dict[str, bytes]:
        """The data files that people see."""
        found = self.everything(run).items()
        return {name: content for name, content in found if content is not None and not name.startswith(OURS)}

    def set_aside(self, run: str = RUN) -> dict[str, bytes]:
        """Earlier versions of data files that were kept."""
        kept = (name.removeprefix(f"{OURS}superseded/").partition("/")[2] for name in self.everything(run))
        found = zip(kept, self.everything(run).items(), strict=True)
        return {
            short: content
            for short, (name, content) in found
            if content is not None and name.startswith(f"{OURS}superseded/") and not short.startswith(OURS)
        }

    def poll(self, watch: Observer = QUIET) -> PassReport:
        """One pass, in this process."""
        with self.lab.station() as station:
            return run_pass(station, watch=watch)

    def clear(self, run: str = RUN) -> Cleared:
        """What ``clear RUN`` does, in this process."""
        with self.lab.station() as station:
            return clear(station, self.lab.run(run), by="ada", wait_seconds=0)

    def verify(self, run: str = RUN) -> Verification:
        """What ``verify RUN`` does, in this process."""
        with self.lab.station() as station:
            return verify(station, self.lab.run(run), lock_seconds=0, slot_seconds=0)


def codes(report: PassReport) -> list[str]:
    """The codes of problems that were opened in a pass."""
    return [one.problem.code for one in report.announcements if is_opening(one)]


def is_opening(one: Announcement) -> bool:
    return one.kind in ("opened", "changed")


@dataclass
class DiskNas(FarLab):
    """A NAS whose files lie on a disk of this computer, whoever serves them."""

    def everything(self, run: str = RUN) -> dict[str, bytes | None]:
        folder = self.lab.published(run)
        return tree(folder) if folder.exists() else {}

    def write(self, name: str, content: bytes, run: str = RUN) -> None:
        path = self.lab.published(run) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self._let_it_be_seen()

    def delete(self, name: str, run: str = RUN) -> None:
        (self.lab.published(run) / name).unlink()
        self._let_it_be_seen()

    def _let_it_be_seen(self) -> None:
        """What happens behind the back of a server that remembers folders shows a moment later."""
        if self.kind in ("rclone-webdav", "rclone-sftp"):
            time.sleep(DIR_CACHE_SECONDS + 0.05)

    def stamp(self, name: str, run: str = RUN) -> object:
        status = (self.lab.published(run) / name).stat()
        return status.st_ino, status.st_mtime_ns

    def leftovers(self) -> list[str]:
        return [*self.lab.leftovers(), *(str(path) for path in self.lab.nas.rglob("*.partial"))]


@dataclass
class MemoryLab(FarLab):
    """A NAS that is only a dictionary."""

    nas: MemoryNas

    def everything(self, run: str = RUN) -> dict[str, bytes | None]:
        folder = self.nas.areas.get((run, "published"))
        if folder is None:
            return {}
        files = {name.decode(): one.content for name, one in folder.files.items()}
        return {**dict.fromkeys((name.decode() for name in folder.folders), None), **files}

    def write(self, name: str, content: bytes, run: str = RUN) -> None:
        self.nas.somebody_writes(run, name.encode(), content)

    def delete(self, name: str, run: str = RUN) -> None:
        del self.nas.areas[run, "published"].files[name.encode()]

    def stamp(self, name: str, run: str = RUN) -> object:
        return self.nas.areas[run, "published"].files[name.encode()].identity.inode

    def leftovers(self) -> list[str]:
        return [*self.lab.leftovers(), *(f"{run} {area}" for run, area in self.nas.areas if area == "part")]


@contextmanager
def away(far: FarLab) -> Iterator[None]:
    """The server is gone inside the block, and back after it."""
    if isinstance(far, MemoryLab):
        far.nas.fault = NasUnreachable("It is away.")
        yield
        far.nas.fault = None
        return
    hidden = far.lab.nas.with_name("away")
    if far.server is not None and far.server.port:
        far.server.kill()
    else:
        far.lab.nas.rename(hidden)
    yield
    if far.server is not None and far.server.port:
        far.server.start()
    else:
        shutil.rmtree(far.lab.nas, ignore_errors=True)  # rclone makes the folders it is told to write to
        hidden.rename(far.lab.nas)
