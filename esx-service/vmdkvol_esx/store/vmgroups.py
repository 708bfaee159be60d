"""Vmgroups, their rights and members, and what their volumes take: the statements, each inside its caller's transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from sqlalchemy import bindparam, delete, func, insert, select, update

from vmdkvol.admin_errors import VmgroupNotEmpty
from vmdkvol.errors import Busy, Conflict, NameConflict, NotPermitted, StaleRequest, quoted
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DEFAULT_VMGROUP, State, VmgroupId, VmId
from vmdkvol_esx.records import Group, Member, Right, Tenancy, Vmgroup
from vmdkvol_esx.store.schema import volumes
from vmdkvol_esx.store.statements import Statement, Transaction
from vmdkvol_esx.store.vmgroup_rows import (
    check_vmgroup,
    members,
    part_row,
    rights,
    row_to_member,
    row_to_right,
    row_to_vmgroup,
    vmgroup_row,
    vmgroups,
)

_BY_ID = Statement(select(vmgroups).where(vmgroups.c.id == bindparam("key")))
_BY_NAME = Statement(select(vmgroups).where(vmgroups.c.name == bindparam("text")))
_ALL = Statement(select(vmgroups).order_by(vmgroups.c.name))
_OF_VM = Statement(select(members).where(members.c.vm == bindparam("whose")))
_INSERT = Statement(insert(vmgroups))
_REPLACE = Statement(update(vmgroups).where(vmgroups.c.id == bindparam("key")))
_DELETE = Statement(delete(vmgroups).where(vmgroups.c.id == bindparam("key")))
_RIGHTS = Statement(select(rights).where(rights.c.vmgroup == bindparam("key")).order_by(rights.c.datastore))
_ALL_RIGHTS = Statement(select(rights).order_by(rights.c.datastore))
_NO_RIGHTS = Statement(delete(rights).where(rights.c.vmgroup == bindparam("key")))
_ADD_RIGHT = Statement(insert(rights))
_MEMBERS = Statement(select(members).where(members.c.vmgroup == bindparam("key")).order_by(members.c.vm))
_ALL_MEMBERS = Statement(select(members).order_by(members.c.vm))
_NO_MEMBERS = Statement(delete(members).where(members.c.vmgroup == bindparam("key")))
_ADD_MEMBER = Statement(insert(members))
_ONE_VOLUME = Statement(select(volumes.c.id).where(volumes.c.vmgroup == bindparam("key")).limit(1))
_USAGE = Statement(
    select(volumes.c.datastore, volumes.c.state, func.sum(volumes.c.size_bytes).label("bytes"))
    .where(volumes.c.vmgroup == bindparam("key"))
    .group_by(volumes.c.datastore, volumes.c.state)
)
_COUNT = Statement(select(func.count().label("count")).select_from(volumes).where(volumes.c.vmgroup == bindparam("key")))
_CHANGED_SINCE = Statement(
    select(volumes.c.name, volumes.c.last_vm).where(volumes.c.changed > bindparam("since"), volumes.c.last_vm.is_not(None))
)
TRASH = frozenset({State.TRASHED, State.REMOVING})


# --- reading -----------------------------------------------------------------------------------------------------


def fetch(transaction: Transaction, vmgroup: VmgroupId) -> Vmgroup | None:
    row = transaction.first(_BY_ID, key=str(vmgroup))
    return None if row is None else row_to_vmgroup(row)


def of_vm(transaction: Transaction, vm: VmId) -> Vmgroup | None:
    """Return the group of this VM; None if it is in none."""
    row = transaction.first(_OF_VM, whose=str(vm))
    if row is None:
        return fetch(transaction, DEFAULT_VMGROUP)
    row_to_member(row)
    return fetch(transaction, VmgroupId(UUID(row["vmgroup"])))


def vmgroup(transaction: Transaction, vm: VmId) -> Vmgroup:
    found = of_vm(transaction, vm)
    if found is None:
        raise NotPermitted(
            f"this machine ({vm}) is in no vmgroup", remedy="ask an administrator to put it into one", vm=str(vm)
        )
    return found


def group_of(transaction: Transaction, vm: VmId) -> Group:
    found = vmgroup(transaction, vm)
    return Group(found, rights_of(transaction, found.id))


def tenancy(transaction: Transaction, vm: VmId) -> Tenancy:
    group = group_of(transaction, vm)
    used: dict[DatastoreName, int] = defaultdict(int)
    trashed: dict[DatastoreName, int] = defaultdict(int)
    for row in transaction.all(_USAGE, key=str(group.vmgroup.id)):
        used[row["datastore"]] += row["bytes"]
        if row["state"] in TRASH:
            trashed[row["datastore"]] += row["bytes"]
    return Tenancy(group, dict(used), dict(trashed))


def usage(transaction: Transaction, vmgroup: VmgroupId) -> Mapping[DatastoreName, int]:
    used: dict[DatastoreName, int] = defaultdict(int)
    for row in transaction.all(_USAGE, key=str(vmgroup)):
        used[row["datastore"]] += row["bytes"]
    return dict(used)


def volume_count(transaction: Transaction, vmgroup: VmgroupId) -> int:
    row = transaction.first(_COUNT, key=str(vmgroup))
    assert row is not None, "a count is always one row"
    return int(row["count"])


def by_id(transaction: Transaction, vmgroup: VmgroupId) -> Group | None:
    found = fetch(transaction, vmgroup)
    return None if found is None else _whole(transaction, found)


def named(transaction: Transaction, name: str) -> Group | None:
    row = transaction.first(_BY_NAME, text=name)
    return None if row is None else _whole(transaction, row_to_vmgroup(row))


def names(transaction: Transaction) -> Mapping[VmgroupId, str]:
    return {VmgroupId(UUID(row["id"])): check_vmgroup(row)["name"] for row in transaction.all(_ALL)}


def every(transaction: Transaction) -> Sequence[Group]:
    rights_of: dict[str, list[Right]] = defaultdict(list)
    members_of: dict[str, list[Member]] = defaultdict(list)
    for row in transaction.all(_ALL_RIGHTS):
        rights_of[row["vmgroup"]].append(row_to_right(row))
    for row in transaction.all(_ALL_MEMBERS):
        members_of[row["vmgroup"]].append(row_to_member(row))
    return tuple(
        Group(row_to_vmgroup(row), tuple(rights_of[row["id"]]), tuple(members_of[row["id"]])) for row in transaction.all(_ALL)
    )


def _whole(transaction: Transaction, vmgroup: Vmgroup) -> Group:
    found = transaction.all(_MEMBERS, key=str(vmgroup.id))
    return Group(vmgroup, rights_of(transaction, vmgroup.id), tuple(row_to_member(row) for row in found))


def rights_of(transaction: Transaction, vmgroup: VmgroupId) -> tuple[Right, ...]:
    return tuple(row_to_right(row) for row in transaction.all(_RIGHTS, key=str(vmgroup)))


# --- changing ----------------------------------------------------------------------------------------------------


def put(transaction: Transaction, group: Group, expect: int | None, unmoved_since: int | None, change: int) -> Group:
    """See ``Tenants.put_group``; ``change`` is the number of this transaction."""
    name, key = group.vmgroup.name, group.vmgroup.id
    stored = by_id(transaction, key)
    _check_expected(stored, group.vmgroup, expect)
    other = transaction.first(_BY_NAME, text=name)
    if other is not None and other["id"] != str(key):
        raise NameConflict(f"vmgroup {name} exists", remedy="use another name", vmgroup=name)
    _check_elsewhere(transaction, group)
    moved = {each.vm for each in group.members} ^ {each.vm for each in (stored.members if stored else ())}
    if unmoved_since is not None:
        _check_unmoved(transaction, moved, unmoved_since)
    revision = 1 if stored is None else stored.vmgroup.revision + 1
    kept = replace(group.vmgroup, revision=revision, changed=change)
    if stored is None:
        transaction.change(_INSERT, **vmgroup_row(kept))
    else:
        transaction.change(_REPLACE, key=str(key), **vmgroup_row(kept))
    transaction.change(_NO_RIGHTS, key=str(key))
    transaction.change(_NO_MEMBERS, key=str(key))
    transaction.change_many(_ADD_RIGHT, [part_row(key, each) for each in group.rights])
    transaction.change_many(_ADD_MEMBER, [part_row(key, each) for each in group.members])
    if moved:
        _touch_default(transaction, change)
    return _whole(transaction, kept)


def remove(transaction: Transaction, vmgroup: VmgroupId, expect: int | None, unmoved_since: int | None, change: int) -> None:
    """See ``Tenants.delete_group``."""
    stored = by_id(transaction, vmgroup)
    if stored is None:
        return
    name, key = stored.vmgroup.name, str(vmgroup)
    if expect is not None:
        _check_expected(stored, stored.vmgroup, expect)
    if transaction.first(_ONE_VOLUME, key=key) is not None:
        remedy = "move them to another vmgroup or remove them first, those in the trash too"
        raise VmgroupNotEmpty(f"vmgroup {name} has volumes", remedy=remedy, vmgroup=name)
    if unmoved_since is not None:
        _check_unmoved(transaction, {each.vm for each in stored.members}, unmoved_since)
    transaction.change(_NO_RIGHTS, key=key)
    transaction.change(_NO_MEMBERS, key=key)
    transaction.change(_DELETE, key=key)
    if stored.members:
        _touch_default(transaction, change)


def set_default_datastore(transaction: Transaction, vmgroup: VmgroupId, datastore: DatastoreName, change: int) -> None:
    """Afterwards the group has a default datastore: this one, if it had none. No such group is fine."""
    stored = fetch(transaction, vmgroup)
    if stored is None or stored.default_datastore is not None:
        return
    kept = replace(stored, default_datastore=datastore, revision=stored.revision + 1, changed=change)
    transaction.change(_REPLACE, key=str(vmgroup), **vmgroup_row(kept))


def make_known(transaction: Transaction, vmgroup: VmgroupId, change: int) -> None:
    """Afterwards there is a group of this id; one that was not known is named by it, and has no rights and no members."""
    if fetch(transaction, vmgroup) is None:
        transaction.change(_INSERT, **vmgroup_row(Vmgroup(vmgroup, str(vmgroup), None, changed=change)))


def adopt(transaction: Transaction, groups: Sequence[Group] | None, change: int) -> Sequence[VmgroupId]:
    """Take over the vmgroups of another database (None: they could not be read); return those that nobody is in by that.

    Those are of volumes whose group is not known. With one of them ``_DEFAULT`` has no right any more, nor has it any if the
    other database had it not: machines that were in other groups are in that one now, and must not see what is in it.
    """
    known = {row["id"]: row_to_vmgroup(row) for row in transaction.all(_ALL)}
    for group in groups or ():
        key, row = str(group.vmgroup.id), vmgroup_row(replace(group.vmgroup, changed=change))
        transaction.change(_NO_RIGHTS, key=key)
        transaction.change(_NO_MEMBERS, key=key)
        if not transaction.change(_REPLACE, key=key, **row):
            transaction.change(_INSERT, **row)
        transaction.change_many(_ADD_RIGHT, [part_row(group.vmgroup.id, each) for each in group.rights])
        transaction.change_many(_ADD_MEMBER, [part_row(group.vmgroup.id, each) for each in group.members])
        known.pop(key, None)
    unknown = tuple(group.id for group in known.values() if group.id != DEFAULT_VMGROUP)
    removed = groups is not None and str(DEFAULT_VMGROUP) in known
    if unknown or removed:
        transaction.change(_NO_RIGHTS, key=str(DEFAULT_VMGROUP))
        _touch_default(transaction, change)
    return unknown


def _check_expected(stored: Group | None, wanted: Vmgroup, expect: int | None) -> None:
    if expect is None and stored is not None:
        raise NameConflict(f"vmgroup {stored.vmgroup.name} exists", remedy="use another name", vmgroup=stored.vmgroup.name)
    found = None if stored is None else stored.vmgroup.revision
    if expect != found:
        stands = "is gone" if found is None else f"has revision {found}"
        raise StaleRequest(
            f"vmgroup {wanted.name} {stands}, the change is for revision {expect}",
            remedy="look at it again, then repeat the change",
            vmgroup=wanted.name,
        )


def _check_elsewhere(transaction: Transaction, group: Group) -> None:
    if len({each.vm for each in group.members}) < len(group.members):
        raise Conflict(f"a machine is twice in vmgroup {group.vmgroup.name}", remedy="name it once")
    for each in group.members:
        row = transaction.first(_OF_VM, whose=str(each.vm))
        if row is not None and row["vmgroup"] != str(group.vmgroup.id):
            other = fetch(transaction, VmgroupId(UUID(row["vmgroup"])))
            raise Conflict(
                f"virtual machine {quoted(each.name)} is in vmgroup {row['vmgroup'] if other is None else other.name}",
                remedy="take it out of there first",
                vm=str(each.vm),
            )


def _check_unmoved(transaction: Transaction, moved: Collection[VmId], since: int) -> None:
    vms = {str(vm) for vm in moved}
    for row in transaction.all(_CHANGED_SINCE, since=since):
        if row["last_vm"] in vms:
            raise Busy(f"virtual machine {row['last_vm']} used volume {row['name']} just now", remedy="try again")


def _touch_default(transaction: Transaction, change: int) -> None:
    """Machines came out of ``_DEFAULT``, or fell back into it: what changed since they last asked is not known there."""
    stored = fetch(transaction, DEFAULT_VMGROUP)
    if stored is not None:
        transaction.change(_REPLACE, key=str(DEFAULT_VMGROUP), **vmgroup_row(replace(stored, changed=change)))
