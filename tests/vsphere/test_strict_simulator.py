"""What the simulator refuses with -strict, and what a test can let happen to a call: all of it is our own code."""

from __future__ import annotations

import http.client
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from pyVmomi import vim, vmodl

from tests.vsphere.outside import Outside, attached, controller, done, identities, outside, told
from tests.vsphere.simulators import Simulator

pytestmark = [pytest.mark.integration, pytest.mark.vcsim_injected]
STORE = "[LocalDS_0]"


@dataclass(frozen=True)
class World:
    simulator: Simulator
    outside: Outside

    @property
    def vms(self) -> list[Any]:
        return self.outside.machines()

    def disk(self, *, kib: int = 1024, kind: str = "thin") -> str:
        path = f"{STORE} {uuid4().hex}.vmdk"
        self.outside.create(path, kib, kind)
        return path

    def task(self, path: str) -> Any:
        """Start to delete a disk: the shortest task there is."""
        return self.outside.disks.DeleteVirtualDisk(path, self.outside.datacenter)


@pytest.fixture(params=["vcenter", "esxi"])
def world(request: pytest.FixtureRequest, own: Callable[..., Simulator]) -> Iterator[World]:
    with ExitStack() as stack:
        simulator = own(request.param, "-strict", "-uuids")
        yield World(simulator, stack.enter_context(outside(simulator)))


def outcome(task: Any) -> str:
    """Return the task's state once it has one that it keeps; ten seconds are too many."""
    until = time.monotonic() + 60.0
    while told(task)["state"] not in ("success", "error") and time.monotonic() < until:
        time.sleep(0.02)
    return str(told(task)["state"])


# --- what is refused -------------------------------------------------------------------------------------------


def test_a_disk_that_a_running_machine_has_goes_to_no_other(world: World) -> None:
    first, second = world.vms[:2]
    disk = world.disk()
    world.outside.attach(first, disk, 5)

    with pytest.raises(vim.fault.FileLocked):
        world.outside.attach(second, disk, 5)

    assert disk not in identities(second)


@pytest.mark.parametrize("do", ["delete", "copy", "move"])
def test_a_disk_that_a_running_machine_has_is_locked(world: World, do: str) -> None:
    disk = world.disk()
    world.outside.attach(world.vms[0], disk, 5)

    asked = [disk] if do == "delete" else [disk, f"{STORE} elsewhere.vmdk"]
    with pytest.raises(vim.fault.FileLocked):
        getattr(world.outside, do)(*asked)

    assert world.outside.file(disk).exists()


def test_a_machine_that_is_off_holds_no_lock(world: World) -> None:
    disk, (first, second) = world.disk(), world.vms[:2]
    world.outside.attach(first, disk, 5)
    world.simulator.machine(first._moId, "off")

    world.outside.attach(second, disk, 5)

    assert disk in identities(second)


@pytest.mark.parametrize("unit", [7, 16])
def test_a_unit_that_no_disk_may_have_is_refused(world: World, unit: int) -> None:
    with pytest.raises(vim.fault.InvalidDeviceSpec):
        world.outside.attach(world.vms[0], world.disk(), unit)


def test_a_unit_that_is_taken_is_refused(world: World) -> None:
    vm = world.vms[0]
    world.outside.attach(vm, world.disk(), 5)

    with pytest.raises(vim.fault.InvalidDeviceSpec):
        world.outside.attach(vm, world.disk(), 5)


def test_a_machine_does_not_start_with_a_disk_that_another_one_has(world: World) -> None:
    disk, (first, second) = world.disk(), world.vms[:2]
    world.outside.attach(first, disk, 5)
    world.simulator.machine(first._moId, "off")
    world.outside.attach(second, disk, 5)

    with pytest.raises(vim.fault.FileLocked):
        done(first.PowerOnVM_Task(None))

    world.outside.detach(second, disk)
    done(first.PowerOnVM_Task(None))


