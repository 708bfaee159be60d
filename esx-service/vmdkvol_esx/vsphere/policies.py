"""Storage policies by name: asked of vCenter's policy service, in the session and over the trust of all other calls.

An administrator knows a policy by its name, the API by its id. What is known of them is remembered for 5 minutes; a name
that is not among them is looked for again first, so a policy that was made just now is found.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from pyVmomi import pbm, vim

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import BadRequest, InvalidOption, PolicyNotFound, TruthUnknown, quoted
from vmdkvol_esx.vsphere import reading
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.session import Session
from vmdkvol_esx.vsphere.shared import Shared

T = TypeVar("T")

REMEMBERED_S = 300.0
# A name that is not known is looked for again, but not by each of many creates.
AGAIN_S = 5.0

_PATH = "/pbm"
# The first with CheckRequirements: vCenter 6.5. The service's versions are none of the main one's.
_VERSION = "pbm.version.version11"


@dataclass(frozen=True, slots=True)
class _Known:
    """Ids and descriptions by names."""

    ids: Mapping[str, str]
    descriptions: Mapping[str, str]


class Policies:
    """Safe for any number of threads: what is remembered is replaced whole."""

    def __init__(self, session: Session[Service], clock: Clock) -> None:
        self._session = session
        self._clock = clock
        self._known = self._nothing()
        self._fits: dict[tuple[str, str], float] = {}
        self._usual: dict[str, tuple[str | None, float]] = {}

    def known(self, deadline: Deadline) -> Mapping[str, str]:
        """Return the ids of all policies that a disk can have, by their names; none on a single ESXi host."""
        return self._within(REMEMBERED_S, deadline).ids

    def described(self, deadline: Deadline) -> Mapping[str, str]:
        """Return the descriptions of the same policies, by their names; one that was made just now is among them."""
        return self._within(AGAIN_S, deadline).descriptions

    def profile(self, name: str, datastore: str, where: str, deadline: Deadline) -> str:
        """Return the id of the policy ``name``; ``datastore`` is a datastore's managed object id, ``where`` its name.

        PolicyNotFound, with the known ones, if there is none; InvalidOption if the datastore cannot satisfy it.
        """
        found = self.id(name, deadline)
        self._check_fits(name, found, datastore, where, deadline)
        return found

    def id(self, name: str, deadline: Deadline) -> str:
        """Return the id of the policy ``name``; PolicyNotFound, with the known ones, if there is none."""
        ids = self._within(REMEMBERED_S, deadline).ids
        if name not in ids:
            ids = self._within(AGAIN_S, deadline).ids
        if name not in ids:
            raise _unknown(name, ids)
        return ids[name]

    def remembered(self, name: str, within_s: float | None = None) -> str | None:
        """Return the policy's id without a call, if it was read, not longer ago than ``within_s``; else None."""
        known = self._known.last(float("inf") if within_s is None else within_s)
        return None if known is None else known.ids.get(name)

    def names(self, ids: Collection[str], deadline: Deadline) -> Mapping[str, str]:
        """Return the names of these policies by their ids. One lacks that is none for disks, or is not there any more."""
        known = self._within(REMEMBERED_S, deadline).ids
        if not set(ids) <= set(known.values()):
            known = self._within(AGAIN_S, deadline).ids
        return {identity: name for name, identity in known.items() if identity in ids}

    def usual(self, datastore: str, deadline: Deadline) -> str | None:
        """Return the id of the policy that the datastore gives to disks of which none is asked for; None if it gives none."""
        known = self._usual.get(datastore)
        if known is None or self._clock.monotonic() - known[1] > REMEMBERED_S:
            what = f"reading the storage policy that is datastore {datastore}'s own"
            found = self._session.read(what, lambda service: _usual(service, datastore), deadline)
            known = found, self._clock.monotonic()
            self._usual = {**self._usual, datastore: known}
        return known[0]

    def are_there(self, deadline: Deadline) -> bool:
        """Tell whether the server has policies at all: a single ESXi host has none, and nobody who tells of them."""
        return self._session.read("reading what kind of server it is", _has_policies, deadline)

    def check_there(self, deadline: Deadline) -> None:
        """Raise BadRequest unless the server has policies at all."""
        if not self.are_there(deadline):
            raise BadRequest(
                "a single ESXi host has no storage policies",
                remedy="they are vCenter's: let the service use the vCenter that the host belongs to",
            )

    def forget(self) -> None:
        """Ask anew at the next use: a change under a policy was refused, which may have been replaced by one of its name."""
        self._known = self._nothing()
        self._fits, self._usual = {}, {}

    def _within(self, seconds: float, deadline: Deadline) -> _Known:
        return self._known.get(self._read, deadline, seconds)

    def _read(self, deadline: Deadline) -> _Known:
        read = self._session.read("reading the storage policies", _read, deadline)
        ids = {name: identity for name, (identity, _) in read.items()}
        return _Known(ids, {name: description for name, (_, description) in read.items()})

    def _nothing(self) -> Shared[_Known]:
        return Shared(self._clock, "reading the storage policies")

    def _check_fits(self, name: str, policy: str, datastore: str, where: str, deadline: Deadline) -> None:
        seen = self._fits.get((policy, datastore))
        if seen is not None and self._clock.monotonic() - seen <= REMEMBERED_S:
            return
        reason = self._session.read(
            f"checking policy {quoted(name)} on datastore {where}",
            lambda service: _reason(service, policy, datastore),
            deadline,
        )
        if reason is not None:
            raise InvalidOption(
                f"policy {quoted(name)} does not fit datastore {where}{reason}",
                remedy="name another policy or datastore; vCenter shows which are compatible",
                policy=name,
            )
        self._fits = {**self._fits, (policy, datastore): self._clock.monotonic()}


