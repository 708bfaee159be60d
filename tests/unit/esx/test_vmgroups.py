"""What an administrator does with vmgroups, on a whole service in memory: each order, what stands against it, and races."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.unit.esx.site import DS1, DS2, GB, A, B, Site
from vmdkvol.admin_errors import (
    DefaultVmgroup,
    InvalidLimit,
    MemberElsewhere,
    RightNotFound,
    VmgroupNotEmpty,
    VmgroupNotFound,
    VmNotFound,
)
from vmdkvol.clock import Deadline
from vmdkvol.errors import (
    BadRequest,
    Busy,
    Conflict,
    DatastoreNotFound,
    HypervisorUnreachable,
    InvalidName,
    NameConflict,
    NotPermitted,
    QuotaExceeded,
    StaleRequest,
    TruthUnknown,
    VolumeError,
    VolumeInUse,
    VolumeNotFound,
)
from vmdkvol.frames import MAX_FRAME
from vmdkvol.messages import Attach, Call
from vmdkvol.names import ALL_DATASTORES
from vmdkvol.orders import Order, Outcome
from vmdkvol.vmgroup_messages import (
    VMGROUP_REQUESTS,
    AddMembers,
    CreateVmgroup,
    GetVmgroup,
    ListMembers,
    ListVmgroups,
    RemoveMembers,
    RemoveRight,
    RemoveVmgroup,
    ReplaceMembers,
    SetRight,
    UpdateVmgroup,
    VmgroupInfo,
)
from vmdkvol.volume import DEFAULT_VMGROUP, VmgroupId, VmId
from vmdkvol.volume_orders import TrashVolume
from vmdkvol.wire import answer_size
from vmdkvol_esx.choosing import Choosing
from vmdkvol_esx.discarding import Discarding
from vmdkvol_esx.ordering import Ordering
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.ports import AttachDisk, Datastore, DeviceLists, Vm
from vmdkvol_esx.records import Group, Member
from vmdkvol_esx.vmgroups import Vmgroups

C = VmId(UUID(int=0xC))


class Office:
    """A site with an administrator, whose orders see the hypervisor as ``seen`` shows it: with a third machine, host-c."""

    def __init__(self, retention_s: float = 0.0) -> None:
        self.site = Site(datastores=(DS1, DS2), retention_s=retention_s)
        self.site.store.set_default_datastore(DEFAULT_VMGROUP, DS1)
        self.seen: Any = Seen(self.site.hypervisor)
        self.vmgroups = self.over(self.site.store)

    def over(self, store: Any) -> Vmgroups:
        parts = replace(self.site.verbs.parts, hypervisor=self.seen, store=store)
        return Vmgroups(parts, self.trash, self.discarding.destroy, retention_s=self.site.retention_s)

    @property
    def discarding(self) -> Discarding:
        verbs = self.site.verbs
        ordering = Ordering(verbs.parts, Choosing(verbs.parts.store), verbs.journal, verbs.underway)
        return Discarding(verbs.parts, ordering, verbs.removing, verbs.owners, verbs.handover)

    @property
    def trash(self) -> Callable[[TrashVolume, Call], Outcome]:
        return self.discarding.trash

    def call(self) -> Call:
        return Call(uuid4(), Deadline.after(self.site.clock, 1000.0))

    def ask(self, request: Any) -> Any:
        return self.vmgroups.rows()[type(request)](request, self.call())

    def info(self, name: str) -> VmgroupInfo:
        found = self.ask(GetVmgroup(name=name))
        assert isinstance(found, VmgroupInfo)
        return found

    def make(self, name: str = "dev", *vms: str, datastore: str = "ds1") -> Outcome:
        outcome = self.ask(CreateVmgroup(name=name, default_datastore=datastore, vms=vms))
        assert isinstance(outcome, Outcome)
        return outcome

    def group(self, name: str) -> Group:
        found = self.site.store.group(name)
        assert isinstance(found, Group)
        return found

    def members(self, name: str = "dev") -> list[str]:
        return [each.name for each in self.group(name).members]


class Seen:
    """The hypervisor of an administrator's orders. ``between`` is done once, when devices have been looked at."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.vms = [*inner.vms(), Vm(C, "host-c", True)]
        self.places = list(inner.datastores())
        self.away = False
        self.between: Callable[[], object] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def machines(self) -> list[Vm]:
        if self.away:
            raise HypervisorUnreachable("away")
        return self.vms

    def datastores(self) -> list[Datastore]:
        return self.places

    def rename(self, vm: VmId, name: str) -> None:
        self.vms = [replace(each, name=name) if each.id == vm else each for each in self.vms]

    def devices(self, vms: Collection[VmId] | None) -> DeviceLists:
        found = self._inner.devices(vms)
        between, self.between = self.between, None
        if between is not None:
            between()
        assert isinstance(found, DeviceLists)
        return found


