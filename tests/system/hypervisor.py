"""The hypervisor of the system tests: VMDK files as the local hypervisor makes them, attached to QEMU's machines.

It obeys the contract suite as far as tests/contract/proven.py says. What each machine has is read from QEMU each time, and from
the machine's folder while it is off; one service at a time may run on a site, and it may be killed at any moment.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import assert_never
from uuid import UUID

from tests.system.lines import Gone
from tests.system.machine import Machine, Plugged, free_slot, machines
from tests.system.qmp import Refused
from vmdkvol.clock import Clock
from vmdkvol.errors import (
    HypervisorUnreachable,
    NoFreeSlot,
    NotEnrolled,
    OutcomeUnknown,
    StaleRequest,
    TruthUnknown,
    VolumeInUse,
)
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid, VmId
from vmdkvol_esx.local.datastore import LocalDatastore
from vmdkvol_esx.local.hypervisor import LocalHypervisor
from vmdkvol_esx.ports import (
    AttachDisk,
    AttachedDisk,
    Change,
    ChangePolicy,
    CloneDisk,
    CreateDisk,
    DeleteDisk,
    DetachDisk,
    DeviceLists,
    DiskRef,
    GrowDisk,
    TaskId,
    Vm,
)


class QemuHypervisor(LocalHypervisor):
    """Implements ``Hypervisor`` for the machines that have their folders in ``folder``, also those that come later."""

    def __init__(self, datastores: Sequence[LocalDatastore], folder: Path, clock: Clock) -> None:
        super().__init__(datastores, [], clock)
        self._directories = {store.name: Path(store.directory) for store in datastores}
        self._folder = folder
        # Between the look at who has a disk and what is done with its file nobody gets it.
        self._giving = threading.Lock()

    # --- what is there -------------------------------------------------------------------------------------------

    def devices(self, vms: Collection[VmId] | None) -> DeviceLists:
        lists: dict[VmId, tuple[AttachedDisk, ...]] = dict.fromkeys(vms or (), ())
        unread: set[VmId] = set()
        for machine in self._machines():
            if vms is not None and machine.id not in vms:
                continue
            try:
                lists[machine.id] = tuple(AttachedDisk(disk.uuid, disk.address, path=disk.path) for disk in machine.disks())
            except (Gone, Refused):
                lists.pop(machine.id, None)
                unread.add(machine.id)
        return DeviceLists(lists, frozenset(unread), tuple(self.vms() if vms is None else ()))

    def check_unused(self, ref: DiskRef) -> None:
        self._check_nobody_has(ref)
        super().check_unused(ref)

    def vm(self, vm: VmId) -> Vm | None:
        return next((found for found in self.vms() if found.id == vm), None)

    def vms(self) -> Sequence[Vm]:
        return [Vm(machine.id, machine.name, machine.running) for machine in self._machines()]

    def machines(self) -> Sequence[Vm]:
        return self.vms()

    def vm_with_context(self, context_id: int) -> VmId | None:
        found = [machine.id for machine in self._machines() if machine.context_id == context_id and machine.running]
        return found[0] if len(found) == 1 else None

    def vm_datastore(self, vm: VmId) -> DatastoreName | None:
        return next(iter(self._directories), None) if self.vm(vm) is not None else None

    # --- changes -------------------------------------------------------------------------------------------------

    def submit(self, change: Change, operation: UUID) -> TaskId | None:
        match change:
            case CreateDisk():
                return super().submit(change, operation)
            case CloneDisk():
                with self._giving:
                    if not self._store(change.disk.path).whole(change.disk):
                        self._check_nobody_has(change.source)
                    return super().submit(change, operation)
            case DeleteDisk():
                with self._giving:
                    self._check_nobody_has(change.disk)
                    return super().submit(change, operation)
            case GrowDisk():
                with self._giving:
                    return self._grow_file(change, operation)
            case ChangePolicy():
                with self._giving:
                    self._check_nobody_has(change.disk)
                    return super().submit(change, operation)
            case AttachDisk():
                with self._giving:
                    self._give(change)
            case DetachDisk():
                self._take(change)
            case _:
                assert_never(change)
        return None

    def _give(self, change: AttachDisk) -> None:
        """Plug the disk. ``mode`` and the limits have no meaning here."""
        machine = self._machine(change.vm)
        if machine is None:
            raise NotEnrolled(f"there is no machine {change.vm}")
        self._tasks.check(change)
        with self._store(change.disk.path).extent(change.disk, writable=True) as extent:
            holder = self._holder(change.disk.uuid)
            if holder is not None and holder[0].id == change.vm:
                return
            self._check_nobody_has(change.disk)
            # Who copies the disk, which takes a while, has this lock; QEMU's own, of another kind, is not in its way.
            self._lock(extent, shared=False)
            self._plug(machine, change.disk)

    def _plug(self, machine: Machine, disk: DiskRef) -> None:
        try:
            with machine.changing():
                slot = free_slot(machine.disks_now())
                if slot is None:
                    raise NoFreeSlot(f"{machine.name} has 60 disks: {disk.path} has no place")
                file = _copied(self._directories[disk.path.datastore] / disk.path.path, machine.folder / f"{disk.uuid}.vmdk")
                machine.plug_now(Plugged(disk.uuid, slot, str(file), disk.path))
        except Refused as refused:
            # Such as a lock on the file: of a QEMU that nobody listed.
            raise VolumeInUse(f"{disk.path} is not given to {machine.name}: {refused}") from refused
        except Gone as gone:
            raise OutcomeUnknown(f"{machine.name} ended while it got {disk.path}: {gone}") from gone

    def _take(self, change: DetachDisk) -> None:
        machine = self._machine(change.vm)
        if machine is None:
            if change.only_off:
                raise VolumeInUse(f"the machine of {change.disk.path} is not known to be switched off")
            return
        try:
            with machine.changing():
                self._unplug(machine, change)
        except (Gone, Refused) as error:
            raise OutcomeUnknown(f"{machine.name} ended while it gave up {change.disk.path}: {error}") from error

    def _unplug(self, machine: Machine, change: DetachDisk) -> None:
        # Nobody switches it on meanwhile.
        if change.only_off and machine.running:
            raise VolumeInUse(f"{machine.name}, which has {change.disk.path}, is not switched off")
        for disk in machine.disks_now():
            if disk.uuid != change.disk.uuid:
                continue
            if disk.path != change.disk.path:
                raise StaleRequest(f"{machine.name} has disk {disk.uuid} at {disk.path}, not at {change.disk.path}")
            machine.unplug_now(disk)
            Path(disk.file).unlink(missing_ok=True)

    def _grow_file(self, change: GrowDisk, operation: UUID) -> TaskId | None:
        """Only a disk that nobody has grows: QEMU cannot tell a guest that its VMDK did."""
        self._check_nobody_has(change.disk)
        if change.vm is not None:
            raise StaleRequest(f"{change.disk.path} is not attached to {change.vm}")
        return super().submit(change, operation)

    # --- who has what --------------------------------------------------------------------------------------------

    def _check_nobody_has(self, ref: DiskRef) -> None:
        """Raise VolumeInUse, naming who, if a machine has the disk; TruthUnknown if one of them cannot be asked."""
        found = self._holder(ref.uuid)
        if found is not None:
            machine, disk = found
            raise VolumeInUse(f"{ref.path} is attached to {machine.name} ({disk.address})", holder=machine.name)

    def _holder(self, uuid: DiskUuid) -> tuple[Machine, Plugged] | None:
        for machine in self._machines():
            try:
                disks = machine.disks()
            except (Gone, Refused) as error:
                raise TruthUnknown(f"{machine.name} does not say which disks it has: {error}") from error
            for disk in disks:
                if disk.uuid == uuid:
                    return machine, disk
        return None

    def _machine(self, vm: VmId) -> Machine | None:
        return next((machine for machine in self._machines() if machine.id == vm), None)

    def _machines(self) -> list[Machine]:
        try:
            return machines(self._folder)
        except (OSError, ValueError, KeyError) as error:
            raise HypervisorUnreachable(f"the machines in {self._folder} cannot be read: {error}") from error


def _copied(descriptor: Path, copy: Path) -> Path:
    """Write a descriptor for QEMU, of the same extent.

    QEMU 7.2 writes a new content id into a descriptor whose disk is written to, and leaves bytes behind its end if that is
    shorter: once in 16 times the product's own would be none any more (block/vmdk.c, vmdk_write_cid).
    """
    text = descriptor.read_text(encoding="utf-8")
    named = re.sub(r'(?m)^(RW \d+ \w+ ")([^"]+)"', lambda line: f'{line[1]}{descriptor.parent / line[2]}"', text)
    copy.write_text(named, encoding="utf-8")
    return copy