def _unknown(name: str, ids: Mapping[str, str]) -> PolicyNotFound:
    known = ", ".join(sorted(ids))
    remedy = f"known: {known}" if known else "leave out -o policy: a single ESXi host has no storage policies"
    return PolicyNotFound(f"there is no storage policy {quoted(name)}", remedy=remedy, policy=name)


def _read(service: Service) -> Mapping[str, tuple[str, str]]:
    def ask(content: Any) -> Mapping[str, tuple[str, str]]:
        manager = content.profileManager
        disks = pbm.profile.ResourceType(resourceType="STORAGE")
        ids = manager.QueryProfile(resourceType=disks, profileCategory="REQUIREMENT")
        # Of no ids the server would refuse to tell anything.
        profiles = manager.RetrieveContent(profileIds=ids) if ids else ()
        return {profile.name: (profile.profileId.uniqueId, profile.description or "") for profile in profiles}

    return asked(service, ask, {})


def _reason(service: Service, policy: str, datastore: str) -> str | None:
    """Return why the datastore cannot satisfy the policy, as a clause; None if it can."""

    def ask(content: Any) -> str | None:
        hub = pbm.placement.PlacementHub(hubType="Datastore", hubId=datastore)
        wanted = pbm.placement.CapabilityProfileRequirement(profileId=pbm.profile.ProfileId(uniqueId=policy))
        answers = content.placementSolver.CheckRequirements(hubsToSearch=[hub], placementSubjectRequirement=[wanted])
        found = next((answer for answer in answers if answer.hub.hubId == datastore), None)
        if found is None:
            return ""
        if not found.error:
            return None
        text = getattr(found.error[0], "msg", None)
        return f": {text}" if text else ""

    none: str | None = ": a single ESXi host has no storage policies"
    return asked(service, ask, none)


def _usual(service: Service, datastore: str) -> str | None:
    def ask(content: Any) -> str | None:
        hub = pbm.placement.PlacementHub(hubType="Datastore", hubId=datastore)
        found = content.profileManager.QueryDefaultRequirementProfile(hub=hub)
        return None if found is None else str(found.uniqueId)

    none: str | None = None
    return asked(service, ask, none)


def _has_policies(service: Service) -> bool:
    return bool(service.content.about.apiType == "VirtualCenter")


@contextmanager
def understood() -> Iterator[None]:
    """Within, an answer of the policy service's is read: TruthUnknown if it has not the shape that the API's reference says.

    Attaches and lists do without what it tells, so an answer that nobody foresaw is to them as none.
    """
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise TruthUnknown(
            f"vCenter's policy service: the answer cannot be read ({type(error).__name__}: {error})",
            remedy="report it with the server's version",
        ) from error


def asked(service: Service, ask: Callable[[Any], T], without: T) -> T:
    """Return what ``ask`` makes of what the policy service begins with; ``without`` where there is no such service.

    Called by ``Session.read``. TruthUnknown if ``ask`` cannot make anything of it.
    """
    if not _has_policies(service):
        return without
    # First, whether the session lives: the policy service has its own words for one that has ended.
    manager = service.content.sessionManager
    reading.properties(service, vim.SessionManager, [manager], ["currentSession"])
    stub = service.stub.beside(_PATH, _VERSION)
    try:
        with understood():
            return ask(pbm.ServiceInstance("ServiceInstance", stub).RetrieveContent())
    finally:
        # Asked so seldom that a kept connection would be an old one.
        stub.DropConnections()
