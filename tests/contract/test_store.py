"""Every promise of the Store port, on the store in memory, on a file, and on a file that was closed and opened again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Protocol
from uuid import UUID, uuid4

import pytest

from tests.doubles.hand_clock import HandClock
from vmdkvol.clock import Clock
from vmdkvol.errors import Busy, NameConflict, NotPermitted, StaleRequest, VolumeError, VolumeInUse, VolumeNotFound
from vmdkvol.names import DatastoreName, VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.volume import DEFAULT_VMGROUP, Content, DiskUuid, State, VmgroupId, VmId, VolumeId
from vmdkvol_esx.ports import AttachDisk, Change, CloneDisk, CreateDisk, DeleteDisk, DetachDisk, DiskPath, DiskRef, Store
from vmdkvol_esx.records import Intent, VolumeRecord
from vmdkvol_esx.store import SqlStore, open_store

VM = VmId(UUID(int=77))
OTHER_GROUP = VmgroupId(UUID(int=5))
DAY_S = 24 * 3600.0


class Stores(Protocol):
    """Makes the store of a test; ``again`` gives what a restarted service would see."""

    store: SqlStore

    def again(self) -> SqlStore: ...


class InMemory:
    def __init__(self, clock: Clock, _: Path) -> None:
        self.store = open_store(None, clock)

    def again(self) -> SqlStore:
        return self.store


class InFile:
    def __init__(self, clock: Clock, directory: Path) -> None:
        self.store = open_store(directory / "vmdkvol.db", clock)

    def again(self) -> SqlStore:
        return self.store


class Reopened:
    def __init__(self, clock: Clock, directory: Path) -> None:
        self._clock = clock
        self._path = directory / "vmdkvol.db"
        self.store = open_store(self._path, clock)

    def again(self) -> SqlStore:
        self.store.close()
        self.store = open_store(self._path, self._clock)
        return self.store


@pytest.fixture
def clock() -> HandClock:
    return HandClock(wall=1_000_000.0)


@pytest.fixture(params=[InMemory, InFile, Reopened])
def stores(request: pytest.FixtureRequest, clock: HandClock, tmp_path: Path) -> Iterator[Stores]:
    made: Stores = request.param(clock, tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def store(stores: Stores) -> Store:
    return stores.store


def ref(record: VolumeRecord) -> DiskRef:
    return DiskRef(record.disk_uuid, DiskPath(record.datastore, record.path))


def new_record(name: str = "db", state: State = State.PREPARING, generation: int = 1) -> VolumeRecord:
    number = uuid4()
    return VolumeRecord(
        id=VolumeId(number),
        vmgroup=DEFAULT_VMGROUP,
        name=name,
        datastore=DatastoreName("ds1"),
        path=f"vmdkvol/{DEFAULT_VMGROUP}/x-{number.hex[:8]}.vmdk",
        disk_uuid=DiskUuid(uuid4()),
        size_bytes=1 << 30,
        state=state,
        content=Content.UNFORMATTED,
        filesystem_uuid=None,
        options=CreateOptions.parse({"size": "1gb", "label": "a=ü,b=2", "uid": "999"}),
        generation=generation,
        created_at=1_000_000.25,
        created_by="host-a",
    )


def creating(record: VolumeRecord, source: VolumeId | None = None) -> Intent:
    change = CreateDisk(ref(record), record.size_bytes, "thin", {"volume": str(record.id)})
    return Intent(id=uuid4(), volume=record.id, change=change, caller=VM, opened_at=5.5, source=source)


def attaching(record: VolumeRecord) -> Intent:
    return Intent(uuid4(), record.id, AttachDisk(VM, ref(record), "independent_persistent"), VM, 6.0, before=record)


def ready(store: Store, name: str = "db") -> VolumeRecord:
    """Create a volume as the service does, and return its record."""
    record = new_record(name)
    intent = creating(record)
    store.begin(intent, record)
    record = replace(record, state=State.READY)
    store.finish(intent.id, record)
    return record


def raised(record: VolumeRecord) -> VolumeRecord:
    return replace(record, generation=record.generation + 1)


def state_of(store: Store) -> tuple[object, ...]:
    """Return all that a reader can see."""
    return (store.page(None, None, 1000), store.open_intents(), store.change_number())


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
    full = replace(record, filesystem_uuid=uuid4(), last_vm=VM, trashed_at=7.25, state=State.TRASHED)
    changes: list[Change] = [
        CreateDisk(disk, 512, "eagerzeroedthick", {"a": "1", "b": "ü"}),
        CloneDisk(ref(new_record("source")), disk, "thin", {}),
        DeleteDisk(disk),
        AttachDisk(VM, disk, "persistent"),
        DetachDisk(VM, disk),
    ]
    return [Intent(uuid4(), record.id, change, caller, 9.125, before=full) for change in changes for caller in (VM, None)]


@pytest.mark.parametrize("number", range(10))
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
        options=replace(CreateOptions(), size_bytes=None, clone_from=VolumeRef.parse("a@b"), given=frozenset({"clone_from"})),
    )
    stores.store.restore(record)
    assert stores.again().volume(record.id) == record


# --- clones ------------------------------------------------------------------------------------------------------


def clone(store: Store, source: VolumeRecord, name: str = "copy") -> tuple[Intent, VolumeRecord]:
    record = new_record(name)
    change = CloneDisk(ref(source), ref(record), "thin", {})
    return Intent(uuid4(), record.id, change, VM, 5.0, source=source.id), record


def try_begin(store: Store, source: VolumeRecord) -> None:
    store.begin(attaching(source), raised(source))


def try_update(store: Store, source: VolumeRecord) -> None:
    store.update(replace(raised(source), state=State.TRASHED), expect=source.generation)


def try_delete(store: Store, source: VolumeRecord) -> None:
    store.delete(source.id, expect=source.generation)


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
    with pytest.raises(Busy):
        store.restore(replace(record, generation=9))
    assert store.volume(record.id) == record


def test_corrections_33_a_second_live_claimant_is_not_restored(store: Store) -> None:
    store.restore(new_record(state=State.READY))
    with pytest.raises(NameConflict):
        store.restore(new_record(state=State.READY))


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


def test_a_change_number_of_another_database_is_unknown(store: Store, clock: HandClock) -> None:
    old = store.change_number()
    clock.pass_time(60.0)
    rebuilt = open_store(None, clock)
    assert rebuilt.removed_since(DEFAULT_VMGROUP, old) is None
    assert store.removed_since(DEFAULT_VMGROUP, rebuilt.change_number()) is None
    rebuilt.close()


def test_what_was_removed_too_long_ago_is_unknown(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmdkvol_esx.store.volumes.REMEMBERED", 3)
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


def test_every_vm_is_in_the_default_vmgroup(store: Store) -> None:
    group = store.vmgroup(VmId(uuid4()))
    assert (group.id, group.name, group.default_datastore) == (DEFAULT_VMGROUP, "_DEFAULT", None)


def test_the_default_datastore_is_kept(stores: Stores) -> None:
    stores.store.set_default_datastore(DEFAULT_VMGROUP, DatastoreName("ds2"))
    assert stores.again().vmgroup(VM).default_datastore == "ds2"


def test_an_unknown_vmgroup_has_no_default_datastore(stores: Stores) -> None:
    with pytest.raises(NotPermitted):
        stores.store.set_default_datastore(OTHER_GROUP, DatastoreName("ds2"))


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
