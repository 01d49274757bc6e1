"""Which mount a folder is on: one that shows just what would be there without it is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from exlab_orch.errors import NasNotMounted
from exlab_orch.transports.mountinfo import Mount, locate, mount_points, own_mount
from exlab_orch.transports.right_place import require_mount_and_distance
from tests.lab import Lab
from tests.mounts import Mounts

ROOT = Mount(1, "8:1", "/", "/")
SHARE = Mount(10, "0:50", "/", "/mnt/nas")


@pytest.mark.parametrize(
    ("row", "is_own"),
    [
        (Mount(10, "8:1", "/mnt/nas", "/mnt/nas"), False),
        (Mount(10, "8:1", "/srv/other", "/mnt/nas"), True),
        (SHARE, True),
        (Mount(10, "8:1", "/", "/mnt/nas"), True),
    ],
)
def test_a_folder_bound_onto_itself_is_on_the_mount_around_it(row: Mount, *, is_own: bool) -> None:
    assert own_mount(20, {10: ROOT, 20: row}) == (20 if is_own else 10)


def test_a_folder_of_the_nas_bound_onto_itself_is_still_on_the_nas() -> None:
    bound = Mount(20, "0:50", "/lab", "/mnt/nas/lab")
    twice = Mount(30, "0:50", "/lab", "/mnt/nas/lab")
    assert own_mount(40, {10: ROOT, 20: SHARE, 30: bound, 40: twice}) == 20


def test_a_table_that_leads_in_a_circle_ends() -> None:
    assert own_mount(10, {10: Mount(20, "8:1", "/", "/"), 20: Mount(10, "8:1", "/", "/")}) == 20


@pytest.mark.root
def test_a_nas_root_that_a_sandbox_made_writable_is_not_taken_for_a_mounted_nas(tmp_path: Path) -> None:
    lab = Lab(tmp_path, require_mount=True)
    nas = lab.config.nas
    assert nas is not None
    with Mounts() as mounts:
        for folder in (lab.staging, lab.nas):
            mounts.bind(folder, folder)
        assert str(lab.nas) in mount_points()
        assert locate(str(lab.nas)).mount == locate(str(tmp_path)).mount
        with pytest.raises(NasNotMounted):
            require_mount_and_distance(nas, str(lab.staging))  # type: ignore[arg-type]
