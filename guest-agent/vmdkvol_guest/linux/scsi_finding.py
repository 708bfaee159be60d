"""Which SCSI disk an attachment means: the one that says so itself, else the one that sits where the service put it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence

from vmdkvol.errors import TruthUnknown, VolumeError, WrongDisk
from vmdkvol.volume import Attachment, Content, ScsiAddress
from vmdkvol_guest.linux import superblock
from vmdkvol_guest.linux.opening import Ask, check_identity
from vmdkvol_guest.linux.scsi import ScsiDisk, ScsiTree
from vmdkvol_guest.ports import Device

_REMEDY = "set disk.EnableUUID = TRUE on this virtual machine while it is switched off"


class ScsiFinding:
    """Finds an attachment's disk in ``tree``. ``node`` returns a device's path under /dev, made if need be."""

    def __init__(self, tree: ScsiTree, node: Callable[[str, tuple[int, int]], str], ask: Ask) -> None:
        self._tree = tree
        self._node = node
        self._ask = ask

    def look(self, attachment: Attachment) -> Device | VolumeError:
        """Return the device, or why there is none as yet."""
        try:
            disks = self._tree.disks()
        except TruthUnknown as error:
            return error
        named = [disk for disk in disks if disk.uuid == attachment.disk_uuid]
        if not named:
            return self._by_place(disks, attachment)
        device = self._only([self._verified(disk, attachment) for disk in named])
        if isinstance(device, Device) and device.size_bytes != attachment.size_bytes:
            # Perhaps it has grown, and the kernel does not know yet.
            return other_size(device, attachment)
        return device

    def present(self, attachment: Attachment) -> Device | None:
        """Return the device if this kernel has it, None if it has not. Raises what is in the way of saying so."""
        disks = self._tree.disks()
        found = [disk for disk in disks if disk.uuid == attachment.disk_uuid] or self._unnamed(disks, attachment)
        if not found:
            return None
        device = self._only([self._verified(disk, attachment) for disk in found])
        if isinstance(device, Device):
            return device
        if all(self._sure(disk, attachment) and self._forgotten_if_dead(disk) for disk in found):
            return None
        raise device

    def look_anew(self, attachment: Attachment, address: ScsiAddress) -> None:
        """Let the kernel look for the disk anew, and drop what it remembers of it and of the place without its being so.

        It may have missed that a disk came, that another one did in its place (F46), or that it has grown; and one that it
        has given up stays so until it is taken out. A disk that anybody has mounted, or open exclusively, stays.
        """
        places = self._tree.places(address)
        try:
            disks = self._tree.disks()
        except TruthUnknown:
            disks = []
        for disk in disks:
            if disk.uuid != attachment.disk_uuid and disk.place not in places:
                continue
            if self._forgotten_if_dead(disk):
                self._tree.scan(disk.place)
                continue
            if disk.uuid is not None and disk.place in places:
                self._forget_if_mistaken(disk)
            if disk.uuid in (None, attachment.disk_uuid) and disk.size_bytes != attachment.size_bytes:
                self._tree.rescan(disk.name)
        for place in places:
            self._tree.scan(place)

    def _forgotten_if_dead(self, disk: ScsiDisk) -> bool:
        """Take a disk out of the kernel that it has given up and that nobody has; tell whether it is out.

        The kernel asks for exclusive users before it asks for the disk: what fails otherwise than with EBUSY has none, and
        gets none as long as no open succeeds.
        """
        if not self._tree.offline(disk.name):
            return False
        try:
            os.close(os.open(self._node(disk.name, disk.number), os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
        except OSError as error:
            if error.errno != errno.ENXIO:
                return False
            try:
                self._tree.forget(disk.name, disk.number)
            except TruthUnknown:
                return False
            return True
        return False

    def _forget_if_mistaken(self, disk: ScsiDisk) -> None:
        try:
            descriptor = os.open(self._node(disk.name, disk.number), os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC)
        except OSError:
            return
        try:
            found = os.fstat(descriptor).st_rdev
            if (os.major(found), os.minor(found)) == disk.number and self._ask(descriptor) not in (None, disk.uuid):
                self._tree.forget(disk.name, disk.number)
        except (OSError, VolumeError):
            # It does not answer, so nothing is known of it; or the kernel keeps it. The search goes on.
            return
        finally:
            os.close(descriptor)

    def _by_place(self, disks: Sequence[ScsiDisk], attachment: Attachment) -> Device | VolumeError:
        address = _scsi(attachment)
        seat = self._tree.seat(address)
        there = [disk for disk in disks if seat is not None and disk.place == seat.place]
        if seat is None or not there:
            return TruthUnknown(f"no device appeared at {address} for disk {attachment.disk_uuid}")
        disk = there[0]
        if disk.uuid is not None:
            # Perhaps it is about to leave; who waits will see.
            return WrongDisk(f"{disk.name} at {address} is disk {disk.uuid}, not {attachment.disk_uuid}", device=disk.name)
        if disk.size_bytes != attachment.size_bytes:
            text = f"{disk.name} at {address} has {disk.size_bytes} bytes, disk {attachment.disk_uuid} {attachment.size_bytes}"
            return WrongDisk(text, remedy=_REMEDY, device=disk.name)
        if not seat.certain and not _told_by_filesystem(attachment):
            text = f"{disk.name} says no UUID, and which controller is {address.bus} is not certain"
            return TruthUnknown(text, remedy=_REMEDY)
        return self._verified(disk, attachment)

    def _unnamed(self, disks: Sequence[ScsiDisk], attachment: Attachment) -> list[ScsiDisk]:
        """Return the disks without a UUID that may be it; it is one of them if this kernel has it at all.

        Whatever its size: it may have grown since it was attached.
        """
        address = _scsi(attachment)
        seat = self._tree.seat(address)
        certain = None if seat is None or not seat.certain else seat.place
        return [
            disk
            for disk in disks
            if disk.uuid is None
            and (
                disk.place == certain
                if certain
                else disk.place[1] == address.unit
                and (disk.size_bytes == attachment.size_bytes or self._has_its_filesystem(disk, attachment))
            )
        ]

    def _has_its_filesystem(self, disk: ScsiDisk, attachment: Attachment) -> bool:
        if attachment.filesystem_uuid is None:
            return False
        try:
            descriptor = os.open(self._node(disk.name, disk.number), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return superblock.uuid(os.pread(descriptor, superblock.BLOCK_BYTES, 0)) == attachment.filesystem_uuid
        except OSError:
            return False
        finally:
            os.close(descriptor)

    def _verified(self, disk: ScsiDisk, attachment: Attachment) -> Device | VolumeError:
        """Ask the disk itself: what the kernel remembers of it may be of another one that sat there before."""
        try:
            path = self._node(disk.name, disk.number)
            named, sure = disk.uuid is not None, self._sure(disk, attachment)
            device = Device(path, disk.number, attachment.disk_uuid, disk.size_bytes, disk.sequence, named, sure)
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            return TruthUnknown(f"{disk.name} cannot be opened: {error.strerror}")
        try:
            check_identity(descriptor, device, self._ask)
        except VolumeError as error:
            return error
        finally:
            os.close(descriptor)
        return device

    def _sure(self, disk: ScsiDisk, attachment: Attachment) -> bool:
        """Tell whether it is the attachment's disk, or what has taken its place; False for a guess at the controller."""
        if disk.uuid is not None:
            return True
        seat = self._tree.seat(_scsi(attachment))
        return seat is not None and seat.certain and seat.place == disk.place

    def _only(self, found: Sequence[Device | VolumeError]) -> Device | VolumeError:
        """Return the one device among them; without one why not. Two raise TruthUnknown: neither may be touched."""
        devices = [each for each in found if isinstance(each, Device)]
        if len(devices) > 1:
            paths = " and ".join(device.path for device in devices[:2])
            remedy = "" if devices[0].named else _REMEDY
            raise TruthUnknown(f"{paths} may both be disk {devices[0].disk_uuid}", remedy=remedy)
        return devices[0] if devices else found[0]


def other_size(device: Device, attachment: Attachment) -> WrongDisk:
    """Return the error for the right disk with a size that is not on record."""
    return WrongDisk(
        f"{device.path} has {device.size_bytes} bytes, disk {attachment.disk_uuid} has {attachment.size_bytes}",
        device=device.path,
    )


def _scsi(attachment: Attachment) -> ScsiAddress:
    if isinstance(attachment.address, ScsiAddress):
        return attachment.address
    raise TruthUnknown(f"this host has no devices at addresses such as {attachment.address}")


def _told_by_filesystem(attachment: Attachment) -> bool:
    """Tell whether a wrong disk would be noticed before it is touched: by the UUID of its file system."""
    return attachment.content is Content.FORMATTED and attachment.filesystem_uuid is not None
