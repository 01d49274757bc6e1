"""Telling people what passes announce, by mail or chat, through the Apprise program; what could not be sent waits.

Whatever process meets an edge of a problem keeps its words in the journal at once; a pass sends at its end. Like the
journal the words may be lost: every open problem is announced again once a day.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from exlab_orch.clock import has_come
from exlab_orch.config import Config, Notify
from exlab_orch.errors import NotifyFailed
from exlab_orch.files.places import open_plain
from exlab_orch.journal import Journal
from exlab_orch.logs import note_event
from exlab_orch.policy import RETRY_SECONDS, retry_after
from exlab_orch.station import Station, host_name
from exlab_orch.text import count, install_extra, printable
from exlab_orch.transports.process import Command, Ended, TimedOut, found_program, run_tool

SUBJECT: Final = "notify"
"""How the problem that nobody can be told is named; nobody is told of it this way."""
_NOTE: Final = "notify"
_MOST_TEXTS: Final = 100
"""So many wait at most: who was away wants to know what is, and ``exlab-orch status`` tells that."""
_LARGEST_FILE: Final = 1 << 20
_STALL_SECONDS: Final = 90.0
"""Apprise itself gives up on an address sooner."""
_SOME_FAILED: Final = 4
"""Apprise's exit code when some addresses got the message and others did not."""
_USAGE: Final = re.compile("You must specify|Try 'apprise")
_INSTALL: Final = f"Install it: {install_extra('notify')}"


@dataclass(frozen=True, slots=True)
class Outbox:
    """What waits to be sent, oldest first."""

    texts: tuple[str, ...] = ()
    attempts: int = 0
    not_before: float = 0.0
    """Seconds since the epoch before which no further attempt is made."""


def keep(journal: Journal, text: str) -> None:
    """Have the next pass that ends send this, too."""
    with journal.transaction():
        waiting = waits(journal)
        _save(journal, Outbox((*waiting.texts, text)[-_MOST_TEXTS:], waiting.attempts, waiting.not_before))


def waits(journal: Journal) -> Outbox:
    """What waits to be sent; what cannot be read is taken for nothing, and the daily reminders tell it again."""
    try:
        kept = json.loads(journal.note(_NOTE) or "{}")
        texts = tuple(str(text) for text in kept.get("texts", ()))
        return Outbox(texts, int(kept.get("attempts", 0)), float(kept.get("not_before", 0)))
    except (ValueError, TypeError, AttributeError):
        return Outbox()


def _save(journal: Journal, box: Outbox) -> None:
    kept = {"texts": box.texts, "attempts": box.attempts, "not_before": box.not_before}
    journal.set_note(_NOTE, json.dumps(kept) if box.texts else "")


def deliver(station: Station) -> None:
    """Send what waits, unless it failed a moment ago or another pass is sending; a failure is a problem.

    One address that fails does not have the others told again: the message counts as sent.
    """
    notify = station.config.notify
    if notify is None or not _is_due(station):
        return
    with station.state.slot(SUBJECT, 1) as free:
        if free and _is_due(station):  # still: another pass may just have sent it
            _send_all(station, notify, waits(station.journal))


def _is_due(station: Station) -> bool:
    box = waits(station.journal)
    return bool(box.texts) and has_come(box.not_before, station.now())


def _send_all(station: Station, notify: Notify, box: Outbox) -> None:
    try:
        missed = send(station.config, notify, title_of(box.texts), "\n\n".join(box.texts))
    except NotifyFailed as error:
        _put_off(station)
        problems = [station.problem_of(SUBJECT, error)]
    else:
        _sent(station.journal, len(box.texts))
        note_event("notified", f"{count(len(box.texts), 'message')} sent", level="INFO")
        problems = [] if missed is None else [station.problem_of(SUBJECT, missed)]
    station.set_problems(SUBJECT, SUBJECT, problems)


