"""What an administrator may ask about disks that somebody else made, and order for them, and the answers. Values only.

A disk is named by its place, ``[datastore] folder/x.vmdk``. Nothing here ever writes into such a disk, or beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from vmdkvol.messages import Request
from vmdkvol.orders import Order, Query, Role


@dataclass(frozen=True, slots=True)
class FoundDisk:
    """A disk that lies on a datastore outside of our own folder; what is None could not be read.

    ``volume`` is the volume that it is already, as ``vmgroup/name``. ``used_by`` is who has it now. ``adoptable``: nothing
    stands against adopting it; else ``reason`` says what does.
    """

    place: str
    adoptable: bool
    reason: str = ""
    uuid: str | None = None
    size_bytes: int | None = None
    allocated_bytes: int | None = None
    diskformat: str | None = None
    volume: str | None = None
    used_by: str | None = None


@dataclass(frozen=True, slots=True)
class FoundDisks:
    """Some disks in the order of their places. ``next`` is the ``after`` of the next page, None on the last.

    ``uncompared``: so many disks in the device lists of virtual machines do not say who they are. That one of these disks is
    one of them is seen by its place alone, which another name of its datastore hides.
    """

    disks: tuple[FoundDisk, ...]
    next: str | None = None
    uncompared: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanDisks(Query[FoundDisks]):
    """The disks on a datastore, in ``folder`` and below it, that lie outside of our own folder, as they are now.

    Only reads. DatastoreNotFound, NotFound for a folder that there is not, BadRequest for one that is no path or where more
    than 10,000 disks lie.
    """

    # One runs at a time: who may only look does not keep it from those who want a disk.
    needs: ClassVar[Role] = Role.OPERATOR
    datastore: str
    folder: str = ""
    after: str | None = None
    limit: int = 50
    answer: ClassVar[type] = FoundDisks

    @property
    def slow(self) -> bool:
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptDisk(Order):
    """Afterwards the disk at this place is a volume of the vmgroup, where it lies and as it is; not a byte of it is written.

    ``options`` are keys and texts as after ``-o``: access, attach-as, fstype, iops-limit, label, layout, mount-options, shares.
    Its file system must be of the kind that ``fstype`` says, ext4 unless it is given, and is never made: a disk with another
    one, or with none, is refused at the first mount. ``layout`` is root unless it is given.

    The limits of the vmgroup count, unless it is ``over_quota``. The same disk as this very volume is a success. NotFound if no
    disk lies there, NotAdoptable with what stands against it, VolumeInUse with who has it, NameConflict, QuotaExceeded;
    StaleRequest unless ``vmgroup`` means that of the plan with this ``digest``.
    """

    revised: ClassVar[bool] = False
    identified: ClassVar[bool] = False
    disk: str
    vmgroup: str
    name: str
    options: tuple[tuple[str, str], ...] = ()
    over_quota: bool = False
    digest: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseVolume(Order):
    """Afterwards there is no volume, and the adopted disk lies where it lay, with what is on it. The plan says where.

    Conflict for a volume whose disk vmdkvol made; VolumeInUse while a machine uses it or a copy is made of it.
    """

    volume: str
    vmgroup: str | None = None


ADOPTION_REQUESTS: tuple[type[Request[object]], ...] = (ScanDisks, AdoptDisk, ReleaseVolume)
