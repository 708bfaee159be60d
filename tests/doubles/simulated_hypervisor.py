"""A hypervisor in memory with the strict rules of VMFS: what a real one may refuse, this one refuses.

Time passes only by the Clock: with ``seconds`` a change becomes a task that ends so much later, seen by ``wait`` or by
any later call. What a test can do to it is in ``simulated_state``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import assert_never
from uuid import UUID

from tests.doubles.simulated_policies import SimulatedPolicies
from tests.doubles.simulated_state import Hold, SimulatedDisk, SimulatedHeld, SimulatedTask, Truth, ours, shown
from vmdkvol.clock import Deadline
from vmdkvol.errors import (
    BadRequest,
    Busy,
    Conflict,
    InvalidSize,
    MetadataDamaged,
    NoSpace,
    NotEnrolled,
    NotFound,
    OutcomeUnknown,
    SnapshotPresent,
    StaleRequest,
    StillMounted,
    StillWorking,
    TruthUnknown,
    UnknownTask,
    VolumeError,
    VolumeInUse,
    WrongDisk,
)
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid, VmId
from vmdkvol_esx.esx_hosts import EsxHost
from vmdkvol_esx.foreign_disks import ForeignDisk
from vmdkvol_esx.obstacles import of_place
from vmdkvol_esx.ports import (
    AttachDisk,
    Change,
    ChangePolicy,
    CloneDisk,
    CreateDisk,
    Datastore,
    DeleteDisk,
    DetachDisk,
    DeviceLists,
    Disk,
    DiskPath,
    DiskRef,
    GrowDisk,
    Progress,
    TaskId,
    Vm,
)

__all__ = ["Hold", "SimulatedHypervisor", "Truth"]


class SimulatedHypervisor(SimulatedPolicies):
    """Implements ``Hypervisor``. ``seconds`` is how long a change of each class takes; 0 is done in ``submit``.

    ``whole_sidecars`` False breaks a promise of the port, to see that it is noticed.
    """

    whole_sidecars = True
    esx: Collection[EsxHost] = ()

    # --- the port ----------------------------------------------------------------------------------------------

    def submit(self, change: Change, operation: UUID) -> TaskId | None:
        with self._now():
            if self._script.refusals:
                raise self._script.refusals.popleft()
            if isinstance(change, CreateDisk | ChangePolicy):
                self.check_policy(change.policy)
            lost = self._script.lost_answers.popleft() if self._script.lost_answers else None
            if lost is False:
                raise OutcomeUnknown(f"the answer to {type(change).__name__} of {change.disk.path} was lost")
            task = self._start(change)
            if lost:
                raise OutcomeUnknown(f"the answer to {type(change).__name__} of {change.disk.path} was lost")
            return task

    def wait(self, task: TaskId, deadline: Deadline, progress: Progress) -> None:
        with self._now():
            while True:
                self._advance()
                entry = self._tasks.get(task)
                if entry is None or entry.forgotten:
                    raise UnknownTask(f"task {task} is not known any more")
                if entry.done:
                    break
                now = self._clock.monotonic()
                progress(int(100 * (now - entry.started) / (entry.due - entry.started)))
                if deadline.passed:
                    raise StillWorking(f"{type(entry.change).__name__} of {entry.change.disk.path} has not ended")
                # As far as it is now, and again a percent or a second later.
                percent_s = max(1.0, (entry.due - entry.started) / 100)
                self._changed.wait(min(deadline.left_s, entry.due - now, percent_s))
            if entry.error is not None:
                raise entry.error
            progress(100)

    def cancel(self, task: TaskId, *, only_ask: bool = False) -> bool:
        with self._now():
            self._advance()
            entry = self._tasks.get(task)
            if entry is None or entry.done or not isinstance(entry.change, CreateDisk | CloneDisk):
                return False
            if not only_ask:
                entry.error = Conflict(f"the making of {entry.change.disk.path} was cancelled", cancelled=True)
                entry.done = True
                self._changed.notify_all()
            return True

    def disk(self, ref: DiskRef) -> Disk | None:
        with self._now():
            self._check_readable(ref.path.datastore)
            disk = self._disks.get(ref.path)
            if disk is None:
                return None
            if disk.damage is not None and (disk.ref.uuid == ref.uuid or not disk.tells_identity):
                raise MetadataDamaged(f"{ref.path}: {disk.damage}")
            if disk.ref.uuid != ref.uuid:
                raise WrongDisk(f"{ref.path} is disk {disk.ref.uuid}, not {ref.uuid}", found=str(disk.ref.uuid))
            return shown(disk)

    def disks(self, datastore: DatastoreName) -> Sequence[Disk]:
        with self._now():
            self._check_readable(datastore)
            found = [disk for path, disk in self._disks.items() if ours(path, datastore) and disk.damage is None]
            return [shown(disk) for disk in sorted(found, key=lambda disk: disk.ref.path.path)]

    def traces(self, datastore: DatastoreName) -> Sequence[DiskPath]:
        with self._now():
            self._check_readable(datastore)
            paths = {*self._disks, *self._sidecars}
            return sorted((path for path in paths if ours(path, datastore)), key=lambda path: path.path)

    def copies_elsewhere(self, datastore: DatastoreName) -> Sequence[DiskPath]:
        with self._now():
            self._check_readable(datastore)
            elsewhere = [path for path in self._sidecars if path.datastore == datastore and not ours(path, datastore)]
            return sorted(elsewhere, key=lambda path: path.path)

    def foreign(self, datastore: DatastoreName, folder: str, deadline: Deadline | None = None) -> Sequence[DiskPath]:
        with self._now():
            if deadline is not None and deadline.passed:
                raise TruthUnknown(f"{datastore} was not listed in time")
            self._check_readable(datastore)
            if folder and ".." in folder.split("/"):
                raise BadRequest(f"{folder!r} is not a folder on a datastore")
            inside = [
                path
                for path in self._disks
                if path.datastore == datastore and path.path.startswith(f"{folder}/" * bool(folder))
            ]
            if folder and not inside:
                raise NotFound(f"there is no folder {folder!r} on the datastore")
            return sorted((path for path in inside if not ours(path, datastore)), key=lambda path: path.path)

    def foreign_disk(self, path: DiskPath, deadline: Deadline | None = None) -> ForeignDisk | None:
        with self._now():
            self._check_readable(path.datastore)
            disk = self._disks.get(path)
            if disk is None:
                return None
            obstacle = of_place(path.path) or disk.damage or self.obstacles.get(path, "")
            return ForeignDisk(path, disk.ref.uuid, disk.size_bytes, disk.allocated_bytes, not disk.thick, obstacle)

    def allocated(self, disks: Collection[DiskRef]) -> Mapping[DiskUuid, int]:
        found = {}
        for ref in disks:
            try:
                disk = self.disk(ref)
            except VolumeError:
                continue
            if disk is not None:
                found[ref.uuid] = disk.allocated_bytes
        return found

    def devices(self, vms: Collection[VmId] | None) -> DeviceLists:
        with self._now():
            asked = set(self._vms) if vms is None else set(vms)
            unread = frozenset(asked & self._unread)
            known = tuple(self._vms.values()) if vms is None else ()
            return DeviceLists({vm: self._list(vm) for vm in asked - unread}, unread, known)

    def check_unused(self, ref: DiskRef) -> None:
        with self._now():
            if (user := self.strangers.get(ref.uuid)) is not None:
                raise VolumeInUse(f"{ref.path} is used by {user}")

    def vm(self, vm: VmId) -> Vm | None:
        with self._now():
            return self._vms.get(vm)

    def vms(self) -> Sequence[Vm]:
        with self._now():
            return list(self._vms.values())

    def machines(self) -> Sequence[Vm]:
        return self.vms()

    def vm_with_context(self, context_id: int) -> VmId | None:
        with self._now():
            return self.contexts.get(context_id)

    def vm_datastore(self, vm: VmId) -> DatastoreName | None:
        with self._now():
            first = next(iter(self._datastores), None)
            return self.homes.get(vm, first) if vm in self._vms else None

    def esx_hosts(self) -> Sequence[EsxHost]:
        with self._now():
            return sorted(self.esx, key=lambda host: host.name)

    def datastores(self) -> Sequence[Datastore]:
        with self._now():
            return [replace(store, free_bytes=self._free(store.name)) for store in self._datastores.values()]

    def read_sidecar(self, disk: DiskPath) -> bytes | None:
        with self._now():
            self._check_readable(disk.datastore)
            return self._sidecars.get(disk)

    def write_sidecar(self, disk: DiskPath, content: bytes | None) -> None:
        with self._now():
            self._check_writable(disk.datastore)
            if content is None:
                if disk not in self._disks:
                    self._sidecars.pop(disk, None)
                return
            self._sidecars[disk] = content if self.whole_sidecars else content[: len(content) // 2]

    # --- what a change does ------------------------------------------------------------------------------------

    def _start(self, change: Change) -> TaskId | None:
        self._check_not_busy(change)
        seconds = self._seconds.get(type(change), 0.0)
        if seconds <= 0.0:
            self._do(change)
            self._changed.notify_all()
            return None
        now = self._clock.monotonic()
        task = TaskId(f"task-{len(self._tasks) + 1}")
        self._tasks[task] = SimulatedTask(change, now, now + seconds)
        return task

    def _advance(self) -> None:
        """Carry out every task that is due, in the order in which they end."""
        now = self._clock.monotonic()
        due = [task for task in self._tasks.values() if not task.done and task.due <= now]
        for task in sorted(due, key=lambda task: task.due):
            try:
                self._do(task.change)
            except VolumeError as error:
                task.error = error
            task.done = True
        if due:
            self._changed.notify_all()

    def _check_not_busy(self, change: Change) -> None:
        for task in self._tasks.values():
            other = task.change
            if task.done:
                continue
            if isinstance(other, CloneDisk) and other.source.uuid == change.disk.uuid:
                raise VolumeInUse(f"{change.disk.path} is read by a clone")
            if other.disk.uuid == change.disk.uuid:
                raise Busy(f"{type(other).__name__} of {change.disk.path} has not ended")

    def _do(self, change: Change) -> None:
        if self._script.failures:
            raise self._script.failures.popleft()
        if self._script.twice:
            self._script.twice -= 1
            self._carry_out(change)
        self._carry_out(change)

    def _carry_out(self, change: Change) -> None:
        match change:
            case CreateDisk():
                self._create(change.disk, change.size_bytes, change.diskformat, change.note, None)
                self._disks[change.disk.path].policy = change.policy
            case CloneDisk():
                self._clone(change)
            case DeleteDisk():
                self._delete(change.disk)
            case AttachDisk():
                self._attach(change)
            case DetachDisk():
                self._detach(change)
            case GrowDisk():
                self._grow(change)
            case ChangePolicy():
                self._put_under(change)
            case _:
                assert_never(change)

    def _create(self, ref: DiskRef, size_bytes: int, diskformat: str, note: Mapping[str, str], content: object) -> None:
        self._check_writable(ref.path.datastore)
        present = self._disks.get(ref.path)
        if present is not None:
            if (present.ref.uuid, present.size_bytes) != (ref.uuid, size_bytes):
                raise WrongDisk(f"{ref.path} is taken by another disk, {present.ref.uuid}")
            return
        allocated = 0 if diskformat == "thin" else size_bytes
        # A thin disk also needs blocks for its descriptor: a full datastore takes none.
        if self._free(ref.path.datastore) < max(allocated, 1):
            raise NoSpace(f"datastore {ref.path.datastore} has no room for {ref.path.path}")
        self._disks[ref.path] = SimulatedDisk(ref, size_bytes, allocated, dict(note), content, thick=diskformat != "thin")

    def _clone(self, change: CloneDisk) -> None:
        if change.disk.path in self._disks:
            self._create(change.disk, self._disks[change.disk.path].size_bytes, change.diskformat, change.note, None)
            return
        source = self._whole(change.source)
        self._check_free(change.source, None)
        self._create(change.disk, source.size_bytes, change.diskformat, change.note, source.content)

    def _delete(self, ref: DiskRef) -> None:
        self._check_writable(ref.path.datastore)
        disk = self._disks.get(ref.path)
        self._check_free(ref, None)
        if disk is not None and disk.damage is None and disk.ref.uuid != ref.uuid:
            raise WrongDisk(f"{ref.path} is disk {disk.ref.uuid}, not {ref.uuid}")
        self._disks.pop(ref.path, None)
        self._sidecars.pop(ref.path, None)

    def _attach(self, change: AttachDisk) -> None:
        if change.vm not in self._vms:
            raise NotEnrolled(f"there is no virtual machine {change.vm}")
        if change.vm in self._unread:
            raise TruthUnknown(f"virtual machine {self._vms[change.vm].name} does not answer")
        self._whole(change.disk)
        self._check_free(change.disk, change.vm)
        if change.disk.uuid not in self._held:
            slot = self._free_slot(change.vm)
            held = SimulatedHeld(change.vm, slot, change.mode, self._clock.monotonic())
            held.limits = (change.iops_limit, change.shares)
            self._held[change.disk.uuid] = held
            self._wished(change.disk, change.policy)

    def _detach(self, change: DetachDisk) -> None:
        held = self._held.get(change.disk.uuid)
        if held is None or held.vm != change.vm:
            return
        name = self._name(change.vm)
        if change.vm in self._unread:
            raise TruthUnknown(f"virtual machine {name} does not answer")
        if change.only_off and self._vms[change.vm].running:
            raise VolumeInUse(f"{change.disk.path} is attached to {name}, which is switched on", holder=name)
        if change.disk.uuid in {disk.ref.uuid for path, disk in self._disks.items() if path != change.disk.path}:
            raise StaleRequest(f"{change.disk.path} was moved at this moment")
        if held.snapshot is not None:
            raise SnapshotPresent(f"snapshot {held.snapshot!r} of {name} contains {change.disk.path}")
        if held.used_by_guest:
            raise StillMounted(f"{name} still uses {change.disk.path}")
        self._let_go(change.disk.uuid)

    def _grow(self, change: GrowDisk) -> None:
        self._check_writable(change.disk.path.datastore)
        self._check_free(change.disk, change.vm)
        held = self._held.get(change.disk.uuid)
        if change.vm is not None:
            if change.vm in self._unread:
                raise TruthUnknown(f"virtual machine {self._name(change.vm)} does not answer")
            if held is None:
                raise StaleRequest(f"{change.disk.path} is not attached to {self._name(change.vm)} any more")
        disk = self._whole(change.disk)
        if change.size_bytes == disk.size_bytes:
            return
        if change.size_bytes < disk.size_bytes:
            raise InvalidSize(f"{change.disk.path} has {disk.size_bytes} bytes and is not made smaller")
        if held is not None and held.snapshot is not None:
            raise SnapshotPresent(f"snapshot {held.snapshot!r} of {self._name(held.vm)} contains {change.disk.path}")
        # What a thick one takes more; a disk of which all is written may be thin.
        more = change.size_bytes - disk.size_bytes if disk.thick else 0
        if self._free(change.disk.path.datastore) < max(more, 1):
            raise NoSpace(f"datastore {change.disk.path.datastore} has no room for {change.disk.path.path}")
        disk.size_bytes, disk.allocated_bytes = change.size_bytes, disk.allocated_bytes + more
