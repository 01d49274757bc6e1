"""Every deliberate error, with its stable code, its exit status and what to do next.

ExlabError
├── ConfigInvalid            config_invalid           78
├── OwnerMismatch            owner_mismatch           78
├── KeyUnusable              config_invalid           78
├── WrongUser                permission_denied        77
├── OrchestratorDisabled     orchestrator_disabled    69
├── StagingUnavailable       staging_unavailable      69
├── StateUnavailable         state_unavailable        69
├── RunNotFound              run_not_found             4
├── RunAmbiguous             run_ambiguous             4
├── OutsideStaging           outside_staging           5
├── Locked                   locked                   75
├── NotConfirmed             not_confirmed             5
├── ScheduleConflict         schedule_conflict         5
├── OutputLost               output_lost              74
├── NotifyFailed             notify_failed            69
├── JournalDamaged           journal_damaged           3
├── SelftestLeftover         selftest_leftover         3
├── IllegalTransition        illegal_transition        1   (also a ValueError)
├── NasFault                 of the NAS as a whole; uses up no run's attempts    69
│   ├── NasNotMounted        nas_not_mounted
│   ├── NasWrongMarker       nas_wrong_marker
│   ├── NasUnreachable       nas_unreachable
│   ├── NasFull              nas_full
│   ├── NasPaused            nas_paused
│   ├── NasAuthFailed        auth_failed
│   ├── ToolMissing          tool_missing
│   └── ToolTooOld           tool_too_old
└── RunProblem               of one run; the others go on                        5
    ├── RecordUnreadable     record_unreadable
    ├── SchemaMajorMismatch  schema_major_mismatch
    ├── RecordUnsealed       record_unsealed
    ├── CreationMismatch     creation_mismatch
    ├── NameUnsupported      name_unsupported
    ├── SpecialFile          special_file
    ├── PermissionRefused    permission_denied
    ├── ChangedWhileCopied   changed_while_copied
    ├── ChangedSinceVerified changed_since_verified
    ├── HashMismatch         hash_mismatch
    ├── NasConflict          nas_conflict
    ├── NasCopyDamaged       nas_copy_damaged
    ├── NasCopyMissing       nas_copy_missing
    ├── NasCopyUnreadable    nas_copy_unreadable
    ├── SyncFailed           sync_failed
    ├── NotSyncVerified      not_sync_verified
    ├── RunHeld              held
    ├── TrashLeftover        trash_leftover
    └── TrashOtherFilesystem trash_other_filesystem
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import ClassVar

from exlab_orch.hints import IN_THE_WAY, TRIES_AGAIN, promised

EXIT_DONE = 0
EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_RUN_FAILED = 3
EXIT_NO_RUN = 4
EXIT_REFUSED = 5
EXIT_UNAVAILABLE = 69
EXIT_OUTPUT_LOST = 74
EXIT_LOCKED = 75
EXIT_NOT_PERMITTED = 77
EXIT_CONFIG = 78


class ExlabError(Exception):
    """A deliberate error: what went wrong, a stable code, an exit status, and what to do now.

    ``files`` are names relative to the run folder, as bytes, that the message is about.
    """

    code: ClassVar[str] = "bug"
    exit_status: ClassVar[int] = EXIT_BUG

    def __init__(self, message: str, *, hint: str = "", files: Sequence[bytes] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.files = tuple(files)


class ConfigInvalid(ExlabError):
    """The configuration is missing or cannot be used."""

    code = "config_invalid"
    exit_status = EXIT_CONFIG


class OwnerMismatch(ExlabError):
    """Another computer or state directory drives this staging root (lifecycle.md, 4)."""

    code = "owner_mismatch"
    exit_status = EXIT_CONFIG


class KeyUnusable(ConfigInvalid):
    """The seal key is there but unreadable or of the wrong length (lifecycle.md, 2)."""


class WrongUser(ExlabError):
    """A command that changes something was started by somebody else than the state directory's owner."""

    code = "permission_denied"
    exit_status = EXIT_NOT_PERMITTED


