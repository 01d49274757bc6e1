"""Which names each kind of NAS holds as they are."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from exlab_orch.errors import RENAME, ExlabError, NameUnsupported, from_nas, from_staging
from exlab_orch.model import Identity, Listing
from exlab_orch.transports.names import Kind, part_name, refuse_names, refuse_other_spelling
from exlab_orch.transports.rsync_commands import refuse_patterns
from exlab_orch.transports.tool_errors import error_of

RUN = "FLOW_01/PROJ-1/Runs/Run_1"
SOME = Identity(0, 0, 0, 0)


def refused(names: list[bytes], kind: Kind, *, rewritten: bool = False, run: str = RUN) -> set[bytes]:
    try:
        refuse_names(run, Listing(dict.fromkeys(names, SOME), {}), kind, rewritten=rewritten)
    except NameUnsupported as error:
        return set(error.files)
    return set()


@pytest.mark.parametrize("name", ["a:b", "what?", "x*", 'q"', "<a>", "p|p", "back\\slash", "end.", "end ", " front"])
def test_windows_would_change_such_a_name_and_posix_keeps_it(name: str) -> None:
    assert refused([f"sub/{name}/c".encode()], "windows") == {f"sub/{name}/c".encode()}
    assert refused([name.encode()], "posix") == set()


@pytest.mark.parametrize("name", ["con", "CON", "Aux.txt", "nul", "COM1", "lpt9.dat", "con.tar.gz"])
def test_windows_reserves_such_a_name(name: str) -> None:
    assert refused([name.encode()], "windows") == {name.encode()}
    assert refused([f"{name}x".encode() if "." not in name else f"x{name}".encode()], "windows") == set()


@pytest.mark.parametrize("pair", [("Case", "case"), ("é", "e\u0301"), ("STRASSE", "straße")])
def test_names_that_differ_by_case_or_accents_only_would_be_merged(pair: tuple[str, str]) -> None:
    names = [name.encode() for name in pair]
    assert refused(names, "windows") == set(names)
    assert refused(names, "posix") == refused(names, "s3") == set()
    assert refused([b"one/" + names[0], b"two/" + names[1]], "windows") == set()


@pytest.mark.parametrize(
    "name", [b"new\nline", b"esc\x1b", b"del\x7f", "\u2424\u241b".encode(), "quote\u201b".encode()]
)
def test_what_rclone_would_rewrite_is_refused_for_it_alone(name: bytes) -> None:
    assert refused([name], "posix", rewritten=True) == {name}
    assert refused([name], "posix") == set()


def test_bytes_that_are_no_text_go_only_where_names_are_bytes() -> None:
    name = b"caf\xe9"
    assert refused([name], "posix") == set()
    assert refused([name], "posix", rewritten=True) == refused([name], "s3") == refused([name], "windows") == {name}


def test_too_long_is_too_long() -> None:
    assert refused([b"x" * 256], "posix") == {b"x" * 256}
    deep = b"/".join([b"x" * 200] * 5)
    assert refused([deep], "s3") == {deep}
    assert refused([deep], "posix") == set()


def test_the_folders_of_the_run_itself_are_judged_too() -> None:
    run = "FLOW_01/AUX/Runs/Run_1"
    assert refused([b"a"], "windows", run=run) == {run.encode()}


def test_every_name_is_listed_and_the_first_is_told_with_its_reason() -> None:
    with pytest.raises(NameUnsupported, match=r"2 names .* a:b: Windows and SMB do not keep"):
        refuse_names(RUN, Listing({b"a:b": SOME, b"fine": SOME}, {b"c?": SOME}), "windows")


def test_another_spelling_on_a_nas_that_ignores_case_is_refused() -> None:
    there = {"": ["FLOW_01"], "FLOW_01": ["proj-1"]}
    with pytest.raises(NameUnsupported, match="like name"):
        refuse_other_spelling(RUN, there.get)
    refuse_other_spelling(RUN, {"": ["FLOW_01"], "FLOW_01": ["PROJ-1", "proj-1"]}.get)
    refuse_other_spelling(RUN, lambda _: None)


def test_the_hidden_folder_has_a_name_that_fits() -> None:
    assert part_name("Run_1") == ".exlab-part-Run_1"
    assert len(part_name("R" * 255)) < 60


def raised(call: Callable[[], object]) -> ExlabError:
    with pytest.raises(NameUnsupported) as found:
        call()
    return found.value


def test_whoever_refuses_a_name_says_the_same_of_where_to_rename() -> None:
    listing = Listing({b"a:b": SOME}, {})
    refusals = [
        raised(lambda: refuse_names(RUN, listing, "windows")),
        raised(lambda: refuse_other_spelling(RUN, lambda _folder: ("flow_01",))),
        raised(lambda: refuse_patterns("FLOW_01/P*/Runs/Run_1")),
        from_nas(OSError(errno.EINVAL, "Invalid argument"), "copying"),
        from_staging(OSError(errno.ENAMETOOLONG, "File name too long"), "walking"),
        error_of("rclone", ["file name too long"], "copying"),
    ]
    assert {type(one) for one in refusals} == {NameUnsupported}
    assert [one.hint for one in refusals if RENAME not in one.hint] == []
    assert "on the instrument and in staging alike" in RENAME