@pytest.fixture
def office() -> Office:
    return Office()


def test_every_message_has_its_row(office: Office) -> None:
    assert office.vmgroups.rows().keys() == set(VMGROUP_REQUESTS)


# --- seeing ------------------------------------------------------------------------------------------------------


def test_a_new_vmgroup_is_told_with_all_that_it_has(office: Office) -> None:
    outcome = office.make("dev", "host-a")
    info = office.info("dev")
    assert (outcome.done, outcome.subject, outcome.revision) == (True, str(info.id), info.revision)
    assert (info.name, info.default_datastore, info.description, info.volumes) == ("dev", DS1, "", 0)
    assert [(each.vm, each.name, each.running) for each in info.members] == [(A, "host-a", True)]
    assert info.member_count == 1
    assert [(each.datastore, each.allow_create, each.used_bytes) for each in info.rights] == [(DS1, True, 0)]


@pytest.mark.parametrize("spelled", [str, lambda key: str(key).upper()])
def test_a_vmgroup_is_found_by_its_id_too(office: Office, spelled: Callable[[object], str]) -> None:
    office.make("dev")
    assert office.info(spelled(office.info("dev").id)).name == "dev"


@pytest.mark.parametrize("name", ["", "Dev", "d%", str(UUID(int=99)), "dev ", "*", "\ud800", "dev\0"])
def test_what_is_no_vmgroup_is_not_found_and_the_known_ones_are_told(office: Office, name: str) -> None:
    office.make("dev")
    with pytest.raises(VmgroupNotFound, match="_DEFAULT, dev"):
        office.info(name)


def test_use_is_told_at_capacity_with_the_trash() -> None:
    office = Office(retention_s=1000.0)
    office.make("dev", "host-a")
    kept = office.site.create("db", A, size="3gb")
    office.site.remove(office.site.create("old", A, size="2gb").id, A)
    assert kept.vmgroup == office.info("dev").id
    info = office.info("dev")
    assert info.volumes == 2
    assert [(each.datastore, each.used_bytes) for each in info.usage] == [(DS1, 5 * GB)]
    assert info.rights[0].used_bytes == 5 * GB


def test_the_row_of_all_datastores_has_no_use_of_its_own(office: Office) -> None:
    assert [(each.datastore, each.used_bytes) for each in office.info("_DEFAULT").rights] == [(ALL_DATASTORES, None)]


def test_a_machine_that_is_deleted_stays_listed_under_its_name(office: Office) -> None:
    office.make("dev", "host-c")
    office.seen.vms.pop()
    assert [(each.name, each.running) for each in office.info("dev").members] == [("host-c", None)]


def test_a_machine_that_was_renamed_is_told_by_its_present_name(office: Office) -> None:
    office.make("dev", "host-c")
    office.seen.rename(C, "newer")
    assert [(each.name, each.running) for each in office.info("dev").members] == [("newer", True)]


def test_each_look_at_one_vmgroup_is_a_new_one(office: Office) -> None:
    office.make("dev", "host-c")
    assert [each.name for each in office.info("dev").members] == ["host-c"]
    office.seen.rename(C, "newer")
    assert [each.name for each in office.info("dev").members] == ["newer"]


def test_all_pages_of_a_list_are_of_one_look_for_a_minute(office: Office) -> None:
    office.make("dev", "host-c", "host-a")
    assert office.ask(ListMembers(name="dev", limit=1)).next == A
    office.seen.rename(C, "newer")
    assert [each.name for each in office.ask(ListMembers(name="dev", after=A)).members] == ["host-c"]
    office.site.clock.sleep(61.0)
    assert [each.name for each in office.ask(ListMembers(name="dev", after=A)).members] == ["newer"]


