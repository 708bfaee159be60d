"""A site with two tenants."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from tests.unit.esx.site import DS1, DS2, A, Site
from vmdkvol.messages import ListVolumes, VolumePage
from vmdkvol.names import ALL_DATASTORES
from vmdkvol.volume import DEFAULT_VMGROUP, VmgroupId, VmId
from vmdkvol_esx.records import Group, Member, Right, Vmgroup

RED = VmgroupId(UUID(int=0x4ED))
EVERYTHING = (Right(ALL_DATASTORES, allow_create=True),)


class Tenants(Site):
    """``A`` is in the group red, ``B`` in none but ``_DEFAULT``."""

    def __init__(self, **given: Any) -> None:
        super().__init__(datastores=(DS1, DS2), **given)
        self.store.put_group(Group(Vmgroup(RED, "red", DS1), EVERYTHING, (Member(A, "host-a"),)), expect=None)

    def change(
        self, *, rights: tuple[Right, ...] | None = None, members: tuple[VmId, ...] | None = None, **fields: Any
    ) -> None:
        """Give red other rights, members, or fields."""
        old = self.store.group_by_id(RED)
        assert old is not None
        new = Group(
            replace(old.vmgroup, **fields),
            old.rights if rights is None else rights,
            old.members if members is None else tuple(Member(vm, str(vm)) for vm in members),
        )
        self.store.put_group(new, expect=old.vmgroup.revision)

    def close_default(self) -> None:
        self.store.delete_group(DEFAULT_VMGROUP, expect=None)

    def names(self, vm: VmId = A, since: int | None = None) -> list[str]:
        return sorted(info.name for info in self.page(vm, since).volumes)

    def page(self, vm: VmId = A, since: int | None = None) -> VolumePage:
        page: VolumePage = self.ask(ListVolumes(since=since), vm)
        return page
