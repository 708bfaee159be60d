"""The tables of vmgroups, their rights and members, and the rows that those become. Each row has its checksum: a flipped
bit must not move a machine into another group, nor lift a limit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any
from uuid import UUID

from sqlalchemy import Column, ForeignKey, Index, Integer, Table, Text, text

from vmdkvol.errors import MetadataDamaged
from vmdkvol.names import DatastoreName
from vmdkvol.volume import VmgroupId, VmId
from vmdkvol.wire import dump
from vmdkvol_esx.records import Member, Right, Vmgroup
from vmdkvol_esx.store.schema import compact, metadata, row_checksum
from vmdkvol_esx.store.statements import Row

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
_PART = {kind: ("vmgroup", *_FIELDS[kind]) for kind in (Right, Member)}
_LISTS = ("defaults", "policies")


def vmgroup_row(vmgroup: Vmgroup) -> dict[str, Any]:
    row = _row(vmgroup)
    return {**row, "checksum": row_checksum(row, _FIELDS[Vmgroup])}


def part_row(vmgroup: VmgroupId, part: Right | Member) -> dict[str, Any]:
    """Return the row of a right or a member of ``vmgroup``; which group it is of is part of its checksum."""
    row = {"vmgroup": str(vmgroup), **_row(part)}
    return {**row, "checksum": row_checksum(row, _PART[type(part)])}


def row_to_vmgroup(row: Row) -> Vmgroup:
    """Return the group in the row; MetadataDamaged if it is not what was once written, as for the others here.

    Without the strict reader, which takes ten times as long: the checksum says that we wrote it.
    """
    check_vmgroup(row)
    place = row["default_datastore"]
    with _read(_named(row)):
        return Vmgroup(
            VmgroupId(UUID(row["id"])),
            row["name"],
            None if place is None else DatastoreName(place),
            row["description"],
            tuple((key, value) for key, value in json.loads(row["defaults"])),
            tuple(json.loads(row["policies"])),
            row["revision"],
            row["changed"],
        )


def check_vmgroup(row: Row) -> Row:
    """Return the row of a group; MetadataDamaged unless its checksum is right."""
    return _checked(row, _FIELDS[Vmgroup], _named(row))


def row_to_right(row: Row) -> Right:
    named = f"the right of vmgroup {row['vmgroup']} on {row['datastore']!r}"
    _checked(row, _PART[Right], named)
    with _read(named):
        policies = tuple(json.loads(row["policies"]))
    place, most, total = DatastoreName(row["datastore"]), row["max_bytes"], row["total_bytes"]
    return Right(place, bool(row["allow_create"]), most, total, policies)


def row_to_member(row: Row) -> Member:
    named = f"machine {row['vm']} in a vmgroup"
    _checked(row, _PART[Member], named)
    with _read(named):
        return Member(VmId(UUID(row["vm"])), row["name"])


def _named(row: Row) -> str:
    return f"vmgroup {row['name']!r} ({row['id']})"


def _row(value: Vmgroup | Right | Member) -> dict[str, Any]:
    row: dict[str, Any] = dump(value)
    row |= {name: compact(row[name]) for name in _LISTS if name in row}
    if isinstance(value, Right):
        row["allow_create"] = int(value.allow_create)
    return row


def _checked(row: Row, names: Sequence[str], named: str) -> Row:
    if row_checksum(row, names) != row["checksum"]:
        raise MetadataDamaged(f"the database's record of {named} does not match its checksum")
    return row


@contextmanager
def _read(named: str) -> Iterator[None]:
    """What cannot be read although its checksum is right was written by something that is not of this version."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise MetadataDamaged(f"the database's record of {named} cannot be read: {error}") from error
