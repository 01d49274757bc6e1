"""What is shipped: one version, one script, the whole package with its typing mark, nothing heavier than declared."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import exlab_orch

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SHIPPED = {str(path.relative_to(ROOT)) for path in (ROOT / "exlab_orch").rglob("*.py")} | {"exlab_orch/py.typed"}


def test_the_version_is_the_same_everywhere() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "exlab_orch", "--version"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert exlab_orch.__version__ == PROJECT["version"]
    assert shown.stdout == f"exlab-orch {PROJECT['version']}\n"


def test_the_script_starts_the_program() -> None:
    module, _, name = PROJECT["scripts"]["exlab-orch"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_what_is_imported_is_declared() -> None:
    """Every package from outside that the program imports is a dependency, and every dependency is imported."""
    declared = {re.split(r"[<>=]", one)[0].replace("-", "_") for one in PROJECT["dependencies"]}
    imported: set[str] = set()
    for path in (ROOT / "exlab_orch").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).split(".")[0])
            elif isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
    outside = {name for name in imported if name not in sys.stdlib_module_names and name != "exlab_orch"}
    assert outside - {"pydantic_core"} == declared, "pydantic_core comes with pydantic"


def test_the_oldest_python_is_the_one_the_readme_names() -> None:
    assert PROJECT["requires-python"] == ">=3.11"
    assert "Python 3.11 or newer" in (ROOT / "README.md").read_text()


def test_every_folder_of_the_package_is_a_package() -> None:
    """Otherwise it would be left out of the wheel."""
    folders = {path.parent for path in (ROOT / "exlab_orch").rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []
    assert (ROOT / "exlab_orch/py.typed").exists()


BUILD = """
import sys
sys.path[:0] = sys.argv[2:]
from setuptools import setup
setup(script_args=["-q", "sdist", "-d", sys.argv[1], "build_py", "-d", sys.argv[1] + "/built"])
"""


def test_what_is_built_holds_the_whole_package_and_the_licence(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "exlab_orch"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, source / name)
    command = [sys.executable, "-W", "ignore", "-c", BUILD, str(tmp_path), *setuptools_folder(tmp_path)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)
    built = {str(path.relative_to(tmp_path / "built")) for path in (tmp_path / "built").rglob("*") if path.is_file()}
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tarred:
        sources = {name.partition("/")[2] for name in tarred.getnames()}
    assert built == SHIPPED
    assert sources >= SHIPPED | {"pyproject.toml", "README.md", "LICENSE"}


def setuptools_folder(folder: Path) -> list[str]:
    """Where setuptools is: here already, or installed for this test (an environment of Python 3.12 has none)."""
    if importlib.util.find_spec("setuptools") is not None:
        return []
    command = [sys.executable, "-m", "pip", "install", "-q", "--target", str(folder / "tools"), "setuptools>=68"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return [str(folder / "tools")]
