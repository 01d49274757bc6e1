"""What is wrong with a configuration, in words: file, line, key, what was wrong, and what is allowed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, cast, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from exlab_orch.errors import ConfigInvalid
from exlab_orch.text import printable
from exlab_orch.toml_text import KeyPath, KeyPlace, find_keys, locate

REFUSAL: Final = "refused"
"""The error type of our own rules; pydantic's types are about single values."""
_RANGES: Final = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a key may hold, as an error message says it."""

    text: str


@dataclass(frozen=True, slots=True)
class ConfigError:
    """One thing wrong with a configuration file. ``line`` counts from 1 and is 0 for the file as a whole."""

    file: str
    line: int
    key: str
    wrong: str
    allowed: str

    def __str__(self) -> str:
        place = printable(self.file) + (f":{self.line}" if self.line else "")
        parts = [place, self.key, self.wrong] if self.key else [place, self.wrong]
        return ": ".join(parts) + (f"; allowed: {self.allowed}" if self.allowed else "")


class ConfigFileInvalid(ConfigInvalid):
    """The configuration has the errors in ``errors``; the message lists all of them, one a line."""

    errors: tuple[ConfigError, ...] = ()

    @classmethod
    def listing(
        cls, errors: Sequence[ConfigError], *, hint: str = "Correct the file; nothing was run."
    ) -> ConfigFileInvalid:
        """The exception that names every one of these errors."""
        found = cls("\n".join(map(str, errors)), hint=hint)
        found.errors = tuple(errors)
        return found


def refusal(wrong: str, allowed: str = "") -> PydanticCustomError:
    """An error of one of our own rules; ``allowed`` replaces what the key allows in general."""
    return PydanticCustomError(REFUSAL, "{wrong}", {"wrong": wrong, "allowed": allowed})


def raised_again(detail: ErrorDetails) -> InitErrorDetails:
    """An error that was raised already, in the form that raises it again."""
    context = detail.get("ctx", {})
    kind: str | PydanticCustomError = detail["type"]
    if kind == REFUSAL:
        return InitErrorDetails(
            type=refusal(context["wrong"], context["allowed"]), loc=detail["loc"], input=detail["input"]
        )
    return InitErrorDetails(type=kind, loc=detail["loc"], input=detail["input"], ctx=context)


def syntax_error(file: str, text: str, error: Exception) -> ConfigError:
    """What tomllib could not read, with the line it was met on and the key that line begins with."""
    message = str(error) or type(error).__name__
    at = re.search(r" \(at line (\d+), column \d+\)$", message)
    lines = text.splitlines() or [""]
    line = int(at.group(1)) if at else len(lines)
    shown = lines[min(line, len(lines)) - 1]
    key = re.match(r"\s*([A-Za-z0-9_.-]+)\s*=", shown)
    reason = "it is nested too deeply" if isinstance(error, RecursionError) else printable(message)
    return ConfigError(
        file,
        line,
        key.group(1) if key else "",
        f"not TOML: {reason}",
        "key = value, with text in quotes, below a [table]",
    )


def collect_errors(
    file: str, text: str, tables: Mapping[str, object], model: type[BaseModel], details: Iterable[ErrorDetails]
) -> tuple[ConfigError, ...]:
    """Every error in the order of the file."""
    places = find_keys(text)
    errors = {_one_error(file, places, tables, model, detail) for detail in details}
    return tuple(sorted(errors, key=lambda error: (error.line, error.key, error.wrong)))


def _one_error(
    file: str,
    places: Mapping[KeyPath, KeyPlace],
    tables: Mapping[str, object],
    model: type[BaseModel],
    detail: ErrorDetails,
) -> ConfigError:
    path = detail["loc"]
    around, known = _follow(model, path, tables)
    if detail["type"] == "extra_forbidden":
        wrong, allowed = _unknown_key(path, tuple(fields_of(around)))
    else:
        wrong, allowed = _wrong_value(detail), _own_allowed(detail) or allowed_words(path, known)
    return ConfigError(file, locate(places, path), _key(path, tables), wrong, allowed)


def _follow(model: type[BaseModel], path: KeyPath, value: object) -> tuple[type[BaseModel], FieldInfo | None]:
    """The table that a path ends in, and the field it names there, or None where there is no such field.

    ``value`` is what the file has there: where a key may hold several kinds of table, its ``type`` says which.
    """
    around: type[BaseModel] = model
    field: FieldInfo | None = None
    inner: type[BaseModel] | None = model
    for name in path:
        value = _inside(value, name)
        if isinstance(name, int) or inner is None:
            continue
        around = inner
        field = fields_of(around).get(name)
        inner = _table_of(field.annotation, value) if field is not None else None
    return around, field


def fields_of(table: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a table by the names that the file has; ``from`` cannot be a name in Python."""
    return {field.alias or name: field for name, field in table.model_fields.items()}


