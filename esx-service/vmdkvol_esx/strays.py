"""Disks in our folders without a record, as the last scan saw them. They are adopted or removed by a person only (F41)."""

from __future__ import annotations

from collections.abc import Mapping, Set

from vmdkvol.errors import VolumeError
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.ports import Disk

Seen = Mapping[DatastoreName, Mapping[DiskUuid, Disk]]


class Strays:
    """``look`` is one thread's; ``count`` is for any."""

    def __init__(self, parts: Parts) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._log = parts.log
        self._where: dict[DiskUuid, DatastoreName] = {}

    @property
    def count(self) -> int:
        return len(self._where)

    def look(self, seen: Seen, known: Set[DiskUuid]) -> None:
        """Say once of each disk without a record that it is there, and forget those that have one now, or are gone.

        ``known`` are the disks of all records, read after the listings. Nothing is forgotten of a datastore without one.
        """
        self._where = {uuid: name for uuid, name in self._where.items() if self._still(uuid, name, seen, known)}
        for name, disks in seen.items():
            for uuid, disk in disks.items():
                # The store is asked only about disks that came after the records were read.
                if uuid in known or uuid in self._where or self._store.with_disk(uuid) is not None:
                    continue
                if self._there(disk):
                    self._where[uuid] = name
                    self._log.warning("disk without a record", disk=str(disk.ref.path), uuid=str(uuid))

    def _still(self, uuid: DiskUuid, name: DatastoreName, seen: Seen, known: Set[DiskUuid]) -> bool:
        return uuid not in known and (name not in seen or uuid in seen[name])

    def _there(self, disk: Disk) -> bool:
        """Tell whether a disk is there that was in a listing; it may have been removed since, or be on its way out."""
        try:
            return self._hypervisor.disk(disk.ref) is not None
        except VolumeError:
            # The next scan looks again.
            return False
