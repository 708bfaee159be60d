"""A site with what administrators ask and order, beside what its guests do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

from tests.unit.esx.site import DS1, A, Site
from vmdkvol.admin_errors import VmNotFound
from vmdkvol.clock import Deadline
from vmdkvol.messages import Call, Request
from vmdkvol.names import DatastoreName
from vmdkvol.orders import Order, Outcome
from vmdkvol.points import Point, pass_by
from vmdkvol.resize_messages import ResizeVolume
from vmdkvol.volume import VmId, VolumeId
from vmdkvol_esx.choosing import Choosing
from vmdkvol_esx.meaning import Meaning
from vmdkvol_esx.nouns import noun_rows
from vmdkvol_esx.ports import Store, Vm


def meaning(
    store: Store, machines: Callable[[], Sequence[Vm]] = tuple, machine: Callable[[Any], VmId] | None = None
) -> Meaning:
    """Return what tells a desk which objects names mean; without ``machine`` there is no order of one."""

    def none(order: Any) -> VmId:
        raise VmNotFound(f"there is no virtual machine {order.vm}")

    return Meaning(store, machines, machine or none, uuid4)


class AdminSite(Site):
    """``order`` is what the desk does with an administrator's request, without roles and audit."""

    def __init__(
        self, *, datastores: tuple[DatastoreName, ...] = (DS1,), retention_s: float = 1000.0, hurry: float = 50.0
    ) -> None:
        super().__init__(datastores=datastores, retention_s=retention_s, hurry=hurry)

    def restart(self, at: Callable[[Point], None] = pass_by) -> None:
        super().restart(at)
        self.choosing = Choosing(self.store)
        self.connected: set[VmId] = set()
        self.handles = noun_rows(self.verbs, self.store, self.connected.__contains__, "vmdkvol-esxd 0", self.strays)

    def strays(self) -> int:
        return self.housekeeping.strays.count

    def ask(self, request: Request[Any], vm: VmId = A, *, seconds: float = 1000.0, call: UUID | None = None) -> Any:
        if isinstance(request, Order):
            return self.order(request, seconds=seconds)
        return super().ask(request, vm, seconds=seconds, call=call)

    def resize(
        self, volume: VolumeId, size_bytes: int, *, dry_run: bool = False, expect: int | None = None, seconds: float = 1000.0
    ) -> Outcome:
        order = ResizeVolume(volume=str(volume), size_bytes=size_bytes, dry_run=dry_run, expect=expect)
        told: Outcome = self.order(order, seconds=seconds)
        return told

    def order(self, request: Request[Any], *, seconds: float = 1000.0) -> Any:
        return self.handles[type(request)](request, Call(uuid4(), Deadline.after(self.clock, seconds)))
