"""What the service needs of a hypervisor and of a database, in our words. Every promise is a test in tests/contract/.

A change is a value: it is the journal's intent, what a dry run prints, and what a test delays or fails.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NewType, Protocol
from uuid import UUID

from vmdkvol.clock import Deadline
from vmdkvol.names import DatastoreName
from vmdkvol.volume import Address, DiskUuid, VmgroupId, VmId, VolumeId
from vmdkvol_esx.cordons import Cordons
from vmdkvol_esx.esx_hosts import EsxHosts
from vmdkvol_esx.foreign_disks import Adoptions, ForeignDisks, MovedDisks
from vmdkvol_esx.records import AuditRecord, Intent, StoredAnswer, VolumeRecord
from vmdkvol_esx.storage_policies import LocalPolicies, StoragePolicies
from vmdkvol_esx.tenants import Tenants

TaskId = NewType("TaskId", str)
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class DiskPath:
    """Where a disk's descriptor lies: ``path`` is relative to the datastore's root and ends in ``.vmdk``."""

    datastore: DatastoreName
    path: str

    def __str__(self) -> str:
        return f"[{self.datastore}] {self.path}"


@dataclass(frozen=True, slots=True)
class DiskRef:
    """A disk by identity, with the path where it was last seen."""

    uuid: DiskUuid
    path: DiskPath


@dataclass(frozen=True, slots=True)
class CreateDisk:
    """Afterwards a blank disk of this identity and size exists, all of it or nothing. ``note`` goes into its descriptor.

    ``policy`` is the name of the storage policy that it is made under; PolicyNotFound, with the known ones, if there is none.
    """

    disk: DiskRef
    size_bytes: int
    diskformat: str
    note: Mapping[str, str]
    # Not written while it says nothing, as ``only_off``.
    policy: str | None = field(default=None, metadata={"since": 2})


@dataclass(frozen=True, slots=True)
class CloneDisk:
    """Afterwards ``disk`` exists with the bytes of ``source``, which nobody has attached meanwhile (VolumeInUse)."""

    source: DiskRef
    disk: DiskRef
    diskformat: str
    note: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DeleteDisk:
    """Afterwards descriptor, extent and sidecar are gone; absent before is success. VolumeInUse while a VM has it."""

    disk: DiskRef


@dataclass(frozen=True, slots=True)
class AttachDisk:
    """Afterwards ``vm`` has the disk; already there is success. VolumeInUse when another VM has it.

    ``iops_limit`` and ``shares`` (see the options) hold while it is attached; nobody keeps them where disks are only files.
    ``policy`` is a wish: what it comes under where only machines' disks are under one, empty: its datastore's own.
    """

    vm: VmId
    disk: DiskRef
    mode: str
    # Not written while they say nothing, as ``only_off``.
    iops_limit: int | None = field(default=None, metadata={"since": 2})
    shares: str = field(default="normal", metadata={"since": 2})
    policy: str | None = field(default=None, metadata={"since": 2})


@dataclass(frozen=True, slots=True)
class DetachDisk:
    """Afterwards ``vm`` has not the disk; not there before is success. StillMounted while the guest uses it.

    StaleRequest, and nothing is done, if ``vm`` has it at another path: where it lies is known only while a machine has it.
    ``only_off``: it is refused with VolumeInUse unless ``vm`` is switched off at the moment at which it is carried out.
    """

    vm: VmId
    disk: DiskRef
    # Not written while it says nothing: the version before this one reads the intent of every other detach (F56).
    only_off: bool = field(default=False, metadata={"since": 2})


@dataclass(frozen=True, slots=True)
class GrowDisk:
    """Afterwards the disk has exactly ``size_bytes``, with its bytes; already that size is success. InvalidSize if it has more.

    ``vm`` is who has it, None: nobody. VolumeInUse if another one has it, StaleRequest if ``vm`` has it not, SnapshotPresent if
    it is part of a snapshot. NoSpace, as every refusal, leaves the old size. The guest's kernel is not told.
    """

    disk: DiskRef
    size_bytes: int
    vm: VmId | None = None


@dataclass(frozen=True, slots=True)
class ChangePolicy:
    """Afterwards the disk is under ``policy``, None: its datastore's own; already so is success. Its bytes stay what they are.

    ``vm`` as of ``GrowDisk``; BadRequest if only machines' disks are under one. PolicyNotFound, InvalidOption if it fits not.
    """

    disk: DiskRef
    policy: str | None
    vm: VmId | None = None


Change = CreateDisk | CloneDisk | DeleteDisk | AttachDisk | DetachDisk | GrowDisk | ChangePolicy


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk as it lies on its datastore."""

    ref: DiskRef
    size_bytes: int
    allocated_bytes: int
    note: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AttachedDisk:
    """A disk in a VM's device list. ``snapshot`` names the VM's snapshot if the backing is its delta child.

    ``path`` is where the disk lies now, of a snapshot's child where its base does: somebody may have moved it. None if the
    hypervisor does not move disks.
    """

    uuid: DiskUuid
    address: Address
    snapshot: str | None = None
    path: DiskPath | None = None