class OrchestratorDisabled(ExlabError):
    """``orchestrator.enabled`` is false (lifecycle.md, 7)."""

    code = "orchestrator_disabled"
    exit_status = EXIT_UNAVAILABLE


class StagingUnavailable(ExlabError):
    """The staging root is missing or cannot be read."""

    code = "staging_unavailable"
    exit_status = EXIT_UNAVAILABLE


class StateUnavailable(ExlabError):
    """The state directory cannot be read or written, or its journal is locked: nothing could be remembered."""

    code = "state_unavailable"
    exit_status = EXIT_UNAVAILABLE


class RunNotFound(ExlabError):
    """No run has that name."""

    code = "run_not_found"
    exit_status = EXIT_NO_RUN


class RunAmbiguous(ExlabError):
    """More than one run has that name."""

    code = "run_ambiguous"
    exit_status = EXIT_NO_RUN


class OutsideStaging(ExlabError):
    """The path is not below the staging root."""

    code = "outside_staging"
    exit_status = EXIT_REFUSED


class Locked(ExlabError):
    """Another process is busy with this run, or every slot of the NAS is taken."""

    code = "locked"
    exit_status = EXIT_LOCKED


class NotConfirmed(ExlabError):
    """The person did not say yes, or nobody could be asked."""

    code = "not_confirmed"
    exit_status = EXIT_REFUSED


class ScheduleConflict(ExlabError):
    """Another schedule is active, or a file of somebody else stands where one of a schedule belongs."""

    code = "schedule_conflict"
    exit_status = EXIT_REFUSED


class OutputLost(ExlabError):
    """What was asked for could not be written where it was to go."""

    code = "output_lost"
    exit_status = EXIT_OUTPUT_LOST


class NotifyFailed(ExlabError):
    """A message could not be sent to everybody who is to be told."""

    code = "notify_failed"
    exit_status = EXIT_UNAVAILABLE


class JournalDamaged(ExlabError):
    """The journal cannot be read; it is an index that can be lost, and the next pass begins a new one."""

    code = "journal_damaged"
    exit_status = EXIT_RUN_FAILED


class SelftestLeftover(ExlabError):
    """What a self-test made, or what lies beside it, could not be removed."""

    code = "selftest_leftover"
    exit_status = EXIT_RUN_FAILED


class IllegalTransition(ExlabError, ValueError):
    """The five states allow no such step, or a write would rewrite history (lifecycle.md, 2)."""

    code = "illegal_transition"


class NasFault(ExlabError):
    """A fault of the NAS as a whole: probed once per pass, uses up no run's attempts (lifecycle.md, 5)."""

    code = "nas_unreachable"
    exit_status = EXIT_UNAVAILABLE


class NasNotMounted(NasFault):
    """The NAS root is missing or lies on the same mount as the staging root or ``/``."""

    code = "nas_not_mounted"


class NasWrongMarker(NasFault):
    """The marker file is missing, unreadable, or carries another id."""

    code = "nas_wrong_marker"


class NasUnreachable(NasFault):
    """The NAS does not answer in time, or answers with an error."""

    code = "nas_unreachable"


class NasFull(NasFault):
    """Copying would leave less free space than the reserve, or the NAS says it is full."""

    code = "nas_full"


class NasPaused(NasFault):
    """A person stopped copying to this NAS for maintenance."""

    code = "nas_paused"


class NasAuthFailed(NasFault):
    """The NAS refuses our key or password, or shows another host key than the known one."""

    code = "auth_failed"


class ToolMissing(NasFault):
    """The program that reaches this NAS is not installed, or cannot be started."""

    code = "tool_missing"


class ToolTooOld(NasFault):
    """The program that reaches this NAS is of a version that does not do what we rely on."""

    code = "tool_too_old"


