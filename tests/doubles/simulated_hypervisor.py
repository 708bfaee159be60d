"""A hypervisor in memory with the strict rules of VMFS: what a real one may refuse, this one refuses.

Time passes only by the Clock: with ``seconds`` a change becomes a task that ends so much later, seen by ``wait`` or by
any later call. Handles for tests are at the end; ``truth()`` is for oracles and never for the product.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import assert_never
from uuid import UUID

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import (
    Busy,
    DatastoreNotFound,
    MetadataDamaged,
    NoFreeSlot,
    NoSpace,
    NotEnrolled,
    NotPermitted,
    OutcomeUnknown,
    SnapshotPresent,
    StillMounted,
    StillWorking,
    TruthUnknown,
    UnknownTask,
    VolumeError,
    VolumeInUse,
    VolumeLost,
    WrongDisk,
)
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid, ScsiAddress, VmId
from vmdkvol_esx.ports import (
    AttachDisk,
    AttachedDisk,
    Change,
    CloneDisk,
    CreateDisk,
    Datastore,
    DeleteDisk,
    DetachDisk,
    DeviceLists,
    Disk,
    DiskPath,
    DiskRef,
    Progress,
    TaskId,
    Vm,
)

CONTROLLERS = 4
# A SCSI controller sits on its own bus at unit 7; a disk put there is refused.
UNITS = tuple(unit for unit in range(16) if unit != 7)


@dataclass(slots=True)
class _Disk:
    ref: DiskRef
    size_bytes: int
    allocated_bytes: int
    note: Mapping[str, str]
    # What the guest wrote, as one immutable value; a clone gets the same.
    content: object = None
    damage: str | None = None


@dataclass(slots=True)
class _Held:
    vm: VmId
    address: ScsiAddress
    mode: str
    since: float
    snapshot: str | None = None
    used_by_guest: bool = False


@dataclass(slots=True)
class _Task:
    change: Change
    started: float
    due: float
    error: VolumeError | None = None
    done: bool = False
    forgotten: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """An interval in which ``vm`` held ``disk``; two of one disk never overlap."""

    disk: DiskUuid
    vm: VmId
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Truth:
    """Everything there is. ``deleted_with_vm`` are disks that went because their VM was destroyed (corrections 31)."""

    disks: Mapping[DiskUuid, Disk]
    holders: Mapping[DiskUuid, VmId]
    sidecars: Mapping[DiskPath, bytes]
    history: tuple[Hold, ...]
    deleted_with_vm: tuple[DiskUuid, ...]
    open_tasks: int


@dataclass(slots=True)
class _Script:
    """What the next submits do instead of working."""

    refusals: deque[VolumeError] = field(default_factory=deque)
    lost_answers: deque[bool] = field(default_factory=deque)
    failures: deque[VolumeError] = field(default_factory=deque)


class SimulatedHypervisor:
    """Implements ``Hypervisor``. ``seconds`` is how long a change of each class takes; 0 is done in ``submit``."""

    def __init__(
        self,
        clock: Clock,
        *,
        datastores: Sequence[Datastore],
        vms: Sequence[Vm],
        seconds: Mapping[type[Change], float] | None = None,
    ) -> None:
        self._clock = clock
        self._changed = clock.condition()
        self._datastores = {store.name: store for store in datastores}
        self._vms = {vm.id: vm for vm in vms}
        self._seconds: dict[type[Change], float] = dict(seconds or {})
        self._disks: dict[DiskPath, _Disk] = {}
        self._sidecars: dict[DiskPath, bytes] = {}
        self._held: dict[DiskUuid, _Held] = {}
        self._tasks: dict[TaskId, _Task] = {}
        self._script = _Script()
        self._unread: set[VmId] = set()
        self._unreadable: set[DatastoreName] = set()
        self._foreign_bytes: dict[DatastoreName, int] = {}
        self._history: list[Hold] = []
        self._deleted_with_vm: list[DiskUuid] = []

    # --- the port ----------------------------------------------------------------------------------------------

    def submit(self, change: Change, operation: UUID) -> TaskId | None:
        with self._now():
            if self._script.refusals:
                raise self._script.refusals.popleft()
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
                self._changed.wait(min(deadline.left_s, entry.due - now))
            if entry.error is not None:
                raise entry.error
            progress(100)

    def disk(self, ref: DiskRef) -> Disk | None:
        with self._now():
            self._check_readable(ref.path.datastore)
            disk = self._disks.get(ref.path)
            if disk is None:
                return None
            if disk.damage is not None:
                raise MetadataDamaged(f"{ref.path}: {disk.damage}")
            if disk.ref.uuid != ref.uuid:
                raise WrongDisk(f"{ref.path} is disk {disk.ref.uuid}, not {ref.uuid}")
            return _shown(disk)

    def disks(self, datastore: DatastoreName) -> Sequence[Disk]:
        with self._now():
            self._check_readable(datastore)
            found = [disk for path, disk in self._disks.items() if path.datastore == datastore and disk.damage is None]
            return [_shown(disk) for disk in sorted(found, key=lambda disk: disk.ref.path.path)]

    def devices(self, vms: Collection[VmId] | None) -> DeviceLists:
        with self._now():
            asked = set(self._vms) if vms is None else set(vms)
            unread = frozenset(asked & self._unread)
            return DeviceLists({vm: self._list(vm) for vm in asked - unread}, unread)

    def vm(self, vm: VmId) -> Vm | None:
        with self._now():
            return self._vms.get(vm)

    def vms(self) -> Sequence[Vm]:
        with self._now():
            return list(self._vms.values())

    def datastores(self) -> Sequence[Datastore]:
        with self._now():
            return [replace(store, free_bytes=self._free(store.name)) for store in self._datastores.values()]

    def read_sidecar(self, disk: DiskPath) -> bytes | None:
        with self._now():
            self._check_readable(disk.datastore)
            return self._sidecars.get(disk)

    def write_sidecar(self, disk: DiskPath, content: bytes) -> None:
        with self._now():
            self._check_writable(disk.datastore)
            self._sidecars[disk] = content

    # --- what a change does ------------------------------------------------------------------------------------

    @contextmanager
    def _now(self) -> Iterator[None]:
        with self._changed:
            self._advance()
            yield

    def _start(self, change: Change) -> TaskId | None:
        self._check_not_busy(change)
        seconds = self._seconds.get(type(change), 0.0)
        if seconds <= 0.0:
            self._do(change)
            self._changed.notify_all()
            return None
        now = self._clock.monotonic()
        task = TaskId(f"task-{len(self._tasks) + 1}")
        self._tasks[task] = _Task(change, now, now + seconds)
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
        match change:
            case CreateDisk():
                self._create(change.disk, change.size_bytes, change.diskformat, change.note, None)
            case CloneDisk():
                self._clone(change)
            case DeleteDisk():
                self._delete(change.disk)
            case AttachDisk():
                self._attach(change)
            case DetachDisk():
                self._detach(change)
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
        self._disks[ref.path] = _Disk(ref, size_bytes, allocated, dict(note), content)

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
            self._held[change.disk.uuid] = _Held(change.vm, slot, change.mode, self._clock.monotonic())

    def _detach(self, change: DetachDisk) -> None:
        held = self._held.get(change.disk.uuid)
        if held is None or held.vm != change.vm:
            return
        name = self._name(change.vm)
        if change.vm in self._unread:
            raise TruthUnknown(f"virtual machine {name} does not answer")
        if held.snapshot is not None:
            raise SnapshotPresent(f"snapshot {held.snapshot!r} of {name} contains {change.disk.path}")
        if held.used_by_guest:
            raise StillMounted(f"{name} still uses {change.disk.path}")
        self._let_go(change.disk.uuid)

    def _let_go(self, disk: DiskUuid) -> None:
        held = self._held.pop(disk)
        self._history.append(Hold(disk, held.vm, held.since, self._clock.monotonic()))

    # --- what is looked at -------------------------------------------------------------------------------------

    def _whole(self, ref: DiskRef) -> _Disk:
        self._check_readable(ref.path.datastore)
        disk = self._disks.get(ref.path)
        if disk is None:
            raise VolumeLost(f"there is no disk at {ref.path}")
        if disk.damage is not None:
            raise MetadataDamaged(f"{ref.path}: {disk.damage}")
        if disk.ref.uuid != ref.uuid:
            raise WrongDisk(f"{ref.path} is disk {disk.ref.uuid}, not {ref.uuid}")
        return disk

    def _check_free(self, ref: DiskRef, caller: VmId | None) -> None:
        held = self._held.get(ref.uuid)
        if held is not None and held.vm != caller:
            name = self._name(held.vm)
            raise VolumeInUse(f"{ref.path} is attached to {name}", holder=name)

    def _check_readable(self, name: DatastoreName) -> Datastore:
        store = self._datastores.get(name)
        if store is None:
            raise DatastoreNotFound(f"there is no datastore {name!r}", remedy=f"known: {', '.join(self._datastores)}")
        if name in self._unreadable:
            raise TruthUnknown(f"datastore {name} does not answer")
        return store

    def _check_writable(self, name: DatastoreName) -> None:
        if not self._check_readable(name).writable:
            raise NotPermitted(f"datastore {name} is read-only", remedy="make it writable, or use another one")

    def _free(self, name: DatastoreName) -> int:
        used = sum(disk.allocated_bytes for path, disk in self._disks.items() if path.datastore == name)
        return max(0, self._datastores[name].capacity_bytes - used - self._foreign_bytes.get(name, 0))

    def _free_slot(self, vm: VmId) -> ScsiAddress:
        taken = {(held.address.bus, held.address.unit) for held in self._held.values() if held.vm == vm}
        for bus in range(CONTROLLERS):
            for unit in UNITS:
                if (bus, unit) not in taken:
                    return ScsiAddress(bus, unit)
        raise NoFreeSlot(f"{self._name(vm)} has no free disk slot")

    def _list(self, vm: VmId) -> tuple[AttachedDisk, ...]:
        mine = [(disk, held) for disk, held in self._held.items() if held.vm == vm]
        return tuple(AttachedDisk(disk, held.address, held.snapshot) for disk, held in mine)

    def _name(self, vm: VmId) -> str:
        return self._vms[vm].name if vm in self._vms else str(vm)

    # --- handles for tests -------------------------------------------------------------------------------------

    def truth(self) -> Truth:
        with self._now():
            now = self._clock.monotonic()
            current = [Hold(disk, held.vm, held.since, now) for disk, held in self._held.items()]
            return Truth(
                {disk.ref.uuid: _shown(disk) for disk in self._disks.values()},
                {disk: held.vm for disk, held in self._held.items()},
                dict(self._sidecars),
                (*self._history, *current),
                tuple(self._deleted_with_vm),
                sum(not task.done for task in self._tasks.values()),
            )

    def takes(self, kind: type[Change], seconds: float) -> None:
        """From now on a change of this class is a task of so many seconds."""
        with self._now():
            self._seconds[kind] = seconds

    def refuse(self, error: VolumeError) -> None:
        """The next submit raises ``error`` and changes nothing."""
        self._script.refusals.append(error)

    def lose_answer(self, *, done: bool) -> None:
        """The next submit raises OutcomeUnknown; ``done`` tells whether the change is carried out all the same."""
        self._script.lost_answers.append(done)

    def fail(self, error: VolumeError) -> None:
        """The next change that would be carried out fails with ``error``: in submit, or in its task."""
        self._script.failures.append(error)

    def forget_tasks(self) -> None:
        """Tasks go on, but ``wait`` does not know them any more, as after a restart of the hypervisor's service."""
        with self._now():
            for task in self._tasks.values():
                task.forgotten = True

    def unread(self, vm: VmId, *, unread: bool = True) -> None:
        """``vm`` does not answer: its device list cannot be read (corrections 38)."""
        with self._now():
            (self._unread.add if unread else self._unread.discard)(vm)

    def unreadable(self, datastore: DatastoreName, *, unreadable: bool = True) -> None:
        with self._now():
            (self._unreadable.add if unreadable else self._unreadable.discard)(datastore)

    def read_only(self, datastore: DatastoreName) -> None:
        with self._now():
            self._datastores[datastore] = replace(self._datastores[datastore], writable=False)

    def fill(self, datastore: DatastoreName, *, leaving: int = 0) -> None:
        """Somebody else uses up the datastore; exactly ``leaving`` bytes stay free."""
        with self._now():
            self._foreign_bytes[datastore] = 0
            self._foreign_bytes[datastore] = self._free(datastore) - leaving

    def power(self, vm: VmId, *, running: bool) -> None:
        """A VM that is off keeps its disks in its list."""
        with self._now():
            self._vms[vm] = replace(self._vms[vm], running=running)

    def snapshot(self, vm: VmId, name: str | None) -> None:
        """Take a snapshot of ``vm``, or remove them for None. Independent disks stay outside of it, as on vSphere."""
        with self._now():
            for held in self._held.values():
                if held.vm == vm and held.mode == "persistent":
                    held.snapshot = name

    def guest_uses(self, disk: DiskUuid, *, using: bool = True) -> None:
        """The guest has it mounted: a detach is StillMounted."""
        with self._now():
            self._held[disk].used_by_guest = using

    def destroy_vm(self, vm: VmId) -> None:
        """Delete the VM as an infrastructure tool does: every disk that it has is deleted with it (corrections 31)."""
        with self._now():
            del self._vms[vm]
            for disk in [disk for disk, held in self._held.items() if held.vm == vm]:
                self._let_go(disk)
                self._deleted_with_vm.append(disk)
                self._disks = {path: kept for path, kept in self._disks.items() if kept.ref.uuid != disk}

    def damage(self, path: DiskPath, reason: str | None) -> None:
        """The disk's descriptor or extent is broken, or whole again for None."""
        with self._now():
            self._disks[path].damage = reason

    def swap(self, path: DiskPath, uuid: DiskUuid) -> None:
        """Another disk lies at this path now."""
        with self._now():
            self._disks[path].ref = DiskRef(uuid, path)

    def lose(self, path: DiskPath) -> None:
        """The disk is gone without us."""
        with self._now():
            del self._disks[path]

    def content(self, disk: DiskUuid) -> object:
        """Return what ``put_content`` or the source of a clone left on the disk; None is blank."""
        with self._now():
            return next(found.content for found in self._disks.values() if found.ref.uuid == disk)

    def put_content(self, disk: DiskUuid, content: object) -> None:
        """Write on the disk as its guest does. ``content`` is one immutable value."""
        with self._now():
            next(found for found in self._disks.values() if found.ref.uuid == disk).content = content


def _shown(disk: _Disk) -> Disk:
    return Disk(disk.ref, disk.size_bytes, disk.allocated_bytes, dict(disk.note))
