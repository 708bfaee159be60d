"""Cordons of datastores, and which disks lie where: the statements, and the store's part of the port."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import REAL, Column, Table, Text, bindparam, delete, select
from sqlalchemy.dialects.sqlite import insert

from vmdkvol.errors import MetadataDamaged
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.cordons import Cordon, Placed, takes_none
from vmdkvol_esx.ports import CloneDisk, CreateDisk, DiskPath, DiskRef
from vmdkvol_esx.records import Intent, VolumeRecord
from vmdkvol_esx.store.engine import Database
from vmdkvol_esx.store.schema import metadata, row_checksum, volumes
from vmdkvol_esx.store.statements import Row, Statement, Transaction

table = Table(
    "cordons",
    metadata,
    Column("datastore", Text, primary_key=True),
    Column("ordered_by", Text, nullable=False),
    Column("at", REAL, nullable=False),
    Column("reason", Text, nullable=False),
    Column("checksum", Text, nullable=False),
    sqlite_strict=True,
)

_FIELDS = ("datastore", "ordered_by", "at", "reason")
_ALL = Statement(select(table).order_by(table.c.datastore))
_ONE = Statement(select(table).where(table.c.datastore == bindparam("place")))
_TAKE = Statement(delete(table).where(table.c.datastore == bindparam("place")))
_PUT = Statement(insert(table))
_PLACED = Statement(select(volumes.c.disk_uuid, volumes.c.datastore, volumes.c.path, volumes.c.size_bytes))


class SqlCordons:
    """The part of ``SqlStore`` that is ``cordons.Cordons``."""

    _database: Database

    def cordons(self) -> Sequence[Cordon]:
        with self._database.reading() as transaction:
            return every(transaction)

    def cordon(self, cordon: Cordon) -> None:
        with self._database.writing() as transaction:
            put(transaction, cordon)

    def uncordon(self, datastore: DatastoreName) -> None:
        with self._database.writing() as transaction:
            take(transaction, datastore)

    def placed(self) -> Sequence[Placed]:
        with self._database.reading() as transaction:
            return _placed(transaction)


def every(transaction: Transaction) -> Sequence[Cordon]:
    return tuple(_cordon(row) for row in transaction.all(_ALL))


def put(transaction: Transaction, cordon: Cordon) -> None:
    take(transaction, cordon.datastore)
    row = {"datastore": cordon.datastore, "ordered_by": cordon.by, "at": float(cordon.at), "reason": cordon.reason}
    transaction.change(_PUT, **row, checksum=row_checksum(row, _FIELDS))


def take(transaction: Transaction, datastore: DatastoreName) -> None:
    transaction.change(_TAKE, place=datastore)


def check_open(transaction: Transaction, intent: Intent, record: VolumeRecord) -> None:
    """Raise NotPermitted if the work makes a volume on a datastore that takes none now."""
    if isinstance(intent.change, CreateDisk | CloneDisk):
        check_not_cordoned(transaction, record)


def check_not_cordoned(transaction: Transaction, record: VolumeRecord) -> None:
    """Raise NotPermitted if the datastore of a new volume takes none now."""
    row = transaction.first(_ONE, place=record.datastore)
    if row is not None:
        _cordon(row)
        raise takes_none(record.datastore)


def _placed(transaction: Transaction) -> Sequence[Placed]:
    rows = transaction.all(_PLACED)
    return tuple(
        Placed(
            DiskRef(DiskUuid(UUID(row["disk_uuid"])), DiskPath(DatastoreName(row["datastore"]), row["path"])),
            row["size_bytes"],
        )
        for row in rows
    )


def _cordon(row: Row) -> Cordon:
    if row_checksum(row, _FIELDS) != row["checksum"]:
        raise MetadataDamaged(f"the database's cordon of datastore {row['datastore']!r} does not match its checksum")
    return Cordon(DatastoreName(row["datastore"]), row["ordered_by"], row["at"], row["reason"])
