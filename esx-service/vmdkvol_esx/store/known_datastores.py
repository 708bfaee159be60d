"""By what each datastore is known again: the statements, each inside its caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import bindparam, insert, select

from vmdkvol.errors import MetadataDamaged, NotPermitted
from vmdkvol.names import DatastoreName
from vmdkvol_esx.store.engine import REBUILD
from vmdkvol_esx.store.schema import datastores
from vmdkvol_esx.store.statements import Statement, Transaction

_ALL = Statement(select(datastores))
_ONE = Statement(select(datastores).where(datastores.c.name == bindparam("called")))
_NEW = Statement(insert(datastores))


def ids(transaction: Transaction, database: str) -> Mapping[DatastoreName, UUID]:
    """Return the markers by the datastores' names; MetadataDamaged, naming the database, for what is none."""
    rows = transaction.all(_ALL)
    try:
        return {DatastoreName(row["name"]): UUID(row["id"]) for row in rows}
    except ValueError as error:
        raise MetadataDamaged(f"{database} has a datastore without a UUID", remedy=REBUILD) from error


def remember(transaction: Transaction, name: DatastoreName, marker: UUID) -> None:
    known = transaction.first(_ONE, called=name)
    if known is None:
        transaction.change(_NEW, name=name, id=str(marker))
    elif known["id"] != str(marker):
        raise NotPermitted(f"datastore {name} is {known['id']}, not {marker}", remedy="connect the one that was there before")
