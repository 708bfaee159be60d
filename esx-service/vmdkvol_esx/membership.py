"""Which machines an order on a vmgroup means, and whether they may come and go.

A machine changes its vmgroup only while it has no volume's disk: what it has mounted would be another tenant's. Disks of the
vmgroup that it comes into are no obstacle: after a loss of the database its containers run on, and it comes back to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vmdkvol.admin_errors import MemberElsewhere
from vmdkvol.errors import Busy, NotPermitted, TruthUnknown, VolumeInUse, quoted
from vmdkvol.volume import DEFAULT_VMGROUP, VmgroupId, VmId
from vmdkvol_esx.named import members
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.ports import AttachDisk
from vmdkvol_esx.records import Group, Member, Vmgroup
from vmdkvol_esx.told_commands import command


class Membership:
    """For any thread."""

    def __init__(self, parts: Parts) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor

    def named(self, names: Sequence[str], known: Sequence[Member] = ()) -> tuple[Member, ...]:
        """Return the machines of these names or ids; ``known`` ones also by what they were called when they came in."""
        return members(names, known, self._hypervisor.machines)

    def check_movable(self, before: Group, after: Group) -> None:
        """Raise unless each machine that comes or goes may: it is in no other vmgroup, and has no disk but those of the one
        that it comes into."""
        was, now = ({each.vm: each.name for each in group.members} for group in (before, after))
        self._check_elsewhere(before.vmgroup.id, {vm: name for vm, name in now.items() if vm not in was})
        moved = {vm: name for vm, name in {**was, **now}.items() if (vm in was) != (vm in now)}
        if not moved:
            return
        # Before the lists: what was on its way then is either still open, or in them.
        for intent in self._store.open_intents():
            if isinstance(intent.change, AttachDisk) and intent.change.vm in moved:
                name = moved[intent.change.vm]
                raise Busy(f"a volume is being attached to {quoted(name)}, which cannot change its vmgroup now", vm=name)
        lists = self._hypervisor.devices(moved.keys())
        for vm, name in moved.items():
            devices = lists.of(vm)
            if devices is None:
                raise TruthUnknown(f"which disks {quoted(name)} has could not be read, so it stays in its vmgroup", vm=name)
            comes_into = after.vmgroup.id if vm in now else None
            for record in filter(None, (self._store.with_disk(device.uuid) for device in devices)):
                if record.vmgroup == comes_into:
                    continue
                raise VolumeInUse(
                    f"volume {record.name} is attached to {quoted(name)}, which cannot change its vmgroup meanwhile",
                    remedy="stop the containers that use its volumes; one that is not mounted is given back within minutes",
                    volume=record.name,
                    holder=name,
                )

    def _check_elsewhere(self, vmgroup: VmgroupId, added: Mapping[VmId, str]) -> None:
        for vm, name in added.items():
            own = self._vmgroup(vm)
            if own is not None and own.id not in (vmgroup, DEFAULT_VMGROUP):
                raise MemberElsewhere(
                    f"virtual machine {quoted(name)} is in vmgroup {own.name}",
                    remedy=f"take it out of there first: `{command('vmgroup', 'vm', 'rm', own.name, name)}`",
                    vm=str(vm),
                    vmgroup=own.name,
                )

    def _vmgroup(self, vm: VmId) -> Vmgroup | None:
        try:
            return self._store.vmgroup(vm)
        except NotPermitted:
            return None
