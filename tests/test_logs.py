"""The application log and the log of a run: one line an event, nothing forged, with logrotate and the journal."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest

from exlab_orch import logs, orders
from exlab_orch.cleanup import clear
from exlab_orch.journal import EdgeKind
from exlab_orch.model import Place, StagedRun, log_name
from exlab_orch.ownfiles import log_line, read_log
from exlab_orch.station import host_name
from tests.lab import RUN, Lab
from tests.oracle import require_program

ROOT = Path(__file__).parents[1]
NOW = datetime(2026, 4, 17, 14, 32, 5, tzinfo=UTC)
LINE = re.compile(
    r"\d{4}-\d\d-\d\dT[\d:.]+Z \[(?P<level>INFO|WARNING|ERROR)\] "
    r"\[host:(?P<host>[^\[\]]*)\] \[equip:(?P<equip>[^\[\]]*)\] "
    r"\[proj:(?P<proj>[^\[\]]*)\] \[kind:(?P<kind>[^\[\]]*)\] \[run:(?P<run>[^\[\]]*)\] (?P<message>.*)"
)
"""A line of a run's log, as somebody would read it."""
HOSTILE = [
    "new\nline",
    "a] [kind:test] [run:b",
    "\x1b]0;title\x07\x1b[31m",
    "\u2028\u202e\u0085\x9b31m",
    "2026-04-17T14:32:05Z [ERROR] [host:x",
    'a" level=ERROR code="b',
    "back\\slash\\",
    "odd \udcff bytes",
    " run=other message=x",
]


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    logger = logging.getLogger("exlab_orch")
    before = logger.handlers, logger.level, logger.propagate
    yield
    logger.handlers, logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def text_of(folder: Path) -> str:
    return (folder / logs.LOG_NAME).read_text()


# -- the log of a run ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_can_forge_a_field_or_a_line_of_a_runs_log(name: str) -> None:
    run = StagedRun(f"FLOW_01/{name}/Runs/Run_{name}", Place("/srv/staging", "x"))
    line = log_line(NOW, "station", run, "INFO", f"something about {name}")
    found = LINE.fullmatch(line)
    assert found is not None, line
    assert line.isprintable()
    assert (found["level"], found["host"], found["equip"]) == ("INFO", "station", "FLOW_01")
    assert found["kind"] == run.run_kind
    assert found["message"].startswith("something about ")


def test_a_line_of_a_runs_log_has_the_promised_form() -> None:
    run = StagedRun(RUN, Place("/srv/staging", RUN))
    assert log_line(NOW, "station", run, "WARNING", "nas_full: no room") == (
        "2026-04-17T14:32:05.000Z [WARNING] [host:station] [equip:FLOW_01] [proj:PROJ-1] [kind:experimental] "
        "[run:Run_2026-04-17T14-32] nas_full: no room"
    )


def messages(content: bytes | None) -> list[str]:
    assert content is not None
    found = [LINE.fullmatch(line) for line in content.decode().splitlines()]
    return [one["message"] for one in found if one is not None]


def test_a_run_tells_its_whole_life_and_who_asked_for_what(lab: Lab) -> None:
    lab.push()
    (lab.staged() / "run_complete").unlink()
    lab.poll()
    with lab.station() as station:
        orders.accept(station, lab.run(), reason="power cut", by="ana")
    lab.poll()
    with lab.station() as station:
        orders.hold(station, lab.run(), reason="reanalysis", by="ben")
        orders.unhold(station, lab.run(), by="cleo")
        orders.make_due(station, lab.run(), by="dan", new_version=True)
        clear(station, lab.run(), by="eve")
    told = messages((lab.published() / ".exlab-wizard" / log_name(host_name())).read_bytes())
    wanted = [
        "first seen",
        "to be taken as it is, asked for by ana: power cut",
        "complete: 2 files, 7 bytes; taken as it is for ana",
        "on the NAS, checked: 2 files read back, 7 bytes; 7 sent in",
        "held by ben: reanalysis",
        "hold ended by cleo",
        "to be copied in place of what the NAS has, asked for by dan",
        "staged copy deleted: 2 files, 7 bytes; asked for by eve",
    ]
    assert [line for line, start in zip(told, wanted, strict=True) if not line.startswith(start)] == []


