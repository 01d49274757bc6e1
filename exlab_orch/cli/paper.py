"""The console that tables and texts for a person are printed on."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from exlab_orch.cli.pasting import pasteable_text


class Paper(Console):
    """A rich console on which commands of ours name the configuration file where they need it."""

    def print(self, *objects: Any, **how: Any) -> None:
        """See rich; a command stands in a text of its own, which is not broken."""
        super().print(*(pasteable_text(one) if isinstance(one, Text) else one for one in objects), **how)
