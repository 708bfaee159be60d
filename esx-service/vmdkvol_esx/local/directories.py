"""The directories that are datastores: what lies in them, looked at and listed; nobody's loop devices are asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from vmdkvol.clock import Deadline
from vmdkvol.errors import DatastoreNotFound
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.foreign_disks import ForeignDisk
from vmdkvol_esx.local import foreign
from vmdkvol_esx.local.datastore import DatastoreFiles, LocalDatastore
from vmdkvol_esx.ports import Datastore, Disk, DiskPath, DiskRef


class Directories:
    """The part of ``Hypervisor`` that needs no more than the files."""

    def __init__(self, datastores: Sequence[LocalDatastore]) -> None:
        self._stores = {store.name: DatastoreFiles(store) for store in datastores}

    def disk(self, ref: DiskRef) -> Disk | None:
        return self._store(ref.path).disk(ref)

    def disks(self, datastore: DatastoreName) -> Sequence[Disk]:
        return self._named(datastore).disks()

    def traces(self, datastore: DatastoreName) -> Sequence[DiskPath]:
        return self._named(datastore).traces()

    def foreign(self, datastore: DatastoreName, folder: str, deadline: Deadline | None = None) -> Sequence[DiskPath]:
        return foreign.listed(self._named(datastore), datastore, folder, deadline)

    def foreign_disk(self, path: DiskPath, deadline: Deadline | None = None) -> ForeignDisk | None:
        # A file of this machine, or of a mount whose server is gone: then nothing ends the look but the kernel.
        return foreign.looked_at(self._store(path), path)

    def copies_elsewhere(self, datastore: DatastoreName) -> Sequence[DiskPath]:
        return foreign.copies(self._named(datastore), datastore)

    def allocated(self, disks: Collection[DiskRef]) -> Mapping[DiskUuid, int]:
        found: dict[DiskUuid, int] = {}
        for name in {disk.path.datastore for disk in disks} & self._stores.keys():
            found |= self._stores[name].allocated([disk for disk in disks if disk.path.datastore == name])
        return found

    def datastores(self) -> Sequence[Datastore]:
        return [store.state() for store in self._stores.values()]

    def read_sidecar(self, disk: DiskPath) -> bytes | None:
        return self._store(disk).read_sidecar(disk)

    def write_sidecar(self, disk: DiskPath, content: bytes | None) -> None:
        self._store(disk).write_sidecar(disk, content)

    def _store(self, path: DiskPath) -> DatastoreFiles:
        return self._named(path.datastore)

    def _named(self, name: DatastoreName) -> DatastoreFiles:
        store = self._stores.get(name)
        if store is None:
            raise DatastoreNotFound(f"there is no datastore {name!r}", remedy=f"known: {', '.join(sorted(self._stores))}")
        return store
