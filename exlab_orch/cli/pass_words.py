"""What one pass did, in words and as JSON lines: transitions, announcements of problems, the end (cli.md, Output)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from exlab_orch import text
from exlab_orch.cli.documents import Document, document, moment, named, problem_document
from exlab_orch.cli.output import first_way, harmless
from exlab_orch.cli.pasting import pasteable
from exlab_orch.model import SHOWN_AS

if TYPE_CHECKING:
    from exlab_orch.journal import Announcement, Journal
    from exlab_orch.passes import PassReport
    from exlab_orch.planning import PlannedStep
    from exlab_orch.station import Transition
    from exlab_orch.trash import Cleared

_OPENING: Final = {"closed": "Solved: ", "changed": "Changed: ", "still_open": "Still so: ", "opened": ""}


def transition_words(transition: Transition) -> str:
    """ "RUN: on NAS, checked"."""
    return f"{text.printable(transition.run_path, limit=1000)}: {SHOWN_AS[transition.state]}"


def announcement_words(announcement: Announcement) -> str:
    """What went wrong (or right again), where, and what to do now."""
    problem = announcement.problem
    opening = f"{_OPENING[announcement.kind]}{text.printable(problem.subject, limit=1000)}: {problem.code}"
    if announcement.kind == "closed":
        return opening
    return "\n".join((f"{opening}: {problem.message}", *(f"  {way}" for way in _ways(problem.hint))))


def _ways(hint: str) -> Iterator[str]:
    """What to do, each way on a line of its own: in a mail, too, a line ends where its command does."""
    while hint:
        way, hint = first_way(hint)
        yield way


def keep_words(journal: Journal, announcement: Announcement) -> None:
    """Keep the words for the next message to people elsewhere; that no message arrives cannot be told in one."""
    from exlab_orch.notify import SUBJECT, keep

    if announcement.problem.subject != SUBJECT:
        keep(journal, harmless(pasteable(announcement_words(announcement))))


def fault_lines(report: PassReport) -> Iterator[str]:
    """Why a pass does not end with 0: each run that failed, with its code, and what is wrong with a NAS."""
    for run_path, code in report.failed_codes.items():
        yield f"{text.printable(run_path, limit=1000)}: failed: {code}"
    told = {one.problem.message for one in report.announcements}
    yield from (fault for fault in report.nas_faults if fault not in told)


def summary_words(report: PassReport) -> str | None:
    """One line about what was done, or None when nothing was."""
    parts = []
    if report.copied:
        parts.append(f"{text.count(len(report.copied), 'run')} copied and checked")
    if report.cleared:
        freed = sum(cleared.bytes_freed for cleared in report.cleared)
        copies = "1 staged copy" if len(report.cleared) == 1 else f"{len(report.cleared)} staged copies"
        parts.append(f"{copies} deleted ({text.size(freed)})")
    if report.failed:
        parts.append(f"{text.count(len(report.failed), 'run')} failed")
    if report.unfinished:
        parts.append("stopped at the time limit; the next pass goes on")
    if not parts and report.transitions:
        parts.append(_went_on(report.transitions))
    return "; ".join(parts) + "." if parts else None


def _went_on(transitions: Iterable[Transition]) -> str:
    """ "12 runs went on: 9 waiting to copy, 3 arriving": where each of them is now."""
    now = Counter({one.run_path: str(one.state) for one in transitions}.values())
    states = ", ".join(f"{now[state]:,} {words}" for state, words in reversed(SHOWN_AS.items()) if state in now)
    return f"{text.count(now.total(), 'run')} went on: {states}"


def pass_lines(report: PassReport) -> Iterator[Document]:
    """The NDJSON lines of ``poll --json``, ending in ``pass_end``."""
    yield from (_transition(transition) for transition in report.transitions)
    yield from (_cleared(cleared) for cleared in report.cleared)
    yield from (_announcement(announcement) for announcement in report.announcements)
    yield document(
        event="pass_end",
        started_at=moment(report.started_at),
        ended_at=moment(report.ended_at),
        runs_seen=report.runs_seen,
        transitions=len(report.transitions),
        busy=report.busy,
        copied=[text.printable(run_path, limit=1000) for run_path in report.copied],
        cleared=[text.printable(cleared.run_path, limit=1000) for cleared in report.cleared],
        bytes_freed=sum(cleared.bytes_freed for cleared in report.cleared),
        failed=[text.printable(run_path, limit=1000) for run_path in report.failed],
        nas_faults=list(report.nas_faults),
        unfinished=report.unfinished,
        exit_status=report.exit_status,
    )


def _transition(transition: Transition) -> Document:
    run = named("run", transition.run_path)
    return document(event="transition", **run, state=str(transition.state), at=moment(transition.at))


def _cleared(cleared: Cleared) -> Document:
    run = named("run", cleared.run_path)
    return document(event="cleared", **run, files_cleared=cleared.files_cleared, bytes_freed=cleared.bytes_freed)


def _announcement(announcement: Announcement) -> Document:
    problem = problem_document(announcement.problem)
    return document(
        event="problem", change=announcement.kind, **named("subject", announcement.problem.subject), problem=problem
    )


def planned_words(step: PlannedStep) -> str:
    """ "RUN: what would be done"."""
    return f"{text.printable(step.run_path, limit=1000)}: {step.step}"


def planned_document(steps: list[PlannedStep]) -> Document:
    """``poll --dry-run --json``."""
    return document(planned=[{**named("run", step.run_path), "step": step.step} for step in steps])
