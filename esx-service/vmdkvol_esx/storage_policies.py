"""Storage policies, as the hypervisor has them and as the store keeps those that are made here. Values and ports.

Every promise is a test in tests/contract/.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from vmdkvol.clock import Deadline
from vmdkvol.names import DatastoreName
from vmdkvol.policy_messages import Compliance, PolicyKind
from vmdkvol.volume import DiskUuid, VolumeId

if TYPE_CHECKING:
    from vmdkvol_esx.ports import DiskRef
    from vmdkvol_esx.records import VolumeRecord

THIN, THICK = "thin", "thick"
# Why a disk is unseen that nobody had the time to look at.
LATE = "there was no time to look at all disks: ask again, for fewer at a time"


@dataclass(frozen=True, slots=True)
class LocalPolicy:
    """A policy that was made here. ``diskformat`` is what its disks have to be, ``thin`` or ``thick``; None: either."""

    name: str
    description: str = ""
    diskformat: str | None = None
    revision: int = 1


@dataclass(frozen=True, slots=True)
class KnownPolicies:
    """The policies that disks can be made under: descriptions by names, and whose they are, also if there are none."""

    kind: PolicyKind
    descriptions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Followed:
    """How a disk stands now. ``policy``: the one that it is under, None: its datastore's own. ``at`` is UTC seconds.

    ``own``: the policy is also the one that its datastore gives to disks of which none is asked for.
    """

    policy: str | None
    compliance: Compliance
    at: float
    reason: str = ""
    own: bool = False

    def is_under(self, policy: str | None) -> bool:
        """Tell whether this is the policy that the disk is under; None: its datastore's own."""
        return self.policy == policy or (policy is None and self.own)


@dataclass(frozen=True, slots=True)
class Unseen:
    """Under which policy a disk is cannot be told now, for this ``reason``; ``at`` as of ``Followed``."""

    reason: str
    at: float


class StoragePolicies(Protocol):
    """Part of the hypervisor."""

    def storage_policies(self) -> KnownPolicies:
        """Return the policies as of a moment ago; Unavailable if they cannot be read."""
        ...

    def followed(self, disks: Collection[DiskRef], deadline: Deadline | None = None) -> Mapping[DiskUuid, Followed | Unseen]:
        """Return, in few bulk reads, how these disks stand to the policies that they are under.

        A disk that is not there lacks, or is unseen; so is one of which nobody can say it now. Unavailable if none could be
        asked about. What was not looked at by the ``deadline`` is unseen, too; None: a look takes as long as it takes.
        """
        ...

    def carried(self, disk: DiskUuid) -> bool:
        """Tell whether the attach by which a machine has the disk took the policy along that it named.

        False if it went without, and if nobody knows, as after a restart. True wherever a disk is under its policy without a
        machine.
        """
        ...

    def check_fits(self, policy: str | None, datastore: DatastoreName) -> None:
        """Raise PolicyNotFound, or InvalidOption if no disk on the datastore can be under it. BadRequest where there are none.

        What a policy demands of a disk itself is told by the change. None, the datastore's own, fits.
        """
        ...


class LocalPolicies(Protocol):
    """Part of the store. One transaction each."""

    def local_policies(self) -> Sequence[LocalPolicy]:
        """Return all of them in the order of their names."""
        ...

    def put_policy(self, policy: LocalPolicy, *, expect: int | None) -> LocalPolicy:
        """Store the policy and return it, its revision one higher.

        ``expect`` None: it is new, of revision 1; NameConflict if there is one. Else StaleRequest unless the stored revision
        is that.
        """
        ...

    def remove_policy(self, name: str, *, expect: int) -> None:
        """Forget the policy; not there is fine. StaleRequest unless it has the revision.

        PolicyInUse while a volume in any state, the work on one, or a vmgroup names it.
        """
        ...

    def policy_volumes(self) -> Mapping[str, int]:
        """Return how many volumes, in any state, are under each policy that at least one is under."""
        ...

    def under_policy(self, name: str, after: VolumeId | None, limit: int) -> Sequence[VolumeRecord]:
        """Return up to ``limit`` records of any state under this policy, in the order of ids."""
        ...
