"""Remove: into the trash and out of it, and never under a VM that has the disk."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from tests.unit.esx.site import DS1, A, B, Site
from vmdkvol.errors import (
    CheckFailed,
    MetadataDamaged,
    NoSpace,
    NotPermitted,
    OutcomeUnknown,
    TruthUnknown,
    VolumeInUse,
    VolumeLost,
    VolumeNotFound,
)
from vmdkvol.messages import Detach, ListAttached, ListVolumes
from vmdkvol.volume import DiskUuid, State, VolumeId
from vmdkvol_esx import sidecar
from vmdkvol_esx.paths import disk_path, disk_ref
from vmdkvol_esx.ports import AttachDisk, DeleteDisk


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def volume(site: Site) -> VolumeId:
    return site.create("db").id


@pytest.fixture
def with_trash() -> Site:
    return Site(retention_s=1000.0)


def nothing_is_left(site: Site) -> bool:
    truth = site.hypervisor.truth()
    return not site.records() and not truth.disks and not truth.sidecars and not site.store.open_intents()


def nothing_is_left_after_a_scan(site: Site) -> bool:
    """On a busy machine a deletion outlasts the scan that began it; the next one ends it."""
    for _ in range(20):
        site.housekeeping.scan()
        if nothing_is_left(site):
            return True
        site.clock.sleep(1.0)
    return False


def test_without_retention_nothing_is_left(site: Site, volume: VolumeId) -> None:
    site.remove(volume)
    assert nothing_is_left(site)


def test_a_removed_name_is_not_found_and_free(site: Site, volume: VolumeId) -> None:
    site.remove(volume)
    with pytest.raises(VolumeNotFound):
        site.get("db")
    assert site.create("db").id != volume


def test_a_repeat_is_a_success(site: Site, volume: VolumeId) -> None:
    site.remove(volume)
    site.remove(volume)


def test_an_unknown_id_is_a_success(site: Site) -> None:
    site.remove(VolumeId(uuid4()))


def test_with_retention_the_disk_stays_and_says_trashed(with_trash: Site) -> None:
    volume = with_trash.create("db").id
    with_trash.remove(volume)
    record = with_trash.record(volume)
    assert record.state is State.TRASHED
    assert replace(with_trash.copy_of(record), generation=record.generation) == record


def test_the_trash_is_not_listed(with_trash: Site) -> None:
    with_trash.remove(with_trash.create("db").id)
    assert with_trash.ask(ListVolumes()).volumes == ()


def test_a_mounted_volume_is_refused_and_names_the_holder(site: Site, volume: VolumeId) -> None:
    site.attach(volume, B)
    before = site.record(volume)
    with pytest.raises(VolumeInUse, match="host-b"):
        site.remove(volume)
    assert site.record(volume) == before


def test_the_callers_own_mount_is_refused_too(site: Site, volume: VolumeId) -> None:
    """F11: whatever Docker thinks."""
    site.attach(volume, A)
    with pytest.raises(VolumeInUse, match="host-a"):
        site.remove(volume)


def test_a_lingering_disk_is_asked_for_first(site: Site, volume: VolumeId) -> None:
    """Corrections 13."""
    lingering = site.attach(volume, B)
    site.agents[B] = lambda wanted: site.ask(Detach(wanted, lingering.generation), B)
    site.remove(volume)
    assert nothing_is_left(site)


def test_a_silent_vm_that_had_no_part_delays_the_deletion_not_the_removal(site: Site, volume: VolumeId) -> None:
    """Corrections 38."""
    site.hypervisor.unread(B)
    site.remove(volume)
    record = site.record(volume)
    assert record.state is State.TRASHED
    site.housekeeping.scan()
    assert record.disk_uuid in site.hypervisor.truth().disks


def test_a_disk_in_the_trash_that_a_vm_has_is_not_even_asked_to_be_deleted(with_trash: Site) -> None:
    """D9: the disk's own lock is the last guard, and not the one to lean on."""
    site, volume = with_trash, with_trash.create("db").id
    site.remove(volume)
    site.hypervisor.submit(AttachDisk(B, disk_ref(site.record(volume)), "independent_persistent"), uuid4())
    site.hypervisor.refuse(AssertionError("a change was submitted"))  # type: ignore[arg-type]
    site.clock.skip(2000.0)

    site.housekeeping.scan()

    assert site.record(volume).state is State.TRASHED


