"""Where words go: data to standard output, messages to standard error, nothing raw to a terminal (cli.md)."""

from __future__ import annotations

import codecs
import errno
import io
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from textwrap import wrap
from typing import Final, TextIO

from exlab_orch.cli.pasting import pasteable, pasteable_document

SCHEMA_VERSION = "1.0"

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]",
)
_SIGNS = {"…": "...", "→": ">", "✓": "+", "✗": "x"}
_IN_ASCII = "exlab-orch-in-ascii"
"""The name under which Python finds ``_in_ascii``."""

COMMANDS = "(?:exlab-orch|sudo|systemctl|chmod|mkdir|mv|run_pattern =) "
"""How a command to copy begins, or a line of the configuration, as a pattern."""
_COMMAND = re.compile(rf"(?:(?<=: )|^ *)(?={COMMANDS})")
"""What stands before a command to copy in a message: a colon, or nothing but spaces."""
_UNTIL_THREE_SPACES: Final = re.compile(r"""(?:'[^']*'|"[^"]*"|[^'" ]| (?!  ))*""")


class Outlet(io.FileIO):
    """Standard output or error that never raises: a reader that went away must not stop a change half way.

    ``fault`` is the error number of the first failed write, or None.
    """

    fault: int | None = None

    def write(self, content: object) -> int:
        """Write what can be written and claim all of it."""
        size = len(memoryview(content).cast("B"))  # type: ignore[arg-type]
        if self.fault is None:
            self._write_whole(memoryview(content).cast("B"))  # type: ignore[arg-type]
        return size

    def _write_whole(self, content: memoryview) -> None:
        try:
            while content:
                content = content[super().write(content) or 0 :]
        except OSError as error:
            self.fault = error.errno or errno.EIO


def open_streams() -> tuple[Outlet, Outlet]:
    """Replace ``sys.stdout`` and ``sys.stderr`` by streams that never raise; closed descriptors become /dev/null.

    Without this a file of ours could be opened as descriptor 1 and receive what was meant for the screen.
    """
    for number in (0, 1, 2):
        _occupy(number)
    out, err = Outlet(1, "w", closefd=False), Outlet(2, "w", closefd=False)
    sys.stdout, sys.stderr = _text(out, sys.stdout), _text(err, sys.stderr)
    return out, err


def _occupy(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        os.open(os.devnull, os.O_RDWR)


def _text(raw: Outlet, former: TextIO | None) -> TextIO:
    codecs.register_error(_IN_ASCII, _in_ascii)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=_encoding(raw, former),
        errors=_IN_ASCII,
        line_buffering=raw.isatty() or raw.fileno() == 2,
    )


def _encoding(raw: Outlet, former: TextIO | None) -> str:
    """That of the locale; a terminal in the locale C is taken at its word, where Python writes UTF-8 all the same."""
    if raw.isatty() and os.environ.get("LC_ALL") in ("C", "POSIX"):
        return "ascii"
    return "utf-8" if former is None else former.encoding


def _in_ascii(error: UnicodeError) -> tuple[str | bytes, int]:
    """What stands for characters that the encoding lacks: our own signs in ASCII, of names the escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_SIGNS.get(one) or ascii(one)[1:-1] for one in lacking), error.end


def harmless(text: str) -> str:
    """The text with everything a terminal could obey or hide written as escapes; newlines and tabs stay.

    Names are escaped where they enter a sentence; this is the last guard, not the first.
    """
    return _UNSAFE.sub(lambda found: ascii(found.group())[1:-1], text)


ERROR, WARNING, NOTICE = 3, 4, 5
"""Priorities of messages, as syslog and the journal count them."""


def say(text: str, *, priority: int = NOTICE) -> None:
    """One message on standard error, after what was printed before it; the journal of systemd is told the priority."""
    sys.stdout.flush()
    shown = harmless(pasteable(text))
    if sys.stderr.isatty():
        shown = for_reading(shown, shutil.get_terminal_size().columns)
    elif _is_journal():
        shown = "\n".join(f"<{priority}>{line}" for line in shown.split("\n"))
    print(shown, file=sys.stderr, flush=True)


def for_reading(text: str, columns: int) -> str:
    """The text with its sentences broken between words, and each command whole on a line of its own, to be copied."""
    return "\n".join(part for line in text.split("\n") for part in _broken(line, columns))


def _broken(line: str, columns: int) -> Iterator[str]:
    command = _COMMAND.search(line)
    copied, after = first_way(line[command.end() :]) if command else ("", "")
    if len(line) <= columns and not after:
        yield line
        return
    indent = " " * (len(line) - len(line.lstrip()))
    sentence = line if command is None else line[: command.end()]
    yield from wrap(sentence, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    if command:
        yield f"{indent if command.start() == 0 else indent + '  '}{copied}"
        yield from _broken(indent + after, columns) if after else ()


def first_way(text: str) -> tuple[str, str]:
    """A command, and the other way that follows it after three spaces; those in a quoted name end no command."""
    command = _UNTIL_THREE_SPACES.match(text)
    if command is None or not text.startswith("   ", command.end()):
        return text, ""
    return command[0], text[command.end() + 3 :]


def _is_journal() -> bool:
    """Whether standard error is the journal: $JOURNAL_STREAM names device and inode of its end (sd-daemon(3))."""
    named = os.environ.get("JOURNAL_STREAM")
    if not named:
        return False
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return named == f"{status.st_dev}:{status.st_ino}"


def print_line(text: str) -> None:
    """One line of data on standard output."""
    print(harmless(text))


def print_markup(document: bytes) -> None:
    """A document that was built for a browser, in ASCII, byte by byte."""
    print(document.decode("ascii"), end="")


def flush() -> None:
    """Let what was printed out before a message overtakes it."""
    sys.stdout.flush()


def print_tabs(fields: Iterable[object]) -> None:
    """One tab separated line of data, whatever a field holds; what is empty or None is ``-``."""
    print_line("\t".join("-" if field in (None, "") else _on_one_line(str(field)) for field in fields))


def _on_one_line(field: str) -> str:
    return field.replace("\t", "\\t").replace("\n", "\\n")


def print_json(document: Mapping[str, object], *, line: bool = False) -> None:
    """One JSON document; on a terminal indented unless ``line``. ASCII only, so nothing in it can steer a terminal."""
    import json

    indent = 2 if sys.stdout.isatty() and not line else None
    print(json.dumps(pasteable_document(document), indent=indent), flush=line)
