"""E. Names from outside: every byte of them arrives, and none of them is ever raw where people and programs look."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from tests.files.tricks import write
from tests.lab import Lab
from tests.oracle import Oracle, data_files, require_cleared, require_program
from tests.terminal import terminal

SEGMENTS: Final = (
    "new\nline",
    "carriage\rreturn",
    "tab\there",
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "\x9b31m",
    "[bold]",
    "[red]x[",
    "\u202egnp.exe",
    "\u2028line",
    "\x85next",
    "-rf",
    "--help",
    ":backend:",
    "host:path",
    "@file",
    " spaces ",
    "trailing.",
    "CON",
    "Case",
    "case",
    "\u00c4",
    "A\u0308",
    "back\\slash",
    "$(id)",
    "%s{0}",
    "*?",
    "x" * 240,
)
"""Path segments in UTF-8; file names may be any bytes besides."""
BYTES: Final = (b"caf\xe9", b"\xff\xfe", b"x" * 255)
COLOUR: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""What the program itself writes on a terminal: colours and the cursor."""


def raw(text: str) -> set[str]:
    """Characters that could steer a terminal, break a line, or turn its direction."""
    return {character for character in text if not character.isprintable() and character not in "\n\t"}


def outputs(lab: Lab, run: str, *cron: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Every way to look at the lab in a pipe, as cron mails it and as a program reads it, with what it printed."""
    verbs = (*cron, ("list",), ("list", "--json"), ("show", run), ("show", "--json", run), ("log", run))
    for words in verbs:
        shown = lab.cli(*words)
        assert shown.returncode in (0, 3), (words, shown.stderr)
        yield " ".join(words), shown.stdout + shown.stderr


def on_a_terminal(lab: Lab, *words: str) -> str:
    """What a person sees, without the program's own colours; the escape that sets a title is no colour."""
    with terminal(lab, *words) as shown:
        assert shown.end() in (0, 3)
        return COLOUR.sub("", shown.raw).replace("\r\n", "\n").replace("\r", "")


def logs(lab: Lab) -> Iterator[tuple[str, str]]:
    """Every log there is: of the program, and of the runs in staging and on the NAS."""
    for root in (lab.state, lab.staging, lab.nas):
        for folder, _, names in os.walk(os.fsencode(root)):
            for name in names:
                if name.endswith(b".log"):
                    path = os.path.join(folder, name)
                    yield os.fsdecode(path), Path(os.fsdecode(path)).read_bytes().decode()


def require_clean(texts: Iterable[tuple[str, str]]) -> None:
    assert [(what, found) for what, text in texts if (found := raw(text))] == []


def test_files_and_folders_of_odd_names_arrive_byte_for_byte_and_are_never_raw_anywhere(
    lab: Lab, oracle: Oracle
) -> None:
    folder, run = lab.push(files={}), "Run_2026-04-17T14-32"
    for number, name in enumerate([*map(os.fsencode, SEGMENTS), *BYTES]):
        write(folder, name, b"%d" % number)
        write(folder, b"folders/" + name + b"/inside", b"%d" % number)
        os.makedirs(os.path.join(os.fsencode(folder), b"empty", name))
    oracle.remember()
    os.mkfifo(os.path.join(os.fsencode(folder), b"\x1b]0;\xff\xe2\x80\xae[bold]\nfifo"))
    require_clean([*outputs(lab, run, ("poll", "-v")), *logs(lab)])
    assert "\\x1b]0;" in on_a_terminal(lab, "show", run)
    require_clean([("list", on_a_terminal(lab, "list")), ("show", on_a_terminal(lab, "show", run))])
    os.unlink(os.path.join(os.fsencode(folder), b"\x1b]0;\xff\xe2\x80\xae[bold]\nfifo"))
    require_clean([*outputs(lab, run, ("sync", run)), *logs(lab)])
    assert data_files(lab.published()) == data_files(lab.staged())
    require_listed_by_sha256sum(lab.published())
    assert lab.cli("clear", "--yes", run).returncode == 0
    oracle.settle()
    require_cleared(lab)


def require_listed_by_sha256sum(published: Path) -> None:
    """The real sha256sum finds every file of our list, and every file there is stands in it."""
    command = [require_program("sha256sum"), "-c", "--strict", ".exlab-wizard/checksums.sha256"]
    shown = subprocess.run(command, cwd=published, capture_output=True, check=False)
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert shown.stdout.count(b": OK\n") == len(data_files(published))


PAIRS: Final = (("P", "Case"), ("P", "case"), ("\u00c4", "1"), ("A\u0308", "1"))
"""A project and a run each, which some file systems would take for one."""


def runs_of_odd_names(lab: Lab) -> list[str]:
    """Projects and runs whose names are odd, each in one or the other, and such as are nearly alike."""
    names = [*zip(SEGMENTS[::2], SEGMENTS[1::2], strict=True), *PAIRS]
    runs = [f"FLOW_01/{project}/Runs/Run_{run}" for project, run in names]
    for number, run in enumerate(runs):
        lab.push(run, {"a.fcs": b"%d" % number})
    return runs


def test_runs_and_projects_of_odd_names_live_apart_and_are_never_raw_anywhere(lab: Lab, oracle: Oracle) -> None:
    runs = runs_of_odd_names(lab)
    oracle.remember()
    odd = next(run for run in runs if "\x1b]0;" in run)
    os.mkfifo(lab.staged(odd) / "fifo")
    require_clean([*outputs(lab, odd, ("poll", "-v")), *logs(lab)])
    require_clean([("list", on_a_terminal(lab, "list")), ("show", on_a_terminal(lab, "show", odd))])
    (lab.staged(odd) / "fifo").unlink()
    assert lab.cli("sync", odd).returncode == 0
    assert {run: data_files(lab.published(run)) for run in runs} == {run: data_files(lab.staged(run)) for run in runs}
    require_clean([("clear", on_a_terminal(lab, "clear", "--all-verified", "--yes"))])
    require_clean([("cleared", on_a_terminal(lab, "list", "--cleared"))])
    oracle.settle()
    assert not any(lab.staged(run).exists() for run in runs)


def test_a_run_or_equipment_whose_name_is_not_utf_8_or_odd_is_told_escaped_and_left_alone(
    lab: Lab, oracle: Oracle
) -> None:
    lab.push()
    oracle.remember()
    for name in (b"FLOW_01/caf\xe9/Runs/Run_1", b"FLOW_01/P/Runs/Run_\xff\x1b]0;", b"\x1b]0;evil\xff/P/Runs/Run_1"):
        write(lab.staging, name + b"/a.fcs", b"a")
    write(lab.staging, b"FLOW_01/P/loose\x1b]0;\n\xe2\x80\xae\xff", b"loose")
    before = data_files(lab.staging)
    require_clean([*outputs(lab, "Run_2026-04-17T14-32", ("poll",)), *logs(lab)])
    require_clean([("list", on_a_terminal(lab, "list"))])
    codes = [line.split("\t")[6] for line in lab.cli("list").stdout.splitlines()]
    assert (codes.count("name_unsupported"), codes.count("not_a_run")) == (2, 3)
    assert {name: found for name, found in data_files(lab.staging).items() if b".exlab-" not in name} == before
    oracle.settle()


# -- deep and long -------------------------------------------------------------------------------------------


def nest(folder: Path, name: str, levels: int) -> None:
    """Folders inside each other, however long their path becomes, and a file at the bottom."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    with open(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=here), "wb") as file:
        file.write(b"deep down")
    os.close(here)


def test_a_run_three_hundred_folders_deep_is_copied_and_cleared(lab: Lab, oracle: Oracle) -> None:
    nest(lab.push(), "d", 300)
    oracle.remember()
    assert lab.cli("poll").returncode == 0
    require_listed_by_sha256sum(lab.published())
    assert lab.cli("clear", "--yes", "Run_2026-04-17T14-32").returncode == 0
    oracle.settle()
    require_cleared(lab)


def test_a_path_of_more_than_4096_bytes_blocks_its_run_alone_and_says_so(lab: Lab, oracle: Oracle) -> None:
    lab.push("FLOW_01/PROJ-1/Runs/Run_other")
    nest(lab.push(), "n" * 250, 17)
    oracle.remember()
    shown = lab.cli("poll")
    assert shown.returncode == 3
    assert "name_unsupported" in shown.stderr
    assert not lab.published().exists()
    assert lab.cli("clear", "--yes", "Run_2026-04-17T14-32").returncode == 5
    assert lab.states("FLOW_01/PROJ-1/Runs/Run_other")[-1] == "sync_verified"
    (lab.staged() / ("n" * 250)).rename(lab.root / "away")
    oracle.hashes = {key: found for key, found in oracle.hashes.items() if b"nnn" not in key[1]}
    oracle.settle()
    assert lab.states()[-1] == "sync_verified"
