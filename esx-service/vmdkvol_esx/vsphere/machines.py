"""Virtual machines: who they are, whether they run, which disks they have. Each answer is of now, or says that it is not known.

All of a site are seen in one light read. A device list is read anew unless the machine's configuration still has the
``changeVersion`` with which the list was read: a thousand lists take seconds to decode, and between two attaches one or two
of them change. Of a server that gives no such version every list is read each time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import TruthUnknown
from vmdkvol.volume import VmId
from vmdkvol_esx.ports import AttachedDisk, DeviceLists, DiskRef, Log, Vm
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.contexts import Contexts
from vmdkvol_esx.vsphere.faults import Failed, Meaning, Trouble
from vmdkvol_esx.vsphere.inventory import Glimpse, Identify, Inventory, unless_gone
from vmdkvol_esx.vsphere.machine import Machine, nameless
from vmdkvol_esx.vsphere.moves import Located
from vmdkvol_esx.vsphere.reading import PAGE
from vmdkvol_esx.vsphere.roll import Roll
from vmdkvol_esx.vsphere.session import Session
from vmdkvol_esx.vsphere.shared import Shared
from vmdkvol_esx.vsphere.slots import DISKS

# Of a read that its caller gave no deadline.
READ_S = 30.0
# All lists of a large site, the first time.
SITE_S = 120.0
# Machines that are asked for by name are read whole, without the light read before, up to so many.
FEW = 16
# How old a machine may be that a change is planned on which the server refuses if its configuration has changed since.
LATELY_S = 2.0
# A machine that goes while it is read is seen to be gone at the next try.
_TRIES = 3


@dataclass(frozen=True, slots=True)
class _Site:
    """``machines`` are those that could be read whole. ``doubtful``: one does not say who it is, so nobody is surely absent."""

    seen: Mapping[VmId, Glimpse]
    machines: Mapping[VmId, Machine]
    doubtful: bool = False


class Machines:
    """Safe for any number of threads. ``hosts`` are the machines of the service, looked at each time: they may become more."""

    def __init__(
        self,
        session: Session[Service],
        clock: Clock,
        log: Log,
        hosts: Collection[VmId],
        identify: Identify,
        located: Located,
    ) -> None:
        """``located`` says where a path on a datastore of this id is, by the names that our records have."""
        self._session = session
        self.located = located
        self._clock = clock
        self._hosts = hosts
        self._inventory = Inventory(clock, identify)
        self._roll = Roll(session, clock, log, self._inventory)
        self._sites: Shared[_Site] = Shared(clock, "reading all device lists")
        self._lock = clock.condition()
        # Lists by the server's ids, each with the version of the configuration that it is of.
        self._kept: dict[str, Machine] = {}
        self._bears: dict[str, int] = {}
        self._contexts = Contexts(hosts, self._running, FEW)

    # --- the port ----------------------------------------------------------------------------------------------

    def devices(self, vms: Collection[VmId] | None) -> DeviceLists:
        """As ``Hypervisor.devices``. A machine that is not registered has an entry only if it has a disk with an identity.

        Unread: a machine that is not connected, that withholds something, that shares its id with another one, that has
        a disk in our folder whose identity cannot be read, or that is not seen any more and did not go.
        """
        site = self._site(vms)
        asked = site.seen.keys() if vms is None else set(vms)
        trusted = {vm: site.machines[vm] for vm in asked & site.machines.keys() if self._trusted(site.machines[vm])}
        lists = {vm: self._attached(machine) for vm, machine in trusted.items()}
        unread = (asked & site.seen.keys()) - trusted.keys()
        absent = (frozenset(self._hosts) if vms is None else asked) - site.seen.keys()
        hidden = self._hidden(absent, site.doubtful)
        unread |= hidden
        if vms is not None:
            return DeviceLists(lists | dict.fromkeys(absent - hidden, ()), frozenset(unread))
        ours = frozenset(self._hosts)
        lists = {vm: disks for vm, disks in lists.items() if disks or vm in ours}
        return DeviceLists(lists, frozenset(unread), self._existing(site.seen, hidden), nameless(site.machines, self.located))

    def vm(self, vm: VmId) -> Vm | None:
        """Return any machine by its instance UUID; None if it is positively not there, TruthUnknown if that is not known."""
        site = self._site([vm])
        if vm in site.seen:
            return self._told(vm, site.seen[vm])
        self._check_absent(vm, site)
        return None

    def vms(self) -> Sequence[Vm]:
        """Return those of the registered machines that exist, or may."""
        called = self._roll.call(self._soon(READ_S))
        hidden = self._hidden(frozenset(self._hosts) - called.seen.keys(), called.doubtful)
        return list(self._existing(called.seen, hidden))

    def all(self) -> Sequence[Vm]:
        """Return every machine that the account sees; an id that two have comes twice."""
        called = self._roll.call(self._soon(READ_S))
        return [self._told(vm, seen) for vm, seen in called.seen.items() for _ in range(1 + (vm in called.doubles))]

    # --- for the parts beside ----------------------------------------------------------------------------------

    def one(self, vm: VmId, deadline: Deadline, operation: str = "") -> Machine | None:
        """Return the machine whole, read now; None if it is positively not there, TruthUnknown if it cannot be read."""
        site = self._few([vm], deadline, operation)
        machine = site.machines.get(vm)
        if vm not in site.seen:
            self._check_absent(vm, site)
        elif machine is None:
            raise TruthUnknown(f"virtual machine {site.seen[vm].name} does not say which disks it has")
        elif self._roll.double(vm):
            raise TruthUnknown(f"two virtual machines have the id {vm}", remedy="give one of them another instance UUID")
        return machine

    def lately(self, vm: VmId) -> Machine | None:
        """Return the machine as it was within the last ``LATELY_S``, without asking; None if that is not known.

        It has a version: with that, the server refuses whatever is planned on a configuration that is not there any more.
        """
        seen = self._roll.lately(vm, LATELY_S)
        with self._lock:
            kept = None if seen is None else self._kept.get(seen.ref)
        if seen is None or kept is None or kept.version != seen.version or kept.id != vm:
            return None
        now = replace(kept, name=seen.name, running=seen.running, connected=seen.connected)
        return now if self._trusted(now) else None

    def changed(self, machine: Machine) -> None:
        """Whatever was read of this machine is not used any more."""
        with self._lock:
            self._kept.pop(machine.ref, None)

    def with_context_id(self, context_id: int) -> VmId | None:
        """Return the registered machine that runs with this VMCI context id, read now; None if that is not exactly one."""
        return self._contexts.vm(context_id)

    def _running(self, vms: Sequence[VmId]) -> Mapping[VmId, Machine]:
        machines = self._few(vms, self._soon(READ_S)).machines
        return {vm: each for vm, each in machines.items() if each.connected and each.running and not self._roll.double(vm)}

    def whole(self) -> Collection[Machine]:
        """Return every machine of the site whose list can be read; one that is out of reach as it was."""
        return self._site(None).machines.values()

    def holder_of(self, disk: DiskRef) -> str | None:
        """Return the name of a machine that has the disk: by its identity or, where that cannot be read, by its path.

        One that is out of reach counts with what it had when it was last reached.
        """
        for machine in self.whole():
            for fitted in machine.disks:
                if fitted.uuid == disk.uuid or (fitted.uuid is None and fitted.path == str(disk.path)):
                    return machine.name
        return None

    def size_of(self, disk: DiskRef) -> int | None:
        """Return how large the lists of those that have the disk say it is; None if that is not said.

        TruthUnknown if one of them is out of reach: what it had when it was last reached may have grown since.
        """
        having = [(machine, each.size_bytes) for machine in self.whole() for each in machine.disks if each.uuid == disk.uuid]
        away = next((machine.name for machine, _ in having if not machine.connected), None)
        if away is not None:
            raise TruthUnknown(f"virtual machine {away} has {disk.path} and is not connected")
        return min((size for _, size in having), default=0) or None

    def disks_per_controller(self, machine: Machine, deadline: Deadline) -> int:
        """Return how many disks one controller of this machine bears; asked once for each generation of hardware."""
        if (known := self._bears.get(machine.hardware)) is not None:
            return known
        what = f"asking how many disks {machine.name} bears"
        told = self._session.read(what, lambda service: self._inventory.disks_per_controller(service, machine), deadline)
        bears = max(DISKS, told or 0)
        with self._lock:
            self._bears[machine.hardware] = bears
        return bears

    # --- reading -----------------------------------------------------------------------------------------------

    def _site(self, vms: Collection[VmId] | None) -> _Site:
        if vms is not None and len(vms) <= FEW:
            return self._few(vms, self._soon(READ_S))
        if vms is None:
            return self._sites.get(partial(self._all_of, None), self._soon(SITE_S))
        return self._all_of(vms, self._soon(SITE_S))

    def _all_of(self, vms: Collection[VmId] | None, deadline: Deadline) -> _Site:
        for _ in range(_TRIES):
            called = self._roll.call(deadline)
            asked = called.seen.values() if vms is None else [called.seen[vm] for vm in vms if vm in called.seen]
            machines = self._lists(asked, deadline)
            if machines is not None:
                return _Site(called.seen, machines, called.doubtful)
        raise TruthUnknown("virtual machines come and go while their device lists are read")

    def _few(self, vms: Collection[VmId], deadline: Deadline, operation: str = "") -> _Site:
        """Read these machines whole, now. One that is not found is looked for among all of them."""

        def read(service: Service) -> dict[VmId, tuple[Glimpse, Machine | None]]:
            for _ in range(_TRIES):
                found_at = {vm: self._roll.ref(vm) or self._inventory.find(service, vm) for vm in vms}
                refs = {vm: ref for vm, ref in found_at.items() if ref is not None}
                found = unless_gone(self._inventory, list(refs.values()), service)
                here = {vm: ref for vm, ref in refs.items() if ref in found.seen and self._roll.same(vm, found.seen[ref])}
                if len(here) == len(refs):
                    self._roll.remember(here)
                    return {vm: (found.seen[ref], found.machines.get(ref)) for vm, ref in here.items()}
                self._roll.forget(refs.keys() - here.keys())
            raise Failed(Trouble(Meaning.GONE, "it comes and goes"))

        what = f"reading virtual machine {min(vms)}" if len(vms) == 1 else f"reading {len(vms)} virtual machines"
        found = self._session.read(what, read, deadline, operation=operation) if vms else {}
        doubtful = len(found) < len(vms) and self._roll.call(deadline).doubtful
        machines = {vm: machine for vm, (_, machine) in found.items() if machine is not None}
        return _Site({vm: seen for vm, (seen, _) in found.items()}, machines, doubtful)

    def _lists(self, asked: Iterable[Glimpse], deadline: Deadline) -> dict[VmId, Machine] | None:
        """Return these machines, each as it is now; None if one went away meanwhile."""
        with self._lock:
            kept = dict(self._kept)
        stale = {}
        machines = {}
        for each in asked:
            old = kept.get(each.ref)
            if old is not None and each.version and old.version == each.version:
                machines[old.id] = replace(old, name=each.name, running=each.running, connected=each.connected)
            else:
                stale[each.ref] = each
        refs = list(stale)
        # By the page: what was read is kept, should the time be up before the last one.
        for at in range(0, len(refs), PAGE):
            page = refs[at : at + PAGE]
            what = f"reading the device lists of {len(page)} virtual machines"
            found = self._session.read(what, partial(unless_gone, self._inventory, page), deadline)
            if found.seen.keys() != set(page):
                return None
            for ref, machine in found.machines.items():
                machines[machine.id] = machine
                self._keep(stale[ref], machine)
        return machines

    def _keep(self, seen: Glimpse, machine: Machine) -> None:
        """Keep a list for as long as its version stands, if it certainly is of that version.

        The version was the same before the list was read and with it. An identity that the list did not give itself
        may change without it.
        """
        if seen.version and seen.version == machine.version and machine.told_all:
            with self._lock:
                self._kept[seen.ref] = machine.without_devices()

    # --- who is who --------------------------------------------------------------------------------------------

    def _attached(self, machine: Machine) -> tuple[AttachedDisk, ...]:
        # A delta whose snapshot has no name that is known is one all the same.
        snapshot = machine.snapshot or "?"
        return tuple(
            AttachedDisk(disk.uuid, disk.address, snapshot if disk.delta else None, self.located(disk.place, disk.path))
            for disk in machine.disks
            if disk.uuid is not None
        )

    def _trusted(self, machine: Machine) -> bool:
        return machine.connected and not machine.unidentified and not self._roll.double(machine.id)

    def _hidden(self, absent: Set[VmId], doubtful: bool) -> Set[VmId]:
        return absent if doubtful else self._roll.hidden(absent, self._soon(READ_S))

    def _existing(self, seen: Mapping[VmId, Glimpse], hidden: Set[VmId]) -> tuple[Vm, ...]:
        ours = frozenset(self._hosts) & (seen.keys() | hidden)
        return tuple(self._told(vm, seen[vm]) if vm in seen else Vm(vm, str(vm), running=True) for vm in sorted(ours))

    def _told(self, vm: VmId, seen: Glimpse) -> Vm:
        # Of two with one id it is not known which of them is switched off.
        return Vm(vm, seen.name, running=seen.running or self._roll.double(vm))

    def _check_absent(self, vm: VmId, site: _Site) -> None:
        if site.doubtful:
            raise TruthUnknown(f"virtual machine {vm} is not found, and one of the site does not say who it is")

    def _soon(self, seconds: float) -> Deadline:
        return Deadline.after(self._clock, seconds)