def test_a_disk_in_a_snapshot_is_not_taken_out(world: World) -> None:
    vm, disk = world.vms[0], world.disk()
    world.outside.attach(vm, disk, 5, mode="persistent")
    world.simulator.machine(vm._moId, "snapshot", to="before the update")

    with pytest.raises(vim.fault.GenericVmConfigFault):
        world.outside.detach(vm, disk.replace(".vmdk", "-000001.vmdk"))

    world.simulator.machine(vm._moId, "consolidate")
    world.outside.detach(vm, disk)


@pytest.mark.parametrize(("kib", "kind"), [(0, "thin"), (-5, "thin"), (1024, "read-only")])
def test_a_disk_that_cannot_be_is_not_made(world: World, kib: int, kind: str) -> None:
    with pytest.raises(vmodl.fault.InvalidArgument):
        world.outside.create(f"{STORE} bad.vmdk", kib, kind)

    assert not world.outside.file(f"{STORE} bad.vmdk").exists()


def test_a_mode_that_no_disk_has_is_refused(world: World) -> None:
    with pytest.raises(vim.fault.InvalidDeviceSpec):
        world.outside.attach(world.vms[0], world.disk(), 5, mode="read_only")


def test_a_controller_that_is_not_there_takes_no_disk(world: World) -> None:
    with pytest.raises(vim.fault.InvalidDeviceSpec):
        world.outside.attach(world.vms[0], world.disk(), 5, key=4711)


def test_a_fifth_controller_is_refused(world: World) -> None:
    vm = world.vms[0]
    for bus in (1, 2, 3):
        world.outside.reconfigure(vm, "add", pvscsi(bus))

    with pytest.raises(vim.fault.TooManyDevices):
        world.outside.reconfigure(vm, "add", pvscsi(4))


def test_what_is_not_there_is_not_removed(world: World) -> None:
    vm, disk = world.vms[0], world.disk()
    world.outside.attach(vm, disk, 5)
    device = next(each for each in attached(vm) if each.backing.fileName == disk)
    world.outside.detach(vm, disk)

    with pytest.raises(vim.fault.InvalidDeviceSpec):
        world.outside.reconfigure(vm, "remove", device)


def test_a_change_on_top_of_another_is_refused(world: World) -> None:
    vm = world.vms[0]
    seen = vm.config.changeVersion
    world.outside.reconfigure(vm, "add", pvscsi(1), seen)

    with pytest.raises(vim.fault.ConcurrentAccess):
        world.outside.reconfigure(vm, "add", pvscsi(2), seen)

    world.outside.reconfigure(vm, "add", pvscsi(2), vm.config.changeVersion)


def test_a_machine_that_is_out_of_reach_is_not_reconfigured(world: World) -> None:
    world.simulator.machine(world.vms[0]._moId, "disconnected")

    with pytest.raises(vmodl.fault.HostNotConnected):
        world.outside.attach(world.vms[0], world.disk(), 5)


def test_a_datastore_that_is_full_takes_no_disk(world: World) -> None:
    """What is on it takes less than the first half of it."""
    world.simulator.datastore("LocalDS_0", "size", bytes=64 << 20)
    thick = world.disk(kib=32 << 10, kind="preallocated")

    with pytest.raises(vim.fault.NoDiskSpace):
        world.disk(kib=32 << 10, kind="preallocated")
    with pytest.raises(vim.fault.NoDiskSpace):
        world.outside.copy(thick, f"{STORE} copy.vmdk")

    world.outside.delete(thick)
    world.disk(kib=32 << 10, kind="preallocated")


def test_a_datastore_out_of_reach_does_nothing(world: World) -> None:
    disk = world.disk()
    world.simulator.datastore("LocalDS_0", "inaccessible")

    with pytest.raises(vim.fault.InaccessibleDatastore):
        world.outside.delete(disk)
    with pytest.raises(vim.fault.InaccessibleDatastore):
        world.outside.uuid(disk)

    world.simulator.datastore("LocalDS_0", "accessible")
    assert world.outside.file(disk).exists()


def test_a_folder_is_made_once(world: World) -> None:
    for once in (True, False):
        if once:
            world.outside.files.MakeDirectory(f"{STORE} vmdkvol", world.outside.datacenter, False)
            continue
        with pytest.raises(vim.fault.FileAlreadyExists):
            world.outside.files.MakeDirectory(f"{STORE} vmdkvol", world.outside.datacenter, True)


