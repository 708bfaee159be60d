"""Block devices of this kernel, found by identity and never by a guess at a name.

Loop devices carry the hypervisor's tag, disks of a virtual machine the UUID of their VMDK (corrections 2, D8).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import StillMounted, TruthUnknown, VolumeError, WrongDisk
from vmdkvol.volume import Attachment, LoopAddress, ScsiAddress, VmId
from vmdkvol_guest.linux import block, inquiry, loop_devices, scsi
from vmdkvol_guest.linux.opening import BUSY_RETRY_S, BUSY_STEP_S, Ask, check_identity, open_exclusive
from vmdkvol_guest.linux.scsi_finding import ScsiFinding, other_size
from vmdkvol_guest.ports import Device

_DEV = Path("/dev")
# Uevents are the normal way; a machine may have lost one, so sysfs is looked at as often as this.
_LOOK_EVERY_S = 0.2
# A disk that has not come by itself is looked for at its unit: first after so long, then after twice as long.
_SCAN_AFTER_S = 0.5
# A disk that sits where another one should be may be about to leave; one that stays so long is no late event.
_WRONG_S = 5.0
# Of a storm of uevents so many are taken as one: what they tell of is seen by one look.
_AT_ONCE = 1000


class Uevents(Protocol):
    """The kernel's word that something changed; ``poll`` returns what, None if nothing did in ``timeout`` seconds."""

    def poll(self, timeout: float) -> object | None: ...


class LinuxDevices:
    """The ``Devices`` port on loop devices and on SCSI disks: an attachment's address says which.

    ``owner`` tells which VM this agent is, or None as long as the service has not said it: sandbox agents share one
    kernel, and a disk that moved on to another of them is not ours any more. The rest is this machine's, unless a test
    puts something in its place.
    """

    def __init__(
        self,
        clock: Clock,
        owner: Callable[[], VmId | None],
        *,
        sysfs: Path = scsi.SYSFS,
        dev: Path = _DEV,
        ask: Ask = inquiry.disk_uuid,
        tell: Callable[[Path, str], None] = scsi.tell,
        uevents: Callable[[], Uevents | None] | None = None,
    ) -> None:
        self._clock = clock
        self._owner = owner
        self._uevents = uevents or _monitor
        self._dev = dev
        self._ask = ask
        self._tree = scsi.ScsiTree(clock, self._node, sysfs=sysfs, ask=ask, tell=tell)
        self._scsi = ScsiFinding(self._tree, self._node, ask)

    def find(self, attachment: Attachment, deadline: Deadline) -> Device:
        found = self._look(attachment)
        if isinstance(found, Device):
            return found
        pause_s = _SCAN_AFTER_S
        scan = Deadline.after(self._clock, pause_s)
        patience = Deadline.after(self._clock, _WRONG_S)
        for _ in self._moments(deadline):
            if scan.passed and isinstance(attachment.address, ScsiAddress):
                self._scsi.look_anew(attachment, attachment.address)
                pause_s *= 2
                scan = Deadline.after(self._clock, pause_s)
            found = self._look(attachment)
            if isinstance(found, Device):
                return found
            if not isinstance(found, WrongDisk):
                patience = Deadline.after(self._clock, _WRONG_S)
            elif patience.passed:
                break
        raise found

    def claim(self, device: Device, deadline: Deadline) -> AbstractContextManager[None]:
        return self._claimed(device, deadline.at_most(BUSY_RETRY_S))

    def forget(self, device: Device) -> None:
        """Take a SCSI disk out of the kernel; a loop device is the hypervisor's own.

        A disk that is known by a guess at its controller stays: it may be somebody else's, and ours goes with its detach.
        """
        name = Path(device.path).name
        if not name.startswith("loop") and device.sure:
            self._tree.forget(name, device.number)

    def present(self, vm: VmId, attachment: Attachment) -> Device | None:
        if not isinstance(attachment.address, LoopAddress):
            # All disks of this kernel are those of one machine.
            return self._scsi.present(attachment) if self._owner() in (None, vm) else None
        for loop in loop_devices.bound():
            if loop.device is not None and (loop.vm, loop.device.disk_uuid) == (vm, attachment.disk_uuid):
                return loop.device
        return None

    @contextmanager
    def _claimed(self, device: Device, deadline: Deadline) -> Iterator[None]:
        descriptor = open_exclusive(device)
        while descriptor is None:
            if deadline.passed:
                holders = self._tree.holders(Path(device.path).name)
                by = f" by {', '.join(holders[:3])}" if holders else ""
                raise StillMounted(f"{device.path} is in exclusive use{by}", device=device.path)
            self._clock.sleep(BUSY_STEP_S)
            descriptor = open_exclusive(device)
        try:
            check_identity(descriptor, device, self._ask)
            yield
        finally:
            os.close(descriptor)

    def _look(self, attachment: Attachment) -> Device | VolumeError:
        """Return the device, or why there is none yet. Raises what no waiting cures."""
        if not isinstance(attachment.address, LoopAddress):
            return self._scsi.look(attachment)
        loop = loop_devices.read(attachment.address.number)
        if loop is None:
            return TruthUnknown(f"no device appeared at {attachment.address} for disk {attachment.disk_uuid}")
        device, owner = loop.device, self._owner()
        if device is None or device.disk_uuid != attachment.disk_uuid or owner not in (None, loop.vm):
            raise WrongDisk(f"{loop.path} is not disk {attachment.disk_uuid} of this host", device=loop.path)
        if device.size_bytes != attachment.size_bytes:
            raise other_size(device, attachment)
        return device

    def _node(self, name: str, number: tuple[int, int]) -> str:
        path = str(self._dev / name)
        block.make_node(path, number)
        return path

    def _moments(self, deadline: Deadline) -> Iterator[None]:
        """Yield after each uevent of a block device and at least every 0.2 s, and once at the deadline."""
        monitor = self._uevents()
        # What came before the monitor listened is seen by this look.
        yield
        while not deadline.passed:
            pause = min(_LOOK_EVERY_S, deadline.left_s)
            if monitor is None:
                self._clock.sleep(pause)
            elif not _told(monitor, pause):
                monitor = None
            yield


def _told(monitor: Uevents, pause: float) -> bool:
    """Wait for an event, at most so long, and take all that came with it; tell whether there will be more of them."""
    try:
        event, taken = monitor.poll(pause), 0
        while event is not None and taken < _AT_ONCE:
            event, taken = monitor.poll(0.0), taken + 1
    except OSError:
        # The kernel had more to tell than the socket holds (ENOBUFS), and says so for ever: sysfs tells the rest.
        return False
    return True


def _monitor() -> Uevents | None:
    """Return a listener for the kernel's own uevents, or None where this process may have none.

    The kernel's, not udev's: a machine without udev, or with a dead one, finds its disks too (F44).
    """
    try:
        import pyudev  # here: the start of the agent waits for no disk

        monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="kernel")
        monitor.filter_by("block")
        monitor.start()
    except (OSError, ImportError):
        return None
    found: Uevents = monitor
    return found
