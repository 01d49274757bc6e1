"""The verb that sends a made-up run to the real NAS and back."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from exlab_orch import text
from exlab_orch.cli import endings, output
from exlab_orch.cli.again import hint_of, this_command
from exlab_orch.cli.bars import progress_bars
from exlab_orch.cli.call import Call
from exlab_orch.cli.documents import Document, document
from exlab_orch.cli.frame import Verb
from exlab_orch.cli.pasting import pasteable
from exlab_orch.errors import EXIT_DONE, EXIT_REFUSED, EXIT_RUN_FAILED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exlab_orch.config_nas import AnyNas
    from exlab_orch.diagnosis import Finding
    from exlab_orch.errors import NasFault
    from exlab_orch.progress import Observer
    from exlab_orch.selftest import Selftests
    from exlab_orch.selftest_results import Tick, Trial
    from exlab_orch.station import Station

_WIDE = 1000
_STEPS = {
    "received": "made and received",
    "copied": "copied to the NAS",
    "proved": "read back and proved",
    "cleared": "staged copy deleted",
    "removed": "removed from the NAS",
}
_SIGNS = {"ok": "✓", "failed": "✗", "not tried": "-"}


def _as_size(context: click.Context, parameter: click.Parameter, value: str) -> int:
    try:
        byte_count = text.parse_size(value)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from error
    if not 0 < byte_count <= 1 << 40:
        raise click.BadParameter("a self-test has at least 1 B and at most 1 TiB", context, parameter)
    return byte_count


@click.command(
    cls=Verb,
    writes=True,
    examples=[
        "exlab-orch selftest",
        "exlab-orch selftest --size 1GiB",
        "exlab-orch selftest --nas /mnt/nas/lab",
        "exlab-orch selftest --equipment CONFOCAL_01 --json",
    ],
)
@click.option("--nas", metavar="NAS", help="Only this one: its root, REMOTE:PATH, or USER@HOST:PATH.")
@click.option("--equipment", metavar="ID", help="Only the NAS that runs of this equipment go to.")
@click.option(
    "--size", metavar="SIZE", default="64MiB", show_default=True, callback=_as_size, help="How much data is sent."
)
@click.pass_obj
def selftest(call: Call, nas: str | None, equipment: str | None, size: int) -> int:
    """Send a made-up run to the real NAS and back: does the whole way work, and how fast?

    The run is made in a private folder of staging, copied to a hidden folder of the NAS, proved, cleared, and removed
    from the NAS again. No real run, record or list is touched, and passes go on meanwhile; it takes one slot of the
    NAS. A NAS that hangs ends it. What a self-test could not remove is named, and removed by the next one.
    """
    from exlab_orch import selftest as core

    dry_run = call.settings.dry_run
    with call.station(changing=not dry_run, works=not dry_run) as station:
        chosen = core.chosen_nas(station, nas, equipment)
        if dry_run:
            return _rehearse(call, chosen, size)
        done = core.Selftests()
        with endings.told_however_it_ends(lambda: [_document(done)], as_json=call.settings.json):
            try:
                _try(call, station, chosen, size, done)
            except endings.Stopped:
                _say_what_is_left(call, done)
                raise
    if call.settings.json:
        output.print_json(_document(done))
    else:
        _say_the_rest(call, done)
    return _exit_status(done.trials)


def _try(call: Call, station: Station, chosen: Sequence[AnyNas], byte_total: int, done: Selftests) -> None:
    from exlab_orch import selftest as core

    shown: list[str] = []
    bars = _BarOfEachPhase(call)

    def tell(nas: str, tick: Tick) -> None:
        bars.end()  # it is still there where the NAS hangs
        if call.tables and nas not in shown:
            shown.append(nas)
            output.print_line(text.printable(nas, _WIDE))
        if not call.settings.json:
            _print_tick(call, nas, tick)

    def hangs(fault: NasFault) -> None:
        if call.settings.json:
            endings.report_error(fault, as_json=True)
        else:
            _say_the_rest(call, done)
        endings.end_without_unwinding(endings.end_of(fault))

    core.selftest(station, chosen, byte_total=byte_total, watch=bars, on_tick=tell, on_hang=hangs, done=done)


class _BarOfEachPhase:
    """Bars that are taken away whole when a phase ends: between two phases a line of the result is printed."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._shown = ExitStack()
        self._bars: Observer | None = None

    def begin(self, run_path: str, phase: str, files: int, byte_total: int) -> None:
        self.end()
        self._bars = self._shown.enter_context(progress_bars(self._call))
        self._bars.begin(run_path, phase, files, byte_total)

    def advance(self, byte_count: int) -> None:
        if self._bars is not None:
            self._bars.advance(byte_count)

    def end(self) -> None:
        self._bars = None
        self._shown.close()


