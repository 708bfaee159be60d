"""The audit: appended to, read, cut at its old end, never changed; the statements, each inside its caller's transaction.

SQLite's own triggers refuse an UPDATE, a DELETE of what retention has not let go of, and an INSERT anywhere but at the end:
also to another program, and to a mistake of ours. They are part of the schema, whose fingerprint is checked at the start.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from typing import Any
from uuid import UUID

from sqlalchemy import REAL, Column, Integer, Table, Text, bindparam, delete, func, insert, select, update
from sqlalchemy.sql.expression import ColumnElement

from vmdkvol.errors import MetadataDamaged
from vmdkvol.request_ids import MARK, mark
from vmdkvol_esx.records import AuditRecord
from vmdkvol_esx.store.engine import Database
from vmdkvol_esx.store.schema import metadata
from vmdkvol_esx.store.statements import Row, Statement, Transaction
from vmdkvol_esx.trail import AuditFilter, Extent, Kept, checksum, clean

audit = Table(
    "audit",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("at", REAL, nullable=False),
    Column("actor", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("verb", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("result", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("checksum", Text, nullable=False),
    sqlite_strict=True,
)

# One row: up to ``floor`` all is forgotten, ``head`` is the last one; with their checksums, so that both ends are known.
ends = Table(
    "audit_ends",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("floor", Integer, nullable=False),
    Column("floor_checksum", Text, nullable=False),
    Column("head", Integer, nullable=False),
    Column("head_checksum", Text, nullable=False),
    sqlite_strict=True,
)

_BATCH = 1000
SEE = "see docs/how-to/audit.md"

_ENDS = Statement(select(ends))
_APPEND = Statement(insert(audit))
_SET_HEAD = Statement(update(ends).values(head=bindparam("new"), head_checksum=bindparam("sum")))
_SET_FLOOR = Statement(update(ends).values(floor=bindparam("new"), floor_checksum=bindparam("sum")))
_ONE = Statement(select(audit.c.checksum).where(audit.c.seq == bindparam("key")))
_FORGET = Statement(delete(audit).where(audit.c.seq <= bindparam("upto")))
_COUNT = Statement(select(func.count().label("count")).select_from(audit))
# What lies behind the first one that is young enough stays with it, whatever the clock said then.
_FIRST_YOUNG = Statement(select(func.min(audit.c.seq).label("seq")).where(audit.c.at >= bindparam("age")))


@dataclass(frozen=True, slots=True)
class Carried:
    """How many records were taken over, and how many were not; None: nobody knows how many there were."""

    kept: int
    lost: int | None


class SqlTrail:
    """See ``trail.Trail`` for the promises."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Hears what ``append_beside`` could not write.
        self.lost: Callable[[AuditRecord, Exception], None] = lambda record, error: None

    def append(self, record: AuditRecord) -> int:
        with self._writing() as transaction:
            return append(transaction, record)

    def append_beside(self, transaction: Transaction, record: AuditRecord) -> None:
        """Append it in a transaction that is about something else, and goes on whatever becomes of this."""
        try:
            with transaction.apart():
                append(transaction, record)
        except (sqlite3.DatabaseError, MetadataDamaged) as error:
            if not transaction.stands:
                raise
            self.lost(record, error)

    def older(self, wanted: AuditFilter, before: int | None, limit: int) -> Sequence[Kept]:
        with self._database.reading() as transaction:
            return _read(transaction, wanted, {} if before is None else {"before": before}, limit)

    def newer(self, wanted: AuditFilter, after: int, limit: int) -> Sequence[Kept]:
        with self._database.reading() as transaction:
            return _read(transaction, wanted, {"after": after}, limit)

    def extent(self) -> Extent:
        with self._database.reading() as transaction:
            return extent(transaction)

    def cut(self, upto: int, note: AuditRecord) -> None:
        with self._writing() as transaction:
            cut(transaction, upto, note)

    def last_before(self, at: float) -> int:
        with self._database.reading() as transaction:
            known, young = _ends(transaction), transaction.first(_FIRST_YOUNG, age=at)
        first_young = None if young is None else young["seq"]
        return int(known["head"]) if first_young is None else int(first_young) - 1

    def adopt(self, known: Row | None, rows: Iterator[Row]) -> Carried:
        """Take over another database's records as they are into an empty audit, in transactions of many, for a rebuild.

        ``known`` are its ends, None if they could not be read. Numbers stay; what is missing is missing here too, and told.
        """
        floor, kept = 0 if known is None else int(known["floor"]), 0
        last: Row | None = None
        while batch := list(islice(rows, _BATCH)):
            with self._writing() as transaction:
                if last is None:
                    floor = int(batch[0]["seq"]) - 1 if known is None else floor
                    _begin_at(transaction, floor, "" if known is None else known["floor_checksum"])
                for row in batch:
                    _carry(transaction, row)
            last, kept = batch[-1], kept + len(batch)
        if known is None:
            return Carried(kept, None)
        with self._writing() as transaction:
            if last is None:
                _begin_at(transaction, floor, known["floor_checksum"])
            there = last is not None and last["seq"] == known["head"]
            # Of one that is not there the next record's checksum cannot be told to go on from it.
            transaction.change(_SET_HEAD, new=known["head"], sum=known["head_checksum"] if there else "")
        return Carried(kept, int(known["head"]) - floor - kept)

    def check_writable(self) -> None:
        """Raise what a write would raise now, as far as that is known without one."""
        with self._database.writing():
            return

    @contextmanager
    def _writing(self) -> Iterator[Transaction]:
        try:
            with self._database.writing() as transaction:
                yield transaction
        except sqlite3.IntegrityError as error:
            raise MetadataDamaged(f"the audit takes no record: {error}", remedy=SEE) from error


