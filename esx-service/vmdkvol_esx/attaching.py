"""Disks come to VMs and leave them. Each runs in its volume's lane."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import assert_never

from vmdkvol.clock import Deadline
from vmdkvol.errors import Conflict, SnapshotPresent, TruthUnknown, VolumeInUse
from vmdkvol.messages import Attach, Detach, Done, Keep
from vmdkvol.names import DatastoreName
from vmdkvol.points import Point
from vmdkvol.volume import Attachment, State, VmId, VolumeId
from vmdkvol_esx import pending_policies
from vmdkvol_esx.comparing import Comparing
from vmdkvol_esx.following import Following
from vmdkvol_esx.handover import Handover, Held
from vmdkvol_esx.journal import Journal
from vmdkvol_esx.listing import attachment, check_ready
from vmdkvol_esx.marking import absent, check_generation
from vmdkvol_esx.owners import Owners
from vmdkvol_esx.ownership import Foreign, Free, HeldBy, Here, LeftBehind
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import disk_path, disk_ref
from vmdkvol_esx.permits import Permits
from vmdkvol_esx.ports import AttachDisk, AttachedDisk, DetachDisk
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.reply import Answered, Reply
from vmdkvol_esx.rights import Verb

# Of the work's own: it goes on when its caller has left, who is answered in time and joins it with the next Mount. A slow
# hypervisor may take minutes; that the work stays in its lane meanwhile costs nobody, since its intent is open anyway.
WORK_S = 600.0
_KEEP_UUID_SINCE = 5


class Attaching:
    """Attach, Detach and Keep."""

    def __init__(
        self,
        parts: Parts,
        journal: Journal,
        handover: Handover,
        owners: Owners,
        following: Following,
        permits: Permits,
    ) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._lanes = parts.lanes
        self._clock = parts.clock
        self._journal = journal
        self._handover = handover
        self._comparing = Comparing(parts)
        self._owners = owners
        self._following = following
        self._permits = permits
        self._at = parts.at
        self._log = parts.log

    def attach(self, caller: VmId, request: Attach, deadline: Deadline, reply: Reply) -> Attachment:
        """Afterwards the caller has the disk, and every older Detach and Mark is refused.

        Raises VolumeInUse naming the holder if another VM keeps it, NotPermitted, and what stands against the volume itself, or
        against such an old agent. A volume that is being made is waited for, and not attached for who has left by then.
        """
        if self._lanes.busy(request.volume):
            record = self._existing(caller, request.volume)
            if record.state is State.PREPARING:
                self._lanes.run(record.id, ("made",), lambda: None, deadline, f"creating volume {record.name}")

        def step() -> Attachment | Held:
            return self._lanes.run(
                request.volume,
                # Who reads less than another agent of the machine does not get its answer.
                ("attach", caller, reply.version),
                lambda: self._attach(caller, request.volume, reply),
                deadline,
                f"attaching volume {request.volume}",
            )

        return self._handover.until_free(request.volume, step, deadline)

    def detach(self, caller: VmId, request: Detach, deadline: Deadline, reply: Reply) -> Done:
        """Afterwards the caller has not the disk. Raises StaleRequest if it was attached anew since ``generation``.

        StillMounted, SnapshotPresent: the disk stays, and so does the generation. It needs no right, and no vmgroup either:
        what was taken from a machine's group must not keep a disk on it.
        """
        if self._had(caller, request.volume) is None:
            # As in the lane, but without a wait for another vmgroup's work: that would tell that there is some (I7).
            return Done()
        return self._lanes.run(
            request.volume,
            ("detach", caller, request.generation),
            lambda: self._detach(caller, request, reply),
            deadline,
            f"detaching volume {request.volume}",
        )

    def keep(self, caller: VmId, request: Keep, _: Deadline, __: Reply) -> Done:
        """Whoever waits for the disk that the caller has hears at once that it is in use. Changes nothing."""
        self._handover.kept(caller, request.volume)
        return Done()

    # --- attach --------------------------------------------------------------------------------------------------

    def _attach(self, caller: VmId, volume: VolumeId, reply: Reply) -> Attachment | Held:
        deadline = Deadline.after(self._clock, WORK_S)
        record = self._settled(caller, volume, deadline)
        home = self._permits.check_own(caller, Verb.ATTACH, record)
        check_ready(record)
        _check_reads(record, reply.version)
        self._comparing.check(record)
        self._at(Point.ATTACH_LOCKED)
        record, owner = self._owners.freed(record, caller, deadline)
        self._at(Point.ATTACH_CHECKED)
        match owner:
            case Here():
                attached = self._told(caller, self._attach_again(caller, record))
            case Free():
                attached = self._attach_free(caller, record, home, deadline, reply)
            case HeldBy(vm=vm) | LeftBehind(vm=vm):
                return Held(record, vm)
            case Foreign(vms=vms):
                raise foreign(record, vms, self._handover)
            case _:
                assert_never(owner)
        self._at(Point.ATTACH_REPLYING)
        return attached

    def _attach_again(self, caller: VmId, record: VolumeRecord) -> VolumeRecord:
        """The disk is there; only the generation is raised, so that a Detach on its way is refused."""
        raised = replace(record, generation=record.generation + 1, last_vm=caller)
        self._store.update(raised, expect=record.generation)
        return raised

    def _attach_free(
        self, caller: VmId, record: VolumeRecord, home: DatastoreName | None, deadline: Deadline, reply: Reply
    ) -> Attachment:
        raised = replace(record, generation=record.generation + 1, last_vm=caller)
        options = record.options
        change = AttachDisk(
            caller, disk_ref(record), options.attach_as, options.iops_limit, options.shares, pending_policies.wish(record)
        )
        intent = self._journal.begin(change, raised, caller, before=record, home=home)
        self._at(Point.ATTACH_BEGUN)
        answered = Answered(reply, partial(self._told, caller))
        try:
            self._journal.carry_out(intent, raised, deadline, answered)
        finally:
            self._handover.changed(record.id)
        self._log.info("attached", volume=record.name, id=str(record.id), vm=str(caller), generation=raised.generation)
        return answered.told or self._told(caller, raised)

    def _told(self, caller: VmId, record: VolumeRecord) -> Attachment:
        """Return where the disk is now, read back: an answer names what the hypervisor lists, not what was asked for."""
        for device in self._hypervisor.devices([caller]).of(caller) or ():
            if device.uuid == record.disk_uuid:
                return attachment(record, device)
        raise TruthUnknown(f"volume {record.name} was attached and is not in the device list of {self._handover.name(caller)}")

    # --- detach --------------------------------------------------------------------------------------------------

    def _detach(self, caller: VmId, request: Detach, reply: Reply) -> Done:
        deadline = Deadline.after(self._clock, WORK_S)
        if self._had(caller, request.volume) is not None:
            self._journal.clear(request.volume, deadline)
        record = self._had(caller, request.volume)
        self._at(Point.DETACH_LOCKED)
        if record is None:
            # A volume that is gone is on no VM: its disk was deleted when no list had it. Another vmgroup's is as none.
            return Done()
        device = self._own_device(caller, record)
        if device is not None:
            check_generation(record, request.generation)
            self._detach_device(caller, record, device, deadline, reply)
        elif record.last_vm == caller:
            self._store.update(replace(record, last_vm=None), expect=record.generation)
        self._handover.changed(record.id)
        self._at(Point.DETACH_REPLYING)
        return Done()

    def _own_device(self, caller: VmId, record: VolumeRecord) -> AttachedDisk | None:
        found = [device for device in self._devices(caller) if device.uuid == record.disk_uuid]
        # With a copy of it beside: the one that lies where the record says.
        return next((device for device in found if device.path == disk_path(record)), found[0] if found else None)

    def _detach_device(
        self, caller: VmId, record: VolumeRecord, device: AttachedDisk, deadline: Deadline, reply: Reply
    ) -> None:
        if device.snapshot is not None:
            raise SnapshotPresent(
                f"snapshot {device.snapshot!r} of {self._handover.name(caller)} contains volume {record.name}",
                snapshot=device.snapshot,
            )
        record = self._following.followed(record, device)
        self._comparing.keep_ahead(record)
        raised = replace(record, generation=record.generation + 1)
        intent = self._journal.begin(DetachDisk(caller, disk_ref(record)), raised, caller, before=record)
        self._at(Point.DETACH_BEGUN)
        self._journal.carry_out(intent, raised, deadline, Answered(reply, lambda _: Done()))
        self._log.info("detached", volume=record.name, id=str(record.id), vm=str(caller), generation=raised.generation)

    # --- shared --------------------------------------------------------------------------------------------------

    def _settled(self, caller: VmId, volume: VolumeId, deadline: Deadline) -> VolumeRecord:
        """Return the caller's volume with no work open on it; another vmgroup's does not exist for the caller (I7)."""
        self._existing(caller, volume)
        self._journal.clear(volume, deadline)
        return self._existing(caller, volume)

    def _existing(self, caller: VmId, volume: VolumeId) -> VolumeRecord:
        # First the group: without one it is said of every id that there is none.
        own, record = self._store.vmgroup(caller).id, self._store.volume(volume)
        if record is None or record.vmgroup != own:
            raise absent(volume)
        return record

    def _had(self, caller: VmId, volume: VolumeId) -> VolumeRecord | None:
        """Return a volume of the caller's group, or one whose disk is on the caller: who left a group gives its disks back.

        For any other id the caller's list is read, also if there is no such volume: the time must not tell (I7).
        """
        own, record = self._permits.group_id(caller), self._store.volume(volume)
        if record is not None and record.vmgroup == own:
            return record
        disks = {device.uuid for device in self._devices(caller)}
        return record if record is not None and record.disk_uuid in disks else None

    def _devices(self, caller: VmId) -> tuple[AttachedDisk, ...]:
        devices = self._hypervisor.devices([caller]).of(caller)
        if devices is None:
            raise TruthUnknown(f"the device list of {self._handover.name(caller)} could not be read")
        return devices


def _check_reads(record: VolumeRecord, version: int) -> None:
    """Raise Conflict for an adopted disk and an agent that is not told that its file system keeps its UUID."""
    if record.adopted and version < _KEEP_UUID_SINCE:
        raise Conflict(
            f"the disk of volume {record.name} was adopted, and the agent of this Docker host would write another UUID into it",
            remedy="upgrade the agent of this Docker host",
        )


def foreign(record: VolumeRecord, vms: tuple[VmId, ...], handover: Handover) -> VolumeInUse:
    """Return the error for a disk that was attached outside of what we do: reported, never changed (T13)."""
    names = ", ".join(handover.name(vm) for vm in vms)
    return VolumeInUse(
        f"the disk of volume {record.name} is attached to {names}, which this service did not do",
        remedy="an administrator must look; nothing was changed",
        holder=names,
    )
