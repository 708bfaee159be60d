"""Vmgroups in the store: who is in which, what it may, what its volumes take; two administrators, and a machine that moves."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from tests.contract.store_benches import OTHER_GROUP, Stores, attaching, clone, creating, new_record, raised, ready, ref
from vmdkvol.admin_errors import VmgroupNotEmpty
from vmdkvol.errors import (
    Busy,
    Conflict,
    NameConflict,
    NotPermitted,
    QuotaExceeded,
    StaleRequest,
    VolumeError,
    VolumeNotFound,
)
from vmdkvol.names import ALL_DATASTORES, VM_DATASTORE, DatastoreName
from vmdkvol.volume import DEFAULT_VMGROUP, State, VmgroupId, VmId
from vmdkvol_esx.ports import GrowDisk, Store
from vmdkvol_esx.records import Group, Intent, Member, Right, Vmgroup, VolumeRecord

GB = 1 << 30
DS1, DS2 = DatastoreName("ds1"), DatastoreName("ds2")
RED = VmgroupId(UUID(int=0x4ED))
A, B = VmId(UUID(int=0xA)), VmId(UUID(int=0xB))


def group(
    *vms: VmId, rights: tuple[Right, ...] = (Right(DS1, allow_create=True),), name: str = "red", id: VmgroupId = RED
) -> Group:
    return Group(Vmgroup(id, name, DS1), rights, tuple(Member(vm, f"vm-{vm.int:x}") for vm in vms))


def everything(store: Store) -> tuple[object, ...]:
    return store.groups(), store.page(None, None, 1000), store.open_intents()


def a_volume(vmgroup: VmgroupId = RED, name: str = "db", size: int = GB, datastore: DatastoreName = DS1) -> VolumeRecord:
    return replace(new_record(name), vmgroup=vmgroup, size_bytes=size, datastore=datastore)


def begin(store: Store, record: VolumeRecord, vm: VmId | None = A, home: DatastoreName | None = None) -> Intent:
    intent = replace(creating(record), caller=vm)
    store.begin(intent, record, home=home)
    return intent


def made(store: Store, record: VolumeRecord, vm: VmId | None = A) -> VolumeRecord:
    intent = begin(store, record, vm)
    done = replace(record, state=State.READY)
    store.finish(intent.id, done)
    return done


# --- who is in which ---------------------------------------------------------------------------------------------


def test_a_new_database_has_the_default_vmgroup_which_may_do_everything_everywhere(store: Store) -> None:
    (default,) = store.groups()

    assert (default.vmgroup.id, default.vmgroup.name, default.vmgroup.revision) == (DEFAULT_VMGROUP, "_DEFAULT", 1)
    assert default.rights == (Right(ALL_DATASTORES, allow_create=True),)
    assert default.members == ()


def test_a_group_is_read_back_whole(stores: Stores) -> None:
    vmgroup = Vmgroup(RED, "red", VM_DATASTORE, "ours, ü", (("size", "1gb"), ("fstype", "xfs")), ("gold", "silver"))
    rights = (
        Right(ALL_DATASTORES, allow_create=False),
        Right(VM_DATASTORE, True, GB, None),
        Right(DS1, True, GB, 2 * GB, ("gold",)),
    )
    whole = Group(vmgroup, tuple(sorted(rights, key=lambda right: right.datastore)), (Member(A, "a"), Member(B, "b")))

    stored = stores.store.put_group(whole, expect=None)

    store = stores.again()
    assert store.group("red") == store.group_by_id(RED) == stored == whole
    assert [each.vmgroup.name for each in store.groups()] == ["_DEFAULT", "red"]
    assert store.vmgroup_names() == {DEFAULT_VMGROUP: "_DEFAULT", RED: "red"}


def test_rights_and_members_are_told_in_one_order(store: Store) -> None:
    put = group(B, A, rights=(Right(DS2, allow_create=True), Right(DS1, allow_create=True)))

    stored = store.put_group(put, expect=None)

    assert [right.datastore for right in stored.rights] == [DS1, DS2]
    assert [member.vm for member in stored.members] == [A, B]


def test_a_member_is_in_its_group_and_everybody_else_in_the_default_one(stores: Stores) -> None:
    stores.store.put_group(group(A), expect=None)
    store = stores.again()

    assert store.vmgroup(A).id == RED
    assert store.vmgroup(B).id == DEFAULT_VMGROUP
    assert store.group_of(A) == group()
    assert store.tenancy(A).group == group()


@pytest.mark.parametrize("name", ["Red", "RED", "red ", "re", "r%d", ""])
def test_another_spelling_is_no_group(store: Store, name: str) -> None:
    store.put_group(group(), expect=None)

    assert store.group(name) is None


def test_what_is_not_there_is_none(store: Store) -> None:
    assert store.group_by_id(RED) is None
    assert store.usage(RED) == {}
    assert store.volume_count(RED) == 0


def test_without_the_default_group_a_machine_that_nobody_put_into_one_is_in_none(stores: Stores) -> None:
    stores.store.delete_group(DEFAULT_VMGROUP, expect=1)
    store = stores.again()

    for ask in (store.vmgroup, store.group_of, store.tenancy):
        with pytest.raises(NotPermitted, match="in no vmgroup"):
            ask(A)


def test_the_default_group_comes_back_with_the_same_id(store: Store) -> None:
    store.delete_group(DEFAULT_VMGROUP, expect=None)

    store.put_group(Group(Vmgroup(DEFAULT_VMGROUP, "_DEFAULT", DS1), (Right(DS1, allow_create=True),)), expect=None)

    assert store.vmgroup(A).id == DEFAULT_VMGROUP
    assert store.group_of(A).rights == (Right(DS1, allow_create=True),)


# --- two administrators ------------------------------------------------------------------------------------------


def test_each_change_raises_the_revision_by_one(store: Store) -> None:
    first = store.put_group(group(), expect=None)
    second = store.put_group(group(A), expect=1)

    assert (first.vmgroup.revision, second.vmgroup.revision) == (1, 2)


def test_the_revision_in_the_value_counts_for_nothing(store: Store) -> None:
    put = group()

    stored = store.put_group(replace(put, vmgroup=replace(put.vmgroup, revision=77)), expect=None)

    assert stored.vmgroup.revision == 1


@pytest.mark.parametrize("expect", [0, 1, 3, 99])
def test_the_second_of_two_administrators_is_refused(store: Store, expect: int) -> None:
    store.put_group(group(), expect=None)
    store.put_group(group(A), expect=1)
    before = everything(store)

    with pytest.raises(StaleRequest, match="red"):
        store.put_group(group(B), expect=expect)
    with pytest.raises(StaleRequest):
        store.delete_group(RED, expect=expect)
    assert everything(store) == before


def test_a_change_of_a_group_that_is_gone_does_not_make_it_anew(store: Store) -> None:
    with pytest.raises(StaleRequest, match="is gone"):
        store.put_group(group(), expect=1)
    assert store.group_by_id(RED) is None


@pytest.mark.parametrize("put", [group(name="_DEFAULT"), group(id=DEFAULT_VMGROUP), group(name="_DEFAULT", id=DEFAULT_VMGROUP)])
def test_a_name_or_an_id_is_not_given_twice(store: Store, put: Group) -> None:
    before = everything(store)

    with pytest.raises(NameConflict):
        store.put_group(put, expect=None)
    assert everything(store) == before


def test_a_group_does_not_take_anothers_name(store: Store) -> None:
    store.put_group(group(), expect=None)
    before = everything(store)

    with pytest.raises(NameConflict, match="_DEFAULT"):
        store.put_group(group(name="_DEFAULT"), expect=1)
    assert everything(store) == before


def test_a_group_may_get_another_name(store: Store) -> None:
    store.put_group(group(A), expect=None)

    store.put_group(group(A, name="crimson"), expect=1)

    assert store.group("red") is None
    assert store.vmgroup(A).name == "crimson"


def test_a_machine_is_in_one_group_only(store: Store) -> None:
    store.put_group(group(A), expect=None)
    before = everything(store)

    with pytest.raises(Conflict, match="red"):
        store.put_group(group(A, B, name="blue", id=OTHER_GROUP), expect=None)
    assert everything(store) == before


def test_a_machine_is_not_twice_in_a_group(store: Store) -> None:
    with pytest.raises(Conflict):
        store.put_group(group(A, A), expect=None)
    assert store.group("red") is None


def test_a_machine_that_was_taken_out_goes_into_another_group(store: Store) -> None:
    store.put_group(group(A), expect=None)
    store.put_group(group(), expect=1)

    store.put_group(group(A, name="blue", id=OTHER_GROUP), expect=None)

    assert store.vmgroup(A).name == "blue"


# --- the end of a group ------------------------------------------------------------------------------------------


def test_a_removed_group_is_gone_with_its_members(stores: Stores) -> None:
    stores.store.put_group(group(A), expect=None)
    stores.store.delete_group(RED, expect=1)
    store = stores.again()

    assert store.group("red") is None
    assert store.vmgroup(A).id == DEFAULT_VMGROUP
    store.put_group(group(A), expect=None)


def test_to_remove_what_is_not_there_is_fine(store: Store) -> None:
    store.delete_group(RED, expect=None)
    store.delete_group(RED, expect=5)


@pytest.mark.parametrize("state", [State.READY, State.TRASHED, State.REMOVING, State.LOST])
def test_a_group_with_a_volume_in_any_state_stays(store: Store, state: State) -> None:
    store.put_group(group(A), expect=None)
    record = made(store, a_volume())
    store.update(replace(raised(record), state=state), expect=1)
    before = everything(store)

    with pytest.raises(VmgroupNotEmpty, match="has volumes"):
        store.delete_group(RED, expect=1)
    assert everything(store) == before


def test_a_group_whose_machine_got_a_disk_since_somebody_looked_stays(store: Store) -> None:
    record = ready(store)
    store.put_group(group(A), expect=None)
    looked = store.change_number()
    store.update(replace(raised(record), last_vm=A), expect=1)
    before = everything(store)

    with pytest.raises(Busy, match="just now"):
        store.delete_group(RED, expect=1, unmoved_since=looked)
    assert everything(store) == before
    store.delete_group(RED, expect=1, unmoved_since=store.change_number())
    assert store.group("red") is None


# --- what changed for whom ---------------------------------------------------------------------------------------


def test_a_group_says_when_its_machines_must_list_everything_anew(store: Store) -> None:
    start = store.change_number()
    store.put_group(group(A), expect=None)

    assert store.vmgroup(A).changed > start
    # A came out of the default group.
    assert store.vmgroup(B).changed == store.vmgroup(A).changed
    joined = store.change_number()
    store.put_group(group(A, rights=()), expect=1)
    assert store.vmgroup(A).changed > joined
    assert store.vmgroup(B).changed == joined
    store.delete_group(RED, expect=2)
    assert store.vmgroup(A).changed == store.change_number()


def test_a_machine_that_got_a_disk_since_somebody_looked_does_not_move(store: Store) -> None:
    record = ready(store)
    looked = store.change_number()
    store.update(replace(raised(record), last_vm=A), expect=1)
    before = everything(store)

    with pytest.raises(Busy, match="just now"):
        store.put_group(group(A), expect=None, unmoved_since=looked)
    assert everything(store) == before
    store.put_group(group(B), expect=None, unmoved_since=looked)
    store.put_group(group(A, B), expect=1, unmoved_since=store.change_number())
    used = store.volume(record.id)
    assert used is not None
    store.update(raised(used), expect=2)
    # Who stays is in nobody's way, who goes is.
    store.put_group(group(A), expect=2, unmoved_since=looked)
    with pytest.raises(Busy):
        store.put_group(group(), expect=3, unmoved_since=looked)


# --- quota -------------------------------------------------------------------------------------------------------


def limited(store: Store, *, largest: int | None = None, total: int | None = None, on: DatastoreName = DS1) -> None:
    store.put_group(group(A, rights=(Right(on, True, largest, total),)), expect=None)


def test_usage_counts_every_state_at_capacity_on_each_datastore(store: Store) -> None:
    store.put_group(group(A, rights=(Right(ALL_DATASTORES, allow_create=True),)), expect=None)
    begin(store, a_volume(name="preparing"))
    trashed = made(store, a_volume(name="old", size=2 * GB))
    store.update(replace(raised(trashed), state=State.TRASHED), expect=1)
    made(store, a_volume(name="elsewhere", size=4 * GB, datastore=DS2))
    ready(store)

    assert store.usage(RED) == {DS1: 3 * GB, DS2: 4 * GB}
    assert store.volume_count(RED) == 3
    tenancy = store.tenancy(A)
    assert (tenancy.used, tenancy.trashed) == ({DS1: 3 * GB, DS2: 4 * GB}, {DS1: 2 * GB})
    assert store.usage(DEFAULT_VMGROUP) == {DS1: GB}
    assert store.volume_count(DEFAULT_VMGROUP) == 1


@pytest.mark.parametrize("on", [DS1, ALL_DATASTORES])
def test_a_volume_up_to_the_total_is_made_and_one_beyond_it_is_not(store: Store, on: DatastoreName) -> None:
    limited(store, total=3 * GB, on=on)
    made(store, a_volume(name="one"))
    before = everything(store)

    with pytest.raises(QuotaExceeded, match="1gb is used"):
        begin(store, a_volume(name="two", size=2 * GB + 512))
    assert everything(store) == before
    begin(store, a_volume(name="two", size=2 * GB))


def test_the_total_of_the_machines_own_datastore_is_the_one_of_its_row(store: Store) -> None:
    rights = (Right(ALL_DATASTORES, allow_create=True), Right(VM_DATASTORE, True, None, GB))
    store.put_group(group(A, rights=rights), expect=None)

    with pytest.raises(QuotaExceeded):
        begin(store, a_volume(size=2 * GB), home=DS1)
    begin(store, a_volume(size=2 * GB), home=DS2)


def test_a_total_is_of_one_datastore_also_from_the_row_of_all(store: Store) -> None:
    limited(store, total=GB, on=ALL_DATASTORES)
    begin(store, a_volume(name="one"))

    begin(store, a_volume(name="two", datastore=DS2))
    with pytest.raises(QuotaExceeded):
        begin(store, a_volume(name="three", datastore=DS2))


def test_what_is_in_the_trash_counts_and_the_text_says_so(store: Store) -> None:
    limited(store, total=2 * GB)
    old = made(store, a_volume(name="old", size=2 * GB))
    store.update(replace(raised(old), state=State.TRASHED), expect=1)

    with pytest.raises(QuotaExceeded, match="2gb of it in the trash") as caught:
        begin(store, a_volume())
    assert caught.value.fields["trashed"] == 2 * GB


def test_what_did_not_happen_gives_its_quota_back(store: Store) -> None:
    limited(store, total=GB)
    intent = begin(store, a_volume(name="failed"))
    store.abandon(intent.id, None)

    begin(store, a_volume())


def test_a_removed_volume_gives_its_quota_back(store: Store) -> None:
    limited(store, total=GB)
    record = made(store, a_volume(name="old"))
    store.delete(record.id, expect=1)

    begin(store, a_volume())


def test_the_largest_volume_is_checked_before_the_total(store: Store) -> None:
    limited(store, largest=GB, total=2 * GB)

    with pytest.raises(QuotaExceeded, match="the most for vmgroup red"):
        begin(store, a_volume(size=3 * GB))
    begin(store, a_volume(size=GB))


def test_a_clone_counts_as_much_as_a_new_volume(store: Store) -> None:
    limited(store, total=2 * GB)
    source = made(store, a_volume(name="source", size=GB + 512))
    intent, record = clone(store, source)

    with pytest.raises(QuotaExceeded):
        store.begin(replace(intent, caller=A), replace(record, vmgroup=RED, size_bytes=source.size_bytes))


@pytest.mark.parametrize(("to", "fits"), [(2 * GB, True), (2 * GB + 512, False)])
def test_a_grown_volume_counts_with_what_it_grows_by(store: Store, to: int, fits: bool) -> None:
    limited(store, total=3 * GB)
    made(store, a_volume(name="other"))
    record = made(store, a_volume())
    grown = replace(raised(record), size_bytes=to)
    intent = Intent(uuid4(), record.id, GrowDisk(ref(record), to), None, 1.0, before=record)

    if fits:
        store.begin(intent, grown)
        assert store.usage(RED) == {DS1: 3 * GB}
    else:
        with pytest.raises(QuotaExceeded):
            store.begin(intent, grown)
        assert store.usage(RED) == {DS1: 2 * GB}


def test_a_group_beyond_its_quota_goes_on_with_what_it_has(store: Store) -> None:
    limited(store, total=4 * GB)
    record = made(store, a_volume(size=4 * GB))
    store.put_group(group(A, rights=(Right(DS1, True, GB, GB),)), expect=1)

    store.begin(replace(attaching(record), caller=A), raised(record))


def test_t9_fifty_creates_and_clones_at_once_never_exceed_the_total(store: Store) -> None:
    limited(store, total=11 * GB)
    source = made(store, a_volume(name="source"))
    start = threading.Barrier(50)

    def create(number: int) -> str:
        # One clone of a source at a time: the others are new.
        intent, record = clone(store, source, f"v{number}")
        record = replace(record, vmgroup=RED)
        start.wait()
        try:
            store.begin(replace(intent, caller=A, source=source.id if number % 2 else None), record)
        except VolumeError as error:
            return error.code
        return "won"

    with ThreadPoolExecutor(50) as pool:
        results = sorted(pool.map(create, range(50)))
    assert results == ["quota-exceeded"] * 40 + ["won"] * 10
    assert store.usage(RED) == {DS1: 11 * GB}


# --- rights, at the last moment ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rights", [(), (Right(DS2, allow_create=True),), (Right(DS1, allow_create=False),)])
def test_a_machine_whose_right_went_meanwhile_makes_nothing(store: Store, rights: tuple[Right, ...]) -> None:
    store.put_group(group(A, rights=rights), expect=None)
    before = everything(store)

    with pytest.raises(NotPermitted, match="red"):
        begin(store, a_volume())
    assert everything(store) == before
    # An administrator needs no right of the group's.
    begin(store, a_volume(), vm=None)


def test_a_machine_that_left_meanwhile_makes_nothing_and_gets_nothing(store: Store) -> None:
    store.put_group(group(A), expect=None)
    record = made(store, a_volume())
    store.put_group(group(), expect=1)

    refused: tuple[type[VolumeError], ...] = (NotPermitted,)
    with pytest.raises(refused, match="taken out"):
        begin(store, a_volume(name="other"))
    with pytest.raises(refused, match="taken out"):
        store.begin(replace(attaching(record), caller=A), raised(record))


def test_a_machine_gets_no_disk_once_its_right_is_gone(store: Store) -> None:
    store.put_group(group(A), expect=None)
    record = made(store, a_volume())
    store.put_group(group(A, rights=()), expect=1)

    with pytest.raises(NotPermitted, match="no right"):
        store.begin(replace(attaching(record), caller=A), raised(record))


def test_t5_a_clone_of_another_groups_volume_is_of_one_that_does_not_exist(store: Store) -> None:
    store.put_group(group(A), expect=None)
    source = ready(store, "secret")
    intent, record = clone(store, source)

    with pytest.raises(VolumeNotFound) as caught:
        store.begin(replace(intent, caller=A), replace(record, vmgroup=RED))
    assert "secret" not in str(caught.value)


# --- a rebuild ---------------------------------------------------------------------------------------------------


def test_a_volume_of_a_group_that_is_not_known_comes_back_under_one_that_nobody_is_in(stores: Stores) -> None:
    record = replace(a_volume(), state=State.READY)
    stores.store.restore(record, replace(a_volume(name="two"), state=State.TRASHED))
    store = stores.again()

    assert store.group_by_id(RED) == Group(Vmgroup(RED, str(RED), None))
    assert store.volume(record.id) == record
    assert store.find(RED, "db") == record


def test_a_restore_that_fails_makes_no_group(store: Store) -> None:
    known = ready(store)

    with pytest.raises(NameConflict):
        store.restore(a_volume(), known)
    assert store.group_by_id(RED) is None
