"""A record follows its disk: Storage vMotion moves a disk that is attached, and gives its file another name (F19).

The device list says where the disk with that UUID lies. Once it is detached no list says so any more, so whoever is about to
detach follows first.
"""

from __future__ import annotations

from dataclasses import replace

from vmdkvol.errors import VolumeError
from vmdkvol_esx.journal import Journal
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import disk_path
from vmdkvol_esx.ports import AttachedDisk
from vmdkvol_esx.records import VolumeRecord


class Following:
    """Each call is within the volume's lane, and no work is open on the volume."""

    def __init__(self, parts: Parts, journal: Journal) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._journal = journal
        self._log = parts.log

    def followed(self, record: VolumeRecord, device: AttachedDisk) -> VolumeRecord:
        """Return the record, stored with the place at which ``device`` has the disk. Its copy is written there too.

        Raises as ``Store.update``: then the record is as it was.
        """
        if device.path is None or device.path == disk_path(record):
            return record
        # The generation stays: the guest that has the disk gives it back with the one that it was told.
        moved = replace(record, datastore=device.path.datastore, path=device.path.path)
        self._store.update(moved, expect=record.generation)
        was = disk_path(record)
        self._log.warning("disk was moved", volume=record.name, id=str(record.id), was=str(was), now=str(device.path))
        try:
            self._journal.write_sidecar(moved)
            # Left alone, it would bring the volume back at a rebuild, when it has long been removed elsewhere.
            self._hypervisor.write_sidecar(was, None)
        except VolumeError as error:
            # Housekeeping writes the new one; the record is the first copy.
            self._log.warning("sidecar not moved", volume=record.name, error=str(error))
        return moved