def test_a_problem_of_a_run_is_in_its_log_when_it_opens_and_when_it_is_solved(lab: Lab) -> None:
    folder = lab.push()
    (lab.published()).mkdir(parents=True)
    (lab.published() / "a.fcs").write_bytes(b"somebody else's")
    lab.poll()
    lab.poll()
    log = folder / ".exlab-wizard" / log_name(host_name())
    assert [line for line in messages(log.read_bytes()) if line.startswith("nas_conflict: ")] != []
    (lab.published() / "a.fcs").unlink()
    with lab.station() as station:
        orders.make_due(station, lab.run(), by="ana")
    lab.poll()
    told = messages(log.read_bytes())
    assert len([line for line in told if line.startswith("nas_conflict: ")]) == 1, "once, not with every pass"
    assert "solved: nas_conflict" in told


def test_a_problem_that_another_takes_the_place_of_is_solved_in_the_log_of_the_run(lab: Lab) -> None:
    folder = lab.push(files={"a?.fcs": b"aaa"})
    lab.published().mkdir(parents=True)
    (lab.published() / "a?.fcs").write_bytes(b"somebody else's")
    lab.poll()
    lab.nas_options = 'names = "strict"'
    lab.configure()
    with lab.station() as station:
        orders.make_due(station, lab.run(), by="ana")
    lab.poll()
    told = messages((folder / ".exlab-wizard" / log_name(host_name())).read_bytes())
    problems = [line for line in told if "nas_conflict" in line or "name_unsupported" in line]
    assert problems[1] == "solved: nas_conflict"
    assert [line.partition(": ")[0] for line in problems] == ["nas_conflict", "solved", "name_unsupported"]


# -- the application log -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("form", ["text", "json"])
def test_no_name_can_forge_a_field_or_a_line_of_the_application_log(
    tmp_path: Path, form: logs.Format, name: str
) -> None:
    logs.log_into(str(tmp_path), form, {"by": name})
    logs.note_event("run_problem", f"about {name}", level="WARNING", run=name)
    (line,) = text_of(tmp_path).split("\n")[:-1]
    assert line.isprintable()
    if form == "json":
        document = json.loads(line)
        assert list(document)[:3] == ["time", "level", "event"]
        assert {"run", "by", "message"} <= set(document)
        return
    words = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', line.partition(" run_problem ")[2])
    assert [word for word, _ in words] == ["run", "by", "message"]
    assert " ".join(f"{word}={value}" for word, value in words) == line.partition(" run_problem ")[2]


def test_a_line_is_bounded(tmp_path: Path) -> None:
    for form in ("text", "json"):
        logs.log_into(str(tmp_path), form, {})
        logs.note_event("note", "m" * 100_000, run="r" * 100_000, odd="\udcff" * 100_000)
    assert max(map(len, text_of(tmp_path).splitlines())) < 20_000


def test_a_bug_stands_below_its_line_where_no_message_can_look_like_another_line(tmp_path: Path) -> None:
    logs.log_into(str(tmp_path), "text", {})
    try:
        int("first\n2026-04-17T14:32:05Z ERROR forged\x1b[31m")
    except ValueError:
        logging.getLogger("exlab_orch.outcome").exception("a bug, met with %r", "RUN")
    first, *rest = text_of(tmp_path).splitlines()
    assert " ERROR bug " in first
    assert rest != []
    assert all(line.startswith("    | ") and line.isprintable() for line in rest)
    logs.log_into(str(tmp_path), "json", {})
    logs.log_bug(str(tmp_path), ValueError("x\ny"), {})
    assert json.loads(text_of(tmp_path).splitlines()[-1])["message"].startswith("ValueError: x")


def test_the_log_is_for_the_service_user_and_its_group(tmp_path: Path) -> None:
    logs.log_into(str(tmp_path), "text", {})
    logs.note_event("note", "something")
    assert (tmp_path / logs.LOG_NAME).stat().st_mode & 0o777 == 0o640


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / logs.LOG_NAME).mkdir()
    for folder in (tmp_path, tmp_path / "missing"):
        logs.log_into(str(folder), "text", {})
        logs.note_event("note", "something")


def test_a_line_that_a_full_disk_cut_short_spoils_no_other(tmp_path: Path) -> None:
    (tmp_path / logs.LOG_NAME).write_text('{"time": "20')
    assert logs.append(str(tmp_path), '{"time": "2026"}') is not None
    assert (tmp_path / logs.LOG_NAME).read_text() == '{"time": "20\n{"time": "2026"}\n'