def test_vmgroups_are_told_while_the_hypervisor_is_away(office: Office) -> None:
    office.make("dev", "host-a")
    office.seen.away = True
    assert [(each.name, each.running) for each in office.info("dev").members] == [("host-a", None)]


def test_a_page_ends_where_an_answer_would_and_the_next_one_goes_on(office: Office) -> None:
    names = [f"team-{number:03}" for number in range(120)]
    for name in names:
        office.make(name)
        office.ask(UpdateVmgroup(name=name, description="x" * 256))
    found, after = list[str](), None
    while True:
        page = office.ask(ListVmgroups(after=after, limit=200))
        assert answer_size(page) < MAX_FRAME
        found += [each.name for each in page.vmgroups]
        after = page.next
        if after is None:
            break
    assert found == ["_DEFAULT", *names]


def test_a_vmgroup_with_more_members_than_fit_says_how_many_there_are(office: Office) -> None:
    office.make("big")
    group = office.group("big")
    members = tuple(Member(VmId(UUID(int=number)), f"virtual machine number {number}") for number in range(1000, 2500))
    office.site.store.put_group(replace(group, members=members), expect=group.vmgroup.revision)
    info = office.info("big")
    assert answer_size(info) < MAX_FRAME
    assert (info.member_count, 200 < len(info.members) < 1500) == (1500, True)
    assert len(office.ask(ListMembers(name="big", limit=200)).members) == 200


def test_vmgroups_come_in_pages_by_name(office: Office) -> None:
    for name in ("b", "a", "c"):
        office.make(name)
    first = office.ask(ListVmgroups(limit=3))
    assert ([each.name for each in first.vmgroups], first.next) == (["_DEFAULT", "a", "b"], "b")
    last = office.ask(ListVmgroups(after="b", limit=3))
    assert ([each.name for each in last.vmgroups], last.next) == (["c"], None)


def test_members_come_in_pages_by_id(office: Office) -> None:
    office.make("dev", "host-c", "host-a", "host-b")
    first = office.ask(ListMembers(name="dev", limit=2))
    assert ([each.vm for each in first.members], first.next) == ([A, B], B)
    last = office.ask(ListMembers(name="dev", after=B, limit=2))
    assert ([each.vm for each in last.members], last.next) == ([C], None)


@pytest.mark.parametrize("limit", [0, -1, 201])
def test_a_page_that_is_too_long_or_none_is_refused(office: Office, limit: int) -> None:
    for request in (ListVmgroups(limit=limit), ListMembers(name="_DEFAULT", limit=limit)):
        with pytest.raises(BadRequest):
            office.ask(request)


# --- what every order has in common ------------------------------------------------------------------------------

ORDERS: list[Order] = [
    CreateVmgroup(name="new", default_datastore="ds2", description="x", vms=("host-c",), defaults=(("size", "1gb"),)),
    UpdateVmgroup(name="dev", new_name="ops", description="x", default_datastore="ds2", policies=("gold",)),
    RemoveVmgroup(name="dev", force=True),
    AddMembers(name="dev", vms=("host-b",)),
    RemoveMembers(name="dev", vms=("host-a",)),
    ReplaceMembers(name="dev", vms=("host-b", "host-c")),
    SetRight(name="dev", datastore="ds2", allow_create=True, total_bytes=GB),
    RemoveRight(name="dev", datastore="_ALL_DS"),
]


def a_site(office: Office) -> Group:
    office.site.hypervisor.policies = ("gold",)
    office.make("dev", "host-a")
    office.ask(SetRight(name="dev", datastore="_ALL_DS", allow_create=False))
    return office.group("dev")


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: type(order).__name__)
def test_a_dry_run_changes_nothing_and_has_the_plan_of_the_real_one(office: Office, order: Order) -> None:
    a_site(office)
    before = office.site.store.groups()
    dry = office.ask(replace(order, dry_run=True))
    assert office.site.store.groups() == before
    assert (dry.done, bool(dry.plan.steps)) == (False, True)
    real = office.ask(order)
    assert (real.done, real.plan) == (True, dry.plan)
    assert office.site.store.groups() != before


