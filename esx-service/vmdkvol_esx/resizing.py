"""Volumes become larger, never smaller: the disk here, in its volume's lane, and its file system by the agent that has it.

The agent hears of it by a notice, and else by its next look at what is attached to its machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, assert_never

from vmdkvol.clock import Deadline
from vmdkvol.errors import Busy, SnapshotPresent, StaleRequest, TruthUnknown, VolumeError, VolumeNotFound
from vmdkvol.messages import Call, Request
from vmdkvol.notices import Grown
from vmdkvol.orders import Outcome
from vmdkvol.points import Point
from vmdkvol.resize_messages import ResizeVolume
from vmdkvol.volume import Content, VmId, VolumeId
from vmdkvol_esx import growth, rights
from vmdkvol_esx.attaching import foreign
from vmdkvol_esx.growth import Found, Holding
from vmdkvol_esx.handover import Handover, Notify
from vmdkvol_esx.journal import Journal
from vmdkvol_esx.listing import check_ready
from vmdkvol_esx.owners import Owners
from vmdkvol_esx.ownership import Foreign, Free, HeldBy, Here, LeftBehind
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.ports import AttachedDisk, GrowDisk
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.underway import Underway

# Of the work's own: a thick disk is written to its end, at the pace of its datastore.
WORK_S = 6 * 3600.0


class Resizing:
    """For any thread. ``notify`` tells the agents of a machine that a disk of theirs has grown."""

    def __init__(
        self, parts: Parts, journal: Journal, handover: Handover, owners: Owners, underway: Underway, notify: Notify
    ) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._lanes = parts.lanes
        self._clock = parts.clock
        self._journal = journal
        self._handover = handover
        self._owners = owners
        self._underway = underway
        self._notify = notify
        self._doubts = parts.doubts
        self._at = parts.at
        self._log = parts.log

    def rows(self) -> Mapping[type[Request[Any]], Callable[[Any, Call], Any]]:
        """Return what an administrator may ask of it."""
        return {ResizeVolume: self.resize}

    def resize(self, order: ResizeVolume, call: Call) -> Outcome:
        """See ``ResizeVolume``. StillWorking at the call's deadline: the work goes on, and the same order joins it."""
        growth.check_size(order.size_bytes)
        record = self._existing(order.volume)
        with self._underway.watched((record.vmgroup, record.id), call.progress):
            return self._lanes.run(
                order.volume,
                ("resize", order.size_bytes, order.dry_run, order.expect),
                partial(self._resize, order),
                call.deadline,
                f"resizing volume {record.name}",
            )

    # --- in the lane ---------------------------------------------------------------------------------------------

    def _resize(self, order: ResizeVolume) -> Outcome:
        deadline = Deadline.after(self._clock, WORK_S)
        self._journal.clear(order.volume, deadline)
        found = self._look(self._existing(order.volume))
        record = found.record
        self._at(Point.RESIZE_LOCKED)
        if order.expect not in (None, record.generation):
            raise StaleRequest(
                f"volume {record.name} has revision {record.generation}, the order is for {order.expect}",
                remedy="look at it again, then repeat the order",
                revision=record.generation,
            )
        growth.check(found, order.size_bytes, self._hypervisor.datastores())
        self._check_quota(record, order.size_bytes)
        plan = growth.plan(found, order.size_bytes)
        if not order.dry_run:
            record = self._grow(found, order.size_bytes, deadline)
            self._at(Point.RESIZE_REPLYING)
        return Outcome(plan, done=not order.dry_run, subject=str(record.id), revision=record.generation)

    def _look(self, record: VolumeRecord) -> Found:
        """Return the volume as it stands; raise what is against a growth of any size."""
        check_ready(record)
        self._doubts.check(record)
        record, owner = self._owners.found(record)
        match owner:
            case Free():
                holding = None
            case HeldBy(vm=vm, device=device):
                holding = self._holding(record, vm, device, running=True)
                if record.content is not Content.FORMATTED or record.filesystem_uuid is None:
                    # What the agent says of it meanwhile would be refused, and Docker told that its mount has failed.
                    raise Busy(f"volume {record.name} is being mounted for the first time on {holding.name}")
            case LeftBehind(vm=vm, device=device):
                holding = self._holding(record, vm, device, running=False)
            case Here():
                raise AssertionError("no machine asks, so that none is where it asks from")
            case Foreign(vms=vms):
                raise foreign(record, vms, self._handover)
            case _:
                assert_never(owner)
        disk = self._hypervisor.disk(disk_ref(record))
        if disk is None:
            raise TruthUnknown(f"the disk of volume {record.name}, {disk_ref(record).path}, was not found")
        return Found(record, disk.size_bytes, holding)

    def _check_quota(self, record: VolumeRecord, size_bytes: int) -> None:
        """Raise QuotaExceeded as ``Store.begin`` will, for whoever asks what would be done."""
        group, added = self._store.group_by_id(record.vmgroup), size_bytes - record.size_bytes
        if group is not None and added > 0:
            used = self._store.usage(record.vmgroup).get(record.datastore, 0)
            right = rights.find(group.rights, record.datastore, None)
            rights.check_limits(group.vmgroup, right, record.datastore, size_bytes, added, used, 0)

    def _holding(self, record: VolumeRecord, vm: VmId, device: AttachedDisk, *, running: bool) -> Holding:
        name = self._handover.name(vm)
        if device.snapshot is not None:
            raise SnapshotPresent(
                f"snapshot {device.snapshot!r} of {name} contains volume {record.name}, so that its disk cannot grow",
                remedy="delete that snapshot",
                snapshot=device.snapshot,
            )
        return Holding(vm, name, running)

    def _grow(self, found: Found, size_bytes: int, deadline: Deadline) -> VolumeRecord:
        """Let the disk have this size, its copy say so, and its machine know.

        Also for the size that it has: what a crash left undone is done then, such as a machine's device that did not follow.
        """
        record, vm = found.record, None if found.holding is None else found.holding.vm
        if vm is not None or not found.holds(size_bytes):
            record = self._carry_out(record, size_bytes, vm, deadline)
        try:
            self._journal.write_sidecar(record)
        except VolumeError as error:
            # The record is the first copy, and housekeeping writes the second one again (faults 5).
            self._log.warning("sidecar not written", volume=record.name, error=str(error))
        if vm is not None:
            self._notify(vm, Grown(record.id, size_bytes))
        return record

    def _carry_out(self, before: VolumeRecord, size_bytes: int, vm: VmId | None, deadline: Deadline) -> VolumeRecord:
        # With its new size from now on: that is what a quota has to hold.
        raised = replace(before, size_bytes=size_bytes, generation=before.generation + 1)
        intent = self._journal.begin(GrowDisk(disk_ref(before), size_bytes, vm), raised, None, before=before)
        # Until it has ended the volume is told as it was.
        self._underway.started(intent, raised)
        self._at(Point.RESIZE_BEGUN)
        self._journal.carry_out(intent, raised, deadline)
        self._log.info("resized", volume=before.name, id=str(before.id), was=before.size_bytes, size_bytes=size_bytes)
        return self._existing(before.id)

    def _existing(self, volume: VolumeId) -> VolumeRecord:
        record = self._store.volume(volume)
        if record is None:
            raise VolumeNotFound(f"there is no volume with the id {volume}", volume=str(volume))
        return record
