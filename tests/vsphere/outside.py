"""A client of the simulator that is not ours: bare pyVmomi, to look at things from outside and to do them by hand."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from pyVim.connect import Connect, Disconnect
from pyVmomi import vim

from tests.vsphere.simulators import Simulator

KIB = 1024


class Outside:
    """One session. Paths are datastore paths, ``[LocalDS_0] a/b.vmdk``."""

    def __init__(self, service: Any) -> None:
        self.service = service
        content = service.content
        self.disks, self.files = content.virtualDiskManager, content.fileManager
        self.datacenter = content.rootFolder.childEntity[0]

    def machines(self) -> list[Any]:
        """Return the VMs, in the order of their names."""
        content = self.service.content
        view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
        found = sorted(view.view, key=lambda vm: str(vm.name))
        view.Destroy()
        return found

    def datastore(self, name: str) -> Any:
        return next(each for each in self.datacenter.datastoreFolder.childEntity if each.name == name)

    def create(self, path: str, kib: int = 1024, kind: str = "thin") -> None:
        spec = vim.VirtualDiskManager.FileBackedVirtualDiskSpec(diskType=kind, adapterType="lsiLogic", capacityKb=kib)
        done(self.disks.CreateVirtualDisk(path, self.datacenter, spec))

    def delete(self, path: str) -> None:
        done(self.disks.DeleteVirtualDisk(path, self.datacenter))

    def copy(self, path: str, to: str) -> None:
        done(self.disks.CopyVirtualDisk(path, self.datacenter, to, self.datacenter))

    def move(self, path: str, to: str) -> None:
        done(self.disks.MoveVirtualDisk(path, self.datacenter, to, self.datacenter))

    def uuid(self, path: str) -> str:
        """Return the identity as it is told, in VMware's own spelling."""
        return str(self.disks.QueryVirtualDiskUuid(path, self.datacenter))

    def file(self, path: str) -> Path:
        """Return where the file of a datastore path lies on this machine."""
        name, _, rest = path[1:].partition("] ")
        return Path(self.datastore(name).summary.url) / rest

    def attach(self, vm: Any, path: str, unit: int, *, mode: str = "independent_persistent", key: int | None = None) -> None:
        backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(fileName=path, diskMode=mode)
        disk = vim.vm.device.VirtualDisk(
            key=-1, controllerKey=controller(vm) if key is None else key, unitNumber=unit, backing=backing, capacityInKB=KIB
        )
        self.reconfigure(vm, "add", disk)

    def detach(self, vm: Any, path: str) -> None:
        self.reconfigure(vm, "remove", next(disk for disk in attached(vm) if disk.backing.fileName == path))

    def reconfigure(self, vm: Any, operation: str, device: Any, version: str | None = None) -> None:
        self.reconfigure_all(vm, [vim.vm.device.VirtualDeviceSpec(operation=operation, device=device)], version)

    def reconfigure_all(self, vm: Any, changes: list[Any], version: str | None = None) -> None:
        done(vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=changes, changeVersion=version)))


def escaped(name: str) -> str:
    """Return a name that people write as the server has it."""
    return name.replace("%", "%25").replace("/", "%2f").replace("\\", "%5c")


def attached(vm: Any) -> list[Any]:
    return [device for device in vm.config.hardware.device if isinstance(device, vim.vm.device.VirtualDisk)]


def identities(vm: Any) -> Mapping[str, UUID | None]:
    """Return what the VM's device list says of its disks, by path."""
    return {disk.backing.fileName: UUID(disk.backing.uuid) if disk.backing.uuid else None for disk in attached(vm)}


def controller(vm: Any) -> int:
    kinds = vim.vm.device.VirtualSCSIController
    return int(next(device.key for device in vm.config.hardware.device if isinstance(device, kinds)))


def told(task: Any) -> Mapping[str, Any]:
    """Return state, error and result of a task, those that it has; ManagedObjectNotFound if it is not known.

    Not ``task.info``: its entity may be a disk manager here, which the bindings refuse.
    """
    collector = vim.PropertyCollector
    paths = collector.PropertySpec(type=vim.Task, pathSet=["info.state", "info.error", "info.result"])
    spec = collector.FilterSpec(objectSet=[collector.ObjectSpec(obj=task)], propSet=[paths])
    service = vim.ServiceInstance("ServiceInstance", task._stub)
    (found,) = service.content.propertyCollector.RetrievePropertiesEx([spec], collector.RetrieveOptions()).objects
    return {each.name.removeprefix("info."): each.val for each in found.propSet}


def done(task: Any) -> Any:
    """Return the result of a task that has ended, or raise what it failed with."""
    found = told(task)
    if found["state"] == "error":
        raise found["error"]
    assert found["state"] == "success", found["state"]
    return found.get("result")


@dataclass(frozen=True, slots=True)
class View:
    """What a process needs to look at a simulator that another one started. ``folder`` holds its datastores."""

    port: int
    account: str
    password: str
    ca: str
    folder: str

    @classmethod
    def of(cls, simulator: Simulator) -> View:
        return cls(simulator.port, simulator.account, simulator.password, simulator.ca, str(simulator.folder))


@contextmanager
def outside(simulator: Simulator | View) -> Iterator[Outside]:
    context = ssl.create_default_context(cadata=simulator.ca)
    service = Connect(  # type: ignore[no-untyped-call]
        host="localhost",
        port=simulator.port,
        user=simulator.account,
        pwd=simulator.password,
        sslContext=context,
        version="vim.version.v7_0_3_0",
        httpConnectionTimeout=30,
    )
    try:
        yield Outside(service)
    finally:
        Disconnect(service)  # type: ignore[no-untyped-call]
