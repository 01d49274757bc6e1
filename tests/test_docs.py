"""What the documentation says is so: commands, options, codes, keys, defaults, samples, links, the picture."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from exlab_orch import errors
from exlab_orch.cli import SECTIONS, endings, program
from exlab_orch.cli.options import dry_run_option, filter_options, shared_options
from exlab_orch.config import Config, Orchestrator, parse_config
from exlab_orch.config_errors import fields_of, tables_in
from exlab_orch.model import SHOWN_AS, IngestState

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
NAS_PAGE = (ROOT / "docs/nas.md").read_text()
CONFIGURATION_PAGE = (ROOT / "docs/reference/configuration.md").read_text()
VERBS_PAGE = (ROOT / "docs/reference/verbs.md").read_text()
PROBLEMS_PAGE = (ROOT / "docs/reference/problems.md").read_text()
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SOURCES = sorted((ROOT / "exlab_orch").rglob("*.py"))

STABLE_CODES = """
    not_a_run unknown_equipment record_unreadable schema_major_mismatch creation_mismatch manifest_invalid
    acquisition_failed never_completed run_disappeared name_unsupported special_file changed_while_copied
    changed_since_verified nas_not_mounted nas_wrong_marker nas_unreachable nas_full nas_paused nas_conflict
    nas_copy_damaged nas_copy_missing permission_denied auth_failed hash_mismatch sync_failed record_unsealed locked
    trash_leftover trash_other_filesystem not_sync_verified held orchestrator_disabled config_invalid owner_mismatch
    run_not_found run_ambiguous outside_staging staging_low staging_filling space_not_freed clearing_stopped
    receipt_not_written
"""
"""Programs read them, so a code that is in use is never renamed."""


# -- reading the README --------------------------------------------------------------------------------------


def section(title: str, page: str = README) -> str:
    """The text below a heading, up to the next one of its rank."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    assert found is not None, title
    return found.group(1)


def rows(text: str) -> list[list[str]]:
    """The cells of every table row, the headings left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row, below in zip(cells, [*cells[1:], [""]], strict=True) if "---" not in {*row, *below}]


def unquoted(cell: str) -> str:
    return cell.strip("`")


def command_of(name: str) -> str:
    """One of the two commands that do everything: the block below its comment."""
    found = re.search(rf"^<!-- command: {name} -->\n```sh\n(.*?)```$", README, re.DOTALL | re.MULTILINE)
    assert found is not None, name
    return found.group(1)


# -- the two commands ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "ends"), [("demo", "exlab-orch demo"), ("test", "pytest -q -n 3")])
def test_each_of_the_two_commands_is_one_line_that_makes_its_own_environment(name: str, ends: str) -> None:
    command = command_of(name).removesuffix("\n")
    assert "\n" not in command
    assert command.startswith("python3 -m venv .venv && .venv/bin/pip install -q -e ")
    assert command.endswith(f" && .venv/bin/{ends}")


@pytest.mark.parametrize("name", ["demo", "test"])
def test_ci_runs_what_the_readme_says(name: str) -> None:
    script = (ROOT / ".ci/run").read_text()
    function = re.search(r"^readme_command\(\) \{.*?^\}", script, re.DOTALL | re.MULTILINE)
    assert function is not None
    shell = ["bash", "-euc", f"{function.group()}\nreadme_command {name}"]
    shown = subprocess.run(shell, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert shown == command_of(name)
    assert re.search(rf"^for name in .*\b{name}\b.*; do\n    command=\$\(readme_command", script, re.MULTILINE)


def test_ci_checks_style_and_types() -> None:
    script = (ROOT / ".ci/run").read_text()
    for words in ('ruff" check .', 'ruff" format --check .', 'mypy" --strict', "set -euo pipefail", "CI=true"):
        assert words in script
    assert subprocess.run(["bash", "-n", ROOT / ".ci/run"], check=False).returncode == 0


# -- verbs and options ---------------------------------------------------------------------------------------


def verbs() -> dict[str, click.Command]:
    """Every command by its words: ``poll``, ``config show``."""
    found: dict[str, click.Command] = {}
    context = click.Context(program)
    for name in (verb for listed in SECTIONS.values() for verb in listed):
        command = program.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found |= {f"{name} {word}": inner for word, inner in command.commands.items()}
        else:
            found[name] = command
    return found


VERBS = verbs()


def long_options(parameters: list[click.Parameter]) -> set[str]:
    return {name for one in parameters if isinstance(one, click.Option) for name in one.opts if name.startswith("--")}


SHARED = long_options([*shared_options(), *filter_options(), dry_run_option()]) | {"--help", "--version"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_in_the_table_and_each_of_its_options_in_the_reference(verb: str) -> None:
    assert any(re.search(rf"\b{verb}( |`|$)", row[0]) for row in rows(section("Every day")))
    told = re.split(r"^###? ", VERBS_PAGE.partition(f"### `{verb}`\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    assert {option for option in long_options(VERBS[verb].params) - SHARED if option not in told} == set()


def test_every_shared_option_is_explained() -> None:
    below = section("Every day").rpartition("|\n")[2]
    assert {option for option in SHARED if option not in below} == set()


def commands_in(text: str) -> Iterator[tuple[str, str]]:
    """Each ``exlab-orch VERB …`` in a text: the verb's words, and what follows on its line."""
    for found in re.finditer(
        r"(?<![/\w.-])(?<!-u )exlab-orch (?:-c \S+ )?(?=[a-z])([a-z-]+)(?: ([a-z]+))?([^`\n']*)", text
    ):
        one, two, rest = found.group(1), found.group(2) or "", found.group(3)
        yield (f"{one} {two}", rest) if f"{one} {two}" in VERBS else (one, f"{two}{rest}")