def test_a_link_in_the_place_of_the_log_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("theirs")
    (tmp_path / logs.LOG_NAME).symlink_to("target")
    assert logs.append(str(tmp_path), "a line") is None
    assert (tmp_path / "target").read_text() == "theirs"


def test_without_logrotate_one_former_log_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_LIMIT_BYTES", 50)
    for number in range(3):
        logs.append(str(tmp_path), f"{number} " + "x" * 60)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exlab-orch.log", "exlab-orch.log.old"]
    assert text_of(tmp_path).startswith("2 ")
    assert (tmp_path / "exlab-orch.log.old").read_text().startswith("1 ")


def test_what_was_rotated_away_is_not_written_to_any_more(tmp_path: Path) -> None:
    logs.log_into(str(tmp_path), "text", {})
    logs.note_event("note", "before")
    (tmp_path / logs.LOG_NAME).rename(tmp_path / "exlab-orch.log.1")
    logs.note_event("note", "after")
    assert "before" in (tmp_path / "exlab-orch.log.1").read_text()
    assert "after" in text_of(tmp_path)
    assert "before" not in text_of(tmp_path)


def test_events_of_a_program_that_embeds_us_are_printed_nowhere() -> None:
    code = "from exlab_orch import logs; logs.note_event('x', 'y', level='ERROR')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert (ended.stdout, ended.stderr) == ("", "")


def application(lab: Lab) -> list[dict[str, object]]:
    return [json.loads(line) for line in text_of(lab.state).splitlines()]


def test_the_schedule_logs_what_it_did_and_nothing_when_it_did_nothing(lab: Lab) -> None:
    lab.sync += '\n[logging]\nformat = "json"\n'
    lab.configure()
    lab.push()
    assert lab.cli("poll").returncode == 0
    told = application(lab)
    copied = next(line for line in told if line["event"] == "run_copied")
    assert {
        "run": RUN,
        "files": 3,
        "bytes": 7,
        "bytes_sent": 7,
        "verb": "poll",
        "level": "INFO",
    }.items() <= copied.items()
    assert isinstance(copied["seconds"], float)
    assert [line["state"] for line in told if line["event"] == "state"] == lab.states()
    assert told[-1]["event"] == "pass"
    assert lab.cli("poll").returncode == 0
    assert application(lab) == told


def test_the_end_of_a_pass_counts_what_was_solved_apart_from_problems(lab: Lab) -> None:
    lab.sync += '\n[logging]\nformat = "json"\n'
    lab.configure()
    stray = lab.push("FLOW_01/PROJ-1/not a run", {"x": b"y"}, done=False)
    lab.cli("poll")
    (stray / "x").unlink()
    stray.rmdir()
    lab.cli("poll")
    passes = [line for line in application(lab) if line["event"] == "pass"]
    assert [(line["problems"], line["solved"]) for line in passes] == [(1, 0), (0, 1)]


def test_that_the_journal_was_begun_anew_is_logged_also_where_a_program_asked(lab: Lab) -> None:
    lab.sync += '\n[logging]\nformat = "json"\n'
    lab.configure()
    lab.push()
    assert lab.cli("poll").returncode == 0
    (lab.state / "journal.sqlite3").write_bytes(b"no journal " * 1000)
    assert lab.cli("poll", "--json").returncode == 0
    (told,) = [line for line in application(lab) if line["event"] == "begun_anew"]
    assert (told["level"], "damaged" in str(told["message"])) == ("WARNING", True)


def test_problems_and_refusals_are_logged_with_their_code(lab: Lab) -> None:
    lab.sync += '\n[logging]\nformat = "json"\n'
    lab.configure()
    lab.push("FLOW_01/PROJ-1/not a run", {"x": b"y"}, done=False)
    lab.cli("poll")
    (opened,) = [line for line in application(lab) if line["event"] == "problem_opened"]
    assert (opened["code"], opened["level"], opened["subject"]) == ("not_a_run", "WARNING", "FLOW_01/PROJ-1/not a run")
    lab.push()
    assert lab.cli("clear", RUN, "--yes").returncode != 0
    lab.cli("sync", "Run_nobody_knows")
    refused = application(lab)[-1]
    assert (refused["event"], refused["code"], refused["verb"]) == ("refused", "run_not_found", "sync")


