"""An order comes again with its key after the service died between the work and its answer: the same object, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.unit.esx.admin_site import AdminSite, meaning
from tests.unit.esx.site import DS1, A, Killed
from tests.unit.esx.test_desk import Notes
from vmdkvol.admin_errors import KeyReused, VmgroupNotFound
from vmdkvol.adoption_messages import ReleaseVolume
from vmdkvol.clock import Deadline
from vmdkvol.errors import NoSpace, StaleRequest, VolumeNotFound
from vmdkvol.messages import Call
from vmdkvol.orders import OrderFor
from vmdkvol.points import Point
from vmdkvol.vmgroup_messages import (
    AddMembers,
    CreateVmgroup,
    RemoveMembers,
    RemoveRight,
    RemoveVmgroup,
    SetRight,
    UpdateVmgroup,
)
from vmdkvol.volume import DEFAULT_VMGROUP, State, VmId, VolumeId
from vmdkvol.volume_orders import (
    CreateVolumeFor,
    DestroyVolume,
    DetachVolume,
    MoveVolume,
    RenameVolume,
    RestoreVolume,
    SetVolume,
    TrashVolume,
)
from vmdkvol_esx import named
from vmdkvol_esx.begun import ADMINISTRATOR, Meant, kept, key, meant_by, who
from vmdkvol_esx.desk import Desk
from vmdkvol_esx.repeats import write

CALL = UUID(int=7)
READ_ONLY = (("access", "read-only"),)


class Dying:
    """A store whose process dies before the answer of ``CALL`` is kept."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def stored_answer(self, caller: Any, call: UUID) -> Any:
        return self._inner.stored_answer(caller, call)

    def keep_answer(self, caller: Any, call: UUID, answer: bytes) -> None:
        if call == CALL:
            raise Killed
        self._inner.keep_answer(caller, call, answer)


class Office:
    """An administrator's desk of a whole service. ``died`` gives an order and kills the service before it answers."""

    def __init__(self, retention_s: float = 1000.0) -> None:
        self.site = AdminSite(retention_s=retention_s)
        self.site.store.set_default_datastore(DEFAULT_VMGROUP, DS1)

    def machine(self, order: Any) -> VmId:
        return named.one(order.vm, self.site.hypervisor.machines()).id

    def ask(self, order: OrderFor[Any], call: UUID | None = None, store: Any = None) -> Any:
        site = self.site
        means = meaning(site.store, site.hypervisor.machines, self.machine)
        desk = Desk(site.handles, store or site.store, Notes(), site.clock, site.log, means)
        return desk.answer(order, Call(call or uuid4(), Deadline.after(site.clock, 1000.0), ADMINISTRATOR))

    def died(self, order: OrderFor[Any]) -> None:
        with pytest.raises(Killed):
            self.ask(order, CALL, Dying(self.site.store))
        self.site.restart()

    def again(self, order: OrderFor[Any]) -> Any:
        return self.ask(order, CALL)

    def states(self) -> list[tuple[str, State]]:
        return sorted((record.name, record.state) for record in self.site.records())

    def trashed(self, name: str) -> VolumeId:
        volume = self.site.create(name).id
        self.site.remove(volume)
        return volume


@pytest.fixture
def office() -> Office:
    return Office()


def test_a_repeated_destruction_by_name_leaves_the_next_volume_of_that_name(office: Office) -> None:
    order = DestroyVolume(volume="db", i_know="db")
    gone = office.trashed("db")
    office.died(order)
    other = office.trashed("db")
    told = office.again(order)
    assert (told.done, told.plan.steps, told.subject) == (True, (), str(gone))
    assert office.site.record(other).state is State.TRASHED


def test_a_repeated_removal_by_name_leaves_the_next_volume_of_that_name() -> None:
    office = Office(retention_s=0.0)
    office.site.create("db")
    office.died(TrashVolume(volume="db"))
    assert office.states() == []
    office.site.create("db")
    assert office.again(TrashVolume(volume="db")).done
    assert office.states() == [("db", State.READY)]


