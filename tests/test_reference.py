"""The reference is so: pages made by the program are fresh, JSON has the keys, and disks the files that it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from fnmatch import fnmatchcase
from io import StringIO
from pathlib import Path

import click
import pytest

from exlab_orch.cli import SECTIONS, program
from exlab_orch.cli.call import Call
from exlab_orch.cli.frame import run
from exlab_orch.clock import parse_utc
from exlab_orch.demo.story import damage
from tests.lab import RUN, Lab

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs/reference"
JSON_PAGE = (REFERENCE / "json.md").read_text()
FILES_PAGE = (REFERENCE / "files.md").read_text()


def below(page: str, title: str) -> list[list[str]]:
    """The rows of the first table below a heading."""
    text = re.split(r"^#", page.partition(f"# {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


# -- pages that are made -------------------------------------------------------------------------------------


def test_the_pages_that_the_program_makes_are_up_to_date() -> None:
    script = [sys.executable, str(ROOT / "contrib/docs/make_reference.py"), "--check"]
    made = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert made.returncode == 0, f"run contrib/docs/make_reference.py\n{made.stdout}{made.stderr}"


def test_every_verb_and_every_key_is_in_the_pages_that_are_made() -> None:
    verbs = (REFERENCE / "verbs.md").read_text()
    for name in (name for listed in SECTIONS.values() for name in listed):
        assert re.search(rf"^### `{name}( \w+)?`$", verbs, re.MULTILINE), name
    keys = (REFERENCE / "configuration.md").read_text()
    for key in ("staging_root", "retain_hours", "stall_seconds", "from", "settle_seconds"):
        assert f"| `{key}` |" in keys


# -- JSON ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Key:
    """One key of a document: its type in words, and whether it may be missing."""

    kind: str
    optional: bool


def documented(title: str, prefix: str = "", *, optional: bool = False) -> Iterator[tuple[str, Key]]:
    """The keys below a heading by path; a type that links to another heading brings its keys."""
    table = below(JSON_PAGE, title)
    assert table, title
    for name, kind, _meaning in table:
        quoted = re.fullmatch(r"`(.+)`", name)
        path = prefix + quoted[1] if quoted else prefix.rstrip(".")
        inner = re.search(r"\[[^]]*\]\(#([a-z-]+)\)", kind)
        may_lack = optional or "optional" in kind or "or null" in kind
        if inner is None:
            yield path, Key(kind, optional or "optional" in kind)
            continue
        if "or null" in kind:
            yield path, Key("null", optional=True)
        yield from documented(heading(inner[1]), f"{path}." if path else "", optional=may_lack)


def heading(anchor: str) -> str:
    titles = re.findall(r"^#+ (.+)$", JSON_PAGE, re.MULTILINE)
    return next(str(title) for title in titles if title.lower().replace(" ", "-").replace("`", "") == anchor)


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Every value of a document by the path of its keys."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
        for one in value:
            yield from leaves(one, f"{path}[]")
    else:
        yield path, value


KINDS: dict[str, Callable[[object], bool]] = {
    "text": lambda value: isinstance(value, str),
    "time": lambda value: isinstance(value, str) and value.endswith("Z") and parse_utc(value) is not None,
    "whole number": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "true or false": lambda value: isinstance(value, bool),
    "list of text": lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
    "number": lambda value: isinstance(value, int | float),
    "null": lambda value: value is None,
}


def has_kind(value: object, kind: str) -> bool:
    one, or_null, _ = kind.removesuffix(", optional").partition(" or null")
    return KINDS[one](value) or bool(or_null and value is None)


def check(title: str, document: Mapping[str, object]) -> str:
    """The document has the keys below the heading, no others, and values of their types; the heading."""
    keys = dict(documented(title))
    objects = tuple(path for path, key in keys.items() if key.kind == "object")
    found = [(path, value) for path, value in leaves(document) if not path.startswith(objects)]
    empty = {f"{path}[]" for path, value in found if value == []}
    for path, value in found:
        if f"{path}[]" not in empty or path in keys:
            assert path in keys, f"{title} prints {path}, which docs/reference/json.md does not explain"
            assert has_kind(value, keys[path].kind), (title, path, value)
    needed = {path for path, key in keys.items() if not key.optional and not path.startswith((*objects, *empty))}
    assert needed <= {path for path, _ in found}, title
    return title


SECOND, THIRD, LATE = f"{RUN}b", f"{RUN}c", "FLOW_01/PROJ-1/Runs/Run_late"


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, object]]]:
    """What the verbs print with --json, by heading, in the life of a few runs."""
    lab, hook = Lab(tmp_path_factory.mktemp("life")), sys.excepthook
    for run_path in (RUN, SECOND, THIRD):
        lab.push(run_path)
    lab.push(LATE, done=False)
    lab.push("FLOW_01/odd", done=False)
    found: dict[str, list[dict[str, object]]] = {}

    def note(title: str, *words: str) -> None:
        with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()):
            run(program, ["-c", str(lab.config_path), *words, "--json"], Call())
        found.setdefault(title, []).extend(map(json.loads, out.getvalue().splitlines()))

    note("`poll --dry-run`", "poll", "--dry-run")
    note("`poll`", "poll")
    note("`list`", "list")
    note("`status`", "status")
    note("`doctor`", "doctor")
    note("`show`", "show", RUN)
    note("`sync`", "sync", RUN)
    note("`log`", "log", RUN)
    note("`report`", "report", "--html", str(lab.root / "runs.html"))
    note("`clear --dry-run`", "clear", "--dry-run", RUN)
    note("`clear --later`", "clear", "--later", SECOND)
    note("`poll`", "poll")
    note("`hold`", "hold", THIRD, "--reason", "reanalysis", "--until", "7d")
    note("`clear`", "clear", "--yes", RUN, THIRD)
    note("`unhold`", "unhold", THIRD)
    note("`verify --dry-run`", "verify", "--all", "--dry-run")
    damage(str(lab.published(RUN)))
    note("`verify`", "verify", "--all")
    note("`list --cleared`", "list", "--cleared")
    note("`list --cleared`", "list", "--cleared")
    note("`show`", "show", RUN)
    note("`accept`", "accept", LATE, "--reason", "power cut")
    note("`poll`", "poll")
    note("`show`", "show", LATE)
    note("`pause`", "pause", "--until", "1h")
    note("`resume`", "resume")
    note("`takeover`", "takeover", "--yes")
    note("`nas-init`", "nas-init")
    note("`selftest --dry-run`", "selftest", "--dry-run")
    note("`selftest`", "selftest", "--size", "64KiB")
    note("`config validate`", "config", "validate")
    note("`config show`", "config", "show")
    note("`equipment list`", "equipment", "list")
    note("`schedule cron`", "schedule", "cron")
    note("`schedule systemd`", "schedule", "systemd")
    note("`selftest`", "selftest", "--size", "1kB")
    (lab.nas / ".exlab-nas").rename(lab.nas / "unmarked")
    note("`selftest`", "selftest", "--size", "1kB")
    (lab.nas / "unmarked").rename(lab.nas / ".exlab-nas")
    note("`selftest --dry-run`", "selftest", "--dry-run")
    lab.equipment += '\n[notify]\nurls_file = "/etc/exlab-orch/notify.urls"\n'
    lab.configure()
    note("`notify test`", "notify", "test", "--dry-run")
    note("`completion bash`", "completion", "bash")
    note("`equipment add`", "equipment", "add", "NEW_01", "--sentinel", "done")
    new = ["--staging-root", str(lab.staging), "--nas-root", str(lab.nas), "--state-dir", str(lab.root / "other")]
    note("`init`", "-c", str(lab.root / "new.toml"), "init", "--no-require-mount", *new)
    sys.excepthook = hook
    return found


def documents(life: Mapping[str, list[dict[str, object]]]) -> Iterator[tuple[str, dict[str, object]]]:
    for title, printed in life.items():
        for document in printed:
            yield (f"{title}: `{document['event']}`" if "event" in document else title), document


def test_json_has_exactly_the_keys_that_the_reference_explains(life: dict[str, list[dict[str, object]]]) -> None:
    seen = [check(title, document) for title, document in documents(life)]
    assert {"`show`", "`poll`: `cleared`", "`poll`: `problem`", "`poll`: `pass_end`", "`clear`"} <= set(seen)
    titles = re.findall(r"^### (`.+)$", JSON_PAGE, re.MULTILINE)
    assert set(titles) - {"`poll`"} <= set(seen), "a document that nobody looks at"


def test_every_verb_that_prints_a_document_is_in_the_reference_of_json() -> None:
    context = click.Context(program)
    for name in (name for listed in SECTIONS.values() for name in listed):
        command = program.get_command(context, name)
        words = [f"{name} {word}" for word in command.commands] if isinstance(command, click.Group) else [name]
        for word in words:
            assert f"`{word}`" in JSON_PAGE or f"`{word} " in JSON_PAGE or name in NO_JSON, word


NO_JSON = {"demo"}


def test_the_error_of_the_reference_has_the_keys_of_an_error(tmp_path: Path) -> None:
    shown = json.loads(re.findall(r"^```json\n(.*?)^```", JSON_PAGE, re.DOTALL | re.MULTILINE)[0])
    assert json.loads(Lab(tmp_path).cli("show", "Run_x", "--json").stderr) == shown


# -- files on disk -------------------------------------------------------------------------------------------


def rules(title: str) -> dict[str, str]:
    """The patterns below a heading, and when such a file is there."""
    return {row[0].strip("`"): row[1] for row in below(FILES_PAGE, title)}


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_life_of_a_run_leaves_the_files_that_the_reference_lists(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.push()
    lab.push(SECOND)
    assert lab.cli("poll").returncode == 0
    assert lab.cli("hold", SECOND, "--reason", "reanalysis").returncode == 0
    assert lab.cli("clear", RUN, "--yes").returncode == 0
    data = {"a.fcs", "sub/b.fcs", "run_complete"}
    for run_folder in (lab.staged(SECOND), lab.published(SECOND), lab.published(RUN)):
        fits(files_below(run_folder) - data, rules("In a run"))
    fits({name for name in files_below(lab.staging) if not name.startswith("FLOW_01/")}, rules("In staging"))
    fits(files_below(lab.state), rules("In the state directory"))
    fits({name for name in files_below(lab.nas) if not name.startswith("FLOW_01/")}, rules("On the NAS"))


def fits(found: set[str], patterns: Mapping[str, str]) -> None:
    """Each file is listed, and each that is said to be there now is there."""
    for name in found:
        assert any(fnmatchcase(name, pattern) for pattern in patterns), f"{name} is not in docs/reference/files.md"
    for pattern, when in patterns.items():
        here = any(fnmatchcase(name, pattern) for name in found)
        assert here or when in ("sometimes", "for moments"), f"{pattern} is not there"
