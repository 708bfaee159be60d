"""Volumes into the trash, and for good out of it, by an administrator's order. Each in the volume's lane."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from vmdkvol.admin_errors import ProofNeeded
from vmdkvol.clock import Deadline
from vmdkvol.errors import Conflict, NotPermitted, VolumeInUse, WrongDisk, one_line, quoted
from vmdkvol.messages import Call, Request
from vmdkvol.orders import Outcome, Plan, Role, Step
from vmdkvol.orphan_messages import MendOrphan
from vmdkvol.points import Point
from vmdkvol.sizes import format_size
from vmdkvol.volume import State
from vmdkvol.volume_orders import DestroyVolume, TrashVolume
from vmdkvol_esx.attaching import foreign
from vmdkvol_esx.choosing import LIVE_ELSE_TRASHED, TO_DESTROY
from vmdkvol_esx.comparing import Comparing
from vmdkvol_esx.handover import Handover, Held
from vmdkvol_esx.listing import check_ready
from vmdkvol_esx.ordering import Ordering, outcome
from vmdkvol_esx.owners import Owners
from vmdkvol_esx.ownership import Foreign, Free, HeldBy, LeftBehind
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import copy_path, disk_path, disk_ref
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.removing import Removing


class Discarding:
    """For any thread."""

    def __init__(self, parts: Parts, ordering: Ordering, removing: Removing, owners: Owners, handover: Handover) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._comparing = Comparing(parts)
        self._at = parts.at
        self._log = parts.log
        self._ordering = ordering
        self._removing = removing
        self._owners = owners
        self._handover = handover

    def rows(self) -> Mapping[type[Request[Any]], Callable[[Any, Call], Any]]:
        """Return what each message is answered with."""
        return {TrashVolume: self.trash, DestroyVolume: self.destroy}

    # --- into the trash ------------------------------------------------------------------------------------------

    def trash(self, order: TrashVolume, call: Call) -> Outcome:
        """See ``TrashVolume``. One that is in the trash already is a success."""
        return self._ordering.run_until_free(order, call, self._handover, self._trash)

    def _trash(self, order: TrashVolume, plans: list[Plan], record: VolumeRecord, deadline: Deadline) -> Outcome | Held:
        if record.state is State.TRASHED:
            return outcome(order, Plan(), record)
        check_ready(record)
        self._comparing.check(record)
        record, plan = self._planned(record)
        if plan.loses is not None and not order.by.role.covers(Role.ADMIN):
            raise NotPermitted(
                f"removing volume {record.name} deletes all that is on it, since nothing is kept in the trash here:"
                f" that needs the role {Role.ADMIN}, and {one_line(order.by.name, 60)} has {order.by.role}"
            )
        plans.append(plan)
        if order.dry_run:
            return outcome(order, plan, record)
        found = self._removing.freed(record, deadline)
        if isinstance(found, Held):
            return found
        self._log.warning("trashed by an order", volume=record.name, id=str(record.id), by=order.by.name)
        self._removing.discard(found)
        left = self._store.volume(record.id)
        return Outcome(plan, done=True, subject=str(record.id), revision=None if left is None else left.generation)

    def _planned(self, record: VolumeRecord) -> tuple[VolumeRecord, Plan]:
        record, owner = self._owners.found(record)
        if isinstance(owner, Foreign):
            raise foreign(record, owner.vms, self._handover)
        steps: tuple[Step, ...] = ()
        if isinstance(owner, HeldBy | LeftBehind):
            name = self._handover.name(owner.vm)
            steps = (Step("detach-volume", record.name, f"on {name}", "on no machine, if it is not in use"),)
        else:
            self._hypervisor.check_unused(disk_ref(record))
        kept = self._removing.retention_s > 0
        if record.adopted and not kept:
            gone = f"no volume: its disk stays at {disk_path(record)}"
            return record, Plan((*steps, Step("trash-volume", record.name, str(record.state), gone)))
        after = "in the trash" if kept else "gone: nothing is kept in the trash here"
        loses = None if kept else f"all that is on volume {record.name} ({format_size(record.size_bytes)})"
        return record, Plan((*steps, Step("trash-volume", record.name, str(record.state), after)), loses)

    # --- for good ------------------------------------------------------------------------------------------------

    def destroy(self, order: DestroyVolume, call: Call) -> Outcome:
        """See ``DestroyVolume``."""
        return self._ordering.run(order, call, partial(self._destroy, order), TO_DESTROY)

    def forget(self, order: MendOrphan, call: Call) -> Outcome:
        """Afterwards there is no record of this volume. Conflict unless it is lost, or the service has not its datastore."""
        record = self._ordering.choosing.volume(order.where, None, LIVE_ELSE_TRASHED)
        gone = self._is_gone(record)
        if record.state is not State.LOST and not gone:
            raise Conflict(f"volume {record.name} is {record.state}, and not lost", remedy="see `vmdkvol orphans ls`")
        word = record.name if order.i_know in (order.where, record.name) else ""
        same = DestroyVolume(
            volume=str(record.id), i_know=word, by=order.by, dry_run=order.dry_run, expect=order.expect or record.generation
        )
        return self._ordering.run(same, call, partial(self._let_go, same), TO_DESTROY) if gone else self.destroy(same, call)

    def _is_gone(self, record: VolumeRecord) -> bool:
        return all(each.name != record.datastore for each in self._hypervisor.datastores())

    def _let_go(self, order: DestroyVolume, record: VolumeRecord, _: Deadline) -> Outcome:
        """Forget what lies where nothing can be read or removed. Should the datastore come back, its disk is an orphan there,
        with its copy beside it.
        """
        if not self._is_gone(record):
            raise Conflict(f"datastore {record.datastore} is there again", remedy="see `vmdkvol orphans ls`")
        record, owner = self._owners.found(record)
        if not isinstance(owner, Free):
            raise VolumeInUse(
                f"a machine has the disk of volume {record.name}",
                remedy=f"name datastore {record.datastore} in the settings again",
            )
        plan = Plan(
            (Step("destroy-volume", record.name, str(record.state), None),),
            loses=f"the record of volume {record.name}; its disk is an orphan should {record.datastore} come back",
        )
        if order.dry_run:
            return outcome(order, plan, record)
        _check_word(order, record)
        self._store.delete(record.id, expect=record.generation)
        self._log.warning("forgotten with its datastore", volume=record.name, id=str(record.id), by=order.by.name)
        return Outcome(plan, done=True, subject=str(record.id))

    def _destroy(self, order: DestroyVolume, record: VolumeRecord, deadline: Deadline) -> Outcome:
        if record.state not in TO_DESTROY.states:
            raise Conflict(
                f"volume {record.name} is {record.state}: only what is in the trash is destroyed", remedy="trash it first"
            )
        self._comparing.check(record)
        plan, lost = destruction(record), record.state is State.LOST
        if lost:
            self._check_lost(record)
        # Without the word nothing is done, and so no disk is taken off a machine either.
        only_look = order.dry_run or order.i_know != record.name
        record = self._on_no_machine(record, deadline, dry_run=only_look)
        if order.dry_run:
            return outcome(order, plan, record)
        _check_word(order, record)
        self._log.warning("destroyed by an order", volume=record.name, id=str(record.id), by=order.by.name)
        if lost:
            self._forget(record)
        else:
            self._removing.destroy(record, deadline)
        return Outcome(plan, done=True, subject=str(record.id))

    def _on_no_machine(self, record: VolumeRecord, deadline: Deadline, *, dry_run: bool) -> VolumeRecord:
        record, owner = self._owners.found(record) if dry_run else self._owners.freed(record, None, deadline)
        if isinstance(owner, Foreign):
            raise foreign(record, owner.vms, self._handover)
        if isinstance(owner, HeldBy) or (isinstance(owner, LeftBehind) and not dry_run):
            name = self._handover.name(owner.vm)
            raise VolumeInUse(f"volume {record.name} is attached to {name}", remedy="detach it there first", holder=name)
        return record

    def _check_lost(self, record: VolumeRecord) -> None:
        try:
            found = self._hypervisor.disk(disk_ref(record))
        except WrongDisk:
            # Another one's place by now.
            found = None
        if found is not None:
            raise Conflict(f"the disk of volume {record.name} is there again", remedy="wait a minute: it comes back by itself")

    def _forget(self, record: VolumeRecord) -> None:
        """The copy first: killed before the record goes, the volume is as lost as it was, and the same order goes on."""
        # It does nothing while a disk lies there, such as another volume's.
        self._hypervisor.write_sidecar(copy_path(record), None)
        self._at(Point.FORGET_CLEARED)
        self._store.delete(record.id, expect=record.generation)
        self._log.warning("forgotten", volume=record.name, id=str(record.id), disk=str(disk_path(record)))


def destruction(record: VolumeRecord) -> Plan:
    """Return the plan by which this volume, which is in the trash, damaged or lost, is destroyed."""
    lost = record.state is State.LOST
    loses = f"the record of volume {record.name}" if lost else f"all that is on volume {record.name}"
    after = None
    if record.adopted and not lost:
        after = f"its disk stays at {disk_path(record)}"
        loses = f"the record of volume {record.name}, whose disk stays at {disk_path(record)}"
    step = Step("destroy-volume", record.name, str(record.state), after)
    return Plan((step,), loses=f"{loses} ({format_size(record.size_bytes)}), for good")


def _check_word(order: DestroyVolume, record: VolumeRecord) -> None:
    if order.i_know != record.name:
        raise ProofNeeded(
            f"volume {record.name} is destroyed for good",
            remedy=f"repeat its name, {quoted(record.name, 110)}, as what you know (--i-know), if that is what you want",
        )
