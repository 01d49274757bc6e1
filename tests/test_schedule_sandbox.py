"""The units as a real systemd runs them, in namespaces of its own: a run lives its whole life inside the sandbox."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from exlab_orch.config import parse_config
from exlab_orch.config_nas import MountNas
from exlab_orch.schedule_files import passes_of, unit_files
from tests.contract.servers_ssh import SshServer
from tests.lab import MARKER_ID, RUN
from tests.oracle import require_program, require_root

pytestmark = [pytest.mark.slow, pytest.mark.root]
ROOT = Path(__file__).parents[1]
SYSTEMD = "/lib/systemd/systemd"
USER = "daemon"
PROGRAM = "/srv/program"
CONFIG = """
[orchestrator]
staging_root = "/srv/staging"
state_dir = "/srv/state"
[orchestrator.staging_cleanup]
mode = "scheduled"
retain_hours = 0
[sync]
nice = 5
ionice = "idle"
[[equipment]]
id = "FLOW_01"
completeness_signal = "sentinel_file"
sentinel_filename = "run_complete"
settle_seconds = 0
[nas]
reserve_percent = 0
"""
MOUNTED = f'root = "/mnt/nas/lab"\nmarker_id = "{MARKER_ID}"\n'
BOOT = """
set -eu
mount --make-rprivate /
mount -t proc proc /proc
{cgroups}
for folder in /run /mnt /srv; do mount -t tmpfs tmpfs $folder; done
mkdir -p /mnt/nas/lab /run/systemd/system
for name in staging state out python packages; do mkdir /srv/$name; done
mount --bind {box}/nas /mnt/nas/lab
for name in staging state out; do mount --bind {box}/$name /srv/$name; done
mount --bind {python} /srv/python
mount --bind {packages} /srv/packages
cp -r {source} /srv/exlab_orch
cp {box}/config.toml {box}/program /srv/
cp -r {box}/units/. /run/systemd/system/
exec env -i container=box PATH=/usr/bin:/bin:/usr/sbin:/sbin {systemd} --system --unit=box.target --show-status=no
"""
DRIVE = """
for round in 1 2; do
    for unit in exlab-orch-look exlab-orch-copy probe; do
        systemctl start $unit.service
        systemctl show --property=Id,Result,ExecMainStatus $unit.service
    done
