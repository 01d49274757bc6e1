"""Completion offers what fits, fast, quoted for the shell, and never more than names."""

from __future__ import annotations

import json
import os
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exlab_orch.completing import answer
from exlab_orch.completing.names import config_file
from exlab_orch.completing.table import SHARED, VERBS, Verb
from exlab_orch.completing.words import bash_words, quoted
from exlab_orch.config import find_config
from tests.lab import RUN, Lab
from tests.oracle import require_program
from tests.terminal import Terminal

ROOT = Path(__file__).parents[2]
HEAVY = ("pydantic", "rich", "asyncio", "sqlite3", "click")
HOSTILE = "Run_a $(touch hacked) `id` 'q'\"; ü"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path / "lab")
    lab.push()
    lab.push("SCANNER_01/PROJ 2/TestRuns/TestRun_1")
    return lab


def offers(lab: Lab, *words: str, shell: str = "fish") -> list[str]:
    return [line.partition("\t")[0] for line in answer(shell, words, environ(lab))]


def environ(lab: Lab) -> dict[str, str]:
    return {"EXLAB_ORCH_CONFIG": str(lab.config_path)}


# -- what is offered -----------------------------------------------------------------------------------------


def test_the_table_is_what_the_verbs_are_now() -> None:
    made = runpy.run_path(str(ROOT / "contrib/docs/make_completion.py"))
    module: dict[str, object] = {"__name__": "table"}
    exec(made["table"](), module)
    now = {name: tuple(verb) for name, verb in module["VERBS"].items()}  # type: ignore[attr-defined]
    assert {name: tuple(verb) for name, verb in VERBS.items()} == now, "run contrib/docs/make_completion.py"
    assert module["SHARED"] == SHARED


def test_verbs_options_and_choices_are_offered(lab: Lab) -> None:
    assert offers(lab, "sho") == ["show"]
    assert offers(lab, "config", "") == ["validate", "show", "schema"]
    assert offers(lab, "-q", "pol") == ["poll"]
    assert "--all-verified" in offers(lab, "clear", "--a")
    assert offers(lab, "list", "--state", "sync_q") == ["sync_queued"]
    assert offers(lab, "list", "--state=sync_q") == ["--state=sync_queued"]
    assert offers(lab, "list", "--problem", "nas_n") == ["nas_not_mounted"]
    assert offers(lab, "list", "--problem", "ne") == ["never_completed"], "also of what is no error of a command"
    assert offers(lab, "list", "--problem", "run_") == ["run_disappeared"], "a name that is mistyped is no problem"
    assert offers(lab, "completion", "") == ["bash", "fish", "zsh"]
    assert offers(lab, "no-such-verb", "") == []


def test_names_of_equipment_projects_runs_and_nas_are_offered(lab: Lab) -> None:
    assert offers(lab, "list", "--equipment", "S") == ["SCANNER_01"]
    assert offers(lab, "list", "--project", "") == ["PROJ-1", "PROJ 2"]
    assert offers(lab, "show", "") == [RUN.rpartition("/")[2], "TestRun_1"]
    assert offers(lab, "selftest", "--nas", "") == [str(lab.nas)]
    assert offers(lab, "clear", "TestRun_1", "Run") == [RUN.rpartition("/")[2]]


def test_a_run_is_offered_by_its_path_where_two_have_its_name_or_a_path_was_begun(lab: Lab) -> None:
    other = RUN.replace("PROJ-1", "PROJ-9")
    lab.push(other)
    assert offers(lab, "show", "") == [RUN, other, "TestRun_1"]
    assert offers(lab, "show", "SCANNER_01/") == ["SCANNER_01/PROJ 2/TestRuns/TestRun_1"]


def test_a_run_whose_name_looks_like_an_option_is_offered_by_its_path(lab: Lab) -> None:
    odd = "FLOW_01/PROJ-1/Runs/-rf"
    lab.config_path.write_text(
        lab.config_path.read_text().replace('id = "FLOW_01"', 'id = "FLOW_01"\nrun_pattern = "-*"')
    )
    (lab.staging / odd).mkdir()
    assert odd in offers(lab, "show", "")
    assert offers(lab, "show", "--", "-r") == ["-rf"]