class RunProblem(ExlabError):
    """A problem of one run: it stops that run and no other."""

    code = "sync_failed"
    exit_status = EXIT_REFUSED


class RecordUnreadable(RunProblem):
    """``ingest.json`` is there but cannot be understood; it is kept as it is."""

    code = "record_unreadable"


class SchemaMajorMismatch(RunProblem):
    """``ingest.json`` was written under another major schema version; it is left untouched."""

    code = "schema_major_mismatch"


class RecordUnsealed(RunProblem):
    """The record carries no seal of ours, so it is a claim and never permits a delete."""

    code = "record_unsealed"


class CreationMismatch(RunProblem):
    """``creation.json`` names another equipment or kind than the folder does."""

    code = "creation_mismatch"


class NameUnsupported(RunProblem):
    """A name cannot be held by the record or by the NAS."""

    code = "name_unsupported"


class SpecialFile(RunProblem):
    """The run holds something that is neither a file nor a folder, or a mount point."""

    code = "special_file"


class PermissionRefused(RunProblem):
    """A file or folder of the run, or of its NAS copy, may not be read or written by this user."""

    code = "permission_denied"


class ChangedWhileCopied(RunProblem):
    """The run changed between the first walk and the last look; the attempt does not count."""

    code = "changed_while_copied"


class ChangedSinceVerified(RunProblem):
    """The staged copy is no longer what was proved."""

    code = "changed_since_verified"


class HashMismatch(RunProblem):
    """Twice, what was read back from the NAS was not what was written."""

    code = "hash_mismatch"


class NasConflict(RunProblem):
    """The NAS holds a file of that name that differs and is not an earlier proved version of ours."""

    code = "nas_conflict"


class NasCopyDamaged(RunProblem):
    """A proved file has other content on the NAS now."""

    code = "nas_copy_damaged"


class NasCopyMissing(RunProblem):
    """A proved file is gone from the NAS."""

    code = "nas_copy_missing"


class NasCopyUnreadable(RunProblem):
    """A proved file, or its folder, cannot be read on the NAS: nobody knows what it holds now."""

    code = "nas_copy_unreadable"


class SyncFailed(RunProblem):
    """The copy failed for a reason that has no code of its own."""

    code = "sync_failed"


class NotSyncVerified(RunProblem):
    """The run is in another state than ``sync_verified``, or its record does not say what was proved."""

    code = "not_sync_verified"


class RunHeld(RunProblem):
    """A person decided that nothing of this run is deleted."""

    code = "held"


class TrashLeftover(RunProblem):
    """Something in the trash is not on the list of proved files, or its proof failed; it stays there."""

    code = "trash_leftover"


class TrashOtherFilesystem(RunProblem):
    """The trash folder is on another file system than the run, so it cannot be moved there in one step."""

    code = "trash_other_filesystem"


FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_ROOM_FOR_THE_JOURNAL = 1 << 20
_MAKE_ROOM = (
    "To delete staged copies that are safe on the NAS: exlab-orch clear --all-verified   "
    "If that frees nothing, stop the instruments and move something that is not a run to another disk."
)
RENAME = "Rename it on the instrument and in staging alike: in staging alone, the next push brings the old name back."
"""What to do about a name: the instrument has it still, and would push it beside the new one."""
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NAS_GONE = {
    *(errno.ENOTCONN, errno.ESTALE, errno.ENODEV, errno.EPIPE, errno.EREMOTEIO),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH),
    *(errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNABORTED, errno.ECONNREFUSED, errno.ESHUTDOWN),
}
_NAME = frozenset({errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ})
_IN_THE_WAY = frozenset({errno.ENOTDIR, errno.ELOOP})


