"""What an order makes of a vmgroup's rights: a table of rows, limits that fit each other, and how both are told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from tests.unit.esx.site import DS1, DS2, GB
from vmdkvol.admin_errors import InvalidLimit, RightNotFound
from vmdkvol.errors import BadRequest, InvalidName, VolumeError
from vmdkvol.names import ALL_DATASTORES, VM_DATASTORE, DatastoreName
from vmdkvol.orders import Step
from vmdkvol.vmgroup_messages import RemoveRight, SetRight
from vmdkvol.volume import VmgroupId
from vmdkvol_esx.allotting import checked, in_words, right_removed, right_set, with_full_right
from vmdkvol_esx.records import Group, Right, Vmgroup

DS3 = DatastoreName("ds3")
FULL = Right(DS1, True)
LIMITED = Right(DS2, True, max_bytes=10 * GB, total_bytes=100 * GB, policies=("gold",))
GROUP = Group(Vmgroup(VmgroupId(UUID(int=1)), "dev", DS1), (FULL, LIMITED))


def row(group: Group, datastore: str) -> Right | None:
    return next((right for right in group.rights if right.datastore == datastore), None)


@pytest.mark.parametrize(
    ("datastore", "fields", "after"),
    [
        pytest.param("ds3", {"allow_create": False}, Right(DS3, False), id="a-new-row-lets-mount-only"),
        pytest.param("ds3", {"allow_create": True}, Right(DS3, True), id="a-new-row"),
        pytest.param("_ALL_DS", {"allow_create": False, "total_bytes": GB}, Right(ALL_DATASTORES, False, None, GB), id="all"),
        pytest.param("_VM_DS", {"allow_create": False, "max_bytes": GB}, Right(VM_DATASTORE, False, GB), id="the-machines-own"),
        pytest.param("ds2", {"allow_create": False}, replace(LIMITED, allow_create=False), id="what-is-left-out-stays"),
        pytest.param("ds2", {"max_bytes": 2 * GB}, replace(LIMITED, max_bytes=2 * GB), id="another-maximum"),
        pytest.param("ds2", {"unset": ("max_bytes",)}, replace(LIMITED, max_bytes=None), id="no-maximum-any-more"),
        pytest.param("ds2", {"unset": ("total_bytes",)}, replace(LIMITED, total_bytes=None), id="no-total-any-more"),
        pytest.param("ds2", {"unset": ("policies",)}, replace(LIMITED, policies=()), id="any-policy-again"),
        pytest.param(
            "ds2", {"unset": ("max_bytes", "total_bytes", "policies")}, Right(DS2, True), id="nothing-is-limited-any-more"
        ),
        pytest.param(
            "ds2", {"unset": ("max_bytes",), "total_bytes": 1}, Right(DS2, True, None, 1, ("gold",)), id="one-goes-one-comes"
        ),
        pytest.param("ds2", {"policies": ("a", "b")}, replace(LIMITED, policies=("a", "b")), id="other-policies"),
        pytest.param("ds2", {"max_bytes": 100 * GB}, replace(LIMITED, max_bytes=100 * GB), id="maximum-as-the-total"),
        pytest.param("ds1", {"allow_create": False}, Right(DS1, False), id="the-default-datastores-row-may-be-limited"),
    ],
)
def test_a_row_is_set(datastore: str, fields: dict[str, Any], after: Right) -> None:
    found = right_set(GROUP, SetRight(name="dev", datastore=datastore, **fields), {})
    assert row(found.group, datastore) == after
    assert [right for right in found.group.rights if right.datastore != datastore] == [
        right for right in GROUP.rights if right.datastore != datastore
    ]
    assert list(found.group.rights) == sorted(found.group.rights, key=lambda right: right.datastore)
    assert len(found.steps) == 1


@pytest.mark.parametrize(
    "fields",
    [{}, {"allow_create": True}, {"max_bytes": 10 * GB}, {"policies": ("gold",)}, {"total_bytes": 100 * GB}],
)
def test_what_holds_already_is_no_step(fields: dict[str, Any]) -> None:
    found = right_set(GROUP, SetRight(name="dev", datastore="ds2", **fields), {})
    assert (found.group, found.steps) == (GROUP, ())


@pytest.mark.parametrize(
    ("datastore", "fields", "error"),
    [
        pytest.param("ds3", {"allow_create": True, "max_bytes": 2, "total_bytes": 1}, InvalidLimit, id="maximum-above-total"),
        pytest.param("ds3", {"total_bytes": GB}, RightNotFound, id="a-limit-of-no-row"),
        pytest.param("ds3", {"unset": ("total_bytes",)}, RightNotFound, id="no-limit-of-no-row"),
        pytest.param("_ALL_DS", {"policies": ("gold",)}, RightNotFound, id="a-policy-of-no-row"),
        pytest.param("ds2", {"total_bytes": 9 * GB}, InvalidLimit, id="total-below-the-maximum-there-is"),
        pytest.param("ds2", {"max_bytes": 101 * GB}, InvalidLimit, id="maximum-above-the-total-there-is"),
        pytest.param("ds2", {"max_bytes": 0}, InvalidLimit, id="zero"),
        pytest.param("ds2", {"total_bytes": -1}, InvalidLimit, id="negative"),
        pytest.param("ds2", {"total_bytes": 1 << 64}, InvalidLimit, id="more-than-a-number-takes"),
        pytest.param("ds2", {"max_bytes": 1, "unset": ("max_bytes",)}, BadRequest, id="given-and-unset"),
        pytest.param("ds2", {"unset": ("allow_create",)}, BadRequest, id="no-such-thing-to-unset"),
        pytest.param("ds2", {"policies": ()}, BadRequest, id="no-policy-at-all"),
        pytest.param("ds2", {"policies": ("gold", "gold")}, BadRequest, id="a-policy-twice"),
        pytest.param("", {}, InvalidName, id="no-name"),
        pytest.param("a/b", {}, InvalidName, id="a-path"),
        pytest.param("ds\n2", {}, InvalidName, id="two-lines"),
    ],
)
def test_a_row_is_not_set(datastore: str, fields: dict[str, Any], error: type[VolumeError]) -> None:
    with pytest.raises(error):
        right_set(GROUP, SetRight(name="dev", datastore=datastore, **fields), {})


@pytest.mark.parametrize(
    ("datastore", "used", "total", "said"),
    [
        pytest.param("ds2", {DS2: 12 * GB}, 11 * GB, " (in use: 12gb on ds2; nothing new fits there)", id="below-the-use"),
        pytest.param("ds2", {DS2: 11 * GB}, 11 * GB, " (in use: 11gb on ds2; nothing new fits there)", id="just-full"),
        pytest.param("ds2", {DS2: 11 * GB - 1}, 11 * GB, "", id="room-left"),
        pytest.param("ds2", {DS1: 99 * GB}, 11 * GB, "", id="another-datastores-use"),
        pytest.param("ds2", {}, 11 * GB, "", id="no-use"),
        pytest.param("_ALL_DS", {DS1: GB, DS2: 3 * GB}, 2 * GB, " (in use: 3gb on ds2; nothing new fits there)", id="each"),
    ],
)
def test_a_total_below_the_present_use_is_taken_and_said(
    datastore: str, used: dict[DatastoreName, int], total: int, said: str
) -> None:
    order = SetRight(name="dev", datastore=datastore, allow_create=True, total_bytes=total, unset=("max_bytes",))
    found = right_set(GROUP, order, used)
    right = row(found.group, datastore)
    assert right is not None
    assert right.total_bytes == total
    assert found.steps[0].after == in_words(right) + said


def test_a_limit_beside_a_row_for_all_takes_no_right_away_unsaid() -> None:
    group = replace(GROUP, rights=(Right(ALL_DATASTORES, allow_create=True),))

    with pytest.raises(RightNotFound) as refused:
        right_set(group, SetRight(name="dev", datastore="ds2", total_bytes=GB), {})

    assert str(refused.value).endswith(
        "`vmdkvol vmgroup access add --name dev --datastore ds2 --allow-create` [right-not-found]"
    )


def test_a_change_is_told_as_people_read_it() -> None:
    found = right_set(GROUP, SetRight(name="dev", datastore="ds2", allow_create=False, unset=("total_bytes", "policies")), {})
    assert found.steps == (
        Step(
            "set-right",
            "dev/ds2",
            "mount, create, remove; max 10gb; total 100gb; policies gold",
            "mount; max 10gb; total none; policies any",
        ),
    )


def test_a_row_is_taken_away_and_what_it_said_is_told() -> None:
    found = right_removed(GROUP, RemoveRight(name="dev", datastore="ds2"))
    assert found.group.rights == (FULL,)
    assert found.steps == (Step("remove-right", "dev/ds2", in_words(LIMITED), None),)


@pytest.mark.parametrize(
    ("datastore", "error"),
    [
        pytest.param("ds1", BadRequest, id="the-default-datastores-stays"),
        pytest.param("ds3", RightNotFound, id="no-row"),
        pytest.param("DS2", RightNotFound, id="another-case"),
        pytest.param("_ALL_DS", RightNotFound, id="no-row-for-all"),
        pytest.param("", InvalidName, id="no-name"),
    ],
)
def test_a_row_is_not_taken_away(datastore: str, error: type[VolumeError]) -> None:
    with pytest.raises(error):
        right_removed(GROUP, RemoveRight(name="dev", datastore=datastore))


def test_the_row_of_the_machines_own_datastore_stays_while_that_is_the_default() -> None:
    group = replace(GROUP, vmgroup=replace(GROUP.vmgroup, default_datastore=VM_DATASTORE), rights=(Right(VM_DATASTORE, True),))
    with pytest.raises(BadRequest):
        right_removed(group, RemoveRight(name="dev", datastore="_VM_DS"))


def test_full_right_on_a_datastore_leaves_a_row_that_is_there_alone() -> None:
    assert with_full_right((LIMITED,), DS2) == (LIMITED,)
    assert with_full_right((LIMITED,), DS1) == (FULL, LIMITED)


def test_a_default_policy_is_one_of_those_that_are_allowed() -> None:
    own = replace(GROUP.vmgroup, defaults=(("policy", "tin"),), policies=("gold", "silver"))
    with pytest.raises(BadRequest, match="gold, silver"):
        checked(replace(GROUP, vmgroup=own))


def test_rights_that_no_answer_could_tell_are_refused() -> None:
    rights = tuple(Right(DatastoreName(f"datastore number {number}"), True) for number in range(100))
    many = replace(GROUP, rights=rights)
    assert checked(many) == many
    with pytest.raises(BadRequest, match="too many rights"):
        checked(replace(GROUP, rights=rights + tuple(replace(each, policies=("p" * 80,) * 5) for each in rights)))
