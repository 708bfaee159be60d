"""The vmgroups of ``MemoryStore``, in a dictionary. Whoever calls is alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from vmdkvol.admin_errors import VmgroupNotEmpty
from vmdkvol.errors import Busy, Conflict, NameConflict, NotPermitted, StaleRequest
from vmdkvol.names import ALL_DATASTORES, DatastoreName
from vmdkvol.volume import DEFAULT_VMGROUP, State, VmgroupId, VmId
from vmdkvol_esx import rights
from vmdkvol_esx.ports import AttachDisk, CloneDisk, CreateDisk
from vmdkvol_esx.records import Group, Intent, Member, Right, Vmgroup, VolumeRecord
from vmdkvol_esx.rights import Verb

EVERYTHING = (Right(ALL_DATASTORES, allow_create=True),)
_TRASH = (State.TRASHED, State.REMOVING)
_VERBS = {CreateDisk: Verb.CREATE, CloneDisk: Verb.CREATE, AttachDisk: Verb.ATTACH}


class MemoryGroups:
    """``_DEFAULT``, and the groups of ``given``, each of which may do everything."""

    def __init__(self, given: Mapping[VmId, Vmgroup]) -> None:
        groups = {group.id: group for group in (Vmgroup(DEFAULT_VMGROUP, "_DEFAULT", None), *given.values())}
        self._groups = {
            id: Group(group, EVERYTHING, self._members(vm for vm, of in given.items() if of.id == id != DEFAULT_VMGROUP))
            for id, group in groups.items()
        }

    @staticmethod
    def _members(vms: Iterable[VmId]) -> tuple[Member, ...]:
        return tuple(Member(vm, str(vm)) for vm in sorted(vms, key=str))

    def copy(self) -> MemoryGroups:
        made = MemoryGroups({})
        made._groups = dict(self._groups)
        return made

    def known(self, vmgroup: VmgroupId) -> bool:
        return vmgroup in self._groups

    def every(self) -> Sequence[Group]:
        return tuple(sorted(self._groups.values(), key=lambda group: group.vmgroup.name))

    def of(self, vm: VmId) -> Group:
        own = [group for group in self._groups.values() if any(each.vm == vm for each in group.members)]
        found = own[0] if own else self._groups.get(DEFAULT_VMGROUP)
        if found is None:
            raise NotPermitted(f"this machine ({vm}) is in no vmgroup")
        return found

    def usage(
        self, vmgroup: VmgroupId, records: Iterable[VolumeRecord]
    ) -> tuple[dict[DatastoreName, int], dict[DatastoreName, int]]:
        used: dict[DatastoreName, int] = defaultdict(int)
        trashed: dict[DatastoreName, int] = defaultdict(int)
        for record in records:
            if record.vmgroup == vmgroup:
                used[record.datastore] += record.size_bytes
                if record.state in _TRASH:
                    trashed[record.datastore] += record.size_bytes
        return dict(used), dict(trashed)

    def put(self, group: Group, expect: int | None, used: Mapping[VmId, str], change: int) -> Group:
        stored = self._groups.get(group.vmgroup.id)
        self._check_expected(stored, group.vmgroup.name, expect)
        if any(each.vmgroup.name == group.vmgroup.name for each in self._groups.values() if each is not stored):
            raise NameConflict(f"vmgroup {group.vmgroup.name} exists")
        vms = {each.vm for each in group.members}
        if len(vms) < len(group.members):
            raise Conflict("a machine is twice in the vmgroup")
        for other in self._groups.values():
            if other is not stored and vms & {each.vm for each in other.members}:
                raise Conflict(f"a machine is in vmgroup {other.vmgroup.name}")
        moved = vms ^ {each.vm for each in (stored.members if stored else ())}
        if moved & used.keys():
            raise Busy("a machine used a volume just now")
        revision = 1 if stored is None else stored.vmgroup.revision + 1
        kept = Group(
            replace(group.vmgroup, revision=revision, changed=change),
            tuple(sorted(group.rights, key=lambda right: right.datastore)),
            tuple(sorted(group.members, key=lambda member: str(member.vm))),
        )
        self._groups[kept.vmgroup.id] = kept
        if moved:
            self._touch_default(change)
        return kept

    def remove(
        self,
        vmgroup: VmgroupId,
        expect: int | None,
        used: Mapping[VmId, str],
        records: Iterable[VolumeRecord],
        change: int,
    ) -> None:
        stored = self._groups.get(vmgroup)
        if stored is None:
            return
        if expect is not None:
            self._check_expected(stored, stored.vmgroup.name, expect)
        if any(record.vmgroup == vmgroup for record in records):
            raise VmgroupNotEmpty(f"vmgroup {stored.vmgroup.name} has volumes")
        if used.keys() & {each.vm for each in stored.members}:
            raise Busy("a machine used a volume just now")
        del self._groups[vmgroup]
        if stored.members:
            self._touch_default(change)

    def make_known(self, vmgroup: VmgroupId, change: int) -> None:
        if vmgroup not in self._groups:
            self._groups[vmgroup] = Group(Vmgroup(vmgroup, str(vmgroup), None, changed=change))

    def check_begun(
        self, intent: Intent, record: VolumeRecord, added: int, records: Iterable[VolumeRecord], home: DatastoreName | None
    ) -> None:
        group = self._groups[record.vmgroup]
        verb = _VERBS.get(type(intent.change))
        if verb is not None and intent.caller is not None:
            if self.of(intent.caller).vmgroup.id != record.vmgroup:
                raise NotPermitted("this machine was taken out of its vmgroup meanwhile")
            rights.check(group, verb, record.datastore, home)
        self.check_room(record, added, records, home)

    def check_room(self, record: VolumeRecord, added: int, records: Iterable[VolumeRecord], home: DatastoreName | None) -> None:
        group = self._groups[record.vmgroup]
        if added > 0:
            used, trashed = (each.get(record.datastore, 0) for each in self.usage(record.vmgroup, records))
            right = rights.find(group.rights, record.datastore, home)
            rights.check_limits(group.vmgroup, right, record.datastore, record.size_bytes, added, used, trashed)

    def _check_expected(self, stored: Group | None, name: str, expect: int | None) -> None:
        if expect is None and stored is not None:
            raise NameConflict(f"vmgroup {stored.vmgroup.name} exists")
        if stored is None and expect is not None:
            raise StaleRequest(f"vmgroup {name} is gone")
        if stored is not None and expect != stored.vmgroup.revision:
            raise StaleRequest(f"vmgroup {name} has not revision {expect}")

    def _touch_default(self, change: int) -> None:
        stored = self._groups.get(DEFAULT_VMGROUP)
        if stored is not None:
            self._groups[DEFAULT_VMGROUP] = replace(stored, vmgroup=replace(stored.vmgroup, changed=change))
