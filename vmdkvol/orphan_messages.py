"""What an administrator may ask about disks and records that have lost each other, and the answers. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from vmdkvol.messages import Request
from vmdkvol.orders import Order, Query, Role


class OrphanKind(StrEnum):
    """What is wrong.

    ``disk``: no record names this disk. ``damaged-disk``: something lies there that cannot be read as a disk. ``sidecar``: a
    second copy of a record without its disk. ``lost``: a record without its disk, or on a datastore that the service has not
    any more; without an action while no scan has decided that yet. ``attached``: a machine has a disk of ours that no record
    names. ``vmgroup``: a volume whose vmgroup there is not.
    """

    DISK = "disk"
    DAMAGED_DISK = "damaged-disk"
    SIDECAR = "sidecar"
    LOST = "lost"
    ATTACHED = "attached"
    VMGROUP = "vmgroup"


class Mending(StrEnum):
    """What can be done about it.

    ``adopt``: a record is made again from the sidecar. ``trash``: the disk gets a record and goes into the trash, where it can
    be restored from until that is emptied. ``forget``: the record goes. ``remove-sidecar``: the stray copy goes.
    """

    ADOPT = "adopt"
    TRASH = "trash"
    FORGET = "forget"
    REMOVE_SIDECAR = "remove-sidecar"


@dataclass(frozen=True, slots=True)
class Orphan:
    """``where`` is the disk's place as ``[datastore] path``, or the volume's id: what ``MendOrphan`` takes.

    ``actions`` are what can be done here, the safest first; ``command`` is the one to begin with, a dry run. For a vmgroup that
    is not an action of ``MendOrphan``. None of both: a person must look, ``detail`` says at what.
    """

    kind: OrphanKind
    where: str
    detail: str
    volume: str | None = None
    size_bytes: int | None = None
    actions: tuple[Mending, ...] = ()
    command: str = ""


@dataclass(frozen=True, slots=True)
class Orphans:
    """All that was found, by kind and place. ``unread`` are places that could not be looked at: nothing is known of them."""

    orphans: tuple[Orphan, ...]
    unread: tuple[str, ...] = ()
    more: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOrphans(Query[Orphans]):
    """What has lost its other half, by a full look at every datastore just now. ``more`` are those beyond a frame."""

    needs: ClassVar[Role] = Role.OPERATOR
    answer: ClassVar[type] = Orphans

    @property
    def slow(self) -> bool:
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class MendOrphan(Order):
    """Afterwards this orphan is mended. Conflict if it is none any more, or not by this action; nothing is done then.

    ``i_know`` repeats ``where`` for an action that cannot be taken back: ProofNeeded without it.
    """

    revised: ClassVar[bool] = False
    identified: ClassVar[bool] = False
    where: str
    action: Mending
    i_know: str = ""


ORPHAN_REQUESTS: tuple[type[Request[object]], ...] = (ListOrphans, MendOrphan)
