"""Questions on a terminal, and when there is nobody to ask."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from exlab_orch.cli import output
from exlab_orch.cli.call import Call
from exlab_orch.config_values import folder_fault
from exlab_orch.errors import NotConfirmed
from exlab_orch.text import printable


def may_ask(call: Call) -> bool:
    """Whether somebody sits at a terminal and did not forbid questions."""
    settings = call.settings
    if settings.yes or settings.no_input or settings.json:
        return False
    return bool(sys.stdin and sys.stdin.isatty() and sys.stderr.isatty())


def ask(question: str, proposed: str = "") -> str:
    """The answer, or what was proposed when only Enter was pressed. Raises NotConfirmed at the end of the input."""
    print(f"{question}{f' [{printable(proposed)}]' if proposed else ''}: ", end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        raise NotConfirmed("The questions were not answered, so nothing was written.")
    return line.strip() or proposed


def ask_folder(question: str, proposed: str = "", *, apart_from: str | None = None) -> str:
    """An absolute path; asks again until it is one. Raises NotConfirmed at the end of the input.

    ``apart_from`` is a folder that it may neither be, nor lie in, nor lie around.
    """
    while True:
        answer = ask(question, proposed)
        fault = folder_fault(answer) or (_nearness(answer, apart_from) if apart_from else None)
        if fault is None:
            return answer
        output.say(f"'{printable(answer)}' cannot be used: {fault}. Give an absolute path, such as /mnt/nas/lab.")


def _nearness(folder: str, other: str) -> str | None:
    paths = [os.path.normpath(folder), os.path.normpath(other)]
    return f"it is {printable(other)}, inside it, or around it" if os.path.commonpath(paths) in paths else None


def ask_number(question: str) -> float:
    """A number above 0; asks again until it is one. Raises NotConfirmed at the end of the input."""
    while True:
        answer = ask(question)
        with suppress(ValueError):
            if float(answer) > 0:
                return float(answer)
        output.say(f"'{printable(answer)}' is no number above 0.")


def ask_signal(equipment_id: str) -> dict[str, object]:
    """What says that a run of an equipment is finished, as options of ``equipment add``.

    Raises NotConfirmed at the end of the input.
    """
    output.say(f"What says that a run of {equipment_id} is finished?")
    output.say("  1  a file that it writes last, such as run_complete")
    output.say("  2  a list of all its files, such as manifest.json")
    output.say("  3  nothing: a run is finished when nothing changed for some time")
    answer = ask("1, 2 or 3", "1")
    while answer not in ("1", "2", "3"):
        answer = ask("1, 2 or 3", "1")
    if answer == "1":
        return {"sentinel": (ask("The name of that file", "run_complete"),)}
    if answer == "2":
        return {"manifest": ask("The name of that list", "manifest.json")}
    return {"quiet_minutes": ask_number("Minutes without a change")}
