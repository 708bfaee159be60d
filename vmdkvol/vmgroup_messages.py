"""What an administrator may ask about vmgroups, their members, rights and defaults, and the answers. Values only.

A vmgroup is named by its exact name or its id, a virtual machine too. In an order, a field that is left out (None) stays as
it is; ``unset`` names the fields that go back to saying nothing: no limit, any policy, no description.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from vmdkvol.messages import Request
from vmdkvol.names import DatastoreName
from vmdkvol.orders import Order, Query
from vmdkvol.volume import VmgroupId, VmId

# The group of every virtual machine that is in no other one.
DEFAULT_NAME = "_DEFAULT"


@dataclass(frozen=True, slots=True)
class RightInfo:
    """What a vmgroup may do on one datastore; ``datastore`` is a name, ``_VM_DS`` or ``_ALL_DS``.

    Without ``allow_create`` its volumes there are mounted and inspected only. ``max_bytes`` is the limit of one volume,
    ``total_bytes`` that of all together on each datastore, None: no limit; no ``policies``: any. ``used_bytes`` is what the
    volumes on it take at their capacity, with those in the trash; None for the two words, see ``VmgroupInfo.usage``.
    """

    datastore: DatastoreName
    allow_create: bool
    max_bytes: int | None
    total_bytes: int | None
    policies: tuple[str, ...]
    used_bytes: int | None


@dataclass(frozen=True, slots=True)
class DatastoreUsage:
    """What a vmgroup's volumes on one datastore take, at their capacity, with those in the trash."""

    datastore: DatastoreName
    used_bytes: int


@dataclass(frozen=True, slots=True)
class MemberInfo:
    """A virtual machine of a vmgroup. ``name`` is its present one, or the last known; ``running`` None: it is not seen now."""

    vm: VmId
    name: str
    running: bool | None


@dataclass(frozen=True, slots=True)
class VmgroupInfo:
    """One vmgroup with all that it says.

    ``defaults`` are options as after ``-o``, for creates that do not give them; no ``policies``: any. ``usage`` are the
    datastores with the most use first, as many as fit, ``volumes`` the number of its volumes with those in the trash.
    ``members`` are the first ones, as many as fit; ``member_count`` is how many there are, and ``ListMembers`` tells all.
    """

    id: VmgroupId
    name: str
    description: str
    default_datastore: DatastoreName | None
    defaults: tuple[tuple[str, str], ...]
    policies: tuple[str, ...]
    rights: tuple[RightInfo, ...]
    usage: tuple[DatastoreUsage, ...]
    volumes: int
    members: tuple[MemberInfo, ...]
    member_count: int
    revision: int


