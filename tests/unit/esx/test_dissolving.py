"""A vmgroup that is removed with its volumes: what is trashed first, what stands against it, where it may be cut off."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.esx.site import GB, A
from tests.unit.esx.test_vmgroups import Office
from vmdkvol.admin_errors import ProofNeeded, VmgroupNotEmpty
from vmdkvol.errors import Busy, StaleRequest, VolumeInUse, VolumeLost, VolumeNotFound
from vmdkvol.messages import Call
from vmdkvol.orders import Outcome
from vmdkvol.vmgroup_messages import RemoveVmgroup, UpdateVmgroup
from vmdkvol.volume import State, VolumeId
from vmdkvol.volume_orders import DestroyVolume, RestoreVolume, TrashVolume
from vmdkvol_esx.choosing import Choosing
from vmdkvol_esx.custody import Custody
from vmdkvol_esx.dissolving import Destroy, Dissolving, Trash
from vmdkvol_esx.membership import Membership
from vmdkvol_esx.ordering import Ordering

REMOVE = RemoveVmgroup(name="dev", remove_volumes=True, force=True)
ALL = replace(REMOVE, empty_trash=True)


def with_volumes(retention_s: float = 0.0, count: int = 2) -> tuple[Office, list[VolumeId]]:
    office = Office(retention_s)
    office.make("dev", "host-a")
    return office, [office.site.create(f"db{number}", A, size="1gb").id for number in range(count)]


def dissolve(office: Office, trash: Trash, destroy: Destroy | None = None, order: RemoveVmgroup = REMOVE) -> Outcome:
    """Remove the vmgroup as ``order`` has it, with ``trash`` and ``destroy`` for its volumes."""
    parts, group = office.site.verbs.parts, office.group("dev")
    membership, destroy = Membership(parts), destroy or office.discarding.destroy
    dissolving = Dissolving(parts, membership, trash, destroy, retention_s=office.site.retention_s)
    return dissolving.remove(group, order, office.call(), dissolving.meant(group, order))


def states(office: Office) -> list[State]:
    return sorted(record.state for record in office.site.records())


def test_without_a_retention_volumes_and_vmgroup_are_gone_and_the_plan_says_so_before() -> None:
    office, _ = with_volumes()
    dry = office.ask(replace(REMOVE, dry_run=True))
    assert states(office) == [State.READY, State.READY]
    assert office.members() == ["host-a"]
    assert [step.verb for step in dry.plan.steps] == ["trash-volume", "trash-volume", "remove-member", "remove-vmgroup"]
    assert dry.plan.loses == "vmgroup dev with its rights, limits and defaults, and all that is on its 2 volumes (2gb)"
    real = office.ask(REMOVE)
    assert (real.done, real.plan) == (True, dry.plan)
    assert office.site.store.group("dev") is None
    assert office.site.records() == []
    office.site.check_settled()


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_trash_that_would_keep_it_is_told_before_anything_is_in_there(dry_run: bool) -> None:
    office, volumes = with_volumes(retention_s=7200.0)
    with pytest.raises(VmgroupNotEmpty, match="has 2 volumes, which the trash would keep for 2 hours, and it with them"):
        office.ask(replace(REMOVE, dry_run=dry_run))
    assert states(office) == [State.READY, State.READY]
    assert office.members() == ["host-a"]
    for volume in volumes:
        office.site.remove(volume, A)
    with pytest.raises(VmgroupNotEmpty, match="has 2 volumes, in the trash"):
        office.ask(replace(REMOVE, dry_run=dry_run))


def test_when_the_trash_has_let_go_it_can_be_removed() -> None:
    office, volumes = with_volumes(retention_s=100.0)
    for volume in volumes:
        office.site.remove(volume, A)
    office.site.clock.skip(101.0)
    office.site.calm_down()
    assert office.ask(REMOVE).done


def test_what_is_in_the_trash_already_is_found_before_anything_is_done() -> None:
    office, volumes = with_volumes(retention_s=1000.0)
    office.site.remove(volumes[0], A)
    with pytest.raises(VmgroupNotEmpty):
        office.ask(REMOVE)
    assert states(office) == [State.READY, State.TRASHED]


def test_machines_keep_it_without_force_and_nothing_is_trashed() -> None:
    office, _ = with_volumes()
    with pytest.raises(VmgroupNotEmpty, match="virtual machine"):
        office.ask(replace(REMOVE, force=False))
    assert states(office) == [State.READY, State.READY]


def test_a_volume_that_cannot_be_trashed_is_found_before_anything_is_done() -> None:
    office, volumes = with_volumes(count=3)
    for volume in volumes[1:2]:
        record = office.site.record(volume)
        office.site.store.update(replace(record, state=State.LOST, generation=record.generation + 1), expect=record.generation)
    for dry_run in (True, False):
        with pytest.raises(VolumeLost):
            office.ask(replace(REMOVE, dry_run=dry_run))
    assert states(office) == [State.LOST, State.READY, State.READY]


def test_a_volume_in_use_keeps_the_vmgroup_and_its_machine() -> None:
    office, volumes = with_volumes(count=1)
    office.site.attach(volumes[0], A)
    with pytest.raises(VolumeInUse):
        office.ask(REMOVE)
    assert (states(office), office.members()) == ([State.READY], ["host-a"])


def test_a_disk_that_only_lingers_is_asked_for() -> None:
    office, volumes = with_volumes(count=1)
    attachment = office.site.attach(volumes[0], A)
    office.site.agents[A] = lambda _: office.site.detach(attachment, A)
    dry = office.ask(replace(REMOVE, dry_run=True))
    assert [step.verb for step in dry.plan.steps][:2] == ["detach-volume", "trash-volume"]
    assert office.ask(REMOVE).done
    office.site.check_settled()


def test_cut_off_in_the_middle_the_same_again_goes_on() -> None:
    office, volumes = with_volumes(count=3)
    real = office.trash
    told: list[str] = []

    def trash(order: TrashVolume, call: object) -> Outcome:
        if not order.dry_run:
            told.append(order.volume)
            if len(told) == 2:
                raise Busy("the database is locked")
        return real(order, office.call())

    with pytest.raises(Busy):
        dissolve(office, trash)
    assert states(office) == [State.READY, State.READY]
    assert office.members() == ["host-a"]
    assert office.ask(REMOVE).done
    assert office.site.records() == []
    assert len(volumes) == 3


@pytest.mark.parametrize("count", [0, 1])
def test_a_vmgroup_that_gets_a_volume_while_it_goes_stays_with_its_machines(count: int) -> None:
    """In another vmgroup the machine would not see what it has just made."""
    office, _ = with_volumes(count=count)
    office.seen.between = lambda: office.site.create("late", A, size="1gb")
    with pytest.raises(VmgroupNotEmpty, match="has volumes"):
        office.ask(REMOVE)
    assert office.members() == ["host-a"]
    assert office.site.get("late", A).name == "late"
    assert office.ask(REMOVE).done
    office.site.check_settled()


def test_a_volume_that_came_before_the_machines_were_looked_at_is_told_as_such() -> None:
    office, _ = with_volumes(count=1)
    real = office.trash

    def trash(order: TrashVolume, call: Call) -> Outcome:
        told = real(order, call)
        if not order.dry_run:
            office.site.create("late", A, size="1gb")
        return told

    with pytest.raises(VmgroupNotEmpty, match="got a volume meanwhile"):
        dissolve(office, trash)
    assert office.members() == ["host-a"]


def test_many_volumes_are_told_by_their_number() -> None:
    office, _ = with_volumes(count=53)
    steps = office.ask(replace(REMOVE, dry_run=True)).plan.steps
    assert len([step for step in steps if step.verb == "trash-volume"]) == 51
    assert (steps[50].target, steps[50].after) == ("3 more volumes", "3gb")
    assert office.site.store.usage(office.info("dev").id) == {"ds1": 53 * GB}


@pytest.mark.parametrize("retention_s", [0.0, 100.0])
def test_a_volume_that_is_moved_to_another_vmgroup_meanwhile_is_not_lost_with_this_one(retention_s: float) -> None:
    office, (_, wanted) = with_volumes(retention_s)
    office.make("ops")
    ops, real = office.group("ops").vmgroup.id, office.trash

    def trash(order: TrashVolume, call: Call) -> Outcome:
        record = office.site.record(wanted)
        if not order.dry_run and record.vmgroup != ops:
            moved = replace(record, vmgroup=ops, generation=record.generation + 1)
            office.site.store.regroup(moved, expect=record.generation)
        return real(order, call)

    order = confirmed(office) if retention_s else REMOVE
    with pytest.raises((VolumeNotFound, StaleRequest)):
        dissolve(office, trash, order=order)
    assert (office.site.record(wanted).state, office.site.record(wanted).vmgroup) == (State.READY, ops)


def test_a_volume_that_is_moved_while_an_order_waits_for_its_turn_is_left_alone() -> None:
    """Whoever asked meant the one of its old vmgroup."""
    office, (volume, *_) = with_volumes()
    office.make("ops")
    ops, verbs = office.group("ops").vmgroup.id, office.site.verbs

    class Before:
        """What is done in the volume's lane before the order is."""

        def clear(self, *_: object) -> None:
            record = office.site.record(volume)
            moved = replace(record, vmgroup=ops, generation=record.generation + 1)
            office.site.store.regroup(moved, expect=record.generation)

    before: Any = Before()
    ordering, done = Ordering(verbs.parts, Choosing(office.site.store), before, verbs.underway), []
    with pytest.raises(StaleRequest, match="was moved to another vmgroup meanwhile"):
        ordering.run(TrashVolume(volume="db0"), office.call(), lambda record, _: done.append(record))
    assert done == []


