"""The crontab file and the systemd units that start passes, filled in from the configuration; pure text."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from exlab_orch.config import SYSTEM_CONFIG, Config
from exlab_orch.config_nas import AnyNas, MountNas, RcloneNas, RsyncNas
from exlab_orch.schedule import CRON_FOLDER, UNIT_FOLDER

Written = Literal["ours", "edited", "foreign"]

TIMERS: Final = ("exlab-orch-look.timer", "exlab-orch-copy.timer")
"""Those that start passes."""
VERIFY_TIMER: Final = "exlab-orch-verify.timer"
"""Put in place beside them, and switched on by whoever wants the archive read again."""
_SEAL: Final = re.compile(r"# Made by 'exlab-orch schedule' \((?P<digest>[0-9a-f]{16})\)\.\n")
_CONFIGURATION: Final = re.compile(r"^# Configuration: (?P<path>.+)$", re.MULTILINE)
_HOMES: Final = ("/home", "/root", "/run/user")
_TEMPORARY: Final = ("/tmp", "/var/tmp")  # noqa: S108  where the private ones of systemd are mounted
_AS_ROOT: Final = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_LEASE"


@dataclass(frozen=True, slots=True)
class Passes:
    """What a schedule is filled in with."""

    program: tuple[str, ...]
    """The words that start the program."""
    config: str
    """The configuration file, absolute."""
    user: str
    """Who runs the passes: the owner of the state directory."""
    state_dir: str
    writable: tuple[str, ...]
    """Folders that passes write to: staging, state directory, and where a mounted NAS is."""
    needed: tuple[str, ...]
    """Every path that passes touch, those they only read included."""
    has_network: bool
    """A NAS is reached, or somebody is told, by a program, so that passes open connections."""

    @property
    def options(self) -> tuple[str, ...]:
        """What names the configuration file on a command line; nothing where it is the usual one."""
        return () if self.config == SYSTEM_CONFIG else ("-c", self.config)

    def command(self, *words: str) -> tuple[str, ...]:
        """The words of one call of the program."""
        return (*self.program, *self.options, *words)


@dataclass(frozen=True, slots=True)
class ScheduleFile:
    """A file of a schedule, and where it belongs."""

    path: str
    content: str


def passes_of(
    config: Config,
    config_path: str,
    *,
    program: Sequence[str],
    user: str,
    mount_points: Iterable[str],
    reads: Iterable[str] = (),
) -> Passes:
    """What the schedule of a configuration needs.

    Args:
        config: the configuration.
        config_path: its file, absolute.
        program: the words that start the program.
        user: who runs the passes.
        mount_points: where something is mounted now or by /etc/fstab.
        reads: what else the program reads: where it is installed, the home folder of its user.
    """
    every = _nas_of(config)
    state, staging = config.orchestrator.state_dir, config.orchestrator.staging_root
    points = tuple(mount_points)
    mounted = [writable_folder(nas, points) for nas in every if isinstance(nas, MountNas)]
    writable = tuple(dict.fromkeys((staging, state, *mounted)))
    files = [path for nas in every for path in _files_of(nas)]
    files += [] if config.notify is None else [config.notify.urls_file]
    return Passes(
        program=tuple(program),
        config=config_path,
        user=user,
        state_dir=state,
        writable=writable,
        needed=tuple(dict.fromkeys((*writable, config_path, *program, *files, *reads))),
        has_network=config.notify is not None or any(not isinstance(nas, MountNas) for nas in every),
    )


def _nas_of(config: Config) -> list[AnyNas]:
    found = [config.nas, *(equipment.nas for equipment in config.equipment)]
    return [nas for nas in found if nas is not None]


def _files_of(nas: AnyNas) -> list[str]:
    """Files beside the data that reaching a NAS needs."""
    if isinstance(nas, RcloneNas):
        return [path for path in (nas.config, nas.rclone_path) if path is not None]
    return [nas.ssh_key_path, nas.known_hosts] if isinstance(nas, RsyncNas) else [nas.root]


def writable_folder(nas: MountNas, mount_points: Iterable[str]) -> str:
    """The folder to open for a mounted NAS: the one above its mount point.

    systemd looks at each writable path before it starts the program, and a NAS that hangs would keep it there for
    ever, unheard. The folder above is on a local disk; what is mounted in it is as writable as it is.
    """
    around = [point for point in mount_points if point != "/" and f"{nas.root}/".startswith(f"{point.rstrip('/')}/")]
    if around:
        point = max(around, key=len)
        return _above(point)
    return _above(nas.root) if nas.require_mount else nas.root


def _above(folder: str) -> str:
    parent = os.path.dirname(folder)
    return folder if parent == "/" else parent


# -- whose file it is ----------------------------------------------------------------------------------------


def _sealed(text: str) -> str:
    return f"# Made by 'exlab-orch schedule' ({_digest(text)}).\n{text}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def written_by(text: str) -> Written:
    """Whether a file is as this program made it, was edited since, or was never ours."""
    first = _SEAL.match(text)
    if first is None:
        return "foreign"
    return "ours" if _digest(text[first.end() :]) == first["digest"] else "edited"


def configuration_of(text: str) -> str | None:
    """The configuration file that a file of ours was made for."""
    found = _CONFIGURATION.search(text)
    return None if found is None else found["path"]


_VERIFY: Final = ("verify", "--all", "--since", "90d", "--max-duration", "12h", "--quiet")
"""Each run about every 90 days, the one that was read longest ago first."""

# -- cron ----------------------------------------------------------------------------------------------------

_SATURDAY: Final = "0 1 * * 6"
_CRON: Final = """\
# Configuration: {config}
#
# One pass of exlab-orch every minute: this file belongs in {folder}, owned by root, mode 0644.
# 'exlab-orch schedule cron --install' puts it there.
#
# cron mails what a pass prints, and a pass prints nothing unless something is new: a problem is announced when it
# opens, changes or closes, and once a day for as long as it lasts. Without a mail system set MAILTO="" and look with
# 'exlab-orch list'.
#
# No flock around it: passes may overlap. A pass that copies for hours never stops the next one from looking after the
# other runs, because each run has a lock of its own.
#
# The sixth field is the user: the owner of the state directory, who may read and write all of staging and the NAS. In a
# crontab of that user's own ('crontab -e') it is left out.
#
# To have the NAS copies read again, a few hours every Saturday night, put this line into a file of its own,
# {folder}/exlab-orch-verify:
# {verify_at}  {user}  {verify}

