"""What the contract tests of Hypervisor need: datastores to fill, hide and damage, guests to write on disks.

One bench has the simulated hypervisor, the other VMDK files in directories and this machine's loop devices. Those of the
vSphere API are in vsphere_bench.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol
from uuid import UUID, uuid4

import pytest

from tests.contract import given, proven
from tests.contract.proven import Where
from tests.doubles.simulated_hypervisor import SimulatedHypervisor
from vmdkvol.clock import Clock, Deadline, SystemClock
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid, VmId
from vmdkvol_esx.esx_hosts import EsxHost
from vmdkvol_esx.local.datastore import LocalDatastore
from vmdkvol_esx.local.hypervisor import LocalHypervisor
from vmdkvol_esx.local.loops import Loops
from vmdkvol_esx.ports import (
    AttachDisk,
    Change,
    CreateDisk,
    Datastore,
    DiskPath,
    DiskRef,
    Hypervisor,
    TaskId,
    Vm,
)
from vmdkvol_esx.storage_policies import LocalPolicy

MIB = 1 << 20
# The smallest step of a size that all hypervisors take.
KIB = 1024
NAMES = given.names()
BIG, SMALL = NAMES.big, NAMES.small
SMALL_BYTES = 24 * MIB
# Larger than what the local hypervisor writes within submit.
LONG_BYTES = 48 * MIB
VM_A, VM_B = NAMES.first, NAMES.second
# Of the vmgroup in whose folder the suite's disks lie; nobody's.
NOBODY = UUID(int=1)
# Where policies are made here.
POLICIES = (LocalPolicy("any"), LocalPolicy("thick", diskformat="thick"), LocalPolicy("thin", diskformat="thin"))

# How the tests of each bench are told apart (pytest -m).
MARKS: Mapping[Where, Sequence[pytest.MarkDecorator]] = {
    Where.SIMULATED: [],
    Where.LOCAL: [pytest.mark.integration],
    Where.VCENTER: [pytest.mark.integration, pytest.mark.vcsim_pure],
    Where.ESXI: [pytest.mark.integration, pytest.mark.vcsim_pure],
    Where.STRICT: [pytest.mark.integration, pytest.mark.vcsim_injected],
    Where.REAL: [pytest.mark.integration],
}


def cases(test: str) -> list[object]:
    """Return the benches that a promise of the suite is shown on, each with its marks."""
    here = (Where.REAL,) if given.file() else proven.EVERYWHERE
    return [pytest.param(each, marks=MARKS[each], id=each) for each in proven.shown(test) if each in here]


class Bench(Protocol):
    @property
    def clock(self) -> Clock: ...
    @property
    def hypervisor(self) -> Hypervisor: ...

    def end(self) -> None:
        """Take away everything that was made."""
        ...

    def slow(self, kind: type[Change]) -> None:
        """Changes of this class on LONG_BYTES take a moment from now on."""
        ...

    def fill(self, *, leaving: int) -> None:
        """Use up the small datastore."""
        ...

    def read_only(self) -> None:
        """Make the small datastore read-only."""
        ...

    def hide(self) -> None:
        """The big datastore cannot be reached any more."""
        ...

    def damage(self, disk: DiskRef) -> None:
        """Make the disk unreadable as a disk."""
        ...

    def write(self, disk: DiskRef, content: bytes) -> None:
        """Write at the beginning of an attached disk, as its guest does, durably."""
        ...

    def read(self, disk: DiskRef, size: int) -> bytes:
        """Read from the beginning of an attached disk."""
        ...

    def used_by_guest(self, disk: DiskRef) -> AbstractContextManager[None]:
        """The guest has the disk mounted meanwhile."""
        ...


class SimulatedBench:
    """The simulated hypervisor; a disk's content is what was last written, as bytes."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        stores = [
            Datastore(BIG, 1 << 30, 1 << 30, writable=True),
            Datastore(SMALL, SMALL_BYTES, SMALL_BYTES, writable=True),
        ]
        self.hypervisor = SimulatedHypervisor(self.clock, datastores=stores, vms=[VM_A, VM_B])
        self.hypervisor.local_policies = lambda: POLICIES
        both = frozenset({BIG, SMALL})
        self.hypervisor.esx = [EsxHost("esx2", frozenset({VM_B.id}), both), EsxHost("esx1", frozenset({VM_A.id}), both)]

    def end(self) -> None:
        assert self.hypervisor.truth().open_tasks == 0

    def slow(self, kind: type[Change]) -> None:
        self.hypervisor.takes(kind, 0.05)

    def fill(self, *, leaving: int) -> None:
        self.hypervisor.fill(SMALL, leaving=leaving)

    def read_only(self) -> None:
        self.hypervisor.read_only(SMALL)

    def hide(self) -> None:
        self.hypervisor.unreadable(BIG)

    def damage(self, disk: DiskRef) -> None:
        self.hypervisor.damage(disk.path, "its extent is shorter than the descriptor says")

    def write(self, disk: DiskRef, content: bytes) -> None:
        self.hypervisor.put_content(disk.uuid, content)

    def read(self, disk: DiskRef, size: int) -> bytes:
        content = self.hypervisor.content(disk.uuid)
        return (content if isinstance(content, bytes) else b"").ljust(size, b"\0")[:size]

    @contextmanager
    def used_by_guest(self, disk: DiskRef) -> Iterator[None]:
        self.hypervisor.guest_uses(disk.uuid)
        yield
        self.hypervisor.guest_uses(disk.uuid, using=False)


