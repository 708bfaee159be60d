"""Block devices of this kernel, found by identity and never by a guess at a name.

The local hypervisor attaches a disk as a loop device and writes ``loop_tag(vm, disk)`` into its ``lo_file_name``:
that is the identity, as a disk's UUID is on a virtual machine (corrections 2).
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import StillMounted, TruthUnknown, WrongDisk
from vmdkvol.volume import Address, Attachment, LoopAddress, VmId, parse_loop_tag
from vmdkvol_guest.ports import Device

if TYPE_CHECKING:
    import pyudev

_SYS_BLOCK = Path("/sys/block")
_LOOP_GET_STATUS64 = 0x4C05
# struct loop_info64 of linux/loop.h: device, inode, rdevice, offset, sizelimit; number, encrypt type, key size, flags;
# file name, crypt name, key; init.
_LOOP_INFO = struct.Struct("=5Q4I64s64s32s2Q")
_FILE_NAME = 9
_BLKGETSIZE64 = 0x80081272
# Linux gives the loop driver this major number (admin-guide/devices.txt).
_LOOP_MAJOR = 7

# Uevents are the normal way; a machine may have lost one, so sysfs is looked at as often as this.
_LOOK_EVERY_S = 0.2
# A starting container has a copy of every mount of the host for a moment (corrections 39, J).
BUSY_RETRY_S = 1.0
_BUSY_STEP_S = 0.02
# A datastore with less than this left has failed writes already.
_FULL_BYTES = 1 << 20


class LinuxDevices:
    """The ``Devices`` port on loop devices.

    ``owner`` tells which VM this agent is, or None as long as the service has not said it: sandbox agents share one
    kernel, and a disk that moved on to another of them is not ours any more.
    """

    def __init__(self, clock: Clock, owner: Callable[[], VmId | None]) -> None:
        self._clock = clock
        self._owner = owner

    def find(self, attachment: Attachment, deadline: Deadline) -> Device:
        number = _loop_number(attachment.address)
        found = self._look(number, attachment)
        if found is not None:
            return found
        for _ in self._moments(deadline):
            found = self._look(number, attachment)
            if found is not None:
                return found
        raise TruthUnknown(f"no device appeared at {attachment.address} for disk {attachment.disk_uuid}")

    def claim(self, device: Device, deadline: Deadline) -> AbstractContextManager[None]:
        return self._claimed(device, deadline.at_most(BUSY_RETRY_S))

    def forget(self, device: Device) -> None:
        """A loop device is the hypervisor's own; there is nothing to take out of the kernel."""

    def present(self, vm: VmId) -> Collection[Device]:
        found = []
        for entry in sorted(_SYS_BLOCK.glob("loop[0-9]*")):
            # An unbound loop device has no such directory; opening it would be for nothing.
            if not (entry / "loop").is_dir():
                continue
            loop = _read_loop(int(entry.name[len("loop") :]))
            if loop is not None and loop.device is not None and loop.vm == vm:
                found.append(loop.device)
        return tuple(found)

    @contextmanager
    def _claimed(self, device: Device, deadline: Deadline) -> Iterator[None]:
        descriptor = _open_exclusive(device)
        while descriptor is None:
            if deadline.passed:
                raise StillMounted(f"{device.path} is in exclusive use", device=device.path)
            self._clock.sleep(_BUSY_STEP_S)
            descriptor = _open_exclusive(device)
        try:
            check_identity(descriptor, device)
            yield
        finally:
            os.close(descriptor)

    def _look(self, number: int, attachment: Attachment) -> Device | None:
        loop = _read_loop(number)
        if loop is None:
            return None
        device, owner = loop.device, self._owner()
        if device is None or device.disk_uuid != attachment.disk_uuid or owner not in (None, loop.vm):
            raise WrongDisk(f"{loop.path} is not disk {attachment.disk_uuid} of this host", device=loop.path)
        if device.size_bytes != attachment.size_bytes:
            raise WrongDisk(
                f"{device.path} has {device.size_bytes} bytes, disk {attachment.disk_uuid} has {attachment.size_bytes}",
                device=device.path,
            )
        return device

    def _moments(self, deadline: Deadline) -> Iterator[None]:
        """Yield after each uevent of a block device and at least every 0.2 s, and once at the deadline."""
        monitor = _monitor()
        # What came before the monitor listened is seen by this look.
        yield
        while not deadline.passed:
            pause = min(_LOOK_EVERY_S, deadline.left_s)
            if monitor is None:
                self._clock.sleep(pause)
            else:
                monitor.poll(pause)
            yield


