"""Real servers on loopback that serve a folder: what a lab's NAS speaks when nobody can mount it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.oracle import require_program

USER, PASSWORD = "lab", "a secret, not a good one"
ACCESS_KEY, SECRET_KEY = "ACCESSKEYOFTHELAB", "SECRETKEYOFTHELAB"
DIR_CACHE_SECONDS = 0.25


def rclone_program() -> str:
    """The rclone of the extra, else of the system; without one the test is skipped, in CI it fails."""
    beside = Path(sys.executable).parent / "rclone"
    return str(beside) if beside.exists() else require_program("rclone")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Server:
    """A server process that can be killed, stopped and started again at the same address."""

    command: list[str]
    port: int
    remote: str
    """The lines of its remote in rclone's configuration."""
    path: str
    """The folder below which runs go, as the remote names it."""
    environment: dict[str, str] = field(default_factory=dict)
    log: Path = Path("/dev/null")
    process: subprocess.Popen[bytes] | None = None
    folder: tempfile.TemporaryDirectory[str] | None = None
    """What it keeps for itself, and what goes with it."""

    def start(self) -> None:
        """Start it and wait until it listens."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **self.environment}
            )
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(f"nobody listens: {self.log.read_text()}")

    def kill(self) -> None:
        """Let it die as in a power cut."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        if self.folder is not None:
            self.folder.cleanup()


def obscured(password: str) -> str:
    """A password as rclone's configuration holds it."""
    done = subprocess.run(
        [rclone_program(), "obscure", "-"], input=password, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _serving(kind: str, folder: Path, root: Path, *options: str) -> tuple[list[str], int]:
    port = free_port()
    address = ["--addr", f"127.0.0.1:{port}"]
    cache = ["--cache-dir", str(root / "cache"), "--config", "/dev/null"]
    fresh = ["--dir-cache-time", f"{DIR_CACHE_SECONDS}s"]  # tests change files behind its back
    return [rclone_program(), "serve", kind, str(folder), *address, *cache, *fresh, *options], port


def sftp(folder: Path, root: Path) -> Server:
    """An SFTP server with a host key of its own."""
    key = root / "sftp_host_key"
    if not key.exists():
        require_program("ssh-keygen")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    command, port = _serving("sftp", folder, root, "--user", USER, "--pass", PASSWORD, "--key", str(key))
    kind, value, *_ = key.with_suffix(".pub").read_text().split()
    (root / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {value}\n")
    remote = f"type = sftp\nhost = 127.0.0.1\nport = {port}\nuser = {USER}\npass = {obscured(PASSWORD)}\n"
    remote += f"known_hosts_file = {root / 'known_hosts'}\n"
    return Server(command, port, remote, "archive", log=root / "sftp.log")


def webdav(folder: Path, root: Path) -> Server:
    """A WebDAV server."""
    command, port = _serving("webdav", folder, root, "--user", USER, "--pass", PASSWORD)
    remote = (
        f"type = webdav\nurl = http://127.0.0.1:{port}\nvendor = other\nuser = {USER}\npass = {obscured(PASSWORD)}\n"
    )
    return Server(command, port, remote, "archive", log=root / "webdav.log")


def s3(folder: Path, root: Path) -> Server:
    """An object store; the folder's subfolders are its buckets."""
    command, port = _serving("s3", folder, root, "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}")
    remote = f"type = s3\nprovider = Rclone\nendpoint = http://127.0.0.1:{port}\naccess_key_id = {ACCESS_KEY}\n"
    remote += f"secret_access_key = {SECRET_KEY}\nuse_multipart_uploads = false\n"
    return Server(command, port, remote, "archive", log=root / "s3.log")


def local(folder: Path, root: Path) -> Server:
    """No server: rclone on a folder of this computer."""
    return Server(["sleep", "1000"], 0, "type = local\n", str(folder / "archive"), log=root / "local.log")


def smb(folder: Path, root: Path) -> Server:
    """Samba's own server, which ignores case as Windows does."""
    program = shutil.which("smbd", path="/usr/sbin:/usr/bin:/usr/local/sbin") or require_program("smbd")
    port = free_port()
    short = tempfile.TemporaryDirectory(prefix="smb", dir="/tmp")  # its sockets need short paths
    private = Path(short.name)
    user = "root" if os.geteuid() == 0 else os.environ.get("USER", "root")
    (private / "smb.conf").write_text(
        "[global]\nserver role = standalone server\nbind interfaces only = yes\ninterfaces = lo\n"
        f"smb ports = {port}\nlog file = {private}/log\nmax log size = 100\ndisable spoolss = yes\nload printers = no\n"
        + "".join(
            f"{name} = {private}\n"
            for name in (
                "private dir",
                "lock directory",
                "state directory",
                "cache directory",
                "pid directory",
                "ncalrpc dir",
            )
        )
        + f"passdb backend = tdbsam:{private}/passdb.tdb\nmap to guest = never\n"
        f"[lab]\npath = {folder}\nread only = no\nforce user = {user}\nvalid users = {user}\n"
    )
    conf = f"--configfile={private}/smb.conf"
    require_program("smbpasswd")
    subprocess.run(
        ["smbpasswd", "-c", f"{private}/smb.conf", "-s", "-a", user],
        input=f"{PASSWORD}\n{PASSWORD}\n", text=True, check=True, capture_output=True,
    )  # fmt: skip
    command = [program, "--foreground", "--no-process-group", "--debug-stdout", conf]
    remote = f"type = smb\nhost = 127.0.0.1\nport = {port}\nuser = {user}\npass = {obscured(PASSWORD)}\n"
    return Server(command, port, remote, "lab/archive", log=root / "smbd.log", folder=short)


KINDS = {"local": local, "sftp": sftp, "webdav": webdav, "s3": s3, "smb": smb}


@contextmanager
def serving(kind: str, folder: Path, root: Path) -> Iterator[Server]:
    """A running server of a kind; its remote is ``lab`` in ``root/rclone.conf``."""
    server = KINDS[kind](folder, root)
    (root / "rclone.conf").write_text(f"[lab]\n{server.remote}")
    if kind == "local":
        yield server
        return
    with server:
        yield server
