"""Volumes out of the trash, with other options, under another name; and what each of these refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from tests.unit.esx.admin_site import AdminSite
from tests.unit.esx.site import DS1, DS2, GB, A, B
from tests.unit.esx.tenants import EVERYTHING, RED
from vmdkvol.errors import (
    Busy,
    CheckFailed,
    Conflict,
    InvalidName,
    InvalidOption,
    MetadataDamaged,
    NameConflict,
    NoSpace,
    StaleRequest,
    TruthUnknown,
    VolumeInUse,
    VolumeLost,
    VolumeNotFound,
)
from vmdkvol.messages import CreateVolume, Detach
from vmdkvol.names import VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.orders import Outcome
from vmdkvol.points import Point
from vmdkvol.volume import Content, DiskUuid, State, VolumeId
from vmdkvol.volume_orders import MoveVolume, RenameVolume, RestoreVolume, SetVolume
from vmdkvol_esx import sidecar
from vmdkvol_esx.paths import disk_path
from vmdkvol_esx.ports import CloneDisk, CreateDisk
from vmdkvol_esx.records import Group, Vmgroup

SIZE = {"size": "1gb"}


@pytest.fixture
def site() -> AdminSite:
    return AdminSite(datastores=(DS1, DS2))


@pytest.fixture
def volume(site: AdminSite) -> VolumeId:
    return site.create("db", datastore="ds1").id


@pytest.fixture
def trashed(site: AdminSite, volume: VolumeId) -> VolumeId:
    site.format(volume)
    site.remove(volume)
    return volume


def restore(site: AdminSite, volume: object, **more: Any) -> Outcome:
    outcome: Outcome = site.order(RestoreVolume(volume=str(volume), **more))
    return outcome


def put(site: AdminSite, volume: object, *options: tuple[str, str], **more: Any) -> Outcome:
    outcome: Outcome = site.order(SetVolume(volume=str(volume), options=options, **more))
    return outcome


def rename(site: AdminSite, volume: object, name: str, **more: Any) -> Outcome:
    outcome: Outcome = site.order(RenameVolume(volume=str(volume), new_name=name, **more))
    return outcome


def sidecar_of(site: AdminSite, volume: VolumeId) -> Any:
    return site.copy_of(site.record(volume))


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_rename_tells_what_becomes_of_who_names_the_volume(site: AdminSite, volume: VolumeId, dry_run: bool) -> None:
    told = site.order(RenameVolume(volume="db", new_name="db2", dry_run=dry_run))
    assert told.plan.loses is not None
    assert "a stopped container or Compose service that names it" in told.plan.loses
    assert site.order(RenameVolume(volume=str(volume), new_name="db2" if not dry_run else "db")).plan.loses is None


# --- out of the trash --------------------------------------------------------------------------------------------


def test_a_restored_volume_is_there_with_its_data(site: AdminSite, trashed: VolumeId) -> None:
    told = restore(site, trashed)
    record = site.record(trashed)
    assert (told.done, told.revision, record.state, record.trashed_at) == (True, record.generation, State.READY, None)
    assert site.get("db").content is Content.FORMATTED
    assert site.hypervisor.content(record.disk_uuid) == f"data of {trashed}"
    assert sidecar_of(site, trashed) == record


def test_a_volume_in_the_trash_is_restored_by_its_name(site: AdminSite, trashed: VolumeId) -> None:
    assert restore(site, "db").subject == str(trashed)


def test_restored_again_it_holds_already(site: AdminSite, trashed: VolumeId) -> None:
    restore(site, trashed)
    generation = site.record(trashed).generation
    told = restore(site, trashed)
    assert (told.plan.steps, told.done, site.record(trashed).generation) == ((), True, generation)


def test_restored_onto_a_name_that_is_taken_it_stays_in_the_trash(site: AdminSite, trashed: VolumeId) -> None:
    site.create("db", datastore="ds1")
    with pytest.raises(NameConflict, match="new name"):
        restore(site, trashed)
    assert site.record(trashed).state is State.TRASHED


def test_the_name_means_the_one_in_the_trash_also_when_it_was_given_again(site: AdminSite, trashed: VolumeId) -> None:
    site.create("db", datastore="ds1")
    with pytest.raises(NameConflict, match=f"give {trashed}, in the trash, another one as its new name"):
        restore(site, "db")
    with pytest.raises(NameConflict):
        restore(site, "db", dry_run=True)
    assert site.record(trashed).state is State.TRASHED


def test_of_two_in_the_trash_none_is_guessed(site: AdminSite, trashed: VolumeId) -> None:
    second = site.create("db", datastore="ds1").id
    site.remove(second)
    with pytest.raises(Conflict) as refused:
        restore(site, "db", new_name="db-old")
    for told in (str(trashed), str(second), "'_DEFAULT'", ", trashed 20", "give the id"):
        assert told in str(refused.value)
    assert [record.state for record in site.records()] == [State.TRASHED] * 2


@pytest.mark.parametrize("which", ["name", "id"])
def test_with_a_new_name_it_comes_out_beside_its_namesake(site: AdminSite, trashed: VolumeId, which: str) -> None:
    other = site.create("db", datastore="ds1").id
    restore(site, "db" if which == "name" else trashed, new_name="db-old")
    assert (site.get("db").id, site.get("db-old").id) == (other, trashed)
    assert sidecar_of(site, trashed).name == "db-old"


@pytest.mark.parametrize(
    ("name", "error"),
    [("", InvalidName), ("a/b", InvalidName), ("x" * 101, InvalidName), (" db", InvalidName), ("db@ds2", NameConflict)],
)
def test_a_new_name_that_it_cannot_have_is_refused(
    site: AdminSite, trashed: VolumeId, name: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        restore(site, trashed, new_name=name)
    assert site.record(trashed).state is State.TRASHED


def test_a_restored_volume_is_not_emptied_with_the_trash(site: AdminSite, trashed: VolumeId) -> None:
    site.housekeeping.scan()
    restore(site, trashed)
    site.clock.skip(2000.0)
    site.calm_down()
    assert site.record(trashed).state is State.READY
    site.check_settled()


def test_what_is_deleted_already_is_not_restored(site: AdminSite, trashed: VolumeId) -> None:
    site.clock.skip(1001.0)
    site.calm_down()
    with pytest.raises(VolumeNotFound):
        restore(site, trashed)


def test_without_its_disk_it_stays_in_the_trash(site: AdminSite, trashed: VolumeId) -> None:
    site.hypervisor.lose(disk_path(site.record(trashed)))
    with pytest.raises(VolumeLost):
        restore(site, trashed)
    assert site.record(trashed).state is State.TRASHED


def test_while_its_datastore_is_away_it_stays_in_the_trash(site: AdminSite, trashed: VolumeId) -> None:
    site.hypervisor.unreadable(DS1)
    with pytest.raises(TruthUnknown):
        restore(site, trashed)
    assert site.record(trashed).state is State.TRASHED


@pytest.mark.parametrize("order", ["restore", "rename"])
def test_what_a_rebuild_would_not_know_is_refused(site: AdminSite, volume: VolumeId, order: str) -> None:
    """A full datastore takes no copy: a rebuild would empty what was restored, or give the name of one to another."""
    if order == "restore":
        site.remove(volume)
    before, copy = site.record(volume), sidecar_of(site, volume)
    site.hypervisor.sidecars_fail = NoSpace("full")
    with pytest.raises(NoSpace):
        _ = restore(site, volume) if order == "restore" else rename(site, volume, "db2")
    assert (site.record(volume), sidecar_of(site, volume)) == (before, copy)


def test_options_whose_copy_cannot_be_written_are_set_and_the_copy_follows(site: AdminSite, volume: VolumeId) -> None:
    site.hypervisor.sidecars_fail = NoSpace("full")
    assert put(site, volume, ("access", "read-only")).done
    site.hypervisor.sidecars_fail = None
    assert sidecar_of(site, volume).options.access == "read-write"
    site.housekeeping.scan()
    assert sidecar_of(site, volume) == site.record(volume)


def test_a_name_that_is_taken_in_the_last_moment_leaves_record_and_copy_in_the_trash(
    site: AdminSite, trashed: VolumeId
) -> None:
    before, copy = site.record(trashed), sidecar_of(site, trashed)
    namesake = replace(before, id=VolumeId(uuid4()), disk_uuid=DiskUuid(uuid4()), path="vmdkvol/x/db.vmdk", state=State.READY)

    def taken(point: Point) -> None:
        if point is Point.SIDECAR_WRITTEN and site.store.volume(namesake.id) is None:
            site.store.restore(namesake)

    site.restart(taken)
    with pytest.raises(NameConflict):
        restore(site, trashed)
    assert (site.record(trashed), sidecar_of(site, trashed)) == (before, replace(copy, generation=before.generation))


# --- every order -------------------------------------------------------------------------------------------------


@pytest.fixture(params=["restore", "set", "rename", "move"])
def order(request: pytest.FixtureRequest, site: AdminSite, volume: VolumeId) -> Any:
    match request.param:
        case "restore":
            site.remove(volume)
            return RestoreVolume(volume=str(volume))
        case "set":
            return SetVolume(volume=str(volume), options=(("access", "read-only"),))
        case "move":
            site.store.put_group(Group(Vmgroup(RED, "red", DS1), EVERYTHING), expect=None)
            return MoveVolume(volume=str(volume), to_vmgroup="red")
        case _:
            return RenameVolume(volume=str(volume), new_name="db2")


def test_a_dry_run_makes_the_plan_of_the_real_run_and_changes_nothing(site: AdminSite, volume: VolumeId, order: Any) -> None:
    before = site.record(volume)
    dry = site.order(replace(order, dry_run=True))
    assert site.record(volume) == before
    real = site.order(order)
    assert (dry.plan, dry.done, dry.revision) == (real.plan, False, before.generation)
    assert (len(real.plan.steps), real.done, real.revision) == (1, True, before.generation + 1)


def test_an_order_for_an_older_revision_is_refused(site: AdminSite, volume: VolumeId, order: Any) -> None:
    """Two administrators: the second gets a conflict, not a silent win."""
    revision = site.record(volume).generation
    assert site.order(replace(order, expect=revision)).done
    before = site.record(volume)
    with pytest.raises(StaleRequest):
        site.order(replace(order, expect=revision))
    assert site.record(volume) == before


def test_an_order_on_a_record_in_doubt_is_refused(site: AdminSite, volume: VolumeId, order: Any) -> None:
    """F40: an old database was put back; whatever is written now would be believed."""
    record = site.record(volume)
    site.verbs.parts.doubts.newer_sidecar(record, record.generation + 5)
    with pytest.raises(MetadataDamaged):
        site.order(order)
    assert site.record(volume) == record


def test_an_order_on_nothing_is_refused(site: AdminSite, order: Any) -> None:
    with pytest.raises(VolumeNotFound):
        site.order(replace(order, volume="nothing"))


@pytest.mark.parametrize("state", [State.LOST, State.DAMAGED])
def test_a_lost_or_damaged_volume_is_not_restored(site: AdminSite, volume: VolumeId, state: State) -> None:
    record = site.record(volume)
    site.store.update(replace(record, state=state), expect=record.generation)
    with pytest.raises((VolumeLost, CheckFailed)):
        restore(site, volume)


def test_a_dry_run_waits_for_no_work_under_way(site: AdminSite) -> None:
    site.hypervisor.takes(CreateDisk, 100.0)
    site.leave(CreateVolume(VolumeRef.parse("big"), CreateOptions.parse({"datastore": "ds1"})))
    with pytest.raises(Busy):
        put(site, "big", ("access", "read-only"), dry_run=True)


# --- other options -----------------------------------------------------------------------------------------------


def test_options_hold_from_the_next_attach_on(site: AdminSite, volume: VolumeId) -> None:
    told = put(site, volume, ("access", "read-only"), ("iops-limit", "100"), ("label", "team=web,tier=1"))
    assert {step.target for step in told.plan.steps} == {"db access", "db iops-limit", "db label"}
    attached = site.attach(volume)
    assert (attached.options.access, attached.options.iops_limit) == ("read-only", 100)
    assert attached.options.labels == (("team", "web"), ("tier", "1"))
    assert site.hypervisor.limits(site.record(volume).disk_uuid) == (100, "normal")
    assert sidecar.decode(site.hypervisor.read_sidecar(disk_path(site.record(volume))) or b"").options.access == "read-only"


def test_an_option_is_given_back_to_its_default(site: AdminSite, volume: VolumeId) -> None:
    put(site, volume, ("iops-limit", "100"), ("label", "a=b"), ("mount-options", "noatime"))
    put(site, volume, unset=("iops-limit", "label", "mount-options"))
    assert site.record(volume).options == replace(site.record(volume).options, iops_limit=None, labels=(), mount_options=())


def test_options_that_it_has_change_nothing(site: AdminSite, volume: VolumeId) -> None:
    put(site, volume, ("access", "read-only"))
    before = site.record(volume)
    assert put(site, volume, ("access", "read-only")).plan.steps == ()
    assert put(site, volume).plan.steps == ()
    assert site.record(volume) == before


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("access", "readonly"),
        ("access", ""),
        ("attach-as", "shared"),
        ("iops-limit", "0"),
        ("iops-limit", "-1"),
        ("iops-limit", "9" * 20),
        ("shares", "huge"),
        ("label", "x" * (1 << 20)),
        ("label", ",".join(f"k{number}=v" for number in range(33))),
        ("label", "k=" + "v" * 256),
        ("label", "k=\n"),
        ("label", "a=1,a=2"),
        ("mount-options", "suid"),
        ("mount-options", "dev"),
        ("mount-options", "noatime;rm -rf /"),
        ("mount-options", ""),
        ("size", "2gb"),
        ("fstype", "xfs"),
        ("policy", "gold"),
        ("datastore", "ds2"),
        ("uid", "0"),
        ("nothing", "x"),
        ("", ""),
        ("\x00", "\x00"),
    ],
)
def test_what_cannot_be_set_is_refused_and_nothing_changes(site: AdminSite, volume: VolumeId, key: str, text: str) -> None:
    before = site.record(volume)
    with pytest.raises(InvalidOption) as told:
        put(site, volume, (key, text))
    assert len(str(told.value)) <= 300
    assert site.record(volume) == before


def test_one_option_twice_is_refused(site: AdminSite, volume: VolumeId) -> None:
    with pytest.raises(InvalidOption):
        put(site, volume, ("access", "read-only"), ("access", "read-write"))
    with pytest.raises(InvalidOption):
        put(site, volume, ("access", "read-only"), unset=("access",))


def test_a_mount_option_of_another_file_system_is_refused(site: AdminSite) -> None:
    clone_source = site.create("src", datastore="ds1", fstype="ext4").id
    site.format(clone_source)
    site.create("copy", datastore="ds1", clone_from="src")
    for name in ("src", "copy"):
        with pytest.raises(InvalidOption):
            put(site, name, ("mount-options", "inode64"))


def test_options_of_a_mounted_volume_change_and_it_is_still_given_back(site: AdminSite, volume: VolumeId) -> None:
    site.format(volume)
    attachment = site.attach(volume)
    put(site, volume, ("access", "read-only"))
    with pytest.raises(StaleRequest):
        site.ask(Detach(volume, attachment.generation))
    # As the agent does then: it asks what it has.
    site.detach(site.attach(volume))
    assert site.hypervisor.truth().holders == {}


def test_options_wait_for_the_first_mount(site: AdminSite, volume: VolumeId) -> None:
    """The agent tells of its mkfs with the revision that it knows: raised, Docker would hear that the mount failed."""
    site.attach(volume)
    for dry_run in (True, False):
        with pytest.raises(Busy, match="host-a"):
            put(site, volume, ("access", "read-only"), dry_run=dry_run)
    assert put(site, volume, ("access", "read-write"), dry_run=True).plan.steps == ()


def test_options_of_a_volume_in_the_trash_are_not_set(site: AdminSite, trashed: VolumeId) -> None:
    with pytest.raises(VolumeNotFound):
        put(site, trashed, ("access", "read-only"))


# --- another name ------------------------------------------------------------------------------------------------


def test_a_renamed_volume_is_found_by_its_new_name_only(site: AdminSite, volume: VolumeId) -> None:
    site.format(volume)
    rename(site, volume, "db2")
    assert site.get("db2").id == volume
    with pytest.raises(VolumeNotFound):
        site.get("db")
    assert site.copy_of(site.record(volume)) == site.record(volume)
    assert site.hypervisor.content(site.record(volume).disk_uuid) == f"data of {volume}"


def test_renamed_again_it_holds_already(site: AdminSite, volume: VolumeId) -> None:
    rename(site, volume, "db2")
    before = site.record(volume)
    assert rename(site, volume, "db2").plan.steps == ()
    assert site.record(volume) == before


def test_the_old_name_is_free(site: AdminSite, volume: VolumeId) -> None:
    rename(site, volume, "db2")
    assert site.create("db", datastore="ds1").id != volume


def test_a_name_that_is_taken_is_refused(site: AdminSite, volume: VolumeId) -> None:
    site.create("db2", datastore="ds1")
    with pytest.raises(NameConflict):
        rename(site, volume, "db2")
    assert site.record(volume).name == "db"


def test_a_name_in_the_trash_is_free(site: AdminSite, volume: VolumeId) -> None:
    site.remove(site.create("db2", datastore="ds1").id)
    assert rename(site, volume, "db2").done


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\nb", "x" * 101, "db ", "e\u0301", "\ud800", "@", "db@"])
def test_what_is_no_name_is_refused(site: AdminSite, volume: VolumeId, name: str) -> None:
    with pytest.raises(InvalidName):
        rename(site, volume, name)
    assert site.record(volume).name == "db"


def test_the_name_of_another_datastore_is_refused(site: AdminSite, volume: VolumeId) -> None:
    with pytest.raises(NameConflict, match="ds1"):
        rename(site, volume, "db@ds2")
    assert rename(site, volume, "db@ds1").done


def test_an_attached_volume_keeps_its_name(site: AdminSite, volume: VolumeId) -> None:
    site.attach(volume, B)
    with pytest.raises(VolumeInUse, match="host-b"):
        rename(site, volume, "db2")
    assert site.record(volume).name == "db"


def test_a_volume_that_may_be_attached_keeps_its_name(site: AdminSite, volume: VolumeId) -> None:
    site.attach(volume)
    site.hypervisor.unread(A)
    with pytest.raises(TruthUnknown):
        rename(site, volume, "db2")
    assert site.record(volume).name == "db"


def test_a_disk_that_somebody_attached_by_hand_twice_keeps_its_name(site: AdminSite, volume: VolumeId) -> None:
    site.attach(volume)
    site.hypervisor.power(A, running=False)
    with pytest.raises(VolumeInUse):
        rename(site, volume, "db2")


def test_the_source_of_a_copy_under_way_keeps_its_name(site: AdminSite, volume: VolumeId) -> None:
    site.format(volume)
    site.hypervisor.takes(CloneDisk, 100.0)
    site.leave(CreateVolume(VolumeRef.parse("copy"), CreateOptions.parse({"clone-from": "db", "datastore": "ds1"})))
    for dry_run in (True, False):
        with pytest.raises(VolumeInUse):
            rename(site, volume, "db2", dry_run=dry_run)
        with pytest.raises(VolumeInUse):
            put(site, volume, ("access", "read-only"), dry_run=dry_run)
        assert rename(site, volume, "db", dry_run=dry_run).plan.steps == ()
    assert site.record(volume).name == "db"


def test_after_a_rebuild_it_has_its_new_name(site: AdminSite, volume: VolumeId) -> None:
    rename(site, volume, "db2")
    copy = sidecar_of(site, volume)
    assert (copy.name, copy.size_bytes) == ("db2", site.record(volume).size_bytes)
    assert copy.size_bytes < GB
