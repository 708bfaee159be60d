"""An adopted disk is given back by an administrator's order: the volume is forgotten, the disk is not touched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vmdkvol.adoption_messages import ReleaseVolume
from vmdkvol.clock import Deadline
from vmdkvol.errors import Busy, Conflict
from vmdkvol.messages import Call, Request
from vmdkvol.orders import Outcome, Plan, Step
from vmdkvol.volume import State
from vmdkvol_esx.attaching import foreign
from vmdkvol_esx.comparing import Comparing
from vmdkvol_esx.handover import Handover, Held
from vmdkvol_esx.ordering import Ordering, outcome
from vmdkvol_esx.owners import Owners
from vmdkvol_esx.ownership import Foreign, HeldBy, LeftBehind
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import disk_path
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.removing import Removing


class Releasing:
    """For any thread."""

    def __init__(self, parts: Parts, ordering: Ordering, removing: Removing, owners: Owners, handover: Handover) -> None:
        self._comparing = Comparing(parts)
        self._log = parts.log
        self._ordering = ordering
        self._removing = removing
        self._owners = owners
        self._handover = handover

    def rows(self) -> Mapping[type[Request[Any]], Callable[[Any, Call], Any]]:
        """Return what answers the message."""
        return {ReleaseVolume: self.release}

    def release(self, order: ReleaseVolume, call: Call) -> Outcome:
        """See ``ReleaseVolume``. A machine that only lingers on the disk gives it back first."""
        return self._ordering.run_until_free(order, call, self._handover, self._release)

    # --- in the lane ---------------------------------------------------------------------------------------------

    def _release(self, order: ReleaseVolume, plans: list[Plan], record: VolumeRecord, deadline: Deadline) -> Outcome | Held:
        if not record.adopted:
            raise Conflict(
                f"the disk of volume {record.name} was made by vmdkvol, and lies in its folder",
                remedy="only an adopted disk is released; copy the data, or put the volume into the trash",
            )
        if record.state in (State.PREPARING, State.REMOVING):
            raise Busy(f"volume {record.name} is {record.state}", volume=record.name)
        self._comparing.check(record)
        record, plan, held = self._planned(record)
        plans.append(plan)
        if order.dry_run:
            return outcome(order, plan, record)
        # One that is lost is not read, unless a machine has it all the same: it must leave that one first.
        gone = record.state is State.LOST and not held
        found = record if gone else self._removing.freed(record, deadline)
        if isinstance(found, Held):
            return found
        self._log.warning("released by an order", volume=record.name, id=str(record.id), by=order.by.name)
        self._removing.let_go(found)
        self._handover.changed(record.id)
        return Outcome(plan, done=True, subject=str(record.id))

    def _planned(self, record: VolumeRecord) -> tuple[VolumeRecord, Plan, bool]:
        """Return the record with its disk where it lies now, what is done, and whether a machine of ours has it."""
        record, owner = self._owners.found(record)
        if isinstance(owner, Foreign):
            raise foreign(record, owner.vms, self._handover)
        steps: tuple[Step, ...] = ()
        if isinstance(owner, HeldBy | LeftBehind):
            name = self._handover.name(owner.vm)
            steps = (Step("detach-volume", record.name, f"on {name}", "on no machine, if it is not in use"),)
        release = Step("release-volume", record.name, "a volume", f"the disk {disk_path(record)}, of nobody's")
        loses = f"the record of volume {record.name}; its disk stays at {disk_path(record)}, with all that is on it"
        return record, Plan((*steps, release), loses), bool(steps)
