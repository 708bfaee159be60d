"""Where disks are, looked at without anybody asking: they leave machines that are off, and records follow moved ones.

Whoever destroys a machine deletes the disks that it has (corrections 31, F16); the proof that it is off is that of
``Owners.freed``, read anew for each disk. Disks of one machine go at the same time, so that a hypervisor can take them off
in one change.
"""

from __future__ import annotations

from functools import partial

from vmdkvol.clock import Deadline
from vmdkvol.errors import VolumeError
from vmdkvol.volume import VmId, VolumeId
from vmdkvol_esx.handover import Handover
from vmdkvol_esx.journal import Journal
from vmdkvol_esx.owners import Owners
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import disk_path, disk_ref
from vmdkvol_esx.ports import AttachedDisk
from vmdkvol_esx.records import VolumeRecord

# What a hypervisor that works on them one by one may take for all of them.
WORK_S = 600.0
# Threads: as many changes as fit into one reconfiguration.
_AT_ONCE = 16


class Whereabouts:
    """Nothing is remembered between two looks."""

    def __init__(self, parts: Parts, journal: Journal, owners: Owners, handover: Handover) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._lanes = parts.lanes
        self._clock = parts.clock
        self._journal = journal
        self._owners = owners
        self._handover = handover
        self._log = parts.log

    def look(self) -> None:
        """Afterwards no machine that is off has a disk of ours, and each record says where its disk lies.

        The trouble of one disk is logged. Raises what reading the machines raises; the next look may have more luck.
        """
        vms = self._hypervisor.vms()
        off = frozenset(vm.id for vm in vms if not vm.running)
        lists = self._hypervisor.devices([vm.id for vm in vms])
        found = {volume for vm in vms for disk in lists.of(vm.id) or () if (volume := self._misplaced(vm.id, disk, off))}
        volumes = sorted(found)
        for first in range(0, len(volumes), _AT_ONCE):
            self._at_once(volumes[first : first + _AT_ONCE])

    def there(self, record: VolumeRecord) -> bool:
        """Tell whether the disk is seen where its record says, though no list of our folders has it: it may have left them."""
        try:
            return self._hypervisor.disk(disk_ref(record)) is not None
        except VolumeError:
            return False

    def _misplaced(self, vm: VmId, disk: AttachedDisk, off: frozenset[VmId]) -> VolumeId | None:
        if vm not in off and disk.path is None:
            return None
        record = self._store.with_disk(disk.uuid)
        if record is None or (vm not in off and disk.path == disk_path(record)):
            return None
        return record.id

    def _at_once(self, volumes: list[VolumeId]) -> None:
        deadline = Deadline.after(self._clock, WORK_S)
        own, *others = volumes
        workers = [self._clock.start("whereabouts", partial(self._put_right, volume, deadline)) for volume in others]
        self._put_right(own, deadline)
        for worker in workers:
            worker.join(deadline.left_s)

    def _put_right(self, volume: VolumeId, deadline: Deadline) -> None:
        try:
            work = partial(self._in_lane, volume, deadline)
            self._lanes.run(volume, ("whereabouts",), work, deadline, f"looking where the disk of volume {volume} is")
        except VolumeError as error:
            self._log.warning("disk stays where it is", id=str(volume), error=str(error))

    def _in_lane(self, volume: VolumeId, deadline: Deadline) -> None:
        self._journal.clear(volume, deadline)
        record = self._store.volume(volume)
        if record is not None:
            self._owners.freed(record, None, deadline)
            self._handover.changed(volume)