@pytest.mark.parametrize("order", ORDERS[1:], ids=lambda order: type(order).__name__)
def test_the_second_of_two_administrators_is_told_instead_of_winning_silently(office: Office, order: Order) -> None:
    seen = a_site(office).vmgroup.revision
    office.ask(UpdateVmgroup(name="dev", description="the first one's", expect=seen))
    before = office.site.store.groups()
    for dry_run in (True, False):
        with pytest.raises(StaleRequest):
            office.ask(replace(order, expect=seen, dry_run=dry_run))
    assert office.site.store.groups() == before


@pytest.mark.parametrize("order", ORDERS[1:], ids=lambda order: type(order).__name__)
def test_who_expects_nothing_gets_through_a_change_that_comes_in_between(office: Office, order: Order) -> None:
    a_site(office)
    disturbed = Disturbed(office.site.store, lambda: office.ask(UpdateVmgroup(name="dev", description=str(uuid4()))))
    outcome = office.over(disturbed).rows()[type(order)](order, office.call())
    assert outcome.done
    assert disturbed.times == 0


@pytest.mark.parametrize("order", ORDERS[1:], ids=lambda order: type(order).__name__)
def test_who_expects_a_revision_does_not(office: Office, order: Order) -> None:
    seen = a_site(office).vmgroup.revision
    disturbed = Disturbed(office.site.store, lambda: office.ask(UpdateVmgroup(name="dev", description=str(uuid4()))))
    with pytest.raises(StaleRequest):
        office.over(disturbed).rows()[type(order)](replace(order, expect=seen), office.call())
    assert office.group("dev").vmgroup.name == "dev"


class Disturbed:
    """A store in which somebody does something right before a group is written, twice."""

    def __init__(self, inner: Any, deed: Callable[[], object]) -> None:
        self._inner, self._deed, self.times = inner, deed, 2

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def put_group(self, *args: Any, **named: Any) -> Any:
        self._disturb()
        return self._inner.put_group(*args, **named)

    def delete_group(self, *args: Any, **named: Any) -> Any:
        self._disturb()
        return self._inner.delete_group(*args, **named)

    def _disturb(self) -> None:
        if self.times:
            self.times -= 1
            self._deed()


@pytest.mark.parametrize("order", ORDERS[1:], ids=lambda order: type(order).__name__)
def test_an_order_for_a_vmgroup_that_is_not_there_is_refused(office: Office, order: Order) -> None:
    with pytest.raises(VmgroupNotFound):
        office.ask(order)


@pytest.mark.parametrize("order", [*ORDERS[:2], *ORDERS[3:7]], ids=lambda order: type(order).__name__)
def test_the_same_again_is_a_success_without_a_step(office: Office, order: Order) -> None:
    a_site(office)
    first = office.ask(order)
    again = office.ask(replace(order, name=first.subject) if isinstance(order, UpdateVmgroup) else order)
    assert (again.done, again.plan.steps, again.revision) == (True, (), first.revision)


# --- created and removed -----------------------------------------------------------------------------------------


def test_names_in_other_letters_are_other_vmgroups(office: Office) -> None:
    """As in vDVS, from which both may come; each is found by its own spelling alone."""
    first, second = office.make("t1").subject, office.make("T1").subject
    assert first != second
    assert [office.info(name).id for name in ("t1", "T1")] == [VmgroupId(UUID(first)), VmgroupId(UUID(second))]


def test_another_vmgroup_of_the_name_is_a_conflict(office: Office) -> None:
    office.make("dev", "host-a")
    for datastore, vms in (("ds2", ["host-a"]), ("ds1", []), ("ds1", ["host-a", "host-b"])):
        with pytest.raises(NameConflict):
            office.make("dev", *vms, datastore=datastore)
    assert office.members() == ["host-a"]