@pytest.mark.parametrize("count", [0, 1])
def test_a_volume_that_came_after_the_plan_was_confirmed_keeps_the_vmgroup_and_all_its_volumes(count: int) -> None:
    office, _ = with_volumes(count=count)
    planned = office.ask(replace(REMOVE, dry_run=True))
    office.site.create("late", A, size="1gb")
    with pytest.raises(StaleRequest, match="other volumes than those of the plan"):
        office.ask(replace(REMOVE, digest=planned.plan.digest))
    assert states(office) == [State.READY] * (count + 1)


def test_the_volumes_of_the_plan_go_with_the_vmgroup() -> None:
    office, _ = with_volumes()
    planned = office.ask(replace(REMOVE, dry_run=True))
    assert office.ask(replace(REMOVE, digest=planned.plan.digest)).done
    assert office.site.records() == []


def test_a_volume_that_came_before_the_order_was_tried_again_is_not_lost() -> None:
    """Somebody changed the vmgroup under it, and it lists its volumes anew."""
    office, _ = with_volumes(count=1)

    def between() -> None:
        office.site.create("late", A, size="1gb")
        office.ask(UpdateVmgroup(name="dev", description="changed"))

    office.seen.between = between
    with pytest.raises(VmgroupNotEmpty):
        office.ask(REMOVE)
    assert office.site.get("late", A).name == "late"


