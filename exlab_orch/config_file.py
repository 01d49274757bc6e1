"""Writing and editing config.toml: a commented first version, one more equipment, the NAS id; no comment is lost."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

import tomli_w

from exlab_orch.config import Config, Equipment, parse_config, read_config
from exlab_orch.config_errors import ConfigError, ConfigFileInvalid
from exlab_orch.config_nas import AnyNas, MountNas
from exlab_orch.errors import ConfigInvalid, ExlabError, WrongUser
from exlab_orch.files import write_once, write_whole
from exlab_orch.text import printable
from exlab_orch.toml_text import KeyPath, KeyPlace, find_keys

PROPOSED_RETAIN_HOURS: Final = 168
"""A weekend, a holiday, a snapshot cycle (cli.md)."""

_SAMPLE: Final = """\
# exlab-orch: copies finished runs from this computer to the NAS, proves every byte, and only then
# lets the staged copy go. After a change: exlab-orch config validate

[orchestrator]
enabled = true                       # false: every command that would touch staging refuses
{label}
# The folder that the equipment pushes its runs into.
{staging_root}
# The program's own memory: journal, key, locks, ledger. On a local disk, outside staging and the NAS.
# It belongs to the user that runs exlab-orch; keep it in your backup.
{state_dir}

[orchestrator.staging_cleanup]
# "manual": a staged copy is deleted only when somebody runs 'exlab-orch clear'.
# "scheduled": it is deleted by itself, retain_hours after the copy on the NAS was proved.
# Either way the whole copy on the NAS is read back and compared right before.
{mode}
{retain_hours}
# While less is free on the staging disk, proved runs go before their time, the oldest first, as soon as
# they are min_retain_hours old. A size, or a part of the disk.
# min_free = "500GiB"                # or "10%"
# min_retain_hours = 24              # never undercut, however full the disk is
max_errors = 3                       # deletes that may fail in one pass before it stops deleting
# "reread" reads the NAS copy again for every delete. "recent" lets a full read of that age count.
proof = "reread"
# proof_max_age = "7d"               # with proof = "recent" only

[nas]                                # where runs go, unless an equipment says otherwise
type = "mount"                       # a folder that is mounted on this computer
# Runs appear below it as EQUIPMENT/PROJECT/Runs/Run_...
{root}
# Written by 'exlab-orch nas-init'. It stands in the file .exlab-nas on the NAS too, so that nothing is
# ever copied to the wrong place. While it is empty nothing is copied.
marker_id = ""
# Refuse to copy while nothing is mounted there, instead of filling this computer's own disk.
{require_mount}
# group = "lab"                      # who owns copied files; default: what the NAS folder gives
# dir_mode = "2775"                  # octal, in quotes
# file_mode = "0664"
# reserve_percent = 5                # free space on the NAS that is never used up
# names = "strict"                   # refuse names that Windows would change; default: by the kind of NAS

[sync]
parallel_runs = 2                    # runs copied or read back at the same time, per NAS
workers = 2                          # files copied at the same time within a run
# A file that changed after it was proved: "version" keeps the old one under .exlab-wizard/superseded on
# the NAS and copies the new one; "hold" stops and waits for you.
on_change = "version"
# upload_mbps = 400                  # megabits per second sent to one NAS at most; default: no limit
# When that limit holds, in local time; default: always. A window without days opens every day, and one whose
# "to" is before its "from" ends on the day after.
# schedule = [{{ days = ["mon", "tue", "wed", "thu", "fri"], from = "08:00", to = "18:00" }}]
# How far a pass steps back, so that an acquisition on this computer is not disturbed.
# nice = 10                          # the processor: 0 to 19, 19 steps back farthest
# ionice = "best-effort-low"         # the disks; or "idle": only while nobody else uses them

[logging]
format = "text"                      # of exlab-orch.log in the state directory; or "json"

# Who is told when a problem opens, changes or closes, and once a day; then try: exlab-orch notify test
# [notify]
# urls_file = "/etc/exlab-orch/notify.urls"   # addresses for Apprise, one a line; mode 0600, it holds secrets

