"""Volumes become larger: disk, record, sidecar and notice; what is refused, and what a failure leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from tests.unit.esx.admin_site import AdminSite
from tests.unit.esx.site import DS1, GB, A, B, Killed
from vmdkvol.errors import (
    Busy,
    CheckFailed,
    HypervisorUnreachable,
    InvalidSize,
    NameConflict,
    NoSpace,
    OutcomeUnknown,
    QuotaExceeded,
    SnapshotPresent,
    StaleRequest,
    StillWorking,
    TruthUnknown,
    VolumeError,
    VolumeInUse,
    VolumeNotFound,
)
from vmdkvol.messages import CreateVolume, Mark
from vmdkvol.names import VM_DATASTORE, DatastoreName, VolumeRef
from vmdkvol.notices import Grown
from vmdkvol.options import CreateOptions
from vmdkvol.orders import Step
from vmdkvol.points import Point
from vmdkvol.task_messages import GetTask, TaskState
from vmdkvol.volume import DEFAULT_VMGROUP, Content, Doing, State, VolumeId
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.ports import CloneDisk, GrowDisk
from vmdkvol_esx.records import Right


@pytest.fixture
def site() -> AdminSite:
    return AdminSite(retention_s=0.0)


def formatted(site: AdminSite, **opts: str) -> VolumeId:
    volume = site.create("db", size="1gb", **opts).id
    site.format(volume)
    return volume


def sizes(site: AdminSite, volume: VolumeId) -> tuple[int, int, int]:
    """What disk, record and sidecar say."""
    record = site.record(volume)
    disk = site.hypervisor.disk(disk_ref(record))
    assert disk is not None
    return disk.size_bytes, record.size_bytes, site.copy_of(record).size_bytes


def grown_to(site: AdminSite, volume: VolumeId, size_bytes: int) -> bool:
    return sizes(site, volume) == (size_bytes,) * 3 and not site.store.open_intents()


def refused(site: AdminSite, volume: VolumeId, error: type[VolumeError], size_bytes: int = 2 * GB) -> VolumeError:
    """The order is refused, and everything is as it was."""
    before = site.records()
    with pytest.raises(error) as told:
        site.resize(volume, size_bytes)
    assert site.records() == before
    assert not site.store.open_intents()
    assert not site.grown
    return told.value


# --- what becomes of a growth -------------------------------------------------------------------------------------


def test_a_disk_that_nobody_has_grows_and_nobody_is_told(site: AdminSite) -> None:
    volume = formatted(site)
    outcome = site.resize(volume, 2 * GB)

    assert grown_to(site, volume, 2 * GB)
    assert outcome.done
    assert outcome.plan.steps[0] == Step("GrowDisk", "db", "1gb", "2gb")
    assert (outcome.subject, outcome.revision) == (str(volume), site.record(volume).generation)
    assert not site.grown


def test_the_machine_that_has_the_disk_is_told(site: AdminSite) -> None:
    volume = formatted(site)
    site.attach(volume, B)
    outcome = site.resize(volume, 2 * GB)

    assert grown_to(site, volume, 2 * GB)
    assert site.grown == [(B, Grown(volume, 2 * GB))]
    assert outcome.plan.steps[1].after == "at once on host-b, if it is mounted there"


def test_who_has_the_disk_reads_the_new_size_without_a_notice(site: AdminSite) -> None:
    volume = formatted(site)
    site.attach(volume)
    site.resize(volume, 2 * GB)

    (attachment,) = site.attached()
    assert (attachment.size_bytes, attachment.generation) == (2 * GB, site.record(volume).generation)


def test_a_notice_that_nobody_hears_takes_nothing_from_the_growth(site: AdminSite) -> None:
    volume = formatted(site)
    site.attach(volume)
    del site.agents[A]

    assert site.resize(volume, 2 * GB).done
    assert grown_to(site, volume, 2 * GB)


def test_a_detach_from_before_the_growth_is_refused_and_one_from_after_it_is_not(site: AdminSite) -> None:
    volume = formatted(site)
    old = site.attach(volume)
    site.resize(volume, 2 * GB)
    with pytest.raises(StaleRequest):
        site.detach(old)
    site.detach(site.attached()[0])
    assert not site.hypervisor.truth().holders


def test_the_same_again_is_a_success_that_changes_nothing_and_tells_the_machine_again(site: AdminSite) -> None:
    volume = formatted(site)
    site.attach(volume)
    site.resize(volume, 2 * GB)
    outcome = site.resize(volume, 2 * GB)

    assert (outcome.done, outcome.plan.steps) == (True, ())
    assert grown_to(site, volume, 2 * GB)
    assert site.grown == [(A, Grown(volume, 2 * GB))] * 2


def test_the_disk_of_a_machine_that_is_off_grows_and_stays_there(site: AdminSite) -> None:
    volume = formatted(site)
    site.attach(volume)
    site.hypervisor.power(A, running=False)

    assert site.resize(volume, 2 * GB).plan.steps[1].after == "at the next mount"
    assert grown_to(site, volume, 2 * GB)
    assert list(site.hypervisor.truth().holders.values()) == [A]


def test_a_new_volume_grows_before_its_first_mount(site: AdminSite) -> None:
    volume = site.create("db", size="1gb").id

    assert [step.verb for step in site.resize(volume, 2 * GB).plan.steps] == ["GrowDisk"]
    assert grown_to(site, volume, 2 * GB)


def test_c15_a_create_with_the_old_size_is_no_conflict_after_the_growth(site: AdminSite) -> None:
    volume = formatted(site)
    site.resize(volume, 2 * GB)

    assert site.create("db", size="1gb").id == volume
    assert site.create("db", size="2gb").id == volume
    assert grown_to(site, volume, 2 * GB)


def test_a_clone_of_a_grown_volume_is_as_large(site: AdminSite) -> None:
    site.resize(formatted(site), 2 * GB)

    assert site.create("copy", clone_from="db").size_bytes == 2 * GB


def test_a_dry_run_says_the_same_plan_and_changes_nothing(site: AdminSite) -> None:
    volume = formatted(site)
    site.attach(volume)
    before = site.records()
    told = site.resize(volume, 2 * GB, dry_run=True)

    assert (told.done, site.records(), site.grown) == (False, before, [])
    assert site.resize(volume, 2 * GB).plan == told.plan


def test_a_disk_that_was_made_larger_by_hand_gets_its_record(site: AdminSite) -> None:
    volume = formatted(site)
    site.hypervisor.submit(GrowDisk(disk_ref(site.record(volume)), 2 * GB), uuid4())
    site.resize(volume, 2 * GB)

    assert grown_to(site, volume, 2 * GB)


# --- long work ----------------------------------------------------------------------------------------------------


def test_while_a_disk_grows_its_old_size_is_told_and_the_work_that_goes_on(site: AdminSite) -> None:
    volume = formatted(site)
    site.hypervisor.takes(GrowDisk, 30.0)
    begun = site.resize(volume, 2 * GB, seconds=2.0)

    assert (begun.done, begun.plan.steps) == (False, (Step("GrowDisk", "db", "1gb", "2gb"),))
    assert begun.task is not None
    assert site.order(GetTask(task=begun.task)).state is TaskState.RUNNING
    with pytest.raises(NameConflict):
        site.create("db", size="2gb")
    info = site.get("db")
    assert (info.size_bytes, info.work and info.work.doing) == (GB, Doing.GROW)
    site.resize(volume, 2 * GB)
    assert site.get("db").size_bytes == 2 * GB
    assert grown_to(site, volume, 2 * GB)


def test_a_growth_that_waits_for_its_turn_is_no_task_of_its_own(site: AdminSite) -> None:
    volume = formatted(site)
    site.hypervisor.takes(GrowDisk, 30.0)
    site.resize(volume, 2 * GB, seconds=2.0)
    with pytest.raises(StillWorking):
        site.resize(volume, 3 * GB, seconds=2.0)
    assert site.resize(volume, 3 * GB).done


def test_two_orders_of_different_sizes_at_once_end_with_the_larger_one(site: AdminSite) -> None:
    volume = formatted(site)
    site.hypervisor.takes(GrowDisk, 10.0)
    assert site.resize(volume, 3 * GB, seconds=1.0).task is not None
    with pytest.raises(InvalidSize):
        # Of a hurried clock: a busy machine has not carried out the first one in a thousand seconds.
        site.resize(volume, 2 * GB, seconds=100_000.0)
    assert grown_to(site, volume, 3 * GB)


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size_bytes", [512, GB - 512])
def test_no_volume_is_made_smaller(site: AdminSite, size_bytes: int) -> None:
    refused(site, formatted(site), InvalidSize, size_bytes)


@pytest.mark.parametrize("size_bytes", [0, -512, GB + 1, 1 << 60])
def test_what_is_no_size_is_refused(site: AdminSite, size_bytes: int) -> None:
    refused(site, formatted(site), InvalidSize, size_bytes)


def test_a_volume_that_is_not_there_does_not_grow(site: AdminSite) -> None:
    refused(site, VolumeId(UUID(int=1)), VolumeNotFound)


def test_a_volume_in_the_trash_does_not_grow() -> None:
    site = AdminSite(retention_s=1000.0)
    volume = formatted(site)
    site.remove(volume)
    refused(site, volume, VolumeNotFound)


def test_a_damaged_volume_does_not_grow(site: AdminSite) -> None:
    volume = formatted(site)
    attachment = site.attach(volume)
    site.ask(Mark(volume, attachment.generation, Content.FORMATTED, attachment.filesystem_uuid, "bad block"))
    assert site.record(volume).state is State.DAMAGED
    refused(site, volume, CheckFailed)


def test_a_disk_in_a_snapshot_does_not_grow(site: AdminSite) -> None:
    volume = formatted(site, attach_as="persistent")
    site.attach(volume)
    site.hypervisor.snapshot(A, "before-upgrade")
    assert "before-upgrade" in refused(site, volume, SnapshotPresent).text


def test_the_source_of_a_copy_under_way_does_not_grow(site: AdminSite) -> None:
    volume = formatted(site)
    site.hypervisor.takes(CloneDisk, 100.0)
    site.leave(CreateVolume(VolumeRef.parse("copy"), CreateOptions.parse({"clone-from": "db"})))
    before = site.record(volume)
    for dry_run in (True, False):
        with pytest.raises(VolumeInUse, match="copy"):
            site.resize(volume, 2 * GB, dry_run=dry_run)
    assert site.record(volume) == before


@pytest.mark.parametrize("content", [Content.UNFORMATTED, Content.FORMATTING])
def test_a_volume_that_is_just_mounted_for_the_first_time_does_not_grow(site: AdminSite, content: Content) -> None:
    """What its agent says of it in the end would be of an older generation, and refused."""
    volume = site.create("db", size="1gb").id
    attachment = site.attach(volume)
    if content is Content.FORMATTING:
        site.ask(Mark(volume, attachment.generation, content, uuid4()))
    refused(site, volume, Busy)


def test_a_copy_before_its_first_mount_is_over_does_not_grow(site: AdminSite) -> None:
    formatted(site)
    copy = site.create("copy", clone_from="db").id
    site.attach(copy)
    refused(site, copy, Busy)


def test_a_revision_that_is_not_the_volumes_any_more_is_refused(site: AdminSite) -> None:
    volume = formatted(site)
    seen = site.record(volume).generation
    site.detach(site.attach(volume))
    with pytest.raises(StaleRequest, match="revision"):
        site.resize(volume, 2 * GB, expect=seen)
    assert site.resize(volume, 2 * GB, expect=site.record(volume).generation).done


def test_while_a_machine_that_may_have_the_disk_is_not_read_it_does_not_grow(site: AdminSite) -> None:
    volume = formatted(site)
    site.attach(volume)
    site.hypervisor.unread(A)
    refused(site, volume, TruthUnknown)


# --- quota --------------------------------------------------------------------------------------------------------


def limited(
    site: AdminSite, on: DatastoreName = DS1, /, *, max_bytes: int | None = None, total_bytes: int | None = None
) -> None:
    """The volumes' vmgroup may have no more on its datastore."""
    group = site.store.group_by_id(DEFAULT_VMGROUP)
    right = Right(on, allow_create=True, max_bytes=max_bytes, total_bytes=total_bytes)
    site.store.put_group(replace(group, rights=(right,)), expect=group.vmgroup.revision)


