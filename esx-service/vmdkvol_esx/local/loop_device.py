"""One loop device: the ioctls, the node in /dev and the files in sysfs. No process is started.

Numbers of ioctls and the layout of ``struct loop_config`` are those of linux/loop.h.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from vmdkvol.errors import TruthUnknown, WrongDisk
from vmdkvol.sizes import SECTOR
from vmdkvol.volume import OUR_LOOPS

_CLR_FD, _SET_STATUS64, _GET_STATUS64, _SET_CAPACITY, _CONFIGURE = 0x4C01, 0x4C04, 0x4C05, 0x4C07, 0x4C0A
_CTL_ADD, _CTL_REMOVE = 0x4C80, 0x4C81
_AUTOCLEAR, _DIRECT_IO = 4, 16
# struct loop_info64: device, inode, rdevice, offset, sizelimit; number, encryption (2), flags; names, key, init.
_INFO = struct.Struct("=5Q4I64s64s32s2Q")
_CONFIG = struct.Struct(f"=2I{_INFO.size}s64x")
_SIZE_LIMIT, _FLAGS, _NAME = 4, 8, 9


def added() -> Iterator[int]:
    """Make loop devices in our range, one after the other, until the caller could bind one.

    Always new ones: what was done to a number, such as switching off its discards, stays with it as long as it exists.
    """
    taken = set(numbers())
    for number in OUR_LOOPS:
        if number not in taken and _control(_CTL_ADD, number, but=(errno.EEXIST, errno.EBUSY)):
            yield number


def left_over() -> list[int]:
    """Return the numbers of our range that nobody has bound: their owners were killed, or are about to bind them."""
    return [number for number in numbers() if number in OUR_LOOPS and backing_file(number) is None]


def remove(number: int) -> None:
    """Give the number back, unless somebody has it open or bound."""
    with suppress(OSError):
        _control(_CTL_REMOVE, number)


def bind(device: int, extent: int, tag: str, offset_bytes: int, size_bytes: int) -> bool:
    """Bind; False if somebody else was faster or took the device away."""
    # No LO_FLAGS_PARTSCAN: a guest's partition table must not make device nodes on the host.
    for flags in (_DIRECT_IO, 0):
        info = _INFO.pack(0, 0, 0, offset_bytes, size_bytes, 0, 0, 0, flags, tag.encode("ascii"), b"", b"", 0, 0)
        try:
            # Sectors of 512 bytes whatever lies below: the disk's size is exact, and a file system made here is
            # readable on a machine whose disks have other sectors.
            fcntl.ioctl(device, _CONFIGURE, _CONFIG.pack(extent, SECTOR, info))
        except OSError as error:
            if error.errno in (errno.EBUSY, errno.ENXIO, errno.ENODEV):
                return False
            if error.errno != errno.EINVAL or not flags:
                raise
        else:
            return True
    return False


def prepare(number: int, size_bytes: int, *, keep_blocks: bool) -> None:
    """Check the size that the kernel made of it, and switch discards off for a thick disk."""
    check_size(number, size_bytes)
    if keep_blocks:
        limit_discards(number, "0")


def resize(device: int, size_bytes: int) -> None:
    """Let the open device have this size; whoever has it open goes on."""
    info = list(_status(device))
    info[_SIZE_LIMIT] = size_bytes
    fcntl.ioctl(device, _SET_STATUS64, _INFO.pack(*info))
    # Of a device without a limit that alone would not look at its file again.
    fcntl.ioctl(device, _SET_CAPACITY)


def check_size(number: int, size_bytes: int) -> None:
    """Raise WrongDisk unless the device has this size."""
    actual = size_of(number)
    if actual != size_bytes:
        raise WrongDisk(f"/dev/loop{number} has {actual} bytes instead of {size_bytes}")


def size_of(number: int) -> int:
    """Return the size that the kernel made of it; 0 if it is not there."""
    return int(_attribute(number, "size") or "0") * SECTOR


def limit_discards(number: int, value: str) -> None:
    with open(f"/sys/block/loop{number}/queue/discard_max_bytes", "w", encoding="ascii") as limit:
        limit.write(value)


def takes_discards(number: int) -> bool:
    """Tell whether discards were left on, of a device that was bound once; what is off cannot be switched on again."""
    return _attribute(number, "queue/discard_max_bytes") not in (None, "0")


def numbers() -> list[int]:
    return [int(name[4:]) for name in os.listdir("/sys/block") if name.startswith("loop") and name[4:].isdigit()]


def _attribute(number: int, name: str) -> str | None:
    """Return what sysfs says about a loop device; None if it is not there (or, in ``loop/``, not bound)."""
    try:
        with open(f"/sys/block/loop{number}/{name}", encoding="utf-8", errors="surrogateescape") as attribute:
            return attribute.read().removesuffix("\n")
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
            return None
        raise TruthUnknown(f"loop{number}: {name} cannot be read: {error.strerror}") from error


def binding(number: int) -> int | None:
    """Return a number that this binding of the loop device has alone as long as the kernel runs; None if it is not bound.

    The directory is made when a file is bound and goes when it is let go, and sysfs gives no inode number twice.
    """
    try:
        return os.stat(f"/sys/block/loop{number}/loop").st_ino
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
            return None
        raise TruthUnknown(f"loop{number} cannot be looked at: {error.strerror}") from error


def backing_file(number: int) -> str | None:
    # sysfs keeps the whole path, where lo_file_name has 64 bytes and is ours.
    return _attribute(number, "loop/backing_file") or None


def used_by_hand(number: int) -> tuple[str, str]:
    """Return what somebody else's device is, and how to end that: for an error's text."""
    mounted = _mounted_at(number)
    if mounted is None:
        return f"/dev/loop{number}, which is not ours", f"losetup -d /dev/loop{number}"
    return f"/dev/loop{number}, which is mounted at {mounted}", f"umount {mounted}; losetup -d /dev/loop{number}"


def _mounted_at(number: int) -> str | None:
    dev = _attribute(number, "dev")
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
            # mountinfo: ID, parent, device, root, mount point (proc(5)).
            return next((fields[4] for line in mounts if (fields := line.split(" "))[2] == dev), None)
    except OSError:
        return None


def open_device(number: int, flags: int) -> int | None:
    """Return a descriptor of /dev/loopN, whose node is made if /dev has none; None if there is no such device."""
    dev = _attribute(number, "dev")
    if dev is None:
        return None
    major, minor = (int(part) for part in dev.split(":"))
    path = f"/dev/loop{number}"
    made = _make_node(path, os.makedev(major, minor))
    try:
        device = os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        if made:
            os.unlink(path)
        if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
            return None
        raise
    if os.fstat(device).st_rdev == os.makedev(major, minor):
        return device
    os.close(device)
    raise TruthUnknown(f"{path} is not device {dev}")


def _make_node(path: str, device: int) -> bool:
    """Make the node that a /dev without devtmpfs (a container's) lacks for a number added later (test bench 5)."""
    if os.path.exists(path):
        return False
    try:
        os.mknod(path, 0o600 | stat.S_IFBLK, device)
    except FileExistsError:
        return False
    return True


def _status(device: int) -> tuple[Any, ...]:
    return _INFO.unpack(fcntl.ioctl(device, _GET_STATUS64, bytes(_INFO.size)))


def tag_in(device: int) -> str | None:
    """Return ``lo_file_name``; None if the device is not bound."""
    try:
        name: bytes = _status(device)[_NAME]
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
    return name.split(b"\0", 1)[0].decode("utf-8", "replace")


def tag_of(number: int) -> str | None:
    try:
        device = open_device(number, os.O_RDONLY)
        if device is None:
            return None
        try:
            return tag_in(device)
        finally:
            os.close(device)
    except OSError as error:
        raise TruthUnknown(f"/dev/loop{number} cannot be read: {error.strerror}") from error


def _control(command: int, number: int, *, but: tuple[int, ...] = ()) -> bool:
    """Add or remove a number; False for an error in ``but``."""
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(control, command, number)
    except OSError as error:
        if error.errno not in but:
            raise
        return False
    finally:
        os.close(control)
    return True


def unbind(device: int) -> None:
    """Unbind the device, at once or when its last opener closes it."""
    fcntl.ioctl(device, _CLR_FD)


def keep_bound(device: int) -> None:
    """Take back the mark that ``unbind`` left for the last close."""
    info = list(_status(device))
    info[_FLAGS] &= ~_AUTOCLEAR
    fcntl.ioctl(device, _SET_STATUS64, _INFO.pack(*info))
