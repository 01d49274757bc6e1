"""What rclone prints is read strictly: what cannot be understood is never taken for a listing."""

from __future__ import annotations

import json

import pytest

from exlab_orch.model import Identity
from exlab_orch.space import Space
from exlab_orch.transports import rclone_output as told

FILE = '{"Path":"a b/c.fcs","Name":"c.fcs","Size":3,"ModTime":"2026-11-23T04:12:27.814560580Z","IsDir":false}'
FOLDER = '{"Path":"a b","Name":"a b","Size":-1,"ModTime":"2026-11-23T05:12:28+01:00","IsDir":true}'


def entries(output: bytes, piece: int = 7) -> list[told.Entry]:
    """What is read from an output that comes in small pieces."""
    reader = told.Entries()
    for start in range(0, len(output), piece):
        assert reader.take(output[start : start + piece])
    return reader.whole()


def test_a_listing_gives_names_sizes_and_times_to_the_nanosecond() -> None:
    found = entries((f"[\n{FILE},\n{FOLDER}\n]\n").encode())
    seconds = 1_795_407_147
    assert found == [
        told.Entry(b"a b/c.fcs", Identity(0, 3, seconds * 10**9 + 814_560_580, 0), is_folder=False),
        told.Entry(b"a b", Identity(0, 0, (seconds + 1) * 10**9, 0), is_folder=True),
    ]


@pytest.mark.parametrize("output", ["[\n]\n", "[]", "null"])
def test_an_empty_listing_is_one(output: str) -> None:
    assert entries(output.encode()) == []


@pytest.mark.parametrize(
    "output",
    [
        "",
        "[",
        f"[\n{FILE},\n",
        f"[\n{FILE[:-5]}\n]\n",
        f"[\n{FILE.replace('3', '-1', 1)}\n]",
        f"[\n{FILE.replace('2026-11-23T', 'yesterday ')}\n]",
        "[\n5\n]",
        '[\n{"Path": 5, "Size": 1, "ModTime": "x"}\n]',
        "directory not found",
        "[" * 100_000,
    ],
)
def test_what_is_cut_off_or_strange_is_no_listing(output: str) -> None:
    with pytest.raises(told.Garbage):
        entries(output.encode())


def test_hashes_are_read_by_name_and_what_is_none_is_left_out() -> None:
    one, two = "0" * 64, "f" * 64
    output = f"{one}  a b.fcs\n{two}  sub/ c\nERROR  d\n{'0' * 40}  sha1\n  e\n"
    assert told.hashes(output.encode()) == {b"a b.fcs": one, b"sub/ c": two}


def test_progress_is_counted_once_and_errors_are_kept() -> None:
    seen: list[int] = []
    follower = told.Follower(seen.append)
    stats = [json.dumps({"level": "notice", "stats": {"bytes": done}}) for done in (0, 5, 5, 12)]
    assert [follower.take(line.encode()) for line in stats] == [False, True, False, True]
    follower.take(b'{"level":"error","msg":"Failed to copy: no space left on device","object":"a.fcs"}')
    follower.take(b"panic: something")
    assert seen == [5, 7]
    assert list(follower.errors) == ["a.fcs Failed to copy: no space left on device", "panic: something"]


@pytest.mark.parametrize(
    ("output", "found"),
    [(b"rclone v1.60.1-DEV\n- os", (1, 60)), (b"rclone v2.0.0\n", (2, 0)), (b"what?", None), (b"", None)],
)
def test_the_version_is_read(output: bytes, found: tuple[int, int] | None) -> None:
    assert told.version(output) == found


def test_the_type_of_a_remote_is_found_by_its_whole_name() -> None:
    output = b"lab:      sftp   \nlab-s3:   s3\n"
    assert (told.kind_of(output, "lab"), told.kind_of(output, "lab-s3"), told.kind_of(output, "la")) == (
        "sftp",
        "s3",
        None,
    )


def test_features_are_taken_for_missing_unless_they_are_told() -> None:
    known = {"Features": {"Move": True, "CanHaveEmptyDirectories": True, "CaseInsensitive": False}}
    assert told.features(json.dumps(known).encode()) == told.Features(True, True, False, False)
    with pytest.raises(told.Garbage):
        told.features(b"{}")


def test_space_needs_both_numbers() -> None:
    assert told.space(b'{"total": 10, "free": 4}') == Space(10, 4)
    assert told.space(b'{"used": 4}') is None
