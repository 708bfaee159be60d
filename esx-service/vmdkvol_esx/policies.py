"""What administrators ask about storage policies and order for them: who uses them, how disks stand, those that are made here.

A policy on vSphere is vCenter's: it is shown, and changed there. One that volumes or vmgroups name and that there is not is
told as missing: after a rebuild of a lost database that is how it is known which ones have to be made again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vmdkvol import frames
from vmdkvol.admin_errors import PolicyInUse
from vmdkvol.clock import Deadline
from vmdkvol.errors import BadRequest, NameConflict, StaleRequest, TruthUnknown, Unavailable, quoted
from vmdkvol.messages import Call, Request
from vmdkvol.options import OPTIONS
from vmdkvol.orders import Order, Outcome, Plan, Step
from vmdkvol.policy_messages import (
    ComplianceCounts,
    CreatePolicy,
    GetPolicy,
    ListPolicies,
    ListPolicyVolumes,
    PolicyDetail,
    PolicyInfo,
    PolicyKind,
    PolicyPage,
    PolicyVolume,
    PolicyVolumes,
    RemovePolicy,
    UpdatePolicy,
)
from vmdkvol.wire import answer_size
from vmdkvol_esx import judging
from vmdkvol_esx.choosing import Choosing
from vmdkvol_esx.group_texts import check_unset, description_of
from vmdkvol_esx.naming_policies import let_go, may_use, named_by, names_in, unknown, users
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.pending_policies import PendingPolicies
from vmdkvol_esx.records import Group
from vmdkvol_esx.storage_policies import THICK, THIN, KnownPolicies, LocalPolicy

MOST_LISTED = 200
# Of more volumes it is not counted how they stand: each disk has to be looked at.
MOST_JUDGED = 1000
_PAGE_BYTES = frames.MAX_FRAME - 2048
_SHOWN = 100
_LEFT_S = 5.0
_TOLD_S = 0.5
_UNSETS = ("description", "diskformat")


class Policies:
    """For any thread."""

    def __init__(self, parts: Parts, choosing: Choosing) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._log = parts.log
        self._choosing = choosing
        self._pending = PendingPolicies(parts)

    def rows(self) -> Mapping[type[Request[Any]], Callable[[Any, Call], Any]]:
        """Return what answers each message."""
        return {
            ListPolicies: lambda request, call: self.page(request, call.deadline),
            GetPolicy: lambda request, call: self.get(request, call.deadline),
            ListPolicyVolumes: lambda request, call: self.volumes(request, call.deadline),
            CreatePolicy: lambda order, _: self.create(order),
            UpdatePolicy: lambda order, _: self.update(order),
            RemovePolicy: lambda order, _: self.remove(order),
        }

    # --- looking -------------------------------------------------------------------------------------------------

    def page(self, request: ListPolicies, deadline: Deadline) -> PolicyPage:
        """See ``ListPolicies``. A page ends early when a look at the next one's disks might come too late for who asked."""
        _check_limit(request.limit)
        look = self._look()
        names = [name for name in look.names if request.after is None or name > request.after]
        shown, left = list[PolicyInfo](), _PAGE_BYTES
        for name in names[: request.limit]:
            if request.compliance and shown and deadline.left_s < _LEFT_S:
                break
            info = look.info(name)
            if request.compliance:
                info = replace(info, compliance=self._counts(name, info.volumes, deadline))
            left -= answer_size(info)
            if left < 0 and shown:
                break
            shown.append(info)
        return PolicyPage(tuple(shown), shown[-1].name if len(shown) < len(names) else None)

    def get(self, request: GetPolicy, deadline: Deadline) -> PolicyDetail:
        """See ``GetPolicy``. What was not looked at in time for who asked is counted as unknown."""
        look = self._look()
        info = self._found(look, request.name)
        counts = self._counts(info.name, info.volumes, deadline)
        return PolicyDetail(replace(info, compliance=counts), tuple(named_by(info.name, look.groups)[:_SHOWN]))

    def volumes(self, request: ListPolicyVolumes, deadline: Deadline) -> PolicyVolumes:
        """See ``ListPolicyVolumes``. What was not looked at in time for who asked is unknown, with that reason."""
        _check_limit(request.limit)
        records = self._store.under_policy(request.name, request.after, request.limit + 1)
        if not records:
            self._found(self._look(), request.name)
        seen, names = self._pending.followed(records[: request.limit], _before(deadline)), self._choosing.names()
        shown, left = list[PolicyVolume](), _PAGE_BYTES
        for record in records[: request.limit]:
            row = judging.row(record, names.get(record.vmgroup) or str(record.vmgroup), seen.get(record.disk_uuid))
            left -= answer_size(row)
            if left < 0 and shown:
                break
            shown.append(row)
        return PolicyVolumes(tuple(shown), shown[-1].id if len(shown) < len(records) else None)

    # --- those that are made here --------------------------------------------------------------------------------

    def create(self, order: CreatePolicy) -> Outcome:
        """See ``CreatePolicy``."""
        known = self._local_only()
        wanted = LocalPolicy(_name(order.name), description_of(order.description), _diskformat(order.diskformat))
        stored = known.get(wanted.name)
        if stored is not None:
            if replace(stored, revision=1) != wanted:
                raise NameConflict(
                    f"there is a storage policy {quoted(wanted.name)} that says {_said(stored)}", remedy="update that one"
                )
            return _outcome(order, stored, ())
        if not order.dry_run:
            wanted = self._store.put_policy(wanted, expect=None)
            self._log.info("policy made", policy=wanted.name, by=order.by.name)
        return _outcome(order, wanted, (Step("create-policy", wanted.name, None, _said(wanted)),))

    def update(self, order: UpdatePolicy) -> Outcome:
        """See ``UpdatePolicy``."""
        stored = self._stored(order)
        check_unset(order.unset, _UNSETS, {name for name in _UNSETS if getattr(order, name) is not None})
        new = stored
        if order.description is not None or "description" in order.unset:
            new = replace(new, description=description_of(order.description or ""))
        if order.diskformat is not None or "diskformat" in order.unset:
            new = replace(new, diskformat=_diskformat(order.diskformat))
        if new == stored:
            return _outcome(order, stored, ())
        steps = (Step("update-policy", stored.name, _said(stored), _said(new)),)
        if not order.dry_run:
            new = self._store.put_policy(new, expect=stored.revision)
            self._log.info("policy changed", policy=new.name, by=order.by.name, says=_said(new))
        return _outcome(order, new, steps)

    def remove(self, order: RemovePolicy) -> Outcome:
        """See ``RemovePolicy``."""
        stored = self._stored(order)
        used, lists = self._store.policy_volumes().get(stored.name, 0), named_by(stored.name, self._store.groups())
        said = users(used, lists)
        if said:
            raise PolicyInUse(
                f"storage policy {quoted(stored.name, 40)} is used by {said}{self._first_of(stored.name, used)}",
                remedy=let_go(stored.name, used, lists),
            )
        if not order.dry_run:
            self._store.remove_policy(stored.name, expect=stored.revision)
            self._log.info("policy removed", policy=stored.name, by=order.by.name)
        return _outcome(order, stored, (Step("remove-policy", stored.name, _said(stored), None),))

    # --- inside --------------------------------------------------------------------------------------------------

    def _look(self) -> _Look:
        local = {each.name: each for each in self._store.local_policies()}
        return _Look(self._known(), local, self._store.policy_volumes(), self._store.groups())

    def _known(self) -> KnownPolicies:
        try:
            return self._hypervisor.storage_policies()
        except Unavailable as error:
            # What volumes and vmgroups name is told all the same, and not as missing.
            self._log.warning("storage policies not read", error=str(error))
            return KnownPolicies(PolicyKind.UNREAD, {})

    def _found(self, look: _Look, name: str) -> PolicyInfo:
        if name not in look.names:
            if look.known.kind is PolicyKind.UNREAD:
                raise TruthUnknown(f"whether there is a storage policy {quoted(name)} cannot be read now")
            raise unknown(name, look.known.descriptions)
        return look.info(name)

    def _local_only(self) -> Mapping[str, LocalPolicy]:
        """Return the policies that were made here; BadRequest where they are vCenter's."""
        if self._hypervisor.storage_policies().kind is not PolicyKind.LOCAL:
            raise BadRequest(
                "storage policies on vSphere are vCenter's",
                remedy="make, change and remove them in vCenter; a single ESXi host has none",
            )
        return {each.name: each for each in self._store.local_policies()}

    def _stored(self, order: UpdatePolicy | RemovePolicy) -> LocalPolicy:
        known = self._local_only()
        stored = known.get(order.name)
        if stored is None:
            raise unknown(order.name, known)
        _check_revision(order, stored)
        return stored

    def _counts(self, name: str, volumes: int, deadline: Deadline) -> ComplianceCounts | None:
        if volumes > MOST_JUDGED:
            return None
        records = self._store.under_policy(name, None, MOST_JUDGED)
        seen = self._pending.followed(records, _before(deadline))
        return judging.counted(judging.judge(record, seen.get(record.disk_uuid))[0] for record in records)

    def _first_of(self, name: str, used: int) -> str:
        if not used:
            return ""
        names, records = self._choosing.names(), self._store.under_policy(name, None, 3)
        shown = ", ".join(f"{record.name} of {names.get(record.vmgroup) or record.vmgroup}" for record in records)
        return f": {shown}{', ...' if used > len(records) else ''}"


