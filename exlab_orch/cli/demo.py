"""The verb that shows everything in a minute, on made-up runs in a temporary folder."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence

import click

from exlab_orch.cli import output
from exlab_orch.cli.call import Call, Settings
from exlab_orch.cli.frame import PROGRAM, Verb, run


class _LookedAt(Call):
    """A verb of the story: somebody reads it, so tables are drawn into a file or a pipe too."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings

    @property
    def tables(self) -> bool:
        return True


@click.command(cls=Verb, examples=["exlab-orch demo", "exlab-orch demo --folder /tmp/lab"])
@click.option("--folder", metavar="FOLDER", help="Where the lab is made; without it a new temporary folder.")
@click.pass_obj
def demo(call: Call, folder: str | None) -> int:
    """A whole lab in a temporary folder: three equipments, a dozen runs, what goes well and what goes wrong."""
    from exlab_orch.cli import program
    from exlab_orch.demo import run_demo

    def run_verb(words: Sequence[str]) -> int:
        output.flush()
        status = run(program, words, _LookedAt(Settings(color=call.settings.color)))
        output.flush()
        return status

    return run_demo(call.console(), folder, run_verb, _how_it_is_called(sys.argv[0]))


def _how_it_is_called(started_as: str) -> str:
    """What a person types for this program: its name where that finds it, else the path it was started by."""
    found = shutil.which(PROGRAM)
    if os.path.basename(started_as) != PROGRAM:
        return f"{shlex.quote(sys.executable)} -m exlab_orch"
    return PROGRAM if found and os.path.samefile(found, started_as) else shlex.quote(started_as)
