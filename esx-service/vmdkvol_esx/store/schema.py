"""The tables, and the rows that records and intents become. The migrations make the tables; a test compares the two.

A volume's and an intent's row carry a checksum over what was written: SQLite has none of its own, and a flipped bit
in a generation, a content word or the path of a disk to delete must not be believed (F40).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any, TypeVar, get_args
from uuid import UUID

from sqlalchemy import REAL, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, Text, text

from vmdkvol.errors import MetadataDamaged, VolumeError
from vmdkvol.volume import VmId, VolumeId
from vmdkvol.wire import dump, load
from vmdkvol_esx.identities import Identity, Ticket
from vmdkvol_esx.ports import Change
from vmdkvol_esx.records import Intent, VolumeRecord
from vmdkvol_esx.store.record_rows import record_in
from vmdkvol_esx.store.statements import Row

T = TypeVar("T")

# The newest migration. A database of this revision is used as it is, and Alembic is not even imported.
REVISION = "0010"
# PRAGMA application_id, "vmkv": tells our database from somebody else's SQLite file.
APPLICATION_ID = 0x766D6B76

metadata = MetaData()

# SQLite uses an index of some rows only for a query that has its condition word by word: no parameters, this order.
LIVE = "state IN ('preparing', 'ready', 'lost', 'damaged')"

volumes = Table(
    "volumes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("vmgroup", Text, ForeignKey("vmgroups.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("datastore", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("disk_uuid", Text, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("filesystem_uuid", Text),
    Column("options", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("created_at", REAL, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("last_vm", Text),
    Column("trashed_at", REAL),
    Column("changed", Integer, nullable=False),
    Column("checksum", Text, nullable=False),
    Column("copied_uuids", Text),
    Column("adopted", Text),
    Column("policy_pending", Integer),
    # A name in the trash is free again (corrections 18); the words are those of volume.LIVE_STATES.
    Index("live_names", "vmgroup", "name", unique=True, sqlite_where=text(LIVE)),
    # Two records of one disk would be two owners of one disk (I2).
    Index("one_record_a_disk", "disk_uuid", unique=True),
    Index("one_record_a_path", "datastore", "path", unique=True),
    Index("volumes_changed", "changed"),
    # What a vmgroup uses is a sum over this index alone.
    Index("volumes_used", "vmgroup", "datastore", "state", "size_bytes"),
    sqlite_strict=True,
)

intents = Table(
    "intents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("volume", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("change", Text, nullable=False),
    Column("caller", Text),
    Column("opened_at", REAL, nullable=False),
    Column("source", Text),
    Column("before", Text),
    Column("task", Text),
    Column("closed_at", REAL),
    Column("outcome", Text),
    Column("checksum", Text, nullable=False),
    Column("request", Text),
    Index("one_open_intent", "volume", unique=True, sqlite_where=text("closed_at IS NULL")),
    Index("open_sources", "source", sqlite_where=text("closed_at IS NULL")),
    sqlite_strict=True,
)

removed = Table(
    "removed",
    metadata,
    Column("change", Integer, primary_key=True),
    Column("volume", Text, nullable=False),
    Column("vmgroup", Text, nullable=False),
    sqlite_strict=True,
)

datastores = Table(
    "datastores",
    metadata,
    Column("name", Text, primary_key=True),
    Column("id", Text, nullable=False),
    sqlite_strict=True,
)

# One row. ``change`` is the number of the last write; of removed ids those after ``floor`` are remembered.
counters = Table(
    "counters",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("change", Integer, nullable=False),
    Column("floor", Integer, nullable=False),
    sqlite_strict=True,
)

answers = Table(
    "answers",
    metadata,
    Column("caller", Text, primary_key=True),
    Column("call", Text, primary_key=True),
    Column("answer", LargeBinary, nullable=False),
    Column("kept_at", REAL, nullable=False),
    Index("answers_kept", "kept_at"),
    sqlite_strict=True,
)

identities = Table(
    "identities",
    metadata,
    Column("fingerprint", Text, primary_key=True),
    Column("vm", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("issued_at", REAL, nullable=False),
    Column("not_after", REAL, nullable=False),
    Column("request", Text, nullable=False),
    Column("certificate_pem", Text, nullable=False),
    Column("revoked_at", REAL),
    Column("checksum", Text, nullable=False),
    Index("identities_of", "vm", "issued_at"),
    sqlite_strict=True,
)

# Hashes only.
tokens = Table(
    "tokens",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("vm", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("expires_at", REAL, nullable=False),
    Column("used_at", REAL),
    Column("used_for", Text),
    Column("checksum", Text, nullable=False),
    Index("tokens_of", "vm", "expires_at"),
    sqlite_strict=True,
)

# Without the task, which comes later. The last one counts where it is there: a row from before has no such column.
_INTENT_FIELDS = ("id", "volume", "kind", "change", "caller", "opened_at", "source", "before", "request")
_RECORD_FIELDS = tuple(field.name for field in fields(VolumeRecord))
# What every statement that reads records selects: their columns in the order of the checksum, then that itself.
RECORD_COLUMNS = tuple(volumes.c[name] for name in (*_RECORD_FIELDS, "checksum"))
# What a row has counted from the first version on; the columns after them came later.
_FIRST_FIELDS = _RECORD_FIELDS.index("copied_uuids")
# All records as they lie there, for ``check_records``.
RECORDS = f"SELECT {', '.join(column.name for column in RECORD_COLUMNS)} FROM volumes"
# Made once: a checksum is one of these, and a listing looks at ten thousand.
_COMPACT = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
_CHANGES: dict[str, type[Change]] = {kind.__name__: kind for kind in get_args(Change)}


def compact(value: Any) -> str:
    """Return the value as JSON, always in the same words."""
    return _COMPACT.encode(value)


def _real(value: float | None) -> float | None:
    # SQLite gives a REAL column back as float; an int from the caller must have the same checksum.
    return None if value is None else float(value)


def row_checksum(row: Row, names: Sequence[str]) -> str:
    """Return the checksum over these columns, as every row that has one keeps it."""
    return hashlib.sha256(compact([row[name] for name in names]).encode()).hexdigest()


def _record_checksum(values: Sequence[Any]) -> str:
    """Return the checksum over a record's columns. Without the last ones where they are empty, as rows from before have it."""
    counted = list(values)
    while len(counted) > _FIRST_FIELDS and counted[-1] is None:
        counted.pop()
    return hashlib.sha256(compact(counted).encode()).hexdigest()


