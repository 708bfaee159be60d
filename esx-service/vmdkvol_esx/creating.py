"""New volumes: empty ones and clones. A name is claimed, a disk is made, a record becomes ready: all of it or nothing."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import assert_never

from vmdkvol.clock import Deadline
from vmdkvol.errors import (
    InvalidOption,
    NameConflict,
    StillWorking,
    VolumeInUse,
    VolumeLost,
)
from vmdkvol.messages import CreateVolume
from vmdkvol.names import DatastoreName, VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.points import Point
from vmdkvol.volume import State, VmId, VolumeId, VolumeInfo
from vmdkvol_esx import rights, second_copy
from vmdkvol_esx.attaching import foreign
from vmdkvol_esx.comparing import Comparing
from vmdkvol_esx.defaulting import completed
from vmdkvol_esx.drafting import New, draft
from vmdkvol_esx.handover import Handover, Held
from vmdkvol_esx.journal import SETTLE, Journal
from vmdkvol_esx.listing import Listing, check_ready
from vmdkvol_esx.owners import Owners
from vmdkvol_esx.ownership import Foreign, Free, HeldBy, Here, LeftBehind
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.permits import Permits
from vmdkvol_esx.placing import Placing
from vmdkvol_esx.ports import Change
from vmdkvol_esx.records import Group, Intent, Vmgroup, VolumeRecord
from vmdkvol_esx.reply import Answered, Reply
from vmdkvol_esx.rights import Verb

# Of the work's own: eagerzeroedthick writes the whole disk, a clone copies it, and both go on when Docker has left.
WORK_S = 900.0


class Creating:
    """Create, with and without ``clone-from``."""

    def __init__(
        self, parts: Parts, journal: Journal, handover: Handover, owners: Owners, listing: Listing, permits: Permits
    ) -> None:
        self._store = parts.store
        self._lanes = parts.lanes
        self._clock = parts.clock
        self._journal = journal
        self._handover = handover
        self._listing = listing
        self._permits = permits
        self._placing = Placing(parts, permits)
        self._owners = owners
        self._new_id = parts.new_id
        self._at = parts.at
        self._comparing, self._log = Comparing(parts), parts.log

    def create(self, caller: VmId, request: CreateVolume, deadline: Deadline, reply: Reply) -> VolumeInfo:
        """Afterwards one volume of this name exists, ready, with these options; it may have existed before.

        NameConflict says what differs. Whatever else is raised: nothing is left, or the work goes on and a repeat joins.
        """
        group = self._store.group_of(caller)
        self._at(Point.CREATE_PARSED)
        # By name, because the volume has no id yet; within it the volume's own lane. Nobody takes the two the other way.
        lane = (group.vmgroup.id, request.ref.text)
        if self._lanes.busy(lane):
            self._preparing(group.vmgroup, request)
        try:
            return self._lanes.run(
                lane,
                ("create", request.options),
                lambda: self._create(caller, request, reply),
                deadline,
                f"creating volume {request.ref}",
            )
        except StillWorking:
            # It may have been in line before there was anything to compare it with.
            self._preparing(group.vmgroup, request)
            raise

    def _preparing(self, group: Vmgroup, request: CreateVolume) -> VolumeRecord | None:
        """Return the volume of this name if it is being made; NameConflict, at once, if it is not what is asked for."""
        record = self._store.find(group.id, request.ref.text)
        if record is None or record.state is not State.PREPARING:
            return None
        check_same(record, request, wanted_datastore(request.ref, request.options))
        return record

    # --- in the name's lane --------------------------------------------------------------------------------------

    def _create(self, caller: VmId, request: CreateVolume, reply: Reply) -> VolumeInfo:
        deadline = Deadline.after(self._clock, WORK_S)
        self._at(Point.CREATE_LOCKED)
        # As it is now: whoever waited in line may have lost a right meanwhile.
        group = self._store.group_of(caller)
        preparing = self._preparing(group.vmgroup, request)
        if preparing is not None:
            # A crash or a lost answer left it open, or it outlasted its work here: afterwards it is ready or away.
            clear = partial(self._journal.clear, preparing.id, deadline)
            self._lanes.run(preparing.id, SETTLE, clear, deadline, f"creating volume {request.ref}")
        existing = self._store.find(group.vmgroup.id, request.ref.text)
        wanted = wanted_datastore(request.ref, request.options)
        if existing is not None:
            self._permits.check(caller, group, Verb.INSPECT, existing.datastore)
            check_same(self._listing.until_grown(existing), request, wanted)
            return self._listing.describe(existing)
        datastore, home = self._placing.place(caller, group, wanted)
        options = completed(request.options, group.vmgroup)
        rights.check_policy(group, datastore.name, home, options.policy)
        source = self._free_source(caller, group, options, deadline)
        new = New(VolumeId(self._new_id()), self._new_id(), self._clock.wall(), self._handover.name(caller))
        record, change = draft(new, group.vmgroup.id, request.ref, options, datastore, source)
        made = self._lanes.run(
            record.id,
            ("create",),
            lambda: self._make(caller, record, change, source, home, deadline, reply),
            deadline,
            f"creating volume {request.ref}",
        )
        self._at(Point.CREATE_REPLYING)
        return made

    # --- in the volume's lane ------------------------------------------------------------------------------------

    def _make(
        self,
        caller: VmId,
        record: VolumeRecord,
        change: Change,
        source: VolumeRecord | None,
        home: DatastoreName | None,
        deadline: Deadline,
        reply: Reply,
    ) -> VolumeInfo:
        read = None if source is None else source.id
        intent = self._journal.begin(change, record, caller, before=None, source=read, home=home)
        if source is not None:
            self.check_still_free(source, intent, record)
        self._at(Point.CREATE_BEGUN)
        answered = Answered(reply, lambda done: replace(self._listing.describe(done), work=None))  # it ends with this
        self._journal.carry_out(intent, record, deadline, answered)
        made = self._store.volume(record.id)
        if made is None:
            raise VolumeLost(f"volume {record.name} was removed while it was made")
        self._log.info("created", volume=made.name, id=str(made.id), datastore=made.datastore, size_bytes=made.size_bytes)
        second_copy.written(self._journal, made, self._log)
        return answered.told or self._listing.describe(made)

    def _free_source(self, caller: VmId, group: Group, options: CreateOptions, deadline: Deadline) -> VolumeRecord | None:
        if options.clone_from is None:
            return None
        source = self._listing.named(group.vmgroup.id, options.clone_from)
        self._permits.check(caller, group, Verb.CLONE_FROM, source.datastore)
        return self.free_source(source, deadline)

    def free_source(self, source: VolumeRecord, deadline: Deadline) -> VolumeRecord:
        """Return the source of a clone, on no VM: a copy under a running writer is corrupt (corrections 1).

        A source that only lingers is given back first. The intent, the hypervisor's lock on the disk and
        ``Store.begin`` keep it so until the copy ends.
        """

        def look() -> VolumeRecord | Held:
            return self._lanes.run(
                source.id, ("look",), lambda: self._look_at_source(source.id, deadline), deadline, f"cloning {source.name}"
            )

        return self._handover.until_free(source.id, look, deadline)

    def check_still_free(self, source: VolumeRecord, intent: Intent, clone: VolumeRecord) -> None:
        """From here on the intent holds the source; between the look at it and this an attach may have begun and ended."""
        now = self._store.volume(source.id)
        if now is None or now.generation != source.generation:
            error = VolumeInUse(f"volume {source.name} was attached meanwhile", remedy="try again")
            self._journal.abandon(intent, clone, error)
            raise error

    def _look_at_source(self, volume: VolumeId, deadline: Deadline) -> VolumeRecord | Held:
        self._journal.clear(volume, deadline)
        record = self._store.volume(volume)
        if record is None:
            raise VolumeLost("the source of the clone was removed")
        check_ready(record)
        self._comparing.check(record)
        record, owner = self._owners.freed(record, None, deadline)
        match owner:
            case HeldBy(vm=vm) | LeftBehind(vm=vm):
                return Held(record, vm)
            case Foreign(vms=vms):
                raise foreign(record, vms, self._handover)
            case Free() | Here():
                return record
            case _:
                assert_never(owner)


def wanted_datastore(ref: VolumeRef, options: CreateOptions) -> DatastoreName | None:
    """Return the datastore that the user named, in the name or as an option."""
    if ref.datastore is not None and options.datastore is not None and ref.datastore != options.datastore:
        raise InvalidOption(
            f"the name says datastore {ref.datastore}, the option says {options.datastore}",
            remedy="leave out -o datastore, or the @ and what follows it",
        )
    return ref.datastore or options.datastore


def check_same(existing: VolumeRecord, request: CreateVolume, wanted: DatastoreName | None) -> None:
    """Raise NameConflict unless the volume is what ``request`` asks for; options that were left out are no difference."""
    if existing.state is State.LOST:
        check_ready(existing)
    if wanted is not None and wanted != existing.datastore:
        raise NameConflict(
            f"volume {existing.name} exists on datastore {existing.datastore}",
            remedy=f"for another one on {wanted} use the name {request.ref.base}@{wanted}",
            name=existing.name,
        )
    # Where it lies was compared above, however the first create said it.
    known = replace(existing.options, datastore=request.options.datastore)
    differences = request.options.differences(known, existing.size_bytes)
    if differences:
        raise NameConflict(f"volume {existing.name} exists with other options: {'; '.join(differences)}", name=existing.name)
