"""Records of volumes, change numbers and removed ids: the statements, each inside its caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from uuid import UUID

from sqlalchemy import ColumnElement, bindparam, delete, func, insert, literal_column, select, text, update

from vmdkvol.errors import Busy, NameConflict, NotPermitted, StaleRequest, VolumeInUse
from vmdkvol.volume import LIVE_STATES, DiskUuid, State, VmgroupId, VolumeId
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.store.schema import (
    LIVE,
    RECORD_COLUMNS,
    counters,
    intents,
    record_to_row,
    removed,
    row_to_record,
    volumes,
)
from vmdkvol_esx.store.statements import Statement, Transaction
from vmdkvol_esx.store.vmgroup_rows import vmgroups

# How many removed ids an agent may lag behind before it has to list everything.
REMEMBERED = 10_000

_NEXT = Statement(update(counters).values(change=counters.c.change + 1).returning(counters.c.change))
_COUNTERS = Statement(select(counters))
_FLOOR = Statement(update(counters).values(floor=bindparam("new")))
_ONE = volumes.c.id == bindparam("key")
_BY_ID = Statement(select(*RECORD_COLUMNS).where(_ONE))
_NAMED = (volumes.c.vmgroup == bindparam("group"), volumes.c.name == bindparam("text"), text(LIVE))
_BY_NAME = Statement(select(*RECORD_COLUMNS).where(*_NAMED))
# Between "base@" and what comes after every "base@...", so that the index of names is enough.
_ELSEWHERE = Statement(
    select(*RECORD_COLUMNS)
    .where(volumes.c.vmgroup == bindparam("group"), text(LIVE))
    .where(volumes.c.name > bindparam("low"), volumes.c.name < bindparam("high"))
    .where(volumes.c.name == bindparam("low") + volumes.c.datastore)
    .order_by(volumes.c.name)
    .limit(1)
)
_BY_DISK = Statement(select(*RECORD_COLUMNS).where(volumes.c.disk_uuid == bindparam("disk")))
_STATES = Statement(select(volumes.c.state, func.count().label("count")).group_by(volumes.c.state))
_REPLACE = Statement(update(volumes).where(_ONE))
INSERT = Statement(insert(volumes))
_DELETE = Statement(delete(volumes).where(_ONE).returning(volumes.c.vmgroup))
_GROUP = Statement(select(vmgroups.c.id).where(vmgroups.c.id == bindparam("group")))
_OTHERS = select(volumes.c.id, volumes.c.name).where(volumes.c.id != bindparam("key"))
_SAME_NAME = Statement(_OTHERS.where(*_NAMED))
_SAME_DISK = Statement(
    _OTHERS.where(
        (volumes.c.disk_uuid == bindparam("disk"))
        | ((volumes.c.datastore == bindparam("store")) & (volumes.c.path == bindparam("place")))
    )
)
_GENERATION = Statement(select(volumes.c.generation).where(_ONE))
_OPEN_KIND = Statement(select(intents.c.kind).where(intents.c.closed_at.is_(None), intents.c.volume == bindparam("key")))
_OPEN_READER = Statement(
    select(volumes.c.name)
    .select_from(intents.outerjoin(volumes, volumes.c.id == intents.c.volume))
    .where(intents.c.closed_at.is_(None), intents.c.source == bindparam("key"))
)
_REMOVED_SINCE = Statement(
    select(removed.c.volume)
    .where(removed.c.vmgroup == bindparam("group"), removed.c.change > bindparam("since"))
    .order_by(removed.c.change)
)
_REMOVE = Statement(insert(removed))
_HOW_MANY_REMOVED = Statement(select(func.count().label("count")).select_from(removed))
_OLDEST = select(removed.c.change).order_by(removed.c.change).limit(bindparam("most")).subquery()
_NEW_FLOOR = Statement(select(func.max(_OLDEST.c.change).label("floor")))
_FORGET_REMOVED = Statement(delete(removed).where(removed.c.change <= bindparam("until")))

# So many changed records are found by the index of changes and sorted for each page; of more the first ones are soon found
# in the order of ids. Left to itself SQLite always takes that order, and reads the whole table to find none: each List did.
_FEW = 1000
# SQLite uses no index for a term with a unary plus (sqlite.org/optoverview.html).
_UNINDEXED_ID: ColumnElement[str] = literal_column("+volumes.id", volumes.c.id.type)
_FEW_CHANGED = Statement(select(volumes.c.changed).where(volumes.c.changed > bindparam("since")).limit(1).offset(_FEW))


def next_change(transaction: Transaction) -> int:
    """Raise the change number and return it; the number of the transaction that this is part of."""
    row = transaction.first(_NEXT)
    assert row is not None, "there is one row of counters, made with its table"
    return int(row["change"])


def change_number(transaction: Transaction) -> int:
    row = transaction.first(_COUNTERS)
    assert row is not None, "there is one row of counters, made with its table"
    return int(row["change"])


def fetch(transaction: Transaction, volume: VolumeId) -> VolumeRecord | None:
    row = transaction.first(_BY_ID, key=str(volume))
    return None if row is None else row_to_record(row)


def find(transaction: Transaction, vmgroup: VmgroupId, name: str) -> VolumeRecord | None:
    row = transaction.first(_BY_NAME, group=str(vmgroup), text=name)
    return None if row is None else row_to_record(row)


def elsewhere(transaction: Transaction, vmgroup: VmgroupId, base: str) -> VolumeRecord | None:
    row = transaction.first(_ELSEWHERE, group=str(vmgroup), low=f"{base}@", high=f"{base}{chr(ord('@') + 1)}")
    return None if row is None else row_to_record(row)


def with_disk(transaction: Transaction, disk: DiskUuid) -> VolumeRecord | None:
    row = transaction.first(_BY_DISK, disk=str(disk))
    return None if row is None else row_to_record(row)


def page(
    transaction: Transaction, vmgroup: VmgroupId | None, after: VolumeId | None, limit: int, since: int | None
) -> Sequence[VolumeRecord]:
    few = since is not None and transaction.first(_FEW_CHANGED, since=since) is None
    given = {"group": vmgroup, "since": since, "after": after}
    wanted = {name: value if isinstance(value, int) else str(value) for name, value in given.items() if value is not None}
    return tuple(row_to_record(row) for row in transaction.all(_page(frozenset(wanted), few=few), limit=limit, **wanted))


@cache
def _page(wanted: frozenset[str], *, few: bool) -> Statement:
    place = _UNINDEXED_ID if few else volumes.c.id
    query = select(*RECORD_COLUMNS).order_by(place).limit(bindparam("limit"))
    conditions = {
        "group": volumes.c.vmgroup == bindparam("group"),
        "since": volumes.c.changed > bindparam("since"),
        "after": place > bindparam("after"),
    }
    return Statement(query.where(*(condition for name, condition in conditions.items() if name in wanted)))


def states(transaction: Transaction) -> Mapping[State, int]:
    return {State(row["state"]): row["count"] for row in transaction.all(_STATES)}


def removed_since(transaction: Transaction, vmgroup: VmgroupId, since: int) -> Sequence[VolumeId] | None:
    counter = transaction.first(_COUNTERS)
    assert counter is not None, "there is one row of counters, made with its table"
    # A number that was never given out is one of another database: nothing is known about what it has seen.
    if not counter["floor"] <= since <= counter["change"]:
        return None
    rows = transaction.all(_REMOVED_SINCE, group=str(vmgroup), since=since)
    return tuple(VolumeId(UUID(row["volume"])) for row in rows)


def put(transaction: Transaction, record: VolumeRecord, change: int) -> None:
    """Store ``record`` in place of the one of its id; raise NameConflict if what it claims is another's."""
    _claim(transaction, record)
    row = record_to_row(record, change)
    if not transaction.change(_REPLACE, key=row["id"], **row):
        transaction.change(INSERT, **row)