def test_logrotate_takes_the_log_of_the_shipped_file(tmp_path: Path) -> None:
    program = require_program("logrotate")
    if os.geteuid() != 0:
        pytest.skip("logrotate changes users")
    tmp_path.chmod(0o755)
    rules = (ROOT / "contrib/logrotate/exlab-orch").read_text()
    assert "/var/lib/exlab-orch/exlab-orch.log {" in rules
    rules = rules.replace("/var/lib/exlab-orch", str(tmp_path)).replace("exlab-orch exlab-orch", "root root")
    (tmp_path / "rules").write_text(rules)
    logs.append(str(tmp_path), "before")
    command: list[str | Path] = [program, "--force", "--state", tmp_path / "status", tmp_path / "rules"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (ended.returncode, ended.stderr) == (0, "")
    logs.append(str(tmp_path), "after")
    assert text_of(tmp_path) == "after\n"
    assert (tmp_path / "exlab-orch.log.1").read_text() == "before\n"
    assert (tmp_path / logs.LOG_NAME).stat().st_mode & 0o777 == 0o640


# -- the journal of systemd ----------------------------------------------------------------------------------


def test_messages_carry_priorities_where_they_go_to_the_journal(lab: Lab, tmp_path: Path) -> None:
    lab.push("FLOW_01/PROJ-1/not a run", {"x": b"y"}, done=False)
    with (tmp_path / "journal").open("wb") as journal:
        status = os.fstat(journal.fileno())
        named = f"{status.st_dev}:{status.st_ino}"
        for verb in (["poll"], ["show", "Run_nobody_knows"]):
            environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "JOURNAL_STREAM": named}
            subprocess.run(lab.command(*verb), stderr=journal, env=environment, check=False, timeout=30)
    told = (tmp_path / "journal").read_text().splitlines()
    assert told[0].startswith("<4>")
    assert "not_a_run" in told[0]
    assert told[-1].startswith("<3>")
    assert all(re.match(r"<[3-5]>", line) for line in told)


@pytest.mark.parametrize("named", ["", "1:2", "nonsense"])
def test_elsewhere_messages_carry_none(lab: Lab, named: str) -> None:
    lab.environment = {"JOURNAL_STREAM": named}
    ended = lab.cli("show", "Run_nobody_knows")
    assert ended.stderr
    assert not ended.stderr.startswith("<")


def test_the_log_verb_prints_what_is_there(lab: Lab) -> None:
    lab.push()
    lab.poll()
    with lab.station(changing=False) as station:
        content = read_log(lab.run(), station.log_host)
    assert messages(lab.cli("log", RUN).stdout.encode()) == messages(content)


def test_the_log_verb_says_where_the_log_of_a_deleted_staged_copy_is(lab: Lab) -> None:
    lab.push()
    lab.poll()
    assert lab.cli("clear", "--yes", RUN).returncode == 0
    place = lab.cli("log", RUN).stderr.strip().partition("on the NAS: ")[2]
    assert b"staged copy deleted" in Path(place).read_bytes()


# -- what the documentation says -----------------------------------------------------------------------------


def test_every_event_is_explained_and_none_that_does_not_exist() -> None:
    page = (ROOT / "docs/logs.md").read_text().partition("| event |")[2].partition("\n\n")[0]
    explained = {word for row in page.splitlines()[2:] for word in re.findall(r"`(\w+)`", row.split("|")[1])}
    sources = "".join(path.read_text() for path in (ROOT / "exlab_orch").glob("*.py"))
    sources += (ROOT / "exlab_orch/cli/endings.py").read_text()
    named = set(re.findall(r'\bevent(?:: str)? ?= ?"(\w+)"|note_event\(\s*"(\w+)"', sources))
    used = {name for pair in named for name in pair if name} | {"bug", "note"}
    used |= {f"problem_{kind}" for kind in get_args(EdgeKind)}
    assert explained == used


def test_the_lines_of_the_documentation_have_the_form_of_today() -> None:
    shown = re.findall(r"^```\n(.*?)\n```", (ROOT / "docs/logs.md").read_text(), re.DOTALL | re.MULTILINE)
    assert LINE.fullmatch(shown[0]) is not None
    assert re.fullmatch(r'\S+Z INFO run_copied run=\S+( \w+=[\w.-]+)+ message="[^"]*"', shown[1]) is not None