done
systemctl start exlab-orch-verify.service
systemctl show --property=Id,Result,ExecMainStatus exlab-orch-verify.service
systemctl --force --force poweroff
"""


@contextmanager
def cgroups() -> Iterator[str]:
    """A cgroup of our own in each tree that systemd needs; what a shell has to do to see it as the root."""
    trees = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    wanted = [row for row in trees if row[2] == "cgroup2" or (row[2] == "cgroup" and "name=systemd" in row[3])]
    made = [Path(row[1]) / "exlab-orch-test" for row in wanted]
    try:
        for path in made:
            path.mkdir(exist_ok=True)
    except OSError:
        pytest.skip("needs a cgroup of its own, and this computer lends none")
    try:
        yield mount_lines([(row[1], row[2]) for row in wanted])
    finally:
        for path in made:
            for folder, _, _ in os.walk(path, topdown=False):
                with suppress(OSError):
                    os.rmdir(folder)


def mount_lines(trees: list[tuple[str, str]]) -> str:
    lines = ["umount -l /sys/fs/cgroup"]
    if trees != [("/sys/fs/cgroup", "cgroup2")]:
        lines.append("mount -t tmpfs tmpfs /sys/fs/cgroup")
    for point, kind in trees:
        lines += [f"mkdir -p {point}", f"mount -t {kind} {'-o none,name=systemd' * (kind == 'cgroup')} {kind} {point}"]
    return "\n".join(lines)


def make_box(tmp_path: Path, nas: str) -> None:
    """What the sandbox needs, below one folder: a pushed run, a marked NAS, and the units for that kind of NAS."""
    for name in ("staging", "state", "nas", "out", "units"):
        (tmp_path / name).mkdir(exist_ok=True)
    (tmp_path / "nas/.exlab-nas").write_text(f"{MARKER_ID}\n")
    run = tmp_path / "staging" / RUN
    (run / "sub").mkdir(parents=True)
    for name in ("a.fcs", "sub/b.fcs", "run_complete"):
        (run / name).write_bytes(os.urandom(100_000))
    (tmp_path / "config.toml").write_text(CONFIG + nas)
    interpreter = f"/srv/python/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    program = tmp_path / "program"
    program.write_text(
        "#!/bin/sh\nexport LD_LIBRARY_PATH=/srv/python/lib PYTHONHOME=/srv/python PYTHONPATH=/srv:/srv/packages\n"
        f'exec {interpreter} -m exlab_orch "$@"\n'
    )
    program.chmod(0o755)
    write_units(tmp_path / "units", CONFIG + nas)
    subprocess.run(["chown", "-R", USER, tmp_path / "staging", tmp_path / "state", tmp_path / "nas"], check=True)


def write_units(folder: Path, text: str) -> None:
    """The units as they are made, what they print in files, and one that tries what it may not."""
    config = parse_config(text.encode(), "config.toml")
    passes = passes_of(
        config, "/srv/config.toml", program=(PROGRAM,), user=USER, mount_points=["/", "/mnt", "/mnt/nas/lab"]
    )
    services = {Path(one.path).name: one.content for one in unit_files(passes) if one.path.endswith(".service")}
    forbidden = "touch /srv/here || touch /var/here || mount -t tmpfs none /mnt"
    if isinstance(config.nas, MountNas):
        forbidden += " || exec 3<>/dev/udp/127.0.0.1/9"
    probe = f'ExecStart=/bin/bash -c "if {forbidden}; then exit 0; fi; exit 7"'
    verify = "exlab-orch-verify.service"
    services[verify] = services[verify].replace(" --since 90d", "")  # what was proved just now would be left out
    services["probe.service"] = re.sub(r"(?m)^ExecStart=.*$", probe, services["exlab-orch-copy.service"])
    for name, content in services.items():
        (folder / name).write_text(content)
        (folder / f"{name}.d").mkdir()
        output = f"[Unit]\nDefaultDependencies=no\n[Service]\nStandardOutput=append:/srv/out/{name}.log\n"
        (folder / f"{name}.d/box.conf").write_text(f"{output}StandardError=inherit\n")
    (folder / "box.target").write_text("[Unit]\nDefaultDependencies=no\nWants=box.service\n")
    (folder / "box.service").write_text(
        "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nStandardOutput=append:/srv/out/told\n"
        "StandardError=inherit\nExecStart=/bin/sh /srv/out/drive\n"
    )


def run_box(box: Path, mounts: str) -> dict[str, list[str]]:
    """Start systemd as the first process of its own namespaces; each unit's results, in order."""
    (box / "out/drive").write_text(DRIVE)
    boot = BOOT.format(
        box=shlex.quote(str(box)),
        cgroups=mounts,
        python=shlex.quote(sys.base_prefix),
        packages=shlex.quote(sysconfig.get_paths()["purelib"]),
        source=shlex.quote(str(ROOT / "exlab_orch")),
        systemd=SYSTEMD,
    )
    (box / "boot").write_text(boot)
    enter = [f"echo $$ > {path}/cgroup.procs" for path in re.findall(r"mkdir -p (\S+)", mounts)]
    enter = [line.replace("/cgroup.procs", "/exlab-orch-test/cgroup.procs") for line in enter]
    unshare = "exec unshare --mount --pid --uts --ipc --cgroup --fork --kill-child"
    script = "\n".join([*enter, f"{unshare} bash {shlex.quote(str(box / 'boot'))}"])
    ended = subprocess.run(
        ["timeout", "-s", "KILL", "90", "bash", "-c", script], capture_output=True, text=True, check=False, timeout=120
    )
    told = box / "out/told"
    if not told.exists():
        pytest.skip(f"systemd does not start in namespaces here: {ended.stderr[-300:]}")
    found: dict[str, list[str]] = {}
    lines = [line.partition("=")[2] for line in told.read_text().splitlines() if "=" in line]
    for result, status, unit in zip(lines[::3], lines[1::3], lines[2::3], strict=True):
        found.setdefault(unit, []).append(f"{result} {status}")
    return found


def live_through(box: Path) -> None:
    """Two rounds of both services: the run is copied, proved and cleared, and nothing is printed."""
    staged = {path.name: path.read_bytes() for path in (box / "staging" / RUN).rglob("*") if path.is_file()}
    with cgroups() as mounts:
        results = run_box(box, mounts)
    printed = {path.name: path.read_text() for path in (box / "out").glob("*.log")}
    assert results["exlab-orch-look.service"] == ["success 0"] * 2, printed
    assert results["exlab-orch-copy.service"] == ["success 0"] * 2, printed
    assert results["exlab-orch-verify.service"] == ["success 0"], printed
    assert results["probe.service"] == ["exit-code 7"] * 2, "there was no sandbox"
    assert len(printed.pop("probe.service.log").splitlines()) >= 6
    assert set(printed.values()) == {""}
    there = {path.name: path.read_bytes() for path in (box / "nas" / RUN).rglob("*") if path.is_file()}
    assert {name: there.get(name) for name in staged} == staged
    assert not (box / "staging" / RUN).exists()
    logged = (box / "state/exlab-orch.log").read_text()
    assert "run_cleared" in logged
    assert " verified " in logged


@pytest.fixture(autouse=True)
def _needs_systemd() -> None:
    require_root()
    require_program("unshare")
    require_program(SYSTEMD)


def test_a_run_is_copied_to_a_mount_proved_and_cleared_inside_the_sandbox(tmp_path: Path) -> None:
    make_box(tmp_path, MOUNTED)
    live_through(tmp_path)


def test_a_run_is_copied_over_ssh_proved_and_cleared_inside_the_sandbox(tmp_path: Path) -> None:
    with SshServer(tmp_path / "ssh") as server:
        (tmp_path / "state").mkdir()
        for file in (server.key, server.known_hosts):
            shutil.copy(file, tmp_path / "state" / file.name)
        keys = {"ssh_key_path": "/srv/state/user_key", "known_hosts": "/srv/state/known_hosts"}
        table = server.nas_table(tmp_path / "nas", **keys).replace("'", '"')
        make_box(tmp_path, f'{table}marker_id = "{MARKER_ID}"\n')
        live_through(tmp_path)
