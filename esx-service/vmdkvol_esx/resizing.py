"""Volumes become larger, never smaller: the disk here, in its volume's lane, and its file system by the agent that has it.

The agent hears of it by a notice, and else by its next look at what is attached to its machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, assert_never

from vmdkvol.clock import Deadline
from vmdkvol.errors import Busy, SnapshotPresent, TruthUnknown
from vmdkvol.messages import Call, Request
from vmdkvol.names import DatastoreName
from vmdkvol.notices import Grown
from vmdkvol.orders import Outcome
from vmdkvol.points import Point
from vmdkvol.resize_messages import ResizeVolume
from vmdkvol.volume import Content, VmId
from vmdkvol_esx import growth, rights, second_copy
from vmdkvol_esx.attaching import foreign
from vmdkvol_esx.comparing import Comparing
from vmdkvol_esx.growth import Found, Holding
from vmdkvol_esx.handover import Handover
from vmdkvol_esx.journal import Journal
from vmdkvol_esx.listing import check_ready
from vmdkvol_esx.ordering import Ordering, outcome
from vmdkvol_esx.owners import Owners
from vmdkvol_esx.ownership import Foreign, Free, HeldBy, Here, LeftBehind
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.ports import AttachedDisk, GrowDisk
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.underway import Underway


class Resizing:
    """For any thread."""

    def __init__(
        self, parts: Parts, ordering: Ordering, journal: Journal, owners: Owners, handover: Handover, underway: Underway
    ) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._ordering = ordering
        self._journal = journal
        self._owners = owners
        self._handover = handover
        self._underway = underway
        self._comparing = Comparing(parts)
        self._at = parts.at
        self._log = parts.log

    def rows(self) -> Mapping[type[Request[Any]], Callable[[Any, Call], Any]]:
        """Return what each message is answered by."""
        return {ResizeVolume: self.resize}

    def resize(self, order: ResizeVolume, call: Call) -> Outcome:
        """See ``ResizeVolume``."""
        growth.check_size(order.size_bytes)
        return self._ordering.run_long(order, call, partial(self._resize, order), partial(growth.step_of, order.size_bytes))

    # --- in the lane ---------------------------------------------------------------------------------------------

    def _resize(self, order: ResizeVolume, record: VolumeRecord, deadline: Deadline) -> Outcome:
        found = self._look(record)
        self._at(Point.RESIZE_LOCKED)
        growth.check(found, order.size_bytes, self._hypervisor.datastores())
        home = self._check_quota(found, order.size_bytes)
        plan = growth.plan(found, order.size_bytes)
        if order.dry_run:
            return outcome(order, plan, found.record)
        grown = self._grow(found, order.size_bytes, home, deadline)
        self._at(Point.RESIZE_REPLYING)
        return outcome(order, plan, grown)

    def _look(self, record: VolumeRecord) -> Found:
        """Return the volume as it stands; raise what is against a growth of any size."""
        check_ready(record)
        self._comparing.check(record)
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

    def _check_quota(self, found: Found, size_bytes: int) -> DatastoreName | None:
        """Raise QuotaExceeded as ``Store.begin`` will; return the machine's own datastore if that decides about the limit.

        It is that of who has the volume, or had it last. If nobody is known to, the volume counts as beside its machine.
        """
        record = found.record
        group, added = self._store.group_by_id(record.vmgroup), size_bytes - record.size_bytes
        if group is None or added <= 0:
            return None
        home = None
        if rights.needs_home(group, record.datastore):
            vm = record.last_vm if found.holding is None else found.holding.vm
            home = record.datastore if vm is None else self._hypervisor.vm_datastore(vm)
        used = self._store.usage(record.vmgroup).get(record.datastore, 0)
        right = rights.find(group.rights, record.datastore, home)
        rights.check_limits(group.vmgroup, right, record.datastore, size_bytes, added, used, 0)
        return home

    def _holding(self, record: VolumeRecord, vm: VmId, device: AttachedDisk, *, running: bool) -> Holding:
        name = self._handover.name(vm)
        if device.snapshot is not None:
            raise SnapshotPresent(
                f"snapshot {device.snapshot!r} of {name} contains volume {record.name}, so that its disk cannot grow",
                remedy="delete that snapshot",
                snapshot=device.snapshot,
            )
        return Holding(vm, name, running)

    def _grow(self, found: Found, size_bytes: int, home: DatastoreName | None, deadline: Deadline) -> VolumeRecord:
        """Let the disk have this size, its copy say so, and its machine know.

        Also for the size that it has: what a crash left undone is done then, such as a machine's device that did not follow.
        """
        record, vm = found.record, None if found.holding is None else found.holding.vm
        if vm is not None or not found.holds(size_bytes):
            record = self._carry_out(record, size_bytes, vm, home, deadline)
        second_copy.written(self._journal, record, self._log)
        if vm is not None:
            self._handover.tell(vm, Grown(record.id, size_bytes))
        return record

    def _carry_out(
        self, before: VolumeRecord, size_bytes: int, vm: VmId | None, home: DatastoreName | None, deadline: Deadline
    ) -> VolumeRecord:
        # With its new size from now on: that is what a quota has to hold.
        raised = replace(before, size_bytes=size_bytes, generation=before.generation + 1)
        intent = self._journal.begin(GrowDisk(disk_ref(before), size_bytes, vm), raised, None, before=before, home=home)
        # Until it has ended the volume is told as it was.
        self._underway.started(intent, raised)
        self._at(Point.RESIZE_BEGUN)
        self._journal.carry_out(intent, raised, deadline)
        self._log.info("resized", volume=before.name, id=str(before.id), was=before.size_bytes, size_bytes=size_bytes)
        return self._store.volume(before.id) or raised
