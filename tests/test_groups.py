"""Groups of this computer, as the configuration names them for a NAS."""

from __future__ import annotations

import grp
import os
import pwd

import pytest

from exlab_orch.errors import ConfigInvalid
from exlab_orch.groups import required_group, user_name, why_not_given

NOBODY = pwd.getpwnam("nobody")
GROUPS = os.getgrouplist(NOBODY.pw_name, NOBODY.pw_gid)


def test_a_group_that_is_not_here_is_to_be_corrected_or_made() -> None:
    found = why_not_given("no such group", None)
    assert found is not None
    assert found[1].endswith(": sudo groupadd 'no such group'")


def test_a_user_who_is_not_in_the_group_is_to_be_put_into_it() -> None:
    group = next(one.gr_name for one in grp.getgrall() if one.gr_gid not in GROUPS)
    found = why_not_given(group, NOBODY.pw_uid)
    assert found is not None
    assert found[1].endswith(f": sudo usermod -aG {group} nobody")


def test_nothing_is_in_the_way_of_a_member_of_root_and_of_a_user_who_is_not_known_yet() -> None:
    own, other = grp.getgrgid(GROUPS[0]).gr_name, grp.getgrall()[0].gr_name
    assert [why_not_given(own, NOBODY.pw_uid), why_not_given(other, 0), why_not_given(other, None)] == [None] * 3


def test_a_user_without_a_name_is_named_as_sudo_takes_it() -> None:
    assert user_name(0) == "root"
    assert user_name(987_654) == "#987654"


def test_a_configured_group_that_is_not_here_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ConfigInvalid, match="does not exist") as caught:
        required_group("no-such-group")
    assert "groupadd" in caught.value.hint
