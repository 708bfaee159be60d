"""Pieces of work in the store: begun all or nothing, one for each volume, ended once; a clone holds its source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import pytest

from tests.contract.store_benches import (
    OTHER_GROUP,
    VM,
    Stores,
    attaching,
    clone,
    creating,
    new_record,
    raised,
    ready,
    ref,
    state_of,
    try_begin,
    try_delete,
    try_update,
)
from vmdkvol.errors import Busy, NameConflict, NotPermitted, StaleRequest, VolumeInUse, VolumeNotFound
from vmdkvol.names import DatastoreName, VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.volume import DEFAULT_VMGROUP, Content, State
from vmdkvol_esx.ports import AttachDisk, Change, CloneDisk, CreateDisk, DeleteDisk, DetachDisk, Store
from vmdkvol_esx.records import Intent, StoredAnswer, VolumeRecord

# --- begin -------------------------------------------------------------------------------------------------------


def test_a_begun_volume_is_there_with_its_intent(stores: Stores) -> None:
    record = new_record()
    intent = creating(record)
    stores.store.begin(intent, record)
    store = stores.again()
    assert store.volume(record.id) == record
    assert store.open_intents() == (intent,)


def test_a_begun_volume_is_found_by_its_exact_name(store: Store) -> None:
    record = new_record("Db")
    store.begin(creating(record), record)
    assert store.find(DEFAULT_VMGROUP, "Db") == record


@pytest.mark.parametrize("other", ["db", "DB", "Db ", "D%", "Db@ds1", ""])
def test_another_spelling_finds_nothing(store: Store, other: str) -> None:
    ready(store, "Db")
    assert store.find(DEFAULT_VMGROUP, other) is None


def on(store: Store, name: str, datastore: str) -> VolumeRecord:
    record = replace(new_record(name), datastore=DatastoreName(datastore))
    store.begin(creating(record), record)
    return record


def test_a_name_with_its_datastore_is_found_without_it(store: Store) -> None:
    on(store, "db@ds3", "ds3")
    first = on(store, "db@ds2", "ds2")

    assert store.elsewhere(DEFAULT_VMGROUP, "db") == first


@pytest.mark.parametrize("name", ["db", "db@", "db@ds3", "db@x@ds2", "db2@ds2", "dB@ds2", "db ds2", "dbA", "xdb@ds2"])
def test_no_other_name_is_taken_for_one_with_its_datastore(store: Store, name: str) -> None:
    on(store, name, "ds2")

    assert store.elsewhere(DEFAULT_VMGROUP, "db") is None


@pytest.mark.parametrize("state", [State.TRASHED, State.REMOVING])
def test_a_removed_volume_is_not_found_without_its_datastore(store: Store, state: State) -> None:
    record = replace(new_record("db@ds2", state=state), datastore=DatastoreName("ds2"))
    store.begin(creating(record), record)

    assert store.elsewhere(DEFAULT_VMGROUP, "db") is None


@pytest.mark.parametrize("state", [State.PREPARING, State.READY, State.LOST, State.DAMAGED])
def test_a_live_volume_keeps_its_name(store: Store, state: State) -> None:
    record = new_record(state=state)
    store.begin(creating(record), record)
    again = new_record()
    before = state_of(store)
    with pytest.raises(NameConflict):
        store.begin(creating(again), again)
    assert state_of(store) == before


@pytest.mark.parametrize("state", [State.TRASHED, State.REMOVING])
def test_corrections_18_a_name_in_the_trash_is_free_again(stores: Stores, state: State) -> None:
    old = ready(stores.store)
    stores.store.update(replace(raised(old), state=state), expect=old.generation)
    new = ready(stores.store)
    store = stores.again()
    assert store.find(DEFAULT_VMGROUP, "db") == new
    assert store.volume(old.id) is not None


def test_a_volume_from_the_trash_does_not_take_a_name_that_is_taken(store: Store) -> None:
    old = ready(store)
    trashed = replace(raised(old), state=State.TRASHED)
    store.update(trashed, expect=old.generation)
    ready(store)
    with pytest.raises(NameConflict):
        store.update(replace(raised(trashed), state=State.READY), expect=trashed.generation)
    assert store.volume(old.id) == trashed


def test_two_records_never_share_a_disk(store: Store) -> None:
    first = ready(store)
    second = replace(new_record("other"), disk_uuid=first.disk_uuid)
    with pytest.raises(NameConflict, match="already that of volume db"):
        store.begin(creating(second), second)


def test_two_records_never_share_a_path(store: Store) -> None:
    first = ready(store)
    second = replace(new_record("other"), path=first.path)
    with pytest.raises(NameConflict):
        store.begin(creating(second), second)


def test_a_record_of_an_unknown_vmgroup_is_refused(store: Store) -> None:
    record = replace(new_record(), vmgroup=OTHER_GROUP)
    with pytest.raises(NotPermitted):
        store.begin(creating(record), record)


def test_begin_raises_the_generation(stores: Stores) -> None:
    record = ready(stores.store)
    stores.store.begin(attaching(record), raised(record))
    found = stores.again().volume(record.id)
    assert found is not None
    assert found.generation == 2


@pytest.mark.parametrize("generation", [0, 1, 2, 4, 99])
def test_begin_with_another_generation_is_stale(store: Store, generation: int) -> None:
    record = ready(store)
    store.update(raised(record), expect=1)
    before = state_of(store)
    with pytest.raises(StaleRequest):
        store.begin(attaching(record), replace(record, generation=generation))
    assert state_of(store) == before


def test_begin_for_a_volume_that_is_gone_is_stale(store: Store) -> None:
    record = replace(new_record(), generation=2)
    with pytest.raises(StaleRequest, match="is gone"):
        store.begin(attaching(record), record)


def test_a_volume_has_one_open_intent(store: Store) -> None:
    record = ready(store)
    store.begin(attaching(record), raised(record))
    before = state_of(store)
    with pytest.raises(Busy, match="AttachDisk"):
        store.begin(attaching(record), raised(raised(record)))
    assert state_of(store) == before


def test_the_same_begin_twice_opens_one_intent(store: Store) -> None:
    record = new_record()
    intent = creating(record)
    store.begin(intent, record)
    with pytest.raises(Busy):
        store.begin(intent, record)
    assert store.open_intents() == (intent,)


def test_an_intent_that_ended_is_not_begun_again(store: Store) -> None:
    record = ready(store)
    intent = attaching(record)
    store.begin(intent, raised(record))
    store.finish(intent.id, raised(record))
    with pytest.raises(StaleRequest):
        store.begin(intent, raised(raised(record)))


def test_an_intent_for_another_volume_than_the_records_is_refused(store: Store) -> None:
    record = new_record()
    with pytest.raises(StaleRequest):
        store.begin(creating(new_record("other")), record)


def every_change(record: VolumeRecord) -> list[Intent]:
    disk = ref(record)
    full = replace(record, filesystem_uuid=uuid4(), last_vm=VM, trashed_at=7.25, state=State.TRASHED, copied_uuids=(uuid4(),))
    changes: list[Change] = [
        CreateDisk(disk, 512, "eagerzeroedthick", {"a": "1", "b": "ü"}),
        CloneDisk(ref(new_record("source")), disk, "thin", {}),
        DeleteDisk(disk),
        AttachDisk(VM, disk, "persistent"),
        DetachDisk(VM, disk),
        DetachDisk(VM, disk, only_off=True),
    ]
    return [Intent(uuid4(), record.id, change, caller, 9.125, before=full) for change in changes for caller in (VM, None)]


@pytest.mark.parametrize("number", range(12))
def test_an_intent_comes_back_exactly(stores: Stores, number: int) -> None:
    record = new_record()
    intent = every_change(record)[number]
    stores.store.begin(intent, record)
    assert stores.again().open_intent(record.id) == intent


def test_a_record_comes_back_exactly(stores: Stores) -> None:
    record = replace(
        new_record("name with * and ü@ds1"),
        filesystem_uuid=uuid4(),
        last_vm=VM,
        trashed_at=3.0,
        created_at=4,
        state=State.TRASHED,
        content=Content.FORMATTED,
        copied_uuids=(uuid4(), uuid4()),
        adopted="[ds1] theirs/x.vmdk",
        policy_pending=True,
        options=replace(CreateOptions(), size_bytes=None, clone_from=VolumeRef.parse("a@b"), given=frozenset({"clone_from"})),
    )
    stores.store.restore(record)
    assert stores.again().volume(record.id) == record


def test_a_policy_that_waits_comes_back_waiting_and_waits_no_more_when_it_is_said(stores: Stores) -> None:
    record = ready(stores.store)
    for pending in (True, False):
        stores.store.update(replace(record, policy_pending=pending), expect=record.generation)
        again = stores.again().volume(record.id)
        assert again is not None
        assert again.policy_pending is pending


# --- clones ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attempt", [try_begin, try_update, try_delete])
def test_corrections_f_an_open_clone_holds_its_source(stores: Stores, attempt: Callable[[Store, VolumeRecord], None]) -> None:
    source = ready(stores.store)
    stores.store.begin(*clone(stores.store, source))
    store = stores.again()
    before = state_of(store)
    with pytest.raises(VolumeInUse, match="copied to copy"):
        attempt(store, source)
    assert state_of(store) == before


@pytest.mark.parametrize("end", ["finish", "abandon"])
def test_a_clone_that_ended_frees_its_source(store: Store, end: str) -> None:
    source = ready(store)
    intent, record = clone(store, source)
    store.begin(intent, record)
    if end == "finish":
        store.finish(intent.id, replace(record, state=State.READY))
    else:
        store.abandon(intent.id, None)
    store.begin(attaching(source), raised(source))


def test_two_clones_read_one_source(store: Store) -> None:
    source = ready(store)
    store.begin(*clone(store, source, "one"))
    store.begin(*clone(store, source, "two"))
    assert len(store.open_intents()) == 2


def test_a_clone_of_a_volume_with_work_under_way_is_refused(store: Store) -> None:
    source = ready(store)
    store.begin(attaching(source), raised(source))
    before = state_of(store)
    with pytest.raises(VolumeInUse, match="AttachDisk under way"):
        store.begin(*clone(store, source))
    assert state_of(store) == before


@pytest.mark.parametrize("state", [State.PREPARING, State.LOST, State.DAMAGED])
def test_a_clone_of_a_volume_that_is_not_ready_is_refused(store: Store, state: State) -> None:
    source = new_record(state=state)
    store.restore(source)
    with pytest.raises(VolumeInUse, match=f"is {state}"):
        store.begin(*clone(store, source))


@pytest.mark.parametrize("state", [State.TRASHED, State.REMOVING])
def test_a_clone_of_a_removed_volume_finds_no_source(store: Store, state: State) -> None:
    source = new_record(state=state)
    store.restore(source)
    with pytest.raises(VolumeNotFound):
        store.begin(*clone(store, source))


def test_a_clone_of_a_volume_that_never_was_finds_no_source(store: Store) -> None:
    with pytest.raises(VolumeNotFound):
        store.begin(*clone(store, new_record("never")))
    assert store.page(None, None, 10) == ()


# --- the end of an intent ----------------------------------------------------------------------------------------


def test_finish_closes_the_intent_and_stores_the_record(stores: Stores) -> None:
    record = ready(stores.store)
    store = stores.again()
    assert store.open_intents() == ()
    assert store.volume(record.id) == record


def test_finish_without_a_record_ends_the_volume(stores: Stores) -> None:
    record = ready(stores.store)
    intent = Intent(uuid4(), record.id, DeleteDisk(ref(record)), VM, 5.0, before=record)
    stores.store.begin(intent, replace(raised(record), state=State.REMOVING))
    stores.store.finish(intent.id, None)
    store = stores.again()
    assert store.volume(record.id) is None
    assert store.open_intents() == ()


@pytest.mark.parametrize("end", ["finish", "abandon"])
def test_an_intent_ends_once(store: Store, end: str) -> None:
    record = new_record()
    intent = creating(record)
    store.begin(intent, record)
    store.finish(intent.id, replace(record, state=State.READY))
    before = state_of(store)
    getattr(store, end)(intent.id, None)
    assert state_of(store) == before


def test_faults_7_1_finish_keeps_the_answer_with_the_record(stores: Stores) -> None:
    record, call = new_record(), uuid4()
    intent = creating(record)
    stores.store.begin(intent, record)
    assert stores.store.finish(intent.id, replace(record, state=State.READY), StoredAnswer(VM, call, b"done"))
    assert stores.again().stored_answer(VM, call) == b"done"


def test_an_intent_that_ended_before_keeps_no_answer(store: Store) -> None:
    record, call = new_record(), uuid4()
    intent = creating(record)
    store.begin(intent, record)
    store.abandon(intent.id, None)
    assert not store.finish(intent.id, replace(record, state=State.READY), StoredAnswer(VM, call, b"done"))
    assert store.stored_answer(VM, call) is None


def test_a_finish_that_is_refused_keeps_no_answer(store: Store) -> None:
    record, call = ready(store), uuid4()
    intent = attaching(record)
    store.begin(intent, raised(record))
    with pytest.raises(StaleRequest):
        store.finish(intent.id, replace(record, generation=3), StoredAnswer(VM, call, b"done"))
    assert store.stored_answer(VM, call) is None


def test_finish_keeps_the_first_answer_of_a_call(store: Store) -> None:
    record, call = new_record(), uuid4()
    intent = creating(record)
    store.begin(intent, record)
    store.keep_answer(VM, call, b"first")
    store.finish(intent.id, replace(record, state=State.READY), StoredAnswer(VM, call, b"second"))
    assert store.stored_answer(VM, call) == b"first"


def test_the_end_of_an_unknown_intent_changes_nothing(store: Store) -> None:
    record = ready(store)
    before = state_of(store)
    store.finish(uuid4(), replace(record, generation=9))
    assert state_of(store) == before


@pytest.mark.parametrize("generation", [1, 3])
def test_finish_wants_the_generation_that_begin_stored(store: Store, generation: int) -> None:
    record = ready(store)
    intent = attaching(record)
    store.begin(intent, raised(record))
    before = state_of(store)
    with pytest.raises(StaleRequest):
        store.finish(intent.id, replace(record, generation=generation))
    assert state_of(store) == before


def test_finish_with_another_volumes_record_is_refused(store: Store) -> None:
    record = new_record()
    intent = creating(record)
    store.begin(intent, record)
    with pytest.raises(StaleRequest):
        store.finish(intent.id, new_record("other"))
    assert store.open_intents() == (intent,)


def test_abandon_goes_back_to_the_record_before(stores: Stores) -> None:
    record = ready(stores.store)
    intent = attaching(record)
    stores.store.begin(intent, replace(raised(record), last_vm=VM))
    stores.store.abandon(intent.id, intent.before)
    store = stores.again()
    assert store.volume(record.id) == record
    assert store.open_intents() == ()


def test_abandon_may_keep_the_raised_generation(store: Store) -> None:
    record = ready(store)
    intent = attaching(record)
    store.begin(intent, raised(record))
    store.abandon(intent.id, raised(record))
    assert store.volume(record.id) == raised(record)


def test_abandon_of_a_create_gives_the_name_back(store: Store) -> None:
    record = new_record()
    intent = creating(record)
    store.begin(intent, record)
    store.abandon(intent.id, None)
    assert ready(store).name == "db"


def test_a_task_is_kept_with_its_intent(stores: Stores) -> None:
    record = new_record()
    intent = creating(record)
    stores.store.begin(intent, record)
    stores.store.note_task(intent.id, "task-7")
    assert stores.again().open_intent(record.id) == replace(intent, task="task-7")


def test_open_intents_come_in_the_order_of_their_opening(store: Store) -> None:
    opened = []
    for name, at in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
        record = new_record(name)
        intent = replace(creating(record), opened_at=at)
        store.begin(intent, record)
        opened.append(intent)
    assert store.open_intents() == (opened[1], opened[2], opened[0])
