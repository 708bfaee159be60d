"""A whole service in memory: use cases over the simulated hypervisor and a database in memory, and what must hold there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.doubles.hurried_clock import HurriedClock
from tests.doubles.simulated_hypervisor import SimulatedHypervisor
from vmdkvol import logs
from vmdkvol.clock import Deadline
from vmdkvol.errors import StillWorking, VolumeError
from vmdkvol.lanes import Lanes
from vmdkvol.messages import Attach, Call, CreateVolume, Detach, GetVolume, ListAttached, Mark, RemoveVolume, Request
from vmdkvol.names import DatastoreName, VolumeRef
from vmdkvol.notices import Grown, Notice
from vmdkvol.options import CreateOptions
from vmdkvol.points import Point, pass_by
from vmdkvol.volume import Attachment, Content, State, VmId, VolumeId, VolumeInfo
from vmdkvol_esx import sidecar
from vmdkvol_esx.auditing import Auditing
from vmdkvol_esx.housekeeping import Housekeeping
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import FOLDER, copy_path, disk_ref
from vmdkvol_esx.ports import Change, Datastore, DeviceLists, Disk, DiskPath, TaskId, Vm
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.requests import Requests, Verbs, make_verbs
from vmdkvol_esx.store import SqlStore, open_store
from vmdkvol_esx.witness import Witness

A, B = VmId(UUID(int=0xA)), VmId(UUID(int=0xB))
DS1, DS2 = DatastoreName("ds1"), DatastoreName("ds2")
GB = 1 << 30


class Killed(BaseException):
    """The process dies here. No handler of the product may catch it."""


@dataclass(frozen=True, slots=True)
class Line:
    level: str
    event: str
    fields: dict[str, object]


@dataclass(slots=True)
class Kept:
    """A log that keeps its lines."""

    lines: list[Line] = field(default_factory=list)

    def info(self, event: str, **fields: object) -> None:
        self.lines.append(Line("info", event, fields))

    def warning(self, event: str, **fields: object) -> None:
        self.lines.append(Line("warning", event, fields))

    def error(self, event: str, **fields: object) -> None:
        self.lines.append(Line("error", event, fields))

    def events(self, level: str) -> list[str]:
        return [line.event for line in self.lines if line.level == level]


class Hypervisor(SimulatedHypervisor):
    """Device lists lack what it ``leaves_out``. Writing a sidecar raises ``sidecars_fail``, reading one ``sidecars_unread``."""

    sidecars_fail: VolumeError | None = None
    sidecars_unread: VolumeError | None = None
    leaves_out: Collection[VmId] = ()
    # Machines that a list of all shows without saying that they are ours.
    disowned: Collection[VmId] = ()
    homes_fail: VolumeError | None = None
    # As vCenter.
    stops_nothing = False
    # Disks of machines that do not say who they are.
    nameless: Mapping[VmId, tuple[DiskPath | None, ...]] = {}  # noqa: RUF012 - replaced, never changed
    # As if they lay outside of our folders.
    leaves_out_disks = False

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.submitted: list[Change] = []
        self.operations: list[UUID] = []

    def submit(self, change: Change, operation: UUID) -> TaskId | None:
        self.submitted.append(change)
        self.operations.append(operation)
        return super().submit(change, operation)

    def devices(self, vms: Collection[VmId] | None) -> DeviceLists:
        found = super().devices(vms)
        lists = {vm: disks for vm, disks in found.lists.items() if vm not in self.leaves_out}
        ours = tuple(vm for vm in found.vms if vm.id not in self.disowned)
        return replace(found, lists=lists, vms=ours, nameless=self.nameless)

    def disks(self, datastore: DatastoreName) -> Sequence[Disk]:
        return [] if self.leaves_out_disks else super().disks(datastore)

    def vm_datastore(self, vm: VmId) -> DatastoreName | None:
        if self.homes_fail is not None:
            raise self.homes_fail
        return super().vm_datastore(vm)

    def cancel(self, task: TaskId, *, only_ask: bool = False) -> bool:
        return not self.stops_nothing and super().cancel(task, only_ask=only_ask)

    def read_sidecar(self, disk: DiskPath) -> bytes | None:
        if self.sidecars_unread is not None:
            raise self.sidecars_unread
        return super().read_sidecar(disk)

    def write_sidecar(self, disk: DiskPath, content: bytes | None) -> None:
        if self.sidecars_fail is not None:
            raise self.sidecars_fail
        super().write_sidecar(disk, content)


class Site:
    """Two Docker hosts, ``A`` and ``B``, and a service. ``agents`` are what they do when a disk is wanted."""

    def __init__(
        self, *, datastores: tuple[DatastoreName, ...] = (DS1,), retention_s: float = 0.0, hurry: float = 50.0
    ) -> None:
        self.clock = HurriedClock(hurry)
        self.hypervisor = Hypervisor(
            self.clock,
            datastores=[Datastore(name, 100 * GB, 100 * GB, True) for name in datastores],
            vms=[Vm(A, "host-a", True), Vm(B, "host-b", True)],
        )
        self.store: Any = open_store(None, self.clock)
        self.log = Kept()
        self.retention_s = retention_s
        self.agents: dict[VmId, Callable[[VolumeId], None]] = {A: lambda volume: None, B: lambda volume: None}
        self.wanted: list[tuple[VmId, VolumeId]] = []
        self.grown: list[tuple[VmId, Grown]] = []
        self.verbs: Verbs
        self.requests: Requests
        self.housekeeping: Housekeeping
        self.restart()

    def restart(self, at: Callable[[Point], None] = pass_by) -> None:
        """A new process over what the old one left: store and hypervisor."""
        # The double in dictionaries has no audit to be asked.
        trail = self.store.trail if isinstance(self.store, SqlStore) else open_store(None, self.clock).trail
        self.auditing = Auditing(trail, self.clock, self.log, uuid4, retention_s=1e9, most=1_000_000)
        trail.lost = self.auditing.lost
        parts = Parts(
            self.store,
            self.hypervisor,
            Lanes(self.clock, "volume"),
            self.clock,
            uuid4,
            self.log,
            at,
            request=lambda: logs.bound_id("call"),
            admit=self.auditing.admit,
        )
        self.verbs = make_verbs(parts, notify=self._notify, retention_s=self.retention_s)
        self.requests = Requests(self.verbs)
        self.witness = Witness(
            self.requests.answer, self.auditing, self.clock, name=self.verbs.handover.name, volume=self.store.volume
        )
        self.housekeeping = Housekeeping(
            parts, self.verbs.journal, self.verbs.removing, self.verbs.whereabouts, retention_s=self.retention_s, every_s=60.0
        )
        self.housekeeping.settle_all()

    def _notify(self, vm: VmId, notice: Notice) -> bool:
        if isinstance(notice, Grown):
            self.grown.append((vm, notice))
            return vm in self.agents
        self.wanted.append((vm, notice.volume))
        if vm not in self.agents:
            return False
        self.agents[vm](notice.volume)
        return True

    # --- what guests do ------------------------------------------------------------------------------------------

    def ask(self, request: Request[Any], vm: VmId = A, *, seconds: float = 1000.0, call: UUID | None = None) -> Any:
        made = Call(call or uuid4(), Deadline.after(self.clock, seconds), vm)
        with logs.bound(call=str(made.id)):
            return self.witness.answer(request, made)

    def leave(self, request: Request[Any], vm: VmId = A) -> None:
        """Ask and leave before the answer, once the work is under way; the change must be a task of some seconds."""
        known = len(self.store.open_intents())
        with pytest.raises(StillWorking):
            self.ask(request, vm, seconds=0.5)
        give_up = Deadline.after(self.clock, 500.0)
        while len(self.store.open_intents()) == known and not give_up.passed:
            self.clock.sleep(0.05)

    def create(self, name: str, vm: VmId = A, /, **opts: str) -> VolumeInfo:
        options = CreateOptions.parse({key.replace("_", "-"): value for key, value in opts.items()})
        info: VolumeInfo = self.ask(CreateVolume(VolumeRef.parse(name), options), vm)
        return info

    def get(self, name: str, vm: VmId = A) -> VolumeInfo:
        info: VolumeInfo = self.ask(GetVolume(VolumeRef.parse(name)), vm)
        return info

    def attach(self, volume: VolumeId, vm: VmId = A) -> Attachment:
        attachment: Attachment = self.ask(Attach(volume), vm)
        return attachment

    def detach(self, attachment: Attachment, vm: VmId = A) -> None:
        self.ask(Detach(attachment.volume, attachment.generation), vm)

    def attached(self, vm: VmId = A) -> tuple[Attachment, ...]:
        attachments: tuple[Attachment, ...] = self.ask(ListAttached(), vm).attachments
        return attachments

    def remove(self, volume: VolumeId, vm: VmId = A) -> None:
        self.ask(RemoveVolume(volume), vm)

    def format(self, volume: VolumeId, vm: VmId = A) -> UUID:
        """Attach, format, detach: the volume has data afterwards."""
        attachment, uuid = self.attach(volume, vm), uuid4()
        self.ask(Mark(volume, attachment.generation, Content.FORMATTING, uuid), vm)
        self.ask(Mark(volume, attachment.generation, Content.FORMATTED, uuid), vm)
        self.hypervisor.put_content(attachment.disk_uuid, f"data of {volume}")
        self.detach(attachment, vm)
        return uuid

    # --- what a test looks at ------------------------------------------------------------------------------------

    def record(self, volume: VolumeId) -> VolumeRecord:
        record = self.store.volume(volume)
        assert isinstance(record, VolumeRecord)
        return record

    def records(self) -> list[VolumeRecord]:
        return list(self.store.page(None, None, 10_000))

    def copy_of(self, record: VolumeRecord) -> VolumeRecord:
        content = self.hypervisor.read_sidecar(copy_path(record))
        assert content is not None
        return sidecar.decode(content)

    def calm_down(self) -> None:
        """Let housekeeping look until no work is open; on a busy machine a task outlasts a scan."""
        for _ in range(20):
            self.housekeeping.scan()
            if not self.store.open_intents():
                return
            self.clock.sleep(1.0)

    def check(self) -> None:
        """I2: no two VMs ever held one disk at a time. I4: no disk without a record, no ready record without its disk."""
        truth = self.hypervisor.truth()
        records = {record.disk_uuid: record for record in self.records()}
        # What somebody else put beside our folder is none of ours.
        assert {uuid for uuid, disk in truth.disks.items() if disk.ref.path.path.startswith(f"{FOLDER}/")} <= set(records)
        for record in records.values():
            if record.state is State.READY:
                assert self.hypervisor.disk(disk_ref(record)) is not None
        ends = sorted(truth.history, key=lambda hold: (hold.disk, hold.since))
        for first, second in zip(ends, ends[1:], strict=False):
            assert first.disk != second.disk or first.until <= second.since

    def check_settled(self) -> None:
        """As ``check``, and no work is open."""
        assert list(self.store.open_intents()) == []
        self.check()
