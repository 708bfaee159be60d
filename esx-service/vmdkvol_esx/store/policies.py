"""Storage policies that are made here, and which volumes are under which: the statements, and the store's part of the port."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Column, Integer, Table, Text, bindparam, delete, func, select, text
from sqlalchemy.dialects.sqlite import insert

from vmdkvol.admin_errors import PolicyInUse
from vmdkvol.errors import MetadataDamaged, NameConflict, StaleRequest, quoted
from vmdkvol.volume import VolumeId
from vmdkvol_esx.naming_policies import named_by
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.storage_policies import LocalPolicy
from vmdkvol_esx.store import vmgroups
from vmdkvol_esx.store.engine import Database
from vmdkvol_esx.store.schema import RECORD_COLUMNS, intents, metadata, row_checksum, row_to_record, volumes
from vmdkvol_esx.store.statements import Row, Statement, Transaction

table = Table(
    "policies",
    metadata,
    Column("name", Text, primary_key=True),
    Column("description", Text, nullable=False),
    Column("diskformat", Text),
    Column("revision", Integer, nullable=False),
    Column("checksum", Text, nullable=False),
    sqlite_strict=True,
)

_FIELDS = ("name", "description", "diskformat", "revision")
# A record says nothing of a policy that it has not.
_POLICY = func.json_extract(volumes.c.options, text("'$.policy'"))
_ALL = Statement(select(table).order_by(table.c.name))
_ONE = Statement(select(table).where(table.c.name == bindparam("called")))
_TAKE = Statement(delete(table).where(table.c.name == bindparam("called")))
_PUT = Statement(insert(table))
_COUNTS = Statement(select(_POLICY.label("policy"), func.count().label("count")).where(_POLICY.is_not(None)).group_by(_POLICY))
_COUNT = Statement(select(func.count().label("count")).where(bindparam("called") == _POLICY))
_UNDER = Statement(
    select(*RECORD_COLUMNS)
    .where(bindparam("called") == _POLICY, volumes.c.id > bindparam("after"))
    .order_by(volumes.c.id)
    .limit(bindparam("most"))
)
_AT_WORK = Statement(
    select(intents.c.volume).where(
        intents.c.closed_at.is_(None), func.json_extract(intents.c.change, text("'$.policy'")) == bindparam("called")
    )
)


class SqlPolicies:
    """The part of ``SqlStore`` that is ``storage_policies.LocalPolicies``."""

    _database: Database

    def local_policies(self) -> Sequence[LocalPolicy]:
        with self._database.reading() as transaction:
            return every(transaction)

    def put_policy(self, policy: LocalPolicy, *, expect: int | None) -> LocalPolicy:
        with self._database.writing() as transaction:
            return _put(transaction, policy, expect)

    def remove_policy(self, name: str, *, expect: int) -> None:
        with self._database.writing() as transaction:
            stored = transaction.first(_ONE, called=name)
            if stored is not None:
                _check_revision(_policy(stored), expect)
                _check_unused(transaction, name)
                transaction.change(_TAKE, called=name)

    def policy_volumes(self) -> Mapping[str, int]:
        with self._database.reading() as transaction:
            return {row["policy"]: row["count"] for row in transaction.all(_COUNTS)}

    def under_policy(self, name: str, after: VolumeId | None, limit: int) -> Sequence[VolumeRecord]:
        with self._database.reading() as transaction:
            rows = transaction.all(_UNDER, called=name, after="" if after is None else str(after), most=limit)
            return [row_to_record(row) for row in rows]

    def adopt_policies(self, policies: Sequence[LocalPolicy]) -> None:
        """Take over what another database had on record, for a rebuild."""
        with self._database.writing() as transaction:
            for policy in policies:
                _write(transaction, policy)


def every(transaction: Transaction) -> Sequence[LocalPolicy]:
    return tuple(_policy(row) for row in transaction.all(_ALL))


def _put(transaction: Transaction, policy: LocalPolicy, expect: int | None) -> LocalPolicy:
    stored = transaction.first(_ONE, called=policy.name)
    if expect is None and stored is not None:
        raise NameConflict(f"there is a storage policy {quoted(policy.name)}", remedy="update that one, or use another name")
    if expect is not None:
        _check_revision(None if stored is None else _policy(stored), expect)
    kept = LocalPolicy(policy.name, policy.description, policy.diskformat, 1 if expect is None else expect + 1)
    _write(transaction, kept)
    return kept


def _write(transaction: Transaction, policy: LocalPolicy) -> None:
    row = {name: getattr(policy, name) for name in _FIELDS}
    transaction.change(_TAKE, called=policy.name)
    transaction.change(_PUT, **row, checksum=row_checksum(row, _FIELDS))


def _check_revision(stored: LocalPolicy | None, expect: int) -> None:
    if stored is None or stored.revision != expect:
        raise StaleRequest(f"the storage policy was changed or removed meanwhile, revision {expect} is not there any more")


def _check_unused(transaction: Transaction, name: str) -> None:
    """In the transaction that forgets it: a volume that is made under it at this moment comes before or finds none."""
    count = transaction.first(_COUNT, called=name)
    used = 0 if count is None else count["count"]
    groups = named_by(name, vmgroups.every(transaction))
    if used or groups or transaction.first(_AT_WORK, called=name) is not None:
        raise PolicyInUse(f"storage policy {quoted(name)} is used by {used} volumes and named by {len(groups)} vmgroups")


def _policy(row: Row) -> LocalPolicy:
    if row_checksum(row, _FIELDS) != row["checksum"]:
        raise MetadataDamaged(f"the database's storage policy {row['name']!r} does not match its checksum")
    return LocalPolicy(row["name"], row["description"], row["diskformat"], row["revision"])
