"""Which ESXi host has which virtual machines, and which datastores of ours it can write on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from pyVmomi import vim

from vmdkvol.clock import Clock, Deadline
from vmdkvol.names import DatastoreName
from vmdkvol.volume import VmId
from vmdkvol_esx.esx_hosts import EsxHost
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.places import Places
from vmdkvol_esx.vsphere.reading import PC, Values, below, properties
from vmdkvol_esx.vsphere.session import Session
from vmdkvol_esx.vsphere.spelling import plain_name
from vmdkvol_esx.vsphere.uuids import read_uuid

READ_S = 30.0
_HOST = ("name", "vm", "datastore", "runtime.connectionState", "runtime.inMaintenanceMode")
# A machine whose files cannot be reached has no configuration, and its vCenter may know it all the same.
_MACHINE = ("config.instanceUuid", "summary.config.instanceUuid")


class Esx:
    """For any thread."""

    def __init__(self, session: Session[Service], places: Places, clock: Clock) -> None:
        self._session = session
        self._places = places
        self._clock = clock

    def all(self) -> Sequence[EsxHost]:
        """As ``EsxHosts.esx_hosts``; of datastores that cannot be used now nobody can be said to reach them."""
        deadline = Deadline.after(self._clock, READ_S)
        ours = self._places.refs(deadline)
        found = self._session.read("looking at the ESXi hosts", partial(_look, ours), deadline)
        return sorted(found, key=lambda host: host.name)


def _look(ours: Mapping[DatastoreName, str], service: Service) -> Sequence[EsxHost]:
    inside = [PC.SelectionSpec(name=name) for name in ("folder", "datacenter", "compute", "machines")]
    steps = [
        PC.TraversalSpec(name="folder", type=vim.Folder, path="childEntity", skip=False, selectSet=inside),
        PC.TraversalSpec(name="datacenter", type=vim.Datacenter, path="hostFolder", skip=False, selectSet=inside),
        PC.TraversalSpec(name="compute", type=vim.ComputeResource, path="host", skip=False, selectSet=inside),
        PC.TraversalSpec(name="machines", type=vim.HostSystem, path="vm", skip=False),
    ]
    found = below(service, service.content.rootFolder, steps, {vim.HostSystem: _HOST, vim.VirtualMachine: _MACHINE})
    stores = [vim.Datastore(ref, service.stub) for ref in sorted(set(ours.values()))]
    mounts = properties(service, vim.Datastore, stores, ["host"])
    barred = {ref: kept_out(values) for ref, values in mounts.items()}
    machines, hosts = dict[str, VmId](), dict[str, Values]()
    for ref, (kind, values) in found.items():
        if issubclass(kind, vim.HostSystem):
            hosts[ref] = values
        elif issubclass(kind, vim.VirtualMachine) and (id := _id(values)) is not None:
            machines[ref] = id
    return [host_of(ref, values, machines, ours, barred) for ref, values in hosts.items()]


def host_of(
    ref: str,
    values: Values,
    machines: Mapping[str, VmId],
    ours: Mapping[DatastoreName, str],
    barred: Mapping[str, Collection[str]],
) -> EsxHost:
    """Return the host; all by the server's ids: ``machines`` that say who they are, and whom a datastore of ours keeps out."""
    there = [str(each._moId) for each in values.get("vm") or ()]
    named = frozenset(machines[each] for each in there if each in machines)
    mounted = {str(each._moId) for each in values.get("datastore") or ()}
    reached = (name for name, store in ours.items() if store in mounted and ref not in barred.get(store, ()))
    connected = values.get("runtime.connectionState") == "connected"
    return EsxHost(
        name=plain_name(values.get("name") or ref),
        vms=named,
        datastores=frozenset(reached),
        usable=connected and values.get("runtime.inMaintenanceMode") is not True,
        unnamed=sum(each not in machines for each in there),
    )


def kept_out(values: Values) -> frozenset[str]:
    """Return the ids of the hosts that have the datastore and cannot write on it."""
    mounts: Sequence[Any] = values.get("host") or ()
    return frozenset(
        str(each.key._moId) for each in mounts if each.mountInfo.accessMode == "readOnly" or each.mountInfo.accessible is False
    )


def _id(values: Values) -> VmId | None:
    found = read_uuid(values.get("config.instanceUuid") or values.get("summary.config.instanceUuid"))
    return None if found is None else VmId(found)
