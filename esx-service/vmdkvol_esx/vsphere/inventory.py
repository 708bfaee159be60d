"""All virtual machines, seen lightly in one read; and one of them, whole. What is read here is decided nowhere here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyVmomi import vim

from vmdkvol.clock import Clock
from vmdkvol.volume import DiskUuid, VmId
from vmdkvol_esx.ports import DiskPath
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.devices import context_id, fitted_disks, nameless_disks, scsi_controllers, snapshot_name
from vmdkvol_esx.vsphere.faults import Failed, Meaning
from vmdkvol_esx.vsphere.machine import Machine
from vmdkvol_esx.vsphere.reading import Found, Values, all_in, each_of
from vmdkvol_esx.vsphere.spelling import plain_name
from vmdkvol_esx.vsphere.uuids import read_uuid

# Returns the identity of the disk at a path; None if the file is there and says none. Raises Failed.
Identify = Callable[[Service, DiskPath], DiskUuid | None]

LIGHT = (
    "name",
    "config.instanceUuid",
    # A machine whose files cannot be reached has no configuration, and its vCenter may know it all the same.
    "summary.config.instanceUuid",
    "config.changeVersion",
    "runtime.powerState",
    "runtime.connectionState",
)
WHOLE = (
    *LIGHT,
    "config.version",
    "config.hardware.device",
    "snapshot.currentSnapshot",
    "snapshot.rootSnapshotList",
)
# What goes wrong with the connection goes wrong for every machine; all else is a matter of this one disk.
_NO_ANSWER = frozenset(
    {
        Meaning.LOGGED_OUT,
        Meaning.WRONG_LOGIN,
        Meaning.NOT_SENT,
        Meaning.LOST,
        Meaning.CERTIFICATE,
        Meaning.NOT_UNDERSTOOD,
        Meaning.LATE,
    }
)


@dataclass(frozen=True, slots=True)
class Glimpse:
    """A machine as the light read shows it; ``id`` is None if it does not say who it is. See ``Machine`` for the rest."""

    ref: str
    id: VmId | None
    name: str
    running: bool
    connected: bool
    version: str


@dataclass(frozen=True, slots=True)
class Whole:
    """By the server's ids: all that are there, and of these the ones that withheld nothing."""

    seen: Mapping[str, Glimpse] = field(default_factory=dict)
    machines: Mapping[str, Machine] = field(default_factory=dict)


class Inventory:
    """For ``session.read``: each method takes the service of the login that holds."""

    def __init__(self, clock: Clock, identify: Identify) -> None:
        self._identify = identify
        self._lock = clock.condition()
        self._view: tuple[Service, Any] | None = None

    def glimpses(self, service: Service) -> Sequence[Glimpse]:
        """Return every virtual machine, in the order of the server's ids. Raises Failed."""
        try:
            found = all_in(service, self._view_of(service), vim.VirtualMachine, LIGHT)
        except Failed as failed:
            if failed.trouble.meaning is not Meaning.GONE:
                raise
            # The view, not a machine: those just are not in it any more.
            with self._lock:
                self._view = None
            found = all_in(service, self._view_of(service), vim.VirtualMachine, LIGHT)
        return [_glimpse(ref, one) for ref, one in sorted(found.items())]

    def whole(self, service: Service, refs: Sequence[str]) -> Whole:
        """Return these machines. One that is gone is in neither mapping, or GONE is raised for all. Raises Failed."""
        found = each_of(service, vim.VirtualMachine, [vim.VirtualMachine(ref, service.stub) for ref in refs], WHOLE)
        seen = {ref: _glimpse(ref, one) for ref, one in found.items()}
        machines = {ref: self._machine(service, glimpse, found[ref]) for ref, glimpse in seen.items()}
        return Whole(seen, {ref: machine for ref, machine in machines.items() if machine is not None})

    def gone(self, service: Service, ref: str) -> bool:
        """Tell whether the server says that there is no such machine; Failed if it says something else of it."""
        try:
            return ref not in each_of(service, vim.VirtualMachine, [vim.VirtualMachine(ref, service.stub)], ["name"])
        except Failed as failed:
            if failed.trouble.meaning is not Meaning.GONE:
                raise
            return True

    def find(self, service: Service, vm: VmId) -> str | None:
        """Return the server's id of the machine with this instance UUID. Raises Failed."""
        # In lower case, as str() writes it: in upper case some servers find nothing.
        found = service.content.searchIndex.FindByUuid(None, str(vm), True, True)
        return None if found is None else str(found._moId)

    def disks_per_controller(self, service: Service, machine: Machine) -> int | None:
        """Return how many disks a PVSCSI controller of this machine bears, if the server says so. Raises Failed."""
        [found] = each_of(
            service, vim.VirtualMachine, [vim.VirtualMachine(machine.ref, service.stub)], ["environmentBrowser"]
        ).values()
        browser = found.values.get("environmentBrowser")
        if browser is None:
            return None
        told = browser.QueryConfigOption(machine.hardware or None, None)
        options = getattr(getattr(told, "hardwareOptions", None), "virtualDeviceOption", None) or ()
        for each in options:
            if isinstance(each, vim.vm.device.ParaVirtualSCSIControllerOption) and each.numSCSIDisks is not None:
                return int(each.numSCSIDisks.max)
        return None

    def _view_of(self, service: Service) -> Any:
        with self._lock:
            if self._view is not None and self._view[0] is service:
                return self._view[1]
        content = service.content
        view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
        with self._lock:
            self._view = (service, view)
        return view

    def _machine(self, service: Service, seen: Glimpse, found: Found) -> Machine | None:
        """Return the machine; None if it does not say who it is or what it has."""
        values = found.values
        devices = values.get("config.hardware.device")
        if seen.id is None or devices is None or found.trouble is not None:
            return None
        return Machine(
            seen.ref,
            seen.id,
            seen.name,
            seen.running,
            seen.connected,
            seen.version,
            hardware=values.get("config.version") or "",
            controllers=scsi_controllers(devices),
            disks=fitted_disks(devices, lambda path: self._identified(service, path)),
            snapshot=snapshot_name(values.get("snapshot.currentSnapshot"), values.get("snapshot.rootSnapshotList") or ()),
            context_id=context_id(devices),
            nameless=nameless_disks(devices),
        )

    def _identified(self, service: Service, path: DiskPath) -> DiskUuid | None:
        try:
            return self._identify(service, path)
        except Failed as failed:
            if failed.trouble.meaning in _NO_ANSWER:
                raise
            return None


def _glimpse(ref: str, found: Found) -> Glimpse:
    values = found.values
    connected = found.trouble is None and values.get("runtime.connectionState") == "connected"
    return Glimpse(
        ref,
        _instance(values),
        plain_name(values.get("name") or ref),
        running=not (connected and values.get("runtime.powerState") == "poweredOff"),
        connected=connected,
        version=values.get("config.changeVersion") or "",
    )


def _instance(values: Values) -> VmId | None:
    for path in ("config.instanceUuid", "summary.config.instanceUuid"):
        uuid = read_uuid(values.get(path))
        if uuid is not None:
            return VmId(uuid)
    return None


def unless_gone(inventory: Inventory, refs: Sequence[str], service: Service) -> Whole:
    """Return what is there of these. Some servers answer nothing at all if one is gone; who asks finds out which."""
    try:
        return inventory.whole(service, refs)
    except Failed as failed:
        if failed.trouble.meaning is not Meaning.GONE:
            raise
        return Whole()
