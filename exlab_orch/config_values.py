"""What single values of config.toml may be: paths, patterns, modes and durations as pydantic types."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

from exlab_orch.config_errors import Allowed, refusal
from exlab_orch.text import parse_duration, parse_size


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise refusal("it contains control characters or line breaks")
    return text


def _absolute_path(text: str) -> str:
    _one_line(text)
    if not text.startswith("/"):
        raise refusal("'~' and variables are not expanded" if text[:1] in "~$" and text else "it is not absolute")
    if ".." in text.split("/"):
        raise refusal("it contains '..'")
    return "/" + os.path.normpath(text).lstrip("/")


def folder_fault(text: str) -> str | None:
    """Why a text cannot be a folder in the configuration, or None where it can."""
    try:
        _absolute_path(text)
    except PydanticCustomError as error:
        return error.message()
    return None


def _marker(text: str | None) -> str | None:
    """An empty id is none: ``init`` writes it empty and ``nas-init`` fills it."""
    if text and not re.fullmatch(r"[A-Za-z0-9._-]{1,128}", text):
        raise refusal("it is not an id")
    return text or None


def _group(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@ -]*\$?", text):
        raise refusal("it is not the name of a group")
    return text


def _relative_name(text: str) -> str:
    _one_line(text)
    if "\\" in text:
        raise refusal("it contains '\\'; folders are separated by '/'")
    if text.startswith("/"):
        raise refusal("it is absolute; it counts from the run folder")
    if any(segment in ("", ".", "..") for segment in text.split("/")):
        raise refusal("it is empty, or a part of it is empty, '.' or '..'")
    return text


def _plain_name(text: str) -> str:
    if set("*?") & set(text):
        raise refusal("it is a pattern; a manifest has one name")
    return _relative_name(text)


def _folder_name(text: str) -> str:
    """One name or glob of a run's folder; hidden folders are ours or a program's, and never runs."""
    _one_line(text)
    if not text or set("/\\") & set(text):
        raise refusal("it is empty, or a path; it is the name of the run folder alone")
    if text.startswith("."):
        raise refusal("it begins with a dot; hidden folders are never runs")
    return text


def _several(value: object) -> object:
    """One pattern or a list of them, as a tuple; anything else goes on and is refused by its type."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _not_empty(patterns: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if patterns is not None and not patterns:
        raise refusal("the list is empty")
    return patterns


def _one_or_list(patterns: tuple[str, ...] | None) -> str | list[str] | None:
    if patterns is None:
        return None
    return patterns[0] if len(patterns) == 1 else list(patterns)


def _octal(largest: int, needed: int) -> BeforeValidator:
    """Octal text to a file mode; without ``needed`` this program could not read its own copies."""

    def mode(value: object) -> object:
        if value is None:
            return None
        if not isinstance(value, str) or not re.fullmatch(r"0?[0-7]{3,4}", value):
            raise refusal("it is not an octal mode in quotes")
        number = int(value, 8)
        if number & 0o4000:
            raise refusal("setuid is never set")
        if number > largest:
            raise refusal("setgid and sticky bits are for folders only" if largest == 0o777 else "it is too large")
        if number & needed != needed:
            raise refusal("the owner could not read what was copied")
        return number

    return BeforeValidator(mode)


def _octal_text(mode: int | None) -> str | None:
    return None if mode is None else f"{mode:04o}"


def _duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_duration(value)
    except (ValueError, OverflowError) as error:
        raise refusal("it is not a duration") from error


def _duration_text(duration: timedelta | None) -> str | None:
    if duration is None:
        return None
    seconds = int(duration.total_seconds())
    unit, size = next(
        (unit, size) for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)) if seconds % size == 0
    )
    return f"{seconds // size}{unit}"


def _free_space(value: object) -> object:
    """A mark of free space as its canonical text: "500GiB", or a part of the disk, "10%"."""
    if not isinstance(value, str):
        return value
    wanted = value.strip()
    try:
        marked = free_space_bytes(wanted, 1 << 50)
    except ValueError as error:
        raise refusal("it is neither a size nor a percentage") from error
    if not marked > 0:
        raise refusal("it is nothing", 'more than nothing: "500GiB" or "10%"')
    if wanted.endswith("%") and float(wanted[:-1]) > _LARGEST_PERCENT:
        raise refusal(f"it is more than {_LARGEST_PERCENT} % of the disk", f'at most "{_LARGEST_PERCENT}%", or a size')
    return wanted.replace(" ", "")


def free_space_bytes(mark: str, total_bytes: int) -> int:
    """How many bytes a mark of free space means on a disk of that size. Raises ValueError where it means nothing."""
    if not mark.endswith("%"):
        return parse_size(mark)
    number = mark[:-1].strip()
    if not re.fullmatch(r"\d{1,3}(\.\d{1,3})?", number, re.ASCII):
        raise ValueError(f"'{number}' is not a percentage")
    return int(total_bytes * float(number) / 100)


