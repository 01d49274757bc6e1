"""This user, the folders on this computer, the disk they are on, the locks and the journal."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from shlex import quote
from typing import Final

from exlab_orch.diagnosis import Finding
from exlab_orch.doctor.visit import WIDE, Check, Visit, for_chown, has_name
from exlab_orch.errors import JournalDamaged, StateUnavailable
from exlab_orch.files.locks import try_lock
from exlab_orch.groups import user_name
from exlab_orch.journal import Journal, open_journal
from exlab_orch.journal_file import damage_in
from exlab_orch.policy import unreachable_mark
from exlab_orch.space import Space, disk_space, staging_seconds_left, staging_space
from exlab_orch.staging import OURS, TRASH, Discovery, Stray, discover, read_owner, require_mounted, require_root
from exlab_orch.state import StateDirectory, nameless, to_named_user
from exlab_orch.station import this_owner
from exlab_orch.text import count, duration, printable, size
from exlab_orch.transports.mountinfo import file_system, locate

_SOON_SECONDS: Final = 86_400.0
_LOW_PERCENT: Final = 5.0
_STATE_LOW: Final = 200 << 20
_STATE_FULL: Final = 10 << 20
_FAR: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "9p", "ceph", "glusterfs", "lustre"})
_SHOWN: Final = 3
_OWN: Final = re.compile(
    r"journal\.sqlite3(-wal|-shm)?|ledger\.jsonl|exlab-orch\.log|refused\.json|locks|progress|selftest|damaged|reserve"
)


# -- the user ------------------------------------------------------------------------------------------------


def _user(visit: Visit) -> Iterator[Finding]:
    check, owner, present = "user.owner", visit.owner(), os.geteuid()
    if owner is None:
        yield Finding(check, "skipped", "Who runs the passes is told by the state directory, and there is none yet.")
    elif owner == 0:
        message = "The state directory belongs to root, so passes run as root and may write everywhere."
        folders = f"{quote(visit.state_dir)} {quote(visit.staging_root)}"
        make = "sudo useradd --system --home-dir /var/lib/exlab-orch --shell /usr/sbin/nologin exlab-orch"
        fix = f"Have a user of its own: {make}   Give it both folders: sudo chown -R exlab-orch: {folders}"
        yield Finding(check, "warning", message, fix)
    elif owner == present:
        yield Finding(check, "ok", f"You are {user_name(present)}, who runs the passes.")
    elif not has_name(owner):
        message = f"The state directory {printable(visit.state_dir, WIDE)} {nameless(owner)}."
        fix = f"Give it to the user that runs exlab-orch: {to_named_user(visit.state_dir)}"
        yield Finding(check, "error", message, fix)
    else:
        message = f"You are {user_name(present)}; passes are run by {user_name(owner)}, and only that user sees it all."
        yield Finding(check, "skipped", message, visit.as_owner())


# -- the state directory -------------------------------------------------------------------------------------


def _state(visit: Visit) -> Iterator[Finding]:
    check, path = "state.folder", visit.state_dir
    try:
        found = os.stat(path)
    except FileNotFoundError:
        if os.geteuid() != 0 and os.access(os.path.dirname(path), os.W_OK):
            yield Finding(check, "skipped", "It is not there yet; the first pass makes it, and its user is the owner.")
            return
        made = f"sudo install -d -o exlab-orch -g exlab-orch -m 755 {quote(path)}"
        message = f"The state directory {printable(path, WIDE)} is not there yet."
        yield Finding(check, "error", message, f"Make it for the user that is to run the passes: {made}")
        return
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISDIR(found.st_mode):
        yield Finding(check, "error", f"{printable(path, WIDE)} is not a folder.", "Correct orchestrator.state_dir.")
    elif mode & 0o022:
        message = f"Other users may write in the state directory {printable(path, WIDE)} (mode {mode:04o})."
        yield Finding(check, "error", message, f"sudo chmod go-w {quote(path)}")
    else:
        yield Finding(check, "ok", f"{printable(path, WIDE)} is closed to other writers (mode {mode:04o}).")


def _state_files(visit: Visit) -> Iterator[Finding]:
    """What root wrote or put back from a backup there stops every pass of another user."""
    check, owner = "state.files", visit.owner()
    if owner is None:
        yield Finding(check, "skipped", "There is no state directory yet.")
        return
    visit.require_state()
    others = [path for path in _own_files(visit.state_dir) if not _is_usable(path, owner, visit.is_owner())]
    if not others:
        yield Finding(check, "ok", "What is in it belongs to the same user.")
        return
    name, path = user_name(owner), visit.state_dir
    more = f" (and {len(others) - 1:,} more)" if others[1:] else ""
    message = f"{name}, who runs the passes, does not own or may not write {printable(others[0], WIDE)}{more}."
    fix = f"sudo chown -R {for_chown(owner)} {quote(path)} && sudo chmod -R u+rwX {quote(path)}"
    yield Finding(check, "error", message, fix)


def _own_files(state_dir: str) -> Iterator[str]:
    """The journal, the log and the like, the folders, and what is in these; what others put there is theirs."""
    for name in filter(_OWN.fullmatch, os.listdir(state_dir)):
        path = f"{state_dir}/{name}"
        yield path
        if os.path.isdir(path):
            yield from (f"{path}/{inner}" for inner in os.listdir(path))


def _is_usable(path: str, owner: int, is_owner: bool) -> bool:
    try:
        return os.lstat(path).st_uid == owner and (not is_owner or os.access(path, os.R_OK | os.W_OK))
    except FileNotFoundError:
        return True  # a pass is at work


def _state_disk(visit: Visit) -> Iterator[Finding]:
    check = "state.disk"
    if not os.path.isdir(visit.state_dir):
        yield Finding(check, "skipped", "There is no state directory yet.")
        return
    kind = file_system(visit.state_dir)
    if kind in _FAR or kind.startswith("fuse."):
        message = f"The state directory is on {kind}: locks and the journal need a local disk."
        yield Finding(check, "error", message, "Move it to a local disk: docs/howto/new-computer.md says how.")
        return
    yield Finding(check, "ok", f"It is on a local disk ({kind}).")


def _state_space(visit: Visit) -> Iterator[Finding]:
    if os.path.isdir(visit.state_dir):
        yield state_space_finding(disk_space(visit.state_dir))


def state_space_finding(space: Space) -> Finding:
    """Whether the journal can still be written."""
    check, free = "state.space", size(space.free_bytes)
    if space.free_bytes >= _STATE_LOW:
        return Finding(check, "ok", f"{free} are free for the journal.")
    result = "error" if space.free_bytes < _STATE_FULL else "warning"
    message = f"Only {free} are free on the disk of the state directory; without the journal no pass goes on."
    return Finding(check, "error" if result == "error" else "warning", message, "Free space there.")


def _lock(visit: Visit) -> Iterator[Finding]:
    """Whether the kernel keeps two from holding one lock, in that very folder."""
    check = "state.lock"
    visit.require_state()
    if not os.path.isdir(f"{visit.state_dir}/locks"):
        yield Finding(check, "skipped", "No pass was made yet, so there are no locks.")
        return
    if not visit.is_owner():
        yield Finding(check, "skipped", "Only the user that runs the passes tries its locks.", visit.as_owner())
        return
    if not visit.writes:
        yield Finding(check, "skipped", "--dry-run writes nothing.")
        return
    path = f"{visit.state_dir}/locks/doctor"
    held = try_lock(path)
    second = try_lock(path)
    for descriptor in (held, second):
        if descriptor is not None:
            os.close(descriptor)
    if held is not None and second is not None:
        message = "The state directory does not keep locks apart: two could have the same one at once."
        yield Finding(check, "error", message, "Move the state directory to a local disk that can lock (ext4, xfs).")
    else:
        yield Finding(check, "ok", "Locks keep passes and commands apart.")


def _journal(visit: Visit) -> Iterator[Finding]:
    check, path = "state.journal", StateDirectory(visit.state_dir, None).journal_path
    visit.require_state()
    if not os.path.isfile(path):
        yield Finding(check, "skipped", "There is no journal yet; the first pass makes it.")
        return
    if not os.access(path, os.R_OK):
        yield Finding(check, "skipped", "This user may not read the journal.", visit.as_owner())
        return
    try:
        wrong = damage_in(path)
    except StateUnavailable:
        if visit.is_owner():
            raise
        yield Finding(check, "skipped", "This user may not join the journal.", visit.as_owner())
        return
    if wrong is None:
        yield Finding(check, "ok", "The journal is sound.")
        return
    message = f"The journal {printable(path, WIDE)} cannot be used: {printable(wrong)}."
    fix = "The next pass that meets it sets it aside and hashes staged files again: docs/howto/lost-journal.md"
    yield Finding(check, "error", message, fix)


# -- staging -------------------------------------------------------------------------------------------------


def _staging(visit: Visit) -> Iterator[Finding]:
    check, root = "staging.folder", visit.staging_root
    require_root(root)
    with suppress(JournalDamaged), journal_of(visit) as journal:
        if journal.note("staging_root") == root:
            require_mounted(root)
    if not visit.is_owner():
        yield Finding(check, "ok", f"{printable(root, WIDE)} is there.")
        return
    missing = _missing_rights(root)
    if missing:
        message = f"{_me()} may not {missing} in the staging root {printable(root, WIDE)}."
        yield Finding(
            check,
            "error",
            message,
            f"sudo chown {for_chown(os.geteuid())} {quote(root)} && sudo chmod u+rwx {quote(root)}",
        )
    else:
        yield Finding(check, "ok", f"{printable(root, WIDE)} is there and can be written.")


def _me() -> str:
    return quote(user_name(os.geteuid()))


def _missing_rights(folder: str) -> str:
    """What this user may not do there: "read or write", or nothing."""
    rights = (("read", os.R_OK), ("write", os.W_OK), ("enter", os.X_OK))
    return " or ".join(word for word, mode in rights if not os.access(folder, mode))


def _staging_rights(visit: Visit) -> Iterator[Finding]:
    """The service user writes beside the data and deletes it in the end, whoever pushes it."""
    check = "staging.rights"
    if not visit.is_owner():
        yield Finding(check, "skipped", "Only the user that runs the passes knows its rights.", visit.as_owner())
        return
    closed = [folder for folder in _folders_of_runs(visit) if _missing_rights(folder)]
    if not closed:
        yield Finding(check, "ok", f"{_me()} may read and write the folders of equipment, projects and runs.")
        return
    more = f" (and {len(closed) - 1:,} more)" if closed[1:] else ""
    message = f"{_me()} may not {_missing_rights(closed[0])} in {printable(closed[0], WIDE)}{more}."
    me = for_chown(os.geteuid())
    fix = f"Have the share write as {_me()} (Samba: force user). What is there: sudo chown -R {me} {quote(closed[0])}"
    yield Finding(check, "error", message, fix)


def _folders_of_runs(visit: Visit) -> list[str]:
    """The folders of equipment, and from there down to every run, the outer ones first."""
    root = visit.staging_root
    known = [f"{root}/{one.id}" for one in visit.config.equipment]
    runs = [run.place.absolute for run in _discovered(visit).runs]
    between = {above for run in runs for above in _down_to(root, run)}
    return sorted({*(folder for folder in known if os.path.isdir(folder)), *between})


def _down_to(root: str, run: str) -> Iterator[str]:
    names = run.removeprefix(f"{root}/").split("/")
    return (f"{root}/{'/'.join(names[:depth])}" for depth in range(1, len(names) + 1))


def _discovered(visit: Visit) -> Discovery:
    known = (one.id for one in visit.config.equipment)
    return discover(visit.staging_root, known, visit.config.run_patterns)


def _staging_owner(visit: Visit) -> Iterator[Finding]:
    check, found = "staging.owner", read_owner(visit.staging_root)
    if found is None:
        yield Finding(check, "skipped", "Nobody drives this staging root yet; the first pass does.")
        return
    here = this_owner(visit.state_dir)
    if (found.machine, found.state_dir) == (here.machine, here.state_dir):
        yield Finding(check, "ok", "This computer drives the staging root.")
        return
    message = (
        f"The staging root is driven by {printable(found.host)} with the state directory {printable(found.state_dir)}, "
        "not from here."
    )
    yield Finding(check, "error", message, f"If that one is out of service for good: {visit.as_owner('takeover')}")


def _one_file_system(visit: Visit) -> Iterator[Finding]:
    """A delete begins with one rename into the trash: that works on one mount only."""
    check, root = "staging.filesystem", visit.staging_root
    around = locate(root)
    folders = [f"{OURS}", TRASH, *(one.id for one in visit.config.equipment)]
    there = [folder for folder in folders if os.path.isdir(f"{root}/{folder}")]
    apart = [folder for folder in there if locate(f"{root}/{folder}").mount != around.mount]
    if not apart:
        yield Finding(check, "ok", "The trash folder and the folders of the equipment are on the disk of staging.")
        return
    message = f"{', '.join(apart)} in staging {'is' if len(apart) == 1 else 'are'} on another disk or mount."
    fix = f"Unmount what is mounted inside staging; have all of it on one file system: findmnt -R {quote(root)}"
    yield Finding(check, "error", f"{message} No run can be moved from one to the other.", fix)


def _staging_space(visit: Visit) -> Iterator[Finding]:
    space = staging_space(visit.staging_root)
    left = None
    with suppress(JournalDamaged), journal_of(visit) as journal:
        left = staging_seconds_left(journal, visit.staging_root, space, visit.now)
    mark = visit.config.orchestrator.staging_cleanup.mark_bytes(space.total_bytes)
    yield staging_space_finding(space, left, mark)


def staging_space_finding(space: Space, seconds_left: float | None, mark: int) -> Finding:
    """Whether there is room for the runs to come."""
    check = "staging.space"
    words = f"{size(space.free_bytes)} of {size(space.total_bytes)} are free"
    fix = "See what may be deleted: exlab-orch list; docs/howto/disk-full.md"
    if space.free_bytes == 0:
        return Finding(check, "error", "Nothing is free on the staging disk: instruments cannot push.", fix)
    unreachable = unreachable_mark(mark, space)
    if unreachable is not None:
        return Finding(check, "warning", unreachable, "Set a smaller min_free in the configuration; docs/space.md")
    if seconds_left is not None and seconds_left < _SOON_SECONDS:
        return Finding(check, "warning", f"{words}; at the present rate full in {duration(seconds_left)}.", fix)
    if space.free_bytes < mark:
        return Finding(check, "warning", f"{words}, less than staging_cleanup.min_free.", fix)
    if 100 - space.used_percent < _LOW_PERCENT:
        return Finding(check, "warning", f"{words}, less than {_LOW_PERCENT:g} %.", fix)
    return Finding(check, "ok", f"{words}.")


def _strays(visit: Visit) -> Iterator[Finding]:
    yield strays_finding(_discovered(visit).strays)


def strays_finding(strays: tuple[Stray, ...]) -> Finding:
    """What lies in staging and is never copied."""
    if not strays:
        return Finding("staging.strays", "ok", "Everything in staging is a run.")
    shown = ", ".join(printable(os.fsencode(one.path), WIDE) for one in strays[:_SHOWN])
    more = f" and {len(strays) - _SHOWN:,} more" if strays[_SHOWN:] else ""
    message = f"{count(len(strays), 'thing')} in staging will never be copied: {shown}{more}."
    return Finding("staging.strays", "warning", message, strays[0].hint)


def journal_of(visit: Visit) -> Journal:
    """The journal, to be read; empty where there is none."""
    return open_journal(StateDirectory(visit.state_dir, None).journal_path, changing=False)


CHECKS: Final[Mapping[str, Check]] = {
    "user.owner": _user,
    "state.folder": _state,
    "state.files": _state_files,
    "state.disk": _state_disk,
    "state.space": _state_space,
    "state.lock": _lock,
    "state.journal": _journal,
    "staging.folder": _staging,
    "staging.owner": _staging_owner,
    "staging.filesystem": _one_file_system,
    "staging.space": _staging_space,
    "staging.rights": _staging_rights,
    "staging.strays": _strays,
}