class LocalBench:
    """VMDK files and loop devices; the small datastore is a tmpfs."""

    def __init__(self, directory: Path, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.big, self.small = directory / BIG, directory / SMALL
        self.big.mkdir()
        self.small.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_BYTES}", "small", self.small], check=True)
        stores = [LocalDatastore(BIG, str(self.big)), LocalDatastore(SMALL, str(self.small))]
        self.hypervisor = self.made(stores)

    def made(self, stores: Sequence[LocalDatastore]) -> LocalHypervisor:
        return LocalHypervisor(stores, [VM_A, VM_B], self.clock, policies=lambda: POLICIES)

    def end(self) -> None:
        loops = Loops(self.clock, [str(root) for root in (self.big, self.big.with_name("hidden"), self.small)])
        for loop in loops.bound():
            loops.detach(loop, loop.file)
        loops.close()
        self.hypervisor.stop(Deadline.after(self.clock, 20))
        subprocess.run(["umount", self.small], check=True)

    def slow(self, kind: type[Change]) -> None:
        """What is written in LONG_BYTES takes some 50 ms anyway."""

    def fill(self, *, leaving: int) -> None:
        room = os.statvfs(self.small)
        with open(self.small / "filler", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - leaving)

    def read_only(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", self.small], check=True)

    def hide(self) -> None:
        self.big.rename(self.big.with_name("hidden"))

    def damage(self, disk: DiskRef) -> None:
        os.truncate(self.extent(disk), 512)

    def write(self, disk: DiskRef, content: bytes) -> None:
        with open(self.device(disk), "r+b") as device:
            device.write(content)
            device.flush()
            os.fsync(device.fileno())

    def read(self, disk: DiskRef, size: int) -> bytes:
        with open(self.device(disk), "rb") as device:
            return device.read(size)

    @contextmanager
    def used_by_guest(self, disk: DiskRef) -> Iterator[None]:
        device = os.open(self.device(disk), os.O_RDONLY | os.O_EXCL)
        yield
        os.close(device)

    def descriptor(self, disk: DiskRef) -> Path:
        return (self.big if disk.path.datastore == BIG else self.small) / disk.path.path

    def extent(self, disk: DiskRef) -> Path:
        descriptor = self.descriptor(disk)
        return descriptor.with_name(f"{descriptor.stem}-flat.vmdk")

    def device(self, disk: DiskRef) -> str:
        found = [
            attached.address
            for attached_disks in self.hypervisor.devices(None).lists.values()
            for attached in attached_disks
            if attached.uuid == disk.uuid
        ]
        return f"/dev/{found[0]}"


def new_disk(datastore: DatastoreName = BIG) -> DiskRef:
    """A disk that is not there yet."""
    uuid = uuid4()
    return DiskRef(DiskUuid(uuid), DiskPath(datastore, f"vmdkvol/{NOBODY}/db-{uuid.hex[:8]}.vmdk"))


def begin(bench: Bench, change: Change) -> TaskId | None:
    return bench.hypervisor.submit(change, uuid4())


def do(bench: Bench, change: Change) -> None:
    """Carry out the change to its end, as the journal does."""
    task = begin(bench, change)
    if task is not None:
        bench.hypervisor.wait(task, Deadline.after(bench.clock, 20), lambda percent: None)


def made(bench: Bench, *, size: int = 4 * MIB, diskformat: str = "thin", datastore: DatastoreName = BIG) -> DiskRef:
    """A disk that is there."""
    disk = new_disk(datastore)
    do(bench, CreateDisk(disk, size, diskformat, {"name": "db"}))
    return disk


def attached(bench: Bench, vm: Vm = VM_A, *, size: int = 4 * MIB, diskformat: str = "thin") -> DiskRef:
    """A disk that is there and that ``vm`` has."""
    disk = made(bench, size=size, diskformat=diskformat)
    do(bench, AttachDisk(vm.id, disk, "independent_persistent"))
    return disk


def holders(bench: Bench, disk: DiskRef) -> list[VmId]:
    lists = bench.hypervisor.devices(None).lists
    return [vm for vm, disks in lists.items() if any(found.uuid == disk.uuid for found in disks)]


def paths(bench: Bench, datastore: DatastoreName = BIG) -> list[str]:
    return [disk.ref.path.path for disk in bench.hypervisor.disks(datastore)]


def size(bench: Bench, disk: DiskRef) -> int | None:
    found = bench.hypervisor.disk(disk)
    return None if found is None else found.size_bytes


def another(disk: DiskRef) -> DiskRef:
    """The same place, another identity."""
    return DiskRef(DiskUuid(uuid4()), disk.path)


def long_create(bench: Bench) -> tuple[CreateDisk, TaskId]:
    bench.slow(CreateDisk)
    change = CreateDisk(new_disk(), LONG_BYTES, "eagerzeroedthick", {})
    task = begin(bench, change)
    assert task is not None
    return change, task