# ---------------------------------------------------------------------------------------------
# One [[equipment]] block for each instrument. Its id is the name of its folder in staging.
# 'exlab-orch equipment add' appends one, or take an example and remove the '# ' in front.
#
# An instrument that writes a file when it is done (Illumina: CopyComplete.txt, Oxford Nanopore:
# final_summary_*.txt, PacBio: *.transferdone). With a list, every one of them must be there.
#
# [[equipment]]
# id = "CONFOCAL_01"                 # capital letters, digits and _
# label = "Confocal Microscope 1"
# run_pattern = ["Run_*", "Exp-*"]   # which folder names are runs; default: those of ExLab-Wizard
# completeness_signal = "sentinel_file"
# sentinel_filename = "run_complete" # or ["RTAComplete.txt", "CopyComplete.txt"]
# settle_seconds = 120               # nothing may have changed for that long: markers often come early
# min_files = 1                      # fewer data files than this are never a finished run
# failed_filename = "*.aborted"      # copied as well, and flagged: the acquisition failed
# alert_after_hours = 24             # still arriving after that is reported as a problem
# arrives_by = "smb_mount"           # or "file_transfer"; recorded in ingest.json
# receipts = true                    # tell the instrument, in .exlab-receipts beside its projects, what is safe
# receipts_days = 90                 # for that long
#
# An instrument that sends a list of its files, with sizes and perhaps SHA-256.
#
# [[equipment]]
# id = "FLOW_01"
# label = "Flow Cytometer 1"
# completeness_signal = "manifest"
# manifest_filename = "manifest.json"
# # Where it goes to a NAS of its own that cannot be mounted: a remote of rclone's configuration (SFTP, SMB, S3,
# # WebDAV); then run 'exlab-orch nas-init'.
# [equipment.nas]
# type = "rclone"
# remote = "lab-s3"
# path = "archive/lab"
# config = "/etc/exlab-orch/rclone.conf"
# marker_id = ""
#
# An instrument whose runs go to a computer that is reached by rsync over ssh.
#
# [[equipment]]
# id = "NANOPORE_01"
# label = "PromethION"
# completeness_signal = "sentinel_file"
# sentinel_filename = "final_summary_*.txt"
# [equipment.nas]
# type = "rsync_ssh"
# target = "labuser@nas01.lab.example"
# path = "/srv/lab"
# ssh_key_path = "/etc/exlab-orch/id_ed25519"
# known_hosts = "/etc/exlab-orch/known_hosts"
# marker_id = ""
#
# An instrument that cannot say anything: a run is finished when nothing changed for a while. Choose
# longer than its longest pause. This one also has a NAS of its own.
#
# [[equipment]]
# id = "PLATE_READER_01"
# label = "Plate Reader 1"
# completeness_signal = "quiet_period"
# quiet_minutes = 60                 # at least settle_seconds
# [equipment.nas]
# type = "mount"
# root = "/mnt/screening"
# marker_id = ""
# ---------------------------------------------------------------------------------------------
"""


@dataclass(frozen=True, slots=True)
class InitAnswers:
    """What ``init`` was told: by flags, or by answers on a terminal."""

    staging_root: str
    state_dir: str
    nas_root: str
    label: str = ""
    require_mount: bool = True
    mode: Literal["manual", "scheduled"] = "manual"
    retain_hours: float = PROPOSED_RETAIN_HOURS
    equipment: tuple[Equipment, ...] = ()


def sample_config(answers: InitAnswers) -> str:
    """A commented config.toml with those answers in effect; ``parse_config`` tells whether they are usable."""
    hours = answers.retain_hours
    values: dict[str, object] = {
        "label": answers.label,
        "staging_root": answers.staging_root,
        "state_dir": answers.state_dir,
        "mode": answers.mode,
        "retain_hours": int(hours) if hours == int(hours) else hours,
        "root": answers.nas_root,
        "require_mount": answers.require_mount,
    }
    text = _SAMPLE.format_map({key: f"{key} = {_toml(value)}" for key, value in values.items()})
    return text + "".join("\n" + equipment_block(equipment) for equipment in answers.equipment)


def _toml(value: object) -> str:
    return tomli_w.dumps({"value": value}).removeprefix("value = ").rstrip("\n")


def equipment_block(equipment: Equipment) -> str:
    """The TOML block of one equipment, with the keys that were given and no others."""
    keys = equipment.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    nas = keys.pop("nas", None)
    block = "[[equipment]]\n" + tomli_w.dumps(keys)
    return block + (f"[equipment.nas]\n{tomli_w.dumps(nas)}" if nas is not None else "")


def effective_toml(config: Config) -> str:
    """Every value in effect as TOML, defaults included; what has no value is left out."""
    return tomli_w.dumps(config.model_dump(mode="json", by_alias=True, exclude_none=True))


def with_equipment(content: bytes, file: str, equipment: Equipment) -> bytes:
    """The file's content with one more block at its end. Raises ConfigFileInvalid where that is no configuration."""
    parse_config(content, file)
    newline = b"\r\n" if b"\r\n" in content else b"\n"
    block = equipment_block(equipment).encode().replace(b"\n", newline)
    gap = newline if content.endswith(b"\n") or not content else 2 * newline
    return _checked(content + gap + block, file)


def append_equipment(path: str, equipment: Equipment) -> None:
    """Append one equipment to the configuration file; comments stay, and an invalid result is never written.

    Raises ConfigInvalid, and WrongUser where this user may not write the file.
    """
    _replace(path, with_equipment(read_config(path), path, equipment))


