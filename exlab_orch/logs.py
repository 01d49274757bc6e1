"""The application log: what the program did, one bounded line for each event, as text or as JSON."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
from collections.abc import Mapping
from typing import Final, Literal

from exlab_orch.clock import format_utc, utc_now
from exlab_orch.text import printable

Format = Literal["text", "json"]

LOG_NAME: Final = "exlab-orch.log"
LEVELS: Final = {"INFO": logging.INFO, "WARNING": logging.WARNING, "ERROR": logging.ERROR}
_LIMIT_BYTES: Final = 20 << 20
_MODE: Final = 0o640
_LONGEST_VALUE: Final = 1000
_LONGEST_MESSAGE: Final = 2000
_LONGEST_PATH: Final = 4096
_LONGEST_TRACEBACK: Final = 200
_BARE: Final = re.compile(r"[\w./:@+-]+", re.ASCII)
_PROGRAM: Final = logging.getLogger("exlab_orch")
_EVENTS: Final = logging.getLogger("exlab_orch.events")
_EVENTS.addHandler(logging.NullHandler())  # for programs that embed us and want no log: events are not printed


def note_event(event: str, message: str, *, level: str = "INFO", **facts: object) -> None:
    """Log that something happened.

    Args:
        event: one word that stays the same between versions.
        message: the same in a sentence.
        level: INFO, WARNING or ERROR.
        facts: what programs want to find; None is left out.
    """
    given = {name: value for name, value in facts.items() if value is not None}
    shown = printable(message, _LONGEST_MESSAGE)  # here already: handlers of programs that embed us get it as it is
    _EVENTS.log(LEVELS.get(level, logging.INFO), "%s", shown, extra={"event": event, "facts": given})


def log_into(state_dir: str, form: Format, facts: Mapping[str, object]) -> None:
    """Send what the program logs to the log of that state directory, and nowhere else.

    Args:
        state_dir: where the log is.
        form: how a line is written.
        facts: what stands in every line: who called which verb.
    """
    _PROGRAM.handlers = [_ToFile(state_dir, form, facts)]
    _PROGRAM.setLevel(logging.INFO)
    _PROGRAM.propagate = False


class _ToFile(logging.Handler):
    """Opens the file anew for every line, so that logrotate may take it away at any time."""

    def __init__(self, state_dir: str, form: Format, facts: Mapping[str, object]) -> None:
        super().__init__()
        self._state_dir = state_dir
        self.line = json_line if form == "json" else text_line
        self._facts = facts

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; a disk that is full must not stop what the line is about."""
        append(self._state_dir, self.line(record, self._facts))


def log_bug(state_dir: str, error: BaseException, facts: Mapping[str, object]) -> str | None:
    """Log what was raised and where; the path of the log, or None where it cannot be written."""
    line = next((handler.line for handler in _PROGRAM.handlers if isinstance(handler, _ToFile)), text_line)
    raised = (type(error), error, error.__traceback__)
    message = f"{type(error).__name__}: {error}"
    return append(state_dir, line(logging.LogRecord("exlab_orch", logging.ERROR, "", 0, message, None, raised), facts))


def append(state_dir: str, text: str) -> str | None:
    """Add a line to the log; its path, or None where it cannot be written.

    Only the owner of the state directory writes there, so that root leaves no file that the service cannot write.
    """
    path = os.path.join(state_dir, LOG_NAME)
    try:
        if os.stat(state_dir).st_uid != os.geteuid():
            return None
        _turn_over(path)
        with open(path, "ab", opener=_opened, buffering=0) as log:
            begin = "\n" if _is_torn(log.fileno()) else ""
            line = f"{begin}{text}\n"
            log.write(line.encode(errors="backslashreplace"))  # in one piece: passes write beside each other
    except OSError:
        return None
    return path


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags & ~os.O_ACCMODE | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)


def _is_torn(log: int) -> bool:
    """Whether a full disk or a crash cut the last line short; the next one must not run into it."""
    size = os.fstat(log).st_size
    return size > 0 and os.pread(log, 1, size - 1) != b"\n"


def _turn_over(path: str) -> None:
    """Where nothing rotates it: keep one former log, so that a bug met every minute cannot fill the disk."""
    if os.path.exists(path) and os.path.getsize(path) > _LIMIT_BYTES:
        os.replace(path, f"{path}.old")


# -- lines ---------------------------------------------------------------------------------------------------


def text_line(record: logging.LogRecord, common: Mapping[str, object]) -> str:
    """``<UTC> LEVEL event name=value … message="…"``; what was raised stands below it, line by line behind a bar.

    Values are quoted unless they are one plain word, so that no name can forge a field or a line.
    """
    words = [f"{name}={_quoted(printable(str(value), _LONGEST_VALUE))}" for name, value in _all(record, common).items()]
    words.append(f"message={_quoted(_message(record))}")
    first = f"{format_utc(utc_now())} {record.levelname} {_event(record)} {' '.join(words)}"
    return "\n".join([first, *(f"    | {line}" for line in _traceback(record))])


def _quoted(text: str) -> str:
    if _BARE.fullmatch(text):
        return text
    escaped = text.replace('"', '\\"')
    return f'"{escaped}"'


def json_line(record: logging.LogRecord, common: Mapping[str, object]) -> str:
    """One JSON object with ``time``, ``level``, ``event``, ``message`` and the facts; ASCII only."""
    document: dict[str, object] = {"time": format_utc(utc_now()), "level": record.levelname, "event": _event(record)}
    for name, value in _all(record, common).items():
        document |= _json_value(name, value)
    document["message"] = _message(record)
    traceback = _traceback(record)
    return json.dumps({**document, "traceback": traceback} if traceback else document)


def _json_value(name: str, value: object) -> dict[str, object]:
    """A fact; a text that is not UTF-8 is also carried exactly, in ``name_b64``."""
    if isinstance(value, bool | int | float):
        return {name: value}
    text = str(value)
    shown: dict[str, object] = {name: text[:_LONGEST_VALUE]}
    try:
        text.encode()
    except UnicodeEncodeError:
        exact = base64.b64encode(os.fsencode(text)[:_LONGEST_PATH]).decode("ascii")
        return {name: printable(text, _LONGEST_VALUE), f"{name}_b64": exact}
    return shown


def _event(record: logging.LogRecord) -> str:
    return str(getattr(record, "event", "bug" if record.exc_info else "note"))


def _all(record: logging.LogRecord, common: Mapping[str, object]) -> dict[str, object]:
    """The facts of the event, then those of every line."""
    facts: object = getattr(record, "facts", {})
    return {**(facts if isinstance(facts, Mapping) else {}), **common}


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    return text if hasattr(record, "event") else printable(text, _LONGEST_MESSAGE)


def _traceback(record: logging.LogRecord) -> list[str]:
    if record.exc_info is None:
        return []
    lines = logging.Formatter().formatException(record.exc_info).splitlines()
    return [printable(line, _LONGEST_VALUE) for line in lines[-_LONGEST_TRACEBACK:]]
