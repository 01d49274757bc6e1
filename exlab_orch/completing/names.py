"""Names of equipment, projects, runs and NAS, as cheaply as they can be had; what cannot be read is not offered."""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from fnmatch import translate
from itertools import islice
from typing import Any, Final

_SYSTEM_CONFIG: Final = "/etc/exlab-orch/config.toml"
_LARGEST_CONFIG: Final = 1 << 20
_LEDGER_TAIL: Final = 256 << 10
"""The runs that were cleared last; nobody completes the name of an old one."""
_MOST_FOLDERS: Final = 5000
"""In one folder; looking at more would make a key feel slow."""
_SHELVES: Final = {"Runs": "Run_*", "TestRuns": "TestRun_*"}

Tables = Mapping[str, Any]
Named = Iterator[tuple[str, str]]


def of(kind: str, start: str, config: str | None, environ: Mapping[str, str]) -> Named:
    """Names of that kind and what they mean; ``start`` tells whether a run is named by its path."""
    tables = _tables(config, environ)
    if kind == "equipment":
        return ((one["id"], str(one.get("label") or "")) for one in _equipment(tables))
    if kind == "nas":
        return ((name, "") for name in dict.fromkeys(_nas(tables)))
    if kind == "project":
        return ((name, "") for name in dict.fromkeys(path.split("/")[1] for path in _runs(tables)))
    paths = [*_runs(tables), *(_cleared(tables) if kind == "cleared" else ())]
    return _run_words(list(dict.fromkeys(paths)), start)


def _run_words(paths: list[str], start: str) -> Named:
    """The folder's name where only one run has it and it looks like no option, else the whole path."""
    if "/" in start:
        return ((path, "") for path in paths)
    parts = [path.rpartition("/") for path in paths]
    names = Counter(name for _, _, name in parts)
    after_dashes = start.startswith("-")
    by_name = (names[name] == 1 and (after_dashes or not name.startswith("-")) for _, _, name in parts)
    return ((part[2], part[0]) if short else ("".join(part), "") for part, short in zip(parts, by_name, strict=True))


# -- the configuration ---------------------------------------------------------------------------------------


def config_file(named: str | None, environ: Mapping[str, str]) -> str | None:
    """Which file ``config.find_config`` would find."""
    explicit = named or environ.get("EXLAB_ORCH_CONFIG")
    if explicit:
        return os.path.expanduser(explicit)
    home, own = environ.get("HOME", ""), environ.get("XDG_CONFIG_HOME", "")
    if not own.startswith("/"):
        own = f"{home}/.config" if home.startswith("/") else ""
    places = [_SYSTEM_CONFIG, *([f"{own.rstrip('/')}/exlab-orch/config.toml"] if own else [])]
    return next(filter(os.path.exists, places), None)


def _tables(named: str | None, environ: Mapping[str, str]) -> Tables:
    path = config_file(named, environ)
    content = b"" if path is None else _content(path, _LARGEST_CONFIG)
    try:
        return tomllib.loads(content.decode().removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return {}


def _content(path: str, most: int) -> bytes:
    """The last ``most`` bytes of a plain file; nothing where it is none, or may not be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return b""
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return b""
        file.seek(max(0, status.st_size - most))
        return file.read(most)


def _table(value: object, name: str) -> Tables:
    found = value.get(name) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _equipment(tables: Tables) -> list[Tables]:
    found = tables.get("equipment")
    every = found if isinstance(found, list) else []
    return [
        one for one in every if isinstance(one, Mapping) and isinstance(one.get("id"), str) and "/" not in one["id"]
    ]


def _nas(tables: Tables) -> Iterator[str]:
    for one in (_table(tables, "nas"), *(_table(equipment, "nas") for equipment in _equipment(tables))):
        root, remote, target, path = (one.get(key) for key in ("root", "remote", "target", "path"))
        if isinstance(root, str):
            yield os.path.normpath(root)
        elif isinstance(path, str) and isinstance(remote or target, str):
            yield f"{remote or target}:{path}"


# -- runs ----------------------------------------------------------------------------------------------------


def _runs(tables: Tables) -> Iterator[str]:
    root = _table(tables, "orchestrator").get("staging_root")
    if not isinstance(root, str) or not root.startswith("/"):
        return
    for one in _equipment(tables):
        fits = _run_names(one.get("run_pattern"))
        for project in _folders(f"{root}/{one['id']}"):
            yield from _runs_of(root, f"{one['id']}/{project}", fits)


def _runs_of(root: str, project: str, fits: Mapping[str, re.Pattern[str]]) -> Iterator[str]:
    for name in _folders(f"{root}/{project}"):
        if name in fits:
            runs = _folders(f"{root}/{project}/{name}")
            yield from (f"{project}/{name}/{run}" for run in runs if fits[name].match(run))
        elif fits["Runs"].match(name):
            yield f"{project}/{name}"


def _run_names(patterns: object) -> dict[str, re.Pattern[str]]:
    """Which folders on each shelf are runs; in one expression, because there may be thousands of names."""
    wanted = patterns if isinstance(patterns, list) else [patterns]
    more = [pattern for pattern in wanted if isinstance(pattern, str)]
    return {shelf: re.compile("|".join(map(translate, (own, *more)))) for shelf, own in _SHELVES.items()}


def _folders(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            found = [one.name for one in islice(entries, _MOST_FOLDERS) if one.is_dir(follow_symlinks=False)]
    except (OSError, ValueError):
        return []
    return sorted(name for name in found if not name.startswith("."))


def _cleared(tables: Tables) -> Iterator[str]:
    state = _table(tables, "orchestrator").get("state_dir")
    content = _content(f"{state}/ledger.jsonl", _LEDGER_TAIL) if isinstance(state, str) else b""
    for line in reversed(content.splitlines()):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        path = value.get("run_path") if isinstance(value, dict) else None
        if isinstance(path, str):
            yield path
