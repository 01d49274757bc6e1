"""The verb that lets cron or systemd start passes: prints the files filled in, or puts them in place."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from exlab_orch.cli import output
from exlab_orch.cli.call import Call
from exlab_orch.cli.documents import document
from exlab_orch.cli.frame import Verb, VerbGroup

if TYPE_CHECKING:
    from exlab_orch.schedule import Kind
    from exlab_orch.schedule_files import Passes
    from exlab_orch.schedule_install import Installed


@click.group(cls=VerbGroup)
def schedule() -> None:
    """A pass every minute, started by cron or by systemd: one of the two."""


def _install_option(where: str) -> click.Option:
    return click.Option(["--install"], is_flag=True, help=f"Write to {where} instead of printing; as root.")


@schedule.command(
    cls=Verb,
    writes=True,
    short_help="The file for cron.d.",
    params=[_install_option("/etc/cron.d")],
    examples=["exlab-orch schedule cron", "sudo exlab-orch schedule cron --install"],
)
@click.pass_obj
def cron(call: Call, install: bool) -> None:
    """The file for cron.d, filled in from the configuration: printed, or with --install put in place."""
    _do(call, "cron", install=install)


@schedule.command(
    cls=Verb,
    writes=True,
    short_help="Hardened services and their timers.",
    params=[_install_option("/etc/systemd/system")],
    examples=["exlab-orch schedule systemd", "sudo exlab-orch schedule systemd --install"],
)
@click.pass_obj
def systemd(call: Call, install: bool) -> None:
    """Hardened services and their timers, filled in from the configuration: one looks after the runs, one copies, and
    one reads the archive again. They are printed, or with --install put in place.

    Nothing runs before a timer is switched on; the command says how.
    """
    _do(call, "timer", install=install)


def _do(call: Call, kind: Kind, *, install: bool) -> None:
    from exlab_orch import schedule_install

    passes = schedule_install.passes_here(call.config, call.config_path)
    if not install:
        _print(call, kind, passes)
        return
    dry_run = call.settings.dry_run
    call.changing = not dry_run
    schedule_install.require_runnable(passes)
    done = schedule_install.install(kind, passes, dry_run=dry_run)
    if call.settings.json:
        written, next_steps = list(done.written), _next_steps(kind, passes)
        output.print_json(document(dry_run=dry_run, written=written, unchanged=list(done.unchanged), next=next_steps))
        return
    call.say(_installed_words(kind, passes, done, dry_run=dry_run))


def _print(call: Call, kind: Kind, passes: Passes) -> None:
    from exlab_orch.schedule_install import files_of

    files = files_of(kind, passes)
    if call.settings.json:
        output.print_json(document(files=[{"path": file.path, "content": file.content} for file in files]))
        return
    for number, file in enumerate(files):
        if len(files) > 1:
            output.print_line(f"{'' if number == 0 else chr(10)}# ==> {file.path} <==")
        output.print_line(file.content.rstrip("\n"))


def _next_steps(kind: Kind, passes: Passes) -> list[str]:
    from exlab_orch.schedule_files import TIMERS

    if kind == "cron":
        return [shlex.join(["exlab-orch", *passes.options, "status"])]
    return [
        "sudo systemctl daemon-reload",
        f"sudo systemctl enable --now {' '.join(TIMERS)}",
        "systemctl list-timers 'exlab-orch-*'",
        "journalctl -u 'exlab-orch-*'",
    ]


def _installed_words(kind: Kind, passes: Passes, done: Installed, *, dry_run: bool) -> str:
    from exlab_orch.schedule_files import VERIFY_TIMER

    if dry_run:
        would = [f"  {path}" for path in done.written] or ["  nothing: every file is there already, just so"]
        return "\n".join(["Dry run, nothing was written. It would write", *would])
    lines = [f"Wrote {path}." for path in done.written] or ["Every file is there already, just so; nothing to do."]
    told = "cron reads it within a minute. To see that passes run:" if kind == "cron" else "What to do next:"
    lines += [told, *(f"  {step}" for step in _next_steps(kind, passes))]
    if kind == "timer":
        lines += ["To have the NAS copies read again, a few hours every Saturday night:"]
        lines += [f"  sudo systemctl enable --now {VERIFY_TIMER}"]
    return "\n".join(lines)