def test_a_removal_that_died_before_it_began_is_of_the_volume_that_had_the_name(office: Office) -> None:
    meant = office.site.create("db").id
    office.site.restart(_dies)
    with pytest.raises(Killed):
        office.ask(TrashVolume(volume="db"), CALL)
    office.site.restart()
    office.ask(RenameVolume(volume="db", new_name="old"))
    other = office.site.create("db").id
    office.again(TrashVolume(volume="db"))
    assert (office.site.record(meant).state, office.site.record(other).state) == (State.TRASHED, State.READY)


def test_a_repeated_rename_holds_already_and_the_next_volume_of_the_old_name_keeps_it(office: Office) -> None:
    order = RenameVolume(volume="db", new_name="db2")
    office.site.create("db")
    office.died(order)
    office.site.create("db")
    told = office.again(order)
    assert (told.done, told.plan.steps) == (True, ())
    assert office.states() == [("db", State.READY), ("db2", State.READY)]


def test_a_repeated_detach_by_name_takes_nothing_from_the_next_volume_of_that_name(office: Office) -> None:
    order = DetachVolume(volume="db", force=True, i_know="host-a")
    meant = office.site.create("db").id
    office.site.format(meant)
    office.site.attach(meant)
    office.died(order)
    office.ask(RenameVolume(volume="db", new_name="old"))
    other = office.site.create("db").id
    office.site.attach(other)
    assert office.again(order).plan.steps == ()
    assert set(office.site.hypervisor.truth().holders) == {office.site.record(other).disk_uuid}


@pytest.mark.parametrize(
    ("prepare", "order"),
    [
        (lambda office: office.site.create("db"), lambda revision: SetVolume(volume="db", options=READ_ONLY, expect=revision)),
        (lambda office: office.site.create("db"), lambda revision: RenameVolume(volume="db", new_name="x", expect=revision)),
        (lambda office: office.trashed("db"), lambda revision: RestoreVolume(volume="db", expect=revision)),
    ],
    ids=["set", "rename", "restore"],
)
def test_what_was_done_is_a_success_whatever_revision_the_repeat_expects(
    office: Office, prepare: Callable[[Office], object], order: Callable[[int], OrderFor[Any]]
) -> None:
    """The order itself has raised it."""
    prepare(office)
    asked = order(office.site.records()[0].generation)
    office.died(asked)
    told = office.again(asked)
    assert (told.done, told.revision) == (True, office.site.records()[0].generation)


def test_what_somebody_else_has_changed_since_is_not_changed_back(office: Office) -> None:
    office.site.create("db")
    asked = SetVolume(volume="db", options=READ_ONLY, expect=office.site.records()[0].generation)
    office.died(asked)
    office.ask(SetVolume(volume="db", options=(("access", "read-write"),)))
    with pytest.raises(StaleRequest):
        office.again(asked)
    assert office.site.records()[0].options.access == "read-write"


def test_a_repeated_removal_of_a_vmgroup_leaves_the_next_one_of_that_name(office: Office) -> None:
    made = CreateVmgroup(name="dev", default_datastore="ds1")
    first = office.ask(made).subject
    office.died(RemoveVmgroup(name="dev"))
    other = office.ask(made).subject
    told = office.again(RemoveVmgroup(name="dev"))
    assert (told.done, told.subject) == (True, first)
    assert str(office.site.store.group("dev").vmgroup.id) == other != first


@pytest.mark.parametrize("order", [TrashVolume, DestroyVolume, ReleaseVolume])
def test_what_is_gone_is_done_for_the_repeat_of_an_order_that_takes_it_away(office: Office, order: Any) -> None:
    means, volume = meaning(office.site.store), str(office.site.create("db").id)
    assert not means.is_gone(order(volume="db"), volume)
    assert means.is_gone(order(volume="db"), str(uuid4()))
    assert not means.is_gone(SetVolume(volume="db"), str(uuid4()))


def test_another_order_with_the_key_of_one_that_died_is_refused(office: Office) -> None:
    office.site.create("db")
    office.died(TrashVolume(volume="db"))
    with pytest.raises(KeyReused):
        office.again(RestoreVolume(volume="db"))
    assert office.states() == [("db", State.TRASHED)]


