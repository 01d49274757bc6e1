"""The self-test over every kind of NAS: it goes the whole way and leaves nothing there."""

from __future__ import annotations

import pytest

from exlab_orch.selftest import chosen_nas, selftest
from tests.contract.far import DiskNas, FarLab
from tests.lab import tree


def tried(far: FarLab, foreign: str | None = None) -> tuple[list[str], list[str]]:
    """Results of the steps and what stayed, with a file that somebody puts beside the run meanwhile."""

    def meddle(_nas: str, tick: object) -> None:
        if foreign is not None and getattr(tick, "step", "") == "cleared":
            (folder,) = far.lab.nas.glob(".exlab-part-selftest-*")
            (folder / foreign).write_text("somebody's")

    with far.lab.station() as station:
        (trial,), _ = selftest(station, chosen_nas(station, None, None), byte_total=100_000, on_tick=meddle)
    assert [tick.error for tick in trial.ticks[:4]] == [None] * 4
    return [tick.result for tick in trial.ticks], list(trial.others)


@pytest.mark.programs_too("rsync-ssh")
def test_a_made_up_run_goes_there_and_back_and_leaves_nothing(far: FarLab) -> None:
    if not isinstance(far, DiskNas):
        return  # a dictionary has no folder inside which another NAS could be
    before = tree(far.lab.nas)
    assert tried(far) == (["ok"] * 5, [])
    assert tree(far.lab.nas) == before
    assert far.leftovers() == []


def test_a_file_that_others_put_beside_it_stays(far: FarLab) -> None:
    if not isinstance(far, DiskNas):
        return
    ticks, others = tried(far, "thesis.docx")
    assert (ticks, len(others)) == (["ok"] * 4 + ["failed"], 1)
    (folder,) = far.lab.nas.glob(".exlab-part-selftest-*")
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["thesis.docx"]


class Killed(BaseException):
    """Ends the self-test as a kill would: nothing is cleared away."""


@pytest.mark.parametrize("step", ["copied", "cleared"])
def test_what_a_stopped_one_left_there_is_removed_by_the_next(far: FarLab, step: str) -> None:
    def stop(_nas: str, tick: object) -> None:
        if getattr(tick, "step", "") == step:
            raise Killed

    if not isinstance(far, DiskNas):
        return
    before = tree(far.lab.nas)
    with far.lab.station() as station, pytest.raises(Killed):
        selftest(station, chosen_nas(station, None, None), byte_total=100_000, on_tick=stop)
    assert tree(far.lab.nas) != before
    with far.lab.station() as station:
        _, (leftover,) = selftest(station, chosen_nas(station, None, None), byte_total=100_000)
    assert (leftover.removed, leftover.why) == (True, "")
    assert tree(far.lab.nas) == before