def check_unknown(transaction: Transaction, record: VolumeRecord) -> None:
    """Raise NameConflict if a volume of this id is known: what comes now is a copy of it."""
    known = fetch(transaction, record.id)
    if known is not None:
        raise NameConflict(
            f"volume {record.name} ({record.id}) is known already, with its disk at [{known.datastore}] {known.path}",
            remedy="this one is a copy: look which one is wanted, and move the other out of the folder vmdkvol",
            volume=str(record.id),
        )


def _claim(transaction: Transaction, record: VolumeRecord) -> None:
    key, group = str(record.id), str(record.vmgroup)
    if transaction.first(_GROUP, group=group) is None:
        raise NotPermitted(
            f"volume {record.name}: vmgroup {record.vmgroup} does not exist",
            remedy="make it again, under its id",
            volume=str(record.id),
        )
    if record.state in LIVE_STATES and transaction.first(_SAME_NAME, key=key, group=group, text=record.name) is not None:
        raise NameConflict(f"volume {record.name} exists", volume=key, name=record.name)
    owner = transaction.first(_SAME_DISK, key=key, disk=str(record.disk_uuid), store=record.datastore, place=record.path)
    if owner is not None:
        raise NameConflict(
            f"the disk [{record.datastore}] {record.path} ({record.disk_uuid}) is already that of volume {owner['name']}",
            remedy="an administrator must look; nothing was changed",
            volume=str(record.id),
            holder=owner["id"],
        )