@pytest.mark.parametrize("limit", ["max_bytes", "total_bytes"])
def test_a_volume_does_not_grow_beyond_its_vmgroups_limit(site: AdminSite, limit: str) -> None:
    volume = formatted(site)
    limited(site, **{limit: 2 * GB})
    refused(site, volume, QuotaExceeded, 2 * GB + 512)
    with pytest.raises(QuotaExceeded):
        site.resize(volume, 3 * GB, dry_run=True)

    assert site.resize(volume, 2 * GB).done


@pytest.mark.parametrize("attached", [False, True])
def test_a_limit_for_machines_own_datastores_counts_too(site: AdminSite, *, attached: bool) -> None:
    volume = formatted(site)
    limited(site, VM_DATASTORE, total_bytes=2 * GB)
    site.hypervisor.homes[A] = DS1
    if attached:
        site.attach(volume)
    refused(site, volume, QuotaExceeded, 2 * GB + 512)

    assert site.resize(volume, 2 * GB).done


def test_what_others_of_the_vmgroup_take_counts(site: AdminSite) -> None:
    volume = formatted(site)
    site.create("other", size="2gb")
    limited(site, total_bytes=4 * GB)
    refused(site, volume, QuotaExceeded, 2 * GB + 512)

    assert site.resize(volume, 2 * GB).done


