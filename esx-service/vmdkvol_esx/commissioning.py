"""A volume for a vmgroup by an administrator's order: as a machine of it makes one, but for the rights, which are not asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import uuid5

from vmdkvol.clock import Deadline
from vmdkvol.errors import Busy, DatastoreNotFound, InvalidOption, StaleRequest, StillWorking, VolumeLost, quoted
from vmdkvol.messages import Call, CreateVolume, Request
from vmdkvol.names import VM_DATASTORE, DatastoreName, VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.orders import ROOT, Outcome, Plan, Step
from vmdkvol.points import Point
from vmdkvol.sizes import format_size
from vmdkvol.volume import State, VmgroupId, VolumeId
from vmdkvol.volume_orders import CreateVolumeFor
from vmdkvol_esx import rights, second_copy
from vmdkvol_esx.choosing import Choosing
from vmdkvol_esx.cordons import takes_none
from vmdkvol_esx.creating import WORK_S, Creating, check_same, wanted_datastore
from vmdkvol_esx.defaulting import completed
from vmdkvol_esx.drafting import New, draft
from vmdkvol_esx.journal import SETTLE, Journal
from vmdkvol_esx.ledger import Ledger
from vmdkvol_esx.listing import Listing, check_ready, known_names
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.placing import check_in_order
from vmdkvol_esx.ports import Change, Datastore
from vmdkvol_esx.records import Group, VolumeRecord

# Of what was done to one volume within a day, to see whether it was ever made.
_ALL = 1000


class Commissioning:
    """For any thread."""

    def __init__(
        self, parts: Parts, ledger: Ledger, choosing: Choosing, journal: Journal, listing: Listing, creating: Creating
    ) -> None:
        self._store = parts.store
        self._ledger = ledger
        self._hypervisor = parts.hypervisor
        self._lanes = parts.lanes
        self._clock = parts.clock
        self._new_id = parts.new_id
        self._at = parts.at
        self._log = parts.log
        self._choosing = choosing
        self._journal = journal
        self._listing = listing
        self._creating = creating

    def rows(self) -> Mapping[type[Request[Any]], Callable[[Any, Call], Any]]:
        """Return what each message is answered with."""
        return {CreateVolumeFor: self.create}

    def create(self, order: CreateVolumeFor, call: Call) -> Outcome:
        """See ``CreateVolumeFor``. A volume of this name with these options is a success.

        ``expect_id`` is the id that it gets. One that this very order made before is a success whatever its name is by now.
        """
        vmgroup = self._choosing.vmgroup(order.vmgroup)
        asked = CreateVolume(VolumeRef.for_create(order.name), _options(order))
        doing = f"creating volume {order.name}"
        work = partial(self._create, order, vmgroup, asked)
        try:
            # The lane of a machine's own create of this name: the two never meet.
            equal = replace(order, by=ROOT, expect_id=None)
            return self._lanes.run((vmgroup, order.name), equal, work, call.deadline, doing)
        except StillWorking:
            return self._told(order, vmgroup)

    def _told(self, order: CreateVolumeFor, vmgroup: VmgroupId) -> Outcome:
        """Return the work that goes on as a task; StillWorking if it has not begun, since the name is being worked on."""
        record = self._store.find(vmgroup, order.name)
        intent = None if record is None else self._store.open_intent(record.id)
        if record is None or intent is None or record.state is not State.PREPARING:
            raise StillWorking(f"creating volume {order.name} takes longer than this order waits")
        return Outcome(
            self._plan(order, record), done=False, subject=str(record.id), revision=record.generation, task=intent.id
        )

    # --- in the name's lane --------------------------------------------------------------------------------------

    def _create(self, order: CreateVolumeFor, vmgroup: VmgroupId, asked: CreateVolume) -> Outcome:
        deadline = Deadline.after(self._clock, WORK_S)
        volume, before = self._own(order)
        if before is not None:
            return Outcome(Plan(), not order.dry_run, str(before.id), before.generation)
        wanted = wanted_datastore(asked.ref, asked.options)
        existing = self._store.find(vmgroup, order.name)
        if existing is not None and existing.state is State.PREPARING:
            check_same(existing, asked, wanted)
            if not order.dry_run:
                clear = partial(self._journal.clear, existing.id, deadline)
                self._lanes.run(existing.id, SETTLE, clear, deadline, f"creating volume {order.name}")
                existing, (volume, _) = self._store.find(vmgroup, order.name), self._own(order)
        if existing is not None:
            check_same(self._listing.until_grown(existing), asked, wanted)
            return Outcome(Plan(), not order.dry_run, str(existing.id), existing.generation)
        group = self._store.group_by_id(vmgroup)
        if group is None:
            raise VolumeLost(f"vmgroup {order.vmgroup} was removed meanwhile")
        record, change, source = self._planned(order, volume, group, asked, wanted, deadline)
        plan = self._plan(order, record)
        if order.dry_run:
            return Outcome(plan, done=False)
        make = partial(self._make, order, record, change, source, deadline)
        made = self._lanes.run(record.id, ("create",), make, deadline, f"creating volume {order.name}")
        return Outcome(plan, True, str(made.id), made.generation)

    def _own(self, order: CreateVolumeFor) -> tuple[VolumeId, VolumeRecord | None]:
        """Return the id that the order's volume gets, and the volume, if this very order made it and was not answered.

        It may have been renamed or moved since: another one of its first name would not be what was ordered once. StaleRequest
        if it was removed. Each try that was undone has had an id of its own, which nobody takes again.
        """
        if order.expect_id is None:
            return VolumeId(self._new_id()), None
        volume, tries = VolumeId(order.expect_id), 0
        while True:
            record = self._store.volume(volume)
            if record is not None and record.state not in (State.PREPARING, State.TRASHED, State.REMOVING):
                return volume, record
            ended = self._ledger.ended(volume, _ALL)
            if record is not None and record.state is not State.PREPARING or any(each.done for each in ended):
                raise StaleRequest(
                    f"volume {order.name} was made by this order, and removed since",
                    remedy="restore it from the trash, or order another one with a key of its own",
                )
            if not ended or record is not None:
                return volume, None
            tries += 1
            volume = VolumeId(uuid5(order.expect_id, str(tries)))

    def _planned(
        self,
        order: CreateVolumeFor,
        volume: VolumeId,
        group: Group,
        asked: CreateVolume,
        wanted: DatastoreName | None,
        deadline: Deadline,
    ) -> tuple[VolumeRecord, Change, VolumeRecord | None]:
        datastore = self._datastore(group, wanted)
        options = completed(asked.options, group.vmgroup)
        rights.check_policy(group, datastore.name, None, options.policy)
        source = self._source(order, group, options, deadline)
        new = New(volume, self._new_id(), self._clock.wall(), order.by.name)
        record, change = draft(new, group.vmgroup.id, asked.ref, options, datastore, source)
        if not order.over_quota:
            # As the store decides it again in the transaction that reserves it.
            used, size = self._store.usage(group.vmgroup.id).get(datastore.name, 0), record.size_bytes
            right = rights.find(group.rights, datastore.name, None)
            rights.check_limits(group.vmgroup, right, datastore.name, size, size, used, 0)
        return record, change, source

    def _source(self, order: CreateVolumeFor, group: Group, options: CreateOptions, deadline: Deadline) -> VolumeRecord | None:
        if options.clone_from is None:
            return None
        source = self._listing.named(group.vmgroup.id, options.clone_from)
        if not order.dry_run:
            return self._creating.free_source(source, deadline)
        # The machine that has it may give it back: whether it does is known when it is asked.
        check_ready(source)
        if self._store.open_intent(source.id) is not None:
            raise Busy(f"volume {source.name}, the source, is being worked on")
        return source

    def _datastore(self, group: Group, wanted: DatastoreName | None) -> Datastore:
        known = {datastore.name: datastore for datastore in self._hypervisor.datastores()}
        name = wanted or group.vmgroup.default_datastore
        if name is None and len(known) == 1:
            (name,) = known
        if name is None or name == VM_DATASTORE:
            raise InvalidOption(
                f"vmgroup {group.vmgroup.name} has no default datastore that is one for every machine",
                remedy=f"give one as the option datastore: {known_names(sorted(known))}",
            )
        if name not in known:
            raise DatastoreNotFound(
                f"there is no datastore {name!r}", remedy=f"known: {known_names(sorted(known))}", datastore=name
            )
        check_in_order(known[name])
        # As the store decides it again in the transaction that begins it.
        if any(each.datastore == name for each in self._store.cordons()):
            raise takes_none(name)
        return known[name]

    def _plan(self, order: CreateVolumeFor, record: VolumeRecord) -> Plan:
        beyond = ", whatever its limits are" if order.over_quota else ""
        vmgroup = self._choosing.names().get(record.vmgroup, order.vmgroup)
        after = f"{format_size(record.size_bytes)} on {record.datastore}, for vmgroup {vmgroup}{beyond}"
        return Plan((Step("create-volume", record.name, None, after),))

    # --- in the volume's lane ------------------------------------------------------------------------------------

    def _make(
        self, order: CreateVolumeFor, record: VolumeRecord, change: Change, source: VolumeRecord | None, deadline: Deadline
    ) -> VolumeRecord:
        read = None if source is None else source.id
        intent = self._journal.begin(change, record, None, before=None, source=read, over_quota=order.over_quota)
        if source is not None:
            self._creating.check_still_free(source, intent, record)
        self._at(Point.COMMISSION_BEGUN)
        self._journal.carry_out(intent, record, deadline)
        made = self._store.volume(record.id)
        if made is None:
            raise VolumeLost(f"volume {record.name} was removed while it was made")
        self._log.info("created", volume=made.name, id=str(made.id), datastore=made.datastore, size_bytes=made.size_bytes)
        second_copy.written(self._journal, made, self._log)
        return made


def _options(order: CreateVolumeFor) -> CreateOptions:
    given: dict[str, str] = {}
    for key, value in order.options:
        if key in given:
            raise InvalidOption(f"option {quoted(key)} is given twice", remedy="give it once")
        given[key] = value
    return CreateOptions.parse(given)
