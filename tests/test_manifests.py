"""Manifests come from outside: what is promised is read exactly, and what is wrong is refused in words."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from exlab_orch import manifests
from exlab_orch.checksums import format_list
from exlab_orch.manifests import ManifestFile, ManifestInvalid

A = "a" * 64


def as_json(*files: object, **more: object) -> bytes:
    return json.dumps({"files": list(files), **more}).encode()


def one(path: object, size: object = 1, **more: object) -> dict[str, object]:
    return {"path": path, "size": size, **more}


def names(content: bytes, name: bytes = b"") -> list[bytes]:
    return [file.name for file in manifests.parse(content, name=name)]


def refusal(content: bytes, name: bytes = b"") -> str:
    with pytest.raises(ManifestInvalid) as caught:
        manifests.parse(content, name=name)
    reason = str(caught.value)
    assert reason.isprintable()
    assert len(reason) < 400
    return reason


def test_the_json_form_gives_names_sizes_and_hashes_in_its_order() -> None:
    content = as_json(one("data/b.tif", 2**63 - 1, sha256="AB" * 32), one("a.tif", 0), one("Ü 細.txt", 3, sha256=None))
    assert manifests.parse(content) == (
        ManifestFile(b"data/b.tif", 2**63 - 1, "ab" * 32),
        ManifestFile(b"a.tif", 0, None),
        ManifestFile("Ü 細.txt".encode(), 3, None),
    )


def test_the_text_form_gives_names_and_hashes_without_sizes() -> None:
    content = f"{A}  data/b.tif\n{A} *a.tif\n".encode()
    assert manifests.parse(content) == (ManifestFile(b"data/b.tif", None, A), ManifestFile(b"a.tif", None, A))


def test_keys_that_mean_nothing_to_us_are_ignored() -> None:
    content = as_json(
        one("a", 1, mtime=1.5, tags=["x", {"deep": [None, True]}]), version=3, gain=float("nan"), count=10**400
    )
    assert manifests.parse(content) == (ManifestFile(b"a", 1, None),)


def test_a_list_of_nested_names_that_the_real_sha256sum_wrote_is_read(tmp_path: Path) -> None:
    odd = [b"a\nb", b"back\\slash", b"caf\xe9", b"-dash", b"sub/ x ", b"50%25"]
    for name in odd:
        path = os.path.join(os.fsencode(tmp_path), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(name)
    written = subprocess.run(["sha256sum", "--", *odd], cwd=tmp_path, capture_output=True, check=True).stdout
    assert manifests.parse(written, name=b"list.txt") == tuple(
        ManifestFile(name, None, hashlib.sha256(name).hexdigest()) for name in odd
    )


# -- encodings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_both_forms_are_read_in_every_encoding_that_says_what_it_is(encoding: str) -> None:
    for written in (f'\n {{"files": [{{"path": "Ü.tif", "size": 1, "sha256": "{A}"}}]}}\r\n', f"{A}  Ü.tif\r\n"):
        assert names(written.encode(encoding)) == ["Ü.tif".encode()]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_other_encodings_are_refused_and_utf_8_is_asked_for(encoding: str) -> None:
    assert "UTF-8" in refusal(as_json(one("a")).decode().encode(encoding))


def test_utf_16_that_breaks_off_is_refused() -> None:
    assert "UTF-16" in refusal(as_json(one("a")).decode().encode("utf-16")[:-1])


def test_json_in_an_older_encoding_is_refused_with_the_byte() -> None:
    assert refusal('{"files": [{"path": "ü"}]}'.encode("latin-1")) == "it is not UTF-8 at byte 21"


def test_a_byte_that_is_not_utf_8_may_stand_in_json_as_python_writes_it() -> None:
    assert names(as_json(one(os.fsdecode(b"caf\xe9.tif")))) == [b"caf\xe9.tif"]


def test_two_spellings_of_the_same_bytes_are_the_same_file() -> None:
    assert "is listed twice" in refusal(as_json(one("é"), one("\udcc3\udca9")))


@pytest.mark.parametrize("path", ["\\ud800", "\\udfff", "\\udc00", "\\ude00x"])
def test_a_lone_surrogate_is_refused(path: str) -> None:
    assert "lone surrogate" in refusal(f'{{"files": [{{"path": "{path}", "size": 1}}]}}'.encode())


def test_a_surrogate_pair_is_one_character() -> None:
    assert names(b'{"files": [{"path": "\\ud83d\\ude00", "size": 1}]}') == ["\U0001f600".encode()]


# -- what is no manifest -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b" \r\n\t", "it is empty"),
        (b"\xef\xbb\xbf", "it is empty"),
        (b"\xff\xfe", "it is empty"),
        (b"\x00" * 4096, "it holds NUL bytes"),
        (b"{}", "it holds no list of files"),
        (b"[]", "it holds no list of files"),
        (b'[{"path": "a", "size": 1}]', "it holds no list of files"),
        (b'{"files": {"a": 1}}', "it holds no list of files"),
        (b'{"files": "a"}', "it holds no list of files"),
        (b'{"files": null}', "it holds no list of files"),
        (b'{"Files": [{"path": "a", "size": 1}]}', "it holds no list of files"),
        (b'{"files": []}', "it lists no files"),
        (b"# a comment alone\n", "it lists no files"),
        (b'{"files": [', "it breaks off in the middle"),
        (b'{"files": [{"path": "a', "it breaks off in the middle"),
        (b'{"files": [{"path": "a", "size": 1}]} x', "it is not valid JSON at line 1, column 39: Extra data"),
        (b'{"files": [{"path": "a" "size": 1}]}', "it is not valid JSON at line 1, column 25"),
        (b'{"files": [{"path": "data\\a.tif"}]}', "a backslash in a JSON text is written twice"),
        (b'{"files": [{"path": "a\nb"}]}', "it is not valid JSON at line 1"),
        (b'{"files": [], "files": [{"path": "a", "size": 1}]}', "has the key 'files' twice"),
        (b'{"files": [{"path": "a", "size": 1, "size": 2}]}', "has the key 'size' twice"),
        (b'{"files": [{"path": "a", "size": 1}], "x": {"\\u001b": 1, "\\u001b": 2}}', r"has the key '\x1b' twice"),
        (b'"files"', "it is not JSON, and as a list of checksums its line 1 is not"),
        (b"<html>", "it is not JSON, and as a list of checksums its line 1 is not"),
        (f"{A}  a\nd41d8cd98f00b204e9800998ecf8427e  b\n".encode(), "its line 2 is not a SHA-256"),
        (b"3f" * 16, "its line 1 is not a SHA-256"),
    ],
)
def test_what_is_no_manifest_is_refused_with_a_reason(content: bytes, reason: str) -> None:
    assert reason in refusal(content)


def test_every_beginning_of_a_manifest_is_refused_as_broken_off() -> None:
    whole = as_json(one("data/a.tif", 12, sha256=A), version="1")
    for length in range(1, len(whole)):
        assert refusal(whole[:length])


# -- entries -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("a.tif", "file 2 of the manifest is no object with 'path' and 'size'"),
        (None, "file 2 of the manifest is no object"),
        (["a", 1], "file 2 of the manifest is no object"),
        ({"size": 1}, "file 2 of the manifest has no 'path' that is text"),
        (one(None), "file 2 of the manifest has no 'path' that is text"),
        (one(7), "file 2 of the manifest has no 'path' that is text"),
        (one(["a"]), "file 2 of the manifest has no 'path' that is text"),
        ({"path": "a"}, "file 2 of the manifest, 'a', has no size"),
        (one("a", None), "file 2 of the manifest, 'a', has no size"),
        (one("a", -1), "file 2 of the manifest, 'a', has a negative size"),
        (one("a", -(10**20)), "file 2 of the manifest, 'a', has a negative size"),
        (one("a", True), "has a size that is not a whole number of bytes"),
        (one("a", False), "has a size that is not a whole number of bytes"),
        (one("a", 12.0), "has a size that is not a whole number of bytes"),
        (one("a", 1e400), "has a size that is not a whole number of bytes"),
        (one("a", float("nan")), "has a size that is not a whole number of bytes"),
        (one("a", float("-inf")), "has a size that is not a whole number of bytes"),
        (one("a", "12"), "has a size that is not a whole number of bytes"),
        (one("a", [1]), "has a size that is not a whole number of bytes"),
        (one("a", {"path": "b"}), "has a size that is not a whole number of bytes"),
        (one("a", 2**63), "has a size that no file can have"),
        (one("a", 10**30), "has a size that no file can have"),
        (one("a", sha256=""), "has a sha256 that is not 64 hexadecimal digits"),
        (one("a", sha256=A[1:]), "has a sha256 that is not 64 hexadecimal digits"),
        (one("a", sha256=f"{A}\n"), "has a sha256 that is not 64 hexadecimal digits"),
        (one("a", sha256="g" * 64), "has a sha256 that is not 64 hexadecimal digits"),
        (one("a", sha256="\N{FULLWIDTH DIGIT ONE}" * 64), "has a sha256 that is not 64 hexadecimal digits"),
        (one("a", sha256=0), "has a sha256 that is not 64 hexadecimal digits"),
        (one("../x"), "file 2 of the manifest, '../x', points outside the run"),
        (one("a/../../x"), "'a/../../x', points outside the run"),
        (one("a/.."), "'a/..', points outside the run"),
        (one("/etc/passwd"), "'/etc/passwd', is an absolute path"),
        (one("C:/data/a.tif"), "'C:/data/a.tif', is an absolute path"),
        (one(""), "file 2 of the manifest, '', is empty"),
        (one("."), "'.', names a folder"),
        (one("data/"), "'data/', names a folder"),
        (one("data//a"), "'data//a', holds an empty segment"),
        (one("a\x00b"), r"'a\x00b', holds a NUL byte"),
        (one("x" * 256), "holds a segment longer than 255 bytes"),
        (one("\x1b[31m/../x"), r"'\x1b[31m/../x', points outside the run"),
        (one("first.tif", 2), "file 2 of the manifest, 'first.tif', is listed twice"),
        (one("./first.tif"), "file 2 of the manifest, './first.tif', is listed twice"),
        (one("././first.tif"), "is listed twice"),
        (one(".exlab-wizard/ingest.json"), "is a file that exlab-orch itself writes"),
        (one("./.exlab-wizard/./checksums.sha256"), "is a file that exlab-orch itself writes"),
    ],
)
def test_an_entry_that_cannot_be_trusted_makes_the_manifest_invalid(entry: object, reason: str) -> None:
    content = json.dumps({"files": [one("first.tif"), entry]}).encode()
    assert reason in refusal(content)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("../x", "line 3 of the manifest, '../x', points outside the run"),
        ("/x", "line 3 of the manifest, '/x', is an absolute path"),
        ("", "line 3 of the manifest, '', is empty"),
        ("./first", "line 3 of the manifest, './first', is listed twice"),
        (".exlab-wizard/ingest.json", "is a file that exlab-orch itself writes"),
    ],
)
def test_a_line_that_cannot_be_trusted_makes_the_manifest_invalid(line: str, reason: str) -> None:
    assert reason in refusal(f"# two lines\n{A}  first\n{A}  {line}\n".encode())


@pytest.mark.parametrize(
    "path",
    [
        "...",
        "a/..b",
        ".exlab-wizard/creation.json",
        "sub/.exlab-wizard/ingest.json",
        "ingest.json",
        "[bold]",
        "-x",
        "a ",
    ],
)
def test_names_that_only_look_dangerous_are_accepted(path: str) -> None:
    assert names(as_json(one(path))) == [path.encode()]


# -- the manifest itself, BagIt, Windows ---------------------------------------------------------------------


def test_a_manifest_that_lists_itself_is_read_without_that_entry() -> None:
    empty = hashlib.sha256(b"").hexdigest()
    assert names(f"{A}  a\n{empty}  ./sums.txt\n".encode(), name=b"sums.txt") == [b"a"]
    assert names(as_json(one("a"), one("meta/m.json", 0)), name=b"meta/m.json") == [b"a"]


def test_a_manifest_that_lists_nothing_but_itself_lists_no_files() -> None:
    assert refusal(as_json(one("manifest.json", 0)), name=b"manifest.json") == "it lists no files"


def test_another_file_of_the_manifests_name_in_a_folder_is_a_file() -> None:
    assert names(as_json(one("sub/manifest.json")), name=b"manifest.json") == [b"sub/manifest.json"]


def test_a_bagit_manifest_is_read_by_its_name_and_any_other_list_is_not() -> None:
    content = f"{A} data/50%25%0Aa\n".encode()
    for name in (b"manifest-sha256.txt", b"bag/Manifest-SHA256.txt"):
        assert names(content, name=name) == [b"data/50%\na"]
    assert names(content.replace(b" data", b"  data"), name=b"list.txt") == [b"data/50%25%0Aa"]


def test_a_bagit_escape_cannot_smuggle_a_way_out() -> None:
    assert "points outside the run" in refusal(f"{A}  data/..%0A/../../x".encode(), b"manifest-sha256.txt")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (["data\\a.tif", "readme.txt"], [b"data/a.tif", b"readme.txt"]),
        (["data\\deep\\a.tif", ".\\b.tif"], [b"data/deep/a.tif", b"b.tif"]),
        (["data/a.tif", "odd\\name"], [b"data/a.tif", b"odd\\name"]),
        (["data/sub\\a.tif"], [b"data/sub\\a.tif"]),
    ],
)
def test_a_backslash_separates_only_where_no_name_has_a_slash(written: list[str], meant: list[bytes]) -> None:
    assert names(as_json(*map(one, written))) == meant
    assert names("".join(f"{A} *{name}\r\n" for name in written).encode()) == meant


def test_a_backslash_in_a_list_with_gnu_escapes_is_a_letter() -> None:
    assert names(format_list({b"odd\\name": A, b"plain": A})) == [b"odd\\name", b"plain"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("..\\x", "points outside the run"),
        ("a\\..\\..\\x", "points outside the run"),
        ("\\x", "is an absolute path"),
        ("\\\\server\\share\\x", "is an absolute path"),
        ("C:\\data\\x", "is an absolute path"),
        ("c:\\x", "is an absolute path"),
        ("data\\", "names a folder"),
        (".exlab-wizard\\ingest.json", "is a file that exlab-orch itself writes"),
        ("a\\\\b", "holds an empty segment"),
    ],
)
def test_windows_names_keep_to_the_same_rules(path: str, reason: str) -> None:
    assert reason in refusal(as_json(one(path)))


def test_the_same_file_with_and_without_a_leading_dot_is_listed_twice_on_windows_too() -> None:
    assert "is listed twice" in refusal(as_json(one("data\\a"), one(".\\data\\a")))


# -- bounds --------------------------------------------------------------------------------------------------


def test_a_manifest_is_refused_by_its_size_before_it_is_looked_at() -> None:
    with pytest.raises(ManifestInvalid, match=r"^it holds 67,108,865 bytes, and no more than 67,108,864 are read$"):
        manifests.check_size(manifests.MAX_BYTES + 1)
    with pytest.raises(ManifestInvalid, match="it holds 11 bytes"):
        manifests.parse(b"no manifest", max_bytes=10)


def test_a_manifest_of_the_largest_size_is_looked_at() -> None:
    manifests.check_size(manifests.MAX_BYTES)
    content = as_json(one("a"))
    assert manifests.parse(content, max_bytes=len(content))


@pytest.mark.parametrize("content", [as_json(one("a"), one("b")), f"{A}  a\n{A}  b\n".encode()])
def test_a_manifest_of_too_many_files_is_refused(content: bytes) -> None:
    assert len(manifests.parse(content, max_files=2)) == 2
    with pytest.raises(ManifestInvalid, match="it lists 2 files, and no more than 1 are accepted"):
        manifests.parse(content, max_files=1)


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"files":' * 100_000, b"[" * 100_000 + b"]" * 100_000])
def test_a_hundred_thousand_levels_are_refused(content: bytes) -> None:
    assert refusal(content) == "it is nested too deeply"


def test_millions_of_empty_lists_are_refused_before_they_take_memory() -> None:
    assert refusal(b'{"files":[' + b"[]," * 1_300_000 + b"[]]}") == "it holds more than 2,500,000 values"


@pytest.mark.parametrize("sign", ["", "-"])
def test_a_number_of_five_thousand_digits_is_refused(sign: str) -> None:
    assert "size" in refusal(f'{{"files": [{{"path": "a", "size": {sign}{"9" * 5000}}}]}}'.encode())


def test_a_number_of_five_thousand_digits_that_means_nothing_to_us_is_ignored() -> None:
    assert names(b'{"n": ' + b"9" * 5000 + b', "files": [{"path": "a", "size": 1}]}') == [b"a"]


def test_a_name_of_a_million_segments_is_refused_in_a_short_sentence() -> None:
    assert "is longer than any path can be" in refusal(as_json(one("a/" * 1_000_000 + "a")))
