"""Cordons in the store: what takes no new volumes, durably, and where disks lie."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.contract.store_benches import Stores, attaching, clone, creating, new_record, raised, ready
from vmdkvol.errors import NotPermitted
from vmdkvol.names import DatastoreName
from vmdkvol.volume import State
from vmdkvol_esx.cordons import Cordon, Placed
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.ports import Store

DS1, DS2 = DatastoreName("ds1"), DatastoreName("ds2")
CORDON = Cordon(DS1, "ann", 1000.5, "new disks come on Monday")


def test_nothing_is_cordoned_at_first(store: Store) -> None:
    assert store.cordons() == ()


def test_cordons_outlive_the_process_in_the_order_of_names(stores: Stores) -> None:
    stores.store.cordon(replace(CORDON, datastore=DS2))
    stores.store.cordon(CORDON)
    assert stores.again().cordons() == (CORDON, replace(CORDON, datastore=DS2))


def test_a_later_cordon_takes_the_place_of_the_earlier_one(store: Store) -> None:
    store.cordon(CORDON)
    store.cordon(replace(CORDON, by="bob", reason=""))
    assert store.cordons() == (replace(CORDON, by="bob", reason=""),)


def test_an_uncordoned_datastore_is_as_before_and_uncordoned_again_too(stores: Stores) -> None:
    stores.store.cordon(CORDON)
    stores.store.uncordon(DS2)
    assert stores.store.cordons() == (CORDON,)
    for _ in range(2):
        stores.store.uncordon(DS1)
    assert stores.again().cordons() == ()
    ready(stores.store)


def test_a_cordoned_datastore_takes_no_new_volume(store: Store) -> None:
    store.cordon(CORDON)
    record = new_record()
    with pytest.raises(NotPermitted, match="ds1"):
        store.begin(creating(record), record)
    assert store.volume(record.id) is None
    assert store.open_intents() == ()


def test_nor_a_copy(store: Store) -> None:
    intent, record = clone(store, ready(store))
    store.cordon(CORDON)
    with pytest.raises(NotPermitted):
        store.begin(intent, record)
    assert store.open_intents() == ()


def test_also_not_for_the_service_itself(store: Store) -> None:
    store.cordon(CORDON)
    record = new_record()
    with pytest.raises(NotPermitted):
        store.begin(replace(creating(record), caller=None), record)


def test_another_datastore_takes_new_volumes(store: Store) -> None:
    store.cordon(CORDON)
    record = replace(new_record(), datastore=DS2)
    store.begin(creating(record), record)


def test_what_lies_there_goes_on(store: Store) -> None:
    record = ready(store)
    store.cordon(CORDON)
    store.begin(attaching(record), raised(record))


def test_every_disk_is_told_with_its_place_in_whatever_state(store: Store) -> None:
    first = ready(store)
    trashed = replace(raised(ready(store, "old")), state=State.TRASHED)
    store.update(trashed, expect=trashed.generation - 1)
    preparing = replace(new_record("new"), datastore=DS2)
    store.begin(creating(preparing), preparing)
    assert set(store.placed()) == {Placed(disk_ref(each), each.size_bytes) for each in (first, trashed, preparing)}