def test_a_top_folder_of_vsan_is_made_by_the_namespace_manager_alone(world: World) -> None:
    world.simulator.datastore("LocalDS_0", "type", to="vsan")
    manager = vim.DatastoreNamespaceManager("DatastoreNamespaceManager", world.outside.service._stub)

    with pytest.raises(vim.fault.CannotCreateFile):
        world.outside.files.MakeDirectory(f"{STORE} vmdkvol", world.outside.datacenter, False)
    manager.CreateDirectory(world.outside.datastore("LocalDS_0"), "vmdkvol", None)

    world.outside.files.MakeDirectory(f"{STORE} vmdkvol/below", world.outside.datacenter, False)
    assert world.outside.file(f"{STORE} vmdkvol/below").is_dir()


def test_a_search_tells_what_disks_are_and_what_they_take(world: World) -> None:
    thin, thick = world.disk(kib=4096), world.disk(kib=4096, kind="eagerZeroedThick")
    browser = vim.host.DatastoreBrowser
    details = browser.VmDiskQuery.Details(capacityKb=True, thin=True)
    query = browser.VmDiskQuery(details=details)
    flags = vim.host.DatastoreBrowser.FileInfo.Details(fileType=True, fileSize=True, modification=False, fileOwner=False)
    spec = browser.SearchSpec(query=[query], details=flags, matchPattern=["*"])

    found = done(world.outside.datastore("LocalDS_0").browser.SearchDatastore_Task(STORE, spec))

    seen = {f"{STORE} {file.path}": (file.capacityKb, file.thin, file.fileSize or 0) for file in found.file}
    assert (seen[thin], seen[thick]) == ((4096, True, 0), (4096, False, 4 << 20))


def test_a_snapshot_puts_a_child_before_a_dependent_disk_and_before_no_other(world: World) -> None:
    vm, dependent, independent = world.vms[0], world.disk(), world.disk()
    world.outside.attach(vm, dependent, 5, mode="persistent")
    world.outside.attach(vm, independent, 6)
    uuid = identities(vm)[dependent]

    world.simulator.machine(vm._moId, "snapshot", to="before the update")

    child = dependent.replace(".vmdk", "-000001.vmdk")
    disk = next(each for each in attached(vm) if each.backing.fileName == child)
    assert disk.backing.parent.fileName == dependent
    assert (identities(vm)[child], independent in identities(vm)) == (uuid, True)
    assert vm.snapshot.rootSnapshotList[0].name == "before the update"

    world.simulator.machine(vm._moId, "consolidate")
    assert identities(vm)[dependent] == uuid


# --- files over HTTP -------------------------------------------------------------------------------------------


