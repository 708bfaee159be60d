"""What administrators do with vmgroups: their members, rights and defaults. ``grouping`` and ``allotting`` decide.

A change reads the group, decides, looks at the machines that come or go, and stores the whole group if it is still the one
that was read. Killed before that, nothing has happened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from vmdkvol.errors import DatastoreNotFound, NameConflict, StaleRequest, quoted
from vmdkvol.messages import Call, Request
from vmdkvol.names import DatastoreName, datastore_name
from vmdkvol.orders import Order, Outcome, Plan, Step
from vmdkvol.vmgroup_messages import (
    AddMembers,
    CreateVmgroup,
    GetVmgroup,
    ListMembers,
    ListVmgroups,
    RemoveMembers,
    RemoveRight,
    RemoveVmgroup,
    ReplaceMembers,
    SetRight,
    UpdateVmgroup,
)
from vmdkvol.volume import VmgroupId
from vmdkvol_esx import allotting, grouping
from vmdkvol_esx.allotting import WORDS, Regrouped
from vmdkvol_esx.dissolving import Destroy, Dissolving, Trash
from vmdkvol_esx.group_texts import check_listed
from vmdkvol_esx.listing import known_names
from vmdkvol_esx.meaning import named_group
from vmdkvol_esx.membership import Membership
from vmdkvol_esx.naming_policies import check_known, names_in
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.records import Group
from vmdkvol_esx.showing import Showing

A = TypeVar("A")

# How often an order that names no revision is begun anew when somebody else's change came in between.
_TRIES = 5


class Vmgroups:
    """For any thread."""

    def __init__(self, parts: Parts, trash: Trash, destroy: Destroy, *, retention_s: float) -> None:
        """``trash`` and ``destroy`` carry out these orders on one volume, ``retention_s`` is how long the trash keeps it."""
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._new_id = parts.new_id
        self._log = parts.log
        self._showing = Showing(parts)
        self._membership = Membership(parts)
        self._dissolving = Dissolving(parts, self._membership, trash, destroy, retention_s=retention_s)

    def rows(self) -> Mapping[type[Request[Any]], Callable[[Any, Call], Any]]:
        """Return what answers each message."""
        showing = self._showing
        return {
            ListVmgroups: lambda request, _: showing.page(request),
            GetVmgroup: lambda request, _: showing.info(named_group(self._store, request.name)),
            ListMembers: lambda request, _: showing.members(named_group(self._store, request.name), request),
            CreateVmgroup: lambda order, _: self.create(order),
            UpdateVmgroup: lambda order, _: self.update(order),
            RemoveVmgroup: self.remove,
            AddMembers: lambda order, _: self.add(order),
            RemoveMembers: lambda order, _: self.take_out(order),
            ReplaceMembers: lambda order, _: self.replace(order),
            SetRight: lambda order, _: self.set_right(order),
            RemoveRight: lambda order, _: self._changed(order, lambda group: allotting.right_removed(group, order)),
        }

    # --- vmgroups ------------------------------------------------------------------------------------------------

    def create(self, order: CreateVmgroup) -> Outcome:
        """See ``CreateVmgroup``. ``expect_id`` is the id that it gets."""
        since, key = self._store.change_number(), VmgroupId(order.expect_id or self._new_id())
        before = self._store.group_by_id(key)
        if before is not None and before.vmgroup.name != order.name:
            # This very order made it, and was not answered; it was renamed since.
            return _outcome(order, before, ())
        if order.vms:
            check_listed(order.vms)
        made = grouping.made(order, key, ())
        made = grouping.made(order, made.group.vmgroup.id, self._membership.named(order.vms))
        stored = self._store.group(made.group.vmgroup.name)
        if stored is not None:
            grouping.check_same(stored, made.group)
            return _outcome(order, stored, ())
        self._check_there(made.group.vmgroup.default_datastore)
        self._check_policies(frozenset(), made.group)
        self._membership.check_movable(Group(made.group.vmgroup), made.group)
        if not order.dry_run:
            made = Regrouped(self._store.put_group(made.group, expect=None, unmoved_since=since), made.steps)
            self._log.info("vmgroup made", vmgroup=made.group.vmgroup.name, id=str(made.group.vmgroup.id), by=order.by.name)
        return _outcome(order, made.group, made.steps)

    def update(self, order: UpdateVmgroup) -> Outcome:
        """See ``UpdateVmgroup``."""

        def decide(group: Group) -> Regrouped:
            found = grouping.updated(group, order)
            self._check_name_free(found.group)
            if found.group.vmgroup.default_datastore != group.vmgroup.default_datastore:
                self._check_there(found.group.vmgroup.default_datastore)
            return found

        return self._changed(order, decide)

    def remove(self, order: RemoveVmgroup, call: Call) -> Outcome:
        """See ``RemoveVmgroup``."""
        # Before the first try, and not again: what somebody makes meanwhile was not meant.
        meant = self._dissolving.meant(self._expected(order), order)
        return self._again(lambda: self._dissolving.remove(self._expected(order), order, call, meant))

    # --- members and rights --------------------------------------------------------------------------------------

    def add(self, order: AddMembers) -> Outcome:
        """See ``AddMembers``."""

        def decide(group: Group) -> Regrouped:
            grouping.check_has_list(group.vmgroup.id)
            return grouping.with_members(group, self._membership.named(order.vms))

        check_listed(order.vms)
        return self._changed(order, decide)

    def replace(self, order: ReplaceMembers) -> Outcome:
        """See ``ReplaceMembers``."""

        def decide(group: Group) -> Regrouped:
            grouping.check_has_list(group.vmgroup.id)
            return grouping.with_exactly(group, self._membership.named(order.vms, group.members))

        check_listed(order.vms)
        return self._changed(order, decide)

    def take_out(self, order: RemoveMembers) -> Outcome:
        """See ``RemoveMembers``."""

        def decide(group: Group) -> Regrouped:
            grouping.check_has_list(group.vmgroup.id)
            return grouping.without_members(group, {each.vm for each in self._membership.named(order.vms, group.members)})

        check_listed(order.vms)
        return self._changed(order, decide)

    def set_right(self, order: SetRight) -> Outcome:
        """See ``SetRight``."""

        def decide(group: Group) -> Regrouped:
            place = datastore_name(order.datastore)
            if allotting.right_on(group.rights, place) is None:
                self._check_there(place)
            return allotting.right_set(group, order, self._store.usage(group.vmgroup.id))

        return self._changed(order, decide)

    # --- inside --------------------------------------------------------------------------------------------------

    def _changed(self, order: Any, decide: Callable[[Group], Regrouped]) -> Outcome:
        """Return the outcome of what ``decide`` makes of the group that the order names."""

        def attempt() -> Outcome:
            # The change number first: what moves after it is seen by the store.
            since, group = self._store.change_number(), self._expected(order)
            found = decide(group)
            self._check_policies(names_in(group), found.group)
            self._membership.check_movable(group, found.group)
            if order.dry_run or not found.steps:
                return _outcome(order, group, found.steps)
            kept = self._store.put_group(found.group, expect=group.vmgroup.revision, unmoved_since=since)
            steps = [f"{step.verb} {step.target}" for step in found.steps]
            self._log.info("vmgroup changed", vmgroup=kept.vmgroup.name, by=order.by.name, steps=", ".join(steps[:20]))
            return _outcome(order, kept, found.steps)

        return self._again(attempt)

    def _again(self, attempt: Callable[[], A]) -> A:
        """Return what ``attempt`` returns; it is made anew if the group changed under it, and finds a revision expected."""
        for _ in range(_TRIES - 1):
            try:
                return attempt()
            except StaleRequest:
                continue
        return attempt()

    def _expected(self, order: Any) -> Group:
        group = named_group(self._store, order.name)
        self._check_expected(order, group)
        return group

    def _check_expected(self, order: Order, group: Group) -> None:
        own = group.vmgroup
        if order.expect is not None and order.expect != own.revision:
            raise StaleRequest(
                f"vmgroup {own.name} has revision {own.revision}, not {order.expect}: somebody else changed it",
                remedy="look at it again, then repeat the change",
                vmgroup=own.name,
                revision=own.revision,
            )

    def _check_name_free(self, group: Group) -> None:
        """Raise NameConflict, in a dry run too, if another vmgroup has the name."""
        own = group.vmgroup
        other = self._store.group(own.name)
        if other is not None and other.vmgroup.id != own.id:
            raise NameConflict(f"vmgroup {own.name} exists", remedy="use another name", vmgroup=own.name)

    def _check_there(self, datastore: DatastoreName | None) -> None:
        """Raise DatastoreNotFound unless the hypervisor has the datastore, or it is none of its names."""
        known = [] if datastore in (None, *WORDS) else [each.name for each in self._hypervisor.datastores()]
        if datastore not in (None, *WORDS, *known):
            raise DatastoreNotFound(
                f"there is no datastore {quoted(datastore)}", remedy=f"known: {known_names(known)}", datastore=datastore
            )

    def _check_policies(self, before: frozenset[str], group: Group) -> None:
        """Raise PolicyNotFound for a policy that the group would name from now on and that there is not."""
        new = names_in(group) - before
        if new:
            check_known(new, self._hypervisor.storage_policies().descriptions)


def _outcome(order: Order, group: Group, steps: Sequence[Step]) -> Outcome:
    return Outcome(Plan(tuple(steps)), not order.dry_run, str(group.vmgroup.id), group.vmgroup.revision)
