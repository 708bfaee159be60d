"""Under which storage policies disks are and how they stand to them, as vCenter's policy service tells it.

It knows a disk by its machine and its key there (``virtualDiskId``), so a disk that no machine has is known to nobody there.
Two calls for hundreds of disks. What it does not tell is unseen, with the reason; nothing here fails for its sake.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyVmomi import pbm

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import VolumeError, one_line
from vmdkvol.policy_messages import Compliance
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.ports import DiskRef, Log
from vmdkvol_esx.storage_policies import LATE, Followed, Unseen
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.machine import Fitted, Machine
from vmdkvol_esx.vsphere.machines import Machines
from vmdkvol_esx.vsphere.policies import Policies, asked, understood
from vmdkvol_esx.vsphere.profiles import Rest
from vmdkvol_esx.vsphere.session import Session

# For all of it: an administrator's list waits for it, and has 15 s.
ASK_S = 8.0
# The API's documentation promises nothing of more than a thousand entities in one call.
BATCH = 500
_MAX_SAID = 160

NO_MACHINE = "no machine has the disk, and vCenter tells this only of a machine's: its policy is laid on when one gets it"
NO_POLICIES = "a single ESXi host has no storage policies"
_EDITED = "the policy was edited in vCenter and not laid on again since: `vmdkvol policy apply` does"
_NOT_CHECKED = "vCenter has not checked it yet"

_STANDS: Mapping[str, Compliance] = {
    "compliant": Compliance.COMPLIANT,
    "nonCompliant": Compliance.NOT_COMPLIANT,
    "outOfDate": Compliance.OUT_OF_DATE,
    "notApplicable": Compliance.NOT_APPLICABLE,
}


@dataclass(frozen=True, slots=True)
class _Told:
    """By disks' keys: the ids of their policies, why that is not told, and the last check's results."""

    profiles: Mapping[str, Sequence[str]]
    faults: Mapping[str, str]
    results: Mapping[str, Any]


class Compliances:
    """For any thread. Everything is read anew."""

    def __init__(
        self, session: Session[Service], policies: Policies, machines: Machines, rest: Rest, clock: Clock, log: Log
    ) -> None:
        self._session = session
        self._policies = policies
        self._machines = machines
        self._rest = rest
        self._clock = clock
        self._log = log

    def followed(self, disks: Collection[DiskRef], deadline: Deadline | None = None) -> Mapping[DiskUuid, Followed | Unseen]:
        """See ``StoragePolicies.followed``. Raises what stands against a look at the machines."""
        at = self._clock.wall()
        deadline = Deadline.after(self._clock, ASK_S) if deadline is None else deadline.at_most(ASK_S)
        if not disks:
            return {}
        if deadline.passed:
            return {ref.uuid: Unseen(LATE, at) for ref in disks}
        if not self._policies.are_there(deadline):
            return {ref.uuid: Unseen(NO_POLICIES, at) for ref in disks}
        having = self._having(disks)
        found: dict[DiskUuid, Followed | Unseen] = {}
        known = list(having.items())
        for first in range(0, len(known), BATCH):
            batch = dict(known[first : first + BATCH])
            try:
                found |= self._told(batch, at, deadline)
            except VolumeError as error:
                self._log.warning("compliance not read", disks=len(batch), error=str(error))
                found |= dict.fromkeys(batch, Unseen(one_line(f"vCenter does not tell it now: {error.text}", _MAX_SAID), at))
        return {ref.uuid: found.get(ref.uuid, Unseen(NO_MACHINE, at)) for ref in disks}

    def _having(self, disks: Collection[DiskRef]) -> Mapping[DiskUuid, tuple[Machine, Fitted]]:
        """Return who has which disk. Of copies with one identity the one that lies where the record says."""
        wanted, found = {ref.uuid: ref for ref in disks}, dict[DiskUuid, tuple[Machine, Fitted]]()
        for machine in self._machines.whole():
            for fitted in machine.disks:
                if fitted.uuid not in wanted:
                    continue
                its = self._machines.located(fitted.place, fitted.path) == wanted[fitted.uuid].path
                if its or fitted.uuid not in found:
                    found[fitted.uuid] = (machine, fitted)
        return found

    def _told(
        self, having: Mapping[DiskUuid, tuple[Machine, Fitted]], at: float, deadline: Deadline
    ) -> Mapping[DiskUuid, Followed | Unseen]:
        keys = {uuid: f"{machine.ref}:{fitted.key}" for uuid, (machine, fitted) in having.items()}
        what = f"asking how {len(keys)} disks stand to their storage policies"
        with self._rest.asking():
            told = self._session.read(what, lambda service: _ask(service, list(keys.values())), deadline, limit_s=ASK_S)
            names = self._policies.names({each for ids in told.profiles.values() for each in ids}, deadline)
            usual = {
                fitted.place: self._policies.usual(fitted.place, deadline)
                for uuid, (_, fitted) in having.items()
                if fitted.place and told.profiles.get(keys[uuid])
            }
            with understood():
                return {uuid: _stands(key, told, names, usual.get(having[uuid][1].place), at) for uuid, key in keys.items()}


def _ask(service: Service, keys: Sequence[str]) -> _Told:
    def ask(content: Any) -> _Told:
        disks = [pbm.ServerObjectRef(objectType="virtualDiskId", key=key) for key in keys]
        under = content.profileManager.QueryAssociatedProfiles(entities=disks)
        profiles = {each.object.key: [one.uniqueId for one in each.profileId or ()] for each in under if each.fault is None}
        faults = {each.object.key: getattr(each.fault, "msg", None) or "no reason" for each in under if each.fault is not None}
        # Results of checks that were made: nothing is checked for our sake. Those without a policy are left out.
        checked = content.complianceManager.FetchComplianceResult(entities=disks) if any(profiles.values()) else ()
        return _Told(profiles, faults, {each.entity.key: each for each in checked})

    return asked(service, ask, _Told({}, {}, {}))


def _stands(key: str, told: _Told, names: Mapping[str, str], usual: str | None, at: float) -> Followed | Unseen:
    if key not in told.profiles:
        why = told.faults.get(key, "it says nothing of this disk")
        return Unseen(one_line(f"vCenter does not tell it now: {why}", _MAX_SAID), at)
    if not told.profiles[key]:
        return Followed(None, Compliance.NOT_APPLICABLE, at)
    policy, result = told.profiles[key][0], told.results.get(key)
    name, own = names.get(policy, policy), policy == usual
    # The result of a check under the policy before says nothing of this one.
    if result is None or (result.profile is not None and result.profile.uniqueId != policy):
        return Followed(name, Compliance.UNKNOWN, at, _NOT_CHECKED, own)
    stands = _STANDS.get(result.complianceStatus, Compliance.UNKNOWN)
    checked_at = result.checkTime.timestamp() if result.checkTime is not None else at
    return Followed(name, stands, checked_at, _why(stands, result), own)


def _why(stands: Compliance, result: Any) -> str:
    if stands in (Compliance.COMPLIANT, Compliance.NOT_APPLICABLE):
        return ""
    if stands is Compliance.OUT_OF_DATE:
        return _EDITED
    said = [getattr(each, "msg", None) or "" for each in result.errorCause or ()]
    if stands is Compliance.UNKNOWN:
        return one_line(f"vCenter cannot check it: {said[0]}", _MAX_SAID) if said and said[0] else _NOT_CHECKED
    rules = [each.expectedValue.id for each in result.violatedPolicies or ()]
    missed = ", ".join(f"{rule.namespace}.{rule.id}" for rule in rules)
    return one_line(f"vCenter says that its storage does not meet {missed or 'the policy'}", _MAX_SAID)
