"""What every use case of the service is handed: the ports, the lanes, the clock. Nothing here decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from vmdkvol.clock import Clock
from vmdkvol.lanes import Lanes
from vmdkvol.points import Point, pass_by
from vmdkvol.request_ids import derived
from vmdkvol.volume import VmId
from vmdkvol_esx.doubts import Doubts
from vmdkvol_esx.lags import Lags
from vmdkvol_esx.ports import Hypervisor, Log, Store
from vmdkvol_esx.records import AuditRecord


@dataclass(frozen=True, slots=True)
class Parts:
    """``new_id`` makes the ids of volumes, disks and operations; ``at`` is called at each crash point.

    ``request`` returns the id of the call that this thread works for, if it is one. ``admit`` tells whether a change that this
    machine asked for goes into the audit; not set: nothing does.
    """

    store: Store
    hypervisor: Hypervisor
    lanes: Lanes
    clock: Clock
    new_id: Callable[[], UUID]
    log: Log
    at: Callable[[Point], None] = pass_by
    doubts: Doubts = field(default_factory=Doubts)
    lags: Lags = field(default_factory=Lags)
    request: Callable[[], UUID | None] = lambda: None
    admit: Callable[[VmId | None, AuditRecord], bool] = lambda vm, record: False

    def operation(self, request: UUID | None) -> UUID:
        """Return a new id of a disk's change: it begins as that of the request which it is for (``request_ids``)."""
        fresh = self.new_id()
        return fresh if request is None else derived(request, fresh)
