"""What a volume is: identities, states and their transitions, and what the two sides tell each other about one.

``State`` is where the volume stands, ``Content`` what lies on its disk. An attachment is read from the hypervisor
each time and never a state (house 4).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType
from uuid import UUID, uuid5

from vmdkvol.names import DatastoreName
from vmdkvol.options import CreateOptions

VolumeId = NewType("VolumeId", UUID)
DiskUuid = NewType("DiskUuid", UUID)
# The instance UUID of a virtual machine; in the sandbox the UUID that a simulated Docker host was registered with.
VmId = NewType("VmId", UUID)
VmgroupId = NewType("VmgroupId", UUID)

# vDVS's constant for the group of every VM that is in no other group (vdvs-facts 6.1).
DEFAULT_VMGROUP = VmgroupId(UUID("11111111-1111-1111-1111-111111111111"))


class State(StrEnum):
    PREPARING = "preparing"
    READY = "ready"
    TRASHED = "trashed"
    REMOVING = "removing"
    LOST = "lost"
    DAMAGED = "damaged"


class Content(StrEnum):
    UNFORMATTED = "unformatted"
    FORMATTING = "formatting"
    FORMATTED = "formatted"


# States whose name is taken: a name in the trash is free again (corrections 18).
LIVE_STATES = frozenset({State.PREPARING, State.READY, State.LOST, State.DAMAGED})

# Formatted is final: nothing ever makes a file system on a disk that once was handed to a container (I1).
_NEXT_CONTENT: dict[Content, frozenset[Content]] = {
    Content.UNFORMATTED: frozenset({Content.FORMATTING}),
    Content.FORMATTING: frozenset({Content.FORMATTED, Content.UNFORMATTED, Content.FORMATTING}),
    Content.FORMATTED: frozenset({Content.FORMATTED}),
}


def content_may_become(content: Content, new: Content) -> bool:
    """Tell whether a record may go from ``content`` to ``new``."""
    return new in _NEXT_CONTENT[content]


@dataclass(frozen=True, slots=True)
class LoopAddress:
    """Where the local hypervisor attached a disk: ``/dev/loop<number>`` on the one kernel that all sides share."""

    number: int

    def __str__(self) -> str:
        return f"loop{self.number}"


@dataclass(frozen=True, slots=True)
class ScsiAddress:
    """Where a disk sits on a virtual machine: PVSCSI controller (bus 0-3) and unit (0-15 without 7)."""

    bus: int
    unit: int

    def __str__(self) -> str:
        return f"scsi{self.bus}:{self.unit}"


Address = LoopAddress | ScsiAddress


@dataclass(frozen=True, slots=True)
class Holder:
    """The virtual machine that has the disk, as read from the hypervisor just now."""

    vm: VmId
    vm_name: str
    address: Address


class Doing(StrEnum):
    """What is being done to a volume's disk."""

    CREATE = "create"
    CLONE = "clone"
    DELETE = "delete"
    ATTACH = "attach"
    DETACH = "detach"
    GROW = "grow"
    POLICY = "policy"


# The protocol versions that brought words: a guest of an older one hears of no work rather than of one that it cannot read.
DOING_SINCE = {Doing.GROW: 4, Doing.POLICY: 5}


@dataclass(frozen=True, slots=True)
class Work:
    """A change of a volume that is under way. ``percent`` is 0 as long as nothing is known of it; ``since`` is UTC seconds.

    ``left_s`` is a guess from the pace so far; None as long as there is none.
    """

    doing: Doing
    percent: int
    since: float
    left_s: int | None = None


@dataclass(frozen=True, slots=True)
class VolumeInfo:
    """One volume as the service tells it. ``name`` is exactly what was created; sizes are bytes; times are UTC seconds.

    ``work`` (since version 2) is what is being done to it at this moment. ``vmgroup_name`` (since version 6) is empty for
    ``_DEFAULT``, and from a service that does not tell it.
    """

    id: VolumeId
    name: str
    datastore: DatastoreName
    vmgroup: VmgroupId
    size_bytes: int
    allocated_bytes: int
    state: State
    content: Content
    options: CreateOptions
    created_at: float
    created_by: str
    attached_to: Holder | None = None
    work: Work | None = field(default=None, metadata={"since": 2})
    vmgroup_name: str = field(default="", metadata={"since": 6})


