"""The tables of vmgroups, their rights and members, and the rows that those become. Each row has its checksum: a flipped
bit must not move a machine into another group, nor lift a limit.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

from sqlalchemy import Column, ForeignKey, Index, Integer, Table, Text, text

from vmdkvol.errors import MetadataDamaged, VolumeError
from vmdkvol.volume import VmgroupId
from vmdkvol.wire import dump, load
from vmdkvol_esx.records import Member, Right, Vmgroup
from vmdkvol_esx.store.schema import compact, metadata, row_checksum
from vmdkvol_esx.store.statements import Row

T = TypeVar("T", Vmgroup, Right, Member)

vmgroups = Table(
    "vmgroups",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("default_datastore", Text),
    Column("description", Text, nullable=False, server_default=text("''")),
    Column("defaults", Text, nullable=False, server_default=text("'[]'")),
    Column("policies", Text, nullable=False, server_default=text("'[]'")),
    Column("revision", Integer, nullable=False, server_default=text("1")),
    Column("changed", Integer, nullable=False, server_default=text("0")),
    Column("checksum", Text, nullable=False, server_default=text("''")),
    sqlite_strict=True,
)

rights = Table(
    "rights",
    metadata,
    Column("vmgroup", Text, ForeignKey("vmgroups.id"), primary_key=True),
    Column("datastore", Text, primary_key=True),
    Column("allow_create", Integer, nullable=False),
    Column("max_bytes", Integer),
    Column("total_bytes", Integer),
    Column("policies", Text, nullable=False),
    Column("checksum", Text, nullable=False),
    sqlite_strict=True,
)

# A VM is in one group at most.
members = Table(
    "members",
    metadata,
    Column("vm", Text, primary_key=True),
    Column("vmgroup", Text, ForeignKey("vmgroups.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("checksum", Text, nullable=False),
    Index("members_of", "vmgroup"),
    sqlite_strict=True,
)

# In the order of the checksums.
_FIELDS: dict[type[Any], tuple[str, ...]] = {
    kind: tuple(each.name for each in fields(kind)) for kind in (Vmgroup, Right, Member)
}
_LISTS = ("defaults", "policies")


def vmgroup_row(vmgroup: Vmgroup) -> dict[str, Any]:
    row = _row(vmgroup)
    return {**row, "checksum": row_checksum(row, _FIELDS[Vmgroup])}


def part_row(vmgroup: VmgroupId, part: Right | Member) -> dict[str, Any]:
    """Return the row of a right or a member of ``vmgroup``; which group it is of is part of its checksum."""
    row = {"vmgroup": str(vmgroup), **_row(part)}
    return {**row, "checksum": row_checksum(row, ("vmgroup", *_FIELDS[type(part)]))}


def row_to_vmgroup(row: Row) -> Vmgroup:
    """Return the group in the row; MetadataDamaged if it is not what was once written, as for the others here."""
    return _value(Vmgroup, row, _FIELDS[Vmgroup], f"vmgroup {row['name']!r} ({row['id']})")


def row_to_right(row: Row) -> Right:
    named = f"the right of vmgroup {row['vmgroup']} on {row['datastore']!r}"
    return _value(Right, row, ("vmgroup", *_FIELDS[Right]), named)


def row_to_member(row: Row) -> Member:
    return _value(Member, row, ("vmgroup", *_FIELDS[Member]), f"machine {row['vm']} in a vmgroup")


def _row(value: Vmgroup | Right | Member) -> dict[str, Any]:
    row: dict[str, Any] = dump(value)
    row |= {name: compact(row[name]) for name in _LISTS if name in row}
    if isinstance(value, Right):
        row["allow_create"] = int(value.allow_create)
    return row


def _value(kind: type[T], row: Row, checked: Sequence[str], named: str) -> T:
    if row_checksum(row, checked) != row["checksum"]:
        raise MetadataDamaged(f"the database's record of {named} does not match its checksum")
    try:
        data = {name: json.loads(row[name]) if name in _LISTS else row[name] for name in _FIELDS[kind]}
        if kind is Right:
            data["allow_create"] = bool(data["allow_create"])
        return load(kind, data)
    except (VolumeError, ValueError) as error:
        raise MetadataDamaged(f"the database's record of {named} cannot be read: {error}") from error
