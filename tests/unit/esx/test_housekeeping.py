"""Housekeeping puts right what may be put right alone, at the second sight, and deletes nothing that is not in our trash."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.unit.esx.site import DS1, A, B, Site
from vmdkvol.clock import Deadline
from vmdkvol.errors import TruthUnknown
from vmdkvol.volume import Content, DiskUuid, State, VolumeId
from vmdkvol_esx import sidecar
from vmdkvol_esx.paths import disk_path, disk_ref
from vmdkvol_esx.ports import AttachDisk, CreateDisk, DeleteDisk, DiskPath, DiskRef
from vmdkvol_esx.records import VolumeRecord


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def volume(site: Site) -> VolumeId:
    return site.create("db").id


def scan(site: Site, times: int = 1) -> None:
    for _ in range(times):
        site.housekeeping.scan()


def path_of(site: Site, volume: VolumeId) -> DiskPath:
    return disk_path(site.record(volume))


# --- lost and found ----------------------------------------------------------------------------------------------


def test_a_missing_disk_is_not_lost_at_the_first_sight(site: Site, volume: VolumeId) -> None:
    site.hypervisor.lose(path_of(site, volume))
    scan(site)
    assert site.record(volume).state is State.READY


def test_a_missing_disk_is_lost_at_the_second_sight(site: Site, volume: VolumeId) -> None:
    site.hypervisor.lose(path_of(site, volume))
    scan(site, 2)
    assert site.record(volume).state is State.LOST
    assert "volume lost" in site.log.events("error")


def test_a_lost_disk_that_comes_back_is_ready_again(site: Site, volume: VolumeId) -> None:
    record = site.record(volume)
    site.hypervisor.lose(disk_path(record))
    scan(site, 2)
    site.hypervisor.submit(CreateDisk(disk_ref(record), record.size_bytes, "thin", {}), uuid4())
    scan(site)
    assert site.record(volume).state is State.READY


@pytest.mark.parametrize("trouble", ["unreadable", "damaged", "another-disk"])
def test_what_is_not_positively_absent_is_not_lost(site: Site, volume: VolumeId, trouble: str) -> None:
    path = path_of(site, volume)
    match trouble:
        case "unreadable":
            site.hypervisor.unreadable(DS1)
        case "damaged":
            site.hypervisor.damage(path, "truncated")
        case _:
            site.hypervisor.swap(path, DiskUuid(uuid4()))
    scan(site, 5)
    assert site.record(volume).state is State.READY


def test_a_damaged_disk_is_told_to_the_administrator(site: Site, volume: VolumeId) -> None:
    site.hypervisor.damage(path_of(site, volume), "truncated")
    scan(site)
    assert "disk cannot be used" in site.log.events("error")


def test_seen_between_two_sights_begins_anew(site: Site, volume: VolumeId) -> None:
    record = site.record(volume)
    site.hypervisor.lose(disk_path(record))
    scan(site)
    site.hypervisor.submit(CreateDisk(disk_ref(record), record.size_bytes, "thin", {}), uuid4())
    scan(site)
    site.hypervisor.lose(disk_path(record))
    scan(site)
    assert site.record(volume).state is State.READY


# --- sidecars ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"garbage", b"\0" * 500])
def test_a_damaged_sidecar_is_written_anew(site: Site, volume: VolumeId, content: bytes) -> None:
    site.hypervisor.write_sidecar(path_of(site, volume), content)
    scan(site)
    assert site.copy_of(site.record(volume)) == site.record(volume)


def test_an_older_sidecar_is_written_anew(site: Site, volume: VolumeId) -> None:
    older = site.record(volume)
    site.format(volume)
    site.hypervisor.write_sidecar(disk_path(older), sidecar.encode(older))
    scan(site)
    assert site.copy_of(site.record(volume)).content is Content.FORMATTED


def test_a_newer_sidecar_is_kept_and_told(site: Site, volume: VolumeId) -> None:
    """F40: somebody put an old database back."""
    newer = replace(site.record(volume), generation=99, content=Content.FORMATTING, filesystem_uuid=UUID(int=1))
    site.hypervisor.write_sidecar(disk_path(newer), sidecar.encode(newer))
    scan(site)
    assert site.copy_of(newer) == newer
    assert "sidecar is newer than the record" in site.log.events("error")


def test_exchanged_sidecars_are_written_anew(site: Site, volume: VolumeId) -> None:
    """Also the one that has the higher generation: a rebuild would leave its disk out."""
    first, second = site.record(volume), site.record(site.create("other").id)
    site.hypervisor.write_sidecar(disk_path(first), sidecar.encode(replace(second, generation=99)))
    site.hypervisor.write_sidecar(disk_path(second), sidecar.encode(first))
    scan(site)
    assert (site.copy_of(first), site.copy_of(second)) == (first, second)


def test_a_sidecar_of_an_unknown_volume_is_kept(site: Site, volume: VolumeId) -> None:
    record = site.record(volume)
    stray = sidecar.encode(replace(record, id=VolumeId(uuid4())))
    site.hypervisor.write_sidecar(disk_path(record), stray)
    scan(site)
    assert site.hypervisor.read_sidecar(disk_path(record)) == stray


def test_a_sidecar_of_a_newer_version_is_kept(site: Site, volume: VolumeId) -> None:
    newer = sidecar.encode(site.record(volume)).replace(b'"version": 1', b'"version": 99')
    site.hypervisor.write_sidecar(path_of(site, volume), newer)
    scan(site)
    assert site.hypervisor.read_sidecar(path_of(site, volume)) == newer


def test_an_attach_does_not_make_a_sidecar_old(site: Site, volume: VolumeId) -> None:
    site.attach(volume)
    before = site.hypervisor.read_sidecar(path_of(site, volume))
    scan(site)
    assert site.hypervisor.read_sidecar(path_of(site, volume)) == before


# --- orphans -----------------------------------------------------------------------------------------------------


def test_a_disk_without_a_record_is_told_once_and_never_deleted(site: Site) -> None:
    """I4, F41."""
    orphan = DiskRef(DiskUuid(uuid4()), DiskPath(DS1, "vmdkvol/x/orphan-1.vmdk"))
    site.hypervisor.submit(CreateDisk(orphan, 1 << 20, "thin", {}), uuid4())
    scan(site, 5)
    assert orphan.uuid in site.hypervisor.truth().disks
    assert site.log.events("warning").count("disk without a record") == 1


def test_a_disk_that_cannot_be_read_any_more_when_it_is_told_ends_no_scan(site: Site) -> None:
    orphan = DiskRef(DiskUuid(uuid4()), DiskPath(DS1, "vmdkvol/x/orphan-1.vmdk"))
    site.hypervisor.submit(CreateDisk(orphan, 1 << 20, "thin", {}), uuid4())
    listed = site.hypervisor.disks(DS1)
    site.hypervisor.damage(orphan.path, "its deletion has begun")
    site.hypervisor.disks = lambda datastore: listed  # type: ignore[method-assign]
    scan(site)
    assert "disk without a record" not in site.log.events("warning")

    site.hypervisor.damage(orphan.path, None)
    scan(site)
    assert site.log.events("warning").count("disk without a record") == 1


def test_an_orphan_counts_until_it_is_mended_or_gone(site: Site) -> None:
    orphan = DiskRef(DiskUuid(uuid4()), DiskPath(DS1, "vmdkvol/x/orphan-1.vmdk"))
    site.hypervisor.submit(CreateDisk(orphan, 1 << 20, "thin", {}), uuid4())
    scan(site)
    assert site.housekeeping.strays.count == 1

    site.hypervisor.submit(DeleteDisk(orphan), uuid4())
    scan(site)
    assert site.housekeeping.strays.count == 0


def test_an_orphan_on_a_datastore_that_is_not_listed_now_still_counts(site: Site) -> None:
    orphan = DiskRef(DiskUuid(uuid4()), DiskPath(DS1, "vmdkvol/x/orphan-1.vmdk"))
    site.hypervisor.submit(CreateDisk(orphan, 1 << 20, "thin", {}), uuid4())
    scan(site)

    def unread(datastore: object) -> Any:
        raise TruthUnknown("not listed")

    site.hypervisor.disks = unread  # type: ignore[method-assign]
    scan(site)
    assert site.housekeeping.strays.count == 1


def test_a_disk_of_the_trash_is_no_orphan() -> None:
    site = Site(retention_s=1000.0)
    site.remove(site.create("db").id)
    scan(site)
    assert "disk without a record" not in site.log.events("warning")


# --- the trash ---------------------------------------------------------------------------------------------------


def test_the_trash_is_emptied_when_its_time_is_over() -> None:
    site = Site(retention_s=2000.0)
    site.remove(site.create("db").id)
    scan(site)
    assert len(site.records()) == 1
    site.clock.skip(2001.0)
    scan(site)
    assert not site.records()
    assert not site.hypervisor.truth().disks


def test_a_clock_that_is_set_forward_does_not_empty_the_trash() -> None:
    """F33."""
    site = Site(retention_s=3600.0)
    site.remove(site.create("db").id)
    site.clock.jump(86400.0)
    scan(site)
    assert len(site.hypervisor.truth().disks) == 1


def test_a_clock_that_is_set_back_does_not_empty_the_trash() -> None:
    site = Site(retention_s=3600.0)
    scan(site)
    site.clock.jump(-86400.0)
    site.remove(site.create("db").id)
    scan(site)
    assert len(site.hypervisor.truth().disks) == 1


def test_what_a_clock_that_was_ahead_put_into_the_trash_does_not_stay_for_that_long() -> None:
    """F33: written a day in the future, seen by a process whose clock is right again."""
    site = Site(retention_s=2000.0)
    site.clock.jump(86400.0)
    site.remove(site.create("db").id)
    site.clock.jump(-86400.0)
    site.restart()
    scan(site)
    assert site.records()
    site.clock.skip(2001.0)
    scan(site)
    assert not site.records()


def test_what_an_earlier_process_put_into_the_trash_keeps_its_age() -> None:
    site = Site(retention_s=2000.0)
    site.remove(site.create("db").id)
    site.clock.skip(2001.0)
    site.restart()
    scan(site)
    assert site.records(), "in its first minutes a machine may have a wrong clock"
    site.clock.skip(601.0)
    scan(site)
    assert not site.records()


def test_a_clock_that_is_ahead_when_the_service_begins_does_not_empty_the_trash() -> None:
    """As on a machine that comes up before its time server answers."""
    site = Site(retention_s=3600.0)
    site.remove(site.create("db").id)
    site.clock.jump(86400.0)
    site.restart()
    scan(site)
    site.clock.skip(60.0)
    site.clock.jump(-86400.0)
    site.clock.skip(700.0)
    scan(site)
    assert len(site.hypervisor.truth().disks) == 1
    site.clock.skip(3600.0)
    scan(site)
    assert not site.records()


def test_a_trashed_disk_that_a_vm_has_is_kept(site: Site, volume: VolumeId) -> None:
    site.attach(volume)
    record = site.record(volume)
    site.store.update(replace(record, state=State.TRASHED, trashed_at=0.0), expect=record.generation)
    scan(site, 3)
    assert list(site.hypervisor.truth().holders.values()) == [A]
    assert "disk kept in the trash" in site.log.events("warning")


def test_the_trash_of_an_unreadable_datastore_waits(site: Site, volume: VolumeId) -> None:
    record = site.record(volume)
    site.store.update(replace(record, state=State.TRASHED, trashed_at=0.0), expect=record.generation)
    site.hypervisor.unreadable(DS1)
    scan(site, 3)
    site.hypervisor.unreadable(DS1, unreadable=False)
    scan(site)
    assert not site.records()


def test_what_an_old_database_has_in_the_trash_and_was_taken_out_since_is_kept() -> None:
    """F40: a backup was put back. The copy beside the disk says what was ordered later."""
    site = Site(retention_s=2000.0)
    volume = site.create("db").id
    site.remove(volume)
    old = site.record(volume)
    site.hypervisor.write_sidecar(
        path_of(site, volume),
        sidecar.encode(replace(old, state=State.READY, trashed_at=None, generation=old.generation + 1)),
    )
    site.clock.skip(2001.0)
    site.restart()
    scan(site, 3)
    assert site.record(volume) == old
    assert len(site.hypervisor.truth().disks) == 1


@pytest.mark.parametrize("content", [b"", b"{}"])
def test_the_copy_of_what_is_in_the_trash_is_written_anew(content: bytes) -> None:
    """A rebuild without it would leave the disk out, for ever."""
    site = Site(retention_s=2000.0)
    volume = site.create("db").id
    site.remove(volume)
    site.hypervisor.write_sidecar(path_of(site, volume), content)
    scan(site)
    assert site.copy_of(site.record(volume)) == site.record(volume)


# --- the trash, outside of our folders ---------------------------------------------------------------------------


def moved_and_trashed(site: Site) -> VolumeRecord:
    """A volume whose disk Storage vMotion took out of our folders, in the trash for its whole time."""
    volume = site.create("db").id
    attachment = site.attach(volume)
    site.hypervisor.move(site.record(volume).disk_uuid, DiskPath(DS1, "host-a/host-a_1.vmdk"))
    site.housekeeping.scan()
    site.detach(attachment)
    site.hypervisor.leaves_out_disks = True
    site.remove(volume)
    return site.record(volume)


def restored_since(site: Site, old: VolumeRecord) -> None:
    """What the copy says after the volume was taken out of the trash and used, in a database that was lost since."""
    newer = replace(old, state=State.READY, trashed_at=None, generation=old.generation + 1)
    site.hypervisor.write_sidecar(disk_path(old), sidecar.encode(newer))


def test_what_an_old_database_has_in_the_trash_is_kept_also_where_no_listing_has_it() -> None:
    """F40, F19."""
    site = Site(retention_s=2000.0)
    old = moved_and_trashed(site)
    restored_since(site, old)
    site.clock.skip(2001.0)
    site.restart()
    scan(site, 3)
    assert site.record(old.id) == old
    assert len(site.hypervisor.truth().disks) == 1


def test_the_trash_is_emptied_also_of_what_lies_outside_of_our_folders() -> None:
    site = Site(retention_s=2000.0)
    moved_and_trashed(site)
    scan(site)
    site.clock.skip(2001.0)
    scan(site)
    assert not site.records()
    assert not site.hypervisor.truth().disks


@pytest.mark.parametrize("trouble", ["damaged", "gone", "another-disk"])
def test_a_disk_that_cannot_be_used_any_more_keeps_its_newer_copy_s_word(trouble: str) -> None:
    """One that is damaged may still be saved, and of one that is not there the copy may know where it lies by now."""
    site = Site(retention_s=2000.0)
    old = moved_and_trashed(site)
    restored_since(site, old)
    match trouble:
        case "damaged":
            site.hypervisor.damage(disk_path(old), "truncated")
        case "gone":
            site.hypervisor.lose(disk_path(old))
        case _:
            site.hypervisor.swap(disk_path(old), DiskUuid(uuid4()))
    site.clock.skip(2001.0)
    site.restart()
    scan(site, 3)
    assert len(site.hypervisor.truth().disks) == (0 if trouble == "gone" else 1)
    assert [record.id for record in site.records()] == [old.id]


@pytest.mark.parametrize("outside", [False, True])
def test_a_disk_whose_copy_cannot_be_read_now_stays_in_the_trash(*, outside: bool) -> None:
    """F40: one lost answer must not be what an old database needs to delete a disk."""
    site = Site(retention_s=2000.0)
    old = moved_and_trashed(site)
    site.hypervisor.leaves_out_disks = outside
    restored_since(site, old)
    site.clock.skip(2001.0)
    site.restart()
    site.hypervisor.sidecars_unread = TruthUnknown("503")
    scan(site)
    site.hypervisor.sidecars_unread = None
    scan(site, 2)
    assert site.record(old.id) == old
    assert len(site.hypervisor.truth().disks) == 1


def test_a_disk_that_cannot_be_looked_at_now_stays_in_the_trash() -> None:
    site = Site(retention_s=2000.0)
    old = moved_and_trashed(site)
    restored_since(site, old)
    site.clock.skip(2001.0)
    site.restart()
    look = site.hypervisor.disk

    def unread(ref: DiskRef) -> Any:
        raise TruthUnknown("503")

    site.hypervisor.disk = unread  # type: ignore[method-assign]
    scan(site)
    site.hypervisor.disk = look  # type: ignore[method-assign]
    scan(site, 2)
    assert site.record(old.id) == old
    assert len(site.hypervisor.truth().disks) == 1


@pytest.mark.parametrize("scans", [0, 1])
def test_a_stay_in_the_trash_counts_by_itself_whatever_was_seen_between_two(scans: int) -> None:
    site = Site(retention_s=2000.0)
    trashed = moved_and_trashed(site)
    scan(site)
    site.clock.skip(1600.0)
    site.store.update(replace(trashed, state=State.READY, trashed_at=None), expect=trashed.generation)
    scan(site, scans)
    site.remove(trashed.id)
    site.clock.skip(800.0)
    scan(site)
    assert site.record(trashed.id).state is State.TRASHED


# --- running -----------------------------------------------------------------------------------------------------


def test_what_was_taken_out_of_the_trash_has_its_whole_time_in_it_again() -> None:
    site = Site(retention_s=2000.0)
    volume = site.create("db").id
    site.remove(volume)
    scan(site)
    site.clock.skip(1600.0)
    trashed = site.record(volume)
    site.store.update(replace(trashed, state=State.READY, trashed_at=None), expect=trashed.generation)
    scan(site)
    site.remove(volume)
    site.clock.skip(800.0)

    scan(site)

    assert site.record(volume).state is State.TRASHED


def test_nothing_is_remembered_of_volumes_that_are_gone() -> None:
    """A site makes and removes volumes for years, and the service's memory must not tell."""
    site = Site(retention_s=2000.0)
    for count in range(3):
        site.remove(site.create(f"db{count}").id)
    kept = site.create("kept").id
    scan(site, 2)
    site.clock.skip(4000.0)

    scan(site, 2)

    assert site.store.page(None, None, 10)[0].id == kept
    memory = vars(site.housekeeping)
    kept_of = [memory["_right"], memory["_absent"], vars(memory["_retention"])["_since"]]
    assert [each.keys() - {kept} for each in kept_of] == [set(), set(), set()]


