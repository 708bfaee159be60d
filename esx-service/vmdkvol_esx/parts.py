"""What every use case of the service is handed: the ports, the lanes, the clock. Nothing here decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from vmdkvol.clock import Clock
from vmdkvol.lanes import Lanes
from vmdkvol.points import Point, pass_by
from vmdkvol_esx.doubts import Doubts
from vmdkvol_esx.ports import Hypervisor, Log, Store


@dataclass(frozen=True, slots=True)
class Parts:
    """``new_id`` makes the ids of volumes, disks and operations; ``at`` is called at each crash point."""

    store: Store
    hypervisor: Hypervisor
    lanes: Lanes
    clock: Clock
    new_id: Callable[[], UUID]
    log: Log
    at: Callable[[Point], None] = pass_by
    doubts: Doubts = field(default_factory=Doubts)
