"""One invocation of the command line: what its shared options say, its configuration, how it speaks and asks."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Literal

from exlab_orch.cli import output
from exlab_orch.errors import NotConfirmed

if TYPE_CHECKING:
    from rich.console import Console

    from exlab_orch.config import Config
    from exlab_orch.station import Station

STATES = ("staging", "complete", "sync_queued", "sync_verified", "cleared")
_YES = frozenset({"y", "yes"})


@dataclass(frozen=True, slots=True)
class Settings:
    """What the shared options of one invocation say."""

    config: str | None = None
    quiet: bool = False
    verbose: int = 0
    json: bool = False
    plain: bool = False
    color: Literal["auto", "always", "never"] = "auto"
    yes: bool = False
    no_input: bool = False
    dry_run: bool = False
    equipment: tuple[str, ...] = ()
    project: tuple[str, ...] = ()
    state: tuple[str, ...] = ()

    @property
    def filtered(self) -> bool:
        """Whether one of the filters is set."""
        return bool(self.equipment or self.project or self.state)


class Call:
    """What a verb is given: ``settings``, ``config``, a station, and the ways to speak and to ask."""

    def __init__(self, *, umask: int = 0o022) -> None:
        self.settings = Settings()
        self.changing = False
        self.umask = umask
        """What the user wants kept from others in files that are theirs; ours have fixed modes."""

    @cached_property
    def config_path(self) -> str:
        """The configuration file that is used; ``ConfigInvalid`` where there is none."""
        from exlab_orch.config import find_config

        return find_config(self.settings.config, os.environ)

    @cached_property
    def config(self) -> Config:
        """The configuration; ``ConfigInvalid`` names every error in it."""
        from exlab_orch.cli.pasting import name_used_configuration
        from exlab_orch.config import load_config

        name_used_configuration(self.config_path)
        return load_config(self.config_path)

    def known_config(self) -> Config | None:
        """The configuration, where it was read already and can be used."""
        found: Config | None = self.__dict__.get("config")
        return found

    def known_state_dir(self) -> str | None:
        """The state directory, where the configuration was read already."""
        config = self.known_config()
        return None if config is None else config.orchestrator.state_dir

    def station(self, *, changing: bool, works: bool = False, clears: bool = False) -> Station:
        """The staging area; ``changing`` checks that this user and computer may change it.

        ``works`` is for verbs that copy or prove: they step back for others as ``[sync]`` says, and leave half of
        the reserve to verbs that give space back, or bring a run there (``clears``), or say what a person decides.
        """
        from exlab_orch.station import open_station, require_enabled

        if self.settings.dry_run:
            require_enabled(self.config)
        if changing:
            from exlab_orch.cli import logfile
            from exlab_orch.reserve import FOR_CLEARS, make_room_for_journal

            self.changing = True
            make_room_for_journal(self.config.orchestrator.state_dir, leave=FOR_CLEARS if works and not clears else 0)
            logfile.begin(self.config)
        station = open_station(self.config, changing=changing)
        self._name_owner(station)
        for notice in () if self.settings.json else station.notices():
            output.say(notice)
        if changing and self.config.notify is not None:
            from exlab_orch.cli.pass_words import keep_words

            station.listeners.append(partial(keep_words, station.journal))
        if self.settings.equipment or self.settings.project:
            from exlab_orch.cli.choosing import refuse_unknown

            refuse_unknown(station, self.settings)
        if changing and works:
            self._step_back(station)
        return station

    def _name_owner(self, station: Station) -> None:
        """Who only looks on is shown commands that work when they are pasted."""
        from exlab_orch.cli.pasting import name_owner
        from exlab_orch.state import owner_name

        with suppress(OSError):  # there is no state directory yet
            if not station.state.is_ours:
                name_owner(owner_name(station.state.path))

    def _step_back(self, station: Station) -> None:
        """Before any worker starts; what the kernel refuses is no error, and is said once and not with every pass."""
        from exlab_orch.priority import step_back

        refused = "\n".join(step_back(self.config.sync))
        if self.settings.json or refused == (station.journal.note("priority_refused") or ""):
            return
        station.journal.set_note("priority_refused", refused)
        if refused:
            output.say(refused)

    @property
    def tables(self) -> bool:
        """Whether a person reads standard output: tables and colours instead of tabs."""
        if self.settings.json or self.settings.plain:
            return False
        return self.settings.color == "always" or sys.stdout.isatty()

    @property
    def redraws(self) -> bool:
        """Whether a person looks at a terminal whose screen can be drawn anew, which a dumb one cannot."""
        return self.tables and sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")

    @property
    def bars(self) -> bool:
        """Whether progress bars can be drawn on standard error."""
        return sys.stderr.isatty() and not (self.settings.quiet or self.settings.json or self.settings.plain)

    def console(self, *, stderr: bool = False) -> Console:
        """A rich console on standard output (or error) that follows ``--color`` and NO_COLOR."""
        from exlab_orch.cli.palette import palette
        from exlab_orch.cli.paper import Paper

        always, never = self.settings.color == "always", self.settings.color == "never"
        console = Paper(
            stderr=stderr,
            force_terminal=True if always else None,
            no_color=True if never else (False if always else None),
            highlight=False,
            soft_wrap=False,
        )
        console.push_theme(palette(console.color_system))
        return console

    def say(self, text: str, *, priority: int = output.NOTICE) -> None:
        """A message on standard error, unless ``--quiet``; with ``--json`` only errors stand there."""
        if not (self.settings.quiet or self.settings.json):
            output.say(text, priority=priority)

    def detail(self, text: str) -> None:
        """A message that only ``--verbose`` wants."""
        if self.settings.verbose:
            self.say(text)

    def confirm(self, question: str) -> None:
        """Ask on the terminal; ``NotConfirmed`` (exit 5) when the answer is not yes or nobody can be asked."""
        if self.settings.yes:
            return
        if (
            self.settings.no_input
            or self.settings.json
            or not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty())
        ):
            raise NotConfirmed(
                "Nobody confirmed, so nothing was done.", hint="Add --yes to go ahead without a question."
            )
        print(f"{output.harmless(question)} [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in _YES:
            raise NotConfirmed("Not confirmed, so nothing was done.")
