"""A vmgroup goes: its volumes into the trash and out of it if that is ordered, then itself with its machines, in one step.

Each step is durable before the next. Cut off, the same order again goes on; one with a digest needs a new plan, since its
volumes are others by then. What cannot be trashed is found before anything is: every volume is planned first, by what carries
it out. Where the trash keeps volumes they would keep the vmgroup: nothing is begun that cannot be ended. Nothing is destroyed
before all of them are in the trash and no machine stands against it. A machine leaves only a vmgroup that is gone: in another
one it would not see a volume that keeps this one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from vmdkvol.admin_errors import ProofNeeded, VmgroupNotEmpty
from vmdkvol.errors import StaleRequest
from vmdkvol.messages import Call
from vmdkvol.orders import Outcome, Plan, Step
from vmdkvol.progress import duration
from vmdkvol.sizes import short_size
from vmdkvol.vmgroup_messages import RemoveVmgroup
from vmdkvol.volume import State, VmgroupId, VolumeId
from vmdkvol.volume_orders import DestroyVolume, TrashVolume
from vmdkvol_esx import grouping
from vmdkvol_esx.discarding import destruction
from vmdkvol_esx.membership import Membership
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.records import Group, VolumeRecord

Trash = Callable[[TrashVolume, Call], Outcome]
Destroy = Callable[[DestroyVolume, Call], Outcome]

_PAGE = 500
# So that a plan fits into one answer; the others are told by their number.
_SHOWN = 50
_GONE = frozenset({State.TRASHED, State.REMOVING})


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be done for one order."""

    group: Group
    volumes: Sequence[VolumeRecord]
    plan: Plan


class Dissolving:
    """For any thread."""

    def __init__(self, parts: Parts, membership: Membership, trash: Trash, destroy: Destroy, *, retention_s: float) -> None:
        """``trash`` and ``destroy`` carry out these orders on one volume, ``retention_s`` is how long the trash keeps it."""
        self._store = parts.store
        self._log = parts.log
        self._membership = membership
        self._trash = trash
        self._destroy = destroy
        self._retention_s = retention_s

    def meant(self, group: Group, order: RemoveVmgroup) -> frozenset[VolumeId]:
        """Return the volumes that are to go with the vmgroup; StaleRequest unless they are those that were confirmed.

        ProofNeeded for what is in the trash, where nobody has seen the plan.
        """
        if not (order.remove_volumes or order.empty_trash):
            return frozenset()
        own, found = group.vmgroup, self._going(group.vmgroup.id, order)
        if order.digest not in (None, _digest(found)):
            raise StaleRequest(
                f"vmgroup {own.name} has other volumes than those of the plan",
                remedy="look at them again, then repeat the order",
                vmgroup=own.name,
            )
        if order.empty_trash and found and order.digest is None and not order.dry_run:
            raise ProofNeeded(
                f"{_some(len(found), 'volume')} of vmgroup {own.name} would be destroyed for good",
                remedy="plan it first (dry_run), and give the order with the digest of the plan",
                vmgroup=own.name,
                volumes=len(found),
            )
        return frozenset(record.id for record in found)

    def remove(self, group: Group, order: RemoveVmgroup, call: Call, meant: frozenset[VolumeId]) -> Outcome:
        """See ``RemoveVmgroup``; ``group`` is the one that it names, as it was just read. Of its volumes only ``meant`` go."""
        work = self._planned(group, order, call, meant)
        own = group.vmgroup
        if order.dry_run:
            return Outcome(work.plan, False, str(own.id), own.revision)
        for record in work.volumes:
            if record.state is not State.TRASHED:
                self._trash(_trashing(record, order, dry_run=False), call)
        if order.empty_trash:
            self._empty(work, order, call)
        # After the volumes: a machine that gave one back has changed it.
        since = self._store.change_number()
        if work.volumes and self._store.volume_count(own.id):
            raise self._kept(group)
        self._membership.check_movable(group, grouping.emptied(group).group)
        self._store.delete_group(own.id, expect=own.revision, unmoved_since=since)
        self._log.info("vmgroup removed", vmgroup=own.name, id=str(own.id), by=order.by.name)
        return Outcome(work.plan, True, str(own.id))

    def _empty(self, work: _Work, order: RemoveVmgroup, call: Call) -> None:
        """Destroy what is in the trash now. What stands against the vmgroup's end is told while all of it can be restored."""
        if self._live(work.group.vmgroup.id):
            raise self._kept(work.group)
        self._membership.check_movable(work.group, grouping.emptied(work.group).group)
        for record in work.volumes:
            left = self._store.volume(record.id)
            # One that was restored meanwhile is found at the end, and keeps the vmgroup.
            if left is not None and left.state is State.TRASHED:
                self._destroy(_destroying(record, order), call)

    def _planned(self, group: Group, order: RemoveVmgroup, call: Call, meant: frozenset[VolumeId]) -> _Work:
        own, volumes = group.vmgroup, self._going(group.vmgroup.id, order)
        if not meant.issuperset(record.id for record in volumes):
            raise self._kept(group)
        live = [record for record in volumes if record.state is not State.TRASHED]
        if live and self._retention_s > 0 and not order.empty_trash:
            raise VmgroupNotEmpty(
                f"vmgroup {own.name} has {_some(len(live), 'volume')}, which the trash would keep for"
                f" {duration(round(self._retention_s))}, and it with them: nothing was done",
                remedy="move those that are wanted (`vmdkvol volume move`), and destroy the others with --empty-trash",
                vmgroup=own.name,
                volumes=len(live),
            )
        self._check_empty(group, order, len(volumes))
        plans = [self._plan(record, order, call) for record in volumes]
        if order.dry_run and not live:
            # Else it is looked at when the volumes are gone: a disk that only lingers somewhere is asked for before.
            self._membership.check_movable(group, grouping.emptied(group).group)
        steps = [step for plan in plans[:_SHOWN] for step in plan.steps]
        if len(plans) > _SHOWN:
            size = short_size(sum(record.size_bytes for record in volumes[_SHOWN:]))
            steps.append(
                Step(
                    "destroy-volume" if order.empty_trash else "trash-volume", f"{len(plans) - _SHOWN} more volumes", None, size
                )
            )
        steps += [*grouping.emptied(group).steps, Step("remove-vmgroup", own.name, f"id {own.id}", None)]
        digest = _digest(volumes) if order.remove_volumes or order.empty_trash else None
        return _Work(group, volumes, Plan(tuple(steps), _lost(own.name, volumes, plans), digest))

    def _plan(self, record: VolumeRecord, order: RemoveVmgroup, call: Call) -> Plan:
        """Return what is done with one volume, by what carries it out; raise what stands against it."""
        if record.state is State.TRASHED:
            return self._destroy(_destroying(record, order, dry_run=True), call).plan
        plan = self._trash(_trashing(record, order, dry_run=True), call).plan
        if not order.empty_trash or self._retention_s <= 0:
            return plan
        out = destruction(replace(record, state=State.TRASHED))
        return Plan((*plan.steps, *out.steps), out.loses)

    def _kept(self, group: Group) -> VmgroupNotEmpty:
        own = group.vmgroup
        if self._live(own.id):
            return VmgroupNotEmpty(f"vmgroup {own.name} got a volume meanwhile", remedy="remove it again", vmgroup=own.name)
        return VmgroupNotEmpty(
            f"the volumes of vmgroup {own.name} are in the trash or on their way out, and keep it until they are gone",
            remedy="remove it again then, or with --empty-trash",
            vmgroup=own.name,
        )

    def _going(self, vmgroup: VmgroupId, order: RemoveVmgroup) -> list[VolumeRecord]:
        """Return the volumes that the order takes with the vmgroup: live ones, those in the trash, or both."""
        found = [
            record
            for record in self._all(vmgroup)
            if (order.empty_trash if record.state is State.TRASHED else order.remove_volumes and record.state not in _GONE)
        ]
        return sorted(found, key=lambda record: record.state is State.TRASHED)

    def _live(self, vmgroup: VmgroupId) -> list[VolumeRecord]:
        return [record for record in self._all(vmgroup) if record.state not in _GONE]

    def _all(self, vmgroup: VmgroupId) -> Iterator[VolumeRecord]:
        after: VolumeId | None = None
        while page := self._store.page(vmgroup, after, _PAGE):
            yield from page
            after = page[-1].id

    def _check_empty(self, group: Group, order: RemoveVmgroup, removed: int) -> None:
        own = group.vmgroup
        volumes = self._store.volume_count(own.id) - removed
        if volumes > 0:
            where, remedy = _left(order)
            raise VmgroupNotEmpty(
                f"vmgroup {own.name} has {_some(volumes, 'volume')}, {where}", remedy=remedy, vmgroup=own.name, volumes=volumes
            )
        if group.members and not order.force:
            raise VmgroupNotEmpty(
                f"vmgroup {own.name} has {_some(len(group.members), 'virtual machine')}",
                remedy="take them out first, or give --force",
                vmgroup=own.name,
                members=len(group.members),
            )


