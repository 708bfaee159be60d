"""An adopted disk is given back and never deleted: by an order, by Docker's remove, by the trash, by a lost database."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from tests.unit.esx.admin_site import AdminSite
from tests.unit.esx.site import DS1, DS2, A, B
from tests.unit.esx.test_adopting import PLACE, adopt, adopted, put
from vmdkvol.admin_errors import NotAdoptable
from vmdkvol.adoption_messages import ReleaseVolume
from vmdkvol.clock import Deadline
from vmdkvol.errors import Conflict, MetadataDamaged, TruthUnknown, VolumeError, VolumeInUse, VolumeNotFound
from vmdkvol.messages import CreateVolume
from vmdkvol.names import DatastoreName, VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.orders import Outcome
from vmdkvol.orphan_messages import ListOrphans
from vmdkvol.volume import Content, State, VolumeId
from vmdkvol.volume_orders import DestroyVolume, DetachVolume, RenameVolume, RestoreVolume, TrashVolume
from vmdkvol_esx import comparing, sidecar
from vmdkvol_esx.paths import adopted_place, copy_path
from vmdkvol_esx.ports import AttachDisk, CloneDisk, DeleteDisk, Disk, DiskPath, DiskRef
from vmdkvol_esx.rebuilding import rebuild
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.store import open_store


@pytest.fixture
def site() -> AdminSite:
    return AdminSite(datastores=(DS1, DS2))


@pytest.fixture
def disk(site: AdminSite) -> DiskRef:
    return put(site)


@pytest.fixture
def volume(site: AdminSite, disk: DiskRef) -> VolumeRecord:
    return adopted(site)


def release(site: AdminSite, volume: str = "db", **more: Any) -> Outcome:
    told: Outcome = site.order(ReleaseVolume(volume=volume, **more))
    return told


def check_given_back(site: AdminSite, disk: DiskRef) -> None:
    """Nothing is left of the volume, and the disk is as it was, of nobody."""
    truth = site.hypervisor.truth()
    assert (site.records(), dict(truth.sidecars), dict(truth.holders)) == ([], {}, {})
    assert list(truth.disks) == [disk.uuid]
    assert site.hypervisor.content(disk.uuid) == "somebody's"
    assert site.order(ListOrphans()).orphans == ()
    assert DeleteDisk not in {type(change) for change in site.hypervisor.submitted}


# --- by an order ---------------------------------------------------------------------------------------------------


def test_a_released_disk_is_nobody_s_and_as_it_was(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    told = release(site)
    assert (told.done, told.subject, told.revision) == (True, str(volume.id), None)
    (step,) = told.plan.steps
    assert (step.verb, step.target, PLACE in (step.after or "")) == ("release-volume", "db", True)
    check_given_back(site, disk)


def test_a_dry_run_releases_nothing_and_says_where_the_disk_lies(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    dry = release(site, dry_run=True)
    assert (dry.done, PLACE in (dry.plan.loses or ""), site.record(volume.id)) == (False, True, volume)
    assert release(site).plan == dry.plan


def test_released_again_there_is_no_such_volume(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    release(site)
    with pytest.raises(VolumeNotFound):
        release(site)


def test_a_released_disk_is_adopted_again_as_another_volume(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    release(site)
    adopt(site, name="again")
    (record,) = site.records()
    assert (record.name, record.id != volume.id, record.disk_uuid) == ("again", True, disk.uuid)
    assert (record.content, record.filesystem_uuid) == (Content.FORMATTED, None)


def test_a_volume_whose_disk_we_made_is_not_released(site: AdminSite) -> None:
    own = site.create("own", datastore="ds1").id
    with pytest.raises(Conflict, match="made by vmdkvol"):
        release(site, "own")
    assert site.record(own).state is State.READY


def test_while_a_machine_uses_it_nothing_is_released(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    site.attach(volume.id, A)
    site.hypervisor.guest_uses(disk.uuid)
    with pytest.raises(VolumeInUse):
        release(site)
    assert site.record(volume.id).state is State.READY
    assert site.copy_of(site.record(volume.id)).id == volume.id


def test_a_dry_run_names_the_machine_that_has_it(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    site.attach(volume.id, A)
    assert [step.verb for step in release(site, dry_run=True).plan.steps] == ["detach-volume", "release-volume"]


def test_a_machine_that_does_not_answer_and_may_have_it_keeps_it(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    site.attach(volume.id, A)
    site.hypervisor.unread(A)
    with pytest.raises(TruthUnknown):
        release(site)
    assert site.record(volume.id).state is State.READY


def test_one_that_is_lost_is_released_too(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    site.hypervisor.lose(disk.path)
    for _ in range(3):
        site.housekeeping.scan()
    assert release(site).done
    assert (site.records(), dict(site.hypervisor.truth().sidecars)) == ([], {})


def lost_and_attached(site: AdminSite, volume: VolumeRecord) -> None:
    """The device list of a machine has a disk that its datastore does not show."""
    site.attach(volume.id, A)
    record = site.record(volume.id)
    site.store.update(replace(record, state=State.LOST), expect=record.generation)


def test_one_that_is_lost_leaves_the_machine_that_has_it_first(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    lost_and_attached(site, volume)
    site.hypervisor.power(A, running=False)
    assert [step.verb for step in release(site).plan.steps] == ["detach-volume", "release-volume"]
    check_given_back(site, disk)


def test_one_that_is_lost_is_not_released_while_a_machine_uses_it(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    lost_and_attached(site, volume)
    site.hypervisor.guest_uses(disk.uuid)
    with pytest.raises(VolumeInUse):
        release(site)
    assert (site.record(volume.id).state, dict(site.hypervisor.truth().holders)) == (State.LOST, {disk.uuid: A})


def test_while_it_is_copied_nothing_is_released(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    """A refusal leaves the second copy where it is: a rebuild would not know the volume."""
    site.hypervisor.takes(CloneDisk, 500.0)
    site.leave(CreateVolume(VolumeRef.parse("copy"), CreateOptions.parse({"clone-from": "db", "datastore": "ds1"})))
    before = dict(site.hypervisor.truth().sidecars)
    with pytest.raises(VolumeInUse, match="being copied"):
        release(site)
    assert (site.record(volume.id), dict(site.hypervisor.truth().sidecars)) == (volume, before)


def test_a_datastore_that_does_not_answer_releases_nothing(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    site.hypervisor.unreadable(DS1)
    with pytest.raises(VolumeError):
        release(site)
    assert site.record(volume.id).state is State.READY


# --- by Docker, through the trash -----------------------------------------------------------------------------------


def test_docker_s_remove_puts_it_into_the_trash_and_it_comes_back(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    site.remove(volume.id)
    record = site.record(volume.id)
    assert (record.state, site.copy_of(record).state) == (State.TRASHED, State.TRASHED)
    site.order(RestoreVolume(volume=str(volume.id)))
    assert (site.record(volume.id).state, site.hypervisor.content(disk.uuid)) == (State.READY, "somebody's")


def test_the_emptied_trash_gives_the_disk_back() -> None:
    site = AdminSite(retention_s=20.0)
    disk = put(site)
    site.remove(adopted(site).id)
    site.housekeeping.scan()
    site.clock.sleep(25.0)
    site.housekeeping.scan()
    check_given_back(site, disk)


def test_what_an_old_database_has_in_the_trash_and_was_taken_out_since_is_not_forgotten() -> None:
    """F40: the copy in our folder says what was ordered later, and is all that still says it."""
    site = AdminSite(retention_s=20.0)
    disk = put(site)
    site.remove(adopted(site).id)
    (old,) = site.records()
    newer = replace(old, state=State.READY, trashed_at=None, generation=old.generation + 1)
    site.hypervisor.write_sidecar(copy_path(old), sidecar.encode(newer))
    site.clock.skip(25.0)
    site.restart()
    for _ in range(3):
        site.housekeeping.scan()
    assert (site.records(), site.copy_of(old), list(site.hypervisor.truth().disks)) == ([old], newer, [disk.uuid])


def test_one_that_a_killed_restore_left_in_the_trash_has_its_whole_time_again() -> None:
    site = AdminSite(retention_s=20.0)
    put(site)
    site.remove(adopted(site).id)
    (record,) = site.records()
    site.hypervisor.write_sidecar(copy_path(record), sidecar.encode(replace(record, state=State.READY, trashed_at=None)))
    site.clock.skip(25.0)
    site.restart()
    site.housekeeping.scan()
    assert (site.records(), site.copy_of(record)) == ([record], record)


def test_without_a_trash_docker_s_remove_gives_the_disk_back(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    site.verbs.removing.retention_s = 0.0
    site.remove(volume.id)
    check_given_back(site, disk)
    # Docker asks again.
    site.remove(volume.id)


def test_without_a_trash_the_plan_says_that_the_disk_stays(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    site.verbs.removing.retention_s = 0.0
    dry = site.order(TrashVolume(volume="db", dry_run=True))
    assert (dry.plan.loses, PLACE in dry.plan.steps[-1].after) == (None, True)
    site.order(TrashVolume(volume="db"))
    check_given_back(site, disk)


def test_destroyed_for_good_the_disk_stays(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    site.remove(volume.id)
    told = site.order(DestroyVolume(volume=str(volume.id), i_know="db"))
    assert f"whose disk stays at {PLACE}" in told.plan.loses
    check_given_back(site, disk)


def test_one_in_the_trash_is_released(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    site.remove(volume.id)
    assert release(site).done
    check_given_back(site, disk)


def test_a_clone_of_an_adopted_volume_is_ours(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    site.create("copy", clone_from="db", datastore="ds1")
    copy = next(record for record in site.records() if record.name == "copy")
    assert (copy.adopted, copy.path.startswith("vmdkvol/"), copy.options.layout) == ("", True, "root")
    assert (copy.content, site.attach(copy.id).keep_uuid) == (Content.FORMATTED, False)


def test_a_renamed_one_keeps_its_copy_and_is_released(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    site.order(RenameVolume(volume="db", new_name="db2"))
    assert list(site.hypervisor.truth().sidecars) == [copy_path(volume)]
    release(site, "db2")
    check_given_back(site, disk)


def test_what_was_taken_by_force_is_checked_and_keeps_its_uuid(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    site.attach(volume.id, A)
    site.order(DetachVolume(volume="db", force=True, i_know="host-a"))
    attachment = site.attach(volume.id, B)
    assert (attachment.filesystem_uuid, attachment.keep_uuid) == (None, True)


# --- after a lost database -------------------------------------------------------------------------------------------


def test_a_rebuild_brings_an_adopted_volume_back(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    store = open_store(None, site.clock)
    rebuilt = rebuild(store, site.hypervisor, site.log, site.clock.wall())
    (record,) = rebuilt.restored
    assert (record.id, record.name, record.path, record.adopted) == (volume.id, "db", "theirs/x.vmdk", PLACE)
    assert (record.state, record.content, rebuilt.left_out) == (State.READY, Content.FORMATTED, ())


def test_a_rebuild_brings_one_in_the_trash_back_into_the_trash(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    site.remove(volume.id)
    (record,) = rebuild(open_store(None, site.clock), site.hypervisor, site.log, site.clock.wall()).restored
    assert (record.state, record.adopted) == (State.TRASHED, PLACE)


def test_a_rebuild_does_not_bring_a_released_one_back(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    release(site)
    rebuilt = rebuild(open_store(None, site.clock), site.hypervisor, site.log, site.clock.wall())
    assert (rebuilt.restored, rebuilt.left_out) == ((), ())


def test_a_rebuild_keeps_the_name_of_one_whose_disk_is_away(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    site.hypervisor.lose(disk.path)
    (record,) = rebuild(open_store(None, site.clock), site.hypervisor, site.log, site.clock.wall()).restored
    assert (record.name, record.path) == ("db", "theirs/x.vmdk")


def test_a_rebuild_keeps_the_name_of_one_with_another_disk_in_its_place(
    site: AdminSite, disk: DiskRef, volume: VolumeRecord
) -> None:
    """I6: Docker would forget a volume that there is not. What lies there is not attached for it."""
    site.hypervisor.lose(disk.path)
    stranger = put(site)
    store = open_store(None, site.clock)
    (record,) = rebuild(store, site.hypervisor, site.log, site.clock.wall()).restored
    assert (record.name, record.disk_uuid) == ("db", disk.uuid)
    site.store = store
    site.restart()
    for _ in range(3):
        site.housekeeping.scan()
    assert site.record(volume.id).state is State.READY
    with pytest.raises(VolumeError):
        site.attach(volume.id, A)
    assert (dict(site.hypervisor.truth().holders), site.hypervisor.content(stranger.uuid)) == ({}, "somebody's")


def test_a_rebuild_does_not_believe_a_copy_in_the_wrong_place(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    content = site.hypervisor.read_sidecar(copy_path(volume))
    site.hypervisor.write_sidecar(copy_path(volume), None)
    site.hypervisor.lose(disk.path)
    site.hypervisor.write_sidecar(adopted_place(DS1, VolumeId(uuid4())), content)
    assert rebuild(open_store(None, site.clock), site.hypervisor, site.log, site.clock.wall()).restored == ()


# --- after an old database was put back ------------------------------------------------------------------------------


def put_back(site: AdminSite, volume: VolumeRecord) -> VolumeRecord:
    """The volume was released and its disk adopted anew; a database that knows the first is put back. Return the second."""
    release(site)
    site.clock.sleep(1.0)
    adopt(site, name="anew")
    (later,) = site.records()
    site.store.delete(later.id, expect=later.generation)
    site.store.restore(volume)
    site.restart()
    return later


def test_f40_a_disk_that_was_adopted_anew_is_not_the_former_volume_s(
    site: AdminSite, disk: DiskRef, volume: VolumeRecord
) -> None:
    """T5: the later one may be another vmgroup's, and so is its name, which the refusal does not tell."""
    later = put_back(site, volume)
    for _ in range(2):
        site.housekeeping.scan()
    with pytest.raises(MetadataDamaged, match=r"adopted anew: an old database was put back.*vmdkvol-esxd rebuild") as refused:
        site.attach(volume.id, A)
    assert str(later.id) not in str(refused.value)
    assert list(site.hypervisor.truth().sidecars) == [copy_path(later)]
    assert site.log.events("error").count("adopted anew as another volume") == 1


