"""What an administrator may ask about storage policies, and order for them, and the answers. Values only.

A policy is named as vCenter shows it, or as it was made here. On vSphere the policies are vCenter's; directories have only
those that are made here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from vmdkvol.messages import Request
from vmdkvol.names import DatastoreName
from vmdkvol.orders import Order, Query
from vmdkvol.volume import State, VolumeId


class PolicyKind(StrEnum):
    """Whose it is: vCenter's, made here, or nobody's: volumes or vmgroups name one that there is not (any more).

    ``unread``: it is named, and whether there is one was not to be read.
    """

    SPBM = "spbm"
    LOCAL = "local"
    MISSING = "missing"
    UNREAD = "unread"


class Compliance(StrEnum):
    """How a disk stands to the policy of its volume.

    ``out-of-date``: the disk is under another policy, or an earlier state of it. ``not-applicable``: nothing of it can be
    checked. ``unknown``: it was not, or could not be looked at.
    """

    COMPLIANT = "compliant"
    NOT_COMPLIANT = "not-compliant"
    OUT_OF_DATE = "out-of-date"
    NOT_APPLICABLE = "not-applicable"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ComplianceCounts:
    """How many volumes of a policy stand how."""

    compliant: int = 0
    not_compliant: int = 0
    out_of_date: int = 0
    not_applicable: int = 0
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class PolicyInfo:
    """One storage policy.

    ``diskformat`` is what a local one demands: ``thin``, ``thick``, None: nothing. ``volumes`` are those on record under it,
    with those in the trash. ``allowed_for`` vmgroups may use it, ``named_by`` of them name it in a list or as the default.
    ``compliance``: None unless it was asked for, or if that are too many volumes. ``revision``: of a local one.
    """

    name: str
    kind: PolicyKind
    description: str
    diskformat: str | None
    volumes: int
    allowed_for: int
    named_by: int
    compliance: ComplianceCounts | None
    revision: int | None


@dataclass(frozen=True, slots=True)
class PolicyPage:
    """Some policies in the order of their names. ``next`` is the ``after`` of the next page, None on the last."""

    policies: tuple[PolicyInfo, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyDetail:
    """One policy, and the first of the vmgroups that name it."""

    policy: PolicyInfo
    vmgroups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PolicyVolume:
    """A volume under a policy. ``follows`` is the policy that its disk is under now, where that can be seen.

    ``checked_at`` (UTC seconds since 1970) is when compliance was looked at, ``reason`` why it is not ``compliant``.
    """

    id: VolumeId
    name: str
    vmgroup: str
    datastore: DatastoreName
    state: State
    compliance: Compliance
    follows: str | None
    checked_at: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class PolicyVolumes:
    """Some volumes in the order of their ids. ``next`` is the ``after`` of the next page, None on the last."""

    volumes: tuple[PolicyVolume, ...]
    next: VolumeId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPolicies(Query[PolicyPage]):
    """All policies that there are, and those that volumes or vmgroups name. ``compliance``: with how their volumes stand."""

    after: str | None = None
    limit: int = 100
    compliance: bool = False
    answer: ClassVar[type] = PolicyPage

    @property
    def slow(self) -> bool:
        return self.compliance


@dataclass(frozen=True, slots=True, kw_only=True)
class GetPolicy(Query[PolicyDetail]):
    """One policy by its exact name, with how its volumes stand; raises PolicyNotFound."""

    name: str
    answer: ClassVar[type] = PolicyDetail

    @property
    def slow(self) -> bool:
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPolicyVolumes(Query[PolicyVolumes]):
    """The volumes under one policy, those in the trash too; raises PolicyNotFound."""

    name: str
    after: VolumeId | None = None
    limit: int = 100
    answer: ClassVar[type] = PolicyVolumes

    @property
    def slow(self) -> bool:
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePolicy(Order):
    """Afterwards there is a local policy of this name that says this. ``diskformat``: ``thin`` or ``thick``.

    NameConflict if one of this name says something else. BadRequest on vSphere, where a policy is made in vCenter.
    """

    revised: ClassVar[bool] = False
    identified: ClassVar[bool] = False
    name: str
    description: str = ""
    diskformat: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatePolicy(Order):
    """Afterwards the local policy says what is given; ``unset``: ``description``, ``diskformat``.

    Disks stay as they are: those that it does not fit any more are told as not compliant. Raises PolicyNotFound.
    """

    identified: ClassVar[bool] = False
    name: str
    description: str | None = None
    diskformat: str | None = None
    unset: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovePolicy(Order):
    """Afterwards there is no such local policy. PolicyInUse while a volume, in the trash too, or a vmgroup names it."""

    identified: ClassVar[bool] = False
    name: str


# The step of a plan whose policy is laid on when a machine gets the disk, and not before.
AWAIT_ATTACH = "AwaitAttach"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetVolumePolicy(Order):
    """Afterwards the volume's disk is under this policy, None: its datastore's own; its data stays what it is.

    On vSphere a disk that no machine has comes under it at its next attach: the plan's step is ``AWAIT_ATTACH``, and the
    volume tells that it is pending. ``volume`` is its id, or its name in ``vmgroup``. ``over_allowed``: also one that its
    vmgroup may not use. Raises PolicyNotFound, InvalidOption if the disk does not fit it, Busy while its first mount is: the
    old one is left then. BadRequest on a single ESXi host, which has no policies. ``task`` if the work goes on.
    """

    long: ClassVar[bool] = True
    volume: str
    vmgroup: str | None = None
    policy: str | None = None
    over_allowed: bool = False


POLICY_REQUESTS: tuple[type[Request[object]], ...] = (
    ListPolicies,
    GetPolicy,
    ListPolicyVolumes,
    CreatePolicy,
    UpdatePolicy,
    RemovePolicy,
    SetVolumePolicy,
)