@contextmanager
def opened(device: Device) -> Iterator[int]:
    """Open the device and verify that it is still the disk it was; yield the descriptor.

    A loop device that somebody has open is not given to another disk, so what is done by path meanwhile hits this
    disk. Raises TruthUnknown if it cannot be opened or is gone, WrongDisk if another disk is there now.
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


def _open_exclusive(device: Device) -> int | None:
    """Open the device as its only exclusive user, or return None if it has one."""
    try:
        # Read-only: closing a descriptor that could write makes udev probe the device again (corrections 39).
        return os.open(device.path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.EBUSY:
            return None
        raise TruthUnknown(f"{device.path} cannot be opened: {error.strerror}") from error


def check_identity(descriptor: int, device: Device) -> None:
    """Raise WrongDisk unless the open device is ``device``; TruthUnknown if it has no disk any more."""
    found = os.fstat(descriptor).st_rdev
    if (os.major(found), os.minor(found)) != device.number:
        raise WrongDisk(f"{device.path} is device {os.major(found)}:{os.minor(found)} now", device=device.path)
    try:
        size_bytes = _size(descriptor)
        tag = _tag(descriptor) if device.number[0] == _LOOP_MAJOR else None
    except OSError as error:
        raise TruthUnknown(f"{device.path} has no disk any more: {error.strerror}") from error
    if tag is not None:
        parsed = parse_loop_tag(tag)
        if parsed is None or parsed[1] != device.disk_uuid:
            raise WrongDisk(f"{device.path} is another disk than {device.disk_uuid} now", device=device.path)
    if size_bytes != device.size_bytes:
        raise WrongDisk(f"{device.path} has {size_bytes} bytes now, not {device.size_bytes}", device=device.path)


def out_of_space(device: Device) -> bool:
    """Tell whether the datastore under a loop device is full: the kernel reports that as a plain I/O error."""
    try:
        backing = (_SYS_BLOCK / Path(device.path).name / "loop/backing_file").read_text("utf-8", "surrogateescape")
        room = os.statvfs(backing.removesuffix("\n"))
    except OSError:
        return False
    return room.f_bfree * room.f_frsize < _FULL_BYTES


@dataclass(frozen=True, slots=True)
class _Loop:
    """A loop device that something is attached to. ``vm`` and ``device`` are None if it is not one of ours."""

    path: str
    vm: VmId | None = None
    device: Device | None = None


def _read_loop(number: int) -> _Loop | None:
    """Return what is attached to the loop device, or None if nothing is."""
    path = f"/dev/loop{number}"
    try:
        _make_node(number)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        tag, size_bytes, rdev = _tag(descriptor), _size(descriptor), os.fstat(descriptor).st_rdev
    except OSError:
        # ENXIO: bound to no file, not yet or not any more.
        return None
    finally:
        os.close(descriptor)
    parsed = parse_loop_tag(tag)
    if parsed is None:
        return _Loop(path)
    vm, disk = parsed
    return _Loop(path, vm, Device(path, (os.major(rdev), os.minor(rdev)), disk, size_bytes))


def _make_node(number: int) -> None:
    """Make /dev/loopN if the kernel has the device and /dev lacks it; OSError if the kernel has none."""
    path = f"/dev/loop{number}"
    if os.path.exists(path):
        return
    major, _, minor = (_SYS_BLOCK / f"loop{number}/dev").read_text("ascii").strip().partition(":")
    try:
        os.mknod(path, stat.S_IFBLK | 0o660, os.makedev(int(major), int(minor)))
    except FileExistsError:
        return


def _tag(descriptor: int) -> str:
    answer = fcntl.ioctl(descriptor, _LOOP_GET_STATUS64, bytes(_LOOP_INFO.size))
    name: bytes = _LOOP_INFO.unpack(answer)[_FILE_NAME]
    return name.split(b"\0", 1)[0].decode("ascii", "replace")


def _size(descriptor: int) -> int:
    (size,) = struct.unpack("=Q", fcntl.ioctl(descriptor, _BLKGETSIZE64, bytes(8)))
    return int(size)


def _loop_number(address: Address) -> int:
    if isinstance(address, LoopAddress):
        return address.number
    raise TruthUnknown(f"this host has no devices at addresses such as {address}")


def _monitor() -> pyudev.Monitor | None:
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
    return monitor