def test_with_a_key_of_its_own_it_hears_that_there_is_no_such_volume(office: Office) -> None:
    """By a name that nobody has it may be a slip of the pen: nothing is done, and nothing is said to be."""
    office.trashed("db")
    order = DestroyVolume(volume="db", i_know="db")
    office.ask(order)
    with pytest.raises(VolumeNotFound):
        office.ask(order)


@pytest.mark.parametrize("order", [TrashVolume, DetachVolume, ReleaseVolume])
@pytest.mark.parametrize("dry_run", [False, True])
def test_an_order_for_one_volume_is_refused_for_the_next_one_of_its_name(office: Office, order: Any, dry_run: bool) -> None:
    """Both have the same first revision."""
    office.site.create("db")
    planned = office.ask(TrashVolume(volume="db", dry_run=True))
    office.ask(RenameVolume(volume="db", new_name="old"))
    office.site.create("db")
    with pytest.raises(StaleRequest):
        office.ask(order(volume="db", dry_run=dry_run, expect=planned.revision, expect_id=UUID(planned.subject)))
    assert office.states() == [("db", State.READY), ("old", State.READY)]


@pytest.mark.parametrize(
    "order",
    [
        lambda **how: RemoveVmgroup(name="dev", **how),
        lambda **how: UpdateVmgroup(name="dev", description="x", **how),
        lambda **how: AddMembers(name="dev", vms=("host-b",), **how),
        lambda **how: SetRight(name="dev", datastore="ds1", allow_create=False, **how),
        lambda **how: RemoveRight(name="dev", datastore="ds1", **how),
    ],
    ids=["remove", "update", "add-members", "set-right", "remove-right"],
)
def test_an_order_for_one_vmgroup_is_refused_for_the_next_one_of_its_name(office: Office, order: Any) -> None:
    made = CreateVmgroup(name="dev", default_datastore="ds1")
    first = office.ask(made)
    office.ask(RemoveVmgroup(name="dev"))
    office.ask(made)
    before = office.site.store.group("dev")
    with pytest.raises(StaleRequest):
        office.ask(order(expect=first.revision, expect_id=UUID(first.subject)))
    assert office.site.store.group("dev") == before


def test_an_order_for_the_vmgroup_that_has_the_name_is_carried_out(office: Office) -> None:
    first = office.ask(CreateVmgroup(name="dev", default_datastore="ds1"))
    assert office.ask(RemoveVmgroup(name="dev", expect=first.revision, expect_id=UUID(first.subject))).done


def test_a_repeated_change_by_name_leaves_the_next_vmgroup_of_that_name(office: Office) -> None:
    order = UpdateVmgroup(name="dev", description="of the first")
    office.ask(CreateVmgroup(name="dev", default_datastore="ds1"))
    office.died(order)
    office.ask(RemoveVmgroup(name="dev"))
    office.ask(CreateVmgroup(name="dev", default_datastore="ds1", description="of the second"))
    with pytest.raises(VmgroupNotFound):
        office.again(order)
    assert office.site.store.group("dev").vmgroup.description == "of the second"


def test_a_repeated_move_goes_to_no_other_vmgroup_that_got_the_name(office: Office) -> None:
    office.site.create("db")
    office.ask(CreateVmgroup(name="dev", default_datastore="ds1"))
    office.site.restart(_dies)
    with pytest.raises(Killed):
        office.ask(MoveVolume(volume="db", to_vmgroup="dev"), CALL)
    office.site.restart()
    office.ask(RemoveVmgroup(name="dev"))
    office.ask(CreateVmgroup(name="dev", default_datastore="ds1"))
    with pytest.raises(VmgroupNotFound):
        office.again(MoveVolume(volume="db", to_vmgroup="dev"))
    assert office.site.records()[0].vmgroup == DEFAULT_VMGROUP


# --- what is made ----------------------------------------------------------------------------------------------------

VOLUME = CreateVolumeFor(vmgroup="_DEFAULT", name="db", options=(("size", "10mb"),))


def test_a_repeated_creation_makes_no_second_volume_beside_the_first_that_was_renamed(office: Office) -> None:
    office.died(VOLUME)
    first = office.site.records()[0]
    office.ask(RenameVolume(volume="db", new_name="web"))
    told = office.again(VOLUME)
    assert (told.done, told.plan.steps, told.subject) == (True, (), str(first.id))
    assert office.states() == [("web", State.READY)]


