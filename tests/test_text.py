"""What people read and write: names from outside, sizes, durations."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from exlab_orch import text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain name (1).tif", "plain name (1).tif"),
        ("Zellkultur Überstand 細胞.tif", "Zellkultur Überstand 細胞.tif"),
        ("two\nlines", "two\\nlines"),
        ("a\tb\rc", "a\\tb\\rc"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x00\x7f", "\\x00\\x7f"),
        ("\x9b31m", "\\u009b31m"),
        ("invoice\u202efdp.exe", "invoice\\u202efdp.exe"),
        ("a\u2028b\u2029c\u0085d", "a\\u2028b\\u2029c\\u0085d"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("a\u00a0b", "a\\u00a0b"),
        ("tag \U000e0041", "tag \\U000e0041"),
        ("back\\slash", "back\\\\slash"),
        ("lone \ud800", "lone \\ud800"),
        (b"caf\xe9.tif", "caf\\xe9.tif"),
        (os.fsdecode(b"caf\xe9.tif"), "caf\\xe9.tif"),
        ("café".encode(), "café"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
        ("", ""),
    ],
)
def test_a_name_from_outside_is_shown_escaped_on_one_line(name: bytes | str, shown: str) -> None:
    assert text.printable(name) == shown


def test_every_single_character_is_shown_printable_and_encodable() -> None:
    for first in range(0, sys.maxunicode + 1, 4096):
        shown = text.printable("".join(map(chr, range(first, first + 4096))), limit=100_000)
        assert shown.isprintable()
        shown.encode()


def test_names_that_differ_are_shown_differently() -> None:
    names = [b"a\n", b"a\\n", b"a\x1b", b"a\\x1b", b"\xff", b"\\xff", "\u0080".encode(), b"\x80", b"\\u0080"]
    assert len({text.printable(name) for name in names}) == len(names)


def test_a_long_name_loses_its_middle_and_keeps_both_ends() -> None:
    shown = text.printable("folder/" + "x" * 500 + "/picture.tif", limit=40)
    assert len(shown) == 40
    assert shown.startswith("folder/")
    assert shown.endswith("/picture.tif")
    assert "…" in shown


def test_a_name_at_the_limit_is_shown_whole() -> None:
    assert text.printable("x" * 200) == "x" * 200
    assert len(text.printable("x" * 201)) == 200


@pytest.mark.parametrize("limit", range(1, 24))
def test_an_escape_is_never_cut_in_two(limit: int) -> None:
    shown = text.printable("\u202e" * 8, limit=limit)
    assert len(shown) <= limit
    assert set(shown.replace("…", "").split("\\u202e")) == {""}


def test_a_name_of_many_megabytes_is_cut_without_being_walked() -> None:
    assert len(text.printable(b"\xff" * 20_000_000)) <= 200


@pytest.mark.parametrize(
    ("byte_count", "shown"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (99 * 1024**2, "99.0 MiB"),
        (250 * 1024**2, "250 MiB"),
        (1024**3 - 1, "1.0 GiB"),
        (1_288_490_189, "1.2 GiB"),
        (5 * 1024**4, "5.0 TiB"),
        (5000 * 1024**6, "5,000 EiB"),
    ],
)
def test_a_size_is_shown_in_binary_units(byte_count: int, shown: str) -> None:
    assert text.size(byte_count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (0.9, "0 s"),
        (-5, "0 s"),
        (12.7, "12 s"),
        (59.99, "59 s"),
        (60, "1 min"),
        (125, "2 min 5 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (7205, "2 h"),
        (86_400, "1 d"),
        (3 * 86_400 + 300, "3 d"),
        (3 * 86_400 + 4 * 3600 + 59, "3 d 4 h"),
    ],
)
def test_a_duration_is_shown_in_at_most_two_units(seconds: float, shown: str) -> None:
    assert text.duration(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "just now"),
        (0.5, "just now"),
        (-0.5, "just now"),
        (1, "1 s ago"),
        (12, "12 s ago"),
        (7500, "2 h 5 min ago"),
        (-300, "in 5 min"),
    ],
)
def test_how_long_ago_something_was(seconds: float, shown: str) -> None:
    assert text.ago(seconds) == shown


@pytest.mark.parametrize(
    ("number", "shown"), [(0, "0 files"), (1, "1 file"), (12, "12 files"), (200_000, "200,000 files")]
)
def test_things_are_counted_in_words(number: int, shown: str) -> None:
    assert text.count(number, "file") == shown


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("24h", timedelta(hours=24)),
        ("7d", timedelta(days=7)),
        (" 7d ", timedelta(days=7)),
        ("0s", timedelta(0)),
        ("36500d", timedelta(days=36_500)),
    ],
)
def test_a_written_duration_is_understood(written: str, meant: timedelta) -> None:
    assert text.parse_duration(written) == meant


@pytest.mark.parametrize(
    "written",
    [
        "",
        " ",
        "7",
        "d",
        "7 d",
        "7w",
        "7D",
        "-7d",
        "+7d",
        "1.5h",
        "1e3s",
        "7dd",
        "7_0d",
        "\N{ARABIC-INDIC DIGIT SEVEN}d",
        "\N{SUPERSCRIPT TWO}d",
        "nan",
        "9" * 5000 + "d",
    ],
)
def test_a_duration_that_is_none_is_refused_with_what_is_allowed(written: str) -> None:
    with pytest.raises(ValueError, match="allowed: a whole number and s, m, h or d"):
        text.parse_duration(written)


@pytest.mark.parametrize("written", ["36501d", "999999999999999s"])
def test_a_duration_no_date_can_hold_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="too long; allowed: at most 36500d"):
        text.parse_duration(written)


def test_the_longest_duration_added_to_a_date_is_still_a_date() -> None:
    longest = text.parse_duration("36500d")
    today = datetime(2026, 4, 17, tzinfo=UTC)
    assert today - longest < today < today + longest


@pytest.mark.parametrize(
    ("written", "byte_count"),
    [
        ("500MiB", 500 * 1024**2),
        ("500mib", 500 * 1024**2),
        ("2 TB", 2_000_000_000_000),
        ("1kB", 1000),
        ("1KiB", 1024),
        ("100B", 100),
        ("0B", 0),
    ],
)
def test_a_written_size_is_understood(written: str, byte_count: int) -> None:
    assert text.parse_size(written) == byte_count


@pytest.mark.parametrize(
    "written",
    ["", "500", "500M", "MiB", "-1MiB", "1.5GiB", "1e3B", "\N{ARABIC-INDIC DIGIT THREE}MiB", "5 0B", "9" * 5000 + "B"],
)
def test_a_size_that_is_none_is_refused_with_what_is_allowed(written: str) -> None:
    with pytest.raises(ValueError, match="allowed: a whole number and one of B, KiB"):
        text.parse_size(written)


def test_a_refusal_shows_what_was_written_escaped() -> None:
    with pytest.raises(ValueError, match=r"^'\\x1b\[31m7d' is not"):
        text.parse_duration("\x1b[31m7d")


def test_loading_the_cheap_rooms_loads_none_of_the_heavy_ones() -> None:
    program = (
        "import sys, exlab_orch.text, exlab_orch.checksums\n"
        "heavy = {'pydantic', 'rich', 'asyncio', 'hashlib', 'json', 'subprocess', 'sqlite3'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize(
    "path", ["A/P/Runs/Run_1", "it's a [name]; rm *", "back\\slash", "esc\x1b[31m'\n\u202ex", "\udcff\udcfe9"]
)
def test_a_path_that_is_pasted_into_bash_is_the_same_path_again(path: str) -> None:
    printed = subprocess.run(
        ["bash", "-c", f"printf %s {text.pasted(path)}"], env={"LC_ALL": "C.UTF-8"}, capture_output=True, check=True
    )
    assert printed.stdout == os.fsencode(path)
    assert text.pasted(path).isprintable()
