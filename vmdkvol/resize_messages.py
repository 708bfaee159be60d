"""What an administrator asks to make a volume larger. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vmdkvol.messages import Request
from vmdkvol.orders import Order, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizeVolume(Order):
    """Afterwards the volume's disk has ``size_bytes``, and its file system follows: at once where it is mounted, else with the
    next mount. The size that it has is a success; nothing ever becomes smaller (InvalidSize).

    ``volume`` is its id, or its name in ``vmgroup``, as in ``volume_orders``.
    Raises NoSpace and QuotaExceeded, SnapshotPresent, VolumeInUse for the source of a copy under way, Busy while its first
    mount is, and what stands against the volume itself: the old size is left then. ``task`` if the work goes on.
    """

    long: ClassVar[bool] = True
    needs: ClassVar[Role] = Role.OPERATOR
    volume: str
    size_bytes: int
    vmgroup: str | None = None


RESIZE_REQUESTS: tuple[type[Request[object]], ...] = (ResizeVolume,)