@pytest.mark.parametrize(
    ("order", "error"),
    [
        pytest.param(CreateVmgroup(name="a/b", default_datastore="ds1"), InvalidName, id="name"),
        pytest.param(CreateVmgroup(name="new", default_datastore="ds9"), DatastoreNotFound, id="unknown-datastore"),
        pytest.param(CreateVmgroup(name="new", default_datastore="DS1"), DatastoreNotFound, id="another-case"),
        pytest.param(CreateVmgroup(name="new", default_datastore="_ALL_DS"), BadRequest, id="all-datastores"),
        pytest.param(CreateVmgroup(name="new", default_datastore="ds1", vms=("nobody",)), VmNotFound, id="unknown-machine"),
        pytest.param(CreateVmgroup(name="new", default_datastore="ds1", vms=("host-b",) * 2), BadRequest, id="machine-twice"),
        pytest.param(
            CreateVmgroup(name="new", default_datastore="ds1", vms=("host-b", str(B))), BadRequest, id="machine-by-two-names"
        ),
        pytest.param(CreateVmgroup(name="new", default_datastore="ds1", vms=("host-a",)), MemberElsewhere, id="of-another"),
        pytest.param(CreateVmgroup(name="_DEFAULT", default_datastore="ds1", vms=("host-b",)), DefaultVmgroup, id="default"),
    ],
)
def test_a_vmgroup_is_not_made(office: Office, order: CreateVmgroup, error: type[VolumeError]) -> None:
    office.make("dev", "host-a")
    before = office.site.store.groups()
    for dry_run in (True, False):
        with pytest.raises(error):
            office.ask(replace(order, dry_run=dry_run))
    assert office.site.store.groups() == before


def test_the_default_vmgroup_goes_and_comes_back_with_its_id(office: Office) -> None:
    assert office.ask(RemoveVmgroup(name="_DEFAULT")).plan.loses is not None
    with pytest.raises(NotPermitted):
        office.site.create("db", A)
    outcome = office.make("_DEFAULT")
    assert outcome.subject == str(DEFAULT_VMGROUP)
    assert office.site.create("db", A).vmgroup == DEFAULT_VMGROUP


def test_a_vmgroup_with_machines_is_removed_by_force_only(office: Office) -> None:
    office.make("dev", "host-a")
    with pytest.raises(VmgroupNotEmpty):
        office.ask(RemoveVmgroup(name="dev"))
    office.ask(RemoveVmgroup(name="dev", force=True))
    assert office.site.store.group("dev") is None
    assert office.site.create("db", A).vmgroup == DEFAULT_VMGROUP


@pytest.mark.parametrize("retention_s", [0.0, 1000.0])
def test_a_vmgroup_with_volumes_is_not_removed(retention_s: float) -> None:
    office = Office(retention_s)
    office.make("dev", "host-a")
    volume = office.site.create("db", A)
    with pytest.raises(VmgroupNotEmpty, match="has 1 volume,"):
        office.ask(RemoveVmgroup(name="dev", force=True))
    assert office.members() == ["host-a"]
    office.site.remove(volume.id, A)
    if retention_s:
        with pytest.raises(VmgroupNotEmpty, match="trash"):
            office.ask(RemoveVmgroup(name="dev", force=True))
    else:
        office.ask(RemoveVmgroup(name="dev", force=True))


def test_a_removal_that_was_cut_off_leaves_the_machines_in_and_is_finished_by_the_same_again(office: Office) -> None:
    office.make("dev", "host-a")
    with pytest.raises(Busy):
        office.over(Failing(office.site.store)).remove(RemoveVmgroup(name="dev", force=True), office.call())
    assert office.members() == ["host-a"]
    assert office.ask(RemoveVmgroup(name="dev", force=True)).done


def test_a_machine_that_begins_to_use_a_volume_after_the_look_holds_its_vmgroup(office: Office) -> None:
    office.make("dev", "host-a")
    office.seen.between = lambda: office.site.attach(office.site.create("db", A).id, A)
    with pytest.raises(VmgroupNotEmpty):
        office.ask(RemoveVmgroup(name="dev", force=True))
    assert office.members() == ["host-a"]


def test_a_machine_that_comes_in_right_before_a_removal_stops_it(office: Office) -> None:
    office.make("dev")
    disturbed = Disturbed(office.site.store, lambda: office.ask(AddMembers(name="dev", vms=("host-a",))))
    with pytest.raises(VmgroupNotEmpty):
        office.over(disturbed).remove(RemoveVmgroup(name="dev"), office.call())
    assert office.members() == ["host-a"]