SHELL=/bin/sh
PATH=/usr/local/bin:/usr/bin:/bin
MAILTO=root

* * * * *  {user}  {command}
"""


def cron_file(passes: Passes) -> ScheduleFile:
    """The file for cron.d."""
    command, verify = _cron_command(passes, ("poll",)), _cron_command(passes, _VERIFY)
    text = _CRON.format(
        config=passes.config, folder=CRON_FOLDER, user=passes.user, command=command, verify=verify, verify_at=_SATURDAY
    )
    return ScheduleFile(f"{CRON_FOLDER}/exlab-orch", _sealed(text))


def _cron_command(passes: Passes, words: Sequence[str]) -> str:
    return shlex.join(passes.command(*words)).replace("%", "\\%")  # a bare % would end the command


# -- systemd -------------------------------------------------------------------------------------------------

_SERVICE: Final = """\
# Configuration: {config}
#
# {what}
# Change it with 'systemctl edit {name}.service', or change the configuration and run
# 'exlab-orch schedule systemd --install' again.

[Unit]
Description=exlab-orch: {title}
# At boot, after the NAS was tried. Not "requires": a NAS that is away must not keep the program from saying so.
After=remote-fs.target
# Without its state directory the program would begin anew, with another seal key.
RequiresMountsFor={state_dir}

[Service]
Type=oneshot
User={user}
ExecStart={command}
# 75: another pass is busy with it. 143: stopped by systemctl or at shutdown; the next pass carries on.
SuccessExitStatus=75 143
# A large run takes hours. The program itself ends what makes no progress.
TimeoutStartSec=infinity
# The journal gets news alone: not that a service was started and has ended, twice a minute. What comes without a
# priority is damage that verify found, or what keeps the program from starting.
LogLevelMax=notice
SyslogLevel=warning
SyslogIdentifier=exlab-orch

# What it may write: staging, its state directory, and the folder in which the NAS is mounted, which is on a local
# disk: systemd looks at these paths before it starts the program, and would hang where the NAS hangs. With "-" a path
# that is missing stops nothing here; the program says what is missing.
ProtectSystem=strict
{writable}
ProtectHome={home}
PrivateTmp={temporary}
PrivateDevices=yes
PrivateMounts=yes

{network}

# The kernel. Not ProcSubset=pid: the program reads /proc/uptime and the boot id, to notice a clock that was changed.
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible

{rights}
# Not RestrictSUIDSGID: it takes openat2 away, with which the program never follows a link; and folders on a mounted NAS
# get the setgid bit of the folder above them. Not PrivateUsers: they get its group, too.
NoNewPrivileges=yes
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes

# @system-service holds what copying needs (openat2, renameat2, statx, leases) and what [sync] nice and ionice need
# (setpriority, ioprio_set). What is refused is an error that the program can report.
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
"""
_TIMER: Final = """\
# Configuration: {config}

[Unit]
Description=exlab-orch: {title}, {often}

[Timer]
{when}

[Install]
WantedBy=timers.target
"""
_LOCAL_ONLY: Final = """\
# No network: the kernel talks to the mounted NAS, not this program. Unix sockets are for looking up users and groups.
PrivateNetwork=yes
IPAddressDeny=any
RestrictAddressFamilies=AF_UNIX"""
_NETWORK: Final = """\
# A NAS is reached by rclone or ssh, or messages are sent.
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"""
_NO_RIGHTS: Final = "# No capability at all: it may what its user may.\nCapabilityBoundingSet="
_ROOTS_RIGHTS: Final = (
    "# It runs as root, because root owns the state directory; a user of its own would need no capability.\n"
    f"CapabilityBoundingSet={_AS_ROOT}"
)


@dataclass(frozen=True, slots=True)
class _Part:
    """One of the services."""

    name: str
    title: str
    what: str
    words: tuple[str, ...]
    often: str
    when: str
    """What its timer says."""


def _minutely(second: str) -> str:
    return (
        "# A timer never starts a service that still runs, and starts it within a minute of its end.\n"
        f"OnCalendar=*-*-* *:*:{second}\nAccuracySec=1s"
    )


_PARTS: Final = (
    _Part(
        "exlab-orch-look",
        "look after runs in staging",
        "Looks at every run and deletes staged copies where the policy allows it, while exlab-orch-copy may copy for"
        " hours.\n# A proof before a delete that takes longer than five minutes goes on in the next pass.",
        ("poll", "--only", "evaluate", "--only", "cleanup", "--max-duration", "5m"),
        "every minute",
        _minutely("00"),
    ),
    _Part(
        "exlab-orch-copy",
        "copy runs to the NAS",
        "Copies to the NAS what is due.",
        ("poll", "--only", "sync"),
        "every minute",
        _minutely("30"),
    ),
    _Part(
        "exlab-orch-verify",
        "read NAS copies again",
        "Reads the NAS copies again that were not read for 90 days, and says what is damaged. Not needed for copying."
        "\n# Exit status 3 means damage. docs/verify.md says how to choose the figures.",
        _VERIFY,
        "every Saturday night",
        "# After 12 hours the run in hand is finished, and the next week goes on. A night in which the computer was\n"
        "# off is made up for.\nOnCalendar=Sat *-*-* 01:00:00\nPersistent=yes",
    ),
)


def unit_files(passes: Passes) -> tuple[ScheduleFile, ...]:
    """Three services, one that looks, one that copies and one that reads the archive again, each with its timer."""
    return tuple(file for part in _PARTS for file in (_service(passes, part), _timer(passes, part)))


def _service(passes: Passes, part: _Part) -> ScheduleFile:
    text = _SERVICE.format(
        config=passes.config,
        what=part.what,
        name=part.name,
        title=part.title,
        state_dir=_value(passes.state_dir),
        user=passes.user,
        command=" ".join(_word(word) for word in passes.command(*part.words)),
        writable="\n".join(f"ReadWritePaths={_value(f'-{path}')}" for path in passes.writable),
        home="read-only" if _any_below(passes.needed, _HOMES) else "yes",
        temporary="no" if _any_below(passes.needed, _TEMPORARY) else "yes",
        network=_NETWORK if passes.has_network else _LOCAL_ONLY,
        rights=_ROOTS_RIGHTS if passes.user == "root" else _NO_RIGHTS,
    )
    return ScheduleFile(f"{UNIT_FOLDER}/{part.name}.service", _sealed(text))


def _timer(passes: Passes, part: _Part) -> ScheduleFile:
    text = _TIMER.format(config=passes.config, title=part.title, often=part.often, when=part.when)
    return ScheduleFile(f"{UNIT_FOLDER}/{part.name}.timer", _sealed(text))


def _any_below(paths: Iterable[str], folders: Sequence[str]) -> bool:
    return any(f"{path}/".startswith(f"{folder}/") for path in paths for folder in folders)


def _value(text: str) -> str:
    """A path in a unit file: specifiers doubled, quoted where it has spaces, quotes or backslashes."""
    doubled = text.replace("%", "%%")
    if re.fullmatch(r"[^\s\"'\\;]+", doubled):
        return doubled
    escaped = doubled.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _word(text: str) -> str:
    """A word of ExecStart, where a dollar would be a variable."""
    return _value(text.replace("$", "$$"))
