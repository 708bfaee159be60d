"""A server's inventory of virtual machines in memory: what no simulator does, a test says here. No network."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

from pyVmomi import vim, vmodl

from tests.doubles.hand_clock import HandClock
from tests.vsphere.by_path import ByPath, NoPolicies, nowhere
from tests.vsphere.lines import Lines
from vmdkvol.clock import Deadline
from vmdkvol.errors import UnknownTask
from vmdkvol.volume import DiskUuid, VmId
from vmdkvol_esx.ports import DiskPath, Progress, TaskId
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.connections import flight
from vmdkvol_esx.vsphere.faults import Failed, Kind, Meaning, Trouble, Where, error_of
from vmdkvol_esx.vsphere.inventory import Identify
from vmdkvol_esx.vsphere.machines import Machines
from vmdkvol_esx.vsphere.moves import Wishes
from vmdkvol_esx.vsphere.reading import PC
from vmdkvol_esx.vsphere.reconfigure import Reconfiguring
from vmdkvol_esx.vsphere.session import Session
from vmdkvol_esx.vsphere.stub import fault_trouble

Device = vim.vm.device
PATIENCE_S = 30.0


def vm_id(number: int) -> VmId:
    return VmId(UUID(int=number))


def disk_device(number: int, *, path: str | None = None, uuid: str | None = "", parent: Any = None) -> Any:
    """A disk in our folder; its identity is its number, unless another is said."""
    backing = Device.VirtualDisk.FlatVer2BackingInfo(fileName=path or f"[ds1] vmdkvol/db-{number}.vmdk", diskMode="persistent")
    backing.uuid = str(UUID(int=number)) if uuid == "" else uuid
    backing.parent = parent
    return Device.VirtualDisk(key=2000 + number, controllerKey=1000, unitNumber=number, backing=backing)


def controller() -> Any:
    return Device.ParaVirtualSCSIController(key=1000, busNumber=0, sharedBus="noSharing", scsiCtlrUnitNumber=7)


class ToldSite:
    """Answers property reads of machines. ``reads`` are what was asked: which machines, and how many of them whole."""

    def __init__(self) -> None:
        self.vms: dict[str, dict[str, Any]] = {}
        self.withheld: dict[str, Any] = {}
        self.reads: list[tuple[str, int]] = []
        self.strict = False
        # These are there, and the account does not see them in a view any more.
        self.unseen: set[str] = set()
        # The version stays the same though the configuration changes; what is withheld is told all the same.
        self.still = self.talkative = False
        self.view_gone = 0
        self.before_read: list[Any] = []
        # For a test's own use.
        self.seen: Any = None
        # Of each reconfigure its spec; how the next ones end, None being well; and how each task has ended.
        self.specs: list[Any] = []
        self.ends: list[Meaning | None] = []
        self.tasks: dict[str, Meaning | None] = {}
        self.found: dict[DiskPath, DiskUuid | None] = {}
        # Whatever has this disk in it ends so; and who waits for the reconfigure before waits for this.
        self.faults: dict[int, Meaning] = {}
        self.go = threading.Event()
        self.go.set()
        self.clock, self.log = HandClock(), Lines()
        self.session: Session[Service] = Session(self, self.clock, self.log)

    def vm(self, number: int, *disks: Any, version: str = "1", **more: Any) -> dict[str, Any]:
        """Put a machine there, or another one in its place."""
        self.vms[f"vm-{number}"] = values = {
            "name": f"host-{number}",
            "config.instanceUuid": str(vm_id(number)),
            "config.changeVersion": version,
            "runtime.powerState": "poweredOn",
            "runtime.connectionState": "connected",
            "config.version": "vmx-19",
            "config.hardware.device": [controller(), *disks],
            **more,
        }
        return values

    def machines(self, *hosts: int, identify: Identify = lambda *_: None) -> Machines:
        return Machines(self.session, self.clock, self.log, [vm_id(number) for number in hosts], identify, nowhere)

    def reconfiguring(self, machines: Machines, profiles: Wishes | None = None) -> Reconfiguring:
        knows, wishes = ByPath(self.session, self.identify), profiles or NoPolicies()
        return Reconfiguring(self.session, self, machines, self.clock, self.log, knows, wishes)

    def identify(self, _: Service, path: DiskPath) -> DiskUuid | None:
        """Disks are where they are said to be, unless a test says otherwise in ``found``."""
        number = int(path.path.rsplit("-", 1)[1].removesuffix(".vmdk"))
        return self.found.get(path, DiskUuid(UUID(int=number)))

    def wait(self, task: TaskId, what: str, deadline: Deadline, progress: Progress) -> object:
        """As ``tasks.Waiter``: each task has ended when it is asked for."""
        if what == "the reconfigure before":
            assert self.go.wait(PATIENCE_S)
        if task not in self.tasks:
            raise UnknownTask(f"{what}: task {task} is not known any more")
        meaning = self.tasks[task]
        if meaning is not None:
            raise error_of(Kind.CHANGE, Trouble(meaning, "", Where.TASK), what)
        return None

    def whole(self) -> int:
        """How many machines were read whole since this was asked last."""
        found = sum(count for what, count in self.reads if what == "whole")
        self.reads.clear()
        return found

    # --- the server --------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        return "vc1:443"

    def log_in(self, _: Deadline) -> Service:
        content = SimpleNamespace(
            propertyCollector=self,
            rootFolder=vim.Folder("group-d1"),
            searchIndex=self,
            viewManager=SimpleNamespace(CreateContainerView=lambda *_: vim.view.ContainerView("view-1")),
        )
        return cast(Service, SimpleNamespace(content=content, stub=self))

    def log_out(self, service: Service, deadline: Deadline) -> None:
        """Nobody minds."""

    def InvokeMethod(self, machine: Any, info: Any, args: Any) -> Any:
        """A reconfigure, the one method of a machine that is called."""
        assert info.wsdlName == "ReconfigVM_Task"
        flight().begin(info.wsdlName)
        [spec] = args
        self.specs.append(spec)
        paths = [getattr(change.device.backing, "fileName", "") for change in spec.deviceChange]
        at_fault = [meaning for number, meaning in self.faults.items() if f"[ds1] vmdkvol/db-{number}.vmdk" in paths]
        end = self.ends.pop(0) if self.ends else (at_fault[0] if at_fault else None)
        task = f"task-{len(self.specs)}"
        self.tasks[task] = end
        if end is None:
            self._apply(self.vms[machine._moId], spec)
        return vim.Task(task)

    def _apply(self, values: dict[str, Any], spec: Any) -> None:
        devices = list(values["config.hardware.device"])
        for change in spec.deviceChange:
            if change.operation == "remove":
                devices = [each for each in devices if each.key != change.device.key]
                continue
            if isinstance(change.device, Device.VirtualDisk):
                number = int(change.device.backing.fileName.rsplit("-", 1)[1].removesuffix(".vmdk"))
                change.device.backing.uuid = str(UUID(int=number))
            devices.append(change.device)
        values["config.hardware.device"] = devices
        if self.still:
            return
        values["config.changeVersion"] = str(int(values["config.changeVersion"] or 0) + 1)

    def FindByUuid(self, _: Any, uuid: str, *__: bool) -> Any:
        found = [ref for ref, values in self.vms.items() if values.get("config.instanceUuid") == uuid]
        return vim.VirtualMachine(found[0]) if found else None

    def RetrievePropertiesEx(self, specs: Sequence[Any], _: Any) -> Any:
        if self.before_read:
            self.before_read.pop(0)()
        [spec] = specs
        paths = spec.propSet[0].pathSet
        objects = [each.obj._moId for each in spec.objectSet]
        if objects == ["view-1"] and self.view_gone:
            self.view_gone -= 1
            raise Failed(Trouble(Meaning.GONE, "view-1"))
        asked = sorted(self.vms.keys() - self.unseen) if objects == ["view-1"] else objects
        self.reads.append(("whole" if "config.hardware.device" in paths else "light", len(asked)))
        gone = [ref for ref in asked if ref not in self.vms]
        if gone and self.strict:
            raise Failed(fault_trouble(vmodl.fault.ManagedObjectNotFound(obj=vim.VirtualMachine(gone[0]))))
        return SimpleNamespace(objects=[self._content(ref, paths) for ref in asked if ref in self.vms], token=None)

    def _content(self, ref: str, paths: Sequence[str]) -> Any:
        values = {path: self.vms[ref][path] for path in paths if self.vms[ref].get(path) is not None}
        if ref in self.withheld and not self.talkative:
            values = {path: value for path, value in values.items() if not path.startswith("config")}
        missing = [PC.MissingProperty(path="config.x", fault=self.withheld[ref])] if ref in self.withheld else []
        return SimpleNamespace(
            obj=vim.VirtualMachine(ref),
            propSet=[SimpleNamespace(name=path, val=value) for path, value in values.items()],
            missingSet=missing,
        )