def _left(order: RemoveVmgroup) -> tuple[str, str]:
    """Return where the volumes are that the order does not take with the vmgroup, and what to do about them."""
    if not order.remove_volumes:
        where = "beside those in the trash" if order.empty_trash else "with those in the trash"
        return where, "move those that are wanted (`vmdkvol volume move`), and give --remove-volumes and --empty-trash"
    if not order.empty_trash:
        return "in the trash", "restore and move those that are wanted, and destroy the others with --empty-trash; or wait"
    return "which are being deleted", "wait until they are gone, then remove it again"


def _trashing(record: VolumeRecord, order: RemoveVmgroup, *, dry_run: bool) -> TrashVolume:
    # With the vmgroup: one that is moved to another one meanwhile is not to be trashed with it.
    return TrashVolume(volume=str(record.id), vmgroup=str(record.vmgroup), by=order.by, dry_run=dry_run)


def _destroying(record: VolumeRecord, order: RemoveVmgroup, *, dry_run: bool = False) -> DestroyVolume:
    return DestroyVolume(volume=str(record.id), vmgroup=str(record.vmgroup), i_know=record.name, by=order.by, dry_run=dry_run)


def _digest(volumes: Sequence[VolumeRecord]) -> str:
    """Return what tells one set of volumes from another, however many they are."""
    # One that is restored is another one than what is in the trash.
    said = sorted(f"{record.id} {State.TRASHED}" if record.state is State.TRASHED else str(record.id) for record in volumes)
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:32]


def _lost(name: str, volumes: Sequence[VolumeRecord], plans: Sequence[Plan]) -> str:
    group = f"vmgroup {name} with its rights, limits and defaults"
    # The disk of an adopted one stays where it lies.
    lost = [record for record, plan in zip(volumes, plans, strict=True) if plan.loses is not None and not record.adopted]
    if not lost:
        return group
    trashed = sum(record.state is State.TRASHED for record in lost)
    there = f", {trashed} of them in the trash" if trashed else ""
    return (
        f"{group}, and all that is on its {_some(len(lost), 'volume')} ({short_size(sum(r.size_bytes for r in lost))}{there})"
    )


def _some(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
