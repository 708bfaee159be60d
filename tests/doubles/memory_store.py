"""A ``Store`` in dictionaries, for simulations that cannot spend a millisecond on each transaction. Never yields a turn.

It keeps every promise of the port (tests/contract/test_store.py), with one difference: what a restarted service sees is
the same object, since nothing of it is on a disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from threading import RLock
from typing import Any, TypeVar, cast
from uuid import UUID

from tests.doubles.memory_groups import MemoryGroups
from tests.doubles.memory_policies import MemoryPolicies
from vmdkvol.clock import Clock
from vmdkvol.errors import Busy, NameConflict, NotPermitted, StaleRequest, VolumeError, VolumeInUse, VolumeNotFound
from vmdkvol.names import DatastoreName
from vmdkvol.volume import LIVE_STATES, DiskUuid, State, VmgroupId, VmId, VolumeId
from vmdkvol_esx.cordons import Cordon, Placed
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.ports import CloneDisk, CreateDisk
from vmdkvol_esx.records import AuditRecord, Group, Intent, StoredAnswer, Tenancy, Vmgroup, VolumeRecord

KEPT_S = 24 * 3600.0
F = TypeVar("F", bound=Callable[..., Any])


def _alone(method: F) -> F:
    """One transaction at a time."""

    @wraps(method)
    def transaction(self: MemoryStore, *args: Any, **keywords: Any) -> Any:
        with self.lock:
            return method(self, *args, **keywords)

    return cast(F, transaction)


class MemoryStore(MemoryPolicies):
    """The ``Store`` port. Ids in order of their text, as the database has them; ``groups`` are those of VMs in one.

    ``remembered`` is how many removed ids are told to those who lag behind.
    """

    def __init__(self, clock: Clock, groups: Mapping[VmId, Vmgroup] | None = None) -> None:
        self.lock = RLock()
        self.remembered = 10_000
        self._clock = clock
        self._groups = MemoryGroups(groups or {})
        self.audit: list[AuditRecord] = []
        self._floor = self._change = int(clock.wall() * 1000)
        self._records: dict[VolumeId, tuple[VolumeRecord, int]] = {}
        self._intents: dict[UUID, Intent] = {}
        self._ended: set[UUID] = set()
        self._removed: list[tuple[VolumeId, VmgroupId, int]] = []
        self._answers: dict[tuple[VmId, UUID], tuple[bytes, float]] = {}
        self._cordons: dict[DatastoreName, Cordon] = {}
        self._policies = {}

    # --- intents -----------------------------------------------------------------------------------------------

    @_alone
    def begin(
        self, intent: Intent, record: VolumeRecord, *, home: DatastoreName | None = None, over_quota: bool = False
    ) -> None:
        if intent.volume != record.id:
            raise StaleRequest(f"the intent is for volume {intent.volume}, the record for {record.id}")
        self._check_idle(record.id)
        if intent.id in self._ended:
            raise StaleRequest(f"volume {record.name}: this piece of work has ended already")
        if record.generation != 1:
            self._check_generation(record.id, record.generation - 1)
        elif record.id in self._records:
            raise StaleRequest(f"volume {record.name} is not new")
        if intent.source is not None:
            self._check_source(intent.source, record)
        self._claim(record)
        stored = self.volume(record.id)
        same = stored is not None and (stored.vmgroup, stored.datastore) == (record.vmgroup, record.datastore)
        added = record.size_bytes - (stored.size_bytes if stored is not None and same else 0)
        if not (over_quota and intent.caller is None):
            self._groups.check_begun(intent, record, added, self._stored(), home)
        if isinstance(intent.change, CreateDisk | CloneDisk) and record.datastore in self._cordons:
            raise NotPermitted(f"datastore {record.datastore} takes no new volumes now")
        self._put(record)
        self._intents[intent.id] = intent

    @_alone
    def enlist(self, record: VolumeRecord, *, over_quota: bool = False) -> None:
        if record.id in self._records:
            raise StaleRequest(f"volume {record.name} is not new")
        self._claim(record)
        if not over_quota:
            self._groups.check_room(record, record.size_bytes, self._stored(), None)
        if record.datastore in self._cordons:
            raise NotPermitted(f"datastore {record.datastore} takes no new volumes now")
        self._put(record)

    @_alone
    def note_task(self, intent: UUID, task: str) -> None:
        if intent in self._intents:
            self._intents[intent] = replace(self._intents[intent], task=task)

    @_alone
    def finish(
        self,
        intent: UUID,
        record: VolumeRecord | None,
        answer: StoredAnswer | None = None,
        audit: AuditRecord | None = None,
    ) -> bool:
        ended = self._close(intent, record, 0)
        if ended and audit is not None:
            self.audit.append(audit)
        if ended and answer is not None:
            self.keep_answer(answer.caller, answer.call, answer.answer)
        return ended

    @_alone
    def abandon(self, intent: UUID, record: VolumeRecord | None, audit: AuditRecord | None = None) -> None:
        if self._close(intent, record, 1) and audit is not None:
            self.audit.append(audit)

    def _close(self, intent: UUID, record: VolumeRecord | None, back: int) -> bool:
        if intent not in self._intents:
            return False
        volume = self._intents[intent].volume
        if record is None:
            self._forget(volume)
        else:
            stored = self.volume(volume)
            if record.id != volume:
                raise StaleRequest(f"the intent is for volume {volume}, the record for {record.id}")
            if stored is None or not stored.generation - back <= record.generation <= stored.generation:
                raise StaleRequest(f"volume {record.name}: the work was begun with another generation")
            self._claim(record)
            self._put(record)
        del self._intents[intent]
        self._ended.add(intent)
        return True

    # --- records -----------------------------------------------------------------------------------------------

    @_alone
    def update(self, record: VolumeRecord, *, expect: int) -> None:
        self._check_idle(record.id)
        self._check_generation(record.id, expect)
        if record.generation < expect:
            raise StaleRequest(f"volume {record.name}: a generation never goes back")
        self._claim(record)
        self._put(record)

    @_alone
    def delete(self, volume: VolumeId, *, expect: int) -> None:
        if volume in self._records:
            self._check_idle(volume)
            self._check_generation(volume, expect)
            self._forget(volume)

    @_alone
    def volume(self, volume: VolumeId) -> VolumeRecord | None:
        found = self._records.get(volume)
        return None if found is None else found[0]

    @_alone
    def find(self, vmgroup: VmgroupId, name: str) -> VolumeRecord | None:
        for record, _ in self._records.values():
            if (record.vmgroup, record.name) == (vmgroup, name) and record.state in LIVE_STATES:
                return record
        return None

    @_alone
    def elsewhere(self, vmgroup: VmgroupId, base: str) -> VolumeRecord | None:
        live = [record for record, _ in self._records.values() if record.vmgroup == vmgroup and record.state in LIVE_STATES]
        found = [record for record in live if record.name == f"{base}@{record.datastore}"]
        return min(found, key=lambda record: record.name, default=None)

    @_alone
    def with_disk(self, disk: DiskUuid) -> VolumeRecord | None:
        return next((record for record, _ in self._records.values() if record.disk_uuid == disk), None)

    @_alone
    def restore(self, *records: VolumeRecord) -> None:
        before = dict(self._records), self._change, self._groups.copy()
        try:
            for record in records:
                if record.id in self._records:
                    raise NameConflict(f"volume {record.name} is known already")
                self._groups.make_known(record.vmgroup, self._change + 1)
                self._claim(record)
                self._put(record)
        except VolumeError:
            self._records, self._change, self._groups = before
            raise

    @_alone
    def page(
        self, vmgroup: VmgroupId | None, after: VolumeId | None, limit: int, since: int | None = None
    ) -> Sequence[VolumeRecord]:
        found = [
            record
            for record, changed in self._records.values()
            if vmgroup in (None, record.vmgroup)
            and (after is None or str(record.id) > str(after))
            and (since is None or changed > since)
        ]
        return tuple(sorted(found, key=lambda record: str(record.id))[:limit])

    def change_number(self) -> int:
        return self._change

    @_alone
    def removed_since(self, vmgroup: VmgroupId, since: int) -> Sequence[VolumeId] | None:
        if not self._floor <= since <= self._change:
            return None
        return tuple(volume for volume, group, change in self._removed if group == vmgroup and change > since)

    @_alone
    def open_intents(self) -> Sequence[Intent]:
        return tuple(sorted(self._intents.values(), key=lambda intent: (intent.opened_at, str(intent.id))))

    @_alone
    def open_intent(self, volume: VolumeId) -> Intent | None:
        return next((intent for intent in self._intents.values() if intent.volume == volume), None)

    @_alone
    def stored_answer(self, caller: VmId, call: UUID) -> bytes | None:
        answer, kept_at = self._answers.get((caller, call), (None, 0.0))
        return answer if kept_at > self._clock.wall() - KEPT_S else None

    @_alone
    def keep_answer(self, caller: VmId, call: UUID, answer: bytes) -> None:
        if self.stored_answer(caller, call) is None:
            self._answers[caller, call] = (answer, self._clock.wall())

    # --- vmgroups ----------------------------------------------------------------------------------------------

    @_alone
    def vmgroup(self, vm: VmId) -> Vmgroup:
        return self._groups.of(vm).vmgroup

    @_alone
    def group_of(self, vm: VmId) -> Group:
        return replace(self._groups.of(vm), members=())

    @_alone
    def tenancy(self, vm: VmId) -> Tenancy:
        group = self.group_of(vm)
        return Tenancy(group, *self._groups.usage(group.vmgroup.id, self._stored()))

    @_alone
    def groups(self) -> Sequence[Group]:
        return self._groups.every()

    @_alone
    def group(self, name: str) -> Group | None:
        return next((each for each in self._groups.every() if each.vmgroup.name == name), None)

    @_alone
    def group_by_id(self, vmgroup: VmgroupId) -> Group | None:
        return next((each for each in self._groups.every() if each.vmgroup.id == vmgroup), None)

    @_alone
    def put_group(self, group: Group, *, expect: int | None, unmoved_since: int | None = None) -> Group:
        stored = self._groups.put(group, expect, self._used_since(unmoved_since), self._change + 1)
        self._change += 1
        return stored

    @_alone
    def delete_group(self, vmgroup: VmgroupId, *, expect: int | None, unmoved_since: int | None = None) -> None:
        used = self._used_since(unmoved_since)
        self._groups.remove(vmgroup, expect, used, self._stored(), self._change + 1)
        self._change += 1

    @_alone
    def regroup(self, record: VolumeRecord, *, expect: int, over_quota: bool = False) -> None:
        before, change = self.volume(record.id), self._change
        self._check_idle(record.id)
        self._check_generation(record.id, expect)
        moved = before is not None and before.vmgroup != record.vmgroup
        if moved and not over_quota:
            self._claim(record)
            self._groups.check_room(record, record.size_bytes, self._stored(), record.datastore)
        self.update(record, expect=expect)
        if before is not None and moved:
            self._note_gone(record.id, before.vmgroup, change + 1)

    def _used_since(self, change: int | None) -> dict[VmId, str]:
        return {
            record.last_vm: record.name
            for record, changed in self._records.values()
            if record.last_vm is not None and change is not None and changed > change
        }

    @_alone
    def usage(self, vmgroup: VmgroupId) -> Mapping[DatastoreName, int]:
        return self._groups.usage(vmgroup, self._stored())[0]

    @_alone
    def vmgroup_names(self) -> Mapping[VmgroupId, str]:
        return {each.vmgroup.id: each.vmgroup.name for each in self._groups.every()}

    @_alone
    def cordons(self) -> Sequence[Cordon]:
        return tuple(self._cordons[place] for place in sorted(self._cordons))

    @_alone
    def cordon(self, cordon: Cordon) -> None:
        self._cordons[cordon.datastore] = cordon

    @_alone
    def uncordon(self, datastore: DatastoreName) -> None:
        self._cordons.pop(datastore, None)

    @_alone
    def placed(self) -> Sequence[Placed]:
        return tuple(Placed(disk_ref(record), record.size_bytes) for record in self._stored())

    @_alone
    def volume_count(self, vmgroup: VmgroupId) -> int:
        return sum(record.vmgroup == vmgroup for record in self._stored())

    # --- small steps -------------------------------------------------------------------------------------------

    def _stored(self) -> list[VolumeRecord]:
        return [record for record, _ in self._records.values()]

    def _put(self, record: VolumeRecord) -> None:
        self._change += 1
        self._records[record.id] = (record, self._change)

    def _forget(self, volume: VolumeId) -> None:
        found = self._records.pop(volume, None)
        if found is not None:
            self._change += 1
            self._note_gone(volume, found[0].vmgroup, self._change)

    def _note_gone(self, volume: VolumeId, vmgroup: VmgroupId, change: int) -> None:
        self._removed.append((volume, vmgroup, change))
        while len(self._removed) > self.remembered:
            self._floor = self._removed.pop(0)[2]

    def _check_generation(self, volume: VolumeId, expect: int) -> None:
        stored = self.volume(volume)
        if stored is None or stored.generation != expect:
            stands = "is gone" if stored is None else f"is of generation {stored.generation}"
            raise StaleRequest(f"volume {volume} {stands}, the request is for generation {expect}")

    def _check_idle(self, volume: VolumeId) -> None:
        own = self.open_intent(volume)
        if own is not None:
            raise Busy(f"volume {volume}: {type(own.change).__name__} is under way")
        for intent in self._intents.values():
            if intent.source == volume:
                raise VolumeInUse(f"volume {volume} is being copied to {self._records[intent.volume][0].name}")

    def _check_source(self, source: VolumeId, clone: VolumeRecord) -> None:
        record = self.volume(source)
        if record is None or record.vmgroup != clone.vmgroup or record.state in (State.TRASHED, State.REMOVING):
            raise VolumeNotFound(f"volume {source}, the source of the clone, does not exist")
        own = self.open_intent(source)
        if record.state is not State.READY or own is not None:
            stands = f"is {record.state}" if own is None else f"has {type(own.change).__name__} under way"
            raise VolumeInUse(f"volume {record.name} {stands}; only a ready, unused volume is cloned")

    def _claim(self, record: VolumeRecord) -> None:
        if not self._groups.known(record.vmgroup):
            raise NotPermitted(f"volume {record.name}: vmgroup {record.vmgroup} does not exist")
        for other, _ in self._records.values():
            if other.id == record.id:
                continue
            same = (other.vmgroup, other.name) == (record.vmgroup, record.name)
            if same and record.state in LIVE_STATES and other.state in LIVE_STATES:
                raise NameConflict(f"volume {record.name} exists")
            if other.disk_uuid == record.disk_uuid or (other.datastore, other.path) == (record.datastore, record.path):
                raise NameConflict(f"the disk of {record.name} is already that of volume {other.name}")
