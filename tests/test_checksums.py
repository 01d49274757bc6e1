"""Lists of checksums: read in both forms, written so that sha256sum takes them, compared."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from exlab_orch import checksums

A, B = "a" * 64, "0123456789abcdef" * 4

ODD_NAMES = [
    b"plain.tif",
    b"data/deep/er/image 1.tif",
    b" leading and trailing space ",
    b"new\nline",
    b"ends with newline\n",
    b"\n",
    b"carriage\rreturn",
    b"ends with return\r",
    b"back\\slash",
    b"ends with backslash\\",
    b"\\n is not a newline",
    b"\\",
    b"-",
    b"-leading dash",
    b"--check",
    b"*star",
    b"#comment",
    b"[bold]red[/bold]",
    b"%0A%25",
    b"tab\tinside",
    b"caf\xe9 latin-1",
    b"\xff\xfe",
    "Überstand 細胞 \u202e".encode(),
    b"\x1b[31m",
    b"a  b *c",
    b"SHA256 (x) = y",
    b".hidden",
    b"..two dots",
    b"x" * 255,
]


def listed(content: bytes) -> dict[bytes, str]:
    return checksums.parse(content)


@pytest.fixture
def folder_of_odd_names(tmp_path: Path) -> tuple[bytes, dict[bytes, str]]:
    """A folder with a file of every odd name, and what each holds as SHA-256."""
    folder = os.fsencode(tmp_path / "run")
    hashes = {}
    for name in ODD_NAMES:
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"content of " + name)
        hashes[name] = hashlib.sha256(b"content of " + name).hexdigest()
    return folder, hashes


def sha256sum(*arguments: str | bytes, folder: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["sha256sum", *arguments], cwd=folder, capture_output=True, check=False, stdin=subprocess.DEVNULL
    )


def test_the_real_sha256sum_accepts_what_is_written(folder_of_odd_names: tuple[bytes, dict[bytes, str]]) -> None:
    folder, hashes = folder_of_odd_names
    Path(os.fsdecode(folder), "list").write_bytes(checksums.format_list(hashes))
    done = sha256sum("--check", "--strict", "list", folder=folder)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b": OK\n") == len(ODD_NAMES)


def test_the_real_sha256sum_refuses_a_list_with_one_other_hash(
    folder_of_odd_names: tuple[bytes, dict[bytes, str]],
) -> None:
    folder, hashes = folder_of_odd_names
    Path(os.fsdecode(folder), "list").write_bytes(checksums.format_list({**hashes, b"new\nline": A}))
    assert sha256sum("--check", "--strict", "--quiet", "list", folder=folder).returncode == 1


@pytest.mark.parametrize("mode", ["--text", "--binary"])
def test_what_the_real_sha256sum_writes_is_read(mode: str, folder_of_odd_names: tuple[bytes, dict[bytes, str]]) -> None:
    folder, hashes = folder_of_odd_names
    names = [name for name in hashes if name != b"-"]
    written = sha256sum(mode, "--", *names, folder=folder).stdout
    assert listed(written) == {name: hashes[name] for name in names}


def test_what_is_written_is_read_back_the_same() -> None:
    hashes = {name: hashlib.sha256(name).hexdigest() for name in ODD_NAMES}
    assert listed(checksums.format_list(hashes)) == hashes


def test_a_list_is_sorted_by_the_bytes_of_the_names() -> None:
    names = [b"b", b"a/b", b"a", b"B", b"\xff", b"a b", "é".encode()]
    written = checksums.format_list(dict.fromkeys(names, A))
    assert [line.name for line in checksums.lines(written)] == sorted(names)


def test_a_list_is_in_gnu_form_byte_for_byte() -> None:
    written = checksums.format_list({b"data/b.tif": B, b"a\nb": A, b"-": A})
    assert written == b"%s  ./-\n\\%s  a\\nb\n%s  data/b.tif\n" % (A.encode(), A.encode(), B.encode())


def test_an_empty_list_is_no_bytes_and_back() -> None:
    assert checksums.format_list({}) == b""
    assert listed(b"") == {}


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"%s  a\n" % A.encode(), [b"a"]),
        (b"%s *a\n" % A.encode(), [b"a"]),
        (b"%s  a" % A.encode(), [b"a"]),
        (b"%s  a\r\n%s  b\r\n" % (A.encode(), A.encode()), [b"a", b"b"]),
        (b"# made by x\n\n%s  a\n\n" % A.encode(), [b"a"]),
        (b"%s   a\n" % A.encode(), [b" a"]),
        (b"%s  **a\n" % A.encode(), [b"**a"]),
        (b"%s  ./a/./b\n" % A.encode(), [b"a/b"]),
        (b"%s  a\\nb\n" % A.encode(), [b"a\\nb"]),
        (b"\\%s  a\\\\nb\n" % A.encode(), [b"a\\nb"]),
        (b"\\%s  a\\\\\\nb\n" % A.encode(), [b"a\\\nb"]),
        (b"%s  a%%0Ab\n" % A.encode(), [b"a%0Ab"]),
    ],
)
def test_the_gnu_form_is_read(content: bytes, names: list[bytes]) -> None:
    assert list(listed(content)) == names


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b" data/a.tif", b"data/a.tif"),
        (b"  data/a.tif", b"data/a.tif"),
        (b" \t  data/a.tif", b"data/a.tif"),
        (b"\tdata/a.tif", b"data/a.tif"),
        (b" *data/a.tif", b"data/a.tif"),
        (b"  *a.tif", b"*a.tif"),
        (b"  data/a%0Ab", b"data/a\nb"),
        (b"  data/a%0ab", b"data/a\nb"),
        (b"  data/a%0D", b"data/a\r"),
        (b"  data/50%25", b"data/50%"),
        (b"  data/%250A", b"data/%0A"),
        (b"  data/%41%", b"data/%41%"),
        (b"  data/back\\slash", b"data/back\\slash"),
    ],
)
def test_the_bagit_form_is_read(line: bytes, name: bytes) -> None:
    assert checksums.parse(A.encode() + line + b"\n", bagit=True) == {name: A}


def test_a_line_escaped_the_gnu_way_is_read_so_in_a_bagit_list_too() -> None:
    assert checksums.parse(b"\\%s  a\\n%%0A\n" % A.encode(), bagit=True) == {b"a\n%0A": A}


def test_hashes_are_given_in_lower_case() -> None:
    assert listed(b"%s  a\n" % B.upper().encode()) == {b"a": B}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"nonsense", "line 2 is not a SHA-256"),
        (b"a" * 64, "line 2 is not a SHA-256"),
        (b"a" * 63 + b"  a", "line 2 is not a SHA-256"),
        (b"a" * 65 + b"  a", "line 2 is not a SHA-256"),
        (b"g" * 64 + b"  a", "line 2 is not a SHA-256"),
        (b"a" * 32 + b"  md5 of a", "line 2 is not a SHA-256"),
        (b"a" * 64 + b" a", "line 2 is not a SHA-256"),
        (b"a" * 64 + b"\ta", "line 2 is not a SHA-256"),
        (b" " + b"a" * 64 + b"  a", "line 2 is not a SHA-256"),
        (b"\\\\" + b"a" * 64 + b"  a", "line 2 is not a SHA-256"),
        (b"a" * 64 + b"  ", "line 2, '', is empty"),
        (b"\\" + b"a" * 64 + b"  a\\x", "line 2 holds a backslash escape other than"),
        (b"\\" + b"a" * 64 + b"  a\\", "line 2 holds a backslash escape other than"),
        (b"a" * 64 + b"  /etc/passwd", "line 2, '/etc/passwd', is an absolute path"),
        (b"a" * 64 + b"  //x", "line 2, '//x', is an absolute path"),
        (b"a" * 64 + b"  ..", "line 2, '..', points outside the run"),
        (b"a" * 64 + b"  a/../b", "line 2, 'a/../b', points outside the run"),
        (b"a" * 64 + b"  a/..", "line 2, 'a/..', points outside the run"),
        (b"a" * 64 + b"  .", "line 2, '.', names a folder"),
        (b"a" * 64 + b"  ./", "line 2, './', names a folder"),
        (b"a" * 64 + b"  a/.", "line 2, 'a/.', names a folder"),
        (b"a" * 64 + b"  a/", "line 2, 'a/', names a folder"),
        (b"a" * 64 + b"  a//b", "line 2, 'a//b', holds an empty segment"),
        (b"a" * 64 + b"  a\0b", r"line 2, 'a\x00b', holds a NUL byte"),
        (b"a" * 64 + b"  first", "line 2, 'first', names a file that an earlier line names"),
        (b"a" * 64 + b"  ./first", "line 2, './first', names a file that an earlier line names"),
        (b"a" * 64 + b"  " + b"x" * 256, "longer than 255 bytes"),
        (b"a" * 64 + b"  " + b"x/" * 600_000 + b"x", "longer than any path"),
        (b"a" * 64 + b"  ../\x1b[31m\xff", r"line 2, '../\x1b[31m\xff', points outside the run"),
    ],
)
def test_a_bad_line_is_refused_with_its_number_and_the_reason(line: bytes, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        listed(b"%s  first\n%s\n" % (A.encode(), line))
    assert reason in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_names_that_only_look_like_a_way_out_are_names() -> None:
    names = [b"...", b"..a", b"a..", b"a/...", b"..\\a", b".a", b" .."]
    assert sorted(listed(checksums.format_list(dict.fromkeys(names, A)))) == sorted(names)


def test_a_deep_name_is_read() -> None:
    name = b"/".join([b"x" * 255] * 300)
    assert listed(checksums.format_list({name: A})) == {name: A}


def test_the_sha256_of_nothing_is_the_known_one() -> None:
    assert checksums.sha256_of(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
