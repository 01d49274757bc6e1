"""The house rules that the code itself can be asked about: layers, dangerous calls, sizes, lazy imports."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "exlab_orch"
FILES = sorted((ROOT / PACKAGE).rglob("*.py"))
SPOKEN_FOR = {"__init__", "__main__"}
"""The public names and the start of the program: they stand above every room."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


def rooms() -> list[list[str]]:
    """The layers of docs/architecture.md, lowest first; rooms of one layer do not import each other."""
    text = (ROOT / "docs/architecture.md").read_text()
    block = re.search(r"^```rooms\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert block is not None
    return [line.partition("#")[0].split() for line in block.group(1).splitlines()]


LEVEL = {room: level for level, layer in enumerate(rooms()) for room in layer}


def room_of(module: str) -> str:
    """``exlab_orch.files.walk`` is in the room ``files``."""
    return module.split(".")[1] if "." in module else "__init__"


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(), str(file))


class Import(NamedTuple):
    line: int
    module: str


def imports(tree: ast.AST) -> Iterator[Import]:
    """Every import, also inside functions and under TYPE_CHECKING; ``from package import name`` names the module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: relative imports hide their room"
            for alias in node.names:
                yield Import(node.lineno, f"{node.module}.{alias.name}" if node.module == PACKAGE else str(node.module))


def climbing(here: str, tree: ast.AST) -> list[str]:
    """Imports of a module in the room ``here`` that do not go down."""
    ours = [one for one in imports(tree) if one.module.split(".")[0] == PACKAGE]
    rooms_there = [(one, room_of(one.module)) for one in ours]
    return [
        f"line {one.line}: {here} imports {one.module}"
        for one, there in rooms_there
        if there not in (here, "__version__") and LEVEL.get(there, len(LEVEL)) >= LEVEL[here]
    ]


def test_every_room_stands_in_the_architecture_and_every_room_there_exists() -> None:
    existing = {path.stem for path in (ROOT / PACKAGE).glob("*.py")} - SPOKEN_FOR
    existing |= {path.parent.name for path in (ROOT / PACKAGE).glob("*/__init__.py")}
    assert existing == LEVEL.keys(), "docs/architecture.md and the package name different rooms"


def test_imports_go_down_only() -> None:
    inside = [file for file in FILES if room_of(module_of(file)) not in SPOKEN_FOR]
    found = {str(file.relative_to(ROOT)): climbing(room_of(module_of(file)), tree_of(file)) for file in inside}
    assert {name: climbs for name, climbs in found.items() if climbs} == {}


@pytest.mark.parametrize(
    "code",
    [
        "from exlab_orch.sync import RunCopy",
        "import exlab_orch.sync",
        "from exlab_orch import sync",
        "def late():\n    from exlab_orch.cli.words import amount",
        "if TYPE_CHECKING:\n    from exlab_orch.passes import PassReport",
        "from exlab_orch.config_file import write_new",
        "from exlab_orch.no_such_room import anything",
    ],
)
def test_an_import_that_climbs_is_seen(code: str) -> None:
    assert climbing("policy", ast.parse(code)) != []


# -- what only some rooms may do -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    """Names (a pattern for what is called, read or imported) that may be used in some files only."""

    name: str
    names: str
    allowed: frozenset[str]


UNLINKING = frozenset(
    {"files/delete.py", "files/moves.py", "files/whole.py", "journal_file.py", "progress.py", "logs.py"}
)
EVERYTHING = "except everything"
RULES = [
    Rule("SQL", r"sqlite3(\..*)?", frozenset({"journal.py", "journal_file.py"})),
    Rule(
        "programs are started",
        r"(subprocess|multiprocessing)(\..*)?|os\.(system|popen|exec\w*|spawn\w*|posix_spawnp?|fork\w*)",
        frozenset({"transports/process.py"}),
    ),
    Rule(
        "the present time",
        r"(datetime\.)?datetime\.(now|utcnow|today)|(datetime\.)?date\.today|time\.time(_ns)?",
        frozenset({"clock.py", "files/hashing.py"}),  # which compares times of the file system with it
    ),
    Rule("recursive deletes", r"(shutil\.)?rmtree|shutil\.move|os\.(removedirs|renames)", frozenset()),
    Rule("deletes and renames", r"os\.(unlink|rmdir|remove|rename|replace)|.*\.(unlink|rmdir)", UNLINKING),
    Rule("files are cut or written over", r"os\.(f?truncate|pwritev?)", frozenset({"files/ballast.py"})),
    Rule("proofs are made", r"ClearProof|model\.ClearProof", frozenset({"proof.py"})),
    Rule("staged files are deleted", r"(.*\.)?delete_proved", frozenset({"trash.py"})),
    Rule("what a self-test made is judged", r"MadeUpProof", frozenset({"selftest_removal.py"})),
    Rule(
        "the hidden folder on the NAS is emptied",
        r".*\.drop_(part|part_entries|empty_part)",
        frozenset({"sync.py", "selftest_removal.py"}),
    ),
    Rule("whatever is raised is caught", EVERYTHING, frozenset({"outcome.py"})),
]


def used_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """What is called, read as an attribute or imported, as it is written; and handlers that take everything."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)
        elif isinstance(node, ast.Attribute):
            yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not str(node.module).startswith(PACKAGE):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.ExceptHandler) and swallows(node):
            yield node.lineno, EVERYTHING


