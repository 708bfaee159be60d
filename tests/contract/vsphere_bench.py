"""The bench of the contract tests on the vSphere API: a simulator's, or an endpoint's that the tests were given.

What a test makes lies in the folder of one vmgroup that is nobody's; at its end everything in there is gone again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from uuid import uuid4

from pyVmomi import vim

from tests.contract import given
from tests.contract.hypervisor_benches import (
    BIG,
    LONG_BYTES,
    NOBODY,
    SMALL,
    SMALL_BYTES,
    VM_A,
    VM_B,
    Bench,
    LocalBench,
    SimulatedBench,
)
from tests.contract.proven import Where
from tests.vsphere.outside import Outside, attached, outside
from tests.vsphere.simulators import Model, Simulator, simulator
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol_esx import reaching
from vmdkvol_esx.ports import Change, CloneDisk, CreateDisk, DeleteDisk, DetachDisk, DiskPath, DiskRef
from vmdkvol_esx.reaching import Unheard
from vmdkvol_esx.settings import ServiceSettings, VsphereSetting
from vmdkvol_esx.vsphere.hypervisor import VsphereHypervisor, connected

# As large as the datastores that the other benches have.
BIG_BYTES = 1 << 30
METHODS: Mapping[type[Change], str] = {CreateDisk: "CreateVirtualDisk_Task", CloneDisk: "CopyVirtualDisk_Task"}
SLOW_MS = 50
STRICT = ("-strict", "-uuids")
FOLDER = f"vmdkvol/{NOBODY}"


def made_of(setting: VsphereSetting) -> VsphereHypervisor:
    """Return the hypervisor that the service would have with this setting and the suite's two machines."""
    clock, log = SystemClock(), Unheard()
    endpoint, trust, password = reaching.endpoint(setting), reaching.trust(setting), reaching.password(setting, {})
    session = connected(endpoint, trust, password, clock, log)
    return VsphereHypervisor(session, setting.datastores, [VM_A.id, VM_B.id], clock, log)


class SimulatorSite:
    """A simulator with the suite's datastores and machines, and what it had before a test."""

    def __init__(self, simulator: Simulator, outside: Outside, *, strict: bool) -> None:
        self.simulator = simulator
        self.outside = outside
        self.strict = strict
        for name, new in (("LocalDS_0", BIG), ("LocalDS_1", SMALL)):
            simulator.datastore(name, "rename", to=new)
        self.machines = dict(zip((VM_A.id, VM_B.id), outside.machines()[:2], strict=True))
        for vm, machine in ((VM_A, self.machines[VM_A.id]), (VM_B, self.machines[VM_B.id])):
            simulator.machine(machine._moId, "identity", to=str(vm.id))
            simulator.machine(machine._moId, "rename", to=vm.name)
        self.before = {id: {disk.key for disk in attached(machine)} for id, machine in self.machines.items()}

    def begin(self) -> None:
        if self.strict:
            self.simulator.datastore(BIG, "size", bytes=BIG_BYTES)
            self.simulator.datastore(SMALL, "size", bytes=SMALL_BYTES)

    def clean(self) -> None:
        """Afterwards everything is as it was, whatever a test did."""
        self.simulator.clear()
        for name in (BIG, SMALL):
            for do in ("accessible", "writable"):
                self.simulator.datastore(name, do)
        for id, machine in self.machines.items():
            new = [disk for disk in attached(machine) if disk.key not in self.before[id]]
            changes = [vim.vm.device.VirtualDeviceSpec(operation="remove", device=disk) for disk in new]
            if changes:
                self.outside.reconfigure_all(machine, changes)
        for name in (BIG, SMALL):
            for folder in ("vmdkvol", "theirs"):
                shutil.rmtree(self.outside.file(f"[{name}] {folder}"), ignore_errors=True)

    def setting(self) -> VsphereSetting:
        """Return what an administrator would write for it."""
        password, ca = (self.simulator.folder / name for name in ("password", "ca.pem"))
        password.touch(mode=0o600)
        password.write_text(self.simulator.password)
        ca.write_text(self.simulator.ca)
        return VsphereSetting(
            host="localhost",
            port=self.simulator.port,
            user=self.simulator.account,
            password_file=str(password),
            ca_file=str(ca),
            datastores=(BIG, SMALL),
        )