def _shortest(number: float | None) -> object:
    """168 and not 168.0, in TOML and JSON that people read."""
    return int(number) if number is not None and number == int(number) else number


def _minute_of_day(last: str) -> BeforeValidator:
    """A time of the day as minutes since midnight; 24:00 is the end of a day and never its beginning."""

    def minutes(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, str):
            raise refusal("it is not a time in quotes")
        found = re.fullmatch(r"(\d\d):(\d\d)", value, re.ASCII)
        if found is None or int(found[2]) > 59 or value > last:
            raise refusal("it is not a time of the day")
        return int(found[1]) * 60 + int(found[2])

    return BeforeValidator(minutes)


def _time_text(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def list_as_tuple(value: object) -> object:
    """A list as a tuple, which cannot be changed; anything else goes on and is refused by its type."""
    return tuple(value) if isinstance(value, list) else value


def _some_days(days: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if days is not None and not days:
        raise refusal("the list is empty", "at least one day, or no days: then the window opens every day")
    return days


_PATTERN_SCHEMA: Final = WithJsonSchema(
    {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
)
_MODE_SCHEMA: Final = WithJsonSchema({"type": "string", "pattern": "^0?[0-7]{3,4}$"})
_PATTERN_WORDS: Final = Allowed("a file name or glob in quotes, or a list of them, relative to the run folder")

_LARGEST_PERCENT: Final = 90

Number = Annotated[float, PlainSerializer(_shortest)]
OptionalNumber = Annotated[float | None, PlainSerializer(_shortest)]
Line = Annotated[str, Field(max_length=200), AfterValidator(_one_line), Allowed("one line of text in quotes")]
AbsolutePath = Annotated[
    str,
    Field(max_length=4000),
    AfterValidator(_absolute_path),
    Allowed('an absolute path in quotes, such as "/srv/staging"'),
]
Pattern = Annotated[str, Field(max_length=1000), AfterValidator(_relative_name)]
Patterns = Annotated[
    tuple[Pattern, ...] | None,
    BeforeValidator(_several),
    AfterValidator(_not_empty),
    PlainSerializer(_one_or_list),
    _PATTERN_SCHEMA,
    _PATTERN_WORDS,
]
RunPatterns = Annotated[
    tuple[Annotated[str, Field(max_length=255), AfterValidator(_folder_name)], ...] | None,
    BeforeValidator(_several),
    AfterValidator(_not_empty),
    PlainSerializer(_one_or_list),
    _PATTERN_SCHEMA,
    Allowed('the name of a folder or a glob in quotes, or a list of them, such as ["Run_*", "Exp-*"]'),
]
FolderMode = Annotated[
    int | None, _octal(0o3777, 0o700), PlainSerializer(_octal_text), _MODE_SCHEMA, Allowed('octal text such as "2775"')
]
FileMode = Annotated[
    int | None, _octal(0o777, 0o400), PlainSerializer(_octal_text), _MODE_SCHEMA, Allowed('octal text such as "0664"')
]
Duration = Annotated[
    timedelta | None,
    BeforeValidator(_duration),
    PlainSerializer(_duration_text),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+[smhd]$"}),
    Allowed('a duration in quotes: "90s", "15m", "24h" or "7d"'),
]
FreeSpace = Annotated[
    str | None,
    BeforeValidator(_free_space),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?( ?[kKMGTPE]?i?B|%)$"}),
    Allowed('a size such as "500GiB", or a part of the disk such as "10%", in quotes'),
]
_TIME_SCHEMA: Final = WithJsonSchema({"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"})
_END_SCHEMA: Final = WithJsonSchema({"type": "string", "pattern": "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"})
WEEK: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Days = Annotated[
    tuple[Day, ...] | None,
    BeforeValidator(list_as_tuple),
    AfterValidator(_some_days),
    Allowed('a list of "mon", "tue", "wed", "thu", "fri", "sat" and "sun"'),
]
TimeOfDay = Annotated[
    int,
    _minute_of_day("23:59"),
    PlainSerializer(_time_text),
    _TIME_SCHEMA,
    Allowed('a time in quotes, such as "08:00"'),
]
EndOfWindow = Annotated[
    int,
    _minute_of_day("24:00"),
    PlainSerializer(_time_text),
    _END_SCHEMA,
    Allowed('a time in quotes, such as "18:00", at most "24:00"'),
]
MarkerId = Annotated[str | None, AfterValidator(_marker), Allowed("the id that 'exlab-orch nas-init' writes")]
GroupName = Annotated[str | None, AfterValidator(_group), Allowed("the name of a group in quotes")]
EquipmentId = Annotated[
    str,
    Field(pattern=r"^[A-Z][A-Z0-9_]*$", max_length=32),
    Allowed("capital letters, digits and _, a letter first, at most 32, such as CONFOCAL_01"),
]
ManifestName = Annotated[
    str,
    Field(max_length=1000),
    AfterValidator(_plain_name),
    Allowed("a file name in quotes, relative to the run folder"),
]
