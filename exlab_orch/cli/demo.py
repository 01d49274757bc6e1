"""The verb that shows everything in a minute, on made-up runs in a temporary folder."""

from __future__ import annotations

import click

from exlab_orch.cli.call import Call
from exlab_orch.cli.frame import Verb


@click.command(cls=Verb, examples=["exlab-orch demo", "exlab-orch demo --folder /tmp/lab"])
@click.option("--folder", metavar="FOLDER", help="Where the lab is made; without it a new temporary folder.")
@click.pass_obj
def demo(call: Call, folder: str | None) -> int | None:
    """A whole lab in a temporary folder: three equipments, a dozen runs, what goes well and what goes wrong."""
    from exlab_orch.demo import run_demo

    return run_demo(call.console(), folder)
