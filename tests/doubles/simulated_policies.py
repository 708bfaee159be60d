"""The storage policies of the simulated hypervisor: a vCenter's, or those that a store keeps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from tests.doubles.simulated_state import SimulatedDisk, SimulatedState
from vmdkvol.errors import PolicyNotFound, StaleRequest, TruthUnknown, VolumeError
from vmdkvol.policy_messages import Compliance, PolicyKind
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.judging import check_demand
from vmdkvol_esx.ports import ChangePolicy, DiskRef
from vmdkvol_esx.storage_policies import Followed, KnownPolicies, LocalPolicy


class SimulatedPolicies(SimulatedState):
    """Part of ``SimulatedHypervisor``. ``policies`` are a vCenter's; with ``local_policies`` there are those in their place.

    ``compliance`` is how disks stand that do not comply; ``policies_fail`` is raised in place of any answer.
    """

    policies: Collection[str] = ()
    local_policies: Callable[[], Sequence[LocalPolicy]] | None = None
    policies_fail: VolumeError | None = None

    def storage_policies(self) -> KnownPolicies:
        if self.policies_fail is not None:
            raise self.policies_fail
        if self.local_policies is not None:
            return KnownPolicies(PolicyKind.LOCAL, {each.name: each.description for each in self.local_policies()})
        return KnownPolicies(PolicyKind.SPBM, dict.fromkeys(self.policies, ""))

    def followed(self, disks: Collection[DiskRef]) -> Mapping[DiskUuid, Followed]:
        with self._now():
            if self.policies_fail is not None:
                raise self.policies_fail
            if disks and all(ref.path.datastore in self._unreadable for ref in disks):
                raise TruthUnknown("the datastore cannot be read")
            found = ((ref, self._disks.get(ref.path)) for ref in disks if ref.path.datastore not in self._unreadable)
            return {ref.uuid: self._followed(disk) for ref, disk in found if disk is not None and disk.ref.uuid == ref.uuid}

    def check_policy(self, policy: str | None) -> None:
        """Raise PolicyNotFound for one that there is not."""
        known = self.storage_policies().descriptions if policy is not None else {}
        if policy is not None and policy not in known:
            raise PolicyNotFound(f"there is no storage policy {policy!r}", remedy=f"known: {', '.join(known)}")

    def _put_under(self, change: ChangePolicy) -> None:
        self._check_writable(change.disk.path.datastore)
        self._check_free(change.disk, change.vm)
        if change.vm is not None and change.disk.uuid not in self._held:
            raise StaleRequest(f"{change.disk.path} is not attached to {self._name(change.vm)} any more")
        disk = self._whole(change.disk)
        demanded = {each.name: each for each in (self.local_policies or tuple)()}.get(change.policy or "")
        if demanded is not None:
            check_demand(demanded, thin=not disk.thick, remedy="another policy")
        disk.policy = change.policy

    def _followed(self, disk: SimulatedDisk) -> Followed:
        wanted = next((each for each in (self.local_policies or tuple)() if each.name == disk.policy), None)
        fits = wanted is None or wanted.diskformat is None or (wanted.diskformat == "thick") == disk.thick
        usual = Compliance.NOT_APPLICABLE if disk.policy is None else Compliance.COMPLIANT
        return Followed(disk.policy, usual if fits else Compliance.NOT_COMPLIANT, self._clock.wall())
