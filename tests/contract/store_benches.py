"""What the store's contract runs on: the database in memory, in a file that ``again`` closes and opens, the simulation's
double; and their records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID, uuid4

import pytest

from tests.doubles.memory_store import MemoryStore
from vmdkvol.clock import Clock
from vmdkvol.names import DatastoreName
from vmdkvol.options import CreateOptions
from vmdkvol.volume import DEFAULT_VMGROUP, Content, DiskUuid, State, VmgroupId, VmId, VolumeId
from vmdkvol_esx.ports import AttachDisk, CloneDisk, CreateDisk, DiskPath, DiskRef, Store
from vmdkvol_esx.records import Intent, VolumeRecord
from vmdkvol_esx.store import SqlStore, open_store

VM = VmId(UUID(int=77))
OTHER_GROUP = VmgroupId(UUID(int=5))
DAY_S = 24 * 3600.0


class Stores(Protocol):
    """Makes the store of a test; ``again`` gives what a restarted service would see, ``another`` one of the same kind.

    ``remember`` sets how many removed ids are told to those who lag behind. What is in memory is the same object
    ``again``: that a record survives the process is shown by the file alone.
    """

    @property
    def store(self) -> Store: ...
    def again(self) -> Store: ...
    def another(self) -> Store: ...
    def remember(self, count: int, patch: pytest.MonkeyPatch) -> None: ...
    def close(self) -> None: ...


class SqlStores(Stores, Protocol):
    """The database: what the daemon asks of it beside the port, the simulation has no use for."""

    @property
    def store(self) -> SqlStore: ...
    def again(self) -> SqlStore: ...


class _Database:
    store: SqlStore

    def __init__(self, clock: Clock, path: Path | None) -> None:
        self._clock = clock
        self._path = path
        self.store = open_store(path, clock)

    def again(self) -> SqlStore:
        if self._path is not None:
            self.store.close()
            self.store = open_store(self._path, self._clock)
        return self.store

    def another(self) -> SqlStore:
        return open_store(None, self._clock)

    def remember(self, count: int, patch: pytest.MonkeyPatch) -> None:
        patch.setattr("vmdkvol_esx.store.volumes.REMEMBERED", count)

    def close(self) -> None:
        self.store.close()


class InMemory(_Database):
    def __init__(self, clock: Clock, _: Path) -> None:
        super().__init__(clock, None)


class OnFile(_Database):
    def __init__(self, clock: Clock, directory: Path) -> None:
        super().__init__(clock, directory / "vmdkvol.db")


class Simulated:
    """The simulation's double."""

    def __init__(self, clock: Clock, _: Path) -> None:
        self._clock = clock
        self.store = MemoryStore(clock)

    def again(self) -> MemoryStore:
        return self.store

    def another(self) -> MemoryStore:
        return MemoryStore(self._clock)

    def remember(self, count: int, patch: pytest.MonkeyPatch) -> None:
        self.store.remembered = count

    def close(self) -> None:
        """Nothing is open."""


SQL_STORES: tuple[Any, ...] = (InMemory, OnFile)
STORES: tuple[Any, ...] = (*SQL_STORES, Simulated)


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
