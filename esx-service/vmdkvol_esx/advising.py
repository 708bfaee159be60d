"""What an administrator asks before maintenance: the hypervisor and the records are read, the advice is decided elsewhere.

Nothing is changed, and nothing is remembered: a minute later the answer may be another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vmdkvol import frames
from vmdkvol.advice_messages import Advice, AdviseMaintenance, MaintenanceAdvice, TargetKind
from vmdkvol.errors import Conflict, NotFound, quoted
from vmdkvol.messages import Call, Request
from vmdkvol.names import DatastoreName
from vmdkvol.volume import State, VmId
from vmdkvol.wire import answer_size
from vmdkvol_esx import advice
from vmdkvol_esx.advice import Doings, Held, Lying, Machine
from vmdkvol_esx.choosing import Choosing
from vmdkvol_esx.esx_hosts import EsxHost
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.ports import AttachDisk, CloneDisk, Datastore, DetachDisk, DeviceLists, GrowDisk, Vm
from vmdkvol_esx.records import Intent, VolumeRecord
from vmdkvol_esx.underway import doing

_PAGE_BYTES = frames.MAX_FRAME - 4096
_GONE = frozenset({State.TRASHED, State.REMOVING})

Target = EsxHost | Vm | Datastore


class Advising:
    """For any thread."""

    def __init__(self, parts: Parts, choosing: Choosing) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._choosing = choosing

    def rows(self) -> Mapping[type[Request[Any]], Callable[[Any, Call], Any]]:
        """Return what each message is answered with."""
        return {AdviseMaintenance: lambda request, _: self.advise(request)}

    def advise(self, request: AdviseMaintenance) -> MaintenanceAdvice:
        """See ``AdviseMaintenance``. What cannot be read is raised, or is a line that says so: silence is no good sign."""
        match self._target(request):
            case EsxHost() as host:
                machines = [each for each in self._machines() if each.vm.id in host.vms]
                work = self._work(lambda each: bool(_vms(each) & host.vms))
                found = advice.of_host(host, self._hypervisor.esx_hosts(), machines, work)
                return fitting(advice.told(host.name, TargetKind.HOST, found))
            case Vm() as vm:
                machine = Machine(vm, self._held(vm, self._hypervisor.devices([vm.id])))
                work = self._work(lambda each: vm.id in _vms(each))
                return fitting(advice.told(vm.name, TargetKind.VM, advice.of_machine(machine, work)))
            case Datastore() as datastore:
                return fitting(advice.told(datastore.name, TargetKind.DATASTORE, self._of_datastore(datastore.name)))

    # --- inside --------------------------------------------------------------------------------------------------

    def _target(self, request: AdviseMaintenance) -> Target:
        found = [(kind, each) for kind, each in self._candidates(request.kind) if request.target in _names(each)]
        if len(found) == 1:
            return found[0][1]
        if found:
            kinds = sorted({kind.value for kind, _ in found})
            remedy = "say which kind is meant" if len(kinds) > 1 else "give the id instead"
            raise Conflict(f"{len(found)} things are called {quoted(request.target, 40)}: {', '.join(kinds)}", remedy=remedy)
        what = "ESXi host, machine of ours or datastore" if request.kind is None else request.kind.value
        raise NotFound(f"there is no {what} {quoted(request.target)}", remedy="see `vmdkvol vm ls` and `vmdkvol datastore ls`")

    def _candidates(self, kind: TargetKind | None) -> Iterator[tuple[TargetKind, Target]]:
        # Only what is asked for is read: a datastore is told of though the hosts cannot be.
        if kind in (None, TargetKind.HOST):
            yield from ((TargetKind.HOST, each) for each in self._hypervisor.esx_hosts())
        if kind in (None, TargetKind.VM):
            yield from ((TargetKind.VM, each) for each in self._hypervisor.vms())
        if kind in (None, TargetKind.DATASTORE):
            yield from ((TargetKind.DATASTORE, each) for each in self._hypervisor.datastores())

    def _machines(self) -> Sequence[Machine]:
        """Return all machines of ours, and whoever else has a disk, with what they have: one that was revoked keeps its own."""
        lists = self._hypervisor.devices(None)
        known = {vm.id: vm for vm in lists.vms}
        others = (lists.lists.keys() | lists.unread) - known.keys()
        named = {vm.id: vm for vm in self._hypervisor.machines() if vm.id in others} if others else {}
        found = {vm: named.get(vm) or Vm(vm, str(vm), running=True) for vm in others} | known
        return [Machine(vm, self._held(vm, lists)) for vm in found.values()]

    def _held(self, vm: Vm, lists: DeviceLists) -> tuple[Held, ...] | None:
        devices = lists.of(vm.id)
        if devices is None:
            return None
        names, found = self._choosing.names(), []
        for device in devices:
            record = self._store.with_disk(device.uuid)
            if record is not None:
                where = record.datastore if device.path is None else device.path.datastore
                group = names.get(record.vmgroup) or str(record.vmgroup)
                found.append(Held(record.name, group, where, vm.name, device.snapshot))
        return tuple(found)

    def _of_datastore(self, name: DatastoreName) -> Iterable[Advice]:
        machines = self._machines()
        lying, last = self._lying(name)
        groups = [group.vmgroup.name for group in self._store.groups() if group.vmgroup.default_datastore == name]
        return advice.of_datastore(
            advice.Store(
                name=name,
                cordoned=any(each.datastore == name for each in self._store.cordons()),
                lying=lying,
                held=[each for machine in machines for each in machine.held or () if each.datastore == name],
                work=self._work(lambda each: name in _datastores(each)),
                silent=sorted(machine.vm.name for machine in machines if machine.held is None and machine.vm.id in last),
                defaults=groups,
                others=[each for each in self._hypervisor.datastores() if each.name != name and each.writable],
            )
        )

    def _lying(self, name: DatastoreName) -> tuple[Lying, set[VmId]]:
        """Return what lies on the datastore, and which machines had something of it last."""
        lying, last = Lying(), set[VmId]()
        for record in self._choosing.records():
            if record.datastore != name:
                continue
            lying = _with(lying, record)
            if record.last_vm is not None:
                last.add(record.last_vm)
        return lying, last

    def _work(self, fits: Callable[[Intent], bool]) -> Sequence[Doings]:
        return [
            Doings(str(intent.id), self._name(intent), doing(intent.change))
            for intent in self._store.open_intents()
            if fits(intent)
        ]

    def _name(self, intent: Intent) -> str:
        record = self._store.volume(intent.volume) or intent.before
        return str(intent.volume) if record is None else record.name


def _names(target: Target) -> tuple[str, ...]:
    return (target.name, str(target.id)) if isinstance(target, Vm) else (target.name,)


def _vms(intent: Intent) -> frozenset[VmId]:
    """Return the machines whose devices the change touches."""
    change = intent.change
    vm = change.vm if isinstance(change, AttachDisk | DetachDisk | GrowDisk) else None
    return frozenset() if vm is None else frozenset({vm})


def _datastores(intent: Intent) -> frozenset[DatastoreName]:
    change = intent.change
    source = {change.source.path.datastore} if isinstance(change, CloneDisk) else set()
    return frozenset({change.disk.path.datastore, *source})


def _with(lying: Lying, record: VolumeRecord) -> Lying:
    if record.state in _GONE:
        return replace(lying, trashed=lying.trashed + 1, trashed_bytes=lying.trashed_bytes + record.size_bytes)
    return replace(lying, volumes=lying.volumes + 1, size_bytes=lying.size_bytes + record.size_bytes)


def fitting(found: MaintenanceAdvice) -> MaintenanceAdvice:
    """Return as many lines as a frame takes, and how many there are beyond."""
    left = _PAGE_BYTES
    for number, each in enumerate(found.advice):
        left -= answer_size(each)
        if left < 0:
            return replace(found, advice=found.advice[:number], more=len(found.advice) - number)
    return found
