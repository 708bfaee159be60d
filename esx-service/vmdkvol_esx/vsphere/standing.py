"""What lies at a disk's path: the identity there and the label beside it, in; one word for both, out. Pure, and total.

A new disk has an identity of the server's own until ours is put on it; the label, which is there before the disk, tells such
a one from a stranger's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vmdkvol.volume import DiskUuid
from vmdkvol_esx.vsphere.labels import Label


class Standing(StrEnum):
    ABSENT = "nothing is there"
    GOING = "its deletion has begun, and the disk is gone"
    OURS = "it is there"
    LEAVING = "it is there, and its deletion has begun"
    CUT = "it was made, and did not get its identity"
    BROKEN = "our disk lies there and cannot be read as one"
    OTHER = "another disk lies there"
    DAMAGED = "something lies there that cannot be read as a disk"
    TAKEN = "no disk is there, and the place belongs to another one"


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read. ``disk``: a file is there; ``uuid``: what it says that it is, None if it says nothing that can be read.

    ``label`` is None if there is none, or one that is not whole: it says nothing.
    """

    disk: bool
    uuid: DiskUuid | None = None
    label: Label | None = None


def standing(wanted: DiskUuid, seen: Seen) -> Standing:
    """Return how the disk ``wanted`` stands. The disk's own word counts first."""
    ours = seen.label is not None and seen.label.uuid == wanted
    if not seen.disk:
        if ours and seen.label is not None and seen.label.deleting:
            return Standing.GOING
        return Standing.ABSENT if ours or seen.label is None else Standing.TAKEN
    if seen.uuid is None:
        return Standing.BROKEN if ours else Standing.DAMAGED
    if seen.uuid == wanted:
        return Standing.LEAVING if ours and seen.label is not None and seen.label.deleting else Standing.OURS
    return Standing.CUT if ours else Standing.OTHER
