"""A volume comes under another storage policy: the disk first, by a change of the journal, then its record and its copy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, assert_never

from vmdkvol.clock import Deadline
from vmdkvol.errors import Busy, Conflict
from vmdkvol.messages import Call, Request
from vmdkvol.orders import Outcome, Plan, Step
from vmdkvol.points import Point
from vmdkvol.policy_messages import AWAIT_ATTACH, Compliance, PolicyKind, SetVolumePolicy
from vmdkvol.volume import Content, VmId
from vmdkvol_esx import rights, second_copy
from vmdkvol_esx.attaching import foreign
from vmdkvol_esx.comparing import Comparing
from vmdkvol_esx.handover import Handover
from vmdkvol_esx.journal import Journal
from vmdkvol_esx.judging import NO_OTHER, check_demand
from vmdkvol_esx.listing import check_ready
from vmdkvol_esx.naming_policies import check_known
from vmdkvol_esx.ordering import Ordering, outcome
from vmdkvol_esx.owners import Owners
from vmdkvol_esx.ownership import Foreign, Free, HeldBy, Here, LeftBehind
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.pending_policies import PendingPolicies
from vmdkvol_esx.ports import ChangePolicy
from vmdkvol_esx.records import Intent, VolumeRecord
from vmdkvol_esx.settling import when_done
from vmdkvol_esx.storage_policies import THIN, Followed, Unseen

_OWN = "its datastore's own"


class Assigning:
    """For any thread."""

    def __init__(self, parts: Parts, ordering: Ordering, journal: Journal, owners: Owners, handover: Handover) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._comparing = Comparing(parts)
        self._at = parts.at
        self._log = parts.log
        self._ordering = ordering
        self._journal = journal
        self._owners = owners
        self._handover = handover
        self._pending = PendingPolicies(parts)

    def rows(self) -> Mapping[type[Request[Any]], Callable[[Any, Call], Any]]:
        """Return what each message is answered by."""
        return {SetVolumePolicy: self.assign}

    def assign(self, order: SetVolumePolicy, call: Call) -> Outcome:
        """See ``SetVolumePolicy``. The policy that it has is a success."""
        known = self._hypervisor.storage_policies()
        if order.policy is not None:
            check_known([order.policy], known.descriptions)
        work, own = partial(self._assign, order, known.kind), partial(_step_of, order)
        return self._ordering.run_long(order, call, work, own)

    # --- in the lane ---------------------------------------------------------------------------------------------

    def _assign(self, order: SetVolumePolicy, kind: PolicyKind, record: VolumeRecord, deadline: Deadline) -> Outcome:
        _check_ours(record)
        record, vm = self._look(record)
        self._check_allowed(order, record, vm)
        if vm is None and kind is PolicyKind.SPBM:
            return self._await_attach(order, record)
        seen = self._hypervisor.followed([disk_ref(record)]).get(record.disk_uuid)
        if record.options.policy == order.policy and _holds(seen, order.policy):
            if not order.dry_run:
                # A change that was settled just now, or killed after its record, has not come so far.
                record = self._pending.settled(record)
                self._copy(record)
            return outcome(order, Plan(), record)
        before = record.options.policy or _OWN
        plan = Plan((Step("ChangePolicy", record.name, before, order.policy or _OWN),))
        if order.dry_run:
            return outcome(order, plan, record)
        raised = replace(record, generation=record.generation + 1)
        intent = self._journal.begin(ChangePolicy(disk_ref(record), order.policy, vm), raised, None, before=record)
        self._at(Point.POLICY_BEGUN)
        self._journal.carry_out(intent, raised, deadline)
        changed = self._store.volume(record.id) or raised
        self._log.info("policy laid on", volume=record.name, id=str(record.id), was=before, policy=order.policy or _OWN)
        self._copy(changed)
        return outcome(order, plan, changed)

    def _await_attach(self, order: SetVolumePolicy, record: VolumeRecord) -> Outcome:
        """Let the record say it, and the next attach do it: there is no call for a disk that no machine has."""
        same = record.options.policy == order.policy
        if same and not record.policy_pending:
            return outcome(order, Plan(), record)
        plan = Plan((Step(AWAIT_ATTACH, record.name, record.options.policy or _OWN, order.policy or _OWN),))
        if order.dry_run:
            return outcome(order, plan, record)
        if not same:
            under = when_done(ChangePolicy(disk_ref(record), order.policy), record) or record
            under = replace(under, generation=record.generation + 1, policy_pending=True)
            self._store.update(under, expect=record.generation)
            self._at(Point.POLICY_RECORDED)
            self._log.info("policy waits for an attach", volume=record.name, policy=order.policy or _OWN)
            record = under
        self._copy(record)
        return outcome(order, plan, record)

    def _copy(self, record: VolumeRecord) -> None:
        second_copy.written(self._journal, record, self._log)

    def _look(self, record: VolumeRecord) -> tuple[VolumeRecord, VmId | None]:
        """Return the record, where its disk lies now, and who has it; raise what is against any change of it."""
        check_ready(record)
        self._comparing.check(record)
        record, owner = self._owners.found(record)
        match owner:
            case Free():
                return record, None
            case HeldBy(vm=vm):
                if record.content is not Content.FORMATTED or record.filesystem_uuid is None:
                    # What the agent says of it meanwhile would be refused, and Docker told that its mount has failed.
                    name = self._handover.name(vm)
                    raise Busy(f"volume {record.name} is being mounted for the first time on {name}")
                return record, vm
            case LeftBehind(vm=vm):
                return record, vm
            case Here():
                raise AssertionError("no machine asks, so that none is where it asks from")
            case Foreign(vms=vms):
                raise foreign(record, vms, self._handover)
            case _:
                assert_never(owner)

    def _check_allowed(self, order: SetVolumePolicy, record: VolumeRecord, vm: VmId | None) -> None:
        """Raise PolicyNotFound unless the vmgroup may use it where the volume lies; InvalidOption if its disk does not fit."""
        self._hypervisor.check_fits(order.policy, record.datastore)
        demanded = next((each for each in self._store.local_policies() if each.name == order.policy), None)
        if demanded is not None:
            check_demand(demanded, thin=record.options.diskformat == THIN, remedy=NO_OTHER)
        group = None if order.over_allowed else self._store.group_by_id(record.vmgroup)
        if group is None:
            return
        home = None
        if rights.needs_home(group, record.datastore):
            # As for its size: of who has it or had it last, else as if it lay beside its machine.
            whose = record.last_vm if vm is None else vm
            home = record.datastore if whose is None else self._hypervisor.vm_datastore(whose)
        rights.check_policy(group, record.datastore, home, order.policy)


def _holds(seen: Followed | Unseen | None, policy: str | None) -> bool:
    """Tell whether the disk is under the policy, as that is now: one that was edited since is laid on once more."""
    return isinstance(seen, Followed) and seen.is_under(policy) and seen.compliance is not Compliance.OUT_OF_DATE


def _step_of(order: SetVolumePolicy, intent: Intent) -> Step | None:
    """Return what this open work does, if it is what was ordered."""
    if intent.before is None or not isinstance(intent.change, ChangePolicy) or intent.change.policy != order.policy:
        return None
    return Step("ChangePolicy", intent.before.name, intent.before.options.policy or _OWN, order.policy or _OWN)


def _check_ours(record: VolumeRecord) -> None:
    """Raise Conflict for an adopted disk: a policy is written into its descriptor, which is somebody else's."""
    if record.adopted:
        raise Conflict(
            f"the disk of volume {record.name} is not vmdkvol's: no policy is written into it",
            remedy="its owner says what it follows",
        )
