"""Records of volumes, change numbers and removed ids: the statements, each inside its caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, insert, literal_column, select, text, update

from vmdkvol.errors import Busy, NameConflict, NotPermitted, StaleRequest, VolumeInUse
from vmdkvol.volume import LIVE_STATES, DiskUuid, VmgroupId, VolumeId
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.store.schema import LIVE, counters, intents, record_to_row, removed, row_to_record, vmgroups, volumes

# How many removed ids an agent may lag behind before it has to list everything.
REMEMBERED = 10_000

# Built once: building a statement takes three to fifteen times as long as SQLite with it, and an attach has some forty.
_NEXT = update(counters).values(change=counters.c.change + 1).returning(counters.c.change)
_BY_ID = select(volumes).where(volumes.c.id == bindparam("key"))
_NAMED = (volumes.c.vmgroup == bindparam("group"), volumes.c.name == bindparam("text"), text(LIVE))
_BY_NAME = select(volumes).where(*_NAMED)
# Between "base@" and what comes after every "base@...", so that the index of names is enough.
_ELSEWHERE = (
    select(volumes)
    .where(volumes.c.vmgroup == bindparam("group"), text(LIVE))
    .where(volumes.c.name > bindparam("low"), volumes.c.name < bindparam("high"))
    .where(volumes.c.name == bindparam("low") + volumes.c.datastore)
    .order_by(volumes.c.name)
    .limit(1)
)
_BY_DISK = select(volumes).where(volumes.c.disk_uuid == bindparam("disk"))
_REPLACE = update(volumes).where(volumes.c.id == bindparam("key"))
_INSERT = insert(volumes)
_GROUP = select(vmgroups.c.id).where(vmgroups.c.id == bindparam("group"))
_OTHERS = select(volumes.c.id, volumes.c.name).where(volumes.c.id != bindparam("key"))
_SAME_NAME = _OTHERS.where(*_NAMED)
_SAME_DISK = _OTHERS.where(
    (volumes.c.disk_uuid == bindparam("disk"))
    | ((volumes.c.datastore == bindparam("store")) & (volumes.c.path == bindparam("place")))
)
_GENERATION = select(volumes.c.generation).where(volumes.c.id == bindparam("key"))
_OPEN_KIND = select(intents.c.kind).where(intents.c.closed_at.is_(None), intents.c.volume == bindparam("key"))
_OPEN_READER = (
    select(volumes.c.name)
    .select_from(intents.outerjoin(volumes, volumes.c.id == intents.c.volume))
    .where(intents.c.closed_at.is_(None), intents.c.source == bindparam("key"))
)

# So many changed records are found by the index of changes and sorted for each page; of more the first ones are soon found
# in the order of ids. Left to itself SQLite always takes that order, and reads the whole table to find none: each List did.
_FEW = 1000
# SQLite uses no index for a term with a unary plus (sqlite.org/optoverview.html).
_UNINDEXED_ID: ColumnElement[str] = literal_column("+volumes.id", volumes.c.id.type)


def next_change(connection: Connection) -> int:
    """Raise the change number and return it; the number of the transaction that this is part of."""
    return int(connection.execute(_NEXT).scalar_one())


def change_number(connection: Connection) -> int:
    return int(connection.execute(select(counters.c.change)).scalar_one())


def fetch(connection: Connection, volume: VolumeId) -> VolumeRecord | None:
    row = connection.execute(_BY_ID, {"key": str(volume)}).mappings().first()
    return None if row is None else row_to_record(row)


def find(connection: Connection, vmgroup: VmgroupId, name: str) -> VolumeRecord | None:
    row = connection.execute(_BY_NAME, {"group": str(vmgroup), "text": name}).mappings().first()
    return None if row is None else row_to_record(row)


def elsewhere(connection: Connection, vmgroup: VmgroupId, base: str) -> VolumeRecord | None:
    bounds = {"group": str(vmgroup), "low": f"{base}@", "high": f"{base}{chr(ord('@') + 1)}"}
    row = connection.execute(_ELSEWHERE, bounds).mappings().first()
    return None if row is None else row_to_record(row)


def with_disk(connection: Connection, disk: DiskUuid) -> VolumeRecord | None:
    row = connection.execute(_BY_DISK, {"disk": str(disk)}).mappings().first()
    return None if row is None else row_to_record(row)


def page(
    connection: Connection, vmgroup: VmgroupId | None, after: VolumeId | None, limit: int, since: int | None
) -> Sequence[VolumeRecord]:
    query = select(volumes).limit(limit)
    if vmgroup is not None:
        query = query.where(volumes.c.vmgroup == str(vmgroup))
    if since is not None:
        query = query.where(volumes.c.changed > since)
    place: ColumnElement[str] = volumes.c.id
    if since is not None and _few_changed(connection, since):
        place = _UNINDEXED_ID
    if after is not None:
        query = query.where(place > str(after))
    query = query.order_by(place)
    return tuple(row_to_record(row) for row in connection.execute(query).mappings())


def _few_changed(connection: Connection, since: int) -> bool:
    query = select(volumes.c.changed).where(volumes.c.changed > since).limit(1).offset(_FEW)
    return connection.execute(query).first() is None


def removed_since(connection: Connection, vmgroup: VmgroupId, since: int) -> Sequence[VolumeId] | None:
    counter = connection.execute(select(counters)).mappings().one()
    # A number that was never given out is one of another database: nothing is known about what it has seen.
    if not counter["floor"] <= since <= counter["change"]:
        return None
    query = select(removed.c.volume).where(removed.c.vmgroup == str(vmgroup), removed.c.change > since)
    return tuple(VolumeId(UUID(text)) for text in connection.execute(query.order_by(removed.c.change)).scalars())


def put(connection: Connection, record: VolumeRecord, change: int) -> None:
    """Store ``record`` in place of the one of its id; raise NameConflict if what it claims is another's."""
    _claim(connection, record)
    row = record_to_row(record, change)
    known = connection.execute(_REPLACE, {"key": row["id"], **row})
    if not known.rowcount:
        connection.execute(_INSERT, row)


