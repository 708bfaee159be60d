"""What every block device can be asked, and its node under /dev."""

from __future__ import annotations

import fcntl
import os
import stat
import struct

_BLKGETSIZE64 = 0x80081272
# Since Linux 5.15.
_BLKGETDISKSEQ = 0x80081280


def size(descriptor: int) -> int:
    """Return the size of the open block device in bytes."""
    (size,) = struct.unpack("=Q", fcntl.ioctl(descriptor, _BLKGETSIZE64, bytes(8)))
    return int(size)


def sequence(descriptor: int) -> int:
    """Return which appearance of a disk the open device is: the kernel counts them up, and never uses a number again."""
    (number,) = struct.unpack("=Q", fcntl.ioctl(descriptor, _BLKGETDISKSEQ, bytes(8)))
    return int(number)


def make_node(path: str, number: tuple[int, int]) -> None:
    """Make a block device's node unless something is at ``path``. OSError if it cannot be made."""
    if os.path.exists(path):
        return
    try:
        os.mknod(path, stat.S_IFBLK | 0o660, os.makedev(*number))
    except FileExistsError:
        return
