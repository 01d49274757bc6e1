"""The verb ``report``: a page a person can look at, in one file."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from exlab_orch import text
from exlab_orch.cli import output
from exlab_orch.cli.call import Call
from exlab_orch.cli.frame import Verb
from exlab_orch.cli.kinds import as_duration
from exlab_orch.clock import utc_now

if TYPE_CHECKING:
    from exlab_orch.report import Report


@click.command(
    cls=Verb,
    writes=True,
    examples=[
        "exlab-orch report --html runs.html",
        "exlab-orch report --html /var/www/html/runs.html --since 90d",
        "exlab-orch report --html - | mail -a 'Content-Type: text/html' -s 'Runs' lab@lab.example",
    ],
)
@click.option("--html", "target", required=True, metavar="FILE", help="The file to write; - is standard output.")
@click.option(
    "--since", callback=as_duration, default="30d", show_default=True, metavar="AGE", help="How far back it looks."
)
@click.pass_obj
def report(call: Call, target: str, since: timedelta) -> None:
    """Write a page about the runs: what needs a person, a timeline of every run, amounts, times and space.

    One file that loads nothing from elsewhere, for a browser, a phone or paper. A former report is replaced; any other
    file only after a question. It is never written into staging, onto the NAS or through a link.
    """
    from exlab_orch.cli.report_file import page_file

    if target == "-" and call.settings.json:
        raise click.UsageError("--json and '--html -' exclude each other: both are for standard output.")
    file = None if target == "-" else page_file(target, call)
    found = _gathered(call, since)
    from exlab_orch.cli.report_page import report_page

    page = report_page(found)
    if file is None:
        output.print_markup(page)
        return
    if not call.settings.dry_run:
        file.write(page)
    _say(call, file.path, found, len(page))


def _gathered(call: Call, since: timedelta) -> Report:
    from exlab_orch.report import gather, start_of_period

    now = utc_now()
    with call.station(changing=False) as station:
        return gather(station, now=now, since=start_of_period(now, since))


def _say(call: Call, path: str, found: Report, byte_count: int) -> None:
    if call.settings.json:
        from exlab_orch.cli.documents import document, moment, named

        output.print_json(
            document(
                dry_run=call.settings.dry_run,
                generated_at=moment(found.generated_at),
                host=found.host,
                **named("path", path),
                page_bytes=byte_count,
                since=moment(found.since),
                run_count=len(found.lives),
            )
        )
        return
    would = "Would write" if call.settings.dry_run else "Wrote"
    shown = text.printable(path, limit=10_000)
    call.say(f"{would} {shown}: {text.count(len(found.lives), 'run')}, {text.size(byte_count)}.")