def test_cleared_runs_are_offered_to_those_verbs_that_take_them(lab: Lab) -> None:
    (lab.state).mkdir()
    line = json.dumps({"run_path": "FLOW_01/P/Runs/Run_old"})
    (lab.state / "ledger.jsonl").write_text(f"torn\n{line}\n[1]\n")
    assert "Run_old" in offers(lab, "show", "Run_")
    assert "Run_old" not in offers(lab, "clear", "Run_")


def test_a_configuration_named_on_the_command_line_counts(lab: Lab) -> None:
    words = ["-c", str(lab.config_path), "list", "--equipment", "FL"]
    assert answer("fish", words, {}) == ["FLOW_01"]
    assert answer("fish", [f"--config={lab.config_path}", *words[2:]], {}) == ["FLOW_01"]


def test_the_shell_is_asked_for_files(lab: Lab) -> None:
    assert offers(lab, "-c", "") == ["\0files"]
    assert offers(lab, "--config=") == ["\0files"]
    assert offers(lab, "init", "--staging-root", "/x") == ["\0folders"]


@pytest.mark.parametrize("environ", [{}, {"HOME": "~"}, {"EXLAB_ORCH_CONFIG": "/nowhere"}])
def test_the_configuration_is_the_one_that_every_verb_finds(tmp_path: Path, environ: dict[str, str]) -> None:
    environ = {name: value.replace("~", str(tmp_path)) for name, value in environ.items()}
    own = tmp_path / ".config/exlab-orch/config.toml"
    own.parent.mkdir(parents=True)
    own.touch()
    try:
        found: str | None = find_config(None, environ)
    except Exception:  # noqa: BLE001 - there is none
        found = None
    assert config_file(None, environ) == found


# -- nothing breaks it ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "",
        "equipment = 3",
        "[[equipment]]\nid = 3",
        "x = [" * 2000,
        "[orchestrator]\nstaging_root = 7",
        "\x00",
        "nas = 1",
    ],
)
def test_a_broken_configuration_offers_no_names_and_says_nothing(lab: Lab, content: str) -> None:
    lab.config_path.write_text(content)
    assert offers(lab, "show", "") == []
    assert offers(lab, "list", "--equipment", "") == []
    assert offers(lab, "selftest", "--nas", "") == []
    assert offers(lab, "sho") == ["show"]


def test_a_fifo_in_the_place_of_the_configuration_is_not_waited_for(lab: Lab) -> None:
    lab.config_path.unlink()
    os.mkfifo(lab.config_path)
    assert offers(lab, "show", "") == []


def test_names_with_control_characters_are_not_offered(lab: Lab) -> None:
    for name in ("Run_\x1b[31m", "Run_\nsecond", "Run_\u202eabc"):
        (lab.staging / "FLOW_01/PROJ-1/Runs" / name).mkdir()
    (lab.staging / "FLOW_01/PROJ-1/Runs" / os.fsdecode(b"Run_\xff")).mkdir()
    assert offers(lab, "show", "Run_") == [RUN.rpartition("/")[2]]


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; sys.argv = ['exlab-orch', '_complete', 'bash', 'exlab-orch show ', '']\n"
        "from exlab_orch.__main__ import main\n"
        f"try: main()\nexcept SystemExit: print([one for one in {HEAVY!r} if one in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert shown.stdout.splitlines()[-1] == "[]"


def test_an_unknown_verb_has_the_options_of_all() -> None:
    assert Verb("", "", {}).option("--json") == ""
    assert Verb("", "", {}).option("--no-such") is None


# -- bash ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words", "raw", "quote"),
    [
        ("a b", ["a", "b"], "b", ""),
        ("a ", ["a", ""], "", ""),
        ("a b\\ c", ["a", "b c"], "b\\ c", ""),
        ("a 'b c", ["a", "b c"], "'b c", "'"),
        ('a "b \\"c', ["a", 'b "c'], '"b \\"c', '"'),
        ("a 'b'c", ["a", "bc"], "'b'c", ""),
    ],
)
def test_a_line_is_cut_as_bash_does(line: str, words: list[str], raw: str, quote: str) -> None:
    typed = bash_words(line)
    assert (typed.words, typed.raw, typed.quote) == (words, raw, quote)


