"""Which policies vmgroups name, and which they may use."""

from __future__ import annotations

from uuid import UUID

import pytest

from vmdkvol.errors import PolicyNotFound
from vmdkvol.names import DatastoreName
from vmdkvol.volume import VmgroupId
from vmdkvol_esx.naming_policies import check_known, listed, may_use, named_by, names_in, users
from vmdkvol_esx.records import Group, Right, Vmgroup

RED = VmgroupId(UUID(int=1))
DS1, DS2 = DatastoreName("ds1"), DatastoreName("ds2")


def group(*rights: Right, policies: tuple[str, ...] = (), default: str | None = None) -> Group:
    defaults = () if default is None else (("policy", default),)
    return Group(Vmgroup(RED, "red", None, defaults=defaults, policies=policies), rights)


def test_a_vmgroup_names_what_is_in_any_list_and_its_default() -> None:
    found = group(Right(DS1, True, policies=("b",)), policies=("a",), default="c")
    assert names_in(found) == {"a", "b", "c"}
    assert names_in(group(Right(DS1, True))) == frozenset()


def test_who_names_a_policy_is_told_in_order() -> None:
    assert named_by("a", [group(policies=("a",)), group(), group(default="a")]) == ["red", "red"]


@pytest.mark.parametrize(
    ("found", "allowed"),
    [
        pytest.param(group(Right(DS1, True)), True, id="no-list"),
        pytest.param(group(Right(DS1, True), policies=("gold",)), True, id="in-its-list"),
        pytest.param(group(Right(DS1, True), policies=("tin",)), False, id="not-in-its-list"),
        pytest.param(group(Right(DS1, True, policies=("tin",))), False, id="not-on-that-datastore"),
        pytest.param(group(Right(DS1, True, policies=("tin",)), Right(DS2, True)), True, id="on-another-datastore"),
        pytest.param(group(Right(DS1, False)), False, id="may-make-nothing"),
        pytest.param(group(), False, id="no-right"),
    ],
)
def test_a_vmgroup_may_use_a_policy_where_a_volume_under_it_can_be_made(found: Group, allowed: bool) -> None:
    assert may_use("gold", found) is allowed


def test_a_name_that_is_not_known_is_told_with_the_known_ones() -> None:
    check_known(["gold"], ["gold", "silver"])
    with pytest.raises(PolicyNotFound, match="'tin'") as refused:
        check_known(["gold", "tin"], ["silver", "gold"])
    assert refused.value.remedy == "known: gold, silver"


def test_a_long_list_is_told_in_part_and_an_empty_one_as_none() -> None:
    assert listed([str(number) for number in range(12)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"
    assert listed([]) == "none"


@pytest.mark.parametrize(
    ("volumes", "groups", "said"),
    [
        (0, [], ""),
        (1, [], "1 volume"),
        (2, ["dev"], "2 volumes and vmgroup dev"),
        (0, ["dev", "ops"], "vmgroups dev, ops"),
    ],
)
def test_who_uses_a_policy_is_said_in_words(volumes: int, groups: list[str], said: str) -> None:
    assert users(volumes, groups) == said
