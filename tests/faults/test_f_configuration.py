"""F. A configuration that is wrong in any way: exit 78 in seconds, in words, and nothing was touched."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.lab import Lab
from tests.oracle import prints

SECONDS: Final = 30.0
"""More than a refusal may take on a busy computer."""
VALUES: Final = {
    "a negative number": "-1",
    "a huge number": "9" * 40,
    "no number": "nan",
    "infinity": "inf",
    "another type": "[[]]",
    "a table": "{ a = 1 }",
    "a date": "1979-05-27T07:32:00Z",
    "nothing": '""',
    "a NUL": '"a\\u0000b"',
    "an escape": '"\\u001b]0;evil\\u0007\\u202e"',
    "a way out": '"/../etc"',
    "a relative path": '"some/folder"',
    "a very long text": f'"{"x" * 20_000}"',
}
KEYS: Final = (
    ("[orchestrator]", ("enabled", "label", "staging_root", "state_dir")),
    ("[orchestrator.staging_cleanup]", ("mode", "retain_hours", "min_free", "max_errors", "proof", "proof_max_age")),
    ("[nas]", ("type", "root", "marker_id", "require_mount", "group", "dir_mode", "file_mode", "reserve_percent")),
    ("[sync]", ("parallel_runs", "workers", "on_change", "upload_mbps", "schedule", "nice", "ionice")),
    (
        "[[equipment]]",
        (
            *("id", "label", "completeness_signal", "sentinel_filename", "manifest_filename", "quiet_minutes"),
            *("min_files", "settle_seconds", "failed_filename", "alert_after_hours", "arrives_by", "nas"),
            *("run_pattern", "receipts", "receipts_days"),
        ),
    ),
)
GOOD: Final = {
    *(("label", what) for what in ("nothing", "a way out", "a relative path")),
    *((key, "a relative path") for key in ("manifest_filename", "sentinel_filename", "failed_filename")),
    ("marker_id", "nothing"),  # refused all the same, later: nothing is written without an id
    ("group", "a very long text"),  # that no such group exists is told when it is asked for
    ("nas", "a table"),  # its keys are told one by one
}
"""What these keys may hold after all."""


def with_value(text: str, table: str, key: str, value: str) -> str:
    """The configuration with one key of a table set; of several such tables, in the first."""
    lines = text.splitlines()
    start = lines.index(table)
    end = next((at for at in range(start + 1, len(lines)) if lines[at].startswith("[")), len(lines))
    inside = [line for line in lines[start + 1 : end] if not line.startswith(f"{key} =")]
    return "\n".join([*lines[: start + 1], f"{key} = {value}", *inside, *lines[end:]])


def require_refused(lab: Lab, verb: str = "poll") -> str:
    """The command ends with 78, says why in clean words, and nothing anywhere was touched."""
    before = {root: prints(root) for root in (lab.staging, lab.nas)}
    began = time.monotonic()
    shown = lab.cli(verb)
    assert time.monotonic() - began < SECONDS
    assert (shown.returncode, shown.stdout) == (78, ""), shown.stderr
    assert not lab.state.exists()
    assert {root: prints(root) for root in before} == before
    assert not {character for character in shown.stderr if not character.isprintable() and character != "\n"}
    return shown.stderr


@pytest.mark.parametrize("what", VALUES)
def test_a_wrong_value_of_every_key_is_told_at_once_and_nothing_is_touched(lab: Lab, what: str) -> None:
    lab.push()
    text = lab.config_path.read_text()
    keys = [(table, key) for table, keys in KEYS for key in keys if (key, what) not in GOOD]
    for table, key in keys:
        text = with_value(text, table, key, VALUES[what])
    lab.config_path.write_text(text)
    told = require_refused(lab)
    silent = [key for _, key in keys if f"{key}: " not in told]
    assert silent == []


# -- the file itself -----------------------------------------------------------------------------------------


def a_folder(path: Path, text: str) -> None:
    path.unlink()
    path.mkdir()


def a_fifo(path: Path, text: str) -> None:
    path.unlink()
    os.mkfifo(path)


def a_link_to_itself(path: Path, text: str) -> None:
    path.unlink()
    path.symlink_to(path)


def fifty_megabytes(path: Path, text: str) -> None:
    with path.open("ab") as file:
        file.truncate(50 << 20)


FILES: Final[dict[str, Callable[[Path, str], object]]] = {
    "missing": lambda path, text: path.unlink(),
    "empty": lambda path, text: path.write_bytes(b""),
    "folder": a_folder,
    "FIFO": a_fifo,
    "link to itself": a_link_to_itself,
    "50 MB": fifty_megabytes,
    "NUL bytes": lambda path, text: path.write_bytes(b"\0" * 4096),
    "UTF-16": lambda path, text: path.write_text(text, encoding="utf-16"),
    "Latin-1": lambda path, text: path.write_text(f"# \xe4\n{text}", encoding="latin-1"),
    "cut off": lambda path, text: path.write_text(text[: len(text) // 2]),
    "nested deeply": lambda path, text: path.write_text(f"x = {'[' * 400_000}\n{text}"),
    "a name of 100,000 parts": lambda path, text: path.write_text(f"a{'.a' * 100_000} = 1\n{text}"),
    "50,000 unknown keys": lambda path, text: path.write_text("".join(f"k{n} = 1\n" for n in range(50_000)) + text),
    "20,000 wrong tables": lambda path, text: path.write_text(text + '[[equipment]]\nid = "x"\n' * 20_000),
    "a number of 5,000 digits": lambda path, text: path.write_text(f"x = {'9' * 5_000}\n{text}"),
    "a lone surrogate": lambda path, text: path.write_text(f'x = "\\ud800"\n{text}'),
    "a key twice": lambda path, text: path.write_text(text.replace("reserve_percent", "require_mount")),
    "an id twice": lambda path, text: path.write_text(text.replace("SCANNER_01", "FLOW_01")),
    "no equipment block but a table": lambda path, text: path.write_text(text.replace("[[equipment]]", "[equipment]")),
}


@pytest.mark.parametrize("what", FILES)
def test_a_configuration_file_that_is_none_ends_with_78_and_nothing_is_touched(lab: Lab, what: str) -> None:
    lab.push()
    FILES[what](lab.config_path, lab.config_path.read_text())
    assert "config.toml" in require_refused(lab)


ROOTS: Final = {
    "staging is the NAS": lambda lab: {str(lab.nas): str(lab.staging)},
    "the NAS is in staging": lambda lab: {str(lab.nas): f"{lab.staging}/nas"},
    "staging is in the NAS": lambda lab: {str(lab.staging): f"{lab.nas}/staging"},
    "the state is in staging": lambda lab: {str(lab.state): f"{lab.staging}/state"},
    "the state is in the NAS": lambda lab: {str(lab.state): f"{lab.nas}/state"},
    "the state is everything": lambda lab: {f'"{lab.state}"': '"/"'},
    "staging is everything": lambda lab: {f'"{lab.staging}"': '"/"'},
    "the state is a file": lambda lab: {str(lab.state): str(lab.config_path)},
    "the state is below a file": lambda lab: {str(lab.state): f"{lab.config_path}/state"},
    "a path that leads back": lambda lab: {str(lab.nas): f"{lab.root}/x/../staging"},
    "no marker id": lambda lab: {"marker_id": "# marker_id"},
}


@pytest.mark.parametrize("what", ROOTS)
def test_roots_that_overlap_or_cannot_be_end_with_78_and_no_run_is_touched(lab: Lab, what: str) -> None:
    lab.push()
    text = lab.config_path.read_text()
    for old, new in ROOTS[what](lab).items():
        text = text.replace(old, new)
    lab.config_path.write_text(text)
    before = prints(lab.staged()), prints(lab.nas)
    assert lab.cli("poll").returncode == 78
    assert lab.cli("clear", "--yes", "--all-verified").returncode in (0, 78)
    staged = {name: found for name, found in prints(lab.staged()).items() if not name.startswith(".exlab-wizard")}
    assert (staged, prints(lab.nas)) == before