def _begin_at(transaction: Transaction, floor: int, checksum_: str) -> None:
    transaction.change(_SET_FLOOR, new=floor, sum=checksum_)
    transaction.change(_SET_HEAD, new=floor, sum=checksum_)


def _carry(transaction: Transaction, row: Row) -> None:
    # As far as it goes without what is missing before it: a record comes in behind the last one only.
    transaction.change(_SET_HEAD, new=row["seq"] - 1, sum="")
    transaction.change(_APPEND, **{column.name: row[column.name] for column in audit.columns})
    transaction.change(_SET_HEAD, new=row["seq"], sum=row["checksum"])


def append(transaction: Transaction, record: AuditRecord) -> int:
    known = _ends(transaction)
    kept = replace(clean(record), seq=known["head"] + 1, at=float(record.at))
    sum_ = checksum(kept, known["head_checksum"])
    values = {
        name: getattr(kept, name) for name in ("seq", "at", "actor", "role", "source", "verb", "target", "result", "detail")
    }
    transaction.change(_APPEND, **values, request_id=str(kept.request_id), checksum=sum_)
    transaction.change(_SET_HEAD, new=kept.seq, sum=sum_)
    return kept.seq


def extent(transaction: Transaction) -> Extent:
    known, counted = _ends(transaction), transaction.first(_COUNT)
    return Extent(known["floor"] + 1, known["head"], 0 if counted is None else counted["count"])


def cut(transaction: Transaction, upto: int, note: AuditRecord) -> None:
    known = _ends(transaction)
    if not known["floor"] < upto <= known["head"]:
        return
    last = transaction.first(_ONE, key=upto)
    transaction.change(_SET_FLOOR, new=upto, sum="" if last is None else last["checksum"])
    transaction.change(_FORGET, upto=upto)
    append(transaction, note)


def _read(transaction: Transaction, wanted: AuditFilter, place: dict[str, int], limit: int) -> Sequence[Kept]:
    given: dict[str, Any] = {
        "since": wanted.since,
        "until": wanted.until,
        "who": wanted.actor,
        "what": wanted.verb,
        "pattern": wanted.target,
        "came": wanted.result,
        "request": None if wanted.request is None else mark(wanted.request),
        **place,
    }
    # What is asked for is a parameter, and never words of the statement.
    asked = {name: value for name, value in given.items() if value is not None}
    known = _ends(transaction)
    rows = transaction.all(_page(frozenset(asked)), most=limit, **asked)
    return tuple(_kept(transaction, row, known) for row in rows)


@cache
def _page(asked: frozenset[str]) -> Statement:
    terms: dict[str, ColumnElement[bool]] = {
        "since": audit.c.at >= bindparam("since"),
        "until": audit.c.at < bindparam("until"),
        "who": (audit.c.actor == bindparam("who")) | (audit.c.source == bindparam("who")),
        "what": audit.c.verb == bindparam("what"),
        "pattern": audit.c.target.op("GLOB")(bindparam("pattern")),
        "came": audit.c.result == bindparam("came"),
        "request": func.substr(audit.c.request_id, 1, MARK) == bindparam("request"),
        "before": audit.c.seq < bindparam("before"),
        "after": audit.c.seq > bindparam("after"),
    }
    order = audit.c.seq if "after" in asked else audit.c.seq.desc()
    query = select(audit).where(*(terms[name] for name in sorted(asked))).order_by(order)
    return Statement(query.limit(bindparam("most")))


def _kept(transaction: Transaction, row: Row, known: Row) -> Kept:
    names = ("at", "actor", "role", "source", "verb", "target", "result", "detail", "seq")
    try:
        request, readable = UUID(row["request_id"]), True
    except ValueError:
        request, readable = UUID(int=0), False
    record = AuditRecord(request_id=request, **{name: row[name] for name in names})
    last = record.seq == known["head"]
    intact = checksum(record, _previous(transaction, record.seq, known)) == row["checksum"]
    return Kept(record, readable and intact and (not last or row["checksum"] == known["head_checksum"]))


def _previous(transaction: Transaction, seq: int, known: Row) -> str:
    if seq == known["floor"] + 1:
        return str(known["floor_checksum"])
    found = transaction.first(_ONE, key=seq - 1)
    return "" if found is None else str(found["checksum"])


def _ends(transaction: Transaction) -> Row:
    row = transaction.first(_ENDS)
    if row is None:
        raise MetadataDamaged("the audit's ends are not on record", remedy=SEE)
    return row
