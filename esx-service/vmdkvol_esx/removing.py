"""Volumes go in two steps: into the trash, which is only a state, and out of it, which deletes the disk."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, assert_never

from vmdkvol.clock import Deadline
from vmdkvol.errors import NoSpace, StillWorking, VolumeError
from vmdkvol.messages import Done, RemoveVolume
from vmdkvol.points import Point
from vmdkvol.progress import words
from vmdkvol.volume import Doing, State, VmId, VolumeId, Work
from vmdkvol_esx.attaching import foreign
from vmdkvol_esx.comparing import Comparing
from vmdkvol_esx.handover import Handover, Held
from vmdkvol_esx.journal import Journal
from vmdkvol_esx.listing import check_ready
from vmdkvol_esx.owners import Owners
from vmdkvol_esx.ownership import Foreign, Free, HeldBy, Here, LeftBehind
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import copy_path, disk_ref
from vmdkvol_esx.permits import Permits
from vmdkvol_esx.ports import DeleteDisk
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.reply import Answered, Reply
from vmdkvol_esx.rights import Verb
from vmdkvol_esx.underway import Underway

# Of the work's own: deleting a large disk goes on beyond what Docker waits for a Remove, 60 s.
WORK_S = 300.0
# What an answer waits for the files to go: the name is free already, and housekeeping follows a deletion that takes longer.
DELETION_S = 10.0


class Removing:
    """Remove, and what housekeeping asks for when the retention of the trash is over."""

    def __init__(
        self,
        parts: Parts,
        journal: Journal,
        handover: Handover,
        owners: Owners,
        underway: Underway,
        permits: Permits,
        *,
        retention_s: float,
    ) -> None:
        self._store = parts.store
        self._lanes = parts.lanes
        self._clock = parts.clock
        self._journal = journal
        self._handover = handover
        self._underway = underway
        self._permits = permits
        self._hypervisor = parts.hypervisor
        self._comparing = Comparing(parts)
        self._owners = owners
        self._at = parts.at
        self._log = parts.log
        self.retention_s = retention_s

    def remove(self, caller: VmId, request: RemoveVolume, deadline: Deadline, reply: Reply) -> Done:
        """Afterwards the name is free, and the volume in the trash or, without retention, gone.

        Again after success is a success, and so is an id that no volume of the caller's has. Raises VolumeInUse while a
        VM has the disk, after it was asked to give it back; NotPermitted; what stands against the volume; nothing is changed.
        StillWorking, at once, for one that is being made: not removed later, when nobody expects it any more.
        """
        own, record = self._store.vmgroup(caller).id, self._store.volume(request.volume)
        if record is None or record.vmgroup != own:
            # Said of another vmgroup's volume as of none: what exists elsewhere is not told (T5), by no wait either (I7).
            return Done()
        if self._lanes.busy(request.volume):
            self._check_made(record)

        def step() -> Done | Held:
            return self._lanes.run(
                request.volume,
                ("remove",),
                lambda: self._remove(caller, request.volume, reply),
                deadline,
                f"removing volume {request.volume}",
            )

        return self._handover.until_free(request.volume, step, deadline)

    def empty(self, volume: VolumeId, deadline: Deadline) -> None:
        """Delete the disk of a trashed volume, if every VM that could have it was read and has it not.

        Raises what the deletion runs into; it is then an open intent that goes forward at the next try.
        """
        work = partial(self._empty, volume, WORK_S)
        self._lanes.run(volume, ("empty",), work, deadline, f"emptying the trash of volume {volume}")

    def _check_made(self, record: VolumeRecord) -> None:
        if record.state is not State.PREPARING:
            return
        work = self._underway.of(record.id) or Work(Doing.CREATE, 0, record.created_at)
        raise StillWorking(
            f"volume {record.name} cannot be removed yet: still {words(work)}",
            remedy="wait until it is ready, then remove it",
            volume=record.name,
            percent=work.percent,
        )

    # --- in the lane ---------------------------------------------------------------------------------------------

    def _remove(self, caller: VmId, volume: VolumeId, reply: Reply) -> Done | Held:
        deadline = Deadline.after(self._clock, WORK_S)
        self._journal.clear(volume, deadline)
        record = self._store.volume(volume)
        if record is None or record.vmgroup != self._store.vmgroup(caller).id:
            return Done()
        self._permits.check_own(caller, Verb.REMOVE, record)
        self._at(Point.REMOVE_LOCKED)
        if record.state is not State.TRASHED:
            check_ready(record)
            found = self.freed(record, deadline, speaking=caller)
            if isinstance(found, Held):
                return found
            record = found
        self.discard(record, Answered(reply, lambda _: Done()))
        self._at(Point.REMOVE_REPLYING)
        return Done()

    def freed(self, record: VolumeRecord, deadline: Deadline, *, speaking: VmId | None = None) -> VolumeRecord | Held:
        """Return the record of a volume that nobody uses, or who has it. Raises what stands against it. Within its lane."""
        self._comparing.check(record)
        record, owner = self._owners.freed(record, None, deadline, speaking=speaking)
        match owner:
            case HeldBy(vm=vm) | LeftBehind(vm=vm):
                return Held(record, vm)
            case Foreign(vms=vms):
                raise foreign(record, vms, self._handover)
            case Free() | Here():
                # A VM that was not read and had no part: the trash is only a state, the deletion waits for it. The VM
                # on record may use it this very moment: with that one unread this was not reached (I1, corrections 38).
                pass
            case _:
                assert_never(owner)
        self._hypervisor.check_unused(disk_ref(record))
        return record

    def discard(self, record: VolumeRecord, answered: Answered[Any] | None = None) -> None:
        """Put a volume that nobody uses into the trash, and without retention out of it. Within its lane."""
        no_room = self._trash(record)
        self._at(Point.REMOVE_TRASHED)
        self._handover.changed(record.id)
        if self.retention_s <= 0:
            self._empty_if_possible(record.id, answered)
        if no_room is not None and self._store.volume(record.id) is not None:
            raise no_room

    def _trash(self, record: VolumeRecord) -> NoSpace | None:
        """Put the volume into the trash, or find it there. What it raises: it is not there, if it was not before.

        The sidecar comes first, also at a repeat: a rebuild must not bring the volume back to life (corrections 33), and a
        datastore that takes no sidecar refuses the removal while nothing has changed. With the old generation: killed
        before the record follows, housekeeping sees that it differs and puts it back.
        """
        wall = self._clock.wall() if record.trashed_at is None else record.trashed_at
        trashed = replace(record, state=State.TRASHED, trashed_at=wall)
        no_room = self._write_copy(trashed)
        if record.state is not State.TRASHED:
            self._store.update(replace(trashed, generation=record.generation + 1), expect=record.generation)
            self._log.info("removed", volume=record.name, id=str(record.id), retention_s=self.retention_s)
        return no_room

    def _write_copy(self, record: VolumeRecord) -> NoSpace | None:
        """Write the sidecar. NoSpace is told where the files are to go at once: a full datastore must not keep them."""
        try:
            self._journal.write_sidecar(record)
        except NoSpace as error:
            if self.retention_s > 0:
                raise
            self._log.warning("sidecar not written", volume=record.name, error=str(error))
            return error
        return None

    def _empty_if_possible(self, volume: VolumeId, answered: Answered[Any] | None) -> None:
        try:
            self._empty(volume, DELETION_S, answered)
        except VolumeError as error:
            # What was asked for is done: the name is free. Housekeeping goes on with the disk.
            self._log.warning("trash not emptied", id=str(volume), error=str(error))

    def _empty(self, volume: VolumeId, seconds: float, answered: Answered[Any] | None = None) -> None:
        deadline = Deadline.after(self._clock, seconds)
        self._journal.clear(volume, deadline)
        record = self._store.volume(volume)
        if record is None or record.state is not State.TRASHED:
            return
        # An old database that was put back may have in the trash what was taken out of it since.
        self._comparing.check(record)
        record, owner = self._owners.freed(record, None, deadline)
        # One machine of somebody else's that is out of reach must not keep every deleted volume of the site for ever
        # (corrections 38): one that somebody attached by hand is held by its lock.
        if owner != Free():
            self._log.warning("disk kept in the trash", volume=record.name, id=str(volume), owner=repr(owner))
            return
        self.destroy(record, deadline, answered)

    def destroy(self, record: VolumeRecord, deadline: Deadline, answered: Answered[Any] | None = None) -> None:
        """Delete the disk of a volume that no machine has, and then its record. Within its lane.

        The disk of an adopted one is not ours to delete: it stays where it lies, with all that is on it.
        """
        if record.adopted:
            return self.let_go(record)
        removing = replace(record, state=State.REMOVING, generation=record.generation + 1)
        intent = self._journal.begin(DeleteDisk(disk_ref(record)), removing, None, before=record)
        self._at(Point.REMOVE_BEGUN)
        self._journal.carry_out(intent, removing, deadline, answered)
        self._log.info("deleted", volume=record.name, id=str(record.id), disk=str(disk_ref(record).path))
        return None

    def let_go(self, record: VolumeRecord) -> None:
        """Forget an adopted volume that no machine has; its disk is not touched. Within its lane.

        The record is raised first: that is refused while a clone reads the disk, and nothing has changed then. Then the
        copy goes: killed before the record does, the volume stands as it stood, and the same again ends it.
        """
        assert record.adopted, "a disk of ours without a record would be an orphan"
        raised = replace(record, generation=record.generation + 1)
        self._store.update(raised, expect=record.generation)
        self._hypervisor.write_sidecar(copy_path(record), None)
        self._at(Point.RELEASE_CLEARED)
        self._store.delete(record.id, expect=raised.generation)
        self._log.warning("released", volume=record.name, id=str(record.id), disk=str(disk_ref(record).path))