def test_a_plan_without_volumes_to_lose_has_no_digest() -> None:
    office, _ = with_volumes(count=0)
    assert office.ask(RemoveVmgroup(name="dev", force=True, dry_run=True)).plan.digest is None


# --- with what is in the trash -----------------------------------------------------------------------------------


def confirmed(office: Office, order: RemoveVmgroup = ALL) -> RemoveVmgroup:
    """Return the order as it is given by somebody who has seen its plan."""
    return replace(order, digest=office.ask(replace(order, dry_run=True)).plan.digest)


def restore(office: Office, volume: VolumeId) -> None:
    verbs = office.site.verbs
    ordering = Ordering(verbs.parts, Choosing(verbs.parts.store), verbs.journal, verbs.underway)
    custody = Custody(verbs.parts, ordering, verbs.journal, verbs.owners, verbs.handover)
    custody.restore(RestoreVolume(volume=str(volume)), office.call())


def test_a_vmgroup_goes_with_what_is_in_the_trash_and_what_comes_there_and_the_plan_names_each() -> None:
    office, volumes = with_volumes(retention_s=1000.0)
    office.site.remove(volumes[0], A)
    dry = office.ask(replace(ALL, dry_run=True))
    assert [(step.verb, step.target, step.before, step.after) for step in dry.plan.steps][:3] == [
        ("trash-volume", "db1", "ready", "in the trash"),
        ("destroy-volume", "db1", "trashed", None),
        ("destroy-volume", "db0", "trashed", None),
    ]
    lost = "all that is on its 2 volumes (2gb, 1 of them in the trash)"
    assert dry.plan.loses == f"vmgroup dev with its rights, limits and defaults, and {lost}"
    assert states(office) == [State.READY, State.TRASHED]
    real = office.ask(replace(ALL, digest=dry.plan.digest))
    assert (real.done, real.plan) == (True, dry.plan)
    assert (office.site.store.group("dev"), office.site.records()) == (None, [])
    office.site.check_settled()