def _put_off(station: Station) -> None:
    """Wait longer after each failure, and never give up: one address that works again is enough."""
    with station.journal.transaction():
        box = waits(station.journal)
        seconds = retry_after(box.attempts + 1) or RETRY_SECONDS[-1]
        _save(station.journal, Outbox(box.texts, box.attempts + 1, station.now().timestamp() + seconds))


def _sent(journal: Journal, number: int) -> None:
    """Drop what was sent; what was kept meanwhile stays."""
    with journal.transaction():
        _save(journal, Outbox(waits(journal).texts[number:]))


def title_of(texts: tuple[str, ...]) -> str:
    """The first line of what happened first, and how much more there is."""
    first = next(iter(texts[0].splitlines()), "")
    return first if len(texts) == 1 else f"{first} (and {len(texts) - 1} more)"


# -- the program ---------------------------------------------------------------------------------------------


def send(config: Config, notify: Notify, title: str, body: str) -> NotifyFailed | None:
    """Send one message to every address, now.

    Addresses hold passwords: they stand in their file alone, and the message comes on standard input.

    Returns:
        What went wrong with some of the addresses, or None: everybody was told.

    Raises:
        NotifyFailed: nobody was told.
    """
    path, who = notify.urls_file, config.orchestrator.label or host_name()
    addresses = _addresses(path)
    words = (f"--title={who}: {title}"[:200], f"--config={path}", "--storage-mode=memory", "--input-format=text", "-v")
    ended = _run(words, f"{body}\n\nSee all of it on {host_name()}: exlab-orch status")
    said, hint = (
        said_by(ended, addresses),
        f"Mend the addresses in {printable(path, 1000)}, then try: exlab-orch notify test",
    )
    if ended.status not in (0, _SOME_FAILED):
        raise NotifyFailed(f"No message could be sent: {said or f'Apprise ended with {ended.status}.'}", hint=hint)
    if ended.status == 0 and not said:
        return None
    return NotifyFailed(f"Not everybody could be told: {said}", hint=hint)


def _addresses(path: str) -> list[str]:
    """The lines of the file; what they mean is Apprise's affair."""
    try:
        with open(path, "rb", opener=open_plain) as file:
            content = file.read(_LARGEST_FILE)
    except OSError as error:
        raise NotifyFailed(
            f"The file with the addresses, {printable(path, 1000)}, cannot be read: {error.strerror}.",
            hint="Make it, one address a line, and let the user that runs the passes read it, and nobody else.",
        ) from error
    return [line.strip() for line in content.decode(errors="replace").splitlines()]


def _run(words: tuple[str, ...], given: str) -> Ended:
    command = Command(installed_apprise(), words, given.encode(errors="backslashreplace"))
    try:
        return run_tool(command, stall_seconds=_STALL_SECONDS)
    except TimedOut as error:
        raise NotifyFailed(
            f"Apprise was not done after {_STALL_SECONDS:g} s; it was ended.",
            hint="Check the network and the addresses, then try: exlab-orch notify test",
        ) from error
    except OSError as error:
        raise NotifyFailed(f"Apprise cannot be started: {error.strerror}.", hint=_INSTALL) from error


def installed_apprise() -> str:
    """The program that sends: the one beside us, or in the usual folders. Raises NotifyFailed."""
    found = found_program("apprise")
    if found is None:
        raise NotifyFailed("The program apprise, which sends messages, is not installed.", hint=_INSTALL)
    return found


def said_by(ended: Ended, addresses: Iterable[str]) -> str:
    """The last complaints of Apprise, which says nothing when all went well; addresses in them are left out.

    A line of the file that it does not understand is a complaint, too, and no exit code.
    """
    text = "\n".join([ended.output.decode(errors="backslashreplace"), *ended.last_lines])
    for address in sorted(filter(None, addresses), key=len, reverse=True):
        text = text.replace(address, "…")
    lines = [line.split(" - ", 2)[-1] for line in text.splitlines() if line.strip() and not _USAGE.match(line)]
    return " ".join(printable(line, 300) for line in lines[-3:])