def test_a_repeated_creation_makes_none_beside_the_first_that_was_moved(office: Office) -> None:
    office.ask(CreateVmgroup(name="dev", default_datastore="ds1"))
    office.died(VOLUME)
    office.ask(MoveVolume(volume="db", to_vmgroup="dev"))
    assert office.again(VOLUME).plan.steps == ()
    assert office.states() == [("db", State.READY)]


def test_a_repeated_creation_leaves_another_s_volume_of_that_name(office: Office) -> None:
    office.died(VOLUME)
    first = office.site.records()[0]
    office.ask(RenameVolume(volume="db", new_name="web"))
    office.site.create("db", size="3gb")
    assert office.again(VOLUME).subject == str(first.id)


@pytest.mark.parametrize("retention_s", [0.0, 1000.0], ids=["for-good", "into-the-trash"])
def test_a_repeated_creation_does_not_bring_back_what_was_removed(retention_s: float) -> None:
    office = Office(retention_s)
    office.died(VOLUME)
    office.ask(TrashVolume(volume="db"))
    with pytest.raises(StaleRequest, match="made by this order, and removed since"):
        office.again(VOLUME)
    assert [name for name, state in office.states() if state is not State.TRASHED] == []


@pytest.mark.parametrize("point", [Point.COMMISSION_BEGUN, Point.CHANGE_SUBMITTED], ids=str)
def test_a_creation_that_died_under_its_work_is_made_once_by_its_repeat(office: Office, point: Point) -> None:
    office.site.restart(lambda passed: _dies(passed) if passed is point else None)
    with pytest.raises(Killed):
        office.ask(VOLUME, CALL)
    office.site.restart()
    office.again(VOLUME)
    assert office.states() == [("db", State.READY)]
    office.ask(RenameVolume(volume="db", new_name="web"))
    office.ask(VOLUME)
    assert office.states() == [("db", State.READY), ("web", State.READY)]


def test_a_creation_that_was_undone_and_then_made_is_known_to_its_repeat(office: Office) -> None:
    office.site.hypervisor.fail(NoSpace("full"))
    with pytest.raises(NoSpace):
        office.ask(VOLUME, CALL)
    mark = office.site.store.stored_answer(ADMINISTRATOR, key(CALL))
    office.died(VOLUME)
    made = office.site.records()[0]
    assert mark is not None
    assert str(made.id) not in mark.decode()
    office.ask(RenameVolume(volume="db", new_name="web"))
    assert office.again(VOLUME).subject == str(made.id)
    assert office.states() == [("web", State.READY)]


def test_a_repeated_creation_of_a_vmgroup_makes_no_second_one_beside_the_first_that_was_renamed(office: Office) -> None:
    order = CreateVmgroup(name="dev", default_datastore="ds1")
    office.died(order)
    first = office.site.store.group("dev").vmgroup.id
    office.ask(UpdateVmgroup(name="dev", new_name="old"))
    told = office.again(order)
    assert (told.done, told.plan.steps, told.subject) == (True, (), str(first))
    assert office.site.store.group("dev") is None


def test_a_repeated_list_of_machines_is_of_those_that_had_the_names(office: Office) -> None:
    office.ask(CreateVmgroup(name="dev", default_datastore="ds1"))
    order = AddMembers(name="dev", vms=("host-a",))
    office.died(order)
    office.ask(RemoveMembers(name="dev", vms=("host-a",)))
    swapped = {"host-a": "host-b", "host-b": "host-a"}
    for vm in office.site.hypervisor.machines():
        office.site.hypervisor.rename_vm(vm.id, swapped[vm.name])
    office.again(order)
    assert [each.vm for each in office.site.store.group("dev").members] == [A]


def test_what_an_older_version_kept_of_an_order_is_understood() -> None:
    order = TrashVolume(volume="db")
    assert meant_by(order, write(order, ["s", "ann", None])) == Meant("s")
    assert meant_by(order, kept(order, Meant("s", "to", ("a",)))) == Meant("s", "to", ("a",))
    assert who(write(order, ["s", "ann", None])) == "ann"
    assert who(write(order, ["s", 3, None])) is None


def _dies(_: object) -> None:
    raise Killed