@dataclass(frozen=True, slots=True)
class DeviceLists:
    """One bulk read. ``unread`` are VMs that exist and did not answer: for them nothing is known (corrections 38).

    ``vms``: of a read of all, those of ``Hypervisor.vms`` as the same read shows them. ``nameless``: of a read of all, where
    disks of anybody's lie that are in no list, since they do not say who they are; None is nowhere that is known.
    """

    lists: Mapping[VmId, tuple[AttachedDisk, ...]]
    unread: frozenset[VmId] = frozenset()
    vms: tuple[Vm, ...] = ()
    nameless: Mapping[VmId, tuple[DiskPath | None, ...]] = field(default_factory=dict)

    def of(self, vm: VmId) -> tuple[AttachedDisk, ...] | None:
        """Return the VM's list; None if it was not read, also if the answer just leaves it out: that is not "nothing"."""
        return None if vm in self.unread else self.lists.get(vm)


@dataclass(frozen=True, slots=True)
class Vm:
    """A virtual machine; in the sandbox a simulated Docker host.

    ``running`` is False only for one that is positively switched off. A suspended one, and one of which that is not
    known, is running: its memory may still write to its disks (F17).
    """

    id: VmId
    name: str
    running: bool


@dataclass(frozen=True, slots=True)
class Datastore:
    """``problem`` says why it cannot be used at all; ``fresh``, that nothing of ours ever was on it, as far as can be seen."""

    name: DatastoreName
    capacity_bytes: int
    free_bytes: int
    writable: bool
    problem: str | None = None
    fresh: bool = False


class Log(Protocol):
    """Where a use case says what changed (info), what an administrator should look at (warning), what is wrong (error)."""

    def info(self, event: str, **fields: object) -> object: ...
    def warning(self, event: str, **fields: object) -> object: ...
    def error(self, event: str, **fields: object) -> object: ...


class Audit(Protocol):
    """Where each change and each refusal that matters is written down, to be read by an administrator."""

    def note(self, record: AuditRecord) -> None:
        """Append the record, durably. Raises nothing: what cannot be written is logged whole and counted.

        What it tells of has happened, and neither is undone nor hidden for want of a line about it.
        """


