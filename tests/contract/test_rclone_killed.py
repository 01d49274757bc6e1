"""The pass is killed at each start of rclone, before it works and after: the next passes reach the undisturbed end."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from tests.contract.servers import rclone_program
from tests.contract.test_rclone_faults import lab_at
from tests.lab import RUN, Lab
from tests.oracle import Oracle

KILLS = """
number=$(( $(cat "{root}/number" 2>/dev/null || echo 0) + 1 ))
echo $number > "{root}/number"
if [ $number = {wanted} ]; then
    [ {when} = after ] && "$real" "$@" > /dev/null
    kill -9 $PPID
    exit 9
fi
exec "$real" "$@"
"""
ACTS = {"poll": ("poll",), "clear": ("clear", RUN, "--yes"), "changed": ("poll",)}


def killed(folder: Path, kind: str, act: str, when: str, number: int) -> bool:
    """Whether the act was killed at that start of rclone; whatever happened, nothing is lost and all ends well."""
    folder.mkdir()
    with lab_at(folder, kind) as (lab, _):
        lab.now = None
        lab.push()
        oracle = Oracle(lab)
        if act != "poll":
            lab.poll()
        if act == "changed":
            (lab.staged() / "a.fcs").write_bytes(b"another one")
            (lab.staged() / "new.fcs").write_bytes(b"new")
            oracle.remember()
        was_killed = _disturbed(lab, act, when, number)
        oracle.require_nothing_lost()
        oracle.settle()
        if act == "clear":
            assert lab.cli("clear", RUN, "--yes").returncode == 0
            assert not lab.staged().exists()
            oracle.require_nothing_lost()
        else:
            assert lab.states()[-1] == "sync_verified"
        return was_killed


def _disturbed(lab: Lab, act: str, when: str, number: int) -> bool:
    program = lab.root / "rclone"
    program.write_text(f"#!/bin/bash\nreal={rclone_program()}\n{KILLS.format(root=lab.root, wanted=number, when=when)}")
    program.chmod(0o755)
    table = lab.nas_table
    lab.nas_table = table.replace(rclone_program(), str(program))
    lab.configure()
    status = lab.cli(*ACTS[act]).returncode
    assert status in (0, -9), status
    lab.nas_table = table
    lab.configure()
    return status == -9


@pytest.mark.parametrize(
    ("kind", "act", "first"),
    [
        ("local", "poll", 13),
        ("local", "poll", 18),
        ("local", "clear", 17),
        ("s3", "poll", 14),
        ("local", "changed", 24),
    ],
)
def test_a_pass_that_is_killed_while_rclone_works_loses_nothing(
    tmp_path: Path, kind: str, act: str, first: int
) -> None:
    assert killed(tmp_path / "lab", kind, act, "after", first)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("act", sorted(ACTS))
@pytest.mark.parametrize("kind", ["local", "s3"])
def test_a_kill_at_every_start_of_rclone_loses_nothing(tmp_path: Path, kind: str, act: str, when: str) -> None:
    points = next(number for number in count(1) if not killed(tmp_path / str(number), kind, act, when, number))
    assert points > 10
