"""A disk is asked back from the machine that has it, or taken from it by an administrator's order. In the volume's lane."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, assert_never

from vmdkvol.clock import Deadline
from vmdkvol.errors import Busy, Unavailable
from vmdkvol.messages import Call, Request
from vmdkvol.orders import Outcome, Plan, Step
from vmdkvol.points import Point
from vmdkvol.volume import State, VmId
from vmdkvol.volume_orders import DetachVolume
from vmdkvol_esx import second_copy, severance
from vmdkvol_esx.attaching import foreign
from vmdkvol_esx.choosing import LIVE_ELSE_TRASHED
from vmdkvol_esx.comparing import Comparing
from vmdkvol_esx.following import Following
from vmdkvol_esx.handover import Handover, Held
from vmdkvol_esx.journal import Journal
from vmdkvol_esx.ordering import Ordering, outcome
from vmdkvol_esx.owners import Owners
from vmdkvol_esx.ownership import Foreign, Free, HeldBy, Here, LeftBehind, Unread
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.ports import DetachDisk
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.severance import Severance


class Severing:
    """Detach by an administrator."""

    def __init__(
        self, parts: Parts, ordering: Ordering, journal: Journal, owners: Owners, handover: Handover, following: Following
    ) -> None:
        self._store = parts.store
        self._comparing = Comparing(parts)
        self._at = parts.at
        self._log = parts.log
        self._ordering = ordering
        self._journal = journal
        self._owners = owners
        self._handover = handover
        self._following = following

    def rows(self) -> Mapping[type[Request[Any]], Callable[[Any, Call], Any]]:
        """Return what each message is answered with."""
        return {DetachVolume: self.detach}

    def detach(self, order: DetachVolume, call: Call) -> Outcome:
        """See ``DetachVolume``. On no machine already is a success."""
        if order.force:
            # A volume in the trash may be on a machine too: somebody attached it there by hand.
            return self._ordering.run(order, call, partial(self._force, order), LIVE_ELSE_TRASHED)
        return self._ordering.run_until_free(order, call, self._handover, self._ask)

    # --- asked back ----------------------------------------------------------------------------------------------

    def _ask(self, order: DetachVolume, asked: list[Plan], record: VolumeRecord, deadline: Deadline) -> Outcome | Held:
        self._check_state(record)
        record, owner = self._owners.found(record) if order.dry_run else self._owners.freed(record, None, deadline)
        match owner:
            case HeldBy(vm=vm) | LeftBehind(vm=vm):
                name = self._handover.name(vm)
                plan = Plan((Step("detach-volume", record.name, f"on {name}", "on no machine, if it is not in use"),))
                if order.dry_run:
                    return outcome(order, plan, record)
                asked.append(plan)
                return Held(record, vm)
            case Foreign(vms=vms):
                raise foreign(record, vms, self._handover)
            case Free() | Here():
                return outcome(order, Plan(), record)
            case _:
                assert_never(owner)

    # --- taken ---------------------------------------------------------------------------------------------------

    def _force(self, order: DetachVolume, record: VolumeRecord, deadline: Deadline) -> Outcome:
        self._check_state(record)
        owner = self._owners.of(record, None)
        if isinstance(owner, Foreign):
            raise foreign(record, owner.vms, self._handover)
        if isinstance(owner, Here | HeldBy | LeftBehind):
            record = self._following.followed(record, owner.device)
        name = self._name(owner, record)
        decided = severance.decide(record, owner, name, order.i_know)
        plan = Plan() if decided is None else severance.plan(record, decided, name)
        if decided is not None and not order.dry_run:
            record = self._sever(record, decided, order, deadline)
        return outcome(order, plan, record)

    def _sever(self, record: VolumeRecord, decided: Severance, order: DetachVolume, deadline: Deadline) -> VolumeRecord:
        """Take the disk, and let the record say so. Raises what the hypervisor has against it: then nothing has changed.

        The copy first: killed in the middle and rebuilt from it, the volume is checked once too often, and never too seldom.
        """
        fenced = severance.fenced(record)
        copied = self._write_copy(replace(fenced, generation=record.generation, last_vm=None))
        self._log.warning("taking a disk", volume=record.name, id=str(record.id), why=decided.why, by=order.by.name)
        if decided.vm is None:
            fenced = replace(fenced, last_vm=None)
            self._store.update(fenced, expect=record.generation)
        else:
            change = DetachDisk(decided.vm, disk_ref(record), only_off=decided.only_off)
            intent = self._journal.begin(change, fenced, None, before=record)
            self._at(Point.SEVER_BEGUN)
            self._journal.carry_out(intent, fenced, deadline)
        self._at(Point.SEVER_RECORDED)
        self._handover.changed(record.id)
        taken = self._store.volume(record.id) or fenced
        if copied:
            # The first one was compared with the generation that the database had.
            self._write_copy(taken)
        return taken

    def _write_copy(self, record: VolumeRecord) -> bool:
        if record.state is State.LOST:
            # Where its disk lay may be another one's by now.
            return False
        return second_copy.written(self._journal, record, self._log)

    # --- shared --------------------------------------------------------------------------------------------------

    def _check_state(self, record: VolumeRecord) -> None:
        if record.state in (State.PREPARING, State.REMOVING):
            raise Busy(f"volume {record.name} is {record.state}", volume=record.name)
        try:
            self._comparing.check(record)
        except Unavailable as error:
            # Taking a disk away harms nothing that an old database does not know of, and a datastore that does not answer is
            # when it is needed. The copy is not written over unread (``Journal.write_sidecar``).
            self._log.warning("sidecar not read", volume=record.name, id=str(record.id), error=str(error))

    def _name(self, owner: Free | Here | HeldBy | LeftBehind | Unread, record: VolumeRecord) -> str:
        vm: VmId | None = owner.vm if isinstance(owner, HeldBy | LeftBehind | Unread) else record.last_vm
        return "" if vm is None else self._handover.name(vm)