def check_generation(transaction: Transaction, volume: VolumeId, expect: int) -> None:
    """Raise StaleRequest unless the record is there and of generation ``expect``."""
    row = transaction.first(_GENERATION, key=str(volume))
    stored = None if row is None else row["generation"]
    if stored != expect:
        stands = "is gone" if stored is None else f"is of generation {stored}"
        raise StaleRequest(f"volume {volume} {stands}, the request is for generation {expect}", volume=str(volume))


def check_idle(transaction: Transaction, volume: VolumeId) -> None:
    """Raise Busy if the volume has an open intent, VolumeInUse if an open clone reads from it."""
    own = transaction.first(_OPEN_KIND, key=str(volume))
    if own is not None:
        raise Busy(f"volume {volume}: {own['kind']} is under way", volume=str(volume))
    clone = transaction.first(_OPEN_READER, key=str(volume))
    if clone is not None:
        raise VolumeInUse(
            f"volume {volume} is being copied to {clone['name']}",
            remedy="wait until the copy is done",
            volume=str(volume),
            holder=clone["name"],
        )


def replace(transaction: Transaction, record: VolumeRecord, expect: int, change: int) -> None:
    """Store an existing record that has the generation ``expect`` and no work; see ``ports.Store.update``."""
    check_idle(transaction, record.id)
    check_generation(transaction, record.id, expect)
    if record.generation < expect:
        raise StaleRequest(f"volume {record.name}: a generation never goes back", volume=str(record.id))
    put(transaction, record, change)


def forget(transaction: Transaction, volume: VolumeId, change: int) -> None:
    """Delete the record and remember its id as removed; not there is fine."""
    gone = transaction.first(_DELETE, key=str(volume))
    if gone is None:
        return
    note_gone(transaction, volume, gone["vmgroup"], change)


def note_gone(transaction: Transaction, volume: VolumeId, vmgroup: str, change: int) -> None:
    """Remember for the machines of this vmgroup that the volume is none of theirs any more."""
    transaction.change(_REMOVE, change=change, volume=str(volume), vmgroup=vmgroup)
    count = transaction.first(_HOW_MANY_REMOVED)
    too_many = 0 if count is None else count["count"] - REMEMBERED
    if too_many > 0:
        oldest = transaction.first(_NEW_FLOOR, most=too_many)
        assert oldest is not None, "a maximum is always one row"
        transaction.change(_FORGET_REMOVED, until=oldest["floor"])
        transaction.change(_FLOOR, new=oldest["floor"])