def _claim(connection: Connection, record: VolumeRecord) -> None:
    key, group = str(record.id), str(record.vmgroup)
    if connection.execute(_GROUP, {"group": group}).first() is None:
        raise NotPermitted(f"volume {record.name}: vmgroup {record.vmgroup} does not exist", volume=str(record.id))
    if record.state in LIVE_STATES:
        same = connection.execute(_SAME_NAME, {"key": key, "group": group, "text": record.name})
        if same.first() is not None:
            raise NameConflict(f"volume {record.name} exists", volume=key, name=record.name)
    place = {"store": record.datastore, "place": record.path}
    owner = connection.execute(_SAME_DISK, {"key": key, "disk": str(record.disk_uuid), **place}).first()
    if owner is not None:
        raise NameConflict(
            f"the disk [{record.datastore}] {record.path} ({record.disk_uuid}) is already that of volume {owner.name}",
            remedy="an administrator must look; nothing was changed",
            volume=str(record.id),
            holder=owner.id,
        )


def check_generation(connection: Connection, volume: VolumeId, expect: int) -> None:
    """Raise StaleRequest unless the record is there and of generation ``expect``."""
    stored = connection.execute(_GENERATION, {"key": str(volume)}).scalar()
    if stored != expect:
        stands = "is gone" if stored is None else f"is of generation {stored}"
        raise StaleRequest(f"volume {volume} {stands}, the request is for generation {expect}", volume=str(volume))


def check_idle(connection: Connection, volume: VolumeId) -> None:
    """Raise Busy if the volume has an open intent, VolumeInUse if an open clone reads from it."""
    own = connection.execute(_OPEN_KIND, {"key": str(volume)}).scalar()
    if own is not None:
        raise Busy(f"volume {volume}: {own} is under way", volume=str(volume))
    clone = connection.execute(_OPEN_READER, {"key": str(volume)}).first()
    if clone is not None:
        raise VolumeInUse(
            f"volume {volume} is being copied to {clone.name}",
            remedy="wait until the copy is done",
            volume=str(volume),
            holder=clone.name,
        )


def forget(connection: Connection, volume: VolumeId, change: int) -> None:
    """Delete the record and remember its id as removed; not there is fine."""
    gone = connection.execute(delete(volumes).where(volumes.c.id == str(volume)).returning(volumes.c.vmgroup)).scalar()
    if gone is None:
        return
    connection.execute(insert(removed).values(change=change, volume=str(volume), vmgroup=gone))
    too_many = int(connection.execute(select(func.count()).select_from(removed)).scalar_one()) - REMEMBERED
    if too_many > 0:
        oldest = select(removed.c.change).order_by(removed.c.change).limit(too_many).subquery()
        floor = connection.execute(select(func.max(oldest.c.change))).scalar_one()
        connection.execute(delete(removed).where(removed.c.change <= floor))
        connection.execute(update(counters).values(floor=floor))
