"""A volume comes into another vmgroup: what it takes with it, who sees it afterwards, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.unit.esx.admin_site import AdminSite
from tests.unit.esx.site import DS1, DS2, A, B
from vmdkvol.admin_errors import VmgroupNotFound
from vmdkvol.errors import (
    CheckFailed,
    MetadataDamaged,
    NameConflict,
    NoSpace,
    PolicyNotFound,
    QuotaExceeded,
    StaleRequest,
    TruthUnknown,
    VolumeError,
    VolumeInUse,
    VolumeLost,
    VolumeNotFound,
)
from vmdkvol.messages import Attach, GetVolume, ListVolumes
from vmdkvol.names import VolumeRef
from vmdkvol.orders import Outcome
from vmdkvol.volume import DEFAULT_VMGROUP, Content, State, VmgroupId, VolumeId
from vmdkvol.volume_orders import MoveVolume
from vmdkvol_esx.records import Group, Member, Right, Vmgroup

RED = VmgroupId(UUID(int=0x4ED))


def red(*rights: Right, policies: tuple[str, ...] = ()) -> Group:
    return Group(
        Vmgroup(RED, "red", DS1, policies=policies), rights or (Right(DS1, allow_create=True),), (Member(B, "host-b"),)
    )


@pytest.fixture
def site() -> AdminSite:
    """host-a is in ``_DEFAULT``, host-b in ``red``."""
    site = AdminSite(datastores=(DS1, DS2))
    site.store.put_group(red(), expect=None)
    return site


@pytest.fixture
def volume(site: AdminSite) -> VolumeId:
    volume = site.create("db", datastore="ds1").id
    site.format(volume)
    return volume


def move(site: AdminSite, volume: object, **more: Any) -> Outcome:
    outcome: Outcome = site.order(MoveVolume(**{"volume": str(volume), "to_vmgroup": "red"} | more))
    return outcome


def limited(site: AdminSite, group: Group) -> None:
    site.store.put_group(group, expect=1)


def test_the_volume_is_the_other_vmgroup_s_with_its_data_and_its_name(site: AdminSite, volume: VolumeId) -> None:
    before = site.record(volume)
    told = move(site, volume)
    record = site.record(volume)
    assert (told.done, told.revision, record.generation) == (True, record.generation, before.generation + 1)
    assert record == replace(before, vmgroup=RED, generation=record.generation, last_vm=None)
    assert site.hypervisor.content(record.disk_uuid) == f"data of {volume}"
    assert site.copy_of(record) == record


def test_only_the_machines_of_its_new_vmgroup_see_and_attach_it(site: AdminSite, volume: VolumeId) -> None:
    move(site, volume)
    with pytest.raises(VolumeNotFound):
        site.ask(GetVolume(VolumeRef.parse("db")), A)
    with pytest.raises(VolumeNotFound):
        site.ask(Attach(volume), A)
    seen = site.ask(GetVolume(VolumeRef.parse("db")), B)
    assert (seen.content, seen.vmgroup_name) == (Content.FORMATTED, "red")
    assert site.attach(volume, B).volume == volume


def test_who_lists_what_changed_hears_that_it_is_gone_and_that_it_has_come(site: AdminSite, volume: VolumeId) -> None:
    known = {vm: site.ask(ListVolumes(), vm).change for vm in (A, B)}
    move(site, volume)
    left, came = (site.ask(ListVolumes(since=known[vm]), vm) for vm in (A, B))
    assert (left.removed, left.volumes, left.complete) == ((volume,), (), False)
    assert ([each.id for each in came.volumes], came.removed) == ([volume], ())


def test_moved_there_and_back_it_is_not_gone(site: AdminSite, volume: VolumeId) -> None:
    known = site.ask(ListVolumes(), A).change
    move(site, volume)
    move(site, volume, to_vmgroup="_DEFAULT")
    page = site.ask(ListVolumes(since=known), A)
    # Whoever lists takes away what is named as removed and not shown as there.
    assert [each.id for each in page.volumes] == [volume]


def test_its_name_is_free_where_it_was(site: AdminSite, volume: VolumeId) -> None:
    move(site, volume)
    assert site.create("db", datastore="ds1").id != volume


def test_what_it_takes_counts_where_it_is(site: AdminSite, volume: VolumeId) -> None:
    size = site.record(volume).size_bytes
    move(site, volume)
    assert (site.store.usage(DEFAULT_VMGROUP), site.store.usage(RED)) == ({}, {DS1: size})


def test_the_default_vmgroup_whose_volumes_have_moved_can_be_removed(site: AdminSite, volume: VolumeId) -> None:
    move(site, volume)
    site.store.delete_group(DEFAULT_VMGROUP, expect=None)
    assert site.store.group_by_id(DEFAULT_VMGROUP) is None
    assert site.store.volume_count(RED) == 1


def test_moved_again_it_holds_already(site: AdminSite, volume: VolumeId) -> None:
    move(site, "db")
    before = site.record(volume)
    told = move(site, "db")
    assert (told.plan.steps, told.done, site.record(volume)) == ((), True, before)


def test_a_vmgroup_is_named_by_its_id_too(site: AdminSite, volume: VolumeId) -> None:
    move(site, volume, to_vmgroup=str(RED), vmgroup="_DEFAULT")
    assert site.record(volume).vmgroup == RED


def test_the_plan_says_whose_it_was_and_whose_it_becomes(site: AdminSite, volume: VolumeId) -> None:
    (step,) = move(site, volume, dry_run=True).plan.steps
    assert (step.verb, step.target, step.before, step.after) == ("move-volume", "db", "vmgroup _DEFAULT", "vmgroup red")


def test_the_plan_says_that_the_new_machines_do_not_see_it_yet(site: AdminSite) -> None:
    volume = site.create("db", datastore="ds2").id
    (step,) = move(site, volume, dry_run=True).plan.steps
    assert "`vmdkvol vmgroup access add red --datastore ds2`" in str(step.after)


# --- what is refused -----------------------------------------------------------------------------------------------


def test_an_attached_volume_stays_where_it_is(site: AdminSite, volume: VolumeId) -> None:
    site.attach(volume)
    before = site.record(volume)
    with pytest.raises(VolumeInUse, match="keeps its vmgroup while a machine has it"):
        move(site, volume)
    assert site.record(volume) == before


def test_with_a_machine_that_may_have_it_and_is_not_read_it_stays(site: AdminSite, volume: VolumeId) -> None:
    site.attach(volume)
    site.hypervisor.unread(A)
    with pytest.raises(TruthUnknown):
        move(site, volume)
    assert site.record(volume).vmgroup == DEFAULT_VMGROUP


def test_onto_a_name_that_is_taken_there_it_stays(site: AdminSite, volume: VolumeId) -> None:
    other = site.create("other", datastore="ds1").id
    move(site, other)
    record = site.record(other)
    site.store.update(replace(record, name="db", generation=record.generation + 1), expect=record.generation)
    with pytest.raises(NameConflict, match="rename one of the two"):
        move(site, volume)
    assert site.record(volume).vmgroup == DEFAULT_VMGROUP


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("limit", [Right(DS1, True, 1 << 20), Right(DS1, True, None, 1 << 20)], ids=["largest", "total"])
def test_the_limits_of_the_new_vmgroup_count(site: AdminSite, volume: VolumeId, limit: Right, dry_run: bool) -> None:
    limited(site, red(limit))
    before = site.record(volume)
    with pytest.raises(QuotaExceeded):
        move(site, volume, dry_run=dry_run)
    assert (site.record(volume), site.copy_of(before).vmgroup) == (before, DEFAULT_VMGROUP)


def test_over_quota_is_an_administrator_s_word(site: AdminSite, volume: VolumeId) -> None:
    limited(site, red(Right(DS1, True, total_bytes=1 << 20)))
    assert move(site, volume, over_quota=True).done
    assert site.record(volume).vmgroup == RED


def test_a_policy_that_the_new_vmgroup_may_not_use_keeps_it_out(site: AdminSite) -> None:
    site.hypervisor.policies = ("gold",)
    volume = site.create("db", datastore="ds1", policy="gold").id
    limited(site, red(policies=("silver",)))
    with pytest.raises(PolicyNotFound):
        move(site, volume, over_quota=True)
    assert site.record(volume).vmgroup == DEFAULT_VMGROUP


def test_there_must_be_such_a_vmgroup(site: AdminSite, volume: VolumeId) -> None:
    with pytest.raises(VmgroupNotFound):
        move(site, volume, to_vmgroup="nobody")


def test_a_vmgroup_that_goes_in_the_last_moment_gets_no_volume(site: AdminSite, volume: VolumeId) -> None:
    before = site.record(volume)

    def gone(_: object) -> None:
        site.store.delete_group(RED, expect=None)

    site.restart(gone)
    with pytest.raises(VolumeError):
        move(site, volume)
    assert (site.record(volume), site.copy_of(before)) == (before, replace(site.copy_of(before), vmgroup=DEFAULT_VMGROUP))


@pytest.mark.parametrize(
    ("state", "error"), [(State.TRASHED, VolumeNotFound), (State.LOST, VolumeLost), (State.PREPARING, VolumeError)]
)
def test_what_is_not_ready_is_not_moved(site: AdminSite, volume: VolumeId, state: State, error: type[VolumeError]) -> None:
    record = site.record(volume)
    site.store.update(replace(record, state=state), expect=record.generation)
    with pytest.raises(error):
        move(site, volume)
    assert site.record(volume).vmgroup == DEFAULT_VMGROUP


def test_a_damaged_volume_is_moved_and_stays_damaged(site: AdminSite, volume: VolumeId) -> None:
    record = site.record(volume)
    site.store.update(replace(record, state=State.DAMAGED), expect=record.generation)
    move(site, volume)
    assert (site.record(volume).vmgroup, site.record(volume).state) == (RED, State.DAMAGED)
    with pytest.raises(CheckFailed):
        site.ask(Attach(volume), B)


def test_a_copy_that_cannot_be_written_leaves_it_where_it_is(site: AdminSite, volume: VolumeId) -> None:
    before = site.record(volume)
    site.hypervisor.sidecars_fail = NoSpace("full")
    with pytest.raises(NoSpace):
        move(site, volume)
    assert site.record(volume) == before


def test_a_record_in_doubt_is_not_moved(site: AdminSite, volume: VolumeId) -> None:
    record = site.record(volume)
    site.verbs.parts.doubts.newer_sidecar(record, record.generation + 5)
    with pytest.raises(MetadataDamaged):
        move(site, volume)


def test_an_order_for_an_older_revision_is_refused(site: AdminSite, volume: VolumeId) -> None:
    revision = site.record(volume).generation
    move(site, volume, expect=revision)
    with pytest.raises(StaleRequest):
        move(site, volume, expect=revision, to_vmgroup="_DEFAULT")


def test_nothing_is_not_moved(site: AdminSite) -> None:
    with pytest.raises(VolumeNotFound):
        move(site, uuid4())
