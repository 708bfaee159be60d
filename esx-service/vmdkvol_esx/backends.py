"""Which hypervisor the settings ask for: directories on this machine, or vSphere. Loads only the one that is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from typing import Protocol
from uuid import UUID, uuid4

from vmdkvol import logs
from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import Conflict, VolumeError
from vmdkvol.names import DatastoreName
from vmdkvol.tokens import GUESTINFO_KEY
from vmdkvol.volume import VmId
from vmdkvol_esx.local import marker
from vmdkvol_esx.local.datastore import LocalDatastore
from vmdkvol_esx.local.hypervisor import LocalHypervisor
from vmdkvol_esx.ports import Hypervisor, Vm
from vmdkvol_esx.settings import ServiceSettings, VsphereSetting
from vmdkvol_esx.store import SqlStore

_MIB = 1 << 20
Timed = Callable[[str, str, float], None]


def untimed(method: str, result: str, seconds: float) -> None:
    """Nobody wants to know how long calls take."""


class Backend(Hypervisor, Protocol):
    """A hypervisor with a life."""

    def start(self, heard: Callable[[], None]) -> None:
        """Call ``heard`` from now on when machines should be looked at."""
        ...

    def stop(self, deadline: Deadline) -> None:
        """End what runs in this process for it. Attached disks stay attached."""
        ...


def open_backend(
    settings: ServiceSettings,
    clock: Clock,
    store: SqlStore | None,
    ours: Collection[VmId] | None = None,
    timed: Timed = untimed,
) -> Backend:
    """Return the hypervisor, not started. ``store`` knows which datastore each name meant so far; without it nothing does.

    ``ours`` are the machines of the service, which may become more; None: the hosts of the settings. ``timed`` hears of each
    call of vSphere's its method, what came of it, and how many seconds it took.

    Raises Conflict if two directories are one datastore, BadRequest for a file with certificates that cannot be used.
    """
    if settings.vsphere is not None:
        hosts = [host.id for host in settings.hosts] if ours is None else ours
        return _vsphere(settings.vsphere, clock, store, hosts, timed)
    markers = {} if store is None else _claimed(settings, store)
    # The default first: where the hosts' own files would lie.
    named = sorted(settings.datastores, key=lambda each: each.name != settings.default)
    datastores = [LocalDatastore(each.name, each.path, markers.get(each.name)) for each in named]
    vms = [Vm(host.id, host.name, running=True) for host in settings.hosts]
    policies = tuple if store is None else store.local_policies
    return LocalHypervisor(datastores, vms, clock, copy_bytes_s=int(settings.copy_mib_s * _MIB), policies=policies)


def token_giver(settings: ServiceSettings, hypervisor: object) -> Callable[[VmId, str], None] | None:
    """Return what writes a token into a virtual machine; None where that is not possible or not allowed."""
    write = getattr(hypervisor, "write_guestinfo", None)
    if settings.vsphere is None or not settings.vsphere.guestinfo or write is None:
        return None
    return lambda vm, token: write(vm, GUESTINFO_KEY, token)


def claim(settings: ServiceSettings, store: SqlStore) -> None:
    """Let ``store`` know by what each datastore is known again; one on vSphere it learns at the first sight."""
    if settings.vsphere is None:
        _claimed(settings, store)


def slot_counter(hypervisor: object) -> Callable[[], Mapping[str, int]]:
    """Return what tells how many more disks each machine can take; of one that takes any number it tells nothing."""
    count: Callable[[], Mapping[str, int]] = getattr(hypervisor, "free_slots", dict)
    return count


def _vsphere(setting: VsphereSetting, clock: Clock, store: SqlStore | None, hosts: Collection[VmId], timed: Timed) -> Backend:
    # The bindings cost 0.1 s and 20 MB, which a sandbox does not have to pay.
    from vmdkvol_esx import reaching
    from vmdkvol_esx.vsphere.hypervisor import VsphereHypervisor, connected

    log = logs.get("vsphere")
    trust, password = reaching.trust(setting), reaching.password(setting, os.environ)
    session = connected(reaching.endpoint(setting), trust, password, clock, log, timed)
    return VsphereHypervisor(session, setting.datastores, hosts, clock, log, store)


def _claimed(settings: ServiceSettings, store: SqlStore) -> Mapping[DatastoreName, UUID]:
    """Return by which marker each datastore is known; one that is used for the first time gets one.

    The marker is durable before the store knows it: killed in between, the next start finds it. Raises Conflict if two
    datastores are one.
    """
    known = dict(store.datastore_ids())
    for datastore in settings.datastores:
        if datastore.name not in known:
            try:
                known[datastore.name] = marker.claim(datastore.path, uuid4())
            except VolumeError as error:
                logs.get("service").warning("datastore without a marker", datastore=datastore.name, reason=str(error))
                continue
            store.remember_datastore(datastore.name, known[datastore.name])
    owners: dict[UUID, DatastoreName] = {}
    for datastore in settings.datastores:
        found = known.get(datastore.name)
        if found is not None and owners.setdefault(found, datastore.name) != datastore.name:
            raise Conflict(
                f"datastores {owners[found]} and {datastore.name} are the same or copies: both are {found}",
                remedy=f"give each a directory of its own, with its own {marker.TOP}/{marker.MARKER}",
            )
    return known