class Failing:
    """A store that removes no group."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def delete_group(self, *_: Any, **__: Any) -> None:
        raise Busy("the database is locked")


def test_a_vmgroup_is_renamed_and_keeps_its_volumes(office: Office) -> None:
    office.make("dev", "host-a")
    volume = office.site.create("db", A)
    office.ask(UpdateVmgroup(name="dev", new_name="ops"))
    assert office.site.get("db", A).id == volume.id
    assert office.info("ops").id == volume.vmgroup
    office.make("dev")
    for dry_run in (True, False):
        with pytest.raises(NameConflict):
            office.ask(UpdateVmgroup(name="dev", new_name="ops", dry_run=dry_run))


def test_a_default_datastore_is_one_that_there_is(office: Office) -> None:
    office.make("dev")
    with pytest.raises(DatastoreNotFound, match="ds1, ds2"):
        office.ask(UpdateVmgroup(name="dev", default_datastore="ds9"))
    office.seen.places = []
    assert office.ask(UpdateVmgroup(name="dev", description="still possible")).done


# --- members -----------------------------------------------------------------------------------------------------

MOVES: list[Order] = [
    AddMembers(name="dev", vms=("host-a",)),
    ReplaceMembers(name="dev", vms=("host-a", "host-b")),
    CreateVmgroup(name="new", default_datastore="ds1", vms=("host-a",)),
    RemoveMembers(name="ops", vms=("host-a",)),
    ReplaceMembers(name="ops", vms=("host-c",)),
    RemoveVmgroup(name="empty", force=True),
]


def before_a_move(office: Office, order: Order) -> None:
    """Make the groups; host-a is in the one that the order takes it out of."""
    named = getattr(order, "name", "")
    source = named if named in ("ops", "empty") else None
    for name in ("dev", "ops", "empty"):
        office.make(name, *(["host-a"] if name == source else []))


def moves(order: Order) -> str:
    return f"{type(order).__name__}-{getattr(order, 'name', '')}"


@pytest.mark.parametrize("order", MOVES, ids=moves)
def test_a_machine_without_a_disk_changes_its_vmgroup(office: Office, order: Order) -> None:
    before_a_move(office, order)
    was = office.site.store.vmgroup(A).name
    assert office.ask(order).done
    assert office.site.store.vmgroup(A).name != was


@pytest.mark.parametrize("order", MOVES, ids=moves)
def test_a_machine_with_a_volumes_disk_does_not(office: Office, order: Order) -> None:
    before_a_move(office, order)
    attach_of(office, order)
    before = office.site.store.groups()
    for dry_run in (True, False):
        with pytest.raises(VolumeInUse, match="host-a"):
            office.ask(replace(order, dry_run=dry_run))
    assert office.site.store.groups() == before


def attach_of(office: Office, order: Order) -> None:
    """Attach a volume of the machine's own group; for the one that is to be removed, of another, as after a repair by hand."""
    if getattr(order, "name", "") == "empty":
        volume = office.site.create("db", B)
        office.site.hypervisor.submit(AttachDisk(A, disk_ref(office.site.record(volume.id)), "persistent"), uuid4())
    else:
        office.site.attach(office.site.create("db", A).id, A)


def lost(office: Office, name: str, *machines: VmId) -> None:
    """As after a rebuild without the old database: of the vmgroup there is the id, and no members."""
    group = office.group(name)
    gone = tuple(each for each in group.members if each.vm not in machines)
    office.site.store.put_group(replace(group, members=gone), expect=group.vmgroup.revision)


@pytest.mark.parametrize(
    "order", [AddMembers(name="dev", vms=("host-a",)), ReplaceMembers(name="dev", vms=("host-a",))], ids=moves
)
def test_a_machine_comes_back_to_its_volumes_while_it_has_their_disks(office: Office, order: Order) -> None:
    office.make("dev", "host-a")
    volume = office.site.create("db", A)
    office.site.attach(volume.id, A)
    lost(office, "dev", A)
    assert office.ask(order).done
    assert office.members() == ["host-a"]
    assert [each.volume for each in office.site.attached(A)] == [volume.id]


def test_a_machine_with_disks_of_two_vmgroups_comes_to_neither(office: Office) -> None:
    office.make("dev", "host-a")
    office.site.attach(office.site.create("db", A).id, A)
    lost(office, "dev", A)
    office.site.attach(office.site.create("other", A).id, A)
    with pytest.raises(VolumeInUse, match="other is attached to 'host-a'"):
        office.ask(AddMembers(name="dev", vms=("host-a",)))
    assert office.members() == []


