"""The verb that stays: passes in a loop, shown as a live table on a terminal and as lines elsewhere."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import click

from exlab_orch.cli import output
from exlab_orch.cli.call import Call
from exlab_orch.cli.frame import Verb
from exlab_orch.cli.kinds import as_duration
from exlab_orch.clock import pause
from exlab_orch.errors import StagingUnavailable

if TYPE_CHECKING:
    from exlab_orch.passes import PassReport

_SHORTEST_SECONDS: Final = 1.0


@click.command(cls=Verb, filters=True, examples=["exlab-orch watch", "exlab-orch watch --interval 1m"])
@click.option(
    "--interval",
    callback=as_duration,
    default="10s",
    show_default=True,
    metavar="TIME",
    help="From the end of a pass to the next one, 1s or more.",
)
@click.pass_obj
def watch(call: Call, interval: timedelta) -> None:
    """Passes in a loop, in the foreground, until Ctrl-C: for containers, or to look on.

    On a terminal a live table, narrowed down by the filters; elsewhere one line per step and per problem, with --json
    the lines of 'poll --json'. Passes of cron may run beside it.
    """
    if interval.total_seconds() < _SHORTEST_SECONDS:
        raise click.BadParameter(
            "passes without a pause between them would never let the disks rest; say 1s or more",
            click.get_current_context(),
            param_hint="'--interval'",
        )
    with _screen(call):
        _loop(call, interval.total_seconds())


def _screen(call: Call) -> AbstractContextManager[object]:
    if not call.redraws:
        return nullcontext()
    from exlab_orch.cli.watch_view import LiveTable

    return LiveTable(call)


def _loop(call: Call, interval_seconds: float) -> None:
    """One pass after the other; staging that is away for a while is said once and waited for."""
    said = ""
    while True:
        try:
            report = _one_pass(call)
        except StagingUnavailable as error:
            if error.message != said:
                call.say(error.message)
            said = error.message
        else:
            said = ""
            if not call.redraws:
                _print(call, report)
        pause(interval_seconds)


def _one_pass(call: Call) -> PassReport:
    from exlab_orch.cli.poll import passed
    from exlab_orch.notify import deliver
    from exlab_orch.passes import PHASES, Pass
    from exlab_orch.progress import QUIET
    from exlab_orch.reserve import keep_reserves

    clears = call.config.orchestrator.staging_cleanup.mode == "scheduled"
    with call.station(changing=True, works=True, clears=clears) as station:
        report = passed(call, Pass(station, frozenset(PHASES), None, None, QUIET))
        deliver(station)
    keep_reserves(station.staging_root, station.state.path)
    return report


def _print(call: Call, report: PassReport) -> None:
    from exlab_orch.cli import pass_words
    from exlab_orch.clock import format_utc

    if call.settings.json:
        for line in pass_words.pass_lines(report):
            output.print_json(line, line=True)
        return
    for transition in report.transitions:
        output.print_line(f"{format_utc(transition.at)} {pass_words.transition_words(transition)}")
    output.flush()
    for announcement in report.announcements:
        output.say(pass_words.announcement_words(announcement), priority=output.WARNING)
