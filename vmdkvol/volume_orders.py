"""What an administrator may ask about volumes and order for them, and the answers. Values only.

``volume`` in a request is an id, or a name; ``vmgroup`` (a name) says whose, where several have a volume of that name. NotFound
if there is none, Conflict naming the ids if there are several.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vmdkvol.messages import Request
from vmdkvol.options import CreateOptions
from vmdkvol.orders import Query
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

    ``trouble`` is what stands against using it, one line each, with the command that helps.
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


VOLUME_REQUESTS: tuple[type[Request[object]], ...] = (ListAllVolumes, InspectVolume)
