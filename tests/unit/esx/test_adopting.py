"""A disk of somebody's becomes a volume where it lies: a record of it and nothing else, and never formatted, never deleted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.unit.esx.admin_site import AdminSite
from tests.unit.esx.site import DS1, DS2, GB, A, B
from vmdkvol.admin_errors import NotAdoptable, VmgroupNotFound
from vmdkvol.adoption_messages import AdoptDisk, ReleaseVolume
from vmdkvol.clock import Deadline
from vmdkvol.errors import (
    BadRequest,
    Conflict,
    DatastoreNotFound,
    InvalidOption,
    NameConflict,
    NotFound,
    NotPermitted,
    QuotaExceeded,
    TruthUnknown,
    VolumeError,
    VolumeInUse,
    VolumeNotFound,
)
from vmdkvol.messages import Attach, Call, Detach, Request
from vmdkvol.orders import Outcome
from vmdkvol.orphan_messages import ListOrphans, Mending, MendOrphan, Orphans
from vmdkvol.site_messages import CordonDatastore
from vmdkvol.vmgroup_messages import CreateVmgroup, SetRight
from vmdkvol.volume import DEFAULT_VMGROUP, Content, State, VolumeId, new_disk_uuid
from vmdkvol.volume_orders import InspectVolume
from vmdkvol_esx import sidecar
from vmdkvol_esx.paths import copy_path, disk_path
from vmdkvol_esx.ports import AttachDisk, CreateDisk, Disk, DiskPath, DiskRef
from vmdkvol_esx.records import VolumeRecord

PLACE = "[ds1] theirs/x.vmdk"


@pytest.fixture
def site() -> AdminSite:
    return AdminSite(datastores=(DS1, DS2))


def put(site: AdminSite, path: str = "theirs/x.vmdk", size: int = GB) -> DiskRef:
    """A disk with data that somebody else made."""
    ref = DiskRef(new_disk_uuid(uuid4()), DiskPath(DS1, path))
    site.hypervisor.submit(CreateDisk(ref, size, "thin", {}), uuid4())
    site.hypervisor.put_content(ref.uuid, "somebody's")
    return ref


@pytest.fixture
def disk(site: AdminSite) -> DiskRef:
    return put(site)


def adopt(site: AdminSite, place: str = PLACE, name: str = "db", vmgroup: str = "_DEFAULT", **more: Any) -> Outcome:
    told: Outcome = site.order(AdoptDisk(disk=place, vmgroup=vmgroup, name=name, **more))
    return told


def adopted(site: AdminSite, **more: Any) -> VolumeRecord:
    adopt(site, **more)
    (record,) = site.records()
    return record


def adopted_by(site: AdminSite, vmgroup: str) -> VolumeRecord:
    told = adopt(site, vmgroup=vmgroup)
    return site.record(VolumeId(UUID(told.subject)))


def ask_as(site: AdminSite, version: int, request: Request[Any]) -> Any:
    """Ask as an agent of ``A`` that speaks this version of the protocol."""
    return site.requests.answer(request, Call(uuid4(), Deadline.after(site.clock, 1000.0), A, version=version))


# --- what comes of it ----------------------------------------------------------------------------------------------


def test_an_adopted_disk_is_a_volume_where_it_lies(site: AdminSite, disk: DiskRef) -> None:
    told = adopt(site)
    (record,) = site.records()
    assert (told.done, told.subject, told.revision) == (True, str(record.id), record.generation)
    assert (record.name, record.path, record.disk_uuid, record.size_bytes) == ("db", "theirs/x.vmdk", disk.uuid, GB)
    assert (record.state, record.adopted) == (State.READY, PLACE)
    assert site.get("db").id == record.id


def test_what_is_on_it_counts_as_somebody_s_from_the_first_moment_on(site: AdminSite, disk: DiskRef) -> None:
    record = adopted(site)
    assert (record.content, record.filesystem_uuid, record.options.layout) == (Content.FORMATTED, None, "root")
    attachment = site.attach(record.id)
    assert (attachment.content, attachment.filesystem_uuid, attachment.keep_uuid) == (Content.FORMATTED, None, True)
    assert attachment.disk_uuid == disk.uuid


def test_an_agent_that_would_write_a_uuid_of_its_own_gets_no_adopted_disk(site: AdminSite, disk: DiskRef) -> None:
    record = adopted(site)
    with pytest.raises(Conflict, match="upgrade the agent"):
        ask_as(site, 4, Attach(record.id))
    assert (dict(site.hypervisor.truth().holders), site.record(record.id)) == ({}, record)
    assert ask_as(site, 5, Attach(record.id)).keep_uuid


def test_an_old_agent_gets_no_adopted_disk_that_its_machine_has_already(site: AdminSite, disk: DiskRef) -> None:
    attachment = site.attach(adopted(site).id)
    with pytest.raises(Conflict):
        ask_as(site, 4, Attach(attachment.volume))
    # What it has it hears of, and gives it back.
    ask_as(site, 4, Detach(attachment.volume, attachment.generation))
    assert dict(site.hypervisor.truth().holders) == {}


def test_an_old_agent_gets_what_is_ours_and_hears_nothing_of_anothers(site: AdminSite, disk: DiskRef) -> None:
    ask_as(site, 1, Attach(site.create("own", datastore="ds1").id))
    site.order(CreateVmgroup(name="far", default_datastore="ds1"))
    with pytest.raises(VolumeNotFound):
        ask_as(site, 4, Attach(adopted_by(site, "far").id))


def test_a_volume_of_ours_has_no_uuid_to_keep(site: AdminSite) -> None:
    assert not site.attach(site.create("own", datastore="ds1").id).keep_uuid


def test_nothing_is_written_into_the_stranger_s_folder(site: AdminSite, disk: DiskRef) -> None:
    record = adopted(site)
    site.housekeeping.scan()
    truth = site.hypervisor.truth()
    assert [path.path for path in truth.sidecars] == [f"vmdkvol/adopted/{record.id}.vmdk"]
    assert sidecar.decode(truth.sidecars[copy_path(record)]) == record
    assert site.hypervisor.content(disk.uuid) == "somebody's"


def test_a_site_with_an_adopted_volume_is_a_sound_one(site: AdminSite, disk: DiskRef) -> None:
    record = adopted(site)
    for _ in range(3):
        site.housekeeping.scan()
    orphans: Orphans = site.order(ListOrphans())
    assert (orphans.orphans, orphans.unread) == ((), ())
    assert site.record(record.id) == record
    assert site.order(InspectVolume(volume="db")).adopted == PLACE


def test_options_are_those_that_the_disk_does_not_say(site: AdminSite, disk: DiskRef) -> None:
    given = (
        ("fstype", "xfs"),
        ("layout", "data"),
        ("access", "read-only"),
        ("label", "team=shop"),
        ("mount-options", "noatime"),
    )
    options = adopted(site, options=given).options
    assert (options.fstype, options.layout, options.access, options.size_bytes) == ("xfs", "data", "read-only", GB)
    assert (options.labels, options.mount_options) == ((("team", "shop"),), ("noatime",))


def test_a_disk_smaller_than_we_would_make_one_is_adopted(site: AdminSite) -> None:
    put(site, "theirs/small.vmdk", 1 << 20)
    assert adopted(site, place="[ds1] theirs/small.vmdk").size_bytes == 1 << 20


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("size", "2gb"),
        ("diskformat", "thin"),
        ("datastore", "ds2"),
        ("clone-from", "x"),
        ("mkfs-options", "-i 8192"),
        ("uid", "5"),
        ("policy", "gold"),
        ("nonsense", "1"),
        ("fstype", "ntfs"),
        ("layout", "../.."),
        ("label", "a"),
        ("mount-options", "suid"),
    ],
)
def test_an_option_that_says_nothing_of_a_disk_that_is_there_is_refused(
    site: AdminSite, disk: DiskRef, key: str, text: str
) -> None:
    with pytest.raises(InvalidOption):
        adopt(site, options=((key, text),))
    assert site.records() == []


def test_an_option_that_is_given_twice_is_refused(site: AdminSite, disk: DiskRef) -> None:
    with pytest.raises(InvalidOption, match="twice"):
        adopt(site, options=(("fstype", "xfs"), ("fstype", "ext4")))


# --- dry run, again, two at once ------------------------------------------------------------------------------------


def test_a_dry_run_changes_nothing_and_makes_the_same_plan(site: AdminSite, disk: DiskRef) -> None:
    dry = adopt(site, dry_run=True)
    assert (dry.done, site.records(), dict(site.hypervisor.truth().sidecars)) == (False, [], {})
    assert adopt(site).plan == dry.plan
    (step,) = dry.plan.steps
    assert (step.verb, step.target, dry.plan.loses) == ("adopt-disk", PLACE, None)


def test_adopted_again_it_was_so_already(site: AdminSite, disk: DiskRef) -> None:
    first = adopt(site)
    again = adopt(site)
    assert (again.plan.steps, again.done, again.subject) == ((), True, first.subject)
    assert len(site.records()) == 1


@pytest.mark.parametrize("more", [{"options": (("fstype", "xfs"),)}, {"place": "[ds1] theirs/y.vmdk"}], ids=["option", "disk"])
def test_a_name_that_is_another_volume_s_is_not_taken(site: AdminSite, disk: DiskRef, more: dict[str, Any]) -> None:
    put(site, "theirs/y.vmdk")
    adopt(site)
    with pytest.raises(NameConflict):
        adopt(site, **more)
    assert len(site.records()) == 1


def test_one_disk_is_one_volume(site: AdminSite, disk: DiskRef) -> None:
    adopt(site)
    with pytest.raises(NotAdoptable, match="is the disk of volume db"):
        adopt(site, name="other")
    assert len(site.records()) == 1


def test_of_two_that_adopt_one_disk_at_once_one_has_it(site: AdminSite, disk: DiskRef) -> None:
    """The second looked while the first had not written yet: the store decides."""
    record = adopted(site)
    site.store.delete(record.id, expect=record.generation)
    site.store.enlist(record)
    with pytest.raises(NameConflict, match="is already that of volume db"):
        site.store.enlist(replace(record, id=VolumeId(uuid4()), name="other"))


# --- what stands against it -------------------------------------------------------------------------------------------


def test_a_disk_with_an_obstacle_is_left_alone(site: AdminSite, disk: DiskRef) -> None:
    site.hypervisor.obstacles[disk.path] = "it is the child that a snapshot made of another disk"
    with pytest.raises(NotAdoptable, match="snapshot"):
        adopt(site)
    assert site.records() == []


@pytest.mark.parametrize("running", [True, False], ids=["on", "off"])
def test_a_disk_that_a_machine_has_is_left_alone(site: AdminSite, disk: DiskRef, running: bool) -> None:
    site.hypervisor.submit(AttachDisk(B, disk, "persistent"), uuid4())
    site.hypervisor.power(B, running=running)
    with pytest.raises(VolumeInUse, match="host-b has it"):
        adopt(site)
    assert site.records() == []


def test_a_disk_that_something_else_uses_is_left_alone(site: AdminSite, disk: DiskRef) -> None:
    site.hypervisor.strangers[disk.uuid] = "losetup"
    with pytest.raises(VolumeInUse, match="losetup"):
        adopt(site)


def test_a_copy_of_a_volume_s_disk_is_left_alone(site: AdminSite) -> None:
    record = site.record(site.create("own", datastore="ds1").id)
    site.hypervisor.submit(CreateDisk(DiskRef(record.disk_uuid, DiskPath(DS1, "theirs/x.vmdk")), GB, "thin", {}), uuid4())
    with pytest.raises(NotAdoptable, match="identity of the disk of volume own"):
        adopt(site)


def test_a_disk_of_our_own_folder_is_for_the_orphans(site: AdminSite) -> None:
    put(site, f"vmdkvol/{DEFAULT_VMGROUP}/x.vmdk")
    with pytest.raises(NotAdoptable, match="orphans"):
        adopt(site, place=f"[ds1] vmdkvol/{DEFAULT_VMGROUP}/x.vmdk")


def test_a_disk_that_another_service_has_adopted_is_left_alone(site: AdminSite, disk: DiskRef) -> None:
    record = adopted(site)
    site.store.delete(record.id, expect=record.generation)
    with pytest.raises(NotAdoptable, match="another service"):
        adopt(site, name="mine")
    assert site.records() == []


def test_another_service_s_copy_that_cannot_be_read_stands_in_nobody_s_way(site: AdminSite, disk: DiskRef) -> None:
    site.hypervisor.write_sidecar(DiskPath(DS1, f"vmdkvol/adopted/{uuid4()}.vmdk"), b"{")
    assert adopt(site).done


def test_where_nothing_lies_nothing_is_adopted(site: AdminSite) -> None:
    with pytest.raises(NotFound, match="no disk lies"):
        adopt(site)


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("theirs/x.vmdk", BadRequest),
        ("[ds1] ../x.vmdk", BadRequest),
        ("[ds1] a/../../x.vmdk", BadRequest),
        ("[ds1] /etc/x.vmdk", BadRequest),
        ("[ds1] a//x.vmdk", BadRequest),
        ("[ds1] theirs/x", BadRequest),
        ("[ds1] theirs/x.vmdk\n", BadRequest),
        ("[ds1] \x00.vmdk", BadRequest),
        ("[] x.vmdk", BadRequest),
        ("[ds9] theirs/x.vmdk", DatastoreNotFound),
        ("[ds1] theirs/x.vmdk'; rm", BadRequest),
    ],
)
def test_a_place_that_is_none_is_refused(site: AdminSite, disk: DiskRef, place: str, error: type[VolumeError]) -> None:
    with pytest.raises(error):
        adopt(site, place=place)
    assert site.records() == []


def test_a_name_that_says_another_datastore_is_refused(site: AdminSite, disk: DiskRef) -> None:
    with pytest.raises(NameConflict, match="lies on ds1"):
        adopt(site, name="db@ds2")
    assert adopted(site, name="db@ds1").name == "db@ds1"


def test_a_vmgroup_that_there_is_not_gets_no_disk(site: AdminSite, disk: DiskRef) -> None:
    with pytest.raises(VmgroupNotFound):
        adopt(site, vmgroup="nobody")


@pytest.mark.parametrize("dry_run", [True, False])
def test_the_limits_of_the_vmgroup_count(site: AdminSite, disk: DiskRef, dry_run: bool) -> None:
    site.order(SetRight(name="_DEFAULT", datastore="ds1", allow_create=True, total_bytes=GB // 2))
    with pytest.raises(QuotaExceeded):
        adopt(site, dry_run=dry_run)
    assert site.records() == []


def test_the_store_itself_counts_the_limits(site: AdminSite, disk: DiskRef) -> None:
    record = adopted(site)
    site.store.delete(record.id, expect=record.generation)
    site.order(SetRight(name="_DEFAULT", datastore="ds1", allow_create=True, total_bytes=GB // 2))
    with pytest.raises(QuotaExceeded):
        site.store.enlist(record)
    assert site.records() == []


def test_beyond_the_limits_by_an_administrator_s_word(site: AdminSite, disk: DiskRef) -> None:
    site.order(SetRight(name="_DEFAULT", datastore="ds1", allow_create=True, total_bytes=GB // 2))
    assert adopt(site, over_quota=True).done


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_cordoned_datastore_takes_no_adopted_disk_either(site: AdminSite, disk: DiskRef, dry_run: bool) -> None:
    site.order(CordonDatastore(name="ds1"))
    with pytest.raises(NotPermitted, match="no new volumes"):
        adopt(site, dry_run=dry_run)
    assert site.records() == []


def test_what_cannot_be_read_is_not_adopted(site: AdminSite, disk: DiskRef) -> None:
    site.hypervisor.unreadable(DS1)
    with pytest.raises(TruthUnknown):
        adopt(site)
    assert site.records() == []


def test_without_room_for_its_copy_it_is_adopted_and_the_copy_follows(site: AdminSite, disk: DiskRef) -> None:
    site.hypervisor.sidecars_fail = TruthUnknown("the datastore does not answer")
    record = adopted(site)
    assert dict(site.hypervisor.truth().sidecars) == {}
    site.hypervisor.sidecars_fail = None
    site.housekeeping.scan()
    assert site.copy_of(record) == record


# --- the disk is not there any more, a lost database --------------------------------------------------------------


def test_an_adopted_disk_that_is_gone_is_lost_and_comes_back(site: AdminSite, disk: DiskRef) -> None:
    record = adopted(site)
    site.hypervisor.lose(disk.path)
    for _ in range(3):
        site.housekeeping.scan()
    assert site.record(record.id).state is State.LOST
    site.hypervisor.submit(CreateDisk(disk, GB, "thin", {}), uuid4())
    site.housekeeping.scan()
    assert site.record(record.id).state is State.READY


def test_an_adopted_disk_that_cannot_be_looked_at_is_not_counted_as_gone(site: AdminSite, disk: DiskRef) -> None:
    """A machine that has it has its file, on vSphere: between two sights of nothing that is no third one."""
    record, look = adopted(site), site.hypervisor.disk

    def absent(ref: DiskRef) -> Disk | None:
        return None

    def unread(ref: DiskRef) -> Disk | None:
        raise TruthUnknown("somebody has it")

    for answer in (absent, unread, absent, unread, unread):
        site.hypervisor.disk = answer  # type: ignore[method-assign]
        site.housekeeping.scan()
    site.hypervisor.disk = look  # type: ignore[method-assign]
    assert site.record(record.id).state is State.READY


def test_the_copy_of_an_adopted_disk_that_a_machine_has_is_looked_after(site: AdminSite, disk: DiskRef) -> None:
    record = adopted(site)
    site.hypervisor.write_sidecar(copy_path(record), b"garbage")

    def unread(ref: DiskRef) -> Disk | None:
        raise TruthUnknown("somebody has it")

    site.hypervisor.disk = unread  # type: ignore[method-assign]
    site.housekeeping.scan()
    assert site.copy_of(record) == record
    assert "disk cannot be used" not in site.log.events("error")


def test_the_copy_of_a_lost_record_is_told_and_mended(site: AdminSite, disk: DiskRef) -> None:
    record = adopted(site)
    site.store.delete(record.id, expect=record.generation)
    (orphan,) = site.order(ListOrphans()).orphans
    assert (orphan.where, orphan.volume) == (str(copy_path(record)), "db")
    assert orphan.actions == (Mending.ADOPT, Mending.REMOVE_SIDECAR)
    site.order(MendOrphan(where=orphan.where, action=Mending.ADOPT))
    again = site.record(record.id)
    assert (again.path, again.adopted, again.state) == ("theirs/x.vmdk", PLACE, State.READY)
    assert site.order(ListOrphans()).orphans == ()


def test_the_copy_of_a_lost_record_goes_and_the_disk_stays(site: AdminSite, disk: DiskRef) -> None:
    record = adopted(site)
    site.store.delete(record.id, expect=record.generation)
    where = str(copy_path(record))
    site.order(MendOrphan(where=where, action=Mending.REMOVE_SIDECAR, i_know=where))
    assert site.hypervisor.content(disk.uuid) == "somebody's"
    assert (dict(site.hypervisor.truth().sidecars), site.order(ListOrphans()).orphans) == ({}, ())
    assert adopt(site).done


def test_a_copy_of_a_disk_that_is_another_volume_by_now_is_no_claim(site: AdminSite, disk: DiskRef) -> None:
    record = adopted(site)
    copy = site.hypervisor.read_sidecar(copy_path(record))
    site.order(ReleaseVolume(volume="db"))
    adopt(site, name="new")
    site.hypervisor.write_sidecar(copy_path(record), copy)
    (orphan,) = site.order(ListOrphans()).orphans
    assert orphan.actions == (Mending.REMOVE_SIDECAR,)
    assert "is volume new by now" in orphan.detail


def test_a_moved_disk_keeps_its_copy(site: AdminSite, disk: DiskRef) -> None:
    """A machine has it while its files are moved: the record follows, and its copy stays where it belongs."""
    record = adopted(site)
    site.attach(record.id, A)
    site.hypervisor.move(disk.uuid, DiskPath(DS1, "elsewhere/x.vmdk"))
    site.housekeeping.scan()
    moved = site.record(record.id)
    assert disk_path(moved).path == "elsewhere/x.vmdk"
    assert site.copy_of(moved).path == "elsewhere/x.vmdk"
    assert [path.path for path in site.hypervisor.truth().sidecars] == [copy_path(record).path]
