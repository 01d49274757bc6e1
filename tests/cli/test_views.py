"""How runs look on a terminal of 80 columns, and as tab separated lines; golden files beside this one."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from exlab_orch.answers import Answer
from exlab_orch.cli.choosing import Choice, chosen
from exlab_orch.cli.cleared_view import print_cleared
from exlab_orch.cli.listing_view import grouped, print_table
from exlab_orch.cli.screen import Screen
from exlab_orch.cli.show_view import print_detail
from exlab_orch.cli.tabs import list_tabs, show_tabs
from exlab_orch.cli.watch_view import most_urgent, picture
from exlab_orch.cli.words import closing_line, disk_words, hint_remarks, looking_on, next_commands
from exlab_orch.disks import Disk
from exlab_orch.ledger import LedgerLine
from exlab_orch.looks import LastLook
from exlab_orch.next_step import LIST, LIST_PROBLEMS
from exlab_orch.rows import Row
from exlab_orch.space import Space
from tests.cli import rows as given

GOLDEN = Path(__file__).with_name("golden")


def drawn(draw: Callable[[Console], None], width: int = 80, *, color: bool = False) -> str:
    """What a terminal of that width shows, spaces at the ends of lines left out."""
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
    )
    draw(console)
    assert isinstance(console.file, io.StringIO)
    return "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())


def golden(name: str, shown: str) -> None:
    """Compare with the golden file of that name; to renew it, delete it and run the test twice."""
    path = GOLDEN / f"{name}.txt"
    if not path.exists():
        path.write_text(shown, encoding="utf-8")
        pytest.fail(f"{path} was missing and has been written; look at it")
    assert shown == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [80, 60, 120, 200])
def test_the_list_looks_as_agreed(width: int) -> None:
    golden(f"list-{width}", drawn(lambda console: print_table(console, given.AFTERNOON), width))


@pytest.mark.parametrize("width", [30, 40, 45])
def test_no_figure_is_broken_on_a_narrow_terminal(width: int) -> None:
    shown = drawn(lambda console: print_table(console, given.AFTERNOON), width)
    assert [one for one in ("3 min ago", "4.5 TiB", "12 s ago", "12.4 GiB", "Last event") if one not in shown] == []


@pytest.mark.parametrize("width", [30, 40, 50])
def test_no_answer_and_no_time_of_the_history_is_cut_on_a_narrow_terminal(width: int) -> None:
    lines = drawn(lambda console: print_detail(console, given.detail()), width).splitlines()
    assert [line for line in lines if "…" in line] == []
    assert [line for line in lines if line.startswith("  2026-04-17 11:52:10")] != []
    assert [line for line in lines if line.startswith("    +20 min, 1,204 files")] != []
    assert lines[0].startswith("Safe on the NAS? Yes: every")


def test_projects_where_something_needs_a_person_come_first_and_that_run_first_in_them() -> None:
    groups = [rows for _place, rows in grouped(given.AFTERNOON)]
    assert sorted(row.run for rows in groups for row in rows) == sorted(row.run for row in given.AFTERNOON)
    troubled = [any(row.problem is not None for row in rows) for rows in groups]
    assert troubled == sorted(troubled, reverse=True)
    assert set(troubled) == {True, False}
    assert all([row.problem is None for row in rows] == sorted(row.problem is None for row in rows) for rows in groups)


@pytest.mark.parametrize(
    ("disk", "words", "low"),
    [
        (Disk("Staging", Space(4 << 40, 1 << 40), given.NOW), "Staging: 1.0 TiB of 4.0 TiB free (25 %)", False),
        (
            Disk("Staging", Space(4 << 40, 1 << 40), given.NOW, 7200.0),
            "Staging: 1.0 TiB of 4.0 TiB free (25 %); at the present rate full in 2 h",
            True,
        ),
        (
            Disk("/nas", Space(100 << 40, 1 << 40), given.NOW - timedelta(hours=1)),
            "/nas: 1.0 TiB of 100 TiB free (1 %), 1 h ago",
            True,
        ),
        (Disk("s3:lab", None), "s3:lab: free space not known", False),
    ],
)
def test_a_disk_says_how_much_is_free_and_when_it_is_full(disk: Disk, words: str, low: bool) -> None:
    assert disk_words(disk, given.NOW) == (words, low)


def _age(row: Row) -> float:
    return 0.0 if row.last_activity_at is None else -row.last_activity_at.timestamp()


def test_the_list_is_sorted_as_asked() -> None:
    by_size = [row.byte_total for row in chosen(given.AFTERNOON, Choice(sort="largest"))]
    by_age = [_age(row) for row in chosen(given.AFTERNOON, Choice(sort="newest"))]
    by_name = [row.run for row in chosen(given.AFTERNOON, Choice(sort="name"))]
    assert by_size == sorted((row.byte_total for row in given.AFTERNOON), reverse=True)
    assert by_age == sorted(map(_age, given.AFTERNOON))
    assert by_name == sorted(row.run for row in given.AFTERNOON)


def test_one_problem_code_or_any_can_be_asked_for() -> None:
    codes = {row.problem.code for row in given.AFTERNOON if row.problem is not None}
    assert {"nas_conflict", "not_a_run"} <= codes
    assert {row.problem and row.problem.code for row in chosen(given.AFTERNOON, Choice("any"))} == codes
    one = chosen(given.AFTERNOON, Choice("nas_conflict"))
    assert [row.problem and row.problem.code for row in one] == ["nas_conflict"]


def test_every_line_of_the_list_fits_80_columns_and_no_name_is_cut() -> None:
    shown = drawn(lambda console: print_table(console, given.AFTERNOON))
    assert max(map(len, shown.splitlines())) <= 80
    joined = "".join(line.strip() for line in shown.splitlines())
    assert all(one.run.rsplit("/", 1)[-1] in joined for one in given.AFTERNOON if one is not given.STRAY)


def test_two_runs_of_a_project_with_the_same_name_show_where_they_are() -> None:
    twins = [
        given.row("A/P/Runs/Run_1", given.ARRIVING.current_state),
        given.row("A/P/Run_1", given.ARRIVING.current_state),
        given.row("A/P/Runs/Run_2", given.ARRIVING.current_state),
    ]
    shown = drawn(lambda console: print_table(console, twins))
    assert [line.split()[0] for line in shown.splitlines()] == ["Run", "A", "Runs/Run_1", "Run_1", "Run_2"]


def test_a_run_in_the_trash_and_another_one_in_its_place_each_show_their_own_figures() -> None:
    twins = [given.VERIFIED, replace(given.VERIFIED, file_count=7777)]
    shown = drawn(lambda console: print_table(console, twins))
    assert "1,204" in shown
    assert "7,777" in shown


def test_names_from_outside_are_neither_markup_nor_control_characters() -> None:
    shown = drawn(lambda console: print_table(console, [given.HELD, given.STRAY]), color=True)
    assert "[bold]by\\x1b[31m Marta" in shown
    assert "notes \\u202e[red].txt" in shown


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ((given.ARRIVING,), "1 run: 1 arriving."),
        (
            given.AFTERNOON,
            "5 runs: 1 arriving; 1 waiting to copy; 1 copying; 2 on NAS, checked. "
            "Besides: 1 not a run. 2 need a person.",
        ),
        ((given.CONFLICT, given.ARRIVING), "2 runs: 1 arriving; 1 waiting to copy. 1 needs a person."),
    ],
)
def test_the_closing_line_counts_runs_by_state(rows: tuple[Row, ...], line: str) -> None:
    assert closing_line(rows) == line


def test_a_problem_names_the_next_command_and_a_proved_run_under_manual_mode_too() -> None:
    free = given.row("A/P/Runs/Run_1", given.VERIFIED.current_state, size=1 << 30)
    assert next_commands([given.ARRIVING, given.CONFLICT, free], "exlab-orch show x") == (
        ("Next", "exlab-orch show x"),
        ("To free 1.0 GiB", "exlab-orch clear --all-verified"),
    )


def test_what_is_no_run_has_its_choice_beneath_it_and_the_last_line_leads_there() -> None:
    assert next_commands([given.VERIFIED, given.STRAY], LIST_PROBLEMS) == (("Next", "exlab-orch list --problem"),)
    assert next_commands([given.STRAY], LIST_PROBLEMS) == ()


def test_where_nothing_has_to_be_done_the_last_line_names_a_command_to_look_closer_or_on() -> None:
    assert next_commands([given.VERIFIED, given.HELD], LIST) == ()
    assert looking_on([given.VERIFIED, given.HELD]) == ("More about one", f"exlab-orch show {given.VERIFIED.run}")
    assert looking_on([given.VERIFIED, given.COPYING]) == ("To look on", "exlab-orch list --watch")
    assert looking_on([given.STRAY]) == ("The whole picture", "exlab-orch status")


def test_tab_separated_rows_have_eight_fields_and_nothing_is_cut() -> None:
    lines = list(list_tabs(given.AFTERNOON))
    assert {len(line) for line in lines} == {8}
    assert lines[4][0] == given.LONG
    assert lines[3][5:] == (
        "2026-04-17T13:57:00.000Z",
        "nas_conflict",
        given.CONFLICT.problem and given.CONFLICT.problem.message,
    )
    assert lines[2][1:5] == ("staging", "arriving", 3, 5000)
    assert lines[5][0] == "NANOPORE_01/notes \\u202e[red].txt"


def test_one_run_looks_as_agreed() -> None:
    golden("show", drawn(lambda console: print_detail(console, given.detail())))


def test_one_run_with_a_problem_looks_as_agreed() -> None:
    trouble = given.detail(
        given.CONFLICT,
        safe=Answer(False, "it is not proved on the NAS yet"),
        may_delete=Answer(False, "not while it is not proved on the NAS yet"),
        history=(),
        checksums_path=None,
        problems=(given.problem("nas_conflict", "The NAS holds another tile_07.tif.", "Look who put it there."),),
    )
    golden("show-problem", drawn(lambda console: print_detail(console, trouble)))


def test_show_opens_with_the_two_answers_in_both_forms() -> None:
    shown = drawn(lambda console: print_detail(console, given.detail()), width=120).splitlines()
    assert shown[0].startswith("Safe on the NAS?               Yes: every byte")
    assert shown[1].startswith("May the instrument delete it?  Yes: ")
    fields = list(show_tabs(given.detail()))
    assert [field[:2] for field in fields[:3]] == [
        ("safe_on_nas", "yes"),
        ("may_be_deleted", "yes"),
        ("run", given.VERIFIED.run),
    ]


def test_a_path_is_never_broken_by_the_program() -> None:
    long = given.row(given.LONG, given.ARRIVING.current_state)
    shown = drawn(lambda console: print_detail(console, given.detail(long)), width=60)
    assert f"  {given.STAGING}/{given.LONG}\n" in shown


def test_cleared_runs_look_as_agreed() -> None:
    lines = [
        LedgerLine(
            given.VERIFIED.run,
            "2026-04-17T13:00:00Z",
            1204,
            13_300_000_000,
            f"{given.NAS}/{given.VERIFIED.run}",
            "ab",
            "h",
        ),
        LedgerLine(given.LONG, "2026-04-17T13:10:00Z", 1, 1, f"{given.NAS}/{given.LONG}", "ab", "h", "marta"),
    ]
    looks = {given.LONG: LastLook(given.NOW, ok=False), given.VERIFIED.run: LastLook(given.NOW, ok=True)}
    golden("cleared", drawn(lambda console: print_cleared(console, lines, looks)))


def test_the_live_table_shows_what_moves_and_what_is_wrong_first_when_it_is_short_of_lines() -> None:
    idle = [given.row(f"A/P/Runs/Run_{number}", given.ARRIVING.current_state, age=number) for number in range(50)]
    shown = most_urgent([*idle, given.CONFLICT, given.COPYING], 12)
    assert shown[0] is given.COPYING
    assert shown[1] is given.CONFLICT
    assert idle[0] in shown
    assert idle[49] not in shown


@pytest.mark.parametrize("width", [80, 45])
@pytest.mark.parametrize("height", [10, 24, 60])
def test_the_live_table_is_never_higher_than_the_terminal(height: int, width: int) -> None:
    many = [
        *given.AFTERNOON,
        *(given.row(f"A{n}/P/Runs/Run_{n}", given.ARRIVING.current_state, age=n) for n in range(100)),
    ]
    disks = [Text("Staging: 1 GiB"), Text("NAS: 1 GiB")]

    def draw(console: Console) -> None:
        console.height = height
        Screen(console).draw(picture(console, many, given.NOW, closing=closing_line(many), disks=disks))

    shown = drawn(draw, width)
    assert len(shown.splitlines()) <= height
    assert ("Staging: 1 GiB" in shown) is (height >= 24)
    assert "more runs: exlab-orch list" in " ".join(shown.split())


def test_the_live_table_leaves_it_to_the_terminal_to_fold_a_command() -> None:
    command = f"exlab-orch sync --new-version FLOW_01/PROJ-1/Runs/Run_{'x' * 80}"
    row = replace(given.CONFLICT, problem=given.problem("nas_conflict", "Others wrote there.", f"Keep both: {command}"))

    def draw(console: Console) -> None:
        console.height = 30
        Screen(console).draw(picture(console, [row], given.NOW, closing=f"Look: {command}"))

    shown = drawn(draw, 60).splitlines()
    assert [line.strip() for line in shown if command in line] == [command, command]
    assert max(len(line) for line in shown if command not in line) <= 60


def test_what_a_screen_has_no_room_for_is_left_out_whole() -> None:
    def draw(console: Console) -> None:
        console.height = 3
        Screen(console).draw([Text("one"), Text("x" * 15, no_wrap=True), Text("three")])

    assert drawn(draw, 10).splitlines() == ["one", "x" * 15]
    assert drawn(draw, 7).strip() == "one"


@pytest.mark.parametrize("width", [40, 80])
def test_what_to_do_stands_below_a_problem_and_its_command_is_never_broken(width: int) -> None:
    command = f"exlab-orch sync --new-version FLOW_01/PROJ-1/Runs/Run_{'x' * width}"
    trouble = given.problem("nas_conflict", "Others wrote there.", f"Keep both: {command}")
    row = given.row(given.VERIFIED.run, given.VERIFIED.current_state, problem=trouble)
    listed = drawn(lambda console: print_table(console, [row]), width).splitlines()
    assert ["    → Keep both:", f"      {command}"] == listed[-2:]
    shown = drawn(lambda console: print_detail(console, given.detail(row, problems=(trouble,))), width)
    assert f"What to do: Keep both:\n  {command}\n" in shown


def test_a_hint_without_a_command_is_folded_and_no_hint_is_no_line() -> None:
    assert hint_remarks("") == ()
    assert [one.is_whole for one in hint_remarks("Free some space on the NAS.")] == [False]
    lines = hint_remarks("Let it write there: sudo chown -R exlab-orch /srv/staging/FLOW_01")
    assert [(one.text, one.is_whole) for one in lines] == [
        ("→ Let it write there:", False),
        ("  sudo chown -R exlab-orch /srv/staging/FLOW_01", True),
    ]
    assert [one.is_whole for one in hint_remarks("Run exlab-orch doctor to find out.")] == [True]