@pytest.mark.parametrize("order", MOVES, ids=moves)
def test_a_machine_whose_disks_cannot_be_read_does_not(office: Office, order: Order) -> None:
    before_a_move(office, order)
    office.site.hypervisor.leaves_out = (A,)
    before = office.site.store.groups()
    with pytest.raises(TruthUnknown, match="host-a"):
        office.ask(order)
    assert office.site.store.groups() == before


@pytest.mark.parametrize("order", MOVES[:5], ids=moves)
def test_a_machine_to_which_a_disk_is_on_its_way_does_not(office: Office, order: Order) -> None:
    before_a_move(office, order)
    volume = office.site.create("db", A)
    office.site.hypervisor.takes(AttachDisk, 30.0)
    office.site.leave(Attach(volume.id), A)
    before = office.site.store.groups()
    with pytest.raises(Busy, match="host-a"):
        office.ask(order)
    assert office.site.store.groups() == before


@pytest.mark.parametrize("order", MOVES[:5], ids=moves)
def test_a_machine_that_gets_a_disk_after_the_look_does_not(office: Office, order: Order) -> None:
    before_a_move(office, order)
    volume = office.site.create("db", A)
    office.seen.between = lambda: office.site.attach(volume.id, A)
    before = office.site.store.groups()
    with pytest.raises(Busy):
        office.ask(order)
    assert office.site.store.groups() == before
    assert office.seen.between is None


@pytest.mark.parametrize("order", MOVES[:5], ids=moves)
def test_a_machine_that_has_given_its_disk_back_does(office: Office, order: Order) -> None:
    before_a_move(office, order)
    office.site.detach(office.site.attach(office.site.create("db", A).id, A), A)
    assert office.ask(order).done


def test_another_machines_disk_holds_nobody(office: Office) -> None:
    office.make("dev")
    office.site.attach(office.site.create("db", B).id, B)
    assert office.ask(AddMembers(name="dev", vms=("host-a",))).done


def test_who_was_moved_sees_the_volumes_of_its_vmgroup_only(office: Office) -> None:
    old = office.site.create("db", A)
    office.make("dev", "host-a")
    with pytest.raises(VolumeNotFound):
        office.site.get("db", A)
    new = office.site.create("db", A)
    assert (new.id, office.site.get("db", B).id) == (office.site.get("db", A).id, old.id)


def test_a_machine_is_in_one_vmgroup(office: Office) -> None:
    office.make("dev", "host-a")
    office.make("ops")
    for order in (AddMembers(name="ops", vms=("host-a",)), ReplaceMembers(name="ops", vms=("host-b", "host-a"))):
        with pytest.raises(MemberElsewhere, match="in vmgroup dev"):
            office.ask(order)
    assert office.members("ops") == []


@pytest.mark.parametrize("vms", [("nobody",), ("HOST-B",), ("host-b", "nobody"), ("",), (str(UUID(int=99)),), ("host*",)])
def test_one_unknown_machine_stops_the_whole_list(office: Office, vms: tuple[str, ...]) -> None:
    office.make("dev", "host-a")
    for order in (AddMembers(name="dev", vms=vms), RemoveMembers(name="dev", vms=vms), ReplaceMembers(name="dev", vms=vms)):
        with pytest.raises(VmNotFound):
            office.ask(order)
    assert office.members() == ["host-a"]


@pytest.mark.parametrize("vms", [(), ("host-b", "host-b"), ("host-b", str(B)), (str(B), str(B).upper())])
def test_an_empty_or_double_list_is_refused(office: Office, vms: tuple[str, ...]) -> None:
    office.make("dev", "host-b")
    for order in (AddMembers(name="dev", vms=vms), RemoveMembers(name="dev", vms=vms), ReplaceMembers(name="dev", vms=vms)):
        with pytest.raises(BadRequest):
            office.ask(order)
    assert office.members() == ["host-b"]


def test_a_name_that_two_machines_have_names_neither(office: Office) -> None:
    office.make("dev")
    office.seen.rename(C, "host-b")
    with pytest.raises(Conflict, match=str(C)):
        office.ask(AddMembers(name="dev", vms=("host-b",)))
    assert office.ask(AddMembers(name="dev", vms=(str(C),))).done


