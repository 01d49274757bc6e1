"""What goes wrong between here and a NAS over ssh, made with a real sshd, and told with its code and what to do."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exlab_orch.config_nas import RsyncNas
from exlab_orch.errors import (
    ConfigInvalid,
    ExlabError,
    NasAuthFailed,
    NasConflict,
    NasFull,
    NasUnreachable,
    NasWrongMarker,
    PermissionRefused,
    SyncFailed,
    ToolMissing,
    ToolTooOld,
)
from exlab_orch.transports import existing_marker, rsync_program
from exlab_orch.transports import rsync_commands as ask
from exlab_orch.transports import rsync_scripts as scripts
from exlab_orch.transports.process import Ended
from exlab_orch.transports.rsync_program import FarSide
from tests.contract.servers_ssh import (
    HOST,
    SshServer,
    descendants,
    free_port,
    make_key,
    send_signal,
    ssh_server,
    tools_without,
)
from tests.mounts import Mounts
from tests.oracle import require_program
from tests.transports.test_rsync import RUN, Bench, names

OUTPUTS = Path(__file__).parent / "outputs"


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short name: the path of a socket must not be long."""
    return tmp_path_factory.mktemp("r")


@pytest.fixture
def server(root: Path) -> Iterator[SshServer]:
    require_program("rsync")
    with ssh_server(root / "ssh") as running:
        yield running


@pytest.fixture
def bench(server: SshServer, root: Path) -> Bench:
    return Bench(server, root)


def refused(act: Callable[[], object], error: type[ExlabError], words: str) -> ExlabError:
    """The error that an act ends with; it says what to do."""
    with pytest.raises(error, match=words) as caught:
        act()
    assert type(caught.value) is error, caught.value
    assert caught.value.hint
    return caught.value


def looks(bench: Bench) -> list[Callable[[], object]]:
    """By ssh, and by rsync."""
    return [lambda: existing_marker(bench.nas, "/staging"), lambda: bench.target._far.listing("", "listing")]


# -- what the tools printed, recorded ------------------------------------------------------------------------


RECORDED: dict[str, type[ExlabError]] = {
    "rsync_changed_host_key": NasAuthFailed,
    "rsync_connection_lost": NasUnreachable,
    "rsync_disk_full": NasFull,
    "rsync_missing_there": ToolMissing,
    "rsync_not_permitted": PermissionRefused,
    "rsync_old_far_side": ToolTooOld,
    "rsync_refused_port": NasUnreachable,
    "rsync_start_up_files_print": SyncFailed,
    "rsync_wrong_key": NasAuthFailed,
    "ssh_changed_host_key": NasAuthFailed,
    "ssh_disk_full": NasFull,
    "ssh_file_in_the_way": NasConflict,
    "ssh_mv_missing_there": ToolMissing,
    "ssh_no_root": NasWrongMarker,
    "ssh_no_ssh_server": NasUnreachable,
    "ssh_no_such_host": NasUnreachable,
    "ssh_not_permitted": PermissionRefused,
    "ssh_open_key_file": NasAuthFailed,
    "ssh_refused_port": NasUnreachable,
    "ssh_unknown_host": NasAuthFailed,
    "ssh_wrong_key": NasAuthFailed,
    "ssh_xargs_missing_there": ToolMissing,
}