def test_a_growth_that_has_failed_takes_nothing_from_the_quota(site: AdminSite) -> None:
    volume, other = formatted(site), site.create("other", size="1gb").id
    limited(site, total_bytes=3 * GB)
    site.hypervisor.refuse(NoSpace("no block is left"))
    refused(site, volume, NoSpace)

    assert site.resize(other, 2 * GB).done
    refused_again(site, volume)


def refused_again(site: AdminSite, volume: VolumeId) -> None:
    with pytest.raises(QuotaExceeded):
        site.resize(volume, 2 * GB)


def test_many_growths_at_once_never_exceed_the_quota(site: AdminSite) -> None:
    volumes = [site.create(f"v{number}", size="1gb").id for number in range(10)]
    limited(site, total_bytes=14 * GB)
    site.hypervisor.takes(GrowDisk, 1.0)
    ended: list[bool] = []

    def grow(volume: VolumeId) -> None:
        try:
            ended.append(site.resize(volume, 2 * GB).done)
        except QuotaExceeded:
            ended.append(False)

    threads = [threading.Thread(target=grow, args=(volume,)) for volume in volumes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(ended) == [False] * 6 + [True] * 4
    assert sum(record.size_bytes for record in site.records()) == 14 * GB


# --- what fails ---------------------------------------------------------------------------------------------------


def test_a_full_datastore_leaves_the_old_size(site: AdminSite) -> None:
    volume = formatted(site)
    site.hypervisor.fill(DS1)
    refused(site, volume, NoSpace)
    assert sizes(site, volume) == (GB, GB, GB)


@pytest.mark.parametrize("seconds", [0.0, 2.0])
@pytest.mark.parametrize("attached", [False, True])
def test_a_growth_that_fails_leaves_the_old_size(site: AdminSite, seconds: float, *, attached: bool) -> None:
    volume = formatted(site)
    if attached:
        site.attach(volume)
    site.hypervisor.takes(GrowDisk, seconds)
    fail = site.hypervisor.fail if seconds else site.hypervisor.refuse
    fail(NoSpace("no block is left"))
    refused(site, volume, NoSpace)
    assert sizes(site, volume) == (GB, GB, GB)
    assert site.resize(volume, 2 * GB).done


def test_a_growth_whose_answer_is_lost_is_found_done(site: AdminSite) -> None:
    volume = formatted(site)
    site.hypervisor.lose_answer(done=True)
    assert site.resize(volume, 2 * GB).done
    assert grown_to(site, volume, 2 * GB)


def test_a_growth_of_which_nothing_is_known_goes_on_by_itself(site: AdminSite) -> None:
    volume = formatted(site)
    site.hypervisor.lose_answer(done=False)
    with pytest.raises(OutcomeUnknown):
        site.resize(volume, 2 * GB)
    assert site.get("db").size_bytes == GB
    site.calm_down()
    assert site.get("db").size_bytes == 2 * GB
    assert grown_to(site, volume, 2 * GB)


def test_a_copy_of_the_record_that_cannot_be_written_follows_later(site: AdminSite) -> None:
    volume = formatted(site)
    site.hypervisor.sidecars_fail = HypervisorUnreachable("no connection")
    assert site.resize(volume, 2 * GB).done
    assert sizes(site, volume) == (2 * GB, 2 * GB, GB)

    site.hypervisor.sidecars_fail = None
    site.calm_down()
    assert grown_to(site, volume, 2 * GB)


def test_a_growth_that_a_dead_process_left_is_seen_to_reach_its_machine(site: AdminSite) -> None:
    """Between the disk and its machine's device nothing is noted: the next process has the same done again."""
    volume = formatted(site)
    site.attach(volume)
    site.restart(dies_at(Point.CHANGE_SUBMITTED))
    with pytest.raises(Killed):
        site.resize(volume, 2 * GB)
    site.hypervisor.submitted.clear()
    site.restart()

    assert site.hypervisor.submitted == [GrowDisk(disk_ref(site.record(volume)), 2 * GB, A)]
    site.calm_down()
    assert grown_to(site, volume, 2 * GB)


def test_a_machines_device_that_does_not_follow_takes_nothing_from_a_growth_that_is_settled(site: AdminSite) -> None:
    volume = formatted(site)
    site.attach(volume)
    site.restart(dies_at(Point.CHANGE_SUBMITTED))
    with pytest.raises(Killed):
        site.resize(volume, 2 * GB)
    site.hypervisor.refuse(HypervisorUnreachable("no connection"))
    site.restart()
    site.calm_down()

    assert grown_to(site, volume, 2 * GB)
    assert "device did not follow" in site.log.events("warning")


def dies_at(last: Point) -> Callable[[Point], None]:
    def at(point: Point) -> None:
        if point is last:
            raise Killed(point)

    return at
