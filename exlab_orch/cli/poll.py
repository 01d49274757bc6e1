"""The verb that cron calls: one pass over the staging area."""

from __future__ import annotations

import os
import stat
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import click

from exlab_orch.cli import endings, output
from exlab_orch.cli.bars import progress_bars
from exlab_orch.cli.call import Call
from exlab_orch.cli.choosing import filtered_runs
from exlab_orch.cli.frame import Verb
from exlab_orch.cli.kinds import as_duration
from exlab_orch.clock import utc_now
from exlab_orch.errors import (
    EXIT_DONE,
    ConfigInvalid,
    ExlabError,
    OrchestratorDisabled,
    OwnerMismatch,
    StagingUnavailable,
    StateUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exlab_orch.journal import Announcement
    from exlab_orch.model import Problem, StagedRun
    from exlab_orch.passes import Pass, PassReport
    from exlab_orch.station import Station

_PHASES = ("evaluate", "sync", "cleanup")
_TOLD_ONCE = (StagingUnavailable, StateUnavailable, OwnerMismatch, ConfigInvalid, OrchestratorDisabled)
"""Why no pass can begin or go on; cron tells each once a day."""


@click.command(
    cls=Verb,
    writes=True,
    filters=True,
    examples=[
        "exlab-orch poll",
        "exlab-orch poll --dry-run",
        "exlab-orch poll --only evaluate --only cleanup",
        "exlab-orch poll --max-duration 50s",
    ],
)
@click.option(
    "--only",
    "phases",
    type=click.Choice(_PHASES),
    multiple=True,
    help="Only this part of the pass (repeatable); interrupted steps are settled first all the same.",
)
@click.option(
    "--max-duration",
    callback=as_duration,
    metavar="TIME",
    help="Finish the file in hand after that time, then stop.",
)
@click.pass_obj
def poll(call: Call, phases: tuple[str, ...], max_duration: timedelta | None) -> int:
    """One pass: settle what was interrupted, evaluate every run, copy what is due, delete staged copies where the
    policy allows it.

    Silent when nothing happened. A problem is announced when it opens, changes or closes, and once a day. With -v each
    pass says what failed.
    """
    chosen = frozenset(phases or _PHASES)
    if call.settings.dry_run:
        _plan(call, chosen)
        return EXIT_DONE
    seconds = None if max_duration is None else max_duration.total_seconds()
    try:
        report = _pass(call, chosen, seconds)
    except _TOLD_ONCE as error:
        if _was_told(call, error):
            call.detail(error.message)
            return error.exit_status
        _tell_elsewhere(call, error)
        raise
    report_pass(call, report)
    return report.exit_status


def _was_told(call: Call, error: ExlabError) -> bool:
    """Whether cron told this refusal already: one schedule must not send the same mail every minute."""
    state_dir = call.known_state_dir()
    if state_dir is None or call.settings.json or call.bars:
        return False
    from exlab_orch.refusals import is_news

    return not is_news(state_dir, error, utc_now())


def _tell_elsewhere(call: Call, error: ExlabError) -> None:
    """Send at once why no pass can begin: there may be no journal to keep it in."""
    from exlab_orch.errors import NotifyFailed
    from exlab_orch.notify import send

    config = call.known_config()
    if config is None or config.notify is None:
        return
    words = output.harmless("\n".join(part for part in (error.message, error.hint) if part))
    try:
        missed = send(config, config.notify, error.code, words)
    except NotifyFailed as failed:
        missed = failed
    if missed is not None:
        call.say(missed.message)


def _pass(call: Call, chosen: frozenset[str], seconds: float | None) -> PassReport:
    from exlab_orch.notify import deliver
    from exlab_orch.passes import Pass
    from exlab_orch.refusals import ended
    from exlab_orch.reserve import keep_reserves

    clears = call.config.orchestrator.staging_cleanup.mode == "scheduled"  # else a person has to, and needs the room
    with call.station(changing=True, works=True, clears=clears) as station, progress_bars(call) as watch:
        if tells_at_once(call):
            station.listeners.append(partial(announce, call))
        station.set_problems("configuration", "configuration", _open_configuration(call, station))
        report = passed(call, Pass(station, chosen, seconds, _chosen_runs(call, station), watch))
        over = ended(station.state.path)
        if over:
            _tell_over(call, station, over)
        deliver(station)
    keep_reserves(station.staging_root, station.state.path)
    return report


def passed(call: Call, one: Pass) -> PassReport:
    """Do a pass; with ``--json`` what it did is told also if it is stopped."""
    from exlab_orch.cli.pass_words import pass_lines

    with endings.told_however_it_ends(lambda: pass_lines(one.report()), as_json=call.settings.json):
        return one.run()


def _tell_over(call: Call, station: Station, code: str) -> None:
    """Say that passes go on after a refusal."""
    from exlab_orch.notify import keep

    call.say(f"Solved: {code}")
    if station.config.notify is not None:
        keep(station.journal, f"Solved: {code}")


def _open_configuration(call: Call, station: Station) -> list[Problem]:
    """The problem of a configuration file that everybody may change, told once a day like any other."""
    mode = stat.S_IMODE(os.stat(call.config_path).st_mode)
    if not mode & stat.S_IWOTH:
        return []
    message = f"Every user of this computer may change {call.config_path} (mode {mode:04o})."
    return [station.problem("configuration", ConfigInvalid.code, message, f"chmod o-w {call.config_path}")]


def _plan(call: Call, phases: frozenset[str]) -> None:
    from exlab_orch.cli.pass_words import planned_document, planned_words
    from exlab_orch.planning import plan_pass

    with call.station(changing=False) as station:
        runs = _chosen_runs(call, station)
        paths = None if runs is None else {run.run_path for run in runs}
        steps = [step for step in plan_pass(station, only=phases) if paths is None or step.run_path in paths]
    if call.settings.json:
        output.print_json(planned_document(steps))
        return
    for step in steps:
        output.print_line(planned_words(step))
    if not steps:
        call.say("Nothing is due, so a pass would do nothing now.")


def _chosen_runs(call: Call, station: Station) -> Sequence[StagedRun] | None:
    """The runs the filters leave, or None for every run."""
    return filtered_runs(station, call.settings) if call.settings.filtered else None


def tells_at_once(call: Call) -> bool:
    """Whether problems are told as they come up; beside progress bars they wait for the end of the pass."""
    return not call.bars and not call.settings.json


def announce(call: Call, announcement: Announcement) -> None:
    """Say that a problem opened, changed, closed or is still open."""
    from exlab_orch.cli import pass_words

    words = pass_words.announcement_words(announcement)
    if announcement.kind == "closed":
        call.say(words)
    else:
        output.say(words, priority=output.WARNING)


def report_pass(call: Call, report: PassReport) -> None:
    """Say what a pass did: JSON lines, or announcements, with -v every step, and on a terminal one line at the end."""
    from exlab_orch.cli import pass_words

    if call.settings.json:
        for line in pass_words.pass_lines(report):
            output.print_json(line, line=True)
        return
    for transition in report.transitions:
        call.detail(pass_words.transition_words(transition))
    for fault in pass_words.fault_lines(report):
        call.detail(fault)
    for announcement in () if tells_at_once(call) else report.announcements:
        announce(call, announcement)
    summary = pass_words.summary_words(report)
    if summary is not None and (call.bars or call.settings.verbose):
        call.say(summary)
