"""The few system calls that Python's library lacks: mount, umount2, syncfs, and a mount that no namespace sees."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_REMOUNT = 32
MS_DIRSYNC = 128
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_RELATIME = 1 << 21
MS_STRICTATIME = 1 << 24
MS_LAZYTIME = 1 << 25

# mount(2) says so of a superblock, journal or log that cannot be what it should be. EIO and EROFS are not among them:
# a full datastore and a write-protected device say those of a sound file system (corrections 22).
DAMAGE = frozenset({errno.EUCLEAN, errno.EBADMSG, errno.EINVAL, errno.EFBIG, errno.EOVERFLOW})

_UMOUNT_NOFOLLOW = 8
# System calls since Linux 5.2; these numbers are the same on every architecture that has 64 bits but alpha.
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_CLOEXEC = 1
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6
_ATTR_NOSUID_NODEV = 0x2 | 0x4


def mount(source: str, target: str, fstype: str, flags: int, data: str) -> None:
    """mount(2); OSError on failure."""
    arguments = [_text(source), _text(target), _text(fstype), ctypes.c_ulong(flags), _text(data)]
    _checked(_libc().mount(*arguments), target)


def umount(target: str) -> None:
    """umount2(2), neither lazy nor forced; OSError on failure."""
    _checked(_libc().umount2(_text(target), _UMOUNT_NOFOLLOW), target)


def syncfs(descriptor: int) -> None:
    """Write back the file system that the descriptor lies on; OSError if something was not written."""
    _checked(_libc().syncfs(descriptor), f"descriptor {descriptor}")


@contextmanager
def mounted_unseen(source: str, fstype: str, *flags: str) -> Iterator[None]:
    """Have a file system mounted while the context is entered, at no path and in no mount namespace.

    No starting container can copy such a mount, and it ends with the process if that is killed. OSError on failure;
    ENOSYS before Linux 5.2.
    """
    context = _checked(_call(_FSOPEN, _text(fstype), _CLOEXEC), fstype)
    try:
        for flag in flags:
            _checked(_call(_FSCONFIG, context, _SET_FLAG, _text(flag), None, 0), flag)
        _checked(_call(_FSCONFIG, context, _SET_STRING, _text("source"), _text(source), 0), source)
        _checked(_call(_FSCONFIG, context, _CREATE, None, None, 0), source)
        unseen = _checked(_call(_FSMOUNT, context, _CLOEXEC, _ATTR_NOSUID_NODEV), source)
    finally:
        os.close(context)
    try:
        yield
    finally:
        os.close(unseen)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: bytes | int | None) -> int:
    # syscall(2) takes longs; what ctypes makes of a Python int has only 32 bits.
    passed = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    return int(_libc().syscall(ctypes.c_long(number), *passed))


def _text(text: str) -> bytes:
    return os.fsencode(text)


def _checked(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
    return result