def swallows(handler: ast.ExceptHandler) -> bool:
    """Whether a handler that takes everything does not raise it again."""
    caught = "Exception" if handler.type is None else ast.unparse(handler.type)
    takes_everything = re.search(r"\b(Base)?Exception\b", caught) is not None
    raises = isinstance(handler.body[-1], ast.Raise) and handler.body[-1].exc is None
    return takes_everything and not raises


def breaches(rule: Rule, file: Path) -> list[str]:
    name = str(file.relative_to(ROOT / PACKAGE))
    if name in rule.allowed:
        return []
    used = used_names(tree_of(file))
    return [f"{name}:{line}: {what}" for line, what in used if re.fullmatch(rule.names, what)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_what_is_dangerous_stays_in_its_room(rule: Rule) -> None:
    assert [one for file in FILES for one in breaches(rule, file)] == []


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.allowed], ids=lambda rule: rule.name)
def test_the_rooms_of_a_rule_are_still_those_that_need_it(rule: Rule) -> None:
    """Otherwise the rule guards a name that nobody uses any more."""
    bare = Rule(rule.name, rule.names, frozenset())
    assert {name for name in rule.allowed if breaches(bare, ROOT / PACKAGE / name)} == rule.allowed


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("import sqlite3", "SQL"),
        ("from subprocess import Popen", "programs are started"),
        ("os.execv('a', [])", "programs are started"),
        ("datetime.now(UTC)", "the present time"),
        ("from shutil import rmtree", "recursive deletes"),
        ("os.unlink('a')", "deletes and renames"),
        ("pathlib.Path('a').unlink()", "deletes and renames"),
        ("remove = os.remove", "deletes and renames"),
        ("ClearProof('a', leaf, {})", "proofs are made"),
        ("try:\n    a()\nexcept Exception:\n    pass", "whatever is raised is caught"),
        (
            "try:\n    a()\nexcept (OSError, Exception) as error:\n    raise B from error",
            "whatever is raised is caught",
        ),
        ("try:\n    a()\nexcept:\n    pass", "whatever is raised is caught"),
    ],
)
def test_a_rule_sees_what_it_forbids(code: str, name: str) -> None:
    seen = {rule.name for rule in RULES for _, what in used_names(ast.parse(code)) if re.fullmatch(rule.names, what)}
    assert seen == {name}


def functions(file: Path) -> Iterator[Function]:
    return (node for node in ast.walk(tree_of(file)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_one_function_alone_makes_a_proof() -> None:
    makers = [
        f"{module_of(file)}.{function.name}"
        for file in FILES
        for function in functions(file)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("ClearProof")
    ]
    assert makers == ["exlab_orch.proof.prove"]


def test_a_delete_takes_a_proof_and_nothing_else_names_the_files() -> None:
    delete = next(one for one in functions(ROOT / PACKAGE / "files/delete.py") if one.name == "delete_proved")
    given = {argument.arg: ast.unparse(argument.annotation or ast.Constant(None)) for argument in delete.args.args}
    assert given == {"trash": "Place", "proof": "ClearProof", "on_bytes": "OnBytes"}


# -- sizes ---------------------------------------------------------------------------------------------------


def body_lines(function: Function) -> int:
    """Lines of a function, its docstring left out."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


SIZES = {f"{module_of(file)}.{function.name}": body_lines(function) for file in FILES for function in functions(file)}


def test_no_function_is_long() -> None:
    assert {name: lines for name, lines in SIZES.items() if lines > 40} == {}


def test_most_functions_are_short() -> None:
    assert statistics.median(SIZES.values()) < 8
    assert sum(lines <= 25 for lines in SIZES.values()) / len(SIZES) >= 0.9


def test_no_file_is_long() -> None:
    assert {str(file): n for file in FILES if (n := len(file.read_text().splitlines())) >= 500} == {}


def test_every_module_opens_with_a_sentence() -> None:
    openings = {
        str(file.relative_to(ROOT)): (ast.get_docstring(tree_of(file)) or "").split("\n\n")[0] for file in FILES
    }
    assert {name: text for name, text in openings.items() if not text.endswith((".", ":"))} == {}


WEAK_WORDS = {"manager", "handler", "helper", "helpers", "util", "utils", "misc", "common"}


def test_no_module_class_or_function_has_a_name_that_says_nothing() -> None:
    names = {file.stem for file in FILES}
    for file in FILES:
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                names.add(node.name)
    words = {word: name for name in names for word in re.findall(r"[A-Z]?[a-z]+", name)}
    assert {word: name for word, name in words.items() if word.lower() in WEAK_WORDS} == {}


# -- imports at start-up -------------------------------------------------------------------------------------


HEAVY = {"pydantic", "rich", "asyncio", "sqlite3"}


@pytest.mark.parametrize(
    "start", ["import exlab_orch", "import exlab_orch.cli", "from exlab_orch.cli import main; main(['--version'])"]
)
def test_start_up_pulls_in_nothing_heavy(start: str) -> None:
    code = f"{start}\nimport sys\nprint('loaded', sorted({HEAVY!r} & sys.modules.keys()))"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, timeout=30
    )
    assert shown.stdout.splitlines()[-1] == "loaded []"
