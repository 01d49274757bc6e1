"""The verb that looks whether everything an installation needs is as it should be."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from exlab_orch import text
from exlab_orch.cli import endings, output
from exlab_orch.cli.call import Call
from exlab_orch.cli.documents import Document, document, moment
from exlab_orch.cli.frame import Verb
from exlab_orch.cli.pasting import pasteable
from exlab_orch.errors import EXIT_DONE, EXIT_RUN_FAILED, ConfigInvalid, NasUnreachable

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

    (path, why), now = _path(call), utc_now()
    computer = Computer(config_path=path, now=now)
    findings: list[Finding] = []
    page = _Page(call)

    def so_far() -> list[Document]:
        ok, checks = not core.is_ill(findings, strict=strict), [_finding_document(one) for one in findings]
        return [document(generated_at=moment(now), ok=ok, checks=checks)]

    def hangs(one: Finding) -> None:
        findings.append(one)
        page.print([one])
        output.flush()
        endings.end_without_unwinding(endings.End(NasUnreachable.code, one.message, one.fix, EXIT_RUN_FAILED))

    with endings.told_however_it_ends(so_far, as_json=call.settings.json):
        for alike in skipped_together(
            core.examine(computer, why_no_file=why, writes=not call.settings.dry_run, on_hang=hangs)
        ):
            findings += alike
            page.print(alike)
    if call.settings.json:
        output.print_json(*so_far())
    elif call.tables:
        call.say(summary(findings))
    return EXIT_RUN_FAILED if core.is_ill(findings, strict=strict) else EXIT_DONE


def _path(call: Call) -> tuple[str | None, ConfigInvalid | None]:
    try:
        return call.config_path, None
    except ConfigInvalid as error:
        return None, error


def _finding_document(one: Finding) -> dict[str, object]:
    return {"check": one.check, "result": one.result, "message": one.message, "fix": one.fix}


class _Page:
    """Findings as they are found: below the titles of their sections, or as lines; with --json there is a document."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._console = call.console() if call.tables else None
        self._section = ""

    def print(self, alike: Sequence[Finding]) -> None:
        """What to do stands below what is wrong."""
        one = alike[0]
        if self._console is not None:
            if not (self._call.settings.quiet and one.result in ("ok", "skipped")):
                self._print_below_title(self._console, one, ", ".join(each.check for each in alike))
        elif not self._call.settings.json:
            for each in alike:
                output.print_tabs((each.check, each.result, each.message, pasteable(each.fix)))

    def _print_below_title(self, console: Console, one: Finding, checks: str) -> None:
        from exlab_orch.doctor import SECTIONS

        title = SECTIONS[one.check.partition(".")[0]]
        if title != self._section:
            self._section = title
            console.print(title, style="bold")
        _print_finding(console, one, checks)


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
        fix = output.for_reading(f"    → {pasteable(output.harmless(one.fix))}", console.width)
        console.print(Text(fix, "" if one.result in ("warning", "error") else "dim"), soft_wrap=True)


def summary(findings: Sequence[Finding]) -> str:
    """How much is to be mended, and how much was not seen."""
    number = {result: sum(one.result == result for one in findings) for result in _SIGNS}
    skipped = f"; {number['skipped']} not looked at" if number["skipped"] else ""
    if not number["error"] and not number["warning"]:
        return f"All is well: {text.count(number['ok'], 'check')}{skipped}."
    errors, warnings = text.count(number["error"], "error"), text.count(number["warning"], "warning")
    return f"{errors}, {warnings}, {number['ok']} well{skipped}."
