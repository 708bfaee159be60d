"""A volume comes into another vmgroup, in the store: the name, the limits and who hears of it, all or nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID

import pytest

from tests.contract.store_benches import Stores, attaching, clone, raised, ready, state_of
from vmdkvol.errors import Busy, NameConflict, NotPermitted, QuotaExceeded, StaleRequest, VolumeError, VolumeInUse
from vmdkvol.names import ALL_DATASTORES, VM_DATASTORE, DatastoreName
from vmdkvol.volume import DEFAULT_VMGROUP, VmgroupId
from vmdkvol_esx.ports import Store
from vmdkvol_esx.records import Group, Right, Vmgroup, VolumeRecord

GB = 1 << 30
DS1 = DatastoreName("ds1")
RED = VmgroupId(UUID(int=0x4ED))


def red(store: Store, *rights: Right) -> None:
    store.put_group(Group(Vmgroup(RED, "red", DS1), rights or (Right(DS1, allow_create=True),)), expect=None)


def moved(record: VolumeRecord) -> VolumeRecord:
    return replace(raised(record), vmgroup=RED)


def test_a_volume_is_its_new_vmgroup_s_alone(stores: Stores) -> None:
    red(stores.store)
    record = ready(stores.store)
    stores.store.regroup(moved(record), expect=record.generation)
    store = stores.again()
    assert (store.find(RED, "db"), store.find(DEFAULT_VMGROUP, "db")) == (moved(record), None)
    assert (store.usage(RED), store.usage(DEFAULT_VMGROUP)) == ({DS1: GB}, {})
    assert (store.volume_count(RED), store.volume_count(DEFAULT_VMGROUP)) == (1, 0)


def test_who_knew_it_hears_that_it_is_gone_and_the_others_that_it_is_there(store: Store) -> None:
    red(store)
    record = ready(store)
    known = store.change_number()
    store.regroup(moved(record), expect=record.generation)
    assert (store.removed_since(DEFAULT_VMGROUP, known), store.removed_since(RED, known)) == ((record.id,), ())
    assert [each.id for each in store.page(RED, None, 10, known)] == [record.id]
    assert store.removed_since(DEFAULT_VMGROUP, store.change_number()) == ()


def test_in_the_vmgroup_that_it_is_in_nobody_hears_that_it_is_gone(store: Store) -> None:
    record = ready(store)
    known = store.change_number()
    store.regroup(raised(record), expect=record.generation)
    assert (store.volume(record.id), store.removed_since(DEFAULT_VMGROUP, known)) == (raised(record), ())


def test_removed_afterwards_only_its_last_vmgroup_hears_of_it(store: Store) -> None:
    red(store)
    record = ready(store)
    store.regroup(moved(record), expect=record.generation)
    known = store.change_number()
    store.delete(record.id, expect=moved(record).generation)
    assert (store.removed_since(RED, known), store.removed_since(DEFAULT_VMGROUP, known)) == ((record.id,), ())


@pytest.mark.parametrize(
    "right",
    [
        pytest.param(Right(DS1, True, max_bytes=GB - 1), id="the-largest"),
        pytest.param(Right(DS1, True, total_bytes=GB - 1), id="the-total"),
        pytest.param(Right(ALL_DATASTORES, True, total_bytes=GB - 1), id="of-all-datastores"),
        pytest.param(Right(VM_DATASTORE, True, total_bytes=GB - 1), id="of-the-machine-s-own"),
    ],
)
def test_beyond_a_limit_nothing_changes(store: Store, right: Right) -> None:
    red(store, right)
    record = ready(store)
    before = state_of(store)
    with pytest.raises(QuotaExceeded, match="vmgroup red"):
        store.regroup(moved(record), expect=record.generation)
    assert state_of(store) == before
    store.regroup(moved(record), expect=record.generation, over_quota=True)
    assert store.usage(RED) == {DS1: GB}


def test_of_volumes_that_come_at_once_no_more_come_than_fit(store: Store) -> None:
    red(store, Right(DS1, True, total_bytes=3 * GB))
    records = [ready(store, f"v{number}") for number in range(10)]

    def come(record: VolumeRecord) -> str:
        try:
            store.regroup(moved(record), expect=record.generation)
        except VolumeError as error:
            return error.code
        return "came"

    with ThreadPoolExecutor(10) as pool:
        assert sorted(pool.map(come, records)) == ["came"] * 3 + ["quota-exceeded"] * 7
    assert store.usage(RED) == {DS1: 3 * GB}


def test_a_name_that_is_taken_there_is_a_conflict(store: Store) -> None:
    red(store)
    first = ready(store)
    store.regroup(moved(first), expect=first.generation)
    second = ready(store)
    before = state_of(store)
    with pytest.raises(NameConflict):
        store.regroup(moved(second), expect=second.generation)
    assert state_of(store) == before


def test_a_vmgroup_that_there_is_not_gets_none(store: Store) -> None:
    record = ready(store)
    before = state_of(store)
    with pytest.raises(NotPermitted, match="does not exist"):
        store.regroup(moved(record), expect=record.generation)
    assert state_of(store) == before


def test_another_generation_is_refused(store: Store) -> None:
    red(store)
    record = ready(store)
    before = state_of(store)
    with pytest.raises(StaleRequest):
        store.regroup(moved(record), expect=record.generation + 1)
    assert state_of(store) == before


def test_with_work_under_way_it_stays(store: Store) -> None:
    red(store)
    record = ready(store)
    intent = attaching(record)
    store.begin(replace(intent, caller=None), raised(record))
    with pytest.raises(Busy):
        store.regroup(moved(raised(record)), expect=raised(record).generation)


def test_while_it_is_copied_it_stays(store: Store) -> None:
    red(store)
    record = ready(store)
    store.begin(*clone(store, record))
    with pytest.raises(VolumeInUse):
        store.regroup(moved(record), expect=record.generation)
