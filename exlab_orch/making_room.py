"""Deleting before retentions end, while the staging disk is low: whether, which runs, and when it is of no use."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final, cast

from exlab_orch.clock import has_come, pause
from exlab_orch.crew import Stop
from exlab_orch.journal import JournalRun
from exlab_orch.model import Problem, StagedRun
from exlab_orch.policy import has_freed_nothing, mark_words, space_warnings, unreachable_mark
from exlab_orch.space import remember_staging, staging_seconds_left, staging_space
from exlab_orch.station import Station
from exlab_orch.text import size
from exlab_orch.trash import Cleared

_REST: Final = timedelta(days=1)
_REST_NOTE: Final = "making_room_rests_until"
_FREED_LATE_SECONDS: Final = 40
"""Some file systems give space back when they commit: every 5 s (ZFS), every 30 s (btrfs)."""
_DISK: Final = "disk"
_STOPPED: Final = "clearing"


def staging_subject(station: Station) -> str:
    """How problems name the staging disk."""
    return f"staging:{station.staging_root}"


def staging_problems(station: Station) -> tuple[Problem, ...]:
    """What is wrong with the staging disk as a whole, oldest first."""
    return tuple(one for one in station.journal.problems() if one.subject == staging_subject(station))


def why_low(station: Station) -> str | None:
    """Why room is to be made on the staging disk, or None: there is enough, or deleting was of no use lately.

    Raises:
        RunProblem: the disk does not answer.
    """
    cleanup = station.cleanup
    if cleanup.mode == "manual" or cleanup.min_free is None or _rests(station):
        return None
    space = staging_space(station.staging_root)
    mark = cleanup.mark_bytes(space.total_bytes)
    if space.free_bytes >= mark or unreachable_mark(mark, space) is not None:
        return None
    return f"the staging disk has less than {mark_words(cleanup)} free"


def _rests(station: Station) -> bool:
    until = station.journal.note(_REST_NOTE)
    return bool(until) and not has_come(float(cast("str", until)), station.now())


class MakingRoom:
    """One pass's deletes before retentions end. It ends when enough is free, or when enough was deleted for that."""

    def __init__(self, station: Station, reason: str) -> None:
        self._station = station
        self.reason = reason
        self._missing = self._still_missing()
        self._deleted = 0
        self._gained = 0

    def _still_missing(self) -> int:
        space = staging_space(self._station.staging_root)
        return self._station.cleanup.mark_bytes(space.total_bytes) - space.free_bytes

    def candidates(self, runs: Iterable[StagedRun]) -> list[StagedRun]:
        """Runs that were proved long enough ago, the oldest proof first; those that failed lately wait their hour."""
        station, cleanup = self._station, self._station.cleanup
        early = (cleanup.retain_hours - cleanup.shortest_hours) * 3600
        known, failed, now = station.journal.runs(), station.journal.orders("clear_again"), station.now()

        def goes(run: JournalRun | None) -> bool:
            if run is None or run.clear_at is None or run.clear_at - early > now.timestamp():
                return False
            return has_come(cast("float", failed.get(run.run_path, {}).get("not_before", 0)), now)

        def clear_at(run: StagedRun) -> float:
            return known[run.run_path].clear_at or 0.0

        return sorted((run for run in runs if goes(known.get(run.run_path))), key=clear_at)

    def is_done(self) -> bool:
        """Whether enough is free, or so much was deleted that it should be: the next pass measures anew."""
        return self._deleted >= self._missing or self._still_missing() <= 0

    def note(self, done: Cleared) -> None:
        """Count what a delete gave back."""
        self._deleted += done.bytes_freed
        self._gained += max(done.gained_bytes, 0)

    def end(self, stop: Stop) -> None:
        """Rest for a day where the deletes gave nothing back: deleting more would free no more."""
        if not self._deleted or not self._is_of_no_use(stop):
            self._station.set_problems(staging_subject(self._station), "freed", [])
            return
        station = self._station
        station.journal.set_note(_REST_NOTE, str((station.now() + _REST).timestamp()))
        problem = station.problem(
            staging_subject(station),
            "space_not_freed",
            f"{size(self._deleted)} were deleted to make room on the staging disk, and next to nothing became free.",
            "Something keeps deleted files: snapshots, hard links, or a program that has them open. No more is deleted "
            "early for a day; what is deleted when its time is over, or by 'exlab-orch clear', goes on.",
        )
        station.set_problems(staging_subject(station), "freed", [problem])

    def _is_of_no_use(self, stop: Stop) -> bool:
        before = staging_space(self._station.staging_root).free_bytes
        for _ in range(_FREED_LATE_SECONDS):
            if not has_freed_nothing(self._deleted, self._gained) or stop():
                return False
            pause(1.0)
            after = staging_space(self._station.staging_root).free_bytes
            self._gained += max(after - before, 0)  # what arrives meanwhile must not hide it
            before = after
        return has_freed_nothing(self._deleted, self._gained)


def watch_space(station: Station) -> None:
    """Remember how full the staging disk is, and tell when it is low or soon full, and when that is over.

    Raises:
        RunProblem: the disk does not answer.
    """
    space, root, now = staging_space(station.staging_root), station.staging_root, station.now()
    subject = staging_subject(station)
    remember_staging(station.journal, root, space, now)
    is_over = station.cleanup.mode == "manual" or space.free_bytes >= station.cleanup.mark_bytes(space.total_bytes)
    if is_over and station.journal.note(_REST_NOTE):
        station.journal.set_note(_REST_NOTE, "")
        station.set_problems(subject, "freed", [])
    codes = {problem.code for problem in station.journal.problems(subject)}
    left = staging_seconds_left(station.journal, root, space, now)
    found = space_warnings(space, left, station.cleanup, codes)
    hint = "To delete what is safe on the NAS: exlab-orch clear --all-verified"
    if unreachable_mark(station.cleanup.mark_bytes(space.total_bytes), space) is not None:
        hint = "Set a smaller staging_cleanup.min_free in the configuration."
    station.set_problems(subject, _DISK, [station.problem(subject, code, text, hint) for code, text in found.items()])


def tell_stopped(station: Station) -> None:
    """Say that the schedule deletes no more in this pass: something is wrong with more than one run."""
    subject = staging_subject(station)
    text = f"{station.cleanup.max_errors} deletes failed in one pass, so the schedule deleted no more in it."
    hint = "See what is wrong with them: exlab-orch list"
    station.set_problems(subject, _STOPPED, [Problem(subject, "clearing_stopped", text, station.now(), hint)])


def tell_going_on(station: Station) -> None:
    """Close the word of a stop, once nothing is left of it."""
    station.set_problems(staging_subject(station), _STOPPED, [])