def test_one_silent_vm_does_not_block_every_remove(site: Site, volume: VolumeId) -> None:
    site.hypervisor.unread(B)
    site.remove(volume)
    with pytest.raises(VolumeNotFound):
        site.get("db")
    site.hypervisor.unread(B, unread=False)
    assert nothing_is_left_after_a_scan(site)


def test_a_volume_whose_last_host_is_not_read_is_not_removed(site: Site, volume: VolumeId) -> None:
    """I1, corrections 38: the host on record must be read, it may have the volume mounted this very moment."""
    site.attach(volume, B)
    site.hypervisor.unread(B)
    with pytest.raises(TruthUnknown, match="may be on host-b"):
        site.remove(volume)
    assert site.get("db").state is State.READY
    assert site.record(volume).trashed_at is None


def test_a_disk_in_the_trash_can_still_leave_its_vm(site: Site, volume: VolumeId) -> None:
    site.hypervisor.unread(B)
    site.remove(volume)
    record = site.record(volume)
    site.hypervisor.unread(B, unread=False)
    site.hypervisor.submit(AttachDisk(B, disk_ref(record), "independent_persistent"), uuid4())
    (told,) = site.ask(ListAttached(), B).attachments
    site.detach(told, B)
    assert nothing_is_left_after_a_scan(site)


def test_a_volume_on_a_host_that_is_switched_off_is_removed(site: Site, volume: VolumeId) -> None:
    """F16: its disk is taken from there first."""
    site.attach(volume, B)
    site.hypervisor.power(B, running=False)
    site.remove(volume)
    assert nothing_is_left_after_a_scan(site)


def test_who_asks_is_not_switched_off_whatever_the_hypervisor_says(site: Site, volume: VolumeId) -> None:
    attachment = site.attach(volume)
    site.hypervisor.power(A, running=False)
    with pytest.raises(VolumeInUse):
        site.remove(volume, A)
    assert site.hypervisor.truth().holders == {attachment.disk_uuid: A}


def test_a_read_only_datastore_refuses(site: Site, volume: VolumeId) -> None:
    site.hypervisor.read_only(DS1)
    with pytest.raises(NotPermitted):
        site.remove(volume)
    assert len(site.hypervisor.truth().disks) == 1


def test_a_repeat_writes_the_sidecar_that_the_first_could_not(with_trash: Site) -> None:
    """Corrections 33: the answer waits for the sidecar."""
    volume = with_trash.create("db").id
    with_trash.hypervisor.unreadable(DS1)
    with pytest.raises(TruthUnknown):
        with_trash.remove(volume)
    with_trash.hypervisor.unreadable(DS1, unreadable=False)
    with_trash.remove(volume)
    assert with_trash.copy_of(with_trash.record(volume)).state is State.TRASHED


@pytest.mark.parametrize("done", [True, False])
def test_a_lost_answer_to_the_deletion_goes_forward(site: Site, volume: VolumeId, done: bool) -> None:
    site.hypervisor.lose_answer(done=done)
    site.remove(volume)
    assert nothing_is_left_after_a_scan(site)


@pytest.mark.parametrize("seconds", [0.0, 2.0])
def test_a_failed_deletion_goes_forward(site: Site, volume: VolumeId, seconds: float) -> None:
    site.hypervisor.takes(DeleteDisk, seconds)
    site.hypervisor.fail(TruthUnknown("the host is away"))
    site.remove(volume)
    with pytest.raises(VolumeNotFound):
        site.get("db")
    assert nothing_is_left_after_a_scan(site)


