"""What the service tells a guest unasked: hints, of which a lost one costs time and never truth. Values only.

``since`` is the protocol version that brought a notice; a guest of an older one would not know what it is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vmdkvol.volume import VolumeId


@dataclass(frozen=True, slots=True)
class Wanted:
    """Another VM, or a removal, waits for this disk: give it back if it only lingers, say ``Keep`` if it is in use."""

    volume: VolumeId
    since: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Grown:
    """The disk is larger: where it is mounted its file system may follow. ``ListAttached`` says the same at any time."""

    volume: VolumeId
    size_bytes: int
    since: ClassVar[int] = 4


Notice = Wanted | Grown
NOTICES: tuple[type[Notice], ...] = (Wanted, Grown)