@pytest.mark.parametrize("name", [HOSTILE, "a b", "~", "*", "x=y:z@w", "$HOME", "!!", "#a", "a\\b", "(x)", "ü", "-rf"])
def test_a_quoted_name_is_that_one_word_in_bash(name: str) -> None:
    for written in (quoted(name), f"'{quoted(name, chr(39))}'"):
        shown = subprocess.run(["bash", "-c", f"printf %s {written}"], capture_output=True, text=True, check=True)
        assert shown.stdout == name


def replies(lab: Lab, line: str, *words: str) -> list[str]:
    """What bash itself gets: COMPREPLY after our function ran."""
    script = (
        'eval "$(exlab-orch completion bash)"; COMP_LINE=$1; COMP_POINT=${#1}; shift; COMP_WORDS=("$@")\n'
        'COMP_CWORD=$(($# - 1)); _exlab_orch exlab-orch; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    return answered(lab, "bash", "-c", script, "bash", line, *words)


def answered(lab: Lab, *shell: str) -> list[str]:
    """What a shell prints that finds our program and the lab's configuration."""
    more = {"PATH": path_to(lab), **environ(lab)}
    ended = subprocess.run(shell, capture_output=True, text=True, check=True, env={**os.environ, **more}, timeout=30)
    return ended.stdout.splitlines()


def path_to(lab: Lab) -> str:
    """The search path of a shell that finds our program, which outside of completion only shows its words."""
    program = lab.root / "bin/exlab-orch"
    program.parent.mkdir(exist_ok=True)
    own = f'PYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)} -m exlab_orch "$@"'
    program.write_text(f"#!/bin/sh\ncase $1 in _complete|completion) {own};; esac\nprintf '[%s]' ran: \"$@\"\n")
    program.chmod(0o755)
    return f"{program.parent}:{os.environ['PATH']}"


def test_bash_completes_hostile_names_as_one_word_and_runs_nothing_of_them(lab: Lab) -> None:
    (lab.staging / "FLOW_01/PROJ-1/Runs" / HOSTILE).mkdir()
    found = replies(lab, "exlab-orch show Run_a", "exlab-orch", "show", "Run_a")
    assert found == [quoted(HOSTILE)]
    shown = subprocess.run(["bash", "-c", f"printf %s {found[0]}"], capture_output=True, text=True, check=True)
    assert shown.stdout == HOSTILE
    assert list(Path.cwd().glob("hacked")) == []


@pytest.mark.parametrize(
    ("line", "words", "wanted"),
    [
        ("exlab-orch pol", ["pol"], ["poll"]),
        ("exlab-orch list --state=sync_q", ["list", "--state", "=", "sync_q"], ["sync_queued"]),
        ("exlab-orch list --state=", ["list", "--state", "="], ["staging", "complete", "sync_queued"]),
        ("exlab-orch show SCANNER_01/", ["show", "SCANNER_01/"], ["SCANNER_01/PROJ\\ 2/TestRuns/TestRun_1"]),
        (
            "exlab-orch show 'SCANNER_01/PROJ 2",
            ["show", "'SCANNER_01/PROJ 2"],
            ["SCANNER_01/PROJ 2/TestRuns/TestRun_1"],
        ),
    ],
)
def test_bash_gets_what_it_puts_in_place_of_its_word(lab: Lab, line: str, words: list[str], wanted: list[str]) -> None:
    assert replies(lab, line, "exlab-orch", *words)[: len(wanted)] == wanted


def test_bash_keeps_file_names_whole(lab: Lab) -> None:
    for name in ("my lab.toml", "my *.toml"):
        (lab.root / name).touch()
    line = f"exlab-orch -c {lab.root}/my"
    assert sorted(replies(lab, line, *line.split())) == [f"{lab.root}/my *.toml", f"{lab.root}/my lab.toml"]


# -- real shells, key by key ---------------------------------------------------------------------------------

ENABLE = {
    "bash": (["bash", "--norc", "--noprofile"], 'eval "$(exlab-orch completion bash)"'),
    "zsh": (["zsh", "-f"], 'autoload -U compinit; compinit -u -D; eval "$(exlab-orch completion zsh)"'),
    "fish": (["fish", "--no-config"], "exlab-orch completion fish | source"),
}


@contextmanager
def prompt(lab: Lab, shell: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """A shell on a terminal that has our completion."""
    command, enable = ENABLE[shell]
    require_program(shell)
    monkeypatch.setenv("PATH", path_to(lab))
    variables = [
        f"{name}={value}" for name, value in {**environ(lab), "HOME": str(lab.root), "LC_ALL": "C.UTF-8"}.items()
    ]
    opened = Terminal(["setsid", "--ctty", "--wait", "env", *variables, *command], columns=250)
    try:
        opened.type(f"{enable}; exlab-orch ready\n")
        opened.read_until("[ran:][ready]")
        yield opened
    finally:
        opened.close()


TYPED = {
    "exlab-orch show Run_it": "[show][Run_it's]",
    "exlab-orch show 'Run_it": "[show][Run_it's]",
    "exlab-orch show Run_\\$": "[show][Run_$(touch hacked)]",
    'exlab-orch show "Run_\\$': "[show][Run_$(touch hacked)]",
    "exlab-orch show SCANNER_01/PROJ\\ 2/T": "[show][SCANNER_01/PROJ 2/TestRuns/TestRun_1]",
    "exlab-orch list --project PROJ\\ ": "[list][--project][PROJ 2]",
    "exlab-orch list --project='PROJ ": "[list][--project=PROJ 2]",
    "exlab-orch list --state=sync_v": "[list][--state=sync_verified]",
    "exlab-orch -c ~/my\\ l": "[-c][{home}/my lab.toml]",
    "exlab-orch --config=~/my\\ l": "[--config=~/my lab.toml]",
    "~/bin/exlab-orch sched": "[schedule]",
}


@pytest.mark.parametrize("shell", ENABLE)
def test_what_a_person_has_typed_goes_on_as_one_word_in_every_shell(
    lab: Lab, shell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("Run_it's", "Run_$(touch hacked)"):
        (lab.staging / "FLOW_01/PROJ-1/Runs" / name).mkdir()
    (lab.root / "my lab.toml").touch()
    monkeypatch.chdir(lab.root)
    with prompt(lab, shell, monkeypatch) as opened:
        for typed, wanted in TYPED.items():
            if shell == "bash" or "=~" not in typed:
                opened.raw = ""
                opened.type(f"{typed}\t\n")
                opened.read_until(f"[ran:]{wanted.format(home=lab.root)}")
    assert not (lab.root / "hacked").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_script_is_one_that_its_shell_understands(lab: Lab, shell: str) -> None:
    shown = lab.cli("completion", shell)
    assert (shown.returncode, shown.stderr) == (0, "")
    words = [require_program(shell), "-n"]
    checked = subprocess.run(words, input=shown.stdout, capture_output=True, text=True, check=False, timeout=30)
    assert (checked.returncode, checked.stderr) == (0, "")


# -- no shell is named ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "told"), [("/usr/bin/zsh", ["zsh"]), ("/bin/bash", ["bash"]), ("/bin/tcsh", ["bash", "zsh", "fish"])]
)
def test_without_a_shell_it_says_which_there_are_and_how_to_install_it(lab: Lab, own: str, told: list[str]) -> None:
    lab.environment["SHELL"] = own
    ended = lab.cli("completion")
    first, *lines, last = ended.stderr.splitlines()
    assert (ended.returncode, ended.stdout) == (2, "")
    assert first == "Missing argument 'SHELL'. There are bash, fish and zsh."
    assert [line.partition(":")[0] for line in lines] == [f"For {name}" for name in told]
    assert f" completion {told[0]} " in lines[0]
    assert last == "See 'exlab-orch completion --help'."
