"""Disks leave machines that are off without anybody asking, and records follow moved disks; nothing else is touched."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from tests.unit.esx.site import DS1, DS2, A, B, Site
from vmdkvol.errors import NoSpace, StillMounted
from vmdkvol.messages import Detach
from vmdkvol.volume import DiskUuid, State, VolumeId
from vmdkvol_esx.paths import disk_path, disk_ref
from vmdkvol_esx.ports import AttachDisk, CreateDisk, DetachDisk, DiskPath, DiskRef

ELSEWHERE = DiskPath(DS2, "host-a/host-a_1.vmdk")


@pytest.fixture
def site() -> Site:
    return Site(datastores=(DS1, DS2))


@pytest.fixture
def volume(site: Site) -> VolumeId:
    return site.create("db@ds1").id


def on(site: Site, volume: VolumeId) -> bool:
    disk = site.record(volume).disk_uuid
    return any(found.uuid == disk for disks in site.hypervisor.devices(None).lists.values() for found in disks)


# --- machines that are off ---------------------------------------------------------------------------------------


def test_a_disk_leaves_a_machine_that_is_off(site: Site, volume: VolumeId) -> None:
    site.attach(volume)
    site.hypervisor.power(A, running=False)

    site.verbs.whereabouts.look()

    assert not on(site, volume)
    assert site.record(volume).last_vm is None
    site.check_settled()


def test_all_disks_of_a_machine_that_is_off_leave_it(site: Site) -> None:
    volumes = [site.create(f"db{number}@ds1").id for number in range(20)]
    for each in volumes:
        site.attach(each)
    site.hypervisor.power(A, running=False)

    site.verbs.whereabouts.look()

    assert site.hypervisor.devices([A]).lists == {A: ()}
    site.check_settled()


def test_its_volume_survives_the_machine_that_is_then_destroyed(site: Site, volume: VolumeId) -> None:
    """Corrections 31."""
    site.attach(volume)
    site.hypervisor.power(A, running=False)
    site.verbs.whereabouts.look()

    site.hypervisor.destroy_vm(A)

    assert site.hypervisor.disk(disk_ref(site.record(volume))) is not None


def test_a_scan_looks_too(site: Site, volume: VolumeId) -> None:
    site.attach(volume)
    site.hypervisor.power(A, running=False)

    site.housekeeping.scan()

    assert not on(site, volume)


@pytest.mark.parametrize("machine", ["running", "unread", "off and unread"])
def test_a_disk_stays_where_the_machine_is_not_known_to_be_off(site: Site, volume: VolumeId, machine: str) -> None:
    site.attach(volume)
    generation = site.record(volume).generation
    if "unread" in machine:
        site.hypervisor.unread(A)
    if "off" in machine:
        site.hypervisor.power(A, running=False)

    site.verbs.whereabouts.look()

    site.hypervisor.unread(A, unread=False)
    assert on(site, volume)
    assert site.record(volume).generation == generation


def test_a_snapshot_keeps_the_disk_and_the_others_go(site: Site, volume: VolumeId) -> None:
    held = site.create("held@ds1", attach_as="persistent").id
    site.attach(volume)
    site.attach(held)
    site.hypervisor.snapshot(A, "before the upgrade")
    site.hypervisor.power(A, running=False)

    site.verbs.whereabouts.look()

    assert (on(site, volume), on(site, held)) == (False, True)
    assert "disk stays where it is" in site.log.events("warning")


def test_a_disk_that_cannot_leave_is_tried_again_at_the_next_look(site: Site, volume: VolumeId) -> None:
    site.attach(volume)
    site.hypervisor.power(A, running=False)
    site.hypervisor.refuse(StillMounted("not now"))

    site.verbs.whereabouts.look()
    assert on(site, volume)

    site.verbs.whereabouts.look()
    assert not on(site, volume)


def test_a_disk_that_does_not_leave_its_machine_for_long_holds_up_no_look(site: Site) -> None:
    """A machine that is off may be copied or moved for hours; the one beside it is perhaps destroyed meanwhile."""
    volumes = [site.create(f"db{number}@ds1").id for number in range(33)]
    for each in volumes:
        site.attach(each)
    site.hypervisor.power(A, running=False)
    site.hypervisor.takes(DetachDisk, 300.0)
    begun = site.clock.monotonic()

    site.verbs.whereabouts.look()

    assert site.clock.monotonic() - begun < 150.0
    assert len(site.store.open_intents()) <= 16


def test_a_strangers_disk_stays_on_a_machine_that_is_off(site: Site) -> None:
    stranger = DiskRef(DiskUuid(uuid4()), DiskPath(DS1, "other/data.vmdk"))
    site.hypervisor.submit(CreateDisk(stranger, 1 << 20, "thin", {}), uuid4())
    site.hypervisor.submit(AttachDisk(A, stranger, "persistent"), uuid4())
    site.hypervisor.power(A, running=False)

    site.verbs.whereabouts.look()

    assert [disk.uuid for disk in site.hypervisor.devices([A]).lists[A]] == [stranger.uuid]


# --- disks that were moved ---------------------------------------------------------------------------------------


def test_a_record_follows_a_disk_that_was_moved(site: Site, volume: VolumeId) -> None:
    site.attach(volume)
    site.hypervisor.move(site.record(volume).disk_uuid, ELSEWHERE)

    site.verbs.whereabouts.look()

    assert disk_path(site.record(volume)) == ELSEWHERE
    assert site.copy_of(site.record(volume)).path == ELSEWHERE.path
    assert list(site.hypervisor.traces(DS1)) == []


def test_a_moved_disk_that_was_lost_is_found(site: Site, volume: VolumeId) -> None:
    record = site.record(volume)
    site.store.update(replace(record, state=State.LOST, path="vmdkvol/elsewhere/db.vmdk"), expect=record.generation)
    site.hypervisor.leaves_out_disks = True
    site.hypervisor.move(record.disk_uuid, DiskPath(DS1, "vmdkvol/elsewhere/db.vmdk"))

    site.housekeeping.scan()

    assert site.record(volume).state is State.READY


def test_a_disk_is_not_followed_while_it_cannot_be_seen_that_it_left_its_old_place(site: Site, volume: VolumeId) -> None:
    site.attach(volume)
    own = disk_path(site.record(volume))
    site.hypervisor.move(site.record(volume).disk_uuid, ELSEWHERE)
    site.hypervisor.unreadable(DS1)

    site.verbs.whereabouts.look()
    assert disk_path(site.record(volume)) == own

    site.hypervisor.unreadable(DS1, unreadable=False)
    site.verbs.whereabouts.look()
    assert disk_path(site.record(volume)) == ELSEWHERE


def test_a_moved_disk_is_never_lost(site: Site, volume: VolumeId) -> None:
    site.attach(volume)
    site.hypervisor.move(site.record(volume).disk_uuid, ELSEWHERE)

    for _ in range(3):
        site.housekeeping.scan()

    assert site.record(volume).state is State.READY


def test_a_moved_disk_is_given_back_by_the_generation_that_the_guest_knows(site: Site, volume: VolumeId) -> None:
    attachment = site.attach(volume)
    site.hypervisor.move(attachment.disk_uuid, ELSEWHERE)
    site.verbs.whereabouts.look()

    site.ask(Detach(volume, attachment.generation))

    assert not on(site, volume)


def test_a_disk_that_was_moved_and_is_given_back_before_any_look_is_found_on_the_next_host(
    site: Site, volume: VolumeId
) -> None:
    attachment = site.attach(volume)
    site.hypervisor.move(attachment.disk_uuid, ELSEWHERE)

    site.detach(attachment)

    assert site.attach(volume, B).disk_uuid == attachment.disk_uuid
    assert disk_path(site.record(volume)) == ELSEWHERE


def test_a_moved_disk_of_a_machine_that_is_off_is_followed_before_it_is_taken(site: Site, volume: VolumeId) -> None:
    site.attach(volume)
    site.hypervisor.move(site.record(volume).disk_uuid, ELSEWHERE)
    site.hypervisor.power(A, running=False)

    site.attach(volume, B)

    assert disk_path(site.record(volume)) == ELSEWHERE


def test_a_moved_disk_is_removed_where_it_lies(site: Site, volume: VolumeId) -> None:
    attachment = site.attach(volume)
    site.hypervisor.move(attachment.disk_uuid, ELSEWHERE)
    site.detach(attachment)

    site.remove(volume)

    assert not site.hypervisor.truth().disks


def test_a_copy_that_cannot_be_written_beside_the_moved_disk_does_not_stop_the_record(site: Site, volume: VolumeId) -> None:
    site.attach(volume)
    site.hypervisor.move(site.record(volume).disk_uuid, ELSEWHERE)
    site.hypervisor.sidecars_fail = NoSpace("full")

    site.verbs.whereabouts.look()
    assert disk_path(site.record(volume)) == ELSEWHERE

    site.hypervisor.sidecars_fail = None
    site.housekeeping.scan()
    assert site.copy_of(site.record(volume)).path == ELSEWHERE.path
