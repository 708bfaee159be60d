"""What every order on one volume has in common: the volume is found, waited for, and compared with what was expected.

A dry run does the same up to the plan: it settles nothing and writes nothing of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import chain, repeat
from typing import Any, TypeVar

from vmdkvol.clock import Deadline
from vmdkvol.errors import Busy, StaleRequest, StillWorking, VolumeInUse, VolumeNotFound
from vmdkvol.messages import Call
from vmdkvol.orders import ROOT, Order, Outcome, Plan, Step
from vmdkvol.volume import VolumeId
from vmdkvol_esx.choosing import LIVE, LIVE_ELSE_TRASHED, Choosing, Named
from vmdkvol_esx.handover import Handover, Held
from vmdkvol_esx.journal import Journal
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.records import Intent, VolumeRecord
from vmdkvol_esx.underway import Underway

# Of the work's own: it goes on when whoever ordered it has left.
WORK_S = 600.0

T = TypeVar("T")
Work = Callable[[VolumeRecord, Deadline], T]
# What the open work does, if it is the order's own; None for another's.
Own = Callable[[Intent], Step | None]
# One look at a volume that a machine may have: the order, where its plan goes, the record.
Look = Callable[[Any, list[Plan], VolumeRecord, Deadline], Outcome | Held]


class Ordering:
    """For any thread. What the real run would refuse, a dry run refuses."""

    def __init__(self, parts: Parts, choosing: Choosing, journal: Journal, underway: Underway) -> None:
        self._store = parts.store
        self._lanes = parts.lanes
        self._clock = parts.clock
        self._journal = journal
        self._underway = underway
        self.choosing = choosing

    def run(self, order: Any, call: Call, work: Work[T], named: Named = LIVE, *, volume: VolumeId | None = None) -> T:
        """Return what ``work`` returns for the volume that ``order`` names, as it stands in its lane.

        ``order`` has ``volume`` and ``vmgroup``; ``named`` says what a name finds. ``volume`` is the one that an earlier step
        found. StaleRequest if it has not the revision that the order is for; StillWorking at the deadline of
        the call: the work goes on, and the same order joins it. Busy for a dry run while work is open.
        """
        found = self._named(order, volume, named)
        if order.dry_run:
            self._check_idle(found)
        doing = f"{type(order).__name__} {found.name}"
        in_lane = partial(self._in_lane, order, found, work)
        # The same for everybody, but not for every role: what one may not do is not refused to the other.
        equal = (type(order), order.by.role, replace(order, by=ROOT))
        with self._underway.watched((found.vmgroup, found.id), call.progress):
            return self._lanes.run(found.id, equal, in_lane, call.deadline, doing)

    def run_long(self, order: Any, call: Call, work: Work[Outcome], own: Own) -> Outcome:
        """As ``run``; at the deadline of the call the answer is the task, once the order's own work has begun."""
        try:
            return self.run(order, call, work)
        except StillWorking:
            record = self._named(order, None, LIVE)
            intent = self._store.open_intent(record.id)
            step = None if intent is None or order.dry_run else own(intent)
            if intent is None or step is None:
                raise
            return Outcome(Plan((step,)), False, str(record.id), record.generation, intent.id)

    def run_until_free(self, order: Any, call: Call, handover: Handover, look: Look) -> Outcome:
        """As ``run``, for a volume in the trash too, until ``look`` finds it on no other machine; the plan is the first one.

        A machine that gives a disk back raises the revision: only the first look is compared with the order's.
        """
        volume = self.choosing.volume(order.volume, order.vmgroup, LIVE_ELSE_TRASHED).id
        orders = chain([order], repeat(replace(order, expect=None)))
        plans: list[Plan] = []

        def step() -> Outcome | Held:
            now = next(orders)
            return self.run(now, call, partial(look, now, plans), volume=volume)

        answer = handover.until_free(volume, step, call.deadline)
        return replace(answer, plan=plans[0]) if plans else answer

    def _named(self, order: Any, volume: VolumeId | None, named: Named) -> VolumeRecord:
        found = None if volume is None else self._store.volume(volume)
        return found if found is not None else self.choosing.volume(order.volume, order.vmgroup, named)

    def _in_lane(self, order: Any, found: VolumeRecord, work: Work[T]) -> T:
        deadline = Deadline.after(self._clock, WORK_S)
        if not order.dry_run:
            self._journal.clear(found.id, deadline)
        record = self._store.volume(found.id)
        if record is None:
            raise VolumeNotFound(f"volume {order.volume} was removed", name=order.volume)
        wanted = found.vmgroup if order.vmgroup is None else self.choosing.vmgroup(order.vmgroup)
        if record.vmgroup != wanted:
            # Another tenant's by now: whoever clears out the one that it was in does not mean it.
            raise StaleRequest(f"volume {record.name} was moved to another vmgroup meanwhile", remedy="look at it again")
        if order.dry_run:
            self._check_idle(record)
        check_revision(order, record)
        done = work(record, deadline)
        if order.dry_run and isinstance(done, Outcome) and done.plan.steps:
            self._check_not_copied(record)
        return done

    def _check_idle(self, record: VolumeRecord) -> None:
        if self._store.open_intent(record.id) is not None:
            raise Busy(f"volume {record.name} is being worked on: what would be done is known when that has ended")

    def _check_not_copied(self, record: VolumeRecord) -> None:
        """Raise VolumeInUse, as the store does for whatever changes the volume, while a clone reads from it."""
        for intent in self._store.open_intents():
            if intent.source == record.id:
                clone = self._store.volume(intent.volume)
                name = str(intent.volume) if clone is None else clone.name
                raise VolumeInUse(f"volume {record.name} is being copied to {name}", remedy="wait until the copy is done")


def check_revision(order: Order, record: VolumeRecord) -> None:
    """Raise StaleRequest unless the volume has the revision that the order is for."""
    if order.expect not in (None, record.generation):
        raise StaleRequest(
            f"volume {record.name} has revision {record.generation}, the order is for {order.expect}",
            remedy="look at it again, then repeat the order",
            revision=record.generation,
        )


def outcome(order: Order, plan: Plan, record: VolumeRecord) -> Outcome:
    """Return the answer to an order that was carried out, or would be, with the volume as it stands now."""
    return Outcome(plan, done=not order.dry_run, subject=str(record.id), revision=record.generation)
