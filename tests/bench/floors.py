"""The floors of Mount and Unmount: the system calls of the same work, the shortest correct way, nothing around them.

They are written anew here, not taken from the product, so that a floor does not become slow together with it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from pathlib import Path

# linux/loop.h
_GET_FREE, _CONFIGURE, _CLR_FD = 0x4C82, 0x4C0A, 0x4C01
_INFO = struct.Struct("=5Q4I64s64s32s2Q")
_CONFIG = struct.Struct(f"=2I{_INFO.size}s64x")
_DIRECT_IO = 16
# linux/mount.h
_NOSUID_NODEV = 2 | 4
_LIBC = ctypes.CDLL(None, use_errno=True)


class Floor:
    """One extent with a file system on it. ``attach`` and ``mount`` are the floor of Mount, ``unmount`` that of Unmount."""

    def __init__(self, extent: Path, point: Path) -> None:
        self._extent = extent
        self._point = point
        self._device = -1
        self._path = ""

    def mount(self) -> None:
        """Bind a loop device with direct I/O under a lock of the file, mount it as every volume is, look at its
        directory.
        """
        file = os.open(self._extent, os.O_RDWR | os.O_CLOEXEC)
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._path = f"/dev/loop{fcntl.ioctl(control, _GET_FREE)}"
            self._device = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, _DIRECT_IO, b"floor", b"", b"", 0, 0)
            fcntl.ioctl(self._device, _CONFIGURE, _CONFIG.pack(file, 512, info))
        finally:
            os.close(control)
            os.close(file)
        os.mkdir(self._point)
        target, source = os.fsencode(self._point), self._path.encode()
        _checked(_LIBC.mount(source, target, b"ext4", ctypes.c_ulong(_NOSUID_NODEV), b"errors=remount-ro"))
        os.stat(self._point / "data")

    def unmount(self) -> None:
        """Write back and unmount; the loop device stays, as the disk does while it lingers."""
        point = os.open(self._point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _checked(_LIBC.syncfs(point))
        finally:
            os.close(point)
        _checked(_LIBC.umount2(os.fsencode(self._point), 0))
        os.rmdir(self._point)

    def detach(self) -> None:
        """Give the loop device back; in no figure."""
        if self._device >= 0:
            fcntl.ioctl(self._device, _CLR_FD)
            os.close(self._device)
            self._device = -1


def _checked(result: int) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
