"""What was planned by name is carried out on the machines and vmgroups of the plan, or not at all, whoever has the names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.unit.esx.admin_site import AdminSite, meaning
from tests.unit.esx.enrolment import HOST, OTHER, Registry
from tests.unit.esx.site import DS1, A, B
from tests.unit.esx.test_desk import Notes
from tests.unit.esx.test_enrolments import enrol
from vmdkvol.admin_messages import EnrollVm, ListVms, RevokeVm, Standing
from vmdkvol.adoption_messages import AdoptDisk
from vmdkvol.clock import Deadline
from vmdkvol.errors import BadRequest, StaleRequest
from vmdkvol.messages import Call
from vmdkvol.orders import OrderFor
from vmdkvol.policy_messages import CreatePolicy, RemovePolicy, UpdatePolicy
from vmdkvol.site_messages import CordonDatastore, UncordonDatastore
from vmdkvol.task_messages import CancelTask
from vmdkvol.vmgroup_messages import (
    AddMembers,
    CreateVmgroup,
    RemoveMembers,
    RemoveVmgroup,
    ReplaceMembers,
    UpdateVmgroup,
)
from vmdkvol.volume import DEFAULT_VMGROUP, VmId
from vmdkvol.volume_orders import CreateVolumeFor, MoveVolume, RenameVolume
from vmdkvol_esx import named
from vmdkvol_esx.begun import ADMINISTRATOR
from vmdkvol_esx.desk import Desk
from vmdkvol_esx.ports import Vm


class Office:
    """An administrator's desk of a whole service, over machines whose names change."""

    def __init__(self) -> None:
        self.site = AdminSite()
        self.site.store.set_default_datastore(DEFAULT_VMGROUP, DS1)
        self.vms = list(self.site.hypervisor.machines())
        means = meaning(self.site.store, lambda: self.vms, lambda order: named.one(order.vm, self.vms).id)
        self.desk = Desk(self.site.handles, self.site.store, Notes(), self.site.clock, self.site.log, means)
        self.dev = self.vmgroup("dev")

    def ask(self, order: OrderFor[Any]) -> Any:
        return self.desk.answer(order, Call(uuid4(), Deadline.after(self.site.clock, 1000.0), ADMINISTRATOR))

    def vmgroup(self, name: str) -> str:
        return str(self.ask(CreateVmgroup(name=name, default_datastore="ds1")).subject)

    def planned(self, order: OrderFor[Any]) -> OrderFor[Any]:
        """Return the order as who confirmed its plan gives it."""
        plan = self.ask(replace(order, dry_run=True)).plan
        assert plan.digest is not None
        digested: Any = order
        return replace(digested, digest=plan.digest)

    def members(self) -> set[VmId]:
        group = self.site.store.group("dev")
        return set() if group is None else {each.vm for each in group.members}

    def swap_names(self) -> None:
        names = {A: "host-b", B: "host-a"}
        self.vms = [Vm(each.id, names[each.id], running=True) for each in self.vms]

    def anew(self, name: str) -> str:
        """Put another vmgroup in the place of the one of this name."""
        self.ask(UpdateVmgroup(name=name, new_name=f"old-{name}"))
        return self.vmgroup(name)


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.mark.parametrize(
    "order",
    [
        pytest.param(AddMembers(name="dev", vms=("host-a",)), id="add"),
        pytest.param(ReplaceMembers(name="dev", vms=("host-a",)), id="replace"),
        pytest.param(CreateVmgroup(name="new", default_datastore="ds1", vms=("host-a",)), id="create"),
    ],
)
def test_a_machine_that_took_a_name_of_the_list_is_not_meant(office: Office, order: OrderFor[Any]) -> None:
    meant = office.planned(order)
    office.swap_names()
    with pytest.raises(StaleRequest, match="other machines or volumes"):
        office.ask(meant)
    assert office.members() == set()
    assert office.site.store.group("new") is None


def test_a_member_that_took_a_name_of_the_list_stays(office: Office) -> None:
    office.ask(AddMembers(name="dev", vms=(str(A), str(B))))
    meant = office.planned(RemoveMembers(name="dev", vms=("host-a",)))
    office.ask(RemoveMembers(name="dev", vms=(str(A), str(B))))
    office.swap_names()
    office.ask(AddMembers(name="dev", vms=(str(B),)))
    with pytest.raises(StaleRequest):
        office.ask(meant)
    assert office.members() == {B}


def test_the_machines_of_the_plan_are_meant_under_whatever_name_they_have(office: Office) -> None:
    meant = office.planned(AddMembers(name="dev", vms=("host-a",)))
    assert office.ask(meant).done
    assert office.members() == {A}


def test_another_vmgroup_that_took_the_name_gets_no_machine(office: Office) -> None:
    plan = office.ask(AddMembers(name="dev", vms=("host-a",), dry_run=True))
    office.anew("dev")
    with pytest.raises(StaleRequest, match=plan.subject):
        office.ask(AddMembers(name="dev", vms=("host-a",), digest=plan.plan.digest, expect_id=UUID(plan.subject)))
    assert office.members() == set()


def test_another_vmgroup_that_took_the_name_gets_no_volume(office: Office) -> None:
    office.site.create("db")
    for order in (
        CreateVolumeFor(vmgroup="dev", name="new", options=(("size", "10mb"),)),
        MoveVolume(volume="db", to_vmgroup="dev"),
    ):
        meant = office.planned(order)
        office.anew("dev")
        with pytest.raises(StaleRequest, match="another vmgroup"):
            office.ask(meant)
        office.ask(RemoveVmgroup(name="dev"))
        office.ask(UpdateVmgroup(name="old-dev", new_name="dev"))
    assert [record.vmgroup for record in office.site.records()] == [DEFAULT_VMGROUP]


