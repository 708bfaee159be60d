"""A vmgroup goes: its volumes into the trash if that is ordered, then the vmgroup itself with its machines, in one step.

Each step is durable before the next, and the same order again goes on where it was cut off. What cannot be trashed is found
before anything is: every volume is planned first, by what carries it out. Where the trash keeps volumes they would keep the
vmgroup: nothing is begun that cannot be ended. A machine leaves only a vmgroup that is gone: in
another one it would not see a volume that keeps this one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vmdkvol.admin_errors import VmgroupNotEmpty
from vmdkvol.errors import StaleRequest
from vmdkvol.messages import Call
from vmdkvol.orders import Outcome, Plan, Step
from vmdkvol.progress import duration
from vmdkvol.sizes import short_size
from vmdkvol.vmgroup_messages import RemoveVmgroup
from vmdkvol.volume import State, VmgroupId, VolumeId
from vmdkvol.volume_orders import TrashVolume
from vmdkvol_esx import grouping
from vmdkvol_esx.membership import Membership
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.records import Group, VolumeRecord

Trash = Callable[[TrashVolume, Call], Outcome]

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

    def __init__(self, parts: Parts, membership: Membership, trash: Trash, *, retention_s: float) -> None:
        """``trash`` is what carries out that order on one volume, ``retention_s`` how long they are kept then."""
        self._store = parts.store
        self._log = parts.log
        self._membership = membership
        self._trash = trash
        self._retention_s = retention_s

    def meant(self, group: Group, order: RemoveVmgroup) -> frozenset[VolumeId]:
        """Return the volumes that are to go with the vmgroup; StaleRequest unless they are those that were confirmed."""
        if not order.remove_volumes:
            return frozenset()
        found = self._live(group.vmgroup.id)
        if order.digest not in (None, _digest(found)):
            raise StaleRequest(
                f"vmgroup {group.vmgroup.name} has other volumes than those of the plan",
                remedy="look at them again, then repeat the order",
                vmgroup=group.vmgroup.name,
            )
        return frozenset(record.id for record in found)

    def remove(self, group: Group, order: RemoveVmgroup, call: Call, meant: frozenset[VolumeId]) -> Outcome:
        """See ``RemoveVmgroup``; ``group`` is the one that it names, as it was just read. Of its volumes only ``meant`` go."""
        work = self._planned(group, order, call, meant)
        own = group.vmgroup
        if order.dry_run:
            return Outcome(work.plan, False, str(own.id), own.revision)
        for record in work.volumes:
            self._trash(_trashing(record, order, dry_run=False), call)
        # After the volumes: a machine that gave one back has changed it.
        since = self._store.change_number()
        if work.volumes and self._store.volume_count(own.id):
            raise self._kept(group)
        self._membership.check_movable(group, grouping.emptied(group).group)
        self._store.delete_group(own.id, expect=own.revision, unmoved_since=since)
        self._log.info("vmgroup removed", vmgroup=own.name, id=str(own.id), by=order.by.name)
        return Outcome(work.plan, True, str(own.id))

    def _planned(self, group: Group, order: RemoveVmgroup, call: Call, meant: frozenset[VolumeId]) -> _Work:
        own = group.vmgroup
        volumes = self._live(own.id) if order.remove_volumes else []
        if not meant.issuperset(record.id for record in volumes):
            raise self._kept(group)
        if volumes and self._retention_s > 0:
            raise VmgroupNotEmpty(
                f"vmgroup {own.name} has {_some(len(volumes), 'volume')}, which the trash would keep for"
                f" {duration(round(self._retention_s))}, and it with them: nothing was done",
                remedy="first `vmdkvol volume rm` each, and again with --permanently, or wait",
                vmgroup=own.name,
                volumes=len(volumes),
            )
        self._check_empty(group, order, len(volumes))
        plans = [self._trash(_trashing(record, order, dry_run=True), call).plan for record in volumes]
        if order.dry_run and not volumes:
            # Else it is looked at when the volumes are gone: a disk that only lingers somewhere is asked for before.
            self._membership.check_movable(group, grouping.emptied(group).group)
        steps = [step for plan in plans[:_SHOWN] for step in plan.steps]
        if len(plans) > _SHOWN:
            size = short_size(sum(record.size_bytes for record in volumes[_SHOWN:]))
            steps.append(Step("trash-volume", f"{len(plans) - _SHOWN} more volumes", None, size))
        steps += [*grouping.emptied(group).steps, Step("remove-vmgroup", own.name, f"id {own.id}", None)]
        digest = _digest(volumes) if order.remove_volumes else None
        return _Work(group, volumes, Plan(tuple(steps), _lost(own.name, volumes, plans), digest))

    def _kept(self, group: Group) -> VmgroupNotEmpty:
        own = group.vmgroup
        if self._live(own.id):
            return VmgroupNotEmpty(f"vmgroup {own.name} got a volume meanwhile", remedy="remove it again", vmgroup=own.name)
        return VmgroupNotEmpty(
            f"the volumes of vmgroup {own.name} are in the trash or on their way out, and keep it until they are gone",
            remedy="remove it again then, or destroy them first",
            vmgroup=own.name,
        )

    def _live(self, vmgroup: VmgroupId) -> list[VolumeRecord]:
        found: list[VolumeRecord] = []
        after: VolumeId | None = None
        while page := self._store.page(vmgroup, after, _PAGE):
            found += [record for record in page if record.state not in _GONE]
            after = page[-1].id
        return found

    def _check_empty(self, group: Group, order: RemoveVmgroup, removed: int) -> None:
        own = group.vmgroup
        volumes = self._store.volume_count(own.id) - removed
        if volumes > 0:
            where = "in the trash" if order.remove_volumes else "with those in the trash"
            raise VmgroupNotEmpty(
                f"vmgroup {own.name} has {_some(volumes, 'volume')}, {where}",
                remedy="destroy what is in the trash, or wait until it lets go"
                if order.remove_volumes
                else "move its volumes (`vmdkvol volume move`) or remove them, and empty the trash of them first",
                vmgroup=own.name,
                volumes=volumes,
            )
        if group.members and not order.force:
            raise VmgroupNotEmpty(
                f"vmgroup {own.name} has {_some(len(group.members), 'virtual machine')}",
                remedy="take them out first, or give --force",
                vmgroup=own.name,
                members=len(group.members),
            )


def _trashing(record: VolumeRecord, order: RemoveVmgroup, *, dry_run: bool) -> TrashVolume:
    # With the vmgroup: one that is moved to another one meanwhile is not to be trashed with it.
    return TrashVolume(volume=str(record.id), vmgroup=str(record.vmgroup), by=order.by, dry_run=dry_run)


def _digest(volumes: Sequence[VolumeRecord]) -> str:
    """Return what tells one set of volumes from another, however many they are."""
    return hashlib.sha256("\n".join(sorted(str(record.id) for record in volumes)).encode()).hexdigest()[:32]


def _lost(name: str, volumes: Sequence[VolumeRecord], plans: Sequence[Plan]) -> str:
    group = f"vmgroup {name} with its rights, limits and defaults"
    lost = [record for record, plan in zip(volumes, plans, strict=True) if plan.loses is not None]
    size = short_size(sum(record.size_bytes for record in lost))
    return f"{group}, and all that is on its {_some(len(lost), 'volume')} ({size})" if lost else group


def _some(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