class Hypervisor(ForeignDisks, MovedDisks, EsxHosts, StoragePolicies, Protocol):
    """Disks and virtual machines. One change on one disk at a time; different disks in parallel."""

    def submit(self, change: Change, operation: UUID) -> TaskId | None:
        """Start ``change``; None says that it is done already. A change whose result already holds is success.

        A VolumeError says that it was not started and nothing changed; OutcomeUnknown, that this is not known.
        Never sent again by anybody: settle by reading.
        """
        ...

    def wait(self, task: TaskId, deadline: Deadline, progress: Progress) -> None:
        """Return when the task has succeeded, raise what it failed with, StillWorking at the deadline (it goes on).

        Anyone may wait, again, and after a restart; UnknownTask if the hypervisor does not know it any more.
        """

    def cancel(self, task: TaskId, *, only_ask: bool = False) -> bool:
        """Have the making of a disk fail soon; False if that cannot be stopped, or has ended. ``only_ask``: only tell."""
        ...

    def disk(self, ref: DiskRef) -> Disk | None:
        """Return the disk, or None if it is positively absent; TruthUnknown if that cannot be said.

        WrongDisk if another identity, its ``found``, lies at the path. MetadataDamaged if it cannot be read, or if its deletion
        has begun and has not ended: a removal goes on with it, and a create that was being undone is not finished by it.
        """
        ...

    def disks(self, datastore: DatastoreName) -> Sequence[Disk]:
        """Return every readable disk in our folder of the datastore; TruthUnknown if it cannot be listed."""
        ...

    def traces(self, datastore: DatastoreName) -> Sequence[DiskPath]:
        """Return where disks of ours lie or lay: readable, damaged, half deleted, or with their sidecar alone left.

        TruthUnknown if the datastore cannot be listed.
        """
        ...

    def allocated(self, disks: Collection[DiskRef]) -> Mapping[DiskUuid, int]:
        """Return, in one bulk read, the bytes that disks take, for people: not verified; those that cannot be read lack."""
        ...

    def devices(self, vms: Collection[VmId] | None) -> DeviceLists:
        """Return the device lists of these VMs, of all for None; a VM that does not exist has an empty list."""
        ...

    def check_unused(self, ref: DiskRef) -> None:
        """Raise VolumeInUse, naming who, if somebody uses the disk's bytes, whatever the lists say; TruthUnknown if unread."""

    def vm(self, vm: VmId) -> Vm | None: ...
    def vms(self) -> Sequence[Vm]:
        """Return the VMs of ours that exist, and those of which it is not known whether they do."""
        ...

    def machines(self) -> Sequence[Vm]:
        """Return all VMs that there are, ours and others: those that could be enrolled. TruthUnknown if that is not known.

        An id that two have comes twice.
        """
        ...

    def vm_with_context(self, context_id: int) -> VmId | None:
        """Return the VM of ours that runs now with this VMCI context id, the CID of its vsock; None if it is not just one.

        TruthUnknown if that cannot be read. A context id may be another VM's a moment after the first is off (faults 3.2).
        """
        ...

    def vm_datastore(self, vm: VmId) -> DatastoreName | None:
        """Return the datastore of ours that the VM's own files lie on, as of a moment ago, or None; TruthUnknown if unread."""
        ...

    def datastores(self) -> Sequence[Datastore]: ...

    def read_sidecar(self, disk: DiskPath) -> bytes | None:
        """Return the sidecar beside the disk, whole; None if there is none."""
        ...

    def write_sidecar(self, disk: DiskPath, content: bytes | None) -> None:
        """Replace the sidecar: afterwards, and after a crash at any moment, the whole old or the whole new.

        None takes away what lies beside a disk that is not at this path any more; while one lies there, nothing is done.
        """