def far_side(monkeypatch: pytest.MonkeyPatch, status: int, lines: tuple[str, ...] = (), output: bytes = b"") -> FarSide:
    """A far side without any program: each ends like that."""
    monkeypatch.setattr(rsync_program, "run_tool", lambda *_, **__: Ended(status, output, lines))
    monkeypatch.setattr(rsync_program, "_found", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(rsync_program, "_require_version", lambda _: None)
    nas = {"type": "rsync_ssh", "target": "lab@nas01", "path": "/archive", "ssh_key_path": "/k", "known_hosts": "/h"}
    return FarSide(RsyncNas.model_validate(nas))


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_what_a_tool_once_printed_is_understood(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    head, *lines = (OUTPUTS / f"{name}.txt").read_text().splitlines()
    far = far_side(monkeypatch, int(head.removeprefix("status ")), tuple(lines))
    run = (lambda: far.listing("", "looking")) if name.startswith("rsync") else (lambda: far.run("", (), "looking"))
    error = refused(run, RECORDED[name], "while looking|There is no")
    assert name == "ssh_no_root" or "said" in error.message


def test_every_recorded_output_is_tried() -> None:
    assert {path.stem for path in OUTPUTS.glob("*sh_*.txt")} | {path.stem for path in OUTPUTS.glob("rsync_*.txt")} == {
        *RECORDED
    }


@pytest.mark.parametrize(("output", "error"), [(b"rsync  version 3.1.3  protocol", ToolTooOld), (b"?", ToolMissing)])
def test_an_old_rsync_here_is_refused(monkeypatch: pytest.MonkeyPatch, output: bytes, error: type[ExlabError]) -> None:
    check = rsync_program._require_version
    far = far_side(monkeypatch, 0, output=output)
    monkeypatch.setattr(rsync_program, "_require_version", check)
    refused(lambda: far.listing("", "looking"), error, "rsync")


def test_a_program_that_is_not_installed_here_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = rsync_program._found
    far = far_side(monkeypatch, 0)
    monkeypatch.setattr(rsync_program, "_found", found)
    monkeypatch.setattr(rsync_program, "PLACES", "/nowhere")
    refused(lambda: far.run("", (), "looking"), ToolMissing, "ssh is not installed")
    refused(lambda: far.listing("", "looking"), ToolMissing, "rsync is not installed|ssh is not installed")


# -- who we are, and who they are ----------------------------------------------------------------------------


def test_a_wrong_key_is_refused(bench: Bench, server: SshServer) -> None:
    make_key(server.key)
    for look in looks(bench):
        refused(look, NasAuthFailed, r"refuses our user.*Permission denied \(publickey\)")


def test_whoever_is_refused_gets_the_command_to_try(bench: Bench, server: SshServer) -> None:
    make_key(server.key)
    with pytest.raises(NasAuthFailed) as raised:
        looks(bench)[0]()
    before, _, command = raised.value.hint.partition("Then try it: sudo -u ")
    assert str(server.key) in before

    def status() -> int:
        words = shlex.split(command)[1:]
        return subprocess.run(
            words, check=False, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30
        ).returncode

    assert status() == 255
    server.authorized.write_text(server.key.with_suffix(".pub").read_text())
    assert status() == 0


def test_a_key_file_that_is_not_there_or_open_to_others_is_told(bench: Bench, server: SshServer) -> None:
    server.key.chmod(0o644)
    refused(looks(bench)[0], NasAuthFailed, "refuses our user")
    server.key.unlink()
    refused(looks(bench)[0], NasAuthFailed, "refuses our user")


def test_a_changed_host_key_is_refused(bench: Bench, server: SshServer) -> None:
    server.kill()
    make_key(server.host_key)
    server.start()
    for look in looks(bench):
        refused(look, NasAuthFailed, "another host key")


def test_an_unknown_host_is_refused(bench: Bench, server: SshServer) -> None:
    server.known_hosts.write_text("")
    for look in looks(bench):
        refused(look, NasAuthFailed, "another host key|none is known")
    server.known_hosts.unlink()
    refused(looks(bench)[0], NasAuthFailed, "none is known")


# -- the way there -------------------------------------------------------------------------------------------


def test_a_port_where_nobody_listens_is_unreachable(server: SshServer, root: Path) -> None:
    for look in looks(Bench(server, root, port=free_port())):
        refused(look, NasUnreachable, "Connection refused")


def test_a_name_that_nobody_has_is_unreachable(server: SshServer, root: Path) -> None:
    for look in looks(Bench(server, root, target="lab@no-such-host.invalid")):
        refused(look, NasUnreachable, "cannot be reached")


def test_a_server_that_is_no_ssh_server_is_unreachable(server: SshServer, root: Path) -> None:
    with socket.create_server((HOST, 0)) as listener:

        def answer() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        for look in looks(Bench(server, root, port=listener.getsockname()[1])):
            refused(look, NasUnreachable, "while")
        thread.join(10)


# -- the far side --------------------------------------------------------------------------------------------


def test_a_root_that_is_missing_is_another_nas(server: SshServer, root: Path) -> None:
    bench = Bench(server, root, path=str(root / "missing"))
    refused(looks(bench)[0], NasWrongMarker, "There is no")
    refused(bench.target.check, ConfigInvalid, "No marker id")


def test_a_far_side_without_rsync_is_told(root: Path) -> None:
    with ssh_server(root / "ssh", environment={"PATH": str(tools_without(root, "rsync"))}) as server:
        refused(lambda: Bench(server, root).send({b"a": b"a"}), ToolMissing, "lacks a program.*rsync")


@pytest.mark.parametrize("lacks", ["sh", "xargs", "mv"])
def test_a_far_side_without_a_tool_of_the_scripts_is_told(root: Path, lacks: str) -> None:
    with ssh_server(root / "ssh", environment={"PATH": str(tools_without(root, lacks))}) as server:
        bench = Bench(server, root)

        def publish() -> None:
            run, listing = bench.push({b"a": b"a"})
            bench.target.make_part(RUN, ())
            bench.target.publish_run(run.run_path, listing)

        refused(publish, ToolMissing, "lacks a program")


def test_an_old_rsync_at_the_far_side_is_told(root: Path) -> None:
    path = Path(tools_without(root, "rsync"))
    lines = (OUTPUTS / "rsync_old_far_side.txt").read_text().splitlines()
    (path / "rsync").write_text(f"#!/bin/sh\necho {shlex.quote(lines[1])} >&2\nexit 1\n")
    (path / "rsync").chmod(0o755)
    with ssh_server(root / "ssh", environment={"PATH": str(path)}) as server:
        refused(lambda: Bench(server, root).send({b"a": b"a"}), ToolTooOld, "unknown option")


def test_start_up_files_that_print_something_are_told(root: Path) -> None:
    force = 'ForceCommand echo Welcome; exec sh -c "$SSH_ORIGINAL_COMMAND"'
    with ssh_server(root / "ssh", options=force) as server:
        bench = Bench(server, root)
        bench.put("published", "a")
        error = refused(lambda: bench.target.listing(RUN, "published"), SyncFailed, "cannot be understood")
        assert "start-up files" in error.hint
        refused(lambda: bench.target._far.listing(RUN, "listing"), SyncFailed, "shell clean|protocol")


def test_a_folder_that_may_not_be_written_is_told(root: Path) -> None:
    nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups " if os.geteuid() == 0 else ""
    force = f'ForceCommand exec {nobody}sh -c "$SSH_ORIGINAL_COMMAND"'
    for folder in (root, *root.parents[:2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    with ssh_server(root / "ssh", options=force) as server:
        bench = Bench(server, root)
        bench.part.mkdir(parents=True)
        bench.far.chmod(0o555)
        bench.part.chmod(0o555)
        refused(lambda: bench.send({b"a": b"a"}), PermissionRefused, "Permission denied")
        refused(lambda: bench.target.make_part("OTHER/P/Runs/Run_1", ()), PermissionRefused, "Permission denied")
        bench.far.chmod(0o000)
        refused(lambda: bench.target.listing(RUN, "published"), PermissionRefused, "Permission denied")
        bench.far.chmod(0o755)


@pytest.mark.root
def test_a_full_disk_at_the_far_side_is_told_and_what_was_there_stays(server: SshServer, root: Path) -> None:
    with Mounts() as mounts:
        (root / "far side").mkdir()
        mounts.memory(root / "far side")
        bench = Bench(server, root)
        bench.put("published", ".exlab-wizard/ingest.json", b"before")
        refused(lambda: bench.send({b"a": os.urandom(6 << 20)}), NasFull, "No space left")
        fill = bench.far / "filler"
        with pytest.raises(OSError, match="No space left"):
            fill.write_bytes(b"x" * (8 << 20))
        content = b"y" * 100_000
        refused(lambda: bench.target.put_small(RUN, "published", "ingest.json", content), NasFull, "No space left")
        assert bench.target.read_small(RUN, "published", "ingest.json") == b"before"
        assert [one for one in names(bench.far) if b"own-" in one] == []


def test_something_in_the_place_of_a_folder_is_a_conflict(bench: Bench) -> None:
    bench.put("part", "sub", b"theirs")
    refused(lambda: bench.target.make_part(RUN, [b"sub", b"sub/deep"]), NasConflict, "File exists|Not a directory")
    assert (bench.part / "sub").read_bytes() == b"theirs"
    (bench.far / "OTHER").write_bytes(b"theirs")
    refused(lambda: bench.target.make_part("OTHER/P/Runs/Run_1", ()), NasConflict, "in the way")


# -- broken off ----------------------------------------------------------------------------------------------


def slow_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """The far side of a test is fast; what is sent now is sent slowly."""
    build = ask.upload

    def slow(*arguments: str, **settings: int) -> ask.Arguments:
        return ("--bwlimit=2000", *build(*arguments, **settings))  # type: ignore[arg-type]

    monkeypatch.setattr(ask, "upload", slow)


def sending(bench: Bench, monkeypatch: pytest.MonkeyPatch, then: Callable[[], object]) -> ExlabError:
    """Send 4 MB slowly; when some has arrived, something happens. Returns how it ended."""
    slow_down(monkeypatch)
    run, listing = bench.push({b"big": os.urandom(4_000_000)})
    bench.target.make_part(RUN, ())
    done = [0]

    def count(count: int) -> None:
        done[0] += count
        if done[0] > 500_000:
            done[0] = -(1 << 40)
            then()

    with pytest.raises(ExlabError) as caught:
        bench.target.send(run, [*listing.files.items()], count)
    return caught.value


@pytest.mark.slow
def test_a_connection_that_is_lost_half_way_is_told_and_the_rest_is_sent_later(
    bench: Bench, server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = sending(bench, monkeypatch, server.kill)
    assert type(error) is NasUnreachable
    refused(looks(bench)[0], NasUnreachable, "Connection refused")
    server.start()
    monkeypatch.undo()
    found = bench.target.listing(RUN, "part")
    assert found is not None
    assert b"big" not in found.files
    run, listing = bench.push({})
    (copied,) = bench.target.send(run, [*listing.files.items()], lambda _: None)
    assert copied.proved


@pytest.mark.slow
def test_what_arrived_before_the_connection_broke_is_not_sent_again(
    bench: Bench, server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The far side's rsync lives on for a moment when only the connection breaks, and keeps its part."""

    def cut() -> None:
        for pid in server.sessions():
            if Path(f"/proc/{pid}/comm").read_text().strip() in ("sshd", "sshd-session"):
                send_signal(pid, signal.SIGKILL)

    error = sending(bench, monkeypatch, cut)
    assert type(error) is NasUnreachable
    monkeypatch.undo()
    kept = bench.part / bench.target._partial(RUN) / "big"
    assert soon(kept.exists)
    assert kept.stat().st_size > 100_000
    found = bench.target.listing(RUN, "part")
    assert found is not None
    assert (found.files, found.folders) == ({}, {})
    run, listing = bench.push({})
    (copied,) = bench.target.send(run, [*listing.files.items()], lambda _: None)
    assert copied.proved
    assert names(bench.part) == {b"big"}


@pytest.mark.slow
def test_a_far_side_that_hangs_is_left_after_the_time_without_progress(
    server: SshServer, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(server, root, stall_seconds=2)
    frozen: list[int] = []
    began: list[float] = []

    def freeze() -> None:
        frozen.extend(server.freeze())
        began.append(time.monotonic())

    try:
        error = sending(bench, monkeypatch, freeze)
        assert type(error) is NasUnreachable
        assert "no progress for 2 s" in str(error)
        assert time.monotonic() - began[0] < 8
    finally:
        for pid in frozen:
            send_signal(pid, signal.SIGCONT)
    assert soon(lambda: programs_for(server) == [])


def soon(is_so: Callable[[], bool]) -> bool:
    """Whether something becomes true within some seconds."""
    for _ in range(100):
        if is_so():
            return True
        time.sleep(0.05)
    return False


def programs_for(server: SshServer) -> list[bytes]:
    """What this process runs against that server, the shared connection apart."""
    found = {*descendants(os.getpid())} - {*server.sessions()}
    commands = [path.read_bytes() for pid in found if (path := Path(f"/proc/{pid}/cmdline")).exists()]
    port = str(server.port).encode()
    return [one for one in commands if port in one and b"sshd" not in one and b"ControlMaster=yes" not in one]


def test_an_interruption_ends_the_programs(bench: Bench, server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(Exception):
        pass

    def interrupt() -> None:
        raise Interrupted

    slow_down(monkeypatch)
    run, listing = bench.push({b"big": os.urandom(4_000_000)})
    bench.target.make_part(RUN, ())
    with pytest.raises(Interrupted):
        bench.target.send(run, [*listing.files.items()], lambda count: interrupt() if count else None)
    assert soon(lambda: programs_for(server) == [])


def test_a_script_that_says_nothing_is_ended(server: SshServer, root: Path) -> None:
    bench = Bench(server, root, stall_seconds=1)
    refused(lambda: bench.target._far.run("sleep 60", (), "sleeping"), NasUnreachable, "no progress for 1 s")
    assert bench.target._far.run(scripts.SPACE, (), "asking") != b""