def test_a_deleted_machine_is_taken_out_by_its_old_name(office: Office) -> None:
    office.make("dev", "host-a", "host-c")
    office.seen.vms.pop()
    office.ask(RemoveMembers(name="dev", vms=("host-c",)))
    assert office.members() == ["host-a"]


def test_a_machine_is_taken_out_by_the_name_that_it_has_now(office: Office) -> None:
    office.make("dev", "host-a", "host-c")
    office.seen.rename(C, "newer")
    office.ask(RemoveMembers(name="dev", vms=("newer",)))
    assert office.members() == ["host-a"]


def test_an_old_name_that_is_another_machines_now_takes_neither_out(office: Office) -> None:
    office.make("dev", "host-c")
    office.seen.rename(C, "newer")
    office.seen.vms.append(Vm(VmId(UUID(int=0xD)), "host-c", True))
    with pytest.raises(Conflict):
        office.ask(RemoveMembers(name="dev", vms=("host-c",)))
    assert office.members() == ["host-c"]


def test_who_is_in_no_list_is_not_taken_out_of_it(office: Office) -> None:
    office.make("dev", "host-a")
    assert office.ask(RemoveMembers(name="dev", vms=("host-b",))).plan.steps == ()


@pytest.mark.parametrize("kind", [AddMembers, RemoveMembers, ReplaceMembers])
def test_the_default_vmgroup_has_no_list(office: Office, kind: Any) -> None:
    with pytest.raises(DefaultVmgroup):
        office.ask(kind(name="_DEFAULT", vms=("host-a",)))


# --- rights ------------------------------------------------------------------------------------------------------


def test_a_quota_holds_from_its_order_on(office: Office) -> None:
    office.make("dev", "host-a")
    office.site.create("one", A, size="2gb")
    office.ask(SetRight(name="dev", datastore="ds1", total_bytes=3 * GB))
    with pytest.raises(QuotaExceeded):
        office.site.create("two", A, size="2gb")
    office.ask(SetRight(name="dev", datastore="ds1", unset=("total_bytes",)))
    office.site.create("two", A, size="2gb")


def test_a_quota_below_the_present_use_is_taken_and_touches_no_volume(office: Office) -> None:
    office.make("dev", "host-a")
    volume = office.site.create("one", A, size="2gb")
    outcome = office.ask(SetRight(name="dev", datastore="ds1", total_bytes=GB))
    assert "2gb on ds1; nothing new fits" in (outcome.plan.steps[0].after or "")
    office.site.detach(office.site.attach(volume.id, A), A)
    with pytest.raises(QuotaExceeded):
        office.site.create("two", A, size="1gb")
    office.site.remove(volume.id, A)


def test_a_right_is_for_a_datastore_that_there_is(office: Office) -> None:
    office.make("dev")
    with pytest.raises(DatastoreNotFound):
        office.ask(SetRight(name="dev", datastore="ds9"))
    office.ask(SetRight(name="dev", datastore="ds2", allow_create=False))
    office.seen.places = []
    assert office.ask(SetRight(name="dev", datastore="ds2", max_bytes=GB)).done
    assert office.ask(RemoveRight(name="dev", datastore="ds2")).done


def test_limits_that_do_not_fit_change_nothing(office: Office) -> None:
    office.make("dev")
    before = office.group("dev")
    with pytest.raises(InvalidLimit):
        office.ask(SetRight(name="dev", datastore="ds1", max_bytes=2 * GB, total_bytes=GB))
    assert office.group("dev") == before


def test_a_right_that_is_not_there_is_not_taken_away(office: Office) -> None:
    office.make("dev")
    with pytest.raises(RightNotFound):
        office.ask(RemoveRight(name="dev", datastore="ds2"))


def test_a_machine_keeps_nothing_of_a_right_that_is_taken_away(office: Office) -> None:
    office.make("dev", "host-a")
    office.ask(SetRight(name="dev", datastore="ds2", allow_create=True))
    office.site.create("db@ds2", A)
    office.ask(RemoveRight(name="dev", datastore="ds2"))
    with pytest.raises(NotPermitted):
        office.site.create("other@ds2", A)
