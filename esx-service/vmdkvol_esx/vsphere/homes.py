"""Where a virtual machine's own files lie: what a vmgroup's right on ``_VM_DS`` is about."""

from __future__ import annotations

from functools import partial

from pyVmomi import vim

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import TruthUnknown
from vmdkvol.names import DatastoreName
from vmdkvol.volume import VmId
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.faults import Failed, Meaning
from vmdkvol_esx.vsphere.machines import Machines
from vmdkvol_esx.vsphere.places import Places
from vmdkvol_esx.vsphere.reading import properties
from vmdkvol_esx.vsphere.session import Session

READ_S = 30.0
# A machine moves to another datastore at an administrator's hand, and that takes minutes.
KEPT_S = 30.0
_MOST = 10_000


class Homes:
    """For any thread."""

    def __init__(self, session: Session[Service], machines: Machines, places: Places, clock: Clock) -> None:
        self._session = session
        self._machines = machines
        self._places = places
        self._clock = clock
        self._lock = clock.condition()
        self._kept: dict[VmId, tuple[float, DatastoreName | None]] = {}

    def of(self, vm: VmId) -> DatastoreName | None:
        """As ``Hypervisor.vm_datastore``; it may be as old as ``KEPT_S``."""
        now = self._clock.monotonic()
        with self._lock:
            kept = self._kept.get(vm)
        if kept is not None and now - kept[0] < KEPT_S:
            return kept[1]
        found = self._read(vm)
        with self._lock:
            if len(self._kept) >= _MOST:
                self._kept.clear()
            self._kept[vm] = (now, found)
        return found

    def _read(self, vm: VmId) -> DatastoreName | None:
        deadline = Deadline.after(self._clock, READ_S)
        machine = self._machines.one(vm, deadline)
        if machine is None:
            return None
        what = f"reading where the files of virtual machine {machine.name} lie"
        found = self._session.read(what, partial(_look, machine.ref), deadline)
        if found is None:
            raise TruthUnknown(f"virtual machine {machine.name} does not say where its files lie")
        path, refs = found
        return self._places.ours(refs, path, deadline)


def _look(ref: str, service: Service) -> tuple[str, frozenset[str]] | None:
    """Return the path of the machine's configuration and the ids of its datastores; None if it does not say them."""
    try:
        values = properties(
            service, vim.VirtualMachine, [vim.VirtualMachine(ref, service.stub)], ["config.files.vmPathName", "datastore"]
        )[ref]
    except Failed as failed:
        if failed.trouble.meaning is not Meaning.GONE:
            raise
        return None
    path, datastores = values.get("config.files.vmPathName"), values.get("datastore")
    if not path or not datastores:
        return None
    return str(path), frozenset(str(each._moId) for each in datastores)