class _Look:
    """Policies, volumes and vmgroups as they stood at one moment."""

    def __init__(
        self,
        known: KnownPolicies,
        local: Mapping[str, LocalPolicy],
        volumes: Mapping[str, int],
        groups: Sequence[Group],
    ) -> None:
        self.known = known
        self.groups = groups
        self._local = local
        self._volumes = volumes
        self._named = Counter(name for group in groups for name in names_in(group))
        self.names = sorted({*known.descriptions, *volumes, *self._named})

    def info(self, name: str) -> PolicyInfo:
        """Return what is known of one of ``names``, but for how its volumes stand."""
        unread = self.known.kind is PolicyKind.UNREAD
        there = unread or name in self.known.descriptions
        local = self._local.get(name) if self.known.kind is PolicyKind.LOCAL else None
        return PolicyInfo(
            name,
            self.known.kind if there else PolicyKind.MISSING,
            self.known.descriptions.get(name, ""),
            None if local is None else local.diskformat,
            self._volumes.get(name, 0),
            sum(may_use(name, group) for group in self.groups) if there else 0,
            self._named[name],
            None,
            None if local is None else local.revision,
        )


def _before(deadline: Deadline) -> Deadline:
    """Return until when disks are looked at, so that what was seen is told in time."""
    return Deadline(deadline.clock, deadline.at - _TOLD_S)


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MOST_LISTED:
        raise BadRequest(f"a page has 1 to {MOST_LISTED} entries, not {limit}", remedy="ask for fewer, and page by page")


