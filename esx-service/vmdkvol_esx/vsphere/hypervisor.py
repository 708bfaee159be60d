"""The hypervisor is vSphere: a vCenter, or one ESXi host. Each change goes to the part whose it is; nothing is decided here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol, assert_never
from uuid import UUID

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import BadRequest, StaleRequest, Unavailable, VolumeError, VolumeInUse
from vmdkvol.logs import Secret
from vmdkvol.names import DatastoreName
from vmdkvol.policy_messages import PolicyKind
from vmdkvol.volume import DiskUuid, VmId
from vmdkvol_esx.esx_hosts import EsxHost
from vmdkvol_esx.foreign_disks import ForeignDisk
from vmdkvol_esx.ports import (
    AttachDisk,
    Change,
    ChangePolicy,
    CloneDisk,
    CreateDisk,
    Datastore,
    DeleteDisk,
    DetachDisk,
    DeviceLists,
    Disk,
    DiskPath,
    DiskRef,
    GrowDisk,
    Log,
    Progress,
    TaskId,
    Vm,
)
from vmdkvol_esx.storage_policies import Followed, KnownPolicies, Unseen
from vmdkvol_esx.vsphere import receipts
from vmdkvol_esx.vsphere.batches import Edit, LayPolicy
from vmdkvol_esx.vsphere.compliance import Compliances
from vmdkvol_esx.vsphere.connecting import Connector, Service
from vmdkvol_esx.vsphere.descriptors import Identities
from vmdkvol_esx.vsphere.disks import Disks
from vmdkvol_esx.vsphere.endpoint import Endpoint, Trust
from vmdkvol_esx.vsphere.esx_hosts import Esx
from vmdkvol_esx.vsphere.guestinfo import Guestinfo
from vmdkvol_esx.vsphere.homes import Homes
from vmdkvol_esx.vsphere.machines import Machines
from vmdkvol_esx.vsphere.places import READ_S, Places
from vmdkvol_esx.vsphere.policies import Policies
from vmdkvol_esx.vsphere.profiles import Profiles, Rest, refusals_told
from vmdkvol_esx.vsphere.receipts import Job, Receipt
from vmdkvol_esx.vsphere.reconfigure import Reconfiguring
from vmdkvol_esx.vsphere.running import check_not_reconfigured
from vmdkvol_esx.vsphere.session import Session
from vmdkvol_esx.vsphere.slots import room
from vmdkvol_esx.vsphere.stub import Timed, untimed
from vmdkvol_esx.vsphere.tasks import Waiter
from vmdkvol_esx.vsphere.watch import Watch

# For the policies' names: an administrator's list, which the API gives 15 s, waits for them and then for ``compliance.ASK_S``.
PATIENCE_S = 5.0


class Remembers(Protocol):
    """Where it is kept which datastore a name means, see ``Places.ids``."""

    def datastore_ids(self) -> Mapping[DatastoreName, UUID]: ...
    def remember_datastore(self, name: DatastoreName, marker: UUID) -> None: ...


class VsphereHypervisor:
    """Implements ``Hypervisor``. Nothing is asked of the server before the first call; ``start`` is for the watch alone."""

    def __init__(
        self,
        session: Session[Service],
        datastores: Collection[DatastoreName],
        hosts: Collection[VmId],
        clock: Clock,
        log: Log,
        remembers: Remembers | None = None,
    ) -> None:
        """``datastores`` are those of the settings; ``hosts`` the machines of the service: they may become more."""
        known = {} if remembers is None else remembers.datastore_ids()
        self._clock = clock
        self._log = log
        self._remembers = remembers
        self._remembered = set(known)
        self._hosts = hosts
        self._session = session
        self._waiter = Waiter(session, clock, log)
        self._places = Places(session, datastores, known, clock)
        identities = Identities(session, self._places, clock)
        machines = self._machines = Machines(session, clock, log, hosts, identities.identify, self._places.located)
        self._homes = Homes(session, self._machines, self._places, clock)
        self._esx = Esx(session, self._places, clock)
        self._guestinfo = Guestinfo(session, self._waiter, self._machines, clock)
        self._policies = Policies(session, clock)
        self._disks = Disks(
            session, self._waiter, self._places, clock, log, self._policies, machines.holder_of, identities, machines.size_of
        )
        self._rest = Rest(clock)
        self._compliances = Compliances(session, self._policies, self._machines, self._rest, clock, log)
        self._profiles = Profiles(self._policies, self._rest, clock, log)
        self._reconfiguring = Reconfiguring(session, self._waiter, self._machines, clock, log, self._disks, self._profiles)
        self._watch: Watch | None = None

    def start(self, heard: Callable[[], None]) -> None:
        """Watch machines; ``heard`` is called when there is something to look at, and must not wait."""
        self._watch = Watch(self._session, self._clock, self._log, heard)
        self._watch.start()

    def stop(self, deadline: Deadline) -> None:
        """End what waits, and the session. Tasks of the server's go on; attached disks stay attached."""
        if self._watch is not None:
            self._watch.stop(deadline)
        self._waiter.close(deadline)
        self._session.close(deadline)

    # --- changes -------------------------------------------------------------------------------------------------

    def submit(self, change: Change, operation: UUID) -> TaskId | None:
        match change:
            case CreateDisk() | CloneDisk() | DeleteDisk():
                receipt = self._disks.submit(change, operation)
            case AttachDisk() | DetachDisk():
                self._disks.check_idle(change)
                receipt = self._reconfiguring.submit(change, operation)
                if receipt is None and isinstance(change, DetachDisk):
                    # Not there may be not there yet: an attach of a process that died comes when nobody expects it.
                    check_not_reconfigured(self._session, self._machines, change, Deadline.after(self._clock, READ_S))
                    receipt = self._reconfiguring.submit(change, operation)
            case GrowDisk(vm=None):
                receipt = self._disks.submit(change, operation)
            case GrowDisk():
                receipt = self._disks.submit(change, operation, lambda move: self._edit(move, operation))
            case ChangePolicy():
                receipt = self._lay(change, operation)
            case _:
                assert_never(change)
        return None if receipt is None else receipts.task_id(receipt)

    def wait(self, task: TaskId, deadline: Deadline, progress: Progress) -> None:
        receipt = receipts.parse(task)
        if receipt.job in (Job.ATTACH, Job.DETACH):
            self._reconfiguring.finish(receipt, deadline, progress)
        elif receipt.job is Job.POLICY:
            with refusals_told(receipt.disk, receipt.policy):
                self._reconfiguring.finish(receipt, deadline, progress)
        elif receipt.job is Job.GROW and receipt.vm is not None:
            self._disks.finish(receipt, deadline, progress, self._reconfiguring.finish)
        else:
            self._disks.finish(receipt, deadline, progress)

    def cancel(self, task: TaskId, *, only_ask: bool = False) -> bool:
        # A copy that vCenter stops may lie there with its whole size and half of its data: it would be taken for done.
        return False

    # --- what is there -------------------------------------------------------------------------------------------

    def disk(self, ref: DiskRef) -> Disk | None:
        return self._disks.disk(ref)

    def disks(self, datastore: DatastoreName) -> Sequence[Disk]:
        return self._disks.disks(datastore)

    def traces(self, datastore: DatastoreName) -> Sequence[DiskPath]:
        return self._disks.traces(datastore)

    def foreign(self, datastore: DatastoreName, folder: str, deadline: Deadline | None = None) -> Sequence[DiskPath]:
        return self._disks.foreign(datastore, folder, deadline)

    def foreign_disk(self, path: DiskPath, deadline: Deadline | None = None) -> ForeignDisk | None:
        return self._disks.foreign_disk(path, deadline)

    def copies_elsewhere(self, datastore: DatastoreName) -> Sequence[DiskPath]:
        return self._disks.copies_elsewhere(datastore)

    def allocated(self, disks: Collection[DiskRef]) -> Mapping[DiskUuid, int]:
        return self._disks.allocated(disks)

    def devices(self, vms: Collection[VmId] | None) -> DeviceLists:
        return self._machines.devices(vms)

    def check_unused(self, ref: DiskRef) -> None:
        self._disks.check_unused(ref)

    def vm(self, vm: VmId) -> Vm | None:
        return self._machines.vm(vm)

    def vms(self) -> Sequence[Vm]:
        return self._machines.vms()

    def machines(self) -> Sequence[Vm]:
        return self._machines.all()

    def vm_with_context(self, context_id: int) -> VmId | None:
        return self._machines.with_context_id(context_id)

    def vm_datastore(self, vm: VmId) -> DatastoreName | None:
        return self._homes.of(vm)

    def esx_hosts(self) -> Sequence[EsxHost]:
        return self._esx.all()

    def datastores(self) -> Sequence[Datastore]:
        found = self._disks.datastores()
        self._remember()
        return found

    def storage_policies(self) -> KnownPolicies:
        try:
            return KnownPolicies(PolicyKind.SPBM, self._policies.described(Deadline.after(self._clock, PATIENCE_S)))
        except VolumeError as error:
            # Whoever lists without them asks how disks stand next, and has waited once.
            self._rest.begin(error)
            raise

    def followed(self, disks: Collection[DiskRef], deadline: Deadline | None = None) -> Mapping[DiskUuid, Followed | Unseen]:
        return self._compliances.followed(disks, deadline)

    def carried(self, disk: DiskUuid) -> bool:
        return self._profiles.carried(disk)

    def check_fits(self, policy: str | None, datastore: DatastoreName) -> None:
        deadline = Deadline.after(self._clock, READ_S)
        self._policies.check_there(deadline)
        if policy is not None:
            place = self._places.place(datastore, deadline)
            self._policies.profile(policy, place.ref, place.name, deadline)

    def read_sidecar(self, disk: DiskPath) -> bytes | None:
        return self._disks.read_sidecar(disk)

    def write_sidecar(self, disk: DiskPath, content: bytes | None) -> None:
        self._disks.write_sidecar(disk, content)

    def write_guestinfo(self, vm: VmId, key: str, text: str) -> None:
        """See ``Guestinfo.write``."""
        self._guestinfo.write(vm, key, text)

    def free_slots(self) -> Mapping[str, int]:
        """Return how many more disks each machine of the service could take, by its name; of two of one name the fewer."""
        soon, ours, found = Deadline.after(self._clock, READ_S), frozenset(self._hosts), dict[str, int]()
        for machine in self._machines.whole():
            if machine.id in ours:
                free = room(machine.controllers, self._machines.disks_per_controller(machine, soon))
                found[machine.name] = min(free, found.get(machine.name, free))
        return found

    # --- inside --------------------------------------------------------------------------------------------------

    def _lay(self, change: ChangePolicy, operation: UUID) -> Receipt | None:
        self._disks.check_idle(change)
        if change.vm is None:
            self._disks.check_unused(change.disk)
            raise BadRequest(
                f"no machine has {change.disk.path}, and vCenter lays a policy only on a machine's disk",
                remedy="it is laid on when a machine gets the disk",
            )
        try:
            self._rest.check()
            self.check_fits(change.policy, change.disk.path.datastore)
        except Unavailable:
            # After a death it is settled with nobody who tells that: whether it fits, the reconfigure says too.
            self._policies.check_there(Deadline.after(self._clock, READ_S))
        with refusals_told(change.disk, change.policy):
            return self._edit(LayPolicy(change.vm, change.disk, change.policy), operation)

    def _edit(self, move: Edit, operation: UUID) -> Receipt | None:
        try:
            return self._reconfiguring.submit(move, operation)
        except StaleRequest:
            machine = self._machines.one(move.vm, Deadline.after(self._clock, READ_S))
            if machine is None or not any(disk.uuid == move.disk.uuid for disk in machine.disks):
                holder = self._machines.holder_of(move.disk)
                if holder is not None:
                    raise VolumeInUse(f"{move.disk.path} is attached to {holder}", holder=holder) from None
            raise

    def _remember(self) -> None:
        """Keep by what datastores are known again, from the first sight of each on."""
        if self._remembers is None:
            return
        for name, found in self._places.ids().items():
            if name not in self._remembered:
                self._remembers.remember_datastore(name, found)
                self._remembered.add(name)


def connected(
    endpoint: Endpoint, trust: Trust, password: Callable[[], Secret], clock: Clock, log: Log, timed: Timed = untimed
) -> Session[Service]:
    """Return a session on ``endpoint`` that was not used yet; BadRequest if a certificate of ``trust`` cannot be read."""
    return Session(Connector(endpoint, trust, password, timed), clock, log)
