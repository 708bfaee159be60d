"""What a new piece of work may: its machine's rights, and the quota that it takes. Inside the transaction that begins it."""

from __future__ import annotations

from sqlalchemy import bindparam, func, select

from vmdkvol.errors import NotPermitted
from vmdkvol.names import DatastoreName
from vmdkvol.volume import VmId
from vmdkvol_esx import rights as decisions
from vmdkvol_esx.ports import AttachDisk, CloneDisk, CreateDisk
from vmdkvol_esx.records import Group, Intent, VolumeRecord
from vmdkvol_esx.rights import Verb
from vmdkvol_esx.store.schema import volumes
from vmdkvol_esx.store.statements import Statement, Transaction
from vmdkvol_esx.store.vmgroups import TRASH, fetch, of_vm, rights_of

_USED_ON = Statement(
    select(volumes.c.state, func.sum(volumes.c.size_bytes).label("bytes"))
    .where(volumes.c.vmgroup == bindparam("key"), volumes.c.datastore == bindparam("place"))
    .group_by(volumes.c.state)
)
_SIZE = Statement(select(volumes.c.vmgroup, volumes.c.datastore, volumes.c.size_bytes).where(volumes.c.id == bindparam("key")))


def added_bytes(transaction: Transaction, record: VolumeRecord) -> int:
    """Return how much more the vmgroup will take on the record's datastore once ``record`` is stored."""
    row = transaction.first(_SIZE, key=str(record.id))
    place = (str(record.vmgroup), record.datastore)
    return record.size_bytes - (row["size_bytes"] if row is not None and (row["vmgroup"], row["datastore"]) == place else 0)


def check_begun(transaction: Transaction, intent: Intent, record: VolumeRecord, added: int, home: DatastoreName | None) -> None:
    """Raise NotPermitted or QuotaExceeded unless the work that is begun is allowed; ``record`` is stored already."""
    verb = _verb(intent)
    if verb is None and added <= 0:
        return
    own = fetch(transaction, record.vmgroup)
    assert own is not None, "a record's vmgroup is there"
    group = Group(own, rights_of(transaction, own.id))
    if verb is not None and intent.caller is not None:
        _check_still(transaction, intent.caller, record)
        decisions.check(group, verb, record.datastore, home)
    check_room(transaction, group, record, added, home)


def check_taken_in(transaction: Transaction, record: VolumeRecord, home: DatastoreName | None) -> None:
    """Raise QuotaExceeded if the whole volume, which is new in its vmgroup, is beyond a limit; it is stored already."""
    own = fetch(transaction, record.vmgroup)
    assert own is not None, "a record's vmgroup is there"
    check_room(transaction, Group(own, rights_of(transaction, own.id)), record, record.size_bytes, home)


def check_room(transaction: Transaction, group: Group, record: VolumeRecord, added: int, home: DatastoreName | None) -> None:
    """Raise QuotaExceeded if ``added`` bytes, for which ``record`` is stored already, are beyond a limit of the group's."""
    if added <= 0:
        return
    own = group.vmgroup
    sums = {row["state"]: row["bytes"] for row in transaction.all(_USED_ON, key=str(own.id), place=record.datastore)}
    trashed = sum(bytes for state, bytes in sums.items() if state in TRASH)
    right = decisions.find(group.rights, record.datastore, home)
    decisions.check_limits(own, right, record.datastore, record.size_bytes, added, sum(sums.values()) - added, trashed)


def _verb(intent: Intent) -> Verb | None:
    """Return what a machine does with the work that it begins; None where it needs no right for it."""
    if intent.caller is None:
        return None
    match intent.change:
        case CreateDisk() | CloneDisk():
            return Verb.CREATE
        case AttachDisk():
            return Verb.ATTACH
        case _:
            return None


def _check_still(transaction: Transaction, vm: VmId, record: VolumeRecord) -> None:
    found = of_vm(transaction, vm)
    if found is None or found.id != record.vmgroup:
        raise NotPermitted(f"this machine ({vm}) was taken out of its vmgroup meanwhile", vm=str(vm))