KNOWN = VERBS.keys() | {name for listed in SECTIONS.values() for name in listed}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_in_the_documents_exists(document: Path) -> None:
    quoted = "\n".join(re.findall(r"^```\w*\n.*?^```|`[^`\n]+`", document.read_text(), re.DOTALL | re.MULTILINE))
    for verb, rest in commands_in(quoted):
        assert verb in KNOWN, (verb, rest)
        known = long_options(VERBS[verb].params) | SHARED if verb in VERBS else SHARED
        assert set(re.findall(r"(?<!\S)--[a-z-]+", rest)) <= known, (verb, rest)


def texts(file: Path) -> Iterator[str]:
    """Every text in a module; of an f-string, what is fixed."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_command_that_the_program_suggests_exists() -> None:
    suggested = {
        verb
        for file in SOURCES
        for text in texts(file)
        for quoted in re.findall(r"(?:^|['`]|: |sudo -u \w+ )(exlab-orch [a-z].*)", text)
        for verb, _ in commands_in(quoted)
    }
    assert suggested - KNOWN == set()
    assert {"sync", "show", "nas-init", "takeover"} <= suggested, "nothing was looked at"


# -- states, problems, exit codes ----------------------------------------------------------------------------


def test_every_state_is_explained_as_it_is_shown() -> None:
    table = {unquoted(row[0]): row[1] for row in rows(section("What the states mean"))}
    assert table.keys() == {state.value for state in IngestState}
    for state, shown in SHOWN_AS.items():
        assert table[state].startswith(shown)


def error_kinds(kind: type[errors.ExlabError] = errors.ExlabError) -> Iterator[type[errors.ExlabError]]:
    for below in kind.__subclasses__():
        yield below
        yield from error_kinds(below)


def test_every_problem_code_is_explained_and_none_that_does_not_exist() -> None:
    documented = [unquoted(row[0]) for row in rows(PROBLEMS_PAGE)]
    used = {text for file in SOURCES for text in texts(file)}
    assert len(documented) == len(set(documented))
    assert set(documented) == {kind.code for kind in error_kinds()} | (set(STABLE_CODES.split()) & used)
    assert all(len(row) == 3 and all(row) for row in rows(PROBLEMS_PAGE))


def test_the_readme_selects_problems_that_exist() -> None:
    selected = [code for row in rows(section("What the problems mean")) for code in re.findall(r"`(\w+)`", row[0])]
    assert {unquoted(row[0]) for row in rows(PROBLEMS_PAGE)} >= set(selected)
    assert len(selected) > 5, "nothing was looked at"


def test_every_exit_code_is_explained() -> None:
    documented = {int(code) for row in rows(section("Exit codes", VERBS_PAGE)) for code in row[0].split(",")}
    exits = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    signals = {endings.Stopped(number).exit_status for number in endings._SIGNALS}
    assert documented == exits | signals


# -- the configuration ---------------------------------------------------------------------------------------


def every_table(model: type[BaseModel] = Config) -> Iterator[type[BaseModel]]:
    for field in model.model_fields.values():
        for inner in tables_in(field.annotation):
            yield inner
            yield from every_table(inner)


@pytest.mark.parametrize("model", sorted(set(every_table()), key=str), ids=str)
def test_every_key_says_what_it_means_and_what_it_allows(model: type[BaseModel]) -> None:
    for key, field in fields_of(model).items():
        assert field.description, key
        if model is Orchestrator and key == "staging_cleanup":
            continue  # a table of its own
        row = next(row for row in rows(CONFIGURATION_PAGE) if row[0] == f"`{key}`")
        assert len(row) == 4
        assert all(row), row


def test_the_pages_about_nas_explain_every_kind_of_key() -> None:
    for kind in ("mount", "rclone", "rsync_ssh"):
        assert f'### `[nas]` with `type = "{kind}"`' in CONFIGURATION_PAGE
        assert f"configuration.md#nas-with-type--{kind}" in NAS_PAGE


def configurations() -> Iterator[tuple[str, str]]:
    """Each whole configuration in the README and in the reference."""
    for name, page in (("README.md", README), ("configuration.md", CONFIGURATION_PAGE)):
        for block in re.findall(r"^```toml\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
            yield name, block


@pytest.mark.parametrize(("name", "block"), list(configurations()))
def test_every_whole_configuration_loads(name: str, block: str) -> None:
    assert parse_config(block.encode(), name).equipment


def test_the_whole_configuration_shows_every_signal() -> None:
    found = [parse_config(block.encode(), name) for name, block in configurations() if name == "configuration.md"]
    assert [one.completeness_signal for config in found for one in config.equipment] == [
        "sentinel_file",
        "manifest",
        "quiet_period",
    ]


def nas_samples() -> Iterator[tuple[str, str]]:
    """Each configuration in the pages about kinds of NAS, with the page's name."""
    for page in sorted((ROOT / "docs").glob("nas*.md")):
        for block in re.findall(r"^```toml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
            yield page.name, block


@pytest.mark.parametrize(("page", "block"), list(nas_samples()))
def test_every_configuration_of_a_nas_loads(page: str, block: str) -> None:
    station = '[orchestrator]\nstaging_root = "/srv/staging"\nstate_dir = "/var/lib/exlab-orch"\n'
    one = '[[equipment]]\nid = "FLOW_01"\ncompleteness_signal = "manifest"\n'
    before = one if "[equipment.nas]" in block and "[[equipment]]" not in block else ""
    assert parse_config(f"{station}{before}{block}".encode(), page).orchestrator.enabled


def test_there_is_a_page_for_each_kind_of_nas() -> None:
    pages = {page for page, _ in nas_samples()}
    assert {"nas-smb.md", "nas-nfs.md", "nas-sftp.md", "nas-smb-direct.md", "nas-s3.md", "nas-webdav.md"} <= pages
    for page in (ROOT / "docs").glob("nas-*.md"):
        assert f"]({page.name})" in NAS_PAGE, "the page that helps to choose leads to it"


# -- links, references, the crontab, the picture -------------------------------------------------------------


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    text = document.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        there = document.parent / path if path else document
        assert there.exists(), target
        assert not anchor or anchor in anchors(there.read_text()), target


def test_what_the_architecture_names_exists() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    named = set(re.findall(r"`([a-z_]+(?:\.[a-z_]+)*)\.([A-Za-z_]+)(?:\.[a-z_]+)?`", text))
    named = {(room, name) for room, name in named if name not in ("py", "md", "json", "toml")}
    assert len(named) > 10
    for room, name in named:
        assert hasattr(import_module(f"exlab_orch.{room}"), name), f"{room}.{name}"
    for path in re.findall(r"`([a-z_]+/[a-z_]+\.py)`", text):
        assert (ROOT / "exlab_orch" / path).exists() or (ROOT / path).exists(), path


def test_the_crontab_file_starts_one_pass_a_minute_as_the_service_user() -> None:
    text = (ROOT / "contrib/cron/exlab-orch").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert [line.split("=")[0] for line in lines[:-1]] == ["SHELL", "PATH", "MAILTO"]
    assert lines[-1].split() == ["*", "*", "*", "*", "*", "exlab-orch", "/usr/local/bin/exlab-orch", "poll"]
    assert text.endswith("\n"), "cron passes over a last line that is cut short"
    assert "useradd --system" in README
    assert " exlab-orch\n" in section("Set it up"), "the user of the crontab file is the one the README makes"


def test_the_units_in_the_documents_are_those_that_are_shipped() -> None:
    shipped = {path.name for path in (ROOT / "contrib/systemd").iterdir()}
    named = {
        unit
        for document in DOCUMENTS
        for unit in re.findall(r"\bexlab-orch[\w-]*\.(?:service|timer)\b", document.read_text())
    }
    assert named == shipped


def words_of(picture: str) -> list[str]:
    """What a picture says, without what depends on the day it was made."""
    text = re.sub(r"<style>.*?</style>|<[^>]+>", " ", picture, flags=re.DOTALL).replace("&#160;", " ")
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d [A-Z]+", "TIME", text).split()


def test_the_picture_is_what_the_list_shows_today(tmp_path: Path) -> None:
    fresh = tmp_path / "list.svg"
    subprocess.run(
        [sys.executable, ROOT / "contrib/docs/make_pictures.py", fresh],
        check=True,
        cwd=ROOT,
        timeout=60,
        capture_output=True,
    )
    assert words_of(fresh.read_text()) == words_of((ROOT / "docs/list.svg").read_text()), (
        "run contrib/docs/make_pictures.py"
    )


def test_the_picture_fetches_nothing_and_shows_every_mood() -> None:
    picture = (ROOT / "docs/list.svg").read_text()
    assert not re.findall(r"@font-face|<script|(?:href|src|url)\W+https?:", picture)
    shown = " ".join(words_of(picture))
    for words in (
        "arriving",
        "waiting for run_complete",
        "on NAS, checked",
        "held:",
        "nas_copy_damaged",
        "1 needs a person",
    ):
        assert words in shown
    assert "](docs/list.svg)" in README


def test_the_recording_fetches_nothing_is_small_and_has_every_chapter_and_command_of_the_tour() -> None:
    recording = (ROOT / "docs/demo.svg").read_text()
    assert len(recording) < 300_000
    assert not re.findall(r"@font-face|<script|(?:href|src|url)\W+https?:", recording)
    assert "](docs/demo.svg)" in README
    lines = re.sub(r"<[^>]+>", "", recording)
    story = ast.parse((ROOT / "exlab_orch/demo/story.py").read_text())
    calls = [node for node in ast.walk(story) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    titles = [ast.literal_eval(one.args[0]) for one in calls if getattr(one.func, "attr", "") == "_chapter"]
    verbs = [ast.literal_eval(one.args[0]) for one in calls if getattr(one.func, "attr", "") == "_verb"]
    assert len(titles) > 5
    for words in (*titles, *(f"$ exlab-orch {verb}" for verb in verbs)):
        assert words in lines, f"{words}: run contrib/docs/make_recording.py"


@pytest.mark.slow
def test_a_recording_made_now_has_the_commands_of_the_one_that_is_shown(tmp_path: Path) -> None:
    fresh = tmp_path / "demo.svg"
    script = [sys.executable, str(ROOT / "contrib/docs/make_recording.py"), str(fresh)]
    subprocess.run(script, check=True, cwd=ROOT, timeout=60, capture_output=True)
    shown, made = (re.findall(r">\$ ([^<]+)<", page.read_text()) for page in (ROOT / "docs/demo.svg", fresh))
    assert shown == made, "run contrib/docs/make_recording.py"
    assert not re.search(rf"{re.escape(str(tmp_path))}|{os.uname().nodename}\b.*Run_", fresh.read_text())


def test_the_changelog_has_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()