def with_marker_id(content: bytes, file: str, nas_name: str, marker_id: str) -> bytes:
    """The file's content with that id in every table of that NAS; an id that is there already stays.

    Raises ConfigFileInvalid where there is no such NAS, where another id is configured, or where the file has errors.
    """
    config = parse_config(content, file)
    text = content.decode("utf-8")
    places = find_keys(text)
    tables = _tables_of(config, nas_name)
    if not tables:
        raise _error(file, 1, "nas", f'there is no NAS "{printable(nas_name)}"', "the address of a NAS in the file")
    for table, nas in sorted(tables, key=lambda found: places[*found[0], _anchor(found[1])].key_start, reverse=True):
        if nas.marker_id not in (None, marker_id):
            place = places[*table, "marker_id"]
            raise _error(file, place.line, "marker_id", "another id is configured", "the id of the marker on this NAS")
        anchor = _anchor(nas)
        text = _with_key(text, anchor, places[*table, anchor], places.get((*table, "marker_id")), marker_id)
    return _checked(text.encode("utf-8"), file)


def set_marker_id(path: str, nas_name: str, marker_id: str) -> None:
    """Put the marker's id into the configuration file; comments stay. Raises ConfigInvalid, WrongUser."""
    before = read_config(path)
    after = with_marker_id(before, path, nas_name, marker_id)
    if after != before:
        _replace(path, after)


def write_new(path: str, text: str) -> None:
    """Write a first configuration, after checking that it is one.

    Raises ConfigInvalid where the file is there already (it is never replaced) or cannot be written, and WrongUser
    where this user may not.
    """
    content = _checked(text.encode("utf-8"), path)
    target = os.path.abspath(path)
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        written = write_once(target, content, 0o644)
    except OSError as error:
        raise _not_written(path, error) from error
    if not written:
        raise already_there(path)


def require_writable(path: str) -> None:
    """Raise WrongUser where this user could not write the configuration file; nothing is written to find out."""
    folder = os.path.dirname(os.path.realpath(path))
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _not_written(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def already_there(path: str) -> ConfigInvalid:
    """The refusal to replace a configuration."""
    return ConfigInvalid(
        f"{printable(path)} is there already and was not touched.", hint="Edit it, or name another file with -c FILE."
    )


def _tables_of(config: Config, nas_name: str) -> list[tuple[KeyPath, AnyNas]]:
    own: list[tuple[KeyPath, AnyNas | None]] = [
        (("equipment", number, "nas"), equipment.nas) for number, equipment in enumerate(config.equipment)
    ]
    shared: list[tuple[KeyPath, AnyNas | None]] = [(("nas",), config.nas)]
    return [(path, nas) for path, nas in shared + own if nas is not None and nas.name == nas_name]


def _anchor(nas: AnyNas) -> str:
    """The key that a marker's id is put behind."""
    return "root" if isinstance(nas, MountNas) else "path"


def _with_key(text: str, name: str, root: KeyPlace, marker: KeyPlace | None, marker_id: str) -> str:
    """Replace the value of ``marker_id``, or put the key behind that one, spelled as it is (dotted, indented)."""
    value = _toml(marker_id)
    if marker is not None:
        return text[: marker.value_start] + value + text[marker.value_end :]
    key = "marker_id".join(text[root.key_start : root.value_start].rsplit(name, 1))
    if root.inline:
        return f"{text[: root.value_end]}, {key}{value}{text[root.value_end :]}"
    line_start = text.rfind("\n", 0, root.key_start) + 1
    line_end = text.find("\n", root.value_end)
    if line_end < 0:
        return f"{text}\n{text[line_start : root.key_start]}{key}{value}\n"
    newline = "\r\n" if text[line_end - 1] == "\r" else "\n"
    return f"{text[: line_end + 1]}{text[line_start : root.key_start]}{key}{value}{newline}{text[line_end + 1 :]}"


def _checked(content: bytes, file: str) -> bytes:
    try:
        parse_config(content, file)
    except ConfigFileInvalid as error:
        raise ConfigFileInvalid.listing(
            error.errors, hint="The file was not changed; the lines count as if the change had been made."
        ) from error
    return content


def _replace(path: str, content: bytes) -> None:
    """Write whole, behind a link too; keep mode and owner: the service must be able to read what root has edited."""
    target = os.path.realpath(path)
    try:
        before = os.stat(target)
        write_whole(target, content, stat.S_IMODE(before.st_mode))
    except OSError as error:
        raise _not_written(path, error) from error
    for owner in (before.st_uid, -1):
        with suppress(PermissionError):
            os.chown(target, owner, before.st_gid)
            return


def _not_written(path: str, error: OSError) -> ExlabError:
    kind = WrongUser if isinstance(error, PermissionError) else ConfigInvalid
    mine = "Run the command again with sudo in front, or as another user that may write the file and its folder."
    other = "Look at the disk and the folder, and run the command again."
    return kind(
        f"{printable(path, 1000)} cannot be written: {error.strerror}.",
        hint=mine if kind is WrongUser else other,
    )


def _error(file: str, line: int, key: str, wrong: str, allowed: str) -> ConfigFileInvalid:
    return ConfigFileInvalid.listing([ConfigError(file, line, key, wrong, allowed)])
