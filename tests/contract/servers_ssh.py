"""A real sshd on loopback with a host key and a user key of its own, which tests kill, stop, limit and disguise."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.oracle import require_program

HOST = "127.0.0.1"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def account() -> str:
    """The user that the tests run as: an sshd without root lets in that one alone."""
    return pwd.getpwuid(os.geteuid()).pw_name


def make_key(path: Path) -> Path:
    """A new key pair; returns the private one."""
    program = require_program("ssh-keygen")
    for old in (path, path.with_name(f"{path.name}.pub")):
        old.unlink(missing_ok=True)
    subprocess.run([program, "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(path)], check=True, timeout=30)
    return path


@dataclass
class SshServer:
    """One sshd; ``root`` holds its keys and configuration."""

    root: Path
    port: int = field(default_factory=free_port)
    options: str = ""
    """Further lines of sshd_config, such as a ForceCommand."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of what it runs. The home folder is an own one: start-up files of whoever runs the tests play no part."""
    lacks: str = ""
    """What its far side does not have."""
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.host_key = make_key(self.root / "host_key")
        self.key = make_key(self.root / "user_key")
        self.authorized = self.root / "authorized_keys"
        self.authorized.write_text(self.key.with_suffix(".pub").read_text())
        self.known_hosts = self.root / "known_hosts"
        self.know_host()

    @property
    def log(self) -> Path:
        return self.root / "sshd.log"

    @property
    def target(self) -> str:
        return f"{account()}@{HOST}"

    def know_host(self) -> None:
        """Write the host key as it is now into the known hosts."""
        kind, value, *_ = self.host_key.with_suffix(".pub").read_text().split()
        self.known_hosts.write_text(f"[{HOST}]:{self.port} {kind} {value}\n")

    def nas_table(self, folder: Path, **changed: object) -> str:
        """``[nas]`` for a folder of this computer behind the server."""
        keys: dict[str, object] = {
            "type": "rsync_ssh",
            "target": self.target,
            "path": str(folder),
            "ssh_key_path": str(self.key),
            "known_hosts": str(self.known_hosts),
            "port": self.port,
            "stall_seconds": 20,
        }
        shown = {**keys, **changed}
        return "".join(f"{key} = {value!r}\n" for key, value in shown.items())

    def configure(self) -> Path:
        path = self.root / "sshd_config"
        given = " ".join(f'{name}="{value}"' for name, value in {"HOME": self.root, **self.environment}.items())
        path.write_text(
            f"Port {self.port}\nListenAddress {HOST}\nHostKey {self.host_key}\nPidFile none\n"
            f"AuthorizedKeysFile {self.authorized}\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPrintMotd no\nMaxStartups 100\nUseDNS no\n"
            f"SetEnv {given}\n{self.options}\n"
        )
        return path

    def start(self) -> None:
        """Start it and wait until it listens."""
        program = require_program("sshd")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it shuts in the part that talks to strangers
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [program, "-D", "-e", "-f", str(self.configure())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        for _ in range(200):
            assert self.process.poll() is None, self.log.read_text()
            if self.greets():
                return
            time.sleep(0.025)
        raise AssertionError(f"nobody listens: {self.log.read_text()}")

    def greets(self) -> bool:
        """Whether an ssh server answers; a connection alone may be one to ourselves, from a port of the same number."""
        with socket.socket() as probe, suppress(OSError):
            probe.settimeout(5)
            probe.connect((HOST, self.port))
            return probe.recv(4) == b"SSH-"
        return False

    def sessions(self) -> list[int]:
        """The processes below the server: its sessions and what they run."""
        return [] if self.process is None else descendants(self.process.pid)

    def kill(self) -> None:
        """Let it die with everything it runs, as in a power cut."""
        if self.process is not None:
            for pid in [*self.sessions(), self.process.pid]:
                send_signal(pid, signal.SIGKILL)
            self.process.wait(10)
            self.process = None

    def freeze(self) -> list[int]:
        """Stop it and its sessions: connections stay open and nobody answers. Returns who was stopped."""
        assert self.process is not None
        pids = [self.process.pid, *self.sessions()]
        for pid in pids:
            send_signal(pid, signal.SIGSTOP)
        return pids

    def __enter__(self) -> SshServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def send_signal(pid: int, number: signal.Signals) -> None:
    """To a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def descendants(pid: int) -> list[int]:
    """The children of a process, and theirs."""
    parents = {int(one.name): parent for one in Path("/proc").glob("[0-9]*") if (parent := _parent(one)) is not None}
    below, above = list[int](), {pid}
    while above:
        above = {child for child, parent in parents.items() if parent in above}
        below += above
    return below


def _parent(process: Path) -> int | None:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None  # it ended meanwhile


@contextmanager
def ssh_server(root: Path, **settings: object) -> Iterator[SshServer]:
    """A running server whose keys are in ``root``."""
    server = SshServer(root, **settings)  # type: ignore[arg-type]
    with server:
        yield server


def tools_without(root: Path, *missing: str) -> str:
    """A folder with links to the programs of a far side, some of them missing; to be its PATH."""
    names = ("sh", "cat", "ls", "mkdir", "rm", "rmdir", "mv", "wc", "sync", "touch", "df", "dd", "xargs", "find")
    folder = root / "bin"
    folder.mkdir(exist_ok=True)
    for name in (*names, "sha256sum", "rsync", "sleep", "env"):
        if name not in missing:
            (folder / name).symlink_to(require_program(name))
    return str(folder)
