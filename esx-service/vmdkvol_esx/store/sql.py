"""The ``Store`` port on SQLAlchemy: each method is one transaction. In memory it is the tests' double of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import UUID

from vmdkvol.clock import Clock
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid, State, VmgroupId, VmId, VolumeId
from vmdkvol_esx.identities import Identity, Ticket
from vmdkvol_esx.ledger import Ended
from vmdkvol_esx.records import AuditRecord, Group, Intent, StoredAnswer, Tenancy, Vmgroup, VolumeRecord
from vmdkvol_esx.store import identities, intents, known_datastores, vmgroups, volumes
from vmdkvol_esx.store.audit import SqlTrail
from vmdkvol_esx.store.cordons import SqlCordons
from vmdkvol_esx.store.engine import WAIT_S, Database
from vmdkvol_esx.store.opening import open_database
from vmdkvol_esx.store.policies import SqlPolicies


def open_store(path: Path | None, clock: Clock, *, wait_s: float = WAIT_S) -> SqlStore:
    """Return the store in the file ``path`` (made if there is none), or a new one in memory for None.

    Raises MetadataDamaged for a file that is damaged, empty, foreign or of a newer version: the text names it and the
    remedy is ``vmdkvol-esxd rebuild``. TruthUnknown if it cannot be opened, Busy if another process keeps it locked,
    NoSpace if there is no room. ``wait_s`` is how long a locked database is waited for. An instance is for any thread.
    """
    return SqlStore(open_database(path, clock.wall(), wait_s), clock)


class SqlStore(SqlPolicies, SqlCordons):
    """See ``ports.Store`` and ``identities.Identities`` for the promises."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        # What was done, by whom.
        self.trail = SqlTrail(database)

    def close(self) -> None:
        self._database.close()

    def begin(
        self, intent: Intent, record: VolumeRecord, *, home: DatastoreName | None = None, over_quota: bool = False
    ) -> None:
        with self._database.writing() as transaction:
            intents.begin(transaction, intent, record, home, over_quota=over_quota)

    def note_task(self, intent: UUID, task: str) -> None:
        with self._database.writing() as transaction:
            intents.note_task(transaction, intent, task)

    def finish(
        self,
        intent: UUID,
        record: VolumeRecord | None,
        answer: StoredAnswer | None = None,
        audit: AuditRecord | None = None,
    ) -> bool:
        now = self._clock.wall()
        with self._database.writing() as transaction:
            ended = intents.close(transaction, intent, record, intents.FINISHED, now)
            if ended and answer is not None:
                intents.keep_answer(transaction, answer.caller, answer.call, answer.answer, now)
            if ended and audit is not None:
                self.trail.append_beside(transaction, audit)
        return ended

    def abandon(self, intent: UUID, record: VolumeRecord | None, audit: AuditRecord | None = None) -> None:
        with self._database.writing() as transaction:
            ended = intents.close(transaction, intent, record, intents.ABANDONED, self._clock.wall())
            if ended and audit is not None:
                self.trail.append_beside(transaction, audit)

    def update(self, record: VolumeRecord, *, expect: int) -> None:
        with self._database.writing() as transaction:
            volumes.replace(transaction, record, expect, volumes.next_change(transaction))

    def delete(self, volume: VolumeId, *, expect: int) -> None:
        with self._database.writing() as transaction:
            if volumes.fetch(transaction, volume) is None:
                return
            volumes.check_idle(transaction, volume)
            volumes.check_generation(transaction, volume, expect)
            volumes.forget(transaction, volume, volumes.next_change(transaction))

    def restore(self, *records: VolumeRecord) -> None:
        with self._database.writing() as transaction:
            for record in records:
                volumes.check_unknown(transaction, record)
                change = volumes.next_change(transaction)
                vmgroups.make_known(transaction, record.vmgroup, change)
                volumes.put(transaction, record, change)

    def enlist(self, record: VolumeRecord, *, over_quota: bool = False) -> None:
        with self._database.writing() as transaction:
            intents.enlist(transaction, record, over_quota=over_quota)

    def volume(self, volume: VolumeId) -> VolumeRecord | None:
        with self._database.reading() as transaction:
            return volumes.fetch(transaction, volume)

    def find(self, vmgroup: VmgroupId, name: str) -> VolumeRecord | None:
        with self._database.reading() as transaction:
            return volumes.find(transaction, vmgroup, name)

    def elsewhere(self, vmgroup: VmgroupId, base: str) -> VolumeRecord | None:
        with self._database.reading() as transaction:
            return volumes.elsewhere(transaction, vmgroup, base)

    def with_disk(self, disk: DiskUuid) -> VolumeRecord | None:
        with self._database.reading() as transaction:
            return volumes.with_disk(transaction, disk)

    def page(
        self, vmgroup: VmgroupId | None, after: VolumeId | None, limit: int, since: int | None = None
    ) -> Sequence[VolumeRecord]:
        with self._database.reading() as transaction:
            return volumes.page(transaction, vmgroup, after, limit, since)

    def change_number(self) -> int:
        with self._database.reading() as transaction:
            return volumes.change_number(transaction)

    def removed_since(self, vmgroup: VmgroupId, since: int) -> Sequence[VolumeId] | None:
        with self._database.reading() as transaction:
            return volumes.removed_since(transaction, vmgroup, since)

    def open_intents(self) -> Sequence[Intent]:
        with self._database.reading() as transaction:
            return intents.open_intents(transaction)

    def open_intent(self, volume: VolumeId) -> Intent | None:
        with self._database.reading() as transaction:
            return intents.open_intent(transaction, volume)

    def ended(self, volume: VolumeId | None, limit: int) -> Sequence[Ended]:
        with self._database.reading() as transaction:
            return intents.ended(transaction, volume, limit, self._clock.wall())

    def work(self, intent: UUID) -> Intent | Ended | None:
        with self._database.reading() as transaction:
            return intents.work(transaction, intent, self._clock.wall())

    def states(self) -> Mapping[State, int]:
        with self._database.reading() as transaction:
            return volumes.states(transaction)

    def stored_answer(self, caller: VmId, call: UUID) -> bytes | None:
        with self._database.reading() as transaction:
            return intents.stored_answer(transaction, caller, call, self._clock.wall())

    def keep_answer(self, caller: VmId, call: UUID, answer: bytes) -> None:
        with self._database.writing() as transaction:
            intents.keep_answer(transaction, caller, call, answer, self._clock.wall())

    # --- vmgroups ------------------------------------------------------------------------------------------------

    def vmgroup(self, vm: VmId) -> Vmgroup:
        with self._database.reading() as transaction:
            return vmgroups.vmgroup(transaction, vm)

    def group_of(self, vm: VmId) -> Group:
        with self._database.reading() as transaction:
            return vmgroups.group_of(transaction, vm)

    def tenancy(self, vm: VmId) -> Tenancy:
        with self._database.reading() as transaction:
            return vmgroups.tenancy(transaction, vm)

    def groups(self) -> Sequence[Group]:
        with self._database.reading() as transaction:
            return vmgroups.every(transaction)

    def vmgroup_names(self) -> Mapping[VmgroupId, str]:
        with self._database.reading() as transaction:
            return vmgroups.names(transaction)

    def group(self, name: str) -> Group | None:
        with self._database.reading() as transaction:
            return vmgroups.named(transaction, name)

    def group_by_id(self, vmgroup: VmgroupId) -> Group | None:
        with self._database.reading() as transaction:
            return vmgroups.by_id(transaction, vmgroup)

    def put_group(self, group: Group, *, expect: int | None, unmoved_since: int | None = None) -> Group:
        with self._database.writing() as transaction:
            return vmgroups.put(transaction, group, expect, unmoved_since, volumes.next_change(transaction))

    def delete_group(self, vmgroup: VmgroupId, *, expect: int | None, unmoved_since: int | None = None) -> None:
        with self._database.writing() as transaction:
            vmgroups.remove(transaction, vmgroup, expect, unmoved_since, volumes.next_change(transaction))

    def adopt_groups(self, groups: Sequence[Group] | None) -> Sequence[VmgroupId]:
        """Take over the vmgroups of another database, for a rebuild; see ``vmgroups.adopt``."""
        with self._database.writing() as transaction:
            return vmgroups.adopt(transaction, groups, volumes.next_change(transaction))

    def regroup(self, record: VolumeRecord, *, expect: int, over_quota: bool = False) -> None:
        with self._database.writing() as transaction:
            intents.regroup(transaction, record, expect, over_quota=over_quota)

    def usage(self, vmgroup: VmgroupId) -> Mapping[DatastoreName, int]:
        with self._database.reading() as transaction:
            return vmgroups.usage(transaction, vmgroup)

    def volume_count(self, vmgroup: VmgroupId) -> int:
        with self._database.reading() as transaction:
            return vmgroups.volume_count(transaction, vmgroup)

    def set_default_datastore(self, vmgroup: VmgroupId, datastore: DatastoreName | None) -> None:
        """Afterwards new volumes of the group lie on ``datastore`` unless the user names another, if it had no default.

        What an administrator chose stays, and a group that was removed stays away.
        """
        if datastore is None:
            return
        with self._database.writing() as transaction:
            vmgroups.set_default_datastore(transaction, vmgroup, datastore, volumes.next_change(transaction))

    # --- datastores ----------------------------------------------------------------------------------------------

    def datastore_ids(self) -> Mapping[DatastoreName, UUID]:
        """Return what each datastore's marker says, as far as it was seen once; raises MetadataDamaged for no UUID."""
        with self._database.reading() as transaction:
            return known_datastores.ids(transaction, self._database.name)

    def remember_datastore(self, name: DatastoreName, marker: UUID) -> None:
        """Afterwards the datastore is only what has this marker. Raises NotPermitted if it is known by another one."""
        with self._database.writing() as transaction:
            known_datastores.remember(transaction, name, marker)

    # --- who may speak as which VM -------------------------------------------------------------------------------

    def identity(self, fingerprint: str) -> Identity | None:
        with self._database.reading() as transaction:
            return identities.identity(transaction, fingerprint)

    def identities(self, vm: VmId | None = None) -> Sequence[Identity]:
        with self._database.reading() as transaction:
            return identities.identities(transaction, vm)

    def tickets(self, vm: VmId | None = None) -> Sequence[Ticket]:
        with self._database.reading() as transaction:
            return identities.tickets(transaction, vm)

    def ticket(self, hash: str) -> Ticket | None:
        with self._database.reading() as transaction:
            return identities.ticket(transaction, hash)

    def invite(self, ticket: Ticket) -> None:
        with self._database.writing() as transaction:
            identities.invite(transaction, ticket, self._clock.wall())

    def enrol(self, identity: Identity, hash: str) -> bool:
        with self._database.writing() as transaction:
            return identities.enrol(transaction, identity, hash)

    def renew(self, identity: Identity, keep: str) -> bool:
        with self._database.writing() as transaction:
            return identities.renew(transaction, identity, keep)

    def revoke(self, vm: VmId, now: float) -> int:
        with self._database.writing() as transaction:
            return identities.revoke(transaction, vm, now)

    def adopt(self, known: Sequence[Identity], invited: Sequence[Ticket]) -> None:
        """Take over what another database had on record, for a rebuild."""
        with self._database.writing() as transaction:
            identities.adopt(transaction, known, invited)
