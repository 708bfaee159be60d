"""The hypervisor of one machine: disks are VMDK files in directories, a VM is a simulated Docker host on this kernel.

Attaching is binding a loop device; the list of them is read from the kernel each time, only own tasks are remembered. A host
has no files of its own: they are said to lie on the first datastore."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from typing import assert_never
from uuid import UUID

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import AtRisk, NotEnrolled, SnapshotPresent, VolumeInUse, VolumeLost
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid, LoopAddress, VmId, loop_tag
from vmdkvol_esx.esx_hosts import EsxHost
from vmdkvol_esx.local import extents, loop_device
from vmdkvol_esx.local.datastore import LocalDatastore
from vmdkvol_esx.local.directories import Directories
from vmdkvol_esx.local.disk_files import Extent
from vmdkvol_esx.local.extents import Step, no_step
from vmdkvol_esx.local.growing import Growing, check_file
from vmdkvol_esx.local.loops import PATIENCE_S, Loop, Loops
from vmdkvol_esx.local.policies import NOTE, Book, Policies
from vmdkvol_esx.local.tasks import Tasks
from vmdkvol_esx.ports import (
    AttachDisk,
    AttachedDisk,
    Change,
    ChangePolicy,
    CloneDisk,
    CreateDisk,
    DeleteDisk,
    DetachDisk,
    DeviceLists,
    DiskPath,
    DiskRef,
    GrowDisk,
    Progress,
    TaskId,
    Vm,
)
from vmdkvol_esx.storage_policies import Followed, KnownPolicies, Unseen

# So much is written within ``submit`` (some 50 ms); more becomes a task.
_SHORT_BYTES = 32 << 20
# fallocate of 10 GB took 13 to 141 ms on ext4 (test bench 5).
_SHORT_ALLOCATION = 32 << 30


class LocalHypervisor(Directories):
    """Implements ``Hypervisor``. Needs root for loop devices; an instance may be stopped, not started again."""

    def __init__(
        self,
        datastores: Sequence[LocalDatastore],
        vms: Sequence[Vm],
        clock: Clock,
        *,
        copy_bytes_s: int = 0,
        policies: Book = tuple,
    ) -> None:
        """``copy_bytes_s`` is what each task may write in a second, so that it leaves something to volumes in use; 0: all.

        ``policies`` tells the storage policies that there are.
        """
        self._clock = clock
        self._copy_bytes_s = copy_bytes_s
        super().__init__(datastores)
        self._vms = {vm.id: vm for vm in vms}
        self._loops = Loops(clock, [store.directory for store in datastores], self._vms)
        self._tasks = Tasks(clock)
        self._policies = Policies(policies, clock, self._store)
        self._growing = Growing(self._loops, self._tasks, lambda extent: self._lock(extent, shared=False))

    def submit(self, change: Change, operation: UUID) -> TaskId | None:
        match change:
            case CreateDisk():
                return self._create(change, operation)
            case CloneDisk():
                return self._clone(change, operation)
            case DeleteDisk():
                self._delete(change)
            case AttachDisk():
                self._attach(change)
            case DetachDisk():
                self._detach(change)
            case GrowDisk():
                return self._growing.grow(self._store(change.disk.path), change, operation, _SHORT_ALLOCATION)
            case ChangePolicy():
                self._tasks.check(change)
                self._policies.change(change, self._growing.holder)
            case _:
                assert_never(change)
        return None

    def wait(self, task: TaskId, deadline: Deadline, progress: Progress) -> None:
        self._tasks.wait(task, deadline, progress)

    def cancel(self, task: TaskId, *, only_ask: bool = False) -> bool:
        return self._tasks.cancel(task, only_ask=only_ask)

    def start(self, heard: Callable[[], None]) -> None:
        """Nothing happens to hosts of the settings that would have to be looked at."""

    def stop(self, deadline: Deadline) -> None:
        """End tasks under way, whose files are taken away again. Attached disks stay attached."""
        self._tasks.stop(deadline)
        self._loops.close()

    def devices(self, vms: Collection[VmId] | None) -> DeviceLists:
        """Return the lists; a VM that is no longer registered shows for None as long as it has a disk."""
        lists: dict[VmId, list[AttachedDisk]] = {vm: [] for vm in (self._vms if vms is None else vms)}
        for loop in self._loops.bound():
            if loop.owner is not None and (vms is None or loop.owner[0] in lists):
                lists.setdefault(loop.owner[0], []).append(AttachedDisk(loop.owner[1], LoopAddress(loop.number)))
        return DeviceLists({vm: tuple(of_vm) for vm, of_vm in lists.items()}, vms=tuple(self.vms() if vms is None else ()))

    def check_unused(self, ref: DiskRef) -> None:
        try:
            with self._store(ref.path).extent(ref, writable=False) as extent:
                file = extent.real_path
        except (AtRisk, SnapshotPresent):
            # There is nothing that anybody could use as this disk.
            return
        user = next((loop for loop in self._loops.bound() if loop.file == file), None)
        if user is not None:
            raise self._in_use(ref.path, user)

    def vm(self, vm: VmId) -> Vm | None:
        return self._vms.get(vm)

    def vms(self) -> Sequence[Vm]:
        return list(self._vms.values())

    def machines(self) -> Sequence[Vm]:
        return self.vms()

    def vm_with_context(self, context_id: int) -> VmId | None:
        return None  # The hosts are processes of this kernel, and have no context ids.

    def vm_datastore(self, vm: VmId) -> DatastoreName | None:
        return next(iter(self._stores), None) if vm in self._vms else None

    def esx_hosts(self) -> Sequence[EsxHost]:
        return ()  # All of it is one kernel.

    def storage_policies(self) -> KnownPolicies:
        return self._policies.known()

    def followed(self, disks: Collection[DiskRef], deadline: Deadline | None = None) -> Mapping[DiskUuid, Followed | Unseen]:
        return self._policies.followed(disks, deadline)

    def carried(self, disk: DiskUuid) -> bool:
        return True

    def check_fits(self, policy: str | None, datastore: DatastoreName) -> None:
        self._policies.check_fits(policy)

    # --- changes -----------------------------------------------------------------------------------------------

    def _create(self, change: CreateDisk, operation: UUID) -> TaskId | None:
        self._policies.check(change.policy, change.diskformat)
        running = self._tasks.running(change)
        if running is not None:
            return running
        eager = change.diskformat == "eagerzeroedthick"
        limit = _SHORT_BYTES if eager else _SHORT_ALLOCATION
        if change.diskformat != "thin" and change.size_bytes > limit:
            # What is only allocated is not written.
            pace = self._copy_bytes_s if eager else 0
            return self._tasks.start(change, operation, change.size_bytes, lambda step: self._make(change, step), pace)
        self._tasks.check(change)
        self._make(change, no_step)
        return None

    def _make(self, change: CreateDisk, step: Step) -> None:
        thin = change.diskformat == "thin"

        def fill(extent: int) -> None:
            extents.check_room(extent, 0 if thin else change.size_bytes, str(change.disk.path))
            extents.make(extent, change.size_bytes, change.diskformat, step)

        note = change.note if change.policy is None else {**change.note, NOTE: change.policy}
        self._store(change.disk.path).create(change.disk, change.size_bytes, thin, note, fill)

    def _clone(self, change: CloneDisk, operation: UUID) -> TaskId | None:
        running = self._tasks.running(change)
        if running is not None or self._store(change.disk.path).whole(change.disk):
            return running
        with ExitStack() as opened:
            source = opened.enter_context(self._store(change.source.path).extent(change.source, writable=False))
            self._lock(source, shared=True)
            eager = change.diskformat == "eagerzeroedthick"
            written = source.descriptor.size_bytes if eager else extents.data_bytes(*source.span)
            if written <= _SHORT_BYTES:
                self._tasks.check(change)
                self._copy(change, source, no_step)
                return None
            # The task takes over the open source: its lock is held from here to the end of the copy.
            return self._copy_beside(change, operation, source, written, opened)

    def _copy_beside(self, change: CloneDisk, operation: UUID, source: Extent, written: int, opened: ExitStack) -> TaskId:
        handed_over = opened.pop_all()

        def work(step: Step) -> None:
            with handed_over:
                self._copy(change, source, step)

        try:
            return self._tasks.start(change, operation, written, work, self._copy_bytes_s)
        except BaseException:
            handed_over.close()
            raise

    def _copy(self, change: CloneDisk, source: Extent, step: Step) -> None:
        thin = change.diskformat == "thin"
        file, offset, size_bytes = source.span

        def fill(extent: int) -> None:
            needed = extents.data_bytes(file, offset, size_bytes) if thin else size_bytes
            extents.check_room(extent, needed, str(change.disk.path))
            extents.copy(file, offset, extent, size_bytes, change.diskformat, step)

        self._store(change.disk.path).create(change.disk, size_bytes, thin, change.note, fill)

    def _delete(self, change: DeleteDisk) -> None:
        self._tasks.check(change)
        # Also when its files are gone already: the loop device keeps the data as long as it is bound.
        for loop in self._loops.bound():
            if loop.owner is not None and loop.owner[1] == change.disk.uuid:
                raise self._in_use(change.disk.path, loop)
        self._store(change.disk.path).delete(change.disk, lambda extent: self._lock(extent, shared=False))

    def _attach(self, change: AttachDisk) -> None:
        """Bind a loop device. ``mode`` has no meaning here: there are no snapshots that a disk could stay out of."""
        if change.vm not in self._vms:
            raise NotEnrolled(f"there is no Docker host {change.vm}")
        self._tasks.check(change)
        with self._store(change.disk.path).extent(change.disk, writable=True) as extent:
            descriptor = extent.descriptor
            for loop in self._loops.bound():
                if loop.owner == (change.vm, change.disk.uuid):
                    check_file(extent, loop)
                    # A grow, and an attach, that were killed just after the disk was theirs left this undone.
                    self._loops.enlarge(loop, descriptor.size_bytes, str(change.disk.path))
                    loop_device.prepare(loop.number, descriptor.size_bytes, keep_blocks=not descriptor.thin)
                    return
                if loop.owner is not None and loop.owner[1] == change.disk.uuid:
                    raise self._in_use(change.disk.path, loop)
            self._lock(extent, shared=False)
            self._loops.attach(
                extent.file,
                loop_tag(change.vm, change.disk.uuid),
                offset_bytes=descriptor.offset_bytes,
                size_bytes=descriptor.size_bytes,
                keep_blocks=not descriptor.thin,
            )

    def _detach(self, change: DetachDisk) -> None:
        vm = self._vms.get(change.vm)
        if change.only_off and (vm is None or vm.running):
            raise VolumeInUse(f"the host of {change.disk.path} is not known to be switched off")
        for loop in self._loops.bound():
            if loop.owner == (change.vm, change.disk.uuid):
                self._loops.detach(loop, str(change.disk.path))

    # --- locks and look-ups ------------------------------------------------------------------------------------

    def _lock(self, extent: Extent, *, shared: bool) -> None:
        """Lock the open extent until it is closed, or as long as a loop device keeps it open; else VolumeInUse.

        A loop device that was made without us holds no lock, so the list is looked at as well. The kernel drops a
        lock a moment after the loop device is gone: a refusal without a holder is tried again.
        """
        deadline = Deadline.after(self._clock, PATIENCE_S)
        while True:
            for loop in self._loops.bound():
                if loop.file == extent.real_path:
                    raise self._in_use(extent.path, loop)
            try:
                fcntl.flock(extent.file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if deadline.passed:
                    raise VolumeInUse(f"{extent.path} is being copied, attached or deleted") from error
            self._clock.sleep(0.02)
        if os.fstat(extent.file).st_nlink == 0:
            raise VolumeLost(f"{extent.path} was deleted at this moment")

    def _in_use(self, path: DiskPath, loop: Loop) -> VolumeInUse:
        if loop.owner is None:
            what, end = loop_device.used_by_hand(loop.number)
            return VolumeInUse(f"{path} is bound to {what}", remedy=end)
        holder = self._vms[loop.owner[0]].name if loop.owner[0] in self._vms else str(loop.owner[0])
        return VolumeInUse(f"{path} is attached to {holder} (/dev/loop{loop.number})", holder=holder)