class Store(Tenants, Cordons, LocalPolicies, Adoptions, Protocol):
    """The database; its vmgroups are ``Tenants``, ``Cordons`` is of its datastores, and ``LocalPolicies``.

    One write transaction each; every write compares generations and raises the change number.
    """

    def begin(
        self, intent: Intent, record: VolumeRecord, *, home: DatastoreName | None = None, over_quota: bool = False
    ) -> None:
        """All or nothing: claim the name, reserve the quota, compare and raise the generation, open the intent.

        ``record`` is as it shall stand now; a new one has generation 1, an existing one its stored generation + 1.
        StaleRequest if the stored generation is another; NameConflict if a live volume of the vmgroup has the name;
        Busy if the volume has an open intent; VolumeInUse if an open clone reads from it. For a clone the source
        (``intent.source``) must be ``ready`` and without open intent, or VolumeInUse / VolumeNotFound.

        QuotaExceeded if a new or grown volume is beyond a limit of its vmgroup, of the right that ``rights.find`` names for
        ``home``; not for an administrator's one that is to be ``over_quota``. NotPermitted if a machine's new volume or attach
        (``intent.caller``) is not what its group may by now, and for every new volume on a datastore that is cordoned.
        """

    def note_task(self, intent: UUID, task: str) -> None:
        """Durably store the hypervisor's task id with the intent."""

    def finish(
        self,
        intent: UUID,
        record: VolumeRecord | None,
        answer: StoredAnswer | None = None,
        audit: AuditRecord | None = None,
    ) -> bool:
        """Close the intent and store ``record`` (None: the volume is gone) in one transaction, and keep ``answer`` in it.

        Closed already: False, and nothing is stored. ``record.generation`` must be the one that ``begin`` stored. ``audit``
        is written with it; that this fails hinders nothing else, and is told of elsewhere.
        """
        ...

    def abandon(self, intent: UUID, record: VolumeRecord | None, audit: AuditRecord | None = None) -> None:
        """As ``finish``, for an intent that did not happen: the record goes back to ``record`` or away."""

    def update(self, record: VolumeRecord, *, expect: int) -> None:
        """Store an existing record without an intent; StaleRequest unless its stored generation is ``expect``.

        NameConflict if the record comes back to a live state and its name is taken. Busy or VolumeInUse as ``begin``:
        an open intent must find the generation that it stored, and a clone the source that it reads.
        """

    def delete(self, volume: VolumeId, *, expect: int) -> None:
        """Forget a record without an intent (a lost volume, by an administrator). Not there is fine; else as ``update``."""

    def volume(self, volume: VolumeId) -> VolumeRecord | None: ...

    def find(self, vmgroup: VmgroupId, name: str) -> VolumeRecord | None:
        """Return the live volume of exactly this name."""
        ...

    def elsewhere(self, vmgroup: VmgroupId, base: str) -> VolumeRecord | None:
        """Return a live volume that is named ``base@`` and its own datastore, the first by name."""

    def with_disk(self, disk: DiskUuid) -> VolumeRecord | None:
        """Return the volume of this disk, in any state: a device list names disks, not volumes."""

    def restore(self, *records: VolumeRecord) -> None:
        """Insert records exactly as they are, generations included; only for a rebuild (corrections 33). All or none.

        NameConflict if one is live and a live volume of the vmgroup has the name, or if another volume has its disk UUID
        or its path, or the volume is known already. What comes first claims first. A vmgroup that is not known is made anew,
        named by its id, without rights and members: nothing is lost, and nobody sees it before an administrator does.
        """

    def page(
        self, vmgroup: VmgroupId | None, after: VolumeId | None, limit: int, since: int | None = None
    ) -> Sequence[VolumeRecord]:
        """Return up to ``limit`` records of all states in the order of ids; ``since``: only those changed later."""
        ...

    def change_number(self) -> int:
        """Return the number of the last write."""

    def removed_since(self, vmgroup: VmgroupId, since: int) -> Sequence[VolumeId] | None:
        """Return ids forgotten after that change; None if that is longer ago than is remembered."""

    def open_intents(self) -> Sequence[Intent]: ...
    def open_intent(self, volume: VolumeId) -> Intent | None: ...

    def stored_answer(self, caller: VmId, call: UUID) -> bytes | None:
        """Return what ``keep_answer`` kept within the last 24 hours."""

    def keep_answer(self, caller: VmId, call: UUID, answer: bytes) -> None: ...
