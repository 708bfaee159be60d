"""What an administrator may ask of the service on its own machine, and the answers. Values only.

They travel as those of ``messages`` do, and only on the admin socket: a guest's connection does not know them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from vmdkvol.messages import Request
from vmdkvol.orders import Order, OrderFor, Outcome, Query
from vmdkvol.volume import VmId


class Standing(StrEnum):
    """What a machine is to the service. ``REGISTERED`` is a host of the settings, known by its socket."""

    REGISTERED = "registered"
    ENROLLED = "enrolled"
    INVITED = "invited"
    EXPIRED = "expired"
    REVOKED = "revoked"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation(Outcome):
    """A token's text, for whom it is and until when (UTC seconds since 1970). ``given``: it lies in the VM's guestinfo too.

    Of a dry run the text is empty: no token was made.
    """

    token: str = field(repr=False)
    vm: VmId
    vm_name: str
    expires_at: float
    given: bool = False


@dataclass(frozen=True, slots=True)
class VmInfo:
    """A machine as the service sees it; ``running`` None: the hypervisor does not show it.

    ``not_after`` is when its newest certificate ends, ``expires_at`` when its token does; UTC seconds since 1970.
    """

    vm: VmId
    name: str
    standing: Standing
    connected: bool
    running: bool | None
    not_after: float | None = None
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class VmPage:
    """Some machines in the order of their ids. ``next`` is the ``after`` of the next page, None on the last."""

    vms: tuple[VmInfo, ...]
    next: VmId | None = None


@dataclass(frozen=True, slots=True)
class EnrollVm(OrderFor[Invitation]):
    """Afterwards one token exists with which this VM can enrol, once, within the hour. By its exact name or its id.

    Raises NotFound, and Conflict naming the ids if two have the name. ``give``: it is also written into the VM's guestinfo.
    """

    revised: ClassVar[bool] = False
    vm: str
    give: bool = False
    answer: ClassVar[type] = Invitation
    secret: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class ListVms(Query[VmPage]):
    """All machines that are enrolled, were, or could be."""

    after: VmId | None = None
    limit: int = 100
    answer: ClassVar[type] = VmPage


@dataclass(frozen=True, slots=True)
class RevokeVm(Order):
    """Afterwards no certificate and no token of this VM counts, and its connections are closed. Its disks stay as they are.

    By name or id, also of one that the hypervisor does not show any more; else as ``EnrollVm``.
    """

    revised: ClassVar[bool] = False
    vm: str


VM_REQUESTS: tuple[type[Request[object]], ...] = (EnrollVm, ListVms, RevokeVm)
