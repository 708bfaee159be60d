"""What an order makes of a vmgroup and its members, and the steps that are told of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from tests.unit.esx.site import DS1, DS2
from vmdkvol.admin_errors import DefaultVmgroup
from vmdkvol.errors import BadRequest, InvalidName, InvalidOption, NameConflict, VolumeError
from vmdkvol.frames import MAX_FRAME
from vmdkvol.names import VM_DATASTORE
from vmdkvol.orders import Outcome, Plan, Step
from vmdkvol.vmgroup_messages import CreateVmgroup, UpdateVmgroup
from vmdkvol.volume import DEFAULT_VMGROUP, VmgroupId, VmId
from vmdkvol.wire import answer_size
from vmdkvol_esx.grouping import check_same, emptied, made, updated, with_exactly, with_members, without_members
from vmdkvol_esx.records import Group, Member, Right, Vmgroup

ID = VmgroupId(UUID(int=1))
ANN, BOB, CYD = (Member(VmId(UUID(int=number)), name) for number, name in enumerate(("ann", "bob", "cyd"), start=10))
DEV = Group(Vmgroup(ID, "dev", DS1, "the team", (("size", "1gb"),), ("gold",)), (Right(DS1, True),), (ANN, BOB))
DEFAULT = Group(Vmgroup(DEFAULT_VMGROUP, "_DEFAULT", DS1), (Right(DS1, True),))


# --- created -----------------------------------------------------------------------------------------------------


def test_a_new_vmgroup_has_full_right_on_its_default_datastore_and_no_other() -> None:
    found = made(CreateVmgroup(name="dev", default_datastore="ds1"), ID, ())
    assert found.group == Group(Vmgroup(ID, "dev", DS1), (Right(DS1, True),))
    assert [step.verb for step in found.steps] == ["create-vmgroup", "add-right"]


def test_a_new_vmgroup_may_have_the_machines_own_datastore() -> None:
    found = made(CreateVmgroup(name="dev", default_datastore="_VM_DS"), ID, ())
    assert found.group.vmgroup.default_datastore == VM_DATASTORE
    assert found.group.rights == (Right(VM_DATASTORE, True),)


def test_all_that_a_new_vmgroup_gets_is_told() -> None:
    order = CreateVmgroup(
        name="dev",
        default_datastore="ds1",
        description="the team",
        vms=("bob", "ann"),
        defaults=(("size", "1gb"),),
        policies=("gold",),
    )
    found = made(order, ID, (BOB, ANN))
    assert found.group == DEV
    assert found.steps == (
        Step("create-vmgroup", "dev", None, "default datastore ds1"),
        Step("set-description", "dev", "none", "the team"),
        Step("set-policies", "dev", "any", "gold"),
        Step("set-default", "dev/size", "none", "1gb"),
        Step("add-right", "dev/ds1", None, "mount, create, remove; max none; total none; policies any"),
        Step("add-member", "dev", None, f"ann ({ANN.vm})"),
        Step("add-member", "dev", None, f"bob ({BOB.vm})"),
    )


def test_the_default_vmgroup_comes_back_under_its_one_id() -> None:
    assert made(CreateVmgroup(name="_DEFAULT", default_datastore="ds1"), ID, ()).group.vmgroup.id == DEFAULT_VMGROUP


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        pytest.param({"name": "a b"}, InvalidName, id="name"),
        pytest.param({"name": ""}, InvalidName, id="no-name"),
        pytest.param({"default_datastore": "_ALL_DS"}, BadRequest, id="all-datastores"),
        pytest.param({"default_datastore": ""}, InvalidName, id="no-datastore"),
        pytest.param({"description": "x" * 257}, BadRequest, id="description"),
        pytest.param({"defaults": (("size", "much"),)}, BadRequest, id="defaults"),
        pytest.param({"policies": ("gold", "gold")}, BadRequest, id="policies"),
        pytest.param({"policies": ("gold",), "defaults": (("policy", "tin"),)}, BadRequest, id="default-policy-not-allowed"),
        pytest.param({"name": "_DEFAULT", "vms": ("ann",)}, DefaultVmgroup, id="machines-of-the-default-one"),
    ],
)
def test_what_makes_no_vmgroup(fields: dict[str, Any], error: type[VolumeError]) -> None:
    with pytest.raises(error):
        made(CreateVmgroup(**{"name": "dev", "default_datastore": "ds1"} | fields), ID, ())


def test_the_same_vmgroup_again_is_the_same_whatever_rights_it_has_got_since() -> None:
    check_same(replace(DEV, rights=(Right(DS1, False, 1, 1), Right(DS2, True))), DEV)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (replace(DEV, vmgroup=replace(DEV.vmgroup, default_datastore=DS2)), "default datastore"),
        (replace(DEV, vmgroup=replace(DEV.vmgroup, description="")), "description"),
        (replace(DEV, vmgroup=replace(DEV.vmgroup, defaults=())), "defaults"),
        (replace(DEV, vmgroup=replace(DEV.vmgroup, policies=())), "policies"),
        (replace(DEV, members=(ANN,)), "machines"),
        (replace(DEV, members=(ANN, CYD)), "machines"),
    ],
)
def test_another_vmgroup_of_the_name_is_a_conflict_that_says_what_differs(wanted: Group, said: str) -> None:
    with pytest.raises(NameConflict, match=f"other {said}"):
        check_same(DEV, wanted)


# --- updated -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "own", "steps"),
    [
        pytest.param({}, {}, [], id="nothing"),
        pytest.param({"new_name": "ops"}, {"name": "ops"}, [("rename-vmgroup", "dev", "dev", "ops")], id="name"),
        pytest.param({"new_name": "dev"}, {}, [], id="the-same-name"),
        pytest.param({"description": "x"}, {"description": "x"}, [("set-description", "dev", "the team", "x")], id="text"),
        pytest.param({"description": ""}, {"description": ""}, [("set-description", "dev", "the team", "none")], id="no-text"),
        pytest.param(
            {"unset": ("description",)},
            {"description": ""},
            [("set-description", "dev", "the team", "none")],
            id="unset-text",
        ),
        pytest.param(
            {"defaults": (("fstype", "ext4"),)},
            {"defaults": (("fstype", "ext4"), ("size", "1gb"))},
            [("set-default", "dev/fstype", "none", "ext4")],
            id="one-more-default",
        ),
        pytest.param(
            {"defaults": (("size", ""),)}, {"defaults": ()}, [("set-default", "dev/size", "1gb", "none")], id="one-default-less"
        ),
        pytest.param(
            {"unset": ("defaults",)}, {"defaults": ()}, [("set-default", "dev/size", "1gb", "none")], id="unset-defaults"
        ),
        pytest.param(
            {"policies": ("a", "b")}, {"policies": ("a", "b")}, [("set-policies", "dev", "gold", "a, b")], id="policies"
        ),
        pytest.param({"unset": ("policies",)}, {"policies": ()}, [("set-policies", "dev", "gold", "any")], id="any-policy"),
    ],
)
def test_what_is_given_is_changed_and_all_else_stays(
    fields: dict[str, Any], own: dict[str, Any], steps: list[tuple[str, ...]]
) -> None:
    found = updated(DEV, UpdateVmgroup(name="dev", **fields))
    assert found.group == replace(DEV, vmgroup=replace(DEV.vmgroup, **own))
    assert [(step.verb, step.target, step.before, step.after) for step in found.steps] == steps


def test_a_new_default_datastore_gets_full_right_and_the_old_one_keeps_its_row() -> None:
    found = updated(DEV, UpdateVmgroup(name="dev", default_datastore="ds2"))
    assert found.group.vmgroup.default_datastore == DS2
    assert found.group.rights == (Right(DS1, True), Right(DS2, True))
    assert [step.verb for step in found.steps] == ["set-default-datastore", "add-right"]


def test_a_new_default_datastore_that_has_a_row_keeps_what_it_says() -> None:
    limited = replace(DEV, rights=(Right(DS1, True), Right(DS2, False, 1, 2)))
    found = updated(limited, UpdateVmgroup(name="dev", default_datastore="ds2"))
    assert found.group.rights == limited.rights
    assert [step.verb for step in found.steps] == ["set-default-datastore"]


@pytest.mark.parametrize(
    ("group", "fields", "error"),
    [
        pytest.param(DEV, {"new_name": "_DEFAULT"}, DefaultVmgroup, id="to-the-default-ones-name"),
        pytest.param(DEFAULT, {"new_name": "all"}, DefaultVmgroup, id="the-default-one"),
        pytest.param(DEV, {"new_name": "a/b"}, InvalidName, id="no-name"),
        pytest.param(DEV, {"new_name": ""}, InvalidName, id="empty-name"),
        pytest.param(DEV, {"default_datastore": "_ALL_DS"}, BadRequest, id="all-datastores"),
        pytest.param(DEV, {"default_datastore": ""}, InvalidName, id="no-datastore"),
        pytest.param(DEV, {"description": "a\nb"}, BadRequest, id="two-lines"),
        pytest.param(DEV, {"defaults": (("nonsense", "1"),)}, InvalidOption, id="no-option"),
        pytest.param(DEV, {"defaults": (("policy", "tin"),)}, BadRequest, id="default-policy-not-allowed"),
        pytest.param(DEV, {"policies": ()}, BadRequest, id="empty-list"),
        pytest.param(DEV, {"policies": ("a",), "unset": ("policies",)}, BadRequest, id="given-and-unset"),
        pytest.param(DEV, {"unset": ("default_datastore",)}, BadRequest, id="what-cannot-be-unset"),
    ],
)
def test_what_is_not_changed(group: Group, fields: dict[str, Any], error: type[VolumeError]) -> None:
    with pytest.raises(error):
        updated(group, UpdateVmgroup(name=group.vmgroup.name, **fields))


def test_the_default_vmgroup_may_have_other_defaults() -> None:
    found = updated(DEFAULT, UpdateVmgroup(name="_DEFAULT", defaults=(("size", "2gb"),), default_datastore="ds2"))
    assert (found.group.vmgroup.name, found.group.vmgroup.defaults) == ("_DEFAULT", (("size", "2gb"),))


# --- members -----------------------------------------------------------------------------------------------------


def named(group: Group) -> list[str]:
    return [each.name for each in group.members]


def test_a_machine_comes_in_and_who_is_in_keeps_its_name() -> None:
    found = with_members(DEV, (CYD, replace(ANN, name="ann is called otherwise now")))
    assert named(found.group) == ["ann", "bob", "cyd"]
    assert found.steps == (Step("add-member", "dev", None, f"cyd ({CYD.vm})"),)


def test_a_machine_goes_and_who_is_not_in_is_no_step() -> None:
    found = without_members(DEV, {BOB.vm, CYD.vm})
    assert named(found.group) == ["ann"]
    assert found.steps == (Step("remove-member", "dev", f"bob ({BOB.vm})", None),)


def test_a_list_takes_the_place_of_the_other_and_who_is_in_both_stays() -> None:
    found = with_exactly(DEV, (CYD, replace(BOB, name="new")))
    assert named(found.group) == ["bob", "cyd"]
    assert [(step.verb, step.before or step.after) for step in found.steps] == [
        ("remove-member", f"ann ({ANN.vm})"),
        ("add-member", f"cyd ({CYD.vm})"),
    ]


def test_the_same_list_again_is_no_step() -> None:
    assert with_exactly(DEV, (BOB, ANN)).steps == ()
    assert with_members(DEV, (BOB, ANN)).steps == ()


def test_an_emptied_vmgroup_has_nobody() -> None:
    found = emptied(DEV)
    assert found.group == replace(DEV, members=())
    assert len(found.steps) == 2


def test_the_default_vmgroup_has_no_list_to_change() -> None:
    assert emptied(DEFAULT).steps == ()
    for change in (with_members, with_exactly):
        with pytest.raises(DefaultVmgroup):
            change(DEFAULT, (ANN,))
    with pytest.raises(DefaultVmgroup):
        without_members(DEFAULT, {ANN.vm})


def test_a_plan_of_a_thousand_machines_fits_into_an_answer() -> None:
    old, new = (
        [Member(VmId(UUID(int=number)), "\N{SNOWMAN}" * 80) for number in range(first, first + 1000)] for first in (1000, 5000)
    )
    found = with_exactly(replace(DEV, members=tuple(old)), new)
    assert len(found.group.members) == 1000
    assert [step.before or step.after for step in found.steps if "more" in (step.before or step.after or "")] == [
        "950 more"
    ] * 2
    assert len(found.steps) == 102
    assert answer_size(Outcome(Plan(found.steps), True)) < MAX_FRAME


def test_a_machines_name_paints_no_terminal() -> None:
    found = with_members(DEV, (Member(CYD.vm, "c\x1b[2J\nyd"),))
    assert (found.steps[0].after or "").isprintable()
