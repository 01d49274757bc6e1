"""The configuration and the files that hold secrets: readable, sensible, and closed to those they are not for."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from shlex import quote
from typing import Final

from exlab_orch.config import Config, load_config
from exlab_orch.config_errors import ConfigFileInvalid
from exlab_orch.config_nas import RcloneNas, RsyncNas
from exlab_orch.diagnosis import Finding
from exlab_orch.doctor.visit import WIDE, Check, Computer, Visit, for_chown, without_configuration
from exlab_orch.errors import ConfigInvalid
from exlab_orch.groups import user_name
from exlab_orch.selftest_removal import known_nas
from exlab_orch.state import KEY_BYTES, StateDirectory
from exlab_orch.text import count, printable


def examined(path: str | None, why_none: ConfigInvalid | None) -> tuple[Config | None, list[Finding]]:
    """The configuration, or None, and what is wrong with it: one finding for each error."""
    check = "config.file"
    if path is None:
        message, fix = ("There is none.", "") if why_none is None else (why_none.message, why_none.hint)
        return None, [Finding(check, "error", message, fix)]
    try:
        config = load_config(path)
    except ConfigFileInvalid as error:
        return None, [Finding(check, "error", str(one), error.hint) for one in error.errors]
    return config, [Finding(check, "ok", f"{printable(path, WIDE)} can be used.")]


def file_mode(computer: Computer) -> Iterator[Finding]:
    """Who may change the configuration decides where runs go and when they are deleted."""
    path, check = computer.config_path, "config.mode"
    try:
        found = None if path is None else os.stat(path)
    except OSError:
        found = None
    if path is None or found is None or not stat.S_ISREG(found.st_mode):
        yield Finding(check, "skipped", without_configuration(computer))
        return
    mode = stat.S_IMODE(found.st_mode)
    shown = printable(path, WIDE)
    if not mode & 0o022:
        yield Finding(check, "ok", f"Only its owner may change the configuration (mode {mode:04o}).")
        return
    who = "Everybody" if mode & 0o002 else "Its group"
    result = "error" if mode & 0o002 else "warning"
    message = f"{who} may change the configuration {shown} (mode {mode:04o})."
    yield Finding(check, "error" if result == "error" else "warning", message, f"sudo chmod go-w {shown}")


def _enabled(visit: Visit) -> Iterator[Finding]:
    if visit.config.orchestrator.enabled:
        yield Finding("config.enabled", "ok", "The orchestrator is enabled.")
    else:
        yield Finding(
            "config.enabled",
            "warning",
            "orchestrator.enabled is false: no run is copied.",
            "Set it to true, or leave it.",
        )


def _equipment(visit: Visit) -> Iterator[Finding]:
    known = visit.config.equipment
    if not known:
        yield Finding(
            "config.equipment",
            "warning",
            "No equipment is configured, so no run is taken.",
            "Add one: exlab-orch equipment add",
        )
        return
    homeless = [one.id for one in known if visit.config.nas_for(one.id) is None]
    if homeless:
        yield Finding(
            "config.equipment",
            "error",
            f"No NAS is configured for {', '.join(homeless)}: their runs have nowhere to go.",
            "Add a [nas] table with root to the configuration.",
        )
        return
    each = " each" if len(known) > 1 else ""
    yield Finding("config.equipment", "ok", f"{count(len(known), 'instrument')},{each} with a NAS.")


# -- secrets -------------------------------------------------------------------------------------------------


def _seal_key(visit: Visit) -> Iterator[Finding]:
    path = f"{visit.state_dir}/seal.key"
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        yield _no_key(visit.state_dir)
        return
    yield _key_finding(path, found, visit.owner())


def _no_key(state_dir: str) -> Finding:
    check = "secrets.seal_key"
    if not os.path.isfile(StateDirectory(state_dir, None).journal_path):
        return Finding(check, "skipped", "There is no seal key yet; the first pass makes it.")
    message = f"The seal key {state_dir}/seal.key is gone: the next pass makes a new one and proves every run again."
    return Finding(check, "error", message, "Put it back from a backup before that. Without one, let the next pass go.")


def _key_finding(path: str, found: os.stat_result, owner: int | None) -> Finding:
    check = "secrets.seal_key"
    if not stat.S_ISREG(found.st_mode):
        return Finding(check, "error", f"The seal key {path} is not a plain file.", "Put the file back from a backup.")
    if found.st_uid != owner and owner is not None:
        whose = f"The seal key belongs to {user_name(found.st_uid)}, the state directory to {user_name(owner)}."
        return Finding(check, "error", whose, f"sudo chown {for_chown(owner)} {quote(path)}")
    if found.st_size != KEY_BYTES:
        message = f"The seal key {path} is not {KEY_BYTES} bytes long, so no pass goes on."
        fix = "Put it back from a backup. Without one, have a new one made; every run is then proved again: "
        fix += f"sudo mv {quote(path)} {quote(path)}.broken"
        return Finding(check, "error", message, fix)
    fix = f"If somebody may have copied it, move it away: every run is then proved again. Else: sudo chmod 600 {path}"
    return _closed(check, "The seal key", path, found, fix)


def _closed(check: str, what: str, path: str, found: os.stat_result, fix: str) -> Finding:
    """Whether a secret is closed to everybody but its owner."""
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISREG(found.st_mode):
        return Finding(check, "error", f"{what} {printable(path, WIDE)} is not a plain file.", "Put the file back.")
    if mode & 0o077:
        message = f"{what} {printable(path, WIDE)} is open to other users (mode {mode:04o})."
        return Finding(check, "error", message, fix)
    return Finding(check, "ok", f"{what} is closed to others (mode {mode:04o}).")


def _ssh_key(visit: Visit) -> Iterator[Finding]:
    for nas in known_nas(visit.config):
        if isinstance(nas, RsyncNas):
            yield _secret_file("secrets.ssh_key", "The ssh key", nas.ssh_key_path)


def _known_hosts(visit: Visit) -> Iterator[Finding]:
    for nas in known_nas(visit.config):
        if isinstance(nas, RsyncNas):
            yield _hosts_file(nas)


def _hosts_file(nas: RsyncNas) -> Finding:
    check, path = "secrets.known_hosts", nas.known_hosts
    host = nas.target.partition("@")[2]
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        message = f"The file {printable(path, WIDE)} with the key of {host} is not there."
        fix = f"Compare the key with the NAS before you trust it: ssh-keyscan -p {nas.port} {host} | sudo tee {path}"
        return Finding(check, "error", message, fix)
    if mode & 0o022:
        message = f"Others may write in {printable(path, WIDE)}, and so choose whom ssh trusts (mode {mode:04o})."
        return Finding(check, "error", message, f"sudo chmod go-w {path}")
    return Finding(check, "ok", f"The key of {host} is in {printable(path, WIDE)}.")


def _rclone_config(visit: Visit) -> Iterator[Finding]:
    for nas in known_nas(visit.config):
        if isinstance(nas, RcloneNas) and nas.config is not None:
            yield _secret_file("secrets.rclone_config", "The rclone configuration", nas.config)


def _secret_file(check: str, what: str, path: str) -> Finding:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        message = f"{what} {printable(path, WIDE)} is not there."
        return Finding(check, "error", message, "Put it there, or correct its path in the configuration.")
    return _closed(check, what, path, found, f"sudo chmod 600 {path}")


def _notify_urls(visit: Visit) -> Iterator[Finding]:
    if visit.config.notify is not None:
        yield _secret_file("secrets.notify_urls", "The file of addresses", visit.config.notify.urls_file)


CHECKS: Final[Mapping[str, Check]] = {
    "config.enabled": _enabled,
    "config.equipment": _equipment,
    "secrets.seal_key": _seal_key,
    "secrets.ssh_key": _ssh_key,
    "secrets.known_hosts": _known_hosts,
    "secrets.rclone_config": _rclone_config,
    "secrets.notify_urls": _notify_urls,
}
