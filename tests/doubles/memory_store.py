"""A ``Store`` in dictionaries, for simulations that cannot spend a millisecond on each transaction. Never yields a turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from vmdkvol.clock import Clock
from vmdkvol.errors import Busy, NameConflict, StaleRequest, VolumeInUse, VolumeNotFound
from vmdkvol.volume import DEFAULT_VMGROUP, LIVE_STATES, DiskUuid, State, VmgroupId, VmId, VolumeId
from vmdkvol_esx.records import Intent, Vmgroup, VolumeRecord

KEPT_S = 24 * 3600.0


class MemoryStore:
    """The ``Store`` port; one vmgroup. Ids in order of their text, as the database has them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._floor = self._change = int(clock.wall() * 1000)
        self._records: dict[VolumeId, tuple[VolumeRecord, int]] = {}
        self._intents: dict[UUID, Intent] = {}
        self._ended: set[UUID] = set()
        self._removed: list[tuple[VolumeId, VmgroupId, int]] = []
        self._answers: dict[tuple[VmId, UUID], tuple[bytes, float]] = {}

    # --- intents -----------------------------------------------------------------------------------------------

    def begin(self, intent: Intent, record: VolumeRecord) -> None:
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
            self._check_source(intent.source)
        self._claim(record)
        self._put(record)
        self._intents[intent.id] = intent

    def note_task(self, intent: UUID, task: str) -> None:
        if intent in self._intents:
            self._intents[intent] = replace(self._intents[intent], task=task)

    def finish(self, intent: UUID, record: VolumeRecord | None) -> None:
        self._close(intent, record, 0)

    def abandon(self, intent: UUID, record: VolumeRecord | None) -> None:
        self._close(intent, record, 1)

    def _close(self, intent: UUID, record: VolumeRecord | None, back: int) -> None:
        if intent not in self._intents:
            return
        volume = self._intents[intent].volume
        if record is None:
            self._forget(volume)
        else:
            stored = self.volume(volume)
            if stored is None or not stored.generation - back <= record.generation <= stored.generation:
                raise StaleRequest(f"volume {record.name}: the work was begun with another generation")
            self._claim(record)
            self._put(record)
        del self._intents[intent]
        self._ended.add(intent)

    # --- records -----------------------------------------------------------------------------------------------

    def update(self, record: VolumeRecord, *, expect: int) -> None:
        self._check_generation(record.id, expect)
        self._check_idle(record.id)
        self._claim(record)
        self._put(record)

    def delete(self, volume: VolumeId, *, expect: int) -> None:
        if volume in self._records:
            self._check_generation(volume, expect)
            self._check_idle(volume)
            self._forget(volume)

    def volume(self, volume: VolumeId) -> VolumeRecord | None:
        found = self._records.get(volume)
        return None if found is None else found[0]

    def find(self, vmgroup: VmgroupId, name: str) -> VolumeRecord | None:
        for record, _ in self._records.values():
            if (record.vmgroup, record.name) == (vmgroup, name) and record.state in LIVE_STATES:
                return record
        return None

    def with_disk(self, disk: DiskUuid) -> VolumeRecord | None:
        return next((record for record, _ in self._records.values() if record.disk_uuid == disk), None)

    def restore(self, record: VolumeRecord) -> None:
        if record.id in self._records:
            raise Busy(f"volume {record.name} is known already")
        self._claim(record)
        self._put(record)

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

    def removed_since(self, vmgroup: VmgroupId, since: int) -> Sequence[VolumeId] | None:
        if not self._floor <= since <= self._change:
            return None
        return tuple(volume for volume, group, change in self._removed if group == vmgroup and change > since)

    def open_intents(self) -> Sequence[Intent]:
        return tuple(sorted(self._intents.values(), key=lambda intent: (intent.opened_at, str(intent.id))))

    def open_intent(self, volume: VolumeId) -> Intent | None:
        return next((intent for intent in self._intents.values() if intent.volume == volume), None)

    def stored_answer(self, caller: VmId, call: UUID) -> bytes | None:
        answer, kept_at = self._answers.get((caller, call), (None, 0.0))
        return answer if kept_at > self._clock.wall() - KEPT_S else None

    def keep_answer(self, caller: VmId, call: UUID, answer: bytes) -> None:
        self._answers.setdefault((caller, call), (answer, self._clock.wall()))

    def vmgroup(self, vm: VmId) -> Vmgroup:
        return Vmgroup(DEFAULT_VMGROUP, "_DEFAULT", None)

    def close(self) -> None:
        """Nothing is open."""

    # --- small steps -------------------------------------------------------------------------------------------

    def _put(self, record: VolumeRecord) -> None:
        self._change += 1
        self._records[record.id] = (record, self._change)

    def _forget(self, volume: VolumeId) -> None:
        found = self._records.pop(volume, None)
        if found is not None:
            self._change += 1
            self._removed.append((volume, found[0].vmgroup, self._change))

    def _check_generation(self, volume: VolumeId, expect: int) -> None:
        stored = self.volume(volume)
        if stored is None or stored.generation != expect:
            raise StaleRequest(f"volume {volume} is not of generation {expect}")

    def _check_idle(self, volume: VolumeId) -> None:
        if self.open_intent(volume) is not None:
            raise Busy(f"volume {volume} has work under way")
        if any(intent.source == volume for intent in self._intents.values()):
            raise VolumeInUse(f"volume {volume} is being copied")

    def _check_source(self, source: VolumeId) -> None:
        record = self.volume(source)
        if record is None or record.state in (State.TRASHED, State.REMOVING):
            raise VolumeNotFound(f"volume {source}, the source of the clone, does not exist")
        if record.state is not State.READY or self.open_intent(source) is not None:
            raise VolumeInUse(f"volume {record.name} is not ready")

    def _claim(self, record: VolumeRecord) -> None:
        for other, _ in self._records.values():
            if other.id == record.id:
                continue
            same = (other.vmgroup, other.name) == (record.vmgroup, record.name)
            if same and record.state in LIVE_STATES and other.state in LIVE_STATES:
                raise NameConflict(f"volume {record.name} exists")
            if other.disk_uuid == record.disk_uuid or (other.datastore, other.path) == (record.datastore, record.path):
                raise NameConflict(f"the disk of {record.name} is already that of {other.name}")
