"""Disks grow: first the extent, then the descriptor, which says how large the disk is, then the loop device of who has it.

Killed after the first, the disk has its old size, and an extent that is longer than it has to be; killed after the second, it
has the new one, and the loop device follows with the next attach to the same machine, or when the disk is grown again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

from vmdkvol.errors import InvalidSize, OutcomeUnknown, StaleRequest, Unavailable, VolumeError, WrongDisk
from vmdkvol.sizes import SECTOR
from vmdkvol_esx.local import extents
from vmdkvol_esx.local.datastore import DatastoreFiles
from vmdkvol_esx.local.disk_files import Extent
from vmdkvol_esx.local.extents import Step
from vmdkvol_esx.local.loops import Loop, Loops
from vmdkvol_esx.local.tasks import Tasks
from vmdkvol_esx.ports import ChangePolicy, GrowDisk, TaskId


class Growing:
    """``lock`` takes an extent that nobody has, as long as it is open; VolumeInUse, with its holder, if somebody has it."""

    def __init__(self, loops: Loops, tasks: Tasks, lock: Callable[[Extent], None]) -> None:
        self._loops = loops
        self._tasks = tasks
        self._lock = lock

    def grow(self, files: DatastoreFiles, change: GrowDisk, operation: UUID, short_bytes: int) -> TaskId | None:
        """As ``Hypervisor.submit``: what is to be allocated beyond ``short_bytes`` becomes a task."""
        running = self._tasks.running(change)
        if running is not None:
            return running
        if change.size_bytes % SECTOR:
            raise InvalidSize(
                f"{change.disk.path}: a disk of {change.size_bytes} bytes", remedy="write whole sectors of 512 bytes"
            )
        with files.extent(change.disk, writable=True) as extent:
            descriptor = extent.descriptor
            self.holder(change, extent)
        more = change.size_bytes - descriptor.size_bytes
        if not descriptor.thin and more > short_bytes:
            return self._tasks.start(change, operation, more, lambda step: self._carry_out(files, change, step))
        self._tasks.check(change)
        self._carry_out(files, change, extents.no_step)
        return None

    def _carry_out(self, files: DatastoreFiles, change: GrowDisk, step: Step) -> None:
        with files.extent(change.disk, writable=True) as extent:
            loop = self.holder(change, extent)
            has = extent.descriptor.size_bytes
            if change.size_bytes < has:
                raise InvalidSize(f"{change.disk.path} has {has} bytes and is not made smaller")
            if change.size_bytes > has:
                _lengthen(extent, change.size_bytes, step, lambda: files.resized(change.disk, change.size_bytes))
            if loop is not None:
                self._follow(loop, change)

    def _follow(self, loop: Loop, change: GrowDisk) -> None:
        """Let the device have the disk's size. OutcomeUnknown if it has not: the disk has it, which must not get lost."""
        try:
            self._loops.enlarge(loop, change.size_bytes, str(change.disk.path))
        except VolumeError as error:
            raise OutcomeUnknown(f"{change.disk.path} is larger, and /dev/loop{loop.number} is not: {error.text}") from error

    def holder(self, change: GrowDisk | ChangePolicy, extent: Extent) -> Loop | None:
        """Return the loop device of the machine that has the disk, None for nobody's, which is locked; raise for all else."""
        if change.vm is None:
            self._lock(extent)
            return None
        for loop in self._loops.bound():
            if loop.owner == (change.vm, change.disk.uuid):
                check_file(extent, loop)
                return loop
        self._lock(extent)
        raise StaleRequest(f"{change.disk.path} is not attached to the host that was to have it")


def check_file(extent: Extent, loop: Loop) -> None:
    """Raise WrongDisk unless the loop device is bound to this extent."""
    if loop.file != extent.real_path:
        raise WrongDisk(f"/dev/loop{loop.number} is bound to {loop.file}, not to the extent of {extent.path}")


def _lengthen(extent: Extent, size_bytes: int, step: Step, note: Callable[[], None]) -> None:
    """Make the extent longer, then ``note`` it in the descriptor. What is not noted is taken back, and all is as it was."""
    descriptor, before = extent.descriptor, os.fstat(extent.file).st_size
    start = descriptor.offset_bytes + descriptor.size_bytes
    end = start + size_bytes - descriptor.size_bytes
    extents.check_room(extent.file, 0 if descriptor.thin else end - max(start, before), str(extent.path))
    try:
        extents.lengthen(extent.file, start, end, allocate=not descriptor.thin, step=step)
    except BaseException:
        _shorten(extent, before)
        raise
    try:
        note()
    except Unavailable as error:
        # It may come after the fact, and a descriptor must not say more than there is.
        raise OutcomeUnknown(f"{extent.path}: whether its descriptor says the new size is not known: {error.text}") from error
    except VolumeError:
        _shorten(extent, before)
        raise


def _shorten(extent: Extent, size_bytes: int) -> None:
    # The error to tell is the first one; a file that stays longer is no harm.
    with suppress(OSError):
        os.ftruncate(extent.file, size_bytes)