def test_the_trash_alone_is_emptied_and_a_live_volume_keeps_the_vmgroup() -> None:
    office, volumes = with_volumes(retention_s=1000.0)
    office.site.remove(volumes[0], A)
    trash = RemoveVmgroup(name="dev", empty_trash=True, force=True)
    with pytest.raises(VmgroupNotEmpty, match="has 1 volume, beside those in the trash"):
        office.ask(replace(trash, dry_run=True))
    assert states(office) == [State.READY, State.TRASHED]
    office.site.remove(volumes[1], A)
    assert office.ask(confirmed(office, trash)).done
    assert office.site.records() == []


@pytest.mark.parametrize("retention_s", [0.0, 1000.0])
def test_nothing_is_destroyed_for_whoever_has_not_seen_the_plan(retention_s: float) -> None:
    office, _ = with_volumes(retention_s)
    with pytest.raises(ProofNeeded, match="2 volumes of vmgroup dev would be destroyed for good"):
        office.ask(ALL)
    assert states(office) == [State.READY, State.READY]


def test_a_vmgroup_without_volumes_needs_no_plan_to_be_seen() -> None:
    office, _ = with_volumes(retention_s=1000.0, count=0)
    assert office.ask(ALL).done


def test_one_that_was_restored_after_the_plan_was_confirmed_keeps_all_of_them() -> None:
    office, volumes = with_volumes(retention_s=1000.0)
    for volume in volumes:
        office.site.remove(volume, A)
    order = confirmed(office)
    restore(office, volumes[0])
    with pytest.raises(StaleRequest, match="other volumes than those of the plan"):
        office.ask(order)
    assert states(office) == [State.READY, State.TRASHED]


def test_nothing_is_destroyed_before_all_are_in_the_trash() -> None:
    office, _ = with_volumes(retention_s=1000.0)
    order, real = confirmed(office), office.trash

    def trash(each: TrashVolume, call: Call) -> Outcome:
        if not each.dry_run and State.TRASHED in states(office):
            raise Busy("the database is locked")
        return real(each, call)

    with pytest.raises(Busy):
        dissolve(office, trash, order=order)
    assert states(office) == [State.READY, State.TRASHED]


def test_nothing_is_destroyed_for_a_vmgroup_that_got_a_volume_meanwhile() -> None:
    office, _ = with_volumes(retention_s=1000.0, count=1)
    order, real = confirmed(office), office.trash

    def trash(each: TrashVolume, call: Call) -> Outcome:
        told = real(each, call)
        if not each.dry_run:
            office.site.create("late", A, size="1gb")
        return told

    with pytest.raises(VmgroupNotEmpty, match="got a volume meanwhile"):
        dissolve(office, trash, order=order)
    assert states(office) == [State.READY, State.TRASHED]


def test_one_that_is_restored_while_others_are_destroyed_lives_on_and_keeps_the_vmgroup() -> None:
    office, (first, second) = with_volumes(retention_s=1000.0)
    order, real = confirmed(office), office.discarding.destroy

    def destroy(each: DestroyVolume, call: Call) -> Outcome:
        told = real(each, call)
        if not each.dry_run:
            restore(office, second if each.volume == str(first) else first)
        return told

    with pytest.raises(VmgroupNotEmpty):
        dissolve(office, office.trash, destroy, order)
    assert states(office) == [State.READY]
    assert office.members() == ["host-a"]


def test_cut_off_between_two_of_them_a_new_plan_goes_on() -> None:
    office, _ = with_volumes(retention_s=1000.0, count=3)
    order, real = confirmed(office), office.discarding.destroy

    def destroy(each: DestroyVolume, call: Call) -> Outcome:
        if not each.dry_run and len(office.site.records()) < 3:
            raise Busy("the database is locked")
        return real(each, call)

    with pytest.raises(Busy):
        dissolve(office, office.trash, destroy, order)
    assert states(office) == [State.TRASHED, State.TRASHED]
    with pytest.raises(StaleRequest):
        office.ask(order)
    assert office.ask(confirmed(office)).done
    assert office.site.records() == []
