"""What a guest may ask of the service, and the answers: the messages are the port (house 2). Values only.

``Service.ask(request, call)`` returns the answer of the type that the request class names, or raises a
``VolumeError``. The same ``call.id`` from the same caller is carried out once; its stored answer is returned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Protocol, TypeVar
from uuid import UUID

from vmdkvol.clock import Deadline
from vmdkvol.names import VolumeRef
from vmdkvol.notices import Notice
from vmdkvol.options import CreateOptions
from vmdkvol.volume import Attachment, Content, Lag, VmId, VolumeId, VolumeInfo

# The protocol versions that this code speaks. A field with "since" in its metadata is left out for a peer of an older one,
# which reads strictly, and for everybody while it has its default. A request with ``since`` is not sent to an older service.
OLDEST_VERSION = 1
NEWEST_VERSION = 7

A = TypeVar("A", covariant=True)


def untold(percent: int) -> None:
    """Nobody wants to know how far the work is."""


@dataclass(frozen=True, slots=True)
class Call:
    """Who-knows-what-about this call: ``id`` makes a repeat harmless, ``deadline`` is when the answer must be there.

    ``caller`` is set by the service from the channel's proof, never from a message; in a guest it is None. ``progress``
    is told, now and then, how many percent of the work are done: in a guest on the thread that asks and never less than
    before, in the service on any thread; it must not wait. ``version`` is the protocol's that its caller reads the answer in.
    """

    id: UUID
    deadline: Deadline
    caller: VmId | None = None
    progress: Callable[[int], None] = field(default=untold, compare=False, repr=False)
    version: int = NEWEST_VERSION


class Request(Generic[A]):
    """Base of all requests. ``answer`` is the class of the answer; ``changes`` tells whether answers are stored.

    ``before_hello`` ones are for whoever cannot say Hello yet: their caller is never known. ``most`` is how long the frame of
    its answer may be, where that is more than any may.
    """

    __slots__ = ()
    answer: ClassVar[type]
    changes: ClassVar[bool] = False
    before_hello: ClassVar[bool] = False
    most: ClassVar[int | None] = None


@dataclass(frozen=True, slots=True)
class Done:
    """The answer of a request that has nothing to tell."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """The version both sides will use, who the service says the caller is, and since version 3 its time in UTC seconds."""

    version: int
    vm: VmId
    vm_name: str
    service: str
    clock: float | None = field(default=None, metadata={"since": 3})


@dataclass(frozen=True, slots=True)
class VolumePage:
    """Some volumes in the order of their ids. ``next`` is the ``after`` of the next page, None on the last.

    ``change`` is the service's change number as of the first page: ask for ``since=change`` to get only what
    changed later. ``removed`` are ids gone since ``since``. ``complete`` is False when only changes are listed.
    """

    volumes: tuple[VolumeInfo, ...]
    next: VolumeId | None
    change: int
    removed: tuple[VolumeId, ...] = ()
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Attachments:
    """All disks of ours that the hypervisor says are on the caller's VM."""

    attachments: tuple[Attachment, ...]


@dataclass(frozen=True, slots=True)
class Hello(Request[Welcome]):
    """First on each connection. ``oldest`` and ``newest`` are the protocol versions that the guest speaks."""

    oldest: int
    newest: int
    agent: str
    boot_id: str
    answer: ClassVar[type] = Welcome


@dataclass(frozen=True, slots=True)
class CreateVolume(Request[VolumeInfo]):
    """Afterwards one volume of this name exists with these options, ready; the same again is a success."""

    ref: VolumeRef
    options: CreateOptions
    answer: ClassVar[type] = VolumeInfo
    changes: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class GetVolume(Request[VolumeInfo]):
    """Find a volume by its exact name; raises VolumeNotFound only when it is positively absent."""

    ref: VolumeRef
    answer: ClassVar[type] = VolumeInfo


@dataclass(frozen=True, slots=True)
class ListVolumes(Request[VolumePage]):
    """The caller's vmgroup's volumes without preparing and trashed ones. ``since``: only what changed after that number.

    ``preparing`` (since version 2): also those that are being made.
    """

    after: VolumeId | None = None
    limit: int = 100
    since: int | None = None
    preparing: bool = field(default=False, metadata={"since": 2})
    answer: ClassVar[type] = VolumePage