def test_another_volume_that_took_the_name_of_the_source_is_not_copied(office: Office) -> None:
    source = CreateVolumeFor(vmgroup="dev", name="gold", options=(("size", "10mb"),))
    office.ask(source)
    meant = office.planned(CreateVolumeFor(vmgroup="dev", name="copy", options=(("clone-from", "gold"),)))
    office.ask(RenameVolume(volume="gold", new_name="old"))
    office.ask(source)
    with pytest.raises(StaleRequest, match="volumes"):
        office.ask(meant)
    assert sorted(record.name for record in office.site.records()) == ["gold", "old"]


def test_a_plan_and_its_order_name_the_vmgroup_and_not_its_id(office: Office) -> None:
    order = CreateVolumeFor(vmgroup="dev", name="new", options=(("size", "10mb"),))
    plans = [office.ask(each).plan.steps for each in (replace(order, dry_run=True), order)]
    assert plans[0] == plans[1]
    assert "for vmgroup dev" in str(plans[0][0].after)
    assert [str(record.vmgroup) for record in office.site.records()] == [office.dev]


def test_an_order_without_a_plan_is_for_whatever_has_the_names(office: Office) -> None:
    office.swap_names()
    office.ask(AddMembers(name="dev", vms=("host-a",)))
    assert office.members() == {B}


@pytest.mark.parametrize(
    "order",
    [
        CreateVmgroup(name="x", default_datastore="ds1"),
        CreateVolumeFor(vmgroup="dev", name="x"),
        AdoptDisk(disk="[ds1] x/x.vmdk", vmgroup="dev", name="x"),
        CreatePolicy(name="x"),
        CordonDatastore(name="ds1"),
        UncordonDatastore(name="ds1"),
        CancelTask(task=UUID(int=1)),
    ],
    ids=lambda order: type(order).__name__,
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_revision_that_nothing_has_is_refused_and_not_dropped(office: Office, order: OrderFor[Any], dry_run: bool) -> None:
    with pytest.raises(BadRequest, match="no revision"):
        office.ask(replace(order, expect=1, dry_run=dry_run))
    assert office.site.records() == []


@pytest.mark.parametrize(
    "order",
    [
        UpdatePolicy(name="x"),
        RemovePolicy(name="x"),
        CordonDatastore(name="ds1"),
        CreateVmgroup(name="x", default_datastore="ds1"),
    ],
)
def test_an_id_that_nothing_has_is_refused_and_not_dropped(office: Office, order: OrderFor[Any]) -> None:
    with pytest.raises(BadRequest, match="no id"):
        office.ask(replace(order, expect_id=UUID(int=1)))


# --- machines --------------------------------------------------------------------------------------------------------


class Reception:
    """A desk with the machines of a site alone."""

    def __init__(self) -> None:
        self.registry = Registry()
        registry = self.registry
        means = meaning(registry.store, registry.machines.machines, registry.enrolments.meant)
        self.desk = Desk(registry.enrolments.rows(), registry.store, Notes(), registry.clock, registry.log, means)

    def ask(self, order: OrderFor[Any]) -> Any:
        return self.desk.answer(order, Call(uuid4(), Deadline.after(self.registry.clock, 10.0), ADMINISTRATOR))

    def standing(self, vm: VmId) -> Standing:
        page = self.registry.enrolments.page(ListVms())
        return next(each.standing for each in page.vms if each.vm == vm)

    def swap(self) -> None:
        """Another machine takes the name of the one that was meant, which has another since."""
        known = self.registry.machines.known
        known[HOST] = Vm(HOST, "old", running=True)
        enrol(self.registry, "old", "csr 3")
        known[OTHER] = Vm(OTHER, "host", running=True)


@pytest.fixture
def reception() -> Reception:
    made = Reception()
    enrol(made.registry, "host")
    enrol(made.registry, "other", "csr 2")
    return made


def test_a_machine_that_took_the_name_of_the_one_to_revoke_stays_enrolled(reception: Reception) -> None:
    plan = reception.ask(RevokeVm("host", dry_run=True))
    reception.swap()
    with pytest.raises(StaleRequest, match=str(OTHER)):
        reception.ask(RevokeVm("host", expect_id=UUID(plan.subject)))
    assert reception.standing(OTHER) is Standing.ENROLLED


def test_a_machine_that_took_the_name_of_the_one_to_invite_gets_no_token(reception: Reception) -> None:
    plan = reception.ask(EnrollVm("host", give=True, dry_run=True))
    reception.swap()
    with pytest.raises(StaleRequest):
        reception.ask(EnrollVm("host", give=True, expect_id=UUID(plan.subject)))
    assert [vm for vm, _ in reception.registry.given] == []


@pytest.mark.parametrize("order", [EnrollVm("host", expect=1), RevokeVm("host", expect=1)])
def test_a_machine_has_no_revision(reception: Reception, order: OrderFor[Any]) -> None:
    with pytest.raises(BadRequest, match="no revision"):
        reception.ask(order)
    assert reception.standing(HOST) is Standing.ENROLLED


def test_the_machine_that_has_the_name_is_revoked(reception: Reception) -> None:
    plan = reception.ask(RevokeVm("host", dry_run=True))
    assert plan.subject == str(HOST)
    assert reception.ask(RevokeVm("host", expect_id=HOST)).done
    assert reception.standing(HOST) is Standing.REVOKED
