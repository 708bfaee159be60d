"""What the service remembers: volumes, open pieces of work, vmgroups, what was done. Values only.

The database is the record, the hypervisor is the truth: nothing here says where a disk is attached now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from vmdkvol.names import DatastoreName
from vmdkvol.options import CreateOptions
from vmdkvol.volume import Content, DiskUuid, State, VmgroupId, VmId, VolumeId

if TYPE_CHECKING:
    from vmdkvol_esx.ports import Change


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    """One volume. ``path`` is the descriptor's, relative to ``datastore``; ``generation`` fences older requests.

    ``last_vm`` is the VM that the last attach was for: where to look first, no more. ``trashed_at`` is UTC seconds.
    ``adopted``: somebody else made the disk, which is never deleted by us.
    ``copied_uuids``: one of them, or ``renewed_uuid``, is on the disk of a clone whose own UUID is not recorded yet.
    """

    id: VolumeId
    vmgroup: VmgroupId
    name: str
    datastore: DatastoreName
    path: str
    disk_uuid: DiskUuid
    size_bytes: int
    state: State
    content: Content
    filesystem_uuid: UUID | None
    options: CreateOptions
    generation: int
    created_at: float
    created_by: str
    last_vm: VmId | None = None
    trashed_at: float | None = None
    # Not there when it is empty: a row or a sidecar from before has the same checksum.
    copied_uuids: tuple[UUID, ...] = field(default=(), metadata={"since": 2})
    # As the one above. Where the disk lay when it was adopted; empty: we made it.
    adopted: str = field(default="", metadata={"since": 2})
    # As the one above. Its policy was ordered while no machine had the disk, and is not known to be laid on since.
    policy_pending: bool = field(default=False, metadata={"since": 2})


@dataclass(frozen=True, slots=True)
class Intent:
    """An open piece of work: what was decided, before it is done. ``task`` is the hypervisor's, once it is known.

    ``source`` is the volume that a clone reads; it is held against attach, remove and resize until the intent ends.
    ``before`` is the record as it stood, None for a new volume: what ``abandon`` goes back to.
    """

    id: UUID
    volume: VolumeId
    change: Change
    caller: VmId | None
    opened_at: float
    source: VolumeId | None = None
    before: VolumeRecord | None = None
    task: str | None = None
    # The id of the call that began it: as logs and the audit have it. Not there: nobody's call, or a row from before.
    request: UUID | None = None


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What a call was answered, as its repeat gets it (F31)."""

    caller: VmId
    call: UUID
    answer: bytes


@dataclass(frozen=True, slots=True)
class Vmgroup:
    """A tenant: machines that share volumes, which no other group's machine sees.

    New volumes lie on ``default_datastore`` unless the user names another: a name, or ``names.VM_DATASTORE``. ``defaults`` are
    options as they stand after ``-o``, for what the user left out. ``policies``: only these storage policies, empty: any.
    """

    id: VmgroupId
    name: str
    default_datastore: DatastoreName | None
    description: str = ""
    defaults: tuple[tuple[str, str], ...] = ()
    policies: tuple[str, ...] = ()
    revision: int = 1
    # The change number of the last change of who is in it and what they may: "what changed since" an earlier one is not
    # known by its volumes alone.
    changed: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Right:
    """What a vmgroup may on a datastore, on ``names.VM_DATASTORE`` or ``names.ALL_DATASTORES``: use volumes; with
    ``allow_create`` also create and remove them. A limit that is None is none.

    ``total_bytes`` is of all volumes of the group on one datastore at capacity, those in the trash included.
    """

    datastore: DatastoreName
    allow_create: bool
    max_bytes: int | None = None
    total_bytes: int | None = None
    policies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Member:
    """A machine in a vmgroup; ``name`` is what it was called when it came in."""

    vm: VmId
    name: str


@dataclass(frozen=True, slots=True)
class Group:
    """A vmgroup whole: rights in the order of their datastores, members in the order of their ids."""

    vmgroup: Vmgroup
    rights: tuple[Right, ...] = ()
    members: tuple[Member, ...] = ()


@dataclass(frozen=True, slots=True)
class Tenancy:
    """A machine's group without its members, and what its volumes take on each datastore; ``trashed`` is part of ``used``."""

    group: Group
    used: Mapping[DatastoreName, int]
    trashed: Mapping[DatastoreName, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """Who did what to what, from where, and what came of it: ``done``, ``dry-run``,
    ``started`` (a task works on it), or the code of the error.

    ``request_id`` is the call's, as logs and vCenter's tasks have it; ``at`` is UTC seconds since 1970, ``seq`` the place in
    the audit, given by the store. Texts may be anything: what is kept of them is one line each (``trail.clean``).
    """

    at: float
    actor: str
    role: str
    source: str
    verb: str
    target: str
    result: str
    request_id: UUID
    detail: str = ""
    seq: int = 0
