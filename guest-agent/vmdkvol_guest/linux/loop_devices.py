"""Loop devices as the disks of a sandbox: the hypervisor writes whose they are into ``lo_file_name`` (corrections 2)."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vmdkvol.volume import DiskUuid, VmId, parse_loop_tag
from vmdkvol_guest.linux import block
from vmdkvol_guest.ports import Device

SYS_BLOCK = Path("/sys/block")
# Linux gives the loop driver this major number (admin-guide/devices.txt).
MAJOR = 7
_GET_STATUS64 = 0x4C05
# struct loop_info64 of linux/loop.h: device, inode, rdevice, offset, sizelimit; number, encrypt type, key size, flags;
# file name, crypt name, key; init.
_INFO = struct.Struct("=5Q4I64s64s32s2Q")
_FILE_NAME = 9
# A datastore with less than this left has failed writes already.
_FULL_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop device that something is attached to. ``vm`` and ``device`` are None if it is not one of ours."""

    path: str
    vm: VmId | None = None
    device: Device | None = None


def read(number: int) -> Loop | None:
    """Return what is attached to the loop device, or None if nothing is."""
    path = f"/dev/loop{number}"
    try:
        _make_node(number)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        name, size_bytes, rdev = _name(descriptor), block.size(descriptor), os.fstat(descriptor).st_rdev
    except OSError:
        # ENXIO: bound to no file, not yet or not any more.
        return None
    finally:
        os.close(descriptor)
    parsed = parse_loop_tag(name)
    if parsed is None:
        return Loop(path)
    vm, disk = parsed
    return Loop(path, vm, Device(path, (os.major(rdev), os.minor(rdev)), disk, size_bytes))


def bound() -> Iterator[Loop]:
    """Yield every loop device that something is attached to."""
    for entry in sorted(SYS_BLOCK.glob("loop[0-9]*")):
        # An unbound loop device has no such directory; opening it would be for nothing.
        if not (entry / "loop").is_dir():
            continue
        loop = read(int(entry.name[len("loop") :]))
        if loop is not None:
            yield loop


def disk_uuid(descriptor: int) -> DiskUuid | None:
    """Return the disk that the open loop device is, None if it is not one of ours. OSError if nothing is attached."""
    parsed = parse_loop_tag(_name(descriptor))
    return None if parsed is None else parsed[1]


def out_of_space(device: Device) -> bool:
    """Tell whether the datastore under a loop device is full: the kernel reports that as a plain I/O error."""
    try:
        backing = (SYS_BLOCK / Path(device.path).name / "loop/backing_file").read_text("utf-8", "surrogateescape")
        room = os.statvfs(backing.removesuffix("\n"))
    except OSError:
        return False
    return room.f_bfree * room.f_frsize < _FULL_BYTES


def _make_node(number: int) -> None:
    """Make /dev/loopN if the kernel has the device and /dev lacks it; OSError if the kernel has none."""
    path = f"/dev/loop{number}"
    if os.path.exists(path):
        return
    major, _, minor = (SYS_BLOCK / f"loop{number}/dev").read_text("ascii").strip().partition(":")
    block.make_node(path, (int(major), int(minor)))


def _name(descriptor: int) -> str:
    answer = fcntl.ioctl(descriptor, _GET_STATUS64, bytes(_INFO.size))
    name: bytes = _INFO.unpack(answer)[_FILE_NAME]
    return name.split(b"\0", 1)[0].decode("ascii", "replace")