class SimulatorBench:
    def __init__(self, site: SimulatorSite) -> None:
        self.clock = SystemClock()
        self._site = site
        site.begin()
        self.hypervisor = made_of(site.setting())

    def end(self) -> None:
        try:
            self.hypervisor.stop(Deadline.after(self.clock, 20))
        finally:
            self._site.clean()

    def slow(self, kind: type[Change]) -> None:
        match = f">{LONG_BYTES >> 10}<" if kind is CreateDisk else ""
        self._site.simulator.next(METHODS[kind], "slow", ms=SLOW_MS, times=10, match=match)

    def fill(self, *, leaving: int) -> None:
        summary = self._site.outside.datastore(SMALL).summary
        used = summary.capacity - summary.freeSpace
        self._site.simulator.datastore(SMALL, "size", bytes=used + leaving)

    def read_only(self) -> None:
        self._site.simulator.datastore(SMALL, "readonly")

    def hide(self) -> None:
        self._site.simulator.datastore(BIG, "inaccessible")

    def damage(self, disk: DiskRef) -> None:
        self._file(disk).write_bytes(b"")

    def put_foreign(self, disk: DiskRef, kib: int) -> None:
        """Somebody makes a disk who knows nothing of us; the server gives it an identity of its own."""
        self._file(disk).parent.mkdir(parents=True, exist_ok=True)
        self._site.outside.create(str(disk.path), kib)

    def write(self, disk: DiskRef, content: bytes) -> None:
        with self._extent(disk).open("r+b") as file:
            file.write(content)

    def read(self, disk: DiskRef, size: int) -> bytes:
        with self._extent(disk).open("rb") as file:
            return file.read(size)

    @contextmanager
    def used_by_guest(self, disk: DiskRef) -> Iterator[None]:
        """What a guest does with its disk is not seen here."""
        yield

    def _file(self, disk: DiskRef) -> Path:
        return self._site.outside.file(str(disk.path))

    def _extent(self, disk: DiskRef) -> Path:
        file = self._file(disk)
        return file.with_name(file.name.replace(".vmdk", "-flat.vmdk"))


class RealBench:
    """An endpoint of somebody's own. What the suite makes lies in one folder, and is taken away through the product itself."""

    def __init__(self, settings: ServiceSettings) -> None:
        assert settings.vsphere is not None
        self.clock = SystemClock()
        self.hypervisor = made_of(settings.vsphere)
        for name in (BIG, SMALL):
            if found := list(self.hypervisor.traces(name)):
                raise AssertionError(
                    f"the suite needs datastores without volumes: {found[0]} and {len(found) - 1} more are there"
                )

    def end(self) -> None:
        try:
            self._clean()
        finally:
            self.hypervisor.stop(Deadline.after(self.clock, 60))

    def _clean(self) -> None:
        disks = {disk.ref.uuid: disk.ref for name in (BIG, SMALL) for disk in self.hypervisor.disks(name)}
        ours = {uuid: ref for uuid, ref in disks.items() if _of_the_suite(ref.path)}
        for vm, attached_disks in self.hypervisor.devices([VM_A.id, VM_B.id]).lists.items():
            for disk in attached_disks:
                if disk.uuid in ours:
                    self._do(DetachDisk(vm, ours[disk.uuid]))
        for ref in ours.values():
            self._do(DeleteDisk(ref))

    def _do(self, change: Change) -> None:
        task = self.hypervisor.submit(change, uuid4())
        if task is not None:
            self.hypervisor.wait(task, Deadline.after(self.clock, 120), lambda percent: None)

    def slow(self, kind: type[Change]) -> None:
        """It is as slow as it is."""

    def fill(self, *, leaving: int) -> None:
        raise NotHere("fill")

    def read_only(self) -> None:
        raise NotHere("read_only")

    def hide(self) -> None:
        raise NotHere("hide")

    def damage(self, disk: DiskRef) -> None:
        raise NotHere("damage")

    def write(self, disk: DiskRef, content: bytes) -> None:
        raise NotHere("write")

    def read(self, disk: DiskRef, size: int) -> bytes:
        raise NotHere("read")

    def used_by_guest(self, disk: DiskRef) -> AbstractContextManager[None]:
        raise NotHere("used_by_guest")


class NotHere(AssertionError):
    """A test wants what nobody can do to a site of somebody's own: tests/contract/proven.py must leave it out there."""


def _of_the_suite(path: DiskPath) -> bool:
    return path.path.startswith(f"{FOLDER}/")


@contextmanager
def started(where: Where, folder: Path) -> Iterator[SimulatorSite | None]:
    """Run what the benches of this kind have in common: a simulator, or nothing."""
    if where not in (Where.VCENTER, Where.ESXI, Where.STRICT):
        yield None
        return
    strict = where is Where.STRICT
    model: Model = "esxi" if where is Where.ESXI else "vcenter"
    with simulator(model, folder, *(STRICT if strict else ())) as found, outside(found) as world:
        yield SimulatorSite(found, world, strict=strict)


def bench_of(where: Where, site: SimulatorSite | None, directory: Path) -> Bench:
    if site is not None:
        return SimulatorBench(site)
    if where is Where.REAL:
        return RealBench(given.settings())
    if where is Where.SIMULATED:
        return SimulatedBench()
    return LocalBench(directory)
