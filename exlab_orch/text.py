"""Knows how sizes, times and names from outside are written for people, and how people write them for us."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from datetime import timedelta
from itertools import islice
from shlex import quote
from typing import Final

_SHORT_ESCAPES: Final = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_CUT: Final = "…"

_BINARY_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_SIZE_UNITS: Final = {"B": 1}
_SIZE_UNITS.update({unit: 1024**power for power, unit in enumerate(_BINARY_UNITS, 1)})
_SIZE_UNITS.update({unit: 1000**power for power, unit in enumerate(("kB", "MB", "GB", "TB", "PB", "EB"), 1)})
_SIZE_BY_LOWER: Final = {unit.lower(): factor for unit, factor in _SIZE_UNITS.items()}

_SECONDS: Final = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}
_DURATION_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_LONGEST_DAYS: Final = 36_500
"""A hundred years: any date of ours plus or minus that is still a date."""
_MOST_DIGITS: Final = 15

_MUCH_LESS_LIKE: Final = 0.2
_MOST_KNOWN: Final = 2000
"""More words are not compared with a mistyped one: it takes longer than a person waits."""


def _shown(character: str) -> str:
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    if character.isprintable():
        return character
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that is not UTF-8, as os.fsdecode carries it
        return f"\\x{number - 0xDC00:02x}"
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _whole_pieces(pieces: list[str], room: int) -> list[str]:
    """The leading pieces that fit into ``room`` characters; an escape is never cut in two."""
    fitting = []
    for piece in pieces:
        room -= len(piece)
        if room < 0:
            break
        fitting.append(piece)
    return fitting


def printable(value: bytes | str, limit: int = 200) -> str:
    """The value on one line, safe on any terminal and in any log; different values stay different below the limit.

    Control and format characters, line separators, every space but the plain one, bytes that are not UTF-8 and the
    backslash itself are escaped as in Python. What is longer than ``limit`` characters loses its middle: both the
    folder in front and the ending of a name stay readable. The source of the rule is lifecycle.md, 7.
    """
    text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
    if len(text) <= limit:
        if text.isprintable() and "\\" not in text:
            return text
        shown = "".join(map(_shown, text))
        if len(shown) <= limit:
            return shown
    room = max(limit - len(_CUT), 0)
    front = _whole_pieces([_shown(character) for character in text[:room]], room - room // 2)
    back = _whole_pieces([_shown(character) for character in reversed(text[-limit:])], room // 2)
    return "".join([*front, _CUT, *reversed(back)])


def is_utf8(name: str) -> bool:
    """Whether a name, as the system gave it, is UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def pasted(run_path: str) -> str:
    """A path as a word for a shell, ready to paste; what is not printable in it as bash and zsh read escapes."""
    shown = printable(run_path, limit=10_000)
    if shown == run_path:
        return quote(shown)
    escaped = shown.replace("'", "\\'")
    return f"$'{escaped}'"


def install_extra(name: str) -> str:
    """The command that installs what an extra brings, into the environment that this program runs in."""
    return f"sudo {quote(sys.executable)} -m pip install 'exlab-orch[{name}]'"


def did_you_mean(word: str, known: Iterable[str], *, show: Callable[[str], str] = quote, likeness: float = 0.6) -> str:
    """ " Did you mean A or B?", with the known words that are close to a mistyped one, or nothing."""
    by_letters = {one.casefold(): one for one in islice(known, _MOST_KNOWN)}
    wanted = word.casefold()
    close = [wanted] if wanted in by_letters else _close(wanted, [*by_letters], likeness)
    shown = " or ".join(show(by_letters[one]) for one in close)
    return f" Did you mean {shown}?" if shown else ""


def _close(wanted: str, known: list[str], likeness: float) -> list[str]:
    """The words that are close, the closest first; none that is much less so than that one."""
    from difflib import SequenceMatcher, get_close_matches  # noqa: PLC0415 - only mistyped words need it

    found = get_close_matches(wanted, known, n=3, cutoff=likeness)
    ratios = [SequenceMatcher(None, one, wanted).ratio() for one in found]
    return [one for one, ratio in zip(found, ratios, strict=True) if ratio >= max(ratios) - _MUCH_LESS_LIKE]


def size(byte_count: int) -> str:
    """A number of bytes for people, in binary units: "0 B", "1.2 GiB", "250 MiB"."""
    if byte_count < 1024:
        return f"{byte_count} B"
    number, unit = byte_count / 1024, 0
    while number >= 1023.5 and unit < len(_BINARY_UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return f"{number:.1f} {_BINARY_UNITS[unit]}" if number < 99.95 else f"{number:,.0f} {_BINARY_UNITS[unit]}"


def duration(seconds: float) -> str:
    """A length of time for people, in at most two units, rounded down: "12 s", "2 h 5 min", "3 d"; never negative."""
    left = max(int(seconds), 0)
    parts: list[str] = []
    for unit, length in _SECONDS.items():
        amount, left = divmod(left, length)
        if amount:
            parts.append(f"{amount} {unit}")
        elif parts:
            break  # "3 d", not "3 d 5 min"
    return " ".join(parts[:2]) or "0 s"


def ago(seconds: float) -> str:
    """How long ago something was: "12 s ago", "just now", and "in 5 min" for what the clock puts in the future."""
    if seconds <= -1:
        return f"in {duration(-seconds)}"
    return "just now" if seconds < 1 else f"{duration(seconds)} ago"


def count(number: int, noun: str) -> str:
    """A number of things: "1 file", "12 files", "1,200 files"; for nouns whose plural is an s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _whole_number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def parse_duration(text: str) -> timedelta:
    """The length of time a person or the configuration wrote: ``90s``, ``15m``, ``24h``, ``7d`` (cli.md).

    Raises ValueError, whose message says what is allowed, for anything else and for more than 100 years.
    """
    wanted = text.strip()
    number = _whole_number(wanted[:-1])
    if number is None or wanted[-1] not in _DURATION_UNITS:
        raise ValueError(f"'{printable(text)}' is not a duration; allowed: a whole number and s, m, h or d, as in 15m")
    seconds = number * _DURATION_UNITS[wanted[-1]]
    if seconds > _LONGEST_DAYS * _DURATION_UNITS["d"]:
        raise ValueError(f"'{printable(text)}' is too long; allowed: at most {_LONGEST_DAYS}d")
    return timedelta(seconds=seconds)


def parse_size(text: str) -> int:
    """The number of bytes a person wrote: ``500MiB``, ``2 TB``, ``100B`` (cli.md); upper and lower case are equal.

    Raises ValueError, whose message says what is allowed; a unit must be there and be exact (M alone is neither).
    """
    wanted = text.strip()
    digits = wanted.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    number = _whole_number(digits.rstrip())
    factor = _SIZE_BY_LOWER.get(wanted[len(digits) :].lower())
    if number is None or factor is None:
        units = ", ".join(_SIZE_UNITS)
        raise ValueError(f"'{printable(text)}' is not a size; allowed: a whole number and one of {units}, as in 500MiB")
    return number * factor