@dataclass(frozen=True, slots=True)
class ListAttached(Request[Attachments]):
    """What the hypervisor says is attached to the caller; raises TruthUnknown if that cannot be read."""

    answer: ClassVar[type] = Attachments


@dataclass(frozen=True, slots=True)
class RemoveVolume(Request[Done]):
    """Afterwards the name is free and the volume trashed or gone. Refused while any VM has the disk."""

    volume: VolumeId
    answer: ClassVar[type] = Done
    changes: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Attach(Request[Attachment]):
    """Afterwards the disk is on the caller's VM. Raises VolumeInUse naming the holder when another VM keeps it.

    Each attach raises the generation, one that is already there included, so that an older Detach is refused.
    """

    volume: VolumeId
    answer: ClassVar[type] = Attachment
    changes: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Detach(Request[Done]):
    """Afterwards the disk is not on the caller's VM. ``generation`` is that of the Attachment; older: StaleRequest."""

    volume: VolumeId
    generation: int
    answer: ClassVar[type] = Done
    changes: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Mark(Request[Done]):
    """Record what lies on the disk, durably, sidecar included: mkfs waits for it (C6). ``generation`` as in Detach.

    ``damage`` (a text) puts the volume into ``damaged``; None leaves the state.
    """

    volume: VolumeId
    generation: int
    content: Content
    filesystem_uuid: UUID | None
    damage: str | None = None
    answer: ClassVar[type] = Done
    changes: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Keep(Request[Done]):
    """The word of a machine that was told ``Wanted`` and has the volume mounted: who waits is refused at once. A hint."""

    volume: VolumeId
    answer: ClassVar[type] = Done


@dataclass(frozen=True, slots=True)
class Lagging(Request[Done]):
    """Since version 7, for people: all file systems of the caller that did not follow their disks, in place of those before."""

    lags: tuple[Lag, ...]
    since: ClassVar[int] = 7
    answer: ClassVar[type] = Done


@dataclass(frozen=True, slots=True)
class Authority:
    """The certificate of the site's authority, PEM. Whoever hears it from a stranger checks it against a token's pin."""

    ca_pem: str


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A certificate that says that its key speaks for ``vm``, and the authority that signed it; both PEM."""

    certificate_pem: str
    ca_pem: str
    vm: VmId
    vm_name: str


@dataclass(frozen=True, slots=True)
class Introduce(Request[Authority]):
    """Since version 3: who signs the certificates here. It proves nothing, and it is no secret."""

    answer: ClassVar[type] = Authority
    before_hello: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Enroll(Request[Enrolled]):
    """Since version 3: afterwards the key of the request speaks for the token's VM, and no older one does.

    ``csr_pem`` is a certificate signing request (RFC 2986): of it only the key counts, and that whoever asks has it. The same
    token with the same request gets the same certificate again; with another one it is used up. Raises NotPermitted for a
    token that is not valid (any more), BadRequest for a request that is none.
    """

    token: str = field(repr=False)
    csr_pem: str
    answer: ClassVar[type] = Enrolled
    before_hello: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Renew(Request[Enrolled]):
    """Since version 3: afterwards the key of the request speaks for the caller too; see ``Enroll`` for the request.

    Busy if the caller got a certificate a moment ago: each stands in the service's database.
    """

    csr_pem: str
    answer: ClassVar[type] = Enrolled


# Every request by its wire name; wire.py and requests.py build their tables from it.
REQUESTS: tuple[type[Request[object]], ...] = (
    Hello,
    CreateVolume,
    GetVolume,
    ListVolumes,
    ListAttached,
    RemoveVolume,
    Attach,
    Detach,
    Mark,
    Keep,
    Lagging,
    Introduce,
    Enroll,
    Renew,
)


class Service(Protocol):
    """The service as a guest sees it."""

    def ask(self, request: Request[A], call: Call) -> A:
        """Return the answer, or raise what the service raised.

        ServiceUnreachable means that it is unknown whether the request was carried out: ask again with the same
        ``call.id``. StillWorking at the deadline: the work goes on, the same request joins it. Long work tells
        ``call.progress`` how far it is, whoever began it.
        """
        ...

    def subscribe(self, listener: Callable[[Notice], None]) -> None:
        """Call ``listener`` for each notice, on a thread of the channel. Notices are hints: one may be lost."""
        ...
