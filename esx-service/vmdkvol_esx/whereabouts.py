"""Where disks are, looked at without anybody asking: they leave machines that are off, and records follow moved ones.

Whoever destroys a machine deletes the disks that it has (corrections 31, F16); the proof that it is off is that of
``Owners.freed``, read anew for each disk. Disks of one machine go at the same time, so that a hypervisor can take them off
in one change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from vmdkvol.clock import Deadline
from vmdkvol.errors import StillWorking, VolumeError
from vmdkvol.volume import DiskUuid, VmId, VolumeId
from vmdkvol_esx.glance import Glance
from vmdkvol_esx.handover import Handover
from vmdkvol_esx.journal import Journal
from vmdkvol_esx.owners import Owners
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import disk_path, disk_ref
from vmdkvol_esx.ports import AttachedDisk, Disk
from vmdkvol_esx.records import VolumeRecord

# Of the work on one disk; it goes on in its lane when nobody waits for it any more.
WORK_S = 600.0
# What a look waits for it: the disks of other machines must not stay on them because one machine is being moved or copied.
WAIT_S = 20.0
# Threads: as many changes as fit into one reconfiguration.
_AT_ONCE = 16


class Whereabouts:
    """Nothing is remembered between two looks."""

    def __init__(self, parts: Parts, journal: Journal, owners: Owners, handover: Handover, glance: Glance) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._lanes = parts.lanes
        self._clock = parts.clock
        self._journal = journal
        self._owners = owners
        self._handover = handover
        self._glance = glance
        self._log = parts.log

    def look(self) -> None:
        """Afterwards no machine that is off has a disk of ours, and each record says where its disk lies.

        The trouble of one disk is logged. Raises what reading the machines raises; the next look may have more luck.
        """
        vms = self._hypervisor.vms()
        off = frozenset(vm.id for vm in vms if not vm.running)
        lists = self._hypervisor.devices([vm.id for vm in vms])
        found = {
            (vm.id, volume)
            for vm in vms
            for disk in lists.of(vm.id) or ()
            if (volume := self._misplaced(vm.id, disk, off)) is not None
        }
        left = sorted(found)
        while left:
            slow = self._at_once(left[:_AT_ONCE])
            # The next look goes on with what else such a machine has.
            left = [each for each in left[_AT_ONCE:] if each[0] not in slow]

    def listed(self, disks: Sequence[Disk]) -> Mapping[DiskUuid, Disk]:
        """Return the disks of a datastore by identity; what they take is remembered for people."""
        self._glance.scanned(disks)
        return {disk.ref.uuid: disk for disk in disks}

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

    def _at_once(self, found: Sequence[tuple[VmId, VolumeId]]) -> frozenset[VmId]:
        """Put these right; return the machines on which that takes longer than a look waits."""
        slow: set[VmId] = set()
        deadline = Deadline.after(self._clock, WAIT_S)
        own, *others = [partial(self._put_right, vm, volume, slow, deadline) for vm, volume in found]
        workers = [self._clock.start("whereabouts", other) for other in others]
        own()
        for worker in workers:
            # Each ends soon after the deadline.
            worker.join(2 * WAIT_S)
        return frozenset(slow)

    def _put_right(self, vm: VmId, volume: VolumeId, slow: set[VmId], deadline: Deadline) -> None:
        try:
            work = partial(self._in_lane, volume)
            self._lanes.run(volume, ("whereabouts",), work, deadline, f"looking where the disk of volume {volume} is")
        except StillWorking:
            slow.add(vm)
        except VolumeError as error:
            self._log.warning("disk stays where it is", id=str(volume), error=str(error))

    def _in_lane(self, volume: VolumeId) -> None:
        deadline = Deadline.after(self._clock, WORK_S)
        self._journal.clear(volume, deadline)
        record = self._store.volume(volume)
        if record is not None:
            self._owners.freed(record, None, deadline)
            self._handover.changed(volume)
