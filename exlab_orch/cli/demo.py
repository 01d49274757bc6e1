"""The verb that shows everything in a minute, on made-up runs in a temporary folder."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stderr, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING

import click

from exlab_orch.cli.call import Call, Settings
from exlab_orch.cli.frame import PROGRAM, Verb, run

if TYPE_CHECKING:
    from rich.console import Console

_SIGNALLED = 128


def _empty_or_new(context: click.Context, parameter: click.Parameter, folder: str | None) -> str | None:
    """A click callback: a folder that is empty or not there yet."""
    if folder is None or not os.path.lexists(folder) or (os.path.isdir(folder) and not os.listdir(folder)):
        return folder
    raise click.BadParameter(f"'{folder}' is there already and is no empty folder.", context, parameter)


@click.command(cls=Verb, examples=["exlab-orch demo", "exlab-orch demo --fast --folder /tmp/lab"])
@click.option(
    "--folder",
    metavar="FOLDER",
    callback=_empty_or_new,
    help="Where the lab is made, empty or new; without it a temporary folder.",
)
@click.option("--fast", is_flag=True, help="Without pauses to read; into a file or a pipe there are none anyway.")
@click.pass_obj
def demo(call: Call, folder: str | None, fast: bool) -> int:
    """A guided tour of about a minute, in a lab of its own: three instruments, a dozen runs, what goes well and what
    goes wrong. Every command is really run, and whatever is said about it is checked.
    """
    if call.settings.json:
        raise click.UsageError("'demo' tells a story, so it takes no --json.", click.get_current_context())
    from exlab_orch.demo import run_demo

    console = call.console()
    reads = console.is_terminal and not fast and not call.settings.quiet
    rest = time.sleep if reads else _no_rest
    with _silence(call.settings):
        return run_demo(console, folder, lambda words: _run_verb(call, console, words), _called_as(sys.argv[0]), rest)


def _no_rest(_seconds: float) -> None:
    """Nobody reads along."""


def _silence(settings: Settings) -> AbstractContextManager[object]:
    """With --quiet the story is only checked, not told."""
    return redirect_stdout(StringIO()) if settings.quiet else nullcontext()


class _LookedAt(Call):
    """A verb of the story: somebody reads it, so it speaks as on a terminal, also into a file or a pipe."""

    def __init__(self, outer: Call, console: Console) -> None:
        super().__init__()
        self._outer, self._console = outer, console

    @property
    def tables(self) -> bool:
        """Tables, unless the story was asked for with --plain."""
        return not self._outer.settings.plain

    @property
    def bars(self) -> bool:
        """As where a person looks: a pass says what it did."""
        return True

    def console(self, *, stderr: bool = False) -> Console:
        """The story's console; progress bars, which would only flash by, go nowhere."""
        from rich.console import Console

        return Console(quiet=True) if stderr else self._console


def _run_verb(outer: Call, console: Console, words: Sequence[str]) -> int:
    """Run a verb as the command line does; its messages stand among its data, in the order they come."""
    from exlab_orch.cli import program

    hook = sys.excepthook
    with redirect_stderr(sys.stdout):
        status = run(program, words, _LookedAt(outer, console))
    sys.excepthook = hook
    if status > _SIGNALLED:
        raise click.exceptions.Exit(status)  # the verb has said why; the story ends with it
    return status


def _called_as(started_as: str) -> str:
    """What a person types for this program: its name where that finds it, else the path it was started by."""
    if os.path.basename(started_as) != PROGRAM:
        return f"{shlex.quote(sys.executable)} -m exlab_orch"
    found = shutil.which(PROGRAM)
    return PROGRAM if found and os.path.samefile(found, started_as) else shlex.quote(started_as)