def record_to_row(record: VolumeRecord, change: int) -> dict[str, Any]:
    """Return the row of ``record``, written by the change of that number."""
    row = dump(record)
    row["options"] = compact(row["options"])
    row["created_at"], row["trashed_at"] = _real(record.created_at), _real(record.trashed_at)
    row["copied_uuids"] = compact(row["copied_uuids"]) if record.copied_uuids else None
    row["adopted"] = record.adopted or None
    row["policy_pending"] = 1 if record.policy_pending else None
    return {**row, "changed": change, "checksum": _record_checksum([row[name] for name in _RECORD_FIELDS])}


def check_records(rows: Iterable[Sequence[Any]]) -> None:
    """Raise MetadataDamaged unless each row of ``RECORDS`` is what was once written.

    Quicker by far than reading the records: at the start of a large site all of them are looked at before the first answer.
    """
    for *values, checksum in rows:
        if _record_checksum(values) != checksum:
            raise _damaged(values, "does not match its checksum")


def row_to_record(row: Iterable[Any]) -> VolumeRecord:
    """Return the record in a row of ``RECORD_COLUMNS``; raise MetadataDamaged if it is not what was once written."""
    *values, checksum = row
    if _record_checksum(values) != checksum:
        raise _damaged(values, "does not match its checksum")
    try:
        return record_in(values)
    except (VolumeError, ValueError) as error:
        raise _damaged(values, f"cannot be read: {error}") from error


def _damaged(values: Sequence[Any], why: str) -> MetadataDamaged:
    row = dict(zip(_RECORD_FIELDS, values, strict=True))
    return MetadataDamaged(f"the database's record of volume {row['name']!r} ({row['id']}) {why}", volume=row["id"])


def intent_to_row(intent: Intent) -> dict[str, Any]:
    row = {
        "id": str(intent.id),
        "volume": str(intent.volume),
        "kind": type(intent.change).__name__,
        "change": compact(dump(intent.change)),
        "caller": None if intent.caller is None else str(intent.caller),
        "opened_at": float(intent.opened_at),
        "source": None if intent.source is None else str(intent.source),
        "before": None if intent.before is None else compact(dump(intent.before)),
        "task": intent.task,
        "request": None if intent.request is None else str(intent.request),
    }
    return {**row, "checksum": _intent_checksum(row)}


def _intent_checksum(row: Row) -> str:
    return row_checksum(row, _INTENT_FIELDS if row["request"] is not None else _INTENT_FIELDS[:-1])


def row_to_intent(row: Row) -> Intent:
    """Return the intent in ``row``; raise MetadataDamaged if it is not what was once written."""
    name = f"the database's intent {row['id']} of volume {row['volume']}"
    if _intent_checksum(row) != row["checksum"]:
        raise MetadataDamaged(f"{name} does not match its checksum", volume=row["volume"])
    try:
        before = row["before"]
        return Intent(
            id=UUID(row["id"]),
            volume=VolumeId(UUID(row["volume"])),
            change=load(_CHANGES[row["kind"]], json.loads(row["change"])),
            caller=None if row["caller"] is None else VmId(UUID(row["caller"])),
            opened_at=row["opened_at"],
            source=None if row["source"] is None else VolumeId(UUID(row["source"])),
            before=None if before is None else load(VolumeRecord, json.loads(before)),
            task=row["task"],
            request=None if row["request"] is None else UUID(row["request"]),
        )
    except (VolumeError, ValueError, KeyError) as error:
        raise MetadataDamaged(f"{name} cannot be read: {error}", volume=row["volume"]) from error


def checked_row(value: Identity | Ticket) -> dict[str, Any]:
    """Return the row of an identity or a token: a flipped bit in it must not make one VM another."""
    row = dump(value)
    row |= {name: _real(row[name]) for name in row if name.endswith(("_at", "_after"))}
    return {**row, "checksum": row_checksum(row, [field.name for field in fields(value)])}


def checked_value(kind: type[T], row: Row) -> T:
    """Return what ``checked_row`` made the row of; MetadataDamaged if it is not what was once written."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    name = f"the database's record of a certificate or token of VM {row['vm']}"
    if row_checksum(row, names) != row["checksum"]:
        raise MetadataDamaged(f"{name} does not match its checksum", vm=row["vm"])
    try:
        return load(kind, {each: row[each] for each in names})
    except VolumeError as error:
        raise MetadataDamaged(f"{name} cannot be read: {error}", vm=row["vm"]) from error
