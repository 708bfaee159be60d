"""The storage policies of the simulated hypervisor: a vCenter's, or those that a store keeps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from tests.doubles.simulated_state import SimulatedDisk, SimulatedState
from vmdkvol.clock import Deadline
from vmdkvol.errors import BadRequest, InvalidOption, PolicyNotFound, StaleRequest, TruthUnknown, VolumeError
from vmdkvol.names import DatastoreName
from vmdkvol.policy_messages import Compliance, PolicyKind
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.judging import check_demand
from vmdkvol_esx.ports import ChangePolicy, DiskRef
from vmdkvol_esx.storage_policies import LATE, Followed, KnownPolicies, LocalPolicy, Unseen


class SimulatedPolicies(SimulatedState):
    """Part of ``SimulatedHypervisor``. ``policies`` are a vCenter's; with ``local_policies`` there are those in their place.

    A vCenter knows the policy of a machine's disk alone, from the attach or the change that named it. ``policies_fail`` is
    raised in place of any answer; ``unfit`` are those that no disk there fits, ``edited`` were so after they were laid on.
    ``wishes``: False, attaches go without a policy; ``forgets``: nobody knows whether one did; ``unseen``: of no disk it
    is told.
    """

    policies: Collection[str] = ()
    local_policies: Callable[[], Sequence[LocalPolicy]] | None = None
    policies_fail: VolumeError | None = None
    unfit: Collection[str] = ()
    edited: Collection[str] = ()
    wishes = True
    forgets = False
    unseen = False

    def storage_policies(self) -> KnownPolicies:
        if self.policies_fail is not None:
            raise self.policies_fail
        if self.local_policies is not None:
            return KnownPolicies(PolicyKind.LOCAL, {each.name: each.description for each in self.local_policies()})
        return KnownPolicies(PolicyKind.SPBM, dict.fromkeys(self.policies, ""))

    def followed(self, disks: Collection[DiskRef], deadline: Deadline | None = None) -> Mapping[DiskUuid, Followed | Unseen]:
        if deadline is not None and deadline.passed:
            return {ref.uuid: Unseen(LATE, 0.0) for ref in disks}
        with self._now():
            if self.policies_fail is not None:
                raise self.policies_fail
            if disks and all(ref.path.datastore in self._unreadable for ref in disks):
                raise TruthUnknown("the datastore cannot be read")
            found = ((ref, self._disks.get(ref.path)) for ref in disks if ref.path.datastore not in self._unreadable)
            return {ref.uuid: self._followed(disk) for ref, disk in found if disk is not None and disk.ref.uuid == ref.uuid}

    def check_fits(self, policy: str | None, datastore: DatastoreName) -> None:
        self.check_policy(policy)
        if policy in self.unfit:
            raise InvalidOption(f"policy {policy!r} does not fit datastore {datastore}", remedy="name another one")

    def carried(self, disk: DiskUuid) -> bool:
        with self._now():
            held = self._held.get(disk)
            return not self._spbm or (held is not None and held.carried and not self.forgets)

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
        if change.vm is None and self._spbm:
            raise BadRequest(f"no machine has {change.disk.path}", remedy="it is laid on when a machine gets the disk")
        self.check_fits(change.policy, change.disk.path.datastore)
        demanded = {each.name: each for each in (self.local_policies or tuple)()}.get(change.policy or "")
        if demanded is not None:
            check_demand(demanded, thin=not disk.thick, remedy="another policy")
        disk.policy = change.policy

    @property
    def _spbm(self) -> bool:
        return self.local_policies is None

    def _wished(self, ref: DiskRef, policy: str | None) -> None:
        """A machine gets the disk."""
        if self._spbm and ref.path in self._disks:
            asked = self.wishes and self.policies_fail is None
            self._disks[ref.path].policy = policy if asked and policy in self.policies else None
            self._held[ref.uuid].carried = asked and policy in (*self.policies, "")

    def _followed(self, disk: SimulatedDisk) -> Followed | Unseen:
        if self._spbm and (self.unseen or disk.ref.uuid not in self._held):
            return Unseen("no machine has the disk", self._clock.wall())
        wanted = next((each for each in (self.local_policies or tuple)() if each.name == disk.policy), None)
        fits = wanted is None or wanted.diskformat is None or (wanted.diskformat == "thick") == disk.thick
        if disk.policy in self.edited:
            return Followed(disk.policy, Compliance.OUT_OF_DATE, self._clock.wall(), "it was edited")
        usual = Compliance.NOT_APPLICABLE if disk.policy is None else Compliance.COMPLIANT
        return Followed(disk.policy, usual if fits else Compliance.NOT_COMPLIANT, self._clock.wall())