@dataclass(frozen=True, slots=True)
class Attachment:
    """A disk on the caller's VM. A guest verifies ``disk_uuid`` and ``size_bytes`` before it touches the device.

    ``generation`` is the fencing token: Mark and Detach carry it, and an older one is refused. ``content`` is
    ``formatted`` without a ``filesystem_uuid`` for a clone that has not had its full check and its new
    file-system UUID yet (corrections 1), and for what an administrator took from a machine by force. ``copied_uuids`` (since
    version 2) are then the UUIDs that the file system may have had so far; empty if that is not known. ``keep_uuid`` (since
    version 5): somebody else made the disk, and its file system keeps the UUID that it has.
    """

    volume: VolumeId
    disk_uuid: DiskUuid
    size_bytes: int
    address: Address
    generation: int
    content: Content
    filesystem_uuid: UUID | None
    options: CreateOptions
    copied_uuids: tuple[UUID, ...] = field(default=(), metadata={"since": 2})
    keep_uuid: bool = field(default=False, metadata={"since": 5})


@dataclass(frozen=True, slots=True)
class Lag:
    """A mounted file system of ``size_bytes`` (None: not read) on a disk of ``disk_bytes``, and why it is no larger."""

    volume: VolumeId
    disk_bytes: int
    size_bytes: int | None
    reason: str


# What VMware's own disks begin with: 6 says that the identifier has 16 bytes (NAA), 000c29 is VMware's (IEEE).
_NAA = 0x6000C29 << 100


def new_disk_uuid(random: UUID) -> DiskUuid:
    """Return a new disk's identity: 100 bits of ``random`` behind VMware's prefix.

    A guest shows it as the disk's WWN; one that does not begin with 6 would be read there as an identifier of another length.
    """
    return DiskUuid(UUID(int=_NAA | (random.int & ((1 << 100) - 1))))


def renewed_uuid(clone: VolumeId) -> UUID:
    """Return the UUID that a clone's file system gets before its first mount.

    Always the same one: whoever finds it on the disk after a crash knows that it is ours, although no record says so yet.
    """
    return uuid5(clone, "file system")


# Our own range of loop numbers, far above what losetup and other tools hand out: no race for a number with them. It has
# an end, because what is unbound in it is taken away: a program with numbers above ours lost its own.
FIRST_LOOP = 100_000
OUR_LOOPS = range(FIRST_LOOP, FIRST_LOOP + 4096)

# lo_file_name has 64 bytes with its NUL: "v1:" + 22 (base64 of the VM's UUID) + ":" + 32 hex digits = 58.
_TAG_VERSION = "v1"


def loop_tag(vm: VmId, disk: DiskUuid) -> str:
    """Return the text that marks a loop device as ``disk`` attached to ``vm`` (corrections 2)."""
    owner = base64.urlsafe_b64encode(vm.bytes).decode("ascii").rstrip("=")
    return f"{_TAG_VERSION}:{owner}:{disk.hex}"


def parse_loop_tag(text: str) -> tuple[VmId, DiskUuid] | None:
    """Return what ``loop_tag`` wrote, or None if the loop device is not one of ours."""
    parts = text.split(":")
    if len(parts) != 3 or parts[0] != _TAG_VERSION:
        return None
    try:
        vm = VmId(UUID(bytes=base64.urlsafe_b64decode(parts[1] + "==")))
        disk = DiskUuid(UUID(hex=parts[2]))
    except ValueError:
        return None
    # base64 and UUID read more spellings than we write, and what we did not write is not ours.
    return (vm, disk) if loop_tag(vm, disk) == text else None