def _inside(value: object, name: int | str) -> object:
    if isinstance(value, Mapping):
        return value.get(name)
    return value[name] if isinstance(value, list) and isinstance(name, int) and name < len(value) else None


def _table_of(annotation: object, value: object = None) -> type[BaseModel] | None:
    """The kind of table that an annotation names; of several the one of the value's type, else the first."""
    tables = list(tables_in(annotation))
    kind = value.get("type") if isinstance(value, Mapping) else None
    return next((table for table in tables if kind in _types_of(table)), tables[0] if tables else None)


def tables_in(annotation: object) -> Iterator[type[BaseModel]]:
    """Every kind of table that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        for part in get_args(annotation):
            yield from tables_in(part)


def _types_of(table: type[BaseModel]) -> tuple[object, ...]:
    field = table.model_fields.get("type")
    return get_args(field.annotation) if field is not None else ()


def _key(path: KeyPath, tables: Mapping[str, object]) -> str:
    """``orchestrator.staging_cleanup.mode``, ``equipment[CONFOCAL_01].nas.root`` or ``sync.schedule[2].from``."""
    shown: list[str] = []
    for at, name in enumerate(path):
        if isinstance(name, str):
            shown.append(printable(name))
        elif at == 1:
            shown[0] += f"[{_equipment_id(tables, name)}]"
        elif path[at - 1] == "schedule":
            shown[-1] += f"[{name + 1}]"
    return ".".join(shown)


def _equipment_id(tables: Mapping[str, object], number: int) -> str:
    blocks = tables.get("equipment")
    block = blocks[number] if isinstance(blocks, list | tuple) and number < len(blocks) else None
    named = block.get("id") if isinstance(block, Mapping) else None
    return printable(named, 40) if isinstance(named, str) else str(number + 1)


def _unknown_key(path: KeyPath, names: Sequence[str]) -> tuple[str, str]:
    return "there is no such key" + _did_you_mean(str(path[-1]), names), ", ".join(names)


def _did_you_mean(text: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(text.lower(), names, n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


def _wrong_value(detail: ErrorDetails) -> str:
    value = detail["input"]
    if detail["type"] == "missing":
        return "it is missing"
    if detail["type"] == REFUSAL:
        wrong = str(detail["ctx"]["wrong"])
        return wrong if value is None else f"{_shown(value)} cannot be used: {wrong}"
    if detail["type"] in ("string_too_long", "string_unicode"):
        return "the text is too long" if detail["type"] == "string_too_long" else "the text cannot be written as UTF-8"
    if detail["type"] == "literal_error" and isinstance(value, str):
        return f"{_shown(value)} cannot be used" + _did_you_mean(value, _literals(str(detail["ctx"]["expected"])))
    return f"{_shown(value)} cannot be used"


def _literals(expected: str) -> list[str]:
    return re.findall(r"'([^']*)'", expected)


def _shown(value: object) -> str:
    """A value as the file has it; what is long or nested is named, not shown."""
    if isinstance(value, str):
        return f'"{printable(value, 80)}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:.15g}"
    if isinstance(value, Mapping | BaseModel):
        return "a table"
    return "a list" if isinstance(value, list | tuple) else "a date or time"


def _own_allowed(detail: ErrorDetails) -> str:
    return str(detail["ctx"]["allowed"]) if detail["type"] == REFUSAL else ""


def allowed_words(path: KeyPath, field: FieldInfo | None) -> str:
    """What a field allows, from its own words, its type and its bounds."""
    if field is None:
        return ""
    words = next((item.text for item in field.metadata if isinstance(item, Allowed)), None) or _words_inside(
        field.annotation
    )
    if words is not None:
        return words
    table = _table_of(field.annotation)
    if table is not None:
        needed = [name for name, inner in fields_of(table).items() if inner.is_required()]
        header = ".".join(str(name) for name in path if isinstance(name, str))
        return f"a table [{header}]" + (f" with {' and '.join(needed)}" if needed else "")
    return ", ".join([" or ".join(_kinds(field.annotation)), *_bounds(field.metadata)])


def _words_inside(annotation: object) -> str | None:
    """The words of a type that stands inside another one, as in ``AbsolutePath | None``."""
    inside = (part.text if isinstance(part, Allowed) else _words_inside(part) for part in get_args(annotation))
    return next((words for words in inside if words), None)


def _kinds(annotation: object) -> Iterator[str]:
    """The words for a type: each literal, or true and false, or the kind of number."""
    if get_origin(annotation) is Literal:
        yield from (f'"{choice}"' for choice in get_args(annotation))
    elif annotation is bool:
        yield from ("true", "false")
    elif annotation is int:
        yield "a whole number"
    elif annotation is float:
        yield "a number"
    else:
        for part in get_args(annotation):
            yield from _kinds(part)


def _bounds(metadata: Sequence[object]) -> Iterator[str]:
    for item in metadata:
        for name, words in _RANGES.items():
            bound = cast("float | None", getattr(item, name, None))
            if bound is not None:
                yield f"{words} {bound}"
