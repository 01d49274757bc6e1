"""The command line: which verbs there are and where each is found; a verb is imported when it is run."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from exlab_orch.cli import endings, output
from exlab_orch.cli.call import Call
from exlab_orch.cli.frame import LazyGroup, run

_HERE = "exlab_orch.cli"

SECTIONS = {
    "Every day": {
        "poll": ("One pass: evaluate, copy, clean up (what cron calls every minute).", f"{_HERE}.poll:poll"),
        "list": ("The runs in staging and what happens next.", f"{_HERE}.listing:list_runs"),
        "show": ("One run: is it safe on the NAS, may it be deleted, why does it wait?", f"{_HERE}.listing:show"),
        "sync": ("Copy runs to the NAS now.", f"{_HERE}.sync:sync"),
        "clear": ("Delete the staged copy of proved runs.", f"{_HERE}.clear:clear"),
    },
    "When a person decides": {
        "accept": ("Take an unfinished run as it is.", f"{_HERE}.orders:accept"),
        "hold": ("No delete of a run until unhold.", f"{_HERE}.orders:hold"),
        "unhold": ("Deletes may go on.", f"{_HERE}.orders:unhold"),
        "pause": ("Stop copying to the NAS, for maintenance.", f"{_HERE}.orders:pause"),
        "resume": ("Go on copying to the NAS.", f"{_HERE}.orders:resume"),
        "takeover": ("Make this computer the owner of the staging root.", f"{_HERE}.orders:takeover"),
    },
    "Looking on": {
        "status": ("How it is going: last pass, NAS, disk, open problems.", f"{_HERE}.status:status"),
        "watch": ("Passes in a loop, with a live table.", f"{_HERE}.watch:watch"),
        "verify": ("Read NAS copies again and compare; cleared runs too.", f"{_HERE}.verify:verify"),
        "log": ("The log of one run.", f"{_HERE}.listing:log"),
        "report": ("A page about the runs, for a browser or paper.", f"{_HERE}.report:report"),
    },
    "Setting up": {
        "init": ("Write a commented configuration.", f"{_HERE}.setup:init"),
        "nas-init": ("Write (or adopt) the marker file on the NAS.", f"{_HERE}.nas_init:nas_init"),
        "config": ("Check or show the configuration.", f"{_HERE}.setup:config"),
        "equipment": ("Add or list equipment.", f"{_HERE}.setup:equipment"),
        "schedule": ("A pass every minute, by cron or systemd.", f"{_HERE}.schedule:schedule"),
        "notify": ("Messages by mail or chat; 'notify test' tries the way.", f"{_HERE}.notify:notify"),
        "selftest": ("Send a made-up run to the real NAS and back.", f"{_HERE}.selftest:selftest"),
        "doctor": ("Check everything, and say how to mend it.", f"{_HERE}.doctor:doctor"),
        "completion": ("Let bash, zsh or fish complete what you type.", f"{_HERE}.completion:completion"),
        "demo": ("A whole lab in a temporary folder, in one minute.", f"{_HERE}.demo:demo"),
    },
}


def _version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from exlab_orch import __version__

        output.print_line(f"exlab-orch {__version__}")
        context.exit()


@click.group(
    cls=LazyGroup,
    sections=SECTIONS,
    examples=[
        "exlab-orch demo                        # see it all in a made-up lab",
        "sudo exlab-orch init                   # begin on this computer",
        "exlab-orch list                        # where is every run?",
        "exlab-orch show Run_2026-04-17T14-32   # is this one safe on the NAS?",
    ],
    epilog="RUN is a path, EQUIPMENT/PROJECT/Runs/Run_..., or the folder's name where only one run has it. "
    "'exlab-orch VERB --help' has examples of each verb.",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def program() -> None:
    """Copies finished instrument runs to the NAS, proves every byte by reading it back, and only then deletes the
    staged copy.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """The program: safe streams, signals, one command line; the exit status."""
    umask = os.umask(0o022)
    out, _err = output.open_streams()
    endings.catch_signals()
    call = Call(umask=umask)
    status = run(program, sys.argv[1:] if arguments is None else arguments, call)
    sys.stdout.flush()
    return status if call.changing else endings.after_reading(status, out.fault)
