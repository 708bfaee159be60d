"""Which object the name in an order means: looked up when the order comes first, and the same one when it comes again.

A name is free as soon as its volume is in the trash. An order that is repeated because its answer was lost must not be carried
out on whatever has the name by then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from vmdkvol.admin_errors import VmgroupNotFound
from vmdkvol.adoption_messages import ReleaseVolume
from vmdkvol.errors import quoted
from vmdkvol.messages import Request
from vmdkvol.orders import OrderFor
from vmdkvol.vmgroup_messages import (
    AddMembers,
    RemoveMembers,
    RemoveRight,
    RemoveVmgroup,
    ReplaceMembers,
    SetRight,
    UpdateVmgroup,
)
from vmdkvol.volume import VmgroupId, VolumeId
from vmdkvol.volume_orders import DestroyVolume, DetachVolume, MoveVolume, RestoreVolume, TrashVolume
from vmdkvol_esx.begun import Meant
from vmdkvol_esx.choosing import LIVE, LIVE_ELSE_TRASHED, TO_DESTROY, TRASHED_ELSE_LIVE, Choosing, Named
from vmdkvol_esx.group_texts import as_vmgroup_id
from vmdkvol_esx.listing import known_names
from vmdkvol_esx.ports import Store
from vmdkvol_esx.records import Group

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
# Their ``name`` is that of a vmgroup which is there.
_OF_VMGROUP = (RemoveVmgroup, UpdateVmgroup, AddMembers, RemoveMembers, ReplaceMembers, SetRight, RemoveRight)


class Meaning:
    """For any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._choosing = Choosing(store)

    def of(self, order: OrderFor[Any]) -> Meant:
        """Return the ids of the volume or vmgroup that the order is for, and of the vmgroup that a volume is moved to.

        Raises as ``Choosing.volume`` and ``named_group``.
        """
        if isinstance(order, _OF_VMGROUP):
            return Meant(str(named_group(self._store, order.name).vmgroup.id))
        if not _is_of_volume(order):
            return Meant()
        asked: Any = order
        to = str(named_group(self._store, order.to_vmgroup).vmgroup.id) if isinstance(order, MoveVolume) else None
        return Meant(str(self._choosing.volume(asked.volume, asked.vmgroup, NAMED.get(type(order), LIVE)).id), to)

    def bound(self, order: OrderFor[Any], meant: Meant) -> OrderFor[Any]:
        """Return the order with the ids in place of the names."""
        subject = meant.subject
        if subject is None:
            return order
        changed: Any = order
        if meant.to is not None:
            changed = replace(changed, to_vmgroup=meant.to)
        if isinstance(order, _OF_VMGROUP):
            return replace(changed, name=subject)
        return replace(changed, volume=subject, vmgroup=None)

    def is_gone(self, order: OrderFor[Any], subject: str | None) -> bool:
        """Tell whether the order is to remove what is not there any more."""
        if subject is None or not isinstance(order, _REMOVING):
            return False
        key = UUID(subject)
        if isinstance(order, RemoveVmgroup):
            return self._store.group_by_id(VmgroupId(key)) is None
        return self._store.volume(VolumeId(key)) is None


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