def folder(
    world: World, method: str, path: str, store: str, content: bytes | None = None, *, session: bool = True
) -> tuple[int, bytes]:
    query = urllib.parse.urlencode({"dcPath": world.outside.datacenter.name, "dsName": store})
    context = ssl.create_default_context(cadata=world.simulator.ca)
    connection = http.client.HTTPSConnection("localhost", world.simulator.port, context=context, timeout=30)
    headers = {"Cookie": world.outside.service._stub.cookie} if session else {}
    try:
        connection.request(method, f"/folder/{urllib.parse.quote(path)}?{query}", content, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("name", ["LocalDS_0", "disks [50%] für b", "a&b?c#d"])
def test_files_are_put_and_got_on_datastores_of_any_name(world: World, name: str) -> None:
    world.simulator.datastore("LocalDS_0", "rename", to=name)

    assert folder(world, "PUT", "a b%ü.json", name, b"content")[0] == 201
    assert folder(world, "GET", "a b%ü.json", name) == (200, b"content")
    assert folder(world, "GET", "absent", name)[0] == 404


def test_a_file_wants_a_session_and_a_folder(world: World) -> None:
    assert folder(world, "PUT", "a", "LocalDS_0", b"content", session=False)[0] == 401
    assert folder(world, "PUT", "no/a", "LocalDS_0", b"content")[0] == 404
    assert folder(world, "GET", "a", "LocalDS_0")[0] == 404


def test_a_file_does_not_lead_out_of_its_datastore(world: World) -> None:
    assert folder(world, "PUT", "../a", "LocalDS_0", b"content")[0] == 201

    assert world.outside.file(f"{STORE} a").read_bytes() == b"content"


# --- what happens to a call ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["fault", "soap"])
def test_a_call_fails_as_often_as_the_test_says(world: World, how: str) -> None:
    vm = world.vms[0]
    world.simulator.next("ReconfigVM_Task", how, fault="TaskInProgress", times=2)

    for _ in range(2):
        with pytest.raises(vim.fault.TaskInProgress):
            world.outside.reconfigure(vm, "add", pvscsi(1))

    world.outside.reconfigure(vm, "add", pvscsi(1))


def test_only_the_call_that_is_meant_fails(world: World) -> None:
    first, second = world.disk(), world.disk()
    world.simulator.next("DeleteVirtualDisk_Task", "fault", fault="FileLocked", match=second.removeprefix(f"{STORE} "))

    world.outside.delete(first)
    with pytest.raises(vim.fault.FileLocked):
        world.outside.delete(second)


def test_what_a_test_has_said_can_be_taken_back(world: World) -> None:
    disk = world.disk()
    world.simulator.next("DeleteVirtualDisk_Task", "fault", fault="FileLocked")

    world.simulator.clear()

    world.outside.delete(disk)


def test_a_slow_task_is_done_when_it_ends_and_its_machine_is_busy_till_then(world: World) -> None:
    vm, disk = world.vms[0], world.disk()
    world.simulator.next("ReconfigVM_Task", "slow", ms=400)
    backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(fileName=disk, diskMode="persistent")
    device = vim.vm.device.VirtualDisk(key=-1, controllerKey=controller(vm), unitNumber=5, backing=backing, capacityInKB=1024)
    change = vim.vm.device.VirtualDeviceSpec(operation="add", device=device)

    task = vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[change]))

    assert disk not in identities(vm)
    with pytest.raises(vim.fault.TaskInProgress):
        world.outside.reconfigure(vm, "add", pvscsi(1))
    assert (outcome(task), disk in identities(vm)) == ("success", True)
    world.outside.reconfigure(vm, "add", pvscsi(1))


def test_a_slow_task_fails_with_what_the_library_says(world: World) -> None:
    disk = world.disk()
    world.outside.delete(disk)
    world.simulator.next("DeleteVirtualDisk_Task", "slow", ms=20)

    task = world.task(disk)

    assert outcome(task) == "error"
    assert isinstance(told(task)["error"], vim.fault.FileNotFound)


def test_a_task_that_never_ends_does_nothing(world: World) -> None:
    disk = world.disk()
    world.simulator.next("DeleteVirtualDisk_Task", "never")

    task = world.task(disk)

    time.sleep(0.2)
    assert (told(task)["state"], world.outside.file(disk).exists()) == ("queued", True)


def test_a_task_that_vanishes_was_done(world: World) -> None:
    disk = world.disk()
    world.simulator.next("DeleteVirtualDisk_Task", "vanish")

    task = world.task(disk)

    assert not world.outside.file(disk).exists()
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        told(task)


@pytest.mark.parametrize(("how", "is_done"), [("lost", True), ("dropped", False)])
def test_a_connection_breaks_after_the_work_or_before_it(world: World, how: str, is_done: bool) -> None:
    disk = world.disk()
    file = world.outside.file(disk)
    world.simulator.next("DeleteVirtualDisk_Task", how)

    with pytest.raises((http.client.HTTPException, OSError)):
        world.task(disk)

    assert file.exists() is not is_done


def test_a_rule_that_cannot_be_is_an_error_of_the_test(world: World) -> None:
    with pytest.raises(RuntimeError, match="no fault"):
        world.simulator.next("ReconfigVM_Task", "fault", fault="Nonsense")
    with pytest.raises(RuntimeError, match="do=explode"):
        world.simulator.next("ReconfigVM_Task", "explode")


def pvscsi(bus: int) -> Any:
    return vim.vm.device.ParaVirtualSCSIController(key=-bus, busNumber=bus, sharedBus="noSharing")