def test_a_deletion_that_a_foreign_lock_stops_is_tried_again(site: Site, volume: VolumeId) -> None:
    site.hypervisor.refuse(VolumeInUse("another host has the file open"))
    site.remove(volume)
    assert site.record(volume).state is State.TRASHED
    assert nothing_is_left_after_a_scan(site)


def test_an_attach_that_lands_late_is_waited_for_and_given_back() -> None:
    """An Attach whose answer was lost goes on beside a Remove: it is not taken for one that did not happen."""
    site = Site(hurry=8.0)
    volume = site.create("db").id
    site.hypervisor.takes(AttachDisk, 5.0)
    site.hypervisor.lose_answer(done=True)
    site.agents[B] = lambda _: gives_back(site)
    with pytest.raises(OutcomeUnknown):
        site.attach(volume, B)
    site.remove(volume)
    assert nothing_is_left_after_a_scan(site)


def gives_back(site: Site) -> None:
    for told in site.ask(ListAttached(), B).attachments:
        site.detach(told, B)


@pytest.mark.parametrize(("state", "error"), [(State.LOST, VolumeLost), (State.DAMAGED, CheckFailed)])
def test_a_volume_at_risk_is_kept(site: Site, volume: VolumeId, state: State, error: type[Exception]) -> None:
    record = site.record(volume)
    site.store.update(replace(record, state=state), expect=record.generation)
    with pytest.raises(error):
        site.remove(volume)
    assert len(site.hypervisor.truth().disks) == 1


def test_another_disk_at_the_path_is_not_deleted(site: Site, volume: VolumeId) -> None:
    other = DiskUuid(uuid4())
    site.hypervisor.swap(disk_path(site.record(volume)), other)
    site.remove(volume)
    site.housekeeping.scan()
    assert list(site.hypervisor.truth().disks) == [other]


def test_a_damaged_descriptor_does_not_stop_a_removal(site: Site, volume: VolumeId) -> None:
    site.hypervisor.damage(disk_path(site.record(volume)), "truncated")
    site.remove(volume)
    assert nothing_is_left(site)


# --- a datastore that takes no sidecar -----------------------------------------------------------------------------


def test_a_full_datastore_can_be_made_room_on(site: Site) -> None:
    volume = site.create("db").id
    site.hypervisor.sidecars_fail = NoSpace("no room for the sidecar")
    site.remove(volume)
    assert site.records() == []
    assert not site.hypervisor.truth().disks


def test_on_a_full_datastore_a_disk_that_cannot_go_at_once_is_told(site: Site) -> None:
    """Its sidecar still says that it lives: the answer must not be that all is done (corrections 33)."""
    volume = site.create("db").id
    site.hypervisor.sidecars_fail = NoSpace("no room for the sidecar")
    site.hypervisor.refuse(MetadataDamaged("torn"))
    with pytest.raises(NoSpace):
        site.remove(volume)


def test_with_retention_a_full_datastore_keeps_the_volume_as_it_is(with_trash: Site) -> None:
    volume = with_trash.create("db").id
    before = with_trash.record(volume)
    with_trash.hypervisor.sidecars_fail = NoSpace("no room for the sidecar")
    with pytest.raises(NoSpace):
        with_trash.remove(volume)
    assert with_trash.record(volume) == before


def test_a_datastore_that_cannot_be_written_refuses_the_removal_and_nothing_has_changed(site: Site) -> None:
    """Else the disk would go one day although the user was told that it did not."""
    volume = site.create("db").id
    before = site.record(volume)
    site.hypervisor.sidecars_fail = TruthUnknown("the datastore is not mounted")
    with pytest.raises(TruthUnknown):
        site.remove(volume)
    assert site.record(volume) == before


def test_a_removal_that_died_after_its_sidecar_is_taken_back_there() -> None:
    with_trash = Site(retention_s=1000.0, hurry=1.0)
    volume = with_trash.create("db").id
    record = with_trash.record(volume)
    copy = replace(record, state=State.TRASHED, trashed_at=1.0)
    with_trash.hypervisor.write_sidecar(disk_path(record), sidecar.encode(copy))
    with_trash.housekeeping.scan()
    assert with_trash.copy_of(record) == record
