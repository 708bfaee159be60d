"""A device is opened and asked who it is before anything is done with it: what stands under a path may change at any time."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vmdkvol.errors import TruthUnknown, WrongDisk
from vmdkvol.volume import DiskUuid
from vmdkvol_guest.linux import block, inquiry, loop_devices
from vmdkvol_guest.ports import Device

# A starting container has a copy of every mount of the host for a moment (corrections 39, J).
BUSY_RETRY_S = 1.0
BUSY_STEP_S = 0.02
# Returns the UUID that an open SCSI disk says it has.
Ask = Callable[[int], DiskUuid | None]


@contextmanager
def opened(device: Device) -> Iterator[int]:
    """Open the device and verify that it is still the disk it was; yield the descriptor.

    A device that somebody has open is not given to another disk: a loop device is not bound anew, and a SCSI disk's name
    is not used again. So what is done by path meanwhile hits this disk. Raises TruthUnknown if it cannot be opened or is
    gone, WrongDisk if another disk is there now.
    """
    try:
        descriptor = os.open(device.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise TruthUnknown(f"{device.path} cannot be opened: {error.strerror}") from error
    try:
        check_identity(descriptor, device)
        yield descriptor
    finally:
        os.close(descriptor)


def open_exclusive(device: Device) -> int | None:
    """Open the device as its only exclusive user, or return None if it has one."""
    try:
        # Read-only: closing a descriptor that could write makes udev probe the device again (corrections 39).
        return os.open(device.path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.EBUSY:
            return None
        raise TruthUnknown(f"{device.path} cannot be opened: {error.strerror}") from error


def mounted_nowhere(path: str, number: tuple[int, int]) -> bool:
    """Tell whether the kernel proves that no namespace has this device mounted; False if that cannot be said."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        found = os.fstat(descriptor)
        return stat.S_ISBLK(found.st_mode) and (os.major(found.st_rdev), os.minor(found.st_rdev)) == number
    finally:
        os.close(descriptor)


def check_identity(descriptor: int, device: Device, ask: Ask = inquiry.disk_uuid) -> None:
    """Raise WrongDisk unless the open device is ``device``; TruthUnknown if it has no disk any more."""
    found = os.fstat(descriptor).st_rdev
    if (os.major(found), os.minor(found)) != device.number:
        raise WrongDisk(f"{device.path} is device {os.major(found)}:{os.minor(found)} now", device=device.path)
    try:
        size_bytes = block.size(descriptor)
        sequence = None if device.sequence is None else block.sequence(descriptor)
        disk = loop_devices.disk_uuid(descriptor) if device.number[0] == loop_devices.MAJOR else ask(descriptor)
    except OSError as error:
        raise TruthUnknown(f"{device.path} has no disk any more: {error.strerror}") from error
    # A disk that is known by its place alone says nothing; it must not say another thing either.
    if disk != device.disk_uuid and (device.named or disk is not None):
        raise WrongDisk(f"{device.path} is another disk than {device.disk_uuid} now", device=device.path)
    if sequence != device.sequence:
        raise WrongDisk(f"{device.path} was taken out and is a disk that came later now", device=device.path)
    if size_bytes != device.size_bytes:
        raise WrongDisk(f"{device.path} has {size_bytes} bytes now, not {device.size_bytes}", device=device.path)
