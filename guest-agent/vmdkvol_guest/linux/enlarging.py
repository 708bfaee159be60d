"""Mounted file systems tell their size and grow, by the calls of their kernel drivers on the mount point itself.

These are what resize2fs and xfs_growfs end in, and the journal has them: killed at any moment the file system is whole. An ext4
that is not mounted is never enlarged: resize2fs, killed then, left 20 times of 60 one that e2fsck -p does not repair.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vmdkvol.errors import NoSpace, NotPermitted, StillMounted, TruthUnknown, VolumeError, WrongDisk
from vmdkvol_guest.linux import superblock
from vmdkvol_guest.linux.loop_devices import out_of_space
from vmdkvol_guest.linux.mount_call import directory
from vmdkvol_guest.linux.opening import opened
from vmdkvol_guest.ports import Device

# linux/fs/ext4/ext4.h: _IOW('f', 16, __u64), the new number of blocks.
_EXT4_RESIZE = 0x40086610
# linux/fs/xfs/libxfs/xfs_fs.h: _IOR('X', 100, struct xfs_fsop_geom_v1) and _IOW('X', 110, struct xfs_growfs_data).
_XFS_GEOMETRY, _XFS_GROW = 0x80705864, 0x4010586E
# Eight numbers of 4 bytes, of which the first is a block's size and the last the share of inodes; then the blocks of data.
_GEOMETRY = struct.Struct("=8IQ72x")
_GROWTH = struct.Struct("=QI4x")
# linux/capability.h: CAP_SYS_RESOURCE, which ext4 asks for.
_SYS_RESOURCE = 24


def size(device: Device, fstype: str, point: str) -> int:
    """Return how many bytes the file system that is mounted at ``point`` spans; TruthUnknown if it does not say."""
    with _mounted(device, point) as root:
        return _xfs_size(root)[0] if fstype == "xfs" else _ext4_size(device)[0]


def grow(device: Device, fstype: str, point: str) -> None:
    """Let the file system that is mounted at ``point`` span its device. It is whole at any moment, and in use as before."""
    with opened(device), _mounted(device, point) as root:
        if fstype == "xfs":
            _, block, inodes = _xfs_size(root)
            call, given = _XFS_GROW, _GROWTH.pack(device.size_bytes // block, inodes)
        else:
            call, given = _EXT4_RESIZE, struct.pack("=Q", device.size_bytes // _ext4_size(device)[1])
        try:
            fcntl.ioctl(root, call, given)
        except OSError as error:
            raise _explained(error, device, fstype) from error


@contextmanager
def _mounted(device: Device, point: str) -> Iterator[int]:
    """Open the root of what is mounted at ``point``; WrongDisk unless it lies on the device."""
    try:
        with directory(point) as root:
            found = os.fstat(root).st_dev
            if (os.major(found), os.minor(found)) != device.number:
                raise WrongDisk(f"{point} lies on device {os.major(found)}:{os.minor(found)}, not on {device.path}")
            yield root
    except OSError as error:
        raise TruthUnknown(f"what is mounted at {point} cannot be asked: {error.strerror}") from error


def _ext4_size(device: Device) -> tuple[int, int]:
    """Return the bytes that it spans and those of a block. The kernel's own superblock is the device's cached one."""
    with opened(device) as descriptor:
        found = superblock.spanned(os.pread(descriptor, superblock.BLOCK_BYTES, 0))
    if found is None:
        raise TruthUnknown(f"{device.path} has no ext4 superblock")
    return found


def _xfs_size(root: int) -> tuple[int, int, int]:
    """Return the bytes that it spans, those of a block, and the share of inodes, which stays."""
    told = _GEOMETRY.unpack(fcntl.ioctl(root, _XFS_GEOMETRY, bytes(_GEOMETRY.size)))
    block, inodes, blocks = told[0], told[7], told[8]
    return block * blocks, block, inodes


def _explained(error: OSError, device: Device, fstype: str) -> VolumeError:
    text = f"the {fstype} on {device.path} cannot grow while it is mounted: {error.strerror}"
    if error.errno == errno.ENOSPC or out_of_space(device):
        return NoSpace(f"{text} (the datastore is full)")
    if error.errno == errno.EBUSY:
        return StillMounted(f"{text}: it is being enlarged already")
    if error.errno != errno.EPERM:
        return TruthUnknown(text)
    if fstype == "ext4" and not may_grow_ext4():
        return NotPermitted(text, remedy="give the agent the capability SYS_RESOURCE")
    # ext4 says the same of a file system in which it has noted an error.
    return NotPermitted(text, remedy="stop its containers and start them again: it is checked before it is mounted")


def may_grow_ext4(proc: Path = Path("/proc")) -> bool:
    """Tell whether this process has the capability that a mounted ext4 asks for (field case C16); True if that is not known."""
    try:
        lines = (proc / "thread-self/status").read_text("ascii", "replace").splitlines()
    except OSError:
        return True
    found = next((line for line in lines if line.startswith("CapEff:")), None)
    return found is None or bool(int(found.split()[1], 16) >> _SYS_RESOURCE & 1)
