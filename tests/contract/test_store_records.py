"""Records in the store: written by generation, paged by change number, answers kept, and many writers at once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from tests.contract.store_benches import (
    DAY_S,
    OTHER_GROUP,
    VM,
    SqlStores,
    Stores,
    attaching,
    creating,
    new_record,
    raised,
    ready,
    state_of,
    try_delete,
    try_update,
)
from tests.doubles.hand_clock import HandClock
from vmdkvol.errors import Busy, NameConflict, NotPermitted, StaleRequest, VolumeError
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DEFAULT_VMGROUP, Content, DiskUuid, State, VmId, VolumeId
from vmdkvol_esx.ports import Store
from vmdkvol_esx.records import VolumeRecord

# --- writes without an intent ------------------------------------------------------------------------------------


def test_update_stores_the_record(stores: Stores) -> None:
    record = ready(stores.store)
    new = replace(raised(record), content=Content.FORMATTING, filesystem_uuid=uuid4())
    stores.store.update(new, expect=1)
    assert stores.again().volume(record.id) == new


def test_update_of_another_generation_is_stale(store: Store) -> None:
    record = ready(store)
    before = state_of(store)
    with pytest.raises(StaleRequest):
        store.update(replace(record, generation=3), expect=2)
    assert state_of(store) == before


def test_update_never_lowers_the_generation(store: Store) -> None:
    record = ready(store)
    store.update(replace(record, generation=5), expect=1)
    with pytest.raises(StaleRequest):
        store.update(replace(record, generation=4), expect=5)


def test_update_of_a_volume_that_is_gone_is_stale(store: Store) -> None:
    with pytest.raises(StaleRequest):
        store.update(new_record(), expect=1)


@pytest.mark.parametrize("attempt", [try_update, try_delete])
def test_a_volume_with_an_open_intent_is_not_written_beside_it(
    store: Store, attempt: Callable[[Store, VolumeRecord], None]
) -> None:
    record = ready(store)
    store.begin(attaching(record), raised(record))
    before = state_of(store)
    with pytest.raises(Busy):
        attempt(store, raised(record))
    assert state_of(store) == before


def test_delete_forgets_the_record(stores: Stores) -> None:
    record = ready(stores.store)
    stores.store.delete(record.id, expect=1)
    store = stores.again()
    assert store.volume(record.id) is None
    assert ready(store).id != record.id


def test_delete_of_another_generation_is_stale(store: Store) -> None:
    record = ready(store)
    with pytest.raises(StaleRequest):
        store.delete(record.id, expect=2)
    assert store.volume(record.id) == record


def test_delete_twice_is_delete_once(store: Store) -> None:
    record = ready(store)
    store.delete(record.id, expect=1)
    before = state_of(store)
    store.delete(record.id, expect=1)
    assert state_of(store) == before


def test_restore_keeps_the_generation(stores: Stores) -> None:
    record = new_record(state=State.READY, generation=41)
    stores.store.restore(record)
    assert stores.again().volume(record.id) == record


def test_restore_of_a_known_volume_is_refused(store: Store) -> None:
    record = ready(store)
    with pytest.raises(NameConflict, match="known already"):
        store.restore(replace(record, generation=9))
    assert store.volume(record.id) == record


def test_corrections_33_a_second_live_claimant_is_not_restored(store: Store) -> None:
    store.restore(new_record(state=State.READY))
    with pytest.raises(NameConflict):
        store.restore(new_record(state=State.READY))


def test_of_records_restored_together_none_is_there_if_one_is_refused(store: Store) -> None:
    known = ready(store)
    before = state_of(store)
    with pytest.raises(NameConflict):
        store.restore(new_record("other", state=State.READY), new_record(known.name, state=State.READY))
    assert state_of(store) == before


def test_records_restored_together_are_all_there(stores: Stores) -> None:
    together = [new_record(name, state=State.READY, generation=7) for name in ("a", "b", "c")]
    stores.store.restore(*together)
    again = stores.again()
    assert [again.volume(record.id) for record in together] == together


def test_corrections_33_a_trashed_volume_is_restored_beside_the_live_one(store: Store) -> None:
    live = new_record(state=State.READY)
    store.restore(new_record(state=State.TRASHED))
    store.restore(live)
    assert store.find(DEFAULT_VMGROUP, "db") == live


def test_a_volume_is_found_by_its_disk_in_any_state(store: Store) -> None:
    record = new_record(state=State.TRASHED)
    store.restore(record)
    assert store.with_disk(record.disk_uuid) == record
    assert store.with_disk(DiskUuid(uuid4())) is None


# --- pages, change numbers, removed ids --------------------------------------------------------------------------


def test_pages_give_every_record_once_in_the_order_of_ids(store: Store) -> None:
    made = {ready(store, f"v{number}").id for number in range(7)}
    seen: list[VolumeId] = []
    while True:
        page = store.page(DEFAULT_VMGROUP, seen[-1] if seen else None, 3)
        if not page:
            break
        seen += [record.id for record in page]
    assert seen == sorted(made)


def test_a_page_has_records_of_every_state(store: Store) -> None:
    for state in State:
        store.restore(new_record(f"v-{state}", state=state))
    assert {record.state for record in store.page(None, None, 100)} == set(State)


def test_another_vmgroups_page_is_empty(store: Store) -> None:
    ready(store)
    assert store.page(OTHER_GROUP, None, 10) == ()


def test_a_page_since_a_change_has_only_what_changed_later(stores: Stores) -> None:
    ready(stores.store, "old")
    since = stores.store.change_number()
    new = ready(stores.store, "new")
    assert stores.again().page(None, None, 10, since=since) == (new,)


def every_write(store: Store) -> Iterator[str]:
    record = new_record()
    intent = creating(record)
    store.begin(intent, record)
    yield "begin"
    record = replace(record, state=State.READY)
    store.finish(intent.id, record)
    yield "finish"
    intent = attaching(record)
    store.begin(intent, raised(record))
    yield "begin of an existing one"
    store.abandon(intent.id, record)
    yield "abandon"
    store.update(raised(record), expect=1)
    yield "update"
    store.delete(record.id, expect=2)
    yield "delete"
    store.restore(record)
    yield "restore"


def test_every_write_of_a_record_raises_the_change_number(stores: Stores) -> None:
    last = stores.store.change_number()
    for what in every_write(stores.store):
        now = stores.store.change_number()
        assert now > last, what
        last = now
    assert stores.again().change_number() == last


def test_removed_ids_are_told_since_a_change(stores: Stores) -> None:
    first, second = ready(stores.store, "one"), ready(stores.store, "two")
    start = stores.store.change_number()
    stores.store.delete(first.id, expect=1)
    middle = stores.store.change_number()
    stores.store.delete(second.id, expect=1)
    store = stores.again()
    assert store.removed_since(DEFAULT_VMGROUP, start) == (first.id, second.id)
    assert store.removed_since(DEFAULT_VMGROUP, middle) == (second.id,)
    assert store.removed_since(DEFAULT_VMGROUP, store.change_number()) == ()


def test_removed_ids_of_another_vmgroup_are_not_told(store: Store) -> None:
    record = ready(store)
    since = store.change_number()
    store.delete(record.id, expect=1)
    assert store.removed_since(OTHER_GROUP, since) == ()


def test_a_change_number_of_another_database_is_unknown(stores: Stores, clock: HandClock) -> None:
    store = stores.store
    old = store.change_number()
    clock.pass_time(60.0)
    rebuilt = stores.another()
    assert rebuilt.removed_since(DEFAULT_VMGROUP, old) is None
    assert store.removed_since(DEFAULT_VMGROUP, rebuilt.change_number()) is None


def test_what_was_removed_too_long_ago_is_unknown(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    stores.remember(3, monkeypatch)
    store = stores.store
    start = store.change_number()
    numbers = []
    for number in range(5):
        record = ready(store, f"v{number}")
        store.delete(record.id, expect=1)
        numbers.append(store.change_number())
    assert store.removed_since(DEFAULT_VMGROUP, start) is None
    assert store.removed_since(DEFAULT_VMGROUP, numbers[0]) is None
    assert len(store.removed_since(DEFAULT_VMGROUP, numbers[1]) or ()) == 3


# --- answers and vmgroups ----------------------------------------------------------------------------------------


def test_an_answer_is_kept(stores: Stores) -> None:
    call = uuid4()
    stores.store.keep_answer(VM, call, b"\x00answer")
    assert stores.again().stored_answer(VM, call) == b"\x00answer"


def test_corrections_14_an_answer_is_for_its_caller_only(store: Store) -> None:
    call = uuid4()
    store.keep_answer(VM, call, b"mine")
    assert store.stored_answer(VmId(UUID(int=78)), call) is None


def test_the_first_answer_stays(store: Store) -> None:
    call = uuid4()
    store.keep_answer(VM, call, b"first")
    store.keep_answer(VM, call, b"second")
    assert store.stored_answer(VM, call) == b"first"


@pytest.mark.parametrize(("age_s", "kept"), [(DAY_S - 1, b"old"), (DAY_S + 1, None)])
def test_an_answer_is_kept_for_a_day(stores: Stores, clock: HandClock, age_s: float, kept: bytes | None) -> None:
    call = uuid4()
    stores.store.keep_answer(VM, call, b"old")
    clock.pass_time(age_s)
    store = stores.again()
    store.keep_answer(VM, uuid4(), b"new")
    assert store.stored_answer(VM, call) == kept


def test_after_a_day_another_answer_is_kept(store: Store, clock: HandClock) -> None:
    call = uuid4()
    store.keep_answer(VM, call, b"old")
    clock.pass_time(DAY_S + 1)
    store.keep_answer(VM, call, b"new")
    assert store.stored_answer(VM, call) == b"new"


def test_every_vm_is_in_the_default_vmgroup(store: Store) -> None:
    group = store.vmgroup(VmId(uuid4()))
    assert (group.id, group.name, group.default_datastore) == (DEFAULT_VMGROUP, "_DEFAULT", None)


def test_the_default_datastore_of_the_settings_is_kept(sql_stores: SqlStores) -> None:
    sql_stores.store.set_default_datastore(DEFAULT_VMGROUP, DatastoreName("ds2"))
    assert sql_stores.again().vmgroup(VM).default_datastore == "ds2"


@pytest.mark.parametrize("settings", [DatastoreName("ds2"), None])
def test_an_administrators_default_datastore_is_not_that_of_the_settings(
    sql_stores: SqlStores, settings: DatastoreName | None
) -> None:
    store = sql_stores.store
    chosen = store.group_of(VM)
    store.put_group(replace(chosen, vmgroup=replace(chosen.vmgroup, default_datastore=DatastoreName("ds1"))), expect=1)

    store.set_default_datastore(DEFAULT_VMGROUP, settings)

    assert store.vmgroup(VM).default_datastore == "ds1"
    assert store.vmgroup(VM).revision == 2


def test_a_default_group_that_was_removed_stays_removed_at_a_restart(sql_stores: SqlStores) -> None:
    sql_stores.store.delete_group(DEFAULT_VMGROUP, expect=1)
    store = sql_stores.again()

    store.set_default_datastore(DEFAULT_VMGROUP, DatastoreName("ds2"))

    assert store.groups() == ()


def test_a_datastore_is_remembered_by_its_marker(sql_stores: SqlStores) -> None:
    marker = uuid4()
    sql_stores.store.remember_datastore(DatastoreName("ds1"), marker)
    sql_stores.store.remember_datastore(DatastoreName("ds1"), marker)
    assert sql_stores.again().datastore_ids() == {"ds1": marker}


def test_a_datastore_never_gets_another_marker(sql_stores: SqlStores) -> None:
    sql_stores.store.remember_datastore(DatastoreName("ds1"), uuid4())
    with pytest.raises(NotPermitted):
        sql_stores.store.remember_datastore(DatastoreName("ds1"), uuid4())


# --- many at once ------------------------------------------------------------------------------------------------


def test_corrections_6_no_update_is_lost(store: Store) -> None:
    record = ready(store)
    rounds, threads = 25, 8

    def count_up() -> None:
        done = 0
        while done < rounds:
            seen = store.volume(record.id)
            assert seen is not None
            with contextlib.suppress(StaleRequest):
                store.update(replace(raised(seen), size_bytes=seen.size_bytes + 512), expect=seen.generation)
                done += 1

    with ThreadPoolExecutor(threads) as pool:
        for work in [pool.submit(count_up) for _ in range(threads)]:
            work.result()
    found = store.volume(record.id)
    assert found is not None
    assert found.size_bytes - record.size_bytes == threads * rounds * 512
    assert found.generation == record.generation + threads * rounds


def test_of_fifty_creates_of_one_name_one_wins(store: Store) -> None:
    start = threading.Barrier(50)

    def create() -> str:
        record = new_record()
        start.wait()
        try:
            store.begin(creating(record), record)
        except VolumeError as error:
            return error.code
        return "won"

    with ThreadPoolExecutor(50) as pool:
        results = [work.result() for work in [pool.submit(create) for _ in range(50)]]
    assert sorted(results) == ["name-conflict"] * 49 + ["won"]
    assert len(store.page(None, None, 100)) == 1
    assert len(store.open_intents()) == 1


def test_of_many_begins_on_one_volume_one_wins(store: Store) -> None:
    record = ready(store)

    def begin() -> str:
        try:
            store.begin(attaching(record), raised(record))
        except VolumeError as error:
            return error.code
        return "won"

    with ThreadPoolExecutor(16) as pool:
        results = [work.result() for work in [pool.submit(begin) for _ in range(16)]]
    assert sorted(results) == ["busy"] * 15 + ["won"]
