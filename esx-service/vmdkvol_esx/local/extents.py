"""The bytes of a disk: making an extent thin, allocated or written, and copying one."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Callable, Iterator

from vmdkvol.errors import MetadataDamaged, NoSpace
from vmdkvol.sizes import compared

# Told how many bytes are done; raises to end the work early.
Step = Callable[[int], None]

CHUNK = 4 << 20
# Allocated in one go, flushed in one go: so long a task does not hear that it shall end, nor say how far it is.
_ALLOCATED = 1 << 30
_FLUSHED = 128 << 20
# Direct I/O wants whole blocks of the file system under it.
_ALIGNED = 4096
# FICLONE of linux/fs.h: share all blocks of another file.
_FICLONE = 0x40049409


def no_step(done: int) -> None:
    """What is done within ``submit`` has no progress and is not ended early."""


def check_room(directory: int, needed: int, what: str) -> None:
    """Raise NoSpace before the disk is made; a race with another writer still ends in ENOSPC."""
    state = os.fstatvfs(directory)
    free = state.f_bavail * state.f_frsize
    if free < needed:
        wanted, left = compared(needed, free)
        raise NoSpace(f"{what} needs {wanted}, its datastore has {left} free", needed=needed, free=free)


def make(extent: int, size_bytes: int, diskformat: str, step: Step) -> None:
    """Give an empty file the disk's size: sparse, allocated, or allocated and written with zeros; flushed."""
    os.ftruncate(extent, size_bytes)
    if diskformat == "eagerzeroedthick":
        _allocate(extent, size_bytes, lambda _: step(0))
        # Fallocated blocks are unwritten: the first write to each would still pay for a conversion.
        _write_zeros(extent, size_bytes, step)
    elif diskformat != "thin":
        _allocate(extent, size_bytes, step)
    os.fsync(extent)


def lengthen(extent: int, start: int, end: int, *, allocate: bool, step: Step) -> None:
    """Let a disk that ended at ``start`` of its file end at ``end``: sparse, or with these blocks reserved. Flushed.

    What is new of the file reads as zeros; one that is long enough stays so long. Reserved is all of it, whatever the
    file's length says: a growth that was killed left it longer, with blocks or without.
    """
    os.ftruncate(extent, max(os.fstat(extent).st_size, end))
    if allocate:
        for at in range(start, end, _ALLOCATED):
            length = min(_ALLOCATED, end - at)
            os.posix_fallocate(extent, at, length)
            step(at + length - start)
    os.fsync(extent)


def copy(source: int, offset: int, target: int, size_bytes: int, diskformat: str, step: Step) -> None:
    """Give an empty file the disk's bytes, which lie in ``source`` from ``offset`` on; flushed. Steps count copied bytes.

    Thin: holes stay holes, and blocks are shared where the file system can (a reflink). Eager: every byte is written.
    """
    thin = diskformat == "thin"
    if not (thin and offset == 0 and os.fstat(source).st_size == size_bytes and _share(source, target)):
        os.ftruncate(target, size_bytes)
        if not thin:
            _allocate(target, size_bytes, lambda _: step(0))
        whole = diskformat == "eagerzeroedthick"
        copied = 0
        for start, end in [(0, size_bytes)] if whole else _data(source, offset, size_bytes):
            copied = _copy_range(source, offset, target, start, end, step, copied)
    os.fsync(target)


def data_bytes(source: int, offset: int, size_bytes: int) -> int:
    """Return how many bytes of a disk are not holes: what a copy will have to move."""
    return sum(end - start for start, end in _data(source, offset, size_bytes))


def _allocate(extent: int, size_bytes: int, step: Step) -> None:
    """Reserve all blocks. Piece by piece: where the file system cannot do it at once, the C library writes each block."""
    for start in range(0, size_bytes, _ALLOCATED):
        length = min(_ALLOCATED, size_bytes - start)
        os.posix_fallocate(extent, start, length)
        step(start + length)


def _write_zeros(extent: int, size_bytes: int, step: Step) -> None:
    direct = _set_direct(extent, on=True)
    done = 0
    with mmap.mmap(-1, CHUNK) as zeros, memoryview(zeros) as view:
        while done < size_bytes:
            length = min(CHUNK, size_bytes - done)
            if direct and length % _ALIGNED:
                direct = _set_direct(extent, on=False)
            written = _write(extent, view[:length], done, direct=direct)
            if written is None:
                direct = _set_direct(extent, on=False)
            done += written or 0
            step(done)
    _set_direct(extent, on=False)


def _write(extent: int, zeros: memoryview, at: int, *, direct: bool) -> int | None:
    """Return how many bytes were written; None if the file system does not take them with direct I/O."""
    try:
        return os.pwrite(extent, zeros, at)
    except OSError as error:
        if not direct or error.errno != errno.EINVAL:
            raise
        return None


def _set_direct(extent: int, *, on: bool) -> bool:
    """Switch direct I/O, which needs a sixth of the CPU time and no page cache; return whether it is on now."""
    flags = fcntl.fcntl(extent, fcntl.F_GETFL)
    try:
        fcntl.fcntl(extent, fcntl.F_SETFL, flags | os.O_DIRECT if on else flags & ~os.O_DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return on


def _share(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EPERM):
            raise
        return False
    return True


def _data(source: int, offset: int, size_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of the disk that are not holes, as positions on the disk."""
    end = offset + size_bytes
    position = offset
    while position < end:
        try:
            start = os.lseek(source, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        if start >= end:
            return
        position = min(os.lseek(source, start, os.SEEK_HOLE), end)
        yield start - offset, position - offset


def _copy_range(source: int, offset: int, target: int, start: int, end: int, step: Step, copied: int) -> int:
    """Return how many bytes are copied in all; they are flushed now and then, so that the end is not one long flush."""
    while start < end:
        chunk = os.pread(source, min(CHUNK, end - start), offset + start)
        if not chunk:
            raise MetadataDamaged("the source became shorter while it was copied")
        _write_all(target, chunk, start)
        start += len(chunk)
        if copied // _FLUSHED != (copied + len(chunk)) // _FLUSHED:
            os.fdatasync(target)
        copied += len(chunk)
        step(copied)
    return copied


def _write_all(target: int, chunk: bytes, position: int) -> None:
    with memoryview(chunk) as view:
        written = 0
        while written < len(chunk):
            written += os.pwrite(target, view[written:], position + written)
