"""Disks that became volumes, in the store: all or nothing, as a volume that we make, but without work to be done."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from tests.contract.store_benches import Stores, creating, new_record, ready
from vmdkvol.errors import NameConflict, NotPermitted, QuotaExceeded, StaleRequest
from vmdkvol.volume import DEFAULT_VMGROUP, State, VmgroupId, VolumeId
from vmdkvol_esx.cordons import Cordon
from vmdkvol_esx.ports import Store
from vmdkvol_esx.records import Right, VolumeRecord


def found(name: str = "db") -> VolumeRecord:
    return replace(new_record(name), state=State.READY, adopted="[ds1] theirs/x.vmdk")


def test_an_enlisted_volume_is_there_without_work(stores: Stores) -> None:
    record = found()
    before = stores.store.change_number()
    stores.store.enlist(record)
    again = stores.again()
    assert (again.volume(record.id), again.find(record.vmgroup, "db"), again.open_intents()) == (record, record, ())
    assert again.change_number() > before


def test_a_volume_is_enlisted_once(store: Store) -> None:
    record = found()
    store.enlist(record)
    with pytest.raises(StaleRequest):
        store.enlist(record)


def test_a_name_that_is_taken_is_not_taken_again(store: Store) -> None:
    taken = ready(store)
    record = found(taken.name)
    with pytest.raises(NameConflict):
        store.enlist(record)
    assert store.volume(record.id) is None


@pytest.mark.parametrize("same", ["disk_uuid", "path"])
def test_a_disk_is_one_volume_s(store: Store, same: str) -> None:
    first = found()
    store.enlist(first)
    with pytest.raises(NameConflict):
        store.enlist(replace(found("other"), **{same: getattr(first, same)}))


def test_a_cordoned_datastore_takes_none(store: Store) -> None:
    record = found()
    store.cordon(Cordon(record.datastore, "ann", 1.0))
    with pytest.raises(NotPermitted):
        store.enlist(record)
    assert store.volume(record.id) is None


def test_the_limits_of_the_vmgroup_count_unless_they_are_to_be_passed(store: Store) -> None:
    record = found()
    group = store.group_by_id(DEFAULT_VMGROUP)
    assert group is not None
    limited = replace(group, rights=(Right(record.datastore, True, total_bytes=record.size_bytes - 1),))
    store.put_group(limited, expect=group.vmgroup.revision)
    with pytest.raises(QuotaExceeded):
        store.enlist(record)
    assert store.volume(record.id) is None
    store.enlist(record, over_quota=True)
    assert store.volume(record.id) == record


def test_what_is_enlisted_takes_room_as_any_other(store: Store) -> None:
    record = found()
    store.enlist(record)
    assert store.usage(DEFAULT_VMGROUP) == {record.datastore: record.size_bytes}


def test_a_vmgroup_that_there_is_not_gets_none(store: Store) -> None:
    with pytest.raises(NotPermitted):
        store.enlist(replace(found(), vmgroup=VmgroupId(uuid4())))


def test_work_on_an_enlisted_volume_begins_as_on_any_other(store: Store) -> None:
    record = found()
    store.enlist(record)
    raised = replace(record, generation=record.generation + 1)
    store.begin(replace(creating(raised), before=record), raised)
    with pytest.raises(StaleRequest):
        store.enlist(replace(record, id=VolumeId(record.id)))