def _name(text: str) -> str:
    name: str = OPTIONS["policy"].read("policy", text)
    if name != name.strip() or "/" in name:
        raise BadRequest(f"{quoted(name)} is not a policy's name", remedy="leave out '/', and blanks at its ends")
    return name


def _diskformat(text: str | None) -> str | None:
    if text not in (None, THIN, THICK):
        raise BadRequest(f"a policy cannot demand diskformat {quoted(text)}", remedy=f"known: {THIN}, {THICK}")
    return text


def _check_revision(order: Order, stored: LocalPolicy) -> None:
    if order.expect not in (None, stored.revision):
        raise StaleRequest(
            f"storage policy {quoted(stored.name)} has revision {stored.revision}, not {order.expect}: somebody changed it",
            remedy="look at it again, then repeat the change",
            revision=stored.revision,
        )


def _said(policy: LocalPolicy) -> str:
    """Return what the policy says, as people read it in a plan."""
    demands = "any disk" if policy.diskformat is None else f"{policy.diskformat} disks"
    return f"{demands}; {policy.description}" if policy.description else demands


def _outcome(order: Order, policy: LocalPolicy, steps: Sequence[Step]) -> Outcome:
    return Outcome(Plan(tuple(steps)), not order.dry_run, policy.name, policy.revision)
