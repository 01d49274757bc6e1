"""The verb that looks whether everything an installation needs is as it should be."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from exlab_orch import text
from exlab_orch.cli import output
from exlab_orch.cli.call import Call
from exlab_orch.cli.documents import document, moment
from exlab_orch.cli.frame import Verb
from exlab_orch.cli.pasting import pasteable
from exlab_orch.errors import EXIT_DONE, EXIT_RUN_FAILED, ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console

    from exlab_orch.diagnosis import Finding

_SIGNS = {"ok": "✓", "warning": "!", "error": "✗", "skipped": "-"}
_STYLES = {"ok": "green", "warning": "yellow", "error": "red", "skipped": "dim"}


@click.command(
    cls=Verb,
    writes=True,
    examples=["exlab-orch doctor", "sudo -u exlab-orch exlab-orch doctor --strict", "exlab-orch doctor --json"],
)
@click.option("--strict", is_flag=True, help="Exit with 3 for warnings, too.")
@click.pass_obj
def doctor(call: Call, strict: bool) -> int:
    """Look whether everything is as it should be, and say how to mend what is not.

    Configuration, secrets, folders, locks, journal, each NAS, the schedule, the clock and the installation. A tiny
    made-up run is written to a hidden folder of each NAS and removed again; with --dry-run nothing is written. Run it
    as the user that runs the passes; others see less and are told so.
    """
    from exlab_orch import doctor as core
    from exlab_orch.clock import utc_now
    from exlab_orch.doctor.visit import Computer

    path, why = _path(call)
    now = utc_now()
    computer = Computer(config_path=path, now=now)
    found = core.examine(computer, why_no_file=why, writes=not call.settings.dry_run)
    if call.settings.json:
        findings = list(found)
        ok = not core.is_ill(findings, strict=strict)
        output.print_json(
            document(generated_at=moment(now), ok=ok, checks=[_finding_document(one) for one in findings])
        )
    elif call.tables:
        findings = _printed(call, found)
    else:
        findings = list(found)
        for one in findings:
            output.print_tabs((one.check, one.result, one.message, pasteable(one.fix)))
    return EXIT_RUN_FAILED if core.is_ill(findings, strict=strict) else EXIT_DONE


def _path(call: Call) -> tuple[str | None, ConfigInvalid | None]:
    try:
        return call.config_path, None
    except ConfigInvalid as error:
        return None, error


def _finding_document(one: Finding) -> dict[str, object]:
    return {"check": one.check, "result": one.result, "message": one.message, "fix": one.fix}


def _printed(call: Call, found: Iterable[Finding]) -> list[Finding]:
    """Every finding below the title of its section, as it is found; what to do stands below what is wrong."""
    from exlab_orch.doctor import SECTIONS

    console, findings, section = call.console(), [], ""
    for alike in skipped_together(found):
        findings += alike
        one = alike[0]
        if call.settings.quiet and one.result in ("ok", "skipped"):
            continue
        title = SECTIONS[one.check.partition(".")[0]]
        if title != section:
            section = title
            console.print(title, style="bold")
        _print_finding(console, one, ", ".join(each.check for each in alike))
    call.say(summary(findings))
    return findings


def skipped_together(found: Iterable[Finding]) -> Iterator[list[Finding]]:
    """Each finding by itself, but those together that follow each other and were not looked at for one reason."""
    alike: list[Finding] = []
    for one in found:
        if alike and replace(alike[0], check=one.check) != one:
            yield alike
            alike = []
        alike.append(one)
        if one.result != "skipped":
            yield alike
            alike = []
    if alike:
        yield alike


def _print_finding(console: Console, one: Finding, checks: str) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    style = _STYLES[one.result]
    line = Table.grid(padding=(0, 1))
    line.add_column(width=1)
    line.add_column(overflow="fold")
    line.add_row(Text(_SIGNS[one.result], style), Text(f"{checks}: {output.harmless(one.message)}"))
    console.print(Padding(line, (0, 0, 0, 2)))
    if one.fix:
        fix = output.for_reading(f"    → {output.harmless(one.fix)}", console.width)
        console.print(Text(fix, "" if one.result in ("warning", "error") else "dim"), soft_wrap=True)


def summary(findings: Sequence[Finding]) -> str:
    """How much is to be mended, and how much was not seen."""
    number = {result: sum(one.result == result for one in findings) for result in _SIGNS}
    skipped = f"; {number['skipped']} not looked at" if number["skipped"] else ""
    if not number["error"] and not number["warning"]:
        return f"All is well: {text.count(number['ok'], 'check')}{skipped}."
    errors, warnings = text.count(number["error"], "error"), text.count(number["warning"], "warning")
    return f"{errors}, {warnings}, {number['ok']} well{skipped}."
