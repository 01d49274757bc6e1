"""What rclone may be asked: never to delete or overwrite what was published, never to take the staged copy away."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exlab_orch.transports import rclone_commands as ask
from exlab_orch.transports.rclone_commands import Remote

RUN = Remote("lab", "archive/FLOW_01/PROJ-1/Runs/Run_1")
HIDDEN = Remote("lab", "archive/FLOW_01/PROJ-1/Runs").hidden_folder(".exlab-part-Run_1")
ASIDE = RUN.below(".exlab-wizard/superseded/2026-01-01T00-00-00Z/a.fcs")
FORBIDDEN = {"move", "sync", "delete", "purge", "rmdirs", "bisync", "cleanup", "dedupe", "copyto", "settier", "touch"}

MADE: list[ask.Arguments] = [
    ask.upload("/srv/staging/FLOW_01/PROJ-1/Runs/Run_1", HIDDEN, "5000000B"),
    ask.listing(RUN, server_times=True),
    ask.listing_of(RUN, server_times=False),
    ask.names_in(RUN),
    ask.status(RUN, server_times=True),
    ask.hashes(RUN),
    ask.read(RUN),
    ask.write(RUN),
    ask.make_folder(HIDDEN),
    ask.publish(HIDDEN, RUN),
    ask.replace_own(HIDDEN.below("ingest.json"), RUN.below(".exlab-wizard/ingest.json"), "ingest.json"),
    ask.set_aside(RUN.below("a.fcs"), ASIDE),
    ask.delete_file(HIDDEN.below("a.fcs")),
    ask.remove_folder(HIDDEN),
    ask.features(RUN),
    ask.kinds(),
    ask.space(RUN),
    ask.version(),
]


def builders() -> dict[str, Callable[..., object]]:
    """Every public function of the room that makes arguments."""
    functions = inspect.getmembers(ask, inspect.isfunction)
    return {name: one for name, one in functions if not name.startswith("_") and one.__module__ == ask.__name__}


def test_every_builder_is_looked_at_here() -> None:
    assert len(MADE) == len(builders())


@pytest.mark.parametrize("made", MADE, ids=lambda made: str(made[0]))
def test_only_harmless_verbs_and_no_flag_that_deletes(made: ask.Arguments) -> None:
    assert made[0] in ask.VERBS
    assert made[0] not in FORBIDDEN
    assert not [flag for flag in made if flag.startswith("--") and ("delete" in flag or "backup-dir" in flag)]
    assert [word for word in made[1:] if word.startswith("/")] == ([made[1]] if made[0] == "copy" else [])


def test_no_verb_that_takes_away_is_known_at_all() -> None:
    assert ask.VERBS.isdisjoint(FORBIDDEN)


def test_a_move_never_replaces_what_stands_at_its_target() -> None:
    assert "--ignore-existing" in ask.publish(HIDDEN, RUN)
    assert "--ignore-existing" in ask.set_aside(RUN.below("a.fcs"), ASIDE)


segments = st.text(st.characters(blacklist_characters="/\x00", blacklist_categories=["Cs"]), min_size=1, max_size=12)
paths = st.lists(
    st.one_of(segments, st.sampled_from([".exlab-part-x", ".exlab-wizard", "superseded"])), min_size=1
).map("/".join)
outside = st.builds(Remote, st.sampled_from(["lab", "other"]), paths)
inside = st.builds(lambda folder, name: folder.hidden_folder(".exlab-part-x").below(name), outside, paths)
places = st.one_of(outside, inside)


def test_data_that_only_looks_like_our_hidden_folder_is_published_and_never_removed() -> None:
    data = RUN.below(".exlab-part-Run_9/a.fcs")
    assert ask.publish(HIDDEN.below(".exlab-part-Run_9/a.fcs"), data)
    for build in (ask.delete_file, ask.remove_folder):
        with pytest.raises(ValueError, match="not in the hidden folder"):
            build(data)
    with pytest.raises(ValueError, match="not a name"):
        Remote("lab", "archive").hidden_folder("Run_1")


@given(places, places)
def test_nothing_moves_but_out_of_the_hidden_folder_or_into_superseded(source: Remote, target: Remote) -> None:
    def moves(build: Callable[[], ask.Arguments]) -> bool:
        try:
            return bool(build())
        except ValueError:
            return False

    if moves(lambda: ask.publish(source, target)):
        assert source.is_hidden
        assert not target.is_hidden
        assert source.remote == target.remote
    if moves(lambda: ask.set_aside(source, target)):
        assert "/.exlab-wizard/superseded/" in target.path
        assert source.remote == target.remote
    if moves(lambda: ask.replace_own(source, target, "ingest.json")):
        assert source.is_hidden
        assert target.path.endswith("/.exlab-wizard/ingest.json")
    if moves(lambda: ask.delete_file(source)) or moves(lambda: ask.remove_folder(source)):
        assert source.is_hidden


@pytest.mark.parametrize(
    "build",
    [
        lambda: ask.publish(Remote("", "/srv/staging/Run_1"), RUN),
        lambda: ask.publish(RUN, Remote("lab", "elsewhere")),
        lambda: ask.set_aside(RUN, Remote("other", ASIDE.path)),
        lambda: ask.set_aside(HIDDEN, ASIDE),
        lambda: ask.replace_own(HIDDEN.below("a"), RUN.below("a.fcs"), "a.fcs"),
        lambda: ask.delete_file(RUN.below("a.fcs")),
        lambda: ask.remove_folder(RUN),
    ],
)
def test_another_move_or_delete_cannot_be_built(build: Callable[[], ask.Arguments]) -> None:
    with pytest.raises(ValueError, match="not "):
        build()
