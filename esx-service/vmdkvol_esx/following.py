"""A record follows its disk: Storage vMotion moves a disk that is attached, and gives its file another name (F19).

The device list says where the disk with that UUID lies. Once it is detached no list says so any more, so whoever is about to
detach follows first. A disk is followed only if it is not where the record says any more: a backup's copy may have the identity
of its original.
"""

from __future__ import annotations

from dataclasses import replace

from vmdkvol.errors import DatastoreNotFound, VolumeError, WrongDisk
from vmdkvol_esx.comparing import Comparing
from vmdkvol_esx.journal import Journal
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import copy_path, disk_path, disk_ref
from vmdkvol_esx.ports import AttachedDisk, DiskPath
from vmdkvol_esx.records import VolumeRecord


class Following:
    """Each call is within the volume's lane, and no work is open on the volume."""

    def __init__(self, parts: Parts, journal: Journal) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._journal = journal
        self._comparing = Comparing(parts)
        self._log = parts.log

    def followed(self, record: VolumeRecord, device: AttachedDisk) -> VolumeRecord:
        """Return the record, stored with the place at which ``device`` has the disk. Its copy lies there too, if it could.

        WrongDisk if the disk still lies where the record says, so that ``device`` is a copy of it; raises as
        ``Hypervisor.disk`` if that cannot be said, and as ``Store.update``: then the record is as it was.
        """
        if device.path is None or device.path == disk_path(record):
            return record
        self._check_moved(record, device.path)
        # The generation stays: the guest that has the disk gives it back with the one that it was told.
        moved = replace(record, datastore=device.path.datastore, path=device.path.path)
        was, left = disk_path(record), copy_path(record)
        self._log.warning("disk was moved", volume=record.name, id=str(record.id), was=str(was), now=str(device.path))
        # First: killed before the record follows, the next look does all of it again.
        self._move_copy(moved, left)
        self._store.update(moved, expect=record.generation)
        return moved

    def _move_copy(self, moved: VolumeRecord, was: DiskPath) -> None:
        """Write the second copy of the record beside the disk, and leave none where it was: it would bring the volume back
        at a rebuild, when it has long been removed elsewhere. One that knows more than the record is neither written over
        nor lost, it goes along (F40); what cannot be compared now stays as it is.
        """
        try:
            elsewhere = was != copy_path(moved)
            stands = elsewhere and self._comparing.carry(moved, was).stands
            self._journal.write_sidecar(moved)
            if elsewhere and not stands:
                self._hypervisor.write_sidecar(was, None)
        except VolumeError as error:
            # Housekeeping writes the new one. The record is the first copy, and who waits for the disk does not wait for this.
            self._log.warning("sidecar not moved", volume=moved.name, error=str(error))

    def _check_moved(self, record: VolumeRecord, now: DiskPath) -> None:
        try:
            left = self._hypervisor.disk(disk_ref(record))
        except (WrongDisk, DatastoreNotFound):
            # Another disk's place by now, or not one of ours any more.
            return
        if left is not None:
            raise WrongDisk(
                f"{now} has the identity of volume {record.name}, whose disk lies at {disk_path(record)}",
                remedy="one of them is a copy, as backups restore it: an administrator must take it off the machine",
            )
