"""B. A NAS that misbehaves, played by a FUSE file system: without a fault, full, broken, lying, hanging, gone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.nas import FaultyNas
from tests.lab import RUN, Lab
from tests.oracle import Oracle, require_cleared

pytestmark = pytest.mark.root


@pytest.fixture
def nas(lab: Lab) -> Iterator[FaultyNas]:
    with FaultyNas(lab) as nas:
        yield nas


@pytest.mark.parametrize("manners", [(), ("inodes change",), ("caches",)], ids=str)
def test_a_nas_without_renameat2_is_a_nas_like_any_other(lab: Lab, oracle: Oracle, manners: tuple[str, ...]) -> None:
    lab.push(files={"a.fcs": b"a", "sub/b.fcs": b"bb"})
    oracle.remember()
    with FaultyNas(lab, *manners):
        assert lab.cli("poll").returncode == 0
        lab.push(files={"a.fcs": b"second", "new/d.fcs": b"d"})
        oracle.remember()
        assert lab.cli("poll").returncode == 0
        assert lab.cli("clear", "--yes", RUN).returncode == 0
        oracle.settle()
    require_cleared(lab)
