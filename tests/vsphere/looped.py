"""The device side of a simulated VM: what is in its device list is a loop device over the extent on the simulator's datastore.

It is the hot-plug that a real VM has and the simulator has not: a disk comes when the device list has it at its address, and
goes when the agent has forgotten it. Who this kernel's disks are is then told by the agent's own Linux part.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from pyVmomi import vim

from tests.vsphere.outside import Outside, attached
from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import TruthUnknown
from vmdkvol.volume import Attachment, DiskUuid, LoopAddress, ScsiAddress, VmId, loop_tag
from vmdkvol_esx.local import loop_device
from vmdkvol_esx.local.loops import Loop, Loops
from vmdkvol_guest.linux.devices import LinuxDevices
from vmdkvol_guest.ports import Device

LOOK_S = 0.05


class LoopedDevices:
    """Implements the agent's ``Devices``. ``look`` gives a view of the simulator, new each time."""

    def __init__(
        self, clock: Clock, owner: Callable[[], VmId | None], look: Callable[[], AbstractContextManager[Outside]], folder: Path
    ) -> None:
        self._clock = clock
        self._owner = owner
        self._look = look
        self._linux = LinuxDevices(clock, owner)
        self._loops = Loops(clock, [str(folder)])

    def find(self, attachment: Attachment, deadline: Deadline) -> Device:
        number = self._plugged(attachment.address)
        while number is None:
            if deadline.passed:
                raise TruthUnknown(f"no device appeared at {attachment.address} for disk {attachment.disk_uuid}")
            self._clock.sleep(LOOK_S)
            number = self._plugged(attachment.address)
        return self._linux.find(replace(attachment, address=LoopAddress(number)), deadline)

    def claim(self, device: Device, deadline: Deadline) -> AbstractContextManager[None]:
        return self._linux.claim(device, deadline)

    def forget(self, device: Device) -> None:
        """It is gone when its last opener is: the agent forgets under a claim of its own, which nobody else can join."""
        for loop in self._bound(device.disk_uuid):
            opened = loop_device.open_device(loop.number, os.O_RDONLY)
            if opened is not None:
                loop_device.unbind(opened)
                os.close(opened)

    def present(self, vm: VmId, attachment: Attachment) -> Device | None:
        # Only its UUID counts for a loop device.
        return self._linux.present(vm, replace(attachment, address=LoopAddress(0)))

    def _plugged(self, address: object) -> int | None:
        """Return the loop device of what the VM has at this address, bound now if need be; None if it has nothing there."""
        owner = self._owner()
        if not isinstance(address, ScsiAddress) or owner is None:
            raise TruthUnknown(f"this machine has nothing at {address}")
        with self._look() as world:
            disk = _at(world, owner, address)
            if disk is None:
                return None
            uuid = DiskUuid(UUID(world.uuid(disk.backing.fileName).replace(" ", "").replace("-", "")))
            extent = world.file(disk.backing.fileName.replace(".vmdk", "-flat.vmdk"))
        bound = self._bound(uuid)
        return bound[0].number if bound else self._bind(extent, loop_tag(owner, uuid))

    def _bind(self, extent: Path, tag: str) -> int:
        file = os.open(extent, os.O_RDWR | os.O_CLOEXEC)
        try:
            size = os.fstat(file).st_size
            return self._loops.attach(file, tag, offset_bytes=0, size_bytes=size, keep_blocks=False)
        finally:
            os.close(file)

    def _bound(self, disk: DiskUuid) -> list[Loop]:
        return [loop for loop in self._loops.bound() if loop.owner == (self._owner(), disk)]


def give_back() -> None:
    """Give the kernel the numbers of what was forgotten back, as the local hypervisor does at its end."""
    for number in loop_device.left_over():
        loop_device.remove(number)


def _at(world: Outside, owner: VmId, address: ScsiAddress) -> Any:
    """Return the disk at this place of the VM's device list, or None."""
    (vm,) = (vm for vm in world.machines() if UUID(vm.config.instanceUuid) == owner)
    kinds = vim.vm.device.VirtualSCSIController
    buses = {device.key: device.busNumber for device in vm.config.hardware.device if isinstance(device, kinds)}
    places = {(buses.get(disk.controllerKey), disk.unitNumber): disk for disk in attached(vm)}
    return places.get((address.bus, address.unit))