def _print_tick(call: Call, nas: str, tick: Tick) -> None:
    speed = tick.bytes_per_second if tick.step in ("copied", "proved") else None
    error = tick.error
    message = "" if error is None else f"{error.code}: {error.message} {pasteable(hint_of(error))}".strip()
    if call.tables:
        numbers = "" if tick.result != "ok" else f"{tick.seconds:9.1f} s"
        rate = "" if speed is None else f"{text.size(int(speed)):>12}/s"
        line = f"  {_SIGNS[tick.result]} {tick.result:<9} {_STEPS[tick.step]:<21}{numbers}{rate}"
        output.print_line(line.rstrip())
        return
    measured = (f"{tick.seconds:.3f}", tick.byte_count, None if speed is None else round(speed))
    output.print_tabs((text.printable(nas, _WIDE), tick.step, tick.result, *measured, message))


def _say_the_rest(call: Call, done: Selftests) -> None:
    trials = done.so_far()
    for one in done.leftovers:
        became = "was removed" if one.removed else f"stays: {text.printable(one.why, _WIDE)}"
        call.say(f"An earlier self-test left {text.printable(one.where, _WIDE)}; it {became}.")
    for trial in trials:
        for finding in trial.findings:
            _tell_finding(call, trial, finding)
        for tick in trial.ticks:
            if tick.error is not None and call.tables:
                output.say(f"{tick.error.code}: {tick.error.message}\n  {hint_of(tick.error)}".rstrip())
    _say_what_is_left(call, done)
    if trials and all(trial.ok for trial in trials):
        call.say("Everything works: runs can be copied, proved and cleared.")


def _say_what_is_left(call: Call, done: Selftests) -> None:
    left = [text.printable(place, _WIDE) for trial in done.so_far() for place in trial.left]
    if left:
        call.say(f"Left behind: {' and '.join(left)}\n  The next self-test removes it: {this_command()}")


def _tell_finding(call: Call, trial: Trial, finding: Finding) -> None:
    if not call.tables:
        fields = (
            finding.check,
            finding.result,
            None,
            None,
            None,
            pasteable(f"{finding.message} {finding.fix}".strip()),
        )
        output.print_tabs((text.printable(trial.nas, _WIDE), *fields))
    elif finding.result == "warning":
        output.say(f"warning: {finding.message}\n  {finding.fix}".rstrip())
    else:
        call.say(finding.message)


def _exit_status(trials: Sequence[Trial]) -> int:
    """That of the first step that failed; a problem of the made-up run is a failed run."""
    failed = next((trial.failed for trial in trials if trial.failed is not None), None)
    if failed is None or failed.error is None:
        return EXIT_DONE
    status = endings.exit_status_of(failed.error.code)
    return EXIT_RUN_FAILED if status == EXIT_REFUSED else status


def _rehearse(call: Call, chosen: Sequence[AnyNas], byte_total: int) -> int:
    if call.settings.json:
        output.print_json(document(dry_run=True, would_try=[{"nas": nas.name, "bytes": byte_total} for nas in chosen]))
        return EXIT_DONE
    for nas in chosen:
        amount, name = text.size(byte_total), text.printable(nas.name, _WIDE)
        output.print_line(f"{name}: a run of {amount} would be sent to a hidden folder there, proved and removed again")
    return EXIT_DONE


# -- JSON ----------------------------------------------------------------------------------------------------


def _document(done: Selftests) -> Document:
    trials, leftovers = done.so_far(), done.leftovers
    return document(
        ok=all(trial.ok for trial in trials),
        selftests=[_trial_document(trial) for trial in trials],
        leftovers=[{"nas": one.nas, "where": one.where, "removed": one.removed, "why": one.why} for one in leftovers],
    )


def _trial_document(trial: Trial) -> Document:
    return {
        "nas": trial.nas,
        "equipment_ids": list(trial.equipment_ids),
        "ok": trial.ok,
        "ticks": [_tick_document(tick) for tick in trial.ticks],
        "findings": [
            {"check": one.check, "result": one.result, "message": one.message, "fix": one.fix} for one in trial.findings
        ],
        "others": list(trial.others),
        "left": list(trial.left),
    }


def _tick_document(tick: Tick) -> Document:
    error = tick.error
    speed = tick.bytes_per_second
    return {
        "name": tick.step,
        "ok": tick.result == "ok",
        "result": tick.result.replace(" ", "_"),
        "milliseconds": round(tick.seconds * 1000),
        "bytes": tick.byte_count,
        "bytes_per_second": None if speed is None else round(speed),
        "error": None if error is None else {"code": error.code, "message": error.message, "hint": hint_of(error)},
    }
