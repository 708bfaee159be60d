"""The simulated hypervisor joined to the kernels of its virtual machines, with the oracle looking over its shoulder."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from tests.doubles.memory_guest import Disks, MemoryGuest
from tests.doubles.simulated_hypervisor import SimulatedHypervisor
from tests.doubles.simulated_state import Truth, shown
from tests.simulation.invariants import Oracle
from vmdkvol.clock import Clock
from vmdkvol.errors import VolumeInUse
from vmdkvol.options import CreateOptions
from vmdkvol.volume import Address, Attachment, Content, DiskUuid, VmId, VolumeId
from vmdkvol_esx.ports import AttachDisk, Change, CloneDisk, CreateDisk, Datastore, DetachDisk, DiskRef, GrowDisk, Vm
from vmdkvol_esx.records import Intent

# As long as one slow or hanging step of the service between them lasts, at the most.
_FROM_LOOK_TO_CHANGE_S = 30.0


class Datacenter(SimulatedHypervisor):
    """A disk that is attached appears in its VM's kernel; one that is detached leaves it, unless that is in use."""

    def __init__(
        self,
        clock: Clock,
        oracle: Oracle,
        guests: Mapping[VmId, MemoryGuest],
        disks: Disks,
        *,
        datastores: Sequence[Datastore],
        vms: Sequence[Vm],
        seconds: Mapping[type[Change], float],
        intents: Callable[[], Collection[Intent]],
    ) -> None:
        super().__init__(clock, datastores=datastores, vms=vms, seconds=seconds)
        self._oracle = oracle
        self._guests = guests
        self._bytes = disks
        self._intents = intents
        self._read_again_at = float("-inf")

    def heal(self) -> None:
        """No fault that was scripted strikes any more."""
        self._script.refusals.clear()
        self._script.lost_answers.clear()
        self._script.failures.clear()
        self._script.twice = 0

    def attach_by_hand(self, vm: VmId, disk: DiskRef) -> None:
        """Attach a disk that nobody has, as an administrator may; a machine that does not answer takes none."""
        with self._now():
            if vm not in self._unread:
                self._attach(AttachDisk(vm, disk, "independent_persistent"))

    def unread(self, vm: VmId, *, unread: bool = True) -> None:
        super().unread(vm, unread=unread)
        self._read_again_at = self._clock.monotonic()

    def truth(self) -> Truth:
        """As it is; ``unread`` are also VMs whose lists may have been unread when the answer of now was found."""
        truth = super().truth()
        return replace(truth, unread=frozenset(self._guests)) if self._was_unread() else truth

    def _was_unread(self) -> bool:
        """Tell whether a list may have been unread when the service looked: the change comes some time after its look."""
        return bool(self._unread) or self._clock.monotonic() - self._read_again_at < _FROM_LOOK_TO_CHANGE_S

    def _do(self, change: Change) -> None:
        if self._changes(change) and not any(intent.change.disk.uuid == change.disk.uuid for intent in self._intents()):
            self._oracle.unfounded(change)
        if isinstance(change, AttachDisk):
            self._oracle.served(change.vm, change.disk.uuid)
        try:
            super()._do(change)
        except VolumeInUse as error:
            if not self._was_unread() and not isinstance(change, DetachDisk | GrowDisk):
                # A VM that could not be read is the one case in which the lock is the last guard (corrections 38). And a
                # detach from a VM that is off is refused on purpose when that was switched on meanwhile. A growth that comes
                # to the lock, after a list that was not true, freezes nobody.
                self._oracle.refused(change, error)
            raise
        self._oracle.count(type(change).__name__)
        if isinstance(change, CreateDisk | CloneDisk):
            self._oracle.made(change.disk.uuid, change.note)
            disk = next(disk for disk in self._disks.values() if disk.ref.uuid == change.disk.uuid)
            self._bytes.disk(change.disk.uuid, disk.size_bytes)

    def _changes(self, change: Change) -> bool:
        """Tell whether there is anything to change: a detach that was sent twice finds its disk gone the second time, a growth
        finds it as large as it is to be."""
        if isinstance(change, GrowDisk):
            return any(each.ref == change.disk and each.size_bytes < change.size_bytes for each in self._disks.values())
        held = self._held.get(change.disk.uuid)
        return not isinstance(change, DetachDisk) or (held is not None and held.vm == change.vm)

    def _clone(self, change: CloneDisk) -> None:
        new = change.disk.path not in self._disks
        super()._clone(change)
        if new:
            self._bytes.copy(change.source.uuid, change.disk.uuid)
            self._oracle.cloned(change)

    def _delete(self, ref: DiskRef) -> None:
        there = self._disks.get(ref.path)
        if there is not None and there.ref.uuid == ref.uuid and ref.uuid not in self._held:
            self._oracle.deleting(shown(there))
        super()._delete(ref)
        self._bytes.delete(ref.uuid)

    def _grow(self, change: GrowDisk) -> None:
        super()._grow(change)
        self._oracle.grew(shown(self._whole(change.disk)))
        self._bytes.enlarge(change.disk.uuid, change.size_bytes)
        for guest in self._guests.values():
            # Loop devices are larger at once, of PVSCSI's disks the kernel has to be asked.
            if change.disk.uuid.int % 2:
                guest.see(change.disk.uuid)

    def _attach(self, change: AttachDisk) -> None:
        super()._attach(change)
        held, size = self._held[change.disk.uuid], self._whole(change.disk).size_bytes
        self._oracle.attached(change.vm, shown(self._whole(change.disk)))
        self._guests[change.vm].plug(_attachment(change.disk.uuid, held.address, size))

    def _detach(self, change: DetachDisk) -> None:
        held = self._held.get(change.disk.uuid)
        if held is not None and held.vm == change.vm and change.vm not in self._unread:
            self._oracle.detaching(change.vm, change.disk.uuid)
            # StillMounted, as the local hypervisor's own test of O_EXCL says (corrections 3).
            self._guests[change.vm].unplug(change.disk.uuid)
        super()._detach(change)


def _attachment(disk: DiskUuid, address: Address, size_bytes: int) -> Attachment:
    """Return what a kernel needs to know of a new device."""
    volume = VolumeId(UUID(int=0))
    return Attachment(volume, disk, size_bytes, address, 0, Content.UNFORMATTED, None, CreateOptions())