def from_nas(error: OSError, doing: str) -> ExlabError:
    """Translate an operating system error met on the NAS while ``doing`` something, as a sentence says it."""
    text = f"The NAS answered '{error.strerror or error}' while {doing}."
    if error.errno in FULL:
        return NasFull(text, hint=promised("Free space on the NAS, or raise the quota"))
    if error.errno == errno.EROFS:
        return NasUnreachable(text, hint="It is mounted read-only. See why (dmesg), and mount it to be written.")
    if error.errno in _NAS_GONE:
        return NasUnreachable(text, hint=promised("Check the mount and the network", TRIES_AGAIN))
    if error.errno in _REFUSED:
        return PermissionRefused(text, hint="Let the service user read and write that folder on the NAS.")
    if error.errno in _NAME:
        return NameUnsupported(text, hint=f"The NAS cannot hold this name. {RENAME}")
    if error.errno in _IN_THE_WAY:
        return NasConflict(
            f"{text} A file or a link stands where something else belongs.",
            hint=promised(IN_THE_WAY),
        )
    if error.errno == errno.EXDEV:
        return NasConflict(
            f"{text} Something else is mounted below the NAS root, on the way to the run.",
            hint="Give that equipment a [equipment.nas] of its own, with what is mounted there as its root.",
        )
    return SyncFailed(text, hint="It is tried again later; 'exlab-orch sync RUN' tries now.")


def from_staging(error: OSError, doing: str) -> RunProblem:
    """Translate an operating system error met in staging while ``doing`` something."""
    text = f"Staging answered '{error.strerror or error}' while {doing}."
    if error.errno in _REFUSED:
        return PermissionRefused(text, hint="Let the service user read and write the run folder.")
    if error.errno == errno.EXDEV:
        return SpecialFile(f"{text} Something is mounted inside the run.", hint=promised("Unmount it"))
    if error.errno == errno.EAGAIN:
        return ChangedWhileCopied(text, hint="Another program has the file open; the next pass looks again.")
    if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENOENT):
        return ChangedWhileCopied(text, hint="The run changes right now; the next pass looks again.")
    if error.errno in _NAME:
        return NameUnsupported(text, hint=f"A name or path in the run is too long. {RENAME}")
    if error.errno in FULL:
        return SyncFailed(text, hint=f"The staging disk is full. {_MAKE_ROOM}")
    return SyncFailed(text, hint="Check the staging disk; the run is tried again later.")


def from_state(path: str, what: object) -> StateUnavailable:
    """The error of a state directory, or of a file in it, that answered with ``what``."""
    hint = promised("Look at its disk (read-only, broken?) and its rights")
    if _is_full(path if os.path.isdir(path) else os.path.dirname(path)):  # it may be a disk of its own
        hint = f"Its disk is full. {_MAKE_ROOM}"
    return StateUnavailable(f"The state directory {path} cannot be used: {what}.", hint=hint)


def _is_full(folder: str) -> bool:
    with suppress(OSError):
        disk = os.statvfs(folder)
        return disk.f_bavail * disk.f_frsize < _ROOM_FOR_THE_JOURNAL
    return False


@contextmanager
def state_errors(path: str) -> Iterator[None]:
    """Translate operating system errors of the block as errors of the state directory or the file at ``path``."""
    try:
        yield
    except OSError as error:
        raise from_state(path, error.strerror or error) from error


@contextmanager
def nas_errors(doing: str, *, missing_is_an_answer: bool = False) -> Iterator[None]:
    """Translate operating system errors of the block as errors of the NAS; ``doing`` completes "while …".

    With ``missing_is_an_answer`` FileNotFoundError passes: the caller asked whether something is there.
    """
    try:
        yield
    except OSError as error:
        if missing_is_an_answer and isinstance(error, FileNotFoundError):
            raise
        raise from_nas(error, doing) from error


@contextmanager
def staging_errors(doing: str) -> Iterator[None]:
    """Translate operating system errors of the block as errors of staging; ``doing`` completes "while …"."""
    try:
        yield
    except OSError as error:
        raise from_staging(error, doing) from error