def test_one_volumes_trouble_does_not_stop_the_others(site: Site, volume: VolumeId) -> None:
    other = site.create("other").id
    site.hypervisor.damage(path_of(site, volume), "truncated")
    site.hypervisor.write_sidecar(path_of(site, other), b"")
    scan(site)
    assert site.copy_of(site.record(other)) == site.record(other)


def test_it_scans_by_itself_and_ends_when_told(site: Site, volume: VolumeId) -> None:
    site.hypervisor.write_sidecar(path_of(site, volume), b"")
    site.housekeeping.start()
    deadline = Deadline.after(site.clock, 500.0)
    while not site.hypervisor.read_sidecar(path_of(site, volume)) and not deadline.passed:
        site.clock.sleep(1.0)
    assert site.housekeeping.stop(Deadline.after(site.clock, 500.0))
    assert site.copy_of(site.record(volume)) == site.record(volume)


def test_a_bug_in_one_scan_is_logged_and_the_thread_goes_on(site: Site) -> None:
    def broken() -> None:
        raise RuntimeError("a bug")

    site.hypervisor.datastores = broken  # type: ignore[method-assign, assignment]
    site.housekeeping.start()
    deadline = Deadline.after(site.clock, 1000.0)
    while site.log.events("error").count("scan failed") < 2 and not deadline.passed:
        site.clock.sleep(1.0)
    assert site.housekeeping.stop(Deadline.after(site.clock, 500.0))
    assert site.log.events("error").count("scan failed") >= 2


def test_it_ends_twice(site: Site) -> None:
    assert site.housekeeping.stop(Deadline.after(site.clock, 1.0))
    assert site.housekeeping.stop(Deadline.after(site.clock, 1.0))


def test_a_sidecar_is_not_written_anew_while_work_on_its_volume_is_open(site: Site, volume: VolumeId) -> None:
    """Undone, the work takes its generation back: the sidecar would be newer than the record from then on (F40)."""
    record = site.record(volume)
    raised = replace(record, generation=record.generation + 1, last_vm=B)
    site.verbs.journal.begin(AttachDisk(B, disk_ref(record), "independent_persistent"), raised, B, before=record)
    site.hypervisor.unread(B)
    site.hypervisor.write_sidecar(disk_path(record), b"overwritten by somebody")
    site.housekeeping.scan()
    assert site.store.open_intent(volume) is not None
    site.hypervisor.unread(B, unread=False)

    site.housekeeping.scan()
    site.housekeeping.scan()

    assert site.attach(volume, A).volume == volume
