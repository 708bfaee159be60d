"""Which objects the names in an order mean: looked up when the order comes first, and the same ones when it comes again.

A name is free as soon as its volume is in the trash. An order that is repeated because its answer was lost must not be carried
out on whatever has the name by then; nor must one that was planned, which says by id and digest what its plan was made for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from vmdkvol.admin_errors import VmgroupNotFound
from vmdkvol.admin_messages import EnrollVm, RevokeVm
from vmdkvol.adoption_messages import AdoptDisk, ReleaseVolume
from vmdkvol.errors import BadRequest, StaleRequest, quoted
from vmdkvol.messages import Request
from vmdkvol.orders import OrderFor
from vmdkvol.vmgroup_messages import (
    AddMembers,
    CreateVmgroup,
    RemoveMembers,
    RemoveRight,
    RemoveVmgroup,
    ReplaceMembers,
    SetRight,
    UpdateVmgroup,
)
from vmdkvol.volume import VmgroupId, VmId, VolumeId
from vmdkvol.volume_orders import CreateVolumeFor, DestroyVolume, DetachVolume, MoveVolume, RestoreVolume, TrashVolume
from vmdkvol_esx import grouping, named
from vmdkvol_esx.begun import Meant
from vmdkvol_esx.choosing import LIVE, LIVE_ELSE_TRASHED, TO_DESTROY, TRASHED_ELSE_LIVE, Choosing, Named
from vmdkvol_esx.group_texts import as_vmgroup_id, check_listed
from vmdkvol_esx.listing import known_names
from vmdkvol_esx.ports import Store, Vm
from vmdkvol_esx.records import Group, Member

# Which volume is found by its name.
NAMED: Mapping[type[Request[Any]], Named] = {
    TrashVolume: LIVE_ELSE_TRASHED,
    DestroyVolume: TO_DESTROY,
    RestoreVolume: TRASHED_ELSE_LIVE,
    DetachVolume: LIVE_ELSE_TRASHED,
    ReleaseVolume: LIVE_ELSE_TRASHED,
}
# What they are given for is done when there is no such object any more.
_REMOVING = (TrashVolume, DestroyVolume, ReleaseVolume, RemoveVmgroup)
_OF_MEMBERS = (AddMembers, RemoveMembers, ReplaceMembers)
# Their ``name`` is that of a vmgroup which is there.
_OF_VMGROUP = (RemoveVmgroup, UpdateVmgroup, SetRight, RemoveRight, *_OF_MEMBERS)
_OF_VM = (EnrollVm, RevokeVm)
# Their ``vmgroup`` gets a volume.
_FOR_VMGROUP = (CreateVolumeFor, AdoptDisk)
# What they name beside the object that they are for is in their plan's digest.
_NAMING_MORE = (*_OF_MEMBERS, CreateVmgroup, MoveVolume, *_FOR_VMGROUP)


class Meaning:
    """For any thread. ``machines`` returns all that there are, ``machine`` the one that an order of one means."""

    def __init__(
        self,
        store: Store,
        machines: Callable[[], Sequence[Vm]],
        machine: Callable[[EnrollVm | RevokeVm], VmId],
        new_id: Callable[[], UUID],
    ) -> None:
        self._store = store
        self._machines = machines
        self._machine = machine
        self._new_id = new_id
        self._choosing = Choosing(store)

    def expected(self, order: OrderFor[Any]) -> Meant:
        """Return the ids of what the order means; StaleRequest unless that is what it expects, or was planned for.

        BadRequest if it expects what is not compared. Raises as ``of``.
        """
        if order.expect is not None and not order.revised:
            raise BadRequest("what this order is for has no revision that could be expected", remedy="leave it out")
        if order.expect_id is not None and not order.identified:
            raise BadRequest("what this order is for has no id that could be expected", remedy="leave it out")
        meant = self.of(order)
        if order.expect_id is not None and meant.subject != str(order.expect_id):
            raise StaleRequest(
                f"the order is for {order.expect_id}, and its name means {meant.subject or 'something else'} now",
                remedy="look at it again, then repeat the order",
            )
        digest = self.digest(order, meant)
        if digest is not None and getattr(order, "digest", None) not in (None, digest):
            raise StaleRequest(
                "the names in the order mean other machines or volumes, or another vmgroup, than when it was planned",
                remedy="look at them again, then repeat the order",
            )
        return meant

    def of(self, order: OrderFor[Any]) -> Meant:
        """Return the ids of the object that the order is for, and of what else it names. A new one has its id from here.

        Raises as ``Choosing.volume``, ``named_group`` and ``named.members``.
        """
        asked: Any = order
        if isinstance(order, _OF_VM):
            return Meant(str(self._machine(order)))
        if isinstance(order, CreateVmgroup):
            stored = self._store.group(order.name) if order.name.isprintable() else None
            return Meant(str(self._new_id() if stored is None else stored.vmgroup.id), vms=self._vms(order.vms))
        if isinstance(order, _FOR_VMGROUP):
            own = str(self._new_id()) if isinstance(order, CreateVolumeFor) else None
            return Meant(own, str(self._choosing.vmgroup(order.vmgroup)))
        if isinstance(order, _OF_VMGROUP):
            group = named_group(self._store, order.name)
            return Meant(str(group.vmgroup.id), vms=self._members(order, group))
        if not _is_of_volume(order):
            return Meant()
        to = str(named_group(self._store, order.to_vmgroup).vmgroup.id) if isinstance(order, MoveVolume) else None
        return Meant(str(self._choosing.volume(asked.volume, asked.vmgroup, NAMED.get(type(order), LIVE)).id), to)

    def bound(self, order: OrderFor[Any], meant: Meant) -> OrderFor[Any]:
        """Return the order with the ids in place of the names. What is to be made gets the id that it is meant to have."""
        changed: Any = order
        if isinstance(order, (*_OF_MEMBERS, CreateVmgroup)) and meant.vms is not None:
            changed = replace(changed, vms=meant.vms)
        if meant.to is not None:
            changed = replace(changed, **{"to_vmgroup" if isinstance(order, MoveVolume) else "vmgroup": meant.to})
        subject = meant.subject
        if subject is None:
            return changed  # type: ignore[no-any-return]  # it has the order's own type
        if isinstance(order, (CreateVmgroup, CreateVolumeFor)):
            return replace(changed, expect_id=UUID(subject))
        if isinstance(order, _OF_VM):
            return replace(changed, vm=subject)
        if isinstance(order, _OF_VMGROUP):
            return replace(changed, name=subject)
        return replace(changed, volume=subject, vmgroup=None)

    def digest(self, order: OrderFor[Any], meant: Meant) -> str | None:
        """Return what tells one set of what the order names, beside what it is for, from another; None if it names no more."""
        if not isinstance(order, _NAMING_MORE):
            return None
        said = "\n".join([meant.to or "", self._source(order, meant), *sorted(meant.vms or ())])
        return hashlib.sha256(said.encode()).hexdigest()[:32]

    def is_gone(self, order: OrderFor[Any], subject: str | None) -> bool:
        """Tell whether the order is to remove what is not there any more."""
        if subject is None or not isinstance(order, _REMOVING):
            return False
        key = UUID(subject)
        if isinstance(order, RemoveVmgroup):
            return self._store.group_by_id(VmgroupId(key)) is None
        return self._store.volume(VolumeId(key)) is None

    def _source(self, order: OrderFor[Any], meant: Meant) -> str:
        """Return the id of the volume that a new one is to be a clone of; empty: of none."""
        name = dict(order.options).get("clone-from") if isinstance(order, CreateVolumeFor) else None
        if name is None or meant.to is None or not name.isprintable():
            return ""
        found = self._store.find(VmgroupId(UUID(meant.to)), name)
        return "" if found is None else str(found.id)

    def _members(self, order: OrderFor[Any], group: Group) -> tuple[str, ...] | None:
        if not isinstance(order, _OF_MEMBERS):
            return None
        check_listed(order.vms)
        grouping.check_has_list(group.vmgroup.id)
        return self._vms(order.vms, () if isinstance(order, AddMembers) else group.members)

    def _vms(self, names: Sequence[str], known: Sequence[Member] = ()) -> tuple[str, ...]:
        return tuple(str(each.vm) for each in named.members(names, known, self._machines))


def _is_of_volume(order: OrderFor[Any]) -> bool:
    return hasattr(order, "volume") and hasattr(order, "vmgroup")


def named_group(store: Store, text: str) -> Group:
    """Return the vmgroup of exactly this name or else of this id, as it was just read; VmgroupNotFound."""
    # Half a surrogate pair is nothing that a database could look for.
    found, key = store.group(text) if text.isprintable() else None, as_vmgroup_id(text)
    if found is None and key is not None:
        found = store.group_by_id(key)
    if found is None:
        known = known_names(sorted(store.vmgroup_names().values()))
        raise VmgroupNotFound(f"there is no vmgroup {quoted(text)}", remedy=f"known: {known}", vmgroup=text)
    return found
