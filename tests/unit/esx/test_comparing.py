"""F40: an old database was put back. Until a scan has come to a volume, whatever is about to change it reads its copy first."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from tests.unit.esx.admin_site import AdminSite
from tests.unit.esx.site import DS1, GB, A
from vmdkvol.errors import MetadataDamaged, NoSpace, TruthUnknown
from vmdkvol.messages import Detach, Mark
from vmdkvol.orders import Outcome
from vmdkvol.vmgroup_messages import CreateVmgroup
from vmdkvol.volume import Content, State, VmgroupId, VolumeId
from vmdkvol.volume_orders import DestroyVolume, DetachVolume, MoveVolume, RenameVolume, RestoreVolume, SetVolume, TrashVolume
from vmdkvol_esx import sidecar
from vmdkvol_esx.paths import copy_path, disk_path, disk_ref
from vmdkvol_esx.ports import AttachDisk, ChangePolicy, CreateDisk, DeleteDisk, DetachDisk, DiskPath
from vmdkvol_esx.ports import Change as DiskChange
from vmdkvol_esx.records import Intent, VolumeRecord

Change = Callable[[AdminSite, VolumeRecord], object]


@pytest.fixture
def site() -> AdminSite:
    site = AdminSite()
    site.order(CreateVmgroup(name="shop", default_datastore="ds1"))
    return site


@pytest.fixture
def old(site: AdminSite) -> VolumeRecord:
    """A record of before the volume was formatted; this process has not scanned yet."""
    volume = site.create("db").id
    record = site.record(volume)
    put_back(site, record, site.format(volume))
    return site.record(volume)


def put_back(site: AdminSite, record: VolumeRecord, filesystem_uuid: UUID) -> None:
    newer = replace(site.record(record.id), filesystem_uuid=filesystem_uuid)
    site.hypervisor.write_sidecar(copy_path(newer), sidecar.encode(newer))
    site.store.delete(record.id, expect=newer.generation)
    site.store.restore(record)
    site.restart()


def newer_version(record: VolumeRecord) -> bytes:
    return json.dumps({**json.loads(sidecar.encode(record)), "version": sidecar.VERSION + 1}).encode()


CHANGES: list[object] = [
    pytest.param(lambda site, old: site.attach(old.id), id="attach"),
    pytest.param(lambda site, old: site.remove(old.id), id="remove"),
    pytest.param(lambda site, old: site.create("copy", A, clone_from="db"), id="clone"),
    pytest.param(lambda site, old: site.ask(Mark(old.id, old.generation, Content.FORMATTING, UUID(int=3))), id="mark"),
    pytest.param(lambda site, old: site.resize(old.id, 200 * GB // 2), id="resize"),
    pytest.param(lambda site, old: site.order(TrashVolume(volume="db")), id="trash"),
    pytest.param(lambda site, old: site.order(RenameVolume(volume="db", new_name="new")), id="rename"),
    pytest.param(lambda site, old: site.order(MoveVolume(volume="db", to_vmgroup="shop")), id="move"),
    pytest.param(lambda site, old: site.order(SetVolume(volume="db", options=(("label", "a=b"),))), id="set"),
    pytest.param(lambda site, old: site.order(DetachVolume(volume="db", force=True, i_know="db")), id="force"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_before_the_first_scan_an_older_record_is_changed_by_nobody(site: AdminSite, old: VolumeRecord, change: Change) -> None:
    before = site.records(), site.hypervisor.truth()
    with pytest.raises(MetadataDamaged, match=r"is older than its sidecar.*vmdkvol-esxd rebuild"):
        change(site, old)
    assert (site.records(), site.hypervisor.truth()) == before


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_newer_version_wrote_is_believed_to_say_more(site: AdminSite, change: Change) -> None:
    record = site.record(site.create("db").id)
    site.hypervisor.write_sidecar(copy_path(record), newer_version(record))
    site.restart()
    before = site.records(), site.hypervisor.truth()
    with pytest.raises(MetadataDamaged, match=r"a newer version of the service wrote.*upgrade the service"):
        change(site, record)
    assert (site.records(), site.hypervisor.truth()) == before


@pytest.mark.parametrize("change", [case for case in CHANGES if case.id != "force"])  # type: ignore[attr-defined]
def test_a_copy_that_cannot_be_read_is_no_permission(site: AdminSite, old: VolumeRecord, change: Change) -> None:
    site.hypervisor.sidecars_unread = TruthUnknown("503")
    before = site.records(), site.hypervisor.truth()
    with pytest.raises(TruthUnknown, match="503"):
        change(site, old)
    assert (site.records(), site.hypervisor.truth()) == before


def test_a_disk_is_taken_by_force_though_its_copy_cannot_be_read_which_stays_as_it_is(site: AdminSite) -> None:
    """A datastore that does not answer is when somebody orders that."""
    volume = site.create("db").id
    site.attach(volume, A)
    newer = replace(site.record(volume), generation=99)
    site.hypervisor.write_sidecar(copy_path(newer), sidecar.encode(newer))
    site.restart()
    site.hypervisor.sidecars_unread = TruthUnknown("503")
    del site.agents[A]
    told = site.order(DetachVolume(volume="db", force=True, i_know="host-a"))
    site.hypervisor.sidecars_unread = None
    assert isinstance(told, Outcome)
    assert (dict(site.hypervisor.truth().holders), site.copy_of(newer)) == ({}, newer)


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_a_damaged_copy_stands_in_nobody_s_way(site: AdminSite, content: bytes) -> None:
    record = site.record(site.create("db").id)
    site.hypervisor.write_sidecar(disk_path(record), content)
    site.restart()
    assert site.attach(record.id).volume == record.id


def test_where_there_is_no_copy_nothing_is_newer(site: AdminSite) -> None:
    site.hypervisor.sidecars_fail = NoSpace("full")
    volume = site.create("db").id
    site.hypervisor.sidecars_fail = None
    site.restart()
    assert site.hypervisor.read_sidecar(disk_path(site.record(volume))) is None
    assert site.attach(volume).volume == volume


def test_a_volume_is_compared_once_and_not_at_each_attach(site: AdminSite) -> None:
    volume = site.create("db").id
    site.restart()
    site.detach(site.attach(volume))
    site.hypervisor.sidecars_unread = TruthUnknown("503")
    assert site.attach(volume)


def test_what_a_scan_has_compared_is_not_read_again(site: AdminSite) -> None:
    volume = site.create("db").id
    site.restart()
    site.housekeeping.scan()
    site.hypervisor.sidecars_unread = TruthUnknown("503")
    assert site.attach(volume)


def test_a_new_volume_has_nothing_to_be_compared_with(site: AdminSite) -> None:
    volume = site.create("db").id
    site.hypervisor.sidecars_unread = TruthUnknown("503")
    assert site.attach(volume)


def test_a_detach_ends_no_doubt(site: AdminSite) -> None:
    volume = site.create("db").id
    old = site.record(volume)
    site.hypervisor.submit(AttachDisk(A, disk_ref(old), "persistent"), uuid4())
    newer = replace(old, generation=old.generation + 1, vmgroup=VmgroupId(UUID(int=77)))
    site.hypervisor.write_sidecar(copy_path(old), sidecar.encode(newer))
    site.restart()

    site.ask(Detach(volume, old.generation), A)

    assert site.record(volume).generation == newer.generation
    for _ in range(3):
        site.housekeeping.scan()
    with pytest.raises(MetadataDamaged, match="is older than its sidecar"):
        site.attach(volume)
    kept = site.hypervisor.read_sidecar(copy_path(old))
    assert kept is not None
    assert sidecar.decode(kept).vmgroup == UUID(int=77)


def test_a_disk_is_given_back_though_its_copy_cannot_be_read(site: AdminSite) -> None:
    volume = site.create("db").id
    attachment = site.attach(volume)
    site.restart()
    site.hypervisor.sidecars_unread = TruthUnknown("503")

    site.detach(attachment)

    assert dict(site.hypervisor.truth().holders) == {}


def test_the_doubt_ends_with_its_reason(site: AdminSite, old: VolumeRecord) -> None:
    with pytest.raises(MetadataDamaged):
        site.attach(old.id)
    site.hypervisor.write_sidecar(copy_path(old), sidecar.encode(old))
    site.housekeeping.scan()
    assert site.attach(old.id)


def test_a_disk_that_was_moved_is_followed_and_its_newer_copy_stays(site: AdminSite, old: VolumeRecord) -> None:
    """F19: the look at the machines comes before the look at the copies."""
    newer = site.copy_of(old)
    site.hypervisor.submit(AttachDisk(A, disk_ref(old), "persistent"), uuid4())
    there = DiskPath(DS1, "host-a/host-a_1.vmdk")
    site.hypervisor.move(old.disk_uuid, there)
    moved = replace(newer, datastore=there.datastore, path=there.path)
    site.hypervisor.write_sidecar(there, sidecar.encode(moved))
    site.housekeeping.scan()
    assert (disk_path(site.record(old.id)), site.copy_of(moved)) == (there, moved)


# --- work that an old database has open -------------------------------------------------------------------------------


def opened(site: AdminSite, record: VolumeRecord, change: DiskChange, before: VolumeRecord | None) -> None:
    """The database that was put back had this work open; a start settles it."""
    newest = site.record(record.id)
    site.store.delete(record.id, expect=newest.generation)
    if before is not None:
        site.store.restore(before)
    site.store.begin(Intent(uuid4(), record.id, change, A, site.clock.wall(), before=before), record)
    site.restart()


def test_a_deletion_that_an_old_database_had_begun_does_not_delete_what_was_restored_since(site: AdminSite) -> None:
    volume = site.create("db").id
    site.format(volume)
    site.remove(volume)
    trashed = site.record(volume)
    site.order(RestoreVolume(volume=str(volume)))
    removing = replace(trashed, state=State.REMOVING, generation=trashed.generation + 1)
    opened(site, removing, DeleteDisk(disk_ref(trashed)), trashed)
    site.housekeeping.scan()
    assert list(site.hypervisor.truth().disks) == [trashed.disk_uuid]
    with pytest.raises(MetadataDamaged):
        site.order(DestroyVolume(volume=str(volume), i_know="db"))


def test_a_create_that_an_old_database_had_begun_is_not_undone_once_it_has_data(site: AdminSite) -> None:
    """Its disk has grown since, and so looks as if it had been cut off when it was made."""
    volume = site.create("db", A, size="1gb").id
    made = site.record(volume)
    site.format(volume)
    site.resize(volume, 2 * GB)
    change = CreateDisk(disk_ref(made), made.size_bytes, "thin", {})
    opened(site, replace(made, state=State.PREPARING, generation=1), change, None)
    site.housekeeping.scan()
    assert list(site.hypervisor.truth().disks) == [made.disk_uuid]


def test_a_detach_that_an_old_database_had_begun_takes_no_disk_off_a_machine_that_runs(site: AdminSite) -> None:
    """The machine has it anew, and mounted."""
    volume = site.create("db").id
    attached = site.attach(volume, A)
    before = site.record(volume)
    newer = replace(before, generation=before.generation + 7)
    site.hypervisor.write_sidecar(copy_path(newer), sidecar.encode(newer))
    raised = replace(before, generation=before.generation + 1)
    opened(site, raised, DetachDisk(A, disk_ref(before)), before)
    site.housekeeping.scan()
    assert dict(site.hypervisor.truth().holders) == {attached.disk_uuid: A}
    with pytest.raises(MetadataDamaged, match="is older than its sidecar"):
        site.attach(volume, A)


def test_a_policy_that_an_old_database_had_begun_to_lay_on_is_not_sent_again(site: AdminSite) -> None:
    site.hypervisor.policies = ["gold"]
    volume = site.create("db").id
    site.attach(volume, A)
    before = site.record(volume)
    newer = replace(before, generation=before.generation + 7)
    site.hypervisor.write_sidecar(copy_path(newer), sidecar.encode(newer))
    raised = replace(before, generation=before.generation + 1)
    sent = len(site.hypervisor.submitted)
    opened(site, raised, ChangePolicy(disk_ref(before), "gold", A), before)
    site.housekeeping.scan()
    assert site.hypervisor.submitted[sent:] == []


def test_work_that_goes_on_waits_until_its_copy_can_be_read(site: AdminSite) -> None:
    volume = site.create("db").id
    attached = site.attach(volume, A)
    before = site.record(volume)
    raised = replace(before, generation=before.generation + 1)
    site.hypervisor.sidecars_unread = TruthUnknown("503")
    opened(site, raised, DetachDisk(A, disk_ref(before)), before)
    site.housekeeping.scan()
    assert dict(site.hypervisor.truth().holders) == {attached.disk_uuid: A}
    site.hypervisor.sidecars_unread = None
    site.housekeeping.scan()
    assert (dict(site.hypervisor.truth().holders), list(site.store.open_intents())) == ({}, [])


# --- the trash --------------------------------------------------------------------------------------------------------


def test_the_trash_keeps_what_a_newer_version_says_more_of() -> None:
    site = AdminSite(retention_s=100.0)
    record = site.record(site.create("db").id)
    site.remove(record.id)
    trashed = site.record(record.id)
    site.hypervisor.write_sidecar(copy_path(trashed), newer_version(trashed))
    site.clock.skip(101.0)
    site.restart()
    for _ in range(3):
        site.housekeeping.scan()
    assert (site.records(), list(site.hypervisor.truth().disks)) == ([trashed], [record.disk_uuid])
    with pytest.raises(MetadataDamaged, match="upgrade the service"):
        site.order(DestroyVolume(volume=str(record.id), i_know="db"))


def test_what_is_known_of_volumes_that_are_gone_is_forgotten(site: AdminSite) -> None:
    doubts, gone = site.verbs.parts.doubts, VolumeId(uuid4())
    doubts.compared(gone)
    site.housekeeping.scan()
    assert not doubts.is_compared(gone)


# --- a record of the minute in which the disk was formatted -------------------------------------------------------


def formatting(site: AdminSite) -> tuple[VolumeRecord, VolumeId]:
    """Return the record as a backup of the database has it that was made while the file system was; it is made since."""
    volume, uuid = site.create("db").id, uuid4()
    attachment = site.attach(volume)
    site.ask(Mark(volume, attachment.generation, Content.FORMATTING, uuid))
    old = site.record(volume)
    site.ask(Mark(volume, attachment.generation, Content.FORMATTED, uuid))
    site.detach(attachment)
    return old, volume


def test_a_backup_of_the_minute_of_the_first_mount_blanks_nothing(site: AdminSite) -> None:
    """I1, F40: that a disk is formatted raises no generation. The agent would blank a file system of the UUID on record."""
    old, volume = formatting(site)
    site.store.delete(volume, expect=site.record(volume).generation)
    site.store.restore(old)
    site.restart()

    with pytest.raises(MetadataDamaged, match=r"is formatting, and its sidecar that it has data.*vmdkvol-esxd rebuild"):
        site.attach(volume)
    for _ in range(3):
        site.housekeeping.scan()

    assert site.copy_of(old).content is Content.FORMATTED
    with pytest.raises(MetadataDamaged, match="its sidecar that it has data"):
        site.attach(volume)


def test_that_doubt_outlasts_detaches_too(site: AdminSite) -> None:
    old, volume = formatting(site)
    site.store.delete(volume, expect=site.record(volume).generation)
    site.store.restore(old)
    site.hypervisor.submit(AttachDisk(A, disk_ref(old), "persistent"), uuid4())
    site.restart()
    site.ask(Detach(volume, old.generation), A)
    site.housekeeping.scan()
    with pytest.raises(MetadataDamaged, match="its sidecar that it has data"):
        site.attach(volume)


def test_a_scan_between_two_words_of_a_first_mount_doubts_nothing(site: AdminSite) -> None:
    volume, uuid = site.create("db").id, uuid4()
    attachment = site.attach(volume)
    for content in (Content.FORMATTING, Content.FORMATTED):
        site.ask(Mark(volume, attachment.generation, content, uuid))
        site.restart()
        site.housekeeping.scan()
    site.detach(attachment)
    assert site.attach(volume).content is Content.FORMATTED
