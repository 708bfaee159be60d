"""What an administrator may ask about volumes and order for them, and the answers. Values only.

``volume`` in a request is an id, or a name; ``vmgroup`` (a name) says whose, where several have a volume of that name. NotFound
if there is none, Conflict naming the ids if there are several.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from vmdkvol.messages import Request
from vmdkvol.options import CreateOptions
from vmdkvol.orders import Order, Query, Role
from vmdkvol.volume import Content, Doing, State, VmId, VolumeId


@dataclass(frozen=True, slots=True)
class VolumeRow:
    """One volume as an administrator sees it. Plain values only: ten thousand of them are one listing.

    ``vm`` is the name of the machine that has the disk, by the hypervisor's word of a moment ago; None: nobody has it. With
    ``unsure`` that machine, or the one that had it last, does not answer: it may have it. ``running``: whether ``vm`` is, None
    if nobody has it. ``allocated_bytes`` None: not read. ``must_check``: the next mount checks the whole file system first.
    ``last_vm`` is who had it last as far as is recorded. ``revision`` is what an order's ``expect`` is compared with.
    """

    id: VolumeId
    name: str
    vmgroup: str
    datastore: str
    path: str
    size_bytes: int
    allocated_bytes: int | None
    policy: str | None
    diskformat: str
    fstype: str
    access: str
    attach_as: str
    state: State
    content: Content
    must_check: bool
    vm: str | None
    running: bool | None
    unsure: bool
    last_vm: str | None
    doing: Doing | None
    percent: int | None
    created_at: float
    created_by: str
    trashed_at: float | None
    revision: int


@dataclass(frozen=True, slots=True)
class VolumeRows:
    """Some volumes in the order of their ids. ``next`` is the ``after`` of the next page, None on the last.

    A page may have fewer volumes than were asked for, none too, and not be the last. ``warnings`` say what is not known.
    """

    rows: tuple[VolumeRow, ...]
    next: VolumeId | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VolumeDetail:
    """Everything about one volume. ``vm`` and ``address`` are who has it and where on that machine; ``left_s`` as in Work.

    ``trouble`` is what stands against using it, one line each, with the command that helps. ``adopted``: somebody else made
    the disk, and it lay here when it was adopted. ``policy_pending``: the policy was ordered while no machine had the disk,
    and is not known to be laid on since.
    """

    row: VolumeRow
    options: CreateOptions
    disk_uuid: str
    filesystem_uuid: str | None
    vmgroup_id: str
    vm: VmId | None = None
    address: str | None = None
    work_since: float | None = None
    left_s: int | None = None
    trouble: tuple[str, ...] = ()
    adopted: str | None = None
    policy_pending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAllVolumes(Query[VolumeRows]):
    """The volumes of all vmgroups that fit every filter that is given.

    ``name`` is a pattern with ``*``, ``?`` and ``[...]``. ``vm`` is the exact name or the id of a machine that has them now.
    Those in the trash, and those that are being deleted, are left out unless ``trash`` or ``state`` asks for them.
    """

    after: VolumeId | None = None
    limit: int = 100
    vmgroup: str | None = None
    datastore: str | None = None
    state: State | None = None
    name: str | None = None
    vm: str | None = None
    trash: bool = False
    answer: ClassVar[type] = VolumeRows


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectVolume(Query[VolumeDetail]):
    """All that is known of one volume, read just now."""

    volume: str
    vmgroup: str | None = None
    answer: ClassVar[type] = VolumeDetail


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateVolumeFor(Order):
    """Afterwards the vmgroup has one volume of this name, ready, with these options: keys and texts as after ``-o``.

    As a machine of the vmgroup creates one, except that its rights are not asked; its limits, allowed policies and default
    options count; with ``over_quota`` its limits do not. Raises NameConflict, NoSpace, QuotaExceeded and what is wrong with an
    option; StaleRequest unless its names mean the vmgroup, and the source of a clone, of the plan with this ``digest``.
    ``task`` if the work goes on.
    """

    long: ClassVar[bool] = True
    revised: ClassVar[bool] = False
    identified: ClassVar[bool] = False
    vmgroup: str
    name: str
    options: tuple[tuple[str, str], ...] = ()
    over_quota: bool = False
    digest: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrashVolume(Order):
    """Afterwards the name is free, and the volume in the trash, for as long as that keeps it.

    VolumeInUse while a machine uses it. Lost and damaged ones are for ``DestroyVolume``. Where the trash keeps nothing it is
    gone for good: NotPermitted for an operator, as ``DestroyVolume`` is, unless its disk stays since it was adopted.
    """

    needs: ClassVar[Role] = Role.OPERATOR
    volume: str
    vmgroup: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DestroyVolume(Order):
    """Afterwards the volume and all that is on its disk are gone for good. Only of one in the trash, a lost or a damaged one.

    ``i_know`` is its name, as proof that the right one is meant: ProofNeeded without it. A lost one's disk is not looked for.
    Of one that is gone VolumeNotFound, unless it is a repeat of the order that destroyed it.
    """

    volume: str
    vmgroup: str | None = None
    i_know: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreVolume(Order):
    """Afterwards the volume is out of the trash, with all that is on it, under its name or ``new_name``.

    NameConflict if the vmgroup has a live volume of that name.
    """

    needs: ClassVar[Role] = Role.OPERATOR
    volume: str
    vmgroup: str | None = None
    new_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetVolume(Order):
    """Afterwards the volume has these options, from its next attach on; ``unset`` names those that go back to the default.

    Keys and texts as after ``-o``: access, attach-as, iops-limit, label, mount-options and shares. InvalidOption for others.
    """

    needs: ClassVar[Role] = Role.OPERATOR
    volume: str
    vmgroup: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    unset: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameVolume(Order):
    """Afterwards the volume has this name; for Docker there is no volume of the old one any more.

    VolumeInUse while a machine has its disk, NameConflict if the vmgroup has a live volume of the new name.
    """

    needs: ClassVar[Role] = Role.OPERATOR
    volume: str
    new_name: str
    vmgroup: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveVolume(Order):
    """Afterwards the volume is in ``to_vmgroup`` (name or id) with all that is on it, and there for no machine of its old one.

    Its disk stays where it lies. VolumeInUse while a machine has it, NameConflict if that vmgroup has a live volume of its
    name, PolicyNotFound if its policy is not allowed there; QuotaExceeded beyond that vmgroup's limits, unless ``over_quota``;
    StaleRequest unless ``to_vmgroup`` means the vmgroup of the plan with this ``digest``.
    """

    volume: str
    to_vmgroup: str
    vmgroup: str | None = None
    over_quota: bool = False
    digest: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetachVolume(Order):
    """Afterwards no machine is known to have the disk, and what its last one still asks, with an older generation, is refused.

    A running machine is asked to give it back; VolumeInUse if it uses it. ``force`` takes it: from a machine that is off
    or gone, or that has it not by the hypervisor's word; else ProofNeeded unless ``i_know`` is the name of that machine.
    What it had not written is lost then, and the next mount checks the whole file system.
    """

    volume: str
    vmgroup: str | None = None
    force: bool = False
    i_know: str = ""


VOLUME_REQUESTS: tuple[type[Request[object]], ...] = (
    ListAllVolumes,
    InspectVolume,
    CreateVolumeFor,
    TrashVolume,
    DestroyVolume,
    RestoreVolume,
    SetVolume,
    RenameVolume,
    MoveVolume,
    DetachVolume,
)