@dataclass(frozen=True, slots=True)
class VmgroupPage:
    """Some vmgroups in the order of their names. ``next`` is the ``after`` of the next page, None on the last."""

    vmgroups: tuple[VmgroupInfo, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class MemberPage:
    """Some members in the order of their ids. ``next`` is the ``after`` of the next page, None on the last."""

    members: tuple[MemberInfo, ...]
    next: VmId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListVmgroups(Query[VmgroupPage]):
    """All vmgroups, with few members each."""

    after: str | None = None
    limit: int = 100
    answer: ClassVar[type] = VmgroupPage


@dataclass(frozen=True, slots=True, kw_only=True)
class GetVmgroup(Query[VmgroupInfo]):
    """One vmgroup; raises VmgroupNotFound."""

    name: str
    answer: ClassVar[type] = VmgroupInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class ListMembers(Query[MemberPage]):
    """All members of one vmgroup; raises VmgroupNotFound."""

    name: str
    after: VmId | None = None
    limit: int = 100
    answer: ClassVar[type] = MemberPage


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateVmgroup(Order):
    """Afterwards a vmgroup of this name exists with full right on its default datastore, a name or ``_VM_DS``.

    ``_DEFAULT`` is made again under its one id, and takes no ``vms``. Of ``vms``, none is given twice. Raises InvalidName,
    NameConflict if one of this name differs from what is asked, and of each VM what ``AddMembers`` raises; ``digest`` as there.
    """

    revised: ClassVar[bool] = False
    identified: ClassVar[bool] = False
    name: str
    default_datastore: str
    description: str = ""
    vms: tuple[str, ...] = ()
    defaults: tuple[tuple[str, str], ...] = ()
    policies: tuple[str, ...] = ()
    digest: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateVmgroup(Order):
    """Afterwards the vmgroup has what is given; its id, its volumes and all else stay.

    A new default datastore gets full right unless it has a row; the old one keeps its row. ``defaults`` are changed key by
    key, and an empty value takes that key away; ``policies`` are replaced as a whole. ``unset``: ``description``,
    ``defaults``, ``policies``.
    """

    name: str
    new_name: str | None = None
    description: str | None = None
    default_datastore: str | None = None
    defaults: tuple[tuple[str, str], ...] | None = None
    policies: tuple[str, ...] | None = None
    unset: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveVmgroup(Order):
    """Afterwards the vmgroup is gone. Raises VmgroupNotEmpty while it has members or volumes, in the trash too.

    ``force`` takes the members out with it, as ``RemoveMembers`` does: not those that have a volume attached. They stay if it
    stays. ``remove_volumes`` removes its volumes first: those that it has as the order begins, or StaleRequest unless they are
    those of the plan with this ``digest``. A trash that keeps them would keep the vmgroup too: there it is
    VmgroupNotEmpty, and no volume is touched. ``empty_trash`` destroys for good what of it is in the trash, with what
    ``remove_volumes`` puts there: ProofNeeded without the ``digest`` of a plan, which names each of them.
    """

    name: str
    remove_volumes: bool = False
    empty_trash: bool = False
    force: bool = False
    digest: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddMembers(Order):
    """Afterwards these VMs are in the vmgroup; those that are in it already stay.

    Raises VmNotFound, MemberElsewhere for one that is in another vmgroup, VolumeInUse for one that has a volume attached;
    StaleRequest unless the names mean the machines of the plan with this ``digest``.
    """

    name: str
    vms: tuple[str, ...]
    digest: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveMembers(Order):
    """Afterwards these VMs are in no vmgroup but ``_DEFAULT``; those that are not in this one stay where they are.

    Also of a VM that is deleted, by the name that it had. Raises VmNotFound, VolumeInUse for one that has a volume attached;
    ``digest`` as for ``AddMembers``.
    """

    name: str
    vms: tuple[str, ...]
    digest: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaceMembers(Order):
    """Afterwards exactly these VMs are in the vmgroup; raises as ``AddMembers`` and ``RemoveMembers``."""

    name: str
    vms: tuple[str, ...]
    digest: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRight(Order):
    """Afterwards the vmgroup has a row for this datastore (a name, ``_VM_DS`` or ``_ALL_DS``) that says what is given.

    A new row says ``allow_create``, RightNotFound if it does not, and has no limits unless they are given. ``unset``:
    ``max_bytes``, ``total_bytes``, ``policies``. Raises InvalidLimit for a maximum above the total; a total below the present
    use is taken, and then nothing new fits.
    """

    name: str
    datastore: str
    allow_create: bool | None = None
    max_bytes: int | None = None
    total_bytes: int | None = None
    policies: tuple[str, ...] | None = None
    unset: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveRight(Order):
    """Afterwards the vmgroup has no row for this datastore; its volumes there stay. The default datastore's row stays."""

    name: str
    datastore: str


VMGROUP_REQUESTS: tuple[type[Request[object]], ...] = (
    ListVmgroups,
    GetVmgroup,
    ListMembers,
    CreateVmgroup,
    UpdateVmgroup,
    RemoveVmgroup,
    AddMembers,
    RemoveMembers,
    ReplaceMembers,
    SetRight,
    RemoveRight,
)