def test_f40_in_the_trash_of_an_old_database_it_is_kept_too(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    later = put_back(site, replace(volume, state=State.TRASHED, trashed_at=0.0))
    site.housekeeping.scan()
    assert ([each.id for each in site.records()], site.copy_of(later)) == ([volume.id], later)


def test_f40_a_clock_that_was_set_back_does_not_let_the_later_copy_be_removed(
    site: AdminSite, disk: DiskRef, volume: VolumeRecord
) -> None:
    later = put_back(site, volume)
    site.hypervisor.write_sidecar(copy_path(later), sidecar.encode(replace(later, created_at=0.0)))
    (told,) = site.order(ListOrphans()).orphans
    assert (told.where, told.actions) == (str(copy_path(later)), ())


def test_f40_the_copy_of_the_later_volume_cannot_be_removed(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    later = put_back(site, volume)
    (told,) = site.order(ListOrphans()).orphans
    assert (told.where, told.actions, told.command) == (str(copy_path(later)), (), "")
    assert "an old database was put back" in told.detail


@pytest.mark.parametrize("back_s", [0.0, 3600.0])
def test_f40_a_clock_that_was_set_back_does_not_hide_the_later_volume(
    site: AdminSite, disk: DiskRef, volume: VolumeRecord, back_s: float
) -> None:
    later = put_back(site, volume)
    site.hypervisor.write_sidecar(copy_path(later), sidecar.encode(replace(later, created_at=volume.created_at - back_s)))
    with pytest.raises(MetadataDamaged, match="adopted anew"):
        site.attach(volume.id, A)


def moved_with_its_copy(site: AdminSite, later: VolumeRecord) -> None:
    """As after a machine that had the later volume's disk was moved to another datastore."""
    moved = replace(later, datastore=DS2)
    site.hypervisor.write_sidecar(copy_path(moved), sidecar.encode(moved))
    site.hypervisor.write_sidecar(copy_path(later), None)


def test_f40_the_later_volume_is_found_on_every_datastore(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    moved_with_its_copy(site, put_back(site, volume))
    with pytest.raises(MetadataDamaged, match="adopted anew"):
        site.attach(volume.id, A)


def test_f40_a_disk_whose_record_lies_on_another_datastore_is_not_adopted(
    site: AdminSite, disk: DiskRef, volume: VolumeRecord
) -> None:
    later = put_back(site, volume)
    moved_with_its_copy(site, later)
    site.store.delete(volume.id, expect=volume.generation)
    with pytest.raises(NotAdoptable, match=r"a record at \[ds2\].*says that it is volume anew"):
        adopt(site, name="third")


def test_f40_another_datastore_that_cannot_be_read_stands_in_nobody_s_way(
    site: AdminSite, disk: DiskRef, volume: VolumeRecord
) -> None:
    """It may be gone for good, and an adopted disk has nothing to do with it in nearly every case."""
    site.hypervisor.write_sidecar(copy_path(volume), None)
    site.hypervisor.unreadable(DS2)
    site.restart()
    assert site.attach(volume.id, A).volume == volume.id


def test_a_damaged_copy_of_whatever_is_no_doubt(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    site.hypervisor.write_sidecar(adopted_place(DS1, VolumeId(uuid4())), b"{}")
    site.hypervisor.write_sidecar(copy_path(volume), None)
    site.restart()
    site.housekeeping.scan()
    assert (site.copy_of(volume), site.attach(volume.id, A).volume) == (volume, volume.id)


def written_by_a_newer_version(record: VolumeRecord) -> bytes:
    return json.dumps({**json.loads(sidecar.encode(record)), "version": sidecar.VERSION + 1}).encode()


def test_f40_a_copy_that_a_newer_version_wrote_may_be_of_this_disk(
    site: AdminSite, disk: DiskRef, volume: VolumeRecord
) -> None:
    later = put_back(site, volume)
    site.hypervisor.write_sidecar(copy_path(later), written_by_a_newer_version(later))
    where = re.escape(str(copy_path(later)))
    with pytest.raises(MetadataDamaged, match=rf"may have become another.*newer version.*the copy at {where}; upgrade the"):
        site.attach(volume.id, A)
    site.store.delete(volume.id, expect=volume.generation)
    with pytest.raises(NotAdoptable, match=r"may be a volume already.*upgrade the service"):
        adopt(site, name="third")


def test_f40_the_copy_of_another_volume_puts_this_one_in_no_doubt(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    """Once it is upgraded, or taken away, the volume is as before: nothing was ever found against its own record."""
    other = replace(volume, id=VolumeId(uuid4()))
    site.hypervisor.write_sidecar(copy_path(volume), None)
    site.hypervisor.write_sidecar(copy_path(other), written_by_a_newer_version(other))
    site.restart()
    site.housekeeping.scan()
    assert site.hypervisor.read_sidecar(copy_path(volume)) is None
    site.hypervisor.write_sidecar(copy_path(other), None)
    assert site.attach(volume.id, A).volume == volume.id


def test_an_attach_does_not_search_other_copies_for_ever(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    site.hypervisor.write_sidecar(copy_path(volume), None)
    site.restart()
    traces = site.hypervisor.traces

    def slowly(datastore: DatastoreName) -> Sequence[DiskPath]:
        site.clock.skip(comparing.SEARCH_S)
        return traces(datastore)

    site.hypervisor.traces = slowly  # type: ignore[method-assign]
    with pytest.raises(TruthUnknown, match=r"could not all be looked at in time; try again"):
        site.attach(volume.id, A)
    site.housekeeping.scan()
    assert site.attach(volume.id, A).volume == volume.id


def test_f40_what_cannot_be_read_of_other_copies_writes_none(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    later = put_back(site, volume)
    read = site.hypervisor.read_sidecar

    def partly(disk: DiskPath) -> bytes | None:
        if disk == copy_path(later):
            raise TruthUnknown("503")
        return read(disk)

    site.hypervisor.read_sidecar = partly  # type: ignore[method-assign]
    site.housekeeping.scan()
    assert list(site.hypervisor.truth().sidecars) == [copy_path(later)]


def test_nothing_ever_deletes_it(site: AdminSite, disk: DiskRef, volume: VolumeRecord) -> None:
    """Should all else fail: the one place where files of volumes are deleted does not take it."""
    site.verbs.removing.destroy(site.record(volume.id), Deadline.after(site.clock, 60.0))
    check_given_back(site, disk)


def rebuilt(site: AdminSite) -> list[VolumeId]:
    store = open_store(None, site.clock)
    return [record.id for record in rebuild(store, site.hypervisor, site.log, 1.0).restored]


def test_an_adopted_disk_that_is_damaged_keeps_its_record_in_a_rebuild(
    site: AdminSite, disk: DiskRef, volume: VolumeRecord
) -> None:
    site.hypervisor.damage(disk.path, "it is cut off")
    assert rebuilt(site) == [volume.id]


def locked(ref: DiskRef) -> Disk | None:
    """As vSphere: who has a disk has its file, so that the disk does not tell who it is."""
    raise TruthUnknown(f"{ref.path} is locked")


def test_an_adopted_disk_that_a_machine_has_is_known_by_its_list_in_a_rebuild(
    site: AdminSite, disk: DiskRef, volume: VolumeRecord
) -> None:
    site.hypervisor.disk = locked  # type: ignore[method-assign]
    with pytest.raises(TruthUnknown):
        rebuilt(site)
    site.hypervisor.submit(AttachDisk(A, disk, "persistent"), uuid4())
    assert rebuilt(site) == [volume.id]
