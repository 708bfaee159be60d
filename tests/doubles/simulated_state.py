"""What the simulated hypervisor has: datastores, disks, machines, tasks; and the handles by which a test moves them.

``truth()`` is for oracles and never for the product.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from vmdkvol.clock import Clock
from vmdkvol.errors import (
    DatastoreNotFound,
    MetadataDamaged,
    NoFreeSlot,
    NotPermitted,
    TruthUnknown,
    VolumeError,
    VolumeInUse,
    VolumeLost,
    WrongDisk,
)
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid, ScsiAddress, VmId
from vmdkvol_esx.paths import FOLDER
from vmdkvol_esx.ports import AttachedDisk, Change, Datastore, Disk, DiskPath, DiskRef, TaskId, Vm

CONTROLLERS = 4
# A SCSI controller sits on its own bus at unit 7; a disk put there is refused.
UNITS = tuple(unit for unit in range(16) if unit != 7)


@dataclass(slots=True)
class SimulatedDisk:
    ref: DiskRef
    size_bytes: int
    allocated_bytes: int
    note: Mapping[str, str]
    # What the guest wrote, as one immutable value; a clone gets the same.
    content: object = None
    damage: str | None = None
    # Its descriptor is whole, and what lies beside it is not.
    tells_identity: bool = False
    thick: bool = False
    policy: str | None = None


@dataclass(slots=True)
class SimulatedHeld:
    vm: VmId
    address: ScsiAddress
    mode: str
    since: float
    snapshot: str | None = None
    used_by_guest: bool = False
    limits: tuple[int | None, str] = (None, "normal")
    carried: bool = False


@dataclass(slots=True)
class SimulatedTask:
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
    """Everything there is. ``deleted_with_vm`` are disks that went because their VM was destroyed (corrections 31).

    ``unread`` are the VMs whose device list nobody can read.
    """

    disks: Mapping[DiskUuid, Disk]
    holders: Mapping[DiskUuid, VmId]
    sidecars: Mapping[DiskPath, bytes]
    history: tuple[Hold, ...]
    deleted_with_vm: tuple[DiskUuid, ...]
    open_tasks: int
    unread: frozenset[VmId]


@dataclass(slots=True)
class SimulatedScript:
    """What the next submits do instead of working."""

    refusals: deque[VolumeError] = field(default_factory=deque)
    lost_answers: deque[bool] = field(default_factory=deque)
    failures: deque[VolumeError] = field(default_factory=deque)
    twice: int = 0


class SimulatedState:
    """The state and its handles; ``SimulatedHypervisor`` adds the port."""

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
        self._disks: dict[DiskPath, SimulatedDisk] = {}
        self._sidecars: dict[DiskPath, bytes] = {}
        self._held: dict[DiskUuid, SimulatedHeld] = {}
        self._tasks: dict[TaskId, SimulatedTask] = {}
        self._script = SimulatedScript()
        self._unread: set[VmId] = set()
        # Which VM has which context id.
        self.contexts: dict[int, VmId] = {}
        # Where the files of VMs lie that lie elsewhere than on the first datastore.
        self.homes: dict[VmId, DatastoreName | None] = {}
        # Who uses a disk's bytes beside all device lists.
        self.strangers: dict[DiskUuid, str] = {}
        # What stands against a disk that somebody else made.
        self.obstacles: dict[DiskPath, str] = {}
        self._unreadable: set[DatastoreName] = set()
        self._foreign_bytes: dict[DatastoreName, int] = {}
        self._history: list[Hold] = []
        self._deleted_with_vm: list[DiskUuid] = []

    @contextmanager
    def _now(self) -> Iterator[None]:
        with self._changed:
            self._advance()
            yield

    def _advance(self) -> None:
        """Carry out every task that is due."""
        raise NotImplementedError

    # --- handles for tests -------------------------------------------------------------------------------------

    def truth(self) -> Truth:
        with self._now():
            now = self._clock.monotonic()
            current = [Hold(disk, held.vm, held.since, now) for disk, held in self._held.items()]
            return Truth(
                {disk.ref.uuid: shown(disk) for disk in self._disks.values()},
                {disk: held.vm for disk, held in self._held.items()},
                dict(self._sidecars),
                (*self._history, *current),
                tuple(self._deleted_with_vm),
                sum(not task.done for task in self._tasks.values()),
                frozenset(self._unread),
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

    def do_twice(self) -> None:
        """The next change is carried out twice, one right after the other, as by a client that sends again by itself."""
        self._script.twice += 1

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

    def take_away(self, datastore: DatastoreName) -> Datastore:
        """It is none of ours any more; return it, for ``bring_back``."""
        with self._now():
            return self._datastores.pop(datastore)

    def bring_back(self, datastore: Datastore) -> None:
        with self._now():
            self._datastores[datastore.name] = datastore

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

    def rename_vm(self, vm: VmId, name: str) -> None:
        """Call the machine otherwise, as whoever may edit it can at any time."""
        with self._now():
            self._vms[vm] = replace(self._vms[vm], name=name)

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

    def limits(self, disk: DiskUuid) -> tuple[int | None, str]:
        """Return the limit and the shares with which the disk was attached."""
        with self._now():
            return self._held[disk].limits

    def destroy_vm(self, vm: VmId) -> None:
        """Delete the VM as an infrastructure tool does: every disk that it has is deleted with it (corrections 31)."""
        with self._now():
            del self._vms[vm]
            for disk in [disk for disk, held in self._held.items() if held.vm == vm]:
                self._let_go(disk)
                self._deleted_with_vm.append(disk)
                self._disks = {path: kept for path, kept in self._disks.items() if kept.ref.uuid != disk}

    def damage(self, path: DiskPath, reason: str | None, *, tells_identity: bool = False) -> None:
        """The disk's descriptor or extent is broken, or whole again for None; the latter still tells who it is."""
        with self._now():
            self._disks[path].damage, self._disks[path].tells_identity = reason, tells_identity

    def swap(self, path: DiskPath, uuid: DiskUuid) -> None:
        """Another disk lies at this path now."""
        with self._now():
            self._disks[path].ref = DiskRef(uuid, path)

    def move(self, disk: DiskUuid, path: DiskPath) -> None:
        """Storage vMotion: the disk, with what is on it, lies at another path from now on, attached as it is."""
        with self._now():
            found = next(found for found in self._disks.values() if found.ref.uuid == disk)
            del self._disks[found.ref.path]
            found.ref = DiskRef(disk, path)
            self._disks[path] = found

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

    # --- what is looked at -------------------------------------------------------------------------------------

    def _whole(self, ref: DiskRef) -> SimulatedDisk:
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
        paths = {disk.ref.uuid: path for path, disk in self._disks.items()} if mine else {}
        return tuple(AttachedDisk(disk, held.address, held.snapshot, paths.get(disk)) for disk, held in mine)

    def _name(self, vm: VmId) -> str:
        return self._vms[vm].name if vm in self._vms else str(vm)

    def _let_go(self, disk: DiskUuid) -> None:
        held = self._held.pop(disk)
        self._history.append(Hold(disk, held.vm, held.since, self._clock.monotonic()))


def shown(disk: SimulatedDisk) -> Disk:
    return Disk(disk.ref, disk.size_bytes, disk.allocated_bytes, dict(disk.note))


def ours(path: DiskPath, datastore: DatastoreName) -> bool:
    """Tell whether the path is in our folder of the datastore."""
    return path.datastore == datastore and path.path.startswith(f"{FOLDER}/")
